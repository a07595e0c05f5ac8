"""The outside shapes of channels' senders."""

from collections.abc import Mapping
from typing import Any

from onterms.core.db import Row
from onterms.products.messaging.model.channels import channel_of

_BASE = "https://messaging.twilio.com"
_CONFIGURATION = ("waba_id", "verification_method", "voice_application_sid", "account_type")
_WEBHOOK = (
    *("callback_url", "callback_method", "fallback_url", "fallback_method"),
    *("status_callback_url", "status_callback_method"),
)
_PROFILE = (
    *("name", "about", "address", "description", "logo_url", "banner_url", "privacy_url", "terms_of_service_url"),
    *("accent_color", "vertical"),
)
# A list of the profile, and what each of its items is called.
_LISTS = (("websites", "website"), ("emails", "email"), ("phone_numbers", "phone_number"))


def sender_of(row: Row) -> dict[str, Any]:
    """Render a sender."""
    properties: Mapping[str, Any] = row["properties"]
    webhook = {name: row["webhook"].get(name) for name in _WEBHOOK}
    for name in ("callback_method", "fallback_method", "status_callback_method"):
        webhook[name] = webhook[name] or "POST"
    return {
        "sid": row["sid"],
        "status": row["status"],
        "sender_id": row["address"],
        # A code is used once and never shown.
        "configuration": {
            **{name: row["configuration"].get(name) for name in _CONFIGURATION},
            "verification_code": None,
        },
        "webhook": webhook,
        "profile": _profile(row["profile"]),
        "properties": {name: properties.get(name) for name in ("quality_rating", "messaging_limit")},
        "offline_reasons": [
            {**reason, "more_info": f"https://www.twilio.com/docs/errors/{reason['code']}"}
            for reason in row["offline_reasons"]
        ]
        or None,
        "compliance": None,
        "url": f"{_BASE}/v2/Channels/Senders/{row['sid']}",
    }


def _profile(given: Mapping[str, Any]) -> dict[str, Any]:
    profile: dict[str, Any] = {name: given.get(name) for name in _PROFILE}
    for name, item in _LISTS:
        # Written as texts or as objects with a label, shown as the latter.
        listed = given.get(name)
        profile[name] = (
            [each if isinstance(each, dict) else {item: str(each), "label": ""} for each in listed]
            if isinstance(listed, list)
            else None
        )
    return profile


def in_service(row: Row) -> dict[str, Any]:
    """Render a sender as a member of a Messaging Service."""
    return {
        "account_sid": row["account_sid"],
        "messaging_service_sid": row["service_sid"],
        "sid": row["sid"],
        "sender": row["sender"],
        "sender_type": {"whatsapp": "WhatsApp", "rcs": "RCS"}.get(channel_of(row["sender"]), "Channel"),
        "country_code": None,
        "date_created": row["date_created"],
        "date_updated": row["date_updated"],
        "url": f"{_BASE}/v1/Services/{row['service_sid']}/ChannelSenders/{row['sid']}",
    }
