"""Becoming a customer: everything in one transaction, or nothing."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol

from onterms.business import accounts
from onterms.business.customers import events, store
from onterms.business.customers.errors import TermsForbid, Unprocessable
from onterms.business.customers.model import (
    BUSINESS_USES,
    GOV_KINDS,
    ORG_TYPES,
    SIZES,
    Consent,
    Contact,
    Customer,
    Domicile,
    SignedUp,
    SignUp,
    check_address,
    check_country,
    default_currency,
    needs_waiver,
)
from onterms.business.customers.service import customers
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.ids import new_sid

# Twilio docs, Account resource: up to 64 characters.
_FRIENDLY_NAME_MAX = 64
_FIRST_KINDS = ("owner", "legal", "billing")

CreateAccount = Callable[[Tx, str, datetime], Awaitable[accounts.FirstCredentials]]
# Whatever else may stand against a new customer (a debt of the same organization, a list): it raises a Refusal.
Admission = Callable[[Tx, SignUp, datetime], Awaitable[None]]
# What other rooms do for a new customer, such as beginning to bill it.
Joined = Callable[[Tx, str, datetime], Awaitable[None]]


class Texts(Protocol):
    """What the room of agreements does for a sign-up."""

    async def current(self, tx: Tx, document: str, at: datetime) -> str | None:
        """Return the version of a document that binds whoever accepts it at this moment."""
        ...

    async def accept(
        self, tx: Tx, customer_sid: str, version_sid: str, mode: str, consent: Consent, at: datetime
    ) -> str:
        """Record an acceptance with the exact version of everything linked, and return its SID."""
        ...


def check(request: SignUp) -> None:
    """Refuse a sign-up whose answers the terms do not admit.

    Raises: InvalidParameter, Unprocessable, TermsForbid.
    """
    if not request.name.strip():
        raise InvalidParameter("'organization_name' is required")
    check_country(request.country)
    check_address(request.email)
    if request.org_type not in ORG_TYPES:
        raise InvalidParameter(f"'org_type' must be one of {', '.join(ORG_TYPES)}")
    if request.size not in SIZES:
        raise InvalidParameter(f"'size' must be one of {', '.join(SIZES)}")
    if request.gov_kind not in (None, *GOV_KINDS):
        raise InvalidParameter(f"'gov_kind' must be one of {', '.join(GOV_KINDS)}")
    if request.use not in BUSINESS_USES:
        raise Unprocessable(
            "The services are for business, trade or professional use", "P.8", "business_use_only", use=request.use
        )
    if not request.consent.authority or not request.consent.actor.strip() or not request.consent.role.strip():
        raise Unprocessable(
            "Say who signs, in which role, and that they may bind the organization", "5.1", "authority_missing"
        )
    if not request.compliance:
        raise Unprocessable(
            "Attest that you follow corruption, laundering, sanctions and export laws", "5.2(a)", "attestation_missing"
        )
    if request.country == "JP":
        if request.org_type == "individual":
            raise Unprocessable("In Japan the services are for business entities only", "10.4.1", "corporate_only")
        if not request.no_antisocial_forces:
            raise Unprocessable(
                "Attest that you have no dealings with anti-social forces", "10.4.6", "attestation_missing"
            )


class SigningUp:
    """Sign customers up, and make one of the first account."""

    def __init__(
        self,
        create_account: CreateAccount,
        texts: Texts,
        admission: Admission | None = None,
        joined: Joined | None = None,
    ) -> None:
        self._create_account = create_account
        self._texts = texts
        self._admission = admission
        self._joined = joined

    async def sign_up(self, tx: Tx, request: SignUp, at: datetime) -> SignedUp:
        """Make a customer, its main account and the evidence of its acceptance.

        Raises: what `check` raises; TermsForbid without acceptance of the current text or of a waiver that is due.
        """
        check(request)
        current = await self._texts.current(tx, "tos", at)
        if current is None:
            raise TermsForbid("This installation has no terms in force yet", "P.6", "no_terms_in_force")
        if request.accepted_version != current:
            raise TermsForbid(
                "Accept the current terms first", "P.6", "terms_not_accepted", document="tos", version_sid=current
            )
        waiver = None
        served_in = list(request.served_in or (request.country,))
        if needs_waiver(request.size, request.nonprofit or request.org_type == "nonprofit", served_in):
            waiver = await self._texts.current(tx, "eecc_waiver", at)
            if waiver is None or request.waiver_version != waiver:
                raise TermsForbid(
                    "Small and not-for-profit organizations served there accept the waiver of the communications code",
                    "10.2",
                    "waiver_not_accepted",
                    document="eecc_waiver",
                    version_sid=waiver,
                )
        if self._admission is not None:
            await self._admission(tx, request, at)
        credentials = await self._create_account(tx, request.name[:_FRIENDLY_NAME_MAX], at)
        customer = await make_of_account(tx, credentials.account_sid, request, at)
        acceptance = await self._texts.accept(tx, customer.sid, current, "click", request.consent, at)
        if waiver is not None:
            await self._texts.accept(tx, customer.sid, waiver, "click", request.consent, at)
        if self._joined is not None:
            await self._joined(tx, customer.sid, at)
        data = {"customer_sid": customer.sid, "acceptance_sid": acceptance}
        await customers.announce(tx, customer.sid, events.CUSTOMER_SIGNED_UP, data, at)
        return SignedUp(customer, credentials, acceptance)


async def make_of_account(tx: Tx, account_sid: str, request: SignUp, at: datetime) -> Customer:
    """Make the customer of a main account that has none yet; the caller records its acceptance."""
    sid = new_sid("OR", at)
    today = day_of(at)
    nonprofit = request.nonprofit or request.org_type == "nonprofit"
    row: dict[str, Any] = {
        "name": request.name,
        "org_type": request.org_type,
        "size": request.size,
        "nonprofit": nonprofit,
        "gov_kind": request.gov_kind,
        "currency": default_currency(request.country),
        "compliance_attested_on": today,
        "no_antisocial_forces": request.no_antisocial_forces,
    }
    await store.insert_organization(tx, sid, request.name, request.country, at)
    await store.insert_customer(tx, sid, row, at)
    await store.insert_domicile(tx, sid, Domicile(today, request.country, request.subdivision, "sign-up", at))
    await store.join_accounts(tx, sid, [account_sid], at)
    for kind in _FIRST_KINDS:
        contact = Contact(sid, new_sid("CT", at), kind, request.consent.actor, request.email, None, at)
        await store.insert_contact(tx, sid, contact)
    evidence = {
        "account_sid": account_sid,
        "ip": request.consent.ip,
        "use": request.use,
        "role": request.consent.role,
    }
    await customers.record(tx, sid, request.consent.actor, ("customer", sid), ("", "customer"), "sign-up", evidence, at)
    await customers.schedule_renewal(tx, sid, today, at)
    await customers.look_again(tx, sid, at)
    return await customers.require(tx, sid)
