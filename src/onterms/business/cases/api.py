"""Routes of cases under /commercial/v1, made for each book."""

from typing import Annotated

from msgspec import Meta

from onterms.business.cases import wire
from onterms.business.cases.model import Case
from onterms.business.cases.service import Book, actor_of_request, queue
from onterms.business.customers import Mine, MineToChange
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import Access, Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, Json, Paging, page

_BASE = "/commercial/v1"
PAGE_SIZE = 50
_NAMES = ("customer_sid", "event")


class CasesQuery(Paging):
    """Cases in a state, or all."""

    state: str | None = None


class QueueQuery(CasesQuery):
    """Cases of a kind, or all; up to `limit` at once."""

    kind: str | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_SIZE)] = PAGE_SIZE


class _Routes:
    def __init__(self, book: Book) -> None:
        self.book = book

    def render(self, request: OwnRequest, case: Case) -> Json:
        return wire.case(case, () if request.operator else self.book.machine.hidden)

    async def open(self, tx: Tx, request: OwnRequest, mine: MineToChange, body: Json) -> Created[Json]:
        event, given = _event_of(body, "open")
        case = await self.book.open(tx, mine.sid, given, actor_of_request(request), request.at, event=event)
        return self.render(request, case)

    async def fire(self, tx: Tx, request: OwnRequest, mine: MineToChange, sid: str, body: Json) -> Json:
        event, given = _event_of(body)
        case = await self.book.fire(tx, mine.sid, sid, event, given, actor_of_request(request), request.at)
        return self.render(request, case)

    async def list(self, tx: Tx, request: OwnRequest, mine: Mine, query: CasesQuery) -> Items[Json]:
        states = None if query.state is None else [query.state]
        found = await self.book.list(tx, mine.sid, states, after=query.next, limit=PAGE_SIZE + 1)
        return page([self.render(request, case) for case in found], PAGE_SIZE, _sid_of)

    async def fetch(self, tx: Tx, request: OwnRequest, mine: Mine, sid: str) -> Json:
        return self.render(request, await self.book.fetch(tx, mine.sid, sid))


def _event_of(body: Json, default: str | None = None) -> tuple[str, Json]:
    """Take the event out of a body; the machine reads the facts that come with it."""
    event = body.get("event", default)
    if not isinstance(event, str) or len(event) > 40:
        raise InvalidParameter("'event' must be a string" if "event" in body else "'event' is required")
    return event, {name: value for name, value in body.items() if name not in _NAMES}


def _sid_of(shown: Json) -> str:
    return str(shown["sid"])


def routes(book: Book, noun: str) -> list[OwnRoute]:
    """Make the routes of a book: open, list, show, and `Events` to move a case."""
    made = _Routes(book)
    machine = book.machine
    sees: Access = "operator" if machine.secret else "customer"
    opens: Access = (
        "customer"
        if not machine.secret and any(not state and "customer" in m.by for (state, _), m in machine.moves.items())
        else "operator"
    )
    one, shown = f"{_BASE}/{noun}/{{sid}}", wire.case_schema(machine)
    return [
        OwnRoute(
            *("POST", f"{_BASE}/{noun}", opens),
            handler=made.open,
            summary=f"Open a case: {machine.kind}",
            takes=wire.moves_schema(machine, opening=True),
            answers=shown,
        ),
        OwnRoute(
            *("GET", f"{_BASE}/{noun}", sees),
            handler=made.list,
            summary=f"List cases: {machine.kind}",
            answers=wire.page_schema(shown),
        ),
        OwnRoute("GET", one, sees, made.fetch, summary=f"Show a case: {machine.kind}", answers=shown),
        OwnRoute(
            *("POST", f"{one}/Events", sees),
            handler=made.fire,
            summary=f"Move a case: {machine.kind}",
            takes=wire.moves_schema(machine, opening=False),
            answers=shown,
        ),
    ]


def book_of(route: OwnRoute) -> Book | None:
    """Return the book whose cases a route opens, shows or moves."""
    owner = getattr(getattr(route.handler, "__wrapped__", None), "__self__", None)
    return owner.book if isinstance(owner, _Routes) else None


def operator_routes() -> list[OwnRoute]:
    """Make the operator's queue over the cases of all customers."""
    return [OwnRoute("GET", f"{_BASE}/Cases", "operator", _queue, summary="List cases of all customers")]


async def _queue(tx: Tx, query: QueueQuery) -> Items[Json]:
    found = await queue(tx, query.kind, query.state, query.next, query.limit + 1)
    return page([wire.case(case) for case in found], query.limit, _sid_of)
