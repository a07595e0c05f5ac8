"""What this room refuses, with the codes of the catalogue."""

from onterms.core.errors import Forbidden, InvalidParameter, NotServed, Refusal


class InvalidFriendlyName(Refusal):
    """The name is longer than 64 characters, or holds NUL."""

    code = 20002

    def __init__(self) -> None:
        super().__init__("FriendlyName may have at most 64 characters, none of them NUL")


class AccountNotActive(Refusal):
    """The acting account is suspended, so it may only look."""

    code = 20005
    status = 403

    def __init__(self) -> None:
        super().__init__("The account is not active")


class InvalidStatus(Refusal):
    """The status is none of active, suspended, closed."""

    code = 21475

    def __init__(self) -> None:
        super().__init__("Status must be active, suspended or closed")


class ParentSuspended(Refusal):
    """A suspended parent does not change its subaccounts' status."""

    code = 21476

    def __init__(self) -> None:
        super().__init__("The status of a subaccount cannot change while its parent account is suspended")


class ParentStatusFixed(Refusal):
    """A parent account's status is the operator's to change."""

    code = 21477

    def __init__(self) -> None:
        super().__init__("The status of a parent account cannot be changed through the API")


class SuspendedByOperator(Refusal):
    """What the operator suspended, only the operator restores."""

    code = 21478

    def __init__(self) -> None:
        super().__init__("The subaccount was suspended by the operator, who alone can restore it")


class SubaccountClosed(Refusal):
    """Closing is final."""

    code = 21479

    def __init__(self) -> None:
        super().__init__("The account is closed and stays closed")


class TooManySubaccounts(Refusal):
    """The parent has as many open subaccounts as it may."""

    code = 21480

    def __init__(self, maximum: int) -> None:
        super().__init__(f"The account already has {maximum} subaccounts")


class OnlyParentMay(Forbidden):
    """A subaccount neither owns accounts nor sets its own status."""

    def __init__(self) -> None:
        super().__init__("Only the parent account may create subaccounts or change their status")


class RestrictedKeysNotServed(NotServed):
    """Keys and OAuth apps with a policy; serving one without its policy would give more than was asked for."""

    def __init__(self) -> None:
        super().__init__("Restricted permissions (Policy) are not served by this installation")


class PolicyNeedsRestrictedKey(InvalidParameter):
    """Standard and main keys have no policy."""

    def __init__(self) -> None:
        super().__init__("Policy applies to restricted keys only")


class SecondaryTokenExists(InvalidParameter):
    """A second secondary token would silently end the first."""

    def __init__(self) -> None:
        super().__init__("The account already has a secondary auth token; promote or delete it first")


# Twilio docs, error pages 321402, 321403, 322402 and 322403: the token endpoint's own codes.
class EmptyClientId(Refusal):
    """The token request names no client."""

    code = 321402

    def __init__(self) -> None:
        super().__init__("client_id is required")


class InvalidGrantType(Refusal):
    """Account apps know one grant."""

    code = 321403

    def __init__(self) -> None:
        super().__init__("grant_type must be client_credentials")


class InvalidClient(Refusal):
    """The client or its secret is wrong, which is not told apart. RFC 6749 5.2: invalid_client may answer 401."""

    code = 322402
    status = 401

    def __init__(self) -> None:
        super().__init__("client_id and client_secret do not belong together")


class BadTokenRequest(Refusal):
    """The token request lacks a field or asks for what this client cannot have."""

    code = 322403
