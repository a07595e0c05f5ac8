"""What the worker does for this room: sweep overdue holds, check usage triggers, call those that fired."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from onterms.business.usage import events, store
from onterms.business.usage.service import triggers
from onterms.business.usage.service.meter import Charged, Meter, StillDue, tell_nobody
from onterms.core.db import Tx
from onterms.engines import jobs, log
from onterms.ports.callback import Callback, CallbackClient

SWEEP_TASK = "usage.sweep_holds"
# Ours: what waited 72 hours may wait a little longer, and a sandbox that skips 90 days sweeps 360 times only.
SWEEP_EVERY = timedelta(hours=6)
# A sweep that a database was restored without is planned anew.
_LOST_AFTER = timedelta(hours=1)
# It must go on whatever happens: without it holds stay for ever.
_SWEEP_ATTEMPTS_MAX = 1000


async def ensure_sweep(tx: Tx, at: datetime) -> None:
    """Plan the sweep of overdue holds unless it is planned; at each start."""
    version = await store.claim_sweep(tx, None, at + SWEEP_EVERY, at - _LOST_AFTER)
    if version is not None:
        await jobs.enqueue(tx, [_sweep_job(version, at + SWEEP_EVERY)], at)


def _sweep_job(version: int, due_at: datetime) -> jobs.NewJob:
    return jobs.NewJob(SWEEP_TASK, {"version": version}, due_at=due_at)


class Tasks:
    """The room's durable steps."""

    def __init__(
        self,
        meter: Meter,
        still_due: StillDue,
        callbacks: CallbackClient,
        signing_token: Callable[[str], Awaitable[str]],
        charged: Charged = tell_nobody,
    ) -> None:
        self._meter = meter
        self._still_due = still_due
        self._callbacks = callbacks
        self._signing_token = signing_token
        self._charged = charged

    def register(self, worker: jobs.Worker) -> None:
        """Let a worker run this room's tasks."""
        worker.register(SWEEP_TASK, self.sweep, attempts_max=_SWEEP_ATTEMPTS_MAX)
        worker.register(triggers.CHECK_TASK, self.check)
        worker.register(triggers.CALL_TASK, self.call, batch_max=1, concurrency=4)

    async def sweep(self, run: jobs.Run, batch: Sequence[jobs.Job]) -> None:
        """End what nobody settled in time, in transactions of their own, and plan the next sweep."""
        while True:
            async with run.transaction() as tx:
                if not await self._meter.sweep(tx, self._still_due, self._charged, run.clock.now()):
                    break
        for job in batch:
            async with run.transaction() as tx:
                at = run.clock.now()
                next_at = at + SWEEP_EVERY
                version = await store.claim_sweep(tx, job.payload["version"], next_at, at)
                if version is not None:
                    await jobs.enqueue(tx, [_sweep_job(version, next_at)], at)
                await run.complete(tx, [job])

    async def check(self, run: jobs.Run, batch: Sequence[jobs.Job]) -> None:
        """Look at the triggers of accounts."""
        for job in batch:
            assert job.account_sid is not None
            async with run.transaction() as tx:
                await triggers.check(tx, job.account_sid, run.clock.now())
                await run.complete(tx, [job])

    async def call(self, run: jobs.Run, batch: Sequence[jobs.Job]) -> None:
        """Call the URL of a trigger that fired; a repeat after a crash has the same idempotency token."""
        for job in batch:
            assert job.account_sid is not None
            payload = job.payload
            answer = await self._callbacks.call(
                Callback(
                    account_sid=job.account_sid,
                    url=payload["url"],
                    method=payload["method"],
                    params=[(name, value) for name, value in payload["params"]],
                    signing_token=await self._signing_token(job.account_sid),
                    idempotency_token=payload["token"],
                )
            )
            async with run.transaction() as tx:
                await _log(tx, job.account_sid, payload["sid"], answer.status, answer.error_code, run.clock.now())
                await run.complete(tx, [job])


async def _log(tx: Tx, account_sid: str, sid: str, status: int | None, error_code: int | None, at: datetime) -> None:
    data = {"status": status, "error_code": error_code}
    await log.append(tx, [log.Event(events.TRIGGER_CALLED, account_sid, sid, data)], at)
