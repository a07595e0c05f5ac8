"""The room's routes under /commercial/v1."""

from datetime import date

from onterms.business import cases, customers
from onterms.business.cases import Book
from onterms.business.support.service import Support, changes
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

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

    async def set_plan(self, tx: Tx, request: OwnRequest) -> OwnReply:
        await self._support.set_plan(tx, request.path["name"], request.body.get("targets"), request.at)
        return OwnReply({"name": request.path["name"], "targets": request.body["targets"]}, 201)

    async def list_changes(self, tx: Tx, request: OwnRequest) -> OwnReply:
        return OwnReply({"items": await changes(tx), "next": None})

    async def announce(self, tx: Tx, request: OwnRequest) -> OwnReply:
        try:
            planned_on = date.fromisoformat(request.text("planned_on"))
        except ValueError:
            raise InvalidParameter("'planned_on' must be a day such as 2025-03-01") from None
        sid, told = await self._support.announce_change(
            tx,
            request.text("title", max_length=400),
            request.text("endpoint", max_length=400),
            planned_on,
            request.at,
            breaking=request.body.get("breaking") is True,
            override_reason=request.text("override_reason", default="", max_length=2000),
            exempt_reason=request.text("exempt_reason", default="", max_length=20),
        )
        return OwnReply({"sid": sid, "planned_on": planned_on.isoformat(), "notices": told}, 201)

    async def redact(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        document, topics = request.body.get("document"), request.body.get("topics", [])
        if not isinstance(document, dict):
            raise InvalidParameter("'document' must be an object")
        if not isinstance(topics, list) or not all(isinstance(topic, str) and topic for topic in topics):
            raise InvalidParameter("'topics' must be a list of strings")
        actor = customers.actor_of(request)
        sid, copy, masked = await self._support.make_public_record(
            tx, customer.sid, document, topics, actor, request.at
        )
        return OwnReply({"sid": sid, "document": copy, "masked": masked}, 201)
