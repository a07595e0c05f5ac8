"""Attachments of what a handset sends: data: URLs are read here, others are fetched through the media port."""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from onterms.carriers.simulator.errors import MediaInvalid
from onterms.ports.media import FetchFailed, MediaFetcher
from onterms.ports.message_carrier import InboundMedia

# Twilio docs, messaging/guides/accepted-mime-types: up to 10 files, 5 MB.
MEDIA_MAX: Final = 10
MEDIA_BYTES_MAX: Final = 5 * 1024 * 1024
URL_CHARS_MAX: Final = 4096

# RFC 6838 4.2: names of at most 127 characters.
_is_content_type: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}").fullmatch


class _Unusable(Exception):
    """A URL gives no media; the text says why, in words that may be shown to the caller."""


async def gather_media(urls: Sequence[str], fetcher: MediaFetcher | None) -> tuple[InboundMedia, ...]:
    """Get the bytes behind each URL, in order.

    Raises: MediaInvalid.
    """
    if len(urls) > MEDIA_MAX:
        raise MediaInvalid(f"a message carries at most {MEDIA_MAX} media")
    return tuple(await asyncio.gather(*(_get(url, place, fetcher) for place, url in enumerate(urls))))


async def _get(url: str, place: int, fetcher: MediaFetcher | None) -> InboundMedia:
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError:
        scheme = ""
    try:
        if scheme == "data":
            media = _read_data_url(url)
        elif scheme not in ("http", "https"):
            raise _Unusable("its scheme is none of http, https and data")
        elif len(url) > URL_CHARS_MAX:
            raise _Unusable(f"it is longer than {URL_CHARS_MAX} characters")
        elif fetcher is None:
            raise _Unusable("this install fetches no media; a data: URL works")
        else:
            fetched = await fetcher.fetch(url, bytes_max=MEDIA_BYTES_MAX)
            if isinstance(fetched, FetchFailed):
                raise _Unusable(fetched.reason)
            media = InboundMedia(fetched.content_type, fetched.data)
    except _Unusable as error:
        raise MediaInvalid(f"'media_urls[{place}]' cannot be used: {error}") from error
    if not media.data:
        raise MediaInvalid(f"'media_urls[{place}]' cannot be used: it is empty")
    return media


def _read_data_url(url: str) -> InboundMedia:
    """Take a data: URL apart.

    Source: RFC 2397.
    """
    head, comma, payload = url[len("data:") :].partition(",")
    if not comma:
        raise _Unusable("a data: URL has a comma before its data")
    # Four characters of base64 make three bytes; refuse before decoding what is far too long.
    if len(payload) > MEDIA_BYTES_MAX * 3:
        raise _Unusable(f"it is larger than {MEDIA_BYTES_MAX} bytes")
    kind, *parameters = head.split(";")
    kind = kind.strip().lower() or "text/plain"
    if not _is_content_type(kind):
        raise _Unusable("its media type is malformed")
    raw = unquote_to_bytes(payload)
    if parameters and parameters[-1].strip().lower() == "base64":
        try:
            raw = base64.b64decode(raw, validate=True)
        except binascii.Error as error:
            raise _Unusable("its base64 is malformed") from error
    if len(raw) > MEDIA_BYTES_MAX:
        raise _Unusable(f"it is larger than {MEDIA_BYTES_MAX} bytes")
    return InboundMedia(kind, raw)
