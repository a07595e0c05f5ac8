"""The client that calls customers' URLs.

One call is: attempts until one succeeds or the retry policy ends, each attempt a chain of exchanges (redirects, a
challenge for credentials), each exchange one request and one answer. Every exchange is signed for its own URL, judged
by the address guard at its own socket, bounded by the customer's timers, and recorded. Retries over minutes are the job
engine's matter; here only what the connection overrides ask for is done.
"""

import asyncio
import re
import secrets
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from onterms.carriers.webhook.auth import answer_challenge, basic
from onterms.carriers.webhook.failures import Failure, failure_of_exception, failure_of_status
from onterms.carriers.webhook.guard import AddressPolicy, Dial, current_dial, guarded_socket_factory
from onterms.carriers.webhook.lanes import Lanes, NoLane
from onterms.carriers.webhook.overrides import Overrides, parse_overrides
from onterms.carriers.webhook.reading import ACCEPTED_ENCODINGS, BadBody, read_body
from onterms.carriers.webhook.target import BadUrl, Target, parse_target, redirected, with_query
from onterms.core.clock import Clock
from onterms.ports.callback import BODY_KEPT_BYTES, TWIML_BYTES_MAX, Answer, Attempt, Callback, Method
from onterms.protocols.signature import SIGNATURE_HEADER, sign_form, sign_json, signed_url, with_body_sha256

# Captured traffic: Twilio's webhooks carry these two as they are.
USER_AGENT: Final = "TwilioProxy/1.1"
HOME_REGION: Final = "us1"

# Twilio docs, error 11216, name 301, 302, 303 and 307. 308 is the same promise as 307, and is followed too.
FOLLOWED: Final = frozenset({301, 302, 303, 307, 308})
# RFC 9110 15.4: after these a POST goes on as a GET, without its body.
BECOMES_GET: Final = frozenset({301, 302, 303})
# Twilio's number is not published; ten is aiohttp's and half of what browsers follow.
REDIRECTS_MAX: Final = 10

CONNECTIONS_MAX: Final = 100
CONNECTIONS_PER_HOST_MAX: Final = 20
# How long a call waits for its turn towards a busy host: as long as one slow answer takes.
LANE_WAIT_S: Final = 15.0
# Shorter than the 5 s of Node and uvicorn, so that we close an idle connection before the server does.
KEEP_ALIVE_S: Final = 4.0
TOO_LARGE: Final = 11750
# A name server that never answers holds a thread for seconds, and any customer can own one.
RESOLVER_THREADS: Final = 32
LOGINS_REMEMBERED_MAX: Final = 1024
HEADERS_KEPT_MAX: Final = 64
HEADER_KEPT_CHARS: Final = 1024

# RFC 6265 4.1.1
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COOKIE_VALUE = re.compile(r'[!-:<-\[\]-~]*|"[!-:<-\[\]-~]*"')
_BAD_COOKIE = re.compile(r"[\t\v\f\r\n]")
_URL_USERINFO = re.compile(r"//[^/?#@\s]*@")


@dataclass(slots=True)
class _Exchanged:
    """How one exchange ended."""

    url: str
    status: int | None = None
    headers: CIMultiDictProxy[str] = field(default_factory=lambda: CIMultiDictProxy(CIMultiDict()))
    body: bytes = b""
    failure: Failure | None = None
    following: Target | None = None


@dataclass(slots=True)
class _Call:
    """One call's state over its attempts."""

    callback: Callback
    overrides: Overrides
    home: tuple[str, str, int]
    remaining_s: float
    attempts: list[Attempt] = field(default_factory=list)
    set_cookies: list[str] = field(default_factory=list)


