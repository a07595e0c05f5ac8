"""A stepper runs what is due first, alone, and only when it is asked to."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.engines import jobs


class Steps:
    """A stepper whose handlers note what they ran."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database, self.clock = database, clock
        self.ran: list[tuple[str, datetime]] = []
        self.fails = 0
        self.stepper = jobs.Stepper(database, clock, name="steps", settings=jobs.WorkerSettings(random=lambda: 0.5))
        for task in ("a", "b"):
            self.stepper.register(task, self._note, attempts_max=2)

    async def _note(self, run: jobs.Run, due: Sequence[jobs.Job]) -> None:
        [job] = due
        self.ran.append((job.payload["name"], run.clock.now()))
        if self.fails:
            self.fails -= 1
            raise RuntimeError("as it was told")

    async def enqueue(self, *wanted: tuple[str, str, int]) -> None:
        at = self.clock.now()
        made = [
            jobs.NewJob(task, {"name": name}, due_at=at + timedelta(seconds=after_s)) for task, name, after_s in wanted
        ]
        async with self.database.transaction() as tx:
            await jobs.enqueue(tx, made, at)

    async def all_due(self) -> None:
        while await self.stepper.step():
            pass

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.ran]


async def test_jobs_run_one_at_a_time_in_the_order_of_their_due_times(database: Database, clock: VirtualClock) -> None:
    steps = Steps(database, clock)
    await steps.enqueue(("a", "third", 3), ("b", "first", 1), ("a", "second", 2), ("b", "later", 9), ("c", "others", 0))
    await steps.stepper.begin()
    assert await steps.stepper.step() is None
    clock.hold(clock.now() + timedelta(seconds=5))
    job = await steps.stepper.step()
    assert job is not None and steps.names == ["first"]
    await steps.all_due()
    assert steps.names == ["first", "second", "third"]
    assert await steps.stepper.next_due() == clock.now() + timedelta(seconds=4)


async def test_job_that_fails_is_repeated_at_the_same_time_for_the_same_seed(
    database: Database, clock: VirtualClock
) -> None:
    steps = Steps(database, clock)
    await steps.enqueue(("a", "once more", 0))
    await steps.stepper.begin()
    steps.fails = 1
    await steps.all_due()
    assert steps.names == ["once more"]
    assert await steps.stepper.next_due() == clock.now() + timedelta(seconds=1)
    clock.hold(clock.now() + timedelta(seconds=1))
    await steps.all_due()
    assert steps.names == ["once more"] * 2
    assert await steps.stepper.next_due() is None
