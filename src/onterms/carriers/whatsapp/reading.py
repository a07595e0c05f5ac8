"""What Meta's webhook says: read from untrusted JSON into what the rest understands. Pure.

Source: Meta docs, "messages webhook reference". What is not as it should be is left out, one piece at a time, so that
one strange message does not keep the others away.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from onterms.ports.message_carrier import InboundDetails

MEDIA_KINDS: Final = frozenset({"image", "audio", "video", "document", "sticker"})
# What tells of a chat rather than says something in it; Twilio brings none of these as messages.
_UNSPOKEN: Final = frozenset({"reaction", "system", "request_welcome", "ephemeral"})
_TEXT_MAX: Final = 4096
_ID_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a message."""

    waba_id: str
    phone_number_id: str
    wamid: str
    opaque: str
    status: str
    at: datetime
    error: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message from a person; `media` is (id, content type) of its file."""

    waba_id: str
    phone_number_id: str
    wamid: str
    sender: str
    body: str
    at: datetime
    details: InboundDetails
    media: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """A number's rating or limit changed."""

    waba_id: str
    number: str
    event: str
    limit: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reviewers said of a template."""

    waba_id: str
    template_id: str
    name: str
    language: str
    event: str
    reason: str


@dataclass(slots=True)
class News:
    """Everything that one call brought."""

    statuses: list[Status] = field(default_factory=list)
    inbound: list[Inbound] = field(default_factory=list)
    quality: list[Quality] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


def accounts_in(body: Mapping[str, Any]) -> list[str]:
    """Return the business accounts that a call is about, in order."""
    if body.get("object") != "whatsapp_business_account":
        return []
    return list(dict.fromkeys(_id(entry.get("id")) for entry in _maps(body.get("entry"))))


def read(body: Mapping[str, Any], at: datetime) -> News:
    """Read a call whose signature was checked."""
    news = News()
    for entry in _maps(body.get("entry")):
        waba_id = _id(entry.get("id"))
        for change in _maps(entry.get("changes")):
            value = _map(change.get("value"))
            kind = change.get("field")
            if kind == "messages":
                _read_messages(news, waba_id, value, at)
            elif kind == "phone_number_quality_update":
                number = _text(value.get("display_phone_number"))
                limit = _text(value.get("current_limit") or value.get("max_daily_conversations_per_business"))
                news.quality.append(Quality(waba_id, _digits(number), _text(value.get("event")), limit))
            elif kind == "message_template_status_update":
                news.verdicts.append(
                    Verdict(
                        waba_id,
                        _id(value.get("message_template_id")),
                        _text(value.get("message_template_name")),
                        _text(value.get("message_template_language")),
                        _text(value.get("event")),
                        _text(value.get("reason")),
                    )
                )
    return news


def _read_messages(news: News, waba_id: str, value: Mapping[str, Any], at: datetime) -> None:
    phone_number_id = _id(_map(value.get("metadata")).get("phone_number_id"))
    if not phone_number_id:
        return
    for each in _maps(value.get("statuses")):
        wamid, status = _id(each.get("id")), each.get("status")
        if not wamid or not isinstance(status, str):
            continue
        error = next(iter(_maps(each.get("errors"))), {})
        code = error.get("code")
        reason = _text(_map(error.get("error_data")).get("details") or error.get("title") or error.get("message"))
        news.statuses.append(
            Status(
                waba_id,
                phone_number_id,
                wamid,
                _id(each.get("biz_opaque_callback_data")),
                status,
                _moment(each.get("timestamp"), at),
                code if isinstance(code, int) and not isinstance(code, bool) else 0,
                reason,
            )
        )
    names = {
        _digits(_text(contact.get("wa_id"))): _text(_map(contact.get("profile")).get("name"))
        for contact in _maps(value.get("contacts"))
    }
    for each in _maps(value.get("messages")):
        message = _inbound(each, waba_id, phone_number_id, names, at)
        if message is not None:
            news.inbound.append(message)


def _inbound(
    each: Mapping[str, Any], waba_id: str, phone_number_id: str, names: Mapping[str, str], at: datetime
) -> Inbound | None:
    wamid, sender, kind = _id(each.get("id")), _digits(_text(each.get("from"))), each.get("type")
    if not wamid or not 7 <= len(sender) <= 15 or not isinstance(kind, str) or kind in _UNSPOKEN:
        return None
    context = _map(each.get("context"))
    replied_sender = _digits(_text(context.get("from")))
    details: dict[str, Any] = {
        "kind": kind,
        "profile_name": names.get(sender, ""),
        "user_id": sender,
        "is_forwarded": context.get("forwarded") is True,
        "is_frequently_forwarded": context.get("frequently_forwarded") is True,
        "replied_id": _id(context.get("id")),
        "replied_sender": f"whatsapp:+{replied_sender}" if replied_sender else "",
        "referral": _referral(_map(each.get("referral"))),
    }
    shown = _map(each.get(kind))
    body, media = "", None
    if kind == "text":
        body = _text(shown.get("body"))
    elif kind in MEDIA_KINDS:
        body = _text(shown.get("caption"))
        if _id(shown.get("id")):
            media = (_id(shown["id"]), _text(shown.get("mime_type")))
    elif kind == "button":
        body = _text(shown.get("text"))
        details |= {"button_text": body, "button_payload": _text(shown.get("payload"))}
    elif kind == "interactive":
        body = _read_interactive(shown, details)
    elif kind == "location":
        details |= {
            "latitude": _number(shown.get("latitude")),
            "longitude": _number(shown.get("longitude")),
            "label": _text(shown.get("name")),
            "address": _text(shown.get("address")),
        }
        body = details["label"]
    elif kind in ("contacts", "order"):
        found = each.get(kind)
        if isinstance(found, list | dict) and len(msgspec.json.encode(found)) <= 32_768:
            details["data"] = {kind: found}
    return Inbound(
        waba_id,
        phone_number_id,
        wamid,
        f"whatsapp:+{sender}",
        body,
        _moment(each.get("timestamp"), at),
        InboundDetails(**details),
        media,
    )


def _read_interactive(shown: Mapping[str, Any], details: dict[str, Any]) -> str:
    kind = shown.get("type")
    answer = _map(shown.get(kind)) if isinstance(kind, str) else {}
    title = _text(answer.get("title"))
    if kind == "button_reply":
        details |= {"button_text": title, "button_payload": _text(answer.get("id"))}
        return title
    if kind == "list_reply":
        details |= {
            "list_id": _text(answer.get("id")),
            "list_title": title,
            "list_description": _text(answer.get("description")),
        }
        return title
    if kind == "nfm_reply":
        details["data"] = {"interactive": {"response_json": _text(answer.get("response_json"))}}
        return _text(answer.get("body"))
    return ""


def _referral(given: Mapping[str, Any]) -> dict[str, str]:
    names = ("source_url", "source_id", "source_type", "headline", "body", "ctwa_clid")
    return {name: text for name in names if (text := _text(given.get(name)))}


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _maps(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, dict))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    # Neither PostgreSQL nor UTF-8 takes what JSON can write.
    return value[:_TEXT_MAX].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _id(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**32 else ""
    text = _text(value)
    return text if len(text) <= _ID_MAX and text.isprintable() else ""


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter in "0123456789")


def _number(value: Any) -> str:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else _text(value)[:32]


def _moment(value: Any, at: datetime) -> datetime:
    """Read a status's time, in seconds since 1970; what cannot be read is now."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) <= 11):
        return at
    try:
        return min(datetime.fromtimestamp(int(text), UTC), at)
    except (OverflowError, ValueError, OSError):
        return at
