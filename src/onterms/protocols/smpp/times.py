"""Moments as SMPP writes them: schedule_delivery_time, validity_period, final_date.

Source: SMPP 3.4 7.1.1: `YYMMDDhhmmsstnnp`, sixteen characters. `p` is + or - for a moment, with `nn` quarters of an
hour that local time is ahead of or behind UTC, or R for a span from now on, where `tnn` are 0.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_SHAPE: Final = re.compile(r"^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d)(\d\d)([-+R])$", re.ASCII)
# SMPP 3.4 7.1.1.1: 48 quarters of an hour are twelve hours; Kiribati's fourteen need more.
_QUARTERS_MAX: Final = 56
# Ours: a year of a span has 365 days and a month 30; nobody schedules by the calendar so.
_YEAR: Final = timedelta(days=365)
_MONTH: Final = timedelta(days=30)


def read_time(text: str, at: datetime) -> datetime | None:
    """Return the moment a field names, `at` being now; None for an empty one.

    Raises: ValueError for what is no time.
    """
    if not text:
        return None
    found = _SHAPE.match(text)
    if found is None:
        raise ValueError(f"'{text}' is no time of SMPP")
    year, month, day, hour, minute, second, tenth, quarters = (int(each) for each in found.groups()[:8])
    kind = found[9]
    if kind == "R":
        return at + year * _YEAR + month * _MONTH + timedelta(days=day, hours=hour, minutes=minute, seconds=second)
    if quarters > _QUARTERS_MAX:
        raise ValueError(f"no local time is {quarters} quarters of an hour from UTC")
    offset = timedelta(minutes=15 * quarters) * (1 if kind == "+" else -1)
    zone = timezone(offset)
    return datetime(2000 + year, month, day, hour, minute, second, tenth * 100_000, zone).astimezone(UTC)


def write_time(at: datetime) -> str:
    """Write a moment in UTC."""
    return f"{at.astimezone(UTC):%y%m%d%H%M%S}{at.microsecond // 100_000}00+"
