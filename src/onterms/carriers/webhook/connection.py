"""One connection to a customer's server: a request goes out in one write, its answer is read as it comes.

HTTP/1.1 without pipelining. A connection carries one exchange at a time and is idle between them; whatever comes while
it is idle ends it. The parser is httptools' (llhttp), which knows nothing of sizes and time, so both are bounded here:
the head and what frames the body by bytes, the body by `reading`, and the time by one timer that stays armed over many
exchanges and looks, when it fires, how long ago the server was last heard.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final

import httptools

from onterms.carriers.webhook.reading import BadBody, Body

RawHeader = tuple[bytes, bytes]

# Of all heads before the answer's, too: an endless row of 100 Continue is none. Browsers take up to 256 kB, and most
# servers send less than one.
HEAD_BYTES_MAX: Final = 65_536
# What arrives in larger pieces is read in such steps, so that no piece carries much more than its limit.
_STEP_BYTES: Final = 16_384
# A timer may fire by its resolution too early, and would then find that nothing is due yet.
_TIMER_SLACK_S: Final = 0.001

_KEEP_ALIVE_TIMEOUT: Final = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*([0-9]{1,6})", re.IGNORECASE)


class ExchangeFailed(Exception):
    """No answer came of a request: the root of what the connection, the pool and the resolver raise."""


class Disconnected(ExchangeFailed):
    """The connection ended before the answer's head was whole."""


class BrokenOff(ExchangeFailed):
    """The answer's body ended too early, or is malformed."""


class NotHttp(ExchangeFailed):
    """What came is no HTTP; the text says what is wrong with it."""


class NothingReceived(ExchangeFailed):
    """The server was silent for too long."""


class Response:
    """An answer.

    Shapes: `fields` has lower-case names and of each the first; `broken` says why the body is not there, beside a
    status and headers that are.
    """

    __slots__ = ("body", "broken", "fields", "headers", "is_cut", "status")

    def __init__(self, status: int, headers: list[RawHeader]) -> None:
        self.status = status
        self.headers = headers
        self.fields = {name.lower(): value for name, value in reversed(headers)}
        self.body = b""
        self.is_cut = False
        self.broken: Exception | None = None


