"""What the registration room says to the log."""

from collections.abc import Sequence
from typing import Any

from onterms.engines.log import Event

MOVED = "registration.moved"


def event(account_sid: str, sid: str, kind: str, before: str, status: str, errors: Sequence[Any] = ()) -> Event:
    """Make the event about a registration's new status."""
    return Event(MOVED, account_sid, sid, {"kind": kind, "before": before, "status": status, "errors": list(errors)})
