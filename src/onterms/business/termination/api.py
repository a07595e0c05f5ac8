"""The room's routes under /commercial/v1."""

from onterms.business import cases, customers
from onterms.business.cases import Book
from onterms.business.termination.model import effective_clauses, obligations
from onterms.business.termination.service import Terminations
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

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
            OwnRoute("GET", f"{_BASE}/EffectiveClauses", "customer", self.clauses, summary="Show what binds"),
            OwnRoute("GET", f"{_BASE}/Obligations", "customer", self.duties, summary="Show the operator's duties"),
        ]

    async def _standing(self, tx: Tx, request: OwnRequest) -> tuple[bool, list[str]]:
        customer = await customers.customer_of_request(tx, request)
        ended_at = await self._terminations.ended_at(tx, customer.sid)
        return ended_at is not None, sorted(customer.riders(day_of(request.at)))

    async def clauses(self, tx: Tx, request: OwnRequest) -> OwnReply:
        terminated, riders = await self._standing(tx, request)
        return OwnReply(
            {"terminated": terminated, "items": sorted(effective_clauses(terminated, riders)), "next": None}
        )

    async def duties(self, tx: Tx, request: OwnRequest) -> OwnReply:
        terminated, riders = await self._standing(tx, request)
        items = [
            {"clause": clause, "duty": words, "active": active}
            for clause, words, active in obligations(terminated, riders)
        ]
        return OwnReply({"items": items, "next": None})
