"""The operator's prices and surcharges: publishing and reading."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from onterms.business.pricing.errors import InvalidPrice, RaiseNotAhead, UnknownCurrency
from onterms.business.pricing.model import PriceTables, Rate, SurchargeRule, is_raise
from onterms.business.pricing.store import prices as store
from onterms.core.db import Tx
from onterms.core.money import is_currency
from onterms.engines import audit


async def publish(tx: Tx, book: str, rates: Sequence[Rate], at: datetime, *, by: str) -> list[int]:
    """Add list prices, all or none, and return their ids.

    Raises: UnknownCurrency; InvalidPrice; RaiseNotAhead where one goes up before a future instant.
    """
    if not rates:
        raise InvalidPrice("'prices' holds no price")
    known: dict[tuple[str, str, str, str], list[Rate]] = {}
    for rate in rates:
        price = rate.price
        if not is_currency(price.currency):
            raise UnknownCurrency(price.currency)
        key = (rate.service, rate.direction, price.unit, price.currency)
        if key not in known:
            known[key] = await store.rates_like(tx, *key)
        _refuse_raise(PriceTables(known[key]), rate, known[key], at)
        # What is published together is seen together: a raise cannot hide behind a cut.
        known[key].append(replace(rate, recorded_at=at))
    ids = await store.insert_prices(tx, book, [replace(rate, recorded_at=at) for rate in rates], by)
    await store.bump(tx)
    event = audit.AuditEvent("operator", by, "price_book", book, None, None, "publish", {"prices": ids})
    await audit.record(tx, [event], at)
    return ids


def _refuse_raise(tables: PriceTables, rate: Rate, known: Sequence[Rate], at: datetime) -> None:
    """Refuse a price that would cost anyone more for an instant that is not ahead."""
    if rate.effective_from > at:
        return
    price = rate.price
    # The past and the present are compared wherever a price began or ended meanwhile.
    until = at if rate.effective_to is None else min(at, rate.effective_to - timedelta(microseconds=1))
    instants = {rate.effective_from, until}
    for other in known:
        instants |= {edge for edge in (other.effective_from, other.effective_to) if edge is not None}
    for instant in instants:
        if not rate.effective_from <= instant <= until:
            continue
        before = tables.list_price(
            rate.service, rate.direction, rate.country, rate.prefix, price.unit, price.currency, instant
        )
        if before is not None and is_raise(before, price):
            raise RaiseNotAhead


async def ensure_default_prices(tx: Tx, at: datetime) -> int:
    """Fill an empty price list with the book that ships and return how many prices were added.

    A list that is older than a fee gets the fee's price, once.
    """
    rates = store.shipped_rates(at)
    if await store.has_list_prices(tx):
        fees = store.shipped_fees() - await store.listed_services(tx)
        rates = [rate for rate in rates if rate.service in fees]
        if not rates:
            return 0
    await store.insert_prices(tx, store.DEFAULT_BOOK, rates, "install")
    await store.bump(tx)
    return len(rates)


async def add_surcharge(tx: Tx, rule: SurchargeRule, at: datetime, *, by: str, source: str) -> SurchargeRule:
    """Add a rule for a carrier's or an authority's charge.

    Raises: UnknownCurrency; RaiseNotAhead where it would come before now.
    """
    if not is_currency(rule.currency):
        raise UnknownCurrency(rule.currency)
    if rule.effective_from < at:
        raise RaiseNotAhead
    added = await store.insert_surcharge(tx, replace(rule, recorded_at=at), recorded_by=by, source=source)
    await store.bump(tx)
    evidence = {"source": source, "micros": added.micros, "currency": added.currency}
    event = audit.AuditEvent("operator", by, "surcharge_rule", str(added.id), None, None, "add", evidence)
    await audit.record(tx, [event], at)
    return added
