"""Invoices against the rows of the terms that are theirs."""

import asyncio
import hashlib
from datetime import UTC, date, datetime
from typing import Any
from xml.etree import ElementTree

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onterms.business import invoicing, payments, pricing
from onterms.business.invoicing import model
from onterms.core.money import decimal_text, micros, round_minor
from onterms.engines import ledger
from onterms.engines.jobs import Worker

RAM = "{urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100}"


async def test_3_3_2_a_january_is_invoiced_on_its_last_day_and_sent_with_evidence_by_address(billing: Any) -> None:
    await billing.make_contact(billing.customer, "billing", "cfo@northwind.example")
    await billing.use("100.00", "2025-01-15")
    billing.commerce.clock.hold(datetime(2025, 1, 31, 12, tzinfo=UTC))
    async with billing.database.transaction() as tx:
        await tx.execute("DELETE FROM billing_profiles")
        await invoicing.enroll(tx, billing.surroundings, billing.customer, billing.commerce.clock.now())
        due_at = await tx.fetchval("SELECT max(due_at) FROM jobs WHERE task = 'invoicing.close'")
    assert due_at == datetime(2025, 2, 1, 6, tzinfo=UTC)
    assert await billing.close("2025-02-01") != []
    listed = await billing.commerce.get("Invoices")
    [shown] = listed["items"]
    assert (shown["issued_on"], shown["number"], shown["state"]) == ("2025-01-31", "US-2025-000001", "finalised")
    async with billing.database.transaction() as tx:
        await invoicing.send(
            tx, billing.surroundings, billing.customer, shown["sid"], datetime(2025, 2, 1, 6, tzinfo=UTC)
        )
    await billing.deliver(datetime(2025, 2, 1, 7, tzinfo=UTC))
    found = await billing.commerce.get(f"Invoices/{shown['sid']}")
    assert found["state"] == "sent"
    assert {(one["address"], one["accepted_on"], one["reply"]) for one in found["sent_to"]} == {
        ("billing@northwind.example", "2025-02-01", "250 taken"),
        ("cfo@northwind.example", "2025-02-01", "250 taken"),
    }
    # Once only.
    assert await billing.close("2025-02-01") == []


async def test_3_3_2_a_worker_closes_sends_and_marks_past_due_by_its_timers(billing: Any) -> None:
    clock = billing.commerce.clock
    await billing.use("100.00", "2024-01-15")
    worker = Worker(billing.database, clock, name="node")
    invoicing.Tasks(billing.surroundings).register(worker)
    running = asyncio.create_task(worker.run())
    await worker.settle()
    for text in ("2024-02-01T06:00:00+00:00", "2024-03-02T00:00:00+00:00"):
        clock.hold(datetime.fromisoformat(text))
        worker.clock_changed()
        await worker.settle()
    await worker.stop(1)
    await asyncio.gather(running, return_exceptions=True)
    [shown] = (await billing.commerce.get("Invoices"))["items"]
    assert (shown["issued_on"], shown["due_on"], shown["state"]) == ("2024-01-31", "2024-03-01", "past_due")
    assert shown["notice_sid"] is not None


@pytest.mark.parametrize(("issued", "due"), [("2025-01-31", "2025-03-02"), ("2024-01-31", "2024-03-01")])
async def test_3_3_2_b_an_invoice_is_due_30_days_after_its_date(billing: Any, issued: str, due: str) -> None:
    made = await billing.invoice("10.00", issued)
    assert made.due_on == date.fromisoformat(due)


async def test_3_3_2_currency_of_a_brazilian_customer_without_order_form_is_the_us_dollar(billing: Any) -> None:
    brazilian, _ = await billing.commerce.make_customer("Andorinha", "BR")
    await billing.enroll(brazilian)
    await billing.use("10.00", "2025-01-10", customer=brazilian)
    [made] = await billing.close("2025-02-01", brazilian)
    assert made.currency == "USD"
    async with billing.database.snapshot() as tx:
        terms = await pricing.payment_terms(tx, brazilian, "JP", datetime(2025, 1, 1, tzinfo=UTC))
    assert terms.currency == "JPY"


