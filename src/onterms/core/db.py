"""Access to PostgreSQL: a pool, transactions with effects that run after commit, and the coalescing writer.

Rooms get a `Tx` and never commit; the HTTP edge and the worker open transactions. What must happen only once the rows
are durable (waking a worker, handing rows over in memory) is queued with `Tx.after_commit` and is dropped on rollback.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

import asyncpg
import msgspec

# A record of asyncpg: a mapping by column name.
Row = Mapping[str, Any]
T = TypeVar("T")
R = TypeVar("R")

_PLACEHOLDER = re.compile(r"\$(\d+)")


class NotAtOnce(Exception):
    """What was asked of `Database.at_once` needs more than one statement: do it again in a transaction."""


class Tx:
    """One open transaction."""

    __slots__ = ("_commits", "_connection", "_effects", "database")

    # Whether all of it is one statement; see `Database.at_once`.
    is_at_once = False

    def __init__(self, connection: Any, database: "Database", *, commits: bool = True) -> None:
        self._connection = connection
        self._effects: list[Callable[[], None]] = []
        self._commits = commits
        self.database = database

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        """Run a statement and return its rows."""
        rows: list[Row] = await self._connection.fetch(sql, *args)
        return rows

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        """Run a statement and return its first row or None."""
        row: Row | None = await self._connection.fetchrow(sql, *args)
        return row

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """Run a statement and return the first column of its first row or None."""
        return await self._connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> int:
        """Run a statement and return how many rows it changed."""
        tag: str = await self._connection.execute(sql, *args)
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def together(self, *statements: "Statement[Any]") -> list[Any]:
        """Run statements that do not need each other's rows in one round trip; return what each one's `finish` makes.

        Shapes: all see the tables as they were before the first of them.
        """
        row = await self.fetchrow(*_together_with(statements))
        assert row is not None
        return [await statement.finish(values) for statement, values in zip(statements, row.values(), strict=False)]

    async def last(self, *statements: "Statement[Any]") -> list[Any]:
        """Do what `together` does, as the last that is done here."""
        return await self.together(*statements)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Run a part that may fail without losing the rest of the transaction."""
        effects = len(self._effects)
        try:
            async with self._connection.transaction():
                yield
        except BaseException:
            del self._effects[effects:]
            raise

    def after_commit(self, effect: Callable[[], None]) -> None:
        """Queue a call for the moment the transaction is durable."""
        assert self._commits, "a snapshot commits nothing, so nothing can follow its commit"
        self._effects.append(effect)

    def run_effects(self) -> None:
        """Run what was queued, once; for whoever committed."""
        effects, self._effects = self._effects, []
        for effect in effects:
            try:
                effect()
            except Exception as error:
                # The rows are durable: raising would tell the caller that they are not, and would drop the other
                # effects.
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "an effect after a commit failed", "exception": error}
                )


