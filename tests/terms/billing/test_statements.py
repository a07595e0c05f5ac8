"""Documents of customers that pay in advance, and what else settles a document without money coming in."""

from datetime import date
from decimal import Decimal
from typing import Any

from onterms.business import invoicing
from onterms.core.calendar import start_of
from onterms.core.money import decimal_text, micros
from onterms.engines import ledger
from onterms.engines.ledger import Entry, Posting, Transaction, templates

JANUARY = start_of(date(2025, 1, 2))


async def pay_in(billing: Any, amount: str) -> None:
    """Give the customer a prepaid balance."""
    async with billing.database.transaction() as tx:
        await ledger.open_balance(tx, billing.customer, "USD", JANUARY, kind="prepaid")
        posting = templates.topup(micros(amount), "test")
        await ledger.post(tx, [Transaction(billing.customer, "USD", "top-up", posting)], JANUARY)


async def use_ahead(billing: Any, amount: str, day: str) -> None:
    """Use something that the prepaid balance pays at once."""
    await billing.use(amount, day)
    exact = micros(amount)
    posting = Posting("rate_usage", (Entry("prepaid_balance", exact), Entry("unbilled", -exact)))
    async with billing.database.transaction() as tx:
        key = f"ahead {amount} {day}"
        await ledger.post(tx, [Transaction(billing.customer, "USD", key, posting)], JANUARY)


async def books(billing: Any) -> dict[str, Decimal]:
    async with billing.database.transaction() as tx:
        balance = await ledger.balance(tx, billing.customer, "USD")
        violations = await ledger.verify(tx, await invoicing.open_totals(tx))
    assert violations == []
    return {account: Decimal(decimal_text(amount)) for account, amount in balance.accounts.items() if amount}


async def shown(billing: Any, sid: str) -> dict[str, Any]:
    found: dict[str, Any] = await billing.commerce.get(f"Invoices/{sid}")
    return found


class TestPaidAhead:
    async def test_a_month_is_on_its_document_as_paid_and_only_its_taxes_are_due(self, billing: Any) -> None:
        await billing.tax("0.1")
        await pay_in(billing, "20.00")
        await use_ahead(billing, "1.2345", "2025-01-10")
        [made] = await billing.close("2025-02-01")
        found = await shown(billing, made.sid)
        # 1.23 and 10 % of it; the balance paid 1.2345 when it was used.
        assert (found["total"], found["undisputed_due"], found["state"]) == ("1.35", "0.12", "partially_paid")
        assert await books(billing) == {
            "cash:test": Decimal("20"),
            "prepaid_balance": Decimal("-18.7655"),
            "receivable": Decimal("0.12"),
            "revenue:sms": Decimal("-1.2345"),
            "tax_payable:US": Decimal("-0.12"),
        }

    async def test_a_month_without_taxes_is_paid_when_it_is_made(self, billing: Any) -> None:
        await pay_in(billing, "20.00")
        await use_ahead(billing, "1.2345", "2025-01-10")
        [made] = await billing.close("2025-02-01")
        found = await shown(billing, made.sid)
        assert (found["total"], found["undisputed_due"], found["state"]) == ("1.23", "0.00", "paid")

    async def test_who_began_to_be_invoiced_within_a_month_owes_what_it_used_since(self, billing: Any) -> None:
        await pay_in(billing, "20.00")
        await use_ahead(billing, "1.00", "2025-01-10")
        async with billing.database.transaction() as tx:
            await ledger.open_balance(tx, billing.customer, "USD", JANUARY, kind="invoiced")
        await billing.use("2.50", "2025-01-20")
        # What is used before the month is closed belongs to the next one.
        await billing.use("7.00", "2025-02-01")
        [made] = await billing.close("2025-02-01")
        found = await shown(billing, made.sid)
        assert (found["total"], found["undisputed_due"]) == ("3.50", "2.50")
        left = await books(billing)
        assert (left["receivable"], left["unbilled"]) == (Decimal("2.50"), Decimal("7"))


class TestProof:
    async def test_a_proof_of_withheld_tax_settles_so_much_and_no_more_than_is_due(self, billing: Any) -> None:
        made = await billing.invoice("100.00", "2025-01-31")
        async with billing.database.transaction() as tx:
            settle = invoicing.settle_by_proof
            args = (tx, billing.surroundings, billing.customer, made.sid)
            assert await settle(*args, micros("15.00"), "WP1", JANUARY) == micros("15.00")
            assert await settle(*args, micros("90.00"), "WP2", JANUARY) == micros("85.00")
            assert await settle(*args, micros("1.00"), "WP3", JANUARY) == 0
        found = await shown(billing, made.sid)
        assert (found["undisputed_due"], found["state"]) == ("0.00", "paid")
        left = await books(billing)
        assert left["withholding_receivable"] == Decimal("100")
        assert "receivable" not in left
