"""What the simulator refuses, with the codes that a customer knows from sending."""

from onterms.core.errors import InvalidParameter, NotFound


class NotAHandset(InvalidParameter):
    """The number in the path is not one that a handset can have."""

    code = 21212


class RecipientMissing(InvalidParameter):
    """A handset's message names nobody to send it to."""

    code = 21604


class RecipientInvalid(InvalidParameter):
    """A handset cannot send to this address."""

    code = 21211


class BodyMissing(InvalidParameter):
    """A message has neither text nor media."""

    code = 21602


class BodyTooLong(InvalidParameter):
    """A message is longer than a carrier takes."""

    code = 21617


class MediaInvalid(InvalidParameter):
    """An attachment cannot be had from its URL, or there are too many."""

    code = 21620


class SettingInvalid(InvalidParameter):
    """A handset's setting or a fault cannot mean anything."""


class NoSuchFault(NotFound):
    """There is no fault of this id."""
