"""Billing the taxes that a revoked exemption had left off, with what the authority adds (3.2.3)."""

from datetime import datetime

from onterms.business import customers, pricing, tax
from onterms.business.invoicing import store
from onterms.business.invoicing.model import Invoice
from onterms.business.invoicing.service import settling
from onterms.business.invoicing.service.closing import Surroundings
from onterms.core.calendar import day_of
from onterms.core.db import Tx


async def bill_back_taxes(tx: Tx, surroundings: Surroundings, customer_sid: str, at: datetime) -> list[Invoice]:
    """Send a debit note for every back-billing that has none, and return the notes; again, there is nothing to send."""
    await store.lock(tx, customer_sid)
    waiting = await tax.unbilled_back_billings(tx, customer_sid)
    if not waiting:
        return []
    today = day_of(at, surroundings.zone)
    customer = await customers.require(tx, customer_sid, today)
    profile = await store.profile(tx, customer_sid)
    issuer = profile.issuer if profile is not None else None
    if issuer is None:
        issuer = await surroundings.contracting_entity(tx, customer_sid, at)
    made: list[Invoice] = []
    for row in waiting:
        currency = row["currency"]
        terms = await pricing.payment_terms(tx, customer_sid, customer.country, at, invoice_currency=currency)
        taxes = [
            tax.TaxLine(jurisdiction, kind, base, rate, amount, currency, False, ())
            for jurisdiction, kind, rate, base, amount in row["lines"]
        ]
        place = taxes[0].jurisdiction
        additions = [
            (f"{name}, {place}", place, row[column])
            for name, column in (("Interest", "interest_micros"), ("Penalties", "penalty_micros"))
            if row[column]
        ]
        if not sum(each.micros for each in taxes) + sum(amount for *_, amount in additions):
            continue
        note = await settling.debit_note(
            tx,
            surroundings,
            customer_sid,
            issuer,
            currency,
            taxes,
            pricing.due_on(today, terms.net_days),
            at,
            additions=additions,
        )
        is_first = await tax.mark_back_billed(tx, customer_sid, row["sid"], note.sid)
        assert is_first, "the customer is locked"
        made.append(note)
    await surroundings.announce_change(tx, customer_sid, at)
    return made
