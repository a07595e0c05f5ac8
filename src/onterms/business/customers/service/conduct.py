"""End users and what is known of them, and incidents that customers report."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from onterms.business.customers import events, store
from onterms.business.customers.model import MARK_KINDS, EndUser, Incident, Mark
from onterms.business.customers.service import customers
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid

MARKS_CHANNEL = store.MARKS_CHANNEL
RevokeKeys = Callable[[Tx, str], Awaitable[int]]

_IDENTITY_MAX = 320


async def end_user(tx: Tx, customer_sid: str, identity: str) -> EndUser | None:
    """Return a customer's end user by address or identity."""
    return await store.end_user(tx, customer_sid, identity)


async def mark_end_user(
    tx: Tx, customer_sid: str, identity: str, kind: str, note: str, at: datetime, *, confirmed: bool = False
) -> Mark:
    """Write down what became known of an end user of this customer: an opt-out, a complaint, a hit on a list.

    Raises: InvalidParameter.
    """
    if kind not in MARK_KINDS:
        raise InvalidParameter(f"'kind' must be one of {', '.join(MARK_KINDS)}")
    if not 0 < len(identity) <= _IDENTITY_MAX:
        raise InvalidParameter(f"'identity' must have 1 to {_IDENTITY_MAX} characters")
    await store.ensure_end_user(tx, customer_sid, identity, new_sid("EU", at), at)
    mark = Mark(customer_sid, new_sid("EM", at), identity, kind, note, at, at if confirmed else None, None)
    await store.insert_mark(tx, customer_sid, mark)
    return mark


async def marks(tx: Tx, customer_sid: str, identity: str | None = None, kind: str | None = None) -> list[Mark]:
    """List the open marks of a customer's end users."""
    return await store.marks(tx, customer_sid, identity, kind)


async def marks_of(tx: Tx, pairs: Sequence[tuple[str, str]], kinds: Sequence[str]) -> list[Mark]:
    """List the open marks of some kinds of many end users, given as (customer_sid, identity)."""
    return await store.marks_of(tx, pairs, kinds)


async def customers_with_marks(tx: Tx, kinds: Sequence[str]) -> set[str]:
    """Return every customer of whose end users something of these kinds is known."""
    return await store.customers_with_marks(tx, kinds)


async def confirm_mark(tx: Tx, customer_sid: str, sid: str, at: datetime) -> None:
    """Find a mark to be right, which makes a complaint count.

    Raises: NotFound.
    """
    if not await store.update_mark(tx, customer_sid, sid, "confirmed_at", at):
        raise NotFound(f"No unconfirmed mark {sid} was found")


async def end_mark(tx: Tx, customer_sid: str, sid: str, at: datetime) -> None:
    """End a mark, as when somebody opts in again.

    Raises: NotFound.
    """
    if not await store.update_mark(tx, customer_sid, sid, "ended_at", at):
        raise NotFound(f"No open mark {sid} was found")


async def score(tx: Tx, customer_sid: str) -> int:
    """Return how many complaints about a customer's end users were confirmed: it answers for them (2.2(d))."""
    return await store.count_confirmed_complaints(tx, customer_sid)


async def report_incident(
    tx: Tx, customer_sid: str, account_sid: str, description: str, noticed_at: datetime | None, actor: str, at: datetime
) -> Incident:
    """Take a report of unauthorised access; its stamp is this moment.

    Raises: NotFound for an account that is not the customer's; InvalidParameter.
    """
    await customers.require_account(tx, customer_sid, account_sid)
    if noticed_at is not None and noticed_at > at:
        raise InvalidParameter("'noticed_at' lies in the future")
    incident = Incident(
        customer_sid, new_sid("IC", at), account_sid, description, noticed_at or at, at, "reported", None, None
    )
    await store.insert_incident(tx, customer_sid, incident)
    evidence = {"account_sid": account_sid, "noticed_at": incident.noticed_at.isoformat()}
    what = ("incident", incident.sid)
    await customers.record(tx, customer_sid, actor, what, ("", "reported"), "2.2(e)", evidence, at)
    await customers.announce(tx, customer_sid, events.INCIDENT_REPORTED, {"incident_sid": incident.sid}, at)
    return incident


async def require_incident(tx: Tx, customer_sid: str, sid: str) -> Incident:
    """Return one of a customer's incidents.

    Raises: NotFound.
    """
    found = await store.incidents(tx, customer_sid, sid)
    if not found:
        raise NotFound(f"The incident {sid} was not found")
    return found[0]


async def incidents(tx: Tx, customer_sid: str) -> list[Incident]:
    """List the incidents a customer reported."""
    return await store.incidents(tx, customer_sid)


async def revoke_keys(tx: Tx, revoke: RevokeKeys, customer_sid: str, sid: str, actor: str, at: datetime) -> Incident:
    """End all keys of the incident's account at once.

    Raises: NotFound.
    """
    incident = await require_incident(tx, customer_sid, sid)
    keys = await revoke(tx, incident.account_sid)
    await store.record_revocation(tx, customer_sid, sid, keys, at)
    what = ("incident", sid)
    await customers.record(
        tx, customer_sid, actor, what, ("reported", "keys_revoked"), "2.2(e)", {"keys": str(keys)}, at
    )
    await customers.announce(tx, customer_sid, events.KEYS_REVOKED, {"incident_sid": sid, "keys": keys}, at)
    return await require_incident(tx, customer_sid, sid)


async def close_incident(tx: Tx, customer_sid: str, sid: str, actor: str, at: datetime) -> Incident:
    """Close an incident.

    Raises: NotFound when it is closed or not there.
    """
    if not await store.close_incident(tx, customer_sid, sid, at):
        raise NotFound(f"No open incident {sid} was found")
    await customers.record(tx, customer_sid, actor, ("incident", sid), ("reported", "closed"), "2.2(e)", {}, at)
    return await require_incident(tx, customer_sid, sid)
