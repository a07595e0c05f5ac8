"""The outside shapes of Messaging Services, their senders and the short domain."""

from collections.abc import Collection
from typing import Any

from onterms.core.db import Row
from onterms.products.numbers import OwnedNumber

_BASE = "https://messaging.twilio.com/v1"
_SETTINGS = (
    *("sid", "account_sid", "friendly_name", "date_created", "date_updated", "inbound_method", "fallback_method"),
    *("sticky_sender", "mms_converter", "smart_encoding", "fallback_to_long_code", "area_code_geomatch"),
    *("validity_period", "usecase", "use_inbound_webhook_on_number"),
)
_LINKS = {
    "phone_numbers": "PhoneNumbers",
    "short_codes": "ShortCodes",
    "alpha_senders": "AlphaSenders",
    "messages": "Messages",
    "us_app_to_person": "Compliance/Usa2p",
    "us_app_to_person_usecases": "Compliance/Usa2p/Usecases",
    "channel_senders": "ChannelSenders",
    "destination_alpha_senders": "DestinationAlphaSenders",
}


def service_of(row: Row, registered: Collection[str] = ()) -> dict[str, Any]:
    """Render a service; `registered` are those with a verified campaign."""
    url = f"{_BASE}/Services/{row['sid']}"
    links = {name: f"{url}/{path}" for name, path in _LINKS.items()}
    links["messages"] = f"https://api.twilio.com/2010-04-01/Accounts/{row['account_sid']}/Messages.json"
    return {
        **{name: row[name] for name in _SETTINGS},
        "inbound_request_url": row["inbound_request_url"] or None,
        "fallback_url": row["fallback_url"] or None,
        "status_callback": row["status_callback"] or None,
        "scan_message_content": "inherit",
        "synchronous_validation": False,
        "us_app_to_person_registered": row["sid"] in registered,
        "url": url,
        "links": links,
    }


def sender_of(kind: str, row: Row, number: OwnedNumber | None) -> dict[str, Any]:
    """Render a sender of a pool."""
    path = {
        "phone_number": "PhoneNumbers",
        "short_code": "ShortCodes",
        "alpha_sender": "AlphaSenders",
        "destination_alpha_sender": "DestinationAlphaSenders",
    }[kind]
    shown = {name: row[name] for name in ("sid", "account_sid", "service_sid", "date_created", "date_updated")}
    shown["url"] = f"{_BASE}/Services/{row['service_sid']}/{path}/{row['sid']}"
    if number is None:
        return {
            **shown,
            "alpha_sender": row["sender"],
            "capabilities": ["SMS"],
            "iso_country_code": row["country"] or None,
        }
    can = number.capabilities
    carried = (("Voice", can.voice), ("SMS", can.sms), ("MMS", can.mms), ("Fax", can.fax))
    return {
        **shown,
        kind: number.phone_number,
        "country_code": number.country,
        "capabilities": [name for name, has in carried if has],
    }


def domain_config_of(row: Row, service_sid: str | None = None) -> dict[str, Any]:
    """Render the settings of a short domain, by itself or as a service has it."""
    url = f"{_BASE}/LinkShortening/Domains/{row['sid']}/Config"
    if service_sid is not None:
        url = f"{_BASE}/LinkShortening/MessagingService/{service_sid}/DomainConfig"
    names = ("config_sid", "continue_on_failure", "disable_https", "date_created", "date_updated")
    return {
        **{name: row[name] for name in names},
        "domain_sid": row["sid"],
        "messaging_service_sid": service_sid,
        "fallback_url": row["fallback_url"] or None,
        "callback_url": row["callback_url"] or None,
        "url": url,
    }


def certificate_of(row: Row, version: str) -> dict[str, Any]:
    """Render a domain's certificate."""
    return {
        "domain_sid": row["sid"],
        # The contract has an address here, not a name.
        "domain_name": f"https://{row['domain_name']}",
        "certificate_sid": row["certificate_sid"],
        "date_created": row["certificate_created"],
        "date_updated": row["certificate_updated"],
        "date_expires": row["certificate_expires"],
        "managed": False,
        "requesting": False,
        "cert_in_validation": None,
        "url": f"https://messaging.twilio.com/{version}/LinkShortening/Domains/{row['sid']}/Certificate",
    }


def dns_validation_of(row: Row, reason: str) -> dict[str, Any]:
    """Render whether a domain leads here."""
    return {
        "domain_sid": row["sid"],
        "is_valid": not reason,
        "reason": reason or None,
        "url": f"{_BASE}/LinkShortening/Domains/{row['sid']}/ValidateDns",
    }


def association_of(domain_sid: str, service_sid: str) -> dict[str, Any]:
    """Render that a service shortens by a domain."""
    return {
        "domain_sid": domain_sid,
        "messaging_service_sid": service_sid,
        "url": f"{_BASE}/LinkShortening/MessagingServices/{service_sid}/Domain",
    }
