import asyncio
from typing import Any

import asyncpg
import pytest

from onterms.core.db import Coalescer, Database


async def _count(database: Database) -> int:
    async with database.snapshot() as tx:
        return int(await tx.fetchval("SELECT count(*) FROM thing"))


@pytest.fixture
async def things(database: Database) -> Database:
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE thing (n integer PRIMARY KEY, data jsonb)")
    return database


class TestTransaction:
    async def test_effects_run_in_order_and_only_after_the_commit(self, things: Database) -> None:
        seen: list[str] = []
        async with things.transaction() as tx:
            await tx.execute("INSERT INTO thing VALUES (1)")
            tx.after_commit(lambda: seen.append("first"))
            tx.after_commit(lambda: seen.append("second"))
            assert seen == []
        assert seen == ["first", "second"]
        assert await _count(things) == 1

    async def test_a_failed_block_rolls_back_and_drops_its_effects(self, things: Database) -> None:
        seen: list[str] = []
        with pytest.raises(ZeroDivisionError):
            async with things.transaction() as tx:
                await tx.execute("INSERT INTO thing VALUES (1)")
                tx.after_commit(lambda: seen.append("never"))
                raise ZeroDivisionError
        assert seen == []
        assert await _count(things) == 0

    async def test_a_commit_that_fails_drops_the_effects(self, things: Database) -> None:
        seen: list[str] = []
        async with things.transaction() as tx:
            await tx.execute("CREATE TABLE child (n integer REFERENCES thing DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with things.transaction() as tx:
                await tx.execute("INSERT INTO child VALUES (7)")
                tx.after_commit(lambda: seen.append("never"))
        assert seen == []

    async def test_a_cancelled_caller_leaves_no_open_transaction_in_the_pool(
        self, connect_args: dict[str, Any]
    ) -> None:
        database = await Database.connect(connect_args, connections_max=1)
        inside = asyncio.Event()

        async def hang() -> None:
            async with database.transaction() as tx:
                await tx.execute("CREATE TABLE thing (n integer)")
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hang())
        await inside.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with database.snapshot() as tx:
            assert await tx.fetchval("SELECT to_regclass('thing')") is None
            assert await tx.fetchval("SELECT pg_current_xact_id_if_assigned()") is None
        await database.close()

    async def test_an_effect_that_fails_neither_stops_the_others_nor_hides_the_commit(self, things: Database) -> None:
        seen: list[str] = []
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reports.append(context))

        def fail() -> None:
            raise ValueError("broken effect")

        async with things.transaction() as tx:
            await tx.execute("INSERT INTO thing VALUES (1)")
            tx.after_commit(fail)
            tx.after_commit(lambda: seen.append("second"))
        assert seen == ["second"]
        assert str(reports[0]["exception"]) == "broken effect"
        assert await _count(things) == 1

    async def test_a_savepoint_that_fails_loses_its_rows_and_effects_and_nothing_else(self, things: Database) -> None:
        seen: list[str] = []
        async with things.transaction() as tx:
            await tx.execute("INSERT INTO thing VALUES (1)")
            tx.after_commit(lambda: seen.append("outer"))
            with pytest.raises(asyncpg.UniqueViolationError):
                async with tx.savepoint():
                    tx.after_commit(lambda: seen.append("inner"))
                    await tx.execute("INSERT INTO thing VALUES (2), (1)")
            await tx.execute("INSERT INTO thing VALUES (3)")
        assert seen == ["outer"]
        assert await _count(things) == 2

    async def test_execute_tells_how_many_rows_changed(self, things: Database) -> None:
        async with things.transaction() as tx:
            assert await tx.execute("INSERT INTO thing VALUES (1), (2), (3)") == 3
            assert await tx.execute("UPDATE thing SET data = $1 WHERE n > 1", {"a": 1}) == 2
            assert await tx.execute("DELETE FROM thing WHERE n > 3") == 0
            assert await tx.execute("LOCK TABLE thing") == 0

    async def test_jsonb_goes_in_and_comes_out_as_values(self, things: Database) -> None:
        value = {"text": "\u00e9\u4e2d", "list": [1, None, True], "float": 1.5}
        async with things.transaction() as tx:
            row = await tx.fetchrow("INSERT INTO thing VALUES (1, $1) RETURNING data", value)
        assert row is not None
        assert row["data"] == value

    async def test_a_snapshot_refuses_effects(self, database: Database) -> None:
        async with database.snapshot() as tx:
            with pytest.raises(AssertionError, match="commits nothing"):
                tx.after_commit(lambda: None)

    async def test_a_transaction_knows_its_database(self, database: Database) -> None:
        async with database.transaction() as tx:
            assert tx.database is database


