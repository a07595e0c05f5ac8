"""Agreements against the rows of the terms that are theirs, through their routes."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import Any

import asyncpg
import pytest

from onterms.business import accounts, agreements, customers
from onterms.business.agreements.model import precedence, texts
from onterms.business.agreements.model.binding import EVENTS, MOVES, STATES, Binding, Version, binds_at, move
from onterms.core.calendar import day_of
from onterms.core.db import Database, Tx
from onterms.core.errors import AuthenticationFailed, Refusal
from onterms.core.ids import new_sid
from onterms.core.money import micros
from onterms.core.vault import Vault
from onterms.engines import audit, log
from onterms.engines.api import Account, Caller, OwnReply, OwnRequest, OwnRoute

START = datetime(2022, 1, 3, 9, tzinfo=UTC)
SHIPPED = agreements.shipped_tables()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


class World:
    """Both rooms, wired as an install wires them, and called by their routes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.notices: list[tuple[str, str, str]] = []
        self.forms: list[tuple[str, agreements.FormTerm]] = []
        vault = Vault(bytes(32))
        self.bindings = agreements.Bindings(self.notify)

        async def create_account(tx: Tx, name: str, at: datetime) -> accounts.FirstCredentials:
            return await accounts.create_customer(tx, vault, name, at)

        async def authenticate(authorization: bytes) -> Caller:
            return self.caller(authorization.decode())

        self.signing_up = customers.SigningUp(create_account, self.bindings)
        api = agreements.Api(self.bindings, authenticate, order_forms=self.order_forms)
        self.routes: list[OwnRoute] = api.routes()

    @staticmethod
    def caller(account: str) -> Caller:
        return Caller(Account(account, account, "active", "", False), "token", account)

    async def notify(
        self, tx: Tx, customer_sid: str, kind: str, subject: str, body: str, contact_kind: str, at: datetime
    ) -> str:
        sid = new_sid("NO", at)
        self.notices.append((customer_sid, sid, body))
        return sid

    async def order_forms(
        self, tx: Tx, customer_sid: str, term: str, service: str | None, at: datetime
    ) -> Sequence[agreements.FormTerm]:
        return [form for key, form in self.forms if key == term]

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        account: str | None = None,
        at: datetime = START,
        headers: Mapping[bytes, bytes] | None = None,
    ) -> OwnReply:
        path, _, query = path.partition("?")
        for route in self.routes:
            match = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.pattern), path)
            if match and route.method == method:
                break
        else:
            raise AssertionError(f"no route {method} {path}")
        caller = None if account is None else self.caller(account)
        request = OwnRequest(
            method,
            match.groupdict(),
            dict(pair.split("=", 1) for pair in query.split("&") if pair),
            body or {},
            at,
            caller,
            operator=account is None and route.access != "open",
            headers=headers or {},
        )
        assert route.handler is not None
        async with self.database.transaction() as tx:
            return await route.handler(tx, request)

    async def refused(self, *args: Any, **kwargs: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.call(*args, **kwargs)
        return caught.value

    async def draft(self, document: str, label: str, text: str, at: datetime, **options: Any) -> str:
        body = {"document": document, "label": label, "binding_md": text, **options}
        return str((await self.call("POST", "/commercial/v1/Versions", body, at=at)).body["sid"])

    async def publish(self, document: str, label: str, text: str, at: datetime, **options: Any) -> str:
        days = {name: options.pop(name) for name in list(options) if name.endswith("_on") or name == "parties"}
        sid = await self.draft(document, label, text, at, **options)
        await self.call("POST", f"/commercial/v1/Versions/{sid}/Publication", days, at=at)
        return sid

    async def sign_up(self, at: datetime = START, **changes: Any) -> tuple[str, str]:
        """Return the customer's and the account's SID."""
        async with self.database.transaction() as tx:
            values: dict[str, Any] = {
                "name": "Northwind",
                "country": "US",
                "subdivision": "",
                "org_type": "corporate",
                "size": "other",
                "nonprofit": False,
                "use": "business",
                "email": "owner@northwind.example",
                "accepted_version": await self.bindings.current(tx, "tos", at),
                "consent": customers.Consent("Ann Example", "director", True, "192.0.2.7", "RQ0"),
                "compliance": True,
                "no_antisocial_forces": True,
                "waiver_version": None,
                "served_in": (),
            }
            made = await self.signing_up.sign_up(tx, customers.SignUp(**{**values, **changes}), at)
        return made.customer.sid, made.credentials.account_sid

    async def notify_all(self, version: str, given_on: str, at: datetime) -> None:
        """Send the change notice to everybody and have it arrive on a day."""
        already = len(self.notices)
        async with self.database.transaction() as tx:
            await self.bindings.notify_batch(tx, version, at)
            for _, sid, _ in self.notices[already:]:
                assert await self.bindings.notice_given(tx, sid, date.fromisoformat(given_on), at)

    async def use(self, customer: str, at: datetime) -> int:
        async with self.database.transaction() as tx:
            return await self.bindings.note_use(tx, customer, "RQ7", at)

    async def label(self, customer: str, at: datetime, document: str = "tos") -> str | None:
        async with self.database.snapshot() as tx:
            found = await agreements.version_in_force(tx, customer, at, document)
        return None if found is None else found.label

    async def value(self, customer: str, term: str, at: datetime = START, service: str = "") -> Any:
        tail = f"&service={service}" if service else ""
        path = f"/commercial/v1/Resolve?customer_sid={customer}&term={term}{tail}"
        return (await self.call("GET", path, at=at)).body


@pytest.fixture
async def world(database: Database) -> World:
    world = World(database)
    async with database.transaction() as tx:
        assert await agreements.ensure_template(tx, START)
        assert not await agreements.ensure_template(tx, START)
    return world


FEB, NOV = (
    "### 1: Cure\n\n[10](term:cure_days) days.",
    "### 1: Cure\n\n[15](term:cure_days) days.\n\n### 2: New\n\nMore.",
)


@pytest.fixture
async def two(world: World) -> tuple[World, str, str, str, str]:
    """The text of February 2023, a customer of it, and the text of November 2024."""
    feb = await world.publish("tos", "feb2023", FEB, moment("2023-02-01T00:00:00"))
    customer, account = await world.sign_up(moment("2024-11-11T23:59:59"))
    nov = await world.publish(
        "tos", "nov2024", NOV, moment("2024-11-12T00:00:00"), existing_effective_on="2024-12-19", summary_md="20 days"
    )
    return world, feb, nov, customer, account


Two = tuple[World, str, str, str, str]


class TestVersions:
    async def test_p_0_an_imprint_is_read_as_of_a_day(self, world: World) -> None:
        await world.publish("imprint", "v1", "first", moment("2024-12-01T00:00:00"), material=False)
        await world.publish("imprint", "v2", "second", moment("2025-01-10T08:00:00"), material=False)
        at = moment("2025-02-01T00:00:00")
        for as_of, words in (("2025-01-09", b"first"), ("2025-01-10", b"second")):
            assert (await world.call("GET", f"/legal/imprint?as_of={as_of}", at=at)).raw == words
        assert (await world.refused("GET", "/legal/imprint?as_of=2024-11-30", at=at)).status == 404

    async def test_p_1_an_edit_of_a_published_version_is_409_and_the_hash_stays(self, two: Two) -> None:
        world, _, nov, _, _ = two
        before = (await world.call("GET", f"/commercial/v1/Versions/{nov}")).body["sha256"]
        refusal = await world.refused("POST", f"/commercial/v1/Versions/{nov}", {"binding_md": "other"})
        assert refusal.status == 409 and refusal.details is not None and refusal.details["clause"] == "P.1"
        assert (await world.call("GET", f"/commercial/v1/Versions/{nov}")).body["sha256"] == before
        for sql in ("UPDATE document_versions SET binding_md = 'x' WHERE sid = $1",
                    "DELETE FROM document_versions WHERE sid = $1"):  # fmt: skip
            async with world.database.transaction() as tx:
                with pytest.raises(asyncpg.RaiseError):
                    async with tx.savepoint():
                        await tx.execute(sql, nov)

    async def test_p_1_nothing_is_published_in_the_past(self, world: World) -> None:
        sid = await world.draft("imprint", "v", "words", moment("2025-01-10T00:00:00"))
        refusal = await world.refused(
            "POST", f"/commercial/v1/Versions/{sid}/Publication", {"published_on": "2025-01-09"},
            at=moment("2025-01-10T00:00:00"),
        )  # fmt: skip
        assert refusal.status == 422

    async def test_p_2_a_sign_up_on_the_day_of_publication_is_bound_from_that_second(self, two: Two) -> None:
        world, *_ = two
        at = moment("2024-11-12T00:00:00")
        customer, _ = await world.sign_up(at)
        assert await world.label(customer, at) == "nov2024"
        assert await world.label(customer, moment("2024-11-11T23:59:59")) is None

    async def test_p_2_a_version_of_a_later_day_waits_for_it(self, world: World) -> None:
        at = moment("2025-01-01T00:00:00")
        sid = await world.publish("tos", "later", NOV, at, published_on="2025-01-05")
        customer, _ = await world.sign_up(moment("2025-01-04T00:00:00"))
        assert await world.label(customer, moment("2025-01-04T00:00:00")) == "template"
        await _run(world, "agreements.publish", {"version_sid": sid}, moment("2025-01-05T00:00:00"))
        other, _ = await world.sign_up(moment("2025-01-05T00:00:00"))
        assert await world.label(other, moment("2025-01-05T00:00:00")) == "later"

    async def test_p_3_earlier_acceptors_move_on_the_later_day(self, two: Two) -> None:
        world, _, nov, customer, _ = two
        await world.notify_all(nov, "2024-11-13", moment("2024-11-13T10:00:00"))
        assert await world.use(customer, moment("2024-12-18T23:59:59")) == 0
        assert await world.label(customer, moment("2024-12-18T23:59:59")) == "feb2023"
        assert await world.use(customer, moment("2024-12-19T00:00:00")) == 1
        assert await world.label(customer, moment("2024-12-19T00:00:00")) == "nov2024"
        assert await world.label(customer, moment("2024-12-18T23:59:59")) == "feb2023"

    async def test_p_4_the_change_notice_lists_changed_clauses_with_old_and_new_text(self, two: Two) -> None:
        world, feb, nov, _, account = two
        shown = (await world.call("GET", f"/commercial/v1/Versions/{nov}/Changes?against={feb}", account=account)).body
        assert [(one["clause"], one["change"]) for one in shown["changes"]] == [("1", "changed"), ("2", "added")]
        assert (shown["changes"][0]["old"], shown["changes"][0]["new"]) == ("10 days.", "15 days.")
        assert shown["changes"][0]["lines"] == ["-10 days.", "+15 days."]
        await world.notify_all(nov, "2024-11-13", moment("2024-11-13T10:00:00"))
        assert "- 1: changed" in world.notices[0][2]

    async def test_p_5_the_earlier_text_is_retrievable_with_its_hash_and_nothing_deletes_it(self, two: Two) -> None:
        world, feb, _, _, _ = two
        page = await world.call("GET", f"/legal/tos/versions/{feb}")
        assert page.status == 200 and page.raw == texts.plain(FEB).encode()
        assert ("X-Version-Sha256", texts.sha256(FEB)) in page.headers
        listed = (await world.call("GET", "/legal/tos/versions")).body["items"]
        assert [row["label"] for row in listed] == ["nov2024", "feb2023", "template"]
        assert not [route for route in world.routes if route.method == "DELETE"]

    async def test_p_7_the_binding_text_is_resolved_and_searched_and_the_summary_is_not(self, two: Two) -> None:
        world, _, nov, _, _ = two
        customer, _ = await world.sign_up(moment("2024-11-12T00:00:00"))
        assert (await world.value(customer, "cure_days", moment("2024-11-12T00:00:00")))["value"] == "15"
        path = f"/commercial/v1/Versions/{nov}/Clauses"
        assert [row["clause"] for row in (await world.call("GET", f"{path}?search=15 DAYS")).body["items"]] == ["1"]
        assert (await world.call("GET", f"{path}?search=20")).body["items"] == []

    async def test_p_12_notice_on_25_november_moves_the_day_to_25_december(self, two: Two) -> None:
        world, _, nov, customer, _ = two
        await world.notify_all(nov, "2024-11-25", moment("2024-11-25T10:00:00"))
        at = moment("2024-12-24T23:59:59")
        shown = (await world.call("GET", f"/commercial/v1/Agreements?customer_sid={customer}", at=at)).body
        [coming] = [row for row in shown["pending"] if row["document"] == "tos"]
        assert (coming["state"], coming["effective_on"]) == ("noticed", "2024-12-25")
        assert await world.use(customer, at) == 0 and await world.use(customer, moment("2024-12-25T00:00:00")) == 1

    async def test_p_12_without_notice_or_with_a_bounced_one_nothing_takes_effect(self, two: Two) -> None:
        world, _, nov, customer, _ = two
        late = moment("2025-06-01T00:00:00")
        assert await world.use(customer, late) == 0
        await world.notify_all(nov, "2024-11-25", moment("2024-11-25T10:00:00"))
        async with world.database.transaction() as tx:
            assert await world.bindings.notice_void(tx, world.notices[0][1], moment("2024-11-26T00:00:00"))
            assert not await world.bindings.notice_void(tx, new_sid("NO", START), START)
        assert await world.use(customer, late) == 0 and await world.label(customer, late) == "feb2023"
        await world.notify_all(nov, "2025-06-01", late)
        assert await world.use(customer, moment("2025-06-30T23:59:59")) == 0
        assert await world.use(customer, moment("2025-07-01T00:00:00")) == 1

    async def test_p_12_publishing_a_material_change_with_29_days_is_422(self, world: World) -> None:
        at = moment("2025-03-01T00:00:00")
        path = f"/commercial/v1/Versions/{await world.draft('tos', 'v', NOV, at)}/Publication"
        refusal = await world.refused("POST", path, {"existing_effective_on": "2025-03-30"}, at=at)
        assert refusal.status == 422 and refusal.details is not None and refusal.details["earliest"] == "2025-03-31"
        assert (await world.call("POST", path, {"existing_effective_on": "2025-03-31"}, at=at)).status == 200

    async def test_p_12x_a_carriers_change_binds_everyone_on_its_day_and_needs_evidence(self, two: Two) -> None:
        world, _, _, customer, _ = two
        at = moment("2025-02-10T00:00:00")
        body = {"document": "tos", "label": "carrier", "binding_md": NOV, "exempt_reason": "carrier"}
        assert (await world.refused("POST", "/commercial/v1/Versions", body, at=at)).status == 422
        sid = await world.publish(
            "tos",
            "carrier",
            NOV,
            at,
            exempt_reason="carrier",
            exempt_evidence="letter",
            existing_effective_on="2025-02-15",
        )
        await _run(world, "agreements.notify", {"version_sid": sid}, at)
        assert [row[0] for row in world.notices] == [customer]
        assert await world.label(customer, moment("2025-02-14T23:59:59")) == "feb2023"
        assert await world.label(customer, moment("2025-02-15T00:00:00")) == "carrier"
        await _run(world, "agreements.reach", {"version_sid": sid}, moment("2025-02-15T00:00:00"))
        assert await world.use(customer, moment("2025-02-20T00:00:00")) == 1
        assert await world.label(customer, moment("2025-02-15T00:00:00")) == "carrier"

    async def test_p_13_the_first_use_after_the_day_is_stamped_and_none_before(self, two: Two) -> None:
        world, _, nov, customer, account = two
        await world.notify_all(nov, "2024-11-13", moment("2024-11-13T10:00:00"))
        await _run(world, "agreements.reach", {"version_sid": nov}, moment("2024-12-19T00:00:00"))
        assert await world.label(customer, moment("2025-02-03T07:59:59")) == "feb2023"
        at = moment("2025-02-03T08:00:00")
        assert await world.use(customer, at) == 1 and await world.use(customer, moment("2025-02-03T08:00:30")) == 0
        items = (await world.call("GET", "/commercial/v1/Acceptances", account=account)).body["items"]
        [stamp] = [row for row in items if row["mode"] == "continued_use"]
        assert (stamp["accepted_at"], stamp["request_id"], stamp["version_sid"]) == ("2025-02-03T08:00:00Z", "RQ7", nov)
        assert world.bindings.is_quiet(customer, moment("2025-02-03T08:00:31"))

    async def test_p_13_declining_begins_the_wind_down_and_use_accepts_nothing(self, two: Two) -> None:
        world, _, nov, customer, account = two
        await world.notify_all(nov, "2024-11-13", moment("2024-11-13T10:00:00"))
        at = moment("2024-12-01T00:00:00")
        await world.call("POST", "/commercial/v1/Declines", {"version_sid": nov}, account=account, at=at)
        async with world.database.snapshot() as tx:
            told = [event.type for event in await log.timeline(tx, account, customer)]
            assert await agreements.is_bound(tx, customer, moment("2024-12-18T23:59:59"))
            assert not await agreements.is_bound(tx, customer, moment("2024-12-19T00:00:00"))
        assert agreements.AGREEMENT_DECLINED in told
        assert await world.use(customer, moment("2024-12-20T00:00:00")) == 0
        body = {"version_sid": nov, "signer_name": "Ann", "signer_role": "director", "authority": True}
        await world.call("POST", "/commercial/v1/Acceptances", body, account=account, at=moment("2024-12-21T00:00:00"))
        async with world.database.snapshot() as tx:
            assert await agreements.is_bound(tx, customer, moment("2024-12-21T00:00:00"))

    async def test_p_14_each_customer_sees_the_text_that_binds_it(self, two: Two) -> None:
        world, _, _, _, old = two
        _, new = await world.sign_up(moment("2024-11-20T00:00:00"))
        at = moment("2024-12-01T00:00:00")
        for account, words in ((old, FEB), (new, NOV)):
            page = await world.call(
                "GET", "/legal/tos?customer=me", at=at, headers={b"authorization": account.encode()}
            )
            assert page.raw == texts.plain(words).encode()
        assert (await world.call("GET", "/legal/tos", at=at)).raw == texts.plain(NOV).encode()
        with pytest.raises(AuthenticationFailed):
            await world.call("GET", "/legal/tos?customer=me", at=at)


async def _run(world: World, task: str, payload: dict[str, Any], at: datetime) -> None:
    """Run the room's handler on a job, as a worker does."""
    handlers: dict[str, Any] = {}
    done: list[Any] = []

    class Recorder:
        def register(self, name: str, handler: Any) -> None:
            handlers[name] = handler

    class Run:
        clock = type("At", (), {"now": staticmethod(lambda: at)})
        transaction = world.database.transaction

        async def complete(self, tx: Tx, jobs: Any) -> None:
            done.extend(jobs)

    recorder: Any = Recorder()
    agreements.Tasks(world.bindings).register(recorder)
    job = type("Job", (), {"payload": payload})()
    await handlers[task](Run(), [job])
    assert done == [job]


class TestBundle:
    async def test_p_9_a_separate_agreement_governs_the_service_it_covers(self, world: World) -> None:
        customer, _ = await world.sign_up()
        body = {
            "customer_sid": customer,
            "title": "MSA",
            "services": ["voice"],
            "from_on": "2025-01-01",
            "binding_md": "### 1: Due\n\n[45](term:net_days) days",
        }
        await world.call("POST", "/commercial/v1/Agreements", body)
        at = moment("2025-01-05T00:00:00")
        sms, call = (
            await world.value(customer, "net_days", at, "sms"),
            await world.value(customer, "net_days", at, "voice"),
        )
        assert (sms["agreement"], sms["value"]) == ("online", "30")
        assert (call["agreement"], call["value"]) == ("separate", "45")
        assert (await world.value(customer, "net_days", moment("2024-12-31T00:00:00"), "voice"))["value"] == "30"
        silent = await world.value(customer, "cure_days", at, "voice")
        assert (silent["value"], silent["result"]) == (None, "undecided")

    async def test_p_10_the_bundle_keeps_the_addendum_of_acceptance_until_the_next_binds(self, world: World) -> None:
        await world.publish("dpa", "v3", "### D: x\n\nthree", moment("2024-01-01T00:00:00"), material=False)
        customer, account = await world.sign_up(moment("2024-02-01T00:00:00"))
        [tos] = [
            row
            for row in (await world.call("GET", "/commercial/v1/Acceptances", account=account)).body["items"]
            if row["document"] == "tos"
        ]
        assert {"tos", "dpa", "aup", "sla", "security", "support", "docs", "country_terms"} == tos["bundle"].keys()
        v4 = await world.publish("dpa", "v4", "### D: x\n\nfour", moment("2024-03-01T00:00:00"))
        await world.notify_all(v4, "2024-03-02", moment("2024-03-02T00:00:00"))
        await world.use(customer, moment("2024-04-05T00:00:00"))
        assert await world.label(customer, moment("2024-04-04T23:59:59"), "dpa") == "v3"
        assert await world.label(customer, moment("2024-04-05T00:00:00"), "dpa") == "v4"
        async with world.database.snapshot() as tx:
            assert tos["bundle"]["dpa"] != v4 and await audit.verify(tx, customer) is None

    async def test_8_1_acceptance_makes_the_agreement_active(self, world: World) -> None:
        _, account = await world.sign_up()
        [held] = (await world.call("GET", "/commercial/v1/Agreements", account=account)).body["agreements"]
        assert (held["kind"], held["state"], held["effective_at"]) == ("online", "active", "2022-01-03T09:00:00Z")

    async def test_1_5_documentation_the_documentation_of_a_past_day_is_found(self, world: World) -> None:
        await world.publish("docs", "1.4", "### D: 1.4\n\nx", moment("2025-04-01T00:00:00"), material=False)
        await world.publish("docs", "1.5", "### D: 1.5\n\ny", moment("2025-06-01T00:00:00"), material=False)
        async with world.database.snapshot() as tx:
            assert (await agreements.public_version(tx, "docs", date(2025, 5, 10))).label == "1.4"

    async def test_1_14_dpa_the_addendums_retention_wins_over_the_body(self, world: World) -> None:
        await world.publish("tos", "t", "### 4: x\n\n[30](term:retention_days)", moment("2024-01-01T00:00:00"))
        customer, _ = await world.sign_up(moment("2024-01-01T00:00:00"))
        assert (await world.value(customer, "retention_days", moment("2024-01-01T00:00:00")))["value"] == "90"

    async def test_1_16_sla_months_before_a_new_threshold_use_the_old_one(self, world: World) -> None:
        customer, _ = await world.sign_up()
        words = "### SLA.1: x\n\n[99.99](term:sla.threshold_percent)"
        await world.publish("sla", "v2", words, moment("2025-05-01T00:00:00"), material=False)
        await world.use(customer, moment("2025-05-01T00:00:00"))
        for at, threshold in ((moment("2025-04-30T23:00:00"), "99.95"), (moment("2025-05-01T00:00:00"), "99.99")):
            assert (await world.value(customer, "sla.threshold_percent", at))["value"] == threshold

    async def test_1_17_fees_are_defined_in_3_3(self, world: World) -> None:
        sid = (await world.call("GET", "/commercial/v1/Versions")).body["items"][0]["sid"]
        words = (await world.call("GET", f"/commercial/v1/Versions/{sid}/Glossary")).body["words"]
        assert words["Fees"].split()[0] == "3.3" and words["Affiliate"] == "1.1 Affiliate"


class TestPrecedence:
    async def test_9_9_order_an_order_form_beats_the_body_and_the_addendum_too(self, world: World) -> None:
        customer, _ = await world.sign_up()
        world.forms = [("net_days", agreements.FormTerm("OF-1", "45", START))]
        found = await world.value(customer, "net_days")
        assert found["value"] == "45" and found["source"] == "OF-1"
        assert [line.split(":")[0] for line in found["trace"][:2]] == ["rank 1", "rank 3"]
        await world.publish("dpa", "60", "### D: x\n\n[60](term:limit)", moment("2024-01-01T00:00:00"))
        await world.publish("tos", "90", "### 5: x\n\n[90](term:limit)", moment("2024-01-01T00:00:00"))
        other, _ = await world.sign_up(moment("2024-01-01T00:00:00"))
        assert (await world.value(other, "limit", moment("2024-01-01T00:00:00")))["value"] == "60"

    async def test_9_9_order_of_two_order_forms_the_later_signature_wins_and_is_flagged(self, world: World) -> None:
        customer, _ = await world.sign_up()
        later = moment("2022-02-01T00:00:00")
        world.forms = [
            ("net_days", agreements.FormTerm("OF-2", "60", later)),
            ("net_days", agreements.FormTerm("OF-1", "45", START)),
        ]
        found = await world.value(customer, "net_days")
        assert (found["value"], found["flags"]) == ("60", ["order_forms_in_conflict"])

    @pytest.mark.parametrize(("winner", "loser"), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)])
    def test_9_9_order_each_rank_beats_the_next_whatever_the_order_given(self, winner: int, loser: int) -> None:
        high, low = precedence.Candidate(winner, "a", "A", "1"), precedence.Candidate(loser, "b", "B", "1")
        assert precedence.decide("t", [high, low]).value == precedence.decide("t", [low, high]).value == "a"

    async def test_9_11_entire_a_sales_email_is_ignored(self, world: World) -> None:
        customer, account = await world.sign_up()
        await self._attach(world, account, "sales_email", "[5](term:net_days) days")
        found = await world.value(customer, "net_days")
        assert found["value"] == "30" and any("no part of the contract" in line for line in found["trace"])

    async def test_9_11_po_of_net_90_leaves_net_30_even_signed(self, world: World) -> None:
        customer, account = await world.sign_up()
        kept = await self._attach(world, account, "purchase_order", "[90](term:net_days) days", signed=True)
        assert kept["void"] is True and (await world.value(customer, "net_days"))["value"] == "30"

    async def test_9_10_a_struck_clause_is_shown_with_its_reason_and_resolves_nothing(self, world: World) -> None:
        customer, _ = await world.sign_up()
        sid = (await world.call("GET", "/commercial/v1/Versions")).body["items"][0]["sid"]
        body = {"clause": "3.3.2(b)", "reason": "held void", "decided_by": "counsel"}
        await world.call("POST", f"/commercial/v1/Versions/{sid}/Overrides", body)
        [shown] = (await world.call("GET", f"/commercial/v1/Versions/{sid}/Clauses?search=3.3.2(b)")).body["items"]
        assert (shown["struck"], shown["reason"]) == (True, "held void")
        page = (await world.call("GET", "/legal/tos", headers={b"accept": b"text/html"})).raw or b""
        assert b"<del>It is due 30 days after its date.</del>" in page and b"Not enforced: held void" in page
        assert (await world.value(customer, "net_days"))["value"] is None

    async def test_10_1_12_the_government_rider_beats_an_order_form(self, world: World) -> None:
        customer, at = await self._riders(world, gov_kind="us_federal", org_type="government")
        world.forms = [("x", agreements.FormTerm("OF-1", "form", START))]
        found = await world.value(customer, "x", at)
        assert (found["value"], found["clause"]) == ("gov", "10.1.3")

    async def test_10_4_8_the_japanese_rider_beats_an_order_form_and_its_currency_yields(self, world: World) -> None:
        plain, _ = await world.sign_up(country="JP")
        assert (await world.value(plain, "currency"))["value"] == "JPY"
        world.forms = [("currency", agreements.FormTerm("OF-1", "USD", START))]
        assert (await world.value(plain, "currency"))["value"] == "USD"
        customer, at = await self._riders(world, country="JP")
        world.forms = [("x", agreements.FormTerm("OF-1", "form", START))]
        assert (await world.value(customer, "x", at))["value"] == "japan"

    async def test_10_5_5_two_prevailing_riders_in_conflict_are_undecided_with_a_legal_task(self, world: World) -> None:
        customer, at = await self._riders(world, gov_kind="us_federal", org_type="government", partner=True)
        for _ in range(2):
            found = await world.value(customer, "x", at)
            assert (found["value"], found["result"]) == (None, "undecided")
        [task] = (await world.call("GET", f"/commercial/v1/LegalTasks?customer_sid={customer}")).body["items"]
        assert task["clause"] == "10.5.5"

    async def _riders(self, world: World, *, partner: bool = False, **who: Any) -> tuple[str, datetime]:
        at = moment("2024-01-01T00:00:00")
        words = "### 5: a\n\n[body](term:x)\n\n" + "\n\n".join(
            f"### {clause}: b\n\n[{value}](term:x)"
            for clause, value in (("10.1.3", "gov"), ("10.4.2", "japan"), ("10.5.2", "partner"))
        )
        await world.publish("tos", "riders", words, at)
        customer, _ = await world.sign_up(at, **who)
        async with world.database.transaction() as tx:
            await tx.execute(
                "UPDATE customers SET gov_verified_at = CASE WHEN gov_kind IS NULL THEN NULL ELSE $2::timestamptz END,"
                " partner_since = $3 WHERE customer_sid = $1",
                customer, at, day_of(at) if partner else None,
            )  # fmt: skip
        return customer, at

    async def _attach(self, world: World, account: str, kind: str, text: str, **more: Any) -> Any:
        body = {"kind": kind, "reference": "4711", "text": text, **more}
        return (await world.call("POST", "/commercial/v1/Attachments", body, account=account)).body


