"""The outside shapes of insights."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from onterms.core.db import Row
from onterms.core.errors import InvalidParameter
from onterms.engines.api.shapes import Instant, Shape, Text
from onterms.products.messaging.model.insights import DIMENSIONS

_GROUPINGS = (*DIMENSIONS, "hour", "day")
_RANGE = timedelta(days=1)
# Ours: longer than anybody looks back, short enough to be added up at once.
_RANGE_MAX = timedelta(days=400)


class InsightQuery(Shape):
    """From when to when messages were made (the last day where nothing is said), which of them, and by what."""

    start: Instant | None = None
    end: Instant | None = None
    # Up to three of direction, status, error_code, country, carrier, sender, service_sid, hour, day, with commas.
    group_by: Text = ""
    direction: Text | None = None
    status: Text | None = None
    error_code: int | None = None
    country: Text | None = None
    carrier: Text | None = None
    sender: Text | None = None
    service_sid: Text | None = None

    def range(self, at: datetime) -> tuple[datetime, datetime]:
        """Return from when to when. Raises: InvalidParameter."""
        end = self.end or at
        start = self.start or end - _RANGE
        if not start < end:
            raise InvalidParameter("'start' must lie before 'end'")
        if end - start > _RANGE_MAX:
            raise InvalidParameter(f"'start' and 'end' lie more than {_RANGE_MAX.days} days apart")
        return start, end

    def by(self) -> list[str]:
        """Return what to group by. Raises: InvalidParameter."""
        names = [name.strip() for name in self.group_by.split(",") if name.strip()]
        if len(names) > 3 or len(set(names)) < len(names) or not set(names) <= set(_GROUPINGS):
            raise InvalidParameter(f"'group_by' takes up to three of {', '.join(_GROUPINGS)}")
        return names

    def filters(self) -> dict[str, Any]:
        """Return the values that messages must have, by dimension."""
        return {name: value for name in DIMENSIONS if (value := getattr(self, name)) is not None}


class Counts(Shape):
    """How many messages, and what became of them; the others are still under way, came in or were canceled."""

    messages: int
    segments: int
    delivered: int
    undelivered: int
    failed: int


class Group(Shape):
    """Messages that are alike in what was grouped by."""

    key: dict[str, str]
    counts: Counts


class Latency(Shape):
    """Within how many seconds of being accepted messages were delivered, by percentile."""

    p50: float | None
    p90: float | None
    p99: float | None


class Insight(Shape):
    """How messages fared."""

    start: datetime
    end: datetime
    as_of: datetime
    counts: Counts
    latency_s: Latency
    groups: list[Group]


def insight_of(
    span: tuple[datetime, datetime],
    as_of: datetime,
    total: Mapping[str, int],
    groups: Sequence[Row],
    by: Sequence[str],
    latency: Mapping[str, float | None],
) -> Insight:
    """Show what was found."""
    return Insight(
        start=span[0],
        end=span[1],
        as_of=as_of,
        counts=Counts.of(total),
        latency_s=Latency(**latency),
        groups=[Group({name: _text(row[name]) for name in by}, Counts.of(row)) for row in groups],
    )


def _text(value: Any) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)
