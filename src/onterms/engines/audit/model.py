"""What an audit event is and how it is hashed."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

FIRST = bytes(32)
_encoder = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A change of one aggregate.

    Shapes: scope is a customer's SID or "operator"; evidence is what JSON can carry, without floats.
    """

    scope: str
    actor: str
    aggregate: str
    aggregate_sid: str
    from_state: str | None
    to_state: str | None
    cause: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event of the trail."""

    number: int
    at: datetime
    event: AuditEvent
    prev_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row of a chain that is not as it was written."""

    scope: str
    number: int
    reason: str


def hash_of(event: AuditEvent, number: int, at: datetime, prev_hash: bytes) -> bytes:
    """Hash an event at its place in the chain.

    Raises: TypeError for a float in the evidence: it may not come back from the database as it went in.
    """
    _refuse_floats(event.evidence)
    body = {
        "actor": event.actor,
        "aggregate": event.aggregate,
        "aggregate_sid": event.aggregate_sid,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "cause": event.cause,
        "evidence": event.evidence,
        "from_state": event.from_state,
        "number": number,
        "prev_hash": prev_hash.hex(),
        "scope": event.scope,
        "to_state": event.to_state,
    }
    return hashlib.sha256(_encoder.encode(body)).digest()


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError("evidence holds a float; write amounts as decimal text")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
