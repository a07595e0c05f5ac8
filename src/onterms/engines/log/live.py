"""Events as they happen, for live pages."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from onterms.core.db import Database
from onterms.engines.log import store
from onterms.engines.log.model import Position, Recorded

_log = logging.getLogger("onterms.log")

_READ_MAX = 1000
# Committed events wait below the horizon for older transactions, which mostly take a few milliseconds.
_UNSETTLED_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that this subscriber was too slow to take and will not get."""

    lost: int


class Subscription(AsyncIterator[Recorded | Gap]):
    """Events of one account, or of all, from the moment of subscribing until `close`."""

    def __init__(self, live: "Live", account_sid: str | None, queue_max: int) -> None:
        self._live = live
        self._account_sid = account_sid
        self._queue: deque[Recorded] = deque()
        self._queue_max = queue_max
        self._lost = 0
        self._is_closed = False
        self._wake = asyncio.Event()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Recorded | Gap:
        while True:
            if self._queue:
                return self._queue.popleft()
            if self._lost:
                gap = Gap(self._lost)
                self._lost = 0
                return gap
            if self._is_closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    def offer(self, event: Recorded) -> None:
        """Queue an event if it is this subscriber's; for Live."""
        if self._account_sid is not None and event.account_sid != self._account_sid:
            return
        # Once something was lost, all that follows is lost too until the subscriber has been told, so that the gap
        # stands at its place between the events.
        if self._lost or len(self._queue) >= self._queue_max:
            self._lost += 1
        else:
            self._queue.append(event)
        self._wake.set()

    def close(self) -> None:
        """End the iteration after what is queued."""
        self._is_closed = True
        self._live.leave(self)
        self._wake.set()


class Live:
    """One connection that listens for new events and one reader that fans them out; it idles without subscribers."""

    def __init__(self, database: Database, *, outage_pause_s: float = 1.0) -> None:
        self._database = database
        self._outage_pause_s = outage_pause_s
        self._subscriptions: set[Subscription] = set()
        self._position: Position | None = None
        self._news = asyncio.Event()
        self._listening = asyncio.Event()

    async def run(self) -> None:
        """Serve subscribers until cancelled."""
        listener = asyncio.create_task(self._keep_listening())
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                try:
                    await self._fan_out()
                except Exception:
                    _log.exception("live events: trouble with the database; trying again")
                    self._news.set()
                    await asyncio.sleep(self._outage_pause_s)
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener
            for subscription in list(self._subscriptions):
                subscription.close()

    async def subscribe(self, account_sid: str | None, *, queue_max: int = 1000) -> Subscription:
        """Begin to receive the events of one account, or of all accounts.

        Shapes: what was committed before is not repeated, except that the last few milliseconds may be.
        """
        await self._listening.wait()
        subscription = Subscription(self, account_sid, queue_max)
        if self._position is None:
            async with self._database.snapshot() as tx:
                position = await store.end(tx)
            # Somebody may have subscribed meanwhile and read on from an earlier position.
            if self._position is None:
                self._position = Position(position.txid, 0)
        self._subscriptions.add(subscription)
        # What was committed since the position was taken was announced while nobody was there to deliver to.
        self._news.set()
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Forget a subscriber; for Subscription."""
        self._subscriptions.discard(subscription)
        if not self._subscriptions:
            self._position = None

    async def _fan_out(self) -> None:
        while self._position is not None and self._subscriptions:
            position = self._position
            async with self._database.snapshot() as tx:
                events = await store.read_after(tx, position, _READ_MAX)
                has_more = bool(events) or await store.has_more(tx, position)
            if self._position is not position:
                # The last subscriber left and another came while this was read.
                continue
            for event in events:
                self._position = event.position
                for subscription in self._subscriptions:
                    subscription.offer(event)
            if not has_more:
                return
            if not events:
                await asyncio.sleep(_UNSETTLED_PAUSE_S)

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:
                _log.warning("live events: the listening connection failed (%s); connecting again", error)
            await asyncio.sleep(self._outage_pause_s)

    async def _listen(self) -> None:
        connection = await self._database.connect_alone()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda *_: lost.set())
        try:
            await connection.add_listener(store.CHANNEL, lambda *_: self._news.set())
            self._listening.set()
            # Whatever came while nobody listened.
            self._news.set()
            await lost.wait()
        finally:
            connection.terminate()
