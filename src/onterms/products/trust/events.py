"""What the trust room says to the log."""

from collections.abc import Sequence
from typing import Any

from onterms.engines.log import Event

BUNDLE_MOVED = "trust.bundle_moved"


def event(account_sid: str, sid: str, before: str, status: str, errors: Sequence[Any]) -> Event:
    """Make the event about a bundle's new status."""
    return Event(BUNDLE_MOVED, account_sid, sid, {"before": before, "status": status, "errors": list(errors)})
