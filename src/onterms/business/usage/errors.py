"""What the send path refuses for want of an agreement, a price or funds. Each refusal names its clause."""

from onterms.core.errors import NotFound, Refusal

_MESSAGING = ("sms", "mms", "whatsapp", "rcs")


class NoAgreement(Refusal):
    """Nobody answers for the account, so nobody may be charged."""

    code = 20005
    status = 403

    def __init__(self) -> None:
        super().__init__("The account has no agreement in force", details={"clause": "P.6"})


class InsufficientFunds(Refusal):
    """What the customer has does not cover the fees."""

    code = 20005
    status = 403

    def __init__(self) -> None:
        super().__init__("The account's funds do not cover the fees", details={"clause": "3.3.1"})


class NotOnSale(Refusal):
    """Nothing says what this would cost, so it is not sold.

    For a message that is 21612, the catalogue's word for a pair of sender and recipient that is not served: 21408
    would send the customer to its geographic permissions, which are not what is missing. Other services have no such
    code; theirs is permission denied.
    """

    def __init__(self, service: str, country: str, currency: str) -> None:
        is_message = service in _MESSAGING
        super().__init__(
            f"{service} is not on sale for {country or 'this destination'} in {currency}",
            code=21612 if is_message else 20003,
            status=400 if is_message else 403,
            details={"clause": "3.1", "service": service, "country": country, "currency": currency},
        )


class AlreadyMetered(Refusal):
    """The identifier stands for another use, or for one that is over."""

    code = 20001
    status = 409

    def __init__(self) -> None:
        super().__init__("This use was metered before", details={"clause": "3.1"})


class TriggerNotFound(NotFound):
    """The account has no such usage trigger."""

    def __init__(self, sid: str) -> None:
        super().__init__(f"The usage trigger {sid} was not found")
