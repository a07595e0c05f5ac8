"""Submission of mail to the operator's mail server, a `MailPort`.

Theory of operation. One connection a mail, one SMTP transaction a recipient, so each recipient has a reply of its own:
the evidence. What counts is the reply to RCPT and to the end of DATA: 2xx took it, 5xx refuses for good, 4xx and
everything that goes wrong before (no connection, TLS, AUTH, our own sender) is put off, for it says nothing of the
recipient. A mail's bytes are the same each time, signature included, as it is dated by when it was written.

The server is the recipient's own mail exchanger where the operator routes so, else a relay of the operator: then its
250 is what is known at first, and a delivery report of the exchanger comes back by mail.
"""

import hashlib
import ssl
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Literal

import aiosmtplib

from onterms.core.clock import Clock
from onterms.core.errors import ConfigError
from onterms.ports.mail import MailOutcome, MailResult, OutMail
from onterms.protocols.mail import DkimKey, Part, compose, sign

Security = Literal["starttls", "tls", "none"]

# RFC 5321 4.5.3.2.6 asks for ten minutes after DATA; a worker's lease is shorter, and a repeat is recognised.
_TIMEOUT_S = 60.0
_REPLY_CHARS_MAX = 1000


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """How to reach the mail server.

    Shapes: `helo` is our own name, which servers look up. `tls` replaces the system's authorities. Credentials go over
    TLS, or to this machine itself.

    Raises: ConfigError where credentials would cross a network in the clear.
    """

    host: str
    port: int
    helo: str
    security: Security = "starttls"
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    timeout_s: float = _TIMEOUT_S

    def __post_init__(self) -> None:
        if self.username and self.security == "none" and not _is_loopback(self.host):
            raise ConfigError("the mail server's credentials need TLS: set the security to starttls or tls")


class SmtpMail:
    """Send mail through a server."""

    def __init__(self, settings: SmtpSettings, clock: Clock, dkim: DkimKey | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._dkim = dkim

    async def send(self, mail: OutMail) -> list[MailOutcome]:
        """Offer a mail to the server for each recipient and return what it said, in the order of the recipients."""
        settings = self._settings
        letters = [self._letter(mail, recipient) for recipient in mail.recipients]
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            local_hostname=settings.helo,
            username=settings.username or None,
            password=settings.password or None,
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            tls_context=settings.tls,
            timeout=settings.timeout_s,
        )
        outcomes: list[MailOutcome] = []
        try:
            async with client:
                for recipient, letter in zip(mail.recipients, letters, strict=True):
                    outcomes.append(await self._transact(client, mail.sender, recipient, letter))
        except (aiosmtplib.SMTPException, OSError) as error:
            # Those that have an outcome keep it: the server's word stands, however the connection ended.
            for recipient, letter in list(zip(mail.recipients, letters, strict=True))[len(outcomes) :]:
                outcomes.append(self._outcome(recipient, letter, "deferred", _said(error)))
        return outcomes

    async def _transact(self, client: aiosmtplib.SMTP, sender: str, recipient: str, letter: bytes) -> MailOutcome:
        try:
            await client.mail(sender)
        except aiosmtplib.SMTPResponseException as error:
            # Our own address or quota, not the recipient.
            await client.rset()
            return self._outcome(recipient, letter, "deferred", _said(error))
        try:
            await client.rcpt(recipient)
            reply = await client.data(letter)
        except UnicodeError:
            await client.rset()
            # RFC 6531 3.7.4.2: the code for an address that needs SMTPUTF8, which is not offered here.
            return self._outcome(recipient, letter, "refused", "553 5.6.7 the address is not ASCII (not sent)")
        except aiosmtplib.SMTPResponseException as error:
            result: MailResult = "refused" if 500 <= error.code < 600 else "deferred"
            # RFC 5321 4.2.1: 421 means that the server closes, so there is nothing left to reset.
            if error.code != 421:
                await client.rset()
            return self._outcome(recipient, letter, result, _said(error))
        return self._outcome(recipient, letter, "accepted", f"{reply.code} {reply.message}")

    def _letter(self, mail: OutMail, recipient: str) -> bytes:
        letter = compose(
            message_id=mail.message_id,
            sender=mail.sender,
            sender_name=mail.sender_name,
            recipient=recipient,
            subject=mail.subject,
            body=mail.body,
            date=mail.date,
            parts=[Part(file.name, file.content_type, file.content) for file in mail.attachments],
        )
        if self._dkim is None:
            return letter
        return sign(letter, self._dkim, signed_at_s=_seconds(mail.date))

    def _outcome(self, recipient: str, letter: bytes, result: MailResult, reply: str) -> MailOutcome:
        return MailOutcome(
            address=recipient,
            result=result,
            at=self._clock.now(),
            server=f"{self._settings.host}:{self._settings.port}",
            reply=" ".join(reply.replace("\0", "").split())[:_REPLY_CHARS_MAX],
            sha256=hashlib.sha256(letter).hexdigest(),
            dkim=_signature(letter) if self._dkim else "",
        )


def _said(error: Exception) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {error.message}"
    return f"{type(error).__name__}: {error}"


def _signature(letter: bytes) -> str:
    header, _, _ = letter.partition(b"\r\nFrom:")
    return b" ".join(header.split()).decode("ascii")


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
