"""Read-only queries over all customers, for the operator's lists. What concerns one customer the rooms' API answers."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from onterms.core.db import Row, Tx
from onterms.engines.audit import history

PAGE_SIZE: Final = 50
STANDINGS: Final = ("good", "past_due", "restricted", "suspended", "ended")
# The rooms whose jobs are clocks of the contract, and not steps of a message.
_ROOMS: Final = (
    "agreements", "cases", "claims", "collections", "customers", "disputes", "invoicing", "ledger", "notices",
    "numbers", "payments", "pricing", "privacy", "suspension", "support", "tax", "termination",
)  # fmt: skip
# `/` follows `.`: a span of the index for each room.
_TIMER: Final = " OR ".join(f"task >= '{room}.' AND task < '{room}/'" for room in _ROOMS)
# A job names its customer, or an account of it.
_TIMER_OF: Final = """
coalesce(payload ->> 'customer_sid', (
    SELECT held.customer_sid FROM customer_accounts AS held
    WHERE held.account_sid = coalesce(jobs.account_sid, payload ->> 'account_sid') AND held.until_at IS NULL
))
"""

# The worst of what is known of a customer.
_STANDING: Final = """
CASE
    WHEN EXISTS (SELECT FROM agreement_ends AS ended WHERE ended.customer_sid = c.customer_sid) THEN 'ended'
    WHEN EXISTS (SELECT FROM standing_blocks AS block WHERE block.customer_sid = c.customer_sid
                 AND block.lifted_at IS NULL AND block.scope = 'customer' AND block.kind IN ('send', 'everything'))
      OR EXISTS (SELECT FROM suspended_accounts AS taken WHERE taken.customer_sid = c.customer_sid
                 AND taken.until_at IS NULL) THEN 'suspended'
    WHEN EXISTS (SELECT FROM standing_blocks AS block WHERE block.customer_sid = c.customer_sid
                 AND block.lifted_at IS NULL)
      OR EXISTS (SELECT FROM cases AS held WHERE held.customer_sid = c.customer_sid
                 AND held.kind = 'suspension' AND held.state IN ('active', 'converted')) THEN 'restricted'
    WHEN EXISTS (SELECT FROM dunning WHERE dunning.customer_sid = c.customer_sid AND dunning.state <> 'clear')
        THEN 'past_due'
    ELSE 'good'
END
"""
# tenant: the operator's list of all customers
_CUSTOMERS: Final = f"""
SELECT c.customer_sid AS sid, c.name, c.org_type, c.currency, c.created_at, home.country, home.subdivision,
       {_STANDING} AS standing,
       (SELECT count(*) FROM customer_accounts AS held
        WHERE held.customer_sid = c.customer_sid AND held.until_at IS NULL) AS accounts
FROM customers AS c
LEFT JOIN LATERAL (
    SELECT country, subdivision FROM customer_domiciles AS home
    WHERE home.customer_sid = c.customer_sid AND home.from_on <= $1 ORDER BY from_on DESC, place DESC LIMIT 1
) AS home ON true
"""
# tenant: the operator's list of all invoices
_INVOICES: Final = """
SELECT i.customer_sid, i.sid, i.kind, i.number, i.state, i.currency, i.issued_on, i.due_on, i.total,
       c.name AS customer_name, coalesce(open.due, 0)::bigint AS due, coalesce(open.disputed, 0)::bigint AS disputed
FROM invoices AS i JOIN customers AS c ON c.customer_sid = i.customer_sid
LEFT JOIN LATERAL (
    SELECT sum(m.fees + m.late) FILTER (WHERE NOT p.disputed) AS due,
           sum(m.fees + m.late) FILTER (WHERE p.disputed) AS disputed
    FROM invoice_parts AS p JOIN invoice_movements AS m
      ON m.customer_sid = p.customer_sid AND m.invoice_sid = p.invoice_sid AND m.part = p.part
    WHERE p.customer_sid = i.customer_sid AND p.invoice_sid = i.sid
) AS open ON true
"""


def _like(text: str) -> str:
    return "%" + text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_") + "%"


# ---- customers


# tenant: the operator's list of all customers
async def customers(
    tx: Tx, on: date, *, search: str = "", standing: str | None = None, after: str = "", limit: int = PAGE_SIZE
) -> list[Row]:
    """List customers, the newest first: by name, SID, account or a contact's address."""
    return await tx.fetch(
        f"""
        SELECT * FROM ({_CUSTOMERS}) AS listed
        WHERE ($2 = '' OR sid < $2) AND ($3::text IS NULL OR standing = $3)
          AND ($4 = '' OR name ILIKE $5 OR sid = $4
               OR EXISTS (SELECT FROM customer_accounts AS held WHERE held.customer_sid = listed.sid
                          AND held.account_sid = $4 AND held.until_at IS NULL)
               OR EXISTS (SELECT FROM customer_contacts AS contact WHERE contact.customer_sid = listed.sid
                          AND contact.removed_at IS NULL AND contact.address ILIKE $5))
        ORDER BY sid DESC LIMIT $6
        """,
        on,
        after,
        standing,
        search,
        _like(search),
        limit,
    )


