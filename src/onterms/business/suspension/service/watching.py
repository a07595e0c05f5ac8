"""Watching use in windows of 15 minutes.

Theory of operation
-------------------

The first passage of a window leaves a job for its end, so that an install at rest watches nothing. The job asks each
product what went out in the window, customer by customer, and lets the detector judge. A customer's window is one
transaction and is taken in once; a window that was watched to its end is not watched again, however often its job
comes.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from onterms.business.cases import Book
from onterms.business.suspension import store
from onterms.business.suspension.service.detecting import LookCloser, observe
from onterms.core.db import Tx
from onterms.engines import jobs

WATCH_TASK = "suspension.watch"
WINDOW = timedelta(minutes=15)
# Ours: most carriers report within five minutes, and a window is judged by what became of it.
GRACE = timedelta(minutes=5)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Spell(NamedTuple):
    """What a customer used of a service towards a country in a window, and how to look at it closer."""

    customer_sid: str
    service: str
    country: str
    units: int
    look_closer: LookCloser


# What went out of a product in [start, end), of all customers.
Source = Callable[[Tx, datetime, datetime], Awaitable[Sequence[Spell]]]


def window_of(at: datetime) -> datetime:
    """Return when the window that an instant lies in began."""
    return at - (at - _EPOCH) % WINDOW


class Watch:
    """Leaves jobs for windows with use in them, and does them."""

    def __init__(self, reviews: Book) -> None:
        self._reviews = reviews
        self._sources: list[Source] = []
        # The window that has its job, as far as this process knows.
        self._from = self._until = _EPOCH

    def over(self, source: Source) -> None:
        """Watch a product too."""
        self._sources.append(source)

    async def note(self, tx: Tx, at: datetime) -> None:
        """See that the window of an instant, in which something goes out, is watched."""
        if self._from <= at < self._until:
            return
        start = window_of(at)
        job = jobs.NewJob(WATCH_TASK, {"start_at": start.isoformat()}, due_at=start + WINDOW + GRACE)
        await jobs.enqueue(tx, [job], at)

        def remember() -> None:
            self._from, self._until = start, start + WINDOW

        tx.after_commit(remember)

    async def spells(self, tx: Tx, start: datetime) -> Mapping[str, list[Spell]]:
        """Return what was used in a window, by customer; nothing where it was watched before."""
        found: dict[str, list[Spell]] = {}
        if await store.window_is_done(tx, start):
            return found
        for source in self._sources:
            for spell in await source(tx, start, start + WINDOW):
                found.setdefault(spell.customer_sid, []).append(spell)
        return found

    async def take_in(self, tx: Tx, start: datetime, spells: Sequence[Spell], at: datetime) -> None:
        """Let the detector judge a customer's window."""
        for customer_sid, service, country, units, look_closer in spells:
            await observe(tx, self._reviews, customer_sid, service, country, start, units, look_closer, at)

    async def finish(self, tx: Tx, start: datetime, at: datetime) -> None:
        """Note that a window was watched to its end."""
        await store.finish_window(tx, start, at)
