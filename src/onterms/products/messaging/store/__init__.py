"""All SQL of the messaging room. Every function is bound to accounts; list forms first."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Expectation, Row, Statement, Tx
from onterms.engines.api import PageRequest
from onterms.products.messaging.model import IMPLY_SENT, MOVES, Change, Move, NewMessage, predecessors
from onterms.products.messaging.store.media import (
    delete_media,
    fetch_media,
    files_of,
    insert_media,
    media_page,
    media_sids,
)

__all__ = ["delete_media", "fetch_media", "files_of", "insert_media", "media_page", "media_sids"]

# SM and MM are one list in the order of their creation, which the digits after the prefix tell.
_ORDER = "substr(sid, 3)"

# Statements on batches find their messages by SID, and look at the account only then: an operator keeps
# PostgreSQL from taking an index that begins with the account, which it believes to have few messages while the
# statistics of a growing table lag behind (it read 10,000 to find 200, measured). The index gives the rows in its own
# order, whatever the order of the array, so two batches that change the same messages wait for each other and do not
# lock each other up.
_OF_BATCH = "sid = ANY($2::text[]) AND '' || account_sid = ANY($1::text[])"


_INSERT = """
INSERT INTO messages (account_sid, sid, direction, sender, recipient, peer, body, encoding, num_segments, num_media,
                      media_urls, status, status_callback, valid_until, date_created, date_updated, date_sent, carrier,
                      carrier_id, price_micros, messaging_service_sid, inbound_id, history)
SELECT account_sid, sid, direction, sender, recipient, peer, body, encoding, num_segments, num_media,
       string_to_array(media_urls, E'\\n'), status, status_callback, valid_until, at, at,
       CASE WHEN direction = 'inbound' THEN at END, carrier, carrier_id, price_micros,
       messaging_service_sid, CASE WHEN direction = 'inbound' THEN carrier || '/' || carrier_id END,
       CASE WHEN status IN ('accepted', 'scheduled')
            THEN concat(to_json(at) #>> '{}', E'\t', status, E'\t\t\t\n') ELSE '' END
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[],
            $10::int[], $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::timestamptz[], $16::text[],
            $17::text[], $18::bigint[], $19::text[])
  AS new (account_sid, sid, direction, sender, recipient, peer, body, encoding, num_segments, num_media, media_urls,
          status, status_callback, valid_until, at, carrier, carrier_id, price_micros, messaging_service_sid)
