"""What this room refuses."""

from onterms.core.errors import Forbidden, Refusal


class ClaimedAlready(Refusal):
    """What a claim is for was claimed or given by another one."""

    def __init__(self, clause: str, other_sid: str, *, is_given: bool) -> None:
        reason = "credited_already" if is_given else "claimed_already"
        super().__init__(
            f"This stands in the claim {other_sid} already",
            code=20409,
            status=409,
            details={"clause": clause, "reason": reason, "claim_sid": other_sid},
        )


class TermsNotAccepted(Forbidden):
    """A third party's service needs its own terms accepted first."""

    def __init__(self, service: str, terms_version: str) -> None:
        super().__init__(
            f"Accept the terms of {service} first",
            details={"clause": "1.11", "reason": "terms_not_accepted", "terms_version": terms_version},
        )
