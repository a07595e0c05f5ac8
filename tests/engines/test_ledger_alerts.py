"""Hearing of low funds: once a crossing, by a job, without asking while funds last."""

import asyncio
from datetime import timedelta

import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.money import micros
from onterms.engines import ledger
from onterms.engines.ledger import Capture, Charge, HoldKey, HoldRequest, Split, Transaction, templates

A, B = "OR" + 32 * "a", "OR" + 32 * "b"
ACCOUNT = "AC" + 32 * "a"


class Books:
    """A prepaid customer with 10.00, of which somebody watches the last 4.00."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database = database
        self.clock = clock

    async def open(self, customer: str = A, below: str | None = "4.00") -> None:
        at = self.clock.now()
        async with self.database.transaction() as tx:
            await ledger.open_balance(tx, customer, "USD", at)
            paid = templates.topup(micros("10"), "stripe")
            await ledger.post(tx, [Transaction(customer, "USD", "t", paid)], at)
            await ledger.alert_below(tx, customer, "USD", None if below is None else micros(below))

    async def spend(self, amount: str, id_: str, customer: str = A) -> None:
        at = self.clock.now()
        request = HoldRequest(id_, ACCOUNT, customer, "USD", micros(amount), at + timedelta(hours=1), "test")
        async with self.database.transaction() as tx:
            await ledger.hold(tx, [request], at)
        async with self.database.transaction() as tx:
            capture = Capture(HoldKey(customer, id_), Split("sms", micros(amount)))
            await ledger.capture(tx, [capture], at)

    async def charge(self, amount: str, key: str) -> None:
        async with self.database.transaction() as tx:
            charge = Charge(A, "USD", key, Split("sms", micros(amount)))
            await ledger.charge(tx, [charge], self.clock.now())

    async def told(self) -> list[tuple[str, str]]:
        async with self.database.snapshot() as tx:
            rows = await tx.fetch("SELECT payload FROM jobs WHERE task = $1 ORDER BY id", ledger.FUNDS_LOW)
        return [(row["payload"]["customer_sid"], row["payload"]["currency"]) for row in rows]


@pytest.fixture
async def books(database: Database, clock: VirtualClock) -> Books:
    made = Books(database, clock)
    await made.open()
    return made


async def test_spending_down_to_the_mark_tells_nobody(books: Books) -> None:
    await books.spend("6.00", "H1")
    assert await books.told() == []


async def test_spending_below_the_mark_tells_once(books: Books) -> None:
    await books.spend("6.00", "H1")
    await books.spend("0.000001", "H2")
    await books.spend("1.00", "H3")
    assert await books.told() == [(A, "USD")]


async def test_holds_alone_tell_nothing(books: Books) -> None:
    at = books.clock.now()
    async with books.database.transaction() as tx:
        request = HoldRequest("H1", ACCOUNT, A, "USD", micros("9"), at + timedelta(hours=1), "test")
        await ledger.hold(tx, [request], at)
        await ledger.release(tx, [HoldKey(A, "H1")], at)
    assert await books.told() == []


async def test_mark_set_again_tells_again(books: Books) -> None:
    await books.spend("7.00", "H1")
    async with books.database.transaction() as tx:
        await ledger.alert_below(tx, A, "USD", micros("2"))
    await books.spend("0.50", "H2")
    assert len(await books.told()) == 1
    await books.spend("1.00", "H3")
    assert len(await books.told()) == 2


async def test_without_a_mark_nobody_is_told(books: Books) -> None:
    async with books.database.transaction() as tx:
        await ledger.alert_below(tx, A, "USD", None)
    await books.spend("10.00", "H1")
    assert await books.told() == []


async def test_of_a_batch_only_those_that_fell_are_told_of(books: Books) -> None:
    await books.open(B)
    at = books.clock.now()
    requests = [
        HoldRequest(f"H{sid}", ACCOUNT, sid, "USD", micros(amount), at + timedelta(hours=1), "test")
        for sid, amount in ((A, "2.00"), (B, "8.00"))
    ]
    async with books.database.transaction() as tx:
        await ledger.hold(tx, requests, at)
        captures = [Capture(each.key, Split("sms", each.micros)) for each in requests]
        await ledger.capture(tx, captures, at)
    assert await books.told() == [(B, "USD")]


async def test_charge_beyond_the_funds_is_always_told(books: Books) -> None:
    await books.charge("11.00", "C1")
    # The fall below the mark, and the debt.
    assert set(await books.told()) == {(A, "USD")}
    before = len(await books.told())
    await books.charge("1.00", "C2")
    assert len(await books.told()) == before + 1
    await books.charge("1.00", "C2")
    assert len(await books.told()) == before + 1


async def test_spending_that_is_rolled_back_tells_nobody(books: Books) -> None:
    class Failed(Exception):
        pass

    with pytest.raises(Failed):
        async with books.database.transaction() as tx:
            charge = Charge(A, "USD", "C1", Split("sms", micros("9")))
            await ledger.charge(tx, [charge], books.clock.now())
            raise Failed
    assert await books.told() == []
    await books.spend("7.00", "H1")
    assert await books.told() == [(A, "USD")]


async def test_many_at_once_tell_once(books: Books) -> None:
    await asyncio.gather(*(books.spend("0.50", f"H{n}") for n in range(20)))
    assert await books.told() == [(A, "USD")]


async def test_verify_compares_receivables_with_open_invoices(books: Books) -> None:
    at = books.clock.now()
    async with books.database.transaction() as tx:
        billed = templates.invoice_close("IV1", micros("3"), {})
        await ledger.post(tx, [Transaction(A, "USD", "IV1", billed)], at)

    async def same(tx: object) -> dict[tuple[str, str], int]:
        return {(A, "USD"): micros("3")}

    async def other(tx: object) -> dict[tuple[str, str], int]:
        return {(A, "USD"): micros("2")}

    assert await ledger.verify_ledger(books.database, same) == (0, ["The ledger is in order."])
    status, lines = await ledger.verify_ledger(books.database, other)
    assert (status, lines) == (1, [f"invariant 9, {A}: receivables are 3.00 USD and open invoices 2.00"])
