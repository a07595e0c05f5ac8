"""What this room says, under the customer's SID."""

from typing import Any

from onterms.engines.log import Event

DISPUTE_FILED = "disputes.filed"
DISPUTE_MOVED = "disputes.moved"


def of_customer(type_: str, customer_sid: str, subject_sid: str, data: dict[str, Any]) -> Event:
    """Make an event of a customer; the log's tenant column holds the customer's SID."""
    return Event(type_, customer_sid, subject_sid, data)
