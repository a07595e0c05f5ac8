"""The ledger's SQL on funds, the journal and holds; `lease_store` has that on leases."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from onterms.core.db import Row, Tx
from onterms.engines.ledger.model import (
    FUNDS_ACCOUNTS,
    Balance,
    FundsKind,
    Hold,
    HoldKey,
    HoldRequest,
    HoldState,
    Line,
    Receivable,
    Transaction,
)

FundsKey = tuple[str, str]

_FOUND = "customer_sid, id, account_sid, currency, micros, purpose, state, captured, created_at"

# ---- funds and the journal


async def open_funds(
    tx: Tx, customer_sid: str, currency: str, kind: FundsKind, floor: int | None, at: datetime
) -> None:
    """Make a customer's funds, or give them another kind and floor."""
    await tx.execute(
        """
        INSERT INTO ledger_funds (customer_sid, currency, kind, floor, opened_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING
        """,
        customer_sid,
        currency,
        kind,
        floor,
        at,
    )
    # In statements of their own, so that the sum sees what was posted while this waited for the lock.
    await lock_funds(tx, [(customer_sid, currency)])
    await tx.execute(
        """
        UPDATE ledger_funds SET kind = $3, floor = $4, posted = -coalesce((
            SELECT sum(micros) FROM ledger_balances
            WHERE customer_sid = $1 AND currency = $2 AND account = ANY($5)
        ), 0)
        WHERE customer_sid = $1 AND currency = $2 AND (kind, floor) IS DISTINCT FROM ($3, $4)
        """,
        customer_sid,
        currency,
        kind,
        floor,
        FUNDS_ACCOUNTS[:1] if kind == "prepaid" else FUNDS_ACCOUNTS,
    )


async def lock_funds(tx: Tx, keys: Sequence[FundsKey]) -> dict[FundsKey, Row]:
    """Keep funds from others until the transaction ends and return kind, floor, posted, held."""
    rows = await tx.fetch(
        """
        SELECT customer_sid, currency, kind, floor, posted, held FROM ledger_funds
        WHERE (customer_sid, currency) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        ORDER BY customer_sid, currency FOR UPDATE
        """,
        [customer_sid for customer_sid, _ in keys],
        [currency for _, currency in keys],
    )
    return {(row["customer_sid"], row["currency"]): row for row in rows}


async def lock_funds_of(tx: Tx, customer_sids: Sequence[str]) -> dict[FundsKey, Row]:
    """Keep all funds of customers from others until the transaction ends."""
    rows = await tx.fetch(
        """
        SELECT customer_sid, currency, kind, floor, posted, held FROM ledger_funds
        WHERE customer_sid = ANY($1) ORDER BY customer_sid, currency FOR UPDATE
        """,
        customer_sids,
    )
    return {(row["customer_sid"], row["currency"]): row for row in rows}


async def funds_of(tx: Tx, customer_sid: str, currency: str | None) -> list[Balance]:
    """Read a customer's funds with the balances of its accounts, in one currency or all."""
    rows = await tx.fetch(
        """
        SELECT currency, kind, floor, posted, held, (
            SELECT coalesce(jsonb_object_agg(account, micros), '{}') FROM ledger_balances AS balance
            WHERE balance.customer_sid = funds.customer_sid AND balance.currency = funds.currency
        ) AS accounts
        FROM ledger_funds AS funds WHERE customer_sid = $1 AND ($2::text IS NULL OR currency = $2) ORDER BY currency
        """,
        customer_sid,
        currency,
    )
    return [
        Balance(
            customer_sid,
            row["currency"],
            row["kind"],
            row["posted"],
            row["held"],
            None if row["kind"] == "prepaid" or row["floor"] is None else -row["floor"],
            row["accounts"],
        )
        for row in rows
    ]


