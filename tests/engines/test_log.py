import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.engines.log import (
    Event,
    Gap,
    Live,
    Position,
    Recorded,
    advance,
    append,
    ensure_partitions,
    read,
    start_at_end,
    timeline,
)

_A, _B = "AC" + "a" * 32, "AC" + "b" * 32


def _event(n: int, account_sid: str = _A, subject_sid: str = "SM1") -> Event:
    return Event("message.sent", account_sid, subject_sid, {"n": n})


def _numbers(events: list[Recorded]) -> list[Any]:
    return [event.data["n"] for event in events]


class _Log:
    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database = database
        self.clock = clock

    async def append(self, *events: Event) -> list[int]:
        async with self.database.transaction() as tx:
            return await append(tx, events, self.clock.now())

    async def consume(self, consumer: str, limit: int = 100) -> list[Any]:
        async with self.database.transaction() as tx:
            events = await read(tx, consumer, limit)
            if events:
                await advance(tx, consumer, events[-1].position)
        return _numbers(events)


@pytest.fixture
def log(database: Database, clock: VirtualClock) -> _Log:
    return _Log(database, clock)


class TestAppend:
    async def test_events_are_recorded_in_order_with_the_time_given(self, log: _Log) -> None:
        ids = await log.append(_event(1), _event(2, subject_sid="SM2"), _event(3))
        assert ids == sorted(ids)
        async with log.database.snapshot() as tx:
            events = await timeline(tx, _A, "SM1")
        assert [event.id for event in events] == [ids[0], ids[2]]
        assert _numbers(events) == [1, 3]
        assert events[0].at == log.clock.now()
        assert (events[0].type, events[0].account_sid, events[0].subject_sid) == ("message.sent", _A, "SM1")

    async def test_a_rollback_records_nothing(self, log: _Log) -> None:
        with pytest.raises(ZeroDivisionError):
            async with log.database.transaction() as tx:
                await append(tx, [_event(1)], log.clock.now())
                raise ZeroDivisionError
        assert await log.consume("c") == []

    async def test_no_events_are_no_statement(self, log: _Log) -> None:
        assert await log.append() == []

    async def test_a_timeline_shows_no_other_account_s_events(self, log: _Log) -> None:
        await log.append(_event(1, _A), _event(2, _B))
        async with log.database.snapshot() as tx:
            assert _numbers(await timeline(tx, _B, "SM1")) == [2]


