"""The room's routes under /commercial/v1."""

import asyncio
from collections.abc import Mapping
from datetime import date
from typing import Any

from onterms.business import customers
from onterms.business.invoicing import store
from onterms.business.invoicing.model import Party, Payment
from onterms.business.invoicing.service import closing, settling
from onterms.business.invoicing.service.closing import Surroundings
from onterms.business.invoicing.wire import einvoice, pdf, shapes
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.money import InvalidAmount, is_currency, micros
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute


def amount_of(value: Any, name: str) -> int:
    """Read an amount above zero from decimal text.

    Raises: InvalidParameter.
    """
    try:
        found = micros(value) if isinstance(value, str) else 0
    except InvalidAmount as error:
        raise InvalidParameter(f"'{name}': {error}") from error
    if found <= 0:
        raise InvalidParameter(f"'{name}' must be an amount above zero, as text")
    return found


def amounts_of(value: Any, name: str, key: str) -> dict[str, int]:
    """Read a list of {key: text, "amount": decimal text} as amounts by that key.

    Raises: InvalidParameter.
    """
    if not isinstance(value, list) or not value:
        raise InvalidParameter(f"'{name}' must be a list that is not empty")
    found: dict[str, int] = {}
    for item in value:
        if not isinstance(item, Mapping) or not isinstance(item.get(key), str) or item[key] in found:
            raise InvalidParameter(f"Each of '{name}' needs a '{key}' of its own and an 'amount'")
        found[item[key]] = amount_of(item.get("amount"), "amount")
    return found


def day_in(request: OwnRequest, name: str, default: date) -> date:
    """Read a day of the body.

    Raises: InvalidParameter.
    """
    text = request.text(name, default=default.isoformat())
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidParameter(f"'{name}' must be a day as YYYY-MM-DD") from error


