"""Order forms and passed-on charges."""

from collections.abc import Mapping, Sequence
from typing import Any

from onterms.business.pricing.model import Commitment, OrderForm
from onterms.core.db import Row, Tx

_COLUMNS = (
    "customer_sid, sid, number, state, version, currency, entity, term_from, term_to, renewal_months, net_days, "
    "prepaid_micros, rates, commitments, overrides, order_only, supersedes, signatures, created_at, sent_at, "
    "signed_at, active_from, active_to, ended_cause"
)


def _form(row: Row) -> OrderForm:
    values = dict(row)
    values["rates"] = tuple(values["rates"])
    values["signatures"] = tuple(values["signatures"])
    values["commitments"] = tuple(
        Commitment(each["micros"], each["period"], tuple(each["services"])) for each in values["commitments"]
    )
    return OrderForm(**values)


async def insert(tx: Tx, customer_sid: str, form: OrderForm) -> None:
    """Store a new order form."""
    await tx.execute(
        f"INSERT INTO order_forms ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, "
        "$15, $16, $17, $18, $19, $20, $21, $22, $23, $24)",
        customer_sid,
        form.sid,
        form.number,
        form.state,
        form.version,
        form.currency,
        form.entity,
        form.term_from,
        form.term_to,
        form.renewal_months,
        form.net_days,
        form.prepaid_micros,
        list(form.rates),
        [{"micros": c.micros, "period": c.period, "services": list(c.services)} for c in form.commitments],
        dict(form.overrides),
        form.order_only,
        form.supersedes,
        list(form.signatures),
        form.created_at,
        form.sent_at,
        form.signed_at,
        form.active_from,
        form.active_to,
        form.ended_cause,
    )


async def find(tx: Tx, customer_sid: str, sid: str, *, lock: bool = False) -> OrderForm | None:
    """Return an order form of a customer, held until the transaction ends if it is about to change."""
    row = await tx.fetchrow(
        f"SELECT {_COLUMNS} FROM order_forms WHERE customer_sid = $1 AND sid = $2" + (" FOR UPDATE" if lock else ""),
        customer_sid,
        sid,
    )
    return None if row is None else _form(row)


async def customer_of_form(tx: Tx, sid: str) -> str | None:
    """Return whose order form this is, for the operator, who names the form alone."""
    found: str | None = await tx.fetchval("SELECT customer_sid FROM order_forms WHERE sid = $1", sid)
    return found


async def page(tx: Tx, customer_sid: str | None, after: str, limit: int) -> list[OrderForm]:
    """Return order forms of a customer, or of all for the operator, oldest first."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM order_forms WHERE ($1::text IS NULL OR customer_sid = $1) AND sid > $2 "
        "ORDER BY sid LIMIT $3",
        customer_sid,
        after,
        limit,
    )
    return [_form(row) for row in rows]


async def binding(tx: Tx, customer_sid: str) -> list[OrderForm]:
    """Return the forms of a customer that were ever signed, the latest signature first."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM order_forms WHERE customer_sid = $1 AND signed_at IS NOT NULL "
        "ORDER BY signed_at DESC, sid DESC",
        customer_sid,
    )
    return [_form(row) for row in rows]


async def in_state(tx: Tx, customer_sid: str, state: str) -> list[str]:
    """Return the SIDs of a customer's forms in a state, the oldest first."""
    rows = await tx.fetch(
        "SELECT sid FROM order_forms WHERE customer_sid = $1 AND state = $2 ORDER BY sid", customer_sid, state
    )
    return [row["sid"] for row in rows]


async def lock_customer(tx: Tx, customer_sid: str) -> None:
    """Let one transaction at a time sign for a customer or count its tiers; held until it ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('pricing ' || $1, 0))", customer_sid)


async def update(tx: Tx, customer_sid: str, sid: str, version: int, changes: Mapping[str, Any]) -> bool:
    """Write changed columns if nobody else changed the form since it was read; the version grows by one."""
    names = list(changes)
    sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(names, 4))
    return bool(
        await tx.execute(
            f"UPDATE order_forms SET version = version + 1, {sets} "
            "WHERE customer_sid = $1 AND sid = $2 AND version = $3",
            customer_sid,
            sid,
            version,
            *[changes[name] for name in names],
        )
    )


async def insert_charge(tx: Tx, customer_sid: str, values: Mapping[str, Any]) -> None:
    """Store a passed-on charge with its document."""
    await tx.execute(
        "INSERT INTO pass_through_charges (customer_sid, sid, authority, case_reference, currency, micros, imposed_on, "
        "document_name, document_sha256, document, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        customer_sid,
        *[
            values[name]
            for name in (
                *("sid", "authority", "case_reference", "currency", "micros", "imposed_on", "document_name"),
                *("document_sha256", "document", "recorded_at"),
            )
        ],
    )


async def charges(tx: Tx, customer_sid: str | None, after: str, limit: int) -> Sequence[Row]:
    """Return passed-on charges without their documents, oldest first."""
    return await tx.fetch(
        "SELECT customer_sid, sid, authority, case_reference, currency, micros, imposed_on, document_name, "
        "document_sha256, recorded_at FROM pass_through_charges "
        "WHERE ($1::text IS NULL OR customer_sid = $1) AND sid > $2 ORDER BY sid LIMIT $3",
        customer_sid,
        after,
        limit,
    )


async def charge_document(tx: Tx, customer_sid: str | None, sid: str) -> bytes | None:
    """Return the document of a customer's charge, or of anybody's for the operator."""
    found: bytes | None = await tx.fetchval(
        "SELECT document FROM pass_through_charges WHERE ($1::text IS NULL OR customer_sid = $1) AND sid = $2",
        customer_sid,
        sid,
    )
    return found
