"""The ledger against a pure model of it, step by step, whatever the order of steps."""

import asyncio
import gc
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.engines import ledger
from onterms.engines.ledger import (
    Capture,
    Charge,
    Extension,
    Held,
    HoldKey,
    HoldRequest,
    InsufficientFunds,
    Leases,
    Split,
    Transaction,
    templates,
)

T = TypeVar("T")
ACCOUNT = "AC" + 32 * "a"
START = datetime(2030, 1, 1, tzinfo=UTC)
_customers = itertools.count(1)
amounts = st.integers(1, 15)
ids = st.integers(0, 15).map(lambda number: f"h{number}")


class Model:
    """What the ledger has to say, in a few dictionaries."""

    def __init__(self) -> None:
        self.posted = 0
        self.owed = 0
        self.earned = 0
        self.holds: dict[str, list[Any]] = {}
        self.keys: set[str] = set()

    @property
    def held(self) -> int:
        return sum(micros for micros, state, _ in self.holds.values() if state == "held")

    @property
    def available(self) -> int:
        return self.posted - self.held

    def hold(self, wanted: list[tuple[str, int]], expires_at: datetime) -> list[str]:
        outcomes = []
        fresh: dict[str, str] = {}
        known = set(self.holds)
        for id, micros in wanted:
            if id in known:
                outcomes.append("Duplicate")
            elif id in fresh:
                outcomes.append("Duplicate" if fresh[id] == "Held" else fresh[id])
            else:
                fresh[id] = "Held" if micros <= self.available else "Insufficient"
                if fresh[id] == "Held":
                    self.holds[id] = [micros, "held", expires_at]
                outcomes.append(fresh[id])
        return outcomes

    def capture(self, id: str, micros: int) -> str:
        hold = self.holds.get(id)
        if hold is None:
            return "Unknown"
        if hold[1] == "held":
            if micros > hold[0]:
                return "TooMuch"
            hold[1] = ("captured", micros)
            self.posted -= micros
            self.earned += micros
            return "Captured"
        return "Captured" if hold[1] == ("captured", micros) else "Ended"

    def release(self, id: str) -> str:
        hold = self.holds.get(id)
        if hold is None:
            return "Unknown"
        if hold[1] == "held":
            hold[1] = "released"
        return "Released" if hold[1] in ("released", "expired") else "Ended"

    def extend(self, id: str, to: int, expires_at: datetime) -> str:
        hold = self.holds.get(id)
        if hold is None:
            return "Unknown"
        if hold[1] != "held":
            return "Ended"
        if to - hold[0] > self.available:
            return "Insufficient"
        hold[0] = max(hold[0], to)
        hold[2] = max(hold[2], expires_at)
        return "Extended"

    def expire(self, at: datetime) -> set[str]:
        found = {id for id, (_, state, expires_at) in self.holds.items() if state == "held" and expires_at <= at}
        for id in found:
            self.holds[id][1] = "expired"
        return found


