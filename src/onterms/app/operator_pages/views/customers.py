"""Customers: the list, one of them with all that is known, and its notices."""

from onterms.app.operator_pages import reading
from onterms.app.operator_pages.desk import Desk, Line
from onterms.app.operator_pages.shown import (
    Shown,
    after_of,
    base_of,
    choice_of,
    given,
    page_of,
    search_of,
    sid_of,
)
from onterms.app.operator_pages.views.timers import described
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines import ledger
from onterms.engines.api import OwnRequest

_TRAIL: int = 40
_OWN = "/commercial/v1"


async def listed(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """List customers with what they can spend and what they owe."""
    search, standing = search_of(request), choice_of(request, "standing", reading.STANDINGS)
    today = day_of(request.at)
    found = await reading.customers(
        tx, today, search=search, standing=standing, after=after_of(request), limit=reading.PAGE_SIZE + 1
    )
    rows, following = page_of(found, reading.PAGE_SIZE)
    sids = [row["sid"] for row in rows]
    data = {
        "rows": rows,
        "following": following,
        "search": search,
        "standing": standing,
        "standings": reading.STANDINGS,
        "funds": await reading.funds(tx, sids),
        "owed": await reading.owed(tx, sids),
        "counts": await reading.by_standing(tx, today),
    }
    return Shown("customers.html", "Customers", data, [Line("GET", f"{_OWN}/Customers")])


async def show(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """Show one customer."""
    sid = sid_of(request, "customer")

    async def listing(noun: str) -> list[dict[str, object]]:
        return await desk.everything(tx, request, f"{_OWN}/{noun}", customer_sid=sid)

    customer = await desk.read(tx, request, f"{_OWN}/Customers/{sid}")
    agreement = await desk.read(tx, request, f"{_OWN}/Agreements", customer_sid=sid)
    acceptances = await listing("Acceptances")
    version_sids = {str(one["version_sid"]) for one in (*acceptances, *agreement["pending"])}
    standing = {str(one["account_sid"]): one for one in await listing("Standing")}
    before = request.query.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 16):
        raise InvalidParameter("'before' is the number of an event")
    trail = await reading.audit_trail(tx, sid, int(before) if before else None, _TRAIL)
    notices = await listing("Notices")
    data = {
        "customer": customer,
        "base": base_of(sid),
        "standing": await reading.standing_of(tx, sid),
        "domiciles": await desk.everything(tx, request, f"{_OWN}/Customers/{sid}/Domiciles"),
        "tasks": await desk.everything(tx, request, f"{_OWN}/Customers/{sid}/Tasks"),
        "accounts": await reading.accounts(tx, sid),
        "may": standing,
        "blocks": await listing("Blocks"),
        "contacts": await listing("Contacts"),
        "affiliates": await listing("Affiliates"),
        "agreement": agreement,
        "titles": {one["name"]: one["title"] for one in await desk.everything(tx, request, f"{_OWN}/Documents")},
        "acceptances": acceptances,
        "versions": await reading.versions(tx, sorted(version_sids)),
        "balances": await ledger.balances(tx, sid),
        "paying": await desk.read(tx, request, f"{_OWN}/PaymentStanding", customer_sid=sid),
        "dunning": await desk.read(tx, request, f"{_OWN}/Collections", customer_sid=sid),
        "proposals": [
            one
            for one in await desk.everything(tx, request, f"{_OWN}/Collections/Proposals", customer_sid=sid)
            if one["state"] == "open"
        ],
        "invoices": await reading.invoices(tx, customer_sid=sid, limit=reading.PAGE_SIZE),
        "top_ups": list(reversed(await listing("TopUps"))),
        "payments": list(reversed(await listing("Payments"))),
        "order_forms": await listing("OrderForms"),
        "disputes": await reading.disputes(tx, customer_sid=sid),
        "cases": await reading.cases(tx, customer_sid=sid),
        "notices": sorted(notices, key=lambda one: str(one["created_at"]), reverse=True),
        "timers": await described(tx, await reading.timers(tx, 12, sid)),
        "trail": trail,
        "trail_before": trail[-1]["number"] if trail and trail[-1]["number"] > 1 else None,
    }
    about = {"customer_sid": sid}
    return Shown(
        "customers_one.html",
        customer["name"],
        data,
        [
            Line("GET", f"{_OWN}/Customers/{sid}"),
            *(
                Line("GET", f"{_OWN}/{noun}", about)
                for noun in ("Agreements", "Acceptances", "Standing", "Invoices", "Collections", "Notices")
            ),
        ],
    )


async def notice(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """Show a notice and what became of it at each address."""
    customer_sid, sid = sid_of(request, "customer"), sid_of(request, "sid")
    found = await desk.read(tx, request, f"{_OWN}/Notices/{sid}", customer_sid=customer_sid)
    names = await reading.names(tx, [customer_sid])
    data = {"notice": found, "customer_name": names.get(customer_sid, customer_sid), "base": base_of(customer_sid)}
    return Shown(
        "customers_notice.html",
        found["subject"],
        data,
        [Line("GET", f"{_OWN}/Notices/{sid}", {"customer_sid": customer_sid})],
    )


async def decide(desk: Desk, request: OwnRequest) -> str:
    """Approve or decline what collections propose."""
    customer_sid, sid = sid_of(request, "customer"), sid_of(request, "sid")
    body = given(request, "decision", "decided_by")
    await desk.act(request, f"{_OWN}/Collections/Proposals/{sid}", {**body, "customer_sid": customer_sid})
    return f"{base_of(customer_sid)}?done=decided"
