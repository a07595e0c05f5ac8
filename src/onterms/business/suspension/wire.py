"""The outside shapes of this room: what requests hold and what answers show."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from onterms.core.db import Row
from onterms.engines.api.shapes import Country, Json, Shape, Sid, Text

WEIGHT_MAX = 1_000_000

_Service = Annotated[str, Meta(max_length=40)]


class HitsPage(Shape):
    """Where a page begins: the `next` of the page before."""

    next: str = ""


class NewAupRule(Shape):
    """A rule of the use policy; empty service and country are all of them."""

    condition: Json
    action: str
    text_ref: Text
    service: _Service = ""
    country: Annotated[str, Meta(max_length=2)] = ""
    weight: Annotated[int, Meta(ge=0, le=WEIGHT_MAX)] = 0


class AupRule(Shape):
    """A rule of the use policy."""

    sid: Sid
    service: str
    country: str
    condition: Json
    action: str
    weight: int
    text_ref: str


class Ended(Shape):
    """What was ended, and when."""

    sid: Sid
    until_at: datetime


class Hit(Shape):
    """A rule that was hit."""

    sid: Sid
    rule_sid: Sid
    end_user: str | None
    weight: int
    at: datetime


class AupScore(Shape):
    """A customer's score under the use policy."""

    customer_sid: Sid
    score: int


class NewList(Shape):
    """A list of sanctions: entries with `id`, `names`, `countries`, `listed_on`, `delisted_on`."""

    name: Annotated[str, Meta(max_length=100)]
    entries: Any = None


class ListImported(Shape):
    """A list that was put in place, and the reviews that it led to."""

    sid: Sid
    name: str
    reviews: list[Sid]


class SanctionsList(Shape):
    """A list of sanctions without its entries."""

    sid: Sid
    name: str
    sha256: str
    entries: int
    imported_at: datetime


class NewPlace(Shape):
    """A place to block for a service or all, and the law that asks for it."""

    kind: Literal["service", "region", "embargo"]
    country: Country
    reason: Text
    service: _Service = ""
    subdivision: Annotated[str, Meta(max_length=10)] = ""


class PlaceBlocked(Shape):
    """A place that was blocked."""

    sid: Sid
    kind: str
    country: str
    subdivision: str


class Place(PlaceBlocked):
    """A blocked place."""

    service: str
    reason: str
    from_at: datetime


def sanctions_list(row: Row) -> SanctionsList:
    """Show a list of sanctions without its entries."""
    return SanctionsList.of(row, sha256=row["sha256"].hex())
