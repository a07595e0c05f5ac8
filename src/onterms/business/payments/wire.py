"""The outside shapes of this room: what requests hold and what answers show."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, field

from onterms.business.payments import model
from onterms.core.errors import InvalidParameter
from onterms.core.money import is_currency
from onterms.engines.api.own import OwnRequest
from onterms.engines.api.shapes import Json, Micros, Shape, Sid, Text
from onterms.ports.payment_gateway import Settlement

PAGE_SIZE = 50

_Code = Annotated[str, Meta(max_length=3)]
_After = Annotated[str, Meta(pattern="^([A-Z]{2}[0-9a-fA-F]{32})?$")]


class PaymentsPage(Shape):
    """Where a page begins: the `next` of the page before."""

    next: _After = ""


class NewMethod(Shape):
    """A card by the provider's token, or how to pay: by card, or by invoice."""

    kind: Literal["card", "invoice"]
    token: Annotated[str, Meta(max_length=255)] | None = None
    customer_sid: Sid | None = None


class NewTopUp(Shape):
    """Funds to add by card; the key (or the header Idempotency-Key) makes it happen once."""

    amount: Micros
    currency: _Code | None = None
    card_sid: Text | None = None
    idempotency_key: Text | None = None


class NewAutoRecharge(Shape):
    """When a balance is filled up, by how much, and how much a day at the most."""

    threshold: Micros
    amount: Micros
    cap_per_day: Micros
    currency: _Code | None = None
    enabled: bool = True


class NewApplication(Shape):
    """A wish to be invoiced."""

    currency: _Code | None = None
    note: Annotated[str, Meta(max_length=4000)] = ""


class ApplicationDecision(Shape):
    """The operator's answer."""

    decision: Literal["approve", "decline"]
    credit_limit: Micros | None = None
    net_days: int = model.NET_DAYS
    reason: Text = ""


class Instruction(Shape):
    """Which document a payment is for, and how much of it; all of it where no amount is named."""

    document: str
    amount: Micros | None = None


class NewPayment(Shape):
    """Money that came in by bank: `reference` is the bank's own."""

    amount: Micros
    reference: Text
    currency: _Code | None = None
    received_on: date | None = None
    instruction: Annotated[tuple[Instruction, ...], Meta(max_length=100)] = ()


class NewRefund(Shape):
    """What is paid back, of what, on which ground of the terms."""

    source_sid: Text
    amount: Micros
    basis: Text = ""
    taken_from: Text = "refunds"
    note: Text = ""
    idempotency_key: Text | None = None


class SettlementsQuery(Shape):
    """The days that are compared, today where none are named."""

    first: date | None = field(default=None, name="from")
    last: date | None = field(default=None, name="to")


class Card(Shape):
    """A card."""

    sid: Sid
    kind: str
    provider: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    is_default: bool
    created_at: datetime


class Terms(Shape):
    """When invoices are due, in which currency, and which order form says so."""

    net_days: int
    currency: str
    source: str
    order_form_sid: str | None


class Exposure(Shape):
    """What a customer owes in a currency beside what it may."""

    currency: str
    unbilled: Micros
    receivable: Micros
    total: Micros
    credit_limit: Micros | None
    is_over: bool


class Standing(Shape):
    """How a customer pays and stands."""

    customer_sid: Sid
    method: str
    card_sid: str | None = field(name="default_card_sid")
    state: str
    cause: str | None
    since: datetime | None
    proposed_at: datetime | None = field(name="suspension_proposed_at")
    terms: Terms
    exposure: list[Exposure]


class TopUp(Shape):
    """A top-up."""

    sid: Sid
    customer_sid: Sid
    origin: str
    card_sid: str | None
    micros: Micros = field(name="amount")
    currency: str
    state: str
    failure_code: str | None
    failure_message: str | None
    action: Json | str | None
    reference: str | None
    created_at: datetime
    updated_at: datetime


