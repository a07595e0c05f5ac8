"""Auth tokens, API keys, OAuth apps and their access tokens."""

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from onterms.business.accounts import store
from onterms.business.accounts.errors import (
    BadTokenRequest,
    EmptyClientId,
    InvalidClient,
    InvalidGrantType,
    PolicyNeedsRestrictedKey,
    RestrictedKeysNotServed,
    SecondaryTokenExists,
)
from onterms.business.accounts.events import AUTH_TOKEN_PROMOTED
from onterms.business.accounts.model import (
    ACCESS_TOKEN_TTL_MAX_S,
    ACCESS_TOKEN_TTL_MIN_S,
    ACCESS_TOKEN_TTL_S,
    FRIENDLY_NAME_MAX,
    AccessToken,
    AccountRecord,
    ApiKey,
    KeyKind,
    OAuthApp,
    check_friendly_name,
)
from onterms.business.accounts.service.changes import record_change
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid, new_token
from onterms.core.vault import Vault, digest
from onterms.engines.api.paging import PageRequest
from onterms.engines.log import Event, append

_MAC_PURPOSE = "access token"
# The header never changes: {"alg":"HS256","typ":"JWT"}.
_JWT_HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()
_DESCRIPTION_MAX = 1024


# Auth tokens


async def signing_token(tx: Tx, vault: Vault, account_sid: str) -> str:
    """Return the primary auth token, which signs the account's webhooks.

    Raises: NotFound.
    """
    return vault.unseal((await _account(tx, account_sid)).token_sealed, account_sid)


async def create_secondary_token(tx: Tx, vault: Vault, account_sid: str, at: datetime) -> tuple[str, AccountRecord]:
    """Give the account a second auth token that works beside the first.

    Raises: SecondaryTokenExists.
    """
    await store.lock_account(tx, account_sid)
    if (await _account(tx, account_sid)).secondary_sealed is not None:
        raise SecondaryTokenExists
    token = new_token()
    await store.set_secondary_token(tx, account_sid, vault.seal(token, account_sid), digest(token), at)
    await record_change(tx, account_sid)
    return token, await _account(tx, account_sid)


async def delete_secondary_token(tx: Tx, account_sid: str, at: datetime) -> None:
    """End the second auth token.

    Raises: NotFound when there is none.
    """
    await store.lock_account(tx, account_sid)
    if (await _account(tx, account_sid)).secondary_sealed is None:
        raise NotFound("The account has no secondary auth token")
    await store.set_secondary_token(tx, account_sid, None, None, at)
    await record_change(tx, account_sid)


async def promote_secondary_token(tx: Tx, vault: Vault, account_sid: str, at: datetime) -> tuple[str, AccountRecord]:
    """Make the second auth token the only one; the first ends at once.

    Raises: NotFound when there is no second one.
    """
    if not await store.promote_secondary_token(tx, account_sid, at):
        raise NotFound("The account has no secondary auth token")
    await record_change(tx, account_sid)
    await append(tx, [Event(AUTH_TOKEN_PROMOTED, account_sid, account_sid, {})], at)
    record = await _account(tx, account_sid)
    return vault.unseal(record.token_sealed, account_sid), record


# API keys


async def create_key(
    tx: Tx, vault: Vault, account_sid: str, friendly_name: str | None, at: datetime, *, kind: KeyKind = "standard"
) -> tuple[ApiKey, str]:
    """Make an API key and return it with its secret, which is shown once."""
    name = friendly_name or ""
    check_friendly_name(name)
    secret = new_token()
    key = ApiKey(account_sid, new_sid("SK", at), kind, name, at, at)
    await store.insert_key(tx, account_sid, key, vault.seal(secret, key.sid), digest(secret))
    return key, secret


async def create_main_key(
    tx: Tx, vault: Vault, account_sid: str, friendly_name: str, at: datetime
) -> tuple[ApiKey, str]:
    """Make a main API key, which may do all its account's token may; for the operator.

    Raises: NotFound when there is no such account, which test credentials are not.
    """
    if (await _account(tx, account_sid)).test:
        raise NotFound(f"The account {account_sid} was not found")
    return await create_key(tx, vault, account_sid, friendly_name, at, kind="main")


