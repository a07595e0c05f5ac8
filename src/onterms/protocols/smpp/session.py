"""One SMPP session without its connection: bytes and the time go in, bytes and events come out.

Both sides are here: `esme` binds and submits, `smsc` is bound to and delivers. The session keeps the rules that neither
side's business needs to know:

    what may be said when     requests that the state of the session forbids are answered, not shown
    the window                `can_send` says whether one more request may be under way
    sequence numbers          responses find their requests; those that fit none are dropped
    timers                    bind, response, enquire_link and inactivity, by `tick` with the time given

`Closed` is always the last event; what was still under way then comes as `Unanswered` before it, because the other side
may or may not have taken it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from onterms.protocols.smpp import codec
from onterms.protocols.smpp.codes import RESPONSE, Command, Status, Tag
from onterms.protocols.smpp.pdu import EnquireLink, GenericNack, Pdu, Unbind, tlv

Side = Literal["esme", "smsc"]
State = Literal["open", "bound_tx", "bound_rx", "bound_trx", "unbinding", "closed"]

_BOUND: Final = ("bound_tx", "bound_rx", "bound_trx")
_BINDS: Final[dict[int, State]] = {
    Command.BIND_TRANSMITTER: "bound_tx",
    Command.BIND_RECEIVER: "bound_rx",
    Command.BIND_TRANSCEIVER: "bound_trx",
}
# Who may ask for what in which state (SMPP 3.4 2.3).
_SENDS: Final = frozenset({"bound_tx", "bound_trx"})
_RECEIVES: Final = frozenset({"bound_rx", "bound_trx"})
_ALLOWED: Final[dict[tuple[Side, int], frozenset[str]]] = {
    ("esme", Command.SUBMIT_SM): _SENDS,
    ("esme", Command.SUBMIT_MULTI): _SENDS,
    ("esme", Command.DATA_SM): frozenset(_BOUND),
    ("esme", Command.QUERY_SM): _SENDS,
    ("esme", Command.CANCEL_SM): _SENDS,
    ("esme", Command.REPLACE_SM): _SENDS,
    ("esme", Command.BROADCAST_SM): _SENDS,
    ("esme", Command.QUERY_BROADCAST_SM): _SENDS,
    ("esme", Command.CANCEL_BROADCAST_SM): _SENDS,
    ("smsc", Command.DELIVER_SM): _RECEIVES,
    ("smsc", Command.DATA_SM): _RECEIVES,
    ("smsc", Command.ALERT_NOTIFICATION): _RECEIVES,
    ("smsc", Command.OUTBIND): frozenset({"open"}),
}
_UNANSWERED_KINDS: Final = frozenset({Command.OUTBIND, Command.ALERT_NOTIFICATION})
_UNWINDOWED: Final = frozenset({Command.ENQUIRE_LINK, Command.UNBIND, *_BINDS})


@dataclass(frozen=True)
class Timers:
    """How long each side waits for the other, in seconds. SMPP 3.4 7.2 names them and leaves the values open."""

    # session_init_timer: from the connection to its bind.
    init_s: float = 10.0
    # response_timer.
    response_s: float = 60.0
    # enquire_link_timer: silence before asking whether the other side is there.
    enquire_s: float = 30.0
    # inactivity_timer: no message either way; 0 is never.
    inactivity_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Requested:
    """The other side asks for something; `Session.reply` answers."""

    pdu: Any


@dataclass(frozen=True, slots=True)
class Answered:
    """The other side answered a request of ours; `tag` is what the request was given with."""

    request: Any
    tag: Any
    pdu: Any


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer came to a request: in time, or at all before the end. Whether it was done, nobody here knows."""

    request: Any
    tag: Any


