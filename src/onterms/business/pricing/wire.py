"""The outside shapes: the contract's pricing rows, and our own API's prices, order forms and charges."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

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
from onterms.core.money import InvalidAmount, decimal_text, micros

BASE_URL = "https://pricing.twilio.com"
_WORD = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")
_COUNTRY = re.compile(r"^[A-Z]{2}$")
_PREFIX = re.compile(r"^\+[1-9]\d{0,14}$")
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


# ---- reading our own JSON


def _text(body: Mapping[str, Any], name: str, default: str | None = None, *, max_length: int = 200) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > max_length:
        raise InvalidParameter(f"'{name}' must be a string of at most {max_length} characters")
    return value


def _word(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = _text(body, name, default)
    if value and not _WORD.match(value):
        raise InvalidParameter(f"'{name}' may hold lower case letters, digits, '.', '_' and '-' only")
    if not value and default != "":
        raise InvalidParameter(f"'{name}' is required")
    return value


def _whole(body: Mapping[str, Any], name: str, *, least: int, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidParameter(f"'{name}' must be a whole number from {least} to {most}")
    return value


def amount(body: Mapping[str, Any], name: str) -> int:
    """Read an amount as decimal text; a price is exact or refused."""
    value = body.get(name)
    if not isinstance(value, str):
        raise InvalidPrice(f"'{name}' must be a decimal number as text")
    try:
        read = micros(value)
    except InvalidAmount as error:
        raise InvalidPrice(f"'{name}': {error}") from None
    if read < 0:
        raise InvalidPrice(f"'{name}' must not be negative")
    return read


def instant(body: Mapping[str, Any], name: str) -> datetime | None:
    """Read an instant with its offset, or None."""
    value = body.get(name)
    if value is None:
        return None
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise InvalidParameter(f"'{name}' must be an instant such as 2025-03-10T00:00:00Z")
    return read.astimezone(UTC)


def day(body: Mapping[str, Any], name: str) -> date:
    """Read a day."""
    try:
        return date.fromisoformat(_text(body, name))
    except ValueError:
        raise InvalidParameter(f"'{name}' must be a day such as 2025-03-10") from None


def _place(body: Mapping[str, Any]) -> tuple[str, str]:
    country, prefix = _text(body, "country", ""), _text(body, "prefix", "")
    if country and not _COUNTRY.match(country):
        raise InvalidParameter("'country' must be an ISO 3166 code of two capitals, or empty for all")
    if prefix and not _PREFIX.match(prefix):
        raise InvalidParameter("'prefix' must be + and digits, or empty")
    return country, prefix


def tiers(body: Mapping[str, Any]) -> Tiers | None:
    """Read tiers: `{"mode": "graduated", "steps": [{"from": 0, "price": "0.0079"}, ...]}`."""
    given = body.get("tiers")
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("mode") not in ("graduated", "volume"):
        raise InvalidPrice("'tiers' needs a 'mode' of graduated or volume")
    steps = given.get("steps")
    if not isinstance(steps, list) or not 1 <= len(steps) <= 100:
        raise InvalidPrice("'tiers' needs 1 to 100 'steps'")
    read: list[tuple[int, int]] = []
    for step in steps:
        floor = step.get("from") if isinstance(step, dict) else None
        if not isinstance(floor, int) or isinstance(floor, bool):
            raise InvalidPrice("each step needs 'from', the units before it")
        read.append((floor, amount(step, "price")))
    floors = [floor for floor, _ in read]
    if floors[0] != 0 or any(later <= earlier for earlier, later in pairwise(floors)):
        raise InvalidPrice("the steps must begin at 0 and ascend")
    return Tiers(given["mode"], tuple(read))


def rates(body: Mapping[str, Any], at: datetime) -> list[Rate]:
    """Read the prices of a book."""
    given = body.get("prices")
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise InvalidParameter("'prices' must be a list of prices")
    return [_rate(each, at) for each in given]


def _rate(body: Mapping[str, Any], at: datetime) -> Rate:
    country, prefix = _place(body)
    steps = tiers(body)
    price = Price(
        micros=steps.steps[0][1] if steps else amount(body, "price"),
        currency=_text(body, "currency"),
        unit=_word(body, "unit"),
        row=0,
        tiers=steps,
        name=_text(body, "name", ""),
        prefix=prefix,
    )
    begins, ends = instant(body, "effective_from") or at, instant(body, "effective_to")
    if ends is not None and ends <= begins:
        raise InvalidParameter("'effective_to' must come after 'effective_from'")
    return Rate(_word(body, "service"), _word(body, "direction", "outbound"), country, prefix, price, begins, ends, at)


def order_form(body: Mapping[str, Any], customer_sid: str, at: datetime) -> OrderForm:
    """Read a new order form."""
    begins, ends = day(body, "term_from"), day(body, "term_to")
    if ends < begins:
        raise InvalidParameter("'term_to' must not come before 'term_from'")
    given = body.get("overrides", {})
    if not isinstance(given, dict):
        raise InvalidParameter("'overrides' must be an object of terms")
    return OrderForm(
        customer_sid=customer_sid,
        sid="",
        number=_text(body, "number"),
        state="draft",
        version=1,
        currency=_text(body, "currency", "USD"),
        entity=_text(body, "entity", ""),
        term_from=begins,
        term_to=ends,
        renewal_months=_whole(body, "renewal_months", least=1, most=120),
        net_days=_whole(body, "net_days", least=0, most=365),
        prepaid_micros=amount(body, "prepaid") if "prepaid" in body else 0,
        rates=tuple(_form_rate(each) for each in _objects(body, "rates")),
        commitments=tuple(_commitment(each) for each in _objects(body, "commitments")),
        overrides=given,
        order_only=bool(body.get("order_only", False)),
        supersedes=_text(body, "supersedes") if body.get("supersedes") else None,
        signatures=(),
        created_at=at,
        sent_at=None,
        signed_at=None,
        active_from=None,
        active_to=None,
        ended_cause=None,
    )


def _objects(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    given = body.get(name, [])
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise InvalidParameter(f"'{name}' must be a list of objects")
    return given


def _form_rate(body: Mapping[str, Any]) -> dict[str, Any]:
    country, prefix = _place(body)
    steps = tiers(body)
    return {
        "service": _word(body, "service"),
        "direction": _word(body, "direction", "outbound"),
        "country": country,
        "prefix": prefix,
        "unit": _word(body, "unit"),
        "name": _text(body, "name", ""),
        "micros": steps.steps[0][1] if steps else amount(body, "price"),
        "tier_mode": steps.mode if steps else None,
        "tiers": [list(step) for step in steps.steps] if steps else None,
    }


def _commitment(body: Mapping[str, Any]) -> Commitment:
    period = body.get("period")
    if period not in ("month", "quarter", "year", "term"):
        raise InvalidParameter("a commitment's 'period' must be month, quarter, year or term")
    services = body.get("services", [])
    if not isinstance(services, list) or not all(isinstance(each, str) for each in services):
        raise InvalidParameter("a commitment's 'services' must be a list of services")
    return Commitment(amount(body, "amount"), period, tuple(services))


def surcharge(body: Mapping[str, Any], at: datetime) -> SurchargeRule:
    """Read a new surcharge rule."""
    country, _ = _place(body)
    begins, ends = instant(body, "effective_from") or at, instant(body, "effective_to")
    if ends is not None and ends <= begins:
        raise InvalidParameter("'effective_to' must come after 'effective_from'")
    return SurchargeRule(
        id=0,
        kind=_word(body, "kind", "carrier-fee"),
        name=_text(body, "name", ""),
        carrier=_text(body, "carrier", ""),
        country=country,
        channel=_word(body, "channel", ""),
        direction=_word(body, "direction", ""),
        unit=_word(body, "unit", ""),
        currency=_text(body, "currency"),
        micros=amount(body, "price"),
        effective_from=begins,
        effective_to=ends,
        recorded_at=at,
    )


def charge(body: Mapping[str, Any]) -> NewCharge:
    """Read a fine to be passed on; a missing document is refused later, where the clause is known."""
    given = body.get("document")
    document = given if isinstance(given, dict) else {}
    try:
        content = base64.b64decode(str(document.get("content", "")), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter("'document.content' must be Base64") from None
    value = amount(body, "amount")
    if value == 0:
        raise InvalidPrice("'amount' must be more than nothing")
    return NewCharge(
        authority=_text(body, "authority"),
        case_reference=_text(body, "case"),
        currency=_text(body, "currency", "USD"),
        micros=value,
        imposed_on=day(body, "imposed_on"),
        document_name=_text(document, "name", ""),
        document=content,
    )


# ---- writing our own JSON


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _steps(mode: str | None, steps: Sequence[Sequence[int]] | None) -> dict[str, Any] | None:
    if mode is None or steps is None:
        return None
    return {"mode": mode, "steps": [{"from": floor, "price": decimal_text(price)} for floor, price in steps]}


def show_price(row: Mapping[str, Any]) -> dict[str, Any]:
    """Render a list price."""
    return {
        "id": row["id"],
        "book": row["book"],
        "service": row["service"],
        "direction": row["direction"],
        "country": row["country"],
        "prefix": row["prefix"],
        "unit": row["unit"],
        "currency": row["currency"],
        "name": row["name"],
        "price": decimal_text(row["micros"]),
        "tiers": _steps(row["tier_mode"], row["tiers"]),
        "effective_from": _moment(row["effective_from"]),
        "effective_to": _moment(row["effective_to"]),
        "recorded_at": _moment(row["recorded_at"]),
    }


def show_form(form: OrderForm) -> dict[str, Any]:
    """Render an order form."""
    return {
        "sid": form.sid,
        "customer_sid": form.customer_sid,
        "number": form.number,
        "state": form.state,
        "version": form.version,
        "currency": form.currency,
        "entity": form.entity,
        "term_from": form.term_from.isoformat(),
        "term_to": form.term_to.isoformat(),
        "renewal_months": form.renewal_months,
        "net_days": form.net_days,
        "prepaid": decimal_text(form.prepaid_micros),
        "rates": [
            {
                **{name: rate[name] for name in ("service", "direction", "country", "prefix", "unit", "name")},
                "price": decimal_text(rate["micros"]),
                "tiers": _steps(rate["tier_mode"], rate["tiers"]),
            }
            for rate in form.rates
        ],
        "commitments": [
            {"amount": decimal_text(each.micros), "period": each.period, "services": list(each.services)}
            for each in form.commitments
        ],
        "overrides": dict(form.overrides),
        "order_only": form.order_only,
        "supersedes": form.supersedes,
        "signatures": [dict(signature) for signature in form.signatures],
        "created_at": _moment(form.created_at),
        "sent_at": _moment(form.sent_at),
        "signed_at": _moment(form.signed_at),
        "active_from": _moment(form.active_from),
        "active_to": _moment(form.active_to),
        "ended_cause": form.ended_cause,
    }


def show_surcharge(rule: SurchargeRule) -> dict[str, Any]:
    """Render a surcharge rule."""
    return {
        "id": rule.id,
        "kind": rule.kind,
        "name": rule.name,
        "carrier": rule.carrier,
        "country": rule.country,
        "channel": rule.channel,
        "direction": rule.direction,
        "unit": rule.unit,
        "currency": rule.currency,
        "price": decimal_text(rule.micros),
        "effective_from": _moment(rule.effective_from),
        "effective_to": _moment(rule.effective_to),
        "recorded_at": _moment(rule.recorded_at),
    }


def show_charge(row: Mapping[str, Any]) -> dict[str, Any]:
    """Render a passed-on charge without its document."""
    return {
        "sid": row["sid"],
        "customer_sid": row["customer_sid"],
        "authority": row["authority"],
        "case": row["case_reference"],
        "currency": row["currency"],
        "amount": decimal_text(row["micros"]),
        "imposed_on": row["imposed_on"].isoformat(),
        "document": {"name": row["document_name"], "sha256": row["document_sha256"]},
        "recorded_at": _moment(row["recorded_at"]),
    }


def show_line(line: RatedUsage) -> dict[str, Any]:
    """Render a rated line."""
    return {
        "id": line.id,
        "line": line.line,
        "account_sid": line.account_sid,
        "kind": line_kind(line.kind),
        "name": line.name,
        "service": line.service,
        "category": line.category,
        "direction": line.direction,
        "country": line.country,
        "unit": line.unit,
        "quantity": line.qty,
        "currency": line.currency,
        "price": None if line.price is None else decimal_text(line.price),
        "amount": decimal_text(line.micros),
        "occurred_at": _moment(line.occurred_at),
        "order_form": line.order_form or None,
        "correction_of": line.correction_of,
        "earlier_period": line.earlier_period,
        "invoice_sid": line.invoice_sid,
    }


def show_quarantined(row: Mapping[str, Any]) -> dict[str, Any]:
    """Render an event that was put aside."""
    return {
        "customer_sid": row["customer_sid"],
        "id": row["id"],
        "reason": row["reason"],
        "event": row["body"],
        "received_at": _moment(row["received_at"]),
    }


def show_book(row: Mapping[str, Any]) -> dict[str, Any]:
    """Render a price book."""
    return {
        "book": row["book"],
        "prices": row["prices"],
        "currencies": list(row["currencies"]),
        "recorded_at": _moment(row["recorded_at"]),
    }


def show_quote(price: Price | None, at: datetime) -> dict[str, Any]:
    """Render what a unit costs at an instant, or that it is not on sale."""
    if price is None:
        return {"price": None, "at": _moment(at)}
    steps = None if price.tiers is None else _steps(price.tiers.mode, price.tiers.steps)
    return {
        "price": decimal_text(price.micros),
        "currency": price.currency,
        "unit": price.unit,
        "prefix": price.prefix,
        "name": price.name,
        "tiers": steps,
        "row": price.row,
        "order_form": price.order_form or None,
        "at": _moment(at),
    }


def book_name(text: str) -> str:
    """Read a price book's name."""
    if not _WORD.match(text):
        raise InvalidParameter("a book's name may hold lower case letters, digits, '.', '_' and '-' only")
    return text
