"""Which carrier a message goes to: the operator's own by their routes, and in a sandbox the simulator for the rest."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Protocol

from onterms.carriers import mms as over_mms
from onterms.carriers.smpp import NO_ROUTE, SmppCarrier
from onterms.ports.message_carrier import MessageCarrier, OutboundMessage, Refused, SubmitOutcome, Submitted

# Twilio docs, error dictionary: the channel is not set up.
NO_CHANNEL: Final = 63008


class RoutedCarrier(MessageCarrier, Protocol):
    """A carrier that has some messages only."""

    async def carried(self, messages: Sequence[OutboundMessage]) -> set[str]:
        """Return which messages are this carrier's."""
        ...

    def has_route(self, recipient: str) -> bool:
        """Tell whether a recipient is reached."""
        ...


class Exchange:
    """A `MessageCarrier` of carriers. Without `rest`, what no route carries is refused.

    Shapes: `channels` has the carriers of channels by name; a message is its channel's, whatever the routes say.
    """

    repeats_are_safe: bool = True

    def __init__(
        self,
        smpp: SmppCarrier,
        rest: MessageCarrier | None,
        mms: RoutedCarrier | None = None,
        channels: Mapping[str, MessageCarrier] = MappingProxyType({}),
    ) -> None:
        carriers = [*channels.values(), *([rest] if rest is not None else [])]
        assert all(carrier.repeats_are_safe for carrier in carriers), "each recognises what it was given before"
        self._channels = channels
        # Outcomes of the other carrier say whose they are.
        self.name = rest.name if rest is not None else smpp.name
        self._smpp = smpp
        self._mms = mms
        self._rest = rest

    def carries_files(self, recipient: str) -> bool:
        """Tell whether files get to a recipient."""
        return self._rest is not None or (self._mms is not None and self._mms.has_route(recipient))

    async def submit(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        """Hand messages over, in order for each carrier, and return one outcome each."""
        networks = {message.channel for message in messages}
        if networks == {"sms"}:
            return await self._submit_to_phones(messages)
        outcomes: dict[str, SubmitOutcome] = {}
        # At the same time: a slow network keeps nobody else waiting.
        by_network = {name: [message for message in messages if message.channel == name] for name in sorted(networks)}
        answers = await asyncio.gather(*(self._submit_on(name, part) for name, part in by_network.items()))
        for part, found in zip(by_network.values(), answers, strict=True):
            outcomes |= {message.sid: outcome for message, outcome in zip(part, found, strict=True)}
        return [outcomes[message.sid] for message in messages]

    async def _submit_on(self, channel: str, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        if channel == "sms":
            return await self._submit_to_phones(messages)
        carrier = self._channels.get(channel)
        if carrier is None:
            return [Refused(NO_CHANNEL, "the channel is not set up here", channel) for _ in messages]
        found = await carrier.submit(messages)
        # Receipts name the carrier that took it.
        return [_named(outcome, carrier.name) for outcome in found]

    async def _submit_to_phones(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        with_files = [message for message in messages if message.media_urls]
        if not with_files:
            return await self._submit_texts(messages)
        outcomes = await self._submit_files(with_files)
        texts = [message for message in messages if not message.media_urls]
        if texts:
            found = await self._submit_texts(texts)
            outcomes |= {message.sid: outcome for message, outcome in zip(texts, found, strict=True)}
        return [outcomes[message.sid] for message in messages]

    async def _submit_files(self, messages: Sequence[OutboundMessage]) -> dict[str, SubmitOutcome]:
        """Hand over messages with files, which SMPP does not carry."""
        outcomes: dict[str, SubmitOutcome] = {}
        carried = await self._mms.carried(messages) if self._mms is not None else set()
        mine = [message for message in messages if message.sid in carried]
        others = [message for message in messages if message.sid not in carried]
        if mine and self._mms is not None:
            found = await self._mms.submit(mine)
            outcomes |= {message.sid: outcome for message, outcome in zip(mine, found, strict=True)}
        if others and self._rest is not None:
            found = await self._rest.submit(others)
            outcomes |= {message.sid: outcome for message, outcome in zip(others, found, strict=True)}
        else:
            refused = Refused(over_mms.NO_ROUTE, "no route carries files to it", over_mms.NAME)
            outcomes |= {message.sid: refused for message in others}
        return outcomes

    async def _submit_texts(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        carried = await self._smpp.carried(messages)
        if not carried and self._rest is not None:
            return await self._rest.submit(messages)
        mine = [message for message in messages if message.sid in carried]
        others = [message for message in messages if message.sid not in carried]
        outcomes: dict[str, SubmitOutcome] = {}
        if others and self._rest is not None:
            found = await self._rest.submit(others)
            outcomes |= {message.sid: outcome for message, outcome in zip(others, found, strict=True)}
        else:
            outcomes |= {message.sid: Refused(NO_ROUTE, "no route carries it") for message in others}
        if mine:
            found = await self._smpp.submit(mine)
            outcomes |= {message.sid: outcome for message, outcome in zip(mine, found, strict=True)}
        return [outcomes[message.sid] for message in messages]


def _named(outcome: SubmitOutcome, carrier: str) -> SubmitOutcome:
    if isinstance(outcome, Submitted | Refused) and outcome.carrier is None:
        return replace(outcome, carrier=carrier)
    return outcome
