"""The registration room's durable steps: ask the registrar until it has decided, and charge campaigns by the month."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from onterms.core.db import Tx
from onterms.engines import jobs
from onterms.ports.registrar import (
    Answer,
    BrandSubmission,
    CampaignSubmission,
    NumberSubmission,
    Registrar,
    TollfreeSubmission,
    VettingSubmission,
    Waiting,
)
from onterms.products.registration.service import brands, campaigns, moving, tollfree
from onterms.products.registration.service.campaigns import Pools
from onterms.products.registration.service.fees import Fees

# Registries take weeks, and each question counts as an attempt; what fails here is an outage or a bug.
_ATTEMPTS_MAX = 10_000
_BACKOFF = jobs.Backoff(first_s=1.0, max_s=300.0)


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, pools: Pools, fees: Fees, registrar: Registrar) -> None:
        self._pools = pools
        self._fees = fees
        self._registrar = registrar

    def register(self, worker: jobs.Worker) -> None:
        """Join the handlers to a worker."""
        worker.register(moving.ASK, self._ask, batch_max=1, concurrency=4, attempts_max=_ATTEMPTS_MAX, backoff=_BACKOFF)
        register_months(worker, self._fees)

    async def _ask(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        for job in batch:
            account_sid, payload = job.account_sid or "", job.payload
            async with run.transaction() as tx:
                asked = await _QUESTIONS[payload["kind"]](tx, account_sid, payload)
                if asked is None:
                    await run.complete(tx, [job])
                    continue
            answer = await self._answer(asked)
            async with run.transaction() as tx:
                await self._decide(tx, account_sid, payload, answer, run.clock.now())
                if isinstance(answer, Waiting) and answer.again_at is not None:
                    await run.retry(tx, job, due_at=answer.again_at, error="not decided yet")
                else:
                    await run.complete(tx, [job])

    async def _answer(self, asked: object) -> Answer:
        if isinstance(asked, BrandSubmission):
            return await self._registrar.register_brand(asked)
        if isinstance(asked, VettingSubmission):
            return await self._registrar.vet_brand(asked)
        if isinstance(asked, CampaignSubmission):
            return await self._registrar.register_campaign(asked)
        if isinstance(asked, NumberSubmission):
            return await self._registrar.assign_number(asked)
        if isinstance(asked, TollfreeSubmission):
            return await self._registrar.verify_tollfree(asked)
        # The room itself knows the answer.
        assert isinstance(asked, Answer)
        return asked

    async def _decide(self, tx: Tx, account_sid: str, payload: dict[str, str], answer: Answer, at: datetime) -> None:
        kind, sid = payload["kind"], payload["sid"]
        if kind == "brand":
            await brands.decide(tx, self._fees, account_sid, sid, answer, at)
        elif kind == "vetting":
            await brands.decide_vetting(tx, account_sid, payload["brand_sid"], sid, answer, at)
        elif kind == "campaign":
            await campaigns.decide(tx, self._pools, self._fees, account_sid, sid, answer, at)
        elif kind == "number":
            await campaigns.decide_number(tx, account_sid, sid, payload["number"], answer, at)
        else:
            await tollfree.decide(tx, account_sid, sid, answer, at)


def register_months(worker: jobs.Worker, fees: Fees) -> None:
    """Let a worker charge campaigns by the month."""

    async def renew(run: jobs.Run, batch: list[jobs.Job]) -> None:
        for job in batch:
            async with run.transaction() as tx:
                renews_at = datetime.fromisoformat(job.payload["renews_at"])
                await fees.renew(tx, job.account_sid or "", job.payload["sid"], renews_at, run.clock.now())
                await run.complete(tx, [job])

    worker.register(moving.RENEW, renew, batch_max=1, concurrency=1)


_QUESTIONS: dict[str, Callable[[Tx, str, dict[str, str]], Awaitable[object]]] = {
    "brand": brands.question,
    "vetting": brands.vetting_question,
    "campaign": campaigns.question,
    "number": campaigns.number_question,
    "tollfree": tollfree.question,
}
