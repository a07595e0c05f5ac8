"""The prepaid standing of 3.3.1: ok, insufficient, suspended, and back when the Fees due are paid."""

from datetime import datetime

from onterms.business import customers
from onterms.business.payments import events, store
from onterms.business.payments.errors import Conflict, Unpaid
from onterms.business.payments.model import STANDING, Exposure, Standing
from onterms.business.payments.service import watching
from onterms.business.payments.service.surroundings import SYSTEM, Surroundings, record
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.money import decimal_text
from onterms.engines import ledger

CLAUSE = "3.3.1"
# Accounts of the ledger.
DISPUTED = "receivable_disputed"
UNBILLED = "unbilled"


async def shortage(tx: Tx, customer_sid: str) -> dict[str, int]:
    """Return what prepaid funds fall short of the Fees due, by currency; disputed Fees are not due (3.3.3)."""
    short: dict[str, int] = {}
    for each in await ledger.balances(tx, customer_sid):
        due = each.net + each.accounts.get(DISPUTED, 0)
        if each.kind == "prepaid" and due < 0:
            short[each.currency] = -due
    return short


async def require_paid(tx: Tx, customer_sid: str, at: datetime) -> None:
    """Refuse a new account while prepaid Fees are due.

    Raises: Unpaid.
    """
    short = await shortage(tx, customer_sid)
    if short:
        due = {currency: decimal_text(micros) for currency, micros in short.items()}
        raise Unpaid("No new accounts until the Fees due are paid in full", CLAUSE, "fees_due", due=due)


async def review(
    env: Surroundings, tx: Tx, customer_sid: str, at: datetime, *, declined: bool = False, actor: str = SYSTEM
) -> Standing:
    """Look at the funds again, after money moved or a card declined, and do what follows."""
    standing = await store.lock(tx, customer_sid, at)
    short = await shortage(tx, customer_sid)
    await _watch_exposure(tx, customer_sid, at)
    await watching.watch(tx, customer_sid)
    if not short:
        return await _move(env, tx, standing, "paid", short, actor, at)
    if not declined or env.prepaid_policy == "off":
        return await _move(env, tx, standing, "short", short, actor, at)
    if env.prepaid_policy == "auto":
        return await _move(env, tx, standing, "declined", short, actor, at)
    standing = await _move(env, tx, standing, "short", short, actor, at)
    if standing.state == "insufficient" and standing.proposed_at is None:
        await store.update_standing(tx, customer_sid, {"proposed_at": at})
        told = {currency: decimal_text(micros) for currency, micros in short.items()}
        states = (standing.state, standing.state)
        await record(
            tx, customer_sid, actor, ("payment_standing", customer_sid), states, "suspension proposed", told, at
        )
        return await store.lock(tx, customer_sid, at)
    return standing


async def suspend(env: Surroundings, tx: Tx, customer_sid: str, actor: str, at: datetime) -> Standing:
    """Suspend all accounts of a customer whose funds are short, as the operator decides.

    Raises: Conflict where nothing is due or it is suspended.
    """
    await customers.require(tx, customer_sid)
    standing = await review(env, tx, customer_sid, at, actor=actor)
    if (standing.state, "approved") not in STANDING:
        raise Conflict(f"The standing is {standing.state}", CLAUSE, "not_insufficient", state=standing.state)
    return await _move(env, tx, standing, "approved", await shortage(tx, customer_sid), actor, at)


async def _move(
    env: Surroundings, tx: Tx, standing: Standing, event: str, short: dict[str, int], actor: str, at: datetime
) -> Standing:
    move = STANDING.get((standing.state, event))
    if move is None:
        return standing
    customer_sid = standing.customer_sid
    cause = {"short": "insufficient_funds", "declined": "card_declined", "approved": "operator"}.get(event, "paid")
    changes = {"state": move.next, "cause": cause, "since": at, "proposed_at": None}
    await store.update_standing(tx, customer_sid, changes)
    told = {"due": {currency: decimal_text(micros) for currency, micros in short.items()}, "clause": CLAUSE}
    await record(
        tx, customer_sid, actor, ("payment_standing", customer_sid), (standing.state, move.next), cause, told, at
    )
    for effect in move.effects:
        if effect == "block_new_accounts":
            await env.set_block(tx, customer_sid, "new_accounts", cause, at)
        elif effect == "suspend":
            await env.set_block(tx, customer_sid, "services", cause, at)
        else:
            assert effect == "lift"
            await env.lift(tx, customer_sid, cause, at)
    await customers.announce(
        tx, customer_sid, events.STANDING_CHANGED, {"from": standing.state, "to": move.next, "cause": cause}, at
    )
    return await store.lock(tx, customer_sid, at)


async def exposures(tx: Tx, customer_sid: str) -> list[Exposure]:
    """Return what an invoiced customer owes or will be billed, by currency."""
    return [
        Exposure(customer_sid, each.currency, each.accounts.get(UNBILLED, 0), each.owed, each.credit_limit)
        for each in await ledger.balances(tx, customer_sid)
        if each.kind == "invoiced"
    ]


async def _watch_exposure(tx: Tx, customer_sid: str, at: datetime) -> None:
    for each in await exposures(tx, customer_sid):
        if each.is_over:
            subject = f"{decimal_text(each.total)} {each.currency} are open, over the credit limit"
            await customers.open_task(tx, customer_sid, "exposure", "3.3.2", subject, day_of(at), at)
