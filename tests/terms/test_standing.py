"""Standing against the rows of the terms that are its: blocks, what they cover, and the cache of the send path."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onterms.business import accounts, customers, notices, standing
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import Forbidden, Refusal
from onterms.core.vault import Vault
from onterms.engines import audit
from onterms.engines.api import Account, Caller, OwnRequest
from onterms.ports.mail import Bounce, MailOutcome

START = datetime(2025, 3, 5, 9, tzinfo=UTC)
SCOPE = standing.WHOLE_CUSTOMER
LETTERHEAD = notices.Letterhead("notices@operator.example", "The Operator", "legal@operator.example")


class Texts:
    """Terms that anybody may accept."""

    async def current(self, tx: Tx, document: str, at: datetime) -> str | None:
        return "VR1"

    async def accept(self, tx: Tx, customer_sid: str, version_sid: str, mode: str, consent: Any, at: datetime) -> str:
        return "AP1"


class World:
    """A customer with an account and a subaccount."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.delivery = notices.Delivery(self.contacts, LETTERHEAD)
        self.customer = self.main = self.sub = ""

    async def contacts(self, tx: Tx, customer_sid: str, kind: str) -> list[tuple[str, str]]:
        return [(one.sid, one.address) for one in await customers.contacts(tx, customer_sid, kind)]

    async def create_account(self, tx: Tx, name: str, at: datetime) -> accounts.FirstCredentials:
        return await accounts.create_customer(tx, Vault(bytes(32)), name, at)

    async def sign_up(self, name: str) -> tuple[str, str]:
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
        async with self.database.transaction() as tx:
            made = await customers.SigningUp(self.create_account, Texts()).sign_up(tx, request, START)
        return made.customer.sid, made.credentials.account_sid

    async def add_subaccount(self, main: str) -> str:
        async with self.database.transaction() as tx:
            sub = await accounts.create_customer(tx, Vault(bytes(32)), "sub", START)
            await tx.execute("UPDATE accounts SET owner_sid = $1 WHERE sid = $2", main, sub.account_sid)
        return sub.account_sid

    async def notice(self, at: datetime) -> str:
        """Give the customer a notice at that time."""
        new = notices.NewNotice(self.customer, "suspension", "Suspension", "We suspend.", "billing")
        async with self.database.transaction() as tx:
            [sid] = await notices.send(tx, [new], at)
            mails = await self.delivery.prepare(tx, sid, at)
            answers = {
                place: MailOutcome(mail.recipients[0], "accepted", at, "mx.example", "250 Ok", "0" * 64)
                for place, mail in mails
            }
            await self.delivery.record(tx, sid, answers, at)
        return sid

    async def block(
        self,
        source: str = "dunning",
        ref: str = "CS1",
        *,
        kind: standing.Kind = "everything",
        scope: standing.Scope = SCOPE,
        reason: standing.Reason = "past_due",
        clause: str = "3.3.2",
        at: datetime = START,
        notice_sid: str | None = None,
        customer_sid: str = "",
    ) -> standing.Block:
        async with self.database.transaction() as tx:
            return await standing.set_block(
                tx,
                customer_sid or self.customer,
                source,
                kind,
                scope,
                reason,
                clause,
                ref,
                at,
                notice_sid=notice_sid,
            )

    async def lift(self, source: str = "dunning", ref: str = "CS1", at: datetime = START) -> bool:
        async with self.database.transaction() as tx:
            return await standing.lift(tx, self.customer, source, ref, at)

    async def state(self, account_sid: str) -> standing.StandingState:
        async with self.database.snapshot() as tx:
            return (await standing.states(tx, [account_sid]))[account_sid]

    async def events(self, type: str) -> int:
        async with self.database.snapshot() as tx:
            count: int = await tx.fetchval("SELECT count(*) FROM events WHERE type = $1", type)
        return count


