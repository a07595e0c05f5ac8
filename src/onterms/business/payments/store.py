"""All SQL of this room's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from onterms.business.payments.model import (
    Allocation,
    Application,
    AutoRecharge,
    Card,
    Chargeback,
    Payment,
    Refund,
    Standing,
    TopUp,
)
from onterms.core.db import Tx

_NAMES = {
    kind: ", ".join(field.name for field in fields(kind))
    for kind in (Application, AutoRecharge, Card, Chargeback, Payment, Refund, Standing, TopUp)
}

# Keeps these advisory locks apart from others ("payref" in ASCII).
_REFERENCE_SEED = 0x706179726566


async def _insert(tx: Tx, table: str, row: Any) -> None:
    names = [field.name for field in fields(row)]
    places = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    await tx.execute(
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", *(getattr(row, name) for name in names)
    )


async def _update(tx: Tx, table: str, customer_sid: str, sid: str, changes: Mapping[str, Any]) -> None:
    # The names come from the services, never from a request.
    names = sorted(changes)
    sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(names, 3))
    await tx.execute(
        f"UPDATE {table} SET {sets} WHERE customer_sid = $1 AND sid = $2",
        customer_sid,
        sid,
        *(changes[name] for name in names),
    )


# Standing, which is also the lock of a customer's money


async def lock(tx: Tx, customer_sid: str, at: datetime) -> Standing:
    """Return how a customer stands and let nobody else move its money until the transaction ends."""
    await tx.execute(
        "INSERT INTO payment_standings (customer_sid, since) VALUES ($1, $2) ON CONFLICT DO NOTHING", customer_sid, at
    )
    row = await tx.fetchrow(
        f"SELECT {_NAMES[Standing]} FROM payment_standings WHERE customer_sid = $1 FOR UPDATE", customer_sid
    )
    assert row is not None
    return Standing(**dict(row))


async def standing(tx: Tx, customer_sid: str) -> Standing | None:
    """Return how a customer stands."""
    row = await tx.fetchrow(f"SELECT {_NAMES[Standing]} FROM payment_standings WHERE customer_sid = $1", customer_sid)
    return None if row is None else Standing(**dict(row))


async def update_standing(tx: Tx, customer_sid: str, changes: Mapping[str, Any]) -> None:
    """Change how a customer stands or pays."""
    names = sorted(changes)
    sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(names, 2))
    await tx.execute(
        f"UPDATE payment_standings SET {sets}, version = version + 1 WHERE customer_sid = $1",
        customer_sid,
        *(changes[name] for name in names),
    )


# Cards


async def provider_customer(tx: Tx, customer_sid: str, provider: str) -> str | None:
    """Return who the customer is at a provider."""
    found: str | None = await tx.fetchval(
        "SELECT reference FROM payment_customers WHERE customer_sid = $1 AND provider = $2", customer_sid, provider
    )
    return found


async def keep_provider_customer(tx: Tx, customer_sid: str, provider: str, reference: str) -> None:
    """Keep who the customer is at a provider."""
    await tx.execute(
        "INSERT INTO payment_customers VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", customer_sid, provider, reference
    )


async def insert_card(tx: Tx, card: Card) -> None:
    """Keep a card."""
    await _insert(tx, "payment_methods", card)


async def cards(tx: Tx, customer_sid: str) -> list[Card]:
    """List a customer's cards, oldest first."""
    rows = await tx.fetch(
        f"SELECT {_NAMES[Card]} FROM payment_methods WHERE customer_sid = $1 AND removed_at IS NULL ORDER BY sid",
        customer_sid,
    )
    return [Card(**dict(row)) for row in rows]


async def remove_card(tx: Tx, customer_sid: str, sid: str, at: datetime) -> bool:
    """Remove a card and tell whether it was there."""
    return bool(
        await tx.execute(
            "UPDATE payment_methods SET removed_at = $3 WHERE customer_sid = $1 AND sid = $2 AND removed_at IS NULL",
            customer_sid,
            sid,
            at,
        )
    )


# Top-ups


