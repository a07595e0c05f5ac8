"""What this room refuses. Each refusal names the clause of the terms it stands on."""

from onterms.core.errors import NotFound, Refusal


class TooEarly(Refusal):
    """The customer has not been given its notice, or its 15 days are not over."""

    code = 20409
    status = 409

    def __init__(self, message: str, clause: str) -> None:
        super().__init__(message, details={"clause": clause, "reason": "cure_not_over"})


class NoSuchProposal(NotFound):
    """There is no such proposal, or it was decided."""

    def __init__(self, sid: str) -> None:
        super().__init__(f"The proposal {sid} was not found among the open ones")
