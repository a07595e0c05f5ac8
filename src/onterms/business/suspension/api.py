"""The room's routes under /commercial/v1."""

import re

from onterms.business import cases, customers
from onterms.business.cases import Book
from onterms.business.suspension import wire
from onterms.business.suspension.model import COMPLIANCE_REPORT, Rule, read_condition
from onterms.business.suspension.service import settings
from onterms.business.suspension.service.admission import Admission
from onterms.business.suspension.service.screening import Screening
from onterms.business.suspension.service.suspensions import Suspensions
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.ids import new_sid
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

_BASE = "/commercial/v1"
_PLACES = ("service", "region", "embargo")
_COUNTRY = re.compile(r"^[A-Z]{2}$")
_WEIGHT_MAX = 1_000_000
_LIST_BYTES_MAX = 32 * 1024 * 1024


class Api:
    """Suspensions, reviews, screenings, licences, reports, use policy, lists and places."""

    def __init__(self, suspensions: Suspensions, screening: Screening, admission: Admission) -> None:
        self._screening = screening
        self._admission = admission
        self._suspensions = suspensions
        self._reports = Book(COMPLIANCE_REPORT)

    def books(self) -> list[Book]:
        """Return the room's books, for the worker of deadlines."""
        made = self._suspensions
        return [made.book, made.reviews, self._screening.book, self._admission.licences, self._reports]

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        return [
            *cases.operator_routes(),
            *cases.routes(self._suspensions.book, "Suspensions"),
            *cases.routes(self._suspensions.reviews, "Reviews"),
            *cases.routes(self._screening.book, "Screenings"),
            *cases.routes(self._admission.licences, "ExportLicences"),
            *cases.routes(self._reports, "ComplianceReports"),
            OwnRoute("GET", f"{_BASE}/AupRules", "customer", self.list_rules, summary="Show the use policy's rules"),
            OwnRoute("POST", f"{_BASE}/AupRules", "operator", self.add_rule, summary="Add a rule"),
            OwnRoute("POST", f"{_BASE}/AupRules/{{sid}}/End", "operator", self.end_rule, summary="End a rule"),
            OwnRoute("GET", f"{_BASE}/AupScore", "customer", self.show_score, summary="Show a customer's score"),
            OwnRoute("GET", f"{_BASE}/SanctionsLists", "operator", self.list_lists, summary="Show the lists in use"),
            OwnRoute(
                "POST",
                f"{_BASE}/SanctionsLists",
                "operator",
                self.import_list,
                body_bytes_max=_LIST_BYTES_MAX,
                summary="Import a list and screen everybody",
            ),
            OwnRoute("GET", f"{_BASE}/PlaceBlocks", "customer", self.list_places, summary="Show blocked places"),
            OwnRoute("POST", f"{_BASE}/PlaceBlocks", "operator", self.add_place, summary="Block a place"),
            OwnRoute("POST", f"{_BASE}/PlaceBlocks/{{sid}}/End", "operator", self.end_place, summary="End a block"),
        ]

    async def list_rules(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await settings.rules(tx, request.at)
        return OwnReply({"items": [wire.rule(one) for one in found], "next": None})

    async def add_rule(self, tx: Tx, request: OwnRequest) -> OwnReply:
        condition = request.body.get("condition")
        if not isinstance(condition, dict):
            raise InvalidParameter("'condition' must be an object")
        weight = request.body.get("weight", 0)
        if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= _WEIGHT_MAX:
            raise InvalidParameter(f"'weight' must be a whole number up to {_WEIGHT_MAX}")
        action = request.text("action")
        if action not in ("block", "queue", "flag"):
            raise InvalidParameter("'action' must be block, queue or flag")
        rule = Rule(
            new_sid("PR", request.at),
            request.text("service", default="", max_length=40),
            request.text("country", default="", max_length=2),
            read_condition(condition),
            action,
            weight,
            request.text("text_ref", max_length=400),
        )
        await settings.add_rule(tx, rule, request.at)
        return OwnReply(wire.rule(rule), 201)

    async def end_rule(self, tx: Tx, request: OwnRequest) -> OwnReply:
        await settings.end_rule(tx, request.path["sid"], request.at)
        return OwnReply({"sid": request.path["sid"], "until_at": request.at.isoformat()})

    async def show_score(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        score = await self._admission.score(tx, customer.sid, request.at)
        return OwnReply({"customer_sid": customer.sid, "score": score})

    async def list_lists(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await settings.lists(tx)
        return OwnReply({"items": [wire.sanctions_list(row) for row in found], "next": None})

    async def import_list(self, tx: Tx, request: OwnRequest) -> OwnReply:
        name = request.text("name", max_length=100)
        sid, hits = await self._screening.import_list(tx, name, request.body.get("entries"), request.at)
        return OwnReply({"sid": sid, "name": name, "reviews": [case.sid for case in hits]}, 201)

    async def list_places(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await settings.places(tx, request.at)
        return OwnReply({"items": [wire.place(row) for row in found], "next": None})

    async def add_place(self, tx: Tx, request: OwnRequest) -> OwnReply:
        kind, country = request.text("kind"), request.text("country")
        if kind not in _PLACES:
            raise InvalidParameter(f"'kind' must be one of {', '.join(_PLACES)}")
        if not _COUNTRY.match(country):
            raise InvalidParameter("'country' must be two capital letters")
        service = request.text("service", default="", max_length=40)
        subdivision = request.text("subdivision", default="", max_length=10)
        reason = request.text("reason", max_length=400)
        sid = await settings.add_place(tx, kind, service, country, subdivision, reason, request.at)
        return OwnReply({"sid": sid, "kind": kind, "country": country, "subdivision": subdivision}, 201)

    async def end_place(self, tx: Tx, request: OwnRequest) -> OwnReply:
        await settings.end_place(tx, request.path["sid"], request.at)
        return OwnReply({"sid": request.path["sid"], "until_at": request.at.isoformat()})
