"""How many messages a second go the whole way: HTTP, SMPP to an SMSC, its receipt, the status callback; beside Kannel.

    python bench/bench_sms.py [--seconds 8] [--rounds 3] [--connections 64] [--window 1000] [--binds 1]
        [--systems onterms,onterms-two,kannel-none,kannel-spool,kannel-tmpfs] [--receipt-delay-ms 0,1000] [--profile]

wrk posts messages over plain HTTP, each to a recipient of its own with a callback; the gateway submits them to a
simulated SMSC (smsc/smsc.c), which brings a receipt at once or after a delay, and calls the same program's sink. The
systems take turns, round by round, on one machine with the load generator, the SMSC and PostgreSQL:

    onterms       api and worker in one process
    onterms-two   an api and a worker process on one database
    kannel-none   Kannel that keeps messages in memory only
    kannel-spool  Kannel with its spool on the disk of --folder
    kannel-tmpfs  Kannel with its spool on tmpfs

They do not do the same work. onterms answers 201 after a commit with fsync, charges, signs its callbacks and makes two
a message (sent, delivered), as Twilio does; Kannel makes one (delivered) and never syncs. Compared is the callback that
tells how a message ended.

    accepted_per_s             answers a second while wrk drives
    submitted_per_s            submit_sm that reached the SMSC meanwhile
    delivered_callbacks_per_s  final callbacks that reached the sink meanwhile
    drained_per_s              all final callbacks, over the time from the first to the last
    whole_per_s                all final callbacks, over the time from the first request to the last callback
    cpu_us_per_message         user and system time of each process, from the first request to the end

A run of onterms counts only if each message stored has ended and was called back once with its end, and if there are as
many as 201s (wrk does not count what was under way when it stopped). A last run of each looks up every SID answered,
and the signatures of the first callbacks are checked. Before all, the simulator's own limit is measured and printed.

The result goes to bench/results/sms-<date>.json: medians, ratios to the best Kannel for each figure, every run.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_accept import machine
from rig import Gateway, Load, Smsc, ceiling, compiled, count, kannel, onterms

from onterms.app.postgres import EmbeddedPostgres

HERE = Path(__file__).resolve().parent
ROLES = {"onterms": ["api,worker"], "onterms-two": ["api", "worker"]}
SYSTEMS = "onterms,onterms-two,kannel-none,kannel-spool,kannel-tmpfs"
RATES = ("accepted_per_s", "submitted_per_s", "delivered_callbacks_per_s", "drained_per_s", "whole_per_s")
WARM_UP_S = 2
CHECKED_S = 2


@dataclass(frozen=True)
class Place:
    """Where the runs take place."""

    options: argparse.Namespace
    folder: Path
    smsc: Path
    dsn: str
    postgres_pid: int | None

    @contextlib.asynccontextmanager
    async def start(self, system: str, delay_ms: int) -> AsyncIterator[Gateway]:
        """Start a system before an SMSC of its own."""
        options = self.options
        folder = Path(tempfile.mkdtemp(prefix=f"{system}-", dir=self.folder))
        folder.chmod(0o711)  # noqa: ASYNC240
        smsc = Smsc(self.smsc, folder, "-d", str(delay_ms))
        try:
            shape = {"window": options.window, "binds": options.binds}
            if system in ROLES:
                profile = options.results / "profiles" if options.profile else None
                if profile is not None:
                    profile.mkdir(parents=True, exist_ok=True)
                made = onterms(
                    ROLES[system], self.dsn, self.postgres_pid, folder, smsc, label=system, profile=profile, **shape
                )
            else:
                made = kannel(system.removeprefix("kannel-"), folder, smsc, **shape)
            async with made as gateway:
                yield gateway
        finally:
            smsc.stop()
            shutil.rmtree(folder, ignore_errors=True)


async def measure(load: Load, gateway: Gateway, options: argparse.Namespace) -> dict[str, Any]:
    """Run the load once, wait until everything has ended, and rate it."""
    cpu = gateway.cpu()
    start = gateway.smsc.stats(mark=True)
    counted = await load.run(gateway, options.connections, options.seconds)
    driven = gateway.smsc.stats()
    done = await gateway.quiet()
    used = {name: value - cpu[name] for name, value in gateway.cpu().items()}
    drive_s = driven["at"] - start["at"]
    finals = done["finals"] - start["finals"]
    answered = counted["answered"] - counted["refused"]
    if not finals:
        raise SystemExit(f"no message came through: {counted}, {done}")
    return {
        "accepted_per_s": round(answered * 1e6 / counted["duration_us"]),
        "submitted_per_s": round((driven["submits"] - start["submits"]) / drive_s),
        "delivered_callbacks_per_s": round((driven["finals"] - start["finals"]) / drive_s),
        "drained_per_s": round(finals / max(done["last_final"] - done["first_final"], 0.001)),
        "whole_per_s": round(finals / (done["last_final"] - start["at"])),
        "p50_ms": counted["p50_us"] / 1000,
        "p99_ms": counted["p99_us"] / 1000,
        "max_ms": counted["max_us"] / 1000,
        "cpu_us_per_message": {name: round(value * 1e6 / finals, 1) for name, value in used.items()},
        "callbacks_per_message": round((done["callbacks"] - start["callbacks"]) / finals, 3),
        "answered": answered,
        "refused": counted["refused"],
        "broken": counted["broken"],
        "submitted": done["submits"] - start["submits"],
        "called_back": finals,
        "load_average": round(os.getloadavg()[0], 2),
    }


async def hold(gateway: Gateway, answered: int, connections: int, sids: Path | None = None) -> int:
    """Fail unless every message that was answered ended once and was told once."""
    if gateway.database is None:
        return 0
    counted = await count(gateway, sids)
    if counted.faults:
        raise SystemExit(f"of {counted.messages} messages not all ended as they should: {counted.faults}")
    # wrk leaves what is under way when it stops, once in each of the runs before.
    if not answered <= counted.messages <= answered + connections:
        raise SystemExit(f"{answered} were answered with 201, and {counted.messages} are stored")
    return counted.messages


async def run_system(place: Place, load: Load, system: str, delay_ms: int, *, is_last: bool) -> dict[str, Any]:
    """Start a system, warm it up, measure, and look at what became of everything."""
    options = place.options
    async with place.start(system, delay_ms) as gateway:
        warm = await load.run(gateway, options.connections, WARM_UP_S)
        await gateway.quiet()
        run = await measure(load, gateway, options)
        answered, runs = warm["answered"] - warm["refused"] + run["answered"], 2
        if gateway.database is not None and (run["refused"] or run["broken"]):
            raise SystemExit(f"not every request was accepted: {run}")
        sids = place.folder / "sids" if is_last else None
        if sids is not None and gateway.database is not None:
            checked = await load.run(gateway, options.connections, CHECKED_S, sids)
            await gateway.quiet()
            answered, runs = answered + checked["answered"], 3
        run["held"] = await hold(gateway, answered, runs * options.connections, sids)
        return run


def medians_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure."""
    names = [*RATES, "p50_ms", "p99_ms", "callbacks_per_message"]
    found: dict[str, Any] = {name: statistics.median(run[name] for run in runs) for name in names}
    found["cpu_us_per_message"] = {
        name: statistics.median(run["cpu_us_per_message"][name] for run in runs)
        for name in runs[0]["cpu_us_per_message"]
    }
    return found


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return medians, and the ratio of each rate to that of the Kannel which is best at it."""
    medians = {system: medians_of(rounds) for system, rounds in runs.items() if rounds}
    for system, found in medians.items():
        peers = [other for name, other in medians.items() if name.startswith("kannel")]
        if peers and system in ROLES:
            found["to_best_kannel"] = {
                name: round(found[name] / max(peer[name] for peer in peers), 2)
                for name in RATES
                if max(peer[name] for peer in peers)
            }
    return medians


async def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Run every system in turns."""
    systems: list[str] = options.systems.split(",")
    delays = [int(each) for each in options.receipt_delay_ms.split(",")]
    load = Load()
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {
        str(delay): {system: [] for system in systems} for delay in delays
    }
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="onterms-bench-", dir=options.folder))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # The database's user has to pass through.
        folder.chmod(0o711)  # noqa: ASYNC240
        smsc, drive = compiled(folder)
        limit = ceiling(smsc, drive, folder, options.window)
        print(f"the simulator alone: {limit}", flush=True)
        dsn, pid = options.dsn, None
        if dsn is None:
            postgres = EmbeddedPostgres(folder / "server")
            dsn = await postgres.start()
            stack.push_async_callback(postgres.stop)
            pid = postgres.pid
        facts = await machine(dsn)
        place = Place(options, folder, smsc, dsn, pid)
        for number in range(options.rounds):
            for delay in delays:
                for system in systems:
                    run = await run_system(place, load, system, delay, is_last=number == options.rounds - 1)
                    runs[str(delay)][system].append(run)
                    print(f"round {number + 1}  receipts after {delay} ms  {system:13} {json.dumps(run)}", flush=True)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "what": "messages over HTTP and SMPP to a receipt and a status callback",
        "options": {
            name: getattr(options, name)
            for name in ("seconds", "rounds", "connections", "window", "binds", "systems", "receipt_delay_ms")
        },
        "machine": facts
        | {
            "kannel": _version("bearerbox"),
            "load_average_at_end": [round(value, 2) for value in os.getloadavg()],
        },
        "simulator": limit,
        "medians_by_receipt_delay_ms": {delay: summarise(each) for delay, each in runs.items()},
        "runs": runs,
    }


