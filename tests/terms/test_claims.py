"""Claims, caps and disputes against the rows of the terms that are theirs."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onterms.business import claims as room
from onterms.business.claims import Charge, FeeRow, Recurring, liability_cap
from onterms.business.claims.model import DISPUTE, INDEMNITY, NONCONFORMITY, SLA_CLAIM
from onterms.core.db import Tx
from onterms.core.money import decimal_text, micros


class Books:
    def __init__(self) -> None:
        self.credits: list[tuple[str, str]] = []
        self.rows: list[FeeRow] = []

    async def fees(self, tx: Tx, customer_sid: str, service: str, from_on: date, until_on: date) -> tuple[int, str]:
        return micros("1234.50"), "USD"

    async def charge(
        self, tx: Tx, customer_sid: str, service: str, from_on: date, until_on: date
    ) -> tuple[Charge, str]:
        days = (until_on - from_on).days + 1
        recurring = [Recurring(micros("89.95"), days, 31)]
        return Charge(micros("41.37"), recurring, 0, 80_000), "USD"

    async def credit(
        self, tx: Tx, customer_sid: str, amount: int, currency: str, clause: str, ref: str, at: datetime
    ) -> str:
        self.credits.append((clause, decimal_text(amount)))
        return "CN" + 32 * "0"

    async def fee_rows(
        self, tx: Tx, customer_sids: Sequence[str], from_at: datetime, until_at: datetime
    ) -> list[FeeRow]:
        return [row for row in self.rows if row.customer_sid in customer_sids]

    async def forum(
        self, tx: Tx, customer_sid: str, kind: str, amount: int | None, currency: str | None, at: datetime
    ) -> str:
        return "court" if kind == "ip" else "JAMS, San Francisco"

    async def docs_snapshot(self, tx: Tx, customer_sid: str, on: date) -> str | None:
        return f"docs-{on.isoformat()}"


class World:
    def __init__(self, commerce: Any) -> None:
        self.commerce = commerce
        self.billing = Books()
        self.claims = room.Claims(self.billing, self.billing)
        api = room.Api(self.claims)
        commerce.serve(api.routes(), api.books())

    async def service(self, name: str, stage: str = "ga", provider: str = "operator", **given: str) -> None:
        await self.commerce.post(f"Services/{name}", {"stage": stage, "provider": provider, **given})

    async def measure(self, service: str, minutes: int) -> None:
        async with self.commerce.database.transaction() as tx:
            for number in range(minutes + 5):
                at = datetime(2025, 4, 10, 8, tzinfo=UTC) + timedelta(minutes=number)
                # The last five minutes had failures, but something went through.
                await room.record_minute(tx, service, at, 4, 4 if number < minutes else 3)

    async def indemnity(self, direction: str = "operator", **given: Any) -> Any:
        body = {
            "direction": direction,
            "third_party": "Patent Holder",
            "services": ["messaging"],
            "received_on": "2025-02-01",
            "notified_on": "2025-02-01",
            **given,
        }
        return await self.commerce.post("IndemnityClaims", body, account=self.commerce.account)


@pytest.fixture
def world(commerce: Any) -> World:
    return World(commerce)


@pytest.mark.parametrize("machine", [SLA_CLAIM, NONCONFORMITY, INDEMNITY, DISPUTE], ids=lambda machine: machine.kind)
def test_every_move_is_whole(machine: Any) -> None:
    machine.check()
    assert {move.next for move in machine.moves.values()} - {state for state, _ in machine.moves}


async def test_2_1_b_30_minutes_down_in_april_2025_are_99_93_percent_and_credit_10_percent(world: World) -> None:
    await world.measure("messaging", 30)
    body = {"service": "messaging", "month": "2025-04-01"}
    claim = await world.commerce.post("SlaClaims", body, account=world.commerce.account, at="2025-05-30T23:59:59Z")
    assert (claim["minutes"], claim["unavailable_minutes"]) == (43_200, 30)
    assert f"{claim['availability_ppm'] // 100 / 100:.2f}" == "99.93"
    assert claim["credit"] == "123.45"
    done = await world.commerce.fire("SlaClaims", claim["sid"], "credit")
    assert done["state"] == "credited" and world.billing.credits == [("2.1(b)", "123.45")]
    late = world.commerce.post("SlaClaims", body, account=world.commerce.account, at="2025-05-31T00:00:00Z")
    assert (await world.commerce.refused(late)).details == {"clause": "2.1(b)", "reason": "claimed_late"}


async def test_2_1_b_month_is_credited_once_however_often_it_is_claimed(world: World) -> None:
    commerce = world.commerce
    await world.measure("messaging", 30)
    body = {"service": "messaging", "month": "2025-04-01"}
    when = {"account": commerce.account, "at": "2025-05-02T00:00:00Z"}
    claim = await commerce.post("SlaClaims", body, **when)
    second = await commerce.refused(commerce.post("SlaClaims", body, **when))
    assert (second.status, second.details["reason"]) == (409, "claimed_already")
    assert second.details["claim_sid"] == claim["sid"]
    await commerce.post("SlaClaims", {**body, "service": "voice"}, **when)
    await commerce.fire("SlaClaims", claim["sid"], "credit")
    third = await commerce.refused(commerce.post("SlaClaims", body, **when))
    assert (third.status, third.details["reason"]) == (409, "credited_already")
    assert world.billing.credits == [("2.1(b)", "123.45")]


async def test_5_4_days_are_paid_back_once_however_often_they_are_claimed(world: World) -> None:
    commerce = world.commerce
    claims = []
    for first, last in (("2025-03-01", "2025-03-05"), ("2025-03-05", "2025-03-07"), ("2025-03-06", "2025-03-07")):
        body = {"service": "messaging", "from_on": first, "until_on": last, "description": "out of order"}
        claim = await commerce.post("NonConformityClaims", body, account=commerce.account)
        await commerce.fire("NonConformityClaims", claim["sid"], "reproduce", finding="seen")
        claims.append(claim["sid"])
    await commerce.fire("NonConformityClaims", claims[0], "refund")
    refused = await commerce.refused(commerce.fire("NonConformityClaims", claims[1], "refund"))
    assert (refused.status, refused.details["claim_sid"]) == (409, claims[0])
    assert (await commerce.fire("NonConformityClaims", claims[2], "refund"))["state"] == "refunded"
    assert len(world.billing.credits) == 2


async def test_6_3_c_costs_of_a_claim_are_no_list_without_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.service, "COSTS_MAX", 2)
    commerce = world.commerce
    claim = await world.indemnity()
    await commerce.fire("IndemnityClaims", claim["sid"], "accept", defence_owner="counsel")
    cost = {"account": commerce.account, "amount": "1.00", "purpose": "assistance"}
    for _ in range(2):
        await commerce.fire("IndemnityClaims", claim["sid"], "cost", **cost)
    assert (await commerce.refused(commerce.fire("IndemnityClaims", claim["sid"], "cost", **cost))).status == 400


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
async def test_9_7_day_from_which_no_period_can_be_counted_is_refused(world: World, day: str) -> None:
    body = {"service": "messaging", "from_on": day, "until_on": day, "description": "never"}
    refused = await world.commerce.refused(
        world.commerce.post("NonConformityClaims", body, account=world.commerce.account)
    )
    assert (refused.status, refused.message) == (400, "'from_on' lies too far away")


async def test_9_1_2_provide_an_affiliates_service_is_claimed_from_the_contracting_company(world: World) -> None:
    commerce = world.commerce
    await world.service("messaging", provider="affiliate", provider_entity="japan")
    [listed] = (await commerce.get("Services"))["items"]
    assert (listed["provider"], listed["provider_entity"]) == ("affiliate", "japan")
    claim = await world.indemnity()
    assert (claim["addressed_to"], claim["provided_by"]) == ("default", ["japan"])
    # Whoever provides it, the customer's own company stays answerable, for finished services as for any.
    await world.measure("messaging", 30)
    body = {"service": "messaging", "month": "2025-04-01"}
    sla = await commerce.post("SlaClaims", body, account=commerce.account, at="2025-05-02T00:00:00Z")
    assert (sla["addressed_to"], sla["provided_by"], sla["credit"]) == ("default", ["japan"], "123.45")
    own = await world.indemnity(services=["voice"])
    assert (own["addressed_to"], own["provided_by"]) == ("default", ["default"])


@pytest.mark.parametrize(("provider", "entity"), [("operator", "japan"), ("affiliate", "elsewhere")])
async def test_9_1_2_provide_only_an_affiliate_among_the_operators_companies_is_named(
    world: World, provider: str, entity: str
) -> None:
    call = world.service("messaging", provider=provider, provider_entity=entity)
    assert (await world.commerce.refused(call)).status == 400


async def test_1_16_sla_months_before_a_new_level_use_the_one_before(world: World) -> None:
    await world.measure("messaging", 15)
    commerce = world.commerce
    for month, threshold, at in [
        ("2025-01-01", 999_500, "2025-01-01T00:00:00Z"),
        ("2025-05-01", 999_900, "2025-04-20T00:00:00Z"),
    ]:
        sla = {"from_month": month, "threshold_ppm": threshold, "credit_percent": 10}
        await commerce.post("Services/messaging/Sla", sla, at=at)
    body = {"service": "messaging", "month": "2025-04-01"}
    claim = await commerce.post("SlaClaims", body, account=commerce.account, at="2025-05-02T00:00:00Z")
    assert claim["threshold_ppm"] == 999_500 and claim["credit"] == "0.00"
    assert (await commerce.fire("SlaClaims", claim["sid"], "refuse"))["state"] == "refused"


@pytest.mark.parametrize(
    ("stage", "provider"),
    [
        pytest.param("preview", "operator", id="1_2_a_preview_service_has_no_sla_credit"),
        pytest.param("ga", "third_party", id="1_9_a_third_partys_service_has_no_sla_credit"),
    ],
)
async def test_1_2_beta_offerings_and_1_9_what_is_not_the_operators_finished_service_is_excluded(
    world: World, stage: str, provider: str
) -> None:
    await world.service("extra", stage, provider, terms_version="1")
    await world.measure("extra", 500)
    body = {"service": "extra", "month": "2025-04-01"}
    claim = await world.commerce.post("SlaClaims", body, account=world.commerce.account, at="2025-05-02T00:00:00Z")
    assert claim["excluded"] and claim["credit"] == "0.00"
    assert (await world.commerce.refused(world.commerce.fire("SlaClaims", claim["sid"], "credit"))).status == 409


def test_1_9_services_a_third_partys_fees_do_not_count_for_the_cap() -> None:
    at = datetime(2025, 1, 1, tzinfo=UTC)
    rows = [FeeRow("OR1", "x", at, "fee", 5), FeeRow("OR1", "x", at, "fee", 7, provider="third_party")]
    rows.append(FeeRow("OR1", "x", at, "fee", 9, stage="beta"))
    assert liability_cap(rows, ["OR1"], ["x"], at + timedelta(days=1), party="operator").amount == 5


async def test_1_11_third_party_services_an_add_on_whose_terms_are_not_accepted_answers_403(world: World) -> None:
    commerce = world.commerce
    await world.service("addon", "ga", "third_party", terms_version="2025-01")
    refusal = await commerce.refused(commerce.post("Services/addon/Enable", {}, account=commerce.account))
    assert refusal.status == 403 and refusal.details is not None
    assert refusal.details["reason"] == "terms_not_accepted"
    await commerce.post("Services/addon/Terms", {"terms_version": "2025-01"}, account=commerce.account)
    assert (await commerce.post("Services/addon/Enable", {}, account=commerce.account))["enabled"]


async def nonconformity(world: World, service: str = "messaging") -> Any:
    body = {"service": service, "from_on": "2025-05-10", "until_on": "2025-05-12", "description": "wrong order"}
    return await world.commerce.post("NonConformityClaims", body, account=world.commerce.account)


async def test_5_4_warranty_a_claim_with_an_interval_opens_the_state_machine(world: World) -> None:
    claim = await nonconformity(world)
    assert claim["state"] == "filed"
    body = {"service": "messaging", "from_on": "2025-05-12", "until_on": "2025-05-10", "description": "x"}
    assert (await world.commerce.refused(world.commerce.post("NonConformityClaims", body))).status == 422


async def test_1_5_documentation_a_claim_is_linked_to_the_docs_of_its_day(world: World) -> None:
    assert (await nonconformity(world))["docs_snapshot"] == "docs-2025-05-10"


async def test_5_4_remedy_plan_89_95_3_of_31_days_usage_41_37_tax_8_percent_refunds_54_08(world: World) -> None:
    claim = await nonconformity(world)
    await world.commerce.fire("NonConformityClaims", claim["sid"], "reproduce", finding="seen")
    done = await world.commerce.fire("NonConformityClaims", claim["sid"], "refund")
    assert done["refund"] == "54.08" and world.billing.credits == [("5.4", "54.08")]


async def test_5_5_beta_a_claim_for_a_beta_service_is_answered_excluded(world: World) -> None:
    await world.service("video", "beta")
    claim = await nonconformity(world, "video")
    assert claim["excluded"]
    on = world.commerce.fire("NonConformityClaims", claim["sid"], "reproduce", finding="seen")
    assert (await world.commerce.refused(on)).details == {"clause": "5.5", "reason": "excluded"}


async def defended(world: World, direction: str = "operator", **given: Any) -> Any:
    claim = await world.indemnity(direction, **given)
    await world.commerce.fire("IndemnityClaims", claim["sid"], "accept", defence_owner="counsel")
    return await world.commerce.fire("IndemnityClaims", claim["sid"], "defend")


async def test_6_1_1_a_claim_of_2025_02_01_tracks_defence_costs_and_awards(world: World) -> None:
    claim = await defended(world)
    assert claim["received_on"] == "2025-02-01" and claim["defence_owner"] == "counsel"
    costs = {"amount": "5000.00", "purpose": "defence"}
    booked = await world.commerce.fire("IndemnityClaims", claim["sid"], "cost", **costs)
    assert booked["costs"] == [{**costs, "borne_by": "operator"}]
    done = await world.commerce.fire("IndemnityClaims", claim["sid"], "award", awarded="70000.00")
    assert done["state"] == "awarded" and done["awarded"] == "70000.00"


async def test_6_1_2_a_procuring_the_right_lets_the_service_continue(world: World) -> None:
    claim = await defended(world)
    done = await world.commerce.fire("IndemnityClaims", claim["sid"], "procure", licence="L-1")
    assert done["option"] == "procure" and done["service_continues"] and done["state"] == "defended"


async def test_6_1_2_b_modifying_names_the_change(world: World) -> None:
    claim = await defended(world)
    sid = claim["sid"]
    assert (await world.commerce.refused(world.commerce.fire("IndemnityClaims", sid, "modify"))).status == 400
    done = await world.commerce.fire("IndemnityClaims", sid, "modify", change="CG" + 32 * "1")
    assert done["option"] == "modify" and done["change"] == "CG" + 32 * "1"


async def test_6_1_2_c_1200_00_prepaid_ended_after_90_of_365_days_refunds_904_11(world: World) -> None:
    claim = await defended(world)
    term = {"prepaid": "1200.00", "term_from": "2025-01-01", "term_days": 365, "ended_on": "2025-04-01"}
    done = await world.commerce.fire("IndemnityClaims", claim["sid"], "end_service", **term)
    assert done["refund"] == "904.11" and world.billing.credits == [("6.1.2(c)", "904.11")]


async def test_6_1_3_a_service_without_price_is_excluded(world: World) -> None:
    claim = await world.indemnity(service_price="0.00")
    assert claim["excluded"] is True and claim["exclusion_grounds"] == ["free"]
    accept = world.commerce.fire("IndemnityClaims", claim["sid"], "accept", defence_owner="x")
    assert (await world.commerce.refused(accept)).details == {"clause": "6.1.3", "reason": "excluded"}


async def test_6_2_for_a_breach_of_2_2_the_customer_indemnifies(world: World) -> None:
    assert (await world.indemnity("customer", description="2.2"))["indemnifying_party"] == "customer"


async def test_6_3_a_45_days_of_delay_without_prejudice_leave_the_duty_unchanged(world: World) -> None:
    claim = await world.indemnity(notified_on="2025-03-18")
    assert claim["delay_days"] == 45 and claim["duty_reduced"] is False
    hurt = await world.indemnity(notified_on="2025-03-18", prejudice="a deadline was missed")
    assert hurt["duty_reduced"] is True


async def test_6_3_b_a_settlement_by_the_indemnified_party_answers_403(world: World) -> None:
    claim = await defended(world)
    settle = {"settled_by": "customer", "settlement": "pay"}
    refusal = await world.commerce.refused(world.commerce.fire("IndemnityClaims", claim["sid"], "settle", **settle))
    assert refusal.status == 403 and refusal.details == {"clause": "6.3(b)", "reason": "not_the_indemnifier"}
    as_other = {"settled_by": "operator", "settlement": "pay"}
    forged = world.commerce.fire("IndemnityClaims", claim["sid"], "settle", **as_other, account=world.commerce.account)
    assert (await world.commerce.refused(forged)).status == 403, "a customer does not speak for the operator"


async def test_6_3_c_participation_is_borne_by_the_indemnified_party(world: World) -> None:
    claim = await defended(world)
    sid = claim["sid"]
    await world.commerce.fire("IndemnityClaims", sid, "cost", amount="10.00", purpose="assistance")
    done = await world.commerce.fire("IndemnityClaims", sid, "cost", amount="20.00", purpose="participation")
    assert [cost["borne_by"] for cost in done["costs"]] == ["operator", "customer"]


async def test_6_3_consent_a_settlement_that_admits_liability_needs_consent(world: World) -> None:
    claim = await defended(world)
    settle = {"settled_by": "operator", "settlement": "pay", "admits_liability": True}
    refusal = await world.commerce.refused(world.commerce.fire("IndemnityClaims", claim["sid"], "settle", **settle))
    assert refusal.status == 409
    await world.commerce.fire("IndemnityClaims", claim["sid"], "consent", consent="letter of 2025-04-01")
    done = await world.commerce.fire("IndemnityClaims", claim["sid"], "settle", **settle)
    assert done["state"] == "settled"


async def test_10_1_6_a_government_customers_indemnity_needs_the_legal_check(world: World) -> None:
    commerce = world.commerce
    commerce.customer, commerce.account = await commerce.make_customer("County", gov_kind="us_state_local")
    claim = await world.indemnity("customer")
    accept = commerce.fire("IndemnityClaims", claim["sid"], "accept", defence_owner="x")
    assert (await commerce.refused(accept)).details == {"clause": "10.1.6", "reason": "legal_check"}
    await commerce.fire("IndemnityClaims", claim["sid"], "check_law", law_finding="allowed by statute")
    done = await commerce.fire("IndemnityClaims", claim["sid"], "accept", defence_owner="x")
    assert done["state"] == "accepted"


def test_7_1_lost_profit_is_flagged_and_not_summed() -> None:
    heads = {"lost_profit": micros("5000"), "direct": micros("1000")}
    assert room.recoverable(heads) == (micros("1000"), frozenset({"lost_profit"}))


async def test_7_2_the_cap_is_142_700_00_for_the_group_in_the_12_months_before(world: World) -> None:
    commerce = world.commerce
    own = commerce.customer

    def row(at: str, amount: str, kind: str = "fee", service: str = "messaging", **more: Any) -> FeeRow:
        return FeeRow(more.pop("of", own), service, datetime.fromisoformat(at), kind, micros(amount), **more)

    affiliate, _ = await commerce.make_customer("Affiliate")
    async with commerce.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO ownerships VALUES ('OS' || repeat('1', 32), $1, $2, 600000, '2020-01-01', NULL, 'x', $3)",
            own,
            affiliate,
            commerce.clock.now(),
        )
    world.billing.rows = [
        row("2024-06-15T00:00:00Z", "100000"),
        row("2025-06-14T23:59:59Z", "50000"),
        row("2024-06-14T23:59:59Z", "999"),
        row("2025-06-15T00:00:00Z", "999"),
        row("2025-01-01T00:00:00Z", "700", of=affiliate),
        row("2025-01-01T00:00:00Z", "999", service="voice"),
        row("2025-01-01T00:00:00Z", "999", kind="tax"),
        row("2025-01-01T00:00:00Z", "300", kind="surcharge"),
        row("2025-02-01T00:00:00Z", "-3000", kind="credit"),
        row("2025-02-01T00:00:00Z", "999", provider="third_party"),
    ]
    query = "services=messaging&first_incident=2025-06-15T00:00:00Z&earlier_awards=5000"
    found = await commerce.get(f"LiabilityCap?{query}")
    assert found["cap"] == "142700.00" and found["cap_with_surcharges"] == "143000.00"
    assert found["from_at"] == "2024-06-15T00:00:00+00:00"
    again = await commerce.get(f"LiabilityCap?{query}", account=commerce.account)
    assert again["rows_sha256"] == found["rows_sha256"]


@pytest.mark.parametrize("basis", ["2.2", "3"])
def test_7_3_breaches_of_2_2_and_3_leave_the_customer_without_cap(basis: str) -> None:
    at = datetime(2025, 6, 15, tzinfo=UTC)
    assert liability_cap([], [], [], at, party="customer", basis=basis).amount is None
    assert liability_cap([], [], [], at, party="operator", basis=basis).amount == 0
    assert liability_cap([], [], [], at, party="operator", basis="6").amount is None


def test_10_1_4_the_ip_warranty_of_customer_products_has_no_cap() -> None:
    at = datetime(2025, 6, 15, tzinfo=UTC)
    assert liability_cap([], [], [], at, party="customer", basis="10.1.4").amount is None


async def dispute(world: World, kind: str = "contract") -> Any:
    body = {"dispute_kind": kind, "claimant": "customer", "first_request_on": "2025-03-01", "description": "x"}
    return await world.commerce.post(
        "ContractDisputes", body, account=world.commerce.account, at="2025-03-01T12:00:00Z"
    )


async def test_9_7_negotiate_first_request_2025_03_01_lets_arbitration_start_2025_04_01(world: World) -> None:
    case = await dispute(world)
    early = world.commerce.fire("ContractDisputes", case["sid"], "file", at="2025-03-31T23:59:59Z")
    assert (await world.commerce.refused(early)).details == {"clause": "9.7", "reason": "negotiating"}
    done = await world.commerce.fire("ContractDisputes", case["sid"], "file", at="2025-04-01T00:00:00Z")
    assert done["state"] == "filed" and done["forum"] == "JAMS, San Francisco"
    other = await dispute(world)
    await world.commerce.fire("ContractDisputes", other["sid"], "agree", agreed_until="2025-03-10")
    done = await world.commerce.fire("ContractDisputes", other["sid"], "file", at="2025-03-11T00:00:00Z")
    assert done["state"] == "filed"


async def test_9_7_ip_goes_to_court_at_once_but_waits_30_days_in_brazil(world: World) -> None:
    commerce = world.commerce
    case = await dispute(world, "ip")
    done = await commerce.fire("ContractDisputes", case["sid"], "file", at="2025-03-01T12:00:00Z")
    assert done["forum"] == "court"
    commerce.customer, commerce.account = await commerce.make_customer("Ipanema", "BR")
    case = await dispute(world, "ip")
    early = commerce.fire("ContractDisputes", case["sid"], "file", at="2025-03-31T23:59:59Z")
    assert (await commerce.refused(early)).status == 409


async def test_9_7_costs_10_000_01_split_into_5_000_01_and_5_000_00(world: World) -> None:
    case = await dispute(world)
    await world.commerce.fire("ContractDisputes", case["sid"], "file", at="2025-04-01T00:00:00Z")
    done = await world.commerce.fire(
        "ContractDisputes", case["sid"], "costs", arbitrator_fees="10000.01", currency="USD"
    )
    assert (done["claimant_share"], done["respondent_share"]) == ("5000.01", "5000.00")


@given(st.integers(0, 10**12), st.sampled_from(["USD", "JPY", "KWD"]))
def test_shares_of_costs_add_up_and_differ_by_one_minor_unit_at_most(units: int, currency: str) -> None:
    unit = micros({"USD": "0.01", "JPY": "1", "KWD": "0.001"}[currency])
    claimant, respondent = room.split_costs(units * unit, currency)
    assert claimant + respondent == units * unit and 0 <= claimant - respondent <= unit
