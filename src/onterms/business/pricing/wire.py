"""The outside shapes: the contract's pricing rows, and our own API's prices, order forms and charges."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType, field

from onterms.business.pricing.errors import InvalidPrice
from onterms.business.pricing.model import (
    Commitment,
    NewCharge,
    OrderForm,
    Price,
    PriceTables,
    Rate,
    RatedUsage,
    SurchargeRule,
    Tiers,
    line_kind,
)
from onterms.core.errors import InvalidParameter
from onterms.core.money import decimal_text
from onterms.engines.api.shapes import Instant, Json, Micros, NotNegative, Shape, Sid

BASE_URL = "https://pricing.twilio.com"
_WORD = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")
# The contract's names of number types, with our services of a month of one.
NUMBER_TYPES = (("local", "local"), ("mobile", "mobile"), ("toll free", "tollfree"))


# ---- the contract's rows


class Reader:
    """The prices of one customer at one instant, as the contract shows them."""

    def __init__(self, tables: PriceTables, customer_sid: str, currency: str, at: datetime) -> None:
        self.tables = tables
        self.customer_sid = customer_sid
        self.currency = currency
        self.at = at

    def pair(
        self, service: str, direction: str, country: str, number: str, unit: str
    ) -> tuple[Price | None, Price | None]:
        """Return the list price and the customer's own."""
        base = self.tables.list_price(service, direction, country, number, unit, self.currency, self.at)
        own = self.tables.price(self.customer_sid, service, direction, country, number, unit, self.currency, self.at)
        return base, own

    def shown(self, service: str, direction: str, country: str, unit: str, number: str = "") -> dict[str, Any] | None:
        """Return base_price and current_price, or None for what is not on sale."""
        base, own = self.pair(service, direction, country, number, unit)
        if own is None:
            return None
        # What only an order form sells has no other price to be compared with.
        return {"base_price": _number(base or own), "current_price": _number(own)}

    def typed(self, service: str, direction: str, country: str, unit: str) -> list[dict[str, Any]]:
        """Return one price for each type of number; ours do not differ by type."""
        prices = self.shown(service, direction, country, unit)
        if prices is None:
            return []
        return [{**prices, "number_type": name} for name, _ in NUMBER_TYPES]

    def by_prefix(self, service: str, country: str, name: str, calling_code: str) -> list[tuple[list[str], str, Any]]:
        """Return (prefixes without +, name, prices) of calls to a country: its general price, then the special ones."""
        rows: list[tuple[list[str], str, Any]] = []
        general = self.shown(service, "outbound", country, "minute")
        if general is not None:
            rows.append(([calling_code], name, general))
        special: dict[tuple[str, Any, Any], list[str]] = {}
        for prefix in sorted(
            self.tables.prefixes(self.customer_sid, service, "outbound", "minute", self.currency, f"+{calling_code}")
        ):
            base, own = self.pair(service, "outbound", country, prefix, "minute")
            if own is None:
                continue
            key = (own.name or name, _number(base or own), _number(own))
            special.setdefault(key, []).append(prefix[1:])
        for (friendly, base_price, current), prefixes in special.items():
            rows.append((prefixes, friendly, {"base_price": base_price, "current_price": current}))
        return rows


def _number(price: Price) -> float:
    # The contract's schema has a number here. Six decimals survive this: a float's shortest text has fifteen digits.
    return float(decimal_text(price.micros))


def country_row(country: str, name: str, path: str) -> dict[str, Any]:
    """Render a country of a list."""
    return {"country": name, "iso_country": country, "url": f"{BASE_URL}{path}/{country}"}


def messaging_country(reader: Reader, country: str, name: str) -> dict[str, Any]:
    """Render what messages cost in a country."""
    prices = reader.typed("sms", "outbound", country, "segment")
    outbound = [{"carrier": "", "mcc": "", "mnc": "", "prices": prices}] if prices else []
    return {
        **country_row(country, name, "/v1/Messaging/Countries"),
        "outbound_sms_prices": outbound,
        "inbound_sms_prices": reader.typed("sms", "inbound", country, "segment"),
        "price_unit": reader.currency,
    }


def number_country(reader: Reader, country: str, name: str) -> dict[str, Any]:
    """Render what a month of a number costs in a country."""
    prices = [
        {**shown, "number_type": type_name}
        for type_name, suffix in NUMBER_TYPES
        if (shown := reader.shown(f"phone-number-{suffix}", "none", country, "month")) is not None
    ]
    return {
        **country_row(country, name, "/v1/PhoneNumbers/Countries"),
        "phone_number_prices": prices,
        "price_unit": reader.currency,
    }


