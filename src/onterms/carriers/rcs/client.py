"""The way to the platform: requests over HTTPS, and access tokens kept until they run out."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

import aiohttp
import msgspec
from yarl import URL

from onterms.core.clock import Clock
from onterms.protocols import rbm

_log = logging.getLogger("onterms.rcs")

_ANSWER_BYTES_MAX: Final = 1024 * 1024
# Ours: a token is not used in its last seconds, when a request may take longer than it lives.
_TOKEN_MARGIN_S: Final = 60.0
_TOKEN_LIFE_S: Final = 3600.0
# Ours: how long nobody waits for a platform that did not answer in time.
_REST_S: Final = 5.0


class NotAsked(Exception):
    """The platform was not reached, so it did not get the request; the text says why."""


class NoAnswer(Exception):
    """The platform may have got the request and did not answer; the text says why."""


class Transport(Protocol):
    """Carries requests; paths are the platform's own."""

    async def __call__(self, request: rbm.Request, sent: Callable[[], None]) -> rbm.Answer:
        """Send one request and read its answer; `sent` is called as soon as the platform may have it.

        Raises: NotAsked, NoAnswer.
        """
        ...


class HttpTransport:
    """HTTPS to one platform. `close` ends its connections."""

    def __init__(self, base_url: str, *, timeout_s: float, concurrent_max: int) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._concurrent_max = concurrent_max
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, request: rbm.Request, sent: Callable[[], None]) -> rbm.Answer:
        """Send one request and read its answer.

        Raises: NotAsked, NoAnswer.
        """
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_note_sent)
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=self._concurrent_max),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
                trust_env=False,
            )
        is_out = False

        def note() -> None:
            nonlocal is_out
            is_out = True
            sent()

        url = request.url if "://" in request.url else self._base_url + request.url
        try:
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                data=request.body or None,
                headers=request.headers,
                trace_request_ctx=note,
                # A token must never be shown to whatever another address answers.
                allow_redirects=False,
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_chunked(65536):
                    body += chunk
                    if len(body) > _ANSWER_BYTES_MAX:
                        raise NoAnswer("the answer is too long")
                return rbm.Answer(response.status, bytes(body))
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            # What never left this machine is nowhere else.
            kind = NoAnswer if is_out else NotAsked
            raise kind(type(error).__name__) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _note_sent(session: Any, context: Any, params: Any) -> None:
    context.trace_request_ctx()


def unheard() -> None:
    """Nobody asks whether this request left."""


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = _TOKEN_LIFE_S


class Upstream:
    """One partner account at the platform: its requests carry tokens that its key was good for.

    Shapes: `clock` is the world's, for the platform's time is not a sandbox's.
    """

    def __init__(self, account: Callable[[], rbm.ServiceAccount], transport: Transport, clock: Clock) -> None:
        self._account = account
        self._transport = transport
        self._clock = clock
        self._token = ""
        self._good_until = 0.0
        self._fetching: asyncio.Task[str] | None = None
        self._rests_until = 0.0

    @property
    def is_resting(self) -> bool:
        """Whether the platform did not answer a moment ago, so that nobody waits for it just now."""
        return self._clock.monotonic() < self._rests_until

    def rest(self) -> None:
        """Leave the platform alone for a moment."""
        self._rests_until = self._clock.monotonic() + _REST_S

    async def ask(self, request: rbm.Request, sent: Callable[[], None] = unheard) -> rbm.Answer:
        """Send one request with a token; with a new one where the platform does not know the first any more.

        Raises: NotAsked also where no token is to be had; NoAnswer.
        """
        token = await self._current()
        answer = await self._transport(_with_token(request, token), sent)
        if answer.status != 401:
            return answer
        self._forget(token)
        return await self._transport(_with_token(request, await self._current()), sent)

    async def close(self) -> None:
        """Close the connections."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        if isinstance(self._transport, HttpTransport):
            await self._transport.close()

    def _forget(self, token: str) -> None:
        if self._token == token:
            self._token = ""

    async def _current(self) -> str:
        if self._token and self._clock.monotonic() < self._good_until:
            return self._token
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._renew())
        # One for all who wait, and who waits no longer does not end it for the others.
        return await asyncio.shield(self._fetching)

    async def _renew(self) -> str:
        self._token, life_s = await self._fetch()
        self._good_until = self._clock.monotonic() + max(life_s - _TOKEN_MARGIN_S, 0.0)
        return self._token

    async def _fetch(self) -> tuple[str, float]:
        # Signing with RSA takes a millisecond, seldom.
        account = self._account()
        assertion = account.assertion(int(self._clock.now().timestamp()))
        try:
            answer = await self._transport(rbm.token_request(account.token_url, assertion), unheard)
        except NoAnswer as error:
            # The request that needs the token was not sent.
            raise NotAsked(f"no token: {error}") from None
        if answer.status != 200:
            _log.error("the platform gives %s no token: HTTP %s", account.email, answer.status)
            raise NotAsked(f"no token: HTTP {answer.status}")
        try:
            token = msgspec.json.decode(answer.body, type=_Token)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise NotAsked("no token: the answer is not readable") from None
        if not token.access_token.isascii() or not token.access_token.isprintable():
            raise NotAsked("no token: the answer is not readable")
        return token.access_token, token.expires_in


def _with_token(request: rbm.Request, token: str) -> rbm.Request:
    headers = {**request.headers, "Authorization": f"Bearer {token}"}
    return rbm.Request(request.method, request.url, request.body, headers)
