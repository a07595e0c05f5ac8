"""The room's routes under /commercial/v1."""

from onterms.business import cases
from onterms.business.cases import Book
from onterms.business.customers import Actor, Mine
from onterms.business.support import wire
from onterms.business.support.service import Support, changes
from onterms.core.db import Tx
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, whole

_BASE = "/commercial/v1"


class Api:
    """Tickets, plans, changes, beta, resellers' breaches, partners, press, verification, public records."""

    def __init__(self, support: Support) -> None:
        self._support = support

    def books(self) -> list[Book]:
        """Return the room's books, for the worker of deadlines."""
        made = self._support
        return [
            made.tickets,
            made.adverse,
            made.betas,
            made.resellers,
            made.partners,
            made.press,
            made.verifications,
        ]

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        nouns = (
            *("Tickets", "AdverseChanges", "BetaEnrolments", "ResellerBreaches", "Partners", "PressReleases"),
            "IdentityVerifications",
        )
        made = [route for book, noun in zip(self.books(), nouns, strict=True) for route in cases.routes(book, noun)]
        return [
            *made,
            OwnRoute(
                "POST", f"{_BASE}/SupportPlans/{{name}}", "operator", self.set_plan, summary="Set a plan's targets"
            ),
            OwnRoute("GET", f"{_BASE}/ServiceChanges", "customer", self.list_changes, summary="List announced changes"),
            OwnRoute("POST", f"{_BASE}/ServiceChanges", "operator", self.announce, summary="Announce a change"),
            OwnRoute("POST", f"{_BASE}/PublicRecords", "customer", self.redact, summary="Make a redacted copy"),
        ]

    async def set_plan(self, tx: Tx, request: OwnRequest, name: str, body: wire.NewPlan) -> Created[wire.Plan]:
        await self._support.set_plan(tx, name, body.targets, request.at)
        return wire.Plan(name=name, targets=body.targets)

    async def list_changes(self, tx: Tx) -> Items[wire.ServiceChange]:
        return whole([wire.ServiceChange.of(row) for row in await changes(tx)])

    async def announce(self, tx: Tx, request: OwnRequest, body: wire.NewChange) -> Created[wire.ChangeMade]:
        sid, told = await self._support.announce_change(
            tx,
            body.title,
            body.endpoint,
            body.planned_on,
            request.at,
            breaking=body.breaking,
            override_reason=body.override_reason,
            exempt_reason=body.exempt_reason,
        )
        return wire.ChangeMade(sid, body.planned_on, told)

    async def redact(
        self, tx: Tx, request: OwnRequest, mine: Mine, actor: Actor, body: wire.NewRecord
    ) -> Created[wire.PublicRecord]:
        made = await self._support.make_public_record(tx, mine.sid, body.document, body.topics, actor, request.at)
        return wire.PublicRecord(*made)
