"""A customer that is billed: usage, months closed, mail delivered, money and clocks."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from onterms.business import collections, customers, disputes, invoicing, notices, payments, standing, tax
from onterms.core.calendar import start_of
from onterms.core.db import Database, Tx
from onterms.core.ids import new_sid
from onterms.core.money import decimal_text, micros
from onterms.engines import ledger
from onterms.engines.ledger import Split, Transaction, templates
from onterms.ports.mail import Bounce, MailOutcome

LETTERHEAD = notices.Letterhead("notices@operator.example", "The Operator", "legal@operator.example")
PARTIES = {
    "US": invoicing.Party("Operator Inc.", "US"),
    "IE": invoicing.Party("Operator Ireland Ltd", "IE", "IE6388047V"),
    "JP": invoicing.Party("Operator Japan KK", "JP"),
}


def moment(day: str | date, hour: int = 9) -> datetime:
    day = day if isinstance(day, date) else date.fromisoformat(day)
    return start_of(day) + timedelta(hours=hour)


class Billing:
    """One operator, one customer, and the three rooms that bill it."""

    def __init__(self, commerce: Any) -> None:
        self.commerce = commerce
        self.database: Database = commerce.database
        self.customer: str = commerce.customer
        self.account: str = commerce.account
        self.sellers: list[str | None] = []
        self.entity = "US"
        self.surroundings = invoicing.Surroundings(self.tax_facts, self.contracting_entity, self.party)
        self.collections = collections.Collections()
        self.surroundings.changed.append(self.look_again)
        self.disputes = disputes.Disputes(self.surroundings)
        self.delivery = notices.Delivery(self.contacts, LETTERHEAD, followers=[self.collections.follow_notice])
        self.settled: dict[str, int] = {}
        paying = payments.Surroundings({}, "none", open_documents=invoicing.open_documents, allocated=self.allocated)
        self.payments = payments.Payments(paying)
        commerce.serve(invoicing.Api(self.surroundings).routes(), [])
        commerce.serve(payments.Api(paying, self.database).routes(), [])
        commerce.serve(collections.Api(self.collections).routes(), [])
        commerce.serve(disputes.Api(self.disputes).routes(), [])
        self.legal_contact = self.billing_contact = ""
        self.used = 0

    async def look_again(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        await self.collections.review(tx, customer_sid, at)

    async def allocated(
        self, tx: Tx, customer_sid: str, source_sid: str, currency: str, made: Any, on: date, at: datetime
    ) -> None:
        self.settled.update({each.document: each.total for each in made})
        await invoicing.settled_by_payments(tx, self.surroundings, customer_sid, source_sid, made, at, on=on)

    async def tax_facts(self, tx: Tx, customer_sid: str, issuer: str, on: date) -> tax.TaxFacts:
        customer = await customers.require(tx, customer_sid)
        self.sellers.append(PARTIES[issuer].country)
        return tax.TaxFacts(customer.country, "USD", seller_country=PARTIES[issuer].country)

    async def contracting_entity(self, tx: Tx, customer_sid: str, at: datetime) -> str:
        return self.entity

    async def party(self, tx: Tx, entity: str) -> invoicing.Party:
        return PARTIES[entity]

    async def contacts(self, tx: Tx, customer_sid: str, kind: str) -> list[tuple[str, str]]:
        return [(one.sid, one.address) for one in await customers.contacts(tx, customer_sid, kind)]

    async def make_contact(self, customer_sid: str, kind: str, address: str) -> str:
        at = moment("2024-01-02")
        sid = new_sid("CT", at)
        async with self.database.transaction() as tx:
            await tx.execute(
                "INSERT INTO customer_contacts (customer_sid, sid, kind, name, address, created_at) "
                "VALUES ($1, $2, $3, $3, $4, $5)",
                customer_sid, sid, kind, address, at,
            )  # fmt: skip
        return sid

    async def enroll(self, customer_sid: str | None = None, **options: Any) -> None:
        async with self.database.transaction() as tx:
            sid = customer_sid or self.customer
            await invoicing.enroll(tx, self.surroundings, sid, moment("2024-01-02"), **options)

    async def tax(self, rate: str, country: str = "US", kind: str = "sales", base: str = "fees") -> None:
        rule = tax.TaxRule(
            0, country, kind, base, micros(rate), "half_up", moment("2020-01-01"), None, "test", moment("2020-01-01")
        )  # type: ignore[arg-type]
        async with self.database.transaction() as tx:
            await tax.add_rule(tx, rule, moment("2024-01-02"))

    async def use(
        self, amount: str, day: str, *, kind: str = "fee", qty: int = 1, price: str | None = None,
        customer: str | None = None, service: str = "sms", currency: str = "USD",
    ) -> None:  # fmt: skip
        """Have rated usage that is on the books as unbilled."""
        self.used += 1
        sid, at, exact = customer or self.customer, moment(day), micros(amount)
        async with self.database.transaction() as tx:
            await tx.execute(
                "INSERT INTO rated_usage (customer_sid, id, line, kind, name, service, category, direction, country, "
                "unit, qty, currency, price, micros, occurred_at, recorded_at, price_row, order_form, earlier_period, "
                "fingerprint) VALUES ($1, $2, 0, $3, $4, $5, 'sms', 'outbound', 'US', 'segment', $6, $7, $8, $9, $10, "
                "$10, 0, '', false, '')",
                sid, f"U{self.used:06d}", kind, f"{service} {kind}", service, qty, currency,
                None if price is None else micros(price), exact, at,
            )  # fmt: skip
            if await ledger.balance(tx, sid, currency) is None:
                await ledger.open_balance(tx, sid, currency, at, kind="invoiced")
            split = Split(service, surcharge=exact) if kind == "surcharge" else Split(service, fee=exact)
            posting = templates.rate_usage([split])
            await ledger.post(tx, [Transaction(sid, currency, f"U{self.used}", posting)], at)

    async def close(self, until: str, customer: str | None = None) -> list[invoicing.Invoice]:
        async with self.database.transaction() as tx:
            day = date.fromisoformat(until)
            return await invoicing.close(tx, self.surroundings, customer or self.customer, day, moment(day, 6))

    async def invoice(self, amount: str, issued_on: str) -> invoicing.Invoice:
        """Bill an amount of fees on the last day of its month."""
        await self.use(amount, issued_on)
        until = date.fromisoformat(issued_on) + timedelta(days=1)
        [made] = await self.close(until.isoformat())
        return made

    async def deliver(self, at: datetime) -> None:
        """Let every mail server take what is queued."""
        async with self.database.transaction() as tx:
            rows = await tx.fetch("SELECT sid FROM notices WHERE state = 'queued' ORDER BY sid")
            for row in rows:
                mails = await self.delivery.prepare(tx, row["sid"], at)
                outcomes = {
                    place: MailOutcome(mail.recipients[0], "accepted", at, "mx.example", "250 taken", "00" * 32)
                    for place, mail in mails
                }
                await self.delivery.record(tx, row["sid"], outcomes, at)

    async def bounce(self, notice_sid: str, at: datetime) -> None:
        async with self.database.transaction() as tx:
            notice = (await notices.fetch(tx, [notice_sid]))[notice_sid]
            lost = [Bounce(one.message_id, one.address, at, "550 no such user") for one in notice.addresses]
            await self.delivery.bounced(tx, lost)

    async def review(self, at: datetime, *, deliver: bool = True) -> str:
        """Run the clock's look at the customer, and the mail that follows; return where the customer stands."""
        async with self.database.transaction() as tx:
            await self.collections.review(tx, self.customer, at)
        if deliver:
            await self.deliver(at)
        async with self.database.snapshot() as tx:
            return (await collections.standing_of(tx, self.customer)).state

    async def pay(self, amount: str, day: str, *, on: str | None = None, **options: Any) -> Mapping[str, int]:
        at = moment(day, 12)
        self.settled.clear()
        async with self.database.transaction() as tx:
            await self.payments.record_payment(
                tx, self.customer, micros(amount), "USD", date.fromisoformat(on or day), new_sid("BT", at), "operator",
                at, **options,
            )  # fmt: skip
        return dict(self.settled)

    async def dispute(self, invoice_sid: str, nets: Mapping[str, str], at: datetime) -> disputes.Dispute:
        asked = {ref: micros(amount) for ref, amount in nets.items()}
        async with self.database.transaction() as tx:
            return await self.disputes.file(
                tx, self.account, self.legal_contact, invoice_sid, asked, "not what we used", at
            )

    async def policy(self, **modes: str) -> None:
        async with self.database.transaction() as tx:
            await collections.set_policy(tx, collections.Policy(**modes), "operator", moment("2024-01-02"))  # type: ignore[arg-type]

    async def legal(self, rate: str, applies_to: str = "commercial", place: str = "US") -> None:
        kind: Any = applies_to
        filed = collections.LegalRate(kind, place, micros(rate), date(2020, 1, 1), None, "test data")
        async with self.database.transaction() as tx:
            await collections.add_legal_maxima(tx, [filed], "operator", moment("2024-01-02"))

    async def fees(self) -> list[str]:
        async with self.database.snapshot() as tx:
            return [decimal_text(one.micros) for one in await collections.fees(tx, self.customer)]

    async def proposals(self) -> Sequence[collections.Proposal]:
        async with self.database.snapshot() as tx:
            return await collections.proposals(tx, self.customer)

    async def due(self, invoice_sid: str | None = None) -> str:
        """Return what is undisputed and open."""
        async with self.database.snapshot() as tx:
            parts = await invoicing.parts(tx, self.customer, invoice_sid)
        return decimal_text(sum(part.open for part in parts if not part.disputed))

    async def standing(self, account: str | None = None) -> standing.StandingState:
        sid = account or self.account
        async with self.database.snapshot() as tx:
            return (await standing.states(tx, [sid]))[sid]

    async def books(self) -> list[str]:
        """Return what is wrong with the ledger or between it and the invoices."""
        async with self.database.snapshot() as tx:
            return [each.what for each in await ledger.verify(tx, await invoicing.open_totals(tx))]

    async def account_sum(self, name: str, customer: str | None = None) -> int:
        async with self.database.snapshot() as tx:
            found = await ledger.balance(tx, customer or self.customer, "USD")
        return 0 if found is None else found.accounts.get(name, 0)


@pytest.fixture
def utc() -> Any:
    return UTC


@pytest.fixture
async def billing(commerce: Any) -> Billing:
    """Make a customer that is billed monthly, with a billing and a legal contact."""
    made = Billing(commerce)
    made.billing_contact = await made.make_contact(made.customer, "billing", "billing@northwind.example")
    made.legal_contact = await made.make_contact(made.customer, "legal", "legal@northwind.example")
    await made.enroll()
    return made
