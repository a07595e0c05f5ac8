"""The simulator's own API: handsets, what they receive and send, and faults. JSON in and out, for a sandbox."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

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
from onterms.carriers.simulator.model import MESSAGE_FAULTS, OUTCOMES, WEBHOOK_FAULTS, Fault, Setting
from onterms.carriers.simulator.store import Handset, HandsetMessage
from onterms.core.db import Tx
from onterms.core.e164 import is_e164, is_short_code, split_address
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

# Twilio docs, error 21617: the longest text of one message.
BODY_CHARS_MAX: Final = 1600
# One answer stays under some 20 MB; a handset that holds more is read in pages.
MESSAGES_MAX: Final = 50_000
HANDSETS_MAX: Final = 1_000
HANDSETS_DEFAULT: Final = 100
# Ten data: URLs of full size, four characters for three bytes.
_SEND_BYTES_MAX: Final = MEDIA_MAX * MEDIA_BYTES_MAX * 4 // 3 + 64 * 1024
# Error codes have five digits, statuses of HTTP three.
_CODES: Final = (1, 99_999)
# RFC 1035 2.3.4, and a port.
_HOST_CHARS_MAX: Final = 260
_STATUSES: Final = (200, 599)
_DELAY_S_MAX: Final = 366 * 86_400
_INT_MAX: Final = 2**31 - 1
_NUMBER_MAX: Final = 1e15

_DIRECTIONS: Final[dict[str, Sequence[str]]] = {
    "received": ("received",),
    "sent": ("sent",),
    "undelivered": ("undelivered",),
    "all": ("received", "sent", "undelivered"),
}
_FAULT_FIELDS: Final = frozenset({"kind", "to", "from", "host", "code", "delay_s", "count", "probability", "seed"})
_SETTING_FIELDS: Final = frozenset({"outcome", "error_code", "delay_s"})


class SimulatorApi:
    """The handlers behind `routes`."""

    def __init__(self, carrier: SimulatorCarrier) -> None:
        self._carrier = carrier

    def routes(self) -> list[OwnRoute]:
        """List the routes; only a sandbox mounts them."""
        handset = "/simulator/v1/handsets/{number}"
        faults = "/simulator/v1/faults"
        return [
            OwnRoute("GET", "/simulator/v1/handsets", "machine", self.list_handsets, summary="List known handsets"),
            OwnRoute("GET", handset, "machine", self.get_handset, summary="Show a handset's setting"),
            OwnRoute("POST", handset, "machine", self.set_handset, summary="Say how a handset behaves"),
            OwnRoute("DELETE", handset, "machine", self.reset_handset, summary="Let a handset behave as a new one"),
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
            OwnRoute("GET", faults, "machine", self.list_faults, summary="List injected faults and their hits"),
            OwnRoute("POST", faults, "machine", self.add_fault, summary="Inject a fault"),
            OwnRoute("DELETE", faults, "machine", self.delete_faults, summary="Take all faults back"),
            OwnRoute("DELETE", faults + "/{id}", "machine", self.delete_fault, summary="Take a fault back"),
        ]

    # ---- handsets

    async def list_handsets(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List handsets that have messages or a setting, those with the newest message first."""
        limit = _count(request.query, "limit", HANDSETS_MAX)
        handsets = await store.list_handsets(tx, HANDSETS_DEFAULT if limit is None else limit)
        return OwnReply([_shown_handset(handset) for handset in handsets])

    async def get_handset(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Show how a handset behaves and its last message."""
        [handset] = await store.get_handsets(tx, [_reader(request)])
        return OwnReply(_shown_handset(handset))

    async def set_handset(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Say how a handset behaves from now on."""
        number = _reader(request)
        _require_known(request.body, _SETTING_FIELDS)
        outcome = request.text("outcome", default="delivered")
        if outcome not in OUTCOMES:
            raise SettingInvalid(f"'outcome' is one of {', '.join(sorted(OUTCOMES))}")
        code = _whole(request.body, "error_code", *_CODES)
        if code is not None and outcome not in ("undelivered", "failed", "reject"):
            raise SettingInvalid(f"the outcome '{outcome}' has no error code")
        await store.set_handset(tx, number, Setting(outcome, code, _seconds(request.body, "delay_s")))
        [handset] = await store.get_handsets(tx, [number])
        return OwnReply(_shown_handset(handset))

    async def reset_handset(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Let a handset behave as a new one; its messages stay."""
        await store.reset_handset(tx, _reader(request))
        return OwnReply(None, 204)

    # ---- messages

    async def list_messages(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List what a handset received, oldest first."""
        directions = _DIRECTIONS.get(request.query.get("direction", "received"))
        if directions is None:
            raise InvalidParameter(f"'direction' is one of {', '.join(_DIRECTIONS)}")
        messages = await store.list_messages(
            tx,
            _reader(request),
            directions,
            after=_count(request.query, "after", 2**63 - 1),
            last=_count(request.query, "last", MESSAGES_MAX),
            limit=_count(request.query, "limit", MESSAGES_MAX) or MESSAGES_MAX,
        )
        return OwnReply([_shown_message(message) for message in messages])

    async def send_message(self, request: OwnRequest) -> OwnReply:
        """Send a message from a handset."""
        number = _number_of(request)
        if not is_e164(number):
            raise NotAHandset("a handset's number is an E.164 number, such as +14155550123")
        if request.body.get("to") in (None, ""):
            raise RecipientMissing("'to' is required")
        recipient = _recipient(request.text("to"))
        body = _text(request)
        media_urls = _media_urls(request.body)
        if not body and not media_urls:
            raise BodyMissing("'body' is required where there are no 'media_urls'")
        sent = await self._carrier.send_from_handset(number, recipient, body, media_urls)
        return OwnReply(_shown_message(sent), 201)

    async def delete_messages(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Empty a handset; its setting stays."""
        await store.delete_messages(tx, _reader(request))
        return OwnReply(None, 204)

    # ---- faults

    async def list_faults(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List the injected faults, also those that have struck for the last time."""
        return OwnReply([_shown_fault(fault) for fault in await store.list_faults(tx)])

    async def add_fault(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Inject a fault."""
        return OwnReply(_shown_fault(await self._carrier.faults.add(tx, _fault_of(request))), 201)

    async def delete_fault(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Take one fault back."""
        id_ = request.path["id"]
        # A number of more digits than the column holds is nobody's id.
        if not (id_.isascii() and id_.isdigit() and len(id_) <= 18) or not await self._carrier.faults.delete(
            tx, int(id_)
        ):
            raise NoSuchFault("there is no such fault")
        return OwnReply(None, 204)

    async def delete_faults(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Take all faults back."""
        return OwnReply({"deleted": await self._carrier.faults.delete(tx)})


# ---- reading


def _number_of(request: OwnRequest) -> str:
    """Return the path's number; its plus may be missing, escaped, or read as the blank that forms make of it."""
    digits = unquote(request.path["number"]).strip().removeprefix("+")
    return f"+{digits}"


def _reader(request: OwnRequest) -> str:
    """Return the path's number, which may also be a short code: one has messages where nobody owns it."""
    number = _number_of(request)
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


def _text(request: OwnRequest) -> str:
    body = request.text("body", default="")
    if len(body) > BODY_CHARS_MAX:
        raise BodyTooLong(f"'body' is longer than {BODY_CHARS_MAX} characters")
    # JSON can write halves of surrogate pairs and NUL, which UTF-8 and PostgreSQL cannot.
    if "\0" in body or not _is_unicode(body):
        raise InvalidParameter("'body' has characters that no text may have")
    return body


def _media_urls(body: Mapping[str, Any]) -> list[str]:
    urls = body.get("media_urls")
    if urls is None:
        return []
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise MediaInvalid("'media_urls' must be an array of strings")
    if len(urls) > MEDIA_MAX:
        raise MediaInvalid(f"a message carries at most {MEDIA_MAX} media")
    if any("\0" in url or not _is_unicode(url) for url in urls):
        raise MediaInvalid("'media_urls' has characters that no URL may have")
    return list(urls)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _fault_of(request: OwnRequest) -> Fault:
    # A name that is not known here would otherwise make a fault that strikes everything.
    _require_known(request.body, _FAULT_FIELDS)
    kind = request.text("kind")
    kinds = MESSAGE_FAULTS | WEBHOOK_FAULTS
    if kind not in kinds:
        raise SettingInvalid(f"'kind' is one of {', '.join(sorted(kinds))}")
    body = request.body
    for name in ("host",) if kind in MESSAGE_FAULTS else ("delay_s",):
        if body.get(name) is not None:
            raise SettingInvalid(f"a fault of kind '{kind}' has no '{name}'")
    if kind in ("undelivered", "failed", "reject"):
        code = _whole(body, "code", *_CODES)
    elif kind == "webhook_status":
        code = _whole(body, "code", *_STATUSES)
    elif body.get("code") is None:
        code = None
    else:
        raise SettingInvalid(f"a fault of kind '{kind}' has no 'code'")
    delay_s = _seconds(body, "delay_s")
    if kind == "delay" and not delay_s:
        raise SettingInvalid("a fault of kind 'delay' needs 'delay_s'")
    probability = _number(body, "probability")
    if probability is None:
        probability = 1.0
    if not 0 < probability <= 1:
        raise SettingInvalid("'probability' is more than 0 and at most 1")
    host = request.text("host", max_length=_HOST_CHARS_MAX) if body.get("host") is not None else None
    if host is not None and not host.isprintable():
        raise SettingInvalid("'host' must be a host's name")
    return Fault(
        id=0,
        kind=kind,
        recipient=_address(body, "to"),
        sender=_address(body, "from"),
        host=host.lower().rstrip(".") if host else None,
        code=code,
        delay_s=delay_s,
        remaining=_whole(body, "count", 1, _INT_MAX),
        probability=probability,
        seed=_whole(body, "seed", 0, _INT_MAX) or 0,
        seen=0,
        hits=0,
        created_at=request.at,
    )


def _address(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > 64 or not value.isprintable():
        raise SettingInvalid(f"'{name}' must be a number or a sender's name")
    return split_address(value.strip()).identity


def _require_known(body: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(body.keys() - known)
    if unknown:
        raise SettingInvalid(f"unknown: {', '.join(unknown)[:200]}; known are {', '.join(sorted(known))}")


def _whole(body: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise SettingInvalid(f"'{name}' must be a whole number from {least} to {most}")
    return value


def _number(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    # Compared before it is made a float: JSON writes whole numbers that no float holds.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_NUMBER_MAX <= value <= _NUMBER_MAX:
        raise SettingInvalid(f"'{name}' must be a number")
    return float(value)


def _seconds(body: Mapping[str, Any], name: str) -> float:
    value = _number(body, name)
    if value is None:
        return 0.0
    if not 0 <= value <= _DELAY_S_MAX:
        raise SettingInvalid(f"'{name}' must be from 0 to {_DELAY_S_MAX} seconds")
    return value


def _count(query: Mapping[str, str], name: str, most: int) -> int | None:
    text = query.get(name)
    if text is None or text == "":
        return None
    # 19 digits are the most that a bigint has.
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise InvalidParameter(f"'{name}' must be a whole number")
    return min(int(text), most)


# ---- showing


def _shown_handset(handset: Handset) -> dict[str, Any]:
    return {
        "number": handset.number,
        "outcome": handset.setting.outcome,
        "error_code": handset.setting.error_code,
        "delay_s": handset.setting.delay_s,
        "last_message": _shown_message(handset.last_message) if handset.last_message else None,
    }


def _shown_message(message: HandsetMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "direction": message.direction,
        "sid": message.message_sid,
        "from": message.sender,
        "to": message.recipient,
        "body": message.body,
        "media_urls": list(message.media_urls),
        "encoding": message.encoding,
        "segments": message.segments,
        "at": _shown_time(message.at),
    }


def _shown_fault(fault: Fault) -> dict[str, Any]:
    return {
        "id": fault.id,
        "kind": fault.kind,
        "to": fault.recipient,
        "from": fault.sender,
        "host": fault.host,
        "code": fault.code,
        "delay_s": fault.delay_s,
        "remaining": fault.remaining,
        "probability": fault.probability,
        "seed": fault.seed,
        "hits": fault.hits,
        "created_at": _shown_time(fault.created_at),
    }


def _shown_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
