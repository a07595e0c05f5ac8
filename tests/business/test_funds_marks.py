"""Below which amount of funds somebody looks at them again."""

import pytest

from onterms.business.payments.model import alert_level


@pytest.mark.parametrize(
    ("posted", "threshold", "owed", "level"),
    [(10, 4, 0, 4), (10, 4, 6, 6), (3, 4, 2, 2), (3, 4, 0, None), (0, 0, 5, None), (10, 0, 0, None), (4, 4, 4, 4)],
)
def test_next_mark_is_the_highest_that_funds_have_not_passed(
    posted: int, threshold: int, owed: int, level: int | None
) -> None:
    assert alert_level(posted, threshold, owed) == level
