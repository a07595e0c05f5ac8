"""Watching usage windows, subaccounts and account information; whatever is found opens a review, never more."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from onterms.business import customers
from onterms.business.cases import SYSTEM, Book, Case
from onterms.business.suspension import events, store
from onterms.business.suspension.model import (
    Signals,
    SpikePolicy,
    baseline,
    information_gaps,
    judge,
    resale_suspected,
)
from onterms.business.suspension.model.spikes import Judgement, fraud_signs, is_unusual, under_pressure
from onterms.core.db import Tx

HISTORY = timedelta(weeks=8)
# Finds out what else is known of a window.
LookCloser = Callable[[Tx], Awaitable[Signals]]


async def observe(
    tx: Tx,
    reviews: Book,
    customer_sid: str,
    service: str,
    country: str,
    start_at: datetime,
    units: int,
    signals: Signals | LookCloser,
    at: datetime,
    *,
    policy: SpikePolicy | None = None,
) -> Judgement:
    """Take in a full window of 15 minutes and judge it by the same hour of earlier weeks (2.3(b)).

    A window that was seen before changes nothing and is usual. Only an unusual one is looked at closer.
    """
    policy = policy or SpikePolicy()
    history = await store.earlier_windows(tx, customer_sid, service, country, start_at, start_at - HISTORY)
    if not await store.insert_window(tx, customer_sid, service, country, start_at, units):
        return "usual"
    if len(history) < policy.history_min:
        return "learning"
    usual, mad = baseline(history)
    if not is_unusual(units, usual, mad, policy):
        return "usual"
    if not isinstance(signals, Signals):
        signals = await signals(tx)
    verdict = judge(units, usual, mad, signals, policy)
    detail = {"start_at": start_at.isoformat(), "units": units, "median": usual, "mad": mad}
    told = {"service": service, "country": country, **detail}
    await customers.announce(tx, customer_sid, events.USAGE_UNUSUAL, told, at)
    if verdict == "case":
        signs = fraud_signs(signals, policy) + (["platform_pressure"] if under_pressure(signals, policy) else [])
        given = {
            "ground": "spike",
            "summary": f"{units} units in 15 minutes where {usual} are usual, with signs: {', '.join(signs)}",
            "service": service,
            "country": country,
            "detail": {**detail, "signs": signs},
        }
        await reviews.open(tx, customer_sid, given, SYSTEM, at)
    return verdict


async def look_for_resale(
    tx: Tx, reviews: Book, customer_sid: str, customer_type: str, brands: Sequence[str], own_brand: str, at: datetime
) -> Case | None:
    """Open a review where all subaccounts of a plain customer serve other brands (2.2(b))."""
    if not resale_suspected(customer_type, brands, own_brand):
        return None
    given = {
        "ground": "resale",
        "summary": f"{len(brands)} subaccounts, each with a brand of its own, and no reseller agreement",
    }
    return await reviews.open(tx, customer_sid, given, SYSTEM, at)


async def look_at_information(
    tx: Tx,
    reviews: Book,
    customer_sid: str,
    account_sid: str,
    account_type: str,
    address: str,
    at: datetime,
    *,
    billing_bounced: bool,
    verification: str = "",
) -> Case | None:
    """Open a review where an account's information is false or incomplete (2.3(e))."""
    gaps = information_gaps(account_type, address, billing_bounced=billing_bounced, verification=verification)
    if not gaps:
        return None
    given = {"ground": "info", "summary": f"Account information: {', '.join(gaps)}", "account_sid": account_sid}
    return await reviews.open(tx, customer_sid, given, SYSTEM, at)
