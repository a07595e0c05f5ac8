"""The room's routes under /commercial/v1."""

from onterms.business import cases
from onterms.business.cases import Book
from onterms.business.customers import Mine
from onterms.business.suspension import wire
from onterms.business.suspension.model import COMPLIANCE_REPORT, Rule, check_action, read_condition
from onterms.business.suspension.service import settings
from onterms.business.suspension.service.admission import Admission
from onterms.business.suspension.service.screening import Screening
from onterms.business.suspension.service.suspensions import Suspensions
from onterms.core.db import Tx
from onterms.core.ids import new_sid
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, page, whole

_BASE = "/commercial/v1"
_PAGE_SIZE = 50
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
            OwnRoute("GET", f"{_BASE}/AupHits", "operator", self.list_hits, summary="Show which rules were hit"),
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

    async def list_rules(self, tx: Tx, request: OwnRequest) -> Items[wire.AupRule]:
        return whole([wire.AupRule.of(one) for one in await settings.rules(tx, request.at)])

    async def add_rule(self, tx: Tx, request: OwnRequest, body: wire.NewAupRule) -> Created[wire.AupRule]:
        known = read_condition(body.condition)
        check_action(known, body.action)
        sid = new_sid("PR", request.at)
        rule = Rule(sid, body.service, body.country, known, body.action, body.weight, body.text_ref)
        await settings.add_rule(tx, rule, request.at)
        self._admission.changed(tx)
        return wire.AupRule.of(rule)

    async def end_rule(self, tx: Tx, request: OwnRequest, sid: str) -> wire.Ended:
        await settings.end_rule(tx, sid, request.at)
        self._admission.changed(tx)
        return wire.Ended(sid, request.at)

    async def list_hits(self, tx: Tx, mine: Mine, query: wire.HitsPage) -> Items[wire.Hit]:
        found = await self._admission.hits(tx, mine.sid, query.next, _PAGE_SIZE + 1)
        return page([wire.Hit.of(row) for row in found], _PAGE_SIZE)

    async def show_score(self, tx: Tx, request: OwnRequest, mine: Mine) -> wire.AupScore:
        return wire.AupScore(mine.sid, await self._admission.score(tx, mine.sid, request.at))

    async def list_lists(self, tx: Tx) -> Items[wire.SanctionsList]:
        return whole([wire.sanctions_list(row) for row in await settings.lists(tx)])

    async def import_list(self, tx: Tx, request: OwnRequest, body: wire.NewList) -> Created[wire.ListImported]:
        sid, hits = await self._screening.import_list(tx, body.name, body.entries, request.at)
        return wire.ListImported(sid, body.name, [case.sid for case in hits])

    async def list_places(self, tx: Tx, request: OwnRequest) -> Items[wire.Place]:
        return whole([wire.Place.of(row) for row in await settings.places(tx, request.at)])

    async def add_place(self, tx: Tx, request: OwnRequest, body: wire.NewPlace) -> Created[wire.PlaceBlocked]:
        place = (body.country, body.subdivision)
        sid = await settings.add_place(tx, body.kind, body.service, *place, body.reason, request.at)
        self._admission.changed(tx)
        return wire.PlaceBlocked(sid, body.kind, *place)

    async def end_place(self, tx: Tx, request: OwnRequest, sid: str) -> wire.Ended:
        await settings.end_place(tx, sid, request.at)
        self._admission.changed(tx)
        return wire.Ended(sid, request.at)