_POST = """
WITH wanted AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted(customer_sid, currency, freed)
), locked AS MATERIALIZED (
    SELECT funds.customer_sid, funds.currency, funds.kind, funds.alert_below, wanted.freed
    FROM ledger_funds AS funds JOIN wanted USING (customer_sid, currency)
    ORDER BY funds.customer_sid, funds.currency FOR UPDATE OF funds
), made AS (
    INSERT INTO ledger_transactions (customer_sid, key, kind, at, memo, body_sha256)
    SELECT customer_sid, key, kind, $4, memo::jsonb, body_sha256
    FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[])
         WITH ORDINALITY AS request(customer_sid, key, kind, memo, body_sha256, place)
    -- Locks first.
    WHERE (SELECT count(*) FROM locked) > 0
    ORDER BY place
    ON CONFLICT (customer_sid, key) DO NOTHING
    RETURNING customer_sid, id, key
), line AS MATERIALIZED (
    SELECT made.customer_sid, made.id, entry.place, entry.currency, entry.account, entry.micros, entry.document
    FROM unnest($10::text[], $11::text[], $12::smallint[], $13::text[], $14::text[], $15::bigint[], $16::text[])
         AS entry(customer_sid, key, place, currency, account, micros, document)
    JOIN made ON made.customer_sid = entry.customer_sid AND made.key = entry.key
), entered AS (
    INSERT INTO ledger_entries (customer_sid, transaction_id, place, currency, account, micros, document)
    SELECT * FROM line
), projected AS (
    INSERT INTO ledger_balances (customer_sid, currency, account, micros)
    SELECT customer_sid, currency, account, sum(micros) FROM line
    GROUP BY customer_sid, currency, account ORDER BY customer_sid, currency, account
    ON CONFLICT (customer_sid, currency, account) DO UPDATE SET micros = ledger_balances.micros + excluded.micros
), moved AS (
    UPDATE ledger_funds AS funds SET posted = funds.posted + change.posted, held = funds.held - change.freed,
        -- Told once: whoever is told sets it again.
        alert_below = CASE WHEN funds.posted + change.posted < funds.alert_below THEN NULL ELSE funds.alert_below END
    FROM (
        SELECT locked.customer_sid, locked.currency, locked.freed, locked.alert_below,
               -coalesce(sum(line.micros) FILTER (
                   WHERE line.account = 'prepaid_balance' OR (locked.kind = 'invoiced' AND line.account = ANY($17))
               ), 0)::bigint AS posted
        FROM locked LEFT JOIN line ON line.customer_sid = locked.customer_sid AND line.currency = locked.currency
        GROUP BY locked.customer_sid, locked.currency, locked.freed, locked.alert_below
    ) AS change
    WHERE funds.customer_sid = change.customer_sid AND funds.currency = change.currency
      AND (change.posted <> 0 OR change.freed <> 0)
    RETURNING funds.customer_sid, funds.currency, change.alert_below IS NOT NULL AND funds.alert_below IS NULL AS is_low
)
SELECT customer_sid, key, id, true AS is_transaction, false AS is_low FROM made
UNION ALL SELECT customer_sid, currency, 0, false, coalesce(moved.is_low, false)
FROM locked LEFT JOIN moved USING (customer_sid, currency)
"""


