"""All SQL of the RCS carrier's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from onterms.carriers.rcs.model import ConnectionSettings
from onterms.core.db import Row, Tx

CHANNEL: Final = "onterms_rcs"


async def _tell(tx: Tx) -> None:
    await tx.execute("SELECT pg_notify($1, '')", CHANNEL)


# ---- connections and agents


async def connections(tx: Tx) -> list[Row]:
    """List all connections, in the order of their creation."""
    return await tx.fetch("SELECT * FROM rcs_connections ORDER BY sid")


async def connection(tx: Tx, sid: str, *, lock: bool = False) -> Row | None:
    """Return one connection."""
    return await tx.fetchrow(f"SELECT * FROM rcs_connections WHERE sid = $1 {'FOR UPDATE' if lock else ''}", sid)


async def name_is_taken(tx: Tx, name: str, sid: str) -> bool:
    """Tell whether another connection has the name."""
    sql = "SELECT EXISTS (SELECT FROM rcs_connections WHERE name = $1 AND sid <> $2)"
    taken: bool = await tx.fetchval(sql, name, sid)
    return taken


def settings_of(row: Row) -> ConnectionSettings:
    """Return a connection's settings."""
    return msgspec.convert(row["settings"], ConnectionSettings)


async def save_connection(
    tx: Tx,
    sid: str,
    name: str,
    service_account: bytes,
    client_token: bytes,
    settings: ConnectionSettings,
    at: datetime,
) -> None:
    """Make a connection or change it, and tell the workers."""
    await tx.execute(
        """
        INSERT INTO rcs_connections (sid, name, service_account, client_token, settings, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $6)
        ON CONFLICT (sid) DO UPDATE SET name = $2, service_account = $3, client_token = $4, settings = $5,
            updated_at = $6
        """,
        sid,
        name,
        service_account,
        client_token,
        msgspec.to_builtins(settings),
        at,
    )
    await _tell(tx)


async def delete_connection(tx: Tx, sid: str) -> None:
    """Delete a connection with its agents, and tell the workers; what is under way stays known."""
    await tx.execute("DELETE FROM rcs_connections WHERE sid = $1", sid)
    await _tell(tx)


# tenant: the operator's list, and what every worker needs to know.
async def agents(tx: Tx, connection_sid: str | None = None) -> list[Row]:
    """List agents by name."""
    sql = "SELECT * FROM rcs_agents WHERE $1::text IS NULL OR connection_sid = $1 ORDER BY name"
    return await tx.fetch(sql, connection_sid)


# tenant: the operator gives an agent to an account.
async def insert_agent(
    tx: Tx, account_sid: str | None, name: str, connection_sid: str, agent_id: str, at: datetime
) -> Row | None:
    """Add an agent and tell the workers; None where its name or its id is taken."""
    row = await tx.fetchrow(
        """
        INSERT INTO rcs_agents (account_sid, name, connection_sid, agent_id, created_at) VALUES ($5, $1, $2, $3, $4)
        ON CONFLICT DO NOTHING RETURNING *
        """,
        name,
        connection_sid,
        agent_id,
        at,
        account_sid,
    )
    await _tell(tx)
    return row


# tenant: the operator takes an agent away, whosever it is.
async def delete_agent(tx: Tx, connection_sid: str, name: str) -> bool:
    """Take an agent away and tell the workers."""
    sql = "DELETE FROM rcs_agents WHERE connection_sid = $1 AND name = $2 RETURNING true"
    gone = bool(await tx.fetchval(sql, connection_sid, name))
    await _tell(tx)
    return gone


# ---- messages under way


@dataclass(frozen=True, slots=True)
class Handed:
    """A message with what the platform is asked for it."""

    account_sid: str
    message_sid: str
    connection_sid: str
    agent_id: str
    phone: str
    request: Mapping[str, Any]
    expires_at: datetime | None


