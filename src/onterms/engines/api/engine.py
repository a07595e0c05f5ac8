"""The engine: from a request to a response, by the contract.

    route -> authenticate -> parse and validate -> use case (in a transaction the engine commits) -> render

A batched operation shares its transaction with whoever asks at the same moment; see `core.db.Coalescer`.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from onterms.core.clock import Clock
from onterms.core.db import AtOnce, Coalescer, Database, NotAtOnce
from onterms.core.errors import (
    AuthenticationFailed,
    Forbidden,
    InvalidParameter,
    NotFound,
    NotServed,
    Refusal,
    TooManyRequests,
)
from onterms.core.ids import new_random_sid
from onterms.engines.api.bodies import InvalidField
from onterms.engines.api.calls import Account, Binding, Call, Caller, Reply
from onterms.engines.api.contract import Operation, Parameter
from onterms.engines.api.paging import Page, PageRequest, page_links, page_request
from onterms.engines.api.parameters import decode_json, decode_pairs
from onterms.engines.api.rendering import error_body, error_xml, list_xml, row_xml, rows_csv, to_json
from onterms.engines.api.routing import Route, Router

Header = tuple[bytes, bytes]

_JSON = b"application/json"
_XML = b"application/xml"
_NO_PAGING = PageRequest()
_CORS: list[Header] = [
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-allow-headers",
        b"Accept, Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Unmodified-Since, "
        b"Idempotency-Key",
    ),
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    (b"access-control-expose-headers", b"ETag, Twilio-Request-Id"),
]


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request as the edge read it.

    Shapes: `host` canonical (`api.twilio.com`), header names lower case.
    """

    method: str
    host: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    # Who connected.
    peer: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response for the edge to write."""

    status: int
    headers: list[Header]
    body: bytes


class Gatekeeper(Protocol):
    """Knows who calls and what they may touch. The `known_...` forms answer from memory or not at all."""

    def known(self, authorization: bytes) -> Caller | None:
        """Return the caller if this header was checked lately."""
        ...

    async def authenticate(self, authorization: bytes) -> Caller:
        """Check the header. Raises: AuthenticationFailed, TooManyRequests."""
        ...

    def known_account(self, caller: Caller, account_sid: str) -> Account | None:
        """Return the account if the caller's reach to it was checked lately."""
        ...

    async def account_for(self, caller: Caller, account_sid: str) -> Account:
        """Return the caller's own account or one it owns. Raises: NotFound."""
        ...


class Witness(Protocol):
    """Sees who calls, from where. Its `knows` answers from memory."""

    def knows(self, caller: Caller, peer: str | None) -> bool:
        """Tell that nothing has to be noted of this caller now."""
        ...

    async def note(self, caller: Caller, peer: str | None, request_id: str) -> None:
        """Note a call before it is answered. Raises: Refusal where it may not be."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one account may do at once.

    Units: concurrent requests; requests per second (0: no limit) for operations that the contract marks as rate
    limited.
    """

    concurrent_max: int = 1000
    marked_per_s: int = 100


@dataclass(slots=True)
class _Served:
    binding: Binding
    coalescer: Coalescer[Call, Any] | None


@dataclass(slots=True)
class _Window:
    second: int = -1
    used: int = 0


@dataclass(slots=True)
class _Context:
    """What error rendering needs to know of a request under way."""

    request_id: str
    started: float
    xml: bool = False
    concurrent: int = 1
    extra: list[Header] = field(default_factory=list)


