"""All SQL of what goes by RCS first."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from onterms.core.db import Row, Tx
from onterms.products.messaging.model import Move

Key = tuple[str, str]


async def insert(tx: Tx, account_sid: str, sid: str, sender: str) -> None:
    """Note that a message falls back, and by which sender, if by a certain one."""
    await tx.execute(
        "INSERT INTO messaging_fallbacks (account_sid, sid, sender) VALUES ($1, $2, $3)", account_sid, sid, sender
    )


async def address_to_rcs(tx: Tx, keys: Sequence[Key], at: datetime) -> None:
    """Address locked messages to their recipients' RCS, which begins to be tried now."""
    await tx.execute(
        """UPDATE messages SET recipient = 'rcs:' || recipient, peer = 'rcs:' || peer
           WHERE account_sid = ANY($1::text[]) AND sid = ANY($2::text[]) AND recipient LIKE '+%'""",
        list({key[0] for key in keys}),
        [key[1] for key in keys],
    )
    await tx.execute(
        """UPDATE messaging_fallbacks SET since = $3
           WHERE account_sid = ANY($1::text[]) AND sid = ANY($2::text[])""",
        list({key[0] for key in keys}),
        [key[1] for key in keys],
        at,
    )


async def untried(tx: Tx, keys: Sequence[Key]) -> Mapping[Key, Row]:
    """Return the messages that can still fall back."""
    rows = await tx.fetch(
        """SELECT * FROM messaging_fallbacks
           WHERE account_sid = ANY($1::text[]) AND sid = ANY($2::text[]) AND NOT is_tried""",
        list({key[0] for key in keys}),
        [key[1] for key in keys],
    )
    return {(row["account_sid"], row["sid"]): row for row in rows}


async def begin(tx: Tx, keys: Sequence[Key]) -> set[Key]:
    """Begin to fall back, once for each message; return those that can."""
    rows = await tx.fetch(
        """UPDATE messaging_fallbacks SET is_tried = true
           WHERE account_sid = ANY($1::text[]) AND sid = ANY($2::text[]) AND NOT is_tried
           RETURNING account_sid, sid""",
        list({key[0] for key in keys}),
        [key[1] for key in keys],
    )
    return {(row["account_sid"], row["sid"]) for row in rows}


async def fetch(tx: Tx, account_sid: str, sid: str) -> Row | None:
    """Return how a message falls back."""
    return await tx.fetchrow("SELECT * FROM messaging_fallbacks WHERE account_sid = $1 AND sid = $2", account_sid, sid)


async def reroute(tx: Tx, account_sid: str, sid: str, sender: str, recipient: str, at: datetime) -> Row | None:
    """Put a message that RCS did not deliver back into the queue, from a number to a number."""
    return await tx.fetchrow(
        """UPDATE messages SET status = 'queued', sender = $3, recipient = $4, peer = $4, date_updated = $5,
                  carrier = NULL, carrier_id = NULL, error_code = NULL, history = history || $6
           WHERE account_sid = $1 AND sid = $2 AND status IN ('queued', 'sending', 'sent') RETURNING *""",
        account_sid,
        sid,
        sender,
        recipient,
        at,
        Move(at, "queued").line(),
    )
