"""The room's routes under /commercial/v1/Disputes."""

from onterms.business import customers, invoicing
from onterms.business.customers import Actor, Mine, MineToChange
from onterms.business.disputes import store, wire
from onterms.business.disputes.service import Disputes
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, Paging, page

_PAGE_SIZE = 50


class Api:
    """Filing and withdrawing by the customer, determinations by the operator."""

    def __init__(self, disputes: Disputes) -> None:
        self._disputes = disputes

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        base = "/commercial/v1/Disputes"
        one = f"{base}/{{sid}}"
        return [
            OwnRoute("GET", base, "customer", self.list_disputes, summary="List disputes"),
            OwnRoute("POST", base, "account", self.file, summary="Dispute lines of an invoice"),
            OwnRoute("GET", one, "customer", self.fetch, summary="Show a dispute"),
            OwnRoute("POST", f"{one}/Withdrawal", "account", self.withdraw, summary="Take a dispute back"),
            OwnRoute("POST", f"{one}/Tasks", "operator", self.ask, summary="Ask the customer for something"),
            OwnRoute("POST", f"{one}/Tasks/{{task_sid}}", "account", self.answer, summary="Answer what is asked"),
            OwnRoute("POST", f"{one}/Determinations", "operator", self.determine, summary="Determine its conduct"),
            OwnRoute("POST", f"{one}/Resolution", "operator", self.resolve, summary="Decide a dispute"),
        ]

    async def list_disputes(self, tx: Tx, mine: Mine, query: Paging) -> Items[wire.Dispute]:
        """List a customer's disputes."""
        found = await store.page(tx, mine.sid, query.next, _PAGE_SIZE + 1)
        return page([wire.dispute(each) for each in found], _PAGE_SIZE)

    async def fetch(self, tx: Tx, mine: Mine, sid: str) -> wire.Dispute:
        """Show one with its lines and tasks."""
        return await self._shown(tx, mine.sid, sid)

    async def file(self, tx: Tx, request: OwnRequest, body: wire.NewDispute) -> Created[wire.Dispute]:
        """File one: `contact_sid` is the legal contact who does."""
        customers.refuse_weak_credentials(request)
        assert request.caller is not None, "the route lets in accounts only"
        nets = invoicing.nets_of(body.lines)
        if not body.reason.strip():
            raise InvalidParameter("'reason' is required: a dispute is reasonable (3.3.3)")
        given = (body.contact_sid, body.invoice_sid, nets, body.reason)
        return wire.dispute(await self._disputes.file(tx, request.caller.account.sid, *given, request.at))

    async def withdraw(self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, sid: str) -> wire.Dispute:
        """Take one back."""
        await self._disputes.withdraw(tx, mine.sid, sid, actor, request.at)
        return await self._shown(tx, mine.sid, sid)

    async def ask(
        self, tx: Tx, request: OwnRequest, mine: Mine, sid: str, body: wire.NewTask
    ) -> Created[wire.DisputeTask]:
        """Ask the customer for something by a day."""
        given = (body.subject, body.due_on)
        return wire.DisputeTask.of(await self._disputes.ask(tx, mine.sid, sid, *given, "operator", request.at))

    async def answer(
        self, tx: Tx, request: OwnRequest, mine: Mine, sid: str, task_sid: str, body: wire.Answer
    ) -> wire.Dispute:
        """Answer what was asked for."""
        await self._disputes.answer(tx, mine.sid, sid, task_sid, body.answer, request.at)
        return await self._shown(tx, mine.sid, sid)

    async def determine(
        self, tx: Tx, request: OwnRequest, mine: Mine, sid: str, body: wire.Determination
    ) -> wire.Dispute:
        """Determine that the customer does not cooperate, or is not in good faith."""
        find = self._disputes.find_bad_faith if body.finding == "bad_faith" else self._disputes.find_uncooperative
        await find(tx, mine.sid, sid, body.decided_by, body.reasons, request.at)
        return await self._shown(tx, mine.sid, sid)

    async def resolve(self, tx: Tx, request: OwnRequest, mine: Mine, sid: str, body: wire.Resolution) -> wire.Dispute:
        """Decide one: outcome upheld, rejected, or partly with the amounts that are upheld."""
        upheld: dict[str, int] | None = None if body.outcome == "upheld" else {}
        if body.outcome == "partly":
            upheld = invoicing.nets_of(body.lines)
        await self._disputes.resolve(tx, mine.sid, sid, upheld, body.decided_by, body.reasons, request.at)
        return await self._shown(tx, mine.sid, sid)

    async def _shown(self, tx: Tx, customer_sid: str, sid: str) -> wire.Dispute:
        found = await self._disputes.require(tx, customer_sid, sid)
        return wire.dispute(found, await store.tasks(tx, customer_sid, sid))
