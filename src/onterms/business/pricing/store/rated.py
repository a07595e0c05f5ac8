"""Rated usage: rows as they are added, and what usage records and invoices read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from onterms.business.pricing.model import RatedUsage, UsageEvent, UsageGroup, UsageSlice, UsageTotal
from onterms.core.db import Row, Tx

Grouping = Literal["total", "day", "month", "year"]

_COLUMNS = (
    "customer_sid, id, line, account_sid, kind, name, service, category, direction, country, unit, qty, currency, "
    "price, micros, occurred_at, recorded_at, price_row, order_form, tier_position, correction_of, earlier_period, "
    "fingerprint, invoice_sid"
)
_TYPES: tuple[tuple[str, str], ...] = (
    ("customer_sid", "text"),
    ("id", "text"),
    ("line", "int"),
    ("account_sid", "text"),
    ("kind", "text"),
    ("name", "text"),
    ("service", "text"),
    ("category", "text"),
    ("direction", "text"),
    ("country", "text"),
    ("unit", "text"),
    ("qty", "bigint"),
    ("currency", "text"),
    ("price", "bigint"),
    ("micros", "bigint"),
    ("occurred_at", "timestamptz"),
    ("recorded_at", "timestamptz"),
    ("price_row", "bigint"),
    ("order_form", "text"),
    ("tier_position", "bigint"),
    ("correction_of", "text"),
    ("earlier_period", "boolean"),
    ("fingerprint", "text"),
)
_WRITTEN = ", ".join(name for name, _ in _TYPES)
_ARRAYS = ", ".join(f"${place}::{type_}[]" for place, (_, type_) in enumerate(_TYPES, 1))
# width_bucket refuses an empty list, and nothing lies beyond this.
_NEVER = [datetime.max.replace(tzinfo=UTC)]
_GROUP = "kind, name, service, category, direction, country, unit, currency, price, order_form, earlier_period"
_PERIOD = "CASE WHEN earlier_period THEN to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM') END"
_SUMS = "count(*) AS count, sum(qty)::bigint AS qty, sum(micros)::bigint AS micros"


def _rated(row: Row) -> RatedUsage:
    return RatedUsage(**dict(row))


# tenant: the rows carry both, and a customer's accounts are many.
async def insert(tx: Tx, customer_sids: Sequence[str], rows: Sequence[RatedUsage]) -> set[tuple[str, str, int]]:
    """Add rated rows of these customers and return the keys of those that were not there yet."""
    assert {row.customer_sid for row in rows} <= set(customer_sids)
    added = await tx.fetch(
        f"INSERT INTO rated_usage ({_WRITTEN}) SELECT * FROM unnest({_ARRAYS}) "
        "ON CONFLICT DO NOTHING RETURNING customer_sid, id, line",
        *[[getattr(row, name) for row in rows] for name, _ in _TYPES],
    )
    return {(row["customer_sid"], row["id"], row["line"]) for row in added}


# tenant: by customer, whose accounts' rows all are.
async def lines_of(tx: Tx, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[RatedUsage]]:
    """Return the lines of events by (customer, event id), each in the order of its lines."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM rated_usage WHERE (customer_sid, id) IN "
        "(SELECT * FROM unnest($1::text[], $2::text[])) ORDER BY customer_sid, id, line",
        [customer for customer, _ in keys],
        [id_ for _, id_ in keys],
    )
    found: dict[tuple[str, str], list[RatedUsage]] = {}
    for row in rows:
        found.setdefault((row["customer_sid"], row["id"]), []).append(_rated(row))
    return found


