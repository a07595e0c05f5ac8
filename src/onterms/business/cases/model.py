"""Machines and cases: pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from onterms.core import money
from onterms.core.calendar import can_count_from
from onterms.core.errors import InvalidParameter

Role = Literal["operator", "customer", "system"]
FieldKind = Literal["text", "prose", "day", "instant", "amount", "int", "flag", "texts", "object"]

TEXT_MAX = 400
PROSE_MAX = 10_000
ITEMS_MAX = 1000
_INT_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Actor:
    """Who moves a case: the role decides what is allowed, the name is evidence."""

    role: Role
    name: str


@dataclass(frozen=True, slots=True)
class Violation:
    """What a guard holds against a move."""

    reason: str
    message: str
    status: int = 409
    clause: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A case as it stands.

    Shapes: facts are what JSON can carry: days and instants in ISO form, amounts as decimal text.
    """

    customer_sid: str
    sid: str
    kind: str
    state: str
    version: int
    facts: Mapping[str, Any]
    opened_at: datetime
    updated_at: datetime

    def day(self, name: str) -> date:
        """Return a fact that is a day."""
        return date.fromisoformat(self.facts[name])

    def instant(self, name: str) -> datetime:
        """Return a fact that is an instant."""
        return datetime.fromisoformat(self.facts[name])

    def micros(self, name: str) -> int:
        """Return a fact that is an amount, zero where it is missing."""
        return money.micros(self.facts.get(name, "0"))


Guard = Callable[[Case, datetime], Violation | None]


@dataclass(frozen=True, slots=True)
class Move:
    """One row of a table: the next state, what must hold, what follows, who may, and which facts it takes.

    Shapes: `needs` must be given with the event, `takes` may be.
    """

    next: str
    guard: str | None = None
    effects: tuple[str, ...] = ()
    by: tuple[Role, ...] = ("operator",)
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """A kind of case: its table, which begins in the state "", and what its facts are.

    Shapes: `deadline` returns (event, instant) while a state has one; `hidden` facts are shown to the operator only.
    """

    kind: str
    prefix: str
    clause: str
    moves: Mapping[tuple[str, str], Move]
    fields: Mapping[str, FieldKind]
    guards: Mapping[str, Guard] = field(default_factory=dict)
    deadline: Callable[[Case], tuple[str, datetime] | None] = lambda case: None
    hidden: tuple[str, ...] = ()
    secret: bool = False

    def check(self) -> None:
        """Raise ValueError where the table names a guard or a field that is not there, or a state nobody enters."""
        reached = {"", *(move.next for move in self.moves.values())}
        for (state, event), move in self.moves.items():
            if move.guard is not None and move.guard not in self.guards:
                raise ValueError(f"{self.kind}: {state}/{event} names no guard: {move.guard}")
            if not {*move.needs, *move.takes} <= self.fields.keys():
                raise ValueError(f"{self.kind}: {state}/{event} takes facts that are none")
            if state not in reached:
                raise ValueError(f"{self.kind}: nothing leads to {state}")

    def read(self, move: Move, given: Mapping[str, Any]) -> dict[str, Any]:
        """Read the facts that come with an event.

        Raises: InvalidParameter for one that is missing, not taken or of another type.
        """
        unknown = given.keys() - {*move.needs, *move.takes}
        if unknown:
            raise InvalidParameter(f"These are not taken here: {', '.join(sorted(unknown))}")
        missing = [name for name in move.needs if given.get(name) in (None, "")]
        if missing:
            raise InvalidParameter(f"These are required: {', '.join(missing)}")
        return {name: read(self.fields[name], name, value) for name, value in given.items() if value is not None}


def read(kind: FieldKind, name: str, value: Any) -> Any:
    """Read one fact into the form in which it is stored.

    Raises: InvalidParameter.
    """
    if kind == "flag":
        if not isinstance(value, bool):
            raise InvalidParameter(f"'{name}' must be true or false")
        return value
    if kind == "int":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _INT_MAX:
            raise InvalidParameter(f"'{name}' must be a whole number")
        return value
    if kind == "texts":
        if not isinstance(value, list | tuple) or len(value) > ITEMS_MAX:
            raise InvalidParameter(f"'{name}' must be a list of strings")
        return [_text(name, item, TEXT_MAX) for item in value]
    if kind == "object":
        if not isinstance(value, dict):
            raise InvalidParameter(f"'{name}' must be an object")
        _refuse_floats(name, value)
        return value
    text = _text(name, value, PROSE_MAX if kind == "prose" else TEXT_MAX)
    if kind == "day":
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise InvalidParameter(f"'{name}' must be a day such as 2025-03-01") from None
        if not can_count_from(day):
            raise InvalidParameter(f"'{name}' lies too far away")
        return day.isoformat()
    if kind == "instant":
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidParameter(f"'{name}' must be an instant such as 2025-03-01T10:00:00Z") from None
        if found.tzinfo is None:
            raise InvalidParameter(f"'{name}' must be an instant with its offset")
        if not can_count_from(found):
            raise InvalidParameter(f"'{name}' lies too far away")
        return found.isoformat()
    if kind == "amount":
        try:
            amount = money.micros(text)
        except money.InvalidAmount as error:
            raise InvalidParameter(f"'{name}': {error}") from None
        if amount < 0:
            raise InvalidParameter(f"'{name}' must not be negative")
        return money.decimal_text(amount)
    return text


def _text(name: str, value: Any, length_max: int) -> str:
    # PostgreSQL stores NUL nowhere.
    if not isinstance(value, str) or len(value) > length_max or "\0" in value:
        raise InvalidParameter(f"'{name}' must be a string of at most {length_max} characters")
    return value


def _refuse_floats(name: str, value: Any) -> None:
    if isinstance(value, float) or (isinstance(value, str) and "\0" in value):
        raise InvalidParameter(f"'{name}' must hold amounts as decimal text, and no NUL")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_floats(name, each)
