"""The copy: rows of the live database, read in one snapshot, in a database of their own.

Every table is copied unless it is named here, so a room that is added later comes along. What is left out is what no
timer of the contract reads: secrets, traffic, the log, what the simulators keep. Foreign keys and triggers guard how
rows come to be; these are copies of rows that came to be, so the copy does without foreign keys and is filled with its
triggers off.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from onterms.app.rehearsal.recorders import NAME

_LEFT_OUT = frozenset(
    {
        "alerts",
        "api_keys",
        "job_workers",
        "log_consumers",
        "log_epoch",
        "media_contents",
        "message_cookies",
        "message_feedback",
        "message_media",
        "number_deactivations",
        "oauth_access_tokens",
        "oauth_apps",
        "operator_keys",
        # Senders of every tenant; nothing is sent in a copy.
        "rate_buckets",
        "schema_migrations",
        "simulations",
    }
)
_LEFT_OUT_PREFIXES = (
    "channel_", "content_", "events", "letterbox", "mailbox_", "messaging_", "mms_", "payment_simulator_",
    "rcs_", "registrar_", "simulator_", "smpp_", "trust_", "whatsapp_",
)  # fmt: skip

# What a customer's row is told by, where it is not customer_sid or account_sid. $1 is the customer's SID, $2 its
# accounts.
_OF_CUSTOMER = {
    "accounts": "sid = ANY($2::text[])",
    "audit_events": "scope IN ($1, 'operator')",
    "audit_heads": "scope IN ($1, 'operator')",
}
_JOBS_OF_CUSTOMER = """
    (payload->>'customer_sid' = $1 OR account_sid = ANY($2::text[]) OR (
        account_sid IS NULL AND NOT payload ? 'customer_sid' AND (NOT payload ? 'notice_sid' OR EXISTS (
            SELECT FROM notices WHERE notices.sid = payload->>'notice_sid' AND notices.customer_sid = $1))))
"""
# tenant: of every customer in the copy: a message matters to the books only while its funds are held.
_MESSAGES = "sid IN (SELECT id FROM ledger_holds WHERE state = 'held')"

# tenant: the accounts of one customer, with those below them.
_ACCOUNTS = """
WITH main AS (SELECT account_sid AS sid FROM customer_accounts WHERE customer_sid = $1)
SELECT sid FROM accounts WHERE sid IN (SELECT sid FROM main) OR owner_sid IN (SELECT sid FROM main) ORDER BY sid
"""
_TABLES = """
SELECT c.relname AS name, array_agg(a.attname ORDER BY a.attnum) AS columns
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
GROUP BY c.relname ORDER BY c.relname
"""
_FOREIGN_KEYS = """
SELECT conrelid::regclass::text AS name, quote_ident(conname) AS key FROM pg_constraint
WHERE contype = 'f' AND connamespace = current_schema()::regnamespace AND conparentid = 0
"""
_SEQUENCES = """
SELECT c.relname AS name, a.attname AS column, pg_get_serial_sequence(quote_ident(c.relname), a.attname) AS sequence
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND NOT c.relispartition AND a.attnum > 0
  AND NOT a.attisdropped AND pg_get_serial_sequence(quote_ident(c.relname), a.attname) IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]


async def copy_rows(live: Any, scratch: Any, scope: str, tasks: Sequence[str]) -> None:
    """Fill an empty, migrated database from a transaction on the live one; only jobs of these tasks come along.

    Shapes: live and scratch are connections of asyncpg. scope is a customer's SID or "all".
    """
    accounts: list[str] = []
    if scope != "all":
        accounts = [row["sid"] for row in await live.fetch(_ACCOUNTS, scope)]
    for row in await scratch.fetch(_FOREIGN_KEYS):
        await scratch.execute(f"ALTER TABLE {row['name']} DROP CONSTRAINT {row['key']}")
    for row in await live.fetch(_TABLES):
        table = _Table(row["name"], tuple(row["columns"]))
        if table.name in _LEFT_OUT or table.name.startswith(_LEFT_OUT_PREFIXES):
            continue
        query, args = _query(table, scope, accounts, tasks)
        await scratch.execute(f"ALTER TABLE {table.name} DISABLE TRIGGER USER")
        # Migrations bring first rows of their own.
        await scratch.execute(f"DELETE FROM {table.name}")
        await _pour(live, scratch, table, query, args)
        await scratch.execute(f"ALTER TABLE {table.name} ENABLE TRIGGER USER")
    for row in await scratch.fetch(_SEQUENCES):
        last = f'(SELECT max("{row["column"]}") FROM {row["name"]})'
        await scratch.execute(
            f"SELECT setval($1::text::regclass, coalesce({last}, 1), {last} IS NOT NULL)", row["sequence"]
        )
    await _join_provider(scratch)


def _query(table: _Table, scope: str, accounts: list[str], tasks: Sequence[str]) -> tuple[str, list[Any]]:
    selected = ", ".join(f'"{column}"' for column in table.columns)
    conditions: list[str] = []
    args: list[Any] = []
    if scope != "all":
        condition = _JOBS_OF_CUSTOMER if table.name == "jobs" else _condition(table)
        if condition:
            # Parameters that a statement does not use have no type.
            conditions.append(condition)
            args = [scope, accounts] if "$2" in condition else [scope]
            if "$1" not in condition:
                conditions.append("$1::text IS NOT NULL")
    if table.name == "messages":
        conditions.append(_MESSAGES)
    if table.name == "jobs":
        # Nobody holds a copied job.
        values = {"state": "'ready'", "leased_by": "NULL::bigint"}
        selected = ", ".join(values.get(column, f'"{column}"') for column in table.columns)
        args.append(list(tasks))
        conditions.append(f"task = ANY(${len(args)}::text[]) AND state <> 'dead'")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {selected} FROM {table.name}{where}", args


def _condition(table: _Table) -> str | None:
    if table.name in _OF_CUSTOMER:
        return _OF_CUSTOMER[table.name]
    if "customer_sid" in table.columns:
        return "(customer_sid = $1 OR customer_sid IS NULL)"
    if "account_sid" in table.columns:
        return "(account_sid = ANY($2::text[]) OR account_sid IS NULL)"
    return None


async def _pour(live: Any, scratch: Any, table: _Table, query: str, args: list[Any]) -> None:
    # Bytes go from one server to the other as they come, a few pieces in memory at a time.
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=8)

    async def read() -> None:
        await live.copy_from_query(query, *args, output=pieces.put, format="binary")
        await pieces.put(None)

    async def written() -> AsyncIterator[bytes]:
        while (piece := await pieces.get()) is not None:
            yield piece

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        group.create_task(
            scratch.copy_to_table(table.name, source=written(), columns=list(table.columns), format="binary")
        )


# tenant: the copy's cards and customers at providers, all of them.
async def _join_provider(scratch: Any) -> None:
    """Let every card be at the one provider that a rehearsal has."""
    await scratch.execute(
        f"""
        UPDATE payment_methods SET reference = provider || ':' || reference, provider = '{NAME}';
        UPDATE payment_top_ups SET provider = '{NAME}' WHERE state IN ('created', 'processing', 'needs_action');
        DELETE FROM payment_customers AS other USING payment_customers AS one
        WHERE other.customer_sid = one.customer_sid AND other.provider > one.provider;
        UPDATE payment_customers SET provider = '{NAME}';
        """
    )
