"""A revoked exemption becomes a debit note: taxes, the authority's interest and penalties, once."""

import base64
from datetime import datetime
from typing import Any

import pytest

from onterms.business import customers, invoicing, tax
from onterms.core.db import Tx
from onterms.core.money import decimal_text, micros

DOCUMENT = {"name": "certificate.pdf", "content": base64.b64encode(b"%PDF").decode()}
DETERMINED = {
    "revoked_from": "2025-02-01T00:00:00Z",
    "determined_on": "2025-05-29",
    "interest_rate": "0.073",
    "penalty_rate": "0.10",
    "penalty": "25.00",
    "reason": "State authority, letter of 2025-05-29",
}


@pytest.fixture
async def exempt(billing: Any) -> str:
    """An exemption of the customer, from 2 January 2025 on."""

    async def revoked(tx: Tx, customer_sid: str, at: datetime) -> None:
        await invoicing.bill_back_taxes(tx, billing.surroundings, customer_sid, at)

    billing.commerce.serve(tax.Api(customers.customer_of, revoked).routes(), [])
    await billing.tax("0.08")
    request = {"kind": "sales", "jurisdiction": "US", "certificate": "ST-120", "valid_from": "2025-01-01"}
    made = await billing.commerce.post(
        "Exemptions", {**request, "document": DOCUMENT, "customer_sid": billing.customer}, at="2025-01-02T00:00:00Z"
    )
    await billing.commerce.post(f"Exemptions/{made['sid']}/Approve", {}, at="2025-01-02T00:00:00Z")
    sid: str = made["sid"]
    return sid


async def revoke(billing: Any, exemption: str) -> list[dict[str, Any]]:
    answer = await billing.commerce.post(f"Exemptions/{exemption}/Revoke", DETERMINED, at="2025-06-30T00:00:00Z")
    items: list[dict[str, Any]] = answer["items"]
    return items


async def test_3_2_3_revoked_exemption_is_billed_by_a_debit_note_with_interest_and_penalties(
    billing: Any, exempt: str
) -> None:
    await billing.invoice("1000.00", "2025-01-31")
    billed = await billing.invoice("2000.05", "2025-02-28")
    assert decimal_text(billed.total) == "2000.05"
    [charged] = await revoke(billing, exempt)
    # 8 % of 2,000.05; interest from the due day, 30 March, for 60 days at 7.3 % a year; 10 % and 25.00 of penalties.
    assert (charged["tax"], charged["interest"], charged["penalties"]) == ("160.00", "1.92", "41.00")
    note = await billing.commerce.get(f"Invoices/{charged['debit_note_sid']}")
    assert (note["kind"], note["total"], note["due_on"]) == ("debit_note", "202.92", "2025-07-30")
    assert "DN2025-" in note["number"]
    assert {line["name"]: line["amount"] for line in note["sections"][0]["lines"]} == {
        "sales US": "160.00",
        "Interest, US": "1.92",
        "Penalties, US": "41.00",
    }
    # All of it is the authority's.
    assert await billing.account_sum("tax_payable:US") == -micros("202.92")
    assert await billing.books() == []


async def test_revoking_again_sends_no_second_debit_note(billing: Any, exempt: str) -> None:
    await billing.invoice("2000.05", "2025-02-28")
    first = await revoke(billing, exempt)
    assert await revoke(billing, exempt) == first
    async with billing.database.transaction() as tx:
        at = datetime.fromisoformat("2025-07-01T00:00:00+00:00")
        assert await invoicing.bill_back_taxes(tx, billing.surroundings, billing.customer, at) == []
    kinds = [one["kind"] for one in (await billing.commerce.get("Invoices"))["items"]]
    assert kinds == ["invoice", "debit_note"]


async def test_debit_note_is_paid_like_an_invoice(billing: Any, exempt: str) -> None:
    await billing.invoice("2000.05", "2025-02-28")
    await billing.pay("2000.05", "2025-03-01")
    [charged] = await revoke(billing, exempt)
    paid = await billing.pay(charged["total"], "2025-07-01")
    assert paid == {charged["debit_note_sid"]: micros(charged["total"])}
    assert (await billing.commerce.get(f"Invoices/{charged['debit_note_sid']}"))["state"] == "paid"
    assert await billing.due() == "0.00"
    assert await billing.books() == []
