"""The worker's SQL: leases, claims, token buckets and the three ends of an attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from onterms.core.db import Row, Statement, Tx
from onterms.engines.jobs.model import Job, LeaseLost
from onterms.engines.jobs.places import place_anew
from onterms.engines.jobs.queue import announce, announce_successors, job_of

# Claims of jobs with an order or rate key take turns under this lock ("jobs" in ASCII).
_KEYED_CLAIMS = 0x6A6F6273

# A job that was held by so many workers when they died is taken to be what killed them.
LOST_MAX = 20

# Ours: who comes so late to a place in a queue, after an outage, does not go with all the others who are late.
LATE = timedelta(seconds=10)

# A job behind another of its order key cannot run, whatever its own due time.
IN_TURN = """
    (job.order_key IS NULL OR (
        NOT EXISTS (SELECT FROM jobs AS other
                    WHERE other.order_key = job.order_key AND other.state <> 'dead' AND other.id < job.id)
        AND NOT EXISTS (SELECT FROM jobs AS other
                        WHERE other.order_key = job.order_key AND other.state = 'leased' AND other.id > job.id)))
"""


# How many accounts have their turn in one claim.
TURNS_MAX = 200

_FIRST_DUE = f"""
    SELECT id FROM jobs AS job
    WHERE task = $1 AND state = 'ready' AND due_at <= $2
      AND ($5 OR (order_key IS NULL AND rate_key IS NULL)) AND {IN_TURN}
    ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
"""
# The recursion steps from account to account by the index, whatever lies between. Everybody's first job goes before
# anybody's second.
_IN_TURNS = f"""
    WITH RECURSIVE visited (sid, place) AS (
        (SELECT account_sid, 1 FROM jobs
         WHERE task = $1 AND state = 'ready' AND account_sid > $6 ORDER BY account_sid LIMIT 1)
        UNION ALL
        SELECT (SELECT account_sid FROM jobs
                WHERE task = $1 AND state = 'ready' AND account_sid > visited.sid ORDER BY account_sid LIMIT 1),
               place + 1
        FROM visited WHERE visited.sid IS NOT NULL AND place < $7
    ), shares AS MATERIALIZED (
        SELECT due.id, due.due_at, row_number() OVER (PARTITION BY visited.sid ORDER BY due.due_at, due.id) AS turn
        FROM visited, LATERAL (
            SELECT id, due_at FROM jobs AS job
            WHERE task = $1 AND account_sid = visited.sid AND state = 'ready' AND due_at <= $2
              AND ($5 OR (order_key IS NULL AND rate_key IS NULL)) AND {IN_TURN}
            ORDER BY due_at, id LIMIT $3) AS due
    ), chosen AS MATERIALIZED (
        SELECT id FROM shares ORDER BY turn, due_at, id LIMIT $3
    )
    SELECT id FROM jobs WHERE id = ANY(ARRAY(SELECT id FROM chosen)) AND state = 'ready' FOR UPDATE SKIP LOCKED
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim found.

    Shapes: there may be more due when is_full; next_due is the earliest due time still ahead.
    """

    jobs: list[Job]
    is_full: bool
    next_due: datetime | None


# Leases are the one thing here that does not follow the business clock. A sandbox may advance its clock by 90 days in
# one step, and no running job may lose its lease by that; so leases are set and compared with the database's
# clock_timestamp(), which is also the one clock that all workers share.


async def register_worker(tx: Tx, name: str, boot_id: UUID, lease_s: float) -> int:
    """Take the name over from an earlier boot, free what that one held, and return the new lease's id."""
    await tx.execute("DELETE FROM job_workers WHERE name = $1", name)
    lease_id: int = await tx.fetchval(
        """
        INSERT INTO job_workers (name, boot_id, lease_until)
        VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3)) RETURNING id
        """,
        name,
        boot_id,
        lease_s,
    )
    await free_abandoned(tx)
    return lease_id


async def renew_lease(tx: Tx, lease_id: int, lease_s: float) -> bool:
    """Push the lease's end and return whether it was still ours."""
    count = await tx.execute(
        "UPDATE job_workers SET lease_until = clock_timestamp() + make_interval(secs => $2) WHERE id = $1",
        lease_id,
        lease_s,
    )
    return count == 1