class TestConsumer:
    async def test_it_reads_from_the_beginning_and_goes_on_where_it_was(self, log: _Log) -> None:
        await log.append(*[_event(n) for n in range(5)])
        assert await log.consume("c", 2) == [0, 1]
        assert await log.consume("c", 2) == [2, 3]
        await log.append(_event(5))
        assert await log.consume("c", 10) == [4, 5]
        assert await log.consume("c", 10) == []
        assert await log.consume("other", 10) == [0, 1, 2, 3, 4, 5]

    async def test_without_advance_it_reads_the_same_again(self, log: _Log) -> None:
        await log.append(_event(1))
        for _ in range(2):
            async with log.database.transaction() as tx:
                assert _numbers(await read(tx, "c", 10)) == [1]

    async def test_a_transaction_that_commits_late_is_not_skipped(self, log: _Log) -> None:
        first_wrote, let_first_commit = asyncio.Event(), asyncio.Event()

        async def late() -> None:
            async with log.database.transaction() as tx:
                await append(tx, [_event(1)], log.clock.now())
                first_wrote.set()
                await let_first_commit.wait()

        task = asyncio.create_task(late())
        await first_wrote.wait()
        await log.append(_event(2))
        assert await log.consume("c") == []
        let_first_commit.set()
        await task
        assert await log.consume("c") == [1, 2]

    async def test_a_smaller_id_in_a_younger_transaction_is_not_skipped(self, log: _Log) -> None:
        """The older transaction takes the larger id and commits first: reading on by id alone would lose the other."""
        older_has_xid, older_may_write = asyncio.Event(), asyncio.Event()
        younger_wrote, younger_may_commit = asyncio.Event(), asyncio.Event()

        async def older() -> None:
            async with log.database.transaction() as tx:
                await tx.fetchval("SELECT pg_current_xact_id()")
                older_has_xid.set()
                await older_may_write.wait()
                await append(tx, [_event(2)], log.clock.now())

        async def younger() -> None:
            async with log.database.transaction() as tx:
                await append(tx, [_event(1)], log.clock.now())
                younger_wrote.set()
                await younger_may_commit.wait()

        first = asyncio.create_task(older())
        await older_has_xid.wait()
        second = asyncio.create_task(younger())
        await younger_wrote.wait()
        older_may_write.set()
        await first
        assert await log.consume("c") == [2]
        younger_may_commit.set()
        await second
        assert await log.consume("c") == [1]
        async with log.database.snapshot() as tx:
            assert _numbers(await timeline(tx, _A, "SM1")) == [1, 2]

    async def test_a_position_behind_its_own_is_ignored(self, log: _Log) -> None:
        await log.append(_event(1), _event(2))
        assert await log.consume("c") == [1, 2]
        async with log.database.transaction() as tx:
            await advance(tx, "c", Position(0, 1))
            assert await read(tx, "c", 10) == []

    async def test_a_second_reader_of_the_same_name_waits_and_goes_on_after_the_first(self, log: _Log) -> None:
        await log.append(_event(0))
        assert await log.consume("c") == [0]
        await log.append(_event(1), _event(2))
        async with log.database.transaction() as tx:
            events = await read(tx, "c", 1)
            other = asyncio.create_task(log.consume("c", 1))
            async with log.database.snapshot() as watch:
                while not await watch.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                    pass
            assert not other.done()
            await advance(tx, "c", events[-1].position)
        assert await other == [2]

    async def test_one_that_starts_at_the_end_sees_only_what_follows(self, log: _Log) -> None:
        await log.append(_event(1))
        async with log.database.transaction() as tx:
            await start_at_end(tx, "c")
        await log.append(_event(2))
        assert await log.consume("c") == [2]
        async with log.database.transaction() as tx:
            await start_at_end(tx, "c")
        await log.append(_event(3))
        assert await log.consume("c") == [3]


class TestPartitions:
    async def _partitions(self, tx: Tx) -> list[str]:
        rows = await tx.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'events'::regclass"
        )
        return sorted(row["name"] for row in rows)

    async def test_room_is_made_ahead_once(self, log: _Log) -> None:
        async with log.database.transaction() as tx:
            assert await ensure_partitions(tx) == ["events_000002"]
            assert await ensure_partitions(tx) == []
            assert await self._partitions(tx) == ["events_000000", "events_000001", "events_000002"]

    async def test_events_that_cross_into_a_new_partition_make_room_themselves(self, log: _Log) -> None:
        async with log.database.transaction() as tx:
            await tx.execute("SELECT setval('events_id_seq', 9999998)")
        ids = await log.append(*[_event(n) for n in range(4)])
        assert ids == [9999999, 10000000, 10000001, 10000002]
        async with log.database.snapshot() as tx:
            assert (await self._partitions(tx))[-1] == "events_000003"
            assert await tx.fetchval("SELECT count(*) FROM events_000001") == 3
            assert _numbers(await timeline(tx, _A, "SM1")) == [0, 1, 2, 3]

    async def test_partitions_made_later_have_the_indexes_and_keys(self, log: _Log) -> None:
        async with log.database.transaction() as tx:
            await ensure_partitions(tx)
            rows = await tx.fetch(
                "SELECT tablename, count(*) AS n FROM pg_indexes GROUP BY 1 HAVING tablename ~ '^events_'"
            )
        assert {row["n"] for row in rows} == {3}
        assert len(rows) == 3

    async def test_after_a_restore_into_a_younger_cluster_nothing_is_hidden_or_skipped(self, log: _Log) -> None:
        await log.append(_event(1), _event(2))
        assert await log.consume("c", 1) == [1]
        async with log.database.transaction() as tx:
            # What a dump from a cluster far ahead in transaction ids leaves in this one.
            await tx.execute("UPDATE events SET txid = txid + 1000000000")
            await tx.execute("UPDATE log_consumers SET txid = txid + 1000000000")
        assert await log.consume("c") == []
        async with log.database.transaction() as tx:
            await ensure_partitions(tx)
        await log.append(_event(3))
        assert await log.consume("c") == [2, 3]
        async with log.database.transaction() as tx:
            await ensure_partitions(tx)
        await log.append(_event(4))
        assert await log.consume("c") == [4]


