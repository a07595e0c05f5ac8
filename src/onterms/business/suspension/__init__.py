"""Suspensions on notice, and what leads to them: use policy, spikes, screening, places. The door."""

from onterms.business.suspension.api import Api
from onterms.business.suspension.errors import EndUserListed, PlaceBlocked, PolicyRefuses, Suspended
from onterms.business.suspension.model import (
    GROUNDS,
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
from onterms.business.suspension.service.admission import Admission, Geo, RegionNotice, SignInGate
from onterms.business.suspension.service.board import Board
from onterms.business.suspension.service.detecting import look_at_information, look_for_resale, observe
from onterms.business.suspension.service.gate import Gate, Passage, Passed
from onterms.business.suspension.service.screening import Screening
from onterms.business.suspension.service.suspensions import NOTICE_SUBJECT, Suspensions, notice_body
from onterms.business.suspension.service.watching import Spell, Watch
from onterms.business.suspension.tasks import Tasks

__all__ = [
    "GROUNDS",
    "NOTICE_SUBJECT",
    "Admission",
    "Api",
    "Board",
    "Decision",
    "EndUserListed",
    "Gate",
    "Geo",
    "Passage",
    "Passed",
    "PlaceBlocked",
    "PolicyRefuses",
    "RegionNotice",
    "Screening",
    "Sending",
    "SignInGate",
    "Signals",
    "Spell",
    "SpikePolicy",
    "Suspended",
    "Suspensions",
    "Tasks",
    "Use",
    "Watch",
    "accrues",
    "information_gaps",
    "look_at_information",
    "look_for_resale",
    "monthly_charge",
    "notice_body",
    "observe",
    "resale_suspected",
]
