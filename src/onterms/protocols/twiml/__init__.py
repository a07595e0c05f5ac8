"""TwiML documents: parsed safely and checked against the verbs; what they mean is the rooms' matter."""

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
from onterms.protocols.twiml.parser import BODY_BYTES_MAX, DEPTH_MAX, parse

__all__ = [
    "BODY_BYTES_MAX",
    "BODY_TOO_LARGE",
    "DEPTH_MAX",
    "INVALID_VERSION",
    "PARSE_FAILURE",
    "SCHEMA_WARNING",
    "WRONG_ROOT",
    "Document",
    "Element",
    "Kind",
    "TwimlError",
    "TwimlWarning",
    "parse",
]
