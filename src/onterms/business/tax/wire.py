"""The shapes of our own API: rules, exemptions, back-billings and proofs."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from onterms.business.tax.errors import InvalidTaxRule
from onterms.business.tax.model import Exemption, Proof, TaxRule, WithholdingProfile
from onterms.core.errors import InvalidParameter
from onterms.core.money import InvalidAmount, decimal_text, micros

_JURISDICTION = re.compile(r"^[A-Z]{2}(-[A-Z0-9]{1,8}(-[A-Z0-9]{1,16})?)?$")
_RATE_UNIT = 1_000_000


def text(body: Mapping[str, Any], name: str, default: str | None = None, *, max_length: int = 500) -> str:
    """Read a string."""
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > max_length:
        raise InvalidParameter(f"'{name}' must be a string of at most {max_length} characters")
    return value


def decimal(body: Mapping[str, Any], name: str, default: str | None = None) -> int:
    """Read decimal text of at most six decimals: an amount in micro-units, or a rate in millionths."""
    try:
        value = micros(text(body, name, default))
    except InvalidAmount as error:
        raise InvalidParameter(f"'{name}': {error}") from None
    if value < 0:
        raise InvalidParameter(f"'{name}' must not be negative")
    return value


def instant(body: Mapping[str, Any], name: str) -> datetime | None:
    """Read an instant with its offset, or None."""
    value = body.get(name)
    if value is None:
        return None
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise InvalidParameter(f"'{name}' must be an instant such as 2025-03-10T00:00:00Z")
    return read.astimezone(UTC)


def day(body: Mapping[str, Any], name: str) -> date | None:
    """Read a day, or None."""
    if body.get(name) is None:
        return None
    try:
        return date.fromisoformat(text(body, name))
    except ValueError:
        raise InvalidParameter(f"'{name}' must be a day such as 2025-03-10") from None


def document(body: Mapping[str, Any]) -> tuple[str, bytes]:
    """Read a document: its name and its bytes, empty if there is none."""
    given = body.get("document")
    if not isinstance(given, dict):
        return "", b""
    try:
        return text(given, "name", ""), base64.b64decode(text(given, "content", "", max_length=2**20), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter("'document.content' must be Base64") from None


def jurisdiction(body: Mapping[str, Any]) -> str:
    """Read a jurisdiction."""
    value = text(body, "jurisdiction")
    if not _JURISDICTION.match(value):
        raise InvalidParameter("'jurisdiction' must be a country, country-subdivision or country-subdivision-locality")
    return value


def rule(body: Mapping[str, Any], at: datetime) -> TaxRule:
    """Read a new tax rule."""
    base, rounding = body.get("base", "fees"), body.get("rounding", "half_up")
    if base not in ("fees", "fees_and_surcharges"):
        raise InvalidTaxRule("'base' must be fees or fees_and_surcharges")
    if rounding not in ("half_up", "down"):
        raise InvalidTaxRule("'rounding' must be half_up or down")
    begins, ends = instant(body, "effective_from") or at, instant(body, "effective_to")
    if ends is not None and ends <= begins:
        raise InvalidTaxRule("'effective_to' must come after 'effective_from'")
    rate = decimal(body, "rate")
    if rate > _RATE_UNIT:
        raise InvalidTaxRule("'rate' is a fraction: 8.875 % is 0.08875")
    return TaxRule(
        id=0,
        jurisdiction=jurisdiction(body),
        kind=text(body, "kind"),
        base=base,
        rate=rate,
        rounding=rounding,
        effective_from=begins,
        effective_to=ends,
        source=text(body, "source", ""),
        recorded_at=at,
    )


def profile(body: Mapping[str, Any], customer_sid: str) -> WithholdingProfile:
    """Read how a customer withholds."""
    policy = body.get("policy", "gross_up")
    if policy not in ("gross_up", "accept_certificate"):
        raise InvalidParameter("'policy' must be gross_up or accept_certificate")
    rate = decimal(body, "rate")
    treaty = decimal(body, "treaty_rate") if body.get("treaty_rate") is not None else None
    if rate >= _RATE_UNIT or (treaty or 0) >= _RATE_UNIT:
        raise InvalidParameter("a rate is a fraction below 1")
    begins = day(body, "treaty_from")
    if treaty is not None and (begins is None or not body.get("treaty_certificate")):
        raise InvalidParameter("a treaty rate needs 'treaty_certificate' and 'treaty_from'")
    return WithholdingProfile(
        customer_sid=customer_sid,
        country=text(body, "country", max_length=2),
        rate=rate,
        policy=policy,
        treaty_rate=treaty,
        treaty_certificate=text(body, "treaty_certificate", "") or None,
        treaty_from=begins,
        treaty_to=day(body, "treaty_to"),
    )


# ---- writing


def moment(at: datetime | None) -> str | None:
    """Write an instant."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def show_rule(rule: TaxRule) -> dict[str, Any]:
    """Render a tax rule."""
    return {
        "id": rule.id,
        "jurisdiction": rule.jurisdiction,
        "kind": rule.kind,
        "base": rule.base,
        "rate": decimal_text(rule.rate),
        "rounding": rule.rounding,
        "effective_from": moment(rule.effective_from),
        "effective_to": moment(rule.effective_to),
        "source": rule.source,
        "recorded_at": moment(rule.recorded_at),
    }


