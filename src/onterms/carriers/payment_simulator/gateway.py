"""The simulator behind the port of payment providers."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from onterms.carriers.payment_simulator import store
from onterms.carriers.payment_simulator.model import (
    CARDS,
    TOKEN_PREFIX,
    Card,
    Dispute,
    SimCharge,
    behaviour_of,
    brand_of,
    is_card_number,
)
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.core.money import minor_digits
from onterms.engines import jobs
from onterms.ports.payment_gateway import (
    Charged,
    ChargeRequest,
    CustomerMade,
    Declined,
    EventKind,
    Forged,
    GatewayEvent,
    MethodSet,
    Refunded,
    RefundRequest,
    Settlement,
    Unreachable,
)
from onterms.protocols.timestamped_signature import is_genuine, sign

NAME: Final = "simulator"
WEBHOOK_TASK: Final = "payment_simulator.webhook"
SIGNATURE_HEADER: Final = "simulator-signature"
_DOWN: Final = Unreachable("the simulator was told to be unreachable")
# What this provider keeps of a charge, about what card providers take: 2.9%.
_FEE_PER_MILLE: Final = 29

# Takes a webhook as the HTTP edge would and says what became of it.
WebhookSink = Callable[[Tx, bytes, Mapping[str, str], datetime], Awaitable[str]]


class _Event(msgspec.Struct, frozen=True):
    id: str
    kind: EventKind
    reference: str
    minor: int
    currency: str
    told: dict[str, Any]
    detail: str | None = None
    code: str = ""


class PaymentSimulator:
    """A payment provider in this process's database."""

    def __init__(self, database: Database, clock: Clock, signing_secret: str) -> None:
        self._database = database
        self._clock = clock
        self._secret = signing_secret
        self._sink: WebhookSink | None = None

    @property
    def name(self) -> str:
        """Return the provider's name."""
        return NAME

    def deliver_to(self, sink: WebhookSink) -> None:
        """Say where webhooks go; until then they wait."""
        self._sink = sink

    def register(self, worker: jobs.Worker) -> None:
        """Serve the deliveries; before the worker runs."""
        worker.register(WEBHOOK_TASK, self._deliver_due)

    # ---- the port

    async def create_customer(
        self, customer_sid: str, name: str, *, idempotency_key: str
    ) -> CustomerMade | Declined | Unreachable:
        """Make a customer's id; it holds nothing else."""
        async with self._database.transaction() as tx:
            if (await store.settings(tx)).is_unreachable:
                return _DOWN
        return CustomerMade(f"sim_cus_{customer_sid}")

    async def setup_method(
        self, customer_reference: str, token: str, *, idempotency_key: str
    ) -> MethodSet | Declined | Unreachable:
        """Attach a card: one made with `make_card`, or `sim_<number>` for a new one."""
        at = self._clock.now()
        async with self._database.transaction() as tx:
            if (await store.settings(tx)).is_unreachable:
                return _DOWN
            body = ["setup", customer_reference, token]
            known = await self._answered(tx, idempotency_key, body)
            if isinstance(known, Declined):
                return known
            if known is not None:
                return msgspec.convert(known, MethodSet)
            number = token.removeprefix(TOKEN_PREFIX)
            card = await store.card(tx, token)
            if card is None:
                if not token.startswith(TOKEN_PREFIX) or not is_card_number(number):
                    return Declined("resource_missing", "There is no such card")
                card = await self.make_card(tx, number, 12, at.year + 3, at)
            if not await store.attach_card(tx, card.id, customer_reference):
                return Declined("resource_missing", "The card is another customer's")
            made = MethodSet(card.id, card.brand, card.number[-4:], card.exp_month, card.exp_year)
            await self._keep(tx, idempotency_key, body, msgspec.to_builtins(made), at)
            return made

    async def charge(self, request: ChargeRequest, *, idempotency_key: str) -> Charged | Declined | Unreachable:
        """Charge a card by its number's behaviour."""
        at = self._clock.now()
        async with self._database.transaction() as tx:
            settings = await store.settings(tx)
            if settings.is_unreachable:
                return _DOWN
            body = ["charge", *msgspec.to_builtins(request).values()]
            known = await self._answered(tx, idempotency_key, body)
            if isinstance(known, Declined):
                return known
            if known is not None:
                return msgspec.convert(known, Declined) if "code" in known else msgspec.convert(known, Charged)
            card = await store.card(tx, request.method_reference)
            if card is None or card.customer != request.customer_reference:
                return Declined("resource_missing", "The card is not this customer's")
            minor = request.micros // 10 ** (6 - minor_digits(request.currency))
            behaviour, code = behaviour_of(card.number, card.exp_month, card.exp_year, at)
            if settings.declines_from is not None and minor >= settings.declines_from:
                behaviour, code = "decline", "card_velocity_exceeded"
            if behaviour == "needs_action" and request.off_session:
                behaviour = "decline"
            state = {"decline": "failed", "needs_action": "needs_action"}.get(behaviour, "succeeded")
            if state == "succeeded" and settings.settles_later:
                state = "processing"
            told = {"customer_sid": request.customer_sid, "sid": request.top_up_sid}
            made = SimCharge(
                id=new_sid("CH", at),
                customer=request.customer_reference,
                card=card.id,
                minor=minor,
                refunded=0,
                currency=request.currency,
                state=state,
                code=code if state == "failed" else None,
                told=told,
                at=at,
                settled_at=at if state == "succeeded" else None,
            )
            await store.insert_charge(tx, made)
            answer: Charged | Declined
            if state == "failed":
                answer = Declined(code, f"The card was declined: {code}", made.id)
                await self._tell(tx, "charge_failed", made, at, code=code)
            else:
                assert state in ("succeeded", "processing", "needs_action")
                answer = Charged(made.id, state, f"{made.id}_secret" if state == "needs_action" else None)  # type: ignore[arg-type]
                if state == "needs_action":
                    await self._tell(tx, "charge_needs_action", made, at)
                elif state == "processing":
                    await self._tell(tx, "charge_succeeded", made, at)
                    await store.end_charge(tx, made.id, "succeeded", None, at)
                else:
                    await self._tell(tx, "charge_succeeded", made, at)
                if behaviour == "dispute":
                    await self._open_dispute(tx, made, minor, code, at)
            await self._keep(tx, idempotency_key, body, msgspec.to_builtins(answer), at)
            return answer

    async def refund(self, request: RefundRequest, *, idempotency_key: str) -> Refunded | Declined | Unreachable:
        """Pay a part of a charge back."""
        at = self._clock.now()
        async with self._database.transaction() as tx:
            settings = await store.settings(tx)
            if settings.is_unreachable:
                return _DOWN
            body = ["refund", *msgspec.to_builtins(request).values()]
            known = await self._answered(tx, idempotency_key, body)
            if isinstance(known, Declined):
                return known
            if known is not None:
                return msgspec.convert(known, Refunded)
            minor = request.micros // 10 ** (6 - minor_digits(request.currency))
            charge = await store.charge(tx, request.charge_reference)
            if charge is None or not await store.refund(tx, charge.id, minor):
                return Declined("charge_already_refunded", "Not that much is left of the charge")
            made = Refunded(new_sid("RF", at), "processing" if settings.settles_later else "succeeded")
            told = {"customer_sid": request.customer_sid, "sid": request.refund_sid}
            await self._tell(tx, "refund_succeeded", charge, at, minor=minor, told=told, detail=made.reference)
            await self._keep(tx, idempotency_key, body, msgspec.to_builtins(made), at)
            return made

    def parse_webhook(self, body: bytes, headers: Mapping[str, str], at: datetime) -> GatewayEvent | Forged:
        """Check the signature and read the event."""
        if not is_genuine(self._secret, body, headers.get(SIGNATURE_HEADER, ""), int(at.timestamp())):
            return Forged("the signature is missing, wrong or too old")
        try:
            event = msgspec.json.decode(body, type=_Event)
        except msgspec.MsgspecError:
            return Forged("the body is no event")
        return GatewayEvent(
            id=event.id,
            kind=event.kind,
            reference=event.reference,
            micros=event.minor * 10 ** (6 - minor_digits(event.currency)),
            currency=event.currency,
            customer_sid=event.told.get("customer_sid"),
            subject_sid=event.told.get("sid"),
            detail_reference=event.detail,
            code=event.code,
            message=f"The card was declined: {event.code}" if event.code else "",
        )

    async def list_settlements(self, since: datetime, until: datetime) -> list[Settlement] | Unreachable:
        """List charges that succeeded in a time."""
        async with self._database.transaction() as tx:
            if (await store.settings(tx)).is_unreachable:
                return _DOWN
            found = await store.settled(tx, since, until)
        settlements: list[Settlement] = []
        for charge in found:
            assert charge.settled_at is not None
            unit = 10 ** (6 - minor_digits(charge.currency))
            fee = charge.minor * _FEE_PER_MILLE // 1000
            settlements.append(
                Settlement(
                    f"ST{charge.id[2:]}", charge.id, charge.minor * unit, fee * unit, charge.currency, charge.settled_at
                )
            )
        return settlements

    # ---- what the control API does

    async def make_card(self, tx: Tx, number: str, exp_month: int, exp_year: int, at: datetime) -> Card:
        """Make a card.

        Raises: InvalidParameter for what is no card number.
        """
        if not is_card_number(number):
            raise InvalidParameter("'number' must be a card number with a correct check digit")
        card = Card(f"{TOKEN_PREFIX}{new_sid('CD', at)}", None, number, brand_of(number), exp_month, exp_year)
        await store.insert_card(tx, card, at)
        return card

    async def authenticate(self, tx: Tx, charge_id: str, confirmed: bool, at: datetime) -> None:
        """Let the cardholder confirm a charge that waits for it, or fail to.

        Raises: NotFound, InvalidParameter where it does not wait.
        """
        charge = await store.charge(tx, charge_id, lock=True)
        if charge is None:
            raise NotFound(f"The charge {charge_id} was not found")
        if charge.state != "needs_action":
            raise InvalidParameter(f"The charge is {charge.state} and waits for nobody")
        if confirmed:
            await store.end_charge(tx, charge.id, "succeeded", None, at)
            await self._tell(tx, "charge_succeeded", charge, at)
        else:
            code = "payment_intent_authentication_failure"
            await store.end_charge(tx, charge.id, "failed", code, None)
            await self._tell(tx, "charge_failed", charge, at, code=code)

    async def open_dispute(self, tx: Tx, charge_id: str, minor: int | None, reason: str, at: datetime) -> Dispute:
        """Let the cardholder take a charge back.

        Raises: NotFound, InvalidParameter where there is nothing to take back or it was taken back before.
        """
        charge = await store.charge(tx, charge_id, lock=True)
        if charge is None:
            raise NotFound(f"The charge {charge_id} was not found")
        wanted = charge.minor if minor is None else minor
        if charge.state != "succeeded" or not 0 < wanted <= charge.minor or await store.disputes(tx, charge_id):
            raise InvalidParameter("The charge cannot be disputed, or not for that amount")
        return await self._open_dispute(tx, charge, wanted, reason, at)

    async def close_dispute(self, tx: Tx, dispute_id: str, won: bool, at: datetime) -> Dispute:
        """Let the card's bank decide, for us or for the cardholder.

        Raises: NotFound, InvalidParameter where it is decided.
        """
        dispute = await store.dispute(tx, dispute_id)
        if dispute is None:
            raise NotFound(f"The dispute {dispute_id} was not found")
        if dispute.state != "opened":
            raise InvalidParameter(f"The dispute was {dispute.state} before")
        charge = await store.charge(tx, dispute.charge)
        assert charge is not None
        await store.end_dispute(tx, dispute_id, "won" if won else "lost")
        kind: EventKind = "dispute_won" if won else "dispute_lost"
        await self._tell(tx, kind, charge, at, minor=dispute.minor, detail=dispute.id, code=dispute.reason)
        found = await store.dispute(tx, dispute_id)
        assert found is not None
        return found

    async def deliver(self, tx: Tx, webhook_id: str, at: datetime) -> str:
        """Deliver an event now, once more if it was before, and return what became of it.

        Raises: NotFound.
        """
        webhook = await store.webhook(tx, webhook_id)
        if webhook is None:
            raise NotFound(f"The webhook {webhook_id} was not found")
        if self._sink is None:
            return "nobody listens"
        body = webhook.body.encode()
        headers = {SIGNATURE_HEADER: sign(self._secret, body, int(at.timestamp()))}
        answer = await self._sink(tx, body, headers, at)
        await store.delivered(tx, webhook_id, answer)
        return answer

    # ---- inside

    async def _deliver_due(self, run: jobs.Run, due: list[jobs.Job]) -> None:
        for job in due:
            async with run.transaction() as tx:
                await self.deliver(tx, job.payload["id"], run.clock.now())
                await run.complete(tx, [job])

    async def _open_dispute(self, tx: Tx, charge: SimCharge, minor: int, reason: str, at: datetime) -> Dispute:
        dispute = Dispute(new_sid("DP", at), charge.id, minor, "opened", reason, at)
        await store.insert_dispute(tx, dispute)
        await self._tell(tx, "dispute_opened", charge, at, minor=minor, detail=dispute.id, code=reason)
        return dispute

    async def _tell(
        self,
        tx: Tx,
        kind: EventKind,
        charge: SimCharge,
        at: datetime,
        *,
        minor: int | None = None,
        told: dict[str, Any] | None = None,
        detail: str | None = None,
        code: str = "",
    ) -> None:
        # A dispute says nothing of what the charge was for, as with real providers: only the charge's id tells.
        told = {} if kind.startswith("dispute") else charge.told if told is None else told
        event = _Event(
            id=new_sid("EV", at),
            kind=kind,
            reference=charge.id,
            minor=charge.minor if minor is None else minor,
            currency=charge.currency,
            told=told,
            detail=detail,
            code=code,
        )
        await store.insert_webhook(tx, event.id, kind, msgspec.json.encode(event).decode(), at)
        settings = await store.settings(tx)
        if settings.holds_webhooks:
            return
        due_at = at + timedelta(seconds=settings.webhook_delay_s)
        job = jobs.NewJob(WEBHOOK_TASK, {"id": event.id}, due_at=due_at)
        await jobs.enqueue(tx, [job] * settings.webhook_copies, at)

    async def _answered(self, tx: Tx, key: str, body: list[Any]) -> dict[str, Any] | Declined | None:
        known = await store.answered(tx, key)
        if known is None:
            return None
        if known[0] != _digest(body):
            return Declined("idempotency_key_in_use", "The key stands for another request")
        return known[1]

    async def _keep(self, tx: Tx, key: str, body: list[Any], answer: dict[str, Any], at: datetime) -> None:
        await store.keep_answer(tx, key, _digest(body), answer, at)


def _digest(body: list[Any]) -> bytes:
    return hashlib.sha256(msgspec.json.encode(body)).digest()


__all__ = ["CARDS", "NAME", "PaymentSimulator", "WebhookSink"]
