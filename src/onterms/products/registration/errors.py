"""What the registration room refuses, with Twilio's codes."""

from onterms.core.errors import Refusal


class BrandNotApproved(Refusal):
    """The brand is not registered, or not this account's."""

    code = 21717


class UsecaseMismatch(Refusal):
    """The use case does not go with the brand or the Messaging Service."""

    code = 21719


class UnknownUsecase(Refusal):
    """There is no such use case of campaigns."""

    code = 21720


class TokenForAnotherBrand(Refusal):
    """A Campaign Verify token is for political bodies' brands."""

    code = 21721


class InvalidToken(Refusal):
    """The Campaign Verify token is not written as one."""

    code = 21722


class VettingUnderWay(Refusal):
    """The brand is being vetted by this provider."""

    code = 21723
    status = 409


class TooManyUpdates(Refusal):
    """The brand was handed in again as often as it may."""

    code = 21724


class BrandNotFailed(Refusal):
    """Only a failed brand is handed in again."""

    code = 21725


class UnknownService(Refusal):
    """The account has no such Messaging Service."""

    code = 21701


class MissingParameters(Refusal):
    """The campaign lacks something."""

    code = 21727


class InvalidLengths(Refusal):
    """A text of the campaign is too long or too short."""

    code = 21728


class CampaignSuspended(Refusal):
    """The campaign is suspended."""

    code = 21729


class BrandSuspended(Refusal):
    """The brand is suspended."""

    code = 21731


class TooManyCampaigns(Refusal):
    """The brand has as many campaigns as it may."""

    code = 21732


class Conflict(Refusal):
    """Something of the kind is there already, or its status does not allow it."""

    code = 20409
    status = 409


class InvalidTollfreeNumber(Refusal):
    """The number to verify is no toll-free number of the account."""

    code = 30436


class EditExpired(Refusal):
    """The rejected verification may not be edited any more."""

    code = 30437
