"""The room's routes under /commercial/v1."""

import base64
import math
from collections.abc import Callable

from onterms.business import accounts, cases, customers
from onterms.business.cases import Book
from onterms.business.customers import Actor, Mine, MineToChange
from onterms.business.privacy import wire
from onterms.business.privacy.service import Privacy
from onterms.core.db import Tx
from onterms.core.errors import AuthenticationFailed, NotFound, TooManyRequests
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, whole

_BASE = "/commercial/v1"


class Api:
    """Export, consents, requests for information, marks, deletions and the report room."""

    def __init__(self, privacy: Privacy, monotonic: Callable[[], float] = lambda: 0.0) -> None:
        self._privacy = privacy
        self._monotonic = monotonic
        self._throttle = accounts.FailureThrottle()

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
            OwnRoute(
                "POST", f"{_BASE}/ClosedAccountExports", "open", self.export_closed, summary="Export after the end"
            ),
            OwnRoute("GET", f"{_BASE}/ClosedAccountDeletion", "open", self.show_deletion, summary="Show the deletion"),
            OwnRoute("GET", report, "customer", self.list_reports, summary="List audit reports"),
            OwnRoute("GET", f"{_BASE}/Consents", "customer", self.list_consents, summary="Show somebody's consents"),
            OwnRoute("POST", f"{_BASE}/Consents", "customer", self.add_consent, summary="Record a consent"),
            OwnRoute("DELETE", f"{_BASE}/Consents/{{sid}}", "customer", self.end_consent, summary="Withdraw a consent"),
            OwnRoute(
                "POST", f"{_BASE}/ConfidentialLooks", "operator", self.look, summary="Look at confidential things"
            ),
            OwnRoute(
                "POST",
                report,
                "operator",
                self.add_report,
                body_bytes_max=wire.REPORT_BYTES_MAX,
                summary="Add a report",
            ),
            OwnRoute("POST", f"{report}/{{sid}}/Download", "customer", self.download, summary="Download under NDA"),
        ]

    async def export(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, body: wire.NewExport
    ) -> Created[wire.Export]:
        return wire.Export(**await self._privacy.export(tx, mine.sid, body.purpose, actor, request.at))

    async def _closed_account(self, tx: Tx, request: OwnRequest) -> str:
        # A closed account opens nothing any more but this; its own token proves whose it was.
        scheme, _, value = request.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        username, secret = "", ""
        if scheme.lower() == "basic":
            try:
                username, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
            except ValueError:
                username = ""
        account_sid = await accounts.authenticate_closed(tx, username, secret) if username else None
        if account_sid is None:
            wait_s = self._throttle.failed(username, self._monotonic())
            if wait_s > 0:
                raise TooManyRequests(
                    "Too many failed authentications", headers=(("Retry-After", str(math.ceil(wait_s))),)
                )
            challenge = (("WWW-Authenticate", 'Basic realm="onterms"'),)
            raise AuthenticationFailed("This is for accounts that were closed, with their token", headers=challenge)
        return account_sid

    async def export_closed(self, tx: Tx, request: OwnRequest) -> Created[wire.Export]:
        account_sid = await self._closed_account(tx, request)
        return wire.Export(**await self._privacy.export_closed(tx, account_sid, request.at))

    async def show_deletion(self, tx: Tx, request: OwnRequest) -> wire.Deletion:
        customer = await customers.customer_of(tx, await self._closed_account(tx, request))
        case = None if customer is None else await self._privacy.deletion_of(tx, customer.sid)
        if case is None:
            raise NotFound("No deletion is planned")
        shown = ("due_at", "certificate", "certificate_sha256")
        facts = {name: case.facts[name] for name in shown if name in case.facts}
        return wire.Deletion(case.sid, case.state, **facts)

    async def add_consent(
        self, tx: Tx, request: OwnRequest, mine: Mine, body: wire.NewConsent
    ) -> Created[wire.ConsentMade]:
        given = (body.identity, body.channel, body.purpose)
        sid = await self._privacy.record_consent(tx, mine.sid, *given, body.source, body.given_at, request.at)
        return wire.ConsentMade(sid, *given)

    async def list_consents(self, tx: Tx, mine: Mine, query: wire.ConsentQuery) -> Items[wire.Consent]:
        return whole([wire.Consent.of(row) for row in await self._privacy.consents(tx, mine.sid, query.identity)])

    async def list_reports(self, tx: Tx) -> Items[wire.Report]:
        return whole([wire.Report(sid, title) for sid, title in await self._privacy.reports(tx)])

    async def end_consent(self, tx: Tx, request: OwnRequest, mine: Mine, sid: str) -> wire.Withdrawn:
        await self._privacy.withdraw_consent(tx, mine.sid, sid, request.at)
        return wire.Withdrawn(sid, request.at)

    async def look(self, tx: Tx, request: OwnRequest, mine: Mine, body: wire.NewLook) -> Created[wire.Look]:
        given = (body.actor, body.role, body.kind, body.subject_sid)
        await self._privacy.look(tx, mine.sid, *given, request.at, break_glass_reason=body.break_glass_reason)
        return wire.Look(True, body.actor, body.kind, body.subject_sid)

    async def add_report(self, tx: Tx, request: OwnRequest, body: wire.NewReport) -> Created[wire.Report]:
        return wire.Report(await self._privacy.add_report(tx, body.title, body.content, request.at), body.title)

    async def download(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, sid: str, body: wire.Agreed
    ) -> wire.ReportContent:
        title, content = await self._privacy.download_report(tx, mine.sid, sid, actor, request.at, nda=body.nda is True)
        return wire.ReportContent(title, content)
