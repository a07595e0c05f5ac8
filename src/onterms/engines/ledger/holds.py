"""Holds: setting funds aside, extending, capturing, releasing, expiring."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from onterms.core.db import Row, Tx
from onterms.core.ids import new_sid
from onterms.engines.ledger import lease_store, store, templates
from onterms.engines.ledger.journal import post_freeing, tell_low
from onterms.engines.ledger.model import (
    Capture,
    Captured,
    CaptureOutcome,
    Charge,
    Duplicate,
    Ended,
    Extended,
    ExtendOutcome,
    Extension,
    Held,
    Hold,
    HoldKey,
    HoldOutcome,
    HoldRequest,
    HoldState,
    Insufficient,
    KeyReused,
    NoBalance,
    Posted,
    Released,
    ReleaseOutcome,
    Split,
    TooMuch,
    Transaction,
    Unknown,
)

_EXPIRE_MAX = 1000


async def hold(tx: Tx, requests: Sequence[HoldRequest], at: datetime) -> list[HoldOutcome]:
    """Set funds aside and return what became of each request, in order.

    Shapes: where funds do not cover all of a batch, its requests are served in order while they fit.
    """
    unique: dict[HoldKey, HoldRequest] = {}
    places: dict[HoldKey, int] = {}
    for place, each in enumerate(requests):
        unique.setdefault(each.key, each)
        places.setdefault(each.key, place)
    outcomes: dict[HoldKey, HoldOutcome] = {}
    if unique:
        await _hold_unique(tx, unique, outcomes, at)
    ordered: list[HoldOutcome] = []
    for place, each in enumerate(requests):
        first = unique[each.key]
        outcome = outcomes[each.key]
        if places[each.key] != place and isinstance(outcome, Held):
            is_same = (first.micros, first.currency) == (each.micros, each.currency)
            outcome = Duplicate(each.key, "held", is_same)
        ordered.append(outcome)
    return ordered


async def _hold_unique(
    tx: Tx, unique: dict[HoldKey, HoldRequest], outcomes: dict[HoldKey, HoldOutcome], at: datetime
) -> None:
    made = await store.insert_holds(tx, list(unique.values()), at)
    outcomes.update((key, Held(key)) for key in made)
    left = [key for key in unique if key not in made]
    if not left:
        return
    known = await store.holds_by_key(tx, left)
    short: dict[store.FundsKey, list[HoldRequest]] = {}
    for key in left:
        request = unique[key]
        if key in known:
            outcomes[key] = _duplicate(request, known[key])
        else:
            short.setdefault((request.customer_sid, request.currency), []).append(request)
    for funds_key, wanted in sorted(short.items()):
        available = await _available(tx, funds_key, sum(each.micros for each in wanted))
        chosen: list[HoldRequest] = []
        for each in wanted:
            if available is None or each.micros <= available:
                chosen.append(each)
                available = None if available is None else available - each.micros
            else:
                outcomes[each.key] = Insufficient(each.key, available)
        if chosen:
            # The funds are locked, so what fitted a moment ago still does.
            made = await store.insert_holds(tx, chosen, at)
            assert len(made) == len(chosen), "funds changed while they were locked"
            outcomes.update((key, Held(key)) for key in made)


def _duplicate(request: HoldRequest, row: Row) -> Duplicate:
    is_same = (row["micros"] - row["extended"], row["currency"]) == (request.micros, request.currency)
    return Duplicate(request.key, row["state"], is_same)


async def _available(tx: Tx, key: store.FundsKey, wanted: int) -> int | None:
    """Lock funds and return what is available, after calling in leases where that is less than wanted."""
    funds = (await store.lock_funds(tx, [key])).get(key)
    if funds is None:
        return 0
    available = _left(funds)
    if available is not None and available < wanted and await lease_store.give_back(tx, key, is_patient=True):
        available = _left((await store.lock_funds(tx, [key]))[key])
    return available


def _left(funds: Row) -> int | None:
    return None if funds["floor"] is None else max(0, funds["posted"] - funds["held"] - funds["floor"])


async def lock(tx: Tx, customer_sids: Sequence[str]) -> None:
    """Lock customers' funds in order, for a transaction that changes those of several in more than one step."""
    await store.lock_funds_of(tx, sorted(set(customer_sids)))