@dataclass(frozen=True, slots=True)
class Bound:
    """The session is bound; from here on messages may go."""

    state: State
    # The other side's, from its bind response or its bind.
    system_id: str
    # 3.3 where the other side does not say, because then optional parameters must not be sent (SMPP 3.4 3.4).
    version: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over: nothing more may be sent, and the connection is to be closed."""

    reason: str


Event = Requested | Answered | Unanswered | Bound | Closed


class WindowFull(Exception):
    """As many requests are under way as may be."""


class NotBound(Exception):
    """The state of the session does not allow this request."""


@dataclass(slots=True)
class _Pending:
    request: Pdu
    tag: Any
    due: float


class Session:
    """The state of one connection. `now` is any clock that only moves forward, in seconds."""

    def __init__(
        self,
        side: Side,
        now: float,
        *,
        window: int = 100,
        timers: Timers | None = None,
        pdu_bytes_max: int = codec.PDU_BYTES_MAX,
    ) -> None:
        self.side: Side = side
        self.state: State = "open"
        self.window = window
        self._peer: Side = "smsc" if side == "esme" else "esme"
        self._timers = timers or Timers()
        self._reader = codec.Reader(bytes_max=pdu_bytes_max)
        self._out: list[bytes] = []
        self._pending: dict[int, _Pending] = {}
        # Requests that count against the window; enquire_link and the like go beside it.
        self._in_window = 0
        self._sequence = 0
        self._opened_at = now
        self._heard_at = now
        self._message_at = now
        self._enquiring = False
        # A bind of the other side's that the app has not answered yet.
        self._bind: Pdu | None = None

    # ---- what goes out

    def output(self) -> bytes:
        """Take what is to be written."""
        out, self._out = self._out, []
        return b"".join(out)

    @property
    def can_send(self) -> bool:
        """Whether one more request may be under way."""
        return self.state in _BOUND and self._in_window < self.window

    def is_closed(self) -> bool:
        """Tell whether the session is over."""
        return self.state == "closed"

    @property
    def under_way(self) -> int:
        """How many requests wait for their answers."""
        return self._in_window

    def request(self, pdu: Pdu, now: float, tag: Any = None) -> int:
        """Send a request and return its sequence number.

        Raises: WindowFull, NotBound, ValueError for a field that cannot be written.
        """
        command = pdu.command
        if command in _BINDS:
            if self.side != "esme" or self.state != "open":
                raise NotBound(f"{command.name} in state {self.state}")
        elif command not in (Command.ENQUIRE_LINK, Command.UNBIND):
            if self.state not in _ALLOWED.get((self.side, int(command)), ()):
                raise NotBound(f"{command.name} in state {self.state}")
            if self._in_window >= self.window:
                raise WindowFull(f"{self._in_window} requests are under way")
        pdu.sequence = self._next_sequence()
        self._out.append(codec.encode(pdu))
        if command in _UNANSWERED_KINDS:
            return pdu.sequence
        self._pending[pdu.sequence] = _Pending(pdu, tag, now + self._timers.response_s)
        if command not in _UNWINDOWED:
            self._in_window += 1
            self._message_at = now
        return pdu.sequence

    def reply(self, request: Pdu, status: int = 0, **fields: Any) -> list[Event]:
        """Answer a request; the events are those of a bind, none for others."""
        if self.state == "closed":
            return []
        self._out.append(codec.encode(codec.response_to(request, status, **fields)))
        if request is self._bind:
            self._bind = None
            if status == 0:
                self.state = _BINDS[int(request.command)]
                bind: Any = request
                return [Bound(self.state, bind.system_id, bind.interface_version)]
        return []

    def unbind(self, now: float) -> None:
        """End the session in order: `Closed` comes once the other side agrees, or does not in time."""
        if self.state in ("unbinding", "closed"):
            return
        self.request(Unbind(), now)
        self.state = "unbinding"

    def _next_sequence(self) -> int:
        # SMPP 3.4 5.1.4: 1 to 0x7FFFFFFF. Where numbers come round, those still under way are left out.
        while True:
            self._sequence = self._sequence % codec.SEQUENCE_MAX + 1
            if self._sequence not in self._pending:
                return self._sequence

    # ---- what comes in

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes of the connection, torn as they come."""
        events: list[Event] = []
        if self.state == "closed":
            return events
        self._heard_at = now
        self._enquiring = False
        try:
            for frame in self._reader.feed(data):
                try:
                    pdu: Any = codec.decode(frame)
                except codec.BodyError as problem:
                    self._refuse(problem, events)
                    continue
                if pdu.is_response:
                    self._answered(pdu, events)
                else:
                    self._requested(pdu, now, events)
                if self.is_closed():
                    break
        except codec.FramingError as problem:
            self._out.append(codec.encode(GenericNack(status=Status.RINVCMDLEN, sequence=problem.sequence)))
            self._close(str(problem), events)
        return events

    def lost(self, reason: str) -> list[Event]:
        """Note that the connection is gone."""
        events: list[Event] = []
        if self.state != "closed":
            self._close(reason, events)
        return events

    def _refuse(self, problem: codec.BodyError, events: list[Event]) -> None:
        if problem.command >= RESPONSE:
            # A response that cannot be read answers its request all the same, and nobody knows how.
            pending = self._take(problem.sequence)
            if pending is not None:
                events.append(Unanswered(pending.request, pending.tag))
            return
        self._out.append(codec.encode(codec.refusal_of(problem.command, problem.sequence, problem.status)))

    def _take(self, sequence: int) -> _Pending | None:
        pending = self._pending.pop(sequence, None)
        if pending is not None and pending.request.command not in _UNWINDOWED:
            self._in_window -= 1
        return pending

    def _answered(self, pdu: Any, events: list[Event]) -> None:
        pending = self._pending.get(pdu.sequence)
        if pending is None:
            return
        command = pending.request.command
        if pdu.command not in (command | RESPONSE, Command.GENERIC_NACK):
            # Another kind of answer under this number is a mistake of the other side's; the right one may come yet.
            return
        self._take(pdu.sequence)
        if command in _BINDS:
            if pdu.status == 0 and pdu.command != Command.GENERIC_NACK:
                self.state = _BINDS[int(command)]
                version = tlv(pdu, Tag.SC_INTERFACE_VERSION)
                events.append(Answered(pending.request, pending.tag, pdu))
                events.append(Bound(self.state, pdu.system_id, version[-1] if version else 0x33))
            else:
                events.append(Answered(pending.request, pending.tag, pdu))
                self._close(f"the bind was refused with status {pdu.status}", events)
        elif command == Command.UNBIND:
            self._close("unbound", events)
        elif command != Command.ENQUIRE_LINK:
            events.append(Answered(pending.request, pending.tag, pdu))

    def _requested(self, pdu: Any, now: float, events: list[Event]) -> None:
        command = pdu.command
        if command == Command.ENQUIRE_LINK:
            self._out.append(codec.encode(codec.response_to(pdu)))
        elif command == Command.UNBIND:
            self._out.append(codec.encode(codec.response_to(pdu)))
            self._close("the other side unbound", events)
        elif command in _BINDS:
            if self.side == "esme":
                self._say_no(pdu, Status.RINVCMDID)
            elif self.state != "open" or self._bind is not None:
                self._say_no(pdu, Status.RALYBND)
            else:
                self._bind = pdu
                events.append(Requested(pdu))
        elif self.state not in _ALLOWED.get((self._peer, int(command)), ()):
            known = (self._peer, int(command)) in _ALLOWED
            self._say_no(pdu, Status.RINVBNDSTS if known else Status.RINVCMDID)
        else:
            self._message_at = now
            events.append(Requested(pdu))

    def _say_no(self, pdu: Pdu, status: int) -> None:
        if pdu.command not in _UNANSWERED_KINDS:
            self._out.append(codec.encode(codec.refusal_of(int(pdu.command), pdu.sequence, status)))

    # ---- the time

    def tick(self, now: float) -> list[Event]:
        """Do what is due."""
        events: list[Event] = []
        if self.state == "closed":
            return events
        # Sequence numbers rise with the time, so the first that is not due ends the search.
        late: list[int] = []
        for sequence, pending in self._pending.items():
            if pending.due > now:
                break
            late.append(sequence)
        for sequence in late:
            found = self._take(sequence)
            assert found is not None
            command = found.request.command
            if command in _BINDS or command == Command.UNBIND:
                self._close(f"no answer to {command.name.lower()}", events)
                return events
            if command == Command.ENQUIRE_LINK:
                self._close("the other side does not answer enquire_link", events)
                return events
            events.append(Unanswered(found.request, found.tag))
        timers = self._timers
        if self.side == "smsc" and self.state == "open" and now >= self._opened_at + timers.init_s:
            self._close("no bind came in time", events)
        elif self.state in _BOUND:
            if timers.inactivity_s and now >= self._message_at + timers.inactivity_s:
                self.unbind(now)
            elif timers.enquire_s and not self._enquiring and now >= self._heard_at + timers.enquire_s:
                self._enquiring = True
                self.request(EnquireLink(), now)
        return events

    def next_tick(self) -> float | None:
        """Return when `tick` has something to do at the earliest; None for never."""
        if self.state == "closed":
            return None
        timers = self._timers
        due: list[float] = []
        if self._pending:
            due.append(next(iter(self._pending.values())).due)
        if self.side == "smsc" and self.state == "open":
            due.append(self._opened_at + timers.init_s)
        if self.state in _BOUND:
            if timers.inactivity_s:
                due.append(self._message_at + timers.inactivity_s)
            if timers.enquire_s and not self._enquiring:
                due.append(self._heard_at + timers.enquire_s)
        return min(due, default=None)

    def _close(self, reason: str, events: list[Event]) -> None:
        self.state = "closed"
        for pending in self._pending.values():
            if pending.request.command not in _UNWINDOWED:
                events.append(Unanswered(pending.request, pending.tag))
        self._pending.clear()
        self._in_window = 0
        events.append(Closed(reason))
