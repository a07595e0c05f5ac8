"""Suspensions on notice, and what leads to them: use policy, spikes, screening, places. The door."""

from onterms.business.suspension.api import Api
from onterms.business.suspension.errors import PlaceBlocked, PolicyRefuses, Suspended
from onterms.business.suspension.model import (
    Decision,
    Sending,
    Signals,
    SpikePolicy,
    Use,
    accrues,
    information_gaps,
    monthly_charge,
    resale_suspected,
)
from onterms.business.suspension.service.admission import Admission, RegionNotice, SignInGate
from onterms.business.suspension.service.detecting import look_at_information, look_for_resale, observe
from onterms.business.suspension.service.screening import Screening
from onterms.business.suspension.service.suspensions import Suspensions

__all__ = [
    "Admission",
    "Api",
    "Decision",
    "PlaceBlocked",
    "PolicyRefuses",
    "RegionNotice",
    "Screening",
    "Sending",
    "SignInGate",
    "Signals",
    "SpikePolicy",
    "Suspended",
    "Suspensions",
    "Use",
    "accrues",
    "information_gaps",
    "look_at_information",
    "look_for_resale",
    "monthly_charge",
    "observe",
    "resale_suspected",
]
