"""Reading an answer's body without trusting its size.

aiohttp could inflate by itself, but then a small body has become a large one before anybody can count it. Here the
inflater is told how much it may put out, so a gzip bomb costs the limit and no more.
"""

from __future__ import annotations

import zlib

import aiohttp

ACCEPTED_ENCODINGS = "gzip, deflate"

# Compressed bytes read for one byte of the limit: deflate never grows data by more than a few bytes a block, so a
# stream that is longer than this is padding.
_COMPRESSED_SHARE = 2
_ZLIB_OR_GZIP = 47
_RAW_DEFLATE = -15


class BadBody(Exception):
    """The body is not in the encoding that its headers promise."""


class _Inflater:
    """Inflate gzip, zlib or raw deflate, never putting out more than asked for."""

    def __init__(self, raw_is_possible: bool) -> None:
        self._raw_is_possible = raw_is_possible
        self._stream: zlib._Decompress | None = None
        self._members = 0

    def inflate(self, data: bytes, room: int) -> bytes:
        """Return at most `room` bytes; what is left over is dropped, for the caller stops there."""
        out = b""
        while data and len(out) < room:
            if self._stream is None:
                # "deflate" is zlib by RFC 9110 8.4.1.2 and raw by many servers; a zlib header's low nibble is 8.
                raw = self._raw_is_possible and data[0] & 0x0F != 8
                self._stream = zlib.decompressobj(_RAW_DEFLATE if raw else _ZLIB_OR_GZIP)
            try:
                out += self._stream.decompress(data, room - len(out))
            except zlib.error as bad:
                if self._members:
                    # Bytes behind a finished gzip member are padding, which gzip ignores as well.
                    self._stream = None
                    return out
                raise BadBody("the body cannot be decompressed") from bad
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                data, self._stream = self._stream.unused_data, None
                self._members += 1
        return out

    def is_finished(self) -> bool:
        """Tell whether the stream ended where it should."""
        return self._stream is None


async def read_body(response: aiohttp.ClientResponse, limit_bytes: int) -> tuple[bytes, bool]:
    """Read and inflate a body up to the limit; the flag tells that there was more, which was left unread.

    Raises: BadBody, and what aiohttp raises while reading.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    inflater: _Inflater | None
    if encoding in ("", "identity"):
        inflater = None
    elif encoding in ("gzip", "x-gzip", "deflate"):
        inflater = _Inflater(raw_is_possible=encoding == "deflate")
    else:
        raise BadBody(f"the body has an encoding that was not asked for: {encoding[:40]!r}")

    body = bytearray()
    received_bytes = 0
    async for chunk in response.content.iter_any():
        received_bytes += len(chunk)
        body += chunk if inflater is None else inflater.inflate(chunk, limit_bytes + 1 - len(body))
        if len(body) > limit_bytes or received_bytes > limit_bytes * _COMPRESSED_SHARE:
            # The rest would cost time and traffic; the connection is not worth keeping for it.
            response.close()
            return bytes(body[:limit_bytes]), True
    if inflater is not None and not inflater.is_finished():
        raise BadBody("the compressed body ends too early")
    return bytes(body), False
