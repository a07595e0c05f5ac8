"""The one source of time.

Business time is `now()`: aware UTC. A sandbox install runs on a virtual clock, which is the system's clock plus an
offset that only grows, so a test can live through 90 days in a second; timers are rows with a due time and follow it.
`monotonic()` measures real durations (timeouts on sockets, rates of CPU work) and never jumps.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tell the time."""

    def now(self) -> datetime:
        """Return business time, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow, for real durations."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class VirtualClock:
    """The machine's clock plus an offset, or standing still while it is held."""

    def __init__(self, offset: timedelta = timedelta(), held_at: datetime | None = None) -> None:
        self.offset = offset
        self.held_at = held_at

    def now(self) -> datetime:
        if self.held_at is not None:
            return self.held_at
        return datetime.now(UTC) + self.offset

    def monotonic(self) -> float:
        return time.monotonic()

    def hold(self, at: datetime) -> None:
        """Stand still at `at` until `release`.

        Raises: ValueError when `at` lies in the past of this clock.
        """
        if at < self.now():
            raise ValueError("the clock moves forward only")
        self.held_at = at

    def release(self) -> None:
        """Run again from the time held."""
        if self.held_at is not None:
            self.offset = self.held_at - datetime.now(UTC)
            self.held_at = None

    def adopt(self, offset: timedelta, held_at: datetime | None) -> None:
        """Take over a state that is kept elsewhere, without ever stepping back."""
        before = self.now()
        self.offset, self.held_at = offset, held_at
        if self.now() < before:
            if held_at is None:
                self.offset = before - datetime.now(UTC)
            else:
                self.held_at = before
