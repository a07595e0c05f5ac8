"""What the messaging room says to the log."""

from collections.abc import Mapping
from typing import Any

from onterms.engines.log import Event

ACCEPTED = "message.accepted"
RECEIVED = "message.received"
STATUS_CHANGED = "message.status_changed"
WEBHOOK_CALLED = "message.webhook_called"
SUBMITTED = "message.submitted_by_smpp"
GIVEN = "message.given_to_smpp"
REPLACED = "message.replaced"
OPTED_OUT = "message.opted_out"
OPTED_IN = "message.opted_in"
REDACTED = "message.redacted"
DELETED = "message.deleted"


def event(kind: str, account_sid: str, message_sid: str, data: Mapping[str, Any]) -> Event:
    """Make an event about one message."""
    return Event(kind, account_sid, message_sid, dict(data))
