"""The room's routes under /commercial/v1."""

from datetime import datetime

from onterms.business import cases, customers
from onterms.business.cases import Book
from onterms.business.privacy.service import Privacy
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

_BASE = "/commercial/v1"
_REPORT_BYTES_MAX = 8 * 1024 * 1024


class Api:
    """Export, consents, requests for information, marks, deletions and the report room."""

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy

    def books(self) -> list[Book]:
        """Return the room's books, for the worker of deadlines."""
        made = self._privacy
        return [made.requests, made.marks, made.uses, made.deletions]

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        report = f"{_BASE}/AuditReports"
        return [
            *cases.routes(self._privacy.requests, "InformationRequests"),
            *cases.routes(self._privacy.marks, "MarksConsents"),
            *cases.routes(self._privacy.uses, "MarksUses"),
            *cases.routes(self._privacy.deletions, "DataDeletions"),
            OwnRoute("POST", f"{_BASE}/Exports", "customer", self.export, summary="Export all customer data"),
            OwnRoute("GET", report, "customer", self.list_reports, summary="List audit reports"),
            OwnRoute("GET", f"{_BASE}/Consents", "customer", self.list_consents, summary="Show somebody's consents"),
            OwnRoute("POST", f"{_BASE}/Consents", "customer", self.add_consent, summary="Record a consent"),
            OwnRoute("DELETE", f"{_BASE}/Consents/{{sid}}", "customer", self.end_consent, summary="Withdraw a consent"),
            OwnRoute(
                "POST", f"{_BASE}/ConfidentialLooks", "operator", self.look, summary="Look at confidential things"
            ),
            OwnRoute(
                "POST", report, "operator", self.add_report, body_bytes_max=_REPORT_BYTES_MAX, summary="Add a report"
            ),
            OwnRoute("POST", f"{report}/{{sid}}/Download", "customer", self.download, summary="Download under NDA"),
        ]

    async def export(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customers.refuse_weak_credentials(request)
        customer = await customers.customer_of_request(tx, request)
        purpose = request.text("purpose", default="provide_services", max_length=40)
        actor = customers.actor_of(request)
        return OwnReply(await self._privacy.export(tx, customer.sid, purpose, actor, request.at), 201)

    async def add_consent(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        try:
            given_at = datetime.fromisoformat(request.text("given_at"))
        except ValueError:
            given_at = None
        if given_at is None or given_at.tzinfo is None:
            raise InvalidParameter("'given_at' must be an instant such as 2025-03-01T10:00:00Z")
        names = ("identity", "channel", "purpose", "source")
        identity, channel, purpose, source = [request.text(name, max_length=320) for name in names]
        sid = await self._privacy.record_consent(
            tx, customer.sid, identity, channel, purpose, source, given_at, request.at
        )
        return OwnReply({"sid": sid, "identity": identity, "channel": channel, "purpose": purpose}, 201)

    async def list_consents(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        items = await self._privacy.consents(tx, customer.sid, request.query.get("identity", ""))
        return OwnReply({"items": items, "next": None})

    async def list_reports(self, tx: Tx, request: OwnRequest) -> OwnReply:
        items = [{"sid": sid, "title": title} for sid, title in await self._privacy.reports(tx)]
        return OwnReply({"items": items, "next": None})

    async def end_consent(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        await self._privacy.withdraw_consent(tx, customer.sid, request.path["sid"], request.at)
        return OwnReply({"sid": request.path["sid"], "withdrawn_at": request.at.isoformat()})

    async def look(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        names = ("actor", "role", "kind", "subject_sid")
        actor, role, kind, subject = [request.text(name, max_length=100) for name in names]
        reason = request.text("break_glass_reason", default="", max_length=2000)
        await self._privacy.look(tx, customer.sid, actor, role, kind, subject, request.at, break_glass_reason=reason)
        return OwnReply({"granted": True, "actor": actor, "kind": kind, "subject_sid": subject}, 201)

    async def add_report(self, tx: Tx, request: OwnRequest) -> OwnReply:
        title = request.text("title", max_length=200)
        content = request.text("content", max_length=_REPORT_BYTES_MAX)
        return OwnReply({"sid": await self._privacy.add_report(tx, title, content, request.at), "title": title}, 201)

    async def download(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customers.refuse_weak_credentials(request)
        customer = await customers.customer_of_request(tx, request)
        nda = request.body.get("nda") is True
        title, content = await self._privacy.download_report(
            tx, customer.sid, request.path["sid"], customers.actor_of(request), request.at, nda=nda
        )
        return OwnReply({"title": title, "content": content})