async def insert_top_up(tx: Tx, top_up: TopUp) -> None:
    """Insert a top-up."""
    await _insert(tx, "payment_top_ups", top_up)


async def top_up(tx: Tx, customer_sid: str, sid: str) -> TopUp | None:
    """Return a top-up."""
    row = await tx.fetchrow(
        f"SELECT {_NAMES[TopUp]} FROM payment_top_ups WHERE customer_sid = $1 AND sid = $2", customer_sid, sid
    )
    return None if row is None else TopUp(**dict(row))


async def top_up_by_key(tx: Tx, customer_sid: str, key: str) -> TopUp | None:
    """Return the top-up made under an idempotency key."""
    row = await tx.fetchrow(
        f"SELECT {_NAMES[TopUp]} FROM payment_top_ups WHERE customer_sid = $1 AND idempotency_key = $2",
        customer_sid,
        key,
    )
    return None if row is None else TopUp(**dict(row))


# tenant: a provider tells of a charge by its own id, which stands for one top-up of one customer.
async def top_up_by_reference(tx: Tx, provider: str, reference: str) -> TopUp | None:
    """Return the top-up that a provider's charge was made for."""
    row = await tx.fetchrow(
        f"SELECT {_NAMES[TopUp]} FROM payment_top_ups WHERE provider = $1 AND reference = $2", provider, reference
    )
    return None if row is None else TopUp(**dict(row))


async def top_ups(tx: Tx, customer_sid: str, before: str, limit: int) -> list[TopUp]:
    """List a customer's top-ups, newest first, from before one of them."""
    rows = await tx.fetch(
        f"SELECT {_NAMES[TopUp]} FROM payment_top_ups WHERE customer_sid = $1 AND ($2 = '' OR sid < $2) "
        "ORDER BY sid DESC LIMIT $3",
        customer_sid,
        before,
        limit,
    )
    return [TopUp(**dict(row)) for row in rows]


async def has_top_up_under_way(tx: Tx, customer_sid: str, currency: str, origin: str, micros: int | None) -> bool:
    """Tell whether a top-up of an origin, or also of an amount, is not decided yet."""
    return bool(
        await tx.fetchval(
            "SELECT EXISTS (SELECT FROM payment_top_ups WHERE customer_sid = $1 AND currency = $2 AND origin = $3 "
            "AND ($4::bigint IS NULL OR micros = $4) "
            "AND (state IN ('created', 'processing') OR ($4::bigint IS NULL AND state = 'needs_action')))",
            customer_sid,
            currency,
            origin,
            micros,
        )
    )


async def recharged(tx: Tx, customer_sid: str, currency: str, since: datetime, until: datetime) -> int:
    """Return how much was recharged by itself in a time, or is on its way."""
    total: int = await tx.fetchval(
        "SELECT coalesce(sum(micros), 0)::bigint FROM payment_top_ups WHERE customer_sid = $1 AND currency = $2 "
        "AND origin = 'auto' AND state <> 'failed' AND created_at >= $3 AND created_at < $4",
        customer_sid,
        currency,
        since,
        until,
    )
    return total


async def update_top_up(tx: Tx, customer_sid: str, sid: str, changes: Mapping[str, Any]) -> None:
    """Change columns of a top-up."""
    await _update(tx, "payment_top_ups", customer_sid, sid, changes)


# Chargebacks


async def insert_chargeback(tx: Tx, chargeback: Chargeback) -> None:
    """Insert a chargeback."""
    await _insert(tx, "payment_chargebacks", chargeback)


async def chargebacks(tx: Tx, customer_sid: str) -> list[Chargeback]:
    """List a customer's chargebacks, oldest first."""
    rows = await tx.fetch(
        f"SELECT {_NAMES[Chargeback]} FROM payment_chargebacks WHERE customer_sid = $1 ORDER BY sid", customer_sid
    )
    return [Chargeback(**dict(row)) for row in rows]


async def update_chargeback(tx: Tx, customer_sid: str, sid: str, changes: Mapping[str, Any]) -> None:
    """Change columns of a chargeback."""
    await _update(tx, "payment_chargebacks", customer_sid, sid, changes)


