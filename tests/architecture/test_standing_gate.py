"""A block on a customer's standing closes the API's doors that it names, until the last one is lifted."""

from typing import Any

import pytest

from onterms.business import customers, standing

BLOCK = ("payments", "everything", standing.WHOLE_CUSTOMER, "prepaid_empty", "3.3.1", "top-up")


@pytest.mark.asyncio(loop_scope="module")
async def test_blocked_customer_neither_sends_nor_makes_accounts_until_the_block_is_lifted(world: Any) -> None:
    tenant = await world.tenant()
    stock = await world.row(tenant, "api_v2010:ListAvailablePhoneNumberLocal", path={"CountryCode": "US"}, PageSize=1)
    sender = stock["available_phone_numbers"][0]["phone_number"]
    await world.row(tenant, "api_v2010:CreateIncomingPhoneNumber", PhoneNumber=sender)
    wanted = {"To": "+19075550188", "From": sender, "Body": "let me through"}
    async with world.database.transaction() as tx:
        customer = await customers.customer_of(tx, tenant.sid)
        await standing.set_block(tx, customer.sid, *BLOCK, world.clock.now())
    refused = await world.call(tenant, "api_v2010:CreateMessage", params=wanted)
    assert (refused.status, refused.body["code"]) == (403, 90010)
    assert refused.body["details"]["clause"] == "3.3.1"
    closed = await world.call(tenant, "api_v2010:CreateAccount", params={"FriendlyName": "another"})
    assert (closed.status, closed.body["code"]) == (403, 90010)
    async with world.database.transaction() as tx:
        await standing.lift(tx, customer.sid, "payments", "top-up", world.clock.now())
    assert (await world.call(tenant, "api_v2010:CreateMessage", params=wanted)).status == 201
