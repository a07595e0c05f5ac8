"""The send path's door to money.

Theory of operation
-------------------

`hold` runs before a thing is done: it finds each account's customer and price in memory and sets the most it can cost
aside, all of a batch in the one statement of `Leases.hold`. The hold's purpose is the use itself, so whoever finds the
hold can charge it.

`settle` runs once it is known how the thing ended. A held use is rated as of the instant it was held, at the price its
funds were set aside for, and exactly the rated amount is captured. The hold decides: one that ended makes a repeat, or
a report that contradicts the first, a no-op. Where another transaction ends the hold between our look and our capture
the other way, the rating is taken back by a correction, so that what is rated is always what was charged.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from onterms.business import customers
from onterms.business.accounts import main_accounts
from onterms.business.pricing import Price, PriceList, Rating, UsageEvent, rate, rated
from onterms.business.usage import store
from onterms.business.usage.errors import AlreadyMetered, InsufficientFunds, NoAgreement, NotOnSale
from onterms.business.usage.model import PURPOSE, Settled, Use, category_of, purpose, use_of
from onterms.business.usage.service import triggers
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.engines import ledger
from onterms.engines.ledger import Capture, Captured, Charge, Duplicate, Hold, HoldKey, HoldRequest, Insufficient, Split

# Ours: longer than anything stays undecided; a message is given up by its carrier after 10 hours at most.
HOLD_FOR = timedelta(hours=72)
# An account changes its customer by an assignment (9.2), which is rare; this long the old one may still be asked.
_OWNER_S = 60.0
# Some 300 bytes each.
_ACCOUNTS_MAX = 200_000
_SWEEP_MAX = 500
_VOID = ":void"


class StillDue(Protocol):
    """Tells which uses whose holds run out are to be paid all the same; the others are let go."""

    async def __call__(self, tx: Tx, ids: Sequence[str]) -> set[str]:
        """Return those of the ids that are to be charged."""
        ...


class Charged(Protocol):
    """Hears what uses cost that nobody settled."""

    async def __call__(self, tx: Tx, costs: Mapping[tuple[str, str], tuple[int, str]]) -> None:
        """Take what each use cost: (account, id) -> (micro-units, currency)."""
        ...


async def tell_nobody(tx: Tx, costs: Mapping[tuple[str, str], tuple[int, str]]) -> None:
    """Let usage records alone tell."""


class Owner(NamedTuple):
    """Who answers for an account."""

    customer_sid: str
    country: str
    currency: str
    main_sid: str
    learned_s: float


class _Bill(NamedTuple):
    """A use to be charged: for its hold, or without one."""

    use: Use
    customer_sid: str
    currency: str
    occurred_at: datetime
    hold: Hold | None


class Meter:
    """Holds funds for uses, and charges or frees them when it is known how they ended."""

    def __init__(self, database: Database, clock: Clock, prices: PriceList, leases: ledger.Leases) -> None:
        self._database = database
        self._clock = clock
        self._prices = prices
        self._leases = leases
        self._owners: dict[str, Owner] = {}
        self._has_balance: set[tuple[str, str]] = set()

    def forget(self, account_sids: Iterable[str]) -> None:
        """Forget whose accounts these are, because it changes."""
        for account_sid in account_sids:
            self._owners.pop(account_sid, None)

    # ---- before

    async def hold(self, tx: Tx, uses: Sequence[Use], at: datetime) -> dict[str, Refusal]:
        """Set aside what uses can cost at most and return the refusals by id: what is not in there may be done.

        Shapes: a use that costs nothing needs no hold. A repeat of an open hold for the same amount is accepted.
        """
        refusals: dict[str, Refusal] = {}
        requests: list[HoldRequest] = []
        owners = await self._owners_of(tx, uses)
        tables = self._prices.tables
        price_of = tables.price
        expires_at = at + HOLD_FOR
        # Surcharges and currencies are the same for nearly all of a batch.
        extras: dict[tuple[str, str, str, str, str, str], int] = {}
        currencies: dict[str, str] = {}
        for use in uses:
            owner = owners.get(use.account_sid)
            if owner is None:
                refusals[use.id] = NoAgreement()
                continue
            customer_sid = owner.customer_sid
            currency = currencies.get(customer_sid)
            if currency is None:
                currency = currencies[customer_sid] = tables.currency(customer_sid, at) or owner.currency
            _, id_, service, direction, country, number, unit, qty, carrier, _, _ = use
            price = price_of(customer_sid, service, direction, country, number, unit, currency, at)
            if price is None:
                refusals[id_] = NotOnSale(service, country, currency)
                continue
            extra_key = (carrier, country, service, direction, unit, currency)
            extra = extras.get(extra_key)
            if extra is None:
                rules = tables.surcharges(carrier, country, service, direction, unit, currency, at)
                extra = extras[extra_key] = sum(rule.micros for rule in rules)
            micros = (_most(price) + extra) * qty
            if micros > 0:
                text = purpose(use, price.prefix)
                requests.append(HoldRequest(id_, use.account_sid, customer_sid, currency, micros, expires_at, text))
        if requests:
            for outcome in await self._leases.hold(tx, requests, at):
                if isinstance(outcome, Insufficient):
                    refusals[outcome.key.id] = InsufficientFunds()
                elif isinstance(outcome, Duplicate) and not (outcome.is_same and outcome.state == "held"):
                    refusals[outcome.key.id] = AlreadyMetered()
        return refusals

    async def currencies(self, tx: Tx, account_sids: Sequence[str], at: datetime) -> dict[str, str]:
        """Return the currency in which each account is charged; those without a customer are absent."""
        owners = await self._owners_of_accounts(tx, account_sids)
        tables = self._prices.tables
        return {sid: tables.currency(owner.customer_sid, at) or owner.currency for sid, owner in owners.items()}

    async def owners(self, tx: Tx, account_sids: Iterable[str]) -> dict[str, Owner]:
        """Return who answers for each account; those without a customer are absent."""
        return await self._owners_of_accounts(tx, account_sids)

    async def _owners_of(self, tx: Tx, uses: Iterable[Use]) -> dict[str, Owner]:
        return await self._owners_of_accounts(tx, [use.account_sid for use in uses])

    async def _owners_of_accounts(self, tx: Tx, account_sids: Iterable[str]) -> dict[str, Owner]:
        oldest_s = self._clock.monotonic() - _OWNER_S
        found: dict[str, Owner] = {}
        missing: set[str] = set()
        for account_sid in account_sids:
            if account_sid in found or account_sid in missing:
                continue
            owner = self._owners.get(account_sid)
            if owner is None or owner.learned_s < oldest_s:
                missing.add(account_sid)
            else:
                found[account_sid] = owner
        if missing:
            found.update(await self._learn(tx, sorted(missing)))
        return found

    async def _learn(self, tx: Tx, account_sids: Sequence[str]) -> dict[str, Owner]:
        now_s = self._clock.monotonic()
        mains = await main_accounts(tx, account_sids)
        owners = {
            account_sid: Owner(found.sid, found.country, found.currency, mains[account_sid], now_s)
            for account_sid, found in (await customers.customers_of(tx, account_sids)).items()
        }
        if len(self._owners) + len(owners) > _ACCOUNTS_MAX:
            self._owners.clear()
        # Those without a customer are not remembered: they may agree at any moment.
        self._owners.update(owners)
        return owners

    async def credentials(self, tx: Tx, customer_sid: str, ids: Sequence[str]) -> dict[str, str]:
        """Return by which credential each of a customer's charged uses was, by id (2.2(a))."""
        return await store.credentials_of(tx, customer_sid, ids)

    # ---- after

    async def settle(self, tx: Tx, settled: Sequence[Settled], at: datetime) -> dict[str, int]:
        """Charge or free uses and return what each cost in micro-units, by id; a repeat changes nothing.

        Shapes: what has a hold goes by the hold. Without one, `charge` rates and charges, and `free` does nothing.
        """
        costs = {each.use.id: 0 for each in settled}
        owners = await self._owners_of(tx, (each.use for each in settled))
        known = {each.use.id: each for each in settled if each.use.account_sid in owners}
        keys = {id_: HoldKey(owners[each.use.account_sid].customer_sid, id_) for id_, each in known.items()}
        holds = await ledger.find(tx, list(keys.values()))
        bills: list[_Bill] = []
        free: list[HoldKey] = []
        bare: list[_Bill] = []
        for id_, each in known.items():
            hold, owner = holds.get(keys[id_]), owners[each.use.account_sid]
            if hold is not None and hold.account_sid != each.use.account_sid:
                continue
            if hold is not None and hold.state != "held":
                costs[id_] = hold.captured
            elif hold is not None and each.outcome == "free":
                free.append(hold.key)
            elif hold is not None:
                bill = _bill(hold)
                if bill.use.service != each.use.service:
                    # It went another way than it was thought to, and costs what that way does.
                    bill = _Bill(each.use, hold.customer_sid, hold.currency, hold.created_at, hold)
                # What it was sent from may be known only now.
                bills.append(bill._replace(use=bill.use._replace(detail=each.use.detail)))
            elif each.outcome == "charge":
                currency = self._prices.tables.currency(owner.customer_sid, at) or owner.currency
                bare.append(_Bill(each.use, owner.customer_sid, currency, each.occurred_at or at, None))
        done = await rated(tx, [(bill.customer_sid, bill.use.id) for bill in bare])
        for bill in bare:
            lines = done.get((bill.customer_sid, bill.use.id))
            if lines is None:
                bills.append(bill)
            else:
                costs[bill.use.id] = sum(line.micros for line in lines)
        costs.update(await self._end(tx, bills, free, at))
        return costs

    async def _end(self, tx: Tx, bills: Sequence[_Bill], free: Sequence[HoldKey], at: datetime) -> dict[str, int]:
        """Charge what is due, free the rest, and return what each bill cost."""
        # Rating comes first: it may take a customer's lock, which everybody takes before the funds.
        ratings = await rate(tx, self._prices, [_event(bill) for bill in bills], at) if bills else []
        costs: dict[str, int] = {}
        captures: dict[HoldKey, tuple[_Bill, Rating, Capture]] = {}
        release = list(free)
        charges: list[Charge] = []
        sources: list[tuple[str, Use]] = []
        for bill, rating in zip(bills, ratings, strict=True):
            # What could not be rated is in quarantine for the operator, and the customer pays nothing meanwhile.
            costs[bill.use.id] = rating.micros
            if rating.lines:
                sources.append((bill.customer_sid, bill.use))
            if bill.hold is not None and 0 < rating.micros <= bill.hold.micros:
                captures[bill.hold.key] = (bill, rating, Capture(bill.hold.key, _split(rating)))
                continue
            if bill.hold is not None:
                release.append(bill.hold.key)
            # More than was held, as tiers that rise can make it; or less than nothing, as volume tiers can.
            if rating.micros:
                charges.append(_charge_of(bill, rating))
        touched = {key.customer_sid for key in [*captures, *release]} | {charge.customer_sid for charge in charges}
        if len(touched) > 1:
            # Each step below takes its own customers in order; together they would not be in order.
            await ledger.lock(tx, sorted(touched))
        for id_ in await self._capture(tx, captures, at):
            costs[id_] = 0
        if release:
            await ledger.release(tx, release, at)
        if charges:
            await self._open_balances(tx, charges, at)
            await ledger.charge(tx, charges, at)
        if sources:
            await store.insert_sources(tx, sources)
            await self._watch(tx, [use for _, use in sources], at)
        return costs

    async def _capture(self, tx: Tx, captures: dict[HoldKey, tuple[_Bill, Rating, Capture]], at: datetime) -> list[str]:
        """Capture what was rated; take back the rating of what another transaction freed meanwhile, and return it."""
        if not captures:
            return []
        outcomes = await ledger.capture(tx, [capture for _, _, capture in captures.values()], at)
        lost = [captures[outcome.key][0] for outcome in outcomes if not isinstance(outcome, Captured)]
        if lost:
            corrections = [_event(bill, id_=bill.use.id + _VOID, correction_of=bill.use.id, number="") for bill in lost]
            await rate(tx, self._prices, corrections, at)
        return [bill.use.id for bill in lost]

    async def _open_balances(self, tx: Tx, charges: Sequence[Charge], at: datetime) -> None:
        # A customer that has never paid in can be owed by all the same: its inbound messages cost.
        for key in sorted({(charge.customer_sid, charge.currency) for charge in charges} - self._has_balance):
            if await ledger.balance(tx, *key) is None:
                await ledger.open_balance(tx, *key, at)
            tx.after_commit(lambda key=key: self._has_balance.add(key))  # type: ignore[misc]

    async def _watch(self, tx: Tx, uses: Sequence[Use], at: datetime) -> None:
        """Let the triggers of accounts and of their main accounts be looked at."""
        owners = await self._owners_of(tx, uses)
        watching = {use.account_sid for use in uses} | {owner.main_sid for owner in owners.values()}
        await triggers.check_soon(tx, sorted(watching), at)

    # ---- what nobody settled

    async def sweep(self, tx: Tx, still_due: StillDue, charged: Charged, at: datetime) -> int:
        """Charge or free holds that ran out, at most some hundred, and return how many: call it until it returns 0."""
        overdue = await ledger.overdue(tx, PURPOSE, at, _SWEEP_MAX)
        if not overdue:
            return 0
        due = await still_due(tx, [hold.id for hold in overdue])
        bills = [_bill(hold) for hold in overdue if hold.id in due]
        costs = await self._end(tx, bills, [hold.key for hold in overdue if hold.id not in due], at)
        if bills:
            told = {(bill.use.account_sid, bill.use.id): (costs[bill.use.id], bill.currency) for bill in bills}
            await charged(tx, told)
        return len(overdue)


