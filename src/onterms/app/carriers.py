"""Which carrier a message goes to: the operator's own by their routes, and in a sandbox the simulator for the rest."""

from collections.abc import Sequence

from onterms.carriers.smpp import NO_ROUTE, SmppCarrier
from onterms.ports.message_carrier import MessageCarrier, OutboundMessage, Refused, SubmitOutcome


class Exchange:
    """A `MessageCarrier` of carriers. Without `rest`, what no route carries is refused."""

    repeats_are_safe: bool = True

    def __init__(self, smpp: SmppCarrier, rest: MessageCarrier | None) -> None:
        assert rest is None or rest.repeats_are_safe, "each carrier here recognises what it was given before"
        # Outcomes of the other carrier say whose they are.
        self.name = rest.name if rest is not None else smpp.name
        self._smpp = smpp
        self._rest = rest

    async def submit(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        """Hand messages over, in order for each carrier, and return one outcome each."""
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
