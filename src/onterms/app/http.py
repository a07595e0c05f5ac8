"""The HTTP edge: one app for every door.

It reads the request, chooses between the contract's engine (by Host) and our own routes, and writes the response. It is
the one supervisor of requests: whatever a room raises that is no refusal is logged and answered with 500.
"""

import asyncio
import base64
import binascii
import ipaddress
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import unquote

import asyncpg

from onterms.app import hosts
from onterms.app.http1 import Disconnected, HttpRequest
from onterms.carriers.webhook import USER_AGENT
from onterms.core.clock import Clock
from onterms.core.db import Database
from onterms.core.errors import (
    AuthenticationFailed,
    Forbidden,
    InvalidParameter,
    NotFound,
    PayloadTooLarge,
    Refusal,
    Unavailable,
)
from onterms.core.ids import new_random_sid
from onterms.engines.api import Caller, Engine, Gatekeeper, OwnReply, OwnRequest, OwnRoute, Request
from onterms.engines.api.parameters import decode_json, decode_pairs
from onterms.engines.api.rendering import error_body, to_json

_log = logging.getLogger("onterms.http")

# The largest form of the contract is a TwiML of some kilobytes; media goes by URL.
BODY_BYTES_MAX = 1024 * 1024
# Ours: a client that is still sending when it is refused sees a broken connection and no answer, so this much more of a
# body that is too large is read and thrown away.
DRAINED_BYTES_MAX = 8 * 1024 * 1024
# Ours: a client that dribbles its body holds a connection no longer than this.
BODY_TIMEOUT_S = 30.0
_CLOSE = (("Connection", "close"),)
# What proxies add: whoever is behind one is not on this machine, though the connection is.
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"})
_FETCHER = USER_AGENT.encode()
# The database is away, stopping or out of room. A commit whose answer was lost may have been done all the same.
_OUTAGES = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
)
_PARAMETER = re.compile(r"\{(\w+)\}")
_HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


@lru_cache(maxsize=256)
def _canonical(host_header: str) -> str | None:
    return hosts.canonical(host_header or None)


class Keyring(Gatekeeper, Protocol):
    """The gatekeeper, who also knows the operator."""

    async def is_operator(self, key: str) -> bool:
        """Tell whether a key is the operator's."""
        ...


@dataclass(frozen=True, slots=True)
class _Own:
    route: OwnRoute
    match: Callable[[str], re.Match[str] | None]


