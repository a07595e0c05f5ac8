"""The room's timer: a look at a customer when one of its clocks runs out."""

from onterms.business.collections import service
from onterms.business.collections.service import Collections
from onterms.engines.jobs import Job, Run, Worker


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    def register(self, worker: Worker) -> None:
        """Serve the room's jobs; before the worker runs."""
        worker.register(service.REVIEW_TASK, self._review)

    async def _review(self, run: Run, jobs: list[Job]) -> None:
        for job in jobs:
            async with run.transaction() as tx:
                # What it finds decides, so a clock that was overtaken does nothing.
                await self._collections.review(tx, job.payload["customer_sid"], run.clock.now())
                await run.complete(tx, [job])