# tenant: the SIDs are of the messages of one batch, which are many accounts'; each row says whose it is.
async def put(tx: Tx, messages: Sequence[Handed], at: datetime) -> dict[str, Row]:
    """Write messages down before they go out; return all of them as they are kept, by SID.

    What was handed over before keeps its way and its words: only so does the platform recognise it.
    """
    await tx.execute(
        """
        INSERT INTO rcs_messages (account_sid, message_sid, connection_sid, agent_id, phone, request, state,
                                  expires_at, created_at)
        SELECT account_sid, message_sid, connection_sid, agent_id, phone, request::jsonb, 'handed', expires_at, $8
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
             AS m(account_sid, message_sid, connection_sid, agent_id, phone, request, expires_at)
        ON CONFLICT DO NOTHING
        """,
        [each.account_sid for each in messages],
        [each.message_sid for each in messages],
        [each.connection_sid for each in messages],
        [each.agent_id for each in messages],
        [each.phone for each in messages],
        [msgspec.json.encode(each.request).decode() for each in messages],
        [each.expires_at for each in messages],
        at,
    )
    rows = await tx.fetch(
        "SELECT * FROM rcs_messages WHERE message_sid = ANY($1::text[])", [each.message_sid for each in messages]
    )
    return {row["message_sid"]: row for row in rows}


async def lock(tx: Tx, account_sid: str, message_sid: str) -> Row | None:
    """Return one message and keep it from others until the transaction ends."""
    sql = "SELECT * FROM rcs_messages WHERE account_sid = $1 AND message_sid = $2 FOR UPDATE"
    return await tx.fetchrow(sql, account_sid, message_sid)


# tenant: the platform knows the agent only; what it finds is then handled under the account that the row names.
async def lock_named(tx: Tx, connection_sid: str, agent_id: str, message_sid: str) -> Row | None:
    """Return the message that an agent of a connection sent under this name, locked."""
    return await tx.fetchrow(
        """
        SELECT * FROM rcs_messages WHERE message_sid = $3 AND connection_sid = $1 AND agent_id = $2 FOR UPDATE
        """,
        connection_sid,
        agent_id,
        message_sid,
    )


# tenant: the SIDs are of one batch that the carrier itself wrote down.
async def settle(tx: Tx, fates: Mapping[str, str]) -> None:
    """Note what the platform said of messages that it was just given; what is known better already stays."""
    await tx.execute(
        """
        UPDATE rcs_messages SET state = f.state, request = CASE WHEN f.state = 'following' THEN request END
        FROM unnest($1::text[], $2::text[]) AS f(sid, state)
        WHERE message_sid = f.sid AND rcs_messages.state IN ('handed', 'following')
        """,
        list(fates),
        list(fates.values()),
    )


async def end(tx: Tx, account_sid: str, message_sid: str, state: str) -> None:
    """Note how a message went on."""
    await tx.execute(
        "UPDATE rcs_messages SET state = $3, request = NULL WHERE account_sid = $1 AND message_sid = $2",
        account_sid,
        message_sid,
        state,
    )


# tenant: the SIDs are of one batch that the carrier itself wrote down.
async def drop(tx: Tx, sids: Sequence[str]) -> None:
    """Forget messages that the platform did not take, so that the next try is a new one."""
    sql = "DELETE FROM rcs_messages WHERE message_sid = ANY($1::text[]) AND state IN ('handed', 'refused')"
    await tx.execute(sql, sids)


# tenant: housekeeping by age, for everybody.
async def forget(tx: Tx, before: datetime, limit: int) -> None:
    """Forget what is so old that nothing is said of it any more."""
    await tx.execute(
        """
        DELETE FROM rcs_messages WHERE (account_sid, message_sid) IN (
            SELECT account_sid, message_sid FROM rcs_messages WHERE created_at < $1 ORDER BY created_at LIMIT $2
        )
        """,
        before,
        limit,
    )
