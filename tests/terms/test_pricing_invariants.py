"""Invariants of prices and rating, over generated figures."""

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onterms.business import pricing
from onterms.business.pricing.model import commitment_periods
from onterms.business.pricing.model.order_forms import Commitment
from onterms.core.money import InvalidAmount, micros, round_minor

START = datetime(2025, 1, 1, tzinfo=UTC)

steps = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 10**6)), min_size=1, max_size=5).map(
    lambda gaps: tuple(
        zip([0, *itertools.accumulate(gap for gap, _ in gaps)][:-1], [price for _, price in gaps], strict=True)
    )
)


@given(mode=st.sampled_from(["graduated", "volume"]), steps=steps, parts=st.lists(st.integers(0, 60), max_size=12))
def test_invariant_10_tier_totals_equal_the_closed_form(
    mode: Any, steps: tuple[tuple[int, int], ...], parts: list[int]
) -> None:
    tiers = pricing.Tiers(mode, steps)
    position, total = 0, 0
    for qty in parts:
        total += tiers.amount(position, qty)
        position += qty
    if mode == "volume":
        price = steps[0][1]
        for floor, step_price in steps:
            price = step_price if position > floor else price
        assert total == position * price
    else:
        assert total == sum(
            next(price for floor, price in reversed(steps) if unit >= floor) for unit in range(position)
        )


@given(price=st.integers(0, 10**9), first=st.integers(0, 10**6), second=st.integers(0, 10**6))
def test_invariant_10_splitting_a_period_gives_the_same_exact_total(price: int, first: int, second: int) -> None:
    flat = pricing.Price(price, "USD", "segment", 1)
    assert flat.amount(first) + flat.amount(second) == flat.amount(first + second)


@given(amounts=st.lists(st.integers(-(10**12), 10**12)), currency=st.sampled_from(["USD", "JPY", "KWD"]))
def test_invariant_7_rounded_less_exact_is_what_is_posted_as_rounding(amounts: list[int], currency: str) -> None:
    lines = [pricing.round_line(amount, currency) for amount in amounts]
    assert sum(rounded for rounded, _ in lines) - sum(amounts) == sum(rounding for _, rounding in lines)
    assert all(round_minor(rounded, currency) == rounded for rounded, _ in lines)


days = st.integers(0, 40)
writes = st.lists(st.tuples(days, st.integers(0, 20), st.integers(1, 20), st.integers(0, 1000)), max_size=15)


@given(writes=writes, known=days, asked=days)
def test_invariant_22_what_was_known_then_never_changes(
    writes: list[tuple[int, int, int, int]], known: int, asked: int
) -> None:
    rates = [
        pricing.Rate(
            *("sms", "outbound", "", ""),
            pricing.Price(price, "USD", "segment", row),
            START + timedelta(days=begins),
            START + timedelta(days=begins + length),
            START + timedelta(days=recorded),
        )
        for row, (recorded, begins, length, price) in enumerate(sorted(writes), 1)
    ]
    known_at, when = START + timedelta(days=known), START + timedelta(days=asked)

    def as_known(rows: list[pricing.Rate]) -> pricing.Price | None:
        tables = pricing.PriceTables(rows, known_at=known_at)
        return tables.price("", "sms", "outbound", "US", "", "segment", "USD", when)

    then = [rate for rate in rates if rate.recorded_at <= known_at]
    assert as_known(rates) == as_known(then)
    covering = [rate for rate in then if rate.effective_from <= when and rate.effective_to and when < rate.effective_to]
    expected = max(covering, key=lambda r: (r.effective_from, r.recorded_at, r.price.row), default=None)
    assert as_known(rates) == (expected.price if expected else None)


def test_seven_decimals_are_no_amount() -> None:
    with pytest.raises(InvalidAmount):
        micros("0.0000001")


def test_periods_of_a_term_that_begins_on_a_31st_do_not_drift() -> None:
    found = commitment_periods(Commitment(1, "month"), date(2025, 1, 31), date(2025, 4, 15))
    days = [date(2025, 1, 31), date(2025, 2, 28), date(2025, 3, 31), date(2025, 4, 16)]
    assert found == list(itertools.pairwise(days))
