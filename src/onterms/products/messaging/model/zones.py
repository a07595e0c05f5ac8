"""Which local time somebody has, by where the customer says they live or by their number.

A ZIP code's first three digits name a sorting centre, which lies in one zone but for a few along the borders of zones;
those are given the zone of most people there.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_EAST, _CENTRAL, _MOUNTAIN, _PACIFIC = "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles"
# USPS, Labeling List L002 (three-digit prefixes by state); 49 CFR 71 (limits of zones). From each prefix to the next.
_BY_PREFIX: Sequence[tuple[int, str]] = (
    (5, _EAST),
    (6, "America/Puerto_Rico"),
    (10, _EAST),
    (324, _CENTRAL),
    (326, _EAST),
    (350, _CENTRAL),
    (373, _EAST),
    (375, _CENTRAL),
    (376, _EAST),
    (380, _CENTRAL),
    (398, _EAST),
    (420, _CENTRAL),
    (425, _EAST),
    (463, _CENTRAL),
    (465, _EAST),
    (476, _CENTRAL),
    (478, _EAST),
    (499, _CENTRAL),
    (577, _MOUNTAIN),
    (580, _CENTRAL),
    (586, _MOUNTAIN),
    (587, _CENTRAL),
    (590, _MOUNTAIN),
    (600, _CENTRAL),
    (691, _MOUNTAIN),
    (694, _CENTRAL),
    (798, _MOUNTAIN),
    (800, _MOUNTAIN),
    (835, _PACIFIC),
    (836, _MOUNTAIN),
    (838, _PACIFIC),
    (840, _MOUNTAIN),
    (850, "America/Phoenix"),
    (870, _MOUNTAIN),
    (885, _MOUNTAIN),
    (889, _PACIFIC),
    (967, "Pacific/Honolulu"),
    (969, "Pacific/Guam"),
    (970, _PACIFIC),
    (979, "America/Boise"),
    (980, _PACIFIC),
    (995, "America/Anchorage"),
)
_STARTS = [start for start, _ in _BY_PREFIX]
# More zones than a place has: the number says nothing of where it is, as toll-free ones do not.
_PLACE_ZONES_MAX = 10


def zone_of_zip(zip_code: str) -> str | None:
    """Return the zone of a US ZIP code, or None for what is none."""
    prefix = zip_code.strip()[:3]
    if len(prefix) < 3 or not prefix.isascii() or not prefix.isdigit():
        return None
    place = bisect_right(_STARTS, int(prefix)) - 1
    return _BY_PREFIX[place][1] if place >= 0 else None


def zones_of(found: Sequence[str], default: str) -> tuple[str, ...]:
    """Return the zones that somebody may be in by those of their number."""
    return tuple(found) if 0 < len(found) <= _PLACE_ZONES_MAX else (default,)


def waits_until(zones: Sequence[str], begin: time, end: time, at: datetime) -> datetime | None:
    """Return when it is quiet in none of the zones any more, or None where it is not quiet at an instant."""
    until = at
    # Each turn leaves one zone's quiet hours; a day that is quiet in some zone at every hour ends where it began.
    for _ in range(4 * len(zones) + 1):
        quiet = [zone for zone in zones if _is_quiet(zone, begin, end, until)]
        if not quiet:
            break
        until = max(_end_of(zone, end, until) for zone in quiet)
    return until if until > at else None


def _is_quiet(zone: str, begin: time, end: time, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(zone)).time()
    return begin <= local < end if begin <= end else local >= begin or local < end


def _end_of(zone: str, end: time, at: datetime) -> datetime:
    local = at.astimezone(ZoneInfo(zone))
    ends = datetime.combine(local.date(), end, local.tzinfo)
    if ends <= local:
        ends = datetime.combine(local.date() + timedelta(days=1), end, local.tzinfo)
    return ends.astimezone(UTC)
