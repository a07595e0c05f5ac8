"""Rehearsals: what the next days of an install will bring, lived through on a copy; and the timers that wait. The door.

What makes the copy and lives on it is app/rehearsal; this room keeps what was asked and what came of it.
"""

from onterms.business.rehearsal.api import Api
from onterms.business.rehearsal.errors import CannotCopy, StillRunning
from onterms.business.rehearsal.events import CHANNEL, USAGE_REFUSED, USAGE_RESUMED, kind_of
from onterms.business.rehearsal.model import (
    ENDED,
    PROJECTED_FROM_DAYS,
    Assumptions,
    Figure,
    Limits,
    Simulation,
    Status,
)
from onterms.business.rehearsal.service import (
    Changes,
    begin_next,
    end,
    forget_scratch,
    left_behind,
    leftover_scratches,
    request,
)
from onterms.business.rehearsal.wire import TIMERS, assumptions_of, assumptions_shown

__all__ = [
    "CHANNEL",
    "ENDED",
    "PROJECTED_FROM_DAYS",
    "TIMERS",
    "USAGE_REFUSED",
    "USAGE_RESUMED",
    "Api",
    "Assumptions",
    "CannotCopy",
    "Changes",
    "Figure",
    "Limits",
    "Simulation",
    "Status",
    "StillRunning",
    "assumptions_of",
    "assumptions_shown",
    "begin_next",
    "end",
    "forget_scratch",
    "kind_of",
    "left_behind",
    "leftover_scratches",
    "request",
]
