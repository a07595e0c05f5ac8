"""Monthly close: usage of the month becomes a numbered document that never changes, and is sent.

Theory of operation
-------------------

The close of a customer is a job at month end 00:00 of the billing zone plus a grace, in which usage of the last minutes
is rated; it enqueues the next month's. One transaction marks the usage, taxes the lines, takes the number, posts and
stores, so a number is never taken without its document. A reseller's close takes the usage of the customers it pays
for; each is a section. A month whose lines sum to less than nothing is carried to the next.
What was taken from a prepaid balance when it was used is on the document as paid; its taxes are due with it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal

from onterms.business import customers, notices, pricing, tax
from onterms.business.invoicing import events, model, store
from onterms.business.invoicing.errors import NoSuchInvoice
from onterms.business.invoicing.model import Capacity, Evidence, Invoice, Line, Party, Profile
from onterms.core.calendar import day_of, plus_months, start_of
from onterms.core.db import Row, Tx
from onterms.core.ids import new_sid
from onterms.core.money import minor_text
from onterms.engines import audit, jobs, ledger, log
from onterms.engines.ledger import Entry, Posting, Split, Transaction, templates

CLOSE_TASK = "invoicing.close"
SEND_TASK = "invoicing.send"
DUE_TASK = "invoicing.due"
SETTLE_TASK = "invoicing.settle"
# Design of the terms, section 8.
GRACE = timedelta(hours=6)

Facts = Callable[[Tx, str, str, date], Awaitable[tax.TaxFacts]]
Changed = Callable[[Tx, str, datetime], Awaitable[None]]
# Settles what is due in a currency from funds that the customer has with us: (tx, customer, currency, cause, at).
SettleCredit = Callable[[Tx, str, str, str, datetime], Awaitable[object]]
# Kinds of lines that are on the books since they were used; the others arise with a document.
_USED = frozenset({"fee", "communications_surcharge"})
_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class Surroundings:
    """What the room needs of others.

    Shapes: `tax_facts` tells of a customer, a selling entity and a day what taxes depend on; `contracting_entity` names
    the operator's entity of a customer; `party` tells who an entity is. Each of `changed` is called after what a
    customer owes has changed.
    """

    tax_facts: Facts
    contracting_entity: Callable[[Tx, str, datetime], Awaitable[str]]
    party: Callable[[Tx, str], Awaitable[Party]]
    zone: tzinfo = UTC
    changed: list[Changed] = field(default_factory=list)
    # None: the operator's own table of taxes.
    determination: tax.TaxDetermination | None = None
    # None: what a customer paid too much waits until its next payment.
    settle_credit: SettleCredit | None = None

    async def announce_change(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        """Let those who depend on what a customer owes look again."""
        for each in self.changed:
            await each(tx, customer_sid, at)


async def enroll(
    tx: Tx,
    surroundings: Surroundings,
    customer_sid: str,
    at: datetime,
    *,
    bill_to: str | None = None,
    issuer: str | None = None,
    capacity: Capacity = "principal",
    currency: str | None = None,
) -> Profile:
    """Bill a customer each month from this one on, or change how."""
    profile = Profile(customer_sid, bill_to, issuer, capacity, currency)
    if await store.save_profile(tx, customer_sid, profile, at):
        await _schedule(tx, surroundings, customer_sid, day_of(at, surroundings.zone), at)
    return profile


async def _schedule(tx: Tx, surroundings: Surroundings, customer_sid: str, in_month: date, at: datetime) -> None:
    until = plus_months(in_month.replace(day=1), 1)
    due_at = start_of(until, surroundings.zone) + GRACE
    payload = {"customer_sid": customer_sid, "until": until.isoformat()}
    await jobs.enqueue(tx, [jobs.NewJob(CLOSE_TASK, payload, due_at=due_at)], at)


async def close(tx: Tx, surroundings: Surroundings, customer_sid: str, until: date, at: datetime) -> list[Invoice]:
    """Close a customer's month that ends before `until` and return its documents, one a currency; once only."""
    await store.lock(tx, customer_sid)
    if not await store.begin_close(tx, customer_sid, until, at):
        return []
    await _schedule(tx, surroundings, customer_sid, until, at)
    profile = await store.profile(tx, customer_sid)
    if profile is None or profile.bill_to is not None:
        return []
    return await _Close(surroundings, profile, until, at).run(tx)


