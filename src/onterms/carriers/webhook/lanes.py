"""How many requests run at once, in all and towards one host."""

import asyncio
from collections import deque
from collections.abc import Hashable


class NoLane(Exception):
    """No request to the host could be started within the time to wait."""


class _Gate:
    """Let so many in, the others in the order they came."""

    __slots__ = ("_free", "_waiting", "users")

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Who is in, or wants to be.
        self.users = 0

    def is_open(self) -> bool:
        return self._free > 0

    def enter_at_once(self) -> None:
        assert self._free > 0, "the gate is closed"
        self._free -= 1

    async def enter(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                # Who leaves has passed it over, or has yet to: then it is found cancelled.
                if place in self._waiting:
                    self._waiting.remove(place)
            else:
                self.leave()
            raise

    def leave(self) -> None:
        # The place is handed over, so nobody who comes now can overtake those who wait: while one waits none is free.
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


class Lanes:
    """Bound the requests in flight.

    The host's own bound comes first, so calls that wait for one slow host hold nothing that others need. Waiting here
    is our doing, so it is not charged to the customer's timers: those start behind it.
    """

    def __init__(self, total: int, per_host: int, wait_s: float) -> None:
        self._total = _Gate(total)
        self._per_host = per_host
        self._wait_s = wait_s
        self._hosts: dict[Hashable, _Gate] = {}

    def take_free(self, host: Hashable) -> bool:
        """Take a lane towards the host if one is free now; `give_back` it."""
        gate = self._hosts.get(host)
        if gate is None:
            if not self._total.is_open():
                return False
            gate = self._hosts[host] = _Gate(self._per_host)
        elif not (gate.is_open() and self._total.is_open()):
            return False
        gate.users += 1
        gate.enter_at_once()
        self._total.enter_at_once()
        return True

    async def take(self, host: Hashable) -> None:
        """Wait for a lane towards the host; `give_back` it.

        Raises: NoLane.
        """
        gate = self._hosts.get(host)
        if gate is None:
            gate = self._hosts[host] = _Gate(self._per_host)
        gate.users += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await gate.enter()
                try:
                    await self._total.enter()
                except BaseException:
                    gate.leave()
                    raise
        except BaseException as error:
            self._forget(host, gate)
            if isinstance(error, TimeoutError):
                raise NoLane from None
            raise

    def give_back(self, host: Hashable) -> None:
        """End the use of a lane."""
        gate = self._hosts[host]
        self._total.leave()
        gate.leave()
        self._forget(host, gate)

    def _forget(self, host: Hashable, gate: _Gate) -> None:
        gate.users -= 1
        if not gate.users:
            del self._hosts[host]
