"""All SQL about consent: opt-outs as they are told and listed, words of numbers, contacts, numbers out of service."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from onterms.core.db import Row, Tx

CHANNEL = "onterms_compliance"


class Consent(NamedTuple):
    """What somebody wants of a sender, as the customer tells it."""

    sender: str
    peer: str
    opted_out: bool
    source: str
    consented_at: datetime | None
    keyword: str = ""


async def set_consents(tx: Tx, account_sid: str, consents: Sequence[Consent], at: datetime) -> None:
    """Record what peers want of senders, whatever was known before; each pair is given once."""
    await tx.execute(
        """INSERT INTO message_opt_outs
               (account_sid, sender, peer, opted_out, source, consented_at, keyword, changed_at)
           SELECT $1, sender, peer, opted_out, source, consented_at, keyword, $8
           FROM unnest($2::text[], $3::text[], $4::bool[], $5::text[], $6::timestamptz[], $7::text[])
             AS new (sender, peer, opted_out, source, consented_at, keyword)
           ON CONFLICT (account_sid, sender, peer)
           DO UPDATE SET opted_out = excluded.opted_out, source = excluded.source, keyword = excluded.keyword,
                         consented_at = excluded.consented_at, changed_at = excluded.changed_at""",
        account_sid,
        [each.sender for each in consents],
        [each.peer for each in consents],
        [each.opted_out for each in consents],
        [each.source for each in consents],
        [each.consented_at for each in consents],
        [each.keyword for each in consents],
        at,
    )


async def page(tx: Tx, account_sid: str, peer: str, after: tuple[str, str], limit: int) -> list[Row]:
    """List what peers want of an account's senders, or one peer of each, by sender and peer."""
    return await tx.fetch(
        """SELECT * FROM message_opt_outs
           WHERE account_sid = $1 AND ($2 = '' OR peer = $2) AND (sender, peer) > ($3, $4)
           ORDER BY sender, peer LIMIT $5""",
        account_sid,
        peer,
        *after,
        limit,
    )


async def consented(tx: Tx, keys: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], datetime]:
    """Return when peers last said that they want a sender's messages, by (account_sid, sender, peer)."""
    rows = await tx.fetch(
        """SELECT o.account_sid, o.sender, o.peer, o.consented_at FROM message_opt_outs o
           JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (account_sid, sender, peer)
             ON o.account_sid = k.account_sid AND o.sender = k.sender AND o.peer = k.peer
           WHERE NOT o.opted_out AND o.consented_at IS NOT NULL""",
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
    )
    return {(row["account_sid"], row["sender"], row["peer"]): row["consented_at"] for row in rows}


# ---- words of numbers


