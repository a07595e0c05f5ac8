"""Invariants of agreements, numbers, journals and audit over generated histories; tests/terms/test_invariant_table.py
says which test holds which."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from onterms.business import accounts, agreements, cases, customers, invoicing, suspension, termination
from onterms.business.agreements.model.binding import EVENTS, STATES, Binding, Version, binds_at, effective_on, move
from onterms.business.agreements.model.precedence import Candidate, decide
from onterms.business.termination.model import SURVIVING
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.core.ids import new_sid
from onterms.core.vault import Vault
from onterms.engines import audit, ledger
from onterms.engines.ledger import Charge, Split, Transaction, templates

T = TypeVar("T")
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
few = settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


class Ground:
    """One loop and one database for every example of this module; each example has names of its own."""

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        self.runner, self.database = runner, database
        self._names = itertools.count(1)

    def name(self, prefix: str) -> str:
        return f"{prefix}{next(self._names):032x}"

    def act(self, step: Callable[[Tx], Awaitable[T]]) -> T:
        async def run() -> T:
            async with self.database.transaction() as tx:
                return await step(tx)

        return self.runner.run(run())


@pytest.fixture(scope="module")
def ground(postgres_dsn: str) -> Iterator[Ground]:
    async def admin(sql: str) -> None:
        connection = await asyncpg.connect(postgres_dsn)
        await connection.execute(sql)
        await connection.close()

    with asyncio.Runner() as runner:
        runner.run(admin("CREATE DATABASE invariants TEMPLATE onterms_template STRATEGY FILE_COPY"))
        database = runner.run(Database.connect({"dsn": postgres_dsn, "database": "invariants"}))
        try:
            yield Ground(runner, database)
        finally:
            runner.run(database.close())
            runner.run(admin("DROP DATABASE invariants WITH (FORCE)"))


# ---- the ledger

amounts = st.integers(1, 10**12)
moves = st.lists(
    st.tuples(st.sampled_from(["topup", "charge", "invoiced", "payment", "late_fee"]), amounts), min_size=1, max_size=8
)


@few
@given(moves=moves, prefix=st.integers(0, 8), shuffled=st.randoms(use_true_random=False))
def test_invariant_5_a_replay_of_any_prefix_or_duplicate_leaves_the_balances_equal(
    ground: Ground, moves: list[tuple[str, int]], prefix: int, shuffled: Random
) -> None:
    customer = ground.name("OR")

    async def post(tx: Tx, place: int) -> bool:
        kind, micros = moves[place]
        key = f"{kind}-{place}"
        if kind == "charge":
            wanted = Charge(customer, "USD", key, Split("sms", fee=micros))
            return (await ledger.charge(tx, [wanted], NOON))[0].is_new
        posting = {
            "topup": templates.topup(micros, "card"),
            "invoiced": templates.invoice_close(f"IV{place}", micros, {"US": micros // 7}, -(micros % 7)),
            "payment": templates.payment(micros, "bank"),
            "late_fee": templates.late_fee(micros),
        }[kind]
        return (await ledger.post(tx, [Transaction(customer, "USD", key, posting)], NOON))[0].is_new

    async def live(tx: Tx) -> tuple[Any, Any]:
        await ledger.open_balance(tx, customer, "USD", NOON)
        for place in range(len(moves)):
            assert await post(tx, place)
        first = await ledger.balance(tx, customer, "USD")
        # The same events once more: from the beginning, or again and again in any order.
        again = [*range(min(prefix, len(moves))), *shuffled.choices(range(len(moves)), k=len(moves))]
        shuffled.shuffle(again)
        for place in again:
            assert not await post(tx, place)
        return first, await ledger.balance(tx, customer, "USD")

    first, then = ground.act(live)
    assert first == then


@few
@given(fates=st.lists(st.sampled_from(["commit", "roll back", "commit"]), min_size=2, max_size=12))
def test_invariant_8_numbers_have_no_gaps_whoever_rolls_back(ground: Ground, fates: list[str]) -> None:
    issuer = ground.name("E")
    taken: list[int] = []

    async def take(fate: str) -> None:
        try:
            async with ground.database.transaction() as tx:
                number = await invoicing.store.next_number(tx, issuer, "", 2025)
                await asyncio.sleep(0)
                if fate == "roll back":
                    raise ConnectionResetError
            taken.append(number)
        except ConnectionResetError:
            pass

    async def all_at_once() -> None:
        await asyncio.gather(*map(take, fates))

    ground.runner.run(all_at_once())
    assert sorted(taken) == list(range(1, fates.count("commit") + 1))


# ---- agreements

days = st.dates(date(2025, 1, 1), date(2026, 12, 31))


def version(number: int, published: date, existing: date, material: bool, exempt: str | None) -> Version:
    return Version(
        sid=f"VR{number:032x}",
        document="tos",
        label=str(number),
        state="published",
        number=number,
        published_on=published,
        new_effective_on=published,
        existing_effective_on=existing,
        material=material,
        exempt_reason=exempt,
        exempt_evidence=exempt,
        binding_md="",
        summary_md="",
        sha256="",
        summary_sha256="",
        created_at=NOON,
        published_at=NOON,
    )


@given(published=days, ahead=st.integers(0, 90), given_on=st.none() | days, exempt=st.sampled_from([None, "law"]))
def test_invariant_17_a_material_change_waits_30_days_after_its_notice(
    published: date, ahead: int, given_on: date | None, exempt: str | None
) -> None:
    made = version(1, published, published + timedelta(days=ahead), True, exempt)
    effective = effective_on(made, given_on)
    if exempt is not None:
        assert effective == made.existing_effective_on
    elif given_on is None:
        assert effective is None
    else:
        assert effective is not None and effective >= given_on + timedelta(days=30)
        assert effective >= published + timedelta(days=ahead)


@given(material=st.booleans(), exempt=st.sampled_from([None, "law"]))
def test_invariant_17_nothing_but_its_day_or_the_customer_makes_a_version_effective(
    material: bool, exempt: str | None
) -> None:
    made = version(1, date(2025, 1, 1), date(2025, 2, 1), material, exempt)
    for state, event in itertools.product(STATES, EVENTS):
        row = move(state, event, made)
        if row is not None and row.next in ("effective", "exempt_effective"):
            assert event == "day_reached"
            assert state == "noticed" or not made.needs_notice, "without notice nothing material takes effect"


def test_invariant_22_a_day_that_had_begun_when_a_version_was_published_counts_from_then() -> None:
    made = version(2, NOON.date(), NOON.date(), True, "law")
    binding = Binding("OR1", made.sid, "tos", "exempt_effective", None, None, NOON.date())
    # In the morning another text was in force, and whoever asks about that morning is told so for ever.
    assert binds_at(made, binding, None) == NOON


candidates = st.lists(
    st.builds(
        Candidate,
        rank=st.integers(0, 6),
        value=st.sampled_from(["10", "15", "30"]),
        source=st.sampled_from(["tos", "OF1", "OF2", "dpa", "aup"]),
        clause=st.sampled_from(["3.3.2", "10.1.2", "10.4.4", "10.5"]),
        order=st.tuples(st.integers(0, 3), st.integers(0, 3)),
        yields=st.booleans(),
    ),
    max_size=7,
    # A text says a term once in a clause, or it is not published.
    unique_by=lambda one: (one.source, one.clause),
)


@given(found=candidates, shuffled=st.randoms(use_true_random=False))
def test_invariant_18_resolve_is_total_deterministic_and_rank_0_beats_all(
    found: list[Candidate], shuffled: Random
) -> None:
    answer = decide("cure_days", found)
    again = list(found)
    shuffled.shuffle(again)
    assert decide("cure_days", again) == answer, "the order in which documents are read decides nothing"
    assert answer.trace, "whatever it says, it says why"
    forms = any(one.rank == 1 for one in found)
    standing = [one for one in found if not (forms and one.yields)]
    riders = {one.value for one in standing if one.rank == 0}
    if len(riders) > 1:
        assert answer.value is None and answer.undecided
    elif riders:
        assert {answer.value} == riders
    elif standing:
        best = min(one.rank for one in standing)
        assert answer.value in {one.value for one in standing if one.rank == best} and answer.undecided is None
    else:
        assert answer.value is None and answer.undecided is None


def test_invariant_19_every_country_stands_in_exactly_one_group_and_has_every_answer() -> None:
    rows, tables = agreements.shipped_rows(), agreements.shipped_tables()
    # ISO 3166-1 has 249 codes.
    assert len(rows) == len({row.country for row in rows}) == 249
    assert {row.country for row in rows} == set(tables.countries())
    for row in rows:
        case = agreements.Case("contract", date(2025, 1, 1), 1)
        assert tables.contracting_entity(row.country) in ("default", "europe", "japan")
        assert tables.governing_law(row.country) and tables.courts(row.country)
        assert tables.forum(case, row.country).route != "undecided"


@given(riders=st.sets(st.sampled_from(["10.1", "10.2", "10.3", "10.4", "10.5"])))
def test_invariant_26_exactly_the_listed_clauses_and_the_riders_survive(riders: set[str]) -> None:
    kept = termination.survives(sorted(riders))
    assert kept == {"2.1(c)", "3", "4", "5.5", "6", "7", "8.3", "9"} | riders
    assert set(SURVIVING) == kept - riders
    texts = [f"{number}.{part}" for number in range(1, 11) for part in range(1, 10)] + [
        "2.1(c)",
        "2.1(d)",
        "5.51",
        "90",
    ]
    for clause in texts:
        inside = any(clause == one or clause.startswith((f"{one}.", f"{one}(", f"{one} ")) for one in kept)
        assert agreements.survives(clause, riders) == inside, clause


# ---- the audit trail

evidence = st.dictionaries(st.text("xyz", max_size=3), st.text("xyz", max_size=5), max_size=2)
entries = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["a", "b", "c"]), evidence), min_size=1, max_size=10)
TAMPERED = ("at", "actor", "aggregate_sid", "from_state", "to_state", "cause", "evidence", "hash", "number", None)


@few
@given(entries=entries, batch=st.integers(1, 4), place=st.integers(0, 9), column=st.sampled_from(TAMPERED))
def test_invariant_20_a_chain_verifies_until_anything_in_it_is_touched(
    ground: Ground, entries: list[tuple[int, str, dict[str, str]]], batch: int, place: int, column: str | None
) -> None:
    scopes = [ground.name("OR") for _ in range(3)]
    events = [
        audit.AuditEvent(scopes[scope], "Ann", "thing", "T1", None, state, "test", evidence)
        for scope, state, evidence in entries
    ]
    victim = events[place % len(events)].scope
    changes = {
        "at": "at = at + interval '1 microsecond'",
        "evidence": """evidence = '{"x": "changed"}'""",
        "hash": "hash = decode('00', 'hex')",
        "number": "number = number + 100",
        None: "",
    }

    async def write_and_touch(tx: Tx) -> tuple[Any, Any]:
        for first in range(0, len(events), batch):
            await audit.record(tx, events[first : first + batch], NOON)
        clean = [await audit.verify(tx, scope) for scope in scopes]
        last = max(row.number for row in await audit.history(tx, victim))
        # What a thing is, is where its events led.
        folded = [row.event.to_state for row in await audit.history(tx, victim)][-1]
        assert folded == [event.to_state for event in events if event.scope == victim][-1]
        await tx.execute("SET LOCAL session_replication_role = replica")
        which = "scope = $1 AND number = $2"
        if column is None:
            await tx.execute(f"DELETE FROM audit_events WHERE {which}", victim, last)
        else:
            change = changes.get(column, f"{column} = '~'")
            await tx.execute(f"UPDATE audit_events SET {change} WHERE {which}", victim, 1 + place % last)
        return clean, await audit.verify(tx, victim)

    clean, touched = ground.act(write_and_touch)
    assert clean == [None, None, None]
    assert touched is not None and touched.scope == victim


# ---- machines


def _machine(kind: type[RuleBasedStateMachine], ground: Ground, *, steps: int, examples: int = 15) -> None:
    kind.ground = ground  # type: ignore[attr-defined]
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def _customer(tx: Tx, vault: Vault, at: datetime) -> tuple[str, str]:
    made = await accounts.create_customer(tx, vault, "Northwind", at)
    sid = new_sid("OR", at)
    await tx.execute("INSERT INTO organizations VALUES ($1, 'Northwind', 'US', $2)", sid, at)
    await tx.execute(
        "INSERT INTO customers (customer_sid, name, org_type, size, nonprofit, business_use, currency, "
        "compliance_attested_on, no_antisocial_forces, created_at, updated_at) "
        "VALUES ($1, 'Northwind', 'corporate', 'other', false, true, 'USD', $2, true, $3, $3)",
        sid,
        at.date(),
        at,
    )
    await tx.execute(
        "INSERT INTO customer_domiciles (customer_sid, from_on, country, subdivision, evidence, recorded_at) "
        "VALUES ($1, $2, 'US', '', 'sign-up', $3)",
        sid,
        at.date(),
        at,
    )
    since = at - timedelta(days=1)
    await tx.execute("INSERT INTO customer_accounts VALUES ($1, $2, $3, NULL)", sid, made.account_sid, since)
    return sid, made.account_sid


class Suspending(RuleBasedStateMachine):
    """Suspensions of an account and of its customer that overlap, and an account that was suspended before."""

    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self.at = NOON
        self.noticed: dict[str, datetime] = {}
        self.room = suspension.Suspensions(self, self._revoke)
        self.customer, self.account = self.ground.act(lambda tx: _customer(tx, Vault(bytes(32)), self.at))
        # Open cases, in force or on their way; and what the account was before anybody suspended it.
        self.open: dict[str, bool] = {}
        self.before = "active"

    async def _revoke(self, tx: Tx, account_sid: str) -> int:
        return 0

    async def send(self, tx: Tx, customer_sid: str, *words: Any) -> str:
        sid = new_sid("NC", self.at)
        self.noticed[sid] = self.at
        return sid

    async def given_on(self, tx: Tx, customer_sid: str, notice_sid: str) -> date | None:
        return self.noticed[notice_sid].date()

    @rule(seconds=st.integers(2, 10**6))
    def time_passes(self, seconds: int) -> None:
        self.at += timedelta(seconds=seconds)

    @rule(status=st.sampled_from(["active", "suspended"]))
    def change_the_account_itself(self, status: str) -> None:
        if not any(self.open.values()):
            self.before = status
            self.ground.act(lambda tx: accounts.change_status(tx, self.account, status, self.at))

    @rule(scope=st.sampled_from(["customer", "account"]), ground=st.sampled_from(["aup", "security", "law", "payment"]))
    def suspend(self, scope: str, ground: str) -> None:
        given = {"scope": scope, "ground": ground, "determination": "seen"}
        if scope == "account":
            given["account_sid"] = self.account
        case = self.ground.act(lambda tx: self.room.suspend(tx, self.customer, given, "Ann", self.at))
        self.open[case.sid] = False

    @rule(number=st.integers(0, 9), early=st.booleans())
    def take_effect(self, number: int, early: bool) -> None:
        waiting = sorted(sid for sid, active in self.open.items() if not active)
        if not waiting:
            return
        sid = waiting[number % len(waiting)]
        fire = self.room.book.fire
        if not early:
            self.at += timedelta(seconds=2)
        case = self.ground.act(lambda tx: self.room.book.fetch(tx, self.customer, sid))
        try:
            self.ground.act(lambda tx: fire(tx, self.customer, sid, "take_effect", {}, cases.SYSTEM, self.at))
        except Refusal:
            assert self.at < case.instant("effective_at"), "refused only before its time"
        else:
            self.open[sid] = True

    @rule(number=st.integers(0, 9))
    def lift(self, number: int) -> None:
        if self.open:
            sid = sorted(self.open)[number % len(self.open)]
            self.ground.act(lambda tx: self.room.lift(tx, self.customer, sid, "over", cases.OPERATOR, self.at))
            del self.open[sid]

    @invariant()
    def the_account_is_suspended_while_any_is_active_and_afterwards_what_it_was(self) -> None:
        status = self.ground.act(lambda tx: accounts.own_status(tx, self.account))
        assert status == ("suspended" if any(self.open.values()) else self.before)

    @invariant()
    def each_has_a_notice_before_its_effect(self) -> None:
        for case in self.ground.act(lambda tx: self.room.book.list(tx, self.customer, ("active",))):
            assert self.noticed[case.facts["notice_sid"]] < case.instant("effective_at") <= self.at


def test_invariants_14_15_a_lift_gives_back_what_was_and_a_notice_comes_before(ground: Ground) -> None:
    _machine(Suspending, ground, steps=30)


class Agreeing(RuleBasedStateMachine):
    """One customer and a document whose versions change: notices, days, use, clicks, refusals."""

    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self.at = NOON
        self.notices: list[str] = []
        self.rules = agreements.Bindings(self._notify)
        self.published: list[str] = []
        self.given: dict[str, date] = {}
        self.asked: dict[datetime, int | None] = {}
        self.document = self.ground.name("doc-")[-40:]
        self.customer, _ = self.ground.act(lambda tx: _customer(tx, Vault(bytes(32)), self.at))
        self.ground.act(lambda tx: agreements.add_document(tx, self.document, "Policy", 4, False, self.at))

    async def _notify(self, tx: Tx, customer_sid: str, *words: Any) -> str:
        self.notices.append(new_sid("NO", self.at))
        return self.notices[-1]

    @initialize()
    def begin(self) -> None:
        self.publish(True, False, 0)
        self.accept(0)

    @rule(material=st.booleans(), exempt=st.booleans(), ahead=st.integers(0, 40))
    def publish(self, material: bool, exempt: bool, ahead: int) -> None:
        why = ("law", "the act") if exempt else (None, None)
        label = f"v{len(self.published)}"
        least = 30 if material and not exempt else 0
        existing = self.at.date() + timedelta(days=least + ahead)

        async def make(tx: Tx) -> str:
            made = await agreements.draft(tx, self.document, label, "Words.", "", material, *why, self.at)
            await agreements.publish(tx, made.sid, None, None, existing, None, "Ann", self.at)
            if material and self.published:
                await self.rules.notify_batch(tx, made.sid, self.at)
            return made.sid

        self.published.append(self.ground.act(make))

    @rule(days=st.integers(0, 25), timers=st.booleans())
    def days_pass(self, days: int, timers: bool) -> None:
        self.at += timedelta(days=days, hours=1)
        for sid in self.published if timers else ():
            self.ground.act(lambda tx, sid=sid: self.rules.reach(tx, sid, self.at))

    @rule(number=st.integers(0, 5), void=st.booleans())
    def notice_comes_or_bounces(self, number: int, void: bool) -> None:
        if not self.notices:
            return
        sid = self.notices[number % len(self.notices)]
        if void:
            self.ground.act(lambda tx: self.rules.notice_void(tx, sid, self.at))
        else:
            self.ground.act(lambda tx: self.rules.notice_given(tx, sid, self.at.date(), self.at))

    @rule()
    def use(self) -> None:
        self.ground.act(lambda tx: self.rules.note_use(tx, self.customer, "RQ", self.at))

    @rule(back=st.integers(0, 2))
    def accept(self, back: int) -> None:
        consent = customers.Consent("Ann", "director", True, "192.0.2.7", "RQ")
        sid = self.published[-1 - min(back, len(self.published) - 1)]
        with contextlib.suppress(Refusal):
            self.ground.act(lambda tx: self.rules.accept(tx, self.customer, sid, "click", consent, self.at))

    @rule(back=st.integers(0, 2))
    def decline(self, back: int) -> None:
        sid = self.published[-1 - min(back, len(self.published) - 1)]
        with contextlib.suppress(Refusal):
            self.ground.act(lambda tx: self.rules.decline(tx, self.customer, sid, "Ann", self.at))

    @invariant()
    def one_version_an_instant_never_an_older_one_later_and_the_past_stays(self) -> None:
        async def ask(tx: Tx) -> dict[datetime, int | None]:
            found = {
                at: await agreements.version_in_force(tx, self.customer, at, self.document)
                for at in [*self.asked, moment]
            }
            return {at: version and version.number for at, version in found.items()}

        # An answer is given once its instant is over: what happens in it counts.
        moment = self.at - timedelta(microseconds=1)
        answers = self.ground.act(ask)
        assert {at: answers[at] for at in self.asked} == self.asked, "what was in force then has changed"
        self.asked = answers
        numbers = [self.asked[at] or 0 for at in sorted(self.asked)]
        assert numbers == sorted(numbers), "an older version came back"


def test_invariants_16_22_one_version_is_in_force_at_an_instant_and_past_answers_stay(ground: Ground) -> None:
    _machine(Agreeing, ground, steps=25)
