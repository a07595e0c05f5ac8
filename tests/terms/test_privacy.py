"""Customer data, confidentiality and requests against the rows of the terms that are theirs."""

from typing import Any

import pytest

from onterms.business import accounts, customers
from onterms.business import privacy as room
from onterms.business.privacy.model import DELETION, INFORMATION_REQUEST, MARKS_CONSENT, MARKS_USE
from onterms.engines import audit


class World:
    def __init__(self, commerce: Any) -> None:
        self.commerce = commerce
        self.privacy = room.Privacy(commerce.notices)
        api = room.Api(self.privacy)
        commerce.serve(api.routes(), api.books())

    async def request(self, at: str = "2025-03-01T10:00:00Z", **given: Any) -> Any:
        body = {"requester": "carrier", "basis": "traceback", "scope": "one call", **given}
        case = await self.commerce.post("InformationRequests", body, at=at)
        return await self.commerce.fire("InformationRequests", case["sid"], "validate", at=at)

    async def end_user(self) -> None:
        commerce = self.commerce
        async with commerce.database.transaction() as tx:
            await customers.mark_end_user(
                tx, commerce.customer, "+14155550100", "opt_out", "STOP", commerce.clock.now()
            )


@pytest.fixture
def world(commerce: Any) -> World:
    return World(commerce)


@pytest.mark.parametrize(
    "machine", [INFORMATION_REQUEST, MARKS_CONSENT, MARKS_USE, DELETION], ids=lambda machine: machine.kind
)
def test_every_move_is_whole(machine: Any) -> None:
    machine.check()
    assert {move.next for move in machine.moves.values()} - {state for state, _ in machine.moves}


def test_1_3_customer_data_a_table_without_data_class_is_found() -> None:
    tables = [room.Table("messages", ("account_sid", "sid")), room.Table("new_one", ("sid",))]
    assert room.untagged(tables, {"messages": "customer"}) == ["new_one"]
    assert room.untagged(tables, {table.name: table.data_class for table in tables}) == []


async def test_every_table_of_customers_is_deleted_or_kept_for_a_reason(world: World) -> None:
    """A new table with rows of customers says in privacy's model whether a deletion takes it."""
    async with world.commerce.database.snapshot() as tx:
        rows = await tx.fetch(
            """SELECT DISTINCT c.relname::text AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
               WHERE a.attname IN ('customer_sid', 'account_sid')
                 AND c.relkind IN ('r', 'p') AND NOT c.relispartition"""
        )
    names = {row["name"] for row in rows}
    assert set(room.DELETED) <= names
    assert {name for name in names if (name in room.DELETED) == (room.kept_because(name) is not None)} == set()


def test_1_13_twilio_data_a_group_of_19_customers_is_suppressed() -> None:
    values = {f"OR{number}": number for number in range(19)}
    assert room.aggregate(values) is None
    assert room.aggregate({**values, "OR19": 19}) == (20, 10)


async def test_2_2_f_a_traceback_due_in_24_h_and_unanswered_escalates_at_24_h(world: World) -> None:
    commerce = world.commerce
    case = await world.request(due_at="2025-03-02T10:00:00Z")
    await commerce.fire("InformationRequests", case["sid"], "notice", at="2025-03-01T10:00:00Z")
    await commerce.until("2025-03-02T09:59:59+00:00")
    assert len(commerce.notices.sent) == 1
    await commerce.until("2025-03-03T00:00:00+00:00")
    shown = await commerce.get(f"InformationRequests/{case['sid']}")
    assert shown["escalated_at"] == "2025-03-02T10:00:00+00:00"
    assert [notice["kind"] for notice in commerce.notices.sent] == ["information_request", "information_overdue"]
    async with commerce.database.snapshot() as tx:
        assert [task.clause for task in await customers.tasks_of(tx, commerce.customer)] == ["2.2(f)"]