async def close_finally(tx: Tx, surroundings: Surroundings, customer_sid: str, at: datetime) -> list[Invoice] | None:
    """Bill all that is on no invoice at the end of an agreement, with the usual days to pay; None for who pays ahead.

    The month's own close still comes and takes what arrives late.
    """
    await store.lock(tx, customer_sid)
    profile = await store.profile(tx, customer_sid)
    if profile is None:
        return None
    if profile.bill_to is not None:
        # Who pays for this customer is billed for it by the month.
        return []
    last_on = day_of(at - timedelta(microseconds=1), surroundings.zone)
    waiting = [group for group in await pricing.unbilled(tx, customer_sid, at) if not group.earlier_period]
    since = min((group.first_at for group in waiting), default=at)
    # Also a month before, where its own close is still to come.
    period_from = min(last_on, day_of(since, surroundings.zone)).replace(day=1)
    until = last_on + timedelta(days=1)
    return await _Close(surroundings, profile, until, at, instant=at, period_from=period_from).run(tx)


class _Close:
    def __init__(
        self,
        surroundings: Surroundings,
        profile: Profile,
        until: date,
        at: datetime,
        *,
        instant: datetime | None = None,
        period_from: date | None = None,
    ) -> None:
        self.surroundings = surroundings
        self.profile = profile
        self.until = until
        self.at = at
        self.apart: Sequence[datetime] = ()
        self.instant = instant or start_of(until, surroundings.zone)
        self.period_from = period_from or plus_months(until, -1)
        # Source: the matrix, 3.3.2(a): an invoice bears the last day of its month.
        self.issued_on = until - timedelta(days=1)

    async def run(self, tx: Tx) -> list[Invoice]:
        sid = self.profile.customer_sid
        # Clause 3.2: a line is taxed or exempt as a whole, so none has usage from both sides of such a change.
        self.apart = await tax.turning_points(tx, sid)
        sections = [sid, *await store.billed_through(tx, sid)]
        # Locks in one order, for closes of resellers may meet.
        waiting = {section: await store.charges(tx, section) for section in sections}
        preview = [
            line for section in sections for line in self._lines(section, await self._unbilled(tx, section), waiting)
        ]
        sums: dict[str, int] = {}
        for currency, line in preview:
            sums[currency] = sums.get(currency, 0) + line.micros
        if not preview or any(total < 0 for total in sums.values()):
            return []
        document_sid = new_sid("IV", self.at)
        taken: list[tuple[str, Line]] = []
        for section in sections:
            groups = await pricing.mark_billed(tx, section, self.instant, document_sid, self.apart)
            taken += self._lines(section, groups, waiting)
        customer = await customers.require(tx, sid, self.issued_on)
        last = self.instant - timedelta(microseconds=1)
        terms = await pricing.payment_terms(tx, sid, customer.country, last, invoice_currency=self.profile.currency)
        made: list[Invoice] = []
        # The contract's currency takes the SID that pricing knows; others go beside it.
        for currency in sorted(sums, key=lambda code: (code != terms.currency, code)):
            lines = [line for code, line in taken if code == currency]
            own = document_sid if not made else new_sid("IV", self.at)
            made.append(await self._finalise(tx, own, document_sid, currency, terms.net_days, lines))
            for section in sections:
                sids = [row["sid"] for row in waiting[section] if row["currency"] == currency]
                await store.take_charges(tx, section, sids, own)
        await self.surroundings.announce_change(tx, sid, self.at)
        return made

    async def _unbilled(self, tx: Tx, section: str) -> list[pricing.UsageGroup]:
        return await pricing.unbilled(tx, section, self.instant, self.apart)

    def _lines(
        self, section: str, groups: Sequence[pricing.UsageGroup], waiting: dict[str, list[Row]]
    ) -> list[tuple[str, Line]]:
        found: list[tuple[str, Line]] = []
        for group in groups:
            rounded, _ = pricing.round_line(group.micros, group.currency)
            line = Line(
                ref="",
                kind=pricing.line_kind(group.kind),
                name=group.name,
                service=group.service,
                section=section,
                period=group.period,
                qty=group.qty,
                unit=group.unit,
                price=group.price,
                exact=group.micros,
                micros=rounded,
                supplied_at=group.last_at,
            )
            found.append((group.currency, line))
        for row in waiting[section]:
            amount = row["micros"]
            line = Line(
                "", row["kind"], row["name"], "", section, None, 1, "charge", amount, amount, amount, row["arose_at"]
            )
            found.append((row["currency"], line))
        return found

    async def _finalise(
        self, tx: Tx, sid: str, usage_sid: str, currency: str, net_days: int, drafts: Sequence[Line]
    ) -> Invoice:
        customer_sid = self.profile.customer_sid
        lines = [_numbered(line, str(place)) for place, line in enumerate(drafts, 1)]
        entity = await self.surroundings.contracting_entity(tx, customer_sid, self.at)
        issuer = self.profile.issuer or entity
        # Clause 9.1.2: who bills is the seller, so its country decides.
        known = await self.surroundings.tax_facts(tx, customer_sid, issuer, self.issued_on)
        facts = replace(known, currency=currency)
        taxable = [tax.TaxableLine(line.ref, _tax_kind(line.kind), line.micros, line.supplied_at) for line in lines]
        taxes = await tax.tax_lines(tx, customer_sid, taxable, facts, determination=self.surroundings.determination)
        for place, charge in enumerate(taxes.lines, 1):
            lines.append(tax_line(charge, f"T{place}", customer_sid, self.instant))
        invoice = Invoice(
            customer_sid=customer_sid,
            sid=sid,
            kind="invoice",
            number="",
            state="draft",
            issuer=issuer,
            capacity=self.profile.capacity,
            # Clause 9.1.2: an affiliate may bill for itself or as agent of the contracting entity.
            on_behalf_of=entity if self.profile.capacity == "agent" else None,
            currency=currency,
            period_from=self.period_from,
            period_to=self.until,
            issued_on=self.issued_on,
            due_on=pricing.due_on(self.issued_on, net_days),
            total=sum(line.micros for line in lines),
            body=b"",
            sha256="",
            usage_sid=usage_sid,
            notice_sid=None,
            created_at=self.at,
            lines=tuple(lines),
        )
        taken, settled = await self._from_balance(tx, currency, lines)
        await _post(tx, invoice, self.at, taken, settled)
        made = await finalise(tx, self.surroundings, invoice, self.at)
        if settled:
            made = await _settled_from_balance(tx, made, settled, self.at)
        if self.surroundings.settle_credit is not None and settled < made.total:
            payload = {"customer_sid": customer_sid, "currency": currency, "invoice_sid": sid}
            # In a transaction of its own: whoever moves money takes other locks first.
            await jobs.enqueue(tx, [jobs.NewJob(SETTLE_TASK, payload)], self.at)
        await tax.record_exempted(tx, customer_sid, sid, taxes.exempted, made.due_on)
        return made

    async def _from_balance(self, tx: Tx, currency: str, lines: Sequence[Line]) -> tuple[int, int]:
        """Return how much of a document's usage a prepaid balance paid when it was used: exactly, and on the document.

        What is unbilled on the books less what stays unbilled is owed; a customer that began to be invoiced within the
        month owes what it used since.
        """
        sid = self.profile.customer_sid
        used = [line for line in lines if line.section == sid and line.kind in _USED]
        exact = sum(line.exact for line in used)
        balance = await ledger.balance(tx, sid, currency)
        if balance is None or exact <= 0:
            return 0, 0
        stays = sum(
            group.micros
            for group in await pricing.unbilled(tx, sid, _EVER)
            if group.currency == currency and pricing.line_kind(group.kind) in _USED
        )
        arisen = sum(line.exact for line in lines if line.section == sid and line.kind == "late_fee")
        owed = balance.accounts.get("unbilled", 0) - stays - arisen
        taken = min(exact, max(0, exact - owed))
        if taken == exact:
            return exact, sum(line.micros for line in used)
        return taken, pricing.round_line(taken, currency)[0]


