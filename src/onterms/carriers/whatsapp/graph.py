"""The Graph API's HTTP side: one request a command, bounded answers, no token in any text that is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

# Ours: longer than a good day's answer takes, shorter than what waits behind it has patience for.
TIMEOUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 1024 * 1024
_CONNECTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Answered:
    """The API did what it was asked."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """The API refused, with the error of its body."""

    status: int
    error: int
    reason: str


@dataclass(frozen=True, slots=True)
class Away:
    """Nothing was handed over: it cannot be reached."""

    reason: str


@dataclass(frozen=True, slots=True)
class Silent:
    """It was handed over, and what came back tells nothing."""

    reason: str


Result = Answered | Failed | Away | Silent


class Graph:
    """A client of the Graph API and of whatever speaks as it does."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(10.0, timeout_s))
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Graph":
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, connector=aiohttp.TCPConnector(limit=_CONNECTIONS), trust_env=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, base_url: str, token: str, path: tuple[str, ...], body: Mapping[str, Any]) -> Result:
        """POST a JSON object."""
        return await self._request("POST", _url(base_url, path), token, data=msgspec.json.encode(body))

    async def get(self, base_url: str, token: str, path: tuple[str, ...], query: Mapping[str, str] = {}) -> Result:
        """GET an object."""
        return await self._request("GET", _url(base_url, path), token, query=query)

    async def upload(self, base_url: str, token: str, path: tuple[str, ...], content_type: str, data: bytes) -> Result:
        """POST a file."""
        form = aiohttp.FormData()
        form.add_field("messaging_product", "whatsapp")
        form.add_field("type", content_type)
        form.add_field("file", data, filename="file", content_type=content_type)
        return await self._request("POST", _url(base_url, path), token, form=form)

    async def download(self, base_url: str, token: str, url: str, bytes_max: int) -> tuple[str, bytes] | Failed | Away:
        """Get a file from the address that the API named: (content type, bytes)."""
        assert self._session is not None, "the client is entered before it is used"
        # The address comes in an answer; the token goes to no host but Meta's own or the one that we asked.
        if not _may_have_token(base_url, url):
            return Failed(0, 0, "the file is on a host that gets no token")
        try:
            async with self._session.get(
                url, headers={"Authorization": f"Bearer {token}"}, allow_redirects=False
            ) as response:
                if response.status >= 500:
                    return Away(f"status {response.status}")
                if response.status != 200:
                    return Failed(response.status, 0, f"status {response.status}")
                data = await _read(response, bytes_max)
                if data is None:
                    return Failed(200, 0, f"the file is longer than {bytes_max} bytes")
                return response.content_type, data
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return Away(type(error).__name__)

    async def _request(
        self,
        method: str,
        url: str,
        token: str,
        *,
        data: bytes | None = None,
        form: aiohttp.FormData | None = None,
        query: Mapping[str, str] = {},
    ) -> Result:
        assert self._session is not None, "the client is entered before it is used"
        headers = {"Authorization": f"Bearer {token}"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                params=query or None,
                data=data if form is None else form,
                # The token must never be shown to whatever another address answers.
                allow_redirects=False,
            ) as response:
                status = response.status
                body = await _read(response, ANSWER_BYTES_MAX)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Away(type(error).__name__)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            return Silent(type(error).__name__)
        if body is None:
            return Silent("the answer is too long")
        return _result(status, body)


def _url(base_url: str, path: tuple[str, ...]) -> str:
    return "/".join((base_url.rstrip("/"), *(quote(part, safe="") for part in path)))


def _may_have_token(base_url: str, url: str) -> bool:
    try:
        asked, named = urlsplit(base_url), urlsplit(url)
        host = (named.hostname or "").lower()
        if (named.scheme, host, named.port) == (asked.scheme, (asked.hostname or "").lower(), asked.port):
            return True
    except ValueError:
        return False
    # Meta docs, "Media": files are on lookaside.fbsbx.com.
    return named.scheme == "https" and any(host.endswith(f".{domain}") for domain in ("fbsbx.com", "facebook.com"))


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> bytes | None:
    """Read a body, or None where it is longer than it may be."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > bytes_max:
            return None
    return bytes(body)


def _result(status: int, body: bytes) -> Result:
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        return Silent(f"status {status} without a readable body")
    if status == 200:
        return Answered(decoded)
    error = decoded.get("error")
    if not isinstance(error, dict):
        return Silent(f"status {status} without an error")
    code = error.get("code")
    data = error.get("error_data")
    details = data.get("details") if isinstance(data, dict) else None
    reason = details if isinstance(details, str) and details else error.get("message")
    # A text of theirs goes to a customer and into the database.
    words = reason if isinstance(reason, str) else f"status {status}"
    words = words[:500].replace("\0", "").encode("utf-8", "replace").decode()
    return Failed(status, code if isinstance(code, int) and not isinstance(code, bool) else 0, words)
