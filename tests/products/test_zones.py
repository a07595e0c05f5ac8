"""Quiet hours by the recipient's own time."""

from datetime import UTC, datetime, time, timedelta

import pytest

from onterms.core import e164
from onterms.products.messaging.model.zones import waits_until, zone_of_zip, zones_of

NIGHT = (time(21), time(8))


@pytest.mark.parametrize(
    ("zip_code", "zone"),
    [
        ("10001", "America/New_York"),
        ("02108-1234", "America/New_York"),
        ("32501", "America/Chicago"),
        ("33101", "America/New_York"),
        ("37201", "America/Chicago"),
        ("37901", "America/New_York"),
        ("46402", "America/Chicago"),
        ("60601", "America/Chicago"),
        ("79901", "America/Denver"),
        ("80202", "America/Denver"),
        ("83814", "America/Los_Angeles"),
        ("85001", "America/Phoenix"),
        ("89101", "America/Los_Angeles"),
        ("90001", "America/Los_Angeles"),
        ("96813", "Pacific/Honolulu"),
        ("97201", "America/Los_Angeles"),
        ("99501", "America/Anchorage"),
        ("00901", "America/Puerto_Rico"),
        ("SW1A", None),
        ("1", None),
        ("", None),
    ],
)
def test_zip_code_tells_the_zone(zip_code: str, zone: str | None) -> None:
    assert zone_of_zip(zip_code) == zone


def test_number_tells_its_zones_and_one_without_a_place_the_default() -> None:
    assert e164.zones_of("+12125550123") == ("America/New_York",)
    assert zones_of(e164.zones_of("+12125550123"), "UTC") == ("America/New_York",)
    assert zones_of(e164.zones_of("+18005550123"), "UTC") == ("UTC",)
    assert zones_of(e164.zones_of("nonsense"), "UTC") == ("UTC",)


@pytest.mark.parametrize(
    ("at", "hours"),
    [("2030-01-15T20:59", None), ("2030-01-15T21:00", 11), ("2030-01-16T07:00", 1), ("2030-01-16T08:00", None)],
)
def test_night_lasts_until_eight(at: str, hours: int | None) -> None:
    # New York is five hours behind UTC then.
    now = datetime.fromisoformat(at).replace(tzinfo=UTC) + timedelta(hours=5)
    until = waits_until(["America/New_York"], *NIGHT, now)
    assert until == (now + timedelta(hours=hours) if hours is not None else None)


def test_of_several_zones_all_must_be_awake() -> None:
    # 8 in New York is 5 in Los Angeles.
    now = datetime(2030, 1, 15, 13, tzinfo=UTC)
    assert waits_until(["America/New_York", "America/Los_Angeles"], *NIGHT, now) == now + timedelta(hours=3)


def test_morning_of_a_change_of_clocks_is_at_eight_too() -> None:
    # In New York clocks went forward at 2 that night.
    now = datetime(2030, 3, 10, 4, tzinfo=UTC)
    assert waits_until(["America/New_York"], *NIGHT, now) == datetime(2030, 3, 10, 12, tzinfo=UTC)


def test_hours_within_a_day_end_that_day() -> None:
    now = datetime(2030, 1, 15, 12, 30, tzinfo=UTC)
    assert waits_until(["UTC"], time(12), time(14), now) == datetime(2030, 1, 15, 14, tzinfo=UTC)
    assert waits_until(["UTC"], time(12), time(14), now + timedelta(hours=2)) is None
