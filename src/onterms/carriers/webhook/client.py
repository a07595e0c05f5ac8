"""The client that calls customers' URLs.

One call is: attempts until one succeeds or the retry policy ends, each attempt a chain of exchanges (redirects, a
challenge for credentials), each exchange one request and one answer. Every exchange is signed for its own URL, judged
by the address guard at its own socket, bounded by the customer's timers, and recorded. Retries over minutes are the job
engine's matter; here only what the connection overrides ask for is done.
"""

import asyncio
import re
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from aiohttp.abc import AbstractResolver

from onterms.carriers.webhook.auth import answer_challenge, basic
from onterms.carriers.webhook.connection import Connection, Disconnected, ExchangeFailed, RawHeader
from onterms.carriers.webhook.failures import Failure, failure_of_exception, failure_of_status
from onterms.carriers.webhook.form import encoded
from onterms.carriers.webhook.guard import AddressPolicy, Dial
from onterms.carriers.webhook.lanes import Lanes, NoLane
from onterms.carriers.webhook.overrides import Overrides, parse_overrides
from onterms.carriers.webhook.pool import KEEP_ALIVE_S, Pool
from onterms.carriers.webhook.reading import ACCEPTED_ENCODINGS
from onterms.carriers.webhook.resolver import NAMES_KEPT_S, Names, ThreadedResolver
from onterms.carriers.webhook.shown import (
    Shown,
    body_text,
    decoded,
    lower_case_headers,
    request_headers,
    response_headers,
    text,
    without_userinfo,
)
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
TOO_LARGE: Final = 11750
LOGINS_REMEMBERED_MAX: Final = 1024
# URLs whose parts are at hand; longer ones than anybody writes are taken apart each time.
URLS_KEPT_MAX: Final = 2048
URL_KEPT_CHARS: Final = 2048

# RFC 6265 4.1.1
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COOKIE_VALUE = re.compile(r'[!-:<-\[\]-~]*|"[!-:<-\[\]-~]*"')
_BAD_COOKIE = re.compile(r"[\t\v\f\r\n]")

_FIELDS: Final = (
    "Accept: */*\r\n"
    f"Accept-Encoding: {ACCEPTED_ENCODINGS}\r\n"
    f"User-Agent: {USER_AGENT}\r\n"
    f"X-Home-Region: {HOME_REGION}\r\n"
)
_FORM: Final = "Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
_JSON: Final = "Content-Type: application/json\r\n"
# The request line, Host, the four of _FIELDS, token and signature.
_LINES: Final = 8
_NO_DIAL: Final = Dial()
_NO_FIELDS: Final[Mapping[bytes, bytes]] = {}


