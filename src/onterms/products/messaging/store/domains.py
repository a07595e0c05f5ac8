"""The SQL of customers' own short domains."""

from datetime import datetime

from onterms.core.db import Row, Tx

CHANNEL = "onterms_link_domains"


# tenant: a name is one account's in the whole install; nothing is told but that it is taken.
async def _is_anothers(tx: Tx, account_sid: str, name: str) -> bool:
    found: bool = await tx.fetchval(
        "SELECT EXISTS (SELECT FROM messaging_domains WHERE domain_name = $1 AND account_sid <> $2)", name, account_sid
    )
    return found


async def set_certificate(
    tx: Tx, account_sid: str, name: str, sid: str, sealed: bytes, expires_at: datetime, at: datetime
) -> Row | None:
    """Give an account's domain a name and a certificate; None where another account has the name."""
    if await _is_anothers(tx, account_sid, name):
        return None
    row = await tx.fetchrow(
        """UPDATE messaging_domains SET domain_name = $2, certificate_sid = $3, certificate = $4,
               certificate_created = coalesce(certificate_created, $6), certificate_updated = $6,
               certificate_expires = $5
           WHERE account_sid = $1 RETURNING *""",
        account_sid,
        name,
        sid,
        sealed,
        expires_at,
        at,
    )
    await tx.execute("SELECT pg_notify($1, '')", CHANNEL)
    return row


async def remove_certificate(tx: Tx, account_sid: str, at: datetime) -> None:
    """Take name and certificate from an account's domain."""
    await tx.execute(
        """UPDATE messaging_domains SET domain_name = NULL, certificate_sid = NULL, certificate = NULL,
               certificate_created = NULL, certificate_updated = NULL, certificate_expires = NULL, date_updated = $2
           WHERE account_sid = $1""",
        account_sid,
        at,
    )
    await tx.execute("SELECT pg_notify($1, '')", CHANNEL)


# tenant: the doors show every customer's certificate to whoever asks for its name.
async def sealed_certificates(tx: Tx) -> list[tuple[str, str, bytes]]:
    """List the certificates of all domains: (name, certificate's SID, sealed)."""
    rows = await tx.fetch(
        "SELECT domain_name, certificate_sid, certificate FROM messaging_domains WHERE certificate IS NOT NULL"
    )
    return [(row["domain_name"], row["certificate_sid"], row["certificate"]) for row in rows]


# tenant: a visitor knows the name only.
async def fallback_of(tx: Tx, name: str) -> str | None:
    """Return where a domain sends those who ask for what it does not know."""
    found: str | None = await tx.fetchval("SELECT fallback_url FROM messaging_domains WHERE domain_name = $1", name)
    return found or None