class TestParties:
    def test_every_country_is_in_the_table_exactly_once(self) -> None:
        rows = agreements.shipped_rows()
        assert len(rows) == len({row.country for row in rows}) == len(SHIPPED.countries()) == 249
        for country in SHIPPED.countries():
            for government in (None, "us_federal", "us_state_local"):
                assert SHIPPED.contracting_entity(country) in ("default", "europe", "japan")
                assert SHIPPED.governing_law(country, government)

    def test_p_11_norway_has_the_european_san_marino_the_default_japan_its_own_entity(self) -> None:
        assert [SHIPPED.contracting_entity(one) for one in ("NO", "SM", "JP")] == ["europe", "default", "japan"]
        assert {SHIPPED.contracting_entity(one) for one in ("GB", "CH", "AD", "VA", "MC", "IS")} == {"europe"}

    async def test_p_11_the_table_follows_the_version_that_binds(self, world: World) -> None:
        old, _ = await world.sign_up(country="SM")
        tables = {**SHIPPED.data, "groups": {**SHIPPED.data["groups"], "SM": "EUROPE"}}
        at = moment("2024-01-01T00:00:00")
        await world.publish("tos", "v2", NOV, at, parties=tables)
        new, _ = await world.sign_up(at, country="SM")
        for customer, key in ((old, "default"), (new, "europe")):
            shown = (await world.call("GET", f"/commercial/v1/Agreements?customer_sid={customer}", at=at)).body
            assert shown["contracting_entity"]["key"] == key
        broken = {**SHIPPED.data, "groups": {"SM": "NOWHERE"}}
        sid = await world.draft("tos", "v3", NOV, at)
        path = f"/commercial/v1/Versions/{sid}/Publication"
        assert (await world.refused("POST", path, {"parties": broken}, at=at)).status == 422

    def test_9_6_law_australia_has_singapore_law_though_the_default_entity_contracts(self) -> None:
        assert SHIPPED.governing_law("AU") == "Singapore" and SHIPPED.contracting_entity("AU") == "default"
        laws = [SHIPPED.governing_law(one) for one in ("US", "DE", "BR", "JP")]
        assert laws == ["State of California", "England and Wales", "Brazil", "Japan"]

    def test_9_6_courts_brazil_has_sao_paulo(self) -> None:
        assert "São Paulo" in (SHIPPED.courts("BR") or "") and SHIPPED.courts("JP") == "Tokyo District Court"
        assert "London" in (SHIPPED.courts("FR") or "") and "San Francisco" in (SHIPPED.courts("SM") or "")

    async def test_9_7_arbitrate_a_customer_of_the_united_states_goes_to_jams_in_san_francisco(
        self, world: World
    ) -> None:
        customer, _ = await world.sign_up()
        found = await self._forum(world, customer, "first_request_on=2025-03-01")
        assert (found["route"], found["body"], found["seat"]) == ("arbitration", "JAMS", "San Francisco")
        assert (found["arbitrators"], found["language"], found["not_before"]) == (1, "English", "2025-04-01")
        agreed = await self._forum(world, customer, "first_request_on=2025-03-01&agreed_until=2025-05-31")
        assert agreed["not_before"] == "2025-06-01"

    def test_9_7_seat_singapore_in_singapore_and_san_marino_in_san_francisco(self) -> None:
        assert [SHIPPED.seat(one) for one in ("SG", "SM", "DE")] == ["Singapore", "San Francisco", "London"]

    async def test_9_7_ip_goes_to_court_at_once_but_in_brazil(self, world: World) -> None:
        american, _ = await world.sign_up()
        found = await self._forum(world, american, "kind=ip&first_request_on=2025-03-01")
        assert (found["route"], found["not_before"]) == ("litigation", "2025-03-01")
        brazilian, _ = await world.sign_up(country="BR")
        found = await self._forum(world, brazilian, "kind=ip&first_request_on=2025-03-01&amount_usd=200000")
        assert (found["body"], found["not_before"]) == ("CAM-CCBC", "2025-04-01")

    @pytest.mark.parametrize(("amount", "route"), [("199999.99", "litigation"), ("200000.00", "arbitration")])
    def test_10_3_1_brazil_by_amount(self, amount: str, route: str) -> None:
        case = agreements.Case("contract", date(2025, 3, 1), micros(amount))
        assert SHIPPED.forum(case, "BR").route == route
        assert SHIPPED.forum(agreements.Case("contract", date(2025, 3, 1)), "BR").route == "undecided"

    def test_10_1_8_a_county_in_texas_has_its_states_law_and_no_court(self) -> None:
        assert SHIPPED.governing_law("US", "us_state_local", "TX") == "Texas"
        assert SHIPPED.governing_law("US", "us_federal", "TX") == "United States federal law"
        assert SHIPPED.courts("US", "us_state_local") is None and SHIPPED.seat("US", "us_state_local") is None

    def test_10_1_9_government_seeks_relief_after_30_days_without_jams(self) -> None:
        found = SHIPPED.forum(agreements.Case("contract", date(2025, 3, 1)), "US", "us_state_local", "TX")
        assert (found.route, found.body, found.not_before) == ("relief", None, date(2025, 4, 1))

    def test_10_4_7_japan_goes_to_the_tokyo_district_court_after_30_days(self) -> None:
        found = SHIPPED.forum(agreements.Case("contract", date(2025, 3, 1)), "JP")
        assert (found.body, found.not_before) == ("Tokyo District Court", date(2025, 4, 1))

    async def _forum(self, world: World, customer: str, query: str) -> Any:
        return (await world.call("GET", f"/commercial/v1/Forum?customer_sid={customer}&{query}")).body


