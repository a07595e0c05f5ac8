"""The SQL of the SMPP server: users and their numbers, parts of long messages, what waits for a session, sessions."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from onterms.core.db import Row, Statement, Tx

# What a process vanished with is given to others after this; it frees its own when it starts again.
_CLAIM = timedelta(minutes=2)
# Ours: receipts and inbound messages wait so long for a session, as long as SMSCs commonly keep them.
KEPT = timedelta(hours=72)
# Statuses after which nothing more comes, as far as a receipt can say.
ENDS = frozenset({"delivered", "undelivered", "failed", "canceled"})


# ---- users


async def insert_user(tx: Tx, account_sid: str, user: Mapping[str, Any]) -> bool:
    """Store a user; False where its system_id is taken."""
    row = await tx.fetchrow(
        """INSERT INTO smpp_users (account_sid, sid, system_id, password_salt, password_hash, bind_types, allowed_ips,
                                   window_max, rate_per_s, binds_max, alphabet, long_inbound, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
           ON CONFLICT DO NOTHING RETURNING sid""",
        account_sid,
        user["sid"],
        user["system_id"],
        user["password_salt"],
        user["password_hash"],
        user["bind_types"],
        user["allowed_ips"],
        user["window_max"],
        user["rate_per_s"],
        user["binds_max"],
        user["alphabet"],
        user["long_inbound"],
        user["created_at"],
    )
    return row is not None


async def set_numbers(tx: Tx, account_sid: str, user_sid: str, phone_numbers: Sequence[str]) -> None:
    """Send what comes to these numbers of the account to a user, whoever got it before."""
    await tx.execute(
        """INSERT INTO smpp_numbers (account_sid, phone_number, user_sid) SELECT $1, unnest($3::text[]), $2
           ON CONFLICT (account_sid, phone_number) DO UPDATE SET user_sid = excluded.user_sid""",
        account_sid,
        user_sid,
        list(phone_numbers),
    )


_USERS = """
SELECT u.*, ARRAY(SELECT phone_number FROM smpp_numbers n
                  WHERE n.account_sid = u.account_sid AND n.user_sid = u.sid ORDER BY phone_number) AS numbers
FROM smpp_users u WHERE u.account_sid = $1 AND ($2 = '' OR u.sid = $2) AND u.sid > $3 ORDER BY u.sid LIMIT $4
"""


async def users(tx: Tx, account_sid: str, sid: str = "", after: str = "", limit: int = 1) -> list[Row]:
    """List users with their numbers."""
    return await tx.fetch(_USERS, account_sid, sid, after, limit)


async def update_user(tx: Tx, account_sid: str, sid: str, changes: Mapping[str, Any]) -> None:
    """Change columns of a user; with any of them, who is bound has to bind again."""
    names = list(changes)
    sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(names, 3))
    await tx.execute(
        f"UPDATE smpp_users SET version = version + 1, {sets} WHERE account_sid = $1 AND sid = $2",
        account_sid,
        sid,
        *(changes[name] for name in names),
    )


async def keep_numbers(tx: Tx, account_sid: str, user_sid: str, phone_numbers: Sequence[str]) -> None:
    """Take from a user the numbers that are not among these."""
    await tx.execute(
        "DELETE FROM smpp_numbers WHERE account_sid = $1 AND user_sid = $2 AND phone_number <> ALL($3::text[])",
        account_sid,
        user_sid,
        list(phone_numbers),
    )


async def delete_user(tx: Tx, account_sid: str, sid: str) -> bool:
    """Remove a user with what waits for it; tell whether it was there."""
    gone = await tx.execute("DELETE FROM smpp_users WHERE account_sid = $1 AND sid = $2", account_sid, sid)
    if gone:
        await tx.execute("DELETE FROM smpp_deliveries WHERE account_sid = $1 AND user_key = $2", account_sid, sid)
    return gone > 0


# tenant: who binds says a name only, which is one user's in the whole install.
async def user_named(tx: Tx, system_id: str) -> Row | None:
    """Return the user of a name."""
    return await tx.fetchrow("SELECT * FROM smpp_users WHERE system_id = $1", system_id)


async def users_of_numbers(tx: Tx, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the user that gets what comes to (account_sid, phone_number), where one does."""
    rows = await tx.fetch(
        """SELECT n.account_sid, n.phone_number, n.user_sid FROM smpp_numbers n
           JOIN unnest($1::text[], $2::text[]) AS k (account_sid, phone_number)
             ON n.account_sid = k.account_sid AND n.phone_number = k.phone_number""",
        [account_sid for account_sid, _ in pairs],
        [number for _, number in pairs],
    )
    return {(row["account_sid"], row["phone_number"]): row["user_sid"] for row in rows}


# ---- messages and parts


def watching(rows: Sequence[tuple[str, str, str, int, str, str, str]]) -> Statement[None]:
    """Make the statement that remembers whose end is to be reported.

    Shapes: account_sid, sid, user_key, receipts, answered_as, source, destination.
    """
    columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
    return Statement(
        """INSERT INTO smpp_messages (account_sid, sid, user_key, receipts, answered_as, source, destination)
           SELECT account_sid, sid, user_key, receipts, answered_as, source, destination
           FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[])
             AS new (account_sid, sid, user_key, receipts, answered_as, source, destination)
           RETURNING sid""",
        columns,
        _nothing,
    )


async def _nothing(_: list[Any]) -> None:
    return None


def reporting(moved: Sequence[Row], at: datetime) -> Statement[None]:
    """Make the statement that puts receipts of messages that ended on their way, where they were asked for."""
    return Statement(
        """INSERT INTO smpp_deliveries (account_sid, user_key, kind, message_sid, answered_as, source, destination,
                                        status, error_code, body, submitted_at, made_at)
           SELECT s.account_sid, s.user_key, 'receipt', s.sid, s.answered_as, s.source, s.destination,
                  k.status, k.error_code, k.body, k.submitted_at, $7
           FROM smpp_messages s
           JOIN unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::timestamptz[])
                  AS k (account_sid, sid, status, error_code, body, submitted_at)
             ON s.account_sid = k.account_sid AND s.sid = k.sid
           WHERE s.receipts = 1 OR s.receipts = 2 AND k.status <> 'delivered'
              OR s.receipts = 3 AND k.status = 'delivered'
           RETURNING id""",
        [
            [each["account_sid"] for each in moved],
            [each["sid"] for each in moved],
            [each["status"] for each in moved],
            [each["error_code"] for each in moved],
            [each["body"][:20] for each in moved],
            [each["date_created"] for each in moved],
            at,
        ],
        _nothing,
    )


async def insert_delivery(tx: Tx, account_sid: str, user_key: str, message_sid: str, at: datetime) -> None:
    """Put an inbound message on its way."""
    await tx.execute(
        """INSERT INTO smpp_deliveries (account_sid, user_key, kind, message_sid, made_at)
           VALUES ($1, $2, 'message', $3, $4)""",
        account_sid,
        user_key,
        message_sid,
        at,
    )


async def insert_refusal(tx: Tx, part: Row, code: int, at: datetime) -> None:
    """Report a long message that was answered part by part and is refused as a whole."""
    await tx.execute(
        """INSERT INTO smpp_deliveries (account_sid, user_key, kind, message_sid, answered_as, source, destination,
                                        status, error_code, body, submitted_at, made_at)
           VALUES ($1, $2, 'receipt', $3, $3, $4, $5, 'failed', $6, '', $7, $8)""",
        part["account_sid"],
        part["user_key"],
        part["sid"],
        part["source"],
        part["destination"],
        code,
        part["made_at"],
        at,
    )


async def add_part(tx: Tx, part: Mapping[str, Any]) -> list[Row]:
    """Store a part and return all that have come of its message, this one among them, with their one SID.

    Whoever adds to the same message waits until this transaction ends.
    """
    key = await _locked(tx, part)
    await tx.execute(
        """INSERT INTO smpp_submit_parts (account_sid, user_key, source, destination, reference, total, number, sid,
                                   body, receipts, valid_until, due_at, credential_sid, session_sid, system_id, made_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7,
                   coalesce((SELECT min(sid) FROM smpp_submit_parts
                             WHERE account_sid = $1 AND user_key = $2 AND source = $3 AND destination = $4
                               AND reference = $5 AND total = $6), $8),
                   $9, $10, $11, $12, $13, $14, $15, $16)
           ON CONFLICT (account_sid, user_key, source, destination, reference, total, number)
           DO UPDATE SET body = excluded.body""",
        *key,
        part["number"],
        part["sid"],
        part["body"],
        part["receipts"],
        part["valid_until"],
        part["due_at"],
        part["credential_sid"],
        part["session_sid"],
        part["system_id"],
        part["made_at"],
    )
    return await tx.fetch(
        """SELECT * FROM smpp_submit_parts WHERE account_sid = $1 AND user_key = $2 AND source = $3 AND destination = $4
             AND reference = $5 AND total = $6 ORDER BY number""",
        *key,
    )


async def drop_part(tx: Tx, part: Mapping[str, Any]) -> None:
    """Forget a part that was added a moment ago, in the same transaction."""
    await tx.execute(
        """DELETE FROM smpp_submit_parts WHERE account_sid = $1 AND user_key = $2 AND source = $3 AND destination = $4
             AND reference = $5 AND total = $6 AND number = $7""",
        *await _locked(tx, part),
        part["number"],
    )


async def has_parts(tx: Tx, account_sid: str, user_key: str, count: int) -> bool:
    """Tell whether more parts than these wait of a user."""
    return bool(
        await tx.fetchval(
            "SELECT EXISTS (SELECT FROM smpp_submit_parts WHERE account_sid = $1 AND user_key = $2 OFFSET $3)",
            account_sid,
            user_key,
            count,
        )
    )


async def _locked(tx: Tx, part: Mapping[str, Any]) -> list[Any]:
    key = [part[name] for name in ("account_sid", "user_key", "source", "destination", "reference", "total")]
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "|".join(map(str, key)))
    return key


