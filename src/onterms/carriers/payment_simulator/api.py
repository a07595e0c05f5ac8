"""The payment simulator's control API: cards, charges, disputes, webhooks and how the provider behaves."""

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, UnsetType

from onterms.carriers.payment_simulator import store
from onterms.carriers.payment_simulator.gateway import PaymentSimulator
from onterms.carriers.payment_simulator.model import CARDS, Dispute, Settings, SimCharge, Webhook
from onterms.core.db import Tx
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, Shape, whole

_LISTED: Final = 200


class SettingsChange(Shape):
    """How the provider is to behave; what is left out stays."""

    webhook_delay_s: Annotated[int, Meta(ge=0, le=366 * 86_400)] | UnsetType = UNSET
    webhook_copies: Annotated[int, Meta(ge=1, le=10)] | UnsetType = UNSET
    holds_webhooks: bool | UnsetType = UNSET
    settles_later: bool | UnsetType = UNSET
    is_unreachable: bool | UnsetType = UNSET
    declines_from: Annotated[int, Meta(ge=0, le=2**53)] | UnsetType | None = UNSET

    def changes(self) -> dict[str, Any]:
        """Return what is to change."""
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in given.items() if value is not UNSET}


class NewCard(Shape):
    """A card; without a year it expires in three."""

    number: Annotated[str, Meta(max_length=19)]
    exp_month: Annotated[int, Meta(ge=1, le=12)] = 12
    exp_year: Annotated[int, Meta(ge=2000, le=2999)] | None = None


class Authentication(Shape):
    """What the cardholder does when asked."""

    outcome: Literal["succeed", "fail"]


class NewChargeDispute(Shape):
    """How much of a charge the cardholder takes back, in minor units of its currency, and why; all if not said."""

    minor: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    reason: Annotated[str, Meta(max_length=80)] = "fraudulent"


class Closure(Shape):
    """How a dispute ends for us."""

    outcome: Literal["won", "lost"]


class NumberShown(Shape):
    """A card number that does more than succeed, and the code that it gives."""

    number: str
    behaviour: str
    code: str | None


class CardToken(Shape):
    """A card to add as a payment method."""

    token: str
    brand: str
    last4: str


class Delivered(Shape):
    """What the receiver of a webhook answered."""

    answer: str | None


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

    async def show_settings(self, tx: Tx) -> Settings:
        return await store.settings(tx)

    async def change_settings(self, tx: Tx, body: SettingsChange) -> Settings:
        changes = body.changes()
        if changes:
            await store.change_settings(tx, changes)
        return await store.settings(tx)

    async def list_numbers(self, tx: Tx) -> Items[NumberShown]:
        return whole([NumberShown(number, does, code or None) for number, (does, code) in CARDS.items()])

    async def make_card(self, tx: Tx, request: OwnRequest, body: NewCard) -> Created[CardToken]:
        year = request.at.year + 3 if body.exp_year is None else body.exp_year
        card = await self._simulator.make_card(tx, body.number, body.exp_month, year, request.at)
        return CardToken(card.id, card.brand, card.number[-4:])

    async def list_charges(self, tx: Tx) -> Items[SimCharge]:
        return whole(await store.charges(tx, _LISTED))

    async def authenticate(self, tx: Tx, request: OwnRequest, id: str, body: Authentication) -> SimCharge:
        await self._simulator.authenticate(tx, id, body.outcome == "succeed", request.at)
        charge = await store.charge(tx, id)
        assert charge is not None, "it was found in the line above"
        return charge

    async def list_disputes(self, tx: Tx, id: str) -> Items[Dispute]:
        return whole(await store.disputes(tx, id))

    async def open_dispute(self, tx: Tx, request: OwnRequest, id: str, body: NewChargeDispute) -> Created[Dispute]:
        return await self._simulator.open_dispute(tx, id, body.minor, body.reason, request.at)

    async def close_dispute(self, tx: Tx, request: OwnRequest, id: str, body: Closure) -> Dispute:
        return await self._simulator.close_dispute(tx, id, body.outcome == "won", request.at)

    async def list_webhooks(self, tx: Tx) -> Items[Webhook]:
        return whole(await store.webhooks(tx, _LISTED))

    async def deliver(self, tx: Tx, request: OwnRequest, id: str) -> Created[Delivered]:
        return Delivered(await self._simulator.deliver(tx, id, request.at))
