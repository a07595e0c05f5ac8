"""Answering, announcing, enrolling, verifying, scanning."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from onterms.business.cases import Book, Case, Notices
from onterms.business.support import store
from onterms.business.support.errors import BetaDiscontinued, BetaNotEnrolled, NotVerified
from onterms.business.support.model import (
    ADVERSE_CHANGE,
    BETA,
    PARTNER,
    PRESS,
    PRIORITIES,
    RESELLER_BREACH,
    TICKET,
    VERIFICATION,
    code_digest,
    earliest_change_on,
    redact,
    removal_on,
    response_due,
)
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound, Refusal, Unavailable
from onterms.core.ids import new_sid, new_token
from onterms.engines import audit
from onterms.ports.malware_scanner import MalwareScanner, ScannerDown

# Suspends a customer for its reseller's breach and returns the suspension's SID; lifts it again.
Suspend = Callable[[Tx, str, str, datetime], Awaitable[str]]
Lift = Callable[[Tx, str, str, str, datetime], Awaitable[None]]
# Sets from when until when a customer is a partner.
SetPartner = Callable[[Tx, str, date | None, date | None, datetime], Awaitable[None]]
# Lists the customers that used an endpoint in the last 90 days.
Affected = Callable[[Tx, str, datetime], Awaitable[Sequence[str]]]
# Sends a code on paper to an address.
Letters = Callable[[Tx, str, str, str, datetime], Awaitable[None]]
# Japan asks for proof of identity before voice numbers are handed out (10.4.2).
VERIFIED_VOICE = frozenset(("JP",))

# Design of the terms, section 15: a change is told to who used what it changes in this time.
USED_WITHIN_DAYS = 90
# Some 200 bytes each.
_USES_MAX = 200_000


class Support:
    """The books of tickets, adverse changes, beta, resellers' breaches, partners, press and verification."""

    def __init__(
        self,
        notices: Notices,
        *,
        suspend: Suspend,
        lift: Lift,
        set_partner: SetPartner,
        affected: Affected,
        letters: Letters,
    ) -> None:
        self._notices = notices
        self._suspend_customer = suspend
        self._lift_suspension = lift
        self._set_partner = set_partner
        self._affected = affected
        self._letters = letters
        self.tickets = Book(
            TICKET,
            {
                "set_clock": self._set_clock,
                "record_breach": self._record_breach,
                "record_answer": self._record_answer,
            },
        )
        self.adverse = Book(ADVERSE_CHANGE, {"triage": self._triage, "tell_exempt": self._tell_exempt})
        self.betas = Book(BETA)
        self.resellers = Book(RESELLER_BREACH, {"suspend": self._suspend, "lift": self._lift})
        self.partners = Book(
            PARTNER,
            {
                "join": self._join,
                "send_guide": self._send_guide,
                "give_removal_notice": self._give_removal_notice,
                "leave": self._leave,
            },
        )
        self.press = Book(PRESS, {"consent": self._consent})
        self.verifications = Book(VERIFICATION, {"send_letter": self._send_letter, "forget_code": self._forget_code})

    async def set_plan(self, tx: Tx, name: str, targets: Any, at: datetime) -> None:
        """Write a new version of a support plan: minutes by priority.

        Raises: InvalidParameter.
        """
        try:
            read = msgspec.convert(targets, dict[str, int])
        except msgspec.ValidationError as error:
            raise InvalidParameter(f"'targets': {error}") from None
        if not read or read.keys() - set(PRIORITIES) or min(read.values()) < 1:
            raise InvalidParameter(f"'targets' must hold minutes for {', '.join(PRIORITIES)}")
        await store.set_plan(tx, name, read, at)

    async def announce_change(
        self,
        tx: Tx,
        title: str,
        endpoint: str,
        planned_on: date,
        at: datetime,
        *,
        breaking: bool,
        override_reason: str = "",
        exempt_reason: str = "",
    ) -> tuple[str, list[str]]:
        """Announce a change to those who used what it changes, and return its SID and their notices.

        Raises: Refusal (422) for a breaking one sooner than 60 days without a reason; InvalidParameter.
        """
        if exempt_reason not in ("", "security", "carrier", "law"):
            raise InvalidParameter("'exempt_reason' must be security, carrier or law")
        today = day_of(at)
        earliest = earliest_change_on(today)
        if breaking and planned_on < earliest and not override_reason.strip():
            details = {"clause": "2.4", "reason": "too_soon", "earliest_on": earliest.isoformat()}
            raise Refusal("A breaking change is announced 60 days before", status=422, details=details)
        sid = new_sid("CG", at)
        await store.insert_change(tx, sid, title, endpoint, breaking, planned_on, today, override_reason, exempt_reason)
        told = []
        for customer_sid in await self._affected(tx, endpoint, at):
            body = f"{title}: planned for {planned_on.isoformat()}, it changes {endpoint}."
            told.append(
                await self._notices.send(tx, customer_sid, "service_change", "Change of a service", body, "product", at)
            )
        return sid, told

    async def require_beta(self, tx: Tx, customer_sid: str, service: str) -> None:
        """Let those use a beta who opted in (2.5).

        Raises: BetaNotEnrolled, BetaDiscontinued.
        """
        states = [case.state for case in await self.betas.list(tx, customer_sid) if case.facts["service"] == service]
        if "enrolled" in states or "graduated" in states:
            return
        if "discontinued" in states:
            raise BetaDiscontinued(service)
        raise BetaNotEnrolled(service)

    async def require_verified(self, tx: Tx, customer_sid: str, country: str) -> None:
        """Let those buy a voice number whose identity is verified where the country asks for it.

        Raises: NotVerified.
        """
        if country not in VERIFIED_VOICE:
            return
        found = await self.verifications.list(tx, customer_sid, ["verified"])
        if not any(case.facts["country"] == country for case in found):
            raise NotVerified(country)

    async def make_public_record(
        self, tx: Tx, customer_sid: str, document: Any, topics: Sequence[str], actor: str, at: datetime
    ) -> tuple[str, Any, int]:
        """Make the copy of a document that may be disclosed: (SID, copy, places masked)."""
        copy, masked = redact(document, topics)
        sid = new_sid("RD", at)
        digest = hashlib.sha256(msgspec.json.encode(document, order="sorted")).digest()
        await store.insert_record(tx, customer_sid, sid, digest, copy, masked, at)
        evidence = {"sha256": digest.hex(), "masked": masked}
        entry = audit.AuditEvent(customer_sid, actor, "public_record", sid, None, "redacted", "10.1.2", evidence)
        await audit.record(tx, [entry], at)
        return sid, copy, masked

    # Effects

    async def _set_clock(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        targets = await store.plan(tx, case.facts["plan"], at)
        due = None if targets is None else response_due(at, targets, case.facts["priority"])
        if due is None:
            raise InvalidParameter("This plan promises no answer for this priority")
        return {"due_at": due.isoformat(), "breached": False}

    async def _record_breach(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        return {"breached": True}

    async def _record_answer(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        minutes = int((at - case.opened_at).total_seconds()) // 60
        return {"answered_at": at.isoformat(), "minutes_to_answer": minutes, "breached": at > case.instant("due_at")}

    async def _triage(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        found = await store.changes(tx, case.facts["change_sid"])
        if not found:
            raise NotFound(f"The change {case.facts['change_sid']} was not found")
        return {"exempt_reason": found[0]["exempt_reason"]}

    async def _tell_exempt(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        body = f"The change {case.facts['change_sid']} was required for this reason: {case.facts['exempt_reason']}."
        sid = await self._notices.send(
            tx, case.customer_sid, "adverse_change", "Your report of a change", body, "product", at
        )
        return {"notice_sid": sid}

    async def _suspend(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        why = (
            f"{case.facts['reseller']} was not paid; reported by {case.facts['reported_by']}: {case.facts['evidence']}"
        )
        return {"suspension_sid": await self._suspend_customer(tx, case.customer_sid, why, at)}

    async def _lift(self, tx: Tx, case: Case, at: datetime) -> None:
        await self._lift_suspension(tx, case.customer_sid, case.facts["suspension_sid"], case.facts["reason"], at)

    async def _join(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        await self._set_partner(tx, case.customer_sid, day_of(at), None, at)
        return {"member_since": day_of(at).isoformat()}

    async def _send_guide(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        body = f"The guide {case.facts['guide']} has a new version: {case.facts['guide_version']}."
        sid = await self._notices.send(tx, case.customer_sid, "partner_guide", "New programme guide", body, "legal", at)
        return {"notice_sid": sid}

    async def _give_removal_notice(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        on = removal_on(day_of(at))
        body = f"Your membership of {case.facts['programme']} ends on {on.isoformat()}."
        sid = await self._notices.send(tx, case.customer_sid, "partner_removal", "End of membership", body, "legal", at)
        return {"notice_sid": sid, "removal_on": on.isoformat()}

    async def _leave(self, tx: Tx, case: Case, at: datetime) -> None:
        await self._set_partner(tx, case.customer_sid, case.day("member_since"), case.day("removal_on"), at)

    async def _consent(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        return {"consented_by": case.facts["moved_by"]}

    async def _send_letter(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        code = new_token(10)
        await self._letters(tx, case.customer_sid, case.facts["address"], code, at)
        return {"code_sha256": code_digest(code)}

    async def _forget_code(self, tx: Tx, case: Case, at: datetime) -> Mapping[str, Any]:
        return {"code": ""}


class MediaGate:
    """Scans what comes in (1.7, 2.1(e))."""

    def __init__(self, scanner: MalwareScanner, *, fail_closed: bool = True) -> None:
        self._scanner = scanner
        self._fail_closed = fail_closed

    async def look(self, content: bytes) -> str | None:
        """Return the name of what was found, or None.

        Raises: Unavailable where the scanner is down and nothing passes unscanned.
        """
        try:
            return await self._scanner.scan(content)
        except ScannerDown:
            if self._fail_closed:
                raise Unavailable(
                    "The content cannot be scanned now", details={"clause": "2.1(e)", "reason": "scanner_down"}
                ) from None
            return None

    async def record(self, tx: Tx, customer_sid: str, subject: str, found: str, content: bytes, at: datetime) -> None:
        """Write down that content was rejected, for what was found in it."""
        evidence = {"found": found, "sha256": hashlib.sha256(content).hexdigest()}
        entry = audit.AuditEvent(customer_sid, "scanner", "media", subject, None, "rejected", "1.7", evidence)
        await audit.record(tx, [entry], at)

    async def inspect(self, tx: Tx, customer_sid: str, subject: str, content: bytes, at: datetime) -> str | None:
        """Return the name of what was found, having recorded it; the caller rejects the content then.

        Shapes: a value and no refusal, so that the record is committed.

        Raises: Unavailable, as `look`.
        """
        found = await self.look(content)
        if found is not None:
            await self.record(tx, customer_sid, subject, found, content, at)
        return found


class EndpointUses:
    """Which account used which operation, noted in memory and written now and then (2.4)."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], date] = {}
        self._new: set[tuple[str, str, date]] = set()

    def note(self, account_sid: str, operation: str, at: datetime) -> None:
        """Note a use; the first of a day costs something, the others nearly nothing."""
        day = day_of(at)
        if self._known.get((account_sid, operation)) == day:
            return
        if len(self._known) >= _USES_MAX:
            self._known.clear()
        self._known[account_sid, operation] = day
        self._new.add((account_sid, operation, day))

    async def flush(self, tx: Tx) -> None:
        """Write what was noted since the last time."""
        written = sorted(self._new)
        if written:
            # One row for each, the last day: a clock may have moved by days since the last time.
            last = {(account_sid, operation): day for account_sid, operation, day in written}
            await store.note_uses(tx, [(*key, day) for key, day in last.items()])
            tx.after_commit(lambda: self._new.difference_update(written))

    async def users_of(self, tx: Tx, operations: Sequence[str], at: datetime) -> list[str]:
        """Return the accounts that used one of the operations in the last 90 days."""
        await self.flush(tx)
        return await store.users_of(tx, operations, day_of(at) - timedelta(days=USED_WITHIN_DAYS))


async def changes(tx: Tx) -> list[dict[str, Any]]:
    """List the announced changes, the public changelog."""
    days = ("planned_on", "announced_on")
    return [{**dict(row), **{name: row[name].isoformat() for name in days}} for row in await store.changes(tx)]
