"""Usage against the rows of the terms that are its: who answers for it, what an opt-out costs, and funds."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from onterms.business import customers, pricing
from onterms.business.accounts import create_customer
from onterms.business.usage import Meter, Settled, Use
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.money import decimal_text, micros
from onterms.core.vault import Vault
from onterms.engines import ledger
from onterms.engines.ledger import templates

START = datetime(2025, 3, 1, 9, tzinfo=UTC)
KEY = "SK" + "1" * 32


class Texts:
    """Terms that anybody may accept."""

    async def current(self, tx: Tx, document: str, at: datetime) -> str | None:
        return "VR1"

    async def accept(self, tx: Tx, customer_sid: str, version_sid: str, mode: str, consent: Any, at: datetime) -> str:
        return "AP1"


class World:
    """A prepaid customer that sends messages at 0.0327."""

    def __init__(self, database: Database) -> None:
        self.database = database
        clock = VirtualClock(held_at=START)
        self.prices = pricing.PriceList(database, clock)
        self.leases = ledger.Leases(database, clock, "test")
        self.meter = Meter(database, clock, self.prices, self.leases)
        self.customer = self.account = ""

    async def sign_up(self) -> None:
        request = customers.SignUp(
            name="acme",
            country="US",
            subdivision="CA",
            org_type="corporate",
            size="other",
            nonprofit=False,
            use="business",
            email="owner@acme.example",
            accepted_version="VR1",
            consent=customers.Consent("Ann Example", "director", True, "192.0.2.7", "RQ1"),
            compliance=True,
            no_antisocial_forces=True,
            waiver_version=None,
            served_in=(),
        )

        async def create_account(tx: Tx, name: str, at: datetime) -> Any:
            return await create_customer(tx, Vault(bytes(32)), name, at)

        price = pricing.Price(micros("0.0327"), "USD", "segment", 0, name="SMS")
        async with self.database.transaction() as tx:
            made = await customers.SigningUp(create_account, Texts()).sign_up(tx, request, START)
            rates = [pricing.Rate("sms", way, "US", "", price, START, None, START) for way in ("outbound", "inbound")]
            await pricing.publish(tx, "test", rates, START, by="test")
            self.customer, self.account = made.customer.sid, made.credentials.account_sid
            await ledger.open_balance(tx, self.customer, "USD", START)
            paid = ledger.Transaction(self.customer, "USD", "topup", templates.topup(micros("10.00"), "card"))
            await ledger.post(tx, [paid], START)
        await self.prices.refresh()

    def use(self, number: int, direction: str = "outbound", credential_sid: str = KEY) -> Use:
        return Use(
            self.account, f"SM{number:032d}", "sms", direction, "US", "+19075550123", "segment", 1, "", credential_sid
        )

    async def balance(self) -> ledger.Balance:
        async with self.database.snapshot() as tx:
            found = await ledger.balance(tx, self.customer, "USD")
            assert await ledger.verify(tx) == []
        assert found is not None
        return found


@pytest.fixture
async def world(database: Database) -> World:
    made = World(database)
    await made.sign_up()
    return made


async def test_2_2_a_usage_rows_name_customer_account_and_credential(world: World) -> None:
    sent, received = world.use(1), world.use(2, "inbound", "")
    async with world.database.transaction() as tx:
        assert await world.meter.hold(tx, [sent], START) == {}
        await world.meter.settle(tx, [Settled(sent, "charge"), Settled(received, "charge")], START)
    async with world.database.snapshot() as tx:
        rows = await tx.fetch(
            "SELECT id, u.customer_sid, u.account_sid, s.credential_sid FROM rated_usage u "
            "LEFT JOIN usage_sources s USING (customer_sid, id, account_sid) ORDER BY id"
        )
    assert [tuple(row.values()) for row in rows] == [
        (sent.id, world.customer, world.account, KEY),
        # Nobody asked for what came in: the account whose number it reached answers for it.
        (received.id, world.customer, world.account, world.account),
    ]


async def test_2_2_c_message_stopped_by_an_opt_out_is_not_charged(world: World) -> None:
    # 21610 is told by the message; a use that ends as free must leave neither a charge nor a hold.
    use = world.use(1)
    async with world.database.transaction() as tx:
        assert await world.meter.hold(tx, [use], START) == {}
    assert (await world.balance()).held > 0
    async with world.database.transaction() as tx:
        assert await world.meter.settle(tx, [Settled(use, "free")], START) == {use.id: 0}
    await world.leases.stop()
    balance = await world.balance()
    assert (decimal_text(balance.posted), balance.held) == ("10.00", 0)
    async with world.database.snapshot() as tx:
        assert await tx.fetchval("SELECT count(*) FROM rated_usage") == 0


async def test_3_3_1_funds_of_10_00_admit_exactly_305_of_400_parallel_messages_at_0_0327(world: World) -> None:
    async def send(number: int) -> bool:
        use = world.use(number)
        async with world.database.transaction() as tx:
            refusals = await world.meter.hold(tx, [use], START)
        if not refusals:
            return True
        refusal = refusals[use.id]
        assert (refusal.code, refusal.status, refusal.details) == (20005, 403, {"clause": "3.3.1"})
        return False

    accepted = [number for number, is_sent in enumerate(await asyncio.gather(*map(send, range(400)))) if is_sent]
    assert len(accepted) == 305
    await world.leases.stop()
    assert decimal_text((await world.balance()).held) == "9.9735"
    async with world.database.transaction() as tx:
        costs = await world.meter.settle(tx, [Settled(world.use(number), "charge") for number in accepted], START)
    assert decimal_text(sum(costs.values())) == "9.9735"
    balance = await world.balance()
    assert (decimal_text(balance.posted), balance.held, balance.owed) == ("0.0265", 0, 0)