class _Exchanged:
    """How one exchange ended."""

    __slots__ = ("body", "failure", "fields", "following", "headers", "status", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.status: int | None = None
        self.headers: list[RawHeader] = []
        # Lower-case names, of each the first.
        self.fields: Mapping[bytes, bytes] = _NO_FIELDS
        self.body = b""
        self.failure: Failure | None = None
        self.following: Target | None = None

    def all_of(self, name: bytes) -> list[str]:
        """Return the values of a header."""
        if name not in self.fields:
            return []
        return [decoded(value) for given, value in self.headers if given.lower() == name]


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
        keep_alive_s: float = KEEP_ALIVE_S,
        names_kept_s: float = NAMES_KEPT_S,
    ) -> None:
        self._clock = clock
        self._policy = policy
        self._ca_file = ca_file
        self._given_resolver = resolver
        self._keep_alive_s = keep_alive_s
        self._names_kept_s = names_kept_s
        self._lanes = Lanes(connections_max, connections_per_host_max, lane_wait_s)
        self._resolver: AbstractResolver | None = None
        self._names: Names | None = None
        self._pool: Pool | None = None
        # Origins and users that asked for Basic before: they get it unasked, as Twilio stays logged in.
        self._logged_in: dict[tuple[tuple[str, str, int], str | None, str], None] = {}

    async def start(self) -> None:
        """Be ready to connect."""
        assert self._pool is None or self._pool.is_closed, "started twice"
        tls = ssl.create_default_context()
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._ca_file is not None:
            tls.load_verify_locations(cafile=self._ca_file)
        self._loop = asyncio.get_running_loop()
        self._resolver = self._given_resolver or ThreadedResolver()
        self._names = Names(self._resolver, self._names_kept_s)
        self._pool = Pool(self._policy, self._names, tls, self._keep_alive_s)

    async def close(self) -> None:
        """Close the connections; calls that are under way fail."""
        if self._pool is not None:
            await self._pool.close()
        if self._names is not None:
            await self._names.close()
            self._names = None
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
            url = callback.url
            target, overrides = _parts(url) if len(url) <= URL_KEPT_CHARS else _parts.__wrapped__(url)
        except BadUrl as bad:
            return self._not_called(callback, str(bad))
        call = _Call(callback, overrides, target.origin, overrides.total_s)
        for _ in range(overrides.retries + 1):
            ended = await self._follow(call, target)
            if ended.failure is None or ended.failure.kind not in overrides.retry_on or call.remaining_s <= 0:
                break
        failure = ended.failure
        return Answer(
            ended.status,
            text(ended.fields.get(b"content-type", b"")),
            ended.body,
            Shown(lower_case_headers, ended.headers),
            failure.code if failure is not None else None,
            failure.text if failure is not None else None,
            tuple(call.attempts),
            tuple(call.set_cookies),
            overrides.warnings,
        )

    def _not_called(self, callback: Callback, why: str) -> Answer:
        attempt = Attempt(
            url=text(without_userinfo(signed_url(callback.url))),
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
            if target.user is None:
                ended = await self._exchange(call, target, method, redirects_left, None)
            else:
                ended = await self._exchange_with_login(call, target, target.user, method, redirects_left)
            if ended.following is None:
                break
            target = ended.following
            if ended.status in BECOMES_GET:
                method = "GET"
        return ended

    async def _exchange_with_login(
        self, call: _Call, target: Target, user: str, method: Method, redirects_left: int
    ) -> _Exchanged:
        login = (target.origin, user, target.password)
        if login in self._logged_in:
            ended = await self._exchange(call, target, method, redirects_left, basic(user, target.password))
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
        url, head, body = self._request(call, target, method)
        clock, lanes, origin = self._clock, self._lanes, target.origin
        started_at = clock.now()
        began = clock.monotonic()
        try:
            if not lanes.take_free(origin):
                await lanes.take(origin)
                began = clock.monotonic()
            try:
                ended = await self._send(call, target, url, _written(head, body, authorization))
            finally:
                took_s = clock.monotonic() - began
                call.remaining_s -= took_s
                lanes.give_back(origin)
        except NoLane:
            took_s = clock.monotonic() - began
            ended = _Exchanged(url)
            ended.failure = Failure(11205, "too many requests to the host are under way", "final")
        self._judge(call, target, method, redirects_left, may_be_challenged, ended)
        failure = ended.failure
        call.attempts.append(
            Attempt(
                url,
                method,
                started_at,
                round(took_s * 1000),
                ended.status,
                failure.code if failure is not None else None,
                failure.text if failure is not None else None,
                Shown(request_headers, head, authorization and authorization.partition(" ")[0]),
                body[:BODY_KEPT_BYTES] if isinstance(body, str) else body_text(body),
                Shown(response_headers, ended.headers),
                body_text(ended.body),
            )
        )
        return ended

    def _request(self, call: _Call, target: Target, method: Method) -> tuple[str, str, str | bytes]:
        """Return the exact URL, the head without credentials and the body of one exchange, signed."""
        callback = call.callback
        url = target.url
        body: str | bytes = ""
        kind = length = cookies = ""
        if method == "GET":
            signature = sign_form(callback.signing_token, url)
        else:
            if callback.json_body is not None:
                body = callback.json_body
                url = with_body_sha256(url, body)
                kind = _JSON
                signature = sign_json(callback.signing_token, url)
            else:
                body = encoded(callback.params)
                kind = _FORM
                signature = sign_form(callback.signing_token, url, callback.params)
            length = f"Content-Length: {len(body)}\r\n"
        if callback.cookies and target.origin == call.home:
            cookies = _cookie_header(callback.cookies)
        head = (
            f"{method} {target.resource(url)} HTTP/1.1\r\nHost: {target.authority}\r\n{_FIELDS}"
            f"I-Twilio-Idempotency-Token: {callback.idempotency_token}\r\n{kind}{SIGNATURE_HEADER}: {signature}\r\n"
            f"{cookies}{length}"
        )
        # A line break in a value would begin a header, or a request, of somebody else's making.
        lines = _LINES + bool(kind) + bool(cookies) + bool(length)
        assert head.count("\n") == lines == head.count("\r"), "no header holds a line break"
        return url, head, body

    async def _send(self, call: _Call, target: Target, url: str, data: bytes) -> _Exchanged:
        pool = self._pool
        assert pool is not None, "not started"
        overrides = call.overrides
        allowed_s = call.remaining_s
        until = self._loop.time() + allowed_s
        dial = _NO_DIAL
        connection: Connection | None = None
        ended = _Exchanged(url)
        try:
            if allowed_s <= 0:
                raise TimeoutError
            connection = pool.take(target.origin)
            response = None
            if connection is not None:
                try:
                    response = await connection.request(data, TWIML_BYTES_MAX, overrides.read_s, until)
                except Disconnected:
                    # The server closed a kept connection as we took it up (RFC 9112 9.3.1); what it may have read
                    # carries the same idempotency token.
                    connection = None
            if response is None:
                dial = Dial(host_is_named=self._policy.names_host(target.host))
                async with asyncio.timeout_at(until):
                    connection = await pool.dial(target, dial, overrides.connect_s)
                response = await connection.request(data, TWIML_BYTES_MAX, overrides.read_s, until)
            assert connection is not None
            pool.give_back(target.origin, connection)
        except asyncio.CancelledError:
            if connection is not None:
                connection.abort()
            raise
        except (ExchangeFailed, OSError) as error:
            ended.failure = failure_of_exception(error, dial, overrides, allowed_s)
            return ended
        # A status that is a failure already says more than its page does.
        if response.broken is not None and response.status < 400:
            ended.failure = failure_of_exception(response.broken, dial, overrides, allowed_s)
            return ended
        ended.status = response.status
        ended.headers = response.headers
        ended.fields = response.fields
        ended.body = response.body
        if response.is_cut and 200 <= response.status < 300:
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
        cookies = ended.all_of(b"set-cookie")
        if cookies and any(_BAD_COOKIE.search(cookie) or not cookie.partition("=")[0].strip() for cookie in cookies):
            # Twilio docs: error 11206.
            ended.failure = Failure(11206, "the answer sets a cookie that is malformed", "final")
            return
        if cookies and target.origin == call.home:
            call.set_cookies += [text(cookie) for cookie in cookies]
        if ended.failure is not None:
            return
        if ended.status in FOLLOWED:
            location = decoded(ended.fields.get(b"location", b"")).strip()
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


@lru_cache(maxsize=URLS_KEPT_MAX)
def _parts(url: str) -> tuple[Target, Overrides]:
    target = parse_target(url)
    return target, parse_overrides(target.fragment)


def _written(head: str, body: str | bytes, authorization: str | None) -> bytes:
    if authorization is not None:
        head = f"{head}Authorization: {authorization}\r\n"
    if isinstance(body, str):
        return f"{head}\r\n{body}".encode("utf-8", "surrogateescape")
    return head.encode("utf-8", "surrogateescape") + b"\r\n" + body


def _answer(ended: _Exchanged, target: Target, method: Method) -> str | None:
    resource = "/" + ended.url.split("/", 3)[3]
    challenges = ended.all_of(b"www-authenticate")
    return answer_challenge(challenges, target.user or "", target.password, method, resource, secrets.token_hex(8))


def _cookie_header(cookies: Mapping[str, str]) -> str:
    # A cookie that could end the header, or pass for another one, is left out.
    pairs = "; ".join(
        f"{name}={value}"
        for name, value in cookies.items()
        if _COOKIE_NAME.fullmatch(name) and _COOKIE_VALUE.fullmatch(value)
    )
    return f"Cookie: {pairs}\r\n" if pairs else ""
