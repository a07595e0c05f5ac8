"""The contract as data: the reduced OpenAPI documents compiled into tables of operations.

Each document is read once at start. An `Operation` knows its route, how to parse its parameters, how to render its
response, and how its lists page. Nothing here is generated code: 1,447 operations compile in about 0.3 s.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, Literal

import msgspec

from onterms.engines.api.bodies import Check, compile_body
from onterms.engines.api.parameters import Parser, compile_day_parser, compile_parser
from onterms.engines.api.rendering import Renderer, compile_renderer, singular_name

METHODS = ("get", "post", "put", "patch", "delete")
PagingStyle = Literal["none", "relative", "meta"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation."""

    name: str
    required: bool
    parse: Parser
    # A list parameter collects every value sent under its name.
    repeated: bool
    # A parameter whose name is followed by a dot and a key, as in `AddOns.whitepages.Type=...`.
    prefixed: bool
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the contract, compiled."""

    id: str
    spec: str
    operation_id: str
    method: str
    host: str
    # The path without its `.json`, split: literal segments, and parameters as ("name", pattern).
    path: str
    segments: tuple["str | PathParameter", ...]
    has_extension: bool
    query: Mapping[str, Parameter]
    body: Mapping[str, Parameter]
    headers: tuple[str, ...]
    body_type: Literal["none", "form", "json"]
    body_schema: Mapping[str, Any] | None
    success_status: int
    paging: PagingStyle
    page_size_max: int
    list_key: str | None
    render: Renderer
    element_name: str
    rate_limited: bool
    needs_account: bool
    response_schema: Mapping[str, Any] | None
    document: Mapping[str, Any] = field(repr=False)

    # What every request of the operation is asked for.
    required_query: tuple[Parameter, ...] = ()
    required_body: tuple[Parameter, ...] = ()
    # What a JSON body must be.
    check_body: Check | None = None


@dataclass(frozen=True, slots=True)
class PathParameter:
    """A variable segment of a path: literal text around one name, and what the value must look like."""

    name: str
    prefix: str
    suffix: str
    matches: Callable[[str], Any] | None


def documents() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each document of the contract with its name (`api_v2010`), in order."""
    folder = files("onterms.engines.api").joinpath("data", "twilio")
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".json"):
            name = entry.name.removeprefix("twilio_").removesuffix(".json")
            yield name, msgspec.json.decode(entry.read_bytes())


def resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow `$ref` within a document until a schema with content."""
    while "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].split("/")[1:]:
            target = target[part]
        schema = target
    return schema


def _segments(path: str, parameters: Mapping[str, Mapping[str, Any]]) -> tuple[str | PathParameter, ...]:
    out: list[str | PathParameter] = []
    for segment in path.strip("/").split("/"):
        match = re.match(r"^([^{]*)\{([^}]+)\}(.*)$", segment)
        if match is None:
            out.append(segment)
            continue
        pattern = parameters.get(match[2], {}).get("pattern")
        out.append(
            PathParameter(
                name=match[2],
                prefix=match[1],
                suffix=match[3],
                matches=re.compile(pattern).match if pattern else None,
            )
        )
    return tuple(out)


def _compile_operation(
    spec: str, document: Mapping[str, Any], path: str, item: Mapping[str, Any], method: str
) -> Operation:
    raw = item[method]
    operation_id = raw["operationId"]
    query: dict[str, Parameter] = {}
    path_schemas: dict[str, Mapping[str, Any]] = {}
    headers: list[str] = []
    for entry in raw.get("parameters", ()):
        parameter = resolve(document, entry)
        schema = resolve(document, parameter.get("schema", {}))
        if parameter["in"] == "path":
            path_schemas[parameter["name"]] = schema
        elif parameter["in"] == "query":
            query[parameter["name"]] = _parameter(document, parameter["name"], schema, parameter.get("required", False))
        else:
            headers.append(parameter["name"])

    body: dict[str, Parameter] = {}
    body_type: Literal["none", "form", "json"] = "none"
    body_schema: Mapping[str, Any] | None = None
    request_body = resolve(document, raw.get("requestBody", {}))
    for content_type, content in request_body.get("content", {}).items():
        body_schema = resolve(document, content["schema"])
        body_type = "form" if content_type == "application/x-www-form-urlencoded" else "json"
        if body_type == "form":
            required = body_schema.get("required", ())
            for name, schema in body_schema.get("properties", {}).items():
                body[name] = _parameter(document, name, resolve(document, schema), name in required)
        break

    success_status, response_schema = 200, None
    for status, response in raw["responses"].items():
        # Redirects (302, 307) are the success of the operations that have nothing else.
        if status[0] in "23":
            success_status = int(status)
            for content in resolve(document, response).get("content", {}).values():
                response_schema = content.get("schema")
                break
            break

    if spec == "api_v2010" and operation_id.startswith("ListUsageRecord"):
        # Twilio docs, UsageRecords: both dates may be offsets from today, such as -30days.
        for name in ("StartDate", "EndDate"):
            query[name] = replace(query[name], parse=compile_day_parser(name))

    paging, list_key = _paging(document, response_schema, method)
    host = item.get("servers", document.get("servers", [{"url": "https://api.twilio.com"}]))[0]["url"].split("//")[1]
    has_extension = path.endswith(".json")
    bare = path.removesuffix(".json")
    size = query.get("PageSize")
    success_headers = resolve(document, raw["responses"].get(str(success_status), {})).get("headers", {})
    return Operation(
        id=f"{spec}:{operation_id}",
        spec=spec,
        operation_id=operation_id,
        method=method.upper(),
        host=host,
        path=path,
        segments=_segments(bare, path_schemas),
        has_extension=has_extension,
        query=query,
        body=body,
        headers=tuple(headers),
        body_type=body_type,
        body_schema=body_schema,
        success_status=success_status,
        paging=paging,
        page_size_max=int(size.schema.get("maximum", 1000)) if size else 1000,
        list_key=list_key,
        render=compile_renderer(document, response_schema, list_key),
        element_name=singular_name(document, response_schema, list_key),
        rate_limited="X-Rate-Limit-Limit" in success_headers,
        needs_account=raw.get("security") != [],
        response_schema=response_schema,
        document=document,
        required_query=tuple(parameter for parameter in query.values() if parameter.required),
        required_body=tuple(parameter for parameter in body.values() if parameter.required),
        check_body=compile_body(document, body_schema) if body_type == "json" and body_schema is not None else None,
    )


def _parameter(document: Mapping[str, Any], name: str, schema: Mapping[str, Any], required: bool) -> Parameter:
    prefixed = str(schema.get("format", "")).startswith("prefixed-collapsible-map")
    repeated = schema.get("type") == "array"
    value_schema = resolve(document, schema.get("items", {})) if repeated else schema
    return Parameter(name, required, compile_parser(name, value_schema), repeated, prefixed, schema)


def _paging(
    document: Mapping[str, Any], schema: Mapping[str, Any] | None, method: str
) -> tuple[PagingStyle, str | None]:
    if schema is None or method != "get":
        return "none", None
    properties = resolve(document, schema).get("properties", {})
    style: PagingStyle
    if "first_page_uri" in properties:
        style = "relative"
    elif "meta" in properties:
        style = "meta"
    else:
        return "none", None
    for name, entry in properties.items():
        if resolve(document, entry).get("type") == "array":
            return style, name
    return "none", None


def load() -> list[Operation]:
    """Compile every operation of every document."""
    operations: list[Operation] = []
    for spec, document in documents():
        for path, item in document.get("paths", {}).items():
            for method in METHODS:
                if method in item:
                    operations.append(_compile_operation(spec, document, path, item, method))
    return operations
