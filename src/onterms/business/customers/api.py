"""The room's routes under /commercial/v1."""

from datetime import date
from typing import Annotated

from msgspec import UNSET

from onterms.business.customers import wire
from onterms.business.customers.errors import TermsForbid
from onterms.business.customers.model import Customer
from onterms.business.customers.service import assignments, conduct, customers, relations
from onterms.business.customers.service.signing_up import Admission, CreateAccount, Joined, SigningUp, Texts
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import Forbidden, InvalidParameter, NotFound
from onterms.core.ids import SID
from onterms.engines.api.own import Created, Found, OwnReply, OwnRequest, OwnRoute, Shows
from onterms.engines.api.shapes import Items, Paging, page, whole


def _nowhere(request: OwnRequest) -> tuple[str, str]:
    return "", ""


async def customer_of_request(tx: Tx, request: OwnRequest) -> Customer:
    """Return whose things a request is about: the caller's own customer, or the one that the operator names.

    Raises: NotFound, InvalidParameter where the operator names none, Forbidden for a subaccount.
    """
    named = request.path.get("customer_sid") or request.query.get("customer_sid") or request.body.get("customer_sid")
    if named is not None and (not isinstance(named, str) or not SID.match(named)):
        raise InvalidParameter("'customer_sid' must be a SID")
    if request.operator:
        if named is None:
            raise InvalidParameter("'customer_sid' is required")
        return await customers.require(tx, named)
    assert request.caller is not None, "the route lets in the operator and accounts only"
    refuse_subaccounts(request)
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


def refuse_subaccounts(request: OwnRequest) -> None:
    """Refuse subaccounts what is the whole customer's: they are often in the hands of its own customers.

    Raises: Forbidden.
    """
    if request.caller is not None and request.caller.account.is_subaccount:
        raise Forbidden("A subaccount does not speak for the customer; use the main account", details={"clause": "1.8"})


def refuse_weak_credentials(request: OwnRequest) -> None:
    """Refuse standard keys what changes a customer: as with accounts and keys, it takes a token or a main key.

    Raises: Forbidden.
    """
    refuse_subaccounts(request)
    caller = request.caller
    if caller is not None and (caller.credential == "standard_key" or caller.account.test):
        raise Forbidden("This needs the account's auth token or a main key")


async def _mine_to_change(tx: Tx, request: OwnRequest) -> Customer:
    refuse_weak_credentials(request)
    return await customer_of_request(tx, request)


async def _actor(tx: Tx, request: OwnRequest) -> str:
    return actor_of(request)


# Parameters of handlers: the customer that a request is about, the same where weak credentials do not do, and who acts.
Mine = Annotated[Customer, Found(customer_of_request, ("customer_sid",))]
MineToChange = Annotated[Customer, Found(_mine_to_change, ("customer_sid",))]
Actor = Annotated[str, Found(_actor)]


