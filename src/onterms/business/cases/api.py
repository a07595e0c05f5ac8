"""Routes of cases under /commercial/v1, made for each book."""

from onterms.business import customers
from onterms.business.cases import wire
from onterms.business.cases.model import Case
from onterms.business.cases.service import Book, actor_of_request, queue
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import Access, OwnReply, OwnRequest, OwnRoute

_BASE = "/commercial/v1"
PAGE_SIZE = 50
_NAMES = ("customer_sid", "event")


class _Routes:
    def __init__(self, book: Book) -> None:
        self._book = book

    def render(self, request: OwnRequest, case: Case) -> dict[str, object]:
        return wire.case(case, () if request.operator else self._book.machine.hidden)

    async def open(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customers.refuse_weak_credentials(request)
        customer = await customers.customer_of_request(tx, request)
        given = {name: value for name, value in request.body.items() if name not in _NAMES}
        event = request.text("event", default="open", max_length=40)
        case = await self._book.open(tx, customer.sid, given, actor_of_request(request), request.at, event=event)
        return OwnReply(self.render(request, case), 201)

    async def fire(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customers.refuse_weak_credentials(request)
        customer = await customers.customer_of_request(tx, request)
        given = {name: value for name, value in request.body.items() if name not in _NAMES}
        event = request.text("event", max_length=40)
        actor = actor_of_request(request)
        case = await self._book.fire(tx, customer.sid, request.path["sid"], event, given, actor, request.at)
        return OwnReply(self.render(request, case))

    async def list(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        states = [request.query["state"]] if "state" in request.query else None
        found = await self._book.list(
            tx, customer.sid, states, after=request.query.get("next", ""), limit=PAGE_SIZE + 1
        )
        shown = [self.render(request, case) for case in found[:PAGE_SIZE]]
        return OwnReply({"items": shown, "next": found[PAGE_SIZE - 1].sid if len(found) > PAGE_SIZE else None})

    async def fetch(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        return OwnReply(self.render(request, await self._book.fetch(tx, customer.sid, request.path["sid"])))


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
    one = f"{_BASE}/{noun}/{{sid}}"
    return [
        OwnRoute("POST", f"{_BASE}/{noun}", opens, made.open, summary=f"Open a case: {machine.kind}"),
        OwnRoute("GET", f"{_BASE}/{noun}", sees, made.list, summary=f"List cases: {machine.kind}"),
        OwnRoute("GET", one, sees, made.fetch, summary=f"Show a case: {machine.kind}"),
        OwnRoute("POST", f"{one}/Events", sees, made.fire, summary=f"Move a case: {machine.kind}"),
    ]


def operator_routes() -> list[OwnRoute]:
    """Make the operator's queue over the cases of all customers."""
    return [OwnRoute("GET", f"{_BASE}/Cases", "operator", _queue, summary="List cases of all customers")]


async def _queue(tx: Tx, request: OwnRequest) -> OwnReply:
    limit = request.query.get("limit", str(PAGE_SIZE))
    if not limit.isdigit() or not 0 < int(limit) <= PAGE_SIZE:
        raise InvalidParameter(f"'limit' must be from 1 to {PAGE_SIZE}")
    size = int(limit)
    query = request.query
    found = await queue(tx, query.get("kind"), query.get("state"), query.get("next", ""), size + 1)
    following = found[size - 1].sid if len(found) > size else None
    return OwnReply({"items": [wire.case(case) for case in found[:size]], "next": following})
