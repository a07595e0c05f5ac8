"""Send a million messages the whole way and see that nothing grows: neither memory nor the queue.

    python bench/load_million.py [--messages 1000000] [--rate 0] [--system onterms|onterms-two] [--receipt-delay-ms 0]

The path is that of bench_sms.py. The load is even, at --rate messages a second; 0 is 0.7 of what a first burst shows to
be possible, because a queue that is filled faster than it is emptied must grow. Every few seconds the run looks at

    memory  of each process, shared memory in proportion (PSS), PostgreSQL's backends together
    lag     how long ago that message was taken whose number is now the count of final callbacks, and the age of the
            oldest job that is due
    tables  the largest ones with their indexes, and the rows of `jobs`

It fails if a process grows, after the first quarter, by more than --growth-mb for a million messages (and by more than
24 MB at all, so that a short run does not fail by noise), if the lag of the last quarter is more than two seconds over
twice that of the second, or if a message has not ended exactly once.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_accept import machine
from rig import Gateway, Load, Smsc, compiled, count, onterms

from onterms.app.postgres import EmbeddedPostgres

HERE = Path(__file__).resolve().parent
ROLES = {"onterms": ["api,worker"], "onterms-two": ["api", "worker"]}
BURST_S = 5
NOISE_BYTES = 24 * 1024 * 1024
# PostgreSQL's buffers fill up once, whatever the load.
BUFFERS_BYTES = 192 * 1024 * 1024
LAG_S = 2.0
TABLES_EVERY = 5

TABLES = """
    SELECT relname, pg_total_relation_size(relid) AS bytes, n_live_tup AS rows, n_dead_tup AS dead
    FROM pg_stat_user_tables ORDER BY 2 DESC LIMIT 12