class Engine:
    """Serve the contract's operations for the rooms bound to it."""

    def __init__(
        self,
        operations: Sequence[Operation],
        database: Database,
        clock: Clock,
        gatekeeper: Gatekeeper,
        limits: Limits | None = None,
        witness: Witness | None = None,
    ) -> None:
        self.operations = {operation.id: operation for operation in operations}
        self.router = Router(operations)
        self._database = database
        self._clock = clock
        self._gatekeeper = gatekeeper
        self._limits = limits or Limits()
        self._witness = witness
        self._served: dict[str, _Served] = {}
        self._concurrent: dict[str, int] = {}
        self._windows: dict[tuple[str, str], _Window] = {}

    def bind(self, bindings: Iterable[Binding]) -> None:
        """Join rooms to operations. A wrong or doubled operation id is a bug and fails at start."""
        for binding in bindings:
            assert binding.operation_id in self.operations, f"unknown operation {binding.operation_id}"
            assert binding.operation_id not in self._served, f"{binding.operation_id} is bound twice"
            coalescer: Coalescer[Call, Any] | None = None
            if binding.batch_handler is not None:
                coalescer = Coalescer(self._batch_runner(binding))
            self._served[binding.operation_id] = _Served(binding, coalescer)

    @property
    def served(self) -> Mapping[str, Binding]:
        """The operations that rooms serve."""
        return {operation_id: entry.binding for operation_id, entry in self._served.items()}

    async def handle(self, request: Request) -> Response:
        """Answer one request; refusals become error bodies, bugs pass through to the edge's supervisor."""
        context = _Context(new_random_sid("RQ"), time.perf_counter())
        if request.method == "OPTIONS":
            return Response(200, self._headers(context, request, _JSON), b"")
        try:
            return await self._answer(request, context)
        except Refusal as refusal:
            return self._refuse(refusal, request, context)

    async def _answer(self, request: Request, context: _Context) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        route = self.router.find(request.host, method, request.path)
        if route is None:
            context.xml = request.path.startswith("/2010-04-01") and not request.path.endswith(".json")
            # Without valid credentials nobody learns which paths exist.
            await self._caller(request, context)
            raise NotFound(f"The requested resource {request.path} was not found")
        operation = route.operation
        if operation is None:
            await self._caller(request, context)
            raise Refusal("Method not allowed", code=20004, status=405, headers=(("Allow", ", ".join(route.allowed)),))
        context.xml = operation.has_extension and route.extension in (None, "xml")
        served = self._served.get(operation.id)
        if operation.needs_account and not (served and served.binding.open_to_all):
            caller = await self._caller(request, context)
        else:
            caller = _NOBODY
        if served is None:
            raise NotServed(f"{operation.operation_id} of {operation.spec} is not served by this installation")
        key = caller.account.sid
        context.concurrent = self._concurrent.get(key, 0) + 1
        if context.concurrent > self._limits.concurrent_max:
            raise TooManyRequests("Too many concurrent requests for this account")
        self._concurrent[key] = context.concurrent
        try:
            return await self._run(request, context, route, operation, served, caller)
        finally:
            left = self._concurrent[key] - 1
            if left:
                self._concurrent[key] = left
            else:
                del self._concurrent[key]

    async def _run(
        self,
        request: Request,
        context: _Context,
        route: Route,
        operation: Operation,
        served: _Served,
        caller: Caller,
    ) -> Response:
        binding = served.binding
        self._limit_rate(operation, caller, context)
        account = await self._account(operation, binding, route, caller)
        if not route.is_possible:
            raise NotFound(f"The requested resource {request.path} was not found")
        call = self._parse(request, context, route, operation, binding, caller, account)
        outcome: Any
        if served.coalescer is not None:
            outcome = await served.coalescer.submit(call)
        else:
            assert binding.handler is not None
            async with self._database.transaction() as tx:
                outcome = await binding.handler(tx, call)
        return self._render(request, context, route, operation, call, outcome)

    async def _caller(self, request: Request, context: _Context) -> Caller:
        authorization = request.headers.get(b"authorization")
        if authorization is None:
            raise AuthenticationFailed("Authenticate", headers=(("WWW-Authenticate", 'Basic realm="Twilio API"'),))
        caller = self._gatekeeper.known(authorization) or await self._gatekeeper.authenticate(authorization)
        if self._witness is not None and not self._witness.knows(caller, request.peer):
            await self._witness.note(caller, request.peer, context.request_id)
        return caller

    async def _account(self, operation: Operation, binding: Binding, route: Route, caller: Caller) -> Account:
        if caller is _NOBODY:
            return caller.account
        account = caller.account
        sid = route.path.get("AccountSid")
        if sid is not None and sid != account.sid:
            account = self._gatekeeper.known_account(caller, sid) or await self._gatekeeper.account_for(caller, sid)
        if caller.account.test and not binding.test_credentials:
            raise Forbidden("Resource not accessible with Test Account Credentials", code=20008)
        if binding.main_credential_only and caller.credential in ("standard_key", "bearer"):
            raise Forbidden("This credential may not use this resource; use the auth token or a main key")
        if (
            binding.active_account_only
            and operation.method != "GET"
            and (account.status != "active" or caller.account.status != "active")
        ):
            raise Forbidden(f"Account {account.sid} is not active", code=20005)
        return account

    def _limit_rate(self, operation: Operation, caller: Caller, context: _Context) -> None:
        limit = self._limits.marked_per_s
        if not operation.rate_limited or not limit:
            return
        window = self._windows.setdefault((caller.account.sid, operation.id), _Window())
        second = int(self._clock.monotonic())
        if window.second != second:
            window.second, window.used = second, 0
        window.used += 1
        remaining = max(0, limit - window.used)
        context.extra += [
            (b"x-rate-limit-limit", str(limit).encode()),
            (b"x-rate-limit-remaining", str(remaining).encode()),
            (b"x-rate-limit-config", f"{limit}/1s".encode()),
        ]
        if window.used > limit:
            raise TooManyRequests("Too Many Requests", headers=(("Retry-After", "1"),))

    def _parse(
        self,
        request: Request,
        context: _Context,
        route: Route,
        operation: Operation,
        binding: Binding,
        caller: Caller,
        account: Account,
    ) -> Call:
        params: dict[str, Any] = {}
        if operation.query and request.query:
            _read(operation.query, decode_pairs(request.query), params, binding)
        if operation.body_type == "form":
            pairs = decode_pairs(request.body) if _is_form(request.headers.get(b"content-type", b"")) else []
            if pairs:
                _read(operation.body, pairs, params, binding)
            _require(operation.required_body, params, binding)
        elif operation.body_type == "json":
            params.update(_json_object(request.body, operation, binding))
        _require(operation.required_query, params, binding)
        paging = page_request(params, operation.page_size_max) if operation.paging != "none" else _NO_PAGING
        headers = {
            name: request.headers[name.lower().encode()].decode("latin-1")
            for name in operation.headers
            if name.lower().encode() in request.headers
        }
        return Call(
            operation,
            caller,
            account,
            route.path,
            params,
            self._clock.now(),
            context.request_id,
            paging,
            route.extension,
            headers,
        )

    def _batch_runner(self, binding: Binding) -> Any:
        handler = binding.batch_handler
        assert handler is not None
        suits = binding.at_once
        luck = _Luck()

        async def run(calls: list[Call]) -> Sequence[Any]:
            if suits is None or not luck.is_with_us():
                return await in_transaction(calls)
            quick = [call for call in calls if suits(call)]
            if len(quick) == len(calls):
                return await at_once(calls)
            rest = [call for call in calls if not suits(call)]
            answers = iter(await at_once(quick) if quick else ())
            others = iter(await in_transaction(rest))
            return [next(answers if suits(call) else others) for call in calls]

        async def at_once(calls: list[Call]) -> Sequence[Any]:
            once: AtOnce | None = None
            try:
                async with self._database.at_once() as once:
                    answers = await handler(once, calls)
                luck.note(succeeded=True)
                return answers
            except NotAtOnce:
                luck.note(succeeded=False)
            except Exception as error:
                # The connection may have been lost with the answer: once more could be twice.
                if once is not None and once.has_ended:
                    return [error] * len(calls)
            return await in_transaction(calls)

        async def in_transaction(calls: list[Call]) -> Sequence[Any]:
            is_done = False
            try:
                async with self._database.transaction() as tx:
                    answers = await handler(tx, calls)
                    is_done = True
                return answers
            except Exception as error:
                # When only the commit fails, nobody knows whether the rows are there: once more could be twice.
                if is_done or len(calls) == 1:
                    return [error] * len(calls)
            # One call that the database refuses must not take its neighbours down: each again by itself.
            results: list[Any] = []
            for call in calls:
                try:
                    async with self._database.transaction() as tx:
                        [answer] = await handler(tx, [call])
                    results.append(answer)
                except Exception as error:
                    results.append(error)
            return results

        return run

    def _render(
        self, request: Request, context: _Context, route: Route, operation: Operation, call: Call, outcome: Any
    ) -> Response:
        status = operation.success_status
        if isinstance(outcome, Reply):
            context.extra += [(name.lower().encode(), value.encode("latin-1")) for name, value in outcome.headers]
            status = outcome.status or status
            if outcome.raw is not None:
                return Response(status, self._headers(context, request, outcome.content_type.encode()), outcome.raw)
            outcome = outcome.body
        if outcome is None:
            return Response(status, self._headers(context, request, None), b"")
        if isinstance(outcome, Page):
            body = _list_body(request, operation, call, outcome)
            if context.xml:
                assert operation.list_key is not None
                content = list_xml(operation.list_key, operation.element_name, body)
                return Response(status, self._headers(context, request, _XML), content)
            if route.extension == "csv" and operation.list_key is not None:
                content = rows_csv(body[operation.list_key])
                return Response(status, self._headers(context, request, b"text/csv"), content)
            return Response(status, self._headers(context, request, _JSON), to_json(body))
        row = operation.render(outcome)
        if context.xml:
            return Response(status, self._headers(context, request, _XML), row_xml(operation.element_name, row))
        return Response(status, self._headers(context, request, _JSON), to_json(row))

    def _refuse(self, refusal: Refusal, request: Request, context: _Context) -> Response:
        context.extra += [(name.lower().encode(), value.encode("latin-1")) for name, value in refusal.headers]
        if context.xml:
            return Response(refusal.status, self._headers(context, request, _XML), error_xml(refusal))
        return Response(refusal.status, self._headers(context, request, _JSON), to_json(error_body(refusal)))

    def _headers(self, context: _Context, request: Request, content_type: bytes | None) -> list[Header]:
        headers: list[Header] = [
            (b"twilio-request-id", context.request_id.encode()),
            (b"twilio-concurrent-requests", b"%d" % context.concurrent),
            (b"twilio-request-duration", b"%.3f" % (time.perf_counter() - context.started)),
            (b"x-home-region", b"us1"),
            (b"x-api-domain", request.host.encode()),
            *_CORS,
        ]
        if content_type is not None:
            headers.append((b"content-type", content_type))
        if context.extra:
            headers += context.extra
        return headers


