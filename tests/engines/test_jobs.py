import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.engines.jobs import (
    Backoff,
    Handler,
    Job,
    LeaseLost,
    NewJob,
    Run,
    Worker,
    WorkerSettings,
    cancel,
    dead_letters,
    depth,
    enqueue,
    lock_buckets,
    next_places,
    replay,
    set_rate,
    taking,
)

# Polling and lease renewal never come in time to help, so what a test sees was caused by what it did.
_QUIET = WorkerSettings(lease_s=3600, poll_s=3600, random=lambda: 0.5)


class _Crew:
    """Starts workers, and ends those that the test left running."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database = database
        self.clock = clock
        self.tasks: dict[Worker, asyncio.Task[None]] = {}

    async def start(
        self,
        handlers: dict[str, Handler],
        *,
        name: str = "node",
        settings: WorkerSettings = _QUIET,
        database: Database | None = None,
        **options: Any,
    ) -> Worker:
        worker = Worker(database or self.database, self.clock, name=name, settings=settings)
        for task, handler in handlers.items():
            worker.register(task, handler, **options)
        self.tasks[worker] = asyncio.create_task(worker.run())
        await worker.settle()
        return worker

    async def kill(self, worker: Worker) -> None:
        task = self.tasks.pop(worker)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def enqueue(self, *jobs: NewJob) -> list[int]:
        async with self.database.transaction() as tx:
            return await enqueue(tx, jobs, self.clock.now())

    async def advance(self, worker: Worker, seconds: float) -> None:
        self.clock.hold(self.clock.now() + timedelta(seconds=seconds))
        worker.clock_changed()
        await worker.settle()

    async def until_listening(self, worker: Worker) -> None:
        """Wait for the worker's LISTEN and for the look at the table that follows it."""
        async with self.database.snapshot() as tx:
            while not await tx.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
                "AND state = 'idle' AND query LIKE 'LISTEN%')"
            ):
                pass
        await worker.settle()

    async def states(self) -> list[tuple[int, str, int]]:
        async with self.database.snapshot() as tx:
            rows = await tx.fetch("SELECT id, state, attempt FROM jobs ORDER BY id")
        return [(row["id"], row["state"], row["attempt"]) for row in rows]


@pytest.fixture
async def crew(database: Database, clock: VirtualClock) -> AsyncIterator[_Crew]:
    crew = _Crew(database, clock)
    yield crew
    for worker in list(crew.tasks):
        await crew.kill(worker)


class _Recorder:
    """A handler that notes what it was given, and fails where told."""

    def __init__(self, fails: Callable[[Job], bool] = lambda job: False) -> None:
        self.batches: list[list[Any]] = []
        self.jobs: list[Job] = []
        self._fails = fails

    async def __call__(self, run: Run, jobs: list[Job]) -> None:
        self.batches.append([job.payload.get("n") for job in jobs])
        self.jobs.extend(jobs)
        for job in jobs:
            if self._fails(job):
                raise ValueError(f"cannot do {job.payload['n']}")

    @property
    def numbers(self) -> list[Any]:
        return [n for batch in self.batches for n in batch]


class _Gate:
    """A handler that waits until the test opens it."""

    def __init__(self) -> None:
        self.numbers: list[Any] = []
        self.begun = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, run: Run, jobs: list[Job]) -> None:
        self.numbers += [job.payload["n"] for job in jobs]
        self.begun.set()
        await self.open.wait()


def _job(n: int, task: str = "t", **more: Any) -> NewJob:
    return NewJob(task, {"n": n}, **more)


class TestEnqueue:
    async def test_ids_come_in_the_order_of_the_jobs(self, crew: _Crew) -> None:
        ids = await crew.enqueue(*[_job(n) for n in range(50)])
        async with crew.database.snapshot() as tx:
            rows = await tx.fetch("SELECT id, payload FROM jobs")
        assert sorted(ids) == ids
        assert {row["id"]: row["payload"]["n"] for row in rows} == dict(zip(ids, range(50), strict=True))

    async def test_no_jobs_are_no_statement(self, crew: _Crew) -> None:
        assert await crew.enqueue() == []

    async def test_a_rollback_leaves_no_job(self, crew: _Crew) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with crew.database.transaction() as tx:
                await enqueue(tx, [_job(1)], crew.clock.now())
                raise ZeroDivisionError
        assert await crew.states() == []

    async def test_a_job_enqueued_before_any_worker_runs_when_one_starts(self, crew: _Crew) -> None:
        (id_,) = await crew.enqueue(NewJob("t", {"n": 1}, account_sid="AC1", cost=3))
        done = _Recorder()
        await crew.start({"t": done})
        assert done.jobs == [
            Job(id_, "t", {"n": 1}, "AC1", None, None, 3, crew.clock.now(), attempt=1, created_at=crew.clock.now())
        ]
        assert await crew.states() == []


