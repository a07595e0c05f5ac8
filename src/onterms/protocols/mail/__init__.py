"""Mail as bytes: composing, DKIM signatures, reading mail and delivery reports. Sans-IO."""

from onterms.protocols.mail.compose import Part, compose
from onterms.protocols.mail.dkim import DkimKey, sign, verify
from onterms.protocols.mail.reading import Failure, Mail, MailUnreadable, failures, read

__all__ = ["DkimKey", "Failure", "Mail", "MailUnreadable", "Part", "compose", "failures", "read", "sign", "verify"]
