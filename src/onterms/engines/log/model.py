"""What an event is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a subject of an account; the type is in the past tense.

    Shapes: data is what JSON can carry.
    """

    type: str
    account_sid: str
    subject_sid: str
    data: dict[str, Any]


class Position(NamedTuple):
    """A place in the log, in the order in which consumers read."""

    txid: int
    id: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event of the log."""

    id: int
    at: datetime
    type: str
    account_sid: str
    subject_sid: str
    data: dict[str, Any]
    position: Position
