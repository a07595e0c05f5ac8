"""What an agent says: texts, files, rich cards and carousels, with suggestions to tap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

# Source of all limits: RCS for Business REST reference v1, AgentContentMessage, CardContent, CarouselCard, Suggestion.
TEXT_CHARS_MAX: Final = 3072
CHIPS_MAX: Final = 11
CARD_SUGGESTIONS_MAX: Final = 4
TITLE_CHARS_MAX: Final = 200
DESCRIPTION_CHARS_MAX: Final = 2000
CARDS_MIN: Final = 2
CARDS_MAX: Final = 10
LABEL_CHARS_MAX: Final = 25
POSTBACK_CHARS_MAX: Final = 2048
URL_CHARS_MAX: Final = 2048
# The whole AgentMessage, stringified.
PAYLOAD_BYTES_MAX: Final = 250 * 1024

Orientation = Literal["VERTICAL", "HORIZONTAL"]
Webview = Literal["", "FULL", "HALF", "TALL"]


class ContentInvalid(ValueError):
    """The platform would not take this; the text says why."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A suggested answer: tapped, it is said as if the user had typed it."""

    text: str
    postback: str


@dataclass(frozen=True, slots=True)
class OpenUrl:
    """Open a web page, in the browser or within the conversation."""

    text: str
    postback: str
    url: str
    webview: Webview = ""


@dataclass(frozen=True, slots=True)
class Dial:
    """Open the dialler with a number."""

    text: str
    postback: str
    phone_number: str


@dataclass(frozen=True, slots=True)
class ViewLocation:
    """Show a place on the map."""

    text: str
    postback: str
    latitude: float
    longitude: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class ShareLocation:
    """Ask for the user's place."""

    text: str
    postback: str


@dataclass(frozen=True, slots=True)
class CreateCalendarEvent:
    """Offer an entry for the user's calendar."""

    text: str
    postback: str
    starts_at: datetime
    ends_at: datetime
    title: str
    description: str = ""


Suggestion = Reply | OpenUrl | Dial | ViewLocation | ShareLocation | CreateCalendarEvent


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class File:
    """A file at a URL that the platform fetches."""

    url: str


@dataclass(frozen=True, slots=True)
class Card:
    """One rich card: a picture or video, words, and suggestions that stay with it."""

    title: str = ""
    description: str = ""
    media_url: str = ""
    suggestions: tuple[Suggestion, ...] = ()
    height: Literal["SHORT", "MEDIUM", "TALL"] = "MEDIUM"


@dataclass(frozen=True, slots=True)
class RichCard:
    """A card alone."""

    card: Card
    orientation: Orientation = "VERTICAL"


@dataclass(frozen=True, slots=True)
class Carousel:
    """Several cards side by side."""

    cards: tuple[Card, ...]


Message = Text | File | RichCard | Carousel


def agent_message(
    message: Message,
    chips: Sequence[Suggestion] = (),
    *,
    ttl_s: int | None = None,
    traffic_type: str = "",
) -> dict[str, Any]:
    """Return the JSON of an AgentMessage.

    Units: `ttl_s` is how long the platform tries; it then revokes the message and says so.
    Raises: ContentInvalid.
    """
    if len(chips) > CHIPS_MAX:
        raise ContentInvalid(f"a message has at most {CHIPS_MAX} suggestions")
    content = _content(message)
    if chips:
        content["suggestions"] = [_suggestion(chip) for chip in chips]
    body: dict[str, Any] = {"contentMessage": content}
    if traffic_type:
        body["messageTrafficType"] = traffic_type
    if ttl_s is not None:
        # protobuf.Duration in JSON: seconds with an s.
        body["ttl"] = f"{ttl_s}s"
    if len(msgspec.json.encode(body)) > PAYLOAD_BYTES_MAX:
        raise ContentInvalid(f"a message has at most {PAYLOAD_BYTES_MAX} bytes")
    return body


def features_needed(body: Mapping[str, Any]) -> frozenset[str]:
    """Return what a handset must be capable of to show an AgentMessage as it is meant.

    Source: REST reference v1, Feature. Suggestions that a handset cannot follow are left out by it, cards are not.
    """
    card = body["contentMessage"].get("richCard", {})
    if "carouselCard" in card:
        return frozenset({"RICHCARD_CAROUSEL"})
    return frozenset({"RICHCARD_STANDALONE"}) if card else frozenset()


