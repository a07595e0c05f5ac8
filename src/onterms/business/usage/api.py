"""What this room serves: the contract's balance, usage records and triggers, and the operator's view of the books."""

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, cast

from onterms.business import customers
from onterms.business.usage import store, wire
from onterms.business.usage.model import Recurring, Trigger, TriggerBy
from onterms.business.usage.service import records, triggers
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines import ledger
from onterms.engines.api import Binding, Call, OwnRoute, Page, serve
from onterms.engines.api.shapes import Items, whole

# OpenAPI: a friendly name has at most 64 characters.
_NAME_CHARS_MAX = 64
_ENTRIES_MAX = 100
# Where a page of the journal ended: a transaction and a place in it.
_ENTRY = re.compile(r"^(\d{1,18})-(\d{1,9})$", re.ASCII)


async def _balance(tx: Tx, call: Call) -> Mapping[str, Any]:
    micros, currency = await records.balance(tx, call.account.sid)
    return wire.balance(call.account.sid, micros, currency)


def _records(sublist: str) -> Callable[[Tx, Call], Awaitable[Page]]:
    async def handler(tx: Tx, call: Call) -> Page:
        usage = await records.read(tx, call.account.sid, sublist, call.params, call.at)
        # Most rows say that nothing was used: only those of the page are made.
        paging, total = call.paging, len(usage)
        if paging.before is not None:
            end = _place(paging.before)
            begin = max(0, end - paging.size)
        else:
            begin = _place(paging.after) + 1 if paging.after is not None else paging.offset
            end = begin + paging.size
        places = range(min(begin, total), min(end, total))
        return Page(
            [wire.record(call.account.sid, sublist, usage, place, call.at) for place in places],
            f"PA{places[-1]}" if places and places[-1] + 1 < total else None,
            f"PB{places[0]}" if places and places[0] > 0 else None,
        )

    return handler


def _place(token: str) -> int:
    if not token.isdigit() or len(token) > 12:
        raise InvalidParameter("PageToken is not a token of this list")
    return int(token)


async def _create(tx: Tx, call: Call) -> Mapping[str, Any]:
    params = call.params
    new = triggers.NewTrigger(
        friendly_name=_name(params) or "",
        category=params["UsageCategory"],
        recurring=cast(Recurring, params.get("Recurring") or "alltime"),
        trigger_by=cast(TriggerBy, params.get("TriggerBy") or "usage"),
        value=params["TriggerValue"],
        callback_url=_url(params["CallbackUrl"]),
        callback_method=params.get("CallbackMethod") or "POST",
    )
    return wire.trigger(await triggers.create(tx, call.account.sid, new, call.at), call.at)


async def _fetch(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.trigger(await triggers.fetch(tx, call.account.sid, call.path["Sid"]), call.at)


async def _list(tx: Tx, call: Call) -> Page:
    rows = await store.list_triggers(tx, call.account.sid, call.params, call.paging)
    return Page.of(call.paging, rows, key="sid", render=_rendered(call.at))


def _rendered(at: datetime) -> Callable[[Any], Mapping[str, Any]]:
    return lambda row: wire.trigger(Trigger(**dict(row)), at)


async def _update(tx: Tx, call: Call) -> Mapping[str, Any]:
    params = call.params
    url = _url(params["CallbackUrl"]) if params.get("CallbackUrl") else None
    changed = await triggers.update(
        tx, call.account.sid, call.path["Sid"], _name(params), url, params.get("CallbackMethod"), call.at
    )
    return wire.trigger(changed, call.at)


async def _delete(tx: Tx, call: Call) -> None:
    await triggers.delete(tx, call.account.sid, call.path["Sid"])


def _name(params: Mapping[str, Any]) -> str | None:
    name: str | None = params.get("FriendlyName")
    if name is not None and len(name) > _NAME_CHARS_MAX:
        raise InvalidParameter(f"FriendlyName has more than {_NAME_CHARS_MAX} characters")
    return name


def _url(text: str) -> str:
    if not text.lower().startswith(("http://", "https://")):
        raise InvalidParameter(f"CallbackUrl is no URL: '{text[:64]}'")
    return text


def bindings() -> list[Binding]:
    """Join the operations on balance, usage records and usage triggers to their use cases."""
    return [
        serve("api_v2010:FetchBalance", _balance),
        serve("api_v2010:ListUsageRecord", _records("")),
        *(serve(f"api_v2010:ListUsageRecord{name}", _records(name)) for name in wire.SUBLISTS),
        serve("api_v2010:CreateUsageTrigger", _create),
        serve("api_v2010:FetchUsageTrigger", _fetch),
        serve("api_v2010:ListUsageTrigger", _list),
        serve("api_v2010:UpdateUsageTrigger", _update),
        serve("api_v2010:DeleteUsageTrigger", _delete),
    ]


async def _ledger_balances(tx: Tx, mine: customers.Mine) -> Items[wire.LedgerBalance]:
    return whole([wire.LedgerBalance.of(each) for each in await ledger.balances(tx, mine.sid)])


async def _ledger_entries(tx: Tx, mine: customers.Mine, query: wire.EntriesQuery) -> Items[wire.LedgerEntry]:
    after = _after(query.next)
    found = await ledger.entries(tx, mine.sid, account=query.account, after=after, limit=_ENTRIES_MAX + 1)
    shown = [wire.LedgerEntry.of(each) for each in found[:_ENTRIES_MAX]]
    last = found[_ENTRIES_MAX - 1] if len(found) > _ENTRIES_MAX else None
    return Items(shown, None if last is None else f"{last.transaction_id}-{last.place}")


def _after(token: str | None) -> tuple[int, int]:
    if token is None:
        return 0, 0
    match = _ENTRY.match(token)
    if match is None:
        raise InvalidParameter("'next' must be what the last page gave")
    return int(match[1]), int(match[2])


def routes() -> list[OwnRoute]:
    """Return the routes under /commercial/v1: the operator's books of a customer."""
    base = "/commercial/v1"
    return [
        OwnRoute("GET", f"{base}/LedgerBalances", "operator", _ledger_balances, summary="Show a customer's books"),
        OwnRoute("GET", f"{base}/LedgerEntries", "operator", _ledger_entries, summary="List a customer's journal"),
    ]