class _Luck:
    """Whether it is worth trying to do a batch at once: each failure doubles how many batches do not try."""

    __slots__ = ("_failures", "_skip")

    def __init__(self) -> None:
        self._failures = 0
        self._skip = 0

    def is_with_us(self) -> bool:
        if self._skip:
            self._skip -= 1
            return False
        return True

    def note(self, *, succeeded: bool) -> None:
        self._failures = 0 if succeeded else min(self._failures + 1, 8)
        # The first failure is mostly an accident, as one recipient who opted out.
        self._skip = 2**self._failures - 2 if self._failures else 0


_NOBODY = Caller(Account("", "", "active", ""), "token", "")


def _is_form(content_type: bytes) -> bool:
    return not content_type or content_type.startswith(b"application/x-www-form-urlencoded")


def _refused(parameter: Parameter, binding: Binding, words: str) -> Refusal:
    known = binding.refusals.get(parameter.name)
    if known is not None:
        return Refusal(known[1], code=known[0])
    return InvalidParameter(words)


def _read(
    known: Mapping[str, Parameter], pairs: list[tuple[str, str]], params: dict[str, Any], binding: Binding
) -> None:
    """Parse what the operation knows; unknown names are ignored, as the original does."""
    for name, text in pairs:
        parameter = known.get(name)
        if parameter is None:
            prefix, dot, rest = name.partition(".")
            owner = known.get(prefix) if dot else None
            if owner is not None and owner.prefixed:
                params.setdefault(prefix, {})[rest] = text
            continue
        try:
            value = parameter.parse(text)
        except InvalidParameter as error:
            raise _refused(parameter, binding, error.message) from None
        if parameter.repeated:
            params.setdefault(name, []).append(value)
        else:
            # The last value wins where a client repeats a name that is no list.
            params[name] = value


