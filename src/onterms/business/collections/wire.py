"""What our own API shows of collections."""

from collections.abc import Sequence
from typing import Any

from onterms.business.collections.model import Assessed, Dunning, LateNotice, LegalRate, Policy, Proposal
from onterms.business.invoicing import Part
from onterms.core.money import decimal_text, minor_text


def standing(found: Dunning, parts: Sequence[Part], policy: Policy) -> dict[str, Any]:
    """Render where a customer stands and what is open, and the choices a late fee is counted by."""
    return {
        "customer_sid": found.customer_sid,
        "state": found.state,
        "notice_sid": found.notice_sid,
        "next_review_on": None if found.review_on is None else found.review_on.isoformat(),
        "open": [
            {
                "invoice_sid": part.invoice_sid,
                "part": part.part,
                "currency": part.currency,
                "due_on": part.due_on.isoformat(),
                "disputed": part.disputed,
                "fees": minor_text(part.fees, part.currency),
                "late_fees": minor_text(part.late, part.currency),
            }
            for part in parts
            if part.open
        ],
        "late_fee": {
            "starts_after": policy.fee_start,
            "counting": "simple; months by anniversary, part months by days; legal side by days of 365; rounded down",
        },
    }


def notice(found: LateNotice) -> dict[str, Any]:
    """Render a notice of late payment with its cure."""
    return {
        "sid": found.notice_sid,
        "invoice_sid": found.invoice_sid,
        "part": found.part,
        "given_on": None if found.given_on is None else found.given_on.isoformat(),
        "cure_until": None if found.cure_until is None else found.cure_until.isoformat(),
        "is_void": found.voided_at is not None,
    }


def fee(found: Assessed) -> dict[str, Any]:
    """Render an assessed late fee."""
    return {
        "sid": found.sid,
        "invoice_sid": found.invoice_sid,
        "part": found.part,
        "currency": found.currency,
        "amount": minor_text(found.micros, found.currency),
        "from": found.from_on.isoformat(),
        "until": found.until_on.isoformat(),
        "contract_figure": minor_text(found.contract, found.currency),
        "legal_figure": None if found.legal is None else minor_text(found.legal, found.currency),
        "flags": list(found.flags),
        "assessed_by": found.assessed_by,
    }


def proposal(found: Proposal) -> dict[str, Any]:
    """Render what the operator has to decide."""
    amount = None if found.micros is None or found.currency is None else minor_text(found.micros, found.currency)
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "kind": found.kind,
        "invoice_sid": found.invoice_sid,
        "part": found.part,
        "state": found.state,
        "currency": found.currency,
        "amount": amount,
        "evidence": dict(found.evidence),
        "decided_by": found.decided_by,
    }


def policy(found: Policy) -> dict[str, Any]:
    """Render the operator's switches."""
    return {
        "notice": found.notice,
        "late_fee": found.late_fee,
        "suspension": found.suspension,
        "fee_start": found.fee_start,
    }


def legal(found: LegalRate) -> dict[str, Any]:
    """Render a rate on file, a share a year."""
    return {
        "applies_to": found.applies_to,
        "jurisdiction": found.jurisdiction,
        "rate": decimal_text(found.rate),
        "from_on": found.from_on.isoformat(),
        "until_on": None if found.until_on is None else found.until_on.isoformat(),
        "source": found.source,
    }
