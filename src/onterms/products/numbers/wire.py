"""The outside shapes: request parameters in, response fields out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta

from onterms.core.db import Row
from onterms.core.errors import InvalidParameter
from onterms.engines.api.shapes import Country, Shape, Sid
from onterms.products.numbers.model import (
    API_VERSIONS,
    APPLICATION_DEFAULTS,
    FRIENDLY_NAME_CHARS_MAX,
    NUMBER_DEFAULTS,
    SHORT_CODE_SETTINGS,
    Kind,
    friendly_form,
)

# ISO 3166 short names of the countries that the sandbox sells; another country is named by its code.
_COUNTRY_NAMES: Final = {
    "AU": "Australia",
    "CA": "Canada",
    "DE": "Germany",
    "GB": "United Kingdom",
    "IN": "India",
    "JP": "Japan",
    "KE": "Kenya",
    "US": "United States",
}
_PATHS: Final[dict[Kind, str]] = {"local": "Local", "mobile": "Mobile", "tollfree": "TollFree"}
_RESOURCES: Final[dict[Kind, str]] = {"local": "local", "mobile": "mobile", "tollfree": "toll_free"}
_TYPES: Final[dict[Kind, str]] = {"local": "local", "mobile": "mobile", "tollfree": "toll-free"}


def _parameter(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


_NUMBER_PARAMETERS: Final = {_parameter(name): name for name in NUMBER_DEFAULTS}
_APPLICATION_PARAMETERS: Final = {_parameter(name): name for name in APPLICATION_DEFAULTS}


def number_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Read the settings of a number that a request changes."""
    return _settings(params, _NUMBER_PARAMETERS)


def short_code_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Read the settings of a short code that a request changes."""
    return _settings(params, {_parameter(name): name for name in SHORT_CODE_SETTINGS})


def application_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Read the settings of an application that a request changes."""
    return _settings(params, _APPLICATION_PARAMETERS)


def _settings(params: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    changes = {names[name]: value for name, value in params.items() if name in names}
    if len(changes.get("friendly_name") or "") > FRIENDLY_NAME_CHARS_MAX:
        raise InvalidParameter(f"FriendlyName is longer than {FRIENDLY_NAME_CHARS_MAX} characters")
    if (changes.get("api_version") or "2010-04-01") not in API_VERSIONS:
        raise InvalidParameter(f"Invalid ApiVersion: '{changes['api_version'][:64]}'")
    return changes


def country(account_sid: str, row: Row) -> dict[str, Any]:
    """Render a country that numbers are sold in, with the lists that it has."""
    code = row["country"]
    base = f"/2010-04-01/Accounts/{account_sid}/AvailablePhoneNumbers/{code}"
    return {
        "country_code": code,
        "country": _COUNTRY_NAMES.get(code, code),
        "uri": f"{base}.json",
        "beta": row["beta"],
        "subresource_uris": {
            _RESOURCES[kind]: f"{base}/{_PATHS[kind]}.json" for kind in _PATHS if kind in row["kinds"]
        },
    }


def countries(account_sid: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Render the countries that numbers are sold in."""
    return {
        "countries": [country(account_sid, row) for row in rows],
        "uri": f"/2010-04-01/Accounts/{account_sid}/AvailablePhoneNumbers.json",
    }


def available_number(row: Row) -> dict[str, Any]:
    """Render a number for sale."""
    return {
        "friendly_name": friendly_form(row["phone_number"]),
        "phone_number": row["phone_number"],
        "lata": row["lata"],
        "locality": row["locality"],
        "rate_center": row["rate_center"],
        "latitude": row["latitude"],
        "longitude": row["longitude"],
        "region": row["region"],
        "postal_code": row["postal_code"],
        "iso_country": row["country"],
        "address_requirements": row["address_requirements"],
        "beta": row["beta"],
        "capabilities": _capabilities(row),
    }


def _capabilities(row: Mapping[str, Any]) -> dict[str, bool]:
    return {"voice": row["voice"], "sms": row["sms"], "mms": row["mms"], "fax": row["fax"]}


def incoming_number(row: Mapping[str, Any]) -> dict[str, Any]:
    """Render a number that an account holds."""
    return {
        **{name: row[name] for name in NUMBER_DEFAULTS},
        "account_sid": row["account_sid"],
        "sid": row["sid"],
        "phone_number": row["phone_number"],
        "address_requirements": row["address_requirements"],
        "beta": row["beta"],
        "capabilities": _capabilities(row),
        "origin": row["origin"],
        "status": "in-use",
        "type": _TYPES[row["kind"]],
        "emergency_address_status": "unregistered",
        "date_created": row["created_at"],
        "date_updated": row["updated_at"],
        "uri": f"/2010-04-01/Accounts/{row['account_sid']}/IncomingPhoneNumbers/{row['sid']}.json",
    }


def short_code(row: Mapping[str, Any]) -> dict[str, Any]:
    """Render a short code that an account holds."""
    return {
        **{name: row[name] for name in SHORT_CODE_SETTINGS},
        "account_sid": row["account_sid"],
        "sid": row["sid"],
        "short_code": row["phone_number"],
        "date_created": row["created_at"],
        "date_updated": row["updated_at"],
        "uri": f"/2010-04-01/Accounts/{row['account_sid']}/SMS/ShortCodes/{row['sid']}.json",
    }


class NewShortCode(Shape):
    """A short code for an account, which pays the price of a month from now on."""

    account_sid: Sid
    short_code: Annotated[str, Meta(pattern=r"^[0-9]{3,8}$")]
    country: Country
    mms: bool = False
    friendly_name: Annotated[str, Meta(max_length=FRIENDLY_NAME_CHARS_MAX)] = ""


class ShortCode(Shape):
    """A short code and who holds it."""

    sid: Sid
    account_sid: Sid
    short_code: str
    country: Country
    mms: bool
    friendly_name: str
    created_at: datetime


def held_short_code(row: Row) -> ShortCode:
    """Show the operator a short code."""
    return ShortCode.of(row, short_code=row["phone_number"])


def application(row: Row) -> dict[str, Any]:
    """Render an application."""
    return {
        **{name: row[name] for name in APPLICATION_DEFAULTS},
        "account_sid": row["account_sid"],
        "sid": row["sid"],
        "date_created": row["created_at"],
        "date_updated": row["updated_at"],
        "uri": f"/2010-04-01/Accounts/{row['account_sid']}/Applications/{row['sid']}.json",
    }