class TestHandOver:
    async def test_a_committed_job_is_leased_at_insert_and_runs_without_a_claim(self, crew: _Crew) -> None:
        gate = _Gate()
        worker = await crew.start({"t": gate})
        async with crew.database.transaction() as tx:
            (id_,) = await enqueue(tx, [_job(1)], crew.clock.now())
            row = await tx.fetchrow("SELECT state, leased_by, attempt FROM jobs")
            assert row is not None
            assert tuple(row) == ("leased", worker.lease_id, 1)
            assert gate.numbers == []
        await gate.begun.wait()
        assert await crew.states() == [(id_, "leased", 1)]
        gate.open.set()
        await worker.settle()
        assert gate.numbers == [1]
        assert await crew.states() == []

    async def test_a_rollback_drops_the_hand_over(self, crew: _Crew) -> None:
        done = _Recorder()
        worker = await crew.start({"t": done})
        with contextlib.suppress(ZeroDivisionError):
            async with crew.database.transaction() as tx:
                await enqueue(tx, [_job(1)], crew.clock.now())
                raise ZeroDivisionError
        async with crew.database.transaction() as tx:
            await enqueue(tx, [_job(2)], crew.clock.now())
            with contextlib.suppress(ZeroDivisionError):
                async with tx.savepoint():
                    await enqueue(tx, [_job(3)], crew.clock.now())
                    raise ZeroDivisionError
        await worker.settle()
        assert done.numbers == [2]

    async def test_the_handler_sees_the_payload_as_the_table_holds_it(self, crew: _Crew) -> None:
        done = _Recorder()
        worker = await crew.start({"t": done})
        payload: dict[str, Any] = {"n": 1, "at": crew.clock.now(), "pair": (1, 2)}
        await crew.enqueue(NewJob("t", payload))
        payload["n"] = 2
        await worker.settle()
        assert done.jobs[0].payload == {"n": 1, "at": "2030-01-01T12:00:00Z", "pair": [1, 2]}

    async def test_jobs_beyond_the_room_in_memory_stay_ready_and_all_run_once(self, crew: _Crew) -> None:
        gate = _Gate()
        worker = await crew.start({"t": gate}, batch_max=2)
        await crew.enqueue(*[_job(n) for n in range(10)])
        await gate.begun.wait()
        async with crew.database.snapshot() as tx:
            (found,) = await depth(tx, crew.clock.now())
        assert (found.ready, found.leased) == (6, 4)
        gate.open.set()
        await worker.settle()
        assert sorted(gate.numbers) == list(range(10))

    @pytest.mark.parametrize(
        "more", [{"order_key": "k"}, {"rate_key": "k"}, {"due_at": datetime.fromisoformat("2031-01-01T00:00:00Z")}]
    )
    async def test_a_job_with_a_condition_is_not_handed_over(self, crew: _Crew, more: dict[str, Any]) -> None:
        await crew.start({"t": _Recorder()})
        async with crew.database.transaction() as tx:
            await enqueue(tx, [_job(1, **more)], crew.clock.now())
            assert await tx.fetchval("SELECT state FROM jobs") == "ready"

    async def test_a_task_that_nobody_here_serves_stays_ready(self, crew: _Crew) -> None:
        await crew.start({"t": _Recorder()})
        (id_,) = await crew.enqueue(_job(1, "other"))
        assert await crew.states() == [(id_, "ready", 0)]


class TestDue:
    async def test_a_delayed_job_runs_when_the_clock_reaches_it_and_not_before(self, crew: _Crew) -> None:
        done = _Recorder()
        worker = await crew.start({"t": done})
        at = crew.clock.now() + timedelta(days=90)
        await crew.enqueue(_job(1, due_at=at))
        await worker.settle()
        assert await worker.next_due() == at
        await crew.advance(worker, 90 * 86400 - 1)
        assert done.numbers == []
        await crew.advance(worker, 1)
        assert done.numbers == [1]
        assert await worker.next_due() is None

    async def test_on_a_running_clock_the_worker_wakes_by_itself(self, crew: _Crew) -> None:
        ran = asyncio.Event()

        async def handle(run: Run, jobs: list[Job]) -> None:
            ran.set()

        worker = await crew.start({"t": handle})
        crew.clock.release()
        worker.clock_changed()
        await crew.enqueue(_job(1, due_at=crew.clock.now() + timedelta(milliseconds=30)))
        assert not ran.is_set()
        async with asyncio.timeout(20):
            await ran.wait()

    async def test_a_job_of_another_process_is_announced(self, crew: _Crew, connect_args: dict[str, Any]) -> None:
        ran = asyncio.Event()

        async def handle(run: Run, jobs: list[Job]) -> None:
            ran.set()

        worker = await crew.start({"t": handle})
        elsewhere = await Database.connect(connect_args)
        async with asyncio.timeout(20):
            await crew.until_listening(worker)
            async with elsewhere.transaction() as tx:
                await enqueue(tx, [_job(1)], crew.clock.now())
            await ran.wait()
        await elsewhere.close()

    async def test_an_earlier_job_runs_first(self, crew: _Crew) -> None:
        now = crew.clock.now()
        await crew.enqueue(*[_job(n, due_at=now - timedelta(seconds=n)) for n in (1, 3, 2)])
        done = _Recorder()
        await crew.start({"t": done}, batch_max=1)
        assert done.numbers == [3, 2, 1]

    async def test_cancel_deletes_what_has_not_begun(self, crew: _Crew) -> None:
        gate = _Gate()
        worker = await crew.start({"t": gate})
        (begun,) = await crew.enqueue(_job(1))
        await gate.begun.wait()
        (delayed,) = await crew.enqueue(_job(2, due_at=crew.clock.now() + timedelta(hours=1)))
        async with crew.database.transaction() as tx:
            assert await cancel(tx, [begun, delayed]) == [delayed]
        gate.open.set()
        await crew.advance(worker, 7200)
        assert gate.numbers == [1]


