"""The SQL of this room's own tables."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from onterms.business.suspension.model import Entry, Rule
from onterms.core.db import Row, Tx

# Said at each change of rules and places; what is in memory is read again then.
CHANNEL = "onterms_conduct"

_RULE = "sid, service, country, condition, action, weight, text_ref"


async def take_account(
    tx: Tx, customer_sid: str, account_sid: str, case_sid: str, status_before: str, at: datetime
) -> None:
    """Record that a suspension took an account; where another one holds it, with the status before the first."""
    await tx.execute(
        """
        INSERT INTO suspended_accounts (customer_sid, account_sid, case_sid, status_before, from_at)
        SELECT $1, $2, $3, coalesce((SELECT status_before FROM suspended_accounts
                                     WHERE customer_sid = $1 AND account_sid = $2 AND until_at IS NULL
                                     ORDER BY from_at, case_sid LIMIT 1), $4), $5
        """,
        customer_sid,
        account_sid,
        case_sid,
        status_before,
        at,
    )


async def release_accounts(tx: Tx, customer_sid: str, case_sid: str, at: datetime) -> dict[str, str]:
    """End a suspension's hold and return the accounts that no other holds, with what each was before."""
    rows = await tx.fetch(
        """
        UPDATE suspended_accounts SET until_at = $3
        WHERE customer_sid = $1 AND case_sid = $2 AND until_at IS NULL RETURNING account_sid, status_before
        """,
        customer_sid,
        case_sid,
        at,
    )
    held = await tx.fetch(
        "SELECT DISTINCT account_sid FROM suspended_accounts WHERE customer_sid = $1 AND until_at IS NULL", customer_sid
    )
    others = {row["account_sid"] for row in held}
    return {row["account_sid"]: row["status_before"] for row in rows if row["account_sid"] not in others}


async def insert_window(tx: Tx, customer_sid: str, service: str, country: str, start_at: datetime, units: int) -> bool:
    """Insert what was used in a window, once."""
    sql = "INSERT INTO usage_windows VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
    return await tx.execute(sql, customer_sid, service, country, start_at, units) == 1


async def window_is_done(tx: Tx, start_at: datetime) -> bool:
    """Tell whether a window was watched to its end."""
    return bool(await tx.fetchval("SELECT EXISTS (SELECT FROM usage_window_runs WHERE start_at = $1)", start_at))


async def finish_window(tx: Tx, start_at: datetime, at: datetime) -> None:
    """Note that a window was watched to its end."""
    await tx.execute("INSERT INTO usage_window_runs VALUES ($1, $2) ON CONFLICT DO NOTHING", start_at, at)


async def earlier_windows(
    tx: Tx, customer_sid: str, service: str, country: str, before: datetime, since: datetime
) -> list[int]:
    """List the units of windows in the same hour of the week."""
    rows = await tx.fetch(
        """
        SELECT units FROM usage_windows
        WHERE customer_sid = $1 AND service = $2 AND country = $3 AND start_at < $4 AND start_at >= $5
          AND extract(isodow FROM start_at) = extract(isodow FROM $4::timestamptz)
          AND extract(hour FROM start_at) = extract(hour FROM $4::timestamptz)
        """,
        customer_sid,
        service,
        country,
        before,
        since,
    )
    return [row["units"] for row in rows]


# Policy


async def insert_rule(tx: Tx, rule: Rule, at: datetime) -> None:
    """Insert a rule in force from an instant on."""
    await tx.execute(
        f"INSERT INTO aup_rules ({_RULE}, from_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        rule.sid,
        rule.service,
        rule.country,
        dict(rule.condition),
        rule.action,
        rule.weight,
        rule.text_ref,
        at,
    )
    await _tell(tx)


async def end_rule(tx: Tx, sid: str, at: datetime) -> bool:
    """End a rule."""
    await _tell(tx)
    return await tx.execute("UPDATE aup_rules SET until_at = $2 WHERE sid = $1 AND until_at IS NULL", sid, at) == 1


async def _tell(tx: Tx) -> None:
    await tx.execute("SELECT pg_notify($1, '')", CHANNEL)


class TimedRule(NamedTuple):
    """A rule with the instants [from, until) in which it is in force."""

    rule: Rule
    from_at: datetime
    until_at: datetime | None


async def timed_rules(tx: Tx) -> list[TimedRule]:
    """List every rule there was, in their order."""
    rows = await tx.fetch(f"SELECT {_RULE}, from_at, until_at FROM aup_rules ORDER BY sid")
    made = [dict(row) for row in rows]
    return [TimedRule(Rule(**row), from_at, until_at) for row in made for from_at, until_at in [_taken(row)]]


def _taken(row: dict[str, Any]) -> tuple[datetime, datetime | None]:
    return row.pop("from_at"), row.pop("until_at")


async def rules(tx: Tx, at: datetime, service: str | None = None) -> list[Rule]:
    """List the rules in force at an instant."""
    rows = await tx.fetch(
        f"""
        SELECT {_RULE} FROM aup_rules
        WHERE from_at <= $1 AND (until_at IS NULL OR until_at > $1) AND ($2::text IS NULL OR service IN ('', $2))
        ORDER BY sid
        """,
        at,
        service,
    )
    return [Rule(**dict(row)) for row in rows]


