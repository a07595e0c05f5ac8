"""Looking at what a customer owes and doing what follows.

Theory of operation
-------------------

`review` is the one way in: it is called when a clock runs out, when what a customer owes has changed, and when a notice
was given or voided. It reads the facts, walks the table, and acts or proposes as the operator's policy says. Calling it
again changes nothing.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from onterms.business import customers, invoicing, notices, standing
from onterms.business.collections import events, model, store
from onterms.business.collections.errors import NoSuchProposal, TooEarly
from onterms.business.collections.model import (
    Assessed,
    Dunning,
    Fee,
    LateNotice,
    LegalRate,
    Mode,
    Policy,
    Proposal,
    State,
)
from onterms.business.invoicing import Part
from onterms.core.calendar import anniversaries, day_of, plus_months, start_of
from onterms.core.db import Tx
from onterms.core.ids import new_sid
from onterms.core.money import minor_text
from onterms.engines import audit, jobs, ledger, log
from onterms.engines.ledger import Transaction, templates

REVIEW_TASK = "collections.review"
SOURCE = "collections"
_SUSPENSION = "suspension"
_NEW_ACCOUNTS = "past_due_fees"
_PartKey = tuple[str, str]
# Returns the last day of the cure that began with a notice on a day; None while the customer is excused (9.8).
Cure = Callable[[Tx, str, date], Awaitable[date | None]]


async def _plain_cure(tx: Tx, customer_sid: str, given_on: date) -> date | None:
    return model.cure_until(given_on)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a customer owes and was told, on a day.

    Shapes: `late` are parts with undisputed Fees after their due day; `holding` is the notice that stands for a part.
    """

    today: date
    parts: tuple[Part, ...]
    notices: tuple[LateNotice, ...]

    @property
    def late(self) -> list[Part]:
        """Return the parts with undisputed Fees past due."""
        return [part for part in self.parts if not part.disputed and part.fees > 0 and self.today > part.due_on]

    @property
    def holding(self) -> dict[_PartKey, LateNotice]:
        """Return the notice that stands for each part: the first that was given and not voided."""
        found: dict[_PartKey, LateNotice] = {}
        for notice in self.notices:
            if notice.given_on is not None and notice.voided_at is None:
                found.setdefault((notice.invoice_sid, notice.part), notice)
        return found

    def cured(self, notice: LateNotice) -> bool:
        """Tell whether the cure of a notice is over."""
        return notice.cure_until is not None and self.today > notice.cure_until

    @property
    def breached(self) -> list[tuple[Part, LateNotice]]:
        """Return the late parts whose cure is over, each with its notice."""
        holding = self.holding
        found = [(part, holding.get((part.invoice_sid, part.part))) for part in self.late]
        return [(part, notice) for part, notice in found if notice is not None and self.cured(notice)]

    def target(self, state: State) -> State:
        """Return where the customer should be, coming from a state."""
        if not self.late:
            return "clear"
        noticed = [part for part in self.late if (part.invoice_sid, part.part) in self.holding]
        if state == "suspended" and noticed:
            # It lasts until all Fees due are paid or disputed, not only those it began with.
            return "suspended"
        if self.breached:
            return "breached"
        return "cure" if noticed else "past_due"