async def test_4_1_customer_owns_the_export_holds_every_tagged_table_with_equal_counts(world: World) -> None:
    commerce = world.commerce
    await world.end_user()
    await world.request(gag=True)
    stranger, account = await commerce.make_customer("Stranger")
    export = await commerce.post("Exports", {}, account=commerce.account)
    async with commerce.database.snapshot() as tx:
        tables = await tx.fetch(
            """SELECT c.relname::text AS name, a.attname::text AS owner FROM pg_class c
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'customer_sid'
               WHERE c.relkind = 'r' AND NOT c.relispartition"""
        )
        names = {row["name"] for row in tables}
        assert {"customers", "end_user_marks", "customer_accounts", "consents"} <= export["counts"].keys()
        for name, count in export["counts"].items():
            if name in names:
                own = await tx.fetchval(f"SELECT count(*) FROM {name} WHERE customer_sid = $1", commerce.customer)
                assert count == len(export["tables"][name]) == own, name
    assert export["counts"]["end_user_marks"] == 1
    text = str(export)
    assert "information_request" not in text, "nothing tells of a request under a gag"
    assert stranger not in text and account not in text and "sealed" not in text


async def test_rows_of_subaccounts_are_exported_too(world: World) -> None:
    commerce = world.commerce
    sub = "AC" + 32 * "5"
    async with commerce.database.transaction() as tx:
        await tx.execute(
            """
            INSERT INTO accounts (sid, owner_sid, friendly_name, type, status, token_sealed, token_digest, created_at,
                                  updated_at)
            SELECT $2, sid, 'Sub', type, 'active', token_sealed, token_digest, created_at, updated_at
            FROM accounts WHERE sid = $1
            """,
            commerce.account,
            sub,
        )
        at = commerce.clock.now()
        await accounts.create_main_key(tx, commerce.vault, sub, "of the subaccount", at)
    export = await commerce.post("Exports", {}, account=commerce.account)
    assert [row["account_sid"] for row in export["tables"]["api_keys"]] == [sub]
    async with commerce.database.snapshot() as tx:
        assert sub in await accounts.family(tx, commerce.account)


async def test_4_2_processing_a_job_for_analytics_on_raw_bodies_is_denied(world: World) -> None:
    assert not room.may_process("analytics", "customer") and room.may_process("analytics", "operator")
    assert not room.may_process("", "customer")
    refusal = await world.commerce.refused(world.commerce.post("Exports", {"purpose": "analytics"}))
    assert refusal.status == 403 and refusal.details == {"clause": "4.2", "reason": "purpose_denied"}


async def look(world: World, role: str, kind: str, **given: str) -> Any:
    body = {"actor": "staff-7", "role": role, "kind": kind, "subject_sid": "SM1", **given}
    return await world.commerce.post("ConfidentialLooks", body)


async def test_4_3_1_an_order_form_for_a_role_without_need_to_know_answers_403(world: World) -> None:
    assert (await world.commerce.refused(look(world, "support", "order_form"))).status == 403
    assert (await look(world, "billing", "order_form"))["granted"]
    assert room.may_see("support", "order_form", exception="public")
    assert not room.may_see("support", "order_form", exception="none of the four")


async def test_4_3_2_use_staff_without_role_get_403_and_break_glass_leaves_its_reason(world: World) -> None:
    commerce = world.commerce
    assert (await commerce.refused(look(world, "sales", "message_body"))).status == 403
    await look(world, "sales", "message_body", break_glass_reason="threat to life, ticket 12")
    async with commerce.database.snapshot() as tx:
        trail = await audit.history(tx, commerce.customer)
    [broken] = [one.event for one in trail if one.event.aggregate == "break_glass"]
    assert broken.actor == "staff-7" and broken.evidence["reason"] == "threat to life, ticket 12"


async def test_4_3_2_soc2_without_nda_there_is_no_download(world: World) -> None:
    commerce = world.commerce
    report = await commerce.post("AuditReports", {"title": "SOC 2", "content": "All controls held."})
    listed = await commerce.get("AuditReports", account=commerce.account)
    assert listed["items"] == [{"sid": report["sid"], "title": "SOC 2"}]
    path = f"AuditReports/{report['sid']}/Download"
    for body in ({}, {"nda": False}, {"nda": "yes"}):
        assert (await commerce.refused(commerce.post(path, body, account=commerce.account))).status == 403
    got = await commerce.post(path, {"nda": True}, account=commerce.account)
    assert "All controls held." in got["content"] and got["content"].startswith("Confidential, for Northwind")
    async with commerce.database.snapshot() as tx:
        assert await tx.fetchval("SELECT count(*) FROM report_downloads") == 1


