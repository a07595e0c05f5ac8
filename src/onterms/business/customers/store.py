"""All SQL of customers, their contacts, domiciles, relations, accounts, end users, incidents and assignments."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from onterms.business.customers.model import (
    CONTROL_PPM,
    Assignment,
    Contact,
    Customer,
    Domicile,
    EndUser,
    Incident,
    Mark,
    Task,
)
from onterms.core.db import Row, Tx

# Said with the customer at each new mark.
MARKS_CHANNEL = "onterms_marks"

_NAMES = {
    kind: ", ".join(f.name for f in fields(kind)) for kind in (Contact, EndUser, Mark, Incident, Assignment, Task)
}

# The domicile is the one in force on $2, or the last one recorded where no day is asked for.
_CUSTOMERS = """
    SELECT c.customer_sid, c.name, c.org_type, c.size, c.nonprofit, c.business_use, c.gov_kind,
           c.gov_verified_at IS NOT NULL AS gov_verified, d.country, d.subdivision, c.currency,
           c.compliance_attested_on, c.no_antisocial_forces, c.partner_since, c.partner_until, c.created_at, c.version
    FROM customers c CROSS JOIN LATERAL (
        SELECT country, subdivision FROM customer_domiciles
        WHERE customer_sid = c.customer_sid AND ($2::date IS NULL OR from_on <= $2)
        ORDER BY from_on DESC, place DESC LIMIT 1) d
"""


def _customer(row: Row) -> Customer:
    return Customer(
        sid=row["customer_sid"],
        **{field.name: row[field.name] for field in fields(Customer) if field.name != "sid"},
    )


# Customers


async def insert_organization(tx: Tx, sid: str, name: str, country: str, at: datetime) -> None:
    """Insert a node of the ownership graph."""
    await tx.execute("INSERT INTO organizations VALUES ($1, $2, $3, $4)", sid, name, country, at)


async def organizations(tx: Tx, sids: Sequence[str]) -> dict[str, str]:
    """Return the names of organizations that exist."""
    rows = await tx.fetch("SELECT sid, name FROM organizations WHERE sid = ANY($1::text[])", list(sids))
    return {row["sid"]: row["name"] for row in rows}


async def insert_customer(tx: Tx, customer_sid: str, row: dict[str, Any], at: datetime) -> None:
    """Insert a customer whose organization is there already."""
    await tx.execute(
        """
        INSERT INTO customers (customer_sid, name, org_type, size, nonprofit, business_use, gov_kind, currency,
                               compliance_attested_on, no_antisocial_forces, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, true, $6, $7, $8, $9, $10, $10)
        """,
        customer_sid,
        row["name"],
        row["org_type"],
        row["size"],
        row["nonprofit"],
        row["gov_kind"],
        row["currency"],
        row["compliance_attested_on"],
        row["no_antisocial_forces"],
        at,
    )


async def customers(tx: Tx, customer_sids: Sequence[str], on: date | None) -> dict[str, Customer]:
    """Return customers by SID."""
    rows = await tx.fetch(f"{_CUSTOMERS} WHERE c.customer_sid = ANY($1::text[])", list(customer_sids), on)
    return {row["customer_sid"]: _customer(row) for row in rows}


async def list_customers(tx: Tx, after: str, limit: int) -> list[Customer]:
    """List customers by SID after one of them."""
    rows = await tx.fetch(
        f"{_CUSTOMERS} WHERE c.customer_sid > $1 ORDER BY c.customer_sid LIMIT $3", after, None, limit
    )
    return [_customer(row) for row in rows]


async def update_customer(tx: Tx, customer_sid: str, changes: dict[str, Any], at: datetime) -> None:
    """Set columns; the names come from the service, never from a request."""
    columns = sorted(changes)
    sets = "".join(f"{name} = ${place}, " for place, name in enumerate(columns, 3))
    await tx.execute(
        f"UPDATE customers SET {sets} version = version + 1, updated_at = $2 WHERE customer_sid = $1",
        customer_sid,
        at,
        *(changes[name] for name in columns),
    )


async def insert_domicile(tx: Tx, customer_sid: str, domicile: Domicile) -> None:
    """Add a domicile; none is ever changed."""
    await tx.execute(
        """
        INSERT INTO customer_domiciles (customer_sid, from_on, country, subdivision, evidence, recorded_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        customer_sid,
        domicile.from_on,
        domicile.country,
        domicile.subdivision,
        domicile.evidence,
        domicile.recorded_at,
    )


