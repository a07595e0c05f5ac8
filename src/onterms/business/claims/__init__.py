"""Service levels, warranty, indemnity, liability and disputes between the parties. The door."""

from onterms.business.claims.api import Api
from onterms.business.claims.errors import TermsNotAccepted
from onterms.business.claims.model import (
    Cap,
    Charge,
    FeeRow,
    Recurring,
    availability_ppm,
    is_covered,
    liability_cap,
    nonconformity_refund,
    recoverable,
    sla_credit,
    split_costs,
    unused_prepaid,
)
from onterms.business.claims.service import Billing, Claims, Forums, catalogue_entry, enable, record_minute

__all__ = [
    "Api",
    "Billing",
    "Cap",
    "Charge",
    "Claims",
    "FeeRow",
    "Forums",
    "Recurring",
    "TermsNotAccepted",
    "availability_ppm",
    "catalogue_entry",
    "enable",
    "is_covered",
    "liability_cap",
    "nonconformity_refund",
    "record_minute",
    "recoverable",
    "sla_credit",
    "split_costs",
    "unused_prepaid",
]
