"""Which links a node has: every bind of a carrier belongs to one node at a time.

Theory of operation. A node takes a link by an advisory lock of a connection of its own, so the database frees what a
node had when that node dies, and nobody's clock matters. A node that loses the connection has lost its links, for
others may have taken them, and ends them before it tries again. The server looks after silent connections within
seconds, so a node that lost its power frees its links as one that was stopped does.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import asyncpg

from onterms.core.db import Database

Slot = tuple[str, int]

# Keeps these advisory locks apart from others ("link" in ASCII).
_LOCK_SEED: Final = 0x6C696E6B
# PostgreSQL docs, tcp_keepalives_idle and kin: a dead peer is noticed after 10 + 3 * 5 seconds.
_KEEPALIVES: Final = ("tcp_keepalives_idle = 10", "tcp_keepalives_interval = 5", "tcp_keepalives_count = 3")


class LinkLeases:
    """The links that this process holds. Shapes: `lost` is called when all of them are gone at once."""

    def __init__(self, database: Database, lost: Callable[[], None]) -> None:
        self._database = database
        self._lost = lost
        self._connection: Any = None
        self._held: set[Slot] = set()
        self._turn = asyncio.Lock()

    async def hold(self, wanted: Iterable[Slot]) -> set[Slot]:
        """Try to hold these links, let go of all others, and return those that are held.

        Raises: OSError, asyncpg.PostgresError or asyncpg.InterfaceError; then none is held.
        """
        async with self._turn:
            slots = set(wanted)
            if self._connection is None:
                if not slots:
                    return set()
                self._connection = await self._connect()
            for slot in self._held - slots:
                await self._connection.fetchval("SELECT pg_advisory_unlock(hashtextextended($1, $2))", *_key(slot))
                self._held.discard(slot)
            for slot in sorted(slots - self._held):
                if await self._connection.fetchval(
                    "SELECT pg_try_advisory_lock(hashtextextended($1, $2))", *_key(slot)
                ):
                    self._held.add(slot)
            # The connection may have ended meanwhile, and with it everything.
            return set(self._held)

    async def close(self) -> None:
        """Let go of all links."""
        connection, self._connection = self._connection, None
        self._held.clear()
        if connection is not None:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close()

    async def _connect(self) -> Any:
        connection = await self._database.connect_alone()
        try:
            # On a socket of this machine there is nothing to keep alive, and the settings do nothing.
            for setting in _KEEPALIVES:
                await connection.execute(f"SET {setting}")
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(self._on_lost)
        return connection

    def _on_lost(self, connection: Any) -> None:
        if connection is self._connection:
            self._connection = None
            self._held.clear()
            self._lost()


def _key(slot: Slot) -> tuple[str, int]:
    return f"{slot[0]}/{slot[1]}", _LOCK_SEED
