"""One link: a connection to an SMSC that is bound, and bound again whenever it is lost.

Theory of operation. The session (protocols/smpp) knows the rules; this file has the socket and the time. Messages wait
in the link's queue and leave as window, rate and the socket allow, part after part. All that a turn of the loop makes
is written once, at its end. One timer serves the session, the rate and the pauses.

An SMSC that says it is throttled gets nothing for a while, and the part it did not take goes first afterwards. When the
connection ends, the link hands its messages back (`LinkOwner.stranded`), each knowing which of its parts went
unanswered; what to do about those is not the link's to say.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

from onterms.carriers.smpp.model import THROTTLING, TRANSIENT, Bind, CarrierRow, CarrierSettings, Route
from onterms.ports.message_carrier import OutboundMessage
from onterms.protocols.smpp import (
    Answered,
    Bound,
    Closed,
    Command,
    Event,
    NotBound,
    Requested,
    Session,
    Status,
    Timers,
    Unanswered,
    name_of_status,
)
from onterms.protocols.smpp.pdu import BindReceiver, BindTransceiver, BindTransmitter, SubmitSm

_BINDS: Final[dict[Bind, type[BindTransceiver] | type[BindTransmitter] | type[BindReceiver]]] = {
    "transceiver": BindTransceiver,
    "transmitter": BindTransmitter,
    "receiver": BindReceiver,
}
_VERSIONS: Final = {"3.3": 0x33, "3.4": 0x34, "5.0": 0x50}

# Ours: no network needs longer to connect, and waiting for the kernel takes minutes.
CONNECT_S: Final = 10.0
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0
# One operator asked for a minute without traffic; longer than that a link is not throttled but broken.
THROTTLE_MAX_S: Final = 60.0
# Requests of the SMSC that wait for our database; above it nothing more is read from the socket.
PENDING_IN_MAX: Final = 2000
_STOP_S: Final = 3.0
# Ours: an SMSC that never answers would otherwise get one message for ever.
REPEATS_MAX: Final = 3


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message on its way over a carrier, with what is known of each part.

    Shapes: `ids` has the carrier's id of each part that was taken; `todo` are the parts to send, in order; `unanswered`
    those whose fate nobody knows; `repeats` counts how often such went out again. `batch` is who waits for the
    outcome, None where nobody does any more.
    """

    message: OutboundMessage
    carrier: CarrierRow
    route: Route
    pdus: list[SubmitSm]
    ids: list[str | None]
    todo: list[int]
    under_way: int = 0
    again: int = 0
    repeats: int = 0
    unanswered: set[int] = field(default_factory=set)
    # The status that refused it, for ever or for now.
    refusal: int | None = None
    is_given_back: bool = False
    is_done: bool = False
    batch: Any = None
    link: "Link | None" = None

    @property
    def is_untouched(self) -> bool:
        """Whether the carrier certainly has nothing of it."""
        return not self.under_way and not self.unanswered and not any(self.ids)


@dataclass(slots=True)
class Counters:
    """What a link did since it was started."""

    segments: int = 0
    refused: int = 0
    throttled: int = 0
    receipts: int = 0
    inbound: int = 0


class LinkOwner(Protocol):
    """Who a link works for."""

    def finished(self, item: Outgoing) -> None:
        """Take a message of which every part is answered, or will never be."""
        ...

    def stranded(self, items: Sequence[Outgoing]) -> None:
        """Take back what was on a link that ended, in order."""
        ...

    def arrived(self, link: "Link", session: Session, pdu: Any) -> None:
        """Take a message or receipt; `Link.answer` once it is durable."""
        ...

    def query_answered(self, tag: Any, pdu: Any) -> None:
        """Take the answer to a query_sm; None for none."""
        ...

    def bound(self, link: "Link") -> None:
        """Learn that a link can be used."""
        ...