async def lock_parts(tx: Tx, account_sid: str, sid: str) -> None:
    """Keep others from adding to a message until this transaction ends."""
    part = await tx.fetchrow(
        "SELECT * FROM smpp_submit_parts WHERE account_sid = $1 AND sid = $2 LIMIT 1", account_sid, sid
    )
    if part is not None:
        await _locked(tx, part)


async def take_parts(tx: Tx, account_sid: str, sid: str) -> list[Row]:
    """Take out the parts of a message, in order."""
    rows = await tx.fetch(
        "DELETE FROM smpp_submit_parts WHERE account_sid = $1 AND sid = $2 RETURNING *", account_sid, sid
    )
    return sorted(rows, key=lambda row: int(row["number"]))


async def waiting_between(tx: Tx, account_sid: str, sender: str, recipient: str) -> list[str]:
    """Return the SIDs of what waits to go from a sender to a recipient."""
    rows = await tx.fetch(
        """SELECT sid FROM messages WHERE account_sid = $1 AND peer = $3 AND sender = $2 AND status = 'queued'
           ORDER BY sid""",
        account_sid,
        sender,
        recipient,
    )
    return [row["sid"] for row in rows]


async def replace(tx: Tx, account_sid: str, sid: str, fields: Mapping[str, Any], at: datetime) -> None:
    """Give a queued message another text."""
    await tx.execute(
        """UPDATE messages SET body = $3, encoding = $4, num_segments = $5, valid_until = coalesce($6, valid_until),
                  date_updated = $7
           WHERE account_sid = $1 AND sid = $2 AND status = 'queued'""",
        account_sid,
        sid,
        fields["body"],
        fields["encoding"],
        fields["num_segments"],
        fields["valid_until"],
        at,
    )