@pytest.fixture
async def world(database: Database) -> World:
    world = World(database)
    world.customer, world.main = await world.sign_up("northwind")
    world.sub = await world.add_subaccount(world.main)
    return world


class TestNotice:
    async def test_2_3_notice_a_suspension_without_notice_id_is_422_and_leaves_nothing(self, world: World) -> None:
        with pytest.raises(Refusal) as caught:
            await world.block("suspension", reason="suspended", clause="2.3(a)")
        assert (caught.value.status, caught.value.details) == (422, {"clause": "2.3", "reason": "notice_missing"})
        assert (await world.state(world.main)).can_send

    async def test_2_3_notice_precedes_effect(self, world: World) -> None:
        sid = await world.notice(START)
        before = START - timedelta(seconds=1)
        with pytest.raises(notices.NoticeMissing) as caught:
            await world.block("suspension", reason="suspended", clause="2.3(a)", notice_sid=sid, at=before)
        assert caught.value.details == {"clause": "2.3", "reason": "notice_not_given"}
        block = await world.block("suspension", reason="suspended", clause="2.3(a)", notice_sid=sid)
        assert block.notice_sid == sid
        assert not (await world.state(world.main)).can_send

    async def test_2_3_notice_that_bounced_carries_no_suspension(self, world: World) -> None:
        sid = await world.notice(START)
        async with world.database.transaction() as tx:
            [address] = (await notices.fetch(tx, [sid]))[sid].addresses
            await world.delivery.bounced(tx, [Bounce(address.message_id, address.address, START, "550")])
        with pytest.raises(notices.NoticeMissing):
            await world.block("suspension", reason="suspended", clause="2.3(a)", notice_sid=sid)

    async def test_2_3_notice_is_asked_for_by_the_database_too(self, world: World) -> None:
        block = await world.block()
        with pytest.raises(Exception, match="violates check constraint"):
            async with world.database.transaction() as tx:
                await tx.execute("UPDATE standing_blocks SET reason = 'suspended' WHERE sid = $1", block.sid)

    async def test_9_9_waiver_unpaid_since_march_and_no_action_till_june_suspension_is_still_allowed(
        self, world: World
    ) -> None:
        sid = await world.notice(START)
        june = datetime(2025, 6, 15, 9, tzinfo=UTC)
        await world.block("suspension", reason="suspended", clause="3.3.2", notice_sid=sid, at=june)
        refusal = standing.refusal_to_send(await world.state(world.sub), "sms", "US")
        assert refusal is not None
        assert (refusal.code, refusal.status) == (20005, 403)


