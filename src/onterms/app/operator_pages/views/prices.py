"""List prices and order forms, to look at."""

from typing import Any

from onterms.app.operator_pages import reading
from onterms.app.operator_pages.desk import Desk, Line
from onterms.app.operator_pages.shown import Shown, choice_of
from onterms.core.db import Tx
from onterms.engines.api import OwnRequest

_OWN = "/commercial/v1"


async def listed(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """List a book's prices."""
    books = await desk.everything(tx, request, f"{_OWN}/PriceBooks")
    names = [str(book["book"]) for book in books]
    book = choice_of(request, "book", names) or (names[0] if names else None)
    after = request.query.get("after", "")
    query = {name: request.query[name][:40] for name in ("country", "service") if request.query.get(name)}
    page: dict[str, Any] = {"items": [], "next": None}
    if book is not None:
        paging = {"after": after} if after.isascii() and after.isdigit() else {}
        page = await desk.read(tx, request, f"{_OWN}/PriceBooks/{book}/Prices", **query, **paging)
    data = {
        "books": books,
        "book": book,
        "prices": page["items"],
        "following": page["next"],
        "query": query,
        "surcharges": await desk.everything(tx, request, f"{_OWN}/SurchargeRules"),
    }
    return Shown("prices.html", "Prices", data, [Line("GET", f"{_OWN}/PriceBooks/{book}/Prices", query or None)])


async def order_forms(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """List order forms of all customers."""
    found = await desk.everything(tx, request, f"{_OWN}/OrderForms")
    data = {"forms": found, "names": await reading.names(tx, [str(form["customer_sid"]) for form in found])}
    return Shown("prices_forms.html", "Order forms", data, [Line("GET", f"{_OWN}/OrderForms")])
