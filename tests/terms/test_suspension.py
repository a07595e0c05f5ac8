"""Suspensions, use policy, spikes, screening and places against the rows of the terms that are theirs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onterms.business import accounts, customers
from onterms.business import suspension as room
from onterms.business.cases import Case
from onterms.business.suspension import Sending, Signals, Use
from onterms.business.suspension.model import COMPLIANCE_REPORT, LICENCE, REVIEW, SCREENING, SUSPENSION, match
from onterms.business.suspension.model.policy import Rule, decayed_score, decide
from onterms.business.suspension.model.screening import THRESHOLD_PPM, Entry, normalised
from onterms.business.suspension.model.spikes import SpikePolicy, baseline, judge
from onterms.business.suspension.service import screening
from onterms.business.suspension.service.admission import Wish
from onterms.core.db import Tx
from onterms.core.errors import Refusal
from onterms.core.money import decimal_text, micros, round_minor
from onterms.engines import audit, ledger
from onterms.engines.jobs import Worker

MACHINES = [SUSPENSION, REVIEW, SCREENING, LICENCE, COMPLIANCE_REPORT]
SMS = Sending("messaging", "US", "+14155550199", "+14155550100", "hello")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


class World:
    def __init__(self, commerce: Any) -> None:
        self.commerce = commerce
        self.suspensions = room.Suspensions(
            commerce.notices, accounts.revoke_keys, frozenset({"law", "security", "aup"})
        )
        self.screening = room.Screening(self.suspensions)
        self.consents: set[str] = set()

        async def has_consent(tx: Tx, customer_sid: str, identity: str, channel: str, at: datetime) -> bool:
            return identity in self.consents

        self.admission = room.Admission(self.suspensions, has_consent=has_consent)
        self.api = room.Api(self.suspensions, self.screening, self.admission)
        commerce.serve(self.api.routes(), self.api.books())

    def use(self, **fields: Any) -> Use:
        return Use(self.commerce.account, self.commerce.account, **{"service": "messaging", "country": "US", **fields})

    async def admit(self, at: str, sending: Sending = SMS, **use: Any) -> Any:
        async with self.commerce.database.transaction() as tx:
            return await self.admission.admit(
                tx, self.commerce.customer, self.use(**{"country": sending.country, **use}), sending, moment(at)
            )

    async def refused(self, at: str, sending: Sending = SMS, **use: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.admit(at, sending, **use)
        return caught.value

    async def suspend(self, at: str, ground: str = "aup", scope: str = "customer", **given: Any) -> str:
        body = {"event": "propose", "scope": scope, "ground": ground, "determination": "spam was found", **given}
        case = await self.commerce.post("Suspensions", body, at=at)
        await self.commerce.fire("Suspensions", case["sid"], "approve", approved_by="duty officer", at=at)
        await self.commerce.fire("Suspensions", case["sid"], "notice", at=at)
        return str(case["sid"])


@pytest.fixture
def world(commerce: Any) -> World:
    return World(commerce)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.kind)
def test_every_move_leads_to_a_state_that_the_table_knows(machine: Any) -> None:
    machine.check()
    left = {state for state, _ in machine.moves}
    ends = {move.next for move in machine.moves.values()} - left
    assert ends, "some state ends the case"
    for state, event in machine.moves:
        assert event and state in {"", *(move.next for move in machine.moves.values())}


async def test_2_3_notice_a_suspension_without_notice_id_is_refused(world: World) -> None:
    commerce = world.commerce
    body = {"event": "post", "scope": "customer", "ground": "aup", "determination": "spam"}
    refusal = await commerce.refused(commerce.post("Suspensions", body, at="2025-03-01T12:00:00Z"))
    assert refusal.status == 422 and refusal.details == {"clause": "2.3", "reason": "no_notice"}
    async with commerce.database.transaction() as tx:
        sid = await commerce.notices.send(
            tx, commerce.customer, "suspension", "s", "b", "legal", moment("2025-03-01T12:00:00Z")
        )
    commerce.notices.held = True
    held = await commerce.refused(commerce.post("Suspensions", {**body, "notice_sid": sid}, at="2025-03-01T12:00:00Z"))
    assert held.status == 422
    commerce.notices.held = False
    made = await commerce.post("Suspensions", {**body, "notice_sid": sid}, at="2025-03-01T12:00:00Z")
    assert made["state"] == "noticed" and made["effective_at"] > made["noticed_at"]


async def test_2_3_a_confirmed_spam_case_sends_notice_and_suspends_the_accounts(world: World) -> None:
    commerce = world.commerce
    review = await commerce.post("Reviews", {"ground": "aup", "summary": "spam"}, at="2025-03-01T11:00:00Z")
    assert await commerce.status() == "active"
    await commerce.fire(
        "Reviews", review["sid"], "confirm", determination="1,000 complaints", at="2025-03-01T12:00:00Z"
    )
    [notice] = commerce.notices.sent
    assert notice["at"] == moment("2025-03-01T12:00:00Z") and "1,000 complaints" in notice["body"]
    await commerce.until("2025-03-01T12:00:01+00:00")
    assert await commerce.status() == "suspended"
    refusal = await world.refused("2025-03-01T12:00:02Z")
    assert (refusal.code, refusal.status) == (10001, 403)
    assert refusal.details is not None and refusal.details["clause"] == "2.3(a)"


async def test_2_3_b_an_unusual_window_without_second_leg_is_an_alert_only(world: World) -> None:
    policy = SpikePolicy()
    assert judge(2400, 200, 20, Signals(), policy) == "alert"
    assert judge(2400, 200, 20, Signals(new_credential=True, sequential_numbers=True), policy) == "case"
    assert judge(2400, 200, 20, Signals(queue_delay_s=31), policy) == "case"
    assert judge(1000, 10, 1, Signals(queue_delay_s=31), policy) == "usual", "the floor is 1,000 units"
    assert judge(1001, 201, 1, Signals(queue_delay_s=31), policy) == "usual", "five times the median is more"
    history = [180, 220, 180, 220, 200, 200, 180, 220]
    assert baseline(history) == (200, 20)
    commerce = world.commerce
    start = moment("2025-03-03T10:00:00Z")
    verdicts = []
    windows = [*[(start - timedelta(weeks=8 - i), units) for i, units in enumerate(history)], (start, 2400)]
    for at, units in windows:
        async with commerce.database.transaction() as tx:
            verdicts.append(
                await room.observe(
                    tx, world.suspensions.reviews, commerce.customer, "messaging", "US", at, units, Signals(), at
                )
            )
    assert verdicts == [*["learning"] * 8, "alert"]
    assert (await commerce.get("Reviews"))["items"] == []
    assert (await commerce.get("Suspensions"))["items"] == []


async def test_2_3_c_a_ban_stops_only_its_service_and_country(world: World) -> None:
    commerce = world.commerce
    body = {"kind": "service", "service": "messaging", "country": "FR", "reason": "statute 7"}
    await commerce.post("PlaceBlocks", body, at="2025-05-01T00:00:00Z")
    french = Sending("messaging", "FR", "+14155550199", "+33123456789")
    assert (await world.admit("2025-04-30T23:59:59Z", french)).action == "allow"
    assert (await world.refused("2025-05-01T00:00:00Z", french)).status == 403
    assert (await world.admit("2025-05-01T00:00:00Z")).action == "allow"
    await world.suspend("2025-05-01T00:00:00Z", "law", "service", service="voice", country="DE")
    assert (
        await world.refused("2025-05-01T00:00:02Z", Sending("voice", "DE", "", "+4930"), service="voice")
    ).code == 10001
    assert (
        await world.admit("2025-05-01T00:00:02Z", Sending("voice", "US", "", "+1"), service="voice")
    ).action == "allow"
    assert await commerce.status() == "active"


async def test_2_3_d_a_leaked_key_is_revoked_and_suspended_within_60_s_of_the_case(world: World) -> None:
    commerce = world.commerce
    async with commerce.database.transaction() as tx:
        await accounts.create_main_key(tx, commerce.vault, commerce.account, "leaked", moment("2025-03-01T09:00:00Z"))
    review = await commerce.post("Reviews", {"ground": "security", "summary": "leak"}, at="2025-03-01T10:00:00Z")
    await commerce.fire("Reviews", review["sid"], "confirm", determination="key abused", at="2025-03-01T10:00:20Z")
    await commerce.until("2025-03-01T10:01:00+00:00")
    assert await commerce.status() == "suspended"
    [case] = (await commerce.get("Suspensions"))["items"]
    assert case["state"] == "active" and case["keys_revoked"] == 1
    assert moment(case["effective_at"]) - moment("2025-03-01T10:00:00Z") < timedelta(seconds=60)


async def test_2_3_e_bounced_billing_mail_and_empty_address_open_a_case(world: World) -> None:
    commerce = world.commerce
    async with commerce.database.transaction() as tx:
        case = await room.look_at_information(
            tx, world.suspensions.reviews, commerce.customer, commerce.account, "Full", "",
            moment("2025-03-01T10:00:00Z"), billing_bounced=True,
        )  # fmt: skip
    assert case is not None and case.state == "open" and case.facts["ground"] == "info"
    assert room.information_gaps("Trial", "", billing_bounced=True) == []
    assert await commerce.status() == "active"


def test_2_3_fees_a_number_suspended_for_20_days_bills_its_whole_month() -> None:
    assert room.accrues("recurring") and not room.accrues("usage")
    held = (date(2025, 1, 10), date(2026, 1, 1))
    charge = room.monthly_charge(micros("1.15"), held, date(2025, 3, 5))
    assert decimal_text(round_minor(charge, "USD")) == "1.15"


async def test_2_1_d_a_service_disabled_for_a_country_answers_403_with_the_legal_reason(world: World) -> None:
    commerce = world.commerce
    body = {"kind": "service", "service": "X", "country": "YE", "reason": "export act, section 3"}
    block = await commerce.post("PlaceBlocks", body, at="2025-03-01T00:00:00Z")
    with pytest.raises(Refusal) as caught:
        async with commerce.database.transaction() as tx:
            await world.admission.require_available(tx, "X", "YE", moment("2025-03-02T00:00:00Z"))
    assert caught.value.status == 403 and caught.value.details is not None
    assert caught.value.details["legal_reason"] == "export act, section 3"
    async with commerce.database.transaction() as tx:
        [change] = await audit.history(tx, "operator", aggregate_sid=block["sid"])
    assert change.event.evidence["law"] == "export act, section 3"


async def test_2_2_b_500_subaccounts_with_own_brands_open_a_review_and_nothing_else(world: World) -> None:
    commerce = world.commerce
    brands = [f"brand {number}" for number in range(500)]
    async with commerce.database.transaction() as tx:
        found = await room.look_for_resale(
            tx, world.suspensions.reviews, commerce.customer, "standard", brands, "Northwind", commerce.clock.now()
        )
        assert await room.look_for_resale(
            tx, world.suspensions.reviews, commerce.customer, "reseller", brands, "Northwind", commerce.clock.now()
        ) is None  # fmt: skip
    assert found is not None and found.state == "open"
    assert (await commerce.get("Suspensions"))["items"] == [] and commerce.notices.sent == []
    assert await commerce.status() == "active"


async def test_2_2_c_an_opt_out_on_file_refuses_with_21610_and_charges_nothing(world: World) -> None:
    commerce = world.commerce
    at = moment("2025-03-01T10:00:00Z")
    async with commerce.database.transaction() as tx:
        await ledger.open_balance(tx, commerce.customer, "USD", at)
        await customers.mark_end_user(tx, commerce.customer, SMS.to, "opt_out", "STOP", at)
    refusal = await world.refused("2025-03-01T10:00:01Z")
    assert refusal.code == 21610
    async with commerce.database.transaction() as tx:
        balance = await ledger.balance(tx, commerce.customer, "USD")
    assert balance is not None and balance.held == 0
    other = Sending("messaging", "US", "+14155550199", "+14155550101")
    assert (await world.admit("2025-03-01T10:00:01Z", other)).action == "allow"


@pytest.mark.parametrize("action", ["block", "queue"])
async def test_1_12_marketing_at_23_00_in_paris_is_blocked_or_queued_per_rule(world: World, action: str) -> None:
    condition = {"kind": "quiet_hours", "zone": "Europe/Paris", "from": "22:00", "to": "08:00", "category": "marketing"}
    body = {"service": "messaging", "country": "FR", "condition": condition, "action": action, "text_ref": "AUP FR 2"}
    await world.commerce.post("AupRules", body, at="2025-03-01T00:00:00Z")
    sending = Sending("messaging", "FR", "+33100000000", "+33123456789", "offers", "marketing")
    if action == "block":
        assert (await world.refused("2025-03-10T22:00:00Z", sending)).code == 30007
    else:
        assert (await world.admit("2025-03-10T22:00:00Z", sending)).action == "queue"
    assert (await world.admit("2025-03-10T20:59:59Z", sending)).action == "allow"
    plain = Sending("messaging", "FR", "+33100000000", "+33123456789", "your code")
    assert (await world.admit("2025-03-10T22:00:00Z", plain)).action == "allow"


async def test_5_3_required_consent_that_is_not_on_file_refuses_the_send(world: World) -> None:
    body = {"service": "messaging", "condition": {"kind": "consent"}, "action": "block", "text_ref": "require_consent"}
    await world.commerce.post("AupRules", body, at="2025-03-01T00:00:00Z")
    refusal = await world.refused("2025-03-01T10:00:00Z")
    assert refusal.details is not None and refusal.details["clause"] == "5.3"
    world.consents.add(SMS.to)
    assert (await world.admit("2025-03-01T10:00:00Z")).action == "allow"


async def test_a_score_halves_after_30_days_and_opens_a_review_without_suspending(world: World) -> None:
    commerce = world.commerce
    at = moment("2025-03-01T00:00:00Z")
    assert decayed_score([(100, at)], at + timedelta(days=29)) == 100
    assert decayed_score([(100, at), (100, at - timedelta(days=30))], at) == 150
    rule = {"condition": {"kind": "content", "words": ["casino"]}, "action": "flag", "weight": 60, "text_ref": "4"}
    await commerce.post("AupRules", rule, at=at)
    wish = Wish(commerce.customer, world.use(), Sending("messaging", "US", "", "+1415", "big CASINO"))
    scores = []
    for _ in range(3):
        async with commerce.database.transaction() as tx:
            verdicts = await world.admission.judge(tx, await world.admission.posted(tx), [wish], at)
            assert [(verdict.refusal, verdict.decision.action) for verdict in verdicts] == [(None, "flag")]
            await world.admission.record_hits(tx, [wish], verdicts, at)
            scores.append(await world.admission.weigh(tx, commerce.customer, at))
    assert scores == [60, 120, 180]
    assert [case["ground"] for case in (await commerce.get("Reviews"))["items"]] == ["aup"]
    assert (await commerce.get(f"AupScore?customer_sid={commerce.customer}", at=at))["score"] == 180
    assert await commerce.status() == "active"


async def import_list(world: World, *entries: dict[str, Any], at: str = "2025-03-01T00:00:00Z") -> Any:
    return await world.commerce.post("SanctionsLists", {"name": "list A", "entries": list(entries)}, at=at)


async def test_5_2_lists_an_exact_name_and_country_goes_to_review_within_one_run(world: World) -> None:
    commerce = world.commerce
    other, _ = await commerce.make_customer("Unrelated Bakery")
    made = await import_list(world, {"id": "1", "names": ["NORTHWIND, Inc."], "countries": ["US"]})
    [case] = (await commerce.get("Screenings"))["items"]
    assert made["reviews"] == [case["sid"]] and case["state"] == "review" and case["score_ppm"] == 1_000_000
    assert (await commerce.get(f"Screenings?customer_sid={other}"))["items"] == []
    await commerce.fire("Screenings", case["sid"], "clear", reason="another company")
    again = await import_list(world, {"id": "1", "names": ["Northwind"], "countries": ["US"]})
    assert again["reviews"] == [], "a false positive stays one for the same subject and entry"
    newer = await import_list(world, {"id": "2", "names": ["Northwind"], "countries": ["US"]})
    assert len(newer["reviews"]) == 1


@pytest.mark.parametrize(
    ("name", "country", "is_like"),
    [
        ("Ivan Petrovich Sidorov", "RU", True),
        ("SIDOROV, Ivan Petrovich", "RU", True),
        ("Iván Petrovitch Sidorov", "RU", True),
        ("Ivan Petrovich Sidorov", "BR", False),
        ("Olga Sidorov", "RU", False),
        ("Sidorov Bakery", "RU", False),
    ],
)
def test_names_are_compared_without_order_accents_and_single_letters(name: str, country: str, is_like: bool) -> None:
    entry = Entry("SL", "list", "1", ("Ivan Petrovich Sidorov",), ("RU",), date(2025, 1, 1), date(2026, 1, 1))
    assert bool(match(name, country, [entry], date(2025, 6, 1))) is is_like
    assert match(name, country, [entry], date(2024, 12, 31)) == match(name, country, [entry], date(2026, 1, 1)) == []


_WORDS = st.text(alphabet="abc AB.-é", max_size=12)


@given(_WORDS, st.lists(_WORDS, max_size=8))
def test_a_prepared_roster_finds_what_comparing_with_each_name_finds(name: str, listed: list[str]) -> None:
    entries = [Entry("SL", "list", str(number), (one, one + " b"), ()) for number, one in enumerate(listed)]

    def pairs(text: str) -> Counter[str]:
        return Counter(f"^{word}$"[i : i + 2] for word in normalised(text) for i in range(len(word) + 1))

    def likeness(one: str, other: str) -> int:
        if not normalised(one) or not normalised(other):
            return 0
        left, right = pairs(one), pairs(other)
        return 2_000_000 * (left & right).total() // (left.total() + right.total())

    expected = {
        entry.entry_id: score
        for entry in entries
        if (score := max(likeness(name, each) for each in entry.names)) >= THRESHOLD_PPM
    }
    assert {entry.entry_id: score for entry, score in match(name, "", entries, date(2025, 1, 1))} == expected


async def test_a_new_list_is_compared_with_customers_beyond_the_first_batch_by_a_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screening, "_BATCH", 1)
    commerce = world.commerce
    customers_made = {commerce.customer, (await commerce.make_customer("Northwind"))[0]}
    found = await import_list(world, {"id": "1", "names": ["Northwind"]})
    assert len(found["reviews"]) == 1
    async with commerce.database.transaction() as tx:
        [job] = await tx.fetch("SELECT payload FROM jobs WHERE task = 'suspension.rescreen'")
        rest = await world.screening.screen_after(tx, job["payload"]["after"], commerce.clock.now())
        assert {case.customer_sid for case in rest} == customers_made - {job["payload"]["after"]}
        assert await world.screening.screen_after(tx, job["payload"]["after"], commerce.clock.now()) == []


async def test_5_2_i_a_confirmed_match_at_t_refuses_at_t_plus_1_s_and_sends_notice(world: World) -> None:
    commerce = world.commerce
    await import_list(world, {"id": "1", "names": ["Northwind"]})
    [case] = (await commerce.get("Screenings"))["items"]
    assert (await world.admit("2025-03-02T10:00:00Z")).action == "allow"
    await commerce.fire("Screenings", case["sid"], "confirm", determination="same address", at="2025-03-02T10:00:00Z")
    refusal = await world.refused("2025-03-02T10:00:01Z")
    assert refusal.code == 10001 and refusal.details is not None and refusal.details["clause"] == "2.3(c)"
    assert [notice["kind"] for notice in commerce.notices.sent] == ["suspension"]
    await commerce.until("2025-03-02T10:00:01+00:00")
    assert await commerce.status() == "suspended"


async def test_5_2_ii_a_listed_end_user_is_cut_off_at_admission(world: World) -> None:
    commerce = world.commerce
    await import_list(world, {"id": "9", "names": ["Mallory Listed"]})
    at = moment("2025-03-02T10:00:00Z")
    async with commerce.database.transaction() as tx:
        [case] = await world.screening.screen_end_user(tx, commerce.customer, SMS.to, "Mallory Listed", "US", at)
    assert (await world.admit("2025-03-02T10:00:00Z")).action == "allow"
    await commerce.fire("Screenings", case.sid, "confirm", determination="same person", at=at)
    refusal = await world.refused("2025-03-02T10:00:01Z")
    assert refusal.details is not None and refusal.details["clause"] == "5.2(ii)"
    assert await commerce.status() == "active"


async def test_5_2_no_export_an_embargoed_country_is_refused_unless_a_licence_is_on_file(world: World) -> None:
    commerce = world.commerce
    body = {"kind": "embargo", "country": "KP", "reason": "export administration rules"}
    await commerce.post("PlaceBlocks", body, at="2025-03-01T00:00:00Z")
    sending = Sending("messaging", "KP", "+14155550199", "+850212345")
    assert (await world.refused("2025-03-01T00:00:00Z", sending)).status == 403
    document = {"country": "KP", "document": "licence 12", "valid_until": "2025-08-01"}
    licence = await commerce.post("ExportLicences", document, account=commerce.account, at="2025-03-02T00:00:00Z")
    assert (await world.refused("2025-03-02T00:00:00Z", sending)).status == 403
    await commerce.fire("ExportLicences", licence["sid"], "accept", at="2025-03-03T00:00:00Z")
    assert (await world.admit("2025-03-03T00:00:00Z", sending)).action == "allow"
    await commerce.until("2025-08-02T00:00:00+00:00")
    assert (await world.refused("2025-08-02T00:00:00Z", sending)).status == 403


async def test_5_2_licences_expiry_2025_08_01_reminds_on_2025_07_02(world: World) -> None:
    commerce = world.commerce
    document = {"country": "KP", "document": "licence 12", "valid_until": "2025-08-01"}
    licence = await commerce.post("ExportLicences", document, account=commerce.account, at="2025-03-02T00:00:00Z")
    await commerce.fire("ExportLicences", licence["sid"], "accept", at="2025-03-03T00:00:00Z")
    await commerce.until("2025-07-01T23:59:59+00:00")
    assert (await commerce.get(f"ExportLicences/{licence['sid']}"))["state"] == "on_file"
    await commerce.until("2025-07-02T00:00:00+00:00")
    assert (await commerce.get(f"ExportLicences/{licence['sid']}"))["state"] == "reminded"
    async with commerce.database.snapshot() as tx:
        assert [task.clause for task in await customers.tasks_of(tx, commerce.customer)] == ["5.2"]


async def test_5_2_report_a_report_is_a_case_with_steps_and_stamps(world: World) -> None:
    commerce = world.commerce
    case = await commerce.post(
        "ComplianceReports", {"description": "a gift was offered"}, account=commerce.account, at="2025-03-01T10:00:00Z"
    )
    for event, fact in [("investigate", "step"), ("step", "step"), ("remedy", "remedy")]:
        await commerce.fire("ComplianceReports", case["sid"], event, **{fact: event}, account=commerce.account)
    await commerce.fire("ComplianceReports", case["sid"], "close")
    assert await commerce.trail(case["sid"]) == ["reported", "investigating", "investigating", "remedied", "closed"]


async def test_5_2_sign_in_from_a_blocked_region_shows_the_notice_and_logs_it(world: World) -> None:
    commerce = world.commerce
    body = {"kind": "region", "country": "UA", "subdivision": "43", "reason": "sanctions on the region"}
    await commerce.post("PlaceBlocks", body, at="2025-03-01T00:00:00Z")
    gate = room.SignInGate({"192.0.2.1": ("UA", "43"), "192.0.2.2": ("UA", "30")}.get)
    at = moment("2025-03-02T00:00:00Z")
    async with commerce.database.transaction() as tx:
        notice = await gate.check(tx, "192.0.2.1", commerce.account, at)
        assert await gate.check(tx, "192.0.2.2", commerce.account, at) is None
        assert await gate.check(tx, "192.0.2.3", commerce.account, at) is None
    assert notice is not None and "sanctions on the region" in notice.text
    async with commerce.database.snapshot() as tx:
        [logged] = await audit.history(tx, "operator", aggregate_sid=commerce.account)
    assert logged.event.to_state == "refused" and logged.event.evidence["ip"] == "192.0.2.1"


async def test_overlapping_suspensions_end_with_the_last_and_restore_what_was_before(world: World) -> None:
    commerce = world.commerce
    first = await world.suspend("2025-03-01T00:00:00Z")
    await commerce.until("2025-03-01T00:00:02+00:00")
    second = await world.suspend("2025-03-02T00:00:00Z", "info", "account", account_sid=commerce.account)
    await commerce.until("2025-03-02T00:00:02+00:00")
    await commerce.fire("Suspensions", first, "lift", reason="spam stopped", at="2025-03-03T00:00:00Z")
    assert await commerce.status() == "suspended"
    assert (await world.refused("2025-03-03T00:00:01Z")).code == 10001
    await commerce.fire("Suspensions", second, "lift", reason="data given", at="2025-03-04T00:00:00Z")
    assert await commerce.status() == "active"
    assert (await world.admit("2025-03-04T00:00:01Z")).action == "allow"
    assert await commerce.trail(first) == ["proposed", "approved", "noticed", "active", "lifted"]


async def test_another_customers_account_is_not_suspended(world: World) -> None:
    _, foreign = await world.commerce.make_customer("Stranger")
    body = {"event": "propose", "scope": "account", "account_sid": foreign, "ground": "aup", "determination": "x"}
    refusal = await world.commerce.refused(world.commerce.post("Suspensions", body))
    assert refusal.status == 422 and refusal.details == {"clause": "2.3", "reason": "foreign_account"}
    assert await world.commerce.status(foreign) == "active"


async def test_a_stranger_sees_and_moves_no_suspension(world: World) -> None:
    commerce = world.commerce
    sid = await world.suspend("2025-03-01T00:00:00Z")
    _, stranger = await commerce.make_customer("Stranger")
    assert (await commerce.refused(commerce.get(f"Suspensions/{sid}", account=stranger))).status == 404
    lift = commerce.fire("Suspensions", sid, "lift", reason="mine", account=stranger)
    assert (await commerce.refused(lift)).status == 404
    own = commerce.fire("Suspensions", sid, "lift", reason="mine", account=commerce.account)
    assert (await commerce.refused(own)).status == 403


_EVENTS = st.lists(
    st.tuples(st.sampled_from(["approve", "notice", "take_effect", "lift", "convert", "withdraw"]), st.integers(0, 3)),
    max_size=12,
)


@given(_EVENTS)
def test_no_order_of_events_makes_a_suspension_count_before_its_notice(events: list[tuple[str, int]]) -> None:
    """Invariant 14, on the table itself: `active` is entered only past a notice that came earlier."""
    at = datetime(2025, 1, 1, tzinfo=UTC)
    facts: dict[str, Any] = {"scope": "customer", "ground": "aup", "determination": "x"}
    case = Case("OR", "SU", "suspension", "proposed", 1, facts, at, at)
    noticed_at = None
    for event, seconds in events:
        at += timedelta(seconds=seconds)
        move = SUSPENSION.moves.get((case.state, event))
        if move is None or (move.guard is not None and SUSPENSION.guards[move.guard](case, at) is not None):
            continue
        if "send_notice" in move.effects:
            noticed_at = at
            added = {
                "notice_sid": "NC",
                "noticed_at": at.isoformat(),
                "effective_at": (at + timedelta(seconds=1)).isoformat(),
            }
            case = replace(case, facts={**case.facts, **added})
        case = replace(case, state=move.next)
        if case.state == "active":
            assert noticed_at is not None and noticed_at < at


@pytest.mark.parametrize("before", ["active", "suspended"])
@pytest.mark.parametrize("seed", range(4))
async def test_an_account_is_what_it_was_once_no_suspension_holds_it(world: World, seed: int, before: str) -> None:
    """Invariant 15: in any order of suspending and lifting."""
    commerce = world.commerce
    random = Random(seed)
    at = moment("2025-03-01T00:00:00Z")
    if before == "suspended":
        async with commerce.database.transaction() as tx:
            await accounts.change_status(tx, commerce.account, "suspended", at)
    held: list[str] = []
    for _ in range(10):
        at += timedelta(minutes=1)
        if held and random.random() < 0.5:
            sid = held.pop(random.randrange(len(held)))
            await commerce.fire("Suspensions", sid, "lift", reason="done", at=at)
        else:
            held.append(await world.suspend(at.isoformat(), random.choice(["aup", "info"])))
            await commerce.until((at + timedelta(seconds=2)).isoformat())
        assert await commerce.status() == ("suspended" if held else before)
    for sid in held:
        await commerce.fire("Suspensions", sid, "lift", reason="done", at=at)
    assert await commerce.status() == before


# ---- in memory


class Boards:
    """Two processes on one database, each with a board."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.database = world.commerce.database
        self.here = room.Board(self.database, world.suspensions.book, world.admission.licences)
        other = room.Suspensions(world.commerce.notices, accounts.revoke_keys)
        self.there = room.Board(self.database, other.book, room.Admission(other).licences)
        world.admission.keep_posted(self.here)

    async def both(self, holds: Any) -> None:
        """Return once both know something."""
        async with asyncio.timeout(10), self.database.snapshot() as tx:
            for board in (self.here, self.there):
                while board.known is None or not holds(board.known):
                    # A round trip is time in which a notification comes.
                    await tx.fetchval("SELECT 1")


