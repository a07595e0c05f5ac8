"""What an event is."""

from collections.abc import Sequence
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


BATCH = "batch"


def batched(events: Sequence[Event]) -> list[Event]:
    """Put events of one type and account into one row of the log: for subjects that keep their own history.

    Readers get them one by one all the same; a subject's timeline does not have them.
    """
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        groups.setdefault((event.type, event.account_sid), []).append(event)
    return [
        Event(type_, account_sid, "", {BATCH: [[each.subject_sid, each.data] for each in group]})
        for (type_, account_sid), group in groups.items()
    ]


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
