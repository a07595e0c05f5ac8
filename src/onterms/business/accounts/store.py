"""All SQL of accounts, tokens, keys and OAuth apps.

Functions take the account whose rows they touch. Those that find a credential take what was presented instead (a user
name, a client id): there the account is the answer.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from onterms.business.accounts.model import AccountRecord, ApiKey, Credentials, OAuthApp
from onterms.core.db import Row, Tx
from onterms.engines.api.paging import PageRequest

CHANNEL = "onterms_accounts"
_FIRST_LOCK = 0x6163636F756E7473  # "accounts": one process at a time makes the first account

# An account is at most as alive as its owner and its owner's owner; no chain is longer.
_ACCOUNT_COLUMNS = """
    a.sid, a.owner_sid, a.friendly_name, a.type, a.test, a.status AS own_status, a.suspended_by, a.token_sealed,
    a.secondary_sealed, a.secondary_created_at, a.created_at, a.updated_at, a.version,
    o.sid AS parent_sid, o.version AS parent_version, g.sid AS grand_sid, g.version AS grand_version,
    CASE WHEN 'closed' IN (a.status, o.status, g.status) THEN 'closed'
         WHEN 'suspended' IN (a.status, o.status, g.status) THEN 'suspended'
         ELSE 'active' END AS status
"""
_ACCOUNT_TABLES = """
    accounts a
    LEFT JOIN accounts o ON o.sid = a.owner_sid AND o.sid <> a.sid
    LEFT JOIN accounts g ON g.sid = o.owner_sid AND g.sid <> o.sid
"""
_KEY_COLUMNS = "account_sid, sid, kind, friendly_name, created_at, updated_at"
_APP_COLUMNS = (
    "account_sid, sid, type, friendly_name, description, access_token_ttl_s, created_by, created_at, updated_at"
)


def _record(row: Row) -> AccountRecord:
    versions = {row["sid"]: row["version"]}
    if row["parent_sid"] is not None:
        versions[row["parent_sid"]] = row["parent_version"]
    if row["grand_sid"] is not None:
        versions[row["grand_sid"]] = row["grand_version"]
    return AccountRecord(
        sid=row["sid"],
        owner_sid=row["owner_sid"],
        friendly_name=row["friendly_name"],
        type=row["type"],
        test=row["test"],
        status=row["status"],
        own_status=row["own_status"],
        suspended_by=row["suspended_by"],
        token_sealed=row["token_sealed"],
        secondary_sealed=row["secondary_sealed"],
        secondary_created_at=row["secondary_created_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        versions=versions,
    )


# Accounts


async def insert_accounts(tx: Tx, owner_sid: str | None, rows: Sequence[dict[str, Any]], at: datetime) -> None:
    """Insert accounts owned by `owner_sid`, or each by itself."""
    await tx.execute(
        """
        INSERT INTO accounts (sid, owner_sid, friendly_name, type, status, test, token_sealed, token_digest,
                              created_at, updated_at)
        SELECT sid, coalesce($1, sid), friendly_name, type, 'active', test, token_sealed, token_digest, $8, $8
        FROM unnest($2::text[], $3::text[], $4::text[], $5::boolean[], $6::bytea[], $7::bytea[])
             AS new (sid, friendly_name, type, test, token_sealed, token_digest)
        """,
        owner_sid,
        [row["sid"] for row in rows],
        [row["friendly_name"] for row in rows],
        [row["type"] for row in rows],
        [row["test"] for row in rows],
        [row["token_sealed"] for row in rows],
        [row["token_digest"] for row in rows],
        at,
    )


async def related_account(tx: Tx, account_sid: str, sid: str) -> AccountRecord | None:
    """Find the account itself or one of its subaccounts."""
    row = await tx.fetchrow(
        f"""
        SELECT {_ACCOUNT_COLUMNS} FROM {_ACCOUNT_TABLES}
        WHERE a.sid = $2 AND (a.sid = $1 OR (a.owner_sid = $1 AND NOT a.test))
        """,
        account_sid,
        sid,
    )
    return None if row is None else _record(row)


async def fetch_account(tx: Tx, account_sid: str) -> AccountRecord | None:
    """Find an account by its own SID."""
    return await related_account(tx, account_sid, account_sid)


async def statuses(tx: Tx, account_sids: Sequence[str]) -> dict[str, str]:
    """Return the status in force of each account."""
    rows = await tx.fetch(
        f"SELECT {_ACCOUNT_COLUMNS} FROM {_ACCOUNT_TABLES} WHERE a.sid = ANY($1::text[])", list(account_sids)
    )
    return {row["sid"]: row["status"] for row in rows}


async def main_accounts(tx: Tx, account_sids: Sequence[str]) -> dict[str, str]:
    """Return the account at the head of each account's chain of owners."""
    rows = await tx.fetch(
        f"SELECT a.sid, coalesce(g.sid, o.sid, a.sid) AS main_sid FROM {_ACCOUNT_TABLES} WHERE a.sid = ANY($1::text[])",
        list(account_sids),
    )
    return {row["sid"]: row["main_sid"] for row in rows}