def _numbered(line: Line, ref: str) -> Line:
    return replace(line, ref=ref)


def _tax_kind(kind: str) -> Literal["fee", "commitment", "communications_surcharge", "penalty", "late_fee"]:
    match kind:
        case "fee" | "commitment" | "communications_surcharge" | "penalty":
            return kind
    return "late_fee"


def tax_line(charge: tax.TaxLine, ref: str, section: str, at: datetime) -> Line:
    name = f"{charge.kind} {charge.jurisdiction}" + (", reverse charge" if charge.reverse_charge else "")
    amount = charge.micros
    return Line(
        ref=ref,
        kind="tax",
        name=name,
        service="",
        section=section,
        period=None,
        qty=1,
        unit="tax",
        price=None,
        exact=amount,
        micros=amount,
        supplied_at=at,
        jurisdiction=charge.jurisdiction,
        base=charge.base,
        rate=charge.rate,
        taxed=charge.refs,
    )


async def _post(tx: Tx, invoice: Invoice, at: datetime, taken: int, settled: int) -> None:
    """Post a close: what was unbilled becomes a receivable, a reseller's customers' through clearing accounts.

    Shapes: `taken` is what a prepaid balance paid already, and `settled` what that is on the document.
    """
    exact: dict[str, int] = {}
    taxes: dict[str, int] = {}
    transactions: list[Transaction] = []
    for line in invoice.lines:
        if line.kind == "tax":
            taxes[line.jurisdiction or ""] = taxes.get(line.jurisdiction or "", 0) + line.micros
            continue
        exact[line.section] = exact.get(line.section, 0) + line.exact
        # Usage is on the books since it was captured; these have been rated only.
        if line.kind in ("commitment", "penalty") and line.exact:
            posting = (
                templates.commitment(line.exact)
                if line.kind == "commitment" and line.exact > 0
                else templates.rate_usage([Split(line.kind, fee=line.exact)])
            )
            key = f"{invoice.sid}/{line.ref}"
            transactions.append(Transaction(line.section, invoice.currency, key, posting))
    own = exact.pop(invoice.customer_sid, 0) - taken
    rounded = model.rounding(invoice.lines) - (settled - taken)
    key = f"{invoice.sid}/close"
    if not exact:
        posting = templates.invoice_close(invoice.sid, own, taxes, rounded)
    else:
        entries = [
            Entry("receivable", invoice.total - settled, invoice.sid),
            Entry("unbilled", -own),
            *(Entry(f"billed_for:{section}", -micros) for section, micros in sorted(exact.items())),
            *(Entry(f"tax_payable:{name}", -micros) for name, micros in sorted(taxes.items())),
            Entry("rounding", -rounded),
        ]
        posting = Posting("invoice_close", tuple(entry for entry in entries if entry.micros))
        for section, micros in sorted(exact.items()):
            if micros:
                passed = Posting(
                    "invoice_close",
                    (Entry(f"billed_to:{invoice.customer_sid}", micros), Entry("unbilled", -micros)),
                )
                transactions.append(Transaction(section, invoice.currency, key, passed))
    if posting.entries:
        transactions.append(Transaction(invoice.customer_sid, invoice.currency, key, posting))
    for customer_sid in sorted({each.customer_sid for each in transactions}):
        if await ledger.balance(tx, customer_sid, invoice.currency) is None:
            await ledger.open_balance(tx, customer_sid, invoice.currency, at, kind="invoiced")
    await ledger.post(tx, transactions, at)


