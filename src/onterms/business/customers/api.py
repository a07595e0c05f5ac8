"""The room's routes under /commercial/v1."""

from onterms.business.customers import wire
from onterms.business.customers.errors import TermsForbid
from onterms.business.customers.model import Customer
from onterms.business.customers.service import assignments, conduct, customers, relations
from onterms.business.customers.service.signing_up import Admission, CreateAccount, SigningUp, Texts
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import Forbidden, InvalidParameter, NotFound
from onterms.core.ids import SID
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

_FLAGS = ("name", "size", "gov_kind")
_FLAG_DAYS = ("partner_since", "partner_until")


def _nowhere(request: OwnRequest) -> tuple[str, str]:
    return "", ""


async def customer_of_request(tx: Tx, request: OwnRequest) -> Customer:
    """Return whose things a request is about: the caller's own customer, or the one that the operator names.

    Raises: NotFound, InvalidParameter where the operator names none.
    """
    named = request.path.get("customer_sid") or request.query.get("customer_sid") or request.body.get("customer_sid")
    if named is not None and (not isinstance(named, str) or not SID.match(named)):
        raise InvalidParameter("'customer_sid' must be a SID")
    if request.operator:
        if named is None:
            raise InvalidParameter("'customer_sid' is required")
        return await customers.require(tx, named)
    assert request.caller is not None, "the route lets in the operator and accounts only"
    own = await customers.customer_of(tx, request.caller.account.sid)
    if own is None or named not in (None, own.sid):
        raise NotFound("The customer was not found")
    return own


def actor_of(request: OwnRequest) -> str:
    """Return who acts, for evidence."""
    if request.operator:
        return "operator"
    assert request.caller is not None, "the route lets in the operator and accounts only"
    return f"{request.caller.account.sid}/{request.caller.credential_sid}"


def refuse_weak_credentials(request: OwnRequest) -> None:
    """Refuse standard keys what changes a customer: as with accounts and keys, it takes a token or a main key.

    Raises: Forbidden.
    """
    caller = request.caller
    if caller is not None and (caller.credential == "standard_key" or caller.account.test):
        raise Forbidden("This needs the account's auth token or a main key")


