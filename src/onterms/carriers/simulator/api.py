"""The simulator's own API: handsets, what they receive and send, and faults. JSON in and out, for a sandbox."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import unquote

from msgspec import Meta, field

from onterms.carriers.simulator import store
from onterms.carriers.simulator.carrier import SimulatorCarrier
from onterms.carriers.simulator.errors import (
    BodyMissing,
    BodyTooLong,
    MediaInvalid,
    NoSuchFault,
    NotAHandset,
    RecipientInvalid,
    RecipientMissing,
    SettingInvalid,
)
from onterms.carriers.simulator.media import MEDIA_BYTES_MAX, MEDIA_MAX
from onterms.carriers.simulator.model import MESSAGE_FAULTS, WEBHOOK_FAULTS, Fault, FaultKind, Outcome, Setting
from onterms.carriers.simulator.store import Handset, HandsetMessage
from onterms.carriers.simulator.whatsapp import WhatsAppNetwork
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.e164 import is_e164, is_short_code, split_address
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Shape, show

# Twilio docs, error 21617: the longest text of one message.
BODY_CHARS_MAX: Final = 1600
# One answer stays under some 20 MB; a handset that holds more is read in pages.
MESSAGES_MAX: Final = 50_000
HANDSETS_MAX: Final = 1_000
HANDSETS_DEFAULT: Final = 100
# Ten data: URLs of full size, four characters for three bytes.
_SEND_BYTES_MAX: Final = MEDIA_MAX * MEDIA_BYTES_MAX * 4 // 3 + 64 * 1024
# Error codes have five digits, those of WhatsApp six, statuses of HTTP three.
_CODES: Final = (1, 999_999)
# RFC 1035 2.3.4, and a port.
_HOST_CHARS_MAX: Final = 260
_STATUSES: Final = (200, 599)
_DELAY_S_MAX: Final = 366 * 86_400
_INT_MAX: Final = 2**31 - 1

_DIRECTIONS: Final[dict[str, Sequence[str]]] = {
    "received": ("received",),
    "sent": ("sent",),
    "undelivered": ("undelivered",),
    "all": ("received", "sent", "undelivered"),
}

# Twilio docs, error 30005: the number is unknown or no longer in service.
UNKNOWN_HANDSET: Final = 30005

_Seconds = Annotated[float, Meta(ge=0, le=_DELAY_S_MAX)]
_Address = Annotated[str, Meta(max_length=64)]


class HandsetsQuery(Shape):
    """How many handsets are asked for."""

    limit: str | None = None


class MessagesQuery(Shape):
    """Which messages of a handset: by direction, after an id, the last so many, up to so many."""

    direction: Literal["received", "sent", "undelivered", "all"] = "received"
    after: str | None = None
    last: str | None = None
    limit: str | None = None


class NewSetting(Shape):
    """How a handset treats what is sent to it."""

    outcome: Outcome = "delivered"
    error_code: Annotated[int, Meta(ge=_CODES[0], le=_CODES[1])] | None = None
    delay_s: _Seconds | None = None


class NewPlace(Shape):
    """A place that a handset shares."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    name: Annotated[str, Meta(max_length=256)] = ""
    address: Annotated[str, Meta(max_length=256)] = ""


class Read(Shape):
    """How many messages were read now."""

    read: int


class NewMessage(Shape):
    """A message from a handset, with text, media, or both."""

    refusals: ClassVar = {"media_urls": MediaInvalid}

    to: str | None = None
    body: str = ""
    media_urls: Annotated[list[str], Meta(max_length=MEDIA_MAX)] | None = None
    # By which network; without it that of the address in `to`, which is SMS for a number.
    channel: Literal["sms", "whatsapp"] | None = None
    # On WhatsApp: the id or title of a button or list item of the message with the id `reply_to`, or of the last one.
    tap: Annotated[str, Meta(max_length=256)] = ""
    reply_to: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    location: NewPlace | None = None


class NewFault(Shape):
    """A failure to inject; what is left out matches all."""

    kind: FaultKind
    recipient: _Address | None = field(default=None, name="to")
    sender: _Address | None = field(default=None, name="from")
    host: Annotated[str, Meta(max_length=_HOST_CHARS_MAX)] | None = None
    code: Annotated[int, Meta(ge=_CODES[0], le=_CODES[1])] | None = None
    delay_s: _Seconds | None = None
    count: Annotated[int, Meta(ge=1, le=_INT_MAX)] | None = None
    probability: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=0, le=_INT_MAX)] | None = None


