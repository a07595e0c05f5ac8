"""The room's routes under /commercial/v1."""

from datetime import timedelta
from typing import Annotated

from onterms.business.customers import (
    Actor,
    Mine,
    MineToChange,
    actor_of,
    customer_of_request,
    refuse_weak_credentials,
)
from onterms.business.payments import store, wire
from onterms.business.payments.errors import Conflict, Unprocessable
from onterms.business.payments.service import methods, receipts, recharging, refunds, standing, top_ups, webhooks
from onterms.business.payments.service.surroundings import Surroundings
from onterms.core.calendar import day_of, end_of, start_of
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter, NotFound, Unavailable
from onterms.engines.api.own import Created, OwnReply, OwnRequest, OwnRoute, Shows
from onterms.engines.api.shapes import Items, Json, page, whole
from onterms.ports.payment_gateway import Declined, Unreachable

_SETTLEMENTS_DAYS_MAX = 92
_WEBHOOK_BYTES_MAX = 256 * 1024


class Api:
    """Methods, top-ups, recharging, invoicing, payments, refunds and the providers' webhooks."""

    def __init__(self, env: Surroundings, database: Database) -> None:
        self._env = env
        # Asking a provider takes long: no transaction is open meanwhile.
        self._database = database

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        base = "/commercial/v1"
        return [
            OwnRoute("GET", f"{base}/PaymentMethods", "customer", self.list_methods, summary="List cards"),
            OwnRoute(
                "POST", f"{base}/PaymentMethods", "customer", free_handler=self.add_method, summary="Add or choose one"
            ),
            OwnRoute(
                "POST", f"{base}/PaymentMethods/{{sid}}", "customer", self.choose_card, summary="Charge this card"
            ),
            OwnRoute("DELETE", f"{base}/PaymentMethods/{{sid}}", "customer", self.remove_card, summary="Forget a card"),
            OwnRoute("GET", f"{base}/PaymentStanding", "customer", self.show_standing, summary="Show how one pays"),
            OwnRoute("POST", f"{base}/PaymentStanding/Suspension", "operator", self.suspend, summary="Suspend (3.3.1)"),
            OwnRoute("GET", f"{base}/TopUps", "customer", self.list_top_ups, summary="List top-ups"),
            OwnRoute("POST", f"{base}/TopUps", "customer", self.top_up, summary="Add funds by card"),
            OwnRoute("GET", f"{base}/TopUps/{{sid}}", "customer", self.fetch_top_up, summary="Show a top-up"),
            OwnRoute("GET", f"{base}/Chargebacks", "customer", self.list_chargebacks, summary="List chargebacks"),
            OwnRoute("GET", f"{base}/AutoRecharge", "customer", self.list_recharges, summary="Show auto-recharge"),
            OwnRoute("POST", f"{base}/AutoRecharge", "customer", self.set_recharge, summary="Set auto-recharge"),
            OwnRoute("GET", f"{base}/InvoicingApplications", "customer", self.list_applications, summary="List them"),
            OwnRoute("POST", f"{base}/InvoicingApplications", "customer", self.apply, summary="Ask to be invoiced"),
            OwnRoute(
                "POST", f"{base}/InvoicingApplications/{{sid}}/Decision", "operator", self.decide, summary="Decide"
            ),
            OwnRoute(
                "POST",
                f"{base}/InvoicingApplications/{{sid}}/Withdrawal",
                "customer",
                self.withdraw,
                summary="Withdraw",
            ),
            OwnRoute("GET", f"{base}/Payments", "customer", self.list_payments, summary="List bank payments"),
            OwnRoute("POST", f"{base}/Payments", "operator", self.record_payment, summary="Enter a bank payment"),
            OwnRoute("GET", f"{base}/Payments/{{sid}}", "customer", self.fetch_payment, summary="Show a payment"),
            OwnRoute("GET", f"{base}/Refunds", "customer", self.list_refunds, summary="List refunds"),
            OwnRoute("POST", f"{base}/Refunds", "operator", self.refund, summary="Pay back on a ground of the terms"),
            OwnRoute(
                "GET",
                f"{base}/Settlements/{{provider}}",
                "operator",
                free_handler=self.list_settlements,
                summary="Compare what a provider settled with our top-ups",
            ),
            OwnRoute(
                "POST",
                f"{base}/PaymentWebhooks/{{provider}}",
                "open",
                self.receive_webhook,
                body_bytes_max=_WEBHOOK_BYTES_MAX,
                summary="Take a payment provider's signed webhook",
            ),
        ]

    # Methods and standing

    async def list_methods(self, tx: Tx, mine: Mine) -> Items[wire.Card]:
        found = await store.standing(tx, mine.sid)
        default = found.card_sid if found else None
        return whole([wire.card(each, default) for each in await store.cards(tx, mine.sid)])

    async def add_method(
        self, request: OwnRequest, body: wire.NewMethod
    ) -> Annotated[OwnReply, Shows(wire.Standing) | Shows(wire.Card, 201)]:
        refuse_weak_credentials(request)
        token = body.token
        if body.kind == "invoice" or token is None:
            return OwnReply(await self._choose(request, body.kind))
        gateway = self._env.gateways.get(self._env.provider)
        if gateway is None:
            raise Unavailable("Cards are not taken here yet; ask to be invoiced")
        async with self._database.transaction() as tx:
            customer = await customer_of_request(tx, request)
            reference = await store.provider_customer(tx, customer.sid, gateway.name)
        if reference is None:
            known = await gateway.create_customer(customer.sid, customer.name, idempotency_key=customer.sid)
            _refuse(known)
            assert not isinstance(known, Declined | Unreachable)
            reference = known.reference
        made = await gateway.setup_method(reference, token, idempotency_key=f"{customer.sid}:{token}")
        _refuse(made)
        assert not isinstance(made, Declined | Unreachable)
        async with self._database.transaction() as tx:
            card = await methods.add_card(
                tx, customer.sid, gateway.name, reference, made, actor_of(request), request.at
            )
            found = await store.standing(tx, customer.sid)
        return OwnReply(wire.card(card, found.card_sid if found else None), 201)

    async def _choose(self, request: OwnRequest, kind: str) -> wire.Standing:
        async with self._database.transaction() as tx:
            customer = await customer_of_request(tx, request)
            method = methods.kind_of(kind)
            await methods.choose(self._env, tx, customer.sid, method, actor_of(request), request.at)
            return await self._shown_standing(tx, customer.sid, request)

    async def choose_card(self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, sid: str) -> wire.Card:
        return wire.card(await methods.choose_card(tx, mine.sid, sid, actor, request.at), sid)

    async def remove_card(self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, sid: str) -> None:
        await methods.remove_card(tx, mine.sid, sid, actor, request.at)

    async def show_standing(self, tx: Tx, request: OwnRequest, mine: Mine) -> wire.Standing:
        return await self._shown_standing(tx, mine.sid, request)

    async def suspend(self, tx: Tx, request: OwnRequest, mine: Mine, actor: Actor) -> wire.Standing:
        await standing.suspend(self._env, tx, mine.sid, actor, request.at)
        return await self._shown_standing(tx, mine.sid, request)

    async def _shown_standing(self, tx: Tx, customer_sid: str, request: OwnRequest) -> wire.Standing:
        found = await store.lock(tx, customer_sid, request.at)
        terms = await methods.payment_terms(self._env, tx, customer_sid, day_of(request.at))
        return wire.standing(found, terms, await standing.exposures(tx, customer_sid))

    # Top-ups

    async def list_top_ups(self, tx: Tx, mine: Mine, query: wire.PaymentsPage) -> Items[wire.TopUp]:
        found = await store.top_ups(tx, mine.sid, query.next, wire.PAGE_SIZE + 1)
        return page([wire.TopUp.of(each) for each in found], wire.PAGE_SIZE)

    async def top_up(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, body: wire.NewTopUp
    ) -> Annotated[OwnReply, Shows(wire.TopUp, 200, 201)]:
        made = await top_ups.top_up(
            self._env,
            tx,
            mine.sid,
            body.amount,
            wire.currency(body.currency, mine.currency),
            actor,
            request.at,
            card_sid=body.card_sid,
            idempotency_key=wire.key(request, body.idempotency_key),
        )
        return OwnReply(wire.TopUp.of(made), 201 if made.created_at == request.at else 200)

    async def fetch_top_up(self, tx: Tx, mine: Mine, sid: str) -> wire.TopUp:
        return wire.TopUp.of(await top_ups.fetch(tx, mine.sid, sid))

    async def list_chargebacks(self, tx: Tx, mine: Mine) -> Items[wire.Chargeback]:
        return whole([wire.Chargeback.of(each) for each in await store.chargebacks(tx, mine.sid)])

    async def list_recharges(self, tx: Tx, mine: Mine) -> Items[wire.AutoRecharge]:
        return whole([wire.AutoRecharge.of(each) for each in await recharging.settings(tx, mine.sid)])

    async def set_recharge(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, body: wire.NewAutoRecharge
    ) -> wire.AutoRecharge:
        given = (wire.currency(body.currency, mine.currency), body.threshold, body.amount, body.cap_per_day)
        return wire.AutoRecharge.of(await recharging.configure(tx, mine.sid, *given, body.enabled, actor, request.at))

    # Invoicing

    async def list_applications(self, tx: Tx, mine: Mine) -> Items[wire.Application]:
        return whole([wire.Application.of(each) for each in await store.applications(tx, mine.sid)])

    async def apply(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, body: wire.NewApplication
    ) -> Created[wire.Application]:
        given = (wire.currency(body.currency, mine.currency), body.note)
        return wire.Application.of(await methods.apply_for_invoicing(tx, mine.sid, *given, actor, request.at))

    async def decide(
        self, tx: Tx, request: OwnRequest, mine: Mine, actor: Actor, sid: str, body: wire.ApplicationDecision
    ) -> wire.Application:
        decided = await methods.decide_application(
            tx,
            mine.sid,
            sid,
            body.decision,
            actor,
            request.at,
            credit_limit=body.credit_limit,
            net_days=body.net_days,
            reason=body.reason,
        )
        if body.decision == "approve":
            await self._env.invoicing_approved(tx, mine.sid, request.at)
        return wire.Application.of(decided)

    async def withdraw(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, sid: str
    ) -> wire.Application:
        decided = await methods.decide_application(tx, mine.sid, sid, "withdraw", actor, request.at)
        return wire.Application.of(decided)

    # Payments and refunds

    async def list_payments(self, tx: Tx, mine: Mine, query: wire.PaymentsPage) -> Items[wire.Payment]:
        found = await store.payments(tx, mine.sid, query.next, wire.PAGE_SIZE + 1)
        return page(
            [wire.payment(each, await store.allocations(tx, mine.sid, each.sid)) for each in found], wire.PAGE_SIZE
        )

    async def record_payment(
        self, tx: Tx, request: OwnRequest, mine: Mine, actor: Actor, body: wire.NewPayment
    ) -> Annotated[OwnReply, Shows(wire.Payment, 200, 201)]:
        made = await receipts.record_payment(
            self._env,
            tx,
            mine.sid,
            body.amount,
            wire.currency(body.currency, mine.currency),
            body.received_on or day_of(request.at),
            body.reference,
            actor,
            request.at,
            instruction=wire.instruction(body.instruction),
        )
        status = 201 if made.created_at == request.at else 200
        return OwnReply(wire.payment(made, await store.allocations(tx, mine.sid, made.sid)), status)

    async def fetch_payment(self, tx: Tx, mine: Mine, sid: str) -> wire.Payment:
        found = await receipts.fetch_payment(tx, mine.sid, sid)
        return wire.payment(found, await store.allocations(tx, mine.sid, found.sid))

    async def list_refunds(self, tx: Tx, mine: Mine, query: wire.PaymentsPage) -> Items[wire.Refund]:
        found = await store.refunds(tx, mine.sid, query.next, wire.PAGE_SIZE + 1)
        return page([wire.Refund.of(each) for each in found], wire.PAGE_SIZE)

    async def refund(
        self, tx: Tx, request: OwnRequest, mine: Mine, actor: Actor, body: wire.NewRefund
    ) -> Annotated[OwnReply, Shows(wire.Refund, 200, 201)]:
        made = await refunds.refund(
            tx,
            mine.sid,
            body.source_sid,
            body.amount,
            body.basis,
            actor,
            request.at,
            taken_from=refunds.taken_from_of(body.taken_from),
            note=body.note,
            idempotency_key=wire.key(request, body.idempotency_key),
        )
        return OwnReply(wire.Refund.of(made), 201 if made.created_at == request.at else 200)

    # Providers

    async def list_settlements(
        self, request: OwnRequest, provider: str, query: wire.SettlementsQuery
    ) -> Items[wire.Settled]:
        gateway = self._env.gateways.get(provider)
        if gateway is None:
            raise NotFound("There is no such payment provider")
        first, last = query.first or day_of(request.at), query.last or day_of(request.at)
        if not first <= last < first + timedelta(days=_SETTLEMENTS_DAYS_MAX):
            raise InvalidParameter(f"'to' must be at most {_SETTLEMENTS_DAYS_MAX} days from 'from'")
        found = await gateway.list_settlements(start_of(first), end_of(last))
        if isinstance(found, Unreachable):
            raise Unavailable("The payment provider was not reached; try again")
        async with self._database.transaction() as tx:
            return whole(
                [
                    wire.settlement(each, await store.top_up_by_reference(tx, gateway.name, each.charge_reference))
                    for each in found
                ]
            )

    async def receive_webhook(self, tx: Tx, request: OwnRequest, provider: str, body: Json) -> wire.WebhookTaken:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
        outcome = await webhooks.receive(self._env, tx, provider, request.raw_body, headers, request.at)
        return wire.WebhookTaken(True, outcome)


def _refuse(answer: object) -> None:
    if isinstance(answer, Unreachable):
        raise Unavailable("The payment provider was not reached; nothing was kept, try again")
    if isinstance(answer, Declined):
        if answer.code == "idempotency_key_in_use":
            raise Conflict("The card is being added", "3.3.1", answer.code)
        raise Unprocessable(answer.message, "3.3.1", answer.code)
