"""Disputes: the list, one with its window and shield, and deciding it."""

from datetime import timedelta
from typing import Any

from onterms.app.operator_pages import reading
from onterms.app.operator_pages.desk import Desk, Line
from onterms.app.operator_pages.formats import instant_of
from onterms.app.operator_pages.shown import Shown, after_of, base_of, choice_of, given, page_of, sid_of
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.engines.api import OwnRequest

_OWN = "/commercial/v1"
OPEN = ("open", "late", "awaiting_customer", "uncooperative")
_CHOICES = ("open", "decided")
_DECIDED = ("upheld", "partly", "rejected", "withdrawn", "void")


async def listed(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """List disputes."""
    chosen = choice_of(request, "state", _CHOICES)
    states = OPEN if chosen == "open" else _DECIDED if chosen == "decided" else None
    found = await reading.disputes(tx, states=states, after=after_of(request), limit=reading.PAGE_SIZE + 1)
    rows, following = page_of(found, reading.PAGE_SIZE)
    data = {"rows": rows, "following": following, "state": chosen, "choices": _CHOICES}
    return Shown(
        "disputes.html",
        "Disputes",
        data,
        [Line("GET", f"{_OWN}/Disputes", {"customer_sid": "OR0000000000000000000000000000000"})],
    )


async def show(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """Show a dispute with its amounts, its window and its shield, and the form that decides it."""
    customer_sid, sid = sid_of(request, "customer"), sid_of(request, "sid")
    about = {"customer_sid": customer_sid}
    dispute = await desk.read(tx, request, f"{_OWN}/Disputes/{sid}", **about)
    invoice = await desk.read(tx, request, f"{_OWN}/Invoices/{dispute['invoice_sid']}", **about)
    names = {line["ref"]: line["name"] for section in invoice.get("sections", []) for line in section["lines"]}
    data = {
        "dispute": dispute,
        "invoice": invoice,
        "line_names": names,
        "base": base_of(customer_sid),
        "customer_name": (await reading.names(tx, [customer_sid])).get(customer_sid, customer_sid),
        "is_open": dispute["state"] in OPEN,
        "filed_on": day_of(instant_of(dispute["filed_at"])),
        "tomorrow": day_of(request.at) + timedelta(days=7),
    }
    example = {"outcome": "rejected", "decided_by": "A. Person", "reasons": "...", **about}
    return Shown(
        "disputes_one.html",
        f"Dispute of {invoice['number']}",
        data,
        [
            Line("GET", f"{_OWN}/Disputes/{sid}", about),
            Line("POST", f"{_OWN}/Disputes/{sid}/Resolution", body=example),
        ],
    )


async def resolve(desk: Desk, request: OwnRequest) -> str:
    """Decide a dispute."""
    customer_sid, sid, path = _which(request)
    body: dict[str, Any] = given(request, "outcome", "decided_by", "reasons")
    if body.get("outcome") == "partly":
        body["lines"] = [
            {"ref": name.removeprefix("line:"), "amount": str(value).strip()}
            for name, value in request.body.items()
            if name.startswith("line:") and str(value).strip()
        ]
    await desk.act(request, f"{_OWN}/Disputes/{sid}/Resolution", {**body, "customer_sid": customer_sid})
    return f"{path}?done=resolved"


async def ask(desk: Desk, request: OwnRequest) -> str:
    """Ask the customer for something by a day."""
    customer_sid, sid, path = _which(request)
    body = given(request, "subject", "due_on")
    await desk.act(request, f"{_OWN}/Disputes/{sid}/Tasks", {**body, "customer_sid": customer_sid})
    return f"{path}?done=asked"


async def determine(desk: Desk, request: OwnRequest) -> str:
    """Determine that the customer does not cooperate, or is not in good faith."""
    customer_sid, sid, path = _which(request)
    body = given(request, "finding", "decided_by", "reasons")
    await desk.act(request, f"{_OWN}/Disputes/{sid}/Determinations", {**body, "customer_sid": customer_sid})
    return f"{path}?done=determined"


def _which(request: OwnRequest) -> tuple[str, str, str]:
    customer_sid, sid = sid_of(request, "customer"), sid_of(request, "sid")
    return customer_sid, sid, f"{base_of(customer_sid)}/disputes/{sid}"
