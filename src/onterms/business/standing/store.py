"""All SQL of standing."""

from collections.abc import Sequence
from datetime import datetime

from onterms.business.standing.model import Block, Scope
from onterms.core.db import Row, Tx

CHANNEL = "onterms_standing"

_COLUMNS = (
    "customer_sid, sid, source, ref, kind, scope, account_sid, service, country, reason, clause, notice_sid, set_at, "
    "lifted_at"
)


def _block(row: Row) -> Block:
    return Block(
        customer_sid=row["customer_sid"],
        sid=row["sid"],
        source=row["source"],
        ref=row["ref"],
        kind=row["kind"],
        scope=Scope(row["scope"], row["account_sid"], row["service"], row["country"]),
        reason=row["reason"],
        clause=row["clause"],
        notice_sid=row["notice_sid"],
        set_at=row["set_at"],
        lifted_at=row["lifted_at"],
    )


async def bump(tx: Tx, customer_sid: str) -> int:
    """Make changes of a customer's blocks wait for each other, grow its version and tell every process at commit."""
    version: int = await tx.fetchval(
        """
        INSERT INTO standing_versions (customer_sid, version) VALUES ($1, 1)
        ON CONFLICT (customer_sid) DO UPDATE SET version = standing_versions.version + 1 RETURNING version
        """,
        customer_sid,
    )
    await tx.execute("SELECT pg_notify($1, $2)", CHANNEL, customer_sid)
    return version


async def lock(tx: Tx, customer_sid: str) -> None:
    """Make changes of a customer's blocks wait for each other."""
    await tx.execute("SELECT 1 FROM standing_versions WHERE customer_sid = $1 FOR UPDATE", customer_sid)


async def versions(tx: Tx, customer_sids: Sequence[str]) -> dict[str, int]:
    """Return the version of each customer that ever had a block."""
    rows = await tx.fetch(
        "SELECT customer_sid, version FROM standing_versions WHERE customer_sid = ANY($1::text[])", list(customer_sids)
    )
    return {row["customer_sid"]: row["version"] for row in rows}


async def insert_block(tx: Tx, block: Block) -> bool:
    """Insert an open block; False when its source has one open for the ref."""
    count = await tx.execute(
        f"""
        INSERT INTO standing_blocks ({_COLUMNS})
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, NULL)
        ON CONFLICT (customer_sid, source, ref) WHERE lifted_at IS NULL DO NOTHING
        """,
        block.customer_sid,
        block.sid,
        block.source,
        block.ref,
        block.kind,
        block.scope.kind,
        block.scope.account_sid,
        block.scope.service,
        block.scope.country,
        block.reason,
        block.clause,
        block.notice_sid,
        block.set_at,
    )
    return count == 1


async def lift_block(tx: Tx, customer_sid: str, source: str, ref: str, at: datetime) -> Block | None:
    """End a block and return it, or None when none is open."""
    row = await tx.fetchrow(
        f"""
        UPDATE standing_blocks SET lifted_at = $4
        WHERE customer_sid = $1 AND source = $2 AND ref = $3 AND lifted_at IS NULL RETURNING {_COLUMNS}
        """,
        customer_sid,
        source,
        ref,
        at,
    )
    return None if row is None else _block(row)


async def open_blocks(tx: Tx, customer_sids: Sequence[str]) -> dict[str, list[Block]]:
    """Return the open blocks of each customer that has some, oldest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS} FROM standing_blocks
        WHERE customer_sid = ANY($1::text[]) AND lifted_at IS NULL ORDER BY customer_sid, sid
        """,
        list(customer_sids),
    )
    found: dict[str, list[Block]] = {}
    for row in rows:
        found.setdefault(row["customer_sid"], []).append(_block(row))
    return found


async def list_blocks(tx: Tx, customer_sid: str, *, only_open: bool, limit: int) -> list[Block]:
    """List a customer's blocks, newest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS} FROM standing_blocks
        WHERE customer_sid = $1 AND (lifted_at IS NULL OR NOT $2) ORDER BY sid DESC LIMIT $3
        """,
        customer_sid,
        only_open,
        limit,
    )
    return [_block(row) for row in rows]


# tenant: the cache holds what is open for everybody; whoever asks it names the account.
async def everything(tx: Tx) -> tuple[list[Block], dict[str, int]]:
    """Return every open block and the version of every customer that ever had one, as of one instant."""
    rows = await tx.fetch(
        f"""
        SELECT v.customer_sid AS of_customer, v.version, b.* FROM standing_versions v
        LEFT JOIN (SELECT {_COLUMNS} FROM standing_blocks WHERE lifted_at IS NULL) b USING (customer_sid)
        """
    )
    blocks = [_block(row) for row in rows if row["sid"] is not None]
    return blocks, {row["of_customer"]: row["version"] for row in rows}


async def of_customer(tx: Tx, customer_sid: str) -> tuple[list[Block], int]:
    """Return a customer's open blocks and its version, as of one instant."""
    rows = await tx.fetch(
        f"""
        SELECT v.version, b.* FROM standing_versions v
        LEFT JOIN (SELECT {_COLUMNS} FROM standing_blocks WHERE customer_sid = $1 AND lifted_at IS NULL) b
             ON b.customer_sid = v.customer_sid
        WHERE v.customer_sid = $1 ORDER BY b.sid
        """,
        customer_sid,
    )
    return [_block(row) for row in rows if row["sid"] is not None], rows[0]["version"] if rows else 0
