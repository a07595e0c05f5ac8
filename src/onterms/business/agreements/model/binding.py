"""What one version is to one customer: the states of a binding, and from when it holds.

Theory of operation
-------------------

A published version binds whoever accepts it, at once. For customers that accepted an earlier one a binding begins as
`pending`. A material change waits for its notice and takes effect on the later of its own day and the 30th day after
the notice was given. Nobody accepts by waiting: an effective version is accepted by the first use on or after its day,
or by a click or a signature. A version that a law, a regulation or a carrier forces needs no waiting time and binds
everybody on its day. Whoever declines keeps the old text until the new one's day and is wound down.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from onterms.core.calendar import plus_days, start_of

State = Literal["pending", "noticed", "effective", "accepted", "declined", "exempt_effective"]
Event = Literal["notice_given", "notice_void", "day_reached", "use", "accept", "decline"]
Mode = Literal["click", "signature", "continued_use"]

STATES: tuple[State, ...] = ("pending", "noticed", "effective", "accepted", "declined", "exempt_effective")
EVENTS: tuple[Event, ...] = ("notice_given", "notice_void", "day_reached", "use", "accept", "decline")
EXEMPT_REASONS = ("law", "regulation", "carrier")
# P.12: written notice this many days ahead.
NOTICE_DAYS = 30


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a document.

    Shapes: dates are None in a draft. `number` orders what was published.
    """

    sid: str
    document: str
    label: str
    state: str
    number: int | None
    published_on: date | None
    new_effective_on: date | None
    existing_effective_on: date | None
    material: bool
    exempt_reason: str | None
    exempt_evidence: str | None
    binding_md: str
    summary_md: str
    sha256: str
    summary_sha256: str
    created_at: datetime
    published_at: datetime | None

    @property
    def needs_notice(self) -> bool:
        """Whether nothing binds an earlier acceptor before the notice period is over."""
        return self.material and self.exempt_reason is None


@dataclass(frozen=True, slots=True)
class Binding:
    """The state of one version for one customer."""

    customer_sid: str
    version_sid: str
    document: str
    state: State
    notice_sid: str | None
    given_on: date | None
    effective_on: date | None
    # Kept when it is accepted after all: what held in between stays as it was.
    declined_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The evidence that a customer accepted a version."""

    customer_sid: str
    sid: str
    document: str
    version_sid: str
    sha256: str
    mode: Mode
    accepted_at: datetime
    actor: str
    role: str
    authority: bool
    ip: str
    request_id: str
    bundle: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Move:
    """What an event makes of a binding: its guard, what follows, the next state."""

    guard: str
    effects: tuple[str, ...]
    next: State


# Two rows of one key are told apart by their guards, of which one holds.
MOVES: Mapping[tuple[State, Event], tuple[Move, ...]] = {
    ("pending", "notice_given"): (Move("always", ("set_effective_on", "set_timer"), "noticed"),),
    ("pending", "day_reached"): (
        Move("exempt", ("tell",), "exempt_effective"),
        Move("not_material", ("tell",), "effective"),
    ),
    ("pending", "accept"): (Move("always", ("write_acceptance",), "accepted"),),
    ("pending", "decline"): (Move("always", ("wind_down",), "declined"),),
    ("noticed", "notice_void"): (Move("always", ("clear_effective_on",), "pending"),),
    ("noticed", "day_reached"): (
        Move("exempt", ("tell",), "exempt_effective"),
        Move("not_exempt", ("tell",), "effective"),
    ),
    ("noticed", "accept"): (Move("always", ("write_acceptance",), "accepted"),),
    ("noticed", "decline"): (Move("always", ("wind_down",), "declined"),),
    ("effective", "notice_void"): (Move("needs_notice", ("clear_effective_on",), "pending"),),
    ("effective", "use"): (Move("always", ("write_acceptance",), "accepted"),),
    ("effective", "accept"): (Move("always", ("write_acceptance",), "accepted"),),
    ("effective", "decline"): (Move("always", ("wind_down",), "declined"),),
    ("exempt_effective", "use"): (Move("always", ("write_acceptance",), "accepted"),),
    ("exempt_effective", "accept"): (Move("always", ("write_acceptance",), "accepted"),),
    ("exempt_effective", "decline"): (Move("always", ("wind_down",), "declined"),),
    ("declined", "accept"): (Move("always", ("write_acceptance",), "accepted"),),
}


def guard_holds(guard: str, version: Version) -> bool:
    """Tell whether a guard of the table holds for a version."""
    exempt = version.exempt_reason is not None
    return {
        "always": True,
        "exempt": exempt,
        "not_exempt": not exempt,
        "not_material": not exempt and not version.material,
        "needs_notice": version.needs_notice,
    }[guard]


def move(state: State, event: Event, version: Version) -> Move | None:
    """Return what an event makes of a binding, or None where it changes nothing."""
    return next((row for row in MOVES.get((state, event), ()) if guard_holds(row.guard, version)), None)


def effective_on(version: Version, given_on: date | None) -> date | None:
    """Return the day from which a version may bind an earlier acceptor, or None while its notice is not given."""
    own = version.existing_effective_on
    if own is None or not version.needs_notice:
        return own
    return None if given_on is None else max(own, plus_days(given_on, NOTICE_DAYS))


def binds_at(version: Version, binding: Binding | None, accepted_at: datetime | None) -> datetime | None:
    """Return the instant from which a version governs a customer, or None while it does not."""
    instants = [] if accepted_at is None else [accepted_at]
    # Its day is only there for earlier acceptors. Whether the timer of that day has run yet makes no difference.
    if version.exempt_reason is not None and binding is not None and binding.effective_on is not None:
        # A day that had begun when it was published counts from then: nobody was told another text for its morning.
        begins = start_of(binding.effective_on)
        begins = begins if version.published_at is None else max(begins, version.published_at)
        # Who declines before its day keeps the old text; who declines later was bound by it all the same.
        if binding.declined_at is None or binding.declined_at >= begins:
            instants.append(begins)
    return min(instants, default=None)
