"""Signing in to the page with the operator key: a signed cookie, nothing kept on the server but a count of failures."""

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from onterms.core.clock import Clock
from onterms.core.errors import AuthenticationFailed, Forbidden, InvalidParameter, TooManyRequests
from onterms.engines.api import OwnReply, OwnRequest

COOKIE: Final = "onterms_session"
LIFE: Final = timedelta(hours=12)
# The operator key is random, so this only keeps a guesser from costing us anything.
ATTEMPTS_MAX: Final = 10
ATTEMPTS_WINDOW_S: Final = 60.0
_KEY_CHARS_MAX: Final = 256


class Sessions:
    """Exchange the operator key for a cookie and recognise the cookie.

    Shapes: `clock` tells people's time, or moving a sandbox's clock by a day would sign out whoever moved it.
    """

    def __init__(self, key: bytes, clock: Clock, check_operator: Callable[[str], Awaitable[bool]]) -> None:
        # The same key may sign other things for whoever made it.
        self._key = hmac.digest(key, b"onterms page session", "sha256")
        self._form_key = hmac.digest(key, b"onterms page form", "sha256")
        self._clock = clock
        self._check_operator = check_operator
        self._attempts: deque[float] = deque()

    def valid(self, headers: Mapping[bytes, bytes]) -> bool:
        """Tell whether a request of our own page carries a session that has not ended."""
        # SameSite takes other ports and subdomains for the same site, so the cookie alone does not say who asks.
        return is_from_own_page(headers) and any(map(self._holds, _cookies(headers)))

    async def sign_in(self, request: OwnRequest) -> OwnReply:
        """Answer the operator key with a cookie.

        Raises: AuthenticationFailed, Forbidden, InvalidParameter, TooManyRequests.
        """
        if not is_from_own_page(request.headers):
            raise Forbidden("Sign in from this server's own page")
        # A form of another site can send anything but JSON.
        if not request.headers.get(b"content-type", b"").startswith(b"application/json"):
            raise InvalidParameter("The sign-in takes application/json")
        return OwnReply(None, 204, (await self.open(request),))

    async def open(self, request: OwnRequest) -> tuple[str, str]:
        """Return the header that sets the cookie, for a body with the operator key that came from our own page.

        Raises: AuthenticationFailed, Forbidden, InvalidParameter, TooManyRequests.
        """
        if not is_from_own_page(request.headers):
            raise Forbidden("Sign in from this server's own page")
        key = request.text("operator_key", max_length=_KEY_CHARS_MAX)
        # Only failures count, so that a guesser cannot lock the operator out; the key itself is beyond guessing.
        if not await self._check_operator(key):
            self._count_failure()
            raise AuthenticationFailed("This is not the operator key")
        return _set_cookie(request, self._issue(self._clock.now()), int(LIFE.total_seconds()))

    async def sign_out(self, request: OwnRequest) -> OwnReply:
        """Take the cookie back."""
        if not is_from_own_page(request.headers):
            raise Forbidden("Sign out from this server's own page")
        return OwnReply(None, 204, (self.close(request),))

    def close(self, request: OwnRequest) -> tuple[str, str]:
        """Return the header that takes the cookie back."""
        return _set_cookie(request, "", 0)

    def form_token(self, headers: Mapping[bytes, bytes]) -> str:
        """Return what each form of this session carries and no other site can know.

        Raises: Forbidden without a session.
        """
        for value in _cookies(headers):
            if self._holds(value):
                return hmac.digest(self._form_key, value, "sha256").hex()
        raise Forbidden("The session has ended; sign in again")

    def is_form_token(self, headers: Mapping[bytes, bytes], given: object) -> bool:
        """Tell whether a form came from a page of this session."""
        if not isinstance(given, str) or not self.valid(headers):
            return False
        return hmac.compare_digest(given.encode(), self.form_token(headers).encode())

    def _count_failure(self) -> None:
        now = self._clock.monotonic()
        while self._attempts and now - self._attempts[0] >= ATTEMPTS_WINDOW_S:
            self._attempts.popleft()
        if len(self._attempts) >= ATTEMPTS_MAX:
            wait_s = int(ATTEMPTS_WINDOW_S - (now - self._attempts[0])) + 1
            raise TooManyRequests(
                f"Too many attempts to sign in; try again in {wait_s} s", headers=(("Retry-After", str(wait_s)),)
            )
        self._attempts.append(now)

    def _issue(self, at: datetime) -> str:
        facts = f"{int((at + LIFE).timestamp())}.{secrets.token_hex(8)}"
        return f"{facts}.{self._mac(facts.encode())}"

    def _holds(self, value: bytes) -> bool:
        at = self._clock.now()
        facts, _, mac = value.rpartition(b".")
        if not hmac.compare_digest(mac, self._mac(facts).encode()):
            return False
        expires = int(facts.partition(b".")[0])
        # A clock that was set back, with a new database, must not give an old session a longer life.
        return at.timestamp() < expires <= (at + LIFE).timestamp()

    def _mac(self, facts: bytes) -> str:
        return hmac.new(self._key, facts, hashlib.sha256).hexdigest()


def is_from_own_page(headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a browser says that no other site made the request; other clients say nothing."""
    if headers.get(b"sec-fetch-site") not in (None, b"none", b"same-origin"):
        return False
    origin = headers.get(b"origin")
    return origin is None or urlsplit(origin).netloc == headers.get(b"host", b"")


def _cookies(headers: Mapping[bytes, bytes]) -> list[bytes]:
    name = COOKIE.encode() + b"="
    pairs = (pair.strip() for pair in headers.get(b"cookie", b"").split(b";"))
    return [pair.removeprefix(name) for pair in pairs if pair.startswith(name)]


def _set_cookie(request: OwnRequest, value: str, life_s: int) -> tuple[str, str]:
    text = f"{COOKIE}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict"
    # What the browser calls its page's origin is the only scheme that matters behind a proxy that ends TLS.
    if request.headers.get(b"origin", b"").startswith(b"https://"):
        text += "; Secure"
    return "Set-Cookie", text
