"""Opening, moving and reading cases."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Protocol

from onterms.business import customers, notices
from onterms.business.cases import store
from onterms.business.cases.events import name_of
from onterms.business.cases.model import Actor, Case, Machine, Move, Violation
from onterms.core.db import Tx
from onterms.core.errors import Forbidden, NotFound, Refusal
from onterms.core.ids import new_sid
from onterms.engines import audit, jobs
from onterms.engines.api.own import OwnRequest

CHANNEL = store.CHANNEL
DEADLINE_TASK = "cases.deadline"
LIST_MAX = 1000

OPERATOR = Actor("operator", "operator")
CUSTOMER = Actor("customer", "customer")
SYSTEM = Actor("system", "system")

# What follows a move; returns facts to add.
Effect = Callable[[Tx, Case, datetime], Awaitable[Mapping[str, Any] | None]]


class Notices(Protocol):
    """What the rooms of cases need of written notices (9.5)."""

    async def send(
        self, tx: Tx, customer_sid: str, kind: str, subject: str, body: str, contact_kind: str, at: datetime
    ) -> str:
        """Send a notice and return its SID."""
        ...

    async def given_on(self, tx: Tx, customer_sid: str, notice_sid: str) -> date | None:
        """Return the day on which it was given, or None."""
        ...


class MailedNotices:
    """Notices by mail through the room of notices."""

    async def send(
        self, tx: Tx, customer_sid: str, kind: str, subject: str, body: str, contact_kind: str, at: datetime
    ) -> str:
        """Queue a notice with the transaction and return its SID."""
        [sid] = await notices.send(tx, [notices.NewNotice(customer_sid, kind, subject, body, contact_kind)], at)
        return sid

    async def given_on(self, tx: Tx, customer_sid: str, notice_sid: str) -> date | None:
        """Return the day on which a notice to this customer was given, or None."""
        found = (await notices.fetch(tx, [notice_sid])).get(notice_sid)
        if found is None or found.customer_sid != customer_sid:
            return None
        return (await notices.given_on(tx, [notice_sid])).get(notice_sid)


def actor_of_request(request: OwnRequest) -> Actor:
    """Return who acts through an API of our own."""
    return Actor("operator" if request.operator else "customer", customers.actor_of(request))


class Book:
    """The cases of one machine."""

    def __init__(self, machine: Machine, effects: Mapping[str, Effect] | None = None) -> None:
        machine.check()
        self.machine = machine
        # Called in this process once a case's move is committed; others hear of it by notification.
        self.moved: list[Callable[[], None]] = []
        self._effects = effects or {}
        named = {effect for move in machine.moves.values() for effect in move.effects}
        if named - self._effects.keys():
            raise ValueError(f"{machine.kind}: no effects {sorted(named - self._effects.keys())}")

    async def open(
        self, tx: Tx, customer_sid: str, given: Mapping[str, Any], actor: Actor, at: datetime, *, event: str = "open"
    ) -> Case:
        """Open a case.

        Raises: NotFound without such a customer; InvalidParameter; Forbidden; Refusal by the guard.
        """
        await customers.require(tx, customer_sid)
        sid = new_sid(self.machine.prefix, at)
        case = Case(customer_sid, sid, self.machine.kind, "", 0, {}, at, at)
        move, moved = self._check(case, event, given, actor, at)
        await store.insert(tx, customer_sid, moved)
        return await self._follow(tx, case, move, moved, event, actor, at)

    async def fire(
        self, tx: Tx, customer_sid: str, sid: str, event: str, given: Mapping[str, Any], actor: Actor, at: datetime
    ) -> Case:
        """Move a case by an event.

        Raises: NotFound; a 409 where its state does not allow it; InvalidParameter; Forbidden; Refusal by the guard.
        """
        case = await store.fetch(tx, customer_sid, self.machine.kind, sid, lock=True)
        if case is None:
            raise NotFound(f"The case {sid} was not found")
        move, moved = self._check(case, event, given, actor, at)
        await store.update(tx, customer_sid, sid, moved.state, moved.version, moved.facts, at)
        return await self._follow(tx, case, move, moved, event, actor, at)

    async def fetch(self, tx: Tx, customer_sid: str, sid: str) -> Case:
        """Return a case.

        Raises: NotFound.
        """
        case = await store.fetch(tx, customer_sid, self.machine.kind, sid)
        if case is None:
            raise NotFound(f"The case {sid} was not found")
        return case

    async def list(
        self, tx: Tx, customer_sid: str, states: Sequence[str] | None = None, *, after: str = "", limit: int = LIST_MAX
    ) -> list[Case]:
        """List a customer's cases, in some states or all, oldest first."""
        return await store.list_cases(tx, customer_sid, self.machine.kind, states, after, limit)

    async def due(self, tx: Tx, customer_sid: str, sid: str, event: str, version: int, at: datetime) -> None:
        """Act on a deadline, unless the case moved since it was set."""
        case = await store.fetch(tx, customer_sid, self.machine.kind, sid, lock=True)
        if case is not None and case.version == version:
            await self.fire(tx, customer_sid, sid, event, {}, SYSTEM, at)

    def _check(self, case: Case, event: str, given: Mapping[str, Any], actor: Actor, at: datetime) -> tuple[Move, Case]:
        machine = self.machine
        move = machine.moves.get((case.state, event))
        if move is None:
            state = case.state or "new"
            raise _refusal(
                Violation("not_in_this_state", f"A {machine.kind} that is {state} takes no {event}"), machine
            )
        if actor.role not in move.by:
            raise Forbidden(
                f"This is not for the {actor.role} to do", details={"clause": machine.clause, "reason": "not_your_move"}
            )
        # Guards tell by `moved_by` whose side acts.
        facts = {**case.facts, **machine.read(move, given), "moved_by": actor.role}
        moved = replace(case, state=move.next, version=case.version + 1, facts=facts, updated_at=at)
        if move.guard is not None:
            # The guard sees the facts as they would be and the state as it is.
            violation = machine.guards[move.guard](replace(moved, state=case.state), at)
            if violation is not None:
                raise _refusal(violation, machine)
        return move, moved

    async def _follow(
        self, tx: Tx, before: Case, move: Move, moved: Case, event: str, actor: Actor, at: datetime
    ) -> Case:
        machine = self.machine
        changed = {name: value for name, value in moved.facts.items() if before.facts.get(name) != value}
        for effect in move.effects:
            found = await self._effects[effect](tx, moved, at)
            if found:
                changed = {**changed, **found}
                moved = replace(moved, facts={**moved.facts, **found})
                await store.update(tx, moved.customer_sid, moved.sid, moved.state, moved.version, moved.facts, at)
        entry = audit.AuditEvent(
            scope=moved.customer_sid,
            actor=actor.name,
            aggregate=machine.kind,
            aggregate_sid=moved.sid,
            from_state=before.state or None,
            to_state=moved.state,
            cause=f"{machine.clause} {event}",
            evidence=changed,
        )
        await audit.record(tx, [entry], at)
        await self._announce(tx, before, moved, event, at)
        deadline = machine.deadline(moved)
        if deadline is not None:
            payload = {
                "kind": machine.kind,
                "customer_sid": moved.customer_sid,
                "sid": moved.sid,
                "event": deadline[0],
                "version": moved.version,
            }
            await jobs.enqueue(tx, [jobs.NewJob(DEADLINE_TASK, payload, due_at=deadline[1])], at)
        await store.tell(tx, machine.kind)
        for follower in self.moved:
            tx.after_commit(follower)
        return moved

    async def of_everybody(self, tx: Tx, states: Sequence[str]) -> Sequence[Case]:
        """List the cases of all customers in some states."""
        return await store.in_states(tx, self.machine.kind, states)

    async def _announce(self, tx: Tx, before: Case, moved: Case, event: str, at: datetime) -> None:
        # An account's timeline is its customer's to read, so secret kinds leave no word there.
        if self.machine.secret:
            return
        told = {"case_sid": moved.sid, "from": before.state, "to": moved.state}
        await customers.announce(tx, moved.customer_sid, name_of(self.machine.kind, event), told, at)


async def queue(tx: Tx, kind: str | None, state: str | None, after: str, limit: int) -> Sequence[Case]:
    """List cases of all customers, for the operator."""
    return await store.queue(tx, kind, state, after, limit)


def _refusal(violation: Violation, machine: Machine) -> Refusal:
    code = 20409 if violation.status == 409 else 20003 if violation.status == 403 else 20001
    details = {"clause": violation.clause or machine.clause, "reason": violation.reason}
    return Refusal(violation.message, code=code, status=violation.status, details=details)
