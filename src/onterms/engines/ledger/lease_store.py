"""The ledger's SQL on leases."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from onterms.core.db import AtOnce, Expectation, Statement, Tx
from onterms.engines.ledger.model import HoldKey, HoldRequest
from onterms.engines.ledger.store import FundsKey, add_held, lock_funds

# How long one transaction waits for another that spends a lease: many times what one of ours takes, and less than
# PostgreSQL's deadlock_timeout of 1 s, because a transaction that spends may be waiting for the funds held here.
_BUSY_TIMEOUT_MS = 250

# tenant: a hold is its customer's, whose accounts share one balance.
_SPEND = """
WITH request AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::timestamptz[],
                         $9::bigint[])
         AS request(customer_sid, id, account_sid, currency, micros, purpose, expires_at, lease_id)
), lease AS MATERIALIZED (
    SELECT customer_sid, id AS lease_id FROM ledger_leases
    WHERE (customer_sid, id) IN (SELECT DISTINCT customer_sid, lease_id FROM request)
    ORDER BY customer_sid, id FOR KEY SHARE
), made AS (
    INSERT INTO ledger_holds
        (customer_sid, id, account_sid, currency, micros, purpose, expires_at, created_at, lease_id)
    SELECT customer_sid, id, account_sid, currency, micros, purpose, expires_at, $1, lease_id
    FROM request JOIN lease USING (customer_sid, lease_id) ORDER BY customer_sid, id
    ON CONFLICT DO NOTHING
    RETURNING customer_sid, id, lease_id, micros
), spent AS (
    INSERT INTO ledger_lease_spending (customer_sid, lease_id, micros)
    SELECT customer_sid, lease_id, sum(micros) FROM made GROUP BY customer_sid, lease_id
)
SELECT customer_sid, id, pg_current_xact_id()::text AS xid FROM made
"""


# The holds of a statement that does other things with them, and nothing at all where a lease is gone or a hold exists.
_SPENDING_LEASE = """
SELECT customer_sid, id AS lease_id FROM ledger_leases
WHERE (customer_sid, id) IN (SELECT DISTINCT * FROM unnest($2::text[], $9::bigint[]))
ORDER BY customer_sid, id FOR KEY SHARE
"""
_SPENDING_MADE = """
INSERT INTO ledger_holds (customer_sid, id, account_sid, currency, micros, purpose, expires_at, created_at, lease_id)
SELECT customer_sid, id, account_sid, currency, micros, purpose, expires_at, $1, lease_id
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::timestamptz[], $9::bigint[])
     AS request(customer_sid, id, account_sid, currency, micros, purpose, expires_at, lease_id)
