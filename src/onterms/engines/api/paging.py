"""Lists: both of the contract's paging styles over keyset queries.

A page token names the row next to which the page begins (`PA<key>`: after it, `PB<key>`: before it), so that rows
inserted while a client walks the list neither repeat nor hide a row.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from onterms.core.errors import InvalidParameter

PAGE_SIZE_DEFAULT = 50
# PostgreSQL's OFFSET is a bigint; no list is as long.
_OFFSET_MAX = 2**63 - 1
_TOKEN = re.compile(r"^P([AB])([0-9A-Za-z+:_.|-]{1,200})$")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page of a list is wanted."""

    size: int = PAGE_SIZE_DEFAULT
    page: int = 0
    after: str | None = None
    before: str | None = None

    @property
    def offset(self) -> int:
        """Rows to skip, for the old style that gives a page number and no token."""
        return 0 if self.after or self.before else min(self.page * self.size, _OFFSET_MAX)

    def keyset(self, column: str, key_parameter: int, *, newest_first: bool = True) -> tuple[str, str]:
        """Return the SQL that bounds and orders the page by a unique text column: (condition, tail).

        Shapes: the condition refers to `${key_parameter}` (bind `self.key`); the tail holds ORDER BY, LIMIT and
        OFFSET and asks for one row more than the page, which tells whether another page follows.
        """
        backwards = self.before is not None
        descending = newest_first != backwards
        sign = "<" if descending else ">"
        # Two texts rather than one with OR, for a plan with OR reads every row before the page.
        bound = f"{column} {sign} ${key_parameter}::text"
        condition = f"${key_parameter}::text IS NULL" if self.key is None else bound
        order = "DESC" if descending else "ASC"
        return condition, f"ORDER BY {column} {order} LIMIT {self.size + 1} OFFSET {self.offset}"

    @property
    def key(self) -> str | None:
        """The key next to which the page begins, or None for the first page."""
        return self.before if self.before is not None else self.after


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one page in the list's order, with the keys of its neighbours."""

    rows: Sequence[Mapping[str, Any]]
    next_token: str | None = None
    previous_token: str | None = None

    @classmethod
    def of(
        cls,
        request: PageRequest,
        rows: Sequence[Any],
        *,
        key: str,
        render: Callable[[Any], Mapping[str, Any]],
    ) -> "Page":
        """Make a page of what a keyset query returned (up to one row more than asked)."""
        more = len(rows) > request.size
        kept = list(rows[: request.size])
        backwards = request.before is not None
        if backwards:
            kept.reverse()
        has_next = backwards or more
        has_previous = more if backwards else (request.after is not None or request.offset > 0)
        return cls(
            rows=[render(row) for row in kept],
            next_token=f"PA{kept[-1][key]}" if kept and has_next else None,
            previous_token=f"PB{kept[0][key]}" if kept and has_previous else None,
        )

    @classmethod
    def slice(cls, request: PageRequest, rows: Sequence[Mapping[str, Any]], *, key: str) -> "Page":
        """Make a page out of a complete list that is already in order."""
        start = 0
        if request.after is not None:
            keys = [str(row[key]) for row in rows]
            start = keys.index(request.after) + 1 if request.after in keys else len(rows)
        elif request.before is not None:
            keys = [str(row[key]) for row in rows]
            end = keys.index(request.before) if request.before in keys else 0
            start = max(0, end - request.size)
        else:
            start = request.offset
        kept = rows[start : start + request.size]
        return cls(
            rows=kept,
            next_token=f"PA{kept[-1][key]}" if kept and start + request.size < len(rows) else None,
            previous_token=f"PB{kept[0][key]}" if kept and start > 0 else None,
        )


def page_request(params: Mapping[str, Any], size_max: int) -> PageRequest:
    """Read PageSize, Page and PageToken; a size above the operation's maximum is capped, as the original does."""
    size = min(int(params.get("PageSize", PAGE_SIZE_DEFAULT)), size_max)
    token = params.get("PageToken")
    page = int(params.get("Page", 0))
    if not token:
        return PageRequest(size, page)
    match = _TOKEN.match(token)
    if match is None:
        raise InvalidParameter("PageToken is not a token of this list")
    if match[1] == "A":
        return PageRequest(size, page, after=match[2])
    return PageRequest(size, page, before=match[2])


def page_links(path: str, query: Sequence[tuple[str, str]], request: PageRequest, page: Page) -> dict[str, Any]:
    """Build the links of a page: self, first, next, previous (path and query only)."""

    def link(number: int, token: str | None) -> str:
        pairs = [(name, value) for name, value in query if name not in ("PageSize", "Page", "PageToken")]
        pairs += [("PageSize", str(request.size)), ("Page", str(number))]
        if token:
            pairs.append(("PageToken", token))
        return path + "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)

    own_token = f"PA{request.after}" if request.after else f"PB{request.before}" if request.before else None
    return {
        "self": link(request.page, own_token),
        "first": link(0, None),
        "next": link(request.page + 1, page.next_token) if page.next_token else None,
        "previous": link(max(0, request.page - 1), page.previous_token) if page.previous_token else None,
    }


__all__ = ["PAGE_SIZE_DEFAULT", "Page", "PageRequest", "page_links", "page_request"]