ON CONFLICT (inbound_id) WHERE inbound_id IS NOT NULL DO NOTHING
RETURNING sid
"""


async def insert(tx: Tx, messages: Sequence[NewMessage]) -> set[str]:
    """Store messages and return the SIDs that are new; an inbound message seen before is not."""
    [new] = await tx.together(inserting(messages))
    return set(new)


def inserting(messages: Sequence[NewMessage]) -> Statement[set[str]]:
    """Make the statement that stores messages, for `Tx.together`; it returns the SIDs that are new."""
    return Statement(
        _INSERT,
        [
            [m.account_sid for m in messages],
            [m.sid for m in messages],
            [m.direction for m in messages],
            [m.sender for m in messages],
            [m.recipient for m in messages],
            [m.peer for m in messages],
            [m.body for m in messages],
            [m.encoding for m in messages],
            [m.num_segments for m in messages],
            [m.num_media for m in messages],
            # A URL holds no line break, so one text carries the list through unnest, which would flatten nested arrays.
            ["\n".join(m.media_urls) if m.media_urls else None for m in messages],
            [m.status for m in messages],
            [m.status_callback for m in messages],
            [m.valid_until for m in messages],
            [m.at for m in messages],
            [m.carrier for m in messages],
            [m.carrier_id for m in messages],
            [m.price_micros for m in messages],
            [m.messaging_service_sid for m in messages],
        ],
        _as_set,
    )


async def _as_set(values: list[str]) -> set[str]:
    return set(values)


async def fetch(tx: Tx, account_sid: str, sid: str) -> Row | None:
    """Return one message."""
    return await tx.fetchrow("SELECT * FROM messages WHERE account_sid = $1 AND sid = $2", account_sid, sid)


async def fetch_locked(tx: Tx, account_sid: str, sid: str) -> Row | None:
    """Return one message and keep others from changing it until commit."""
    return await tx.fetchrow("SELECT * FROM messages WHERE account_sid = $1 AND sid = $2 FOR UPDATE", account_sid, sid)


async def fetch_many(tx: Tx, keys: Sequence[tuple[str, str]]) -> list[Row]:
    """Return messages by (account_sid, sid)."""
    return await tx.fetch(
        f"SELECT * FROM messages WHERE {_OF_BATCH}",
        list({account_sid for account_sid, _ in keys}),
        [sid for _, sid in keys],
    )


async def page(tx: Tx, account_sid: str, request: PageRequest, filters: Mapping[str, Any]) -> list[Row]:
    """Return one page of an account's messages, newest first.

    Shapes: filters may hold recipient, sender, peer, sent_from, sent_before.
    """
    args: list[Any] = [account_sid, request.key and request.key[2:]]
    condition, tail = request.keyset(_ORDER, 2)
    clauses = ["account_sid = $1", condition]
    for name, clause in (
        ("recipient", "recipient = ${}"),
        ("sender", "sender = ${}"),
        ("peer", "peer = ${}"),
        ("sent_from", "date_sent >= ${}"),
        ("sent_before", "date_sent < ${}"),
    ):
        if name in filters:
            args.append(filters[name])
            clauses.append(clause.format(len(args)))
    return await tx.fetch(f"SELECT * FROM messages WHERE {' AND '.join(clauses)} {tail}", *args)


async def lock_many(tx: Tx, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Keep others from changing messages until commit and return their statuses by (account_sid, sid)."""
    rows = await tx.fetch(
        f"SELECT account_sid, sid, status FROM messages WHERE {_OF_BATCH} ORDER BY sid FOR UPDATE",
        list({account_sid for account_sid, _ in keys}),
        [sid for _, sid in keys],
    )
    wanted = set(keys)
    found = {(row["account_sid"], row["sid"]): row["status"] for row in rows}
    return {key: status for key, status in found.items() if key in wanted}


async def begin_sending(tx: Tx, keys: Sequence[tuple[str, str]], at: datetime) -> list[Row]:
    """Mark queued messages as sending and return them, together with those a crash left in sending.

    Shapes: each row is the message with `was`, the status before.
    """
    return await tx.fetch(
        f"""UPDATE messages SET status = 'sending', date_updated = $3
            WHERE {_OF_BATCH} AND status IN ('queued', 'sending')
            RETURNING *, (SELECT status FROM messages AS before
                          WHERE before.account_sid = messages.account_sid AND before.sid = messages.sid) AS was""",
        list({account_sid for account_sid, _ in keys}),
        [sid for _, sid in keys],
        at,
    )


# One object holds what each message shall become, for to look a value up in it costs the same however large the batch.
_ADVANCE = f"""
UPDATE messages SET
    status = $3::jsonb -> sid ->> 1, date_updated = $4,
    error_code = ($3::jsonb -> sid ->> 2)::int,
    -- A receipt that overtakes the submit response says that it was sent, too.
    date_sent = CASE WHEN $3::jsonb -> sid ->> 1 = ANY($5::text[]) OR $3::jsonb -> sid ->> 1 = 'sent'
                     THEN coalesce(date_sent, $4) ELSE date_sent END,
    carrier = coalesce($3::jsonb -> sid ->> 3, carrier),
    carrier_id = coalesce($3::jsonb -> sid ->> 4, carrier_id),
    history = history
        || CASE WHEN status = ANY($6::text[]) AND $3::jsonb -> sid ->> 1 = ANY($5::text[])
                THEN $3::jsonb -> sid ->> 6 ELSE '' END
        || ($3::jsonb -> sid ->> 5)
WHERE {_OF_BATCH} AND direction <> 'inbound'
  AND account_sid = $3::jsonb -> sid ->> 0 AND ($7::jsonb -> ($3::jsonb -> sid ->> 1)) ? status
RETURNING account_sid, sid, direction, sender, recipient, status, error_code, carrier, carrier_id, status_callback,
          messaging_service_sid, price_micros, history, date_created, left(body, 20) AS body
"""
_ALLOWED = {status: predecessors(status) for status in MOVES}