async def words_of(tx: Tx, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return the words of numbers that have their own, by (account_sid, number_sid)."""
    rows = await tx.fetch(
        """SELECT account_sid, number_sid, opt_out FROM messaging_number_words
           WHERE account_sid = ANY($1::text[]) AND number_sid = ANY($2::text[])""",
        list({key[0] for key in keys}),
        [key[1] for key in keys],
    )
    return {(row["account_sid"], row["number_sid"]): row["opt_out"] for row in rows}


async def set_words(
    tx: Tx, account_sid: str, number_sid: str, settings: Mapping[str, Any] | None, at: datetime
) -> None:
    """Give a number words of its own, or the default ones back."""
    if settings is None:
        await tx.execute(
            "DELETE FROM messaging_number_words WHERE account_sid = $1 AND number_sid = $2", account_sid, number_sid
        )
        return
    await tx.execute(
        """INSERT INTO messaging_number_words (account_sid, number_sid, opt_out, updated_at) VALUES ($1, $2, $3, $4)
           ON CONFLICT (account_sid, number_sid) DO UPDATE SET opt_out = $3, updated_at = $4""",
        account_sid,
        number_sid,
        settings,
        at,
    )


# ---- contacts


async def set_contacts(tx: Tx, account_sid: str, contacts: Sequence[tuple[str, str, str]], at: datetime) -> None:
    """Write down where contacts live: (number, country, ZIP code), each number once."""
    await tx.execute(
        """INSERT INTO messaging_contacts (account_sid, contact, country, zip_code, updated_at)
           SELECT $1, contact, country, zip_code, $5
           FROM unnest($2::text[], $3::text[], $4::text[]) AS new (contact, country, zip_code)
           ON CONFLICT (account_sid, contact)
           DO UPDATE SET country = excluded.country, zip_code = excluded.zip_code, updated_at = excluded.updated_at""",
        account_sid,
        [each[0] for each in contacts],
        [each[1] for each in contacts],
        [each[2] for each in contacts],
        at,
    )


async def zips_of(tx: Tx, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the US ZIP codes of contacts, by (account_sid, number)."""
    rows = await tx.fetch(
        """SELECT account_sid, contact, zip_code FROM messaging_contacts
           WHERE account_sid = ANY($1::text[]) AND contact = ANY($2::text[]) AND country = 'US'""",
        list({key[0] for key in keys}),
        list({key[1] for key in keys}),
    )
    return {(row["account_sid"], row["contact"]): row["zip_code"] for row in rows}


# ---- compliance


# tenant: every process holds what all accounts want looked at, by account.
async def compliance(tx: Tx) -> dict[str, Mapping[str, Any]]:
    """Return what accounts want looked at."""
    rows = await tx.fetch("SELECT account_sid, settings FROM messaging_compliance")
    return {row["account_sid"]: row["settings"] for row in rows}


async def compliance_of(tx: Tx, account_sid: str) -> Mapping[str, Any] | None:
    """Return what an account wants looked at."""
    found: Mapping[str, Any] | None = await tx.fetchval(
        "SELECT settings FROM messaging_compliance WHERE account_sid = $1", account_sid
    )
    return found


async def set_compliance(tx: Tx, account_sid: str, settings: Mapping[str, Any] | None, at: datetime) -> None:
    """Write down what an account wants looked at, or nothing any more, and tell every process."""
    if settings is None:
        await tx.execute("DELETE FROM messaging_compliance WHERE account_sid = $1", account_sid)
    else:
        await tx.execute(
            """INSERT INTO messaging_compliance (account_sid, settings, updated_at) VALUES ($1, $2, $3)
               ON CONFLICT (account_sid) DO UPDATE SET settings = $2, updated_at = $3""",
            account_sid,
            settings,
            at,
        )
    await tx.execute("SELECT pg_notify($1, $2)", CHANNEL, account_sid)


# ---- deactivations. They are the operator's and name no account.


async def deactivate(tx: Tx, day: date, numbers: Sequence[str]) -> int:
    """Write down numbers that were taken out of service on a day; return how many were not known."""
    return await tx.execute(
        """INSERT INTO number_deactivations (day, phone_number) SELECT $1, unnest($2::text[])
           ON CONFLICT (day, phone_number) DO NOTHING""",
        day,
        list(numbers),
    )


async def deactivated_on(tx: Tx, day: date) -> list[str]:
    """List the numbers that were taken out of service on a day."""
    rows = await tx.fetch("SELECT phone_number FROM number_deactivations WHERE day = $1 ORDER BY phone_number", day)
    return [row["phone_number"] for row in rows]


async def deactivated_after(tx: Tx, asked: Sequence[tuple[str, date]]) -> set[tuple[str, date]]:
    """Return those of the pairs of a number and a day where the number was taken out of service later."""
    rows = await tx.fetch(
        """SELECT k.phone_number, k.day FROM unnest($1::text[], $2::date[]) AS k (phone_number, day)
           WHERE EXISTS (SELECT FROM number_deactivations d
                         WHERE d.phone_number = k.phone_number AND d.day > k.day)""",
        [number for number, _ in asked],
        [day for _, day in asked],
    )
    return {(row["phone_number"], row["day"]) for row in rows}
