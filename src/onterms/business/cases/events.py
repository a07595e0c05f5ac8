"""What this room says: `case.<kind>.<event>`, with the case's SID and states."""


def name_of(kind: str, event: str) -> str:
    """Return the type of the log's event for a move."""
    return f"case.{kind}.{event}"
