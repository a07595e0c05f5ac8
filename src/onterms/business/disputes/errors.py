"""What this room refuses. Each refusal names the clause of the terms it stands on."""

from onterms.core.errors import NotFound, Refusal

CLAUSE = "3.3.3"


class NoSuchDispute(NotFound):
    """The customer has no such dispute."""

    def __init__(self, sid: str) -> None:
        super().__init__(f"The dispute {sid} was not found")


class NotAllowedNow(Refusal):
    """The dispute's state does not allow it."""

    code = 20409
    status = 409

    def __init__(self, message: str) -> None:
        super().__init__(message, details={"clause": CLAUSE})


class TooMuchDisputed(Refusal):
    """More of a line is disputed than there is, or decided than was disputed."""

    status = 422

    def __init__(self, ref: str) -> None:
        super().__init__(f"Line {ref} has less that can be disputed", details={"clause": CLAUSE, "line": ref})


class ReasonMissing(Refusal):
    """A determination is by a named person with reasons."""

    status = 422

    def __init__(self) -> None:
        super().__init__("A determination names who made it and why", details={"clause": CLAUSE})
