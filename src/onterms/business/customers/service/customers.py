"""Customers, their contacts, domiciles and tasks."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from onterms.business import accounts
from onterms.business.customers import events, store
from onterms.business.customers.errors import Conflict, Unprocessable
from onterms.business.customers.model import (
    ATTESTATION_MONTHS,
    CONTACT_KINDS,
    GOV_KINDS,
    Contact,
    Customer,
    Domicile,
    Task,
    check_address,
    check_country,
)
from onterms.core.calendar import day_of, plus_months, start_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.engines import audit, jobs, log

RENEWAL_TASK = "customers.ask_for_attestation"
# Who a customer is, or who speaks for it, is not what it was.
CHANGED_TASK = "customers.changed"
_WHO_IT_IS = frozenset(
    {
        events.CUSTOMER_CHANGED,
        events.CUSTOMER_CONTACTS_CHANGED,
        events.CUSTOMER_OWNERS_CHANGED,
        events.DOMICILE_CHANGED,
    }
)
_ATTESTATION = "compliance_attestation"


async def customer_of(tx: Tx, account_sid: str, on: date | None = None) -> Customer | None:
    """Return who answers for an account: the customer of the main account at its head, as of a day or as last known."""
    return (await customers_of(tx, [account_sid], on)).get(account_sid)


async def customers_of(tx: Tx, account_sids: Sequence[str], on: date | None = None) -> dict[str, Customer]:
    """Return the customer of each account that has one."""
    mains = await accounts.main_accounts(tx, account_sids)
    sids = await store.customer_sids_of(tx, sorted(set(mains.values())))
    found = await store.customers(tx, sorted(set(sids.values())), on)
    return {account: found[sids[main]] for account, main in mains.items() if main in sids}


async def fetch(tx: Tx, customer_sid: str, on: date | None = None) -> Customer | None:
    """Return a customer by its SID."""
    return (await store.customers(tx, [customer_sid], on)).get(customer_sid)


async def require(tx: Tx, customer_sid: str, on: date | None = None) -> Customer:
    """Return a customer by its SID.

    Raises: NotFound.
    """
    found = await fetch(tx, customer_sid, on)
    if found is None:
        raise NotFound(f"The customer {customer_sid} was not found")
    return found


async def list_customers(tx: Tx, after: str, limit: int) -> list[Customer]:
    """List customers by SID after one of them."""
    return await store.list_customers(tx, after, limit)


async def accounts_of(tx: Tx, customer_sid: str) -> list[str]:
    """List the main accounts a customer answers for."""
    return await store.accounts_of(tx, customer_sid)


async def require_account(tx: Tx, customer_sid: str, account_sid: str) -> str:
    """Return an account's SID when it is one of the customer's, main account or below.

    Raises: NotFound.
    """
    found = await customer_of(tx, account_sid)
    if found is None or found.sid != customer_sid:
        raise NotFound(f"The account {account_sid} was not found")
    return account_sid


async def announce(tx: Tx, customer_sid: str, type: str, data: dict[str, Any], at: datetime) -> None:
    """Append an event about a customer under each of its main accounts, whose timelines show it."""
    told = [log.Event(type, account, customer_sid, data) for account in await store.accounts_of(tx, customer_sid)]
    await log.append(tx, told, at)
    if type in _WHO_IT_IS:
        await look_again(tx, customer_sid, at)


async def look_again(tx: Tx, customer_sid: str, at: datetime) -> None:
    """Have a customer looked at by whoever has to know who it is."""
    await jobs.enqueue(tx, [jobs.NewJob(CHANGED_TASK, {"customer_sid": customer_sid})], at)


async def record(
    tx: Tx,
    customer_sid: str,
    actor: str,
    what: tuple[str, str],
    states: tuple[str, str],
    cause: str,
    evidence: dict[str, Any],
    at: datetime,
) -> None:
    """Write one move into the customer's audit chain: `what` is (aggregate, its SID), `states` (from, to)."""
    entry = audit.AuditEvent(
        scope=customer_sid,
        actor=actor,
        aggregate=what[0],
        aggregate_sid=what[1],
        from_state=states[0],
        to_state=states[1],
        cause=cause,
        evidence=evidence,
    )
    await audit.record(tx, [entry], at)