@pytest.fixture
async def boards(world: World) -> AsyncIterator[Boards]:
    made = Boards(world)
    following = [asyncio.create_task(board.follow()) for board in (made.here, made.there)]
    await made.both(lambda posted: posted.is_empty)
    yield made
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


async def test_what_changes_anywhere_reaches_every_board(boards: Boards) -> None:
    world, commerce = boards.world, boards.world.commerce
    at = "2025-03-01T00:00:00Z"
    rule = {"condition": {"kind": "emergency"}, "action": "block", "text_ref": "1"}
    made = await commerce.post("AupRules", rule, at=at)
    assert boards.here.known is None, "nobody is let through by what is known to be old"
    assert (await world.refused("2025-03-01T00:00:01Z", replace(SMS, to="112"))).code == 30007
    await boards.both(lambda posted: posted.rules_for("sms", "US", moment(at)))
    await commerce.post(f"AupRules/{made['sid']}/End", {}, at="2025-03-02T00:00:00Z")
    await boards.both(lambda posted: not posted.rules_for("sms", "US", moment("2025-03-02T00:00:00Z")))
    await commerce.post("PlaceBlocks", {"kind": "embargo", "country": "KP", "reason": "r"}, at=at)
    await boards.both(lambda posted: posted.block_of("embargo", "sms", "KP", moment(at)) is not None)
    sid = await world.suspend(at, "law", "service", service="sms")
    await boards.both(lambda posted: [case.sid for case in posted.suspensions.get(commerce.customer, ())] == [sid])
    await commerce.fire("Suspensions", sid, "lift", reason="done", at="2025-03-03T00:00:00Z")
    await boards.both(lambda posted: not posted.suspensions)
    async with boards.database.transaction() as tx:
        await customers.mark_end_user(tx, commerce.customer, SMS.to, "opt_out", "STOP", moment(at))
    await boards.both(lambda posted: posted.marked == {commerce.customer})
    assert (await world.refused("2025-03-03T00:00:01Z")).code == 21610


