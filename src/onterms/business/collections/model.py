"""Dunning: the table of states and the arithmetic of late fees, pure.

Theory of operation
-------------------

The aggregate is the customer. What it should be is decided by its facts (which undisputed Fees are past due, which of
them were given notice of, whose 15 days are over), and the table says how it gets there and what follows. Nothing
lapses by waiting (9.9): a breach is one until the Fees are paid or disputed, however long nobody acts.

A late fee is always the cumulative figure from the day it starts, less what was assessed before; so a payment entered
late, a dispute that is upheld or a notice that bounced take back exactly what they should, and it makes no difference
how often one looks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

from onterms.core.calendar import anniversaries
from onterms.core.money import minor_digits

State = Literal["clear", "past_due", "cure", "breached", "suspended"]
Event = Literal["turn_past_due", "notice_given", "cure_end", "suspend", "settle", "back_to_past_due", "back_to_cure"]
Mode = Literal["off", "propose", "auto"]
FeeStart = Literal["cure_expiry", "due_date"]

MODES = ("off", "propose", "auto")
FEE_STARTS = ("cure_expiry", "due_date")
# Terms of Service 3.3.2.
CURE_DAYS = 15
CONTRACT_RATE = Fraction(15, 1000)
# Design of the terms, C5: the legal side counts days of a year of 365.
YEAR_DAYS = 365
_RATE_UNIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the table: what must hold, what follows, and the next state."""

    guard: str
    effects: tuple[str, ...]
    next: State


MOVES: Mapping[tuple[State, Event], Move] = {
    ("clear", "turn_past_due"): Move("undisputed Fees after their due day", ("block_new_accounts",), "past_due"),
    ("past_due", "notice_given"): Move("a server took the notice", ("start_cure",), "cure"),
    ("past_due", "settle"): Move("no undisputed Fees past due", ("unblock_new_accounts",), "clear"),
    ("cure", "cure_end"): Move("the 15 days are over", ("late_fee", "propose_suspension"), "breached"),
    ("cure", "settle"): Move("no undisputed Fees past due", ("unblock_new_accounts",), "clear"),
    ("cure", "back_to_past_due"): Move("no notice holds for what is due", (), "past_due"),
    ("breached", "suspend"): Move("the notice is older than its 15 days", ("suspend_all",), "suspended"),
    ("breached", "settle"): Move("no undisputed Fees past due", ("unblock_new_accounts",), "clear"),
    ("breached", "back_to_cure"): Move("only Fees in their cure are left", (), "cure"),
    ("breached", "back_to_past_due"): Move("no notice holds for what is due", (), "past_due"),
    ("suspended", "settle"): Move("no undisputed Fees past due", ("lift", "unblock_new_accounts"), "clear"),
    ("suspended", "back_to_past_due"): Move("no notice holds for what is due", ("lift",), "past_due"),
}

_PATHS: Mapping[tuple[State, State], tuple[Event, ...]] = {
    ("clear", "past_due"): ("turn_past_due",),
    ("clear", "cure"): ("turn_past_due", "notice_given"),
    ("clear", "breached"): ("turn_past_due", "notice_given", "cure_end"),
    ("past_due", "clear"): ("settle",),
    ("past_due", "cure"): ("notice_given",),
    ("past_due", "breached"): ("notice_given", "cure_end"),
    ("cure", "clear"): ("settle",),
    ("cure", "past_due"): ("back_to_past_due",),
    ("cure", "breached"): ("cure_end",),
    ("breached", "clear"): ("settle",),
    ("breached", "past_due"): ("back_to_past_due",),
    ("breached", "cure"): ("back_to_cure",),
    ("suspended", "clear"): ("settle",),
    ("suspended", "past_due"): ("back_to_past_due",),
}


def path(state: State, target: State) -> tuple[Event, ...]:
    """Return the events that lead from a state to what the facts say."""
    return _PATHS.get((state, target), ())


@dataclass(frozen=True, slots=True)
class Dunning:
    """Where a customer stands."""

    customer_sid: str
    state: State = "clear"
    version: int = 0
    changed_at: datetime | None = None
    notice_sid: str | None = None
    review_on: date | None = None


