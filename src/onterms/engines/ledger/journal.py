"""Balances and the journal."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from onterms.core.db import Tx
from onterms.engines import jobs
from onterms.engines.ledger import store
from onterms.engines.ledger.model import (
    FUNDS_LOW,
    Balance,
    FundsKind,
    InsufficientFunds,
    KeyReused,
    Line,
    NoBalance,
    Posted,
    Receivable,
    Transaction,
)

_OVERSPENT = "ledger_funds_never_overspent"


async def open_balance(
    tx: Tx,
    customer_sid: str,
    currency: str,
    at: datetime,
    *,
    kind: FundsKind = "prepaid",
    credit_limit: int | None = None,
) -> Balance:
    """Make a customer's balance, or change an existing one's kind and credit limit.

    Raises: InsufficientFunds where a customer that owes becomes prepaid with holds that its money does not cover.
    """
    if kind == "prepaid" and credit_limit is not None:
        raise ValueError("a prepaid balance has no credit limit")
    if credit_limit is not None and credit_limit < 0:
        raise ValueError("a credit limit is not negative")
    floor = 0 if kind == "prepaid" else None if credit_limit is None else -credit_limit
    try:
        await store.open_funds(tx, customer_sid, currency, kind, floor, at)
    except asyncpg.CheckViolationError as error:
        raise _named(error) from error
    found = await balance(tx, customer_sid, currency)
    assert found is not None
    return found


async def balance(tx: Tx, customer_sid: str, currency: str) -> Balance | None:
    """Return a customer's balance in one currency, or None where it has none."""
    found = await store.funds_of(tx, customer_sid, currency)
    return found[0] if found else None


async def balances(tx: Tx, customer_sid: str) -> list[Balance]:
    """List a customer's balances by currency."""
    return await store.funds_of(tx, customer_sid, None)


async def entries(
    tx: Tx, customer_sid: str, *, account: str | None = None, after: tuple[int, int] = (0, 0), limit: int = 100
) -> list[Line]:
    """List a customer's journal, oldest first, from a (transaction id, place) on."""
    return await store.lines(tx, customer_sid, account, after, limit)


async def receivables(tx: Tx, customer_sid: str) -> list[Receivable]:
    """List what a customer owes by document, without those that are settled."""
    return await store.receivables(tx, customer_sid)


async def post(tx: Tx, transactions: Sequence[Transaction], at: datetime) -> list[Posted]:
    """Write transactions to the journal and return them in the same order; a repeated key is a no-op.

    Raises: KeyReused, NoBalance, InsufficientFunds: the caller's transaction has failed. ValueError for pending
    entries: holds are made by `hold`.
    """
    for transaction in transactions:
        if any(entry.is_pending for entry in transaction.posting.entries):
            raise ValueError("pending entries do not go into the journal")
    # Before the statement that moves them: one that waits for a lock checks the table's CHECKs on the row as it was.
    await store.lock_funds(tx, sorted({(each.customer_sid, each.currency) for each in transactions}))
    return await post_freeing(tx, transactions, {}, at)


async def post_freeing(
    tx: Tx, transactions: Sequence[Transaction], freed: dict[tuple[str, str], int], at: datetime
) -> list[Posted]:
    """Write the entries that are not pending and free funds of ended holds with the same statement; for holds.

    Shapes: the funds are locked.
    """
    unique: dict[tuple[str, str], Transaction] = {}
    for each in transactions:
        first = unique.setdefault((each.customer_sid, each.key), each)
        if first is not each and first.body_sha256() != each.body_sha256():
            raise KeyReused(f"the key {each.key} stands twice for different things")
    if not unique and not freed:
        return []
    wanted = sorted({(each.customer_sid, each.currency) for each in unique.values()} | freed.keys())
    try:
        made, funds, low = await store.post(tx, list(unique.values()), wanted, freed, at)
    except asyncpg.CheckViolationError as error:
        raise _named(error) from error
    if len(funds) < len(wanted):
        customer_sid, currency = next(key for key in wanted if key not in funds)
        raise NoBalance(f"{customer_sid} has no balance in {currency}")
    if low:
        await tell_low(tx, low, at)
    before = [key for key in unique if key not in made]
    known = await store.transactions_by_key(tx, before) if before else {}
    for key in before:
        if known[key][1] != unique[key].body_sha256():
            raise KeyReused(f"the key {key[1]} stands for another transaction")
    posted: list[Posted] = []
    seen: set[tuple[str, str]] = set()
    for each in transactions:
        key = (each.customer_sid, each.key)
        # A key that stands twice in one call is new once.
        posted.append(Posted(each.key, made[key] if key in made else known[key][0], key in made and key not in seen))
        seen.add(key)
    return posted


async def alert_below(tx: Tx, customer_sid: str, currency: str, micros: int | None) -> None:
    """Have a FUNDS_LOW job made once, when a posting takes `posted` below an amount; None for never.

    The statement that posts finds it, so watching costs what spends nothing.
    """
    await store.set_alert(tx, customer_sid, currency, micros)


async def tell_low(tx: Tx, funds: Sequence[store.FundsKey], at: datetime) -> None:
    """Make the job that tells that funds are low, or that more is owed than they cover."""
    made = [
        jobs.NewJob(FUNDS_LOW, {"customer_sid": customer_sid, "currency": currency})
        for customer_sid, currency in sorted(funds)
    ]
    await jobs.enqueue(tx, made, at)


def _named(error: Exception) -> Exception:
    if getattr(error, "constraint_name", None) == _OVERSPENT:
        return InsufficientFunds("the prepaid balance would fall below what is held")
    return error
