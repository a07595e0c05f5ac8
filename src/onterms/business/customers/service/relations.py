"""Ownership, who administers and who uses an account, who owes for it, and who may claim."""

from datetime import date, datetime

from onterms.business.customers import events, store
from onterms.business.customers.errors import TermsForbid, Unprocessable
from onterms.business.customers.model import share_ppm
from onterms.business.customers.service import customers
from onterms.core.calendar import day_of
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid


async def affiliates(tx: Tx, customer_sid: str, on: date) -> set[str]:
    """Return every organization under common control with a customer on a day, without the customer itself."""
    return await store.affiliates(tx, customer_sid, on)


async def add_organization(tx: Tx, name: str, country: str, at: datetime) -> str:
    """Add an organization that is no customer, a parent or a subsidiary, and return its SID."""
    sid = new_sid("OR", at)
    await store.insert_organization(tx, sid, name, country, at)
    return sid


async def organization_names(tx: Tx, sids: list[str]) -> dict[str, str]:
    """Return the names of organizations by SID."""
    return await store.organizations(tx, sids)


async def add_ownership(
    tx: Tx,
    parent_sid: str,
    child_sid: str,
    percent: str,
    from_on: date,
    until_on: date | None,
    evidence: str,
    at: datetime,
) -> str:
    """Record that one organization holds a share of another's voting interests over a time, and return its SID.

    Raises: InvalidParameter, NotFound.
    """
    known = await store.organizations(tx, [parent_sid, child_sid])
    for sid in (parent_sid, child_sid):
        if sid not in known:
            raise NotFound(f"The organization {sid} was not found")
    if parent_sid == child_sid or (until_on is not None and until_on <= from_on):
        raise InvalidParameter("An organization does not own itself, and a time ends after it begins")
    sid = new_sid("OW", at)
    await store.insert_ownership(tx, sid, parent_sid, child_sid, share_ppm(percent), from_on, until_on, evidence, at)
    for organization_sid in (parent_sid, child_sid):
        await customers.announce(tx, organization_sid, events.CUSTOMER_OWNERS_CHANGED, {"ownership_sid": sid}, at)
    return sid


async def end_ownership(tx: Tx, sid: str, until_on: date) -> None:
    """End a share on a day.

    Raises: NotFound when it is not there or ended before.
    """
    if not await store.end_ownership(tx, sid, until_on):
        raise NotFound(f"The ownership {sid} was not found")


async def owners(tx: Tx, customer_sid: str, on: date) -> list[tuple[str, str]]:
    """Return name and country of whoever holds a share of a customer on a day."""
    return [(row["name"], row["country"]) for row in await store.owners(tx, customer_sid, on)]


async def ownerships(tx: Tx, organization_sid: str) -> list[Row]:
    """List the shares an organization holds and those held in it."""
    return await store.ownerships(tx, organization_sid)


# Accounts


async def set_administrator(
    tx: Tx, customer_sid: str, account_sid: str, organization_sid: str | None, from_on: date, actor: str, at: datetime
) -> None:
    """Let a reseller administer an account, or take it back with None. Who owes stays who owed (P.15).

    Raises: NotFound.
    """
    await customers.require_account(tx, customer_sid, account_sid)
    if organization_sid is not None and not await store.organizations(tx, [organization_sid]):
        raise NotFound(f"The organization {organization_sid} was not found")
    before = await store.role(tx, customer_sid, account_sid, "administrator", from_on)
    await store.insert_role(tx, customer_sid, account_sid, "administrator", organization_sid, from_on, at)
    states = (before or customer_sid, organization_sid or customer_sid)
    await customers.record(
        tx, customer_sid, actor, ("administrator", account_sid), states, "P.15", {"from_on": from_on.isoformat()}, at
    )


async def administrator(tx: Tx, customer_sid: str, account_sid: str, on: date) -> str:
    """Return who administers an account on a day: a reseller, or the customer itself."""
    return await store.role(tx, customer_sid, account_sid, "administrator", on) or customer_sid


async def set_user(
    tx: Tx, customer_sid: str, account_sid: str, organization_sid: str | None, from_on: date, actor: str, at: datetime
) -> None:
    """Let an affiliate use an account under the customer's contract, or take it back with None.

    Raises: NotFound; Unprocessable for an organization that is no affiliate on that day.
    """
    await customers.require_account(tx, customer_sid, account_sid)
    if organization_sid is not None and organization_sid not in await affiliates(tx, customer_sid, from_on):
        raise Unprocessable("Only an affiliate may use an account of the customer", "9.1.1", "not_an_affiliate")
    await store.insert_role(tx, customer_sid, account_sid, "user", organization_sid, from_on, at)
    data = {"from_on": from_on.isoformat()}
    states = ("", organization_sid or customer_sid)
    await customers.record(tx, customer_sid, actor, ("account_user", account_sid), states, "9.1.1", data, at)


async def obligors(tx: Tx, account_sid: str, on: date) -> set[str]:
    """Return who owes for an account together: the customer, and the affiliate that uses it."""
    customer = await customers.customer_of(tx, account_sid)
    if customer is None:
        return set()
    user = await store.role(tx, customer.sid, account_sid, "user", on)
    return {customer.sid} if user is None else {customer.sid, user}


async def require_claimant(tx: Tx, account_sid: str, contact_sid: str, at: datetime) -> str:
    """Return the customer for which a legal contact files a dispute or claim.

    Raises: TermsForbid for an account that an affiliate uses, and for any contact but the customer's legal one.
    """
    customer = await customers.customer_of(tx, account_sid)
    if customer is None:
        raise NotFound(f"The account {account_sid} has no customer")
    if await store.role(tx, customer.sid, account_sid, "user", day_of(at)) is not None:
        raise TermsForbid(
            "An affiliate does not claim for itself; the customer does",
            "9.1.1",
            "customer_claims",
            customer=customer.sid,
        )
    if contact_sid not in {contact.sid for contact in await store.contacts(tx, customer.sid, "legal")}:
        raise TermsForbid(
            "Claims come from the customer's legal contact", "9.1.1", "legal_contact_claims", customer=customer.sid
        )
    return customer.sid
