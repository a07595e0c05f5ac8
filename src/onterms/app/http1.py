"""HTTP/1.1 on a connection: bytes to requests, responses to bytes.

The parser is httptools' (llhttp). A request is given to the app when its head is complete, and nearly always its body
is there by then too. Requests that a client sends ahead of the responses wait in line, and no more is read meanwhile.
The app answers each with one `respond`, which writes head and body at once, or with one `stream`.

There are no timers of single connections: the doors look at all of them now and then (`Connection.look_after`).
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import re
import resource
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final

import httptools

logger = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

# How long a refused client may go on sending before it has to have read the answer (RFC 9112 9.6: a close with unread
# data resets the connection, and the answer is lost with it).
LINGER_S: Final = 1.0
# What is held of a body that the app has not asked for yet.
_BODY_AHEAD_BYTES: Final = 65_536
_UPGRADE_HEADERS: Final = frozenset({b"upgrade", b"http2-settings"})
_STATUS_LINES: Final = {
    int(status): b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in http.HTTPStatus
}
_AUTHORITY_END: Final = re.compile(rb"[/?#]")
# RFC 9110 6.4.1: these have no body whatever their headers say.
_BODILESS: Final = frozenset({204, 304})


@dataclass(frozen=True)
class Limits:
    """What a client may take from the doors."""

    # A client that has not sent its whole request head by then is closed.
    head_timeout_s: float = 10.0
    # Twilio's own requests stay below 8 kB.
    head_bytes_max: int = 16_384
    # SDKs keep their connections in a pool; one closed too early costs them a failed request now and then.
    keep_alive_s: float = 75.0
    handshake_timeout_s: float = 10.0
    connect_timeout_s: float = 10.0
    tunnel_idle_s: float = 3600.0
    tunnels_max: int = 512
    # Whoever comes on top is turned away: the files that are left are for the database and for what we call ourselves.
    connections_max: int = field(default_factory=lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4)


class Disconnected(Exception):
    """The client went away before its request was complete."""


class Shared:
    """What the connections of one set of doors have in common, and what has to end with them."""

    def __init__(self, app: App, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.lingering: set[asyncio.Transport] = set()
        self.stopping = False
        self.turned_away = 0
        self.refresh_date()

    def turns_away(self, others: int = 0) -> bool:
        """Tell whether one more connection is too many, beside `others` that are no HTTP connections yet."""
        is_full = len(self.connections) + others >= self.limits.connections_max
        self.turned_away += is_full
        return is_full

    def refresh_date(self) -> None:
        """Take the second's date (RFC 9110 6.6.1).

        Clients compare it with their own clocks, so it is the real time whatever the sandbox's is.
        """
        self.date_line = b"date: %s\r\n" % formatdate(usegmt=True).encode()


class HttpRequest:
    """One request, and the way to answer it.

    Shapes: `path` as it came, without the query; header names lower case, in `fields` the last of each name; `peer` the
    address that connected; `door` is `http`, `proxy` or `tls`, and `connect_host` the host of the CONNECT before it.
    """

    __slots__ = (
        "_body", "_body_bytes", "_connection", "_is_closed", "_is_complete", "_reader", "expects_continue",
        "fields", "headers", "http_version", "is_answered", "is_done", "keep_alive", "method", "path", "query",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        method: str,
        path: str,
        query: bytes,
        headers: list[Header],
        http_version: str,
        keep_alive: bool,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.fields: Mapping[bytes, bytes] = dict(headers)
        self.http_version = http_version
        self.keep_alive = keep_alive
        self.expects_continue = http_version == "1.1" and self.fields.get(b"expect", b"").lower() == b"100-continue"
        # Something of the response is written; nothing else may begin one.
        self.is_answered = False
        self.is_done = False
        self._connection = connection
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._is_complete = False
        self._is_closed = False
        self._reader: asyncio.Future[None] | None = None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self._connection.scheme

    @property
    def peer(self) -> str | None:
        """The address that connected."""
        return self._connection.peer

    @property
    def state(self) -> Mapping[str, str]:
        """How it came in."""
        return self._connection.state

    # ---- the body

    def is_complete(self) -> bool:
        """Tell whether the whole body is here."""
        return self._is_complete

    def take(self) -> bytes:
        """Return what has come of the body since the last call."""
        body, self._body = self._body, []
        self._body_bytes = 0
        return body[0] if len(body) == 1 else b"".join(body)

    async def more(self) -> None:
        """Wait until more of the body is here, or all of it.

        Raises: Disconnected.
        """
        while not (self._is_complete or self._body):
            if self._is_closed:
                raise Disconnected
            self._connection.wanted(self)
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def received(self, data: bytes) -> bool:
        """Keep a part of the body; True where more would be too much for now."""
        if self.is_done:
            return False
        self._body.append(data)
        self._body_bytes += len(data)
        self._wake()
        return self._body_bytes > _BODY_AHEAD_BYTES

    def completed(self) -> None:
        """Note that the body has come to its end."""
        self._is_complete = True
        self._wake()

    def closed(self) -> None:
        """Note that the client is gone."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # ---- the response

    def respond(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Write a whole response; Content-Length, Date and Connection are added.

        Raises: ValueError for a header that holds a line break, and nothing is written.
        """
        assert not self.is_answered, "a request has one response"
        parts = [_STATUS_LINES[status], self._connection.shared.date_line]
        for name, value in headers:
            if name == b"connection":
                self.keep_alive = self.keep_alive and value != b"close"
                continue
            parts += (name, b": ", value, b"\r\n")
        lines = len(parts) // 4 + 3
        if status not in _BODILESS:
            parts.append(b"content-length: %d\r\n" % len(body))
            lines += 1
        if self.keep_alive:
            parts.append(b"\r\n")
        else:
            parts.append(b"connection: close\r\n\r\n")
            lines += 1
        head = b"".join(parts)
        # A line break in a value would begin a header, or a response, of somebody else's making.
        if head.count(b"\n") != lines or b"\0" in head:
            raise ValueError("a header holds a line break")
        self.is_answered = True
        has_body = body and self.method != "HEAD" and status not in _BODILESS
        self._connection.write(head + body if has_body else head)
        self._connection.answered(self)

    async def stream(self, status: int, headers: Sequence[Header], chunks: AsyncIterator[bytes]) -> None:
        """Write a response whose length nobody knows, until the chunks end or the client goes."""
        assert not self.is_answered, "a request has one response"
        is_chunked = self.http_version == "1.1"
        parts = [_STATUS_LINES[status], self._connection.shared.date_line]
        for name, value in headers:
            if b"\n" in value or b"\r" in value:
                raise ValueError("a header holds a line break")
            parts += (name, b": ", value, b"\r\n")
        if is_chunked:
            parts.append(b"transfer-encoding: chunked\r\n")
        # The end of the response is the end of the connection: streams end when their client has long gone, or with
        # the program, and there is little to be saved.
        self.keep_alive = False
        parts.append(b"connection: close\r\n\r\n")
        self.is_answered = True
        self._connection.write(b"".join(parts))
        try:
            if self.method != "HEAD":
                await self._connection.until_gone(self._write_chunks(chunks, is_chunked))
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
            self._connection.answered(self)

    async def _write_chunks(self, chunks: AsyncIterator[bytes], is_chunked: bool) -> None:
        async for chunk in chunks:
            if chunk:
                self._connection.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if is_chunked else chunk)
                await self._connection.drained()
        if is_chunked:
            self._connection.write(b"0\r\n\r\n")


App = Callable[[HttpRequest], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, shared: Shared, state: Mapping[str, str]) -> None:
        self.shared = shared
        self.state = state
        self.scheme = "http"
        self.peer: str | None = None
        self.transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        # What browsers and proxies of the day still send: bytes after a message that said it is the last.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._url = b""
        self._headers: list[Header] = []
        self._is_in_head = False
        self._head_bytes = 0
        # What has come of a body's framing (chunk extensions, trailers) since its last byte.
        self._framing_bytes = 0
        # The request whose body is being read; the one that is being answered; those that wait for their turn.
        self._reading: HttpRequest | None = None
        self._current: HttpRequest | None = None
        self._waiting: deque[HttpRequest] = deque()
        self._has_served = False
        self._is_refused = False
        self._is_reading_paused = False
        self._writable: asyncio.Future[None] | None = None
        self._is_writing_paused = False
        self._unsent_bytes = 0
        self._stream: asyncio.Future[None] | None = None
        self._since = 0.0

    # ---- the transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self.transport = transport
        self._since = self._loop.time()
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else None
        if self.shared.stopping or self.shared.turns_away():
            # Its handshake was under way when the doors were shut, or when they were still open to it.
            transport.abort()
        else:
            self.shared.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for this client."""
        self.shared.connections.discard(self)
        for request in (self._reading, self._current):
            if request is not None:
                request.closed()
        self._waiting.clear()
        if self._stream is not None:
            self._stream.cancel()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        step = self.shared.limits.head_bytes_max
        if len(data) <= step:
            self._feed(data)
            return
        # In slices, so that a head which comes in one piece is measured like one that comes in many.
        for start in range(0, len(data), step):
            if not self._is_refused and not self.transport.is_closing():
                self._feed(data[start : start + step])

    def eof_received(self) -> bool:
        """Let a request that is under way be answered; over TLS there is no such half-closed state."""
        if self._current is None or self.scheme == "https":
            return False
        self._current.keep_alive = False
        if self._reading is not None:
            self._reading.closed()
        return True

    def pause_writing(self) -> None:
        """Hold streams back, and the requests that wait: their client takes no answers."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """Let streams and waiting requests go on."""
        self._is_writing_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._current is None and not self.transport.is_closing():
            self._go_on()

    def _feed(self, data: bytes) -> None:
        was_in_head, was_in_body = self._is_in_head, self._reading is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over_upgrade(data[offer.args[0] :])
            return
        except httptools.HttpParserError:
            self.refuse(400, "Invalid HTTP request received.")
            return
        if self._is_in_head:
            # The piece in which a head begins may hold the end of the body before it, so that one is not counted.
            self._head_bytes += len(data) if was_in_head else 0
            if self._head_bytes > self.shared.limits.head_bytes_max:
                self.refuse(431, "The request's head is too large.")
                return
        elif was_in_body and self._reading is not None:
            # The parser puts a trailer together by copying it for each piece. The piece that held the body's last byte
            # counts as well, hence twice.
            self._framing_bytes += len(data)
            if self._framing_bytes > 2 * self.shared.limits.head_bytes_max:
                self.refuse(431, "The request's trailers or chunk extensions are too large.")
                return
        if self._waiting and self._current is None and not self._is_writing_paused:
            self._next()
        if self._waiting and not self._is_reading_paused:
            self._pause_reading()

    # ---- the parser's side

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._headers = []
        self._head_bytes = 0
        self._framing_bytes = 0
        self._is_in_head = True
        if self._current is None:
            self._since = self._loop.time()

    def on_url(self, url: bytes) -> None:
        """Keep a part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. RFC 9110 6.5.1: what comes behind a chunked body must not pass for one."""
        if self._is_in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Make the request."""
        self._is_in_head = False
        parser = self._parser
        if parser.should_upgrade():
            # The parser stops behind this head; `_pass_over_upgrade` has it read again.
            return
        target = self._url
        if target[:1] != b"/" and target != b"*":
            # A path in absolute form, as clients of a proxy write it. RFC 9112 3.2.2: its authority counts and a Host
            # header beside it does not.
            url = httptools.parse_url(target)
            authority = _AUTHORITY_END.split(target.partition(b"://")[2], maxsplit=1)[0]
            self._headers = [header for header in self._headers if header[0] != b"host"]
            self._headers.append((b"host", authority))
            target = (url.path or b"/") + (b"?" + url.query if url.query else b"")
        elif b"#" in target:
            target = target.partition(b"#")[0]
        path, _, query = target.partition(b"?")
        version = parser.get_http_version()
        request = HttpRequest(
            self,
            parser.get_method().decode("ascii"),
            path.decode("latin-1"),
            query,
            self._headers,
            version,
            version != "1.0" and parser.should_keep_alive(),
        )
        self._reading = request
        self._waiting.append(request)

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._framing_bytes = 0
        if self._reading is not None and self._reading.received(data) and not self._is_reading_paused:
            self._pause_reading()

    def on_message_complete(self) -> None:
        """End the request."""
        if self._reading is not None:
            self._reading.completed()
            self._reading = None

    def _pass_over_upgrade(self, rest: bytes) -> None:
        method = self._parser.get_method()
        if method == b"CONNECT":
            # Only a connection's first request may ask for a tunnel, and that one does not come here.
            self.refuse(400, "CONNECT is for the first request of a connection to the proxy.")
            return
        # RFC 9110 7.8: a server may ignore the offer. The request is read again as it would be without.
        head = [b"%s %s HTTP/%s" % (method, self._url, self._parser.get_http_version().encode())]
        for name, value in self._headers:
            if name == b"connection":
                kept = [token for token in value.split(b",") if token.strip().lower() not in _UPGRADE_HEADERS]
                value = b",".join(kept)
            if name not in _UPGRADE_HEADERS and (value or name != b"connection"):
                head.append(name + b": " + value)
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(b"\r\n".join([*head, b"", b""]) + rest)

    # ---- the requests' side

    def _next(self) -> None:
        request = self._current = self._waiting.popleft()
        self._has_served = True
        task = self._loop.create_task(self._serve(request))
        self.shared.tasks.add(task)
        task.add_done_callback(self.shared.tasks.discard)

    async def _serve(self, request: HttpRequest) -> None:
        try:
            await self.shared.app(request)
        except Exception as error:
            # The app supervises itself; this is for what even that lets through.
            logger.error("a request ended without its answer: %s", type(error).__name__)
        finally:
            if not request.is_done:
                # Half a response cannot be mended, and none is as bad.
                self.transport.abort()

    def answered(self, request: HttpRequest) -> None:
        """Note that a response is written to its end."""
        request.is_done = True
        request.take()
        self._current = None
        self._since = self._loop.time()
        if self.transport.is_closing():
            return
        if not request.keep_alive or self.shared.stopping:
            if request.is_complete():
                self.transport.close()
            else:
                self._linger()
            return
        # To a client that takes no answers none are added, or it could fill the memory with them.
        if not self._is_writing_paused:
            self._go_on()

    def _go_on(self) -> None:
        if self._waiting:
            self._next()
        if self._is_reading_paused and not self._waiting:
            self._resume_reading()

    def wanted(self, request: HttpRequest) -> None:
        """Have more of a body sent that the app waits for."""
        if request.expects_continue and not request.is_answered:
            # Once, and to no older client (RFC 9110 10.1.1).
            request.expects_continue = False
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._is_reading_paused:
            self._resume_reading()

    def write(self, data: bytes) -> None:
        """Write to the client; to one that is gone, nothing."""
        if not self.transport.is_closing():
            self.transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has taken enough of what was written."""
        if self._is_writing_paused:
            self._writable = self._loop.create_future()
            try:
                await self._writable
            finally:
                self._writable = None

    async def until_gone(self, work: Awaitable[None]) -> None:
        """Do something for as long as the client is there; writing to one that is gone raises nothing."""
        if self.transport.is_closing():
            work.close()  # type: ignore[attr-defined]
            return
        self._stream = asyncio.ensure_future(work)
        try:
            await asyncio.wait({self._stream})
        finally:
            stream, self._stream = self._stream, None
            stream.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stream

    # ---- the doors' side

    @property
    def is_idle(self) -> bool:
        """Whether nothing of a request or a response is under way."""
        return self._current is None and self.transport.get_write_buffer_size() == 0

    def look_after(self, now: float) -> None:
        """Close the connection when its client has been silent for too long; `now` is the loop's time."""
        unsent_bytes, before = self.transport.get_write_buffer_size(), self._unsent_bytes
        self._unsent_bytes = unsent_bytes
        if unsent_bytes:
            if unsent_bytes != before:
                self._since = now
            elif now - self._since > self.shared.limits.keep_alive_s:
                # It takes nothing of its answer, so there is no use in waiting until that is written.
                self.transport.abort()
            return
        if self._current is not None or self._is_refused:
            return
        is_waiting = self._has_served and not self._is_in_head and self._reading is None
        limits = self.shared.limits
        if now - self._since > (limits.keep_alive_s if is_waiting else limits.head_timeout_s):
            self.transport.close()

    def shutdown(self) -> None:
        """Close now when idle, else with the response under way."""
        if self._current is None:
            self.transport.close()
        else:
            self._current.keep_alive = False

    def refuse(self, status: int, reason: str) -> None:
        """Answer what is no request, and close."""
        self._is_refused = True
        self._waiting.clear()
        if self._current is not None:
            # A refusal now would be read as part of the response before it.
            self.transport.close()
            return
        self.shared.connections.discard(self)
        refuse(self.transport, self.shared, status, reason)

    def _linger(self) -> None:
        self.shared.connections.discard(self)
        self.transport.set_protocol(Lingering(self.transport, self.shared))
        _end_writing(self.transport)

    def _pause_reading(self) -> None:
        self._is_reading_paused = True
        self.transport.pause_reading()

    def _resume_reading(self) -> None:
        self._is_reading_paused = False
        self.transport.resume_reading()


class Lingering(asyncio.Protocol):
    """Let a refused client finish sending, unread, so that it gets to read why."""

    def __init__(self, transport: asyncio.Transport, shared: Shared) -> None:
        self._transport = transport
        self._shared = shared
        shared.lingering.add(transport)
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._shared.lingering.discard(self._transport)
        self._timer.cancel()


def refuse(transport: asyncio.Transport, shared: Shared, status: int, reason: str) -> None:
    """Answer with a line of text, and close once the client has had time to read it."""
    body = reason.encode("ascii", "replace") + b"\n"
    transport.set_protocol(Lingering(transport, shared))
    transport.write(
        b"%sContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
        % (_STATUS_LINES[status], len(body), body)
    )
    _end_writing(transport)


def _end_writing(transport: asyncio.Transport) -> None:
    if transport.can_write_eof():
        transport.write_eof()
    with contextlib.suppress(RuntimeError):
        transport.resume_reading()