class MessageShown(Shape):
    """A message as a handset keeps it."""

    id: int
    direction: str
    message_sid: str | None = field(name="sid")
    sender: str = field(name="from")
    recipient: str = field(name="to")
    body: str
    media_urls: list[str]
    encoding: str
    segments: int
    at: datetime
    channel: str
    # On a channel, what it shows beside its text, as the channel's network writes it.
    content: Any


class HandsetShown(Shape):
    """A handset with its setting and its last message."""

    number: str
    outcome: str
    error_code: int | None
    delay_s: float
    last_message: MessageShown | None


class FaultShown(Shape):
    """An injected fault and how often it struck."""

    id: int
    kind: str
    recipient: str | None = field(name="to")
    sender: str | None = field(name="from")
    host: str | None
    code: int | None
    delay_s: float
    remaining: int | None
    probability: float
    seed: int
    hits: int
    created_at: datetime


class FaultsDeleted(Shape):
    """How many faults were taken back."""

    deleted: int


# Reports numbers that a carrier took out of service on a day.
Deactivate = Callable[[Tx, date, Sequence[str], datetime], Awaitable[int]]


class SimulatorApi:
    """The handlers behind `routes`.

    Shapes: `deactivate` takes the word of a number out of service, as a carrier's report would bring it.
    """

    def __init__(
        self,
        carrier: SimulatorCarrier,
        deactivate: Deactivate | None = None,
        whatsapp: WhatsAppNetwork | None = None,
    ) -> None:
        self._carrier = carrier
        self._deactivate = deactivate
        self._whatsapp = whatsapp

    def routes(self) -> list[OwnRoute]:
        """List the routes; only a sandbox mounts them."""
        handset = "/simulator/v1/handsets/{number}"
        faults = "/simulator/v1/faults"
        return [
            OwnRoute("GET", "/simulator/v1/handsets", "machine", self.list_handsets, summary="List known handsets"),
            OwnRoute("GET", handset, "machine", self.get_handset, summary="Show a handset's setting"),
            OwnRoute("POST", handset, "machine", self.set_handset, summary="Say how a handset behaves"),
            OwnRoute("DELETE", handset, "machine", self.reset_handset, summary="Let a handset behave as a new one"),
            OwnRoute(
                "POST", f"{handset}/deactivation", "machine", self.deactivate, summary="Take a handset's number from it"
            ),
            OwnRoute("GET", f"{handset}/messages", "machine", self.list_messages, summary="Read a handset"),
            OwnRoute(
                "POST",
                f"{handset}/messages",
                "machine",
                free_handler=self.send_message,
                body_bytes_max=_SEND_BYTES_MAX,
                summary="Send from a handset",
            ),
            OwnRoute("DELETE", f"{handset}/messages", "machine", self.delete_messages, summary="Empty a handset"),
            OwnRoute("POST", f"{handset}/read", "machine", self.read_messages, summary="Read what a handset received"),
            OwnRoute("GET", faults, "machine", self.list_faults, summary="List injected faults and their hits"),
            OwnRoute("POST", faults, "machine", self.add_fault, summary="Inject a fault"),
            OwnRoute("DELETE", faults, "machine", self.delete_faults, summary="Take all faults back"),
            OwnRoute("DELETE", faults + "/{id}", "machine", self.delete_fault, summary="Take a fault back"),
        ]

    # ---- handsets

    async def list_handsets(self, tx: Tx, query: HandsetsQuery) -> list[HandsetShown]:
        """List handsets that have messages or a setting, those with the newest message first."""
        limit = HANDSETS_DEFAULT if query.limit in (None, "") else _count(query.limit, "limit", HANDSETS_MAX)
        return [_shown_handset(handset) for handset in await store.list_handsets(tx, limit)]

    async def get_handset(self, tx: Tx, number: str) -> HandsetShown:
        """Show how a handset behaves and its last message."""
        [handset] = await store.get_handsets(tx, [_reader(number)])
        return _shown_handset(handset)

    async def set_handset(self, tx: Tx, number: str, body: NewSetting) -> HandsetShown:
        """Say how a handset behaves from now on."""
        number = _reader(number)
        if body.error_code is not None and body.outcome not in ("undelivered", "failed", "reject"):
            raise SettingInvalid(f"the outcome '{body.outcome}' has no error code")
        await store.set_handset(tx, number, Setting(body.outcome, body.error_code, body.delay_s or 0.0))
        return await self.get_handset(tx, number)

    async def reset_handset(self, tx: Tx, number: str) -> None:
        """Let a handset behave as a new one; its messages stay."""
        await store.reset_handset(tx, _reader(number))

    async def deactivate(self, tx: Tx, request: OwnRequest, number: str) -> HandsetShown:
        """Take a number out of service: nothing reaches it any more, and today's report names it."""
        number = _reader(number)
        if self._deactivate is None or not is_e164(number):
            raise NotAHandset("only a number of the United States is reported")
        await self._deactivate(tx, day_of(request.at), [number], request.at)
        await store.set_handset(tx, number, Setting("undelivered", UNKNOWN_HANDSET, 0.0))
        return await self.get_handset(tx, number)

    # ---- messages

    async def list_messages(self, tx: Tx, number: str, query: MessagesQuery) -> list[MessageShown]:
        """List what a handset received, oldest first."""
        after, last, limit = (
            None if text in (None, "") else _count(text, name, most)
            for text, name, most in (
                (query.after, "after", 2**63 - 1),
                (query.last, "last", MESSAGES_MAX),
                (query.limit, "limit", MESSAGES_MAX),
            )
        )
        messages = await store.list_messages(
            tx, _reader(number), _DIRECTIONS[query.direction], after=after, last=last, limit=limit or MESSAGES_MAX
        )
        return [_shown_message(message) for message in messages]

    async def send_message(self, number: str, body: NewMessage) -> Created[MessageShown]:
        """Send a message from a handset."""
        number = _number_of(number)
        if not is_e164(number):
            raise NotAHandset("a handset's number is an E.164 number, such as +14155550123")
        if not body.to:
            raise RecipientMissing("'to' is required")
        recipient = _recipient(body.to)
        _check_text(body.body)
        media_urls = _media_urls(body.media_urls)
        channel, identity = split_address(recipient)
        if body.channel is not None and channel not in ("sms", body.channel):
            raise RecipientInvalid("'to' is an address of another channel than 'channel' says")
        if self._whatsapp is not None and "whatsapp" in (channel, body.channel):
            if await self._whatsapp.knows(identity.lstrip("+")):
                if not (body.body or media_urls or body.tap or body.location):
                    raise BodyMissing("'body', 'media_urls', 'tap' or 'location' is required")
                place = None if body.location is None else show(body.location)
                return _shown_message(
                    await self._whatsapp.send_from_handset(
                        number,
                        identity,
                        body.body,
                        media_urls,
                        tap=body.tap,
                        reply_to=body.reply_to,
                        location=place,
                    )
                )
            recipient = f"whatsapp:{identity}"
        if body.tap or body.location or body.reply_to is not None:
            raise SettingInvalid("'tap', 'reply_to' and 'location' are for messages to a business on WhatsApp")
        if not body.body and not media_urls:
            raise BodyMissing("'body' is required where there are no 'media_urls'")
        return _shown_message(await self._carrier.send_from_handset(number, recipient, body.body, media_urls))

    async def read_messages(self, tx: Tx, number: str) -> Read:
        """Read what a handset received by WhatsApp, whose senders learn of it."""
        return Read(0 if self._whatsapp is None else await self._whatsapp.read_all(tx, _reader(number)))

    async def delete_messages(self, tx: Tx, number: str) -> None:
        """Empty a handset; its setting stays."""
        await store.delete_messages(tx, _reader(number))

    # ---- faults

    async def list_faults(self, tx: Tx) -> list[FaultShown]:
        """List the injected faults, also those that have struck for the last time."""
        return [FaultShown.of(fault) for fault in await store.list_faults(tx)]

    async def add_fault(self, tx: Tx, request: OwnRequest, body: NewFault) -> Created[FaultShown]:
        """Inject a fault."""
        return FaultShown.of(await self._carrier.faults.add(tx, _fault_of(body, request.at)))

    async def delete_fault(self, tx: Tx, id: str) -> None:
        """Take one fault back."""
        # A number of more digits than the column holds is nobody's id.
        if not (id.isascii() and id.isdigit() and len(id) <= 18) or not await self._carrier.faults.delete(tx, int(id)):
            raise NoSuchFault("there is no such fault")

    async def delete_faults(self, tx: Tx) -> FaultsDeleted:
        """Take all faults back."""
        return FaultsDeleted(await self._carrier.faults.delete(tx))


