"""Messages that one node takes and another sends: between a worker without a link of a carrier and one that has it.

Theory of operation. A node whose best route leads over another node's link writes the message down and answers that it
is followed. A node with a bound link takes what waits for its carriers, one transaction a batch: it holds the rows'
locks while it submits, reports what became of the messages, and deletes the rows in the same commit. A node that dies
in between frees the locks; the next one submits again, and the parts that were written down tell what went out.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from onterms.carriers.smpp import store
from onterms.core.db import Database, Tx
from onterms.ports.message_carrier import (
    MessageSink,
    OutboundMessage,
    Receipt,
    Refused,
    SubmitOutcome,
    Submitted,
)

# Twilio docs, Messages resource: the longest ValidityPeriod, which is also the default; and error 30036.
_LIFE: Final = timedelta(hours=10)
_EXPIRED: Final = 30036
_BATCH_MAX: Final = 200

Submit = Callable[[Sequence[OutboundMessage]], Awaitable[list[SubmitOutcome]]]


class Handover:
    """What goes over other nodes' links, and comes from other nodes."""

    def __init__(self, database: Database, sink: MessageSink, name: str) -> None:
        self._database = database
        self._sink = sink
        self._name = name

    async def give(self, tx: Tx, messages: Sequence[tuple[str, OutboundMessage]], at: datetime) -> None:
        """Write down messages for whoever has a link: (carrier_sid, message)."""
        rows = [(sid, message.account_sid, message.sid, _encode(message)) for sid, message in messages]
        await store.put_handovers(tx, rows, at)

    async def take(self, carrier_sids: Sequence[str], submit: Submit, at: datetime) -> bool:
        """Send a batch of what waits for carriers that have a link here; tell whether there may be more."""
        async with self._database.transaction() as tx:
            rows = await store.take_handovers(tx, list(carrier_sids), _BATCH_MAX)
            if not rows:
                return False
            messages = [_decode(row["message"]) for row in rows]
            outcomes = await submit(messages)
            receipts: list[Receipt] = []
            done: list[str] = []
            for row, message, outcome in zip(rows, messages, outcomes, strict=True):
                ended = self._ended(message, outcome, row["made_at"], at)
                if ended is not None:
                    done.append(message.sid)
                    receipts += ended
            if receipts:
                await self._sink.receipts_arrived(tx, receipts)
            await store.drop_handovers(tx, done)
        return len(done) == _BATCH_MAX

    def _ended(
        self, message: OutboundMessage, outcome: SubmitOutcome, made_at: datetime, at: datetime
    ) -> list[Receipt] | None:
        """Return what to report of a message, nothing where the links will; None where it goes on waiting."""
        if isinstance(outcome, Submitted):
            return [self._receipt(message, "sent", outcome.carrier_id, None, at)]
        if isinstance(outcome, Refused):
            return [self._receipt(message, "failed", "", outcome.code, at)]
        if getattr(outcome, "is_followed", False):
            return []
        if at - made_at > _LIFE or (message.valid_until is not None and message.valid_until < at):
            return [self._receipt(message, "failed", "", _EXPIRED, at)]
        return None

    def _receipt(
        self, message: OutboundMessage, state: Any, carrier_id: str, code: int | None, at: datetime
    ) -> Receipt:
        return Receipt(self._name, carrier_id, message.account_sid, message.sid, state, code, at)


def _encode(message: OutboundMessage) -> Any:
    return msgspec.to_builtins(message)


def _decode(value: Any) -> OutboundMessage:
    return msgspec.convert(value, OutboundMessage)
