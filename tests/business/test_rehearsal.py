"""What a rehearsal is asked for, how it moves, and what its timers are called."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from onterms.app.office import Office
from onterms.business import rehearsal
from onterms.business.rehearsal import Assumptions, CannotCopy, Limits, model, service
from onterms.business.rehearsal.api import NO_TIMERS
from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.vault import Vault
from onterms.engines import jobs

AT = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
STATUSES = ("queued", "running", "completed", "failed")
LAWFUL = {("queued", "begin"): "running", ("running", "complete"): "completed", ("running", "fail"): "failed"}


async def ask(database: Database, days: int = 90) -> str:
    async with database.transaction() as tx:
        made = await rehearsal.request(tx, "all", None, days, Assumptions(), Limits(), AT)
    return made.sid


class TestStatuses:
    @pytest.mark.parametrize(("status", "event"), list(product(STATUSES, ("begin", "complete", "fail"))))
    def test_only_the_tables_moves_are_made(self, status: str, event: str) -> None:
        move = model.MOVES.get((status, event))
        assert (None if move is None else move.next) == LAWFUL.get((status, event))

    async def test_oldest_queued_one_begins_first_and_its_copy_is_named(self, database: Database) -> None:
        first = await ask(database)
        await ask(database)
        async with database.transaction() as tx:
            begun = await rehearsal.begin_next(tx, AT)
        assert begun is not None
        assert (begun.sid, begun.status, begun.scratch) == (first, "running", model.scratch_name(first))

    async def test_result_that_comes_after_it_was_given_up_is_not_taken(self, database: Database) -> None:
        sid = await ask(database)
        async with database.transaction() as tx:
            await rehearsal.begin_next(tx, AT)
            await rehearsal.end(tx, sid, None, "gone", AT)
            await rehearsal.end(tx, sid, {"events": []}, None, AT)
            found = await service.fetch(tx, sid)
        assert (found.status, found.reason, found.result) == ("failed", "gone", None)

    async def test_running_one_is_not_deleted(self, database: Database) -> None:
        sid = await ask(database)
        async with database.transaction() as tx:
            await rehearsal.begin_next(tx, AT)
            with pytest.raises(rehearsal.StillRunning):
                await service.delete(tx, sid)
            with pytest.raises(NotFound):
                await service.delete(tx, "RH" + "0" * 32)

    async def test_role_that_may_not_make_databases_is_refused_with_the_reason(self, database: Database) -> None:
        with pytest.raises(CannotCopy, match="CREATEDB"):
            async with database.transaction() as tx:
                await tx.execute("CREATE ROLE rehearsal_plain")
                await tx.execute("SET LOCAL ROLE rehearsal_plain")
                await rehearsal.request(tx, "all", None, 90, Assumptions(), Limits(), AT)


class TestAssumptions:
    def test_what_is_not_said_has_its_default(self) -> None:
        assert rehearsal.assumptions_of({}) == Assumptions()

    def test_given_figures_are_what_is_used(self) -> None:
        figure = {"account_sid": "AC" + "1" * 32, "service": "sms", "country": "US", "unit": "segment", "qty": 5}
        found = rehearsal.assumptions_of({"figures": [figure]})
        assert found.usage == "given"
        assert found.figures == (rehearsal.Figure("AC" + "1" * 32, "sms", "outbound", "US", "segment", 5),)

    @pytest.mark.parametrize(
        "given",
        [
            {"mail": "lost"},
            {"payments": True},
            {"seed": -1},
            {"paid_after_days": 1.5},
            {"figures": [{"qty": 1}]},
            {"figures": "many"},
            {"usage": "none", "figures": [{}]},
        ],
    )
    def test_what_means_nothing_is_refused(self, given: dict[str, Any]) -> None:
        with pytest.raises(InvalidParameter):
            rehearsal.assumptions_of(given)


class TestTimers:
    async def test_every_task_of_the_commercial_rooms_says_what_it_will_do(
        self, database: Database, clock: VirtualClock
    ) -> None:
        office = Office(database, clock, Vault(bytes(32)))
        stepper = jobs.Stepper(database, clock, name="timers")

        async def nobody(*_: Any) -> Any:
            raise AssertionError("nothing runs here")

        office.register(stepper, nobody, nobody, nobody)  # type: ignore[arg-type]
        told = {task for task in stepper.tasks if not task.startswith(NO_TIMERS)}
        assert told - rehearsal.TIMERS.keys() == set()

    async def test_pending_jobs_come_soonest_first_and_page_by_page(self, database: Database) -> None:
        wanted = [
            jobs.NewJob("collections.review", {"customer_sid": "OR1"}, due_at=AT + timedelta(days=day))
            for day in (3, 1, 2)
        ]
        async with database.transaction() as tx:
            await jobs.enqueue(tx, [*wanted, jobs.NewJob("messaging.settle", {}, due_at=AT)], AT)
            first = await jobs.pending(tx, NO_TIMERS, limit=2)
            rest = await jobs.pending(tx, NO_TIMERS, after=(first[-1].due_at, first[-1].id))
            nobodys = await jobs.pending(tx, NO_TIMERS, customer_sid="OR2")
        assert [(job.due_at - AT).days for job in [*first, *rest]] == [1, 2, 3]
        assert nobodys == []
