"""The listeners: one ASGI app, reached over plain HTTP, over TLS, and through a proxy by clients that know only Twilio.

Theory of operation. A connection on the HTTP or the proxy port is first read by `_FirstBytes`, which looks at the
request line and no further than it has to:

    GET /...               an ordinary request: the transport and the bytes go to uvicorn's protocol for good
    CONNECT host:443       ours: answer 200, take TLS with a certificate for that host, then as above
                           foreign: connect to it and pipe (passthrough)
    GET http://host/...    ours: rewrite the request line to the path, then as above
                           foreign: rewrite, connect, pipe (passthrough)

A connection on the TLS port gets the certificate of the name in its SNI and goes to uvicorn's protocol at once. Which
host a request is for is always said by its Host header; how it came in is in `scope["state"]`: `door` is `http`,
`proxy` or `tls`, and `connect_host` is the CONNECT request's host where there was one.

Passthrough exists on the proxy port only. The HTTP port may stand behind somebody's reverse proxy, where every client
seems to be on this machine, and must not reach anything for anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import ssl
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from onterms.app import hosts
from onterms.app.certificates import LocalAuthority
from onterms.app.passthrough import (
    NotCarried,
    Target,
    Tunnel,
    may_carry,
    open_upstream,
    parse_connect,
    parse_forward,
)

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

# The longest registered method has 17 characters (IANA HTTP Method Registry, UPDATEREDIRECTREF).
_METHOD_BYTES_MAX: Final = 32
# How long a refused client may go on sending before it has to have read the answer (RFC 9112 9.6: a close with unread
# data resets the connection, and the answer is lost with it).
_LINGER_S: Final = 1.0
_PLAIN_PORT: Final = 80
# The name under which an app finds, in its scope's extensions, how to give a whole response at once: see `_answer`.
ANSWER: Final = "onterms.answer"
_UPGRADE_HEADERS: Final = frozenset({b"upgrade", b"http2-settings"})


@dataclass(frozen=True)
class Ports:
    """The ports that are really listened on; None where a door is shut."""

    http: int | None
    proxy: int | None
    tls: int | None


@dataclass(frozen=True)
class Limits:
    """What a client may take from the doors."""

    # A client that has not sent its whole request head by then is closed.
    head_timeout_s: float = 10.0
    # Twilio's own requests stay below 8 kB.
    head_bytes_max: int = 16_384
    # SDKs keep their connections in a pool; one closed too early costs them a failed request now and then.
    keep_alive_s: int = 75
    handshake_timeout_s: float = 10.0
    connect_timeout_s: float = 10.0
    tunnel_idle_s: float = 3600.0
    tunnels_max: int = 512


class _State(ServerState):
    """What uvicorn's protocols share, and what of ours has to end with them."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = False
        self.lingering: set[asyncio.Transport] = set()


