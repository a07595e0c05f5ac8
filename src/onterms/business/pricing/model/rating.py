"""Usage events and what rating makes of them.

Theory of operation
-------------------

An event has its producer's identifier. The same event again is answered with what it was rated as; another event under
the same identifier is put aside for the operator, as is one that has no price. A rated row never changes: a correction
adds the exact opposite of every line of its original, whatever prices are by then. With tiers the place of an event is
the count of units that came before it in the contract month, taken as it arrives and written on its row.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

import msgspec

from onterms.core.money import round_minor

Kind = Literal["fee", "surcharge", "commitment", "penalty"]


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """Something that a customer used.

    Shapes: id is the producer's and unique within the customer; category is the usage record's (`sms-outbound`); number
    is the other party's, for prices by prefix; attributes may hold `carrier`. A correction names its original and needs
    nothing else to be right.
    Units: qty in units of the price (segments, messages, minutes, months).
    """

    id: str
    customer_sid: str
    account_sid: str | None
    service: str
    category: str
    direction: str
    country: str
    unit: str
    qty: int
    currency: str
    occurred_at: datetime
    number: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    correction_of: str | None = None

    def fingerprint(self) -> str:
        """Return what tells this event's body from another's."""
        body = self.body()
        text = msgspec.json.encode([(name, body[name]) for name in _NAMES])
        return hashlib.sha256(text).hexdigest()[:32]

    def body(self) -> dict[str, Any]:
        """Return the event as JSON can carry it."""
        return {
            **{name: getattr(self, name) for name in _NAMES},
            "attributes": dict(sorted(self.attributes.items())),
            "occurred_at": self.occurred_at.astimezone(UTC).isoformat(),
        }


_NAMES = sorted(each.name for each in fields(UsageEvent))


@dataclass(frozen=True, slots=True)
class RatedUsage:
    """One line of what an event costs.

    Shapes: line 0 is the fee. price is None where tiers leave no single price.
    Units: price and micros in micro-units of the currency.
    """

    customer_sid: str
    id: str
    line: int
    account_sid: str | None
    kind: Kind
    name: str
    service: str
    category: str
    direction: str
    country: str
    unit: str
    qty: int
    currency: str
    price: int | None
    micros: int
    occurred_at: datetime
    recorded_at: datetime
    price_row: int
    order_form: str
    tier_position: int | None
    correction_of: str | None
    earlier_period: bool
    fingerprint: str
    invoice_sid: str | None = None


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """Rated rows of one kind and price together, as an invoice line needs them.

    Shapes: period is the contract month (YYYY-MM), set only for what came too late for its own invoice.
    """

    kind: Kind
    name: str
    service: str
    category: str
    direction: str
    country: str
    unit: str
    currency: str
    price: int | None
    order_form: str
    earlier_period: bool
    period: str | None
    count: int
    qty: int
    micros: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class UsageSlice:
    """Rated rows of one day together, for claims; `first_at` is when the first of them was."""

    customer_sid: str
    service: str
    kind: Kind
    unit: str
    currency: str
    invoice_sid: str | None
    first_at: datetime
    micros: int


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """How much of a category was used in a period.

    Shapes: start is the first day of the day, month or year grouped by, or None for the whole.
    """

    category: str
    currency: str
    unit: str
    start: date | None
    count: int
    qty: int
    micros: int


@dataclass(frozen=True, slots=True)
class NewCharge:
    """A fine or penalty that an authority or a carrier imposed because of a customer's use.

    Units: micros in micro-units of the currency.
    """

    authority: str
    case_reference: str
    currency: str
    micros: int
    imposed_on: date
    document_name: str
    document: bytes


# What an invoice calls a rated line, where its word differs. Terms of Service 3.2.2: a line of its own.
_LINE_KINDS = {"surcharge": "communications_surcharge"}


def line_kind(kind: Kind) -> str:
    """Return the kind that the invoice line of rated rows has."""
    return _LINE_KINDS.get(kind, kind)


def contract_month(at: datetime) -> str:
    """Return the contract month of an instant as YYYY-MM."""
    return at.astimezone(UTC).strftime("%Y-%m")


def reversed_line(original: RatedUsage, id_: str, fingerprint: str, at: datetime, *, earlier: bool) -> RatedUsage:
    """Return the exact opposite of a rated line."""
    return replace(
        original,
        id=id_,
        qty=-original.qty,
        micros=-original.micros,
        recorded_at=at,
        tier_position=None,
        correction_of=original.id,
        earlier_period=earlier,
        fingerprint=fingerprint,
        invoice_sid=None,
    )


def round_line(micros: int, currency: str) -> tuple[int, int]:
    """Round an invoice line's exact amount; return it with what is to be posted as rounding (rounded less exact)."""
    rounded = round_minor(micros, currency)
    return rounded, rounded - micros
