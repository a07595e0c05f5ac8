"""All SQL of the simulator's registrar."""

from collections.abc import Sequence
from datetime import datetime

from onterms.core.db import Row, Tx


async def insert(tx: Tx, account_sid: str, brand_sid: str, number: str, body: str, at: datetime) -> None:
    """Text somebody."""
    await tx.execute(
        """INSERT INTO registrar_texts (account_sid, brand_sid, number, body, sent_at)
           VALUES ($1, $2, $3, $4, $5)""",
        account_sid,
        brand_sid,
        number,
        body,
        at,
    )


async def of_brand(tx: Tx, account_sid: str, brand_sid: str, since: datetime) -> Sequence[Row]:
    """Return the texts about a brand since it was handed in, the oldest first."""
    return await tx.fetch(
        """SELECT * FROM registrar_texts WHERE account_sid = $1 AND brand_sid = $2 AND sent_at >= $3 ORDER BY id""",
        account_sid,
        brand_sid,
        since,
    )


# tenant: a handset belongs to no account; whoever holds it reads what was sent to it.
async def of_number(tx: Tx, number: str) -> Sequence[Row]:
    """Return the texts to a number, the oldest first."""
    return await tx.fetch("SELECT * FROM registrar_texts WHERE number = $1 ORDER BY id", number)


# tenant: as above.
async def answer(tx: Tx, number: str, body: str, at: datetime) -> bool:
    """Note what a number answered to the last text that it got; tell whether it got one."""
    return (
        await tx.execute(
            """UPDATE registrar_texts SET answer = $2, answered_at = $3
               WHERE id = (SELECT max(id) FROM registrar_texts WHERE number = $1)""",
            number,
            body,
            at,
        )
        > 0
    )
