"""Taxes, exemptions and withholding, clause by clause."""

import asyncio
import base64
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onterms.business import tax
from onterms.business.tax.model import Exemption, back_bill, move_exemption, move_proof
from onterms.business.tax.model.exemptions import MOVES as EXEMPTION_MOVES
from onterms.business.tax.model.withholding import MOVES as PROOF_MOVES
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.core.money import decimal_text, micros
from onterms.engines import jobs
from onterms.engines.api import Account, Caller, OwnRequest

CUSTOMER = "OR" + "a" * 32
OTHER = "OR" + "b" * 32
ACCOUNT = Account("AC" + "a" * 32, "AC" + "a" * 32, "active", "A")
STRANGER = Account("AC" + "b" * 32, "AC" + "b" * 32, "active", "B")
ROOT = "/commercial/v1"
START = datetime(2025, 1, 1, tzinfo=UTC)
DOCUMENT = {"name": "certificate.pdf", "content": base64.b64encode(b"%PDF").decode()}
NEW_YORK = tax.TaxFacts("US", "USD", subdivision="NY")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Customer:
    sid: str


async def customer_of(_: Tx, account_sid: str) -> Customer | None:
    sid = {ACCOUNT.sid: CUSTOMER, STRANGER.sid: OTHER}.get(account_sid)
    return None if sid is None else Customer(sid)


