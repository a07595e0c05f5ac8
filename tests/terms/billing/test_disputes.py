"""Disputes of fees against the rows of the terms that are theirs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onterms.business import disputes
from onterms.business.disputes import model
from onterms.core.errors import Refusal
from onterms.core.money import micros


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def bill_9000(billing: Any) -> Any:
    """Bill 9,000.00 with 6.25 % tax: line 1 is 2,500.00, line 2 the rest."""
    await billing.tax("0.0625")
    await billing.use("2500.00", "2025-01-10", service="a")
    return await billing.invoice("5970.59", "2025-01-31")


async def conduct(billing: Any, sid: str, finding: str, when: datetime, reasons: str = "no answer") -> Any:
    body = {"finding": finding, "decided_by": "Ann Example", "reasons": reasons}
    return await billing.commerce.post(f"Disputes/{sid}/Determinations", body, at=when)


async def resolve(billing: Any, sid: str, outcome: str, when: datetime, **body: Any) -> Any:
    asked = {"outcome": outcome, "decided_by": "Ann Example", "reasons": "we looked", **body}
    return await billing.commerce.post(f"Disputes/{sid}/Resolution", asked, at=when)


async def miss_two_tasks(billing: Any, sid: str) -> None:
    for subject in ("logs", "numbers"):
        body = {"subject": subject, "due_on": "2025-03-01"}
        await billing.commerce.post(f"Disputes/{sid}/Tasks", body, at=at("2025-02-20T09:00"))
    async with billing.database.transaction() as tx:
        await billing.disputes.miss(tx, billing.customer, sid, at("2025-03-02T00:00"))


async def test_3_3_3_window_ends_with_day_60_and_what_is_later_has_no_shield(billing: Any) -> None:
    made = await billing.invoice("100.00", "2024-12-31")
    last = await billing.dispute(made.sid, {"1": "10.00"}, at("2025-03-01T23:59:59.999"))
    assert (last.state, last.shielded, last.withheld) == ("open", True, micros("10"))
    late = await billing.dispute(made.sid, {"1": "10.00"}, at("2025-03-02T00:00"))
    assert (late.state, late.shielded, late.withheld) == ("late", False, 0)
    assert await billing.due() == "90.00"


async def test_3_3_3_withhold_moves_the_disputed_part_with_its_tax_out_of_what_is_due(billing: Any) -> None:
    made = await bill_9000(billing)
    assert made.total == micros("9000.00")
    filed = await billing.dispute(made.sid, {"1": "2500.00"}, at("2025-02-10T09:00"))
    assert [(line.net, line.tax) for line in filed.lines] == [(micros("2500.00"), micros("156.25"))]
    assert await billing.due() == "6343.75"
    assert await billing.account_sum("receivable") == micros("6343.75")
    assert await billing.account_sum("receivable_disputed") == micros("2656.25")
    assert await billing.books() == []


async def test_3_3_3_conduct_two_missed_tasks_let_the_operator_find_it_uncooperative_and_tell_the_customer(
    billing: Any,
) -> None:
    made = await bill_9000(billing)
    filed = await billing.dispute(made.sid, {"1": "2500.00"}, at("2025-02-10T09:00"))
    refusal = await billing.commerce.refused(conduct(billing, filed.sid, "uncooperative", at("2025-02-21T09:00")))
    assert refusal.status == 409
    await miss_two_tasks(billing, filed.sid)
    refusal = await billing.commerce.refused(conduct(billing, filed.sid, "uncooperative", at("2025-03-02T09:00"), " "))
    assert refusal.status == 422
    found = await conduct(billing, filed.sid, "uncooperative", at("2025-03-02T09:00"))
    assert (found["state"], found["missed_tasks"], found["shielded"]) == ("uncooperative", 2, False)
    async with billing.database.snapshot() as tx:
        told = await tx.fetch("SELECT subject, contact_kind FROM notices WHERE ref = $1 ORDER BY sid", filed.sid)
    assert [row["contact_kind"] for row in told] == ["legal"] * 3
    assert told[-1]["subject"] == "Your dispute: you did not cooperate"
    assert await billing.due() == "9000.00"
    assert await billing.books() == []


async def test_3_3_3_shield_while_only_disputed_sums_are_unpaid_there_is_no_fee_and_no_suspension(billing: Any) -> None:
    await billing.policy(late_fee="auto", suspension="auto")
    made = await bill_9000(billing)
    await billing.dispute(made.sid, {"1": "2500.00"}, at("2025-02-10T09:00"))
    await billing.pay("6343.75", "2025-02-20")
    start = at("2025-01-31T00:00")
    for day in (31, 45, 60, 120):
        assert await billing.review(start + timedelta(days=day)) == "clear"
    assert await billing.fees() == []
    assert (await billing.standing()).can_send and (await billing.standing()).can_create_accounts


async def test_3_3_3_exception_uncooperative_from_the_determination_on_and_bad_faith_from_the_start(
    billing: Any,
) -> None:
    await billing.policy(late_fee="auto", suspension="off")
    made = await billing.invoice("2000.00", "2025-01-31")
    filed = await billing.dispute(made.sid, {"1": "1000.00"}, at("2025-02-10T09:00"))
    await billing.review(at("2025-03-05T00:00"))
    # The cure of what was never disputed runs through 2025-03-20; its fee is 1.5 % of 1,000.00 a month.
    await billing.review(at("2025-04-21T00:00"))
    assert await billing.fees() == ["15.00"]
    await miss_two_tasks(billing, filed.sid)
    await conduct(billing, filed.sid, "uncooperative", at("2025-04-21T09:00"))
    await billing.review(at("2025-05-21T00:00"))
    assert sum(map(micros, await billing.fees())) == micros("45.00")
    await conduct(billing, filed.sid, "bad_faith", at("2025-05-21T09:00"))
    # 2,000.00 for two months.
    assert sum(map(micros, await billing.fees())) == micros("60.00")
    assert await billing.books() == []


async def test_9_1_1_claims_come_from_the_customers_legal_contact_only(billing: Any) -> None:
    made = await billing.invoice("100.00", "2025-01-31")
    body = {
        "contact_sid": billing.billing_contact, "invoice_sid": made.sid, "reason": "wrong",
        "lines": [{"ref": "1", "amount": "10.00"}],
    }  # fmt: skip
    when = at("2025-02-10T09:00")
    refusal = await billing.commerce.refused(billing.commerce.post("Disputes", body, at=when, account=billing.account))
    assert (refusal.status, (refusal.details or {})["clause"]) == (403, "9.1.1")
    body["contact_sid"] = billing.legal_contact
    filed = await billing.commerce.post("Disputes", body, at=when, account=billing.account)
    assert (filed["state"], filed["withheld"]) == ("open", "10.00")


class TestDecisions:
    async def test_upheld_is_credited_with_its_tax_and_the_late_fee_on_it_is_reversed(self, billing: Any) -> None:
        await billing.policy(late_fee="auto", suspension="off")
        await billing.tax("0.10")
        made = await billing.invoice("2000.00", "2025-01-31")
        await billing.review(at("2025-03-05T00:00"))
        filed = await billing.dispute(made.sid, {"1": "1000.00"}, at("2025-03-25T09:00"))
        await billing.review(at("2025-04-21T00:00"))
        # Four days of 2,200.00 and the rest of the month of 1,100.00.
        assert sum(map(micros, await billing.fees())) == micros("18.62")
        found = await resolve(billing, filed.sid, "upheld", at("2025-04-21T09:00"))
        assert (found["state"], found["credited"]) == ("upheld", "1100.00")
        # What is left is 1.5 % of 1,100.00 that was never disputed.
        assert sum(map(micros, await billing.fees())) == micros("16.50")
        assert await billing.due() == "1100.00"
        assert await billing.account_sum("receivable_disputed") == 0
        assert await billing.books() == []

    async def test_the_rejected_part_is_due_that_day_with_a_fresh_notice_and_no_fee_for_the_open_time(
        self, billing: Any
    ) -> None:
        await billing.policy(late_fee="auto", suspension="auto")
        made = await billing.invoice("3000.00", "2025-01-31")
        filed = await billing.dispute(made.sid, {"1": "2000.00"}, at("2025-02-10T09:00"))
        await billing.pay("1000.00", "2025-02-20")
        lines = [{"ref": "1", "amount": "500.00"}]
        found = await resolve(billing, filed.sid, "partly", at("2025-06-01T09:00"), lines=lines)
        assert (found["state"], found["credited"]) == ("partly", "500.00")
        assert await billing.due() == "1500.00"
        assert await billing.review(at("2025-06-02T00:00")) == "cure"
        [notice] = (await billing.commerce.get("Collections/Notices"))["items"]
        assert (notice["part"], notice["cure_until"]) == (filed.sid, "2025-06-17")
        assert await billing.review(at("2025-06-17T23:59")) == "cure"
        assert await billing.review(at("2025-07-18T00:00")) == "suspended"
        assert await billing.fees() == ["22.50"]
        assert await billing.books() == []

    async def test_withdrawing_makes_it_due_that_day(self, billing: Any) -> None:
        made = await billing.invoice("100.00", "2025-01-31")
        filed = await billing.dispute(made.sid, {"1": "100.00"}, at("2025-02-10T09:00"))
        assert await billing.due() == "0.00"
        shown = await billing.commerce.post(
            f"Disputes/{filed.sid}/Withdrawal", {}, at=at("2025-04-10T09:00"), account=billing.account
        )
        assert shown["state"] == "withdrawn"
        assert await billing.due() == "100.00"
        refusal = await billing.commerce.refused(resolve(billing, filed.sid, "upheld", at("2025-04-11T09:00")))
        assert refusal.status == 409

    async def test_disputing_lifts_a_suspension_at_once(self, billing: Any) -> None:
        await billing.policy(late_fee="off", suspension="auto")
        made = await billing.invoice("100.00", "2025-01-31")
        await billing.review(at("2025-03-03T00:00"))
        assert await billing.review(at("2025-03-19T00:00")) == "suspended"
        await billing.dispute(made.sid, {"1": "100.00"}, at("2025-03-20T09:00"))
        assert (await billing.standing()).can_send

    async def test_a_paid_invoice_may_be_disputed_and_is_credited_to_the_balance(self, billing: Any) -> None:
        made = await billing.invoice("100.00", "2025-01-31")
        await billing.pay("100.00", "2025-02-05")
        filed = await billing.dispute(made.sid, {"1": "40.00"}, at("2025-02-10T09:00"))
        assert filed.withheld == 0
        await resolve(billing, filed.sid, "upheld", at("2025-02-20T09:00"))
        assert await billing.account_sum("prepaid_balance") == -micros("40.00")
        assert await billing.books() == []

    async def test_invariant_25_no_line_is_disputed_or_credited_beyond_itself(self, billing: Any) -> None:
        made = await billing.invoice("100.00", "2025-01-31")
        filed = await billing.dispute(made.sid, {"1": "60.00"}, at("2025-02-10T09:00"))
        with pytest.raises(disputes.TooMuchDisputed):
            await billing.dispute(made.sid, {"1": "40.01"}, at("2025-02-10T10:00"))
        with pytest.raises(Refusal):
            await billing.dispute(made.sid, {"2": "1.00"}, at("2025-02-10T10:00"))
        lines = [{"ref": "1", "amount": "60.01"}]
        refusal = await billing.commerce.refused(
            resolve(billing, filed.sid, "partly", at("2025-02-11T09:00"), lines=lines)
        )
        assert refusal.status == 422
        await resolve(billing, filed.sid, "upheld", at("2025-02-11T09:00"))
        refusal = await billing.commerce.refused(
            billing.commerce.post(
                "CreditNotes",
                {"invoice_sid": made.sid, "reason": "error", "lines": [{"ref": "1", "amount": "40.01"}]},
                at=at("2025-02-12T09:00"),
            )
        )
        assert refusal.status == 422

    async def test_an_answered_task_goes_on_and_is_not_missed(self, billing: Any) -> None:
        made = await billing.invoice("100.00", "2025-01-31")
        filed = await billing.dispute(made.sid, {"1": "60.00"}, at("2025-02-10T09:00"))
        body = {"subject": "logs", "due_on": "2025-03-01"}
        task = await billing.commerce.post(f"Disputes/{filed.sid}/Tasks", body, at=at("2025-02-20T09:00"))
        assert (await billing.commerce.get(f"Disputes/{filed.sid}"))["state"] == "awaiting_customer"
        shown = await billing.commerce.post(
            f"Disputes/{filed.sid}/Tasks/{task['sid']}", {"answer": "here"}, at=at("2025-02-21T09:00"),
            account=billing.account,
        )  # fmt: skip
        assert (shown["state"], shown["tasks"][0]["state"]) == ("open", "answered")


def test_every_row_of_the_table_ends_or_goes_on() -> None:
    ends = {"upheld", "partly", "rejected", "withdrawn", "void"}
    alive = {state for state, _ in model.MOVES}
    assert alive == {"filed", "open", "late", "awaiting_customer", "uncooperative"}
    for row in model.MOVES.values():
        assert row.next in ends | alive
    for state in alive - {"filed"}:
        assert {event for known, event in model.MOVES if known == state} >= {"uphold", "reject", "withdraw"}
