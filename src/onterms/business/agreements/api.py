"""The room's routes under /commercial/v1 and the legal pages."""

from collections.abc import Awaitable, Callable

from msgspec import UNSET

from onterms.business import customers
from onterms.business.agreements import store, wire
from onterms.business.agreements.errors import Unprocessable
from onterms.business.agreements.model import texts
from onterms.business.agreements.model.binding import Version
from onterms.business.agreements.model.parties import Case, CaseKind
from onterms.business.agreements.service import binding, documents, resolving
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import AuthenticationFailed, InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.core.money import InvalidAmount, micros
from onterms.engines.api.calls import Caller
from onterms.engines.api.own import Created, OwnReply, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, read, whole

# Who an Authorization header identifies; raises AuthenticationFailed.
Authenticate = Callable[[bytes], Awaitable[Caller]]
# Where a request came from, as evidence: (address, request id).
Origin = Callable[[OwnRequest], tuple[str, str]]


def _nowhere(request: OwnRequest) -> tuple[str, str]:
    return "", ""


class Api:
    """Documents, versions, agreements, acceptances, answers, and legal pages."""

    def __init__(
        self,
        bindings: binding.Bindings,
        authenticate: Authenticate,
        *,
        order_forms: resolving.OrderForms = resolving.no_order_forms,
        origin: Origin = _nowhere,
    ) -> None:
        self._bindings = bindings
        self._authenticate = authenticate
        self._order_forms = order_forms
        self._origin = origin

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        base, large = "/commercial/v1", wire.BODY_BYTES_MAX
        one = f"{base}/Versions/{{sid}}"
        return [
            OwnRoute("GET", f"{base}/Documents", "customer", self.list_documents, summary="List documents"),
            OwnRoute("POST", f"{base}/Documents", "operator", self.add_document, summary="Add a document or page"),
            OwnRoute("GET", f"{base}/Versions", "customer", self.list_versions, summary="List versions"),
            OwnRoute("POST", f"{base}/Versions", "operator", self.draft, body_bytes_max=large, summary="Draft"),
            OwnRoute("GET", one, "customer", self.fetch_version, summary="Show a version with its words"),
            OwnRoute("POST", one, "operator", self.edit, body_bytes_max=large, summary="Change a draft"),
            OwnRoute("POST", f"{one}/Publication", "operator", self.publish, body_bytes_max=large, summary="Publish"),
            OwnRoute("POST", f"{one}/Notices", "operator", self.send_notices, summary="Send missing change notices"),
            OwnRoute("GET", f"{one}/Changes", "customer", self.show_changes, summary="Show the change notice"),
            OwnRoute("GET", f"{one}/Clauses", "customer", self.list_clauses, summary="Read and search clauses"),
            OwnRoute("GET", f"{one}/Glossary", "customer", self.show_glossary, summary="Where words are defined"),
            OwnRoute("POST", f"{one}/Overrides", "operator", self.strike, summary="Strike a clause"),
            OwnRoute("GET", f"{base}/Agreements", "customer", self.show_agreements, summary="What binds me"),
            OwnRoute(
                "POST",
                f"{base}/Agreements",
                "operator",
                self.add_agreement,
                body_bytes_max=large,
                summary="Separate one",
            ),
            OwnRoute("GET", f"{base}/Acceptances", "customer", self.list_acceptances, summary="List acceptances"),
            OwnRoute("POST", f"{base}/Acceptances", "account", self.accept, summary="Accept a version"),
            OwnRoute("POST", f"{base}/Declines", "account", self.decline, summary="Decline a version"),
            OwnRoute("GET", f"{base}/Resolve", "customer", self.resolve, summary="What a term is, and why"),
            OwnRoute("GET", f"{base}/Forum", "customer", self.show_forum, summary="Where a dispute goes"),
            OwnRoute("GET", f"{base}/Attachments", "customer", self.list_attachments, summary="Papers beside it"),
            OwnRoute(
                "POST", f"{base}/Attachments", "customer", self.attach, body_bytes_max=large, summary="Keep a paper"
            ),
            OwnRoute("POST", f"{base}/ContractingEntities", "operator", self.name_entity, summary="Name a company"),
            OwnRoute("GET", f"{base}/LegalTasks", "operator", self.list_legal_tasks, summary="Questions for counsel"),
            OwnRoute("GET", "/legal/{document}", "open", self.page, summary="Read a text"),
            OwnRoute("GET", "/legal/{document}/versions", "open", self.page_versions, summary="Its versions"),
            OwnRoute("GET", "/legal/{document}/versions/{sid}", "open", self.page_version, summary="Read one"),
        ]

    # Documents and versions

    async def list_documents(self, tx: Tx) -> Items[wire.Document]:
        return whole([wire.Document.of(row) for row in await store.documents(tx)])

    async def add_document(self, tx: Tx, request: OwnRequest, body: wire.NewDocument) -> Created[wire.DocumentMade]:
        name = body.name
        if not name.replace("_", "").isalnum() or not name.islower() or not name.isascii():
            raise InvalidParameter("'name' may have lower-case letters, digits and underscores")
        linked = body.linked and body.rank is not None
        await documents.add_document(tx, name, body.title, body.rank, linked, request.at)
        return wire.DocumentMade(name)

    async def list_versions(self, tx: Tx, request: OwnRequest, query: wire.VersionsQuery) -> Items[wire.Version]:
        found = await store.versions(tx, query.document, published_only=not request.operator)
        return whole([wire.Version.of(one) for one in found])

    async def draft(self, tx: Tx, request: OwnRequest, body: wire.NewVersion) -> Created[wire.WholeVersion]:
        made = await documents.draft(
            tx,
            body.document,
            body.label,
            body.binding_md,
            body.summary_md,
            body.material,
            body.exempt_reason,
            body.exempt_evidence,
            request.at,
        )
        return wire.WholeVersion.of(made)

    async def fetch_version(self, tx: Tx, request: OwnRequest, sid: str) -> wire.WholeVersion:
        return wire.WholeVersion.of(await self._readable(tx, request, sid))

    async def edit(self, tx: Tx, sid: str, body: wire.VersionChange) -> wire.WholeVersion:
        binding_md = None if body.binding_md is UNSET else body.binding_md
        summary_md = None if body.summary_md is UNSET else body.summary_md
        return wire.WholeVersion.of(await documents.edit(tx, sid, body.label, binding_md, summary_md))

    async def publish(
        self, tx: Tx, request: OwnRequest, actor: customers.Actor, sid: str, body: wire.Publication
    ) -> wire.Version:
        days = (body.published_on, body.new_effective_on, body.existing_effective_on)
        return wire.Version.of(await documents.publish(tx, sid, *days, body.parties, actor, request.at))

    async def send_notices(self, tx: Tx, request: OwnRequest, sid: str) -> wire.NoticesSent:
        version = await documents.require(tx, sid)
        if version.state != "published":
            raise NotFound(f"The version {version.sid} is not public")
        return wire.NoticesSent(await self._bindings.notify_batch(tx, version.sid, request.at))

    async def show_changes(self, tx: Tx, request: OwnRequest, sid: str, query: wire.ChangesQuery) -> wire.Changes:
        found = await self._readable(tx, request, sid)
        notice = await documents.change_notice(tx, found.sid, query.against)
        if not request.operator and notice.against.state != "published":
            raise NotFound("The version to compare with was not found")
        return wire.Changes.of(notice, summary_md=notice.version.summary_md)

    async def list_clauses(self, tx: Tx, request: OwnRequest, sid: str, query: wire.ClausesQuery) -> Items[wire.Clause]:
        found = await self._readable(tx, request, sid)
        words = query.search
        chosen = texts.clauses(found.binding_md) if words is None else texts.search(found.binding_md, words)
        struck = await store.overrides(tx, found.sid, day_of(request.at))
        items = []
        for one in chosen:
            reason, replacement = struck.get(one.id, (None, None))
            plain = texts.plain(one.text)
            items.append(wire.Clause(one.id, one.title, plain, reason is not None, reason, replacement))
        return whole(items)

    async def show_glossary(self, tx: Tx, request: OwnRequest, sid: str) -> wire.Glossary:
        return wire.Glossary(texts.glossary((await self._readable(tx, request, sid)).binding_md))

    async def strike(self, tx: Tx, request: OwnRequest, sid: str, body: wire.NewStrike) -> Created[wire.Struck]:
        from_on = body.from_on or day_of(request.at)
        given = (body.clause, body.reason, body.replacement, body.decided_by)
        await documents.strike(tx, sid, *given, from_on, request.at)
        return wire.Struck(body.clause, body.reason)

    async def _readable(self, tx: Tx, request: OwnRequest, sid: str) -> Version:
        found = await documents.require(tx, sid)
        if found.state != "published" and not request.operator:
            raise NotFound(f"The version {found.sid} was not found")
        return found

    # What binds a customer

    async def show_agreements(self, tx: Tx, request: OwnRequest, mine: customers.Mine) -> wire.WhatBinds:
        at = request.at
        in_force: dict[str, wire.Version] = {}
        for row in await store.documents(tx):
            if row["rank"] is not None:
                found = await binding.version_in_force(tx, mine.sid, at, row["name"])
                if found is not None:
                    in_force[row["name"]] = wire.Version.of(found)
        coming = await binding.pending(tx, mine.sid)
        parties = await resolving.parties_of(tx, mine.sid, at)
        return wire.WhatBinds(
            customer_sid=mine.sid,
            bound=await binding.is_bound(tx, mine.sid, at),
            agreements=[wire.Agreement.of(row) for row in await store.agreements(tx, mine.sid)],
            in_force=in_force,
            pending=[wire.Binding.of(one) for one in coming],
            banner=[
                wire.Banner(one.document, one.effective_on, f"/commercial/v1/Versions/{one.version_sid}/Changes")
                for one in coming
            ],
            riders=sorted(mine.riders(day_of(at))),
            effective_clauses=await resolving.effective_clauses(tx, mine.sid, at),
            contracting_entity=wire.Entity.of(parties),
            governing_law=parties.law,
            courts=parties.courts,
            seat=parties.seat,
        )

    async def add_agreement(
        self, tx: Tx, request: OwnRequest, mine: customers.Mine, body: wire.NewAgreement
    ) -> Created[wire.AgreementMade]:
        if not body.services:
            raise Unprocessable("A separate agreement says which services it covers", "P.9", "services_missing")
        row = {
            "sid": new_sid("AG", request.at),
            "kind": "separate",
            "title": body.title,
            "services": body.services,
            "binding_md": body.binding_md,
            "from_on": body.from_on or day_of(request.at),
            "until_on": body.until_on,
            "effective_at": request.at,
        }
        await store.insert_agreement(tx, mine.sid, row)
        return wire.AgreementMade.of(row, state="active", ended_at=None)

    async def list_acceptances(self, tx: Tx, mine: customers.Mine) -> Items[wire.Acceptance]:
        return whole([wire.Acceptance.of(one) for one in await binding.acceptances(tx, mine.sid)])

    async def accept(
        self, tx: Tx, request: OwnRequest, mine: customers.MineToChange, body: wire.NewAcceptance
    ) -> Created[wire.Acceptance]:
        consent = body.consent(self._origin(request))
        sid = await self._bindings.accept(tx, mine.sid, body.version_sid, body.mode, consent, request.at)
        [made] = [one for one in await binding.acceptances(tx, mine.sid) if one.sid == sid]
        return wire.Acceptance.of(made)

    async def decline(
        self,
        tx: Tx,
        request: OwnRequest,
        mine: customers.MineToChange,
        actor: customers.Actor,
        body: wire.NewDecline,
    ) -> Created[wire.Binding]:
        return wire.Binding.of(await self._bindings.decline(tx, mine.sid, body.version_sid, actor, request.at))

    async def resolve(
        self, tx: Tx, request: OwnRequest, mine: customers.Mine, query: wire.ResolveQuery
    ) -> wire.Resolved:
        at = query.at or request.at
        found = await resolving.resolve(tx, query.term, mine.sid, query.service, at, self._order_forms)
        return wire.resolved(found, await resolving.governing_agreement(tx, mine.sid, query.service, day_of(at)))

    async def show_forum(self, tx: Tx, request: OwnRequest, mine: customers.Mine, query: wire.ForumQuery) -> wire.Forum:
        kind: CaseKind = "ip" if query.kind == "ip" else "contract"
        try:
            amount_usd = None if query.amount_usd is None else micros(query.amount_usd)
        except InvalidAmount as error:
            raise InvalidParameter(f"'amount_usd': {error}") from error
        case = Case(kind, query.first_request_on or day_of(request.at), amount_usd, query.agreed_until)
        return wire.Forum.of(await resolving.forum_of(tx, mine.sid, case, request.at))

    # Papers, companies, counsel

    async def list_attachments(self, tx: Tx, mine: customers.Mine) -> Items[wire.Attachment]:
        return whole([wire.attachment(row) for row in await store.attachments(tx, mine.sid)])

    async def attach(
        self, tx: Tx, request: OwnRequest, mine: customers.Mine, body: wire.NewAttachment
    ) -> Created[wire.Attachment]:
        sid = new_sid("AT", request.at)
        given = (body.kind, body.reference, body.text, body.signed)
        await store.insert_attachment(tx, mine.sid, sid, *given, request.at)
        [row] = [row for row in await store.attachments(tx, mine.sid) if row["sid"] == sid]
        return wire.attachment(row)

    async def name_entity(self, tx: Tx, request: OwnRequest, body: wire.NewEntity) -> Created[wire.EntityNamed]:
        from_on = body.from_on or day_of(request.at)
        if from_on < day_of(request.at):
            raise Unprocessable("A company is named from today or a later day on", "P.11", "named_in_past")
        given = (body.name, body.address, body.country)
        await store.put_entity(tx, body.key, from_on, *given, request.at, vat_id=body.vat_id)
        return wire.EntityNamed(body.key, from_on, body.name)

    async def list_legal_tasks(self, tx: Tx, mine: customers.Mine) -> Items[wire.LegalTask]:
        return whole([wire.LegalTask.of(row) for row in await store.legal_tasks(tx, mine.sid)])

    # Legal pages

    async def page(self, tx: Tx, request: OwnRequest) -> OwnReply:
        document, on = request.path["document"], day_of(request.at)
        if request.query.get("customer") == "me":
            authorization = request.headers.get(b"authorization")
            if authorization is None:
                raise AuthenticationFailed("Authenticate", headers=(("WWW-Authenticate", 'Basic realm="onterms"'),))
            caller = await self._authenticate(authorization)
            customer = await customers.customer_of(tx, caller.account.sid)
            own = None
            if customer is not None:
                own = await binding.version_in_force(tx, customer.sid, request.at, document)
            if own is None:
                raise NotFound(f"No version of {document} binds you")
            return await self._rendered(tx, request, own)
        if "as_of" in request.query:
            on = read(wire.AsOf, {"as_of": request.query["as_of"]}).as_of
        return await self._rendered(tx, request, await documents.public_version(tx, document, on))

    async def page_versions(self, tx: Tx, document: str) -> Items[wire.Version]:
        found = await store.versions(tx, document, published_only=True)
        if not found:
            raise NotFound(f"Nothing is published as {document}")
        return whole([wire.Version.of(one) for one in found])

    async def page_version(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await documents.require(tx, request.path["sid"])
        if found.state != "published" or found.document != request.path["document"]:
            raise NotFound(f"The version {found.sid} was not found")
        return await self._rendered(tx, request, found)

    async def _rendered(self, tx: Tx, request: OwnRequest, version: Version) -> OwnReply:
        words = await documents.shown(tx, version, day_of(request.at))
        headers = (("X-Version-Sid", version.sid), ("X-Version-Sha256", version.sha256))
        if b"text/html" in request.headers.get(b"accept", b""):
            note = f"{version.label}, last updated {version.published_on}, SHA-256 {version.sha256}"
            page = texts.as_html(version.document, words, [note])
            return OwnReply(None, 200, headers, page.encode(), "text/html; charset=utf-8")
        return OwnReply(None, 200, headers, words.encode(), "text/markdown; charset=utf-8")
