"""The room's SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, datetime
from typing import Any

from onterms.business.invoicing.model import Credit, Invoice, Line, Movement, Part, Profile
from onterms.core.db import Row, Tx

# Keeps these advisory locks apart from others ("bill" in ASCII).
_LOCK_SEED = 0x62696C6C
_INVOICE = (
    "customer_sid, sid, kind, number, state, issuer, capacity, on_behalf_of, currency, period_from, period_to, "
    "issued_on, due_on, total, body, sha256, usage_sid, notice_sid, created_at"
)
_LINE = (
    "ref, kind, name, service, section, period, qty, unit, price, exact, micros, supplied_at, jurisdiction, base, "
    "rate, taxed"
)
_CREDIT = (
    "customer_sid, sid, invoice_sid, number, issuer, currency, reason, issued_on, total, off_document, to_balance, "
    "lines, sha256, created_at"
)


async def lock(tx: Tx, customer_sid: str) -> None:
    """Let one transaction at a time change what a customer owes."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", customer_sid, _LOCK_SEED)


async def profile(tx: Tx, customer_sid: str) -> Profile | None:
    """Return how a customer is billed."""
    row = await tx.fetchrow(
        "SELECT customer_sid, bill_to, issuer, capacity, currency FROM billing_profiles WHERE customer_sid = $1",
        customer_sid,
    )
    return None if row is None else Profile(**dict(row))


async def save_profile(tx: Tx, customer_sid: str, wanted: Profile, at: datetime) -> bool:
    """Keep how a customer is billed and tell whether it is new."""
    is_new: bool = await tx.fetchval(
        "INSERT INTO billing_profiles (customer_sid, bill_to, issuer, capacity, currency, enrolled_at) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (customer_sid) DO UPDATE SET bill_to = excluded.bill_to, "
        "issuer = excluded.issuer, capacity = excluded.capacity, currency = excluded.currency RETURNING xmax = 0",
        customer_sid,
        wanted.bill_to,
        wanted.issuer,
        wanted.capacity,
        wanted.currency,
        at,
    )
    return is_new


# tenant: a reseller's customers, by the reseller that pays for them.
async def billed_through(tx: Tx, reseller_sid: str) -> list[str]:
    """Return the customers that a reseller pays for."""
    rows = await tx.fetch(
        "SELECT customer_sid FROM billing_profiles WHERE bill_to = $1 ORDER BY customer_sid", reseller_sid
    )
    return [row["customer_sid"] for row in rows]


async def begin_close(tx: Tx, customer_sid: str, until_on: date, at: datetime) -> bool:
    """Note that a period is closed, and tell whether it was not before."""
    return (
        await tx.execute(
            "INSERT INTO invoice_closes (customer_sid, until_on, closed_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            customer_sid,
            until_on,
            at,
        )
        == 1
    )


async def next_number(tx: Tx, issuer: str, series: str, year: int) -> int:
    """Return the next number of a series; it is taken when the transaction commits."""
    number: int = await tx.fetchval(
        "INSERT INTO invoice_numbers (issuer, series, year, last) VALUES ($1, $2, $3, 1) "
        "ON CONFLICT (issuer, series, year) DO UPDATE SET last = invoice_numbers.last + 1 RETURNING last",
        issuer,
        series,
        year,
    )
    return number


async def insert_invoice(tx: Tx, customer_sid: str, invoice: Invoice) -> None:
    """Store a finalised document with its lines."""
    names = [name.strip() for name in _INVOICE.split(",")]
    marks = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    await tx.execute(
        f"INSERT INTO invoices ({_INVOICE}) VALUES ({marks})",
        *[customer_sid if name == "customer_sid" else getattr(invoice, name) for name in names],
    )
    columns = [name.strip() for name in _LINE.split(",")]
    marks = ", ".join(f"${place}" for place in range(4, len(columns) + 4))
    for place, line in enumerate(invoice.lines):
        values = asdict(line) | {"taxed": list(line.taxed)}
        await tx.execute(
            f"INSERT INTO invoice_lines (customer_sid, invoice_sid, place, {_LINE}) VALUES ($1, $2, $3, {marks})",
            customer_sid,
            invoice.sid,
            place,
            *[values[name] for name in columns],
        )


async def set_state(tx: Tx, customer_sid: str, sid: str, state: str, notice_sid: str | None = None) -> None:
    """Move a document on; a notice is kept once it is known."""
    await tx.execute(
        "UPDATE invoices SET state = $3, notice_sid = coalesce($4, notice_sid) WHERE customer_sid = $1 AND sid = $2",
        customer_sid,
        sid,
        state,
        notice_sid,
    )


async def invoice(tx: Tx, customer_sid: str, sid: str) -> Invoice | None:
    """Return a document with its lines."""
    row = await tx.fetchrow(f"SELECT {_INVOICE} FROM invoices WHERE customer_sid = $1 AND sid = $2", customer_sid, sid)
    if row is None:
        return None
    rows = await tx.fetch(
        f"SELECT {_LINE} FROM invoice_lines WHERE customer_sid = $1 AND invoice_sid = $2 ORDER BY place",
        customer_sid,
        sid,
    )
    return replace(Invoice(**dict(row)), lines=tuple(_line(each) for each in rows))


def _line(row: Row) -> Line:
    return Line(**{**dict(row), "taxed": tuple(row["taxed"])})


