"""Usage triggers: kept, checked after usage, fired once a period.

Theory of operation
-------------------

Settling marks the triggers of the accounts concerned and plans one check for each account, a little later, so that a
busy account is looked at every few seconds and an account without triggers costs one look-up. The check takes the marks
off before it adds up: usage that commits later plans the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from onterms.business import accounts
from onterms.business.pricing import usage_totals
from onterms.business.usage import events, store
from onterms.business.usage.errors import TriggerNotFound
from onterms.business.usage.model import (
    CATEGORIES,
    Recurring,
    Sum,
    Trigger,
    TriggerBy,
    instants,
    period_start,
    record_uri,
    sum_up,
    trigger_value,
    value_text,
)
from onterms.business.usage.service.records import currency_of
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.ids import new_sid
from onterms.core.money import InvalidAmount, micros
from onterms.engines import jobs, log

CHECK_TASK = "usage.check_triggers"
CALL_TASK = "usage.call_trigger"
# Ours; Twilio docs, UsageTriggers, say about once a minute.
CHECK_AFTER = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class NewTrigger:
    """What is asked for; a value that begins with + counts from what is used already."""

    friendly_name: str
    category: str
    recurring: Recurring
    trigger_by: TriggerBy
    value: str
    callback_url: str
    callback_method: Literal["GET", "POST"]


async def create(tx: Tx, account_sid: str, new: NewTrigger, at: datetime) -> Trigger:
    """Add a trigger; one whose value is reached already fires with the next usage.

    Raises: InvalidParameter.
    """
    if new.category not in CATEGORIES:
        raise InvalidParameter(f"'{new.category[:64]}' is no usage category")
    # An unencoded plus sign of a form arrives as a space.
    is_offset = new.value[:1] in ("+", " ")
    try:
        value = micros(new.value[1:] if is_offset else new.value)
    except InvalidAmount:
        raise InvalidParameter(f"TriggerValue is no amount: '{new.value[:40]}'") from None
    today = day_of(at)
    found = (await _values(tx, account_sid, {new.recurring}, at))[new.recurring]
    current = trigger_value(new.trigger_by, found.get(new.category, Sum()))
    trigger = Trigger(
        account_sid=account_sid,
        sid=new_sid("UT", at),
        friendly_name=new.friendly_name,
        category=new.category,
        recurring=new.recurring,
        trigger_by=new.trigger_by,
        trigger_micros=value + current if is_offset else value,
        current_micros=current,
        current_period=period_start(new.recurring, today),
        callback_url=new.callback_url,
        callback_method=new.callback_method,
        fired_period=None,
        fired_at=None,
        created_at=at,
        updated_at=at,
    )
    await store.insert_trigger(tx, account_sid, trigger)
    return trigger


async def fetch(tx: Tx, account_sid: str, sid: str) -> Trigger:
    """Return a trigger of an account.

    Raises: TriggerNotFound.
    """
    found = await store.fetch_trigger(tx, account_sid, sid)
    if found is None:
        raise TriggerNotFound(sid)
    return found


async def update(
    tx: Tx, account_sid: str, sid: str, name: str | None, url: str | None, method: str | None, at: datetime
) -> Trigger:
    """Change what is given of a trigger.

    Raises: TriggerNotFound.
    """
    found = await store.update_trigger(tx, account_sid, sid, name, url, method, at)
    if found is None:
        raise TriggerNotFound(sid)
    return found


async def delete(tx: Tx, account_sid: str, sid: str) -> None:
    """Delete a trigger.

    Raises: TriggerNotFound.
    """
    if not await store.delete_trigger(tx, account_sid, sid):
        raise TriggerNotFound(sid)


async def check_soon(tx: Tx, account_sids: Sequence[str], at: datetime) -> None:
    """Plan a check of the triggers of accounts, unless one is planned."""
    begun = await store.begin_checks(tx, account_sids)
    planned = [jobs.NewJob(CHECK_TASK, {}, account_sid=sid, due_at=at + CHECK_AFTER) for sid in sorted(begun)]
    await jobs.enqueue(tx, planned, at)


async def check(tx: Tx, account_sid: str, at: datetime) -> None:
    """Look at every trigger of an account and fire those whose value is reached."""
    found = await store.end_checks(tx, account_sid)
    if not found:
        return
    today = day_of(at)
    values = await _values(tx, account_sid, {trigger.recurring for trigger in found}, at)
    for trigger in found:
        value = trigger_value(trigger.trigger_by, values[trigger.recurring].get(trigger.category, Sum()))
        period = period_start(trigger.recurring, today)
        fires = trigger.fires(today, value)
        await store.keep_value(tx, account_sid, trigger.sid, value, period, at if fires else None)
        if fires:
            await _fire(tx, trigger, value, at)


async def _values(tx: Tx, account_sid: str, recurring: set[Recurring], at: datetime) -> dict[str, dict[str, Sum]]:
    sids = await accounts.family(tx, account_sid)
    currency = await currency_of(tx, account_sid)
    today = day_of(at)
    values: dict[str, dict[str, Sum]] = {}
    for each in sorted(recurring):
        start, end = instants(period_start(each, today), today)
        sums = sum_up(await usage_totals(tx, sids, start, end))
        values[each] = {category: found for (category, money, _), found in sums.items() if money == currency}
    return values


async def _fire(tx: Tx, trigger: Trigger, value: int, at: datetime) -> None:
    today = day_of(at)
    token = f"{trigger.account_sid}-FIRES-{trigger.sid}-{period_start(trigger.recurring, today).isoformat()}"
    params = [
        ("AccountSid", trigger.account_sid),
        ("UsageTriggerSid", trigger.sid),
        ("Recurring", "" if trigger.recurring == "alltime" else trigger.recurring),
        ("UsageCategory", trigger.category),
        ("TriggerBy", trigger.trigger_by),
        ("TriggerValue", value_text(trigger.trigger_micros)),
        ("CurrentValue", value_text(value)),
        ("UsageRecordUri", record_uri(trigger)),
        ("DateFired", at.strftime("%a, %d %b %Y %H:%M:%S +0000")),
        ("IdempotencyToken", token),
    ]
    payload: dict[str, Any] = {
        "sid": trigger.sid,
        "url": trigger.callback_url,
        "method": trigger.callback_method,
        "params": params,
        "token": token,
    }
    await jobs.enqueue(tx, [jobs.NewJob(CALL_TASK, payload, account_sid=trigger.account_sid)], at)
    data = {"category": trigger.category, "current_value": value_text(value)}
    await log.append(tx, [log.Event(events.TRIGGER_FIRED, trigger.account_sid, trigger.sid, data)], at)
