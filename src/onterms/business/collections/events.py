"""What this room says, under the customer's SID."""

from typing import Any

from onterms.engines.log import Event

DUNNING_MOVED = "collections.dunning_moved"
LATE_NOTICE_SENT = "collections.late_notice_sent"
LATE_FEE_ASSESSED = "collections.late_fee_assessed"
PROPOSAL_OPENED = "collections.proposal_opened"
PROPOSAL_DECIDED = "collections.proposal_decided"


def of_customer(type_: str, customer_sid: str, subject_sid: str, data: dict[str, Any]) -> Event:
    """Make an event of a customer; the log's tenant column holds the customer's SID."""
    return Event(type_, customer_sid, subject_sid, data)
