"""Order forms: agreed rates and terms, from a draft to their end.

Theory of operation
-------------------

    draft --send--> sent --sign--> signed --begin--> active --expire--> expired
      ^-----recall---'                |                |---renew--> active
    withdraw, terminate, supersede lead to terminated and superseded from where MOVES says.

A form is signed once both parties have signed. Its rates count in [active_from, active_to): from the first instant of
the term, or from the last signature where that came later, for nothing that was rated before changes; to the end of the
last day. So the rates follow the instants, and a timer that fires late moves only the word that describes the state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from onterms.core.calendar import plus_months

State = Literal["draft", "sent", "signed", "active", "expired", "terminated", "superseded"]
Event = Literal["send", "recall", "sign", "begin", "renew", "expire", "withdraw", "terminate", "supersede"]
Period = Literal["month", "quarter", "year", "term"]

RENEWAL_WARNING_DAYS = 60
# States in which the rates count, if the instant lies in the term.
LIVE = frozenset({"signed", "active", "expired", "terminated", "superseded"})
_MONTHS: Mapping[str, int] = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the table: what must hold, what follows, and the next state."""

    guard: Literal["none", "both_signed", "begun", "ended", "renews"]
    effects: tuple[str, ...]
    next: State


MOVES: Mapping[tuple[State, Event], Move] = {
    ("draft", "send"): Move("none", ("announce",), "sent"),
    ("sent", "recall"): Move("none", (), "draft"),
    ("sent", "sign"): Move("both_signed", ("fix_times", "arm_begin"), "signed"),
    ("signed", "begin"): Move("begun", ("arm_end", "arm_warning", "arm_commitments"), "active"),
    ("active", "renew"): Move("renews", ("extend", "arm_end", "arm_warning", "arm_commitments"), "active"),
    ("active", "expire"): Move("ended", (), "expired"),
    ("draft", "withdraw"): Move("none", (), "terminated"),
    ("sent", "withdraw"): Move("none", (), "terminated"),
    ("signed", "terminate"): Move("none", ("cut_term",), "terminated"),
    ("active", "terminate"): Move("none", ("cut_term", "close_commitments"), "terminated"),
    ("signed", "supersede"): Move("none", ("cut_term",), "superseded"),
    ("active", "supersede"): Move("none", ("cut_term", "close_commitments"), "superseded"),
}


def move(state: State, event: Event) -> Move | None:
    """Return the table's row for an event in a state, or None where it is not allowed."""
    return MOVES.get((state, event))


@dataclass(frozen=True, slots=True)
class Commitment:
    """A sum that a customer promises to use in each period.

    Shapes: no services means all. Units: micros in micro-units of the form's currency, due whole for each period begun.
    """

    micros: int
    period: Period
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderForm:
    """An ordering document as it is stored.

    Shapes: rates are what `wire` reads and writes: service, direction, country, prefix, unit, micros, tier_mode, tiers.
    term_to is the last day.
    """

    customer_sid: str
    sid: str
    number: str
    state: State
    version: int
    currency: str
    entity: str
    term_from: date
    term_to: date
    renewal_months: int | None
    net_days: int | None
    prepaid_micros: int
    rates: tuple[Mapping[str, Any], ...]
    commitments: tuple[Commitment, ...]
    overrides: Mapping[str, Any]
    order_only: bool
    supersedes: str | None
    signatures: tuple[Mapping[str, Any], ...]
    created_at: datetime
    sent_at: datetime | None
    signed_at: datetime | None
    active_from: datetime | None
    active_to: datetime | None
    ended_cause: str | None

    def signed_by(self) -> set[str]:
        """Return which parties have signed."""
        return {str(signature["party"]) for signature in self.signatures}


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """How an invoice of a customer is paid.

    Shapes: order_form is the SID of the form that says so, or None.
    """

    net_days: int
    currency: str
    order_form: str | None


def default_currency(country: str) -> str:
    """Return the currency of a customer without an order form."""
    # Terms of Service 3.3.2 and 10.4.4.
    return "JPY" if country == "JP" else "USD"


def commitment_periods(commitment: Commitment, term_from: date, term_to: date) -> list[tuple[date, date]]:
    """Return a commitment's periods, half-open, anchored on the term's first day and cut at its last."""
    end = term_to + timedelta(days=1)
    months = _MONTHS.get(commitment.period)
    if months is None:
        return [(term_from, end)]
    periods: list[tuple[date, date]] = []
    # Always counted from the first day, so that a term beginning on a 31st does not drift.
    while (start := plus_months(term_from, months * len(periods))) < end:
        periods.append((start, min(plus_months(term_from, months * (len(periods) + 1)), end)))
    return periods


def shortfall(committed: int, counted: int) -> int:
    """Return what is still owed of a commitment at the end of its period."""
    return max(0, committed - counted)


def overlaps(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether two forms have a rate for the same thing."""

    def keys(rates: Sequence[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
        return {(r["service"], r["direction"], r["country"], r["prefix"], r["unit"]) for r in rates}

    return not keys(one).isdisjoint(keys(other))
