"""All SQL about channels: senders, and what messages show and bring there."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.engines.api import PageRequest
from onterms.products.messaging.model.channels import ONLINE


async def insert_sender(
    tx: Tx, account_sid: str, sid: str, channel: str, address: str, facts: Mapping[str, Any], at: datetime
) -> Row | None:
    """Store a sender that is being created; None where the account has the address."""
    return await tx.fetchrow(
        """INSERT INTO channel_senders (account_sid, sid, channel, address, status, configuration, webhook, profile,
                                        properties, offline_reasons, date_created, date_updated)
           VALUES ($1, $2, $3, $4, 'CREATING', $5, $6, $7, '{}', '[]', $8, $8)
           ON CONFLICT (account_sid, address) DO NOTHING RETURNING *""",
        account_sid,
        sid,
        channel,
        address,
        facts["configuration"],
        facts["webhook"],
        facts["profile"],
        at,
    )


async def fetch_sender(tx: Tx, account_sid: str, sid: str, *, locked: bool = False) -> Row | None:
    """Return one sender."""
    tail = "FOR UPDATE" if locked else ""
    return await tx.fetchrow(
        f"SELECT * FROM channel_senders WHERE account_sid = $1 AND sid = $2 {tail}", account_sid, sid
    )


async def page_senders(tx: Tx, account_sid: str, channel: str, request: PageRequest) -> list[Row]:
    """Return one page of an account's senders on a channel, newest first."""
    condition, tail = request.keyset("sid", 2)
    return await tx.fetch(
        f"SELECT * FROM channel_senders WHERE account_sid = $1 AND channel = $3 AND {condition} {tail}",
        account_sid,
        request.key,
        channel,
    )


async def update_sender(tx: Tx, account_sid: str, sid: str, changes: Mapping[str, Any], at: datetime) -> Row | None:
    """Change a sender and return it."""
    known = ("status", "configuration", "webhook", "profile", "properties", "offline_reasons")
    names = [name for name in known if name in changes]
    sets = "".join(f", {name} = ${index}" for index, name in enumerate(names, 4))
    return await tx.fetchrow(
        f"UPDATE channel_senders SET date_updated = $3{sets} WHERE account_sid = $1 AND sid = $2 RETURNING *",
        account_sid,
        sid,
        at,
        *(changes[name] for name in names),
    )


async def delete_sender(tx: Tx, account_sid: str, sid: str) -> Row | None:
    """Remove a sender, also from the service that it stands in; return what was there."""
    await tx.execute(
        """DELETE FROM messaging_sticky_senders s USING channel_senders c
           WHERE c.account_sid = $1 AND c.sid = $2 AND s.account_sid = c.account_sid AND s.sender = c.address""",
        account_sid,
        sid,
    )
    await tx.execute("DELETE FROM messaging_service_senders WHERE account_sid = $1 AND sid = $2", account_sid, sid)
    return await tx.fetchrow(
        "DELETE FROM channel_senders WHERE account_sid = $1 AND sid = $2 RETURNING *", account_sid, sid
    )


