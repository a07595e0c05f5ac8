"""Numbers, their settings and how they are searched: pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from onterms.products.numbers.errors import (
    InvalidAreaCode,
    InvalidCallback,
    InvalidPattern,
    InvalidUrl,
    SmsFallbackAlone,
    VoiceFallbackAlone,
)

# Short codes are given by the operator and are in no stock.
Kind = Literal["local", "mobile", "tollfree", "shortcode"]

# Area codes, rate centers and LATAs belong to the North American plan, of which two countries are sold.
NORTH_AMERICA: Final = frozenset({"US", "CA"})

# Measured by users of the original and confirmed by its maintainers (twilio-node issue 316, twilio-php issue 632): one
# search gives at most 30 numbers and no next page.
SEARCH_ROWS_MAX: Final = 30
# Twilio docs, AvailablePhoneNumber Local resource, `Distance`.
DISTANCE_MILES_DEFAULT: Final = 25
DISTANCE_MILES_MAX: Final = 500
# Twilio docs, IncomingPhoneNumber and Application resources, `FriendlyName`.
FRIENDLY_NAME_CHARS_MAX: Final = 64
# Ours: longer than any browser sends, short enough to keep in a row.
URL_CHARS_MAX: Final = 4096
API_VERSION: Final = "2010-04-01"
# Twilio docs, IncomingPhoneNumber resource, `ApiVersion`.
API_VERSIONS: Final = frozenset({API_VERSION, "2008-08-01"})

# Twilio docs, "Test credentials": what buying answers to these numbers and area codes.
MAGIC_UNAVAILABLE: Final = "+15005550000"
MAGIC_INVALID: Final = "+15005550001"
MAGIC_AVAILABLE: Final = "+15005550006"
MAGIC_AREA_CODE_AVAILABLE: Final = "500"

_AREA_CODE = re.compile(r"[2-9][0-9]{2}")
# ITU-T E.161: the letters of a telephone's keys.
_KEYS: Final = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
_META: Final = {"*": "[0-9]", "%": "[0-9]*"}
_CONTAINS = re.compile(r"\+?[0-9a-zA-Z*%]+\$?")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a number can carry."""

    voice: bool
    sms: bool
    mms: bool
    fax: bool


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to ask what to do; an empty URL means that nothing is configured."""

    url: str
    method: str
    fallback_url: str
    fallback_method: str


@dataclass(frozen=True, slots=True)
class OwnedNumber:
    """A number that an account holds, with the settings in force.

    Shapes: `sms` and `voice` are the application's where the number names one, else the number's own;
    `sms_status_callback` and `voice_status_callback` likewise, empty when nobody wants them.
    """

    account_sid: str
    sid: str
    phone_number: str
    country: str
    kind: Kind
    capabilities: Capabilities
    friendly_name: str
    sms: Webhook
    voice: Webhook
    sms_application_sid: str | None
    voice_application_sid: str | None
    sms_status_callback: str
    voice_status_callback: str
    voice_status_callback_method: str
    voice_caller_id_lookup: bool
    voice_receive_mode: str
    trunk_sid: str | None
    address_sid: str | None
    api_version: str
    # Where the number is; empty where the stock does not know.
    region: str = ""
    locality: str = ""
    postal_code: str = ""


@dataclass(frozen=True, slots=True)
class Application:
    """A set of webhooks under one SID."""

    account_sid: str
    sid: str
    friendly_name: str | None
    sms: Webhook
    voice: Webhook
    # The older name of the message's status callback stands in where the newer is empty.
    message_status_callback: str
    status_callback: str
    status_callback_method: str
    voice_caller_id_lookup: bool
    public_connect: bool


@dataclass(frozen=True, slots=True)
class StockLine:
    """A run of numbers with the same facts, as an operator's stock file has them.

    Shapes: `count` numbers from `first`, each `step` above the one before.
    """

    country: str
    kind: Kind
    first: str
    step: int
    count: int
    region: str | None
    locality: str | None
    rate_center: str | None
    lata: str | None
    postal_code: str | None
    latitude: float | None
    longitude: float | None
    capabilities: frozenset[str]
    address_requirements: str
    beta: bool

    @property
    def price_ref(self) -> str:
        """Name the line of the price list that these numbers are sold by."""
        return f"number.{self.country.lower()}.{self.kind}"

    def phone_numbers(self) -> list[str]:
        """Return the run's numbers in E.164."""
        start = int(self.first[1:])
        return [f"+{start + index * self.step}" for index in range(self.count)]