async def sending_of(tx: Tx, keys: Sequence[tuple[str, str]]) -> set[str]:
    """Return the SIDs of those messages that are sending."""
    rows = await tx.fetch(
        """SELECT account_sid, sid FROM messages
           WHERE account_sid = ANY($1::text[]) AND sid = ANY($2::text[]) AND status = 'sending'""",
        list({account_sid for account_sid, _ in keys}),
        [sid for _, sid in keys],
    )
    wanted = set(keys)
    return {row["sid"] for row in rows if (row["account_sid"], row["sid"]) in wanted}


async def advance(tx: Tx, changes: Sequence[Change], at: datetime) -> list[Row]:
    """Move messages to new statuses where their present status allows it; return those as they are then.

    Shapes: one change for each message. Rows have what follows from a change, and of the body its beginning.
    """
    return await tx.fetch(
        _ADVANCE,
        list({change.account_sid for change in changes}),
        [change.sid for change in changes],
        {change.sid: _wanted(change, at) for change in changes},
        at,
        list(IMPLY_SENT),
        _ALLOWED["sent"],
        _ALLOWED,
    )


def _wanted(change: Change, at: datetime) -> list[Any]:
    line = Move(at, change.status, change.error_code, change.carrier, change.carrier_id).line()
    implied = Move(at, "sent", None, change.carrier, change.carrier_id, is_implied=True).line()
    code = change.error_code
    return [change.account_sid, change.status, code, change.carrier, change.carrier_id, line, implied]


# tenant: a carrier knows its own ids only; what it finds is then handled under the account it belongs to.
async def keys_by_sid(tx: Tx, sids: Sequence[str]) -> dict[str, str]:
    """Return the account of each message SID that a carrier echoes."""
    rows = await tx.fetch("SELECT account_sid, sid FROM messages WHERE sid = ANY($1::text[])", list(sids))
    return {row["sid"]: row["account_sid"] for row in rows}


async def count_replies(tx: Tx, account_sid: str, sender: str, peer: str, since: datetime) -> int:
    """Count what webhooks answered a peer from a number since a moment."""
    count: int = await tx.fetchval(
        """SELECT count(*) FROM messages
           WHERE account_sid = $1 AND peer = $3 AND sender = $2 AND direction = 'outbound-reply'
             AND substr(sid, 3) >= $4""",
        account_sid,
        sender,
        peer,
        # SIDs grow with time, so this bounds the index scan.
        f"{int(since.timestamp() * 1000):012x}",
    )
    return count


# tenant: the meter's sweep asks about holds of every customer, by the SIDs that it was given.
async def sent_of(tx: Tx, sids: Sequence[str]) -> set[str]:
    """Return those of the SIDs whose messages were sent and have no receipt."""
    rows = await tx.fetch(
        "SELECT sid FROM messages WHERE sid = ANY($1::text[]) AND status = 'sent' AND direction <> 'inbound'",
        list(sids),
    )
    return {row["sid"] for row in rows}


async def waiting_of(tx: Tx, account_sids: Sequence[str]) -> list[Row]:
    """Return the messages of accounts that no carrier was asked for yet."""
    return await tx.fetch(
        "SELECT account_sid, sid FROM messages WHERE account_sid = ANY($1::text[]) "
        "AND status IN ('accepted', 'scheduled', 'queued') ORDER BY account_sid, sid",
        list(account_sids),
    )


async def unpriced_of(tx: Tx, account_sids: Sequence[str]) -> list[Row]:
    """Return the messages of accounts that have no price yet."""
    return await tx.fetch(
        "SELECT * FROM messages WHERE account_sid = ANY($1::text[]) AND price_micros IS NULL ORDER BY account_sid, sid",
        list(account_sids),
    )


