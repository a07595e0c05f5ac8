"""The room's durable steps: asking for an attestation again."""

from datetime import date

from onterms.business.customers.service import customers
from onterms.engines import jobs


class Tasks:
    """The handlers of the room's jobs."""

    def register(self, worker: jobs.Worker) -> None:
        """Serve the room's jobs; before the worker runs."""
        worker.register(customers.RENEWAL_TASK, self._ask)

    async def _ask(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        async with run.transaction() as tx:
            for job in due:
                attested_on = date.fromisoformat(job.payload["attested_on"])
                await customers.ask_for_attestation(tx, job.payload["customer_sid"], attested_on, run.clock.now())
            await run.complete(tx, due)
