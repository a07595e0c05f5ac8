"""The room's durable steps: charging, refunding, recharging. The provider is asked between two transactions."""

from datetime import timedelta

from onterms.business.payments.service import recharging, refunds, top_ups, webhooks
from onterms.business.payments.service.surroundings import Surroundings
from onterms.engines import jobs, ledger
from onterms.ports.payment_gateway import Charged, Declined, Unreachable

# Stripe docs, "Idempotent requests": a key is remembered for at least 24 hours; a repeat after that could charge twice.
_REPEAT_FOR = timedelta(hours=23)
_RETRY_MAX_S = 3600


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, env: Surroundings) -> None:
        self._env = env

    def register(self, worker: jobs.Worker) -> None:
        """Serve the room's jobs; before the worker runs."""
        # A charge waits for the card's bank, so several are under way at once.
        worker.register(top_ups.CHARGE_TASK, self._charge, batch_max=1, concurrency=4, attempts_max=100)
        worker.register(refunds.REFUND_TASK, self._refund, batch_max=1, concurrency=2, attempts_max=100)
        worker.register(recharging.RECHARGE_TASK, self._recharge)
        worker.register(ledger.FUNDS_LOW, self._funds_low)

    async def _charge(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        for job in due:
            customer_sid, sid = job.payload["customer_sid"], job.payload["sid"]
            async with run.transaction() as tx:
                begun = await top_ups.begin(tx, customer_sid, sid, run.clock.now())
                if begun is None:
                    await run.complete(tx, [job])
            if begun is None:
                continue
            top_up, request = begun
            answer: Charged | Declined = Declined("card_removed", "The card was removed before it was charged")
            if request is not None:
                given = await self._env.gateways[top_up.provider].charge(request, idempotency_key=sid)
                if isinstance(given, Unreachable) and await self._again(run, job, given):
                    continue
                answer = Declined("unreachable", given.reason) if isinstance(given, Unreachable) else given
            async with run.transaction() as tx:
                at = run.clock.now()
                moved = await top_ups.answered(self._env, tx, customer_sid, sid, answer, at)
                await webhooks.apply_parked(self._env, tx, moved.provider, moved.reference, at)
                await run.complete(tx, [job])

    async def _refund(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        for job in due:
            customer_sid, sid = job.payload["customer_sid"], job.payload["sid"]
            async with run.transaction() as tx:
                found = await refunds.request_of(tx, customer_sid, sid)
                if found is None:
                    await run.complete(tx, [job])
            if found is None:
                continue
            answer = await self._env.gateways[found[0].provider].refund(found[1], idempotency_key=sid)
            if isinstance(answer, Unreachable):
                if await self._again(run, job, answer):
                    continue
                # It may have been made: the money stays set aside until a webhook or a person tells.
                async with run.transaction() as tx:
                    await refunds.move(tx, found[0], "processing", run.clock.now(), failure="unreachable")
                    await run.complete(tx, [job])
                continue
            async with run.transaction() as tx:
                await refunds.answered(tx, customer_sid, sid, answer, run.clock.now())
                await run.complete(tx, [job])

    async def _again(self, run: jobs.Run, job: jobs.Job, answer: Unreachable) -> bool:
        """Put the job back; tell False once the provider may have forgotten the key."""
        now = run.clock.now()
        due_at = now + timedelta(seconds=min(_RETRY_MAX_S, 2 ** min(job.attempt, 16)))
        if due_at > job.created_at + _REPEAT_FOR:
            return False
        async with run.transaction() as tx:
            await run.retry(tx, job, due_at=due_at, error=f"the provider was not reached: {answer.reason}")
        return True

    async def _recharge(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        for job in due:
            async with run.transaction() as tx:
                await recharging.recharge(
                    self._env,
                    tx,
                    job.payload["customer_sid"],
                    job.payload["currency"],
                    job.payload["version"],
                    job.payload["follows"],
                    run.clock.now(),
                )
                await run.complete(tx, [job])

    async def _funds_low(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        for job in due:
            async with run.transaction() as tx:
                payload = job.payload
                await recharging.funds_low(self._env, tx, payload["customer_sid"], payload["currency"], run.clock.now())
                await run.complete(tx, [job])
