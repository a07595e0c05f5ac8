"""What a view hands to the pages, and the small readings of queries and forms that views share."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from onterms.app.operator_pages.desk import Desk, Line
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import SID
from onterms.engines.api import OwnReply, OwnRequest

SEARCH_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Shown:
    """A page: its template with what it shows, and the same as calls of the API."""

    template: str
    title: str
    data: Mapping[str, Any] = field(default_factory=dict)
    api: Sequence[Line] = ()


View = Callable[[Desk, Tx, OwnRequest], Awaitable[Shown]]
# Does what a form asks for and returns the path of the page that shows it.
Act = Callable[[Desk, OwnRequest], Awaitable[str]]
File = Callable[[Desk, Tx, OwnRequest], Awaitable[OwnReply]]


def sid_of(request: OwnRequest, name: str) -> str:
    """Read a SID of the path."""
    found = request.path[name]
    if SID.match(found) is None:
        raise NotFound("There is no such page")
    return found


def search_of(request: OwnRequest) -> str:
    """Read what is searched for."""
    return request.query.get("q", "").strip()[:SEARCH_CHARS_MAX]


def after_of(request: OwnRequest) -> str:
    """Read where a page of a list begins."""
    after = request.query.get("after", "")
    if after and SID.match(after) is None:
        raise InvalidParameter("'after' must be what the last page gave")
    return after


def choice_of(request: OwnRequest, name: str, allowed: Sequence[str]) -> str | None:
    """Read a filter; what is none of the choices filters nothing."""
    found = request.query.get(name, "")
    return found if found in allowed else None


def page_of(rows: Sequence[Row], size: int) -> tuple[list[Row], str | None]:
    """Split what was asked for one more of into a page and the token of the next."""
    return list(rows[:size]), rows[size - 1]["sid"] if len(rows) > size else None


def given(request: OwnRequest, *names: str) -> dict[str, str]:
    """Return the fields of a form that were filled in."""
    return {name: str(request.body[name]).strip() for name in names if str(request.body.get(name, "")).strip()}


def base_of(customer_sid: str) -> str:
    """Return the path below which a customer's pages stand."""
    return f"/operator/customers/{customer_sid}"
