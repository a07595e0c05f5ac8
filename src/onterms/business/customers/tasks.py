"""The room's durable steps: asking for an attestation again, and telling who has to know who a customer is."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime

from onterms.business.customers.service import customers
from onterms.core.db import Tx
from onterms.engines import jobs

# Looks at a customer that is new or changed; again does no harm.
Follower = Callable[[Tx, str, datetime], Awaitable[object]]


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, followers: Sequence[Follower] = ()) -> None:
        self._followers = followers

    def register(self, worker: jobs.Worker) -> None:
        """Serve the room's jobs; before the worker runs."""
        worker.register(customers.RENEWAL_TASK, self._ask)
        worker.register(customers.CHANGED_TASK, self._tell)

    async def _ask(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        async with run.transaction() as tx:
            for job in due:
                attested_on = date.fromisoformat(job.payload["attested_on"])
                await customers.ask_for_attestation(tx, job.payload["customer_sid"], attested_on, run.clock.now())
            await run.complete(tx, due)

    async def _tell(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        for job in due:
            async with run.transaction() as tx:
                # An owner need not be a customer itself.
                if await customers.fetch(tx, job.payload["customer_sid"]) is not None:
                    for follower in self._followers:
                        await follower(tx, job.payload["customer_sid"], run.clock.now())
                await run.complete(tx, [job])
