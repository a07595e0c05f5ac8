"""What every served operation answers is what its contract says: status, keys, types, formats, paging."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest

from onterms.app.catalogue import served_rooms
from onterms.core.e164 import is_e164
from onterms.engines.api import Operation, load

SERVED = sorted(served_rooms())
OPERATIONS = {operation.id: operation for operation in load()}
LISTS = [
    name
    for name in SERVED
    if OPERATIONS[name].list_key is not None
    and OPERATIONS[name].paging != "none"
    # Some lists come whole: the contract gives them no size.
    and "PageSize" in OPERATIONS[name].query
]
# Twilio docs, "Twilio's response": what every list of each API has beside its rows.
RELATIVE_KEYS = {
    *("end", "first_page_uri", "next_page_uri", "page", "page_size", "previous_page_uri", "start", "uri"),
}
META_KEYS = {"first_page_url", "key", "next_page_url", "page", "page_size", "previous_page_url", "url"}

formats = jsonschema.FormatChecker(formats=())


@formats.checks("date-time-rfc-2822", raises=(ValueError, TypeError))
def is_rfc_2822(value: object) -> bool:
    return not isinstance(value, str) or format_datetime(parsedate_to_datetime(value).astimezone(UTC)) == value


@formats.checks("date-time", raises=ValueError)
def is_iso_8601(value: object) -> bool:
    # Whole seconds and a Z: what the official clients parse.
    return not isinstance(value, str) or datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ") is not None


@formats.checks("date", raises=ValueError)
def is_date(value: object) -> bool:
    return not isinstance(value, str) or datetime.strptime(value, "%Y-%m-%d") is not None


@formats.checks("uri")
def is_uri(value: object) -> bool:
    # The 2010 API's own addresses are relative, and a URL that was not set is empty.
    return not isinstance(value, str) or re.fullmatch(r"|/\S*|https?://\S+", value) is not None


@formats.checks("uri-map")
def is_uri_map(value: object) -> bool:
    return not isinstance(value, dict) or all(is_uri(uri) and uri for uri in value.values())


@formats.checks("phone-number")
def is_phone_number(value: object) -> bool:
    # Friendly names of numbers carry this format too: the national form, such as (415) 555-0100.
    return not isinstance(value, str) or is_e164(value) or re.fullmatch(r"[0-9() -]{4,20}", value) is not None


@formats.checks("currency")
def is_currency(value: object) -> bool:
    # Twilio docs: usage records write it small, such as usd.
    return not isinstance(value, str) or re.fullmatch(r"[A-Z]{3}|[a-z]{3}", value) is not None


@formats.checks("iso-country-code")
def is_country_code(value: object) -> bool:
    return not isinstance(value, str) or re.fullmatch(r"[A-Z]{2}", value) is not None


@formats.checks("http-method")
def is_http_method(value: object) -> bool:
    return not isinstance(value, str) or value in ("GET", "POST")


def plain_schema(operation: Operation) -> dict[str, Any]:
    """Return an operation's response schema as JSON Schema: references followed, `nullable` spelled out, closed."""

    def plain(schema: Any) -> Any:
        if isinstance(schema, list):
            return [plain(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            target: Any = operation.document
            for part in schema["$ref"].split("/")[1:]:
                target = target[part]
            return plain(target)
        out = {name: plain(value) for name, value in schema.items() if name != "nullable"}
        if "properties" in schema:
            # `properties` is a map of names, any of which may be a word of JSON Schema.
            out["properties"] = {name: plain(value) for name, value in schema["properties"].items()}
            out["additionalProperties"] = False
            out["required"] = sorted(schema["properties"])
        if schema.get("nullable") is True:
            return {"anyOf": [out, {"type": "null"}]}
        return out

    return dict(plain(operation.response_schema))


def violations(operation: Operation, body: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(plain_schema(operation), format_checker=formats)
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(body)]


@pytest.mark.parametrize(
    ("operation_id", "change"),
    [
        ("api_v2010:FetchMessage", {"date_created": "2026-01-05T10:00:00Z"}),
        ("api_v2010:FetchMessage", {"date_created": "Mon, 05 Jan 2026 10:00:00 -0000"}),
        ("api_v2010:FetchMessage", {"sid": "SM12"}),
        ("api_v2010:FetchMessage", {"num_segments": 1}),
        ("api_v2010:FetchMessage", {"status": "gone"}),
        ("api_v2010:FetchMessage", {"price_unit": "dollars"}),
        ("api_v2010:FetchMessage", {"invented": None}),
        ("monitor_v1:FetchAlert", {"date_created": "2026-01-05T10:00:00.123Z"}),
        ("monitor_v1:FetchAlert", {"date_created": "Mon, 05 Jan 2026 10:00:00 +0000"}),
    ],
)
def test_what_does_not_match_a_schema_is_seen(operation_id: str, change: dict[str, Any]) -> None:
    operation = OPERATIONS[operation_id]
    body = operation.render({"status": "sent", "direction": "inbound", "sid": None})
    assert violations(operation, body) == []
    assert len(violations(operation, {**body, **change})) == 1


def test_a_missing_key_is_seen() -> None:
    operation = OPERATIONS["api_v2010:FetchMessage"]
    body = operation.render({"status": "sent", "direction": "inbound"})
    del body["price"]
    assert len(violations(operation, body)) == 1


def test_every_served_operation_has_an_exemplar(exemplars: Mapping[str, Any]) -> None:
    assert sorted(exemplars) == SERVED


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("operation_id", SERVED)
async def test_the_answer_matches_the_contract(world: Any, exemplars: Mapping[str, Any], operation_id: str) -> None:
    operation = OPERATIONS[operation_id]
    exemplar = exemplars[operation_id]
    tenant = await world.tenant()
    made = await exemplar.make(world, tenant)
    answer = await world.call(tenant, operation_id, made.path, made.params)
    assert answer.status == operation.success_status, answer
    if operation.response_schema is None:
        assert answer.text == "" and "content-type" not in answer.headers
        return
    assert answer.headers["content-type"] == "application/json"
    assert violations(operation, answer.body) == []
    if operation.list_key is not None and operation.paging != "none":
        assert bool(answer.body[operation.list_key]) == exemplar.rows


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("operation_id", LISTS)
async def test_a_list_pages_forth_and_back(world: Any, exemplars: Mapping[str, Any], operation_id: str) -> None:
    operation = OPERATIONS[operation_id]
    exemplar = exemplars[operation_id]
    tenant = await world.tenant()
    made = await exemplar.make(world, tenant)
    key = str(operation.list_key)

    async def page(link: str) -> Any:
        answer = await world.get(tenant, operation, link, {})
        assert answer.status == 200, answer
        assert violations(operation, answer.body) == []
        return answer.body

    def link(body: Any, name: str) -> str | None:
        """Return path and query of a page's link, which is in the API's own form."""
        found = body[f"{name}_uri"] if operation.paging == "relative" else body["meta"][f"{name}_url"]
        if found is None:
            return None
        parts = urlsplit(found)
        # The newer APIs' links are absolute and canonical; the 2010 API's have neither scheme nor host.
        expected = ("", "") if operation.paging == "relative" else ("https", operation.host)
        assert (parts.scheme, parts.netloc) == expected, found
        assert parse_qs(parts.query)["PageSize"] == ["1"], found
        return f"{parts.path}?{parts.query}"

    first = (await world.call(tenant, operation_id, made.path, {**made.params, "PageSize": 1})).body
    assert violations(operation, first) == []
    if operation.paging == "relative":
        assert first.keys() == {*RELATIVE_KEYS, key}
        assert (first["page"], first["page_size"], first["start"]) == (0, 1, 0)
        own = first["uri"]
    else:
        assert first.keys() == {"meta", key}
        assert first["meta"].keys() == META_KEYS
        assert (first["meta"]["page"], first["meta"]["page_size"], first["meta"]["key"]) == (0, 1, key)
        own = first["meta"]["url"]
    assert own.endswith("PageSize=1&Page=0")
    assert link(first, "previous_page") is None
    # Compared without the caches of a second: the row that a link leads to is the same row.
    assert (await page(str(link(first, "first_page"))))[key] == first[key]
    following = link(first, "next_page")
    assert (following is not None) == exemplar.pages, first
    if following is None:
        return
    second = await page(following)
    assert len(first[key]) == len(second[key]) == 1
    assert second[key] != first[key]
    assert (await page(str(link(second, "previous_page"))))[key] == first[key]
