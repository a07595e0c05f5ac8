"""Claims: pure."""

from onterms.business.claims.model.amounts import (
    CAP_MONTHS,
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
from onterms.business.claims.model.machines import DISPUTE, INDEMNITY, NONCONFORMITY, SLA_CLAIM

__all__ = [
    "CAP_MONTHS",
    "DISPUTE",
    "INDEMNITY",
    "NONCONFORMITY",
    "SLA_CLAIM",
    "Cap",
    "Charge",
    "FeeRow",
    "Recurring",
    "availability_ppm",
    "is_covered",
    "liability_cap",
    "nonconformity_refund",
    "recoverable",
    "sla_credit",
    "split_costs",
    "unused_prepaid",
]
