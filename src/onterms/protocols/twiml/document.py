"""What a parsed TwiML document is: elements, the document around them, and what was wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["Messaging", "Voice"]

BODY_TOO_LARGE: Final = 11750
PARSE_FAILURE: Final = 12100
INVALID_VERSION: Final = 12101
WRONG_ROOT: Final = 12102
SCHEMA_WARNING: Final = 12200


class TwimlError(Exception):
    """A document cannot be used at all; `code` is the one that the debugger shows.

    Units: `line` counts from 1, and is 0 where no place in the document is to blame.
    """

    def __init__(self, code: int, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class TwimlWarning:
    """Something in a document that is not of the schema; the document is used all the same."""

    code: int
    message: str
    line: int


@dataclass(frozen=True, slots=True)
class Element:
    """One element, with its strings and child elements in document order.

    Shapes: `content` mixes text runs, as written, and elements; neighbouring runs are one string.
    """

    name: str
    attributes: Mapping[str, str]
    content: tuple[str | Element, ...]
    line: int

    @property
    def text(self) -> str:
        """Return the element's own text, without that of its children, trimmed."""
        return "".join(part for part in self.content if isinstance(part, str)).strip()

    @property
    def children(self) -> tuple[Element, ...]:
        """Return the child elements."""
        return tuple(part for part in self.content if isinstance(part, Element))

    def get(self, attribute: str, default: str = "") -> str:
        """Return an attribute's value, or the default when the document does not set it."""
        return self.attributes.get(attribute, default)


@dataclass(frozen=True, slots=True)
class Document:
    """A TwiML document that parsed, and the warnings it earned."""

    kind: Kind
    root: Element
    warnings: tuple[TwimlWarning, ...]

    @property
    def verbs(self) -> tuple[Element, ...]:
        """Return the elements under Response, in order, unknown ones included."""
        return self.root.children
