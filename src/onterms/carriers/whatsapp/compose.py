"""From a message to what the Cloud API takes: pure.

Source: Meta docs, "Send messages", "Interactive messages", "Template messages"; Twilio docs, content types.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from onterms.carriers.whatsapp.codes import INVALID_CONTENT, NOT_SHOWN, UNSUPPORTED
from onterms.core.e164 import split_address
from onterms.ports.message_carrier import Content, OutboundMessage, Refused

# Meta docs: characters of a text, of interactive bodies, headers, footers, titles; counts of buttons and rows.
TEXT_MAX: Final = 4096
BODY_MAX: Final = 1024
FOOTER_MAX: Final = 60
BUTTON_TITLE_MAX: Final = 20
ROW_TITLE_MAX: Final = 24
ROW_DESCRIPTION_MAX: Final = 72
ID_MAX: Final = 256
ROW_ID_MAX: Final = 200
BUTTONS_MAX: Final = 3
ROWS_MAX: Final = 10
CAPTION_MAX: Final = 1024
_PLACE = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,32})\s*\}\}")

# Meta docs, "Supported media types"; what is none of them goes as a document.
_IMAGES: Final = frozenset({"image/jpeg", "image/png"})
_VIDEOS: Final = frozenset({"video/mp4", "video/3gpp"})
_AUDIO: Final = frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"})
_STICKERS: Final = frozenset({"image/webp"})
# Units: bytes.
SIZES: Final[Mapping[str, int]] = {
    "image": 5 * 1024 * 1024,
    "video": 16 * 1024 * 1024,
    "audio": 16 * 1024 * 1024,
    "sticker": 500 * 1024,
    "document": 100 * 1024 * 1024,
}
_EXTENSIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "gif", "webp"), "image"),
    **dict.fromkeys(("mp4", "3gp", "3gpp"), "video"),
}


class Unshowable(Exception):
    """A message cannot be shown; `code` is what the customer sees."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def kind_of(content_type: str) -> str:
    """Return as what a file is sent: image, video, audio, sticker or document."""
    plain = content_type.partition(";")[0].strip().lower()
    for kind, types in (("image", _IMAGES), ("video", _VIDEOS), ("audio", _AUDIO), ("sticker", _STICKERS)):
        if plain in types:
            return kind
    return "document"


def is_template(message: OutboundMessage) -> bool:
    """Tell whether a message goes as an approved template, which needs no open window."""
    return message.content is not None and bool(message.content.template_name)


def payload(message: OutboundMessage, media: tuple[str, Mapping[str, str]] | None = None) -> dict[str, Any] | Refused:
    """Make the body of POST /{phone_number_id}/messages; refuse what WhatsApp does not show.

    Shapes: `media` is the kind of the message's one file and how it is found: {"id": ...} or {"link": ...}.
    """
    try:
        kind, shown = _shown(message, media)
    except Unshowable as error:
        return Refused(error.code, error.reason)
    except (KeyError, TypeError, AttributeError, ValueError):
        # A template is stored as its maker wrote it, and may lack what its type needs.
        return Refused(INVALID_CONTENT, "the content lacks what its type needs")
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": split_address(message.recipient).identity.lstrip("+"),
        "type": kind,
        kind: shown,
        # It comes back in each status, also in one that overtakes the answer, or whose answer we never got.
        "biz_opaque_callback_data": message.sid,
    }


def _shown(message: OutboundMessage, media: tuple[str, Mapping[str, str]] | None) -> tuple[str, dict[str, Any]]:
    content = message.content
    if content is not None and content.template_name:
        return "template", _template(content)
    if content is not None:
        found = _interactive(content)
        if found is not None:
            return found
    if len(message.media_urls) > 1:
        raise Unshowable(UNSUPPORTED, "a WhatsApp message has one file at most")
    if media is not None:
        kind, where = media
        shown: dict[str, Any] = dict(where)
        if message.body and kind in ("image", "video", "document"):
            shown["caption"] = _cut(message.body, CAPTION_MAX, "the text beside a file")
        return kind, shown
    if not message.body:
        raise Unshowable(NOT_SHOWN, "WhatsApp shows none of the content's types")
    return "text", {"body": _cut(message.body, TEXT_MAX, "the text"), "preview_url": "://" in message.body}


def _cut(text: str, most: int, name: str) -> str:
    if len(text) > most:
        raise Unshowable(INVALID_CONTENT, f"{name} is longer than {most} characters")
    return text


