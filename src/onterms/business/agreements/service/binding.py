"""Who is bound by which version: notices, days reached, use, acceptance and declining."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial

from onterms.business import customers
from onterms.business.agreements import events, store
from onterms.business.agreements.errors import Conflict, Unprocessable
from onterms.business.agreements.model.binding import (
    Acceptance,
    Binding,
    Event,
    Mode,
    Version,
    binds_at,
    effective_on,
    move,
)
from onterms.business.agreements.service import documents
from onterms.core.calendar import day_of, start_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.engines import audit, jobs

# (tx, customer_sid, kind, subject, body, contact_kind, at) -> the notice's SID.
Notify = Callable[[Tx, str, str, str, str, str, datetime], Awaitable[str]]

NOTICE_KIND = "terms_change"
_BATCH = 100
# A mail names so many changed clauses; the change notice itself has them all.
_LISTED_MAX = 200
# Ours: another process may publish; this one looks again after so long at the latest.
_QUIET = timedelta(seconds=10)
_CACHED_MAX = 100_000


class QuietCache:
    """Remember customers for whom nothing can happen by use before some instant."""

    def __init__(self) -> None:
        self._until: dict[str, datetime] = {}

    def is_quiet(self, customer_sid: str, at: datetime) -> bool:
        """Tell whether use at this instant changes nothing, as far as this process knows."""
        until = self._until.get(customer_sid)
        # A clock that was set forward makes the entry old, not wrong.
        return until is not None and until - _QUIET <= at < until

    def remember(self, customer_sid: str, at: datetime, next_due: datetime | None) -> None:
        """Note that nothing is due before `next_due`."""
        if len(self._until) >= _CACHED_MAX:
            self._until.clear()
        end = at + _QUIET
        if next_due is None or next_due >= end:
            self._until[customer_sid] = end
        else:
            self._until.pop(customer_sid, None)

    def forget(self) -> None:
        """Look everybody up again."""
        self._until.clear()


class Bindings:
    """Move bindings and write acceptances."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._quiet = QuietCache()

    # Notices

    async def notify_batch(self, tx: Tx, version_sid: str, at: datetime) -> int:
        """Send the change notice to customers that have none yet and return how many were left over at most."""
        version = await documents.require(tx, version_sid)
        waiting = await store.bindings_without_notice(tx, version_sid, _BATCH)
        if not waiting:
            return 0
        notice = await documents.change_notice(tx, version_sid, None)
        lines = [f"- {change.clause[:80]}: {change.kind}" for change in notice.changes[:_LISTED_MAX]]
        subject = f"Change of {version.document}: {version.label}"
        for binding in waiting:
            body = (
                f"A new version of {version.document} ({version.label}) was published on {version.published_on}. "
                f"It applies to you from {version.existing_effective_on} at the earliest"
                f"{', and not before 30 days after this notice' if version.needs_notice else ''}. "
                f"Read it at /legal/{version.document}/versions/{version.sid}. Using the services from that day on "
                "accepts it; if you do not agree, decline it and stop using them.\n\nChanged clauses:\n"
                + "\n".join(lines)
            )
            sid = await self._notify(tx, binding.customer_sid, NOTICE_KIND, subject, body, "legal", at)
            await store.put_binding(tx, binding.customer_sid, replace(binding, notice_sid=sid), at)
        return len(waiting)

    async def notice_given(self, tx: Tx, notice_sid: str, given_on: date, at: datetime) -> bool:
        """Take in that a notice was given; False when it is about no change of a text."""
        binding = await store.binding_of_notice(tx, notice_sid)
        if binding is None:
            return False
        version = await documents.require(tx, binding.version_sid)
        day = effective_on(version, given_on)
        told = replace(binding, given_on=given_on, effective_on=day)
        moved = await self._move(tx, told, version, "notice_given", "notices", {"given_on": given_on.isoformat()}, at)
        if moved is None:
            # It took effect without waiting; the notice is evidence only.
            await store.put_binding(tx, binding.customer_sid, replace(binding, given_on=given_on), at)
        elif day is not None:
            job = jobs.NewJob(documents.REACH_TASK, {"version_sid": version.sid}, due_at=start_of(day))
            await jobs.enqueue(tx, [job], at)
        tx.after_commit(self._quiet.forget)
        return True

    async def notice_void(self, tx: Tx, notice_sid: str, at: datetime) -> bool:
        """Take in that a notice bounced: what hangs on it falls; False when it is about no change of a text."""
        binding = await store.binding_of_notice(tx, notice_sid)
        if binding is None:
            return False
        version = await documents.require(tx, binding.version_sid)
        # Without notice, it may be sent again; what needs none keeps its own day.
        back = replace(binding, notice_sid=None, given_on=None, effective_on=effective_on(version, None))
        if await self._move(tx, back, version, "notice_void", "notices", {"notice_sid": notice_sid}, at) is None:
            kept = replace(binding, notice_sid=None, given_on=None)
            await store.put_binding(tx, binding.customer_sid, kept, at)
        tx.after_commit(self._quiet.forget)
        return True

    # Days and use

    async def reach(self, tx: Tx, version_sid: str, at: datetime) -> int:
        """Make a version effective for whomever its day has come, and return for how many."""
        version = await documents.require(tx, version_sid)
        due = await store.due_bindings(tx, version_sid, day_of(at), ("pending", "noticed"))
        for binding in due:
            await self._move(tx, binding, version, "day_reached", "timer", {}, at)
        tx.after_commit(self._quiet.forget)
        return len(due)

    def is_quiet(self, customer_sid: str, at: datetime) -> bool:
        """Tell, without the database, that `note_use` has nothing to do."""
        return self._quiet.is_quiet(customer_sid, at)

    async def note_use(self, tx: Tx, customer_sid: str, request_id: str, at: datetime, *, ip: str = "") -> int:
        """Take a use of the services as acceptance of every version whose day has come, and return of how many."""
        if self.is_quiet(customer_sid, at):
            return 0
        await store.lock_customer(tx, customer_sid)
        accepted, next_due = 0, None
        for binding in await store.bindings(tx, customer_sid):
            if binding.effective_on is None or binding.state in ("accepted", "declined"):
                continue
            due = start_of(binding.effective_on)
            if due > at:
                next_due = due if next_due is None else min(next_due, due)
                continue
            version = await documents.require(tx, binding.version_sid)
            reached = await self._move(tx, binding, version, "day_reached", "use", {}, at) or binding
            if move(reached.state, "use", version) is not None:
                evidence = customers.Consent("use of the services", "", False, ip, request_id)
                await self._write_acceptance(tx, customer_sid, version, "continued_use", evidence, reached, "use", at)
                accepted += 1
        tx.after_commit(partial(self._quiet.remember, customer_sid, at, next_due))
        return accepted

    # Acceptance

    async def current(self, tx: Tx, document: str, at: datetime) -> str | None:
        """Return the version of a document that binds whoever accepts it now, or None."""
        found = await store.public_version(tx, document, day_of(at))
        return None if found is None else found.sid

    async def accept(
        self, tx: Tx, customer_sid: str, version_sid: str, mode: str, consent: customers.Consent, at: datetime
    ) -> str:
        """Accept a version by click or signature, and with the terms everything linked to them; return its SID.

        Raises: NotFound; InvalidParameter; Unprocessable without authority; Conflict for an older version than binds.
        """
        version = await documents.require(tx, version_sid)
        if mode not in ("click", "signature"):
            raise InvalidParameter("'mode' must be click or signature")
        if version.state != "published":
            raise NotFound(f"The version {version_sid} was not found")
        if not consent.authority or not consent.actor.strip() or not consent.role.strip():
            raise Unprocessable("Say who accepts, in which role, and that they may", "5.1", "authority_missing")
        await store.lock_customer(tx, customer_sid)
        known = [one for one in await store.acceptances(tx, customer_sid) if one.version_sid == version_sid]
        if known:
            return known[0].sid
        in_force = await version_in_force(tx, customer_sid, at, version.document)
        if in_force is not None and (in_force.number or 0) > (version.number or 0):
            raise Conflict("A later version is in force already", "P.13", "version_superseded")
        found = {one.version_sid: one for one in await store.bindings(tx, customer_sid)}
        began = found.get(version_sid) or Binding(
            customer_sid, version_sid, version.document, "pending", None, None, None
        )
        chosen: Mode = "click" if mode == "click" else "signature"
        return await self._write_acceptance(tx, customer_sid, version, chosen, consent, began, "accept", at)

    async def decline(self, tx: Tx, customer_sid: str, version_sid: str, actor: str, at: datetime) -> Binding:
        """Decline a version: the earlier text holds until its day, and the customer is wound down.

        Raises: NotFound for a version that is nothing to this customer; Conflict once it was accepted.
        """
        version = await documents.require(tx, version_sid)
        found = {one.version_sid: one for one in await store.bindings(tx, customer_sid)}
        if version_sid not in found:
            raise NotFound(f"The version {version_sid} was not found")
        moved = await self._move(tx, found[version_sid], version, "decline", actor, {}, at)
        if moved is None:
            raise Conflict(f"The version is {found[version_sid].state}", "P.13", "cannot_decline")
        day = moved.effective_on or version.existing_effective_on
        data = {"version_sid": version_sid, "document": version.document, "effective_on": str(day)}
        await customers.announce(tx, customer_sid, events.AGREEMENT_DECLINED, data, at)
        return moved

    async def _write_acceptance(
        self,
        tx: Tx,
        customer_sid: str,
        version: Version,
        mode: Mode,
        consent: customers.Consent,
        binding: Binding,
        event: Event,
        at: datetime,
    ) -> str:
        bundle = {version.document: version.sid}
        sid = new_sid("AP", at)
        if version.document == "tos":
            for document, linked_sid in (await store.linked_public_versions(tx, day_of(at))).items():
                in_force = await version_in_force(tx, customer_sid, at, document)
                if in_force is None:
                    linked = await documents.require(tx, linked_sid)
                    new = Binding(customer_sid, linked_sid, document, "pending", None, None, None)
                    await self._write_acceptance(tx, customer_sid, linked, mode, consent, new, "accept", at)
                    in_force = linked
                bundle[document] = in_force.sid
        evidence = {"mode": mode, "sha256": version.sha256, "ip": consent.ip, "request_id": consent.request_id}
        moved = await self._move(tx, binding, version, event, consent.actor, evidence, at)
        assert moved is not None and moved.state == "accepted", "whoever asks has looked at the table"
        acceptance = Acceptance(
            customer_sid,
            sid,
            version.document,
            version.sid,
            version.sha256,
            mode,
            at,
            consent.actor,
            consent.role,
            consent.authority,
            consent.ip,
            consent.request_id,
            bundle,
        )
        await store.insert_acceptance(tx, customer_sid, acceptance)
        if version.document == "tos":
            await self._begin_agreement(tx, customer_sid, at)
            data = {"version_sid": version.sid, "acceptance_sid": sid, "mode": mode}
            await customers.announce(tx, customer_sid, events.AGREEMENT_ACCEPTED, data, at)
        return sid

    async def _begin_agreement(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        held = await store.agreements(tx, customer_sid)
        if any(row["kind"] == "online" and row["state"] == "active" for row in held):
            return
        row = {
            "sid": new_sid("AG", at),
            "kind": "online",
            "title": "Online terms",
            "services": [],
            "binding_md": "",
            "from_on": day_of(at),
            "until_on": None,
            "effective_at": at,
        }
        await store.insert_agreement(tx, customer_sid, row)

    async def _move(
        self,
        tx: Tx,
        binding: Binding,
        version: Version,
        event: Event,
        actor: str,
        evidence: dict[str, str],
        at: datetime,
    ) -> Binding | None:
        """Move a binding by the table and write it down; None where the event changes nothing."""
        row = move(binding.state, event, version)
        if row is None:
            return None
        moved = replace(binding, state=row.next, declined_at=at if event == "decline" else binding.declined_at)
        await store.put_binding(tx, binding.customer_sid, moved, at)
        entry = audit.AuditEvent(
            scope=binding.customer_sid,
            actor=actor,
            aggregate="binding",
            aggregate_sid=version.sid,
            from_state=binding.state,
            to_state=moved.state,
            cause=event,
            evidence=dict(evidence),
        )
        await audit.record(tx, [entry], at)
        if "tell" in row.effects:
            data = {"version_sid": version.sid, "document": version.document, "state": moved.state}
            await customers.announce(tx, binding.customer_sid, events.VERSION_EFFECTIVE, data, at)
        return moved


async def version_in_force(tx: Tx, customer_sid: str, at: datetime, document: str = "tos") -> Version | None:
    """Return the version of a document that governs a customer at an instant, or None where none does yet."""
    for version, binding, accepted_at in await store.candidates(tx, customer_sid, document):
        since = binds_at(version, binding, accepted_at)
        if since is not None and since <= at:
            return version
    return None


async def is_bound(tx: Tx, customer_sid: str, at: datetime) -> bool:
    """Tell whether a customer has terms in force and did not decline the ones whose day has come."""
    if await version_in_force(tx, customer_sid, at) is None:
        return False
    found = await store.candidates(tx, customer_sid, "tos")
    declined = [binding for _, binding, _ in found if binding is not None and binding.state == "declined"]
    return not any(one.effective_on is not None and start_of(one.effective_on) <= at for one in declined)


async def pending(tx: Tx, customer_sid: str) -> list[Binding]:
    """List the versions that are on their way to a customer."""
    return [one for one in await store.bindings(tx, customer_sid) if one.state not in ("accepted", "declined")]


async def acceptances(tx: Tx, customer_sid: str) -> list[Acceptance]:
    """List what a customer accepted, in time."""
    return await store.acceptances(tx, customer_sid)
