"""How many messages a second are accepted durably: POST Messages with wrk, beside a bare server on the same stack.

    python bench/bench_accept.py [--seconds 8] [--rounds 3] [--connections 32,128] [--variants bare,api,free,one,two]

The bound is one raw ASGI route on uvicorn (httptools, uvloop) that reads the same requests and answers 201 with a body
of the same size: what the stack itself can do. The variants are

    bare   the bound
    api    the api role alone; nobody sends what it accepts
    free   the same at prices of nothing, so that no funds are held: what the holds cost
    one    api and worker in one process, the default
    two    an api and a worker process on one database

They take turns, round by round, on one machine with the load generator and PostgreSQL. Each run has a database of its
own. PostgreSQL is the embedded one, fsync on, or the server of --dsn.

A run counts only if the database holds a row for each 201 that wrk counted. wrk does not count the answers that were
under way when it stopped, so there may be more rows, by as many as there were connections. A last run per variant looks
up every SID that was answered.

The result goes to bench/results/accept-<date>.json: medians over the rounds, the ratio to the bound, every run.
"""

import argparse
import asyncio
import base64
import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from onterms.app.postgres import EmbeddedPostgres  # noqa: E402

ROLES = {"api": ["api"], "free": ["api"], "one": ["api,worker"], "two": ["api", "worker"]}
# Ranges of mobile or undistinguished numbers, so that none is refused as a landline.
RECIPIENTS = {
    "us": ["+1415#######", "+1212#######", "+1305#######", "+1702#######", "+1512#######", "+1206#######"],
    "world": ["+1415#######", "+447400######", "+491512#######", "+919810######", "+254712######", "+33612######"],
}
WARM_UP_S = 2
START_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 120.0
CHECKED_S = 2


