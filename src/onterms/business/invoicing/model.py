"""Invoices, their lines, parts and states: pure.

Theory of operation
-------------------

A document is finalised in the transaction that numbers it and never changes again. What is open of it is the sum of
movements, each with the contract day on which it counts, so that what was open on a past day can be told even when a
payment is entered late. A disputed amount moves to a part of its own, named by the dispute; a part that is rejected is
due on a day of its own.

    draft -> finalised -> sent -> partially_paid -> paid
                            |------------|--------> past_due -> paid | written_off
    any open one -> void, by a credit note over all of it
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Literal

import msgspec

from onterms.core.money import decimal_text, divide, minor_digits, minor_text

State = Literal["draft", "finalised", "sent", "partially_paid", "paid", "past_due", "void", "written_off"]
Event = Literal["finalise", "send", "pay_part", "pay_all", "turn_past_due", "credit_all", "write_off"]
Capacity = Literal["principal", "agent"]

# Fees by the definition of clause 3.3: what a late fee is counted on, what may be disputed, what lifts a suspension.
FEE_KINDS = frozenset({"fee", "communications_surcharge", "tax", "commitment", "penalty", "credit"})
# Clause 3.3.2: a tax lives on its own line; these are lines that can be disputed or credited with their tax.
NET_KINDS = frozenset({"fee", "communications_surcharge", "commitment", "penalty"})


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the table: what must hold, what follows, and the next state."""

    guard: str
    effects: tuple[str, ...]
    next: State


MOVES: Mapping[tuple[State, Event], Move] = {
    ("draft", "finalise"): Move(
        "has_lines", ("number", "hash", "post_invoice_close", "send_job", "due_job"), "finalised"
    ),
    ("finalised", "send"): Move("none", ("notice",), "sent"),
    ("finalised", "pay_part"): Move("some_open", (), "partially_paid"),
    ("finalised", "pay_all"): Move("nothing_open", (), "paid"),
    ("finalised", "credit_all"): Move("credited_whole", (), "void"),
    ("finalised", "turn_past_due"): Move("after_due_day", ("announce",), "past_due"),
    ("finalised", "write_off"): Move("some_open", ("post_write_off",), "written_off"),
    ("sent", "pay_part"): Move("some_open", (), "partially_paid"),
    ("sent", "pay_all"): Move("nothing_open", (), "paid"),
    ("sent", "turn_past_due"): Move("after_due_day", ("announce",), "past_due"),
    ("sent", "credit_all"): Move("credited_whole", (), "void"),
    ("sent", "write_off"): Move("some_open", ("post_write_off",), "written_off"),
    ("partially_paid", "pay_part"): Move("some_open", (), "partially_paid"),
    ("partially_paid", "pay_all"): Move("nothing_open", (), "paid"),
    ("partially_paid", "credit_all"): Move("credited_whole", (), "void"),
    ("partially_paid", "turn_past_due"): Move("after_due_day", ("announce",), "past_due"),
    ("partially_paid", "write_off"): Move("some_open", ("post_write_off",), "written_off"),
    ("past_due", "pay_part"): Move("some_open", (), "past_due"),
    ("past_due", "pay_all"): Move("nothing_open", (), "paid"),
    ("past_due", "credit_all"): Move("credited_whole", (), "void"),
    ("past_due", "write_off"): Move("some_open", ("post_write_off",), "written_off"),
}


def move(state: State, event: Event) -> State | None:
    """Return the next state, or None where the event means nothing in this one."""
    found = MOVES.get((state, event))
    return None if found is None else found.next


@dataclass(frozen=True, slots=True)
class Profile:
    """How a customer is billed.

    Shapes: bill_to is a reseller's customer SID; issuer None is the contracting entity.
    """

    customer_sid: str
    bill_to: str | None
    issuer: str | None
    capacity: Capacity
    currency: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a document.

    Units: amounts in micro-units, `micros` rounded to the minor unit and `exact` not; rate in millionths.
    """

    ref: str
    kind: str
    name: str
    service: str
    section: str
    period: str | None
    qty: int
    unit: str
    price: int | None
    exact: int
    micros: int
    supplied_at: datetime
    jurisdiction: str | None = None
    base: int | None = None
    rate: int | None = None
    taxed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody a document names."""

    name: str
    country: str
    vat_id: str = ""
    address: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the recipient's mail exchanger said about one address."""

    address: str
    accepted_on: date | None
    reply: str


@dataclass(frozen=True, slots=True)
class Invoice:
    """A finalised document."""

    customer_sid: str
    sid: str
    kind: str
    number: str
    state: State
    issuer: str
    capacity: Capacity
    on_behalf_of: str | None
    currency: str
    period_from: date
    period_to: date
    issued_on: date
    due_on: date
    total: int
    body: bytes
    sha256: str
    usage_sid: str
    notice_sid: str | None
    created_at: datetime
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What is open of a part of an invoice: its Fees, and late fees billed on it."""

    customer_sid: str
    invoice_sid: str
    part: str
    currency: str
    due_on: date
    disputed: bool
    fees: int
    late: int

    @property
    def open(self) -> int:
        """Return all that is open of it."""
        return self.fees + self.late


@dataclass(frozen=True, slots=True)
class Movement:
    """A change of what is open, on the contract day on which it counts."""

    invoice_sid: str
    part: str
    kind: str
    fees: int
    late: int
    on_day: date
    source: str


@dataclass(frozen=True, slots=True)
class Credit:
    """A credit note."""

    customer_sid: str
    sid: str
    invoice_sid: str
    number: str
    issuer: str
    currency: str
    reason: str
    issued_on: date
    total: int
    off_document: int
    to_balance: int
    lines: tuple[Mapping[str, Any], ...]
    sha256: str
    created_at: datetime


def totals(lines: Sequence[Line]) -> dict[str, int]:
    """Add up the lines of a document by kind."""
    found: dict[str, int] = {}
    for line in lines:
        found[line.kind] = found.get(line.kind, 0) + line.micros
    return found


def rounding(lines: Sequence[Line]) -> int:
    """Return what rounding added to the exact amounts."""
    return sum(line.micros - line.exact for line in lines)


def number_text(issuer: str, series: str, year: int, number: int) -> str:
    """Write a document's number."""
    return f"{issuer}-{series}{year}-{number:06d}"


