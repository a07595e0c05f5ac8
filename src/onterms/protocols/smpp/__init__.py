"""SMPP 3.4 and 5.0 without I/O: PDUs, texts, receipts and the session of either side."""

from onterms.protocols.smpp.codes import (
    Command,
    DataCoding,
    MessageState,
    Npi,
    Status,
    Tag,
    Ton,
    name_of_status,
)
from onterms.protocols.smpp.receipt import Receipt, is_receipt
from onterms.protocols.smpp.session import (
    Answered,
    Bound,
    Closed,
    Event,
    NotBound,
    Requested,
    Session,
    Timers,
    Unanswered,
    WindowFull,
)
from onterms.protocols.smpp.text import Assembler, Content, Part, UnreadableContent, content_of, parts
from onterms.protocols.smpp.times import read_time, write_time

__all__ = [
    "Answered",
    "Assembler",
    "Bound",
    "Closed",
    "Command",
    "Content",
    "DataCoding",
    "Event",
    "MessageState",
    "NotBound",
    "Npi",
    "Part",
    "Receipt",
    "Requested",
    "Session",
    "Status",
    "Tag",
    "Timers",
    "Ton",
    "Unanswered",
    "UnreadableContent",
    "WindowFull",
    "content_of",
    "is_receipt",
    "name_of_status",
    "parts",
    "read_time",
    "write_time",
]
