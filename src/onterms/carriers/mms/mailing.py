"""MM4 over mail, outwards: one mail to a peer's MMSC.

A peer that takes our mail has the message; MM4_forward.RES comes later, as a mail of its own, and counts only where
something is wrong.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import aiosmtplib

from onterms.carriers.mms.client import CONNECT_S, Answered, Lost, NotTaken, Result, TooLarge, tls_of
from onterms.carriers.mms.model import CarrierRow
from onterms.core.ids import new_random_sid
from onterms.protocols import mm4, mm7


@dataclass(frozen=True, slots=True)
class _Server:
    host: str
    port: int
    is_tls: bool


def _server_of(carrier: CarrierRow) -> _Server:
    url = urlsplit(carrier.settings.url)
    is_tls = url.scheme == "smtps"
    return _Server(url.hostname or "", url.port or (465 if is_tls else 25), is_tls)


async def send(carrier: CarrierRow, message: mm4.Message, recipient: str, at: datetime) -> Result:
    """Hand one message over to a peer; the name that it has from then on is its own."""
    settings = carrier.settings
    domain = settings.mail_from.partition("@")[2]
    mail = mm4.encode(
        message,
        mail_from=settings.mail_from,
        mail_to=recipient,
        mail_id=f"{new_random_sid('')}@{domain}",
        at=at,
        boundary=f"onterms-{new_random_sid('')}",
    )
    server = _server_of(carrier)
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        local_hostname=domain,
        username=settings.username or None,
        password=carrier.password or None,
        use_tls=server.is_tls,
        start_tls=False if server.is_tls else None,
        tls_context=tls_of(carrier),
        timeout=settings.response_s,
    )
    try:
        async with asyncio.timeout(min(CONNECT_S, settings.response_s)):
            await client.connect()
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        client.close()
        return NotTaken(f"it cannot be connected to: {type(error).__name__}")
    try:
        return await _transact(client, settings.mail_from, recipient, mail, message)
    finally:
        # Nothing that is said after the mail was taken matters.
        client.close()


async def _transact(client: aiosmtplib.SMTP, sender: str, recipient: str, mail: bytes, message: mm4.Message) -> Result:
    try:
        await client.mail(sender, options=[f"SIZE={len(mail)}"] if client.supports_extension("size") else [])
        await client.rcpt(recipient)
    except aiosmtplib.SMTPResponseException as error:
        return _refused(error, message, is_address=isinstance(error, aiosmtplib.SMTPRecipientRefused))
    except (aiosmtplib.SMTPException, OSError) as error:
        return NotTaken(f"the connection broke: {type(error).__name__}")
    try:
        await client.data(mail)
    except aiosmtplib.SMTPResponseException as error:
        return _refused(error, message, is_address=False)
    except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
        # The mail was on its way, and nobody knows how far it came.
        return Lost(f"the connection broke: {type(error).__name__}")
    status = mm7.Status(1000, "Success")
    return Answered(mm7.SubmitRsp(transaction_id="", status=status, message_id=message.message_id))


def _refused(error: aiosmtplib.SMTPResponseException, message: mm4.Message, *, is_address: bool) -> Result:
    words = f"{error.code} {error.message}"[:200]
    if error.code == 552:
        return TooLarge()
    if error.code < 500:
        # RFC 5321 4.2.1: the same may be taken later.
        return NotTaken(words)
    status = mm7.Status(2002 if is_address else 2000, words)
    return Answered(mm7.SubmitRsp(transaction_id="", status=status))


def forward_of(carrier: CarrierRow, sid: str, sender: str, recipient: str, request: mm7.SubmitReq) -> mm4.ForwardReq:
    """Return what MM7 would submit as MM4 forwards it."""
    settings = carrier.settings
    domain = settings.mail_from.partition("@")[2]
    return mm4.ForwardReq(
        transaction_id=sid,
        message_id=f"{sid}@{domain}",
        sender=mm7.Address(plmn(sender, domain), "RFC2822Address"),
        recipients=(mm7.Address(plmn(recipient, settings.mail_domain), "RFC2822Address"),),
        files=request.files,
        expiry=request.expiry,
        delivery_report=request.delivery_report,
        originator_system=settings.mail_from,
    )


def plmn(number: str, domain: str) -> str:
    """Return a number as an address of a mobile network (TS 23.140 8.4.5.1)."""
    return f"{number}/TYPE=PLMN@{domain}"
