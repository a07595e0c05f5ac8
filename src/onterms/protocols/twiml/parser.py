"""From the bytes of a webhook's answer to a checked TwiML document.

The answer comes from a customer's server, so it is hostile until parsed. A document type declaration is refused
before anything in it is read: without one there are no entities to expand and nothing external to fetch. Size, depth
and the number of warnings are bounded.

A document that cannot be used raises TwimlError. Unknown elements and attributes are warnings: the element stays in
the document, and whoever interprets it passes over names it does not know.
"""

from __future__ import annotations

import re
from typing import Final
from xml.parsers import expat

from onterms.protocols.twiml import schema
from onterms.protocols.twiml.document import (
    BODY_TOO_LARGE,
    INVALID_VERSION,
    PARSE_FAILURE,
    SCHEMA_WARNING,
    WRONG_ROOT,
    Document,
    Element,
    Kind,
    TwimlError,
    TwimlWarning,
)

# Twilio docs, errors/11750: a TwiML body has at most 64 kB.
BODY_BYTES_MAX: Final = 65_536

# The schema itself allows about ten levels of verbs and nouns before speech markup repeats; deeper is an attack.
DEPTH_MAX: Final = 50

# One notification lists the warnings of a document; more than this tells its author nothing new.
WARNINGS_MAX: Final = 20

# Twilio docs, api/2008-08-01/twiml/response: the releases that the version attribute of Response may name.
VERSIONS: Final = frozenset({"2008-08-01", "2010-04-01"})

# Python hands other names to its codec registry, which holds codecs that are not character sets. Multi-byte sets
# beside UTF-8 and UTF-16 are beyond expat.
_is_encoding_known: Final = re.compile(
    r"utf-?8|utf-?16(?:le|be)?|us-ascii|ascii|iso-?8859-(?:[1-9]|1[0-6])|latin-?1|windows-125[0-8]|koi8-[ru]",
    re.IGNORECASE,
).fullmatch

# Names quoted in messages come from the document; a notification is no place for a kilobyte of them.
_NAME_CHARS_MAX: Final = 64


def parse(body: bytes, kind: Kind) -> Document:
    """Parse and check a TwiML document.

    Raises: TwimlError with 11750 (over 64 kB), 12100 (not XML, empty, a DTD, too deep), 12101 (version attribute
    of Response) or 12102 (root is not Response).
    """
    if len(body) > BODY_BYTES_MAX:
        raise TwimlError(BODY_TOO_LARGE, f"The TwiML document has more than {BODY_BYTES_MAX} bytes.")
    return _Parser(kind).parse(body)


class _Open:
    """An element whose end tag has not been read."""

    __slots__ = ("attributes", "children", "content", "line", "name")

    def __init__(self, name: str, attributes: dict[str, str], line: int, children: schema.Children | None) -> None:
        self.name = name
        self.attributes = attributes
        self.line = line
        self.content: list[str | Element] = []
        # None inside an element that is unknown itself: one warning tells about the whole of it.
        self.children = children


