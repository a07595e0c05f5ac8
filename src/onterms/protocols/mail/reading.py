"""Reading mail: who wrote what, and whether it is a server's report of a failed delivery (RFC 3464)."""

from dataclasses import dataclass
from email import message_from_bytes
from email.errors import MessageError
from email.message import EmailMessage, MIMEPart
from email.policy import default
from email.utils import parseaddr
from typing import Any

_TEXT_CHARS_MAX = 100_000
_HEADER_CHARS_MAX = 998


class MailUnreadable(ValueError):
    """The bytes are no mail with a sender."""


@dataclass(frozen=True, slots=True)
class Mail:
    """What a person reads of a mail.

    Shapes: `message_id` has its angle brackets or is empty.
    """

    sender: str
    recipient: str
    subject: str
    message_id: str
    body: str


@dataclass(frozen=True, slots=True)
class Failure:
    """One address that a delivery report gives up."""

    message_id: str
    address: str
    diagnostic: str


def read(raw: bytes) -> Mail:
    """Read the sender, subject and text of a mail.

    Raises: MailUnreadable.
    """
    mail = _parsed(raw)
    sender = parseaddr(_header(mail, "From"))[1]
    if "@" not in sender:
        raise MailUnreadable("the mail has no sender")
    part = mail.get_body(("plain", "html"))
    text = "" if part is None else _text(part)
    return Mail(sender, parseaddr(_header(mail, "To"))[1], _header(mail, "Subject"), _header(mail, "Message-ID"), text)


def failures(raw: bytes) -> list[Failure]:
    """List the addresses that a delivery report gives up for good; none for any other mail."""
    mail = _parsed(raw)
    # RFC 3462: multipart/report, and which kind it is.
    if mail.get_content_type() != "multipart/report" or mail.get_param("report-type") != "delivery-status":
        return []
    message_id = ""
    groups: list[EmailMessage] = []
    for part in mail.walk():
        kind = part.get_content_type()
        if kind == "message/delivery-status":
            groups.extend(group for group in _inner(part))
        elif kind in ("message/rfc822", "text/rfc822-headers") and not message_id:
            message_id = _returned_id(part)
    found = []
    for group in groups:
        # RFC 3464 2.3.3 and 2.3.4: `failed` is final; a status of class 5 is permanent, of class 4 is not.
        if _header(group, "Action").lower() != "failed" or not _header(group, "Status").startswith("5"):
            continue
        address = _address(_header(group, "Original-Recipient")) or _address(_header(group, "Final-Recipient"))
        if address and message_id:
            found.append(Failure(message_id, address, _header(group, "Diagnostic-Code") or _header(group, "Status")))
    return found


def _parsed(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=default)


def _header(mail: EmailMessage, name: str) -> str:
    try:
        value = str(mail.get(name, ""))
    except (ValueError, TypeError, LookupError, AttributeError, MessageError):
        # The library's parser of structured fields gives up on some in these ways.
        return ""
    return " ".join(_storable(value).split())[:_HEADER_CHARS_MAX]


def _text(part: MIMEPart) -> str:
    try:
        content = part.get_content()
    except (LookupError, ValueError):
        # An unknown or broken charset, or a part that is no text: the raw mail is kept beside this.
        return ""
    if not isinstance(content, str):
        return ""
    return _storable(content.replace("\r\n", "\n"))[:_TEXT_CHARS_MAX]


def _storable(text: str) -> str:
    # The library keeps stray bytes as surrogates, which no UTF-8 has; PostgreSQL takes no NUL.
    return text.encode("utf-8", "replace").decode().replace("\0", "")


def _inner(part: Any) -> list[EmailMessage]:
    # What is not well formed has text here, or nothing.
    payload = part.get_payload()
    return [one for one in payload if isinstance(one, EmailMessage)] if isinstance(payload, list) else []


def _returned_id(part: EmailMessage) -> str:
    for one in _inner(part):
        return _header(one, "Message-ID")
    return _header(_parsed(str(part.get_payload()).encode("utf-8", "replace")), "Message-ID")


def _address(field: str) -> str:
    # RFC 3464 2.3.2: `rfc822; somebody@example.com`
    kind, _, address = field.partition(";")
    return address.strip() if kind.strip().lower() == "rfc822" else ""