class TestSurvival:
    async def test_8_3_exactly_the_surviving_set_is_in_effect_after_the_end(self, world: World) -> None:
        customer, _ = await world.sign_up(country="BR")
        async with world.database.transaction() as tx:
            everything = await agreements.effective_clauses(tx, customer, START)
            [held] = await agreements.agreements(tx, customer)
            assert await agreements.end_agreement(tx, customer, held["sid"], START)
            left = await agreements.effective_clauses(tx, customer, START)
        kept = {re.match(r"[\d.]+\d(\(c\))?", one)[0] for one in left if one.startswith(("2", "5", "8", "10"))}  # type: ignore[index]
        assert kept == {"2.1(c)", "5.5", "8.3", "10.3", "10.3.1"}
        for section in ("3", "4", "6", "7", "9"):
            assert [one for one in left if one.startswith(section)] == [
                one for one in everything if one.startswith(section)
            ]
        assert not [one for one in everything if one.startswith(("10.1", "10.2", "10.4", "10.5"))]

    def test_8_3_a_number_that_begins_alike_is_another_clause(self) -> None:
        assert agreements.survives("5.5 beta") and agreements.survives("3.3.2(i)") and agreements.survives("9.11 PO")
        assert not any(agreements.survives(one) for one in ("5.51", "33", "8.2.1", "2.1(a)", "10.3", "1.3"))
        assert agreements.survives("10.3.1", ["10.3"]) and not agreements.survives("10.3.1", ["10.30"])