async def post(
    tx: Tx, transactions: Sequence[Transaction], funds: Sequence[FundsKey], freed: dict[FundsKey, int], at: datetime
) -> tuple[dict[tuple[str, str], int], set[FundsKey], list[FundsKey]]:
    """Insert what is new and move balances with it.

    Shapes: returns the ids by customer and key, which funds there are, and which fell below what is watched for.
    """
    entries = [
        (each.customer_sid, each.key, place, each.currency, entry)
        for each in transactions
        for place, entry in enumerate(each.posting.entries)
        if not entry.is_pending
    ]
    rows = await tx.fetch(
        _POST,
        [customer_sid for customer_sid, _ in funds],
        [currency for _, currency in funds],
        [freed.get(key, 0) for key in funds],
        at,
        [each.customer_sid for each in transactions],
        [each.key for each in transactions],
        [each.posting.kind for each in transactions],
        [msgspec.json.encode(each.memo).decode() for each in transactions],
        [each.body_sha256() for each in transactions],
        [customer_sid for customer_sid, *_ in entries],
        [key for _, key, *_ in entries],
        [place for _, _, place, _, _ in entries],
        [currency for _, _, _, currency, _ in entries],
        [entry.account for *_, entry in entries],
        [entry.micros for *_, entry in entries],
        [entry.document for *_, entry in entries],
        FUNDS_ACCOUNTS,
    )
    made = {(row["customer_sid"], row["key"]): row["id"] for row in rows if row["is_transaction"]}
    funds_rows = [row for row in rows if not row["is_transaction"]]
    low = [(row["customer_sid"], row["key"]) for row in funds_rows if row["is_low"]]
    return made, {(row["customer_sid"], row["key"]) for row in funds_rows}, low


async def set_alert(tx: Tx, customer_sid: str, currency: str, below: int | None) -> None:
    """Say below which amount of `posted` somebody is to be told, once, or that nobody is."""
    await tx.execute(
        "UPDATE ledger_funds SET alert_below = $3 WHERE customer_sid = $1 AND currency = $2 "
        "AND alert_below IS DISTINCT FROM $3",
        customer_sid,
        currency,
        below,
    )


async def transactions_by_key(
    tx: Tx, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[int, bytes, dict[str, object]]]:
    """Read id, hash and memo of transactions by customer and key."""
    rows = await tx.fetch(
        """
        SELECT customer_sid, key, id, body_sha256, memo FROM ledger_transactions
        WHERE (customer_sid, key) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        """,
        [customer_sid for customer_sid, _ in keys],
        [key for _, key in keys],
    )
    return {(row["customer_sid"], row["key"]): (row["id"], row["body_sha256"], row["memo"]) for row in rows}


async def lines(tx: Tx, customer_sid: str, account: str | None, after: tuple[int, int], limit: int) -> list[Line]:
    """Read a customer's entries in order."""
    rows = await tx.fetch(
        """
        SELECT entry.transaction_id, entry.place, made.at, made.kind, made.key, entry.currency, entry.account,
               entry.micros, entry.document, made.memo
        FROM ledger_entries AS entry JOIN ledger_transactions AS made
             ON made.customer_sid = entry.customer_sid AND made.id = entry.transaction_id
        WHERE entry.customer_sid = $1 AND (entry.transaction_id, entry.place) > ($3, $4::int)
          AND ($2::text IS NULL OR entry.account = $2)
        ORDER BY entry.transaction_id, entry.place LIMIT $5
        """,
        customer_sid,
        account,
        after[0],
        after[1],
        limit,
    )
    return [Line(**row) for row in rows]


async def receivables(tx: Tx, customer_sid: str) -> list[Receivable]:
    """Sum what is due by document."""
    rows = await tx.fetch(
        """
        SELECT document, currency,
               coalesce(sum(micros) FILTER (WHERE account = 'receivable'), 0)::bigint AS undisputed,
               coalesce(sum(micros) FILTER (WHERE account = 'receivable_disputed'), 0)::bigint AS disputed
        FROM ledger_entries WHERE customer_sid = $1 AND account IN ('receivable', 'receivable_disputed')
        GROUP BY document, currency
        HAVING sum(micros) FILTER (WHERE account = 'receivable') <> 0
            OR sum(micros) FILTER (WHERE account = 'receivable_disputed') <> 0
        ORDER BY document, currency
        """,
        customer_sid,
    )
    return [Receivable(**row) for row in rows]


# ---- holds

