"""Late payment: notices, cures, late fees, suspension: the door."""

from onterms.business.collections.api import Api
from onterms.business.collections.errors import NoSuchProposal, TooEarly
from onterms.business.collections.events import (
    DUNNING_MOVED,
    LATE_FEE_ASSESSED,
    LATE_NOTICE_SENT,
    PROPOSAL_DECIDED,
    PROPOSAL_OPENED,
)
from onterms.business.collections.model import (
    CURE_DAYS,
    MOVES,
    Assessed,
    Dunning,
    Fee,
    LateNotice,
    LegalRate,
    Policy,
    Proposal,
    cure_until,
    late_fee,
)
from onterms.business.collections.service import Collections, add_legal_maxima, set_policy, standing_of
from onterms.business.collections.store import fees, notices, proposals
from onterms.business.collections.tasks import Tasks

__all__ = [
    "CURE_DAYS",
    "DUNNING_MOVED",
    "LATE_FEE_ASSESSED",
    "LATE_NOTICE_SENT",
    "MOVES",
    "PROPOSAL_DECIDED",
    "PROPOSAL_OPENED",
    "Api",
    "Assessed",
    "Collections",
    "Dunning",
    "Fee",
    "LateNotice",
    "LegalRate",
    "NoSuchProposal",
    "Policy",
    "Proposal",
    "Tasks",
    "TooEarly",
    "add_legal_maxima",
    "cure_until",
    "fees",
    "late_fee",
    "notices",
    "proposals",
    "set_policy",
    "standing_of",
]
