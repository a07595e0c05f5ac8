"""Alerts: pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from onterms.engines.api.catalogue import Level

# Twilio docs, Notification resource, `log`: 0 is ERROR, 1 is WARNING. The two that follow are the monitor API's other
# levels in order.
LEVELS: Final[tuple[Level, ...]] = ("error", "warning", "notice", "debug")

# What a customer's server answered may be megabytes; the debugger needs its beginning. Ours.
TEXT_CHARS_MAX: Final = 16_384


@dataclass(frozen=True, slots=True)
class NewAlert:
    """Something that went wrong for an account.

    Shapes: without `text` and `level` the catalogue's meaning and level of the code stand; `request_variables` is
    form-encoded; headers are text, one header a line; `resource_sid` names the message, call or other resource.
    """

    account_sid: str
    error_code: int
    text: str | None = None
    level: Level | None = None
    resource_sid: str | None = None
    service_sid: str | None = None
    request_method: str | None = None
    request_url: str | None = None
    request_variables: str | None = None
    request_headers: str | None = None
    response_headers: str | None = None
    response_body: str | None = None
    # When it happened, where that is earlier than the moment of recording.
    generated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts a list shows; both ends of the time span belong to it, except `before`."""

    level: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    # Excluded end, for filters by whole days.
    before: datetime | None = None
    resource_sid: str | None = None


def storable(text: str | None) -> str | None:
    """Cut a text to what is kept, without the characters that the database cannot hold.

    A customer's server may answer any bytes: NUL and lone surrogates have no place in PostgreSQL's text.
    """
    if text is None:
        return None
    cut = text[:TEXT_CHARS_MAX]
    return cut.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def level_number(level: Level) -> int:
    """Return the number under which the 2010 API knows a level."""
    return LEVELS.index(level)


def level_name(number: Any) -> Level:
    """Return the name under which the monitor API knows a level."""
    return LEVELS[int(number)]