def _version(program: str) -> str | None:
    if shutil.which(program) is None:
        return None
    found = subprocess.run([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
    return next((word for word in found.split() if word[:1].isdigit()), None)


def show(result: dict[str, Any]) -> None:
    """Print the medians as a table."""
    for delay, systems in result["medians_by_receipt_delay_ms"].items():
        print(f"\nreceipts after {delay} ms; medians of {result['options']['rounds']} rounds")
        print(f"{'':14}{'accepted':>10}{'submitted':>11}{'delivered':>11}{'drained':>9}{'whole':>8}", end="")
        print(f"{'p50 ms':>9}{'p99 ms':>9}{'callbacks':>11}  us of CPU a message")
        for system, found in systems.items():
            rates = [found[name] for name in RATES]
            print(f"{system:14}{rates[0]:>10}{rates[1]:>11}{rates[2]:>11}{rates[3]:>9}{rates[4]:>8}", end="")
            print(f"{found['p50_ms']:>9.1f}{found['p99_ms']:>9.1f}{found['callbacks_per_message']:>11.2f}", end="  ")
            print("  ".join(f"{name} {value:.0f}" for name, value in found["cpu_us_per_message"].items()))
        for system, found in systems.items():
            if "to_best_kannel" in found:
                ratios = "  ".join(
                    f"{name.removesuffix('_per_s')} {value}" for name, value in found["to_best_kannel"].items()
                )
                print(f"{system} to the best Kannel: {ratios}")
    print("Each callback beyond one a message is work that Kannel does not do.")


def main() -> None:
    """Run the benchmark and write its result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=8, help="length of one run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--window", type=int, default=1000, help="submit_sm without an answer on each bind")
    parser.add_argument("--binds", type=int, default=1)
    parser.add_argument("--systems", default=SYSTEMS, help="which, in which order")
    parser.add_argument("--receipt-delay-ms", default="0,1000", help="one or several, separated by commas")
    parser.add_argument("--profile", action="store_true", help="sample onterms; profiles/ beside the result")
    parser.add_argument("--folder", type=Path, help="a folder on the disk to use, instead of the usual temporary one")
    parser.add_argument("--dsn", help="a PostgreSQL to use, as a role that may create databases")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    wanted = options.systems.split(",")
    if unknown := set(wanted) - set(SYSTEMS.split(",")):
        parser.error(f"unknown systems: {', '.join(sorted(unknown))}")
    needed = ["wrk", "cc", *(["bearerbox", "smsbox"] if any(name.startswith("kannel") for name in wanted) else [])]
    if missing := [name for name in needed if shutil.which(name) is None]:
        raise SystemExit(f"this needs {', '.join(missing)} on the PATH (Debian and Ubuntu: wrk, gcc, kannel)")
    result = asyncio.run(bench(options))
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"sms-{result['at'][:10]}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    show(result)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
