"""The room's routes under /commercial/v1."""

from typing import Annotated

from onterms.business import customers
from onterms.business.notices import wire
from onterms.business.notices.model import NewNoticeIn
from onterms.business.notices.service import notices, operator_tasks
from onterms.business.notices.service.delivery import Delivery
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.engines.api.own import Created, Found, OwnReply, OwnRequest, OwnRoute, Shows
from onterms.engines.api.shapes import Items, page
from onterms.ports.mail import Bounce, InMail
from onterms.protocols import mail


async def _whose(tx: Tx, request: OwnRequest) -> str | None:
    if request.operator and "customer_sid" not in request.query:
        return None
    return (await customers.customer_of_request(tx, request)).sid


# Whose rows a request may see: its own customer's, the one's that the operator names, or everybody's.
Whose = Annotated[str | None, Found(_whose, ("customer_sid",))]


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

    async def list_notices(self, tx: Tx, whose: Whose, query: wire.NoticesQuery) -> Items[wire.Notice]:
        found = await notices.list_notices(
            tx, whose, before=query.next, limit=wire.PAGE_SIZE + 1, state=query.state, kind=query.kind
        )
        return page([wire.Notice.of(one) for one in found], wire.PAGE_SIZE)

    async def fetch(self, tx: Tx, whose: Whose, sid: str) -> wire.NoticeWithEvidence:
        found = (await notices.fetch(tx, [sid])).get(sid)
        if found is None or whose not in (None, found.customer_sid):
            raise NotFound("The notice was not found")
        return wire.with_evidence(found, await notices.files_of(tx, found))

    # Notices to the operator

    async def list_in(self, tx: Tx, whose: Whose, query: wire.NoticesPage) -> Items[wire.NoticeIn]:
        found = await notices.list_in(tx, whose, before=query.next, limit=wire.PAGE_SIZE + 1)
        return page([wire.NoticeIn.of(one) for one in found], wire.PAGE_SIZE)

    async def fetch_in(self, tx: Tx, whose: Whose, sid: str) -> wire.NoticeIn:
        found = (await notices.fetch_in(tx, [sid])).get(sid)
        if found is None or whose not in (None, found.customer_sid):
            raise NotFound("The notice was not found")
        return wire.NoticeIn.of(found)

    async def receive(
        self,
        tx: Tx,
        request: OwnRequest,
        mine: customers.MineToChange,
        actor: customers.Actor,
        body: wire.NewNoticeIn,
    ) -> Created[wire.NoticeIn]:
        new = NewNoticeIn(mine.sid, body.kind, "form", actor, body.subject, body.body, request.at)
        return wire.NoticeIn.of(await notices.received(tx, new, request.at, zone=self._delivery.zone))

    async def assign(
        self,
        tx: Tx,
        request: OwnRequest,
        mine: customers.Mine,
        actor: customers.Actor,
        sid: str,
        body: wire.NoticeOwner,
    ) -> wire.NoticeIn:
        return wire.NoticeIn.of(await notices.assign(tx, sid, mine.sid, body.kind, actor, request.at))

    async def take_mail(
        self, tx: Tx, request: OwnRequest, body: wire.Mail
    ) -> Annotated[OwnReply, Shows(wire.MailTaken, 200, 201)]:
        raw, received_at = body.raw, body.came_at(request.at)
        try:
            failed = mail.failures(raw)
            read = mail.read(raw)
        except mail.MailUnreadable as error:
            raise InvalidParameter(f"'raw' cannot be read: {error}") from None
        if failed:
            await self._delivery.bounced(
                tx, [Bounce(one.message_id, one.address, received_at, one.diagnostic) for one in failed]
            )
            return OwnReply(wire.MailTaken([one.message_id for one in failed], None))
        recipient = read.recipient if body.recipient is None else body.recipient
        mails = [InMail(read.sender, recipient, read.subject, read.body, read.message_id, received_at, raw)]
        [sid] = await self._delivery.received(tx, mails)
        return OwnReply(wire.MailTaken([], sid), 201)

    # Tasks

    async def list_tasks(self, tx: Tx, query: wire.TasksQuery) -> Items[wire.OperatorTask]:
        found = await operator_tasks.list_tasks(
            tx, is_open=query.is_open, kind=query.kind, after=query.next or "", limit=wire.PAGE_SIZE + 1
        )
        return page([wire.OperatorTask.of(one) for one in found], wire.PAGE_SIZE)

    async def finish_task(
        self, tx: Tx, request: OwnRequest, actor: customers.Actor, sid: str, body: wire.Done
    ) -> wire.OperatorTask:
        return wire.OperatorTask.of(await operator_tasks.close_task(tx, sid, actor, request.at, note=body.note))
