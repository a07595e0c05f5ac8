"""All SQL of the stock, the incoming numbers and the applications."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.engines.api import PageRequest
from onterms.products.numbers.model import (
    APPLICATION_DEFAULTS,
    NUMBER_DEFAULTS,
    SEARCH_ROWS_MAX,
    Kind,
    Search,
    StockLine,
    area_code_of,
)

CHANNEL = "onterms_numbers"

_NUMBER_SETTINGS = tuple(NUMBER_DEFAULTS)
_APPLICATION_SETTINGS = tuple(APPLICATION_DEFAULTS)

# What a customer's row keeps of the stock, which may change its facts or drop the number later.
_STOCK_FACTS = "country, kind, voice, sms, mms, fax, address_requirements, beta, price_ref"


def _places(first: int, count: int) -> str:
    return ", ".join(f"${number}" for number in range(first, first + count))


def _assignments(names: Sequence[str], first: int) -> str:
    return ", ".join(f"{name} = ${first + index}" for index, name in enumerate(names))


# The stock. Its functions name no account: it is the operator's.


async def add_stock(tx: Tx, lines: Sequence[StockLine]) -> int:
    """Put numbers into stock; those already known stay as they are. Return how many were new."""
    rows = [(number, line) for line in lines for number in line.phone_numbers()]
    return await tx.execute(
        """
        INSERT INTO number_inventory (phone_number, country, kind, area_code, region, locality, rate_center, lata,
                                      postal_code, latitude, longitude, voice, sms, mms, fax, address_requirements,
                                      beta, price_ref)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                             $8::text[], $9::text[], $10::float8[], $11::float8[], $12::bool[], $13::bool[],
                             $14::bool[], $15::bool[], $16::text[], $17::bool[], $18::text[])
        ON CONFLICT (phone_number) DO NOTHING
        """,
        [number for number, _ in rows],
        [line.country for _, line in rows],
        [line.kind for _, line in rows],
        [area_code_of(number) for number, _ in rows],
        [line.region for _, line in rows],
        [line.locality for _, line in rows],
        [line.rate_center for _, line in rows],
        [line.lata for _, line in rows],
        [line.postal_code for _, line in rows],
        [line.latitude for _, line in rows],
        [line.longitude for _, line in rows],
        ["voice" in line.capabilities for _, line in rows],
        ["sms" in line.capabilities for _, line in rows],
        ["mms" in line.capabilities for _, line in rows],
        ["fax" in line.capabilities for _, line in rows],
        [line.address_requirements for _, line in rows],
        [line.beta for _, line in rows],
        [line.price_ref for _, line in rows],
    )


async def stocked_kinds(tx: Tx, country: str | None = None) -> list[Row]:
    """Return the countries and kinds that the stock has, sold out or not, and whether all of a country is new."""
    return await tx.fetch(
        """
        SELECT country, array_agg(DISTINCT kind) AS kinds, bool_and(beta) AS beta FROM number_inventory
        WHERE $1::text IS NULL OR country = $1
        GROUP BY country ORDER BY country
        """,
        country,
    )


async def place_of(tx: Tx, phone_number: str) -> Row | None:
    """Return where a number is: its own facts in stock, else those of its area code."""
    return await tx.fetchrow(
        """
        SELECT latitude, longitude, region, locality, rate_center, lata, postal_code FROM number_inventory
        WHERE (phone_number = $1 OR area_code = $2) AND latitude IS NOT NULL
        ORDER BY phone_number = $1 DESC, phone_number LIMIT 1
        """,
        phone_number,
        area_code_of(phone_number),
    )


# The haversine formula with the earth's mean radius of 3,958.8 miles.
_MILES = """
3958.8 * 2 * asin(sqrt(least(1, power(sin(radians(latitude - $15) / 2), 2)
    + cos(radians($15)) * cos(radians(latitude)) * power(sin(radians(longitude - $16) / 2), 2))))
