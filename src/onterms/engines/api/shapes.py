"""Shapes of our own APIs: what a request may hold and what an answer shows, declared once.

A shape is a msgspec structure. The door reads a request by it, before its use case runs; an answer is made by it; and
the OpenAPI document is written from it, so the three cannot differ.
"""

import re
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    Self,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from onterms.core.calendar import can_count_from
from onterms.core.errors import InvalidParameter, Refusal
from onterms.core.money import decimal_text, micros

_Shape = TypeVar("_Shape")
_Item = TypeVar("_Item")

_SID_PATTERN = "^[A-Z]{2}[0-9a-fA-F]{32}$"
_DECIMAL_PATTERN = r"^-?[0-9]{1,13}(\.[0-9]{1,6}0*)?$"
_COUNTRY_PATTERN = "^[A-Z]{2}$"

Sid = Annotated[str, msgspec.Meta(pattern=_SID_PATTERN)]
Text = Annotated[str, msgspec.Meta(max_length=400)]
Prose = Annotated[str, msgspec.Meta(max_length=10_000)]
Country = Annotated[str, msgspec.Meta(pattern=_COUNTRY_PATTERN)]
# Decimal text that is written already, with the decimals of its currency.
Amount = Annotated[str, msgspec.Meta(pattern=_DECIMAL_PATTERN)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
# An instant that is written already.
Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Json = dict[str, Any]

_MUST = {
    _SID_PATTERN: "be a SID",
    _COUNTRY_PATTERN: "be an ISO 3166 code of two capital letters",
}
_KINDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "date": "a day such as 2025-03-01",
    "datetime": "an instant such as 2025-03-01T10:00:00Z",
}
_EXPECTED = re.compile(r"Expected `(\w+)(?: \| null)?`(?:, got .*)?$")
_BOUND = re.compile(r"Expected `\w+` (<=|<|>=|>) (\S+)$")
_LENGTH = re.compile(r"Expected `(\w+)` of length (<=|>=) (\d+)$")
_REGEX = re.compile(r"Expected `str` matching regex (.*)$", re.DOTALL)


class Micros(int):
    """An amount in micro-units, decimal text outside."""


class NotNegative(Micros):
    """An amount of nothing or more."""


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    """The base of every shape: what it does not name is refused in a request and shown by no answer.

    Shapes: `refusals` are those of fields that have an error of their own.
    """

    refusals: ClassVar[Mapping[str, type[Refusal]]] = {}

    @classmethod
    def of(cls, found: Any, **more: Any) -> Self:
        """Make one of what has the same names (a record or a row); `more` holds what has others.

        An empty text is shown as null where the field may be null.
        """
        values = {}
        for name, convert in _fields_of(cls):
            if name in more:
                value = more[name]
            else:
                value = found[name] if isinstance(found, Mapping) or _is_row(found) else getattr(found, name)
            values[name] = value if convert is None else convert(value)
        return cls(**values)


class Items(Shape, Generic[_Item]):
    """A page of a list: `next` is the token of the next page, null on the last one."""

    items: Sequence[_Item]
    next: str | None


class Empty(Shape):
    """A request without fields."""


class Paging(Shape):
    """Where a page begins: the `next` of the page before."""

    next: str = ""


def page(items: Sequence[_Item], size: int, token: Callable[[_Item], str] = lambda each: each.sid) -> Items[_Item]:  # type: ignore[attr-defined]
    """Make a page of up to `size` of what was asked for one more."""
    return Items(items[:size], token(items[size - 1]) if len(items) > size else None)


def whole(items: Sequence[_Item]) -> Items[_Item]:
    """Make the only page of a list."""
    return Items(items, None)


def read(shape: type[_Shape], given: Any, *, strict: bool = True) -> _Shape:
    """Read what a request holds; not strict, numbers and booleans may come as text.

    Raises: InvalidParameter, which names the field.
    """
    nul = _nul_in(given)
    if nul is not None:
        raise InvalidParameter(f"'{nul}' must not hold NUL" if nul else "Text must not hold NUL")
    try:
        return cast("_Shape", _plain(msgspec.convert(given, shape, strict=strict, dec_hook=_decode)))
    except msgspec.ValidationError as error:
        words = _words(str(error), shape)
        named = re.match(r"'(\w+)", words)
        refusals: Mapping[str, type[Refusal]] = getattr(shape, "refusals", {})
        raise refusals.get(named[1] if named else "", InvalidParameter)(words) from None


def names(shape: Any) -> list[str]:
    """Return the names of a shape's fields as they are written outside."""
    return [each.encode_name for each in msgspec.structs.fields(shape)]


def show(value: Any) -> Any:
    """Turn shapes into what JSON can carry."""
    return msgspec.to_builtins(value, enc_hook=_encode, str_keys=True)


def misfit(value: Any, shape: Any) -> str | None:
    """Say what of a shown value is not as its shape declares, or None."""
    try:
        msgspec.convert(value, shape, dec_hook=_decode)
    except msgspec.ValidationError as error:
        return str(error)
    return None


