"""The MMS carriers behind the port of messages: routes, MMSCs, reports.

Theory of operation. Each message has a turn of its own: it waits for a place at its MMSC, is written down (one
commit), and only then goes out, so that whatever may be on a connection is known after a crash. What the MMSC says is
written down in the next commit. A submit waits for `patience_s` only: what has had no place until then is given back,
and what is under way is followed, that is, reported to the sink as sent or failed, or put back into its queue.

    written down     the message is in mms_sent without a name
    named            the MMSC took it; reports will have that name
    lost             no answer came. It goes out again only where the operator allows duplicates; else a report of its
                     sender and recipient tells, or it fails after `ambiguous_s`

Reports and messages come through door.py, in whatever process listens; what both write meets in the rows.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec

from onterms.carriers.mms import model, store
from onterms.carriers.mms.client import Answered, Client, Lost, NotTaken, TooLarge
from onterms.carriers.mms.fitting import Unfit, fit
from onterms.carriers.mms.mailing import forward_of, plmn, send
from onterms.carriers.mms.model import NAME, CarrierRow, Route, Routes
from onterms.carriers.mms.opening import carrier_of
from onterms.carriers.mms.reports import receipt_of, take_kept
from onterms.core.clock import Clock
from onterms.core.db import Database, Row, Tx
from onterms.core.errors import ConfigError
from onterms.core.following import Follower
from onterms.core.vault import Vault
from onterms.ports.media import MediaShelf, Pictures
from onterms.ports.message_carrier import (
    MessageSink,
    OutboundMessage,
    Receipt,
    Refused,
    SubmitOutcome,
    Submitted,
    Unknown,
    Unreachable,
)
from onterms.protocols import mm7

_log = logging.getLogger("onterms.mms")

# Ours, as for SMPP: others wait behind a submit.
PATIENCE_S: Final = 2.0
KEEPING_S: Final = 30.0
# Carriers give up after three days at most, and their reports come a little later.
REPORT_AFTER: Final = timedelta(days=7)
# A report waits for the name of its message, or until that counts as lost.
REPORT_KEPT: Final = timedelta(days=1)
SWEEP_MAX: Final = 500
# A message that was given back is back within seconds.
PREPARED_KEPT_S: Final = 300.0
# An MMSC that knows us no more is asked again after this; somebody has to do something first.
CONFIG_PAUSE_S: Final = 60.0

_OUTAGES: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(slots=True, eq=False)
class _Turn:
    """One message on its way to an MMSC."""

    message: OutboundMessage
    gate: "_Gate"
    # From here on the MMSC may have it.
    has_begun: bool = False
    # Nobody waits for the outcome any more: the sink hears of it.
    is_followed: bool = False
    # The result is here and about to be written down, for whoever it was for at that moment.
    is_decided: bool = False
    outcome: SubmitOutcome | None = None

    def decide(self) -> bool:
        """Note that the result is here; return whether the sink is to hear of it."""
        self.is_decided = True
        return self.is_followed


@dataclass(slots=True, eq=False)
class _Gate:
    """One MMSC: its connections, its places, and until when it wants to be left alone."""

    carrier: CarrierRow
    client: Client
    places: asyncio.Semaphore
    free_at: float = 0.0
    next_at: float = 0.0
    is_closed: bool = False
    turns: set["_Turn"] = field(default_factory=set)


class MmsCarrier:
    """Carriers reached by MM7: a `MessageCarrier` for the messages with files that a route carries."""

    name: str = NAME
    repeats_are_safe: bool = True

    def __init__(
        self,
        database: Database,
        clock: Clock,
        vault: Vault,
        sink: MessageSink,
        shelf: MediaShelf,
        pictures: Pictures,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault
        self._sink = sink
        self._shelf = shelf
        self._pictures = pictures
        self._patience_s = patience_s
        self._follower = Follower(database, store.CHANNEL, self._reload)
        self._routes = Routes()
        self._gates: dict[str, _Gate] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: dict[str, _Turn] = {}
        # What is made or was made for messages that have not gone out, and since when.
        self._requests: dict[tuple[str, str], tuple[asyncio.Future[mm7.SubmitReq], float]] = {}
        self._has_carriers = False

    # ---- its life

    async def start(self, *, works: bool = True) -> None:
        """Learn of the carriers, and follow what the operator changes; one that does not work knows the routes only."""
        await self._follower.start()
        if works:
            self._spawn(self._keep_house())

    async def close(self) -> None:
        """Stop; what is on a connection stays written down, and unknown."""
        await self._follower.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for made, _ in self._requests.values():
            made.cancel()
        for gate in self._gates.values():
            await gate.client.close()

    def _spawn(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _reload(self) -> None:
        async with self._database.snapshot() as tx:
            rows = await store.carriers(tx)
            routes = await store.live_routes(tx)
        wanted: dict[str, CarrierRow] = {}
        for row in rows:
            try:
                carrier = carrier_of(self._vault, row)
            except (ConfigError, msgspec.ValidationError) as error:
                _log.error("carrier %s cannot be used: %s", row["name"], error)
                continue
            if carrier.settings.enabled:
                wanted[carrier.sid] = carrier
        for sid, gate in list(self._gates.items()):
            if wanted.get(sid) != gate.carrier:
                del self._gates[sid]
                gate.is_closed = True
                if not gate.turns:
                    await gate.client.close()
        for sid, carrier in wanted.items():
            if sid not in self._gates:
                try:
                    client = Client(carrier)
                except ConfigError as error:
                    _log.error("carrier %s cannot be used: %s", carrier.name, error)
                    continue
                self._gates[sid] = _Gate(carrier, client, asyncio.Semaphore(carrier.settings.connections))
        self._has_carriers = bool(rows)
        self._routes = Routes([route for route in routes if route.carrier_sid in self._gates])

    # ---- from us to MMSCs

    def has_route(self, recipient: str) -> bool:
        """Tell whether a recipient is reached."""
        return bool(self._routes.of(recipient))

    async def carried(self, messages: Sequence[OutboundMessage]) -> set[str]:
        """Return which messages are this carrier's: those with files and a route, and those handed over before."""
        if not self._has_carriers:
            return set()
        wanted = [message for message in messages if message.media_urls]
        mine = {message.sid for message in wanted if self._routes.of(message.recipient)}
        rest = [message.sid for message in wanted if message.sid not in mine]
        if rest:
            async with self._database.snapshot() as tx:
                mine |= (await store.sent_of(tx, rest)).keys()
        return mine

    async def submit(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        """Hand messages over and return one outcome each."""
        if not messages:
            return []
        async with self._database.snapshot() as tx:
            before = await store.sent_of(tx, [message.sid for message in messages])
        outcomes: dict[str, SubmitOutcome] = {}
        turns: dict[str, asyncio.Task[None]] = {}
        waiting: dict[str, _Turn] = {}
        for message in messages:
            if message.sid in waiting or message.sid in outcomes:
                continue
            row = before.get(message.sid)
            settled = await self._settled(message, row)
            gate = self._gate_of(message)
            if settled is not None:
                outcomes[message.sid] = settled
            elif gate is None:
                outcomes[message.sid] = Refused(model.NO_ROUTE, "no route carries it", NAME)
            elif gate.free_at > asyncio.get_running_loop().time():
                outcomes[message.sid] = Unreachable("the MMSC wants to be left alone")
            else:
                turn = _Turn(message, gate)
                waiting[message.sid] = turn
                self._under_way[message.sid] = turn
                gate.turns.add(turn)
                turns[message.sid] = self._spawn(self._take_turn(turn))
        if turns:
            await asyncio.wait(turns.values(), timeout=self._patience_s)
        decided = [turns[sid] for sid, turn in waiting.items() if turn.is_decided and not turns[sid].done()]
        if decided:
            # Only a commit is between them and their outcomes.
            await asyncio.wait(decided)
        for sid, turn in waiting.items():
            if turn.outcome is not None:
                outcomes[sid] = turn.outcome
            elif turn.has_begun:
                turn.is_followed = True
                outcomes[sid] = Unknown("the MMSC has not answered yet", is_followed=True)
            else:
                turns[sid].cancel()
                outcomes[sid] = Unreachable("the MMSC is busy")
        return [outcomes[message.sid] for message in messages]

    def _gate_of(self, message: OutboundMessage) -> _Gate | None:
        """Return the MMSC of a message: the first of its routes that may be asked, else the first."""
        routes: list[Route] = self._routes.of(message.recipient)
        now = asyncio.get_running_loop().time()
        gates = [self._gates[route.carrier_sid] for route in routes if route.carrier_sid in self._gates]
        return next((gate for gate in gates if gate.free_at <= now), gates[0] if gates else None)

    async def _settled(self, message: OutboundMessage, row: Row | None) -> SubmitOutcome | None:
        """Return what is known of a message that was handed over before; None where it is to go out."""
        if message.sid in self._under_way:
            return Unknown("it is under way already", is_followed=True)
        if row is None:
            return None
        if row["carrier_id"] is not None:
            return Submitted(row["carrier_id"], NAME)
        gate = self._gates.get(row["carrier_sid"])
        if gate is not None and gate.carrier.settings.allow_duplicates:
            return None
        async with self._database.transaction() as tx:
            await store.mark_lost(tx, message.sid)
            receipt = await take_kept(tx, row)
            if receipt is not None:
                await self._sink.receipts_arrived(tx, [receipt])
        return Unknown("it was handed over before, and no answer came", is_followed=True)

    async def _take_turn(self, turn: _Turn) -> None:
        gate, message = turn.gate, turn.message
        try:
            async with gate.places:
                await self._keep_pace(gate)
                turn.outcome = await self._hand_over(turn)
            self._requests.pop((message.sid, gate.carrier.sid), None)
        except _OUTAGES as error:
            _log.warning("a message waits for the database: %s", type(error).__name__)
            if not turn.has_begun:
                turn.outcome = Unreachable("the database cannot be reached")
            else:
                # Its row says that it went out; what became of it is found as after a crash.
                turn.outcome = Unknown("the answer could not be written down", is_followed=True)
        finally:
            self._under_way.pop(message.sid, None)
            gate.turns.discard(turn)
            if gate.is_closed and not gate.turns:
                await gate.client.close()

    async def _keep_pace(self, gate: _Gate) -> None:
        rate = gate.carrier.settings.rate
        if rate <= 0:
            return
        now = asyncio.get_running_loop().time()
        at = max(now, gate.next_at)
        gate.next_at = at + 1 / rate
        if at > now:
            await asyncio.sleep(at - now)

    async def _hand_over(self, turn: _Turn) -> SubmitOutcome:
        """Send one message and write down what came of it."""
        gate, message = turn.gate, turn.message
        settings = gate.carrier.settings
        try:
            request = await self._prepared(gate.carrier, message)
        except Unfit as unfit:
            return Refused(unfit.code, unfit.reason, NAME)
        new = store.NewSent(
            message.sid,
            message.account_sid,
            gate.carrier.sid,
            model.digits(message.sender),
            model.digits(message.recipient),
        )
        # Whoever is cancelled until here has written nothing.
        turn.has_begun = True
        async with self._database.transaction() as tx:
            await store.put(tx, new, self._clock.now())
        if settings.protocol == "mm4":
            forward = forward_of(gate.carrier, message.sid, message.sender, message.recipient, request)
            to = plmn(message.recipient, settings.mail_domain)
            result = await send(gate.carrier, forward, to, self._clock.now())
        else:
            result = await gate.client.post(*_encoded(settings, request))
        if isinstance(result, Answered):
            return await self._answered(turn, result.message)
        if isinstance(result, TooLarge):
            return await self._refused(turn, model.TOO_LARGE, "the MMSC takes nothing of this size")
        if isinstance(result, Lost):
            _log.warning("%s: a message is lost: %s", gate.carrier.name, result.reason)
            return await self._lost(turn, result.reason)
        return await self._not_taken(turn, result)

    async def _prepared(self, carrier: CarrierRow, message: OutboundMessage) -> mm7.SubmitReq:
        """Make a message's request; what takes longer than a submit waits goes on, and the next submit finds it."""
        key = message.sid, carrier.sid
        found = self._requests.get(key)
        if found is None:
            made = asyncio.ensure_future(self._request(carrier, message))
            # Nobody may be there to hear of its failure.
            made.add_done_callback(lambda done: done.cancelled() or done.exception())
            found = self._requests[key] = made, asyncio.get_running_loop().time()
        request = await asyncio.shield(found[0])
        return request

    async def _request(self, carrier: CarrierRow, message: OutboundMessage) -> mm7.SubmitReq:
        settings = carrier.settings
        stored = await self._shelf.files_of(message.account_sid, message.sid)
        if message.media_urls and not stored:
            raise Unfit(model.NO_FILES, "its files were deleted")
        sender = None if settings.sender == "none" else model.address_of(settings, message.sender)
        return mm7.SubmitReq(
            transaction_id=message.sid,
            recipients=(model.address_of(settings, message.recipient),),
            files=await fit(message.body, stored, settings, self._pictures),
            vasp_id=settings.vasp_id,
            vas_id=settings.vas_id,
            sender=sender,
            service_code=settings.service_code,
            message_class=settings.message_class,
            expiry=message.valid_until,
            delivery_report=settings.delivery_report,
            charged_party=settings.charged_party,
            may_adapt=settings.adapt,
        )

    # ---- what came of it

    async def _answered(self, turn: _Turn, answer: mm7.Message) -> SubmitOutcome:
        settings = turn.gate.carrier.settings
        if isinstance(answer, mm7.SubmitRsp) and answer.status.is_success and answer.message_id:
            return await self._taken(turn, answer.message_id)
        if not isinstance(answer, mm7.SubmitRsp | mm7.ErrorRsp) or answer.status.is_success:
            # It says that it took something, and not what.
            return await self._lost(turn, "the answer does not name the message")
        status = answer.status
        words = f"{status.code} {status.text}".strip()
        if status.code in settings.retry_codes:
            return await self._not_taken(turn, NotTaken(words, wait_s=settings.throttle_s))
        return await self._refused(turn, model.refusal_code(settings, status.code), words)

    async def _taken(self, turn: _Turn, carrier_id: str) -> SubmitOutcome:
        message = turn.message
        carrier_sid = turn.gate.carrier.sid
        is_followed = turn.decide()
        async with self._database.transaction() as tx:
            await store.name(tx, message.sid, carrier_id)
            reports: list[Receipt] = []
            if is_followed:
                reports.append(self._report(message, "sent", carrier_id, None))
            # It may have overtaken this answer.
            kept = await store.take_report(tx, carrier_sid, carrier_id)
            if kept is not None:
                await store.drop(tx, message.sid)
                reports.append(receipt_of(kept, message.account_sid, message.sid))
            if reports:
                await self._sink.receipts_arrived(tx, reports)
        return Submitted(carrier_id, NAME)

    async def _refused(self, turn: _Turn, code: int, reason: str) -> SubmitOutcome:
        message = turn.message
        is_followed = turn.decide()
        async with self._database.transaction() as tx:
            await store.drop(tx, message.sid)
            if is_followed:
                await self._sink.receipts_arrived(tx, [self._report(message, "failed", "", code)])
        return Refused(code, reason, NAME)

    async def _not_taken(self, turn: _Turn, result: NotTaken) -> SubmitOutcome:
        message, gate = turn.message, turn.gate
        wait_s = max(result.wait_s, CONFIG_PAUSE_S if result.is_config else gate.carrier.settings.throttle_s)
        gate.free_at = asyncio.get_running_loop().time() + wait_s
        say = _log.error if result.is_config else _log.warning
        say("%s does not take messages for %.0f s: %s", gate.carrier.name, wait_s, result.reason)
        is_followed = turn.decide()
        async with self._database.transaction() as tx:
            await store.drop(tx, message.sid)
            if is_followed:
                await self._sink.put_back(tx, [(message.account_sid, message.sid)])
        return Unreachable(result.reason)

    async def _lost(self, turn: _Turn, reason: str) -> SubmitOutcome:
        message, carrier = turn.message, turn.gate.carrier
        if carrier.settings.allow_duplicates:
            return await self._not_taken(turn, NotTaken(reason))
        async with self._database.transaction() as tx:
            await store.mark_lost(tx, message.sid)
            row = (await store.sent_of(tx, [message.sid])).get(message.sid)
            receipt = None if row is None else await take_kept(tx, row)
            if receipt is not None:
                await self._sink.receipts_arrived(tx, [receipt])
        return Unknown(reason, is_followed=True)

    def _report(self, message: OutboundMessage, state: Any, carrier_id: str, code: int | None) -> Receipt:
        return Receipt(NAME, carrier_id, message.account_sid, message.sid, state, code, self._clock.now())

    # ---- housekeeping

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(KEEPING_S)
            now = asyncio.get_running_loop().time()
            for key, (made, since) in list(self._requests.items()):
                if since < now - PREPARED_KEPT_S:
                    made.cancel()
                    del self._requests[key]
            try:
                await self.sweep()
            except _OUTAGES as error:
                _log.warning("messages without an answer are not looked after: %s", type(error).__name__)
            except Exception:
                # Messages go on, and so must the next turn.
                _log.exception("the carriers' housekeeping failed")

    async def sweep(self) -> None:
        """Give up what waited too long for an answer, and drop what nobody will ask for."""
        if not self._has_carriers:
            return
        at = self._clock.now()
        for sid, gate in list(self._gates.items()):
            before = at - timedelta(seconds=gate.carrier.settings.ambiguous_s)
            async with self._database.transaction() as tx:
                await self._give_up(tx, await store.given_up(tx, sid, before, SWEEP_MAX), at)
        async with self._database.transaction() as tx:
            before = at - timedelta(seconds=model.AMBIGUOUS_S)
            await self._give_up(tx, await store.given_up_elsewhere(tx, list(self._gates), before, SWEEP_MAX), at)
            await store.forget_reports(tx, at - REPORT_KEPT)
            await store.forget_without_report(tx, at - REPORT_AFTER)

    async def _give_up(self, tx: Tx, rows: Sequence[Row], at: datetime) -> None:
        late = [row for row in rows if row["sid"] not in self._under_way]
        receipts: list[Receipt] = []
        for row in late:
            # A report may have come while nobody knew yet that the answer was lost.
            receipt = await take_kept(tx, row)
            if receipt is None:
                await store.drop(tx, row["sid"])
                receipt = Receipt(NAME, "", row["account_sid"], row["sid"], "failed", model.TIMED_OUT, at)
            receipts.append(receipt)
        if receipts:
            await self._sink.receipts_arrived(tx, receipts)


def _encoded(settings: model.CarrierSettings, request: mm7.SubmitReq) -> tuple[str, bytes]:
    namespace = mm7.RELEASES + settings.release
    return mm7.encode(
        request,
        mm7.Dialect(namespace, settings.version, settings.prefixed, settings.sender == "text"),
        boundary=f"onterms-{secrets.token_hex(16)}",
        has_smil=settings.smil,
        is_base64=not settings.binary,
    )