# ---- deliveries


# tenant: user_key is one user of one account, who is bound; the rows say the account they belong to.
async def claim(tx: Tx, user_key: str, node: str, limit: int, at: datetime) -> list[Row]:
    """Take the next deliveries of a user, oldest first; inbound messages come with what they say."""
    rows = await tx.fetch(
        """WITH taken AS (
               UPDATE smpp_deliveries SET claimed_by = $2, claimed_until = $4
               WHERE id IN (SELECT id FROM smpp_deliveries
                            WHERE user_key = $1 AND (claimed_by IS NULL OR claimed_until < $5)
                              AND (not_before IS NULL OR not_before <= $5) AND made_at >= $6
                            ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)
               RETURNING *)
           SELECT d.*, m.body AS text, m.sender, m.recipient FROM taken d
           LEFT JOIN messages m ON d.kind = 'message' AND m.account_sid = d.account_sid AND m.sid = d.message_sid
           ORDER BY d.id""",
        user_key,
        node,
        limit,
        at + _CLAIM,
        at,
        # The sweep may be about to come.
        at - KEPT,
    )
    return rows


# tenant: the ids are those that `claim` gave out for a bound user.
async def remove_deliveries(tx: Tx, ids: Sequence[int]) -> None:
    """Forget deliveries that were answered."""
    await tx.execute("DELETE FROM smpp_deliveries WHERE id = ANY($1::bigint[])", list(ids))


