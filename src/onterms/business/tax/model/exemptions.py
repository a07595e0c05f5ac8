"""Exemptions: asked for, granted going forward, and what follows when an authority takes one away.

submitted --approve--> approved --expire--> expired
    |--reject--> rejected   |---revoke--> revoked <--revoke-- expired
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from onterms.core.money import Rounding, divide, minor_digits

State = Literal["submitted", "approved", "rejected", "expired", "revoked"]
Event = Literal["approve", "reject", "expire", "revoke"]
_RATE_UNIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the table: what must hold, what follows, and the next state."""

    guard: Literal["none", "certificate_valid", "validity_over"]
    effects: tuple[str, ...]
    next: State


MOVES: Mapping[tuple[State, Event], Move] = {
    ("submitted", "approve"): Move("certificate_valid", ("count_from_now", "arm_expiry"), "approved"),
    ("submitted", "reject"): Move("none", (), "rejected"),
    ("approved", "expire"): Move("validity_over", (), "expired"),
    ("approved", "revoke"): Move("none", ("back_bill",), "revoked"),
    ("expired", "revoke"): Move("none", ("back_bill",), "revoked"),
}


def move(state: State, event: Event) -> Move | None:
    """Return the table's row for an event in a state, or None where it is not allowed."""
    return MOVES.get((state, event))


@dataclass(frozen=True, slots=True)
class Exemption:
    """A customer's exemption from a kind of tax in a jurisdiction (and in what lies within it).

    Shapes: it counts in [approved_at, ended_at). valid_to is the certificate's last day.
    """

    customer_sid: str
    sid: str
    state: State
    kind: str
    jurisdiction: str
    certificate: str
    valid_from: date
    valid_to: date | None
    submitted_at: datetime
    approved_at: datetime | None
    ended_at: datetime | None
    revoked_from: datetime | None
    reason: str = ""

    def covers(self, kind: str, jurisdiction: str, at: datetime) -> bool:
        """Tell whether a tax on what was supplied at an instant is not charged."""
        if self.approved_at is None or at < self.approved_at or (self.ended_at is not None and at >= self.ended_at):
            return False
        if self.revoked_from is not None and at >= self.revoked_from:
            return False
        within = jurisdiction == self.jurisdiction or jurisdiction.startswith(f"{self.jurisdiction}-")
        return kind == self.kind and within


@dataclass(frozen=True, slots=True)
class Exempted:
    """What an exemption left untaxed.

    Units: base in micro-units, rate in millionths.
    """

    exemption_sid: str
    line_ref: str
    jurisdiction: str
    kind: str
    currency: str
    base: int
    rate: int
    rounding: Rounding
    occurred_at: datetime
    tax_due_on: date


@dataclass(frozen=True, slots=True)
class BackBilling:
    """What a customer owes once an authority has taken an exemption away.

    Shapes: lines are (jurisdiction, kind, rate, base, tax) in micro-units, one for each rate.
    """

    currency: str
    tax: int
    interest: int
    penalty: int
    lines: tuple[tuple[str, str, int, int, int], ...]

    @property
    def total(self) -> int:
        """Return everything together."""
        return self.tax + self.interest + self.penalty


def interest(tax: int, annual_rate: int, start: date, until: date, currency: str) -> int:
    """Return simple interest for the days [start, until), a year being 365, rounded down.

    Units: annual_rate in millionths.
    """
    unit: int = 10 ** (6 - minor_digits(currency))
    days = max(0, (until - start).days)
    return divide(tax * annual_rate * days, _RATE_UNIT * 365 * unit, "down") * unit


def back_bill(
    exempted: Sequence[Exempted],
    revoked_from: datetime,
    determined_on: date,
    *,
    interest_rate: int = 0,
    penalty_rate: int = 0,
    penalty: int = 0,
) -> list[BackBilling]:
    """Return, for each currency, the tax that was not charged from an instant on, with interest and penalties.

    The tax is rounded once per jurisdiction and rate on the sum, like that of an invoice. Interest runs from the day
    each tax was due to the day of the determination, on the exact tax of that day, and is rounded once.
    Units: rates in millionths; a fixed penalty in micro-units, charged once, with the first currency.
    """
    affected = [each for each in exempted if each.occurred_at >= revoked_from]
    found: list[BackBilling] = []
    for place, currency in enumerate(sorted({each.currency for each in affected})):
        unit: int = 10 ** (6 - minor_digits(currency))
        groups: dict[tuple[str, str, int, Rounding], int] = {}
        due: dict[date, int] = {}
        for each in affected:
            if each.currency == currency:
                key = (each.jurisdiction, each.kind, each.rate, each.rounding)
                groups[key] = groups.get(key, 0) + each.base
                due[each.tax_due_on] = due.get(each.tax_due_on, 0) + each.base * each.rate
        lines = tuple(
            (jurisdiction, kind, rate, base, divide(base * rate, _RATE_UNIT * unit, rounding) * unit)
            for (jurisdiction, kind, rate, rounding), base in sorted(groups.items())
        )
        tax = sum(line[4] for line in lines)
        # Exact tax by due day in millionths of micro-units, times rate and days, over a year.
        weighted = sum(amount * max(0, (determined_on - day).days) for day, amount in due.items())
        charged = divide(weighted * interest_rate, _RATE_UNIT * _RATE_UNIT * 365 * unit, "down") * unit
        fine = divide(tax * penalty_rate, _RATE_UNIT * unit, "half_up") * unit + (penalty if place == 0 else 0)
        found.append(BackBilling(currency, tax, charged, fine, lines))
    return found


def day_after(day: date) -> date:
    """Return the day at whose first instant a certificate no longer counts."""
    return day + timedelta(days=1)
