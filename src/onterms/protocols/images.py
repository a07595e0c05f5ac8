"""How large a picture says it is, read from its header without decoding anything.

Source: PNG 1.2 11.2.2, GIF89a 18, ITU-T T.81 B.2.2, RIFF container of WebP, BMP (BITMAPINFOHEADER).
"""

from typing import Final

# T.81 B.1.1.3: start of frame in its variants; C4, C8 and CC are other segments.
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# Ours: a JPEG has dozens of segments before its frame, most of them colour profiles and previews.
_SEGMENTS_MAX: Final = 500


def measure(data: bytes) -> tuple[int, int] | None:
    """Return width and height, or None where the header is none that is known or is cut off."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _pair(data, 16, 4, "big")
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _pair(data, 6, 2, "little")
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"BM"):
        found = _pair(data, 18, 4, "little", signed=True)
        # A height below zero says that the rows are in the other order.
        return None if found is None else (abs(found[0]), abs(found[1]))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _pair(data: bytes, at: int, size: int, order: str, *, signed: bool = False) -> tuple[int, int] | None:
    if len(data) < at + 2 * size:
        return None
    little = order == "little"
    width = int.from_bytes(data[at : at + size], "little" if little else "big", signed=signed)
    height = int.from_bytes(data[at + size : at + 2 * size], "little" if little else "big", signed=signed)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(_SEGMENTS_MAX):
        while at < len(data) and data[at] == 0xFF:
            at += 1
        if at >= len(data):
            return None
        marker = data[at]
        length = int.from_bytes(data[at + 1 : at + 3], "big")
        if marker in _FRAMES:
            found = _pair(data, at + 4, 2, "big")
            return None if found is None else (found[1], found[0])
        # T.81 B.2.1: the scan follows, and after it no first frame.
        if marker in (0xDA, 0xD9) or length < 2:
            return None
        at += 1 + length
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        found = _pair(data, 26, 2, "little")
        return None if found is None else (found[0] & 0x3FFF, found[1] & 0x3FFF)
    return None