class WebhookClient:
    """Call customers' URLs over HTTP and HTTPS: a `CallbackClient`.

    Shapes: `ca_file` is a PEM bundle trusted beside the system's; `resolver` stands in for the system's in tests.
    `start` and `close`, or `async with`, inside the running loop.
    """

    def __init__(
        self,
        clock: Clock,
        policy: AddressPolicy,
        *,
        ca_file: str | None = None,
        resolver: AbstractResolver | None = None,
        connections_max: int = CONNECTIONS_MAX,
        connections_per_host_max: int = CONNECTIONS_PER_HOST_MAX,
        lane_wait_s: float = LANE_WAIT_S,
    ) -> None:
        self._clock = clock
        self._policy = policy
        self._ca_file = ca_file
        self._given_resolver = resolver
        self._lanes = Lanes(connections_max, connections_per_host_max, lane_wait_s)
        self._resolver: AbstractResolver | None = None
        self._session: aiohttp.ClientSession | None = None
        # Origins and users that asked for Basic before: they get it unasked, as Twilio stays logged in.
        self._logged_in: dict[tuple[tuple[str, str, int], str | None, str], None] = {}

    async def start(self) -> None:
        """Open the session."""
        assert self._session is None, "started twice"
        tls = ssl.create_default_context()
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._ca_file is not None:
            tls.load_verify_locations(cafile=self._ca_file)
        self._resolver = self._given_resolver or ThreadedResolver()
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            socket_factory=guarded_socket_factory(self._policy),
            ssl=tls,
            # The lanes bound it, before the timers start.
            limit=0,
            keepalive_timeout=KEEP_ALIVE_S,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            # Cookies are the caller's: they belong to a conversation, not to a host.
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections; calls that are under way fail."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._resolver is not None and self._resolver is not self._given_resolver:
            await self._resolver.close()
        self._resolver = None

    async def __aenter__(self) -> "WebhookClient":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def call(self, callback: Callback) -> Answer:
        """Make the call with its retries and return how it ended; never raises for what the other side does."""
        try:
            target = parse_target(callback.url)
        except BadUrl as bad:
            return self._not_called(callback, str(bad))
        overrides = parse_overrides(target.fragment)
        call = _Call(callback, overrides, target.origin, overrides.total_s)
        for _ in range(overrides.retries + 1):
            ended = await self._follow(call, target)
            if ended.failure is None or ended.failure.kind not in overrides.retry_on or call.remaining_s <= 0:
                break
        return Answer(
            status=ended.status,
            content_type=_text(ended.headers.get("Content-Type", "")),
            body=ended.body,
            headers={name.lower(): value for name, value in _kept_headers(ended.headers).items()},
            error_code=ended.failure.code if ended.failure else None,
            error=ended.failure.text if ended.failure else None,
            attempts=tuple(call.attempts),
            set_cookies=tuple(call.set_cookies),
            warnings=overrides.warnings,
        )

    def _not_called(self, callback: Callback, why: str) -> Answer:
        attempt = Attempt(
            url=_text(_URL_USERINFO.sub("//", signed_url(callback.url))),
            method=callback.method,
            started_at=self._clock.now(),
            duration_ms=0,
            status=None,
            error_code=11100,
            error=why,
            request_headers={},
            request_body="",
            response_headers={},
            response_body="",
        )
        return Answer(None, "", b"", {}, 11100, why, (attempt,))

    async def _follow(self, call: _Call, target: Target) -> _Exchanged:
        """Make one attempt: the request and the redirects it leads to."""
        method = call.callback.method
        if method == "GET":
            target = with_query(target, call.callback.params)
        for redirects_left in range(REDIRECTS_MAX, -1, -1):
            ended = await self._exchange_with_login(call, target, method, redirects_left)
            if ended.following is None:
                break
            target = ended.following
            if ended.status in BECOMES_GET:
                method = "GET"
        return ended

    async def _exchange_with_login(
        self, call: _Call, target: Target, method: Method, redirects_left: int
    ) -> _Exchanged:
        if target.user is None:
            return await self._exchange(call, target, method, redirects_left, None)
        login = (target.origin, target.user, target.password)
        if login in self._logged_in:
            ended = await self._exchange(call, target, method, redirects_left, basic(target.user, target.password))
            if ended.status == 401:
                # It may ask in another way by now: the next call starts with its challenge again.
                self._logged_in.pop(login, None)
            return ended
        ended = await self._exchange(call, target, method, redirects_left, None, may_be_challenged=True)
        if ended.status != 401 or ended.failure is not None:
            return ended
        answer = _answer(ended, target, method)
        assert answer is not None, "an exchange without an answer to its challenge has failed"
        ended = await self._exchange(call, target, method, redirects_left, answer)
        if ended.failure is None and answer.startswith("Basic"):
            if len(self._logged_in) >= LOGINS_REMEMBERED_MAX:
                self._logged_in.clear()
            self._logged_in[login] = None
        return ended

    async def _exchange(
        self,
        call: _Call,
        target: Target,
        method: Method,
        redirects_left: int,
        authorization: str | None,
        may_be_challenged: bool = False,
    ) -> _Exchanged:
        """Make one request, judge its answer and record both."""
        url, headers, body = self._request(call, target, method, authorization)
        started_at = self._clock.now()
        began = self._clock.monotonic()
        try:
            async with self._lanes.lane(target.origin):
                began = self._clock.monotonic()
                try:
                    ended = await self._send(call, target, url, method, headers, body)
                finally:
                    took_s = self._clock.monotonic() - began
                    call.remaining_s -= took_s
        except NoLane:
            took_s = self._clock.monotonic() - began
            ended = _Exchanged(url, failure=Failure(11205, "too many requests to the host are under way", "final"))
        self._judge(call, target, method, redirects_left, may_be_challenged, ended)
        shown = dict(headers)
        if authorization is not None:
            shown["Authorization"] = authorization.partition(" ")[0] + " ***"
        call.attempts.append(
            Attempt(
                url=url,
                method=method,
                started_at=started_at,
                duration_ms=round(took_s * 1000),
                status=ended.status,
                error_code=ended.failure.code if ended.failure else None,
                error=ended.failure.text if ended.failure else None,
                request_headers=shown,
                request_body=_kept_body(body or b""),
                response_headers=_kept_headers(ended.headers),
                response_body=_kept_body(ended.body),
            )
        )
        return ended

    def _request(
        self, call: _Call, target: Target, method: Method, authorization: str | None
    ) -> tuple[str, dict[str, str], bytes | None]:
        """Return the exact URL, the headers and the body of one exchange, signed."""
        callback = call.callback
        url = target.url
        body: bytes | None = None
        headers = {
            "Host": target.authority,
            "Accept": "*/*",
            "Accept-Encoding": ACCEPTED_ENCODINGS,
            "User-Agent": USER_AGENT,
            "I-Twilio-Idempotency-Token": callback.idempotency_token,
            "X-Home-Region": HOME_REGION,
        }
        if method == "GET":
            headers[SIGNATURE_HEADER] = sign_form(callback.signing_token, url)
        elif callback.json_body is not None:
            body = callback.json_body
            url = with_body_sha256(url, body)
            headers["Content-Type"] = "application/json"
            headers[SIGNATURE_HEADER] = sign_json(callback.signing_token, url)
        else:
            body = urlencode(callback.params).encode("ascii")
            headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"
            headers[SIGNATURE_HEADER] = sign_form(callback.signing_token, url, callback.params)
        if callback.cookies and target.origin == call.home:
            cookies = _cookie_header(callback.cookies)
            if cookies:
                headers["Cookie"] = cookies
        if authorization is not None:
            headers["Authorization"] = authorization
        return url, headers, body

    async def _send(
        self, call: _Call, target: Target, url: str, method: Method, headers: Mapping[str, str], body: bytes | None
    ) -> _Exchanged:
        overrides = call.overrides
        allowed_s = call.remaining_s
        dial = Dial(host_is_named=self._policy.names_host(target.host))
        timers = aiohttp.ClientTimeout(
            total=None, sock_connect=overrides.connect_s, sock_read=overrides.read_s, ceil_threshold=60
        )
        token = current_dial.set(dial)
        try:
            async with asyncio.timeout(max(0.0, allowed_s)):
                try:
                    return await self._request_once(url, method, headers, body, timers)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                    if dial.sockets or isinstance(error, aiohttp.ClientConnectorError):
                        raise
                    # The server closed a kept connection as we took it up (RFC 9112 9.3.1); what it may have read
                    # carries the same idempotency token.
                    return await self._request_once(url, method, headers, body, timers)
        except (aiohttp.ClientError, BadBody, OSError) as error:
            return _Exchanged(url, failure=failure_of_exception(error, dial, overrides, allowed_s))
        finally:
            current_dial.reset(token)

    async def _request_once(
        self, url: str, method: Method, headers: Mapping[str, str], body: bytes | None, timers: aiohttp.ClientTimeout
    ) -> _Exchanged:
        assert self._session is not None, "not started"
        async with self._session.request(
            method, URL(url, encoded=True), data=body, headers=headers, allow_redirects=False, timeout=timers
        ) as response:
            ended = _Exchanged(url, status=response.status, headers=response.headers)
            try:
                ended.body, is_cut = await read_body(response, TWIML_BYTES_MAX)
            except (aiohttp.ClientPayloadError, BadBody):
                # A status that is a failure already says more than its page does.
                if response.status < 400:
                    raise
                response.close()
                return ended
            if is_cut and 200 <= response.status < 300:
                ended.failure = Failure(TOO_LARGE, f"the answer is larger than {TWIML_BYTES_MAX} bytes", "final")
            return ended

    def _judge(
        self,
        call: _Call,
        target: Target,
        method: Method,
        redirects_left: int,
        may_be_challenged: bool,
        ended: _Exchanged,
    ) -> None:
        """Decide what an answer means: success, failure, or another request."""
        if ended.status is None:
            return
        if ended.failure is not None and ended.failure.code == TOO_LARGE and call.callback.expect == "ack":
            # Nobody reads the body of an acknowledgement, so its size is no fault.
            ended.failure = None
        cookies = ended.headers.getall("Set-Cookie", [])
        if any(_BAD_COOKIE.search(cookie) or not cookie.partition("=")[0].strip() for cookie in cookies):
            # Twilio docs: error 11206.
            ended.failure = Failure(11206, "the answer sets a cookie that is malformed", "final")
            return
        if target.origin == call.home:
            call.set_cookies += [_text(cookie) for cookie in cookies]
        if ended.failure is not None:
            return
        if ended.status in FOLLOWED:
            location = ended.headers.get("Location", "").strip()
            if not location:
                ended.failure = Failure(11216, "the redirect has no Location", "final")
            elif not redirects_left:
                ended.failure = Failure(11215, f"more than {REDIRECTS_MAX} redirects", "final")
            else:
                try:
                    ended.following = redirected(target, location)
                except BadUrl as bad:
                    ended.failure = Failure(11216, f"the redirect cannot be followed: {bad}", "final")
            return
        if may_be_challenged and ended.status == 401 and _answer(ended, target, method) is not None:
            return
        ended.failure = failure_of_status(ended.status)