async def invoices(tx: Tx, customer_sid: str, after: str, limit: int) -> list[Invoice]:
    """Return a customer's documents without their lines, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {_INVOICE} FROM invoices WHERE customer_sid = $1 AND sid > $2 ORDER BY sid LIMIT $3",
        customer_sid,
        after,
        limit,
    )
    return [Invoice(**dict(row)) for row in rows]


async def open_part(tx: Tx, customer_sid: str, invoice_sid: str, part: str, due_on: date, disputed: bool) -> None:
    """Make a part of an invoice, or set when it is due and whether it is disputed."""
    await tx.execute(
        "INSERT INTO invoice_parts (customer_sid, invoice_sid, part, due_on, disputed) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (customer_sid, invoice_sid, part) DO UPDATE SET due_on = excluded.due_on, "
        "disputed = excluded.disputed",
        customer_sid,
        invoice_sid,
        part,
        due_on,
        disputed,
    )


async def add_movements(tx: Tx, customer_sid: str, movements: Sequence[Movement], at: datetime) -> None:
    """Record changes of what is open."""
    for each in movements:
        if each.fees or each.late:
            await tx.execute(
                "INSERT INTO invoice_movements (customer_sid, invoice_sid, part, kind, fees, late, on_day, source, "
                "recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                customer_sid,
                each.invoice_sid,
                each.part,
                each.kind,
                each.fees,
                each.late,
                each.on_day,
                each.source,
                at,
            )


_PARTS = """
SELECT part.customer_sid, part.invoice_sid, part.part, invoice.currency, part.due_on, part.disputed,
       coalesce(sum(movement.fees), 0)::bigint AS fees, coalesce(sum(movement.late), 0)::bigint AS late
FROM invoice_parts AS part
JOIN invoices AS invoice ON invoice.customer_sid = part.customer_sid AND invoice.sid = part.invoice_sid
LEFT JOIN invoice_movements AS movement
       ON movement.customer_sid = part.customer_sid AND movement.invoice_sid = part.invoice_sid
      AND movement.part = part.part
WHERE part.customer_sid = $1 AND ($2::text IS NULL OR part.invoice_sid = $2)
GROUP BY part.customer_sid, part.invoice_sid, part.part, invoice.currency, part.due_on, part.disputed
ORDER BY part.due_on, part.invoice_sid, part.part
"""


async def parts(tx: Tx, customer_sid: str, invoice_sid: str | None = None) -> list[Part]:
    """Return what is open of each part of a customer's invoices, or of one of them."""
    return [Part(**dict(row)) for row in await tx.fetch(_PARTS, customer_sid, invoice_sid)]


async def movements(tx: Tx, customer_sid: str, invoice_sid: str) -> list[Movement]:
    """Return what changed an invoice's open amount, by day."""
    rows = await tx.fetch(
        "SELECT invoice_sid, part, kind, fees, late, on_day, source FROM invoice_movements "
        "WHERE customer_sid = $1 AND invoice_sid = $2 ORDER BY on_day, id",
        customer_sid,
        invoice_sid,
    )
    return [Movement(**dict(row)) for row in rows]


# tenant: the operator checks the books of all customers.
async def open_totals(tx: Tx) -> dict[tuple[str, str], int]:
    """Return what open documents sum to by customer and currency."""
    rows = await tx.fetch(
        "SELECT customer_sid, currency, sum(movement.fees + movement.late)::bigint AS micros "
        "FROM invoice_movements AS movement JOIN invoices AS invoice USING (customer_sid) "
        "WHERE invoice.sid = movement.invoice_sid GROUP BY customer_sid, currency"
    )
    return {(row["customer_sid"], row["currency"]): row["micros"] for row in rows}


async def add_charge(
    tx: Tx, customer_sid: str, sid: str, kind: str, name: str, currency: str, micros: int, at: datetime
) -> None:
    """Keep a line for the next invoice."""
    await tx.execute(
        "INSERT INTO invoice_charges (customer_sid, sid, kind, name, currency, micros, arose_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        customer_sid,
        sid,
        kind,
        name,
        currency,
        micros,
        at,
    )


async def charges(tx: Tx, customer_sid: str) -> list[Row]:
    """Return the lines that wait for the next invoice."""
    return await tx.fetch(
        "SELECT sid, kind, name, currency, micros, arose_at FROM invoice_charges "
        "WHERE customer_sid = $1 AND invoice_sid IS NULL ORDER BY sid",
        customer_sid,
    )


async def take_charges(tx: Tx, customer_sid: str, sids: Sequence[str], invoice_sid: str) -> None:
    """Put waiting lines on an invoice."""
    await tx.execute(
        "UPDATE invoice_charges SET invoice_sid = $3 WHERE customer_sid = $1 AND sid = ANY($2)",
        customer_sid,
        list(sids),
        invoice_sid,
    )


async def insert_credit(tx: Tx, customer_sid: str, credit: Credit) -> None:
    """Store a credit note."""
    names = [name.strip() for name in _CREDIT.split(",")]
    marks = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    values: Mapping[str, Any] = asdict(credit) | {"customer_sid": customer_sid, "lines": list(credit.lines)}
    await tx.execute(f"INSERT INTO credit_notes ({_CREDIT}) VALUES ({marks})", *[values[name] for name in names])


async def credits(
    tx: Tx, customer_sid: str, invoice_sid: str | None = None, after: str = "", limit: int = 1000
) -> list[Credit]:
    """Return a customer's credit notes, or those on one invoice, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {_CREDIT} FROM credit_notes WHERE customer_sid = $1 AND ($2::text IS NULL OR invoice_sid = $2) "
        "AND sid > $3 ORDER BY sid LIMIT $4",
        customer_sid,
        invoice_sid,
        after,
        limit,
    )
    return [Credit(**{**dict(row), "lines": tuple(row["lines"])}) for row in rows]
