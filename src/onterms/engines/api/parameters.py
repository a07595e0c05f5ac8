"""Parameters from the wire: fast form decoding, and parsers compiled from schemas."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from onterms.core.errors import InvalidParameter

Parser = Callable[[str], Any]

_TRUE = frozenset(("true", "1", "yes"))
_FALSE = frozenset(("false", "0", "no", ""))
# `\d` would take every script's digits.
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# A plus sign that was not encoded arrives as a space.
_DAYS = re.compile(r"([-+ ])([0-9]{1,5})days?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def decode_pairs(text: bytes) -> list[tuple[str, str]]:
    """Decode `application/x-www-form-urlencoded` text, keeping order, repeats and empty values.

    Bytes that are not UTF-8 become U+FFFD, so that a broken client gets an answer about its parameter and not about
    its bytes.
    """
    pairs: list[tuple[str, str]] = []
    if not text:
        return pairs
    for part in text.split(b"&"):
        if not part:
            continue
        name, _, value = part.partition(b"=")
        pairs.append((_decode_name(name) if len(name) <= 64 else _decode(name), _decode(value)))
    return pairs


def _decode(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    # PostgreSQL stores no NUL in text.
    return raw.decode("utf-8", "replace").replace("\x00", "�")


# Names are few and the same in every request.
_decode_name = lru_cache(maxsize=1024)(_decode)


def parse_datetime(text: str) -> datetime:
    """Parse ISO 8601 (date only means midnight UTC) or RFC 2822.

    Raises: ValueError.
    """
    if _ISO_DATE.fullmatch(text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    try:
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            value = parsedate_to_datetime(text)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (TypeError, IndexError, OverflowError) as error:
        # Overflow: the first and the last hours of the calendar lie outside it in other time zones.
        raise ValueError(text) from error


def decode_json(text: bytes | str) -> Any:
    """Decode JSON.

    Raises: ValueError, also for bytes that are not UTF-8 and for what nests too deeply.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("this is not JSON") from error


def compile_parser(name: str, schema: Mapping[str, Any]) -> Parser:
    """Make the parser of one value: text in, typed value out, InvalidParameter where the schema does not allow it."""
    kind = schema.get("type")
    form = schema.get("format")
    if kind == "integer":
        return _integer(name, schema)
    if kind == "number":
        return _number(name, schema)
    if kind == "boolean":
        return _boolean(name)
    if kind == "object" or (kind is None and "enum" not in schema):
        return _json(name)
    if form == "date-time":
        return _datetime(name)
    if form == "date":
        return _date(name)
    if "enum" in schema:
        return _enum(name, schema["enum"], upper=form == "http-method")
    return _string(name, schema)


def compile_day_parser(name: str) -> Parser:
    """Make the parser of a date or an offset in days from today, which is a timedelta."""
    plain = _date(name)

    def parse(text: str) -> date | timedelta:
        match = _DAYS.fullmatch(text)
        if match is None:
            day: date = plain(text)
            return day
        return timedelta(days=int(match[2]) * (-1 if match[1] == "-" else 1))

    return parse


def _string(name: str, schema: Mapping[str, Any]) -> Parser:
    pattern = schema.get("pattern")
    maximum = schema.get("maxLength")
    minimum = schema.get("minLength")
    if pattern is None and maximum is None and minimum is None:
        return str
    matches = re.compile(pattern).search if pattern else None

    def parse(text: str) -> str:
        # An empty value unsets a setting, whatever its pattern.
        if not text:
            return text
        if (
            (maximum is not None and len(text) > maximum)
            or (minimum is not None and len(text) < minimum)
            or (matches is not None and matches(text) is None)
        ):
            raise InvalidParameter(f"Invalid {name}: '{text[:64]}'")
        return text

    return parse


def _integer(name: str, schema: Mapping[str, Any]) -> Parser:
    minimum = schema.get("minimum")
    # PageSize above its maximum is capped by the list, not refused.
    maximum = schema.get("maximum") if name != "PageSize" else None

    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text):
            raise InvalidParameter(f"{name} must be an integer: '{text[:64]}'")
        value = int(text)
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise InvalidParameter(f"{name} is out of range: {value}")
        return value

    return parse


def _number(name: str, schema: Mapping[str, Any]) -> Parser:
    minimum, maximum = schema.get("minimum"), schema.get("maximum")

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise InvalidParameter(f"{name} must be a number: '{text[:64]}'") from None
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidParameter(f"{name} must be a number: '{text[:64]}'")
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise InvalidParameter(f"{name} is out of range: {text}")
        return value

    return parse


def _boolean(name: str) -> Parser:
    def parse(text: str) -> bool:
        lowered = text.lower()
        if lowered in _TRUE:
            return True
        if lowered in _FALSE:
            return False
        raise InvalidParameter(f"{name} must be true or false: '{text[:64]}'")

    return parse


def _json(name: str) -> Parser:
    def parse(text: str) -> Any:
        if not text:
            return None
        try:
            return decode_json(text)
        except ValueError:
            raise InvalidParameter(f"{name} must be JSON") from None

    return parse


def _datetime(name: str) -> Parser:
    def parse(text: str) -> datetime:
        try:
            return parse_datetime(text)
        except ValueError:
            raise InvalidParameter(f"{name} must be a date and time: '{text[:64]}'") from None

    return parse


def _date(name: str) -> Parser:
    def parse(text: str) -> date:
        try:
            return parse_datetime(text).date()
        except ValueError:
            raise InvalidParameter(f"{name} must be a date: '{text[:64]}'") from None

    return parse


def _enum(name: str, values: list[str], *, upper: bool) -> Parser:
    allowed = frozenset(values)

    def parse(text: str) -> str:
        candidate = text.upper() if upper else text
        if candidate in allowed:
            return candidate
        # An empty value unsets the setting; the official clients also send an enumeration's value in other cases.
        if not text:
            return text
        folded = [value for value in values if isinstance(value, str) and value.lower() == text.lower()]
        if folded:
            return folded[0]
        raise InvalidParameter(f"Invalid {name}: '{text[:64]}'")

    return parse
