"""Money that came in by bank, and what money settles."""

from collections.abc import Sequence
from datetime import date, datetime

from onterms.business import customers
from onterms.business.payments import events, store
from onterms.business.payments.errors import Conflict
from onterms.business.payments.model import Allocation, Payment, settle
from onterms.business.payments.service import standing
from onterms.business.payments.service.surroundings import (
    Surroundings,
    check_amount,
    open_balance,
    record,
    require_currency,
)
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.core.money import decimal_text
from onterms.engines import ledger

BANK = "bank"
Instruction = Sequence[tuple[str, int | None]]


async def record_payment(
    env: Surroundings,
    tx: Tx,
    customer_sid: str,
    micros: int,
    currency: str,
    received_on: date,
    reference: str,
    actor: str,
    at: datetime,
    *,
    instruction: Instruction = (),
) -> Payment:
    """Enter a bank transfer and settle what is due with it; the same transfer entered again is the same payment.

    Raises: InvalidParameter, NotFound; Conflict where the bank's reference stands for another payment.
    """
    check_amount(micros, currency)
    if not reference.strip():
        raise InvalidParameter("'reference' must be the bank's reference of the transfer")
    if received_on > day_of(at):
        raise InvalidParameter("'received_on' must not be in the future")
    await require_currency(tx, customer_sid, currency)
    await store.lock(tx, customer_sid, at)
    wanted = [[document, amount] for document, amount in instruction]
    known = await store.payment(tx, customer_sid, reference=reference)
    if known is not None:
        if (known.micros, known.currency, known.received_on, known.instruction) != (
            micros,
            currency,
            received_on,
            wanted,
        ):
            raise Conflict("This reference was entered for another payment", "3.3", "reference_reused", sid=known.sid)
        return known
    made = Payment(customer_sid, new_sid("PY", at), currency, micros, received_on, reference, wanted, actor, at)
    await store.insert_payment(tx, made)
    await open_balance(tx, customer_sid, currency, at)
    posting = ledger.templates.payment(micros, BANK)
    memo = {"payment_sid": made.sid, "received_on": received_on.isoformat()}
    await ledger.post(tx, [ledger.Transaction(customer_sid, currency, f"payment:{made.sid}", posting, memo)], at)
    told = {"amount": decimal_text(micros), "currency": currency, "reference": reference, **memo}
    await record(tx, customer_sid, actor, ("payment", made.sid), (None, "recorded"), "bank transfer", told, at)
    await customers.announce(tx, customer_sid, events.PAYMENT_RECORDED, told, at)
    await allocate(env, tx, customer_sid, made.sid, currency, micros, at, instruction=instruction, on=received_on)
    await standing.review(env, tx, customer_sid, at)
    return made


async def allocate(
    env: Surroundings,
    tx: Tx,
    customer_sid: str,
    source_sid: str,
    currency: str,
    micros: int,
    at: datetime,
    *,
    instruction: Instruction = (),
    on: date | None = None,
) -> list[Allocation]:
    """Settle what is due with so much of the customer's money: as it says, else the oldest due date first (C7).

    Shapes: `on` is the day on which the money counts as paid, today if not given: a transfer may be entered late.

    Raises: InvalidParameter where the instruction names a document on which nothing is due.
    """
    documents = [each for each in await env.open_documents(tx, customer_sid) if each.currency == currency]
    unknown = {document for document, _ in instruction} - {each.document for each in documents}
    if unknown:
        raise InvalidParameter(f"Nothing is due on {', '.join(sorted(unknown))}")
    due = await ledger.receivables(tx, customer_sid)
    limits = {each.document: each.undisputed for each in due if each.currency == currency}
    balance = await open_balance(tx, customer_sid, currency, at)
    # What a prepaid customer's holds have promised is not free to settle anything.
    spendable = -balance.accounts.get("prepaid_balance", 0) - (balance.held if balance.kind == "prepaid" else 0)
    made = settle(max(0, min(micros, spendable)), documents, limits, instruction)
    if not made:
        return []
    posting = ledger.templates.allocation({each.document: each.total for each in made})
    before = await store.allocations(tx, customer_sid, source_sid)
    key = f"allocation:{source_sid}:{len(before)}"
    await ledger.post(tx, [ledger.Transaction(customer_sid, currency, key, posting, {"source_sid": source_sid})], at)
    await store.insert_allocations(tx, customer_sid, source_sid, currency, made, at)
    await env.allocated(tx, customer_sid, source_sid, currency, made, on or day_of(at), at)
    settled = {each.document or "": decimal_text(each.total) for each in made}
    data = {"source_sid": source_sid, "currency": currency, "documents": settled}
    await customers.announce(tx, customer_sid, events.PAYMENT_ALLOCATED, data, at)
    return made


async def settle_credit(
    env: Surroundings, tx: Tx, customer_sid: str, currency: str, cause_sid: str, at: datetime
) -> int:
    """Settle what is due with money that an earlier payment left over, and return how much that was.

    Shapes: `cause_sid` is why now: the invoice that was just made.
    """
    await store.lock(tx, customer_sid, at)
    balance = await open_balance(tx, customer_sid, currency, at)
    left = max(0, -balance.accounts.get("prepaid_balance", 0))
    made = await allocate(env, tx, customer_sid, cause_sid, currency, left, at)
    return sum(each.total for each in made)


async def fetch_payment(tx: Tx, customer_sid: str, sid: str) -> Payment:
    """Return a payment.

    Raises: NotFound.
    """
    found = await store.payment(tx, customer_sid, sid=sid)
    if found is None:
        raise NotFound(f"The payment {sid} was not found")
    return found