class TestWakingUp:
    """Nobody calls settle here, which would look for jobs itself, and polling never comes in time."""

    async def _numbers(self, crew: _Crew, count: int, **options: Any) -> list[Any]:
        seen: list[Any] = []
        all_seen = asyncio.Event()

        async def handle(run: Run, jobs: list[Job]) -> None:
            for job in jobs:
                seen.append(job.payload["n"])
            if len(seen) == count:
                all_seen.set()

        worker = Worker(crew.database, crew.clock, name="node", settings=_QUIET)
        for task in ("a", "b"):
            worker.register(task, handle, **options)
        crew.tasks[worker] = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            await all_seen.wait()
        return seen

    async def test_a_backlog_of_many_batches_drains(self, crew: _Crew) -> None:
        await crew.enqueue(*[_job(n, "a") for n in range(10)])
        assert await self._numbers(crew, 10, batch_max=2) == list(range(10))

    async def test_the_end_of_a_job_wakes_its_successor_in_another_task(self, crew: _Crew) -> None:
        await crew.enqueue(*[_job(n, "ab"[n % 2], order_key="k") for n in range(6)])
        assert await self._numbers(crew, 6) == list(range(6))

    async def test_a_retry_wakes_when_it_is_due_on_a_running_clock(self, crew: _Crew) -> None:
        attempts: list[int] = []
        again = asyncio.Event()

        async def handle(run: Run, jobs: list[Job]) -> None:
            attempts.append(jobs[0].attempt)
            if len(attempts) == 1:
                raise ValueError
            again.set()

        worker = await crew.start({"t": handle}, backoff=Backoff(first_s=0.02))
        await crew.until_listening(worker)
        crew.clock.release()
        await crew.enqueue(_job(1))
        async with asyncio.timeout(20):
            await again.wait()
        assert attempts == [1, 2]

    async def test_a_place_in_the_bucket_wakes_when_it_comes_on_a_running_clock(self, crew: _Crew) -> None:
        crew.clock.release()
        async with crew.database.transaction() as tx:
            await set_rate(tx, "k", 50, 1)
        await crew.enqueue(*[_job(n, "a", rate_key="k") for n in range(3)])
        assert await self._numbers(crew, 3) == [0, 1, 2]


class TestOrderKey:
    async def test_jobs_of_one_key_run_one_at_a_time_in_order_across_tasks(self, crew: _Crew) -> None:
        running = 0
        seen: list[Any] = []

        async def handle(run: Run, jobs: list[Job]) -> None:
            nonlocal running
            running += len(jobs)
            assert running == 1
            async with run.transaction() as tx:
                await tx.fetchval("SELECT 1")
            seen.extend(job.payload["n"] for job in jobs)
            running -= len(jobs)

        worker = await crew.start({"a": handle, "b": handle}, concurrency=4)
        await crew.enqueue(*[_job(n, "ab"[n % 2], order_key="k") for n in range(8)])
        await worker.settle()
        assert seen == list(range(8))

    async def test_other_keys_do_not_wait(self, crew: _Crew) -> None:
        await crew.enqueue(_job(1, order_key="x"), _job(2, order_key="y"), _job(3, order_key="x"), _job(4))
        done = _Recorder()
        await crew.start({"t": done})
        assert done.batches == [[1, 2, 4], [3]]

    async def test_a_retry_holds_its_followers_back(self, crew: _Crew) -> None:
        done = _Recorder(lambda job: job.payload["n"] == 1 and job.attempt == 1)
        worker = await crew.start({"t": done}, backoff=Backoff(first_s=10))
        await crew.enqueue(_job(1, order_key="k"), _job(2, order_key="k"))
        await worker.settle()
        assert done.numbers == [1]
        assert await worker.next_due() == crew.clock.now() + timedelta(seconds=10)
        await crew.advance(worker, 10)
        assert done.numbers == [1, 1, 2]

    async def test_a_dead_job_lets_its_followers_go(self, crew: _Crew) -> None:
        done = _Recorder(lambda job: job.payload["n"] == 1)
        worker = await crew.start({"t": done}, attempts_max=1)
        await crew.enqueue(_job(1, order_key="k"), _job(2, order_key="k"))
        await worker.settle()
        assert done.numbers == [1, 2]

    async def test_a_replayed_job_does_not_run_beside_a_later_one_of_its_key(self, crew: _Crew) -> None:
        gate = _Gate()
        seen: list[Any] = []
        claimed = asyncio.Event()

        async def handle(run: Run, jobs: list[Job]) -> None:
            seen.extend(job.payload["n"] for job in jobs)
            if len(seen) == 1:
                raise ValueError
            claimed.set()

        worker = await crew.start({"first": handle, "second": gate}, attempts_max=1)
        (id_,) = await crew.enqueue(_job(1, "first", order_key="k"))
        await worker.settle()
        await crew.enqueue(_job(2, "second", order_key="k"))
        await gate.begun.wait()
        async with crew.database.transaction() as tx:
            assert await replay(tx, [id_]) == [id_]
            # Of the same task and claimed with it, if it could be claimed.
            await enqueue(tx, [_job(3, "first", order_key="other")], crew.clock.now())
        await claimed.wait()
        assert seen == [1, 3]
        gate.open.set()
        await worker.settle()
        assert seen == [1, 3, 1]