# tenant: by customer, whose accounts' rows all are.
async def corrected(tx: Tx, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return which of these events (customer, event id) were corrected already, and by which event."""
    rows = await tx.fetch(
        "SELECT customer_sid, correction_of, id FROM rated_usage WHERE (customer_sid, correction_of) IN "
        "(SELECT * FROM unnest($1::text[], $2::text[])) AND line = 0",
        [customer for customer, _ in keys],
        [id_ for _, id_ in keys],
    )
    return {(row["customer_sid"], row["correction_of"]): row["id"] for row in rows}


async def quarantine(
    tx: Tx, customer_sids: Sequence[str], events: Sequence[tuple[UsageEvent, str]], at: datetime
) -> None:
    """Put events of these customers aside, each with its reason; the same one again changes nothing."""
    assert {event.customer_sid for event, _ in events} <= set(customer_sids)
    for event, reason in events:
        await tx.execute(
            "INSERT INTO usage_quarantine (customer_sid, id, fingerprint, account_sid, reason, body, received_at) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            event.customer_sid,
            event.id,
            event.fingerprint(),
            event.account_sid,
            reason,
            event.body(),
            at,
        )


# tenant: the operator's list, or that of one customer with all its accounts.
async def quarantined(tx: Tx, customer_sid: str | None, limit: int) -> list[Row]:
    """Return what was put aside, the oldest first."""
    return await tx.fetch(
        "SELECT customer_sid, id, reason, body, received_at FROM usage_quarantine "
        "WHERE ($1::text IS NULL OR customer_sid = $1) ORDER BY received_at, id LIMIT $2",
        customer_sid,
        limit,
    )


async def advance_tier(tx: Tx, customer_sid: str, order_form: str, service: str, period: str, qty: int) -> int:
    """Count units into a tier's month and return how many there were before."""
    after: int = await tx.fetchval(
        "INSERT INTO tier_counts (customer_sid, order_form, service, period, qty) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (customer_sid, order_form, service, period) DO UPDATE SET qty = tier_counts.qty + $5 "
        "RETURNING qty",
        customer_sid,
        order_form,
        service,
        period,
        qty,
    )
    return after - qty


async def closed_until(tx: Tx, customer_sids: Sequence[str]) -> dict[str, datetime]:
    """Return until when each customer's usage is on invoices."""
    rows = await tx.fetch(
        "SELECT customer_sid, until FROM usage_closed WHERE customer_sid = ANY($1)", list(customer_sids)
    )
    return {row["customer_sid"]: row["until"] for row in rows}


async def close(tx: Tx, customer_sid: str, until: datetime) -> None:
    """Note that usage before `until` is on invoices; it never moves back."""
    await tx.execute(
        "INSERT INTO usage_closed (customer_sid, until) VALUES ($1, $2) "
        "ON CONFLICT (customer_sid) DO UPDATE SET until = greatest(usage_closed.until, $2)",
        customer_sid,
        until,
    )


async def totals(
    tx: Tx, account_sids: Sequence[str], start: datetime, end: datetime, group: Grouping
) -> list[UsageTotal]:
    """Add up what accounts used in [start, end) by category, and by contract day, month or year if asked."""
    bucket = "NULL::date" if group == "total" else f"date_trunc('{group}', occurred_at AT TIME ZONE 'UTC')::date"
    rows = await tx.fetch(
        f"""
        SELECT category, currency, unit, {bucket} AS start,
               (count(*) FILTER (WHERE correction_of IS NULL AND line = 0)
                - count(*) FILTER (WHERE correction_of IS NOT NULL AND line = 0))::bigint AS count,
               coalesce(sum(qty) FILTER (WHERE line = 0), 0)::bigint AS qty,
               sum(micros)::bigint AS micros
        FROM (SELECT CASE WHEN kind = 'surcharge' THEN name ELSE category END AS category, currency, unit, occurred_at,
                     correction_of, CASE WHEN kind = 'surcharge' THEN 0 ELSE line END AS line, qty, micros
              FROM rated_usage WHERE account_sid = ANY($1) AND occurred_at >= $2 AND occurred_at < $3) AS used
        GROUP BY 1, 2, 3, 4 ORDER BY 4 NULLS FIRST, 1, 2, 3
        """,
        list(account_sids),
        start,
        end,
    )
    return [UsageTotal(**dict(row)) for row in rows]


# tenant: an invoice is the customer's, with the rows of all its accounts.
async def unbilled(tx: Tx, customer_sid: str, until: datetime, apart: Sequence[datetime] = ()) -> list[UsageGroup]:
    """Add up what is on no invoice yet and was used before `until`, by what an invoice line shows.

    Shapes: what lies on two sides of an instant of `apart`, which ascend, is in two groups.
    """
    rows = await tx.fetch(
        f"SELECT {_GROUP}, {_PERIOD} AS period, {_SUMS}, min(occurred_at) AS first_at, max(occurred_at) AS last_at "
        f"FROM rated_usage WHERE customer_sid = $1 AND invoice_sid IS NULL AND occurred_at < $2 "
        f"GROUP BY {_GROUP}, period, width_bucket(occurred_at, $3::timestamptz[]) "
        "ORDER BY earlier_period, period, kind, service, category, country, name, price, first_at",
        customer_sid,
        until,
        list(apart) or _NEVER,
    )
    return [UsageGroup(**dict(row)) for row in rows]


# tenant: an invoice is the customer's, with the rows of all its accounts.
async def billed(tx: Tx, customer_sid: str, invoice_sid: str, apart: Sequence[datetime] = ()) -> list[UsageGroup]:
    """Add up what is on an invoice, by what its lines show; `apart` as for `unbilled`."""
    rows = await tx.fetch(
        f"SELECT {_GROUP}, {_PERIOD} AS period, {_SUMS}, min(occurred_at) AS first_at, max(occurred_at) AS last_at "
        f"FROM rated_usage WHERE customer_sid = $1 AND invoice_sid = $2 "
        f"GROUP BY {_GROUP}, period, width_bucket(occurred_at, $3::timestamptz[]) "
        "ORDER BY earlier_period, period, kind, service, category, country, name, price, first_at",
        customer_sid,
        invoice_sid,
        list(apart) or _NEVER,
    )
    return [UsageGroup(**dict(row)) for row in rows]


# tenant: an invoice is the customer's, with the rows of all its accounts.
async def mark(tx: Tx, customer_sid: str, until: datetime, invoice_sid: str, closed: datetime | None) -> int:
    """Put everything that is on no invoice yet and was used before `until` on this one.

    What was used before `closed` came too late for the invoice before; rows that were being written while that one
    closed do not say so yet.
    """
    return await tx.execute(
        "UPDATE rated_usage SET invoice_sid = $3, earlier_period = earlier_period OR coalesce(occurred_at < $4, false) "
        "WHERE customer_sid = $1 AND invoice_sid IS NULL AND occurred_at < $2",
        customer_sid,
        until,
        invoice_sid,
        closed,
    )


# tenant: a commitment is the customer's, counting all its accounts.
async def fees_between(
    tx: Tx, customer_sid: str, currency: str, services: Sequence[str], start: datetime, end: datetime
) -> int:
    """Add up fees (no surcharges) of services, or of all, in a time."""
    return int(
        await tx.fetchval(
            "SELECT coalesce(sum(micros), 0)::bigint FROM rated_usage WHERE customer_sid = $1 AND kind = 'fee' "
            "AND currency = $2 AND (cardinality($3::text[]) = 0 OR service = ANY($3)) "
            "AND occurred_at >= $4 AND occurred_at < $5",
            customer_sid,
            currency,
            list(services),
            start,
            end,
        )
    )


# tenant: claims and caps count a customer's accounts together, or those of a group of affiliates.
async def slices(
    tx: Tx, customer_sids: Sequence[str], start: datetime, end: datetime, cut: datetime | None
) -> list[UsageSlice]:
    """Add up what was used in [start, end) by customer, service, kind, invoice and day; no sum spans `cut`."""
    rows = await tx.fetch(
        "SELECT customer_sid, service, kind, unit, currency, invoice_sid, min(occurred_at) AS first_at, "
        "sum(micros)::bigint AS micros FROM rated_usage "
        "WHERE customer_sid = ANY($1) AND occurred_at >= $2 AND occurred_at < $3 "
        "GROUP BY customer_sid, service, kind, unit, currency, invoice_sid, "
        "(occurred_at AT TIME ZONE 'UTC')::date, coalesce(occurred_at >= $4, true) "
        "ORDER BY customer_sid, first_at, service, kind, unit",
        list(customer_sids),
        start,
        end,
        cut,
    )
    return [UsageSlice(**dict(row)) for row in rows]


# tenant: the customer's own list, over all its accounts.
async def page(tx: Tx, customer_sid: str, filters: Mapping[str, Any], after: str, limit: int) -> list[RatedUsage]:
    """Return rated lines of a customer in the order of their ids."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM rated_usage WHERE customer_sid = $1 AND ($2::text IS NULL OR kind = $2) "
        "AND ($3::text IS NULL OR invoice_sid = $3) AND id > $4 ORDER BY id, line LIMIT $5",
        customer_sid,
        filters.get("kind"),
        filters.get("invoice_sid"),
        after,
        limit,
    )
    return [_rated(row) for row in rows]
