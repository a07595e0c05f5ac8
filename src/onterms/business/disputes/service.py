"""Filing, cooperating, deciding."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from onterms.business import customers, invoicing, notices
from onterms.business.disputes import events, model, store
from onterms.business.disputes.errors import NoSuchDispute, NotAllowedNow, ReasonMissing, TooMuchDisputed
from onterms.business.disputes.model import Dispute, DisputedLine, Event, Task
from onterms.business.invoicing import Surroundings
from onterms.core.calendar import day_of, start_of
from onterms.core.db import Tx
from onterms.core.ids import new_sid
from onterms.core.money import minor_text
from onterms.engines import audit, jobs, log

TASK_DUE = "disputes.task_due"

# Returns the customer for which a contact may file from an account, or refuses (9.1.1).
Claimant = Callable[[Tx, str, str, datetime], Awaitable[str]]


class Disputes:
    """Disputes of invoiced fees.

    Shapes: `surroundings` is invoicing's; `claimant` decides who may file.
    """

    def __init__(self, surroundings: Surroundings, claimant: Claimant = customers.require_claimant) -> None:
        self._surroundings = surroundings
        self._claimant = claimant

    async def file(
        self,
        tx: Tx,
        account_sid: str,
        contact_sid: str,
        invoice_sid: str,
        nets: Mapping[str, int],
        reason: str,
        at: datetime,
    ) -> Dispute:
        """File a dispute of amounts of an invoice's lines; their tax follows them.

        Raises: customers.TermsForbid for anybody but the customer's legal contact; invoicing.NoSuchInvoice;
        TooMuchDisputed.
        """
        customer_sid = await self._claimant(tx, account_sid, contact_sid, at)
        await invoicing.lock(tx, customer_sid)
        invoice = await invoicing.require(tx, customer_sid, invoice_sid)
        # Refuses what is no line of fees as well.
        shares = await invoicing.shares_of(tx, invoice, nets)
        left = await invoicing.left_of(tx, invoice)
        before = await store.disputed_nets(tx, customer_sid, invoice_sid)
        for ref, net in nets.items():
            if before.get(ref, 0) + net > left[ref]:
                raise TooMuchDisputed(ref)
        disputed = tuple(DisputedLine(ref, net, sum(shares[ref].values())) for ref, net in sorted(nets.items()))
        filed_on, until = day_of(at, self._surroundings.zone), model.deadline(invoice.issued_on)
        sid = new_sid("DI", at)
        in_time = filed_on <= until
        total = sum(line.net + line.tax for line in disputed)
        withheld = 0
        if in_time:
            withheld = await invoicing.withhold(tx, self._surroundings, customer_sid, invoice_sid, sid, total, at)
        dispute = Dispute(
            customer_sid,
            sid,
            invoice_sid,
            model.MOVES["filed", "file_in_time" if in_time else "file_late"].next,
            1,
            invoice.currency,
            reason,
            contact_sid,
            at,
            filed_on,
            until,
            total,
            withheld,
            0,
            in_time,
            0,
            None,
            None,
            "",
            disputed,
        )
        await store.insert(tx, customer_sid, dispute)
        evidence = {
            "invoice": invoice_sid,
            "amount": minor_text(total, invoice.currency),
            "withheld": minor_text(withheld, invoice.currency),
            "deadline": until.isoformat(),
        }
        await self._record(tx, dispute, contact_sid, "filed", "filed", evidence, at)
        data = {"invoice_sid": invoice_sid, "state": dispute.state}
        await log.append(tx, [events.of_customer(events.DISPUTE_FILED, customer_sid, sid, data)], at)
        return dispute

    # ---- cooperation

    async def ask(
        self, tx: Tx, customer_sid: str, sid: str, subject: str, due_on: date, actor: str, at: datetime
    ) -> Task:
        """Ask the customer for something by a day, with a notice to its legal contacts."""
        dispute = await self._moving(tx, customer_sid, sid, "ask")
        task = Task(customer_sid, sid, new_sid("DT", at), subject, due_on, "open", "", at)
        await store.insert_task(tx, customer_sid, task)
        body = f"To decide your dispute {sid} we need from you by the end of {due_on.isoformat()}:\n{subject}\n"
        await self._notify(tx, dispute, "Your dispute: we need something from you", body, at)
        due_at = start_of(due_on + timedelta(days=1), self._surroundings.zone)
        payload = {"customer_sid": customer_sid, "dispute_sid": sid}
        await jobs.enqueue(tx, [jobs.NewJob(TASK_DUE, payload, due_at=due_at)], at)
        await self._save(tx, dispute, "ask", actor, {"task": task.sid, "due_on": due_on.isoformat()}, at)
        return task

    async def answer(self, tx: Tx, customer_sid: str, sid: str, task_sid: str, text: str, at: datetime) -> Dispute:
        """Answer what was asked for."""
        dispute = await self._moving(tx, customer_sid, sid, "answer")
        if not await store.end_task(tx, customer_sid, sid, task_sid, "answered", text):
            raise NotAllowedNow("There is no such task to answer")
        if any(task.state == "open" for task in await store.tasks(tx, customer_sid, sid)):
            return dispute
        return await self._save(tx, dispute, "answer", "customer", {"task": task_sid}, at)

    async def miss(self, tx: Tx, customer_sid: str, sid: str, at: datetime) -> Dispute:
        """Note what was not answered in time; what follows is the operator's to determine."""
        dispute = await self.require(tx, customer_sid, sid)
        missed = await store.miss_tasks(tx, customer_sid, sid, day_of(at, self._surroundings.zone))
        if missed:
            dispute = replace(dispute, missed=dispute.missed + missed)
            await store.update(tx, customer_sid, dispute)
            if dispute.missed >= model.MISSED_MIN:
                subject = f"Dispute {sid}: {dispute.missed} requests were not answered; determine whether it cooperates"
                day = day_of(at, self._surroundings.zone)
                await notices.open_task(tx, "dispute_conduct", subject, day, at, customer_sid=customer_sid, ref=sid)
        return dispute

    async def find_uncooperative(
        self, tx: Tx, customer_sid: str, sid: str, by: str, reasons: str, at: datetime
    ) -> Dispute:
        """Determine that the customer does not cooperate: what it withholds is due from this day on.

        Raises: NotAllowedNow before two tasks were missed; ReasonMissing.
        """
        dispute = await self._moving(tx, customer_sid, sid, "fail_to_cooperate", by, reasons)
        dispute = await self.miss(tx, customer_sid, dispute.sid, at)
        if dispute.missed < model.MISSED_MIN:
            raise NotAllowedNow(f"The customer has not missed {model.MISSED_MIN} tasks")
        today = day_of(at, self._surroundings.zone)
        await self._make_due(tx, dispute, at, back_from=today)
        await self._notify(tx, dispute, "Your dispute: you did not cooperate", f"By {by}: {reasons}\n", at)
        dispute = replace(dispute, shielded=False)
        return await self._save(tx, dispute, "fail_to_cooperate", by, {"reasons": reasons}, at)

    async def find_bad_faith(self, tx: Tx, customer_sid: str, sid: str, by: str, reasons: str, at: datetime) -> Dispute:
        """Determine that a dispute is not reasonable or not in good faith: it never had a shield.

        Raises: ReasonMissing, NotAllowedNow.
        """
        dispute = await self._moving(tx, customer_sid, sid, "find_bad_faith", by, reasons)
        if dispute.state == "uncooperative":
            await self._forget_shield(tx, dispute, at)
        else:
            await self._make_due(tx, dispute, at, back_from=dispute.filed_on)
        await self._notify(tx, dispute, "Your dispute: not in good faith", f"By {by}: {reasons}\n", at)
        dispute = replace(dispute, shielded=False, decided_by=by, decided_at=at, decision=reasons)
        return await self._save(tx, dispute, "find_bad_faith", by, {"reasons": reasons}, at)

    # ---- decisions

    async def withdraw(self, tx: Tx, customer_sid: str, sid: str, actor: str, at: datetime) -> Dispute:
        """Take a dispute back: what it withheld is due this day, with a notice of its own before anything follows."""
        dispute = await self._moving(tx, customer_sid, sid, "withdraw")
        await self._make_due(tx, dispute, at)
        return await self._save(tx, replace(dispute, decided_at=at), "withdraw", actor, {}, at)

    async def resolve(
        self,
        tx: Tx,
        customer_sid: str,
        sid: str,
        upheld: Mapping[str, int] | None,
        by: str,
        reasons: str,
        at: datetime,
    ) -> Dispute:
        """Decide a dispute: all upheld (None), amounts by line, or nothing (empty).

        What is upheld is credited with its tax and the late fee on it; the rest is due this day, with a fresh notice
        and fresh 15 days.

        Raises: TooMuchDisputed, ReasonMissing, NotAllowedNow.
        """
        probe = await self.require(tx, customer_sid, sid)
        asked = {line.ref: line.net for line in probe.lines}
        nets = asked if upheld is None else {ref: net for ref, net in upheld.items() if net}
        for ref, net in nets.items():
            if not 0 < net <= asked.get(ref, 0):
                raise TooMuchDisputed(ref)
        event: Event = "reject" if not nets else "uphold" if nets == asked else "uphold_partly"
        dispute = await self._moving(tx, customer_sid, sid, event, by, reasons)
        credited = 0
        if nets:
            note = await invoicing.credit(
                tx,
                self._surroundings,
                customer_sid,
                dispute.invoice_sid,
                nets,
                f"Dispute {sid}",
                by,
                at,
                disputed_part=sid if await self._is_withheld(tx, dispute) else None,
                # Other credits may have moved a cent of tax since it was filed.
                tax_max=sum(line.tax for line in dispute.lines if line.ref in nets),
            )
            credited = note.total
            # Invariant: a dispute credits at most what was disputed.
            assert credited <= dispute.micros, "a dispute's credit is within what was disputed"
        await self._make_due(tx, dispute, at)
        dispute = replace(dispute, credited=credited, decided_by=by, decided_at=at, decision=reasons)
        body = f"Of {minor_text(dispute.micros, dispute.currency)} {dispute.currency} that you disputed, " + (
            f"{minor_text(credited, dispute.currency)} is credited.\n{reasons}\n"
        )
        await self._notify(tx, dispute, "Your dispute is decided", body, at)
        evidence = {"reasons": reasons, "credited": minor_text(credited, dispute.currency)}
        return await self._save(tx, dispute, event, by, evidence, at)

    async def require(self, tx: Tx, customer_sid: str, sid: str) -> Dispute:
        """Return a dispute of a customer.

        Raises: NoSuchDispute.
        """
        found = await store.fetch(tx, customer_sid, sid)
        if found is None:
            raise NoSuchDispute(sid)
        return found

    async def _moving(
        self, tx: Tx, customer_sid: str, sid: str, event: Event, by: str = "-", reasons: str = "-"
    ) -> Dispute:
        await invoicing.lock(tx, customer_sid)
        found = await self.require(tx, customer_sid, sid)
        if (found.state, event) not in model.MOVES:
            raise NotAllowedNow(f"A dispute that is {found.state} cannot {event.replace('_', ' ')}")
        if not by.strip() or not reasons.strip():
            raise ReasonMissing
        return found

    async def _is_withheld(self, tx: Tx, dispute: Dispute) -> bool:
        parts = await invoicing.parts(tx, dispute.customer_sid, dispute.invoice_sid)
        return any(part.part == dispute.sid and part.disputed and part.fees > 0 for part in parts)

    async def _make_due(self, tx: Tx, dispute: Dispute, at: datetime, *, back_from: date | None = None) -> None:
        await invoicing.make_due(
            tx,
            self._surroundings,
            dispute.customer_sid,
            dispute.invoice_sid,
            dispute.sid,
            at,
            back_from=back_from,
        )

    async def _forget_shield(self, tx: Tx, dispute: Dispute, at: datetime) -> None:
        """Make an uncooperative dispute's days before that determination count as well."""
        await invoicing.unshield(
            tx,
            self._surroundings,
            dispute.customer_sid,
            dispute.invoice_sid,
            dispute.sid,
            dispute.filed_on,
            at,
        )

    async def _notify(self, tx: Tx, dispute: Dispute, subject: str, body: str, at: datetime) -> None:
        new = notices.NewNotice(dispute.customer_sid, "dispute", subject, body, "legal", dispute.sid)
        await notices.send(tx, [new], at)

    async def _save(
        self, tx: Tx, dispute: Dispute, event: Event, actor: str, evidence: dict[str, Any], at: datetime
    ) -> Dispute:
        state = model.MOVES[dispute.state, event].next
        after = replace(dispute, state=state, version=dispute.version + 1)
        await store.update(tx, dispute.customer_sid, after)
        await self._record(tx, after, actor, dispute.state, event, evidence, at)
        data = {"from": dispute.state, "to": state}
        moved = events.of_customer(events.DISPUTE_MOVED, dispute.customer_sid, dispute.sid, data)
        await log.append(tx, [moved], at)
        return after

    async def _record(
        self, tx: Tx, dispute: Dispute, actor: str, before: str, cause: str, evidence: dict[str, Any], at: datetime
    ) -> None:
        event = audit.AuditEvent(
            dispute.customer_sid, actor, "dispute", dispute.sid, before, dispute.state, f"3.3.3 {cause}", evidence
        )
        await audit.record(tx, [event], at)
