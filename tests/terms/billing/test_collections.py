"""Late payment against the rows of the terms that are its."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onterms.business import collections
from onterms.business.collections import LegalRate, model
from onterms.core.errors import Refusal
from onterms.core.money import micros


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def late(billing: Any, amount: str = "8784.85") -> Any:
    """Bill on 2025-01-31 (due 03-02) and give notice on 2025-03-05, so that the cure runs through 03-20."""
    made = await billing.invoice(amount, "2025-01-31")
    await billing.deliver(at("2025-02-01T09:00"))
    assert await billing.review(at("2025-03-03T00:00"), deliver=False) == "past_due"
    await billing.deliver(at("2025-03-05T10:00"))
    return made


async def notice_of(billing: Any) -> dict[str, Any]:
    [notice] = (await billing.commerce.get("Collections/Notices"))["items"]
    assert isinstance(notice, dict)
    return notice


async def test_3_3_2_notice_given_on_march_5_starts_a_cure_through_march_20(billing: Any) -> None:
    await late(billing)
    notice = await notice_of(billing)
    assert (notice["given_on"], notice["cure_until"]) == ("2025-03-05", "2025-03-20")
    assert await billing.review(at("2025-03-20T23:59:59.999")) == "cure"
    assert await billing.review(at("2025-03-21T00:00")) == "breached"


async def test_3_3_2_i_late_fee_is_the_lesser_of_rate_and_legal_maximum(billing: Any) -> None:
    await billing.legal("0.10")
    await billing.policy(late_fee="auto", suspension="off")
    await late(billing)
    await billing.review(at("2025-04-21T00:00"))
    await billing.pay("4000.00", "2025-04-30")
    await billing.pay("4784.85", "2025-05-16")
    assert sum(map(micros, await billing.fees())) == micros("117.24")
    fees = (await billing.commerce.get("Collections/Fees"))["items"]
    assert (fees[-1]["contract_figure"], fees[-1]["legal_figure"]) == ("209.58", "117.24")
    assert fees[-1]["from"] == "2025-03-21"
    # It goes on the next invoice, and is no Fee that keeps anything blocked.
    [invoice] = await billing.close("2025-06-01")
    assert {line.kind for line in invoice.lines} == {"late_fee"}
    assert invoice.total == micros("117.24")
    assert await billing.review(at("2025-07-15T00:00")) == "clear"
    assert await billing.books() == []


async def test_3_3_2_i_without_a_legal_maximum_on_file_the_contract_rate_counts_and_is_flagged(billing: Any) -> None:
    await billing.policy(late_fee="auto", suspension="off")
    await late(billing)
    await billing.pay("4000.00", "2025-04-30")
    await billing.pay("4784.85", "2025-05-16")
    assert sum(map(micros, await billing.fees())) == micros("209.58")
    [*_, last] = (await billing.commerce.get("Collections/Fees"))["items"]
    assert last["flags"] == ["no_legal_cap_on_file"]


async def test_3_3_2_ii_suspension_is_possible_from_march_21_and_lifts_when_fees_are_paid(billing: Any) -> None:
    await billing.policy(suspension="auto", late_fee="off")
    await late(billing)
    assert await billing.review(at("2025-03-20T23:59:59.999999")) == "cure"
    with pytest.raises(Refusal) as early:
        async with billing.database.transaction() as tx:
            await billing.collections.suspend(tx, billing.customer, "Ann", at("2025-03-20T23:59"))
    assert early.value.details == {"clause": "3.3.2(ii)", "reason": "cure_not_over"}
    assert (await billing.standing()).can_send
    assert await billing.review(at("2025-03-21T00:00")) == "suspended"
    blocked = await billing.standing()
    assert not blocked.can_send and not blocked.can_create_accounts
    [suspended] = [block for block in blocked.reasons if block.reason == "suspended"]
    assert suspended.notice_sid == (await notice_of(billing))["sid"]
    # All of it, not a part.
    await billing.pay("8784.84", "2025-04-01")
    assert not (await billing.standing()).can_send
    await billing.pay("0.01", "2025-04-02")
    lifted = await billing.standing()
    assert lifted.can_send and lifted.can_create_accounts


async def test_3_3_2_new_accounts_are_blocked_from_the_day_after_the_due_day(billing: Any) -> None:
    made = await billing.invoice("100.00", "2025-01-31")
    assert made.due_on == date(2025, 3, 2)
    await billing.review(at("2025-03-02T23:59:59"))
    assert (await billing.standing()).can_create_accounts
    await billing.review(at("2025-03-03T00:00"))
    state = await billing.standing()
    assert state.can_send and not state.can_create_accounts
    [block] = state.reasons
    assert (block.reason, block.clause) == ("past_due", "3.3.2")
    await billing.pay("100.00", "2025-03-04")
    assert (await billing.standing()).can_create_accounts


async def test_9_9_waiver_unpaid_since_march_may_still_be_suspended_in_june(billing: Any) -> None:
    await late(billing)
    await billing.review(at("2025-03-21T00:00"))
    assert {one.kind for one in await billing.proposals()} == {"suspension"}
    assert (await billing.standing()).can_send
    await billing.review(at("2025-06-10T00:00"))
    [proposal] = [one for one in await billing.proposals() if one.kind == "suspension"]
    body = {"decision": "approve", "decided_by": "Ann Example"}
    shown = await billing.commerce.post(f"Collections/Proposals/{proposal.sid}", body, at=at("2025-06-10T09:00"))
    assert shown["state"] == "suspended"
    assert not (await billing.standing()).can_send


async def test_10_1_1_a_government_owes_the_legal_maximum_without_the_lesser_of(billing: Any) -> None:
    async with billing.database.transaction() as tx:
        await tx.execute(
            "UPDATE customers SET gov_kind = 'us_federal', gov_verified_at = created_at WHERE customer_sid = $1",
            billing.customer,
        )
    await billing.legal("0.24", "government")
    await billing.policy(late_fee="auto", suspension="off")
    await late(billing)
    await billing.pay("4000.00", "2025-04-30")
    await billing.pay("4784.85", "2025-05-16")
    assert sum(map(micros, await billing.fees())) == micros("281.39")


async def test_10_1_1_without_a_rate_on_file_a_government_owes_nothing_and_the_operator_is_asked(billing: Any) -> None:
    async with billing.database.transaction() as tx:
        await tx.execute(
            "UPDATE customers SET gov_kind = 'us_federal', gov_verified_at = created_at WHERE customer_sid = $1",
            billing.customer,
        )
    await billing.policy(late_fee="auto", suspension="off")
    await late(billing)
    await billing.review(at("2025-05-16T00:00"))
    assert await billing.fees() == []
    assert [one.kind for one in await billing.proposals()] == ["rate_missing"]


class TestClocks:
    async def test_paid_within_the_cure_costs_nothing(self, billing: Any) -> None:
        await billing.policy(late_fee="auto", suspension="auto", fee_start="due_date")
        await late(billing)
        await billing.pay("8784.85", "2025-03-20")
        assert await billing.review(at("2025-05-01T00:00")) == "clear"
        assert await billing.fees() == []

    async def test_a_payment_entered_late_takes_back_what_was_assessed_after_its_day(self, billing: Any) -> None:
        await billing.policy(late_fee="auto", suspension="off")
        await late(billing, "1000.00")
        await billing.review(at("2025-05-21T00:00"))
        assert await billing.fees() == ["30.00"]
        await billing.pay("1000.00", "2025-05-25", on="2025-04-21")
        assert await billing.fees() == ["30.00", "-15.00"]
        assert await billing.books() == []

    async def test_a_notice_that_bounced_stops_its_clock_and_lifts_what_stood_on_it(self, billing: Any) -> None:
        await billing.policy(late_fee="auto", suspension="auto")
        await late(billing, "1000.00")
        assert await billing.review(at("2025-04-21T00:00")) == "suspended"
        assert await billing.fees() == ["15.00"]
        await billing.bounce((await notice_of(billing))["sid"], at("2025-04-22T00:00"))
        assert (await billing.standing()).can_send
        assert not (await billing.standing()).can_create_accounts
        assert await billing.fees() == ["15.00", "-15.00"]
        assert (await notice_of(billing))["is_void"]
        # A person looks before another one goes to a dead address.
        assert await billing.review(at("2025-04-23T00:00")) == "past_due"
        assert [one.kind for one in await billing.proposals()] == ["notice"]

    async def test_an_invoice_that_turns_late_in_anothers_cure_needs_its_own_notice(self, billing: Any) -> None:
        await billing.policy(suspension="off", late_fee="auto")
        await late(billing, "100.00")
        second = await billing.invoice("500.00", "2025-02-14")
        assert second.due_on == date(2025, 3, 16)
        assert await billing.review(at("2025-03-17T00:00")) == "cure"
        found = (await billing.commerce.get("Collections/Notices"))["items"]
        assert [one["cure_until"] for one in found] == ["2025-03-20", "2025-04-01"]
        await billing.pay("100.00", "2025-03-25", instruction=[(found[0]["invoice_sid"], micros("100"))])
        assert await billing.review(at("2025-03-25T13:00")) == "cure"
        assert await billing.review(at("2025-04-02T00:00")) == "breached"

    async def test_by_default_a_fee_is_proposed_and_assessed_by_a_named_person(self, billing: Any) -> None:
        await late(billing, "1000.00")
        await billing.review(at("2025-04-21T00:00"))
        [proposal] = [one for one in await billing.proposals() if one.kind == "late_fee"]
        assert proposal.micros == micros("15.00")
        assert await billing.fees() == []
        body = {"decision": "approve", "decided_by": "Ann Example"}
        await billing.commerce.post(f"Collections/Proposals/{proposal.sid}", body, at=at("2025-04-21T09:00"))
        assert await billing.fees() == ["15.00"]
        await billing.commerce.refused(
            billing.commerce.post(f"Collections/Proposals/{proposal.sid}", body, at=at("2025-04-21T10:00"))
        )

    async def test_lifting_leaves_an_account_that_was_suspended_before_as_it_was(self, billing: Any) -> None:
        await billing.policy(suspension="auto", late_fee="off")
        _, other = await billing.commerce.make_customer("Under", "US")
        async with billing.database.transaction() as tx:
            await tx.execute("DELETE FROM customer_accounts WHERE account_sid = $1", other)
            await tx.execute(
                "UPDATE accounts SET owner_sid = $1, status = 'suspended', suspended_by = 'parent' WHERE sid = $2",
                billing.account,
                other,
            )
        await late(billing)
        await billing.review(at("2025-03-21T00:00"))
        assert not (await billing.standing(other)).can_send
        await billing.pay("8784.85", "2025-03-22")
        assert (await billing.standing(other)).can_send
        assert await billing.commerce.status(other) == "suspended"
        assert await billing.commerce.status() == "active"

    async def test_the_next_look_is_a_job_and_looking_twice_changes_nothing(self, billing: Any) -> None:
        await late(billing)
        for _ in range(2):
            await billing.review(at("2025-03-06T00:00"))
        async with billing.database.snapshot() as tx:
            due = await tx.fetch(
                "SELECT due_at FROM jobs WHERE task = 'collections.review' AND due_at > $1", at("2025-03-06T00:00")
            )
        assert [row["due_at"] for row in due] == [at("2025-03-21T00:00")]
        shown = await billing.commerce.get("Collections")
        assert (shown["state"], shown["next_review_on"]) == ("cure", "2025-03-21")


def test_every_path_follows_the_table_and_reaches_its_target() -> None:
    for (state, target), events in model._PATHS.items():
        for event in events:
            state = model.MOVES[state, event].next
        assert state == target


# 2025-03-21 and some hundred days.
START = date(2025, 3, 21)
changes = st.lists(st.tuples(st.integers(-10, 200), st.integers(-(10**10), 10**10)), max_size=5)
caps = st.lists(st.tuples(st.integers(-50, 150), st.integers(0, 400_000)), max_size=3)


def _rates(found: list[tuple[int, int]]) -> list[LegalRate]:
    return [
        LegalRate("commercial", "US", rate, START + timedelta(days=day), None, "test") for day, rate in sorted(found)
    ]


@settings(max_examples=200, deadline=None)
@given(changes, caps, st.integers(1, 240))
def test_invariant_11_a_fee_is_within_both_bounds_grows_with_time_and_is_exact(
    found: list[tuple[int, int]], cap: list[tuple[int, int]], days: int
) -> None:
    steps = [(START + timedelta(days=day), change) for day, change in found]
    rates = [*_rates(cap), LegalRate("commercial", "US", 180_000, date(2020, 1, 1), date(2025, 3, 1), "test")]
    fees = [
        collections.late_fee(steps, START, START + timedelta(days=each), "USD", rates) for each in range(0, days, 13)
    ]
    for fee in fees:
        assert 0 <= fee.micros <= fee.contract
        assert fee.legal is None or fee.micros <= fee.legal
        assert fee.micros % 10_000 == 0
    assert all(before.micros <= after.micros for before, after in pairwise(fees))


@settings(max_examples=100, deadline=None)
@given(changes, st.integers(1, 120), st.randoms(use_true_random=False))
def test_invariant_12_13_daily_differences_sum_to_the_figure_of_once_in_any_order_of_same_day_events(
    found: list[tuple[int, int]], days: int, shuffle: Any
) -> None:
    steps = [(START + timedelta(days=day), change) for day, change in found]
    posted = 0
    for each in range(1, days + 1):
        until = START + timedelta(days=each)
        posted += collections.late_fee(steps, START, until, "USD", _rates([(-1, 100_000)])).micros - posted
    shuffle.shuffle(steps)
    once = collections.late_fee(steps, START, START + timedelta(days=days), "USD", _rates([(-1, 100_000)]))
    assert posted == once.micros


async def test_invariant_14_every_suspension_has_a_notice_given_before_it(billing: Any) -> None:
    await billing.policy(suspension="auto", late_fee="off")
    await late(billing)
    for day in range(1, 40):
        await billing.review(at("2025-03-05T12:00") + timedelta(days=day))
    async with billing.database.snapshot() as tx:
        rows = await tx.fetch(
            "SELECT block.set_at, notice.given_at FROM standing_blocks AS block JOIN notices AS notice "
            "ON notice.sid = block.notice_sid WHERE block.reason = 'suspended'"
        )
    assert len(rows) == 1
    assert all(row["given_at"] + timedelta(days=15) < row["set_at"] for row in rows)
