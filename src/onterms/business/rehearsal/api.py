"""The room's routes under /commercial/v1: /Simulations and /Timers, for the operator."""

from onterms.business.rehearsal import service, store, wire
from onterms.business.rehearsal.service import Changes
from onterms.core.db import Database, Tx
from onterms.engines import jobs
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, page

_BASE = "/commercial/v1"
_PAGE = 50
# Traffic, and what the simulators do to it, are no timers of the contract.
NO_TIMERS = ("messaging.", "simulator.", "mailbox.", "payment_simulator.")


class Api:
    """Rehearsals and timers."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        base, one = f"{_BASE}/Simulations", f"{_BASE}/Simulations/{{sid}}"
        return [
            OwnRoute("POST", base, "operator", self.create, summary="Rehearse the next days on a copy"),
            OwnRoute("GET", base, "operator", self.list, summary="List rehearsals"),
            OwnRoute("GET", one, "operator", free_handler=self.fetch, summary="Show a rehearsal and its result"),
            OwnRoute("DELETE", one, "operator", self.delete, summary="Delete a rehearsal"),
            OwnRoute("GET", f"{_BASE}/Timers", "operator", self.timers, summary="List what will happen by itself"),
        ]

    async def create(self, tx: Tx, request: OwnRequest, body: wire.NewSimulation) -> Created[wire.Simulation]:
        return wire.simulation(await service.request(tx, *body.read(request.at), request.at))

    async def list(self, tx: Tx, query: wire.SimulationsPage) -> Items[wire.Simulation]:
        found = await store.page(tx, query.next, _PAGE + 1)
        return page([wire.simulation(each) for each in found], _PAGE)

    async def fetch(self, sid: str, query: wire.SimulationQuery) -> wire.Simulation:
        """Show a simulation: at once, or by `wait_s` when it has ended or is no longer `known`."""
        if query.wait_s == 0:
            async with self._database.snapshot() as tx:
                return wire.simulation(await service.fetch(tx, sid))
        waited = float(query.wait_s)
        return wire.simulation(await service.wait_for(self._database, self._changes, sid, query.known, waited))

    async def delete(self, tx: Tx, sid: str) -> None:
        await service.delete(tx, sid)

    async def timers(self, tx: Tx, query: wire.TimersQuery) -> Items[wire.Timer]:
        found = await jobs.pending(
            tx,
            NO_TIMERS,
            customer_sid=query.customer_sid,
            task=query.kind,
            after=None if query.next is None else wire.timer_place(query.next),
            limit=_PAGE + 1,
        )
        following = wire.timer_token(found[_PAGE - 1]) if len(found) > _PAGE else None
        return Items([wire.timer(job) for job in found[:_PAGE]], following)
