"""The outside shapes of this room."""

from datetime import datetime

from onterms.business.standing import model
from onterms.engines.api.shapes import Shape, Sid


class Block(Shape):
    """A fact that keeps a customer from something: what it covers, why, and since when."""

    sid: Sid
    customer_sid: Sid
    source: str
    ref: str | None
    kind: model.Kind
    scope: model.ScopeKind
    account_sid: Sid | None
    service: str | None
    country: str | None
    reason: model.Reason
    clause: str
    notice_sid: Sid | None
    set_at: datetime
    lifted_at: datetime | None


class State(Shape):
    """What an account may do, and why not more."""

    account_sid: Sid
    version: int
    can_send: bool
    can_create_accounts: bool
    can_change: bool
    reasons: list[Block]


def block(one: model.Block) -> Block:
    """Show a block."""
    scope = one.scope
    return Block.of(
        one,
        scope=scope.kind,
        account_sid=scope.account_sid or None,
        service=scope.service or None,
        country=scope.country or None,
    )


def state(account_sid: str, one: model.StandingState) -> State:
    """Show what an account may do, and why not more."""
    return State.of(one, account_sid=account_sid, reasons=[block(reason) for reason in one.reasons])
