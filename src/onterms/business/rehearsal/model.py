"""Simulations: what is asked for, what is assumed, and how one moves. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

Status = Literal["queued", "running", "completed", "failed"]
Outcome = Literal["succeeded", "declined"]
MailOutcome = Literal["accepted", "refused"]
UsageMode = Literal["repeat", "given", "none"]

ENDED: Final = frozenset({"completed", "failed"})
DAYS_MAX: Final = 366
# Four weeks, so that each day of the week stands for itself.
PROJECTED_FROM_DAYS: Final = 28
FIGURES_MAX: Final = 200
EVENTS_MAX: Final = 10_000
WALL_S: Final = 120
WALL_S_MAX: Final = 600


class Move(NamedTuple):
    """Where an event leads: what is done on the way, and the next status."""

    effects: tuple[str, ...]
    next: Status


# What stands in no row is stale: a run that was given up meanwhile changes nothing when it ends after all.
MOVES: Final[Mapping[tuple[str, str], Move]] = {
    ("queued", "begin"): Move((), "running"),
    ("running", "complete"): Move(("keep_result",), "completed"),
    ("running", "fail"): Move(("keep_reason",), "failed"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Usage of each day, as given: `qty` units of a service by an account."""

    account_sid: str
    service: str
    direction: str
    country: str
    unit: str
    qty: int
    number: str = ""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is taken for granted of the world outside.

    Shapes: `paid_after_days` is when invoices are paid by bank, counted from their date; None is never.
    """

    mail: MailOutcome = "accepted"
    payments: Outcome = "succeeded"
    usage: UsageMode = "repeat"
    figures: tuple[Figure, ...] = ()
    paid_after_days: int | None = None
    # Spreads the repeats of what fails; the same seed gives the same result.
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a rehearsal ends at the latest; it then returns what it has."""

    events: int = EVENTS_MAX
    wall_s: int = WALL_S


@dataclass(frozen=True, slots=True)
class Simulation:
    """A rehearsal as it stands.

    Shapes: scope is a customer's SID or "all"; `from_at` None is the moment of the copy. `scratch` is the database of
    the copy while there is one.
    """

    sid: str
    status: Status
    scope: str
    from_at: datetime | None
    days: int
    assumptions: Assumptions
    limits: Limits
    scratch: str | None
    reason: str | None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    result: Mapping[str, Any] | None = field(default=None, repr=False)

    def until(self, begun_at: datetime) -> datetime:
        """Return the instant at which the rehearsed days are over."""
        return (self.from_at or begun_at) + timedelta(days=self.days)


def scratch_name(sid: str) -> str:
    """Return the name of a simulation's database; SIDs are unique, so installs on one server do not collide."""
    return f"onterms_rehearsal_{sid.lower()}"
