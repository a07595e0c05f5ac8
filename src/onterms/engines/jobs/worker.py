"""The worker: takes jobs that are due and runs them until each is completed, put back or given up.

Theory of operation
-------------------

A job is a row. It is inserted with the business row that needs it, in one commit, and moves so:

    enqueue    (none) -> ready       or straight to leased, by hand-over
    claim      ready  -> leased
    complete   leased -> (deleted)
    retry      leased -> ready       with a due time ahead
    release    leased -> ready       the worker stops, or is gone
    bury       leased -> dead
    replay     dead   -> ready

Hand-over: when a worker in the same process serves the task and has room, the row is inserted as leased already and the
job is given to the worker in memory once the commit is durable. So the common job costs an insert and a delete, and no
claim. A rollback inserts nothing and hands over nothing. Jobs with a due time ahead, an order key or a rate key are
never handed over, for only the table knows whether they may run.

Claim: one lane a task. A lane claims a batch when it was told to look: by an enqueue in this process, by a NOTIFY from
another one, at the next due time it knows of, when the clock was changed, and every `poll_s` in case all of these
failed.

Turns: where a lane has them and more is due than a claim takes, every other claim goes from account to account, and so
do the batches taken from memory; so a flood of one account is waited for by nobody else.

Order: a job waits while another of its order key has a smaller id or is leased. Rate: a claimed job takes its place in
the token bucket of its rate key; when that lies ahead it is put back with the place as its due time, once.

Leases: `jobs.leased_by` names a row of job_workers, which has one `lease_until` for the whole worker, so renewal is one
row however many jobs are held. A worker that starts removes the row of the earlier boot of its name, and that frees
what a killed process held at once; a worker that vanished for good is found by the others when its lease runs out.
Ending an attempt is fenced: it changes only rows still leased by this very lease, or raises LeaseLost, which rolls back
whatever the handler did in that transaction. A handler that settles its jobs in the transaction of its work therefore
has its effects in the database exactly once; what it does outside may be repeated.

Failure: when a handler raises for a batch, the jobs it left unsettled run again one by one, so that one bad job does
not take others down; a job that fails alone is retried after its back-off, and is dead after `attempts_max`. A job that
stands for many things is halved instead, until the bad thing is alone.

Orphans: a commit whose answer was lost, or a settlement that failed, leaves a row leased by us that no memory knows of.
What is seen so in two successive sweeps is put back; the pause between them covers the hand-over that is just on its
way. Sweeps come with each renewal of the lease, and at once after trouble with the database.
"""

import asyncio
import contextlib
import logging
import random
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from weakref import WeakSet

from onterms.core.clock import Clock
from onterms.core.db import Database, Statement, Tx
from onterms.engines.jobs import store
from onterms.engines.jobs.model import Backoff, Job, LeaseLost, NewJob
from onterms.engines.jobs.queue import CHANNEL, attach, detach, enqueue

_log = logging.getLogger("onterms.jobs")

