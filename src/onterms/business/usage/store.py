"""The usage room's SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from onterms.business.usage.model import Trigger, Use
from onterms.core.db import Row, Tx
from onterms.engines.api import PageRequest

_COLUMNS = ", ".join(field.name for field in fields(Trigger))


async def insert_sources(tx: Tx, uses: Sequence[tuple[str, Use]]) -> None:
    """Note who used what: uses with their customer; again changes nothing."""
    await tx.execute(
        "INSERT INTO usage_sources (customer_sid, id, account_sid, credential_sid) "
        "SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING",
        [customer for customer, _ in uses],
        [use.id for _, use in uses],
        [use.account_sid for _, use in uses],
        [use.credential_sid or use.account_sid for _, use in uses],
    )


async def credentials_of(tx: Tx, customer_sid: str, ids: Sequence[str]) -> dict[str, str]:
    """Return by which credential each of a customer's charged uses was, by id."""
    rows = await tx.fetch(
        "SELECT id, credential_sid FROM usage_sources WHERE customer_sid = $1 AND id = ANY($2::text[])",
        customer_sid,
        list(ids),
    )
    return {row["id"]: row["credential_sid"] for row in rows}


# ---- triggers


def _trigger(row: Row) -> Trigger:
    return Trigger(**dict(row))


# tenant: the trigger carries its account.
async def insert_trigger(tx: Tx, account_sid: str, trigger: Trigger) -> None:
    """Add a trigger of an account."""
    assert trigger.account_sid == account_sid
    names = [field.name for field in fields(Trigger)]
    places = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    await tx.execute(
        f"INSERT INTO usage_triggers ({_COLUMNS}) VALUES ({places})", *(getattr(trigger, name) for name in names)
    )


async def fetch_trigger(tx: Tx, account_sid: str, sid: str, *, for_update: bool = False) -> Trigger | None:
    """Return a trigger of an account, locked if it is to be changed."""
    lock = " FOR UPDATE" if for_update else ""
    row = await tx.fetchrow(
        f"SELECT {_COLUMNS} FROM usage_triggers WHERE account_sid = $1 AND sid = $2{lock}", account_sid, sid
    )
    return None if row is None else _trigger(row)


async def list_triggers(tx: Tx, account_sid: str, filters: Mapping[str, Any], paging: PageRequest) -> list[Row]:
    """Return a page of an account's triggers, newest first, with up to one more."""
    condition, tail = paging.keyset("sid", 5)
    return await tx.fetch(
        f"SELECT {_COLUMNS} FROM usage_triggers WHERE account_sid = $1 AND ($2::text IS NULL OR recurring = $2) "
        f"AND ($3::text IS NULL OR trigger_by = $3) AND ($4::text IS NULL OR category = $4) AND ({condition}) {tail}",
        account_sid,
        filters.get("Recurring"),
        filters.get("TriggerBy"),
        filters.get("UsageCategory"),
        paging.key,
    )


async def update_trigger(
    tx: Tx, account_sid: str, sid: str, name: str | None, url: str | None, method: str | None, at: datetime
) -> Trigger | None:
    """Change what is given of a trigger and return it."""
    row = await tx.fetchrow(
        "UPDATE usage_triggers SET friendly_name = coalesce($3, friendly_name), "
        "callback_url = coalesce($4, callback_url), callback_method = coalesce($5, callback_method), updated_at = $6 "
        f"WHERE account_sid = $1 AND sid = $2 RETURNING {_COLUMNS}",
        account_sid,
        sid,
        name,
        url,
        method,
        at,
    )
    return None if row is None else _trigger(row)


async def delete_trigger(tx: Tx, account_sid: str, sid: str) -> bool:
    """Delete a trigger and tell whether there was one."""
    return bool(await tx.execute("DELETE FROM usage_triggers WHERE account_sid = $1 AND sid = $2", account_sid, sid))


async def begin_checks(tx: Tx, account_sids: Sequence[str]) -> list[str]:
    """Mark triggers of accounts that are not being checked and return whose they are."""
    rows = await tx.fetch(
        """
        WITH idle AS (
            SELECT account_sid, sid FROM usage_triggers WHERE account_sid = ANY($1) AND NOT is_checking
            ORDER BY account_sid, sid FOR UPDATE
        ), begun AS (
            UPDATE usage_triggers AS trigger SET is_checking = true FROM idle
            WHERE trigger.account_sid = idle.account_sid AND trigger.sid = idle.sid
            RETURNING trigger.account_sid
        )
        SELECT DISTINCT account_sid FROM begun
        """,
        sorted(account_sids),
    )
    return [row["account_sid"] for row in rows]


async def end_checks(tx: Tx, account_sid: str) -> list[Trigger]:
    """Take the marks off an account's triggers and return them, locked: what is used from now on is a new check's."""
    rows = await tx.fetch(
        f"UPDATE usage_triggers SET is_checking = false WHERE account_sid = $1 RETURNING {_COLUMNS}", account_sid
    )
    return sorted((_trigger(row) for row in rows), key=lambda trigger: trigger.sid)


async def keep_value(tx: Tx, account_sid: str, sid: str, micros: int, period: date, fired_at: datetime | None) -> None:
    """Write down the value seen in a period, and that it fired if it did."""
    await tx.execute(
        "UPDATE usage_triggers SET current_micros = $3, current_period = $4, "
        "fired_at = coalesce($5, fired_at), fired_period = CASE WHEN $5 IS NULL THEN fired_period ELSE $4 END "
        "WHERE account_sid = $1 AND sid = $2",
        account_sid,
        sid,
        micros,
        period,
        fired_at,
    )


# ---- the sweep


async def claim_sweep(tx: Tx, version: int | None, next_at: datetime, late_at: datetime) -> int | None:
    """Plan the next sweep and return its version; None where another is planned.

    Shapes: version is the sweep that runs, or None at a start: then one planned for before `late_at` is lost.
    """
    found: int | None = await tx.fetchval(
        "INSERT INTO usage_sweeps (version, due_at) VALUES (1, $2) ON CONFLICT (one) DO UPDATE "
        "SET version = usage_sweeps.version + 1, due_at = $2 "
        "WHERE usage_sweeps.version = $1 OR ($1::bigint IS NULL AND usage_sweeps.due_at < $3) RETURNING version",
        version,
        next_at,
        late_at,
    )
    return found
