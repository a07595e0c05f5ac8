"""Documents as our own API takes and shows them."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from onterms.business.invoicing import model
from onterms.core.errors import InvalidParameter
from onterms.core.money import minor_text
from onterms.engines.api.shapes import Amount, NotNegative, Paging, Shape, Sid

PAGE_SIZE = 50


class LineAmount(Shape):
    """An amount of a line, before taxes."""

    ref: str
    amount: NotNegative


class CreditsQuery(Paging):
    """Credit notes on an invoice, or all."""

    invoice_sid: str | None = None


class Reason(Shape):
    """Why."""

    reason: str


class NewCredit(Shape):
    """What of an invoice is credited, and why."""

    invoice_sid: str
    lines: list[LineAmount]
    reason: str


class NewProfile(Shape):
    """Who is billed (itself, or the customer that is its reseller), by whom, as what, and in which currency."""

    bill_to: str | None = None
    issuer: str | None = None
    capacity: Literal["principal", "agent"] = "principal"
    currency: str | None = None


class Line(Shape):
    """A line of a document; a tax says what it is of."""

    ref: str
    kind: str
    name: str
    service: str
    section: str
    period: str | None
    quantity: int
    unit: str
    price: Amount | None
    amount: Amount
    jurisdiction: str | UnsetType | None = UNSET
    base: Amount | UnsetType = UNSET
    rate: Amount | UnsetType = UNSET
    lines: list[str] | UnsetType = UNSET


class Section(Shape):
    """The lines that one customer's usage gave."""

    customer_sid: str
    lines: list[Line]


class Sent(Shape):
    """What became of a document's mail at one address."""

    address: str
    accepted_on: date | None
    reply: str


class Invoice(Shape):
    """A document with what is open of it; with its lines where one is asked for."""

    sid: Sid
    customer_sid: Sid
    kind: str
    number: str
    state: model.State
    issuer: str
    capacity: model.Capacity
    on_behalf_of: str | None
    currency: str
    period_from: date
    period_to: date
    issued_on: date
    due_on: date
    total: Amount
    undisputed_due: Amount
    disputed: Amount
    sha256: str
    notice_sid: Sid | None
    totals: dict[str, Amount] | UnsetType = UNSET
    sections: list[Section] | UnsetType = UNSET
    settled: dict[str, Amount] | UnsetType = UNSET
    sent_to: list[Sent] | UnsetType = UNSET


class CreditLine(Shape):
    """What is credited of a line."""

    ref: str
    net: Amount
    tax: Amount


class Credit(Shape):
    """A credit note."""

    sid: Sid
    customer_sid: Sid
    invoice_sid: Sid
    number: str
    issuer: str
    currency: str
    reason: str
    issued_on: date
    total: Amount
    off_invoice: Amount
    to_balance: Amount
    lines: list[CreditLine]
    sha256: str


class Profile(Shape):
    """Who is billed, by whom."""

    customer_sid: Sid
    bill_to: str | None
    issuer: str | None
    capacity: model.Capacity
    currency: str | None


def nets_of(lines: Sequence[LineAmount]) -> dict[str, int]:
    """Return amounts by line.

    Raises: InvalidParameter where there are none, one is nothing, or a line is named twice.
    """
    nets = {line.ref: int(line.amount) for line in lines}
    if not lines:
        raise InvalidParameter("'lines' must be a list that is not empty")
    if len(nets) != len(lines):
        raise InvalidParameter("Each of 'lines' needs a 'ref' of its own and an 'amount'")
    if min(nets.values()) <= 0:
        raise InvalidParameter("'amount' must be an amount above zero, as text")
    return nets


def invoice(found: model.Invoice, parts: Sequence[model.Part], sent: Sequence[model.Evidence] | None = None) -> Invoice:
    """Show a document with what is open of it."""
    code = found.currency
    disputed = sum(part.open for part in parts if part.disputed)
    due = sum(part.open for part in parts if not part.disputed)
    more: dict[str, Any] = dict.fromkeys(("totals", "sections", "settled", "sent_to"), UNSET)
    if sent is not None:
        more["sent_to"] = [Sent.of(each) for each in sent]
    if found.lines:
        more["totals"] = _texts(dict(sorted(model.totals(found.lines).items())), code)
        sections: dict[str, list[Line]] = {}
        for line in found.lines:
            sections.setdefault(line.section, []).append(Line(**model.line_body(line, code)))
        more["sections"] = [Section(name, lines) for name, lines in sections.items()]
        more["settled"] = _texts(model.settled_by_group(found.lines, found.total - due - disputed), code)
    return Invoice.of(
        found,
        total=minor_text(found.total, code),
        undisputed_due=minor_text(due, code),
        disputed=minor_text(disputed, code),
        **more,
    )


def _texts(amounts: Mapping[str, int], currency: str) -> dict[str, str]:
    return {name: minor_text(amount, currency) for name, amount in amounts.items()}


def credit(found: model.Credit) -> Credit:
    """Show a credit note."""
    code = found.currency
    lines = [
        CreditLine(each["ref"], minor_text(each["net"], code), minor_text(sum(each["taxes"].values()), code))
        for each in found.lines
    ]
    return Credit.of(
        found,
        total=minor_text(found.total, code),
        off_invoice=minor_text(found.off_document, code),
        to_balance=minor_text(found.to_balance, code),
        lines=lines,
    )