@pytest.fixture
async def live(database: Database) -> AsyncIterator[Live]:
    live = Live(database, outage_pause_s=0.001)
    task = asyncio.create_task(live.run())
    yield live
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _take(stream: AsyncIterator[Recorded | Gap], count: int) -> list[Any]:
    async with asyncio.timeout(20):
        taken = [await anext(stream) for _ in range(count)]
    return [item if isinstance(item, Gap) else item.data["n"] for item in taken]


class TestLive:
    async def test_a_subscriber_gets_its_account_s_events_as_they_are_committed(self, log: _Log, live: Live) -> None:
        await log.append(_event(0))
        mine, everybody_s = await live.subscribe(_A), await live.subscribe(None)
        await log.append(_event(1, _A), _event(2, _B))
        await log.append(_event(3, _A))
        assert await _take(mine, 2) == [1, 3]
        assert await _take(everybody_s, 3) == [1, 2, 3]

    async def test_an_event_held_back_by_an_older_transaction_comes_when_that_ends(self, log: _Log, live: Live) -> None:
        stream = await live.subscribe(None)
        async with log.database.transaction() as older:
            await older.fetchval("SELECT pg_current_xact_id()")
            await log.append(_event(1))
            taking = asyncio.create_task(_take(stream, 1))
            async with log.database.snapshot() as tx:
                assert await tx.fetchval("SELECT count(*) FROM events") == 1
            assert not taking.done()
        assert await taking == [1]

    async def test_a_slow_subscriber_is_told_what_it_lost_at_the_right_place(self, log: _Log, live: Live) -> None:
        slow, quick = await live.subscribe(_A, queue_max=2), await live.subscribe(_A)
        await log.append(*[_event(n) for n in range(5)])
        assert await _take(quick, 5) == [0, 1, 2, 3, 4]
        assert await _take(slow, 1) == [0]
        # There is room again, but the gap comes first.
        await log.append(_event(5))
        assert await _take(quick, 1) == [5]
        assert await _take(slow, 2) == [1, Gap(lost=4)]
        await log.append(_event(6))
        assert await _take(slow, 1) == [6]

    async def test_closing_ends_the_iteration(self, log: _Log, live: Live) -> None:
        stream = await live.subscribe(_A)
        await log.append(_event(1))
        assert await _take(stream, 1) == [1]
        stream.close()
        assert [event async for event in stream] == []
        again = await live.subscribe(_A)
        await log.append(_event(2))
        assert await _take(again, 1) == [2]

    async def test_events_of_the_time_without_a_connection_are_delivered(self, log: _Log, live: Live) -> None:
        stream = await live.subscribe(_A)
        async with log.database.snapshot() as tx:
            dropped = await tx.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
        assert len(dropped) == 1
        await log.append(_event(1))
        assert await _take(stream, 1) == [1]
        await log.append(_event(2))
        assert await _take(stream, 1) == [2]

    async def test_the_end_of_the_service_ends_every_subscription(
        self, database: Database, clock: VirtualClock
    ) -> None:
        live = Live(database)
        task = asyncio.create_task(live.run())
        stream = await live.subscribe(None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [event async for event in stream] == []

    async def test_events_far_apart_in_business_time_keep_their_order(self, log: _Log, live: Live) -> None:
        stream = await live.subscribe(None)
        for n in range(3):
            log.clock.hold(log.clock.now() + timedelta(days=90))
            await log.append(_event(n))
        assert await _take(stream, 3) == [0, 1, 2]
