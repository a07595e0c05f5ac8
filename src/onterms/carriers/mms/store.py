"""All SQL of the MMS carriers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from onterms.carriers.mms.model import CarrierSettings, Route
from onterms.core.db import Row, Tx

CHANNEL: Final = "onterms_mms"


async def _tell(tx: Tx) -> None:
    await tx.execute("SELECT pg_notify($1, '')", CHANNEL)


# ---- carriers and routes


async def carriers(tx: Tx) -> list[Row]:
    """List all carriers, in the order of their creation."""
    return await tx.fetch("SELECT * FROM mms_carriers ORDER BY sid")


async def carrier(tx: Tx, sid: str, *, lock: bool = False) -> Row | None:
    """Return one carrier."""
    return await tx.fetchrow(f"SELECT * FROM mms_carriers WHERE sid = $1{' FOR UPDATE' if lock else ''}", sid)


async def name_is_taken(tx: Tx, name: str, sid: str) -> bool:
    """Tell whether another carrier has a name."""
    return bool(await tx.fetchval("SELECT true FROM mms_carriers WHERE name = $1 AND sid <> $2", name, sid))


def settings_of(row: Row) -> CarrierSettings:
    """Return a carrier's settings."""
    return msgspec.convert(row["settings"], CarrierSettings)


class Secrets(NamedTuple):
    """What is kept sealed of a carrier."""

    password: bytes
    inbound_password: bytes
    tls_key: bytes


async def save_carrier(tx: Tx, sid: str, name: str, secrets: Secrets, settings: CarrierSettings, at: datetime) -> None:
    """Store a new carrier or the changes of one."""
    await tx.execute(
        """
        INSERT INTO mms_carriers (sid, name, password, inbound_password, tls_key, settings, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
        ON CONFLICT (sid) DO UPDATE SET name = excluded.name, password = excluded.password,
            inbound_password = excluded.inbound_password, tls_key = excluded.tls_key, settings = excluded.settings,
            updated_at = excluded.updated_at
        """,
        sid,
        name,
        *secrets,
        msgspec.to_builtins(settings),
        at,
    )
    await _tell(tx)


async def delete_carrier(tx: Tx, sid: str) -> None:
    """Remove a carrier with its routes."""
    await tx.execute("DELETE FROM mms_carriers WHERE sid = $1", sid)
    await _tell(tx)


_ROUTE: Final = "SELECT r.*, c.name AS carrier FROM mms_routes r JOIN mms_carriers c ON c.sid = r.carrier_sid"


async def routes(tx: Tx) -> list[Row]:
    """List all routes by prefix."""
    return await tx.fetch(f"{_ROUTE} ORDER BY r.prefix, r.priority, r.sid")


async def route(tx: Tx, sid: str) -> Row | None:
    """Return one route."""
    return await tx.fetchrow(f"{_ROUTE} WHERE r.sid = $1", sid)


async def live_routes(tx: Tx) -> list[Route]:
    """Return the routes that messages may take."""
    rows = await tx.fetch("SELECT sid, carrier_sid, prefix, priority FROM mms_routes WHERE enabled")
    return [Route(row["sid"], row["carrier_sid"], row["prefix"], row["priority"]) for row in rows]


async def save_route(tx: Tx, new: Route, enabled: bool, at: datetime) -> None:
    """Store a new route or the changes of one."""
    await tx.execute(
        """
        INSERT INTO mms_routes (sid, carrier_sid, prefix, priority, enabled, created_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (sid) DO UPDATE SET carrier_sid = excluded.carrier_sid, prefix = excluded.prefix,
            priority = excluded.priority, enabled = excluded.enabled
        """,
        new.sid,
        new.carrier_sid,
        new.prefix,
        new.priority,
        enabled,
        at,
    )
    await _tell(tx)


async def delete_route(tx: Tx, sid: str) -> bool:
    """Remove a route; tell whether it was there."""
    changed = await tx.execute("DELETE FROM mms_routes WHERE sid = $1", sid)
    await _tell(tx)
    return bool(changed)


# ---- messages under way


class NewSent(NamedTuple):
    """A message about to be written to an MMSC."""

    sid: str
    account_sid: str
    carrier_sid: str
    sender: str
    recipient: str


# tenant: each message's account is given with it.
async def put(tx: Tx, new: NewSent, at: datetime) -> None:
    """Write down what is about to be handed over, or that it is again."""
    await tx.execute(
        """
        INSERT INTO mms_sent (sid, account_sid, carrier_sid, sender, recipient, written_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (sid) DO UPDATE SET carrier_sid = excluded.carrier_sid, written_at = excluded.written_at,
            carrier_id = NULL, is_lost = false
        """,
        *new,
        at,
    )


# tenant: the SIDs are those of messages that the carrier was given with their accounts.
async def sent_of(tx: Tx, sids: Sequence[str]) -> dict[str, Row]:
    """Return the messages under way among SIDs."""
    rows = await tx.fetch("SELECT * FROM mms_sent WHERE sid = ANY($1::text[])", list(sids))
    return {row["sid"]: row for row in rows}


