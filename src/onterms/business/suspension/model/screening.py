"""Comparing names with those on a list (5.2). A likeness is a reason to look, never a decision."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

PPM = 1_000_000
# Found on made-up names: transliterations and one wrong letter in a word pass, other persons of one surname do not.
THRESHOLD_PPM = 820_000
# fmt: off
_COMPANY_WORDS = frozenset((
    "ag", "bv", "co", "company", "corp", "corporation", "doo", "gmbh", "inc", "incorporated", "kg", "kk", "limited",
    "llc", "llp", "ltd", "nv", "oao", "ooo", "oy", "pjsc", "plc", "pte", "pty", "sa", "sarl", "spa", "srl", "zao",
))
# fmt: on


@dataclass(frozen=True, slots=True)
class Entry:
    """A name on a list.

    Shapes: names hold the aliases too; no countries means anywhere.
    """

    list_sid: str
    list_name: str
    entry_id: str
    names: tuple[str, ...]
    countries: tuple[str, ...]
    listed_on: date | None = None
    delisted_on: date | None = None


def normalised(name: str) -> tuple[str, ...]:
    """Return a name's words without accents, case, punctuation and forms of company, in a fixed order."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).casefold()
    words = [word for word in re.split(r"[^\w]+", plain.replace(".", "")) if word]
    return tuple(sorted(word for word in words if word not in _COMPANY_WORDS) or sorted(words))


def similarity(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how alike two normalised names are, in millionths: Dice's coefficient over pairs of letters."""
    if not one or not other:
        return 0
    if one == other:
        return PPM
    left, right = _pairs(one), _pairs(other)
    return 2 * PPM * sum((left & right).values()) // (sum(left.values()) + sum(right.values()))


def _pairs(words: tuple[str, ...]) -> Counter[str]:
    found: Counter[str] = Counter()
    for word in words:
        padded = f"^{word}$"
        found.update(padded[i : i + 2] for i in range(len(padded) - 1))
    return found


def match(name: str, country: str, entries: Sequence[Entry], on: date) -> list[tuple[Entry, int]]:
    """Return the entries that a name in a country is like on a day, the likest first."""
    wanted = normalised(name)
    found = []
    for entry in entries:
        if entry.listed_on is not None and entry.listed_on > on:
            continue
        if entry.delisted_on is not None and entry.delisted_on <= on:
            continue
        if entry.countries and country and country not in entry.countries:
            continue
        score = max((similarity(wanted, normalised(each)) for each in entry.names), default=0)
        if score >= THRESHOLD_PPM:
            found.append((entry, score))
    return sorted(found, key=lambda pair: (-pair[1], pair[0].entry_id))
