"""The room's routes under /commercial/v1."""

from datetime import timedelta

from onterms.business.customers import actor_of, customer_of_request, refuse_weak_credentials
from onterms.business.payments import store, wire
from onterms.business.payments.errors import Conflict, Unprocessable
from onterms.business.payments.model import NET_DAYS
from onterms.business.payments.service import methods, receipts, recharging, refunds, standing, top_ups, webhooks
from onterms.business.payments.service.surroundings import Surroundings
from onterms.core.calendar import day_of, end_of, start_of
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter, NotFound, Unavailable
from onterms.core.ids import SID
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute
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

    async def list_methods(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        found = await store.standing(tx, customer.sid)
        default = found.card_sid if found else None
        return OwnReply(wire.listed([wire.card(each, default) for each in await store.cards(tx, customer.sid)]))

    async def add_method(self, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        kind = wire.text(request, "kind")
        if kind not in ("card", "invoice"):
            raise InvalidParameter("'kind' must be card or invoice")
        if kind == "invoice" or request.body.get("token") is None:
            return await self._choose(request, kind)
        token = wire.text(request, "token", max_length=255)
        gateway = self._env.gateways[self._env.provider]
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

    async def _choose(self, request: OwnRequest, kind: str) -> OwnReply:
        async with self._database.transaction() as tx:
            customer = await customer_of_request(tx, request)
            method = methods.kind_of(kind)
            await methods.choose(self._env, tx, customer.sid, method, actor_of(request), request.at)
            return await self._shown_standing(tx, customer.sid, request)

    async def choose_card(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        sid = request.path["sid"]
        card = await methods.choose_card(tx, customer.sid, sid, actor_of(request), request.at)
        return OwnReply(wire.card(card, sid))

    async def remove_card(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        await methods.remove_card(tx, customer.sid, request.path["sid"], actor_of(request), request.at)
        return OwnReply(None, 204)

    async def show_standing(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        return await self._shown_standing(tx, customer.sid, request)

    async def suspend(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        await standing.suspend(self._env, tx, customer.sid, actor_of(request), request.at)
        return await self._shown_standing(tx, customer.sid, request)

    async def _shown_standing(self, tx: Tx, customer_sid: str, request: OwnRequest) -> OwnReply:
        found = await store.lock(tx, customer_sid, request.at)
        terms = await methods.payment_terms(self._env, tx, customer_sid, day_of(request.at))
        return OwnReply(wire.standing(found, terms, await standing.exposures(tx, customer_sid)))

    # Top-ups

    async def list_top_ups(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        found = await store.top_ups(tx, customer.sid, _next(request), wire.PAGE_SIZE + 1)
        return OwnReply(wire.page_of(found, wire.top_up))

    async def top_up(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        made = await top_ups.top_up(
            self._env,
            tx,
            customer.sid,
            wire.amount(request),
            wire.currency(request, customer.currency),
            actor_of(request),
            request.at,
            card_sid=wire.optional(request, "card_sid"),
            idempotency_key=wire.key(request),
        )
        return OwnReply(wire.top_up(made), 201 if made.created_at == request.at else 200)

    async def fetch_top_up(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        return OwnReply(wire.top_up(await top_ups.fetch(tx, customer.sid, request.path["sid"])))

    async def list_chargebacks(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        return OwnReply(wire.listed([wire.chargeback(each) for each in await store.chargebacks(tx, customer.sid)]))

    async def list_recharges(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        return OwnReply(wire.listed([wire.auto_recharge(each) for each in await recharging.settings(tx, customer.sid)]))

    async def set_recharge(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        is_on = request.body.get("enabled", True)
        if not isinstance(is_on, bool):
            raise InvalidParameter("'enabled' must be true or false")
        made = await recharging.configure(
            tx,
            customer.sid,
            wire.currency(request, customer.currency),
            wire.amount(request, "threshold"),
            wire.amount(request, "amount"),
            wire.amount(request, "cap_per_day"),
            is_on,
            actor_of(request),
            request.at,
        )
        return OwnReply(wire.auto_recharge(made))

    # Invoicing

    async def list_applications(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        return OwnReply(wire.listed([wire.application(each) for each in await store.applications(tx, customer.sid)]))

    async def apply(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        currency = wire.currency(request, customer.currency)
        note = wire.text(request, "note", "", max_length=4000)
        made = await methods.apply_for_invoicing(tx, customer.sid, currency, note, actor_of(request), request.at)
        return OwnReply(wire.application(made), 201)

    async def decide(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        decision = wire.text(request, "decision")
        if decision not in ("approve", "decline"):
            raise InvalidParameter("'decision' must be approve or decline")
        net_days = request.body.get("net_days", NET_DAYS)
        if not isinstance(net_days, int) or isinstance(net_days, bool):
            raise InvalidParameter("'net_days' must be a whole number")
        decided = await methods.decide_application(
            tx,
            customer.sid,
            request.path["sid"],
            decision,
            actor_of(request),
            request.at,
            credit_limit=wire.amount(request, "credit_limit") if "credit_limit" in request.body else None,
            net_days=net_days,
            reason=wire.text(request, "reason", ""),
        )
        if decision == "approve":
            await self._env.invoicing_approved(tx, customer.sid, request.at)
        return OwnReply(wire.application(decided))

    async def withdraw(self, tx: Tx, request: OwnRequest) -> OwnReply:
        refuse_weak_credentials(request)
        customer = await customer_of_request(tx, request)
        decided = await methods.decide_application(
            tx, customer.sid, request.path["sid"], "withdraw", actor_of(request), request.at
        )
        return OwnReply(wire.application(decided))

    # Payments and refunds

    async def list_payments(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        found = await store.payments(tx, customer.sid, _next(request), wire.PAGE_SIZE + 1)
        settled = {each.sid: await store.allocations(tx, customer.sid, each.sid) for each in found[: wire.PAGE_SIZE]}
        return OwnReply(wire.page_of(found, lambda each: wire.payment(each, settled[each.sid])))

    async def record_payment(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        made = await receipts.record_payment(
            self._env,
            tx,
            customer.sid,
            wire.amount(request),
            wire.currency(request, customer.currency),
            wire.day(wire.text(request, "received_on", day_of(request.at).isoformat()), "received_on"),
            wire.text(request, "reference"),
            actor_of(request),
            request.at,
            instruction=wire.instruction(request),
        )
        status = 201 if made.created_at == request.at else 200
        return OwnReply(wire.payment(made, await store.allocations(tx, customer.sid, made.sid)), status)

    async def fetch_payment(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        found = await receipts.fetch_payment(tx, customer.sid, request.path["sid"])
        return OwnReply(wire.payment(found, await store.allocations(tx, customer.sid, found.sid)))

    async def list_refunds(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        found = await store.refunds(tx, customer.sid, _next(request), wire.PAGE_SIZE + 1)
        return OwnReply(wire.page_of(found, wire.refund))

    async def refund(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customer_of_request(tx, request)
        taken_from = refunds.taken_from_of(wire.text(request, "taken_from", "refunds"))
        made = await refunds.refund(
            tx,
            customer.sid,
            wire.text(request, "source_sid"),
            wire.amount(request),
            wire.text(request, "basis", ""),
            actor_of(request),
            request.at,
            taken_from=taken_from,
            note=wire.text(request, "note", ""),
            idempotency_key=wire.key(request),
        )
        return OwnReply(wire.refund(made), 201 if made.created_at == request.at else 200)

    # Providers

    async def list_settlements(self, request: OwnRequest) -> OwnReply:
        gateway = self._env.gateways.get(request.path["provider"])
        if gateway is None:
            raise NotFound("There is no such payment provider")
        today = day_of(request.at).isoformat()
        first = wire.day(request.query.get("from", today), "from")
        last = wire.day(request.query.get("to", today), "to")
        if not first <= last < first + timedelta(days=_SETTLEMENTS_DAYS_MAX):
            raise InvalidParameter(f"'to' must be at most {_SETTLEMENTS_DAYS_MAX} days from 'from'")
        found = await gateway.list_settlements(start_of(first), end_of(last))
        if isinstance(found, Unreachable):
            raise Unavailable("The payment provider was not reached; try again")
        async with self._database.transaction() as tx:
            items = [
                wire.settlement(each, await store.top_up_by_reference(tx, gateway.name, each.charge_reference))
                for each in found
            ]
        return OwnReply(wire.listed(items))

    async def receive_webhook(self, tx: Tx, request: OwnRequest) -> OwnReply:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
        provider = request.path["provider"]
        outcome = await webhooks.receive(self._env, tx, provider, request.raw_body, headers, request.at)
        return OwnReply({"received": True, "outcome": outcome})


def _next(request: OwnRequest) -> str:
    after = request.query.get("next", "")
    if after and not SID.match(after):
        raise InvalidParameter("'next' must be what the last page gave")
    return after


def _refuse(answer: object) -> None:
    if isinstance(answer, Unreachable):
        raise Unavailable("The payment provider was not reached; nothing was kept, try again")
    if isinstance(answer, Declined):
        if answer.code == "idempotency_key_in_use":
            raise Conflict("The card is being added", "3.3.1", answer.code)
        raise Unprocessable(answer.message, "3.3.1", answer.code)
