"""Holds from memory: a worker's chunks of funds.

A chunk is taken in the background, in a transaction of its own, when what is left falls below half of the last one. A
caller never waits for it: what memory does not cover is held directly, in the caller's transaction. Waiting would stop
for ever where the caller itself has the funds locked.

What a caller spends counts as spent at once. After its commit that is final. When it is rolled back, the effect queued
for the commit is dropped with the transaction; the amount then is in doubt, for a commit whose answer was lost looks
the same. PostgreSQL knows what became of a transaction id, so it is asked before more is taken: what was aborted is
spendable again. What stays in doubt (no id was learned) is settled by giving the lease back, for its rows say exactly
what was spent.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from onterms.core.clock import Clock
from onterms.core.db import AtOnce, Database, NotAtOnce, Tx
from onterms.engines.ledger import holds, lease_store
from onterms.engines.ledger.model import Duplicate, Held, HoldKey, HoldOutcome, HoldRequest
from onterms.engines.ledger.store import FundsKey

_log = logging.getLogger("onterms.ledger")

# Bounds a chunk by the size of what is asked for, so that one worker does not park a large balance without need.
_CHUNK_UNITS_MAX = 2000
_GOOD_FOR = timedelta(seconds=60)
_IDLE = timedelta(seconds=15)
# Where too little is left for a chunk, asking again at each hold would cost more than the direct path alone.
_DRY_S = 1.0
_RECOVER_MAX = 500
_STOP_TRIES = 20


class _Lease:
    """What is left of a chunk, as this worker knows it."""

    __slots__ = ("chunk", "customer_sid", "doubts", "free", "id", "used_at")

    def __init__(self, customer_sid: str, id: int, at: datetime) -> None:
        self.customer_sid = customer_sid
        self.id = id
        self.free = 0
        self.chunk = 0
        self.used_at = at
        # (transaction id, micros) of what was spent by transactions that were dropped.
        self.doubts: list[tuple[str | None, int]] = []


class _Spent:
    """An amount taken from a lease: final when called after the commit, in doubt when dropped without."""

    __slots__ = ("_lease", "_micros", "_xid")

    def __init__(self, lease: _Lease, micros: int) -> None:
        self._lease: _Lease | None = lease
        self._micros = micros
        self._xid: str | None = None

    def __call__(self) -> None:
        self._lease = None

    def inserted(self, xid: str, unused: int) -> None:
        """Note the transaction; `unused` is for holds that exist already, so that no row took it."""
        self._xid = xid
        self._micros -= unused
        if self._lease is not None:
            self._lease.free += unused

    def untouched(self) -> None:
        """Give everything back: no row was inserted."""
        if self._lease is not None:
            self._lease.free += self._micros
        self._lease = None

    def __del__(self) -> None:
        if self._lease is not None:
            self._lease.doubts.append((self._xid, self._micros))


class Leases:
    """Chunks of many customers' funds, held by one worker and spent in memory."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        worker_name: str,
        *,
        chunk_units_max: int = _CHUNK_UNITS_MAX,
        good_for: timedelta = _GOOD_FOR,
        idle: timedelta = _IDLE,
    ) -> None:
        self._database = database
        self._clock = clock
        self._worker = worker_name
        self._chunk_units_max = chunk_units_max
        self._good_for = good_for
        self._idle = idle
        self._leases: dict[FundsKey, _Lease] = {}
        # Given up in memory, and a transaction still spends from it.
        self._leaving: list[tuple[FundsKey, int]] = []
        self._taking: dict[FundsKey, asyncio.Task[None]] = {}
        self._dry_until: dict[FundsKey, float] = {}
        self._is_stopping = False

    async def start(self) -> None:
        """Return what an earlier life of this worker left behind. Two workers must not share a name."""
        self._is_stopping = False
        await self._recover(self._worker)

    async def hold(self, tx: Tx, requests: Sequence[HoldRequest], at: datetime) -> list[HoldOutcome]:
        """Set funds aside as `ledger.hold` does, from memory where that covers it."""
        leased: dict[HoldKey, tuple[HoldRequest, _Lease]] = {}
        direct: list[int] = []
        spent: dict[_Lease, _Spent] = {}
        amounts: dict[_Lease, int] = {}
        for place, each in enumerate(requests):
            key = (each.customer_sid, each.currency)
            lease = self._leases.get(key)
            is_covered = lease is not None and lease.free >= each.micros and each.key not in leased
            if lease is not None and is_covered:
                lease.free -= each.micros
                lease.used_at = at
                leased[each.key] = (each, lease)
                amounts[lease] = amounts.get(lease, 0) + each.micros
            else:
                direct.append(place)
            if lease is None or lease.free * 2 < lease.chunk:
                self._want(key, each.micros)
        for lease, micros in amounts.items():
            spent[lease] = _Spent(lease, micros)
            tx.after_commit(spent[lease])
        if isinstance(tx, AtOnce):
            return self._hold_at_once(tx, requests, leased, spent, at)
        outcomes: dict[int, HoldOutcome] = {}
        # Direct ones first: they lock funds, and who has a lease must not wait for funds where that can be avoided.
        if direct:
            made = await holds.hold(tx, [requests[place] for place in direct], at)
            outcomes.update(zip(direct, made, strict=True))
        if leased:
            await self._spend(tx, requests, leased, spent, outcomes, at)
        return [outcomes[place] for place in range(len(requests))]

    def _hold_at_once(
        self,
        tx: AtOnce,
        requests: Sequence[HoldRequest],
        leased: dict[HoldKey, tuple[HoldRequest, _Lease]],
        spent: dict[_Lease, _Spent],
        at: datetime,
    ) -> list[HoldOutcome]:
        for each in spent.values():
            tx.if_undone(each.untouched)
        if len(leased) < len(requests):
            raise NotAtOnce
        lease_store.spend_at_once(tx, [(each, lease.id) for each, lease in leased.values()], at)
        return [Held(each.key) for each in requests]

    async def _spend(
        self,
        tx: Tx,
        requests: Sequence[HoldRequest],
        leased: dict[HoldKey, tuple[HoldRequest, _Lease]],
        spent: dict[_Lease, _Spent],
        outcomes: dict[int, HoldOutcome],
        at: datetime,
    ) -> None:
        made, xid = await lease_store.spend(tx, [(each, lease.id) for each, lease in leased.values()], at)
        rest: list[int] = []
        for place, each in enumerate(requests):
            if place in outcomes:
                continue
            if each.key in made:
                outcomes[place] = Held(each.key)
            else:
                rest.append(place)
        unused: dict[_Lease, int] = {}
        used: set[_Lease] = set()
        for key, (each, lease) in leased.items():
            if key in made:
                used.add(lease)
            else:
                unused[lease] = unused.get(lease, 0) + each.micros
        for lease, each_spent in spent.items():
            if xid is not None and lease in used:
                each_spent.inserted(xid, unused.get(lease, 0))
            else:
                each_spent.untouched()
        if not rest:
            return
        # It exists already, or the lease is gone: called in for somebody who found the funds short, or recovered.
        found = await holds.hold(tx, [requests[place] for place in rest], at)
        for place, outcome in zip(rest, found, strict=True):
            outcomes[place] = outcome
            request, lease = leased[requests[place].key]
            funds_key = (request.customer_sid, request.currency)
            if not isinstance(outcome, Duplicate) and self._leases.get(funds_key) is lease:
                del self._leases[funds_key]

    # ---- taking

    def _want(self, key: FundsKey, unit: int) -> None:
        if self._is_stopping or key in self._taking:
            return
        if self._dry_until.get(key, 0.0) > self._clock.monotonic():
            return
        task = asyncio.create_task(self._take(key, unit))
        self._taking[key] = task
        task.add_done_callback(lambda _: self._taking.pop(key, None))

    async def _take(self, key: FundsKey, unit: int) -> None:
        try:
            await self._refill(key, unit)
        except Exception as error:
            # The direct path goes on without; a broken database fails the callers themselves.
            _log.warning("no lease taken for %s: %s", key[0], error)
            self._dry_until[key] = self._clock.monotonic() + _DRY_S

    async def _refill(self, key: FundsKey, unit: int) -> None:
        lease = self._leases.get(key)
        if lease is not None and lease.doubts:
            await self._settle(key, lease)
            lease = self._leases.get(key)
            if lease is not None and lease.free * 2 >= lease.chunk:
                return
        at = self._clock.now()
        async with self._database.transaction() as tx:
            taken = await lease_store.take(
                tx,
                key,
                self._worker,
                lease.id if lease is not None else None,
                unit,
                unit * self._chunk_units_max,
                at + self._good_for,
            )
        if taken is None:
            self._dry_until[key] = self._clock.monotonic() + _DRY_S
            return
        self._dry_until.pop(key, None)
        current = self._leases.get(key)
        if current is None or current.id != taken.id:
            # Also when the lease vanished meanwhile: then this is a new one, and what memory thought is void.
            current = self._leases[key] = _Lease(key[0], taken.id, at)
        current.free += taken.micros
        current.chunk = taken.micros

    async def _settle(self, key: FundsKey, lease: _Lease) -> None:
        doubts, lease.doubts = lease.doubts, []
        async with self._database.snapshot() as tx:
            found = await lease_store.statuses(tx, [xid for xid, _ in doubts if xid is not None])
        for xid, micros in doubts:
            status = found.get(xid) if xid is not None else None
            if status == "aborted":
                lease.free += micros
            elif status == "in progress":
                lease.doubts.append((xid, micros))
            elif status is None and self._leases.get(key) is lease:
                await self._leave(key)

    # ---- giving back

    async def run(self, *, pause_s: float = 5.0) -> None:
        """Keep leases until cancelled."""
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self.maintain()
            except Exception:
                _log.exception("leases: trouble with the database; trying again")

    async def maintain(self) -> None:
        """Return idle chunks, renew the others, return those of workers that are gone."""
        at = self._clock.now()
        for key, lease in list(self._leases.items()):
            if lease.used_at + self._idle <= at and key not in self._taking:
                await self._leave(key)
        await self._retry_leaving()
        if self._leases:
            ids = {lease.id: lease.customer_sid for lease in self._leases.values()}
            async with self._database.transaction() as tx:
                await lease_store.renew(tx, ids, at + self._good_for)
        await self._recover(None)
        now = self._clock.monotonic()
        self._dry_until = {key: until for key, until in self._dry_until.items() if until > now}

    async def stop(self) -> None:
        """Return every chunk; what running transactions still spend is returned by whoever recovers it."""
        self._is_stopping = True
        for task in list(self._taking.values()):
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for key in list(self._leases):
            await self._leave(key)
        for _ in range(_STOP_TRIES):
            if not self._leaving:
                break
            await self._retry_leaving(is_patient=True)

    async def settled(self) -> None:
        """Wait until no chunk is being taken."""
        while self._taking:
            await asyncio.wait(list(self._taking.values()))

    async def _leave(self, key: FundsKey) -> None:
        # Out of memory first, so that nobody spends from it any more.
        self._leaving.append((key, self._leases.pop(key).id))
        await self._retry_leaving()

    async def _retry_leaving(self, *, is_patient: bool = False) -> None:
        leaving, self._leaving = self._leaving, []
        while leaving:
            key, lease_id = leaving[-1]
            try:
                async with self._database.transaction() as tx:
                    await lease_store.give_back(tx, key, [lease_id], is_patient=is_patient)
                    is_left = bool(await lease_store.existing(tx, key, [lease_id]))
            except BaseException:
                self._leaving += leaving
                raise
            leaving.pop()
            if is_left:
                self._leaving.append((key, lease_id))

    async def _recover(self, worker: str | None) -> None:
        """Return leases that nobody renews. A worker that lives after all finds its lease gone and holds directly."""
        async with self._database.snapshot() as tx:
            found = await lease_store.abandoned(tx, worker, self._clock.now(), _RECOVER_MAX)
        for key, ids in found.items():
            async with self._database.transaction() as tx:
                await lease_store.give_back(tx, key, ids)