class Api:
    """Invoices, credit notes, and what the operator enters of payments."""

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
            OwnRoute("POST", f"{base}/InvoicePayments", "operator", self.pay, summary="Enter a payment of invoices"),
            OwnRoute("GET", f"{base}/CreditNotes", "customer", self.list_credits, summary="List credit notes"),
            OwnRoute("POST", f"{base}/CreditNotes", "operator", self.credit, summary="Credit lines of an invoice"),
            OwnRoute("POST", f"{base}/BillingProfiles", "operator", self.enroll, summary="Set who is billed, by whom"),
        ]

    async def list_invoices(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List a customer's documents; one whose reseller pays has none."""
        customer = await customers.customer_of_request(tx, request)
        after = request.query.get("next", "")
        found = await store.invoices(tx, customer.sid, after, shapes.PAGE_SIZE + 1)
        parts = await store.parts(tx, customer.sid)
        items = [shapes.invoice(each, [part for part in parts if part.invoice_sid == each.sid]) for each in found]
        return OwnReply(shapes.listed(items))

    async def fetch(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Show one with its lines, what is open, and the evidence of sending."""
        customer = await customers.customer_of_request(tx, request)
        found = await closing.require(tx, customer.sid, request.path["sid"])
        body = shapes.invoice(found, await store.parts(tx, customer.sid, found.sid))
        sent = await closing.evidence(tx, found)
        return OwnReply(body | {"sent_to": shapes.evidence(sent)})

    async def fetch_pdf(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Print one."""
        customer = await customers.customer_of_request(tx, request)
        found = await closing.require(tx, customer.sid, request.path["sid"])
        printed = await asyncio.to_thread(pdf.render, found)
        return OwnReply(None, raw=printed, content_type="application/pdf")

    async def fetch_xml(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Write one as EN 16931."""
        customer = await customers.customer_of_request(tx, request)
        found = await closing.require(tx, customer.sid, request.path["sid"])
        seller = await self._surroundings.party(tx, found.issuer)
        principal = await self._surroundings.party(tx, found.on_behalf_of) if found.on_behalf_of else None
        written = einvoice.render(found, seller, Party(customer.name, customer.country), principal)
        return OwnReply(None, raw=written, content_type="application/xml")

    async def write_off(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Give up what is open."""
        customer = await customers.customer_of_request(tx, request)
        sid, reason = request.path["sid"], request.text("reason")
        await settling.write_off(tx, self._surroundings, customer.sid, sid, reason, "operator", request.at)
        return await self._shown(tx, customer.sid, sid)

    async def pay(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Enter money that came in by bank: `key` is the bank's own reference."""
        customer = await customers.customer_of_request(tx, request)
        currency = request.text("currency", max_length=3)
        if not is_currency(currency):
            raise InvalidParameter("'currency' is none that can be billed in")
        said = request.body.get("instruction")
        today = day_of(request.at, self._surroundings.zone)
        payment = Payment(
            customer.sid,
            currency,
            amount_of(request.body.get("amount"), "amount"),
            request.text("psp", default="bank", max_length=40),
            request.text("key", max_length=200),
            day_in(request, "received_on", today),
            None if said is None else amounts_of(said, "instruction", "invoice_sid"),
        )
        if payment.received_on > today:
            raise InvalidParameter("'received_on' lies ahead")
        settled = await settling.pay(tx, self._surroundings, payment, request.at)
        items = [await self._body(tx, customer.sid, sid) for sid in sorted(settled)]
        return OwnReply({"settled": items}, status=201)

    async def list_credits(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List a customer's credit notes."""
        customer = await customers.customer_of_request(tx, request)
        found = await store.credits(
            tx, customer.sid, request.query.get("invoice_sid"), request.query.get("next", ""), shapes.PAGE_SIZE + 1
        )
        return OwnReply(shapes.listed([shapes.credit(each) for each in found]))

    async def credit(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Credit amounts of lines, with their tax."""
        customer = await customers.customer_of_request(tx, request)
        nets = amounts_of(request.body.get("lines"), "lines", "ref")
        made = await settling.credit(
            tx,
            self._surroundings,
            customer.sid,
            request.text("invoice_sid"),
            nets,
            request.text("reason"),
            "operator",
            request.at,
        )
        return OwnReply(shapes.credit(made), status=201)

    async def enroll(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Bill a customer each month: itself or its reseller, by the contracting entity or another."""
        customer = await customers.customer_of_request(tx, request)
        bill_to, issuer, currency = (request.body.get(name) for name in ("bill_to", "issuer", "currency"))
        capacity = request.text("capacity", default="principal")
        if capacity not in ("principal", "agent"):
            raise InvalidParameter("'capacity' must be principal or agent")
        if any(value is not None and not isinstance(value, str) for value in (bill_to, issuer, currency)):
            raise InvalidParameter("'bill_to', 'issuer' and 'currency' must be text or null")
        if currency is not None and not is_currency(currency):
            raise InvalidParameter("'currency' is none that can be billed in")
        if bill_to is not None:
            await customers.require(tx, bill_to)
            if bill_to == customer.sid:
                raise InvalidParameter("'bill_to' must be another customer")
        profile = await closing.enroll(
            tx,
            self._surroundings,
            customer.sid,
            request.at,
            bill_to=bill_to,
            issuer=issuer,
            capacity="agent" if capacity == "agent" else "principal",
            currency=currency,
        )
        body = {"customer_sid": customer.sid, "bill_to": profile.bill_to, "issuer": profile.issuer}
        return OwnReply(body | {"capacity": profile.capacity, "currency": profile.currency})

    async def _shown(self, tx: Tx, customer_sid: str, sid: str) -> OwnReply:
        return OwnReply(await self._body(tx, customer_sid, sid))

    async def _body(self, tx: Tx, customer_sid: str, sid: str) -> dict[str, Any]:
        found = await closing.require(tx, customer_sid, sid)
        return shapes.invoice(found, await store.parts(tx, customer_sid, sid))