@dataclass(frozen=True, slots=True)
class Near:
    """Within so many miles of a point."""

    latitude: float
    longitude: float
    miles: int


@dataclass(frozen=True, slots=True)
class Search:
    """What a customer looks for in stock; None asks for nothing in particular.

    Shapes: `pattern` is a POSIX regular expression over the E.164 form; `address_excluded` are address requirements.
    """

    country: str
    kind: Kind
    pattern: str | None = None
    area_code: str | None = None
    voice: bool | None = None
    sms: bool | None = None
    mms: bool | None = None
    fax: bool | None = None
    beta: bool = True
    address_excluded: tuple[str, ...] = ()
    near: Near | None = None
    region: str | None = None
    locality: str | None = None
    rate_center: str | None = None
    lata: str | None = None
    postal_code: str | None = None


def read_stock(text: str) -> Iterator[StockLine]:
    """Read a stock file: tab-separated, with a head line that names the columns."""
    head, *lines = text.splitlines()
    names = head.split("\t")
    for line in lines:
        field = dict(zip(names, line.split("\t"), strict=True))
        kind: Kind
        match field["kind"]:
            case "local" | "mobile" | "tollfree" as kind:
                pass
            case other:
                raise ValueError(f"unknown kind of number: {other}")
        yield StockLine(
            country=field["country"],
            kind=kind,
            first=field["first"],
            step=int(field["step"]),
            count=int(field["count"]),
            region=field["region"] or None,
            locality=field["locality"] or None,
            rate_center=field["rate_center"] or None,
            lata=field["lata"] or None,
            postal_code=field["postal_code"] or None,
            latitude=float(field["latitude"]) if field["latitude"] else None,
            longitude=float(field["longitude"]) if field["longitude"] else None,
            capabilities=frozenset(field["capabilities"].split(",")),
            address_requirements=field["address_requirements"],
            beta=field["beta"] == "beta",
        )


def short_code_reach(country: str) -> frozenset[str]:
    """Return the countries whose numbers a short code of a country reaches: its own networks know it, no others."""
    return _SHORT_CODE_REACH.get(country) or frozenset({country})


def area_code_of(phone_number: str) -> str | None:
    """Return the area code of a North American number."""
    return phone_number[2:5] if phone_number.startswith("+1") and len(phone_number) == 12 else None


def require_area_code(value: object) -> str:
    """Return a three-digit area code.

    Raises: InvalidAreaCode.
    """
    text = str(value).strip()
    if _AREA_CODE.fullmatch(text) is None:
        raise InvalidAreaCode(value)
    return text


def friendly_form(phone_number: str) -> str:
    """Write a number as a customer sees it: (510) 555-0100 in North America, E.164 elsewhere."""
    if area_code_of(phone_number) is None:
        return phone_number
    return f"({phone_number[2:5]}) {phone_number[5:8]}-{phone_number[8:]}"


def contains_pattern(text: str) -> str:
    """Turn a `Contains` pattern into a regular expression over E.164.

    Letters stand for the digits on their keys, `*` for one digit, `%` for any run of digits; a leading `+` begins the
    number and a trailing `$` ends it. `*` between digits is allowed, as it was before `%` existed.

    Raises: InvalidPattern.
    Source: Twilio docs, AvailablePhoneNumber Local resource, `Contains`.
    """
    # A form turns a plus that was not escaped into a space.
    pattern = "+" + text[1:] if text.startswith(" ") else text
    literals = sum(character.isalnum() for character in pattern)
    if not 2 <= len(pattern) <= 16 or _CONTAINS.fullmatch(pattern) is None or literals < 2:
        raise InvalidPattern(text)
    return _expression(pattern)


def partial_number(text: str) -> str:
    """Turn a partial number of a list filter into a regular expression over E.164; separators are skipped."""
    pattern = "+" + text[1:] if text.startswith(" ") else text
    kept = re.sub(r"[^0-9a-zA-Z*+]", "", pattern)
    # What holds no digit at all is nobody's number.
    return _expression(kept[:1] + kept[1:].replace("+", "")) if kept.strip("+") else "^$"


