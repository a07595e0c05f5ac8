"""The outside shapes of this room."""

from typing import Any

from onterms.business.suspension.model import Rule
from onterms.core.db import Row


def rule(found: Rule) -> dict[str, Any]:
    """Render a rule of the use policy."""
    return {
        "sid": found.sid,
        "service": found.service,
        "country": found.country,
        "condition": dict(found.condition),
        "action": found.action,
        "weight": found.weight,
        "text_ref": found.text_ref,
    }


def place(row: Row) -> dict[str, Any]:
    """Render a blocked place."""
    return {**dict(row), "from_at": row["from_at"].isoformat()}


def sanctions_list(row: Row) -> dict[str, Any]:
    """Render a list of sanctions without its entries."""
    return {
        "sid": row["sid"],
        "name": row["name"],
        "sha256": row["sha256"].hex(),
        "entries": row["entries"],
        "imported_at": row["imported_at"].isoformat(),
    }
