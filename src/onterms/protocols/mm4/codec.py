"""Messages of MM4 to mail and back.

Source: 3GPP TS 23.140 8.4 (fields), RFC 5322 (mail). Peers differ in the letters' case, leave fields out, and write
X-Mms-3GPP-MMS-Version or X-Mms-3GPP-Version; both are read.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from onterms.protocols import multipart
from onterms.protocols.mm4.messages import (
    OK,
    STATUSES,
    DeliveryReportReq,
    DeliveryReportRes,
    ForwardReq,
    ForwardRes,
    Message,
    MM4Error,
    ReadReplyReportReq,
    ReadReplyReportRes,
    Request,
    Response,
)
from onterms.protocols.mm7 import Address, File
from onterms.protocols.mm7.smil import presentation
from onterms.protocols.multipart import Entity, MultipartError, NewPart

MAIL_BYTES_MAX: Final = 16 * 1024 * 1024
RECIPIENTS_MAX: Final = 200
VALUE_CHARS_MAX: Final = 1024
_QUOTED: Final = re.compile(r'"[^"]*"')
_BRACKETED: Final = re.compile(r"<([^<>]*)>")
_WHOLE: Final = re.compile(r"([^<>]*)$")
_SMIL: Final = "presentation"
_SMIL_TYPES: Final = ("application/smil", "application/smil+xml")

_TYPES: Final[dict[type[Message], str]] = {
    ForwardReq: "MM4_forward.REQ",
    ForwardRes: "MM4_forward.RES",
    DeliveryReportReq: "MM4_delivery_report.REQ",
    DeliveryReportRes: "MM4_delivery_report.RES",
    ReadReplyReportReq: "MM4_read_reply_report.REQ",
    ReadReplyReportRes: "MM4_read_reply_report.RES",
}
_RESPONSES: Final[dict[type[Request], type[Response]]] = {
    ForwardReq: ForwardRes,
    DeliveryReportReq: DeliveryReportRes,
    ReadReplyReportReq: ReadReplyReportRes,
}


def response_to(request: Request, status: str = OK, status_text: str = "") -> Response:
    """Make the response to a request."""
    return _RESPONSES[type(request)](
        transaction_id=request.transaction_id,
        message_id=request.message_id,
        status=status,
        status_text=status_text,
        version=request.version,
    )


# ---- writing


def encode(message: Message, *, mail_from: str, mail_to: str, mail_id: str, at: datetime, boundary: str) -> bytes:
    """Write a message as a mail.

    Shapes: `mail_from` and `mail_to` are the mail's own addresses where the message names nobody; `mail_id` names this
    mail, without brackets; `boundary` must occur in no file.
    """
    fields: list[tuple[str, str]] = [
        ("X-Mms-3GPP-MMS-Version", message.version),
        ("X-Mms-Message-Type", _TYPES[type(message)]),
        ("X-Mms-Transaction-ID", _quoted(message.transaction_id)),
        ("X-Mms-Message-ID", _quoted(message.message_id)),
    ]
    sender, recipients = mail_from, [mail_to]
    body = NewPart((), b"")
    match message:
        case ForwardReq():
            sender, recipients = message.sender.value, [each.value for each in message.recipients]
            fields += _forward(message)
            body = _body(message.files, boundary)
        case DeliveryReportReq():
            sender, recipients = message.recipient.value, [message.sender.value]
            fields += [("X-Mms-MM-Status-Code", message.mm_status), *_wishes(message)]
            fields += _optional("X-Mms-Status-text", message.status_text)
        case ReadReplyReportReq():
            sender, recipients = message.recipient.value, [message.sender.value]
            fields += [("X-Mms-Read-Status", message.read_status), *_wishes(message)]
        case _:
            fields.append(("X-Mms-Request-Status-Code", message.status))
            fields += _optional("X-Mms-Status-text", message.status_text)
    dated = getattr(message, "sent_at", None) or getattr(message, "at", None) or at
    mail = [
        ("From", sender),
        ("To", ", ".join(recipients)),
        ("Sender", mail_from),
        ("Date", format_datetime(dated.astimezone(UTC))),
        ("Message-ID", f"<{mail_id}>"),
        ("MIME-Version", "1.0"),
        *fields,
        *body.headers,
    ]
    head = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in mail)
    return head.encode("ascii", "replace") + b"\r\n" + body.body


def _forward(message: ForwardReq) -> list[tuple[str, str]]:
    fields = [
        ("X-Mms-Ack-Request", _yes(message.wants_response)),
        ("X-Mms-Delivery-Report", _yes(message.delivery_report)),
        ("X-Mms-Read-Reply", _yes(message.read_reply)),
        # TS 23.140 8.4.4.2: required where a response is asked for.
        *_optional("X-Mms-Originator-System", message.originator_system),
    ]
    if message.expiry is not None:
        fields.append(("X-Mms-Expiry", format_datetime(message.expiry.astimezone(UTC))))
    if message.subject:
        fields.append(("Subject", Header(message.subject, "utf-8", maxlinelen=200).encode(linesep="")))
    return fields


def _wishes(message: DeliveryReportReq | ReadReplyReportReq) -> list[tuple[str, str]]:
    fields = [("X-Mms-Ack-Request", _yes(message.wants_response))]
    return fields + _optional("X-Mms-Originator-System", message.originator_system)


def _body(files: Sequence[File], boundary: str) -> NewPart:
    named = [
        File(file.content_type, file.data, file.content_id or f"part{number}", file.name, file.charset)
        for number, file in enumerate(files)
    ]
    smil = File("application/smil", presentation(named), _SMIL, "presentation.smil", "utf-8")
    kind = f'multipart/related; boundary="{boundary}"; type="application/smil"; start="<{_SMIL}>"'
    parts = [_part(file) for file in [smil, *named]]
    return NewPart((("Content-Type", kind),), multipart.compose(parts, boundary))


def _part(file: File) -> NewPart:
    kind = file.content_type + (f"; charset={file.charset}" if file.charset else "")
    if file.name:
        kind += f'; name="{_plain(file.name)}"'
    # Mail is lines of text (RFC 5321 4.5.3.1.6), so files are encoded.
    headers = [
        ("Content-Type", kind),
        ("Content-ID", f"<{file.content_id}>"),
        ("Content-Transfer-Encoding", "base64"),
    ]
    return NewPart(headers, multipart.base64_body(file.data))


def _plain(name: str) -> str:
    return "".join(each if each.isascii() and each.isprintable() and each not in '"\\' else "_" for each in name)


def _optional(name: str, value: str) -> list[tuple[str, str]]:
    return [(name, value)] if value else []


def _quoted(value: str) -> str:
    # TS 23.140 8.4.4.2: a quoted string.
    return f'"{value}"'


def _one_line(value: str) -> str:
    return "".join(each if each.isprintable() else " " for each in value)


def _yes(value: bool) -> str:
    return "Yes" if value else "No"


# ---- reading


def decode(mail: bytes) -> Message:
    """Read a mail as a message.

    Raises: MM4Error.
    """
    if len(mail) > MAIL_BYTES_MAX:
        raise MM4Error(f"the mail has more than {MAIL_BYTES_MAX} bytes", "Error-content-not-accepted")
    try:
        entity = multipart.parse_message(mail)
    except MultipartError as error:
        raise MM4Error(str(error)) from None
    version = _field(entity, "x-mms-3gpp-mms-version") or _field(entity, "x-mms-3gpp-version")
    kind = _field(entity, "x-mms-message-type").lower()
    if not version or not kind:
        raise MM4Error("the mail is no MM4 message", "Error-unsupported-message")
    transaction_id = _field(entity, "x-mms-transaction-id")
    message_id = _field(entity, "x-mms-message-id")
    if not transaction_id:
        raise MM4Error("there is no transaction id")
    names = {name.lower(): made for made, name in _TYPES.items()}
    made = names.get(kind)
    if made is None:
        raise MM4Error("the message is of no kind that is known", "Error-unsupported-message")
    if made is ForwardReq:
        return _forward_of(entity, transaction_id, message_id, version)
    if made is DeliveryReportReq or made is ReadReplyReportReq:
        return _report_of(entity, transaction_id, message_id, version, is_read=made is ReadReplyReportReq)
    status = _field(entity, "x-mms-request-status-code")
    known = next((name for name in STATUSES if name.lower() == status.lower()), None)
    if known is None:
        raise MM4Error("the response has no status")
    response: type[Response] = ForwardRes
    if made is DeliveryReportRes:
        response = DeliveryReportRes
    elif made is ReadReplyReportRes:
        response = ReadReplyReportRes
    return response(
        transaction_id=transaction_id,
        message_id=message_id,
        status=known,
        status_text=_field(entity, "x-mms-status-text"),
        version=version,
    )


def _forward_of(entity: Entity, transaction_id: str, message_id: str, version: str) -> ForwardReq:
    senders, recipients = _addresses(entity, "from"), _addresses(entity, "to") + _addresses(entity, "cc")
    if not senders or not recipients:
        raise MM4Error("there is no sender or no recipient", "Error-sending-address-unresolved")
    if len(recipients) > RECIPIENTS_MAX:
        raise MM4Error(f"there are more than {RECIPIENTS_MAX} recipients")
    return ForwardReq(
        transaction_id=transaction_id,
        message_id=message_id,
        sender=senders[0],
        recipients=tuple(recipients),
        files=tuple(
            File(leaf.content_type, leaf.body, leaf.content_id, leaf.name, leaf.params.get("charset", ""))
            for leaf in entity.leaves()
            if leaf.content_type not in _SMIL_TYPES
        ),
        subject=multipart.decoded_words(entity.headers.get("subject", ""))[:VALUE_CHARS_MAX],
        sent_at=_date(entity, "date"),
        expiry=_date(entity, "x-mms-expiry"),
        wants_response=_is_yes(entity, "x-mms-ack-request"),
        delivery_report=_is_yes(entity, "x-mms-delivery-report"),
        read_reply=_is_yes(entity, "x-mms-read-reply"),
        originator_system=_field(entity, "x-mms-originator-system"),
        version=version,
    )


def _report_of(
    entity: Entity, transaction_id: str, message_id: str, version: str, *, is_read: bool
) -> DeliveryReportReq | ReadReplyReportReq:
    # TS 23.140 8.4.2: a report is from whom the MM was for, to whom it was from.
    recipients, senders = _addresses(entity, "from"), _addresses(entity, "to")
    if not recipients or not senders:
        raise MM4Error("there is no sender or no recipient", "Error-sending-address-unresolved")
    if is_read:
        return ReadReplyReportReq(
            transaction_id=transaction_id,
            message_id=message_id,
            sender=senders[0],
            recipient=recipients[0],
            read_status=_field(entity, "x-mms-read-status"),
            at=_date(entity, "date"),
            wants_response=_is_yes(entity, "x-mms-ack-request"),
            originator_system=_field(entity, "x-mms-originator-system"),
            version=version,
        )
    return DeliveryReportReq(
        transaction_id=transaction_id,
        message_id=message_id,
        sender=senders[0],
        recipient=recipients[0],
        mm_status=_field(entity, "x-mms-mm-status-code"),
        status_text=_field(entity, "x-mms-status-text"),
        at=_date(entity, "date"),
        wants_response=_is_yes(entity, "x-mms-ack-request"),
        originator_system=_field(entity, "x-mms-originator-system"),
        version=version,
    )


def _field(entity: Entity, name: str) -> str:
    value = entity.headers.get(name, "").strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return value.removeprefix("<").removesuffix(">").strip()[:VALUE_CHARS_MAX]


def _addresses(entity: Entity, name: str) -> list[Address]:
    # A name that is shown may hold commas; it stands between quotes then.
    written = _QUOTED.sub("", entity.headers.get(name, "")).split(",", RECIPIENTS_MAX + 1)
    found = [(_BRACKETED.search(each) or _WHOLE.match(each)) for each in written]
    values = [each[1].strip() for each in found if each is not None]
    return [Address(value[:VALUE_CHARS_MAX], "RFC2822Address") for value in values if value]


def _date(entity: Entity, name: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(entity.headers.get(name, ""))
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _is_yes(entity: Entity, name: str) -> bool:
    return _field(entity, name).lower() == "yes"
