"""How many holds a second one hot customer gets: read then write, one conditional statement, leases.

    python bench/bench_ledger.py [--holds 4000] [--rounds 4] [--tasks 16] [--batch 50] [--workers 2]

The variants are

    single       a transaction per hold: SELECT ... FOR UPDATE, then UPDATE and INSERT, what a simple ledger would do
    conditional  a transaction per hold: ledger.hold, one conditional statement
    batched      a transaction per batch: ledger.hold with the whole batch
    leased       a transaction per batch: Leases.hold, the batch out of memory; its rows commit with the transaction
    leased_single  a transaction per hold: Leases.hold

They take turns on one embedded PostgreSQL with fsync on, all for the same customer, from this one process: forwards in
one round and backwards in the next (A B, B A), so that a machine that warms up or slows down favours none. A first run
of each does not count: it has too little money, and shows that exactly what fits is held. After each run the books are
verified, and the run counts only if every hold has its row.

    python bench/bench_ledger.py --compare single conditional     only these two: A B, B A, ...

The result goes to bench/results/ledger-<date>.json: medians over the rounds with their spread, and every run.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from onterms.app.migrate import migrate  # noqa: E402
from onterms.app.postgres import EmbeddedPostgres  # noqa: E402
from onterms.core.clock import SystemClock  # noqa: E402
from onterms.core.db import Database, Tx  # noqa: E402
from onterms.core.money import micros  # noqa: E402
from onterms.engines import ledger  # noqa: E402
from onterms.engines.ledger import Held, HoldRequest, Leases, templates  # noqa: E402

CUSTOMER = "OR" + 32 * "b"
ACCOUNT = "AC" + 32 * "b"
UNIT = micros("0.0327")
SCARCE = micros("10.00")
VARIANTS = ("single", "conditional", "batched", "leased_single", "leased")

Hold = Callable[[Tx, Sequence[HoldRequest], int], Awaitable[int]]


async def read_then_write(tx: Tx, requests: Sequence[HoldRequest], task: int) -> int:
    """Hold as a simple ledger would: lock, look, write, insert."""
    held = 0
    for each in requests:
        row = await tx.fetchrow(
            "SELECT posted, held FROM ledger_funds WHERE customer_sid = $1 AND currency = $2 FOR UPDATE",
            each.customer_sid,
            each.currency,
        )
        assert row is not None
        if row["posted"] - row["held"] < each.micros:
            continue
        await tx.execute(
            "UPDATE ledger_funds SET held = $3 WHERE customer_sid = $1 AND currency = $2",
            each.customer_sid,
            each.currency,
            row["held"] + each.micros,
        )
        await tx.execute(
            """
            INSERT INTO ledger_holds
                (customer_sid, id, account_sid, currency, micros, purpose, expires_at, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
            """,
            each.customer_sid,
            each.id,
            each.account_sid,
            each.currency,
            each.micros,
            each.purpose,
            each.expires_at,
        )
        held += 1
    return held


async def run(server_dsn: str, variant: str, funds: int, options: argparse.Namespace) -> tuple[int, float]:
    """Hold on a fresh database; return how many were held and in how many seconds."""
    name = f"ledger_{variant}_{os.urandom(4).hex()}"
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    database = await Database.connect({"dsn": server_dsn, "database": name}, connections_max=options.tasks + 4)
    clock = SystemClock()
    workers: list[Leases] = []
    try:
        await migrate(database)
        at = clock.now()
        async with database.transaction() as tx:
            await ledger.open_balance(tx, CUSTOMER, "USD", at)
            paid = ledger.Transaction(CUSTOMER, "USD", "topup", templates.topup(funds, "card"))
            await ledger.post(tx, [paid], at)
        workers = [Leases(database, clock, f"w{number}") for number in range(options.workers)]

        async def direct(tx: Tx, requests: Sequence[HoldRequest], task: int) -> int:
            return sum(isinstance(outcome, Held) for outcome in await ledger.hold(tx, requests, at))

        async def leased(tx: Tx, requests: Sequence[HoldRequest], task: int) -> int:
            worker = workers[task % len(workers)]
            return sum(isinstance(outcome, Held) for outcome in await worker.hold(tx, requests, at))

        hold: Hold = {"single": read_then_write, "conditional": direct, "batched": direct}.get(variant, leased)
        size = options.batch if variant in ("batched", "leased") else 1
        each = options.holds * (1 if size == 1 else options.batch_factor) // options.tasks
        expires_at = at + timedelta(days=1)

        async def task(number: int) -> int:
            held = 0
            for first in range(0, each, size):
                requests = [
                    HoldRequest(f"SM{number}-{place}", ACCOUNT, CUSTOMER, "USD", UNIT, expires_at, "message")
                    for place in range(first, min(first + size, each))
                ]
                async with database.transaction() as tx:
                    held += await hold(tx, requests, number)
            return held

        begun = time.monotonic()
        held = sum(await asyncio.gather(*[task(number) for number in range(options.tasks)]))
        seconds = time.monotonic() - begun
        for worker in workers:
            await worker.stop()
        async with database.snapshot() as tx:
            rows = await tx.fetchval("SELECT count(*) FROM ledger_holds")
            violations = await ledger.verify(tx)
        if rows != held or violations or held != min(each * options.tasks, funds // UNIT):
            raise SystemExit(f"{variant}: {held} held, {rows} rows, {violations}")
        return held, seconds
    finally:
        await database.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def main(options: argparse.Namespace) -> dict[str, Any]:
    """Run every variant and return what was measured."""
    variants = [variant for variant in VARIANTS if variant in (options.compare or VARIANTS)]
    runs: dict[str, list[float]] = {variant: [] for variant in variants}
    # The server runs as another user where this runs as root, so the folder must let it through.
    with tempfile.TemporaryDirectory(prefix="onterms-bench-") as folder:
        os.chmod(folder, 0o711)
        server = EmbeddedPostgres(Path(folder))
        dsn = await server.start()
        try:
            # With too little money first: it shows that exactly what fits is held, and warms everything up.
            scarce = {variant: (await run(dsn, variant, SCARCE, options))[0] for variant in variants}
            for number in range(options.rounds):
                for variant in variants if number % 2 == 0 else reversed(variants):
                    held, seconds = await run(dsn, variant, micros("1000000"), options)
                    runs[variant].append(round(held / seconds, 1))
                    print(f"round {number + 1}  {variant:14} {held / seconds:10.0f} holds/s", flush=True)
        finally:
            await server.stop()
    medians = {variant: statistics.median(found) for variant, found in runs.items()}
    base = medians[variants[0]]
    print(f"\n{'':14} {'median':>10} {'least':>10} {'most':>10}  times {variants[0]}")
    for variant, found in runs.items():
        rates = f"{medians[variant]:10.0f} {min(found):10.0f} {max(found):10.0f}"
        print(f"{variant:14} {rates}  {medians[variant] / base:.2f}")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "options": vars(options),
        "holds_per_s": medians,
        "spread": {variant: [min(found), max(found)] for variant, found in runs.items()},
        f"times_{variants[0]}": {variant: round(rate / base, 2) for variant, rate in medians.items()},
        "held_of_10.00_at_0.0327": scarce,
        "runs": runs,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--holds", type=int, default=4000, help="holds of a run that takes them one by one")
    parser.add_argument("--batch-factor", type=int, default=10, help="times as many where they go in batches")
    parser.add_argument("--rounds", type=int, default=4, help="an even number gives every variant both directions")
    parser.add_argument(
        "--compare", nargs="+", choices=VARIANTS, help="these only; the first is what others are measured by"
    )
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    result = uvloop.run(main(parser.parse_args()))
    target = HERE / "results" / f"ledger-{datetime.now(UTC).date().isoformat()}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: result[name] for name in ("holds_per_s", "held_of_10.00_at_0.0327")}))
