"""The process of one rehearsal: reads what to do from standard input, and writes what came of it to standard output.

    in   {"connect": {...}, "scratch": "...", "scope": "...", "from": null, "days": 90, "assumptions": {}, "limits": {}}
    out  {"ask": "now"}                 the copy's snapshot is taken: what time is it?
    in   {"now": "..."}
    out  {"result": {...}} or {"failed": "..."}

Each is one line. Standard input ends with the server, and this process with it.
"""

import asyncio
import json
import os
import sys
import traceback
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from onterms.app import migrate
from onterms.app.rehearsal.copying import copy_rows
from onterms.app.rehearsal.living import Rehearsal
from onterms.business.rehearsal import Assumptions, Limits
from onterms.core.db import Database

# The server goes first where both want the processor.
_NICENESS = 5
# Nobody is there any more to hear it.
_ORPHANED = 3


async def _main() -> None:
    reader = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    spec = json.loads(await reader.readline())
    asked = asyncio.ensure_future(reader.readline())
    try:
        answer: dict[str, Any] = {"result": await _rehearse(spec, asked, reader)}
    except TimeoutError:
        answer = {"failed": f"the copy was not made within {spec['limits']['wall_s']} s"}
    except Exception as error:
        # The error's text may quote customers' rows, so only its type and place are told.
        place = traceback.extract_tb(error.__traceback__)[-1]
        answer = {
            "failed": f"{type(error).__name__} in {place.name} ({os.path.basename(place.filename)}:{place.lineno})"
        }
    _say(answer)


async def _rehearse(spec: dict[str, Any], asked: "asyncio.Future[bytes]", reader: asyncio.StreamReader) -> Any:
    limits = msgspec.convert(spec["limits"], Limits)
    connect = spec["connect"]
    database = await Database.connect({**connect, "database": spec["scratch"]}, connections_max=4)
    rehearsed = Rehearsal(database, msgspec.convert(spec["assumptions"], Assumptions), limits)
    await migrate.migrate(database)
    async with asyncio.timeout(limits.wall_s):
        live = await asyncpg.connect(**connect)
        scratch = await database.connect_alone()
        try:
            async with live.transaction(isolation="repeatable_read", readonly=True):
                # The first statement takes the snapshot.
                await live.fetchval("SELECT pg_current_snapshot()::text")
                begun_at = await _now(asked)
                # From here on the server says nothing more; its end does.
                watching = asyncio.ensure_future(_end_with_server(reader))
                await copy_rows(live, scratch, spec["scope"], rehearsed.tasks)
        finally:
            await live.close()
            await scratch.close()
    from_at = max(begun_at, datetime.fromisoformat(spec["from"])) if spec["from"] else begun_at
    try:
        return await rehearsed.run(begun_at, from_at, from_at + timedelta(days=spec["days"]))
    finally:
        watching.cancel()
        await database.close()


async def _now(asked: "asyncio.Future[bytes]") -> datetime:
    _say({"ask": "now"})
    line = await asked
    if not line:
        os._exit(_ORPHANED)
    return datetime.fromisoformat(json.loads(line)["now"])


def _say(what: dict[str, Any]) -> None:
    try:
        sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(_ORPHANED)


async def _end_with_server(reader: asyncio.StreamReader) -> None:
    await reader.read()
    os._exit(_ORPHANED)


if __name__ == "__main__":
    os.nice(_NICENESS)
    asyncio.run(_main())