def refuse_policy(key_type: str | None, policy: Any) -> None:
    """Refuse what asks for restricted permissions.

    Raises: RestrictedKeysNotServed, PolicyNeedsRestrictedKey.
    """
    if key_type == "restricted":
        raise RestrictedKeysNotServed
    if policy:
        raise PolicyNeedsRestrictedKey


async def list_keys(tx: Tx, account_sid: str, paging: PageRequest) -> Sequence[ApiKey]:
    """List an account's keys, up to one more than the page."""
    return await store.list_keys(tx, account_sid, paging)


async def fetch_key(tx: Tx, account_sid: str, sid: str) -> ApiKey:
    """Return one of the account's keys.

    Raises: NotFound.
    """
    return _found(await store.fetch_key(tx, account_sid, sid), sid)


async def key_owner(tx: Tx, account_sid: str, sid: str) -> str:
    """Tell which of an account and its subaccounts has a key.

    Raises: NotFound.
    """
    owner = await store.key_owner(tx, account_sid, sid)
    if owner is None:
        raise NotFound(f"The key {sid} was not found")
    return owner


async def update_key(tx: Tx, account_sid: str, sid: str, friendly_name: str | None, at: datetime) -> ApiKey:
    """Rename one of the account's keys.

    Raises: NotFound, InvalidFriendlyName.
    """
    if friendly_name is not None:
        check_friendly_name(friendly_name)
    return _found(await store.update_key(tx, account_sid, sid, friendly_name, at), sid)


async def delete_key(tx: Tx, account_sid: str, sid: str) -> None:
    """End one of the account's keys.

    Raises: NotFound.
    """
    if not await store.delete_key(tx, account_sid, sid):
        raise NotFound(f"The key {sid} was not found")
    await record_change(tx, account_sid)


async def revoke_keys(tx: Tx, account_sid: str) -> int:
    """End all keys and bearer tokens of an account at once and return how many keys there were.

    The account's own auth token stays: whoever reports that a key leaked needs it, and rotates it by promotion.
    """
    count = await store.delete_keys(tx, account_sid)
    await record_change(tx, account_sid)
    return count


async def key_secret(tx: Tx, vault: Vault, account_sid: str, sid: str) -> str:
    """Return the secret of one of the account's keys, which signs and checks JWTs.

    Raises: NotFound.
    """
    sealed = await store.key_secret(tx, account_sid, sid)
    if sealed is None:
        raise NotFound(f"The key {sid} was not found")
    return vault.unseal(sealed, sid)


# OAuth apps


async def create_app(
    tx: Tx,
    account_sid: str,
    *,
    type: str | None,
    friendly_name: str | None,
    description: str | None,
    access_token_ttl_s: int | None,
    policy: Mapping[str, Any] | None,
    created_by: str,
    at: datetime,
) -> tuple[OAuthApp, str]:
    """Make a client of the token endpoint and return it with its secret, which is shown once.

    Raises: RestrictedKeysNotServed, InvalidParameter.
    """
    _check_app(type, friendly_name, description, access_token_ttl_s, policy)
    secret = new_token()
    app = OAuthApp(
        account_sid=account_sid,
        sid=new_sid("OQ", at),
        type=type or "account",
        friendly_name=friendly_name or "",
        description=description or "",
        access_token_ttl_s=ACCESS_TOKEN_TTL_S if access_token_ttl_s is None else access_token_ttl_s,
        created_by=created_by,
        created_at=at,
        updated_at=at,
    )
    await store.insert_app(tx, account_sid, app, digest(secret))
    return app, secret


async def update_app(
    tx: Tx,
    account_sid: str,
    sid: str,
    *,
    type: str | None,
    friendly_name: str | None,
    description: str | None,
    access_token_ttl_s: int | None,
    policy: Mapping[str, Any] | None,
    at: datetime,
) -> OAuthApp:
    """Change what is given of an OAuth app; tokens already issued keep their expiry.

    Raises: NotFound, RestrictedKeysNotServed, InvalidParameter.
    """
    _check_app(type, friendly_name, description, access_token_ttl_s, policy)
    app = await store.update_app(
        tx,
        account_sid,
        sid,
        type=type,
        friendly_name=friendly_name,
        description=description,
        access_token_ttl_s=access_token_ttl_s,
        at=at,
    )
    if app is None:
        raise NotFound(f"The OAuth app {sid} was not found")
    return app


