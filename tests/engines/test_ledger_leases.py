"""Holds from memory: several workers, death, rollbacks, near-empty balances."""

import asyncio
import gc
from datetime import timedelta
from typing import Any

import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.money import micros
from onterms.engines import ledger
from onterms.engines.ledger import Duplicate, Held, HoldKey, HoldRequest, Leases, Split, templates

A, B = "OR" + 32 * "a", "OR" + 32 * "b"
ACCOUNT = "AC" + 32 * "a"


class Workers:
    """A database with funds, and workers that hold on leases."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database = database
        self.clock = clock

    async def open(self, funds: str, customer: str = A, **terms: Any) -> None:
        async with self.database.transaction() as tx:
            await ledger.open_balance(tx, customer, "USD", self.clock.now(), **terms)
            if micros(funds):
                paid = ledger.Transaction(customer, "USD", "topup", templates.topup(micros(funds), "card"))
                await ledger.post(tx, [paid], self.clock.now())

    def worker(self, name: str, **settings: Any) -> Leases:
        return Leases(self.database, self.clock, name, **settings)

    def request(self, id: str, amount: str = "0.01", customer: str = A) -> HoldRequest:
        expires_at = self.clock.now() + timedelta(days=1)
        return HoldRequest(id, ACCOUNT, customer, "USD", micros(amount), expires_at, "message")

    async def hold(self, worker: Leases, *requests: HoldRequest) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await worker.hold(tx, requests, self.clock.now()))

    async def warm(self, worker: Leases, customer: str = A, amount: str = "0.01") -> None:
        """Let a worker take its first chunk."""
        [outcome] = await self.hold(worker, self.request(f"warm-{id(worker)}", amount, customer))
        assert isinstance(outcome, Held)
        await worker.settled()

    async def balance(self, customer: str = A) -> ledger.Balance:
        async with self.database.snapshot() as tx:
            found = await ledger.balance(tx, customer, "USD")
        assert found is not None
        return found

    async def count(self, where: str = "true") -> int:
        async with self.database.snapshot() as tx:
            return int(await tx.fetchval(f"SELECT count(*) FROM ledger_holds WHERE {where}"))

    async def leases(self) -> int:
        async with self.database.snapshot() as tx:
            return int(await tx.fetchval("SELECT count(*) FROM ledger_leases"))

    async def verified(self) -> None:
        async with self.database.snapshot() as tx:
            assert await ledger.verify(tx) == []


@pytest.fixture
def workers(database: Database, clock: VirtualClock) -> Workers:
    return Workers(database, clock)


async def test_a_second_hold_comes_out_of_memory_and_leaves_the_funds_alone(workers: Workers) -> None:
    await workers.open("10.00")
    worker = workers.worker("w1")
    await workers.warm(worker)
    before = (await workers.balance()).held
    # A quarter of what is left, which the first hold may or may not have lessened before.
    assert before - micros("0.01") in (micros("9.99") // 4, micros("10.00") // 4)
    assert await workers.hold(worker, workers.request("h")) == [Held(HoldKey(A, "h"))]
    assert (await workers.balance()).held == before
    assert await workers.count("lease_id IS NOT NULL") == 1
    await workers.verified()
    await worker.stop()
    assert (await workers.balance()).held == micros("0.02")
    assert await workers.leases() == 0
    await workers.verified()


async def test_the_chunk_is_bounded_by_units_and_shared_by_workers(workers: Workers) -> None:
    await workers.open("100.00")
    small, other = workers.worker("w1", chunk_units_max=100), workers.worker("w2")
    await workers.warm(small)
    held = (await workers.balance()).held
    assert held == micros("0.01") + 100 * micros("0.01")
    await workers.warm(other)
    # An eighth of what is left: there are two workers now.
    chunk = (await workers.balance()).held - held - 10_000
    assert chunk in ((micros("100.00") - held) // 8, (micros("100.00") - held - 10_000) // 8)
    await small.stop()
    await other.stop()
    await workers.verified()


async def test_a_balance_without_a_limit_is_leased_too(workers: Workers) -> None:
    await workers.open("0", kind="invoiced")
    worker = workers.worker("w1", chunk_units_max=10)
    await workers.warm(worker)
    assert await workers.leases() == 1
    assert await workers.hold(worker, *[workers.request(str(n)) for n in range(30)]) == [
        Held(HoldKey(A, str(n))) for n in range(30)
    ]
    await worker.stop()
    await workers.verified()


async def test_a_rollback_gives_the_amount_back_to_memory(workers: Workers) -> None:
    await workers.open("8.00")
    worker = workers.worker("w1")
    await workers.warm(worker, amount="0.50")
    chunk = (await workers.balance()).held - micros("0.50")
    assert chunk in (1_875_000, 2_000_000)
    for _ in range(10):
        with pytest.raises(RuntimeError):
            async with workers.database.transaction() as tx:
                await worker.hold(tx, [workers.request("gone", "1.00")], workers.clock.now())
                raise RuntimeError
        gc.collect()
        await worker.settled()
        # Ten of them would have used up the chunk five times over.
        assert (await workers.balance()).held <= micros("0.50") + 2 * chunk
    assert await workers.count() == 1
    # And no more than that: what is there can be held, and nothing beyond.
    outcomes = [(await workers.hold(worker, workers.request(f"h{n}", "0.25")))[0] for n in range(34)]
    assert [isinstance(outcome, Held) for outcome in outcomes] == [True] * 30 + [False] * 4
    await worker.settled()
    await workers.verified()
    await worker.stop()
    assert (await workers.balance()).held == micros("8.00")
    await workers.verified()


async def test_a_savepoint_rolled_back_loses_nothing_in_the_end(workers: Workers) -> None:
    await workers.open("8.00")
    worker = workers.worker("w1")
    await workers.warm(worker)
    async with workers.database.transaction() as tx:
        with pytest.raises(RuntimeError):
            async with tx.savepoint():
                await worker.hold(tx, [workers.request("gone", "1.00")], workers.clock.now())
                raise RuntimeError
        await worker.hold(tx, [workers.request("kept", "0.10")], workers.clock.now())
    await worker.settled()
    await worker.stop()
    assert (await workers.balance()).held == micros("0.11")
    await workers.verified()


async def test_a_connection_that_dies_under_the_caller_loses_nothing(workers: Workers) -> None:
    await workers.open("8.00")
    worker = workers.worker("w1")
    await workers.warm(worker)
    with pytest.raises(Exception):  # noqa: B017 - which one depends on where the connection notices
        async with workers.database.transaction() as tx:
            await worker.hold(tx, [workers.request("gone", "1.00")], workers.clock.now())
            pid = await tx.fetchval("SELECT pg_backend_pid()")
            async with workers.database.snapshot() as other:
                await other.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
            await tx.fetchval("SELECT 1")
    gc.collect()
    assert await workers.count() == 1
    assert await workers.hold(worker, workers.request("h", "0.20")) == [Held(HoldKey(A, "h"))]
    await worker.settled()
    await worker.stop()
    assert (await workers.balance()).held == micros("0.21")
    await workers.verified()


async def test_a_replay_through_any_worker_is_a_duplicate_and_costs_nothing(workers: Workers) -> None:
    await workers.open("10.00")
    first, second = workers.worker("w1"), workers.worker("w2")
    await workers.warm(first)
    await workers.warm(second)
    assert await workers.hold(first, workers.request("h")) == [Held(HoldKey(A, "h"))]
    for worker in (first, second):
        assert await workers.hold(worker, workers.request("h")) == [Duplicate(HoldKey(A, "h"), "held", True)]
    twice = await workers.hold(first, workers.request("x"), workers.request("x"), workers.request("y"))
    assert [type(outcome) for outcome in twice].count(Held) == 2
    await first.stop()
    await second.stop()
    assert (await workers.balance()).held == micros("0.05")
    await workers.verified()


async def test_no_hold_is_refused_while_funds_lie_in_idle_leases(workers: Workers) -> None:
    await workers.open("1.00")
    rich, poor = workers.worker("w1"), workers.worker("w2")
    await workers.warm(rich)
    parked = (await workers.balance()).held
    assert parked > micros("0.20")
    # More than is free, less than there is.
    assert await workers.hold(poor, workers.request("big", "0.99")) == [Held(HoldKey(A, "big"))]
    assert (await workers.balance()).available == 0
    # The lease was called in; its worker finds out and is refused for good.
    outcomes = await workers.hold(rich, workers.request("late"))
    assert [type(outcome).__name__ for outcome in outcomes] == ["Insufficient"]
    await workers.verified()
    await rich.stop()
    await poor.stop()
    await workers.verified()


async def test_a_lease_that_is_being_spent_is_waited_for(workers: Workers) -> None:
    await workers.open("1.00")
    rich, poor = workers.worker("w1"), workers.worker("w2")
    await workers.warm(rich)
    spending, refused = asyncio.Event(), asyncio.Event()

    async def spend() -> None:
        async with workers.database.transaction() as tx:
            await rich.hold(tx, [workers.request("busy")], workers.clock.now())
            spending.set()
            await refused.wait()

    task = asyncio.create_task(spend())
    await spending.wait()
    # What the running transaction keeps busy cannot be called in, and nobody waits for ever.
    outcomes = await workers.hold(poor, workers.request("big", "0.98"))
    assert [type(outcome).__name__ for outcome in outcomes] == ["Insufficient"]
    refused.set()
    await task
    assert await workers.hold(poor, workers.request("big", "0.98")) == [Held(HoldKey(A, "big"))]
    assert (await workers.balance()).available == 0
    await workers.verified()


async def test_a_dead_workers_chunk_comes_back_without_what_its_holds_took(workers: Workers) -> None:
    await workers.open("10.00")
    dead, living = workers.worker("w1"), workers.worker("w2")
    await workers.warm(dead)
    await workers.hold(dead, *[workers.request(f"d{n}") for n in range(7)])
    # It is never heard of again.
    await living.maintain()
    assert await workers.leases() == 1
    workers.clock.hold(workers.clock.now() + timedelta(seconds=61))
    await living.maintain()
    assert await workers.leases() == 0
    found = await workers.balance()
    assert (found.posted, found.held) == (10_000_000, micros("0.08"))
    await workers.verified()
    # It was only slow: it holds directly from now on.
    assert await workers.hold(dead, workers.request("again")) == [Held(HoldKey(A, "again"))]
    await dead.settled()
    await dead.stop()
    assert (await workers.balance()).held == micros("0.09")
    await workers.verified()


async def test_a_worker_that_starts_again_returns_what_it_left(workers: Workers) -> None:
    await workers.open("10.00")
    before = workers.worker("w1")
    await workers.warm(before)
    await workers.hold(before, workers.request("h"))
    after = workers.worker("w1")
    await after.start()
    assert (await workers.balance()).held == micros("0.02")
    assert await workers.leases() == 0
    await workers.verified()


async def test_an_idle_chunk_goes_back_and_a_used_one_is_renewed(workers: Workers) -> None:
    await workers.open("10.00")
    await workers.open("10.00", B)
    worker, other = workers.worker("w1"), workers.worker("w2")
    await workers.warm(worker)
    await workers.warm(worker, B)
    for step in range(8):
        workers.clock.hold(workers.clock.now() + timedelta(seconds=10))
        await workers.hold(worker, workers.request(f"h{step}", customer=B))
        await worker.maintain()
        await other.maintain()
    assert await workers.leases() == 1
    assert (await workers.balance(A)).held == micros("0.01")
    assert (await workers.balance(B)).held > micros("0.09")
    await worker.stop()
    assert (await workers.balance(B)).held == micros("0.09")
    await workers.verified()


async def test_leased_holds_are_captured_and_released_like_others(workers: Workers) -> None:
    await workers.open("10.00")
    worker = workers.worker("w1")
    await workers.warm(worker)
    await workers.hold(worker, *[workers.request(f"h{n}") for n in range(4)])
    async with workers.database.transaction() as tx:
        at = workers.clock.now()
        used = [ledger.Capture(HoldKey(A, f"h{n}"), Split("sms", fee=7_000)) for n in range(3)]
        await ledger.capture(tx, used, at)
        await ledger.release(tx, [HoldKey(A, "h3")], at)
    await workers.verified()
    await worker.stop()
    found = await workers.balance()
    assert (found.posted, found.held) == (10_000_000 - 21_000, micros("0.01"))
    await workers.verified()


async def test_holding_twice_and_capturing_in_one_transaction_does_not_wait_for_itself(workers: Workers) -> None:
    await workers.open("1.00")
    worker = workers.worker("w1")
    await workers.warm(worker)
    async with asyncio.timeout(10):
        async with workers.database.transaction() as tx:
            at = workers.clock.now()
            await worker.hold(tx, [workers.request("a")], at)
            await ledger.capture(tx, [ledger.Capture(HoldKey(A, "a"), Split("sms", fee=10_000))], at)
            # More than memory has: calls in the lease that this transaction spends itself.
            assert await worker.hold(tx, [workers.request("b", "0.98")], at) == [Held(HoldKey(A, "b"))]
        await worker.settled()
    found = await workers.balance()
    assert (found.posted, found.available) == (990_000, 0)
    await workers.verified()


async def test_workers_that_die_in_a_crowd_never_overspend_and_lose_nothing(workers: Workers) -> None:
    await workers.open("10.00")
    crowd = [workers.worker(f"w{n}", chunk_units_max=20) for n in range(4)]
    held = 0

    async def send(number: int) -> None:
        nonlocal held
        worker = crowd[number % 4]
        try:
            async with workers.database.transaction() as tx:
                requests = [workers.request(f"s{number}-{n}", "0.0327") for n in range(3)]
                outcomes = await worker.hold(tx, requests, workers.clock.now())
                if number % 11 == 0:
                    raise RuntimeError
            held += sum(isinstance(outcome, Held) for outcome in outcomes)
        except RuntimeError:
            pass
        if number == 60:
            # A worker of the same name takes its place; its memory is gone.
            crowd[1] = workers.worker("w1", chunk_units_max=20)
            await crowd[1].start()

    for start in range(0, 120, 40):
        await asyncio.gather(*[send(number) for number in range(start, start + 40)])
        await workers.verified()
    # Whoever comes later gets what is left, to the last unit.
    for number in range(200):
        [outcome] = await workers.hold(crowd[number % 4], workers.request(f"last{number}", "0.0327"))
        if not isinstance(outcome, Held):
            break
        held += 1
        await workers.verified() if number % 50 == 0 else None
    assert held == 305
    assert await workers.count() == 305
    for worker in crowd:
        await worker.settled()
        await worker.stop()
    found = await workers.balance()
    assert found.held == 305 * micros("0.0327")
    assert await workers.leases() == 0
    await workers.verified()