class Hit(NamedTuple):
    """That a rule was hit."""

    customer_sid: str
    sid: str
    rule_sid: str
    end_user: str
    weight: int


async def insert_hits(tx: Tx, hits: Sequence[Hit], at: datetime) -> None:
    """Record that rules were hit."""
    await tx.execute(
        """
        INSERT INTO aup_hits (customer_sid, sid, rule_sid, end_user, weight, at)
        SELECT *, $6 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[])
        """,
        *(list(column) for column in zip(*hits, strict=True)),
        at,
    )


async def hits_page(tx: Tx, customer_sid: str, after: str, limit: int) -> list[Row]:
    """List a customer's hits, newest first, before one of them."""
    return await tx.fetch(
        """
        SELECT sid, rule_sid, end_user, weight, at FROM aup_hits
        WHERE customer_sid = $1 AND ($2 = '' OR sid < $2) ORDER BY sid DESC LIMIT $3
        """,
        customer_sid,
        after,
        limit,
    )


async def hits(tx: Tx, customer_sid: str, since: datetime) -> list[tuple[int, datetime]]:
    """List weights and instants of a customer's hits."""
    rows = await tx.fetch(
        "SELECT weight, at FROM aup_hits WHERE customer_sid = $1 AND at >= $2 ORDER BY at", customer_sid, since
    )
    return [(row["weight"], row["at"]) for row in rows]


# Sanctions


async def replace_list(tx: Tx, sid: str, name: str, sha256: bytes, entries: Sequence[Entry], at: datetime) -> None:
    """Store a list in place of the one of its name."""
    await tx.execute("UPDATE sanctions_lists SET replaced_at = $2 WHERE name = $1 AND replaced_at IS NULL", name, at)
    sql = "INSERT INTO sanctions_lists (sid, name, sha256, entries, imported_at) VALUES ($1, $2, $3, $4, $5)"
    await tx.execute(sql, sid, name, sha256, len(entries), at)
    await tx.execute(
        """
        INSERT INTO sanctions_entries (list_sid, entry_id, names, countries, listed_on, delisted_on)
        SELECT $1, e.* FROM jsonb_to_recordset($2)
          AS e (entry_id text, names text[], countries text[], listed_on date, delisted_on date)
        """,
        sid,
        [
            {
                "entry_id": entry.entry_id,
                "names": entry.names,
                "countries": entry.countries,
                "listed_on": entry.listed_on,
                "delisted_on": entry.delisted_on,
            }
            for entry in entries
        ],
    )


async def lists(tx: Tx) -> list[Row]:
    """List the lists in use."""
    return await tx.fetch(
        "SELECT sid, name, sha256, entries, imported_at FROM sanctions_lists WHERE replaced_at IS NULL ORDER BY name"
    )


async def entries(tx: Tx) -> list[Entry]:
    """List the entries of every list in use."""
    rows = await tx.fetch(
        """
        SELECT e.list_sid, l.name AS list_name, e.entry_id, e.names, e.countries, e.listed_on, e.delisted_on
        FROM sanctions_entries e JOIN sanctions_lists l ON l.sid = e.list_sid
        WHERE l.replaced_at IS NULL ORDER BY l.name, e.entry_id
        """
    )
    return [_entry(row) for row in rows]


def _entry(row: Row) -> Entry:
    value: dict[str, Any] = dict(row)
    return Entry(**{**value, "names": tuple(value["names"]), "countries": tuple(value["countries"])})


# Places


async def insert_place(
    tx: Tx, sid: str, kind: str, service: str, country: str, subdivision: str, reason: str, at: datetime
) -> None:
    """Block a place from an instant on."""
    await tx.execute(
        "INSERT INTO place_blocks VALUES ($1, $2, $3, $4, $5, $6, $7)",
        sid,
        kind,
        service,
        country,
        subdivision,
        reason,
        at,
    )
    await _tell(tx)


async def end_place(tx: Tx, sid: str, at: datetime) -> bool:
    """End a block."""
    await _tell(tx)
    return await tx.execute("UPDATE place_blocks SET until_at = $2 WHERE sid = $1 AND until_at IS NULL", sid, at) == 1


async def places(
    tx: Tx, at: datetime, kind: str | None = None, country: str | None = None, subdivision: str = ""
) -> list[Row]:
    """List the blocks in force, of a kind and a country with its subdivision or all."""
    return await tx.fetch(
        """
        SELECT sid, kind, service, country, subdivision, reason, from_at FROM place_blocks
        WHERE from_at <= $1 AND (until_at IS NULL OR until_at > $1) AND ($2::text IS NULL OR kind = $2)
          AND ($3::text IS NULL OR (country = $3 AND subdivision IN ('', $4))) ORDER BY sid
        """,
        at,
        kind,
        country,
        subdivision,
    )


class Place(NamedTuple):
    """A blocked place with the instants [from, until) in which it is."""

    kind: str
    service: str
    country: str
    subdivision: str
    reason: str
    from_at: datetime
    until_at: datetime | None


async def timed_places(tx: Tx) -> list[Place]:
    """List every block of a place there was, in their order."""
    rows = await tx.fetch(
        "SELECT kind, service, country, subdivision, reason, from_at, until_at FROM place_blocks ORDER BY sid"
    )
    return [Place(**dict(row)) for row in rows]
