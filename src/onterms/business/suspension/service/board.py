"""What decides on sendings, in memory: rules, blocked places, suspensions, licences, and whose end users have marks.

Theory of operation
-------------------

The hot path asks `posted`, which answers from memory while the connection that hears of changes is up and nothing heard
of is unread; else it reads first, so that nobody is let through by what is known to be old. Changes in this process are
heard of at their commit, those of others by notification.

Of marks memory holds only which customers have any: there may be as many as opted out. Such a customer's sendings cost
one statement a batch, all others none.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from onterms.business import cases, customers
from onterms.business.cases import Book, Case
from onterms.business.suspension import store
from onterms.business.suspension.model import Rule, holds_for
from onterms.business.suspension.store import Place, TimedRule
from onterms.core.db import Database, Tx

_log = logging.getLogger("onterms")
_RETRY_S = 1.0
MARKS = ("opt_out", "sanctions")
_SUSPENDING = ("noticed", "active", "converted")
_LICENSING = ("on_file", "reminded")
# Pairs of a service and a country that rules were picked for.
_PICKED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Posted:
    """What was in force when it was read, at any instant."""

    rules: tuple[TimedRule, ...] = ()
    places: tuple[Place, ...] = ()
    suspensions: Mapping[str, tuple[Case, ...]] = field(default_factory=dict)
    licences: frozenset[tuple[str, str]] = frozenset()
    # Where nobody may sign in or call from, which says nothing on what is sent.
    regions: tuple[Place, ...] = ()
    marked: set[str] = field(default_factory=set)
    _picked: dict[tuple[str, str], tuple[TimedRule, ...]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing can stand against anything that is sent."""
        return not (self.rules or self.places or self.suspensions or self.marked)

    def rules_for(self, service: str, country: str, at: datetime) -> list[Rule]:
        """Return the rules for a service in a country at an instant."""
        if not self.rules:
            return []
        key = (service, country)
        picked = self._picked.get(key)
        if picked is None:
            if len(self._picked) >= _PICKED_MAX:
                self._picked.clear()
            picked = self._picked[key] = tuple(
                each
                for each in self.rules
                if holds_for(each.rule.service, service) and each.rule.country in ("", country)
            )
        return [rule for rule, from_at, until_at in picked if from_at <= at and (until_at is None or at < until_at)]

    def block_of(self, kind: str, service: str, country: str, at: datetime) -> Place | None:
        """Return the block of a kind on sending by a service to a country at an instant, if any."""
        for place in self.places:
            if (
                place.kind == kind
                and place.country == country
                and place.from_at <= at
                and (place.until_at is None or at < place.until_at)
                and holds_for(place.service, service)
            ):
                return place
        return None


async def read(tx: Tx, suspensions: Book, licences: Book) -> Posted:
    """Read all of it."""
    held: dict[str, list[Case]] = {}
    for case in await suspensions.of_everybody(tx, _SUSPENDING):
        held.setdefault(case.customer_sid, []).append(case)
    places = await store.timed_places(tx)
    licensed = await licences.of_everybody(tx, _LICENSING)
    return Posted(
        tuple(await store.timed_rules(tx)),
        tuple(place for place in places if place.kind != "region"),
        {customer_sid: tuple(found) for customer_sid, found in held.items()},
        frozenset((case.customer_sid, str(case.facts["country"])) for case in licensed),
        tuple(place for place in places if place.kind == "region"),
        await customers.customers_with_marks(tx, MARKS),
    )


class Board:
    """Keeps `Posted` as new as the last change that was heard of."""

    def __init__(self, database: Database, suspensions: Book, licences: Book) -> None:
        self._database = database
        self._suspensions = suspensions
        self._licences = licences
        self._posted = Posted()
        self._hears = False
        # How many changes were heard of, and how many of them are in memory.
        self._heard = 1
        self._read = 0
        self._reading = asyncio.Lock()
        self._changed = asyncio.Event()
        for book in (suspensions, licences):
            book.moved.append(self.heard)

    @property
    def known(self) -> Posted | None:
        """What is in force, or None when memory does not know."""
        return self._posted if self._hears and self._read == self._heard else None

    async def posted(self, tx: Tx) -> Posted:
        """Return what is in force, having read it where memory does not know."""
        known = self.known
        if known is not None:
            return known
        # Nobody who has this lock waits for a connection: each reads with its own.
        async with self._reading:
            # Another waited for the same.
            if not self._hears or self._read != self._heard:
                await self._refresh(tx)
            return self._posted

    def heard(self) -> None:
        """Note that something changed."""
        self._heard += 1
        self._changed.set()

    def marked(self, customer_sid: str) -> None:
        """Note that something became known of a customer's end user."""
        self._posted.marked.add(customer_sid)
        if self._read != self._heard:
            # What is being read now may be from before it.
            self.heard()

    async def follow(self) -> None:
        """Keep up with changes until cancelled, whatever happens to the connection."""
        while True:
            lost = asyncio.Event()
            try:
                connection = await self._database.connect_alone()
                try:
                    connection.add_termination_listener(lambda _, lost=lost: self._lose(lost))
                    await connection.add_listener(store.CHANNEL, lambda *_: self.heard())
                    await connection.add_listener(cases.CHANNEL, lambda *told: self._case_moved(told[3]))
                    await connection.add_listener(customers.MARKS_CHANNEL, lambda *told: self.marked(told[3]))
                    # Listening came first, so no change falls between.
                    self.heard()
                    tx = Tx(connection, self._database, commits=False)
                    while not lost.is_set():
                        self._changed.clear()
                        async with self._reading:
                            if self._read != self._heard:
                                await self._refresh(tx)
                            self._hears = not lost.is_set()
                        if self._read == self._heard:
                            await self._changed.wait()
                finally:
                    self._hears = False
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("the board of rules lost its connection: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_S)

    async def _refresh(self, tx: Tx) -> None:
        heard = self._heard
        self._posted = await read(tx, self._suspensions, self._licences)
        self._read = heard

    def _case_moved(self, kind: str) -> None:
        if kind in (self._suspensions.machine.kind, self._licences.machine.kind):
            self.heard()

    def _lose(self, lost: asyncio.Event) -> None:
        self._hears = False
        lost.set()
        self._changed.set()
