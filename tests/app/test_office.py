"""What settings change of the commercial rooms: play money in a sandbox only, cards at the operator's provider."""

from typing import Any

import pytest

from onterms.app.office import Office, Outside
from onterms.business import accounts, agreements, customers, pricing
from onterms.carriers.stripe import StripeGateway
from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.money import micros
from onterms.core.vault import Vault
from onterms.engines import ledger
from onterms.engines.api import OwnRequest


async def account_of(office: Office, database: Database, clock: VirtualClock) -> str:
    """Have the operator make an account, and return its customer."""
    at = clock.now()
    async with database.transaction() as tx:
        await agreements.ensure_template(tx, at)
        await pricing.ensure_default_prices(tx, at)
        made = await accounts.create_customer(tx, Vault(bytes(32)), "Acme", at)
        request = OwnRequest("POST", {}, {}, {"friendly_name": "Acme"}, at, None, operator=True)
        await office.account_made(tx, made, request)
        customer = await customers.customer_of(tx, made.account_sid)
    assert customer is not None
    return customer.sid


async def funds(database: Database, customer_sid: str) -> int:
    async with database.snapshot() as tx:
        found = await ledger.balance(tx, customer_sid, "USD")
    return 0 if found is None else found.posted


@pytest.mark.parametrize(("is_sandbox", "credit"), [(True, "1000"), (False, "0")])
async def test_account_made_by_the_operator_has_play_money_in_a_sandbox_only(
    database: Database, clock: VirtualClock, is_sandbox: bool, credit: str
) -> None:
    office = Office(database, clock, Vault(bytes(32)), outside=Outside(is_sandbox=is_sandbox))
    customer_sid = await account_of(office, database, clock)
    assert await funds(database, customer_sid) == micros(credit)


async def test_first_account_has_play_money_in_a_sandbox_only(database: Database, clock: VirtualClock) -> None:
    vault = Vault(bytes(32))
    async with database.transaction() as tx:
        made = await accounts.create_customer(tx, vault, "First", clock.now())
        await Office(database, clock, vault, outside=Outside(is_sandbox=False)).open(tx, made.account_sid, clock.now())
        customer = await customers.customer_of(tx, made.account_sid)
    assert customer is not None
    assert await funds(database, customer.sid) == 0


async def test_play_money_is_never_the_real_providers(database: Database, clock: VirtualClock) -> None:
    gateway = StripeGateway("sk_test_1", "whsec_1")
    office = Office(database, clock, Vault(bytes(32)), outside=Outside(gateway=gateway))
    assert office.payments.env.provider == gateway.name
    customer_sid = await account_of(office, database, clock)
    async with database.snapshot() as tx:
        found = await ledger.balance(tx, customer_sid, "USD")
    assert found is not None and f"cash:{gateway.name}" not in found.accounts


def test_outside_a_sandbox_nothing_of_the_simulator_is_served(database: Database, clock: VirtualClock) -> None:
    served: dict[bool, list[str]] = {}
    gatekeeper: Any = type("Gatekeeper", (), {"authenticate": None})()
    for is_sandbox in (True, False):
        office = Office(database, clock, Vault(bytes(32)), outside=Outside(is_sandbox=is_sandbox))
        served[is_sandbox] = [route.pattern for route in office.routes(gatekeeper)]
    assert any(pattern.startswith("/simulator/v1/payments") for pattern in served[True])
    assert [pattern for pattern in served[False] if "/simulator/" in pattern] == []
    assert "/commercial/v1/PaymentWebhooks/{provider}" in served[False]