async def delete_app(tx: Tx, account_sid: str, sid: str) -> None:
    """End an OAuth app and every token it was given.

    Raises: NotFound.
    """
    if not await store.delete_app(tx, account_sid, sid):
        raise NotFound(f"The OAuth app {sid} was not found")
    await record_change(tx, account_sid)


async def issue_access_token(
    tx: Tx,
    vault: Vault,
    *,
    grant_type: str | None,
    client_id: str | None,
    client_secret: str | None,
    account_sid: str | None = None,
    at: datetime,
) -> AccessToken:
    """Exchange a client's secret for a bearer token.

    Raises: EmptyClientId, InvalidGrantType, BadTokenRequest, InvalidClient.
    """
    if not client_id:
        raise EmptyClientId
    if grant_type != "client_credentials":
        raise InvalidGrantType
    if not client_secret:
        raise BadTokenRequest("client_secret is required")
    found = await store.app_credentials(tx, client_id)
    if found is None:
        raise InvalidClient
    app, secret_digest, record = found
    if not hmac.compare_digest(secret_digest, digest(client_secret)) or record.status == "closed":
        raise InvalidClient
    # Twilio docs, OAuth apps FAQ: an account's app does not work for its subaccounts.
    if account_sid is not None and account_sid != app.account_sid:
        raise BadTokenRequest("The client does not belong to account_sid")
    expires_at = at + timedelta(seconds=app.access_token_ttl_s)
    token = _make_token(vault, app, at, expires_at)
    await store.insert_access_token(tx, app.account_sid, app.sid, digest(token), at, expires_at)
    return AccessToken(token, app.access_token_ttl_s)


def read_access_token(vault: Vault, token: str) -> tuple[str, str] | None:
    """Return the account and the app a bearer token names, or None when this installation did not make it."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_signature(vault, signed).encode(), signature.encode()):
        return None
    claims = msgspec.json.decode(_decode(signed.partition(".")[2]))
    return claims["sub"], claims["iss"]


def _make_token(vault: Vault, app: OAuthApp, at: datetime, expires_at: datetime) -> str:
    # To its holder a bearer token is opaque; it has the shape of a JWT because the SDKs read `exp` from it and would
    # fetch a new token for every request if they could not.
    claims = {
        "iss": app.sid,
        "sub": app.account_sid,
        "iat": int(at.timestamp()),
        "exp": int(expires_at.timestamp()),
        "jti": new_token(),
    }
    signed = f"{_JWT_HEADER}.{_encode(msgspec.json.encode(claims))}"
    return f"{signed}.{_signature(vault, signed)}"


def _signature(vault: Vault, signed: str) -> str:
    return _encode(vault.mac(_MAC_PURPOSE, signed.encode()))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def _account(tx: Tx, account_sid: str) -> AccountRecord:
    record = await store.fetch_account(tx, account_sid)
    if record is None:
        raise NotFound(f"The account {account_sid} was not found")
    return record


def _found(key: ApiKey | None, sid: str) -> ApiKey:
    if key is None:
        raise NotFound(f"The key {sid} was not found")
    return key


def _check_app(
    type: str | None,
    friendly_name: str | None,
    description: str | None,
    ttl_s: int | None,
    policy: Mapping[str, Any] | None,
) -> None:
    if policy and (policy.get("allow") or policy.get("deny")):
        raise RestrictedKeysNotServed
    check_friendly_name(friendly_name or "")
    if type is not None and len(type) > FRIENDLY_NAME_MAX:
        raise InvalidParameter(f"type may have at most {FRIENDLY_NAME_MAX} characters")
    if description is not None and len(description) > _DESCRIPTION_MAX:
        raise InvalidParameter(f"description may have at most {_DESCRIPTION_MAX} characters")
    if ttl_s is not None and not ACCESS_TOKEN_TTL_MIN_S <= ttl_s <= ACCESS_TOKEN_TTL_MAX_S:
        raise InvalidParameter(f"access_token_ttl must be {ACCESS_TOKEN_TTL_MIN_S} to {ACCESS_TOKEN_TTL_MAX_S} seconds")
