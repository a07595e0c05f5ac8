"""The port for charging cards: what a payment provider does for us, and what it tells afterwards.

Amounts are micro-units that are whole minor units of their currency. Every command carries an idempotency key: the same
key never moves money twice, so a command whose answer was lost is simply repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

EventKind = Literal[
    "charge_succeeded",
    "charge_failed",
    "charge_needs_action",
    "refund_succeeded",
    "refund_failed",
    "dispute_opened",
    "dispute_won",
    "dispute_lost",
    "other",
]


@dataclass(frozen=True, slots=True)
class CustomerMade:
    """The provider knows the customer under this id."""

    reference: str


@dataclass(frozen=True, slots=True)
class MethodSet:
    """A card that can be charged, and what a person knows it by."""

    reference: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """Money to be taken from a card.

    Shapes: references are the provider's, sids ours, which come back with its events. `off_session` says that nobody
    is there to confirm.
    """

    customer_reference: str
    method_reference: str
    micros: int
    currency: str
    customer_sid: str
    top_up_sid: str
    off_session: bool = False


@dataclass(frozen=True, slots=True)
class Charged:
    """The charge is made, under way, or waits for the customer to confirm; `action` is what its browser needs."""

    reference: str
    status: Literal["succeeded", "processing", "needs_action"]
    action: str | None = None


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Money of a charge to be paid back."""

    charge_reference: str
    micros: int
    currency: str
    customer_sid: str
    refund_sid: str


@dataclass(frozen=True, slots=True)
class Refunded:
    """The refund is made or under way."""

    reference: str
    status: Literal["succeeded", "processing"]


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider, or the card's bank, said no; repeating it changes nothing."""

    code: str
    message: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Whether it was done is not known; repeat it under the same key."""

    reason: str


@dataclass(frozen=True, slots=True)
class GatewayEvent:
    """Something the provider tells about a charge, a refund or a dispute.

    Shapes: `reference` is the charge's; `subject_sid` the top-up or refund it was made for, where the provider repeats
    it; `detail_reference` the dispute's or refund's.
    """

    id: str
    kind: EventKind
    reference: str | None
    micros: int
    currency: str
    customer_sid: str | None = None
    subject_sid: str | None = None
    detail_reference: str | None = None
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Forged:
    """Not from the provider, or too old to be believed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """Money of a charge that the provider owes or has paid to us, with its own fee taken off."""

    id: str
    charge_reference: str
    micros: int
    fee_micros: int
    currency: str
    settled_at: datetime


class PaymentGateway(Protocol):
    """A payment provider; no method raises for what the other side does."""

    @property
    def name(self) -> str:
        """Return the name in our tables and in the webhook's address."""
        ...

    async def create_customer(
        self, customer_sid: str, name: str, *, idempotency_key: str
    ) -> CustomerMade | Declined | Unreachable:
        """Make the customer known to the provider."""
        ...

    async def setup_method(
        self, customer_reference: str, token: str, *, idempotency_key: str
    ) -> MethodSet | Declined | Unreachable:
        """Keep a card, which the customer's browser gave the provider for a token, for later charges."""
        ...

    async def charge(self, request: ChargeRequest, *, idempotency_key: str) -> Charged | Declined | Unreachable:
        """Take money from a card."""
        ...

    async def refund(self, request: RefundRequest, *, idempotency_key: str) -> Refunded | Declined | Unreachable:
        """Pay money of a charge back."""
        ...

    def parse_webhook(self, body: bytes, headers: Mapping[str, str], at: datetime) -> GatewayEvent | Forged:
        """Check who sent a webhook and read it.

        Shapes: headers have lower-case names.
        """
        ...

    async def list_settlements(self, since: datetime, until: datetime) -> list[Settlement] | Unreachable:
        """List what was settled in [since, until), oldest first."""
        ...