async def domiciles(tx: Tx, customer_sid: str) -> list[Domicile]:
    """List every domicile on record, oldest first."""
    rows = await tx.fetch(
        """
        SELECT from_on, country, subdivision, evidence, recorded_at FROM customer_domiciles
        WHERE customer_sid = $1 ORDER BY from_on, place
        """,
        customer_sid,
    )
    return [Domicile(**dict(row)) for row in rows]


# Accounts


# tenant: which customer an account belongs to is the question.
async def customer_sids_of(tx: Tx, account_sids: Sequence[str]) -> dict[str, str]:
    """Return the customer of each main account that has one."""
    rows = await tx.fetch(
        """
        SELECT account_sid, customer_sid FROM customer_accounts
        WHERE account_sid = ANY($1::text[]) AND until_at IS NULL
        """,
        list(account_sids),
    )
    return {row["account_sid"]: row["customer_sid"] for row in rows}


# tenant: the rows are the customer's, whose accounts are the answer.
async def accounts_of(tx: Tx, customer_sid: str) -> list[str]:
    """List the main accounts joined to a customer."""
    rows = await tx.fetch(
        """
        SELECT account_sid FROM customer_accounts WHERE customer_sid = $1 AND until_at IS NULL ORDER BY account_sid
        """,
        customer_sid,
    )
    return [row["account_sid"] for row in rows]


async def join_accounts(tx: Tx, customer_sid: str, account_sids: Sequence[str], at: datetime) -> None:
    """Make a customer the obligor of main accounts that have none."""
    await tx.execute(
        """
        INSERT INTO customer_accounts (customer_sid, account_sid, from_at)
        SELECT $1, account_sid, $3 FROM unnest($2::text[]) AS new (account_sid)
        """,
        customer_sid,
        list(account_sids),
        at,
    )


# tenant: all accounts of the customer move.
async def leave_accounts(tx: Tx, customer_sid: str, at: datetime) -> list[str]:
    """End a customer's being the obligor of its accounts and return which they were."""
    rows = await tx.fetch(
        """
        UPDATE customer_accounts SET until_at = $2 WHERE customer_sid = $1 AND until_at IS NULL RETURNING account_sid
        """,
        customer_sid,
        at,
    )
    return sorted(row["account_sid"] for row in rows)


