"""What this room refuses."""

from onterms.core.errors import InvalidParameter, NotFound


class AlertNotFound(NotFound):
    """The account has no such alert."""

    def __init__(self, sid: str) -> None:
        super().__init__(f"Alert {sid} was not found")


class UnknownLevel(InvalidParameter):
    """A filter names a log level that does not exist."""

    def __init__(self, value: object) -> None:
        super().__init__(f"Invalid log level: '{str(value)[:64]}'")