# Contacts


async def contacts(tx: Tx, customer_sid: str, kind: str | None = None) -> list[Contact]:
    """List a customer's contacts of a kind, or all of them, oldest first."""
    return await store.contacts(tx, customer_sid, kind)


async def customer_of_sender(tx: Tx, address: str) -> str | None:
    """Return the customer one of whose contacts writes from an address, or None where that is nobody or several.

    A sender's address proves nothing: whoever acts on a mail makes sure that it is theirs.
    """
    found = await store.customers_with_contact(tx, address)
    return found[0] if len(found) == 1 else None


async def add_contact(
    tx: Tx, customer_sid: str, kind: str, address: str, name: str, actor: str, at: datetime
) -> Contact:
    """Designate whom to write to about a kind of thing.

    Raises: InvalidParameter.
    """
    if kind not in CONTACT_KINDS:
        raise InvalidParameter(f"'kind' must be one of {', '.join(CONTACT_KINDS)}")
    contact = Contact(customer_sid, new_sid("CT", at), kind, name, check_address(address), None, at)
    await store.insert_contact(tx, customer_sid, contact)
    await record(
        tx, customer_sid, actor, ("contact", contact.sid), ("", "designated"), "9.5", {"kind": kind, "to": address}, at
    )
    await announce(tx, customer_sid, events.CUSTOMER_CONTACTS_CHANGED, {"contact_sid": contact.sid}, at)
    return contact


async def remove_contact(tx: Tx, customer_sid: str, sid: str, actor: str, at: datetime) -> None:
    """Stop writing to a contact.

    Raises: NotFound; Conflict for the last owner, to whom everything falls back.
    """
    found = {contact.sid: contact for contact in await store.contacts(tx, customer_sid, None)}
    if sid not in found:
        raise NotFound(f"The contact {sid} was not found")
    if found[sid].kind == "owner" and sum(contact.kind == "owner" for contact in found.values()) == 1:
        raise Conflict("A customer needs an owner contact; designate another first", "9.5", "last_owner_contact")
    await store.remove_contact(tx, customer_sid, sid, at)
    await record(tx, customer_sid, actor, ("contact", sid), ("designated", "removed"), "9.5", {}, at)
    await announce(tx, customer_sid, events.CUSTOMER_CONTACTS_CHANGED, {"contact_sid": sid}, at)


async def verify_contact(tx: Tx, customer_sid: str, sid: str, at: datetime) -> None:
    """Record that a contact's address was shown to be theirs.

    Raises: NotFound.
    """
    if not await store.verify_contact(tx, customer_sid, sid, at):
        raise NotFound(f"The contact {sid} was not found")


# Domicile and flags


async def domiciles(tx: Tx, customer_sid: str) -> list[Domicile]:
    """List every domicile on record, oldest first."""
    return await store.domiciles(tx, customer_sid)


async def change_domicile(
    tx: Tx, customer_sid: str, country: str, subdivision: str, from_on: date, evidence: str, actor: str, at: datetime
) -> Domicile:
    """Record where a customer lives from a day on; what was recorded before stays.

    The contracting party does not change by that: a task for counsel opens where another one would apply (9.2).

    Raises: Unprocessable for a day to come or without evidence; the Japanese rules as at sign-up.
    """
    customer = await require(tx, customer_sid)
    if from_on > day_of(at):
        raise Unprocessable("A domicile is recorded once it is one", "P.11", "domicile_in_future")
    if not evidence:
        raise Unprocessable("A domicile needs its evidence", "P.11", "evidence_missing")
    check_country(country)
    if country == "JP" and not customer.corporate:
        raise Unprocessable("In Japan the services are for business entities only", "10.4.1", "corporate_only")
    domicile = Domicile(from_on, country, subdivision, evidence, at)
    await store.insert_domicile(tx, customer_sid, domicile)
    data = {"country": country, "subdivision": subdivision, "from_on": from_on.isoformat()}
    states = (f"{customer.country}-{customer.subdivision}", f"{country}-{subdivision}")
    await record(tx, customer_sid, actor, ("domicile", customer_sid), states, "P.11", {**data, "proof": evidence}, at)
    await announce(tx, customer_sid, events.DOMICILE_CHANGED, {**data, "from": customer.country}, at)
    if country != customer.country:
        await open_task(
            tx,
            customer_sid,
            "novation",
            "9.2",
            f"The domicile moved from {customer.country} to {country}: look whether another company becomes the party",
            day_of(at),
            at,
        )
    return domicile


