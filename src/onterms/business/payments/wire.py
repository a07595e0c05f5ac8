"""The outside shapes of this room: what requests hold and what answers show."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from onterms.business.payments.model import (
    Allocation,
    Application,
    AutoRecharge,
    Card,
    Chargeback,
    Exposure,
    Payment,
    PaymentTerms,
    Refund,
    Standing,
    TopUp,
)
from onterms.core.errors import InvalidParameter
from onterms.core.money import InvalidAmount, decimal_text, is_currency, micros
from onterms.engines.api.own import OwnRequest
from onterms.ports.payment_gateway import Settlement

PAGE_SIZE = 50
_TEXT_MAX = 400


def text(request: OwnRequest, name: str, default: str | None = None, *, max_length: int = _TEXT_MAX) -> str:
    """Read a string of the body without NUL, which PostgreSQL stores nowhere."""
    value = request.text(name, default=default, max_length=max_length)
    if "\0" in value:
        raise InvalidParameter(f"'{name}' must not hold NUL")
    return value


def optional(request: OwnRequest, name: str) -> str | None:
    """Read a string that may be missing or null."""
    return None if request.body.get(name) is None else text(request, name)


def key(request: OwnRequest) -> str | None:
    """Read the idempotency key, from the body or the header that payment providers use."""
    header = request.headers.get(b"idempotency-key")
    given = optional(request, "idempotency_key")
    if given is None and header is not None:
        given = header.decode("latin-1")
    if given is not None and (not given.strip() or len(given) > 255 or "\0" in given):
        raise InvalidParameter("'idempotency_key' must have 1 to 255 characters")
    return given


def amount_of(value: object, name: str) -> int:
    """Read an amount of decimal text, exactly or not at all."""
    if not isinstance(value, str):
        raise InvalidParameter(f"'{name}' must be decimal text such as \"12.50\"")
    try:
        return micros(value)
    except InvalidAmount as error:
        raise InvalidParameter(f"'{name}': {error}") from None


def amount(request: OwnRequest, name: str = "amount") -> int:
    """Read an amount of the body."""
    if request.body.get(name) is None:
        raise InvalidParameter(f"'{name}' is required")
    return amount_of(request.body[name], name)


def currency(request: OwnRequest, default: str) -> str:
    """Read a currency that can be billed in."""
    code = text(request, "currency", default, max_length=3)
    if not is_currency(code):
        raise InvalidParameter("'currency' must be a currency of ISO 4217 that is billed in")
    return code


def day(value: str, name: str) -> date:
    """Read a calendar day."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise InvalidParameter(f"'{name}' must be a day such as 2025-03-01") from None


def instruction(request: OwnRequest) -> list[tuple[str, int | None]]:
    """Read which documents a payment is for: [{"document", "amount" or nothing for all of it}]."""
    given = request.body.get("instruction", [])
    if not isinstance(given, list) or len(given) > 100 or not all(isinstance(each, dict) for each in given):
        raise InvalidParameter("'instruction' must be a list of at most 100 documents with amounts")
    read: list[tuple[str, int | None]] = []
    for each in given:
        document, part = each.get("document"), each.get("amount")
        if not isinstance(document, str) or "\0" in document:
            raise InvalidParameter("'document' must be the SID of a document")
        micros_given = None if part is None else amount_of(part, "instruction.amount")
        if micros_given is not None and micros_given <= 0:
            raise InvalidParameter("'instruction.amount' must be above zero")
        read.append((document, micros_given))
    return read


def listed(items: Sequence[dict[str, Any]], following: str | None = None) -> dict[str, Any]:
    """Make a page."""
    return {"items": list(items), "next": following}


def page_of(items: list[Any], show: Any) -> dict[str, Any]:
    """Make a page of up to PAGE_SIZE of items that were asked for one more."""
    following = items[PAGE_SIZE - 1].sid if len(items) > PAGE_SIZE else None
    return listed([show(each) for each in items[:PAGE_SIZE]], following)


