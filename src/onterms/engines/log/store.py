"""The log's SQL."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from onterms.core.db import Row, Statement, Tx
from onterms.engines.log.model import BATCH, Event, Position, Recorded

CHANNEL = "onterms_log"

# Large enough that a timeline probes few partitions, small enough that one can be moved or dropped: about 3 GB.
_PARTITION_EVENTS = 10_000_000
_PARTITIONS_AHEAD = 2
# Partitions are made by one transaction at a time ("events" in ASCII).
_PARTITION_LOCK = 0x6576656E7473

_COLUMNS = "id, at, type, account_sid, subject_sid, data, txid"
_HORIZON = "(pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (SELECT base FROM log_epoch))"


_APPEND = """
INSERT INTO events (at, account_sid, type, subject_sid, data, txid)
SELECT $1, account_sid, type, subject_sid, data::jsonb,
       pg_current_xact_id()::text::bigint + (SELECT base FROM log_epoch)
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
     WITH ORDINALITY AS event(account_sid, type, subject_sid, data, place)
ORDER BY place
RETURNING id
"""


async def append(tx: Tx, events: Sequence[Event], at: datetime) -> list[int]:
    """Write events with the caller's transaction and return their ids in the same order."""
    if not events:
        return []
    [ids] = await tx.together(appending(tx, events, at))
    return list(ids)


def appending(tx: Tx, events: Sequence[Event], at: datetime) -> Statement[list[int]]:
    """Make the statement that appends at least one event, for `Tx.together`; it returns their ids in the same order."""

    async def finish(ids: list[int]) -> list[int]:
        # A day of more events than were made room for must not wait for the daily call. What is one statement leaves it
        # to the next that is not: there is room for millions.
        if (ids[0] - 1) // _PARTITION_EVENTS != ids[-1] // _PARTITION_EVENTS and not tx.is_at_once:
            await _make_partitions(tx)
        return ids

    return Statement(
        _APPEND,
        [
            at,
            [event.account_sid for event in events],
            [event.type for event in events],
            [event.subject_sid for event in events],
            [msgspec.json.encode(event.data).decode() for event in events],
        ],
        finish,
        # PostgreSQL delivers equal notifications of one transaction once, however often it appends.
        notify=[(CHANNEL, "")],
    )


async def timeline(tx: Tx, account_sid: str, subject_sid: str) -> list[Recorded]:
    """List what happened to one subject, oldest first."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM events WHERE account_sid = $1 AND subject_sid = $2 ORDER BY id",
        account_sid,
        subject_sid,
    )
    return [_recorded(row) for row in rows]


async def read(tx: Tx, consumer: str, limit: int) -> list[Recorded]:
    """List the next events of a consumer, which starts at the log's beginning, and keep others from reading as it.

    Process them and `advance` in the same transaction, and each event has its effect once.
    """
    await tx.execute("INSERT INTO log_consumers VALUES ($1, 0, 0) ON CONFLICT DO NOTHING", consumer)
    row = await tx.fetchrow("SELECT txid, id FROM log_consumers WHERE name = $1 FOR UPDATE", consumer)
    assert row is not None
    return await read_after(tx, Position(row["txid"], row["id"]), limit)


# tenant: consumers read the log of all accounts; whoever shows events picks the account's by `timeline`.
async def read_after(tx: Tx, position: Position, limit: int) -> list[Recorded]:
    """List the final events after a position: those of at most `limit` rows."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS} FROM events WHERE (txid, id) > ($1, $2) AND txid < {_HORIZON}
        ORDER BY txid, id LIMIT $3
        """,
        position.txid,
        position.id,
        limit,
    )
    return [event for row in rows for event in _each(row)]


# tenant: a position in the log of all accounts, and no row of it.
async def has_more(tx: Tx, position: Position) -> bool:
    """Tell whether committed events follow a position, final or not."""
    found: bool = await tx.fetchval(
        "SELECT EXISTS (SELECT FROM events WHERE (txid, id) > ($1, $2))", position.txid, position.id
    )
    return found


async def advance(tx: Tx, consumer: str, position: Position) -> None:
    """Move a consumer forward; a position behind its own is ignored."""
    await tx.execute(
        "UPDATE log_consumers SET txid = $2, id = $3 WHERE name = $1 AND (txid, id) < ($2, $3)",
        consumer,
        position.txid,
        position.id,
    )


async def start_at_end(tx: Tx, consumer: str) -> None:
    """Make a consumer that sees only what happens from now on; one that exists stays where it is."""
    position = await end(tx)
    await tx.execute(
        "INSERT INTO log_consumers VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", consumer, position.txid, position.id
    )


async def end(tx: Tx) -> Position:
    """Return the position before everything that is not final yet."""
    return Position(await tx.fetchval(f"SELECT {_HORIZON}"), 0)


async def ensure_partitions(tx: Tx) -> list[str]:
    """Make room ahead, at each start and daily, and return the names of the partitions made."""
    await _notice_restore(tx)
    return await _make_partitions(tx)


# tenant: transaction ids of the whole log.
async def _notice_restore(tx: Tx) -> None:
    # No row can have a transaction id that was not given out yet, unless it comes from another cluster.
    await tx.execute(
        """
        UPDATE log_epoch SET base = newest.txid + 1 FROM (SELECT max(txid) AS txid FROM events) AS newest
        WHERE newest.txid >= base + pg_snapshot_xmax(pg_current_snapshot())::text::bigint
        """
    )


async def _make_partitions(tx: Tx) -> list[str]:
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _PARTITION_LOCK)
    last_id = await tx.fetchval("SELECT last_value FROM events_id_seq")
    current = last_id // _PARTITION_EVENTS
    made = []
    for number in range(current, current + 1 + _PARTITIONS_AHEAD):
        name = f"events_{number:06d}"
        if await tx.fetchval("SELECT to_regclass($1)", name) is not None:
            continue
        start = number * _PARTITION_EVENTS
        # ATTACH lets others go on inserting; CREATE TABLE ... PARTITION OF would lock them out.
        await tx.execute(f"CREATE TABLE {name} (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        await tx.execute(
            f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({start + _PARTITION_EVENTS})"
        )
        made.append(name)
    return made


def _each(row: Row) -> list[Recorded]:
    one = _recorded(row)
    if one.subject_sid or BATCH not in one.data:
        return [one]
    return [replace(one, subject_sid=sid, data=data) for sid, data in one.data[BATCH]]


def _recorded(row: Row) -> Recorded:
    return Recorded(
        id=row["id"],
        at=row["at"],
        type=row["type"],
        account_sid=row["account_sid"],
        subject_sid=row["subject_sid"],
        data=row["data"],
        position=Position(row["txid"], row["id"]),
    )