def voice_country_v1(reader: Reader, country: str, name: str, calling_code: str) -> dict[str, Any]:
    """Render what calls cost in a country."""
    return {
        **country_row(country, name, "/v1/Voice/Countries"),
        "outbound_prefix_prices": [
            {"prefixes": prefixes, "friendly_name": friendly, **prices}
            for prefixes, friendly, prices in reader.by_prefix("voice", country, name, calling_code)
        ],
        "inbound_call_prices": reader.typed("voice", "inbound", country, "minute"),
        "price_unit": reader.currency,
    }


def _with_origin(rows: Iterable[tuple[list[str], str, Any]]) -> list[dict[str, Any]]:
    # Ours do not depend on where a call comes from, which the contract writes as ALL.
    return [
        {"origination_prefixes": ["ALL"], "destination_prefixes": prefixes, "friendly_name": friendly, **prices}
        for prefixes, friendly, prices in rows
    ]


def voice_country_v2(reader: Reader, country: str, name: str, calling_code: str) -> dict[str, Any]:
    """Render what calls cost in a country, by where they come from."""
    return {
        **country_row(country, name, "/v2/Voice/Countries"),
        "outbound_prefix_prices": _with_origin(reader.by_prefix("voice", country, name, calling_code)),
        "inbound_call_prices": reader.typed("voice", "inbound", country, "minute"),
        "price_unit": reader.currency,
    }


def trunking_country(reader: Reader, country: str, name: str, calling_code: str) -> dict[str, Any]:
    """Render what trunk calls cost in a country."""
    return {
        **country_row(country, name, "/v2/Trunking/Countries"),
        "terminating_prefix_prices": _with_origin(reader.by_prefix("trunking", country, name, calling_code)),
        "originating_call_prices": reader.typed("trunking", "inbound", country, "minute"),
        "price_unit": reader.currency,
    }


def _inbound(reader: Reader, service: str, country: str) -> dict[str, Any] | None:
    prices = reader.typed(service, "inbound", country, "minute")
    return prices[0] if prices else None


def voice_number_v1(reader: Reader, number: str, country: str, name: str) -> dict[str, Any]:
    """Render what calls with one number cost."""
    return {
        "number": number,
        "country": name,
        "iso_country": country,
        "outbound_call_price": reader.shown("voice", "outbound", country, "minute", number),
        "inbound_call_price": _inbound(reader, "voice", country),
        "price_unit": reader.currency,
        "url": f"{BASE_URL}/v1/Voice/Numbers/{number}",
    }


def voice_number_v2(reader: Reader, number: str, origin: str | None, country: str, name: str) -> dict[str, Any]:
    """Render what calls to one number cost, by where they come from."""
    prices = reader.shown("voice", "outbound", country, "minute", number)
    return {
        "destination_number": number,
        "origination_number": origin,
        "country": name,
        "iso_country": country,
        "outbound_call_prices": [] if prices is None else [{**prices, "origination_prefixes": ["ALL"]}],
        "inbound_call_price": _inbound(reader, "voice", country),
        "price_unit": reader.currency,
        "url": f"{BASE_URL}/v2/Voice/Numbers/{number}",
    }


def trunking_number(
    reader: Reader, number: str, origin: str | None, country: str, name: str, calling_code: str
) -> dict[str, Any]:
    """Render what trunk calls to one number cost."""
    _, own = reader.pair("trunking", "outbound", country, number, "minute")
    prices = reader.shown("trunking", "outbound", country, "minute", number)
    prefix = own.prefix[1:] if own is not None and own.prefix else calling_code
    rows = [] if prices is None else [([prefix], (own.name if own else "") or name, prices)]
    return {
        "destination_number": number,
        "origination_number": origin,
        "country": name,
        "iso_country": country,
        "terminating_prefix_prices": _with_origin(rows),
        "originating_call_price": _inbound(reader, "trunking", country),
        "price_unit": reader.currency,
        "url": f"{BASE_URL}/v2/Trunking/Numbers/{number}",
    }


# ---- what requests of our own API hold

_Word = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,63}$")]
_WordOrNone = Annotated[str, Meta(pattern="^([a-z0-9][a-z0-9._-]{0,63})?$")]
_CountryOrAll = Annotated[str, Meta(pattern="^([A-Z]{2})?$")]
_Prefix = Annotated[str, Meta(pattern=r"^(\+[1-9][0-9]{0,14})?$")]
_Line = Annotated[str, Meta(max_length=200)]
_Token = Annotated[str, Meta(pattern="^[0-9]{0,18}$")]
_PRICES: Mapping[str, type[InvalidPrice]] = dict.fromkeys(
    ("price", "prices", "rates", "tiers", "amount", "prepaid"), InvalidPrice
)


