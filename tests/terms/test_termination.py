"""Ends of agreements against the rows of the terms that are theirs."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onterms.business import termination as room
from onterms.business.termination import STEPS, Hindrance, cure_end, effective_clauses, survives
from onterms.business.termination.model import FORCE_MAJEURE, TERMINATION
from onterms.core.db import Tx


class World:
    def __init__(self, commerce: Any) -> None:
        self.commerce = commerce
        self.order_form_end: date | None = None
        self.done: list[str] = []

        async def last_form(tx: Tx, customer_sid: str, at: datetime) -> date | None:
            return self.order_form_end

        def step(name: str) -> room.Closing:
            async def do(tx: Tx, customer_sid: str, kind: str, at: datetime) -> str:
                self.done.append(name)
                return "done"

            return do

        closing = {name: step(name) for name in STEPS if name != "close_accounts"}
        self.terminations = room.Terminations(commerce.notices, last_form, closing)
        api = room.Api(self.terminations)
        commerce.serve(api.routes(), api.books())

    async def notify(self, kind: str, at: str, **given: Any) -> Any:
        body = {"kind_of_end": kind, "reason": "because", **given}
        case = await self.commerce.post("Terminations", body, at=at)
        return await self.commerce.fire("Terminations", case["sid"], "given", at=at)

    async def state(self, case: Any) -> str:
        return str((await self.commerce.get(f"Terminations/{case['sid']}"))["state"])


@pytest.fixture
def world(commerce: Any) -> World:
    return World(commerce)


@pytest.mark.parametrize("machine", [TERMINATION, FORCE_MAJEURE], ids=lambda machine: machine.kind)
def test_every_move_is_whole(machine: Any) -> None:
    machine.check()
    assert {move.next for move in machine.moves.values()} - {state for state, _ in machine.moves}


async def test_8_2_agreement_that_both_parties_end_is_closed_once(world: World) -> None:
    given = {"kind_of_end": "insolvency", "reason": "insolvent"}
    cases = [
        await world.commerce.post(
            "Terminations", {"event": "receive", **given}, account=account, at="2025-03-01T15:00:00Z"
        )
        for account in (world.commerce.account, None)
    ]
    await world.commerce.until("2025-03-02T00:00:00+00:00")
    assert [await world.state(case) for case in cases] == ["terminated", "terminated"]
    assert sorted(world.done) == sorted(set(STEPS) - {"close_accounts"})


@pytest.mark.parametrize(("form_end", "last"), [("2025-06-30", "2025-06-30"), (None, "2025-03-31")])
async def test_8_2_1_notice_of_2025_03_01_ends_after_30_days_but_not_before_order_forms(
    world: World, form_end: str | None, last: str
) -> None:
    world.order_form_end = None if form_end is None else date.fromisoformat(form_end)
    case = await world.commerce.post(
        "Terminations",
        {"event": "receive", "kind_of_end": "convenience", "reason": "moving"},
        account=world.commerce.account,
        at="2025-03-01T15:00:00Z",
    )
    assert case["last_day"] == last
    await world.commerce.until(f"{last}T23:59:59+00:00")
    assert await world.state(case) == "notice_given"
    following = date.fromordinal(date.fromisoformat(last).toordinal() + 1)
    await world.commerce.until(f"{following}T00:00:00+00:00")
    assert await world.state(case) == "terminated"
    assert await world.commerce.status() == "closed"


async def test_8_2_1_a_form_signed_after_the_notice_moves_the_end(world: World) -> None:
    case = await world.notify("convenience", "2025-03-01T15:00:00Z")
    world.order_form_end = date(2025, 6, 30)
    moved = await world.commerce.fire("Terminations", case["sid"], "reschedule", at="2025-03-20T00:00:00Z")
    assert moved["last_day"] == "2025-06-30"
    await world.commerce.until("2025-04-02T00:00:00+00:00")
    assert await world.state(case) == "notice_given", "the deadline set first has no say any more"


async def test_8_2_2_breach_noticed_2025_03_03_can_be_terminated_from_2025_03_19_and_closes_accounts(
    world: World,
) -> None:
    case = await world.notify("breach", "2025-03-03T10:00:00Z", duty="aup")
    early = world.commerce.fire("Terminations", case["sid"], "end", at="2025-03-18T23:59:59Z")
    refusal = await world.commerce.refused(early)
    assert refusal.status == 409 and refusal.details == {"clause": "8.2.2", "reason": "too_early"}
    await world.commerce.until("2025-03-19T00:00:00+00:00")
    assert await world.state(case) == "notice_given", "nothing ends by itself"
    ended = await world.commerce.fire("Terminations", case["sid"], "end", at="2025-03-19T00:00:00Z")
    assert [one["step"] for one in ended["closing"]] == list(STEPS)
    assert world.done == [name for name in STEPS if name != "close_accounts"]
    assert await world.commerce.status() == "closed"


async def test_8_2_2_a_cured_breach_ends_nothing(world: World) -> None:
    case = await world.notify("breach", "2025-03-03T10:00:00Z")
    await world.commerce.fire("Terminations", case["sid"], "cure", reason="fixed", at="2025-03-10T00:00:00Z")
    late = world.commerce.fire("Terminations", case["sid"], "end", at="2025-03-19T00:00:00Z")
    assert (await world.commerce.refused(late)).status == 409
    assert await world.commerce.status() == "active"


async def test_8_2_3_insolvency_ends_on_the_day_of_notice_unless_a_stay_blocks_it(world: World) -> None:
    body = {"kind_of_end": "insolvency", "reason": "court order 1", "legal_stay": True}
    refusal = await world.commerce.refused(world.commerce.post("Terminations", body, at="2025-05-05T09:00:00Z"))
    assert refusal.details == {"clause": "8.2.3", "reason": "legal_stay"}
    case = await world.notify("insolvency", "2025-05-05T09:00:00Z")
    assert case["last_day"] == "2025-05-05"
    await world.commerce.until("2025-05-05T09:00:00+00:00")
    assert await world.state(case) == "terminated"


async def test_5_2_terminate_trade_notice_at_10_00_ends_agreement_and_order_forms_then(world: World) -> None:
    world.order_form_end = date(2026, 1, 1)
    case = await world.notify("trade", "2025-05-05T10:00:00Z")
    assert case["ends_at"] == "2025-05-05T10:00:00+00:00"
    await world.commerce.until("2025-05-05T10:00:00+00:00")
    assert await world.state(case) == "terminated" and "end_order_forms" in world.done


async def test_9_5_no_clock_runs_on_a_notice_that_was_not_given(world: World) -> None:
    world.commerce.notices.held = True
    body = {"kind_of_end": "trade", "reason": "listed"}
    case = await world.commerce.post("Terminations", body, at="2025-05-05T10:00:00Z")
    refusal = await world.commerce.refused(
        world.commerce.fire("Terminations", case["sid"], "given", at="2025-05-05T10:00:00Z")
    )
    assert refusal.status == 409
    await world.commerce.until("2025-06-05T10:00:00+00:00")
    assert await world.state(case) == "noticed" and await world.commerce.status() == "active"


def test_8_3_exactly_these_clauses_survive() -> None:
    """Invariant 26."""
    expected = {"2.1(c)", "3", "4", "5.5", "6", "7", "8.3", "9"}
    assert survives() == expected
    assert effective_clauses(True, ["10.1"]) == expected | {"10.1"}
    assert effective_clauses(False) > expected


@given(st.sets(st.sampled_from(["10.1", "10.2", "10.3", "10.4", "10.5"])))
def test_what_survives_is_a_part_of_what_was_in_force(riders: set[str]) -> None:
    """Invariant 26: no clause comes up by the end, and only the applicable parts of section 10 stay."""
    after = effective_clauses(True, sorted(riders))
    assert after < effective_clauses(False, sorted(riders))
    assert {clause for clause in after if clause.startswith("10.")} == riders


async def test_2_1_c_is_still_active_for_a_terminated_customer(world: World) -> None:
    await world.notify("trade", "2025-05-05T10:00:00Z")
    before: Sequence[Any] = (await world.commerce.get("Obligations"))["items"]
    assert all(one["active"] for one in before)
    await world.commerce.until("2025-05-05T10:00:00+00:00")
    after = {one["clause"]: one["active"] for one in (await world.commerce.get("Obligations"))["items"]}
    assert [clause for clause, active in after.items() if active] == ["2.1(c)"]
    shown = await world.commerce.get("EffectiveClauses", account=world.commerce.account)
    assert shown["terminated"] and set(shown["items"]) == survives()


async def test_9_8_an_event_of_5_days_in_a_cure_moves_its_end_by_5_days(world: World) -> None:
    body = {
        "party": "customer",
        "cause": "earthquake",
        "from_on": "2025-03-10",
        "until_on": "2025-03-14",
        "duties": ["aup"],
        "mitigation": "moved to another site",
    }
    event = await world.commerce.post("ForceMajeure", body, account=world.commerce.account, at="2025-03-10T00:00:00Z")
    case = await world.notify("breach", "2025-03-03T10:00:00Z", duty="aup")
    assert case["last_day"] == "2025-03-18", "a mere report moves nothing"
    await world.commerce.fire("ForceMajeure", event["sid"], "accept", at="2025-03-11T00:00:00Z")
    moved = await world.commerce.fire("Terminations", case["sid"], "reschedule", at="2025-03-11T00:00:00Z")
    assert moved["last_day"] == "2025-03-23"


def test_9_8_paying_is_excused_only_where_the_cause_reaches_it() -> None:
    start, days = date(2025, 3, 3), 15
    event = Hindrance("customer", date(2025, 3, 10), date(2025, 3, 14), frozenset({"aup"}), False)
    reaching = Hindrance("customer", date(2025, 3, 10), date(2025, 3, 14), frozenset(), True)
    assert cure_end(start, days, [event], "customer", "payment") == date(2025, 3, 18)
    assert cure_end(start, days, [reaching], "customer", "payment") == date(2025, 3, 23)
    assert cure_end(start, days, [event], "operator", "aup") == date(2025, 3, 18)
    going_on = Hindrance("customer", date(2025, 3, 10), None, frozenset({"aup"}), False)
    assert cure_end(start, days, [going_on], "customer", "aup") is None


async def test_a_customer_withdraws_and_ends_by_its_own_notice_only(world: World) -> None:
    commerce = world.commerce
    case = await world.notify("breach", "2025-03-03T10:00:00Z")
    for event in ("withdraw", "end"):
        move = commerce.fire("Terminations", case["sid"], event, account=commerce.account, at="2025-03-19T00:00:00Z")
        assert (await commerce.refused(move)).status == 403
