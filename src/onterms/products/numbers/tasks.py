"""The room's durable steps: numbers of closed accounts go on sale again, the others are charged by the month."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from onterms.engines.jobs import Job, Run, Worker
from onterms.products.numbers.service import QUARANTINE_TASK, RENEW_TASK, Fees, end_quarantine


def register(worker: Worker, fees: Fees | None = None) -> None:
    """Let a worker run this room's tasks; without fees nothing renews."""
    worker.register(QUARANTINE_TASK, _end_quarantine)
    if fees is not None:
        worker.register(RENEW_TASK, partial(_renew, fees))


async def _renew(fees: Fees, run: Run, jobs: Sequence[Job]) -> None:
    for job in jobs:
        async with run.transaction() as tx:
            payload = job.payload
            renews_at = datetime.fromisoformat(payload["renews_at"])
            await fees.renew(tx, payload["phone_number"], payload["sid"], renews_at, run.clock.now())
            await run.complete(tx, [job])


async def _end_quarantine(run: Run, jobs: Sequence[Job]) -> None:
    async with run.transaction() as tx:
        for job in jobs:
            await end_quarantine(tx, job.payload["phone_number"], job.payload["holder_sid"])
        await run.complete(tx, jobs)