# ---- freeform


def _interactive(content: Content) -> tuple[str, dict[str, Any]] | None:
    """Return the richest form that needs no template; None where plain text or a file does."""
    types = content.types
    for name in ("whatsapp/card", "twilio/card"):
        if name in types:
            return "interactive", _card(types[name])
    if "twilio/list-picker" in types:
        return "interactive", _list(types["twilio/list-picker"])
    if "twilio/quick-reply" in types:
        shown = types["twilio/quick-reply"]
        return "interactive", {
            "type": "button",
            "body": {"text": _cut(shown["body"], BODY_MAX, "the body")},
            "action": {"buttons": _reply_buttons(shown["actions"])},
        }
    if "twilio/call-to-action" in types:
        shown = types["twilio/call-to-action"]
        return "interactive", _link(shown["body"], shown["actions"])
    if "twilio/location" in types:
        place = types["twilio/location"]
        location = {"latitude": str(place["latitude"]), "longitude": str(place["longitude"])}
        named = {"name": place.get("label"), "address": place.get("address")}
        return "location", location | {name: text for name, text in named.items() if text}
    return None


def _reply_buttons(actions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if not 1 <= len(actions) <= BUTTONS_MAX:
        raise Unshowable(INVALID_CONTENT, f"outside a template there are 1 to {BUTTONS_MAX} buttons")
    return [
        {
            "type": "reply",
            "reply": {
                "id": _cut(action.get("id") or action["title"], ID_MAX, "a button's id"),
                "title": _cut(action["title"], BUTTON_TITLE_MAX, "a button's title"),
            },
        }
        for action in actions
    ]


def _list(shown: Mapping[str, Any]) -> dict[str, Any]:
    if not 1 <= len(shown["items"]) <= ROWS_MAX:
        raise Unshowable(INVALID_CONTENT, f"a list has 1 to {ROWS_MAX} items")
    rows: list[dict[str, Any]] = []
    for item in shown["items"]:
        row = {
            "id": _cut(item["id"], ROW_ID_MAX, "an item's id"),
            "title": _cut(item["item"], ROW_TITLE_MAX, "an item's title"),
        }
        if item.get("description"):
            row["description"] = _cut(item["description"], ROW_DESCRIPTION_MAX, "an item's description")
        rows.append(row)
    return {
        "type": "list",
        "body": {"text": _cut(shown["body"], BODY_MAX, "the body")},
        "action": {
            "button": _cut(shown["button"], BUTTON_TITLE_MAX, "the list's button"),
            # One section alone needs no title.
            "sections": [{"rows": rows}],
        },
    }


def _link(body: str, actions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    links = [action for action in actions if action.get("type") == "URL"]
    if len(actions) != 1 or len(links) != 1:
        raise Unshowable(NOT_SHOWN, "outside a template a call to action is one link")
    return {
        "type": "cta_url",
        "body": {"text": _cut(body, BODY_MAX, "the body")},
        "action": {
            "name": "cta_url",
            "parameters": {
                "display_text": _cut(links[0]["title"], BUTTON_TITLE_MAX, "a button's title"),
                "url": links[0]["url"],
            },
        },
    }


def _card(shown: Mapping[str, Any]) -> dict[str, Any]:
    actions = shown.get("actions") or []
    text = shown.get("body") or shown.get("title") or ""
    if actions and all(action.get("type") == "QUICK_REPLY" for action in actions):
        card: dict[str, Any] = {
            "type": "button",
            "body": {"text": _cut(text, BODY_MAX, "the body")},
            "action": {"buttons": _reply_buttons(actions)},
        }
    else:
        card = _link(text, actions)
    footer = shown.get("footer") or shown.get("subtitle")
    if footer:
        card["footer"] = {"text": _cut(footer, FOOTER_MAX, "the footer")}
    header = _header(shown)
    if header is not None:
        card["header"] = header
    return card


def _header(shown: Mapping[str, Any]) -> dict[str, Any] | None:
    media = shown.get("media") or []
    urls = [media] if isinstance(media, str) else list(media)
    if urls:
        kind = kind_of_url(urls[0])
        return {"type": kind, kind: {"link": urls[0]}}
    if shown.get("header_text"):
        return {"type": "text", "text": _cut(shown["header_text"], FOOTER_MAX, "the header")}
    return None


def kind_of_url(url: str) -> str:
    """Return as what a file is shown whose address is all that is known."""
    path = url.partition("?")[0].partition("#")[0]
    return _EXTENSIONS.get(path.rpartition(".")[2].lower(), "document")


# ---- templates


def upstream_name(name: str, content_sid: str) -> str:
    """Return under which name reviewers know a template: two customers may choose the same in one account."""
    # Meta docs: 512 characters.
    return f"{name[:470]}_{content_sid.lower()}"


def content_of(name: str) -> str:
    """Return which template has an upstream name, or nothing."""
    sid = name.rpartition("_")[2]
    return f"HX{sid[2:]}" if len(sid) == 34 and sid.startswith("hx") else ""


def form_of(types: Mapping[str, Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
    """Return the form of a template that WhatsApp's reviewers get: the richest."""
    for name in (
        *("whatsapp/authentication", "whatsapp/card", "twilio/carousel", "twilio/card", "twilio/call-to-action"),
        *("twilio/quick-reply", "twilio/media", "twilio/text"),
    ):
        if name in types:
            return name, types[name]
    raise Unshowable(NOT_SHOWN, "WhatsApp has no templates of these types")


def _template(content: Content) -> dict[str, Any]:
    name, source = form_of(content.source)
    values = content.values
    components: list[dict[str, Any]] = []
    if name == "whatsapp/authentication":
        code = values.get("1", next(iter(values.values()), ""))
        components = [
            {"type": "body", "parameters": [_text(code)]},
            {"type": "button", "sub_type": "url", "index": "0", "parameters": [_text(code)]},
        ]
    elif name == "twilio/carousel":
        components = _body(source.get("body", ""), values)
        cards = [
            {"card_index": index, "components": _card_components(card, filled, values)}
            for index, (card, filled) in enumerate(zip(source["cards"], content.types[name]["cards"], strict=True))
        ]
        components.append({"type": "carousel", "cards": cards})
    else:
        filled = content.types[name]
        components = _card_components(source, filled, values)
    template: dict[str, Any] = {
        "name": upstream_name(content.template_name, content.sid),
        "language": {"code": content.language},
    }
    if components:
        template["components"] = components
    return template


def _card_components(
    source: Mapping[str, Any], filled: Mapping[str, Any], values: Mapping[str, str]
) -> list[dict[str, Any]]:
    components: list[dict[str, Any]] = []
    header = _header(filled)
    if header is not None and header["type"] != "text":
        components.append({"type": "header", "parameters": [header]})
    elif header is not None:
        places = _texts(source["header_text"], values)
        if places:
            components.append({"type": "header", "parameters": places})
    components += _body(text_of(source), values)
    actions = zip(source.get("actions") or (), filled.get("actions") or (), strict=True)
    for index, (action, shown) in enumerate(actions):
        button = _button(action, shown, values)
        if button is not None:
            components.append({"type": "button", "index": str(index), **button})
    return components


def text_of(source: Mapping[str, Any]) -> str:
    """Return the body of a form of a template; a card's title and subtitle are its body."""
    if source.get("body"):
        return str(source["body"])
    return str(source.get("title") or "")


def _button(action: Mapping[str, Any], shown: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any] | None:
    kind = action.get("type") or "QUICK_REPLY"
    if kind == "QUICK_REPLY":
        return {"sub_type": "quick_reply", "parameters": [{"type": "payload", "payload": shown.get("id") or ""}]}
    if kind == "URL":
        places = _PLACE.findall(action.get("url", ""))
        # Meta docs: a link has one variable, at its end, and the parameter is what stands there.
        return {"sub_type": "url", "parameters": [_text(values[places[0]])]} if places else None
    if kind == "COPY_CODE":
        return {"sub_type": "copy_code", "parameters": [{"type": "coupon_code", "coupon_code": shown["code"]}]}
    return None


def _body(text: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
    places = _texts(text, values)
    return [{"type": "body", "parameters": places}] if places else []


def _texts(text: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [_text(values[name]) for name in places_of(text)]


def places_of(text: str) -> list[str]:
    """Return the names of a text's places in the order in which WhatsApp numbers them."""
    names = list(dict.fromkeys(_PLACE.findall(text)))
    return sorted(names, key=int) if all(name.isdigit() for name in names) else names


def _text(value: str) -> dict[str, Any]:
    # Meta docs: a parameter has no line breaks, tabs, or more than four blanks in a row.
    return {"type": "text", "text": re.sub(r"[\r\n\t]+| {5,}", " ", value)}