# tenant: as above.
async def name(tx: Tx, sid: str, carrier_id: str) -> bool:
    """Write down how the MMSC calls a message; tell whether it is still under way."""
    return bool(
        await tx.execute("UPDATE mms_sent SET carrier_id = $2, is_lost = false WHERE sid = $1", sid, carrier_id)
    )


# tenant: as above.
async def drop(tx: Tx, sid: str) -> bool:
    """Forget a message whose end is known; tell whether it was there."""
    return bool(await tx.execute("DELETE FROM mms_sent WHERE sid = $1", sid))


# tenant: as above.
async def mark_lost(tx: Tx, sid: str) -> None:
    """Note that no answer will come for a message."""
    await tx.execute("UPDATE mms_sent SET is_lost = true WHERE sid = $1 AND carrier_id IS NULL", sid)


# tenant: an MMSC knows its own ids only; what is found says whose it is.
async def reported(tx: Tx, carrier_sid: str, carrier_id: str, recipient: str) -> list[Row]:
    """Return a recipient's messages that a report may be about, locked: the one of that name, and those without one.

    Locked, for the message's name may be under way to its row at this moment.
    """
    return await tx.fetch(
        """
        SELECT * FROM mms_sent
        WHERE carrier_sid = $1 AND (carrier_id = $2 OR (carrier_id IS NULL AND recipient = $3))
        ORDER BY sid FOR UPDATE
        """,
        carrier_sid,
        carrier_id,
        recipient,
    )


# tenant: the sweep is over every account's messages.
async def given_up(tx: Tx, carrier_sid: str, before: datetime, limit: int) -> list[Row]:
    """Return a carrier's messages that went unanswered for too long, locked."""
    return await tx.fetch(
        """
        SELECT * FROM mms_sent WHERE carrier_sid = $1 AND written_at < $2 AND carrier_id IS NULL
        ORDER BY written_at LIMIT $3 FOR UPDATE SKIP LOCKED
        """,
        carrier_sid,
        before,
        limit,
    )


# tenant: as above.
async def given_up_elsewhere(tx: Tx, carrier_sids: Sequence[str], before: datetime, limit: int) -> list[Row]:
    """Return such messages of carriers that are none of these, because they were deleted or switched off."""
    return await tx.fetch(
        """
        SELECT * FROM mms_sent
        WHERE carrier_sid <> ALL($1::text[]) AND written_at < $2 AND carrier_id IS NULL
        ORDER BY written_at LIMIT $3 FOR UPDATE SKIP LOCKED
        """,
        list(carrier_sids),
        before,
        limit,
    )


# tenant: the carriers' end is the operator's.
async def forget_without_report(tx: Tx, before: datetime) -> None:
    """Drop messages whose reports nobody expects any more."""
    await tx.execute(
        "DELETE FROM mms_sent WHERE sid IN (SELECT sid FROM mms_sent WHERE written_at < $1 LIMIT 1000)", before
    )


# ---- reports without messages


class KeptReport(NamedTuple):
    """What a report says, in our words."""

    carrier_sid: str
    carrier_id: str
    sender: str
    recipient: str
    state: str
    code: int | None
    done_at: datetime


async def keep_report(tx: Tx, report: KeptReport, at: datetime) -> None:
    """Keep a report until its message has a name; the first word on an id stays."""
    await tx.execute(
        """
        INSERT INTO mms_reports (carrier_sid, carrier_id, sender, recipient, state, code, done_at, came_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (carrier_sid, carrier_id) DO NOTHING
        """,
        *report,
        at,
    )


async def take_report(tx: Tx, carrier_sid: str, carrier_id: str) -> KeptReport | None:
    """Take out what was kept for an id."""
    row = await tx.fetchrow(
        "DELETE FROM mms_reports WHERE carrier_sid = $1 AND carrier_id = $2 RETURNING *", carrier_sid, carrier_id
    )
    return None if row is None else _kept(row)


async def take_report_to(tx: Tx, carrier_sid: str, sender: str, recipient: str, since: datetime) -> KeptReport | None:
    """Take out the first report that came since a moment for a message of this sender and recipient."""
    row = await tx.fetchrow(
        """
        DELETE FROM mms_reports WHERE (carrier_sid, carrier_id) IN (
            SELECT carrier_sid, carrier_id FROM mms_reports
            WHERE carrier_sid = $1 AND sender IN ('', $2) AND recipient = $3 AND came_at >= $4
            ORDER BY came_at LIMIT 1 FOR UPDATE)
        RETURNING *
        """,
        carrier_sid,
        sender,
        recipient,
        since,
    )
    return None if row is None else _kept(row)


def _kept(row: Row) -> KeptReport:
    values: dict[str, Any] = {name: row[name] for name in KeptReport._fields}
    return KeptReport(**values)


async def forget_reports(tx: Tx, before: datetime) -> None:
    """Drop reports that nobody will ask for."""
    await tx.execute("DELETE FROM mms_reports WHERE came_at < $1", before)
