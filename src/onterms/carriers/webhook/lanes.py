"""How many requests run at once, in all and towards one host."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass


class NoLane(Exception):
    """No request to the host could be started within the time to wait."""


@dataclass(slots=True)
class _Lane:
    free: asyncio.Semaphore
    users: int = 0


class Lanes:
    """Bound the requests in flight.

    The host's own bound comes first, so calls that wait for one slow host hold nothing that others need. Waiting here
    is our doing, so it is not charged to the customer's timers: those start behind it.
    """

    def __init__(self, total: int, per_host: int, wait_s: float) -> None:
        self._total = asyncio.Semaphore(total)
        self._per_host = per_host
        self._wait_s = wait_s
        self._lanes: dict[Hashable, _Lane] = {}

    @asynccontextmanager
    async def lane(self, host: Hashable) -> AsyncIterator[None]:
        """Hold a lane towards the host.

        Raises: NoLane.
        """
        lane = self._lanes.get(host)
        if lane is None:
            lane = self._lanes[host] = _Lane(asyncio.Semaphore(self._per_host))
        lane.users += 1
        try:
            if lane.free.locked() or self._total.locked():
                await self._wait(lane)
            else:
                await lane.free.acquire()
                await self._total.acquire()
            try:
                yield
            finally:
                self._total.release()
                lane.free.release()
        finally:
            lane.users -= 1
            if not lane.users:
                del self._lanes[host]

    async def _wait(self, lane: _Lane) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await lane.free.acquire()
                try:
                    await self._total.acquire()
                except BaseException:
                    lane.free.release()
                    raise
        except TimeoutError:
            raise NoLane from None
