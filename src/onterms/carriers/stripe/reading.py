"""Reading what Stripe says: objects and events of API version 2024-06-20, as far as we use them."""

from typing import Any

import msgspec

from onterms.core.money import minor_digits
from onterms.ports.payment_gateway import EventKind, Forged, GatewayEvent

_CHARGE_EVENTS: dict[str, EventKind] = {
    "payment_intent.succeeded": "charge_succeeded",
    "payment_intent.payment_failed": "charge_failed",
    "payment_intent.canceled": "charge_failed",
    "payment_intent.requires_action": "charge_needs_action",
}
_REFUND_EVENTS = ("refund.updated", "refund.failed", "charge.refund.updated")
# Stripe docs, Dispute object: an inquiry (`warning_...`) moves no money.
_DISPUTES: dict[str, EventKind] = {"won": "dispute_won", "lost": "dispute_lost"}
# Stripe docs, "Currencies": zero-decimal ones are counted whole, as ISO 4217 has them, but for these, which it takes in
# hundredths for compatibility.
_IN_HUNDREDTHS = frozenset({"ISK", "UGX"})


class _Metadata(msgspec.Struct, frozen=True):
    customer_sid: str | None = None
    top_up_sid: str | None = None
    refund_sid: str | None = None


class ApiError(msgspec.Struct, frozen=True):
    """The error of a refused request."""

    type: str = ""
    code: str | None = None
    decline_code: str | None = None
    message: str | None = None
    payment_intent: dict[str, Any] | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """What a refused request is answered with."""

    error: ApiError = ApiError()


class CustomerBody(msgspec.Struct, frozen=True):
    """A customer."""

    id: str


class CardBody(msgspec.Struct, frozen=True):
    """What is told of a card."""

    brand: str
    last4: str
    exp_month: int
    exp_year: int


class MethodBody(msgspec.Struct, frozen=True):
    """A payment method; one that is no card has none."""

    id: str
    card: CardBody | None = None


class IntentBody(msgspec.Struct, frozen=True):
    """A payment intent."""

    id: str
    status: str
    amount: int = 0
    currency: str = ""
    client_secret: str | None = None
    metadata: _Metadata = _Metadata()
    last_payment_error: ApiError | None = None


class RefundBody(msgspec.Struct, frozen=True):
    """A refund."""

    id: str
    status: str
    amount: int = 0
    currency: str = ""
    payment_intent: str | None = None
    failure_reason: str | None = None
    metadata: _Metadata = _Metadata()


class _Dispute(msgspec.Struct, frozen=True):
    id: str
    amount: int
    currency: str
    status: str
    reason: str = ""
    payment_intent: str | None = None


class _Data(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class _Event(msgspec.Struct, frozen=True):
    id: str
    type: str
    data: _Data


class SourceBody(msgspec.Struct, frozen=True):
    """The charge that a settled amount is from."""

    object: str = ""
    payment_intent: str | None = None


class BalanceBody(msgspec.Struct, frozen=True):
    """A movement of our balance at Stripe."""

    id: str
    amount: int
    fee: int
    currency: str
    created: int
    source: SourceBody | str | None = None


class BalancePage(msgspec.Struct, frozen=True):
    """A page of movements, newest first."""

    data: list[BalanceBody]
    has_more: bool = False


def unit_of(currency: str) -> int:
    """Return how many micro-units one of Stripe's units of the currency is."""
    unit: int = 10 ** (6 - (2 if currency in _IN_HUNDREDTHS else minor_digits(currency)))
    return unit


def event_of(body: bytes) -> GatewayEvent | Forged:
    """Read an event whose signature is good; what we do not use is `other`."""
    try:
        event = msgspec.json.decode(body, type=_Event)
        if event.type in _CHARGE_EVENTS:
            return _of_intent(event, _CHARGE_EVENTS[event.type])
        if event.type in _REFUND_EVENTS:
            return _of_refund(event)
        if event.type in ("charge.dispute.created", "charge.dispute.closed"):
            return _of_dispute(event)
    except msgspec.MsgspecError:
        return Forged("the body is no event of the API version that is spoken")
    return GatewayEvent(event.id, "other", None, 0, "")


def _of_intent(event: _Event, kind: EventKind) -> GatewayEvent:
    intent = msgspec.json.decode(event.data.object, type=IntentBody)
    currency = intent.currency.upper()
    error = intent.last_payment_error or ApiError()
    return GatewayEvent(
        id=event.id,
        kind=kind,
        reference=intent.id,
        micros=intent.amount * unit_of(currency),
        currency=currency,
        customer_sid=intent.metadata.customer_sid,
        subject_sid=intent.metadata.top_up_sid,
        code=error.decline_code or error.code or "",
        message=error.message or "",
    )


def _of_refund(event: _Event) -> GatewayEvent:
    refund = msgspec.json.decode(event.data.object, type=RefundBody)
    currency = refund.currency.upper()
    kinds: dict[str, EventKind] = {
        "succeeded": "refund_succeeded",
        "failed": "refund_failed",
        "canceled": "refund_failed",
    }
    return GatewayEvent(
        id=event.id,
        kind=kinds.get(refund.status, "other"),
        reference=refund.payment_intent,
        micros=refund.amount * unit_of(currency),
        currency=currency,
        customer_sid=refund.metadata.customer_sid,
        subject_sid=refund.metadata.refund_sid,
        detail_reference=refund.id,
        code=refund.failure_reason or "",
    )


def _of_dispute(event: _Event) -> GatewayEvent:
    dispute = msgspec.json.decode(event.data.object, type=_Dispute)
    kind: EventKind = "other"
    if event.type == "charge.dispute.closed":
        kind = _DISPUTES.get(dispute.status, "other")
    elif not dispute.status.startswith("warning_"):
        kind = "dispute_opened"
    currency = dispute.currency.upper()
    return GatewayEvent(
        id=event.id,
        kind=kind,
        reference=dispute.payment_intent,
        micros=dispute.amount * unit_of(currency),
        currency=currency,
        detail_reference=dispute.id,
        code=dispute.reason,
    )
