"""The clock of a sandbox: read it, move it forward, hold it, let it run.

Theory of operation. The clock's state is one row. Whoever moves it writes the row first and then its own
VirtualClock, so after a crash no job has seen a time that the row does not know; other processes follow by NOTIFY. A
move does not jump: it stands the clock at the next due time of any job, lets the worker run all that is due, and goes
on from there, so each timer sees its own due time, in order, and what it sets in motion is due in its turn. A move
that takes too many steps, or too long, ends where it is; nothing is skipped, and a further move goes on.

One change at a time, over all processes, under an advisory lock that a connection of its own holds: a process that dies
in the middle of a move frees it, and leaves a row that stands still without being held. The next start sees that nobody
moves the clock and lets it run from there.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Protocol

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from onterms.core.clock import Clock, SystemClock, VirtualClock
from onterms.core.db import Database
from onterms.core.errors import InvalidParameter
from onterms.core.following import Follower
from onterms.engines.api.own import OwnRoute
from onterms.engines.api.shapes import Json, Moment, Shape
from onterms.engines.jobs import depth

CHANNEL: Final = "onterms_clock"
# The ASCII of "clock".
_LOCK: Final = 0x636C6F636B

# 90 days with an hourly timer are 2,160 steps. A step takes about 11 ms (measured), so time is most often the bound.
STEPS_MAX: Final = 10_000
# Shorter than what HTTP clients wait for an answer (30 s is a common default).
REAL_S_MAX: Final = 25.0
# Dates in contracts and reports stay within four digits of a year, with room for what is added to them.
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_FIELDS: Final = ("advance_s", "to", "hold", "release")


class ClockRefused(InvalidParameter):
    """The clock cannot be changed in this way."""


class Settler(Protocol):
    """The worker, as whoever moves the clock sees it."""

    async def settle(self) -> None:
        """Return when nothing is due and nothing runs."""
        ...

    async def next_due(self) -> datetime | None:
        """Return the earliest time at which anything can run."""
        ...

    def clock_changed(self) -> None:
        """Look again at what is due."""
        ...


@dataclass(frozen=True, slots=True)
class ClockState:
    """What the clock shows, and how far that is from the machine's."""

    now: datetime
    real_now: datetime
    is_held: bool

    @property
    def offset_s(self) -> float:
        """Return the distance in seconds; negative where the clock was held for long."""
        return (self.now - self.real_now) / timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Moved:
    """How a move went: times stood at, jobs that came due at them, and why it ended before its target, if it did."""

    target: datetime
    steps: int
    jobs: int
    stopped_by: Literal["steps", "time"] | None


@dataclass(frozen=True, slots=True)
class _Kept:
    """The row."""

    offset: timedelta
    is_held: bool
    stands_at: datetime | None


