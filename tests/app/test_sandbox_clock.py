"""The sandbox's clock, with a real worker whose jobs tell what time they saw."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onterms.app.sandbox import SandboxClock, SandboxClockApi
from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.errors import Refusal
from onterms.engines.api.own import OwnReply, OwnRequest
from onterms.engines.jobs import Job, NewJob, Run, Worker, enqueue

# Further ahead than any machine's clock that runs these tests, so that moving to it moves forward.
START = datetime(2100, 1, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hours(count: float) -> datetime:
    """Return the time so many hours after the start."""
    return START + count * HOUR


@dataclass
class Sandbox:
    """An install: a database, a clock that started at START and is held, and a worker."""

    database: Database
    clock: VirtualClock
    sandbox: SandboxClock
    # What ran: its name, and the time on the clock and in the database while it ran.
    ran: list[tuple[str, datetime, datetime | None]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def schedule(self, name: str, at: datetime, *, then: Sequence[float] = (), wait: bool = False) -> None:
        """Set a timer; `then` are hours after which it sets further ones, `wait` lets it wait for the gate."""
        payload = {"name": name, "then": list(then), "wait": wait}
        async with self.database.transaction() as tx:
            await enqueue(tx, [NewJob("timer", payload, due_at=at)], self.clock.now())

    async def ring(self, run: Run, jobs: list[Job]) -> None:
        for job in jobs:
            if job.payload["wait"]:
                await self.gate.wait()
            now = run.clock.now()
            async with run.transaction() as tx:
                row = await tx.fetchval("SELECT stands_at FROM simulator_clock")
                for after in job.payload["then"]:
                    payload = {"name": f"{job.payload['name']}+{after:g}", "then": [], "wait": False}
                    await enqueue(tx, [NewJob("timer", payload, due_at=now + after * HOUR)], now)
                await run.complete(tx, [job])
            self.ran.append((job.payload["name"], now, row))

    async def call(self, method: str, **body: Any) -> OwnReply:
        [route] = [route for route in SandboxClockApi(self.sandbox).routes() if route.method == method]
        assert (route.pattern, route.access) == ("/simulator/v1/clock", "machine")
        assert route.free_handler is not None
        return await route.free_handler(OwnRequest(method, {}, {}, body, self.clock.now()))


@asynccontextmanager
async def _sandbox(database: Database, **options: Any) -> AsyncIterator[Sandbox]:
    clock = VirtualClock()
    worker = Worker(database, clock, name="one")
    sandbox = Sandbox(database, clock, SandboxClock(database, clock, worker, **options))
    worker.register("timer", sandbox.ring)
    await sandbox.sandbox.start()
    running = asyncio.create_task(worker.run())
    try:
        yield sandbox
    finally:
        sandbox.gate.set()
        await worker.stop(5)
        await running
        await sandbox.sandbox.close()


async def _set_row(database: Database, *, offset: timedelta, is_held: bool, stands_at: datetime | None) -> None:
    async with database.transaction() as tx:
        await tx.execute(
            "UPDATE simulator_clock SET offset_us = $1, is_held = $2, stands_at = $3",
            offset // timedelta(microseconds=1),
            is_held,
            stands_at,
        )


@pytest.fixture
async def sandbox(database: Database) -> AsyncIterator[Sandbox]:
    await _set_row(database, offset=timedelta(), is_held=True, stands_at=START)
    async with _sandbox(database) as sandbox:
        yield sandbox


class TestMoving:
    async def test_each_timer_sees_its_own_due_time_in_order(self, sandbox: Sandbox) -> None:
        await sandbox.schedule("three", hours(3))
        await sandbox.schedule("one", hours(1))
        await sandbox.schedule("later", hours(5))
        await sandbox.schedule("also three", hours(3))

        reply = await sandbox.call("POST", to="2100-01-01T16:00:00Z")

        assert sandbox.ran == [
            ("one", hours(1), hours(1)),
            ("three", hours(3), hours(3)),
            ("also three", hours(3), hours(3)),
        ]
        assert {name: reply.body[name] for name in ("now", "target", "steps", "jobs", "stopped_by", "held")} == {
            "now": "2100-01-01T16:00:00.000Z",
            "target": "2100-01-01T16:00:00.000Z",
            "steps": 2,
            "jobs": 3,
            "stopped_by": None,
            "held": True,
        }

    async def test_what_a_timer_sets_in_motion_runs_within_the_same_move(self, sandbox: Sandbox) -> None:
        await sandbox.schedule("first", hours(1), then=[0, 1, 9])

        await sandbox.call("POST", advance_s=4 * 3600)

        assert [(name, at) for name, at, _ in sandbox.ran] == [
            ("first", hours(1)),
            ("first+0", hours(1)),
            ("first+1", hours(2)),
        ]

    async def test_a_timer_due_at_the_target_runs(self, sandbox: Sandbox) -> None:
        await sandbox.schedule("on the dot", hours(2))

        await sandbox.call("POST", advance_s=7200)

        assert [name for name, _, _ in sandbox.ran] == ["on the dot"]

    async def test_90_days_with_a_timer_a_day_take_90_steps(self, sandbox: Sandbox) -> None:
        for day in range(1, 91):
            await sandbox.schedule(str(day), hours(24 * day))

        reply = await sandbox.call("POST", advance_s=90 * 86_400)

        assert [name for name, _, _ in sandbox.ran] == [str(day) for day in range(1, 91)]
        assert (reply.body["steps"], reply.body["jobs"]) == (90, 90)

    async def test_too_many_steps_end_the_move_and_the_next_one_goes_on(self, database: Database) -> None:
        await _set_row(database, offset=timedelta(), is_held=True, stands_at=START)
        async with _sandbox(database, steps_max=2) as sandbox:
            for place in (1, 2, 3):
                await sandbox.schedule(str(place), hours(place))

            reply = await sandbox.call("POST", advance_s=10 * 3600)
            assert (reply.body["stopped_by"], reply.body["now"]) == ("steps", "2100-01-01T14:00:00.000Z")
            assert [name for name, _, _ in sandbox.ran] == ["1", "2"]

            reply = await sandbox.call("POST", to=reply.body["target"])
            assert (reply.body["stopped_by"], reply.body["now"]) == (None, "2100-01-01T22:00:00.000Z")
            assert [name for name, _, _ in sandbox.ran] == ["1", "2", "3"]

    async def test_a_job_that_hangs_ends_the_move_in_time(self, database: Database) -> None:
        await _set_row(database, offset=timedelta(), is_held=True, stands_at=START)
        async with _sandbox(database, real_s_max=0.3) as sandbox:
            await sandbox.schedule("hangs", hours(1), wait=True)
            await sandbox.schedule("waits", hours(2))

            reply = await sandbox.call("POST", to="2100-01-01T22:00:00Z")
            # A busy machine may need several moves to come as far as the job.
            while sandbox.clock.now() < hours(1):
                reply = await sandbox.call("POST", to="2100-01-01T22:00:00Z")
            assert (reply.body["stopped_by"], reply.body["now"]) == ("time", "2100-01-01T13:00:00.000Z")
            assert sandbox.ran == []

            sandbox.gate.set()
            while reply.body["stopped_by"]:
                reply = await sandbox.call("POST", to="2100-01-01T22:00:00Z")
            assert [(name, at) for name, at, _ in sandbox.ran] == [("hangs", hours(1)), ("waits", hours(2))]

    async def test_moves_side_by_side_take_turns(self, sandbox: Sandbox) -> None:
        await sandbox.schedule("one", hours(1))

        await asyncio.gather(*(sandbox.call("POST", advance_s=3600) for _ in range(4)))

        assert sandbox.clock.now() == hours(4)
        assert sandbox.ran == [("one", hours(1), hours(1))]

    async def test_a_move_to_now_changes_nothing(self, sandbox: Sandbox) -> None:
        reply = await sandbox.call("POST", advance_s=0)

        assert (reply.body["now"], reply.body["steps"]) == ("2100-01-01T12:00:00.000Z", 0)

    async def test_a_running_clock_runs_on_from_the_target(self, database: Database) -> None:
        async with _sandbox(database) as sandbox:
            await sandbox.schedule("timer", START)

            reply = await sandbox.call("POST", to=(START + HOUR).isoformat())

            assert [(name, at) for name, at, _ in sandbox.ran] == [("timer", START)]
            assert reply.body["held"] is False
            assert sandbox.clock.held_at is None
            # A minute is more than the machine needs from the target to here.
            assert hours(1) <= sandbox.clock.now() < hours(1) + timedelta(minutes=1)


class TestRefusals:
    @pytest.mark.parametrize(
        "body",
        [
            {"advance_s": -1},
            {"advance_s": -1e300},
            {"advance_s": 1e300},
            {"advance_s": float("nan")},
            {"advance_s": True},
            {"advance_s": "60"},
            {"advance_s": 200 * 366 * 86_400},
            {"to": "2100-01-01T11:59:59Z"},
            {"to": "2100-01-02T12:00:00"},
            {"to": "0001-01-01T00:00:00+23:00"},
            {"to": "2200-01-02T00:00:00Z"},
            {"to": "tomorrow"},
            {"to": 5},
            {"hold": False},
            {"release": 1},
            {"hold": True, "release": True},
            {"hold": True, "until": "x"},
            {"until": "x"},
            {},
        ],
    )
    async def test_a_change_without_meaning_or_backwards_is_refused_and_changes_nothing(
        self, sandbox: Sandbox, body: dict[str, Any]
    ) -> None:
        with pytest.raises(Refusal) as refusal:
            await sandbox.call("POST", **body)

        assert refusal.value.status == 400
        assert sandbox.clock.now() == START
        assert (await sandbox.call("GET")).body["held"] is True

    async def test_the_words_say_what_time_it_is_already(self, sandbox: Sandbox) -> None:
        with pytest.raises(Refusal, match=r"forward only: it is 2100-01-01T12:00:00\.000Z already"):
            await sandbox.call("POST", to="2030-01-01T00:00:00Z")


class TestHolding:
    async def test_a_held_clock_stands_still_until_it_is_released(self, database: Database) -> None:
        async with _sandbox(database) as sandbox:
            assert sandbox.clock.held_at is None

            held = await sandbox.call("POST", hold=True)
            again = await sandbox.call("POST", hold=True)
            assert held.body["held"] is True
            assert held.body["now"] == again.body["now"]
            stood_at = sandbox.clock.now()
            assert sandbox.clock.now() == stood_at

            released = await sandbox.call("POST", release=True)
            assert released.body["held"] is False
            assert sandbox.clock.held_at is None
            assert stood_at <= sandbox.clock.now() < stood_at + timedelta(minutes=1)

    async def test_releasing_a_running_clock_changes_nothing(self, database: Database) -> None:
        async with _sandbox(database) as sandbox:
            before = sandbox.clock.offset

            await sandbox.call("POST", release=True)

            assert sandbox.clock.offset == before == timedelta()

    async def test_the_offset_is_the_distance_to_the_machines_clock(self, sandbox: Sandbox) -> None:
        shown = (await sandbox.call("GET")).body

        distance = datetime.fromisoformat(shown["now"]) - datetime.fromisoformat(shown["real_now"])
        assert shown["offset_s"] == pytest.approx(distance.total_seconds(), abs=0.01)


class TestRestart:
    async def test_a_held_clock_is_held_where_it_was(self, database: Database) -> None:
        longago = datetime(2001, 1, 1, tzinfo=UTC)
        await _set_row(database, offset=timedelta(), is_held=True, stands_at=longago)

        async with _sandbox(database) as sandbox:
            assert sandbox.clock.now() == longago
            assert (await sandbox.call("GET")).body["held"] is True

    async def test_a_running_clock_keeps_its_offset(self, database: Database) -> None:
        async with _sandbox(database) as sandbox:
            await sandbox.call("POST", advance_s=90 * 86_400)
            offset = sandbox.clock.offset

        async with _sandbox(database) as sandbox:
            assert sandbox.clock.offset == offset
            assert abs(offset - timedelta(days=90)) < timedelta(minutes=1)

    async def test_a_move_that_was_cut_off_runs_from_where_it_stood(self, database: Database) -> None:
        await _set_row(database, offset=timedelta(), is_held=False, stands_at=START)

        async with _sandbox(database) as sandbox:
            assert START <= sandbox.clock.now() < START + timedelta(minutes=1)
            await sandbox.schedule("goes on", hours(1))
            await sandbox.call("POST", to=hours(2).isoformat())
            assert [(name, at) for name, at, _ in sandbox.ran] == [("goes on", hours(1))]

    async def test_time_that_overtook_a_cut_off_move_is_not_lived_twice(self, database: Database) -> None:
        await _set_row(database, offset=HOUR, is_held=False, stands_at=datetime(2001, 1, 1, tzinfo=UTC))

        async with _sandbox(database) as sandbox:
            assert sandbox.clock.offset == HOUR


class Idle:
    """A worker with nothing to do."""

    def __init__(self) -> None:
        self.changes = 0
        self.changed = asyncio.Event()

    async def settle(self) -> None:
        return

    async def next_due(self) -> datetime | None:
        return None

    def clock_changed(self) -> None:
        self.changes += 1
        self.changed.set()


@asynccontextmanager
async def _elsewhere(connect_args: dict[str, Any]) -> AsyncIterator[tuple[VirtualClock, Idle, SandboxClock]]:
    database = await Database.connect(connect_args)
    clock, idle = VirtualClock(), Idle()
    sandbox = SandboxClock(database, clock, idle)
    await sandbox.start()
    try:
        yield clock, idle, sandbox
    finally:
        await sandbox.close()
        await database.close()


async def _until(idle: Idle, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            idle.changed.clear()
            await idle.changed.wait()


class TestOtherProcesses:
    async def test_they_follow_and_look_for_jobs(self, sandbox: Sandbox, connect_args: dict[str, Any]) -> None:
        async with _elsewhere(connect_args) as (clock, idle, _):
            assert clock.now() == START
            before = idle.changes

            await sandbox.call("POST", advance_s=3600)
            await _until(idle, lambda: clock.now() == hours(1))
            assert idle.changes > before

            await sandbox.call("POST", release=True)
            await _until(idle, lambda: clock.held_at is None)
            assert clock.offset == sandbox.clock.offset

    async def test_moves_in_two_processes_add_up(self, sandbox: Sandbox, connect_args: dict[str, Any]) -> None:
        async with _elsewhere(connect_args) as (_, _, other):
            await asyncio.gather(
                sandbox.call("POST", advance_s=3600), other.advance(HOUR), sandbox.call("POST", advance_s=3600)
            )

            assert max(sandbox.sandbox.state().now, other.state().now) == hours(3)

    async def test_a_start_during_a_move_leaves_the_move_alone(self, database: Database) -> None:
        await _set_row(database, offset=timedelta(), is_held=False, stands_at=None)
        async with _sandbox(database) as sandbox:
            await sandbox.schedule("hangs", START, wait=True)
            move = asyncio.create_task(sandbox.call("POST", to=hours(1).isoformat()))
            await _stands_at(database, START)
            late, idle = VirtualClock(), Idle()
            newcomer = SandboxClock(database, late, idle)

            await newcomer.start()
            assert late.held_at == START
            sandbox.gate.set()
            reply = await move
            await _until(idle, lambda: late.held_at is None)
            await newcomer.close()

            assert reply.body["stopped_by"] is None
            assert late.now() >= hours(1)


async def _stands_at(database: Database, at: datetime) -> None:
    async with asyncio.timeout(10):
        while True:
            async with database.snapshot() as tx:
                if await tx.fetchval("SELECT stands_at FROM simulator_clock") == at:
                    return
