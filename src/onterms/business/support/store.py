"""The SQL of this room's own tables."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from onterms.core.db import Row, Tx


async def set_plan(tx: Tx, name: str, targets: Mapping[str, int], at: datetime) -> None:
    """Write a new version of a support plan."""
    sql = "INSERT INTO support_plans VALUES ($1, $2, $3) ON CONFLICT (name, from_at) DO UPDATE SET targets = $3"
    await tx.execute(sql, name, at, dict(targets))


async def plan(tx: Tx, name: str, at: datetime) -> Mapping[str, Any] | None:
    """Return the targets of a plan at an instant."""
    found: Mapping[str, Any] | None = await tx.fetchval(
        "SELECT targets FROM support_plans WHERE name = $1 AND from_at <= $2 ORDER BY from_at DESC LIMIT 1", name, at
    )
    return found


async def insert_change(
    tx: Tx,
    sid: str,
    title: str,
    endpoint: str,
    breaking: bool,
    planned_on: date,
    announced_on: date,
    override_reason: str,
    exempt_reason: str,
) -> None:
    """Insert an announced change."""
    await tx.execute(
        "INSERT INTO service_changes VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'announced')",
        sid,
        title,
        endpoint,
        breaking,
        planned_on,
        announced_on,
        override_reason,
        exempt_reason,
    )


async def changes(tx: Tx, sid: str | None = None) -> list[Row]:
    """List the announced changes, or one."""
    return await tx.fetch(
        """
        SELECT sid, title, endpoint, breaking, planned_on, announced_on, override_reason, exempt_reason, state
        FROM service_changes WHERE $1::text IS NULL OR sid = $1 ORDER BY sid
        """,
        sid,
    )


async def insert_record(
    tx: Tx, customer_sid: str, sid: str, sha256: bytes, redacted: Any, masked: int, at: datetime
) -> None:
    """Store a redacted copy."""
    sql = "INSERT INTO public_records VALUES ($1, $2, $3, $4, $5, $6)"
    await tx.execute(sql, customer_sid, sid, sha256, redacted, masked, at)


async def note_uses(tx: Tx, uses: Sequence[tuple[str, str, date]]) -> None:
    """Note that accounts used operations on a day: (account, operation, day)."""
    await tx.execute(
        "INSERT INTO endpoint_uses (account_sid, operation, last_on) "
        "SELECT * FROM unnest($1::text[], $2::text[], $3::date[]) ON CONFLICT (account_sid, operation) "
        "DO UPDATE SET last_on = greatest(endpoint_uses.last_on, excluded.last_on)",
        [account_sid for account_sid, _, _ in uses],
        [operation for _, operation, _ in uses],
        [day for _, _, day in uses],
    )


# tenant: a change is told to everybody who used what it changes
async def users_of(tx: Tx, operations: Sequence[str], since: date) -> list[str]:
    """Return the accounts that used one of the operations since a day."""
    rows = await tx.fetch(
        "SELECT DISTINCT account_sid FROM endpoint_uses WHERE operation = ANY($1::text[]) AND last_on >= $2 "
        "ORDER BY account_sid",
        list(operations),
        since,
    )
    return [row["account_sid"] for row in rows]
