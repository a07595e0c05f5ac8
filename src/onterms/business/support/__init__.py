"""Support, announced changes, beta, resellers, partners, verification and public records. The door."""

from onterms.business.support.api import Api
from onterms.business.support.errors import BetaDiscontinued, BetaNotEnrolled, NotVerified
from onterms.business.support.model import earliest_change_on, earliest_reseller_suspension_on, redact, removal_on
from onterms.business.support.service import VERIFIED_VOICE, EndpointUses, MediaGate, Support

__all__ = [
    "VERIFIED_VOICE",
    "Api",
    "BetaDiscontinued",
    "BetaNotEnrolled",
    "EndpointUses",
    "MediaGate",
    "NotVerified",
    "Support",
    "earliest_change_on",
    "earliest_reseller_suspension_on",
    "redact",
    "removal_on",
]