class ThreadedResolver(AbstractResolver):
    """Resolve in threads of its own, so that slow name servers hold up webhooks only."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="webhook-resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        def look_up() -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str | int, ...]]]:
            found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            return found  # type: ignore[return-value]  # typeshed lists an address form that only Windows pipes have

        infos = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found_family,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, proto, _, address in infos
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _answer(ended: _Exchanged, target: Target, method: Method) -> str | None:
    resource = "/" + ended.url.split("/", 3)[3]
    challenges = ended.headers.getall("WWW-Authenticate", [])
    return answer_challenge(challenges, target.user or "", target.password, method, resource, secrets.token_hex(8))


def _cookie_header(cookies: Mapping[str, str]) -> str:
    # A cookie that could end the header, or pass for another one, is left out.
    return "; ".join(
        f"{name}={value}"
        for name, value in cookies.items()
        if _COOKIE_NAME.fullmatch(name) and _COOKIE_VALUE.fullmatch(value)
    )


def _text(value: str) -> str:
    """Make text storable: a NUL has no place in PostgreSQL's text, a lone surrogate none in UTF-8."""
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _kept_body(body: bytes) -> str:
    return body[:BODY_KEPT_BYTES].decode("utf-8", "replace").replace("\x00", "\ufffd")


def _kept_headers(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in headers.items():
        if name not in kept and len(kept) >= HEADERS_KEPT_MAX:
            break
        shown = _text(_URL_USERINFO.sub("//", value) if name.lower() in ("location", "refresh", "link") else value)
        kept[name] = f"{kept[name]}, {shown}"[:HEADER_KEPT_CHARS] if name in kept else shown[:HEADER_KEPT_CHARS]
    return kept