async def find(tx: Tx, keys: Sequence[HoldKey]) -> dict[HoldKey, Hold]:
    """Return the holds there are of these keys, as they stand."""
    return {found.key: found for found in await store.find_holds(tx, keys)} if keys else {}


async def overdue(tx: Tx, purpose_prefix: str, at: datetime, limit: int) -> list[Hold]:
    """List open holds whose time has come and whose purpose begins so, for those that decide what becomes of them."""
    return await store.overdue_holds(tx, purpose_prefix, at, limit)


async def extend(tx: Tx, extensions: Sequence[Extension]) -> list[ExtendOutcome]:
    """Let open holds reach a new total, each while its funds cover it, and return what became of each, in order."""
    outcomes: list[ExtendOutcome] = []
    if not extensions:
        return outcomes
    # Funds before holds, as everywhere; the holds are then read in a statement that sees what was done before.
    await store.lock_funds_of(tx, sorted({each.key.customer_sid for each in extensions}))
    for each in extensions:
        row = (await store.holds_by_key(tx, [each.key])).get(each.key)
        if row is None:
            outcomes.append(Unknown(each.key))
        elif row["state"] != "held":
            outcomes.append(Ended(each.key, row["state"], row["captured"]))
        else:
            outcomes.append(await _extend_open(tx, each, row))
    return outcomes


async def _extend_open(tx: Tx, extension: Extension, row: Row) -> ExtendOutcome:
    key = extension.key
    by = max(0, extension.to_micros - row["micros"])
    if by:
        available = await _available(tx, (key.customer_sid, row["currency"]), by)
        if available is not None and available < by:
            return Insufficient(key, available)
        await store.add_held(tx, key.customer_sid, row["currency"], by)
    await store.grow_hold(tx, key, by, extension.expires_at)
    return Extended(key, row["micros"] + by)


async def capture(tx: Tx, captures: Sequence[Capture], at: datetime) -> list[CaptureOutcome]:
    """Post what holds cost, free the rest, and return what became of each, in order.

    Shapes: one transaction per customer, currency and service; each hold's row names it.
    """
    unique: dict[HoldKey, Capture] = {}
    places: dict[HoldKey, int] = {}
    for place, each in enumerate(captures):
        unique.setdefault(each.key, each)
        places.setdefault(each.key, place)
    groups: dict[tuple[str, str], str] = {}
    ends: list[tuple[HoldKey, int, str | None]] = []
    for each in unique.values():
        group = (each.key.customer_sid, each.split.service)
        if group not in groups:
            groups[group] = new_sid("LT", at)
        ends.append((each.key, each.micros, groups[group]))
    ended = await store.end_holds(tx, "captured", ends, at) if ends else {}
    parts: dict[tuple[str, str, str, str], list[HoldKey]] = {}
    freed: dict[store.FundsKey, int] = {}
    for key, row in ended.items():
        service = unique[key].split.service
        parts.setdefault((key.customer_sid, row["currency"], row["kind"], service), []).append(key)
        funds_key = (key.customer_sid, row["currency"])
        freed[funds_key] = freed.get(funds_key, 0) + row["micros"]
    transactions = [
        Transaction(
            customer_sid,
            currency,
            f"{groups[customer_sid, service]}:{currency}",
            templates.capture(
                "prepaid" if kind == "prepaid" else "invoiced",
                sum(ended[key]["micros"] for key in keys),
                [unique[key].split for key in keys],
            ),
            {"holds": len(keys)},
        )
        for (customer_sid, currency, kind, service), keys in parts.items()
    ]
    await post_freeing(tx, transactions, freed, at)
    rest = [each.key for place, each in enumerate(captures) if each.key not in ended or places[each.key] != place]
    known = await store.holds_by_key(tx, rest) if rest else {}
    outcomes: list[CaptureOutcome] = []
    for place, each in enumerate(captures):
        if each.key in ended and places[each.key] == place:
            outcomes.append(Captured(each.key, each.micros, ended[each.key]["micros"] - each.micros, True))
        else:
            outcomes.append(_not_captured(each, known.get(each.key)))
    return outcomes


def _not_captured(wanted: Capture, row: Row | None) -> CaptureOutcome:
    if row is None:
        return Unknown(wanted.key)
    if row["state"] == "held":
        return TooMuch(wanted.key, row["micros"])
    if row["state"] == "captured" and row["captured"] == wanted.micros:
        return Captured(wanted.key, wanted.micros, row["micros"] - wanted.micros, False)
    return Ended(wanted.key, row["state"], row["captured"])


