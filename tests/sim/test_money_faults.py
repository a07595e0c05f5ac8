"""Money under faults: a mail server and a payment provider that hang, a clock that jumps, two who decide at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from onterms.business import accounts, customers, invoicing, notices, payments, tax
from onterms.carriers.smtp import SmtpMail, SmtpSettings
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.core.money import micros
from onterms.core.vault import Vault
from onterms.engines import ledger
from onterms.engines.api import OwnRequest
from onterms.engines.jobs import Worker
from onterms.engines.ledger import Split, Transaction, templates
from onterms.ports.mail import MailOutcome, OutMail
from onterms.ports.payment_gateway import Charged, ChargeRequest, CustomerMade, MethodSet

START = datetime(2025, 1, 10, 9, tzinfo=UTC)
LETTERHEAD = notices.Letterhead("us@operator.example", "The Operator", "legal@operator.example")


class Texts:
    """Terms that anybody may accept."""

    async def current(self, tx: Tx, document: str, at: datetime) -> str | None:
        return "VR1"

    async def accept(self, tx: Tx, customer_sid: str, version_sid: str, mode: str, consent: Any, at: datetime) -> str:
        return "AP1"


async def create_account(tx: Tx, name: str, at: datetime) -> Any:
    return await accounts.create_customer(tx, Vault(bytes(32)), name, at)


@pytest.fixture
async def customer(database: Database, clock: VirtualClock) -> str:
    """A customer in the US with one account, whose owner takes its bills."""
    clock.held_at = START
    request = customers.SignUp(
        name="Northwind",
        country="US",
        subdivision="CA",
        org_type="corporate",
        size="other",
        nonprofit=False,
        use="business",
        email="owner@northwind.example",
        accepted_version="VR1",
        consent=customers.Consent("Ann Example", "director", True, "192.0.2.7", "RQ1"),
        compliance=True,
        no_antisocial_forces=True,
        waiver_version=None,
        served_in=(),
    )
    async with database.transaction() as tx:
        made = await customers.SigningUp(create_account, Texts()).sign_up(tx, request, START)
        sid: str = made.customer.sid
    return sid


@contextlib.asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[None]:
    """Let a worker work meanwhile."""
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        await worker.stop(5)
        await running


async def nobody_keeps_a_transaction(database: Database) -> None:
    """Wait until no connection keeps a transaction open without doing anything in it; fail where one does."""
    # A worker that looks for other jobs may be between two statements at any moment, but not for long.
    async with asyncio.timeout(10):
        while True:
            async with database.snapshot() as tx:
                found: int = await tx.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND state LIKE 'idle in transaction%'"
                )
            if not found:
                return


class Silence:
    """A server that takes connections and never says a word."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.called.set()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()


async def contacts(tx: Tx, customer_sid: str, kind: str) -> list[tuple[str, str]]:
    return [(one.sid, one.address) for one in await customers.contacts(tx, customer_sid, kind)]


class TestHangingMailServer:
    async def test_notice_waits_without_a_transaction_and_is_tried_again(
        self, database: Database, clock: VirtualClock, customer: str
    ) -> None:
        silence = Silence()
        server = await silence.listen()
        settings = SmtpSettings("127.0.0.1", silence.port, "operator.example", "none", timeout_s=60)
        delivery = notices.Delivery(contacts, LETTERHEAD)
        worker = Worker(database, clock, name="test")
        notices.Tasks(delivery, SmtpMail(settings, clock)).register(worker)
        async with working(worker):
            async with database.transaction() as tx:
                [sid] = await notices.send(
                    tx, [notices.NewNotice(customer, "invoice", "Invoice", "Pay.", "billing")], START
                )
            await asyncio.wait_for(silence.called.wait(), 10)
            await nobody_keeps_a_transaction(database)
            # Nobody else is kept from the notice, and another customer's mail has workers of its own.
            async with database.transaction() as tx:
                await tx.fetch("SELECT 1 FROM notices WHERE sid = $1 FOR UPDATE NOWAIT", sid)
            silence.hang_up()
            await worker.settle()
            async with database.snapshot() as tx:
                notice = (await notices.fetch(tx, [sid]))[sid]
            [address] = notice.addresses
            assert (notice.state, address.attempts, address.is_pending) == ("sent", 1, True)
            due = await worker.next_due()
            assert due is not None and due > START
        server.close()
        silence.hang_up()

    async def test_server_that_never_answers_is_given_up_after_the_timeout(
        self, clock: VirtualClock, database: Database
    ) -> None:
        silence = Silence()
        server = await silence.listen()
        mail = SmtpMail(SmtpSettings("127.0.0.1", silence.port, "operator.example", "none", timeout_s=0.2), clock)
        letter = notices_mail()
        [outcome] = await asyncio.wait_for(mail.send(letter), 10)
        assert outcome.result == "deferred"
        server.close()
        silence.hang_up()


