"""The world's mail servers, for a sandbox: a `MailPort`.

Theory of operation. Every address has a mailbox in the database and takes mail until a setting says otherwise: it may
refuse, ask to come back later, or take a mail and report a bounce afterwards. A mail is kept once however often it is
offered, as its Message-ID tells. What comes back goes to the sink in the same transaction as its cause; a bounce that
is due later is a job, so the sandbox's clock can be moved to it.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from onterms.carriers.mailbox import store
from onterms.carriers.mailbox.store import StoredMail
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.errors import NotFound
from onterms.core.ids import new_sid
from onterms.engines import jobs
from onterms.ports.mail import Bounce, InMail, MailOutcome, MailSink, OutMail
from onterms.protocols.mail import Part, compose

BOUNCES_TASK: Final = "mailbox.bounces"
SERVER: Final = "mailbox.simulator"
# RFC 3463 3.2: 5.1.1 is a mailbox that does not exist, 4.7.1 a delivery put off.
_NO_SUCH: Final = "550 5.1.1 No such mailbox"
_LATER: Final = "451 4.7.1 Try again later"


class Mailbox:
    """Mailboxes of every address."""

    def __init__(self, database: Database, clock: Clock, sink: MailSink) -> None:
        self._database = database
        self._clock = clock
        self._sink = sink

    def register(self, worker: jobs.Worker) -> None:
        """Serve the mailboxes' jobs; before the worker runs."""
        worker.register(BOUNCES_TASK, self._bounce_due, attempts_max=50, backoff=jobs.Backoff(max_s=300.0))

    async def send(self, mail: OutMail) -> list[MailOutcome]:
        """Put a mail into each recipient's mailbox and return what its server says, in the order of the recipients."""
        async with self._database.transaction() as tx:
            return [await self._offer(tx, mail, recipient) for recipient in mail.recipients]

    async def bounce(
        self, tx: Tx, address: str, message_ids: Sequence[str], diagnostic: str, at: datetime
    ) -> list[str]:
        """Give up mails that a mailbox took and return their ids.

        Raises: NotFound when it has one of them not.
        """
        mails = await store.get(tx, address, message_ids)
        missing = set(message_ids) - {mail.message_id for mail in mails}
        if missing:
            raise NotFound(f"{address} has no mail {sorted(missing)[0]}")
        due = [mail.message_id for mail in mails if mail.bounced_at is None]
        await store.mark_bounced(tx, address, due, at)
        await self._sink.bounced(tx, [Bounce(message_id, address, at, diagnostic) for message_id in due])
        return due

    async def write(self, tx: Tx, sender: str, recipient: str, subject: str, body: str, at: datetime) -> str:
        """Send a mail from a mailbox to the operator and return the SID of its record."""
        # The SID makes two mails of one text two mails.
        message_id = f"<{new_sid('MB', at)}@{sender.rpartition('@')[2]}>"
        raw = compose(
            message_id=message_id,
            sender=sender,
            sender_name="",
            recipient=recipient,
            subject=subject,
            body=body,
            date=at,
        )
        [sid] = await self._sink.received(tx, [InMail(sender, recipient, subject, body, message_id, at, raw)])
        return sid

    async def _offer(self, tx: Tx, mail: OutMail, recipient: str) -> MailOutcome:
        address = recipient.lower()
        at = self._clock.now()
        raw = compose(
            message_id=mail.message_id,
            sender=mail.sender,
            sender_name=mail.sender_name,
            recipient=recipient,
            subject=mail.subject,
            body=mail.body,
            date=mail.date,
            parts=[Part(file.name, file.content_type, file.content) for file in mail.attachments],
        )
        digest = hashlib.sha256(raw).hexdigest()
        setting = await store.setting_of(tx, address)
        if setting.behaviour == "refuse":
            return MailOutcome(recipient, "refused", at, SERVER, _NO_SUCH, digest)
        if setting.delay_s:
            ready_at = await store.first_offer(tx, address, mail.message_id, at) + timedelta(seconds=setting.delay_s)
            if at < ready_at:
                return MailOutcome(recipient, "deferred", at, SERVER, _LATER, digest, retry_at=ready_at)
        files: tuple[dict[str, str | int], ...] = tuple(
            {"name": file.name, "content_type": file.content_type, "bytes": len(file.content)}
            for file in mail.attachments
        )
        stored = StoredMail(0, address, mail.message_id, mail.sender, mail.subject, mail.body, files, raw, at, None)
        is_new = await store.put(tx, stored)
        if is_new and setting.behaviour == "bounce":
            payload = {"address": address, "message_id": mail.message_id}
            due_at = at + timedelta(seconds=setting.bounce_after_s)
            await jobs.enqueue(tx, [jobs.NewJob(BOUNCES_TASK, payload, due_at=due_at)], at)
        return MailOutcome(recipient, "accepted", at, SERVER, f"250 2.0.0 Ok {mail.message_id}", digest)

    async def _bounce_due(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        async with run.transaction() as tx:
            for job in due:
                address, message_id = job.payload["address"], job.payload["message_id"]
                # A mailbox that was emptied meanwhile has nothing to give up.
                if await store.get(tx, address, [message_id]):
                    await self.bounce(tx, address, [message_id], _NO_SUCH, run.clock.now())
            await run.complete(tx, due)