async def _settled_from_balance(tx: Tx, invoice: Invoice, settled: int, at: datetime) -> Invoice:
    """Note what a prepaid balance paid of a document before it was made."""
    sid = invoice.customer_sid
    moved = model.Movement(invoice.sid, "", "payment", -settled, 0, invoice.issued_on, "prepaid balance")
    await store.add_movements(tx, sid, [moved], at)
    state = model.move(invoice.state, "pay_all" if settled == invoice.total else "pay_part")
    assert state is not None, "a document is finalised before it is paid"
    await store.set_state(tx, sid, invoice.sid, state)
    await record(tx, invoice, "system", invoice.state, state, "3.3.1", {"cause": "prepaid balance"}, at)
    return replace(invoice, state=state)


async def finalise(tx: Tx, surroundings: Surroundings, draft: Invoice, at: datetime) -> Invoice:
    """Number a posted document, hash it, store it, and have it sent."""
    state = model.move(draft.state, "finalise")
    assert state is not None and draft.lines, "a draft with lines is finalised"
    series = "" if draft.kind == "invoice" else "DN"
    number = await store.next_number(tx, draft.issuer, series, draft.issued_on.year)
    numbered = replace(draft, number=model.number_text(draft.issuer, series, draft.issued_on.year, number), state=state)
    names: dict[str, str] = {}
    for entity in filter(None, (draft.issuer, draft.on_behalf_of)):
        names[entity] = (await surroundings.party(tx, entity)).name
    for section in {draft.customer_sid, *(line.section for line in draft.lines)}:
        names[section] = (await customers.require(tx, section)).name
    invoice = model.sealed(numbered, names)
    sid = invoice.customer_sid
    await store.insert_invoice(tx, sid, invoice)
    await store.open_part(tx, sid, invoice.sid, "", invoice.due_on, False)
    late = model.totals(invoice.lines).get("late_fee", 0)
    billed = model.Movement(invoice.sid, "", "billed", invoice.total - late, late, invoice.issued_on, invoice.sid)
    await store.add_movements(tx, sid, [billed], at)
    await record(
        tx, invoice, "system", "draft", state, "3.3.2(a)", {"number": invoice.number, "sha256": invoice.sha256}, at
    )
    data = {
        "number": invoice.number,
        "total": minor_text(invoice.total, invoice.currency),
        "currency": invoice.currency,
    }
    await log.append(tx, [events.of_customer(events.INVOICE_FINALISED, sid, invoice.sid, data)], at)
    payload = {"customer_sid": sid, "invoice_sid": invoice.sid}
    overdue_at = start_of(invoice.due_on + timedelta(days=1), surroundings.zone)
    timers = [jobs.NewJob(SEND_TASK, payload), jobs.NewJob(DUE_TASK, payload, due_at=overdue_at)]
    await jobs.enqueue(tx, timers, at)
    return invoice


