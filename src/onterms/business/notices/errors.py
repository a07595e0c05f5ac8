"""What this room refuses. Each refusal names the clause of the terms it stands on."""

from onterms.core.errors import Refusal


class NoticeMissing(Refusal):
    """Something that needs a notice first has none that counts."""

    code = 20001
    status = 422

    def __init__(self, message: str, clause: str, reason: str) -> None:
        super().__init__(message, details={"clause": clause, "reason": reason})


class TaskDone(Refusal):
    """A task is done once."""

    code = 20409
    status = 409

    def __init__(self) -> None:
        super().__init__("The task is done already", details={"reason": "task_done"})