class PricingPage(Shape):
    """A page of up to `limit` after a token, the `next` of the page before."""

    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class CustomersPage(PricingPage):
    """Those of one customer; the operator may leave it out and sees all."""

    customer_sid: str | None = None


class FinesOf(Shape):
    """Whose: the operator may leave it out."""

    customer_sid: str | None = None


class NumberedPage(PricingPage):
    """A page of what is numbered."""

    after: _Token = ""


class PricesPage(NumberedPage):
    """Prices of a service, a country, a currency, or all; as they were known at an instant."""

    service: str | None = None
    country: str | None = None
    currency: str | None = None
    known_at: Instant | None = None


class RatedPage(CustomersPage):
    """Rated lines of a kind or an invoice."""

    kind: str | None = None
    invoice_sid: str | None = None


class QuoteQuery(Shape):
    """What a unit would cost: to a customer, for a service, there, then; `known_at` is the operator's."""

    customer_sid: str | None = None
    service: str = ""
    direction: str = "outbound"
    country: str = ""
    number: str = ""
    unit: str = ""
    currency: str = "USD"
    at: Instant | None = None
    known_at: Instant | None = None


class Step(Shape):
    """A price from a number of units on."""

    floor: int = field(name="from")
    price: NotNegative


class TierSteps(Shape):
    """Prices by quantity within a contract month: steps that begin at 0 and ascend."""

    mode: Literal["graduated", "volume"]
    steps: Annotated[list[Step], Meta(min_length=1, max_length=100)]

    def read(self) -> Tiers:
        """Turn it into the room's own.

        Raises: InvalidPrice.
        """
        floors = [step.floor for step in self.steps]
        if floors[0] != 0 or any(later <= earlier for earlier, later in pairwise(floors)):
            raise InvalidPrice("the steps must begin at 0 and ascend")
        return Tiers(self.mode, tuple((step.floor, step.price) for step in self.steps))


class NewPrice(Shape, kw_only=True):
    """A price of a unit: one `price`, or `tiers`."""

    refusals: ClassVar = _PRICES

    service: _Word
    unit: _Word
    direction: _Word = "outbound"
    country: _CountryOrAll = ""
    prefix: _Prefix = ""
    name: _Line = ""
    price: NotNegative | None = None
    tiers: TierSteps | None = None

    def read_tiers(self) -> tuple[int, Tiers | None]:
        """Return the price of the first unit, and the tiers.

        Raises: InvalidPrice.
        """
        steps = None if self.tiers is None else self.tiers.read()
        if steps is not None:
            return steps.steps[0][1], steps
        if self.price is None:
            raise InvalidPrice("'price' must be a decimal number as text")
        return self.price, None


class NewListPrice(NewPrice, kw_only=True):
    """A list price in a currency, between instants."""

    currency: _Line
    effective_from: Instant | None = None
    effective_to: Instant | None = None

    def read(self, at: datetime) -> Rate:
        """Turn it into the room's own."""
        first, steps = self.read_tiers()
        price = Price(first, self.currency, self.unit, row=0, tiers=steps, name=self.name, prefix=self.prefix)
        begins, ends = _span(self.effective_from or at, self.effective_to)
        return Rate(self.service, self.direction, self.country, self.prefix, price, begins, ends, at)


class NewPrices(Shape):
    """Prices to publish."""

    refusals: ClassVar = _PRICES

    prices: list[NewListPrice]


class NewCommitment(Shape):
    """What a customer commits to spend in a period, on some services or all."""

    period: Literal["month", "quarter", "year", "term"]
    amount: NotNegative
    services: tuple[str, ...] = ()


