"""What this room refuses. Each refusal names the clause of the terms it stands on."""

from typing import Any

from onterms.core.errors import Forbidden, Refusal


class TermsForbid(Forbidden):
    """The terms do not let this customer do that."""

    def __init__(self, message: str, clause: str, reason: str, **details: Any) -> None:
        super().__init__(message, details={"clause": clause, "reason": reason, **details})


class Unprocessable(Refusal):
    """The request is well formed, and its content is not what the terms ask for."""

    code = 20001
    status = 422

    def __init__(self, message: str, clause: str, reason: str, **details: Any) -> None:
        super().__init__(message, details={"clause": clause, "reason": reason, **details})


class Conflict(Refusal):
    """The state of things does not allow it."""

    code = 20409
    status = 409

    def __init__(self, message: str, clause: str, reason: str, **details: Any) -> None:
        super().__init__(message, details={"clause": clause, "reason": reason, **details})