@dataclass
class Target:
    """Something that answers POST Messages."""

    url: str
    authorization: str
    path: str
    sender: str
    processes: list[subprocess.Popen[bytes]]
    database: Any = None


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve_bare(port: int, body_bytes: int) -> None:
    """Be the bound: one route, nothing behind it."""
    import uvicorn

    body = json.dumps({"body": "x" * (body_bytes - 12)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(app, port=port, http="httptools", loop="uvloop", lifespan="off", access_log=False, log_level="warning")


async def answering(url: str, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until a server answers."""

    def answers() -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return True
        return False

    async with asyncio.timeout(START_TIMEOUT_S):
        while not await asyncio.to_thread(answers):
            for process in processes:
                if process.poll() is not None:
                    raise SystemExit(f"the server ended with status {process.returncode}")
            await asyncio.sleep(0.05)


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Stop processes that were started here."""
    for process in reversed(processes):
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait(30)


@contextlib.asynccontextmanager
async def bare(body_bytes: int) -> AsyncIterator[Target]:
    """Start the bound."""
    port = free_port()
    command = [sys.executable, str(HERE / "bench_accept.py"), "--serve-bare", str(port), str(body_bytes)]
    process = subprocess.Popen(command)  # noqa: ASYNC220
    url, account_sid = f"http://127.0.0.1:{port}", "AC" + 32 * "0"
    try:
        await answering(url, [process])
        yield Target(url, _basic(account_sid, 32 * "0"), _path(account_sid), "+15005550006", [process])
    finally:
        end([process])


@contextlib.asynccontextmanager
async def house(variant: str, server_dsn: str, folder: Path) -> AsyncIterator[Target]:
    """Start onterms on a fresh database."""
    name = f"accept_{variant}_{os.urandom(4).hex()}"
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    dsn = urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name}"))
    data = folder / name
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": str(HERE.parent / "src"),
        "ONTERMS_DATA": str(data),
        "ONTERMS_DSN": dsn,
        "ONTERMS_PORT": str(port),
    }
    processes: list[subprocess.Popen[bytes]] = []

    async def start(roles: str) -> None:
        command = [sys.executable, "-m", "onterms.app.cli", "up", "--roles", roles]
        # One data folder, for the key files; names of their own, for the leases.
        names = environment | {"ONTERMS_NODE": f"bench-{roles}"}
        processes.append(subprocess.Popen(command, env=names, stdout=subprocess.DEVNULL))  # noqa: ASYNC220
        await answering(f"http://127.0.0.1:{port}/healthz", processes)

    try:
        if variant == "free":
            await start("api")
            end([processes.pop()])
            database = await asyncpg.connect(dsn)
            await database.execute("UPDATE list_prices SET micros = 0; UPDATE surcharge_rules SET micros = 0")
            await database.close()
        for roles in ROLES[variant]:
            # The first one makes the tables and the keys, and the second finds them.
            await start(roles)
        exports = json.loads((data / "env.json").read_text())
        database = await asyncpg.connect(dsn)
        sid, token = exports["TWILIO_ACCOUNT_SID"], exports["TWILIO_AUTH_TOKEN"]
        url, sender = f"http://127.0.0.1:{port}", exports["ONTERMS_NUMBER"]
        try:
            yield Target(url, _basic(sid, token), _path(sid), sender, processes, database)
        finally:
            await database.close()
    finally:
        end(processes)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _path(account_sid: str) -> str:
    return f"/2010-04-01/Accounts/{account_sid}/Messages.json"


class Load:
    """wrk, with recipients that never come twice."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self._start = 0

    async def run(self, target: Target, connections: int, seconds: int, sids: Path | None = None) -> dict[str, Any]:
        """Send for some seconds and return what wrk counted."""
        self._start += 1_000_000
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "accept.lua"), target.url, "--"]
        command += [target.path, target.authorization, target.sender, str(self._start), str(sids or "-")]
        wrk = await asyncio.create_subprocess_exec(*command, *self._patterns, stdout=asyncio.subprocess.PIPE)
        output = (await wrk.communicate())[0].decode()
        for line in output.splitlines():
            if line.startswith("RESULT "):
                counted: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
                if counted["refused"] or counted["broken"]:
                    raise SystemExit(f"not every request was accepted: {counted}")
                return counted
        raise SystemExit(f"wrk said nothing to count:\n{output}")


async def measure(load: Load, target: Target, connections: int, seconds: int, *, delivers: bool) -> dict[str, Any]:
    """Run the load once and hold what was answered against what is stored."""
    before = await _rows(target)
    cpu_before = _cpu_s(target.processes)
    counted = await load.run(target, connections, seconds)
    run = {
        "accepted_per_s": round(counted["answered"] * 1e6 / counted["duration_us"]),
        "p50_ms": counted["p50_us"] / 1000,
        "p99_ms": counted["p99_us"] / 1000,
        "max_ms": counted["max_us"] / 1000,
    }
    if cpu_before is not None:
        cpu_s = _cpu_s(target.processes)
        assert cpu_s is not None
        run["server_cpu_us_per_request"] = round((cpu_s - cpu_before) * 1e6 / counted["answered"])
    if target.database is None:
        return run
    stored = await _rows(target) - before
    if not counted["answered"] <= stored <= counted["answered"] + connections:
        raise SystemExit(f"{counted['answered']} were answered with 201, and {stored} are stored")
    run["answered"], run["stored"] = counted["answered"], stored
    if delivers:
        run["delivered_per_s"] = await _delivered_per_s(target, before)
    return run


async def _rows(target: Target) -> int:
    """Count what is stored, once nothing is under way any more."""
    if target.database is None:
        return 0
    earlier, now = -1, 0
    while now != earlier:
        await asyncio.sleep(0.2)
        earlier, now = now, await target.database.fetchval("SELECT count(*) FROM messages")
    return now


async def _delivered_per_s(target: Target, before: int) -> int:
    """Wait until everything has reached its handset, and rate that from the first acceptance to the last receipt."""
    async with asyncio.timeout(DRAIN_TIMEOUT_S):
        waiting = "SELECT EXISTS (SELECT FROM messages WHERE status <> 'delivered')"
        while await target.database.fetchval(waiting):  # noqa: ASYNC110
            await asyncio.sleep(0.25)
    row = await target.database.fetchrow(
        """SELECT count(*) AS messages, extract(epoch FROM max(date_updated) - min(date_created))::float AS seconds
           FROM (SELECT * FROM messages ORDER BY sid OFFSET $1) AS of_this_run""",
        before,
    )
    return round(row["messages"] / row["seconds"])


async def check_each_sid(load: Load, target: Target, connections: int, folder: Path) -> int:
    """Look up every SID that was answered and return how many there were."""
    file = folder / "sids"
    counted = await load.run(target, connections, CHECKED_S, file)
    sids = file.read_text().split()
    found = await target.database.fetchval("SELECT count(*) FROM messages WHERE sid = ANY($1::text[])", sids)
    if not len(sids) == len(set(sids)) == found or len(sids) < counted["answered"]:
        raise SystemExit(f"{counted['answered']} answers, {len(set(sids))} different SIDs, {found} of them stored")
    return len(sids)


def _cpu_s(processes: Sequence[subprocess.Popen[bytes]]) -> float | None:
    """Return the CPU seconds that processes have used, where /proc tells."""
    total = 0.0
    for process in processes:
        try:
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        total += (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    return total


async def machine(dsn: str) -> dict[str, Any]:
    """Describe what this ran on."""
    connection = await asyncpg.connect(dsn)
    try:
        settings = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
        }
    finally:
        await connection.close()
    if settings["fsync"] != "on" or settings["synchronous_commit"] == "off":
        raise SystemExit("this PostgreSQL does not write what it commits to the disk; nothing to measure here")
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "postgres": settings,
        "packages": {name: importlib.metadata.version(name) for name in ("uvicorn", "uvloop", "httptools", "asyncpg")},
        "load_average_at_start": [round(value, 2) for value in os.getloadavg()],
    }


def summarise(runs: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Return the medians of each variant and their ratios to the bound."""
    summary: dict[str, Any] = {}
    for variant, by_connections in runs.items():
        for connections, rounds in by_connections.items():
            medians = {name: statistics.median(run[name] for run in rounds) for name in rounds[0]}
            medians.pop("answered", None)
            medians.pop("stored", None)
            bound = runs.get("bare", {}).get(connections)
            if bound and variant != "bare":
                of_bound = statistics.median(run["accepted_per_s"] for run in bound)
                medians["of_bound"] = round(medians["accepted_per_s"] / of_bound, 3)
            summary.setdefault(variant, {})[connections] = medians
    return summary


async def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Run every variant in turns."""
    variants: list[str] = options.variants.split(",")
    load = Load(RECIPIENTS[options.recipients])
    checked: dict[str, int] = {}
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in variants}
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="onterms-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # The database's user has to pass through.
        folder.chmod(0o711)  # noqa: ASYNC240
        dsn = options.dsn
        if dsn is None:
            postgres = EmbeddedPostgres(folder / "server")
            dsn = await postgres.start()
            stack.push_async_callback(postgres.stop)
        facts = await machine(dsn)
        for number in range(options.rounds):
            for variant in variants:
                start = bare(options.body_bytes) if variant == "bare" else house(variant, dsn, folder)
                async with start as target:
                    delivers = variant in ("one", "two")
                    await measure(load, target, 32, WARM_UP_S, delivers=delivers)
                    for connections in options.connections.split(","):
                        run = await measure(load, target, int(connections), options.seconds, delivers=delivers)
                        runs[variant].setdefault(connections, []).append(run)
                        print(f"round {number + 1}  {variant:5} {connections:>4} connections  {run}", flush=True)
                    if variant != "bare" and number == options.rounds - 1:
                        checked[variant] = await check_each_sid(load, target, 128, folder)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "what": "durable POST Messages, each to a recipient of its own",
        "options": {
            "seconds": options.seconds,
            "rounds": options.rounds,
            "recipients": options.recipients,
            "variants": {name: ROLES.get(name, "the bound") for name in variants},
        },
        "machine": facts | {"load_average_at_end": [round(value, 2) for value in os.getloadavg()]},
        "medians": summarise(runs),
        "sids_looked_up": checked,
        "runs": runs,
    }


def main() -> None:
    """Run the benchmark and write its result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=8, help="length of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default="32,128")
    parser.add_argument("--variants", default="bare,api,free,one,two", help="which, in which order")
    parser.add_argument("--recipients", choices=sorted(RECIPIENTS), default="us")
    parser.add_argument("--dsn", help="a PostgreSQL to use, as a role that may create databases")
    parser.add_argument("--body-bytes", type=int, default=830, help="size of the bound's answer")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--serve-bare", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_bare:
        serve_bare(*options.serve_bare)
        return
    if shutil.which("wrk") is None:
        raise SystemExit("this needs wrk on the PATH (Debian and Ubuntu: apt-get install wrk)")
    result = asyncio.run(bench(options))
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"accept-{result['at'][:10]}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["medians"], indent=1))
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
