"""The timers of order forms: beginning, warning, end, and the ends of commitments' periods."""

from collections.abc import Sequence

from onterms.business.pricing.service import order_forms
from onterms.engines.jobs import Job, Run, Worker


async def _settle(run: Run, jobs: Sequence[Job]) -> None:
    for job in jobs:
        async with run.transaction() as tx:
            await order_forms.settle_commitment(tx, job.payload, run.clock.now())
            await run.complete(tx, [job])


def register(worker: Worker, is_ending: order_forms.IsEnding | None = None) -> None:
    """Let a worker run this room's timers; `is_ending` tells whose forms renew no more."""

    async def fire(run: Run, jobs: Sequence[Job]) -> None:
        for job in jobs:
            async with run.transaction() as tx:
                await order_forms.fire(tx, job.payload, run.clock.now(), is_ending)
                await run.complete(tx, [job])

    worker.register(order_forms.TIMER_TASK, fire)
    worker.register(order_forms.COMMITMENT_TASK, _settle)
