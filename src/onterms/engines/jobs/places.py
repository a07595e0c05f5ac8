"""Places in the queues of rate keys: taken with the insert of a job, or anew for all that wait.

A place is when a job's turn comes by its rate (the generic cell rate algorithm, ITU-T I.371). Whoever enqueues many
jobs of a rate key takes their places in the same transaction, so that nothing is claimed only to be put off, and knows
how long the queue is. `Bucket.take` hands places out from memory, under the row's lock, and `taking` writes down how
far it came.

Locks: a transaction locks the buckets it needs with one statement, in the order of their keys, and no job after that:
jobs that a claim holds at the moment are passed by.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from onterms.core.db import Row, Statement, Tx
from onterms.engines.jobs.queue import announce


@dataclass(slots=True)
class Bucket:
    """A token bucket that this transaction holds.

    Units: `per_s` is tokens a second.
    """

    key: str
    per_s: float
    burst: int
    next_at: datetime

    def take(self, cost: int) -> datetime:
        """Return the next place and take it."""
        # A job dearer than the whole bucket goes when the bucket is full.
        place = self.next_at - timedelta(seconds=max(self.burst - cost, 0) / self.per_s)
        self.next_at += timedelta(seconds=cost / self.per_s)
        return place


async def lock_buckets(tx: Tx, rates: Mapping[str, float], at: datetime) -> dict[str, Bucket]:
    """Hold buckets until the commit, made where there are none; at another rate than before all who wait move.

    Shapes: tokens a second by key.
    """
    rows = await tx.fetch(
        """
        INSERT INTO rate_buckets AS bucket (key, per_s, burst)
        SELECT key, per_s::numeric, 1 FROM unnest($1::text[], $2::float8[]) AS wanted (key, per_s) ORDER BY key
        ON CONFLICT (key) DO UPDATE SET burst = bucket.burst
        RETURNING key, per_s::float8 AS per_s, burst, next_at
        """,
        list(rates),
        [float(per_s) for per_s in rates.values()],
    )
    held: dict[str, Bucket] = {}
    for row in rows:
        key, next_at = row["key"], row["next_at"]
        # The table keeps fewer digits.
        if not math.isclose(row["per_s"], rates[key], rel_tol=1e-9):
            await set_rate(tx, key, rates[key], row["burst"], at)
            next_at = await tx.fetchval("SELECT next_at FROM rate_buckets WHERE key = $1", key)
        held[key] = Bucket(key, rates[key], row["burst"], at if next_at is None or next_at < at else next_at)
    return held


def taking(buckets: Sequence[Bucket]) -> Statement[None]:
    """Make the statement that writes down what was taken of buckets that are held, for `Tx.together`."""

    async def finish(_: list[str]) -> None:
        return None

    return Statement(
        """
        UPDATE rate_buckets SET next_at = taken.next_at
        FROM unnest($1::text[], $2::timestamptz[]) AS taken (key, next_at) WHERE rate_buckets.key = taken.key
        RETURNING rate_buckets.key
        """,
        [[bucket.key for bucket in buckets], [bucket.next_at for bucket in buckets]],
        finish,
    )


async def next_places(tx: Tx, keys: Sequence[str]) -> dict[str, datetime]:
    """Return when the next place of keys would be, without holding it; keys that nobody waits for are absent."""
    rows = await tx.fetch(
        "SELECT key, next_at FROM rate_buckets WHERE key = ANY($1::text[]) AND next_at IS NOT NULL", list(keys)
    )
    return {row["key"]: row["next_at"] for row in rows}


async def set_rate(tx: Tx, key: str, per_s: float, burst: int, at: datetime | None = None) -> None:
    """Set the token bucket of a rate key: `per_s` tokens a second, `burst` at once.

    Jobs that wait for a place under the old rate are placed anew under the new one, in their order, from where the
    first of them is, or from `at` where that has gone by.
    """
    changed = await tx.fetchval(
        """
        INSERT INTO rate_buckets AS bucket (key, per_s, burst) VALUES ($1, $2::float8::numeric, $3)
        ON CONFLICT (key) DO UPDATE SET per_s = excluded.per_s, burst = excluded.burst,
            -- Where nobody waits, the old rate holds nobody back; for those who do, the next statement sets it.
            next_at = least(bucket.next_at, $4::timestamptz)
            WHERE (bucket.per_s, bucket.burst) <> (excluded.per_s, excluded.burst)
        RETURNING true
        """,
        key,
        float(per_s),
        burst,
        at,
    )
    if changed:
        await place_anew(tx, key, not_before=at)


async def place_anew(
    tx: Tx, key: str, *, not_before: datetime | None = None, begins_at: datetime | None = None
) -> None:
    """Give those who wait for a place new ones in their order.

    Shapes: the first keeps its own, but none before `not_before`, or has `begins_at`.
    """
    rows = await tx.fetch(
        """
        WITH waiting AS MATERIALIZED (
            SELECT id, cost, slot_at FROM jobs WHERE rate_key = $1 AND slot_at IS NOT NULL AND state = 'ready'
            FOR UPDATE SKIP LOCKED
        ), bucket AS (
            SELECT per_s::float8 AS per_s, burst FROM rate_buckets WHERE key = $1
        ), first AS (
            SELECT coalesce($3::timestamptz, greatest(slot_at, $2::timestamptz))
                   + make_interval(secs => greatest(burst - cost, 0) / per_s) AS arrives_at
            FROM waiting, bucket ORDER BY slot_at, id LIMIT 1
        ), placed AS (
            SELECT id, first.arrives_at + make_interval(secs =>
                       (sum(cost) OVER (ORDER BY slot_at, id) - cost - greatest(burst - cost, 0)) / per_s) AS place
            FROM waiting, first, bucket
        ), kept AS (
            UPDATE rate_buckets SET next_at = first.arrives_at + make_interval(secs =>
                       (SELECT sum(cost) FROM waiting) / bucket.per_s)
            FROM first, bucket WHERE key = $1
        )
        UPDATE jobs SET due_at = placed.place, slot_at = placed.place FROM placed WHERE jobs.id = placed.id
        RETURNING jobs.task, jobs.due_at
        """,
        key,
        not_before,
        begins_at,
    )
    soonest: dict[str, datetime | None] = {}
    for row in rows:
        known = soonest.get(row["task"])
        soonest[row["task"]] = row["due_at"] if known is None else min(known, row["due_at"])
    await announce(tx, soonest)


async def end_rate(tx: Tx, key: str, at: datetime) -> None:
    """Take a key's rate away: those who wait for a place go at once, in their order."""
    await tx.execute("DELETE FROM rate_buckets WHERE key = $1", key)
    rows = await tx.fetch(
        """
        UPDATE jobs SET due_at = least(slot_at, $2), slot_at = NULL, rate_key = NULL
        WHERE rate_key = $1 AND slot_at IS NOT NULL AND state = 'ready' RETURNING task
        """,
        key,
        at,
    )
    await announce(tx, {row["task"]: None for row in rows})