def _require(required: Sequence[Parameter], params: Mapping[str, Any], binding: Binding) -> None:
    for parameter in required:
        if params.get(parameter.name) in (None, ""):
            raise _refused(parameter, binding, f"Missing required parameter {parameter.name}")


def _json_object(body: bytes, operation: Operation, binding: Binding) -> dict[str, Any]:
    try:
        value = decode_json(body) if body else {}
    except ValueError:
        raise InvalidParameter("The request body is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidParameter("The request body must be a JSON object")
    if operation.check_body is not None:
        try:
            operation.check_body(value, "")
        except InvalidField as error:
            known = binding.refusals.get(error.name)
            if known is None:
                raise
            raise Refusal(known[1], code=known[0]) from None
    return value


def _list_body(request: Request, operation: Operation, call: Call, page: Page) -> dict[str, Any]:
    query = [(name, value) for name, value in decode_pairs(request.query) if name in operation.query]
    links = page_links(request.path, query, call.paging, page)
    key = operation.list_key
    assert key is not None
    rows = [operation.render(row) for row in page.rows]
    if operation.paging == "relative":
        start = call.paging.page * call.paging.size
        return {
            "first_page_uri": links["first"],
            "end": max(start + len(rows) - 1, 0),
            "next_page_uri": links["next"],
            "page": call.paging.page,
            "page_size": call.paging.size,
            "previous_page_uri": links["previous"],
            "start": start,
            "uri": links["self"],
            key: rows,
        }
    # Absolute and canonical, whatever door the client came through: SDKs rewrite the host for their own door again.
    base = f"https://{operation.host}"
    return {
        key: rows,
        "meta": {
            "key": key,
            "page": call.paging.page,
            "page_size": call.paging.size,
            "url": base + links["self"],
            "first_page_url": base + links["first"],
            "next_page_url": base + links["next"] if links["next"] else None,
            "previous_page_url": base + links["previous"] if links["previous"] else None,
        },
    }
