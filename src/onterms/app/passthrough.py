"""Carry proxy clients to the hosts that are not ours: parse what they ask for, reach it, and pipe bytes both ways.

A forwarded request is rewritten to one request on one connection (`Connection: close`), so nothing has to be known
about where its response ends: the connection's end is the response's end.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# RFC 9110 7.6.1 and the older Proxy-Connection: what belongs to the client's connection with us and goes no further.
_HOP_HEADERS: Final = frozenset({b"connection", b"keep-alive", b"upgrade", b"http2-settings", b"te"})
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

# RFC 6052 2.1, RFC 8215, RFC 3056, RFC 4380: IPv6 addresses that carry an IPv4 address, which may be a private one.
_EMBEDDING: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotCarried(Exception):
    """A proxy request is answered by the proxy itself, with this status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Target:
    """The host and port that a proxy client asks for."""

    host: str
    port: int

    @classmethod
    def parse(cls, authority: bytes, default_port: int | None = None) -> Target:
        """Read `host:port`, `[v6]:port`, and where there is a default port, `host`.

        Raises: NotCarried.
        """
        text = authority.decode("latin-1")
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            # Anything but a port after the bracket is not an authority (RFC 3986 3.2).
            valid = bool(bracket) and is_address(host) and (rest == "" or rest.startswith(":"))
            port = rest[1:]
        else:
            host, _, port = text.partition(":")
            valid = 0 < len(host) <= 253 and all(c.isascii() and (c.isalnum() or c in "-._") for c in host)
        if valid and not port and default_port is not None:
            return cls(host.lower(), default_port)
        if not valid or not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
            raise NotCarried(400, "The proxy was asked for something that is no host and port.")
        return cls(host.lower().removesuffix("."), int(port))


@dataclass(frozen=True)
class ForwardRequest:
    """A request whose target was an absolute URL, taken apart."""

    scheme: str
    target: Target
    head: bytes
    # None while only the end of a chunked body tells: then what the client sends is piped until it stops.
    body_bytes: int | None


def parse_forward(head: bytes, via: bool) -> ForwardRequest:
    """Rewrite a request head with an absolute URL into the one that the origin itself gets.

    Shapes: `head` is everything up to and without the empty line; the result ends with the empty line.
    Raises: NotCarried.
    """
    lines = head.split(b"\r\n")
    method, target_form, version = _request_line(lines[0])
    scheme, separator, rest = target_form.partition(b"://")
    scheme = scheme.lower()
    if not separator or scheme not in (b"http", b"https"):
        raise NotCarried(400, "The request's target is no http URL.")
    end = next((i for i, byte in enumerate(rest) if byte in b"/?#"), len(rest))
    authority, path = rest[:end], rest[end:].partition(b"#")[0]
    target = Target.parse(authority, default_port=443 if scheme == b"https" else 80)
    headers = [_header(line) for line in lines[1:]]
    named = {
        token.strip().lower() for name, value in headers if name.lower() == b"connection" for token in value.split(b",")
    }
    body_bytes = _body_bytes(headers)
    # RFC 9112 3.2.2: the URL's authority counts and a Host header beside it does not.
    out = [b"%s %s %s" % (method, path if path.startswith(b"/") else b"/" + path, version), b"Host: " + authority]
    for name, value in headers:
        lowered = name.lower()
        # What frames the body stays, even where a hostile Connection header names it.
        framing = lowered in (b"content-length", b"transfer-encoding")
        dropped = lowered == b"host" or lowered in _HOP_HEADERS or lowered.startswith(b"proxy-") or lowered in named
        if framing or not dropped:
            out.append(name + b": " + value)
    if via:
        out.append(b"Via: 1.1 onterms")  # RFC 9110 7.6.3
    out += [b"Connection: close", b"", b""]
    return ForwardRequest(scheme.decode(), target, b"\r\n".join(out), body_bytes)


def parse_connect(head: bytes) -> Target:
    """Read the target of a CONNECT request's head.

    Raises: NotCarried.
    """
    lines = head.split(b"\r\n")
    _, authority, _ = _request_line(lines[0])
    for line in lines[1:]:
        _header(line)
    return Target.parse(authority)


def may_carry(peer: str | None) -> bool:
    """Say whether a client at this address may be carried anywhere at all: an open proxy serves whoever abuses it."""
    address = _unwrapped(peer) if peer is not None else None
    return address is not None and not _is_public(address)


async def open_upstream(
    target: Target, factory: Callable[[], Half], *, peer: str | None, timeout_s: float
) -> asyncio.Transport:
    """Connect to the first of the target's addresses that answers and is allowed to this peer.

    Only a client on this machine reaches private addresses, which it could reach without us as well. The address that
    was checked is the one connected to, so a name cannot change its mind in between.
    Raises: NotCarried.
    """
    loop = asyncio.get_running_loop()
    client = _unwrapped(peer) if peer is not None else None
    private_too = client is not None and client.is_loopback
    deadline = loop.time() + timeout_s
    try:
        async with asyncio.timeout_at(deadline):
            found = await loop.getaddrinfo(target.host, target.port, type=1)  # SOCK_STREAM
    except TimeoutError:
        raise NotCarried(504, f"The name {target.host} was not resolved in time.") from None
    except (OSError, UnicodeError):
        raise NotCarried(502, f"The name {target.host} does not resolve.") from None
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    allowed = [text for text in addresses if private_too or _is_public_text(text)]
    if not allowed:
        raise NotCarried(403, f"{target.host} is a private address, and only clients on this machine reach those.")
    status = 502
    for tried, address in enumerate(allowed):
        # An address that swallows packets leaves its share of the time to the next one.
        share = (deadline - loop.time()) / (len(allowed) - tried)
        try:
            async with asyncio.timeout(max(share, 0.0)):
                transport, _ = await loop.create_connection(factory, address, target.port)
                return transport
        except TimeoutError:
            status = 504
        except OSError:
            status = 502
    raise NotCarried(status, f"{target.host}:{target.port} cannot be reached.")


