"""The room's timers: monthly close, sending, the day after the due day."""

import asyncio
import contextlib
from datetime import date

from onterms.business import notices
from onterms.business.invoicing.errors import NoEInvoice, NoPdf
from onterms.business.invoicing.service import closing
from onterms.business.invoicing.service.closing import Surroundings
from onterms.business.invoicing.wire import einvoice, pdf
from onterms.core.db import Tx
from onterms.engines.jobs import Job, Run, Worker


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def register(self, worker: Worker) -> None:
        """Serve the room's jobs; before the worker runs."""
        worker.register(closing.CLOSE_TASK, self._close)
        worker.register(closing.SEND_TASK, self._send)
        worker.register(closing.DUE_TASK, self._due)
        worker.register(closing.SETTLE_TASK, self._settle)

    async def _close(self, run: Run, jobs: list[Job]) -> None:
        for job in jobs:
            async with run.transaction() as tx:
                until = date.fromisoformat(job.payload["until"])
                await closing.close(tx, self._surroundings, job.payload["customer_sid"], until, run.clock.now())
                await run.complete(tx, [job])

    async def _send(self, run: Run, jobs: list[Job]) -> None:
        for job in jobs:
            async with run.transaction() as tx:
                customer_sid, sid = job.payload["customer_sid"], job.payload["invoice_sid"]
                files = await self._files(tx, customer_sid, sid)
                await closing.send(tx, self._surroundings, customer_sid, sid, run.clock.now(), files)
                await run.complete(tx, [job])

    async def _files(self, tx: Tx, customer_sid: str, sid: str) -> list[notices.File]:
        invoice = await closing.require(tx, customer_sid, sid)
        seller = await self._surroundings.party(tx, invoice.issuer)
        principal = await self._surroundings.party(tx, invoice.on_behalf_of) if invoice.on_behalf_of else None
        files: list[notices.File] = []
        # Either form is optional: the mail itself says what is due.
        with contextlib.suppress(NoPdf):
            printed = await asyncio.to_thread(pdf.render, invoice)
            files.append(notices.File(f"{invoice.number}.pdf", "application/pdf", printed))
        with contextlib.suppress(NoEInvoice):
            written = einvoice.render(invoice, seller, await closing.buyer(tx, invoice), principal)
            files.append(notices.File(f"{invoice.number}.xml", "application/xml", written))
        return files

    async def _due(self, run: Run, jobs: list[Job]) -> None:
        for job in jobs:
            async with run.transaction() as tx:
                customer_sid, sid = job.payload["customer_sid"], job.payload["invoice_sid"]
                await closing.turn_past_due(tx, self._surroundings, customer_sid, sid, run.clock.now())
                await run.complete(tx, [job])

    async def _settle(self, run: Run, jobs: list[Job]) -> None:
        settle = self._surroundings.settle_credit
        assert settle is not None, "who has no way to settle plans no such job"
        for job in jobs:
            async with run.transaction() as tx:
                payload = job.payload
                at = run.clock.now()
                await settle(tx, payload["customer_sid"], payload["currency"], payload["invoice_sid"], at)
                await run.complete(tx, [job])
