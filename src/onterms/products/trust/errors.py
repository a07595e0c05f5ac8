"""What the trust room refuses, with Twilio's codes."""

from onterms.core.errors import Refusal


class EndUserInUse(Refusal):
    """The end user is assigned to a bundle."""

    code = 21644


class DocumentInUse(Refusal):
    """The document is assigned to a bundle."""

    code = 21645


class BundleInUse(Refusal):
    """The bundle is with the reviewers, or something stands on it."""

    code = 21647


class ObjectNotAssignable(Refusal):
    """What shall be assigned does not exist for this account."""

    code = 22205


class WrongObject(Refusal):
    """The bundle's policy has no place for such an object."""

    code = 22206


class UnknownEndUserType(Refusal):
    """There is no such type of end user."""

    code = 22212


class UnknownDocumentType(Refusal):
    """There is no such type of document."""

    code = 22210


class InvalidAttributes(Refusal):
    """Attributes are not an object."""

    code = 22207


class NotAllowedNow(Refusal):
    """The bundle's status does not allow it."""

    code = 20409
    status = 409


class UnknownPolicy(Refusal):
    """There is no such policy for such a bundle."""

    code = 20001
