"""The OpenAPI 3.1 documents of our own APIs, written from the routes that serve them."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from onterms.engines.api import shapes
from onterms.engines.api.own import Access, OwnRequest, OwnRoute

_SID = {"type": "string", "pattern": "^[A-Z]{2}[0-9a-fA-F]{32}$"}
_DESCRIPTION = """\
JSON in, JSON out. A request's body is a JSON object; a field that is not declared is refused with 400 and code 20001,
and the message names the field. Query parameters that are not declared are ignored. Amounts and prices are decimal
text with at most six decimals, never numbers. Instants are RFC 3339 with an offset, days are `YYYY-MM-DD`. Text holds
no NUL. Lists answer `{"items": [...], "next": token}`: give the token back as `next` (or `after`, where that is
declared) for the next page; it is null on the last one. Every refusal has the body `Refusal`; where a clause of the
terms is its reason, `details.clause` names it. What the operator asks about one customer names it as `customer_sid`;
an account is asked about its own customer and may leave it out.
"""
_SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    "operator": [{"operatorKey": []}],
    "account": [{"account": []}],
    "customer": [{"account": []}, {"operatorKey": []}],
    "open": [],
    # On the machine of a sandbox install nobody needs credentials.
    "machine": [{}, {"operatorKey": []}],
    "sandbox": [{}, {"account": []}, {"operatorKey": []}],
}
_SCHEMES = {
    "account": {
        "type": "http",
        "scheme": "basic",
        "description": "An account's SID and auth token, or an API key's SID and secret.",
    },
    "operatorKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "The operator key. HTTP basic with the user name `operator` and the key as password does too.",
    },
}
_REFUSAL = {
    "type": "object",
    "description": "Why a request was refused.",
    "properties": {
        "code": {"type": "integer", "description": "The code of the catalogue of errors."},
        "message": {"type": "string"},
        "more_info": {"type": "string"},
        "status": {"type": "integer"},
        "details": {
            "type": "object",
            "description": "What the refusal is about.",
            "properties": {"clause": {"type": "string", "description": "The clause of the terms."}},
        },
    },
    "required": ["code", "message", "more_info", "status"],
    "additionalProperties": False,
}


def document(routes: Sequence[OwnRoute], prefix: str, title: str, version: str) -> dict[str, Any]:
    """Write the document of the routes below a prefix."""
    below = [route for route in routes if route.pattern.startswith(f"{prefix}/")]
    asked = [kind for route in below for kind in _kinds_of(route)]
    written, components = shapes.schemas(asked)
    schema_of = {_key(kind): schema for kind, schema in zip(asked, written, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in below:
        operation = _operation(route, prefix, schema_of, components)
        paths.setdefault(route.pattern, {})[route.method.lower()] = operation
    written_out = {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": room} for room in sorted({route.room for route in below})],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {"Refusal": _REFUSAL, **_reachable(paths, components)},
            "responses": {
                "Refusal": {
                    "description": "Refused, with a code and the reason.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
                }
            },
            "securitySchemes": _SCHEMES,
        },
    }
    # As a reader has it: what Python holds as tuples and constants is JSON's then.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(written_out))
    return plain


def document_route(prefix: str, title: str, version: str, routes: list[OwnRoute]) -> OwnRoute:
    """Make the route that shows a document; `routes` may still grow until it is asked for."""

    async def show(request: OwnRequest) -> dict[str, Any]:
        return document(routes, prefix, title, version)

    return OwnRoute("GET", f"{prefix}/openapi.json", "open", free_handler=show, summary="Show this document")


def _kinds_of(route: OwnRoute) -> list[Any]:
    declared = route.declared
    kinds = [declared.body, declared.query, *(declared.shows or {}).values()]
    return [kind for kind in kinds if kind is not None and not isinstance(kind, str)]


def _key(kind: Any) -> str:
    # Generic aliases are equal without being the same.
    return repr(kind)


def _operation(
    route: OwnRoute, prefix: str, schema_of: Mapping[str, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    declared = route.declared
    named = sorted({name for found in declared.found.values() for name in found.names})
    in_path = re.findall(r"\{(\w+)\}", route.pattern)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _SID if name.endswith("sid") else {"type": "string"}}
        for name in in_path
    ]
    asked = [name for name in named if name not in in_path]
    parameters += [
        {"name": name, "in": "query", "schema": _SID, "description": "Whose: the operator names it."} for name in asked
    ]
    if declared.query is not None:
        shape = _resolved(schema_of[_key(declared.query)], components)
        for name, schema in shape["properties"].items():
            required = name in shape.get("required", ())
            parameters.append({"name": name, "in": "query", "required": required, "schema": _textual(schema)})
    operation: dict[str, Any] = {
        "operationId": _operation_id(route, prefix),
        "summary": route.summary,
        "tags": [route.room],
        "security": _SECURITY[route.access],
    }
    if parameters:
        operation["parameters"] = parameters
    if route.method in ("POST", "PUT"):
        body = _body(route, asked, schema_of, components)
        operation["requestBody"] = {
            "required": bool(body.get("required") or body.get("oneOf")),
            "content": {"application/json": {"schema": body}},
        }
    operation["responses"] = {
        **{str(status): _response(status, route, kind, schema_of) for status, kind in (declared.shows or {}).items()},
        "default": {"$ref": "#/components/responses/Refusal"},
    }
    return operation


def _body(
    route: OwnRoute, asked: Sequence[str], schema_of: Mapping[str, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    if route.takes is not None:
        return dict(route.takes)
    empty: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    schema = empty if route.declared.body is None else _resolved(schema_of[_key(route.declared.body)], components)
    if schema.get("additionalProperties") is not False or not asked:
        return dict(schema)
    # What is looked up may stand in the body as well.
    return {**schema, "properties": {**dict.fromkeys(asked, _SID), **schema["properties"]}}


def _response(status: int, route: OwnRoute, kind: Any, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if isinstance(kind, str):
        response["content"] = {media: {"schema": {"type": "string"}} for media in kind.split(", ")}
    elif kind is not None:
        schema = schema_of[_key(kind)] if route.answers is None else route.answers
        response["content"] = {"application/json": {"schema": schema}}
    return response


def _resolved(schema: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return dict(schema if reference is None else components[reference.rpartition("/")[2]])


def _textual(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Leave null out of what a query parameter may be: there it is missing."""
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf" and (name, value) != ("default", None)}
    if len(choices) == 1:
        return {**choices[0], **rest}
    return {**rest, "anyOf": choices} if choices else rest


def _operation_id(route: OwnRoute, prefix: str) -> str:
    parts = route.pattern.removeprefix(f"{prefix}/").split("/")
    words = [f"By{_camel(part.strip('{}'))}" if part.startswith("{") else _camel(part) for part in parts]
    return route.method.lower() + "".join(words)


def _camel(text: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[._-]", text))


def _reachable(paths: Any, components: Mapping[str, Any]) -> dict[str, Any]:
    """Return the components that something refers to."""
    found: dict[str, Any] = {}
    waiting = [paths]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            reference = value.get("$ref")
            name = reference.rpartition("/")[2] if isinstance(reference, str) else ""
            if name in components and name not in found:
                found[name] = components[name]
                waiting.append(components[name])
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return dict(sorted(found.items()))
