"""The outside shape of a case, and the JSON schemas of what its machine takes and shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from onterms.business.cases.model import ITEMS_MAX, PROSE_MAX, TEXT_MAX, Case, FieldKind, Machine


def case(found: Case, hidden: Sequence[str] = ()) -> dict[str, Any]:
    """Render a case with its facts beside its own fields."""
    return {
        **{name: value for name, value in found.facts.items() if name not in hidden},
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "kind": found.kind,
        "state": found.state,
        "version": found.version,
        "date_created": found.opened_at.isoformat(),
        "date_updated": found.updated_at.isoformat(),
    }


_AMOUNT = "^[0-9]{1,13}(\\.[0-9]{1,6}0*)?$"
_FIELDS: Mapping[FieldKind, Mapping[str, Any]] = {
    "text": {"type": "string", "maxLength": TEXT_MAX},
    "prose": {"type": "string", "maxLength": PROSE_MAX},
    "day": {"type": "string", "format": "date"},
    "instant": {"type": "string", "format": "date-time"},
    "amount": {"type": "string", "pattern": _AMOUNT},
    "int": {"type": "integer", "minimum": 0},
    "flag": {"type": "boolean"},
    "texts": {"type": "array", "items": {"type": "string", "maxLength": TEXT_MAX}, "maxItems": ITEMS_MAX},
    "object": {"type": "object"},
}
_SID = {"type": "string", "pattern": "^[A-Z]{2}[0-9a-fA-F]{32}$"}


def moves_schema(machine: Machine, *, opening: bool) -> dict[str, Any]:
    """Describe the bodies of events: one for each event that people may cause, with the facts it needs and takes."""
    needs: dict[str, set[str]] = {}
    takes: dict[str, set[str]] = {}
    for (state, event), move in machine.moves.items():
        if (not state) is opening and set(move.by) != {"system"}:
            # Of an event that several states know, what only some need is not required.
            needs[event] = needs.get(event, set(move.needs)) & set(move.needs)
            takes[event] = takes.get(event, set()) | {*move.needs, *move.takes}
    choices = []
    for event in sorted(takes):
        named = {} if opening and event == "open" else {"event": {"const": event}}
        optional = {"event": {"const": event}} if not named else {}
        facts = {name: _taken(machine.fields[name], name in needs[event]) for name in sorted(takes[event])}
        choices.append(
            {
                "type": "object",
                "title": event,
                "properties": {"customer_sid": _SID, **optional, **named, **facts},
                "required": [*named, *sorted(needs[event])],
                "additionalProperties": False,
            }
        )
    return {"oneOf": choices}


def case_schema(machine: Machine) -> dict[str, Any]:
    """Describe a case: facts as they are known beside its own fields."""
    own = {
        "sid": _SID,
        "customer_sid": _SID,
        "kind": {"const": machine.kind},
        "state": {"enum": sorted({move.next for move in machine.moves.values()})},
        "version": {"type": "integer"},
        "date_created": {"type": "string", "format": "date-time"},
        "date_updated": {"type": "string", "format": "date-time"},
    }
    facts = {name: dict(_FIELDS[kind]) for name, kind in sorted(machine.fields.items())}
    return {
        "type": "object",
        "properties": {**facts, **own},
        "required": list(own),
        # What follows a move adds facts of its own.
        "additionalProperties": True,
    }


def page_schema(item: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a page of cases."""
    return {
        "type": "object",
        "properties": {"items": {"type": "array", "items": item}, "next": {"type": ["string", "null"]}},
        "required": ["items", "next"],
        "additionalProperties": False,
    }


def _taken(kind: FieldKind, needed: bool) -> Mapping[str, Any]:
    return _FIELDS[kind] if needed else {"anyOf": [_FIELDS[kind], {"type": "null"}]}
