"""The port for mail: what we send, what a mail server said to each address, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from onterms.core.db import Tx

MailResult = Literal["accepted", "refused", "deferred"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a mail."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class OutMail:
    """One mail to send.

    Shapes: `message_id` has its angle brackets and stays the same over retries; `date` is when the mail was written,
    so that its bytes stay the same too. Each recipient gets the mail in a transaction of its own.
    """

    message_id: str
    sender: str
    sender_name: str
    recipients: tuple[str, ...]
    subject: str
    body: str
    date: datetime
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class MailOutcome:
    """What became of a mail at one address: evidence.

    Shapes: `refused` is final (SMTP 5xx), `deferred` may work later (4xx, or no server reached). `reply` is the
    server's last line with its code. `sha256` covers the bytes handed over; `dkim` is the signature's header, or empty.
    `retry_at` is when a server that deferred wants to be asked again, where that is known.
    """

    address: str
    result: MailResult
    at: datetime
    server: str
    reply: str
    sha256: str
    dkim: str = ""
    retry_at: datetime | None = None


class MailPort(Protocol):
    """Send mail."""

    async def send(self, mail: OutMail) -> list[MailOutcome]:
        """Offer a mail to each recipient's server and return what it said, in the order of the recipients.

        Trouble on the way is a deferred outcome, never an exception.
        """
        ...


@dataclass(frozen=True, slots=True)
class Bounce:
    """A server took a mail and later could not deliver it for good."""

    message_id: str
    address: str
    at: datetime
    diagnostic: str


@dataclass(frozen=True, slots=True)
class InMail:
    """A mail that arrived for the operator.

    Shapes: `raw` holds its bytes as received; `message_id` may be empty.
    """

    sender: str
    recipient: str
    subject: str
    body: str
    message_id: str
    received_at: datetime
    raw: bytes


class MailSink(Protocol):
    """Take what comes back, within the transaction of whoever brings it."""

    async def bounced(self, tx: Tx, bounces: Sequence[Bounce]) -> None:
        """Take hard bounces; one that is known already changes nothing."""
        ...

    async def received(self, tx: Tx, mails: Sequence[InMail]) -> list[str]:
        """Take mails and return the SIDs of their records, in order; one known already has its first record."""
        ...