class Api:
    """Customers, sign-ups, contacts, affiliates, accounts, end users, incidents and assignments."""

    def __init__(
        self,
        create_account: CreateAccount,
        revoke_keys: conduct.RevokeKeys,
        texts: Texts,
        *,
        admission: Admission | None = None,
        origin: wire.Origin = _nowhere,
    ) -> None:
        self._signing_up = SigningUp(create_account, texts, admission)
        self._revoke_keys = revoke_keys
        self._origin = origin

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        base = "/commercial/v1"
        own = f"{base}/Customers/{{customer_sid}}"
        return [
            OwnRoute("POST", f"{base}/SignUps", "open", self.sign_up, summary="Become a customer"),
            OwnRoute("GET", f"{base}/Customers", "customer", self.list_customers, summary="List customers, or mine"),
            OwnRoute("GET", own, "customer", self.fetch, summary="Show a customer"),
            OwnRoute("POST", own, "operator", self.change_flags, summary="Set what the operator verified"),
            OwnRoute("GET", f"{own}/Domiciles", "customer", self.list_domiciles, summary="Show where it lived"),
            OwnRoute("POST", f"{own}/Domiciles", "operator", self.change_domicile, summary="Record a new domicile"),
            OwnRoute("GET", f"{own}/Tasks", "customer", self.list_tasks, summary="Show what a customer is asked to do"),
            OwnRoute("POST", f"{own}/Attestations", "customer", self.attest, summary="Attest compliance again"),
            OwnRoute("GET", f"{own}/Score", "customer", self.show_score, summary="Count confirmed complaints"),
            OwnRoute("GET", f"{own}/Accounts", "customer", self.list_accounts, summary="Show accounts and who owes"),
            OwnRoute(
                "POST",
                f"{own}/Accounts/{{account_sid}}",
                "customer",
                self.change_account,
                summary="Change who administers or uses an account; who owes stays",
            ),
            OwnRoute("GET", f"{base}/Contacts", "customer", self.list_contacts, summary="List contacts"),
            OwnRoute("POST", f"{base}/Contacts", "customer", self.add_contact, summary="Designate a contact"),
            OwnRoute("DELETE", f"{base}/Contacts/{{sid}}", "customer", self.remove_contact, summary="Remove a contact"),
            OwnRoute(
                "POST", f"{base}/Contacts/{{sid}}/Verification", "operator", self.verify_contact, summary="Verify"
            ),
            OwnRoute("GET", f"{base}/Affiliates", "customer", self.list_affiliates, summary="List affiliates on a day"),
            OwnRoute("POST", f"{base}/Organizations", "operator", self.add_organization, summary="Add a relative"),
            OwnRoute("GET", f"{base}/Ownerships", "operator", self.list_ownerships, summary="List shares"),
            OwnRoute("POST", f"{base}/Ownerships", "operator", self.add_ownership, summary="Record a share"),
            OwnRoute("POST", f"{base}/Ownerships/{{sid}}", "operator", self.end_ownership, summary="End a share"),
            OwnRoute("GET", f"{base}/EndUserMarks", "customer", self.list_marks, summary="Show what is known"),
            OwnRoute("POST", f"{base}/EndUserMarks", "customer", self.add_mark, summary="Mark an end user"),
            OwnRoute(
                "POST", f"{base}/EndUserMarks/{{sid}}/Confirmation", "operator", self.confirm_mark, summary="Confirm"
            ),
            OwnRoute("GET", f"{base}/Incidents", "customer", self.list_incidents, summary="List incidents"),
            OwnRoute("POST", f"{base}/Incidents", "customer", self.report_incident, summary="Report an incident"),
            OwnRoute(
                "POST",
                f"{base}/Incidents/{{sid}}/KeyRevocation",
                "customer",
                self.revoke_keys,
                summary="End all keys of the account",
            ),
            OwnRoute("POST", f"{base}/Incidents/{{sid}}/Closure", "operator", self.close_incident, summary="Close"),
            OwnRoute("GET", f"{base}/Assignments", "customer", self.list_assignments, summary="List assignments"),
            OwnRoute("POST", f"{base}/Assignments", "customer", self.request_assignment, summary="Ask to assign"),
            OwnRoute(
                "POST", f"{base}/Assignments/{{sid}}/Decision", "operator", self.decide, summary="Consent or refuse"
            ),
        ]

    @property
    def signing_up(self) -> SigningUp:
        """The sign-up use case, for whoever makes customers without HTTP."""
        return self._signing_up

    # Customers

    async def sign_up(self, tx: Tx, request: OwnRequest) -> OwnReply:
        made = await self._signing_up.sign_up(tx, wire.sign_up(request, self._origin), request.at)
        return OwnReply(wire.signed_up(made), 201)

    async def list_customers(self, tx: Tx, request: OwnRequest) -> OwnReply:
        today = day_of(request.at)
        if not request.operator:
            return OwnReply(wire.listed([wire.customer(await customer_of_request(tx, request), today)]))
        found = await customers.list_customers(tx, request.query.get("next", ""), wire.PAGE_SIZE + 1)
        following = found[wire.PAGE_SIZE - 1].sid if len(found) > wire.PAGE_SIZE else None
        return OwnReply(wire.listed([wire.customer(one, today) for one in found[: wire.PAGE_SIZE]], following))

    async def fetch(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        on = wire.day(request.query.get("on", day_of(request.at).isoformat()), "on")
        as_of = await customers.require(tx, customer.sid, on)
        return OwnReply(wire.customer(as_of, on))

    async def change_flags(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        changes = {name: wire.optional(request, name) for name in _FLAGS if name in request.body}
        if "size" in changes and changes["size"] not in ("micro", "small", "other"):
            raise InvalidParameter("'size' must be micro, small or other")
        if "name" in changes and not changes["name"]:
            raise InvalidParameter("'name' must not be empty")
        values: dict[str, object] = dict(changes)
        for name in _FLAG_DAYS:
            if name in request.body:
                written = wire.optional(request, name)
                values[name] = None if written is None else wire.day(written, name)
        if "nonprofit" in request.body:
            values["nonprofit"] = wire.flag(request, "nonprofit")
        evidence = wire.prose(request, "evidence", "")
        changed = await customers.change_flags(tx, customer.sid, values, actor_of(request), evidence, request.at)
        return OwnReply(wire.customer(changed, day_of(request.at)))

    async def list_domiciles(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        return OwnReply(wire.listed([wire.domicile(one) for one in await customers.domiciles(tx, customer.sid)]))

    async def change_domicile(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        made = await customers.change_domicile(
            tx,
            customer.sid,
            wire.text(request, "country"),
            wire.text(request, "subdivision", ""),
            wire.day_or(request, "from_on", day_of(request.at)),
            wire.prose(request, "evidence"),
            actor_of(request),
            request.at,
        )
        return OwnReply(wire.domicile(made), 201)

    async def list_tasks(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        return OwnReply(wire.listed([wire.task(one) for one in await customers.tasks_of(tx, customer.sid)]))

    async def attest(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        if not wire.flag(request, "compliance"):
            raise InvalidParameter("'compliance' must be true")
        due_on = await customers.attest_compliance(tx, customer.sid, actor_of(request), request.at)
        return OwnReply({"attested_on": day_of(request.at).isoformat(), "due_on": due_on.isoformat()}, 201)

    async def show_score(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        return OwnReply({"customer_sid": customer.sid, "score": await conduct.score(tx, customer.sid)})

    # Accounts

    async def list_accounts(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        on = day_of(request.at)
        items = [
            {
                "account_sid": account_sid,
                "obligors": sorted(await relations.obligors(tx, account_sid, on)),
                "administrator_sid": await relations.administrator(tx, customer.sid, account_sid, on),
            }
            for account_sid in await customers.accounts_of(tx, customer.sid)
        ]
        return OwnReply(wire.listed(items))

    async def change_account(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        account_sid = await customers.require_account(tx, customer.sid, request.path["account_sid"])
        if "obligor_sid" in request.body:
            # Written down rather than refused, so that the attempt leaves its trace (9.2 void).
            to_sid = wire.sid(request, "obligor_sid")
            void = await assignments.force(tx, customer.sid, to_sid, actor_of(request), request.at)
            return OwnReply({"clause": "9.2", "reason": "assignment_void", **wire.assignment(void)}, 409)
        from_on = wire.day_or(request, "from_on", day_of(request.at))
        given = (tx, customer.sid, account_sid)
        if "administrator_sid" in request.body:
            found = wire.optional(request, "administrator_sid")
            await relations.set_administrator(*given, found, from_on, actor_of(request), request.at)
        if "user_sid" in request.body:
            found = wire.optional(request, "user_sid")
            await relations.set_user(*given, found, from_on, actor_of(request), request.at)
        return OwnReply(
            {
                "account_sid": account_sid,
                "obligors": sorted(await relations.obligors(tx, account_sid, from_on)),
                "administrator_sid": await relations.administrator(tx, customer.sid, account_sid, from_on),
            }
        )

    # Contacts

    async def list_contacts(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        found = await customers.contacts(tx, customer.sid, request.query.get("kind"))
        return OwnReply(wire.listed([wire.contact(one) for one in found]))

    async def add_contact(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        made = await customers.add_contact(
            tx,
            customer.sid,
            wire.text(request, "kind"),
            wire.text(request, "address"),
            wire.text(request, "name", ""),
            actor_of(request),
            request.at,
        )
        return OwnReply(wire.contact(made), 201)

    async def remove_contact(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        await customers.remove_contact(tx, customer.sid, request.path["sid"], actor_of(request), request.at)
        return OwnReply({"sid": request.path["sid"], "removed_at": request.at.isoformat()})

    async def verify_contact(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        await customers.verify_contact(tx, customer.sid, request.path["sid"], request.at)
        return OwnReply({"sid": request.path["sid"], "verified_at": request.at.isoformat()})

    # Relations

    async def list_affiliates(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        on = wire.day(request.query.get("on", day_of(request.at).isoformat()), "on")
        names = await relations.organization_names(tx, sorted(await relations.affiliates(tx, customer.sid, on)))
        items = [{"sid": sid, "name": name, "on": on.isoformat()} for sid, name in sorted(names.items())]
        return OwnReply(wire.listed(items))

    async def add_organization(self, tx: Tx, request: OwnRequest) -> OwnReply:
        name = wire.text(request, "name")
        sid = await relations.add_organization(tx, name, wire.text(request, "country"), request.at)
        return OwnReply({"sid": sid, "name": name}, 201)

    async def list_ownerships(self, tx: Tx, request: OwnRequest) -> OwnReply:
        rows = await relations.ownerships(tx, request.query.get("organization_sid", ""))
        return OwnReply(wire.listed([wire.ownership(row) for row in rows]))

    async def add_ownership(self, tx: Tx, request: OwnRequest) -> OwnReply:
        until = wire.optional(request, "until_on")
        sid = await relations.add_ownership(
            tx,
            wire.sid(request, "parent_sid"),
            wire.sid(request, "child_sid"),
            wire.text(request, "percent"),
            wire.day_or(request, "from_on", day_of(request.at)),
            None if until is None else wire.day(until, "until_on"),
            wire.prose(request, "evidence", ""),
            request.at,
        )
        return OwnReply({"sid": sid}, 201)

    async def end_ownership(self, tx: Tx, request: OwnRequest) -> OwnReply:
        until_on = wire.day(wire.text(request, "until_on"), "until_on")
        await relations.end_ownership(tx, request.path["sid"], until_on)
        return OwnReply({"sid": request.path["sid"], "until_on": until_on.isoformat()})

    # End users and incidents

    async def list_marks(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        found = await conduct.marks(tx, customer.sid, request.query.get("identity"), request.query.get("kind"))
        return OwnReply(wire.listed([wire.mark(one) for one in found]))

    async def add_mark(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        kind = wire.text(request, "kind")
        if kind == "sanctions" and not request.operator:
            raise TermsForbid("Hits on lists are the operator's to record", "5.2 lists", "operator_only")
        note = wire.prose(request, "note", "")
        identity = wire.text(request, "identity")
        return OwnReply(wire.mark(await conduct.mark_end_user(tx, customer.sid, identity, kind, note, request.at)), 201)

    async def confirm_mark(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        await conduct.confirm_mark(tx, customer.sid, request.path["sid"], request.at)
        return OwnReply({"sid": request.path["sid"], "confirmed_at": request.at.isoformat()})

    async def list_incidents(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        return OwnReply(wire.listed([wire.incident(one) for one in await conduct.incidents(tx, customer.sid)]))

    async def report_incident(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        noticed = wire.optional(request, "noticed_at")
        made = await conduct.report_incident(
            tx,
            customer.sid,
            wire.sid(request, "account_sid"),
            wire.prose(request, "description"),
            None if noticed is None else wire.instant(noticed, "noticed_at"),
            actor_of(request),
            request.at,
        )
        return OwnReply(wire.incident(made), 201)

    async def revoke_keys(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        revoked = await conduct.revoke_keys(
            tx, self._revoke_keys, customer.sid, request.path["sid"], actor_of(request), request.at
        )
        return OwnReply(wire.incident(revoked))

    async def close_incident(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        closed = await conduct.close_incident(tx, customer.sid, request.path["sid"], actor_of(request), request.at)
        return OwnReply(wire.incident(closed))

    # Assignments

    async def list_assignments(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        found = await assignments.list_assignments(tx, customer.sid)
        return OwnReply(wire.listed([wire.assignment(one) for one in found]))

    async def request_assignment(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        made = await assignments.request_assignment(
            tx,
            customer.sid,
            wire.sid(request, "to_sid"),
            wire.text(request, "basis", "other"),
            wire.prose(request, "proof", ""),
            actor_of(request),
            request.at,
        )
        return OwnReply(wire.assignment(made), 201)

    async def decide(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        event = wire.text(request, "decision")
        if event not in ("consent", "refuse"):
            raise InvalidParameter("'decision' must be consent or refuse")
        reason = wire.prose(request, "reason", "")
        decided = await assignments.decide(
            tx, customer.sid, request.path["sid"], event, reason, actor_of(request), request.at
        )
        return OwnReply(wire.assignment(decided))