class SandboxClock:
    """The virtual clock of this install; `start` before any job runs, `close` at the end.

    Shapes: `worker` runs the jobs of all tasks in this process.
    """

    def __init__(
        self,
        database: Database,
        clock: VirtualClock,
        worker: Settler,
        *,
        real: Clock | None = None,
        steps_max: int = STEPS_MAX,
        real_s_max: float = REAL_S_MAX,
    ) -> None:
        self._database = database
        self._clock = clock
        self._worker = worker
        self._real = real or SystemClock()
        self._steps_max = steps_max
        self._real_s_max = real_s_max
        self._turn = asyncio.Lock()
        self._is_held = False
        self._follower = Follower(database, CHANNEL, self._follow)

    async def start(self) -> None:
        """Restore the clock from the database and follow what other processes do to it."""
        async with self._turn:
            connection = await self._database.connect_alone()
            try:
                if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                    kept = await _read(connection)
                    if kept.stands_at is not None and not kept.is_held:
                        # A move was cut off here. Real time may have overtaken it meanwhile, and is not lived twice.
                        offset = max(kept.stands_at - self._real.now(), kept.offset)
                        await _write(connection, _Kept(offset, False, None))
                kept = await _read(connection)
            finally:
                await connection.close()
            # A fresh clock shows the machine's time, from which a held one may be far behind.
            self._clock.offset, self._clock.held_at = kept.offset, kept.stands_at
            self._is_held = kept.is_held
        await self._follower.start()

    async def close(self) -> None:
        """Follow no more."""
        await self._follower.close()

    def state(self) -> ClockState:
        """Return what the clock shows."""
        return ClockState(self._clock.now(), self._real.now(), self._is_held)

    async def hold(self) -> None:
        """Let the clock stand still where it is."""
        async with self._exclusive() as connection:
            await self._stop(connection, is_held=True)

    async def release(self) -> None:
        """Let the clock run on from where it stands."""
        async with self._exclusive() as connection:
            # Not only when it is held: a move whose process died leaves it standing.
            if self._clock.held_at is not None:
                await self._run_from(connection, self._clock.now())

    async def advance(self, by: timedelta) -> Moved:
        """Move the clock forward by a span.

        Raises: ClockRefused.
        """
        if by < timedelta():
            raise ClockRefused("the clock moves forward only: 'advance_s' must not be negative")
        async with self._exclusive() as connection:
            return await self._move(connection, self._clock.now() + by)

    async def move_to(self, target: datetime) -> Moved:
        """Move the clock forward to a time.

        Raises: ClockRefused.
        """
        async with self._exclusive() as connection:
            now = self._clock.now()
            if target < now:
                raise ClockRefused(f"the clock moves forward only: it is {_shown(now)} already")
            return await self._move(connection, target)

    async def _move(self, connection: Any, target: datetime) -> Moved:
        if target > _LATEST:
            raise ClockRefused(f"the clock goes no further than {_shown(_LATEST)}")
        is_held = self._is_held
        # Real time that passes during the move passes on the clock too, after the target, unless the clock is held.
        offset = target - self._real.now()
        deadline = self._real.monotonic() + self._real_s_max
        steps = jobs = 0
        at = await self._stop(connection, is_held=is_held)
        stopped_by: Literal["steps", "time"] | None = None
        try:
            while True:
                async with asyncio.timeout(deadline - self._real.monotonic()):
                    await self._worker.settle()
                if at >= target:
                    break
                if steps >= self._steps_max:
                    stopped_by = "steps"
                    break
                due = await self._worker.next_due()
                if due is None or due > target:
                    due = target
                elif due > at:
                    steps += 1
                    jobs += await self._count_due(due)
                else:
                    # Something became due while we looked; it counts against the bound, lest it go on for ever.
                    steps += 1
                at = max(at, due)
                await self._set(connection, _Kept(self._clock.offset, is_held, at))
        except TimeoutError:
            stopped_by = "time"
        finally:
            if is_held:
                await self._set(connection, _Kept(self._clock.offset, True, at))
            elif at >= target:
                await self._set(connection, _Kept(offset, False, None))
            else:
                await self._run_from(connection, at)
        return Moved(target, steps, jobs, stopped_by)

    async def _count_due(self, at: datetime) -> int:
        async with self._database.snapshot() as tx:
            return sum(task.ready for task in await depth(tx, at))

    async def _stop(self, connection: Any, *, is_held: bool) -> datetime:
        # Here memory goes before the row: while the row is written the clock would run past what is written.
        before = self._clock.offset, self._clock.held_at
        self._clock.adopt(self._clock.offset, self._clock.now())
        at = self._clock.now()
        try:
            await self._set(connection, _Kept(self._clock.offset, is_held, at))
        except BaseException:
            self._clock.adopt(*before)
            raise
        return at

    async def _run_from(self, connection: Any, at: datetime) -> None:
        await self._set(connection, _Kept(at - self._real.now(), False, None))

    async def _set(self, connection: Any, kept: _Kept) -> None:
        await _write(connection, kept)
        self._take_over(kept)

    def _take_over(self, kept: _Kept) -> None:
        self._clock.adopt(kept.offset, kept.stands_at)
        self._is_held = kept.is_held
        self._worker.clock_changed()

    async def _follow(self) -> None:
        # While this process changes the clock it knows best; what it hears then is its own echo, and read afterwards.
        async with self._turn, self._database.snapshot() as tx:
            self._take_over(_kept_of(await tx.fetchrow(_SELECT)))

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[Any]:
        async with self._turn:
            connection = await self._database.connect_alone()
            try:
                await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
                # Another process may have had its turn just now, and its word may still be on the way.
                self._take_over(await _read(connection))
                yield connection
            finally:
                await connection.close()