"""


async def search_stock(tx: Tx, wanted: Search, limit: int) -> list[Row]:
    """Return numbers for sale that match, nearest first where a place is asked for, else in the order of numbers."""
    near = wanted.near
    return await tx.fetch(
        f"""
        SELECT * FROM (
            SELECT *, CASE WHEN $15::float8 IS NOT NULL THEN {_MILES} END AS miles FROM number_inventory
            WHERE holder_sid IS NULL AND country = $1 AND kind = $2
              AND ($3::text IS NULL OR phone_number ~ $3)
              AND ($4::text IS NULL OR area_code = $4)
              AND ($5::bool IS NULL OR voice = $5)
              AND ($6::bool IS NULL OR sms = $6)
              AND ($7::bool IS NULL OR mms = $7)
              AND ($8::bool IS NULL OR fax = $8)
              AND ($9::bool OR NOT beta)
              AND NOT (address_requirements = ANY($10::text[]))
              AND ($11::text IS NULL OR lower(region) = lower($11))
              AND ($12::text IS NULL OR lower(locality) = lower($12))
              AND ($13::text IS NULL OR lower(rate_center) = lower($13))
              AND ($14::text IS NULL OR lower(postal_code) = lower($14))
              AND ($17::text IS NULL OR lata = $17)
        ) AS found
        WHERE $15::float8 IS NULL OR miles <= $18::float8
        ORDER BY miles, phone_number
        LIMIT $19
        """,
        wanted.country,
        wanted.kind,
        wanted.pattern,
        wanted.area_code,
        wanted.voice,
        wanted.sms,
        wanted.mms,
        wanted.fax,
        wanted.beta,
        list(wanted.address_excluded),
        wanted.region,
        wanted.locality,
        wanted.rate_center,
        wanted.postal_code,
        near.latitude if near else None,
        near.longitude if near else None,
        wanted.lata,
        float(near.miles) if near else None,
        min(limit, SEARCH_ROWS_MAX),
    )


async def stock_row(tx: Tx, phone_number: str) -> Row | None:
    """Return the stock's row of one number."""
    return await tx.fetchrow("SELECT * FROM number_inventory WHERE phone_number = $1", phone_number)


async def any_free(tx: Tx, *, countries: Sequence[str], kind: Kind, area_code: str | None = None) -> Row | None:
    """Lock and return a number that anybody may buy without an address, one for SMS before others.

    It passes over numbers that others are buying at this moment.
    """
    return await tx.fetchrow(
        """
        SELECT * FROM number_inventory
        WHERE holder_sid IS NULL AND country = ANY($1) AND kind = $2 AND ($3::text IS NULL OR area_code = $3)
          AND address_requirements = 'none' AND NOT beta
        ORDER BY sms DESC, phone_number LIMIT 1
        FOR UPDATE SKIP LOCKED
        """,
        list(countries),
        kind,
        area_code,
    )


async def take(tx: Tx, phone_number: str, holder_sid: str) -> bool:
    """Take a number off the shelf; of those who try at once, one gets True."""
    # The second of two waits for the first's commit and then finds the shelf empty.
    return bool(
        await tx.execute(
            "UPDATE number_inventory SET holder_sid = $2 WHERE phone_number = $1 AND holder_sid IS NULL",
            phone_number,
            holder_sid,
        )
    )


async def put_back(tx: Tx, phone_number: str, holder_sid: str) -> None:
    """Put a number back on the shelf."""
    await tx.execute(
        "UPDATE number_inventory SET holder_sid = NULL WHERE phone_number = $1 AND holder_sid = $2",
        phone_number,
        holder_sid,
    )


# Incoming numbers.


async def insert_number(
    tx: Tx, account_sid: str, sid: str, stock: Mapping[str, Any], settings: Mapping[str, Any], at: datetime
) -> Row:
    """Give a number of the stock to an account."""
    facts = [stock[name] for name in _STOCK_FACTS.split(", ")]
    values = [settings[name] for name in _NUMBER_SETTINGS]
    row = await tx.fetchrow(
        f"""
        INSERT INTO incoming_numbers (account_sid, sid, phone_number, created_at, updated_at, {_STOCK_FACTS},
                                      {", ".join(_NUMBER_SETTINGS)})
        VALUES ($1, $2, $3, $4, $4, {_places(5, len(facts) + len(values))})
        RETURNING *
        """,
        account_sid,
        sid,
        stock["phone_number"],
        at,
        *facts,
        *values,
    )
    assert row is not None
    return row


async def fetch_number(tx: Tx, account_sid: str, sid: str, *, lock: bool = False) -> Row | None:
    """Return a number that an account holds."""
    return await tx.fetchrow(
        "SELECT * FROM incoming_numbers WHERE account_sid = $1 AND sid = $2 AND released_at IS NULL"
        + (" FOR UPDATE" if lock else ""),
        account_sid,
        sid,
    )


async def first_number(tx: Tx, account_sid: str) -> str | None:
    """Return the number that an account holds for longest."""
    number: str | None = await tx.fetchval(
        "SELECT phone_number FROM incoming_numbers "
        "WHERE account_sid = $1 AND released_at IS NULL AND kind <> 'shortcode' ORDER BY sid LIMIT 1",
        account_sid,
    )
    return number


async def numbers_of(tx: Tx, account_sid: str) -> list[str]:
    """Return every number that an account holds but for short codes, the longest held first."""
    rows = await tx.fetch(
        "SELECT phone_number FROM incoming_numbers "
        "WHERE account_sid = $1 AND released_at IS NULL AND kind <> 'shortcode' ORDER BY sid",
        account_sid,
    )
    return [row["phone_number"] for row in rows]