class Link(asyncio.Protocol):
    """One bind to one SMSC, kept up until `stop`."""

    def __init__(
        self, row: CarrierRow, number: int, bind: Bind, owner: LinkOwner, *, random: Callable[[], float]
    ) -> None:
        self.row = row
        self.number = number
        self.bind = bind
        self.counters = Counters()
        self.state = "connecting"
        self.last_error = ""
        # Told of each change of state.
        self.changes = 0
        # Messages that are being written down, to be sent here.
        self.reserved = 0
        self._settings: CarrierSettings = row.settings
        self._owner = owner
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._transport: asyncio.Transport | None = None
        self._ended: asyncio.Future[None] | None = None
        self._stopping = asyncio.Event()
        self._queue: deque[Outgoing] = deque()
        self._again: deque[tuple[Outgoing, int]] = deque()
        # Every message that is here, in order.
        self._items: dict[Outgoing, None] = {}
        self._flush_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._paused_until = 0.0
        self._throttles = 0
        self._may_write = True
        self._pending_in = 0
        self._reads = True
        self._tokens = 0.0
        self._tokens_at = 0.0
        self._was_bound = False

    # ---- what others ask

    @property
    def is_usable(self) -> bool:
        """Whether messages may be given to it."""
        session = self._session
        return session is not None and session.state in ("bound_tx", "bound_trx") and not self._stopping.is_set()

    @property
    def is_throttled(self) -> bool:
        """Whether the SMSC asked for less."""
        return self._paused_until > self._loop.time()

    @property
    def under_way(self) -> int:
        """How many requests wait for their answers."""
        return self._session.under_way if self._session is not None else 0

    @property
    def queued(self) -> int:
        """How many messages wait for window, rate or the end of a pause."""
        return len(self._queue) + len(self._again)

    @property
    def load(self) -> int:
        """How busy it is: less is better."""
        return len(self._items) + self.reserved

    @property
    def room(self) -> int:
        """How many more messages would go out at once, or nearly.

        What waits here has been written down as handed over, so after a crash nobody could tell whether it went.
        """
        if self.is_throttled:
            return 0
        room = self._settings.window - max(self.load, self.under_way)
        if self._settings.rate:
            # Half a second's worth, at least one.
            room = min(room, max(1, int(self._settings.rate / 2)) - self.queued - self.reserved)
        return room

    # ---- its life

    async def run(self) -> None:
        """Connect and bind, again and again, until stopped."""
        failures = 0
        while not self._stopping.is_set():
            self._become("connecting")
            reason, was_bound = await self._once()
            self._become("disconnected", reason)
            failures = 0 if was_bound else failures + 1
            delay = min(BACKOFF_FIRST_S * 2.0**failures, BACKOFF_MAX_S)
            # Jitter keeps the links of a carrier that came back from knocking together.
            try:
                async with asyncio.timeout(delay * (0.5 + self._random() / 2)):
                    await self._stopping.wait()
            except TimeoutError:
                continue
        self._become("stopped")

    async def stop(self) -> None:
        """Let what is under way be answered, unbind, and end; `run` returns."""
        self._stopping.set()
        session, ended = self._session, self._ended
        if session is None or ended is None:
            return
        deadline = self._loop.time() + _STOP_S
        # What is not written goes elsewhere at once.
        self._strand(only_unwritten=True)
        while session.under_way and not session.is_closed() and self._loop.time() < deadline:
            await asyncio.wait([ended], timeout=0.02)
        if not session.is_closed():
            self._become("unbinding")
            session.unbind(self._loop.time())
            self._soon()
            await asyncio.wait([ended], timeout=max(0.1, deadline - self._loop.time()))
        if self._transport is not None:
            self._transport.close()
        await asyncio.wait([ended], timeout=0.5)

    async def _once(self) -> tuple[str, bool]:
        settings = self._settings
        self._ended = self._loop.create_future()
        try:
            async with asyncio.timeout(CONNECT_S):
                context = _tls(settings) if settings.tls else None
                await self._loop.create_connection(
                    lambda: self,
                    settings.host,
                    settings.port,
                    ssl=context,
                    server_hostname=(settings.tls_name or settings.host) if context else None,
                )
        except TimeoutError:
            return "no connection in time", False
        except (OSError, ValueError) as error:
            # A certificate that does not fit is an OSError too.
            return f"{type(error).__name__}: {error}"[:400], False
        was_bound = False
        await self._ended
        if self._session is not None:
            was_bound = self._was_bound
            self._session = None
        return self.last_error or "the connection was closed", was_bound

    def _become(self, state: str, error: str | None = None) -> None:
        if error is not None:
            self.last_error = error
        if state != self.state:
            self.state = state
            self.changes += 1

    # ---- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bind."""
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        settings = self._settings
        now = self._loop.time()
        # asyncio sets TCP_NODELAY on every TCP socket, with and without TLS.
        self._session = Session(
            "esme",
            now,
            window=settings.window,
            timers=Timers(response_s=settings.response_s, enquire_s=settings.enquire_s),
        )
        self._was_bound = False
        self._may_write = self._reads = True
        self._pending_in = 0
        self._paused_until = 0.0
        self._tokens, self._tokens_at = 1.0, now
        self.last_error = ""
        self._become("binding")
        bind = _BINDS[self.bind](
            system_id=settings.system_id,
            password=self.row.password,
            system_type=settings.system_type,
            interface_version=_VERSIONS[settings.version],
        )
        try:
            self._session.request(bind, now)
        except ValueError as error:
            self.last_error = f"the bind cannot be written: {error}"
            self._transport.abort()
            return
        self._soon()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        session = self._session
        if session is not None:
            self._handle(session.receive(data, self._loop.time()))
            self._soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand back what was on the link."""
        session = self._session
        if session is not None:
            self._handle(session.lost(str(exc) if exc else "the other side closed the connection"))
        self._strand()
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def pause_writing(self) -> None:
        """Give nothing more to a socket that is full."""
        self._may_write = False

    def resume_writing(self) -> None:
        """Go on."""
        self._may_write = True
        self._soon()

    # ---- once a turn

    def _soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        session, transport = self._session, self._transport
        if session is None or transport is None:
            return
        now = self._loop.time()
        wake = self._pump(session, now)
        out = session.output()
        if out and not transport.is_closing():
            transport.write(out)
        if session.is_closed():
            transport.close()
            return
        due = session.next_tick()
        if wake is not None and (due is None or wake < due):
            due = wake
        if due is not None and (self._timer is None or due < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._wake)

    def _wake(self) -> None:
        self._timer = None
        session = self._session
        if session is None:
            return
        self._handle(session.tick(self._loop.time()))
        # Also arms the timer anew.
        self._soon()

    def _pump(self, session: Session, now: float) -> float | None:
        """Send what may go; return when to try again, if only the time is in the way."""
        rate = self._settings.rate
        if rate:
            # A tenth of a second's worth may go at once, at least one segment.
            self._tokens = min(max(1.0, rate / 10), self._tokens + (now - self._tokens_at) * rate)
            self._tokens_at = now
        while (self._again or self._queue) and session.can_send and self._may_write:
            if now < self._paused_until:
                return self._paused_until
            if rate and self._tokens < 1.0:
                return now + (1.0 - self._tokens) / rate
            if self._again:
                item, part = self._again.popleft()
                item.again -= 1
            else:
                item = self._queue[0]
                if not item.todo:
                    # Refused meanwhile.
                    self._queue.popleft()
                    continue
                part = item.todo.pop(0)
                if not item.todo:
                    self._queue.popleft()
            if item.is_done or item.ids[part] is not None:
                continue
            try:
                session.request(item.pdus[part], now, (item, part))
            except (ValueError, OverflowError):
                # A sender or recipient that no field of SMPP holds.
                item.refusal = int(Status.RINVSRCADR)
                item.todo.clear()
                self._settle(item)
                continue
            except NotBound:
                self._again.appendleft((item, part))
                item.again += 1
                return None
            item.under_way += 1
            item.unanswered.discard(part)
            self._tokens -= 1.0
            self.counters.segments += 1
        return None

    # ---- what comes

    def _handle(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Answered):
                if event.request.command == Command.SUBMIT_SM:
                    item, part = event.tag
                    self._answered(item, part, event.pdu)
                elif event.request.command == Command.QUERY_SM:
                    is_answer = event.pdu.command == Command.QUERY_SM_RESP
                    self._owner.query_answered(event.tag, event.pdu if is_answer else None)
                elif event.pdu.status:
                    self.last_error = f"the bind was refused: {name_of_status(event.pdu.status)}"
            elif isinstance(event, Requested):
                self._pending_in += 1
                if self._pending_in >= PENDING_IN_MAX and self._reads and self._transport is not None:
                    self._reads = False
                    self._transport.pause_reading()
                assert self._session is not None
                self._owner.arrived(self, self._session, event.pdu)
            elif isinstance(event, Unanswered):
                if event.request.command == Command.SUBMIT_SM:
                    item, part = event.tag
                    self._unanswered(item, part)
                elif event.request.command == Command.QUERY_SM:
                    self._owner.query_answered(event.tag, None)
            elif isinstance(event, Bound):
                self._was_bound = True
                self._become("bound", "")
                self._owner.bound(self)
            elif isinstance(event, Closed):
                self.last_error = self.last_error or event.reason
                self._soon()

    def _answered(self, item: Outgoing, part: int, pdu: Any) -> None:
        item.under_way -= 1
        status = pdu.status
        if status == 0 and pdu.command != Command.GENERIC_NACK:
            item.ids[part] = pdu.message_id
            self._throttles = 0
        elif status in THROTTLING or (status in TRANSIENT and not self._may_give_back(item)):
            self._throttle(item, part)
            return
        elif status in TRANSIENT:
            item.is_given_back = True
            item.todo.clear()
        else:
            self.counters.refused += 1
            item.refusal = status or int(Status.RUNKNOWNERR)
            # What is left of it is of no use to anybody.
            item.todo.clear()
        self._settle(item)

    def _may_give_back(self, item: Outgoing) -> bool:
        return item.batch is not None and len(item.pdus) == 1

    def _throttle(self, item: Outgoing, part: int) -> None:
        self.counters.throttled += 1
        now = self._loop.time()
        if now >= self._paused_until:
            # What comes back of one window is one throttling, however many say it.
            self._throttles += 1
            pause = min(self._settings.throttle_s * 2.0 ** (self._throttles - 1), THROTTLE_MAX_S)
            self._paused_until = now + pause
        item.again += 1
        # Parts come back in the order in which they went, so each goes behind those before it.
        self._again.append((item, part))

    def _unanswered(self, item: Outgoing, part: int) -> None:
        item.under_way -= 1
        item.unanswered.add(part)
        session = self._session
        is_open = session is not None and not session.is_closed()
        if self._settings.allow_duplicates and is_open and item.repeats < REPEATS_MAX:
            item.repeats += 1
            item.again += 1
            self._again.append((item, part))
            return
        self._settle(item)

    def _settle(self, item: Outgoing) -> None:
        """Report a message that has nothing more to wait for on this link."""
        if item.is_done or item.under_way or item.again or item.todo:
            return
        if item in self._items:
            session = self._session
            if item.unanswered and session is not None and session.is_closed() and item.refusal is None:
                # Its connection ends: `stranded` says what becomes of it.
                return
            del self._items[item]
            self._owner.finished(item)

    # ---- from the owner

    def send(self, item: Outgoing) -> None:
        """Put a message into the queue."""
        item.link = self
        self._items[item] = None
        self._queue.append(item)
        self._soon()

    def withdraw(self, item: Outgoing) -> bool:
        """Take a message back of which the carrier has nothing; tell whether that was possible."""
        if item.is_done or not item.is_untouched or item not in self._items:
            return False
        del self._items[item]
        item.is_done = True
        return True

    def forget_withdrawn(self) -> None:
        """Drop from the queue what was withdrawn."""
        self._queue = deque(item for item in self._queue if not item.is_done)
        self._again = deque(each for each in self._again if not each[0].is_done)

    def answer(self, session: Session, pdu: Any, status: int = 0) -> None:
        """Answer a request of the SMSC."""
        session.reply(pdu, status)
        if session is self._session:
            self.heard()

    def heard(self) -> None:
        """Note that one request of the SMSC is worked off."""
        self._pending_in -= 1
        if not self._reads and self._pending_in < PENDING_IN_MAX // 2 and self._transport is not None:
            self._reads = True
            self._transport.resume_reading()
        self._soon()

    def ask(self, pdu: Any, tag: Any) -> bool:
        """Send a query_sm, where the window has room; tell whether it went."""
        session = self._session
        if session is None or not self.is_usable or not session.can_send:
            return False
        session.request(pdu, self._loop.time(), tag)
        self._soon()
        return True

    def _strand(self, *, only_unwritten: bool = False) -> None:
        if only_unwritten:
            items = [item for item in self._items if item.is_untouched]
            for item in items:
                del self._items[item]
            self._queue = deque(item for item in self._queue if item in self._items)
            self._again = deque(each for each in self._again if each[0] in self._items)
        else:
            items = list(self._items)
            self._items.clear()
            self._queue.clear()
            self._again.clear()
        for item in items:
            item.under_way = item.again = 0
            item.link = None
        if items:
            self._owner.stranded(items)


def _tls(settings: CarrierSettings) -> ssl.SSLContext:
    """Make a context that verifies the server by the carrier's authorities or the system's.

    Raises: ssl.SSLError, ValueError for a PEM that is none.
    """
    if settings.tls_ca:
        return ssl.create_default_context(cadata=settings.tls_ca)
    return ssl.create_default_context()
