"""The shapes of balances, usage records and usage triggers."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from msgspec import field

from onterms.business.usage.model import TOTAL, Category, Sum, Trigger, Usage, record_uri, value_text
from onterms.core.calendar import day_of
from onterms.core.money import decimal_text
from onterms.engines.api.shapes import Micros, Shape, Sid

SUBLISTS = ("AllTime", "Daily", "LastMonth", "Monthly", "ThisMonth", "Today", "Yearly", "Yesterday")
_NAMES = {
    "AllTime": "all_time",
    "LastMonth": "last_month",
    "ThisMonth": "this_month",
}


def balance(account_sid: str, micros: int, currency: str) -> dict[str, Any]:
    """Render a balance."""
    return {"account_sid": account_sid, "balance": decimal_text(micros), "currency": currency}


def record(account_sid: str, sublist: str, usage: Usage, place: int, at: datetime) -> dict[str, Any]:
    """Render one usage record."""
    category, start, end, found = usage.at(place)
    return {
        "account_sid": account_sid,
        "api_version": "2010-04-01",
        "as_of": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        "category": category.name,
        **_figures(category, usage.currency, found),
        "description": category.description,
        "start_date": start.isoformat(),
        "end_date": end.isoformat(),
        "subresource_uris": _subresources(account_sid, category),
        "uri": _uri(account_sid, sublist, category, start, end),
    }


def _figures(category: Category, currency: str, found: Sum) -> dict[str, Any]:
    price = decimal_text(found.micros)
    is_total = category.name == TOTAL
    return {
        "count": "" if is_total else str(found.count),
        "count_unit": category.count_unit,
        "usage": price if is_total else str(found.qty),
        "usage_unit": currency.lower() if is_total else category.usage_unit,
        # The schema has a number here, which JSON readers make a binary float anyway; nothing is computed with it.
        "price": float(price),
        "price_unit": currency.lower(),
    }


def _uri(account_sid: str, sublist: str, category: Category, start: date, end: date) -> str:
    base = f"/2010-04-01/Accounts/{account_sid}/Usage/Records{'/' + sublist if sublist else ''}.json"
    return f"{base}?Category={category.name}&StartDate={start.isoformat()}&EndDate={end.isoformat()}"


def _subresources(account_sid: str, category: Category) -> dict[str, str]:
    base = f"/2010-04-01/Accounts/{account_sid}/Usage/Records"
    return {_NAMES.get(name, name.lower()): f"{base}/{name}.json?Category={category.name}" for name in SUBLISTS}


def trigger(found: Trigger, at: datetime) -> Mapping[str, Any]:
    """Render a usage trigger."""
    return {
        "account_sid": found.account_sid,
        "api_version": "2010-04-01",
        "callback_method": found.callback_method,
        "callback_url": found.callback_url,
        "current_value": value_text(found.value_on(day_of(at))),
        "date_created": found.created_at,
        "date_fired": found.fired_at,
        "date_updated": found.updated_at,
        "friendly_name": found.friendly_name,
        "recurring": found.recurring,
        "sid": found.sid,
        "trigger_by": found.trigger_by,
        "trigger_value": value_text(found.trigger_micros),
        "uri": f"/2010-04-01/Accounts/{found.account_sid}/Usage/Triggers/{found.sid}.json",
        "usage_category": found.category,
        "usage_record_uri": record_uri(found),
    }


class EntriesQuery(Shape):
    """Entries of an account of the books, or all; a page begins with the `next` of the page before."""

    account: str | None = None
    next: str | None = None


class LedgerBalance(Shape):
    """A customer's books in one currency: debits positive."""

    customer_sid: Sid
    currency: str
    kind: str
    held: Micros
    accounts: dict[str, Micros]


class LedgerEntry(Shape):
    """An entry of the journal."""

    transaction_id: int = field(name="transaction")
    at: datetime
    kind: str
    key: str
    currency: str
    account: str
    micros: Micros = field(name="amount")
    document: str | None
