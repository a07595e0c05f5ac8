"""What may be done with jobs from outside a worker: enqueue, cancel, replay, look."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import msgspec

from onterms.core.db import Database, Row, Statement, Tx
from onterms.engines.jobs.model import DeadLetter, Depth, Job, NewJob

CHANNEL = "onterms_jobs"


class LocalWorker(Protocol):
    """A worker in this process, as enqueue sees it."""

    @property
    def lease_id(self) -> int:
        """Return the id its leases carry."""
        ...

    def room(self, task: str) -> int | None:
        """Return how many jobs it can take in memory, or None when it does not serve the task."""
        ...

    def hand_over(self, lease_id: int, jobs: Sequence[Job]) -> None:
        """Take jobs that were inserted under this lease."""
        ...

    def expect(self, task: str) -> object:
        """Return what, while it is kept, says that a job of the task is on its way into the table."""
        ...

    def wake(self, task: str, due_at: datetime | None) -> None:
        """Look for jobs of the task at that time, or at once."""
        ...


_local: WeakKeyDictionary[Database, list[LocalWorker]] = WeakKeyDictionary()


def attach(database: Database, worker: LocalWorker) -> None:
    """Let transactions of this database hand jobs to the worker."""
    _local.setdefault(database, []).append(worker)


def detach(database: Database, worker: LocalWorker) -> None:
    """Hand no more jobs to the worker."""
    workers = _local.get(database, [])
    if worker in workers:
        workers.remove(worker)


_ENQUEUE = """
INSERT INTO jobs (task, account_sid, payload, order_key, rate_key, cost, due_at, created_at, leased_by, state, attempt,
                  slot_at)
SELECT task, account_sid, payload::jsonb, order_key, rate_key, cost, due_at, $8, leased_by,
       CASE WHEN leased_by IS NULL THEN 'ready' ELSE 'leased' END,
       CASE WHEN leased_by IS NULL THEN 0 ELSE 1 END,
       CASE WHEN has_place THEN due_at END
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::timestamptz[], $9::bigint[],
            $10::boolean[])
     WITH ORDINALITY
     AS job(task, account_sid, payload, order_key, rate_key, cost, due_at, leased_by, has_place, place)
ORDER BY place
RETURNING id
"""


async def enqueue(tx: Tx, jobs: Sequence[NewJob], at: datetime) -> list[int]:
    """Insert jobs with the caller's transaction and return their ids in the same order."""
    if not jobs:
        return []
    [ids] = await tx.together(enqueuing(tx, jobs, at))
    return list(ids)


def enqueuing(tx: Tx, jobs: Sequence[NewJob], at: datetime) -> Statement[list[int]]:
    """Make the statement that enqueues at least one job, for `Tx.together`; it returns their ids in the same order."""
    workers = list(_local.get(tx.database, ()))
    rooms: dict[tuple[int, str], int] = {}
    holders: list[LocalWorker | None] = []
    payloads: list[str] = []
    due: list[datetime] = []
    waiting: dict[str, datetime | None] = {}
    for job in jobs:
        payloads.append(msgspec.json.encode(job.payload).decode())
        due_at = at if job.due_at is None else job.due_at
        due.append(due_at)
        free = job.order_key is None and job.rate_key is None and due_at <= at
        holder = _find_room(workers, rooms, job.task) if free else None
        holders.append(holder)
        if holder is None:
            earlier = waiting.get(job.task, due_at)
            waiting[job.task] = None if earlier is None or due_at <= at else min(due_at, earlier)
    leases = [None if holder is None else holder.lease_id for holder in holders]
    expected = [worker.expect(task) for worker in workers for task, due_at in waiting.items() if due_at is None]

    async def finish(ids: list[int]) -> list[int]:
        handed: dict[tuple[int, int], tuple[LocalWorker, list[Job]]] = {}
        for id_, job, payload, due_at, holder, lease_id in zip(ids, jobs, payloads, due, holders, leases, strict=True):
            if holder is None or lease_id is None:
                continue
            made = Job(
                id=id_,
                task=job.task,
                # Decoded again, so that a handler sees the same value whichever way the job came to it.
                payload=msgspec.json.decode(payload),
                account_sid=job.account_sid,
                order_key=None,
                rate_key=None,
                cost=job.cost,
                due_at=due_at,
                attempt=1,
                created_at=at,
            )
            handed.setdefault((id(holder), lease_id), (holder, []))[1].append(made)
        for (_, lease_id), (holder, made_jobs) in handed.items():
            tx.after_commit(partial(holder.hand_over, lease_id, made_jobs))
        _wake_after_commit(tx, workers, waiting, expected)
        return ids

    return Statement(
        _ENQUEUE,
        [
            [job.task for job in jobs],
            [job.account_sid for job in jobs],
            payloads,
            [job.order_key for job in jobs],
            [job.rate_key for job in jobs],
            [job.cost for job in jobs],
            due,
            at,
            leases,
            [job.has_place for job in jobs],
        ],
        finish,
        notify=[(CHANNEL, task) for task in _abroad(workers, waiting)],
    )


def _find_room(workers: Sequence[LocalWorker], rooms: dict[tuple[int, str], int], task: str) -> LocalWorker | None:
    for place, worker in enumerate(workers):
        left = rooms.get((place, task))
        if left is None:
            left = worker.room(task) or 0
        if left > 0:
            rooms[place, task] = left - 1
            return worker
        rooms[place, task] = 0
    return None