def schemas(shapes: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the JSON schema of each shape, and the components that these refer to."""
    found, components = msgspec.json.schema_components(
        shapes, schema_hook=_schema, ref_template="#/components/schemas/{name}"
    )
    return list(found), components


def _decode(kind: type, value: Any) -> Any:
    if issubclass(kind, Micros):
        if not isinstance(value, str):
            raise ValueError('must be decimal text such as "12.50"')
        amount = micros(value)
        if amount < 0 and kind is NotNegative:
            raise ValueError("must not be negative")
        return kind(amount)
    raise NotImplementedError(kind)


def _plain(value: Any) -> Any:
    """Put ordinary numbers in place of amounts, in place: what goes on into rows and jobs is no type of this file."""
    if isinstance(value, Micros):
        return int(value)
    if isinstance(value, date) and not can_count_from(value):
        raise InvalidParameter("A day or instant lies too far away")
    if isinstance(value, Shape):
        for name in value.__struct_fields__:
            setattr(value, name, _plain(getattr(value, name)))
    elif type(value) in (list, tuple):
        return type(value)(_plain(each) for each in value)
    return value


def _encode(value: Any) -> Any:
    if isinstance(value, Micros):
        return decimal_text(value)
    raise NotImplementedError(type(value))


def _schema(kind: type) -> dict[str, Any]:
    if issubclass(kind, Micros):
        pattern = _DECIMAL_PATTERN.replace("-?", "") if kind is NotNegative else _DECIMAL_PATTERN
        return {"type": "string", "pattern": pattern, "examples": ["12.50"]}
    raise NotImplementedError(kind)


def _is_row(found: Any) -> bool:
    # asyncpg's records are no Mapping, and have no attributes of their columns.
    return hasattr(found, "keys")


@cache
def _fields_of(shape: type[Shape]) -> list[tuple[str, Callable[[Any], Any] | None]]:
    hints = get_type_hints(shape, include_extras=False)
    return [(name, _converter(hints[name])) for name in shape.__struct_fields__]


def _converter(kind: Any) -> Callable[[Any], Any] | None:
    """Return how a value of the house becomes one of a shape; None where it is one."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType) and type(None) in arguments:
        [inner, *others] = [each for each in arguments if each is not type(None)]
        convert = None if others else _converter(inner)
        return lambda value: None if value is None or value == "" else convert(value) if convert else value
    if origin in (list, tuple, Sequence) or (origin is not None and getattr(origin, "__name__", "") == "Sequence"):
        convert = _converter(arguments[0])
        return (lambda values: [convert(value) for value in values]) if convert else list
    if origin is dict:
        of_value = _converter(arguments[1])
        return (lambda found: {key: of_value(value) for key, value in found.items()}) if of_value else dict
    if isinstance(kind, type) and issubclass(kind, Micros):
        return kind
    if isinstance(kind, type) and issubclass(kind, Shape):
        return lambda value: value if isinstance(value, kind) else kind.of(value)
    return None


def _nul_in(given: Any, name: str = "") -> str | None:
    """Return the name of a text with NUL, which PostgreSQL stores nowhere."""
    if isinstance(given, str):
        return name if "\0" in given else None
    if isinstance(given, Mapping):
        for key, value in given.items():
            if (found := _nul_in(value, name or key)) is not None or (found := _nul_in(key, name)) is not None:
                return found
    elif isinstance(given, list):
        for value in given:
            if (found := _nul_in(value, name)) is not None:
                return found
    return None


def _words(text: str, shape: Any) -> str:
    """Say in our words what a request has wrong."""
    words, _, place = text.partition(" - at `")
    path = place.removesuffix("`").removeprefix("$").removeprefix(".")
    named = re.search(r"(?:missing required|contains unknown) field `(.*)`$", words)
    if named:
        path = f"{path}.{named[1]}" if path else named[1]
        return f"'{path}' is required" if "missing" in words else f"'{path[:100]}' is not taken here"
    where = f"'{path}'" if path else "The request"
    if words.startswith("Invalid enum value"):
        allowed = _allowed(shape, path)
        return f"{where} must be one of {', '.join(map(str, allowed))}" if allowed else f"{where} is none of its values"
    if "base64" in words:
        return f"{where} must be Base64"
    if "encoded datetime" in words or "timezone component" in words:
        return f"{where} must be {_KINDS['datetime']}"
    if "encoded date" in words:
        return f"{where} must be {_KINDS['date']}"
    if match := _REGEX.match(words):
        pattern = match[1].strip("'\"").replace("\\\\", "\\")
        return f"{where} must {_MUST.get(pattern, f'match {pattern}')}"
    if match := _LENGTH.match(words):
        unit = "characters" if match[1] == "str" else "items"
        return f"{where} is {'longer' if match[2] == '<=' else 'shorter'} than {match[3]} {unit}"
    if match := _BOUND.match(words):
        bound = {"<=": "at most", "<": "less than", ">=": "at least", ">": "more than"}[match[1]]
        return f"{where} must be {bound} {match[2]}"
    if match := _EXPECTED.match(words):
        return f"{where} must be {_KINDS.get(match[1], match[1])}"
    return f"{where} {words}" if words.startswith("must") else f"{where}: {words}"


def _allowed(shape: Any, path: str) -> Sequence[Any]:
    """Return the values that a field may have, where its type lists them."""
    kind = shape
    for name in re.sub(r"\[[^]]*\]", "", path).split("."):
        fields = {each.encode_name: each.type for each in msgspec.structs.fields(kind)}
        kind = fields.get(name)
        while (
            get_origin(kind) in (list, Annotated, Union, types.UnionType)
            or getattr(get_origin(kind), "__name__", "") == "Sequence"
        ):
            kind = next(each for each in get_args(kind) if each is not type(None))
    return get_args(kind) if get_origin(kind) is Literal else ()


# What shapes are made of beside the names above; `date` for days.
Day = date
