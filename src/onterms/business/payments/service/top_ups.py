"""Top-ups and their chargebacks: money from cards, asked for in a job, told of by answers and by webhooks."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from onterms.business import customers
from onterms.business.payments import events, store
from onterms.business.payments.errors import Conflict
from onterms.business.payments.model import (
    AMOUNT_MAX,
    CHARGEBACK,
    SANDBOX_CREDIT,
    TOP_UP,
    Chargeback,
    TopUp,
)
from onterms.business.payments.service import methods, receipts, standing
from onterms.business.payments.service.surroundings import (
    SYSTEM,
    Surroundings,
    check_amount,
    open_balance,
    record,
    require_currency,
)
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.core.money import decimal_text
from onterms.engines import jobs, ledger
from onterms.ports.payment_gateway import Charged, ChargeRequest, Declined

CHARGE_TASK = "payments.charge"
_ANNOUNCED = {
    "succeeded": events.TOP_UP_SUCCEEDED,
    "failed": events.TOP_UP_FAILED,
    "needs_action": events.TOP_UP_NEEDS_ACTION,
}


async def top_up(
    env: Surroundings,
    tx: Tx,
    customer_sid: str,
    micros: int,
    currency: str,
    actor: str,
    at: datetime,
    *,
    card_sid: str | None = None,
    idempotency_key: str | None = None,
    origin: str = "manual",
) -> TopUp:
    """Ask for money from a card; the charge is made by a job, once, however often the request is sent.

    Raises: InvalidParameter, NotFound; Conflict without a card, for a key that stands for another top-up, or while
    the same one is under way.
    """
    check_amount(micros, currency)
    if micros > AMOUNT_MAX:
        raise InvalidParameter(f"'amount' must be at most {decimal_text(AMOUNT_MAX)}")
    await require_currency(tx, customer_sid, currency)
    await store.lock(tx, customer_sid, at)
    if idempotency_key is not None:
        known = await store.top_up_by_key(tx, customer_sid, idempotency_key)
        if known is not None:
            if (known.micros, known.currency) != (micros, currency) or card_sid not in (None, known.card_sid):
                raise Conflict("The key stands for another top-up", "3.3.1", "key_reused", sid=known.sid)
            return known
    card = await methods.require_card(tx, customer_sid, card_sid, at)
    if origin == "manual" and await store.has_top_up_under_way(tx, customer_sid, currency, origin, micros):
        # A form that was sent twice has no key to tell it by.
        raise Conflict("A top-up of this amount is under way", "3.3.1", "top_up_under_way")
    made = TopUp(
        customer_sid=customer_sid,
        sid=new_sid("TU", at),
        origin=origin,
        card_sid=card.sid,
        provider=card.provider,
        currency=currency,
        micros=micros,
        state="created",
        reference=None,
        failure_code=None,
        failure_message=None,
        action=None,
        idempotency_key=idempotency_key,
        created_at=at,
        updated_at=at,
    )
    await store.insert_top_up(tx, made)
    told = {"amount": decimal_text(micros), "currency": currency, "origin": origin}
    await record(tx, customer_sid, actor, ("top_up", made.sid), (None, "created"), "3.3.1", told, at)
    await jobs.enqueue(tx, [jobs.NewJob(CHARGE_TASK, {"customer_sid": customer_sid, "sid": made.sid})], at)
    return made


async def ensure_sandbox_credit(env: Surroundings, tx: Tx, customer_sid: str, at: datetime) -> TopUp:
    """Give a sandbox's customer its first money, once: play money that only a sandbox posts."""
    await store.lock(tx, customer_sid, at)
    key = "sandbox-credit"
    known = await store.top_up_by_key(tx, customer_sid, key)
    if known is not None:
        return known
    provider = env.play_provider or env.provider
    made = TopUp(
        customer_sid, new_sid("TU", at), "sandbox", None, provider, "USD", SANDBOX_CREDIT, "created", None, None,
        None, None, key, at, at,
    )  # fmt: skip
    await store.insert_top_up(tx, made)
    return await move(env, tx, made, "succeeded", {}, at)


async def begin(tx: Tx, customer_sid: str, sid: str, at: datetime) -> tuple[TopUp, ChargeRequest | None] | None:
    """Start, or start again, what a job has to charge; None where it was decided meanwhile.

    Shapes: there is no request where the card was removed.
    """
    await store.lock(tx, customer_sid, at)
    found = await store.top_up(tx, customer_sid, sid)
    if found is None or (found.state, "begin") not in TOP_UP:
        return None
    if found.state == "created":
        await store.update_top_up(tx, customer_sid, sid, {"state": "processing", "updated_at": at})
        await record(tx, customer_sid, SYSTEM, ("top_up", sid), ("created", "processing"), "charging", {}, at)
        found = replace(found, state="processing")
    card = next((each for each in await store.cards(tx, customer_sid) if each.sid == found.card_sid), None)
    at_provider = await store.provider_customer(tx, customer_sid, found.provider)
    if card is None or at_provider is None:
        return found, None
    request = ChargeRequest(
        at_provider, card.reference, found.micros, found.currency, customer_sid, sid, found.origin == "auto"
    )
    return found, request


async def answered(
    env: Surroundings, tx: Tx, customer_sid: str, sid: str, answer: Charged | Declined, at: datetime
) -> TopUp:
    """Take the provider's answer; a webhook may have been faster, and then there is nothing left to do."""
    found = await fetch(tx, customer_sid, sid)
    if answer.reference is not None:
        # Or an event that is being parked just now would be parked for ever.
        await store.lock_reference(tx, found.provider, answer.reference)
    await store.lock(tx, customer_sid, at)
    found = await fetch(tx, customer_sid, sid)
    found = await learn_reference(tx, found, answer.reference)
    if isinstance(answer, Declined):
        changes = {"failure_code": answer.code, "failure_message": answer.message[:500]}
        found = await move(env, tx, found, "failed", changes, at)
    elif answer.status != "processing":
        found = await move(env, tx, found, answer.status, {"action": answer.action}, at)
    return found