def _at(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _money(value: int | None) -> str | None:
    return None if value is None else decimal_text(value)


def card(found: Card, default_sid: str | None) -> dict[str, Any]:
    """Show a card."""
    return {
        "sid": found.sid,
        "kind": "card",
        "provider": found.provider,
        "brand": found.brand,
        "last4": found.last4,
        "exp_month": found.exp_month,
        "exp_year": found.exp_year,
        "is_default": found.sid == default_sid,
        "created_at": _at(found.created_at),
    }


def standing(found: Standing, terms: PaymentTerms, exposures: Sequence[Exposure]) -> dict[str, Any]:
    """Show how a customer pays and stands."""
    return {
        "customer_sid": found.customer_sid,
        "method": found.method,
        "default_card_sid": found.card_sid,
        "state": found.state,
        "cause": found.cause,
        "since": _at(found.since),
        "suspension_proposed_at": _at(found.proposed_at),
        "terms": {
            "net_days": terms.net_days,
            "currency": terms.currency,
            "source": terms.source,
            "order_form_sid": terms.order_form_sid,
        },
        "exposure": [
            {
                "currency": each.currency,
                "unbilled": decimal_text(each.unbilled),
                "receivable": decimal_text(each.receivable),
                "total": decimal_text(each.total),
                "credit_limit": _money(each.credit_limit),
                "is_over": each.is_over,
            }
            for each in exposures
        ],
    }


def top_up(found: TopUp) -> dict[str, Any]:
    """Show a top-up."""
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "origin": found.origin,
        "card_sid": found.card_sid,
        "amount": decimal_text(found.micros),
        "currency": found.currency,
        "state": found.state,
        "failure_code": found.failure_code,
        "failure_message": found.failure_message,
        "action": found.action,
        "reference": found.reference,
        "created_at": _at(found.created_at),
        "updated_at": _at(found.updated_at),
    }


def chargeback(found: Chargeback) -> dict[str, Any]:
    """Show a chargeback."""
    return {
        "sid": found.sid,
        "top_up_sid": found.top_up_sid,
        "amount": decimal_text(found.micros),
        "state": found.state,
        "reason": found.reason,
        "opened_at": _at(found.opened_at),
        "closed_at": _at(found.closed_at),
    }


def auto_recharge(found: AutoRecharge) -> dict[str, Any]:
    """Show when a balance is filled up."""
    return {
        "currency": found.currency,
        "threshold": decimal_text(found.threshold),
        "amount": decimal_text(found.amount),
        "cap_per_day": decimal_text(found.cap_per_day),
        "state": found.state,
        "reason": found.reason,
    }


def application(found: Application) -> dict[str, Any]:
    """Show an application."""
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "state": found.state,
        "currency": found.currency,
        "note": found.note,
        "credit_limit": _money(found.credit_limit),
        "net_days": found.net_days,
        "reason": found.reason,
        "decided_at": _at(found.decided_at),
        "created_at": _at(found.created_at),
    }


def payment(found: Payment, allocations: Sequence[Allocation]) -> dict[str, Any]:
    """Show a payment and what it settled."""
    settled = sum(each.total for each in allocations)
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "amount": decimal_text(found.micros),
        "currency": found.currency,
        "received_on": found.received_on.isoformat(),
        "reference": found.reference,
        "allocations": [
            {
                "document": each.document,
                "taxes": decimal_text(each.taxes),
                "surcharges": decimal_text(each.surcharges),
                "fees": decimal_text(each.fees),
            }
            for each in allocations
        ],
        "unallocated": decimal_text(found.micros - settled),
        "created_at": _at(found.created_at),
    }


def refund(found: Refund) -> dict[str, Any]:
    """Show a refund."""
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "source_sid": found.source_sid,
        "basis": found.basis,
        "taken_from": found.taken_from,
        "amount": decimal_text(found.micros),
        "currency": found.currency,
        "state": found.state,
        "failure": found.failure,
        "note": found.note,
        "created_at": _at(found.created_at),
        "updated_at": _at(found.updated_at),
    }


def settlement(found: Settlement, ours: TopUp | None) -> dict[str, Any]:
    """Show what a provider settled beside the top-up it is of."""
    return {
        "id": found.id,
        "charge_reference": found.charge_reference,
        "amount": decimal_text(found.micros),
        "fee": decimal_text(found.fee_micros),
        "currency": found.currency,
        "settled_at": _at(found.settled_at),
        "top_up_sid": ours.sid if ours else None,
        "matches": ours is not None
        and ours.state == "succeeded"
        and (ours.micros, ours.currency) == (found.micros, found.currency),
    }
