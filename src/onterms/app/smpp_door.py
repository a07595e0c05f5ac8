"""The SMPP door: customers bind with their account's credentials, submit, and are given receipts and messages.

Theory of operation. `SmppDoor` listens; each connection is a `_Link` around the sans-IO `Session` of protocols/smpp.
A bind is checked as the HTTP edge checks a call: credentials, the account's state, the place it comes from. Submits of
all links gather in a `Coalescer` and are answered when their transaction is committed, never before; what comes over a
link's window or rate is answered with RTHROTTLED and not stored.

What waits for a user (receipts, inbound messages) are rows. A notification of the database, a bind, an answer that
makes room, and every few seconds the clock let `_pump` claim rows for the links of the user that receive. A row goes
when the client has answered all of its PDUs; when the link ends first, or the client is busy, it is put back.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import ssl
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from onterms.app.certificates import LocalAuthority
from onterms.app.conduct import Witness
from onterms.app.settings import Settings
from onterms.app.smpp_limits import Allowance, Crowd, grouped
from onterms.business import accounts
from onterms.core.clock import Clock
from onterms.core.db import Coalescer, Database, Row, Tx
from onterms.core.errors import AuthenticationFailed, ConfigError, NotFound, Refusal, TooManyRequests
from onterms.core.ids import new_random_sid
from onterms.engines.api import Caller
from onterms.engines.api.calls import Account
from onterms.products import messaging
from onterms.protocols.smpp import (
    Answered,
    Bound,
    Closed,
    Command,
    Event,
    Requested,
    Session,
    Status,
    Tag,
    Timers,
    Unanswered,
)

_log = logging.getLogger("onterms.smpp")

# IANA: smpp and smpps do not stand there; these are what SMSCs use.
PORT: Final = 2775
TLS_PORT: Final = 3550
CHANNEL: Final = "onterms_smpp"
# Ours: connections of a process, bound or not.
CONNECTIONS_MAX: Final = 2000
# A client that knows TLS needs a round trip or two; each handshake holds a connection that nobody counts yet.
HANDSHAKE_S: Final = 10.0
# Ours: how soon a link ends whose account was suspended or whose credentials were withdrawn.
LOOK_S: Final = 5.0
_SWEEP_EVERY: Final = 120
_CLAIM_MAX: Final = 200
_OUR_SYSTEM_ID: Final = "onterms"
_VERSION: Final = 0x50
# SMPP 3.4 3.4: optional parameters are for those who said that they know them.
_KNOWS_TLVS: Final = 0x34
_SID: Final = re.compile(r"^(AC|SK)[0-9a-fA-F]{32}$")
_KINDS: Final = {
    Command.BIND_TRANSMITTER: "transmitter",
    Command.BIND_RECEIVER: "receiver",
    Command.BIND_TRANSCEIVER: "transceiver",
}
_SUBMITS: Final = frozenset({Command.SUBMIT_SM, Command.SUBMIT_MULTI, Command.DATA_SM})
_ASKS: Final = frozenset({Command.QUERY_SM, Command.CANCEL_SM, Command.REPLACE_SM})
# After these a client wants the same again later; any other answer is its last word.
_BUSY: Final = frozenset({int(Status.RX_T_APPN), int(Status.RMSGQFUL), int(Status.RTHROTTLED), int(Status.RSYSERR)})
_OUTAGES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
_RETRY_PAUSE: Final = timedelta(seconds=30)


@dataclass(frozen=True)
class SmppPorts:
    """The ports that are really listened on."""

    plain: int
    tls: int


@dataclass(frozen=True, slots=True)
class _Guest:
    """Who bound: what it may, as whom it acts, and for a SID's own credentials the header that says so."""

    access: messaging.Access
    caller: Caller
    authorization: bytes | None


