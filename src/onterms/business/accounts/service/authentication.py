"""Who is calling, and which account they may act upon; remembered so that a busy client costs no SQL.

What is remembered is dropped when the account or one of its owners changes: at once in the process that made the
change, by notification in the others, and after five real seconds in any case, should a notification get lost. The
header itself is not kept, only a digest of it under a key of this process.
"""

import base64
import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from onterms.business.accounts import store
from onterms.business.accounts.errors import AccountNotActive
from onterms.business.accounts.model import AccountRecord, Credentials
from onterms.business.accounts.service import credentials as credentials_service
from onterms.business.accounts.service.changes import listen
from onterms.core.clock import Clock
from onterms.core.db import Tx
from onterms.core.errors import AuthenticationFailed, NotFound, TooManyRequests
from onterms.core.vault import Vault, digest
from onterms.engines.api.calls import Account, Caller, Credential

CHANNEL = store.CHANNEL
AGE_MAX_S = 5.0
_ENTRIES_MAX = 20_000
# A SID and a secret of ours are 67 characters; bearer tokens about 350.
_HEADER_LENGTH_MAX = 4096
_USERNAME_KEPT_CHARS = 64
_USERNAME = re.compile(r"^(AC|SK)[0-9a-fA-F]{32}$")
# Credentials that act for the account as its owner would; the others reach only the account they belong to.
_OWNERS_CREDENTIALS: frozenset[Credential] = frozenset({"token", "secondary_token", "main_key"})
_CHALLENGE = (("WWW-Authenticate", 'Basic realm="Twilio API"'),)
# Compared when there is nothing to compare with, so that both answers take the same time.
_NO_DIGEST = bytes(32)

Reads = Callable[[], AbstractAsyncContextManager[Tx]]


# What a credential opens


async def authenticate(tx: Tx, username: str, secret: str) -> Caller | None:
    """Return who presents an account SID with one of its tokens or an API key SID with its secret, else None."""
    if not _USERNAME.match(username):
        return None
    return check_secret(await store.credentials_of(tx, username), secret)


def check_secret(found: Credentials | None, secret: str) -> Caller | None:
    """Compare a secret with what was found for its user name, in constant time."""
    presented = digest(secret)
    primary = found.primary_digest if found is not None else _NO_DIGEST
    secondary = found.secondary_digest if found is not None and found.secondary_digest is not None else _NO_DIGEST
    is_primary = hmac.compare_digest(presented, primary)
    is_secondary = hmac.compare_digest(presented, secondary)
    if found is None or not (is_primary or is_secondary) or found.record.status == "closed":
        return None
    credential: Credential
    if found.key_kind is not None:
        credential = "main_key" if found.key_kind == "main" else "standard_key"
    else:
        credential = "token" if is_primary else "secondary_token"
    return Caller(found.record.account, credential, found.credential_sid)


async def authenticate_closed(tx: Tx, username: str, secret: str) -> str | None:
    """Return the main account that was closed and whose token this is, else None: for what a customer still may do."""
    if not _USERNAME.match(username):
        return None
    found = await store.credentials_of(tx, username)
    presented = digest(secret)
    digests = (_NO_DIGEST,) if found is None else (found.primary_digest, found.secondary_digest or _NO_DIGEST)
    # Each is compared, so that time tells nothing.
    is_right = any([hmac.compare_digest(presented, one) for one in digests])
    if found is None or not is_right or found.key_kind is not None:
        return None
    record = found.record
    if record.test or record.is_subaccount or record.own_status != "closed":
        return None
    return record.sid


async def authenticate_bearer(tx: Tx, vault: Vault, token: str, at: datetime) -> Caller | None:
    """Return who presents a bearer token of the token endpoint, else None."""
    found = await _bearer(tx, vault, token, at)
    return None if found is None else found[0]


async def _bearer(tx: Tx, vault: Vault, token: str, at: datetime) -> tuple[Caller, AccountRecord, datetime] | None:
    named = credentials_service.read_access_token(vault, token)
    if named is None:
        return None
    account_sid, app_sid = named
    holder = await store.access_token_holder(tx, account_sid, app_sid, digest(token))
    if holder is None:
        return None
    record, expires_at = holder
    if expires_at <= at or record.status == "closed":
        return None
    return Caller(record.account, "bearer", app_sid), record, expires_at


