"""The registration room's outside shapes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row
from onterms.engines.api.shapes import Shape
from onterms.products.registration.model import rates, usecases
from onterms.products.registration.model.rates import BrandFacts

_BASE = "https://messaging.twilio.com/v1"


def brand(row: Row) -> dict[str, Any]:
    """Render a brand."""
    url = f"{_BASE}/a2p/BrandRegistrations/{row['sid']}"
    return {
        **{name: row[name] for name in ("sid", "account_sid", "brand_type", "status", "errors", "brand_score")},
        **{name: row[name] for name in ("russell_3000", "government_entity", "mock", "date_created", "date_updated")},
        "customer_profile_bundle_sid": row["customer_profile_sid"],
        "a2p_profile_bundle_sid": row["a2p_profile_sid"],
        "tcr_id": row["tcr_id"] or None,
        "failure_reason": row["failure_reason"] or None,
        "brand_feedback": row["brand_feedback"] or None,
        "identity_status": row["identity_status"],
        "tax_exempt_status": row["tax_exempt_status"] or None,
        "skip_automatic_sec_vet": row["skips_vetting"],
        "url": url,
        "links": {
            "brand_vettings": f"{url}/Vettings",
            "brand_registration_otps": f"{url}/SmsOtp",
        },
    }


def vetting(row: Row) -> dict[str, Any]:
    """Render a vetting."""
    return {
        "account_sid": row["account_sid"],
        "brand_sid": row["brand_sid"],
        "brand_vetting_sid": row["sid"],
        "date_created": row["date_created"],
        "date_updated": row["date_updated"],
        "vetting_id": row["vetting_id"] or None,
        "vetting_class": row["class"],
        "vetting_status": row["status"],
        "vetting_provider": row["provider"],
        "url": f"{_BASE}/a2p/BrandRegistrations/{row['brand_sid']}/Vettings/{row['sid']}",
    }


_FLAGS = ("has_embedded_links", "has_embedded_phone", "subscriber_opt_in", "age_gated", "direct_lending")
_TEXTS = ("description", "message_samples", "message_flow", "opt_in_message", "opt_out_message", "help_message")
_MORE = ("opt_in_keywords", "opt_out_keywords", "help_keywords", "privacy_policy_url", "terms_and_conditions_url")


def campaign(row: Row, brand_row: Row | None) -> dict[str, Any]:
    """Render a campaign."""
    details = row["details"]
    return {
        **{name: row[name] for name in ("sid", "account_sid", "mock", "errors", "date_created", "date_updated")},
        **{name: details.get(name) for name in (*_FLAGS, *_TEXTS, *_MORE)},
        "brand_registration_sid": row["brand_sid"],
        "messaging_service_sid": row["service_sid"],
        "us_app_to_person_usecase": row["usecase"] or None,
        "campaign_status": row["status"],
        "campaign_id": row["campaign_id"] or None,
        "is_externally_registered": row["is_external"],
        "rate_limits": _limits(row, brand_row),
        "url": f"{_BASE}/Services/{row['service_sid']}/Compliance/Usa2p/{row['sid']}",
    }


def _limits(row: Row, brand_row: Row | None) -> dict[str, Any] | None:
    if brand_row is None:
        return None
    facts = BrandFacts(brand_row["brand_type"], brand_row["brand_score"], brand_row["russell_3000"])
    rate = rates.campaign_rate(facts, row["usecase"], row["sid"], brand_row["sid"])
    return {
        # A third of the whole is each large network's.
        "att": {"mps": rate.segments_per_s / 3, "msg_class": rate.att_class},
        "tmobile": {"brand_tier": rate.tmobile_tier},
    }


def external(row: Row) -> dict[str, Any]:
    """Render a campaign that was registered elsewhere."""
    return {
        **{name: row[name] for name in ("sid", "account_sid", "campaign_id", "date_created")},
        "messaging_service_sid": row["service_sid"],
    }


def usecase(found: usecases.Usecase) -> dict[str, Any]:
    """Render a use case."""
    return {
        "code": found.code,
        "name": found.name,
        "description": found.description,
        "post_approval_required": found.is_approved_afterwards,
    }


def tollfree(row: Row, names: Sequence[str]) -> dict[str, Any]:
    """Render a verification; `names` are the fields that customers fill in."""
    reasons: Sequence[Mapping[str, Any]] = row["reasons"]
    url = f"{_BASE}/Tollfree/Verifications/{row['sid']}"
    return {
        **{name: row[name] for name in ("sid", "account_sid", "customer_profile_sid", "date_created", "date_updated")},
        **{name: row["details"].get(name) for name in names},
        **{name: row[name] for name in ("status", "edit_allowed", "edit_expiration", "external_reference_id")},
        "trust_product_sid": None,
        "regulated_item_sid": row["regulated_item_sid"],
        "tollfree_phone_number_sid": row["number_sid"],
        "tollfree_phone_number": row["number"],
        "rejection_reason": "; ".join(reason["reason"] for reason in reasons) or None,
        "error_code": reasons[0]["code"] if reasons else None,
        "rejection_reasons": list(reasons),
        "resource_links": {"customer_profile": None},
        "vetting_id_expiration": None,
        "url": url,
    }


def tollfree_filters(params: Mapping[str, Any]) -> dict[str, str]:
    """Read the filters of a list of verifications."""
    found = {
        "number_sid": params.get("TollfreePhoneNumberSid"),
        "status": params.get("Status"),
        "external_reference_id": params.get("ExternalReferenceId"),
    }
    return {name: value for name, value in found.items() if value}


class Waiting(Shape):
    """A registration that waits for somebody."""

    sid: str
    account_sid: str
    kind: str
    status: str
    name: str
    submitted_at: datetime


class Decision(Shape):
    """What the operator decides: take_up, approve, fail, suspend, lift, revoke or vetted.

    `codes` and `reason` say why something fails; `external_id` and `score` are the registry's.
    """

    event: str
    reason: str = ""
    codes: list[int] = []  # noqa: RUF012
    external_id: str = ""
    score: int | None = None


class Decided(Shape):
    """A registration after a decision."""

    sid: str
    status: str
