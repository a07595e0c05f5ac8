"""The SQL of cases."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.business.cases.model import Case
from onterms.core.db import Row, Tx

# Said with the kind of each case that moves; what keeps cases in memory reads them again then.
CHANNEL = "onterms_cases"

_COLUMNS = "customer_sid, sid, kind, state, version, facts, opened_at, updated_at"


def _case(row: Row) -> Case:
    return Case(**dict(row))


async def insert(tx: Tx, customer_sid: str, case: Case) -> None:
    """Insert a new case."""
    await tx.execute(
        f"INSERT INTO cases ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        customer_sid,
        case.sid,
        case.kind,
        case.state,
        case.version,
        case.facts,
        case.opened_at,
        case.updated_at,
    )


async def update(
    tx: Tx, customer_sid: str, sid: str, state: str, version: int, facts: Mapping[str, Any], at: datetime
) -> None:
    """Write a case's new state."""
    await tx.execute(
        "UPDATE cases SET state = $3, version = $4, facts = $5, updated_at = $6 WHERE customer_sid = $1 AND sid = $2",
        customer_sid,
        sid,
        state,
        version,
        facts,
        at,
    )


async def fetch(tx: Tx, customer_sid: str, kind: str, sid: str, *, lock: bool = False) -> Case | None:
    """Return a case, locked until the transaction ends where it is about to move."""
    row = await tx.fetchrow(
        f"SELECT {_COLUMNS} FROM cases WHERE customer_sid = $1 AND kind = $2 AND sid = $3"
        + (" FOR UPDATE" if lock else ""),
        customer_sid,
        kind,
        sid,
    )
    return None if row is None else _case(row)


async def list_cases(
    tx: Tx, customer_sid: str, kind: str, states: Sequence[str] | None, after: str, limit: int
) -> list[Case]:
    """List a customer's cases of a kind, oldest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS} FROM cases
        WHERE customer_sid = $1 AND kind = $2 AND ($3::text[] IS NULL OR state = ANY($3)) AND sid > $4
        ORDER BY sid LIMIT $5
        """,
        customer_sid,
        kind,
        states,
        after,
        limit,
    )
    return [_case(row) for row in rows]


# tenant: the operator's queue shows every customer's cases
async def queue(tx: Tx, kind: str | None, state: str | None, after: str, limit: int) -> list[Case]:
    """List cases of all customers by SID."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS} FROM cases
        WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR state = $2) AND sid > $3 ORDER BY sid LIMIT $4
        """,
        kind,
        state,
        after,
        limit,
    )
    return [_case(row) for row in rows]


# tenant: the send path keeps what is in force for every customer in memory
async def in_states(tx: Tx, kind: str, states: Sequence[str]) -> list[Case]:
    """List the cases of all customers in some states, by SID."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM cases WHERE kind = $1 AND state = ANY($2::text[]) ORDER BY sid", kind, list(states)
    )
    return [_case(row) for row in rows]


async def tell(tx: Tx, kind: str) -> None:
    """Tell every process at commit that a case of a kind moved."""
    await tx.execute("SELECT pg_notify($1, $2)", CHANNEL, kind)
