"""The room's routes under /commercial/v1."""

from onterms.business import cases
from onterms.business.cases import Book
from onterms.business.customers import Customer, Mine
from onterms.business.termination import wire
from onterms.business.termination.model import effective_clauses, obligations
from onterms.business.termination.service import Terminations
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.engines.api.own import OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, whole

_BASE = "/commercial/v1"


class Api:
    """Terminations, force majeure, and which clauses and duties still bind."""

    def __init__(self, terminations: Terminations) -> None:
        self._terminations = terminations

    def books(self) -> list[Book]:
        """Return the room's books, for the worker of deadlines."""
        return [self._terminations.book, self._terminations.hindrances]

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        return [
            *cases.routes(self._terminations.book, "Terminations"),
            *cases.routes(self._terminations.hindrances, "ForceMajeure"),
            OwnRoute("GET", f"{_BASE}/TerminationOutlook", "customer", self.outlook, summary="Show what an end means"),
            OwnRoute("GET", f"{_BASE}/EffectiveClauses", "customer", self.clauses, summary="Show what binds"),
            OwnRoute("GET", f"{_BASE}/Obligations", "customer", self.duties, summary="Show the operator's duties"),
        ]

    async def _standing(self, tx: Tx, request: OwnRequest, mine: Customer) -> tuple[bool, list[str]]:
        ended_at = await self._terminations.ended_at(tx, mine.sid)
        return ended_at is not None, sorted(mine.riders(day_of(request.at)))

    async def outlook(self, tx: Tx, request: OwnRequest, mine: Mine) -> wire.Outlook:
        return wire.Outlook(**await self._terminations.outlook(tx, mine.sid, request.at))

    async def clauses(self, tx: Tx, request: OwnRequest, mine: Mine) -> wire.Clauses:
        terminated, riders = await self._standing(tx, request, mine)
        return wire.Clauses(terminated, sorted(effective_clauses(terminated, riders)))

    async def duties(self, tx: Tx, request: OwnRequest, mine: Mine) -> Items[wire.Duty]:
        terminated, riders = await self._standing(tx, request, mine)
        return whole([wire.Duty(*duty) for duty in obligations(terminated, riders)])