JOIN ledger_spending_lease USING (customer_sid, lease_id)
RETURNING customer_sid, lease_id, micros
"""
_SPENDING = """
INSERT INTO ledger_lease_spending (customer_sid, lease_id, micros)
SELECT customer_sid, lease_id, sum(micros) FROM ledger_spending_made GROUP BY customer_sid, lease_id
RETURNING micros
"""


class Taken(NamedTuple):
    """A lease with more in it."""

    id: int
    micros: int


async def spend(tx: Tx, requests: Sequence[tuple[HoldRequest, int]], at: datetime) -> tuple[set[HoldKey], str | None]:
    """Insert holds that come out of leases; return those that were made and the transaction's id.

    Shapes: requests with their lease's id. A hold is not made where it exists or its lease is gone.
    """
    rows = await tx.fetch(_SPEND, *_spend_args(requests, at))
    return {HoldKey(row["customer_sid"], row["id"]) for row in rows}, rows[0]["xid"] if rows else None


_NOT_ALL_MADE = "SELECT FROM (SELECT count(*) AS made FROM ledger_spending_made) AS holds WHERE made <> $1::bigint"


def _spend_args(requests: Sequence[tuple[HoldRequest, int]], at: datetime) -> list[Any]:
    return [
        at,
        [each.customer_sid for each, _ in requests],
        [each.id for each, _ in requests],
        [each.account_sid for each, _ in requests],
        [each.currency for each, _ in requests],
        [each.micros for each, _ in requests],
        [each.purpose for each, _ in requests],
        [each.expires_at for each, _ in requests],
        [lease_id for _, lease_id in requests],
    ]


def spend_at_once(tx: AtOnce, requests: Sequence[tuple[HoldRequest, int]], at: datetime) -> None:
    """Insert holds that come out of leases with whatever else is done at once, or let nothing of it be done."""
    tx.defer(_spending(requests, at))
    tx.expect_none(Expectation(_NOT_ALL_MADE, [len(requests)]))


def _spending(requests: Sequence[tuple[HoldRequest, int]], at: datetime) -> Statement[list[int]]:
    async def finish(spent: list[int]) -> list[int]:
        return spent

    return Statement(
        _SPENDING,
        _spend_args(requests, at),
        finish,
        before=(("ledger_spending_lease", _SPENDING_LEASE), ("ledger_spending_made", _SPENDING_MADE)),
    )


async def take(
    tx: Tx, key: FundsKey, worker: str, lease_id: int | None, unit: int, chunk_max: int, good_until: datetime
) -> Taken | None:
    """Hold a chunk of funds for a worker, in the lease it has or a new one; None where little is left.

    Shapes: the chunk is a quarter of the worker's share of what is available, at most chunk_max. Less than a unit is no
    chunk: near the end the balance must not lie parked.
    """
    funds = (await lock_funds(tx, [key])).get(key)
    if funds is None:
        return None
    customer_sid, currency = key
    chunk = chunk_max
    if funds["floor"] is not None:
        available = funds["posted"] - funds["held"] - funds["floor"]
        workers = await tx.fetchval(
            """
            SELECT count(DISTINCT worker) FROM ledger_leases
            WHERE customer_sid = $1 AND currency = $2 AND worker <> $3
            """,
            customer_sid,
            currency,
            worker,
        )
        chunk = min(chunk_max, available // (4 * (workers + 1)))
        if chunk < unit:
            return None
    await add_held(tx, customer_sid, currency, chunk)
    # The key stays the same, so this waits for nobody who spends.
    found = await tx.fetchval(
        """
        UPDATE ledger_leases SET chunk = chunk + $3, good_until = $4 WHERE customer_sid = $1 AND id = $2 RETURNING id
        """,
        customer_sid,
        lease_id,
        chunk,
        good_until,
    )
    if found is None:
        found = await tx.fetchval(
            """
            INSERT INTO ledger_leases (customer_sid, currency, worker, chunk, good_until) VALUES ($1, $2, $3, $4, $5)
            RETURNING id
            """,
            customer_sid,
            currency,
            worker,
            chunk,
            good_until,
        )
    return Taken(found, chunk)


async def give_back(tx: Tx, key: FundsKey, ids: Sequence[int] | None = None, *, is_patient: bool = False) -> list[int]:
    """Return what is left of leases, all of the funds' or some, to the funds; return which ended.

    Shapes: a lease that a running transaction spends is left alone, or waited for a moment.
    """
    if not await lock_funds(tx, [key]):
        return []
    ended = await _delete(tx, key, ids, "SKIP LOCKED")
    if is_patient and await existing(tx, key, ids):
        ended |= await _wait_and_delete(tx, key, ids)
    if not ended:
        return []
    # A statement of its own: it has to see what the last spender committed just before the lease was free to delete.
    spent: int = await tx.fetchval(
        """
        WITH spent AS (
            DELETE FROM ledger_lease_spending WHERE customer_sid = $1 AND lease_id = ANY($2) RETURNING micros
        ) SELECT coalesce(sum(micros), 0)::bigint FROM spent
        """,
        key[0],
        list(ended),
    )
    await add_held(tx, *key, spent - sum(ended.values()))
    return sorted(ended)


async def _delete(tx: Tx, key: FundsKey, ids: Sequence[int] | None, waiting: str) -> dict[int, int]:
    rows = await tx.fetch(
        f"""
        DELETE FROM ledger_leases WHERE customer_sid = $1 AND id IN (
            SELECT id FROM ledger_leases
            WHERE customer_sid = $1 AND currency = $2 AND ($3::bigint[] IS NULL OR id = ANY($3))
            ORDER BY id FOR UPDATE {waiting}
        ) RETURNING id, chunk
        """,
        *key,
        ids,
    )
    return {row["id"]: row["chunk"] for row in rows}


async def _wait_and_delete(tx: Tx, key: FundsKey, ids: Sequence[int] | None) -> dict[int, int]:
    before: str = await tx.fetchval("SELECT current_setting('lock_timeout')")
    try:
        async with tx.savepoint():
            await tx.fetchval("SELECT set_config('lock_timeout', $1, true)", f"{_BUSY_TIMEOUT_MS}ms")
            ended = await _delete(tx, key, ids, "")
            await tx.fetchval("SELECT set_config('lock_timeout', $1, true)", before)
            return ended
    except asyncpg.LockNotAvailableError:
        return {}


async def existing(tx: Tx, key: FundsKey, ids: Sequence[int] | None) -> list[int]:
    """List the leases there are of funds, all or among some."""
    rows = await tx.fetch(
        """
        SELECT id FROM ledger_leases
        WHERE customer_sid = $1 AND currency = $2 AND ($3::bigint[] IS NULL OR id = ANY($3)) ORDER BY id
        """,
        *key,
        ids,
    )
    return [row["id"] for row in rows]


async def renew(tx: Tx, leases: Mapping[int, str], good_until: datetime) -> None:
    """Say that the worker of these leases is alive.

    Shapes: leases as id -> customer.
    """
    # A lease that somebody is just ending needs no renewal and must not be waited for.
    await tx.execute(
        """
        UPDATE ledger_leases SET good_until = $3 WHERE (customer_sid, id) IN (
            SELECT customer_sid, id FROM ledger_leases
            WHERE (customer_sid, id) IN (SELECT * FROM unnest($1::text[], $2::bigint[]))
            FOR NO KEY UPDATE SKIP LOCKED
        )
        """,
        list(leases.values()),
        list(leases),
        good_until,
    )


async def abandoned(tx: Tx, worker: str | None, at: datetime, limit: int) -> dict[FundsKey, list[int]]:
    """List leases, by their funds, whose worker was not heard of in time, or that have this worker's name."""
    rows = await tx.fetch(
        """
        SELECT customer_sid, currency, id FROM ledger_leases WHERE good_until <= $1 OR worker = $2
        ORDER BY customer_sid, currency, id LIMIT $3
        """,
        at,
        worker,
        limit,
    )
    found: dict[FundsKey, list[int]] = {}
    for row in rows:
        found.setdefault((row["customer_sid"], row["currency"]), []).append(row["id"])
    return found


async def statuses(tx: Tx, xids: Sequence[str]) -> dict[str, str | None]:
    """Tell of transactions whether they are committed, aborted or in progress."""
    rows = await tx.fetch("SELECT xid, pg_xact_status(xid::xid8) AS status FROM unnest($1::text[]) AS xid", xids)
    return {row["xid"]: row["status"] for row in rows}
