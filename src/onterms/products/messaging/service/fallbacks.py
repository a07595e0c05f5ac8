"""What goes by RCS first: how long it may, and that it falls back once where it does not arrive.

Theory of operation. A Messaging Service with an RCS sender tries that first. Its message is then an RCS message in all
it is (its addresses, its price) until RCS says that it does not reach the handset, or has not in its time; the carrier
took it back by then. That word does not end the message: a job gives it a number as its sender, once, and it goes
through the queue again under its own SID, so that it ends once and costs what delivered it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from onterms.core.db import Tx
from onterms.engines import jobs
from onterms.ports.message_carrier import OutboundMessage
from onterms.products.messaging.model import Change
from onterms.products.messaging.store import fallbacks as store

FALL_BACK: Final = "messaging.fall_back"
RCS: Final = "rcs"
# Twilio publishes no time; ours. A code that somebody waits for is still of use, and most handsets have long answered.
PATIENCE: Final = timedelta(minutes=5)
# Twilio's error dictionary: no such sender, content not taken or not shown there, not launched with this carrier, not
# reached. Not among them is an unknown outcome: it may have arrived.
NOT_REACHED: Final = 63036
FALLS_BACK: Final = frozenset({63005, 63006, 63007, 63035, NOT_REACHED})


async def put_off(tx: Tx, changes: Sequence[Change], at: datetime) -> list[Change]:
    """Let messages fall back that RCS did not deliver; return the other changes."""
    asked = [
        change
        for change in changes
        if change.carrier == RCS and change.status in ("failed", "undelivered") and change.error_code in FALLS_BACK
    ]
    if not asked:
        return list(changes)
    begun = await store.begin(tx, [(change.account_sid, change.sid) for change in asked])
    steps = [
        jobs.NewJob(
            FALL_BACK,
            {"sid": change.sid, "status": change.status, "code": change.error_code},
            account_sid=change.account_sid,
        )
        for change in asked
        if (change.account_sid, change.sid) in begun
    ]
    await jobs.enqueue(tx, steps, at)
    return [change for change in changes if (change.account_sid, change.sid) not in begun]


async def in_time(tx: Tx, messages: Sequence[OutboundMessage], at: datetime) -> list[OutboundMessage]:
    """Return the messages to hand over; those that can fall back get the end of their time on RCS.

    What waited so long for RCS that its time is over falls back.
    """
    keys = [(message.account_sid, message.sid) for message in messages if message.channel == RCS]
    if not keys:
        return list(messages)
    rows = await store.untried(tx, keys)
    kept: list[OutboundMessage] = []
    late: list[Change] = []
    for message in messages:
        row = rows.get((message.account_sid, message.sid))
        if row is None:
            kept.append(message)
            continue
        until = (row["since"] or at) + PATIENCE
        if until <= at:
            late.append(
                Change(message.account_sid, message.sid, "failed", error_code=NOT_REACHED, carrier=message.channel)
            )
        else:
            kept.append(replace(message, valid_until=min(until, message.valid_until or until)))
    await put_off(tx, late, at)
    return kept