async def test_4_3_3_notice_comes_before_disclosure_unless_a_gag_with_its_order_withholds_it(world: World) -> None:
    commerce = world.commerce
    open_case = await world.request()
    fire = commerce.fire
    assert (
        await commerce.refused(fire("InformationRequests", open_case["sid"], "disclose", disclosed="x"))
    ).status == 409
    assert (
        await commerce.refused(fire("InformationRequests", open_case["sid"], "withhold", order_file="f"))
    ).status == 409
    await fire("InformationRequests", open_case["sid"], "notice")
    await fire("InformationRequests", open_case["sid"], "collect")
    await fire("InformationRequests", open_case["sid"], "disclose", disclosed="one record")
    assert len(commerce.notices.sent) == 1
    states = await commerce.trail(open_case["sid"])
    assert states.index("customer_noticed") < states.index("disclosed")
    gagged = await world.request(gag=True)
    assert (await commerce.refused(fire("InformationRequests", gagged["sid"], "notice"))).status == 409
    assert (await commerce.refused(fire("InformationRequests", gagged["sid"], "withhold"))).status == 422
    await fire("InformationRequests", gagged["sid"], "withhold", order_file="order-9.pdf")
    assert len(commerce.notices.sent) == 1 and "notice_withheld" in await commerce.trail(gagged["sid"])


async def test_4_3_3_cooperation_3_h_at_120_00_propose_a_charge_of_360_00(world: World) -> None:
    case = await world.request()
    done = await world.commerce.fire("InformationRequests", case["sid"], "cost", hours=3, hourly="120.00")
    assert [one["charge"] for one in done["charge_proposals"]] == ["360.00"]


async def test_10_1_3_where_law_limits_the_cost_there_is_no_charge_proposal(world: World) -> None:
    case = await world.request(law_limit=True)
    cost = world.commerce.fire("InformationRequests", case["sid"], "cost", hours=3, hourly="120.00")
    assert (await world.commerce.refused(cost)).details == {"clause": "10.1.3", "reason": "law_limit"}
    assert "charge_proposals" not in await world.commerce.get(f"InformationRequests/{case['sid']}")


async def test_4_4_marks_may_be_used_by_default_until_the_customer_says_no(world: World) -> None:
    commerce = world.commerce
    assert (await commerce.post("MarksUses", {"use": "logo", "where": "site"}))["state"] == "recorded"
    await commerce.post("MarksConsents", {"allowed": False, "uses": ["logo"]}, account=commerce.account)
    refusal = await commerce.refused(commerce.post("MarksUses", {"use": "logo", "where": "site"}))
    assert refusal.status == 422 and refusal.details == {"clause": "4.4", "reason": "no_marks_consent"}


async def test_10_1_5_a_us_state_entitys_logo_without_consent_answers_422(world: World) -> None:
    commerce = world.commerce
    commerce.customer, commerce.account = await commerce.make_customer("State", gov_kind="us_state_local")
    refusal = await commerce.refused(commerce.post("MarksUses", {"use": "logo", "where": "site"}))
    assert refusal.status == 422 and refusal.details == {"clause": "10.1.5", "reason": "no_marks_consent"}
    await commerce.post("MarksConsents", {"allowed": True, "uses": ["logo"]}, account=commerce.account)
    assert (await commerce.post("MarksUses", {"use": "logo", "where": "site"}))["state"] == "recorded"


