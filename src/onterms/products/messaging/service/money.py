"""What a message costs: as a use that the meter holds funds for before it is sent and charges when its end is known."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from onterms.business.suspension import Gate, Passage, Passed
from onterms.business.usage import Meter, Outcome, Settled, Use
from onterms.core import e164
from onterms.core.db import Row, Tx
from onterms.engines import jobs
from onterms.products.messaging import store
from onterms.products.messaging.model import NewMessage
from onterms.products.messaging.service.compliance import Compliance
from onterms.products.messaging.service.queues import SenderQueues

SETTLE = "messaging.settle"
# A message that was never sent costs nothing; what the carrier took does, whatever became of it then.
OUTCOMES: dict[str, Outcome] = {
    "delivered": "charge",
    "undelivered": "charge",
    "received": "charge",
    "failed": "free",
    "canceled": "free",
}


class Till:
    """What stands between a message and its sending, for every door that messages come in by."""

    def __init__(self, gate: Gate, compliance: Compliance | None = None, queues: SenderQueues | None = None) -> None:
        self.meter = gate.meter
        self._gate = gate
        self._compliance = compliance
        self.queues = queues

    async def admit(self, tx: Tx, messages: Sequence[NewMessage]) -> Passed:
        """Hold funds for the messages that conduct and standing let pass; return the refused and the waiting by SID."""
        if not messages:
            return Passed({}, {})
        at = messages[0].at
        looked = await self._compliance.look(tx, messages, at) if self._compliance is not None else None
        if looked is not None and looked.refused:
            messages = [message for message in messages if message.sid not in looked.refused]
        passages = [Passage(use_of(message), message.sender, message.body) for message in messages]
        passed = await self._gate.admit(tx, passages, at)
        if looked is None or not (looked.refused or looked.waiting):
            return passed
        waiting = {**looked.waiting}
        for sid, until in passed.waiting.items():
            waiting[sid] = max(until, waiting.get(sid, until))
        return Passed({**looked.refused, **passed.refused}, waiting)

    async def turned_away(self, tx: Tx, messages: Sequence[Row], at: datetime) -> set[str]:
        """Return the SIDs of messages under way that may not go on."""
        passages = (Passage(use_of_row(message), message["sender"]) for message in messages)
        return await self._gate.turned_away(tx, passages, at)

    async def may_say(self, tx: Tx, message: Row, body: str, at: datetime) -> None:
        """Refuse another text for a message that waits where the rules speak against it.

        Raises: Refusal.
        """
        refused = await self._gate.judge(tx, [Passage(use_of_row(message), message["sender"], body)], at)
        for refusal in refused.values():
            raise refusal

    async def kept_out(self, tx: Tx, messages: Sequence[NewMessage], at: datetime) -> set[str]:
        """Return the SIDs of inbound messages that are not let in."""
        passages = (Passage(use_of(message), message.recipient) for message in messages)
        return await self._gate.turned_away(tx, passages, at)


def use_of(message: NewMessage) -> Use:
    """Make the use that a message about to be stored is."""
    return _use(
        message.account_sid,
        message.sid,
        message.direction == "inbound",
        message.sender,
        message.recipient,
        message.num_media > 0,
        message.num_segments,
        message.credential_sid,
    )


def use_of_row(message: Row) -> Use:
    """Make the use that a stored message is."""
    return _use(
        message["account_sid"],
        message["sid"],
        message["direction"] == "inbound",
        message["sender"],
        message["recipient"],
        message["sid"].startswith("MM"),
        message["num_segments"],
    )


def _use(
    account_sid: str,
    sid: str,
    is_inbound: bool,
    sender: str,
    recipient: str,
    has_media: bool,
    segments: int,
    credential_sid: str = "",
) -> Use:
    if ":" in recipient:
        # Channels run over the internet: one message, whatever is in it, and no country of ours.
        channel, number = e164.split_address(sender if is_inbound else recipient)
        direction = "inbound" if is_inbound else "outbound"
        country = e164.country_of(number) or ""
        return Use(account_sid, sid, channel, direction, country, number, "message", 1, "", credential_sid)
    # The country that sets the price is where it goes to; for what comes in, that of our own number.
    # Short codes are known within their country only, whoever writes to them.
    country = e164.country_of(recipient) or (e164.country_of(sender) if is_inbound else None) or ""
    ours = recipient if is_inbound else sender
    detail = "longcode" if ours.startswith("+") else "shortcode" if e164.is_short_code(ours) else ""
    service, unit, qty = ("mms", "message", 1) if has_media else ("sms", "segment", segments)
    number = sender if is_inbound else recipient
    direction = "inbound" if is_inbound else "outbound"
    return Use(account_sid, sid, service, direction, country, number, unit, qty, "", credential_sid, detail)


def settle_job(account_sid: str, ends: list[list[str]]) -> jobs.NewJob:
    """Make the job that charges or frees messages whose end is known, durable with that end.

    Shapes: (SID, outcome) of each.
    """
    return jobs.NewJob(SETTLE, {"ends": ends}, account_sid=account_sid)


async def settle(tx: Tx, meter: Meter, run: jobs.Run, batch: Sequence[jobs.Job]) -> None:
    """Charge or free messages and write down what they cost, with the end of their jobs."""
    outcomes = {(job.account_sid or "", sid): outcome for job in batch for sid, outcome in job.payload["ends"]}
    messages = await store.fetch_many(tx, list(outcomes))
    settled = [
        Settled(
            use_of_row(message),
            outcomes[message["account_sid"], message["sid"]],
            message["date_created"] if message["direction"] == "inbound" else None,
        )
        for message in messages
    ]
    at = run.clock.now()
    costs = await meter.settle(tx, settled, at)
    currencies = await meter.currencies(tx, [message["account_sid"] for message in messages], at)
    await store.set_prices(
        tx,
        {
            (message["account_sid"], message["sid"]): (costs[message["sid"]], currencies[message["account_sid"]])
            for message in messages
            if message["sid"] in costs and message["account_sid"] in currencies
        },
    )
    await run.complete(tx, batch)


async def still_due(tx: Tx, ids: Sequence[str]) -> set[str]:
    """Return those messages whose holds ran out that the carrier took and never spoke of again: they cost."""
    return await store.sent_of(tx, ids)


async def note_costs(tx: Tx, costs: Mapping[tuple[str, str], tuple[int, str]]) -> None:
    """Write on messages what they were charged when their holds ran out."""
    await store.set_prices(tx, dict(costs))
