"""The gateway: one HTTPS request a command, Stripe's idempotency keys, no secret in any text that is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, TypeVar

import aiohttp
import msgspec

from onterms.carriers.stripe.reading import (
    ApiError,
    BalancePage,
    CustomerBody,
    ErrorBody,
    IntentBody,
    MethodBody,
    RefundBody,
    SourceBody,
    event_of,
    unit_of,
)
from onterms.core.clock import Clock
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
from onterms.protocols.timestamped_signature import is_genuine

NAME: Final = "stripe"
_BASE_URL: Final = "https://api.stripe.com"
# Pinned, so that an upgrade of the operator's account at Stripe does not change what we read.
_API_VERSION: Final = "2024-06-20"
# Stripe's own libraries wait 80 s: a card's bank may take that long, and a repeat under the same key is safe.
_TIMEOUT_S: Final = 80.0
_ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
_PAGE: Final = 100
# Stripe docs, "Error codes": the object was changed by another request, or the key is in use just now.
_AGAIN: Final = frozenset({"lock_timeout", "idempotency_key_in_use"})
T = TypeVar("T", bound=msgspec.Struct)
Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Refused:
    error: ApiError


class StripeGateway:
    """Stripe, with an account's secret key and the secret of its webhook endpoint."""

    def __init__(
        self,
        secret_key: str,
        webhook_secret: str,
        *,
        base_url: str = _BASE_URL,
        timeout_s: float = _TIMEOUT_S,
        clock: Clock | None = None,
    ) -> None:
        # The provider's own time, where ours is not the world's: a sandbox's clock moves.
        self._clock = clock
        self._secret_key = secret_key
        self._webhook_secret = webhook_secret
        self._base_url = base_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "StripeGateway":
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            headers={"Authorization": f"Bearer {self._secret_key}", "Stripe-Version": _API_VERSION},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def name(self) -> str:
        """Return the provider's name."""
        return NAME

    async def create_customer(
        self, customer_sid: str, name: str, *, idempotency_key: str
    ) -> CustomerMade | Declined | Unreachable:
        """Make a customer; nothing but its name and our SID leaves the house."""
        fields = [("name", name), ("metadata[customer_sid]", customer_sid)]
        answer = await self._post("/v1/customers", fields, idempotency_key, CustomerBody)
        return CustomerMade(answer.id) if isinstance(answer, CustomerBody) else _given(answer)

    async def setup_method(
        self, customer_reference: str, token: str, *, idempotency_key: str
    ) -> MethodSet | Declined | Unreachable:
        """Attach a payment method that Stripe.js made in the customer's browser."""
        # The token comes from a customer and becomes a part of the path.
        if not token.startswith("pm_") or not token.replace("_", "").isalnum() or not token.isascii():
            return Declined("resource_missing", "There is no such payment method")
        path = f"/v1/payment_methods/{token}/attach"
        answer = await self._post(path, [("customer", customer_reference)], idempotency_key, MethodBody)
        if not isinstance(answer, MethodBody):
            return _given(answer)
        if answer.card is None:
            return Declined("payment_method_unsupported", "Only cards can be kept")
        return MethodSet(answer.id, answer.card.brand, answer.card.last4, answer.card.exp_month, answer.card.exp_year)

    async def charge(self, request: ChargeRequest, *, idempotency_key: str) -> Charged | Declined | Unreachable:
        """Make and confirm a payment intent."""
        fields = [
            ("amount", str(request.micros // unit_of(request.currency))),
            ("currency", request.currency.lower()),
            ("customer", request.customer_reference),
            ("payment_method", request.method_reference),
            ("confirm", "true"),
            ("payment_method_types[]", "card"),
            ("metadata[customer_sid]", request.customer_sid),
            ("metadata[top_up_sid]", request.top_up_sid),
        ]
        if request.off_session:
            fields.append(("off_session", "true"))
        answer = await self._post("/v1/payment_intents", fields, idempotency_key, IntentBody)
        if not isinstance(answer, IntentBody):
            return _given(answer)
        if answer.status == "succeeded":
            return Charged(answer.id, "succeeded")
        if answer.status == "processing":
            return Charged(answer.id, "processing")
        if answer.status == "requires_action":
            return Charged(answer.id, "needs_action", answer.client_secret)
        error = answer.last_payment_error or ApiError()
        return Declined(error.decline_code or error.code or answer.status, error.message or "", answer.id)

    async def refund(self, request: RefundRequest, *, idempotency_key: str) -> Refunded | Declined | Unreachable:
        """Refund a part of a payment intent."""
        fields = [
            ("payment_intent", request.charge_reference),
            ("amount", str(request.micros // unit_of(request.currency))),
            ("metadata[customer_sid]", request.customer_sid),
            ("metadata[refund_sid]", request.refund_sid),
        ]
        answer = await self._post("/v1/refunds", fields, idempotency_key, RefundBody)
        if not isinstance(answer, RefundBody):
            return _given(answer)
        if answer.status in ("failed", "canceled"):
            return Declined(answer.failure_reason or answer.status, "The refund failed", answer.id)
        return Refunded(answer.id, "succeeded" if answer.status == "succeeded" else "processing")

    def parse_webhook(self, body: bytes, headers: Mapping[str, str], at: datetime) -> GatewayEvent | Forged:
        """Check the Stripe-Signature header and read the event."""
        now = at if self._clock is None else self._clock.now()
        if not is_genuine(self._webhook_secret, body, headers.get("stripe-signature", ""), int(now.timestamp())):
            return Forged("the signature is missing, wrong or too old")
        return event_of(body)

    async def list_settlements(self, since: datetime, until: datetime) -> list[Settlement] | Unreachable:
        """List our balance's movements that come from charges."""
        found: list[Settlement] = []
        after: list[tuple[str, str]] = []
        while True:
            fields = [
                ("created[gte]", str(int(since.timestamp()))),
                ("created[lt]", str(int(until.timestamp()))),
                ("limit", str(_PAGE)),
                ("expand[]", "data.source"),
                *after,
            ]
            page = await self._request("GET", "/v1/balance_transactions", fields, None, BalancePage)
            if not isinstance(page, BalancePage):
                return page if isinstance(page, Unreachable) else Unreachable(page.error.code or page.error.type)
            for each in page.data:
                if not isinstance(each.source, SourceBody) or each.source.object != "charge":
                    continue
                currency = each.currency.upper()
                unit = unit_of(currency)
                settled_at = datetime.fromtimestamp(each.created, UTC)
                reference = each.source.payment_intent or ""
                found.append(Settlement(each.id, reference, each.amount * unit, each.fee * unit, currency, settled_at))
            if not page.has_more or not page.data:
                return found[::-1]
            after = [("starting_after", page.data[-1].id)]

    async def _post(self, path: str, fields: Fields, key: str, shape: type[T]) -> T | _Refused | Unreachable:
        return await self._request("POST", path, fields, key, shape)

    async def _request(
        self, method: str, path: str, fields: Fields, key: str | None, shape: type[T]
    ) -> T | _Refused | Unreachable:
        assert self._session is not None, "the gateway is entered before it is used"
        is_get = method == "GET"
        try:
            async with self._session.request(
                method,
                f"{self._base_url}{path}",
                params=fields if is_get else None,
                data=None if is_get else aiohttp.FormData(fields),
                headers={} if key is None else {"Idempotency-Key": key},
                # The key must never be shown to whatever another address answers.
                allow_redirects=False,
            ) as response:
                status = response.status
                body = await response.content.read(_ANSWER_BYTES_MAX)
                while chunk := await response.content.read(_ANSWER_BYTES_MAX - len(body) + 1):
                    body += chunk
                    if len(body) > _ANSWER_BYTES_MAX:
                        return Unreachable("the answer is too long")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Unreachable(type(error).__name__)
        try:
            if status == 200:
                return msgspec.json.decode(body, type=shape)
            error_body = msgspec.json.decode(body, type=ErrorBody).error
        except msgspec.MsgspecError:
            return Unreachable(f"status {status} without a readable body")
        # 401 and 403 are the operator's key, not the customer's card: it can be mended and the command repeated.
        if status in (401, 403, 409, 429) or status >= 500 or error_body.code in _AGAIN:
            return Unreachable(f"status {status}")
        return _Refused(error_body)


def _given(answer: _Refused | Unreachable) -> Declined | Unreachable:
    if isinstance(answer, Unreachable):
        return answer
    error = answer.error
    intent = (error.payment_intent or {}).get("id")
    return Declined(
        error.decline_code or error.code or error.type or "refused",
        error.message or "The provider refused",
        intent if isinstance(intent, str) else None,
    )
