"""The room's durable steps: looking at scores, watching windows, and comparing customers with a new list."""

from collections.abc import Sequence
from datetime import datetime

from onterms.business.suspension.service.admission import WEIGH_TASK, Admission
from onterms.business.suspension.service.screening import RESCREEN_TASK, Screening
from onterms.business.suspension.service.watching import WATCH_TASK, Watch
from onterms.engines import jobs


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, admission: Admission, screening: Screening, watch: Watch) -> None:
        self._admission = admission
        self._screening = screening
        self._watch = watch

    def register(self, worker: jobs.Worker) -> None:
        """Serve the room's jobs; before the worker runs."""
        worker.register(WEIGH_TASK, self._weigh)
        worker.register(RESCREEN_TASK, self._rescreen, batch_max=1)
        worker.register(WATCH_TASK, self._watch_window, batch_max=1)

    async def _watch_window(self, run: jobs.Run, due: Sequence[jobs.Job]) -> None:
        for job in due:
            start = datetime.fromisoformat(job.payload["start_at"])
            async with run.transaction() as tx:
                found = await self._watch.spells(tx, start)
            for spells in found.values():
                # One each: a transaction of thousands of customers would hold back the readers of the log.
                async with run.transaction() as tx:
                    await self._watch.take_in(tx, start, spells, run.clock.now())
            async with run.transaction() as tx:
                await self._watch.finish(tx, start, run.clock.now())
                await run.complete(tx, [job])

    async def _weigh(self, run: jobs.Run, due: Sequence[jobs.Job]) -> None:
        for customer_sid in sorted({job.payload["customer_sid"] for job in due}):
            async with run.transaction() as tx:
                await self._admission.weigh(tx, customer_sid, run.clock.now())
                await run.complete(tx, [job for job in due if job.payload["customer_sid"] == customer_sid])

    async def _rescreen(self, run: jobs.Run, due: Sequence[jobs.Job]) -> None:
        for job in due:
            async with run.transaction() as tx:
                await self._screening.screen_after(tx, job.payload["after"], run.clock.now())
                await run.complete(tx, [job])
