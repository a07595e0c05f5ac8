"""The room's durable step: sending the mails of a notice until every server has said yes or no.

What a server answered is known once it is committed. A crash between the answer and the commit sends that mail again,
under the same Message-ID and with the same bytes, which is how mail servers and readers know a repeat.
"""

from datetime import timedelta

from onterms.business.notices.service.delivery import Delivery
from onterms.business.notices.service.notices import DELIVER_TASK
from onterms.engines import jobs
from onterms.ports.mail import MailOutcome, MailPort

# Servers that do not answer are given up after days by the evidence, so what fails here is an outage or a bug.
_BACKOFF = jobs.Backoff(first_s=1.0, max_s=300.0)
_ATTEMPTS_MAX = 2000
# What a server that never decides is asked for again at least.
_RETRY_LEAST = timedelta(seconds=1)


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, delivery: Delivery, mail: MailPort) -> None:
        self._delivery = delivery
        self._mail = mail

    def register(self, worker: jobs.Worker) -> None:
        """Serve the room's jobs; before the worker runs."""
        worker.register(
            DELIVER_TASK, self._deliver, batch_max=1, concurrency=4, attempts_max=_ATTEMPTS_MAX, backoff=_BACKOFF
        )

    async def _deliver(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        for job in due:
            sid = job.payload["notice_sid"]
            async with run.transaction() as tx:
                mails = await self._delivery.prepare(tx, sid, run.clock.now())
                if not mails:
                    await run.complete(tx, [job])
                    continue
            outcomes: dict[int, MailOutcome] = {}
            for place, mail in mails:
                [outcomes[place]] = await self._mail.send(mail)
            async with run.transaction() as tx:
                now = run.clock.now()
                retry_at = await self._delivery.record(tx, sid, outcomes, now)
                if retry_at is None:
                    await run.complete(tx, [job])
                else:
                    await run.retry(tx, job, due_at=max(retry_at, now + _RETRY_LEAST), error="a server deferred")