class AtOnce(Tx):
    """A transaction of one statement, which needs no BEGIN and no COMMIT.

    The caller gathers what it expects and what it does, and ends with `last`, once. Whatever else it would need
    raises NotAtOnce, and so does an expectation that does not hold; then nothing was done, and what was queued with
    `if_undone` runs.
    """

    __slots__ = ("_deferred", "_expected", "_has_ended", "_undo")

    is_at_once = True

    def __init__(self, connection: Any, database: "Database") -> None:
        super().__init__(connection, database)
        self._expected: list[Expectation] = []
        self._deferred: list[Statement[Any]] = []
        self._undo: list[Callable[[], None]] = []
        self._has_ended = False

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        """Raise NotAtOnce."""
        raise NotAtOnce

    async def fetchrow(self, sql: str, *args: Any) -> Row | None:
        """Raise NotAtOnce."""
        raise NotAtOnce

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """Raise NotAtOnce."""
        raise NotAtOnce

    async def execute(self, sql: str, *args: Any) -> int:
        """Raise NotAtOnce."""
        raise NotAtOnce

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Raise NotAtOnce."""
        if self.is_at_once:
            raise NotAtOnce
        yield

    @property
    def has_ended(self) -> bool:
        """Tell whether the statement was sent."""
        return self._has_ended

    def expect_none(self, expectation: "Expectation") -> None:
        """Do nothing of all this where a query finds a row."""
        self._expected.append(expectation)

    def defer(self, statement: "Statement[Any]") -> None:
        """Run a statement with those that end this."""
        self._deferred.append(statement)

    def if_undone(self, effect: Callable[[], None]) -> None:
        """Queue a call for the case that nothing of this was done."""
        self._undo.append(effect)

    def undo(self) -> None:
        """Run what was queued for this case; for whoever opened it."""
        undo, self._undo = self._undo, []
        for effect in undo:
            effect()

    async def together(self, *statements: "Statement[Any]") -> list[Any]:
        """Raise NotAtOnce: more may follow."""
        raise NotAtOnce

    async def last(self, *statements: "Statement[Any]") -> list[Any]:
        """Run everything, which commits it.

        Raises: NotAtOnce.
        """
        assert not self._has_ended, "it was committed"
        self._has_ended = True
        every = [*statements, *self._deferred]
        sql, *args = _together_with(every, self._expected)
        try:
            row = await self._connection.fetchrow(sql, *args)
        except asyncpg.PostgresError as error:
            # A statement that the server refused did nothing, and in its transaction each caller fails by itself.
            raise NotAtOnce from error
        # What was done is done: only what raises from here on, and cannot, would be in doubt.
        self._undo.clear()
        made = [await statement.finish(values) for statement, values in zip(every, row.values(), strict=False)]
        return made[: len(statements)]


@dataclass(frozen=True, slots=True)
class Statement(Generic[R]):
    """An INSERT, UPDATE or DELETE that may share its round trip with others; `Tx.together` runs it.

    Shapes: `sql` returns one column. `finish` gets its values in ascending order. `notify` holds (channel, payload).
    `before` are the parts of a WITH that `sql` needs, as (name, query): the names are the statement's own.
    """

    sql: str
    args: Sequence[Any]
    finish: Callable[[list[Any]], Awaitable[R]]
    notify: Sequence[tuple[str, str]] = ()
    before: tuple[tuple[str, str], ...] = ()


class Expectation(NamedTuple):
    """A query that is expected to find nothing; see `AtOnce.expect_none`."""

    sql: str
    args: Sequence[Any]


def _together_with(statements: Sequence[Statement[Any]], expected: Sequence[Expectation] = ()) -> list[Any]:
    """Return the one statement and its arguments."""
    sql = _together(
        tuple((statement.before, statement.sql) for statement in statements), tuple(each.sql for each in expected)
    )
    told = {notification for statement in statements for notification in statement.notify}
    return [
        sql,
        *(arg for statement in statements for arg in statement.args),
        *(arg for expectation in expected for arg in expectation.args),
        [channel for channel, _ in told],
        [payload for _, payload in told],
    ]


@cache
def _together(statements: tuple[tuple[tuple[tuple[str, str], ...], str], ...], expected: tuple[str, ...]) -> str:
    # With few rows a batch costs more in round trips, on both sides, than in its rows. The cache is small, for every
    # text is a constant of some engine.
    parts: list[str] = []
    args = 0
    for place, (before, sql) in enumerate(statements):
        parts += [f"{name} AS ({_shifted(query, args)})" for name, query in before]
        parts.append(f"part{place}(value) AS ({_shifted(sql, args)})")
        args += _args_of(sql, *(query for _, query in before))
    results = [f"ARRAY(SELECT value FROM part{place} ORDER BY value)" for place in range(len(statements))]
    for sql in expected:
        results.append(f"(SELECT refuse_statement() WHERE EXISTS ({_shifted(sql, args)}))")
        args += _args_of(sql)
    told = f"(SELECT count(pg_notify(channel, payload)) FROM unnest(${args + 1}::text[], ${args + 2}::text[])"
    return f"WITH {', '.join(parts)} SELECT {', '.join(results)}, {told} AS told(channel, payload))"


def _args_of(*queries: str) -> int:
    return max((int(number) for sql in queries for number in _PLACEHOLDER.findall(sql)), default=0)


def _shifted(sql: str, by: int) -> str:
    return _PLACEHOLDER.sub(lambda match: f"${int(match[1]) + by}", sql)


async def _leave_as_is(connection: Any) -> None:
    # asyncpg would run RESET ALL and more on each return to the pool, a round trip as dear as a small statement. It
    # rolls back by itself what a cancelled caller left open, and no code here sets anything else that outlives a
    # transaction.
    pass


async def _prepare(connection: Any) -> None:
    # jsonb travels as text; msgspec is the one JSON codec of the house.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
    )


class Database:
    """A pool of connections to one PostgreSQL database."""

    def __init__(self, pool: Any, dsn: dict[str, Any]) -> None:
        self._pool = pool
        self._dsn = dsn

    @classmethod
    async def connect(cls, connect_args: dict[str, Any], *, connections_max: int = 16) -> "Database":
        """Open the pool.

        Shapes: connect_args as asyncpg.connect takes them (dsn, or host, user, password, database).
        """
        pool = await asyncpg.create_pool(
            **connect_args,
            min_size=1,
            max_size=connections_max,
            init=_prepare,
            reset=_leave_as_is,
            server_settings={
                "application_name": "onterms",
                "TimeZone": "UTC",
                # It costs more than these short statements take.
                "jit": "off",
                # A prepared statement keeps the plan it got while its table was nearly empty, where scanning all of it
                # looked cheapest. Every table here is reached by an index, and where none fits a scan is still used.
                "enable_seqscan": "off",
            },
        )
        return cls(pool, connect_args)

    @property
    def connect_args(self) -> dict[str, Any]:
        """Return how to connect to the same database, as `connect` takes it."""
        return dict(self._dsn)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Open a transaction, commit it when the block ends, then run its effects."""
        async with self._pool.acquire() as connection:
            tx = Tx(connection, self)
            async with connection.transaction():
                yield tx
            # Before the connection goes back: a caller cancelled while it does must not lose the effects of its commit.
            tx.run_effects()

    @asynccontextmanager
    async def at_once(self) -> AsyncIterator[AtOnce]:
        """Open a transaction of one statement.

        Raises: NotAtOnce where it cannot be one; nothing was done then.
        """
        async with self._pool.acquire() as connection:
            tx = AtOnce(connection, self)
            try:
                yield tx
            except BaseException as error:
                # Else a connection was lost with the answer, and nobody knows.
                if isinstance(error, NotAtOnce) or not tx.has_ended:
                    tx.undo()
                raise
            tx.run_effects()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Tx]:
        """Read without a transaction of its own: each statement sees its own snapshot."""
        async with self._pool.acquire() as connection:
            yield Tx(connection, self, commits=False)

    async def connect_alone(self) -> Any:
        """Open one connection outside the pool, for LISTEN."""
        connection = await asyncpg.connect(**self._dsn)
        await _prepare(connection)
        return connection

    async def close(self) -> None:
        """Close every connection, waiting for running statements."""
        await self._pool.close()