class Doors:
    """Serve one ASGI app on an HTTP, a proxy and a TLS port of the running event loop.

    A listener given as None is not opened. The app gets no lifespan events: whoever opens the doors has started it.
    """

    def __init__(
        self,
        app: AsgiApp,
        *,
        authority: LocalAuthority,
        is_ours: Callable[[str], bool] = hosts.is_ours,
        http: tuple[str, int] | None = ("127.0.0.1", 8080),
        proxy: tuple[str, int] | None = ("127.0.0.1", 8081),
        tls: tuple[str, int] | None = ("127.0.0.1", 8443),
        passthrough: bool = True,
        limits: Limits | None = None,
    ) -> None:
        self.authority = authority
        self.is_ours = is_ours
        self.passthrough = passthrough
        self.limits = limits or Limits()
        self._listen = {"http": http, "proxy": proxy, "tls": tls}
        self._servers: dict[str, asyncio.Server] = {}
        self._ports = Ports(None, None, None)
        # A factory, for uvicorn calls whatever else it is given once to see what it is.
        self._config = Config(
            app=lambda: app,
            factory=True,
            interface="asgi3",
            http=_HttpConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=self.limits.keep_alive_s,
        )
        self.state = _State()
        self._date_timer: asyncio.TimerHandle | None = None
        self._new: set[_FirstBytes] = set()
        self._setups: set[asyncio.Task[None]] = set()
        self._tunnels: set[Tunnel] = set()

    @property
    def ports(self) -> Ports:
        """The ports listened on, which differ from the ones asked for where those were 0."""
        return self._ports

    async def start(self) -> None:
        """Open every listener, or none.

        Raises: OSError where a port is taken or may not be used.
        """
        loop = asyncio.get_running_loop()
        if not self._config.loaded:
            self._config.load()
        self.state.stopping = False
        self._refresh_date()
        try:
            for door, address in self._listen.items():
                if address is not None:
                    self._servers[door] = await self._open(loop, door, *address)
        except BaseException:
            await self.stop(0.0)
            raise
        self._ports = Ports(**{door: self._port(door) for door in self._listen})

    async def stop(self, grace_s: float) -> None:
        """Stop accepting, let running requests finish for up to `grace_s`, then cancel them."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        self.state.stopping = True
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        for task in self._setups:
            task.cancel()
        for new in list(self._new):
            new.abort()
        # An idle connection closes now, a busy one says `connection: close` with its response.
        # Idle ones are not waited for: a pooled TLS client answers our goodbye only when it next uses the connection.
        idle = {each for each in self.state.connections if isinstance(each, _HttpConnection) and each.is_idle()}
        for connection in list(self.state.connections):
            connection.shutdown()
        while self.state.tasks or self.state.connections - idle:
            left_s = deadline - loop.time()
            if left_s <= 0:
                break
            if self.state.tasks:
                await asyncio.wait(set(self.state.tasks), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            # Responses that are written but not yet taken by their clients end with their connections.
            await asyncio.sleep(min(0.01, left_s))
        for tunnel in list(self._tunnels):
            tunnel.abort()
        if self.state.tasks:
            logger.warning("cancelling %d requests that did not finish in time", len(self.state.tasks))
        unfinished = [*self.state.tasks, *self._setups]
        for unfinished_task in unfinished:
            unfinished_task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        for transport in [c.transport for c in self.state.connections] + list(self.state.lingering):
            transport.abort()
        # Transports tell their protocols in the loop's next turn; leave nothing behind that would speak after us.
        await asyncio.sleep(0)
        if self._date_timer is not None:
            self._date_timer.cancel()
            self._date_timer = None

    async def _open(self, loop: asyncio.AbstractEventLoop, door: str, host: str, port: int) -> asyncio.Server:
        if door == "tls":
            return await loop.create_server(
                lambda: self.http_connection(door=door),
                host,
                port,
                ssl=self.authority.door_context(),
                ssl_handshake_timeout=self.limits.handshake_timeout_s,
                backlog=2048,
            )
        return await loop.create_server(lambda: _FirstBytes(self, door), host, port, backlog=2048)

    def _port(self, door: str) -> int | None:
        server = self._servers.get(door)
        return None if server is None else int(server.sockets[0].getsockname()[1])

    def _refresh_date(self) -> None:
        # RFC 9110 6.6.1. Clients compare it with their own clocks, so it is the real time whatever the sandbox's is.
        self.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._date_timer = asyncio.get_running_loop().call_later(1.0, self._refresh_date)

    # What the protocols below ask of the doors

    def http_connection(self, **state: str) -> _HttpConnection:
        """Make the protocol that serves the app, which finds `state` in its scopes."""
        return _HttpConnection(self._config, self.state, state, self.limits)

    def run(self, setup: Awaitable[None]) -> asyncio.Task[None]:
        """Run what has to be awaited before a connection can be handed over; a stop cancels it."""
        task = asyncio.ensure_future(setup)
        assert isinstance(task, asyncio.Task)
        self._setups.add(task)
        task.add_done_callback(self._setups.discard)
        return task

    def new_tunnel(self) -> Tunnel:
        """Make a tunnel that ends with the doors.

        Raises: NotCarried when there are too many.
        """
        if len(self._tunnels) >= self.limits.tunnels_max:
            raise NotCarried(503, "The proxy carries as many connections as it may.")
        tunnel = Tunnel(idle_s=self.limits.tunnel_idle_s, on_end=self._tunnels.discard)
        self._tunnels.add(tunnel)
        return tunnel

    def track(self, connection: _FirstBytes) -> None:
        """Remember a connection that is not handed over yet."""
        self._new.add(connection)

    def untrack(self, connection: _FirstBytes) -> None:
        """Forget a connection that is handed over, refused or gone."""
        self._new.discard(connection)


def _answer(cycle: RequestResponseCycle, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    """Write a whole response with its Content-Length; False, and nothing done, where it takes ASGI's ordinary way.

    ASGI hands a response over in two awaited messages, and uvicorn looks at each header with two regular expressions:
    5 us against 2, measured, of the 90 that an accepted message costs.
    """
    if (
        cycle.flow.write_paused
        or cycle.disconnected
        or cycle.response_started
        or not cycle.keep_alive
        or status in (204, 304)
        or cycle.scope["method"] == "HEAD"
    ):
        return False
    parts = [STATUS_LINE[status]]
    for name, value in cycle.default_headers:
        parts += (name, b": ", value, b"\r\n")
    for name, value in headers:
        if name == b"connection":
            return False
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"content-length: %d\r\n\r\n" % len(body))
    head = b"".join(parts)
    # A line break in a value would begin a header, or a response, of somebody else's making.
    if head.count(b"\n") != len(cycle.default_headers) + len(headers) + 3 or b"\0" in head:
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(head + body)
    cycle.message_event.set()
    cycle.on_response()
    return True


class _Dropped(list[tuple[bytes, bytes]]):
    """Headers that nobody gets."""

    def append(self, header: tuple[bytes, bytes]) -> None:
        pass


class _HttpConnection(HttpToolsProtocol):
    """uvicorn's protocol, with heads limited in time and size, and with offered upgrades passed over.

    uvicorn 0.54 loses the body of a request that offers one (`Upgrade: h2c` from Java's own client, `Upgrade: TLS/1.2`
    from Apache HttpClient 5.4), because its parser stops behind the head for whatever protocol would follow.
    """

    def __init__(self, config: Config, server_state: _State, app_state: dict[str, Any], limits: Limits) -> None:
        super().__init__(config, server_state, app_state)
        self._limits = limits
        self._shared = server_state
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._shared.stopping:
            # Its handshake was under way when the doors were shut.
            transport.abort()
        else:
            self._arm()

    def data_received(self, data: bytes) -> None:
        if len(data) > self._limits.head_bytes_max:
            # In slices, so that a head which comes in one piece is measured like one that comes in many.
            step = self._limits.head_bytes_max
            for start in range(0, len(data), step):
                # A refused connection lingers, and is not closing while its client may still read the refusal.
                if not self._is_refused and not self.transport.is_closing() and self.parser is not None:
                    self._feed(data[start : start + step])
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over_upgrade(data[offer.args[0] :])
            return
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        cycle = self.cycle
        # uvicorn sets a scope's path when the head is complete; this line is all that an ordinary request costs.
        if cycle is None or cycle.response_complete or "path" not in self.scope:
            self._wait_for_head(len(data))
        elif self._head_timer is not None or self._in_head:
            self._disarm()

    def on_headers_complete(self) -> None:
        earlier = self.cycle
        super().on_headers_complete()
        if self.cycle is not earlier:
            # The request's task has been made and does not run yet.
            self.scope["extensions"] = {ANSWER: {"call": partial(_answer, self.cycle)}}
            # RFC 9110 6.5.1: what comes behind a chunked body must not pass for headers, which uvicorn makes of it.
            self.headers = _Dropped()

    def is_idle(self) -> bool:
        """Say whether nothing of a request or a response is under way."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self.transport.get_write_buffer_size() == 0

    def _should_upgrade(self) -> bool:
        # Asked by uvicorn's parser callbacks when a head offers an upgrade: so the request is not started yet.
        return True

    def _pass_over_upgrade(self, rest: bytes) -> None:
        method = self.scope["method"]
        if method == "CONNECT":
            # Only a connection's first request may ask for a tunnel, and that one does not come here.
            self.send_400_response("CONNECT is for the first request of a connection to the proxy.")
            return
        # RFC 9110 7.8: a server may ignore the offer. The request is read again as it would be without.
        head = [b"%s %s HTTP/%s" % (method.encode(), self.url, self.scope["http_version"].encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [token for token in value.split(b",") if token.strip().lower() not in _UPGRADE_HEADERS]
                value = b",".join(kept)
            if name not in _UPGRADE_HEADERS and (value or name != b"connection"):
                head.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(b"\r\n".join([*head, b"", b""]) + rest)

    def _wait_for_head(self, received_bytes: int) -> None:
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or "path" not in self.scope:
            # The piece in which a head begins may hold the end of the body before it, so that one is not counted.
            self._head_bytes += received_bytes if self._in_head else 0
            self._in_head = True
        running = cycle is not None and not cycle.response_complete
        if self._head_bytes > self._limits.head_bytes_max:
            self._disarm()
            if running:
                # A refusal now would be read as part of the response before it.
                self.transport.close()
                return
            self._unset_keepalive_if_required()
            self.connections.discard(self)
            self._is_refused = True
            _refuse(self.transport, self._shared, 431, "The request's head is too large.")
        elif not running and self._head_timer is None:
            self._arm()

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(self._limits.head_timeout_s, self._expired)

    def _disarm(self) -> None:
        self._head_bytes = 0
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _expired(self) -> None:
        self._head_timer = None
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)


class _FirstBytes(asyncio.Protocol):
    """Read a new connection just far enough to know what it is, and hand it over."""

    def __init__(self, doors: Doors, door: str) -> None:
        self._doors = doors
        self._door = door
        self._received = b""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle
        self._setup: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._timer = self._loop.call_later(self._doors.limits.head_timeout_s, self._expired)
        self._doors.track(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        if self._setup is not None:
            self._setup.cancel()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        # RFC 9112 2.2: an empty line before the request line is a relic to be skipped.
        self._received = (self._received + data).lstrip(b"\r\n")
        kind = _kind(self._received)
        if kind == "ordinary":
            self._to_app(self._received, door=self._door)
            return
        head_bytes = self._received.find(b"\r\n\r\n")
        if max(head_bytes, len(self._received) if head_bytes < 0 else 0) > self._doors.limits.head_bytes_max:
            self._refuse(NotCarried(431, "The request's head is too large."))
        elif head_bytes >= 0:
            head, rest = self._received[:head_bytes], self._received[head_bytes + 4 :]
            try:
                if kind == "connect":
                    self._connect(parse_connect(head), rest)
                else:
                    self._forward(head, rest)
            except NotCarried as refusal:
                self._refuse(refusal)

    def _connect(self, target: Target, early: bytes) -> None:
        if not self._doors.is_ours(target.host):
            self._require_passthrough()
            self._start(self._carry(target, b"HTTP/1.1 200 Connection established\r\n\r\n", early, None))
        elif early:
            # The TLS layer reads from the connection, where these bytes no longer are. RFC 9110 9.3.6 has clients wait.
            raise NotCarried(400, "Data came before the tunnel was established.")
        elif target.port == _PLAIN_PORT:
            self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._to_app(b"", door=self._door, connect_host=target.host)
        elif not self._doors.authority.can_certify(target.host):
            raise NotCarried(502, "There is no certificate for this host.")
        else:
            self._start(self._accept_tls(target))

    def _forward(self, head: bytes, rest: bytes) -> None:
        request = parse_forward(head, via=False)
        if self._doors.is_ours(request.target.host):
            # One request a connection: the next one on it could be for a host that is not ours.
            self._to_app(request.head + rest, door=self._door)
            return
        self._require_passthrough()
        if request.scheme == "https":
            raise NotCarried(400, "An https URL is reached through this proxy with CONNECT.")
        request = parse_forward(head, via=True)
        self._start(self._carry(request.target, b"", rest, request.body_bytes, request.head))

    def _require_passthrough(self) -> None:
        if not self._doors.passthrough or self._door != "proxy":
            raise NotCarried(403, "This host is not served here, and requests are not passed through.")
        if not may_carry(self._peer()):
            raise NotCarried(403, "Requests are passed through for clients of the local network only.")

    def _to_app(self, data: bytes, **state: str) -> None:
        self._done()
        connection = self._doors.http_connection(**state)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        if data:
            connection.data_received(data)

    def _start(self, setup: Awaitable[None]) -> None:
        # What comes next is for whoever takes over.
        self._transport.pause_reading()
        self._timer.cancel()
        self._setup = self._doors.run(setup)

    async def _accept_tls(self, target: Target) -> None:
        context = self._doors.authority.context_for(target.host)
        buffered = _AfterHandshake()
        self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._done()
        try:
            transport = await self._loop.start_tls(
                self._transport,
                buffered,
                context,
                server_side=True,
                ssl_handshake_timeout=self._doors.limits.handshake_timeout_s,
            )
        except (OSError, ssl.SSLError) as error:
            # Nearly always a client that does not trust our authority, and worth a line to its developer.
            logger.info("the TLS handshake for %s failed: %s", target.host, type(error).__name__)
            self._transport.abort()
            return
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        assert transport is not None
        buffered.hand_over(transport, self._doors.http_connection(door=self._door, connect_host=target.host))

    async def _carry(
        self, target: Target, answer: bytes, early: bytes, allowance_bytes: int | None, head: bytes = b""
    ) -> None:
        tunnel: Tunnel | None = None
        try:
            tunnel = self._doors.new_tunnel()
            upstream = tunnel.upstream
            transport = await open_upstream(
                target, lambda: upstream, peer=self._peer(), timeout_s=self._doors.limits.connect_timeout_s
            )
        except NotCarried as refusal:
            if tunnel is not None:
                tunnel.end()
            self._refuse(refusal)
            return
        except BaseException:
            if tunnel is not None:
                tunnel.abort()
            self._transport.abort()
            raise
        self._done()
        if self._transport.is_closing():
            tunnel.abort()
            return
        if answer:
            self._transport.write(answer)
        if head:
            transport.write(head)
        tunnel.client.allowance_bytes = allowance_bytes
        if early:
            tunnel.client.data_received(early)
        tunnel.join(self._transport)

    def _peer(self) -> str | None:
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else None

    def _refuse(self, refusal: NotCarried) -> None:
        self._done()
        if not self._transport.is_closing():
            _refuse(self._transport, self._doors.state, refusal.status, refusal.reason)

    def _done(self) -> None:
        self._timer.cancel()
        self._doors.untrack(self)

    def _expired(self) -> None:
        if self._received:
            self._refuse(NotCarried(408, "The request's head did not come in time."))
        else:
            self._transport.close()


class _AfterHandshake(asyncio.Protocol):
    """Keep what a client sends in the same breath as the end of its handshake, until the app's protocol is there."""

    def __init__(self) -> None:
        self._received: list[bytes] = []
        self._lost = False

    def data_received(self, data: bytes) -> None:
        self._received.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True

    def hand_over(self, transport: asyncio.Transport, connection: _HttpConnection) -> None:
        if self._lost or transport.is_closing():
            transport.abort()
            return
        transport.set_protocol(connection)
        connection.connection_made(transport)
        for data in self._received:
            connection.data_received(data)


class _Lingering(asyncio.Protocol):
    """Let a refused client finish sending, unread, so that it gets to read why."""

    def __init__(self, transport: asyncio.Transport, state: _State) -> None:
        self._transport = transport
        self._state = state
        self._state.lingering.add(transport)
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.lingering.discard(self._transport)
        self._timer.cancel()


def _refuse(transport: asyncio.Transport, state: _State, status: int, reason: str) -> None:
    body = reason.encode("ascii", "replace") + b"\n"
    transport.set_protocol(_Lingering(transport, state))
    transport.write(
        b"HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
        % (status, http.HTTPStatus(status).phrase.encode(), len(body), body)
    )
    if transport.can_write_eof():
        transport.write_eof()
    with contextlib.suppress(RuntimeError):
        transport.resume_reading()


def _kind(received: bytes) -> str:
    """Say what a connection that begins like this is: `ordinary`, `connect`, `absolute`, or `unknown` as yet."""
    if not received:
        return "unknown"
    if not received[:1].isalpha():
        # Not HTTP; a TLS client on the wrong port, for one. uvicorn's parser has the answer.
        return "ordinary"
    method, space, target = received.partition(b" ")
    if not space:
        return "ordinary" if len(received) > _METHOD_BYTES_MAX or b"\n" in received else "unknown"
    if method == b"CONNECT":
        return "connect"
    if not target:
        return "unknown"
    return "ordinary" if target[:1] in b"/*" else "absolute"