async def by_standing(tx: Tx, on: date) -> dict[str, int]:
    """Count customers by their standing."""
    rows = await tx.fetch(f"SELECT standing, count(*) AS n FROM ({_CUSTOMERS}) AS listed GROUP BY standing", on)
    return {row["standing"]: row["n"] for row in rows}


async def standing_of(tx: Tx, customer_sid: str) -> str:
    """Return one customer's standing."""
    found = await tx.fetchval(f"SELECT {_STANDING} FROM customers AS c WHERE c.customer_sid = $1", customer_sid)
    return str(found)


async def names(tx: Tx, sids: Sequence[str]) -> dict[str, str]:
    """Return customers' names."""
    rows = await tx.fetch("SELECT customer_sid, name FROM customers WHERE customer_sid = ANY($1)", list(sids))
    return {row["customer_sid"]: row["name"] for row in rows}


async def funds(tx: Tx, sids: Sequence[str]) -> dict[str, list[Row]]:
    """Return what customers can spend, by customer."""
    rows = await tx.fetch(
        "SELECT customer_sid, currency, kind, posted, held, floor FROM ledger_funds WHERE customer_sid = ANY($1) "
        "ORDER BY customer_sid, currency",
        list(sids),
    )
    return _by_customer(rows)


async def owed(tx: Tx, sids: Sequence[str]) -> dict[str, list[Row]]:
    """Return what customers owe on documents, by customer."""
    rows = await tx.fetch(
        """
        SELECT i.customer_sid, i.currency, sum(m.fees + m.late)::bigint AS micros
        FROM invoices AS i JOIN invoice_movements AS m ON m.customer_sid = i.customer_sid AND m.invoice_sid = i.sid
        WHERE i.customer_sid = ANY($1) GROUP BY i.customer_sid, i.currency HAVING sum(m.fees + m.late) <> 0
        ORDER BY i.customer_sid, i.currency
        """,
        list(sids),
    )
    return _by_customer(rows)


def _by_customer(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["customer_sid"], []).append(row)
    return found


async def accounts(tx: Tx, customer_sid: str) -> list[Row]:
    """List a customer's main accounts, and how many subaccounts each has."""
    return await tx.fetch(
        """
        SELECT a.sid, a.friendly_name, a.status, a.type, a.created_at,
               (SELECT count(*) FROM accounts AS sub
                WHERE sub.owner_sid = a.sid AND sub.sid <> a.sid AND NOT sub.test) AS subaccounts
        FROM customer_accounts AS held JOIN accounts AS a ON a.sid = held.account_sid
        WHERE held.customer_sid = $1 AND held.until_at IS NULL ORDER BY a.sid
        """,
        customer_sid,
    )


# tenant: the account made at the first start is the one that the first page shows
async def first_customer(tx: Tx) -> str | None:
    """Return the customer that the first account belongs to."""
    found: str | None = await tx.fetchval(
        "SELECT held.customer_sid FROM customer_accounts AS held JOIN accounts_first AS first "
        "ON first.account_sid = held.account_sid WHERE held.until_at IS NULL"
    )
    return found


async def audit_trail(tx: Tx, customer_sid: str, before: int | None, limit: int) -> list[dict[str, Any]]:
    """List a customer's audit events, the newest first."""
    last = await tx.fetchval("SELECT number FROM audit_heads WHERE scope = $1", customer_sid) or 0
    end = last + 1 if before is None else min(before, last + 1)
    start = max(0, end - 1 - limit)
    found = await history(tx, customer_sid, after=start, limit=max(0, end - 1 - start)) if end > 1 else []
    return [
        {
            "number": one.number,
            "at": one.at,
            "actor": one.event.actor,
            "aggregate": one.event.aggregate,
            "aggregate_sid": one.event.aggregate_sid,
            "from_state": one.event.from_state,
            "to_state": one.event.to_state,
            "cause": one.event.cause,
            "evidence": dict(one.event.evidence),
            "hash": one.hash.hex(),
        }
        for one in reversed(found)
    ]


# ---- money


