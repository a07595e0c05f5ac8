"""SQL of the queues of senders: which rates the operator set."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from onterms.core.db import Row, Tx

# Where changes of rates are told.
CHANNEL: Final = "onterms_sender_rates"


# tenant: every process holds the rates of all accounts, by account.
async def every_rate(tx: Tx) -> list[Row]:
    """Return every rate that was set."""
    return await tx.fetch("SELECT account_sid, sender, sender_type, segments_per_s FROM messaging_sender_rates")


async def page(tx: Tx, account_sid: str | None, after: str, limit: int) -> list[Row]:
    """Return one page of rates, oldest first."""
    return await tx.fetch(
        """SELECT * FROM messaging_sender_rates
           WHERE sid > $1 AND ($2::text IS NULL OR account_sid = $2) ORDER BY sid LIMIT $3""",
        after,
        account_sid,
        limit,
    )


async def put(
    tx: Tx,
    sid: str,
    of: tuple[str | None, str | None, str | None],
    segments_per_s: float,
    at: datetime,
) -> Row:
    """Set a rate of (account_sid, sender, sender type)."""
    row = await tx.fetchrow(
        """INSERT INTO messaging_sender_rates (sid, account_sid, sender, sender_type, segments_per_s, created_at,
                                               updated_at)
           VALUES ($1, $2, $3, $4, $5, $6, $6)
           ON CONFLICT (account_sid, sender, sender_type)
           DO UPDATE SET segments_per_s = excluded.segments_per_s, updated_at = excluded.updated_at
           RETURNING *""",
        sid,
        *of,
        segments_per_s,
        at,
    )
    assert row is not None
    await _tell(tx)
    return row


# tenant: rates are the operator's own, for any account.
async def delete(tx: Tx, sid: str) -> bool:
    """Remove a rate and return whether there was one."""
    if not await tx.execute("DELETE FROM messaging_sender_rates WHERE sid = $1", sid):
        return False
    await _tell(tx)
    return True


async def _tell(tx: Tx) -> None:
    await tx.execute("SELECT pg_notify($1, '')", CHANNEL)


async def senders_of(tx: Tx, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
    """Return sender, num_segments and num_media of messages by (account_sid, sid)."""
    rows = await tx.fetch(
        """SELECT account_sid, sid, sender, num_segments, num_media FROM messages
           WHERE sid = ANY($2::text[]) AND '' || account_sid = ANY($1::text[])""",
        list({account_sid for account_sid, _ in keys}),
        [sid for _, sid in keys],
    )
    return {(row["account_sid"], row["sid"]): row for row in rows}
