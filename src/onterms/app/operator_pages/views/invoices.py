"""Invoices: the list, one with its lines and what followed, and its files."""

from onterms.app.operator_pages import reading
from onterms.app.operator_pages.desk import Desk, Line
from onterms.app.operator_pages.shown import (
    Shown,
    after_of,
    base_of,
    choice_of,
    page_of,
    search_of,
    sid_of,
)
from onterms.core.db import Tx
from onterms.engines.api import OwnReply, OwnRequest

_OWN = "/commercial/v1"
STATES = ("finalised", "sent", "partially_paid", "paid", "past_due", "void", "written_off")


async def listed(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """List invoices by state."""
    search = search_of(request)
    counts, currencies = await reading.invoice_states(tx)
    state = choice_of(request, "state", ("open", *STATES))
    currency = choice_of(request, "currency", currencies)
    found = await reading.invoices(
        tx, state=state, search=search, currency=currency, after=after_of(request), limit=reading.PAGE_SIZE + 1
    )
    rows, following = page_of(found, reading.PAGE_SIZE)
    data = {
        "rows": rows,
        "following": following,
        "search": search,
        "state": state,
        "currency": currency,
        "currencies": currencies,
        "counts": counts,
        "states": [name for name in STATES if counts.get(name)],
    }
    return Shown(
        "invoices.html",
        "Invoices",
        data,
        [Line("GET", f"{_OWN}/Invoices", {"customer_sid": "OR0000000000000000000000000000000"})],
    )


async def show(desk: Desk, tx: Tx, request: OwnRequest) -> Shown:
    """Show an invoice: lines, taxes, what was paid, and each step of dunning with its date."""
    customer_sid, sid = sid_of(request, "customer"), sid_of(request, "sid")
    about = {"customer_sid": customer_sid}
    invoice = await desk.read(tx, request, f"{_OWN}/Invoices/{sid}", **about)
    late = await desk.everything(tx, request, f"{_OWN}/Collections/Notices", **about)
    fees = await desk.everything(tx, request, f"{_OWN}/Collections/Fees", **about)
    credits = await desk.everything(tx, request, f"{_OWN}/CreditNotes", customer_sid=customer_sid, invoice_sid=sid)
    lines = [line for section in invoice.get("sections", []) for line in section["lines"]]
    data = {
        "invoice": invoice,
        "lines": [line for line in lines if line["kind"] != "tax"],
        "taxes": [line for line in lines if line["kind"] == "tax"],
        "base": base_of(customer_sid),
        "customer_name": (await reading.names(tx, [customer_sid])).get(customer_sid, customer_sid),
        "late_notices": [one for one in late if one["invoice_sid"] == sid],
        "fees": [one for one in fees if one["invoice_sid"] == sid],
        "credits": credits,
        "disputes": await reading.disputes(tx, customer_sid=customer_sid, invoice_sid=sid),
        "movements": await reading.movements(tx, customer_sid, sid),
        "parts": await reading.parts(tx, customer_sid, sid),
    }
    return Shown(
        "invoices_one.html",
        f"Invoice {invoice['number']}",
        data,
        [
            Line("GET", f"{_OWN}/Invoices/{sid}", about),
            Line("GET", f"{_OWN}/Invoices/{sid}/Pdf", about),
            Line("GET", f"{_OWN}/Collections/Notices", about),
            Line("GET", f"{_OWN}/CreditNotes", {**about, "invoice_sid": sid}),
        ],
    )


async def pdf(desk: Desk, tx: Tx, request: OwnRequest) -> OwnReply:
    """Print an invoice."""
    return await _file(desk, tx, request, "Pdf", "pdf")


async def xml(desk: Desk, tx: Tx, request: OwnRequest) -> OwnReply:
    """Write an invoice as EN 16931."""
    return await _file(desk, tx, request, "Xml", "xml")


async def _file(desk: Desk, tx: Tx, request: OwnRequest, noun: str, suffix: str) -> OwnReply:
    customer_sid, sid = sid_of(request, "customer"), sid_of(request, "sid")
    found = await desk.reply(tx, request, f"{_OWN}/Invoices/{sid}/{noun}", customer_sid=customer_sid)
    named = ("Content-Disposition", f'attachment; filename="{sid}.{suffix}"')
    return OwnReply(None, headers=(named,), raw=found.raw, content_type=found.content_type)