class TestTable:
    def test_every_row_leads_to_a_state_and_its_guards_are_told_apart(self) -> None:
        for exempt, material in ((None, True), (None, False), ("law", True)):
            version = _version(exempt, material)
            for state in STATES:
                for event in EVENTS:
                    found = move(state, event, version)
                    assert found is None or found in MOVES[state, event]

    @pytest.mark.parametrize(
        ("exempt", "material", "state", "event", "expected"),
        [
            (None, True, "pending", "notice_given", "noticed"),
            (None, True, "pending", "day_reached", None),
            (None, False, "pending", "day_reached", "effective"),
            ("law", True, "pending", "day_reached", "exempt_effective"),
            (None, True, "pending", "use", None),
            (None, True, "pending", "accept", "accepted"),
            (None, True, "pending", "decline", "declined"),
            (None, True, "noticed", "notice_void", "pending"),
            (None, True, "noticed", "day_reached", "effective"),
            ("law", True, "noticed", "day_reached", "exempt_effective"),
            (None, True, "noticed", "use", None),
            (None, True, "noticed", "accept", "accepted"),
            (None, True, "noticed", "decline", "declined"),
            (None, True, "effective", "notice_void", "pending"),
            (None, False, "effective", "notice_void", None),
            (None, True, "effective", "use", "accepted"),
            (None, True, "effective", "accept", "accepted"),
            (None, True, "effective", "decline", "declined"),
            ("law", True, "exempt_effective", "use", "accepted"),
            ("law", True, "exempt_effective", "accept", "accepted"),
            ("law", True, "exempt_effective", "decline", "declined"),
            (None, True, "declined", "use", None),
            (None, True, "declined", "accept", "accepted"),
            (None, True, "accepted", "decline", None),
        ],
    )
    def test_a_binding_moves_by_the_table(
        self, exempt: str | None, material: bool, state: Any, event: Any, expected: str | None
    ) -> None:
        found = move(state, event, _version(exempt, material))
        assert (None if found is None else found.next) == expected

    @pytest.mark.parametrize(
        ("declined", "accepted", "expected"),
        [
            (None, None, (3, 0)),
            ((2, 12), None, None),
            ((3, 12), None, (3, 0)),
            ((2, 12), (5, 9), (5, 9)),
            ((4, 12), (5, 9), (3, 0)),
        ],
    )
    def test_declining_an_exempt_version_after_its_day_leaves_what_governed_before_as_it_was(
        self, declined: tuple[int, int] | None, accepted: tuple[int, int] | None, expected: tuple[int, int] | None
    ) -> None:
        def at(day_and_hour: tuple[int, int] | None) -> datetime | None:
            return None if day_and_hour is None else datetime(2030, 5, *day_and_hour, tzinfo=UTC)

        state: Any = "accepted" if accepted else "declined" if declined else "exempt_effective"
        binding = Binding("OR", "VR", "tos", state, None, None, date(2030, 5, 3), at(declined))
        assert binds_at(_version("law", True), binding, at(accepted)) == at(expected)


