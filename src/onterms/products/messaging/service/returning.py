"""Messages that a carrier took to itself and gives back."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from onterms.core.db import Row, Tx
from onterms.engines import jobs
from onterms.products.messaging.model import Change
from onterms.products.messaging.service.deliver import record_changes
from onterms.products.messaging.service.queues import DISPATCH, SenderQueues

# Ours, as for carriers that cannot be reached.
PAUSE = timedelta(seconds=5)


async def put_back(
    tx: Tx, messages: Sequence[tuple[str, str]], at: datetime, queues: SenderQueues | None = None
) -> None:
    """Put messages into their queue again; those that have ended meanwhile stay as they are."""
    moved = await record_changes(tx, [Change(account_sid, sid, "queued") for account_sid, sid in messages], at)
    if queues is not None:
        since = {row["sid"]: _queued_at(row, at) for row in moved}
        await queues.again(tx, [(row["account_sid"], row["sid"]) for row in moved], at, at + PAUSE, since)
        return
    steps = [
        jobs.NewJob(
            DISPATCH,
            {"sids": [row["sid"]], "since": _queued_at(row, at).isoformat()},
            account_sid=row["account_sid"],
            due_at=at + PAUSE,
        )
        for row in moved
    ]
    if steps:
        await jobs.enqueue(tx, steps, at)


def _queued_at(row: Row, at: datetime) -> datetime:
    # One of a Messaging Service may have waited for its hour; its validity, which it always has, bounds it.
    created: datetime = row["date_created"]
    return created if row["messaging_service_sid"] is None else at
