"""What the simulator's cards do, and the shapes it keeps."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Behaviour = Literal["succeed", "decline", "needs_action", "dispute"]

# Stripe docs, "Test card numbers": the numbers that developers know, with the codes that these give there.
CARDS: dict[str, tuple[Behaviour, str]] = {
    "4242424242424242": ("succeed", ""),
    "5555555555554444": ("succeed", ""),
    "4000000000000002": ("decline", "card_declined"),
    "4000000000009995": ("decline", "insufficient_funds"),
    "4000000000009987": ("decline", "lost_card"),
    "4000000000000069": ("decline", "expired_card"),
    "4000000000000119": ("decline", "processing_error"),
    "4000002500003155": ("needs_action", "authentication_required"),
    "4000000000000259": ("dispute", "fraudulent"),
}
# Tokens that need no card to be made first: `sim_<number>`.
TOKEN_PREFIX = "sim_"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the provider behaves now."""

    webhook_delay_s: int
    webhook_copies: int
    holds_webhooks: bool
    settles_later: bool
    is_unreachable: bool
    declines_from: int | None


@dataclass(frozen=True, slots=True)
class Card:
    """A card; the customer is the provider's id of it."""

    id: str
    customer: str | None
    number: str
    brand: str
    exp_month: int
    exp_year: int


@dataclass(frozen=True, slots=True)
class SimCharge:
    """A charge. Units: minor units of the currency. Shapes: `told` is what we said it was for."""

    id: str
    customer: str
    card: str
    minor: int
    refunded: int
    currency: str
    state: str
    code: str | None
    told: dict[str, Any]
    at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A charge that the cardholder takes back."""

    id: str
    charge: str
    minor: int
    state: str
    reason: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Webhook:
    """An event with what became of its deliveries."""

    id: str
    kind: str
    body: str
    at: datetime
    deliveries: int
    answer: str | None


def is_card_number(text: str) -> bool:
    """Tell whether digits are a card number by their check digit (ISO/IEC 7812-1, annex B)."""
    if not (12 <= len(text) <= 19 and text.isascii() and text.isdigit()):
        return False
    doubled = (int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(text)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def brand_of(number: str) -> str:
    """Return the brand by the first digits (ISO/IEC 7812)."""
    return {"4": "visa", "5": "mastercard", "3": "amex"}.get(number[0], "unknown")


def behaviour_of(number: str, exp_month: int, exp_year: int, on: datetime) -> tuple[Behaviour, str]:
    """Return what a charge of this card does; an ordinary number succeeds until the card has expired."""
    if (exp_year, exp_month) < (on.year, on.month):
        return "decline", "expired_card"
    return CARDS.get(number, ("succeed", ""))