class TestFailure:
    async def test_one_bad_job_does_not_take_its_batch_down(self, crew: _Crew) -> None:
        await crew.enqueue(*[_job(n) for n in range(4)])
        done = _Recorder(lambda job: job.payload["n"] == 2)
        worker = await crew.start({"t": done})
        assert done.batches == [[0, 1, 2, 3], [0], [1], [2], [3]]
        assert [(state, attempt) for _, state, attempt in await crew.states()] == [("ready", 1)]
        assert await worker.next_due() == crew.clock.now() + timedelta(seconds=1)

    async def test_backoff_grows_until_the_job_is_dead_and_replay_gives_it_all_its_attempts_again(
        self, crew: _Crew
    ) -> None:
        broken = True
        done = _Recorder(lambda job: broken)
        worker = await crew.start({"t": done}, attempts_max=3, backoff=Backoff(first_s=2, factor=3))
        (id_,) = await crew.enqueue(_job(7))
        await worker.settle()
        waits = []
        while (due := await worker.next_due()) is not None:
            waits.append((due - crew.clock.now()).total_seconds())
            await crew.advance(worker, waits[-1])
        assert waits == [2, 6]
        assert await crew.states() == [(id_, "dead", 3)]
        async with crew.database.transaction() as tx:
            (letter,) = await dead_letters(tx, task="t")
            assert await dead_letters(tx, task="other") == []
            assert (letter.job.id, letter.error) == (id_, "ValueError: cannot do 7")
            (found,) = await depth(tx, crew.clock.now())
            assert (found.task, found.dead, found.ready) == ("t", 1, 0)
            broken = False
            assert await replay(tx, [id_, id_ + 1]) == [id_]
        await worker.settle()
        assert [job.attempt for job in done.jobs] == [1, 2, 3, 1]
        assert await crew.states() == []

    async def test_jitter_spreads_to_both_sides_and_the_wait_has_a_maximum(self) -> None:
        backoff = Backoff(first_s=10, factor=2, max_s=100, jitter=0.2)
        assert backoff.delay(1, lambda: 0.0) == timedelta(seconds=8)
        assert backoff.delay(1, lambda: 1.0) == timedelta(seconds=12)
        assert backoff.delay(10_000, lambda: 0.5) == timedelta(seconds=100)

    async def test_the_handler_decides_for_each_job(self, crew: _Crew) -> None:
        retry_at = crew.clock.now() + timedelta(minutes=5)

        async def handle(run: Run, jobs: list[Job]) -> None:
            async with run.transaction() as tx:
                for job in jobs:
                    match job.payload["n"]:
                        case 1:
                            await run.complete(tx, [job])
                        case 2:
                            await run.retry(tx, job, due_at=retry_at, error="later")
                        case 3:
                            await run.bury(tx, job, "never")
            assert [job.payload["n"] for job in run.left] == [4]

        ids = await crew.enqueue(*[_job(n) for n in (1, 2, 3, 4)])
        worker = await crew.start({"t": handle})
        assert await crew.states() == [(ids[1], "ready", 1), (ids[2], "dead", 1)]
        assert await worker.next_due() == retry_at

    async def test_what_was_settled_before_a_failure_stays_settled(self, crew: _Crew) -> None:
        seen: list[list[Any]] = []

        async def handle(run: Run, jobs: list[Job]) -> None:
            seen.append([job.payload["n"] for job in jobs])
            if len(seen) == 1:
                async with run.transaction() as tx:
                    await run.complete(tx, jobs[:2])
                raise ValueError

        await crew.enqueue(*[_job(n) for n in range(3)])
        await crew.start({"t": handle})
        assert seen == [[0, 1, 2], [2]]
        assert await crew.states() == []

    async def test_settling_in_a_transaction_that_rolls_back_settles_nothing(self, crew: _Crew) -> None:
        async def handle(run: Run, jobs: list[Job]) -> None:
            async with run.transaction() as tx:
                await run.complete(tx, jobs)
                raise ValueError("after all not")

        (id_,) = await crew.enqueue(_job(1))
        await crew.start({"t": handle})
        assert await crew.states() == [(id_, "ready", 1)]

    async def test_a_handler_whose_inner_task_is_cancelled_fails_like_any_other(self, crew: _Crew) -> None:
        async def handle(run: Run, jobs: list[Job]) -> None:
            raise asyncio.CancelledError

        (id_,) = await crew.enqueue(_job(1))
        await crew.start({"t": handle}, attempts_max=1)
        assert await crew.states() == [(id_, "dead", 1)]