async def test_a_board_that_lost_its_connection_reads_before_it_answers(boards: Boards) -> None:
    async with boards.database.transaction() as tx:
        ended = await tx.fetch(
            "SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = ''"
        )
    assert [row["ended"] for row in ended] == [True, True]
    async with asyncio.timeout(10), boards.database.snapshot() as tx:
        while boards.here.known is not None:
            await tx.fetchval("SELECT 1")
    body = {"kind": "embargo", "country": "KP", "reason": "r"}
    await boards.world.commerce.post("PlaceBlocks", body, at="2025-03-01T00:00:00Z")
    assert (await boards.world.refused("2025-03-01T00:00:01Z", replace(SMS, country="KP"))).status == 403
    await boards.both(lambda posted: posted.places)


async def test_with_nothing_in_force_a_sending_costs_no_statement(boards: Boards) -> None:
    class NoStorage:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"asked storage: {name}")

    world, nothing = boards.world, NoStorage()
    tx: Any = nothing
    decision = await world.admission.admit(tx, world.commerce.customer, world.use(), SMS, world.commerce.clock.now())
    assert decision.action == "allow"
    rule = {"condition": {"kind": "content", "words": ["casino"]}, "action": "block", "text_ref": "4"}
    await world.commerce.post("AupRules", rule)
    await boards.both(lambda posted: posted.rules)
    decision = await world.admission.admit(tx, world.commerce.customer, world.use(), SMS, world.commerce.clock.now())
    assert decision.action == "allow", "a rule over words needs no storage either"


