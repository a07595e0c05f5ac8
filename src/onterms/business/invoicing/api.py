"""The room's routes under /commercial/v1."""

import asyncio
from typing import Annotated

from onterms.business import customers
from onterms.business.customers import Mine
from onterms.business.invoicing import store
from onterms.business.invoicing.errors import NotAllowedNow
from onterms.business.invoicing.service import closing, settling
from onterms.business.invoicing.service.closing import Surroundings
from onterms.business.invoicing.wire import einvoice, pdf, shapes
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.money import is_currency
from onterms.engines import ledger
from onterms.engines.api.own import Created, OwnReply, OwnRequest, OwnRoute, Shows
from onterms.engines.api.shapes import Items, Paging, page


class Api:
    """Invoices, credit notes and who is billed; money that came in is entered with the payments room."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        base = "/commercial/v1"
        one = f"{base}/Invoices/{{sid}}"
        return [
            OwnRoute("GET", f"{base}/Invoices", "customer", self.list_invoices, summary="List invoices"),
            OwnRoute("GET", one, "customer", self.fetch, summary="Show an invoice with its lines"),
            OwnRoute("GET", f"{one}/Pdf", "customer", self.fetch_pdf, summary="Print an invoice"),
            OwnRoute("GET", f"{one}/Xml", "customer", self.fetch_xml, summary="Show an invoice as EN 16931"),
            OwnRoute("POST", f"{one}/WriteOff", "operator", self.write_off, summary="Give up an invoice"),
            OwnRoute("GET", f"{base}/CreditNotes", "customer", self.list_credits, summary="List credit notes"),
            OwnRoute("POST", f"{base}/CreditNotes", "operator", self.credit, summary="Credit lines of an invoice"),
            OwnRoute("POST", f"{base}/BillingProfiles", "operator", self.enroll, summary="Set who is billed, by whom"),
        ]

    async def list_invoices(self, tx: Tx, mine: Mine, query: Paging) -> Items[shapes.Invoice]:
        """List a customer's documents; one whose reseller pays has none."""
        found = await store.invoices(tx, mine.sid, query.next, shapes.PAGE_SIZE + 1)
        parts = await store.parts(tx, mine.sid)
        items = [shapes.invoice(each, [part for part in parts if part.invoice_sid == each.sid]) for each in found]
        return page(items, shapes.PAGE_SIZE)

    async def fetch(self, tx: Tx, mine: Mine, sid: str) -> shapes.Invoice:
        """Show one with its lines, what is open, and the evidence of sending."""
        found = await closing.require(tx, mine.sid, sid)
        return shapes.invoice(found, await store.parts(tx, mine.sid, sid), await closing.evidence(tx, found))

    async def fetch_pdf(self, tx: Tx, mine: Mine, sid: str) -> Annotated[OwnReply, Shows("application/pdf")]:
        """Print one."""
        found = await closing.require(tx, mine.sid, sid)
        printed = await asyncio.to_thread(pdf.render, found)
        return OwnReply(None, raw=printed, content_type="application/pdf")

    async def fetch_xml(self, tx: Tx, mine: Mine, sid: str) -> Annotated[OwnReply, Shows("application/xml")]:
        """Write one as EN 16931."""
        found = await closing.require(tx, mine.sid, sid)
        seller = await self._surroundings.party(tx, found.issuer)
        principal = await self._surroundings.party(tx, found.on_behalf_of) if found.on_behalf_of else None
        written = einvoice.render(found, seller, await closing.buyer(tx, found), principal)
        return OwnReply(None, raw=written, content_type="application/xml")

    async def write_off(self, tx: Tx, request: OwnRequest, mine: Mine, sid: str, body: shapes.Reason) -> shapes.Invoice:
        """Give up what is open."""
        await settling.write_off(tx, self._surroundings, mine.sid, sid, body.reason, "operator", request.at)
        return shapes.invoice(await closing.require(tx, mine.sid, sid), await store.parts(tx, mine.sid, sid))

    async def list_credits(self, tx: Tx, mine: Mine, query: shapes.CreditsQuery) -> Items[shapes.Credit]:
        """List a customer's credit notes."""
        found = await store.credits(tx, mine.sid, query.invoice_sid, query.next, shapes.PAGE_SIZE + 1)
        return page([shapes.credit(each) for each in found], shapes.PAGE_SIZE)

    async def credit(self, tx: Tx, request: OwnRequest, mine: Mine, body: shapes.NewCredit) -> Created[shapes.Credit]:
        """Credit amounts of lines, with their tax."""
        given = (body.invoice_sid, shapes.nets_of(body.lines), body.reason)
        return shapes.credit(await settling.credit(tx, self._surroundings, mine.sid, *given, "operator", request.at))

    async def enroll(self, tx: Tx, request: OwnRequest, mine: Mine, body: shapes.NewProfile) -> shapes.Profile:
        """Bill a customer each month: itself or its reseller, by the contracting entity or another."""
        if body.currency is not None and not is_currency(body.currency):
            raise InvalidParameter("'currency' is none that can be billed in")
        if body.bill_to is not None:
            await customers.require(tx, body.bill_to)
            if body.bill_to == mine.sid:
                raise InvalidParameter("'bill_to' must be another customer")
            funds = await ledger.balance(tx, mine.sid, (await customers.require(tx, mine.sid)).currency)
            if funds is not None and funds.kind == "prepaid":
                # Its balance pays for each use as it happens; billed to another, the use would be paid for twice.
                raise NotAllowedNow("A customer that pays in advance is not billed through another", "3.4")
        profile = await closing.enroll(
            tx,
            self._surroundings,
            mine.sid,
            request.at,
            bill_to=body.bill_to,
            issuer=body.issuer,
            capacity=body.capacity,
            currency=body.currency,
        )
        return shapes.Profile.of(profile, customer_sid=mine.sid)
