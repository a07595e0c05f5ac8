"""What this room refuses. Each refusal names the clause it keeps."""

from onterms.core.errors import InvalidParameter, NotFound, Refusal


class NoPrice(Refusal):
    """No order form and no list price covers the service there: it is not on sale."""

    code = 20003
    status = 403

    def __init__(self, service: str, country: str, currency: str) -> None:
        super().__init__(
            f"There is no price for {service} in {country or 'any country'} in {currency}",
            details={"clause": "2.1(a)", "service": service, "country": country, "currency": currency},
        )


class UnknownCurrency(InvalidParameter):
    """The code is no currency that can be billed in."""

    def __init__(self, currency: str) -> None:
        super().__init__(f"'{currency[:10]}' is no currency that can be billed in", details={"clause": "3.3.2"})


class InvalidPrice(InvalidParameter):
    """A price is no exact amount of at most six decimals, or its tiers make no sense."""

    def __init__(self, message: str) -> None:
        super().__init__(message, details={"clause": "3.1"})


class RaiseNotAhead(Refusal):
    """A price goes up from a future instant only."""

    code = 20001
    status = 409

    def __init__(self) -> None:
        super().__init__("A price may be raised from a future instant only", details={"clause": "3.1"})


class OrderFormOverlaps(Refusal):
    """Another signed order form of the customer has a rate for the same thing at the same time."""

    code = 20001
    status = 409

    def __init__(self, other: str) -> None:
        super().__init__(
            f"Order form {other} has a rate for the same service in the same time",
            details={"clause": "1.8", "order_form": other},
        )


class MoveNotAllowed(Refusal):
    """The order form's state does not allow this."""

    code = 20001
    status = 409

    def __init__(self, event: str, state: str) -> None:
        super().__init__(f"An order form that is {state} cannot be {event}", details={"clause": "1.8", "state": state})


class DocumentMissing(Refusal):
    """A fine is passed on with the document that imposes it, or not at all."""

    code = 20001
    status = 422

    def __init__(self) -> None:
        super().__init__("A fine or penalty needs the document that imposes it", details={"clause": "3.2.2"})


class OrderFormNotFound(NotFound):
    """The customer has no such order form."""

    def __init__(self) -> None:
        super().__init__("The order form was not found")


class CustomerNotFound(NotFound):
    """The caller's account belongs to no customer, or the operator named none."""

    def __init__(self) -> None:
        super().__init__("The customer was not found")