# ---- windows


async def test_a_window_is_taken_in_once_however_often_its_job_comes(world: World) -> None:
    commerce = world.commerce
    at = moment("2025-03-03T10:07:00Z")
    start, asked = moment("2025-03-03T10:00:00Z"), []

    async def nothing_more(tx: Tx) -> Signals:
        raise AssertionError("nothing unusual is looked at closer")

    async def source(tx: Tx, begin: datetime, end: datetime) -> list[room.Spell]:
        asked.append((begin, end))
        return [room.Spell(commerce.customer, "sms", "US", 7, nothing_more)]

    watch = room.Watch(world.suspensions.reviews)
    watch.over(source)
    async with commerce.database.transaction() as tx:
        await watch.note(tx, at)
        await room.Watch(world.suspensions.reviews).note(tx, at)
    async with commerce.database.transaction() as tx:
        await watch.note(tx, at + timedelta(minutes=7))
    worker = Worker(commerce.database, commerce.clock, name="node")
    room.Tasks(world.admission, world.screening, watch).register(worker)
    commerce.clock.hold(at)
    running = asyncio.create_task(worker.run())
    await worker.settle()
    assert asked == [] and await worker.next_due() == moment("2025-03-03T10:20:00Z")
    commerce.clock.hold(moment("2025-03-03T10:20:00Z"))
    worker.clock_changed()
    await worker.settle()
    await worker.stop(1)
    await running
    # Two processes each left a job; the second found the window done.
    assert asked == [(start, moment("2025-03-03T10:15:00Z"))]
    async with commerce.database.snapshot() as tx:
        assert [dict(row) for row in await tx.fetch("SELECT * FROM usage_windows")] == [
            {"customer_sid": commerce.customer, "service": "sms", "country": "US", "start_at": start, "units": 7}
        ]
        assert await worker.next_due() is None


def test_quiet_hours_end_at_their_next_end_also_past_midnight() -> None:
    condition = {"kind": "quiet_hours", "zone": "Europe/Paris", "from": "22:00", "to": "08:00"}
    rule = Rule("PR", "", "", condition, "queue", 0, "")
    for at, until in [
        ("2025-03-10T21:30:00Z", "2025-03-11T07:00:00Z"),
        ("2025-03-11T02:00:00Z", "2025-03-11T07:00:00Z"),
        # Summer time begins in between.
        ("2025-03-29T22:00:00Z", "2025-03-30T06:00:00Z"),
    ]:
        decision = decide([rule], SMS, moment(at))
        assert (decision.action, decision.until) == ("queue", moment(until))
    assert decide([rule], SMS, moment("2025-03-11T07:00:00Z")).until is None
