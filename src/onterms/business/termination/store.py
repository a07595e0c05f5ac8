"""The SQL of this room's own table."""

from datetime import datetime

from onterms.core.db import Tx


async def insert_end(tx: Tx, customer_sid: str, case_sid: str, kind: str, at: datetime) -> bool:
    """Record that an agreement has ended, and tell whether it had not before."""
    sql = (
        "INSERT INTO agreement_ends VALUES ($1, $2, $3, $4) ON CONFLICT (customer_sid) DO NOTHING "
        "RETURNING customer_sid"
    )
    return await tx.fetchval(sql, customer_sid, case_sid, kind, at) is not None


async def ended_at(tx: Tx, customer_sid: str) -> datetime | None:
    """Return when an agreement ended, or None."""
    found: datetime | None = await tx.fetchval(
        "SELECT ended_at FROM agreement_ends WHERE customer_sid = $1", customer_sid
    )
    return found
