"""What the messaging room refuses, with Twilio's codes."""

from onterms.core.errors import Refusal


class RecipientRequired(Refusal):
    """No To was given."""

    code = 21604


class SenderRequired(Refusal):
    """Neither From nor MessagingServiceSid was given."""

    code = 21603


class ContentRequired(Refusal):
    """Neither Body nor MediaUrl nor ContentSid was given."""

    code = 21602


class InvalidRecipient(Refusal):
    """To is not an address a message can go to."""

    code = 21211


class InvalidSender(Refusal):
    """From is not an address a message can come from."""

    code = 21212


class SenderNotOurs(Refusal):
    """From is no message-capable number of this account."""

    code = 21606


class SenderNotMmsCapable(Refusal):
    """From cannot carry media."""

    code = 21621


class SameNumber(Refusal):
    """To and From are one number."""

    code = 21266


class NotRoutable(Refusal):
    """The pair of To and From cannot be served."""

    code = 21612


class CountryBlocked(Refusal):
    """The account may not send to this country."""

    code = 21408


class OptedOut(Refusal):
    """The recipient asked this sender to stop."""

    code = 21610


class QuietHours(Refusal):
    """It is quiet time where the recipient is, and the account does not want its messages to wait."""

    code = 30610


class OutOfService(Refusal):
    """The recipient's carrier took the number out of service."""

    code = 30005


class NotMobile(Refusal):
    """To is a landline where landlines get no messages."""

    code = 21614


class BodyTooLong(Refusal):
    """The body is longer than 1,600 characters."""

    code = 21617


class InvalidMediaUrl(Refusal):
    """A MediaUrl is not a public web address."""

    code = 21620


class TooManyMedia(Refusal):
    """More than ten MediaUrls."""

    code = 21623


class InvalidStatusCallback(Refusal):
    """StatusCallback is not a web address."""

    code = 21609


class InvalidValidityPeriod(Refusal):
    """ValidityPeriod is not between 1 and 36,000 seconds."""

    code = 21624


class UnknownMessagingService(Refusal):
    """The account has no such Messaging Service."""

    code = 21701


class UnknownContent(Refusal):
    """The account has no such content template."""

    code = 21655


class UnknownApplication(Refusal):
    """The account has no such application."""

    code = 21705


class QueueFull(Refusal):
    """The sender's queue holds more than it can send in ten hours."""

    code = 21611


class TooManyReplies(Refusal):
    """TwiML answers one number faster than people talk: two programs may be answering each other."""

    code = 14107
    status = 429


class NotComplete(Refusal):
    """The message is still under way."""

    code = 20009
    status = 409


class NotCancelable(Refusal):
    """The message is not waiting for its time any more."""

    code = 30409
    status = 409


class ServiceHasNoSenders(Refusal):
    """The pool of the Messaging Service is empty."""

    code = 21704


class NoSenderFits(Refusal):
    """Nobody in the pool of the Messaging Service can serve this recipient."""

    code = 21703


class NotInPool(Refusal):
    """From is not in the pool of the Messaging Service."""

    code = 21711


class AlreadyInPool(Refusal):
    """The sender is in this Messaging Service's pool."""

    code = 21710
    status = 409


class InAnotherPool(Refusal):
    """The number is in another Messaging Service's pool."""

    code = 21712
    status = 409


class PoolFull(Refusal):
    """The pool holds as many senders as it may."""

    code = 21714


class CannotMessage(Refusal):
    """The number carries no messages."""

    code = 21715


class InvalidAlphaSender(Refusal):
    """The alphanumeric sender is not written as one."""

    code = 21709


class InvalidUsecase(Refusal):
    """The use case of a Messaging Service is none of the known ones."""

    code = 21713


class SendAtMissing(Refusal):
    """A schedule type without a time."""

    code = 35111


class SendAtOutOfBounds(Refusal):
    """The time is too near, too far, or not a time."""

    code = 35114


class ScheduleWithoutService(Refusal):
    """Only messages of a Messaging Service can be scheduled."""

    code = 35118


class TooManyScheduled(Refusal):
    """The account has as many scheduled messages as it may."""

    code = 35125


class ContentRequiredForVariables(Refusal):
    """ContentVariables without ContentSid."""

    code = 21654


class FallbackFromRefused(Refusal):
    """FallbackFrom is for services with an RCS sender."""

    code = 21664


class ChannelsDiffer(Refusal):
    """From and To are addresses of different channels."""

    code = 21910


class ChannelNotFound(Refusal):
    """From is no sender of the account on the channel, or not online."""

    code = 63007


class SameAddress(Refusal):
    """To and From are one address of a channel."""

    code = 63031


class InvalidChannelSender(Refusal):
    """A sender of a channel cannot be made or changed so."""

    code = 63100


class ContentNotOnChannel(Refusal):
    """What a message asks for is not shown on its channel."""

    code = 63030


class LinksNotShortened(Refusal):
    """ShortenUrls without a short domain."""

    code = 30124


class CertificateMissing(Refusal):
    """Certificate or private key or both are missing."""

    code = 30116


class CertificateUnreadable(Refusal):
    """The certificate cannot be parsed."""

    code = 30117


class KeyUnreadable(Refusal):
    """The private key is invalid."""

    code = 30118


class PairWrong(Refusal):
    """Certificate and private key do not belong together."""

    code = 30119


class SelfSigned(Refusal):
    """The certificate is self-signed."""

    code = 30129


class CertificateInvalid(Refusal):
    """The certificate is not valid now, or not for a domain that may be used."""

    code = 30132


class ReportNotThere(Refusal):
    """The day of a report has not begun."""

    code = 30114


class SmppNameTaken(Refusal):
    """Another SMPP user of this install has the system_id."""

    code = 20409
    status = 409
