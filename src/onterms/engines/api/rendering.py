"""Responses to the wire: renderers compiled from schemas; JSON, XML and CSV; error bodies."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from email.utils import format_datetime
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import msgspec

from onterms.core.errors import Refusal

Renderer = Callable[[Mapping[str, Any]], dict[str, Any]]
_Convert = Callable[[Any], Any]

# OWASP, CSV injection: what spreadsheets take for the start of a formula, also behind a line break and in full width.
_FORMULA = ("=", "@", "\t", "\r", "\n", "\uff1d", "\uff20", "\uff0b", "\uff0d")

ERROR_DOCS = "https://www.twilio.com/docs/errors/"


def rfc2822(value: datetime) -> str:
    """Render as the 2010 API does: `Thu, 24 Aug 2023 05:01:45 +0000`."""
    return _rfc2822_of_second(value.replace(microsecond=0))


# What is accepted in one second carries the same text, and lists repeat theirs; formatting takes 5 us.
@lru_cache(maxsize=1024)
def _rfc2822_of_second(value: datetime) -> str:
    return format_datetime(value.astimezone(UTC))


def iso8601(value: datetime) -> str:
    """Render as the newer APIs do: `2015-07-30T20:12:31Z`, whole seconds, for clients parse exactly that."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _date_text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _guarded(convert: Callable[[datetime], str]) -> _Convert:
    def render(value: Any) -> Any:
        return convert(value) if isinstance(value, datetime) else value

    return render


_CONVERTERS: dict[str, _Convert] = {
    "date-time-rfc-2822": _guarded(rfc2822),
    "date-time": _guarded(iso8601),
    "date": _date_text,
}


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].split("/")[1:]:
            target = target[part]
        schema = target
    return schema


def _converter(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> _Convert | None:
    schema = _resolve(document, schema)
    known = _CONVERTERS.get(str(schema.get("format")))
    if known is not None:
        return known
    if depth > 6:
        return None
    if schema.get("type") == "array":
        inner = _converter(document, schema.get("items", {}), depth + 1)
        if inner is None:
            return None
        return lambda value: [inner(item) for item in value] if isinstance(value, list | tuple) else value
    properties = schema.get("properties")
    if properties:
        nested = {
            name: found for name, entry in properties.items() if (found := _converter(document, entry, depth + 1))
        }
        if not nested:
            return None

        def render(value: Any) -> Any:
            if not isinstance(value, Mapping):
                return value
            return {name: nested[name](item) if name in nested else item for name, item in value.items()}

        return render
    return None


def compile_renderer(document: Mapping[str, Any], schema: Mapping[str, Any] | None, list_key: str | None) -> Renderer:
    """Make the renderer of one row: the schema's properties in its order, dates in its format, absent ones as null."""
    if schema is None:
        return dict
    schema = _resolve(document, schema)
    if list_key is not None:
        schema = _resolve(document, schema["properties"][list_key].get("items", {}))
    properties = schema.get("properties")
    if not properties:
        return dict
    plan = tuple((name, _converter(document, entry, 0)) for name, entry in properties.items())

    def render(row: Mapping[str, Any]) -> dict[str, Any]:
        get = row.get
        out = {}
        for name, convert in plan:
            value = get(name)
            out[name] = convert(value) if convert is not None and value is not None else value
        return out

    return render


def _encode_other(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    raise NotImplementedError(f"no JSON form for {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_encode_other)


def to_json(value: Any) -> bytes:
    """Encode a rendered value."""
    return _encoder.encode(value)


def error_body(refusal: Refusal) -> dict[str, Any]:
    """Render a refusal as the field's error body."""
    body: dict[str, Any] = {
        "code": refusal.code,
        "message": refusal.message,
        "more_info": f"{ERROR_DOCS}{refusal.code}",
        "status": refusal.status,
    }
    if refusal.details:
        body["details"] = dict(refusal.details)
    return body


# XML of the 2010 API: what a path without extension answers.


def camel(name: str) -> str:
    """Turn `date_created` into `DateCreated`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def singular_name(document: Mapping[str, Any], schema: Mapping[str, Any] | None, list_key: str | None) -> str:
    """Name the XML element of one row."""
    if schema is None:
        return "Resource"
    reference = schema.get("$ref")
    if list_key is not None:
        reference = _resolve(document, schema)["properties"][list_key].get("items", {}).get("$ref")
    last = (reference or "resource").split("/")[-1].split(".")[-1]
    # Sub-lists of one resource (incoming_phone_number_local) are rows of that resource.
    for kind in ("_local", "_mobile", "_toll_free", "-instance"):
        last = last.removesuffix(kind)
    return camel(last)


# XML 1.0 2.2 has no place for these characters, not even escaped.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def _xml_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _NOT_XML.sub("\ufffd", str(value))


def _xml_element(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"<{name}>" + "".join(_xml_element(camel(str(key)), item) for key, item in value.items()) + f"</{name}>"
    if isinstance(value, Sequence) and not isinstance(value, str):
        # A list inside a row: its items carry the singular of its name.
        item_name = name.removesuffix("s")
        return f"<{name}>" + "".join(_xml_element(item_name, item) for item in value) + f"</{name}>"
    text = escape(_xml_value(value))
    return f"<{name}>{text}</{name}>" if text else f"<{name}/>"


def to_xml(content: str) -> bytes:
    """Wrap rendered elements in the document of the 2010 API."""
    return f"<?xml version='1.0' encoding='UTF-8'?>\n<TwilioResponse>{content}</TwilioResponse>".encode()


def row_xml(element: str, row: Mapping[str, Any]) -> bytes:
    """Render one resource as XML."""
    return to_xml(_xml_element(element, row))


def list_xml(list_key: str, element: str, body: Mapping[str, Any]) -> bytes:
    """Render a list as XML: the paging facts as attributes, the rows as elements."""
    attributes = "".join(
        f" {name.replace('_', '')}={quoteattr(_xml_value(value))}" for name, value in body.items() if name != list_key
    )
    name = camel(list_key)
    rows = "".join(_xml_element(element, row) for row in body[list_key])
    return to_xml(f"<{name}{attributes}>{rows}</{name}>")


def error_xml(refusal: Refusal) -> bytes:
    """Render a refusal as the 2010 API's RestException."""
    return to_xml(
        f"<RestException><Code>{refusal.code}</Code><Message>{escape(_xml_value(refusal.message))}</Message>"
        f"<MoreInfo>{ERROR_DOCS}{refusal.code}</MoreInfo><Status>{refusal.status}</Status></RestException>"
    )


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Render rows as CSV with a head line; nested values as JSON."""
    out = io.StringIO()
    if rows:
        writer = csv.writer(out)
        writer.writerow([camel(name) for name in rows[0]])
        for row in rows:
            writer.writerow(
                [
                    to_json(value).decode() if isinstance(value, dict | list) else _csv_cell(value)
                    for value in row.values()
                ]
            )
    return out.getvalue().encode()


def _csv_cell(value: Any) -> str:
    text = "" if value is None else str(value)
    # A spreadsheet runs a cell that begins like a formula; phone numbers (+ and digits) are harmless.
    if text[:1] in _FORMULA or (text[:1] in "+-" and not text[1:].isdigit() and text[:1] != ""):
        return "'" + text
    return text
