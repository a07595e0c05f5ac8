"""Amounts: integers in micro-units (10^-6) of a currency, never floats.

A price times a quantity is an exact integer; rounding happens at named places only (an invoice line, a tax, a fee), and
the difference is posted, so nothing is lost. API edges speak decimal text.
"""

import re
from typing import Literal

MICROS = 1_000_000
# What a 64-bit column holds, about 9.2 million million units.
MICROS_MAX = 2**63 - 1

Rounding = Literal["half_up", "down"]

# ISO 4217: currencies whose minor unit is not a hundredth.
_WITHOUT_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_WITH_THREE = "BHD IQD JOD KWD LYD OMR TND"
_MINOR_DIGITS = {**dict.fromkeys(_WITHOUT_DECIMALS.split(), 0), **dict.fromkeys(_WITH_THREE.split(), 3)}
# ISO 4217: the currencies an operator may bill in.
_BILLED = """
AED AUD BDT BGN BHD BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP GHS HKD HUF IDR ILS INR ISK JOD JPY KES KRW KWD MAD MXN
MYR NGN NOK NZD OMR PEN PHP PKR PLN QAR RON RWF SAR SEK SGD THB TND TRY TWD TZS UAH UGX USD VND XAF XOF ZAR
"""
CURRENCIES = frozenset(_BILLED.split())
# ASCII only: digits of other scripts are no amount.
_DECIMAL = re.compile(r"^(-?)(\d{1,13})(?:\.(\d{1,6})0*)?\Z", re.ASCII)


class InvalidAmount(ValueError):
    """The text is no amount, has over six decimals or does not fit."""


def micros(text: str) -> int:
    """Read decimal text (`12.345678`) as micro-units.

    Raises: InvalidAmount, also for more than six decimals: a price is exact or refused.
    """
    match = _DECIMAL.match(text)
    if match is None:
        raise InvalidAmount(f"'{text[:40]}' is no amount with at most six decimals")
    value = int(match[2]) * MICROS + int((match[3] or "").ljust(6, "0"))
    if value > MICROS_MAX:
        raise InvalidAmount(f"'{text[:40]}' is too large")
    return -value if match[1] else value


def decimal_text(amount: int, *, places: int | None = None) -> str:
    """Write micro-units as decimal text, with exactly `places` decimals or as many as needed (at least two).

    Raises: ValueError where `places` would cut digits off: round first.
    """
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), MICROS)
    digits = f"{part:06d}"
    if places is None:
        digits = digits.rstrip("0").ljust(2, "0")
    else:
        if digits[places:].strip("0"):
            raise ValueError(f"{amount} micro-units do not fit {places} decimals")
        digits = digits[:places].ljust(places, "0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def minor_digits(currency: str) -> int:
    """Return how many decimals the currency's minor unit has."""
    return _MINOR_DIGITS.get(currency, 2)


def is_currency(code: str) -> bool:
    """Tell whether a code is a currency that can be billed in."""
    return code in CURRENCIES


def divide(numerator: int, denominator: int, rounding: Rounding) -> int:
    """Divide whole numbers and round the result away from zero at the half, or towards zero."""
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    quotient, rest = divmod(abs(numerator), denominator)
    if rounding == "half_up" and rest * 2 >= denominator:
        quotient += 1
    return -quotient if numerator < 0 else quotient


def round_minor(amount: int, currency: str, rounding: Rounding = "half_up") -> int:
    """Round micro-units to the currency's minor unit; the result is micro-units again."""
    unit: int = 10 ** (6 - minor_digits(currency))
    return divide(amount, unit, rounding) * unit


def minor_text(amount: int, currency: str) -> str:
    """Write an amount that is already rounded with the currency's own decimals: `12.30`, `1200`."""
    return decimal_text(amount, places=minor_digits(currency))


def share(amount: int, part: int, whole: int, rounding: Rounding = "half_up") -> int:
    """Return `amount * part / whole` in micro-units."""
    return divide(amount * part, whole, rounding)