async def family(tx: Tx, account_sid: str) -> list[str]:
    """Return an account and its subaccounts, without test credentials."""
    rows = await tx.fetch(
        "SELECT sid FROM accounts WHERE sid = $1 OR (owner_sid = $1 AND NOT test) ORDER BY sid", account_sid
    )
    return [row["sid"] for row in rows]


async def test_account(tx: Tx, account_sid: str) -> AccountRecord | None:
    """Find the account that stands for another one's test credentials."""
    row = await tx.fetchrow(
        f"SELECT {_ACCOUNT_COLUMNS} FROM {_ACCOUNT_TABLES} WHERE a.owner_sid = $1 AND a.test", account_sid
    )
    return None if row is None else _record(row)


async def list_accounts(
    tx: Tx,
    account_sid: str,
    paging: PageRequest,
    *,
    friendly_name: str | None,
    status: str | None,
    held: Sequence[str] = (),
) -> list[AccountRecord]:
    """List an account and its subaccounts, newest first, up to one more than the page.

    Shapes: `held` are those that count as suspended although their own status is active.
    """
    condition, tail = paging.keyset("sid", 4)
    rows = await tx.fetch(
        f"""
        SELECT * FROM (SELECT {_ACCOUNT_COLUMNS} FROM {_ACCOUNT_TABLES}
                       WHERE a.sid = $1 OR (a.owner_sid = $1 AND NOT a.test)) AS family
        WHERE ($2::text IS NULL OR friendly_name = $2)
          AND ($3::text IS NULL
               OR $3 = CASE WHEN status = 'active' AND sid = ANY($5::text[]) THEN 'suspended' ELSE status END)
          AND {condition} {tail}
        """,
        account_sid,
        friendly_name,
        status,
        paging.key,
        list(held),
    )
    return [_record(row) for row in rows]


async def lock_account(tx: Tx, account_sid: str) -> None:
    """Make changes to this account and to its set of subaccounts wait for each other."""
    await tx.execute("SELECT 1 FROM accounts WHERE sid = $1 FOR NO KEY UPDATE", account_sid)


async def count_open_subaccounts(tx: Tx, account_sid: str) -> int:
    """Count the subaccounts that are not closed."""
    count: int = await tx.fetchval(
        "SELECT count(*) FROM accounts WHERE owner_sid = $1 AND sid <> $1 AND NOT test AND status <> 'closed'",
        account_sid,
    )
    return count


