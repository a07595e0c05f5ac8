"""Delivery receipts: what SMSCs write into deliver_sm to say what became of a message.

SMPP 3.4 Appendix B gives a text only as an example, and everybody varies it: names in other cases and order, dates of
10 or 12 digits, ids with blanks, fields left out, commas for blanks. The optional parameters receipted_message_id and
message_state are exact where they are there, so they win.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from onterms.protocols.smpp.codes import (
    ESM_INTERMEDIATE,
    ESM_RECEIPT,
    ESM_TYPE_MASK,
    MessageState,
    Tag,
)
from onterms.protocols.smpp.pdu import Tlvs, tlv

_STATES: Final[Mapping[str, MessageState]] = {
    "DELIVRD": MessageState.DELIVERED,
    "DELIVERED": MessageState.DELIVERED,
    "EXPIRED": MessageState.EXPIRED,
    "DELETED": MessageState.DELETED,
    "UNDELIV": MessageState.UNDELIVERABLE,
    "UNDELIVERABLE": MessageState.UNDELIVERABLE,
    "FAILED": MessageState.UNDELIVERABLE,
    "NACK": MessageState.UNDELIVERABLE,
    "ACCEPTD": MessageState.ACCEPTED,
    "ACCEPTED": MessageState.ACCEPTED,
    "ACKED": MessageState.ACCEPTED,
    "ENROUTE": MessageState.ENROUTE,
    "BUFFERD": MessageState.ENROUTE,
    "BUFFERED": MessageState.ENROUTE,
    "SCHEDLD": MessageState.SCHEDULED,
    "SCHEDULED": MessageState.SCHEDULED,
    "UNKNOWN": MessageState.UNKNOWN,
    "REJECTD": MessageState.REJECTED,
    "REJECTED": MessageState.REJECTED,
    "SKIPPED": MessageState.SKIPPED,
}
_NAMES: Final[Mapping[int, str]] = {
    MessageState.SCHEDULED: "SCHEDLD",
    MessageState.ENROUTE: "ENROUTE",
    MessageState.DELIVERED: "DELIVRD",
    MessageState.EXPIRED: "EXPIRED",
    MessageState.DELETED: "DELETED",
    MessageState.UNDELIVERABLE: "UNDELIV",
    MessageState.ACCEPTED: "ACCEPTD",
    MessageState.UNKNOWN: "UNKNOWN",
    MessageState.REJECTED: "REJECTD",
    MessageState.SKIPPED: "SKIPPED",
}
FINAL: Final = frozenset(
    {
        MessageState.DELIVERED,
        MessageState.EXPIRED,
        MessageState.DELETED,
        MessageState.UNDELIVERABLE,
        MessageState.UNKNOWN,
        MessageState.REJECTED,
        MessageState.SKIPPED,
    }
)

# The text field ends the receipt and may hold anything, such as the words of another receipt.
_TEXT: Final = re.compile(r"(?:^|[\s,])text:", re.IGNORECASE)
_FIELD: Final = re.compile(
    r"(?:^|[\s,])(id|sub|dlvrd|submit[ _]?date|done[ _]?date|stat|err)\s*[:=]\s*([^\s,]*)", re.IGNORECASE
)
# Octets that some SMSCs end their texts with.
_PADDING: Final = "\0 \r\n"


class Receipt(NamedTuple):
    """What an SMSC says of a message.

    Shapes: `error` as the SMSC writes it, three digits mostly, "" where it says none; the dates in UTC, which the text
    does not say and most mean.
    """

    message_id: str
    state: MessageState
    error: str
    submitted_at: datetime | None
    done_at: datetime | None

    @property
    def is_final(self) -> bool:
        """Whether nothing more will come."""
        return self.state in FINAL


def is_receipt(pdu: Any) -> bool:
    """Tell a receipt from a message of a subscriber."""
    kind = pdu.esm_class & ESM_TYPE_MASK
    if kind in (ESM_RECEIPT, ESM_INTERMEDIATE):
        return True
    # SMSCs that leave esm_class alone say it by the parameters, which no subscriber can set.
    return kind == 0 and tlv(pdu, Tag.RECEIPTED_MESSAGE_ID) is not None and tlv(pdu, Tag.MESSAGE_STATE) is not None


def read(pdu: Any) -> Receipt | None:
    """Read a receipt; None where it names no message or no state."""
    raw = getattr(pdu, "short_message", b"") or tlv(pdu, Tag.MESSAGE_PAYLOAD) or b""
    text = raw.decode("utf-16-be" if pdu.data_coding == 8 else "latin-1", "replace")
    head = _TEXT.split(text, maxsplit=1)[0]
    fields = {name.lower().replace("_", "").replace(" ", ""): value for name, value in _FIELD.findall(head)}
    receipted = tlv(pdu, Tag.RECEIPTED_MESSAGE_ID)
    message_id = receipted.partition(b"\0")[0].decode("latin-1").strip(_PADDING) if receipted else fields.get("id", "")
    state = _state(tlv(pdu, Tag.MESSAGE_STATE), fields.get("stat", ""))
    if not message_id or state is None:
        return None
    error = fields.get("err", "")
    network = tlv(pdu, Tag.NETWORK_ERROR_CODE)
    if not error and network is not None and len(network) == 3:
        # SMPP 3.4 5.3.2.31: one octet says which network, two the error.
        error = f"{int.from_bytes(network[1:], 'big'):03d}"
    return Receipt(message_id, state, error, _date(fields.get("submitdate", "")), _date(fields.get("donedate", "")))


def _state(parameter: bytes | None, word: str) -> MessageState | None:
    if parameter:
        try:
            return MessageState(parameter[-1])
        except ValueError:
            return None
    return _STATES.get(word.strip(_PADDING).upper())


def _date(text: str) -> datetime | None:
    # YYMMDDhhmm, with seconds in many, with the century in some.
    digits = re.sub(r"\D", "", text)
    form = {10: "%y%m%d%H%M", 12: "%y%m%d%H%M%S", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    if form is None:
        return None
    try:
        return datetime.strptime(digits, form).replace(tzinfo=UTC)
    except ValueError:
        return None


def write(
    message_id: str, state: MessageState, error: str, submitted_at: datetime, done_at: datetime, text: str
) -> tuple[bytes, Tlvs]:
    """Write a receipt as Appendix B of SMPP 3.4 shows it: short_message and the exact parameters."""
    delivered = 1 if state == MessageState.DELIVERED else 0
    words = (
        f"id:{message_id} sub:001 dlvrd:{delivered:03d} submit date:{submitted_at.astimezone(UTC):%y%m%d%H%M} "
        f"done date:{done_at.astimezone(UTC):%y%m%d%H%M} stat:{_NAMES[state]} err:{error or '000'} Text:{text[:20]}"
    )
    tlvs = (
        (int(Tag.RECEIPTED_MESSAGE_ID), message_id.encode("latin-1") + b"\0"),
        (int(Tag.MESSAGE_STATE), bytes([state])),
    )
    return words.encode("latin-1", "replace")[:255], tlvs
