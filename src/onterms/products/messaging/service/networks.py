"""What channels' networks are asked beside messages: to take senders, and to show that somebody types."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from onterms.core.clock import Clock
from onterms.core.db import Tx
from onterms.core.errors import NotFound
from onterms.engines import jobs
from onterms.ports.channels import ChannelCarrier, Standing
from onterms.ports.message_carrier import OutboundMessage, Refused, SubmitOutcome, Submitted, Unreachable
from onterms.products import monitor
from onterms.products.messaging import errors
from onterms.products.messaging import store as messages
from onterms.products.messaging.model.channels import channel_of
from onterms.products.messaging.service import channels
from onterms.products.messaging.store import channels as store

# Ours: as long as a network may be away before a sender is given up.
_PAUSE = timedelta(seconds=30)
_PATIENCE = timedelta(hours=24)
# Twilio docs, error 63008: nothing here knows the channel.
MISCONFIGURED = 63008
TYPING = "messaging.typing"


class Networks:
    """The durable step that asks networks about senders."""

    def __init__(self, clock: Clock, carriers: Mapping[str, ChannelCarrier]) -> None:
        self._clock = clock
        self._carriers = carriers

    def register(self, worker: jobs.Worker) -> None:
        """Join the step to a worker."""
        worker.register(TYPING, self.show_typing, batch_max=1, concurrency=8)
        worker.register(channels.AT_NETWORK, self.ask, batch_max=1, concurrency=4)

    async def show_typing(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Show writers that somebody types; what does not work now is of no use later."""
        for job in batch:
            account_sid = job.account_sid or ""
            async with run.transaction() as tx:
                message = await messages.fetch(tx, account_sid, job.payload["sid"])
            code: int | None = None
            if message is not None:
                carrier = self._carriers.get(channel_of(message["sender"]))
                code = MISCONFIGURED
                if carrier is not None:
                    given = (message["recipient"], message["sender"], message["carrier_id"] or "")
                    code = await carrier.show_typing(*given)
            async with run.transaction() as tx:
                if code is not None:
                    alert = monitor.NewAlert(
                        account_sid=account_sid,
                        error_code=code,
                        text="the typing indicator was not shown",
                        resource_sid=job.payload["sid"],
                    )
                    await monitor.record(tx, [alert], self._clock.now())
                await run.complete(tx, [job])

    async def ask(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Take a sender one step on at its network."""
        for job in batch:
            account_sid, sid = job.account_sid or "", job.payload["sid"]
            async with run.transaction() as tx:
                asked = await channels.asked_of(tx, account_sid, job.payload)
            if asked is None:
                async with run.transaction() as tx:
                    await run.complete(tx, [job])
                continue
            carrier = self._carriers.get(channel_of(asked.address))
            if carrier is None:
                standing: Standing | Unreachable = Standing(
                    "OFFLINE", reasons=((MISCONFIGURED, "No network of this channel is set up"),)
                )
            else:
                standing = await carrier.advance(asked, job.payload["step"])
            async with run.transaction() as tx:
                now = self._clock.now()
                if isinstance(standing, Unreachable) and now - job.created_at < _PATIENCE:
                    await run.retry(tx, job, due_at=now + _PAUSE, error=standing.reason)
                    continue
                if isinstance(standing, Unreachable):
                    standing = Standing("OFFLINE", reasons=((63012, standing.reason),))
                await channels.settle(tx, account_sid, sid, standing, now)
                await run.complete(tx, [job])


async def ask_typing(tx: Tx, account_sid: str, message_sid: str, at: datetime) -> None:
    """Have the writer of an inbound message shown that somebody types. Raises: NotFound, ContentNotOnChannel."""
    message = await messages.fetch(tx, account_sid, message_sid)
    if message is None:
        raise NotFound(f"The message {message_sid} was not found")
    if message["direction"] != "inbound" or channel_of(message["sender"]) != "whatsapp":
        raise errors.ContentNotOnChannel("Only a message that came by WhatsApp can be answered with an indicator")
    payload = {"sid": message_sid}
    await jobs.enqueue(tx, [jobs.NewJob(TYPING, payload, account_sid=account_sid)], at)


async def keep_answers(tx: Tx, messages: Sequence[OutboundMessage], outcomes: Sequence[SubmitOutcome]) -> None:
    """Keep the networks' names of what they took, and their words on what they refused, which callbacks repeat."""
    for message, outcome in zip(messages, outcomes, strict=True):
        if message.channel == "sms":
            continue
        if isinstance(outcome, Refused):
            await store.keep_reason(tx, message.account_sid, message.sid, outcome.reason[:1000])
        elif isinstance(outcome, Submitted):
            await store.name(tx, message.account_sid, message.sid, outcome.carrier_id)
