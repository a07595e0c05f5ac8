"""The simulator: a message carrier whose other side is virtual handsets in the database.

Theory of operation. A submit is one transaction: the messages go into their handsets, and one job for each due time
holds the receipts. So what the carrier answered for is there after a crash, receipts included, and a message that is
submitted again is recognised by its SID and reported no second time. While no handset has a setting and no fault is
injected, that is one statement and the job; the statement itself looks whether this is so, hence no submit misses a
setting made before it, in whichever process. Otherwise the batch is planned message by message.

In the other direction a handset's message goes to the sink like any carrier's, or, when no account owns the number,
to the handset that has it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from onterms.carriers.simulator import store
from onterms.carriers.simulator.errors import MediaInvalid
from onterms.carriers.simulator.faults import Faults
from onterms.carriers.simulator.media import gather_media
from onterms.carriers.simulator.model import NOT_RECEIVED, NOT_TAKEN, RECEIPTS, SMOOTH, Plan
from onterms.carriers.simulator.store import HandsetMessage
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.e164 import split_address
from onterms.core.ids import new_sid
from onterms.engines.jobs import Backoff, Job, NewJob, Run, Worker, enqueue
from onterms.ports.media import MediaFetcher
from onterms.ports.message_carrier import (
    InboundMessage,
    MessageSink,
    OutboundMessage,
    Receipt,
    Refused,
    SubmitOutcome,
    Submitted,
    Unknown,
    Unreachable,
)
from onterms.protocols.gsm import segment

NAME: Final = "simulator"
RECEIPTS_TASK: Final = "simulator.receipts"
CROSSINGS_TASK: Final = "simulator.crossings"

# One job's receipts become one statement of the sink; more in one would keep others waiting.
_RECEIPTS_PER_JOB: Final = 250
# These jobs touch nothing but our own database, so what fails is an outage or a bug: try for long, and not often.
_BACKOFF: Final = Backoff(first_s=1.0, max_s=300.0)
_ATTEMPTS_MAX: Final = 50

# Returns which of these numbers some account owns.
NumbersOwned = Callable[[Tx, Sequence[str]], Awaitable[set[str]]]


class _Crossing(msgspec.Struct, array_like=True, frozen=True):
    """A message from one account's number to another's, on its way through the air."""

    sid: str
    sender: str
    recipient: str
    body: str
    media_urls: list[str]
    segments: int


class SimulatorCarrier:
    """The world outside, for a sandbox: a `MessageCarrier`.

    Shapes: `media_fetcher` gets what http URLs of a handset's message stand for; without it only data: URLs work. With
    `numbers_owned`, what is sent to an account's own number comes back in, as it does over the air.
    """

    name: str = NAME
    repeats_are_safe: bool = True

    def __init__(
        self,
        database: Database,
        clock: Clock,
        sink: MessageSink,
        *,
        media_fetcher: MediaFetcher | None = None,
        numbers_owned: NumbersOwned | None = None,
    ) -> None:
        self.faults = Faults(database)
        self._database = database
        self._clock = clock
        self._sink = sink
        self._media_fetcher = media_fetcher
        self._numbers_owned = numbers_owned

    def register(self, worker: Worker) -> None:
        """Serve the carrier's jobs; before the worker runs."""
        worker.register(
            RECEIPTS_TASK,
            self._bring_receipts,
            batch_max=4,
            concurrency=2,
            attempts_max=_ATTEMPTS_MAX,
            backoff=_BACKOFF,
        )
        worker.register(
            CROSSINGS_TASK,
            self._bring_crossings,
            batch_max=1,
            concurrency=2,
            attempts_max=_ATTEMPTS_MAX,
            backoff=_BACKOFF,
        )

    async def start(self) -> None:
        """Follow the faults that other processes inject."""
        await self.faults.start()

    async def close(self) -> None:
        """Follow no more."""
        await self.faults.close()

    # ---- from us to handsets

    async def submit(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        """Hand messages over, in order, and return one outcome each."""
        if not messages:
            return []
        at = self._clock.now()
        async with self._database.transaction() as tx:
            kept = [_kept(message, "received", at) for message in messages]
            new = await store.put_messages(tx, kept, only_undisturbed=True)
            if new is not None:
                await self._follow_up(tx, messages, dict.fromkeys(new, SMOOTH), at)
                return [Submitted(_carrier_id(message.sid)) for message in messages]
            return await self._submit_disturbed(tx, messages, at)

    async def _submit_disturbed(self, tx: Tx, messages: Sequence[OutboundMessage], at: datetime) -> list[SubmitOutcome]:
        known = await store.known_sids(tx, [message.sid for message in messages])
        # A SID given twice in one batch is one message: it is planned once.
        fresh = {message.sid: message for message in messages if message.sid not in known}
        plans = dict(zip(fresh, await self.faults.plan(tx, list(fresh.values())), strict=True))
        taken = [
            _kept(message, "undelivered" if plans[sid].outcome in NOT_RECEIVED else "received", at)
            for sid, message in fresh.items()
            if plans[sid].outcome not in NOT_TAKEN
        ]
        new = await store.put_messages(tx, taken, only_undisturbed=False) if taken else []
        assert new is not None
        await self._follow_up(tx, messages, {sid: plans[sid] for sid in new}, at)
        return [_outcome(message.sid, plans.get(message.sid, SMOOTH)) for message in messages]

    async def _follow_up(
        self, tx: Tx, messages: Sequence[OutboundMessage], plans: dict[str, Plan], at: datetime
    ) -> None:
        """Put the receipts of new messages, and what comes back in, on their way."""
        accounts = {message.sid: message.account_sid for message in messages}
        due: dict[float, list[list[Any]]] = {}
        for sid, plan in plans.items():
            state = RECEIPTS.get(plan.outcome)
            if state is not None:
                code = plan.code if plan.outcome in NOT_RECEIVED else None
                due.setdefault(plan.delay_s, []).append([accounts[sid], sid, state, code])
        jobs = [
            NewJob(RECEIPTS_TASK, {"receipts": part}, due_at=at + timedelta(seconds=delay_s))
            for delay_s, receipts in due.items()
            for part in (
                receipts[start : start + _RECEIPTS_PER_JOB] for start in range(0, len(receipts), _RECEIPTS_PER_JOB)
            )
        ]
        jobs += await self._crossings(tx, messages, plans)
        await enqueue(tx, jobs, at)

    async def _crossings(self, tx: Tx, messages: Sequence[OutboundMessage], plans: dict[str, Plan]) -> list[NewJob]:
        if self._numbers_owned is None:
            return []
        arrived = {
            message.sid: message
            for message in messages
            if message.sid in plans and plans[message.sid].outcome not in NOT_RECEIVED
        }
        owned = await self._numbers_owned(tx, sorted({message.recipient for message in arrived.values()}))
        return [
            NewJob(
                CROSSINGS_TASK,
                {
                    "message": _Crossing(
                        message.sid,
                        message.sender,
                        message.recipient,
                        message.body,
                        list(message.media_urls),
                        message.segments,
                    )
                },
            )
            for message in arrived.values()
            if message.recipient in owned
        ]

    async def _bring_receipts(self, run: Run, jobs: list[Job]) -> None:
        receipts = [
            Receipt(
                carrier=NAME,
                carrier_id=_carrier_id(sid),
                account_sid=account_sid,
                message_sid=sid,
                state=state,
                code=code,
                done_at=job.due_at,
            )
            for job in jobs
            for account_sid, sid, state, code in job.payload["receipts"]
        ]
        async with run.transaction() as tx:
            await self._sink.receipts_arrived(tx, receipts)
            await run.complete(tx, jobs)

    async def _bring_crossings(self, run: Run, jobs: list[Job]) -> None:
        for job in jobs:
            crossing = msgspec.convert(job.payload["message"], _Crossing)
            try:
                media = await gather_media(crossing.media_urls, self._media_fetcher)
            except MediaInvalid:
                # A carrier that cannot get an attachment delivers the text without it.
                media = ()
            inbound = InboundMessage(
                carrier=NAME,
                carrier_id=_carrier_id(crossing.sid),
                sender=crossing.sender,
                recipient=crossing.recipient,
                body=crossing.body,
                media=media,
                segments=crossing.segments,
                at=run.clock.now(),
            )
            looked_through = await self._sink.look_through([inbound])
            async with run.transaction() as tx:
                await self._sink.messages_arrived(tx, looked_through)
                await run.complete(tx, [job])

    # ---- from handsets to us

    async def send_from_handset(
        self, number: str, recipient: str, body: str, media_urls: Sequence[str] = ()
    ) -> HandsetMessage:
        """Send from a handset: to the account that owns the number, else to the handset that has it.

        Returns the message as the sending handset keeps it; its `message_sid` is the inbound message's, if any.
        Raises: MediaInvalid.
        """
        media = await gather_media(media_urls, self._media_fetcher)
        channel, identity = split_address(recipient)
        sender = number if channel == "sms" else f"{channel}:{number}"
        size = segment(body)
        # Twilio docs, Message resource: a message with media counts as one segment.
        segments = 1 if media else size.segments
        at = self._clock.now()
        inbound = InboundMessage(NAME, new_sid("IN", at), sender, recipient, body, media, segments, at)
        looked_through = await self._sink.look_through([inbound])
        async with self._database.transaction() as tx:
            [sid] = await self._sink.messages_arrived(tx, looked_through)
            sent = HandsetMessage(
                number, "sent", sender, recipient, body, tuple(media_urls), sid, size.encoding, segments, at
            )
            sent = replace(sent, id=await store.put_one(tx, sent))
            if sid is None:
                await store.put_one(tx, replace(sent, handset=identity, direction="received"))
        return sent


def _kept(message: OutboundMessage, direction: str, at: datetime) -> HandsetMessage:
    return HandsetMessage(
        split_address(message.recipient).identity,
        direction,
        message.sender,
        message.recipient,
        message.body,
        message.media_urls,
        message.sid,
        message.encoding,
        message.segments,
        at,
    )


def _carrier_id(sid: str) -> str:
    # Derived, so that a repeat is answered with the id of the first time without a look.
    return f"SIM{sid}"


def _outcome(sid: str, plan: Plan) -> SubmitOutcome:
    if plan.outcome == "reject":
        assert plan.code is not None
        return Refused(plan.code, "the simulated carrier rejected the message")
    if plan.outcome == "unreachable":
        return Unreachable("the simulated carrier cannot be reached")
    if plan.outcome == "unknown":
        return Unknown("the simulated carrier took the message and did not answer")
    return Submitted(_carrier_id(sid))