# tenant: a hold is its customer's, whose accounts share one balance.
_HOLD = """
WITH request AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::timestamptz[])
         AS request(customer_sid, id, account_sid, currency, micros, purpose, expires_at)
), locked AS MATERIALIZED (
    SELECT customer_sid, currency FROM ledger_funds
    WHERE (customer_sid, currency) IN (SELECT customer_sid, currency FROM request)
    ORDER BY customer_sid, currency FOR UPDATE
), fresh AS MATERIALIZED (
    SELECT * FROM request WHERE NOT EXISTS (
        SELECT FROM ledger_holds AS hold WHERE hold.customer_sid = request.customer_sid AND hold.id = request.id
    )
), wanted AS MATERIALIZED (
    SELECT customer_sid, currency, sum(micros)::bigint AS total FROM fresh JOIN locked USING (customer_sid, currency)
    GROUP BY customer_sid, currency
), admitted AS (
    -- The condition stands here and not on what was locked: PostgreSQL tests it on the row as this statement first saw
    -- it, together with the table's CHECKs, and again on the row as it is now.
    UPDATE ledger_funds AS funds SET held = funds.held + wanted.total FROM wanted
    WHERE funds.customer_sid = wanted.customer_sid AND funds.currency = wanted.currency
      AND (funds.floor IS NULL OR funds.posted - funds.held - wanted.total >= funds.floor)
    RETURNING funds.customer_sid, funds.currency
), made AS (
    INSERT INTO ledger_holds (customer_sid, id, account_sid, currency, micros, purpose, expires_at, created_at)
    SELECT customer_sid, id, account_sid, currency, micros, purpose, expires_at, $1
    FROM fresh JOIN admitted USING (customer_sid, currency) ORDER BY customer_sid, id
    ON CONFLICT DO NOTHING
    RETURNING customer_sid, id
)
SELECT fresh.customer_sid, fresh.id, fresh.currency, fresh.micros, made.id IS NOT NULL AS is_made
FROM fresh JOIN admitted USING (customer_sid, currency)
LEFT JOIN made ON made.customer_sid = fresh.customer_sid AND made.id = fresh.id
"""


async def insert_holds(tx: Tx, requests: Sequence[HoldRequest], at: datetime) -> set[HoldKey]:
    """Make the holds of all funds that cover all that is asked of them; return which were made."""
    rows = await tx.fetch(_HOLD, at, *_columns(requests))
    made = {HoldKey(row["customer_sid"], row["id"]) for row in rows if row["is_made"]}
    # Somebody made the same hold while this statement waited for the lock, after it had looked for it.
    twice: dict[FundsKey, int] = {}
    for row in rows:
        if not row["is_made"]:
            key = (row["customer_sid"], row["currency"])
            twice[key] = twice.get(key, 0) + row["micros"]
    for (customer_sid, currency), micros in twice.items():
        await add_held(tx, customer_sid, currency, -micros)
    return made


def _columns(requests: Sequence[HoldRequest]) -> tuple[list[object], ...]:
    return (
        [each.customer_sid for each in requests],
        [each.id for each in requests],
        [each.account_sid for each in requests],
        [each.currency for each in requests],
        [each.micros for each in requests],
        [each.purpose for each in requests],
        [each.expires_at for each in requests],
    )


async def add_held(tx: Tx, customer_sid: str, currency: str, micros: int) -> None:
    """Set more or less of funds aside."""
    await tx.execute(
        "UPDATE ledger_funds SET held = held + $3 WHERE customer_sid = $1 AND currency = $2",
        customer_sid,
        currency,
        micros,
    )


# tenant: a hold is its customer's, whose accounts share one balance.
async def holds_by_key(tx: Tx, keys: Sequence[HoldKey]) -> dict[HoldKey, Row]:
    """Read currency, micros, state and captured of holds."""
    rows = await tx.fetch(
        """
        SELECT customer_sid, id, currency, micros, extended, state, captured FROM ledger_holds
        WHERE (customer_sid, id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        """,
        [key.customer_sid for key in keys],
        [key.id for key in keys],
    )
    return {HoldKey(row["customer_sid"], row["id"]): row for row in rows}


