"""VAT identifiers of the European Union and the United Kingdom, checked offline.

A checksum tells a mistyped identifier from a plausible one, not a registered business from an invented one; what it
cannot decide, the operator confirms with the authority. Source: the check digit rules that the member states publish.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VatCheck:
    """What an offline look at an identifier tells.

    Shapes: country is the ISO code (GR for Greece's EL). by_checksum is False where only the form could be checked.
    """

    valid: bool
    country: str
    number: str
    by_checksum: bool


_FORMS = {
    "AT": r"U\d{8}",
    "BE": r"[01]\d{9}",
    "BG": r"\d{9,10}",
    "CY": r"\d{8}[A-Z]",
    "CZ": r"\d{8,10}",
    "DE": r"[1-9]\d{8}",
    "DK": r"[1-9]\d{7}",
    "EE": r"\d{9}",
    "EL": r"\d{9}",
    "ES": r"[A-Z]\d{8}|\d{8}[A-Z]|[A-Z]\d{7}[A-Z]",
    "FI": r"\d{8}",
    "FR": r"[0-9A-Z]{2}\d{9}",
    "GB": r"\d{9}|\d{12}",
    "HR": r"\d{11}",
    "HU": r"\d{8}",
    "IE": r"\d{7}[A-W][A-I]?|\d[A-Z*+]\d{5}[A-W]",
    "IT": r"\d{11}",
    "LT": r"\d{9}|\d{12}",
    "LU": r"\d{8}",
    "LV": r"\d{11}",
    "MT": r"[1-9]\d{7}",
    "NL": r"\d{9}B\d{2}",
    "PL": r"\d{10}",
    "PT": r"[1-9]\d{8}",
    "RO": r"[1-9]\d{1,9}",
    "SE": r"\d{10}01",
    "SI": r"[1-9]\d{7}",
    "SK": r"[1-9]\d{9}",
}


def check_vat_id(text: str) -> VatCheck:
    """Check an identifier with its country prefix (`IE6388047V`), spaces, dots and hyphens left out."""
    plain = re.sub(r"[\s.\-]", "", text).upper()
    prefix, number = plain[:2], plain[2:]
    country = "GR" if prefix == "EL" else prefix
    form = _FORMS.get(prefix)
    if form is None or not re.fullmatch(form, number, re.ASCII):
        return VatCheck(False, country, number, False)
    check = _CHECKS.get(prefix)
    if check is None:
        return VatCheck(True, country, number, False)
    return VatCheck(check(number), country, number, True)


def _weighted(number: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False))


def _luhn(number: str) -> bool:
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _mod_11_10(number: str) -> bool:
    # ISO 7064, MOD 11,10.
    rest = 10
    for digit in number[:-1]:
        rest = (rest + int(digit)) % 10 or 10
        rest = rest * 2 % 11
    return (rest + int(number[-1])) % 10 == 1


def _at(number: str) -> bool:
    digits = number[1:]
    total = 0
    for place, digit in enumerate(digits[:7]):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return (10 - (total + 4) % 10) % 10 == int(digits[7])


def _be(number: str) -> bool:
    return 97 - int(number[:8]) % 97 == int(number[8:])


def _dk(number: str) -> bool:
    return _weighted(number, (2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def _ee(number: str) -> bool:
    return _weighted(number, (3, 7, 1, 3, 7, 1, 3, 7, 1)) % 10 == 0


def _el(number: str) -> bool:
    return _weighted(number, (256, 128, 64, 32, 16, 8, 4, 2)) % 11 % 10 == int(number[8])


def _fi(number: str) -> bool:
    return _weighted(number, (7, 9, 10, 5, 8, 4, 2, 1)) % 11 == 0


def _fr(number: str) -> bool:
    # Companies of Monaco have 000 in place of a SIREN's beginning, which has no check of its own.
    siren = number[2:]
    if not siren.startswith("000") and not _luhn(siren):
        return False
    # Newer keys hold letters, whose rule is not published.
    return not number[:2].isdigit() or int(siren + "12") % 97 == int(number[:2])


def _gb(number: str) -> bool:
    total = _weighted(number, (8, 7, 6, 5, 4, 3, 2)) + int(number[7:9])
    # Since 2010 numbers are also issued with 55 added.
    return total % 97 == 0 or (total + 55) % 97 == 0


def _hu(number: str) -> bool:
    return _weighted(number, (9, 7, 3, 1, 9, 7, 3, 1)) % 10 == 0


def _ie(number: str) -> bool:
    letters = "WABCDEFGHIJKLMNOPQRSTUV"
    if not number[1].isdigit():
        number = f"0{number[2:7]}{number[0]}{number[7]}"
    total = _weighted(number[:7], (8, 7, 6, 5, 4, 3, 2))
    if len(number) == 9:
        total += 9 * (ord(number[8]) - ord("A") + 1)
    return letters[total % 23] == number[7]


def _lu(number: str) -> bool:
    return int(number[:6]) % 89 == int(number[6:])


def _mt(number: str) -> bool:
    return _weighted(number, (3, 4, 6, 7, 8, 9, 10, 1)) % 37 == 0


def _nl(number: str) -> bool:
    if _weighted(number[:8], (9, 8, 7, 6, 5, 4, 3, 2)) % 11 == int(number[8]):
        return True
    # Sole proprietors since 2020: ISO 7064 MOD 97-10 over the whole, letters as numbers.
    return int("".join(str(int(sign, 36)) for sign in f"NL{number}")) % 97 == 1


def _pl(number: str) -> bool:
    return _weighted(number, (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == int(number[9])


def _pt(number: str) -> bool:
    return (11 - _weighted(number, (9, 8, 7, 6, 5, 4, 3, 2)) % 11) % 11 % 10 == int(number[8])


def _ro(number: str) -> bool:
    padded = number.rjust(10, "0")
    return _weighted(padded, (7, 5, 3, 2, 1, 7, 5, 3, 2)) * 10 % 11 % 10 == int(padded[9])


def _se(number: str) -> bool:
    return _luhn(number[:10])


def _si(number: str) -> bool:
    digit = 11 - _weighted(number, (8, 7, 6, 5, 4, 3, 2)) % 11
    return digit != 11 and digit % 10 == int(number[7])


def _sk(number: str) -> bool:
    return int(number) % 11 == 0


_CHECKS: dict[str, Callable[[str], bool]] = {
    "AT": _at,
    "BE": _be,
    "DE": _mod_11_10,
    "DK": _dk,
    "EE": _ee,
    "EL": _el,
    "FI": _fi,
    "FR": _fr,
    "GB": _gb,
    "HR": _mod_11_10,
    "HU": _hu,
    "IE": _ie,
    "IT": _luhn,
    "LU": _lu,
    "MT": _mt,
    "NL": _nl,
    "PL": _pl,
    "PT": _pt,
    "RO": _ro,
    "SE": _se,
    "SI": _si,
    "SK": _sk,
}
