"""A month in which what is taxed changes: no line of its invoice has usage from both sides of the change."""

from datetime import UTC, datetime
from typing import Any

from onterms.business import customers, tax
from onterms.core.money import decimal_text, micros

JANUARY_15 = datetime(2025, 1, 15, tzinfo=UTC)


def totals(invoice: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in invoice.lines:
        found.setdefault(line.kind, []).append(decimal_text(line.micros))
    return found


async def test_invariant_24_what_was_used_before_the_approval_in_its_month_is_taxed(billing: Any) -> None:
    await billing.tax("0.10")
    await billing.use("100.00", "2025-01-05")
    commerce = billing.commerce
    commerce.serve(tax.Api(customers.customer_of).routes(), [])
    document = {"name": "certificate.pdf", "content": "JVBERg=="}
    body = {"kind": "sales", "jurisdiction": "US", "certificate": "C-1", "document": document}
    asked = await commerce.post("Exemptions", body, at=JANUARY_15, account=billing.account)
    await commerce.post(f"Exemptions/{asked['sid']}/Approve", {}, at=JANUARY_15)
    await billing.use("50.00", "2025-01-20")
    [made] = await billing.close("2025-02-01")
    assert totals(made) == {"fee": ["100.00", "50.00"], "tax": ["10.00"]}
    assert await billing.books() == []


async def test_each_half_of_a_month_has_the_rate_of_its_time(billing: Any) -> None:
    async with billing.database.transaction() as tx:
        for rate, begins, ends in (("0.10", datetime(2020, 1, 1, tzinfo=UTC), JANUARY_15), ("0.20", JANUARY_15, None)):
            rule = tax.TaxRule(0, "US", "sales", "fees", micros(rate), "half_up", begins, ends, "test", begins)
            await tax.add_rule(tx, rule, datetime(2024, 1, 2, tzinfo=UTC))
    await billing.use("100.00", "2025-01-05")
    await billing.use("50.00", "2025-01-20")
    [made] = await billing.close("2025-02-01")
    assert totals(made)["fee"] == ["100.00", "50.00"]
    assert sum(map(micros, totals(made)["tax"])) == micros("20.00")