async def list_numbers(
    tx: Tx,
    account_sid: str,
    request: PageRequest,
    *,
    kind: Kind | None,
    pattern: str | None,
    friendly_name: str | None,
    beta: bool | None,
    origin: str | None,
) -> list[Row]:
    """Return one page of the numbers an account holds, newest first, and one row more when another page follows."""
    condition, tail = request.keyset("sid", 7)
    return await tx.fetch(
        f"""
        SELECT * FROM incoming_numbers
        WHERE account_sid = $1 AND released_at IS NULL
          AND (CASE WHEN $2::text IS NULL THEN kind <> 'shortcode' ELSE kind = $2 END)
          AND ($3::text IS NULL OR phone_number ~ $3)
          AND ($4::text IS NULL OR friendly_name = $4)
          AND ($5::bool IS NULL OR $5 OR NOT beta)
          AND ($6::text IS NULL OR origin = $6)
          AND {condition}
        {tail}
        """,
        account_sid,
        kind,
        pattern,
        friendly_name,
        beta,
        origin,
        request.key,
    )


async def save_number(
    tx: Tx, account_sid: str, sid: str, settings: Mapping[str, Any], new_account_sid: str, at: datetime
) -> Row:
    """Write a number's settings, and its holder where that changes."""
    row = await tx.fetchrow(
        f"""
        UPDATE incoming_numbers SET account_sid = $3, updated_at = $4, {_assignments(_NUMBER_SETTINGS, 5)}
        WHERE account_sid = $1 AND sid = $2 AND released_at IS NULL
        RETURNING *
        """,
        account_sid,
        sid,
        new_account_sid,
        at,
        *[settings[name] for name in _NUMBER_SETTINGS],
    )
    assert row is not None
    return row


async def release_number(tx: Tx, account_sid: str, sid: str, at: datetime) -> Row | None:
    """End an account's hold on a number; the row stays as history."""
    return await tx.fetchrow(
        "UPDATE incoming_numbers SET released_at = $3, updated_at = $3 "
        "WHERE account_sid = $1 AND sid = $2 AND released_at IS NULL RETURNING phone_number, price_ref",
        account_sid,
        sid,
        at,
    )


async def release_numbers(tx: Tx, account_sids: Sequence[str], at: datetime) -> list[Row]:
    """End all holds of accounts on numbers; the rows stay as history."""
    return await tx.fetch(
        "UPDATE incoming_numbers SET released_at = $2, updated_at = $2 "
        "WHERE account_sid = ANY($1) AND released_at IS NULL RETURNING account_sid, sid, phone_number, price_ref",
        list(account_sids),
        at,
    )


# tenant: the room's own timer, for whoever holds the number by now.
async def renewing(tx: Tx, phone_number: str, sid: str, renews_at: datetime) -> Row | None:
    """Lock and return a number whose next month begins at this very instant."""
    return await tx.fetchrow(
        "SELECT * FROM incoming_numbers WHERE phone_number = $1 AND sid = $2 AND renews_at = $3 "
        "AND released_at IS NULL FOR UPDATE",
        phone_number,
        sid,
        renews_at,
    )


async def set_renewal(tx: Tx, account_sid: str, sid: str, renews_at: datetime) -> None:
    """Say when a number's next month begins."""
    await tx.execute(
        "UPDATE incoming_numbers SET renews_at = $3 WHERE account_sid = $1 AND sid = $2", account_sid, sid, renews_at
    )


# tenant: the room itself, for every number that has no timer.
async def unplanned(tx: Tx) -> list[Row]:
    """Lock and return held numbers whose next month is not planned."""
    return await tx.fetch(
        "SELECT account_sid, sid, phone_number, created_at FROM incoming_numbers "
        "WHERE released_at IS NULL AND renews_at IS NULL ORDER BY sid FOR UPDATE"
    )


# tenant: the operator gives short codes, and takes those of whoever holds them.
async def short_codes(tx: Tx, sid: str, after: str, limit: int) -> list[Row]:
    """List the short codes that anybody holds, or the one of a SID."""
    return await tx.fetch(
        """
        SELECT * FROM incoming_numbers
        WHERE kind = 'shortcode' AND released_at IS NULL AND ($1 = '' OR sid = $1) AND sid > $2 ORDER BY sid LIMIT $3
        """,
        sid,
        after,
        limit,
    )


