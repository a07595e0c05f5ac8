"""The listeners: one app, reached over plain HTTP, over TLS, and through a proxy by clients that know only Twilio.

Theory of operation. A connection on the HTTP or the proxy port is first read by `_FirstBytes`, which looks at the
request line and no further than it has to:

    GET /...               an ordinary request: the transport and the bytes go to the app's protocol for good
    CONNECT host:443       ours: answer 200, take TLS with a certificate for that host, then as above
                           foreign: connect to it and pipe (passthrough)
    GET http://host/...    ours: rewrite the request line to the path, then as above
                           foreign: rewrite, connect, pipe (passthrough)

A connection on the TLS port gets the certificate of the name in its SNI and goes to the app's protocol at once. Which
host a request is for is always said by its Host header; how it came in is in the request's `state`: `door` is `http`,
`proxy` or `tls`, and `connect_host` is the CONNECT request's host where there was one.

Passthrough exists on the proxy port only. The HTTP port may stand behind somebody's reverse proxy, where every client
seems to be on this machine, and must not reach anything for anybody.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from onterms.app import hosts
from onterms.app.certificates import LocalAuthority
from onterms.app.http1 import App, Connection, Limits, Shared, refuse
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

# The longest registered method has 17 characters (IANA HTTP Method Registry, UPDATEREDIRECTREF).
_METHOD_BYTES_MAX: Final = 32
_PLAIN_PORT: Final = 80


@dataclass(frozen=True)
class Ports:
    """The ports that are really listened on; None where a door is shut."""

    http: int | None
    proxy: int | None
    tls: int | None


class Doors:
    """Serve one app on an HTTP, a proxy and a TLS port of the running event loop.

    A listener given as None is not opened. The app gets no lifespan events: whoever opens the doors has started it.
    """

    def __init__(
        self,
        app: App,
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
        self.shared = Shared(app, self.limits)
        self._timers: dict[str, asyncio.TimerHandle] = {}
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
        self.shared.stopping = False
        self._refresh_date()
        self._look_after_connections()
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
        self.shared.stopping = True
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        for task in self._setups:
            task.cancel()
        for new in list(self._new):
            new.abort()
        # An idle connection closes now, a busy one says `connection: close` with its response.
        # Idle ones are not waited for: a pooled TLS client answers our goodbye only when it next uses the connection.
        idle = {each for each in self.shared.connections if each.is_idle}
        for connection in list(self.shared.connections):
            connection.shutdown()
        while self.shared.tasks or self.shared.connections - idle:
            left_s = deadline - loop.time()
            if left_s <= 0:
                break
            if self.shared.tasks:
                await asyncio.wait(set(self.shared.tasks), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            # Responses that are written but not yet taken by their clients end with their connections.
            await asyncio.sleep(min(0.01, left_s))
        for tunnel in list(self._tunnels):
            tunnel.abort()
        if self.shared.tasks:
            logger.warning("cancelling %d requests that did not finish in time", len(self.shared.tasks))
        unfinished = [*self.shared.tasks, *self._setups]
        for unfinished_task in unfinished:
            unfinished_task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        for transport in [c.transport for c in self.shared.connections] + list(self.shared.lingering):
            transport.abort()
        # Transports tell their protocols in the loop's next turn; leave nothing behind that would speak after us.
        await asyncio.sleep(0)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

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
        self.shared.refresh_date()
        self._timers["date"] = asyncio.get_running_loop().call_later(1.0, self._refresh_date)

    def _look_after_connections(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self.shared.connections):
            connection.look_after(now)
        if self.shared.turned_away:
            logger.warning("turned away %d connections, there are too many", self.shared.turned_away)
            self.shared.turned_away = 0
        pause_s = min(1.0, self.limits.head_timeout_s / 4)
        self._timers["connections"] = loop.call_later(pause_s, self._look_after_connections)

    # What the protocols below ask of the doors

    def http_connection(self, **state: str) -> Connection:
        """Make the protocol that serves the app, which finds `state` in its requests."""
        return Connection(self.shared, state)

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

    def is_full(self) -> bool:
        """Tell whether there are as many connections as there may be."""
        return self.shared.turns_away(len(self._new) + len(self.shared.lingering) + 2 * len(self._tunnels))

    def track(self, connection: _FirstBytes) -> None:
        """Remember a connection that is not handed over yet."""
        self._new.add(connection)

    def untrack(self, connection: _FirstBytes) -> None:
        """Forget a connection that is handed over, refused or gone."""
        self._new.discard(connection)


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
        if self._doors.is_full():
            transport.abort()
        else:
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
            refuse(self._transport, self._doors.shared, refusal.status, refusal.reason)

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

    def hand_over(self, transport: asyncio.Transport, connection: Connection) -> None:
        if self._lost or transport.is_closing():
            transport.abort()
            return
        transport.set_protocol(connection)
        connection.connection_made(transport)
        for data in self._received:
            connection.data_received(data)


def _kind(received: bytes) -> str:
    """Say what a connection that begins like this is: `ordinary`, `connect`, `absolute`, or `unknown` as yet."""
    if not received:
        return "unknown"
    if not received[:1].isalpha():
        # Not HTTP; a TLS client on the wrong port, for one. the parser has the answer.
        return "ordinary"
    method, space, target = received.partition(b" ")
    if not space:
        return "ordinary" if len(received) > _METHOD_BYTES_MAX or b"\n" in received else "unknown"
    if method == b"CONNECT":
        return "connect"
    if not target:
        return "unknown"
    return "ordinary" if target[:1] in b"/*" else "absolute"
