"""The payment simulator's control API: cards, charges, disputes, webhooks and how the provider behaves."""

from typing import Any, Final

import msgspec

from onterms.carriers.payment_simulator import store
from onterms.carriers.payment_simulator.gateway import PaymentSimulator
from onterms.carriers.payment_simulator.model import CARDS
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

_LISTED: Final = 200
_FLAGS: Final = ("holds_webhooks", "settles_later", "is_unreachable")
_NUMBERS: Final = {"webhook_delay_s": (0, 366 * 86_400), "webhook_copies": (1, 10), "declines_from": (0, 2**53)}


class PaymentSimulatorApi:
    """The handlers behind `routes`."""

    def __init__(self, simulator: PaymentSimulator) -> None:
        self._simulator = simulator

    def routes(self) -> list[OwnRoute]:
        """List the routes; only a sandbox mounts them."""
        base = "/simulator/v1/payments"
        return [
            OwnRoute("GET", f"{base}/settings", "machine", self.show_settings, summary="Show how the provider behaves"),
            OwnRoute("POST", f"{base}/settings", "machine", self.change_settings, summary="Say how it behaves"),
            OwnRoute("GET", f"{base}/numbers", "machine", self.list_numbers, summary="List card numbers that do more"),
            OwnRoute("POST", f"{base}/cards", "machine", self.make_card, summary="Make a card and get its token"),
            OwnRoute("GET", f"{base}/charges", "machine", self.list_charges, summary="List charges"),
            OwnRoute(
                "POST",
                f"{base}/charges/{{id}}/authentication",
                "machine",
                self.authenticate,
                summary="Confirm one",
            ),
            OwnRoute("GET", f"{base}/charges/{{id}}/disputes", "machine", self.list_disputes, summary="List disputes"),
            OwnRoute("POST", f"{base}/charges/{{id}}/disputes", "machine", self.open_dispute, summary="Take it back"),
            OwnRoute("POST", f"{base}/disputes/{{id}}/closure", "machine", self.close_dispute, summary="Decide one"),
            OwnRoute("GET", f"{base}/webhooks", "machine", self.list_webhooks, summary="List webhooks"),
            OwnRoute("POST", f"{base}/webhooks/{{id}}/deliveries", "machine", self.deliver, summary="Deliver one now"),
        ]

    async def show_settings(self, tx: Tx, request: OwnRequest) -> OwnReply:
        return OwnReply(msgspec.to_builtins(await store.settings(tx)))

    async def change_settings(self, tx: Tx, request: OwnRequest) -> OwnReply:
        changes: dict[str, Any] = {}
        for name, value in request.body.items():
            if name in _FLAGS and isinstance(value, bool):
                changes[name] = value
            elif name in _NUMBERS and isinstance(value, int) and not isinstance(value, bool):
                low, high = _NUMBERS[name]
                if not low <= value <= high:
                    raise InvalidParameter(f"'{name}' must be from {low} to {high}")
                changes[name] = value
            elif name == "declines_from" and value is None:
                changes[name] = None
            else:
                raise InvalidParameter(f"'{name}' is no setting or has a value of another kind")
        if changes:
            await store.change_settings(tx, changes)
        return await self.show_settings(tx, request)

    async def list_numbers(self, tx: Tx, request: OwnRequest) -> OwnReply:
        items = [{"number": number, "behaviour": does, "code": code or None} for number, (does, code) in CARDS.items()]
        return OwnReply({"items": items, "next": None})

    async def make_card(self, tx: Tx, request: OwnRequest) -> OwnReply:
        month = _whole(request, "exp_month", 12, 1, 12)
        year = _whole(request, "exp_year", request.at.year + 3, 2000, 2999)
        card = await self._simulator.make_card(tx, request.text("number", max_length=19), month, year, request.at)
        return OwnReply({"token": card.id, "brand": card.brand, "last4": card.number[-4:]}, 201)

    async def list_charges(self, tx: Tx, request: OwnRequest) -> OwnReply:
        return OwnReply({"items": [_shown(each) for each in await store.charges(tx, _LISTED)], "next": None})

    async def authenticate(self, tx: Tx, request: OwnRequest) -> OwnReply:
        outcome = _one_of(request, "outcome", ("succeed", "fail"))
        await self._simulator.authenticate(tx, request.path["id"], outcome == "succeed", request.at)
        return OwnReply(_shown(await store.charge(tx, request.path["id"])))

    async def list_disputes(self, tx: Tx, request: OwnRequest) -> OwnReply:
        found = await store.disputes(tx, request.path["id"])
        return OwnReply({"items": [_shown(each) for each in found], "next": None})

    async def open_dispute(self, tx: Tx, request: OwnRequest) -> OwnReply:
        minor = _whole(request, "minor", 0, 1, 2**53) if "minor" in request.body else None
        reason = request.text("reason", default="fraudulent", max_length=80)
        made = await self._simulator.open_dispute(tx, request.path["id"], minor, reason, request.at)
        return OwnReply(_shown(made), 201)

    async def close_dispute(self, tx: Tx, request: OwnRequest) -> OwnReply:
        outcome = _one_of(request, "outcome", ("won", "lost"))
        return OwnReply(
            _shown(await self._simulator.close_dispute(tx, request.path["id"], outcome == "won", request.at))
        )

    async def list_webhooks(self, tx: Tx, request: OwnRequest) -> OwnReply:
        return OwnReply({"items": [_shown(each) for each in await store.webhooks(tx, _LISTED)], "next": None})

    async def deliver(self, tx: Tx, request: OwnRequest) -> OwnReply:
        return OwnReply({"answer": await self._simulator.deliver(tx, request.path["id"], request.at)}, 201)


def _shown(value: Any) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(value)
    return shown


def _one_of(request: OwnRequest, name: str, values: tuple[str, ...]) -> str:
    value = request.text(name)
    if value not in values:
        raise InvalidParameter(f"'{name}' must be {' or '.join(values)}")
    return value


def _whole(request: OwnRequest, name: str, default: int, low: int, high: int) -> int:
    value = request.body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidParameter(f"'{name}' must be a whole number from {low} to {high}")
    return value
