"""What must always be true of the ledger, looked for in the rows."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from onterms.core.db import Database, Tx
from onterms.core.money import decimal_text


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, numbered as in the design of the terms."""

    invariant: int
    customer_sid: str
    what: str


# One statement, so that all of it looks at the same moment.
# tenant: the operator checks the books of all customers.
_VERIFY = """
WITH spent AS (
    SELECT customer_sid, lease_id, sum(micros)::bigint AS micros FROM ledger_lease_spending
    GROUP BY customer_sid, lease_id
), leased AS (
    SELECT lease.customer_sid, lease.currency, lease.id, lease.chunk, coalesce(spent.micros, 0) AS spent
    FROM ledger_leases AS lease LEFT JOIN spent ON spent.customer_sid = lease.customer_sid AND spent.lease_id = lease.id
), promised AS (
    SELECT customer_sid, currency, sum(holds)::bigint AS holds, sum(leases)::bigint AS leases FROM (
        SELECT customer_sid, currency, micros AS holds, 0 AS leases FROM ledger_holds WHERE state = 'held'
        UNION ALL SELECT customer_sid, currency, 0, chunk - spent FROM leased
    ) AS each GROUP BY customer_sid, currency
), journal AS (
    SELECT customer_sid, currency, account, sum(micros)::bigint AS micros FROM ledger_entries
    GROUP BY customer_sid, currency, account
), documents AS (
    SELECT customer_sid, currency, account, document, sum(micros)::bigint AS micros FROM ledger_entries
    WHERE account IN ('receivable', 'receivable_disputed') GROUP BY customer_sid, currency, account, document
), captured AS (
    SELECT customer_sid, ended_by AS key, sum(captured)::bigint AS micros, count(*) AS holds FROM ledger_holds
    WHERE state = 'captured' GROUP BY customer_sid, ended_by
), posted AS (
    SELECT made.customer_sid, made.key, sum(entry.micros)::bigint AS micros, (made.memo ->> 'holds')::bigint AS holds
    FROM ledger_transactions AS made JOIN ledger_entries AS entry
         ON entry.customer_sid = made.customer_sid AND entry.transaction_id = made.id
    WHERE made.kind = 'capture' AND entry.account IN ('prepaid_balance', 'unbilled')
    GROUP BY made.customer_sid, made.key, made.memo
)
SELECT 1 AS invariant, customer_sid,
       format('transaction %s sums to %s %s', transaction_id, sum(micros), currency) AS what
FROM ledger_entries GROUP BY customer_sid, transaction_id, currency HAVING sum(micros) <> 0
UNION ALL
SELECT 1, customer_sid, format('the balance of %s is %s %s and its entries sum to %s', account,
                               coalesce(balance.micros, 0), currency, coalesce(journal.micros, 0))
FROM ledger_balances AS balance FULL JOIN journal USING (customer_sid, currency, account)
WHERE coalesce(balance.micros, 0) <> coalesce(journal.micros, 0)
UNION ALL
SELECT 2, customer_sid, format('%s %s are posted and %s held', currency, posted, held)
FROM ledger_funds WHERE kind = 'prepaid' AND posted < held
UNION ALL
SELECT 2, funds.customer_sid, format('%s %s are posted and the entries sum to %s', funds.currency, funds.posted,
                                      sums.micros)
FROM ledger_funds AS funds CROSS JOIN LATERAL (
    SELECT -coalesce(sum(journal.micros), 0)::bigint AS micros FROM journal
    WHERE journal.customer_sid = funds.customer_sid AND journal.currency = funds.currency
      AND (journal.account = 'prepaid_balance' OR (
           funds.kind = 'invoiced' AND journal.account IN ('unbilled', 'receivable', 'receivable_disputed')))
) AS sums WHERE funds.posted <> sums.micros
UNION ALL
SELECT 3, customer_sid, format('%s %s are held and open holds and leases sum to %s', currency, coalesce(funds.held, 0),
                               coalesce(promised.holds + promised.leases, 0))
FROM ledger_funds AS funds FULL JOIN promised USING (customer_sid, currency)
WHERE coalesce(funds.held, 0) <> coalesce(promised.holds + promised.leases, 0)
UNION ALL
SELECT 4, customer_sid, format('capture %s posts %s for %s holds, and %s holds were captured with it for %s', key,
                               coalesce(posted.micros, 0), coalesce(posted.holds, 0), coalesce(captured.holds, 0),
                               coalesce(captured.micros, 0))
FROM captured FULL JOIN posted USING (customer_sid, key)
WHERE (captured.micros, captured.holds) IS DISTINCT FROM (posted.micros, posted.holds)
UNION ALL
SELECT 4, customer_sid, format('hold %s is %s and has an end of another kind', id, state) FROM ledger_holds
WHERE (state = 'held') <> (ended_at IS NULL) OR (state = 'captured') <> (captured > 0 AND ended_by IS NOT NULL)
   OR captured > micros
UNION ALL
SELECT 9, customer_sid, format('%s of %s is %s %s', account, coalesce(document, 'no document'), micros, currency)
FROM documents WHERE micros < 0
UNION ALL
SELECT 27, leased.customer_sid, format('lease %s of %s has spent %s and its holds sum to %s', leased.id, leased.chunk,
                                       leased.spent, holds.micros)
FROM leased CROSS JOIN LATERAL (
    SELECT coalesce(sum(hold.micros - hold.extended), 0)::bigint AS micros FROM ledger_holds AS hold
    WHERE hold.customer_sid = leased.customer_sid AND hold.lease_id = leased.id
) AS holds WHERE leased.spent > leased.chunk OR leased.spent <> holds.micros
UNION ALL
SELECT 27, customer_sid, format('leases have %s %s left of %s', promised.leases, currency, funds.posted)
FROM promised JOIN ledger_funds AS funds USING (customer_sid, currency)
WHERE funds.kind = 'prepaid' AND promised.leases + promised.holds > funds.posted
ORDER BY 1, 2, 3
"""