class World:
    """The room behind its door, and its worker."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database = database
        self.clock = clock
        self.routes = tax.Api(customer_of).routes()

    async def own(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, by: Account | None = None
    ) -> Any:
        """Call a route of our own as the operator, or as an account."""
        bare, _, query = path.partition("?")
        parts = bare.split("/")
        for route in self.routes:
            pattern = route.pattern.split("/")
            names = {p[1:-1]: part for p, part in zip(pattern, parts, strict=False) if p.startswith("{")}
            if route.method == method and len(pattern) == len(parts) and route.pattern.format(**names) == bare:
                break
        else:
            raise AssertionError(f"no route {method} {path}")
        assert by is None or route.access == "customer", f"{path} is the operator's"
        request = OwnRequest(
            method=method,
            path=names,
            query=dict(pair.split("=", 1) for pair in query.split("&") if pair),
            body=body or {},
            at=self.clock.now(),
            caller=None if by is None else Caller(by, "token", by.sid),
            operator=by is None,
        )
        assert route.handler is not None
        async with self.database.transaction() as tx:
            reply = await route.handler(tx, request)
        return reply.raw or json.loads(json.dumps(reply.body))

    async def refused(self, *args: Any, **kwargs: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.own(*args, **kwargs)
        return caught.value

    async def rule(self, rate: str, **values: Any) -> None:
        rule = {"jurisdiction": "US-NY", "kind": "sales", "source": "test data", **values, "rate": rate}
        await self.own("POST", f"{ROOT}/TaxRules", {"effective_from": "2020-01-01T00:00:00Z", **rule})

    async def taxes(self, *lines: tax.TaxableLine, facts: tax.TaxFacts = NEW_YORK) -> tax.TaxResult:
        async with self.database.transaction() as tx:
            return await tax.tax_lines(tx, CUSTOMER, lines, facts)

    async def exemption(self, **values: Any) -> str:
        body = {"kind": "sales", "jurisdiction": "US-NY", "certificate": "ST-1", "document": DOCUMENT, **values}
        return str((await self.own("POST", f"{ROOT}/Exemptions", body, by=ACCOUNT))["sid"])

    async def approved(self, **values: Any) -> str:
        sid = await self.exemption(**values)
        await self.own("POST", f"{ROOT}/Exemptions/{sid}/Approve")
        return sid

    async def invoiced(self, invoice: str, due: date, *lines: tax.TaxableLine) -> tax.TaxResult:
        result = await self.taxes(*lines)
        async with self.database.transaction() as tx:
            await tax.record_exempted(tx, CUSTOMER, invoice, result.exempted, due)
            await tax.record_exempted(tx, CUSTOMER, invoice, result.exempted, due)
        return result


@pytest.fixture
def world(database: Database) -> World:
    return World(database, VirtualClock(held_at=START))


_refs = itertools.count(1)


def line(amount: str, when: datetime = START, kind: Any = "fee") -> tax.TaxableLine:
    return tax.TaxableLine(f"line-{next(_refs)}", kind, micros(amount), when)


class TestRules:
    async def test_3_2_1_exclusive_tax_comes_on_top(self, world: World) -> None:
        await world.rule("0.08875")
        result = await world.taxes(line("100.00"))
        assert decimal_text(micros("100.00") + result.total) == "108.88"

    @pytest.mark.parametrize("kind", ["income", "property", "employee"])
    async def test_3_2_1_payer_the_operator_bears_taxes_on_itself(self, world: World, kind: str) -> None:
        body = {"jurisdiction": "US-NY", "kind": kind, "rate": "0.1", "source": "test data"}
        refusal = await world.refused("POST", f"{ROOT}/TaxRules", body)
        assert (refusal.status, refusal.details) == (422, {"clause": "3.2.1"})

    async def test_3_2_1_payer_whoever_determines_it(self, world: World) -> None:
        class Port:
            async def determine(self, facts: tax.TaxFacts, instants: Sequence[datetime]) -> list[list[Any]]:
                return [[tax.ApplicableTax("US", "income", "fees", 100_000, "half_up")] for _ in instants]

        async with world.database.transaction() as tx:
            with pytest.raises(Refusal) as caught:
                await tax.tax_lines(tx, CUSTOMER, [line("1.00")], NEW_YORK, determination=Port())
        assert caught.value.status == 422

    async def test_3_2_1_line_each_tax_line_shows_base_and_rate(self, world: World) -> None:
        await world.rule("0.04")
        await world.rule("0.00375", jurisdiction="US-NY-MCTD")
        await world.rule("0.0325", jurisdiction="US", kind="communications", base="fees_and_surcharges")
        facts = tax.TaxFacts("US", "USD", subdivision="NY", locality="MCTD")
        lines = [line("10.01"), line("20.02"), line("5.00", kind="surcharge"), line("99.00", kind="penalty")]
        result = await world.taxes(*lines, facts=facts)
        shown = [
            (each.jurisdiction, decimal_text(each.base), each.rate, decimal_text(each.micros)) for each in result.lines
        ]
        assert shown == [
            ("US", "35.03", 32_500, "1.14"),
            ("US-NY", "30.03", 40_000, "1.20"),
            ("US-NY-MCTD", "30.03", 3_750, "0.11"),
        ]
        assert result.total == sum(each.micros for each in result.lines)

    async def test_a_rate_that_changes_within_a_month_gives_two_lines(self, world: World) -> None:
        await world.rule("0.08")
        await world.rule("0.09", effective_from="2025-01-15T00:00:00Z")
        result = await world.taxes(line("10.00", at("2025-01-14T23:59:59")), line("10.00", at("2025-01-15")))
        assert [(each.rate, decimal_text(each.micros)) for each in result.lines] == [(80_000, "0.80"), (90_000, "0.90")]

    async def test_10_4_3_tax_is_rounded_down_once_per_rate(self, world: World) -> None:
        async with world.database.transaction() as tx:
            await tax.ensure_default_rules(tx, START)
            await tax.ensure_default_rules(tx, START)
        facts = tax.TaxFacts("JP", "JPY")
        bases = ["100000", "29362", "86", "46"]
        kinds = ["fee", "fee", "surcharge", "surcharge"]
        lines = [line(base, kind=kind) for base, kind in zip(bases, kinds, strict=True)]
        assert sum(int(base) for base in bases) == 129_494
        [found] = (await world.taxes(*lines, facts=facts)).lines
        assert (decimal_text(found.base, places=0), decimal_text(found.micros, places=0)) == ("129494", "12949")

    @pytest.mark.parametrize(
        ("vat_id", "seller", "confirmed", "reverse"),
        [
            ("DE136695976", "IE", False, True),
            # One digit mistyped.
            ("DE136695978", "IE", False, False),
            # The seller is established there too.
            ("DE136695976", "DE", False, False),
            ("DE136695976", None, False, False),
            # Another country's.
            ("IE6433435F", "IE", True, False),
            (None, "IE", True, False),
        ],
    )
    async def test_vat_is_reverse_charged_by_a_valid_identifier(
        self, world: World, vat_id: str | None, seller: str | None, confirmed: bool, reverse: bool
    ) -> None:
        await world.rule("0.19", jurisdiction="DE", kind="vat")
        facts = tax.TaxFacts("DE", "EUR", seller_country=seller, vat_id=vat_id, vat_id_confirmed=confirmed)
        [found] = (await world.taxes(line("100.00"), facts=facts)).lines
        assert (found.reverse_charge, decimal_text(found.micros)) == (reverse, "0.00" if reverse else "19.00")
        assert decimal_text(found.base) == "100.00"

    async def test_a_rule_names_its_source(self, world: World) -> None:
        refusal = await world.refused(
            "POST", f"{ROOT}/TaxRules", {"jurisdiction": "US-NY", "kind": "sales", "rate": "0.1"}
        )
        assert refusal.status == 422
        listed = await world.own("GET", f"{ROOT}/TaxRules")
        assert listed == {"items": [], "next": None}


# Identifiers that are right by their check digits; some rules let one wrong digit of nine pass.
@pytest.mark.parametrize(
    "text",
    [
        *("ATU13585627", "BE0428759497", "DE136695976", "DK13585628", "EE100931558", "EL094259216", "FI20774740"),
        *("FR83404833048", "GB980780684", "HR33392005961", "HU12892312", "IE6433435F", "IE6433435OA", "IE8D79739I"),
        *("IT00743110157", "LU15027442", "MT11679112", "NL004495445B01", "NL002455799B11", "PL8567346215"),
        *("PT501964843", "RO18547290", "SE123456789701", "SI50223054", "SK2022749619"),
    ],
)
def test_a_vat_identifier_with_a_mistyped_digit_is_seen(text: str) -> None:
    assert tax.check_vat_id(text).valid
    place = 7 if text[7].isdigit() else 6
    mistyped = [text[:place] + digit + text[place + 1 :] for digit in set("0123456789") - {text[place]}]
    assert sum(tax.check_vat_id(each).valid for each in mistyped) <= 1


def test_where_only_the_form_can_be_checked_it_says_so() -> None:
    assert tax.check_vat_id("CY10259033P") == tax.VatCheck(True, "CY", "10259033P", False)
    assert not tax.check_vat_id("XX123").valid


class TestExemptions:
    async def test_3_2_3_request_with_an_expired_certificate_is_rejected(self, world: World) -> None:
        world.clock.hold(at("2025-02-20"))
        sid = await world.exemption(valid_from="2024-01-01", valid_to="2025-02-19")
        [found] = (await world.own("GET", f"{ROOT}/Exemptions", by=ACCOUNT))["items"]
        assert (found["sid"], found["state"], found["reason"]) == (sid, "rejected", "certificate_expired")
        assert (await world.refused("POST", f"{ROOT}/Exemptions/{sid}/Approve")).status == 409
        assert await world.own("GET", f"{ROOT}/Exemptions/{sid}/Document", by=ACCOUNT) == b"%PDF"
        assert (await world.refused("GET", f"{ROOT}/Exemptions/{sid}/Document", by=STRANGER)).status == 404
        assert (await world.own("GET", f"{ROOT}/Exemptions", by=STRANGER))["items"] == []

    async def test_3_2_3_forward_only_fees_after_the_approval_are_exempt(self, world: World) -> None:
        await world.rule("0.08")
        world.clock.hold(at("2025-02-20T15:00"))
        await world.approved()
        result = await world.taxes(
            line("2100.00", at("2025-02-20T14:59:59.999999")), line("900.00", at("2025-02-20T15:00"))
        )
        assert decimal_text(result.total) == "168.00"
        assert [decimal_text(each.base) for each in result.exempted] == ["900.00"]

    async def test_3_2_3_revoked_charges_taxes_interest_and_penalties_once(self, world: World) -> None:
        await world.rule("0.08")
        sid = await world.approved()
        await world.invoiced("IN1", date(2025, 1, 31), line("1000.00", at("2025-01-15")))
        await world.invoiced("IN2", date(2025, 2, 28), line("2000.05", at("2025-02-15")))
        world.clock.hold(at("2025-06-30"))
        body = {
            "revoked_from": "2025-02-01T00:00:00Z",
            "determined_on": "2025-05-29",
            "interest_rate": "0.073",
            "penalty_rate": "0.10",
            "penalty": "25.00",
            "reason": "State authority, letter of 2025-05-29",
        }
        # 8 % of 2,000.05 is 160.004; interest on the exact tax for 90 days at 7.3 % is 2.88007, rounded down.
        [charged] = (await world.own("POST", f"{ROOT}/Exemptions/{sid}/Revoke", body))["items"]
        assert (charged["tax"], charged["interest"], charged["penalties"]) == ("160.00", "2.88", "41.00")
        assert charged["total"] == "203.88"
        assert charged["lines"] == [
            {"jurisdiction": "US-NY", "kind": "sales", "rate": "0.08", "base": "2000.05", "tax": "160.00"}
        ]
        again = await world.own("POST", f"{ROOT}/Exemptions/{sid}/Revoke", {**body, "penalty": "999.00"})
        assert again["items"] == [charged]
        assert (await world.own("GET", f"{ROOT}/BackBillings", by=ACCOUNT))["items"] == [charged]
        assert (await world.own("GET", f"{ROOT}/BackBillings", by=STRANGER))["items"] == []
        async with world.database.transaction() as tx:
            [waiting] = await tax.unbilled_back_billings(tx, CUSTOMER)
            assert await tax.mark_back_billed(tx, CUSTOMER, waiting["sid"], "DN1")
            assert not await tax.mark_back_billed(tx, CUSTOMER, waiting["sid"], "DN2")
            assert await tax.unbilled_back_billings(tx, CUSTOMER) == []

    async def test_3_2_3_revoked_exempts_nothing_from_then_on(self, world: World) -> None:
        await world.rule("0.08")
        sid = await world.approved()
        world.clock.hold(at("2025-03-01"))
        body = {"revoked_from": "2025-02-01T00:00:00Z", "reason": "authority"}
        assert (await world.own("POST", f"{ROOT}/Exemptions/{sid}/Revoke", body))["items"] == []
        result = await world.taxes(line("100.00", at("2025-01-31")), line("100.00", at("2025-02-01")))
        assert decimal_text(result.total) == "8.00"

    async def test_an_exemption_ends_with_its_certificate(self, world: World) -> None:
        await world.rule("0.08")
        sid = await world.approved(valid_to="2025-01-31")
        result = await world.taxes(line("100.00", at("2025-01-31T23:59:59")), line("100.00", at("2025-02-01")))
        assert decimal_text(result.total) == "8.00"
        worker = jobs.Worker(world.database, world.clock, name="test")
        tax.register(worker)
        running = asyncio.ensure_future(worker.run())
        try:
            world.clock.hold(at("2025-02-01"))
            worker.clock_changed()
            await worker.settle()
        finally:
            await worker.stop(5)
            await running
        [found] = (await world.own("GET", f"{ROOT}/Exemptions"))["items"]
        assert (found["sid"], found["state"]) == (sid, "expired")

    async def test_another_kind_or_place_is_not_exempt(self, world: World) -> None:
        await world.rule("0.08")
        await world.rule("0.02", kind="communications")
        await world.rule("0.05", jurisdiction="US-NJ")
        await world.approved()
        assert decimal_text((await world.taxes(line("100.00"))).total) == "2.00"
        jersey = tax.TaxFacts("US", "USD", subdivision="NJ")
        assert decimal_text((await world.taxes(line("100.00"), facts=jersey)).total) == "5.00"

    def test_every_row_of_the_table_and_no_other_move(self) -> None:
        states = {state for state, _ in EXEMPTION_MOVES} | {row.next for row in EXEMPTION_MOVES.values()}
        for state, event in itertools.product(states, {event for _, event in EXEMPTION_MOVES}):
            assert (move_exemption(state, event) is not None) == ((state, event) in EXEMPTION_MOVES)
        assert {row.next for row in EXEMPTION_MOVES.values()} == {"approved", "rejected", "expired", "revoked"}


class TestWithholding:
    async def _profile(self, world: World, **values: Any) -> None:
        body = {"customer_sid": CUSTOMER, "country": "IN", "rate": "0.15", **values}
        await world.own("POST", f"{ROOT}/WithholdingProfiles", body)

    async def _invoice(self, world: World, day: date) -> list[str]:
        async with world.database.snapshot() as tx:
            gross, withheld = await tax.amount_to_invoice(tx, CUSTOMER, micros("10000.00"), "USD", day)
        return [decimal_text(gross), decimal_text(withheld), decimal_text(gross - withheld)]

    async def test_3_2_1_withholding_is_grossed_up_until_there_is_a_certificate(self, world: World) -> None:
        await self._profile(world)
        assert await self._invoice(world, date(2025, 3, 1)) == ["11764.71", "1764.71", "10000.00"]
        treaty = {"treaty_rate": "0", "treaty_certificate": "TRC-1", "treaty_from": "2025-01-01"}
        await self._profile(world, **treaty, treaty_to="2025-12-31")
        assert await self._invoice(world, date(2025, 3, 1)) == ["10000.00", "0.00", "10000.00"]
        assert await self._invoice(world, date(2026, 1, 1)) == ["11764.71", "1764.71", "10000.00"]

    @pytest.mark.parametrize(("policy", "due"), [("gross_up", "1500.00"), ("accept_certificate", "0.00")])
    async def test_3_2_1_proof_pays_only_where_certificates_are_accepted(
        self, world: World, policy: str, due: str
    ) -> None:
        await self._profile(world, policy=policy)
        body = {"invoice_sid": "IN1", "amount": "1500.00", "document": DOCUMENT}
        proof = await world.own("POST", f"{ROOT}/WithholdingProofs", body, by=ACCOUNT)

        async def outstanding() -> str:
            async with world.database.snapshot() as tx:
                return decimal_text(await tax.outstanding(tx, CUSTOMER, "IN1", micros("10000.00"), micros("8500.00")))

        assert await outstanding() == "1500.00"
        path = f"{ROOT}/WithholdingProofs/{proof['sid']}"
        assert (await world.refused("POST", f"{path}/Accept")).status == 409
        await world.own("POST", f"{path}/Review")
        assert await outstanding() == "1500.00"
        accepted = await world.own("POST", f"{path}/Accept", {"by": "Ann"})
        assert (accepted["state"], accepted["decided_by"]) == ("accepted", "Ann")
        assert await outstanding() == due

    async def test_3_2_1_proof_is_rejected_with_a_reason(self, world: World) -> None:
        refusal = await world.refused(
            "POST", f"{ROOT}/WithholdingProofs", {"invoice_sid": "IN1", "amount": "1.00"}, by=ACCOUNT
        )
        assert (refusal.status, refusal.details) == (422, {"clause": "3.2.1"})
        body = {"invoice_sid": "IN1", "amount": "1500.00", "document": DOCUMENT}
        proof = await world.own("POST", f"{ROOT}/WithholdingProofs", body, by=ACCOUNT)
        path = f"{ROOT}/WithholdingProofs/{proof['sid']}"
        await world.own("POST", f"{path}/Review")
        assert (await world.refused("POST", f"{path}/Reject")).status == 409
        rejected = await world.own("POST", f"{path}/Reject", {"reason": "unreadable"})
        assert (rejected["state"], rejected["reason"]) == ("rejected", "unreadable")
        assert await world.own("GET", f"{path}/Document", by=ACCOUNT) == b"%PDF"
        assert (await world.refused("GET", f"{path}/Document", by=STRANGER)).status == 404
        assert (await world.own("GET", f"{ROOT}/WithholdingProofs", by=STRANGER))["items"] == []

    def test_every_row_of_the_table_and_no_other_move(self) -> None:
        states = {state for state, _ in PROOF_MOVES} | {row.next for row in PROOF_MOVES.values()}
        for state, event in itertools.product(states, {event for _, event in PROOF_MOVES}):
            assert (move_proof(state, event) is not None) == ((state, event) in PROOF_MOVES)


# ---- invariants

hours = st.integers(0, 2000)
amounts = st.lists(st.tuples(st.integers(0, 10**7), hours), max_size=10)


def _exemption(approved: int, ended: int | None) -> Exemption:
    return Exemption(
        customer_sid=CUSTOMER,
        sid="TE1",
        state="approved",
        kind="sales",
        jurisdiction="US-NY",
        certificate="ST-1",
        valid_from=START.date(),
        valid_to=None,
        submitted_at=START,
        approved_at=START + timedelta(hours=approved),
        ended_at=None if ended is None else START + timedelta(hours=approved + ended),
        revoked_from=None,
    )


@given(used=amounts, approved=hours, ended=st.none() | hours, rate=st.integers(0, 300_000))
def test_invariant_24_only_what_comes_after_the_approval_is_exempt(
    used: list[tuple[int, int]], approved: int, ended: int | None, rate: int
) -> None:
    exemption = _exemption(approved, ended)
    sales = tax.ApplicableTax("US-NY", "sales", "fees", rate, "half_up")
    lines = [
        tax.TaxableLine(str(place), "fee", cents * 10_000, START + timedelta(hours=hour))
        for place, (cents, hour) in enumerate(used)
    ]
    result = tax.compute(lines, "USD", [[sales]] * len(lines), [exemption])
    assert all(exemption.approved_at and each.occurred_at >= exemption.approved_at for each in result.exempted)
    assert sum(each.base for each in result.lines) + sum(each.base for each in result.exempted) == sum(
        each.micros for each in lines
    )


@given(used=amounts, rate=st.integers(0, 300_000), rounding=st.sampled_from(["half_up", "down"]))
def test_invariant_7_a_tax_is_rounded_once_on_the_sum(used: list[tuple[int, int]], rate: int, rounding: Any) -> None:
    applying = tax.ApplicableTax("JP", "consumption", "fees", rate, rounding)
    lines = [tax.TaxableLine(str(place), "fee", yen * 10**6, START) for place, (yen, _) in enumerate(used)]
    result = tax.compute(lines, "JPY", [[applying]] * len(lines))
    exact = sum(each.micros for each in lines) * rate
    rounded = result.total * 10**6
    assert result.total % 10**6 == 0
    if rounding == "down":
        assert 0 <= exact - rounded < 10**12
    else:
        assert abs(exact - rounded) * 2 <= 10**12


@given(used=amounts, since=hours, rate=st.integers(1, 300_000))
def test_back_billing_charges_what_would_have_been_charged(used: list[tuple[int, int]], since: int, rate: int) -> None:
    applying = [tax.ApplicableTax("US-NY", "sales", "fees", rate, "half_up")]
    lines = [
        tax.TaxableLine(str(place), "fee", cents * 10_000, START + timedelta(hours=hour))
        for place, (cents, hour) in enumerate(used)
    ]
    exempted = tax.compute(lines, "USD", [applying] * len(lines), [_exemption(0, None)]).exempted
    revoked_from = START + timedelta(hours=since)
    later = [each for each in lines if each.at >= revoked_from]
    expected = tax.compute(later, "USD", [applying] * len(later)).total
    billed = back_bill(exempted, revoked_from, date(2026, 1, 1))
    assert sum(each.total for each in billed) == expected