class TestBlocks:
    async def test_service_resumes_only_when_the_last_covering_block_is_lifted(self, world: World) -> None:
        await world.block("dunning")
        await world.block("suspension", "SU1", reason="trade", clause="5.2")
        await world.block("prepaid", "", kind="send", reason="prepaid_empty", clause="3.3.1")
        assert await world.lift("suspension", "SU1")
        assert not (await world.state(world.main)).can_send
        assert await world.lift("dunning")
        state = await world.state(world.main)
        assert (state.can_send, state.can_create_accounts, state.version) == (False, True, 5)
        assert await world.lift("prepaid", "")
        assert (await world.state(world.main)).can_send
        # Everything resumed with dunning's, sending with the last.
        assert await world.events(standing.STANDING_RESUMED) == 2
        async with world.database.snapshot() as tx:
            assert await audit.verify(tx, world.customer) is None

    async def test_a_source_lifts_its_own_block_only_and_once(self, world: World) -> None:
        await world.block("dunning", "CS1")
        assert not await world.lift("suspension", "CS1")
        assert not await world.lift("dunning", "CS2")
        assert await world.lift("dunning", "CS1")
        assert not await world.lift("dunning", "CS1")

    async def test_setting_a_block_again_changes_nothing(self, world: World) -> None:
        first = await world.block()
        again = await world.block(at=START + timedelta(days=1))
        assert (again.sid, again.set_at) == (first.sid, START)
        assert (await world.state(world.main)).version == 1

    async def test_another_block_under_the_same_source_and_ref_is_refused(self, world: World) -> None:
        await world.block(kind="send")
        with pytest.raises(standing.BlockDiffers) as caught:
            await world.block(kind="everything")
        assert caught.value.status == 409

    async def test_a_lifted_block_may_be_set_again(self, world: World) -> None:
        await world.block()
        await world.lift()
        await world.block()
        assert not (await world.state(world.main)).can_send

    async def test_a_customers_block_covers_subaccounts_and_no_other_customer(self, world: World) -> None:
        _, stranger = await world.sign_up("southwind")
        await world.block()
        found = [(await world.state(account)).can_send for account in (world.main, world.sub, stranger)]
        assert found == [False, False, True]

    async def test_a_main_accounts_block_covers_what_is_under_it(self, world: World) -> None:
        await world.block(scope=standing.Scope.account(world.main))
        assert not (await world.state(world.sub)).can_send

    async def test_a_subaccounts_block_leaves_the_main_account_alone(self, world: World) -> None:
        await world.block(scope=standing.Scope.account(world.sub))
        found = [(await world.state(account)).can_send for account in (world.main, world.sub)]
        assert found == [True, False]

    async def test_a_service_blocked_in_a_country_stops_nothing_else(self, world: World) -> None:
        await world.block(scope=standing.Scope.service_in("sms", "FR"), kind="send", reason="region", clause="2.3(c)")
        state = await world.state(world.main)
        assert (state.can_send, state.can_change) == (True, True)
        refusal = standing.refusal_to_send(state, "sms", "FR")
        assert refusal is not None
        assert (refusal.code, refusal.status) == (21408, 400)
        assert refusal.details == {"clause": "2.3(c)", "reason": "region", "ref": "CS1"}
        assert standing.refusal_to_send(state, "sms", "DE") is None
        assert standing.refusal_to_send(state, "voice", "FR") is None

    @pytest.mark.parametrize(
        ("reason", "code"),
        [("prepaid_empty", 90010), ("agreement", 20003), ("trade", 20005), ("past_due", 20003), ("region", 20003)],
    )
    async def test_a_refusal_carries_the_code_of_its_reason(self, world: World, reason: Any, code: int) -> None:
        await world.block(reason=reason)
        with pytest.raises(standing.StandingRefusal) as caught:
            standing.require_can_send(await world.state(world.main))
        assert (caught.value.code, caught.value.status) == (code, 403)

    async def test_a_block_of_new_accounts_lets_send(self, world: World) -> None:
        await world.block(kind="new_accounts")
        state = await world.state(world.main)
        standing.require_can_send(state)
        with pytest.raises(standing.StandingRefusal):
            standing.require_can_create_account(state)

    async def test_a_block_of_sending_lets_create_accounts(self, world: World) -> None:
        await world.block(kind="send")
        standing.require_can_create_account(await world.state(world.main))

    async def test_an_account_without_a_customer_is_clear(self, world: World) -> None:
        async with world.database.transaction() as tx:
            alone = await world.create_account(tx, "alone", START)
        assert await world.state(alone.account_sid) is standing.CLEAR

    @pytest.mark.parametrize(
        ("state", "event", "next_state", "effects"),
        [
            ("clear", "set", "blocked", ("say_blocked",)),
            ("blocked", "set", "blocked", ("say_blocked",)),
            ("blocked", "lift", "blocked", ("say_lifted",)),
            ("blocked", "lift_last", "clear", ("say_lifted", "say_resumed")),
        ],
    )
    def test_a_row_of_the_table(self, state: Any, event: str, next_state: str, effects: tuple[str, ...]) -> None:
        move = standing.MOVES[state, event]
        assert (move.next, move.effects, len(standing.MOVES)) == (next_state, effects, 4)


