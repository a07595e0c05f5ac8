"""All SQL of the simulator's tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from onterms.carriers.simulator.model import Fault, Setting
from onterms.core.db import Row, Tx
from onterms.core.e164 import split_address

CHANNEL = "onterms_simulator"

_MESSAGE = "id, handset, direction, sender, recipient, body, media_urls, message_sid, encoding, segments, at, content"
_FAULT = "id, kind, recipient, sender, host, code, delay_s, remaining, probability, seed, seen, hits, created_at"


@dataclass(frozen=True, slots=True)
class HandsetMessage:
    """A message as a handset keeps it."""

    handset: str
    direction: str
    sender: str
    recipient: str
    body: str
    media_urls: tuple[str, ...]
    message_sid: str | None
    encoding: str
    segments: int
    at: datetime
    id: int = 0
    # On a channel, what it shows beside its text.
    content: Any = None

    @property
    def channel(self) -> str:
        """The network that carried it."""
        return split_address(self.sender if ":" in self.sender else self.recipient).channel


@dataclass(frozen=True, slots=True)
class Handset:
    """A handset that somebody set or that has messages."""

    number: str
    setting: Setting
    last_message: HandsetMessage | None


async def put_messages(tx: Tx, messages: Sequence[HandsetMessage], *, only_undisturbed: bool) -> list[str] | None:
    """Keep messages in order and return the SIDs that were new; None when a disturbance has to be looked at first."""
    row = await tx.fetchrow(
        """
        WITH state AS (
            SELECT messages_disturbed AND $1 AS forbids FROM simulator_state
        ), put AS (
            INSERT INTO simulator_messages (handset, direction, sender, recipient, body, media_urls, message_sid,
                                            encoding, segments, at)
            SELECT handset, direction, sender, recipient, body, media_urls::jsonb, message_sid, encoding, segments, at
            FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                        $9::text[], $10::int[], $11::timestamptz[]) WITH ORDINALITY
                 AS m(handset, direction, sender, recipient, body, media_urls, message_sid, encoding, segments, at,
                      place)
            WHERE NOT (SELECT forbids FROM state)
            ORDER BY place
            ON CONFLICT (message_sid) DO NOTHING RETURNING message_sid
        )
        SELECT (SELECT forbids FROM state) AS forbids, ARRAY(SELECT message_sid FROM put) AS sids
        """,
        only_undisturbed,
        [message.handset for message in messages],
        [message.direction for message in messages],
        [message.sender for message in messages],
        [message.recipient for message in messages],
        [message.body for message in messages],
        # As text: asyncpg would take a list of lists for an array of two dimensions.
        [msgspec.json.encode(message.media_urls).decode() if message.media_urls else None for message in messages],
        [message.message_sid for message in messages],
        [message.encoding for message in messages],
        [message.segments for message in messages],
        [message.at for message in messages],
    )
    assert row is not None
    return None if row["forbids"] else list(row["sids"])


async def put_one(tx: Tx, message: HandsetMessage) -> int:
    """Keep one message and return its id."""
    id_: int = await tx.fetchval(
        """
        INSERT INTO simulator_messages (handset, direction, sender, recipient, body, media_urls, message_sid, encoding,
                                        segments, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id
        """,
        message.handset,
        message.direction,
        message.sender,
        message.recipient,
        message.body,
        list(message.media_urls) or None,
        message.message_sid,
        message.encoding,
        message.segments,
        message.at,
    )
    return id_


async def known_sids(tx: Tx, sids: Sequence[str]) -> set[str]:
    """Return which of these messages were taken before."""
    rows = await tx.fetch("SELECT message_sid FROM simulator_messages WHERE message_sid = ANY($1::text[])", list(sids))
    return {row["message_sid"] for row in rows}


async def list_messages(
    tx: Tx, handset: str, directions: Sequence[str], *, after: int | None, last: int | None, limit: int
) -> list[HandsetMessage]:
    """List a handset's messages, oldest first: those after an id, or the last few, or all up to the limit."""
    if last is not None:
        rows = await tx.fetch(
            f"""
            SELECT {_MESSAGE} FROM simulator_messages WHERE handset = $1 AND direction = ANY($2::text[])
            ORDER BY id DESC LIMIT $3
            """,
            handset,
            list(directions),
            min(last, limit),
        )
        rows.reverse()
        return [_message_of(row) for row in rows]
    # Who goes on from the greatest id it saw must not be shown an id while a smaller one may yet be committed.
    settled = "" if after is None else "AND txid < pg_snapshot_xmin(pg_current_snapshot())"
    rows = await tx.fetch(
        f"""
        SELECT {_MESSAGE} FROM simulator_messages
        WHERE handset = $1 AND direction = ANY($2::text[]) AND id > $3 {settled} ORDER BY id LIMIT $4
        """,
        handset,
        list(directions),
        after or 0,
        limit,
    )
    return [_message_of(row) for row in rows]


async def delete_messages(tx: Tx, handset: str) -> int:
    """Empty a handset and return how many messages it had."""
    return await tx.execute("DELETE FROM simulator_messages WHERE handset = $1", handset)


async def list_handsets(tx: Tx, limit: int) -> list[Handset]:
    """List handsets that have messages or a setting, those with the newest message first."""
    # PostgreSQL has no skip scan that fetches one row a handset, so the index is walked by hand.
    rows = await tx.fetch(
        """
        WITH RECURSIVE walked AS (
            (SELECT handset FROM simulator_messages ORDER BY handset LIMIT 1)
            UNION ALL
            SELECT (SELECT handset FROM simulator_messages WHERE handset > walked.handset ORDER BY handset LIMIT 1)
            FROM walked WHERE walked.handset IS NOT NULL
        ), known AS (
            SELECT handset AS number FROM walked WHERE handset IS NOT NULL
            UNION SELECT number FROM simulator_handsets
        )
        SELECT number, newest.id FROM known
        LEFT JOIN LATERAL (SELECT id FROM simulator_messages WHERE handset = number ORDER BY id DESC LIMIT 1) AS newest
            ON true
        ORDER BY newest.id DESC NULLS LAST, number LIMIT $1
        """,
        limit,
    )
    return await get_handsets(tx, [row["number"] for row in rows])


async def get_handsets(tx: Tx, numbers: Sequence[str]) -> list[Handset]:
    """Return handsets in the order of their numbers given, whether anything is known of them or not."""
    settings = await settings_of(tx, numbers)
    rows = await tx.fetch(
        f"""
        SELECT newest.* FROM unnest($1::text[]) AS asked(number), LATERAL (
            SELECT {_MESSAGE} FROM simulator_messages WHERE handset = asked.number ORDER BY id DESC LIMIT 1) AS newest
        """,
        list(numbers),
    )
    newest = {row["handset"]: _message_of(row) for row in rows}
    return [Handset(number, settings.get(number, Setting()), newest.get(number)) for number in numbers]


async def settings_of(tx: Tx, numbers: Sequence[str]) -> dict[str, Setting]:
    """Return the settings of those handsets that have one."""
    rows = await tx.fetch(
        "SELECT number, outcome, error_code, delay_s FROM simulator_handsets WHERE number = ANY($1::text[])",
        list(numbers),
    )
    return {row["number"]: Setting(row["outcome"], row["error_code"], row["delay_s"]) for row in rows}


async def set_handset(tx: Tx, number: str, setting: Setting) -> None:
    """Give a handset a setting."""
    await lock_state(tx)
    await tx.execute(
        """
        INSERT INTO simulator_handsets (number, outcome, error_code, delay_s) VALUES ($1, $2, $3, $4)
        ON CONFLICT (number) DO UPDATE
        SET outcome = excluded.outcome, error_code = excluded.error_code, delay_s = excluded.delay_s
        """,
        number,
        setting.outcome,
        setting.error_code,
        setting.delay_s,
    )
    await sum_up(tx)


async def reset_handset(tx: Tx, number: str) -> None:
    """Let a handset behave as a new one."""
    await lock_state(tx)
    await tx.execute("DELETE FROM simulator_handsets WHERE number = $1", number)
    await sum_up(tx)


async def lock_state(tx: Tx) -> None:
    """Take the one lock of faults and settings."""
    await tx.execute("SELECT FROM simulator_state FOR UPDATE")


async def sum_up(tx: Tx) -> None:
    """Bring the state's row up to date with faults and settings, under its lock, and tell other processes."""
    changed = await tx.execute(
        """
        WITH found AS (
            SELECT EXISTS (SELECT FROM simulator_handsets)
                OR EXISTS (SELECT FROM simulator_faults WHERE kind NOT LIKE 'webhook%' AND remaining IS DISTINCT FROM 0)
                AS messages,
                EXISTS (SELECT FROM simulator_faults WHERE kind LIKE 'webhook%' AND remaining IS DISTINCT FROM 0)
                AS webhooks
        )
        UPDATE simulator_state SET messages_disturbed = found.messages, webhooks_disturbed = found.webhooks FROM found
        WHERE (messages_disturbed, webhooks_disturbed) <> (found.messages, found.webhooks)
        """
    )
    if changed:
        await tx.execute("SELECT pg_notify($1, '')", CHANNEL)


async def webhooks_are_disturbed(tx: Tx) -> bool:
    """Tell whether any fault waits for a webhook."""
    found: bool = await tx.fetchval("SELECT webhooks_disturbed FROM simulator_state")
    return found


async def add_fault(tx: Tx, fault: Fault) -> int:
    """Keep a fault and return its id."""
    await lock_state(tx)
    id_: int = await tx.fetchval(
        """
        INSERT INTO simulator_faults (kind, recipient, sender, host, code, delay_s, remaining, probability, seed,
                                      created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id
        """,
        fault.kind,
        fault.recipient,
        fault.sender,
        fault.host,
        fault.code,
        fault.delay_s,
        fault.remaining,
        fault.probability,
        fault.seed,
        fault.created_at,
    )
    await sum_up(tx)
    return id_


async def list_faults(tx: Tx) -> list[Fault]:
    """List all faults, oldest first."""
    rows = await tx.fetch(f"SELECT {_FAULT} FROM simulator_faults ORDER BY id")
    return [Fault(**dict(row)) for row in rows]


async def lock_faults(tx: Tx, kinds: Sequence[str]) -> list[Fault]:
    """Return the faults of these kinds that can still strike, oldest first, for `save_faults` in this transaction."""
    await lock_state(tx)
    rows = await tx.fetch(
        f"""
        SELECT {_FAULT} FROM simulator_faults
        WHERE kind = ANY($1::text[]) AND remaining IS DISTINCT FROM 0 ORDER BY id
        """,
        list(kinds),
    )
    return [Fault(**dict(row)) for row in rows]


async def save_faults(tx: Tx, faults: Sequence[Fault]) -> None:
    """Write the counters of locked faults."""
    if not faults:
        return
    await tx.execute(
        """
        UPDATE simulator_faults AS fault SET seen = now.seen, hits = now.hits, remaining = now.remaining
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::int[]) AS now(id, seen, hits, remaining)
        WHERE fault.id = now.id
        """,
        [fault.id for fault in faults],
        [fault.seen for fault in faults],
        [fault.hits for fault in faults],
        [fault.remaining for fault in faults],
    )
    if any(fault.remaining == 0 for fault in faults):
        await sum_up(tx)


async def delete_faults(tx: Tx, id_: int | None) -> int:
    """Delete one fault, or all, and return how many there were."""
    await lock_state(tx)
    count = await tx.execute("DELETE FROM simulator_faults WHERE $1::bigint IS NULL OR id = $1", id_)
    await sum_up(tx)
    return count


def _message_of(row: Row) -> HandsetMessage:
    fields: dict[str, Any] = dict(row)
    fields["media_urls"] = tuple(fields["media_urls"] or ())
    return HandsetMessage(**fields)
