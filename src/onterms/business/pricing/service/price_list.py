"""The cache that the send path asks for prices."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from onterms.business.pricing.errors import NoPrice
from onterms.business.pricing.model import Price, PriceTables, SurchargeRule, default_currency
from onterms.business.pricing.store import prices as store
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx

_log = logging.getLogger("onterms")
# A lost connection is tried again this often; until it is back prices may be as old as this.
_RETRY_S = 1.0


class Ask(NamedTuple):
    """A question for a price, as `PriceList.price` takes it."""

    customer_sid: str
    service: str
    direction: str
    country: str
    number: str
    unit: str
    currency: str


async def read_tables(tx: Tx, *, known_at: datetime | None = None) -> PriceTables:
    """Read every price from the database, as it is or as it was known at an instant."""
    version = await store.version(tx)
    rates = await store.all_rates(tx)
    forms, order_only, currencies = await store.form_rates(tx)
    surcharges = await store.surcharge_rules(tx)
    return PriceTables(
        [*rates, *forms],
        surcharges,
        order_only=order_only,
        currencies=currencies,
        version=version,
        known_at=known_at,
    )


class PriceList:
    """Every price in memory, as new as the last change that was heard of.

    All instants are in memory, not only the present one, so nothing has to happen when a price comes into force. A
    price goes up from a future instant only, so the moment between a change and hearing of it costs nobody more.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._tables = PriceTables([])
        # Set and replaced with each change, for those who wait for one.
        self._news = asyncio.Event()

    @property
    def version(self) -> int:
        """Return the version of what is in memory; it grows with each change."""
        return self._tables.version

    @property
    def tables(self) -> PriceTables:
        """Return what is in memory, a value that never changes."""
        return self._tables

    async def refresh(self) -> None:
        """Read the database again if it has another version."""
        async with self._database.snapshot() as tx:
            if await store.version(tx) != self._tables.version:
                tables = await read_tables(tx)
                # Two refreshes may overtake each other.
                if tables.version >= self._tables.version:
                    self._tables = tables
                    news, self._news = self._news, asyncio.Event()
                    news.set()

    async def reached(self, version: int) -> None:
        """Return once memory is at a version or past it; `follow` must run."""
        while self._tables.version < version:
            await self._news.wait()

    async def follow(self) -> None:
        """Keep up with changes until cancelled, whatever happens to the connection."""
        while True:
            changed = asyncio.Event()
            try:
                connection = await self._database.connect_alone()
                try:
                    connection.add_termination_listener(lambda *_, heard=changed: heard.set())
                    await connection.add_listener(store.CHANNEL, lambda *_, heard=changed: heard.set())
                    while not connection.is_closed():
                        changed.clear()
                        await self.refresh()
                        await changed.wait()
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("the price list lost its connection: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_S)

    def price(
        self,
        customer_sid: str,
        service: str,
        direction: str,
        country: str,
        number: str,
        unit: str,
        currency: str,
        at: datetime,
    ) -> Price | None:
        """Return what a unit costs a customer at an instant, its order form's rate first, or None for no sale.

        Shapes: number is the other party's in E.164, or empty.
        """
        return self._tables.price(customer_sid, service, direction, country, number, unit, currency, at)

    def prices(self, asks: Sequence[Ask], at: datetime) -> list[Price | None]:
        """Answer many questions about one instant, in order."""
        price = self._tables.price
        return [price(*ask, at) for ask in asks]

    def currency(self, customer_sid: str, country: str, at: datetime) -> str:
        """Return the currency a customer is charged in at an instant: its order form's, else that of its domicile."""
        return self._tables.currency(customer_sid, at) or default_currency(country)

    def require(self, ask: Ask, at: datetime) -> Price:
        """Return a price or refuse.

        Raises: NoPrice (403).
        """
        found = self._tables.price(*ask, at)
        if found is None:
            raise NoPrice(ask.service, ask.country, ask.currency)
        return found

    def surcharges(
        self, carrier: str, country: str, channel: str, direction: str, unit: str, currency: str, at: datetime
    ) -> list[SurchargeRule]:
        """Return what comes on top of the fee, at most one rule of each kind."""
        return self._tables.surcharges(carrier, country, channel, direction, unit, currency, at)
