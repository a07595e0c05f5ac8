"""A template, how it is filled in, and how it is approved.

Theory of operation of an approval. A template is unsubmitted until it is sent to the channel's reviewers; then it is
received, pending while they look at it, and ends approved or rejected with a reason. What the channel's published rules
speak against is turned down here, before anybody is asked.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onterms.ports.message_carrier import Content
from onterms.products.content.errors import InvalidVariables, TypeNotOnChannel

# Twilio docs, Content API: the types of a template.
TYPES = frozenset(
    {
        "twilio/text",
        "twilio/media",
        "twilio/location",
        "twilio/list-picker",
        "twilio/call-to-action",
        "twilio/quick-reply",
        "twilio/card",
        "twilio/catalog",
        "twilio/carousel",
        "twilio/flows",
        "twilio/schedule",
        "whatsapp/card",
        "whatsapp/authentication",
        "whatsapp/flows",
    }
)
# Twilio docs, Content API: variables of one template.
VARIABLES_MAX = 100
CATEGORIES = frozenset({"UTILITY", "MARKETING", "AUTHENTICATION"})
LANGUAGE = re.compile(r"[a-z]{2,3}([_-][A-Za-z]{2,4})?")
TEMPLATE_NAME = re.compile(r"[a-z0-9_]{1,512}")
# From the plainest form to the richest ones, which are alike.
_RANKS = ("twilio/text", "twilio/location", "twilio/media")
# Where the forms of a template have their text.
_TEXTS = ("body", "title", "label")
_PLACE = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,32})\s*\}\}")

# What may follow what: an approval's states.
MOVES: Mapping[str, frozenset[str]] = {
    "unsubmitted": frozenset({"received"}),
    "received": frozenset({"pending"}),
    "pending": frozenset({"approved", "rejected"}),
    "approved": frozenset(),
    "rejected": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Template:
    """A stored template as other rooms fill it in."""

    account_sid: str
    sid: str
    variables: Mapping[str, str]
    types: Mapping[str, Any]
    language: str = ""
    # Under which name and in which category the channel's reviewers approved it; empty where they did not.
    approved_name: str = ""
    approved_category: str = ""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a template says: its text and files, and on a channel the whole of it."""

    body: str
    media_urls: tuple[str, ...]
    content: Content | None = None


def places_in(value: Any) -> set[str]:
    """Return the names of the variables in all texts of a value."""
    if isinstance(value, str):
        return set(_PLACE.findall(value))
    if isinstance(value, Mapping):
        return set().union(*(places_in(each) for each in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(places_in(each) for each in value))
    return set()


def rendered(template: Template, given: Mapping[str, str]) -> Rendered:
    """Fill a template in for SMS or MMS: its media where it has some, else its text.

    Raises: TypeNotOnChannel where it has neither; InvalidVariables naming the variables without a value.
    """
    media, text = template.types.get("twilio/media"), template.types.get("twilio/text")
    # What else a template has cannot be shown there.
    if media is None and text is None:
        kinds = ", ".join(sorted(template.types))
        raise TypeNotOnChannel(f"A template needs twilio/text or twilio/media to be sent by SMS or MMS; it has {kinds}")
    shown: Mapping[str, Any] = media or text or {}
    values = _values(template, given, shown)
    body = _filled(shown.get("body") or (text or {}).get("body") or "", values)
    return Rendered(body, tuple(_filled(url, values) for url in shown.get("media", ())))


def rendered_for_channel(template: Template, given: Mapping[str, str]) -> Rendered:
    """Fill a template in for a channel, in every form that it has.

    Raises: InvalidVariables naming the variables without a value.
    """
    values = _values(template, given, template.types)
    types: dict[str, dict[str, Any]] = _filled(dict(template.types), values)
    richest = types[max(types, key=_richness)]
    places = places_in(template.types)
    shown = Content(
        types=types,
        sid=template.sid,
        language=template.language,
        source={name: dict(fields) for name, fields in template.types.items()},
        values={name: value for name, value in values.items() if name in places},
        template_name=template.approved_name,
        template_category=template.approved_category,
    )
    body = next((str(fields[name]) for fields in (richest, *types.values()) for name in _TEXTS if fields.get(name)), "")
    # The files of a card stay in the card.
    media = types["twilio/media"].get("media") or () if max(types, key=_richness) == "twilio/media" else ()
    return Rendered(body, tuple(media), shown)


def _richness(name: str) -> int:
    return _RANKS.index(name) if name in _RANKS else len(_RANKS)


def _values(template: Template, given: Mapping[str, str], shown: Any) -> dict[str, str]:
    values = {**template.variables, **given}
    missing = sorted(places_in(shown) - values.keys())
    if missing:
        raise InvalidVariables(f"ContentVariables has no value for {', '.join(missing)}")
    return values


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    """Fill the places in all texts of a value in."""
    if isinstance(value, str):
        return _PLACE.sub(lambda match: values[match[1]], value)
    if isinstance(value, Mapping):
        return {name: _filled(each, values) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(each, values) for each in value]
    return value


def verdict(template: Template, name: str, category: str) -> str:
    """Return why a template is turned down by rule, or "" where it is not.

    Source: Meta, message template guidelines: names, samples of variables, variables at the ends.
    """
    if not TEMPLATE_NAME.fullmatch(name):
        return "The name may have small letters, digits and underscores only"
    if category not in CATEGORIES:
        return "The category is none of UTILITY, MARKETING, AUTHENTICATION"
    if (category == "AUTHENTICATION") != ("whatsapp/authentication" in template.types):
        return "Authentication templates, and only they, are of the type whatsapp/authentication"
    for shown in template.types.values():
        body = (shown or {}).get("body", "").strip()
        if _PLACE.match(body) or re.search(_PLACE.pattern + r"$", body):
            return "Variables may not stand at the start or the end of the body"
    without = sorted(
        places_in(list(template.types.values())) - {key for key, value in template.variables.items() if value}
    )
    if without:
        return f"Samples are missing for the variables {', '.join(without)}"
    return ""


def kind_of(types: Mapping[str, Any]) -> str:
    """Return by which type of a template a channel knows it: without the maker's name, as in quick-reply."""
    richest = sorted(types, key=lambda name: (name == "twilio/text", name))
    return richest[0].partition("/")[2]


def matches(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether a template with its approval is one that a filter asks for.

    Shapes: `wanted` may hold since, until, name, content, languages, types, eligibility.
    """
    said = " ".join(_texts(row["types"])).lower()
    status = row.get("status") or "unsubmitted"
    return (
        ("since" not in wanted or row["date_created"] >= wanted["since"])
        and ("until" not in wanted or row["date_created"] <= wanted["until"])
        and ("name" not in wanted or wanted["name"].lower() in row["friendly_name"].lower())
        and ("content" not in wanted or wanted["content"].lower() in said)
        and ("languages" not in wanted or row["language"] in wanted["languages"])
        and ("types" not in wanted or bool(_names(row["types"]) & wanted["types"]))
        and ("eligibility" not in wanted or f"whatsapp:{status}" in wanted["eligibility"])
    )


def _names(types: Mapping[str, Any]) -> set[str]:
    return {*types, *(name.partition("/")[2] for name in types)}


def _texts(value: Any) -> Sequence[str]:
    if isinstance(value, str):
        return [value]
    members = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for member in members for text in _texts(member)]