async def free_abandoned(tx: Tx) -> None:
    """Free the jobs of workers whose lease ran out or who are gone."""
    await tx.execute("DELETE FROM job_workers WHERE lease_until < clock_timestamp()")
    rows = await tx.fetch(
        """
        UPDATE jobs
        SET leased_by = NULL, lost = lost + 1,
            state = CASE WHEN lost + 1 >= $1 THEN 'dead' ELSE 'ready' END,
            error = CASE WHEN lost + 1 >= $1 THEN 'every worker that held this job was lost' ELSE error END
        WHERE state = 'leased' AND NOT EXISTS (SELECT FROM job_workers WHERE job_workers.id = jobs.leased_by)
        RETURNING task
        """,
        LOST_MAX,
    )
    await announce(tx, {row["task"]: None for row in rows})


async def leased_ids(tx: Tx, lease_id: int) -> list[int]:
    """List the jobs the table says are held under a lease."""
    rows = await tx.fetch("SELECT id FROM jobs WHERE state = 'leased' AND leased_by = $1", lease_id)
    return [row["id"] for row in rows]


async def release(tx: Tx, lease_id: int, ids: Sequence[int], *, begun: Sequence[int] = ()) -> None:
    """Put jobs back; the attempt counts only for those that were begun."""
    rows = await tx.fetch(
        """
        UPDATE jobs
        SET state = 'ready', leased_by = NULL,
            attempt = CASE WHEN id = ANY($3::bigint[]) THEN attempt ELSE attempt - 1 END
        WHERE id = ANY($2::bigint[]) AND state = 'leased' AND leased_by = $1
        RETURNING task
        """,
        lease_id,
        list(ids),
        list(begun),
    )
    await announce(tx, {row["task"]: None for row in rows})


async def remove_worker(tx: Tx, lease_id: int) -> None:
    """End a lease."""
    await tx.execute("DELETE FROM job_workers WHERE id = $1", lease_id)


async def claim(
    tx: Tx, lease_id: int, task: str, at: datetime, limit: int, *, turns_after: str | None = None
) -> Claimed:
    """Lease jobs that are due, in turn and within their rate.

    Shapes: with `turns_after` accounts take turns, those first that come after that SID; each has its share.
    """
    # One at a time: under two snapshots taken side by side, two workers could each find a different job of one order
    # key to be the first, or take places in a token bucket out of order. The lock comes before the claiming statement
    # because each statement has its own snapshot.
    keyed: bool = await tx.fetchval(
        """
        SELECT EXISTS (SELECT FROM jobs WHERE task = $1 AND state = 'ready' AND due_at <= $2
                       AND (order_key IS NOT NULL OR rate_key IS NOT NULL))
        """,
        task,
        at,
    )
    if keyed:
        await tx.execute("SELECT pg_advisory_xact_lock($1)", _KEYED_CLAIMS)
    # The array forces a look-up by primary key; a join may be planned as a scan while the statistics lag behind.
    rows = await tx.fetch(
        f"""
        UPDATE jobs SET state = 'leased', leased_by = $4, attempt = attempt + 1
        WHERE id = ANY(ARRAY({_FIRST_DUE if turns_after is None else _IN_TURNS}))
        RETURNING id, task, payload, account_sid, order_key, rate_key, cost, due_at, attempt, created_at, slot_at
        """,
        task,
        at,
        limit,
        lease_id,
        keyed,
        *(() if turns_after is None else (turns_after, TURNS_MAX)),
    )
    rows.sort(key=lambda row: (row["due_at"], row["id"]))
    rated = [row for row in rows if row["rate_key"] is not None and row["slot_at"] is None]
    postponed = await _take_places(tx, rated, at) if rated else set()
    late_keys = {row["rate_key"] for row in rows if row["slot_at"] is not None and row["slot_at"] < at - LATE}
    if late_keys:
        late = [row for row in rows if row["slot_at"] is not None and row["rate_key"] in late_keys]
        postponed |= await _come_late(tx, late, at)
    next_due = await tx.fetchval(
        # Not min(): with lagging statistics that is planned as a walk over all delayed jobs.
        """
        SELECT due_at FROM jobs WHERE task = $1 AND state = 'ready' AND due_at > $2
        ORDER BY due_at, id LIMIT 1
        """,
        task,
        at,
    )
    jobs = [job_of(row) for row in rows if row["id"] not in postponed]
    return Claimed(jobs, is_full=len(rows) == limit, next_due=next_due)