async def insert_role(
    tx: Tx, customer_sid: str, account_sid: str, role: str, organization_sid: str | None, from_on: date, at: datetime
) -> None:
    """Say who administers or uses an account from a day on."""
    await tx.execute(
        """
        INSERT INTO customer_account_roles (customer_sid, account_sid, role, organization_sid, from_on, recorded_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        customer_sid,
        account_sid,
        role,
        organization_sid,
        from_on,
        at,
    )


async def role(tx: Tx, customer_sid: str, account_sid: str, role: str, on: date) -> str | None:
    """Return the organization that administers or uses an account on a day, where it is not the customer itself."""
    found: str | None = await tx.fetchval(
        """
        SELECT organization_sid FROM customer_account_roles
        WHERE customer_sid = $1 AND account_sid = $2 AND role = $3 AND from_on <= $4
        ORDER BY from_on DESC, place DESC LIMIT 1
        """,
        customer_sid,
        account_sid,
        role,
        on,
    )
    return found


# Ownership


async def insert_ownership(
    tx: Tx,
    sid: str,
    parent_sid: str,
    child_sid: str,
    share_ppm: int,
    from_on: date,
    until_on: date | None,
    evidence: str,
    at: datetime,
) -> None:
    """Insert an edge of the ownership graph."""
    await tx.execute(
        "INSERT INTO ownerships VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        sid,
        parent_sid,
        child_sid,
        share_ppm,
        from_on,
        until_on,
        evidence,
        at,
    )


async def end_ownership(tx: Tx, sid: str, until_on: date) -> bool:
    """End an edge on a day; False when it is not there or ended before."""
    return (
        await tx.execute(
            """
            UPDATE ownerships SET until_on = $2
            WHERE sid = $1 AND from_on < $2 AND (until_on IS NULL OR until_on > $2)
            """,
            sid,
            until_on,
        )
        == 1
    )


async def ownerships(tx: Tx, organization_sid: str) -> list[Row]:
    """List the edges of one organization, both ways."""
    return await tx.fetch(
        """
        SELECT sid, parent_sid, child_sid, share_ppm, from_on, until_on, evidence FROM ownerships
        WHERE parent_sid = $1 OR child_sid = $1 ORDER BY sid
        """,
        organization_sid,
    )


async def owners(tx: Tx, organization_sid: str, on: date) -> list[Row]:
    """List name and country of the organizations that hold a share of one on a day."""
    return await tx.fetch(
        """
        SELECT DISTINCT p.name, p.country FROM ownerships o JOIN organizations p ON p.sid = o.parent_sid
        WHERE o.child_sid = $1 AND o.from_on <= $2 AND (o.until_on IS NULL OR o.until_on > $2)
        """,
        organization_sid,
        on,
    )


async def affiliates(tx: Tx, organization_sid: str, on: date) -> set[str]:
    """Return every organization joined by control, up and down, without the one asked about.

    Two parents cannot both hold more than half, so what control joins is one tree and all in it share its root.
    """
    rows = await tx.fetch(
        """
        WITH RECURSIVE kin (sid) AS (
            SELECT $1::text COLLATE "C"
            UNION
            SELECT CASE WHEN o.parent_sid = kin.sid THEN o.child_sid ELSE o.parent_sid END
            FROM kin JOIN ownerships o ON (o.parent_sid = kin.sid OR o.child_sid = kin.sid)
                 AND o.share_ppm > $3 AND o.from_on <= $2 AND (o.until_on IS NULL OR o.until_on > $2)
        )
        SELECT sid FROM kin WHERE sid <> $1
        """,
        organization_sid,
        on,
        CONTROL_PPM,
    )
    return {row["sid"] for row in rows}


# Contacts


async def insert_contact(tx: Tx, customer_sid: str, contact: Contact) -> None:
    """Insert a contact."""
    await tx.execute(
        """
        INSERT INTO customer_contacts (customer_sid, sid, kind, name, address, verified_at, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        customer_sid,
        contact.sid,
        contact.kind,
        contact.name,
        contact.address,
        contact.verified_at,
        contact.created_at,
    )


async def customers_with_contact(tx: Tx, address: str) -> list[str]:
    """List the customers one of whose contacts has an address, two at most."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT customer_sid FROM customer_contacts
        WHERE lower(address) = lower($1) AND removed_at IS NULL LIMIT 2
        """,
        address,
    )
    return [row["customer_sid"] for row in rows]


async def contacts(tx: Tx, customer_sid: str, kind: str | None) -> list[Contact]:
    """List the contacts of a kind, or all, oldest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_NAMES[Contact]} FROM customer_contacts
        WHERE customer_sid = $1 AND ($2::text IS NULL OR kind = $2) AND removed_at IS NULL ORDER BY sid
        """,
        customer_sid,
        kind,
    )
    return [Contact(**dict(row)) for row in rows]


async def remove_contact(tx: Tx, customer_sid: str, sid: str, at: datetime) -> bool:
    """Stop writing to a contact; its row stays as evidence of past notices."""
    sql = "UPDATE customer_contacts SET removed_at = $3 WHERE customer_sid = $1 AND sid = $2 AND removed_at IS NULL"
    return await tx.execute(sql, customer_sid, sid, at) == 1


async def verify_contact(tx: Tx, customer_sid: str, sid: str, at: datetime) -> bool:
    """Record that an address was shown to be theirs."""
    sql = "UPDATE customer_contacts SET verified_at = $3 WHERE customer_sid = $1 AND sid = $2 AND removed_at IS NULL"
    return await tx.execute(sql, customer_sid, sid, at) == 1


