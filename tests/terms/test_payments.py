"""Clause 3.3: how customers pay, what came in, what goes back, and what follows when it does not."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from onterms.business import payments, standing
from onterms.business.payments import model
from onterms.business.payments.service import top_ups
from onterms.carriers.payment_simulator import PaymentSimulator, PaymentSimulatorApi
from onterms.carriers.payment_simulator.gateway import SIGNATURE_HEADER
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.engines import ledger
from onterms.engines.api import Account, Caller, OwnReply, OwnRequest
from onterms.engines.jobs import Worker
from onterms.protocols.timestamped_signature import sign

SECRET = "whsec_of_the_test"
GOOD, DECLINED, ASKS, DISPUTED = (
    "sim_4242424242424242",
    "sim_4000000000000002",
    "sim_4000002500003155",
    "sim_4000000000000259",
)


class Desk:
    """The room with the simulator as its provider, a customer, and a worker."""

    def __init__(self, database: Database, commerce: Any) -> None:
        self.database, self.commerce = database, commerce
        self.clock = VirtualClock(held_at=datetime(2025, 1, 31, 12, tzinfo=UTC))
        self.customer, self.account = commerce.customer, commerce.account
        self.order: payments.OrderTerms | None = None
        self.told: list[str | None] = []
        self.documents: list[payments.OpenDocument] | None = None
        self.simulator = PaymentSimulator(database, self.clock, SECRET)
        self.env = payments.Surroundings(
            gateways={"simulator": self.simulator},
            provider="simulator",
            orders=self._orders,
            open_documents=self._open_documents,
            allocated=self._allocated,
        )
        self.room = payments.Payments(self.env)

        async def sink(tx: Tx, body: bytes, headers: Mapping[str, str], at: datetime) -> str:
            return await self.room.receive_webhook(tx, "simulator", body, headers, at)

        self.simulator.deliver_to(sink)
        self.routes = [
            *payments.Api(self.env, database).routes(),
            *PaymentSimulatorApi(self.simulator).routes(),
        ]
        self.worker = Worker(database, self.clock, name="node")
        payments.Tasks(self.env).register(self.worker)
        self.simulator.register(self.worker)

    async def _orders(self, tx: Tx, customer_sid: str, on: date) -> payments.OrderTerms | None:
        return self.order

    async def _open_documents(self, tx: Tx, customer_sid: str) -> list[payments.OpenDocument]:
        if self.documents is not None:
            return self.documents
        due = await ledger.receivables(tx, customer_sid)
        return [payments.OpenDocument(each.document, each.currency, None, 0, 0, each.undisputed) for each in due]

    async def _allocated(self, tx: Tx, customer_sid: str, source_sid: str, *told: Any) -> None:
        self.told += [each.document for each in told[1]]

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        as_customer: bool = False,
        raw: bytes = b"",
        headers: Mapping[bytes, bytes] | None = None,
    ) -> OwnReply:
        path = path if path.startswith("/") else f"/commercial/v1/{path}"
        for route in self.routes:
            match = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.pattern), path)
            if match and route.method == method:
                break
        else:
            raise AssertionError(f"no route {method} {path}")
        caller = Caller(Account(self.account, self.account, "active", ""), "token", self.account)
        query = {} if as_customer else {"customer_sid": self.customer}
        request = OwnRequest(
            method,
            match.groupdict(),
            query,
            body or {},
            self.clock.now(),
            caller if as_customer else None,
            operator=not as_customer,
            headers=headers or {},
            raw_body=raw,
        )
        if route.free_handler is not None:
            return await route.free_handler(request)
        assert route.handler is not None
        async with self.database.transaction() as tx:
            return await route.handler(tx, request)

    async def refused(self, *args: Any, **options: Any) -> tuple[int, str]:
        with pytest.raises(Refusal) as caught:
            await self.call(*args, **options)
        return caught.value.status, str((caught.value.details or {}).get("clause"))

    async def add_card(self, token: str = GOOD) -> str:
        sid = (await self.call("POST", "PaymentMethods", {"kind": "card", "token": token})).body["sid"]
        assert (await self.call("POST", f"PaymentMethods/{sid}")).body["is_default"]
        return str(sid)

    async def top_up(self, amount: str, **body: Any) -> dict[str, Any]:
        made = (await self.call("POST", "TopUps", {"amount": amount, **body}, as_customer=True)).body
        await self.worker.settle()
        return dict((await self.call("GET", f"TopUps/{made['sid']}")).body)

    async def settings(self, **body: Any) -> None:
        await self.call("POST", "/simulator/v1/payments/settings", body)

    async def webhooks(self) -> list[dict[str, Any]]:
        return list((await self.call("GET", "/simulator/v1/payments/webhooks")).body["items"])

    async def deliver(self, webhook: dict[str, Any]) -> str:
        return str(
            (await self.call("POST", f"/simulator/v1/payments/webhooks/{webhook['id']}/deliveries")).body["answer"]
        )

    async def charge(self, fee: int) -> None:
        """Take a fee, which may leave the customer owing."""
        async with self.database.transaction() as tx:
            await ledger.open_balance(tx, self.customer, "USD", self.clock.now())
            key = f"fee:{self.clock.now().isoformat()}:{fee}"
            charged = ledger.Charge(self.customer, "USD", key, ledger.Split("numbers", fee=fee))
            await ledger.charge(tx, [charged], self.clock.now())
            await self.room.review_standing(tx, self.customer, self.clock.now())

    async def bill(self, document: str, micros: int) -> None:
        async with self.database.transaction() as tx:
            if await ledger.balance(tx, self.customer, "USD") is None:
                await ledger.open_balance(tx, self.customer, "USD", self.clock.now())
            posting = ledger.templates.invoice_close(document, micros, {})
            used = ledger.templates.rate_usage([ledger.Split("sms", fee=micros)])
            for key, each in ((f"use:{document}", used), (f"close:{document}", posting)):
                await ledger.post(tx, [ledger.Transaction(self.customer, "USD", key, each)], self.clock.now())

    async def balance(self) -> ledger.Balance:
        async with self.database.transaction() as tx:
            found = await ledger.balance(tx, self.customer, "USD")
            assert found is not None and await ledger.verify(tx) == []
            return found

    async def state(self) -> str:
        return str((await self.call("GET", "PaymentStanding")).body["state"])

    async def standing(self) -> standing.StandingState:
        async with self.database.transaction() as tx:
            return (await standing.states(tx, [self.account]))[self.account]

    async def pass_time(self, **delta: int) -> None:
        end = self.clock.now() + timedelta(**delta)
        while (due := await self.worker.next_due()) is not None and due <= end:
            self.clock.hold(max(due, self.clock.now()))
            self.worker.clock_changed()
            await self.worker.settle()
        self.clock.hold(end)
        self.worker.clock_changed()
        await self.worker.settle()


@pytest.fixture
async def desk(database: Database, commerce: Any) -> AsyncIterator[Desk]:
    made = Desk(database, commerce)
    running = asyncio.create_task(made.worker.run())
    await made.worker.settle()
    yield made
    await made.worker.stop(1)
    await running


# ---- the rows of the matrix


async def test_3_3_non_refundable_refund_without_a_ground_is_422(desk: Desk) -> None:
    await desk.add_card()
    paid = await desk.top_up("50.00")
    ask = {"source_sid": paid["sid"], "amount": "20.00"}
    assert await desk.refused("POST", "Refunds", ask) == (422, "3.3")
    assert await desk.refused("POST", "Refunds", {**ask, "basis": "kindness"}) == (422, "3.3")
    for basis in ("5.4", "6.1.2", "sla", "error", "dispute", "goodwill"):
        made = (await desk.call("POST", "Refunds", {**ask, "amount": "1.00", "basis": basis})).body
        await desk.worker.settle()
        assert (made["amount"], made["state"]) == ("1.00", "created")
    assert [each["state"] for each in (await desk.call("GET", "Refunds")).body["items"]] == ["succeeded"] * 6
    assert (await desk.balance()).accounts["refunds"] == 6_000_000
    assert (await desk.balance()).accounts["cash:simulator"] == 44_000_000


async def test_3_3_method_order_form_of_net_45_makes_2025_01_31_due_2025_03_17(desk: Desk) -> None:
    async with desk.database.transaction() as tx:
        plain = await desk.room.payment_terms(tx, desk.customer, date(2025, 1, 31))
        assert (plain.method, plain.net_days, plain.source) == ("card", 0, "method")
        desk.order = payments.OrderTerms(net_days=45, order_form_sid="OF1")
        terms = await desk.room.payment_terms(tx, desk.customer, date(2025, 1, 31))
    assert terms.due_on(date(2025, 1, 31)) == date(2025, 3, 17)
    assert (terms.source, terms.order_form_sid, terms.currency) == ("order_form", "OF1", "USD")


async def test_3_3_1_suspend_decline_with_a_cent_due_suspends_all_and_a_cent_lifts(desk: Desk) -> None:
    _, other = await desk.commerce.make_customer("Other")
    desk.clock.hold(datetime(2025, 3, 1, tzinfo=UTC))
    await desk.charge(10_000)
    assert (await desk.balance()).net == -10_000
    assert (await desk.state(), (await desk.standing()).can_send) == ("insufficient", True)
    await desk.add_card(DECLINED)
    assert (await desk.top_up("5.00"))["failure_code"] == "card_declined"
    assert await desk.state() == "suspended"
    assert not (await desk.standing()).can_send
    async with desk.database.transaction() as tx:
        assert (await standing.states(tx, [other]))[other].can_send
    await desk.add_card(GOOD)
    assert (await desk.top_up("0.01"))["state"] == "succeeded"
    assert await desk.state() == "ok"
    assert (await desk.standing()).can_send and (await desk.standing()).can_create_accounts
    found = await desk.balance()
    assert (found.net, found.owed, found.available) == (0, 0, 0)


async def test_3_3_1_new_accounts_are_403_with_a_cent_due_until_it_is_paid(desk: Desk) -> None:
    await desk.charge(10_000)
    async with desk.database.transaction() as tx:
        with pytest.raises(payments.Unpaid) as caught:
            await desk.room.require_paid(tx, desk.customer, desk.clock.now())
    assert caught.value.status == 403 and caught.value.details is not None
    assert (caught.value.details["clause"], caught.value.details["due"]) == ("3.3.1", {"USD": "0.01"})
    assert not (await desk.standing()).can_create_accounts
    await desk.call("POST", "Payments", {"amount": "0.01", "reference": "wire 1"})
    assert (await desk.standing()).can_create_accounts
    async with desk.database.transaction() as tx:
        await desk.room.require_paid(tx, desk.customer, desk.clock.now())


async def test_3_3_1_suspension_waits_for_the_operator_where_the_policy_is_to_propose(desk: Desk) -> None:
    object.__setattr__(desk.env, "prepaid_policy", "propose")
    await desk.charge(10_000)
    await desk.add_card(DECLINED)
    await desk.top_up("5.00")
    shown = (await desk.call("GET", "PaymentStanding")).body
    assert (shown["state"], shown["suspension_proposed_at"] is not None) == ("insufficient", True)
    assert (await desk.call("POST", "PaymentStanding/Suspension")).body["state"] == "suspended"
    assert await desk.refused("POST", "PaymentStanding/Suspension") == (409, "3.3.1")


async def test_3_3_2_approval_invoice_without_one_is_409_and_with_one_sets_limit_and_terms(desk: Desk) -> None:
    assert await desk.refused("POST", "PaymentMethods", {"kind": "invoice"}) == (409, "3.3.2")
    made = (await desk.call("POST", "InvoicingApplications", {"note": "monthly"}, as_customer=True)).body
    assert await desk.refused("POST", "PaymentMethods", {"kind": "invoice"}) == (409, "3.3.2")
    assert await desk.refused("POST", "InvoicingApplications", {}) == (409, "3.3.2")
    path = f"InvoicingApplications/{made['sid']}"
    assert await desk.refused("POST", f"{path}/Decision", {"decision": "approve"}) == (422, "3.3.2")
    decided = await desk.call("POST", f"{path}/Decision", {"decision": "approve", "credit_limit": "500.00"})
    assert (decided.body["state"], decided.body["credit_limit"], decided.body["net_days"]) == ("approved", "500.00", 30)
    assert await desk.refused("POST", f"{path}/Decision", {"decision": "decline", "reason": "x"}) == (409, "3.3.2")
    shown = (await desk.call("POST", "PaymentMethods", {"kind": "invoice"}, as_customer=True)).body
    assert (shown["method"], shown["terms"]["net_days"], shown["terms"]["source"]) == ("invoice", 30, "approval")
    assert (await desk.balance()).available == 500_000_000
    async with desk.database.transaction() as tx:
        assert await desk.room.require_method(tx, desk.customer, desk.clock.now()) == "invoice"
        terms = await desk.room.payment_terms(tx, desk.customer, date(2025, 1, 31))
    assert terms.due_on(date(2025, 1, 31)) == date(2025, 3, 2)
    assert terms.due_on(date(2024, 1, 31)) == date(2024, 3, 1)
    assert await desk.refused("POST", f"{path}/Withdrawal") == (409, "3.3.2")
    await desk.call("POST", "PaymentMethods", {"kind": "card"})
    assert (await desk.call("POST", f"{path}/Withdrawal")).body["state"] == "withdrawn"
    assert await desk.refused("POST", "PaymentMethods", {"kind": "invoice"}) == (409, "3.3.2")


async def test_3_2_1_proof_payment_of_8500_on_10000_leaves_1500_due(desk: Desk) -> None:
    await desk.bill("IN1", 10_000_000_000)
    paid = (await desk.call("POST", "Payments", {"amount": "8500.00", "reference": "wire 9"})).body
    assert paid["unallocated"] == "0.00"
    async with desk.database.transaction() as tx:
        [left] = await ledger.receivables(tx, desk.customer)
    assert (left.document, left.undisputed) == ("IN1", 1_500_000_000)


# ---- settlement (C7)


async def test_c7_payment_settles_as_told_then_oldest_first_and_taxes_before_surcharges_before_fees(desk: Desk) -> None:
    for document in ("INa", "INb", "INc"):
        await desk.bill(document, 100_000_000)
    made = payments.OpenDocument
    desk.documents = [
        made("INa", "USD", date(2025, 3, 2), 8_000_000, 2_000_000, 90_000_000),
        made("INb", "USD", date(2025, 2, 2), 8_000_000, 2_000_000, 90_000_000),
        made("INc", "USD", date(2025, 4, 2), 8_000_000, 2_000_000, 90_000_000),
    ]
    told = [{"document": "INc", "amount": "9.00"}]
    body = {"amount": "118.00", "reference": "wire 2", "instruction": told}
    paid = (await desk.call("POST", "Payments", body)).body
    assert paid["allocations"] == [
        {"document": "INc", "taxes": "8.00", "surcharges": "1.00", "fees": "0.00"},
        {"document": "INb", "taxes": "8.00", "surcharges": "2.00", "fees": "90.00"},
        {"document": "INa", "taxes": "8.00", "surcharges": "1.00", "fees": "0.00"},
    ]
    body["received_on"] = "2025-01-31"
    desk.clock.hold(desk.clock.now() + timedelta(days=1))
    again = await desk.call("POST", "Payments", body)
    assert desk.told == ["INc", "INb", "INa"]
    assert (again.status, again.body["sid"]) == (200, paid["sid"])
    assert (await desk.balance()).owed == 182_000_000
    assert await desk.refused("POST", "Payments", {**body, "amount": "119.00"}) == (409, "3.3")
    unknown = {"amount": "1.00", "reference": "wire 3", "instruction": [{"document": "INz"}]}
    assert (await desk.refused("POST", "Payments", unknown))[0] == 400
    async with desk.database.transaction() as tx:
        parts = await desk.room.settled(tx, desk.customer, ["INb"])
    assert parts["INb"].total == 100_000_000


async def test_money_settles_no_document_that_nobody_offers(desk: Desk) -> None:
    object.__setattr__(desk.env, "open_documents", payments.debts_without_documents)
    await desk.bill("IN1", 5_000_000)
    await desk.charge(2_000_000)
    paid = (await desk.call("POST", "Payments", {"amount": "9.00", "reference": "wire 4"})).body
    assert (paid["unallocated"], [each["document"] for each in paid["allocations"]]) == ("7.00", [None])


def test_settlement_never_passes_what_the_ledger_holds_due() -> None:
    due = [model.OpenDocument("IN1", "USD", None, 5, 5, 90)]
    assert model.settle(1000, due, {"IN1": 60}) == [model.Allocation("IN1", 5, 5, 50)]
    assert model.settle(1000, due, {}) == []


# ---- state machines, row by row


def test_every_row_leads_to_a_state_and_final_states_move_only_where_money_did() -> None:
    states = {"created", "processing", "needs_action", "succeeded", "failed"}
    assert {move.next for move in model.TOP_UP.values()} <= states
    assert not any(state == "succeeded" for state, _ in model.TOP_UP)
    assert [event for state, event in model.TOP_UP if state == "failed"] == ["succeeded"]
    assert not any(state in ("won", "lost") for state, _ in model.CHARGEBACK)
    assert {state for state, event in model.STANDING if event == "paid"} == {"insufficient", "suspended"}
    assert {event for state, event in model.APPLICATION if state == "requested"} == {"approve", "decline", "withdraw"}
    assert ("declined", "withdraw") not in model.APPLICATION


# ---- top-ups and what providers do


async def test_top_up_is_credited_once_however_the_answer_and_webhooks_come(desk: Desk) -> None:
    await desk.settings(webhook_copies=3)
    await desk.add_card()
    assert (await desk.top_up("25.50"))["state"] == "succeeded"
    await desk.pass_time(seconds=10)
    [webhook] = await desk.webhooks()
    assert (webhook["deliveries"], webhook["answer"]) == (3, "duplicate")
    assert await desk.deliver(webhook) == "duplicate"
    assert (await desk.balance()).posted == 25_500_000


async def test_webhook_before_the_answer_credits_and_the_answer_changes_nothing(desk: Desk) -> None:
    await desk.settings(holds_webhooks=True)
    await desk.add_card()
    await desk.settings(is_unreachable=True)
    made = await desk.top_up("10.00")
    assert made["state"] == "processing"
    # The provider got the command, and its answer was lost.
    await desk.settings(is_unreachable=False)
    async with desk.database.transaction() as tx:
        begun = await top_ups.begin(tx, desk.customer, made["sid"], desk.clock.now())
    assert begun is not None and begun[1] is not None
    await desk.simulator.charge(begun[1], idempotency_key=made["sid"])
    [webhook] = await desk.webhooks()
    assert await desk.deliver(webhook) == "applied"
    assert (await desk.balance()).posted == 10_000_000
    await desk.pass_time(minutes=5)
    assert (await desk.call("GET", f"TopUps/{made['sid']}")).body["state"] == "succeeded"
    assert (await desk.balance()).posted == 10_000_000
    assert len((await desk.call("GET", "/simulator/v1/payments/charges")).body["items"]) == 1


async def test_dispute_told_before_the_charges_id_is_known_waits_for_it(desk: Desk) -> None:
    await desk.settings(holds_webhooks=True)
    await desk.add_card(DISPUTED)
    await desk.settings(is_unreachable=True)
    made = await desk.top_up("10.00")
    await desk.settings(is_unreachable=False)
    async with desk.database.transaction() as tx:
        begun = await top_ups.begin(tx, desk.customer, made["sid"], desk.clock.now())
    assert begun is not None and begun[1] is not None
    await desk.simulator.charge(begun[1], idempotency_key=made["sid"])
    _, opened = await desk.webhooks()
    assert await desk.deliver(opened) == "parked"
    assert await desk.deliver(opened) == "duplicate"
    assert (await desk.call("GET", "Chargebacks")).body["items"] == []
    await desk.pass_time(minutes=5)
    [chargeback] = (await desk.call("GET", "Chargebacks")).body["items"]
    assert (chargeback["state"], (await desk.balance()).accounts["chargeback"]) == ("opened", 10_000_000)


async def test_events_out_of_order_end_where_those_in_order_do(desk: Desk) -> None:
    await desk.settings(settles_later=True, holds_webhooks=True)
    await desk.add_card()
    made = await desk.top_up("40.00")
    assert made["state"] == "processing"
    charge = made["reference"]
    opened = (await desk.call("POST", f"/simulator/v1/payments/charges/{charge}/disputes", {"minor": 4000})).body
    await desk.call("POST", f"/simulator/v1/payments/disputes/{opened['id']}/closure", {"outcome": "lost"})
    succeeded, dispute_opened, dispute_lost = await desk.webhooks()
    assert [await desk.deliver(each) for each in (dispute_lost, dispute_opened, succeeded)] == [
        "applied",
        "stale",
        "stale",
    ]
    assert (await desk.call("GET", f"TopUps/{made['sid']}")).body["state"] == "succeeded"
    [chargeback] = (await desk.call("GET", "Chargebacks")).body["items"]
    assert (chargeback["state"], chargeback["amount"]) == ("lost", "40.00")
    found = await desk.balance()
    assert (found.posted, found.accounts.get("chargeback", 0), found.accounts.get("cash:simulator", 0)) == (0, 0, 0)


async def test_lost_chargeback_beyond_the_balance_is_owed_and_won_one_gives_the_cash_back(desk: Desk) -> None:
    await desk.add_card(DISPUTED)
    first = await desk.top_up("30.00")
    await desk.pass_time(seconds=10)
    await desk.charge(20_000_000)
    [opened] = (await desk.call("GET", "Chargebacks")).body["items"]
    assert (opened["state"], (await desk.balance()).accounts["chargeback"]) == ("opened", 30_000_000)
    path = f"/simulator/v1/payments/charges/{first['reference']}/disputes"
    [dispute] = (await desk.call("GET", path)).body["items"]
    refund = {"source_sid": first["sid"], "amount": "1.00", "basis": "error"}
    assert await desk.refused("POST", "Refunds", refund) == (409, "3.3")
    await desk.call("POST", f"/simulator/v1/payments/disputes/{dispute['id']}/closure", {"outcome": "lost"})
    await desk.pass_time(seconds=10)
    found = await desk.balance()
    assert (found.posted, found.owed, found.net) == (0, 20_000_000, -20_000_000)
    assert await desk.state() == "insufficient"


async def test_card_that_asks_waits_for_the_cardholder(desk: Desk) -> None:
    await desk.add_card(ASKS)
    made = await desk.top_up("12.00")
    assert (made["state"], made["action"] is not None) == ("needs_action", True)
    path = f"/simulator/v1/payments/charges/{made['reference']}/authentication"
    await desk.call("POST", path, {"outcome": "succeed"})
    await desk.pass_time(seconds=5)
    shown = (await desk.call("GET", f"TopUps/{made['sid']}")).body
    assert (shown["state"], shown["action"], (await desk.balance()).posted) == ("succeeded", None, 12_000_000)


async def test_provider_that_is_down_is_asked_again_under_the_same_key(desk: Desk) -> None:
    await desk.add_card()
    await desk.settings(is_unreachable=True)
    made = await desk.top_up("10.00")
    await desk.pass_time(minutes=10)
    await desk.settings(is_unreachable=False)
    await desk.pass_time(hours=2)
    assert (await desk.call("GET", f"TopUps/{made['sid']}")).body["state"] == "succeeded"
    assert (await desk.balance()).posted == 10_000_000
    [settled] = (await desk.call("GET", "Settlements/simulator")).body["items"]
    assert (settled["top_up_sid"], settled["matches"], settled["fee"]) == (made["sid"], True, "0.29")


# ---- bad input


async def test_forged_replayed_and_foreign_webhooks_change_nothing(desk: Desk) -> None:
    await desk.settings(holds_webhooks=True, settles_later=True)
    await desk.add_card()
    made = await desk.top_up("10.00")
    [webhook] = await desk.webhooks()
    now, body = int(desk.clock.now().timestamp()), webhook["body"].encode()

    async def post(header: str, content: bytes = body, provider: str = "simulator") -> Any:
        headers = {SIGNATURE_HEADER.encode(): header.encode()}
        return await desk.call("POST", f"PaymentWebhooks/{provider}", raw=content, headers=headers)

    bad = [
        "",
        "t=,v1=",
        f"t={now}",
        sign("whsec_other", body, now),
        sign(SECRET, body + b" ", now),
        sign(SECRET, body, now - 301),
        sign(SECRET, body, now + 301),
        sign(SECRET, body, now).replace(f"t={now}", f"t={now - 1}"),
        f"t={now},{sign(SECRET, body, now)}",
    ]
    for header in bad:
        with pytest.raises(payments.ForgedWebhook):
            await post(header)
    with pytest.raises(Refusal) as caught:
        await post(sign(SECRET, body, now), provider="nobody")
    assert caught.value.status == 404
    changed = json.dumps({**json.loads(body), "id": "EV2", "minor": 999_999}).encode()
    assert (await post(sign(SECRET, changed, now), changed)).body["outcome"] == "mismatch"
    assert (await desk.call("GET", f"TopUps/{made['sid']}")).body["state"] == "processing"
    assert (await post(sign(SECRET, body, now))).body["outcome"] == "applied"
    assert (await post(sign(SECRET, body, now + 5))).body["outcome"] == "duplicate"
    assert (await desk.balance()).posted == 10_000_000


@pytest.mark.parametrize(
    "body",
    [
        {"amount": "1.0000001"},
        {"amount": "1.001"},
        {"amount": "0.00"},
        {"amount": "-5.00"},
        {"amount": 5},
        {"amount": "1e3"},
        {"amount": "1000000.00"},
        {},
        {"amount": "5.00", "currency": "XXX"},
        {"amount": "5.00", "currency": "usd"},
        {"amount": "5.00", "currency": "EUR"},
        {"amount": "5.00", "idempotency_key": ""},
    ],
)
async def test_top_up_with_a_bad_amount_or_currency_is_refused(desk: Desk, body: dict[str, Any]) -> None:
    await desk.add_card()
    assert (await desk.refused("POST", "TopUps", body, as_customer=True))[0] == 400
    assert (await desk.call("GET", "TopUps")).body["items"] == []


async def test_double_submit_is_one_top_up(desk: Desk) -> None:
    assert await desk.refused("POST", "TopUps", {"amount": "5.00"}) == (409, "3.3.1")
    await desk.add_card()
    body = {"amount": "5.00", "idempotency_key": "form-1"}
    first = (await desk.call("POST", "TopUps", body)).body
    second = (await desk.call("POST", "TopUps", {"amount": "5.00"}, headers={b"idempotency-key": b"form-1"})).body
    assert first["sid"] == second["sid"]
    assert await desk.refused("POST", "TopUps", {**body, "amount": "6.00"}) == (409, "3.3.1")
    await desk.worker.settle()
    assert (await desk.balance()).posted == 5_000_000


async def test_same_top_up_without_a_key_is_refused_while_it_is_under_way(desk: Desk) -> None:
    await desk.add_card()
    await desk.settings(settles_later=True, holds_webhooks=True)
    await desk.top_up("5.00")
    assert await desk.refused("POST", "TopUps", {"amount": "5.00"}) == (409, "3.3.1")


async def test_refunds_never_pass_what_was_paid_and_a_failed_one_takes_its_posting_back(desk: Desk) -> None:
    await desk.add_card()
    paid = await desk.top_up("10.00")
    ask = {"source_sid": paid["sid"], "basis": "goodwill", "taken_from": "prepaid_balance"}
    assert await desk.refused("POST", "Refunds", {**ask, "amount": "10.01"}) == (409, "3.3")
    await desk.charge(9_000_000)
    assert await desk.refused("POST", "Refunds", {**ask, "amount": "1.01"}) == (409, "3.3")
    assert await desk.refused("POST", "Refunds", {**ask, "amount": "1.00", "basis": "sla"}) == (422, "3.3")
    made = (await desk.call("POST", "Refunds", {**ask, "amount": "0.995", "idempotency_key": "r1"})).body
    again = (await desk.call("POST", "Refunds", {**ask, "amount": "0.995", "idempotency_key": "r1"})).body
    assert (made["amount"], made["sid"]) == ("1.00", again["sid"])
    assert (await desk.balance()).posted == 0
    await desk.worker.settle()
    assert (await desk.balance()).posted == 0
    assert len((await desk.call("GET", "Refunds")).body["items"]) == 1


# ---- auto-recharge


async def test_auto_recharge_fills_up_once_at_a_time_and_stops_at_the_days_cap(desk: Desk) -> None:
    ask = {"threshold": "10.00", "amount": "20.00", "cap_per_day": "50.00"}
    assert await desk.refused("POST", "AutoRecharge", ask) == (409, "3.3.1")
    await desk.add_card()
    assert (await desk.refused("POST", "AutoRecharge", {**ask, "cap_per_day": "19.99"}))[0] == 400
    await desk.call("POST", "AutoRecharge", ask)
    await desk.worker.settle()
    assert (await desk.balance()).posted == 20_000_000
    for _ in range(3):
        await desk.charge(15_000_000)
        async with desk.database.transaction() as tx:
            for _ in range(2):
                await desk.room.funds_spent(tx, desk.customer, "USD", desk.clock.now())
        await desk.worker.settle()
        await desk.pass_time(minutes=1)
    # Two of 20.00 fit into 50.00 a day; the third waits for the next day.
    assert [each["amount"] for each in (await desk.call("GET", "TopUps")).body["items"]] == ["20.00", "20.00"]
    await desk.pass_time(days=1)
    assert len((await desk.call("GET", "TopUps")).body["items"]) == 3


async def test_auto_recharge_pauses_when_the_card_declines(desk: Desk) -> None:
    await desk.add_card(DECLINED)
    await desk.call("POST", "AutoRecharge", {"threshold": "1.00", "amount": "20.00", "cap_per_day": "50.00"})
    await desk.pass_time(days=3)
    [shown] = (await desk.call("GET", "AutoRecharge")).body["items"]
    assert (shown["state"], shown["reason"]) == ("paused", "card_declined")
    assert len((await desk.call("GET", "TopUps")).body["items"]) == 1


# ---- the rest of the door


async def test_sandbox_credit_is_given_once(desk: Desk) -> None:
    for _ in range(2):
        async with desk.database.transaction() as tx:
            made = await desk.room.ensure_sandbox_credit(tx, desk.customer, desk.clock.now())
    assert (made.micros, made.state, made.origin) == (1_000_000_000, "succeeded", "sandbox")
    assert (await desk.balance()).posted == 1_000_000_000
    refund = {"source_sid": made.sid, "amount": "1.00", "basis": "goodwill"}
    assert await desk.refused("POST", "Refunds", refund) == (409, "3.3")


async def test_exposure_over_the_limit_opens_a_task(desk: Desk) -> None:
    made = (await desk.call("POST", "InvoicingApplications", {})).body
    decision = {"decision": "approve", "credit_limit": "100.00", "net_days": 15}
    await desk.call("POST", f"InvoicingApplications/{made['sid']}/Decision", decision)
    await desk.call("POST", "PaymentMethods", {"kind": "invoice"})
    await desk.bill("IN1", 100_010_000)
    async with desk.database.transaction() as tx:
        await desk.room.review_standing(tx, desk.customer, desk.clock.now())
        kinds = await tx.fetch("SELECT kind FROM customer_tasks WHERE customer_sid = $1", desk.customer)
    assert [row["kind"] for row in kinds] == ["exposure"]
    [shown] = (await desk.call("GET", "PaymentStanding")).body["exposure"]
    assert (shown["total"], shown["is_over"]) == ("100.01", True)


async def test_another_customers_cards_and_top_ups_are_not_found(desk: Desk) -> None:
    card = await desk.add_card()
    made = await desk.top_up("5.00")
    _, desk.account = await desk.commerce.make_customer("Other")
    for method, path in (
        ("GET", f"TopUps/{made['sid']}"),
        ("DELETE", f"PaymentMethods/{card}"),
        ("POST", f"PaymentMethods/{card}"),
    ):
        assert (await desk.refused(method, path, as_customer=True))[0] == 404
    assert (await desk.call("GET", "TopUps", as_customer=True)).body["items"] == []
