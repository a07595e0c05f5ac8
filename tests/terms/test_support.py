"""Support, changes, beta, resellers, partners and verification against the rows of the terms that are theirs."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from onterms.business import accounts, suspension
from onterms.business import support as room
from onterms.business.cases import OPERATOR
from onterms.business.support.model import (
    ADVERSE_CHANGE,
    BETA,
    PARTNER,
    PRESS,
    RESELLER_BREACH,
    TICKET,
    VERIFICATION,
)
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.engines import audit
from onterms.ports.malware_scanner import EICAR, ScannerDown, TestFileScanner

MACHINES = [TICKET, ADVERSE_CHANGE, BETA, RESELLER_BREACH, PARTNER, PRESS, VERIFICATION]


class World:
    def __init__(self, commerce: Any) -> None:
        self.commerce = commerce
        self.suspensions = suspension.Suspensions(commerce.notices, accounts.revoke_keys)
        self.partner: tuple[date | None, date | None] | None = None
        self.letters: list[tuple[str, str]] = []
        self.affected: list[str] = [commerce.customer]

        async def suspend(tx: Tx, customer_sid: str, why: str, at: datetime) -> str:
            facts = {"scope": "customer", "ground": "reseller", "determination": why}
            return (await self.suspensions.suspend(tx, customer_sid, facts, "operator", at)).sid

        async def lift(tx: Tx, customer_sid: str, sid: str, reason: str, at: datetime) -> None:
            await self.suspensions.lift(tx, customer_sid, sid, reason, OPERATOR, at)

        async def set_partner(tx: Tx, customer_sid: str, since: date | None, until: date | None, at: datetime) -> None:
            self.partner = (since, until)

        async def affected(tx: Tx, endpoint: str, at: datetime) -> Sequence[str]:
            return self.affected

        async def letter(tx: Tx, customer_sid: str, address: str, code: str, at: datetime) -> None:
            self.letters.append((address, code))

        self.support = room.Support(
            commerce.notices, suspend=suspend, lift=lift, set_partner=set_partner, affected=affected, letters=letter
        )
        api = room.Api(self.support)
        commerce.serve(api.routes(), [*api.books(), self.suspensions.book])


@pytest.fixture
def world(commerce: Any) -> World:
    return World(commerce)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.kind)
def test_every_move_is_whole(machine: Any) -> None:
    machine.check()
    assert {move.next for move in machine.moves.values()} - {state for state, _ in machine.moves}


async def ticket(world: World, at: str) -> Any:
    body = {"plan": "production", "priority": "P1", "subject": "down"}
    return await world.commerce.post("Tickets", body, account=world.commerce.account, at=at)


async def test_1_10_support_terms_a_p1_of_10_00_with_1_h_target_answered_11_05_records_a_breach(world: World) -> None:
    commerce = world.commerce
    await commerce.post("SupportPlans/production", {"targets": {"P1": 60}}, at="2025-01-01T00:00:00Z")
    case = await ticket(world, "2025-03-01T10:00:00Z")
    assert case["due_at"] == "2025-03-01T11:00:00+00:00" and case["breached"] is False
    done = await commerce.fire("Tickets", case["sid"], "answer", answer="mended", at="2025-03-01T11:05:00Z")
    assert done["breached"] is True and done["minutes_to_answer"] == 65
    in_time = await ticket(world, "2025-03-01T10:00:00Z")
    done = await commerce.fire("Tickets", in_time["sid"], "answer", answer="mended", at="2025-03-01T11:00:00Z")
    assert done["breached"] is False


async def test_2_1_g_an_unanswered_ticket_records_its_breach_when_the_plans_clock_ends(world: World) -> None:
    commerce = world.commerce
    await commerce.post("SupportPlans/production", {"targets": {"P1": 60}}, at="2025-01-01T00:00:00Z")
    case = await ticket(world, "2025-03-01T10:00:00Z")
    await commerce.post("SupportPlans/production", {"targets": {"P1": 600}}, at="2025-03-01T10:30:00Z")
    await commerce.until("2025-03-01T10:59:59+00:00")
    assert (await commerce.get(f"Tickets/{case['sid']}"))["breached"] is False
    await commerce.until("2025-03-01T11:00:00+00:00")
    assert (await commerce.get(f"Tickets/{case['sid']}"))["breached"] is True, "the plan of the day it was opened"


async def change(world: World, planned_on: str, **given: Any) -> Any:
    body = {"title": "v2", "endpoint": "/v1/Things", "breaking": True, "planned_on": planned_on, **given}
    return await world.commerce.post("ServiceChanges", body, at="2025-03-03T09:00:00Z")


async def test_2_4_60_days_notice_2025_03_03_allows_2025_05_02_and_a_day_sooner_needs_a_reason(world: World) -> None:
    assert room.earliest_change_on(date(2025, 3, 3)) == date(2025, 5, 2)
    refusal = await world.commerce.refused(change(world, "2025-05-01"))
    assert refusal.status == 422 and refusal.details is not None
    assert (refusal.details["clause"], refusal.details["earliest_on"]) == ("2.4", "2025-05-02")
    assert world.commerce.notices.sent == []
    assert len((await change(world, "2025-05-02"))["notices"]) == 1
    await change(world, "2025-05-01", override_reason="a carrier ends the protocol")
    assert len(world.commerce.notices.sent) == 2


async def test_2_4_adverse_a_report_on_a_carriers_change_is_exempt_and_the_customer_told(world: World) -> None:
    commerce = world.commerce
    made = await change(world, "2025-03-10", exempt_reason="carrier", override_reason="carrier")
    body = {"change_sid": made["sid"], "description": "our product broke"}
    case = await commerce.post("AdverseChanges", body, account=commerce.account, at="2025-03-11T00:00:00Z")
    await commerce.until("2025-03-11T00:00:00+00:00")
    assert (await commerce.get(f"AdverseChanges/{case['sid']}"))["state"] == "exempt"
    assert commerce.notices.sent[-1]["kind"] == "adverse_change" and "carrier" in commerce.notices.sent[-1]["body"]
    other = await change(world, "2025-06-10")
    body["change_sid"] = other["sid"]
    case = await commerce.post("AdverseChanges", body, account=commerce.account, at="2025-03-12T00:00:00Z")
    await commerce.until("2025-03-13T00:00:00+00:00")
    assert (await commerce.get(f"AdverseChanges/{case['sid']}"))["state"] == "reported"


async def test_2_5_beta_is_403_before_opt_in_then_open_then_410_once_discontinued(world: World) -> None:
    commerce = world.commerce

    async def status() -> int:
        try:
            async with commerce.database.snapshot() as tx:
                await world.support.require_beta(tx, commerce.customer, "video")
        except Refusal as refusal:
            return refusal.status
        return 200

    assert await status() == 403
    case = await commerce.post("BetaEnrolments", {"service": "video"})
    assert await status() == 403
    fire = commerce.fire
    no = fire("BetaEnrolments", case["sid"], "enrol", as_is=False, account=commerce.account)
    assert (await commerce.refused(no)).status == 422
    await fire("BetaEnrolments", case["sid"], "enrol", as_is=True, account=commerce.account)
    assert await status() == 200
    await fire("BetaEnrolments", case["sid"], "discontinue")
    assert await status() == 410


async def test_3_4_suspend_cure_of_10_days_from_2025_04_01_allows_2025_04_12(world: World) -> None:
    commerce = world.commerce
    body = {
        "reseller": "R",
        "reported_by": "reseller",
        "evidence": "invoice 7",
        "from_on": "2025-04-01",
        "cure_days": 10,
    }
    case = await commerce.post("ResellerBreaches", body, at="2025-04-01T00:00:00Z")
    early = commerce.fire("ResellerBreaches", case["sid"], "suspend", at="2025-04-11T23:59:59Z")
    assert (await commerce.refused(early)).details == {"clause": "3.4", "reason": "cure_runs"}
    await commerce.fire("ResellerBreaches", case["sid"], "suspend", at="2025-04-12T00:00:00Z")
    await commerce.until("2025-04-12T00:00:01+00:00")
    assert await commerce.status() == "suspended"
    assert [notice["kind"] for notice in commerce.notices.sent] == ["suspension"]
    await commerce.fire("ResellerBreaches", case["sid"], "lift", reason="paid", at="2025-04-13T00:00:00Z")
    assert await commerce.status() == "active"


async def test_10_1_2_a_records_request_gets_the_order_form_with_prices_masked(world: World) -> None:
    document = {
        "number": "OF-1",
        "rates": [{"service": "messaging", "price": "0.0075"}],
        "notes": ["a discount to USD 12,000.00 a year", "routes are secret"],
        "term": {"from": "2025-01-01"},
    }
    made = await world.commerce.post("PublicRecords", {"document": document, "topics": ["routes"]})
    text = str(made["document"])
    assert "0.0075" not in text and "12,000" not in text and "secret" not in text
    assert made["document"]["number"] == "OF-1" and made["document"]["term"] == {"from": "2025-01-01"}
    assert made["masked"] == 3
    async with world.commerce.database.snapshot() as tx:
        assert await tx.fetchval("SELECT masked FROM public_records WHERE sid = $1", made["sid"]) == 3


async def test_10_4_2_a_voice_number_in_japan_is_refused_until_the_letters_code_came_back(world: World) -> None:
    commerce = world.commerce

    async def refused() -> bool:
        try:
            async with commerce.database.snapshot() as tx:
                await world.support.require_verified(tx, commerce.customer, "US")
                await world.support.require_verified(tx, commerce.customer, "JP")
        except Refusal as refusal:
            assert refusal.details == {"clause": "10.4.2", "reason": "not_verified"}
            return True
        return False

    assert await refused()
    body = {"country": "JP", "documents": ["passport.pdf"], "address": "1-1 Chiyoda, Tokyo"}
    case = await commerce.post("IdentityVerifications", body, account=commerce.account)
    await commerce.fire("IdentityVerifications", case["sid"], "send_letter")
    [(address, code)] = world.letters
    assert address == "1-1 Chiyoda, Tokyo" and await refused()
    shown = await commerce.get(f"IdentityVerifications/{case['sid']}", account=commerce.account)
    assert code not in str(shown) and "code_sha256" not in shown
    wrong = commerce.fire("IdentityVerifications", case["sid"], "confirm", code="x", account=commerce.account)
    assert (await commerce.refused(wrong)).status == 422
    await commerce.fire("IdentityVerifications", case["sid"], "confirm", code=code, account=commerce.account)
    assert not await refused()


async def member(world: World, at: str = "2025-01-10T00:00:00Z") -> str:
    commerce = world.commerce
    case = await commerce.post("Partners", {"programme": "build"}, account=commerce.account, at=at)
    await commerce.fire("Partners", case["sid"], "qualify", criteria=["a"], met=["a"], at=at)
    await commerce.fire("Partners", case["sid"], "approve", at=at)
    await commerce.fire("Partners", case["sid"], "accept", signer="Ann", account=commerce.account, at=at)
    return str(case["sid"])


async def test_10_5_1_one_unmet_criterion_is_not_approvable(world: World) -> None:
    commerce = world.commerce
    case = await commerce.post("Partners", {"programme": "build"}, account=commerce.account)
    await commerce.fire("Partners", case["sid"], "assess", criteria=["revenue", "training"], met=["revenue"])
    refusal = await commerce.refused(commerce.fire("Partners", case["sid"], "qualify"))
    assert refusal.status == 409 and "training" in refusal.message
    assert (await commerce.refused(commerce.fire("Partners", case["sid"], "approve"))).status == 409
    await commerce.fire("Partners", case["sid"], "qualify", met=["revenue", "training"])
    await commerce.fire("Partners", case["sid"], "approve")
    assert world.partner is None
    await commerce.fire("Partners", case["sid"], "accept", signer="Ann", account=commerce.account)
    assert world.partner is not None


async def test_10_5_2_a_new_guide_is_noticed_to_members(world: World) -> None:
    sid = await member(world)
    await world.commerce.fire("Partners", sid, "guide", guide="branding", guide_version="3")
    assert [notice["kind"] for notice in world.commerce.notices.sent] == ["partner_guide"]


@pytest.mark.parametrize("author", ["operator", "customer"])
async def test_10_5_3_publishing_without_the_others_consent_answers_409(world: World, author: str) -> None:
    commerce = world.commerce
    case = await commerce.post("PressReleases", {"author": author, "text": "We work together"})
    own = {"account": commerce.account} if author == "customer" else {}
    other = {} if author == "customer" else {"account": commerce.account}
    assert (await commerce.refused(commerce.fire("PressReleases", case["sid"], "publish"))).status == 409
    await commerce.fire("PressReleases", case["sid"], "consent", **own)
    refusal = await commerce.refused(commerce.fire("PressReleases", case["sid"], "publish"))
    assert refusal.status == 409 and refusal.details == {"clause": "10.5.3", "reason": "no_consent"}
    await commerce.fire("PressReleases", case["sid"], "consent", **other)
    assert (await commerce.fire("PressReleases", case["sid"], "publish"))["state"] == "published"


async def test_10_5_4_removal_noticed_2025_03_03_takes_effect_2025_04_02(world: World) -> None:
    commerce = world.commerce
    sid = await member(world)
    shown = await commerce.fire("Partners", sid, "remove", at="2025-03-03T12:00:00Z")
    assert shown["removal_on"] == "2025-04-02"
    await commerce.until("2025-04-01T23:59:59+00:00")
    assert (await commerce.get(f"Partners/{sid}"))["state"] == "leaving"
    await commerce.until("2025-04-02T00:00:00+00:00")
    assert (await commerce.get(f"Partners/{sid}"))["state"] == "removed"
    assert world.partner == (date(2025, 1, 10), date(2025, 4, 2))


async def test_1_7_malicious_code_the_eicar_file_as_media_is_rejected_and_audited(world: World) -> None:
    commerce = world.commerce
    gate = room.MediaGate(TestFileScanner())
    async with commerce.database.transaction() as tx:
        found = await gate.inspect(tx, commerce.customer, "ME1", b"x" + EICAR, commerce.clock.now())
        assert await gate.inspect(tx, commerce.customer, "ME2", b"a picture", commerce.clock.now()) is None
    assert found == "Eicar-Test-Signature"
    async with commerce.database.snapshot() as tx:
        [entry] = await audit.history(tx, commerce.customer, aggregate_sid="ME1")
        assert await audit.history(tx, commerce.customer, aggregate_sid="ME2") == []
    assert (entry.event.to_state, entry.event.evidence["found"]) == ("rejected", "Eicar-Test-Signature")


async def test_2_1_e_with_the_scanner_down_and_fail_closed_media_answers_503(world: World) -> None:
    class Down:
        async def scan(self, content: bytes) -> str | None:
            raise ScannerDown

    commerce = world.commerce
    with pytest.raises(Refusal) as caught:
        async with commerce.database.transaction() as tx:
            await room.MediaGate(Down()).inspect(tx, commerce.customer, "ME1", b"x", commerce.clock.now())
    assert caught.value.status == 503
    async with commerce.database.transaction() as tx:
        open_gate = room.MediaGate(Down(), fail_closed=False)
        assert await open_gate.inspect(tx, commerce.customer, "ME1", b"x", commerce.clock.now()) is None


async def test_uses_of_two_days_that_are_written_at_once_leave_the_later_day(database: Database) -> None:
    uses = room.EndpointUses()
    first, later = datetime(2030, 3, 1, tzinfo=UTC), datetime(2030, 3, 20, tzinfo=UTC)
    for at in (first, later):
        uses.note("AC1", "CreateMessage", at)
    async with database.transaction() as tx:
        assert await uses.users_of(tx, ["CreateMessage"], later + timedelta(days=90)) == ["AC1"]
        assert await uses.users_of(tx, ["CreateMessage"], later + timedelta(days=91)) == []
