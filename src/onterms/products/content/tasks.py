"""The content room's durable step: the reviewer looks at templates."""

from onterms.engines import jobs
from onterms.products.content import service


async def _review(run: jobs.Run, batch: list[jobs.Job]) -> None:
    for job in batch:
        assert job.account_sid is not None
        async with run.transaction() as tx:
            await service.review(tx, job.account_sid, job.payload["sid"], run.clock.now())
            await run.complete(tx, [job])


def register(worker: jobs.Worker) -> None:
    """Join the reviewer to a worker."""
    worker.register(service.REVIEW, _review, batch_max=50, concurrency=1)
