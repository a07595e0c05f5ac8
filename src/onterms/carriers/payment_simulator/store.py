"""All SQL of the payment simulator's tables."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from onterms.carriers.payment_simulator.model import Card, Dispute, Settings, SimCharge, Webhook
from onterms.core.db import Tx

_CARD = ", ".join(field.name for field in fields(Card))
_CHARGE = ", ".join(field.name for field in fields(SimCharge))
_DISPUTE = ", ".join(field.name for field in fields(Dispute))
_WEBHOOK = ", ".join(field.name for field in fields(Webhook))
_SETTINGS = ", ".join(field.name for field in fields(Settings))
# Keeps these advisory locks apart from others ("paysim" in ASCII).
_LOCK_SEED = 0x70617973696D


async def settings(tx: Tx) -> Settings:
    """Return how the provider behaves."""
    row = await tx.fetchrow(f"SELECT {_SETTINGS} FROM payment_simulator_settings")
    assert row is not None
    return Settings(**dict(row))


async def change_settings(tx: Tx, changes: dict[str, Any]) -> None:
    """Set columns; the names come from the API's own table."""
    names = sorted(changes)
    sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(names, 1))
    await tx.execute(f"UPDATE payment_simulator_settings SET {sets}", *(changes[name] for name in names))


async def answered(tx: Tx, key: str) -> tuple[bytes, dict[str, Any]] | None:
    """Return what was answered under a key, keeping the key from others until the transaction ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", key, _LOCK_SEED)
    row = await tx.fetchrow("SELECT body_sha256, answer FROM payment_simulator_requests WHERE key = $1", key)
    return None if row is None else (row["body_sha256"], row["answer"])


async def keep_answer(tx: Tx, key: str, body_sha256: bytes, answer: dict[str, Any], at: datetime) -> None:
    """Keep an answer for repeats."""
    await tx.execute("INSERT INTO payment_simulator_requests VALUES ($1, $2, $3, $4)", key, body_sha256, answer, at)


async def insert_card(tx: Tx, card: Card, at: datetime) -> None:
    """Keep a card."""
    await tx.execute(
        "INSERT INTO payment_simulator_cards VALUES ($1, $2, $3, $4, $5, $6, $7)",
        card.id,
        card.customer,
        card.number,
        card.brand,
        card.exp_month,
        card.exp_year,
        at,
    )


async def card(tx: Tx, id: str) -> Card | None:
    """Return a card."""
    row = await tx.fetchrow(f"SELECT {_CARD} FROM payment_simulator_cards WHERE id = $1", id)
    return None if row is None else Card(**dict(row))


async def attach_card(tx: Tx, id: str, customer: str) -> bool:
    """Give a card to a customer, unless it is another's."""
    return bool(
        await tx.execute(
            "UPDATE payment_simulator_cards SET customer = $2 WHERE id = $1 AND (customer IS NULL OR customer = $2)",
            id,
            customer,
        )
    )


async def insert_charge(tx: Tx, charge: SimCharge) -> None:
    """Keep a charge."""
    await tx.execute(
        f"INSERT INTO payment_simulator_charges ({_CHARGE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        *(getattr(charge, field.name) for field in fields(SimCharge)),
    )


async def charge(tx: Tx, id: str, *, lock: bool = False) -> SimCharge | None:
    """Return a charge."""
    row = await tx.fetchrow(
        f"SELECT {_CHARGE} FROM payment_simulator_charges WHERE id = $1 {'FOR UPDATE' if lock else ''}", id
    )
    return None if row is None else SimCharge(**dict(row))


async def charges(tx: Tx, limit: int) -> list[SimCharge]:
    """List the newest charges."""
    rows = await tx.fetch(f"SELECT {_CHARGE} FROM payment_simulator_charges ORDER BY id DESC LIMIT $1", limit)
    return [SimCharge(**dict(row)) for row in rows]


async def end_charge(tx: Tx, id: str, state: str, code: str | None, settled_at: datetime | None) -> None:
    """Set how a charge ended."""
    await tx.execute(
        "UPDATE payment_simulator_charges SET state = $2, code = $3, settled_at = $4 WHERE id = $1",
        id,
        state,
        code,
        settled_at,
    )


async def refund(tx: Tx, id: str, minor: int) -> bool:
    """Pay back a part of a charge if that much is left of it."""
    return bool(
        await tx.execute(
            "UPDATE payment_simulator_charges SET refunded = refunded + $2 "
            "WHERE id = $1 AND state = 'succeeded' AND refunded + $2 <= minor",
            id,
            minor,
        )
    )


async def settled(tx: Tx, since: datetime, until: datetime) -> list[SimCharge]:
    """List charges settled in a time, oldest first."""
    rows = await tx.fetch(
        f"SELECT {_CHARGE} FROM payment_simulator_charges WHERE settled_at >= $1 AND settled_at < $2 "
        "ORDER BY settled_at, id",
        since,
        until,
    )
    return [SimCharge(**dict(row)) for row in rows]


async def insert_dispute(tx: Tx, dispute: Dispute) -> None:
    """Keep a dispute."""
    await tx.execute(
        f"INSERT INTO payment_simulator_disputes ({_DISPUTE}) VALUES ($1, $2, $3, $4, $5, $6)",
        *(getattr(dispute, field.name) for field in fields(Dispute)),
    )


async def dispute(tx: Tx, id: str) -> Dispute | None:
    """Return a dispute and keep it from others."""
    row = await tx.fetchrow(f"SELECT {_DISPUTE} FROM payment_simulator_disputes WHERE id = $1 FOR UPDATE", id)
    return None if row is None else Dispute(**dict(row))


async def disputes(tx: Tx, charge: str) -> list[Dispute]:
    """List a charge's disputes."""
    rows = await tx.fetch(f"SELECT {_DISPUTE} FROM payment_simulator_disputes WHERE charge = $1 ORDER BY id", charge)
    return [Dispute(**dict(row)) for row in rows]


async def end_dispute(tx: Tx, id: str, state: str) -> None:
    """Set how a dispute ended."""
    await tx.execute("UPDATE payment_simulator_disputes SET state = $2 WHERE id = $1", id, state)


async def insert_webhook(tx: Tx, id: str, kind: str, body: str, at: datetime) -> None:
    """Keep an event."""
    await tx.execute(
        "INSERT INTO payment_simulator_webhooks (id, kind, body, at) VALUES ($1, $2, $3, $4)", id, kind, body, at
    )


async def webhook(tx: Tx, id: str) -> Webhook | None:
    """Return an event."""
    row = await tx.fetchrow(f"SELECT {_WEBHOOK} FROM payment_simulator_webhooks WHERE id = $1", id)
    return None if row is None else Webhook(**dict(row))


async def webhooks(tx: Tx, limit: int) -> list[Webhook]:
    """List the newest events, oldest of them first."""
    rows = await tx.fetch(
        f"SELECT {_WEBHOOK} FROM (SELECT * FROM payment_simulator_webhooks ORDER BY place DESC LIMIT $1) AS newest "
        "ORDER BY place",
        limit,
    )
    return [Webhook(**dict(row)) for row in rows]


async def delivered(tx: Tx, id: str, answer: str) -> None:
    """Count a delivery and keep what was answered."""
    await tx.execute(
        "UPDATE payment_simulator_webhooks SET deliveries = deliveries + 1, answer = $2 WHERE id = $1", id, answer
    )
