"""MIME entities as MMS carries them: an envelope with files beside it, parts within parts.

The standard library's parser reads text, and files of an MM7 request come as they are, so bytes are cut here by their
boundaries alone. What comes is a stranger's: depth, number of parts, headers and sizes have maxima.

Source: RFC 2045 (fields, encodings), RFC 2046 5.1 (multipart), RFC 2387 (related).
"""

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from typing import Final

# Ours: an MMS is an envelope around one multipart of files; a forwarded one has another level or two.
DEPTH_MAX: Final = 5
PARTS_MAX: Final = 100
HEADERS_BYTES_MAX: Final = 16 * 1024
HEADERS_MAX: Final = 100
# RFC 2045 6.8: lines of base64 have 76 characters.
_LINE_BYTES: Final = 57
# RFC 2046 5.1.1.
BOUNDARY_CHARS_MAX: Final = 70

_TOKEN: Final = r"[^\s\"(),/:;<=>?@\[\]\\]+"
_PARAMETER: Final = re.compile(rf';\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))')
_is_media_type: Final = re.compile(rf"{_TOKEN}/{_TOKEN}").fullmatch
_is_boundary: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}").fullmatch


class MultipartError(ValueError):
    """What came is no MIME entity that could be read."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A part: its fields by lower-case name, and its bytes or the parts it is made of."""

    headers: Mapping[str, str]
    content_type: str = "text/plain"
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    parts: tuple["Entity", ...] = ()

    @property
    def content_id(self) -> str:
        """The Content-ID without its brackets."""
        return self.headers.get("content-id", "").strip().removeprefix("<").removesuffix(">").strip()

    @property
    def name(self) -> str:
        """What the sender calls the file: a name without a path, or ""."""
        shown = parse_header(self.headers.get("content-disposition", ""))[1].get("filename", "")
        name = shown or self.params.get("name", "") or self.headers.get("content-location", "")
        return re.split(r"[/\\]", name.strip())[-1][:255]

    def leaves(self) -> list["Entity"]:
        """Return the files in it, in order."""
        if not self.parts:
            return [self]
        return [leaf for part in self.parts for leaf in part.leaves()]

    def text(self) -> str:
        """Return a text part as characters; those that cannot be read are replaced."""
        charset = self.params.get("charset", "utf-8")
        return decode_text(self.body, charset)


def decode_text(data: bytes, charset: str) -> str:
    """Read text in a character set that may be unknown or wrong."""
    try:
        text = data.decode(charset if _is_charset(charset) else "utf-8")
    except (UnicodeDecodeError, LookupError):
        text = data.decode("utf-8", "replace")
    # No text has a NUL, and no database keeps one.
    return text.removeprefix("\ufeff").replace("\0", "")


# Other names of Python's codecs are no character sets.
_is_charset: Final = re.compile(
    r"utf-?(?:8|16|16le|16be)|us-ascii|ascii|iso-?8859-\d{1,2}|latin-?1|windows-125\d|cp125\d|koi8-[ru]"
    r"|gb2312|gbk|gb18030|big5|euc-?(?:kr|jp)|ks_c_5601-1987|cp949|shift_jis|iso-2022-(?:jp|kr)",
    re.IGNORECASE,
).fullmatch


def is_charset(name: str) -> bool:
    """Tell whether a name is that of a character set we read."""
    return _is_charset(name) is not None


def parse_header(value: str) -> tuple[str, dict[str, str]]:
    """Read `value; name=value; ...` as the value in lower case and the parameters.

    Source: RFC 2045 5.1. The first of two parameters with one name counts.
    """
    kind, _, _ = value.partition(";")
    params: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value):
        params.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted else plain)
    return kind.strip().lower(), params


def decoded_words(text: str) -> str:
    """Read the encoded words of a field (RFC 2047); what is none stays."""
    try:
        return str(make_header(decode_header(text)))
    except (ValueError, LookupError):
        return text


