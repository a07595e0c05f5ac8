"""Messages of MM7 to the body of an HTTP request or response, and back.

Source: 3GPP TS 23.140 8.7 and its annex L (the schema); RFC 2387 for what stands beside the envelope.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from onterms.protocols import multipart
from onterms.protocols.mm7 import envelope as soap
from onterms.protocols.mm7.envelope import VALIDATION_ERROR, Node
from onterms.protocols.mm7.messages import (
    DEFAULT,
    Address,
    AddressKind,
    CancelReq,
    CancelRsp,
    Decoded,
    DeliverReq,
    DeliverRsp,
    DeliveryReportReq,
    DeliveryReportRsp,
    Dialect,
    ErrorRsp,
    File,
    Message,
    MM7Error,
    ReadReplyReq,
    ReadReplyRsp,
    Status,
    SubmitReq,
    SubmitRsp,
)
from onterms.protocols.mm7.smil import presentation
from onterms.protocols.multipart import Entity, MultipartError, NewPart

# Ours: several times what any MMSC takes.
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
# Ours: a group message names a dozen.
RECIPIENTS_MAX: Final = 200
TEXT_CHARS_MAX: Final = 1024
_ROOT: Final = "mm7-envelope"
_CONTENT: Final = "mm7-content"
_SMIL: Final = "presentation"
_XML: Final = ("text/xml", "application/xml", "application/soap+xml")
_SMIL_TYPES: Final = ("application/smil", "application/smil+xml")


# ---- writing


def encode(
    message: Message, dialect: Dialect = DEFAULT, *, boundary: str = "", has_smil: bool = True, is_base64: bool = True
) -> tuple[str, bytes]:
    """Write a message; return the Content-Type and the body.

    Shapes: `boundary` must occur in no file; messages without files need none. With `has_smil` a presentation goes
    along; without `is_base64` files go as they are.
    """
    name, children = _written(message, dialect)
    root = soap.envelope(dialect, message.transaction_id, name, children, is_fault=isinstance(message, ErrorRsp))
    if not isinstance(message, SubmitReq | DeliverReq) or not message.files:
        return "text/xml; charset=utf-8", root
    assert boundary, "files stand between boundaries"
    content_type, content = _content(message.files, boundary + "-files", has_smil=has_smil, is_base64=is_base64)
    parts = [
        NewPart((("Content-Type", "text/xml; charset=utf-8"), ("Content-ID", f"<{_ROOT}>")), root),
        NewPart((("Content-Type", content_type), ("Content-ID", f"<{_CONTENT}>")), content),
    ]
    kind = f'multipart/related; boundary="{boundary}"; type="text/xml"; start="<{_ROOT}>"'
    return kind, multipart.compose(parts, boundary)


def _content(files: Sequence[File], boundary: str, *, has_smil: bool, is_base64: bool) -> tuple[str, bytes]:
    named = [_named(file, number) for number, file in enumerate(files)]
    kind = f'multipart/mixed; boundary="{boundary}"'
    if has_smil:
        smil = File("application/smil", presentation(named), _SMIL, "presentation.smil", "utf-8")
        named = [smil, *named]
        kind = f'multipart/related; boundary="{boundary}"; type="application/smil"; start="<{_SMIL}>"'
    return kind, multipart.compose([_part(file, is_base64=is_base64) for file in named], boundary)


def _named(file: File, number: int) -> File:
    return File(file.content_type, file.data, file.content_id or f"part{number}", file.name, file.charset)


def _part(file: File, *, is_base64: bool) -> NewPart:
    kind = file.content_type
    if file.charset:
        kind += f"; charset={file.charset}"
    if file.name:
        kind += f'; name="{_quotable(file.name)}"'
    headers = [("Content-Type", kind), ("Content-ID", f"<{file.content_id}>")]
    if file.name:
        headers.append(("Content-Location", _quotable(file.name).replace(" ", "_")))
    encoding = "base64" if is_base64 else "binary"
    headers.append(("Content-Transfer-Encoding", encoding))
    return NewPart(headers, multipart.base64_body(file.data) if is_base64 else file.data)


def _quotable(name: str) -> str:
    return "".join(each if each.isascii() and each.isprintable() and each not in '"\\' else "_" for each in name)


def _written(message: Message, dialect: Dialect) -> tuple[str, list[str]]:
    version = soap.element("MM7Version", dialect.version)
    match message:
        case SubmitReq():
            return "SubmitReq", [version, *_submit(message, dialect)]
        case SubmitRsp():
            named = soap.element("MessageID", message.message_id) if message.message_id else ""
            return "SubmitRsp", [version, _status(message.status), named]
        case DeliverReq():
            return "DeliverReq", [version, *_deliver(message)]
        case DeliverRsp():
            return "DeliverRsp", [version, _status(message.status)]
        case DeliveryReportReq():
            return "DeliveryReportReq", [version, *_report(message)]
        case DeliveryReportRsp():
            return "DeliveryReportRsp", [version, _status(message.status)]
        case ReadReplyReq():
            return "ReadReplyReq", [version, *_report(message)]
        case ReadReplyRsp():
            return "ReadReplyRsp", [version, _status(message.status)]
        case CancelReq():
            identity = _identification(message.vasp_id, message.vas_id, None, dialect)
            return "CancelReq", [version, identity, soap.element("MessageID", message.message_id)]
        case CancelRsp():
            return "CancelRsp", [version, _status(message.status)]
        case ErrorRsp():
            return "VASPErrorRsp" if message.is_ours else "RSErrorRsp", [version, _status(message.status)]


def _submit(message: SubmitReq, dialect: Dialect) -> list[str]:
    # In the order of the schema, which some MMSCs insist on.
    return [
        _identification(message.vasp_id, message.vas_id, message.sender, dialect),
        soap.parent("Recipients", [soap.parent("To", [_address(each) for each in message.recipients])]),
        _optional("ServiceCode", message.service_code),
        _optional("LinkedID", message.linked_id),
        _optional("MessageClass", message.message_class),
        _optional("ExpiryDate", _instant(message.expiry)),
        soap.element("DeliveryReport", _boolean(message.delivery_report)),
        soap.element("ReadReply", _boolean(message.read_reply)),
        _optional("Priority", message.priority),
        _optional("Subject", message.subject),
        _optional("ChargedParty", message.charged_party),
        ""
        if message.may_distribute is None
        else soap.element("DistributionIndicator", _boolean(message.may_distribute)),
        _reference(message.files, message.may_adapt),
    ]


def _identification(vasp_id: str, vas_id: str, sender: Address | None, dialect: Dialect) -> str:
    inside = [_optional("VASPID", vasp_id), _optional("VASID", vas_id)]
    if sender is not None and dialect.sender_is_text:
        inside.append(soap.element("SenderAddress", sender.value))
    elif sender is not None:
        inside.append(soap.parent("SenderAddress", [_address(sender)]))
    return soap.parent("SenderIdentification", inside)


def _deliver(message: DeliverReq) -> list[str]:
    return [
        _optional("MMSRelayServerID", message.relay),
        _optional("LinkedID", message.linked_id),
        soap.parent("Sender", [_address(message.sender)]),
        soap.parent("Recipients", [soap.parent("To", [_address(each) for each in message.recipients])]),
        _optional("TimeStamp", _instant(message.sent_at)),
        _optional("Subject", message.subject),
        _reference(message.files, None),
    ]


def _report(message: DeliveryReportReq | ReadReplyReq) -> list[str]:
    return [
        soap.element("MessageID", message.message_id),
        soap.parent("Recipient", [_address(message.recipient)]),
        "" if message.sender is None else soap.parent("Sender", [_address(message.sender)]),
        _optional("Date", _instant(message.at)),
        soap.element("MMStatus", message.mm_status),
        _optional("StatusText", message.status_text),
    ]


def _reference(files: Sequence[File], may_adapt: bool | None) -> str:
    if not files:
        return ""
    attributes = [("href", f"cid:{_CONTENT}")]
    if may_adapt is not None:
        attributes.append(("allowAdaptations", _boolean(may_adapt)))
    return soap.empty("Content", attributes)


def _address(address: Address) -> str:
    attributes = (("displayOnly", "true"),) if address.is_shown_only else ()
    return soap.element(address.kind, address.value, attributes)


def _status(status: Status) -> str:
    inside = [soap.element("StatusCode", str(status.code)), soap.element("StatusText", status.text)]
    return soap.parent("Status", [*inside, _optional("Details", status.details)])


def _optional(name: str, text: str) -> str:
    return soap.element(name, text) if text else ""


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _instant(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- reading


def decode(content_type: str, body: bytes) -> Decoded:
    """Read a message from a request or a response.

    Raises: MM7Error with the status to answer.
    """
    if len(body) > BODY_BYTES_MAX:
        raise MM7Error(2004, f"the message has more than {BODY_BYTES_MAX} bytes")
    try:
        whole = multipart.parse_entity({"content-type": content_type or "text/xml"}, body)
    except MultipartError as error:
        raise MM7Error(VALIDATION_ERROR, str(error)) from None
    root = _root(whole)
    document = soap.read(root.body, root.params.get("charset", ""))
    if document.name != "envelope":
        # Some answer with the message alone.
        return Decoded(_message(document, "", whole, root))
    header, inside = document.find("header"), document.find("body")
    transaction_id = "" if header is None else header.text_of("transactionid")[:TEXT_CHARS_MAX]
    if inside is None or not inside.children:
        raise MM7Error(VALIDATION_ERROR, "the envelope has no body", transaction_id)
    node = inside.children[0]
    try:
        message = _message(node, transaction_id, whole, root)
    except MM7Error as error:
        raise MM7Error(error.code, error.reason, transaction_id) from None
    return Decoded(message, _dialect(document))


def _root(whole: Entity) -> Entity:
    if not whole.parts:
        return whole
    start = whole.params.get("start", "").strip("<> ")
    for part in whole.parts:
        if start and part.content_id == start and not part.parts:
            return part
    # RFC 2387 3.2: without a start it is the first. Some start with another name than they give.
    found = next((part for part in whole.parts if part.content_type in _XML), whole.parts[0])
    if found.parts:
        raise MM7Error(VALIDATION_ERROR, "there is no envelope")
    return found


def _dialect(document: Node) -> Dialect:
    """Find the release and the version a peer writes, so that it is answered in them."""
    namespace = version = ""
    stack = [document]
    while stack:
        each = stack.pop()
        namespace = namespace or next((value for value in each.attributes.values() if "-MM7-" in value), "")
        # Within a fault it stands deeper.
        version = version or each.text_of("mm7version")
        stack += each.children
    return Dialect(namespace[:200] or DEFAULT.namespace, version[:20] or DEFAULT.version)


def _message(node: Node, transaction_id: str, whole: Entity, root: Entity) -> Message:
    name = node.name
    if name == "fault":
        return _fault(node, transaction_id)
    if name in ("rserrorrsp", "vasperrorrsp"):
        return ErrorRsp(transaction_id=transaction_id, status=_status_of(node), is_ours=name == "vasperrorrsp")
    if name == "submitreq":
        return _submit_of(node, transaction_id, whole, root)
    if name == "submitrsp":
        message_id = node.text_of("messageid")[:TEXT_CHARS_MAX]
        return SubmitRsp(transaction_id=transaction_id, status=_status_of(node), message_id=message_id)
    if name == "deliverreq":
        sender = _first_address(node.find("sender"))
        if sender is None:
            raise MM7Error(2002, "there is no sender")
        return DeliverReq(
            transaction_id=transaction_id,
            sender=sender,
            recipients=_recipients(node),
            files=_files(node, whole, root),
            linked_id=node.text_of("linkedid")[:TEXT_CHARS_MAX],
            relay=node.text_of("mmsrelayserverid")[:TEXT_CHARS_MAX],
            subject=node.text_of("subject")[:TEXT_CHARS_MAX],
            sent_at=_instant_of(node.text_of("timestamp", "date")),
        )
    if name in ("deliveryreportreq", "readreplyreq"):
        return _report_of(node, transaction_id)
    if name == "cancelreq":
        identity = node.find("senderidentification") or node
        return CancelReq(
            transaction_id=transaction_id,
            message_id=node.text_of("messageid")[:TEXT_CHARS_MAX],
            vasp_id=identity.text_of("vaspid"),
            vas_id=identity.text_of("vasid"),
        )
    answers: Mapping[str, type[DeliverRsp | DeliveryReportRsp | ReadReplyRsp | CancelRsp]] = {
        "deliverrsp": DeliverRsp,
        "deliveryreportrsp": DeliveryReportRsp,
        "readreplyrsp": ReadReplyRsp,
        "cancelrsp": CancelRsp,
    }
    if name in answers:
        return answers[name](transaction_id=transaction_id, status=_status_of(node))
    raise MM7Error(4003, "the message is of no kind that is known")


def _fault(node: Node, transaction_id: str) -> ErrorRsp:
    detail = node.find("detail")
    for child in detail.children if detail is not None else ():
        if child.name in ("rserrorrsp", "vasperrorrsp") or child.find("status") is not None:
            return ErrorRsp(
                transaction_id=transaction_id, status=_status_of(child), is_ours=child.name == "vasperrorrsp"
            )
    # A bare fault says whose it was, which is all that counts (SOAP 1.1 4.4.1).
    is_server = node.text_of("faultcode").rpartition(":")[2].lower().startswith("server")
    text = node.text_of("faultstring")[:TEXT_CHARS_MAX]
    return ErrorRsp(transaction_id=transaction_id, status=Status(3000 if is_server else 2000, text))


def _status_of(node: Node) -> Status:
    # Some leave the element around code and text out.
    inside = node.find("status") or node
    code = inside.text_of("statuscode")
    if not (code.isascii() and code.isdigit() and len(code) <= 6):
        raise MM7Error(VALIDATION_ERROR, "the status has no code")
    text, details = inside.text_of("statustext"), inside.text_of("details")
    return Status(int(code), text[:TEXT_CHARS_MAX], details[:TEXT_CHARS_MAX])


def _submit_of(node: Node, transaction_id: str, whole: Entity, root: Entity) -> SubmitReq:
    identity = node.find("senderidentification") or node
    content = node.find("content")
    distribution = node.text_of("distributionindicator").lower()
    return SubmitReq(
        transaction_id=transaction_id,
        recipients=_recipients(node),
        files=_files(node, whole, root),
        vasp_id=identity.text_of("vaspid"),
        vas_id=identity.text_of("vasid"),
        sender=_first_address(identity.find("senderaddress")),
        subject=node.text_of("subject"),
        service_code=node.text_of("servicecode"),
        linked_id=node.text_of("linkedid"),
        message_class=node.text_of("messageclass"),
        priority=node.text_of("priority"),
        expiry=_instant_of(node.text_of("expirydate")),
        delivery_report=_is_true(node.text_of("deliveryreport")),
        read_reply=_is_true(node.text_of("readreply")),
        charged_party=node.text_of("chargedparty"),
        may_distribute=_is_true(distribution) if distribution else None,
        may_adapt=content is None or _is_true(content.attributes.get("allowadaptations", "true")),
    )


def _report_of(node: Node, transaction_id: str) -> DeliveryReportReq | ReadReplyReq:
    recipient = _first_address(node.find("recipient") or node.find("recipients"))
    if recipient is None:
        raise MM7Error(2002, "there is no recipient")
    kind = DeliveryReportReq if node.name == "deliveryreportreq" else ReadReplyReq
    return kind(
        transaction_id=transaction_id,
        message_id=node.text_of("messageid")[:TEXT_CHARS_MAX],
        recipient=recipient,
        sender=_first_address(node.find("sender")),
        mm_status=node.text_of("mmstatus")[:TEXT_CHARS_MAX],
        status_text=node.text_of("statustext")[:TEXT_CHARS_MAX],
        at=_instant_of(node.text_of("date", "timestamp")),
    )


_KINDS: Final[Mapping[str, AddressKind]] = {
    "number": "Number",
    "shortcode": "ShortCode",
    "rfc2822address": "RFC2822Address",
}


def _addresses(node: Node) -> list[Address]:
    found: list[Address] = []
    for child in node.children:
        kind = _KINDS.get(child.name)
        if kind is None:
            # To, Cc and Bcc within Recipients.
            found += _addresses(child)
        elif child.text.strip():
            shown_only = _is_true(child.attributes.get("displayonly", ""))
            found.append(Address(child.text.strip()[:TEXT_CHARS_MAX], kind, shown_only))
    if not node.children and node.text.strip():
        # Release 5-MM7-1-0 has the address as the text itself.
        found.append(Address(node.text.strip()[:TEXT_CHARS_MAX]))
    return found


def _first_address(node: Node | None) -> Address | None:
    found = _addresses(node) if node is not None else []
    return found[0] if found else None


def _recipients(node: Node) -> tuple[Address, ...]:
    inside = node.find("recipients") or node.find("recipient")
    found = _addresses(inside) if inside is not None else []
    if not found:
        raise MM7Error(2002, "there is no recipient")
    if len(found) > RECIPIENTS_MAX:
        raise MM7Error(3003, f"there are more than {RECIPIENTS_MAX} recipients")
    return tuple(found)


def _files(node: Node, whole: Entity, root: Entity) -> tuple[File, ...]:
    """Return the parts of the MM: those that Content points to, or all beside the envelope."""
    content = node.find("content")
    href = "" if content is None else content.attributes.get("href", "")
    wanted = href.removeprefix("cid:").strip().strip("<>")
    others = [part for part in whole.parts if part is not root]
    chosen = [part for part in others if wanted and part.content_id == wanted] or others
    leaves = [leaf for part in chosen for leaf in part.leaves()]
    return tuple(
        File(leaf.content_type, leaf.body, leaf.content_id, leaf.name, leaf.params.get("charset", ""))
        for leaf in leaves
        # How it is shown is our own affair.
        if leaf.content_type not in _SMIL_TYPES
    )


def _instant_of(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        return None


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "yes")


def text_of(files: Sequence[File]) -> tuple[str, list[File]]:
    """Separate the text of an MM from its other files."""
    texts = [file for file in files if file.content_type == "text/plain" and not _is_attachment(file)]
    others = [file for file in files if file not in texts]
    words = [multipart.decode_text(file.data, file.charset or "utf-8").strip() for file in texts]
    return "\n".join(word for word in words if word), others


def _is_attachment(file: File) -> bool:
    # A text that has the name of another kind of file is one, such as a card of addresses.
    suffix = file.name.rpartition(".")[2].lower()
    return suffix in ("vcf", "ics", "csv")