async def held_numbers(tx: Tx, account_sids: Sequence[str] | None, phone_numbers: Sequence[str]) -> list[Row]:
    """Return numbers that these accounts hold, or that anybody holds, each with the applications it names."""
    return await tx.fetch(
        """
        SELECT n.*,
               s.sid AS s_sid, s.sms_url AS s_url, s.sms_method AS s_method, s.sms_fallback_url AS s_fallback_url,
               s.sms_fallback_method AS s_fallback_method,
               coalesce(nullif(s.message_status_callback, ''), s.sms_status_callback) AS s_status_callback,
               v.sid AS v_sid, v.voice_url AS v_url, v.voice_method AS v_method,
               v.voice_fallback_url AS v_fallback_url, v.voice_fallback_method AS v_fallback_method,
               v.status_callback AS v_status_callback, v.status_callback_method AS v_status_callback_method,
               v.voice_caller_id_lookup AS v_caller_id_lookup,
               i.region AS place_region, i.locality AS place_locality, i.postal_code AS place_postal_code
        FROM incoming_numbers AS n
        LEFT JOIN number_inventory AS i ON i.phone_number = n.phone_number
        LEFT JOIN applications AS s ON s.account_sid = n.account_sid AND s.sid = n.sms_application_sid
        LEFT JOIN applications AS v ON v.account_sid = n.account_sid AND v.sid = n.voice_application_sid
        WHERE n.released_at IS NULL AND n.phone_number = ANY($2) AND ($1::text[] IS NULL OR n.account_sid = ANY($1))
        """,
        list(account_sids) if account_sids is not None else None,
        list(phone_numbers),
    )


async def announce(tx: Tx, account_sids: Sequence[str]) -> None:
    """Tell every node, once this commits, that numbers of these accounts changed."""
    for account_sid in account_sids:
        await tx.execute("SELECT pg_notify($1, $2)", CHANNEL, account_sid)


async def lock_account(tx: Tx, account_sid: str) -> None:
    """Let one transaction at a time give an account its first number."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"onterms_numbers:{account_sid}")


# Applications.


async def insert_application(tx: Tx, account_sid: str, sid: str, settings: Mapping[str, Any], at: datetime) -> Row:
    """Make an application."""
    row = await tx.fetchrow(
        f"""
        INSERT INTO applications (account_sid, sid, created_at, updated_at, {", ".join(_APPLICATION_SETTINGS)})
        VALUES ($1, $2, $3, $3, {_places(4, len(_APPLICATION_SETTINGS))})
        RETURNING *
        """,
        account_sid,
        sid,
        at,
        *[settings[name] for name in _APPLICATION_SETTINGS],
    )
    assert row is not None
    return row


async def fetch_application(tx: Tx, account_sid: str, sid: str, *, lock: bool = False) -> Row | None:
    """Return an application of an account."""
    return await tx.fetchrow(
        "SELECT * FROM applications WHERE account_sid = $1 AND sid = $2" + (" FOR UPDATE" if lock else ""),
        account_sid,
        sid,
    )


async def share_application(tx: Tx, account_sid: str, sid: str) -> bool:
    """Tell whether an application is an account's, and keep it from being deleted until this transaction ends."""
    return (
        await tx.fetchval("SELECT 1 FROM applications WHERE account_sid = $1 AND sid = $2 FOR SHARE", account_sid, sid)
        is not None
    )


async def list_applications(tx: Tx, account_sid: str, request: PageRequest, *, friendly_name: str | None) -> list[Row]:
    """Return one page of an account's applications, newest first, and one row more when another page follows."""
    condition, tail = request.keyset("sid", 3)
    return await tx.fetch(
        f"SELECT * FROM applications WHERE account_sid = $1 AND ($2::text IS NULL OR friendly_name = $2) "
        f"AND {condition} {tail}",
        account_sid,
        friendly_name,
        request.key,
    )


async def save_application(tx: Tx, account_sid: str, sid: str, settings: Mapping[str, Any], at: datetime) -> Row:
    """Write an application's settings."""
    row = await tx.fetchrow(
        f"""
        UPDATE applications SET updated_at = $3, {_assignments(_APPLICATION_SETTINGS, 4)}
        WHERE account_sid = $1 AND sid = $2
        RETURNING *
        """,
        account_sid,
        sid,
        at,
        *[settings[name] for name in _APPLICATION_SETTINGS],
    )
    assert row is not None
    return row


async def delete_application(tx: Tx, account_sid: str, sid: str, at: datetime) -> bool:
    """Delete an application and unset it on the account's numbers."""
    # Whoever locks both locks the application first, so nobody waits in a ring.
    if not await tx.execute("DELETE FROM applications WHERE account_sid = $1 AND sid = $2", account_sid, sid):
        return False
    await tx.execute(
        """
        UPDATE incoming_numbers
        SET sms_application_sid = nullif(sms_application_sid, $2),
            voice_application_sid = nullif(voice_application_sid, $2), updated_at = $3
        WHERE account_sid = $1 AND released_at IS NULL AND $2 IN (sms_application_sid, voice_application_sid)
        """,
        account_sid,
        sid,
        at,
    )
    return True