def _version(exempt: str | None, material: bool) -> Version:
    return Version(
        "VR", "tos", "v", "published", 1, None, None, None, material, exempt, exempt, "", "", "", "", START, START
    )


class TestTemplate:
    def test_every_shipped_text_has_clauses_a_note_for_counsel_and_no_two_values(self) -> None:
        folder = files("onterms.business.agreements").joinpath("data", "template")
        found = {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".md")}
        whole = {name: text for name, text in found.items() if not name.endswith(".summary.md")}
        assert len(whole) == 10 and len(found) == 20
        for name, text in whole.items():
            assert texts.twice_stated(text) is None, name
            assert all(clause.text for clause in texts.clauses(text) if clause.id), name
        assert "counsel" in whole["tos.md"].split("###")[0]
        ids = [clause.id for clause in texts.clauses(whole["tos.md"]) if clause.id]
        assert len(ids) == len(set(ids)) == 205

    @pytest.mark.parametrize("clause", [
        "P.0", "P.16", "1.4 Customer Services", "1.15 Security Overview", "1.17 other terms", "2.1(f)", "2.2(g)",
        "2.4 functionality", "2.4 compat", "4.1 operator owns", "4.2 quality", "4.3.2 people", "4.3.4", "5.2(b)",
        "5.2 licences", "5.5 as is", "5.5 carriers", "5.5 transit", "6.4", "9.1.1 authority", "9.3", "9.4", "9.6 CISG",
        "9.6 costs", "9.9 headings", "9.9 waiver", "9.10", "10.1.10", "10.1.11", "10.4.5", "F.1",
    ])  # fmt: skip
    async def test_record_only_clause_is_shown_with_its_words(self, world: World, clause: str) -> None:
        words = ((await world.call("GET", "/legal/tos")).raw or b"").decode()
        [found] = [one for one in texts.clauses(words) if one.id == clause]
        assert len(found.text) > 20
        if clause == "P.16":
            assert "Let your ideas roam" in found.text

    async def test_1_12_aup_and_1_15_linked_texts_are_shown_with_version_and_hash(self, world: World) -> None:
        for document in ("aup", "security", "dpa", "sla", "support", "country_terms"):
            page = await world.call("GET", f"/legal/{document}")
            assert page.raw and {name for name, _ in page.headers} == {"X-Version-Sid", "X-Version-Sha256"}

    async def test_the_first_customer_is_bound_by_the_template_once(self, world: World) -> None:
        async with world.database.transaction() as tx:
            made = await accounts.create_customer(tx, Vault(bytes(32)), "First", START)
            first = await agreements.ensure_first_customer(tx, world.bindings, made.account_sid, START)
            again = await agreements.ensure_first_customer(tx, world.bindings, made.account_sid, START)
            assert first == again and await agreements.is_bound(tx, first.sid, START)
            [tos] = [one for one in await agreements.acceptances(tx, first.sid) if one.document == "tos"]
        assert (tos.mode, tos.actor) == ("click", "first start of this install")

    async def test_html_of_a_text_runs_no_markup_of_its_words(self, world: World) -> None:
        await world.publish("imprint", "v", "### 1: <b>x\n\n<script>alert(1)</script>", START, material=False)
        page = (await world.call("GET", "/legal/imprint", headers={b"accept": b"text/html"})).raw or b""
        assert b"<script>" not in page and b"<b>" not in page

    async def test_a_draft_is_no_customers_to_read(self, world: World) -> None:
        _, account = await world.sign_up()
        sid = await world.draft("tos", "secret", NOV, START)
        for path in (f"/commercial/v1/Versions/{sid}", f"/commercial/v1/Versions/{sid}/Changes"):
            assert (await world.refused("GET", path, account=account)).status == 404
        assert (await world.refused("GET", f"/legal/tos/versions/{sid}")).status == 404

    async def test_two_uses_or_clicks_at_once_are_one_acceptance(self, two: Two) -> None:
        world, _, nov, customer, account = two
        await world.notify_all(nov, "2024-11-13", moment("2024-11-13T10:00:00"))
        at = moment("2024-12-20T00:00:00")
        body = {"version_sid": nov, "signer_name": "Ann", "signer_role": "director", "authority": True}
        clicks = [world.call("POST", "/commercial/v1/Acceptances", body, account=account, at=at) for _ in range(4)]
        uses = [world.use(customer, at) for _ in range(4)]
        await asyncio.gather(*clicks, *uses)
        items = (await world.call("GET", "/commercial/v1/Acceptances", account=account)).body["items"]
        assert [row["version_sid"] for row in items].count(nov) == 1

    async def test_an_older_version_is_accepted_no_more(self, two: Two) -> None:
        world, feb, _, _, _ = two
        at = moment("2024-11-13T00:00:00")
        _, account = await world.sign_up(at)
        body = {"version_sid": feb, "signer_name": "Ann", "signer_role": "director", "authority": True}
        assert (await world.refused("POST", "/commercial/v1/Acceptances", body, account=account, at=at)).status == 409
        body = {**body, "authority": False}
        assert (await world.refused("POST", "/commercial/v1/Acceptances", body, account=account, at=at)).status == 422
