"""The port between the messaging room and any carrier of messages (simulator, SMPP, WhatsApp, RCS, MMS)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from onterms.core.db import Tx

ReceiptState = Literal["sent", "delivered", "undelivered", "failed", "read"]


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message on a channel shows beside or instead of plain text, in every form that its template has.

    Shapes: `types` maps a content type (`twilio/quick-reply`) to its fields with the variables filled in, `source` the
    same as they were written, with their places (`{{1}}`); a carrier takes the richest type that its channel shows.
    `values` has the places' values. `template_name` is the name under which the channel's reviewers approved it, empty
    where they did not.
    """

    types: dict[str, dict[str, Any]]
    sid: str = ""
    language: str = ""
    source: dict[str, dict[str, Any]] = {}
    values: dict[str, str] = {}
    template_name: str = ""
    template_category: str = ""


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """One message to hand to a carrier; `sid` names it for ever and carriers may use it to recognise a repeat."""

    sid: str
    account_sid: str
    sender: str
    recipient: str
    body: str
    media_urls: tuple[str, ...]
    segments: int
    encoding: Literal["GSM-7", "UCS-2"]
    # When it is worth nothing any more, where the customer or the room says so.
    valid_until: datetime | None = None
    # Whether it may have been handed over before, by a process that ended or whose lease did.
    is_repeat: bool = False
    # Which network carries it: sms, or a channel, whose addresses `sender` and `recipient` are (whatsapp:+14155550123).
    channel: str = "sms"
    # On a channel only.
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """The carrier took it; receipts will carry `carrier_id`.

    Shapes: `carrier` is the name receipts will have where it is not that of the carrier asked.
    """

    carrier_id: str
    carrier: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The carrier will never take it; `code` is the error code the customer sees."""

    code: int
    reason: str
    carrier: str | None = None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The carrier cannot be reached now and did not get it; try again later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It was handed over and no answer came: the carrier may or may not have it.

    Shapes: with `is_followed` the carrier finds out and reports to its sink, sooner or later and in every case.
    """

    reason: str
    is_followed: bool = False


SubmitOutcome = Submitted | Refused | Unreachable | Unknown


@dataclass(frozen=True, slots=True)
class Receipt:
    """A carrier's word on what became of a message it took, or, as `sent`, that it took it after all.

    A carrier that repeats our names gives `account_sid` and `message_sid`; others are found by `carrier_id`. `code`
    is the error code for undelivered and failed, `reason` the carrier's own words for it.
    """

    carrier: str
    carrier_id: str
    account_sid: str | None
    message_sid: str | None
    state: ReceiptState
    code: int | None
    done_at: datetime
    reason: str = ""


class InboundDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a channel tells of an inbound message beside its text and files.

    Shapes: `kind` is text, image, audio, video, document, sticker, contacts, location, button, interactive, order,
    reaction, unsupported ...; `replied_id` is the carrier's id of the message that this one answers, `replied_sender`
    the address that sent that one. `button_text` and `button_payload` are of a tapped button, `list_*` of a chosen list
    item. `data` is what else the channel has, as JSON.
    """

    kind: str = "text"
    profile_name: str = ""
    user_id: str = ""
    button_text: str = ""
    button_payload: str = ""
    list_id: str = ""
    list_title: str = ""
    list_description: str = ""
    latitude: str = ""
    longitude: str = ""
    address: str = ""
    label: str = ""
    is_forwarded: bool = False
    is_frequently_forwarded: bool = False
    replied_id: str = ""
    replied_sender: str = ""
    referral: Mapping[str, str] = {}
    data: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class InboundMedia:
    """One attachment of an inbound message: its bytes as they came.

    Shapes: `found` names the malicious code in it, "" for none; None until somebody looked through it.
    """

    content_type: str
    data: bytes
    found: str | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A message that a carrier brings for one of our numbers.

    `carrier_id` is unique within `carrier`, so that a repeat is recognised.
    """

    carrier: str
    carrier_id: str
    sender: str
    recipient: str
    body: str
    media: tuple[InboundMedia, ...]
    segments: int
    at: datetime
    # On a channel only, as are addresses such as whatsapp:+14155550123 in `sender` and `recipient`.
    details: InboundDetails | None = None


class MessageCarrier(Protocol):
    """Take messages and answer for each."""

    name: str
    # A carrier that recognises a repeated sid lets us submit again after a crash; others need a query or a receipt.
    repeats_are_safe: bool

    async def submit(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        """Hand messages over, in order, and return one outcome each; never raises for a single message.

        The carrier opens transactions of its own where it needs any.
        """
        ...


class MessageSink(Protocol):
    """What a carrier reports upwards; the caller commits."""

    async def receipts_arrived(self, tx: Tx, receipts: Sequence[Receipt]) -> None:
        """Record receipts; repeats and late ones change nothing."""
        ...

    async def still_going(self, tx: Tx, keys: Sequence[tuple[str, str]]) -> set[str]:
        """Return the SIDs of those messages (account_sid, sid) that wait for what a carrier says of their submit."""
        ...

    async def look_through(self, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
        """Look through the files of inbound messages, before the transaction that takes them begins.

        Raises: Unavailable where that cannot be done now; the carrier brings them again.
        """
        ...

    async def messages_arrived(self, tx: Tx, messages: Sequence[InboundMessage]) -> list[str | None]:
        """Take inbound messages; return each one's message SID, or None where no account owns the recipient."""
        ...

    async def put_back(self, tx: Tx, messages: Sequence[tuple[str, str]]) -> None:
        """Put messages that a carrier followed into their queue again: (account_sid, sid); it does not have them."""
        ...