# Webhooks


async def lock_reference(tx: Tx, provider: str, reference: str) -> None:
    """Let nobody else learn or be told of a charge until the transaction ends; before `lock`, by everybody."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", f"{provider}/{reference}", _REFERENCE_SEED
    )


async def insert_webhook(
    tx: Tx,
    provider: str,
    event_id: str,
    kind: str,
    reference: str | None,
    event: dict[str, Any],
    body_sha256: bytes,
    at: datetime,
) -> bool:
    """Keep an event and tell whether it is the first of its id."""
    return bool(
        await tx.execute(
            "INSERT INTO payment_webhooks VALUES ($1, $2, $3, $4, $5, $6, 'new', $7) ON CONFLICT DO NOTHING",
            provider,
            event_id,
            kind,
            reference,
            event,
            body_sha256,
            at,
        )
    )


async def end_webhook(tx: Tx, provider: str, event_id: str, outcome: str) -> None:
    """Keep what became of an event."""
    await tx.execute(
        "UPDATE payment_webhooks SET outcome = $3 WHERE provider = $1 AND event_id = $2", provider, event_id, outcome
    )


async def parked(tx: Tx, provider: str, reference: str) -> list[dict[str, Any]]:
    """List the events that waited for a charge's id to be known."""
    rows = await tx.fetch(
        "SELECT event FROM payment_webhooks WHERE provider = $1 AND reference = $2 AND outcome = 'parked' "
        "ORDER BY received_at, event_id FOR UPDATE",
        provider,
        reference,
    )
    return [row["event"] for row in rows]


# Auto-recharge


async def put_auto_recharge(tx: Tx, made: AutoRecharge, at: datetime) -> int:
    """Set when a balance is filled up and return the new version."""
    version: int = await tx.fetchval(
        f"""
        INSERT INTO payment_auto_recharges ({_NAMES[AutoRecharge]}, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (customer_sid, currency) DO UPDATE
        SET threshold = $3, amount = $4, cap_per_day = $5, state = $6, reason = $7, updated_at = $9,
            version = payment_auto_recharges.version + 1
        RETURNING version
        """,
        *(getattr(made, field.name) for field in fields(AutoRecharge)),
        at,
    )
    return version


async def auto_recharges(tx: Tx, customer_sid: str) -> list[AutoRecharge]:
    """List a customer's settings by currency."""
    rows = await tx.fetch(
        f"SELECT {_NAMES[AutoRecharge]} FROM payment_auto_recharges WHERE customer_sid = $1 ORDER BY currency",
        customer_sid,
    )
    return [AutoRecharge(**dict(row)) for row in rows]


# Applications


async def insert_application(tx: Tx, made: Application) -> None:
    """Insert an application."""
    await _insert(tx, "invoicing_applications", made)


async def applications(tx: Tx, customer_sid: str) -> list[Application]:
    """List a customer's applications, oldest first."""
    rows = await tx.fetch(
        f"SELECT {_NAMES[Application]} FROM invoicing_applications WHERE customer_sid = $1 ORDER BY sid", customer_sid
    )
    return [Application(**dict(row)) for row in rows]


async def update_application(tx: Tx, customer_sid: str, sid: str, changes: Mapping[str, Any]) -> None:
    """Change columns of an application."""
    await _update(tx, "invoicing_applications", customer_sid, sid, changes)


# Payments and what they settled


async def insert_payment(tx: Tx, payment: Payment) -> None:
    """Insert a payment."""
    await _insert(tx, "payments", payment)


async def payments(tx: Tx, customer_sid: str, before: str, limit: int) -> list[Payment]:
    """List a customer's payments, newest first, from before one of them."""
    rows = await tx.fetch(
        f"SELECT {_NAMES[Payment]} FROM payments WHERE customer_sid = $1 AND ($2 = '' OR sid < $2) "
        "ORDER BY sid DESC LIMIT $3",
        customer_sid,
        before,
        limit,
    )
    return [Payment(**dict(row)) for row in rows]