"""


class Watch:
    """Looks at a gateway every few seconds while it is loaded."""

    def __init__(self, gateway: Gateway, period_s: float) -> None:
        self.gateway, self.period_s = gateway, period_s
        self.samples: list[dict[str, Any]] = []
        self._taken: list[tuple[int, float]] = []

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self.period_s)

    async def look(self) -> None:
        """Take one sample."""
        database = self.gateway.database
        seen = self.gateway.smsc.stats()
        row = await database.fetchrow(
            """SELECT (SELECT count(*) FROM jobs WHERE state <> 'dead') AS jobs,
                      (SELECT extract(epoch FROM now() - min(due_at)) FROM jobs
                       WHERE state = 'ready' AND due_at < now())::float AS oldest_job_s"""
        )
        taken = seen["submits"]
        self._taken.append((taken, seen["at"]))
        sample = {
            "at_s": round(seen["at"] - self._taken[0][1], 1),
            "submitted": taken,
            "ended": seen["finals"],
            "lag_s": round(self._lag_s(seen["finals"], seen["at"]), 2),
            "oldest_job_s": round(row["oldest_job_s"] or 0.0, 2),
            "jobs": row["jobs"],
            "bytes": self.gateway.rss(),
        }
        if len(self.samples) % TABLES_EVERY == 0:
            sample["tables"] = {found["relname"]: dict(found) for found in await database.fetch(TABLES)}
        self.samples.append(sample)
        megabytes = {name: round(held / 2**20, 1) for name, held in sample["bytes"].items()}
        shown = {name: sample[name] for name in ("at_s", "submitted", "ended", "lag_s", "oldest_job_s", "jobs")}
        print(f"{json.dumps(shown)}  MB {json.dumps(megabytes)}", flush=True)

    def _lag_s(self, ended: int, at: float) -> float:
        """Return how long ago as many were submitted as have ended."""
        place = bisect_left(self._taken, (ended, 0.0))
        if place >= len(self._taken):
            return 0.0
        then, then_at = self._taken[place]
        if place > 0:
            # Between two samples the load is even.
            before, before_at = self._taken[place - 1]
            then_at = before_at + (then_at - before_at) * (ended - before) / max(1, then - before)
        return max(0.0, at - then_at)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the growth of the second for each of the first, by least squares."""
    if len(points) < 3:
        return 0.0
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def judge(samples: Sequence[dict[str, Any]], growth_bytes: int) -> tuple[dict[str, Any], list[str]]:
    """Return growth and lag of a run, and what is wrong with it."""
    wrong: list[str] = []
    quarter = max(1, len(samples) // 4)
    steady = samples[quarter:]
    grown: dict[str, Any] = {}
    for name in samples[0]["bytes"]:
        points = [(float(each["ended"]), float(each["bytes"][name])) for each in steady]
        per_message = slope(points)
        over = per_message * (points[-1][0] - points[0][0])
        grown[name] = {
            "mb_at_the_end": round(points[-1][1] / 2**20, 1),
            "mb_grown": round(over / 2**20, 1),
            "bytes_per_message": round(per_message, 1),
        }
        noise = BUFFERS_BYTES if name == "postgres" else NOISE_BYTES
        if over > noise and per_message * 1e6 > growth_bytes:
            wrong.append(f"{name} grows by {per_message:.0f} bytes a message")
    early = statistics.mean(each["lag_s"] for each in samples[quarter : 2 * quarter] or steady)
    late = statistics.mean(each["lag_s"] for each in samples[-quarter:])
    if late > 2 * early + LAG_S:
        wrong.append(f"the queue's lag grows from {early:.1f} to {late:.1f} s")
    return {"memory": grown, "lag_s": {"second_quarter": round(early, 2), "last_quarter": round(late, 2)}}, wrong


async def fund(gateway: Gateway) -> None:
    """Send at prices of nothing: what a sandbox's customer owns does not pay for a million messages."""
    await gateway.database.execute("UPDATE list_prices SET micros = 0; UPDATE surcharge_rules SET micros = 0")


async def drive(gateway: Gateway, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Find a rate, send at it, look meanwhile, and count at the end."""
    load = Load(step=20_000_000)
    rate = options.rate
    answered = 0
    start = gateway.smsc.stats(mark=True)
    if not rate:
        burst = await load.run(gateway, options.connections, BURST_S)
        answered += burst["answered"] - burst["refused"]
        done = await gateway.quiet()
        rate = 0.7 * done["finals"] / (done["last_final"] - start["at"])
    pause_ms = max(1, round(options.connections * 1000 / rate))
    length_s = max(5, round((options.messages - answered) / rate))
    print(f"{options.messages} messages at {rate:.0f} a second take {length_s} s", flush=True)
    watch = Watch(gateway, max(1.0, min(10.0, length_s / 40)))
    watching = asyncio.create_task(watch.run())
    try:
        # wrk counts what it sends in whole seconds, and an answer takes time as well as the pause before it.
        while answered < options.messages:
            left_s = max(2, round((options.messages - answered) / rate))
            counted = await load.run(gateway, options.connections, min(left_s, length_s), pause_ms=pause_ms)
            answered += counted["answered"] - counted["refused"]
            if counted["refused"] or counted["broken"]:
                return {"samples": watch.samples}, [f"not every request was accepted: {counted}"]
            if watching.done():
                await watching
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    found, wrong = judge(watch.samples, options.growth_mb * 2**20)
    await gateway.quiet()
    counted_rows = await count(gateway)
    if counted_rows.faults:
        wrong.append(f"not all ended as they should: {counted_rows.faults}")
    if counted_rows.messages < answered:
        wrong.append(f"{answered} were answered with 201, and {counted_rows.messages} are stored")
    left = await gateway.database.fetchval("SELECT count(*) FROM jobs WHERE state <> 'dead' AND due_at < now()")
    tables = {row["relname"]: dict(row) for row in await gateway.database.fetch(TABLES)}
    found |= {
        "messages": counted_rows.messages,
        "callbacks": counted_rows.callbacks,
        "per_s": round(rate),
        "jobs_left": left,
        "tables_at_the_end": tables,
        "samples": watch.samples,
    }
    return found, wrong


async def run(options: argparse.Namespace) -> list[str]:
    """Run the load, write what was seen, and return what is wrong."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="onterms-load-", dir=options.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # The database's user has to pass through.
        folder.chmod(0o711)  # noqa: ASYNC240
        program, _ = compiled(folder)
        dsn, pid = options.dsn, None
        if dsn is None:
            postgres = EmbeddedPostgres(folder / "server")
            dsn = await postgres.start()
            stack.push_async_callback(postgres.stop)
            pid = postgres.pid
        smsc = Smsc(program, folder, "-d", str(options.receipt_delay_ms))
        stack.callback(smsc.stop)
        made = onterms(
            ROLES[options.system],
            dsn,
            pid,
            folder,
            smsc,
            window=options.window,
            binds=options.binds,
            label=options.system,
        )
        gateway = await stack.enter_async_context(made)
        await fund(gateway)
        found, wrong = await drive(gateway, options)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        result = {"at": at, "machine": await machine(dsn), "options": _plain(options), "wrong": wrong} | found
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"load-{at[:10]}.json"
    path.write_text(json.dumps(result, indent=1, default=str) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "samples"}, indent=1, default=str))
    print(f"written: {path}")
    return wrong


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    kept = ("messages", "rate", "system", "connections", "window", "binds", "receipt_delay_ms", "growth_mb")
    return {name: getattr(options, name) for name in kept}


def main() -> None:
    """Run it; exit status 1 where something grows or a message is not as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=0, help="messages a second; 0 finds one")
    parser.add_argument("--system", choices=sorted(ROLES), default="onterms")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--binds", type=int, default=1)
    parser.add_argument("--receipt-delay-ms", type=int, default=0)
    parser.add_argument("--growth-mb", type=int, default=64, help="what a process may grow by for a million messages")
    parser.add_argument("--folder", type=Path, help="a folder on the disk to use, instead of the usual temporary one")
    parser.add_argument("--dsn", help="a PostgreSQL to use, as a role that may create databases")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    wrong = asyncio.run(run(parser.parse_args()))
    for each in wrong:
        print(f"WRONG: {each}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
