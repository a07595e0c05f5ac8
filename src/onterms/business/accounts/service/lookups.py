"""What other rooms ask about accounts."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from onterms.business.accounts import store
from onterms.core.db import Tx


async def statuses(tx: Tx, account_sids: Sequence[str]) -> Mapping[str, str]:
    """Return active, suspended or closed for each account that exists, its owners counted in."""
    return await store.statuses(tx, account_sids)


async def main_accounts(tx: Tx, account_sids: Sequence[str]) -> Mapping[str, str]:
    """Return the main account at the head of each account that exists: its own, its parent's or its owner's."""
    return await store.main_accounts(tx, account_sids)


async def family(tx: Tx, account_sid: str) -> list[str]:
    """List an account and its subaccounts, without test credentials."""
    return await store.family(tx, account_sid)


async def keys_made_since(tx: Tx, sids: Sequence[str], since: datetime) -> set[str]:
    """Return those of the keys that were made at or after an instant; whatever is no key is absent."""
    return await store.keys_made_since(tx, sids, since)


async def own_status(tx: Tx, account_sid: str) -> str | None:
    """Return the status that was set on an account itself, whatever its owner's is; None without such an account."""
    record = await store.related_account(tx, account_sid, account_sid)
    return None if record is None else record.own_status