async def test_3_2_1_line_taxes_stand_apart_and_sum_to_the_tax_total_with_base_and_rate(billing: Any) -> None:
    await billing.tax("0.08875")
    made = await billing.invoice("100.00", "2025-01-31")
    shown = await billing.commerce.get(f"Invoices/{made.sid}")
    lines = [line for section in shown["sections"] for line in section["lines"]]
    taxes = [line for line in lines if line["kind"] == "tax"]
    assert [(line["amount"], line["base"], line["rate"]) for line in taxes] == [("8.88", "100.00", "8.875")]
    assert shown["totals"] == {"fee": "100.00", "tax": "8.88"}
    assert shown["total"] == "108.88"


async def test_3_2_2_line_510_00_of_surcharges_stand_on_a_line_of_their_own(billing: Any) -> None:
    await billing.use("1343.00", "2025-01-10", qty=170_000, price="0.0079")
    await billing.use("510.00", "2025-01-10", kind="surcharge", qty=170_000, price="0.003")
    [made] = await billing.close("2025-02-01")
    assert {(line.kind, decimal_text(line.micros), line.qty) for line in made.lines} == {
        ("communications_surcharge", "510.00", 170_000),
        ("fee", "1343.00", 170_000),
    }


async def test_3_2_2_fines_are_a_penalty_line_of_the_next_invoice(billing: Any) -> None:
    fine = pricing.NewCharge("Carrier", "C-1", "USD", micros("10000.00"), date(2025, 4, 2), "fine.pdf", b"document")
    async with billing.database.transaction() as tx:
        await pricing.pass_on(tx, billing.customer, fine, datetime(2025, 4, 2, tzinfo=UTC))
    [made] = await billing.close("2025-05-01")
    assert [(line.kind, decimal_text(line.micros)) for line in made.lines] == [("penalty", "10000.00")]
    assert await billing.books() == []


async def test_3_4_pay_a_reseller_gets_one_invoice_with_a_section_for_each_customer(billing: Any) -> None:
    reseller, _ = await billing.commerce.make_customer("Reseller", "US")
    other, _ = await billing.commerce.make_customer("Contoso", "US")
    await billing.enroll(reseller)
    await billing.enroll(billing.customer, bill_to=reseller)
    await billing.enroll(other, bill_to=reseller)
    await billing.use("30.005", "2025-01-10")
    await billing.use("12.00", "2025-01-11", customer=other)
    assert await billing.close("2025-02-01") == []
    [made] = await billing.close("2025-02-01", reseller)
    shown = await billing.commerce.get(f"Invoices/{made.sid}?customer_sid={reseller}")
    sections = {one["customer_sid"]: [line["amount"] for line in one["lines"]] for one in shown["sections"]}
    assert sections == {billing.customer: ["30.01"], other: ["12.00"]}
    assert shown["total"] == "42.01"
    # The customer sees its usage elsewhere, and no invoice of the operator.
    assert (await billing.commerce.get("Invoices"))["items"] == []
    assert await billing.account_sum("unbilled") == 0
    assert await billing.account_sum("receivable", reseller) == micros("42.01")
    assert await billing.books() == []


async def test_9_1_2_bill_an_affiliate_bills_as_agent_and_both_are_named_and_its_country_decides_taxes(
    billing: Any,
) -> None:
    await billing.enroll(issuer="IE", capacity="agent")
    made = await billing.invoice("10.00", "2025-01-31")
    shown = await billing.commerce.get(f"Invoices/{made.sid}")
    assert (shown["issuer"], shown["capacity"], shown["on_behalf_of"]) == ("IE", "agent", "US")
    assert billing.sellers == ["IE"]
    assert b"Operator Ireland Ltd" in made.body and b"Operator Inc." in made.body
    written = await billing.commerce.get(f"Invoices/{made.sid}/Xml")
    assert b"Operator Ireland Ltd bills as agent of Operator Inc." in written


