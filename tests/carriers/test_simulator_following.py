"""Following a channel of NOTIFY through changes and a lost connection."""

import asyncio

from onterms.core.db import Database
from onterms.core.following import Follower

CHANNEL = "test_following"


class Reader:
    """Count how often the state was read."""

    def __init__(self) -> None:
        self.reads = 0
        self.read = asyncio.Event()

    async def __call__(self) -> None:
        self.reads += 1
        self.read.set()

    async def reaches(self, reads: int) -> None:
        """Wait until the state was read so often."""
        async with asyncio.timeout(10):
            while self.reads < reads:
                self.read.clear()
                await self.read.wait()


async def test_the_state_is_read_at_the_start_and_at_each_word(database: Database) -> None:
    reader = Reader()
    follower = Follower(database, CHANNEL, reader)
    await follower.start()
    assert reader.reads == 1

    async with database.transaction() as tx:
        await tx.execute("SELECT pg_notify($1, '')", CHANNEL)
    await reader.reaches(2)

    await follower.close()
    assert reader.reads == 2


async def test_a_lost_connection_is_replaced_and_the_state_read_anew(database: Database) -> None:
    reader = Reader()
    follower = Follower(database, CHANNEL, reader)
    await follower.start()

    async with database.transaction() as tx:
        ended = await tx.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND query LIKE 'LISTEN%'
            """
        )
    assert ended == 1
    await reader.reaches(2)
    async with database.transaction() as tx:
        await tx.execute("SELECT pg_notify($1, '')", CHANNEL)
    await reader.reaches(3)

    await follower.close()
    assert reader.reads == 3