# tenant: the ids are those that `claim` gave out for a bound user.
async def release(tx: Tx, ids: Sequence[int], not_before: datetime | None) -> None:
    """Put deliveries back."""
    await tx.execute(
        """UPDATE smpp_deliveries SET claimed_by = NULL, claimed_until = NULL, not_before = $2
           WHERE id = ANY($1::bigint[])""",
        list(ids),
        not_before,
    )


# tenant: what is too old is so for everybody.
async def sweep(tx: Tx, at: datetime) -> int:
    """Give up deliveries that nobody came for."""
    return await tx.execute("DELETE FROM smpp_deliveries WHERE made_at < $1", at - KEPT)


# ---- sessions


# A node is taken to be dead after this long without a word. clock_timestamp() is the one clock that all nodes share.
NODE_LEASE_S = 60.0


async def keep_node(tx: Tx, node: str) -> None:
    """Say that a node is alive."""
    await tx.execute(
        """INSERT INTO smpp_nodes (node, lease_until) VALUES ($1, clock_timestamp() + make_interval(secs => $2))
           ON CONFLICT (node) DO UPDATE SET lease_until = excluded.lease_until""",
        node,
        NODE_LEASE_S,
    )


# tenant: a node that died takes its sessions along, whoever's they were.
async def forget_dead(tx: Tx) -> int:
    """Forget the sessions of nodes that died, free what they held, and return how many there were."""
    gone = await tx.execute(
        """DELETE FROM smpp_sessions s WHERE NOT EXISTS (
               SELECT FROM smpp_nodes n WHERE n.node = s.node AND n.lease_until > clock_timestamp())"""
    )
    await tx.execute(
        """UPDATE smpp_deliveries d SET claimed_by = NULL, claimed_until = NULL
           FROM smpp_nodes n WHERE d.claimed_by = n.node AND n.lease_until < clock_timestamp()"""
    )
    await tx.execute("DELETE FROM smpp_nodes WHERE lease_until < clock_timestamp() - interval '1 day'")
    return gone


# tenant: a node forgets what was bound to it, whoever that was.
async def forget_node(tx: Tx, node: str) -> None:
    """Forget the sessions of a node that starts, and free what they held."""
    await tx.execute("DELETE FROM smpp_sessions WHERE node = $1", node)
    await tx.execute("UPDATE smpp_deliveries SET claimed_by = NULL, claimed_until = NULL WHERE claimed_by = $1", node)


async def count_sessions(tx: Tx, account_sid: str, user_key: str) -> tuple[int, int]:
    """Count who is bound: (of the account, of the user). Others who bind to the account wait until this commits."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "smpp " + account_sid)
    row = await tx.fetchrow(
        """SELECT count(*) AS account, count(*) FILTER (WHERE s.user_key = $2) AS own FROM smpp_sessions s
           JOIN smpp_nodes n ON n.node = s.node AND n.lease_until > clock_timestamp()
           WHERE s.account_sid = $1""",
        account_sid,
        user_key,
    )
    assert row is not None
    return row["account"], row["own"]


async def insert_session(tx: Tx, account_sid: str, session: Mapping[str, Any]) -> None:
    """Remember who is bound."""
    await tx.execute(
        """INSERT INTO smpp_sessions (account_sid, sid, node, user_key, system_id, kind, version, peer, is_tls,
                                      bound_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
        account_sid,
        *(session[name] for name in ("sid", "node", "user_key", "system_id", "kind", "version", "peer", "is_tls")),
        session["bound_at"],
    )


async def delete_session(tx: Tx, account_sid: str, sid: str) -> None:
    """Forget who was bound."""
    await tx.execute("DELETE FROM smpp_sessions WHERE account_sid = $1 AND sid = $2", account_sid, sid)


# tenant: the operator sees the sessions of all customers.
async def sessions(tx: Tx, after: str, limit: int) -> list[Row]:
    """List who is bound to a node that is alive."""
    return await tx.fetch(
        """SELECT s.* FROM smpp_sessions s
           JOIN smpp_nodes n ON n.node = s.node AND n.lease_until > clock_timestamp()
           WHERE s.sid > $1 ORDER BY s.sid LIMIT $2""",
        after,
        limit,
    )
