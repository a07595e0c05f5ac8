"""The SQL of this room's own tables."""

from collections.abc import Sequence
from datetime import date, datetime

from onterms.core.db import Row, Tx

_LOCK_SEED = 0x636C61696D


async def lock(tx: Tx, customer_sid: str) -> None:
    """Let one transaction at a time claim, or be given, what is a customer's."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", customer_sid, _LOCK_SEED)


async def set_service(
    tx: Tx, service: str, stage: str, provider: str, terms_version: str, provider_entity: str, at: datetime
) -> None:
    """Write a service's entry in the catalogue."""
    await tx.execute(
        """
        INSERT INTO service_catalogue (service, stage, provider, terms_version, updated_at, provider_entity)
        VALUES ($1, $2, $3, $4, $5, nullif($6, '')) ON CONFLICT (service) DO UPDATE
        SET stage = excluded.stage, provider = excluded.provider, terms_version = excluded.terms_version,
            updated_at = excluded.updated_at, provider_entity = excluded.provider_entity
        """,
        service,
        stage,
        provider,
        terms_version,
        at,
        provider_entity,
    )


async def services(tx: Tx, service: str | None = None) -> list[Row]:
    """List the catalogue, or one entry."""
    return await tx.fetch(
        "SELECT service, stage, provider, terms_version, provider_entity FROM service_catalogue"
        " WHERE $1::text IS NULL OR service = $1 ORDER BY service",
        service,
    )


async def accept_terms(tx: Tx, customer_sid: str, service: str, version: str, actor: str, at: datetime) -> None:
    """Record that a customer accepted a third party's terms."""
    sql = "INSERT INTO service_terms_accepted VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
    await tx.execute(sql, customer_sid, service, version, actor, at)


async def has_accepted(tx: Tx, customer_sid: str, service: str, version: str) -> bool:
    """Tell whether a customer accepted a version of a third party's terms."""
    found: bool = await tx.fetchval(
        "SELECT EXISTS (SELECT FROM service_terms_accepted"
        " WHERE customer_sid = $1 AND service = $2 AND terms_version = $3)",
        customer_sid,
        service,
        version,
    )
    return found


async def enable(tx: Tx, customer_sid: str, service: str, at: datetime) -> None:
    """Record that a customer's service is enabled."""
    sql = "INSERT INTO services_enabled VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
    await tx.execute(sql, customer_sid, service, at)


async def set_sla(tx: Tx, service: str, from_month: date, threshold_ppm: int, credit_percent: int) -> None:
    """Write a service's level from a month on."""
    await tx.execute(
        "INSERT INTO sla_terms VALUES ($1, $2, $3, $4) ON CONFLICT (service, from_month) DO UPDATE"
        " SET threshold_ppm = excluded.threshold_ppm, credit_percent = excluded.credit_percent",
        service,
        from_month,
        threshold_ppm,
        credit_percent,
    )


async def sla(tx: Tx, service: str, month: date) -> Row | None:
    """Return the level that holds for a month."""
    return await tx.fetchrow(
        "SELECT threshold_ppm, credit_percent, from_month FROM sla_terms"
        " WHERE service = $1 AND from_month <= $2 ORDER BY from_month DESC LIMIT 1",
        service,
        month,
    )


async def add_minute(tx: Tx, service: str, minute: datetime, tried: int, failed: int) -> None:
    """Add requests of a minute."""
    await tx.execute(
        """
        INSERT INTO service_minutes VALUES ($1, $2, $3, $4) ON CONFLICT (service, minute) DO UPDATE
        SET tried = service_minutes.tried + excluded.tried, failed = service_minutes.failed + excluded.failed
        """,
        service,
        minute,
        tried,
        failed,
    )


async def unavailable_minutes(tx: Tx, service: str, from_at: datetime, until_at: datetime) -> int:
    """Count the minutes in which everything that was tried failed."""
    found: int = await tx.fetchval(
        "SELECT count(*) FROM service_minutes"
        " WHERE service = $1 AND minute >= $2 AND minute < $3 AND tried > 0 AND failed = tried",
        service,
        from_at,
        until_at,
    )
    return found


async def insert_credit(
    tx: Tx,
    customer_sid: str,
    sid: str,
    case_sid: str,
    clause: str,
    service: str,
    currency: str,
    micros: int,
    used_on: date,
    notes: Sequence[str],
    to_balance: int,
    at: datetime,
) -> None:
    """Record what a claim gave."""
    await tx.execute(
        "INSERT INTO claim_credits VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        customer_sid,
        sid,
        case_sid,
        clause,
        service,
        currency,
        micros,
        used_on,
        list(notes),
        to_balance,
        at,
    )


async def credits(tx: Tx, customer_sids: Sequence[str], from_on: date, until_on: date) -> list[Row]:
    """Return what claims gave customers for days [from, until)."""
    return await tx.fetch(
        "SELECT customer_sid, sid, service, currency, used_on, to_balance FROM claim_credits "
        "WHERE customer_sid = ANY($1) AND used_on >= $2 AND used_on < $3 ORDER BY customer_sid, sid",
        list(customer_sids),
        from_on,
        until_on,
    )
