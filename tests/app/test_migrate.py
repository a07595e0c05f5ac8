import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from onterms.app.migrate import Migration, migrate, packaged_migrations
from onterms.core.db import Database
from onterms.core.errors import ConfigError

_ONE = Migration("0001_one.sql", "CREATE TABLE one (n integer); INSERT INTO one VALUES (1);")
_TWO = Migration("0002_two.sql", "CREATE TABLE two (n integer);")


@pytest.fixture
async def empty(empty_connect_args: dict[str, Any]) -> AsyncIterator[Database]:
    database = await Database.connect(empty_connect_args)
    yield database
    await database.close()


async def _tables(database: Database) -> list[str]:
    async with database.snapshot() as tx:
        rows = await tx.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
    return [row["tablename"] for row in rows]


class TestMigrate:
    async def test_packaged_files_are_applied_once_in_order(self, empty: Database) -> None:
        names = [migration.name for migration in packaged_migrations()]
        assert names[0] == "0001_engines.sql"
        assert await migrate(empty) == names
        assert await migrate(empty) == []
        assert {"jobs", "events", "rate_buckets"} <= set(await _tables(empty))

    async def test_only_pending_files_are_applied(self, empty: Database) -> None:
        assert await migrate(empty, [_ONE]) == ["0001_one.sql"]
        assert await migrate(empty, [_ONE, _TWO]) == ["0002_two.sql"]
        assert await _tables(empty) == ["one", "schema_migrations", "two"]

    async def test_a_file_that_fails_leaves_nothing_of_the_run(self, empty: Database) -> None:
        broken = Migration("0002_broken.sql", "CREATE TABLE two (n integer); SELECT 1 / 0;")
        with pytest.raises(Exception, match="division by zero"):
            await migrate(empty, [_ONE, broken])
        assert await _tables(empty) == []

    async def test_a_file_changed_after_it_was_applied_is_refused(self, empty: Database) -> None:
        await migrate(empty, [_ONE])
        with pytest.raises(ConfigError, match=r"0001_one\.sql changed after it was applied"):
            await migrate(empty, [Migration(_ONE.name, _ONE.sql + "-- more"), _TWO])
        assert await _tables(empty) == ["one", "schema_migrations"]

    async def test_a_database_of_a_newer_release_is_refused(self, empty: Database) -> None:
        await migrate(empty, [_ONE, _TWO])
        with pytest.raises(ConfigError, match=r"does not know \(0002_two\.sql\)"):
            await migrate(empty, [_ONE])

    async def test_a_file_numbered_before_an_applied_one_is_refused(self, empty: Database) -> None:
        await migrate(empty, [_TWO])
        with pytest.raises(ConfigError, match=r"0001_one\.sql was never applied"):
            await migrate(empty, [_ONE, _TWO])

    async def test_nodes_that_start_together_apply_each_file_once(self, empty: Database) -> None:
        applied = await asyncio.gather(*[migrate(empty, [_ONE, _TWO]) for _ in range(4)])
        assert sorted(applied, key=len) == [[], [], [], ["0001_one.sql", "0002_two.sql"]]
