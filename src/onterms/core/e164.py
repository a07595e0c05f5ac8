"""Telephone numbers and the other names that a message or call may be addressed by.

What is accepted. A number is accepted when its calling code exists and its length is one that the numbering plan has
("possible"), not only when its range is in service ("valid"): plans change before metadata does, and customers test
with fictitious ranges such as +1 555 and +1 500 555. A `To` that is not possible is what the rooms refuse with 21211,
a `From` with 21212. A length that is dialled only inside one area (seven digits after +1) is not accepted.

Numbers with a plus may hold the separators that people write, and the trunk zero of "+44 (0)20". Numbers without one
are read by the plan of a region that the caller names, for example that of the sender; with no region they are
refused, since guessing wrong sends a message to a stranger. Letters and non-ASCII digits are refused.

Three speeds: `plausible_e164` looks at the shape alone; `is_e164` and mostly `country_of` look at what the plan says of
length and prefix (1 us, measured), for every message goes to another number; `parse` asks a cache, behind which stands
the phonenumbers library (20 to 60 us a number, measured).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, Literal, NamedTuple

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneNumberFormat, PhoneNumberType, ValidationResult, timezone

Kind = Literal[
    "mobile",
    "landline",
    "landline_or_mobile",
    "tollfree",
    "premium",
    "shared_cost",
    "voip",
    "personal",
    "pager",
    "uan",
    "voicemail",
    "unknown",
]

_KINDS: Final[dict[int, Kind]] = {
    PhoneNumberType.MOBILE: "mobile",
    PhoneNumberType.FIXED_LINE: "landline",
    PhoneNumberType.FIXED_LINE_OR_MOBILE: "landline_or_mobile",
    PhoneNumberType.TOLL_FREE: "tollfree",
    PhoneNumberType.PREMIUM_RATE: "premium",
    PhoneNumberType.SHARED_COST: "shared_cost",
    PhoneNumberType.VOIP: "voip",
    PhoneNumberType.PERSONAL_NUMBER: "personal",
    PhoneNumberType.PAGER: "pager",
    PhoneNumberType.UAN: "uan",
    PhoneNumberType.VOICEMAIL: "voicemail",
}

# ITU-T E.164 6: at most 15 digits, and no calling code begins with 0. The shortest national plans (Niue, Saint Helena)
# have four digits behind a three-digit code; fewer are local dialling.
_is_plausible: Final = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch

_is_written_number: Final = re.compile(r"\+?[ (]*[0-9][0-9 ().\-/\u00a0\u2010-\u2015]*").fullmatch
_drop_separators: Final = re.compile(r"[ ().\-/\u00a0\u2010-\u2015]+").sub
# A longer text is no number; the bound keeps the work on hostile input small.
_WRITTEN_CHARS_MAX: Final = 40

# Twilio docs, glossary/what-is-a-short-code: 5 or 6 digits in the US and Canada. Other plans have 3 to 8.
_is_short: Final = re.compile(r"[0-9]{3,8}").fullmatch

# Twilio docs, AlphaSender resource: up to 11 of A-Z, a-z, 0-9, space, hyphen, plus, underscore and ampersand, with at
# least one letter.
_is_alpha: Final = re.compile(r"(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9 \-+_&]{1,11}").fullmatch

# Twilio docs, Message resource: channel addresses are the channel's name, a colon and the channel's own identity.
CHANNELS: Final = frozenset({"whatsapp", "rcs", "messenger"})

# One entry is about half a kilobyte, so a full cache stays under 20 MB.
_CACHE_ENTRIES: Final = 32_768

# Calling codes that serve no country (+800, +870 ...) stand under this name in the metadata.
_NON_GEOGRAPHIC: Final = "001"

_COUNTRIES_OF_CODE: Final[dict[str, tuple[str, ...]]] = {
    str(code): regions for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()
}


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A number that a numbering plan could hold.

    Shapes: `country` is an ISO 3166 code, None for codes that serve no country; `national_number` has no trunk prefix
    but keeps the leading zeros that belong to the number, as in Italy.
    """

    e164: str
    country: str | None
    calling_code: int
    national_number: str
    kind: Kind
    valid: bool


class Address(NamedTuple):
    """Where a message goes: a channel, and the name it knows the other side by."""

    channel: str
    identity: str


def plausible_e164(text: str) -> bool:
    """Tell whether a text has the shape of an E.164 number: a plus and 7 to 15 digits."""
    return _is_plausible(text) is not None


def is_e164(text: str) -> bool:
    """Tell whether a text is a possible number in canonical E.164 form, without separators or trunk prefix."""
    if _is_plausible(text) is None:
        return False
    code = _calling_code(text)
    if code is None:
        return False
    plan = _plan(code)
    national = text[1 + len(code) :]
    if plan.trunk_prefix is not None and plan.trunk_prefix(national):
        # Whether those digits are a trunk prefix or the number's own is what the library knows.
        number = _analyse(text)
        return number is not None and number.e164 == text
    return len(national) in plan.lengths


def parse(text: str, default_region: str | None = None) -> PhoneNumber | None:
    """Read a number as people write it; None when no numbering plan could hold it.

    Shapes: `default_region` is an ISO 3166 code, for numbers without a plus.
    """
    if _is_plausible(text) is not None:
        return _analyse(text)
    if len(text) > _WRITTEN_CHARS_MAX:
        return None
    text = text.strip()
    if _is_written_number(text) is None:
        return None
    digits = _drop_separators("", text)
    if digits.startswith("+"):
        return _analyse(digits) if _is_plausible(digits) is not None else None
    if default_region is None:
        return None
    return _analyse_national(digits, default_region.upper())