def canonical(invoice: Invoice, names: Mapping[str, str]) -> bytes:
    """Write a document as the bytes its hash is taken of."""
    code = invoice.currency
    body = {
        "sid": invoice.sid,
        "kind": invoice.kind,
        "number": invoice.number,
        "issuer": {"entity": invoice.issuer, "capacity": invoice.capacity, "on_behalf_of": invoice.on_behalf_of},
        "bill_to": invoice.customer_sid,
        "names": dict(sorted(names.items())),
        "currency": code,
        "period": [invoice.period_from.isoformat(), invoice.period_to.isoformat()],
        "issued_on": invoice.issued_on.isoformat(),
        "due_on": invoice.due_on.isoformat(),
        "lines": [line_body(line, code) for line in invoice.lines],
        "total": minor_text(invoice.total, code),
    }
    return msgspec.json.encode(body)


def line_body(line: Line, currency: str) -> dict[str, Any]:
    """Write a line as a document holds it."""
    body: dict[str, Any] = {
        "ref": line.ref,
        "kind": line.kind,
        "name": line.name,
        "service": line.service,
        "section": line.section,
        "period": line.period,
        "quantity": line.qty,
        "unit": line.unit,
        "price": None if line.price is None else decimal_text(line.price),
        "amount": minor_text(line.micros, currency),
    }
    if line.kind == "tax":
        assert line.base is not None and line.rate is not None
        body |= {
            "jurisdiction": line.jurisdiction,
            "base": minor_text(line.base, currency),
            # Millionths as percent.
            "rate": decimal_text(line.rate * 100),
            "lines": list(line.taxed),
        }
    return body


def sealed(invoice: Invoice, names: Mapping[str, str]) -> Invoice:
    """Return the document with its bytes and their hash."""
    body = canonical(invoice, names)
    return replace(invoice, body=body, sha256=hashlib.sha256(body).hexdigest())


def tax_shares(
    lines: Sequence[Line],
    currency: str,
    nets: Mapping[str, int],
    earlier: Mapping[str, int],
    given: Mapping[str, int],
) -> dict[str, dict[str, int]]:
    """Return the tax that goes with amounts of lines, by line and then by the tax line's ref.

    Each share is the tax of all amounts so far less what was given of it (`earlier` are nets, `given` the taxes by
    ref), so that all shares together are the tax and no rounding is left over when the last amount goes.
    """
    unit: int = 10 ** (6 - minor_digits(currency))
    shares: dict[str, dict[str, int]] = {ref: {} for ref in nets}
    for tax in lines:
        if tax.kind != "tax" or not tax.base:
            continue
        nets_so_far = sum(earlier.get(ref, 0) for ref in tax.taxed)
        tax_so_far = given.get(tax.ref, 0)
        for ref in tax.taxed:
            if ref not in nets:
                continue
            nets_so_far += nets[ref]
            target = divide(tax.micros * nets_so_far, tax.base * unit, "half_up") * unit
            shares[ref][tax.ref] = max(0, target - tax_so_far)
            tax_so_far += shares[ref][tax.ref]
    return shares


def capped(shares: Mapping[str, Mapping[str, int]], tax_max: int | None) -> dict[str, dict[str, int]]:
    """Return shares that sum to at most `tax_max`: the last ones give way; a later credit takes what was left."""
    found = {ref: dict(taxes) for ref, taxes in shares.items()}
    if tax_max is None:
        return found
    left = tax_max
    for taxes in found.values():
        for name in taxes:
            taxes[name] = min(taxes[name], left)
            left -= taxes[name]
    return found


def allocate(parts: Sequence[Part], micros: int, instruction: Mapping[str, int] | None) -> list[tuple[Part, int, int]]:
    """Spread money over what is due: as the customer said, else the oldest due day first; Fees before late fees.

    Shapes: (part, of its Fees, of its late fees). Source: conventions C6 and C7.
    """
    ordered = sorted(
        (part for part in parts if not part.disputed and part.open > 0),
        key=lambda part: (part.due_on, part.invoice_sid, part.part),
    )
    found: list[tuple[Part, int, int]] = []
    left = micros
    for part in ordered:
        wanted = part.open
        if instruction is not None:
            said = instruction.get(part.invoice_sid, 0)
            taken = sum(fees + late for each, fees, late in found if each.invoice_sid == part.invoice_sid)
            wanted = min(wanted, said - taken)
        amount = min(left, wanted)
        if amount <= 0:
            continue
        fees = min(amount, part.fees)
        found.append((part, fees, amount - fees))
        left -= amount
    return found


def settled_by_group(lines: Sequence[Line], paid: int) -> dict[str, int]:
    """Tell what of a payment settles which kind of an invoice: taxes, then surcharges, then fees (C7)."""
    sums = totals(lines)
    found: dict[str, int] = {}
    left = paid
    rest = {kind for kind in sums if kind not in ("tax", "communications_surcharge", "late_fee")}
    order = [("tax", {"tax"}), ("surcharge", {"communications_surcharge"}), ("fee", rest), ("late_fee", {"late_fee"})]
    for name, kinds in order:
        found[name] = max(0, min(left, sum(sums.get(kind, 0) for kind in kinds)))
        left -= found[name]
    return found
