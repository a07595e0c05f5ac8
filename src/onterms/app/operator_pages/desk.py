"""Calls of our own API from inside: the pages see and do what any client with the operator key could."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from onterms.app.operator_pages import reading
from onterms.business import cases
from onterms.core.db import Database, Row, Tx
from onterms.core.errors import NotFound
from onterms.engines.api import OwnReply, OwnRequest, OwnRoute

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
# What the pages may reach: never the first page, sign-up or what is open to customers' own keys only.
_ROOTS: Final = ("/commercial/v1/", "/simulator/v1/clock")
_ACCESS: Final = frozenset({"operator", "customer", "machine"})


@dataclass(frozen=True, slots=True)
class Line:
    """A call as a person types it."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None

    @property
    def command(self) -> str:
        """The call as a line for a shell; key and address come from variables."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        words = ["curl"]
        if self.method != "GET":
            words.append(f"-X {self.method}")
        words.append('-H "Authorization: Bearer $ONTERMS_OPERATOR_KEY"')
        if self.body is not None:
            # Only examples of ours stand here, never a customer's words, so nothing closes the quotes.
            written = json.dumps(self.body)
            assert "'" not in written, "an example has no apostrophe"
            words.append(f"-H 'Content-Type: application/json' -d '{written}'")
        words.append(f'"$ONTERMS_URL{self.path}{query}"')
        return " ".join(words)


class Desk:
    """Finds the route of a path among those that are mounted and calls it as the operator.

    Shapes: `routes` is asked at the first call, when everything is mounted.
    """

    def __init__(self, database: Database, routes: Callable[[], Sequence[OwnRoute]]) -> None:
        self._database = database
        self._routes = routes
        self._compiled: list[tuple[OwnRoute, re.Pattern[str]]] | None = None

    def machines(self) -> dict[str, tuple[cases.Machine, str]]:
        """Return the kinds of cases that are mounted: the table of each, and its noun in the API."""
        found: dict[str, tuple[cases.Machine, str]] = {}
        for route in self._routes():
            book = cases.book_of(route)
            if book is not None:
                found[book.machine.kind] = (book.machine, route.pattern.split("/")[3])
        return found

    async def find_case(self, customer_sid: str, sid: str) -> Row | None:
        """Return a case as it stands now."""
        async with self._database.snapshot() as tx:
            return await reading.case(tx, customer_sid, sid)

    def serves(self, method: str, path: str) -> bool:
        """Tell whether this install has such a route."""
        return self._find(method, path) is not None

    async def read(self, tx: Tx, request: OwnRequest, path: str, /, **query: str) -> Any:
        """Return what GET answers, in the page's own transaction.

        Raises: Refusal as the route does.
        """
        return (await self.reply(tx, request, path, **query)).body

    async def reply(self, tx: Tx, request: OwnRequest, path: str, /, **query: str) -> OwnReply:
        """Return the whole answer of GET, for what is no JSON."""
        route, asked = self._asked(request, "GET", path, query, {})
        if route.handler is None:
            assert route.free_handler is not None
            found: OwnReply = await route.free_handler(asked)
        else:
            found = await route.handler(tx, asked)
        return found

    async def everything(self, tx: Tx, request: OwnRequest, path: str, /, **query: str) -> list[dict[str, Any]]:
        """Return the items of a list's first page."""
        items: list[dict[str, Any]] = (await self.read(tx, request, path, **query))["items"]
        return items

    async def act(self, request: OwnRequest, path: str, body: Mapping[str, Any], /, **query: str) -> Any:
        """Return what POST answers, in a transaction of its own that is committed then.

        Raises: Refusal as the route does; nothing was done.
        """
        route, asked = self._asked(request, "POST", path, query, body)
        if route.free_handler is not None:
            return (await route.free_handler(asked)).body
        assert route.handler is not None
        async with self._database.transaction() as tx:
            return (await route.handler(tx, asked)).body

    def _asked(
        self, request: OwnRequest, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any]
    ) -> tuple[OwnRoute, OwnRequest]:
        found = self._find(method, path)
        if found is None:
            raise NotFound("This install does not serve that")
        route, match = found
        asked = replace(
            request,
            method=method,
            path=match.groupdict(),
            query=dict(query),
            body=dict(body),
            raw_body=b"",
            caller=None,
            operator=True,
            local=False,
        )
        return route, asked

    def _find(self, method: str, path: str) -> tuple[OwnRoute, re.Match[str]] | None:
        if self._compiled is None:
            self._compiled = [
                (route, re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", route.pattern) + "$"))
                for route in self._routes()
                if route.access in _ACCESS and route.pattern.startswith(_ROOTS)
            ]
        for route, pattern in self._compiled:
            if route.method == method and (match := pattern.match(path)) is not None:
                return route, match
        return None