async def learn_reference(tx: Tx, top_up: TopUp, reference: str | None) -> TopUp:
    """Keep the provider's id of a charge once it is known."""
    if reference is None or top_up.reference is not None:
        return top_up
    await store.update_top_up(tx, top_up.customer_sid, top_up.sid, {"reference": reference})
    return replace(top_up, reference=reference)


async def move(env: Surroundings, tx: Tx, top_up: TopUp, event: str, changes: dict[str, Any], at: datetime) -> TopUp:
    """Follow an event if the table has a row for it; else it is stale and nothing changes."""
    row = TOP_UP.get((top_up.state, event))
    if row is None:
        return top_up
    if event == "succeeded":
        changes = {"failure_code": None, "failure_message": None}
    columns = {"action": None, **changes, "state": row.next, "updated_at": at}
    await store.update_top_up(tx, top_up.customer_sid, top_up.sid, columns)
    moved = replace(top_up, **columns)
    sid, customer_sid = top_up.sid, top_up.customer_sid
    told: dict[str, Any] = {"amount": decimal_text(top_up.micros), "currency": top_up.currency}
    if moved.failure_code:
        told["failure_code"] = moved.failure_code
    await record(tx, customer_sid, SYSTEM, ("top_up", sid), (top_up.state, row.next), event, told, at)
    for effect in row.effects:
        if effect == "credit":
            await open_balance(tx, customer_sid, top_up.currency, at)
            posting = ledger.templates.topup(top_up.micros, top_up.provider)
            memo = {"top_up_sid": sid}
            made = ledger.Transaction(customer_sid, top_up.currency, f"topup:{sid}", posting, memo)
            await ledger.post(tx, [made], at)
        elif effect == "settle":
            await receipts.allocate(env, tx, customer_sid, sid, top_up.currency, top_up.micros, at)
        elif effect == "announce":
            await customers.announce(tx, customer_sid, _ANNOUNCED[row.next], {"top_up_sid": sid, **told}, at)
        elif effect == "pause_recharge":
            if top_up.origin == "auto":
                await _pause_recharge(tx, top_up, at)
        else:
            await standing.review(env, tx, customer_sid, at, declined=effect == "review_declined")
    return moved


async def _pause_recharge(tx: Tx, top_up: TopUp, at: datetime) -> None:
    # A card that declined is not tried again by itself: each attempt costs, and the answer stays the same.
    for each in await store.auto_recharges(tx, top_up.customer_sid):
        if each.currency == top_up.currency and each.state == "on":
            await store.put_auto_recharge(tx, replace(each, state="paused", reason="card_declined"), at)
            data = {"currency": top_up.currency, "reason": "card_declined"}
            await customers.announce(tx, top_up.customer_sid, events.AUTO_RECHARGE_PAUSED, data, at)


async def fetch(tx: Tx, customer_sid: str, sid: str) -> TopUp:
    """Return a top-up.

    Raises: NotFound.
    """
    found = await store.top_up(tx, customer_sid, sid)
    if found is None:
        raise NotFound(f"The top-up {sid} was not found")
    return found


# Chargebacks


async def move_chargeback(
    env: Surroundings, tx: Tx, top_up: TopUp, reference: str, event: str, micros: int, reason: str, at: datetime
) -> Chargeback | None:
    """Follow what a provider tells of a dispute; None where it is stale."""
    customer_sid = top_up.customer_sid
    found = {each.reference: each for each in await store.chargebacks(tx, customer_sid)}.get(reference)
    before = found.state if found else "none"
    row = CHARGEBACK.get((before, event))
    if row is None:
        return None
    closed_at = None if row.next == "opened" else at
    if found is None:
        found = Chargeback(
            customer_sid, new_sid("CB", at), top_up.sid, top_up.provider, reference, micros, row.next, reason, at,
            closed_at,
        )  # fmt: skip
        await store.insert_chargeback(tx, found)
    else:
        found = replace(found, state=row.next, closed_at=closed_at)
        await store.update_chargeback(tx, customer_sid, found.sid, {"state": row.next, "closed_at": closed_at})
    told = {"amount": decimal_text(found.micros), "currency": top_up.currency, "top_up_sid": top_up.sid}
    await record(tx, customer_sid, SYSTEM, ("chargeback", found.sid), (before, row.next), reason or event, told, at)
    for effect in row.effects:
        if effect == "review":
            await standing.review(env, tx, customer_sid, at)
            continue
        prepaid = 0
        if effect == "take":
            balance = await open_balance(tx, customer_sid, top_up.currency, at)
            held = balance.held if balance.kind == "prepaid" else 0
            prepaid = min(found.micros, max(0, -balance.accounts.get("prepaid_balance", 0) - held))
        stage = {"park": "opened", "return": "won", "take": "lost"}[effect]
        assert stage in ("opened", "won", "lost")
        posting = ledger.templates.chargeback(found.micros, top_up.provider, stage, prepaid)  # type: ignore[arg-type]
        key = f"chargeback:{found.sid}:{stage}"
        memo = {"chargeback_sid": found.sid, "top_up_sid": top_up.sid}
        await ledger.post(tx, [ledger.Transaction(customer_sid, top_up.currency, key, posting, memo)], at)
    data = {"chargeback_sid": found.sid, "state": found.state, **told}
    await customers.announce(tx, customer_sid, events.CHARGEBACK_CHANGED, data, at)
    return found