class TestDocuments:
    async def test_numbers_have_no_gap_by_issuer_and_year_even_after_a_rollback(self, billing: Any) -> None:
        numbers = [(await billing.invoice("10.00", "2024-12-31")).number]
        with pytest.raises(ZeroDivisionError):
            async with billing.database.transaction() as tx:
                await invoicing.store.next_number(tx, "US", "", 2025)
                raise ZeroDivisionError
        numbers += [(await billing.invoice("10.00", day)).number for day in ("2025-01-31", "2025-02-28")]
        assert numbers == ["US-2024-000001", "US-2025-000001", "US-2025-000002"]

    async def test_a_finalised_document_is_hashed_and_cannot_be_changed(self, billing: Any) -> None:
        made = await billing.invoice("10.00", "2025-01-31")
        assert hashlib.sha256(made.body).hexdigest() == made.sha256
        for sql in ("UPDATE invoices SET total = 1", "DELETE FROM invoices", "UPDATE invoice_lines SET micros = 1"):
            with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                async with billing.database.transaction() as tx:
                    await tx.execute(sql)

    async def test_the_e_invoice_adds_up(self, billing: Any) -> None:
        await billing.tax("0.23", kind="vat")
        await billing.use("-3.333", "2025-01-09", service="voice")
        made = await billing.invoice("100.00", "2025-01-31")
        root = ElementTree.fromstring(await billing.commerce.get(f"Invoices/{made.sid}/Xml"))
        texts = {name: [each.text for each in root.iter(RAM + name)] for name in (
            "LineTotalAmount", "TaxBasisTotalAmount", "TaxTotalAmount", "GrandTotalAmount", "BasisAmount",
            "CalculatedAmount",
        )}  # fmt: skip
        assert sorted(texts["LineTotalAmount"]) == ["-3.33", "100.00", "96.67"]
        assert texts["TaxBasisTotalAmount"] == texts["BasisAmount"] == ["96.67"]
        assert texts["TaxTotalAmount"] == texts["CalculatedAmount"] == ["22.23"]
        assert texts["GrandTotalAmount"] == ["118.90"]

    async def test_a_pdf_is_printed_where_the_package_is_and_refused_with_501_where_not(self, billing: Any) -> None:
        made = await billing.invoice("10.00", "2025-01-31")
        try:
            import typst  # noqa: F401
        except ImportError:
            refusal = await billing.commerce.refused(billing.commerce.get(f"Invoices/{made.sid}/Pdf"))
            assert (refusal.status, refusal.code) == (501, 20501)
        else:
            assert (await billing.commerce.get(f"Invoices/{made.sid}/Pdf")).startswith(b"%PDF-")

    async def test_a_strangers_invoice_is_not_found(self, billing: Any) -> None:
        made = await billing.invoice("10.00", "2025-01-31")
        _, stranger = await billing.commerce.make_customer("Stranger", "US")
        refusal = await billing.commerce.refused(billing.commerce.get(f"Invoices/{made.sid}", account=stranger))
        assert refusal.status == 404


