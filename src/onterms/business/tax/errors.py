"""What this room refuses. Each refusal names the clause it keeps."""

from onterms.core.errors import NotFound, Refusal


class TaxKindExcluded(Refusal):
    """The operator bears taxes on its own income, property and employees, so they are never on an invoice."""

    status = 422

    def __init__(self, kind: str) -> None:
        super().__init__(f"A tax of kind '{kind[:40]}' is not the customer's", details={"clause": "3.2.1"})


class InvalidTaxRule(Refusal):
    """The rule contradicts itself."""

    status = 422

    def __init__(self, message: str) -> None:
        super().__init__(message, details={"clause": "3.2.1"})


class MoveNotAllowed(Refusal):
    """The state does not allow this."""

    status = 409

    def __init__(self, what: str, event: str, state: str, clause: str) -> None:
        super().__init__(f"{what} that is {state} cannot be {event}", details={"clause": clause, "state": state})


class VatIdRefused(Refusal):
    """What was given is no identifier of the customer's country."""

    status = 422

    def __init__(self, message: str) -> None:
        super().__init__(message, details={"clause": "3.2.1", "reason": "vat_id_invalid"})


class ProofRefused(Refusal):
    """A withheld tax is proven with a document."""

    status = 422

    def __init__(self) -> None:
        super().__init__("A proof needs the document of the authority", details={"clause": "3.2.1"})


class ExemptionNotFound(NotFound):
    """The customer has no such exemption."""

    def __init__(self) -> None:
        super().__init__("The exemption was not found")


class ProofNotFound(NotFound):
    """The customer has no such proof."""

    def __init__(self) -> None:
        super().__init__("The proof was not found")


class CustomerNotFound(NotFound):
    """The caller's account belongs to no customer."""

    def __init__(self) -> None:
        super().__init__("The customer was not found")