_SELECT: Final = "SELECT offset_us, is_held, stands_at FROM simulator_clock"


def _kept_of(row: Any) -> _Kept:
    return _Kept(timedelta(microseconds=row["offset_us"]), row["is_held"], row["stands_at"])


async def _read(connection: Any) -> _Kept:
    return _kept_of(await connection.fetchrow(_SELECT))


async def _write(connection: Any, kept: _Kept) -> None:
    await connection.execute(
        """
        WITH changed AS (UPDATE simulator_clock SET offset_us = $1, is_held = $2, stands_at = $3 RETURNING true)
        SELECT pg_notify($4, '') FROM changed
        """,
        kept.offset // timedelta(microseconds=1),
        kept.is_held,
        kept.stands_at,
        CHANNEL,
    )


_CHANGE: Mapping[str, Any] = {
    "description": "Exactly one of these.",
    "oneOf": [
        {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}
        for name, schema in {
            "advance_s": {"type": "number", "minimum": 0},
            "to": {"type": "string", "format": "date-time"},
            "hold": {"const": True},
            "release": {"const": True},
        }.items()
    ],
}


class ClockShown(Shape):
    """How the sandbox's clock stands to the real one."""

    now: Moment
    real_now: Moment
    offset_s: float
    held: bool
    # Of a move: how far it was to go, which jobs ran on its way, and what stopped it.
    target: Moment | UnsetType = UNSET
    steps: int | UnsetType = UNSET
    jobs: int | UnsetType = UNSET
    stopped_by: str | UnsetType | None = UNSET


class SandboxClockApi:
    """`/simulator/v1/clock`."""

    def __init__(self, sandbox: SandboxClock) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[OwnRoute]:
        """List the routes; only a sandbox mounts them."""
        path = "/simulator/v1/clock"
        return [
            OwnRoute("GET", path, "machine", free_handler=self.read, summary="Read the clock"),
            OwnRoute(
                *("POST", path, "machine"),
                free_handler=self.change,
                summary="Move, hold or release the clock",
                takes=_CHANGE,
            ),
        ]

    async def read(self) -> ClockShown:
        """Show the clock."""
        return self._shown_state()

    async def change(self, body: Json) -> ClockShown:
        """Move, hold or release the clock, and show it."""
        given = [name for name in _FIELDS if name in body]
        if len(given) != 1 or len(body) != 1:
            raise ClockRefused(f"give exactly one of {', '.join(_FIELDS)}")
        match given[0]:
            case "advance_s":
                return self._shown_move(await self._sandbox.advance(_span(body)))
            case "to":
                return self._shown_move(await self._sandbox.move_to(_instant(body)))
            case name if body[name] is not True:
                raise ClockRefused(f"'{name}' must be true")
            case "hold":
                await self._sandbox.hold()
            case _:
                await self._sandbox.release()
        return self._shown_state()

    def _shown_state(self) -> ClockShown:
        state = self._sandbox.state()
        return ClockShown(_shown(state.now), _shown(state.real_now), round(state.offset_s, 6), state.is_held)

    def _shown_move(self, moved: Moved) -> ClockShown:
        return replace(
            self._shown_state(),
            target=_shown(moved.target),
            steps=moved.steps,
            jobs=moved.jobs,
            stopped_by=moved.stopped_by,
        )


def _span(body: Mapping[str, Any]) -> timedelta:
    value = body["advance_s"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ClockRefused("'advance_s' must be a number of seconds")
    # Longer than the calendar overflows before it can be compared with anything.
    if value > (_LATEST.year * 366) * 86_400:
        raise ClockRefused(f"the clock goes no further than {_shown(_LATEST)}")
    return timedelta(seconds=max(value, -1))


def _instant(body: Mapping[str, Any]) -> datetime:
    value = body["to"]
    try:
        instant = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ClockRefused("'to' must be a time such as 2030-01-31T12:00:00Z") from None
    if instant.tzinfo is None:
        raise ClockRefused("'to' must say its offset from UTC, as in 2030-01-31T12:00:00Z")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ClockRefused("'to' is outside the calendar") from None


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
