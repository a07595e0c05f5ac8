"""Bodies of JSON: checked by the contract's schema before a use case sees them.

A schema is compiled once into closures. The first thing wrong is named by its place in the body, as in
`types.twilio/text.body`. Names that the schema does not know are ignored, as in forms, unless it closes the object.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from onterms.core.errors import InvalidParameter

Check = Callable[[Any, str], None]
_DEPTH_MAX = 32
_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "a string"),
    "integer": ((int,), "an integer"),
    "number": ((int, float), "a number"),
    "boolean": ((bool,), "true or false"),
    "array": ((list,), "a list"),
    "object": ((dict,), "an object"),
}


class InvalidField(InvalidParameter):
    """A field of a JSON body is not as the contract wants it; `name` is empty for what lies deeper in it."""

    def __init__(self, place: str, words: str) -> None:
        super().__init__(f"{place or 'The request body'} {words}")
        self.name = "" if "." in place or "[" in place else place


def compile_body(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Check:
    """Make the check of a body: `check(body, "")` raises InvalidField for what the schema does not allow."""
    return _compile(document, schema, 0)


def _compile(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> Check:
    nullable = schema.get("nullable") is True
    while "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].split("/")[1:]:
            target = target[part]
        schema = target
        nullable = nullable or schema.get("nullable") is True
    checks = [*_of_value(schema), *_of_members(document, schema, depth)]

    def check(value: Any, place: str) -> None:
        if value is None and (nullable or not checks):
            return
        for each in checks:
            each(value, place)

    return check


def _of_value(schema: Mapping[str, Any]) -> list[Check]:
    checks: list[Check] = []
    kind = str(schema.get("type") or ("object" if "properties" in schema else ""))
    if kind in _KINDS:
        types, words = _KINDS[kind]

        def of_kind(value: Any, place: str) -> None:
            # In Python true is an integer, in JSON it is not.
            if not isinstance(value, types) or (isinstance(value, bool) and kind != "boolean"):
                raise InvalidField(place, f"must be {words}")

        checks.append(of_kind)
    if "enum" in schema:
        allowed = tuple(schema["enum"])

        def of_enum(value: Any, place: str) -> None:
            if value not in allowed:
                raise InvalidField(place, f"must be one of {', '.join(map(str, allowed))}")

        checks.append(of_enum)
    if kind == "string":
        checks.append(_text(schema))
    if kind in ("integer", "number"):
        minimum, maximum = schema.get("minimum"), schema.get("maximum")

        def of_range(value: Any, place: str) -> None:
            if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
                raise InvalidField(place, "is out of range")

        checks.append(of_range)
    return checks


def _text(schema: Mapping[str, Any]) -> Check:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
    matches = re.compile(schema["pattern"]).search if "pattern" in schema else None

    def check(value: Any, place: str) -> None:
        # PostgreSQL stores no NUL in text.
        if "\0" in value:
            raise InvalidField(place, "must not hold the character NUL")
        if len(value) < shortest or (longest is not None and len(value) > longest):
            raise InvalidField(place, "has a length that is not allowed")
        if matches is not None and matches(value) is None:
            raise InvalidField(place, "is not written as it must be")

    return check


def _of_members(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> list[Check]:
    if depth > _DEPTH_MAX:
        return []
    checks: list[Check] = []
    if "items" in schema:
        of_item = _compile(document, schema["items"], depth + 1)

        def of_items(value: Any, place: str) -> None:
            for index, item in enumerate(value):
                of_item(item, f"{place}[{index}]")

        checks.append(of_items)
    if "properties" in schema or schema.get("type") == "object":
        checks.append(_object(document, schema, depth))
    checks += [_compile(document, part, depth + 1) for part in schema.get("allOf", ())]
    choices = [_compile(document, part, depth + 1) for part in (*schema.get("oneOf", ()), *schema.get("anyOf", ()))]
    if choices:

        def of_choice(value: Any, place: str) -> None:
            failure: InvalidField | None = None
            for choice in choices:
                try:
                    return choice(value, place)
                except InvalidField as error:
                    failure = error
            assert failure is not None
            raise failure

        checks.append(of_choice)
    return checks


def _object(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> Check:
    known = {name: _compile(document, entry, depth + 1) for name, entry in schema.get("properties", {}).items()}
    required = tuple(schema.get("required", ()))
    others = schema.get("additionalProperties")
    of_other = _compile(document, others, depth + 1) if isinstance(others, Mapping) and others else None

    def check(value: Any, place: str) -> None:
        prefix = f"{place}." if place else ""
        for name in required:
            if name not in value:
                raise InvalidField(prefix + name, "is required")
        for name, entry in value.items():
            if "\0" in name:
                raise InvalidField(place, "must not hold the character NUL")
            if name in known:
                known[name](entry, prefix + name)
            elif others is False:
                raise InvalidField(prefix + name, "is not known here")
            elif of_other is not None:
                of_other(entry, prefix + name)

    return check
