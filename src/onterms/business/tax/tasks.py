"""The timer of exemptions."""

from collections.abc import Sequence

from onterms.business.tax import service
from onterms.engines.jobs import Job, Run, Worker


async def _expire(run: Run, jobs: Sequence[Job]) -> None:
    for job in jobs:
        async with run.transaction() as tx:
            await service.expire(tx, job.payload, run.clock.now())
            await run.complete(tx, [job])


def register(worker: Worker) -> None:
    """Let a worker run this room's timers."""
    worker.register(service.EXPIRY_TASK, _expire)
