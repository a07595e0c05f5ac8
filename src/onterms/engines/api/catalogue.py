"""The catalogue of error codes: what each code means and how serious it is."""

from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

from onterms.engines.api.rendering import ERROR_DOCS

# Twilio docs, Monitor Alerts, `LogLevel`.
Level = Literal["error", "warning", "notice", "debug"]


class Entry(NamedTuple):
    """One code of the catalogue."""

    level: Level
    meaning: str


@cache
def _entries() -> dict[int, Entry]:
    text = files("onterms.engines.api").joinpath("data", "error-codes.tsv").read_text("utf-8")
    entries: dict[int, Entry] = {}
    for line in text.splitlines()[1:]:
        code, level, _, meaning = line.split("\t")
        # A quarter of the codes carry no level; what is reported without one is an error.
        entries[int(code)] = Entry("warning" if level == "WARNING" else "error", meaning)
    return entries


def known(code: int) -> bool:
    """Tell whether the catalogue has a code."""
    return code in _entries()


def meaning(code: int) -> str:
    """Return what a code means, in the catalogue's words; a code that is not in it is named by its number."""
    entry = _entries().get(code)
    return entry.meaning if entry is not None else f"Error {code}"


def level(code: int) -> Level:
    """Return how serious a code is."""
    entry = _entries().get(code)
    return entry.level if entry is not None else "error"


def more_info(code: int) -> str:
    """Return the address of the page that explains a code."""
    return f"{ERROR_DOCS}{code}"
