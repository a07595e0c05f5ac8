"""When a number's months begin."""

from datetime import UTC, datetime

import pytest

from onterms.products.numbers.service.fees import next_month

JANUARY_31 = datetime(2025, 1, 31, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "begins"),
    [
        (JANUARY_31, datetime(2025, 2, 28, 10, 30, tzinfo=UTC)),
        (datetime(2025, 2, 28, 10, 30, tzinfo=UTC), datetime(2025, 3, 31, 10, 30, tzinfo=UTC)),
        (datetime(2025, 2, 28, 10, 29, tzinfo=UTC), datetime(2025, 2, 28, 10, 30, tzinfo=UTC)),
        (datetime(2025, 4, 1, tzinfo=UTC), datetime(2025, 4, 30, 10, 30, tzinfo=UTC)),
        (datetime(2028, 2, 1, tzinfo=UTC), datetime(2028, 2, 29, 10, 30, tzinfo=UTC)),
    ],
)
def test_month_begins_on_the_day_of_the_purchase_or_the_months_last(after: datetime, begins: datetime) -> None:
    assert next_month(JANUARY_31, after) == begins


def test_following_months_never_skip_one() -> None:
    at = JANUARY_31
    seen = []
    for _ in range(24):
        at = next_month(JANUARY_31, at)
        seen.append((at.year, at.month))
    assert seen == [(2025 + (month - 1) // 12, (month - 1) % 12 + 1) for month in range(2, 26)]
