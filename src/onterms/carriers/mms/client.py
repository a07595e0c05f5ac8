"""One request to an MMSC, and what its answer, or the lack of one, says of the message.

Theory of operation. What was refused before a byte of the message was written was not taken; from the first byte on,
only an answer that can be read tells, and everything else leaves the message unknown. Connections are made anew for
each request: an MMSC that drops idle ones would make messages unknown that it never saw.
"""

import asyncio
import contextlib
import os
import ssl
import tempfile
from dataclasses import dataclass
from typing import Final

import aiohttp

from onterms.carriers.mms.model import CarrierRow
from onterms.core.errors import ConfigError
from onterms.protocols import mm7

# Ours: an envelope and nothing else.
ANSWER_BYTES_MAX: Final = 256 * 1024
CONNECT_S: Final = 10.0
USER_AGENT: Final = "onterms-mm7"
# The longest that an MMSC may ask us to wait.
WAIT_S_MAX: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Answered:
    """The MMSC answered: it took the message, or says why not."""

    message: mm7.Message


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The MMSC does not have the message.

    Units: `wait_s` is how long it wants to be left alone. Shapes: `is_config` where the operator has to do something.
    """

    reason: str
    wait_s: float = 0.0
    is_config: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """Nobody knows whether it has it."""

    reason: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The MMSC takes nothing of this size."""


Result = Answered | NotTaken | Lost | TooLarge


class Client:
    """The connections to one MMSC; `close` ends them."""

    def __init__(self, carrier: CarrierRow) -> None:
        settings = carrier.settings
        self._carrier = carrier
        middlewares: list[aiohttp.ClientMiddlewareType] = []
        headers = {"User-Agent": USER_AGENT, "SOAPAction": '""'}
        if settings.auth == "digest":
            middlewares.append(aiohttp.DigestAuthMiddleware(settings.username, carrier.password))
        elif settings.auth == "basic" and settings.username:
            headers["Authorization"] = aiohttp.encode_basic_auth(settings.username, carrier.password)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0, ssl=tls_of(carrier)),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            middlewares=tuple(middlewares),
            trust_env=False,
            auto_decompress=False,
        )

    async def close(self) -> None:
        """End the connections."""
        await self._session.close()

    async def post(self, content_type: str, body: bytes) -> Result:
        """Hand one message over."""
        settings = self._carrier.settings
        timeout = aiohttp.ClientTimeout(total=settings.response_s, sock_connect=min(CONNECT_S, settings.response_s))
        try:
            async with self._session.post(
                settings.url,
                data=body,
                headers={"Content-Type": content_type},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                answer = await _read(response)
                return _result(response, answer)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            return NotTaken(f"it cannot be connected to: {type(error).__name__}")
        except TimeoutError:
            return Lost(f"no answer came within {settings.response_s:.0f} s")
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            return Lost(f"the connection broke: {type(error).__name__}")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for chunk in response.content.iter_chunked(16_384):
        answer += chunk
        if len(answer) > ANSWER_BYTES_MAX:
            break
    return bytes(answer)


def _result(response: aiohttp.ClientResponse, answer: bytes) -> Result:
    status = response.status
    if status in (401, 403, 407):
        return NotTaken(f"it answers with HTTP status {status}", is_config=True)
    if status in (429, 503):
        return NotTaken(f"it answers with HTTP status {status}", wait_s=_wait_s(response))
    if status == 413:
        return TooLarge()
    try:
        return Answered(mm7.decode(response.headers.get("Content-Type", ""), answer).message)
    except mm7.MM7Error as error:
        reason = f"HTTP status {status}: {error.reason}"
    if 300 <= status < 500:
        # Nobody there speaks MM7, so nobody took it.
        return NotTaken(reason, is_config=True)
    return Lost(reason)


def _wait_s(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), WAIT_S_MAX) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0


def tls_of(carrier: CarrierRow) -> ssl.SSLContext:
    """Make what a carrier's connections are secured by.

    Raises: ConfigError naming what cannot be used.
    """
    settings = carrier.settings
    try:
        context = ssl.create_default_context(cadata=settings.tls_ca or None)
    except (ssl.SSLError, ValueError):
        raise ConfigError("'tls_ca' must be certificates in PEM") from None
    if settings.tls_certificate:
        # The library reads certificate and key from a file only; nobody else may read it, and it is gone at once.
        handle, path = tempfile.mkstemp()
        try:
            with os.fdopen(handle, "w") as file:
                file.write(settings.tls_certificate + "\n" + carrier.tls_key)
            context.load_cert_chain(path, password=_no_password)
        except (ssl.SSLError, ValueError, OSError):
            raise ConfigError("'tls_certificate' and 'tls_key' must be a certificate in PEM and its key") from None
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    return context


def _no_password() -> str:
    # Without this the library would ask at the terminal.
    return ""