async def buckets_of(tx: Tx, keys: Sequence[str]) -> dict[str, tuple[float, datetime | None]]:
    """Return (tokens a second, next place) of those keys that have a bucket."""
    rows = await tx.fetch(
        "SELECT key, per_s::float8 AS per_s, next_at FROM rate_buckets WHERE key = ANY($1::text[])", list(keys)
    )
    return {row["key"]: (row["per_s"], row["next_at"]) for row in rows}


async def drop_queues(tx: Tx, prefix: str) -> None:
    """Remove every bucket whose key begins so, with the jobs that wait for a place there."""
    keys = await tx.fetch(
        """
        DELETE FROM rate_buckets WHERE key COLLATE "C" >= $1 AND key COLLATE "C" < $2 RETURNING key
        """,
        prefix,
        _after(prefix),
    )
    await tx.execute(
        "DELETE FROM jobs WHERE rate_key = ANY($1::text[]) AND slot_at IS NOT NULL AND state = 'ready'",
        [row["key"] for row in keys],
    )


async def keys_like(tx: Tx, prefix: str, *, after: str = "", limit: int = 1000) -> list[str]:
    """List the keys of buckets that begin so, in their order."""
    rows = await tx.fetch(
        """
        SELECT key FROM rate_buckets WHERE key COLLATE "C" > $1 AND key COLLATE "C" < $2
        ORDER BY key COLLATE "C" LIMIT $3
        """,
        max(prefix, after),
        _after(prefix),
        limit,
    )
    return [row["key"] for row in rows]


async def longest(
    tx: Tx, prefix: str, at: datetime, *, after: tuple[datetime, str] | None = None, limit: int = 50
) -> list[tuple[str, datetime]]:
    """List the queues that somebody waits in, by how long they last: (key, its next place)."""
    rows = await tx.fetch(
        """
        SELECT key, next_at FROM rate_buckets
        WHERE key COLLATE "C" >= $1 AND key COLLATE "C" < $2 AND next_at > $3
          AND ($4::timestamptz IS NULL OR (next_at, key COLLATE "C") < ($4, $5))
        ORDER BY next_at DESC, key COLLATE "C" DESC LIMIT $6
        """,
        prefix,
        _after(prefix),
        at,
        None if after is None else after[0],
        "" if after is None else after[1],
        limit,
    )
    return [(row["key"], row["next_at"]) for row in rows]


async def waiting_in(tx: Tx, keys: Sequence[str], items: str, most: int) -> dict[str, Row]:
    """Count who waits for a place under each key, among the first `most` jobs of it.

    Shapes: by key rows of jobs, things (what the payload lists under `items`), cost, oldest (when the first began to
    wait).
    """
    rows = await tx.fetch(
        """
        SELECT wanted.key, found.* FROM unnest($1::text[]) AS wanted (key), LATERAL (
            SELECT count(*) AS jobs, coalesce(sum(jsonb_array_length(payload->$2::text)), 0)::bigint AS things,
                   coalesce(sum(cost), 0)::bigint AS cost,
                   min(coalesce((payload->>'since')::timestamptz, created_at)) AS oldest
            FROM (SELECT payload, cost, created_at FROM jobs
                  WHERE rate_key = wanted.key AND slot_at IS NOT NULL AND state = 'ready' ORDER BY id LIMIT $3) AS first
        ) AS found
        """,
        list(keys),
        items,
        most,
    )
    return {row["key"]: row for row in rows}


def _after(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