def _expression(pattern: str) -> str:
    begins, ends = pattern.startswith("+"), pattern.endswith("$")
    digits = pattern.strip("+$").lower().translate(_KEYS)
    body = "".join(_META.get(character, character) for character in digits)
    return ("^[+]" if begins else "") + body + ("$" if ends else "")


# Settings that a customer may change, with what a new number and a new application have.
_WEBHOOK_DEFAULTS: Final[Mapping[str, Any]] = {
    "voice_url": "",
    "voice_method": "POST",
    "voice_fallback_url": "",
    "voice_fallback_method": "POST",
    "voice_caller_id_lookup": False,
    "sms_url": "",
    "sms_method": "POST",
    "sms_fallback_url": "",
    "sms_fallback_method": "POST",
    "status_callback": "",
    "status_callback_method": "POST",
    "api_version": API_VERSION,
}
NUMBER_DEFAULTS: Final[Mapping[str, Any]] = {
    **_WEBHOOK_DEFAULTS,
    "friendly_name": "",
    "voice_application_sid": None,
    "voice_receive_mode": "voice",
    "sms_application_sid": None,
    "trunk_sid": None,
    "address_sid": None,
    "identity_sid": None,
    "bundle_sid": None,
    "emergency_status": "Inactive",
    "emergency_address_sid": None,
}
APPLICATION_DEFAULTS: Final[Mapping[str, Any]] = {
    **_WEBHOOK_DEFAULTS,
    "friendly_name": None,
    "sms_status_callback": "",
    "message_status_callback": "",
    "public_application_connect_enabled": False,
}
# Twilio docs, ShortCode resource: what an account may set.
SHORT_CODE_SETTINGS: Final = (
    *("friendly_name", "api_version", "sms_url", "sms_method", "sms_fallback_url", "sms_fallback_method"),
)
# Ours, after the US registry of short codes: they reach the territories too.
_SHORT_CODE_REACH: Final[Mapping[str, frozenset[str]]] = {"US": frozenset({"US", "PR", "VI", "GU", "AS", "MP"})}
# What belongs to the account that configured the number and may not follow it to another.
TIED_TO_ACCOUNT: Final = (
    "voice_application_sid",
    "sms_application_sid",
    "trunk_sid",
    "address_sid",
    "identity_sid",
    "bundle_sid",
    "emergency_address_sid",
)


def merge_settings(
    current: Mapping[str, Any], changes: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Apply a customer's changes to settings; an empty value brings the default back.

    A trunk and a voice application exclude each other: setting one unsets the other (Twilio docs, IncomingPhoneNumber
    resource, `TrunkSid`).

    Raises: InvalidUrl, InvalidCallback, VoiceFallbackAlone, SmsFallbackAlone.
    """
    merged = {name: current[name] for name in defaults}
    for name, value in changes.items():
        if value in ("", None):
            merged[name] = defaults[name]
            continue
        if name.endswith("_url") and not is_web_url(value):
            raise InvalidUrl(_camel(name), value)
        if name.endswith("status_callback") and not is_web_url(value):
            raise InvalidCallback(_camel(name), value)
        merged[name] = value
    if changes.get("trunk_sid"):
        merged["voice_application_sid"] = None
    elif changes.get("voice_application_sid") and "trunk_sid" in merged:
        merged["trunk_sid"] = None
    # Rows of before keep what they have; only a call that sets a fallback is asked for its main URL.
    if changes.get("voice_fallback_url") and not merged["voice_url"] and not merged.get("voice_application_sid"):
        raise VoiceFallbackAlone
    if changes.get("sms_fallback_url") and not merged["sms_url"] and not merged.get("sms_application_sid"):
        raise SmsFallbackAlone
    return merged


def is_web_url(text: str) -> bool:
    """Tell whether a text is an absolute http or https URL."""
    if len(text) > URL_CHARS_MAX or any(character <= " " or character == "\x7f" for character in text):
        return False
    try:
        parts = urlsplit(text)
        # The port is parsed when it is asked for.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
