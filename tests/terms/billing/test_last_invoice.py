"""The invoice at the end of an agreement, and a cure that force majeure lengthens."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from onterms.business import collections, invoicing, notices, termination
from onterms.core.money import decimal_text

LETTERHEAD = notices.Letterhead("notices@operator.example", "The Operator", "legal@operator.example")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def close_finally(billing: Any, when: datetime) -> Any:
    async with billing.database.transaction() as tx:
        return await invoicing.close_finally(tx, billing.surroundings, billing.customer, when)


async def test_an_end_within_a_month_bills_to_the_instant_and_the_months_close_takes_what_came_late(
    billing: Any,
) -> None:
    await billing.use("10.00", "2025-04-10")
    await billing.use("20.00", "2025-04-14")
    [made] = await close_finally(billing, at("2025-04-14T15:00"))
    assert (made.period_from, made.period_to, made.issued_on) == (
        date(2025, 4, 1),
        date(2025, 4, 15),
        date(2025, 4, 14),
    )
    assert made.due_on == date(2025, 5, 14), "the usual days to pay"
    assert decimal_text(made.total) == "30.00"
    assert await close_finally(billing, at("2025-04-14T15:00")) == []
    await billing.use("1.00", "2025-04-13")
    [late] = await billing.close("2025-05-01")
    assert decimal_text(late.total) == "1.00"
    assert await billing.books() == []


async def test_an_end_at_the_turn_of_a_month_leaves_nothing_to_its_close(billing: Any) -> None:
    await billing.use("10.00", "2025-04-30")
    [made] = await close_finally(billing, at("2025-05-01T00:00"))
    assert (made.period_from, made.issued_on) == (date(2025, 4, 1), date(2025, 4, 30))
    assert await billing.close("2025-05-01") == []


async def test_an_end_just_after_a_month_takes_that_month_too_where_it_is_not_closed(billing: Any) -> None:
    await billing.use("10.00", "2025-04-30")
    [made] = await close_finally(billing, at("2025-05-01T00:30"))
    assert (made.period_from, made.issued_on) == (date(2025, 4, 1), date(2025, 5, 1))


async def test_who_has_no_billing_profile_gets_no_invoice(billing: Any) -> None:
    sid, _ = await billing.commerce.make_customer("Prepaid")
    async with billing.database.transaction() as tx:
        assert await invoicing.close_finally(tx, billing.surroundings, sid, at("2025-04-14T15:00")) is None


@pytest.mark.parametrize(("reaches", "until"), [(True, "2025-03-25"), (False, "2025-03-20")])
async def test_cure_of_late_payment_grows_where_force_majeure_reaches_paying(
    billing: Any, reaches: bool, until: str
) -> None:
    commerce = billing.commerce

    async def last_form(tx: Any, customer_sid: str, when: datetime) -> None:
        return None

    async def nothing(tx: Any, customer_sid: str, kind: str, when: datetime) -> str:
        return ""

    async def review(tx: Any, customer_sid: str, when: datetime) -> None:
        await billing.collections.review(tx, customer_sid, when)

    closing = {name: nothing for name in termination.STEPS if name != "close_accounts"}
    terminations = termination.Terminations(commerce.notices, last_form, closing, hindered=review)

    async def cure(tx: Any, customer_sid: str, given_on: date) -> date | None:
        days = collections.CURE_DAYS
        return await terminations.cure_end(tx, customer_sid, given_on, days, "customer", "payment")

    billing.collections = collections.Collections(cure=cure)
    billing.delivery = type(billing.delivery)(
        billing.contacts, LETTERHEAD, followers=[billing.collections.follow_notice]
    )
    commerce.serve(termination.Api(terminations).routes(), [])
    await billing.invoice("100.00", "2025-01-31")
    await billing.deliver(at("2025-02-01T09:00"))
    assert await billing.review(at("2025-03-03T00:00"), deliver=False) == "past_due"
    await billing.deliver(at("2025-03-05T10:00"))

    async def cure_until() -> str:
        [notice] = (await commerce.get("Collections/Notices"))["items"]
        return str(notice["cure_until"])

    assert await cure_until() == "2025-03-20"
    body = {
        "party": "customer",
        "cause": "all banks are closed",
        "from_on": "2025-03-10",
        "until_on": "2025-03-14",
        "duties": ["payment"],
        "mitigation": "none",
    }
    event = await commerce.post("ForceMajeure", body, account=commerce.account, at="2025-03-15T00:00:00Z")
    assert await cure_until() == "2025-03-20", "a mere report moves nothing"
    await commerce.fire("ForceMajeure", event["sid"], "accept", reaches_payment=reaches, at="2025-03-15T00:00:00Z")
    assert await cure_until() == until
    last = at(until) + timedelta(hours=23)
    assert await billing.review(last) == "cure"
    assert await billing.review(last + timedelta(hours=2)) == "breached"