def parse_entity(headers: Mapping[str, str], body: bytes) -> Entity:
    """Take an entity apart whose fields are known, such as the body of an HTTP request.

    Raises: MultipartError.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    return _Reader().read(lowered, memoryview(body), 1)


def parse_message(data: bytes) -> Entity:
    """Take an entity apart that begins with its own fields.

    Raises: MultipartError.
    """
    headers, start = _headers(data)
    return _Reader().read(headers, memoryview(data)[start:], 1)


class _Reader:
    def __init__(self) -> None:
        self._parts = 0

    def read(self, headers: Mapping[str, str], body: memoryview, depth: int) -> Entity:
        kind, params = parse_header(headers.get("content-type", ""))
        if not _is_media_type(kind):
            # RFC 2045 5.2: what cannot be read is plain text, and bytes without a type are bytes.
            kind = "text/plain" if "content-type" not in headers else "application/octet-stream"
        if not kind.startswith("multipart/"):
            return Entity(headers, kind, params, _decoded(bytes(body), headers))
        if depth >= DEPTH_MAX:
            raise MultipartError(f"parts are nested more than {DEPTH_MAX} deep")
        boundary = params.get("boundary", "")
        if not _is_boundary(boundary):
            raise MultipartError("a multipart has no usable boundary")
        parts: list[Entity] = []
        for piece in _cut(bytes(body), boundary.encode()):
            self._parts += 1
            if self._parts > PARTS_MAX:
                raise MultipartError(f"there are more than {PARTS_MAX} parts")
            fields, start = _headers(piece)
            parts.append(self.read(fields, memoryview(piece)[start:], depth + 1))
        if not parts:
            raise MultipartError("a multipart has no part")
        return Entity(headers, kind, params, b"", tuple(parts))


def _cut(body: bytes, boundary: bytes) -> list[bytes]:
    """Cut a body at its delimiter lines; line breaks before them belong to them (RFC 2046 5.1.1)."""
    line = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|$)")
    pieces: list[bytes] = []
    start: int | None = None
    at = 0
    while (found := line.search(body, at)) is not None:
        if start is not None:
            pieces.append(body[start : found.start()])
            if len(pieces) > PARTS_MAX:
                raise MultipartError(f"there are more than {PARTS_MAX} parts")
        if found[1]:
            return pieces
        # The line break that ends this line may be the one that the next delimiter begins with.
        at = found.end()
        end = re.compile(rb"\r?\n").match(body, at)
        start = end.end() if end else at
    if start is not None:
        # Some leave out the last line; what came is whole by its length.
        pieces.append(body[start:])
    return pieces


def _headers(data: bytes) -> tuple[dict[str, str], int]:
    """Read fields up to the empty line; return them and where the body begins."""
    fields: dict[str, str] = {}
    name = ""
    at = 0
    while True:
        end = data.find(b"\n", at, HEADERS_BYTES_MAX + 1)
        if end < 0:
            if len(data) > HEADERS_BYTES_MAX:
                raise MultipartError(f"fields have more than {HEADERS_BYTES_MAX} bytes")
            end = len(data)
        line = data[at:end].rstrip(b"\r")
        at = min(end + 1, len(data))
        if not line:
            return fields, at
        text = line.replace(b"\0", b"").decode("utf-8", "replace")
        if not text:
            continue
        if text[0] in " \t":
            # RFC 5322 2.2.3: a line that begins with a space continues the one before.
            if name:
                fields[name] += " " + text.strip()
        else:
            name, colon, value = text.partition(":")
            name = name.strip().lower()
            if not colon:
                raise MultipartError("a field has no colon")
            if name not in fields:
                fields[name] = value.strip()
            else:
                name = ""
            if len(fields) > HEADERS_MAX:
                raise MultipartError(f"there are more than {HEADERS_MAX} fields")
        if end >= len(data):
            return fields, len(data)


def _decoded(body: bytes, headers: Mapping[str, str]) -> bytes:
    encoding = headers.get("content-transfer-encoding", "").strip().lower()
    if encoding == "base64":
        # RFC 2045 6.8: characters outside the alphabet are ignored.
        clean = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
        try:
            return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))
        except binascii.Error:
            raise MultipartError("a part's base64 is malformed") from None
    if encoding == "quoted-printable":
        return binascii.a2b_qp(body)
    return body


# ---- writing


@dataclass(frozen=True, slots=True)
class NewPart:
    """A part to write: its fields with the type first, and its bytes as they go out."""

    headers: Sequence[tuple[str, str]]
    body: bytes


def base64_body(data: bytes) -> bytes:
    """Encode bytes as base64 in lines."""
    lines = [binascii.b2a_base64(data[at : at + _LINE_BYTES], newline=False) for at in range(0, len(data), _LINE_BYTES)]
    return b"\r\n".join(lines)


def compose(parts: Sequence[NewPart], boundary: str) -> bytes:
    """Write a multipart's body.

    The boundary must not occur in any part; whoever makes it at random need not look.
    """
    assert _is_boundary(boundary), "RFC 2046 5.1.1"
    written: list[bytes] = []
    for part in parts:
        written.append(f"--{boundary}\r\n".encode())
        for name, value in part.headers:
            assert "\n" not in value and "\r" not in value, "a field is one line"
            written.append(f"{name}: {value}\r\n".encode())
        written += [b"\r\n", part.body, b"\r\n"]
    written.append(f"--{boundary}--\r\n".encode())
    return b"".join(written)
