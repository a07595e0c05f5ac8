"""What this room tells the others, on the log, under the customer's SID."""

from typing import Any

from onterms.engines.log import Event

EXEMPTION_SUBMITTED = "tax.exemption_submitted"
EXEMPTION_APPROVED = "tax.exemption_approved"
EXEMPTION_REJECTED = "tax.exemption_rejected"
EXEMPTION_EXPIRED = "tax.exemption_expired"
EXEMPTION_REVOKED = "tax.exemption_revoked"
BACK_BILLED = "tax.back_billed"
PROOF_UPLOADED = "tax.proof_uploaded"
PROOF_ACCEPTED = "tax.proof_accepted"
PROOF_REJECTED = "tax.proof_rejected"


def of_customer(type_: str, customer_sid: str, subject_sid: str, data: dict[str, Any]) -> Event:
    """Make an event of a customer; the log's tenant column holds the customer's SID."""
    return Event(type_, customer_sid, subject_sid, data)
