"""What this room refuses."""

from onterms.core.errors import Forbidden, Refusal


class Suspended(Forbidden):
    """The services are suspended for this use.

    Source: Twilio docs, error 10001: account is not active.
    """

    code = 10001

    def __init__(self, clause: str, case_sid: str) -> None:
        super().__init__(
            "The services are suspended for this use",
            details={"clause": clause, "reason": "suspended", "suspension_sid": case_sid},
        )


class PlaceBlocked(Forbidden):
    """Law forbids to provide the service there, or to send there.

    Source: Twilio docs, error 21408: permission to send to this region is not enabled.
    """

    code = 21408

    def __init__(self, message: str, clause: str, legal_reason: str) -> None:
        super().__init__(message, details={"clause": clause, "reason": "place_blocked", "legal_reason": legal_reason})


class EndUserListed(Forbidden):
    """The end user is on a list of sanctions, as somebody confirmed."""

    def __init__(self) -> None:
        super().__init__(
            "The recipient is on a list of sanctions",
            details={"clause": "5.2(ii)", "reason": "end_user_listed", "legal_reason": "listed end user"},
        )


class PolicyRefuses(Refusal):
    """A rule of the use policy refuses what is to be sent."""

    def __init__(self, code: int, message: str, clause: str, text_ref: str) -> None:
        super().__init__(
            message, code=code, status=400, details={"clause": clause, "reason": "policy", "text": text_ref}
        )
