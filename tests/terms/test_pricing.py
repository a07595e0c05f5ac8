"""Prices, order forms, surcharges and rating, clause by clause."""

import asyncio
import base64
import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import jsonschema
import pytest

from onterms.business import pricing
from onterms.business.pricing.model import move
from onterms.business.pricing.model.order_forms import MOVES
from onterms.business.pricing.service import order_forms
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.core.money import decimal_text, micros, round_minor
from onterms.engines import audit, jobs, log
from onterms.engines.api import Account, Call, Caller, Operation, OwnRequest, Page, load
from onterms.engines.api.paging import page_request

CUSTOMER = "OR" + "a" * 32
OTHER = "OR" + "b" * 32
ACCOUNT = Account("AC" + "a" * 32, "AC" + "a" * 32, "active", "A")
SUBACCOUNT = Account("AC" + "c" * 32, "AC" + "a" * 32, "active", "A's")
STRANGER = Account("AC" + "b" * 32, "AC" + "b" * 32, "active", "B")
NOBODY = Account("AC" + "d" * 32, "AC" + "d" * 32, "active", "D")
ROOT = "/commercial/v1"
START = datetime(2025, 1, 1, tzinfo=UTC)
DOCUMENT = {"name": "fine.pdf", "content": base64.b64encode(b"%PDF fine").decode()}


def at(text: str) -> datetime:
    return (
        datetime.fromisoformat(text).replace(tzinfo=UTC) if "T" in text else datetime.fromisoformat(text + "T00:00:00Z")
    )


@dataclass(frozen=True)
class Customer:
    sid: str
    country: str


CUSTOMERS = {
    ACCOUNT.sid: Customer(CUSTOMER, "US"),
    SUBACCOUNT.sid: Customer(CUSTOMER, "US"),
    STRANGER.sid: Customer(OTHER, "JP"),
}


async def customer_of(_: Tx, account_sid: str) -> Customer | None:
    return CUSTOMERS.get(account_sid)


