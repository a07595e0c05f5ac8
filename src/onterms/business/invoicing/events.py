"""What this room says, under the customer's SID."""

from typing import Any

from onterms.engines.log import Event

INVOICE_FINALISED = "invoicing.invoice_finalised"
INVOICE_SENT = "invoicing.invoice_sent"
INVOICE_CHANGED = "invoicing.invoice_changed"
CREDIT_NOTE_ISSUED = "invoicing.credit_note_issued"


def of_customer(type_: str, customer_sid: str, subject_sid: str, data: dict[str, Any]) -> Event:
    """Make an event of a customer; the log's tenant column holds the customer's SID."""
    return Event(type_, customer_sid, subject_sid, data)
