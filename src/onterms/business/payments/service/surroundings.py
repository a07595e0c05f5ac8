"""What the room needs of others, and what every use case here does alike."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from onterms.business import customers, standing
from onterms.business.payments.model import Allocation, OpenDocument, OrderTerms, Policy
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.money import is_currency, minor_digits
from onterms.engines import audit, ledger
from onterms.ports.payment_gateway import PaymentGateway

# (tx, customer, "new_accounts" or "services", cause, at): keep a customer from something until it is lifted.
SetBlock = Callable[[Tx, str, str, str, datetime], Awaitable[None]]
# (tx, customer, cause, at): lift what this room had blocked.
Lift = Callable[[Tx, str, str, datetime], Awaitable[None]]
Orders = Callable[[Tx, str, date], Awaitable[OrderTerms | None]]
# (tx, customer, source, currency, allocations, the day on which it counts, at): told in the transaction that settled;
# the ledger has it already.
Allocated = Callable[[Tx, str, str, str, Sequence[Allocation], date, datetime], Awaitable[None]]
OpenDocuments = Callable[[Tx, str], Awaitable[list[OpenDocument]]]

OPERATOR = "operator"
SYSTEM = "system"
_SOURCE = "payments"


async def no_orders(tx: Tx, customer_sid: str, on: date) -> OrderTerms | None:
    """Know of no order forms."""
    return None


async def debts_without_documents(tx: Tx, customer_sid: str) -> list[OpenDocument]:
    """List what is owed without a document: documents are the business of whoever made them."""
    due = await ledger.receivables(tx, customer_sid)
    return [
        OpenDocument(None, each.currency, None, 0, 0, each.undisputed)
        for each in due
        if each.document is None and each.undisputed > 0
    ]


async def tell_nobody(
    tx: Tx, customer_sid: str, source_sid: str, currency: str, made: Sequence[Allocation], on: date, at: datetime
) -> None:
    """Let allocations be told by the event alone."""


async def bill_nobody(tx: Tx, customer_sid: str, at: datetime) -> None:
    """Let an approval of invoicing be told by the event alone."""


async def block_by_standing(tx: Tx, customer_sid: str, what: str, cause: str, at: datetime) -> None:
    """Set the block of 3.3.1 for the whole customer: on new accounts, or on everything."""
    kind: standing.Kind = "everything" if what == "services" else "new_accounts"
    await standing.set_block(
        tx, customer_sid, _SOURCE, kind, standing.Scope(), "prepaid_empty", "3.3.1", what, at, actor=SYSTEM
    )


async def lift_by_standing(tx: Tx, customer_sid: str, cause: str, at: datetime) -> None:
    """Lift what this room had blocked; blocks of others stay."""
    for what in ("services", "new_accounts"):
        await standing.lift(tx, customer_sid, _SOURCE, what, at, actor=SYSTEM)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Whom the room asks and tells.

    Shapes: `open_documents` lists what money may settle, debts without a document among it, and `allocated` hears of
    what it settled. `provider` names the gateway that new cards go to, empty where cards are not
    taken; `play_provider` that of a sandbox's own money, if another. `prepaid_policy` says what follows when prepaid
    Fees are due and a card declined.
    """

    gateways: Mapping[str, PaymentGateway]
    provider: str
    set_block: SetBlock = block_by_standing
    lift: Lift = lift_by_standing
    orders: Orders = no_orders
    open_documents: OpenDocuments = debts_without_documents
    allocated: Allocated = tell_nobody
    # (tx, customer, at): from now on the customer is billed by month.
    invoicing_approved: Callable[[Tx, str, datetime], Awaitable[None]] = bill_nobody
    prepaid_policy: Policy = "auto"
    play_provider: str = ""


async def record(
    tx: Tx,
    customer_sid: str,
    actor: str,
    what: tuple[str, str],
    states: tuple[str | None, str],
    cause: str,
    evidence: dict[str, Any],
    at: datetime,
) -> None:
    """Write one move into the customer's audit chain: `what` is (aggregate, its SID), `states` (from, to)."""
    entry = audit.AuditEvent(customer_sid, actor, *what, *states, cause, evidence)
    await audit.record(tx, [entry], at)


def check_amount(micros: int, currency: str) -> None:
    """Refuse what no card or bank can move.

    Raises: InvalidParameter.
    """
    if not is_currency(currency):
        raise InvalidParameter("'currency' must be a currency of ISO 4217 that is billed in")
    if micros <= 0:
        raise InvalidParameter("'amount' must be above zero")
    if micros % 10 ** (6 - minor_digits(currency)):
        raise InvalidParameter(f"'amount' must have at most {minor_digits(currency)} decimals in {currency}")


async def open_balance(tx: Tx, customer_sid: str, currency: str, at: datetime) -> ledger.Balance:
    """Return the customer's balance and keep it from others until the transaction ends, making it where needed."""
    found = await ledger.balance(tx, customer_sid, currency)
    if found is None:
        return await ledger.open_balance(tx, customer_sid, currency, at)
    return await ledger.open_balance(tx, customer_sid, currency, at, kind=found.kind, credit_limit=found.credit_limit)


async def require_currency(tx: Tx, customer_sid: str, currency: str) -> customers.Customer:
    """Refuse a currency in which the customer has nothing to pay (3.3.2) and return the customer.

    Raises: NotFound, InvalidParameter.
    """
    customer = await customers.require(tx, customer_sid)
    if currency != customer.currency and await ledger.balance(tx, customer_sid, currency) is None:
        raise InvalidParameter(
            f"This customer pays in {customer.currency}", details={"clause": "3.3.2", "reason": "other_currency"}
        )
    return customer