class World:
    """The room behind its door: own routes, contract operations, a worker and its clock."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database = database
        self.clock = clock
        self.prices = pricing.PriceList(database, clock)
        self.api = pricing.Api(self.prices, customer_of)
        self.routes = self.api.routes()
        self.bindings = {binding.operation_id: binding for binding in self.api.bindings()}
        self.worker = jobs.Worker(database, clock, name="test")
        pricing.register(self.worker)
        self._ids = itertools.count(1)

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
        assert by is None or route.access in ("customer", "account", "open"), f"{path} is the operator's"
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
        await self.prices.refresh()
        return reply.raw or json.loads(json.dumps(reply.body))

    async def refused(self, *args: Any, **kwargs: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.own(*args, **kwargs)
        return caught.value

    async def publish(self, **price: Any) -> Any:
        given = {"service": "sms", "unit": "segment", "currency": "USD", **price}
        return await self.own("POST", f"{ROOT}/PriceBooks/main/Prices", {"prices": [given]})

    async def form(self, **values: Any) -> str:
        """Draft, send and sign an order form for the customer."""
        sid = await self.unsigned(**values)
        await self.own("POST", f"{ROOT}/OrderForms/{sid}/Signatures", {"name": "Ann"}, by=ACCOUNT)
        form = await self.own("POST", f"{ROOT}/OrderForms/{sid}/Signatures", {"name": "Bob"})
        assert form["state"] == "signed"
        return sid

    async def unsigned(self, **values: Any) -> str:
        body = {"customer_sid": CUSTOMER, "number": "OF-1", "term_to": "2026-03-09", **values}
        form = await self.own("POST", f"{ROOT}/OrderForms", body)
        await self.own("POST", f"{ROOT}/OrderForms/{form['sid']}/Send", {})
        return str(form["sid"])

    def event(self, **values: Any) -> pricing.UsageEvent:
        given: dict[str, Any] = {
            "id": f"event-{next(self._ids)}",
            "customer_sid": CUSTOMER,
            "account_sid": ACCOUNT.sid,
            "service": "sms",
            "category": "sms-outbound",
            "direction": "outbound",
            "country": "US",
            "unit": "segment",
            "qty": 1,
            "currency": "USD",
            "occurred_at": self.clock.now(),
        }
        return pricing.UsageEvent(**(given | values))

    async def rate(self, *events: pricing.UsageEvent) -> list[pricing.Rating]:
        async with self.database.transaction() as tx:
            return await pricing.rate(tx, self.prices, events, self.clock.now())

    async def unbilled(self, until: datetime) -> list[pricing.UsageGroup]:
        async with self.database.transaction() as tx:
            return await pricing.unbilled(tx, CUSTOMER, until)

    async def bill(self, until: datetime, invoice: str) -> list[pricing.UsageGroup]:
        async with self.database.transaction() as tx:
            return await pricing.mark_billed(tx, CUSTOMER, until, invoice)

    async def go(self, to: datetime) -> None:
        """Live until an instant, timer by timer."""
        async with self.database.transaction() as tx:
            rows = await tx.fetch("SELECT 1 FROM jobs LIMIT 1")
        while rows:
            async with self.database.snapshot() as tx:
                due = await tx.fetchval("SELECT min(due_at) FROM jobs WHERE due_at <= $1", to)
                rows = (
                    []
                    if due is None
                    else await tx.fetch("SELECT task, payload FROM jobs WHERE due_at = $1 ORDER BY id", due)
                )
            if due is None:
                break
            self.clock.hold(max(due, self.clock.now()))
            async with self.database.transaction() as tx:
                for row in rows:
                    run = order_forms.fire if row["task"] == order_forms.TIMER_TASK else order_forms.settle_commitment
                    # Twice, for a worker may die between doing and saying so.
                    await run(tx, row["payload"], self.clock.now())
                    await run(tx, row["payload"], self.clock.now())
                await tx.execute("DELETE FROM jobs WHERE due_at = $1", due)
        self.clock.hold(to)
        await self.prices.refresh()

    async def told(self, type_: str) -> int:
        async with self.database.snapshot() as tx:
            return int(await tx.fetchval("SELECT count(*) FROM events WHERE type = $1", type_))

    async def call(self, operation_id: str, params: Mapping[str, Any] | None = None, **path: str) -> Any:
        return await self.call_as(ACCOUNT, operation_id, params, **path)

    async def call_as(
        self, account: Account, operation_id: str, params: Mapping[str, Any] | None = None, **path: str
    ) -> Any:
        """Call a contract operation and check the rendered rows against its schema."""
        operation = _operations()[operation_id]
        call = Call(
            operation=operation,
            caller=Caller(account, "token", account.sid),
            account=account,
            path=path,
            params=params or {},
            at=self.clock.now(),
            request_id="RQ" + "0" * 32,
            paging=page_request(params or {}, operation.page_size_max),
        )
        handler = self.bindings[operation_id].handler
        assert handler is not None
        async with self.database.transaction() as tx:
            outcome = await handler(tx, call)
        if isinstance(outcome, Page):
            return [_checked(operation, row) for row in outcome.rows]
        return _checked(operation, outcome)


@cache
def _operations() -> dict[str, Operation]:
    return {operation.id: operation for operation in load()}


def _checked(operation: Operation, row: Mapping[str, Any]) -> Any:
    def closed(schema: Any) -> Any:
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            return closed(operation.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
        plain = {key: closed(value) for key, value in schema.items() if key not in ("properties", "items", "nullable")}
        if "items" in schema:
            plain["items"] = closed(schema["items"])
        if "properties" in schema:
            plain["properties"] = {name: closed(each) for name, each in schema["properties"].items()}
            plain["required"], plain["additionalProperties"] = sorted(schema["properties"]), False
        return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") else plain

    schema = closed(operation.response_schema)
    if operation.list_key is not None:
        schema = schema["properties"][operation.list_key]["items"]
    rendered = json.loads(json.dumps(operation.render(row)))
    jsonschema.validate(rendered, schema)
    return rendered


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database, VirtualClock(held_at=START))
    # Virtual clocks only go forward, and these tests live in 2025.
    yield made


SMS = {"service": "sms", "unit": "segment"}


class TestListPrices:
    async def test_3_1_list_price_of_what_no_order_form_names(self, world: World) -> None:
        await world.publish(country="GB", price="0.0463")
        [rated] = await world.rate(world.event(country="GB", qty=1234))
        assert decimal_text(rated.micros) == "57.1342"
        [group] = await world.unbilled(START + timedelta(days=1))
        rounded, rounding = pricing.round_line(group.micros, "USD")
        assert decimal_text(rounded) == "57.13"
        assert rounding == -micros("0.0042")

    async def test_longest_prefix_wins_then_country_then_default(self, world: World) -> None:
        for price in (
            {"price": "0.9"},
            {"price": "0.5", "country": "US"},
            {"price": "0.4", "country": "US", "prefix": "+1907"},
            {"price": "0.3", "country": "US", "prefix": "+19075"},
        ):
            await world.publish(**price)
        found = {
            number: world.prices.price(CUSTOMER, "sms", "outbound", country, number, "segment", "USD", START)
            for number, country in (("+19075550123", "US"), ("+19071", "US"), ("+1415", "US"), ("+44", "GB"))
        }
        assert [price.micros for price in found.values() if price] == [300_000, 400_000, 500_000, 900_000]

    async def test_without_any_price_there_is_a_refusal(self, world: World) -> None:
        ask = pricing.Ask(CUSTOMER, "sms", "outbound", "US", "", "segment", "USD")
        assert world.prices.prices([ask], START) == [None]
        with pytest.raises(pricing.NoPrice) as caught:
            world.prices.require(ask, START)
        assert (caught.value.status, caught.value.details["clause"]) == (403, "2.1(a)")  # type: ignore[index]
        [rated] = await world.rate(world.event())
        assert (rated.outcome, rated.reason) == ("quarantined", "no_price")

    async def test_a_raise_comes_from_a_future_instant_only(self, world: World) -> None:
        await world.publish(country="US", price="0.0079")
        refusal = await world.refused(
            "POST",
            f"{ROOT}/PriceBooks/main/Prices",
            {"prices": [{**SMS, "currency": "USD", "country": "US", "price": "0.008"}]},
        )
        assert (refusal.status, refusal.details) == (409, {"clause": "3.1"})
        await world.publish(country="US", price="0.0075")
        await world.publish(country="US", price="0.02", effective_from="2025-02-01T00:00:00Z")

        def price(instant: datetime) -> int:
            found = world.prices.price(CUSTOMER, "sms", "outbound", "US", "", "segment", "USD", instant)
            assert found is not None
            return found.micros

        assert price(at("2025-01-31T23:59:59.999999")) == 7_500
        assert price(at("2025-02-01")) == 20_000

    @pytest.mark.parametrize(
        ("price", "clause"),
        [
            ({"price": "0.0000001"}, "3.1"),
            ({"price": "-1"}, "3.1"),
            ({"price": 0.5}, "3.1"),
            ({"price": "1", "currency": "XXX"}, "3.3.2"),
            ({"tiers": {"mode": "graduated", "steps": [{"from": 5, "price": "1"}]}}, "3.1"),
        ],
    )
    async def test_a_price_that_is_not_exact_is_refused(self, world: World, price: dict[str, Any], clause: str) -> None:
        body = {"prices": [{**SMS, "currency": "USD", **price}]}
        refusal = await world.refused("POST", f"{ROOT}/PriceBooks/main/Prices", body)
        assert refusal.details == {"clause": clause}
        assert (await world.own("GET", f"{ROOT}/PriceBooks"))["items"] == []

    async def test_yen_have_rows_of_their_own(self, world: World) -> None:
        await world.publish(price="0.0079")
        assert world.prices.price(CUSTOMER, "sms", "outbound", "JP", "", "segment", "JPY", START) is None
        await world.publish(price="11.2", currency="JPY")
        yen = world.prices.price(CUSTOMER, "sms", "outbound", "JP", "", "segment", "JPY", START)
        assert yen is not None and yen.micros == 11_200_000

    async def test_a_past_price_is_known_as_it_was_known_then(self, world: World) -> None:
        await world.publish(price="0.0079")
        world.clock.hold(at("2025-01-10"))
        await world.publish(price="0.0050", effective_from="2025-01-01T00:00:00Z")
        path = f"{ROOT}/Prices?service=sms&unit=segment&country=US&at=2025-01-05T00:00:00Z"
        assert (await world.own("GET", path))["price"] == "0.005"
        assert (await world.own("GET", path, by=ACCOUNT))["price"] == "0.005"
        assert (await world.refused("GET", path + "&known_at=2025-01-09T00:00:00Z", by=ACCOUNT)).status == 400
        assert (await world.own("GET", path + "&known_at=2025-01-09T00:00:00Z"))["price"] == "0.0079"

    async def test_the_shipped_book_has_dollars_and_yen_for_all_countries(self, world: World) -> None:
        async with world.database.transaction() as tx:
            assert await pricing.ensure_default_prices(tx, START) > 5000
            assert await pricing.ensure_default_prices(tx, START) == 0
        await world.prices.refresh()
        us = world.prices.price(CUSTOMER, "sms", "outbound", "US", "", "segment", "USD", START)
        assert us is not None and decimal_text(us.micros) == "0.0079"
        rows = await world.call("pricing_v1:ListMessagingCountry", {"PageSize": 1000})
        assert len(rows) == 245
        for row, currency, (service, direction, unit) in itertools.product(
            rows,
            ("USD", "JPY"),
            (("sms", "outbound", "segment"), ("sms", "inbound", "segment"), ("mms", "outbound", "message")),
        ):
            country = row["iso_country"]
            assert world.prices.price(CUSTOMER, service, direction, country, "", unit, currency, START), country

    async def test_a_cached_price_takes_microseconds(self, world: World) -> None:
        async with world.database.transaction() as tx:
            await pricing.ensure_default_prices(tx, START)
        await world.prices.refresh()
        price, ask = world.prices.price, (CUSTOMER, "sms", "outbound", "US", "+14155550100", "segment", "USD", START)
        best = min(_timed(price, ask) for _ in range(5))
        # 1 us measured; the bound only tells a cache from a query.
        assert best < 30e-6

    async def test_a_change_is_heard_of_by_another_node(self, world: World) -> None:
        other = pricing.PriceList(world.database, world.clock)
        following = asyncio.ensure_future(other.follow())
        try:
            async with asyncio.timeout(10):
                await other.reached(1)
                await world.publish(price="0.0079")
                await other.reached(world.prices.version)
        finally:
            following.cancel()
        assert other.price(CUSTOMER, "sms", "outbound", "US", "", "segment", "USD", START)


def _timed(price: Any, ask: tuple[Any, ...]) -> float:
    begun = time.perf_counter()
    for _ in range(1000):
        price(*ask)
    return (time.perf_counter() - begun) / 1000


class TestOrderForms:
    async def test_1_8_order_form_unsigned_leaves_the_list_price(self, world: World) -> None:
        await world.publish(price="0.0083")
        sid = await world.unsigned(term_from="2025-01-01", rates=[{**SMS, "price": "0.0075"}])
        await world.own("POST", f"{ROOT}/OrderForms/{sid}/Signatures", {"name": "Ann"}, by=ACCOUNT)
        [rated] = await world.rate(world.event())
        assert (decimal_text(rated.micros), rated.lines[0].order_form) == ("0.0083", "")
        await world.own("POST", f"{ROOT}/OrderForms/{sid}/Signatures", {"name": "Bob"})
        [rated] = await world.rate(world.event())
        assert (decimal_text(rated.micros), rated.lines[0].order_form) == ("0.0075", sid)

    async def test_2_1_a_order_form_before_its_first_day_gives_list_terms_or_403(self, world: World) -> None:
        await world.publish(price="0.0083")
        await world.publish(service="mms", unit="message", price="0.02")
        await world.form(term_from="2025-04-01", rates=[{**SMS, "price": "0.0075"}])
        await world.form(
            term_from="2025-04-01", order_only=True, rates=[{"service": "mms", "unit": "message", "price": "0.01"}]
        )
        before, first = at("2025-03-31T12:00"), at("2025-04-01")
        sms = pricing.Ask(CUSTOMER, "sms", "outbound", "US", "", "segment", "USD")
        mms = pricing.Ask(CUSTOMER, "mms", "outbound", "US", "", "message", "USD")
        assert decimal_text(world.prices.require(sms, before).micros) == "0.0083"
        assert decimal_text(world.prices.require(sms, first).micros) == "0.0075"
        with pytest.raises(pricing.NoPrice) as caught:
            world.prices.require(mms, before)
        assert caught.value.status == 403
        assert decimal_text(world.prices.require(mms, first).micros) == "0.01"

    async def test_3_1_order_form_rate_counts_from_its_first_second(self, world: World) -> None:
        await world.publish(price="0.0083")
        await world.form(term_from="2025-03-10", rates=[{**SMS, "price": "0.0075"}])
        last, first = at("2025-03-09T23:59:59"), at("2025-03-10")
        before, after = await world.rate(world.event(occurred_at=last), world.event(occurred_at=first))
        assert (decimal_text(before.micros), decimal_text(after.micros)) == ("0.0083", "0.0075")
        [stranger] = await world.rate(world.event(customer_sid=OTHER, occurred_at=first))
        assert decimal_text(stranger.micros) == "0.0083"

    async def test_3_3_method_the_order_form_says_net_45(self, world: World) -> None:
        await world.form(term_from="2025-01-01", net_days=45)
        async with world.database.snapshot() as tx:
            terms = await pricing.payment_terms(tx, CUSTOMER, "US", at("2025-01-31"))
            others = await pricing.payment_terms(tx, OTHER, "US", at("2025-01-31"))
        assert pricing.due_on(date(2025, 1, 31), terms.net_days) == date(2025, 3, 17)
        assert pricing.due_on(date(2025, 1, 31), others.net_days) == date(2025, 3, 2)

    async def test_3_3_2_currency_is_us_dollars_unless_something_says_otherwise(self, world: World) -> None:
        async with world.database.snapshot() as tx:
            assert (await pricing.payment_terms(tx, CUSTOMER, "BR", START)).currency == "USD"
            said = await pricing.payment_terms(tx, CUSTOMER, "BR", START, invoice_currency="EUR")
        assert said.currency == "EUR"

    async def test_10_4_4_yen_by_default_in_japan_and_what_the_order_form_says(self, world: World) -> None:
        async with world.database.snapshot() as tx:
            assert (await pricing.payment_terms(tx, CUSTOMER, "JP", START)).currency == "JPY"
        assert world.prices.currency(CUSTOMER, "JP", START) == "JPY"
        await world.form(term_from="2025-01-01", currency="USD")
        assert world.prices.currency(CUSTOMER, "JP", START) == "USD"
        async with world.database.snapshot() as tx:
            assert (await pricing.payment_terms(tx, CUSTOMER, "JP", START)).currency == "USD"

    async def test_an_overlapping_form_is_refused_unless_it_supersedes(self, world: World) -> None:
        rates = [{**SMS, "price": "0.0075"}]
        first = await world.form(term_from="2025-02-01", rates=rates)
        body = {"customer_sid": CUSTOMER, "number": "OF-2", "term_from": "2025-03-01", "term_to": "2026-06-30"}
        refusal = await world.refused("POST", f"{ROOT}/OrderForms", {**body, "rates": rates})
        assert (refusal.status, refusal.details) == (409, {"clause": "1.8", "order_form": first})
        second = await world.form(**{**body, "rates": [{**SMS, "price": "0.006"}], "supersedes": first})
        await world.go(at("2025-02-10"))
        assert (await world.own("GET", f"{ROOT}/OrderForms/{first}"))["state"] == "active"
        await world.go(at("2025-03-02"))
        assert (await world.own("GET", f"{ROOT}/OrderForms/{first}"))["state"] == "superseded"
        assert (await world.own("GET", f"{ROOT}/OrderForms/{second}"))["state"] == "active"
        price = world.prices.price(CUSTOMER, "sms", "outbound", "US", "", "segment", "USD", at("2025-02-28T23:59:59"))
        assert price is not None and price.order_form == first

    async def test_timers_begin_warn_and_expire(self, world: World) -> None:
        sid = await world.form(term_from="2025-02-01", term_to="2025-12-31")
        await world.go(at("2025-02-01"))
        assert (await world.own("GET", f"{ROOT}/OrderForms/{sid}"))["state"] == "active"
        await world.go(at("2025-11-01T23:59:59"))
        assert await world.told(pricing.ORDER_FORM_ENDING) == 0
        # Sixty days before 2026-01-01T00:00, at which it ends.
        await world.go(at("2025-11-02"))
        assert await world.told(pricing.ORDER_FORM_ENDING) >= 1
        await world.go(at("2025-12-31T23:59:59"))
        assert (await world.own("GET", f"{ROOT}/OrderForms/{sid}"))["state"] == "active"
        await world.go(at("2026-01-01"))
        assert (await world.own("GET", f"{ROOT}/OrderForms/{sid}"))["state"] == "expired"

    async def test_the_worker_runs_the_timers(self, world: World) -> None:
        sid = await world.form(
            term_from="2025-01-01", term_to="2025-01-31", commitments=[{"amount": "10", "period": "term"}]
        )
        running = asyncio.ensure_future(world.worker.run())
        try:
            await world.worker.settle()
            assert (await world.own("GET", f"{ROOT}/OrderForms/{sid}"))["state"] == "active"
            world.clock.hold(at("2025-02-02"))
            world.worker.clock_changed()
            await world.worker.settle()
        finally:
            await world.worker.stop(5)
            await running
        assert (await world.own("GET", f"{ROOT}/OrderForms/{sid}"))["state"] == "expired"
        [line] = await world.unbilled(at("2025-02-02"))
        assert (line.kind, decimal_text(line.micros)) == ("commitment", "10.00")

    async def test_a_renewing_form_goes_on(self, world: World) -> None:
        sid = await world.form(
            term_from="2025-01-01", term_to="2025-12-31", renewal_months=12, rates=[{**SMS, "price": "0.0075"}]
        )
        await world.go(at("2026-02-01"))
        form = await world.own("GET", f"{ROOT}/OrderForms/{sid}")
        assert (form["state"], form["term_to"]) == ("active", "2026-12-31")
        assert await world.told(pricing.ORDER_FORM_RENEWED) == 1
        assert world.prices.price(CUSTOMER, "sms", "outbound", "US", "", "segment", "USD", at("2026-06-01"))

    async def test_a_commitment_charges_what_is_missing_once(self, world: World) -> None:
        await world.publish(price="0.01")
        await world.own("POST", f"{ROOT}/SurchargeRules", {"price": "5", "currency": "USD"})
        await world.form(
            term_from="2025-01-01",
            term_to="2025-02-28",
            commitments=[{"amount": "100", "period": "month", "services": ["sms"]}],
        )
        await world.go(at("2025-01-15"))
        # Sixty dollars of fees; the surcharges do not count.
        await world.rate(world.event(qty=6000))
        await world.go(at("2025-02-20"))
        [line] = [group for group in await world.unbilled(at("2025-02-01")) if group.kind == "commitment"]
        assert decimal_text(line.micros) == "40.00"
        await world.rate(world.event(qty=12000))
        await world.go(at("2025-03-02"))
        assert [g.micros for g in await world.unbilled(at("2025-03-02")) if g.kind == "commitment"] == [line.micros]

    async def test_terminating_ends_the_rates_and_settles_the_commitment(self, world: World) -> None:
        sid = await world.form(
            term_from="2025-01-01",
            rates=[{**SMS, "price": "0.0075"}],
            commitments=[{"amount": "100", "period": "quarter"}],
        )
        await world.go(at("2025-01-15"))
        await world.own("POST", f"{ROOT}/OrderForms/{sid}/Terminate", {"cause": "8.2.2"})
        assert world.prices.price(CUSTOMER, "sms", "outbound", "US", "", "segment", "USD", at("2025-01-15")) is None
        await world.go(at("2027-01-01"))
        [line] = await world.unbilled(at("2027-01-01"))
        assert (line.kind, decimal_text(line.micros)) == ("commitment", "100.00")

    async def test_every_row_of_the_table_and_no_other_move(self) -> None:
        states = {state for state, _ in MOVES} | {row.next for row in MOVES.values()}
        happening = {event for _, event in MOVES}
        for state, event in itertools.product(states, happening):
            assert (move(state, event) is not None) == ((state, event) in MOVES)
        assert {state for state in states if not any(state == each for each, _ in MOVES)} == {
            *("expired", "terminated", "superseded")
        }

    @pytest.mark.parametrize("event", ["Send", "Recall", "Terminate"])
    async def test_a_withdrawn_form_does_not_move(self, world: World, event: str) -> None:
        sid = await world.unsigned(term_from="2025-01-01")
        await world.own("POST", f"{ROOT}/OrderForms/{sid}/Withdraw", {"cause": "no longer offered"})
        body = {"cause": "x"} if event == "Terminate" else None
        refusal = await world.refused("POST", f"{ROOT}/OrderForms/{sid}/{event}", body)
        assert (refusal.status, refusal.details) == (409, {"clause": "1.8", "state": "terminated"})

    async def test_a_stranger_sees_no_form_and_signs_none(self, world: World) -> None:
        sid = await world.unsigned(term_from="2025-01-01")
        for call in (
            ("GET", f"{ROOT}/OrderForms/{sid}"),
            ("POST", f"{ROOT}/OrderForms/{sid}/Signatures", {"name": "E"}),
        ):
            assert (await world.refused(*call, by=STRANGER)).status == 404
        refusal = await world.refused("POST", f"{ROOT}/OrderForms/{sid}/Signatures", {"name": "E"}, by=SUBACCOUNT)
        assert refusal.status == 403
        assert (await world.own("GET", f"{ROOT}/OrderForms", by=STRANGER))["items"] == []
        assert (await world.refused("GET", f"{ROOT}/OrderForms", by=NOBODY)).status == 404


class TestSurcharges:
    async def test_3_2_2_pay_surcharges_come_on_top(self, world: World) -> None:
        await world.publish(price="0.0079")
        await world.own("POST", f"{ROOT}/SurchargeRules", {"price": "0.0050", "currency": "USD"})
        rule = {"price": "0.0030", "currency": "USD", "carrier": "310410", "country": "US", "channel": "sms"}
        await world.own("POST", f"{ROOT}/SurchargeRules", {**rule, "direction": "outbound"})
        await world.rate(world.event(qty=170_000, attributes={"carrier": "310410"}))
        [line] = [group for group in await world.unbilled(at("2025-02-01")) if group.kind == "surcharge"]
        assert decimal_text(line.micros) == "510.00"

    async def test_3_2_2_line_surcharges_are_lines_of_their_own(self, world: World) -> None:
        await world.publish(price="0.0079")
        await world.own("POST", f"{ROOT}/SurchargeRules", {"price": "0.0030", "currency": "USD"})
        await world.rate(world.event(qty=170_000))
        found = {pricing.line_kind(g.kind): decimal_text(g.micros) for g in await world.unbilled(at("2025-02-01"))}
        assert found == {"fee": "1343.00", "communications_surcharge": "510.00"}
        listed = await world.own("GET", f"{ROOT}/RatedUsage", by=ACCOUNT)
        assert [(row["line"], row["kind"]) for row in listed["items"]] == [(0, "fee"), (1, "communications_surcharge")]

    async def test_3_2_2_fines_are_passed_on_with_their_document(self, world: World) -> None:
        await world.go(at("2025-04-02T09:00"))
        charge = {
            "customer_sid": CUSTOMER,
            "authority": "Carrier",
            "case": "C-1",
            "amount": "10000.00",
            "imposed_on": "2025-04-02",
        }
        refusal = await world.refused("POST", f"{ROOT}/PassThroughCharges", charge)
        assert (refusal.status, refusal.details) == (422, {"clause": "3.2.2"})
        assert await world.unbilled(at("2025-05-01")) == []
        await world.own("POST", f"{ROOT}/PassThroughCharges", {**charge, "document": DOCUMENT})
        [line] = await world.bill(at("2025-05-01"), "IN1")
        assert (line.kind, decimal_text(line.micros)) == ("penalty", "10000.00")
        [listed] = (await world.own("GET", f"{ROOT}/PassThroughCharges", by=ACCOUNT))["items"]
        assert listed["document"]["name"] == "fine.pdf"
        path = f"{ROOT}/PassThroughCharges/{listed['sid']}/Document"
        assert await world.own("GET", path, by=ACCOUNT) == b"%PDF fine"
        assert (await world.refused("GET", path, by=STRANGER)).status == 404
        assert (await world.own("GET", f"{ROOT}/PassThroughCharges", by=STRANGER))["items"] == []

    async def test_10_4_3_levies_on_japanese_numbers_are_two_lines_in_whole_yen(self, world: World) -> None:
        number = {"service": "phone-number-local", "unit": "month", "direction": "none"}
        await world.publish(**number, country="JP", price="675", currency="JPY")
        for kind, price in (("universal-service", "2.2"), ("telephone-relay", "1.18")):
            rule = {"kind": kind, "price": price, "currency": "JPY", "country": "JP", "unit": "month"}
            await world.own("POST", f"{ROOT}/SurchargeRules", {**rule, "channel": "phone-number-local"})
        await world.rate(
            *(world.event(**number, category="phonenumbers-local", country="JP", currency="JPY") for _ in range(39))
        )
        lines = {group.name: group for group in await world.unbilled(at("2025-02-01")) if group.kind == "surcharge"}
        rounded = {name: round_minor(group.micros, "JPY") // 1_000_000 for name, group in lines.items()}
        assert rounded == {"universal-service": 86, "telephone-relay": 46}


class TestRating:
    async def test_the_same_event_again_changes_nothing(self, world: World) -> None:
        await world.publish(price="0.0079")
        event = world.event(qty=3)
        [first] = await world.rate(event)
        again, inside, twice = await world.rate(event, new := world.event(), new)
        assert (first.outcome, again.outcome, inside.outcome, twice.outcome) == (
            *("rated", "replayed", "rated", "replayed"),
        )
        assert again.lines == first.lines
        assert sum(group.qty for group in await world.unbilled(at("2025-02-01"))) == 4

    async def test_another_body_under_the_same_id_is_put_aside(self, world: World) -> None:
        await world.publish(price="0.0079")
        event = world.event(qty=3)
        await world.rate(event)
        [other] = await world.rate(replace(event, qty=30))
        assert (other.outcome, other.reason) == ("quarantined", "different_body")
        [group] = await world.unbilled(at("2025-02-01"))
        assert group.qty == 3
        [aside] = (await world.own("GET", f"{ROOT}/QuarantinedUsage"))["items"]
        assert (aside["id"], aside["event"]["qty"]) == (event.id, 30)
        assert await world.told(pricing.USAGE_QUARANTINED) == 1

    async def test_an_event_has_the_price_of_when_it_occurred(self, world: World) -> None:
        await world.publish(price="0.0079")
        await world.publish(price="0.02", effective_from="2025-02-01T00:00:00Z")
        await world.go(at("2025-02-10"))
        before, after = await world.rate(
            world.event(occurred_at=at("2025-01-31T23:59:59")), world.event(occurred_at=at("2025-02-01"))
        )
        assert (before.micros, after.micros) == (7_900, 20_000)

    async def test_a_correction_reverses_the_exact_amounts_once(self, world: World) -> None:
        await world.publish(price="0.0079")
        await world.own("POST", f"{ROOT}/SurchargeRules", {"price": "0.0030", "currency": "USD"})
        event = world.event(qty=7)
        [original] = await world.rate(event)
        await world.publish(price="0.0010")
        correction = replace(event, id="correction", correction_of=event.id)
        [reversed_, second] = await world.rate(correction, replace(correction, id="another"))
        assert [line.micros for line in reversed_.lines] == [-line.micros for line in original.lines]
        assert (second.outcome, second.reason) == ("quarantined", "already_corrected")
        [missing] = await world.rate(replace(correction, id="third", correction_of="unheard"))
        assert missing.reason == "unknown_original"
        assert sum(group.micros for group in await world.unbilled(at("2025-02-01"))) == 0

    async def test_what_comes_after_the_close_is_of_an_earlier_period(self, world: World) -> None:
        await world.publish(price="0.0079")
        await world.rate(world.event(occurred_at=at("2025-01-05")))
        await world.go(at("2025-02-01T06:00"))
        [billed] = await world.bill(at("2025-02-01"), "IN1")
        assert (billed.qty, billed.earlier_period) == (1, False)
        await world.rate(world.event(occurred_at=at("2025-01-06")), world.event(occurred_at=at("2025-02-02")))
        regular, earlier = await world.bill(at("2025-03-01"), "IN2")
        assert (regular.earlier_period, regular.period) == (False, None)
        assert (earlier.earlier_period, earlier.period, earlier.price) == (True, "2025-01", 7_900)
        assert earlier.first_at == at("2025-01-06")
        assert await world.unbilled(at("2026-01-01")) == []

    @pytest.mark.parametrize(
        ("mode", "amounts"),
        [
            # 100 at 0.01, then at 0.005; by volume the crossing event brings the earlier units down with it.
            ("graduated", ["0.60", "0.45", "0.25"]),
            ("volume", ["0.60", "-0.05", "0.25"]),
        ],
    )
    async def test_tiers_count_in_the_order_of_arrival(self, world: World, mode: str, amounts: list[str]) -> None:
        steps = [{"from": 0, "price": "0.01"}, {"from": 100, "price": "0.005"}]
        sid = await world.form(term_from="2025-01-01", rates=[{**SMS, "tiers": {"mode": mode, "steps": steps}}])
        events = [world.event(qty=qty, occurred_at=at(day)) for qty, day in ((60, "2025-01-20"), (50, "2025-01-10"))]
        first, second = await world.rate(*events)
        [third] = await world.rate(world.event(qty=50))
        assert [rating.lines[0].tier_position for rating in (first, second, third)] == [0, 60, 110]
        assert first.lines[0].order_form == sid
        assert [decimal_text(each.micros) for each in (first, second, third)] == amounts
        [again] = await world.rate(events[0])
        assert again.lines[0].tier_position == 0
        [february] = await world.rate(world.event(qty=1, occurred_at=at("2025-02-01")))
        assert february.lines[0].tier_position == 0

    async def test_two_at_once_rate_an_event_once(self, world: World) -> None:
        await world.publish(price="0.0079")
        event = world.event()
        ratings = await asyncio.gather(*(world.rate(event) for _ in range(6)))
        assert sorted(rating.outcome for [rating] in ratings) == ["rated", *["replayed"] * 5]
        [group] = await world.unbilled(at("2025-02-01"))
        assert group.count == 1

    async def test_what_was_being_written_at_the_close_is_of_an_earlier_period_too(self, world: World) -> None:
        await world.publish(price="0.0079")
        async with world.database.transaction() as tx:
            await pricing.rate(tx, world.prices, [world.event(occurred_at=at("2025-01-31"))], START)
            assert await world.bill(at("2025-02-01"), "IN1") == []
        [late] = await world.bill(at("2025-03-01"), "IN2")
        assert (late.earlier_period, late.period) == (True, "2025-01")

    async def test_totals_by_category_and_day(self, world: World) -> None:
        await world.publish(price="0.01")
        await world.own("POST", f"{ROOT}/SurchargeRules", {"price": "0.003", "currency": "USD"})
        wrong = world.event(qty=5, occurred_at=at("2025-01-02"))
        await world.rate(
            world.event(qty=2, occurred_at=at("2025-01-01T10:00")),
            world.event(qty=3, account_sid=SUBACCOUNT.sid, occurred_at=at("2025-01-02T10:00")),
            wrong,
            replace(wrong, id="undo", correction_of=wrong.id),
            world.event(qty=9, customer_sid=OTHER, account_sid=STRANGER.sid),
        )
        async with world.database.snapshot() as tx:
            mine = [ACCOUNT.sid, SUBACCOUNT.sid]
            days = await pricing.usage_totals(tx, mine, START, at("2025-02-01"), "day")
            [surcharges, fees] = await pricing.usage_totals(tx, mine, START, at("2025-02-01"), "total")
        found = [(row.start, row.count, row.qty, row.micros) for row in days if row.category == "sms-outbound"]
        assert found == [(date(2025, 1, 1), 1, 2, 20_000), (date(2025, 1, 2), 1, 3, 30_000)]
        assert (surcharges.category, surcharges.micros) == ("carrier-fee", 15_000)
        assert (fees.category, fees.micros) == ("sms-outbound", 50_000)


class TestContract:
    async def test_account_prices_stand_beside_list_prices(self, world: World) -> None:
        async with world.database.transaction() as tx:
            await pricing.ensure_default_prices(tx, START)
        rates = [
            {**SMS, "country": "US", "price": "0.0060"},
            {"service": "phone-number-local", "direction": "none", "unit": "month", "country": "US", "price": "0.9"},
            {"service": "voice", "unit": "minute", "country": "US", "price": "0.0100"},
        ]
        await world.form(term_from="2025-01-01", rates=rates)
        messaging = await world.call("pricing_v1:FetchMessagingCountry", IsoCountry="US")
        assert messaging["outbound_sms_prices"][0]["prices"][0] == {
            **{"base_price": 0.0079, "current_price": 0.006, "number_type": "local"}
        }
        numbers = await world.call("pricing_v1:FetchPhoneNumberCountry", IsoCountry="us")
        assert numbers["phone_number_prices"][0]["current_price"] == 0.9
        voice = await world.call("pricing_v2:FetchVoiceCountry", IsoCountry="US")
        assert voice["outbound_prefix_prices"][0]["current_price"] == 0.01
        stranger = await world.call_as(STRANGER, "pricing_v1:FetchMessagingCountry", IsoCountry="US")
        assert stranger["price_unit"] == "JPY"
        nobody = await world.call_as(NOBODY, "pricing_v1:FetchMessagingCountry", IsoCountry="US")
        assert nobody["outbound_sms_prices"][0]["prices"][0]["current_price"] == 0.0079

    async def test_every_operation_answers_as_its_schema_says(self, world: World) -> None:
        async with world.database.transaction() as tx:
            await pricing.ensure_default_prices(tx, START)
        await world.prices.refresh()
        for operation_id in world.bindings:
            path = {}
            if "Number" in operation_id and operation_id.startswith(("pricing_v1:FetchVoice", "pricing_v2")):
                path = {"Number": "+447400123456", "DestinationNumber": "+447400123456"}
            elif "Fetch" in operation_id:
                path = {"IsoCountry": "GB"}
            answer = await world.call(operation_id, **path)
            assert answer and (isinstance(answer, list) or answer["iso_country"] == "GB"), operation_id
        mobile = await world.call("pricing_v1:FetchVoiceNumber", Number="+447400123456")
        assert mobile["outbound_call_price"]["base_price"] == 0.041

    @pytest.mark.parametrize(
        ("operation_id", "path"),
        [
            ("pricing_v1:FetchMessagingCountry", {"IsoCountry": "ZZ"}),
            ("pricing_v1:FetchVoiceNumber", {"Number": "12"}),
        ],
    )
    async def test_what_is_no_place_is_not_found(self, world: World, operation_id: str, path: dict[str, str]) -> None:
        with pytest.raises(Refusal) as caught:
            await world.call(operation_id, **path)
        assert caught.value.status == 404


async def test_events_are_told_under_the_customer(world: World) -> None:
    sid = await world.form(term_from="2025-01-01")
    async with world.database.snapshot() as tx:
        told = await log.timeline(tx, CUSTOMER, sid)
        assert await audit.verify(tx, CUSTOMER) is None
        kept = [each.event for each in await audit.history(tx, CUSTOMER)]
    assert [each.type for each in told] == [pricing.ORDER_FORM_SENT, pricing.ORDER_FORM_SIGNED]
    assert [(each.from_state, each.to_state, each.actor) for each in kept] == [
        (None, "draft", "operator"),
        ("draft", "sent", "operator"),
        ("sent", "sent", "customer: Ann"),
        ("sent", "signed", "operator: Bob"),
    ]