def _most(price: Price) -> int:
    """Return the most that a unit can cost."""
    if price.tiers is None:
        return price.micros
    return max(micros for _, micros in price.tiers.steps)


def _bill(hold: Hold) -> _Bill:
    return _Bill(
        use_of(hold.account_sid, hold.id, hold.purpose), hold.customer_sid, hold.currency, hold.created_at, hold
    )


def _event(
    bill: _Bill, *, id_: str | None = None, correction_of: str | None = None, number: str | None = None
) -> UsageEvent:
    use = bill.use
    return UsageEvent(
        id=id_ or use.id,
        customer_sid=bill.customer_sid,
        account_sid=use.account_sid,
        service=use.service,
        category=category_of(use.service, use.direction, use.detail),
        direction=use.direction,
        country=use.country,
        unit=use.unit,
        qty=use.qty,
        currency=bill.currency,
        occurred_at=bill.occurred_at,
        number=use.number if number is None else number,
        attributes={"carrier": use.carrier} if use.carrier else {},
        correction_of=correction_of,
    )


def _split(rating: Rating) -> Split:
    fee = sum(line.micros for line in rating.lines if line.kind == "fee")
    return Split(rating.event.service, fee, rating.micros - fee)


def _charge_of(bill: _Bill, rating: Rating) -> Charge:
    return Charge(bill.customer_sid, bill.currency, f"use:{bill.use.id}", _split(rating), {"use": bill.use.id})
