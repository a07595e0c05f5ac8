"""What this room refuses. Each refusal names the clause of the terms it stands on."""

from onterms.core.errors import NotFound, NotServed, Refusal


class NoSuchInvoice(NotFound):
    """The customer has no such document."""

    def __init__(self, sid: str) -> None:
        super().__init__(f"The document {sid} was not found")


class NotAllowedNow(Refusal):
    """The document's state does not allow it."""

    code = 20409
    status = 409

    def __init__(self, message: str, clause: str) -> None:
        super().__init__(message, details={"clause": clause})


class TooMuchCredited(Refusal):
    """A line is credited with more than is left of it."""

    status = 422

    def __init__(self, ref: str) -> None:
        super().__init__(f"Line {ref} has less left than is to be credited", details={"clause": "3.3", "line": ref})


class NoSuchLine(Refusal):
    """The invoice has no such line that could be credited or disputed."""

    status = 422

    def __init__(self, ref: str) -> None:
        super().__init__(f"The invoice has no line {ref} of fees", details={"clause": "3.3.3", "line": ref})


class NoPdf(NotServed):
    """The installation has not the optional part that prints."""

    def __init__(self) -> None:
        super().__init__("PDF needs the optional package: install onterms[pdf]")


class NoEInvoice(Refusal):
    """EN 16931 has one VAT category a line, so this document has no such form."""

    status = 422

    def __init__(self) -> None:
        super().__init__("EN 16931 knows one tax a line, and a line of this document has several")