def _content(message: Message) -> dict[str, Any]:
    if isinstance(message, Text):
        if not message.text or len(message.text) > TEXT_CHARS_MAX:
            raise ContentInvalid(f"a text has 1 to {TEXT_CHARS_MAX} characters")
        return {"text": message.text}
    if isinstance(message, File):
        return {"contentInfo": _content_info(message.url)}
    if isinstance(message, RichCard):
        standalone: dict[str, Any] = {"cardOrientation": message.orientation, "cardContent": _card(message.card)}
        if message.orientation == "HORIZONTAL":
            standalone["thumbnailImageAlignment"] = "LEFT"
        return {"richCard": {"standaloneCard": standalone}}
    if not CARDS_MIN <= len(message.cards) <= CARDS_MAX:
        raise ContentInvalid(f"a carousel has {CARDS_MIN} to {CARDS_MAX} cards")
    cards = [_card(card) for card in message.cards]
    return {"richCard": {"carouselCard": {"cardWidth": "MEDIUM", "cardContents": cards}}}


def _card(card: Card) -> dict[str, Any]:
    if not card.title and not card.description and not card.media_url:
        raise ContentInvalid("a card has a title, a description or a file")
    if len(card.title) > TITLE_CHARS_MAX or len(card.description) > DESCRIPTION_CHARS_MAX:
        raise ContentInvalid(
            f"a card's title has at most {TITLE_CHARS_MAX} characters, its description {DESCRIPTION_CHARS_MAX}"
        )
    if len(card.suggestions) > CARD_SUGGESTIONS_MAX:
        raise ContentInvalid(f"a card has at most {CARD_SUGGESTIONS_MAX} suggestions")
    shown: dict[str, Any] = {}
    if card.title:
        shown["title"] = card.title
    if card.description:
        shown["description"] = card.description
    if card.media_url:
        shown["media"] = {"height": card.height, "contentInfo": _content_info(card.media_url)}
    if card.suggestions:
        shown["suggestions"] = [_suggestion(each) for each in card.suggestions]
    return shown


def _content_info(url: str) -> dict[str, Any]:
    if not url or len(url) > URL_CHARS_MAX:
        raise ContentInvalid(f"a file's URL has 1 to {URL_CHARS_MAX} characters")
    return {"fileUrl": url}


def _suggestion(suggestion: Suggestion) -> dict[str, Any]:
    if not suggestion.text or len(suggestion.text) > LABEL_CHARS_MAX:
        raise ContentInvalid(f"a suggestion's text has 1 to {LABEL_CHARS_MAX} characters")
    if not suggestion.postback or len(suggestion.postback) > POSTBACK_CHARS_MAX:
        raise ContentInvalid(f"a suggestion's payload has 1 to {POSTBACK_CHARS_MAX} characters")
    shown: dict[str, Any] = {"text": suggestion.text, "postbackData": suggestion.postback}
    if isinstance(suggestion, Reply):
        return {"reply": shown}
    return {"action": shown | _action(suggestion)}


def _action(action: OpenUrl | Dial | ViewLocation | ShareLocation | CreateCalendarEvent) -> dict[str, Any]:
    if isinstance(action, OpenUrl):
        if not action.url or len(action.url) > URL_CHARS_MAX:
            raise ContentInvalid(f"a suggestion's URL has 1 to {URL_CHARS_MAX} characters")
        where = {"application": "WEBVIEW", "webviewViewMode": action.webview} if action.webview else {}
        return {"openUrlAction": {"url": action.url, **where}}
    if isinstance(action, Dial):
        return {"dialAction": {"phoneNumber": action.phone_number}}
    if isinstance(action, ViewLocation):
        place: dict[str, Any] = {"latLong": {"latitude": action.latitude, "longitude": action.longitude}}
        if action.label:
            place["label"] = action.label
        return {"viewLocationAction": place}
    if isinstance(action, ShareLocation):
        return {"shareLocationAction": {}}
    return {
        "createCalendarEventAction": {
            "startTime": timestamp(action.starts_at),
            "endTime": timestamp(action.ends_at),
            "title": action.title,
            "description": action.description,
        }
    }


def timestamp(at: datetime) -> str:
    """Write a time as protobuf's JSON has it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
