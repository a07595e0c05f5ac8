"""The outside shapes of this room."""

from datetime import UTC, datetime
from typing import Any

from onterms.business.standing.model import Block, StandingState


def block(one: Block) -> dict[str, Any]:
    """Show a block."""
    return {
        "sid": one.sid,
        "customer_sid": one.customer_sid,
        "source": one.source,
        "ref": one.ref or None,
        "kind": one.kind,
        "scope": one.scope.kind,
        "account_sid": one.scope.account_sid or None,
        "service": one.scope.service or None,
        "country": one.scope.country or None,
        "reason": one.reason,
        "clause": one.clause,
        "notice_sid": one.notice_sid,
        "set_at": _time(one.set_at),
        "lifted_at": _time(one.lifted_at),
    }


def state(account_sid: str, one: StandingState) -> dict[str, Any]:
    """Show what an account may do, and why not more."""
    return {
        "account_sid": account_sid,
        "version": one.version,
        "can_send": one.can_send,
        "can_create_accounts": one.can_create_accounts,
        "can_change": one.can_change,
        "reasons": [block(reason) for reason in one.reasons],
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
