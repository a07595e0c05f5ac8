"""What other rooms ask about accounts."""

from collections.abc import Mapping, Sequence

from onterms.business.accounts import store
from onterms.core.db import Tx


async def statuses(tx: Tx, account_sids: Sequence[str]) -> Mapping[str, str]:
    """Return active, suspended or closed for each account that exists, its owners counted in."""
    return await store.statuses(tx, account_sids)


async def main_accounts(tx: Tx, account_sids: Sequence[str]) -> Mapping[str, str]:
    """Return the main account at the head of each account that exists: its own, its parent's or its owner's."""
    return await store.main_accounts(tx, account_sids)