class NewOrderForm(Shape, kw_only=True):
    """An order form of a customer."""

    refusals: ClassVar = _PRICES

    customer_sid: Annotated[str, Meta(max_length=64)]
    number: _Line
    term_from: date
    term_to: date
    currency: _Line = "USD"
    entity: _Line = ""
    renewal_months: Annotated[int, Meta(ge=1, le=120)] | None = None
    net_days: Annotated[int, Meta(ge=0, le=365)] | None = None
    prepaid: NotNegative | None = None
    rates: tuple[NewPrice, ...] = ()
    commitments: tuple[NewCommitment, ...] = ()
    overrides: Json | None = None
    order_only: bool = False
    supersedes: _Line | None = None

    def read(self, at: datetime) -> OrderForm:
        """Turn it into the room's own.

        Raises: InvalidParameter, InvalidPrice.
        """
        if self.term_to < self.term_from:
            raise InvalidParameter("'term_to' must not come before 'term_from'")
        return OrderForm(
            customer_sid=self.customer_sid,
            sid="",
            number=self.number,
            state="draft",
            version=1,
            currency=self.currency,
            entity=self.entity,
            term_from=self.term_from,
            term_to=self.term_to,
            renewal_months=self.renewal_months,
            net_days=self.net_days,
            prepaid_micros=int(self.prepaid or 0),
            rates=tuple(_form_rate(each) for each in self.rates),
            commitments=tuple(Commitment(int(each.amount), each.period, each.services) for each in self.commitments),
            overrides=self.overrides or {},
            order_only=self.order_only,
            supersedes=self.supersedes or None,
            signatures=(),
            created_at=at,
            sent_at=None,
            signed_at=None,
            active_from=None,
            active_to=None,
            ended_cause=None,
        )


class Signature(Shape):
    """Who signs. A signature on paper is entered by the operator, who names the party that gave it."""

    name: _Line
    party: str | None = None


class Cause(Shape):
    """Why an order form ends."""

    cause: _Line


class NewSurcharge(Shape, kw_only=True):
    """A surcharge rule; what is left empty is all."""

    refusals: ClassVar = _PRICES

    currency: _Line
    price: NotNegative
    kind: _Word = "carrier-fee"
    name: _Line = ""
    carrier: _Line = ""
    country: _CountryOrAll = ""
    channel: _WordOrNone = ""
    direction: _WordOrNone = ""
    unit: _WordOrNone = ""
    effective_from: Instant | None = None
    effective_to: Instant | None = None
    source: Annotated[str, Meta(max_length=500)] = ""

    def read(self, at: datetime) -> SurchargeRule:
        """Turn it into the room's own."""
        begins, ends = _span(self.effective_from or at, self.effective_to)
        return SurchargeRule(
            id=0,
            kind=self.kind,
            name=self.name,
            carrier=self.carrier,
            country=self.country,
            channel=self.channel,
            direction=self.direction,
            unit=self.unit,
            currency=self.currency,
            micros=int(self.price),
            effective_from=begins,
            effective_to=ends,
            recorded_at=at,
        )


class NewFile(Shape):
    """A document, its bytes in Base64."""

    name: _Line = ""
    content: bytes = b""


class NewFine(Shape, kw_only=True):
    """A fine to be passed on; a missing document is refused with its clause."""

    refusals: ClassVar = _PRICES

    customer_sid: Annotated[str, Meta(max_length=64)]
    authority: _Line
    case: _Line
    amount: NotNegative
    imposed_on: date
    currency: _Line = "USD"
    document: NewFile | None = None

    def read(self) -> NewCharge:
        """Turn it into the room's own.

        Raises: InvalidPrice.
        """
        if self.amount == 0:
            raise InvalidPrice("'amount' must be more than nothing")
        document = self.document or NewFile()
        return NewCharge(
            authority=self.authority,
            case_reference=self.case,
            currency=self.currency,
            micros=int(self.amount),
            imposed_on=self.imposed_on,
            document_name=document.name,
            document=document.content,
        )


def _span(begins: datetime, ends: datetime | None) -> tuple[datetime, datetime | None]:
    if ends is not None and ends <= begins:
        raise InvalidParameter("'effective_to' must come after 'effective_from'")
    return begins, ends


def _form_rate(given: NewPrice) -> dict[str, Any]:
    first, steps = given.read_tiers()
    return {
        "service": given.service,
        "direction": given.direction,
        "country": given.country,
        "prefix": given.prefix,
        "unit": given.unit,
        "name": given.name,
        "micros": int(first),
        "tier_mode": steps.mode if steps else None,
        "tiers": [[floor, int(price)] for floor, price in steps.steps] if steps else None,
    }


# ---- what answers of our own API show


class ShownStep(Shape):
    """A price from a number of units on."""

    floor: int = field(name="from")
    price: Micros


class ShownTiers(Shape):
    """Prices by quantity within a contract month."""

    mode: str
    steps: list[ShownStep]


class Book(Shape):
    """A price book with what it holds."""

    book: str
    prices: int
    currencies: list[str]
    recorded_at: datetime


class ListPrice(Shape):
    """A list price."""

    id: int
    book: str
    service: str
    direction: str
    country: str
    prefix: str
    unit: str
    currency: str
    name: str
    micros: Micros = field(name="price")
    tiers: ShownTiers | None
    effective_from: datetime
    effective_to: datetime | None
    recorded_at: datetime


