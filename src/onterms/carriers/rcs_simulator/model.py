"""What the platform takes, and how a handset behaves that nobody set.

The shapes are written from the reference of the platform and not from what our carrier sends, so that a mistake in one
shows at the other.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

# Source: REST reference v1, Feature.
FEATURES: Final = (
    "RICHCARD_STANDALONE",
    "RICHCARD_CAROUSEL",
    "ACTION_CREATE_CALENDAR_EVENT",
    "ACTION_DIAL",
    "ACTION_OPEN_URL",
    "ACTION_SHARE_LOCATION",
    "ACTION_VIEW_LOCATION",
    "ACTION_OPEN_URL_IN_WEBVIEW",
)
# Ours, documented in docs/rcs.md: what numbers do that nobody set.
NO_RCS_DIGIT: Final = "9"
SWITCHED_OFF_DIGIT: Final = "8"


@dataclass(frozen=True, slots=True)
class RcsHandset:
    """How a handset treats RCS; `reads` is whether its user reads what arrives at once."""

    number: str
    has_rcs: bool
    is_on: bool
    reads: bool
    features: tuple[str, ...]


def as_new(number: str) -> RcsHandset:
    """Return how a handset behaves that nobody set."""
    return RcsHandset(number, number[-1:] != NO_RCS_DIGIT, number[-1:] != SWITCHED_OFF_DIGIT, False, FEATURES)


class _Strict(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """The platform refuses what it does not know."""


_Label = Annotated[str, Meta(min_length=1, max_length=25)]
_Postback = Annotated[str, Meta(min_length=1, max_length=2048)]
_Url = Annotated[str, Meta(pattern=r"^https?://", max_length=2048)]


class _OpenUrl(_Strict):
    url: _Url
    application: str = ""
    webview_view_mode: str = ""
    description: str = ""


class _Dial(_Strict):
    phone_number: Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$")]


class _LatLong(_Strict):
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]


class _ViewLocation(_Strict):
    lat_long: _LatLong | UnsetType = UNSET
    label: str = ""
    query: str = ""


class _ShareLocation(_Strict):
    pass


class _Calendar(_Strict):
    start_time: datetime
    end_time: datetime
    title: Annotated[str, Meta(max_length=100)]
    description: Annotated[str, Meta(max_length=500)] = ""


class _Action(_Strict):
    text: _Label
    postback_data: _Postback
    fallback_url: str = ""
    open_url_action: _OpenUrl | UnsetType = UNSET
    dial_action: _Dial | UnsetType = UNSET
    view_location_action: _ViewLocation | UnsetType = UNSET
    share_location_action: _ShareLocation | UnsetType = UNSET
    create_calendar_event_action: _Calendar | UnsetType = UNSET

    def __post_init__(self) -> None:
        _one_of(self, "open_url_action", "dial_action", "view_location_action", "share_location_action",
                "create_calendar_event_action")  # fmt: skip


class _Reply(_Strict):
    text: _Label
    postback_data: _Postback


class _Suggestion(_Strict):
    reply: _Reply | UnsetType = UNSET
    action: _Action | UnsetType = UNSET

    def __post_init__(self) -> None:
        _one_of(self, "reply", "action")


class _ContentInfo(_Strict):
    file_url: _Url
    thumbnail_url: str = ""
    force_refresh: bool = False


class _Media(_Strict):
    height: str
    content_info: _ContentInfo

    def __post_init__(self) -> None:
        if self.height not in ("SHORT", "MEDIUM", "TALL"):
            raise ValueError("a card's media has a height")


class _Card(_Strict):
    title: Annotated[str, Meta(max_length=200)] = ""
    description: Annotated[str, Meta(max_length=2000)] = ""
    media: _Media | UnsetType = UNSET
    suggestions: Annotated[list[_Suggestion], Meta(max_length=4)] = []

    def __post_init__(self) -> None:
        if not self.title and not self.description and self.media is UNSET:
            raise ValueError("a card has a title, a description or media")


class _Standalone(_Strict):
    card_orientation: str
    card_content: _Card
    thumbnail_image_alignment: str = ""

    def __post_init__(self) -> None:
        if self.card_orientation not in ("VERTICAL", "HORIZONTAL"):
            raise ValueError("a card has an orientation")


class _Carousel(_Strict):
    card_width: str
    card_contents: Annotated[list[_Card], Meta(min_length=2, max_length=10)]


class _RichCard(_Strict):
    standalone_card: _Standalone | UnsetType = UNSET
    carousel_card: _Carousel | UnsetType = UNSET

    def __post_init__(self) -> None:
        _one_of(self, "standalone_card", "carousel_card")


class _Content(_Strict):
    text: Annotated[str, Meta(min_length=1, max_length=3072)] | UnsetType = UNSET
    content_info: _ContentInfo | UnsetType = UNSET
    rich_card: _RichCard | UnsetType = UNSET
    suggestions: Annotated[list[_Suggestion], Meta(max_length=11)] = []

    def __post_init__(self) -> None:
        _one_of(self, "text", "content_info", "rich_card")


class AgentMessage(_Strict):
    """What an agent sends."""

    content_message: _Content
    message_traffic_type: str = ""
    ttl: Annotated[str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?s$")] | UnsetType = UNSET
    expire_time: datetime | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.ttl is not UNSET and self.expire_time is not UNSET:
            raise ValueError("a message has ttl or expireTime")


class AgentEvent(_Strict):
    """What an agent does without words."""

    event_type: str
    message_id: str = ""

    def __post_init__(self) -> None:
        if self.event_type not in ("READ", "IS_TYPING"):
            raise ValueError("an agent's event is READ or IS_TYPING")


def _one_of(shape: Any, *names: str) -> None:
    if sum(getattr(shape, name) is not UNSET for name in names) != 1:
        raise ValueError(f"exactly one of {', '.join(names)}")


def suggestions_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return everything that can be tapped on a message, chips last."""
    content = body["contentMessage"]
    card = content.get("richCard", {})
    cards = [card["standaloneCard"]["cardContent"]] if "standaloneCard" in card else []
    cards += card.get("carouselCard", {}).get("cardContents", [])
    shown = [each for one in cards for each in one.get("suggestions", [])]
    return shown + list(content.get("suggestions", []))


def spoken(body: dict[str, Any]) -> str:
    """Return what a message says in words, for who reads along."""
    content = body["contentMessage"]
    if "text" in content:
        return str(content["text"])
    card = content.get("richCard", {})
    cards = [card["standaloneCard"]["cardContent"]] if "standaloneCard" in card else []
    cards += card.get("carouselCard", {}).get("cardContents", [])
    return "\n".join(text for one in cards for text in (one.get("title"), one.get("description")) if text)
