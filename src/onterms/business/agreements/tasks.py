"""The room's durable steps: publishing on a day, sending change notices, versions that take effect."""

from onterms.business.agreements.service import documents
from onterms.business.agreements.service.binding import Bindings
from onterms.engines import jobs


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, bindings: Bindings) -> None:
        self._bindings = bindings

    def register(self, worker: jobs.Worker) -> None:
        """Serve the room's jobs; before the worker runs."""
        worker.register(documents.PUBLISH_TASK, self._publish)
        worker.register(documents.NOTIFY_TASK, self._notify)
        worker.register(documents.REACH_TASK, self._reach)

    async def _publish(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        async with run.transaction() as tx:
            for job in due:
                await documents.make_public(tx, job.payload["version_sid"], run.clock.now())
            await run.complete(tx, due)

    async def _notify(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        for job in due:
            # Each batch commits by itself, so that a long list of customers holds no lock for long.
            while True:
                async with run.transaction() as tx:
                    if not await self._bindings.notify_batch(tx, job.payload["version_sid"], run.clock.now()):
                        await run.complete(tx, [job])
                        break

    async def _reach(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        async with run.transaction() as tx:
            for job in due:
                await self._bindings.reach(tx, job.payload["version_sid"], run.clock.now())
            await run.complete(tx, due)
