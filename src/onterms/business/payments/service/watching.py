"""Hearing of spent funds from the ledger, where nothing is asked while they last."""

from onterms.business.payments import store
from onterms.business.payments.model import alert_level
from onterms.core.db import Tx
from onterms.engines import ledger

# Accounts of the ledger: what is owed, or will be at the next invoice, without what is disputed.
_OWED = ("receivable", "unbilled")


async def watch(tx: Tx, customer_sid: str) -> None:
    """Have the ledger tell when prepaid funds fall below the auto-recharge's threshold, or below the Fees due."""
    thresholds = {each.currency: each.threshold for each in await store.auto_recharges(tx, customer_sid) if each.is_on}
    for balance in await ledger.balances(tx, customer_sid):
        level = None
        if balance.kind == "prepaid":
            owed = sum(balance.accounts.get(account, 0) for account in _OWED)
            level = alert_level(balance.posted, thresholds.get(balance.currency, 0), owed)
        await ledger.alert_below(tx, customer_sid, balance.currency, level)
