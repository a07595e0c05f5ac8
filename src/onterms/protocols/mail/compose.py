"""Composing a mail: the same arguments give the same bytes, so a hash of them is evidence over retries."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr

# Clients that read Auto-Submitted (RFC 3834 5) send no vacation notes back.
_AUTO = "auto-generated"


@dataclass(frozen=True, slots=True)
class Part:
    """An attached file."""

    name: str
    content_type: str
    content: bytes


def compose(
    *,
    message_id: str,
    sender: str,
    sender_name: str,
    recipient: str,
    subject: str,
    body: str,
    date: datetime,
    parts: Sequence[Part] = (),
) -> bytes:
    """Return a mail with CRLF line ends.

    Raises: ValueError for a line break in a header's value.
    """
    # 8-bit text is encoded, so that no server on the way has a reason to change the bytes that were signed.
    mail = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    mail["From"] = formataddr((sender_name, sender))
    mail["To"] = recipient
    mail["Subject"] = subject
    mail["Date"] = format_datetime(date)
    mail["Message-ID"] = message_id
    mail["Auto-Submitted"] = _AUTO
    mail.set_content(body)
    for part in parts:
        maintype, _, subtype = part.content_type.partition("/")
        mail.add_attachment(part.content, maintype=maintype, subtype=subtype or "octet-stream", filename=part.name)
    if parts:
        # The library would draw a boundary at random. 40 characters of a hash are in no base64 text's lines by chance.
        mail.set_boundary(f"=_{hashlib.sha256(message_id.encode()).hexdigest()[:40]}")
    return mail.as_bytes()
