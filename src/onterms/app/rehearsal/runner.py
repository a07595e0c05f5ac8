"""The server's side of rehearsals: takes the next one, makes and drops its database, waits for its process."""

import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

import onterms
from onterms.business import rehearsal
from onterms.business.rehearsal import CHANNEL, Changes, Simulation
from onterms.core.clock import Clock
from onterms.core.db import Database

_log = logging.getLogger("onterms.rehearsal")

# The ASCII of "rehearse". Whoever holds it runs rehearsals, one at a time over all processes of an install.
_LOCK: Final = 0x7265686561727365
_RETRY_S: Final = 1.0
# A process of another node that died without a word frees the lock; nobody else tells.
_LOOK_S: Final = 30.0
# Above what the process takes to start and to write its answer down.
_GRACE_S: Final = 60.0
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024


class Runner:
    """Runs what is queued; `run` until cancelled.

    Shapes: a process that does not work only hears of changes.
    """

    def __init__(self, database: Database, clock: Clock, changes: Changes, *, works: bool = True) -> None:
        self._database = database
        self._clock = clock
        self._connect = database.connect_args
        self._changes = changes
        self._works = works

    async def run(self) -> None:
        """Take what is queued, whatever happens to connections."""
        while True:
            try:
                await self._follow()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("rehearsals wait for the database: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        connection = await self._database.connect_alone()
        heard = asyncio.Event()

        def hear(*_: Any) -> None:
            heard.set()
            self._changes.tell()

        try:
            connection.add_termination_listener(hear)
            await connection.add_listener(CHANNEL, hear)
            # Whatever was told while nobody listened.
            self._changes.tell()
            while not connection.is_closed():
                heard.clear()
                if self._works:
                    await self._drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await heard.wait()
        finally:
            connection.terminate()

    async def _drain(self) -> None:
        """Run all that is queued, unless another process does."""
        lock = await self._database.connect_alone()
        try:
            if not await lock.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                return
            await self._clean_up()
            while True:
                async with self._database.transaction() as tx:
                    found = await rehearsal.begin_next(tx, self._clock.now())
                if found is None:
                    return
                await self._run(found)
        finally:
            await lock.close()

    async def _clean_up(self) -> None:
        """End what a process that is gone left running, and drop what it left."""
        async with self._database.transaction() as tx:
            for sid in await rehearsal.left_behind(tx):
                await rehearsal.end(tx, sid, None, "its process ended in the middle", self._clock.now())
            leftovers = await rehearsal.leftover_scratches(tx)
        for sid, scratch in leftovers:
            await self._drop(sid, scratch)

    async def _run(self, found: Simulation) -> None:
        assert found.scratch is not None, "it is named when it begins"
        result: dict[str, Any] | None = None
        reason: str | None = None
        try:
            result, reason = await self._rehearse(found, found.scratch)
        except (OSError, asyncpg.PostgresError) as error:
            reason = f"the copy could not be made: {type(error).__name__}"
        except asyncio.CancelledError:
            reason = "the server stopped"
            raise
        finally:
            # Also when the server stops: the copy goes, and the simulation ends.
            await asyncio.shield(self._finish(found.sid, found.scratch, result, reason))

    async def _finish(self, sid: str, scratch: str, result: dict[str, Any] | None, reason: str | None) -> None:
        await self._drop(sid, scratch)
        async with self._database.transaction() as tx:
            await rehearsal.end(tx, sid, result, reason, self._clock.now())

    async def _rehearse(self, found: Simulation, scratch: str) -> tuple[dict[str, Any] | None, str | None]:
        admin = await asyncpg.connect(**self._connect)
        try:
            await admin.execute(f'CREATE DATABASE "{scratch}"')
            # Nothing in it has to outlive a crash.
            await admin.execute(f'ALTER DATABASE "{scratch}" SET synchronous_commit = off')
        finally:
            await admin.close()
        source = str(Path(onterms.__file__).parents[1])
        path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "onterms.app.rehearsal"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # What it needs it is told; keys of payment providers and mail servers are none of it.
            env={name: value for name, value in os.environ.items() if not name.startswith("ONTERMS_")}
            | {"PYTHONPATH": path},
            limit=_ANSWER_BYTES_MAX,
        )
        try:
            async with asyncio.timeout(found.limits.wall_s + _GRACE_S):
                return await self._talk(process, found, scratch)
        except TimeoutError:
            return None, f"it did not end within {found.limits.wall_s} s"
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _talk(
        self, process: asyncio.subprocess.Process, found: Simulation, scratch: str
    ) -> tuple[dict[str, Any] | None, str | None]:
        assert process.stdin is not None and process.stdout is not None
        spec = {
            "connect": self._connect,
            "scratch": scratch,
            "scope": found.scope,
            "from": None if found.from_at is None else found.from_at.isoformat(),
            "days": found.days,
            "assumptions": found.assumptions,
            "limits": found.limits,
        }
        try:
            process.stdin.write(msgspec.json.encode(spec) + b"\n")
            await process.stdin.drain()
            async for line in process.stdout:
                said = msgspec.json.decode(line)
                if "ask" in said:
                    process.stdin.write(msgspec.json.encode({"now": self._clock.now().isoformat()}) + b"\n")
                    await process.stdin.drain()
                elif "failed" in said:
                    return None, str(said["failed"])
                else:
                    return said["result"], None
        except (ConnectionError, ValueError, msgspec.MsgspecError):
            # Its end of a pipe is gone, or it said more than fits.
            return None, "its process ended in the middle"
        return None, "its process ended in the middle"

    async def _drop(self, sid: str, scratch: str) -> None:
        admin = await asyncpg.connect(**self._connect)
        try:
            await admin.execute(f'DROP DATABASE IF EXISTS "{scratch}" WITH (FORCE)')
        finally:
            await admin.close()
        async with self._database.transaction() as tx:
            await rehearsal.forget_scratch(tx, sid)
