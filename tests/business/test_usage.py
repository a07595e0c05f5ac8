"""The usage room: holds, charges, records and triggers, through its door."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest

from onterms.business import customers, pricing, usage
from onterms.business.accounts import create_customer
from onterms.business.pricing import Price, Rate
from onterms.business.usage import Meter, Settled, Use
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.core.money import micros
from onterms.core.vault import Vault
from onterms.engines import jobs, ledger
from onterms.engines.api import Account, Call, Caller, Page, load
from onterms.engines.api.paging import page_request
from onterms.engines.ledger import templates
from onterms.ports.callback import Answer, Callback

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
OPERATIONS = {operation.id: operation for operation in load() if "Usage" in operation.id or "Balance" in operation.id}
TRIGGER = {"CallbackUrl": "https://example.com/fired", "UsageCategory": "sms", "TriggerValue": "3"}


class Texts:
    """Terms that anybody may accept."""

    async def current(self, tx: Tx, document: str, at: datetime) -> str | None:
        return "VR1"

    async def accept(self, tx: Tx, customer_sid: str, version_sid: str, mode: str, consent: Any, at: datetime) -> str:
        return "AP1"


class Callbacks:
    """Customers' servers that take everything and remember it."""

    def __init__(self) -> None:
        self.calls: list[Callback] = []

    async def call(self, callback: Callback) -> Answer:
        self.calls.append(callback)
        return Answer(204, "", b"", {}, None, None, ())