async def verify(tx: Tx, open_invoices: Mapping[tuple[str, str], int] | None = None) -> list[Violation]:
    """List what is wrong with the books: invariants 1, 2, 3, 4, 9 and 27.

    Shapes: open_invoices, where given, is what open invoices sum to by customer and currency; receivables without a
    document are not part of it.
    """
    rows = await tx.fetch(_VERIFY)
    found = [Violation(row["invariant"], row["customer_sid"], row["what"]) for row in rows]
    if open_invoices is not None:
        found += await _verify_invoices(tx, open_invoices)
    return found


# tenant: the operator checks the books of all customers.
async def _verify_invoices(tx: Tx, open_invoices: Mapping[tuple[str, str], int]) -> list[Violation]:
    rows = await tx.fetch(
        """
        SELECT customer_sid, currency, sum(micros)::bigint AS micros FROM ledger_entries
        WHERE account IN ('receivable', 'receivable_disputed') AND document IS NOT NULL
        GROUP BY customer_sid, currency
        """
    )
    due = {(row["customer_sid"], row["currency"]): row["micros"] for row in rows}
    return [
        Violation(
            9,
            key[0],
            f"receivables are {decimal_text(due.get(key, 0))} {key[1]} and open invoices "
            f"{decimal_text(open_invoices.get(key, 0))}",
        )
        for key in sorted(due.keys() | open_invoices.keys())
        if due.get(key, 0) != open_invoices.get(key, 0)
    ]


async def verify_ledger(
    database: Database, open_invoices: Callable[[Tx], Awaitable[Mapping[tuple[str, str], int]]] | None = None
) -> tuple[int, list[str]]:
    """Check the books for the command line: an exit status and lines to print.

    Shapes: open_invoices tells what open documents sum to by customer and currency; the ledger knows no invoices.
    """
    async with database.transaction() as tx:
        # Invoices and ledger are looked at in several statements, which must see one moment.
        await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        found = await verify(tx, None if open_invoices is None else await open_invoices(tx))
    lines = [f"invariant {each.invariant}, {each.customer_sid}: {each.what}" for each in found]
    return (1 if found else 0), lines or ["The ledger is in order."]
