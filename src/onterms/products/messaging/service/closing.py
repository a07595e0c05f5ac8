"""The end of accounts: what waits is not sent any more, what was sent is charged."""

from collections.abc import Sequence
from datetime import datetime

from onterms.business.usage import Meter, Outcome, Settled
from onterms.core.db import Tx
from onterms.products.messaging import store
from onterms.products.messaging.model import Change
from onterms.products.messaging.service import money
from onterms.products.messaging.service.deliver import ACCOUNT_SUSPENDED, record_changes
from onterms.products.messaging.service.queues import drop_queues

# What the carrier took costs, whatever its receipt will say.
_TAKEN: dict[str, Outcome] = {"sent": "charge", "read": "charge"}


async def refuse_waiting(tx: Tx, account_sids: Sequence[str], at: datetime) -> int:
    """Fail every message of accounts that waits to be sent, and return how many."""
    changes = [
        Change(row["account_sid"], row["sid"], "failed", error_code=ACCOUNT_SUSPENDED)
        for row in await store.waiting_of(tx, account_sids)
    ]
    await drop_queues(tx, account_sids)
    return len(await record_changes(tx, changes, at))


async def settle_now(tx: Tx, meter: Meter, account_sids: Sequence[str], at: datetime) -> tuple[int, int]:
    """Charge or free what accounts sent and received so far, without waiting for receipts; return (settled, left).

    What a carrier is being asked for at this moment is left to its own job.
    """
    outcomes = {**money.OUTCOMES, **_TAKEN}
    rows = await store.unpriced_of(tx, account_sids)
    known = [row for row in rows if row["status"] in outcomes]
    settled = [
        Settled(
            money.use_of_row(row),
            outcomes[row["status"]],
            row["date_created"] if row["direction"] == "inbound" else None,
        )
        for row in known
    ]
    costs = await meter.settle(tx, settled, at)
    currencies = await meter.currencies(tx, [row["account_sid"] for row in known], at)
    await store.set_prices(
        tx,
        {
            (row["account_sid"], row["sid"]): (costs[row["sid"]], currencies[row["account_sid"]])
            for row in known
            if row["sid"] in costs and row["account_sid"] in currencies
        },
    )
    return len(known), len(rows) - len(known)
