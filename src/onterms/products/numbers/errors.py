"""What this room refuses, with the catalogue's codes."""

from onterms.core.errors import InvalidParameter, NotFound, Refusal


class NumberNotFound(NotFound):
    """The account holds no such number."""

    def __init__(self, sid: str) -> None:
        super().__init__(f"Incoming phone number {sid} was not found")


class ApplicationNotFound(NotFound):
    """The account has no such application."""

    def __init__(self, sid: str) -> None:
        super().__init__(f"Application {sid} was not found")


class StockNotFound(NotFound):
    """No number of this country and kind is ever sold here.

    Source: Twilio answers 20404 with the path for US mobile numbers, which do not exist.
    """

    def __init__(self, path: str) -> None:
        super().__init__(f"The requested resource {path} was not found")


class ShortCodeTaken(Refusal):
    """Somebody holds the short code."""

    code = 20409
    status = 409

    def __init__(self, code: str) -> None:
        super().__init__(f"The short code {code} is taken")


class InvalidNumber(Refusal):
    """The text is not a telephone number."""

    code = 21421

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:64]} is not a valid number")


class NumberMissing(Refusal):
    """Nothing says which number to buy."""

    code = 21421

    def __init__(self) -> None:
        super().__init__("Give a PhoneNumber or an AreaCode")


class NumberNotAvailable(Refusal):
    """The number is not in stock, or somebody holds it."""

    code = 21422

    def __init__(self, phone_number: str) -> None:
        super().__init__(f"{phone_number} is not available")


class InvalidAreaCode(Refusal):
    """The area code is not one of the North American plan."""

    code = 21451

    def __init__(self, area_code: object) -> None:
        super().__init__(f"{str(area_code)[:16]} is not a valid area code")


class AreaCodeEmpty(Refusal):
    """No number of the area code is for sale."""

    code = 21452

    def __init__(self, area_code: str) -> None:
        super().__init__(f"No phone numbers found in area code {area_code}")


class WrongKind(Refusal):
    """The number is of another kind than the resource sells."""

    code = 21458

    def __init__(self, phone_number: str) -> None:
        super().__init__(f"{phone_number} is a number of another type")


class AddressRequired(Refusal):
    """The number is only sold to a customer with an address."""

    code = 21631

    def __init__(self, phone_number: str) -> None:
        super().__init__(f"{phone_number} requires an address: give an AddressSid")


class LocalAddressRequired(Refusal):
    """The number is only sold to a customer with an address in its country."""

    code = 21615

    def __init__(self, phone_number: str) -> None:
        super().__init__(f"{phone_number} requires an address in its country: give an AddressSid")


class InvalidUrl(Refusal):
    """A webhook's address is not an absolute http or https URL."""

    code = 21402

    def __init__(self, parameter: str, value: str) -> None:
        super().__init__(f"{parameter} is not a valid URL: {value[:128]}")


class InvalidCallback(Refusal):
    """A status callback's address is not an absolute http or https URL."""

    code = 21502

    def __init__(self, parameter: str, value: str) -> None:
        super().__init__(f"{parameter} is not a valid URL: {value[:128]}")


class VoiceFallbackAlone(Refusal):
    """A fallback without the URL it stands in for."""

    code = 21405

    def __init__(self) -> None:
        super().__init__("VoiceFallbackUrl cannot be set without VoiceUrl")


class SmsFallbackAlone(Refusal):
    """A fallback without the URL it stands in for."""

    code = 21406

    def __init__(self) -> None:
        super().__init__("SmsFallbackUrl cannot be set without SmsUrl")


class ApplicationNotAccessible(Refusal):
    """The application is not the account's."""

    code = 21420

    def __init__(self, sid: str) -> None:
        super().__init__(f"ApplicationSid {sid[:40]} is not accessible")


class InvalidAccountSid(Refusal):
    """The account to transfer to is not named by a SID."""

    code = 21470

    def __init__(self, sid: str) -> None:
        super().__init__(f"{sid[:40]} is not a valid AccountSid")


class AccountNotActive(Refusal):
    """The account to transfer to is suspended or closed."""

    code = 21472

    def __init__(self, sid: str) -> None:
        super().__init__(f"Account {sid} is not active")


class UnrelatedAccount(Refusal):
    """The account to transfer to is not of the same family.

    An account that does not exist gets the same answer, so that nobody learns which accounts exist.
    """

    code = 21473

    def __init__(self, sid: str) -> None:
        super().__init__(f"Account {sid} is not related to the owner of the phone number")


class NotTheParent(Refusal):
    """Only the parent account moves numbers between accounts."""

    code = 21474

    def __init__(self) -> None:
        super().__init__("Only the parent account may transfer phone numbers")


class UnknownResource(InvalidParameter):
    """A parameter names a resource that the account does not have."""

    def __init__(self, parameter: str, sid: str) -> None:
        super().__init__(f"{parameter} {sid[:40]} is not a resource of this account")


class InvalidPattern(InvalidParameter):
    """A search pattern breaks the rules of patterns."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"Invalid Contains: '{text[:32]}'; 2 to 16 letters, digits, '*' or '%', '+' only first, '$' only last, "
            "and at least two letters or digits"
        )
