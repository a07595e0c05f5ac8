"""The trust room's outside shapes."""

from collections.abc import Mapping
from typing import Any

from onterms.core.db import Row
from onterms.products.trust.model import policies

_BASE = "https://trusthub.twilio.com/v1"
_PATHS = {"customer_profile": "CustomerProfiles", "trust_product": "TrustProducts"}


def bundle(row: Row) -> dict[str, Any]:
    """Render a customer profile or trust product."""
    url = f"{_BASE}/{_PATHS[row['kind']]}/{row['sid']}"
    prefix = f"{row['kind']}s"
    return {
        **{name: row[name] for name in ("sid", "account_sid", "policy_sid", "friendly_name", "status", "valid_until")},
        **{name: row[name] for name in ("email", "date_created", "date_updated", "errors")},
        "status_callback": row["status_callback"] or None,
        "url": url,
        "links": {
            f"{prefix}_entity_assignments": f"{url}/EntityAssignments",
            f"{prefix}_evaluations": f"{url}/Evaluations",
            f"{prefix}_channel_endpoint_assignment": f"{url}/ChannelEndpointAssignments",
        },
    }


def end_user(row: Row) -> dict[str, Any]:
    """Render an end user."""
    return {**_thing(row), "url": f"{_BASE}/EndUsers/{row['sid']}"}


def document(row: Row) -> dict[str, Any]:
    """Render a supporting document; files are not taken, so it has no type of one."""
    more = {"status": row["status"], "mime_type": None, "url": f"{_BASE}/SupportingDocuments/{row['sid']}"}
    return {**_thing(row), **more}


def _thing(row: Row) -> dict[str, Any]:
    names = ("sid", "account_sid", "friendly_name", "type", "attributes", "date_created", "date_updated")
    return {name: row[name] for name in names}


def entity(kind: str, row: Row) -> dict[str, Any]:
    """Render what is assigned to a bundle."""
    return {**_member(kind, row, "EntityAssignments"), "object_sid": row["object_sid"]}


def endpoint(kind: str, row: Row) -> dict[str, Any]:
    """Render a number that is assigned to a bundle."""
    return {
        **_member(kind, row, "ChannelEndpointAssignments"),
        "channel_endpoint_type": row["endpoint_type"],
        "channel_endpoint_sid": row["endpoint_sid"],
    }


def evaluation(kind: str, row: Row) -> dict[str, Any]:
    """Render how a bundle was judged."""
    more = {name: row[name] for name in ("policy_sid", "status", "results")}
    return {**_member(kind, row, "Evaluations"), **more}


def _member(kind: str, row: Row, noun: str) -> dict[str, Any]:
    return {
        "sid": row["sid"],
        "account_sid": row["account_sid"],
        f"{kind}_sid": row["bundle_sid"],
        "date_created": row["date_created"],
        "url": f"{_BASE}/{_PATHS[kind]}/{row['bundle_sid']}/{noun}/{row['sid']}",
    }


def policy(found: policies.Policy) -> dict[str, Any]:
    """Render a policy."""
    return {
        "sid": found.sid,
        "friendly_name": found.friendly_name,
        "requirements": policies.requirements_of(found),
        "url": f"{_BASE}/Policies/{found.sid}",
    }


def type_of(path: str, found: policies.Type) -> dict[str, Any]:
    """Render a type of end user or document."""
    return {
        "sid": found.sid,
        "friendly_name": found.friendly_name,
        "machine_name": found.name,
        "fields": policies.fields_of(found.fields),
        "url": f"{_BASE}/{path}/{found.sid}",
    }


def filters(params: Mapping[str, Any]) -> dict[str, str]:
    """Read the filters of a list of bundles."""
    found = {"status": params.get("Status"), "friendly_name": params.get("FriendlyName")}
    found["policy_sid"] = params.get("PolicySid")
    return {name: value for name, value in found.items() if value}