async def update_account(
    tx: Tx,
    account_sid: str,
    *,
    friendly_name: str | None = None,
    status: str | None = None,
    suspended_by: str | None = None,
    at: datetime,
) -> None:
    """Change the name, or the status with its actor, or both."""
    await tx.execute(
        """
        UPDATE accounts SET friendly_name = coalesce($2, friendly_name), status = coalesce($3, status),
               suspended_by = CASE WHEN $3::text IS NULL THEN suspended_by ELSE $4 END, updated_at = $5
        WHERE sid = $1
        """,
        account_sid,
        friendly_name,
        status,
        suspended_by,
        at,
    )


async def bump_version(tx: Tx, account_sid: str) -> int:
    """Grow the account's version, tell every process at commit, and return the version."""
    version: int = await tx.fetchval(
        "UPDATE accounts SET version = version + 1 WHERE sid = $1 RETURNING version", account_sid
    )
    await tx.execute("SELECT pg_notify($1, $2)", CHANNEL, f"{account_sid} {version}")
    return version


# Auth tokens


async def set_secondary_token(
    tx: Tx, account_sid: str, sealed: bytes | None, digest: bytes | None, at: datetime
) -> None:
    """Set or drop the secondary token."""
    await tx.execute(
        """
        UPDATE accounts SET secondary_sealed = $2, secondary_digest = $3,
               secondary_created_at = CASE WHEN $2::bytea IS NULL THEN NULL ELSE $4::timestamptz END, updated_at = $4
        WHERE sid = $1
        """,
        account_sid,
        sealed,
        digest,
        at,
    )


async def promote_secondary_token(tx: Tx, account_sid: str, at: datetime) -> bool:
    """Make the secondary token the primary one; False when there is none."""
    changed = await tx.execute(
        """
        UPDATE accounts SET token_sealed = secondary_sealed, token_digest = secondary_digest, secondary_sealed = NULL,
               secondary_digest = NULL, secondary_created_at = NULL, updated_at = $2
        WHERE sid = $1 AND secondary_sealed IS NOT NULL
        """,
        account_sid,
        at,
    )
    return changed == 1


# API keys


def _key(row: Row) -> ApiKey:
    return ApiKey(**dict(row.items()))


async def insert_key(tx: Tx, account_sid: str, key: ApiKey, secret_sealed: bytes, secret_digest: bytes) -> None:
    """Insert an API key."""
    await tx.execute(
        """
        INSERT INTO api_keys (account_sid, sid, kind, friendly_name, secret_sealed, secret_digest,
                              created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
        """,
        account_sid,
        key.sid,
        key.kind,
        key.friendly_name,
        secret_sealed,
        secret_digest,
        key.created_at,
    )


async def list_keys(tx: Tx, account_sid: str, paging: PageRequest) -> list[ApiKey]:
    """List an account's keys, newest first, up to one more than the page."""
    condition, tail = paging.keyset("sid", 2)
    rows = await tx.fetch(
        f"SELECT {_KEY_COLUMNS} FROM api_keys WHERE account_sid = $1 AND {condition} {tail}", account_sid, paging.key
    )
    return [_key(row) for row in rows]


async def fetch_key(tx: Tx, account_sid: str, sid: str) -> ApiKey | None:
    """Find one key of an account."""
    sql = f"SELECT {_KEY_COLUMNS} FROM api_keys WHERE account_sid = $1 AND sid = $2"
    row = await tx.fetchrow(sql, account_sid, sid)
    return None if row is None else _key(row)


# tenant: bound through the table of accounts, to the account and the subaccounts it owns.
async def key_owner(tx: Tx, account_sid: str, sid: str) -> str | None:
    """Tell which of an account and its subaccounts has a key."""
    owner: str | None = await tx.fetchval(
        """
        SELECT k.account_sid FROM api_keys k JOIN accounts a ON a.sid = k.account_sid
        WHERE k.sid = $2 AND (a.sid = $1 OR (a.owner_sid = $1 AND NOT a.test))
        """,
        account_sid,
        sid,
    )
    return owner


