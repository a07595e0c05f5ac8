"""What is kept of requests and answers to be shown: storable, bounded, without credentials.

Nobody looks at the headers of most calls, so they are read from their bytes when somebody does.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from onterms.carriers.webhook.connection import RawHeader
from onterms.ports.callback import BODY_KEPT_BYTES

HEADERS_KEPT_MAX: Final = 64
HEADER_KEPT_CHARS: Final = 1024

_URL_USERINFO = re.compile(r"//[^/?#@\s]*@")
_WITH_URLS: Final = frozenset({"location", "refresh", "link"})


class Shown(Mapping[str, str]):
    """Headers that are made from what they were when the first of them is asked for."""

    __slots__ = ("_arguments", "_made", "_make")

    def __init__(self, make: Callable[..., dict[str, str]], *arguments: Any) -> None:
        self._make = make
        self._arguments = arguments
        self._made: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._whole()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def __repr__(self) -> str:
        return repr(self._whole())

    def _whole(self) -> dict[str, str]:
        made = self._made
        if made is None:
            made = self._made = self._make(*self._arguments)
            self._arguments = ()
        return made


def request_headers(head: str, scheme: str | None) -> dict[str, str]:
    """Return the headers of a request's head, which has no credentials, and the scheme of those that went with it."""
    lines = head.split("\r\n")[1:]
    shown = {name: value for name, _, value in (line.partition(": ") for line in lines if line)}
    if scheme is not None:
        shown["Authorization"] = f"{scheme} ***"
    return shown


def response_headers(raw: Sequence[RawHeader]) -> dict[str, str]:
    """Return an answer's headers as they came; of one that came repeatedly all values."""
    kept: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = text(raw_name), text(raw_value)
        if name not in kept and len(kept) >= HEADERS_KEPT_MAX:
            break
        if name.lower() in _WITH_URLS:
            value = without_userinfo(value)
        kept[name] = f"{kept[name]}, {value}"[:HEADER_KEPT_CHARS] if name in kept else value[:HEADER_KEPT_CHARS]
    return kept


def lower_case_headers(raw: Sequence[RawHeader]) -> dict[str, str]:
    """Return the same with lower-case names."""
    return {name.lower(): value for name, value in response_headers(raw).items()}


def without_userinfo(value: str) -> str:
    """Return a text with the user names and passwords of its URLs taken out."""
    return _URL_USERINFO.sub("//", value)


def text(value: bytes | str) -> str:
    """Return storable text: a NUL has no place in PostgreSQL's, a lone surrogate none in UTF-8."""
    if isinstance(value, bytes):
        value = decoded(value)
    if "\x00" in value:
        value = value.replace("\x00", "\ufffd")
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def decoded(value: bytes) -> str:
    """Return a header's text, from which the same bytes can be made again."""
    return value.decode("utf-8", "surrogateescape")


def body_text(body: bytes) -> str:
    """Return the beginning of a body as storable text."""
    if not body:
        return ""
    return body[:BODY_KEPT_BYTES].decode("utf-8", "replace").replace("\x00", "\ufffd")
