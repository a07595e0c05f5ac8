"""The Stripe adapter against a server on loopback that answers with Stripe's shapes."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from onterms.carriers.stripe import StripeGateway
from onterms.ports.payment_gateway import (
    Charged,
    ChargeRequest,
    CustomerMade,
    Declined,
    Forged,
    GatewayEvent,
    MethodSet,
    Refunded,
    RefundRequest,
    Settlement,
    Unreachable,
)
from onterms.protocols.timestamped_signature import sign

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
SECRET = "whsec_test"
CHARGE = ChargeRequest("cus_1", "pm_1", 12_340_000, "USD", "OR1", "TU1")


class Server:
    """Remember requests and answer as told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], dict[str, str]]] = []
        self.answers: list[tuple[int, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        fields = form or {name: str(value) for name, value in request.query.items()}
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.path, fields, headers))
        status, body = self.answers.pop(0)
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def gateway(server: Server) -> AsyncIterator[StripeGateway]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with StripeGateway("sk_test_key", SECRET, base_url=f"http://127.0.0.1:{port}", timeout_s=5) as made:
        yield made
    await runner.cleanup()


async def test_charge_is_one_confirmed_intent_under_the_given_key(server: Server, gateway: StripeGateway) -> None:
    server.answers = [(200, {"id": "pi_1", "status": "succeeded", "amount": 1234, "currency": "usd"})]
    assert await gateway.charge(CHARGE, idempotency_key="TU1") == Charged("pi_1", "succeeded")
    [(method, path, fields, headers)] = server.requests
    assert (method, path) == ("POST", "/v1/payment_intents")
    assert fields == {
        "amount": "1234",
        "currency": "usd",
        "customer": "cus_1",
        "payment_method": "pm_1",
        "confirm": "true",
        "payment_method_types[]": "card",
        "metadata[customer_sid]": "OR1",
        "metadata[top_up_sid]": "TU1",
    }
    assert (headers["idempotency-key"], headers["authorization"]) == ("TU1", "Bearer sk_test_key")
    assert headers["stripe-version"] == "2024-06-20"


async def test_yen_are_counted_whole(server: Server, gateway: StripeGateway) -> None:
    server.answers = [(200, {"id": "pi_1", "status": "processing"})]
    request = ChargeRequest("cus_1", "pm_1", 1_500_000_000, "JPY", "OR1", "TU1", off_session=True)
    assert await gateway.charge(request, idempotency_key="TU1") == Charged("pi_1", "processing")
    assert (server.requests[0][2]["amount"], server.requests[0][2]["off_session"]) == ("1500", "true")


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (
            200,
            {"id": "pi_1", "status": "requires_action", "client_secret": "pi_1_secret"},
            Charged("pi_1", "needs_action", "pi_1_secret"),
        ),
        (
            402,
            {
                "error": {
                    "type": "card_error",
                    "code": "card_declined",
                    "decline_code": "insufficient_funds",
                    "message": "Your card has insufficient funds.",
                    "payment_intent": {"id": "pi_1"},
                }
            },
            Declined("insufficient_funds", "Your card has insufficient funds.", "pi_1"),
        ),
        (
            400,
            {"error": {"type": "idempotency_error", "message": "Keys for idempotent requests differ"}},
            Declined("idempotency_error", "Keys for idempotent requests differ"),
        ),
        (409, {"error": {"code": "idempotency_key_in_use"}}, Unreachable("status 409")),
        (429, {"error": {"code": "rate_limit"}}, Unreachable("status 429")),
        (401, {"error": {"message": "Invalid API Key provided: sk_test_key"}}, Unreachable("status 401")),
        (500, {"error": {"type": "api_error"}}, Unreachable("status 500")),
        (200, "<html>", Unreachable("status 200 without a readable body")),
        (302, "", Unreachable("status 302 without a readable body")),
    ],
)
async def test_each_answer_to_a_charge_has_its_outcome(
    server: Server, gateway: StripeGateway, status: int, body: Any, outcome: Any
) -> None:
    server.answers = [(status, body)]
    assert await gateway.charge(CHARGE, idempotency_key="TU1") == outcome


async def test_closed_port_is_unreachable() -> None:
    async with StripeGateway("sk", SECRET, base_url="http://127.0.0.1:1", timeout_s=5) as gateway:
        assert isinstance(await gateway.charge(CHARGE, idempotency_key="TU1"), Unreachable)


async def test_customer_card_and_refund(server: Server, gateway: StripeGateway) -> None:
    card = {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2030}
    server.answers = [
        (200, {"id": "cus_1"}),
        (200, {"id": "pm_1", "card": card}),
        (200, {"id": "pm_2"}),
        (200, {"id": "re_1", "status": "pending"}),
        (200, {"id": "re_2", "status": "failed", "failure_reason": "expired_or_canceled_card"}),
    ]
    assert await gateway.create_customer("OR1", "Northwind", idempotency_key="OR1") == CustomerMade("cus_1")
    made = await gateway.setup_method("cus_1", "pm_1", idempotency_key="k")
    assert made == MethodSet("pm_1", "visa", "4242", 12, 2030)
    assert isinstance(await gateway.setup_method("cus_1", "pm_2", idempotency_key="k"), Declined)
    refund = RefundRequest("pi_1", 1_000_000, "USD", "OR1", "RF1")
    assert await gateway.refund(refund, idempotency_key="RF1") == Refunded("re_1", "processing")
    failed = await gateway.refund(refund, idempotency_key="RF2")
    assert failed == Declined("expired_or_canceled_card", "The refund failed", "re_2")
    assert server.requests[1][1] == "/v1/payment_methods/pm_1/attach"
    assert server.requests[3][2]["metadata[refund_sid]"] == "RF1"