class TestLeases:
    async def test_a_killed_worker_s_jobs_run_at_once_when_its_name_starts_again(self, crew: _Crew) -> None:
        gate = _Gate()
        worker = await crew.start({"t": gate}, batch_max=1)
        ids = await crew.enqueue(_job(1), _job(2))
        await gate.begun.wait()
        await crew.kill(worker)
        assert await crew.states() == [(ids[0], "leased", 1), (ids[1], "leased", 1)]
        done = _Recorder()
        await crew.start({"t": done})
        assert done.numbers == [1, 2]
        assert [job.attempt for job in done.jobs] == [2, 2]

    async def test_a_worker_of_another_name_takes_no_live_lease_whatever_the_business_clock_says(
        self, crew: _Crew
    ) -> None:
        gate, done = _Gate(), _Recorder()
        first = await crew.start({"t": gate}, name="first")
        await crew.enqueue(_job(1))
        await gate.begun.wait()
        crew.clock.hold(crew.clock.now() + timedelta(days=90))
        second = Worker(crew.database, crew.clock, name="second", settings=_QUIET)
        second.register("t", done)
        crew.tasks[second] = asyncio.create_task(second.run())
        gate.open.set()
        await second.settle()
        await first.settle()
        assert (gate.numbers, done.numbers) == ([1], [])
        assert await crew.states() == []

    async def test_a_lease_that_ran_out_is_taken_over_and_the_old_holder_cannot_commit(self, crew: _Crew) -> None:
        errors: list[Exception] = []
        begun, go = asyncio.Event(), asyncio.Event()

        async def slow(run: Run, jobs: list[Job]) -> None:
            begun.set()
            await go.wait()
            try:
                async with run.transaction() as tx:
                    await tx.execute("CREATE TABLE written_by_the_old_holder (n integer)")
                    await run.complete(tx, jobs)
            except LeaseLost as error:
                errors.append(error)
                raise

        await crew.start({"t": slow}, name="first")
        await crew.enqueue(_job(1))
        await begun.wait()
        async with crew.database.transaction() as tx:
            await tx.execute("UPDATE job_workers SET lease_until = clock_timestamp() - interval '1 second'")
        done = _Recorder()
        second = await crew.start({"t": done}, name="second")
        assert [(job.payload["n"], job.attempt) for job in done.jobs] == [(1, 2)]
        go.set()
        await second.settle()
        async with asyncio.timeout(20):
            while not errors:
                await crew.states()
        async with crew.database.snapshot() as tx:
            assert await tx.fetchval("SELECT to_regclass('written_by_the_old_holder')") is None

    async def test_a_job_that_outlives_too_many_workers_is_dead(self, crew: _Crew) -> None:
        (id_,) = await crew.enqueue(_job(1))
        async with crew.database.transaction() as tx:
            await tx.execute("UPDATE jobs SET state = 'leased', leased_by = -1, lost = 19")
        done = _Recorder()
        await crew.start({"t": done})
        assert done.numbers == []
        assert await crew.states() == [(id_, "dead", 0)]

    async def test_a_leased_job_that_no_memory_knows_of_is_put_back(self, crew: _Crew) -> None:
        done = _Recorder()
        worker = await crew.start({"t": done}, settings=WorkerSettings(lease_s=0.09, poll_s=3600))
        async with crew.database.transaction() as tx:
            # As if the answer to the commit of an enqueue had been lost.
            await tx.execute(
                "INSERT INTO jobs (task, payload, due_at, created_at, state, leased_by, attempt) "
                "VALUES ('t', $1, $2, $2, 'leased', $3, 1)",
                {"n": 1},
                crew.clock.now(),
                worker.lease_id,
            )
        async with asyncio.timeout(20):
            await worker.settle()
        assert done.numbers == [1]

    async def test_two_workers_share_and_each_job_runs_once(self, crew: _Crew, connect_args: dict[str, Any]) -> None:
        elsewhere = await Database.connect(connect_args)
        turns = [asyncio.Event(), asyncio.Event()]
        seen: list[list[Any]] = [[], []]

        def handler(me: int) -> Handler:
            async def handle(run: Run, jobs: list[Job]) -> None:
                seen[me] += [job.payload["n"] for job in jobs]
                turns[me].set()
                # Nobody goes on before the other has got its share.
                await turns[1 - me].wait()

            return handle

        first = Worker(crew.database, crew.clock, name="first", settings=_QUIET)
        second = Worker(elsewhere, crew.clock, name="second", settings=_QUIET)
        await crew.enqueue(*[_job(n) for n in range(40)])
        for me, worker in enumerate((first, second)):
            worker.register("t", handler(me), batch_max=3)
            crew.tasks[worker] = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            await asyncio.gather(first.settle(), second.settle())
        assert sorted(seen[0] + seen[1]) == list(range(40))
        assert seen[0] and seen[1]
        await crew.kill(second)
        await elsewhere.close()