# tenant: the operator's sums over all customers
async def exposure(tx: Tx, today: date) -> list[Row]:
    """Sum up by currency: billed and open, past due, disputed, not billed yet, and prepaid."""
    return await tx.fetch(
        """
        WITH open AS (
            SELECT i.currency, sum(m.fees + m.late) AS billed,
                   sum(m.fees + m.late) FILTER (WHERE p.disputed) AS disputed,
                   sum(m.fees + m.late) FILTER (WHERE NOT p.disputed AND p.due_on < $1) AS late
            FROM invoice_parts AS p
            JOIN invoices AS i ON i.customer_sid = p.customer_sid AND i.sid = p.invoice_sid
            JOIN invoice_movements AS m
              ON m.customer_sid = p.customer_sid AND m.invoice_sid = p.invoice_sid AND m.part = p.part
            GROUP BY i.currency
        ), unbilled AS (
            SELECT currency, sum(micros) AS micros FROM ledger_balances WHERE account = 'unbilled' GROUP BY currency
        ), prepaid AS (
            SELECT currency, sum(posted) AS micros FROM ledger_funds WHERE kind = 'prepaid' GROUP BY currency
        )
        SELECT currency, coalesce(open.billed, 0)::bigint AS billed, coalesce(open.disputed, 0)::bigint AS disputed,
               coalesce(open.late, 0)::bigint AS late, coalesce(unbilled.micros, 0)::bigint AS unbilled,
               coalesce(prepaid.micros, 0)::bigint AS prepaid
        FROM open FULL JOIN unbilled USING (currency) FULL JOIN prepaid USING (currency) ORDER BY currency
        """,
        today,
    )


# tenant: the operator's list of all invoices
async def invoices(
    tx: Tx,
    *,
    state: str | None = None,
    search: str = "",
    currency: str | None = None,
    customer_sid: str | None = None,
    after: str = "",
    limit: int = PAGE_SIZE,
) -> list[Row]:
    """List invoices, the newest first; `open` stands for every state in which something is owed."""
    return await tx.fetch(
        f"""
        {_INVOICES}
        WHERE ($1 = '' OR i.sid < $1) AND ($2::text IS NULL OR i.state = $2 OR ($2 = 'open' AND i.state = ANY($3)))
          AND ($4 = '' OR i.number ILIKE $5 OR c.name ILIKE $5 OR i.sid = $4)
          AND ($6::text IS NULL OR i.currency = $6) AND ($7::text IS NULL OR i.customer_sid = $7)
        ORDER BY i.sid DESC LIMIT $8
        """,
        after,
        state,
        ["finalised", "sent", "partially_paid", "past_due"],
        search,
        _like(search),
        currency,
        customer_sid,
        limit,
    )


# tenant: which states and currencies the operator may filter by
async def invoice_states(tx: Tx) -> tuple[dict[str, int], list[str]]:
    """Count invoices by state, and list the currencies there are."""
    rows = await tx.fetch("SELECT state, currency, count(*) AS n FROM invoices GROUP BY state, currency")
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + row["n"]
    return counts, sorted({row["currency"] for row in rows})


async def movements(tx: Tx, customer_sid: str, invoice_sid: str) -> list[Row]:
    """List what changed what is open of an invoice."""
    return await tx.fetch(
        "SELECT kind, part, fees, late, on_day, source, recorded_at FROM invoice_movements "
        "WHERE customer_sid = $1 AND invoice_sid = $2 ORDER BY on_day, id",
        customer_sid,
        invoice_sid,
    )


async def parts(tx: Tx, customer_sid: str, invoice_sid: str) -> list[Row]:
    """List the parts of an invoice that have a day of their own, with what is open of each."""
    return await tx.fetch(
        """
        SELECT p.part, p.due_on, p.disputed, coalesce(sum(m.fees + m.late), 0)::bigint AS micros
        FROM invoice_parts AS p LEFT JOIN invoice_movements AS m
          ON m.customer_sid = p.customer_sid AND m.invoice_sid = p.invoice_sid AND m.part = p.part
        WHERE p.customer_sid = $1 AND p.invoice_sid = $2 GROUP BY p.part, p.due_on, p.disputed ORDER BY p.part
        """,
        customer_sid,
        invoice_sid,
    )


# ---- disputes and cases