async def _take_places(tx: Tx, rows: Sequence[Row], at: datetime) -> set[int]:
    """Take tokens in order; put back the jobs whose place lies ahead and return their ids.

    Each place is paid for when it is taken, so a job is postponed once and then runs without asking again.
    """
    buckets = {
        row["key"]: row
        for row in await tx.fetch(
            "SELECT key, per_s, burst, next_at FROM rate_buckets WHERE key = ANY($1::text[]) ORDER BY key FOR UPDATE",
            sorted({row["rate_key"] for row in rows}),
        )
    }
    arrivals: dict[str, datetime] = {}
    places: dict[int, datetime] = {}
    for row in rows:
        bucket = buckets.get(row["rate_key"])
        if bucket is None:
            continue
        per_s = float(bucket["per_s"])
        arrival = max(arrivals.get(row["rate_key"]) or bucket["next_at"] or at, at)
        # A job dearer than the whole bucket goes when the bucket is full.
        ahead_s = max(bucket["burst"] - row["cost"], 0) / per_s
        place = arrival - timedelta(seconds=ahead_s)
        arrivals[row["rate_key"]] = arrival + timedelta(seconds=row["cost"] / per_s)
        if place > at:
            places[row["id"]] = place
    if arrivals:
        await tx.execute(
            """
            UPDATE rate_buckets SET next_at = taken.next_at
            FROM unnest($1::text[], $2::timestamptz[]) AS taken(key, next_at) WHERE rate_buckets.key = taken.key
            """,
            list(arrivals),
            list(arrivals.values()),
        )
    if places:
        await tx.execute(
            """
            UPDATE jobs
            SET state = 'ready', leased_by = NULL, attempt = attempt - 1, due_at = place.at, slot_at = place.at
            FROM unnest($1::bigint[], $2::timestamptz[]) AS place(id, at) WHERE jobs.id = place.id
            """,
            list(places),
            list(places.values()),
        )
    return set(places)


async def _come_late(tx: Tx, rows: Sequence[Row], at: datetime) -> set[int]:
    """Put jobs back whose places went by unused, with all behind them, so that the rate holds from now on."""
    ids = [row["id"] for row in rows]
    # Their places still say in which order they stand.
    await tx.execute(
        "UPDATE jobs SET state = 'ready', leased_by = NULL, attempt = attempt - 1 WHERE id = ANY($1::bigint[])", ids
    )
    keys = sorted({row["rate_key"] for row in rows})
    buckets = await tx.fetch("SELECT key FROM rate_buckets WHERE key = ANY($1::text[]) ORDER BY key FOR UPDATE", keys)
    for bucket in buckets:
        await place_anew(tx, bucket["key"], begins_at=at)
    known = {bucket["key"] for bucket in buckets}
    unbound = [row["id"] for row in rows if row["rate_key"] not in known]
    if unbound:
        # Nobody limits them any more.
        await tx.execute("UPDATE jobs SET slot_at = NULL, rate_key = NULL WHERE id = ANY($1::bigint[])", unbound)
        await announce(tx, {rows[0]["task"]: None})
    return set(ids)


async def next_turn(tx: Tx, task: str, after: str) -> str:
    """Return the account after which the turns of the claim after this one begin, "" to begin anew."""
    found: str | None = await tx.fetchval(
        """
        WITH RECURSIVE visited (sid, place) AS (
            (SELECT account_sid, 1 FROM jobs
             WHERE task = $1 AND state = 'ready' AND account_sid > $2 ORDER BY account_sid LIMIT 1)
            UNION ALL
            SELECT (SELECT account_sid FROM jobs
                    WHERE task = $1 AND state = 'ready' AND account_sid > visited.sid ORDER BY account_sid LIMIT 1),
                   place + 1
            FROM visited WHERE visited.sid IS NOT NULL AND place < $3
        ) SELECT sid FROM visited WHERE place = $3
        """,
        task,
        after,
        TURNS_MAX,
    )
    return found or ""


