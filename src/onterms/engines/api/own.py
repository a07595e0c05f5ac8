"""Our own APIs, where the contract has none: `/simulator/v1/...`. JSON in, JSON out, the same error body.

A handler's annotations declare its route: a parameter `body` or `query` is read by its shape before the handler runs, a
name of the pattern is that part of the path, `Found` is looked up, and what is returned is shown by its own shape. The
documents of our APIs are written from the same annotations (openapi.py).
"""

import functools
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api import shapes
from onterms.engines.api.calls import Caller

_Answer = TypeVar("_Answer")

# Who may call: `sandbox` is anybody on this machine of a sandbox install, or the operator or an account's credentials;
# `machine` is the same without accounts, for what belongs to no tenant; `operator` needs the operator key; `account` an
# account's credentials; `customer` either of both; `open` checks for itself (signed links, sign-up).
Access = Literal["sandbox", "machine", "operator", "account", "customer", "open"]


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """One request to an API of our own.

    Shapes: `path` holds the pattern's parameters, `query` the last value of each name, `body` the parsed JSON object.
    """

    method: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    at: datetime
    caller: Caller | None = None
    operator: bool = False
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    # The body as it came, for who checks its signature.
    raw_body: bytes = b""
    # Who connected, and the name of this request: what evidence of an acceptance or a notice keeps.
    peer: str | None = None
    request_id: str | None = None
    # True for a caller on this machine of a sandbox install, who needs no credentials for sandbox routes.
    local: bool = False

    def text(self, name: str, *, default: str | None = None, max_length: int = 65536) -> str:
        """Return a string of the body; refuse when it is missing without default, another type or too long."""
        value = self.body.get(name, default)
        if not isinstance(value, str):
            raise InvalidParameter(f"'{name}' must be a string" if name in self.body else f"'{name}' is required")
        if len(value) > max_length:
            raise InvalidParameter(f"'{name}' is longer than {max_length} characters")
        return value