# tenant: the operator's list of all disputes
async def disputes(
    tx: Tx,
    *,
    states: Sequence[str] | None = None,
    customer_sid: str | None = None,
    invoice_sid: str | None = None,
    after: str = "",
    limit: int = PAGE_SIZE,
) -> list[Row]:
    """List disputes, the newest first."""
    return await tx.fetch(
        """
        SELECT d.customer_sid, d.sid, d.invoice_sid, d.state, d.currency, d.micros, d.withheld, d.credited, d.shielded,
               d.filed_at, d.filed_on, d.deadline, c.name AS customer_name, i.number
        FROM disputes AS d JOIN customers AS c ON c.customer_sid = d.customer_sid
        JOIN invoices AS i ON i.customer_sid = d.customer_sid AND i.sid = d.invoice_sid
        WHERE ($1 = '' OR d.sid < $1) AND ($2::text[] IS NULL OR d.state = ANY($2))
          AND ($3::text IS NULL OR d.customer_sid = $3) AND ($4::text IS NULL OR d.invoice_sid = $4)
        ORDER BY d.sid DESC LIMIT $5
        """,
        after,
        states,
        customer_sid,
        invoice_sid,
        limit,
    )


# tenant: the operator's queue of all cases
async def cases(
    tx: Tx,
    *,
    kind: str | None = None,
    states: Sequence[str] | None = None,
    customer_sid: str | None = None,
    after: str = "",
    limit: int = PAGE_SIZE,
) -> list[Row]:
    """List cases, the newest first."""
    return await tx.fetch(
        """
        SELECT k.customer_sid, k.sid, k.kind, k.state, k.facts, k.opened_at, k.updated_at, c.name AS customer_name
        FROM cases AS k JOIN customers AS c ON c.customer_sid = k.customer_sid
        WHERE ($1 = '' OR (k.opened_at, k.sid) < (SELECT opened_at, sid FROM cases WHERE sid = $1 LIMIT 1))
          AND ($2::text IS NULL OR k.kind = $2) AND ($3::text[] IS NULL OR k.state = ANY($3))
          AND ($4::text IS NULL OR k.customer_sid = $4)
        ORDER BY k.opened_at DESC, k.sid DESC LIMIT $5
        """,
        after,
        kind,
        states,
        customer_sid,
        limit,
    )


# tenant: the operator's counts over all customers
async def case_counts(tx: Tx) -> list[Row]:
    """Count cases by kind and state."""
    return await tx.fetch("SELECT kind, state, count(*) AS n FROM cases GROUP BY kind, state ORDER BY kind, state")


async def case(tx: Tx, customer_sid: str, sid: str) -> Row | None:
    """Return a case with its own kind."""
    return await tx.fetchrow(
        "SELECT customer_sid, sid, kind, state, version, facts, opened_at, updated_at FROM cases "
        "WHERE customer_sid = $1 AND sid = $2",
        customer_sid,
        sid,
    )


# ---- agreements


# tenant: the operator sees who is bound to what
async def bound(tx: Tx, version_sid: str, limit: int) -> list[Row]:
    """List who accepted a version, or waits for it, with the evidence."""
    return await tx.fetch(
        """
        SELECT c.customer_sid, c.name, b.state, b.given_on, b.effective_on, b.notice_sid,
               a.mode, a.accepted_at, a.actor, a.role
        FROM customers AS c
        LEFT JOIN bindings AS b ON b.customer_sid = c.customer_sid AND b.version_sid = $1
        LEFT JOIN acceptances AS a ON a.customer_sid = c.customer_sid AND a.version_sid = $1
        WHERE b.version_sid IS NOT NULL OR a.sid IS NOT NULL
        ORDER BY coalesce(a.accepted_at, b.updated_at) DESC, c.customer_sid LIMIT $2
        """,
        version_sid,
        limit,
    )


# tenant: the operator's counts over all customers
async def acceptance_counts(tx: Tx) -> dict[str, int]:
    """Count acceptances by version."""
    rows = await tx.fetch("SELECT version_sid, count(*) AS n FROM acceptances GROUP BY version_sid")
    return {row["version_sid"]: row["n"] for row in rows}


# ---- timers


async def timers(tx: Tx, limit: int, customer_sid: str | None = None) -> list[Row]:
    """List what the contract's clocks will do, the next first."""
    return await tx.fetch(
        f"""
        SELECT id, task, payload, due_at, {_TIMER_OF} AS customer_sid FROM jobs
        WHERE state = 'ready' AND ({_TIMER}) AND ($2::text IS NULL OR {_TIMER_OF} = $2)
        ORDER BY due_at, id LIMIT $1
        """,
        limit,
        customer_sid,
    )


async def timer_counts(tx: Tx) -> int:
    """Count the pending timers."""
    found: int = await tx.fetchval(f"SELECT count(*) FROM jobs WHERE state = 'ready' AND ({_TIMER})")
    return found


async def versions(tx: Tx, sids: Sequence[str]) -> Mapping[str, str]:
    """Return versions of documents as people call them."""
    rows = await tx.fetch("SELECT sid, document, label FROM document_versions WHERE sid = ANY($1)", list(sids))
    return {row["sid"]: f"{row['document']} {row['label']}" for row in rows}