async def change_flags(
    tx: Tx, customer_sid: str, changes: dict[str, Any], actor: str, evidence: str, at: datetime
) -> Customer:
    """Set what the operator verified: name, size, nonprofit, gov_kind, partner_since, partner_until.

    Raises: NotFound, InvalidParameter for another name or value.
    """
    before = await require(tx, customer_sid)
    columns = dict(changes)
    unknown = columns.keys() - {"name", "size", "nonprofit", "gov_kind", "partner_since", "partner_until"}
    if unknown:
        raise InvalidParameter(f"These cannot be set: {', '.join(sorted(unknown))}")
    if "gov_kind" in columns:
        if columns["gov_kind"] not in (None, *GOV_KINDS):
            raise InvalidParameter(f"'gov_kind' must be one of {', '.join(GOV_KINDS)}")
        # Clause 10.1: the rider applies once somebody looked.
        columns["gov_verified_at"] = None if columns["gov_kind"] is None else at
    if not columns:
        return before
    await store.update_customer(tx, customer_sid, columns, at)
    told = {name: None if value is None else str(value) for name, value in columns.items()}
    states = (f"version {before.version}", f"version {before.version + 1}")
    await record(
        tx, customer_sid, actor, ("customer", customer_sid), states, "flags changed", {**told, "proof": evidence}, at
    )
    await announce(tx, customer_sid, events.CUSTOMER_CHANGED, {"changed": sorted(columns)}, at)
    return await require(tx, customer_sid)


# Tasks


async def tasks_of(tx: Tx, customer_sid: str) -> list[Task]:
    """List what a customer is asked to do, done or not."""
    return await store.tasks(tx, customer_sid)


async def open_task(
    tx: Tx, customer_sid: str, kind: str, clause: str, subject: str, due_on: date, at: datetime
) -> Task | None:
    """Ask a customer to do something by a day; None when it is asked already."""
    task = Task(customer_sid, new_sid("TK", at), kind, clause, subject, due_on, at, None)
    if not await store.insert_task(tx, customer_sid, task):
        return None
    await announce(tx, customer_sid, events.TASK_OPENED, {"task_sid": task.sid, "kind": kind}, at)
    return task


async def attest_compliance(tx: Tx, customer_sid: str, actor: str, at: datetime) -> date:
    """Take a customer's word on corruption, laundering, sanctions and export laws, and return when it is due again."""
    today = day_of(at)
    await require(tx, customer_sid)
    await store.update_customer(tx, customer_sid, {"compliance_attested_on": today}, at)
    await store.finish_tasks(tx, customer_sid, _ATTESTATION, at)
    await record(tx, customer_sid, actor, ("attestation", customer_sid), ("due", "given"), "5.2(a)", {}, at)
    return await schedule_renewal(tx, customer_sid, today, at)


async def schedule_renewal(tx: Tx, customer_sid: str, attested_on: date, at: datetime) -> date:
    """Have the attestation asked for again a year later and return that day."""
    due_on = plus_months(attested_on, ATTESTATION_MONTHS)
    payload = {"customer_sid": customer_sid, "attested_on": attested_on.isoformat()}
    await jobs.enqueue(tx, [jobs.NewJob(RENEWAL_TASK, payload, due_at=start_of(due_on))], at)
    return due_on


async def ask_for_attestation(tx: Tx, customer_sid: str, attested_on: date, at: datetime) -> None:
    """Open the task of a renewed attestation, unless there is a newer one by now."""
    customer = await fetch(tx, customer_sid)
    if customer is None or customer.compliance_attested_on != attested_on:
        return
    due_on = plus_months(attested_on, ATTESTATION_MONTHS)
    await open_task(
        tx, customer_sid, _ATTESTATION, "5.2(a)", "Attest again that you follow trade and corruption laws", due_on, at
    )