# End users


async def ensure_end_user(tx: Tx, customer_sid: str, identity: str, sid: str, at: datetime) -> None:
    """Insert an end user unless the customer has one of this identity."""
    await tx.execute(
        """
        INSERT INTO end_users (customer_sid, identity, sid, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (customer_sid, identity) DO NOTHING
        """,
        customer_sid,
        identity,
        sid,
        at,
    )


async def end_user(tx: Tx, customer_sid: str, identity: str) -> EndUser | None:
    """Find a customer's end user."""
    row = await tx.fetchrow(
        f"SELECT {_NAMES[EndUser]} FROM end_users WHERE customer_sid = $1 AND identity = $2", customer_sid, identity
    )
    return None if row is None else EndUser(**dict(row))


async def insert_mark(tx: Tx, customer_sid: str, mark: Mark) -> None:
    """Insert what became known of an end user."""
    await tx.execute(
        """
        INSERT INTO end_user_marks (customer_sid, identity, sid, kind, note, created_at, confirmed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        customer_sid,
        mark.identity,
        mark.sid,
        mark.kind,
        mark.note,
        mark.created_at,
        mark.confirmed_at,
    )
    await tx.execute("SELECT pg_notify($1, $2)", MARKS_CHANNEL, customer_sid)


async def marks_of(tx: Tx, pairs: Sequence[tuple[str, str]], kinds: Sequence[str]) -> list[Mark]:
    """List the open marks of some kinds of many end users: (customer_sid, identity)."""
    rows = await tx.fetch(
        f"""
        SELECT {_NAMES[Mark]} FROM end_user_marks
        WHERE (customer_sid, identity) IN (SELECT * FROM unnest($1::text[], $2::text[]))
              AND ended_at IS NULL AND kind = ANY($3::text[])
        """,
        [customer_sid for customer_sid, _ in pairs],
        [identity for _, identity in pairs],
        list(kinds),
    )
    return [Mark(**dict(row)) for row in rows]


async def customers_with_marks(tx: Tx, kinds: Sequence[str]) -> set[str]:
    """Return every customer with an open mark of some kinds."""
    rows = await tx.fetch(
        "SELECT DISTINCT customer_sid FROM end_user_marks WHERE ended_at IS NULL AND kind = ANY($1::text[])",
        list(kinds),
    )
    return {row["customer_sid"] for row in rows}


async def marks(tx: Tx, customer_sid: str, identity: str | None, kind: str | None) -> list[Mark]:
    """List the open marks of one end user or of all, oldest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_NAMES[Mark]} FROM end_user_marks
        WHERE customer_sid = $1 AND ($2::text IS NULL OR identity = $2) AND ($3::text IS NULL OR kind = $3)
              AND ended_at IS NULL
        ORDER BY sid
        """,
        customer_sid,
        identity,
        kind,
    )
    return [Mark(**dict(row)) for row in rows]


async def update_mark(tx: Tx, customer_sid: str, sid: str, column: str, at: datetime) -> bool:
    """Stamp a mark as confirmed or ended; False when it has that stamp already or is not there."""
    assert column in ("confirmed_at", "ended_at")
    sql = f"UPDATE end_user_marks SET {column} = $3 WHERE customer_sid = $1 AND sid = $2 AND {column} IS NULL"
    return await tx.execute(sql, customer_sid, sid, at) == 1


async def count_confirmed_complaints(tx: Tx, customer_sid: str) -> int:
    """Count the complaints about end users that were found to be right."""
    count: int = await tx.fetchval(
        """
        SELECT count(*) FROM end_user_marks
        WHERE customer_sid = $1 AND kind = 'complaint' AND confirmed_at IS NOT NULL AND ended_at IS NULL
        """,
        customer_sid,
    )
    return count


# Incidents


async def insert_incident(tx: Tx, customer_sid: str, incident: Incident) -> None:
    """Insert an incident as it was reported."""
    await tx.execute(
        """
        INSERT INTO customer_incidents (customer_sid, sid, account_sid, description, noticed_at, reported_at, state)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        customer_sid,
        incident.sid,
        incident.account_sid,
        incident.description,
        incident.noticed_at,
        incident.reported_at,
        incident.state,
    )


