"""What this room refuses."""

from onterms.core.errors import Forbidden, Refusal


class BetaNotEnrolled(Forbidden):
    """A beta offering is for those who opted in."""

    def __init__(self, service: str) -> None:
        super().__init__(f"Opt in to the beta of {service} first", details={"clause": "2.5", "reason": "not_enrolled"})


class BetaDiscontinued(Refusal):
    """A beta offering was withdrawn, for which there is no notice period."""

    status = 410

    def __init__(self, service: str) -> None:
        super().__init__(f"The beta of {service} was discontinued", details={"clause": "2.5", "reason": "discontinued"})


class NotVerified(Forbidden):
    """The number needs a verified identity."""

    def __init__(self, country: str) -> None:
        super().__init__(
            f"Voice numbers of {country} need a verified identity",
            details={"clause": "10.4.2", "reason": "not_verified"},
        )
