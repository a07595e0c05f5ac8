"""What settles an invoice: money, credit and debit notes, disputes' parts, giving up."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

import msgspec

from onterms.business import payments, tax
from onterms.business.invoicing import events, model, store
from onterms.business.invoicing.errors import NoSuchLine, NotAllowedNow, TooMuchCredited
from onterms.business.invoicing.model import Credit, Event, Invoice, Line, Movement, Part
from onterms.business.invoicing.service import closing
from onterms.business.invoicing.service.closing import Surroundings
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.ids import new_sid
from onterms.core.money import minor_text
from onterms.engines import ledger, log
from onterms.engines.ledger import Entry, Posting, Split, Transaction, templates

_TO_BALANCE = "prepaid_balance"


async def _restate(tx: Tx, customer_sid: str, invoice_sid: str, cause: str, at: datetime) -> None:
    invoice = await closing.require(tx, customer_sid, invoice_sid)
    parts = await store.parts(tx, customer_sid, invoice_sid)
    left = sum(part.open for part in parts)
    given = sum(credit.total for credit in await store.credits(tx, customer_sid, invoice_sid))
    event: Event = "pay_part" if left else "credit_all" if given == invoice.total else "pay_all"
    if left == invoice.total:
        return
    state = model.move(invoice.state, event)
    if state is None and event == "credit_all":
        state = model.move(invoice.state, "pay_all")
    if state is None or state == invoice.state:
        return
    await store.set_state(tx, customer_sid, invoice_sid, state)
    await closing.record(tx, invoice, "system", invoice.state, state, "3.3.2", {"cause": cause}, at)
    changed = events.of_customer(events.INVOICE_CHANGED, customer_sid, invoice_sid, {"state": state})
    await log.append(tx, [changed], at)


async def settle_by_proof(
    tx: Tx, surroundings: Surroundings, customer_sid: str, sid: str, micros: int, proof_sid: str, at: datetime
) -> int:
    """Take a proof of withheld tax in place of money, for what is due of an invoice; return how much that was.

    Raises: NoSuchInvoice.
    """
    await store.lock(tx, customer_sid)
    invoice = await closing.require(tx, customer_sid, sid)
    parts = model.allocate(await store.parts(tx, customer_sid, sid), micros, None)
    total = sum(fees + late for _, fees, late in parts)
    if not total:
        return 0
    posting = templates.withholding_proof(sid, total)
    await ledger.post(tx, [Transaction(customer_sid, invoice.currency, f"{proof_sid}/proof", posting)], at)
    today = day_of(at, surroundings.zone)
    moved = [Movement(sid, part.part, "withheld", -fees, -late, today, proof_sid) for part, fees, late in parts]
    await store.add_movements(tx, customer_sid, moved, at)
    await _restate(tx, customer_sid, sid, proof_sid, at)
    await surroundings.announce_change(tx, customer_sid, at)
    return total


async def write_off(
    tx: Tx, surroundings: Surroundings, customer_sid: str, sid: str, reason: str, actor: str, at: datetime
) -> int:
    """Give up what is open and not disputed of an invoice; return how much.

    Raises: NotAllowedNow.
    """
    await store.lock(tx, customer_sid)
    invoice = await closing.require(tx, customer_sid, sid)
    state = model.move(invoice.state, "write_off")
    parts = await store.parts(tx, customer_sid, sid)
    left = sum(part.open for part in parts if not part.disputed)
    if state is None or left <= 0 or any(part.disputed and part.open for part in parts):
        raise NotAllowedNow("Nothing of this document can be written off now", "3.3")
    posting = templates.write_off(sid, left)
    await ledger.post(tx, [Transaction(customer_sid, invoice.currency, f"{sid}/write-off", posting)], at)
    today = day_of(at, surroundings.zone)
    moved = [Movement(sid, part.part, "write_off", -part.fees, -part.late, today, reason) for part in parts]
    await store.add_movements(tx, customer_sid, moved, at)
    await store.set_state(tx, customer_sid, sid, state)
    await closing.record(tx, invoice, actor, invoice.state, state, "written off", {"reason": reason}, at)
    await surroundings.announce_change(tx, customer_sid, at)
    return left


# ---- credit notes


def credited_nets(credits: Sequence[Credit]) -> dict[str, int]:
    """Return how much of each line was credited, without tax."""
    found: dict[str, int] = {}
    for credit in credits:
        for line in credit.lines:
            found[line["ref"]] = found.get(line["ref"], 0) + line["net"]
    return found


async def left_of(tx: Tx, invoice: Invoice) -> dict[str, int]:
    """Return what is left of each line that was not credited, without tax."""
    gone = credited_nets(await store.credits(tx, invoice.customer_sid, invoice.sid))
    return {line.ref: line.micros - gone.get(line.ref, 0) for line in invoice.lines}


async def credited_lines(tx: Tx, customer_sid: str, from_at: datetime, until_at: datetime) -> list[tuple[Line, int]]:
    """Return what credit notes took off lines for usage in [from, until), whenever they were given: (line, net)."""
    found: list[tuple[Line, int]] = []
    invoices: dict[str, Invoice] = {}
    after = ""
    while page := await store.credits(tx, customer_sid, after=after):
        for note in page:
            if note.invoice_sid not in invoices:
                invoices[note.invoice_sid] = await closing.require(tx, customer_sid, note.invoice_sid)
            lines = {line.ref: line for line in invoices[note.invoice_sid].lines}
            found += [
                (lines[each["ref"]], each["net"])
                for each in note.lines
                if from_at <= lines[each["ref"]].supplied_at < until_at
            ]
        after = page[-1].sid
    return found


async def shares_of(
    tx: Tx, invoice: Invoice, nets: Mapping[str, int], kinds: frozenset[str] = model.NET_KINDS
) -> dict[str, dict[str, int]]:
    """Return the tax that goes with amounts of an invoice's lines, after earlier credits.

    Raises: NoSuchLine, TooMuchCredited.
    """
    lines = {line.ref: line for line in invoice.lines}
    before = await store.credits(tx, invoice.customer_sid, invoice.sid)
    earlier = credited_nets(before)
    for ref, net in nets.items():
        found = lines.get(ref)
        if found is None or found.kind not in kinds:
            raise NoSuchLine(ref)
        if net <= 0 or earlier.get(ref, 0) + net > found.micros:
            raise TooMuchCredited(ref)
    taxes: dict[str, int] = {}
    for note in before:
        for line in note.lines:
            for name, micros in line["taxes"].items():
                taxes[name] = taxes.get(name, 0) + micros
    return model.tax_shares(invoice.lines, invoice.currency, nets, earlier, taxes)


async def credit(
    tx: Tx,
    surroundings: Surroundings,
    customer_sid: str,
    sid: str,
    nets: Mapping[str, int],
    reason: str,
    actor: str,
    at: datetime,
    *,
    disputed_part: str | None = None,
    tax_max: int | None = None,
) -> Credit:
    """Credit amounts of lines with their tax: off what is unpaid, the rest back to the customer's balance.

    Shapes: with `disputed_part` it comes off what that dispute withholds, counted as never owed; `tax_max` bounds the
    tax that goes along.
    Raises: NoSuchLine, TooMuchCredited.
    """
    await store.lock(tx, customer_sid)
    invoice = await closing.require(tx, customer_sid, sid)
    shares = model.capped(await shares_of(tx, invoice, nets, model.NET_KINDS | {"late_fee"}), tax_max)
    lines = {line.ref: line for line in invoice.lines}
    splits = [_split(lines, ref, net, shares[ref]) for ref, net in sorted(nets.items())]
    late = sum(net for ref, net in nets.items() if lines[ref].kind == "late_fee")
    total = sum(split.total for split in splits) + late
    parts = await store.parts(tx, customer_sid, sid)
    today = day_of(at, surroundings.zone)
    moved: list[Movement] = []
    off = 0
    account = "receivable"
    if disputed_part is not None:
        account = "receivable_disputed"
        [part] = [each for each in parts if each.part == disputed_part]
        off = min(total, part.fees)
        moved += _never_owed(invoice, part, await store.movements(tx, customer_sid, sid), off)
    else:
        fees_left, late_left = total - late, late
        for part in parts:
            if part.disputed:
                continue
            fees, of_late = min(fees_left, part.fees), min(late_left, part.late)
            moved.append(Movement(sid, part.part, "credit", -fees, -of_late, today, reason))
            fees_left, late_left, off = fees_left - fees, late_left - of_late, off + fees + of_late
    made = await _store_credit(tx, invoice, nets, shares, total, off, reason, today, at)
    entries = [
        *(entry for entry in templates.credit_note(splits, None).entries if entry.account != _TO_BALANCE),
        Entry("late_fee_income", late),
        Entry(account, -off, sid),
        Entry(_TO_BALANCE, off - total),
    ]
    posting = Posting("credit_note", tuple(entry for entry in entries if entry.micros))
    await ledger.post(tx, [Transaction(customer_sid, invoice.currency, f"{made.sid}/credit", posting)], at)
    await store.add_movements(tx, customer_sid, moved, at)
    evidence = {"number": made.number, "total": minor_text(total, invoice.currency), "reason": reason}
    await closing.record(tx, invoice, actor, invoice.state, invoice.state, "credit note", evidence, at)
    await _restate(tx, customer_sid, sid, made.sid, at)
    await log.append(
        tx, [events.of_customer(events.CREDIT_NOTE_ISSUED, customer_sid, made.sid, {"invoice_sid": sid})], at
    )
    await surroundings.announce_change(tx, customer_sid, at)
    return made


def _split(lines: Mapping[str, Line], ref: str, net: int, taxes: Mapping[str, int]) -> Split:
    line = lines[ref]
    by_place: dict[str, int] = {}
    for tax_ref, share in taxes.items():
        name = lines[tax_ref].jurisdiction or ""
        by_place[name] = by_place.get(name, 0) + share
    if line.kind == "late_fee":
        return Split("late_fee", taxes=by_place)
    if line.kind == "communications_surcharge":
        return Split(line.service, surcharge=net, taxes=by_place)
    return Split(line.service if line.kind == "fee" else line.kind, fee=net, taxes=by_place)


def _never_owed(invoice: Invoice, part: Part, movements: Sequence[Movement], off: int) -> list[Movement]:
    """Take an upheld amount off its part, and off the days before it was disputed: no late fee stands on it."""
    opened = min(each.on_day for each in movements if each.part == part.part)
    return [
        Movement(invoice.sid, part.part, "upheld", -off, 0, opened, part.part),
        Movement(invoice.sid, "", "upheld", -off, 0, invoice.issued_on, part.part),
        Movement(invoice.sid, "", "upheld", off, 0, opened, part.part),
    ]


async def _store_credit(
    tx: Tx,
    invoice: Invoice,
    nets: Mapping[str, int],
    shares: Mapping[str, Mapping[str, int]],
    total: int,
    off: int,
    reason: str,
    today: date,
    at: datetime,
) -> Credit:
    number = await store.next_number(tx, invoice.issuer, "CN", today.year)
    lines = tuple({"ref": ref, "net": net, "taxes": dict(shares[ref])} for ref, net in sorted(nets.items()))
    made = Credit(
        customer_sid=invoice.customer_sid,
        sid=new_sid("CN", at),
        invoice_sid=invoice.sid,
        number=model.number_text(invoice.issuer, "CN", today.year, number),
        issuer=invoice.issuer,
        currency=invoice.currency,
        reason=reason,
        issued_on=today,
        total=total,
        off_document=off,
        to_balance=total - off,
        lines=lines,
        sha256="",
        created_at=at,
    )
    body = msgspec.json.encode([made.sid, made.number, made.invoice_sid, reason, str(today), total, list(lines)])
    made = replace(made, sha256=hashlib.sha256(body).hexdigest())
    await store.insert_credit(tx, invoice.customer_sid, made)
    return made


async def debit_note(
    tx: Tx,
    surroundings: Surroundings,
    customer_sid: str,
    issuer: str,
    currency: str,
    taxes: Sequence[tax.TaxLine],
    due_on: date,
    at: datetime,
    *,
    additions: Sequence[tuple[str, str, int]] = (),
) -> Invoice:
    """Bill taxes that were wrongly left off, as a document of its own.

    Shapes: additions are what an authority adds, its interest and penalties: (name, jurisdiction, micro-units).
    """
    await store.lock(tx, customer_sid)
    today = day_of(at, surroundings.zone)
    lines = tuple(closing.tax_line(charge, f"T{place}", customer_sid, at) for place, charge in enumerate(taxes, 1))
    lines += tuple(
        Line(str(place), "penalty", name, "", customer_sid, None, 1, "charge", amount, amount, amount, at)
        for place, (name, _, amount) in enumerate(additions, 1)
    )
    sid = new_sid("IV", at)
    draft = Invoice(
        customer_sid,
        sid,
        "debit_note",
        "",
        "draft",
        issuer,
        "principal",
        None,
        currency,
        today,
        today,
        today,
        due_on,
        sum(line.micros for line in lines),
        b"",
        "",
        sid,
        None,
        at,
        lines,
    )
    by_place: dict[str, int] = {}
    for charge in taxes:
        by_place[charge.jurisdiction] = by_place.get(charge.jurisdiction, 0) + charge.micros
    # The authority gets its interest and penalties with the tax.
    for _, jurisdiction, amount in additions:
        by_place[jurisdiction] = by_place.get(jurisdiction, 0) + amount
    posting = templates.tax_backbill(sid, by_place)
    if await ledger.balance(tx, customer_sid, currency) is None:
        await ledger.open_balance(tx, customer_sid, currency, at, kind="invoiced")
    await ledger.post(tx, [Transaction(customer_sid, currency, f"{sid}/close", posting)], at)
    return await closing.finalise(tx, surroundings, draft, at)


# ---- parts, for disputes


async def withhold(
    tx: Tx, surroundings: Surroundings, customer_sid: str, sid: str, part: str, micros: int, at: datetime
) -> int:
    """Move a disputed amount out of what is due, at most what is; return how much."""
    invoice = await closing.require(tx, customer_sid, sid)
    [main] = [each for each in await store.parts(tx, customer_sid, sid) if each.part == ""]
    moved = min(micros, max(0, main.fees))
    if moved:
        today = day_of(at, surroundings.zone)
        posting = templates.dispute_open(sid, moved)
        await ledger.post(tx, [Transaction(customer_sid, invoice.currency, f"{part}/open", posting)], at)
        await store.open_part(tx, customer_sid, sid, part, invoice.due_on, True)
        await store.add_movements(
            tx,
            customer_sid,
            [
                Movement(sid, "", "disputed", -moved, 0, today, part),
                Movement(sid, part, "disputed", moved, 0, today, part),
            ],
            at,
        )
    await surroundings.announce_change(tx, customer_sid, at)
    return moved


async def make_due(
    tx: Tx,
    surroundings: Surroundings,
    customer_sid: str,
    sid: str,
    part: str,
    at: datetime,
    *,
    back_from: date | None = None,
) -> int:
    """Make what a dispute withholds due: today and by itself, or as if it had been due since `back_from`.

    Shapes: returns how much it was.
    """
    invoice = await closing.require(tx, customer_sid, sid)
    found = [each for each in await store.parts(tx, customer_sid, sid) if each.part == part and each.disputed]
    if not found or found[0].fees <= 0:
        return 0
    micros = found[0].fees
    posting = templates.dispute_reject(sid, micros)
    await ledger.post(tx, [Transaction(customer_sid, invoice.currency, f"{part}/reject", posting)], at)
    if back_from is None:
        await store.open_part(tx, customer_sid, sid, part, day_of(at, surroundings.zone), False)
    else:
        await store.open_part(tx, customer_sid, sid, part, invoice.due_on, False)
        back = [
            Movement(sid, part, "shield_lost", -micros, 0, back_from, part),
            Movement(sid, "", "shield_lost", micros, 0, back_from, part),
        ]
        await store.add_movements(tx, customer_sid, back, at)
    await surroundings.announce_change(tx, customer_sid, at)
    return micros


async def unshield(
    tx: Tx, surroundings: Surroundings, customer_sid: str, sid: str, part: str, from_day: date, at: datetime
) -> None:
    """Count what a dispute withheld as due from `from_day` on, after it was made due from a later day."""
    moved = await store.movements(tx, customer_sid, sid)
    lost = [each for each in moved if each.part == "" and each.kind == "shield_lost" and each.source == part]
    corrected = [
        Movement(sid, "", "shield_lost", change * each.fees, 0, day, part)
        for each in lost
        for change, day in ((1, from_day), (-1, each.on_day))
    ]
    await store.add_movements(tx, customer_sid, corrected, at)
    await surroundings.announce_change(tx, customer_sid, at)


# ---- for the payments room, which posts by itself


async def open_documents(tx: Tx, customer_sid: str) -> list[payments.OpenDocument]:
    """List what is due on invoices by kind, without disputed parts, as payments.Surroundings asks it."""
    due: dict[str, int] = {}
    for part in await store.parts(tx, customer_sid):
        if not part.disputed and part.open > 0:
            due[part.invoice_sid] = due.get(part.invoice_sid, 0) + part.open
    found: list[payments.OpenDocument] = []
    for sid, micros in due.items():
        invoice = await closing.require(tx, customer_sid, sid)
        sums = model.totals(invoice.lines)
        done = model.settled_by_group(invoice.lines, invoice.total - micros)
        taxes = min(micros, max(0, sums.get("tax", 0) - done["tax"]))
        left = sums.get("communications_surcharge", 0) - done["surcharge"]
        surcharges = min(micros - taxes, max(0, left))
        rest = micros - taxes - surcharges
        found.append(payments.OpenDocument(sid, invoice.currency, invoice.due_on, taxes, surcharges, rest))
    return found


async def settled_by_payments(
    tx: Tx,
    surroundings: Surroundings,
    customer_sid: str,
    source_sid: str,
    made: Sequence[payments.Allocation],
    at: datetime,
    *,
    on: date | None = None,
) -> None:
    """Take over what the payments room settled and posted; it counts from the day the money came, else from today."""
    await store.lock(tx, customer_sid)
    day = on or day_of(at, surroundings.zone)
    for each in made:
        if each.document is None:
            continue
        parts = await store.parts(tx, customer_sid, each.document)
        moved = [
            Movement(part.invoice_sid, part.part, "payment", -fees, -late, day, source_sid)
            for part, fees, late in model.allocate(parts, each.total, None)
        ]
        await store.add_movements(tx, customer_sid, moved, at)
        await _restate(tx, customer_sid, each.document, source_sid, at)
    await surroundings.announce_change(tx, customer_sid, at)
