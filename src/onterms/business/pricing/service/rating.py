"""Rating: usage events in, rated lines out, each exactly once.

Theory of operation
-------------------

A batch is read against what is rated already: the same event again answers with its lines, another body under the same
identifier goes to quarantine. What is new is priced at the instant it occurred. Events whose price has tiers, and
corrections, take the customer's lock first, since one counts and the other must not reverse twice; all others rely on
the key of the table alone, so traffic without tiers is never made to wait.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Literal

from onterms.business.pricing import events as announcements
from onterms.business.pricing.errors import DocumentMissing, UnknownCurrency
from onterms.business.pricing.model import (
    NewCharge,
    Price,
    PriceTables,
    RatedUsage,
    UsageEvent,
    UsageGroup,
    UsageSlice,
    UsageTotal,
    contract_month,
    reversed_line,
)
from onterms.business.pricing.service.price_list import PriceList
from onterms.business.pricing.store import order_forms as form_store
from onterms.business.pricing.store import rated as store
from onterms.core.calendar import start_of
from onterms.core.db import Tx
from onterms.core.ids import new_sid
from onterms.core.money import is_currency
from onterms.engines import audit, log

Outcome = Literal["rated", "replayed", "quarantined"]
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rating:
    """What became of one event.

    Shapes: reason says why an event was put aside: `no_price`, `different_body`, `unknown_original`,
    `already_corrected`, `unknown_currency`, `invalid_quantity`.
    """

    event: UsageEvent
    outcome: Outcome
    lines: tuple[RatedUsage, ...] = ()
    reason: str | None = None

    @property
    def micros(self) -> int:
        """Return the exact amount of all lines together."""
        return sum(line.micros for line in self.lines)


async def rate(tx: Tx, prices: PriceList | PriceTables, events: Sequence[UsageEvent], at: datetime) -> list[Rating]:
    """Rate events and store their lines; answer each in order.

    Shapes: `rated` is new; `replayed` was rated before and its lines are those of then; `quarantined` has none.
    """
    tables = prices.tables if isinstance(prices, PriceList) else prices
    customers = sorted({event.customer_sid for event in events})
    for customer_sid in customers:
        if any(_must_wait(tables, event) for event in events if event.customer_sid == customer_sid):
            await form_store.lock_customer(tx, customer_sid)
    batch = _Batch(tables, at)
    wanted = {(event.customer_sid, event.id) for event in events}
    wanted |= {(event.customer_sid, event.correction_of) for event in events if event.correction_of}
    batch.known = await store.lines_of(tx, sorted(wanted))
    batch.corrected = await store.corrected(
        tx, [(event.customer_sid, event.correction_of) for event in events if event.correction_of]
    )
    batch.closed = await store.closed_until(tx, customers)
    ratings = [await batch.rate_one(tx, event) for event in events]
    fresh = [line for rating in ratings if rating.outcome == "rated" for line in rating.lines]
    if fresh:
        fees = [line for line in fresh if line.line == 0]
        added = {(customer_sid, id_) for customer_sid, id_, _ in await store.insert(tx, customers, fees)}
        # An event that another transaction rated meanwhile has that one's surcharges, not ours.
        surcharges = [line for line in fresh if line.line and (line.customer_sid, line.id) in added]
        if surcharges:
            await store.insert(tx, customers, surcharges)
        if len(added) < len(fees):
            ratings = await _reconcile(tx, ratings, added)
    await _put_aside(tx, customers, ratings, at)
    return ratings


def _must_wait(tables: PriceTables, event: UsageEvent) -> bool:
    if event.correction_of is not None:
        return True
    price = _price(tables, event)
    return price is not None and price.tiers is not None


def _price(tables: PriceTables, event: UsageEvent) -> Price | None:
    return tables.price(
        event.customer_sid,
        event.service,
        event.direction,
        event.country,
        event.number,
        event.unit,
        event.currency,
        event.occurred_at,
    )


class _Batch:
    """What is known while a batch is rated; it grows with the batch itself."""

    def __init__(self, tables: PriceTables, at: datetime) -> None:
        self.tables = tables
        self.at = at
        self.known: dict[_Key, list[RatedUsage]] = {}
        self.corrected: dict[_Key, str] = {}
        self.closed: dict[str, datetime] = {}

    async def rate_one(self, tx: Tx, event: UsageEvent) -> Rating:
        key = (event.customer_sid, event.id)
        fingerprint = event.fingerprint()
        before = self.known.get(key)
        if before is not None:
            return _again(event, before, fingerprint)
        if event.correction_of is not None:
            rating = self._correct(event, fingerprint)
        else:
            rating = await self._price(tx, event, fingerprint)
        if rating.outcome == "rated":
            self.known[key] = list(rating.lines)
        return rating

    def _correct(self, event: UsageEvent, fingerprint: str) -> Rating:
        assert event.correction_of is not None
        original_key = (event.customer_sid, event.correction_of)
        original = self.known.get(original_key)
        # A correction is no original: taking one back is a new event.
        if not original or original[0].correction_of is not None:
            return Rating(event, "quarantined", reason="unknown_original")
        if original_key in self.corrected:
            return Rating(event, "quarantined", reason="already_corrected")
        self.corrected[original_key] = event.id
        lines = tuple(
            reversed_line(line, event.id, fingerprint, self.at, earlier=self._is_late(event, line.occurred_at))
            for line in original
        )
        return Rating(event, "rated", lines)

    async def _price(self, tx: Tx, event: UsageEvent, fingerprint: str) -> Rating:
        if not is_currency(event.currency):
            return Rating(event, "quarantined", reason="unknown_currency")
        if event.qty < 0:
            return Rating(event, "quarantined", reason="invalid_quantity")
        price = _price(self.tables, event)
        if price is None:
            return Rating(event, "quarantined", reason="no_price")
        position: int | None = None
        if price.tiers is not None:
            month = contract_month(event.occurred_at)
            position = await store.advance_tier(
                tx, event.customer_sid, price.order_form, event.service, month, event.qty
            )
        fee = RatedUsage(
            customer_sid=event.customer_sid,
            id=event.id,
            line=0,
            account_sid=event.account_sid,
            kind="fee",
            name=price.name,
            service=event.service,
            category=event.category,
            direction=event.direction,
            country=event.country,
            unit=event.unit,
            qty=event.qty,
            currency=event.currency,
            price=None if price.tiers is not None else price.micros,
            micros=price.amount(event.qty, position or 0),
            occurred_at=event.occurred_at,
            recorded_at=self.at,
            price_row=price.row,
            order_form=price.order_form,
            tier_position=position,
            correction_of=None,
            earlier_period=self._is_late(event, event.occurred_at),
            fingerprint=fingerprint,
        )
        rules = self.tables.surcharges(
            event.attributes.get("carrier", ""),
            event.country,
            event.service,
            event.direction,
            event.unit,
            event.currency,
            event.occurred_at,
        )
        surcharges = [
            replace(
                fee,
                line=place,
                kind="surcharge",
                name=rule.kind,
                price=rule.micros,
                micros=rule.micros * event.qty,
                price_row=rule.id,
                order_form="",
                tier_position=None,
            )
            for place, rule in enumerate(rules, 1)
        ]
        return Rating(event, "rated", (fee, *surcharges))

    def _is_late(self, event: UsageEvent, occurred_at: datetime) -> bool:
        until = self.closed.get(event.customer_sid)
        return until is not None and occurred_at < until


def _again(event: UsageEvent, before: Sequence[RatedUsage], fingerprint: str) -> Rating:
    if before[0].fingerprint == fingerprint:
        return Rating(event, "replayed", tuple(before))
    return Rating(event, "quarantined", reason="different_body")


async def _reconcile(tx: Tx, ratings: Sequence[Rating], added: set[_Key]) -> list[Rating]:
    """Answer again for events that another transaction rated between our look and our write."""
    missing = {
        (rating.event.customer_sid, rating.event.id)
        for rating in ratings
        if rating.outcome == "rated" and (rating.event.customer_sid, rating.event.id) not in added
    }
    before = await store.lines_of(tx, sorted(missing))
    answers: list[Rating] = []
    for rating in ratings:
        key = (rating.event.customer_sid, rating.event.id)
        if rating.outcome == "rated" and key in missing:
            rating = _again(rating.event, before[key], rating.event.fingerprint())
        answers.append(rating)
    return answers


async def _put_aside(tx: Tx, customers: Sequence[str], ratings: Sequence[Rating], at: datetime) -> None:
    aside = [(rating.event, rating.reason) for rating in ratings if rating.reason is not None]
    if not aside:
        return
    await store.quarantine(tx, customers, aside, at)
    await log.append(
        tx,
        [
            announcements.of_customer(
                announcements.USAGE_QUARANTINED, event.customer_sid, event.id, {"id": event.id, "reason": reason}
            )
            for event, reason in aside
        ],
        at,
    )


# ---- what others build on


async def rated(tx: Tx, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[RatedUsage]]:
    """Return the lines of those events, by (customer, event id), that were rated already."""
    return await store.lines_of(tx, keys) if keys else {}


async def usage_totals(
    tx: Tx, account_sids: Sequence[str], start: datetime, end: datetime, group: store.Grouping = "total"
) -> list[UsageTotal]:
    """Add up what accounts used in [start, end) by category and currency, by contract day, month or year if asked.

    Shapes: a surcharge counts under its own kind as category; a corrected event counts and weighs nothing.
    """
    return await store.totals(tx, account_sids, start, end, group)


async def unbilled(tx: Tx, customer_sid: str, until: datetime, apart: Sequence[datetime] = ()) -> list[UsageGroup]:
    """Add up what is on no invoice and was used before `until`, in groups as invoice lines show them.

    Shapes: what lies on two sides of an instant of `apart`, which ascend, is in two groups.
    """
    return await store.unbilled(tx, customer_sid, until, apart)


async def mark_billed(
    tx: Tx, customer_sid: str, until: datetime, invoice_sid: str, apart: Sequence[datetime] = ()
) -> list[UsageGroup]:
    """Put what `unbilled` tells of on an invoice and return the groups of exactly the rows that it took.

    What arrives later for a time before `until` is marked as of an earlier period. Again for the same invoice and
    instant, it takes what came meanwhile, so an invoice calls it once, with the transaction that numbers it.
    """
    await form_store.lock_customer(tx, customer_sid)
    closed = (await store.closed_until(tx, [customer_sid])).get(customer_sid)
    await store.close(tx, customer_sid, until)
    await store.mark(tx, customer_sid, until, invoice_sid, closed)
    return await store.billed(tx, customer_sid, invoice_sid, apart)


async def billed(tx: Tx, customer_sid: str, invoice_sid: str) -> list[UsageGroup]:
    """Add up what stands on an invoice."""
    return await store.billed(tx, customer_sid, invoice_sid)


async def fees_between(
    tx: Tx, customer_sid: str, currency: str, services: Sequence[str], start: datetime, end: datetime
) -> int:
    """Return the fees of services (all, if none are named) that occurred in [start, end), without surcharges."""
    return await store.fees_between(tx, customer_sid, currency, services, start, end)


async def slices(
    tx: Tx, customer_sids: Sequence[str], start: datetime, end: datetime, cut: datetime | None = None
) -> list[UsageSlice]:
    """Add up what customers used in [start, end) by service, kind, invoice and day; no sum spans `cut`."""
    return await store.slices(tx, customer_sids, start, end, cut)


async def pass_on(tx: Tx, customer_sid: str, charge: NewCharge, at: datetime) -> RatedUsage:
    """Pass a fine or penalty on as a line of the customer's next invoice; the line's id is the charge's SID.

    Raises: DocumentMissing; UnknownCurrency.
    """
    if not charge.document:
        raise DocumentMissing
    if not is_currency(charge.currency):
        raise UnknownCurrency(charge.currency)
    sid = new_sid("PC", at)
    stored = {
        **asdict(charge),
        "sid": sid,
        "document_sha256": hashlib.sha256(charge.document).hexdigest(),
        "recorded_at": at,
    }
    await form_store.insert_charge(tx, customer_sid, stored)
    imposed_at = start_of(charge.imposed_on)
    closed = await store.closed_until(tx, [customer_sid])
    line = RatedUsage(
        customer_sid=customer_sid,
        id=sid,
        line=0,
        account_sid=None,
        kind="penalty",
        name=f"{charge.authority}, {charge.case_reference}",
        service="all",
        category="penalty",
        direction="none",
        country="",
        unit="charge",
        qty=1,
        currency=charge.currency,
        price=charge.micros,
        micros=charge.micros,
        occurred_at=imposed_at,
        recorded_at=at,
        price_row=0,
        order_form="",
        tier_position=None,
        correction_of=None,
        earlier_period=imposed_at < closed.get(customer_sid, imposed_at),
        fingerprint=sid,
    )
    await store.insert(tx, [customer_sid], [line])
    evidence = {"document_sha256": stored["document_sha256"], "micros": charge.micros, "currency": charge.currency}
    event = audit.AuditEvent(customer_sid, "operator", "pass_through_charge", sid, None, None, "pass on", evidence)
    await audit.record(tx, [event], at)
    data = {"micros": charge.micros, "currency": charge.currency, "authority": charge.authority}
    await log.append(tx, [announcements.of_customer(announcements.CHARGE_PASSED_ON, customer_sid, sid, data)], at)
    return line