class _Parser:
    def __init__(self, kind: Kind) -> None:
        self.kind: Final[Kind] = kind
        self.table = schema.load(kind)
        self.stack: list[_Open] = []
        self.root: Element | None = None
        self.warnings: list[TwimlWarning] = []
        expat_parser = expat.ParserCreate()
        expat_parser.buffer_text = True
        expat_parser.XmlDeclHandler = self.on_declaration
        expat_parser.StartDoctypeDeclHandler = self.on_doctype
        expat_parser.StartElementHandler = self.on_start
        expat_parser.EndElementHandler = self.on_end
        expat_parser.CharacterDataHandler = self.on_text
        self.expat = expat_parser

    def parse(self, body: bytes) -> Document:
        try:
            self.expat.Parse(body, True)
        except expat.ExpatError as error:
            words = expat.ErrorString(error.code) or "the document is not well formed"
            raise TwimlError(
                PARSE_FAILURE, f"The document is not well-formed XML: {words} (column {error.offset}).", error.lineno
            ) from None
        except (ValueError, LookupError):
            # expat hands a character set that it does not have to Python's codecs, which refuse in their own ways.
            raise TwimlError(PARSE_FAILURE, "The document's character encoding is not supported.", 1) from None
        finally:
            # The handlers are bound methods of this object; without this the two would keep each other alive.
            self.release()
        assert self.root is not None, "expat accepts no document without a root element"
        return Document(self.kind, self.root, tuple(self.warnings))

    def release(self) -> None:
        parser = self.expat
        parser.XmlDeclHandler = None
        parser.StartDoctypeDeclHandler = None
        parser.StartElementHandler = None
        parser.EndElementHandler = None
        parser.CharacterDataHandler = None

    def on_declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and _is_encoding_known(encoding) is None:
            raise TwimlError(PARSE_FAILURE, "The document's character encoding is not supported.", 1)

    def on_doctype(self, name: str, system_id: str | None, public_id: str | None, has_subset: int) -> None:
        raise TwimlError(
            PARSE_FAILURE, "A TwiML document may not have a document type declaration.", self.expat.CurrentLineNumber
        )

    def on_start(self, name: str, attributes: dict[str, str]) -> None:
        line = self.expat.CurrentLineNumber
        if not self.stack:
            self.on_root(name, attributes, line)
            return
        if len(self.stack) >= DEPTH_MAX:
            raise TwimlError(PARSE_FAILURE, f"Elements are nested more than {DEPTH_MAX} deep.", line)
        parent = self.stack[-1]
        children: schema.Children | None = None
        if parent.children is not None:
            known = parent.children.get(name)
            if known is None:
                self.warn(f"{_quoted(name)} is not an element that {_quoted(parent.name)} may contain.", line)
            else:
                children = self.table.get(name, {})
                self.check_attributes(name, attributes, known, line)
        self.stack.append(_Open(name, attributes, line, children))

    def on_root(self, name: str, attributes: dict[str, str], line: int) -> None:
        if name != "Response":
            raise TwimlError(WRONG_ROOT, f"The root element must be Response, not {_quoted(name)}.", line)
        version = attributes.get("version")
        if version is not None and version not in VERSIONS:
            raise TwimlError(INVALID_VERSION, "The version attribute of Response names no known version.", line)
        self.check_attributes(name, attributes, _ROOT_ATTRIBUTES, line)
        self.stack.append(_Open(name, attributes, line, self.table["Response"]))

    def check_attributes(self, name: str, attributes: dict[str, str], known: frozenset[str], line: int) -> None:
        for attribute in attributes:
            if attribute not in known and not attribute.startswith(_NAMESPACE_PREFIXES):
                self.warn(f"{_quoted(attribute)} is not an attribute of {_quoted(name)}.", line)

    def on_end(self, name: str) -> None:
        opened = self.stack.pop()
        element = Element(opened.name, opened.attributes, tuple(opened.content), opened.line)
        if self.stack:
            self.stack[-1].content.append(element)
        else:
            self.root = element

    def on_text(self, data: str) -> None:
        content = self.stack[-1].content
        # A run longer than expat's text buffer (8 kB) comes in pieces.
        if content and isinstance(content[-1], str):
            content[-1] += data
        else:
            content.append(data)

    def warn(self, message: str, line: int) -> None:
        if len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(TwimlWarning(SCHEMA_WARNING, message, line))


_ROOT_ATTRIBUTES: Final = frozenset({"version"})

# Schema locations and namespace declarations that XML tools write on their own say nothing about the verbs.
_NAMESPACE_PREFIXES: Final = ("xmlns", "xsi:")


def _quoted(name: str) -> str:
    return name if len(name) <= _NAME_CHARS_MAX else name[:_NAME_CHARS_MAX] + "..."
