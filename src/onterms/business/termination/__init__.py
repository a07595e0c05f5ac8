"""How agreements end, in which order they are closed, what survives, and force majeure. The door."""

from onterms.business.termination.api import Api
from onterms.business.termination.model import (
    STEPS,
    Hindrance,
    cure_end,
    effective_clauses,
    obligations,
    survives,
)
from onterms.business.termination.service import Closing, Terminations

__all__ = [
    "STEPS",
    "Api",
    "Closing",
    "Hindrance",
    "Terminations",
    "cure_end",
    "effective_clauses",
    "obligations",
    "survives",
]
