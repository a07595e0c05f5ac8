"""What this room refuses."""

from onterms.core.errors import NotFound, Refusal


class CannotCopy(Refusal):
    """The copy needs a database of its own, which our role may not make."""

    status = 409

    def __init__(self) -> None:
        super().__init__(
            "A rehearsal runs on a copy in a database of its own, and the role of ONTERMS_DSN may not create one: "
            "ALTER ROLE ... CREATEDB",
            details={"reason": "no_createdb"},
        )


class StillRunning(Refusal):
    """What runs is not deleted; it ends by itself within its limits."""

    status = 409

    def __init__(self, sid: str) -> None:
        super().__init__(f"The simulation {sid} is running", details={"reason": "running"})


class NoSuchSimulation(NotFound):
    """There is no such simulation."""

    def __init__(self, sid: str) -> None:
        super().__init__(f"The simulation {sid} was not found")