class Chargeback(Shape):
    """A chargeback."""

    sid: Sid
    top_up_sid: Sid
    micros: Micros = field(name="amount")
    state: str
    reason: str | None
    opened_at: datetime | None
    closed_at: datetime | None


class AutoRecharge(Shape):
    """When a balance is filled up."""

    currency: str
    threshold: Micros
    amount: Micros
    cap_per_day: Micros
    state: str
    reason: str | None


class Application(Shape):
    """An application to be invoiced."""

    sid: Sid
    customer_sid: Sid
    state: str
    currency: str
    note: str
    credit_limit: Micros | None
    net_days: int | None
    reason: str | None
    decided_at: datetime | None
    created_at: datetime


class Allocation(Shape):
    """What of a payment settled a document."""

    document: str | None
    taxes: Micros
    surcharges: Micros
    fees: Micros


class Payment(Shape):
    """A payment and what it settled."""

    sid: Sid
    customer_sid: Sid
    micros: Micros = field(name="amount")
    currency: str
    received_on: date
    reference: str
    allocations: list[Allocation]
    unallocated: Micros
    created_at: datetime


class Refund(Shape):
    """A refund."""

    sid: Sid
    customer_sid: Sid
    source_sid: str
    basis: str
    taken_from: str
    micros: Micros = field(name="amount")
    currency: str
    state: str
    failure: str | None
    note: str
    created_at: datetime
    updated_at: datetime


class Settled(Shape):
    """What a provider settled beside the top-up it is of."""

    id: str
    charge_reference: str
    micros: Micros = field(name="amount")
    fee_micros: Micros = field(name="fee")
    currency: str
    settled_at: datetime
    top_up_sid: Sid | None
    matches: bool


class WebhookTaken(Shape):
    """What came of a webhook."""

    received: bool
    outcome: str


def key(request: OwnRequest, given: str | None) -> str | None:
    """Read the idempotency key, from the body or the header that payment providers use.

    Raises: InvalidParameter.
    """
    header = request.headers.get(b"idempotency-key")
    if given is None and header is not None:
        given = header.decode("latin-1")
    if given is not None and (not given.strip() or len(given) > 255 or "\0" in given):
        raise InvalidParameter("'idempotency_key' must have 1 to 255 characters")
    return given


def currency(given: str | None, default: str) -> str:
    """Read a currency that can be billed in.

    Raises: InvalidParameter.
    """
    code = default if given is None else given
    if not is_currency(code):
        raise InvalidParameter("'currency' must be a currency of ISO 4217 that is billed in")
    return code


def instruction(given: Sequence[Instruction]) -> list[tuple[str, int | None]]:
    """Read which documents a payment is for.

    Raises: InvalidParameter.
    """
    if any(each.amount is not None and each.amount <= 0 for each in given):
        raise InvalidParameter("'instruction.amount' must be above zero")
    return [(each.document, each.amount) for each in given]


def card(found: model.Card, default_sid: str | None) -> Card:
    """Show a card."""
    return Card.of(found, kind="card", is_default=found.sid == default_sid)


def standing(found: model.Standing, terms: model.PaymentTerms, exposures: Sequence[model.Exposure]) -> Standing:
    """Show how a customer pays and stands."""
    return Standing.of(found, terms=Terms.of(terms), exposure=[Exposure.of(each) for each in exposures])


def payment(found: model.Payment, allocations: Sequence[model.Allocation]) -> Payment:
    """Show a payment and what it settled."""
    unallocated = Micros(found.micros - sum(each.total for each in allocations))
    return Payment.of(found, allocations=[Allocation.of(each) for each in allocations], unallocated=unallocated)


def settlement(found: Settlement, ours: model.TopUp | None) -> Settled:
    """Show what a provider settled beside the top-up it is of."""
    matches = (
        ours is not None
        and ours.state == "succeeded"
        and (ours.micros, ours.currency) == (found.micros, found.currency)
    )
    return Settled.of(found, top_up_sid=ours.sid if ours else None, matches=matches)
