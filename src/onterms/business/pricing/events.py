"""What this room tells the others, on the log, under the customer's SID."""

from typing import Any

from onterms.engines.log import Event

ORDER_FORM_SENT = "pricing.order_form_sent"
ORDER_FORM_SIGNED = "pricing.order_form_signed"
ORDER_FORM_ACTIVATED = "pricing.order_form_activated"
ORDER_FORM_RENEWED = "pricing.order_form_renewed"
ORDER_FORM_ENDING = "pricing.order_form_ending"
ORDER_FORM_EXPIRED = "pricing.order_form_expired"
ORDER_FORM_TERMINATED = "pricing.order_form_terminated"
ORDER_FORM_SUPERSEDED = "pricing.order_form_superseded"
COMMITMENT_MISSED = "pricing.commitment_missed"
CHARGE_PASSED_ON = "pricing.charge_passed_on"
USAGE_QUARANTINED = "pricing.usage_quarantined"


def of_customer(type_: str, customer_sid: str, subject_sid: str, data: dict[str, Any]) -> Event:
    """Make an event of a customer; the log's tenant column holds the customer's SID."""
    return Event(type_, customer_sid, subject_sid, data)