class TestStop:
    async def test_a_stop_waits_for_what_runs_and_puts_back_what_has_not_begun(self, crew: _Crew) -> None:
        gate = _Gate()
        worker = await crew.start({"t": gate}, batch_max=1)
        ids = await crew.enqueue(_job(1), _job(2))
        await gate.begun.wait()
        stopping = asyncio.create_task(worker.stop(60))
        await crew.states()
        assert not stopping.done()
        gate.open.set()
        await stopping
        await crew.tasks.pop(worker)
        assert gate.numbers == [1]
        assert await crew.states() == [(ids[1], "ready", 0)]
        async with crew.database.snapshot() as tx:
            assert await tx.fetchval("SELECT count(*) FROM job_workers") == 0

    async def test_a_handler_that_outlasts_the_grace_is_cancelled_and_its_job_put_back(self, crew: _Crew) -> None:
        gate = _Gate()
        worker = await crew.start({"t": gate})
        (id_,) = await crew.enqueue(_job(1))
        await gate.begun.wait()
        await worker.stop(0)
        await crew.tasks.pop(worker)
        assert await crew.states() == [(id_, "ready", 1)]

    async def test_after_a_stop_nothing_is_handed_over(self, crew: _Crew) -> None:
        worker = await crew.start({"t": _Recorder()})
        await worker.stop(1)
        await crew.tasks.pop(worker)
        (id_,) = await crew.enqueue(_job(1))
        assert await crew.states() == [(id_, "ready", 0)]

    async def test_settle_of_a_worker_that_ended_raises(self, crew: _Crew) -> None:
        worker = await crew.start({"t": _Recorder()})
        await crew.kill(worker)
        with pytest.raises(RuntimeError, match="has ended"):
            await worker.settle()


