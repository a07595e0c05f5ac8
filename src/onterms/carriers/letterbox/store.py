"""The SQL of letters."""

from datetime import datetime

from onterms.core.db import Tx


async def insert(tx: Tx, address: str, text: str, at: datetime) -> None:
    """Keep a letter."""
    await tx.execute("INSERT INTO letterbox_letters (address, text, sent_at) VALUES ($1, $2, $3)", address, text, at)


async def letters(tx: Tx, address: str, limit: int) -> list[tuple[int, str, datetime]]:
    """Return the letters to an address, oldest first."""
    rows = await tx.fetch(
        "SELECT id, text, sent_at FROM letterbox_letters WHERE address = $1 ORDER BY id LIMIT $2", address, limit
    )
    return [(row["id"], row["text"], row["sent_at"]) for row in rows]