class Coalescer(Generic[T, R]):
    """Run single items of many callers in batches: many requests, one statement, one commit.

    A batch starts at once when a runner is free; while all runners are busy, items gather and go together in the next
    batch. So a lone request waits for nothing and a crowd shares commits.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Awaitable[Sequence[R | BaseException]]],
        *,
        batch_max: int = 256,
        runners: int = 2,
    ) -> None:
        self._run = run
        self._batch_max = batch_max
        self._runners_free = runners
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, item: T) -> R:
        """Give one item and return its own result, or raise its own error."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runners_free:
            self._start_runner()
        return await future

    def _start_runner(self) -> None:
        self._runners_free -= 1
        task = asyncio.create_task(self._drain())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._run_one_batch()
        finally:
            self._runners_free += 1
            # Only a runner that was cancelled, because the program ends, leaves items behind; nobody would run them.
            while self._waiting:
                self._waiting.popleft()[1].cancel()

    async def _run_one_batch(self) -> None:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        while self._waiting and len(batch) < self._batch_max:
            item, future = self._waiting.popleft()
            # A caller that went away before its batch began wants nothing done.
            if not future.done():
                batch.append((item, future))
        if not batch:
            return
        try:
            results = await self._run([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"a batch of {len(batch)} items returned {len(results)} results")
        except BaseException as error:
            for _, future in batch:
                if future.done():
                    continue
                if isinstance(error, asyncio.CancelledError):
                    future.cancel()
                else:
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            # A caller that went away meanwhile (closed socket) does not disturb the others.
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