class TestRate:
    async def _run(self, crew: _Crew, worker: Worker, done: _Recorder) -> list[tuple[float, list[Any]]]:
        """Go from due time to due time and note what ran when."""
        start = crew.clock.now()
        await worker.settle()
        ran = [(0.0, sorted(done.numbers))]
        while (due := await worker.next_due()) is not None:
            before = len(done.numbers)
            await crew.advance(worker, (due - crew.clock.now()).total_seconds())
            ran.append(((due - start).total_seconds(), done.numbers[before:]))
        return ran

    async def _set(self, crew: _Crew, key: str, per_s: float, burst: int) -> None:
        async with crew.database.transaction() as tx:
            await set_rate(tx, key, per_s, burst)

    async def test_a_burst_goes_at_once_and_the_rest_at_the_rate_in_order(self, crew: _Crew) -> None:
        await self._set(crew, "k", 2, 3)
        done = _Recorder()
        worker = await crew.start({"t": done})
        await crew.enqueue(*[_job(n, rate_key="k") for n in range(6)])
        assert await self._run(crew, worker, done) == [(0, [0, 1, 2]), (0.5, [3]), (1.0, [4]), (1.5, [5])]
        assert [job.attempt for job in done.jobs] == [1] * 6

    async def test_cost_takes_more_tokens_and_a_job_dearer_than_the_bucket_still_goes(self, crew: _Crew) -> None:
        await self._set(crew, "k", 1, 2)
        done = _Recorder()
        worker = await crew.start({"t": done})
        await crew.enqueue(_job(1, rate_key="k", cost=2), _job(2, rate_key="k"), _job(3, rate_key="k", cost=5))
        await crew.enqueue(_job(4, rate_key="k"))
        # The bucket is full again at 3 s; five tokens then take until 8 s, less the one that the burst lends.
        assert await self._run(crew, worker, done) == [(0, [1]), (1, [2]), (3, [3]), (7, [4])]

    async def test_keys_do_not_share_and_a_key_without_a_rate_is_unlimited(self, crew: _Crew) -> None:
        await self._set(crew, "slow", 1, 1)
        done = _Recorder()
        worker = await crew.start({"t": done})
        await crew.enqueue(*[_job(n, rate_key="slow") for n in (1, 2)], *[_job(n, rate_key="free") for n in (3, 4)])
        assert await self._run(crew, worker, done) == [(0, [1, 3, 4]), (1, [2])]

    async def test_places_are_given_in_order_over_many_claims_and_each_job_is_postponed_once(self, crew: _Crew) -> None:
        await self._set(crew, "k", 10, 1)
        done = _Recorder()
        worker = await crew.start({"t": done}, batch_max=4)
        await crew.enqueue(*[_job(n, rate_key="k") for n in range(20)])
        await worker.settle()
        async with crew.database.snapshot() as tx:
            rows = await tx.fetch("SELECT payload, due_at, slot_at FROM jobs ORDER BY due_at")
        assert [row["payload"]["n"] for row in rows] == list(range(1, 20))
        assert [row["due_at"] for row in rows] == [row["slot_at"] for row in rows]
        await self._run(crew, worker, done)
        assert done.numbers == list(range(20))

    async def test_a_new_rate_places_waiting_jobs_anew(self, crew: _Crew) -> None:
        await self._set(crew, "k", 0.1, 1)
        done = _Recorder()
        worker = await crew.start({"t": done})
        await crew.enqueue(*[_job(n, rate_key="k") for n in range(4)])
        await worker.settle()
        await self._set(crew, "k", 1, 1)
        assert await self._run(crew, worker, done) == [(0, [0]), (10, [1]), (11, [2]), (12, [3])]

    async def test_a_retry_takes_a_new_place(self, crew: _Crew) -> None:
        await self._set(crew, "k", 1, 1)
        done = _Recorder(lambda job: job.attempt == 1 and job.payload["n"] == 1)
        worker = await crew.start({"t": done}, backoff=Backoff(first_s=0.5))
        await crew.enqueue(*[_job(n, rate_key="k") for n in range(2)])
        ran = [(when, what) for when, what in await self._run(crew, worker, done) if what]
        assert ran == [(0, [0]), (1, [1]), (2, [1])]


class TestDepth:
    async def test_it_counts_by_task_and_state(self, crew: _Crew) -> None:
        now = crew.clock.now()
        later = now + timedelta(hours=1)
        await crew.enqueue(_job(1, "a"), _job(2, "a", due_at=later), _job(3, "b", due_at=later))
        async with crew.database.snapshot() as tx:
            found = await depth(tx, now)
        assert [(d.task, d.ready, d.delayed, d.leased, d.dead, d.oldest_due) for d in found] == [
            ("a", 1, 1, 0, 0, now),
            ("b", 0, 1, 0, 0, later),
        ]


async def _drop_listeners(database: Database) -> Sequence[Any]:
    async with database.snapshot() as tx:
        return await tx.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )


class TestOutage:
    async def test_a_dropped_listening_connection_is_made_again(
        self, crew: _Crew, connect_args: dict[str, Any]
    ) -> None:
        ran = asyncio.Event()

        async def handle(run: Run, jobs: list[Job]) -> None:
            ran.set()

        await crew.start({"t": handle}, settings=WorkerSettings(lease_s=3600, poll_s=3600, outage_pause_s=0.001))
        elsewhere = await Database.connect(connect_args)
        async with asyncio.timeout(20):
            while not await _drop_listeners(elsewhere):
                pass
            async with elsewhere.transaction() as tx:
                await enqueue(tx, [_job(1)], crew.clock.now())
            await ran.wait()
        await elsewhere.close()

    async def test_a_job_whose_commit_lost_its_answer_runs_soon_after_the_outage(
        self, crew: _Crew, connect_args: dict[str, Any]
    ) -> None:
        done = _Recorder()
        # The lease's own sweeps are an hour away.
        quick = WorkerSettings(lease_s=3600, poll_s=3600, outage_pause_s=0.001, suspect_pause_s=0.001)
        worker = await crew.start({"t": done}, settings=quick)
        elsewhere = await Database.connect(connect_args)
        async with elsewhere.transaction() as tx:
            await tx.execute(
                "INSERT INTO jobs (task, payload, due_at, created_at, state, leased_by, attempt) "
                "VALUES ('t', $1, $2, $2, 'leased', $3, 1)",
                {"n": 1},
                crew.clock.now(),
                worker.lease_id,
            )
        async with asyncio.timeout(20):
            while not await _drop_listeners(elsewhere):
                pass
            await worker.settle()
        await elsewhere.close()
        assert done.numbers == [1]


