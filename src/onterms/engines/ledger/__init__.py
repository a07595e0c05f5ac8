"""The ledger: what customers own and owe, to the micro-unit, and the holds that keep them from spending it twice.

Theory of operation
-------------------

The journal is double entry and append-only: a transaction's entries sum to zero per currency, checked here and by the
database, and rows are never changed; a correction is another transaction. Its idempotency key belongs to the customer:
the same key with the same body is a no-op, with another body it is refused. `ledger_balances` is the sum of a
customer's entries by account, kept by the statement that inserts them.

`ledger_funds` is the one row per customer and currency that every hold is decided on. `posted` is what the customer can
spend: the prepaid balance, or for an invoiced customer what it left with us less what it owes. `held` is promised to
holds and leases. A hold goes through when posted - held stays at or above the floor: 0 for prepaid, minus the credit
limit for invoiced, none for no limit. The test and the change are one statement, so no concurrency overspends.

    hold: held -> captured (actual <= held, the rest is free again) | released | expired

A prepaid customer's funds never fall below what is held. What it owes beyond (a fee without a hold, a lost chargeback)
becomes a receivable, so `Balance.net` may be negative where `available` is not.

Who wants to know of low funds sets `alert_below`: the statement that moves funds compares, and the posting that takes
`posted` below it clears it and leaves one FUNDS_LOW job. A charge that funds do not cover leaves one always.

A busy customer would queue at that row, so workers take leases (`Leases`): chunks that are held first and then spent in
memory. A leased hold's row commits with the caller's transaction and so does a row that says how much of the chunk it
took; what is left of a chunk is always chunk - spending, also when its worker is gone. Whoever spends keeps the lease's
row FOR KEY SHARE, whoever returns the chunk deletes that row: a chunk is returned only when nobody is spending it, and
afterwards nobody can.

Locks are taken in the order funds, holds or leases, and by customer, so that batches do not wait for each other in a
circle.
"""

from onterms.engines.ledger import templates
from onterms.engines.ledger.holds import capture, charge, expire, extend, find, hold, lock, overdue, release
from onterms.engines.ledger.journal import (
    alert_below,
    balance,
    balances,
    entries,
    open_balance,
    post,
    receivables,
)
from onterms.engines.ledger.leases import Leases
from onterms.engines.ledger.model import (
    FUNDS_LOW,
    Balance,
    Capture,
    Captured,
    CaptureOutcome,
    Charge,
    Duplicate,
    Ended,
    Entry,
    Extended,
    ExtendOutcome,
    Extension,
    Held,
    Hold,
    HoldKey,
    HoldOutcome,
    HoldRequest,
    Insufficient,
    InsufficientFunds,
    KeyReused,
    Line,
    NoBalance,
    Posted,
    Posting,
    Receivable,
    Released,
    ReleaseOutcome,
    Split,
    TooMuch,
    Transaction,
    Unbalanced,
    Unknown,
)
from onterms.engines.ledger.verify import Violation, verify, verify_ledger

__all__ = [
    "FUNDS_LOW",
    "Balance",
    "Capture",
    "CaptureOutcome",
    "Captured",
    "Charge",
    "Duplicate",
    "Ended",
    "Entry",
    "ExtendOutcome",
    "Extended",
    "Extension",
    "Held",
    "Hold",
    "HoldKey",
    "HoldOutcome",
    "HoldRequest",
    "Insufficient",
    "InsufficientFunds",
    "KeyReused",
    "Leases",
    "Line",
    "NoBalance",
    "Posted",
    "Posting",
    "Receivable",
    "ReleaseOutcome",
    "Released",
    "Split",
    "TooMuch",
    "Transaction",
    "Unbalanced",
    "Unknown",
    "Violation",
    "alert_below",
    "balance",
    "balances",
    "capture",
    "charge",
    "entries",
    "expire",
    "extend",
    "find",
    "hold",
    "lock",
    "open_balance",
    "overdue",
    "post",
    "receivables",
    "release",
    "templates",
    "verify",
    "verify_ledger",
]
