"""Auto-recharge: the balance is filled up by itself, one charge at a time and up to a cap a day."""

from dataclasses import replace
from datetime import datetime, timedelta

from onterms.business.payments import store
from onterms.business.payments.errors import Conflict
from onterms.business.payments.model import AutoRecharge, TopUp
from onterms.business.payments.service import methods, standing, top_ups, watching
from onterms.business.payments.service.surroundings import (
    SYSTEM,
    Surroundings,
    check_amount,
    record,
    require_currency,
)
from onterms.core.calendar import day_of, end_of, start_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.money import decimal_text
from onterms.engines import jobs, ledger

RECHARGE_TASK = "payments.recharge"
# Whoever spends funds says so (`funds_spent`); this only catches what nobody said.
_LOOK_AGAIN = timedelta(hours=1)


async def configure(
    tx: Tx,
    customer_sid: str,
    currency: str,
    threshold: int,
    amount: int,
    cap_per_day: int,
    is_on: bool,
    actor: str,
    at: datetime,
) -> AutoRecharge:
    """Say when, by how much and up to how much a day the balance is filled up.

    Raises: InvalidParameter, NotFound; Conflict without a card that can be charged.
    """
    check_amount(amount, currency)
    if threshold < 0:
        raise InvalidParameter("'threshold' must not be negative")
    if cap_per_day < amount:
        raise InvalidParameter("'cap_per_day' must be at least 'amount'")
    await require_currency(tx, customer_sid, currency)
    found = await store.lock(tx, customer_sid, at)
    if is_on:
        await methods.require_card(tx, customer_sid, None, at)
        if found.method == "invoice":
            raise Conflict("A customer that is invoiced has no balance to fill up", "3.3", "method_is_invoice")
    made = AutoRecharge(customer_sid, currency, threshold, amount, cap_per_day, "on" if is_on else "off", "", 1)
    made = replace(made, version=await store.put_auto_recharge(tx, made, at))
    told = {"threshold": decimal_text(threshold), "amount": decimal_text(amount), "cap": decimal_text(cap_per_day)}
    await record(tx, customer_sid, actor, ("auto_recharge", customer_sid), (None, made.state), currency, told, at)
    await watching.watch(tx, customer_sid)
    if is_on:
        await _look(tx, made, at, at)
    return made


async def stop(tx: Tx, customer_sid: str, actor: str, at: datetime) -> int:
    """Charge no card by itself any more, because the agreement ended; return how many currencies it was on for."""
    await store.lock(tx, customer_sid, at)
    stopped = 0
    for found in await store.auto_recharges(tx, customer_sid):
        if found.state != "off":
            off = replace(found, state="off")
            await store.put_auto_recharge(tx, off, at)
            states = (found.state, "off")
            await record(tx, customer_sid, actor, ("auto_recharge", customer_sid), states, found.currency, {}, at)
            stopped += 1
    return stopped


async def funds_spent(tx: Tx, customer_sid: str, currency: str, at: datetime) -> None:
    """Have the balance filled up if it is below the threshold; for whoever takes money from it."""
    found = await _setting(tx, customer_sid, currency)
    if found is None or found.state != "on":
        return
    balance = await ledger.balance(tx, customer_sid, currency)
    if balance is None or balance.net >= found.threshold:
        return
    await jobs.enqueue(tx, [_job(found, at, follows=False)], at)


async def funds_low(env: Surroundings, tx: Tx, customer_sid: str, currency: str, at: datetime) -> None:
    """Fill funds up that are low, where the customer wants it, and look at its standing; the ledger says when."""
    await funds_spent(tx, customer_sid, currency, at)
    await standing.review(env, tx, customer_sid, at)


async def recharge(
    env: Surroundings, tx: Tx, customer_sid: str, currency: str, version: int, follows: bool, at: datetime
) -> TopUp | None:
    """Fill the balance up if it is low, nothing is under way and the day's cap leaves room; then look again later."""
    await store.lock(tx, customer_sid, at)
    found = await _setting(tx, customer_sid, currency)
    if found is None or found.state != "on" or found.version != version:
        return None
    balance = await ledger.balance(tx, customer_sid, currency)
    # Fees due beyond the funds count as well: they are settled first. Holds do not: what they keep is not spent yet.
    available = 0 if balance is None else balance.net
    made: TopUp | None = None
    next_at = at + _LOOK_AGAIN
    if available < found.threshold and not await store.has_top_up_under_way(tx, customer_sid, currency, "auto", None):
        today = day_of(at)
        spent = await store.recharged(tx, customer_sid, currency, start_of(today), end_of(today))
        if spent + found.amount > found.cap_per_day:
            next_at = end_of(today)
        else:
            try:
                made = await top_ups.top_up(env, tx, customer_sid, found.amount, currency, SYSTEM, at, origin="auto")
            except Conflict:
                # The card was removed or has expired: nothing to charge until the customer says so again.
                await store.put_auto_recharge(tx, replace(found, state="paused", reason="no_card"), at)
                return None
    if made is None:
        await watching.watch(tx, customer_sid)
    if follows:
        await _look(tx, found, next_at, at)
    return made


async def settings(tx: Tx, customer_sid: str) -> list[AutoRecharge]:
    """List a customer's settings by currency."""
    return await store.auto_recharges(tx, customer_sid)


async def _setting(tx: Tx, customer_sid: str, currency: str) -> AutoRecharge | None:
    found = await store.auto_recharges(tx, customer_sid)
    return next((each for each in found if each.currency == currency), None)


async def _look(tx: Tx, setting: AutoRecharge, due_at: datetime, at: datetime) -> None:
    await jobs.enqueue(tx, [_job(setting, due_at, follows=True)], at)


def _job(setting: AutoRecharge, due_at: datetime, *, follows: bool) -> jobs.NewJob:
    payload = {
        "customer_sid": setting.customer_sid,
        "currency": setting.currency,
        "version": setting.version,
        "follows": follows,
    }
    return jobs.NewJob(RECHARGE_TASK, payload, due_at=due_at)
