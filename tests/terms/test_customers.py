"""Customers against the rows of the terms that are theirs, through their routes."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pytest

from onterms.business import accounts, agreements, customers
from onterms.business.customers.model import ASSIGNMENT_MOVES
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.core.ids import new_sid
from onterms.core.vault import Vault
from onterms.engines import audit
from onterms.engines.api import Account, Caller, OwnReply, OwnRequest, OwnRoute

NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


class World:
    """The rooms of customers and agreements, wired as an install wires them, and called by their routes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        vault = Vault(bytes(32))
        self.bindings = agreements.Bindings(self.notify)

        async def create_account(tx: Tx, name: str, at: datetime) -> accounts.FirstCredentials:
            return await accounts.create_customer(tx, vault, name, at)

        self.create_key = partial(accounts.create_key, vault=vault)
        self.vault = vault
        api = customers.Api(create_account, accounts.revoke_keys, self.bindings, origin=lambda _: ("192.0.2.7", "RQ1"))

        async def nobody(authorization: bytes) -> Caller:
            raise AssertionError("no page of these tests asks who calls")

        self.routes: list[OwnRoute] = [*api.routes(), *agreements.Api(self.bindings, nobody).routes()]

    async def notify(
        self, tx: Tx, customer_sid: str, kind: str, subject: str, body: str, contact_kind: str, at: datetime
    ) -> str:
        return new_sid("NO", at)

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        account: str | None = None,
        at: datetime = NOON,
        credential: Any = "token",
    ) -> OwnReply:
        """Call a route, as the operator unless an account calls."""
        path, _, query = path.partition("?")
        for route in self.routes:
            match = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.pattern), path)
            if match and route.method == method:
                break
        else:
            raise AssertionError(f"no route {method} {path}")
        assert account is None or route.access != "operator", "the front door would have refused"
        caller = None
        if account is not None:
            caller = Caller(Account(account, account, "active", "", False), credential, account)
        request = OwnRequest(
            method,
            match.groupdict(),
            dict(pair.split("=", 1) for pair in query.split("&") if pair),
            body or {},
            at,
            caller,
            operator=account is None and route.access != "open",
        )
        assert route.handler is not None
        async with self.database.transaction() as tx:
            return await route.handler(tx, request)

    async def refused(self, *args: Any, **kwargs: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.call(*args, **kwargs)
        return caught.value

    async def count(self, *tables: str) -> list[int]:
        async with self.database.snapshot() as tx:
            return [await tx.fetchval(f"SELECT count(*) FROM {table}") for table in tables]

    async def application(self, *, at: datetime = NOON, **changes: Any) -> dict[str, Any]:
        async with self.database.transaction() as tx:
            current = await self.bindings.current(tx, "tos", at)
        return {
            "organization_name": "Northwind",
            "country": "US",
            "org_type": "corporate",
            "use": "business",
            "email": "owner@northwind.example",
            "signer_name": "Ann Example",
            "signer_role": "director",
            "authority": True,
            "compliance": True,
            "accepted_version": current,
            **changes,
        }

    async def sign_up(self, *, at: datetime = NOON, **changes: Any) -> Any:
        reply = await self.call("POST", "/commercial/v1/SignUps", await self.application(at=at, **changes), at=at)
        assert reply.status == 201
        return reply.body

    async def waiver(self, at: datetime = NOON) -> str:
        async with self.database.transaction() as tx:
            found = await self.bindings.current(tx, "eecc_waiver", at)
        assert found is not None
        return found

    async def refused_sign_up(self, **changes: Any) -> Refusal:
        """Return the refusal of a sign-up, which must leave no row."""
        tables = ("accounts", "customers", "organizations", "acceptances")
        before = await self.count(*tables)
        refusal = await self.refused("POST", "/commercial/v1/SignUps", await self.application(**changes))
        assert await self.count(*tables) == before
        return refusal


@pytest.fixture
async def world(database: Database) -> World:
    world = World(database)
    async with database.transaction() as tx:
        await agreements.ensure_template(tx, datetime(2024, 6, 1, tzinfo=UTC))
    return world


class TestSignUp:
    async def test_p_6_without_acceptance_is_403_and_no_account_row_and_with_it_201_and_evidence(
        self, world: World
    ) -> None:
        refusal = await world.refused_sign_up(accepted_version=None)
        assert (refusal.status, refusal.details and refusal.details["clause"]) == (403, "P.6")
        assert (await world.refused_sign_up(accepted_version=new_sid("VR", NOON))).status == 403
        made = await world.sign_up()
        [evidence] = [
            row
            for row in (await world.call("GET", "/commercial/v1/Acceptances", account=made["account_sid"])).body[
                "items"
            ]
            if row["document"] == "tos"
        ]
        assert evidence["sid"] == made["acceptance_sid"]
        assert (evidence["actor"], evidence["role"], evidence["authority"]) == ("Ann Example", "director", True)
        assert (evidence["ip"], evidence["request_id"]) == ("192.0.2.7", "RQ1")
        assert evidence["accepted_at"] == "2025-01-15T12:00:00Z" and len(evidence["sha256"]) == 64

    async def test_p_8_personal_use_is_refused_with_422(self, world: World) -> None:
        refusal = await world.refused_sign_up(use="personal")
        assert refusal.status == 422 and refusal.details is not None
        assert refusal.details["reason"] == "business_use_only"
        shown = (await world.sign_up(use="trade"))["customer"]
        assert shown["business_use"] is True

    @pytest.mark.parametrize("changes", [{"authority": False}, {"signer_role": ""}, {"signer_name": " "}])
    async def test_5_1_acceptance_without_role_or_authority_is_422(self, world: World, changes: dict[str, Any]) -> None:
        refusal = await world.refused_sign_up(**changes)
        assert (refusal.status, refusal.details and refusal.details["clause"]) == (422, "5.1")

    async def test_5_2_a_attestation_is_needed_and_asked_for_again_after_a_year(self, world: World) -> None:
        assert (await world.refused_sign_up(compliance=False)).status == 422
        made = await world.sign_up(at=moment("2024-06-01T09:00:00+00:00"))
        sid = made["customer"]["sid"]
        async with world.database.snapshot() as tx:
            [job] = await tx.fetch("SELECT * FROM jobs WHERE task = 'customers.ask_for_attestation'")
        assert job["due_at"] == moment("2025-06-01T00:00:00+00:00")
        due = _Job(job["payload"])
        await _run(world, due, moment("2025-06-01T00:00:00+00:00"))
        await _run(world, due, moment("2025-06-01T00:00:00+00:00"))
        path = f"/commercial/v1/Customers/{sid}/Tasks"
        [task] = (await world.call("GET", path)).body["items"]
        assert (task["clause"], task["due_on"], task["done_at"]) == ("5.2(a)", "2025-06-01", None)
        at = moment("2025-06-03T00:00:00+00:00")
        again = await world.call(
            "POST",
            f"/commercial/v1/Customers/{sid}/Attestations",
            {"compliance": True},
            account=made["account_sid"],
            at=at,
        )
        assert again.body == {"attested_on": "2025-06-03", "due_on": "2026-06-03"}
        [task] = (await world.call("GET", path)).body["items"]
        assert task["done_at"] == "2025-06-03T00:00:00Z"

    async def test_10_2_micro_enterprise_in_france_without_waiver_is_403_and_a_large_one_is_not_asked(
        self, world: World
    ) -> None:
        refusal = await world.refused_sign_up(country="FR", size="micro")
        assert (refusal.status, refusal.details and refusal.details["clause"]) == (403, "10.2")
        assert (await world.refused_sign_up(country="US", size="small", served_in=["GB"])).status == 403
        assert (await world.refused_sign_up(country="NO", nonprofit=True)).status == 403
        await world.sign_up(country="FR", size="other")
        await world.sign_up(country="CH", size="micro")
        waiver = await world.waiver()
        made = await world.sign_up(country="FR", size="micro", waiver_version=waiver)
        items = (await world.call("GET", "/commercial/v1/Acceptances", account=made["account_sid"])).body["items"]
        assert waiver in {row["version_sid"] for row in items}
        assert "10.2" in made["customer"]["riders"]

    async def test_10_4_1_individual_in_japan_is_422(self, world: World) -> None:
        refusal = await world.refused_sign_up(country="JP", org_type="individual", no_antisocial_forces=True)
        assert (refusal.status, refusal.details and refusal.details["clause"]) == (422, "10.4.1")
        await world.sign_up(country="US", org_type="individual")

    async def test_10_4_6_missing_attestation_blocks_a_sign_up_in_japan(self, world: World) -> None:
        refusal = await world.refused_sign_up(country="JP")
        assert (refusal.status, refusal.details and refusal.details["clause"]) == (422, "10.4.6")
        made = await world.sign_up(country="JP", no_antisocial_forces=True)
        assert made["customer"]["currency"] == "JPY"

    async def test_a_sign_up_makes_credentials_contacts_and_a_trail_that_verifies(self, world: World) -> None:
        made = await world.sign_up()
        async with world.database.transaction() as tx:
            caller = await accounts.authenticate(tx, made["account_sid"], made["auth_token"])
            found = await customers.customer_of(tx, made["account_sid"])
            by_test_credentials = await customers.customer_of(tx, made["test_account_sid"])
            kinds = [contact.kind for contact in await customers.contacts(tx, made["customer"]["sid"])]
            assert await audit.verify(tx, made["customer"]["sid"]) is None
        assert caller is not None and found is not None and found.sid == made["customer"]["sid"]
        assert by_test_credentials == found
        assert kinds == ["owner", "legal", "billing"]


class _Job:
    def __init__(self, payload: dict[str, Any]) -> None:
        self.payload = payload


async def _run(world: World, job: Any, at: datetime) -> None:
    """Run the room's handler on a job, as a worker does."""
    handlers: dict[str, Any] = {}

    class Recorder:
        def register(self, task: str, handler: Any) -> None:
            handlers[task] = handler

    class Run:
        clock = type("At", (), {"now": staticmethod(lambda: at)})
        transaction = world.database.transaction

        async def complete(self, tx: Tx, done: Any) -> None:
            assert done == [job]

    recorder: Any = Recorder()
    customers.Tasks().register(recorder)
    await handlers["customers.ask_for_attestation"](Run(), [job])


class TestRelations:
    async def test_1_1_affiliate_needs_more_than_half_and_reaches_through_chains(self, world: World) -> None:
        p, q, r = [(await world.sign_up(organization_name=name))["customer"]["sid"] for name in "PQR"]

        async def own(parent: str, child: str, percent: str, **days: str) -> str:
            body = {"parent_sid": parent, "child_sid": child, "percent": percent, **days}
            return str((await world.call("POST", "/commercial/v1/Ownerships", body)).body["sid"])

        async def of(sid: str, on: str = "2025-01-15") -> set[str]:
            found = await world.call("GET", f"/commercial/v1/Affiliates?customer_sid={sid}&on={on}")
            return {row["sid"] for row in found.body["items"]}

        half = await own(p, q, "50.00", from_on="2024-01-01")
        assert await of(q) == set()
        await world.call("POST", f"/commercial/v1/Ownerships/{half}", {"until_on": "2024-02-01"})
        more = await own(p, q, "50.01", from_on="2024-02-01")
        assert await of(q) == {p} and await of(p) == {q}
        assert await of(q, "2024-01-31") == set() and await of(q, "2024-02-01") == {p}
        await world.call("POST", f"/commercial/v1/Ownerships/{more}", {"until_on": "2024-03-01"})
        await own(p, q, "51", from_on="2024-03-01")
        await own(q, r, "51", from_on="2024-03-01")
        assert await of(p) == {q, r} and r in await of(p) and await of(r) == {p, q}
        sister = (await world.call("POST", "/commercial/v1/Organizations", {"name": "S", "country": "US"})).body["sid"]
        await own(p, sister, "100", from_on="2024-03-01")
        assert await of(r) == {p, q, sister}
        assert (await world.refused("POST", "/commercial/v1/Ownerships",
                                    {"parent_sid": p, "child_sid": q, "percent": "100.01"})).status == 400  # fmt: skip

    async def test_9_1_1_use_an_affiliates_account_belongs_to_the_customer(self, world: World) -> None:
        customer, affiliate, account = await self._affiliated(world)
        async with world.database.transaction() as tx:
            found = await customers.customer_of(tx, account)
        assert found is not None and found.sid == customer
        stranger = (await world.sign_up())["customer"]["sid"]
        refusal = await world.refused(
            "POST", f"/commercial/v1/Customers/{customer}/Accounts/{account}", {"user_sid": stranger}
        )
        assert refusal.status == 422 and affiliate != stranger

    async def test_9_1_1_liability_customer_and_that_affiliate_owe_and_no_other(self, world: World) -> None:
        customer, affiliate, account = await self._affiliated(world)
        other = (await world.call("POST", "/commercial/v1/Organizations", {"name": "A2", "country": "US"})).body["sid"]
        body = {"parent_sid": customer, "child_sid": other, "percent": "100", "from_on": "2024-01-01"}
        await world.call("POST", "/commercial/v1/Ownerships", body)
        async with world.database.transaction() as tx:
            assert other in await customers.affiliates(tx, customer, date(2025, 1, 15))
            assert await customers.obligors(tx, account, date(2025, 1, 15)) == {customer, affiliate}

    async def test_9_1_1_claims_an_affiliate_is_403_with_a_pointer_to_the_customer(self, world: World) -> None:
        customer, _, account = await self._affiliated(world)
        async with world.database.transaction() as tx:
            [legal] = await customers.contacts(tx, customer, "legal")
            [billing] = await customers.contacts(tx, customer, "billing")
            with pytest.raises(Refusal) as caught:
                await customers.require_claimant(tx, account, legal.sid, NOON)
        assert caught.value.status == 403 and caught.value.details is not None
        assert caught.value.details["customer"] == customer
        await world.call("POST", f"/commercial/v1/Customers/{customer}/Accounts/{account}", {"user_sid": None})
        async with world.database.transaction() as tx:
            assert await customers.require_claimant(tx, account, legal.sid, NOON) == customer
            with pytest.raises(Refusal) as caught:
                await customers.require_claimant(tx, account, billing.sid, NOON)
        assert caught.value.status == 403

    async def test_p_15_administrator_changes_and_the_obligor_still_owes(self, world: World) -> None:
        made = await world.sign_up()
        owes, account = made["customer"]["sid"], made["account_sid"]
        reseller = (await world.sign_up(organization_name="R"))["customer"]["sid"]
        path = f"/commercial/v1/Customers/{owes}/Accounts/{account}"
        changed = await world.call(
            "POST", path, {"administrator_sid": reseller, "from_on": "2025-03-01"}, account=account
        )
        assert changed.body["administrator_sid"] == reseller and changed.body["obligors"] == [owes]
        async with world.database.transaction() as tx:
            assert await customers.administrator(tx, owes, account, date(2025, 2, 28)) == owes
            assert await customers.obligors(tx, account, date(2025, 3, 2)) == {owes}
        void = await world.call("POST", path, {"obligor_sid": reseller}, account=account)
        assert void.status == 409 and void.body["state"] == "void"

    async def _affiliated(self, world: World) -> tuple[str, str, str]:
        made = await world.sign_up()
        sid, account = made["customer"]["sid"], made["account_sid"]
        affiliate = (await world.call("POST", "/commercial/v1/Organizations", {"name": "A1", "country": "US"})).body[
            "sid"
        ]
        body = {"parent_sid": sid, "child_sid": affiliate, "percent": "80", "from_on": "2024-01-01"}
        await world.call("POST", "/commercial/v1/Ownerships", body)
        await world.call("POST", f"/commercial/v1/Customers/{sid}/Accounts/{account}", {"user_sid": affiliate})
        return sid, affiliate, account


class TestConduct:
    async def test_1_6_end_user_opt_out_is_stored_against_that_end_user_of_that_customer_only(
        self, world: World
    ) -> None:
        one, other = await world.sign_up(), await world.sign_up()
        body = {"identity": "+14155550100", "kind": "opt_out"}
        await world.call("POST", "/commercial/v1/EndUserMarks", body, account=one["account_sid"])
        async with world.database.transaction() as tx:
            assert await customers.end_user(tx, one["customer"]["sid"], "+14155550100") is not None
            assert await customers.end_user(tx, other["customer"]["sid"], "+14155550100") is None
        listed = await world.call("GET", "/commercial/v1/EndUserMarks", account=other["account_sid"])
        assert listed.body["items"] == []

    async def test_2_2_d_three_confirmed_complaints_make_a_score_of_three(self, world: World) -> None:
        sid = (await world.sign_up())["customer"]["sid"]
        for number in range(4):
            body = {"customer_sid": sid, "identity": f"+1415555010{number}", "kind": "complaint"}
            mark = (await world.call("POST", "/commercial/v1/EndUserMarks", body)).body["sid"]
            if number < 3:
                path = f"/commercial/v1/EndUserMarks/{mark}/Confirmation"
                await world.call("POST", path, {"customer_sid": sid})
        assert (await world.call("GET", f"/commercial/v1/Customers/{sid}/Score")).body["score"] == 3

    async def test_2_2_e_incident_has_its_stamp_and_all_keys_go_in_one_call(self, world: World) -> None:
        made = await world.sign_up()
        account, at = made["account_sid"], moment("2025-03-01T10:00:00+00:00")
        secrets = {}
        async with world.database.transaction() as tx:
            for name in ("one", "two"):
                key, secret = await accounts.create_key(tx, world.vault, account, name, NOON)
                secrets[key.sid] = secret
        body = {"account_sid": account, "description": "a key leaked", "noticed_at": "2025-03-01T09:30:00+00:00"}
        incident = (await world.call("POST", "/commercial/v1/Incidents", body, account=account, at=at)).body
        assert incident["reported_at"] == "2025-03-01T10:00:00Z" and incident["minutes_to_report"] == 30
        path = f"/commercial/v1/Incidents/{incident['sid']}/KeyRevocation"
        assert (await world.refused("POST", path, account=account, credential="standard_key", at=at)).status == 403
        assert (await world.call("POST", path, account=account, at=at)).body["keys_revoked"] == 2
        async with world.database.transaction() as tx:
            for sid, secret in secrets.items():
                assert await accounts.authenticate(tx, sid, secret) is None
            assert await accounts.authenticate(tx, account, made["auth_token"]) is not None
        stranger = (await world.sign_up())["account_sid"]
        assert (await world.refused("POST", path, account=stranger, at=at)).status == 404
        assert (await world.refused("POST", "/commercial/v1/Incidents", body, account=stranger, at=at)).status == 404


class TestAssignments:
    async def test_9_2_consent_missing_leaves_the_owner_and_given_moves_the_accounts(self, world: World) -> None:
        made, to = await world.sign_up(), (await world.sign_up(organization_name="B"))["customer"]["sid"]
        sid, account = made["customer"]["sid"], made["account_sid"]
        asked = await world.call("POST", "/commercial/v1/Assignments", {"to_sid": to}, account=account)
        assert asked.body["state"] == "requested" and await self._owner(world, account) == sid
        path = f"/commercial/v1/Assignments/{asked.body['sid']}/Decision"
        refusal = await world.refused("POST", path, {"customer_sid": sid, "decision": "refuse"})
        assert refusal.status == 422
        decided = await world.call("POST", path, {"customer_sid": sid, "decision": "consent"})
        assert decided.body["state"] == "consented" and await self._owner(world, account) == to
        assert (await world.refused("POST", path, {"customer_sid": sid, "decision": "consent"})).status == 409

    async def test_9_2_free_an_affiliate_by_the_graph_is_approved_without_consent(self, world: World) -> None:
        made, to = await world.sign_up(), (await world.sign_up(organization_name="B"))["customer"]["sid"]
        sid, account = made["customer"]["sid"], made["account_sid"]
        asked = {"to_sid": to, "basis": "affiliate"}
        assert (await world.refused("POST", "/commercial/v1/Assignments", asked, account=account)).status == 422
        await world.call("POST", "/commercial/v1/Ownerships", {"parent_sid": sid, "child_sid": to, "percent": "51"})
        approved = await world.call("POST", "/commercial/v1/Assignments", asked, account=account)
        assert approved.body["state"] == "approved" and await self._owner(world, account) == to

    async def test_10_1_7_a_government_customer_gets_no_automatic_approval(self, world: World) -> None:
        made, to = await world.sign_up(), (await world.sign_up(organization_name="B"))["customer"]["sid"]
        body = {"gov_kind": "us_federal", "evidence": "registry"}
        await world.call("POST", f"/commercial/v1/Customers/{made['customer']['sid']}", body)
        asked = {"to_sid": to, "basis": "successor", "proof": "deed"}
        held = await world.call("POST", "/commercial/v1/Assignments", asked, account=made["account_sid"])
        assert held.body["state"] == "requested"

    async def test_9_2_void_a_forced_owner_change_moves_nothing_and_is_audited(self, world: World) -> None:
        made, to = await world.sign_up(), (await world.sign_up(organization_name="B"))["customer"]["sid"]
        sid, account = made["customer"]["sid"], made["account_sid"]
        path = f"/commercial/v1/Customers/{sid}/Accounts/{account}"
        void = await world.call("POST", path, {"obligor_sid": to})
        assert void.status == 409 and await self._owner(world, account) == sid
        async with world.database.snapshot() as tx:
            trail = [entry.event for entry in await audit.history(tx, sid)]
        assert [(one.aggregate, one.to_state) for one in trail if one.aggregate == "assignment"] == [
            ("assignment", "void")
        ]

    @pytest.mark.parametrize("state", ["requested", "consented", "refused", "approved", "void"])
    @pytest.mark.parametrize("event", ["consent", "refuse", "free", "force"])
    def test_assignments_move_by_the_table_only(self, state: Any, event: str) -> None:
        expected = {"consent": "consented", "refuse": "refused", "free": "approved", "force": "void"}
        move = ASSIGNMENT_MOVES.get((state, event))
        assert (None if move is None else move.next) == (expected[event] if state == "requested" else None)
        if move is not None:
            assert ("move_accounts" in move.effects) == (event in ("consent", "free"))

    async def _owner(self, world: World, account: str) -> str:
        async with world.database.transaction() as tx:
            found = await customers.customer_of(tx, account)
        assert found is not None
        return found.sid


class TestRiders:
    async def test_10_1_scope_a_verified_county_in_texas_has_the_rider(self, world: World) -> None:
        made = await world.sign_up(org_type="government", subdivision="TX", gov_kind="us_state_local")
        assert made["customer"]["riders"] == []
        path = f"/commercial/v1/Customers/{made['customer']['sid']}"
        changed = await world.call("POST", path, {"gov_kind": "us_state_local", "evidence": "county register"})
        assert changed.body["riders"] == ["10.1"]

    async def test_10_3_a_customer_in_brazil_has_the_rider(self, world: World) -> None:
        assert (await world.sign_up(country="BR"))["customer"]["riders"] == ["10.3"]

    async def test_10_4_a_customer_in_japan_has_the_rider(self, world: World) -> None:
        made = await world.sign_up(country="JP", no_antisocial_forces=True)
        assert made["customer"]["riders"] == ["10.4"]

    async def test_10_5_a_member_of_the_programme_has_the_rider_while_it_is_one(self, world: World) -> None:
        sid = (await world.sign_up())["customer"]["sid"]
        path = f"/commercial/v1/Customers/{sid}"
        await world.call("POST", path, {"partner_since": "2025-02-01", "partner_until": "2025-04-02"})
        for on, riders in (("2025-01-31", []), ("2025-02-01", ["10.5"]), ("2025-04-01", ["10.5"]), ("2025-04-02", [])):
            shown = await world.call("GET", f"{path}?on={on}", at=moment("2025-06-01T00:00:00+00:00"))
            assert shown.body["riders"] == riders


class TestRecords:
    async def test_a_new_domicile_leaves_the_old_one_and_asks_counsel(self, world: World) -> None:
        sid = (await world.sign_up())["customer"]["sid"]
        path, at = f"/commercial/v1/Customers/{sid}", moment("2025-05-01T00:00:00+00:00")
        body = {"country": "BR", "from_on": "2025-04-01", "evidence": "extract"}
        await world.call("POST", f"{path}/Domiciles", body, at=at)
        assert (await world.call("GET", f"{path}?on=2025-03-31", at=at)).body["country"] == "US"
        assert (await world.call("GET", f"{path}?on=2025-04-01", at=at)).body["country"] == "BR"
        listed = (await world.call("GET", f"{path}/Domiciles", at=at)).body["items"]
        assert [row["country"] for row in listed] == ["US", "BR"]
        assert [task["kind"] for task in (await world.call("GET", f"{path}/Tasks")).body["items"]] == ["novation"]
        later = {**body, "from_on": "2025-05-02"}
        assert (await world.refused("POST", f"{path}/Domiciles", later, at=at)).status == 422

    async def test_another_customers_contacts_are_not_found(self, world: World) -> None:
        one, other = await world.sign_up(), await world.sign_up()
        body = {"kind": "security", "address": "soc@northwind.example"}
        contact = (await world.call("POST", "/commercial/v1/Contacts", body, account=one["account_sid"])).body
        path = f"/commercial/v1/Contacts/{contact['sid']}"
        assert (await world.refused("DELETE", path, account=other["account_sid"])).status == 404
        asked = f"/commercial/v1/Contacts?customer_sid={one['customer']['sid']}"
        assert (await world.refused("GET", asked, account=other["account_sid"])).status == 404
        await world.call("DELETE", path, account=one["account_sid"])
        async with world.database.transaction() as tx:
            assert await customers.contacts(tx, one["customer"]["sid"], "security") == []
            [owner] = await customers.contacts(tx, one["customer"]["sid"], "owner")
        last = f"/commercial/v1/Contacts/{owner.sid}"
        assert (await world.refused("DELETE", last, account=one["account_sid"])).status == 409