async def record(
    tx: Tx,
    invoice: Invoice,
    actor: str,
    from_state: str,
    to_state: str,
    cause: str,
    evidence: dict[str, str],
    at: datetime,
) -> None:
    """Write a document's move into the customer's audit chain."""
    event = audit.AuditEvent(
        invoice.customer_sid, actor, invoice.kind, invoice.sid, from_state, to_state, cause, dict(evidence)
    )
    await audit.record(tx, [event], at)


async def require(tx: Tx, customer_sid: str, sid: str) -> Invoice:
    """Return a document of a customer with its lines.

    Raises: NoSuchInvoice.
    """
    found = await store.invoice(tx, customer_sid, sid)
    if found is None:
        raise NoSuchInvoice(sid)
    return found


async def buyer(tx: Tx, invoice: Invoice) -> Party:
    """Return whom a document names as the buyer: as it was on the day of the document."""
    customer = await customers.require(tx, invoice.customer_sid, invoice.issued_on)
    vat_id, _ = await tax.vat_id_on(tx, customer.sid, invoice.issued_on) or ("", False)
    return Party(customer.name, customer.country, vat_id)


async def send(
    tx: Tx,
    surroundings: Surroundings,
    customer_sid: str,
    sid: str,
    at: datetime,
    files: Sequence[notices.File] = (),
) -> str:
    """Send a document to the billing contacts, once, with its printed forms, and return the notice's SID."""
    await store.lock(tx, customer_sid)
    invoice = await require(tx, customer_sid, sid)
    if invoice.notice_sid is not None:
        return invoice.notice_sid
    issuer = (await surroundings.party(tx, invoice.issuer)).name
    amount = f"{minor_text(invoice.total, invoice.currency)} {invoice.currency}"
    title = "Invoice" if invoice.kind == "invoice" else "Debit note"
    left = sum(part.open for part in await store.parts(tx, customer_sid, sid))
    paid = minor_text(invoice.total - left, invoice.currency)
    already = f" {paid} of it is paid already." if left < invoice.total else ""
    body = (
        f"{issuer} bills you {amount} with {title.lower()} {invoice.number} of "
        f"{invoice.issued_on.isoformat()}.{already}\nIt is due by the end of {invoice.due_on.isoformat()}.\n"
        f"You may dispute fees until the end of {(invoice.issued_on + timedelta(days=60)).isoformat()}.\n"
        f"SHA-256 of the document: {invoice.sha256}\n"
    )
    new = notices.NewNotice(customer_sid, "invoice", f"{title} {invoice.number}", body, "billing", sid, tuple(files))
    [notice_sid] = await notices.send(tx, [new], at)
    # What was paid or credited before it was sent stays so.
    state = model.move(invoice.state, "send") or invoice.state
    await store.set_state(tx, customer_sid, sid, state, notice_sid)
    await record(tx, invoice, "system", invoice.state, state, "3.3.2(a)", {"notice": notice_sid}, at)
    await log.append(tx, [events.of_customer(events.INVOICE_SENT, customer_sid, sid, {"notice_sid": notice_sid})], at)
    return notice_sid