# tenant: a hold is its customer's, whose accounts share one balance.
async def grow_hold(tx: Tx, key: HoldKey, by: int, expires_at: datetime) -> None:
    """Make an open hold larger and let it live longer."""
    await tx.execute(
        """
        UPDATE ledger_holds
        SET micros = micros + $3, extended = extended + $3, expires_at = greatest(expires_at, $4)
        WHERE customer_sid = $1 AND id = $2 AND state = 'held'
        """,
        key.customer_sid,
        key.id,
        by,
        expires_at,
    )


# tenant: a hold is its customer's, whose accounts share one balance.
_END = """
WITH request AS (
    SELECT * FROM unnest($4::text[], $5::text[], $6::bigint[], $7::text[])
         AS request(customer_sid, id, captured, ended_by)
), locked AS MATERIALIZED (
    SELECT customer_sid, currency, kind FROM ledger_funds
    WHERE customer_sid IN (SELECT customer_sid FROM request)
    ORDER BY customer_sid, currency FOR UPDATE
)
UPDATE ledger_holds AS hold
SET state = $1, ended_at = $2, captured = request.captured, ended_by = request.ended_by || ':' || hold.currency
FROM request JOIN locked ON locked.customer_sid = request.customer_sid
WHERE hold.customer_sid = request.customer_sid AND hold.id = request.id AND hold.currency = locked.currency
  AND hold.state = 'held' AND hold.micros >= request.captured AND ($3::timestamptz IS NULL OR hold.expires_at <= $3)
RETURNING hold.customer_sid, hold.id, hold.currency, hold.micros, locked.kind
"""


async def end_holds(
    tx: Tx,
    state: HoldState,
    ends: Sequence[tuple[HoldKey, int, str | None]],
    at: datetime,
    *,
    expired_at: datetime | None = None,
) -> dict[HoldKey, Row]:
    """End open holds and return currency, micros and the funds' kind of those that ended now.

    Shapes: ends as (key, captured, key of the transaction before its currency); funds stay locked and are not changed.
    """
    rows = await tx.fetch(
        _END,
        state,
        at,
        expired_at,
        [key.customer_sid for key, _, _ in ends],
        [key.id for key, _, _ in ends],
        [captured for _, captured, _ in ends],
        [ended_by for _, _, ended_by in ends],
    )
    return {HoldKey(row["customer_sid"], row["id"]): row for row in rows}


# tenant: a hold is its customer's, whose accounts share one balance.
async def find_holds(tx: Tx, keys: Sequence[HoldKey]) -> list[Hold]:
    """Return the holds there are of these keys."""
    rows = await tx.fetch(
        f"SELECT {_FOUND} FROM ledger_holds WHERE (customer_sid, id) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
        [key.customer_sid for key in keys],
        [key.id for key in keys],
    )
    return [Hold(**dict(row)) for row in rows]


# tenant: holds of all customers expire by one job.
async def overdue_holds(tx: Tx, purpose_prefix: str, at: datetime, limit: int) -> list[Hold]:
    """List open holds for a purpose whose time has come, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {_FOUND} FROM ledger_holds WHERE state = 'held' AND expires_at <= $1 AND starts_with(purpose, $2) "
        "ORDER BY expires_at LIMIT $3",
        at,
        purpose_prefix,
        limit,
    )
    return [Hold(**dict(row)) for row in rows]


# tenant: holds of all customers expire by one job.
async def expired_holds(tx: Tx, at: datetime, limit: int) -> list[HoldKey]:
    """List open holds whose time has come."""
    rows = await tx.fetch(
        """
        SELECT customer_sid, id FROM ledger_holds WHERE state = 'held' AND expires_at <= $1 ORDER BY expires_at LIMIT $2
        """,
        at,
        limit,
    )
    return [HoldKey(row["customer_sid"], row["id"]) for row in rows]