@pytest.mark.parametrize("token", ["pm_1/../../customers", "tok_visa", "pm_1?x=1", "pm_é", "4242424242424242", ""])
async def test_token_that_is_no_payment_method_is_not_sent(server: Server, gateway: StripeGateway, token: str) -> None:
    assert isinstance(await gateway.setup_method("cus_1", token, idempotency_key="k"), Declined)
    assert server.requests == []


async def test_settlements_are_read_over_pages_oldest_first(server: Server, gateway: StripeGateway) -> None:
    def movement(id: str, created: int, source: Any) -> dict[str, Any]:
        return {"id": id, "amount": 1000, "fee": 59, "currency": "usd", "created": created, "source": source}

    charge = {"object": "charge", "payment_intent": "pi_1"}
    server.answers = [
        (
            200,
            {"data": [movement("txn_3", 1740830500, charge), movement("txn_2", 1740830450, "po_1")], "has_more": True},
        ),
        (200, {"data": [movement("txn_1", 1740830400, charge)], "has_more": False}),
    ]
    found = await gateway.list_settlements(AT, datetime(2025, 3, 2, tzinfo=UTC))
    at = datetime.fromtimestamp(1740830400, UTC)
    assert isinstance(found, list) and [each.id for each in found] == ["txn_1", "txn_3"]
    assert found[0] == Settlement("txn_1", "pi_1", 10_000_000, 590_000, "USD", at)
    assert server.requests[1][2]["starting_after"] == "txn_2"


def event(type: str, object: dict[str, Any]) -> bytes:
    return json.dumps({"id": "evt_1", "object": "event", "type": type, "data": {"object": object}}).encode()


INTENT = {
    "id": "pi_1",
    "status": "succeeded",
    "amount": 1234,
    "currency": "usd",
    "metadata": {"customer_sid": "OR1", "top_up_sid": "TU1"},
}
DISPUTE = {"id": "dp_1", "amount": 1234, "currency": "usd", "reason": "fraudulent", "payment_intent": "pi_1"}
REFUND = {
    "id": "re_1",
    "amount": 100,
    "currency": "usd",
    "payment_intent": "pi_1",
    "metadata": {"customer_sid": "OR1", "refund_sid": "RF1"},
}


@pytest.mark.parametrize(
    ("type", "object", "kind"),
    [
        ("payment_intent.succeeded", INTENT, "charge_succeeded"),
        ("payment_intent.payment_failed", INTENT, "charge_failed"),
        ("payment_intent.requires_action", INTENT, "charge_needs_action"),
        ("charge.dispute.created", {**DISPUTE, "status": "needs_response"}, "dispute_opened"),
        ("charge.dispute.created", {**DISPUTE, "status": "warning_needs_response"}, "other"),
        ("charge.dispute.closed", {**DISPUTE, "status": "won"}, "dispute_won"),
        ("charge.dispute.closed", {**DISPUTE, "status": "lost"}, "dispute_lost"),
        ("charge.dispute.closed", {**DISPUTE, "status": "warning_closed"}, "other"),
        ("refund.updated", {**REFUND, "status": "succeeded"}, "refund_succeeded"),
        ("refund.failed", {**REFUND, "status": "failed"}, "refund_failed"),
        ("invoice.paid", {"id": "in_1"}, "other"),
    ],
)
def test_each_event_has_its_kind(type: str, object: dict[str, Any], kind: str) -> None:
    body = event(type, object)
    header = {"stripe-signature": sign(SECRET, body, int(AT.timestamp()))}
    read = StripeGateway("sk", SECRET).parse_webhook(body, header, AT)
    assert isinstance(read, GatewayEvent) and (read.id, read.kind) == ("evt_1", kind)


def test_event_carries_what_the_charge_was_for() -> None:
    body = event("payment_intent.succeeded", INTENT)
    header = {"stripe-signature": "v0=zz," + sign(SECRET, body, int(AT.timestamp())) + ",v1=" + "0" * 64}
    read = StripeGateway("sk", SECRET).parse_webhook(body, header, AT)
    assert read == GatewayEvent("evt_1", "charge_succeeded", "pi_1", 12_340_000, "USD", "OR1", "TU1")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=1,v1=00",
        sign("whsec_other", event("invoice.paid", {}), int(AT.timestamp())),
        sign(SECRET, event("invoice.paid", {}), int(AT.timestamp()) - 301),
        sign(SECRET, event("invoice.paid", {}) + b"\n", int(AT.timestamp())),
    ],
)
def test_event_that_stripe_did_not_sign_now_is_forged(header: str) -> None:
    body = event("invoice.paid", {})
    assert isinstance(StripeGateway("sk", SECRET).parse_webhook(body, {"stripe-signature": header}, AT), Forged)


def test_signed_body_that_is_no_event_is_forged() -> None:
    for body in (b"", b"[]", b'{"id": 1}', event("payment_intent.succeeded", {"id": "pi_1"})):
        header = {"stripe-signature": sign(SECRET, body, int(AT.timestamp()))}
        assert isinstance(StripeGateway("sk", SECRET).parse_webhook(body, header, AT), Forged)