async def test_5_3_the_consent_ledger_says_who_consented_to_what_from_when_until_when(world: World) -> None:
    commerce = world.commerce
    body = {"identity": "+1415", "channel": "messaging", "purpose": "marketing", "source": "form"}
    made = await commerce.post(
        "Consents", {**body, "given_at": "2025-03-01T10:00:00Z"}, account=commerce.account, at="2025-03-01T11:00:00Z"
    )

    async def has(at: str, channel: str = "messaging") -> bool:
        from datetime import datetime

        async with commerce.database.snapshot() as tx:
            return await room.has_consent(tx, commerce.customer, "+1415", channel, datetime.fromisoformat(at))

    assert await has("2025-03-01T10:00:00Z") and not await has("2025-03-01T09:59:59Z")
    assert not await has("2025-03-02T00:00:00Z", "voice")
    await commerce.call(
        "DELETE", f"/commercial/v1/Consents/{made['sid']}", account=commerce.account, at="2025-03-05T00:00:00Z"
    )
    [shown] = (await commerce.get("Consents?identity=+1415", account=commerce.account))["items"]
    assert shown["purpose"] == "marketing" and shown["withdrawn_at"] == "2025-03-05T00:00:00+00:00"
    assert not await has("2025-03-05T00:00:00Z") and await has("2025-03-04T23:59:59Z")


async def test_deletion_runs_when_due_and_leaves_a_certificate(world: World) -> None:
    commerce = world.commerce
    await world.end_user()
    case = await commerce.post("DataDeletions", {"due_at": "2025-06-01T00:00:00Z"})
    await commerce.until("2025-05-31T23:59:59+00:00")
    assert (await commerce.get(f"DataDeletions/{case['sid']}"))["state"] == "scheduled"
    await commerce.until("2025-06-01T00:00:00+00:00")
    done = await commerce.get(f"DataDeletions/{case['sid']}")
    assert done["state"] == "deleted" and done["certificate"]["deleted"]["end_user_marks"] == 1
    assert len(done["certificate_sha256"]) == 64
    assert "incoming_numbers" not in done["certificate"]["deleted"], "open accounts keep what they work with"
    [certificate] = [notice for notice in commerce.notices.sent if notice["kind"] == "deletion_certificate"]
    assert certificate["contact"] == "privacy" and done["certificate_sha256"] in certificate["body"]
    async with commerce.database.snapshot() as tx:
        assert await customers.marks(tx, commerce.customer) == []
        assert await audit.verify(tx, commerce.customer) is None, "evidence stays"


async def test_registrations_of_senders_are_exported_and_deleted_once_the_account_is_closed(world: World) -> None:
    commerce = world.commerce
    tables = ("trust_end_users", "registration_tollfree", "registrar_texts")
    async with commerce.database.transaction() as tx:
        at = commerce.clock.now()
        await tx.execute(
            """INSERT INTO trust_end_users (account_sid, sid, friendly_name, type, attributes, date_created,
                   date_updated)
               VALUES ($1, 'IT1', 'Ann', 'authorized_representative_1', '{"first_name": "Ann"}', $2, $2)""",
            commerce.account,
            at,
        )
        await tx.execute(
            """INSERT INTO registration_tollfree (account_sid, sid, number_sid, number, details, status,
                   regulated_item_sid, submitted_at, date_created, date_updated)
               VALUES ($1, 'HH1', 'PN1', '+18885550100', '{}', 'TWILIO_APPROVED', 'RA1', $2, $2, $2)""",
            commerce.account,
            at,
        )
        await tx.execute(
            """INSERT INTO registrar_texts (account_sid, brand_sid, number, body, sent_at)
               VALUES ($1, 'BN1', '+12025550123', 'Reply YES', $2)""",
            commerce.account,
            at,
        )
    export = await commerce.post("Exports", {}, account=commerce.account)
    assert [export["counts"][name] for name in tables] == [1, 1, 1]
    await commerce.post("DataDeletions", {"due_at": "2025-06-01T00:00:00Z"})
    await commerce.until("2025-06-01T00:00:00+00:00")
    async with commerce.database.transaction() as tx:
        # An open account works with them.
        assert [await tx.fetchval(f"SELECT count(*) FROM {name}") for name in tables] == [1, 1, 1]
        await tx.execute("UPDATE accounts SET status = 'closed' WHERE sid = $1", commerce.account)
    await commerce.post("DataDeletions", {"due_at": "2025-07-01T00:00:00Z"})
    await commerce.until("2025-07-01T00:00:00+00:00")
    async with commerce.database.snapshot() as tx:
        assert [await tx.fetchval(f"SELECT count(*) FROM {name}") for name in tables] == [0, 0, 0]
