"""Invoices, credit notes and what settles them: the door."""

from onterms.business.invoicing.api import Api
from onterms.business.invoicing.errors import NoEInvoice, NoPdf, NoSuchInvoice, NotAllowedNow
from onterms.business.invoicing.events import (
    CREDIT_NOTE_ISSUED,
    INVOICE_CHANGED,
    INVOICE_FINALISED,
    INVOICE_SENT,
)
from onterms.business.invoicing.model import (
    Credit,
    Evidence,
    Invoice,
    Line,
    Movement,
    Part,
    Party,
    tax_shares,
)
from onterms.business.invoicing.service.back_billing import bill_back_taxes
from onterms.business.invoicing.service.closing import (
    Surroundings,
    close,
    close_finally,
    enroll,
    evidence,
    require,
    send,
)
from onterms.business.invoicing.service.settling import (
    credit,
    credited_lines,
    debit_note,
    left_of,
    make_due,
    open_documents,
    settle_by_proof,
    settled_by_payments,
    shares_of,
    unshield,
    withhold,
    write_off,
)
from onterms.business.invoicing.store import add_charge, lock, movements, open_totals, parts
from onterms.business.invoicing.tasks import Tasks
from onterms.business.invoicing.wire.shapes import LineAmount, nets_of

__all__ = [
    "CREDIT_NOTE_ISSUED",
    "INVOICE_CHANGED",
    "INVOICE_FINALISED",
    "INVOICE_SENT",
    "Api",
    "Credit",
    "Evidence",
    "Invoice",
    "Line",
    "LineAmount",
    "Movement",
    "NoEInvoice",
    "NoPdf",
    "NoSuchInvoice",
    "NotAllowedNow",
    "Part",
    "Party",
    "Surroundings",
    "Tasks",
    "add_charge",
    "bill_back_taxes",
    "close",
    "close_finally",
    "credit",
    "credited_lines",
    "debit_note",
    "enroll",
    "evidence",
    "left_of",
    "lock",
    "make_due",
    "movements",
    "nets_of",
    "open_documents",
    "open_totals",
    "parts",
    "require",
    "send",
    "settle_by_proof",
    "settled_by_payments",
    "shares_of",
    "tax_shares",
    "unshield",
    "withhold",
    "write_off",
]
