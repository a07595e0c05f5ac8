"""The commercial rooms on a scratch database, one step at a time: every choice comes from one seed, also who dies when.

`World` is one install. Its worker runs one claim at a time in an order that the seed decides, and its database fails
where the seed says: before a commit (nothing happened) or after it (it happened and nobody was told), either as an
error that the process survives or as the death of the process, after which it starts again with empty memory.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest

from onterms.app.office import Office
from onterms.business import accounts
from onterms.business.standing import refusal_to_send
from onterms.business.usage import Settled, Use
from onterms.carriers.payment_simulator.gateway import SIGNATURE_HEADER
from onterms.core.clock import VirtualClock
from onterms.core.db import Coalescer, Database, Tx
from onterms.core.errors import InvalidParameter, Refusal
from onterms.core.vault import Vault
from onterms.engines.api import Account, Caller, OwnRequest, OwnRoute
from onterms.engines.jobs import LeaseLost, Worker, WorkerSettings, store
from onterms.protocols.timestamped_signature import sign

BASE = "/commercial/v1/"


class Crash(BaseException):
    """The process died here."""


class Faults:
    """Decides at every commit whether something breaks."""

    def __init__(self, random: Random, rate: float) -> None:
        self.random, self.rate = random, rate
        self.task: asyncio.Task[Any] | None = None
        # Where nobody could find out what became of a request, only what undoes it all may happen.
        self.may_lose_answers = True
        self.count: dict[str, int] = {}

    def before_commit(self) -> None:
        self._fail("before")

    def after_commit(self) -> None:
        if self.may_lose_answers:
            self._fail("after")

    def _fail(self, place: str) -> None:
        if asyncio.current_task() is not self.task or self.random.random() >= self.rate:
            return
        kind = self.random.choice(("crash", "error"))
        name = f"{kind} {place} a commit"
        self.count[name] = self.count.get(name, 0) + 1
        raise Crash if kind == "crash" else ConnectionResetError(name)


class FaultyDatabase(Database):
    """A database whose commits fail as told."""

    faults: Faults | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        async with self._pool.acquire() as connection:
            tx = Tx(connection, self)
            async with connection.transaction():
                yield tx
                if self.faults is not None:
                    self.faults.before_commit()
            if self.faults is not None:
                self.faults.after_commit()
            tx.run_effects()


class Stepper(Worker):
    """The worker without its loops: one claim of one task at a time, run to its end."""

    async def boot(self) -> None:
        async with self.database.transaction() as tx:
            self._lease_id = await store.register_worker(tx, self.name, uuid.uuid4(), 86_400)

    async def due(self) -> list[str]:
        async with self.database.snapshot() as tx:
            rows = await tx.fetch(
                "SELECT task, min(due_at) AS first FROM jobs WHERE state = 'ready' AND due_at <= $1 "
                "GROUP BY task ORDER BY first, task",
                self.clock.now(),
            )
        return [row["task"] for row in rows if row["task"] in self._lanes]

    async def step(self, task: str, limit: int) -> int:
        lane = self._lanes[task]
        async with self.database.transaction() as tx:
            claimed = await store.claim(tx, self._lease_id, task, self.clock.now(), min(limit, lane.batch_max))
        if claimed.jobs:
            await self._handle(lane, self._lease_id, claimed.jobs)
        return len(claimed.jobs)

    async def put_back(self) -> None:
        """Free what a failed settlement left leased, as the sweep of a running worker does."""
        async with self.database.transaction() as tx:
            held = await store.leased_ids(tx, self._lease_id)
            await store.release(tx, self._lease_id, held, begun=held)

    async def dead(self) -> list[str]:
        async with self.database.snapshot() as tx:
            rows = await tx.fetch("SELECT task, error FROM jobs WHERE state = 'dead' ORDER BY id")
        return [f"{row['task']}: {row['error']}" for row in rows]


class SimClock(VirtualClock):
    """A clock that is the only one: also what is measured in real time elsewhere follows it."""

    def monotonic(self) -> float:
        return self.now().timestamp()


class NoCallbacks:
    """Webhooks of customers; no trigger has one here."""

    async def call(self, callback: Any) -> Any:
        raise AssertionError(f"nobody asked for a callback to {callback.url}")


class World:
    """One install with its clock, worker, payment provider and mailboxes."""

    def __init__(self, database: FaultyDatabase, seed: int, *, fault_rate: float, start: datetime) -> None:
        self.database = database
        self.random = Random(seed)
        self.faults = Faults(Random(f"faults {seed}"), 0.0)
        self.fault_rate = fault_rate
        database.faults = self.faults
        self.clock = SimClock(held_at=start)
        self.vault = Vault(bytes(32))
        self.crashes = 0
        # What the messaging room would say of a message that nobody settled in time.
        self.delivered: set[str] = set()
        self.office: Office
        self.worker: Stepper
        self._routes: list[OwnRoute] = []

    # ---- life

    async def boot(self) -> None:
        """Start a process: empty memory, the same database."""
        self.office = Office(self.database, self.clock, self.vault, node="sim")
        settings = WorkerSettings(random=self.random.random)
        self.worker = Stepper(self.database, self.clock, name="sim", settings=settings)
        self.office.register(self.worker, self._still_due, NoCallbacks(), self._signing_token)
        self._routes = []
        self.door: Coalescer[Use, None] = Coalescer(self._admit, batch_max=64, runners=1)
        await self.worker.boot()
        await self.office.leases.start()
        await self.office.prices.refresh()

    async def open(self) -> None:
        self.faults.task = asyncio.current_task()
        await self.boot()
        async with self.database.transaction() as tx:
            at = self.clock.now()
            made = await _first_account(tx, self.vault, at)
            await self.office.open(tx, made, at)
            # Reading the whole world's prices takes most of the time of a start; here each price is known.
            await tx.execute("DELETE FROM list_prices")
        await self.office.prices.refresh()
        self.first_account = made

    async def restart(self) -> None:
        self.crashes += 1
        quiet, self.faults.rate = self.faults.rate, 0.0
        old = self.office
        await old.leases.settled()
        await self.boot()
        self.faults.rate = quiet

    async def close(self) -> None:
        self.faults.rate = 0.0
        await self.office.leases.stop()

    async def _still_due(self, tx: Tx, ids: Sequence[str]) -> set[str]:
        return set(ids) & self.delivered

    async def _signing_token(self, account_sid: str) -> str:
        return "token"

    # ---- requests

    @property
    def routes(self) -> list[OwnRoute]:
        # Most lives of a process here are too short for a request.
        self._routes = self._routes or list(self.office.routes(_Gatekeeper()))
        return self._routes

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        account: str | None = None,
        raw: bytes = b"",
        headers: Mapping[bytes, bytes] | None = None,
        once: bool = False,
    ) -> Any:
        """Call a route as the operator or an account, again after a fault; `once`: it has nothing to be told apart by.

        Raises: Refusal.
        """
        for _ in range(50):
            self.faults.rate, self.faults.may_lose_answers = self.fault_rate, not once
            try:
                return await self._call(method, path, body, account, raw, headers)
            except ConnectionResetError:
                continue
            except InvalidParameter as refusal:
                # Where the thing itself says whose it is, nobody asks for the customer.
                if "'customer_sid' is not taken" not in refusal.message or not body:
                    raise
                body = {name: value for name, value in body.items() if name != "customer_sid"}
            except Crash:
                await self.restart()
            finally:
                self.faults.rate = 0.0
                self.faults.may_lose_answers = True
        raise AssertionError(f"{method} {path} failed fifty times")

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        account: str | None,
        raw: bytes,
        headers: Mapping[bytes, bytes] | None,
    ) -> Any:
        path, _, text = path.partition("?")
        path = path if path.startswith("/") else BASE + path
        query = dict(pair.split("=", 1) for pair in text.split("&") if pair)
        for route in self.routes:
            match = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.pattern), path)
            if match and route.method == method:
                break
        else:
            raise AssertionError(f"no route {method} {path}")
        assert account is None or route.access != "operator", "the front door would have refused"
        caller = None if account is None else Caller(Account(account, account, "active", ""), "token", account)
        request = OwnRequest(
            method,
            match.groupdict(),
            query,
            body or {},
            self.clock.now(),
            caller,
            operator=account is None,
            headers=headers or {},
            raw_body=raw,
        )
        if route.free_handler is not None:
            reply = await route.free_handler(request)
        else:
            assert route.handler is not None
            async with self.database.transaction() as tx:
                reply = await route.handler(tx, request)
        # It is done: what only keeps memory up to date must not look like a failure of it.
        self.faults.rate = 0.0
        await self.office.prices.refresh()
        return reply.body if reply.raw is None else reply.raw

    async def pay_webhook(self, body: bytes, secret: str | None = None) -> Any:
        """Hand a webhook over as the network would, signed with the install's secret or another."""
        key = secret or self.vault.mac("payment simulator webhooks", b"1").hex()
        signature = sign(key, body, int(self.clock.now().timestamp()))
        headers = {SIGNATURE_HEADER.encode(): signature.encode()}
        return await self.call("POST", "PaymentWebhooks/simulator", raw=body, headers=headers)

    # ---- sending

    async def _admit(self, uses: list[Use]) -> list[Refusal | None]:
        """Admit a batch of many requests in one commit, as the messaging room does with messages."""
        at = self.clock.now()
        states = await self.office.standing.known(sorted({use.account_sid for use in uses}))
        async with self.database.transaction() as tx:
            refused: dict[str, Refusal] = {}
            for use in uses:
                state = states.get(use.account_sid)
                no = None if state is None else refusal_to_send(state, use.service, use.country)
                if no is not None:
                    refused[use.id] = no
            refused.update(await self.office.meter.hold(tx, [use for use in uses if use.id not in refused], at))
        return [refused.get(use.id) for use in uses]

    async def send(self, uses: Sequence[Use], *, fails: bool) -> list[Refusal | None]:
        """Send by many requests at once; where the batch fails each sender tries again, as clients do."""
        if fails:
            # The batch's runner is a task of its own: let its commit fail for everybody.
            database, place = self.database, self.random.choice(("before", "after"))
            database.faults = OneFault(place)
            results = await asyncio.gather(*[self.door.submit(use) for use in uses], return_exceptions=True)
            database.faults = self.faults
            assert all(isinstance(each, ConnectionResetError) for each in results)
        answers = await asyncio.gather(*[self.door.submit(use) for use in uses], return_exceptions=True)
        await self.office.leases.settled()
        found: list[Refusal | None] = []
        for each in answers:
            if each is not None and not isinstance(each, Refusal):
                raise each
            found.append(each)
        return found

    async def settle(self, settled: Sequence[Settled]) -> dict[str, int]:
        """Say how uses ended; again after a fault."""
        for _ in range(50):
            self.faults.rate = self.fault_rate
            try:
                async with self.database.transaction() as tx:
                    return await self.office.meter.settle(tx, settled, self.clock.now())
            except ConnectionResetError:
                continue
            except Crash:
                await self.restart()
            finally:
                self.faults.rate = 0.0
        raise AssertionError("settling failed fifty times")

    # ---- time

    async def work(self) -> None:
        """Run what is due, in an order that the seed decides, through faults and deaths."""
        for _ in range(3000):
            self.faults.rate = self.fault_rate
            try:
                due = await self.worker.due()
                if not due:
                    return
                await self.worker.step(self.random.choice(due), self.random.choice((1, 2, 100)))
            except Crash:
                await self.restart()
            except (ConnectionResetError, LeaseLost):
                self.faults.rate = 0.0
                await self.worker.put_back()
            finally:
                self.faults.rate = 0.0
        raise AssertionError(f"the worker does not come to an end: {await self.worker.due()}")

    async def advance(self, span: timedelta) -> None:
        """Let time pass, timer by timer; or jump over all of them at once, as a machine that slept does."""
        end = self.clock.now() + span
        if self.random.random() < 0.2:
            self.clock.hold(end)
        while True:
            await self.work()
            due = await self.worker.next_due()
            if due is None or due > end:
                break
            self.clock.hold(max(due, self.clock.now()))
        self.clock.hold(max(end, self.clock.now()))
        await self.office.leases.maintain()
        await self.work()

    def today(self) -> date:
        return self.clock.now().date()


