"""What this room refuses."""

from onterms.core.errors import Forbidden


class TermsNotAccepted(Forbidden):
    """A third party's service needs its own terms accepted first."""

    def __init__(self, service: str, terms_version: str) -> None:
        super().__init__(
            f"Accept the terms of {service} first",
            details={"clause": "1.11", "reason": "terms_not_accepted", "terms_version": terms_version},
        )
