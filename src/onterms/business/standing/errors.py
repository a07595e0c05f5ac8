"""What this room refuses: a customer whose standing does not allow something, by the reason of the worst block."""

from onterms.core.errors import Refusal


class StandingRefusal(Refusal):
    """A block covers what was asked for.

    Shapes: details name the clause, the reason, and what to ask the operator about.
    """

    def __init__(self, message: str, code: int, status: int, clause: str, reason: str, ref: str) -> None:
        super().__init__(
            message, code=code, status=status, details={"clause": clause, "reason": reason, "ref": ref or None}
        )


class BlockDiffers(Refusal):
    """Under the same source and ref another block is open; lift that first."""

    code = 20409
    status = 409

    def __init__(self, source: str, ref: str) -> None:
        super().__init__(
            f"Another block of {source} is open for {ref or 'the same cause'}",
            details={"reason": "block_differs", "source": source, "ref": ref},
        )
