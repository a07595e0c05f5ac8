"""Usage: what is held, charged and shown of it, and the triggers on it. The door."""

from onterms.business.usage.api import bindings, routes
from onterms.business.usage.errors import AlreadyMetered, InsufficientFunds, NoAgreement, NotOnSale
from onterms.business.usage.events import TRIGGER_CALLED, TRIGGER_FIRED
from onterms.business.usage.model import CATEGORIES, Outcome, Settled, Use, category_of
from onterms.business.usage.service.meter import HOLD_FOR, Charged, Meter, StillDue, tell_nobody
from onterms.business.usage.tasks import SWEEP_EVERY, Tasks, ensure_sweep

__all__ = [
    "CATEGORIES",
    "HOLD_FOR",
    "SWEEP_EVERY",
    "TRIGGER_CALLED",
    "TRIGGER_FIRED",
    "AlreadyMetered",
    "Charged",
    "InsufficientFunds",
    "Meter",
    "NoAgreement",
    "NotOnSale",
    "Outcome",
    "Settled",
    "StillDue",
    "Tasks",
    "Use",
    "bindings",
    "category_of",
    "ensure_sweep",
    "routes",
    "tell_nobody",
]
