"""Refunds: paid Fees stay paid (3.3), unless the terms name a ground."""

from dataclasses import replace
from datetime import datetime
from typing import Literal

from onterms.business import customers
from onterms.business.payments import events, store
from onterms.business.payments.errors import Conflict, Unprocessable
from onterms.business.payments.model import BASES, PREPAID_BASES, REFUND, Refund
from onterms.business.payments.service import receipts, top_ups
from onterms.business.payments.service.surroundings import SYSTEM, check_amount, open_balance, record
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.ids import new_sid
from onterms.core.money import decimal_text, round_minor
from onterms.engines import jobs, ledger
from onterms.ports.payment_gateway import Declined, Refunded, RefundRequest

REFUND_TASK = "payments.refund"
CLAUSE = "3.3"
# Older money was used long ago.
_SOURCES_MAX = 100
TakenFrom = Literal["prepaid_balance", "refunds"]


async def refund(
    tx: Tx,
    customer_sid: str,
    source_sid: str,
    micros: int,
    basis: str,
    actor: str,
    at: datetime,
    *,
    taken_from: TakenFrom = "refunds",
    note: str = "",
    idempotency_key: str | None = None,
) -> Refund:
    """Pay back a part of a top-up or payment, rounded to the minor unit (C4); cards by a job, banks as entered.

    Shapes: taken from paid Fees (`refunds`) or from unused funds (`prepaid_balance`).
    Raises: Unprocessable without a ground of the terms, or one that is not for unused funds; NotFound; Conflict for
    more than was paid or is there, or while a chargeback takes the same money.
    """
    if basis not in BASES:
        raise Unprocessable(
            f"Paid Fees are not refundable without a ground: one of {', '.join(BASES)}", CLAUSE, "no_basis"
        )
    if taken_from == "prepaid_balance" and basis not in PREPAID_BASES:
        raise Unprocessable("This ground is for Fees that were paid, not for unused funds", CLAUSE, "basis_is_for_fees")
    await store.lock(tx, customer_sid, at)
    if source_sid.startswith("TU"):
        source = await top_ups.fetch(tx, customer_sid, source_sid)
        if source.origin == "sandbox":
            raise Conflict("A sandbox's first credit was never paid", CLAUSE, "not_paid")
        provider, currency, paid, state = source.provider, source.currency, source.micros, source.state
        chargebacks = await store.chargebacks(tx, customer_sid)
        if any(each.top_up_sid == source_sid and each.state != "won" for each in chargebacks):
            raise Conflict("The cardholder is taking this money back already", CLAUSE, "charged_back")
    else:
        payment = await receipts.fetch_payment(tx, customer_sid, source_sid)
        provider, currency, paid, state = receipts.BANK, payment.currency, payment.micros, "succeeded"
    rounded = round_minor(micros, currency)
    check_amount(rounded, currency)
    if idempotency_key is not None:
        known = await store.refund(tx, customer_sid, key=idempotency_key)
        if known is not None:
            if (known.source_sid, known.micros, known.basis) != (source_sid, rounded, basis):
                raise Conflict("The key stands for another refund", CLAUSE, "key_reused", sid=known.sid)
            return known
    if state != "succeeded":
        raise Conflict(f"The top-up is {state}: nothing was paid", CLAUSE, "not_paid")
    left = paid - await store.refunded(tx, customer_sid, source_sid)
    if rounded > left:
        raise Conflict("More than is left of what was paid", CLAUSE, "over_refund", left=decimal_text(left))
    balance = await open_balance(tx, customer_sid, currency, at)
    spendable = -balance.accounts.get("prepaid_balance", 0) - (balance.held if balance.kind == "prepaid" else 0)
    if taken_from == "prepaid_balance" and rounded > spendable:
        raise Conflict("More than the unused funds", CLAUSE, "not_unused", left=decimal_text(max(0, spendable)))
    made = Refund(
        customer_sid=customer_sid,
        sid=new_sid("RF", at),
        source_sid=source_sid,
        provider=provider,
        basis=basis,
        taken_from=taken_from,
        currency=currency,
        micros=rounded,
        state="created",
        reference=None,
        failure=None,
        note=note,
        requested_by=actor,
        idempotency_key=idempotency_key,
        created_at=at,
        updated_at=at,
    )
    await store.insert_refund(tx, made)
    posting = ledger.templates.refund(rounded, provider, taken_from)
    memo = {"refund_sid": made.sid, "basis": basis}
    # Posted when it is asked for, so that the same money cannot be spent meanwhile; a failure takes it back.
    await ledger.post(tx, [ledger.Transaction(customer_sid, currency, f"refund:{made.sid}", posting, memo)], at)
    told = {"amount": decimal_text(rounded), "currency": currency, "basis": basis, "note": note}
    await record(tx, customer_sid, actor, ("refund", made.sid), (None, "created"), basis, told, at)
    if provider == receipts.BANK:
        return await move(tx, made, "succeeded", at)
    await jobs.enqueue(tx, [jobs.NewJob(REFUND_TASK, {"customer_sid": customer_sid, "sid": made.sid})], at)
    return made