class TestTurns:
    async def test_a_flood_of_one_account_holds_up_nobody_else(self, crew: _Crew) -> None:
        begun: list[str | None] = []

        async def handle(run: Run, batch: list[Job]) -> None:
            begun.extend(job.account_sid for job in batch)

        flood = [NewJob("flooded", {"things": [n]}, account_sid="A") for n in range(2000)]
        others = [NewJob("flooded", {"things": [n]}, account_sid=sid) for n, sid in enumerate(("B", "C", "D"))]
        await crew.enqueue(*flood)
        await crew.enqueue(*others)
        await crew.start({"flooded": handle}, batch_max=50, items="things", in_turns=True)
        assert len(begun) == 2003
        # The first claim goes by time, the second in turns.
        assert max(begun.index(sid) for sid in ("B", "C", "D")) < 105

    async def test_more_accounts_than_one_claim_visits_all_have_their_turn(
        self, crew: _Crew, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onterms.engines.jobs.store.TURNS_MAX", 3)
        begun: list[str | None] = []

        async def handle(run: Run, batch: list[Job]) -> None:
            begun.extend(job.account_sid for job in batch)

        await crew.enqueue(*[NewJob("flooded", {"things": [n]}, account_sid="A0") for n in range(500)])
        later = datetime.fromisoformat("2131-01-01T00:00:00Z")
        await crew.enqueue(*[NewJob("flooded", {"things": [1]}, account_sid=f"A{n}", due_at=later) for n in range(9)])
        await crew.enqueue(NewJob("flooded", {"things": [1]}, account_sid="A9"))
        await crew.start({"flooded": handle}, batch_max=10, items="things", in_turns=True)
        assert len(begun) == 501
        assert begun.index("A9") < 100

    async def test_what_is_in_memory_takes_turns_too(self, crew: _Crew) -> None:
        begun: list[str | None] = []
        first = asyncio.Event()

        async def handle(run: Run, batch: list[Job]) -> None:
            await first.wait()
            begun.extend(job.account_sid for job in batch)

        worker = await crew.start({"flooded": handle}, batch_max=20, items="things", in_turns=True)
        for account_sid, count in (("A", 39), ("B", 1)):
            await crew.enqueue(*[NewJob("flooded", {"things": [n]}, account_sid=account_sid) for n in range(count)])
        first.set()
        await worker.settle()
        assert begun.index("B") <= 21
        assert len(begun) == 40


class TestTakenPlaces:
    async def test_places_taken_with_the_insert_are_kept_in_order(self, crew: _Crew) -> None:
        ran: list[int] = []

        async def handle(run: Run, batch: list[Job]) -> None:
            ran.extend(job.payload["n"] for job in batch)

        worker = await crew.start({"placed": handle})
        now = crew.clock.now()
        async with crew.database.transaction() as tx:
            bucket = (await lock_buckets(tx, {"k": 2.0}, now))["k"]
            new = [NewJob("placed", {"n": n}, rate_key="k", due_at=bucket.take(1), has_place=True) for n in range(4)]
            await enqueue(tx, new, now)
            await tx.together(taking([bucket]))
        assert [(job.due_at - now).total_seconds() for job in new] == [0, 0.5, 1, 1.5]
        await worker.settle()
        assert ran == [0]
        await crew.advance(worker, 1)
        assert ran == [0, 1, 2]

    async def test_a_rate_of_many_digits_stays_the_same_rate(
        self, crew: _Crew, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = crew.clock.now()
        async with crew.database.transaction() as tx:
            await lock_buckets(tx, {"k": 1 / 3}, now)

        async def never(*_: Any) -> None:
            raise AssertionError("the rate is what it was")

        monkeypatch.setattr("onterms.engines.jobs.places.set_rate", never)
        async with crew.database.transaction() as tx:
            assert (await lock_buckets(tx, {"k": 1 / 3}, now))["k"].take(1) == now

    async def test_who_comes_late_does_not_go_with_all_others_at_once(self, crew: _Crew) -> None:
        ran: list[int] = []

        async def handle(run: Run, batch: list[Job]) -> None:
            ran.extend(job.payload["n"] for job in batch)

        now = crew.clock.now()
        async with crew.database.transaction() as tx:
            bucket = (await lock_buckets(tx, {"k": 1.0}, now))["k"]
            new = [NewJob("placed", {"n": n}, rate_key="k", due_at=bucket.take(1), has_place=True) for n in range(100)]
            await enqueue(tx, new, now)
            await tx.together(taking([bucket]))
        # Nobody worked for a minute.
        crew.clock.hold(now + timedelta(seconds=60))
        worker = await crew.start({"placed": handle})
        await worker.settle()
        assert ran == [0]
        await crew.advance(worker, 5)
        assert ran == [0, 1, 2, 3, 4, 5]
        async with crew.database.transaction() as tx:
            assert await next_places(tx, ["k"]) == {"k": now + timedelta(seconds=160)}
        # A restart changes nothing.
        await crew.kill(worker)
        worker = await crew.start({"placed": handle})
        assert len(ran) == 6
        await crew.advance(worker, 1)
        assert ran == [0, 1, 2, 3, 4, 5, 6]
