"""The operator's stock: what is for sale, and finding it."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from onterms.core import e164
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter
from onterms.products.numbers import store
from onterms.products.numbers.errors import InvalidNumber, StockNotFound
from onterms.products.numbers.model import (
    DISTANCE_MILES_DEFAULT,
    DISTANCE_MILES_MAX,
    NORTH_AMERICA,
    SEARCH_ROWS_MAX,
    Kind,
    Near,
    Search,
    contains_pattern,
    read_stock,
    require_area_code,
)

# Twilio docs, AvailablePhoneNumber Local resource: each filter leaves out the numbers that need such an address.
_ADDRESS_FILTERS = {
    "ExcludeAllAddressRequired": ("any", "local", "foreign"),
    "ExcludeLocalAddressRequired": ("local",),
    "ExcludeForeignAddressRequired": ("foreign",),
}
# Filters by place that, given a telephone number, mean the place where that number is.
_PLACES = {
    "InRegion": "region",
    "InLocality": "locality",
    "InRateCenter": "rate_center",
    "InLata": "lata",
    "InPostalCode": "postal_code",
}


async def fill_sandbox_inventory(tx: Tx) -> int:
    """Put the sandbox's numbers into stock and return how many were new; doing it again changes nothing.

    The stock file sells from the ranges that regulators keep for fiction (555-01xx in North America; the drama numbers
    of Ofcom, the ACMA and the Bundesnetzagentur); Kenya, India and Japan reserve none, so theirs are plausible only.
    """
    text = files("onterms.products.numbers").joinpath("sandbox_stock.tsv").read_text("utf-8")
    return await store.add_stock(tx, list(read_stock(text)))


async def list_countries(tx: Tx) -> list[Row]:
    """Return the countries that the stock has numbers of."""
    return await store.stocked_kinds(tx)


async def require_country(tx: Tx, country: str, path: str) -> Row:
    """Return one country of the stock.

    Raises: StockNotFound, which names the path asked for.
    """
    rows = await store.stocked_kinds(tx, country.upper())
    if not rows:
        raise StockNotFound(path)
    return rows[0]


async def search_numbers(
    tx: Tx, country: str, kind: Kind, params: Mapping[str, Any], limit: int, path: str
) -> list[Row]:
    """Find numbers for sale, at most 30.

    Raises: StockNotFound when the country never has numbers of this kind; InvalidPattern, InvalidAreaCode,
    InvalidParameter.
    """
    stocked = await require_country(tx, country, path)
    if kind not in stocked["kinds"]:
        raise StockNotFound(path)
    wanted = await _search(tx, country.upper(), kind, params)
    if wanted is None:
        return []
    return await store.search_stock(tx, wanted, min(limit, SEARCH_ROWS_MAX))


async def _search(tx: Tx, country: str, kind: Kind, params: Mapping[str, Any]) -> Search | None:
    contains = params.get("Contains")
    excluded = {
        requirement
        for name, requirements in _ADDRESS_FILTERS.items()
        if params.get(name)
        for requirement in requirements
    }
    places: dict[str, str | None] = {}
    near: Near | None = None
    area_code = None
    if country in NORTH_AMERICA:
        if params.get("AreaCode") is not None:
            area_code = require_area_code(params["AreaCode"])
        # Asking for the neighbourhood of a place that nobody knows finds nothing, instead of everything.
        if params.get("NearLatLong") or params.get("NearNumber"):
            near = await _near(tx, params)
            if near is None:
                return None
    for name, column in _PLACES.items():
        value = params.get(name)
        # Twilio docs: the locality is known everywhere, the other places in North America only.
        if not value or (country not in NORTH_AMERICA and name != "InLocality"):
            continue
        if _is_number(value):
            place = await store.place_of(tx, _number(value))
            if place is None or place[column] is None:
                return None
            value = place[column]
        places[column] = value
    return Search(
        country=country,
        kind=kind,
        pattern=contains_pattern(contains) if contains else None,
        area_code=area_code,
        voice=params.get("VoiceEnabled"),
        sms=params.get("SmsEnabled"),
        mms=params.get("MmsEnabled"),
        fax=params.get("FaxEnabled"),
        beta=params.get("Beta", True),
        address_excluded=tuple(sorted(excluded)),
        near=near,
        **places,
    )


async def _near(tx: Tx, params: Mapping[str, Any]) -> Near | None:
    miles = params.get("Distance", DISTANCE_MILES_DEFAULT)
    if miles < 0:
        raise InvalidParameter(f"Distance is out of range: {miles}")
    miles = min(miles, DISTANCE_MILES_MAX)
    if params.get("NearLatLong"):
        return _point(params["NearLatLong"], miles)
    place = await store.place_of(tx, _number(params["NearNumber"]))
    return Near(place["latitude"], place["longitude"], miles) if place is not None else None


def _point(text: str, miles: int) -> Near:
    latitude, comma, longitude = text.partition(",")
    try:
        near = Near(float(latitude), float(longitude), miles)
    except ValueError:
        near = None
    # NaN is in no range.
    if near is None or not comma or not (-90 <= near.latitude <= 90 and -180 <= near.longitude <= 180):
        raise InvalidParameter(f"NearLatLong must be a latitude and a longitude: '{text[:64]}'")
    return near


def _is_number(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return digits >= 10 and not any(character.isalpha() for character in text)


def _number(text: str) -> str:
    number = e164.normalise(text, "US")
    if number is None:
        raise InvalidNumber(text)
    return number
