"""Who contracts, under which law, before whom: decision tables by domicile (P.11, 9.6, 9.7, 10.1.8, 10.1.9, 10.3.1).

The tables are data that a version of the terms carries with it, so a customer's answer follows the version that binds
it. The shipped one lists every ISO 3166-1 country once; rows flagged `review` are for the operator's counsel to decide.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from onterms.core.calendar import plus_days
from onterms.core.money import MICROS

# Clauses 9.7, 10.1.9, 10.3.1 and 10.4.7: seniors negotiate this many days.
NEGOTIATION_DAYS = 30
# Clause 10.3.1: arbitration from this sum on.
BRAZIL_ARBITRATION_FROM = 200_000 * MICROS

CaseKind = Literal["contract", "ip"]


@dataclass(frozen=True, slots=True)
class Forum:
    """Where a dispute goes, and from which day on.

    Shapes: `body` is None where the contract names nobody. `route` is `undecided` where a fact is missing.
    """

    route: Literal["arbitration", "litigation", "relief", "undecided"]
    body: str | None
    seat: str | None
    law: str
    courts: str | None
    not_before: date
    clause: str
    arbitrators: int | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A dispute as the tables ask for it.

    Units: amount_usd counts micro-units; None where it is unknown.
    """

    kind: CaseKind
    first_request_on: date
    amount_usd: int | None = None
    # Another end of the negotiation, agreed in writing.
    agreed_until: date | None = None


class PartyTables:
    """Answer by domicile; a verified United States government kind goes before the country."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self._groups: Mapping[str, str] = data["groups"]
        self._rows: Mapping[str, Mapping[str, str | None]] = data["rows"]
        self._states: Mapping[str, str] = data["us_states"]
        for group in self._groups.values():
            row = self._rows[group]
            for column in ("entity", "law", "courts"):
                if not isinstance(row.get(column), str):
                    raise ValueError(f"The row {group} has no {column}")

    def group(self, country: str) -> str:
        """Return the group of a country.

        Raises: KeyError for what is no country of the table.
        """
        return self._groups[country]

    def countries(self) -> list[str]:
        """List every country of the table."""
        return sorted(self._groups)

    def contracting_entity(self, country: str) -> str:
        """Return which of the operator's companies contracts: default, europe or japan."""
        return self._text(country, "entity")

    def governing_law(self, country: str, government: str | None = None, subdivision: str = "") -> str:
        """Return the law that governs."""
        if government == "us_federal":
            return "United States federal law"
        if government is not None:
            # Clause 10.1.8: the state in which the customer is located; where none is recorded nobody guesses one.
            return self._states.get(subdivision.removeprefix("US-"), "law of the customer's state (not recorded)")
        return self._text(country, "law")

    def courts(self, country: str, government: str | None = None) -> str | None:
        """Return the courts named for a customer; None where none is named."""
        return None if government is not None else self._text(country, "courts")

    def seat(self, country: str, government: str | None = None) -> str | None:
        """Return the seat of an arbitration; None where there is none."""
        return None if government is not None else self._rows[self.group(country)]["seat"]

    def forum(self, case: Case, country: str, government: str | None = None, subdivision: str = "") -> Forum:
        """Return where a dispute goes once the negotiation is over."""
        law = self.governing_law(country, government, subdivision)
        courts = self.courts(country, government)
        end = case.agreed_until or plus_days(case.first_request_on, NEGOTIATION_DAYS)
        after = plus_days(end, 1)
        group = self.group(country)
        if government is None and group == "BRAZIL":
            # This rider has no exception for intellectual property.
            return self._brazil(case, law, courts, after)
        if case.kind == "ip":
            clause = "10.1.8" if government is not None else "9.7 IP"
            return Forum("litigation", courts, None, law, courts, case.first_request_on, clause)
        if government is not None:
            return Forum("relief", None, None, law, None, after, "10.1.9")
        if group == "JAPAN":
            return Forum("litigation", courts, None, law, courts, after, "10.4.7")
        return Forum("arbitration", "JAMS", self.seat(country), law, courts, after, "9.7 arbitrate", 1, "English")

    def _brazil(self, case: Case, law: str, courts: str | None, after: date) -> Forum:
        if case.amount_usd is None:
            return Forum("undecided", None, None, law, courts, after, "10.3.1")
        if case.amount_usd < BRAZIL_ARBITRATION_FROM:
            return Forum("litigation", courts, None, law, courts, after, "10.3.1")
        return Forum("arbitration", "CAM-CCBC", self.seat("BR"), law, courts, after, "10.3.1", 1, "English")

    def _text(self, country: str, column: str) -> str:
        value = self._rows[self.group(country)][column]
        assert value is not None, "checked when the tables were read"
        return value


@dataclass(frozen=True, slots=True)
class CountryRow:
    """A row of the shipped table, as counsel reviews it."""

    country: str
    name: str
    group: str
    review: bool
    note: str


@cache
def shipped_rows() -> tuple[CountryRow, ...]:
    """Return the rows of the shipped table of countries."""
    text = files("onterms.business.agreements").joinpath("data", "domicile_groups.csv").read_text("utf-8")
    return tuple(
        CountryRow(row["iso2"], row["name"], row["group"], row["flag"] == "review", row["note"] or "")
        for row in csv.DictReader(text.splitlines())
    )


@cache
def shipped_tables() -> PartyTables:
    """Return the tables that come with this release."""
    data = json.loads(files("onterms.business.agreements").joinpath("data", "parties.json").read_text("utf-8"))
    return PartyTables({**data, "groups": {row.country: row.group for row in shipped_rows()}})