class Api:
    """Customers, sign-ups, contacts, affiliates, accounts, end users, incidents and assignments."""

    def __init__(
        self,
        create_account: CreateAccount,
        revoke_keys: conduct.RevokeKeys,
        texts: Texts,
        *,
        admission: Admission | None = None,
        joined: Joined | None = None,
        origin: wire.Origin = _nowhere,
    ) -> None:
        self._signing_up = SigningUp(create_account, texts, admission, joined)
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

    async def sign_up(self, tx: Tx, request: OwnRequest, body: wire.SignUp) -> Created[wire.SignedUp]:
        return wire.signed_up(await self._signing_up.sign_up(tx, body.read(self._origin(request)), request.at))

    async def list_customers(self, tx: Tx, request: OwnRequest, query: Paging) -> Items[wire.Customer]:
        today = day_of(request.at)
        if not request.operator:
            return whole([wire.customer(await customer_of_request(tx, request), today)])
        found = await customers.list_customers(tx, query.next, wire.PAGE_SIZE + 1)
        return page([wire.customer(one, today) for one in found], wire.PAGE_SIZE)

    async def fetch(self, tx: Tx, request: OwnRequest, mine: Mine, query: wire.OnDay) -> wire.Customer:
        on = query.on or day_of(request.at)
        return wire.customer(await customers.require(tx, mine.sid, on), on)

    async def change_flags(
        self, tx: Tx, request: OwnRequest, mine: Mine, actor: Actor, body: wire.Flags
    ) -> wire.Customer:
        if body.name == "":
            raise InvalidParameter("'name' must not be empty")
        changed = await customers.change_flags(tx, mine.sid, body.changes(), actor, body.evidence, request.at)
        return wire.customer(changed, day_of(request.at))

    async def list_domiciles(self, tx: Tx, mine: Mine) -> Items[wire.Domicile]:
        return whole([wire.Domicile.of(one) for one in await customers.domiciles(tx, mine.sid)])

    async def change_domicile(
        self, tx: Tx, request: OwnRequest, mine: Mine, actor: Actor, body: wire.NewDomicile
    ) -> Created[wire.Domicile]:
        from_on = body.from_on or day_of(request.at)
        place = (body.country, body.subdivision, from_on)
        return wire.Domicile.of(await customers.change_domicile(tx, mine.sid, *place, body.evidence, actor, request.at))

    async def list_tasks(self, tx: Tx, mine: Mine) -> Items[wire.CustomerTask]:
        return whole([wire.CustomerTask.of(one) for one in await customers.tasks_of(tx, mine.sid)])

    async def attest(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, body: wire.NewAttestation
    ) -> Created[wire.Attestation]:
        if not body.compliance:
            raise InvalidParameter("'compliance' must be true")
        due_on = await customers.attest_compliance(tx, mine.sid, actor, request.at)
        return wire.Attestation(day_of(request.at), due_on)

    async def show_score(self, tx: Tx, mine: Mine) -> wire.Score:
        return wire.Score(mine.sid, await conduct.score(tx, mine.sid))

    # Accounts

    async def list_accounts(self, tx: Tx, request: OwnRequest, mine: Mine) -> Items[wire.AccountParties]:
        on = day_of(request.at)
        return whole([await _parties(tx, mine.sid, sid, on) for sid in await customers.accounts_of(tx, mine.sid)])

    async def change_account(
        self,
        tx: Tx,
        request: OwnRequest,
        mine: MineToChange,
        actor: Actor,
        account_sid: str,
        body: wire.AccountChange,
    ) -> Annotated[OwnReply, Shows(wire.AccountParties) | Shows(wire.VoidAssignment, 409)]:
        account_sid = await customers.require_account(tx, mine.sid, account_sid)
        if body.obligor_sid is not UNSET:
            # Written down rather than refused, so that the attempt leaves its trace (9.2 void).
            void = await assignments.force(tx, mine.sid, body.obligor_sid, actor, request.at)
            return OwnReply(wire.VoidAssignment.of(void, clause="9.2"), 409)
        from_on = body.from_on or day_of(request.at)
        given = (tx, mine.sid, account_sid)
        if body.administrator_sid is not UNSET:
            await relations.set_administrator(*given, body.administrator_sid, from_on, actor, request.at)
        if body.user_sid is not UNSET:
            await relations.set_user(*given, body.user_sid, from_on, actor, request.at)
        return OwnReply(await _parties(tx, mine.sid, account_sid, from_on))

    # Contacts

    async def list_contacts(self, tx: Tx, mine: Mine, query: wire.ContactQuery) -> Items[wire.Contact]:
        return whole([wire.Contact.of(one) for one in await customers.contacts(tx, mine.sid, query.kind)])

    async def add_contact(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, body: wire.NewContact
    ) -> Created[wire.Contact]:
        given = (body.kind, body.address, body.name)
        return wire.Contact.of(await customers.add_contact(tx, mine.sid, *given, actor, request.at))

    async def remove_contact(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, sid: str
    ) -> wire.Removed:
        await customers.remove_contact(tx, mine.sid, sid, actor, request.at)
        return wire.Removed(sid, request.at)

    async def verify_contact(self, tx: Tx, request: OwnRequest, mine: Mine, sid: str) -> wire.Verified:
        await customers.verify_contact(tx, mine.sid, sid, request.at)
        return wire.Verified(sid, request.at)

    # Relations

    async def list_affiliates(
        self, tx: Tx, request: OwnRequest, mine: Mine, query: wire.OnDay
    ) -> Items[wire.Affiliate]:
        on = query.on or day_of(request.at)
        names = await relations.organization_names(tx, sorted(await relations.affiliates(tx, mine.sid, on)))
        return whole([wire.Affiliate(sid, name, on) for sid, name in sorted(names.items())])

    async def add_organization(
        self, tx: Tx, request: OwnRequest, body: wire.NewOrganization
    ) -> Created[wire.Organization]:
        return wire.Organization(await relations.add_organization(tx, body.name, body.country, request.at), body.name)

    async def list_ownerships(self, tx: Tx, query: wire.OwnershipQuery) -> Items[wire.Ownership]:
        return whole([wire.ownership(row) for row in await relations.ownerships(tx, query.organization_sid)])

    async def add_ownership(self, tx: Tx, request: OwnRequest, body: wire.NewOwnership) -> Created[wire.Made]:
        sid = await relations.add_ownership(
            tx,
            body.parent_sid,
            body.child_sid,
            body.percent,
            body.from_on or day_of(request.at),
            body.until_on,
            body.evidence,
            request.at,
        )
        return wire.Made(sid)

    async def end_ownership(self, tx: Tx, sid: str, body: wire.OwnershipEnd) -> wire.OwnershipEnded:
        await relations.end_ownership(tx, sid, body.until_on)
        return wire.OwnershipEnded(sid, body.until_on)

    # End users and incidents

    async def list_marks(self, tx: Tx, mine: Mine, query: wire.MarkQuery) -> Items[wire.Mark]:
        return whole([wire.Mark.of(one) for one in await conduct.marks(tx, mine.sid, query.identity, query.kind)])

    async def add_mark(self, tx: Tx, request: OwnRequest, mine: Mine, body: wire.NewMark) -> Created[wire.Mark]:
        if body.kind == "sanctions" and not request.operator:
            raise TermsForbid("Hits on lists are the operator's to record", "5.2 lists", "operator_only")
        given = (body.identity, body.kind, body.note)
        return wire.Mark.of(await conduct.mark_end_user(tx, mine.sid, *given, request.at))

    async def confirm_mark(self, tx: Tx, request: OwnRequest, mine: Mine, sid: str) -> wire.Confirmed:
        await conduct.confirm_mark(tx, mine.sid, sid, request.at)
        return wire.Confirmed(sid, request.at)

    async def list_incidents(self, tx: Tx, mine: Mine) -> Items[wire.Incident]:
        return whole([wire.incident(one) for one in await conduct.incidents(tx, mine.sid)])

    async def report_incident(
        self, tx: Tx, request: OwnRequest, mine: Mine, actor: Actor, body: wire.NewIncident
    ) -> Created[wire.Incident]:
        given = (body.account_sid, body.description, body.noticed_at)
        return wire.incident(await conduct.report_incident(tx, mine.sid, *given, actor, request.at))

    async def revoke_keys(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, sid: str
    ) -> wire.Incident:
        return wire.incident(await conduct.revoke_keys(tx, self._revoke_keys, mine.sid, sid, actor, request.at))

    async def close_incident(self, tx: Tx, request: OwnRequest, mine: Mine, actor: Actor, sid: str) -> wire.Incident:
        return wire.incident(await conduct.close_incident(tx, mine.sid, sid, actor, request.at))

    # Assignments

    async def list_assignments(self, tx: Tx, mine: Mine) -> Items[wire.Assignment]:
        return whole([wire.Assignment.of(one) for one in await assignments.list_assignments(tx, mine.sid)])

    async def request_assignment(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, body: wire.NewAssignment
    ) -> Created[wire.Assignment]:
        given = (body.to_sid, body.basis, body.proof)
        return wire.Assignment.of(await assignments.request_assignment(tx, mine.sid, *given, actor, request.at))

    async def decide(
        self, tx: Tx, request: OwnRequest, mine: Mine, actor: Actor, sid: str, body: wire.AssignmentDecision
    ) -> wire.Assignment:
        given = (sid, body.decision, body.reason)
        return wire.Assignment.of(await assignments.decide(tx, mine.sid, *given, actor, request.at))


async def _parties(tx: Tx, customer_sid: str, account_sid: str, on: date) -> wire.AccountParties:
    return wire.AccountParties(
        account_sid,
        sorted(await relations.obligors(tx, account_sid, on)),
        await relations.administrator(tx, customer_sid, account_sid, on),
    )