async def announce(tx: Tx, tasks: dict[str, datetime | None]) -> None:
    """After the commit, tell whoever serves these tasks that jobs wait, at once (None) or from a time on."""
    if not tasks:
        return
    workers = list(_local.get(tx.database, ()))
    abroad = _abroad(workers, tasks)
    if abroad:
        await tx.execute("SELECT pg_notify($1, task) FROM unnest($2::text[]) AS task", CHANNEL, abroad)
    _wake_after_commit(tx, workers, tasks)


def _abroad(workers: Sequence[LocalWorker], tasks: Mapping[str, datetime | None]) -> list[str]:
    abroad: list[str] = []
    for task, due_at in tasks.items():
        rooms = [room for worker in workers if (room := worker.room(task)) is not None]
        # A NOTIFY takes a lock that lets only one such transaction commit at a time, so it is kept for jobs that no
        # worker of this process will take soon.
        if not rooms or (due_at is None and not any(rooms)):
            abroad.append(task)
    return abroad


def _wake_after_commit(
    tx: Tx, workers: Sequence[LocalWorker], tasks: Mapping[str, datetime | None], expected: Sequence[object] = ()
) -> None:
    if not workers or not tasks:
        return

    def wake(_expected: Sequence[object] = expected) -> None:
        # What was expected is kept until then, or until a rollback drops this.
        for worker in workers:
            for task, due_at in tasks.items():
                worker.wake(task, due_at)

    tx.after_commit(wake)


async def cancel(tx: Tx, ids: Sequence[int]) -> list[int]:
    """Delete jobs that have not been started and return which those were."""
    rows = await tx.fetch(
        "DELETE FROM jobs WHERE id = ANY($1::bigint[]) AND state = 'ready' RETURNING id, order_key", list(ids)
    )
    await announce_successors(tx, [row["order_key"] for row in rows if row["order_key"] is not None])
    return sorted(row["id"] for row in rows)


async def announce_successors(tx: Tx, order_keys: Sequence[str]) -> None:
    """Wake the tasks whose jobs stood behind these order keys."""
    if not order_keys:
        return
    rows = await tx.fetch(
        "SELECT DISTINCT task FROM jobs WHERE order_key = ANY($1::text[]) AND state = 'ready'", list(order_keys)
    )
    await announce(tx, {row["task"]: None for row in rows})


async def replay(tx: Tx, ids: Sequence[int]) -> list[int]:
    """Make dead jobs ready again with all their attempts, and return which those were."""
    rows = await tx.fetch(
        """
        UPDATE jobs SET state = 'ready', attempt = 0, lost = 0
        WHERE id = ANY($1::bigint[]) AND state = 'dead' RETURNING id, task
        """,
        list(ids),
    )
    await announce(tx, {row["task"]: None for row in rows})
    return sorted(row["id"] for row in rows)


async def dead_letters(
    tx: Tx, *, task: str | None = None, before_id: int | None = None, limit: int = 50
) -> list[DeadLetter]:
    """List jobs that were given up, newest first."""
    rows = await tx.fetch(
        """
        SELECT id, task, payload, account_sid, order_key, rate_key, cost, due_at, attempt, created_at, error
        FROM jobs
        WHERE state = 'dead' AND ($1::text IS NULL OR task = $1) AND ($2::bigint IS NULL OR id < $2)
        ORDER BY id DESC LIMIT $3
        """,
        task,
        before_id,
        limit,
    )
    return [DeadLetter(job_of(row), row["error"] or "") for row in rows]


async def pending(
    tx: Tx,
    without: Sequence[str],
    *,
    customer_sid: str | None = None,
    task: str | None = None,
    after: tuple[datetime, int] | None = None,
    limit: int = 50,
) -> list[Job]:
    """List jobs that wait, soonest first, but for the tasks that begin with one of the given words.

    Shapes: of a customer, those whose payload names it. `after` is the due time and id of the last one seen.
    """
    rows = await tx.fetch(
        """
        SELECT id, task, payload, account_sid, order_key, rate_key, cost, due_at, attempt, created_at
        FROM jobs
        WHERE state <> 'dead' AND NOT EXISTS (SELECT FROM unnest($1::text[]) AS word WHERE starts_with(task, word))
          AND ($2::text IS NULL OR payload->>'customer_sid' = $2) AND ($3::text IS NULL OR task = $3)
          AND ($4::timestamptz IS NULL OR (due_at, id) > ($4, $5))
        ORDER BY due_at, id LIMIT $6
        """,
        list(without),
        customer_sid,
        task,
        None if after is None else after[0],
        None if after is None else after[1],
        limit,
    )
    return [job_of(row) for row in rows]


async def depth(tx: Tx, at: datetime) -> list[Depth]:
    """Count jobs by task and state."""
    rows = await tx.fetch(
        """
        SELECT task,
               count(*) FILTER (WHERE state = 'ready' AND due_at <= $1) AS ready,
               count(*) FILTER (WHERE state = 'ready' AND due_at > $1) AS delayed,
               count(*) FILTER (WHERE state = 'leased') AS leased,
               count(*) FILTER (WHERE state = 'dead') AS dead,
               min(due_at) FILTER (WHERE state = 'ready') AS oldest_due
        FROM jobs GROUP BY task ORDER BY task
        """,
        at,
    )
    return [Depth(**dict(row)) for row in rows]


def job_of(row: Row | dict[str, Any]) -> Job:
    """Make a Job of a row of the table."""
    return Job(
        id=row["id"],
        task=row["task"],
        payload=row["payload"],
        account_sid=row["account_sid"],
        order_key=row["order_key"],
        rate_key=row["rate_key"],
        cost=row["cost"],
        due_at=row["due_at"],
        attempt=row["attempt"],
        created_at=row["created_at"],
    )
