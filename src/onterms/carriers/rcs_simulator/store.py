"""All SQL of the simulated RCS platform's tables."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from onterms.carriers.rcs_simulator.model import RcsHandset, as_new
from onterms.core.db import Row, Tx


async def handset(tx: Tx, number: str) -> RcsHandset:
    """Return how a handset behaves."""
    row = await tx.fetchrow("SELECT * FROM simulator_rcs_handsets WHERE number = $1", number)
    if row is None:
        return as_new(number)
    return RcsHandset(number, row["has_rcs"], row["is_on"], row["reads"], tuple(row["features"]))


async def set_handset(tx: Tx, handset: RcsHandset) -> None:
    """Say how a handset behaves from now on."""
    await tx.execute(
        """
        INSERT INTO simulator_rcs_handsets (number, has_rcs, is_on, reads, features) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (number) DO UPDATE SET has_rcs = $2, is_on = $3, reads = $4, features = $5
        """,
        handset.number,
        handset.has_rcs,
        handset.is_on,
        handset.reads,
        list(handset.features),
    )


async def insert_message(
    tx: Tx,
    phone: str,
    agent_id: str,
    message_id: str,
    body: dict[str, Any],
    state: str,
    expires_at: datetime | None,
    at: datetime,
) -> bool:
    """Keep a message; tell whether its name was free."""
    return bool(
        await tx.fetchval(
            """
            INSERT INTO simulator_rcs_messages (phone, agent_id, message_id, body, state, expires_at, at)
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (agent_id, message_id) DO NOTHING RETURNING true
            """,
            phone,
            agent_id,
            message_id,
            msgspec.to_builtins(body),
            state,
            expires_at,
            at,
        )
    )


async def message(tx: Tx, agent_id: str, message_id: str) -> Row | None:
    """Return one message, locked."""
    sql = "SELECT * FROM simulator_rcs_messages WHERE agent_id = $1 AND message_id = $2 FOR UPDATE"
    return await tx.fetchrow(sql, agent_id, message_id)


async def message_by_id(tx: Tx, phone: str, id: int) -> Row | None:
    """Return one message of a handset, locked."""
    sql = "SELECT * FROM simulator_rcs_messages WHERE phone = $1 AND id = $2 FOR UPDATE"
    return await tx.fetchrow(sql, phone, id)


async def move(tx: Tx, id: int, state: str) -> None:
    """Note what became of a message."""
    await tx.execute("UPDATE simulator_rcs_messages SET state = $2 WHERE id = $1", id, state)


async def messages(tx: Tx, phone: str, states: Sequence[str], limit: int) -> list[Row]:
    """List a handset's messages, oldest first."""
    return await tx.fetch(
        """
        SELECT * FROM (
            SELECT * FROM simulator_rcs_messages WHERE phone = $1 AND state = ANY($2::text[]) ORDER BY id DESC LIMIT $3
        ) AS last ORDER BY id
        """,
        phone,
        list(states),
        limit,
    )
