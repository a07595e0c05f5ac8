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


class Roster:
    """Entries prepared for comparing: each pair of letters knows the names that have it.

    A name is compared only with those that share letters with it, so that 50,000 entries cost milliseconds.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._names: list[tuple[Entry, tuple[str, ...], int]] = []
        # A pair that a name has twice stands twice: the second occurrence is a pair of its own.
        self._with: dict[tuple[str, int], list[int]] = {}
        for entry in entries:
            for name in entry.names:
                words = normalised(name)
                pairs = _numbered(_pairs(words))
                for pair in pairs:
                    self._with.setdefault(pair, []).append(len(self._names))
                self._names.append((entry, words, len(pairs)))

    def __len__(self) -> int:
        return len(self._names)

    def match(self, name: str, country: str, on: date) -> list[tuple[Entry, int]]:
        """Return the entries that a name in a country is like on a day, the likest first."""
        wanted = normalised(name)
        pairs = _numbered(_pairs(wanted))
        shared: Counter[int] = Counter()
        for pair in pairs:
            shared.update(self._with.get(pair, ()))
        best: dict[tuple[str, str], tuple[Entry, int]] = {}
        for place, count in shared.items():
            entry, words, size = self._names[place]
            score = PPM if words == wanted else 2 * PPM * count // (len(pairs) + size)
            if score < THRESHOLD_PPM or not _counts(entry, country, on):
                continue
            key = (entry.list_sid, entry.entry_id)
            if key not in best or best[key][1] < score:
                best[key] = (entry, score)
        return sorted(best.values(), key=lambda pair: (-pair[1], pair[0].entry_id))


def _numbered(pairs: Counter[str]) -> list[tuple[str, int]]:
    return [(pair, place) for pair, count in pairs.items() for place in range(count)]


def _counts(entry: Entry, country: str, on: date) -> bool:
    if entry.listed_on is not None and entry.listed_on > on:
        return False
    if entry.delisted_on is not None and entry.delisted_on <= on:
        return False
    return not entry.countries or not country or country in entry.countries


def match(name: str, country: str, entries: Sequence[Entry], on: date) -> list[tuple[Entry, int]]:
    """Return the entries that a name in a country is like on a day, the likest first."""
    return Roster(entries).match(name, country, on)
