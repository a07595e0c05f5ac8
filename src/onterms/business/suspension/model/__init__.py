"""What decides on suspensions: pure."""

from onterms.business.suspension.model.machines import (
    COMPLIANCE_REPORT,
    GROUNDS,
    LICENCE,
    REVIEW,
    SCREENING,
    SUSPENSION,
    Use,
    accrues,
    covers,
    in_force,
    information_gaps,
    monthly_charge,
    resale_suspected,
)
from onterms.business.suspension.model.policy import Decision, Rule, Sending, decayed_score, decide, read_condition
from onterms.business.suspension.model.screening import Entry, match, normalised, similarity
from onterms.business.suspension.model.spikes import Signals, SpikePolicy, baseline, judge

__all__ = [
    "COMPLIANCE_REPORT",
    "GROUNDS",
    "LICENCE",
    "REVIEW",
    "SCREENING",
    "SUSPENSION",
    "Decision",
    "Entry",
    "Rule",
    "Sending",
    "Signals",
    "SpikePolicy",
    "Use",
    "accrues",
    "baseline",
    "covers",
    "decayed_score",
    "decide",
    "in_force",
    "information_gaps",
    "judge",
    "match",
    "monthly_charge",
    "normalised",
    "read_condition",
    "resale_suspected",
    "similarity",
]