class Edge:
    """The app.

    `ready` says whether everything behind runs; `/healthz` answers by it. `session_valid` recognises the first page's
    cookie. `require_place` refuses accounts that call from where nobody may; `is_link_domain` knows customers' short
    domains.
    """

    def __init__(
        self,
        engine: Engine,
        database: Database,
        clock: Clock,
        keyring: Keyring,
        *,
        sandbox: bool,
        ready: Callable[[], Awaitable[bool]],
        session_valid: Callable[[Mapping[bytes, bytes]], bool],
        require_place: Callable[[Caller, str | None], Awaitable[None]] | None = None,
        open_file: Callable[[str], Awaitable[str | None]] | None = None,
        is_link_domain: Callable[[str], bool] = lambda host: False,
    ) -> None:
        self._engine = engine
        self._database = database
        self._clock = clock
        self._keyring = keyring
        self._sandbox = sandbox
        self._ready = ready
        self._session_valid = session_valid
        self._require_place = require_place
        self._open_file = open_file
        self._is_link_domain = is_link_domain
        # Own routes by the first segment of their path.
        self._own: dict[str, list[_Own]] = {}

    def mount(self, routes: Sequence[OwnRoute]) -> None:
        """Add routes of our own."""
        for route in routes:
            pattern = _PARAMETER.sub(r"(?P<\1>[^/]+)", route.pattern)
            first = route.pattern.split("/")[1]
            self._own.setdefault(first, []).append(_Own(route, re.compile(pattern + "/?$").match))

    @property
    def own_routes(self) -> list[OwnRoute]:
        """Every route of our own."""
        return [own.route for entries in self._own.values() for own in entries]

    async def __call__(self, incoming: HttpRequest) -> None:
        """Answer one request."""
        path = incoming.path
        headers = incoming.fields
        host_header = headers.get(b"host", b"").decode("latin-1")
        host = _canonical(host_header)
        try:
            if host is None and self._is_link_domain(host_header):
                # Nothing but short links is under a customer's own domain.
                await self._answer_own(self._own["l"], incoming, f"/l{path}", headers, host_header)
                return
            if host is None or not self._engine.router.knows(host):
                raise NotFound(f"This server does not answer for {host_header[:200]}")
            path = hosts.strip_region_door(path)
            if host == hosts.DEFAULT_HOST:
                first = path.split("/", 2)[1] if path.startswith("/") else ""
                if first == "healthz":
                    await self._health(incoming)
                    return
                entries = self._own.get(first)
                if entries is not None:
                    await self._answer_own(entries, incoming, path, headers, host_header)
                    return
            if self._open_file is not None and b"authorization" not in headers and incoming.method in ("GET", "HEAD"):
                link = await self._open_file(path)
                if link is not None:
                    incoming.respond(307, [(b"location", link.encode("latin-1"))], b"")
                    return
            body = await _read_body(incoming, BODY_BYTES_MAX)
            request = Request(incoming.method, host, path, incoming.query, headers, body, incoming.peer)
            response = await self._engine.handle(request)
            incoming.respond(response.status, response.headers, response.body)
        except Disconnected:
            return
        except Refusal as refusal:
            _respond_json(incoming, refusal.status, to_json(error_body(refusal)), refusal.headers)
        except Exception as error:
            # The supervisor: a bug or a database that is gone. The error's text may quote customers' data, so the log
            # has its type and place only.
            place = "".join(traceback.format_tb(error.__traceback__))
            _log.error("request failed: %s %s: %s\n%s", incoming.method, _masked(path), type(error).__name__, place)
            if incoming.is_answered:
                return
            outage = isinstance(error, _OUTAGES)
            refused: Refusal = (
                Unavailable("The service cannot answer now")
                if outage
                else Refusal("An internal error happened; it was logged", code=20500, status=500)
            )
            _respond_json(incoming, refused.status, to_json(error_body(refused)))

    async def _health(self, incoming: HttpRequest) -> None:
        ready = await self._ready()
        _respond_json(incoming, 200 if ready else 503, to_json({"status": "ok" if ready else "starting"}))

    async def _answer_own(
        self,
        entries: Sequence[_Own],
        incoming: HttpRequest,
        path: str,
        headers: Mapping[bytes, bytes],
        host_header: str,
    ) -> None:
        method = "GET" if incoming.method == "HEAD" else incoming.method
        found = [(entry.route, match) for entry in entries if (match := entry.match(path))]
        if not found:
            raise NotFound(f"The requested resource {path[:200]} was not found")
        chosen = next(((route, match) for route, match in found if route.method == method), None)
        if chosen is None:
            allowed = ", ".join(sorted({route.method for route, _ in found}))
            raise Refusal("Method not allowed", code=20004, status=405, headers=(("Allow", allowed),))
        route, match = chosen
        local = self._is_local(incoming, headers, host_header)
        caller, operator = await self._who(route, headers, local)
        if caller is not None and self._require_place is not None:
            await self._require_place(caller, incoming.peer)
        parts = {name: unquote(value).replace("\0", "\ufffd") for name, value in match.groupdict().items()}
        if route.before_body is not None:
            await route.before_body(
                OwnRequest(method, parts, {}, {}, self._clock.now(), headers=headers, peer=incoming.peer)
            )
        body = await _read_body(incoming, route.body_bytes_max)
        request = OwnRequest(
            method=method,
            path=parts,
            query=dict(decode_pairs(incoming.query)),
            body={} if route.takes_any else _form(body, headers) if route.takes_form else _json_object(body),
            at=self._clock.now(),
            caller=caller,
            operator=operator,
            headers=headers,
            local=local,
            peer=incoming.peer,
            request_id=new_random_sid("RQ"),
            raw_body=body,
        )
        if route.free_handler is not None:
            reply = await route.free_handler(request)
        else:
            assert route.handler is not None
            async with self._database.transaction() as tx:
                reply = await route.handler(tx, request)
        await _respond_own(incoming, reply)

    def _is_local(self, incoming: HttpRequest, headers: Mapping[bytes, bytes], host_header: str) -> bool:
        """Tell a person or program on this machine from somebody elsewhere who makes one of them ask.

        The Host must be loopback (else a name that resolves here would do), a browser's request must come from our own
        page, and what a proxy forwards or one of our own fetchers asks for, whose URLs are customers', is not local.
        """
        if not self._sandbox or not _names_loopback(host_header):
            return False
        if not _FORWARDED.isdisjoint(headers) or headers.get(b"user-agent") == _FETCHER:
            return False
        # RFC 9112 3.2: of two Host headers nobody knows which one the other side of a proxy went by.
        if sum(name == b"host" for name, _ in incoming.headers) != 1:
            return False
        if incoming.peer is None or not _is_loopback(incoming.peer):
            return False
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") != f"{incoming.scheme}://{host_header}":
            return False
        return headers.get(b"sec-fetch-site") in (None, b"none", b"same-origin")

    async def _who(self, route: OwnRoute, headers: Mapping[bytes, bytes], local: bool) -> tuple[Caller | None, bool]:
        """Find who calls one of our own routes, or refuse."""
        if route.access == "open":
            return None, self._session_valid(headers)
        authorization = headers.get(b"authorization")
        if route.access in ("sandbox", "machine") and (local or self._session_valid(headers)):
            return None, not local
        if authorization is None:
            raise AuthenticationFailed("Authenticate", headers=(("WWW-Authenticate", 'Basic realm="onterms"'),))
        key = _operator_key(authorization)
        if (
            route.access in ("operator", "sandbox", "machine", "customer")
            and key is not None
            and await self._keyring.is_operator(key)
        ):
            return None, True
        caller = self._keyring.known(authorization) or await self._keyring.authenticate(authorization)
        if route.access in ("operator", "machine"):
            raise Forbidden("This needs the operator key")
        return caller, False