async def account_for(tx: Tx, caller: Caller, account_sid: str) -> Account:
    """Return the account a caller may act upon: its own, or a subaccount of it for a token or a main key.

    Raises: NotFound for every other SID, whether or not it exists.
    Source: Twilio docs, subaccounts and API keys: a main account's own credentials reach its subaccounts.
    """
    if account_sid == caller.account.sid:
        return caller.account
    record = await _subaccount(tx, caller, account_sid)
    return record.account


async def active_account_for(tx: Tx, caller: Caller, account_sid: str) -> Account:
    """Return the account a caller may act upon when it may still be changed.

    Raises: NotFound, AccountNotActive.
    """
    account = await account_for(tx, caller, account_sid)
    if account.status != "active":
        raise AccountNotActive
    return account


async def _subaccount(tx: Tx, caller: Caller, account_sid: str) -> AccountRecord:
    if caller.credential in _OWNERS_CREDENTIALS:
        record = await store.related_account(tx, caller.account.sid, account_sid)
        if record is not None:
            return record
    raise NotFound(f"The account {account_sid} was not found")


async def is_operator(tx: Tx, key: str) -> bool:
    """Tell whether a key is the operator's."""
    return _matches(await store.operator_key_digest(tx), key)


def _matches(stored: bytes | None, key: str) -> bool:
    return hmac.compare_digest(digest(key), stored or _NO_DIGEST) and stored is not None


# What is remembered


@dataclass(frozen=True, slots=True)
class _Entry:
    value: Any
    stored_at: float
    versions: Mapping[str, int]
    expires_at: datetime | None


class CredentialCache:
    """Remember what credentials open, by account and version.

    Units: ages are real seconds of `clock.monotonic`, never business time, which a sandbox may move.
    """

    def __init__(self, clock: Clock, *, age_max_s: float = AGE_MAX_S, entries_max: int = _ENTRIES_MAX) -> None:
        self._monotonic = clock.monotonic
        self._age_max_s = age_max_s
        self._entries_max = entries_max
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._by_account: dict[str, set[tuple[str, str]]] = {}
        # The newest version heard of and when: what was read before a change must not be stored after it.
        self._heard: dict[str, tuple[int, float]] = {}
        self._digest_key = secrets.token_bytes(32)
        listen(self.forget)

    def header_key(self, authorization: bytes) -> str:
        """Return the key under which an Authorization header is remembered."""
        return hashlib.blake2b(authorization, digest_size=32, key=self._digest_key).hexdigest()

    def get(self, kind: str, key: str, at: datetime | None = None) -> Any:
        """Return what is remembered and still good, else None."""
        entry = self._entries.get((kind, key))
        if entry is None:
            return None
        if self._monotonic() - entry.stored_at >= self._age_max_s:
            self._drop((kind, key))
            return None
        if entry.expires_at is not None and at is not None and entry.expires_at <= at:
            self._drop((kind, key))
            return None
        return entry.value

    def put(
        self,
        kind: str,
        key: str,
        value: Any,
        versions: Mapping[str, int],
        *,
        read_at: float,
        expires_at: datetime | None = None,
    ) -> None:
        """Remember a value that depends on accounts in these versions, read at `read_at` of the same clock."""
        for sid, version in versions.items():
            heard = self._heard.get(sid)
            if heard is not None and heard[0] > version:
                return
        name = (kind, key)
        self._drop(name)
        while len(self._entries) >= self._entries_max:
            self._drop(next(iter(self._entries)))
        self._entries[name] = _Entry(value, read_at, versions, expires_at)
        for sid in versions:
            self._by_account.setdefault(sid, set()).add(name)

    def forget(self, account_sid: str, version: int) -> None:
        """Drop what was read of an account, or of those it owns, before this version."""
        now = self._monotonic()
        heard = self._heard.pop(account_sid, None)
        self._heard[account_sid] = (version if heard is None else max(version, heard[0]), now)
        for name in list(self._by_account.get(account_sid, ())):
            if self._entries[name].versions[account_sid] < version:
                self._drop(name)
        # Nothing read longer ago than an entry may live can still arrive.
        for sid, (_, at) in list(self._heard.items()):
            if now - at < 2 * self._age_max_s:
                break
            del self._heard[sid]

    def clear(self) -> None:
        """Forget everything; for when notifications may have been missed."""
        self._entries.clear()
        self._by_account.clear()

    async def follow(self, connection: Any) -> None:
        """Listen on a connection of its own for what other processes change; when it ends, follow a new one."""
        await connection.add_listener(CHANNEL, self._notified)
        connection.add_termination_listener(lambda _: self.clear())
        # What changed before the listener stood was not heard.
        self.clear()

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        account_sid, _, version = payload.partition(" ")
        self.forget(account_sid, int(version))

    def _drop(self, name: tuple[str, str]) -> None:
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        for sid in entry.versions:
            names = self._by_account[sid]
            names.discard(name)
            if not names:
                del self._by_account[sid]