async def payment(tx: Tx, customer_sid: str, *, sid: str | None = None, reference: str | None = None) -> Payment | None:
    """Return a payment by its SID or the bank's words."""
    row = await tx.fetchrow(
        f"SELECT {_NAMES[Payment]} FROM payments WHERE customer_sid = $1 AND (sid = $2 OR reference = $3)",
        customer_sid,
        sid,
        reference,
    )
    return None if row is None else Payment(**dict(row))


async def insert_allocations(
    tx: Tx, customer_sid: str, source_sid: str, currency: str, made: Sequence[Allocation], at: datetime
) -> None:
    """Add to what a source settled."""
    await tx.execute(
        """
        INSERT INTO payment_allocations (customer_sid, source_sid, place, document, currency, taxes, surcharges, fees,
                                         at)
        SELECT $1, $2, place + (SELECT count(*) FROM payment_allocations WHERE customer_sid = $1 AND source_sid = $2),
               document, $3, taxes, surcharges, fees, $4
        FROM unnest($5::text[], $6::bigint[], $7::bigint[], $8::bigint[]) WITH ORDINALITY
             AS made(document, taxes, surcharges, fees, place)
        """,
        customer_sid,
        source_sid,
        currency,
        at,
        [each.document for each in made],
        [each.taxes for each in made],
        [each.surcharges for each in made],
        [each.fees for each in made],
    )


async def allocations(tx: Tx, customer_sid: str, source_sid: str) -> list[Allocation]:
    """List what a source settled."""
    rows = await tx.fetch(
        "SELECT document, taxes, surcharges, fees FROM payment_allocations "
        "WHERE customer_sid = $1 AND source_sid = $2 ORDER BY place",
        customer_sid,
        source_sid,
    )
    return [Allocation(**dict(row)) for row in rows]


async def settled(tx: Tx, customer_sid: str, documents: Sequence[str]) -> dict[str, Allocation]:
    """Return what payments settled on documents."""
    rows = await tx.fetch(
        "SELECT document, sum(taxes)::bigint AS taxes, sum(surcharges)::bigint AS surcharges, "
        "sum(fees)::bigint AS fees FROM payment_allocations "
        "WHERE customer_sid = $1 AND document = ANY($2) GROUP BY document",
        customer_sid,
        list(documents),
    )
    return {row["document"]: Allocation(**dict(row)) for row in rows}


# Refunds


async def insert_refund(tx: Tx, refund: Refund) -> None:
    """Insert a refund."""
    await _insert(tx, "payment_refunds", refund)


async def refund(tx: Tx, customer_sid: str, *, sid: str | None = None, key: str | None = None) -> Refund | None:
    """Return a refund by its SID or idempotency key."""
    row = await tx.fetchrow(
        f"SELECT {_NAMES[Refund]} FROM payment_refunds WHERE customer_sid = $1 AND (sid = $2 OR idempotency_key = $3)",
        customer_sid,
        sid,
        key,
    )
    return None if row is None else Refund(**dict(row))


async def refunds(tx: Tx, customer_sid: str, before: str, limit: int) -> list[Refund]:
    """List a customer's refunds, newest first, from before one of them."""
    rows = await tx.fetch(
        f"SELECT {_NAMES[Refund]} FROM payment_refunds WHERE customer_sid = $1 AND ($2 = '' OR sid < $2) "
        "ORDER BY sid DESC LIMIT $3",
        customer_sid,
        before,
        limit,
    )
    return [Refund(**dict(row)) for row in rows]


async def refunded(tx: Tx, customer_sid: str, source_sid: str) -> int:
    """Return how much of a source was or is being paid back."""
    total: int = await tx.fetchval(
        "SELECT coalesce(sum(micros), 0)::bigint FROM payment_refunds "
        "WHERE customer_sid = $1 AND source_sid = $2 AND state <> 'failed'",
        customer_sid,
        source_sid,
    )
    return total


async def update_refund(tx: Tx, customer_sid: str, sid: str, changes: Mapping[str, Any]) -> None:
    """Change columns of a refund."""
    await _update(tx, "payment_refunds", customer_sid, sid, changes)
