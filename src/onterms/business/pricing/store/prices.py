"""List prices, surcharge rules and the version that caches follow."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from onterms.business.pricing.model import LIVE, Price, Rate, Span, SurchargeRule, Tiers
from onterms.core.db import Row, Tx
from onterms.core.money import micros as amount

CHANNEL = "onterms_prices"
DEFAULT_BOOK = "default"
_COLUMNS = (
    "id, book, service, direction, country, prefix, unit, currency, name, micros, tier_mode, tiers, effective_from, "
    "effective_to, recorded_at"
)


async def version(tx: Tx) -> int:
    """Return the version of all prices together."""
    return int(await tx.fetchval("SELECT version FROM price_version"))


async def bump(tx: Tx) -> int:
    """Tell every cache that prices changed; the telling goes out with the commit."""
    grown: int = await tx.fetchval("UPDATE price_version SET version = version + 1 RETURNING version")
    await tx.execute("SELECT pg_notify($1, $2)", CHANNEL, str(grown))
    return grown


async def has_list_prices(tx: Tx) -> bool:
    """Tell whether the operator has any list price."""
    return bool(await tx.fetchval("SELECT EXISTS (SELECT FROM list_prices)"))


async def listed_services(tx: Tx) -> set[str]:
    """Return the services that have, or had, a list price."""
    return {row["service"] for row in await tx.fetch("SELECT DISTINCT service FROM list_prices")}


async def insert_prices(tx: Tx, book: str, rates: Sequence[Rate], recorded_by: str) -> list[int]:
    """Add list prices and return their ids in order."""
    rows = await tx.fetch(
        """
        INSERT INTO list_prices (book, service, direction, country, prefix, unit, currency, name, micros, tier_mode,
                                 tiers, effective_from, effective_to, recorded_at, recorded_by)
        SELECT $1, service, direction, country, prefix, unit, currency, name, micros, mode, tiers::jsonb,
               effective_from, effective_to, recorded_at, $2
        FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[],
                    $11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[])
             WITH ORDINALITY AS r(service, direction, country, prefix, unit, currency, name, micros, mode, tiers,
                                  effective_from, effective_to, recorded_at, place)
        ORDER BY place
        RETURNING id
        """,
        book,
        recorded_by,
        [rate.service for rate in rates],
        [rate.direction for rate in rates],
        [rate.country for rate in rates],
        [rate.prefix for rate in rates],
        [rate.price.unit for rate in rates],
        [rate.price.currency for rate in rates],
        [rate.price.name for rate in rates],
        [rate.price.micros for rate in rates],
        [rate.price.tiers.mode if rate.price.tiers else None for rate in rates],
        [_steps_text(rate.price.tiers) for rate in rates],
        [rate.effective_from for rate in rates],
        [rate.effective_to for rate in rates],
        [rate.recorded_at for rate in rates],
    )
    return [row["id"] for row in rows]


def _steps_text(tiers: Tiers | None) -> str | None:
    if tiers is None:
        return None
    return "[" + ",".join(f"[{floor},{price}]" for floor, price in tiers.steps) + "]"


async def all_rates(tx: Tx) -> list[Rate]:
    """Return every list price ever recorded."""
    return [_rate(row) for row in await tx.fetch(f"SELECT {_COLUMNS} FROM list_prices")]


async def rates_like(tx: Tx, service: str, direction: str, unit: str, currency: str) -> list[Rate]:
    """Return every list price of one service, direction, unit and currency."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM list_prices WHERE service = $1 AND direction = $2 AND unit = $3 AND currency = $4",
        service,
        direction,
        unit,
        currency,
    )
    return [_rate(row) for row in rows]


async def books(tx: Tx) -> list[Row]:
    """Return the price books with what they hold."""
    return await tx.fetch(
        "SELECT book, count(*) AS prices, array_agg(DISTINCT currency ORDER BY currency) AS currencies, "
        "max(recorded_at) AS recorded_at FROM list_prices GROUP BY book ORDER BY book"
    )