# ---- reading


def _number_of(text: str) -> str:
    """Return the path's number; its plus may be missing, escaped, or read as the blank that forms make of it."""
    digits = unquote(text).strip().removeprefix("+")
    return f"+{digits}"


def _reader(text: str) -> str:
    """Return the path's number, which may also be a short code: one has messages where nobody owns it."""
    number = _number_of(text)
    if is_e164(number):
        return number
    if is_short_code(number[1:]):
        return number[1:]
    raise NotAHandset("a handset's number is an E.164 number, such as +14155550123")


def _recipient(text: str) -> str:
    channel, identity = split_address(text.strip())
    if is_e164(identity) or (channel == "sms" and is_short_code(identity)):
        return text.strip()
    raise RecipientInvalid("'to' is an E.164 number, such as +14155550123, or a short code")


def _check_text(body: str) -> None:
    if len(body) > BODY_CHARS_MAX:
        raise BodyTooLong(f"'body' is longer than {BODY_CHARS_MAX} characters")
    # JSON can write halves of surrogate pairs, which UTF-8 cannot.
    if not _is_unicode(body):
        raise InvalidParameter("'body' has characters that no text may have")


def _media_urls(urls: list[str] | None) -> list[str]:
    if any(not _is_unicode(url) for url in urls or ()):
        raise MediaInvalid("'media_urls' has characters that no URL may have")
    return urls or []


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _fault_of(body: NewFault, at: datetime) -> Fault:
    kind, code, host = body.kind, body.code, body.host
    if kind in MESSAGE_FAULTS and host is not None:
        raise SettingInvalid(f"a fault of kind '{kind}' has no 'host'")
    if kind in WEBHOOK_FAULTS and body.delay_s is not None:
        raise SettingInvalid(f"a fault of kind '{kind}' has no 'delay_s'")
    if code is not None and kind not in ("undelivered", "failed", "reject", "webhook_status"):
        raise SettingInvalid(f"a fault of kind '{kind}' has no 'code'")
    if code is not None and kind == "webhook_status" and not _STATUSES[0] <= code <= _STATUSES[1]:
        raise SettingInvalid(f"'code' must be a whole number from {_STATUSES[0]} to {_STATUSES[1]}")
    if kind == "delay" and not body.delay_s:
        raise SettingInvalid("a fault of kind 'delay' needs 'delay_s'")
    if host is not None and not host.isprintable():
        raise SettingInvalid("'host' must be a host's name")
    return Fault(
        id=0,
        kind=kind,
        recipient=_address(body.recipient, "to"),
        sender=_address(body.sender, "from"),
        host=host.lower().rstrip(".") if host else None,
        code=code,
        delay_s=body.delay_s or 0.0,
        remaining=body.count,
        probability=1.0 if body.probability is None else body.probability,
        seed=body.seed or 0,
        seen=0,
        hits=0,
        created_at=at,
    )


def _address(value: str | None, name: str) -> str | None:
    if value is None:
        return None
    if not value.strip() or not value.isprintable():
        raise SettingInvalid(f"'{name}' must be a number or a sender's name")
    return split_address(value.strip()).identity


def _count(text: str | None, name: str, most: int) -> int:
    # 19 digits are the most that a bigint has.
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise InvalidParameter(f"'{name}' must be a whole number")
    return min(int(text), most)


# ---- showing


def _shown_handset(handset: Handset) -> HandsetShown:
    setting = handset.setting
    return HandsetShown.of(handset, outcome=setting.outcome, error_code=setting.error_code, delay_s=setting.delay_s)


def _shown_message(message: HandsetMessage) -> MessageShown:
    return MessageShown.of(message)
