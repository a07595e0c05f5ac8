"""The room's routes under /commercial/v1/Disputes."""

from datetime import date

from onterms.business import customers, invoicing
from onterms.business.disputes import store, wire
from onterms.business.disputes.service import Disputes
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

_PAGE_SIZE = 50
_TEXT_MAX = 4000


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

    async def list_disputes(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List a customer's disputes."""
        customer = await customers.customer_of_request(tx, request)
        found = await store.page(tx, customer.sid, request.query.get("next", ""), _PAGE_SIZE + 1)
        shown = found[:_PAGE_SIZE]
        following = shown[-1].sid if len(found) > _PAGE_SIZE else None
        return OwnReply({"items": [wire.dispute(each) for each in shown], "next": following})

    async def fetch(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Show one with its lines and tasks."""
        customer = await customers.customer_of_request(tx, request)
        return await self._shown(tx, customer.sid, request.path["sid"])

    async def file(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """File one: `contact_sid` is the legal contact who does."""
        customers.refuse_weak_credentials(request)
        assert request.caller is not None, "the route lets in accounts only"
        nets = invoicing.amounts_of(request.body.get("lines"), "lines", "ref")
        reason = request.text("reason", max_length=_TEXT_MAX)
        if not reason.strip():
            raise InvalidParameter("'reason' is required: a dispute is reasonable (3.3.3)")
        filed = await self._disputes.file(
            tx,
            request.caller.account.sid,
            request.text("contact_sid"),
            request.text("invoice_sid"),
            nets,
            reason,
            request.at,
        )
        return OwnReply(wire.dispute(filed), status=201)

    async def withdraw(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Take one back."""
        customers.refuse_weak_credentials(request)
        customer = await customers.customer_of_request(tx, request)
        sid = request.path["sid"]
        await self._disputes.withdraw(tx, customer.sid, sid, customers.actor_of(request), request.at)
        return await self._shown(tx, customer.sid, sid)

    async def ask(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Ask the customer for something by a day."""
        customer = await customers.customer_of_request(tx, request)
        try:
            due_on = date.fromisoformat(request.text("due_on"))
        except ValueError as error:
            raise InvalidParameter("'due_on' must be a day as YYYY-MM-DD") from error
        subject = request.text("subject", max_length=_TEXT_MAX)
        sid = request.path["sid"]
        task = await self._disputes.ask(tx, customer.sid, sid, subject, due_on, "operator", request.at)
        return OwnReply(wire.task(task), status=201)

    async def answer(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Answer what was asked for."""
        customer = await customers.customer_of_request(tx, request)
        sid, task_sid = request.path["sid"], request.path["task_sid"]
        text = request.text("answer", max_length=_TEXT_MAX)
        await self._disputes.answer(tx, customer.sid, sid, task_sid, text, request.at)
        return await self._shown(tx, customer.sid, sid)

    async def determine(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Determine that the customer does not cooperate, or is not in good faith."""
        customer = await customers.customer_of_request(tx, request)
        finding = request.text("finding")
        by, reasons = request.text("decided_by", max_length=200), request.text("reasons", max_length=_TEXT_MAX)
        sid = request.path["sid"]
        if finding == "uncooperative":
            await self._disputes.find_uncooperative(tx, customer.sid, sid, by, reasons, request.at)
        elif finding == "bad_faith":
            await self._disputes.find_bad_faith(tx, customer.sid, sid, by, reasons, request.at)
        else:
            raise InvalidParameter("'finding' must be uncooperative or bad_faith")
        return await self._shown(tx, customer.sid, sid)

    async def resolve(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Decide one: outcome upheld, rejected, or partly with the amounts that are upheld."""
        customer = await customers.customer_of_request(tx, request)
        outcome = request.text("outcome")
        if outcome not in ("upheld", "partly", "rejected"):
            raise InvalidParameter("'outcome' must be upheld, partly or rejected")
        upheld: dict[str, int] | None = None if outcome == "upheld" else {}
        if outcome == "partly":
            upheld = invoicing.amounts_of(request.body.get("lines"), "lines", "ref")
        sid = request.path["sid"]
        by, reasons = request.text("decided_by", max_length=200), request.text("reasons", max_length=_TEXT_MAX)
        await self._disputes.resolve(tx, customer.sid, sid, upheld, by, reasons, request.at)
        return await self._shown(tx, customer.sid, sid)

    async def _shown(self, tx: Tx, customer_sid: str, sid: str) -> OwnReply:
        found = await self._disputes.require(tx, customer_sid, sid)
        return OwnReply(wire.dispute(found, await store.tasks(tx, customer_sid, sid)))
