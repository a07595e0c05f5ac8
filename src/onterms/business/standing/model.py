"""Standing: pure.

Theory of operation
-------------------

A block is a fact that one room set and that the same room lifts. Blocks never know of each other: what an account may
do is made of all open ones that cover it, so service resumes only when the last of them is lifted, in whatever order.
What a block covers:

    customer          every account of the customer
    account           that account and those under it
    service_country   one service, one country, or one service in one country, for every account

What it forbids: `new_accounts` the making of accounts; `send` anything new that costs or goes out; `everything` both,
and every other change. Reading stays open, for a customer owns its data.

No right lapses by waiting (9.9): a block is as good whenever it is set, so nothing here looks at how old its notice is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from onterms.business.standing.errors import StandingRefusal

Kind = Literal["send", "new_accounts", "everything"]
ScopeKind = Literal["customer", "account", "service_country"]
State = Literal["clear", "blocked"]
Reason = Literal["suspended", "trade", "agreement", "prepaid_empty", "past_due", "region", "verification", "closing"]

KINDS: Final = ("everything", "send", "new_accounts")
# Clause 2.3: these need a notice that was given before.
NOTICE_REASONS: Final = frozenset({"suspended"})


@dataclass(frozen=True, slots=True)
class Scope:
    """What a block covers.

    Shapes: `service` and `country` of "" mean all; at least one of them is set for service_country.
    """

    kind: ScopeKind = "customer"
    account_sid: str = ""
    service: str = ""
    country: str = ""

    @classmethod
    def account(cls, account_sid: str) -> "Scope":
        """Cover an account and those under it."""
        return cls("account", account_sid)

    @classmethod
    def service_in(cls, service: str = "", country: str = "") -> "Scope":
        """Cover a service, a country, or a service in a country."""
        return cls("service_country", "", service, country)

    def covers_accounts(self, chain: Sequence[str]) -> bool:
        """Tell whether it covers an account, given as that account and those above it."""
        return self.kind != "account" or self.account_sid in chain

    def covers_use(self, service: str, country: str) -> bool:
        """Tell whether it covers a service towards a country."""
        if self.kind != "service_country":
            return True
        return self.service in ("", service) and self.country in ("", country)

    def covers(self, other: "Scope") -> bool:
        """Tell whether all that the other covers is covered; accounts above others are unknown here."""
        if self.kind == "customer":
            return True
        if self.kind == "account":
            return other.kind == "account" and other.account_sid == self.account_sid
        return other.kind == "service_country" and self.covers_use(other.service, other.country)


WHOLE_CUSTOMER: Final = Scope()


@dataclass(frozen=True, slots=True)
class Block:
    """A fact that keeps a customer from something."""

    customer_sid: str
    sid: str
    source: str
    ref: str
    kind: Kind
    scope: Scope
    reason: Reason
    clause: str
    notice_sid: str | None
    set_at: datetime
    lifted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StandingState:
    """What an account may do.

    Shapes: `version` grows with each change of the customer's blocks. `reasons` are the open blocks that cover the
    account, worst first; those of a service or country leave the flags alone and count where it is used.
    """

    version: int
    can_send: bool
    can_create_accounts: bool
    reasons: tuple[Block, ...] = ()

    @property
    def can_change(self) -> bool:
        """Whether the account may change anything at all."""
        return not any(block.kind == "everything" and block.scope.kind != "service_country" for block in self.reasons)


CLEAR: Final = StandingState(0, True, True)


@dataclass(frozen=True, slots=True)
class Move:
    """What an event makes of a scope's standing: what must hold, what follows, the next state."""

    guard: str
    effects: tuple[str, ...]
    next: State


MOVES: Final[Mapping[tuple[State, str], Move]] = {
    ("clear", "set"): Move("a suspension has its notice", ("say_blocked",), "blocked"),
    ("blocked", "set"): Move("a suspension has its notice", ("say_blocked",), "blocked"),
    ("blocked", "lift"): Move("another open block covers it", ("say_lifted",), "blocked"),
    ("blocked", "lift_last"): Move("no other open block covers it", ("say_lifted", "say_resumed"), "clear"),
}

# Twilio docs, error dictionary: 20005 account not active, 90010 account is not active, 21408 region not enabled; 20003
# is a refused permission. Which of them a cause is answered with is ours.
_REFUSALS: Final[Mapping[str, tuple[int, int, str]]] = {
    "suspended": (20005, 403, "The account is suspended"),
    "trade": (20005, 403, "The account is blocked by trade rules"),
    "closing": (20005, 403, "The account is being closed"),
    "prepaid_empty": (90010, 403, "The prepaid balance is used up"),
    "past_due": (20003, 403, "Fees are past due"),
    "agreement": (20003, 403, "The terms in force have not been accepted"),
    "verification": (20003, 403, "The account's details are not verified"),
    "region": (20003, 403, "The service is not offered in this region"),
}
_REGION_NOT_ENABLED: Final = (21408, 400, "Sending to this region is blocked")
_SENDING: Final = frozenset({"send", "everything"})
_MAKING: Final = frozenset({"new_accounts", "everything"})


def state_of(blocks: Sequence[Block], chain: Sequence[str], version: int) -> StandingState:
    """Make the state of an account from its customer's open blocks.

    Shapes: `chain` is the account and those above it.
    """
    covering = sorted(
        (block for block in blocks if block.lifted_at is None and block.scope.covers_accounts(chain)),
        key=lambda block: (KINDS.index(block.kind), block.set_at, block.sid),
    )
    if not covering:
        return CLEAR if version == 0 else StandingState(version, True, True)
    general = {block.kind for block in covering if block.scope.kind != "service_country"}
    return StandingState(version, not general & _SENDING, not general & _MAKING, tuple(covering))


def refusal_to_send(state: StandingState, service: str = "", country: str = "") -> StandingRefusal | None:
    """Return why an account may not send by a service to a country, or None when it may."""
    if not state.reasons:
        return None
    for block in state.reasons:
        if block.kind in _SENDING and block.scope.covers_use(service, country):
            return _refusal(block)
    return None


def refusal_to_create(state: StandingState) -> StandingRefusal | None:
    """Return why an account may not make accounts, or None when it may."""
    for block in state.reasons:
        if block.kind in _MAKING and block.scope.kind != "service_country":
            return _refusal(block)
    return None


def require_can_send(state: StandingState, service: str = "", country: str = "") -> None:
    """Refuse an account that may not send.

    Raises: StandingRefusal.
    """
    refusal = refusal_to_send(state, service, country)
    if refusal is not None:
        raise refusal


def require_can_create_account(state: StandingState) -> None:
    """Refuse an account that may not make accounts.

    Raises: StandingRefusal.
    """
    refusal = refusal_to_create(state)
    if refusal is not None:
        raise refusal


def _refusal(block: Block) -> StandingRefusal:
    code, status, message = _REFUSALS[block.reason]
    if block.scope.kind == "service_country" and block.scope.country:
        code, status, message = _REGION_NOT_ENABLED
    return StandingRefusal(message, code, status, block.clause, block.reason, block.ref)