class TestApi:
    async def test_a_customer_sees_what_stands_against_it(self, world: World) -> None:
        await world.block("dunning", "CS1")
        [show] = [route for route in standing.Api().routes() if route.pattern.endswith("/Standing")]
        caller = Caller(Account(world.main, world.main, "active", "", False), "token", world.main)
        assert show.handler is not None
        async with world.database.transaction() as tx:
            reply = await show.handler(tx, OwnRequest("GET", {}, {}, {}, START, caller))
        assert [(item["account_sid"], item["can_send"]) for item in reply.body["items"]] == [
            (world.main, False),
            (world.sub, False),
        ]
        assert reply.body["items"][0]["reasons"][0]["clause"] == "3.3.2"

    async def test_a_subaccount_neither_sees_nor_changes_what_is_the_customers(self, world: World) -> None:
        caller = Caller(Account(world.sub, world.main, "active", "", False), "token", world.sub)
        request = OwnRequest("GET", {}, {}, {}, START, caller)
        for route in standing.Api().routes():
            assert route.handler is not None
            async with world.database.transaction() as tx:
                with pytest.raises(Forbidden):
                    await route.handler(tx, request)
        with pytest.raises(Forbidden):
            customers.refuse_weak_credentials(request)


class Following:
    """A cache that follows the database."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.cache = standing.Standing(database, clock)
        self.task = asyncio.create_task(self.cache.follow())

    async def until(self, account_sid: str, *, can_send: bool) -> standing.StandingState:
        async with asyncio.timeout(20):
            while True:
                await self.cache.known([account_sid])
                state = self.cache.state(account_sid)
                if state is not None and state.can_send == can_send:
                    return state
                # Another process's news come by the socket, which the loop reads when it is let.
                await asyncio.sleep(0)


@pytest.fixture
async def following(world: World) -> AsyncIterator[Following]:
    following = Following(world.database, VirtualClock(held_at=START))
    yield following
    following.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following.task


class TestCache:
    async def test_memory_answers_without_sql_once_it_knows_an_account(
        self, world: World, following: Following
    ) -> None:
        assert following.cache.state(world.sub) is None
        assert (await following.until(world.sub, can_send=True)).version == 0

    async def test_a_block_and_its_end_are_heard_of(self, world: World, following: Following) -> None:
        await following.until(world.sub, can_send=True)
        await world.block()
        assert (await following.until(world.sub, can_send=False)).version == 1
        await world.lift()
        assert (await following.until(world.sub, can_send=True)).version == 2

    async def test_what_was_open_before_the_start_is_known(self, world: World) -> None:
        await world.block()
        following = Following(world.database, VirtualClock(held_at=START))
        await following.until(world.main, can_send=False)
        following.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following.task
        # Nobody hears of changes any more, so memory no longer answers.
        assert following.cache.state(world.main) is None

    async def test_a_lost_connection_makes_memory_silent_until_all_is_read_again(
        self, world: World, following: Following
    ) -> None:
        await following.until(world.main, can_send=True)
        async with world.database.transaction() as tx:
            await tx.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND query LIKE 'LISTEN%'"
            )
        await world.block()
        await following.until(world.main, can_send=False)

    async def test_a_transaction_sees_its_own_block_at_once(self, world: World, following: Following) -> None:
        await following.until(world.main, can_send=True)
        async with world.database.transaction() as tx:
            await standing.set_block(tx, world.customer, "s", "send", SCOPE, "past_due", "3.3.2", "", START)
            assert not (await following.cache.states(tx, [world.main]))[world.main].can_send

    async def test_a_forgotten_account_is_learned_again(self, world: World, following: Following) -> None:
        await following.until(world.main, can_send=True)
        following.cache.forget([world.main])
        assert following.cache.state(world.main) is None
        assert (await following.cache.known([world.main]))[world.main].can_send
        assert following.cache.state(world.main) is not None
