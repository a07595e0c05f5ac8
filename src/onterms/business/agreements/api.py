"""The room's routes under /commercial/v1 and the legal pages."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

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
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

# Who an Authorization header identifies; raises AuthenticationFailed.
Authenticate = Callable[[bytes], Awaitable[Caller]]
# Where a request came from, as evidence: (address, request id).
Origin = Callable[[OwnRequest], tuple[str, str]]

_PAPERS = ("purchase_order", "vendor_portal", "sales_email", "chat", "note")
_ENTITIES = ("default", "europe", "japan")


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

    async def list_documents(self, tx: Tx, request: OwnRequest) -> OwnReply:
        return OwnReply(wire.listed([wire.document(row) for row in await store.documents(tx)]))

    async def add_document(self, tx: Tx, request: OwnRequest) -> OwnReply:
        name, rank = wire.text(request, "name", max_length=40), request.body.get("rank")
        if not name.replace("_", "").isalnum() or not name.islower() or not name.isascii():
            raise InvalidParameter("'name' may have lower-case letters, digits and underscores")
        if rank is not None and (not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= 6):
            raise InvalidParameter("'rank' must be 1 to 6, or null for a page outside the contract")
        linked = wire.flag(request, "linked")
        await documents.add_document(
            tx, name, wire.text(request, "title"), rank, linked and rank is not None, request.at
        )
        return OwnReply({"name": name}, 201)

    async def list_versions(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await store.versions(tx, request.query.get("document", "tos"), published_only=not request.operator)
        return OwnReply(wire.listed([wire.version(one) for one in found]))

    async def draft(self, tx: Tx, request: OwnRequest) -> OwnReply:
        made = await documents.draft(
            tx,
            wire.text(request, "document"),
            wire.text(request, "label"),
            wire.long(request, "binding_md"),
            wire.long(request, "summary_md", ""),
            wire.flag(request, "material", True),
            wire.optional(request, "exempt_reason"),
            wire.optional(request, "exempt_evidence", max_length=100_000),
            request.at,
        )
        return OwnReply(wire.version(made, whole=True), 201)

    async def fetch_version(self, tx: Tx, request: OwnRequest) -> OwnReply:
        return OwnReply(wire.version(await self._readable(tx, request), whole=True))

    async def edit(self, tx: Tx, request: OwnRequest) -> OwnReply:
        def given(name: str) -> str | None:
            return wire.long(request, name) if name in request.body else None

        edited = await documents.edit(
            tx, request.path["sid"], wire.optional(request, "label"), given("binding_md"), given("summary_md")
        )
        return OwnReply(wire.version(edited, whole=True))

    async def publish(self, tx: Tx, request: OwnRequest) -> OwnReply:
        parties = request.body.get("parties")
        if parties is not None and not isinstance(parties, dict):
            raise InvalidParameter("'parties' must be an object")
        published = await documents.publish(
            tx,
            request.path["sid"],
            wire.optional_day(request, "published_on"),
            wire.optional_day(request, "new_effective_on"),
            wire.optional_day(request, "existing_effective_on"),
            parties,
            customers.actor_of(request),
            request.at,
        )
        return OwnReply(wire.version(published))

    async def send_notices(self, tx: Tx, request: OwnRequest) -> OwnReply:
        version = await documents.require(tx, request.path["sid"])
        if version.state != "published":
            raise NotFound(f"The version {version.sid} is not public")
        return OwnReply({"sent": await self._bindings.notify_batch(tx, version.sid, request.at)})

    async def show_changes(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await self._readable(tx, request)
        notice = await documents.change_notice(tx, found.sid, request.query.get("against"))
        if not request.operator and notice.against.state != "published":
            raise NotFound("The version to compare with was not found")
        return OwnReply(
            {
                "version": wire.version(notice.version),
                "against": wire.version(notice.against),
                "summary_md": notice.version.summary_md,
                "changes": [wire.change(one) for one in notice.changes],
            }
        )

    async def list_clauses(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await self._readable(tx, request)
        words = request.query.get("search")
        chosen = texts.clauses(found.binding_md) if words is None else texts.search(found.binding_md, words)
        struck = await store.overrides(tx, found.sid, day_of(request.at))
        items = []
        for one in chosen:
            reason, replacement = struck.get(one.id, (None, None))
            shown = {**wire.clause(one), "text": texts.plain(one.text)}
            items.append({**shown, "struck": reason is not None, "reason": reason, "replacement": replacement})
        return OwnReply(wire.listed(items))

    async def show_glossary(self, tx: Tx, request: OwnRequest) -> OwnReply:
        return OwnReply({"words": texts.glossary((await self._readable(tx, request)).binding_md)})

    async def strike(self, tx: Tx, request: OwnRequest) -> OwnReply:
        clause, reason = wire.text(request, "clause"), wire.text(request, "reason")
        replacement = wire.long(request, "replacement", "")
        from_on = wire.optional_day(request, "from_on") or day_of(request.at)
        actor = wire.text(request, "decided_by")
        await documents.strike(tx, request.path["sid"], clause, reason, replacement, actor, from_on, request.at)
        return OwnReply({"clause": clause, "reason": reason, "struck": True}, 201)

    async def _readable(self, tx: Tx, request: OwnRequest) -> Version:
        found = await documents.require(tx, request.path["sid"])
        if found.state != "published" and not request.operator:
            raise NotFound(f"The version {found.sid} was not found")
        return found

    # What binds a customer

    async def show_agreements(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        at = request.at
        in_force: dict[str, Any] = {}
        for row in await store.documents(tx):
            if row["rank"] is not None:
                found = await binding.version_in_force(tx, customer.sid, at, row["name"])
                if found is not None:
                    in_force[row["name"]] = wire.version(found)
        coming = await binding.pending(tx, customer.sid)
        parties = await resolving.parties_of(tx, customer.sid, at)
        return OwnReply(
            {
                "customer_sid": customer.sid,
                "bound": await binding.is_bound(tx, customer.sid, at),
                "agreements": [wire.agreement(row) for row in await store.agreements(tx, customer.sid)],
                "in_force": in_force,
                "pending": [wire.binding(one) for one in coming],
                "banner": [
                    {
                        "document": one.document,
                        "effective_on": None if one.effective_on is None else one.effective_on.isoformat(),
                        "changes": f"/commercial/v1/Versions/{one.version_sid}/Changes",
                    }
                    for one in coming
                ],
                "riders": sorted(customer.riders(day_of(at))),
                "effective_clauses": await resolving.effective_clauses(tx, customer.sid, at),
                "contracting_entity": {
                    "key": parties.entity_key,
                    "name": parties.entity_name,
                    "address": parties.entity_address,
                },
                "governing_law": parties.law,
                "courts": parties.courts,
                "seat": parties.seat,
            }
        )

    async def add_agreement(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        services = wire.names(request, "services")
        if not services:
            raise Unprocessable("A separate agreement says which services it covers", "P.9", "services_missing")
        until = wire.optional_day(request, "until_on")
        row = {
            "sid": new_sid("AG", request.at),
            "kind": "separate",
            "title": wire.text(request, "title"),
            "services": services,
            "binding_md": wire.long(request, "binding_md", ""),
            "from_on": wire.optional_day(request, "from_on") or day_of(request.at),
            "until_on": until,
            "effective_at": request.at,
        }
        await store.insert_agreement(tx, customer.sid, row)
        return OwnReply(wire.agreement({**row, "state": "active", "ended_at": None}), 201)

    async def list_acceptances(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        found = await binding.acceptances(tx, customer.sid)
        return OwnReply(wire.listed([wire.acceptance(one) for one in found]))

    async def accept(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customers.refuse_weak_credentials(request)
        customer = await customers.customer_of_request(tx, request)
        consent = customers.Consent(
            wire.text(request, "signer_name", ""),
            wire.text(request, "signer_role", ""),
            wire.flag(request, "authority"),
            *self._origin(request),
        )
        mode = wire.text(request, "mode", "click")
        version_sid = wire.text(request, "version_sid")
        sid = await self._bindings.accept(tx, customer.sid, version_sid, mode, consent, request.at)
        [made] = [one for one in await binding.acceptances(tx, customer.sid) if one.sid == sid]
        return OwnReply(wire.acceptance(made), 201)

    async def decline(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customers.refuse_weak_credentials(request)
        customer = await customers.customer_of_request(tx, request)
        version_sid = wire.text(request, "version_sid")
        actor = customers.actor_of(request)
        return OwnReply(
            wire.binding(await self._bindings.decline(tx, customer.sid, version_sid, actor, request.at)), 201
        )

    async def resolve(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        term, service = request.query.get("term", ""), request.query.get("service")
        written = request.query.get("at")
        at = request.at if written is None else wire.instant(written, "at")
        found = await resolving.resolve(tx, term, customer.sid, service, at, self._order_forms)
        governing = await resolving.governing_agreement(tx, customer.sid, service, day_of(at))
        return OwnReply({**wire.resolved(found), "agreement": governing.kind, "agreement_sid": governing.sid})

    async def show_forum(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        kind: CaseKind = "ip" if request.query.get("kind", "contract") == "ip" else "contract"
        amount, agreed = request.query.get("amount_usd"), request.query.get("agreed_until")
        try:
            amount_usd = None if amount is None else micros(amount)
        except InvalidAmount as error:
            raise InvalidParameter(f"'amount_usd': {error}") from error
        asked = wire.day(request.query.get("first_request_on", day_of(request.at).isoformat()), "first_request_on")
        until: date | None = None if agreed is None else wire.day(agreed, "agreed_until")
        case = Case(kind, asked, amount_usd, until)
        return OwnReply(wire.forum(await resolving.forum_of(tx, customer.sid, case, request.at)))

    # Papers, companies, counsel

    async def list_attachments(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        return OwnReply(wire.listed([wire.attachment(row) for row in await store.attachments(tx, customer.sid)]))

    async def attach(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        kind, sid = wire.text(request, "kind"), new_sid("AT", request.at)
        if kind not in _PAPERS:
            raise InvalidParameter(f"'kind' must be one of {', '.join(_PAPERS)}")
        reference, words = wire.text(request, "reference"), wire.long(request, "text", "")
        signed = wire.flag(request, "signed")
        await store.insert_attachment(tx, customer.sid, sid, kind, reference, words, signed, request.at)
        [row] = [row for row in await store.attachments(tx, customer.sid) if row["sid"] == sid]
        return OwnReply(wire.attachment(row), 201)

    async def name_entity(self, tx: Tx, request: OwnRequest) -> OwnReply:
        key = wire.text(request, "key")
        if key not in _ENTITIES:
            raise InvalidParameter(f"'key' must be one of {', '.join(_ENTITIES)}")
        from_on = wire.optional_day(request, "from_on") or day_of(request.at)
        if from_on < day_of(request.at):
            raise Unprocessable("A company is named from today or a later day on", "P.11", "named_in_past")
        given = (wire.text(request, "name"), wire.text(request, "address"), wire.text(request, "country"))
        await store.put_entity(tx, key, from_on, *given, request.at)
        return OwnReply({"key": key, "from_on": from_on.isoformat(), "name": given[0]}, 201)

    async def list_legal_tasks(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        return OwnReply(wire.listed([wire.task(row) for row in await store.legal_tasks(tx, customer.sid)]))

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
            on = wire.day(request.query["as_of"], "as_of")
        return await self._rendered(tx, request, await documents.public_version(tx, document, on))

    async def page_versions(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await store.versions(tx, request.path["document"], published_only=True)
        if not found:
            raise NotFound(f"Nothing is published as {request.path['document']}")
        return OwnReply(wire.listed([wire.version(one) for one in found]))

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