class TestSettling:
    async def test_money_goes_to_the_oldest_due_day_and_the_rest_stays_with_us(self, billing: Any) -> None:
        first = await billing.invoice("10.00", "2025-01-31")
        second = await billing.invoice("20.00", "2025-02-28")
        assert await billing.pay("15.00", "2025-03-01") == {first.sid: micros("10"), second.sid: micros("5")}
        assert await billing.pay("20.00", "2025-03-02") == {second.sid: micros("15")}
        assert await billing.account_sum("prepaid_balance") == -micros("5")
        states = [one["state"] for one in (await billing.commerce.get("Invoices"))["items"]]
        assert states == ["paid", "paid"]
        assert await billing.books() == []

    async def test_money_follows_the_customers_word_and_a_repeated_reference_does_nothing(self, billing: Any) -> None:
        first = await billing.invoice("10.00", "2025-01-31")
        second = await billing.invoice("20.00", "2025-02-28")
        body = {
            "currency": "USD", "amount": "20.00", "reference": "B-1", "received_on": "2025-03-01",
            "instruction": [{"document": second.sid, "amount": "20.00"}],
        }  # fmt: skip
        for _ in range(2):
            await billing.commerce.post("Payments", body, at="2025-03-01T09:00:00+00:00")
        assert await billing.due(first.sid) == "10.00"
        assert await billing.due(second.sid) == "0.00"

    async def test_taxes_settle_first_then_surcharges_then_fees(self, billing: Any) -> None:
        await billing.tax("0.1")
        await billing.use("5.00", "2025-01-10", kind="surcharge")
        made = await billing.invoice("100.00", "2025-01-31")
        await billing.pay("12.00", "2025-02-10")
        settled = (await billing.commerce.get(f"Invoices/{made.sid}"))["settled"]
        assert settled == {"tax": "10.00", "surcharge": "2.00", "fee": "0.00", "late_fee": "0.00"}

    async def test_what_the_payments_room_settled_is_taken_over(self, billing: Any) -> None:
        await billing.tax("0.1")
        await billing.use("5.00", "2025-01-10", kind="surcharge")
        made = await billing.invoice("100.00", "2025-01-31")
        when = datetime(2025, 2, 10, tzinfo=UTC)
        async with billing.database.transaction() as tx:
            [due] = await invoicing.open_documents(tx, billing.customer)
            parts = [micros("10"), micros("5"), micros("25")]
            paid = ledger.templates.payment(micros("40"), "card")
            settled = ledger.templates.allocation({made.sid: micros("40")})
            for key, posting in (("p", paid), ("a", settled)):
                await ledger.post(tx, [ledger.Transaction(billing.customer, "USD", key, posting)], when)
            told = [payments.Allocation(made.sid, *parts)]
            await invoicing.settled_by_payments(tx, billing.surroundings, billing.customer, "PY1", told, when)
        assert (due.taxes, due.surcharges, due.fees) == (micros("10"), micros("5"), micros("100"))
        assert await billing.due() == "75.00"
        assert (await billing.commerce.get(f"Invoices/{made.sid}"))["state"] == "partially_paid"
        assert await billing.books() == []

    async def test_a_credit_note_takes_its_tax_along_and_voids_what_is_credited_whole(self, billing: Any) -> None:
        await billing.tax("0.0625")
        made = await billing.invoice("100.00", "2025-01-31")
        body = {"invoice_sid": made.sid, "reason": "error", "lines": [{"ref": "1", "amount": "33.33"}]}
        note = await billing.commerce.post("CreditNotes", body, at="2025-02-10T09:00:00+00:00")
        assert (note["number"], note["total"], note["off_invoice"]) == ("US-CN2025-000001", "35.41", "35.41")
        body["lines"] = [{"ref": "1", "amount": "66.67"}]
        rest = await billing.commerce.post("CreditNotes", body, at="2025-02-11T09:00:00+00:00")
        assert rest["total"] == "70.84"
        assert (await billing.commerce.get(f"Invoices/{made.sid}"))["state"] == "void"
        refusal = await billing.commerce.refused(
            billing.commerce.post("CreditNotes", body, at="2025-02-12T09:00:00+00:00")
        )
        assert refusal.status == 422
        assert await billing.account_sum("tax_payable:US") == 0
        assert await billing.books() == []

    async def test_what_was_paid_is_credited_to_the_balance(self, billing: Any) -> None:
        made = await billing.invoice("100.00", "2025-01-31")
        await billing.pay("80.00", "2025-02-10")
        body = {"invoice_sid": made.sid, "reason": "error", "lines": [{"ref": "1", "amount": "50.00"}]}
        note = await billing.commerce.post("CreditNotes", body, at="2025-02-11T09:00:00+00:00")
        assert (note["off_invoice"], note["to_balance"]) == ("20.00", "30.00")
        assert await billing.books() == []

    async def test_a_written_off_invoice_owes_nothing(self, billing: Any) -> None:
        made = await billing.invoice("100.00", "2025-01-31")
        await billing.commerce.post(
            f"Invoices/{made.sid}/WriteOff", {"reason": "bankrupt"}, at="2025-06-01T00:00:00+00:00"
        )
        assert (await billing.commerce.get(f"Invoices/{made.sid}"))["state"] == "written_off"
        assert await billing.account_sum("bad_debt") == micros("100")
        assert await billing.books() == []

    async def test_a_month_below_nothing_is_carried_to_the_next(self, billing: Any) -> None:
        await billing.use("-5.00", "2025-01-10")
        assert await billing.close("2025-02-01") == []
        await billing.use("7.00", "2025-02-10")
        [made] = await billing.close("2025-03-01")
        assert made.total == micros("2.00")


