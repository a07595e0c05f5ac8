"""What this room refuses."""

from onterms.core.errors import Refusal


class DataDeleted(Refusal):
    """The data was deleted after the end of the agreement."""

    status = 410

    def __init__(self, certificate_sha256: str) -> None:
        super().__init__("The data was deleted", details={"clause": "4.1", "certificate_sha256": certificate_sha256})
