"""What providers tell: genuine or refused, once or twice, early or late."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from onterms.business import customers
from onterms.business.payments import events, store
from onterms.business.payments.errors import ForgedWebhook
from onterms.business.payments.model import TopUp
from onterms.business.payments.service import refunds, top_ups
from onterms.business.payments.service.surroundings import SYSTEM, Surroundings, record
from onterms.core.db import Tx
from onterms.core.errors import NotFound
from onterms.core.money import decimal_text
from onterms.ports.payment_gateway import Forged, GatewayEvent

_TOP_UP_EVENTS = {
    "charge_succeeded": "succeeded",
    "charge_failed": "failed",
    "charge_needs_action": "needs_action",
}


async def receive(
    env: Surroundings, tx: Tx, provider: str, body: bytes, headers: Mapping[str, str], at: datetime
) -> str:
    """Take a webhook and return what became of it: applied, stale, duplicate, parked, ignored or mismatch.

    Raises: NotFound for an unknown provider, ForgedWebhook.
    """
    gateway = env.gateways.get(provider)
    if gateway is None:
        raise NotFound(f"There is no payment provider {provider[:40]}")
    event = gateway.parse_webhook(body, headers, at)
    if isinstance(event, Forged):
        raise ForgedWebhook
    kept: dict[str, Any] = msgspec.to_builtins(event)
    digest = hashlib.sha256(body).digest()
    if not await store.insert_webhook(tx, provider, event.id, event.kind, event.reference, kept, digest, at):
        return "duplicate"
    if event.reference is not None:
        await store.lock_reference(tx, provider, event.reference)
    outcome = await _apply(env, tx, provider, event, at)
    await store.end_webhook(tx, provider, event.id, outcome)
    return outcome


async def apply_parked(env: Surroundings, tx: Tx, provider: str, reference: str | None, at: datetime) -> None:
    """Apply what was told of a charge before its id was known to us."""
    if reference is None:
        return
    for kept in await store.parked(tx, provider, reference):
        event = msgspec.convert(kept, GatewayEvent)
        await store.end_webhook(tx, provider, event.id, await _apply(env, tx, provider, event, at))


async def _apply(env: Surroundings, tx: Tx, provider: str, event: GatewayEvent, at: datetime) -> str:
    if event.kind == "other":
        return "ignored"
    if event.kind in ("refund_succeeded", "refund_failed"):
        return await _apply_refund(tx, event, at)
    top_up = await _top_up_of(tx, provider, event)
    if top_up is None:
        # Either somebody else's charge at the same provider, or ours before its answer has come.
        return "parked" if event.reference else "ignored"
    await store.lock(tx, top_up.customer_sid, at)
    top_up = await top_ups.fetch(tx, top_up.customer_sid, top_up.sid)
    if event.kind in ("dispute_opened", "dispute_won", "dispute_lost"):
        return await _apply_dispute(env, tx, top_up, event, at)
    is_same_charge = top_up.reference in (None, event.reference)
    if top_up.provider != provider or (event.micros, event.currency) != (top_up.micros, top_up.currency):
        is_same_charge = False
    if not is_same_charge:
        await _mismatched(tx, top_up, event, at)
        return "mismatch"
    knew_reference = top_up.reference is not None
    top_up = await top_ups.learn_reference(tx, top_up, event.reference)
    changes: dict[str, Any] = {}
    if event.kind == "charge_failed":
        changes = {"failure_code": event.code or "declined", "failure_message": event.message[:500]}
    moved = await top_ups.move(env, tx, top_up, _TOP_UP_EVENTS[event.kind], changes, at)
    if not knew_reference:
        await apply_parked(env, tx, provider, event.reference, at)
    return "stale" if moved is top_up else "applied"


async def _top_up_of(tx: Tx, provider: str, event: GatewayEvent) -> TopUp | None:
    if event.customer_sid and event.subject_sid:
        return await store.top_up(tx, event.customer_sid, event.subject_sid)
    return await store.top_up_by_reference(tx, provider, event.reference) if event.reference else None


async def _apply_dispute(env: Surroundings, tx: Tx, top_up: TopUp, event: GatewayEvent, at: datetime) -> str:
    assert event.detail_reference is not None, "a dispute has an id"
    if event.currency != top_up.currency or not 0 < event.micros <= top_up.micros:
        await _mismatched(tx, top_up, event, at)
        return "mismatch"
    # What can be disputed was paid, though nobody may have told us yet.
    top_up = await top_ups.move(env, tx, top_up, "succeeded", {}, at)
    stage = event.kind.removeprefix("dispute_")
    moved = await top_ups.move_chargeback(env, tx, top_up, event.detail_reference, stage, event.micros, event.code, at)
    return "stale" if moved is None else "applied"


async def _apply_refund(tx: Tx, event: GatewayEvent, at: datetime) -> str:
    if not event.customer_sid or not event.subject_sid:
        return "ignored"
    if await store.refund(tx, event.customer_sid, sid=event.subject_sid) is None:
        return "ignored"
    await store.lock(tx, event.customer_sid, at)
    found = await store.refund(tx, event.customer_sid, sid=event.subject_sid)
    assert found is not None
    if (event.micros, event.currency) != (found.micros, found.currency):
        return "mismatch"
    result = "succeeded" if event.kind == "refund_succeeded" else "failed"
    failure = (event.code or "failed") if result == "failed" else None
    moved = await refunds.move(tx, found, result, at, reference=event.detail_reference, failure=failure)
    return "stale" if moved is found else "applied"


async def _mismatched(tx: Tx, top_up: TopUp, event: GatewayEvent, at: datetime) -> None:
    told = {"event": event.id, "kind": event.kind, "amount": decimal_text(event.micros), "currency": event.currency}
    states = (top_up.state, top_up.state)
    await record(tx, top_up.customer_sid, SYSTEM, ("top_up", top_up.sid), states, "event mismatched", told, at)
    await customers.announce(tx, top_up.customer_sid, events.EVENT_MISMATCHED, {"top_up_sid": top_up.sid, **told}, at)
