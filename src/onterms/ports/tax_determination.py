"""Which taxes apply: asked of the operator's own table, or of a service that knows rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

TaxBase = Literal["fees", "fees_and_surcharges"]


@dataclass(frozen=True, slots=True)
class TaxFacts:
    """What decides which taxes a customer bears.

    Shapes: countries are ISO 3166 codes; subdivision is a code within the country (`NY`); locality is a name that the
    rules know. seller_country is where the contracting entity is established, or None when it is not known.
    """

    country: str
    currency: str
    subdivision: str | None = None
    locality: str | None = None
    seller_country: str | None = None
    vat_id: str | None = None
    # The operator confirmed the identifier with the authority; where an offline check cannot decide, only this does.
    vat_id_confirmed: bool = False


@dataclass(frozen=True, slots=True)
class ApplicableTax:
    """One tax that applies.

    Units: rate in millionths (8.875 % is 88750).
    """

    jurisdiction: str
    kind: str
    base: TaxBase
    rate: int
    rounding: Literal["half_up", "down"]
    # The customer accounts for it itself: shown with its base at rate 0.
    reverse_charge: bool = False
    source: str = ""


class TaxDetermination(Protocol):
    """Decide which taxes apply."""

    async def determine(self, facts: TaxFacts, instants: Sequence[datetime]) -> list[list[ApplicableTax]]:
        """Return for each instant which taxes apply to what was supplied then.

        Raises: Unavailable when the answer cannot be had; nothing is guessed.
        """
        ...
