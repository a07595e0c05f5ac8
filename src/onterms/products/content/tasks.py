"""The content room's durable step: channels' reviewers are asked about templates."""

from datetime import timedelta

from onterms.engines import jobs
from onterms.ports.channels import Review, TemplateReviewer
from onterms.ports.message_carrier import Unreachable
from onterms.products.content import service

# Ours: how often, and how long, reviewers that cannot be reached are asked.
_PAUSE = timedelta(seconds=30)
_PATIENCE = timedelta(hours=24)


class _Reviews:
    def __init__(self, reviewer: TemplateReviewer) -> None:
        self._reviewer = reviewer

    async def ask(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        for job in batch:
            assert job.account_sid is not None
            key = (job.account_sid, job.payload["sid"])
            async with run.transaction() as tx:
                template = await service.take_up(tx, *key, run.clock.now())
                if template is None:
                    await run.complete(tx, [job])
            if template is None:
                continue
            review = await self._reviewer.submit(template)
            async with run.transaction() as tx:
                now = run.clock.now()
                if isinstance(review, Unreachable):
                    if now - job.created_at < _PATIENCE:
                        await run.retry(tx, job, due_at=now + _PAUSE, error=review.reason)
                        continue
                    review = Review("rejected", "The reviewers could not be reached")
                await service.reviewed(tx, *key, review, now)
                await run.complete(tx, [job])


def register(worker: jobs.Worker, reviewer: TemplateReviewer) -> None:
    """Join the step to a worker."""
    worker.register(service.REVIEW, _Reviews(reviewer).ask, batch_max=1, concurrency=2)
