"""Which price counts, pure and in memory.

Theory of operation
-------------------

A rate says what a unit of a service costs, in [effective_from, effective_to). Rates are only added. Of several rates
for the same (service, direction, country, prefix, unit, currency) that cover an instant, the one that begins last
counts; among those that begin together, the one recorded last. So a later price takes over from an earlier one, a
promotion with an end falls back to what it interrupted, and a correction replaces its original. Leaving out what was
recorded after some instant gives the answer as it was known then.

`PriceTables` cuts each such key into spans in which one rate counts, once. A question then is: the longest prefix of
the number that has a price at the instant, else its country, else the service's default; in the customer's order forms
first, then in the list. Each takes a few dictionary look-ups, for the send path asks for every message.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

# A currency and when an order form sets it.
Span = tuple[datetime, datetime | None, str]
TierMode = Literal["graduated", "volume"]

_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tiers:
    """Prices by quantity within a contract month.

    Shapes: steps are (units before the step, micro-units a unit), the first at 0, ascending. `graduated`: each unit
    costs the price of the step it falls into. `volume`: all units cost the price of the step that the month's total
    reaches.
    """

    mode: TierMode
    steps: tuple[tuple[int, int], ...]

    def total(self, qty: int) -> int:
        """Return what the first `qty` units of a month cost together, in micro-units."""
        if self.mode == "volume":
            price = self.steps[0][1]
            for floor, step_price in self.steps:
                # The step at `floor` begins with the unit after it.
                if qty > floor:
                    price = step_price
            return qty * price
        amount = 0
        for place, (floor, price) in enumerate(self.steps):
            ceiling = self.steps[place + 1][0] if place + 1 < len(self.steps) else qty
            amount += max(0, min(qty, ceiling) - floor) * price
        return amount

    def amount(self, position: int, qty: int) -> int:
        """Return what `qty` units cost after `position` units: the growth of the total, to which parts add up."""
        return self.total(position + qty) - self.total(position)


@dataclass(frozen=True, slots=True)
class Price:
    """What a unit costs a customer at an instant.

    Units: micros in micro-units of the currency; with tiers it is the first step's price.
    """

    micros: int
    currency: str
    unit: str
    row: int
    # The order form's SID, or empty for the list.
    order_form: str = ""
    tiers: Tiers | None = None
    name: str = ""
    prefix: str = ""

    def amount(self, qty: int, position: int = 0) -> int:
        """Return what a quantity costs exactly, in micro-units."""
        return self.micros * qty if self.tiers is None else self.tiers.amount(position, qty)


@dataclass(frozen=True, slots=True)
class Rate:
    """A price with what it is for and when it counts.

    Shapes: country and prefix are empty where the rate is for all; a prefix is + and digits.
    """

    service: str
    direction: str
    country: str
    prefix: str
    price: Price
    effective_from: datetime
    effective_to: datetime | None
    recorded_at: datetime
    # Whose order form it stands in, or empty for the list.
    customer_sid: str = ""


@dataclass(frozen=True, slots=True)
class SurchargeRule:
    """A charge of a carrier or an authority on top of a fee, passed on as a line of its own.

    Shapes: carrier, country, channel, direction and unit are empty where the rule is for all. Of one kind the rule with
    the most of them named counts.
    """

    id: int
    kind: str
    name: str
    carrier: str
    country: str
    channel: str
    direction: str
    unit: str
    currency: str
    micros: int
    effective_from: datetime
    effective_to: datetime | None
    recorded_at: datetime

    def applies(self, carrier: str, country: str, channel: str, direction: str, unit: str, currency: str) -> bool:
        """Tell whether what the rule names is what the event has."""
        return (
            self.currency == currency
            and self.carrier in ("", carrier)
            and self.country in ("", country)
            and self.channel in ("", channel)
            and self.direction in ("", direction)
            and self.unit in ("", unit)
        )

    @property
    def named(self) -> int:
        """Count what the rule names; the carrier weighs most, as it is who charges."""
        return (
            8 * bool(self.carrier)
            + 4 * bool(self.country)
            + 2 * bool(self.channel)
            + bool(self.direction)
            + bool(self.unit)
        )


class _Timeline:
    """The spans of one key, each with the rate that counts in it."""

    __slots__ = ("_last", "_prices", "_starts")

    def __init__(self, rates: Sequence[Rate]) -> None:
        edges = {_BEGINNING, _END}
        for rate in rates:
            edges.add(rate.effective_from)
            if rate.effective_to is not None:
                edges.add(rate.effective_to)
        # Ascending by what counts more; the order of adding decides what both times leave open.
        ranked = sorted(rates, key=lambda rate: (rate.effective_from, rate.recorded_at, rate.price.row))
        self._starts = sorted(edges)
        self._prices: list[Price | None] = []
        for start in self._starts:
            covering = [
                rate
                for rate in ranked
                if rate.effective_from <= start and (rate.effective_to is None or start < rate.effective_to)
            ]
            self._prices.append(covering[-1].price if covering else None)
        # Nearly every question is about the newest span that has begun, so the last answer's place is tried first.
        self._last = 0

    def at(self, at: datetime) -> Price | None:
        starts, last = self._starts, self._last
        if starts[last] <= at and at < starts[last + 1]:
            return self._prices[last]
        place = min(bisect_right(starts, at), len(starts) - 1) - 1
        self._last = place
        return self._prices[place]


class _Table:
    """The rates of one (service, direction, unit, currency)."""

    __slots__ = ("countries", "lengths", "prefixes")

    def __init__(self, rates: Sequence[Rate]) -> None:
        by_prefix: dict[str, list[Rate]] = {}
        by_country: dict[str, list[Rate]] = {}
        for rate in rates:
            group = by_prefix if rate.prefix else by_country
            group.setdefault(rate.prefix or rate.country, []).append(rate)
        self.prefixes = {key: _Timeline(group) for key, group in by_prefix.items()}
        self.countries = {key: _Timeline(group) for key, group in by_country.items()}
        self.lengths = sorted({len(prefix) for prefix in by_prefix}, reverse=True)

    def price(self, country: str, number: str, at: datetime) -> Price | None:
        for length in self.lengths:
            line = self.prefixes.get(number[:length])
            if line is not None and (price := line.at(at)) is not None:
                return price
        line = self.countries.get(country)
        if line is not None and (price := line.at(at)) is not None:
            return price
        line = self.countries.get("")
        return line.at(at) if line is not None else None


_TableKey = tuple[str, str, str, str]


def _tables(rates: Iterable[Rate]) -> dict[_TableKey, _Table]:
    groups: dict[_TableKey, list[Rate]] = {}
    for rate in rates:
        key = (rate.service, rate.direction, rate.price.unit, rate.price.currency)
        groups.setdefault(key, []).append(rate)
    return {key: _Table(group) for key, group in groups.items()}


class PriceTables:
    """Every price there is, ready to be asked; a value that never changes."""

    __slots__ = ("_currencies", "_forms", "_list", "_order_only", "_surcharges", "version")

    def __init__(
        self,
        rates: Sequence[Rate],
        surcharges: Sequence[SurchargeRule] = (),
        *,
        order_only: Mapping[str, frozenset[str]] | None = None,
        currencies: Mapping[str, Sequence[Span]] | None = None,
        version: int = 0,
        known_at: datetime | None = None,
    ) -> None:
        if known_at is not None:
            rates = [rate for rate in rates if rate.recorded_at <= known_at]
            surcharges = [rule for rule in surcharges if rule.recorded_at <= known_at]
        self.version = version
        self._list = _tables(rate for rate in rates if not rate.customer_sid)
        by_customer: dict[str, list[Rate]] = {}
        for rate in rates:
            if rate.customer_sid:
                by_customer.setdefault(rate.customer_sid, []).append(rate)
        self._forms = {customer: _tables(group) for customer, group in by_customer.items()}
        self._surcharges: dict[str, list[SurchargeRule]] = {}
        for rule in surcharges:
            self._surcharges.setdefault(rule.currency, []).append(rule)
        self._order_only = dict(order_only or {})
        self._currencies = dict(currencies or {})

    def price(
        self,
        customer_sid: str,
        service: str,
        direction: str,
        country: str,
        number: str,
        unit: str,
        currency: str,
        at: datetime,
    ) -> Price | None:
        """Return what a unit costs a customer: its order form's rate, else the list price, or None for no sale."""
        key = (service, direction, unit, currency)
        forms = self._forms.get(customer_sid)
        if forms is not None:
            table = forms.get(key)
            if table is not None and (price := table.price(country, number, at)) is not None:
                return price
            # A form that is the only way to a service refuses outside its term, where others fall back to the list.
            if service in self._order_only.get(customer_sid, ()):
                return None
        table = self._list.get(key)
        return table.price(country, number, at) if table is not None else None

    def currency(self, customer_sid: str, at: datetime) -> str | None:
        """Return the currency that a customer's order forms set, the latest signature first, or None."""
        for begins, ends, currency in self._currencies.get(customer_sid, ()):
            if begins <= at and (ends is None or at < ends):
                return currency
        return None

    def list_price(
        self, service: str, direction: str, country: str, number: str, unit: str, currency: str, at: datetime
    ) -> Price | None:
        """Return the list price alone."""
        table = self._list.get((service, direction, unit, currency))
        return table.price(country, number, at) if table is not None else None

    def prefixes(
        self, customer_sid: str, service: str, direction: str, unit: str, currency: str, calling_code: str
    ) -> set[str]:
        """Return the prefixes under a calling code (`+44`) that have a row in the list or a customer's order forms."""
        key = (service, direction, unit, currency)
        tables = [self._list.get(key), self._forms.get(customer_sid, {}).get(key)]
        return {
            prefix
            for table in tables
            if table is not None
            for prefix in table.prefixes
            if prefix.startswith(calling_code)
        }

    def surcharges(
        self, carrier: str, country: str, channel: str, direction: str, unit: str, currency: str, at: datetime
    ) -> list[SurchargeRule]:
        """Return the surcharges on an event, at most one of each kind."""
        best: dict[str, SurchargeRule] = {}
        for rule in self._surcharges.get(currency, ()):
            if not (rule.effective_from <= at and (rule.effective_to is None or at < rule.effective_to)):
                continue
            if not rule.applies(carrier, country, channel, direction, unit, currency):
                continue
            other = best.get(rule.kind)
            if other is None or _rank(rule) > _rank(other):
                best[rule.kind] = rule
        return [best[kind] for kind in sorted(best)]


def _rank(rule: SurchargeRule) -> tuple[int, datetime, datetime, int]:
    return rule.named, rule.effective_from, rule.recorded_at, rule.id


def is_raise(old: Price, new: Price) -> bool:
    """Tell whether at some quantity a unit more costs more than before."""
    if old.tiers is None and new.tiers is None:
        return new.micros > old.micros
    old_tiers = old.tiers or Tiers("graduated", ((0, old.micros),))
    new_tiers = new.tiers or Tiers("graduated", ((0, new.micros),))
    floors = sorted({floor for tiers in (old_tiers, new_tiers) for floor, _ in tiers.steps})
    # Between two floors both are straight lines, so looking at their ends suffices; one far beyond stands for infinity.
    places = [place for floor in floors for place in (floor, floor + 1)] + [floors[-1] + 1_000_000_000]
    return any(new_tiers.total(place) > old_tiers.total(place) for place in places)