async def release(tx: Tx, keys: Sequence[HoldKey], at: datetime) -> list[ReleaseOutcome]:
    """Free holds that cost nothing and return what became of each, in order."""
    ended = await _free(tx, "released", keys, at)
    rest = [key for key in keys if key not in ended]
    known = await store.holds_by_key(tx, rest) if rest else {}
    outcomes: list[ReleaseOutcome] = []
    seen: set[HoldKey] = set()
    for key in keys:
        if key in ended:
            outcomes.append(Released(key, key not in seen))
        elif key not in known:
            outcomes.append(Unknown(key))
        elif known[key]["state"] in ("released", "expired"):
            outcomes.append(Released(key, False))
        else:
            outcomes.append(Ended(key, known[key]["state"], known[key]["captured"]))
        seen.add(key)
    return outcomes


async def expire(tx: Tx, at: datetime, *, limit: int = _EXPIRE_MAX) -> list[HoldKey]:
    """Free open holds whose time has come and return which, at most `limit`: call it again while it returns so many."""
    keys = await store.expired_holds(tx, at, limit)
    # One that was extended or ended since it was looked up is left as it is.
    return sorted(await _free(tx, "expired", keys, at, expired_at=at))


async def _free(
    tx: Tx, state: HoldState, keys: Iterable[HoldKey], at: datetime, *, expired_at: datetime | None = None
) -> dict[HoldKey, Row]:
    ends: list[tuple[HoldKey, int, str | None]] = [(key, 0, None) for key in dict.fromkeys(keys)]
    if not ends:
        return {}
    ended = await store.end_holds(tx, state, ends, at, expired_at=expired_at)
    freed: dict[store.FundsKey, int] = {}
    for key, row in ended.items():
        funds_key = (key.customer_sid, row["currency"])
        freed[funds_key] = freed.get(funds_key, 0) + row["micros"]
    await post_freeing(tx, [], freed, at)
    return ended


async def charge(tx: Tx, charges: Sequence[Charge], at: datetime) -> list[Posted]:
    """Post fees without holds and return them in order; a repeated key is a no-op.

    Shapes: a prepaid customer pays from what is available and owes the rest; for an invoiced one it is unbilled.

    Raises: KeyReused, NoBalance.
    """
    posted: list[Posted] = []
    if not charges:
        return posted
    locked = await store.lock_funds(tx, sorted({(each.customer_sid, each.currency) for each in charges}))
    known = await store.transactions_by_key(tx, [(each.customer_sid, each.key) for each in charges])
    short: set[store.FundsKey] = set()
    # One by one: each leaves less for the next. The first of a key that stands twice is found by the second.
    for each in charges:
        asked = _asked(each.split)
        before = known.get((each.customer_sid, each.key))
        if before is not None:
            if before[2].get("charge") != asked:
                raise KeyReused(f"the key {each.key} stands for another transaction")
            posted.append(Posted(each.key, before[0], False))
            continue
        if (each.customer_sid, each.currency) not in locked:
            raise NoBalance(f"{each.customer_sid} has no balance in {each.currency}")
        memo = {**each.memo, "charge": asked}
        posting = templates.rate_usage([each.split])
        owed = 0
        if locked[each.customer_sid, each.currency]["kind"] == "prepaid":
            total = each.split.total
            available = await _available(tx, (each.customer_sid, each.currency), total)
            prepaid = total if available is None else min(total, available)
            owed = total - prepaid
            posting = templates.rate_usage([each.split], prepaid=prepaid, receivable=owed)
        [made] = await post_freeing(
            tx, [Transaction(each.customer_sid, each.currency, each.key, posting, memo)], {}, at
        )
        if owed > 0:
            short.add((each.customer_sid, each.currency))
        known[each.customer_sid, each.key] = (made.id, b"", memo)
        posted.append(made)
    if short:
        await tell_low(tx, sorted(short), at)
    return posted


def _asked(split: Split) -> str:
    # How a charge is split between funds and receivable depends on the moment, so a repeat is known by what it asks.
    return hashlib.sha256(msgspec.json.encode(split, order="sorted")).hexdigest()
