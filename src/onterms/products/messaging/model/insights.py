"""Spans, latencies and percentiles of insights: pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final


@dataclass(frozen=True, slots=True)
class Level:
    """A table of sums: the length of its spans, and whether it tells our own addresses apart."""

    table: str
    span: timedelta
    has_senders: bool

    def span_of(self, at: datetime) -> datetime:
        """Return where the span of an instant begins."""
        return at - (at - datetime(1970, 1, 1, tzinfo=UTC)) % self.span


FINE: Final = Level("messaging_insights", timedelta(minutes=5), False)
BY_SENDER: Final = Level("messaging_sender_insights", timedelta(hours=1), True)
# Statuses after which a message may still become something else.
OPEN: Final = ("accepted", "scheduled", "queued", "sending", "sent")
# Ours: receipts come within three days, as long as SMSCs commonly keep messages; what changes later is not seen here.
SETTLED_AFTER: Final = timedelta(days=3)
# Ours: a quarter a step keeps percentiles within an eighth of the truth. From 10 ms on.
_FIRST_S: Final = 0.01
_GROWTH: Final = 1.25

DIMENSIONS: Final = ("direction", "status", "error_code", "country", "carrier", "sender", "service_sid")


def step_of(seconds: float) -> int:
    """Return the step of the scale that a latency falls into."""
    return 0 if seconds <= _FIRST_S else math.ceil(math.log(seconds / _FIRST_S, _GROWTH))


def percentile(steps: Mapping[int, int], part: float) -> float | None:
    """Return the latency within which a part of the messages was delivered, in seconds; None without any."""
    total = sum(steps.values())
    if not total:
        return None
    wanted, seen = math.ceil(part * total), 0
    for step in sorted(steps):
        seen += steps[step]
        if seen >= wanted:
            return round(_FIRST_S * _GROWTH**step, 3)
    return None


def merged(scales: Iterable[Mapping[str, int]]) -> Counter[int]:
    """Add scales up as they are stored, by step."""
    total: Counter[int] = Counter()
    for scale in scales:
        for step, count in scale.items():
            total[int(step)] += count
    return total