class FailureThrottle:
    """Count failures of a user name and say when further ones are too many.

    It only ever changes the answer to a wrong secret. The right one is always let in, or else anybody who knows a SID
    could lock its owner out. Our secrets are far beyond guessing; what this protects is the machine.
    """

    def __init__(self, *, burst: int = 20, per_s: float = 0.5, names_max: int = 10_000) -> None:
        self._interval_s = 1 / per_s
        self._tolerance_s = burst / per_s
        self._names_max = names_max
        # Generic cell rate algorithm: the time at which the bucket of failures is empty again.
        self._empty_at: dict[str, float] = {}

    def failed(self, username: str, now: float) -> float:
        """Count one failure and return the seconds to wait, or 0 while failures are few."""
        # A client id is as long as a stranger likes, and is kept.
        username = username[:_USERNAME_KEPT_CHARS]
        empty_at = max(self._empty_at.pop(username, now), now) + self._interval_s
        wait_s = empty_at - self._tolerance_s - now
        if wait_s > 0:
            # A refused failure does not make the wait longer.
            empty_at -= self._interval_s
        while len(self._empty_at) >= self._names_max:
            del self._empty_at[next(iter(self._empty_at))]
        self._empty_at[username] = empty_at
        return max(0.0, wait_s)


class Authenticator:
    """Answer who is calling out of memory, and ask the database when memory does not know: the engine's gatekeeper."""

    def __init__(
        self,
        reads: Reads,
        vault: Vault,
        cache: CredentialCache,
        clock: Clock,
        throttle: FailureThrottle | None = None,
    ) -> None:
        self._reads = reads
        self._vault = vault
        self._cache = cache
        self._clock = clock
        self._monotonic = clock.monotonic
        self._throttle = throttle or FailureThrottle()

    def known(self, authorization: bytes) -> Caller | None:
        """Return the caller of an Authorization header checked a moment ago; no waiting."""
        caller: Caller | None = self._cache.get("header", self._cache.header_key(authorization), self._clock.now())
        return caller

    async def authenticate(self, authorization: bytes) -> Caller:
        """Return who an Authorization header (Basic or Bearer) identifies.

        Raises: AuthenticationFailed, TooManyRequests after many failures of the same user name.
        """
        if len(authorization) > _HEADER_LENGTH_MAX:
            raise AuthenticationFailed("Authenticate", headers=_CHALLENGE)
        scheme, _, value = authorization.decode("latin-1").partition(" ")
        if scheme.lower() == "basic":
            return await self._basic(authorization, value.strip())
        if scheme.lower() == "bearer":
            return await self._bearer(authorization, value.strip())
        raise AuthenticationFailed("Authenticate", headers=_CHALLENGE)

    def known_account(self, caller: Caller, account_sid: str) -> Account | None:
        """Return an account the caller was found to reach a moment ago; no waiting."""
        if account_sid == caller.account.sid:
            return caller.account
        if caller.credential not in _OWNERS_CREDENTIALS:
            return None
        account: Account | None = self._cache.get("subaccount", f"{caller.account.sid} {account_sid}")
        return account

    async def account_for(self, caller: Caller, account_sid: str) -> Account:
        """Return the account a caller may act upon, as the function of the same name does.

        Raises: NotFound.
        """
        known = self.known_account(caller, account_sid)
        if known is not None:
            return known
        read_at = self._monotonic()
        async with self._reads() as tx:
            record = await _subaccount(tx, caller, account_sid)
        key = f"{caller.account.sid} {account_sid}"
        self._cache.put("subaccount", key, record.account, record.versions, read_at=read_at)
        return record.account

    async def signing_token(self, account_sid: str) -> str:
        """Return the account's primary auth token, which signs its webhooks.

        Raises: NotFound.
        """
        known: str | None = self._cache.get("signing", account_sid)
        if known is not None:
            return known
        read_at = self._monotonic()
        async with self._reads() as tx:
            record = await store.fetch_account(tx, account_sid)
        if record is None:
            raise NotFound(f"The account {account_sid} was not found")
        token = self._vault.unseal(record.token_sealed, account_sid)
        self._cache.put("signing", account_sid, token, record.versions, read_at=read_at)
        return token

    async def is_operator(self, key: str) -> bool:
        """Tell whether a key is the operator's."""
        stored: bytes | None = self._cache.get("operator", "")
        if stored is None:
            read_at = self._monotonic()
            async with self._reads() as tx:
                stored = await store.operator_key_digest(tx)
            if stored is not None:
                self._cache.put("operator", "", stored, {}, read_at=read_at)
        return _matches(stored, key)

    def count_failure(self, username: str) -> None:
        """Count a wrong secret of a user name.

        Raises: TooManyRequests when there were many.
        """
        wait_s = self._throttle.failed(username, self._monotonic())
        if wait_s > 0:
            raise TooManyRequests("Too many failed authentications", headers=(("Retry-After", str(math.ceil(wait_s))),))

    async def _basic(self, authorization: bytes, encoded: str) -> Caller:
        try:
            username, separator, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:  # not Base64 (binascii.Error), not ASCII, or not UTF-8 inside
            raise AuthenticationFailed("Authenticate", headers=_CHALLENGE) from None
        if not separator or not _USERNAME.match(username):
            raise AuthenticationFailed("Authentication Error - invalid username", headers=_CHALLENGE)
        # Remembered by user name too, so that a flood of wrong secrets costs one query in five seconds.
        known: tuple[float, Credentials | None] | None = self._cache.get("username", username)
        if known is None:
            read_at = self._monotonic()
            async with self._reads() as tx:
                known = (read_at, await store.credentials_of(tx, username))
            self._cache.put("username", username, known, _versions(known[1]), read_at=read_at)
        read_at, found = known
        caller = check_secret(found, secret)
        if found is None or caller is None:
            self.count_failure(username)
            raise AuthenticationFailed("Authentication Error - invalid username or password", headers=_CHALLENGE)
        # As old as the row it came from, so that nothing is believed for longer than the maximum age.
        self._remember(authorization, caller, found.record, read_at)
        return caller

    async def _bearer(self, authorization: bytes, token: str) -> Caller:
        read_at = self._monotonic()
        found = None
        # The signature comes first: a made-up token does not reach the database.
        if credentials_service.read_access_token(self._vault, token) is not None:
            async with self._reads() as tx:
                found = await _bearer(tx, self._vault, token, self._clock.now())
        if found is None:
            raise AuthenticationFailed("The access token is unknown or expired", headers=_CHALLENGE)
        caller, record, expires_at = found
        self._remember(authorization, caller, record, read_at, expires_at)
        return caller

    def _remember(
        self,
        authorization: bytes,
        caller: Caller,
        record: AccountRecord,
        read_at: float,
        expires_at: datetime | None = None,
    ) -> None:
        key = self._cache.header_key(authorization)
        self._cache.put("header", key, caller, record.versions, read_at=read_at, expires_at=expires_at)


def _versions(found: Credentials | None) -> Mapping[str, int]:
    return {} if found is None else found.record.versions


__all__ = [
    "AGE_MAX_S",
    "CHANNEL",
    "Authenticator",
    "CredentialCache",
    "FailureThrottle",
    "account_for",
    "authenticate",
    "authenticate_bearer",
    "authenticate_closed",
    "check_secret",
    "is_operator",
]