_ERROR_CHARS_MAX = 2000


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker behaves.

    Units: seconds of real time. Shapes: random returns a float from 0 to 1, for jitter.
    """

    lease_s: float = 30.0
    poll_s: float = 5.0
    outage_pause_s: float = 1.0
    suspect_pause_s: float = 1.0
    random: Callable[[], float] = random.random


class Run:
    """One call of a handler: what it may do with the jobs it was given."""

    def __init__(self, worker: "Worker", lease_id: int, jobs: Sequence[Job]) -> None:
        self._worker = worker
        self._lease_id = lease_id
        self._left = {job.id: job for job in jobs}

    @property
    def clock(self) -> Clock:
        """Return the worker's clock."""
        return self._worker.clock

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Open a transaction that commits when the block ends: the only way for a task to commit."""
        async with self._worker.database.transaction() as tx:
            yield tx

    async def complete(self, tx: Tx, jobs: Sequence[Job]) -> None:
        """Mark jobs done with this transaction.

        Raises: LeaseLost when another worker holds one of them; let it roll the transaction back.
        """
        if jobs:
            await store.complete(tx, self._lease_id, jobs)
            self._settle(tx, jobs)

    async def keep(self, tx: Tx, job: Job, payload: dict[str, Any]) -> None:
        """Let a job stand for what is left of it, should this process die: it goes on running here.

        Raises: LeaseLost when another worker holds it.
        """
        await store.keep(tx, self._lease_id, job, payload)

    def completing(self, tx: Tx, jobs: Sequence[Job]) -> Statement[None]:
        """Make the statement that does what `complete` does with jobs without an order key, for `Tx.together`."""
        statement = store.completing(self._lease_id, jobs)

        async def finish(ids: list[int]) -> None:
            await statement.finish(ids)
            self._settle(tx, jobs)

        return replace(statement, finish=finish)

    async def retry(self, tx: Tx, job: Job, *, due_at: datetime, error: str) -> None:
        """Put a job back for another attempt at that time.

        Raises: LeaseLost when another worker holds it.
        """
        await store.retry(tx, self._lease_id, job, due_at, error[:_ERROR_CHARS_MAX])
        self._settle(tx, [job])

    async def bury(self, tx: Tx, job: Job, error: str) -> None:
        """Give a job up: it stays visible and can be replayed.

        Raises: LeaseLost when another worker holds it.
        """
        await store.bury(tx, self._lease_id, job, error[:_ERROR_CHARS_MAX])
        self._settle(tx, [job])

    @property
    def left(self) -> list[Job]:
        """Return the jobs that no committed transaction has settled."""
        return list(self._left.values())

    def _settle(self, tx: Tx, jobs: Sequence[Job]) -> None:
        def settled() -> None:
            for job in jobs:
                self._left.pop(job.id, None)
                self._worker._forget(job)

        tx.after_commit(settled)


Handler = Callable[[Run, list[Job]], Awaitable[None]]


class _Expected:
    """A job that is on its way into the table, for as long as somebody keeps this."""

    __slots__ = ("__weakref__",)


@dataclass(slots=True)
class _Lane:
    """One task: its handler and what waits for it."""

    task: str
    handler: Handler
    batch_max: int
    concurrency: int
    attempts_max: int
    backoff: Backoff
    # The field of the payload that lists what a job stands for, where it stands for many things.
    items: str | None = None
    # Whether jobs begin in the order in which they were enqueued, as far as one worker has them.
    in_order: bool = False
    # Whether accounts take turns while more is due than goes at once.
    in_turns: bool = False
    # More is due than a claim takes; after which account the next claim's turns begin, None when it goes by time.
    is_backed_up: bool = False
    turns_after: str = ""
    claims_by_time: bool = True
    expected: "WeakSet[_Expected]" = field(default_factory=WeakSet)
    queue: deque[Job] = field(default_factory=deque)
    running: int = 0
    # Somebody said that the table has jobs for this lane.
    look: bool = True
    is_claiming: bool = False
    claims_next: bool = True
    next_due: datetime | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_busy(self) -> bool:
        return bool(self.queue or self.running or self.look or self.is_claiming)

    @property
    def room(self) -> int:
        if self.in_order and (self.look or self.is_claiming or self.expected):
            # The table may have earlier ones.
            return 0
        # Enough to keep every runner busy while the next batch comes in, and little enough that another process gets
        # its share of a flood.
        return max(0, 2 * self.batch_max * self.concurrency - len(self.queue))

    def look_now(self) -> None:
        self.look = True
        self.wake.set()

    def take(self) -> list[Job]:
        """Take the next batch out of the queue: as many things as a batch may have, and at least one job."""
        if self.items is None:
            return [self.queue.popleft() for _ in range(min(self.batch_max, len(self.queue)))]
        if self.in_turns and len(self.queue) > 1:
            self._take_turns()
        batch: list[Job] = []
        left = self.batch_max
        while self.queue and (not batch or len(self.queue[0].payload.get(self.items, ())) <= left):
            batch.append(self.queue.popleft())
            left -= len(batch[-1].payload.get(self.items, ()))
        return batch

    def _take_turns(self) -> None:
        """Put everybody's first job before anybody's second, as far as the next batch may reach."""
        counts: Counter[str | None] = Counter()
        turns = []
        for job in self.queue:
            turns.append(counts[job.account_sid])
            counts[job.account_sid] += 1
        if len(counts) > 1:
            # The sort keeps what it finds equal in its order.
            self.queue = deque(job for _, job in sorted(zip(turns, self.queue, strict=True), key=lambda each: each[0]))

    def halves(self, job: Job) -> list[dict[str, Any]]:
        """Return the payloads of two jobs that stand for what this one does, or nothing where it is for one thing."""
        things = job.payload.get(self.items, ()) if self.items is not None else ()
        if len(things) < 2:
            return []
        middle = len(things) // 2
        return [{**job.payload, self.items: part} for part in (things[:middle], things[middle:])]  # type: ignore[dict-item]


class Worker:
    """Run the jobs of the registered tasks.

    Shapes: name is the node's and unique among running workers; a second one of the same name takes its jobs over.
    """

    def __init__(self, database: Database, clock: Clock, *, name: str, settings: WorkerSettings | None = None) -> None:
        self.database = database
        self.clock = clock
        self.name = name
        self._settings = settings or WorkerSettings()
        self._lanes: dict[str, _Lane] = {}
        self._lease_id = 0
        # Jobs in memory: those in a lane's queue and those a handler has.
        self._held: dict[int, Job] = {}
        self._begun: set[int] = set()
        # Suspects of the last sweep, and what was put back as orphaned: a hand-over of those comes too late.
        self._suspects: set[int] = set()
        self._put_back: set[int] = set()
        self._work_tasks: set[asyncio.Task[None]] = set()
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._moved = asyncio.Event()
        self._timer = asyncio.Event()
        self._trouble = asyncio.Event()

    def register(
        self,
        task: str,
        handler: Handler,
        *,
        batch_max: int = 100,
        concurrency: int = 1,
        attempts_max: int = 10,
        backoff: Backoff | None = None,
        items: str | None = None,
        in_order: bool = False,
        in_turns: bool = False,
    ) -> None:
        """Serve a task with a handler; before `run`.

        Shapes: `items` names the list in a job's payload of what it stands for. Then `batch_max` counts these, and a
        job that fails is halved until what fails stands alone. With `in_order` a job handed over in memory does not
        overtake those in the table. With `in_turns`, accounts take turns while more is due than goes at once, so
        that one account's flood holds up nobody else.
        """
        assert task not in self._lanes, f"task {task} has a handler already"
        assert not self._started.is_set(), "tasks are registered before the worker runs"
        self._lanes[task] = _Lane(
            task, handler, batch_max, concurrency, attempts_max, backoff or Backoff(), items, in_order, in_turns
        )

    # ---- what enqueue sees (queue.LocalWorker)

    @property
    def lease_id(self) -> int:
        """Return the id its leases carry."""
        return self._lease_id

    def room(self, task: str) -> int | None:
        """Return how many jobs it can take in memory, or None when it does not serve the task."""
        lane = self._lanes.get(task)
        if lane is None or self._stopping.is_set():
            return None
        return lane.room

    def hand_over(self, lease_id: int, jobs: Sequence[Job]) -> None:
        """Take jobs that were inserted under this lease."""
        # After a stop or under a lost lease the rows belong to nobody, and the next sweep of any worker frees them.
        if lease_id != self._lease_id or self._ended.is_set():
            return
        for job in jobs:
            if job.id in self._put_back:
                self._put_back.discard(job.id)
                continue
            lane = self._lanes[job.task]
            self._held[job.id] = job
            lane.queue.append(job)
            lane.wake.set()

    def expect(self, task: str) -> object:
        """Return what, while it is kept, says that a job of the task is on its way into the table."""
        lane = self._lanes.get(task)
        if lane is None or not lane.in_order:
            return None
        expected = _Expected()
        lane.expected.add(expected)
        return expected

    def wake(self, task: str, due_at: datetime | None) -> None:
        """Look for jobs of the task at that time, or at once."""
        lane = self._lanes.get(task)
        if lane is None:
            return
        if due_at is None or due_at <= self.clock.now():
            lane.look_now()
        elif lane.next_due is None or due_at < lane.next_due:
            lane.next_due = due_at
            self._timer.set()

    # ---- life

    async def run(self) -> None:
        """Work until `stop`; when cancelled, leave everything as a killed process would."""
        try:
            async with self.database.transaction() as tx:
                self._lease_id = await store.register_worker(tx, self.name, uuid.uuid4(), self._settings.lease_s)
        except BaseException:
            # Whoever waits in settle must not wait for a worker that never began.
            self._ended.set()
            self._started.set()
            raise
        attach(self.database, self)
        services = [self._supervise(self._keep_time), self._supervise(self._keep_lease), self._supervise(self._listen)]
        tasks = [asyncio.create_task(service) for service in services]
        lanes = [asyncio.create_task(self._supervise(partial(self._serve, lane))) for lane in self._lanes.values()]
        self._started.set()
        try:
            # Lanes end by themselves once the worker is stopping, and so hold no half-made claim.
            await self._stopping.wait()
            await asyncio.gather(*lanes)
            await self._ended.wait()
        finally:
            detach(self.database, self)
            self._stopping.set()
            self._ended.set()
            self._moved.set()
            every = [*tasks, *lanes, *self._work_tasks]
            for task in every:
                task.cancel()
            await asyncio.gather(*every, return_exceptions=True)

    async def stop(self, grace_s: float) -> None:
        """Take no more jobs, wait for running handlers that long, cancel the rest and put their jobs back."""
        if not self._started.is_set() or self._ended.is_set():
            self._stopping.set()
            self._ended.set()
            return
        detach(self.database, self)
        self._stopping.set()
        self._moved.set()
        for lane in self._lanes.values():
            lane.wake.set()
        try:
            async with asyncio.timeout(grace_s):
                while any(lane.running or lane.is_claiming for lane in self._lanes.values()):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            _log.warning("worker %s: handlers still ran after %s s and were cancelled", self.name, grace_s)
        for task in list(self._work_tasks):
            task.cancel()
        await asyncio.gather(*self._work_tasks, return_exceptions=True)
        try:
            async with self.database.transaction() as tx:
                held = await store.leased_ids(tx, self._lease_id)
                await store.release(tx, self._lease_id, held, begun=list(self._begun))
                await store.remove_worker(tx, self._lease_id)
        finally:
            self._ended.set()

    async def settle(self) -> None:
        """Return when no job of the registered tasks is due, leased or running.

        Raises: RuntimeError when the worker ended meanwhile.
        """
        await self._started.wait()
        while True:
            if self._ended.is_set():
                raise RuntimeError(f"worker {self.name} has ended")
            self._moved.clear()
            if any(lane.is_busy for lane in self._lanes.values()):
                await self._moved.wait()
                continue
            async with self.database.snapshot() as tx:
                has_due = await store.has_due(tx, list(self._lanes), self.clock.now())
            if any(lane.is_busy for lane in self._lanes.values()):
                continue
            if not has_due:
                return
            # Another worker has it, or it became due just now.
            for lane in self._lanes.values():
                lane.look_now()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._moved.wait()

    async def next_due(self) -> datetime | None:
        """Return the earliest time at which a job of the registered tasks can run, or None."""
        async with self.database.snapshot() as tx:
            return await store.next_due(tx, list(self._lanes))

    def clock_changed(self) -> None:
        """Look again at what is due, because the clock jumped."""
        for lane in self._lanes.values():
            lane.look_now()
        self._timer.set()

    # ---- loops

    async def _supervise(self, serve: Callable[[], Awaitable[None]]) -> None:
        # One of the three places of the house that catch everything: a loop of the worker outlives any outage.
        while not self._stopping.is_set():
            try:
                await serve()
            except Exception:
                _log.exception("worker %s: trouble with the database; trying again", self.name)
                self._trouble.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.outage_pause_s):
                        await self._stopping.wait()

    async def _serve(self, lane: _Lane) -> None:
        while not self._stopping.is_set():
            lane.wake.clear()
            if lane.running < lane.concurrency and (lane.queue or lane.look):
                batch = await self._next_batch(lane)
                self._moved.set()
                if batch:
                    self._begin(lane, batch)
                continue
            await lane.wake.wait()

    async def _next_batch(self, lane: _Lane) -> list[Job]:
        # In turns, so that a stream of jobs handed over does not starve those in the table.
        if lane.queue and not (lane.look and lane.claims_next):
            lane.claims_next = True
            return lane.take()
        lane.claims_next = False
        lane.look = False
        lane.next_due = None
        lane.is_claiming = True
        lease_id = self._lease_id
        try:
            async with self.database.transaction() as tx:
                # Claims by time and in turns go by turns themselves: there may be many accounts with nothing due yet.
                lane.claims_by_time = not (lane.is_backed_up and lane.claims_by_time)
                after = None if lane.claims_by_time else lane.turns_after
                claimed = await store.claim(
                    tx, lease_id, lane.task, self.clock.now(), lane.batch_max, turns_after=after
                )
                if after is not None:
                    lane.turns_after = await store.next_turn(tx, lane.task, after)
        except BaseException:
            lane.look = True
            raise
        finally:
            lane.is_claiming = False
            self._moved.set()
        if claimed.is_full or after is not None:
            lane.look = True
        if after is None:
            lane.is_backed_up = lane.in_turns and claimed.is_full
        if claimed.next_due is not None:
            self.wake(lane.task, claimed.next_due)
        if lease_id != self._lease_id:
            return []
        self._put_back.difference_update(job.id for job in claimed.jobs)
        self._held.update((job.id, job) for job in claimed.jobs)
        if self._stopping.is_set():
            # Not begun: stop puts them back.
            return []
        if lane.items is None:
            return claimed.jobs
        lane.queue.extend(claimed.jobs)
        return lane.take() if lane.queue else []

    def _begin(self, lane: _Lane, jobs: list[Job]) -> None:
        lane.running += 1
        self._begun.update(job.id for job in jobs)
        task = asyncio.create_task(self._work(lane, self._lease_id, jobs))
        self._work_tasks.add(task)
        task.add_done_callback(self._work_tasks.discard)

    async def _work(self, lane: _Lane, lease_id: int, jobs: list[Job]) -> None:
        try:
            await self._handle(lane, lease_id, jobs)
        except Exception:
            _log.exception("worker %s: %s could not be settled and will run again", self.name, lane.task)
            self._trouble.set()
        finally:
            lane.running -= 1
            if not self._stopping.is_set():
                for job in jobs:
                    self._forget(job)
            lane.wake.set()
            self._moved.set()

    async def _handle(self, lane: _Lane, lease_id: int, jobs: list[Job]) -> None:
        run = Run(self, lease_id, jobs)
        try:
            await lane.handler(run, list(jobs))
            if run.left:
                async with run.transaction() as tx:
                    await run.complete(tx, run.left)
            return
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            # Something inside the handler was cancelled, not the handler.
            failure: BaseException = error
        except Exception as error:
            failure = error
        left = run.left
        if lease_id != self._lease_id:
            _log.warning("worker %s: lost its lease; %d jobs of %s run elsewhere", self.name, len(left), lane.task)
            return
        if len(jobs) > 1:
            for job in left:
                await self._handle(lane, lease_id, [job])
            return
        for job in left:
            if isinstance(failure, LeaseLost):
                _log.warning("worker %s: job %d of %s is held elsewhere", self.name, job.id, job.task)
                continue
            text = f"{type(failure).__name__}: {failure}"
            halves = lane.halves(job)
            if halves:
                _log.warning("job %d of %s failed and is halved", job.id, job.task, exc_info=failure)
                async with run.transaction() as tx:
                    parts = [NewJob(job.task, half, job.account_sid, order_key=job.order_key) for half in halves]
                    await enqueue(tx, parts, job.created_at)
                    await run.complete(tx, [job])
                continue
            async with run.transaction() as tx:
                if job.attempt >= lane.attempts_max:
                    _log.error("job %d of %s is dead, attempt %d", job.id, job.task, job.attempt, exc_info=failure)
                    await run.bury(tx, job, text)
                else:
                    delay = lane.backoff.delay(job.attempt, self._settings.random)
                    _log.warning("job %d of %s failed; next attempt in %s", job.id, job.task, delay, exc_info=failure)
                    await run.retry(tx, job, due_at=self.clock.now() + delay, error=text)

    def _forget(self, job: Job) -> None:
        # By identity: the same row may have been claimed again, as another Job, before this is called.
        if self._held.get(job.id) is job:
            del self._held[job.id]
            self._begun.discard(job.id)

    async def _keep_time(self) -> None:
        looked_at = self.clock.monotonic()
        seen: datetime | None = None
        while True:
            self._timer.clear()
            now = self.clock.now()
            soonest: datetime | None = None
            for lane in self._lanes.values():
                if lane.next_due is None:
                    continue
                if lane.next_due <= now:
                    lane.next_due = None
                    lane.look_now()
                elif soonest is None or lane.next_due < soonest:
                    soonest = lane.next_due
            if self.clock.monotonic() - looked_at >= self._settings.poll_s:
                looked_at = self.clock.monotonic()
                for lane in self._lanes.values():
                    lane.look_now()
            wait_s = self._settings.poll_s
            # A clock that is held does not come nearer to anything; whoever moves it calls clock_changed.
            if soonest is not None and now != seen:
                wait_s = min(wait_s, (soonest - now) / timedelta(seconds=1))
            seen = now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._timer.wait()

    async def _keep_lease(self) -> None:
        while True:
            async with self.database.transaction() as tx:
                is_ours = await store.renew_lease(tx, self._lease_id, self._settings.lease_s)
                if not is_ours:
                    lease_id = await store.register_worker(tx, self.name, uuid.uuid4(), self._settings.lease_s)
            if not is_ours:
                _log.warning("worker %s: its lease ran out; starting a new one", self.name)
                self._start_over(lease_id)
            self._trouble.clear()
            await self._sweep()
            if self._suspects:
                await asyncio.sleep(min(self._settings.suspect_pause_s, self._settings.lease_s / 3))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.lease_s / 3):
                    await self._trouble.wait()

    def _start_over(self, lease_id: int) -> None:
        self._lease_id = lease_id
        self._held.clear()
        self._begun.clear()
        self._suspects.clear()
        for lane in self._lanes.values():
            lane.queue.clear()
            lane.look_now()

    async def _sweep(self) -> None:
        known = set(self._held)
        async with self.database.transaction() as tx:
            await store.free_abandoned(tx)
            leased = set(await store.leased_ids(tx, self._lease_id))
            suspects = leased - known - self._held.keys()
            orphans = suspects & self._suspects
            self._suspects = suspects - orphans
            if orphans:
                _log.warning("worker %s: %d jobs were leased but not in memory; put back", self.name, len(orphans))
                self._put_back |= orphans
                await store.release(tx, self._lease_id, list(orphans), begun=list(orphans))

    async def _listen(self) -> None:
        connection: Any = await self.database.connect_alone()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda *_: lost.set())
        try:
            await connection.add_listener(CHANNEL, lambda _c, _p, _ch, task: self.wake(str(task), None))
            # Whatever was announced while nobody listened.
            for lane in self._lanes.values():
                lane.look_now()
            await lost.wait()
        finally:
            connection.terminate()
        raise ConnectionError("the connection that listens for jobs was closed")
