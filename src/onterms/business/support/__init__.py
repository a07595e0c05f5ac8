"""Support, announced changes, beta, resellers, partners, verification and public records. The door."""

from onterms.business.support.api import Api
from onterms.business.support.errors import BetaDiscontinued, BetaNotEnrolled, NotVerified
from onterms.business.support.model import earliest_change_on, earliest_reseller_suspension_on, redact, removal_on
from onterms.business.support.service import MediaGate, Support

__all__ = [
    "Api",
    "BetaDiscontinued",
    "BetaNotEnrolled",
    "MediaGate",
    "NotVerified",
    "Support",
    "earliest_change_on",
    "earliest_reseller_suspension_on",
    "redact",
    "removal_on",
]