def _operator_key(authorization: bytes) -> str | None:
    """Read the operator key from `Bearer KEY` or Basic with the user name operator."""
    scheme, _, value = authorization.decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            username, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return secret if username == "operator" else None
    return None


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _names_loopback(host_header: str) -> bool:
    if not _HOST_AND_PORT.fullmatch(host_header):
        return False
    name = hosts.hostname(host_header)
    return name == "localhost" or _is_loopback(name)


def _form(body: bytes, headers: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if body and kind != b"application/x-www-form-urlencoded":
        raise InvalidParameter("The request body must be a form")
    return dict(decode_pairs(body))


def _json_object(body: bytes) -> Mapping[str, Any]:
    if not body:
        return {}
    try:
        value = decode_json(body)
    except ValueError as error:
        raise InvalidParameter("The request body is not JSON") from error
    if not isinstance(value, dict):
        raise InvalidParameter("The request body must be a JSON object")
    return value


async def _read_body(incoming: HttpRequest, limit: int) -> bytes:
    if incoming.is_complete():
        body = incoming.take()
        if len(body) > limit:
            raise _too_large(limit)
        return body
    length = incoming.fields.get(b"content-length", b"")
    announced = int(length) if length.isdigit() else 0
    # Who asks first (RFC 9110 10.1.1) has sent nothing yet, and of a flood nothing is read.
    if announced > limit and (b"expect" in incoming.fields or announced > limit + DRAINED_BYTES_MAX):
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while size <= limit + DRAINED_BYTES_MAX:
                is_last = incoming.is_complete()
                chunk = incoming.take()
                size += len(chunk)
                if size <= limit:
                    chunks.append(chunk)
                if is_last:
                    break
                await incoming.more()
    except TimeoutError:
        raise Refusal("The request body did not come in time", code=20408, status=408, headers=_CLOSE) from None
    if size > limit:
        raise _too_large(limit)
    return b"".join(chunks)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body may have at most {limit} bytes", headers=_CLOSE)


def _respond_json(incoming: HttpRequest, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
    extra = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    incoming.respond(status, [(b"content-type", b"application/json"), *extra], body)


async def _respond_own(incoming: HttpRequest, reply: OwnReply) -> None:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers]
    headers.append((b"content-type", reply.content_type.encode()))
    if reply.stream is not None:
        await incoming.stream(reply.status, headers, reply.stream)
        return
    body = reply.raw if reply.raw is not None else b"" if reply.status == 204 else to_json(reply.body)
    incoming.respond(reply.status, headers, body)


def _masked(path: str) -> str:
    """Keep a path's shape for the log without the ids in it."""
    return re.sub(r"\b([A-Z]{2})[0-9a-f]{32}\b", r"\1...", path[:200])
