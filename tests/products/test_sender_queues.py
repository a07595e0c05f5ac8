"""Which queue a sender has, what joins it in one step, and what that costs."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.ids import new_sid
from onterms.engines import jobs
from onterms.products.messaging import errors
from onterms.products.messaging.model.queues import Waiting, type_of
from onterms.products.messaging.service.queues import SenderQueues
from onterms.products.messaging.service.registration import Registrations
from onterms.products.messaging.service.smpp import answer_of
from onterms.products.registration import Rate
from onterms.protocols.smpp import Status

ACCOUNT = "AC" + "a" * 32
OTHER = "AC" + "b" * 32
LONG_CODE, SECOND, SHORT = "+12025550100", "+12025550101", "72345"


class _Untouched:
    """A transaction in which nothing may be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked of the database")


@pytest.fixture
async def queues(database: Database) -> AsyncIterator[SenderQueues]:
    made = SenderQueues(database, is_sandbox=False)
    await made.start()
    yield made
    await made.close()


def waiting(sender: str, segments: int = 1, account: str = ACCOUNT) -> Waiting:
    return Waiting(account, new_sid("SM", datetime.fromisoformat("2031-01-01T00:00:00Z")), sender, segments)


async def join(
    database: Database,
    queues: SenderQueues,
    messages: list[Waiting],
    at: datetime,
    due: Mapping[str, datetime] | None = None,
) -> list[jobs.NewJob]:
    async with database.transaction() as tx:
        found = await queues.jobs_of(tx, messages, at, due or {})
        if found:
            await jobs.enqueue(tx, found, at)
    return found


def seconds(found: list[jobs.NewJob], at: datetime) -> list[float]:
    return [round((job.due_at - at).total_seconds(), 6) if job.due_at else 0.0 for job in found]


@pytest.mark.parametrize(
    ("sender", "kind"),
    [
        (LONG_CODE, "long_code"),
        ("+18885550100", "tollfree"),
        (SHORT, "short_code"),
        ("ONTERMS", "alpha"),
        ("+447400123456", "mobile"),
        ("+442079460000", "international"),
        ("whatsapp:+12025550100", "channel"),
    ],
)
def test_a_sender_tells_its_type(sender: str, kind: str) -> None:
    assert type_of(sender) == kind


async def test_a_sandbox_without_settings_asks_nothing_of_the_database(database: Database, clock: VirtualClock) -> None:
    free = SenderQueues(database, is_sandbox=True)
    await free.start()
    tx: Any = _Untouched()
    assert await free.steps(tx, [waiting(LONG_CODE)], clock.now(), {}) == (set(), [], [])
    assert await free.overflowing(tx, [], clock.now()) == {}
    await free.close()


async def test_published_rates_hold_outside_a_sandbox(
    database: Database, clock: VirtualClock, queues: SenderQueues
) -> None:
    at = clock.now()
    assert seconds(await join(database, queues, [waiting(LONG_CODE) for _ in range(3)], at), at) == [0, 1, 2]
    # A hundred a second go as jobs of up to a second each.
    found = await join(database, queues, [waiting(SHORT, 2) for _ in range(120)], at)
    assert [(job.cost, len(job.payload["sids"])) for job in found] == [(100, 50), (100, 50), (40, 20)]
    assert seconds(found, at) == [0, 1, 2]
    # Channels have limits of their own.
    [job] = await join(database, queues, [waiting("whatsapp:+12025550100")], at)
    assert job.rate_key is None


async def test_senders_of_a_campaign_share_its_rate_and_accounts_share_nothing(
    database: Database, clock: VirtualClock, queues: SenderQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def campaign(_: Any, tx: Any, pairs: Any) -> dict[Any, Rate]:
        return {pair: Rate(2.0, "QE1") for pair in pairs}

    monkeypatch.setattr(Registrations, "sender_rates", campaign)
    queues.by_registration(Registrations(clock, None, is_enforced=True))
    at = clock.now()
    found = await join(database, queues, [waiting(LONG_CODE), waiting(SECOND), waiting(LONG_CODE)], at)
    assert seconds(found, at) == [0, 0.5, 1]
    assert {job.rate_key for job in found} == {f"sender:{ACCOUNT}:QE1"}
    assert seconds(await join(database, queues, [waiting(LONG_CODE, account=OTHER)], at), at) == [0]


async def test_the_nearest_rate_counts(database: Database, clock: VirtualClock, queues: SenderQueues) -> None:
    at = clock.now()
    for of, per_s in (
        ((None, None, "long_code"), 2.0),
        ((ACCOUNT, None, None), 4.0),
        ((ACCOUNT, SECOND, None), 0.0),
    ):
        async with database.transaction() as tx:
            await queues.put(tx, of, per_s, at)
    await queues.reload()
    pairs = [(ACCOUNT, LONG_CODE), (ACCOUNT, SECOND), (OTHER, LONG_CODE), (ACCOUNT, SHORT)]
    async with database.transaction() as tx:
        found = await queues.queues_of(tx, pairs)
    assert [found[pair].per_s if pair in found else 0 for pair in pairs] == [4.0, 0, 2.0, 4.0]


async def test_what_waits_for_its_hour_takes_its_place_then(
    database: Database, clock: VirtualClock, queues: SenderQueues
) -> None:
    at = clock.now()
    hour = at + timedelta(hours=1)
    late, now = waiting(LONG_CODE), waiting(LONG_CODE)
    found = await join(database, queues, [late, now], at, {late.sid: hour})
    assert [(job.due_at, job.has_place, job.rate_key is None) for job in found] == [
        (hour, False, False),
        (at, True, False),
    ]


async def test_a_full_queue_is_said_so_by_smpp() -> None:
    assert answer_of(errors.QueueFull("full")).status == Status.RMSGQFUL


async def test_a_long_queue_is_shown_by_its_first_and_its_rate_and_the_next_stands_at_its_end(
    database: Database, clock: VirtualClock, queues: SenderQueues
) -> None:
    at = clock.now()
    messages = [waiting(LONG_CODE) for _ in range(10_000)]
    for start in range(0, 10_000, 250):
        await join(database, queues, messages[start : start + 250], at)
    async with database.transaction() as tx:
        assert await queues.waits(tx, [(ACCOUNT, LONG_CODE)], at) != {}
        [(key, row)] = (await jobs.waiting_in(tx, [f"sender:{ACCOUNT}:{LONG_CODE}"], "sids", 1000)).items()
        assert (key, row["jobs"]) == (f"sender:{ACCOUNT}:{LONG_CODE}", 1000)
        [shown] = await queues.of_account(tx, ACCOUNT, "", 10, at)
    assert (shown.messages, shown.segments, shown.is_estimate) == (10_000, 10_000, True)
    async with database.transaction() as tx:
        joined, steps, statements = await queues.steps(tx, [waiting(LONG_CODE)], at, {})
    assert (len(joined), len(statements)) == (1, 1)
    assert seconds(steps, at) == [10_000]
