"""Payments: the state machines as tables, who pays when, and how money settles what is owed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from onterms.core.calendar import plus_days

# Clause 3.3.2(b): thirty days from the date of the invoice, where nothing else was agreed.
NET_DAYS = 30
# The legal grounds on which paid Fees go back; all else stays paid (3.3).
BASES = ("5.4", "6.1.2", "sla", "error", "dispute", "goodwill")
# Unused funds go back on these grounds only; credits for service levels and disputes are about Fees.
PREPAID_BASES = ("5.4", "6.1.2", "error", "goodwill")
# Stripe docs: amounts have at most eight digits, so 999,999.99 of most currencies.
AMOUNT_MAX = 999_999_990_000
# What a sandbox's first customer starts with.
SANDBOX_CREDIT = 1_000_000_000

MethodKind = Literal["card", "invoice"]
Policy = Literal["off", "propose", "auto"]


class Move(NamedTuple):
    """Where an event leads: what is done on the way, and the next state."""

    effects: tuple[str, ...]
    next: str


# ---- top-ups. What stands in no row is stale news and changes nothing: events come late, twice and out of order.

_SUCCEEDED = Move(("credit", "settle", "announce", "review"), "succeeded")
_FAILED = Move(("announce", "pause_recharge", "review_declined"), "failed")
_ACTION = Move(("announce",), "needs_action")

TOP_UP: dict[tuple[str, str], Move] = {
    ("created", "begin"): Move((), "processing"),
    # A job that runs again after its answer was lost repeats the command under the same key.
    ("processing", "begin"): Move((), "processing"),
    ("created", "succeeded"): _SUCCEEDED,
    ("processing", "succeeded"): _SUCCEEDED,
    ("needs_action", "succeeded"): _SUCCEEDED,
    # The provider took the money after all: it is the customer's.
    ("failed", "succeeded"): _SUCCEEDED,
    ("created", "failed"): _FAILED,
    ("processing", "failed"): _FAILED,
    ("needs_action", "failed"): _FAILED,
    ("created", "needs_action"): _ACTION,
    ("processing", "needs_action"): _ACTION,
}

# ---- chargebacks; a verdict may overtake the news that there is a dispute.

CHARGEBACK: dict[tuple[str, str], Move] = {
    ("none", "opened"): Move(("park",), "opened"),
    ("none", "won"): Move(("park", "return"), "won"),
    ("none", "lost"): Move(("park", "take", "review"), "lost"),
    ("opened", "won"): Move(("return",), "won"),
    ("opened", "lost"): Move(("take", "review"), "lost"),
}

# ---- refunds

REFUND: dict[tuple[str, str], Move] = {
    ("created", "processing"): Move((), "processing"),
    ("created", "succeeded"): Move(("announce",), "succeeded"),
    ("processing", "succeeded"): Move(("announce",), "succeeded"),
    ("created", "failed"): Move(("reverse", "announce"), "failed"),
    ("processing", "failed"): Move(("reverse", "announce"), "failed"),
    # Stripe docs: a refund that had succeeded may still fail when the card's bank sends it back.
    ("succeeded", "failed"): Move(("reverse", "announce"), "failed"),
}

# ---- invoicing applications (3.3.2)

APPLICATION: dict[tuple[str, str], Move] = {
    ("requested", "approve"): Move(("announce",), "approved"),
    ("requested", "decline"): Move(("announce",), "declined"),
    ("requested", "withdraw"): Move((), "withdrawn"),
    ("approved", "withdraw"): Move(("require_card_method",), "withdrawn"),
}

# ---- prepaid standing (3.3.1). `short`: Fees are due that the funds do not cover. `declined`: and a card refused.

STANDING: dict[tuple[str, str], Move] = {
    ("ok", "short"): Move(("block_new_accounts",), "insufficient"),
    ("ok", "declined"): Move(("block_new_accounts", "suspend"), "suspended"),
    ("insufficient", "declined"): Move(("suspend",), "suspended"),
    ("insufficient", "approved"): Move(("suspend",), "suspended"),
    ("insufficient", "paid"): Move(("lift",), "ok"),
    ("suspended", "paid"): Move(("lift",), "ok"),
}


@dataclass(frozen=True, slots=True)
class Card:
    """A card on file."""

    customer_sid: str
    sid: str
    provider: str
    reference: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    created_at: datetime

    def is_expired(self, on: date) -> bool:
        """Tell whether the card's last month is over."""
        return (self.exp_year, self.exp_month) < (on.year, on.month)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a customer pays and where it stands under 3.3.1."""

    customer_sid: str
    method: MethodKind
    card_sid: str | None
    state: str
    cause: str
    since: datetime
    proposed_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class TopUp:
    """Money for the prepaid balance, from a card."""

    customer_sid: str
    sid: str
    origin: str
    card_sid: str | None
    provider: str
    currency: str
    micros: int
    state: str
    reference: str | None
    failure_code: str | None
    failure_message: str | None
    action: str | None
    idempotency_key: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Chargeback:
    """A top-up that the cardholder takes back."""

    customer_sid: str
    sid: str
    top_up_sid: str
    provider: str
    reference: str
    micros: int
    state: str
    reason: str
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class AutoRecharge:
    """When and by how much the balance is filled up by itself."""

    customer_sid: str
    currency: str
    threshold: int
    amount: int
    cap_per_day: int
    state: str
    reason: str
    version: int

    @property
    def is_on(self) -> bool:
        """Tell whether it charges by itself."""
        return self.state == "on"


def alert_level(posted: int, threshold: int, owed: int) -> int | None:
    """Return below what funds are to be looked at again: the next of the marks that they have not passed yet."""
    return max((mark for mark in (threshold, owed) if 0 < mark <= posted), default=None)


@dataclass(frozen=True, slots=True)
class Application:
    """A request to pay by invoice."""

    customer_sid: str
    sid: str
    state: str
    currency: str
    note: str
    credit_limit: int | None
    net_days: int | None
    reason: str
    decided_by: str | None
    decided_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that came in by bank. Shapes: instruction lists [document, amount or None for all of it]."""

    customer_sid: str
    sid: str
    currency: str
    micros: int
    received_on: date
    reference: str
    instruction: list[list[Any]]
    recorded_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Refund:
    """Money paid back, with the ground it stands on."""

    customer_sid: str
    sid: str
    source_sid: str
    provider: str
    basis: str
    taken_from: Literal["prepaid_balance", "refunds"]
    currency: str
    micros: int
    state: str
    reference: str | None
    failure: str | None
    note: str
    requested_by: str
    idempotency_key: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """What the order form in force says of paying; None where it says nothing."""

    net_days: int | None = None
    currency: str | None = None
    order_form_sid: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """How a customer pays: an order form's word first, else that of the chosen method (3.3)."""

    method: MethodKind
    net_days: int
    currency: str
    source: Literal["order_form", "approval", "method"]
    order_form_sid: str | None = None

    def due_on(self, invoice_date: date) -> date:
        """Return the last day on which an invoice of this date is paid in time."""
        return plus_days(invoice_date, self.net_days)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What we stand to lose with an invoiced customer."""

    customer_sid: str
    currency: str
    unbilled: int
    receivable: int
    credit_limit: int | None

    @property
    def total(self) -> int:
        """Return all that is owed or will be billed."""
        return self.unbilled + self.receivable

    @property
    def is_over(self) -> bool:
        """Tell whether it is beyond the limit."""
        return self.credit_limit is not None and self.total > self.credit_limit


# ---- settlement (C7)


@dataclass(frozen=True, slots=True)
class OpenDocument:
    """What is still due on a document, without disputed parts; no document is what is owed without one."""

    document: str | None
    currency: str
    due_on: date | None
    taxes: int
    surcharges: int
    fees: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """What some money settled on a document."""

    document: str | None
    taxes: int
    surcharges: int
    fees: int

    @property
    def total(self) -> int:
        """Return all of it."""
        return self.taxes + self.surcharges + self.fees


def settle(
    micros: int,
    documents: Sequence[OpenDocument],
    limits: Mapping[str | None, int],
    instruction: Sequence[tuple[str, int | None]] = (),
) -> list[Allocation]:
    """Spread money over what is due: as the customer says, then the oldest due date; in it taxes, surcharges, fees.

    Shapes: `limits` is what the ledger holds due by document, which is never passed.
    """
    by_sid = {each.document: each for each in documents}
    oldest = sorted(documents, key=lambda each: (each.due_on or date.min, each.document or ""))
    wanted = [(document, amount) for document, amount in instruction if document in by_sid]
    parts: dict[str | None, list[int]] = {}
    left = micros
    for document, amount in [*wanted, *((each.document, None) for each in oldest)]:
        given = parts.setdefault(document, [0, 0, 0])
        due = by_sid[document]
        room = min(left, limits.get(document, 0) - sum(given))
        if amount is not None:
            room = min(room, amount)
        for place, of in enumerate((due.taxes, due.surcharges, due.fees)):
            taken = max(0, min(room, of - given[place]))
            given[place] += taken
            room -= taken
            left -= taken
    return [Allocation(document, *given) for document, given in parts.items() if sum(given)]