async def update_key(tx: Tx, account_sid: str, sid: str, friendly_name: str | None, at: datetime) -> ApiKey | None:
    """Rename a key."""
    row = await tx.fetchrow(
        f"""
        UPDATE api_keys SET friendly_name = coalesce($3, friendly_name), updated_at = $4
        WHERE account_sid = $1 AND sid = $2 RETURNING {_KEY_COLUMNS}
        """,
        account_sid,
        sid,
        friendly_name,
        at,
    )
    return None if row is None else _key(row)


async def delete_key(tx: Tx, account_sid: str, sid: str) -> bool:
    """Delete a key; False when the account has none of this SID."""
    return await tx.execute("DELETE FROM api_keys WHERE account_sid = $1 AND sid = $2", account_sid, sid) == 1


async def delete_keys(tx: Tx, account_sid: str) -> int:
    """Delete every key of an account and every bearer token of its apps; return how many keys there were."""
    await tx.execute("DELETE FROM oauth_access_tokens WHERE account_sid = $1", account_sid)
    return await tx.execute("DELETE FROM api_keys WHERE account_sid = $1", account_sid)


# tenant: the keys' SIDs come from what their own accounts used.
async def keys_made_since(tx: Tx, sids: Sequence[str], since: datetime) -> set[str]:
    """Return those of the keys that were made at or after an instant."""
    rows = await tx.fetch(
        "SELECT sid FROM api_keys WHERE sid = ANY($1::text[]) AND created_at >= $2", list(sids), since
    )
    return {row["sid"] for row in rows}


async def key_secret(tx: Tx, account_sid: str, sid: str) -> bytes | None:
    """Return a key's sealed secret."""
    sealed: bytes | None = await tx.fetchval(
        "SELECT secret_sealed FROM api_keys WHERE account_sid = $1 AND sid = $2", account_sid, sid
    )
    return sealed


# OAuth apps and their access tokens


def _app(row: Row) -> OAuthApp:
    return OAuthApp(**{name: row[name] for name in OAuthApp.__dataclass_fields__})


async def insert_app(tx: Tx, account_sid: str, app: OAuthApp, secret_digest: bytes) -> None:
    """Insert an OAuth app."""
    await tx.execute(
        """
        INSERT INTO oauth_apps (account_sid, sid, type, friendly_name, description, access_token_ttl_s, secret_digest,
                                created_by, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
        """,
        account_sid,
        app.sid,
        app.type,
        app.friendly_name,
        app.description,
        app.access_token_ttl_s,
        secret_digest,
        app.created_by,
        app.created_at,
    )


async def update_app(
    tx: Tx,
    account_sid: str,
    sid: str,
    *,
    type: str | None,
    friendly_name: str | None,
    description: str | None,
    access_token_ttl_s: int | None,
    at: datetime,
) -> OAuthApp | None:
    """Change what is given of an OAuth app."""
    row = await tx.fetchrow(
        f"""
        UPDATE oauth_apps SET type = coalesce($3, type), friendly_name = coalesce($4, friendly_name),
               description = coalesce($5, description), access_token_ttl_s = coalesce($6, access_token_ttl_s),
               updated_at = $7
        WHERE account_sid = $1 AND sid = $2 RETURNING {_APP_COLUMNS}
        """,
        account_sid,
        sid,
        type,
        friendly_name,
        description,
        access_token_ttl_s,
        at,
    )
    return None if row is None else _app(row)


async def delete_app(tx: Tx, account_sid: str, sid: str) -> bool:
    """Delete an OAuth app with its tokens; False when the account has none of this SID."""
    return await tx.execute("DELETE FROM oauth_apps WHERE account_sid = $1 AND sid = $2", account_sid, sid) == 1


