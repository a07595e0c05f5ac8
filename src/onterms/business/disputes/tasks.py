"""The room's timer: the day after something was to be answered."""

from onterms.business.disputes import service
from onterms.business.disputes.service import Disputes
from onterms.engines.jobs import Job, Run, Worker


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, disputes: Disputes) -> None:
        self._disputes = disputes

    def register(self, worker: Worker) -> None:
        """Serve the room's jobs; before the worker runs."""
        worker.register(service.TASK_DUE, self._miss)

    async def _miss(self, run: Run, jobs: list[Job]) -> None:
        for job in jobs:
            async with run.transaction() as tx:
                customer_sid, sid = job.payload["customer_sid"], job.payload["dispute_sid"]
                await self._disputes.miss(tx, customer_sid, sid, run.clock.now())
                await run.complete(tx, [job])
