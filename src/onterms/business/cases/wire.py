"""The outside shape of a case."""

from collections.abc import Sequence
from typing import Any

from onterms.business.cases.model import Case


def case(found: Case, hidden: Sequence[str] = ()) -> dict[str, Any]:
    """Render a case with its facts beside its own fields."""
    return {
        **{name: value for name, value in found.facts.items() if name not in hidden},
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "kind": found.kind,
        "state": found.state,
        "version": found.version,
        "date_created": found.opened_at.isoformat(),
        "date_updated": found.updated_at.isoformat(),
    }
