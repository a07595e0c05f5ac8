"""The SQL of this room: its own tables, and reading every table whose rows are a customer's data."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from onterms.business.privacy.model import Table
from onterms.core.db import Row, Tx


async def tables(tx: Tx) -> list[Table]:
    """List the tables there are."""
    rows = await tx.fetch(
        """
        SELECT c.relname::text AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
        GROUP BY c.relname ORDER BY c.relname
        """
    )
    return [Table(row["name"], tuple(row["columns"])) for row in rows]


async def rows_of(tx: Tx, table: Table, owners: Sequence[str]) -> list[dict[str, Any]]:
    """Return all rows of a table that belong to a customer, as JSON makes them."""
    # Names come from the database's own catalogue, never from a request.
    rows = await tx.fetch(
        f'SELECT to_jsonb(t) AS row FROM "{table.name}" t WHERE t."{table.owner}" = ANY($1)', list(owners)
    )
    return [row["row"] for row in rows]


async def count_rows(tx: Tx, table: Table, owners: Sequence[str]) -> int:
    """Count a table's rows that belong to a customer."""
    found: int = await tx.fetchval(
        f'SELECT count(*) FROM "{table.name}" t WHERE t."{table.owner}" = ANY($1)', list(owners)
    )
    return found


async def delete_rows(tx: Tx, table: Table, owners: Sequence[str]) -> int:
    """Delete a table's rows that belong to a customer."""
    return await tx.execute(f'DELETE FROM "{table.name}" t WHERE t."{table.owner}" = ANY($1)', list(owners))


async def insert_consent(
    tx: Tx,
    customer_sid: str,
    sid: str,
    identity: str,
    channel: str,
    purpose: str,
    source: str,
    given_at: datetime,
    at: datetime,
) -> None:
    """Insert a consent."""
    sql = "INSERT INTO consents VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    await tx.execute(sql, customer_sid, sid, identity, channel, purpose, source, given_at, at)


async def withdraw_consent(tx: Tx, customer_sid: str, sid: str, at: datetime) -> bool:
    """End a consent."""
    sql = "UPDATE consents SET withdrawn_at = $3 WHERE customer_sid = $1 AND sid = $2 AND withdrawn_at IS NULL"
    return await tx.execute(sql, customer_sid, sid, at) == 1


async def consents(tx: Tx, customer_sid: str, identity: str) -> list[Row]:
    """List what an identity consented to."""
    return await tx.fetch(
        """
        SELECT sid, identity, channel, purpose, source, given_at, withdrawn_at FROM consents
        WHERE customer_sid = $1 AND identity = $2 ORDER BY given_at, sid
        """,
        customer_sid,
        identity,
    )


async def insert_look(
    tx: Tx,
    customer_sid: str,
    sid: str,
    actor: str,
    role: str,
    kind: str,
    subject_sid: str,
    break_glass: bool,
    reason: str,
    at: datetime,
) -> None:
    """Record that somebody looked at what is confidential."""
    sql = "INSERT INTO confidential_looks VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    await tx.execute(sql, customer_sid, sid, actor, role, kind, subject_sid, break_glass, reason, at)


async def insert_report(tx: Tx, sid: str, title: str, content: str, at: datetime) -> None:
    """Store an audit report."""
    await tx.execute("INSERT INTO audit_reports VALUES ($1, $2, $3, $4)", sid, title, content, at)


async def reports(tx: Tx, sid: str | None = None) -> list[Row]:
    """List the audit reports, or one."""
    sql = "SELECT sid, title, content, created_at FROM audit_reports WHERE $1::text IS NULL OR sid = $1 ORDER BY sid"
    return await tx.fetch(sql, sid)


async def insert_download(
    tx: Tx, customer_sid: str, sid: str, report_sid: str, actor: str, mark: str, at: datetime
) -> None:
    """Record that a report was handed out."""
    sql = "INSERT INTO report_downloads VALUES ($1, $2, $3, $4, $5, $6)"
    await tx.execute(sql, customer_sid, sid, report_sid, actor, mark, at)