async def insert_access_token(
    tx: Tx, account_sid: str, app_sid: str, digest: bytes, at: datetime, expires_at: datetime
) -> None:
    """Insert a token's digest and drop the app's expired ones."""
    await tx.execute(
        "DELETE FROM oauth_access_tokens WHERE account_sid = $1 AND app_sid = $2 AND expires_at <= $3",
        account_sid,
        app_sid,
        at,
    )
    await tx.execute(
        """
        INSERT INTO oauth_access_tokens (account_sid, app_sid, digest, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5)
        """,
        account_sid,
        app_sid,
        digest,
        at,
        expires_at,
    )


# Finding credentials: the account is the answer here.


# tenant: whose credentials they are is the answer; the secret is checked before anybody acts on it.
async def credentials_of(tx: Tx, username: str) -> Credentials | None:
    """Find what checks the secret of an account SID or an API key SID."""
    if username.startswith("AC"):
        row = await tx.fetchrow(
            f"""
            SELECT {_ACCOUNT_COLUMNS}, a.token_digest, a.secondary_digest, NULL AS kind
            FROM {_ACCOUNT_TABLES} WHERE a.sid = $1
            """,
            username,
        )
    else:
        row = await tx.fetchrow(
            f"""
            SELECT {_ACCOUNT_COLUMNS}, k.secret_digest AS token_digest, NULL::bytea AS secondary_digest, k.kind
            FROM api_keys k JOIN ({_ACCOUNT_TABLES}) ON a.sid = k.account_sid WHERE k.sid = $1
            """,
            username,
        )
    if row is None:
        return None
    return Credentials(_record(row), username, row["token_digest"], row["secondary_digest"], row["kind"])


# tenant: whose app it is is the answer; the secret is checked before anybody acts on it.
async def app_credentials(tx: Tx, client_id: str) -> tuple[OAuthApp, bytes, AccountRecord] | None:
    """Find an OAuth app, the digest of its secret and its account by the client id."""
    row = await tx.fetchrow(
        f"SELECT {_APP_COLUMNS}, secret_digest FROM oauth_apps WHERE sid = $1",
        client_id,
    )
    if row is None:
        return None
    record = await fetch_account(tx, row["account_sid"])
    assert record is not None, "the foreign key keeps an app's account"
    return _app(row), row["secret_digest"], record


async def access_token_holder(
    tx: Tx, account_sid: str, app_sid: str, digest: bytes
) -> tuple[AccountRecord, datetime] | None:
    """Find the account and the expiry of a bearer token that names its account and app."""
    expires_at: datetime | None = await tx.fetchval(
        "SELECT expires_at FROM oauth_access_tokens WHERE account_sid = $1 AND app_sid = $2 AND digest = $3",
        account_sid,
        app_sid,
        digest,
    )
    if expires_at is None:
        return None
    record = await fetch_account(tx, account_sid)
    return None if record is None else (record, expires_at)


# The installation


async def lock_first_account(tx: Tx) -> None:
    """Wait until no other process makes the first account."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _FIRST_LOCK)


# tenant: the installation's own row, read by the operator's side only.
async def first_account_sid(tx: Tx) -> str | None:
    """Return the SID of the account made at the first start."""
    sid: str | None = await tx.fetchval("SELECT account_sid FROM accounts_first")
    return sid


async def set_first_account(tx: Tx, account_sid: str) -> None:
    """Remember which account was made first."""
    await tx.execute("INSERT INTO accounts_first (account_sid) VALUES ($1)", account_sid)


async def set_operator_key(tx: Tx, digest: bytes, at: datetime) -> None:
    """Store the digest of the operator key, replacing another one."""
    await tx.execute(
        """
        INSERT INTO operator_keys (name, digest, updated_at) VALUES ('operator', $1, $2)
        ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at
        WHERE operator_keys.digest <> excluded.digest
        """,
        digest,
        at,
    )


async def operator_key_digest(tx: Tx) -> bytes | None:
    """Return the digest of the operator key."""
    stored: bytes | None = await tx.fetchval("SELECT digest FROM operator_keys WHERE name = 'operator'")
    return stored