class _NotBound(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = int(status)
        self.words = words


class SmppDoor:
    """Serve SMPP on a plain and a TLS port of the running event loop."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        authenticator: accounts.Authenticator,
        witness: Witness,
        desk: messaging.Desk,
        book: messaging.SmppBook,
        *,
        timers: Timers | None = None,
    ) -> None:
        self.database, self.clock, self.witness, self.desk, self.book = database, clock, witness, desk, book
        self.timers = timers or Timers()
        self.submits: Coalescer[list[messaging.Given], list[messaging.Answer]] = Coalescer(
            self._submit_all, batch_max=8
        )
        self._settles: Coalescer[tuple[Row, str, int], None] = Coalescer(self._settle_all, runners=1)
        self._authenticator = authenticator
        self._throttle = accounts.FailureThrottle()
        self.crowd = Crowd()
        # Until when a name is not even looked at from an address: its password is short enough to guess.
        self._shut: dict[tuple[str, str], float] = {}
        self._servers: list[asyncio.Server] = []
        self._links: set[_Link] = set()
        self._emptied: asyncio.Event | None = None
        self._receivers: dict[str, set[_Link]] = {}
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: list[asyncio.Task[None]] = []

    # ---- starting and stopping

    async def start(
        self, host: str, port: int | None, tls_port: int | None, context: ssl.SSLContext, *, any_port: bool = False
    ) -> SmppPorts:
        """Open both listeners; a port that was not asked for gives way to what is taken.

        Raises: ConfigError.
        """
        async with self.database.transaction() as tx:
            await self.book.open(tx)
        try:
            plain = await self._listen(host, port, 0 if any_port else PORT, None)
            tls = await self._listen(host, tls_port, 0 if any_port else TLS_PORT, context)
        except OSError as error:
            for server in self._servers:
                server.close()
            raise ConfigError(f"cannot listen for SMPP on {host}: {error}") from None
        self._watching = [asyncio.create_task(self._follow()), asyncio.create_task(self._look_after())]
        return SmppPorts(plain, tls)

    async def _listen(self, host: str, asked: int | None, usual: int, context: ssl.SSLContext | None) -> int:
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        for port in (asked,) if asked is not None else (usual, 0):
            try:
                server = await loop.create_server(
                    lambda: _Link(self, is_tls=context is not None),
                    host,
                    port,
                    ssl=context,
                    ssl_handshake_timeout=HANDSHAKE_S if context else None,
                    backlog=512,
                )
            except OSError as error:
                failure = error
                continue
            self._servers.append(server)
            return int(server.sockets[0].getsockname()[1])
        assert failure is not None
        raise failure

    async def stop(self, grace_s: float) -> None:
        """Take nothing more, answer what is under way, then unbind every session."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        for server in self._servers:
            server.close()
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        for link in list(self._links):
            link.hold()
        while self._tasks and loop.time() < deadline:
            await asyncio.wait(set(self._tasks), timeout=deadline - loop.time())
        for link in list(self._links):
            link.leave()
        # A client that answers does so within a round trip; one that does not is not waited for.
        if self._links:
            self._emptied = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), min(2.0, max(0.0, deadline - loop.time())))
        for link in list(self._links):
            link.abort()
        for pump in list(self._pumps.values()):
            pump.cancel()
        # What the last links leave behind is put back.
        for _ in range(3):
            await asyncio.sleep(0)
            await asyncio.gather(*self._pumps.values(), *self._tasks, return_exceptions=True)

    def run(self, work: Awaitable[None]) -> None:
        """Run something of a link to its end; a stop waits for it."""
        task = asyncio.ensure_future(_supervised(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- links

    def enter(self, link: _Link) -> bool:
        """Count a connection in; False when there are too many, here or from there."""
        if len(self._links) >= CONNECTIONS_MAX or not self.crowd.enter(link.peer):
            return False
        self._links.add(link)
        return True

    def leave(self, link: _Link) -> None:
        """Forget a connection."""
        if link in self._links and link.guest is None:
            self.crowd.leave(link.peer)
        self._links.discard(link)
        if not self._links and self._emptied is not None:
            self._emptied.set()
        guest = link.guest
        if guest is not None:
            receivers = self._receivers.get(guest.access.user_key)
            if receivers is not None:
                receivers.discard(link)
                if not receivers:
                    del self._receivers[guest.access.user_key]

    def receives(self, link: _Link, user_key: str) -> None:
        """Give a link what waits for its user."""
        self._receivers.setdefault(user_key, set()).add(link)
        self.wake(user_key)

    # ---- binding

    async def admit(self, bind: Any, kind: str, peer: str) -> _Guest:
        """Find who binds.

        Raises: _NotBound.
        """
        system_id = bind.system_id
        if _SID.match(system_id):
            guest = await self._by_sid(system_id, bind.password)
        else:
            guest = await self._by_name(system_id, bind.password, peer)
        account = guest.caller.account
        if account.test:
            raise _NotBound(Status.RBINDFAIL, "test credentials do not bind")
        if account.status != "active":
            raise _NotBound(Status.RBINDFAIL, f"20005 The account is {account.status}")
        if kind not in guest.access.bind_types:
            raise _NotBound(Status.RBINDFAIL, f"this user does not bind as {kind}")
        if not self.book.may_come_from(guest.access, peer):
            raise _NotBound(Status.RBINDFAIL, "this user does not bind from this address")
        try:
            await self.note(guest.caller, peer)
        except Refusal as refusal:
            raise _NotBound(Status.RBINDFAIL, f"{refusal.code} {refusal.message}") from None
        return guest

    async def _by_sid(self, sid: str, secret: str) -> _Guest:
        authorization = b"Basic " + base64.b64encode(f"{sid}:{secret}".encode())
        caller = await self._authenticated(authorization)
        credential_sid = caller.credential_sid if sid.startswith("SK") else ""
        access = messaging.Access(caller.account.sid, sid, sid, credential_sid)
        return _Guest(access, caller, authorization)

    async def _authenticated(self, authorization: bytes) -> Caller:
        try:
            return self._authenticator.known(authorization) or await self._authenticator.authenticate(authorization)
        except TooManyRequests:
            raise _NotBound(Status.RTHROTTLED, "too many failed binds") from None
        except AuthenticationFailed:
            raise _NotBound(Status.RINVPASWD, "the password is not one of this account or key") from None

    async def _by_name(self, name: str, password: str, peer: str) -> _Guest:
        now = self.clock.monotonic()
        where = (name[:64], peer)
        if self._shut.get(where, 0.0) > now:
            raise _NotBound(Status.RTHROTTLED, "too many failed binds")
        async with self.database.snapshot() as tx:
            user = await self.book.find_user(tx, name)
        if user is None and self.crowd.is_guessing(peer, now):
            # Whoever tries names is not worth the time that a password takes; names that exist are heard all the same.
            raise _NotBound(Status.RTHROTTLED, "too many names that nobody has")
        access = await self.book.check(user, password)
        if access is None:
            wait_s = self._throttle.failed(f"{peer} {name[:40]}", now)
            if wait_s > 0:
                if len(self._shut) >= 10_000:
                    self._shut.clear()
                self._shut[where] = now + wait_s
            if user is None:
                raise _NotBound(Status.RINVSYSID, "nobody has this system_id")
            raise _NotBound(Status.RINVPASWD, "the password is wrong")
        async with self.database.snapshot() as tx:
            status = (await accounts.statuses(tx, [access.account_sid])).get(access.account_sid, "closed")
        account = Account(access.account_sid, access.account_sid, _status(status), "")
        return _Guest(access, Caller(account, "standard_key", access.user_key), None)

    async def note(self, caller: Caller, peer: str) -> None:
        """Let the witness see a use of the services, as each call of the API does.

        Raises: Refusal from a blocked region.
        """
        if not self.witness.knows(caller, peer):
            await self.witness.note(caller, peer, new_random_sid("RQ"))

    # ---- submitting

    async def _submit_all(self, groups: list[list[messaging.Given]]) -> list[list[messaging.Answer] | BaseException]:
        flat = [given for group in groups for given in group]
        async with self.database.transaction() as tx:
            answers = await self.desk.submit(tx, flat, self.clock.now())
        results: list[list[messaging.Answer] | BaseException] = []
        at = 0
        for group in groups:
            results.append(answers[at : at + len(group)])
            at += len(group)
        return results

    # ---- delivering

    def wake(self, user_key: str) -> None:
        """Look for what waits for a user, where one of its links is here."""
        if user_key not in self._receivers:
            return
        self._again.add(user_key)
        if user_key not in self._pumps:
            task = asyncio.create_task(_supervised(self._pump(user_key)))
            self._pumps[user_key] = task
            task.add_done_callback(lambda _: self._pump_ended(user_key))

    def _pump_ended(self, user_key: str) -> None:
        self._pumps.pop(user_key, None)
        # Somebody woke it when it had looked for the last time.
        if user_key in self._again:
            self.wake(user_key)

    async def _pump(self, user_key: str) -> None:
        while user_key in self._again:
            self._again.discard(user_key)
            links = [link for link in self._receivers.get(user_key, ()) if link.room > 0]
            # An answer that makes room wakes this again.
            limit = min(_CLAIM_MAX, sum(link.room for link in links))
            if limit <= 0:
                return
            async with self.database.transaction() as tx:
                rows = await self.book.claim(tx, user_key, limit, self.clock.now())
            lost: list[int] = []
            for row in rows:
                links = [link for link in links if not link.is_over]
                if not links:
                    lost.append(row["id"])
                    continue
                max(links, key=lambda link: link.room).deliver(row)
            if lost:
                await self.put_back(lost, None)
            if len(rows) == limit:
                self._again.add(user_key)

    def settled(self, row: Row, session_sid: str, status: int) -> None:
        """Forget a delivery that was answered."""
        self.run(self._settle(row, session_sid, status))

    async def _settle(self, row: Row, session_sid: str, status: int) -> None:
        await self._settles.submit((row, session_sid, status))

    async def _settle_all(self, done: list[tuple[Row, str, int]]) -> Sequence[None]:
        async with self.database.transaction() as tx:
            await self.book.settle(tx, done, self.clock.now())
        return [None] * len(done)

    async def put_back(self, ids: Sequence[int], not_before: datetime | None) -> None:
        """Let deliveries wait for another try."""
        async with self.database.transaction() as tx:
            await self.book.release(tx, ids, not_before)

    # ---- watching

    async def _follow(self) -> None:
        """Hear of new deliveries, whatever happens to the connection."""
        while True:
            ended = asyncio.Event()
            try:
                connection = await self.database.connect_alone()
                connection.add_termination_listener(lambda _, ended=ended: ended.set())
                try:
                    await connection.add_listener(CHANNEL, lambda *told: self.wake(told[3]))
                    for user_key in list(self._receivers):
                        self.wake(user_key)
                    await ended.wait()
                finally:
                    connection.terminate()
            except _OUTAGES as error:
                _log.warning("news of deliveries were lost: %s", type(error).__name__)
            await asyncio.sleep(1.0)

    async def _look_after(self) -> None:
        """End links that may not stay, try again what could not be delivered, give up what is too old."""
        turn = 0
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                async with self.database.transaction() as tx:
                    await self.book.keep(tx)
                for link in list(self._links):
                    if link.guest is not None and not await self._may_stay(link.guest):
                        link.leave()
                for user_key in list(self._receivers):
                    self.wake(user_key)
                if turn % _SWEEP_EVERY == 0:
                    async with self.database.transaction() as tx:
                        await self.book.sweep(tx, self.clock.now())
                turn += 1
            except _OUTAGES as error:
                _log.warning("SMPP sessions could not be looked after: %s", type(error).__name__)

    async def _may_stay(self, guest: _Guest) -> bool:
        if guest.authorization is not None:
            try:
                caller = await self._authenticated(guest.authorization)
            except (_NotBound, NotFound):
                return False
            return caller.account.status == "active"
        async with self.database.snapshot() as tx:
            if not await self.book.exists(tx, guest.access):
                return False
            statuses = await accounts.statuses(tx, [guest.access.account_sid])
        return statuses.get(guest.access.account_sid) == "active"


def smpp_context(settings: Settings, authority: LocalAuthority) -> ssl.SSLContext:
    """Return what the TLS port shows: the operator's own certificate, or the local authority's.

    Raises: ConfigError.
    """
    if settings.smpp_certificate is None:
        return authority.door_context()
    certificate, key = settings.smpp_certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        raise ConfigError("ONTERMS_SMPP_TLS_CERT and ONTERMS_SMPP_TLS_KEY cannot be used together") from None
    return context


def _status(text: str) -> Any:
    return text if text in ("active", "suspended") else "closed"


async def _supervised(work: Awaitable[None]) -> None:
    """Run work of a link: a bug or a database that is gone ends the work and not the door."""
    try:
        await work
    except Exception as error:
        # The error's text may quote customers' data, so the log has its type and place only.
        if isinstance(error, _OUTAGES):
            _log.warning("SMPP work failed: %s", type(error).__name__)
        else:
            place = "".join(traceback.format_tb(error.__traceback__))
            _log.error("SMPP work failed: %s\n%s", type(error).__name__, place)


class _Out:
    """A delivery under way: how many of its PDUs are not answered, and the worst answer."""

    __slots__ = ("left", "row", "status")

    def __init__(self, row: Row, left: int) -> None:
        self.row = row
        self.left = left
        # None: one was not answered at all.
        self.status: int | None = 0


class _Link(asyncio.Protocol):
    """One connection: bytes to the session and back, and what the session tells."""

    def __init__(self, door: SmppDoor, *, is_tls: bool) -> None:
        self._door = door
        self._is_tls = is_tls
        self._loop = asyncio.get_running_loop()
        self._session = Session("smsc", self._loop.time(), timers=door.timers)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self.peer = ""
        self._version = 0
        self._allowance = Allowance(self._loop.time())
        self._backlog: deque[tuple[Any, _Out]] = deque()
        self._outs: set[_Out] = set()
        self._held = False
        self._session_sid = ""
        self.guest: _Guest | None = None

    # ---- what asyncio tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._door.enter(self):
            transport.abort()
            return
        self._rearm()

    def data_received(self, data: bytes) -> None:
        self._handle(self._session.receive(data, self._loop.time()))

    def connection_lost(self, exc: Exception | None) -> None:
        self._handle(self._session.lost("the connection ended"))
        self._door.leave(self)
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        # Who does not read its answers is not asked for more.
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if not self._held:
            self._transport.resume_reading()

    # ---- what the door asks

    @property
    def room(self) -> int:
        """How many more PDUs may be on their way."""
        if self.is_over or self._held:
            return 0
        return self._session.window - self._session.under_way - len(self._backlog)

    @property
    def is_over(self) -> bool:
        """Whether nothing more goes this way."""
        return self._session.state not in ("bound_rx", "bound_trx")

    def hold(self) -> None:
        """Take nothing more in."""
        self._held = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def leave(self) -> None:
        """Unbind, or close where nobody is bound."""
        if self._session.state in ("bound_tx", "bound_rx", "bound_trx"):
            self._session.unbind(self._loop.time())
            self._flush()
            # The answer to it, which a stop must hear.
            if not self._transport.is_closing():
                self._transport.resume_reading()
        elif not self._transport.is_closing():
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def deliver(self, row: Row) -> None:
        """Give the client a delivery."""
        assert self.guest is not None
        pdus = self._door.book.write(row, self.guest.access)
        if not pdus:
            self._door.settled(row, self._session_sid, int(Status.ROK))
            return
        out = _Out(row, len(pdus))
        self._outs.add(out)
        self._backlog.extend((pdu, out) for pdu in pdus)
        self._send_backlog()
        self._flush()

    # ---- inside

    def _flush(self) -> None:
        data = self._session.output()
        if data and not self._transport.is_closing():
            self._transport.write(data)
        self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self._session.next_tick()
        self._timer = None if due is None else self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._handle(self._session.tick(self._loop.time()))

    def _handle(self, events: Sequence[Event]) -> None:
        submits: list[Any] = []
        for event in events:
            if isinstance(event, Requested):
                self._requested(event.pdu, submits)
            elif isinstance(event, Answered):
                self._answered(event.tag, event.pdu.status)
            elif isinstance(event, Unanswered):
                self._answered(event.tag, None)
            elif isinstance(event, Closed):
                self._closed()
        for group in grouped(submits):
            self._door.run(self._submit(group))
        self._send_backlog()
        self._flush()
        if self._session.is_closed() and not self._transport.is_closing():
            self._transport.close()

    def _requested(self, pdu: Any, submits: list[Any]) -> None:
        command = pdu.command
        if command in _KINDS:
            self._door.run(self._bind(pdu, _KINDS[command]))
        elif command not in _SUBMITS and command not in _ASKS:
            self._reply(pdu, messaging.Answer(int(Status.RINVCMDID), words="broadcasts are not served here"))
        elif self.guest is None or not self._allowance.take(self.guest.access, pdu, self._loop.time()):
            self._reply(pdu, messaging.Answer(int(Status.RTHROTTLED), words="more than this bind's window or rate"))
        elif command in _SUBMITS:
            submits.append(pdu)
        else:
            self._door.run(self._ask(pdu))

    async def _bind(self, pdu: Any, kind: str) -> None:
        door = self._door
        try:
            async with door.crowd.binding:
                if self._session.is_closed():
                    # It went while others were looked at.
                    return
                guest = await door.admit(pdu, kind, self.peer)
                async with door.database.transaction() as tx:
                    sid = await door.book.enter(
                        tx, guest.access, kind, pdu.interface_version, self.peer, self._is_tls, door.clock.now()
                    )
            if sid is None:
                raise _NotBound(Status.RBINDFAIL, "as many are bound as may be")
        except _NotBound as refused:
            self._refuse_bind(pdu, refused.status, refused.words)
            return
        except Exception:
            self._refuse_bind(pdu, int(Status.RSYSERR), "the service cannot answer now")
            raise
        if self._session.is_closed() or self._held:
            # The client did not wait for its answer, or the door closes.
            await self._leave_book(guest.access, sid)
            self._refuse_bind(pdu, int(Status.RBINDFAIL), "the service stops")
            return
        self.guest, self._session_sid, self._version = guest, sid, pdu.interface_version
        door.crowd.leave(self.peer)
        self._session.window = guest.access.window_max
        self._allowance.fill(guest.access)
        tlvs = ((int(Tag.SC_INTERFACE_VERSION), bytes([_VERSION])),) if self._version >= _KNOWS_TLVS else ()
        bound = self._session.reply(pdu, 0, system_id=_OUR_SYSTEM_ID, tlvs=tlvs)
        self._flush()
        _log.info("%s bound as %s from %s", guest.access.user_key[:6] + "...", kind, self.peer)
        if any(isinstance(event, Bound) for event in bound) and kind != "transmitter":
            door.receives(self, guest.access.user_key)

    def _refuse_bind(self, pdu: Any, status: int, words: str) -> None:
        # A bind's response has no room for words that clients of 3.4 would take.
        _log.info("a bind from %s was refused: %s", self.peer, words)
        self._session.reply(pdu, status, system_id=_OUR_SYSTEM_ID)
        self._flush()
        if not self._transport.is_closing():
            self._transport.close()

    async def _submit(self, pdus: list[Any]) -> None:
        guest = self.guest
        assert guest is not None, "only who is bound submits"
        answers: Sequence[messaging.Answer]
        try:
            await self._door.note(guest.caller, self.peer)
            given = [messaging.Given(guest.access, self._session_sid, pdu) for pdu in pdus]
            answers = await self._door.submits.submit(given)
        except Refusal as refusal:
            answers = [self._door.book.answer_of(refusal)] * len(pdus)
        except _OUTAGES:
            # Nobody knows whether the commit was done; a client that repeats may send twice, as after any lost answer.
            answers = [messaging.Answer(int(Status.RSYSERR), words="20503 The service cannot answer now")] * len(pdus)
        except Exception:
            for pdu in pdus:
                self._done(pdu, messaging.Answer(int(Status.RSYSERR)))
            self._flush()
            raise
        for pdu, answer in zip(pdus, answers, strict=True):
            self._done(pdu, answer)
        self._flush()

    async def _ask(self, pdu: Any) -> None:
        guest = self.guest
        assert guest is not None, "only who is bound asks"
        door, given = self._door, messaging.Given(guest.access, self._session_sid, pdu)
        fields: dict[str, Any] = {}
        status = int(Status.RSYSERR)
        try:
            async with door.crowd.asking, door.database.transaction() as tx:
                status, fields = await self._asked(tx, given, door.clock.now())
        except Refusal as refusal:
            status = door.book.answer_of(refusal).status
        finally:
            self._allowance.done(pdu)
            self._session.reply(pdu, status, **fields)
            self._flush()

    async def _asked(self, tx: Tx, given: messaging.Given, at: datetime) -> tuple[int, dict[str, Any]]:
        desk, command = self._door.desk, given.pdu.command
        if command == Command.QUERY_SM:
            status, fields = await desk.query(tx, given, at)
            return status, dict(fields)
        change: Callable[[Tx, messaging.Given, datetime], Awaitable[int]]
        change = desk.cancel if command == Command.CANCEL_SM else desk.replace
        return await change(tx, given, at), {}

    def _done(self, pdu: Any, answer: messaging.Answer) -> None:
        self._allowance.done(pdu)
        self._reply(pdu, answer)

    def _reply(self, pdu: Any, answer: messaging.Answer) -> None:
        fields: dict[str, Any] = {}
        # Responses to the other requests have neither.
        if pdu.command in _SUBMITS or pdu.command == Command.BROADCAST_SM:
            fields["message_id"] = answer.message_id
            # SMPP 3.4 4.7.2 has the words in data_sm_resp, 5.0 in the others too, and clients are strict about it.
            if answer.words and self._version >= (_KNOWS_TLVS if pdu.command == Command.DATA_SM else _VERSION):
                fields["tlvs"] = _words(answer.words)
        if pdu.command == Command.SUBMIT_MULTI:
            fields["unsuccessful"] = answer.unsuccessful
        self._session.reply(pdu, answer.status, **fields)

    def _send_backlog(self) -> None:
        while self._backlog and self._session.can_send and not self._held:
            pdu, out = self._backlog.popleft()
            try:
                self._session.request(pdu, self._loop.time(), out)
            except ValueError as problem:
                # Nothing that can be sent: it would be tried for three days.
                _log.error("a delivery could not be written: %s", problem)
                self._answered(out, int(Status.RUNKNOWNERR))

    def _answered(self, out: Any, status: int | None) -> None:
        if not isinstance(out, _Out):
            return
        out.left -= 1
        if status != 0 and out.status is not None:
            out.status = status
        if out.left or out not in self._outs:
            return
        self._outs.discard(out)
        if out.status is None or out.status in _BUSY:
            # Another session need not wait for what this one did not answer.
            pause = None if self._session.is_closed() else self._door.clock.now() + _RETRY_PAUSE
            self._door.run(self._door.put_back([out.row["id"]], pause))
        else:
            self._door.settled(out.row, self._session_sid, out.status)
        if self.guest is not None and not self.is_over:
            self._door.wake(self.guest.access.user_key)

    def _closed(self) -> None:
        outs, self._outs = self._outs, set()
        self._backlog.clear()
        self._door.leave(self)
        if outs:
            self._door.run(self._door.put_back([out.row["id"] for out in outs], None))
        if self.guest is not None and self._session_sid:
            self._door.run(self._leave_book(self.guest.access, self._session_sid))
            self._session_sid = ""

    async def _leave_book(self, access: messaging.Access, sid: str) -> None:
        async with self._door.database.transaction() as tx:
            await self._door.book.leave(tx, access, sid)


def _words(words: str) -> tuple[tuple[int, bytes], ...]:
    # SMPP 3.4 5.3.2.11: 1 to 256 octets, ended by NUL.
    return ((int(Tag.ADDITIONAL_STATUS_INFO_TEXT), words.encode("ascii", "replace")[:255] + b"\0"),)