class Tunnel:
    """Two connections whose bytes are each other's; it ends when both have ended, or idle for too long."""

    def __init__(self, *, idle_s: float, on_end: Callable[[Tunnel], None]) -> None:
        self.client = Half(self)
        self.upstream = Half(self)
        self.client.other, self.upstream.other = self.upstream, self.client
        self._loop = asyncio.get_running_loop()
        self._idle_s = idle_s
        self._on_end = on_end
        self._ended = False
        self._active_at = self._loop.time()
        self._timer = self._loop.call_later(idle_s, self._look)

    def join(self, transport: asyncio.Transport) -> None:
        """Take the client's connection, once the upstream one stands, and let the bytes flow."""
        transport.set_protocol(self.client)
        self.client.connection_made(transport)
        self.upstream.release()
        self.client.release()

    def touch(self) -> None:
        """Note that bytes have moved."""
        self._active_at = self._loop.time()

    def abort(self) -> None:
        """Drop both connections."""
        for half in (self.client, self.upstream):
            if half.transport is not None:
                half.transport.abort()
        self.end()

    def end(self) -> None:
        """Forget the tunnel, for its connections are gone."""
        if not self._ended:
            self._ended = True
            self._timer.cancel()
            self._on_end(self)

    def _look(self) -> None:
        idle_s = self._loop.time() - self._active_at
        if idle_s >= self._idle_s:
            self.abort()
        else:
            self._timer = self._loop.call_later(self._idle_s - idle_s, self._look)


class Half(asyncio.Protocol):
    """One of a tunnel's two connections: what it reads is written to the other, at the other's pace."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.other: Half
        # Set while the connection lives.
        self.transport: asyncio.Transport | None = None
        # What this side may still send; None is no limit.
        self.allowance_bytes: int | None = None
        # Read before the tunnel was joined: a server may speak first, and before its client knows that it is connected.
        self._held: bytes | None = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def release(self) -> None:
        """Pass on what was held, and everything from here on as it comes."""
        held, self._held = self._held, None
        if held:
            self.data_received(held)
        if self.transport is not None:
            self.transport.resume_reading()
        elif self.other.transport is not None:
            # It spoke and was gone again before the tunnel was joined.
            self.other.transport.close()

    def data_received(self, data: bytes) -> None:
        self._tunnel.touch()
        if self._held is not None:
            self._held += data
            # Here and not when connected, for uvloop starts to read only after it has said so.
            if self.transport is not None:
                self.transport.pause_reading()
            return
        if self.allowance_bytes is not None:
            data = data[: self.allowance_bytes]
            self.allowance_bytes -= len(data)
        transport = self.other.transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)

    def eof_received(self) -> bool:
        transport = self.other.transport
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()
            # This direction is over; the other one goes on.
            return True
        return False

    def pause_writing(self) -> None:
        transport = self.other.transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading()

    def resume_writing(self) -> None:
        transport = self.other.transport
        if transport is not None and not transport.is_closing():
            transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.other.transport is None:
            self._tunnel.end()
        else:
            # What was read is still delivered; a side that never takes it falls to the tunnel's idle timer.
            self.other.transport.close()


def is_address(text: str) -> bool:
    """Say whether the text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[0] or not _TOKEN.issuperset(parts[0]) or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise NotCarried(400, "The request line is malformed.")
    if not parts[1] or any(byte <= 0x20 or byte == 0x7F for byte in parts[1]):
        raise NotCarried(400, "The request line is malformed.")
    return parts[0], parts[1], parts[2]


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    # RFC 9112 5.1, 5.2: no space before the colon, no folded lines; a lone CR, LF or NUL reads differently elsewhere.
    if not colon or not name or not _TOKEN.issuperset(name) or any(byte in b"\r\n\0" for byte in value):
        raise NotCarried(400, "A header line is malformed.")
    return name, value.strip(b" \t")


def _body_bytes(headers: list[tuple[bytes, bytes]]) -> int | None:
    lengths = {value for name, value in headers if name.lower() == b"content-length"}
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in headers)
    if len(lengths) > 1 or (lengths and chunked) or not all(v.isdigit() and len(v) < 19 for v in lengths):
        # RFC 9112 6.3: two framings of one body are how requests are smuggled.
        raise NotCarried(400, "The length of the request's body is ambiguous.")
    if chunked:
        return None
    return int(lengths.pop()) if lengths else 0


def _unwrapped(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_public_text(text: str) -> bool:
    address = _unwrapped(text)
    return address is not None and _is_public(address)


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    return isinstance(address, ipaddress.IPv4Address) or not any(address in network for network in _EMBEDDING)