async def has_due(tx: Tx, tasks: Sequence[str], at: datetime) -> bool:
    """Tell whether a job of these tasks is held by anybody or could run now."""
    found: bool = await tx.fetchval(
        f"""
        SELECT EXISTS (SELECT FROM jobs WHERE task = ANY($1::text[]) AND state = 'leased')
            OR EXISTS (SELECT FROM jobs AS job
                       WHERE task = ANY($1::text[]) AND state = 'ready' AND due_at <= $2 AND {IN_TURN})
        """,
        list(tasks),
        at,
    )
    return found


async def next_due(tx: Tx, tasks: Sequence[str]) -> datetime | None:
    """Return the earliest time at which a job of these tasks can run."""
    found: datetime | None = await tx.fetchval(
        f"""
        SELECT min(first.due_at) FROM unnest($1::text[]) AS served(task), LATERAL (
            SELECT due_at FROM jobs AS job WHERE job.task = served.task AND state = 'ready' AND {IN_TURN}
            ORDER BY due_at, id LIMIT 1) AS first
        """,
        list(tasks),
    )
    return found


_COMPLETE = "DELETE FROM jobs WHERE id = ANY($1::bigint[]) AND state = 'leased' AND leased_by = $2"


async def complete(tx: Tx, lease_id: int, jobs: Sequence[Job]) -> None:
    """Delete jobs that are done.

    Raises: LeaseLost when another worker holds one of them.
    """
    count = await tx.execute(_COMPLETE, [job.id for job in jobs], lease_id)
    _require_all(count, jobs)
    await announce_successors(tx, _order_keys(jobs))


async def keep(tx: Tx, lease_id: int, job: Job, payload: dict[str, Any]) -> None:
    """Give a running job another payload.

    Raises: LeaseLost when another worker holds it.
    """
    count = await tx.execute(
        "UPDATE jobs SET payload = $3 WHERE id = $1 AND state = 'leased' AND leased_by = $2", job.id, lease_id, payload
    )
    _require_all(count, [job])


def completing(lease_id: int, jobs: Sequence[Job]) -> Statement[None]:
    """Make the statement that deletes jobs that are done and have no order key; it may raise LeaseLost."""

    async def finish(ids: list[int]) -> None:
        _require_all(len(ids), jobs)

    assert not _order_keys(jobs), "who comes after them is to be told"
    return Statement(_COMPLETE + " RETURNING id", [[job.id for job in jobs], lease_id], finish)


async def retry(tx: Tx, lease_id: int, job: Job, due_at: datetime, error: str) -> None:
    """Put a job back for another attempt.

    Raises: LeaseLost when another worker holds it.
    """
    count = await tx.execute(
        """
        UPDATE jobs SET state = 'ready', leased_by = NULL, due_at = $3, slot_at = NULL, error = $4
        WHERE id = $1 AND state = 'leased' AND leased_by = $2
        """,
        job.id,
        lease_id,
        due_at,
        error,
    )
    _require_all(count, [job])
    await announce(tx, {job.task: due_at})


async def bury(tx: Tx, lease_id: int, job: Job, error: str) -> None:
    """Give a job up.

    Raises: LeaseLost when another worker holds it.
    """
    count = await tx.execute(
        """
        UPDATE jobs SET state = 'dead', leased_by = NULL, slot_at = NULL, error = $3
        WHERE id = $1 AND state = 'leased' AND leased_by = $2
        """,
        job.id,
        lease_id,
        error,
    )
    _require_all(count, [job])
    await announce_successors(tx, _order_keys([job]))


def _require_all(count: int, jobs: Sequence[Job]) -> None:
    if count != len(jobs):
        raise LeaseLost(f"{len(jobs) - count} of {len(jobs)} jobs are no longer held here")


def _order_keys(jobs: Sequence[Job]) -> list[str]:
    return [job.order_key for job in jobs if job.order_key is not None]