class Connection(asyncio.Protocol):
    """A connection. `lost` is called once when it is no more."""

    __slots__ = (
        "_body", "_framing_bytes", "_head_bytes", "_headers", "_heard_at", "_is_complete", "_is_lost", "_keeps",
        "_limit_bytes", "_loop", "_lost", "_parser", "_read_s", "_response", "_timer", "_timer_at", "_transport",
        "_until", "_waiting", "idle_since", "keep_s",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, lost: Callable[["Connection"], None]) -> None:
        self._loop = loop
        self._lost = lost
        self._is_lost = False
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        # As browsers and other clients read: odd bytes in a header's value, LF for CRLF, blanks behind a chunk's size.
        # What may come of it stays on this connection, and nothing is forwarded.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._waiting: asyncio.Future[Response] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.idle_since = 0.0
        # How long the server said that it holds an idle connection.
        self.keep_s: float | None = None

    @property
    def is_usable(self) -> bool:
        """Whether another request may be written: nothing ended it, and nothing is left over from the one before."""
        transport = self._transport
        return transport is not None and not self._is_lost and not transport.is_closing() and self._waiting is None

    def request(self, data: bytes, limit_bytes: int, read_s: float, until: float) -> "asyncio.Future[Response]":
        """Write a request and return its answer to come; whoever stops waiting for it has to `abort`.

        Shapes: the body is read up to `limit_bytes`; `until` is the loop's time at which it has to be whole.
        Raises: the future raises Disconnected, NotHttp, NothingReceived, and TimeoutError for `until`.
        """
        assert self._transport is not None and self._waiting is None, "one exchange at a time"
        waiting = self._waiting = self._loop.create_future()
        self._headers: list[RawHeader] = []
        self._response: Response | None = None
        self._body: Body | None = None
        self._is_complete = False
        self._keeps = False
        self._head_bytes = self._framing_bytes = 0
        self._limit_bytes = limit_bytes
        self._read_s = read_s
        self._until = until
        self._heard_at = self._loop.time()
        if self._is_lost:
            self._fail(Disconnected())
        else:
            self._transport.write(data)
            self._arm()
        return waiting

    def abort(self) -> None:
        """End the connection now; the server hears nothing more."""
        if self._transport is not None:
            self._transport.abort()

    # ---- the transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits; an answer that has no other end is whole now."""
        self._is_lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting is not None:
            # Otherwise there may have been no request yet: its call was cancelled while this was being opened.
            response = self._response
            if response is None:
                self._fail(Disconnected())
            elif exc is None and _ends_with_the_connection(response):
                self._end()
            else:
                self._break(BrokenOff())
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if len(data) <= _STEP_BYTES:
            goes_on = self._read(data)
        else:
            goes_on = all([self._read(data[start : start + _STEP_BYTES]) for start in range(0, len(data), _STEP_BYTES)])
        if goes_on:
            self._heard_at = self._loop.time()

    def _read(self, data: bytes) -> bool:
        """Read a piece; True where the answer goes on."""
        if self._waiting is None:
            # Nobody asked: an answer to nothing, or a server that says why it closes.
            self.abort()
            return False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._keeps = False
        except httptools.HttpParserError:
            self._keeps = False
            if not self._is_complete:
                self._spoil("the answer is not HTTP")
                return False
        if self._is_complete:
            self._end()
            return False
        # The pieces that hold the last byte of the head, of a chunk or of the body count as well. The parser puts a
        # trailer together by copying it for each piece.
        if self._response is None:
            self._head_bytes += len(data)
        else:
            self._framing_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX or self._framing_bytes > HEAD_BYTES_MAX:
            self._spoil(f"the answer's headers are larger than {HEAD_BYTES_MAX} bytes")
            return False
        return True

    # ---- the parser's side

    def on_message_begin(self) -> None:
        """Note bytes behind the answer, which nobody asked for."""
        if self._is_complete:
            self._keeps = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. RFC 9110 6.5.1: what comes behind a chunked body must not pass for one."""
        if self._response is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Make the answer, or pass over what comes before it (RFC 9110 15.2)."""
        if self._is_complete:
            return
        parser = self._parser
        status = parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._headers = []
            return
        response = self._response = Response(status, self._headers)
        self._keeps = status != 101 and parser.should_keep_alive()
        fields = response.fields
        if b"keep-alive" in fields:
            found = _KEEP_ALIVE_TIMEOUT.search(fields[b"keep-alive"])
            self.keep_s = float(found[1]) if found else None
        if b"content-encoding" in fields:
            try:
                self._body = Body(fields[b"content-encoding"].decode("latin-1"), self._limit_bytes)
            except BadBody as bad:
                response.broken = bad
                self._is_complete = True
                self._keeps = False

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        response = self._response
        if self._is_complete or response is None:
            return
        body = self._body
        if body is None:
            body = self._body = Body("", self._limit_bytes)
        self._framing_bytes = 0
        try:
            body.receive(data)
        except BadBody as bad:
            response.broken = bad
        if body.is_cut or response.broken is not None:
            self._is_complete = True
            self._keeps = False

    def on_message_complete(self) -> None:
        """Note that the answer is whole, unless it was only one of those before it."""
        if self._response is not None:
            self._is_complete = True

    # ---- the end of an exchange

    def _end(self) -> None:
        response = self._response
        assert response is not None and self._transport is not None
        body = self._body
        if body is not None and response.broken is None:
            response.is_cut = body.is_cut
            try:
                response.body = body.whole()
            except BadBody as bad:
                response.broken = bad
        self._settle(response)

    def _spoil(self, why: str) -> None:
        """End an exchange over what the server sent."""
        if self._response is not None:
            self._break(BrokenOff())
        else:
            self._fail(NotHttp(why))

    def _break(self, error: Exception) -> None:
        response = self._response
        assert response is not None
        response.broken = error
        self._keeps = False
        self._settle(response)

    def _settle(self, response: Response) -> None:
        waiting, self._waiting = self._waiting, None
        assert waiting is not None and self._transport is not None
        # An answer that came before the request was sent to its end leaves the server in the middle of it.
        if self._keeps and not self._transport.get_write_buffer_size():
            self.idle_since = self._loop.time()
        else:
            self._transport.abort()
        # An idle connection holds on to nothing of it.
        self._response = self._body = None
        self._headers = []
        if not waiting.done():
            waiting.set_result(response)

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        self.abort()
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)

    # ---- time

    def _arm(self) -> None:
        at = min(self._heard_at + self._read_s, self._until) + _TIMER_SLACK_S
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiting is None:
            return
        now = self._loop.time()
        if now >= self._until:
            self._fail(TimeoutError())
        elif now >= self._heard_at + self._read_s:
            self._fail(NothingReceived())
        else:
            self._arm()


def _ends_with_the_connection(response: Response) -> bool:
    """RFC 9112 6.3: so does a body that has neither a length nor chunks."""
    coding = response.fields.get(b"transfer-encoding")
    if coding is not None:
        return not coding.strip().lower().endswith(b"chunked")
    return b"content-length" not in response.fields
