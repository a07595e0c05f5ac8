"""Lanes: who gets the next one, and that none is lost when somebody stops waiting."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import pytest

from onterms.carriers.webhook.lanes import Lanes, NoLane


@asynccontextmanager
async def lane(lanes: Lanes, host: Hashable) -> AsyncIterator[None]:
    if not lanes.take_free(host):
        await lanes.take(host)
    try:
        yield
    finally:
        lanes.give_back(host)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def all_free(lanes: Lanes, total: int) -> bool:
    """Tell whether so many lanes can be had, and no more."""
    taken = [host for host in range(total + 1) if lanes.take_free(host)]
    for host in taken:
        lanes.give_back(host)
    return taken == list(range(total))


class TestLanes:
    async def test_lane_is_handed_to_who_waits_longest(self) -> None:
        lanes, order = Lanes(10, 1, 5), list[int]()

        async def use(number: int) -> None:
            async with lane(lanes, "a"):
                order.append(number)
                await turns()

        await asyncio.gather(*(use(number) for number in range(4)))
        assert order == [0, 1, 2, 3]
        assert all_free(lanes, 10)

    async def test_nobody_overtakes_who_waits(self) -> None:
        lanes = Lanes(1, 5, 5)
        assert lanes.take_free("a")
        waiting = asyncio.create_task(lanes.take("b"))
        await turns()
        lanes.give_back("a")
        # The lane is theirs already, though they have not gone on yet.
        assert not lanes.take_free("a")
        await waiting
        lanes.give_back("b")
        assert all_free(lanes, 1)

    @pytest.mark.parametrize(("total", "per_host"), [(1, 5), (5, 1)], ids=["total", "host"])
    async def test_cancelled_waiter_is_passed_over(self, total: int, per_host: int) -> None:
        lanes = Lanes(total, per_host, 5)
        assert lanes.take_free("a")
        first, second = asyncio.create_task(lanes.take("a")), asyncio.create_task(lanes.take("a"))
        await turns()
        first.cancel()
        await turns()
        lanes.give_back("a")
        await second
        lanes.give_back("a")
        assert first.cancelled() and all_free(lanes, total)

    @pytest.mark.parametrize(("total", "per_host"), [(1, 5), (5, 1)], ids=["total", "host"])
    async def test_lane_handed_to_one_who_is_cancelled_meanwhile_is_not_lost(self, total: int, per_host: int) -> None:
        lanes = Lanes(total, per_host, 5)
        assert lanes.take_free("a")
        waiting = asyncio.create_task(lanes.take("a"))
        await turns()
        lanes.give_back("a")
        waiting.cancel()
        await turns()
        assert waiting.cancelled() and all_free(lanes, total)

    async def test_who_waits_too_long_gets_none_and_holds_none(self) -> None:
        lanes = Lanes(1, 1, 0.01)
        assert lanes.take_free("a")
        for host in ("a", "b"):
            with pytest.raises(NoLane):
                await lanes.take(host)
        lanes.give_back("a")
        assert all_free(lanes, 1)