def test_every_row_of_the_table_leads_to_a_state_that_the_table_knows_or_ends_in() -> None:
    ends = {"paid", "void", "written_off"}
    for (state, event), row in model.MOVES.items():
        assert model.move(state, event) == row.next
        assert row.next in ends or any(known == row.next for known, _ in model.MOVES)
    for state in ends:
        assert all(known != state for known, _ in model.MOVES)
    assert model.move("draft", "send") is None


amounts = st.lists(st.integers(1, 10**12), min_size=1, max_size=6)


async def test_invariants_6_7_8_9_lines_sum_to_usage_and_rounding_is_posted(billing: Any) -> None:
    exact = ["0.000001", "1.234567", "2.005", "2.004999", "10.995", "0.333333"]
    for place, amount in enumerate(exact):
        await billing.use(amount, "2025-01-10", service=f"s{place}")
    [made] = await billing.close("2025-02-01")
    fees = [line for line in made.lines if line.kind == "fee"]
    assert sum(line.exact for line in fees) == sum(map(micros, exact))
    assert made.total == sum(line.micros for line in made.lines)
    assert await billing.account_sum("rounding") == -(made.total - sum(line.exact for line in made.lines))
    async with billing.database.snapshot() as tx:
        assert await tx.fetchval("SELECT count(*) FROM rated_usage WHERE invoice_sid = $1", made.sid) == len(exact)
        taken = sum(group.micros for group in await pricing.billed(tx, billing.customer, made.sid))
    assert taken == sum(map(micros, exact))
    assert await billing.books() == []


@settings(max_examples=150, deadline=None)
@given(amounts, st.integers(0, 300_000), st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_invariant_23_and_25_tax_of_parts_of_lines_sums_to_the_tax_of_the_whole(
    nets: list[int], rate: int, cuts: list[int]
) -> None:
    at = datetime(2025, 1, 1, tzinfo=UTC)
    lines = [
        model.Line(str(place), "fee", "", "", "", None, 1, "", None, net, rounded, at)
        for place, net in enumerate(nets)
        if (rounded := round_minor(net, "USD"))
    ]
    if not lines:
        return
    base = sum(line.micros for line in lines)
    tax = round_minor(base * rate // 10**6, "USD")
    refs = tuple(line.ref for line in lines)
    taxed = model.Line("T1", "tax", "", "", "", None, 1, "", None, tax, tax, at, "US", base, rate, refs)
    earlier: dict[str, int] = {}
    credited = 0
    for line in lines:
        left = line.micros
        for cut in [*cuts, 10**9]:
            part = min(left, cut * 10_000)
            if part:
                share = model.tax_shares([*lines, taxed], "USD", {line.ref: part}, earlier, {"T1": credited})[line.ref][
                    "T1"
                ]
                assert share >= 0
                credited += share
                assert credited <= tax
                earlier[line.ref] = earlier.get(line.ref, 0) + part
                left -= part
        if left:
            share = model.tax_shares([*lines, taxed], "USD", {line.ref: left}, earlier, {"T1": credited})[line.ref][
                "T1"
            ]
            credited += share
            earlier[line.ref] = line.micros
    assert credited == tax


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**6), st.booleans()), max_size=6), st.integers(1, 10**10)
)
def test_invariant_12_and_23_an_allocation_never_exceeds_what_is_open_or_paid(
    opened: list[tuple[int, int, bool]], money: int
) -> None:
    parts = [
        invoicing.Part("OR", f"IV{place}", "", "USD", date(2025, 1, 1 + place), disputed, fees, late)
        for place, (fees, late, disputed) in enumerate(opened)
    ]
    found = model.allocate(parts, money, None)
    due = sum(part.open for part in parts if not part.disputed)
    assert sum(fees + late for _, fees, late in found) == min(money, due)
    assert all(fees <= part.fees and late <= part.late and not part.disputed for part, fees, late in found)
    assert model.allocate(parts[::-1], money, None) == found
