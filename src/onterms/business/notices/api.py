"""The room's routes under /commercial/v1."""

from typing import Any

from onterms.business import customers
from onterms.business.notices import wire
from onterms.business.notices.model import NewNoticeIn
from onterms.business.notices.service import notices, operator_tasks
from onterms.business.notices.service.delivery import Delivery
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute
from onterms.ports.mail import Bounce, InMail
from onterms.protocols import mail


class Api:
    """Notices both ways, and the operator's tasks."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        base = "/commercial/v1"
        return [
            OwnRoute("GET", f"{base}/Notices", "customer", self.list_notices, summary="List notices to customers"),
            OwnRoute("GET", f"{base}/Notices/{{sid}}", "customer", self.fetch, summary="Show a notice with evidence"),
            OwnRoute("GET", f"{base}/NoticesIn", "customer", self.list_in, summary="List notices to the operator"),
            OwnRoute("POST", f"{base}/NoticesIn", "customer", self.receive, summary="Give the operator notice"),
            OwnRoute("GET", f"{base}/NoticesIn/{{sid}}", "customer", self.fetch_in, summary="Show one of these"),
            OwnRoute(
                "POST", f"{base}/NoticesIn/{{sid}}/Customer", "operator", self.assign, summary="Say whose notice it is"
            ),
            OwnRoute(
                "POST",
                f"{base}/InboundMail",
                "operator",
                self.take_mail,
                body_bytes_max=wire.RAW_BYTES_MAX + 64 * 1024,
                summary="Hand over a mail that arrived: a notice, or a delivery report",
            ),
            OwnRoute("GET", f"{base}/Tasks", "operator", self.list_tasks, summary="List what the operator has to do"),
            OwnRoute("POST", f"{base}/Tasks/{{sid}}/done", "operator", self.finish_task, summary="Mark a task done"),
        ]

    # Notices to customers

    async def list_notices(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await notices.list_notices(
            tx,
            await _whose(tx, request),
            before=wire.after(request),
            limit=wire.PAGE_SIZE + 1,
            state=wire.state(request),
            kind=request.query.get("kind"),
        )
        return OwnReply(_page([wire.notice(one) for one in found]))

    async def fetch(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer_sid = await _whose(tx, request)
        found = (await notices.fetch(tx, [request.path["sid"]])).get(request.path["sid"])
        if found is None or customer_sid not in (None, found.customer_sid):
            raise NotFound("The notice was not found")
        return OwnReply(wire.with_evidence(found, await notices.files_of(tx, found)))

    # Notices to the operator

    async def list_in(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await notices.list_in(
            tx, await _whose(tx, request), before=wire.after(request), limit=wire.PAGE_SIZE + 1
        )
        return OwnReply(_page([wire.notice_in(one) for one in found]))

    async def fetch_in(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer_sid = await _whose(tx, request)
        found = (await notices.fetch_in(tx, [request.path["sid"]])).get(request.path["sid"])
        if found is None or customer_sid not in (None, found.customer_sid):
            raise NotFound("The notice was not found")
        return OwnReply(wire.notice_in(found))

    async def receive(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customers.refuse_weak_credentials(request)
        customer = await customers.customer_of_request(tx, request)
        new = NewNoticeIn(
            customer.sid,
            wire.required(request, "kind", max_length=64),
            "form",
            customers.actor_of(request),
            wire.required(request, "subject"),
            wire.required(request, "body", max_length=100_000),
            request.at,
        )
        made = await notices.received(tx, new, request.at, zone=self._delivery.zone)
        return OwnReply(wire.notice_in(made), 201)

    async def assign(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        kind = wire.required(request, "kind", max_length=64) if "kind" in request.body else None
        made = await notices.assign(
            tx, request.path["sid"], customer.sid, kind, customers.actor_of(request), request.at
        )
        return OwnReply(wire.notice_in(made))

    async def take_mail(self, tx: Tx, request: OwnRequest) -> OwnReply:
        raw = wire.raw_mail(request)
        received_at = wire.past(request, "received_at")
        try:
            failed = mail.failures(raw)
            read = mail.read(raw)
        except mail.MailUnreadable as error:
            raise InvalidParameter(f"'raw' cannot be read: {error}") from None
        if failed:
            await self._delivery.bounced(
                tx, [Bounce(one.message_id, one.address, received_at, one.diagnostic) for one in failed]
            )
            return OwnReply({"bounces": [one.message_id for one in failed], "notice_sid": None})
        recipient = wire.text(request, "recipient", read.recipient)
        mails = [InMail(read.sender, recipient, read.subject, read.body, read.message_id, received_at, raw)]
        [sid] = await self._delivery.received(tx, mails)
        return OwnReply({"bounces": [], "notice_sid": sid}, 201)

    # Tasks

    async def list_tasks(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await operator_tasks.list_tasks(
            tx,
            is_open=wire.is_open(request),
            kind=request.query.get("kind"),
            after=wire.after(request) or "",
            limit=wire.PAGE_SIZE + 1,
        )
        return OwnReply(_page([wire.task(one) for one in found]))

    async def finish_task(self, tx: Tx, request: OwnRequest) -> OwnReply:
        note = wire.text(request, "note", "", max_length=10_000)
        done = await operator_tasks.close_task(
            tx, request.path["sid"], customers.actor_of(request), request.at, note=note
        )
        return OwnReply(wire.task(done))


async def _whose(tx: Tx, request: OwnRequest) -> str | None:
    """Return whose rows a request may see: its own customer's, the one that the operator names, or everybody's."""
    if request.operator and "customer_sid" not in request.query:
        return None
    return (await customers.customer_of_request(tx, request)).sid


def _page(items: list[dict[str, Any]]) -> dict[str, Any]:
    more = len(items) > wire.PAGE_SIZE
    return wire.listed(items[: wire.PAGE_SIZE], items[wire.PAGE_SIZE - 1]["sid"] if more else None)
