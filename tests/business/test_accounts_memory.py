"""What the accounts room remembers of credentials and of failures, without a database."""

from datetime import UTC, datetime

from onterms.business.accounts import CredentialCache, FailureThrottle
from onterms.core.clock import VirtualClock


class SteppedClock(VirtualClock):
    """A clock whose real seconds move only when the test says so."""

    def __init__(self) -> None:
        super().__init__(held_at=datetime(2030, 1, 1, 12, 0, tzinfo=UTC))
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


class TestCredentialCache:
    def test_what_was_read_before_a_change_is_not_remembered_after_it(self) -> None:
        cache = CredentialCache(SteppedClock())
        cache.forget("AC1", 3)
        cache.put("header", "old", "x", {"AC1": 2}, read_at=1000.0)
        cache.put("header", "new", "y", {"AC1": 3}, read_at=1000.0)
        assert cache.get("header", "old") is None
        assert cache.get("header", "new") == "y"

    def test_late_word_of_an_old_change_drops_nothing_newer(self) -> None:
        cache = CredentialCache(SteppedClock())
        cache.put("header", "new", "y", {"AC1": 3}, read_at=1000.0)
        cache.forget("AC1", 3)
        assert cache.get("header", "new") == "y"
        cache.forget("AC1", 4)
        assert cache.get("header", "new") is None

    def test_memory_is_bounded(self) -> None:
        cache = CredentialCache(SteppedClock(), entries_max=3)
        for number in range(10):
            cache.put("header", str(number), number, {f"AC{number}": 1}, read_at=1000.0)
        assert [cache.get("header", str(number)) for number in range(10)] == [None] * 7 + [7, 8, 9]

    def test_entry_is_as_old_as_the_reading_it_came_from(self) -> None:
        clock = SteppedClock()
        cache = CredentialCache(clock, age_max_s=5.0)
        cache.put("header", "key", "x", {"AC1": 1}, read_at=996.0)
        assert cache.get("header", "key") == "x"
        clock.seconds = 1001.0
        assert cache.get("header", "key") is None

    def test_headers_are_kept_under_a_key_of_this_process(self) -> None:
        clock = SteppedClock()
        one, two = CredentialCache(clock), CredentialCache(clock)
        assert one.header_key(b"Basic x") == one.header_key(b"Basic x")
        assert one.header_key(b"Basic x") != one.header_key(b"Basic y")
        assert one.header_key(b"Basic x") != two.header_key(b"Basic x")


class TestFailureThrottle:
    def test_failures_are_forgiven_with_time_and_counted_by_name(self) -> None:
        throttle = FailureThrottle(burst=2, per_s=1)
        assert [throttle.failed("a", 0.0) > 0 for _ in range(4)] == [False, False, True, True]
        assert throttle.failed("b", 0.0) == 0
        assert throttle.failed("a", 1.0) == 0
        assert throttle.failed("a", 1.0) > 0
        assert [throttle.failed("a", 100.0) for _ in range(2)] == [0, 0]

    def test_names_are_bounded(self) -> None:
        throttle = FailureThrottle(burst=1, per_s=1, names_max=2)
        assert [throttle.failed(name, 0.0) > 0 for name in "abca"] == [False] * 4
        assert throttle.failed("a", 0.0) > 0

    def test_name_is_kept_no_longer_than_a_sid_could_be(self) -> None:
        throttle = FailureThrottle(burst=1, per_s=1)
        long = "a" * 100_000
        assert [throttle.failed(long + end, 0.0) > 0 for end in "bcd"] == [False, True, True]