@dataclass(frozen=True, slots=True)
class LateNotice:
    """A notice that Fees are late, and the cure it started."""

    customer_sid: str
    invoice_sid: str
    part: str
    notice_sid: str
    sent_at: datetime
    given_on: date | None
    cure_until: date | None
    voided_at: datetime | None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator lets happen by itself. `off`, `propose` (it decides) or `auto`."""

    notice: Mode = "auto"
    late_fee: Mode = "propose"
    suspension: Mode = "propose"
    fee_start: FeeStart = "cure_expiry"


@dataclass(frozen=True, slots=True)
class Proposal:
    """Something the operator may do and has to decide."""

    customer_sid: str
    sid: str
    kind: str
    invoice_sid: str
    part: str
    state: str
    currency: str | None
    micros: int | None
    evidence: Mapping[str, Any]
    created_at: datetime
    decided_by: str | None = None
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Assessed:
    """A late fee that was assessed: the difference to what was before."""

    customer_sid: str
    sid: str
    invoice_sid: str
    part: str
    currency: str
    micros: int
    from_on: date
    until_on: date
    contract: int
    legal: int | None
    flags: tuple[str, ...]
    assessed_by: str
    assessed_at: datetime


@dataclass(frozen=True, slots=True)
class LegalRate:
    """What law allows at most, on the days [from_on, until_on). Units: rate in millionths a year."""

    applies_to: Literal["commercial", "government"]
    jurisdiction: str
    rate: int
    from_on: date
    until_on: date | None
    source: str


@dataclass(frozen=True, slots=True)
class Fee:
    """A cumulative late fee: what the contract says, what law allows, and what is charged.

    Shapes: `legal` is None where no maximum is on file; flags say what the operator should know.
    """

    contract: int
    legal: int | None
    micros: int
    flags: tuple[str, ...] = field(default=())


def legal_rates(rates: Sequence[LegalRate], country: str, subdivision: str, government: bool) -> list[LegalRate]:
    """Return the rates of a customer's place: its subdivision's, else its country's."""
    kind = "government" if government else "commercial"
    for place in (f"{country}-{subdivision}", country):
        found = [rate for rate in rates if rate.jurisdiction == place and rate.applies_to == kind]
        if found:
            return sorted(found, key=lambda rate: rate.from_on)
    return []


def late_fee(
    steps: Sequence[tuple[date, int]],
    start: date,
    until: date,
    currency: str,
    rates: Sequence[LegalRate],
    *,
    government: bool = False,
) -> Fee:
    """Return the cumulative late fee on the days [start, until): simple, never compounding, rounded down.

    Shapes: steps are changes of the undisputed Fees by day, in any order. A government owes the legal rate (10.1.1),
    everybody else the lesser of 1.5 % a month and the legal maximum.
    """
    contract = legal = Fraction(0)
    is_covered = True
    for first, last, principal in _segments(steps, start, until, rates):
        months = _months(start, last) - _months(start, first)
        by_contract = principal * CONTRACT_RATE * months
        contract += by_contract
        rate = _rate_on(rates, first)
        if rate is None:
            is_covered = False
            # Missing data never becomes a guess in anybody's favour: the contract's own rate is the bound.
            legal += 0 if government else by_contract
        else:
            legal += Fraction(principal * rate * (last - first).days, _RATE_UNIT * YEAR_DAYS)
    down, allowed = _down(contract, currency), _down(legal, currency)
    if government:
        return Fee(down, allowed, allowed, () if is_covered else ("no_government_rate_on_file",))
    if not is_covered:
        return Fee(down, allowed if rates else None, min(down, allowed), ("no_legal_cap_on_file",))
    return Fee(down, allowed, min(down, allowed))


def _segments(
    steps: Sequence[tuple[date, int]], start: date, until: date, rates: Sequence[LegalRate]
) -> list[tuple[date, date, int]]:
    days = {start, *(day for day, _ in steps), *(rate.from_on for rate in rates)}
    days |= {rate.until_on for rate in rates if rate.until_on is not None}
    cuts = [*sorted(day for day in days if start <= day < until), until]
    found: list[tuple[date, date, int]] = []
    for first, last in pairwise(cuts):
        principal = sum(change for day, change in steps if day <= first)
        if principal > 0 and first < last:
            found.append((first, last, principal))
    return found


def _months(start: date, day: date) -> Fraction:
    months, rest, length = anniversaries(start, day)
    return months + Fraction(rest, length)


def _rate_on(rates: Sequence[LegalRate], day: date) -> int | None:
    found = None
    for rate in rates:
        if rate.from_on <= day and (rate.until_on is None or day < rate.until_on):
            found = rate.rate
    return found


def _down(exact: Fraction, currency: str) -> int:
    unit: int = 10 ** (6 - minor_digits(currency))
    return int(exact / unit) * unit


def cure_until(given_on: date) -> date:
    """Return the last day of the cure of a notice that was given on a day."""
    return given_on + timedelta(days=CURE_DAYS)
