"""Notices against the rows of the terms that are theirs: sent by the worker into the simulator's mailboxes."""

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from onterms.business import accounts, customers, notices
from onterms.carriers.mailbox import Mailbox, MailboxApi
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter, NotFound, Refusal
from onterms.core.vault import Vault
from onterms.engines import audit, jobs
from onterms.engines.api import Account, Caller, OwnReply, OwnRequest, OwnRoute
from onterms.ports.mail import Bounce, MailOutcome, OutMail

START = datetime(2025, 3, 1, 10, tzinfo=UTC)
LETTERHEAD = notices.Letterhead("notices@operator.example", "The Operator", "legal@operator.example")
# Time stands still in these tests, so nothing may depend on the worker's polling.
QUIET = jobs.WorkerSettings(lease_s=3600, poll_s=3600, random=lambda: 0.5)


class Texts:
    """Terms that anybody may accept."""

    async def current(self, tx: Tx, document: str, at: datetime) -> str | None:
        return "VR1"

    async def accept(self, tx: Tx, customer_sid: str, version_sid: str, mode: str, consent: Any, at: datetime) -> str:
        return "AP1"


class World:
    """A customer, the mail of the world and a worker."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database, self.clock = database, clock
        self.told: list[tuple[str, str]] = []
        self.delivery = notices.Delivery(
            self.contacts, LETTERHEAD, customer_of_sender=customers.customer_of_sender, followers=[self.follow]
        )
        self.mailbox = Mailbox(database, clock, self.delivery)
        api = customers.Api(self.create_account, accounts.revoke_keys, Texts())
        self.signing_up = api.signing_up
        self.routes: list[OwnRoute] = [
            *api.routes(),
            *notices.Api(self.delivery).routes(),
            *MailboxApi(self.mailbox).routes(),
        ]
        self.worker = jobs.Worker(database, clock, name="node", settings=QUIET)
        self.account = self.customer = ""

    async def create_account(self, tx: Tx, name: str, at: datetime) -> accounts.FirstCredentials:
        return await accounts.create_customer(tx, Vault(bytes(32)), name, at)

    async def contacts(self, tx: Tx, customer_sid: str, kind: str) -> list[tuple[str, str]]:
        return [(one.sid, one.address) for one in await customers.contacts(tx, customer_sid, kind)]

    async def follow(self, tx: Tx, type: str, notice: notices.Notice, at: datetime) -> None:
        self.told.append((type, notice.sid))

    async def sign_up(self, name: str = "northwind") -> tuple[str, str]:
        """Make a customer that has an owner contact only, and return its SID and its account."""
        request = customers.SignUp(
            name=name,
            country="US",
            subdivision="CA",
            org_type="corporate",
            size="other",
            nonprofit=False,
            use="business",
            email=f"owner@{name}.example",
            accepted_version="VR1",
            consent=customers.Consent("Ann Example", "director", True, "192.0.2.7", "RQ1"),
            compliance=True,
            no_antisocial_forces=True,
            waiver_version=None,
            served_in=(),
        )
        async with self.database.transaction() as tx:
            made = await self.signing_up.sign_up(tx, request, self.clock.now())
        for kind in ("legal", "billing"):
            for contact in (await self.get(f"/commercial/v1/Contacts?customer_sid={made.customer.sid}&kind={kind}"))[
                "items"
            ]:
                path = f"/commercial/v1/Contacts/{contact['sid']}?customer_sid={made.customer.sid}"
                await self.call("DELETE", path)
        return made.customer.sid, made.credentials.account_sid

    async def designate(self, kind: str, *addresses: str) -> None:
        for address in addresses:
            body = {"customer_sid": self.customer, "kind": kind, "address": address}
            await self.call("POST", "/commercial/v1/Contacts", body)

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, account: str | None = None
    ) -> OwnReply:
        path, _, query = path.partition("?")
        for route in self.routes:
            match = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.pattern), path)
            if match and route.method == method:
                break
        else:
            raise AssertionError(f"no route {method} {path}")
        caller = None
        if account is not None:
            assert route.access == "customer", "the front door would have refused"
            caller = Caller(Account(account, account, "active", "", False), "token", account)
        asked = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        request = OwnRequest(
            method, match.groupdict(), asked, body or {}, self.clock.now(), caller, operator=account is None
        )
        assert route.handler is not None
        async with self.database.transaction() as tx:
            return await route.handler(tx, request)

    async def get(self, path: str, **options: Any) -> Any:
        return (await self.call("GET", path, **options)).body

    async def box(self, address: str, **setting: Any) -> None:
        await self.call("POST", f"/simulator/v1/mailboxes/{address}", setting)

    async def mails(self, address: str) -> list[dict[str, Any]]:
        return list(await self.get(f"/simulator/v1/mailboxes/{address}/messages"))

    async def bounce(self, address: str) -> None:
        await self.call("POST", f"/simulator/v1/mailboxes/{address}/bounces")

    async def send(self, kind: str = "billing", **changes: Any) -> str:
        """Send a notice and let the worker do what is due."""
        new = notices.NewNotice(self.customer, "late_payment", "Invoice 7 is late", "Please pay.", kind, **changes)
        async with self.database.transaction() as tx:
            [sid] = await notices.send(tx, [new], self.clock.now())
        await self.worker.settle()
        return sid

    async def later(self, **delta: float) -> None:
        self.clock.hold(self.clock.now() + timedelta(**delta))
        self.worker.clock_changed()
        await self.worker.settle()

    async def notice(self, sid: str) -> dict[str, Any]:
        return dict(await self.get(f"/commercial/v1/Notices/{sid}"))

    async def given_on(self, sid: str) -> date | None:
        async with self.database.snapshot() as tx:
            return (await notices.given_on(tx, [sid])).get(sid)

    async def tasks(self) -> list[tuple[str, str | None]]:
        return [(task["kind"], task["ref"]) for task in (await self.get("/commercial/v1/Tasks"))["items"]]

    async def events(self, sid: str) -> list[str]:
        async with self.database.snapshot() as tx:
            rows = await tx.fetch("SELECT type FROM events WHERE subject_sid = $1 ORDER BY id", sid)
        return [row["type"] for row in rows]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    world = World(database, VirtualClock(held_at=START))
    notices.Tasks(world.delivery, world.mailbox).register(world.worker)
    world.mailbox.register(world.worker)
    running = asyncio.create_task(world.worker.run())
    world.customer, world.account = await world.sign_up()
    yield world
    await world.worker.stop(5)
    with contextlib.suppress(asyncio.CancelledError):
        await running


class TestToTheOperator:
    async def test_9_5_to_operator_a_mail_received_on_1_march_starts_clocks_on_1_march(self, world: World) -> None:
        path = "/simulator/v1/mailboxes/owner@northwind.example/messages"
        body = {"to": "legal@operator.example", "subject": "We terminate", "body": "In 30 days."}
        sid = (await world.call("POST", path, body)).body["notice_sid"]
        await world.later(days=3)
        found = await world.get(f"/commercial/v1/NoticesIn/{sid}", account=world.account)
        assert (found["received_at"], found["received_on"]) == ("2025-03-01T10:00:00Z", "2025-03-01")
        assert (found["channel"], found["sender"], found["customer_sid"]) == (
            "email",
            "owner@northwind.example",
            world.customer,
        )
        assert await world.tasks() == [("notice_in", sid)]
        assert await world.events(sid) == ["notice.received"]

    async def test_9_5_to_operator_the_web_form_writes_the_same_record(self, world: World) -> None:
        body = {"kind": "termination", "subject": "We terminate", "body": "In 30 days."}
        made = (await world.call("POST", "/commercial/v1/NoticesIn", body, account=world.account)).body
        assert (made["channel"], made["kind"], made["received_on"]) == ("form", "termination", "2025-03-01")
        listed = await world.get("/commercial/v1/NoticesIn", account=world.account)
        assert [one["sid"] for one in listed["items"]] == [made["sid"]]

    async def test_9_5_to_operator_a_raw_mail_counts_from_its_receipt_and_once(self, world: World) -> None:
        raw = b"From: owner@northwind.example\r\nTo: legal@operator.example\r\nSubject: No\r\n\r\nWe disagree.\r\n"
        body = {"raw": base64.b64encode(raw).decode(), "received_at": "2025-02-27T23:59:59Z"}
        sids = {(await world.call("POST", "/commercial/v1/InboundMail", body)).body["notice_sid"] for _ in range(2)}
        [sid] = sids
        found = await world.get(f"/commercial/v1/NoticesIn/{sid}")
        assert (found["received_on"], found["body"]) == ("2025-02-27", "We disagree.\n")
        assert found["raw_sha256"] == hashlib.sha256(raw).hexdigest()

    async def test_a_receipt_in_the_future_is_refused(self, world: World) -> None:
        raw = base64.b64encode(b"From: a@b.example\r\nTo: legal@operator.example\r\n\r\nx").decode()
        with pytest.raises(InvalidParameter, match="future"):
            await world.call("POST", "/commercial/v1/InboundMail", {"raw": raw, "received_at": "2025-03-01T10:00:01Z"})

    async def test_a_mail_to_another_address_of_the_operator_is_no_notice(self, world: World) -> None:
        path = "/simulator/v1/mailboxes/owner@northwind.example/messages"
        with pytest.raises(InvalidParameter, match="legal@operator"):
            await world.call("POST", path, {"to": "sales@operator.example", "subject": "Bye", "body": "."})
        assert await world.tasks() == []

    async def test_a_notice_of_an_unknown_sender_is_nobodys_until_the_operator_says_whose(self, world: World) -> None:
        path = "/simulator/v1/mailboxes/lawyer@firm.example/messages"
        body = {"to": "legal@operator.example", "subject": "For Northwind", "body": "We claim."}
        sid = (await world.call("POST", path, body)).body["notice_sid"]
        with pytest.raises(NotFound):
            await world.get(f"/commercial/v1/NoticesIn/{sid}", account=world.account)
        await world.later(days=2)
        assigned = {"customer_sid": world.customer, "kind": "claim"}
        path = f"/commercial/v1/NoticesIn/{sid}/Customer"
        made = (await world.call("POST", path, assigned)).body
        assert (made["customer_sid"], made["kind"], made["received_on"]) == (world.customer, "claim", "2025-03-01")
        with pytest.raises(NotFound):
            await world.call("POST", path, assigned)


class TestToCustomers:
    async def test_9_5_to_customer_evidence_holds_id_hash_reply_and_time_of_each_address(self, world: World) -> None:
        await world.designate("billing", "pay@northwind.example", "books@northwind.example")
        sid = await world.send()
        found = await world.notice(sid)
        assert (found["state"], found["given_on"]) == ("given", "2025-03-01")
        assert [one["address"] for one in found["evidence"]] == ["pay@northwind.example", "books@northwind.example"]
        for one in found["evidence"]:
            [mail] = await world.mails(one["address"])
            assert one["message_id"] == mail["message_id"]
            assert one["mail_sha256"] == hashlib.sha256(mail["raw"].encode()).hexdigest()
            assert one["reply"].startswith("250 ")
            assert one["accepted_at"] == "2025-03-01T10:00:00Z"
        assert len({one["message_id"] for one in found["evidence"]}) == 2
        assert world.told == [("notice.given", sid)]
        async with world.database.snapshot() as tx:
            assert await audit.verify(tx, world.customer) is None

    async def test_9_5_to_customer_where_all_addresses_refuse_it_is_not_given_and_a_task_opens(
        self, world: World
    ) -> None:
        await world.designate("billing", "pay@northwind.example", "books@northwind.example")
        for address in ("pay@northwind.example", "books@northwind.example"):
            await world.box(address, behaviour="refuse")
        sid = await world.send()
        found = await world.notice(sid)
        assert (found["state"], found["given_on"]) == ("bounced", None)
        assert [one["reply"][:3] for one in found["evidence"]] == ["550", "550"]
        assert await world.given_on(sid) is None
        assert await world.tasks() == [("notice_not_given", sid)]
        assert await world.events(sid) == ["notice.bounced"]

    async def test_9_5_to_customer_where_all_addresses_bounce_later_it_is_void_and_clocks_stop(
        self, world: World
    ) -> None:
        await world.designate("billing", "pay@northwind.example", "books@northwind.example")
        sid = await world.send()
        await world.later(days=1)
        await world.bounce("pay@northwind.example")
        assert await world.given_on(sid) == date(2025, 3, 1)
        await world.bounce("books@northwind.example")
        assert await world.given_on(sid) is None
        found = await world.notice(sid)
        assert (found["state"], found["voided_at"]) == ("void", "2025-03-02T10:00:00Z")
        assert await world.tasks() == [("notice_not_given", sid)]
        assert await world.events(sid) == ["notice.given", "notice.voided"]
        assert world.told == [("notice.given", sid), ("notice.voided", sid)]

    async def test_it_is_given_on_the_day_the_first_server_takes_it(self, world: World) -> None:
        await world.designate("billing", "slow@northwind.example", "slower@northwind.example")
        await world.box("slow@northwind.example", delay_s=86_400)
        await world.box("slower@northwind.example", delay_s=2 * 86_400)
        sid = await world.send()
        assert ((await world.notice(sid))["state"], await world.given_on(sid)) == ("sent", None)
        await world.later(days=1)
        assert await world.given_on(sid) == date(2025, 3, 2)
        await world.later(days=1)
        assert await world.given_on(sid) == date(2025, 3, 2)
        assert [one["accepted_at"][:10] for one in (await world.notice(sid))["evidence"]] == [
            "2025-03-02",
            "2025-03-03",
        ]

    async def test_a_server_that_never_decides_is_given_up_after_five_days(self, world: World) -> None:
        await world.designate("billing", "pay@northwind.example")
        await world.box("pay@northwind.example", delay_s=30 * 86_400)
        sid = await world.send()
        await world.later(days=4, hours=23)
        assert (await world.notice(sid))["state"] == "sent"
        await world.later(hours=1)
        assert (await world.notice(sid))["state"] == "bounced"

    async def test_a_notice_lost_while_another_address_is_tried_is_given_anew_on_its_day(self, world: World) -> None:
        await world.designate("billing", "pay@northwind.example", "slow@northwind.example")
        await world.box("slow@northwind.example", delay_s=2 * 86_400)
        sid = await world.send()
        await world.bounce("pay@northwind.example")
        assert ((await world.notice(sid))["state"], await world.given_on(sid)) == ("sent", None)
        await world.later(days=2)
        assert await world.given_on(sid) == date(2025, 3, 3)
        assert await world.events(sid) == ["notice.given", "notice.voided", "notice.given"]

    async def test_a_mailbox_that_bounces_by_itself_voids_the_notice_when_it_does(self, world: World) -> None:
        await world.designate("billing", "pay@northwind.example")
        await world.box("pay@northwind.example", behaviour="bounce", bounce_after_s=3600)
        sid = await world.send()
        await world.later(seconds=3599)
        assert await world.given_on(sid) == date(2025, 3, 1)
        await world.later(seconds=1)
        assert (await world.notice(sid))["state"] == "void"

    async def test_a_delivery_report_voids_the_notice_and_a_delay_does_not(self, world: World) -> None:
        await world.designate("billing", "pay@northwind.example")
        sid = await world.send()
        [one] = (await world.notice(sid))["evidence"]

        async def report(action: str, status: str) -> None:
            raw = (
                "From: MAILER-DAEMON@mx.example\r\nTo: notices@operator.example\r\nSubject: Report\r\n"
                'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary="x"\r\n\r\n'
                "--x\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n"
                "--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
                f"Final-Recipient: rfc822; pay@northwind.example\r\nAction: {action}\r\nStatus: {status}\r\n"
                "Diagnostic-Code: smtp; 550 no such user\r\n\r\n"
                f"--x\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {one['message_id']}\r\n\r\n--x--\r\n"
            )
            body = {"raw": base64.b64encode(raw.encode()).decode()}
            await world.call("POST", "/commercial/v1/InboundMail", body | {"recipient": "legal@operator.example"})

        await report("delayed", "4.4.1")
        assert (await world.notice(sid))["state"] == "given"
        await report("failed", "5.1.1")
        found = await world.notice(sid)
        assert (found["state"], found["evidence"][0]["diagnostic"]) == ("void", "smtp; 550 no such user")

    async def test_a_repeated_bounce_and_a_strangers_change_nothing(self, world: World) -> None:
        await world.designate("billing", "pay@northwind.example")
        sid = await world.send()
        await world.bounce("pay@northwind.example")
        before = await world.notice(sid)
        [one] = before["evidence"]
        async with world.database.transaction() as tx:
            again = Bounce(one["message_id"], "pay@northwind.example", START + timedelta(days=9), "again")
            await world.delivery.bounced(tx, [again, Bounce("<x@y>", "a@b.example", START, "stranger")])
        assert await world.notice(sid) == before
        assert await world.events(sid) == ["notice.given", "notice.voided"]


class TestContacts:
    async def test_a_notice_goes_to_the_contacts_of_its_kind_only(self, world: World) -> None:
        await world.designate("legal", "law@northwind.example")
        await world.designate("billing", "pay@northwind.example")
        await world.send("billing")
        assert [len(await world.mails(f"{name}@northwind.example")) for name in ("pay", "law", "owner")] == [1, 0, 0]
        assert await world.tasks() == []

    async def test_without_a_contact_of_the_kind_it_goes_to_legal_and_a_task_opens(self, world: World) -> None:
        await world.designate("legal", "law@northwind.example")
        sid = await world.send("security")
        found = await world.notice(sid)
        assert (found["contact_kind"], found["sent_to_kind"], found["state"]) == ("security", "legal", "given")
        assert await world.tasks() == [("contact_missing", "security")]

    async def test_without_a_legal_contact_it_goes_to_the_owner(self, world: World) -> None:
        sid = await world.send("security")
        assert (await world.notice(sid))["evidence"][0]["address"] == "owner@northwind.example"
        await world.send("security")
        assert await world.tasks() == [("contact_missing", "security")]

    async def test_without_any_contact_it_is_not_given_and_a_task_opens(self, world: World) -> None:
        new = notices.NewNotice("OR" + "0" * 32, "late_payment", "Late", "Please pay.", "billing")
        async with world.database.transaction() as tx:
            [sid] = await notices.send(tx, [new], START)
        await world.worker.settle()
        assert (await world.notice(sid))["state"] == "bounced"
        assert await world.tasks() == [("notice_not_given", sid)]

    async def test_two_contacts_of_one_address_are_one_mail(self, world: World) -> None:
        await world.designate("billing", "pay@northwind.example", "Pay@northwind.example")
        await world.send()
        assert len(await world.mails("pay@northwind.example")) == 1


class TestDurability:
    async def test_a_crash_before_the_answer_is_kept_repeats_the_same_mail(self, world: World) -> None:
        await world.designate("billing", "pay@northwind.example")
        new = notices.NewNotice(world.customer, "late_payment", "Late", "Zahlen Sie, schön.", "billing")
        file = notices.File("invoice.pdf", "application/pdf", bytes(range(256)))
        seen: list[MailOutcome] = []

        async def answer_lost(mail: OutMail) -> None:
            seen.extend(await world.mailbox.send(mail))

        async with world.database.transaction() as tx:
            [sid] = await notices.send(
                tx, [notices.NewNotice(world.customer, "k", "Late", new.body, "billing", attachments=(file,))], START
            )
            [(_, mail)] = await world.delivery.prepare(tx, sid, START)
        await answer_lost(mail)
        await world.worker.settle()
        [kept] = await world.mails("pay@northwind.example")
        [evidence] = (await world.notice(sid))["evidence"]
        assert evidence["message_id"] == seen[0].reply.split()[-1] == kept["message_id"]
        assert evidence["mail_sha256"] == seen[0].sha256
        assert kept["attachments"] == [{"name": "invoice.pdf", "content_type": "application/pdf", "bytes": 256}]

    async def test_a_rolled_back_notice_was_never_sent(self, world: World) -> None:
        await world.designate("billing", "pay@northwind.example")
        with pytest.raises(RuntimeError):
            async with world.database.transaction() as tx:
                await notices.send(tx, [notices.NewNotice(world.customer, "k", "Late", "Pay.", "billing")], START)
                raise RuntimeError
        await world.worker.settle()
        assert await world.mails("pay@northwind.example") == []

    async def test_a_subject_that_would_add_a_header_is_refused_before_anything_is_kept(self, world: World) -> None:
        with pytest.raises(ValueError, match="subject"):
            async with world.database.transaction() as tx:
                await notices.send(
                    tx, [notices.NewNotice(world.customer, "k", "Late\r\nBcc: a@b.example", "Pay.", "billing")], START
                )


class TestGuard:
    async def test_what_needs_a_notice_is_refused_with_422_without_one_that_was_given_by_then(
        self, world: World
    ) -> None:
        await world.designate("billing", "pay@northwind.example")
        sid = await world.send()
        stranger, _ = await world.sign_up("southwind")

        async def refusal(customer_sid: str, notice_sid: str | None, at: datetime) -> tuple[int, Any]:
            with pytest.raises(Refusal) as caught:
                async with world.database.transaction() as tx:
                    await notices.require_given(tx, customer_sid, notice_sid, "2.3", at)
            return caught.value.status, caught.value.details

        missing = (422, {"clause": "2.3", "reason": "notice_missing"})
        assert await refusal(world.customer, None, START) == missing
        assert await refusal(world.customer, "NC" + "0" * 32, START) == missing
        assert await refusal(stranger, sid, START) == missing
        not_given = (422, {"clause": "2.3", "reason": "notice_not_given"})
        assert await refusal(world.customer, sid, START - timedelta(seconds=1)) == not_given
        async with world.database.transaction() as tx:
            assert (await notices.require_given(tx, world.customer, sid, "2.3", START)).sid == sid
        await world.bounce("pay@northwind.example")
        assert await refusal(world.customer, sid, START) == not_given


class TestTenants:
    async def test_a_customer_sees_its_own_notices_and_no_others(self, world: World) -> None:
        sid = await world.send()
        _, stranger = await world.sign_up("southwind")
        shown = await world.get(f"/commercial/v1/Notices/{sid}", account=world.account)
        assert (shown["body"], shown["state"]) == ("Please pay.", "given")
        assert [one["sid"] for one in (await world.get("/commercial/v1/Notices", account=world.account))["items"]] == [
            sid
        ]
        assert (await world.get("/commercial/v1/Notices", account=stranger))["items"] == []
        with pytest.raises(NotFound):
            await world.get(f"/commercial/v1/Notices/{sid}", account=stranger)

    async def test_a_list_goes_on_after_a_page(self, world: World) -> None:
        new = notices.NewNotice(world.customer, "k", "Late", "Pay.", "billing")
        async with world.database.transaction() as tx:
            sids = await notices.send(tx, [new] * 51, START)
        await world.worker.settle()
        first = await world.get("/commercial/v1/Notices", account=world.account)
        rest = await world.get(f"/commercial/v1/Notices?next={first['next']}", account=world.account)
        assert [one["sid"] for one in first["items"] + rest["items"]] == sids[::-1]
        assert rest["next"] is None


class TestTasks:
    async def test_a_task_is_opened_once_and_done_once(self, world: World) -> None:
        async with world.database.transaction() as tx:
            sids = {await notices.open_task(tx, "review", "Look", date(2025, 3, 9), START, ref="X") for _ in range(2)}
        [sid] = sids
        done = (await world.call("POST", f"/commercial/v1/Tasks/{sid}/done", {"note": "seen"})).body
        assert (done["done_by"], done["note"], done["done_at"]) == ("operator", "seen", "2025-03-01T10:00:00Z")
        with pytest.raises(notices.TaskDone):
            await world.call("POST", f"/commercial/v1/Tasks/{sid}/done")
        assert await world.tasks() == []
        async with world.database.transaction() as tx:
            assert await notices.open_task(tx, "review", "Look", date(2025, 3, 9), START, ref="X") != sid


ACCEPTED = notices.Address(1, "CT1", "a@b.example", "<1@x>", accepted_at=START)
LOST = notices.Address(2, "CT2", "b@b.example", "<2@x>", accepted_at=START, bounced_at=START)
REFUSED = notices.Address(3, "CT3", "c@b.example", "<3@x>", refused_at=START)
PENDING = notices.Address(4, "CT4", "d@b.example", "<4@x>")


class TestModel:
    @pytest.mark.parametrize(
        ("addresses", "expected"),
        [
            ([], "exhausted"),
            ([REFUSED], "exhausted"),
            ([LOST, REFUSED], "exhausted"),
            ([PENDING, REFUSED], "pending"),
            ([LOST, PENDING], "pending"),
            ([ACCEPTED, PENDING, LOST, REFUSED], "accepted"),
        ],
    )
    def test_the_verdict_of_all_addresses(self, addresses: list[notices.Address], expected: str) -> None:
        assert notices.verdict(addresses) == expected

    @pytest.mark.parametrize(
        ("state", "event", "next_state", "effects"),
        [
            ("queued", "pending", "sent", ()),
            ("queued", "accepted", "given", ("date", "say_given")),
            ("queued", "exhausted", "bounced", ("say_bounced", "task")),
            ("sent", "pending", "sent", ()),
            ("sent", "accepted", "given", ("date", "say_given")),
            ("sent", "exhausted", "bounced", ("say_bounced", "task")),
            ("given", "accepted", "given", ()),
            ("given", "pending", "sent", ("undate", "say_voided")),
            ("given", "exhausted", "void", ("undate", "say_voided", "task")),
        ],
    )
    def test_a_row_of_the_table(self, state: Any, event: Any, next_state: str, effects: tuple[str, ...]) -> None:
        move = notices.MOVES[state, event]
        assert (move.next, move.effects) == (next_state, effects)

    def test_final_states_have_no_moves(self) -> None:
        assert {state for state, _ in notices.MOVES} == {"queued", "sent", "given"}
        assert len(notices.MOVES) == 9
