"""Reading an answer's body without trusting its size.

The inflater is told how much it may put out, so a gzip bomb costs the limit and no more.
"""

from __future__ import annotations

import zlib

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


class Body:
    """What has come of a body, inflated, up to the limit.

    Raises: BadBody, for an encoding that was not asked for.
    """

    __slots__ = ("_inflater", "_kept", "_limit_bytes", "_received_bytes", "is_cut")

    def __init__(self, encoding: str, limit_bytes: int) -> None:
        encoding = encoding.strip().lower()
        if encoding in ("", "identity"):
            self._inflater = None
        elif encoding in ("gzip", "x-gzip", "deflate"):
            self._inflater = _Inflater(raw_is_possible=encoding == "deflate")
        else:
            raise BadBody(f"the body has an encoding that was not asked for: {encoding[:40]!r}")
        self._limit_bytes = limit_bytes
        self._kept = bytearray()
        self._received_bytes = 0
        # There was more than the limit: the rest would cost time and traffic, and is not wanted.
        self.is_cut = False

    def receive(self, data: bytes) -> None:
        """Take what came next.

        Raises: BadBody.
        """
        if self.is_cut:
            return
        self._received_bytes += len(data)
        room = self._limit_bytes + 1 - len(self._kept)
        self._kept += data[:room] if self._inflater is None else self._inflater.inflate(data, room)
        self.is_cut = (
            len(self._kept) > self._limit_bytes or self._received_bytes > self._limit_bytes * _COMPRESSED_SHARE
        )

    def whole(self) -> bytes:
        """Return the body, which has come to its end or to the limit.

        Raises: BadBody.
        """
        if self.is_cut:
            return bytes(self._kept[: self._limit_bytes])
        if self._inflater is not None and not self._inflater.is_finished():
            raise BadBody("the compressed body ends too early")
        return bytes(self._kept)