class LedgerMachine(RuleBasedStateMachine):
    """Random work on one customer, by direct calls and by two workers with leases."""

    runner: asyncio.Runner
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.customer = f"OR{next(_customers):032x}"
        self.clock = VirtualClock(held_at=START)
        self.model = Model()
        self.workers = {name: self.worker(name) for name in ("w1", "w2")}
        self.act(lambda tx: ledger.open_balance(tx, self.customer, "USD", self.clock.now()))

    def worker(self, name: str) -> Leases:
        return Leases(self.database, self.clock, f"{name}-{self.customer}", chunk_units_max=20)

    def act(self, step: Callable[[Any], Awaitable[T]], *, then_fail: bool = False) -> T | None:
        async def run() -> T:
            async with self.database.transaction() as tx:
                result = await step(tx)
                if then_fail:
                    raise ConnectionResetError
            return result

        try:
            return self.runner.run(run())
        except ConnectionResetError:
            return None

    def key(self, id: str) -> HoldKey:
        return HoldKey(self.customer, id)

    @initialize(micros=st.integers(20, 400))
    def first_topup(self, micros: int) -> None:
        self.topup(micros, 0, False)

    @rule(micros=st.integers(1, 100), key=st.integers(0, 5), fails=st.booleans())
    def topup(self, micros: int, key: int, fails: bool) -> None:
        name = f"topup-{key}-{micros}"
        paid = Transaction(self.customer, "USD", name, templates.topup(micros, "card"))
        found = self.act(lambda tx: ledger.post(tx, [paid], self.clock.now()), then_fail=fails)
        if found is not None:
            assert found[0].is_new == (name not in self.model.keys)
            if found[0].is_new:
                self.model.keys.add(name)
                self.model.posted += micros

    @rule(
        wanted=st.lists(st.tuples(ids, amounts), min_size=1, max_size=4),
        by=st.sampled_from([None, "w1", "w2"]),
        fails=st.sampled_from([False, False, True]),
        lives_s=st.integers(60, 600),
    )
    def hold(self, wanted: list[tuple[str, int]], by: str | None, fails: bool, lives_s: int) -> None:
        at = self.clock.now()
        expires_at = at + timedelta(seconds=lives_s)
        requests = [
            HoldRequest(id, ACCOUNT, self.customer, "USD", micros, expires_at, "message") for id, micros in wanted
        ]
        if by is None:
            found = self.act(lambda tx: ledger.hold(tx, requests, at), then_fail=fails)
        else:
            found = self.act(lambda tx: self.workers[by].hold(tx, requests, at), then_fail=fails)
            gc.collect(0)
            self.runner.run(self.workers[by].settled())
        if found is None:
            return
        kinds = [type(outcome).__name__ for outcome in found]
        if by is None:
            assert kinds == self.model.hold(wanted, expires_at)
            return
        # Out of memory and directly: another order, so that of two that do not both fit another one may go through.
        taken = 0
        for (id, micros), outcome in zip(wanted, found, strict=True):
            if isinstance(outcome, Held):
                assert id not in self.model.holds
                taken += micros
                self.model.holds[id] = [micros, "held", expires_at]
        assert self.model.available >= 0
        for (id, micros), kind in zip(wanted, kinds, strict=True):
            if kind == "Insufficient":
                assert micros > self.model.available, "refused while funds exist"
            elif kind == "Duplicate":
                assert id in self.model.holds

    @rule(id=ids, micros=amounts, fails=st.booleans())
    def capture(self, id: str, micros: int, fails: bool) -> None:
        used = Capture(self.key(id), Split("sms", fee=micros))
        found = self.act(lambda tx: ledger.capture(tx, [used], self.clock.now()), then_fail=fails)
        if found is not None:
            assert type(found[0]).__name__ == self.model.capture(id, micros)

    @rule(id=ids)
    def release(self, id: str) -> None:
        found = self.act(lambda tx: ledger.release(tx, [self.key(id)], self.clock.now()))
        assert found is not None and type(found[0]).__name__ == self.model.release(id)

    @rule(id=ids, to=amounts, lives_s=st.integers(60, 600))
    def extend(self, id: str, to: int, lives_s: int) -> None:
        expires_at = self.clock.now() + timedelta(seconds=lives_s)
        found = self.act(lambda tx: ledger.extend(tx, [Extension(self.key(id), to, expires_at)]))
        assert found is not None and type(found[0]).__name__ == self.model.extend(id, to, expires_at)

    @rule(micros=amounts, key=st.integers(0, 1))
    def charge(self, micros: int, key: int) -> None:
        name = f"charge-{key}-{micros}"
        wanted = Charge(self.customer, "USD", name, Split("numbers", fee=micros))
        found = self.act(lambda tx: ledger.charge(tx, [wanted], self.clock.now()))
        assert found is not None and found[0].is_new == (name not in self.model.keys)
        if found[0].is_new:
            self.model.keys.add(name)
            paid = min(micros, self.model.available)
            self.model.posted -= paid
            self.model.owed += micros - paid
            self.model.earned += micros

    @rule(micros=amounts, key=st.integers(0, 5))
    def refund(self, micros: int, key: int) -> None:
        name = f"refund-{key}-{micros}"
        back = Transaction(self.customer, "USD", name, templates.refund(micros, "card", "prepaid_balance"))
        # What is parked in leases cannot be refunded; the caller would call it in. Here both workers give it back.
        for worker in self.workers.values():
            self.runner.run(worker.stop())
            self.runner.run(worker.start())
        try:
            found = self.act(lambda tx: ledger.post(tx, [back], self.clock.now()))
        except InsufficientFunds:
            assert name not in self.model.keys and micros > self.model.available
            return
        assert found is not None and found[0].is_new == (name not in self.model.keys)
        if found[0].is_new:
            self.model.keys.add(name)
            self.model.posted -= micros

    @rule(seconds=st.integers(0, 90))
    def time_passes(self, seconds: int) -> None:
        self.clock.hold(self.clock.now() + timedelta(seconds=seconds))
        found = self.act(lambda tx: ledger.expire(tx, self.clock.now()))
        assert found is not None
        assert {key.id for key in found if key.customer_sid == self.customer} == self.model.expire(self.clock.now())

    @rule(name=st.sampled_from(["w1", "w2"]))
    def maintain(self, name: str) -> None:
        self.runner.run(self.workers[name].maintain())

    @rule(name=st.sampled_from(["w1", "w2"]), starts=st.booleans())
    def die(self, name: str, starts: bool) -> None:
        self.workers[name] = self.worker(name)
        if starts:
            self.runner.run(self.workers[name].start())

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        async def look() -> tuple[ledger.Balance | None, int, list[ledger.Violation]]:
            async with self.database.snapshot() as tx:
                parked = await tx.fetchval(
                    """
                    SELECT coalesce(sum(chunk), 0) - coalesce((
                        SELECT sum(micros) FROM ledger_lease_spending WHERE customer_sid = $1
                    ), 0) FROM ledger_leases WHERE customer_sid = $1
                    """,
                    self.customer,
                )
                found = await ledger.balance(tx, self.customer, "USD")
                return found, int(parked), await ledger.verify(tx)

        found, parked, violations = self.runner.run(look())
        assert violations == []
        assert found is not None
        assert (found.posted, found.held - parked, found.owed) == (self.model.posted, self.model.held, self.model.owed)
        earned = -sum(micros for account, micros in found.accounts.items() if account.startswith("revenue:"))
        assert earned == self.model.earned

    def teardown(self) -> None:
        for worker in self.workers.values():
            self.runner.run(worker.stop())


def test_invariants_1_2_3_4_27_the_ledger_does_what_its_model_does(postgres_dsn: str) -> None:
    async def create() -> None:
        admin = await asyncpg.connect(postgres_dsn)
        await admin.execute("CREATE DATABASE ledger_model TEMPLATE onterms_template STRATEGY FILE_COPY")
        await admin.close()

    async def drop() -> None:
        admin = await asyncpg.connect(postgres_dsn)
        await admin.execute("DROP DATABASE ledger_model WITH (FORCE)")
        await admin.close()

    # One loop and one database for all runs, which have a customer each.
    with asyncio.Runner() as runner:
        runner.run(create())
        LedgerMachine.runner = runner
        LedgerMachine.database = runner.run(Database.connect({"dsn": postgres_dsn, "database": "ledger_model"}))
        try:
            run_state_machine_as_test(
                LedgerMachine,
                settings=settings(
                    max_examples=30,
                    stateful_step_count=50,
                    deadline=None,
                    database=None,
                    derandomize=True,
                    print_blob=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(LedgerMachine.database.close())
            runner.run(drop())