def notices_mail() -> Any:
    return OutMail("<1@operator.example>", "us@operator.example", "Us", ("pay@northwind.example",), "S", "B", START)


class HangingGateway:
    """A provider that takes a charge and answers when the test lets it."""

    name = "hanging"

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.charges: list[str] = []

    async def create_customer(self, customer_sid: str, name: str, *, idempotency_key: str) -> CustomerMade:
        return CustomerMade("cus_1")

    async def setup_method(self, customer_reference: str, token: str, *, idempotency_key: str) -> MethodSet:
        return MethodSet("pm_1", "visa", "4242", 12, 2030)

    async def charge(self, request: ChargeRequest, *, idempotency_key: str) -> Charged:
        self.asked.set()
        await self.answers.wait()
        self.charges.append(idempotency_key)
        return Charged("ch_1", "succeeded")


class TestHangingPaymentProvider:
    async def test_charge_under_way_keeps_nobody_from_the_customers_money(
        self, database: Database, clock: VirtualClock, customer: str
    ) -> None:
        gateway = HangingGateway()
        env = payments.Surroundings({gateway.name: gateway}, gateway.name)  # type: ignore[dict-item]
        paying = payments.Payments(env)
        worker = Worker(database, clock, name="test")
        payments.Tasks(env).register(worker)
        async with database.transaction() as tx:
            await tx.execute(
                "INSERT INTO payment_methods (customer_sid, sid, provider, reference, brand, last4, exp_month, "
                "exp_year, created_at) VALUES ($1, 'PM1', $2, 'pm_1', 'visa', '4242', 12, 2030, $3)",
                customer, gateway.name, START,
            )  # fmt: skip
            await tx.execute("INSERT INTO payment_customers VALUES ($1, $2, 'cus_1')", customer, gateway.name)
        async with working(worker):
            async with database.transaction() as tx:
                made = await paying.top_up(tx, customer, micros("10"), "USD", "test", START, card_sid="PM1")
            await asyncio.wait_for(gateway.asked.wait(), 10)
            await nobody_keeps_a_transaction(database)
            # A bank transfer comes in meanwhile and is not made to wait.
            async with database.transaction() as tx:
                await asyncio.wait_for(
                    paying.record_payment(tx, customer, micros("3"), "USD", START.date(), "BT1", "operator", START),
                    10,
                )
            gateway.answers.set()
            await worker.settle()
        async with database.snapshot() as tx:
            found = await ledger.balance(tx, customer, "USD")
        assert found is not None and found.posted == micros("13")
        assert gateway.charges == [made.sid]