class _Batches:
    """A run function that is held until the test lets a batch go."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, items: list[int]) -> list[int | BaseException]:
        self.seen.append(items)
        self.begun.set()
        await self.go.wait()
        return [ValueError(f"odd {item}") if item % 2 else item * 10 for item in items]


async def _submit_later(coalescer: Coalescer[int, int], items: list[int]) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(coalescer.submit(item)) for item in items]
    await asyncio.gather(asyncio.create_task(_nothing()))
    return tasks


async def _nothing() -> None:
    pass


class TestCoalescer:
    async def test_a_lone_item_runs_at_once(self) -> None:
        run = _Batches()
        run.go.set()
        assert await Coalescer[int, int](run).submit(4) == 40
        assert run.seen == [[4]]

    async def test_items_that_come_while_runners_are_busy_share_batches_of_limited_size_in_order(self) -> None:
        run = _Batches()
        coalescer = Coalescer[int, int](run, runners=1, batch_max=3)
        first = asyncio.create_task(coalescer.submit(2))
        await run.begun.wait()
        others = await _submit_later(coalescer, [4, 6, 8, 10])
        run.go.set()
        assert await first == 20
        assert await asyncio.gather(*others) == [40, 60, 80, 100]
        assert run.seen == [[2], [4, 6, 8], [10]]

    async def test_an_item_gets_its_own_error(self) -> None:
        run = _Batches()
        coalescer = Coalescer[int, int](run, runners=1)
        first = asyncio.create_task(coalescer.submit(2))
        await run.begun.wait()
        others = await _submit_later(coalescer, [3, 4])
        run.go.set()
        results = await asyncio.gather(first, *others, return_exceptions=True)
        assert results[0] == 20
        assert repr(results[1]) == "ValueError('odd 3')"
        assert results[2] == 40

    async def test_a_batch_that_fails_fails_its_items_and_the_next_batch_runs(self) -> None:
        calls: list[list[int]] = []

        async def run(items: list[int]) -> list[int]:
            calls.append(items)
            if len(calls) == 1:
                raise ConnectionError("gone")
            return items

        coalescer = Coalescer[int, int](run, runners=1)
        with pytest.raises(ConnectionError, match="gone"):
            await coalescer.submit(1)
        assert await coalescer.submit(2) == 2

    async def test_a_caller_that_leaves_before_its_batch_has_nothing_done(self) -> None:
        run = _Batches()
        coalescer = Coalescer[int, int](run, runners=1)
        first = asyncio.create_task(coalescer.submit(2))
        await run.begun.wait()
        leaving, staying = await _submit_later(coalescer, [4, 6])
        leaving.cancel()
        run.go.set()
        results = await asyncio.gather(first, leaving, staying, return_exceptions=True)
        assert results[0] == 20
        assert isinstance(results[1], asyncio.CancelledError)
        assert results[2] == 60
        assert run.seen == [[2], [6]]

    async def test_a_caller_that_leaves_during_its_batch_disturbs_nobody(self) -> None:
        run = _Batches()
        coalescer = Coalescer[int, int](run, runners=1)
        first = asyncio.create_task(coalescer.submit(2))
        await run.begun.wait()
        first.cancel()
        others = await _submit_later(coalescer, [4])
        run.go.set()
        assert await asyncio.gather(*others) == [40]

    async def test_a_wrong_number_of_results_is_an_error_and_not_a_hang(self) -> None:
        async def run(items: list[int]) -> list[int]:
            return []

        with pytest.raises(RuntimeError, match="1 items returned 0 results"):
            await Coalescer[int, int](run).submit(1)

    async def test_several_runners_work_side_by_side(self) -> None:
        run = _Batches()
        coalescer = Coalescer[int, int](run, runners=2, batch_max=1)
        tasks = await _submit_later(coalescer, [2, 4, 6])
        assert run.seen == [[2], [4]]
        run.go.set()
        assert await asyncio.gather(*tasks) == [20, 40, 60]
