"""Reading and writing the SOAP envelopes of MM7.

Peers write them in many ways: with prefixes and without, with a prefix that nobody declared, with other releases'
namespaces, with MessageId for MessageID, in EUC-KR or GB2312. So names are read without their prefixes and in lower
case, and a character set that expat lacks is decoded before.

What comes is a stranger's: a document type declaration is refused before anything in it is read, so there are no
entities to expand and nothing to fetch; size, depth and number of elements are bounded.
"""

import re
from collections.abc import Sequence
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from onterms.protocols.mm7.messages import Dialect, MM7Error
from onterms.protocols.multipart import decode_text, is_charset

# Ours: a request has a kilobyte, and some more for each of its recipients.
ENVELOPE_BYTES_MAX: Final = 256 * 1024
DEPTH_MAX: Final = 20
NODES_MAX: Final = 5000

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_DECLARATION: Final = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["'][^>]*\?>""")
# XML 1.0 2.2: what no document may contain.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# TS 23.140 8.7.8: 4004 is what cannot be parsed.
VALIDATION_ERROR: Final = 4004


class Node:
    """An element: its name in lower case without a prefix, its own text, its attributes and children."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Node] = []
        self.text = ""

    def find(self, name: str) -> "Node | None":
        """Return the first child of a name."""
        return next((child for child in self.children if child.name == name), None)

    def text_of(self, *names: str) -> str:
        """Return the text of the first child that has one of the names, or ""."""
        for name in names:
            found = self.find(name)
            if found is not None:
                return found.text.strip()
        return ""


def read(data: bytes, charset: str = "") -> Node:
    """Parse a document and return its root.

    Raises: MM7Error.
    """
    if len(data) > ENVELOPE_BYTES_MAX:
        raise MM7Error(VALIDATION_ERROR, f"the envelope has more than {ENVELOPE_BYTES_MAX} bytes")
    return _Parser().parse(_utf8(data, charset))


def _utf8(data: bytes, charset: str) -> bytes:
    """Return a document in UTF-8: the HTTP field's word on its characters counts, then its own (RFC 7303 3)."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        charset = "utf-16"
    declared = _DECLARATION.match(data)
    own = declared[1].decode("ascii") if declared else "utf-8"
    # Servers put a default of theirs beside documents that know better.
    name = own if declared and own.lower() != "utf-8" else charset or own
    if not is_charset(name):
        raise MM7Error(VALIDATION_ERROR, "the envelope's character set is not supported")
    text = decode_text(data, name)
    return text.encode("utf-8", "replace")


class _Parser:
    def __init__(self) -> None:
        self._stack: list[Node] = []
        self._root: Node | None = None
        self._nodes = 0
        # The document's own declaration is not asked any more.
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._on_doctype
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.CharacterDataHandler = self._on_text
        self._expat = parser

    def parse(self, data: bytes) -> Node:
        try:
            self._expat.Parse(data, True)
        except expat.ExpatError as error:
            words = expat.ErrorString(error.code) or "not well formed"
            raise MM7Error(VALIDATION_ERROR, f"the envelope is no XML: {words}") from None
        except ValueError:
            raise MM7Error(VALIDATION_ERROR, "the envelope is no XML") from None
        finally:
            # The handlers are bound methods of this object; without this the two would keep each other alive.
            parser = self._expat
            parser.StartDoctypeDeclHandler = None
            parser.StartElementHandler = None
            parser.EndElementHandler = None
            parser.CharacterDataHandler = None
        assert self._root is not None, "expat accepts no document without a root element"
        return self._root

    def _on_doctype(self, *_: object) -> None:
        raise MM7Error(VALIDATION_ERROR, "the envelope has a document type declaration")

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX or len(self._stack) >= DEPTH_MAX:
            raise MM7Error(VALIDATION_ERROR, "the envelope has too many elements")
        node = Node(_local(name), {_local(key): value for key, value in attributes.items()})
        if self._stack:
            self._stack[-1].children.append(node)
        else:
            self._root = node
        self._stack.append(node)

    def _on_end(self, name: str) -> None:
        self._stack.pop()

    def _on_text(self, text: str) -> None:
        self._stack[-1].text += text


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()


# ---- writing


def clean(text: str) -> str:
    """Return text without what XML cannot carry."""
    return _FORBIDDEN.sub("", text)


def element(name: str, text: str, attributes: Sequence[tuple[str, str]] = ()) -> str:
    """Write an element with text."""
    return f"{_opening(name, attributes)}{escape(clean(text))}</{name}>"


def parent(name: str, children: Sequence[str], attributes: Sequence[tuple[str, str]] = ()) -> str:
    """Write an element with elements; those that are "" are left out."""
    return f"{_opening(name, attributes)}{''.join(children)}</{name}>"


def empty(name: str, attributes: Sequence[tuple[str, str]]) -> str:
    """Write an element with attributes alone."""
    return f"{_opening(name, attributes)[:-1]}/>"


def _opening(name: str, attributes: Sequence[tuple[str, str]]) -> str:
    return "<" + name + "".join(f" {key}={quoteattr(clean(value))}" for key, value in attributes) + ">"


def envelope(
    dialect: Dialect, transaction_id: str, name: str, children: Sequence[str], *, is_fault: bool = False
) -> bytes:
    """Write an envelope around a message."""
    header = element(
        "mm7:TransactionID",
        transaction_id,
        (("xmlns:mm7", dialect.namespace), ("env:mustUnderstand", "1")),
    )
    if dialect.is_prefixed:
        body = parent(f"mm7:{name}", children, (("xmlns:mm7", dialect.namespace),))
    else:
        body = parent(name, children, (("xmlns", dialect.namespace),))
    if is_fault:
        # TS 23.140 8.7.8.2: errors travel as the detail of a fault.
        fault = [element("faultcode", "env:Client"), element("faultstring", "Client error"), parent("detail", [body])]
        body = parent("env:Fault", fault)
    whole = parent("env:Envelope", [parent("env:Header", [header]), parent("env:Body", [body])], (("xmlns:env", SOAP),))
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + whole.encode()
