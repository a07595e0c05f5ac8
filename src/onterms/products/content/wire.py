"""The content room's outside shapes."""

from collections.abc import Mapping
from typing import Any

from onterms.core.db import Row

_BASE = "https://content.twilio.com"


def content_of(row: Row) -> dict[str, Any]:
    """Render a template."""
    url = f"{_BASE}/v1/Content/{row['sid']}"
    return {
        **_common(row),
        "url": url,
        "links": {
            "approval_fetch": f"{url}/ApprovalRequests",
            "approval_create": f"{url}/ApprovalRequests/whatsapp",
        },
    }


def legacy(row: Row) -> dict[str, Any]:
    """Render a template that was submitted under a name, for who knows templates by name and text."""
    bodies = (shown["body"] for shown in row["types"].values() if isinstance(shown, Mapping) and shown.get("body"))
    return {
        **_common(row),
        "legacy_template_name": row["name"],
        "legacy_body": next(bodies, None),
        "url": f"{_BASE}/v1/Content/{row['sid']}",
    }


def with_approval(row: Row) -> dict[str, Any]:
    """Render a template with what became of its approval."""
    return {**_common(row), "approval_requests": approval(row)}


def _common(row: Row) -> dict[str, Any]:
    names = ("sid", "account_sid", "friendly_name", "language", "variables", "types", "date_created", "date_updated")
    return {name: row[name] for name in names}


def approval(row: Mapping[str, Any] | None) -> dict[str, Any]:
    """Render an approval, also of a template that nobody submitted."""
    known = row if row is not None and row["status"] is not None else {}
    return {
        "name": known.get("name") or "",
        "category": known.get("category") or "",
        "content_type": known.get("content_type") or "",
        "status": known.get("status") or "unsubmitted",
        "rejection_reason": known.get("rejection_reason") or "",
        "allow_category_change": False,
    }


def approval_fetch(account_sid: str, sid: str, row: Row | None) -> dict[str, Any]:
    """Render the approvals of a template by channel."""
    return {
        "sid": sid,
        "account_sid": account_sid,
        "whatsapp": {"type": "whatsapp", **approval(row)},
        "url": f"{_BASE}/v1/Content/{sid}/ApprovalRequests",
    }


def search(params: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, bool]]]:
    """Read the filters and the order of a search."""
    wanted: dict[str, Any] = {}
    for name, key in (
        ("DateCreatedAfter", "since"),
        ("DateCreatedBefore", "until"),
        ("ContentName", "name"),
        ("Content", "content"),
    ):
        if params.get(name):
            wanted[key] = params[name]
    for name, key in (("Language", "languages"), ("ContentType", "types"), ("ChannelEligibility", "eligibility")):
        if params.get(name):
            wanted[key] = set(params[name])
    order = [
        (column, str(params[name]).lower() == "desc")
        for name, column in (("SortByContentName", "friendly_name"), ("SortByDate", "date_created"))
        if params.get(name)
    ]
    return wanted, order