async def sources(tx: Tx, customer_sid: str) -> list[tuple[str, str, int]]:
    """Return top-ups by card and payments that refunds can be made of, newest first, with what is left of each."""
    taken_back = {each.top_up_sid for each in await store.chargebacks(tx, customer_sid) if each.state != "won"}
    paid = [
        (each.sid, each.currency, each.micros)
        for each in await store.top_ups(tx, customer_sid, "", _SOURCES_MAX)
        if each.state == "succeeded" and each.origin != "sandbox" and each.sid not in taken_back
    ]
    entered = await store.payments(tx, customer_sid, "", _SOURCES_MAX)
    paid += [(each.sid, each.currency, each.micros) for each in entered]
    found = []
    for sid, currency, micros in paid:
        left = micros - await store.refunded(tx, customer_sid, sid)
        if left > 0:
            found.append((sid, currency, left))
    return found


async def request_of(tx: Tx, customer_sid: str, sid: str) -> tuple[Refund, RefundRequest] | None:
    """Return what a job has to ask the provider for; None where it was decided meanwhile."""
    found = await store.refund(tx, customer_sid, sid=sid)
    if found is None or found.state != "created":
        return None
    source = await top_ups.fetch(tx, customer_sid, found.source_sid)
    assert source.reference is not None, "a refund of a card is made of a charge that the provider knows"
    return found, RefundRequest(source.reference, found.micros, found.currency, customer_sid, sid)


async def answered(tx: Tx, customer_sid: str, sid: str, answer: Refunded | Declined, at: datetime) -> None:
    """Take the provider's answer."""
    await store.lock(tx, customer_sid, at)
    found = await store.refund(tx, customer_sid, sid=sid)
    assert found is not None
    if isinstance(answer, Declined):
        await move(tx, found, "failed", at, failure=answer.code)
    else:
        await move(tx, found, answer.status, at, reference=answer.reference)


async def move(
    tx: Tx, refund: Refund, event: str, at: datetime, *, reference: str | None = None, failure: str | None = None
) -> Refund:
    """Follow an event if the table has a row for it."""
    row = REFUND.get((refund.state, event))
    if row is None:
        return refund
    moved = replace(refund, state=row.next, reference=reference or refund.reference, failure=failure, updated_at=at)
    changes = {"state": row.next, "reference": moved.reference, "failure": failure, "updated_at": at}
    await store.update_refund(tx, refund.customer_sid, refund.sid, changes)
    told = {"amount": decimal_text(refund.micros), "currency": refund.currency, "basis": refund.basis}
    what = ("refund", refund.sid)
    await record(tx, refund.customer_sid, SYSTEM, what, (refund.state, row.next), failure or event, told, at)
    for effect in row.effects:
        if effect == "reverse":
            posting = ledger.templates.reversal(
                ledger.templates.refund(refund.micros, refund.provider, refund.taken_from)
            )
            key = f"refund:{refund.sid}:reversed"
            memo = {"refund_sid": refund.sid}
            await ledger.post(tx, [ledger.Transaction(refund.customer_sid, refund.currency, key, posting, memo)], at)
        else:
            data = {"refund_sid": refund.sid, "state": row.next, **told}
            await customers.announce(tx, refund.customer_sid, events.REFUND_CHANGED, data, at)
    return moved


def taken_from_of(text: str) -> TakenFrom:
    """Read where a refund is taken from.

    Raises: InvalidParameter.
    """
    if text == "refunds":
        return "refunds"
    if text == "prepaid_balance":
        return "prepaid_balance"
    raise InvalidParameter("'taken_from' must be refunds or prepaid_balance")
