"""Asking for a rehearsal, and what becomes of it.

Theory of operation
-------------------

A simulation is a row. One process at a time takes the oldest that is queued, under a lock that dies with it; it writes
down the name of the copy before it makes it, so a copy can be found whatever happened to its maker. Who gets the lock
first ends what another one left running, for nobody can be at it, and drops what it left.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onterms.business import customers
from onterms.business.rehearsal import store
from onterms.business.rehearsal.errors import CannotCopy, NoSuchSimulation, StillRunning
from onterms.business.rehearsal.model import ENDED, MOVES, Assumptions, Limits, Simulation, scratch_name
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter
from onterms.core.ids import new_sid

_REASON_CHARS_MAX = 500
_ROWS_MAX = 1000


class Changes:
    """Word that some simulation changed, for those who wait for it."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        """Wake everybody who waits."""
        told, self._next = self._next, asyncio.Event()
        told.set()

    def listen(self) -> asyncio.Event:
        """Return what is set by the next change; take it before looking."""
        return self._next


async def request(
    tx: Tx,
    scope: str,
    from_at: datetime | None,
    days: int,
    assumptions: Assumptions,
    limits: Limits,
    at: datetime,
) -> Simulation:
    """Queue a rehearsal.

    Raises: InvalidParameter, NotFound without such a customer, CannotCopy.
    """
    if scope != "all":
        await customers.require(tx, scope)
    if from_at is not None and from_at < at:
        raise InvalidParameter("'from' must not be in the past: a copy is of now, and lives forward")
    if not await store.may_create_databases(tx):
        raise CannotCopy
    made = Simulation(new_sid("RH", at), "queued", scope, from_at, days, assumptions, limits, None, None, at)
    await store.insert(tx, made)
    return made


async def fetch(tx: Tx, sid: str) -> Simulation:
    """Return a simulation.

    Raises: NoSuchSimulation.
    """
    found = await store.fetch(tx, sid)
    if found is None:
        raise NoSuchSimulation(sid)
    return found


async def wait_for(database: Database, changes: Changes, sid: str, known: str | None, wait_s: float) -> Simulation:
    """Return a simulation once it has another status than the known one, or has ended, or the wait is over.

    Raises: NoSuchSimulation.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            while True:
                news = changes.listen()
                async with database.snapshot() as tx:
                    found = await fetch(tx, sid)
                if found.status in ENDED or (known is not None and found.status != known):
                    return found
                await news.wait()
    async with database.snapshot() as tx:
        return await fetch(tx, sid)


async def delete(tx: Tx, sid: str) -> None:
    """Delete a simulation that is not running; one that is queued is never begun.

    Raises: NoSuchSimulation, StillRunning.
    """
    if await store.delete(tx, sid) is None:
        raise NoSuchSimulation(sid)
    if await store.has(tx, sid):
        raise StillRunning(sid)


# ---- for whoever runs them


async def begin_next(tx: Tx, at: datetime) -> Simulation | None:
    """Take the oldest that is queued and name its copy; None where none waits."""
    for found in await store.by_status(tx, "queued", 1):
        move = MOVES[found.status, "begin"]
        return await store.move(tx, found.sid, found.status, move.next, at, scratch=scratch_name(found.sid))
    return None


async def end(tx: Tx, sid: str, result: Mapping[str, Any] | None, reason: str | None, at: datetime) -> None:
    """Complete a running simulation by its result, or let it fail for a reason; one that ended already stays."""
    found = await store.fetch(tx, sid)
    move = None if found is None else MOVES.get((found.status, "fail" if result is None else "complete"))
    if found is None or move is None or await store.move(tx, sid, found.status, move.next, at) is None:
        return
    await store.keep(tx, sid, result, None if reason is None else reason[:_REASON_CHARS_MAX])


async def left_behind(tx: Tx) -> list[str]:
    """List what a process that is gone left running; for who holds the lock."""
    return [found.sid for found in await store.by_status(tx, "running", _ROWS_MAX)]


async def leftover_scratches(tx: Tx) -> list[tuple[str, str]]:
    """List copies that were not dropped, by simulation; for who holds the lock."""
    return await store.scratches(tx)


async def forget_scratch(tx: Tx, sid: str) -> None:
    """Note that a copy is dropped."""
    await store.forget_scratch(tx, sid)
