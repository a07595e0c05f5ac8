"""Kill each role again and again under load, before an SMSC that misbehaves, and account for every message.

    python bench/load_faults.py [--kills 9] [--every 5] [--rate 60] [--parts api,worker,postgres]

An api and a worker process share a database; wrk posts through it all, at a steady rate. Every few seconds one of them
gets SIGKILL and is started again. The SMSC of smsc/smsc.c throttles, never answers some submits, closes in the middle
of a window, brings receipts before the answer and twice, and its sink refuses some callbacks. It fails unless

    each SID answered with 201 is stored, and has ended
    the SMSC took no message twice, and those that it took are delivered
    those that it never had were failed with 30410, and nothing else was
    each end was called back with one token, however often
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
from rig import Install, Load, Smsc, compiled, count

from onterms.app.postgres import EmbeddedPostgres

# Beyond it a message fails whose submit nobody answered; the least that a carrier takes.
AMBIGUOUS_S = 60
# The sweep comes every few seconds, and callbacks that were refused are tried again.
SETTLE_S = 300
CONDUCT = ("-2", "-t", "97", "-m", "211", "-c", "397", "-e", "53")


class Parts:
    """The processes that are killed."""

    def __init__(self, install: Install, postgres: EmbeddedPostgres) -> None:
        self.install, self.postgres = install, postgres

    async def kill(self, part: str) -> None:
        """Kill one, and start it again with whatever ended because of it."""
        if part == "postgres":
            assert self.postgres.pid is not None
            _kill(self.postgres.pid)
            await self.postgres.wait()
            await self.postgres.stop()
            await self.postgres.start()
        else:
            self.install.processes[part].kill()
            self.install.processes[part].wait()
        for roles, process in list(self.install.processes.items()):
            if process.poll() is not None:
                await self.install.start(roles)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


async def ended(dsn: str) -> None:
    """Wait until no message is under way any more."""
    database = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(SETTLE_S):
            while left := await database.fetch(
                """SELECT status, count(*) FROM messages
                   WHERE status NOT IN ('delivered', 'undelivered', 'failed', 'canceled') GROUP BY 1"""
            ):
                print(f"under way: {dict(left)}", flush=True)
                await asyncio.sleep(5)
    except TimeoutError:
        print(f"still under way after {SETTLE_S} s", file=sys.stderr)
    finally:
        await database.close()


async def account_for(gateway: Any, smsc: Smsc, sids: Path) -> list[str]:
    """Return what is wrong."""
    wrong: list[str] = []
    counted = await count(gateway, sids, may_repeat=True)
    if counted.faults:
        wrong.append(f"of {counted.messages} messages not all ended as they should: {counted.faults}")
    taken = smsc.submits()
    if twice := sum(times > 1 for times in taken.values()):
        wrong.append(f"the SMSC took {twice} messages twice")
    rows = await gateway.database.fetch("SELECT recipient, status, error_code FROM messages")
    ends = Counter((row["recipient"].removeprefix("+") in taken, row["status"], row["error_code"]) for row in rows)
    print(f"had by the SMSC, status, code: {dict(ends)}", flush=True)
    if strange := {end: times for end, times in ends.items() if end not in _MAY_END}:
        wrong.append(f"ended otherwise than what became of them: {strange}")
    dead = await gateway.database.fetch("SELECT task, error, count(*) FROM jobs WHERE state = 'dead' GROUP BY 1, 2")
    if dead:
        wrong.append(f"dead jobs: {[tuple(row) for row in dead]}")
    return wrong


_MAY_END = frozenset({(True, "delivered", None), (False, "failed", 30410)})


async def run(options: argparse.Namespace) -> list[str]:
    """Load, kill, wait and count."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="onterms-faults-", dir=options.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # The database's user has to pass through.
        folder.chmod(0o711)  # noqa: ASYNC240
        program, _ = compiled(folder)
        postgres = EmbeddedPostgres(folder / "server")
        dsn = await postgres.start()
        stack.push_async_callback(postgres.stop)
        smsc = Smsc(program, folder, "-d", "50", *CONDUCT)
        stack.callback(smsc.stop)
        # Without it a callback that is answered with 503 is not repeated.
        smsc.overrides = "#rc=5&rp=all"
        install = Install(dsn, folder, "faults")
        await install.create()
        for roles in ("api", "worker"):
            await install.start(roles)
        stack.callback(install.stop)
        await install.connect(smsc, options.window, 1, response_s=2, throttle_s=0.1, ambiguous_s=AMBIGUOUS_S)
        gateway = install.gateway(smsc, None)
        parts, seconds = Parts(install, postgres), options.every * (options.kills + 1)
        sids = folder / "sids"
        pause_ms = max(1, round(options.connections * 1000 / options.rate))
        loading = asyncio.create_task(Load().run(gateway, options.connections, seconds, sids, pause_ms=pause_ms))
        for part in itertools.islice(itertools.cycle(options.parts.split(",")), options.kills):
            await asyncio.sleep(options.every)
            print(f"killing {part}: {json.dumps(smsc.stats())}", flush=True)
            await parts.kill(part)
        counted = await loading
        print(f"answered: {counted}", flush=True)
        await ended(install.dsn)
        gateway.database = await asyncpg.connect(install.dsn)
        try:
            await gateway.quiet()
            return await account_for(gateway, smsc, sids)
        finally:
            await gateway.database.close()


def main() -> None:
    """Run it; exit status 1 where a message is not accounted for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--every", type=int, default=5, help="seconds between two kills")
    parser.add_argument("--rate", type=float, default=60, help="messages a second")
    parser.add_argument("--parts", default="api,worker,postgres", help="which are killed, in turns")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--window", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to use, instead of the usual temporary one")
    wrong = asyncio.run(run(parser.parse_args()))
    for each in wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    if not wrong:
        print("every message is accounted for")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
