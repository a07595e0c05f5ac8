"""What MMSCs bring: `POST /mm7/{carrier}`, reports and messages of subscribers.

An MMSC shows a password, or comes from an address the operator named; a carrier with neither brings nothing. Each
request is answered after its commit, so that the MMSC keeps what we did not; what it repeats is recognised.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from onterms.carriers.mms import model, store
from onterms.carriers.mms.model import NAME, CarrierRow
from onterms.carriers.mms.opening import carrier_of
from onterms.carriers.mms.reports import match
from onterms.carriers.mms.store import KeptReport
from onterms.core.clock import Clock
from onterms.core.db import Database
from onterms.core.errors import ConfigError, Forbidden, NotFound, Refusal, Unavailable
from onterms.core.vault import Vault
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute
from onterms.ports.message_carrier import InboundMedia, InboundMessage, MessageSink
from onterms.protocols import mm4, mm7
from onterms.protocols.mime import sniff

_log = logging.getLogger("onterms.mms")

# TS 23.140 8.7.8.3.3.
_ADDRESS_NOT_FOUND: Final = mm7.Status(2003, "Address not found")
_UNSUPPORTED: Final = mm7.Status(4003, "Unsupported operation")
_BUSY: Final = mm7.Status(4006, "Service unavailable")
_SUBJECT_CHARS_MAX: Final = 256
# Twilio docs, Messages resource: what a Body may have.
BODY_CHARS_MAX: Final = 1600


class Unauthorised(Refusal):
    """The MMSC shows no password that fits."""

    code = 20003
    status = 401


class MmsDoor:
    """The handler behind `routes`."""

    def __init__(self, database: Database, clock: Clock, vault: Vault, sink: MessageSink) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault
        self._sink = sink

    def routes(self) -> list[OwnRoute]:
        """Return the route."""
        return [
            OwnRoute(
                "POST",
                "/mm7/{sid}",
                "open",
                free_handler=self.take,
                body_bytes_max=mm7.BODY_BYTES_MAX,
                takes_any=True,
                before_body=self.admit,
                summary="Take a report or a message from an MMSC",
            )
        ]

    async def admit(self, request: OwnRequest) -> None:
        """Let a carrier's MMSC in; nobody else has megabytes read.

        Raises: NotFound, Unauthorised, Forbidden.
        """
        carrier = await self._carrier(request.path["sid"])
        authorise(carrier, request.headers.get(b"authorization", b""), request.peer)

    async def take(self, request: OwnRequest) -> OwnReply:
        """Take what an MMSC brings that was let in. Raises: NotFound."""
        carrier = await self._carrier(request.path["sid"])
        content_type = request.headers.get(b"content-type", b"").decode("latin-1")
        try:
            decoded = mm7.decode(content_type, request.raw_body)
        except mm7.MM7Error as error:
            text = mm7.CODES[error.code].text if error.code in mm7.CODES else "Client error"
            status = mm7.Status(error.code, text, error.reason)
            # The request is wrong and will be the next time, so it is answered and not left to be repeated.
            return _reply(mm7.ErrorRsp(transaction_id=error.transaction_id, status=status, is_ours=True))
        message, dialect = decoded.message, decoded.dialect
        if isinstance(message, mm7.DeliverReq):
            status = await self._deliver(carrier, message)
            answer = mm7.DeliverRsp(transaction_id=message.transaction_id, status=status)
            return _reply(answer, dialect, 503 if status is _BUSY else 200)
        if isinstance(message, mm7.DeliveryReportReq):
            await self._report(carrier, message)
            return _reply(mm7.DeliveryReportRsp(transaction_id=message.transaction_id), dialect)
        if isinstance(message, mm7.ReadReplyReq):
            # Who read it has it. Deleted unread says that it was there as well.
            await self._report(carrier, message)
            return _reply(mm7.ReadReplyRsp(transaction_id=message.transaction_id), dialect)
        refused = mm7.ErrorRsp(transaction_id=message.transaction_id, status=_UNSUPPORTED, is_ours=True)
        return _reply(refused, dialect)

    async def peer(self, address: str) -> CarrierRow | None:
        """Return the carrier that connects by mail from an address."""
        async with self._database.snapshot() as tx:
            rows = await store.carriers(tx)
        for row in rows:
            settings = store.settings_of(row)
            is_peer = settings.protocol == "mm4" and settings.enabled
            if is_peer and _is_among(address, settings.inbound_addresses):
                try:
                    return carrier_of(self._vault, row)
                except ConfigError as error:
                    _log.error("carrier %s cannot be used: %s", row["name"], error)
        return None

    async def take_mail(self, carrier: CarrierRow, message: mm4.Message) -> tuple[mm4.Response | None, bool]:
        """Take what a peer sends by mail; return what to answer, and whether it has to come again."""
        if isinstance(message, mm4.ForwardReq):
            as_delivered = mm7.DeliverReq(
                transaction_id=message.transaction_id,
                sender=message.sender,
                recipients=message.recipients,
                files=message.files,
                linked_id=message.message_id,
                subject=message.subject,
                sent_at=message.sent_at,
            )
            status = await self._deliver(carrier, as_delivered)
            word = mm4.OK if status.is_success else "Error-sending-address-unresolved"
            return mm4.response_to(message, word), status is _BUSY
        if isinstance(message, mm4.DeliveryReportReq | mm4.ReadReplyReportReq):
            is_read = isinstance(message, mm4.ReadReplyReportReq)
            mm_status = "Read" if isinstance(message, mm4.ReadReplyReportReq) else message.mm_status
            report = (mm7.ReadReplyReq if is_read else mm7.DeliveryReportReq)(
                transaction_id=message.transaction_id,
                message_id=message.message_id,
                recipient=message.recipient,
                sender=message.sender,
                mm_status=mm_status,
                at=message.at,
            )
            await self._report(carrier, report)
            return mm4.response_to(message), False
        if isinstance(message, mm4.ForwardRes) and message.status != mm4.OK:
            await self._not_forwarded(carrier, message)
        # Other responses say that reports of ours were taken, and we make none.
        return None, False

    async def _not_forwarded(self, carrier: CarrierRow, answer: mm4.ForwardRes) -> None:
        now = self._clock.now()
        code = model.forward_code(carrier.settings, answer.status)
        kept = KeptReport(carrier.sid, answer.message_id, "", "", "undelivered", code, now)
        async with self._database.transaction() as tx:
            receipt = await match(tx, kept, now)
            if receipt is not None:
                await self._sink.receipts_arrived(tx, [receipt])

    async def _carrier(self, sid: str) -> CarrierRow:
        async with self._database.snapshot() as tx:
            row = await store.carrier(tx, sid)
        if row is not None and store.settings_of(row).protocol == "mm7":
            try:
                carrier = carrier_of(self._vault, row)
            except (ConfigError, msgspec.ValidationError) as error:
                _log.error("carrier %s cannot be used: %s", row["name"], error)
            else:
                if carrier.settings.enabled:
                    return carrier
        raise NotFound("There is no such carrier")

    async def _deliver(self, carrier: CarrierRow, message: mm7.DeliverReq) -> mm7.Status:
        inbound = inbound_of(carrier, message, self._clock.now())
        if not inbound:
            return _ADDRESS_NOT_FOUND
        try:
            looked = await self._sink.look_through(inbound)
        except Unavailable as refusal:
            _log.warning("%s: a message has to come again: %s", carrier.name, refusal.message)
            return _BUSY
        async with self._database.transaction() as tx:
            sids = await self._sink.messages_arrived(tx, looked)
        return mm7.SUCCESS if any(sid is not None for sid in sids) else _ADDRESS_NOT_FOUND

    async def _report(self, carrier: CarrierRow, report: mm7.DeliveryReportReq | mm7.ReadReplyReq) -> None:
        if isinstance(report, mm7.ReadReplyReq):
            end = model.end_of(carrier.settings, "Read")
        else:
            end = model.end_of(carrier.settings, report.mm_status)
        if end is None or not report.message_id:
            # It is on its way, or nobody knows; the message stays sent.
            return
        now = self._clock.now()
        sender = "" if report.sender is None else model.digits(report.sender.number)
        kept = KeptReport(
            carrier.sid,
            report.message_id,
            sender,
            model.digits(model.number_of(carrier.settings, report.recipient)),
            *end,
            report.at or now,
        )
        async with self._database.transaction() as tx:
            receipt = await match(tx, kept, now, is_first=isinstance(report, mm7.DeliveryReportReq))
            if receipt is not None:
                await self._sink.receipts_arrived(tx, [receipt])


def inbound_of(carrier: CarrierRow, message: mm7.DeliverReq, at: datetime) -> list[InboundMessage]:
    """Return what an MM is to each of its recipients that it is meant for."""
    settings = carrier.settings
    text, files = mm7.text_of(message.files)
    # A subject says what the text would; beside one it is a line that phones add by themselves.
    body = text or message.subject[:_SUBJECT_CHARS_MAX]
    media = tuple(InboundMedia(sniff(file.data, file.content_type), file.data) for file in files if file.data)
    if len(body) > BODY_CHARS_MAX:
        # The whole of it is a file, then.
        media = (InboundMedia("text/plain", body.encode()), *media)
        body = body[:BODY_CHARS_MAX]
    sender = model.number_of(settings, message.sender)
    recipients = [model.number_of(settings, each) for each in message.recipients if not each.is_shown_only]
    name = _name_of(message)
    return [
        InboundMessage(
            carrier=NAME,
            carrier_id=f"{carrier.sid}/{name}/{recipient}",
            sender=sender,
            recipient=recipient,
            body=body,
            media=media,
            segments=1,
            at=message.sent_at or at,
        )
        for recipient in dict.fromkeys(recipients)
    ]


def _name_of(message: mm7.DeliverReq) -> str:
    """Name a message that has no name of its own, so that one that is brought again is recognised.

    Some MMSCs repeat a message under a new TransactionID, and some use a LinkedID for a whole conversation, so both are
    taken together with what the message is.
    """
    told = hashlib.sha256()
    sent = "" if message.sent_at is None else message.sent_at.isoformat()
    for part in (message.linked_id or message.transaction_id, message.sender.number, sent, message.subject):
        told.update(part.encode("utf-8", "replace") + b"\0")
    for file in message.files:
        told.update(hashlib.sha256(file.data).digest())
    return told.hexdigest()[:40]


def authorise(carrier: CarrierRow, authorization: bytes, peer: str | None) -> None:
    """Make sure that it is the MMSC that calls.

    Raises: Unauthorised, Forbidden.
    """
    settings = carrier.settings
    if settings.inbound_addresses and not _is_among(peer, settings.inbound_addresses):
        raise Forbidden("This address is not one of the carrier's")
    if not carrier.inbound_password:
        if settings.inbound_addresses:
            return
        raise Forbidden("This carrier brings nothing: it has neither an inbound password nor inbound addresses")
    scheme, _, value = authorization.decode("latin-1").partition(" ")
    try:
        shown = base64.b64decode(value.strip(), validate=True) if scheme.lower() == "basic" else b""
    except binascii.Error:
        shown = b""
    wanted = f"{settings.inbound_username}:{carrier.inbound_password}".encode()
    if not hmac.compare_digest(shown, wanted):
        raise Unauthorised("Authenticate", headers=(("WWW-Authenticate", 'Basic realm="mm7"'),))


def _is_among(peer: str | None, networks: Sequence[str]) -> bool:
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)


def _reply(message: mm7.Message, dialect: mm7.Dialect = mm7.DEFAULT, status: int = 200) -> OwnReply:
    content_type, body = mm7.encode(message, dialect)
    headers: Mapping[str, str] = {"SOAPAction": '""'}
    return OwnReply(None, status=status, headers=tuple(headers.items()), raw=body, content_type=content_type)