class TestClockJump:
    async def test_jump_of_400_days_within_a_close_closes_each_month_once_and_in_order(
        self, database: Database, clock: VirtualClock, customer: str
    ) -> None:
        jumped: list[datetime] = []

        async def facts(tx: Tx, customer_sid: str, issuer: str, on: date) -> tax.TaxFacts:
            return tax.TaxFacts("US", "USD", seller_country="US")

        async def entity(tx: Tx, customer_sid: str, at: datetime) -> str:
            if not jumped:
                # The first close is under way: its transaction has begun, and nothing of it is committed.
                jumped.append(at)
                clock.held_at = at + timedelta(days=400)
            return "US"

        async def party(tx: Tx, key: str) -> invoicing.Party:
            return invoicing.Party("The operator", "US")

        surroundings = invoicing.Surroundings(facts, entity, party)
        months = [date(2025, month, 15) for month in range(1, 13)] + [date(2026, 1, 15), date(2026, 2, 15)]
        async with database.transaction() as tx:
            await invoicing.enroll(tx, surroundings, customer, START)
            await ledger.open_balance(tx, customer, "USD", START, kind="invoiced")
            for place, day in enumerate(months, 1):
                await use(tx, customer, f"U{place}", place, day)
        worker = Worker(database, clock, name="test")
        invoicing.Tasks(surroundings).register(worker)
        delivery = notices.Delivery(contacts, LETTERHEAD)
        notices.Tasks(delivery, Taking(clock)).register(worker)
        async with working(worker):
            await worker.settle()
            clock.held_at = datetime(2025, 2, 1, 6, tzinfo=UTC)
            worker.clock_changed()
            await worker.settle()
            worker.clock_changed()
            await worker.settle()
        assert jumped == [datetime(2025, 2, 1, 6, tzinfo=UTC)]
        async with database.snapshot() as tx:
            closes = await tx.fetch("SELECT until_on FROM invoice_closes ORDER BY ctid")
            rows = await tx.fetch("SELECT number, period_from, total, issued_on FROM invoices ORDER BY sid")
            left = await tx.fetchval("SELECT count(*) FROM rated_usage WHERE invoice_sid IS NULL")
            wrong = await ledger.verify(tx, await invoicing.open_totals(tx))
        # The clock stands at 8 March 2026: fourteen months are over.
        assert [row["until_on"] for row in closes] == [date(2025, month, 1) for month in range(2, 13)] + [
            date(2026, month, 1) for month in (1, 2, 3)
        ]
        assert [(row["period_from"].month, row["total"]) for row in rows] == [
            (day.month, micros("1") * place) for place, day in enumerate(months, 1)
        ]
        numbers = [row["number"] for row in rows]
        assert numbers == [f"US-2025-{n:06d}" for n in range(1, 13)] + [f"US-2026-{n:06d}" for n in (1, 2)]
        assert left == 0 and wrong == []


async def use(tx: Tx, customer: str, id_: str, amount: int, day: date) -> None:
    """Have rated usage that is on the books as unbilled."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    exact = micros("1") * amount
    await tx.execute(
        "INSERT INTO rated_usage (customer_sid, id, line, kind, name, service, category, direction, country, unit, "
        "qty, currency, price, micros, occurred_at, recorded_at, price_row, order_form, earlier_period, fingerprint) "
        "VALUES ($1, $2, 0, 'fee', 'SMS', 'sms', 'sms', 'outbound', 'US', 'segment', 1, 'USD', $3, $3, $4, $4, 0, '', "
        "false, '')",
        customer, id_, exact, at,
    )  # fmt: skip
    posting = templates.rate_usage([Split("sms", fee=exact)])
    await ledger.post(tx, [Transaction(customer, "USD", id_, posting)], START)


class Taking:
    """A mail server that takes everything."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    async def send(self, mail: Any) -> list[Any]:
        return [
            MailOutcome(one, "accepted", self._clock.now(), "mx.example", "250 ok", "00" * 32)
            for one in mail.recipients
        ]


class TestTwoOperators:
    async def test_of_two_decisions_at_once_one_counts_and_the_other_gets_409(
        self, database: Database, clock: VirtualClock, customer: str
    ) -> None:
        env = payments.Surroundings({}, "")
        routes = {(route.method, route.pattern): route for route in payments.Api(env, database).routes()}
        base = "/commercial/v1/InvoicingApplications"
        applied = await ask(database, routes["POST", base], customer, {"currency": "USD"}, {})
        decide = routes["POST", f"{base}/{{sid}}/Decision"]
        wanted = [
            {"decision": "approve", "credit_limit": "500.00"},
            {"decision": "decline", "reason": "no references"},
        ] * 3
        answers = await asyncio.gather(
            *(ask(database, decide, customer, body, {"sid": applied["sid"]}) for body in wanted),
            return_exceptions=True,
        )
        won = [answer for answer in answers if isinstance(answer, dict)]
        lost = [answer for answer in answers if not isinstance(answer, dict)]
        assert len(won) == 1
        assert all(isinstance(each, Refusal) and each.status == 409 for each in lost)
        async with database.snapshot() as tx:
            kept = await tx.fetch(
                "SELECT to_state FROM audit_events WHERE aggregate = 'invoicing' AND from_state = 'requested'"
            )
        assert [row["to_state"] for row in kept] == [won[0]["state"]]


async def ask(database: Database, route: Any, customer: str, body: dict[str, Any], path: dict[str, str]) -> Any:
    """Call a route of our own as the operator, in a transaction of its own."""
    request = OwnRequest("POST", path, {}, {"customer_sid": customer, **body}, START, None, operator=True)
    async with database.transaction() as tx:
        reply = await route.handler(tx, request)
    return reply.body