async def page_of_prices(
    tx: Tx,
    *,
    book: str | None,
    service: str | None,
    country: str | None,
    currency: str | None,
    known_at: datetime | None,
    after: int,
    limit: int,
) -> list[Row]:
    """Return list prices in the order in which they were recorded."""
    return await tx.fetch(
        f"SELECT {_COLUMNS} FROM list_prices WHERE ($1::text IS NULL OR book = $1) "
        "AND ($2::text IS NULL OR service = $2) AND ($3::text IS NULL OR country = $3) "
        "AND ($4::text IS NULL OR currency = $4) AND ($5::timestamptz IS NULL OR recorded_at <= $5) AND id > $6 "
        "ORDER BY id LIMIT $7",
        book,
        service,
        country,
        currency,
        known_at,
        after,
        limit,
    )


async def form_rates(tx: Tx) -> tuple[list[Rate], dict[str, frozenset[str]], dict[str, list[Span]]]:
    """Return what order forms that were ever signed say of prices.

    Shapes: their rates; by customer the services that it has by form only; by customer the currencies, the latest
    signature first.
    """
    rows = await tx.fetch(
        "SELECT customer_sid, sid, currency, rates, order_only, active_from, signed_at, "
        # A renewing form goes on at the end of its term, however late the timer that writes so.
        "CASE WHEN renewal_months IS NULL OR state NOT IN ('signed', 'active') THEN active_to END AS active_to "
        "FROM order_forms "
        "WHERE signed_at IS NOT NULL AND state = ANY($1) AND active_from < active_to ORDER BY signed_at DESC, sid DESC",
        sorted(LIVE),
    )
    rates: list[Rate] = []
    order_only: dict[str, set[str]] = {}
    currencies: dict[str, list[Span]] = {}
    for row in rows:
        span = (row["active_from"], row["active_to"], row["currency"])
        currencies.setdefault(row["customer_sid"], []).append(span)
        for place, rate in enumerate(row["rates"]):
            tiers = tiers_of(rate.get("tier_mode"), rate.get("tiers"))
            price = Price(
                micros=rate["micros"],
                currency=row["currency"],
                unit=rate["unit"],
                row=place,
                order_form=row["sid"],
                tiers=tiers,
                name=rate.get("name", ""),
                prefix=rate["prefix"],
            )
            rates.append(
                Rate(
                    rate["service"],
                    rate["direction"],
                    rate["country"],
                    rate["prefix"],
                    price,
                    row["active_from"],
                    row["active_to"],
                    row["signed_at"],
                    row["customer_sid"],
                )
            )
            if row["order_only"]:
                order_only.setdefault(row["customer_sid"], set()).add(rate["service"])
    return rates, {customer: frozenset(services) for customer, services in order_only.items()}, currencies


def tiers_of(mode: Any, steps: Any) -> Tiers | None:
    """Read stored tiers."""
    return None if not mode else Tiers(mode, tuple((floor, price) for floor, price in steps))


def _rate(row: Row) -> Rate:
    price = Price(
        micros=row["micros"],
        currency=row["currency"],
        unit=row["unit"],
        row=row["id"],
        tiers=tiers_of(row["tier_mode"], row["tiers"]),
        name=row["name"],
        prefix=row["prefix"],
    )
    return Rate(
        row["service"],
        row["direction"],
        row["country"],
        row["prefix"],
        price,
        row["effective_from"],
        row["effective_to"],
        row["recorded_at"],
    )


# ---- surcharges

_RULE = (
    "id, kind, name, carrier, country, channel, direction, unit, currency, micros, effective_from, effective_to, "
    "recorded_at"
)