async def set_prices(tx: Tx, prices: Mapping[tuple[str, str], tuple[int, str]]) -> None:
    """Write what messages cost: (micro-units, currency) by (account_sid, sid)."""
    await tx.execute(
        """UPDATE messages m SET price_micros = k.micros, price_unit = k.currency
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS k (account_sid, sid, micros, currency)
           WHERE m.account_sid = k.account_sid AND m.sid = k.sid""",
        [account_sid for account_sid, _ in prices],
        [sid for _, sid in prices],
        [micros for micros, _ in prices.values()],
        [currency for _, currency in prices.values()],
    )


async def redact(tx: Tx, account_sid: str, sid: str, at: datetime) -> Row | None:
    """Blank a message's body."""
    return await tx.fetchrow(
        """UPDATE messages SET body = '', date_updated = $3 WHERE account_sid = $1 AND sid = $2 RETURNING *""",
        account_sid,
        sid,
        at,
    )


async def delete(tx: Tx, account_sid: str, sid: str) -> None:
    """Remove a message with its media."""
    await tx.execute("DELETE FROM messages WHERE account_sid = $1 AND sid = $2", account_sid, sid)


async def opted_out(tx: Tx, pairs: Sequence[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Return those of (account_sid, sender, peer) whose peer asked the sender to stop."""
    rows = await tx.fetch(
        """SELECT o.account_sid, o.sender, o.peer FROM message_opt_outs o
           JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (account_sid, sender, peer)
             ON o.account_sid = k.account_sid AND o.sender = k.sender AND o.peer = k.peer
           WHERE o.opted_out""",
        [pair[0] for pair in pairs],
        [pair[1] for pair in pairs],
        [_wisher(pair[2]) for pair in pairs],
    )
    return _asked_of({(row["account_sid"], row["sender"], row["peer"]) for row in rows}, pairs)


def _wisher(peer: str) -> str:
    # Twilio support 223134027: who opts out does so of RCS, SMS and MMS at once.
    return peer.removeprefix("rcs:")


def _asked_of(found: set[tuple[str, str, str]], pairs: Sequence[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Return what was found under the names by which it was asked for."""
    return {pair for pair in pairs if (pair[0], pair[1], _wisher(pair[2])) in found} if found else found


async def set_opt_out(
    tx: Tx, account_sid: str, sender: str, peer: str, *, opted_out: bool, keyword: str, at: datetime
) -> None:
    """Record that a peer stopped or started a sender."""
    await tx.execute(
        """INSERT INTO message_opt_outs (account_sid, sender, peer, opted_out, keyword, changed_at)
           VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (account_sid, sender, peer)
           DO UPDATE SET opted_out = excluded.opted_out, keyword = excluded.keyword,
                         changed_at = excluded.changed_at""",
        account_sid,
        sender,
        _wisher(peer),
        opted_out,
        keyword,
        at,
    )


_STOPPED = """
SELECT o.account_sid, o.sender, o.peer, NULL AS country FROM message_opt_outs o
JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (account_sid, sender, peer)
  ON o.account_sid = k.account_sid AND o.sender = k.sender AND o.peer = k.peer
WHERE o.opted_out
"""
_OBJECTIONS = f"""{_STOPPED}
UNION ALL
SELECT account_sid, NULL, NULL, country FROM message_blocked_countries WHERE account_sid = ANY($4::text[])
"""
_OBJECTING = f"""{_STOPPED}
UNION ALL
SELECT account_sid, NULL, NULL, country FROM message_blocked_countries AS closed
JOIN unnest($4::text[], $5::text[]) AS to_ (account_sid, country) USING (account_sid, country)
"""


def objecting(pairs: Sequence[tuple[str, str, str]], countries: Sequence[tuple[str, str]]) -> Expectation:
    """Make the query that finds a recipient who opted out, or a country that its account has closed.

    Shapes: (account_sid, sender, peer) and (account_sid, country).
    """
    columns = [[pair[place] for pair in pairs] for place in range(3)]
    return Expectation(_OBJECTING, [*columns, [sid for sid, _ in countries], [country for _, country in countries]])


async def objections(
    tx: Tx, pairs: Sequence[tuple[str, str, str]], account_sids: Sequence[str]
) -> tuple[set[tuple[str, str, str]], set[tuple[str, str]]]:
    """Return what `opted_out` and `blocked_countries` do, at the cost of one statement."""
    rows = await tx.fetch(
        _OBJECTIONS,
        [pair[0] for pair in pairs],
        [pair[1] for pair in pairs],
        [_wisher(pair[2]) for pair in pairs],
        list(account_sids),
    )
    stopped = {(row["account_sid"], row["sender"], row["peer"]) for row in rows if row["country"] is None}
    stopped = _asked_of(stopped, pairs)
    blocked = {(row["account_sid"], row["country"]) for row in rows if row["country"] is not None}
    return stopped, blocked


async def blocked_countries(tx: Tx, account_sids: Sequence[str]) -> set[tuple[str, str]]:
    """Return (account_sid, country) of every block of the accounts."""
    rows = await tx.fetch(
        "SELECT account_sid, country FROM message_blocked_countries WHERE account_sid = ANY($1::text[])",
        list(account_sids),
    )
    return {(row["account_sid"], row["country"]) for row in rows}


async def set_countries(tx: Tx, account_sid: str, *, opened: Sequence[str], blocked: Sequence[str]) -> None:
    """Open and block countries of an account; others stay as they are."""
    await tx.execute(
        "DELETE FROM message_blocked_countries WHERE account_sid = $1 AND country = ANY($2::text[])",
        account_sid,
        list(opened),
    )
    await tx.execute(
        """INSERT INTO message_blocked_countries (account_sid, country) SELECT $1, unnest($2::text[])
           ON CONFLICT DO NOTHING""",
        account_sid,
        list(blocked),
    )


async def cookies(tx: Tx, account_sid: str, sender: str, peer: str, at: datetime) -> dict[str, str]:
    """Return the live cookies of one conversation."""
    rows = await tx.fetch(
        """SELECT name, value FROM message_cookies
           WHERE account_sid = $1 AND sender = $2 AND peer = $3 AND expires_at > $4 ORDER BY name""",
        account_sid,
        sender,
        peer,
        at,
    )
    return {row["name"]: row["value"] for row in rows}


async def set_cookies(
    tx: Tx, account_sid: str, sender: str, peer: str, values: Sequence[tuple[str, str, datetime]]
) -> None:
    """Set cookies of one conversation: (name, value, expiry). An expiry in the past removes it with the next sweep."""
    for name, value, expires_at in values:
        await tx.execute(
            """INSERT INTO message_cookies (account_sid, sender, peer, name, value, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (account_sid, sender, peer, name)
               DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at""",
            account_sid,
            sender,
            peer,
            name,
            value,
            expires_at,
        )


# tenant: what every account sent, summed up; whose an account is decides whoever watches.
async def traffic(tx: Tx, start: datetime, end: datetime) -> list[Row]:
    """Sum up what was sent in [start, end) by account, kind, and the first digits of the recipient."""
    return await tx.fetch(
        """
        SELECT account_sid, left(sid, 2) AS prefix, min(recipient) AS recipient, count(*) AS messages,
               sum(num_segments)::bigint AS segments,
               count(*) FILTER (WHERE status IN ('delivered', 'read')) AS delivered,
               count(*) FILTER (WHERE status IN ('failed', 'undelivered')) AS failed,
               coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY date_sent - date_created), interval '0') AS delay
        FROM messages WHERE date_created >= $1 AND date_created < $2 AND direction <> 'inbound'
        GROUP BY account_sid, left(sid, 2), left(recipient, 8)
        """,
        start,
        end,
    )


async def sent_between(tx: Tx, account_sids: Sequence[str], start: datetime, end: datetime, limit: int) -> list[Row]:
    """List SID and recipient of what accounts sent in [start, end), as many as asked for."""
    return await tx.fetch(
        """
        SELECT sid, recipient FROM messages
        WHERE account_sid = ANY($1::text[]) AND date_created >= $2 AND date_created < $3 AND direction <> 'inbound'
        LIMIT $4
        """,
        list(account_sids),
        start,
        end,
        limit,
    )
