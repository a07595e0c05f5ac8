"""All SQL of the trust room."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.engines.api import PageRequest

# ---- bundles


async def insert_bundle(tx: Tx, account_sid: str, sid: str, bundle: Mapping[str, Any], at: datetime) -> Row:
    """Store a bundle as a draft."""
    row = await tx.fetchrow(
        """INSERT INTO trust_bundles (account_sid, sid, kind, policy_sid, friendly_name, email, status_callback, status,
                                      errors, date_created, date_updated)
           VALUES ($1, $2, $3, $4, $5, $6, $7, 'draft', '[]', $8, $8) RETURNING *""",
        account_sid,
        sid,
        bundle["kind"],
        bundle["policy_sid"],
        bundle["friendly_name"],
        bundle["email"],
        bundle["status_callback"],
        at,
    )
    assert row is not None
    return row


async def bundles(tx: Tx, keys: Sequence[tuple[str, str]]) -> list[Row]:
    """Return bundles by (account_sid, sid)."""
    return await tx.fetch(
        """SELECT b.* FROM trust_bundles b JOIN unnest($1::text[], $2::text[]) AS k (account_sid, sid)
             ON b.account_sid = k.account_sid AND b.sid = k.sid""",
        [key[0] for key in keys],
        [key[1] for key in keys],
    )


async def lock_bundle(tx: Tx, account_sid: str, sid: str) -> Row | None:
    """Return one bundle and keep others from changing it until commit."""
    return await tx.fetchrow(
        "SELECT * FROM trust_bundles WHERE account_sid = $1 AND sid = $2 FOR UPDATE", account_sid, sid
    )


async def page_bundles(
    tx: Tx, account_sid: str, kind: str, wanted: Mapping[str, str], request: PageRequest
) -> list[Row]:
    """Return one page of bundles of a kind, newest first; `wanted` may hold status, friendly_name, policy_sid."""
    args: list[Any] = [account_sid, request.key, kind]
    condition, tail = request.keyset("sid", 2)
    clauses = [condition]
    for name in ("status", "friendly_name", "policy_sid"):
        if name in wanted:
            args.append(wanted[name])
            clauses.append(f"{name} = ${len(args)}")
    return await tx.fetch(
        f"SELECT * FROM trust_bundles WHERE account_sid = $1 AND kind = $3 AND {' AND '.join(clauses)} {tail}", *args
    )


async def update_bundle(tx: Tx, account_sid: str, sid: str, changes: Mapping[str, Any], at: datetime) -> Row:
    """Change columns of a bundle."""
    names = list(changes)
    row = await tx.fetchrow(
        f"""UPDATE trust_bundles SET {"".join(f"{name} = ${place}, " for place, name in enumerate(names, 4))}
                   date_updated = $3
            WHERE account_sid = $1 AND sid = $2 RETURNING *""",
        account_sid,
        sid,
        at,
        *changes.values(),
    )
    assert row is not None
    return row


async def delete_bundle(tx: Tx, account_sid: str, sid: str) -> None:
    """Remove a bundle with what it is made of."""
    await tx.execute("DELETE FROM trust_bundles WHERE account_sid = $1 AND sid = $2", account_sid, sid)


# tenant: the operator looks at everybody's profiles that wait for it.
async def waiting(tx: Tx, limit: int) -> list[Row]:
    """Return the bundles that wait for reviewers, the oldest first."""
    return await tx.fetch(
        """SELECT * FROM trust_bundles WHERE status IN ('pending-review', 'in-review')
           ORDER BY submitted_at, sid LIMIT $1""",
        limit,
    )


# tenant: the operator names a profile by its SID alone; what it finds is handled under the account it belongs to.
async def account_of(tx: Tx, sid: str) -> str | None:
    """Return whose a bundle is."""
    found: str | None = await tx.fetchval("SELECT account_sid FROM trust_bundles WHERE sid = $1", sid)
    return found


# ---- end users and documents, in tables of one shape


async def insert_thing(tx: Tx, table: str, account_sid: str, sid: str, given: Mapping[str, Any], at: datetime) -> Row:
    """Store an end user or a document."""
    names = list(given)
    places = ", ".join(f"${place}" for place in range(4, 4 + len(names)))
    row = await tx.fetchrow(
        f"""INSERT INTO {table} (account_sid, sid, date_created, date_updated, {", ".join(names)})
            VALUES ($1, $2, $3, $3, {places}) RETURNING *""",
        account_sid,
        sid,
        at,
        *given.values(),
    )
    assert row is not None
    return row


async def fetch_thing(tx: Tx, table: str, account_sid: str, sid: str) -> Row | None:
    """Return one end user or document."""
    return await tx.fetchrow(f"SELECT * FROM {table} WHERE account_sid = $1 AND sid = $2", account_sid, sid)


async def things(tx: Tx, table: str, account_sid: str, sids: Sequence[str]) -> list[Row]:
    """Return end users or documents by SID."""
    return await tx.fetch(f"SELECT * FROM {table} WHERE account_sid = $1 AND sid = ANY($2::text[])", account_sid, sids)


async def page_things(tx: Tx, table: str, account_sid: str, request: PageRequest) -> list[Row]:
    """Return one page of end users or documents, newest first."""
    condition, tail = request.keyset("sid", 2)
    return await tx.fetch(
        f"SELECT * FROM {table} WHERE account_sid = $1 AND {condition} {tail}", account_sid, request.key
    )


async def update_thing(
    tx: Tx, table: str, account_sid: str, sid: str, changes: Mapping[str, Any], at: datetime
) -> Row | None:
    """Change columns of an end user or document."""
    names = list(changes)
    return await tx.fetchrow(
        f"""UPDATE {table} SET {"".join(f"{name} = ${place}, " for place, name in enumerate(names, 4))}
                   date_updated = $3
            WHERE account_sid = $1 AND sid = $2 RETURNING *""",
        account_sid,
        sid,
        at,
        *changes.values(),
    )


async def delete_thing(tx: Tx, table: str, account_sid: str, sid: str) -> None:
    """Remove an end user or document."""
    await tx.execute(f"DELETE FROM {table} WHERE account_sid = $1 AND sid = $2", account_sid, sid)


async def set_document_status(tx: Tx, account_sid: str, sids: Sequence[str], status: str, at: datetime) -> None:
    """Say what became of documents."""
    await tx.execute(
        """UPDATE trust_documents SET status = $3, date_updated = $4
           WHERE account_sid = $1 AND sid = ANY($2::text[]) AND status <> $3""",
        account_sid,
        list(sids),
        status,
        at,
    )


# ---- what bundles are made of, in tables of one shape


async def insert_member(
    tx: Tx, table: str, account_sid: str, bundle_sid: str, sid: str, given: Mapping[str, Any], at: datetime
) -> Row | None:
    """Assign something to a bundle; None where it is assigned already."""
    names = list(given)
    places = ", ".join(f"${place}" for place in range(5, 5 + len(names)))
    return await tx.fetchrow(
        f"""INSERT INTO {table} (account_sid, bundle_sid, sid, date_created, {", ".join(names)})
            VALUES ($1, $2, $3, $4, {places}) ON CONFLICT DO NOTHING RETURNING *""",
        account_sid,
        bundle_sid,
        sid,
        at,
        *given.values(),
    )


async def fetch_member(tx: Tx, table: str, account_sid: str, bundle_sid: str, sid: str) -> Row | None:
    """Return one member of a bundle."""
    return await tx.fetchrow(
        f"SELECT * FROM {table} WHERE account_sid = $1 AND bundle_sid = $2 AND sid = $3", account_sid, bundle_sid, sid
    )


async def members(tx: Tx, table: str, account_sid: str, bundle_sid: str) -> list[Row]:
    """Return every member of a bundle, the oldest first."""
    return await tx.fetch(
        f"SELECT * FROM {table} WHERE account_sid = $1 AND bundle_sid = $2 ORDER BY sid", account_sid, bundle_sid
    )


async def page_members(
    tx: Tx, table: str, account_sid: str, bundle_sid: str, request: PageRequest, only: Mapping[str, Any]
) -> list[Row]:
    """Return one page of a bundle's members, newest first. Shapes: `only` has lists of what columns may hold."""
    args: list[Any] = [account_sid, request.key, bundle_sid]
    condition, tail = request.keyset("sid", 2)
    clauses = [condition]
    for name, values in only.items():
        args.append(list(values))
        clauses.append(f"{name} = ANY(${len(args)}::text[])")
    return await tx.fetch(
        f"SELECT * FROM {table} WHERE account_sid = $1 AND bundle_sid = $3 AND {' AND '.join(clauses)} {tail}", *args
    )


async def delete_member(tx: Tx, table: str, account_sid: str, bundle_sid: str, sid: str) -> bool:
    """Take a member out of a bundle; tell whether it was there."""
    return (
        await tx.execute(
            f"DELETE FROM {table} WHERE account_sid = $1 AND bundle_sid = $2 AND sid = $3", account_sid, bundle_sid, sid
        )
        > 0
    )


async def bundles_of_object(tx: Tx, account_sid: str, object_sid: str) -> list[str]:
    """Return the bundles that an object is assigned to."""
    rows = await tx.fetch(
        "SELECT bundle_sid FROM trust_entities WHERE account_sid = $1 AND object_sid = $2", account_sid, object_sid
    )
    return [row["bundle_sid"] for row in rows]


# tenant: subaccounts stand on profiles of their main account, which asks whether any does.
async def owned_elsewhere(tx: Tx, owner_sid: str, object_sid: str) -> bool:
    """Tell whether a subaccount's bundle stands on an object of its main account."""
    found: bool = await tx.fetchval(
        "SELECT EXISTS (SELECT FROM trust_entities WHERE owner_sid = $1 AND object_sid = $2)", owner_sid, object_sid
    )
    return found