def show_exemption(exemption: Exemption) -> dict[str, Any]:
    """Render an exemption without its document."""
    return {
        "sid": exemption.sid,
        "customer_sid": exemption.customer_sid,
        "state": exemption.state,
        "kind": exemption.kind,
        "jurisdiction": exemption.jurisdiction,
        "certificate": exemption.certificate,
        "valid_from": exemption.valid_from.isoformat(),
        "valid_to": exemption.valid_to.isoformat() if exemption.valid_to else None,
        "submitted_at": moment(exemption.submitted_at),
        "approved_at": moment(exemption.approved_at),
        "ended_at": moment(exemption.ended_at),
        "revoked_from": moment(exemption.revoked_from),
        "reason": exemption.reason,
    }


def show_back_billing(row: Mapping[str, Any]) -> dict[str, Any]:
    """Render a back-billing."""
    total = row["tax_micros"] + row["interest_micros"] + row["penalty_micros"]
    return {
        "sid": row["sid"],
        "exemption_sid": row["exemption_sid"],
        "currency": row["currency"],
        "tax": decimal_text(row["tax_micros"]),
        "interest": decimal_text(row["interest_micros"]),
        "penalties": decimal_text(row["penalty_micros"]),
        "total": decimal_text(total),
        "lines": [
            {
                "jurisdiction": place,
                "kind": kind,
                "rate": decimal_text(rate),
                "base": decimal_text(base),
                "tax": decimal_text(tax),
            }
            for place, kind, rate, base, tax in row["lines"]
        ],
        "determined_on": row["determined_on"].isoformat(),
        "debit_note_sid": row["debit_note_sid"],
    }


def show_proof(proof: Proof) -> dict[str, Any]:
    """Render a proof without its document."""
    return {
        "sid": proof.sid,
        "customer_sid": proof.customer_sid,
        "state": proof.state,
        "invoice_sid": proof.invoice_sid,
        "currency": proof.currency,
        "amount": decimal_text(proof.micros),
        "document": {"name": proof.document_name, "sha256": proof.document_sha256},
        "uploaded_at": moment(proof.uploaded_at),
        "reviewed_at": moment(proof.reviewed_at),
        "decided_at": moment(proof.decided_at),
        "decided_by": proof.decided_by,
        "reason": proof.reason,
    }


def show_profile(profile: WithholdingProfile) -> dict[str, Any]:
    """Render how a customer withholds."""
    return {
        "customer_sid": profile.customer_sid,
        "country": profile.country,
        "rate": decimal_text(profile.rate),
        "policy": profile.policy,
        "treaty_rate": None if profile.treaty_rate is None else decimal_text(profile.treaty_rate),
        "treaty_certificate": profile.treaty_certificate,
        "treaty_from": profile.treaty_from.isoformat() if profile.treaty_from else None,
        "treaty_to": profile.treaty_to.isoformat() if profile.treaty_to else None,
    }
