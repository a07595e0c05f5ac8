"""What a job is."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec


class NewJob(msgspec.Struct, frozen=True):
    """A job to be enqueued.

    Shapes: payload is what JSON can carry. Jobs of one order_key run one at a time in the order they were enqueued,
    whatever their task; it is for short sequences (the callbacks of one message), for each claim looks through those
    that wait their turn: 8 us each, measured. Jobs of one rate_key share the token bucket set by `set_rate`, begin in
    order and take `cost` tokens each; it is for long queues. With `has_place`, `due_at` is a place there that
    was taken already.
    """

    task: str
    payload: dict[str, Any]
    account_sid: str | None = None
    due_at: datetime | None = None
    order_key: str | None = None
    rate_key: str | None = None
    cost: int = 1
    has_place: bool = False


class Job(msgspec.Struct, frozen=True):
    """A job as its handler receives it.

    Units: attempt counts from 1.
    """

    id: int
    task: str
    payload: dict[str, Any]
    account_sid: str | None
    order_key: str | None
    rate_key: str | None
    cost: int
    due_at: datetime
    attempt: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after a failure: growing by `factor`, at most `max_s`, spread by `jitter` to both sides."""

    first_s: float = 1.0
    factor: float = 2.0
    max_s: float = 3600.0
    jitter: float = 0.2

    def delay(self, attempt: int, random: Callable[[], float]) -> timedelta:
        """Return the wait after the failure of this attempt."""
        # The exponent is capped because a float overflows long before a patient operator's attempts_max.
        plain_s = min(self.max_s, self.first_s * self.factor ** min(attempt - 1, 64))
        return timedelta(seconds=plain_s * (1 + self.jitter * (2 * random() - 1)))


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs of a task there are."""

    task: str
    ready: int
    delayed: int
    leased: int
    dead: int
    oldest_due: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that was given up."""

    job: Job
    error: str


class LeaseLost(Exception):
    """Another worker holds the job now, so what this one did with it must not be committed."""
