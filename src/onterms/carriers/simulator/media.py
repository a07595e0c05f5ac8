"""Attachments of what a handset sends: data: URLs are read here, others are fetched by a function that wiring gives."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import aiohttp

from onterms.carriers.simulator.errors import MediaInvalid
from onterms.ports.message_carrier import InboundMedia

# Twilio docs, messaging/guides/accepted-mime-types: up to 10 files, 5 MB.
MEDIA_MAX: Final = 10
MEDIA_BYTES_MAX: Final = 5 * 1024 * 1024
URL_CHARS_MAX: Final = 4096
FETCH_TIMEOUT_S: Final = 15.0


class MediaUnavailable(Exception):
    """A URL gave no media; the text says why, in words that may be shown to the caller."""


# Takes a URL and the most bytes it may bring. Raises: MediaUnavailable.
FetchMedia = Callable[[str, int], Awaitable[InboundMedia]]


class HttpMediaFetch:
    """Fetch media over HTTP with a session whose connector judges the addresses it connects to."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(self, url: str, bytes_max: int) -> InboundMedia:
        """Fetch one URL. Redirects are not followed.

        Raises: MediaUnavailable.
        """
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        try:
            async with self._session.get(url, allow_redirects=False, timeout=timeout) as response:
                if response.status != 200:
                    raise MediaUnavailable(f"the server answered with status {response.status}")
                data = bytearray()
                async for chunk in response.content.iter_chunked(65536):
                    data += chunk
                    if len(data) > bytes_max:
                        raise MediaUnavailable(f"it is larger than {bytes_max} bytes")
                return InboundMedia(response.content_type, bytes(data))
        except TimeoutError as error:
            raise MediaUnavailable(f"nothing came within {FETCH_TIMEOUT_S:.0f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The reason may name an address inside our network, so it stays inside.
            raise MediaUnavailable("the connection failed") from error


async def gather_media(urls: Sequence[str], fetch: FetchMedia | None) -> tuple[InboundMedia, ...]:
    """Get the bytes behind each URL, in order.

    Raises: MediaInvalid.
    """
    if len(urls) > MEDIA_MAX:
        raise MediaInvalid(f"a message carries at most {MEDIA_MAX} media")
    return tuple(await asyncio.gather(*(_get(url, place, fetch) for place, url in enumerate(urls))))


async def _get(url: str, place: int, fetch: FetchMedia | None) -> InboundMedia:
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError:
        scheme = ""
    try:
        if scheme == "data":
            media = read_data_url(url)
        elif scheme not in ("http", "https"):
            raise MediaUnavailable("its scheme is none of http, https and data")
        elif len(url) > URL_CHARS_MAX:
            raise MediaUnavailable(f"it is longer than {URL_CHARS_MAX} characters")
        elif fetch is None:
            raise MediaUnavailable("this install fetches no media; a data: URL works")
        else:
            media = await fetch(url, MEDIA_BYTES_MAX)
    except MediaUnavailable as error:
        raise MediaInvalid(f"'media_urls[{place}]' cannot be used: {error}") from error
    if not media.data:
        raise MediaInvalid(f"'media_urls[{place}]' cannot be used: it is empty")
    return media


def read_data_url(url: str) -> InboundMedia:
    """Take a data: URL apart.

    Source: RFC 2397.
    Raises: MediaUnavailable.
    """
    head, comma, payload = url[len("data:") :].partition(",")
    if not comma:
        raise MediaUnavailable("a data: URL has a comma before its data")
    # Four characters of base64 make three bytes; refuse before decoding what is far too long.
    if len(payload) > MEDIA_BYTES_MAX * 3:
        raise MediaUnavailable(f"it is larger than {MEDIA_BYTES_MAX} bytes")
    kind, *parameters = head.split(";")
    raw = unquote_to_bytes(payload)
    if parameters and parameters[-1].strip().lower() == "base64":
        try:
            raw = base64.b64decode(raw, validate=True)
        except binascii.Error as error:
            raise MediaUnavailable("its base64 is malformed") from error
    if len(raw) > MEDIA_BYTES_MAX:
        raise MediaUnavailable(f"it is larger than {MEDIA_BYTES_MAX} bytes")
    return InboundMedia(kind.strip().lower() or "text/plain", raw)