async def turn_past_due(tx: Tx, surroundings: Surroundings, customer_sid: str, sid: str, at: datetime) -> bool:
    """After the due day, mark a document of which undisputed Fees are open; tell whether it was."""
    await store.lock(tx, customer_sid)
    invoice = await require(tx, customer_sid, sid)
    state = model.move(invoice.state, "turn_past_due")
    today = day_of(at, surroundings.zone)
    is_late = any(
        not part.disputed and part.fees > 0 and today > part.due_on for part in await store.parts(tx, customer_sid, sid)
    )
    if state is not None and is_late:
        await store.set_state(tx, customer_sid, sid, state)
        await record(tx, invoice, "system", invoice.state, state, "3.3.2(b)", {"due_on": str(invoice.due_on)}, at)
        await log.append(tx, [events.of_customer(events.INVOICE_CHANGED, customer_sid, sid, {"state": state})], at)
    if is_late:
        await surroundings.announce_change(tx, customer_sid, at)
    return is_late


async def evidence(tx: Tx, invoice: Invoice) -> list[Evidence]:
    """Tell what the mail exchangers said about each address that a document was sent to."""
    if invoice.notice_sid is None:
        return []
    notice = (await notices.fetch(tx, [invoice.notice_sid]))[invoice.notice_sid]
    return [
        Evidence(each.address, None if each.accepted_at is None else day_of(each.accepted_at), each.reply)
        for each in notice.addresses
    ]