class OneFault:
    """Fails every commit, before or after it."""

    def __init__(self, place: str) -> None:
        self.place = place

    def before_commit(self) -> None:
        if self.place == "before":
            raise ConnectionResetError("before a commit")

    def after_commit(self) -> None:
        if self.place == "after":
            raise ConnectionResetError("after a commit")


class _Gatekeeper:
    async def authenticate(self, authorization: bytes) -> Caller:
        raise AssertionError("nobody signs in to a page here")


async def _first_account(tx: Tx, vault: Vault, at: datetime) -> str:
    await accounts.ensure_first(tx, vault, "operator-key", at)
    found = await accounts.first_credentials(tx, vault)
    assert found is not None
    return found.account_sid


@pytest.fixture
async def make_world(connect_args: dict[str, Any]) -> AsyncIterator[Any]:
    """Return a function that opens an install for a seed."""
    opened: list[World] = []

    async def make(seed: int, *, fault_rate: float = 0.03) -> World:
        database = await FaultyDatabase.connect(connect_args, connections_max=6)
        world = World(database, seed, fault_rate=fault_rate, start=datetime(2025, 1, 6, 9, tzinfo=UTC))  # type: ignore[arg-type]
        opened.append(world)
        await world.open()
        return world

    yield make
    for world in opened:
        await world.close()
        await world.database.close()