def normalise(text: str, default_region: str | None = None) -> str | None:
    """Return the E.164 form of a number as people write it, or None."""
    number = parse(text, default_region)
    return number.e164 if number is not None else None


def country_of(e164: str) -> str | None:
    """Return the ISO code of the country that an E.164 number belongs to, or None.

    Where countries share a calling code and the number's range is not assigned, it is the code's main country.
    """
    if _is_plausible(e164) is None:
        return None
    code = _calling_code(e164)
    if code is None:
        return None
    countries = _COUNTRIES_OF_CODE[code]
    if len(countries) == 1:
        return countries[0] if countries[0] != _NON_GEOGRAPHIC else None
    if e164.startswith("+1"):
        return _nanp_country(e164[2:5])
    number = _analyse(e164)
    return number.country if number is not None else countries[0]


@lru_cache(maxsize=_CACHE_ENTRIES)
def zones_of(e164: str) -> tuple[str, ...]:
    """Return the time zones that a number may be in, of the IANA database; many where it says nothing of its place."""
    if _is_plausible(e164) is None:
        return ()
    try:
        found: tuple[str, ...] = timezone.time_zones_for_number(phonenumbers.parse(e164))
    except phonenumbers.NumberParseException:
        return ()
    return tuple(zone for zone in found if zone != timezone.UNKNOWN_TIMEZONE)


def countries() -> list[str]:
    """Return the ISO code of every country that has a numbering plan, in order."""
    return sorted(phonenumbers.SUPPORTED_REGIONS)


def is_short_code(text: str) -> bool:
    """Tell whether a text has the shape of a short code: 3 to 8 digits and nothing else."""
    return _is_short(text) is not None


def is_alpha_sender(text: str) -> bool:
    """Tell whether a text may be an alphanumeric sender ID."""
    return _is_alpha(text) is not None


def split_address(text: str) -> Address:
    """Split a channel address such as `whatsapp:+14155550123`; a text with no known channel is for SMS."""
    channel, colon, identity = text.partition(":")
    if colon and channel in CHANNELS:
        return Address(channel, identity)
    return Address("sms", text)


class _Plan(NamedTuple):
    """What tells whether a number is possible: its lengths, and what is dialled before it but is not part of it."""

    lengths: frozenset[int]
    trunk_prefix: Callable[[str], object] | None


def _calling_code(plausible: str) -> str | None:
    # No calling code is the beginning of another (ITU-T E.164 6.2.1), so the first hit is the only one.
    for end in (2, 3, 4):
        code = plausible[1:end]
        if code in _COUNTRIES_OF_CODE:
            return code
    return None


@cache
def _plan(calling_code: str) -> _Plan:
    main_region = _COUNTRIES_OF_CODE[calling_code][0]
    metadata = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(int(calling_code), main_region)
    assert metadata is not None and metadata.general_desc is not None, f"no metadata for +{calling_code}"
    prefix = metadata.national_prefix_for_parsing
    return _Plan(frozenset(metadata.general_desc.possible_length), re.compile(prefix).match if prefix else None)


@lru_cache(maxsize=_CACHE_ENTRIES)
def _analyse(plausible: str) -> PhoneNumber | None:
    try:
        parsed = phonenumbers.parse(plausible)
    except phonenumbers.NumberParseException:
        return None
    return _describe(parsed)


@lru_cache(maxsize=_CACHE_ENTRIES)
def _analyse_national(digits: str, region: str) -> PhoneNumber | None:
    try:
        parsed = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return None
    return _describe(parsed)


def _describe(parsed: phonenumbers.PhoneNumber) -> PhoneNumber | None:
    # is_possible_number would also take lengths that are dialled only within an area.
    if phonenumbers.is_possible_number_with_reason(parsed) != ValidationResult.IS_POSSIBLE:
        return None
    calling_code = parsed.country_code
    if calling_code is None:
        return None
    # This lookup finds a region only for ranges in service. Asking for the kind repeats it, at half the cost of the
    # whole, so a number without a region is not asked about further.
    region = phonenumbers.region_code_for_number(parsed)
    kind: Kind = "unknown"
    valid = False
    if region is not None:
        kind = _KINDS.get(phonenumbers.number_type(parsed), "unknown")
        valid = kind != "unknown"
    else:
        region = COUNTRY_CODE_TO_REGION_CODE[calling_code][0]
        if calling_code == 1:
            region = _nanp_country(str(parsed.national_number)[:3])
    return PhoneNumber(
        e164=phonenumbers.format_number(parsed, PhoneNumberFormat.E164),
        country=region if region != _NON_GEOGRAPHIC else None,
        calling_code=calling_code,
        national_number=phonenumbers.national_significant_number(parsed),
        kind=kind,
        valid=valid,
    )


@lru_cache(maxsize=1000)
def _nanp_country(area_code: str) -> str:
    # The area code alone tells the country in the North American plan, so any subscriber number will do for the
    # question. Area codes that nobody holds, such as 555, count as the plan's main country.
    return phonenumbers.region_code_for_number(phonenumbers.parse(f"+1{area_code}2345678")) or "US"
