"""Contract days: calendar days in the operator's billing zone.

`day + N days` means the end of that day; what follows from it is legal from 00:00 of the next. A contract knows no
weekends. The zone is UTC unless the operator fixed another at install.
"""

import calendar
from datetime import UTC, date, datetime, time, timedelta, tzinfo

# Periods of years are added to days that others write, in either direction.
_YEARS = range(1000, 9000)


def can_count_from(day: date) -> bool:
    """Tell whether periods can be added to a day, or to an instant, without leaving the calendar."""
    return day.year in _YEARS


def day_of(at: datetime, zone: tzinfo = UTC) -> date:
    """Return the contract day of an instant."""
    return at.astimezone(zone).date()


def start_of(day: date, zone: tzinfo = UTC) -> datetime:
    """Return the first instant of a contract day."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def end_of(day: date, zone: tzinfo = UTC) -> datetime:
    """Return the instant at which a contract day is over: the first of the next, excluded from the day."""
    return start_of(day + timedelta(days=1), zone)


def plus_days(day: date, days: int) -> date:
    """Return the day a period of calendar days ends on, the day itself not counted."""
    return day + timedelta(days=days)


def plus_months(day: date, months: int) -> date:
    """Return the same day of a later (or earlier) month, or that month's last day where it has no such day."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def month_of(day: date) -> tuple[date, date]:
    """Return the first day of the day's month and of the next: a half-open period."""
    first = day.replace(day=1)
    return first, plus_months(first, 1)


def anniversaries(start: date, until: date) -> tuple[int, int, int]:
    """Split the days [start, until) into full months by anniversary and the rest.

    Shapes: (full months, days of the part month that follows, days that this part month has in all).
    """
    if until <= start:
        return 0, 0, (plus_months(start, 1) - start).days
    months = (until.year - start.year) * 12 + until.month - start.month
    if plus_months(start, months) > until:
        months -= 1
    begun = plus_months(start, months)
    return months, (until - begun).days, (plus_months(start, months + 1) - begun).days