class Collections:
    """Dunning of customers.

    Shapes: `zone` is the operator's billing zone; `cure` tells how long a cure is, without one 15 days.
    """

    def __init__(self, *, zone: tzinfo = UTC, cure: Cure = _plain_cure) -> None:
        self._zone = zone
        self._cure = cure

    async def review(self, tx: Tx, customer_sid: str, at: datetime) -> Dunning:
        """Look at what a customer owes and do what follows by now."""
        await invoicing.lock(tx, customer_sid)
        await self._date_notices(tx, customer_sid, at)
        policy = await store.policy(tx)
        facts = await self._facts(tx, customer_sid, at)
        if not facts.parts:
            return await store.dunning(tx, customer_sid)
        await self._give_notice(tx, customer_sid, facts, policy, at)
        facts = await self._facts(tx, customer_sid, at)
        dunning = await self._walk(tx, customer_sid, facts, at)
        await self._assess_all(tx, customer_sid, facts, policy, at)
        if dunning.state == "breached" and policy.suspension == "auto":
            dunning = await self.suspend(tx, customer_sid, "policy", at)
        await self._propose_suspension(tx, customer_sid, facts, dunning, policy.suspension, at)
        return await self._set_clock(tx, customer_sid, facts, at)

    async def follow_notice(self, tx: Tx, type_: str, notice: notices.Notice, at: datetime) -> None:
        """Look again when one of our notices was given, voided or bounced; a follower of notices.Delivery."""
        if notice.kind == "late_payment":
            await self.review(tx, notice.customer_sid, at)

    async def _facts(self, tx: Tx, customer_sid: str, at: datetime) -> Facts:
        parts = tuple(await invoicing.parts(tx, customer_sid))
        return Facts(day_of(at, self._zone), parts, tuple(await store.notices(tx, customer_sid)))

    # ---- notices

    async def _date_notices(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        known = await store.notices(tx, customer_sid)
        given = await notices.given_on(tx, [notice.notice_sid for notice in known])
        for notice in known:
            day = given.get(notice.notice_sid)
            if day is not None:
                until = await self._cure(tx, customer_sid, day)
                is_new = notice.given_on is None or notice.voided_at is not None
                if is_new or until != notice.cure_until:
                    await store.date_notice(tx, customer_sid, notice.notice_sid, day, until, None)
                    cure = {"given_on": day.isoformat(), "cure_until": None if until is None else until.isoformat()}
                    before = "sent" if is_new else "cure"
                    await self._record(tx, customer_sid, notice.notice_sid, before, "cure", cure, at)
            elif notice.given_on is not None and notice.voided_at is None:
                await store.date_notice(tx, customer_sid, notice.notice_sid, notice.given_on, notice.cure_until, at)
                await self._record(tx, customer_sid, notice.notice_sid, "cure", "void", {}, at)

    async def _give_notice(self, tx: Tx, customer_sid: str, facts: Facts, policy: Policy, at: datetime) -> None:
        told = {(notice.invoice_sid, notice.part) for notice in facts.notices}
        for part in facts.late:
            key = (part.invoice_sid, part.part)
            if key in facts.holding:
                continue
            lost = [one for one in facts.notices if (one.invoice_sid, one.part) == key and one.voided_at is not None]
            # One that was sent is on its way, or its room asks the operator for a better address.
            if key in told and len(lost) < sum((one.invoice_sid, one.part) == key for one in facts.notices):
                continue
            if policy.notice == "auto" and not lost:
                await self.give_notice(tx, customer_sid, part, at)
            elif policy.notice != "off":
                # After a bounce a person looks first, or mails would go to a dead address for ever.
                await self._propose(tx, customer_sid, "notice", part, None, {"voided": len(lost)}, at)

    async def give_notice(self, tx: Tx, customer_sid: str, part: Part, at: datetime) -> str:
        """Send the notice that Fees are late; 15 days begin when it is given."""
        invoice = await invoicing.require(tx, customer_sid, part.invoice_sid)
        amount = f"{minor_text(part.fees, part.currency)} {part.currency}"
        body = (
            f"{amount} of invoice {invoice.number} was due by the end of {part.due_on.isoformat()} and is not paid.\n"
            f"Please pay within {model.CURE_DAYS} days of the date of this notice. After that a late fee may be "
            "charged and the services of all your accounts may be suspended until the fees due are paid in full.\n"
            "New accounts cannot be made until then.\n"
        )
        new = notices.NewNotice(
            customer_sid, "late_payment", f"Late payment of invoice {invoice.number}", body, "billing", invoice.sid
        )
        [notice_sid] = await notices.send(tx, [new], at)
        await store.insert_notice(tx, customer_sid, part.invoice_sid, part.part, notice_sid, at)
        await self._record(
            tx, customer_sid, notice_sid, None, "sent", {"invoice": part.invoice_sid, "amount": amount}, at
        )
        data = {"invoice_sid": part.invoice_sid, "part": part.part}
        await log.append(tx, [events.of_customer(events.LATE_NOTICE_SENT, customer_sid, notice_sid, data)], at)
        return notice_sid

    # ---- states

    async def _walk(self, tx: Tx, customer_sid: str, facts: Facts, at: datetime) -> Dunning:
        found = await store.dunning(tx, customer_sid)
        for event in model.path(found.state, facts.target(found.state)):
            move = model.MOVES[found.state, event]
            found = await self._moved(tx, found, move.next, event, at)
            for effect in move.effects:
                await self._effect(tx, customer_sid, effect, at)
        return found

    async def _moved(
        self, tx: Tx, before: Dunning, state: State, cause: str, at: datetime, notice_sid: str | None = None
    ) -> Dunning:
        after = replace(before, state=state, version=before.version + 1, changed_at=at, notice_sid=notice_sid)
        await store.save(tx, before.customer_sid, after)
        evidence = {"version": after.version, "notice_sid": notice_sid}
        event = audit.AuditEvent(
            before.customer_sid, SOURCE, "dunning", before.customer_sid, before.state, state, cause, evidence
        )
        await audit.record(tx, [event], at)
        data = {"from": before.state, "to": state}
        sid = before.customer_sid
        await log.append(tx, [events.of_customer(events.DUNNING_MOVED, sid, sid, data)], at)
        return after

    async def _effect(self, tx: Tx, customer_sid: str, effect: str, at: datetime) -> None:
        match effect:
            case "block_new_accounts":
                await standing.set_block(
                    tx,
                    customer_sid,
                    SOURCE,
                    "new_accounts",
                    standing.WHOLE_CUSTOMER,
                    "past_due",
                    "3.3.2",
                    _NEW_ACCOUNTS,
                    at,
                )
            case "unblock_new_accounts":
                await standing.lift(tx, customer_sid, SOURCE, _NEW_ACCOUNTS, at)
            case "lift":
                await standing.lift(tx, customer_sid, SOURCE, _SUSPENSION, at)

    async def suspend(self, tx: Tx, customer_sid: str, actor: str, at: datetime) -> Dunning:
        """Suspend all accounts of a customer whose cure is over, on the notice that began it.

        Raises: TooEarly.
        """
        found = await store.dunning(tx, customer_sid)
        if found.state == "suspended":
            return found
        facts = await self._facts(tx, customer_sid, at)
        if found.state != "breached" or not facts.breached:
            raise TooEarly("No Fees are unpaid after the 15 days of a notice", "3.3.2(ii)")
        _, notice = facts.breached[0]
        await standing.set_block(
            tx,
            customer_sid,
            SOURCE,
            "everything",
            standing.WHOLE_CUSTOMER,
            "suspended",
            "3.3.2(ii)",
            _SUSPENSION,
            at,
            notice_sid=notice.notice_sid,
            actor=actor,
        )
        return await self._moved(tx, found, "suspended", f"suspend by {actor}", at, notice.notice_sid)

    # ---- late fees

    async def _assess_all(self, tx: Tx, customer_sid: str, facts: Facts, policy: Policy, at: datetime) -> None:
        for part, fee, start, before in await self._fees(tx, customer_sid, facts, policy):
            if "no_government_rate_on_file" in fee.flags:
                await self._propose(tx, customer_sid, "rate_missing", part, None, {"clause": "10.1.1"}, at)
            change = fee.micros - before
            # What was charged too much goes back whatever the policy.
            if change < 0 or (change > 0 and policy.late_fee == "auto"):
                await self._assess(tx, part, fee, start, facts.today, change, "policy", at)
                change = 0
            if policy.late_fee == "off":
                change = 0
            evidence = {"contract": minor_text(fee.contract, part.currency), "flags": list(fee.flags)}
            await self._propose(tx, customer_sid, "late_fee", part, change, evidence, at)

    async def _fees(self, tx: Tx, customer_sid: str, facts: Facts, policy: Policy) -> list[tuple[Part, Fee, date, int]]:
        assessed: dict[_PartKey, int] = {}
        for one in await store.fees(tx, customer_sid):
            assessed[one.invoice_sid, one.part] = assessed.get((one.invoice_sid, one.part), 0) + one.micros
        holding = facts.holding
        wanted = [
            part
            for part in facts.parts
            if (part.invoice_sid, part.part) in holding or (part.invoice_sid, part.part) in assessed
        ]
        if not wanted:
            return []
        customer = await customers.require(tx, customer_sid, facts.today)
        government = customer.government is not None
        places = [customer.country, f"{customer.country}-{customer.subdivision}"]
        rates = model.legal_rates(
            await store.legal_maxima(tx, places), customer.country, customer.subdivision, government
        )
        found: list[tuple[Part, Fee, date, int]] = []
        for part in wanted:
            key = (part.invoice_sid, part.part)
            notice = holding.get(key)
            before = assessed.get(key, 0)
            if notice is None or not facts.cured(notice) or notice.cure_until is None:
                # Its notice is void, so nothing was late.
                found.append((part, Fee(0, None, 0), facts.today, before))
                continue
            after = notice.cure_until if policy.fee_start == "cure_expiry" else part.due_on
            start = after + timedelta(days=1)
            moved = await invoicing.movements(tx, customer_sid, part.invoice_sid)
            in_cure = sum(each.fees for each in moved if each.part == part.part and each.on_day <= notice.cure_until)
            steps = [(each.on_day, each.fees) for each in moved if each.part == part.part]
            if in_cure <= 0:
                # Paid within the cure: nothing is charged, even where the policy counts from the due day.
                steps = []
            fee = model.late_fee(steps, start, facts.today, part.currency, rates, government=government)
            found.append((part, fee, start, before))
        return found

    async def _assess(
        self, tx: Tx, part: Part, fee: Fee, start: date, until: date, change: int, actor: str, at: datetime
    ) -> None:
        sid = new_sid("LF", at)
        customer_sid = part.customer_sid
        assessed = Assessed(
            customer_sid,
            sid,
            part.invoice_sid,
            part.part,
            part.currency,
            change,
            start,
            until,
            fee.contract,
            fee.legal,
            fee.flags,
            actor,
            at,
        )
        await store.insert_fee(tx, customer_sid, assessed)
        posting = Transaction(customer_sid, part.currency, f"{sid}/late-fee", templates.late_fee(change))
        await ledger.post(tx, [posting], at)
        invoice = await invoicing.require(tx, customer_sid, part.invoice_sid)
        name = f"Late fee on invoice {invoice.number}, {start.isoformat()} to before {until.isoformat()}"
        await invoicing.add_charge(tx, customer_sid, sid, "late_fee", name, part.currency, change, at)
        evidence = {
            "invoice": part.invoice_sid,
            "change": minor_text(change, part.currency),
            "cumulative": minor_text(fee.micros, part.currency),
            "contract": minor_text(fee.contract, part.currency),
            "legal": None if fee.legal is None else minor_text(fee.legal, part.currency),
            "flags": list(fee.flags),
        }
        event = audit.AuditEvent(customer_sid, actor, "late_fee", sid, None, "assessed", "3.3.2(i)", evidence)
        await audit.record(tx, [event], at)
        await log.append(tx, [events.of_customer(events.LATE_FEE_ASSESSED, customer_sid, sid, evidence)], at)

    # ---- proposals

    async def _propose_suspension(
        self, tx: Tx, customer_sid: str, facts: Facts, dunning: Dunning, mode: Mode, at: datetime
    ) -> None:
        wanted = dunning.state == "breached" and mode == "propose"
        open_ones = [one for one in await store.proposals(tx, customer_sid) if one.kind == "suspension"]
        if wanted and not open_ones:
            part, notice = facts.breached[0]
            evidence = {"notice_sid": notice.notice_sid, "cure_until": str(notice.cure_until)}
            await self._open(tx, customer_sid, "suspension", part.invoice_sid, part.part, None, evidence, at)
        if not wanted:
            for one in open_ones:
                await self._end(tx, one, "moot", SOURCE, at)

    async def _propose(
        self,
        tx: Tx,
        customer_sid: str,
        kind: str,
        part: Part,
        micros: int | None,
        evidence: Mapping[str, Any],
        at: datetime,
    ) -> None:
        open_ones = {(one.kind, one.invoice_sid, one.part): one for one in await store.proposals(tx, customer_sid)}
        before = open_ones.get((kind, part.invoice_sid, part.part))
        if micros == 0:
            if before is not None:
                await self._end(tx, before, "moot", SOURCE, at)
        elif before is None:
            await self._open(tx, customer_sid, kind, part.invoice_sid, part.part, (part.currency, micros), evidence, at)
        elif before.micros != micros:
            await store.renew_proposal(tx, customer_sid, before.sid, micros)

    async def _open(
        self,
        tx: Tx,
        customer_sid: str,
        kind: str,
        invoice_sid: str,
        part: str,
        amount: tuple[str, int | None] | None,
        evidence: Mapping[str, Any],
        at: datetime,
    ) -> None:
        sid = new_sid("CP", at)
        subject = f"Decide: {kind.replace('_', ' ')} for unpaid fees"
        task_sid = await notices.open_task(
            tx, f"collections_{kind}", subject, day_of(at, self._zone), at, customer_sid=customer_sid, ref=sid
        )
        currency, micros = amount or (None, None)
        body = {**evidence, "task_sid": task_sid}
        new = Proposal(customer_sid, sid, kind, invoice_sid, part, "open", currency, micros, body, at)
        await store.insert_proposal(tx, customer_sid, new)
        await log.append(tx, [events.of_customer(events.PROPOSAL_OPENED, customer_sid, sid, {"kind": kind})], at)

    async def _end(self, tx: Tx, one: Proposal, state: str, actor: str, at: datetime) -> None:
        await store.end_proposal(tx, one.customer_sid, one.sid, state, actor, at)
        with contextlib.suppress(notices.TaskDone):
            await notices.close_task(tx, one.evidence["task_sid"], actor, at, note=state)
        event = audit.AuditEvent(one.customer_sid, actor, "proposal", one.sid, "open", state, one.kind, {})
        await audit.record(tx, [event], at)
        await log.append(
            tx, [events.of_customer(events.PROPOSAL_DECIDED, one.customer_sid, one.sid, {"state": state})], at
        )

    async def decide(self, tx: Tx, customer_sid: str, sid: str, approve: bool, actor: str, at: datetime) -> Dunning:
        """Decide a proposal; what is approved happens on the facts of now. Waiting with it loses nothing (9.9).

        Raises: NoSuchProposal, TooEarly.
        """
        await self.review(tx, customer_sid, at)
        found = [one for one in await store.proposals(tx, customer_sid) if one.sid == sid]
        if not found:
            raise NoSuchProposal(sid)
        [one] = found
        if approve:
            await self._carry_out(tx, one, actor, at)
        await self._end(tx, one, "approved" if approve else "declined", actor, at)
        return await store.dunning(tx, customer_sid)

    async def _carry_out(self, tx: Tx, one: Proposal, actor: str, at: datetime) -> None:
        facts = await self._facts(tx, one.customer_sid, at)
        if one.kind == "suspension":
            await self.suspend(tx, one.customer_sid, actor, at)
        elif one.kind == "notice":
            for part in facts.late:
                if (part.invoice_sid, part.part) == (one.invoice_sid, one.part):
                    await self.give_notice(tx, one.customer_sid, part, at)
        elif one.kind == "late_fee":
            policy = await store.policy(tx)
            for part, fee, start, before in await self._fees(tx, one.customer_sid, facts, policy):
                if (part.invoice_sid, part.part) == (one.invoice_sid, one.part) and fee.micros != before:
                    await self._assess(tx, part, fee, start, facts.today, fee.micros - before, actor, at)

    # ---- the clock

    async def _set_clock(self, tx: Tx, customer_sid: str, facts: Facts, at: datetime) -> Dunning:
        days: list[date] = []
        for part in facts.parts:
            if part.fees <= 0 or part.disputed:
                continue
            notice = facts.holding.get((part.invoice_sid, part.part))
            if facts.today <= part.due_on:
                days.append(part.due_on + timedelta(days=1))
            elif notice is not None and notice.cure_until is not None:
                start = notice.cure_until + timedelta(days=1)
                # A late fee is counted by month.
                later = plus_months(start, anniversaries(start, facts.today)[0] + 1)
                days.append(later if facts.cured(notice) else start)
        wanted = min(days, default=None)
        found = await store.dunning(tx, customer_sid)
        if wanted == found.review_on:
            return found
        found = replace(found, review_on=wanted, changed_at=found.changed_at or at)
        await store.save(tx, customer_sid, found)
        if wanted is not None:
            due_at = start_of(wanted, self._zone)
            await jobs.enqueue(tx, [jobs.NewJob(REVIEW_TASK, {"customer_sid": customer_sid}, due_at=due_at)], at)
        return found

    async def _record(
        self,
        tx: Tx,
        customer_sid: str,
        notice_sid: str,
        from_state: str | None,
        to_state: str,
        evidence: dict[str, Any],
        at: datetime,
    ) -> None:
        event = audit.AuditEvent(
            customer_sid, SOURCE, "late_notice", notice_sid, from_state, to_state, "3.3.2", evidence
        )
        await audit.record(tx, [event], at)


async def standing_of(tx: Tx, customer_sid: str) -> Dunning:
    """Return where a customer stands."""
    return await store.dunning(tx, customer_sid)


async def set_policy(tx: Tx, policy: Policy, actor: str, at: datetime) -> None:
    """Set what happens by itself."""
    before = await store.policy(tx)
    await store.save_policy(tx, policy, actor, at)
    event = audit.AuditEvent(
        "operator", actor, "collection_policy", "policy", str(before), str(policy), "policy set", {}
    )
    await audit.record(tx, [event], at)


async def add_legal_maxima(tx: Tx, rates: Sequence[LegalRate], actor: str, at: datetime) -> None:
    """Put rates on file: what law allows at most, and what a government pays."""
    for rate in rates:
        await store.insert_legal_maximum(tx, rate, at)
        evidence = {"jurisdiction": rate.jurisdiction, "rate": rate.rate, "source": rate.source}
        event = audit.AuditEvent(
            "operator", actor, "legal_maximum", rate.jurisdiction, None, rate.applies_to, "rate filed", evidence
        )
        await audit.record(tx, [event], at)
