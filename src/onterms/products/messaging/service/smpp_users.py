"""SMPP users: short credentials of an account, for clients whose SMPP has room for 15 characters and 8."""

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid, new_token
from onterms.products.messaging import errors
from onterms.products.messaging.service.send import Senders
from onterms.products.messaging.service.smpp import Access
from onterms.products.messaging.store import smpp as store

# SMPP 3.4 5.2.1 and 5.2.2: 15 and 8 characters and their ends; what has the shape of a SID is none of ours.
_SYSTEM_ID: Final = re.compile(r"^[A-Za-z0-9._-]{3,15}$")
_PASSWORD: Final = re.compile(r"^[!-~]{6,64}$")
_PASSWORD_CHARS: Final = 8
# RFC 7914 2 with 16 MiB: some 50 ms a guess.
_COST: Final[Mapping[str, int]] = {"n": 2**14, "r": 8, "p": 1}
_COLUMNS: Final[Mapping[str, str]] = {
    "window": "window_max",
    "rate": "rate_per_s",
    "binds": "binds_max",
    "alphabet": "alphabet",
    "long_inbound": "long_inbound",
}
BIND_TYPES: Final = ("transmitter", "receiver", "transceiver")


def hash_of(password: str, salt: bytes) -> bytes:
    """Return what is stored of a password. It takes long on purpose."""
    return hashlib.scrypt(password.encode(), salt=salt, maxmem=64 * 1024 * 1024, dklen=32, **_COST)


def is_right(user: Row | None, password: str) -> bool:
    """Compare a password with a user's. Without a user it takes as long and is wrong."""
    made = hash_of(password, user["password_salt"] if user is not None else bytes(16))
    return user is not None and hmac.compare_digest(made, user["password_hash"])


async def create(
    tx: Tx, senders: Senders, account_sid: str, wanted: Mapping[str, Any], at: datetime
) -> tuple[Row, str]:
    """Make a user; its row and its password, which is not kept.

    Raises: InvalidParameter, NameTaken.
    """
    system_id = wanted["system_id"]
    if not _SYSTEM_ID.match(system_id):
        raise InvalidParameter("'system_id' has 3 to 15 letters, digits and ._-")
    password = wanted["password"] or new_token(_PASSWORD_CHARS)
    _require_password(password)
    types = list(dict.fromkeys(wanted["bind_types"])) or list(BIND_TYPES)
    networks = [_network(each) for each in wanted["allowed_ips"]]
    numbers = await _require_numbers(tx, senders, account_sid, wanted["numbers"])
    salt = os.urandom(16)
    user = {
        "sid": new_sid("SU", at),
        "system_id": system_id,
        "password_salt": salt,
        "password_hash": hash_of(password, salt),
        "bind_types": types,
        "allowed_ips": networks,
        "window_max": wanted["window"],
        "rate_per_s": wanted["rate"],
        "binds_max": wanted["binds"],
        "alphabet": wanted["alphabet"],
        "long_inbound": wanted["long_inbound"],
        "created_at": at,
    }
    if not await store.insert_user(tx, account_sid, user):
        raise errors.SmppNameTaken(f"The system_id {system_id} is taken")
    if numbers:
        await store.set_numbers(tx, account_sid, user["sid"], numbers)
    [row] = await store.users(tx, account_sid, user["sid"])
    return row, password


def _require_password(password: str) -> None:
    if not _PASSWORD.match(password):
        raise InvalidParameter("'password' has 6 to 64 visible ASCII characters; many clients send 8 at most")


async def _require_numbers(tx: Tx, senders: Senders, account_sid: str, wanted: Sequence[str]) -> list[str]:
    numbers = list(dict.fromkeys(wanted))
    owned = await senders(tx, [(account_sid, number) for number in numbers])
    for number in numbers:
        if (account_sid, number) not in owned:
            raise InvalidParameter(f"'numbers': {number[:64]} is no number of this account")
    return numbers


async def update(tx: Tx, senders: Senders, account_sid: str, sid: str, changes: Mapping[str, Any]) -> Row:
    """Change a user; whoever is bound by more than its numbers' settings is unbound within seconds and binds again.

    Raises: NotFound, InvalidParameter.
    """
    await fetch(tx, account_sid, sid)
    columns: dict[str, Any] = {}
    for name, column in _COLUMNS.items():
        if name in changes:
            columns[column] = changes[name]
    if "bind_types" in changes:
        columns["bind_types"] = list(dict.fromkeys(changes["bind_types"])) or list(BIND_TYPES)
    if "allowed_ips" in changes:
        columns["allowed_ips"] = [_network(each) for each in changes["allowed_ips"]]
    if "password" in changes:
        _require_password(changes["password"])
        salt = os.urandom(16)
        columns |= {"password_salt": salt, "password_hash": hash_of(changes["password"], salt)}
    if columns:
        await store.update_user(tx, account_sid, sid, columns)
    if "numbers" in changes:
        numbers = await _require_numbers(tx, senders, account_sid, changes["numbers"])
        await store.keep_numbers(tx, account_sid, sid, numbers)
        if numbers:
            await store.set_numbers(tx, account_sid, sid, numbers)
    return await fetch(tx, account_sid, sid)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise InvalidParameter(f"'allowed_ips': {text[:64]} is no address or network") from None


async def page(tx: Tx, account_sid: str, after: str, limit: int) -> Sequence[Row]:
    """List an account's users."""
    return await store.users(tx, account_sid, after=after, limit=limit)


async def fetch(tx: Tx, account_sid: str, sid: str) -> Row:
    """Return a user. Raises: NotFound."""
    for row in await store.users(tx, account_sid, sid):
        return row
    raise _not_found(sid)


async def delete(tx: Tx, account_sid: str, sid: str) -> None:
    """Remove a user. Raises: NotFound."""
    if not await store.delete_user(tx, account_sid, sid):
        raise _not_found(sid)


def _not_found(sid: str) -> NotFound:
    return NotFound(f"The SMPP user {sid} was not found")


def access_of(user: Row) -> Access:
    """Return what a user may."""
    return Access(
        account_sid=user["account_sid"],
        user_key=user["sid"],
        system_id=user["system_id"],
        bind_types=frozenset(user["bind_types"]),
        allowed_ips=tuple(user["allowed_ips"]),
        window_max=user["window_max"],
        rate_per_s=user["rate_per_s"],
        binds_max=user["binds_max"],
        alphabet=user["alphabet"],
        long_inbound=user["long_inbound"],
        version=user["version"],
    )


def may_come_from(access: Access, peer: str) -> bool:
    """Tell whether a bind may come from an address."""
    if not access.allowed_ips:
        return True
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return any(address in ipaddress.ip_network(each) for each in access.allowed_ips)