class World:
    """A customer with an account, a subaccount, prices and funds."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database = database
        self.clock = clock
        self.prices = pricing.PriceList(database, clock)
        self.leases = ledger.Leases(database, clock, "test")
        self.meter = Meter(database, clock, self.prices, self.leases)
        self.callbacks = Callbacks()
        self.due: set[str] = set()
        self.worker = jobs.Worker(database, clock, name="test")
        usage.Tasks(self.meter, self.still_due, self.callbacks, self.token).register(self.worker)
        self.bindings = {binding.operation_id: binding for binding in usage.bindings()}
        self.customer = self.main = self.sub = ""
        self._ids = itertools.count(1)

    async def still_due(self, tx: Tx, ids: Sequence[str]) -> set[str]:
        return self.due & set(ids)

    async def token(self, account_sid: str) -> str:
        return f"token of {account_sid}"

    async def sign_up(self, name: str = "acme") -> tuple[str, str]:
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

        async def create_account(tx: Tx, name: str, at: datetime) -> Any:
            return await create_customer(tx, Vault(bytes(32)), name, at)

        async with self.database.transaction() as tx:
            made = await customers.SigningUp(create_account, Texts()).sign_up(tx, request, self.clock.now())
        return made.customer.sid, made.credentials.account_sid

    async def add_subaccount(self, main: str) -> str:
        async with self.database.transaction() as tx:
            made = await create_customer(tx, Vault(bytes(32)), "sub", self.clock.now())
            await tx.execute("UPDATE accounts SET owner_sid = $1 WHERE sid = $2", main, made.account_sid)
        return made.account_sid

    async def publish(self, figure: str, **values: Any) -> None:
        given: dict[str, Any] = {
            "service": "sms",
            "direction": "outbound",
            "unit": "segment",
            "country": "US",
            **values,
        }
        price = Price(micros(figure), "USD", given["unit"], 0, tiers=given.get("tiers"), name="SMS")
        at = given.get("at", self.clock.now())
        rate = Rate(given["service"], given["direction"], given["country"], "", price, at, None, at)
        async with self.database.transaction() as tx:
            await pricing.publish(tx, "test", [rate], self.clock.now(), by="test")
        await self.prices.refresh()

    async def surcharge(self, figure: str) -> None:
        at = self.clock.now()
        rule = pricing.SurchargeRule(
            0, "carrier-fee", "Carrier", "", "US", "sms", "outbound", "segment", "USD", micros(figure), at, None, at
        )
        async with self.database.transaction() as tx:
            await pricing.add_surcharge(tx, rule, at, by="test", source="test")
        await self.prices.refresh()

    async def pay_in(self, figure: str) -> None:
        async with self.database.transaction() as tx:
            await ledger.open_balance(tx, self.customer, "USD", self.clock.now())
            posting = templates.topup(micros(figure), "card")
            paid = ledger.Transaction(self.customer, "USD", f"pay-{next(self._ids)}", posting)
            await ledger.post(tx, [paid], self.clock.now())

    def use(self, **values: Any) -> Use:
        given: dict[str, Any] = {
            "account_sid": self.main,
            "id": f"SM{next(self._ids):032d}",
            "service": "sms",
            "direction": "outbound",
            "country": "US",
            "number": "+19075550123",
            "unit": "segment",
            "qty": 1,
        }
        return Use(**(given | values))

    async def hold(self, *uses: Use) -> dict[str, Refusal]:
        async with self.database.transaction() as tx:
            return await self.meter.hold(tx, uses, self.clock.now())

    async def settle(self, outcome: Any, *uses: Use) -> dict[str, int]:
        async with self.database.transaction() as tx:
            return await self.meter.settle(tx, [Settled(use, outcome) for use in uses], self.clock.now())

    async def used(self, *uses: Use) -> None:
        assert not await self.hold(*uses)
        await self.settle("charge", *uses)

    async def balance(self) -> ledger.Balance:
        async with self.database.snapshot() as tx:
            found = await ledger.balance(tx, self.customer, "USD")
            assert await ledger.verify(tx) == []
        assert found is not None
        return found

    async def rated(self) -> list[tuple[str, str, int]]:
        async with self.database.snapshot() as tx:
            rows = await tx.fetch("SELECT kind, category, micros FROM rated_usage ORDER BY id, line")
        return [(row["kind"], row["category"], row["micros"]) for row in rows]

    async def raw(self, operation_id: str, params: dict[str, Any] | None, account: str, path: dict[str, str]) -> Any:
        operation = OPERATIONS[f"api_v2010:{operation_id}"]
        known = {**operation.query, **operation.body}
        who = Account(account, account, "active", "")
        call = Call(
            operation,
            Caller(who, "token", account),
            who,
            {"AccountSid": account, **path},
            {name: known[name].parse(value) for name, value in (params or {}).items()},
            self.clock.now(),
            "RQ" + "0" * 32,
            page_request(params or {}, operation.page_size_max),
        )
        handler = self.bindings[operation.id].handler
        assert handler is not None
        async with self.database.transaction() as tx:
            return await handler(tx, call)

    async def api(
        self, operation_id: str, params: dict[str, Any] | None = None, account: str | None = None, **path: str
    ) -> Any:
        """Call an operation; rows are rendered and checked against the contract's schema."""
        outcome = await self.raw(operation_id, params, account or self.main, path)
        operation = OPERATIONS[f"api_v2010:{operation_id}"]
        if outcome is None:
            return None
        if isinstance(outcome, Page):
            return [operation.render(row) for row in outcome.rows]
        return operation.render(outcome)

    async def refused(self, *args: Any, **kwargs: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.api(*args, **kwargs)
        return caught.value

    async def record(self, category: str, operation_id: str = "ListUsageRecord", **params: str) -> Any:
        account = params.pop("account", None)
        [row] = await self.api(operation_id, {"Category": category, **params}, account)
        return row

    async def pass_time(self, **delta: float) -> None:
        self.clock.hold(self.clock.now() + timedelta(**delta))
        self.worker.clock_changed()
        await self.worker.settle()


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    made = World(database, VirtualClock(held_at=START))
    made.customer, made.main = await made.sign_up()
    made.sub = await made.add_subaccount(made.main)
    await made.publish("0.01")
    running = asyncio.create_task(made.worker.run())
    yield made
    await made.worker.stop(1.0)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await made.leases.stop()


async def test_held_use_costs_its_price_and_surcharge_when_charged(world: World) -> None:
    await world.surcharge("0.003")
    await world.pay_in("1.00")
    use = world.use(qty=2)
    assert await world.hold(use) == {}
    await world.leases.settled()
    assert await world.settle("charge", use) == {use.id: micros("0.026")}
    await world.leases.stop()
    balance = await world.balance()
    assert (balance.posted, balance.held) == (micros("0.974"), 0)
    assert await world.rated() == [("fee", "sms-outbound", 20_000), ("surcharge", "sms-outbound", 6_000)]
    assert balance.net == micros("0.974")


async def test_freed_use_costs_nothing_and_leaves_no_rated_row(world: World) -> None:
    await world.pay_in("0.01")
    use = world.use()
    assert await world.hold(use) == {}
    assert list(await world.hold(world.use())) != []
    assert await world.settle("free", use) == {use.id: 0}
    assert (await world.balance()).available == micros("0.01")
    assert await world.rated() == []


async def test_repeat_of_a_settlement_changes_nothing_whatever_it_says(world: World) -> None:
    await world.pay_in("1.00")
    charged, freed = world.use(), world.use()
    assert await world.hold(charged, freed) == {}
    await world.settle("charge", charged)
    await world.settle("free", freed)
    await world.pass_time(hours=1)
    assert await world.settle("charge", charged, freed) == {charged.id: 10_000, freed.id: 0}
    assert await world.settle("free", charged, freed) == {charged.id: 10_000, freed.id: 0}
    await world.leases.stop()
    assert (await world.balance()).posted == micros("0.99")
    assert len(await world.rated()) == 1


async def test_charge_and_free_at_once_end_as_one_of_them(world: World) -> None:
    await world.pay_in("1.00")
    uses = [world.use() for _ in range(8)]
    assert await world.hold(*uses) == {}
    await asyncio.gather(*(world.settle(outcome, use) for use in uses for outcome in ("charge", "free")))
    await world.leases.stop()
    spent = micros("1.00") - (await world.balance()).posted
    assert spent == sum(cost for _, _, cost in await world.rated())
    assert (await world.balance()).held == 0


async def test_batches_of_many_customers_that_cross_do_not_wait_in_a_circle(world: World) -> None:
    parties = [(world.customer, world.main)] + [await world.sign_up(f"other{number}") for number in range(3)]
    uses = []
    for world.customer, account in parties:
        await world.pay_in("1.00")
        uses += [world.use(account_sid=account) for _ in range(8)]
    assert await world.hold(*uses) == {}

    async def settle(part: int) -> None:
        async with world.database.transaction() as tx:
            mixed = [
                Settled(use, "charge" if (place // 8 + part) % 2 else "free")
                for place, use in enumerate(uses)
                if place % 8 == part
            ]
            await world.meter.settle(tx, mixed if part % 2 else mixed[::-1], world.clock.now())

    await asyncio.gather(*(settle(part) for part in range(8)))
    assert len(await world.rated()) == 16


async def test_use_without_a_hold_is_charged_once(world: World) -> None:
    await world.publish("0.005", direction="inbound")
    use = world.use(direction="inbound")
    assert await world.settle("charge", use) == {use.id: 5_000}
    await world.pass_time(seconds=60)
    assert await world.settle("charge", use) == {use.id: 5_000}
    assert await world.settle("free", world.use(direction="inbound")) != {}
    balance = await world.balance()
    assert (balance.posted, balance.owed) == (0, 5_000)


async def test_price_is_that_of_the_hold_though_it_changed_before_the_end(world: World) -> None:
    await world.pay_in("1.00")
    await world.publish("0.02", at=START + timedelta(hours=1))
    use = world.use()
    assert await world.hold(use) == {}
    await world.pass_time(hours=2)
    assert await world.settle("charge", use) == {use.id: 10_000}
    later = world.use()
    assert await world.hold(later) == {}
    assert await world.settle("charge", later) == {later.id: 20_000}


async def test_tiers_that_cost_less_than_was_held_free_the_rest(world: World) -> None:
    await world.pay_in("1.00")
    tiers = pricing.Tiers("graduated", ((0, 10_000), (1, 2_000)))
    await world.publish("0.01", tiers=tiers, country="GB")
    first, second = world.use(country="GB"), world.use(country="GB")
    assert await world.hold(first, second) == {}
    assert await world.settle("charge", first, second) == {first.id: 10_000, second.id: 2_000}
    await world.leases.stop()
    balance = await world.balance()
    assert (balance.posted, balance.held) == (micros("0.988"), 0)


async def test_rise_within_volume_tiers_is_charged_beyond_the_hold(world: World) -> None:
    await world.pay_in("1.00")
    await world.publish("0.01", tiers=pricing.Tiers("volume", ((0, 10_000), (1, 20_000))), country="GB")
    first, second = world.use(country="GB"), world.use(country="GB")
    assert await world.hold(first, second) == {}
    # The second unit makes the first one dearer too: 2 x 0.02 in all, and 0.02 was held for each.
    assert await world.settle("charge", first, second) == {first.id: 10_000, second.id: 30_000}
    await world.leases.stop()
    balance = await world.balance()
    assert (balance.posted, balance.held) == (micros("0.96"), 0)


async def test_free_of_charge_use_needs_no_funds(world: World) -> None:
    await world.publish("0", country="CA")
    use = world.use(country="CA")
    assert await world.hold(use) == {}
    assert await world.settle("charge", use) == {use.id: 0}
    assert await world.rated() == [("fee", "sms-outbound", 0)]


async def test_batch_is_refused_use_by_use_with_the_clause(world: World, database: Database) -> None:
    await world.pay_in("0.01")
    async with database.transaction() as tx:
        nobody = (await create_customer(tx, Vault(bytes(32)), "nobody", START)).account_sid
    fits, short = world.use(), world.use()
    unsold, unheard = world.use(country="ZZ"), world.use(service="fax", unit="page")
    refusals = await world.hold(fits, short, unsold, unheard, stranger := world.use(account_sid=nobody))
    told = {id_: (one.code, one.status, (one.details or {})["clause"]) for id_, one in refusals.items()}
    assert told == {
        short.id: (20005, 403, "3.3.1"),
        unsold.id: (21612, 400, "3.1"),
        unheard.id: (20003, 403, "3.1"),
        stranger.id: (20005, 403, "P.6"),
    }


async def test_repeated_hold_is_accepted_and_one_for_something_else_is_not(world: World) -> None:
    await world.pay_in("1.00")
    use = world.use()
    assert await world.hold(use) == {}
    assert await world.hold(use) == {}
    assert (await world.hold(use._replace(qty=2)))[use.id].status == 409
    await world.settle("free", use)
    assert (await world.hold(use))[use.id].status == 409


async def test_another_accounts_identifier_frees_nothing(world: World) -> None:
    await world.pay_in("0.01")
    use = world.use()
    assert await world.hold(use) == {}
    assert await world.settle("free", use._replace(account_sid=world.sub)) == {use.id: 0}
    assert (await world.balance()).held == 10_000


async def test_warm_hold_takes_one_statement_for_a_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.pay_in("10.00")
    assert await world.hold(world.use()) == {}
    await world.leases.settled()
    statements: list[str] = []
    fetch = Tx.fetch

    ours = asyncio.current_task()

    async def counted(self: Tx, sql: str, *args: Any) -> Any:
        # The worker asks for jobs beside this.
        if asyncio.current_task() is ours:
            statements.append(sql)
        return await fetch(self, sql, *args)

    monkeypatch.setattr(Tx, "fetch", counted)
    assert await world.hold(*(world.use() for _ in range(20))) == {}
    assert len(statements) == 1


async def test_overdue_holds_are_charged_or_freed_as_their_producer_says(world: World) -> None:
    await world.pay_in("1.00")
    async with world.database.transaction() as tx:
        await usage.ensure_sweep(tx, START)
        await usage.ensure_sweep(tx, START)
    sent, lost = world.use(qty=3), world.use()
    world.due = {sent.id}
    assert await world.hold(sent, lost) == {}
    await world.leases.settled()
    await world.leases.stop()
    await world.pass_time(hours=71)
    assert (await world.balance()).held == 40_000
    await world.pass_time(hours=7)
    balance = await world.balance()
    assert (balance.posted, balance.held) == (micros("0.97"), 0)
    assert await world.settle("charge", sent, lost) == {sent.id: 30_000, lost.id: 0}
    async with world.database.snapshot() as tx:
        assert await tx.fetchval("SELECT count(*) FROM jobs WHERE task = 'usage.sweep_holds'") == 1


# ---- balance and records


async def test_balance_is_the_funds_less_what_is_owed(world: World) -> None:
    assert await world.api("FetchBalance") == {"account_sid": world.main, "balance": "0.00", "currency": "USD"}
    await world.pay_in("1.00")
    await world.used(world.use(qty=5))
    assert (await world.api("FetchBalance"))["balance"] == "0.95"
    assert (await world.api("FetchBalance", account=world.sub))["balance"] == "0.95"


async def test_record_counts_uses_and_quantities_up_to_the_parents(world: World) -> None:
    await world.surcharge("0.003")
    await world.pay_in("1.00")
    await world.used(world.use(qty=2), world.use(qty=1))
    for category in ("sms", "sms-outbound"):
        row = await world.record(category)
        assert (row["count"], row["usage"], row["price"]) == ("2", "3", 0.03)
        assert (row["count_unit"], row["usage_unit"], row["price_unit"]) == ("messages", "segments", "usd")
        assert (row["start_date"], row["end_date"]) == ("2030-01-01", "2030-01-01")
    assert (await world.record("sms-messages-carrierfees"))["price"] == 0.009
    assert (await world.record("totalprice"))["price"] == 0.039


async def test_categories_without_usage_are_listed_as_zero(world: World) -> None:
    rows = await world.api("ListUsageRecord")
    assert [row["category"] for row in rows] == list(usage.CATEGORIES)
    assert {(row["count"], row["price"]) for row in rows if row["category"] != "totalprice"} == {("0", 0.0)}
    schema = {"type": "object", "properties": {"price": {"type": "number"}, "usage": {"type": "string"}}}
    for row in rows:
        jsonschema.validate(row, schema)


async def test_subaccounts_count_unless_they_are_left_out(world: World) -> None:
    await world.pay_in("1.00")
    await world.used(world.use(), world.use(account_sid=world.sub))
    assert (await world.record("sms"))["count"] == "2"
    assert (await world.record("sms", IncludeSubaccounts="false"))["count"] == "1"
    assert (await world.record("sms", account=world.sub))["count"] == "1"


async def test_other_customers_usage_is_not_seen(world: World) -> None:
    await world.pay_in("1.00")
    await world.used(world.use())
    _, stranger = await world.sign_up("other")
    assert (await world.record("sms", account=stranger))["count"] == "0"
    assert (await world.api("FetchBalance", account=stranger))["balance"] == "0.00"


@pytest.mark.parametrize(
    "params, count",
    [
        ({"StartDate": "-1days"}, "2"),
        ({"StartDate": "-40days", "EndDate": "-1days"}, "2"),
        ({"StartDate": "2030-02-05", "EndDate": "+3days"}, "1"),
        ({"StartDate": "2030-01-01", "EndDate": "2030-01-31"}, "1"),
        ({}, "3"),
    ],
)
async def test_range_counts_its_own_days(world: World, params: dict[str, str], count: str) -> None:
    await world.pay_in("1.00")
    await world.used(world.use())
    await world.pass_time(days=34)
    await world.used(world.use())
    await world.pass_time(days=1)
    await world.used(world.use())
    assert (await world.record("sms", **params))["count"] == count


@pytest.mark.parametrize("sublist", ["", "Daily", "Monthly", "Yearly"])
@pytest.mark.parametrize("start, end", [("0001-01-01", "9999-12-31"), ("-99999days", "-9999days")])
async def test_ends_of_the_calendar_are_ranges_too(world: World, sublist: str, start: str, end: str) -> None:
    params = {"StartDate": start, "EndDate": end, "Category": "sms", "PageSize": "1000"}
    rows = await world.api(f"ListUsageRecord{sublist}", params)
    assert rows and {row["count"] for row in rows} == {"0"}


async def test_sublists_are_their_periods(world: World) -> None:
    await world.pay_in("1.00")
    await world.used(world.use())
    await world.pass_time(days=34)
    await world.used(world.use(), world.use())
    await world.pass_time(days=1)
    await world.used(*(world.use() for _ in range(4)))

    async def counts(sublist: str, **params: str) -> list[tuple[str, str, str]]:
        rows = await world.api(f"ListUsageRecord{sublist}", {"Category": "sms", **params})
        return [(row["start_date"], row["end_date"], row["count"]) for row in rows]

    assert await counts("Today") == [("2030-02-05", "2030-02-05", "4")]
    assert await counts("Yesterday") == [("2030-02-04", "2030-02-04", "2")]
    assert await counts("ThisMonth") == [("2030-02-01", "2030-02-05", "6")]
    assert await counts("LastMonth") == [("2030-01-01", "2030-01-31", "1")]
    assert await counts("AllTime") == [("2030-01-01", "2030-02-05", "7")]
    assert await counts("Yearly") == [("2030-01-01", "2030-02-05", "7")]
    assert await counts("Monthly") == [("2030-02-01", "2030-02-05", "6"), ("2030-01-01", "2030-01-31", "1")]
    assert await counts("Daily", StartDate="-2days") == [
        ("2030-02-05", "2030-02-05", "4"),
        ("2030-02-04", "2030-02-04", "2"),
        ("2030-02-03", "2030-02-03", "0"),
    ]


async def test_pages_walk_all_records_once(world: World) -> None:
    params: dict[str, Any] = {"StartDate": "-9days", "PageSize": "7", "Category": "sms"}
    page = await world.raw("ListUsageRecordDaily", params, world.main, {})
    assert page.previous_token is None
    second = await world.raw("ListUsageRecordDaily", {**params, "PageToken": page.next_token}, world.main, {})
    days = [row["start_date"] for row in [*page.rows, *second.rows]]
    assert len(set(days)) == 10 and second.next_token is None
    back = await world.raw("ListUsageRecordDaily", {**params, "PageToken": second.previous_token}, world.main, {})
    assert back.rows == page.rows


@pytest.mark.parametrize(
    "params",
    [
        {"Category": "telegrams"},
        {"StartDate": "yesterday"},
        {"StartDate": "2030-01-02", "EndDate": "2030-01-01"},
    ],
)
async def test_unusable_filter_is_refused(world: World, params: dict[str, str]) -> None:
    assert (await world.refused("ListUsageRecord", params)).status == 400


# ---- triggers


async def test_trigger_is_kept_changed_and_deleted(world: World) -> None:
    made = await world.api("CreateUsageTrigger", {**TRIGGER, "FriendlyName": "Watch"})
    assert (made["trigger_value"], made["current_value"], made["trigger_by"]) == ("3", "0", "usage")
    assert (made["recurring"], made["callback_method"], made["date_fired"]) == ("alltime", "POST", None)
    sid = made["sid"]
    changed = await world.api("UpdateUsageTrigger", {"FriendlyName": "Look", "CallbackMethod": "GET"}, Sid=sid)
    assert (changed["friendly_name"], changed["callback_method"]) == ("Look", "GET")
    assert changed["callback_url"] == TRIGGER["CallbackUrl"]
    assert await world.api("FetchUsageTrigger", Sid=sid) == changed
    assert await world.api("ListUsageTrigger", {"UsageCategory": "sms"}) == [changed]
    assert await world.api("ListUsageTrigger", {"UsageCategory": "mms"}) == []
    assert (await world.refused("FetchUsageTrigger", account=world.sub, Sid=sid)).status == 404
    assert (await world.refused("DeleteUsageTrigger", account=world.sub, Sid=sid)).status == 404
    assert await world.api("DeleteUsageTrigger", Sid=sid) is None
    assert (await world.refused("FetchUsageTrigger", Sid=sid)).code == 20404


@pytest.mark.parametrize(
    "params",
    [
        {"UsageCategory": "telegrams"},
        {"TriggerValue": "much"},
        {"CallbackUrl": "ftp://example.com"},
        {"FriendlyName": "x" * 65},
    ],
)
async def test_unusable_trigger_is_refused(world: World, params: dict[str, str]) -> None:
    assert (await world.refused("CreateUsageTrigger", {**TRIGGER, **params})).status == 400


async def test_trigger_fires_once_a_period_and_signed(world: World) -> None:
    await world.pay_in("1.00")
    made = await world.api("CreateUsageTrigger", {**TRIGGER, "Recurring": "daily"})
    await world.used(world.use(qty=2))
    await world.pass_time(seconds=11)
    assert world.callbacks.calls == []
    assert (await world.api("FetchUsageTrigger", Sid=made["sid"]))["current_value"] == "2"
    await world.used(world.use(account_sid=world.sub))
    await world.pass_time(seconds=11)
    [call] = world.callbacks.calls
    assert (call.url, call.method, call.signing_token) == (TRIGGER["CallbackUrl"], "POST", f"token of {world.main}")
    told = dict(call.params)
    assert (told["UsageTriggerSid"], told["CurrentValue"], told["TriggerValue"]) == (made["sid"], "3", "3")
    assert (told["Recurring"], told["TriggerBy"], told["UsageCategory"]) == ("daily", "usage", "sms")
    assert told["IdempotencyToken"] == call.idempotency_token
    await world.used(world.use())
    await world.pass_time(seconds=11)
    assert len(world.callbacks.calls) == 1
    assert (await world.api("FetchUsageTrigger", Sid=made["sid"]))["date_fired"] is not None
    await world.pass_time(days=1)
    assert (await world.api("FetchUsageTrigger", Sid=made["sid"]))["current_value"] == "0"
    await world.used(world.use(qty=3))
    await world.pass_time(seconds=11)
    assert len(world.callbacks.calls) == 2
    assert world.callbacks.calls[1].idempotency_token != call.idempotency_token


@pytest.mark.parametrize("by, value", [("count", "2"), ("usage", "10"), ("price", "0.1")])
async def test_trigger_watches_what_it_was_told_to(world: World, by: str, value: str) -> None:
    await world.pay_in("1.00")
    params = {**TRIGGER, "TriggerBy": by, "TriggerValue": value, "Recurring": "monthly"}
    await world.api("CreateUsageTrigger", params)
    await world.used(world.use(qty=5))
    await world.pass_time(seconds=11)
    assert world.callbacks.calls == []
    await world.used(world.use(qty=5))
    await world.pass_time(seconds=11)
    [call] = world.callbacks.calls
    assert dict(call.params)["CurrentValue"] == value


async def test_value_with_a_plus_counts_from_what_is_used(world: World) -> None:
    await world.pay_in("1.00")
    await world.used(world.use(qty=5))
    made = await world.api("CreateUsageTrigger", {**TRIGGER, "TriggerValue": "+2"})
    assert (made["current_value"], made["trigger_value"]) == ("5", "7")
    await world.used(world.use(qty=2))
    await world.pass_time(seconds=11)
    assert len(world.callbacks.calls) == 1
    await world.pass_time(days=400)
    await world.used(world.use(qty=2))
    await world.pass_time(seconds=11)
    assert len(world.callbacks.calls) == 1
