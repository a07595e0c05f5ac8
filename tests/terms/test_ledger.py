"""Rows of the terms that the ledger decides by itself."""

import asyncio
from datetime import timedelta

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.money import decimal_text, micros
from onterms.engines import ledger
from onterms.engines.ledger import Held, HoldOutcome, HoldRequest, Insufficient, templates

CUSTOMER = "OR" + 32 * "1"
ACCOUNT = "AC" + 32 * "1"


async def test_3_3_1_funds_of_10_00_admit_exactly_305_of_400_parallel_holds_of_0_0327(
    database: Database, clock: VirtualClock
) -> None:
    async with database.transaction() as tx:
        await ledger.open_balance(tx, CUSTOMER, "USD", clock.now())
        paid = ledger.Transaction(CUSTOMER, "USD", "topup-1", templates.topup(micros("10.00"), "card"))
        await ledger.post(tx, [paid], clock.now())

    async def send(number: int) -> HoldOutcome:
        expires_at = clock.now() + timedelta(days=1)
        request = HoldRequest(f"SM{number}", ACCOUNT, CUSTOMER, "USD", micros("0.0327"), expires_at, "message")
        async with database.transaction() as tx:
            [outcome] = await ledger.hold(tx, [request], clock.now())
        return outcome

    outcomes = await asyncio.gather(*[send(number) for number in range(400)])
    assert sum(isinstance(outcome, Held) for outcome in outcomes) == 305
    assert sum(isinstance(outcome, Insufficient) for outcome in outcomes) == 95
    async with database.snapshot() as tx:
        found = await ledger.balance(tx, CUSTOMER, "USD")
        assert await ledger.verify(tx) == []
    assert found is not None and found.available is not None
    assert decimal_text(found.held) == "9.9735"
    assert decimal_text(found.available) == "0.0265"
