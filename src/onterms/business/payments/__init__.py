"""Payments: how customers pay, what came in, what went back, and what follows when it does not. The door.

Theory of operation. A top-up is a row and a job. The job asks the provider between two transactions, under the top-up's
SID as the idempotency key, so a crash or a lost answer ends in a repeat that moves no money twice. The provider's
webhooks tell the same, earlier or later, twice or in another order: each genuine event is kept once by its id, and the
tables of `model` decide what is news. What is told of a charge that is not known yet is parked until its id is. One row
per customer (`payment_standings`) is locked by whatever moves its money, so these moves are one after the other.
"""

from onterms.business.payments.api import Api
from onterms.business.payments.errors import Conflict, ForgedWebhook, Unpaid, Unprocessable
from onterms.business.payments.events import (
    AUTO_RECHARGE_PAUSED,
    CARD_ADDED,
    CARD_REMOVED,
    CHARGEBACK_CHANGED,
    EVENT_MISMATCHED,
    INVOICING_DECIDED,
    METHOD_CHOSEN,
    PAYMENT_ALLOCATED,
    PAYMENT_RECORDED,
    REFUND_CHANGED,
    STANDING_CHANGED,
    TOP_UP_FAILED,
    TOP_UP_NEEDS_ACTION,
    TOP_UP_SUCCEEDED,
)
from onterms.business.payments.model import (
    Allocation,
    Application,
    AutoRecharge,
    Card,
    Chargeback,
    Exposure,
    OpenDocument,
    OrderTerms,
    Payment,
    PaymentTerms,
    Refund,
    Standing,
    TopUp,
)
from onterms.business.payments.service.payments import Payments
from onterms.business.payments.service.surroundings import (
    Allocated,
    Lift,
    OpenDocuments,
    Orders,
    SetBlock,
    Surroundings,
    debts_without_documents,
)
from onterms.business.payments.tasks import Tasks

__all__ = [
    "AUTO_RECHARGE_PAUSED",
    "CARD_ADDED",
    "CARD_REMOVED",
    "CHARGEBACK_CHANGED",
    "EVENT_MISMATCHED",
    "INVOICING_DECIDED",
    "METHOD_CHOSEN",
    "PAYMENT_ALLOCATED",
    "PAYMENT_RECORDED",
    "REFUND_CHANGED",
    "STANDING_CHANGED",
    "TOP_UP_FAILED",
    "TOP_UP_NEEDS_ACTION",
    "TOP_UP_SUCCEEDED",
    "Allocated",
    "Allocation",
    "Api",
    "Application",
    "AutoRecharge",
    "Card",
    "Chargeback",
    "Conflict",
    "Exposure",
    "ForgedWebhook",
    "Lift",
    "OpenDocument",
    "OpenDocuments",
    "OrderTerms",
    "Orders",
    "Payment",
    "PaymentTerms",
    "Payments",
    "Refund",
    "SetBlock",
    "Standing",
    "Surroundings",
    "Tasks",
    "TopUp",
    "Unpaid",
    "Unprocessable",
    "debts_without_documents",
]
