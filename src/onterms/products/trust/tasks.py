"""The trust room's durable steps: reviewers look at bundles, callbacks and mails say what they thought."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from onterms.core.db import Tx
from onterms.engines import jobs
from onterms.ports.callback import Callback, CallbackClient
from onterms.ports.mail import MailPort, OutMail
from onterms.ports.registrar import BundleSubmission, Registrar, Waiting
from onterms.products.trust.service import bundles
from onterms.products.trust.service.bundles import Surroundings

# Ours: a mail server that defers is asked again after this, for two days.
_MAIL_PAUSE = timedelta(minutes=10)
_MAIL_ATTEMPTS_MAX = 288
# Reviewers take days, and each question counts as an attempt; what fails here is an outage or a bug.
_ATTEMPTS_MAX = 10_000
_BACKOFF = jobs.Backoff(first_s=1.0, max_s=300.0)

# Writes to the account's debugger: (tx, account_sid, resource_sid, error_code, text, url, at).
Alert = Callable[[Tx, str, str, int, str, str, datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outside:
    """What the room's tasks reach."""

    registrar: Registrar
    callbacks: CallbackClient
    signing_token: Callable[[str], Awaitable[str]]
    mail: MailPort
    mail_sender: str
    mail_sender_name: str
    alert: Alert


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, around: Surroundings, outside: Outside) -> None:
        self._around = around
        self._outside = outside

    def register(self, worker: jobs.Worker) -> None:
        """Join the handlers to a worker."""
        worker.register(
            bundles.REVIEW, self._review, batch_max=1, concurrency=4, attempts_max=_ATTEMPTS_MAX, backoff=_BACKOFF
        )
        worker.register(bundles.CALLBACK, self._callback, batch_max=1, concurrency=16)
        worker.register(
            bundles.MAIL, self._mail, batch_max=1, concurrency=4, attempts_max=_ATTEMPTS_MAX, backoff=_BACKOFF
        )

    async def _review(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        for job in batch:
            account_sid = job.account_sid or ""
            async with run.transaction() as tx:
                asked = await bundles.question(tx, account_sid, job.payload)
                if asked is None:
                    await run.complete(tx, [job])
                    continue
            answer = (
                await self._outside.registrar.review_bundle(asked) if isinstance(asked, BundleSubmission) else asked
            )
            async with run.transaction() as tx:
                await bundles.decide(tx, self._around, account_sid, job.payload, answer, run.clock.now())
                if isinstance(answer, Waiting) and answer.again_at is not None:
                    await run.retry(tx, job, due_at=answer.again_at, error="not decided yet")
                else:
                    await run.complete(tx, [job])

    async def _callback(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        for job in batch:
            account_sid, payload = job.account_sid or "", job.payload
            answer = await self._outside.callbacks.call(
                Callback(
                    account_sid=account_sid,
                    url=payload["url"],
                    method="POST",
                    params=list(payload["fields"].items()),
                    signing_token=await self._outside.signing_token(account_sid),
                    idempotency_token=payload["token"],
                )
            )
            async with run.transaction() as tx:
                if answer.error_code is not None:
                    given = (answer.error_code, answer.error or "", payload["url"], run.clock.now())
                    await self._outside.alert(tx, account_sid, payload["sid"], *given)
                await run.complete(tx, [job])

    async def _mail(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        for job in batch:
            payload = job.payload
            domain = self._outside.mail_sender.rpartition("@")[2]
            mail = OutMail(
                f"<{payload['id']}@{domain}>",
                self._outside.mail_sender,
                self._outside.mail_sender_name,
                (payload["to"],),
                payload["subject"],
                payload["body"],
                job.created_at,
            )
            [outcome] = await self._outside.mail.send(mail)
            async with run.transaction() as tx:
                if outcome.result == "deferred" and job.attempt < _MAIL_ATTEMPTS_MAX:
                    due_at = max(outcome.retry_at or run.clock.now(), run.clock.now() + _MAIL_PAUSE)
                    await run.retry(tx, job, due_at=due_at, error=outcome.reply)
                else:
                    await run.complete(tx, [job])
