"""Fees that came after an install's price list get their price once."""

from onterms.business import pricing
from onterms.business.pricing.store import prices as store
from onterms.core.clock import VirtualClock
from onterms.core.db import Database


async def test_older_price_list_gets_the_prices_of_new_fees_and_nothing_else(
    database: Database, clock: VirtualClock
) -> None:
    at = clock.now()
    fees = store.shipped_fees()
    older = [rate for rate in store.shipped_rates(at) if rate.service not in fees and rate.country == "US"]
    async with database.transaction() as tx:
        await store.insert_prices(tx, store.DEFAULT_BOOK, older, "install")
        # A price in dollars and one in yen for each.
        assert await pricing.ensure_default_prices(tx, at) == 2 * len(fees)
        assert await pricing.ensure_default_prices(tx, at) == 0