class Published(Shape):
    """Prices that were published: their numbers, and the version of the list that holds them."""

    book: str
    ids: list[int]
    version: int


class Quote(Shape, kw_only=True):
    """What a unit costs at an instant; without a price it is not on sale."""

    price: Micros | None
    currency: str | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    prefix: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    tiers: ShownTiers | UnsetType | None = UNSET
    row: int | UnsetType = UNSET
    order_form: str | UnsetType | None = UNSET
    at: datetime


class FormRate(Shape):
    """A price of an order form."""

    service: str
    direction: str
    country: str
    prefix: str
    unit: str
    name: str
    micros: Micros = field(name="price")
    tiers: ShownTiers | None


class ShownCommitment(Shape):
    """What a customer committed to spend."""

    micros: Micros = field(name="amount")
    period: str
    services: list[str]


class Form(Shape):
    """An order form."""

    sid: Sid
    customer_sid: Sid
    number: str
    state: str
    version: int
    currency: str
    entity: str
    term_from: date
    term_to: date
    renewal_months: int | None
    net_days: int | None
    prepaid_micros: Micros = field(name="prepaid")
    rates: list[FormRate]
    commitments: list[ShownCommitment]
    overrides: Json
    order_only: bool
    supersedes: str | None
    signatures: list[Json]
    created_at: datetime
    sent_at: datetime | None
    signed_at: datetime | None
    active_from: datetime | None
    active_to: datetime | None
    ended_cause: str | None


class Surcharge(Shape):
    """A surcharge rule."""

    id: int
    kind: str
    name: str
    carrier: str
    country: str
    channel: str
    direction: str
    unit: str
    currency: str
    micros: Micros = field(name="price")
    effective_from: datetime
    effective_to: datetime | None
    recorded_at: datetime


class FineDocument(Shape):
    """A document without its bytes."""

    name: str
    sha256: str


class Fine(Shape):
    """A fine or penalty that was passed on."""

    sid: str
    customer_sid: Sid
    authority: str
    case_reference: str = field(name="case")
    currency: str
    micros: Micros = field(name="amount")
    imposed_on: date
    document: FineDocument
    recorded_at: datetime


class RatedLine(Shape):
    """A rated line."""

    id: str
    line: int
    account_sid: Sid | None
    kind: str
    name: str
    service: str
    category: str
    direction: str
    country: str
    unit: str
    qty: int = field(name="quantity")
    currency: str
    price: Micros | None
    micros: Micros = field(name="amount")
    occurred_at: datetime
    order_form: str | None
    correction_of: str | None
    earlier_period: bool
    invoice_sid: str | None


class PassedOn(RatedLine):
    """The rated line of a fine that was passed on."""

    sid: str


class Quarantined(Shape):
    """An event that was put aside."""

    customer_sid: str
    id: str
    reason: str
    body: Json = field(name="event")
    received_at: datetime


def _steps(mode: str | None, steps: Sequence[Sequence[int]] | None) -> ShownTiers | None:
    if mode is None or steps is None:
        return None
    return ShownTiers(mode, [ShownStep(floor, Micros(price)) for floor, price in steps])


def show_price(row: Mapping[str, Any]) -> ListPrice:
    """Show a list price."""
    return ListPrice.of(row, tiers=_steps(row["tier_mode"], row["tiers"]))


def show_form(form: OrderForm) -> Form:
    """Show an order form."""
    rates = [FormRate.of(rate, tiers=_steps(rate["tier_mode"], rate["tiers"])) for rate in form.rates]
    return Form.of(form, rates=rates)


def show_charge(row: Mapping[str, Any]) -> Fine:
    """Show a fine without its document."""
    return Fine.of(row, document=FineDocument(row["document_name"], row["document_sha256"]))


def show_line(line: RatedUsage) -> RatedLine:
    """Show a rated line."""
    return RatedLine.of(line, kind=line_kind(line.kind))


def show_quote(price: Price | None, at: datetime) -> Quote:
    """Show what a unit costs at an instant, or that it is not on sale."""
    if price is None:
        return Quote(price=None, at=at)
    return Quote(
        price=Micros(price.micros),
        currency=price.currency,
        unit=price.unit,
        prefix=price.prefix,
        name=price.name,
        tiers=None if price.tiers is None else _steps(price.tiers.mode, price.tiers.steps),
        row=price.row,
        order_form=price.order_form or None,
        at=at,
    )


def book_name(text: str) -> str:
    """Read a price book's name."""
    if not _WORD.match(text):
        raise InvalidParameter("a book's name may hold lower case letters, digits, '.', '_' and '-' only")
    return text
