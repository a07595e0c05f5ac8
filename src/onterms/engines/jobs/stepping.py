"""Running jobs one at a time, each when it is asked for: how a rehearsal lives through months.

A worker runs what is due side by side and as fast as it can; what runs beside what differs from one time to the next. A
stepper runs the job that is due first, alone, and returns; so the same jobs on the same rows give the same rows.
"""

import uuid
from datetime import datetime

from onterms.core.db import Tx
from onterms.engines.jobs import store
from onterms.engines.jobs.model import Job
from onterms.engines.jobs.worker import Worker

# Real time. Nobody else works on its database, so the lease only has to outlast the longest run.
_LEASE_S = 86_400.0


class Stepper(Worker):
    """Run the jobs of the registered tasks in the order of their due times; it is never `run`."""

    @property
    def tasks(self) -> list[str]:
        """List the tasks that have a handler."""
        return sorted(self._lanes)

    async def begin(self) -> None:
        """Take a lease; before the first step."""
        async with self.database.transaction() as tx:
            self._lease_id = await store.register_worker(tx, self.name, uuid.uuid4(), _LEASE_S)

    async def step(self) -> Job | None:
        """Run the job that is due first to its end, retry or burial, and return it; None when nothing is due."""
        while True:
            at = self.clock.now()
            async with self.database.transaction() as tx:
                task = await _first_due(tx, self.tasks, at)
                if task is None:
                    return None
                claimed = await store.claim(tx, self._lease_id, task, at, 1)
            for job in claimed.jobs:
                await self._handle(self._lanes[task], self._lease_id, [job])
                return job
            # Its rate put it off; another may be due.


async def _first_due(tx: Tx, tasks: list[str], at: datetime) -> str | None:
    found: str | None = await tx.fetchval(
        f"""
        SELECT task FROM jobs AS job
        WHERE task = ANY($1::text[]) AND state = 'ready' AND due_at <= $2 AND {store.IN_TURN}
        ORDER BY due_at, id LIMIT 1
        """,
        tasks,
        at,
    )
    return found
