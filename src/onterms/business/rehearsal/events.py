"""What this room says, and what it calls what it hears in a copy's log."""

from typing import Final

# Told whenever a simulation is asked for, begins or ends.
CHANNEL: Final = "onterms_rehearsals"
# Usage that a rehearsal projects and the copy refuses, and the first that it accepts again.
USAGE_REFUSED: Final = "usage.refused"
USAGE_RESUMED: Final = "usage.resumed"

_KINDS: Final = (
    ("invoicing.", "invoice"),
    ("notice.", "notice"),
    ("collections.late_fee", "late_fee"),
    ("collections.late_notice", "late_notice"),
    ("collections.proposal", "proposal"),
    ("collections.", "collection"),
    ("standing.", "standing"),
    ("payment.top_up", "top_up"),
    ("payment.auto_recharge", "top_up"),
    ("payment.", "payment"),
    ("agreement.", "agreement"),
    ("pricing.order_form", "order_form"),
    ("pricing.commitment", "order_form"),
    ("disputes.", "dispute"),
    ("case.termination", "termination"),
    ("termination.", "termination"),
    ("account.", "account"),
    ("usage.", "usage"),
    ("case.", "case"),
    ("tax.", "tax"),
    ("customer.", "customer"),
)


def kind_of(type_: str) -> str:
    """Return the one word for a type of event that a person looks for."""
    return next((kind for prefix, kind in _KINDS if type_.startswith(prefix)), "other")
