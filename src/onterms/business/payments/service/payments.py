"""The room for other rooms: payments with their surroundings."""

from collections.abc import Mapping
from datetime import date, datetime

from onterms.business.payments import store
from onterms.business.payments.model import Allocation, MethodKind, Payment, PaymentTerms, Refund, Standing, TopUp
from onterms.business.payments.service import methods, receipts, recharging, refunds, standing, top_ups, webhooks
from onterms.business.payments.service.surroundings import Surroundings
from onterms.core.db import Tx


class Payments:
    """What other rooms ask of payments. None of it commits."""

    def __init__(self, env: Surroundings) -> None:
        self.env = env

    async def top_up(
        self,
        tx: Tx,
        customer_sid: str,
        micros: int,
        currency: str,
        actor: str,
        at: datetime,
        *,
        card_sid: str | None = None,
        idempotency_key: str | None = None,
    ) -> TopUp:
        """Ask for money from a card; a job charges it.

        Raises: InvalidParameter, NotFound, Conflict.
        """
        return await top_ups.top_up(
            self.env, tx, customer_sid, micros, currency, actor, at, card_sid=card_sid, idempotency_key=idempotency_key
        )

    async def require_method(self, tx: Tx, customer_sid: str, at: datetime) -> MethodKind:
        """Return how the customer pays.

        Raises: Conflict where it pays by card and there is none that can be charged.
        """
        return await methods.require_method(tx, customer_sid, at)

    async def payment_terms(
        self, tx: Tx, customer_sid: str, on: date, *, invoice_currency: str | None = None
    ) -> PaymentTerms:
        """Return how an invoice of a day is paid: an order form's word, else the method's own terms (3.3)."""
        return await methods.payment_terms(self.env, tx, customer_sid, on, invoice_currency=invoice_currency)

    async def record_payment(
        self,
        tx: Tx,
        customer_sid: str,
        micros: int,
        currency: str,
        received_on: date,
        reference: str,
        actor: str,
        at: datetime,
        *,
        instruction: receipts.Instruction = (),
    ) -> Payment:
        """Enter a bank transfer and settle what is due with it.

        Raises: InvalidParameter, NotFound, Conflict.
        """
        return await receipts.record_payment(
            self.env,
            tx,
            customer_sid,
            micros,
            currency,
            received_on,
            reference,
            actor,
            at,
            instruction=instruction,
        )

    async def settle_credit(self, tx: Tx, customer_sid: str, currency: str, cause_sid: str, at: datetime) -> int:
        """Settle what is due with money that is left over, and return how much that was; for a new invoice."""
        return await receipts.settle_credit(self.env, tx, customer_sid, currency, cause_sid, at)

    async def settled(self, tx: Tx, customer_sid: str, documents: list[str]) -> Mapping[str, Allocation]:
        """Return what payments settled on documents, by taxes, surcharges and fees."""
        return await store.settled(tx, customer_sid, documents)

    async def refund(
        self,
        tx: Tx,
        customer_sid: str,
        source_sid: str,
        micros: int,
        basis: str,
        actor: str,
        at: datetime,
        *,
        taken_from: refunds.TakenFrom = "refunds",
        note: str = "",
        idempotency_key: str | None = None,
    ) -> Refund:
        """Pay money back on a ground of the terms.

        Raises: Unprocessable, NotFound, Conflict.
        """
        return await refunds.refund(
            tx,
            customer_sid,
            source_sid,
            micros,
            basis,
            actor,
            at,
            taken_from=taken_from,
            note=note,
            idempotency_key=idempotency_key,
        )

    async def sources(self, tx: Tx, customer_sid: str) -> list[tuple[str, str, int]]:
        """Return what a customer paid in and may get back: (SID, currency, what is left of it), newest first."""
        return await refunds.sources(tx, customer_sid)

    async def review_standing(self, tx: Tx, customer_sid: str, at: datetime) -> Standing:
        """Look at the prepaid funds again after money moved elsewhere, and block or lift as 3.3.1 says."""
        return await standing.review(self.env, tx, customer_sid, at)

    async def require_paid(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        """Refuse a new account while prepaid Fees are due.

        Raises: Unpaid.
        """
        await standing.require_paid(tx, customer_sid, at)

    async def stop_recharging(self, tx: Tx, customer_sid: str, actor: str, at: datetime) -> int:
        """Charge no card of a customer by itself any more."""
        return await recharging.stop(tx, customer_sid, actor, at)

    async def funds_spent(self, tx: Tx, customer_sid: str, currency: str, at: datetime) -> None:
        """Have the balance filled up if it fell below the customer's threshold."""
        await recharging.funds_spent(tx, customer_sid, currency, at)

    async def ensure_sandbox_credit(self, tx: Tx, customer_sid: str, at: datetime) -> TopUp:
        """Give a sandbox's customer its first 1,000.00 USD, once."""
        return await top_ups.ensure_sandbox_credit(self.env, tx, customer_sid, at)

    async def receive_webhook(
        self, tx: Tx, provider: str, body: bytes, headers: Mapping[str, str], at: datetime
    ) -> str:
        """Take a provider's webhook and return what became of it.

        Raises: NotFound for an unknown provider, ForgedWebhook.
        """
        return await webhooks.receive(self.env, tx, provider, body, headers, at)
