"""Disputes of invoiced fees: the door."""

from onterms.business.disputes.api import Api
from onterms.business.disputes.errors import NoSuchDispute, NotAllowedNow, ReasonMissing, TooMuchDisputed
from onterms.business.disputes.events import DISPUTE_FILED, DISPUTE_MOVED
from onterms.business.disputes.model import MOVES, Dispute, DisputedLine, Task, deadline
from onterms.business.disputes.service import Disputes
from onterms.business.disputes.tasks import Tasks

__all__ = [
    "DISPUTE_FILED",
    "DISPUTE_MOVED",
    "MOVES",
    "Api",
    "Dispute",
    "DisputedLine",
    "Disputes",
    "NoSuchDispute",
    "NotAllowedNow",
    "ReasonMissing",
    "Task",
    "Tasks",
    "TooMuchDisputed",
    "deadline",
]
