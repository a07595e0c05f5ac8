"""All SQL of the registration room: what its kinds of registrations have in common."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.engines.api import PageRequest

BRANDS, CAMPAIGNS, TOLLFREE = "registration_brands", "registration_campaigns", "registration_tollfree"


async def insert(tx: Tx, table: str, account_sid: str, sid: str, given: Mapping[str, Any], at: datetime) -> Row | None:
    """Store a registration; None where something unique about it is there already."""
    names = list(given)
    places = ", ".join(f"${place}" for place in range(4, 4 + len(names)))
    return await tx.fetchrow(
        f"""INSERT INTO {table} (account_sid, sid, submitted_at, date_created, date_updated, {", ".join(names)})
            VALUES ($1, $2, $3, $3, $3, {places}) ON CONFLICT DO NOTHING RETURNING *""",
        account_sid,
        sid,
        at,
        *given.values(),
    )


async def fetch(tx: Tx, table: str, account_sid: str, sid: str) -> Row | None:
    """Return one registration."""
    return await tx.fetchrow(f"SELECT * FROM {table} WHERE account_sid = $1 AND sid = $2", account_sid, sid)


async def lock(tx: Tx, table: str, account_sid: str, sid: str) -> Row | None:
    """Return one registration and keep others from changing it until commit."""
    return await tx.fetchrow(f"SELECT * FROM {table} WHERE account_sid = $1 AND sid = $2 FOR UPDATE", account_sid, sid)


async def update(tx: Tx, table: str, account_sid: str, sid: str, changes: Mapping[str, Any], at: datetime) -> Row:
    """Change columns of a registration."""
    names = list(changes)
    row = await tx.fetchrow(
        f"""UPDATE {table} SET {"".join(f"{name} = ${place}, " for place, name in enumerate(names, 4))}
                   date_updated = $3
            WHERE account_sid = $1 AND sid = $2 RETURNING *""",
        account_sid,
        sid,
        at,
        *changes.values(),
    )
    assert row is not None
    return row


async def delete(tx: Tx, table: str, account_sid: str, sid: str) -> bool:
    """Remove a registration; tell whether it was there."""
    return await tx.execute(f"DELETE FROM {table} WHERE account_sid = $1 AND sid = $2", account_sid, sid) > 0


async def page(tx: Tx, table: str, account_sid: str, only: Mapping[str, Any], request: PageRequest) -> list[Row]:
    """Return one page of registrations, newest first. Shapes: `only` has what columns must hold."""
    args: list[Any] = [account_sid, request.key]
    condition, tail = request.keyset("sid", 2)
    clauses = [condition]
    for name, value in only.items():
        args.append(value)
        clauses.append(f"{name} = ${len(args)}")
    return await tx.fetch(f"SELECT * FROM {table} WHERE account_sid = $1 AND {' AND '.join(clauses)} {tail}", *args)


# tenant: the operator decides about registrations of every account.
async def undecided(tx: Tx, table: str, statuses: Sequence[str], limit: int) -> list[Row]:
    """Return the registrations that wait for somebody, the oldest first."""
    return await tx.fetch(
        f"SELECT * FROM {table} WHERE status = ANY($1::text[]) ORDER BY submitted_at, sid LIMIT $2",
        list(statuses),
        limit,
    )


# tenant: the operator names a registration by its SID alone; what it finds is handled under the account it belongs to.
async def account_of(tx: Tx, table: str, sid: str) -> str | None:
    """Return whose a registration is."""
    found: str | None = await tx.fetchval(f"SELECT account_sid FROM {table} WHERE sid = $1", sid)
    return found


# ---- brands


async def brands_of_profile(tx: Tx, account_sid: str, bundle_sid: str) -> list[Row]:
    """Return the brands that stand on a profile."""
    return await tx.fetch(
        """SELECT * FROM registration_brands
           WHERE account_sid = $1 AND (customer_profile_sid = $2 OR a2p_profile_sid = $2) ORDER BY sid""",
        account_sid,
        bundle_sid,
    )


async def insert_vetting(
    tx: Tx, account_sid: str, brand_sid: str, sid: str, given: Mapping[str, Any], at: datetime
) -> Row:
    """Store a vetting."""
    row = await tx.fetchrow(
        """INSERT INTO registration_vettings (account_sid, brand_sid, sid, provider, class, vetting_id, status,
                                              date_created, date_updated)
           VALUES ($1, $2, $3, $4, $5, $6, 'PENDING', $7, $7) RETURNING *""",
        account_sid,
        brand_sid,
        sid,
        given["provider"],
        given["class"],
        given["vetting_id"],
        at,
    )
    assert row is not None
    return row


async def vettings(tx: Tx, account_sid: str, brand_sid: str) -> list[Row]:
    """Return the vettings of a brand, newest first."""
    return await tx.fetch(
        "SELECT * FROM registration_vettings WHERE account_sid = $1 AND brand_sid = $2 ORDER BY sid DESC",
        account_sid,
        brand_sid,
    )


async def move_vetting(
    tx: Tx, account_sid: str, brand_sid: str, sid: str, status: str, vetting_id: str, at: datetime
) -> None:
    """Move a vetting on."""
    await tx.execute(
        """UPDATE registration_vettings SET status = $4, vetting_id = $5, date_updated = $6
           WHERE account_sid = $1 AND brand_sid = $2 AND sid = $3""",
        account_sid,
        brand_sid,
        sid,
        status,
        vetting_id,
        at,
    )


# ---- campaigns


async def campaigns_of(tx: Tx, account_sid: str, brand_sid: str) -> list[Row]:
    """Return the campaigns of a brand."""
    return await tx.fetch(
        "SELECT * FROM registration_campaigns WHERE account_sid = $1 AND brand_sid = $2 ORDER BY sid",
        account_sid,
        brand_sid,
    )


async def campaign_of_service(tx: Tx, account_sid: str, service_sid: str) -> Row | None:
    """Return the campaign that a Messaging Service sends for, and keep others from changing it until commit."""
    return await tx.fetchrow(
        "SELECT * FROM registration_campaigns WHERE account_sid = $1 AND service_sid = $2 FOR UPDATE",
        account_sid,
        service_sid,
    )


async def services_registered(tx: Tx, account_sid: str, service_sids: Sequence[str]) -> set[str]:
    """Return those of the Messaging Services that have a verified campaign."""
    rows = await tx.fetch(
        """SELECT service_sid FROM registration_campaigns
           WHERE account_sid = $1 AND service_sid = ANY($2::text[]) AND status = 'VERIFIED'""",
        account_sid,
        list(service_sids),
    )
    return {row["service_sid"] for row in rows}


async def numbers_of(tx: Tx, account_sid: str, campaign_sid: str) -> list[Row]:
    """Return the numbers of a campaign."""
    return await tx.fetch(
        "SELECT * FROM registration_numbers WHERE account_sid = $1 AND campaign_sid = $2 ORDER BY number",
        account_sid,
        campaign_sid,
    )


async def add_number(tx: Tx, account_sid: str, campaign_sid: str, number: str, at: datetime) -> bool:
    """Note that a number shall send for a campaign; a number sends for one only. Tell whether that is new."""
    return (
        await tx.execute(
            """INSERT INTO registration_numbers (account_sid, campaign_sid, number, status, submitted_at)
               VALUES ($1, $2, $3, 'PENDING', $4)
               ON CONFLICT (account_sid, number) DO UPDATE SET campaign_sid = $2, status = 'PENDING', error_code = NULL,
                   submitted_at = $4
               WHERE registration_numbers.campaign_sid <> $2""",
            account_sid,
            campaign_sid,
            number,
            at,
        )
        > 0
    )


async def lock_number(tx: Tx, account_sid: str, campaign_sid: str, number: str) -> Row | None:
    """Return a number of a campaign and keep others from changing it until commit."""
    return await tx.fetchrow(
        """SELECT * FROM registration_numbers
           WHERE account_sid = $1 AND campaign_sid = $2 AND number = $3 FOR UPDATE""",
        account_sid,
        campaign_sid,
        number,
    )


async def move_number(
    tx: Tx, account_sid: str, campaign_sid: str, number: str, status: str, error_code: int | None
) -> None:
    """Move a number of a campaign on."""
    await tx.execute(
        """UPDATE registration_numbers SET status = $4, error_code = $5
           WHERE account_sid = $1 AND campaign_sid = $2 AND number = $3""",
        account_sid,
        campaign_sid,
        number,
        status,
        error_code,
    )


async def drop_numbers(tx: Tx, account_sid: str, numbers: Sequence[str]) -> None:
    """Forget that numbers send for campaigns."""
    await tx.execute(
        "DELETE FROM registration_numbers WHERE account_sid = $1 AND number = ANY($2::text[])",
        account_sid,
        list(numbers),
    )


# ---- how senders stand


async def campaign_standings(tx: Tx, pairs: Sequence[tuple[str, str]]) -> list[Row]:
    """Return the campaigns that numbers send for, by (account_sid, number), with what of their brands matters."""
    return await tx.fetch(
        """SELECT n.account_sid, n.number, n.status AS number_status, c.sid AS campaign_sid,
                  c.status AS campaign_status, c.usecase, c.brand_sid, b.status AS brand_status, b.brand_type,
                  b.brand_score, b.russell_3000
           FROM registration_numbers n
           JOIN unnest($1::text[], $2::text[]) AS k (account_sid, number)
             ON n.account_sid = k.account_sid AND n.number = k.number
           JOIN registration_campaigns c ON c.account_sid = n.account_sid AND c.sid = n.campaign_sid
           LEFT JOIN registration_brands b ON b.account_sid = c.account_sid AND b.sid = c.brand_sid""",
        [pair[0] for pair in pairs],
        [pair[1] for pair in pairs],
    )


async def tollfree_standings(tx: Tx, pairs: Sequence[tuple[str, str]]) -> list[Row]:
    """Return the status of toll-free numbers' verifications by (account_sid, number)."""
    return await tx.fetch(
        """SELECT t.account_sid, t.number, t.status
           FROM registration_tollfree t
           JOIN unnest($1::text[], $2::text[]) AS k (account_sid, number)
             ON t.account_sid = k.account_sid AND t.number = k.number""",
        [pair[0] for pair in pairs],
        [pair[1] for pair in pairs],
    )


async def spend(
    tx: Tx, account_sid: str, brand_sid: str, day: Any, segments: Sequence[int], cap: int
) -> tuple[int, list[bool]]:
    """Count what a brand sends on a day, one message after the other, as far as its cap goes.

    Shapes: returns what it had sent before, and for each message whether it still fits.
    """
    await tx.execute(
        """INSERT INTO registration_caps (account_sid, brand_sid, day, segments) VALUES ($1, $2, $3, 0)
           ON CONFLICT (account_sid, brand_sid, day) DO NOTHING""",
        account_sid,
        brand_sid,
        day,
    )
    before: int = await tx.fetchval(
        "SELECT segments FROM registration_caps WHERE account_sid = $1 AND brand_sid = $2 AND day = $3 FOR UPDATE",
        account_sid,
        brand_sid,
        day,
    )
    total, fits = before, []
    for each in segments:
        fits.append(total + each <= cap)
        total += each if fits[-1] else 0
    await tx.execute(
        """UPDATE registration_caps SET segments = $4
           WHERE account_sid = $1 AND brand_sid = $2 AND day = $3""",
        account_sid,
        brand_sid,
        day,
        total,
    )
    return before, fits