async def insert_surcharge(tx: Tx, rule: SurchargeRule, *, recorded_by: str, source: str) -> SurchargeRule:
    """Add a surcharge rule."""
    row = await tx.fetchrow(
        f"INSERT INTO surcharge_rules (kind, name, carrier, country, channel, direction, unit, currency, micros, "
        f"effective_from, effective_to, recorded_at, recorded_by, source) "
        f"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING {_RULE}",
        rule.kind,
        rule.name,
        rule.carrier,
        rule.country,
        rule.channel,
        rule.direction,
        rule.unit,
        rule.currency,
        rule.micros,
        rule.effective_from,
        rule.effective_to,
        rule.recorded_at,
        recorded_by,
        source,
    )
    assert row is not None
    return SurchargeRule(**dict(row))


async def surcharge_rules(tx: Tx, after: int = 0, limit: int | None = None) -> list[SurchargeRule]:
    """Return the surcharge rules in the order in which they were recorded."""
    rows = await tx.fetch(f"SELECT {_RULE} FROM surcharge_rules WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
    return [SurchargeRule(**dict(row)) for row in rows]


# ---- what ships

# Columns of the file: service, direction, unit.
_SHIPPED = {
    "sms_out": ("sms", "outbound", "segment"),
    "sms_in": ("sms", "inbound", "segment"),
    "mms_out": ("mms", "outbound", "message"),
    "mms_in": ("mms", "inbound", "message"),
    "voice_out": ("voice", "outbound", "minute"),
    "voice_in": ("voice", "inbound", "minute"),
    "trunk_out": ("trunking", "outbound", "minute"),
    "trunk_in": ("trunking", "inbound", "minute"),
    "local": ("phone-number-local", "none", "month"),
    "mobile": ("phone-number-mobile", "none", "month"),
    "tollfree": ("phone-number-tollfree", "none", "month"),
}
# A month of a short code. usshortcodes.com, pricing: a random code costs 500 dollars. Elsewhere the same; ours.
_SHORT_CODE = "500/75000"


# Examples, as are all figures that ship.
_CHANNELS = {"whatsapp": "0.0050/0.8", "rcs": "0.0083/1.3"}


def _table(name: str) -> list[dict[str, str]]:
    text = resources.files("onterms.business.pricing.store").joinpath(name).read_text("utf-8")
    head, *lines = text.splitlines()
    return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]


@cache
def countries() -> dict[str, tuple[str, str]]:
    """Return name and calling code of every country that can have a price, by ISO code."""
    return {row["country"]: (row["name"], row["calling_code"]) for row in _table("default_prices.tsv")}


def shipped_fees() -> set[str]:
    """Return the services of the book that ships which are no traffic but fees."""
    return {row["service"] for row in _table("default_fees.tsv")}


def shipped_rates(at: datetime) -> list[Rate]:
    """Return the price book that a new install begins with: each figure in US dollars and, not converted, in yen."""
    rates: list[Rate] = []

    def add(service: str, direction: str, unit: str, country: str, prefix: str, name: str, figures: str) -> None:
        for currency, figure in zip(("USD", "JPY"), figures.split("/"), strict=True):
            price = Price(amount(figure), currency, unit, 0, name=name, prefix=prefix)
            rates.append(Rate(service, direction, country, prefix, price, at, None, at))

    for row in _table("default_prices.tsv"):
        for column, (service, direction, unit) in _SHIPPED.items():
            add(service, direction, unit, row["country"], "", row["name"], row[column])
    for country, (name, _) in countries().items():
        add("short-code", "none", "month", country, "", name, _SHORT_CODE)
    for row in _table("default_fees.tsv"):
        add(row["service"], "none", row["unit"], row["country"], "", row["name"], row["price"])
    # One price wherever it goes, for channels run over the internet; what the network takes is a surcharge.
    for service, figures in _CHANNELS.items():
        for direction in ("outbound", "inbound"):
            add(service, direction, "message", "", "", "every country", figures)
    for row in _table("default_prefixes.tsv"):
        add("voice", "outbound", "minute", row["country"], row["prefix"], row["name"], row["voice_out"])
    return rates
