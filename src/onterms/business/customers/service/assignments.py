"""Handing the contract to somebody else: by consent, freely to a successor or affiliate, or in vain."""

from datetime import datetime

from onterms.business.customers import events, store
from onterms.business.customers.errors import Conflict, Unprocessable
from onterms.business.customers.model import ASSIGNMENT_MOVES, BASES, Assignment, Customer
from onterms.business.customers.service import customers
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid


async def request_assignment(
    tx: Tx, customer_sid: str, to_sid: str, basis: str, proof: str, actor: str, at: datetime
) -> Assignment:
    """Ask to hand the contract to another customer; a successor or an affiliate by the graph needs no consent.

    Clause 10.1.7: for a government customer nothing is approved by itself, for its law may forbid it.

    Raises: InvalidParameter, NotFound; Unprocessable for a free basis without its proof.
    """
    if basis not in BASES:
        raise InvalidParameter(f"'basis' must be one of {', '.join(BASES)}")
    customer = await _check_parties(tx, customer_sid, to_sid)
    is_free = False
    if basis == "affiliate":
        if to_sid not in await store.affiliates(tx, customer_sid, day_of(at)):
            raise Unprocessable("The ownership on record does not make it an affiliate", "9.2 free", "not_an_affiliate")
        is_free = True
    elif basis == "successor":
        if not proof:
            raise Unprocessable("A successor needs its proof", "9.2 free", "proof_missing")
        is_free = True
    assignment = Assignment(customer_sid, new_sid("AN", at), to_sid, basis, proof, "requested", "", None, None, at)
    await store.insert_assignment(tx, customer_sid, assignment)
    await _record(tx, assignment, "", actor, at)
    if is_free and customer.government is None:
        return await _move(tx, assignment, "free", f"{basis}: no consent needed", actor, at)
    return assignment


async def decide(tx: Tx, customer_sid: str, sid: str, event: str, reason: str, actor: str, at: datetime) -> Assignment:
    """Consent to a request, or refuse it with a reason, which must not be unreasonable.

    Raises: NotFound; Conflict for one that is decided; Unprocessable for a refusal without reason.
    """
    found = await store.assignments(tx, customer_sid, sid)
    if not found:
        raise NotFound(f"The assignment {sid} was not found")
    if event == "refuse" and not reason.strip():
        raise Unprocessable("Consent is not withheld without a reason", "9.2 consent", "reason_missing")
    return await _move(tx, found[0], event, reason, actor, at)


async def force(tx: Tx, customer_sid: str, to_sid: str, actor: str, at: datetime) -> Assignment:
    """Record an attempt to change who owes without the ways of 9.2: it is void and nothing moves."""
    await _check_parties(tx, customer_sid, to_sid)
    assignment = Assignment(customer_sid, new_sid("AN", at), to_sid, "other", "", "requested", "", None, None, at)
    await store.insert_assignment(tx, customer_sid, assignment)
    return await _move(tx, assignment, "force", "transferred outside clause 9.2", actor, at)


async def list_assignments(tx: Tx, customer_sid: str) -> list[Assignment]:
    """List a customer's assignment requests."""
    return await store.assignments(tx, customer_sid)


async def _check_parties(tx: Tx, customer_sid: str, to_sid: str) -> Customer:
    customer = await customers.require(tx, customer_sid)
    if to_sid == customer_sid or await customers.fetch(tx, to_sid) is None:
        # Whoever takes over the contract must have accepted it.
        raise NotFound(f"The assignee {to_sid} is no other customer")
    return customer


async def _move(tx: Tx, assignment: Assignment, event: str, reason: str, actor: str, at: datetime) -> Assignment:
    move = ASSIGNMENT_MOVES.get((assignment.state, event))
    if move is None:
        raise Conflict(f"The assignment is {assignment.state}", "9.2", f"assignment_{assignment.state}")
    await store.decide_assignment(tx, assignment.customer_sid, assignment.sid, move.next, reason, actor, at)
    # Told while the accounts are still the old customer's, whose timeline it belongs to.
    data = {"assignment_sid": assignment.sid, "state": move.next, "to_sid": assignment.to_sid}
    await customers.announce(tx, assignment.customer_sid, events.ASSIGNMENT_DECIDED, data, at)
    if "move_accounts" in move.effects:
        moved = await store.leave_accounts(tx, assignment.customer_sid, at)
        await store.join_accounts(tx, assignment.to_sid, moved, at)
    [decided] = await store.assignments(tx, assignment.customer_sid, assignment.sid)
    await _record(tx, decided, assignment.state, actor, at)
    return decided


async def _record(tx: Tx, assignment: Assignment, before: str, actor: str, at: datetime) -> None:
    evidence = {"to_sid": assignment.to_sid, "basis": assignment.basis, "reason": assignment.reason}
    what = ("assignment", assignment.sid)
    await customers.record(tx, assignment.customer_sid, actor, what, (before, assignment.state), "9.2", evidence, at)
