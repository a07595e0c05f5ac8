"""Withholding: what a customer must keep back for its own authority, and the proof that it paid it there.

uploaded --review--> reviewed --accept--> accepted
                         |------reject--> rejected
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from onterms.core.money import round_minor, share

State = Literal["uploaded", "reviewed", "accepted", "rejected"]
Event = Literal["review", "accept", "reject"]
Policy = Literal["gross_up", "accept_certificate"]
_RATE_UNIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the table: what must hold, what follows, and the next state."""

    guard: Literal["none", "reason_given"]
    effects: tuple[str, ...]
    next: State


MOVES: Mapping[tuple[State, Event], Move] = {
    ("uploaded", "review"): Move("none", (), "reviewed"),
    ("reviewed", "accept"): Move("none", ("announce",), "accepted"),
    ("reviewed", "reject"): Move("reason_given", ("announce",), "rejected"),
}


def move(state: State, event: Event) -> Move | None:
    """Return the table's row for an event in a state, or None where it is not allowed."""
    return MOVES.get((state, event))


@dataclass(frozen=True, slots=True)
class WithholdingProfile:
    """How a customer withholds.

    Shapes: the treaty rate counts on the days of the operator's certificate. Units: rates in millionths.
    """

    customer_sid: str
    country: str
    rate: int
    policy: Policy
    treaty_rate: int | None = None
    treaty_certificate: str | None = None
    treaty_from: date | None = None
    treaty_to: date | None = None

    def rate_on(self, day: date) -> int:
        """Return the rate of a day."""
        if self.treaty_rate is None or self.treaty_from is None or day < self.treaty_from:
            return self.rate
        return self.treaty_rate if self.treaty_to is None or day <= self.treaty_to else self.rate


@dataclass(frozen=True, slots=True)
class Proof:
    """A customer's proof that it paid a withheld tax to its authority."""

    customer_sid: str
    sid: str
    state: State
    invoice_sid: str
    currency: str
    micros: int
    document_name: str
    document_sha256: str
    uploaded_at: datetime
    reviewed_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    reason: str


def gross_up(net: int, rate: int, currency: str) -> tuple[int, int]:
    """Return the amount to invoice so that the net stays after withholding, and what is withheld of it.

    Units: micro-units; rate in millionths.
    """
    gross = round_minor(share(net, _RATE_UNIT, _RATE_UNIT - rate), currency)
    return gross, gross - net


def still_due(due: int, paid: int, proven: int, policy: Policy) -> int:
    """Return what of an invoice is still owed after a payment and accepted proofs.

    Fees are net of taxes, so under gross-up a proof does not pay; under `accept_certificate` it counts like money.
    """
    return max(0, due - paid - (proven if policy == "accept_certificate" else 0))
