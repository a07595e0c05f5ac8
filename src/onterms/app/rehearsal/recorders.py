"""The world outside, for a copy: mail servers, payment providers and customers' URLs that only write down."""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from onterms.core.clock import Clock
from onterms.ports.callback import Answer, Callback
from onterms.ports.mail import MailOutcome, OutMail
from onterms.ports.payment_gateway import (
    Charged,
    ChargeRequest,
    CustomerMade,
    Declined,
    Forged,
    GatewayEvent,
    MethodSet,
    Refunded,
    RefundRequest,
    Settlement,
    Unreachable,
)

NAME = "rehearsal"
_DECLINED = Declined("card_declined", "The rehearsal assumes that cards decline")


class RecordedMail:
    """A `MailPort` that counts mails and says what is assumed."""

    def __init__(self, clock: Clock, *, accepts: bool) -> None:
        self._clock = clock
        self._accepts = accepts
        self.count = 0

    async def send(self, mail: OutMail) -> list[MailOutcome]:
        """Say what each recipient's server is assumed to say."""
        self.count += len(mail.recipients)
        digest = hashlib.sha256(f"{mail.message_id}\n{mail.subject}\n{mail.body}".encode()).hexdigest()
        at = self._clock.now()
        if self._accepts:
            return [MailOutcome(each, "accepted", at, NAME, "250 2.0.0 Assumed", digest) for each in mail.recipients]
        # RFC 3463 3.2: a mailbox that does not exist.
        return [MailOutcome(each, "refused", at, NAME, "550 5.1.1 Assumed", digest) for each in mail.recipients]


class RecordedPayments:
    """A `PaymentGateway` that counts charges and refunds and answers at once what is assumed."""

    def __init__(self, *, succeeds: bool) -> None:
        self._succeeds = succeeds
        self.count = 0

    @property
    def name(self) -> str:
        """Return the provider's name."""
        return NAME

    async def create_customer(
        self, customer_sid: str, name: str, *, idempotency_key: str
    ) -> CustomerMade | Declined | Unreachable:
        """Make up an id."""
        return CustomerMade(f"{NAME}_{customer_sid}")

    async def setup_method(
        self, customer_reference: str, token: str, *, idempotency_key: str
    ) -> MethodSet | Declined | Unreachable:
        """Refuse: nobody adds cards in a rehearsal."""
        return _DECLINED

    async def charge(self, request: ChargeRequest, *, idempotency_key: str) -> Charged | Declined | Unreachable:
        """Take no money, and answer what is assumed."""
        self.count += 1
        return Charged(f"{NAME}_{request.top_up_sid}", "succeeded") if self._succeeds else _DECLINED

    async def refund(self, request: RefundRequest, *, idempotency_key: str) -> Refunded | Declined | Unreachable:
        """Pay nothing back, and say that it is done."""
        self.count += 1
        return Refunded(f"{NAME}_{request.refund_sid}", "succeeded")

    def parse_webhook(self, body: bytes, headers: Mapping[str, str], at: datetime) -> GatewayEvent | Forged:
        """Believe nobody: no webhook reaches a copy."""
        return Forged("a rehearsal takes no webhooks")

    async def list_settlements(self, since: datetime, until: datetime) -> list[Settlement] | Unreachable:
        """List nothing: no money moved."""
        return []


class RecordedCallbacks:
    """A `CallbackClient` that counts calls and makes none."""

    def __init__(self) -> None:
        self.count = 0

    async def call(self, callback: Callback) -> Answer:
        """Say that the customer's server took it."""
        self.count += 1
        return Answer(204, "", b"", {}, None, None, ())


async def no_token(account_sid: str) -> str:
    """Sign with nothing: a copy cannot open the live install's secrets, and nobody checks."""
    return ""
