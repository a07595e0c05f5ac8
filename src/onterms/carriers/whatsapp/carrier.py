"""WhatsApp behind the port of messages: what goes out, who sends it, and what becomes of it.

Theory of operation. The Cloud API knows no idempotency, so a message is written down before it is handed over, and its
SID goes with it as data that comes back in each of its statuses. A repeat after a crash finds the row:

    named        Meta answered with its name: submitted
    refused      Meta said no: refused with the same words
    neither      it may or may not have it: unknown. A status tells, or the message fails after `FOLLOWED`

What was surely not taken (no connection, a rate limit) leaves no row, and is tried again. One pair's messages go one
after another, in order; pairs go at the same time. A submit waits `patience_s` for answers; later ones are reported to
the sink.

Freeform text reaches who wrote within 24 hours; `whatsapp_windows` keeps when they did. A number that stands here for
less than that may have been heard of elsewhere, so Meta is asked.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, Final

import asyncpg

from onterms.carriers.whatsapp import codes, compose, store
from onterms.carriers.whatsapp.graph import TIMEOUT_S, Answered, Away, Failed, Graph, Result, Silent
from onterms.core import e164
from onterms.core.clock import Clock
from onterms.core.db import Database, Row, Tx
from onterms.core.errors import ConfigError
from onterms.core.vault import Vault
from onterms.engines import jobs
from onterms.ports.channels import ChannelSender, ChannelSink, Standing, Step
from onterms.ports.message_carrier import (
    OutboundMessage,
    Receipt,
    Refused,
    SubmitOutcome,
    Submitted,
    Unknown,
    Unreachable,
)

_log = logging.getLogger("onterms.whatsapp")

NAME: Final = "whatsapp"
FOLLOW_TASK: Final = "whatsapp.follow"
# Meta docs, customer service windows.
WINDOW: Final = timedelta(hours=24)
# Ours: a status comes within seconds; Meta repeats webhooks for days, but nobody waits for a message that long.
FOLLOWED: Final = timedelta(hours=1)
PROVIDER_TIMEOUT: Final = 30410
# Meta docs: read receipts come up to 30 days later.
KEPT: Final = timedelta(days=31)
_KEEPING_S: Final = 3600.0
# Ours: longer than a good day's answer takes, and short enough that others do not wait behind a bad one.
PATIENCE_S: Final = 2.0
_LATE_TRIES: Final = 12
_LATE_PAUSE_S: Final = 5.0
# Requests under way at once; Meta's default throughput is 80 messages a second a number.
_AT_ONCE: Final = 64

# What a message's files are: (content type, bytes), in order.
Files = Callable[[str, str], Awaitable[Sequence[tuple[str, bytes]]]]


@dataclass(frozen=True, slots=True)
class _Number:
    """A number with what it takes to send from it."""

    base_url: str
    token: str
    phone_number_id: str
    uploads: bool
    # Whether it stood here long enough to have heard everybody who may be written to.
    knows_windows: bool


@dataclass(slots=True)
class _Batch:
    """Who waits for the outcomes of one submit, until it is over."""

    outcomes: dict[str, SubmitOutcome] = field(default_factory=dict)
    is_over: bool = False


@dataclass(slots=True)
class _Turn:
    """Whose turn it is to write from one number to another."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class WhatsAppCarrier:
    """A `ChannelCarrier` over the Cloud API.

    Units: `timeout_s` is how long one request may take, `patience_s` how long a submit waits for answers.
    """

    name: str = NAME
    channel: str = "whatsapp"
    # A repeat is recognised by what was written down.
    repeats_are_safe: bool = True

    def __init__(
        self,
        database: Database,
        clock: Clock,
        vault: Vault,
        sink: ChannelSink,
        files: Files,
        *,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._patience_s = patience_s
        self._turns: dict[tuple[str, str], _Turn] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._database = database
        self._clock = clock
        self._vault = vault
        self.sink = sink
        self._files = files
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._keeping: asyncio.Task[None] | None = None
        self.graph = Graph(timeout_s=timeout_s)

    async def __aenter__(self) -> "WhatsAppCarrier":
        await self.graph.__aenter__()
        self._keeping = asyncio.create_task(self._keep_house())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        # What is left unanswered is followed after the next start.
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.graph.__aexit__(kind, error, trace)

    def register(self, worker: jobs.Worker) -> None:
        """Serve the carrier's jobs; before the worker runs."""
        worker.register(FOLLOW_TASK, self._give_up, batch_max=100, concurrency=1)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_KEEPING_S)
            try:
                async with self._database.transaction() as tx:
                    await store.sweep(tx, self._clock.now() - KEPT)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("old messages could not be swept: %s", type(error).__name__)

    # ---- messages

    async def submit(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        """Hand messages over, in order for each pair of numbers, and return one outcome each."""
        if not messages:
            return []
        outcomes, ready = await self._write_down(messages)
        pairs: dict[tuple[str, str], list[tuple[OutboundMessage, _Number]]] = {}
        for message, number in ready:
            pairs.setdefault((message.sender, message.recipient), []).append((message, number))
        batch = _Batch()
        tasks = [self._spawn(self._send_in_order(key, pair, batch)) for key, pair in pairs.items()]
        if tasks:
            # Other networks' messages wait for this batch, so what takes longer is followed instead.
            await asyncio.wait(tasks, timeout=self._patience_s)
        batch.is_over = True
        for message, _ in ready:
            late = Unknown("the Cloud API has not answered yet", is_followed=True)
            outcomes[message.sid] = batch.outcomes.get(message.sid, late)
        await self._note(outcomes, [message for message, _ in ready])
        return [outcomes[message.sid] for message in messages]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _write_down(
        self, messages: Sequence[OutboundMessage]
    ) -> tuple[dict[str, SubmitOutcome], list[tuple[OutboundMessage, _Number]]]:
        """Settle what needs no asking, and write the rest down, in one commit."""
        at = self._clock.now()
        outcomes: dict[str, SubmitOutcome] = {}
        ready: list[tuple[OutboundMessage, _Number]] = []
        async with self._database.transaction() as tx:
            known = await store.known(tx, [message.sid for message in messages])
            rows = await store.numbers_of(tx, [(message.account_sid, message.sender) for message in messages])
            heard = await store.windows(tx, [(m.account_sid, m.sender, m.recipient) for m in messages])
            for message in messages:
                before = known.get(message.sid)
                if before is not None:
                    outcomes[message.sid] = _again(before)
                    continue
                row = rows.get((message.account_sid, message.sender))
                number = None if row is None else self._number(row)
                if number is None:
                    outcomes[message.sid] = Refused(63007, "the sender is not set up upstream")
                    continue
                last = heard.get((message.account_sid, message.sender, message.recipient))
                is_open = last is not None and at - last < WINDOW
                if not is_open and not compose.is_template(message) and number.knows_windows:
                    outcomes[message.sid] = Refused(
                        codes.OUTSIDE_WINDOW, "more than 24 hours have passed since the recipient wrote last"
                    )
                    continue
                ready.append((message, number))
            new = await store.hand_over(
                tx, [(message.account_sid, message.sid, number.phone_number_id) for message, number in ready], at
            )
        await self._follow([message for message in messages if isinstance(outcomes.get(message.sid), Unknown)])
        for message, _ in ready:
            if message.sid not in new:
                outcomes[message.sid] = Unknown("another worker hands it over", is_followed=True)
        return outcomes, [(message, number) for message, number in ready if message.sid in new]

    def _number(self, row: Row) -> _Number | None:
        try:
            token = (
                self._vault.unseal(row["own_token"], f"{row['sender_sid']}:token")
                if row["own_token"]
                else self._vault.unseal(row["token"], f"{row['waba_id']}:token")
            )
        except ConfigError as error:
            _log.error("the token of WhatsApp account %s cannot be used: %s", row["waba_id"], error)
            return None
        knows = self._clock.now() - row["enrolled_at"] >= WINDOW
        return _Number(row["base_url"], token, row["phone_number_id"], row["uploads"], knows)

    async def _send_in_order(
        self, key: tuple[str, str], pair: Sequence[tuple[OutboundMessage, _Number]], batch: "_Batch"
    ) -> None:
        """Send one pair's messages one after another, also after those of batches before."""
        turn = self._turns.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                before: SubmitOutcome | None = None
                for message, number in pair:
                    if isinstance(before, Unreachable) and not batch.is_over:
                        # What was said later is not heard earlier.
                        batch.outcomes[message.sid] = Unreachable("the message before it waits")
                        continue
                    async with self._room:
                        before = await self._send(message, number)
                    if batch.is_over:
                        await self._end_late(message, number, before)
                    else:
                        batch.outcomes[message.sid] = before
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[key]

    async def _end_late(self, message: OutboundMessage, number: _Number, outcome: SubmitOutcome) -> None:
        """Report what became of a message whose batch has gone on; what was not taken is tried a few times more."""
        for _ in range(_LATE_TRIES):
            if not isinstance(outcome, Unreachable):
                break
            await asyncio.sleep(_LATE_PAUSE_S)
            async with self._room:
                outcome = await self._send(message, number)
        if isinstance(outcome, Unreachable):
            outcome = Refused(codes.UNKNOWN, outcome.reason)
        at = self._clock.now()
        named = (message.account_sid, message.sid)
        try:
            async with self._database.transaction() as tx:
                if isinstance(outcome, Submitted):
                    await store.name(tx, {message.sid: outcome.carrier_id})
                    receipt = Receipt(NAME, outcome.carrier_id, *named, "sent", None, at)
                    await self.sink.receipts_arrived(tx, [receipt])
                elif isinstance(outcome, Refused):
                    await store.refuse(tx, {message.sid: (outcome.code, outcome.reason)})
                    receipt = Receipt(NAME, message.sid, *named, "failed", outcome.code, at, outcome.reason)
                    await self.sink.receipts_arrived(tx, [receipt])
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            _log.warning("a late answer is not written down: %s", type(error).__name__)

    async def _send(self, message: OutboundMessage, number: _Number) -> SubmitOutcome:
        media: tuple[str, Mapping[str, str]] | None = None
        if len(message.media_urls) == 1 and not compose.is_template(message):
            found = await self._media(message, number)
            if not isinstance(found, tuple):
                return found
            media = found
        body = compose.payload(message, media)
        if isinstance(body, Refused):
            return body
        result = await self.graph.post(number.base_url, number.token, (number.phone_number_id, "messages"), body)
        return _outcome(result)

    async def _media(
        self, message: OutboundMessage, number: _Number
    ) -> tuple[str, Mapping[str, str]] | Refused | Unreachable:
        """Find what a message's file is sent as, and bring it up where it is not fetched from us."""
        files = await self._files(message.account_sid, message.sid)
        if not files:
            return Refused(63019, "the file is not there any more")
        content_type, data = files[0]
        kind = compose.kind_of(content_type)
        if len(data) > compose.SIZES[kind]:
            return Refused(codes.MEDIA_TOO_LARGE, f"WhatsApp takes {compose.SIZES[kind]} bytes of {kind}")
        if not number.uploads:
            return kind, {"link": message.media_urls[0]}
        result = await self.graph.upload(
            number.base_url, number.token, (number.phone_number_id, "media"), content_type, data
        )
        if isinstance(result, Answered):
            media_id = result.body.get("id")
            if isinstance(media_id, str | int) and not isinstance(media_id, bool):
                return kind, {"id": str(media_id)}
            return Unreachable("the upload was answered without an id")
        if isinstance(result, Failed) and result.error not in codes.TRY_LATER and result.status < 500:
            return Refused(63019 if result.error == 131052 else codes.code_of(result.error or 131053), result.reason)
        # A file that was brought up twice is seen once.
        return Unreachable(result.reason)

    async def _note(self, outcomes: Mapping[str, SubmitOutcome], sent: Sequence[OutboundMessage]) -> None:
        """Write down what became of what was handed over."""
        if not sent:
            return
        names = {m.sid: found.carrier_id for m in sent if isinstance(found := outcomes[m.sid], Submitted)}
        refused = {m.sid: (found.code, found.reason) for m in sent if isinstance(found := outcomes[m.sid], Refused)}
        back = [m.sid for m in sent if isinstance(outcomes[m.sid], Unreachable)]
        unknown = [m for m in sent if isinstance(outcomes[m.sid], Unknown)]
        async with self._database.transaction() as tx:
            if names:
                await store.name(tx, names)
            if refused:
                await store.refuse(tx, refused)
            if back:
                await store.take_back(tx, back)
        await self._follow(unknown)

    async def _follow(self, messages: Sequence[OutboundMessage]) -> None:
        """See to it that a message whose fate nobody knows ends."""
        if not messages:
            return
        at = self._clock.now()
        steps = [
            jobs.NewJob(FOLLOW_TASK, {"sid": m.sid}, account_sid=m.account_sid, due_at=at + FOLLOWED) for m in messages
        ]
        async with self._database.transaction() as tx:
            await jobs.enqueue(tx, steps, at)

    async def _give_up(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Fail those messages that nothing was heard of."""
        async with run.transaction() as tx:
            at = self._clock.now()
            known = await store.known(tx, [job.payload["sid"] for job in batch])
            lost = [
                Receipt(
                    NAME,
                    row["message_sid"],
                    row["account_sid"],
                    row["message_sid"],
                    "failed",
                    PROVIDER_TIMEOUT,
                    at,
                    "nothing was heard of it",
                )
                for row in known.values()
                if row["wamid"] is None and row["refused_code"] is None
            ]
            await self.sink.receipts_arrived(tx, lost)
            await run.complete(tx, batch)

    async def show_typing(self, sender: str, recipient: str, carrier_id: str) -> int | None:
        """Mark an inbound message as read and show its sender that somebody types."""
        async with self._database.snapshot() as tx:
            owners = await self.sink.senders_online(tx, [sender])
            rows = await store.numbers_of(tx, [(owner, sender) for owner in owners.values()])
        row = next(iter(rows.values()), None)
        number = None if row is None else self._number(row)
        if number is None:
            return 63007
        body = {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": carrier_id,
            "typing_indicator": {"type": "text"},
        }
        result = await self.graph.post(number.base_url, number.token, (number.phone_number_id, "messages"), body)
        if isinstance(result, Answered):
            return None
        return codes.code_of(result.error) if isinstance(result, Failed) else codes.UNKNOWN

    # ---- senders

    async def advance(self, sender: ChannelSender, step: Step) -> Standing | Unreachable:
        """Enrol, verify, update or withdraw a number."""
        async with self._database.snapshot() as tx:
            row = await store.number_of(tx, sender.account_sid, sender.sid)
            waba_id = sender.configuration.get("waba_id")
            account = await store.account_for(tx, sender.account_sid, waba_id if isinstance(waba_id, str) else None)
        try:
            if step == "withdraw":
                return await self._withdraw(sender, row)
            if step == "enrol" or row is None:
                return await self._enrol(sender, account)
            return await (self._verify(sender, row) if step == "verify" else self._update(sender, row))
        except _Stopped as stopped:
            return stopped.outcome
        except ConfigError as error:
            _log.error("a WhatsApp account cannot be used: %s", error)
            return Standing("OFFLINE", reasons=((63008, "The WhatsApp Business Account is not set up"),))

    async def _enrol(self, sender: ChannelSender, row: Row | None) -> Standing:
        if row is None:
            return Standing(
                "OFFLINE", reasons=((63101, "There is no such WhatsApp Business Account for this account"),)
            )
        account = store.account_of(self._vault, row)
        digits = sender.address.partition(":")[2].lstrip("+")
        listed = await self._ask(
            self.graph.get(
                account.base_url,
                account.token,
                (account.waba_id, "phone_numbers"),
                {"fields": "id,display_phone_number,code_verification_status", "limit": "1000"},
            )
        )
        there: Mapping[str, Any] | None = next(
            (
                each
                for each in listed.get("data") or []
                if isinstance(each, dict)
                and "".join(c for c in str(each.get("display_phone_number")) if c.isdigit()) == digits
            ),
            None,
        )
        if there is None:
            there = await self._ask(
                self.graph.post(
                    account.base_url,
                    account.token,
                    (account.waba_id, "phone_numbers"),
                    {
                        "cc": _calling_code(digits),
                        "phone_number": digits[len(_calling_code(digits)) :],
                        "verified_name": str(sender.profile.get("name") or digits),
                    },
                )
            )
        phone_number_id = str(there.get("id") or "")
        if not phone_number_id:
            return Standing("OFFLINE", reasons=((63012, "The number was answered without an id"),))
        async with self._database.transaction() as tx:
            if not await self._make_way(tx, sender, phone_number_id):
                return Standing("OFFLINE", reasons=((63102, "The number is another sender's already"),))
            at = self._clock.now()
            await store.save_number(
                tx, sender.account_sid, sender.sid, sender.address, account.waba_id, phone_number_id, at
            )
        facts = {"waba_id": account.waba_id}
        if there.get("code_verification_status") == "VERIFIED":
            if account.account_sid != sender.account_sid and not sender.holds_number:
                # Somebody proved it in a business account that many share: not this customer.
                return Standing(
                    "OFFLINE",
                    reasons=((63102, "The number was verified before; ask the operator for it"),),
                    facts=facts,
                )
            return await self._go_online(sender, account.base_url, account.token, account.waba_id, phone_number_id)
        await self._ask(
            self.graph.post(
                account.base_url,
                account.token,
                (phone_number_id, "request_code"),
                {"code_method": "SMS", "language": "en_US"},
            )
        )
        return Standing("PENDING_VERIFICATION", facts=facts)

    async def _make_way(self, tx: Tx, sender: ChannelSender, phone_number_id: str) -> bool:
        """Tell whether a number is free for a sender; who held it before its account did has it no more."""
        holder = await store.holder_of(tx, phone_number_id)
        if holder is None or (holder["account_sid"], holder["sender_sid"]) == (sender.account_sid, sender.sid):
            return True
        if not sender.holds_number:
            return False
        await store.delete_number(tx, holder["account_sid"], holder["sender_sid"])
        gone = Standing("OFFLINE", reasons=((63109, "The number went to another account"),))
        await self.sink.standing_changed(tx, holder["account_sid"], holder["sender_sid"], gone)
        return True

    async def _verify(self, sender: ChannelSender, row: Row) -> Standing:
        account = store.account_of(self._vault, row)
        result = await self.graph.post(
            account.base_url,
            account.token,
            (row["phone_number_id"], "verify_code"),
            {"code": sender.verification_code.replace("-", "")},
        )
        if isinstance(result, Failed) and result.error not in codes.TRY_LATER and result.status < 500:
            return Standing("PENDING_VERIFICATION", reasons=((63100, f"The code was not accepted: {result.reason}"),))
        _body(result)
        return await self._go_online(sender, account.base_url, account.token, account.waba_id, row["phone_number_id"])

    async def _go_online(
        self, sender: ChannelSender, base_url: str, token: str, waba_id: str, phone_number_id: str
    ) -> Standing:
        pin = int.from_bytes(self._vault.mac("whatsapp pin", phone_number_id.encode())[:8], "big") % 1_000_000
        body = {"messaging_product": "whatsapp", "pin": f"{pin:06}"}
        await self._ask(self.graph.post(base_url, token, (phone_number_id, "register"), body))
        await self._ask(self.graph.post(base_url, token, (waba_id, "subscribed_apps"), {}))
        async with self._database.transaction() as tx:
            if not await self._make_way(tx, sender, phone_number_id):
                return Standing("OFFLINE", reasons=((63102, "The number is another sender's already"),))
            await store.set_verified(tx, sender.account_sid, sender.sid)
        return await self._profile(sender, base_url, token, phone_number_id, {"waba_id": waba_id})

    async def _update(self, sender: ChannelSender, row: Row) -> Standing:
        number = self._number({**dict(row), "enrolled_at": self._clock.now()})
        assert number is not None
        return await self._profile(sender, number.base_url, number.token, number.phone_number_id, {})

    async def _profile(
        self, sender: ChannelSender, base_url: str, token: str, phone_number_id: str, facts: Mapping[str, Any]
    ) -> Standing:
        names = ("about", "address", "description", "vertical")
        profile: dict[str, Any] = {name: sender.profile[name] for name in names if sender.profile.get(name)}
        emails, websites = (_listed(sender.profile.get(name), item) for name, item in _LISTS)
        if emails:
            profile["email"] = emails[0]
        if websites:
            profile["websites"] = websites[:2]
        if profile:
            body = {"messaging_product": "whatsapp", **profile}
            await self._ask(self.graph.post(base_url, token, (phone_number_id, "whatsapp_business_profile"), body))
        query = {"fields": "quality_rating,messaging_limit_tier"}
        seen = await self._ask(self.graph.get(base_url, token, (phone_number_id,), query))
        known = (("quality_rating", "quality_rating"), ("messaging_limit", "messaging_limit_tier"))
        properties = {name: str(seen[key])[:64] for name, key in known if isinstance(seen.get(key), str)}
        return Standing("ONLINE", properties, facts=facts)

    async def _withdraw(self, sender: ChannelSender, row: Row | None) -> Standing:
        if row is not None and row["is_verified"]:
            account = store.account_of(self._vault, row)
            body = {"messaging_product": "whatsapp"}
            result = await self.graph.post(
                account.base_url, account.token, (row["phone_number_id"], "deregister"), body
            )
            # A number that is not registered has what was wanted.
            if not isinstance(result, Failed) or result.status >= 500 or result.error in codes.TRY_LATER:
                _body(result)
        async with self._database.transaction() as tx:
            await store.delete_number(tx, sender.account_sid, sender.sid)
        return Standing("OFFLINE")

    async def _ask(self, request: Awaitable[Result]) -> Mapping[str, Any]:
        return _body(await request)


_LISTS: Final = (("emails", "email"), ("websites", "website"))


class _Stopped(Exception):
    """A step towards a sender ended where it is."""

    def __init__(self, outcome: Standing | Unreachable) -> None:
        super().__init__()
        self.outcome = outcome


def _body(result: Result) -> Mapping[str, Any]:
    """Return what was answered. Raises: _Stopped with what it means that it was not."""
    if isinstance(result, Answered):
        return result.body
    if isinstance(result, Failed) and result.error not in codes.TRY_LATER and result.status < 500:
        raise _Stopped(Standing("OFFLINE", reasons=((codes.code_of(result.error), result.reason),)))
    raise _Stopped(Unreachable(result.reason))


def _again(row: Row) -> SubmitOutcome:
    """Answer a repeat from what was written down."""
    if row["wamid"] is not None:
        return Submitted(row["wamid"])
    if row["refused_code"] is not None:
        return Refused(row["refused_code"], row["refused_reason"])
    return Unknown("it was handed over before and not answered", is_followed=True)


def _outcome(result: Result) -> SubmitOutcome:
    if isinstance(result, Answered):
        listed = result.body.get("messages")
        first = listed[0] if isinstance(listed, list) and listed else None
        wamid = first.get("id") if isinstance(first, dict) else None
        if isinstance(wamid, str) and 0 < len(wamid) <= 256 and wamid.isprintable():
            return Submitted(wamid)
        return Unknown("it was answered without a name", is_followed=True)
    if isinstance(result, Away):
        return Unreachable(result.reason)
    if isinstance(result, Silent):
        return Unknown(result.reason, is_followed=True)
    if result.error in codes.TRY_LATER or result.status == 429:
        return Unreachable(result.reason)
    return Refused(codes.code_of(result.error), result.reason)


def _calling_code(digits: str) -> str:
    number = e164.parse(f"+{digits}")
    return str(number.calling_code) if number is not None else digits[:1]


def _listed(value: Any, item: str) -> list[str]:
    if not isinstance(value, list):
        return []
    found = [each.get(item) if isinstance(each, dict) else each for each in value]
    return [str(each) for each in found if isinstance(each, str) and each]
