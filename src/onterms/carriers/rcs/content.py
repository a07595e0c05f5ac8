"""From what a customer sends to what RCS shows: texts, files and the Content API's types.

Source: Twilio docs, Content API pages of each type, "Channel-specific information, RCS": a card without title and files
is a text with chips; a title that is too long joins the description, and so does the subtitle; a carousel's body is
left out.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from onterms.protocols import rbm
from onterms.protocols.rbm.content import LABEL_CHARS_MAX, TITLE_CHARS_MAX

# The types that RCS can show, richest first: of a template with several, the first of these is sent.
TYPES: Final = (
    "twilio/carousel",
    "twilio/card",
    "twilio/schedule",
    "twilio/location",
    "twilio/quick-reply",
    "twilio/call-to-action",
    "twilio/media",
    "twilio/text",
)
# Google, RBM guides: calendar entries need an end. Ours, where a template names none.
_EVENT_LENGTH: Final = timedelta(hours=1)
_WEBVIEWS: Final[Mapping[str, rbm.content.Webview]] = {"FULL": "FULL", "TALL": "TALL", "HALF": "HALF"}


def message_of(
    body: str, media_urls: Sequence[str], types: Mapping[str, Mapping[str, Any]]
) -> tuple[rbm.Message, list[rbm.Suggestion]]:
    """Return the message with its chips.

    Shapes: `types` maps types of the Content API to their fields, filled in; without any it is text and files.
    Raises: ContentInvalid where RCS cannot say it.
    """
    kind = next((name for name in TYPES if name in types), "")
    if not kind and types and not body and not media_urls:
        raise rbm.ContentInvalid(f"{', '.join(sorted(types))[:128]} is not shown by RCS")
    if kind in ("", "twilio/text", "twilio/media"):
        return _plain(body, media_urls), []
    fields = types[kind]
    if kind in ("twilio/quick-reply", "twilio/call-to-action"):
        return rbm.Text(_text(fields, "body")), _suggestions(fields)
    if kind == "twilio/card":
        return _card_message(fields)
    if kind == "twilio/carousel":
        cards = tuple(_card(each, _first_file(each)) for each in _list(fields, "cards"))
        return rbm.Carousel(cards), []
    if kind == "twilio/location":
        return _location(fields)
    return _schedule(fields)


def _plain(body: str, media_urls: Sequence[str]) -> rbm.Message:
    if not media_urls:
        return rbm.Text(body)
    if len(media_urls) > 1:
        # One message holds one file, and side by side they stay one message.
        first, *others = media_urls
        return rbm.Carousel((rbm.Card(description=body, media_url=first), *(rbm.Card(media_url=url) for url in others)))
    if not body:
        return rbm.File(media_urls[0])
    return rbm.RichCard(rbm.Card(description=body, media_url=media_urls[0]))


def _card_message(fields: Mapping[str, Any]) -> tuple[rbm.Message, list[rbm.Suggestion]]:
    files = [url for url in _list(fields, "media") if isinstance(url, str) and url]
    title = _text(fields, "title")
    if not files and (not title or not _text(fields, "body")):
        # Twilio docs, twilio/card, "Chip list versus rich card".
        return rbm.Text(_text(fields, "body") or _joined(title, _text(fields, "subtitle"))), _suggestions(fields)
    card = _card(fields, files[0] if files else "")
    orientation: rbm.content.Orientation = (
        "HORIZONTAL" if _text(fields, "orientation").upper() == "HORIZONTAL" else "VERTICAL"
    )
    return rbm.RichCard(card, orientation), []


def _card(fields: Mapping[str, Any], file: str) -> rbm.Card:
    title, description = _text(fields, "title"), _joined(_text(fields, "body"), _text(fields, "subtitle"))
    if len(title) > TITLE_CHARS_MAX:
        title, description = "", _joined(title, description)
    return rbm.Card(title, description, file, tuple(_suggestions(fields)))


def _first_file(fields: Mapping[str, Any]) -> str:
    media = fields.get("media") or ""
    if isinstance(media, list):
        media = media[0] if media else ""
    return media if isinstance(media, str) else ""


def _location(fields: Mapping[str, Any]) -> tuple[rbm.Message, list[rbm.Suggestion]]:
    try:
        latitude, longitude = float(fields["latitude"]), float(fields["longitude"])
    except (KeyError, TypeError, ValueError):
        raise rbm.ContentInvalid("a location has a latitude and a longitude") from None
    if not -90 <= latitude <= 90 or not -180 <= longitude <= 180:
        raise rbm.ContentInvalid("a location has a latitude and a longitude of this earth")
    label = _text(fields, "label") or f"{latitude}, {longitude}"
    text = _joined(label, _text(fields, "address"))
    payload = _text(fields, "id") or label
    return rbm.Text(text), [rbm.ViewLocation(label[:LABEL_CHARS_MAX], payload, latitude, longitude, label)]


def _schedule(fields: Mapping[str, Any]) -> tuple[rbm.Message, list[rbm.Suggestion]]:
    """Offer each of a schedule's times for the calendar."""
    title = _text(fields, "title")
    chips: list[rbm.Suggestion] = []
    for slot in _slots(fields):
        starts_at = _moment(slot, "startTime", "start_time")
        if starts_at is None:
            raise rbm.ContentInvalid("a schedule's time has a start")
        lasts = slot.get("duration")
        length = timedelta(seconds=lasts) if isinstance(lasts, int) and 0 < lasts <= 7 * 86_400 else _EVENT_LENGTH
        ends_at = _moment(slot, "endTime", "end_time") or starts_at + length
        if ends_at <= starts_at:
            raise rbm.ContentInvalid("a schedule's time ends after it starts")
        label = _text(slot, "name") or f"{starts_at:%d %b %H:%M}"
        payload = _text(slot, "id") or _text(slot, "identifier") or label
        chips.append(rbm.CreateCalendarEvent(label, payload, starts_at, ends_at, title))
    if not chips:
        raise rbm.ContentInvalid("a schedule has times")
    return rbm.Text(_joined(title, _text(fields, "body"))), chips