async def senders_of(tx: Tx, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
    """Return senders by (account_sid, address)."""
    rows = await tx.fetch(
        "SELECT * FROM channel_senders WHERE account_sid = ANY($1::text[]) AND address = ANY($2::text[])",
        list({pair[0] for pair in pairs}),
        list({pair[1] for pair in pairs}),
    )
    wanted = set(pairs)
    return {key: row for row in rows if (key := (row["account_sid"], row["address"])) in wanted}


# tenant: what comes in from a network names the address only; whose it is decides this row.
async def online(tx: Tx, addresses: Sequence[str]) -> dict[str, Row]:
    """Return the senders that are online, by address."""
    rows = await tx.fetch(
        "SELECT * FROM channel_senders WHERE address = ANY($1::text[]) AND status = ANY($2::text[])",
        list(addresses),
        list(ONLINE),
    )
    return {row["address"]: row for row in rows}


async def online_sids(tx: Tx, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of (account_sid, sid) whose senders are online."""
    rows = await tx.fetch(
        """SELECT account_sid, sid FROM channel_senders
           WHERE account_sid = ANY($1::text[]) AND sid = ANY($2::text[]) AND status = ANY($3::text[])""",
        list({key[0] for key in keys}),
        [key[1] for key in keys],
        list(ONLINE),
    )
    return {(row["account_sid"], row["sid"]) for row in rows}


async def waiting_for_code(tx: Tx, account_sid: str, address: str) -> Row | None:
    """Return the sender of an account that waits for its code, which may come before the network has answered."""
    return await tx.fetchrow(
        """SELECT * FROM channel_senders
           WHERE account_sid = $1 AND address = $2 AND status IN ('CREATING', 'PENDING_VERIFICATION')""",
        account_sid,
        address,
    )


async def keep_content(tx: Tx, rows: Sequence[tuple[str, str, Any]]) -> None:
    """Keep what messages show: (account_sid, message_sid, content)."""
    for account_sid, sid, content in rows:
        await tx.execute(
            "INSERT INTO channel_messages (account_sid, message_sid, content) VALUES ($1, $2, $3)",
            account_sid,
            sid,
            content,
        )


async def keep_details(tx: Tx, rows: Sequence[tuple[str, str, Any]]) -> None:
    """Keep what messages brought: (account_sid, message_sid, details)."""
    for account_sid, sid, details in rows:
        await tx.execute(
            """INSERT INTO channel_messages (account_sid, message_sid, details) VALUES ($1, $2, $3)
               ON CONFLICT DO NOTHING""",
            account_sid,
            sid,
            details,
        )


async def keep_reason(tx: Tx, account_sid: str, sid: str, reason: str) -> None:
    """Keep the network's words on why a message failed; of a message that is not the account's, nothing."""
    await tx.execute(
        """INSERT INTO channel_messages (account_sid, message_sid, status_message)
           SELECT account_sid, sid, $3 FROM messages WHERE account_sid = $1 AND sid = $2
           ON CONFLICT (account_sid, message_sid) DO UPDATE SET status_message = excluded.status_message""",
        account_sid,
        sid,
        reason,
    )


async def fetch_messages(tx: Tx, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
    """Return what is kept of messages, by (account_sid, message_sid)."""
    rows = await tx.fetch(
        "SELECT * FROM channel_messages WHERE account_sid = ANY($1::text[]) AND message_sid = ANY($2::text[])",
        list({key[0] for key in keys}),
        [key[1] for key in keys],
    )
    return {(row["account_sid"], row["message_sid"]): row for row in rows}


async def forget(tx: Tx, account_sid: str, message_sid: str) -> None:
    """Blank what a message showed or brought beside its text."""
    await tx.execute(
        "UPDATE channel_messages SET content = NULL, details = NULL WHERE account_sid = $1 AND message_sid = $2",
        account_sid,
        message_sid,
    )


async def name(tx: Tx, account_sid: str, sid: str, network_id: str) -> None:
    """Keep by which name a network knows a message of a channel."""
    await tx.execute(
        """INSERT INTO channel_messages (account_sid, message_sid, network_id)
           SELECT account_sid, sid, $3 FROM messages WHERE account_sid = $1 AND sid = $2 AND sender LIKE '%:%'
           ON CONFLICT (account_sid, message_sid) DO UPDATE SET network_id = excluded.network_id""",
        account_sid,
        sid,
        network_id,
    )


async def sid_of(tx: Tx, account_sid: str, network_id: str) -> str | None:
    """Return the message that a network knows by a name."""
    sid: str | None = await tx.fetchval(
        "SELECT message_sid FROM channel_messages WHERE account_sid = $1 AND network_id = $2 LIMIT 1",
        account_sid,
        network_id,
    )
    return sid
