"""The lives of registrations, each one table of what may follow what.

Theory of operation. A brand (who sends) is handed in and ends approved or failed; a failed one may be mended and handed
in again three times. A sole proprietor's brand waits for its owner's answer to a text. A campaign (what it sends) hangs
on an approved brand and one Messaging Service; a failed one may be edited and goes the same way again. The numbers of
that service are then registered one by one. A toll-free number is verified by itself; a rejected verification may be
edited while its window is open. Registries and carriers suspend and lift brands and campaigns at any time. Reports
come late or twice, so an event that does not fit changes nothing.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

Moves = Mapping[tuple[str, str], str]

# Twilio docs, BrandRegistration resource: the statuses. The words of the events are ours, here and below.
BRAND_MOVES: Moves = {
    ("PENDING", "take_up"): "IN_REVIEW",
    ("PENDING", "approve"): "APPROVED",
    ("PENDING", "fail"): "FAILED",
    ("IN_REVIEW", "approve"): "APPROVED",
    ("IN_REVIEW", "fail"): "FAILED",
    ("FAILED", "resubmit"): "PENDING",
    ("APPROVED", "suspend"): "SUSPENDED",
    ("SUSPENDED", "lift"): "APPROVED",
}
# Twilio docs, BrandVetting resource.
VETTING_MOVES: Moves = {
    ("PENDING", "take_up"): "IN_REVIEW",
    ("PENDING", "approve"): "APPROVED",
    ("PENDING", "fail"): "FAILED",
    ("IN_REVIEW", "approve"): "APPROVED",
    ("IN_REVIEW", "fail"): "FAILED",
}
# Twilio docs, UsAppToPerson resource: campaign_status; SUSPENDED by error 21729.
CAMPAIGN_MOVES: Moves = {
    ("PENDING", "take_up"): "IN_PROGRESS",
    ("PENDING", "approve"): "VERIFIED",
    ("PENDING", "fail"): "FAILED",
    ("IN_PROGRESS", "approve"): "VERIFIED",
    ("IN_PROGRESS", "fail"): "FAILED",
    ("FAILED", "edit"): "PENDING",
    ("VERIFIED", "suspend"): "SUSPENDED",
    ("SUSPENDED", "lift"): "VERIFIED",
}
# The registry's words for a number of a campaign.
NUMBER_MOVES: Moves = {
    ("PENDING", "approve"): "REGISTERED",
    ("PENDING", "fail"): "FAILED",
}
# Twilio docs, Tollfree Verification resource; an edited one goes straight back to the reviewers (its event's example).
TOLLFREE_MOVES: Moves = {
    ("PENDING_REVIEW", "take_up"): "IN_REVIEW",
    ("PENDING_REVIEW", "approve"): "TWILIO_APPROVED",
    ("PENDING_REVIEW", "fail"): "TWILIO_REJECTED",
    ("IN_REVIEW", "approve"): "TWILIO_APPROVED",
    ("IN_REVIEW", "fail"): "TWILIO_REJECTED",
    ("TWILIO_REJECTED", "edit"): "IN_REVIEW",
    ("TWILIO_APPROVED", "fail"): "TWILIO_REJECTED",
}
UNDECIDED: Mapping[str, frozenset[str]] = {
    "brand": frozenset({"PENDING", "IN_REVIEW"}),
    "vetting": frozenset({"PENDING", "IN_REVIEW"}),
    "campaign": frozenset({"PENDING", "IN_PROGRESS"}),
    "number": frozenset({"PENDING"}),
    "tollfree": frozenset({"PENDING_REVIEW", "IN_REVIEW"}),
}

# Twilio docs, error 21724: a brand may be handed in again three times.
BRAND_UPDATES_MAX: Final = 3
# Twilio docs, error 30824: a rejected verification may be edited for seven days.
TOLLFREE_EDIT_WINDOW: Final = timedelta(days=7)
# Twilio docs, sole proprietor onboarding: the text must be answered within 24 hours.
OTP_LIFE: Final = timedelta(hours=24)
# The registry: 50 campaigns of one brand; a sole proprietor has one (Twilio docs, sole proprietor FAQ).
CAMPAIGNS_MAX: Final = 50
# The same: one number for a sole proprietor.
SOLE_PROPRIETOR_NUMBERS_MAX: Final = 1

# The catalogue of errors: feedback of the registry on a brand by the code that it failed with.
FEEDBACK: Mapping[int, str] = {
    30795: "TAX_ID",
    30796: "STOCK_SYMBOL",
    30797: "GOVERNMENT_ENTITY",
    30798: "NONPROFIT",
    30799: "OTHERS",
}
# What of a toll-free verification is disallowed cannot be mended; the catalogue calls these "Disallowed".
TOLLFREE_FINAL: Final = frozenset({30441, 30442, 30443, 30444, *range(30455, 30470), 30480})


def after(moves: Moves, status: str, event: str) -> str | None:
    """Return the status to which an event moves a registration, or None where it does not."""
    return moves.get((status, event))
