"""What strangers, binds and links may keep busy at the SMPP door, so that nobody keeps it from the others."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from onterms.business import accounts
from onterms.products import messaging
from onterms.protocols.smpp import Command

# Ours: connections of one address that are not bound. Each has ten seconds to bind, so hundreds of clients behind one
# address all get in when they come back together, and one address alone cannot take the door's connections.
STRANGERS_MAX: Final = 200
# Ours: messages of one bind that wait for their commit. A submit_multi is one in the window and up to 255 here.
MESSAGES_MAX: Final = 1000
# Ours: messages of one bind that share a transaction.
MESSAGES_A_GROUP: Final = 200
# Ours: connections of the database that questions and binds have at most, each, so that submits and the API have some.
ASKING_MAX: Final = 4
BINDING_MAX: Final = 4
# Ours: names that nobody has, from one address: at once, and then each second.
UNKNOWN_NAMES: Final = 50
_UNKNOWN_PER_S: Final = 0.5


class Crowd:
    """The connections that are not bound, by the address they come from."""

    def __init__(self) -> None:
        self._strangers: Counter[str] = Counter()
        self.asking = asyncio.Semaphore(ASKING_MAX)
        self.binding = asyncio.Semaphore(BINDING_MAX)
        self._names = accounts.FailureThrottle(burst=UNKNOWN_NAMES, per_s=_UNKNOWN_PER_S)

    def enter(self, peer: str) -> bool:
        """Count a stranger in; False when there are too many from there."""
        if self._strangers[peer] >= STRANGERS_MAX:
            return False
        self._strangers[peer] += 1
        return True

    def leave(self, peer: str) -> None:
        """Count a stranger out, who bound or went."""
        self._strangers[peer] -= 1
        if self._strangers[peer] <= 0:
            del self._strangers[peer]

    def is_guessing(self, peer: str, now: float) -> bool:
        """Count a name that nobody has; tell whether too many came from there."""
        return self._names.failed(peer, now) > 0


class Allowance:
    """What one bind may have under way, and send in a second; a bucket holds what one second brings."""

    def __init__(self, now: float) -> None:
        self._requests = self._messages = 0
        self._tokens, self._filled_at = 0.0, now

    def fill(self, access: messaging.Access) -> None:
        """Begin with a full bucket."""
        self._tokens = float(access.rate_per_s)

    def take(self, access: messaging.Access, pdu: Any, now: float) -> bool:
        """Take a request in, if it is within window and rate."""
        cost = cost_of(pdu)
        if self._requests >= access.window_max:
            return False
        if self._messages and self._messages + cost > max(MESSAGES_MAX, access.window_max):
            return False
        rate = access.rate_per_s
        if rate and cost:
            self._tokens = min(float(rate), self._tokens + (now - self._filled_at) * rate)
            self._filled_at = now
            # What has more recipients than a second brings goes with a full bucket, which then owes the rest.
            if self._tokens < min(cost, rate):
                return False
            self._tokens -= cost
        self._requests += 1
        self._messages += cost
        return True

    def done(self, pdu: Any) -> None:
        """Note that a request is answered."""
        self._requests -= 1
        self._messages -= cost_of(pdu)


def cost_of(pdu: Any) -> int:
    """Return how many messages a request asks for."""
    if pdu.command == Command.SUBMIT_MULTI:
        return len(pdu.destinations)
    return 1 if pdu.command in (Command.SUBMIT_SM, Command.DATA_SM) else 0


def grouped(pdus: Sequence[Any]) -> Iterator[list[Any]]:
    """Cut what one read brought into groups that may share a transaction, in order."""
    group: list[Any] = []
    messages = 0
    for pdu in pdus:
        cost = cost_of(pdu)
        if group and messages + cost > MESSAGES_A_GROUP:
            yield group
            group, messages = [], 0
        group.append(pdu)
        messages += cost
    if group:
        yield group