def _slots(fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = fields.get("timeSlots")
    if isinstance(given, str):
        # The Content API has the times as a text, which a variable can bring; as JSON, for it says no other form.
        try:
            given = msgspec.json.decode(given)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            raise rbm.ContentInvalid("a schedule's timeSlots are a JSON array") from None
    if not isinstance(given, list) or not all(isinstance(slot, dict) for slot in given):
        raise rbm.ContentInvalid("a schedule's timeSlots are a JSON array of objects")
    return given


def _moment(fields: Mapping[str, Any], *names: str) -> datetime | None:
    for name in names:
        if fields.get(name):
            try:
                at = msgspec.convert(fields[name], datetime)
            except msgspec.ValidationError:
                raise rbm.ContentInvalid(f"{name} is no time") from None
            if at.tzinfo is None:
                raise rbm.ContentInvalid(f"{name} has no time zone")
            return at
    return None


def _suggestions(fields: Mapping[str, Any]) -> list[rbm.Suggestion]:
    return [_suggestion(action) for action in _list(fields, "actions")]


def _suggestion(action: Mapping[str, Any]) -> rbm.Suggestion:
    kind, title = _text(action, "type").upper(), _text(action, "title")
    # Twilio changelog, 14 July 2025: what is given as id comes back as ButtonPayload, as it is.
    payload = _text(action, "id") or title
    if kind in ("", "QUICK_REPLY"):
        return rbm.Reply(title, payload)
    if kind == "URL":
        size = _text(action, "webview_size") or _text(action, "webviewSize")
        return rbm.OpenUrl(title, payload, _text(action, "url"), _WEBVIEWS.get(size.upper(), ""))
    if kind in ("PHONE_NUMBER", "VOICE_CALL"):
        phone = _text(action, "phone")
        if not phone:
            raise rbm.ContentInvalid("a button that dials has a number")
        return rbm.Dial(title, payload, phone)
    raise rbm.ContentInvalid(f"a button of the type {kind[:32]} is not shown by RCS")


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    return list(value) if isinstance(value, list | tuple) else []


def _joined(*texts: str) -> str:
    return "\n".join(text for text in texts if text)
