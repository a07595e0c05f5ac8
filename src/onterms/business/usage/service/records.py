"""Usage records and the balance, as accounts read them."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from onterms.business import accounts, customers
from onterms.business.pricing import usage_totals
from onterms.business.usage.model import (
    BEGINNING,
    CATEGORIES,
    Periods,
    Step,
    Usage,
    instants,
    period_start,
    sum_up,
)
from onterms.core.calendar import day_of, plus_months
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines import ledger

_STEPS: Mapping[str, Step] = {"Daily": "day", "Monthly": "month", "Yearly": "year"}
CURRENCY = "USD"


async def currency_of(tx: Tx, account_sid: str) -> str:
    """Return the currency that an account's usage is shown in."""
    customer = await customers.customer_of(tx, account_sid)
    return CURRENCY if customer is None else customer.currency


async def balance(tx: Tx, account_sid: str) -> tuple[int, str]:
    """Return what is left of an account's funds when all it owes is taken off, and the currency.

    Shapes: a subaccount spends its main account's funds, so both show the same.
    """
    customer = await customers.customer_of(tx, account_sid)
    if customer is None:
        return 0, CURRENCY
    found = await ledger.balance(tx, customer.sid, customer.currency)
    return 0 if found is None else found.net, customer.currency


async def read(tx: Tx, account_sid: str, sublist: str, params: Mapping[str, Any], at: datetime) -> Usage:
    """Read what an account used: in a range, or in the periods of a sublist (`Daily`, `LastMonth`, ...).

    Raises: InvalidParameter.
    """
    wanted = params.get("Category")
    if wanted and wanted not in CATEGORIES:
        raise InvalidParameter(f"'{wanted[:64]}' is no usage category")
    categories = [CATEGORIES[wanted]] if wanted else list(CATEGORIES.values())
    sids = [account_sid]
    if params.get("IncludeSubaccounts", True):
        sids = await accounts.family(tx, account_sid)
    today = day_of(at)
    step = _STEPS.get(sublist, "total")
    start, end = _range(sublist, params, today)
    totals = await usage_totals(tx, sids, *instants(start or BEGINNING, end), group=step)
    if start is None:
        start = await _first_day(tx, sids, end) if step == "total" else None
        start = start or min((total.start for total in totals if total.start is not None), default=end)
        start = min(start, end)
    if step == "month":
        start = start if "StartDate" in params else start.replace(day=1)
    elif step == "year":
        start = start if "StartDate" in params else period_start("yearly", start)
    return Usage(sum_up(totals), await currency_of(tx, account_sid), categories, Periods(step, start, end))


def _range(sublist: str, params: Mapping[str, Any], today: date) -> tuple[date | None, date]:
    """Return the first day, None for the first with usage, and the last."""
    this_month = today.replace(day=1)
    if sublist == "Today":
        return today, today
    if sublist == "Yesterday":
        return today - timedelta(days=1), today - timedelta(days=1)
    if sublist == "ThisMonth":
        return this_month, today
    if sublist == "LastMonth":
        return plus_months(this_month, -1), this_month - timedelta(days=1)
    if sublist == "AllTime":
        return None, today
    start, end = _day(params, "StartDate", today), _day(params, "EndDate", today) or today
    if start is not None and end < start:
        raise InvalidParameter("EndDate must not be before StartDate")
    return start, end


def _day(params: Mapping[str, Any], name: str, today: date) -> date | None:
    found = params.get(name)
    return today + found if isinstance(found, timedelta) else found


async def _first_day(tx: Tx, sids: list[str], end: date) -> date | None:
    days = await usage_totals(tx, sids, *instants(BEGINNING, end), group="day")
    return min((total.start for total in days if total.start is not None), default=None)
