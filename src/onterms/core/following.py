"""Following what other processes change: a channel of PostgreSQL's NOTIFY, with the state read anew on each word."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import asyncpg

from onterms.core.db import Database

logger = logging.getLogger(__name__)

# How long a broken connection rests before the next one is tried.
_RETRY_S = 1.0


class Follower:
    """Call `reload` at the start, after each notification, and after each reconnect, when some may have been missed."""

    def __init__(self, database: Database, channel: str, reload: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._channel = channel
        self._reload = reload
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._first: asyncpg.Connection | None = None

    async def start(self) -> None:
        """Listen, load the state once, and follow it from here on."""
        assert self._task is None, "started twice"
        connection = await self._listen()
        try:
            await self._reload()
        except BaseException:
            await connection.close()
            raise
        self._first = connection
        self._task = asyncio.create_task(self._run(connection))

    async def close(self) -> None:
        """Follow no more."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        # A task that was cancelled before its first step had no chance to end its connection.
        if self._first is not None and not self._first.is_closed():
            self._first.terminate()

    async def _listen(self) -> "asyncpg.Connection":
        connection = await self._database.connect_alone()
        connection.add_termination_listener(lambda *_: self._news.set())
        await connection.add_listener(self._channel, lambda *_: self._news.set())
        return connection

    async def _run(self, connection: "asyncpg.Connection | None") -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._listen()
                    await self._reload()
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                    logger.warning("cannot follow %s: %s", self._channel, error)
                    await asyncio.sleep(_RETRY_S)
                    self._news.set()
        finally:
            if connection is not None and not connection.is_closed():
                connection.terminate()