# tenant: an incident is its customer's, whichever of its accounts it concerns.
async def incidents(tx: Tx, customer_sid: str, sid: str | None = None) -> list[Incident]:
    """List a customer's incidents, or the one asked for."""
    rows = await tx.fetch(
        f"""
        SELECT {_NAMES[Incident]} FROM customer_incidents
        WHERE customer_sid = $1 AND ($2::text IS NULL OR sid = $2) ORDER BY sid
        """,
        customer_sid,
        sid,
    )
    return [Incident(**dict(row)) for row in rows]


# tenant: an incident is its customer's, whichever of its accounts it concerns.
async def record_revocation(tx: Tx, customer_sid: str, sid: str, keys: int, at: datetime) -> None:
    """Write down that the keys of the incident's account were revoked."""
    await tx.execute(
        "UPDATE customer_incidents SET keys_revoked = $3, keys_revoked_at = $4 WHERE customer_sid = $1 AND sid = $2",
        customer_sid,
        sid,
        keys,
        at,
    )


# tenant: an incident is its customer's, whichever of its accounts it concerns.
async def close_incident(tx: Tx, customer_sid: str, sid: str, at: datetime) -> bool:
    """Close an incident; False when it is closed or not there."""
    sql = """
        UPDATE customer_incidents SET state = 'closed', closed_at = $3
        WHERE customer_sid = $1 AND sid = $2 AND state = 'reported'
    """
    return await tx.execute(sql, customer_sid, sid, at) == 1


# Assignments


async def insert_assignment(tx: Tx, customer_sid: str, assignment: Assignment) -> None:
    """Insert an assignment request."""
    await tx.execute(
        f"""
        INSERT INTO assignment_requests ({_NAMES[Assignment]}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        customer_sid,
        *(getattr(assignment, field.name) for field in fields(Assignment)[1:]),
    )


async def assignments(tx: Tx, customer_sid: str, sid: str | None = None) -> list[Assignment]:
    """List a customer's assignment requests, or the one asked for, and keep others from deciding them."""
    rows = await tx.fetch(
        f"""
        SELECT {_NAMES[Assignment]} FROM assignment_requests
        WHERE customer_sid = $1 AND ($2::text IS NULL OR sid = $2) ORDER BY sid FOR UPDATE
        """,
        customer_sid,
        sid,
    )
    return [Assignment(**dict(row)) for row in rows]


async def decide_assignment(
    tx: Tx, customer_sid: str, sid: str, state: str, reason: str, decided_by: str, at: datetime
) -> None:
    """Write down what became of an assignment request."""
    await tx.execute(
        """
        UPDATE assignment_requests SET state = $3, reason = $4, decided_by = $5, decided_at = $6
        WHERE customer_sid = $1 AND sid = $2
        """,
        customer_sid,
        sid,
        state,
        reason,
        decided_by,
        at,
    )


# Tasks


async def insert_task(tx: Tx, customer_sid: str, task: Task) -> bool:
    """Insert a task unless the customer has one of this kind for this day."""
    sql = """
        INSERT INTO customer_tasks (customer_sid, sid, kind, clause, subject, due_on, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (customer_sid, kind, due_on) DO NOTHING
    """
    return (
        await tx.execute(
            sql, customer_sid, task.sid, task.kind, task.clause, task.subject, task.due_on, task.created_at
        )
        == 1
    )


async def tasks(tx: Tx, customer_sid: str) -> list[Task]:
    """List what a customer is asked to do, done or not."""
    rows = await tx.fetch(
        f"SELECT {_NAMES[Task]} FROM customer_tasks WHERE customer_sid = $1 ORDER BY sid", customer_sid
    )
    return [Task(**dict(row)) for row in rows]


async def finish_tasks(tx: Tx, customer_sid: str, kind: str, at: datetime) -> int:
    """Mark the open tasks of a kind as done."""
    sql = "UPDATE customer_tasks SET done_at = $3 WHERE customer_sid = $1 AND kind = $2 AND done_at IS NULL"
    return await tx.execute(sql, customer_sid, kind, at)
