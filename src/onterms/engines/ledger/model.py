"""What the ledger speaks of. Amounts are micro-units; debits are positive."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from onterms.core.errors import OntermsError

FundsKind = Literal["prepaid", "invoiced"]
HoldState = Literal["held", "captured", "released", "expired"]

PREPAID = "prepaid_balance"
PREPAID_HOLD = "prepaid_hold"
UNBILLED = "unbilled"
RECEIVABLE = "receivable"
DISPUTED = "receivable_disputed"
# What an invoiced customer's `posted` is made of; of a prepaid customer's only the first counts.
FUNDS_ACCOUNTS = (PREPAID, UNBILLED, RECEIVABLE, DISPUTED)


# The job that tells a customer's funds are low: payload {customer_sid, currency}.
FUNDS_LOW = "ledger.funds_low"


class LedgerError(OntermsError):
    """The ledger was asked for what it must not do; the caller's transaction cannot go on."""


class Unbalanced(LedgerError):
    """The entries do not sum to zero."""


class KeyReused(LedgerError):
    """The idempotency key stands for something else."""


class NoBalance(LedgerError):
    """The customer has no balance in this currency; `open_balance` makes one."""


class InsufficientFunds(LedgerError):
    """The entries would take a prepaid balance below what is held."""


# ---- the journal


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a transaction.

    Shapes: document is the SID of the invoice or note that a receivable stands on. A pending entry is a hold's: it
    counts in `held` and does not go into the journal.
    """

    account: str
    micros: int
    document: str | None = None
    is_pending: bool = False


@dataclass(frozen=True, slots=True)
class Posting:
    """What a template makes: a kind and entries that sum to zero."""

    kind: str
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        for is_pending in (False, True):
            total = sum(entry.micros for entry in self.entries if entry.is_pending == is_pending)
            if total:
                raise Unbalanced(f"the entries of a {self.kind} sum to {total} micro-units")


@dataclass(frozen=True, slots=True)
class Transaction:
    """A posting for one customer in one currency, under an idempotency key of the customer's."""

    customer_sid: str
    currency: str
    key: str
    posting: Posting
    memo: Mapping[str, Any] = field(default_factory=dict)

    def body_sha256(self) -> bytes:
        """Hash what a repeat of the key has to repeat."""
        entries = [(entry.account, entry.micros, entry.document) for entry in self.posting.entries]
        body = (self.currency, self.posting.kind, entries, self.memo)
        return hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()


@dataclass(frozen=True, slots=True)
class Posted:
    """A transaction of the journal; it was there before unless it is new."""

    key: str
    id: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Line:
    """An entry of the journal with its transaction."""

    transaction_id: int
    place: int
    at: datetime
    kind: str
    key: str
    currency: str
    account: str
    micros: int
    document: str | None
    memo: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Receivable:
    """What is due on one document."""

    document: str | None
    currency: str
    undisputed: int
    disputed: int


@dataclass(frozen=True, slots=True)
class Balance:
    """What a customer can spend and what it owes, in one currency."""

    customer_sid: str
    currency: str
    kind: FundsKind
    posted: int
    held: int
    credit_limit: int | None
    accounts: Mapping[str, int]

    @property
    def available(self) -> int | None:
        """Return what new holds may take, or None where nothing limits them."""
        if self.kind == "prepaid":
            return self.posted - self.held
        return None if self.credit_limit is None else self.posted - self.held + self.credit_limit

    @property
    def owed(self) -> int:
        """Return what was billed and not paid, disputed or not."""
        return self.accounts.get(RECEIVABLE, 0) + self.accounts.get(DISPUTED, 0)

    @property
    def net(self) -> int:
        """Return what is left of the prepaid balance when all that is owed or unbilled is taken off."""
        return -sum(self.accounts.get(account, 0) for account in FUNDS_ACCOUNTS)


@dataclass(frozen=True, slots=True)
class Split:
    """An amount by what it is for.

    Shapes: taxes by jurisdiction. Units: micro-units, negative where usage is corrected.
    """

    service: str
    fee: int = 0
    surcharge: int = 0
    taxes: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Return all of it."""
        return self.fee + self.surcharge + sum(self.taxes.values())


# ---- holds


class HoldKey(NamedTuple):
    """Which hold: ids are the customer's."""

    customer_sid: str
    id: str


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """Funds to be set aside until they are captured, released or `expires_at` has come."""

    id: str
    account_sid: str
    customer_sid: str
    currency: str
    micros: int
    expires_at: datetime
    purpose: str

    def __post_init__(self) -> None:
        if self.micros <= 0:
            raise ValueError("a hold is for more than nothing")

    @property
    def key(self) -> HoldKey:
        """Return the key of the hold it makes."""
        return HoldKey(self.customer_sid, self.id)


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as it stands.

    Shapes: `captured` is above zero only for one that was captured.
    """

    customer_sid: str
    id: str
    account_sid: str
    currency: str
    micros: int
    purpose: str
    state: HoldState
    captured: int
    created_at: datetime

    @property
    def key(self) -> HoldKey:
        """Return its key."""
        return HoldKey(self.customer_sid, self.id)


@dataclass(frozen=True, slots=True)
class Held:
    """The funds are set aside."""

    key: HoldKey


@dataclass(frozen=True, slots=True)
class Insufficient:
    """There is not enough; nothing was set aside."""

    key: HoldKey
    available: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The hold exists; nothing was changed. `is_same` tells whether it was made for the same amount."""

    key: HoldKey
    state: HoldState
    is_same: bool


@dataclass(frozen=True, slots=True)
class Extension:
    """A hold that has to reach a new total; a hold that has it stays as it is, so a repeat is a no-op."""

    key: HoldKey
    to_micros: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Extended:
    """The hold has the total."""

    key: HoldKey
    micros: int


@dataclass(frozen=True, slots=True)
class Capture:
    """What a hold turned out to cost, at most what is held; nothing is `release`."""

    key: HoldKey
    split: Split

    def __post_init__(self) -> None:
        if self.split.total <= 0:
            raise ValueError("a capture is for more than nothing")

    @property
    def micros(self) -> int:
        """Return the whole amount."""
        return self.split.total


@dataclass(frozen=True, slots=True)
class Captured:
    """The amount is posted and the rest of the hold is free; a repeat finds it done (`is_new` false)."""

    key: HoldKey
    micros: int
    freed: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Released:
    """The hold is free again, and was not captured; a repeat finds it done (`is_new` false)."""

    key: HoldKey
    is_new: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The hold ended before, in another way."""

    key: HoldKey
    state: HoldState
    captured: int


@dataclass(frozen=True, slots=True)
class TooMuch:
    """The hold is smaller than what was to be captured; extend it first."""

    key: HoldKey
    held: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no such hold."""

    key: HoldKey


@dataclass(frozen=True, slots=True)
class Charge:
    """A fee without a hold, such as a number's month; what the prepaid funds do not cover becomes a receivable."""

    customer_sid: str
    currency: str
    key: str
    split: Split
    memo: Mapping[str, Any] = field(default_factory=dict)


HoldOutcome = Held | Insufficient | Duplicate
ExtendOutcome = Extended | Insufficient | Ended | Unknown
CaptureOutcome = Captured | TooMuch | Ended | Unknown
ReleaseOutcome = Released | Ended | Unknown