@dataclass(frozen=True, slots=True)
class OwnReply:
    """A status and a JSON value (or raw bytes with their content type)."""

    body: Any
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    content_type: str = "application/json"
    # A body without end (server-sent events): chunks as they come, until the client goes.
    stream: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Mark a handler's parameter as looked up: `find` takes the transaction and the request.

    Shapes: `names` are what it reads of the query or, of a POST, of the body.
    """

    find: Callable[[Tx, OwnRequest], Awaitable[Any]]
    names: tuple[str, ...] = ()


class Shows:
    """Mark a handler that answers with OwnReply: the shape of each status, or the content type of raw bytes."""

    def __init__(self, shape: Any, *statuses: int) -> None:
        self.by_status = dict.fromkeys(statuses or (200,), shape)

    def __or__(self, other: "Shows") -> "Shows":
        self.by_status |= other.by_status
        return self


# What a handler returns that made something: 201.
Created = Annotated[_Answer, Shows(None, 201)]


@dataclass(slots=True)
class Checking:
    """Whether every answer is held against what its route declares; tests turn it on."""

    answers: bool = False


CHECKING = Checking()


@dataclass(frozen=True, slots=True)
class Declared:
    """What a handler's annotations say of its route.

    Shapes: `found` and `plain` are parameters; `shows` is None where the answer is not declared.
    """

    body: Any = None
    query: Any = None
    found: Mapping[str, Found] = field(default_factory=dict)
    plain: Mapping[str, str] = field(default_factory=dict)
    shows: Mapping[int, Any] | None = None


OwnHandler = Callable[..., Awaitable[Any]]
# Where a use case spans several commits (moving the clock lets workers run), it opens its own transactions.
OwnFreeHandler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class OwnRoute:
    """One route: `{name}` in the pattern matches one path segment.

    Shapes: `takes` and `answers` are JSON schemas of body and answer, for routes that are made from tables.
    """

    method: str
    pattern: str
    access: Access
    handler: OwnHandler | None = None
    free_handler: OwnFreeHandler | None = None
    body_bytes_max: int = 1024 * 1024
    summary: str = field(default="")
    # What a browser's form sends: `body` holds the last value of each name. Every other route takes JSON only.
    takes_form: bool = False
    # A body of any kind, which the handler reads in `raw_body`.
    takes_any: bool = False
    # Asked before anything of the body is read, with a request that has none: it raises for who may not send one.
    before_body: Callable[[OwnRequest], Awaitable[None]] | None = None
    takes: Mapping[str, Any] | None = None
    answers: Mapping[str, Any] | None = None
    room: str = field(init=False, default="")
    declared: Declared = field(init=False, default_factory=Declared)

    def __post_init__(self) -> None:
        handler = self.handler or self.free_handler
        assert handler is not None, "a route answers"
        declared = _declared(handler, re.findall(r"\{(\w+)\}", self.pattern))
        object.__setattr__(self, "room", handler.__module__.split(".")[2])
        if declared.shows is None:
            return
        object.__setattr__(self, "declared", declared)
        if self.handler is not None:
            object.__setattr__(self, "handler", _framed(self.handler, declared, self.method))
        else:
            framed = _framed(handler, declared, self.method)
            object.__setattr__(self, "free_handler", functools.partial(framed, None))


def _declared(handler: OwnHandler, path: list[str]) -> Declared:
    hints = get_type_hints(handler, include_extras=True)
    shows = _shows(hints.pop("return", OwnReply))
    body = query = None
    found: dict[str, Found] = {}
    plain: dict[str, str] = {}
    for name in inspect.signature(handler).parameters:
        kind = hints.get(name)
        marked = next((each for each in get_args(kind)[1:] if isinstance(each, Found)), None)
        if marked is not None:
            found[name] = marked
        elif kind is Tx:
            plain[name] = "tx"
        elif kind is OwnRequest:
            plain[name] = "request"
        elif name == "body":
            body = kind
        elif name == "query":
            query = kind
        elif name in path:
            plain[name] = "path"
        elif shows is not None:
            raise TypeError(f"{handler.__qualname__}: nobody knows what to give for '{name}'")
    return Declared(body, query, found, plain, shows)


def _shows(returned: Any) -> Mapping[int, Any] | None:
    if returned is OwnReply:
        return None
    if returned is type(None) or returned is None:
        return {204: None}
    if get_origin(returned) is Annotated:
        answer, *marks = get_args(returned)
        for mark in marks:
            if isinstance(mark, Shows):
                return mark.by_status if answer is OwnReply else dict.fromkeys(mark.by_status, answer)
    return {200: returned}


def _framed(handler: OwnHandler, declared: Declared, method: str) -> OwnHandler:
    """Put the reading of a request before a handler, and the showing of its answer behind it."""
    names = {name for each in declared.found.values() for name in each.names}
    [status, *_] = declared.shows or (200,)

    @functools.wraps(handler)
    async def framed(tx: Tx | None, request: OwnRequest) -> OwnReply:
        given: dict[str, Any] = {}
        for name, kind in declared.plain.items():
            given[name] = tx if kind == "tx" else request if kind == "request" else request.path[name]
        for name, each in declared.found.items():
            assert tx is not None, "what is looked up takes a transaction"
            given[name] = await each.find(tx, request)
        if declared.query is not None:
            known = {name: request.query[name] for name in shapes.names(declared.query) if name in request.query}
            given["query"] = shapes.read(declared.query, known, strict=False)
        if method in ("POST", "PUT"):
            rest = {name: value for name, value in request.body.items() if name not in names} if names else request.body
            body = shapes.read(declared.body or shapes.Empty, rest)
            if declared.body is not None:
                given["body"] = body
        reply = await handler(**given)
        if not isinstance(reply, OwnReply):
            reply = OwnReply(shapes.show(reply), status)
        elif reply.raw is None and reply.stream is None:
            reply = OwnReply(shapes.show(reply.body), reply.status, reply.headers)
        if CHECKING.answers:
            _check(reply, declared, handler)
        return reply

    return framed


def _check(reply: OwnReply, declared: Declared, handler: OwnHandler) -> None:
    shows = declared.shows or {}
    assert reply.status in shows, f"{handler.__qualname__} does not declare {reply.status}"
    kind = shows[reply.status]
    if isinstance(kind, str):
        assert reply.content_type in kind.split(", "), f"{handler.__qualname__} does not declare {reply.content_type}"
    elif kind is not None:
        wrong = shapes.misfit(reply.body, kind)
        assert wrong is None, f"{handler.__qualname__} declares another answer: {wrong}"
