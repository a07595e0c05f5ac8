"""Setting and lifting blocks."""

from collections.abc import Sequence
from datetime import datetime

from onterms.business import customers, notices
from onterms.business.accounts import main_accounts
from onterms.business.standing import events, store
from onterms.business.standing.errors import BlockDiffers
from onterms.business.standing.model import (
    CLEAR,
    MOVES,
    NOTICE_REASONS,
    Block,
    Kind,
    Reason,
    Scope,
    StandingState,
    State,
    state_of,
)
from onterms.core.db import Tx
from onterms.core.ids import new_sid
from onterms.engines import audit, log


async def set_block(
    tx: Tx,
    customer_sid: str,
    source: str,
    kind: Kind,
    scope: Scope,
    reason: Reason,
    clause: str,
    ref: str,
    at: datetime,
    *,
    notice_sid: str | None = None,
    actor: str = "",
) -> Block:
    """Keep a customer from something until the same source lifts it; setting it again changes nothing.

    Raises: notices.NoticeMissing (422) for a suspension without a notice that was given before; BlockDiffers (409).
    """
    if reason in NOTICE_REASONS:
        await notices.require_given(tx, customer_sid, notice_sid, "2.3", at)
    await store.lock(tx, customer_sid)
    before = (await store.open_blocks(tx, [customer_sid])).get(customer_sid, [])
    block = Block(customer_sid, new_sid("SB", at), source, ref, kind, scope, reason, clause, notice_sid, at)
    if not await store.insert_block(tx, block):
        [same] = [one for one in await _open(tx, customer_sid) if (one.source, one.ref) == (source, ref)]
        if (same.kind, same.scope, same.reason) != (kind, scope, reason):
            raise BlockDiffers(source, ref)
        return same
    await store.bump(tx, customer_sid)
    is_covered: State = "blocked" if any(_stands_for(one, block) for one in before) else "clear"
    await _tell(tx, block, is_covered, "set", [one.sid for one in before], actor or source, at)
    return block


async def lift(tx: Tx, customer_sid: str, source: str, ref: str, at: datetime, *, actor: str = "") -> bool:
    """End a source's block; False when it has none open. What other blocks cover stays blocked."""
    await store.lock(tx, customer_sid)
    block = await store.lift_block(tx, customer_sid, source, ref, at)
    if block is None:
        return False
    await store.bump(tx, customer_sid)
    left = await _open(tx, customer_sid)
    event = "lift" if any(_stands_for(one, block) for one in left) else "lift_last"
    await _tell(tx, block, "blocked", event, [one.sid for one in left], actor or source, at)
    return True


async def blocks_of(tx: Tx, customer_sid: str, *, only_open: bool = True, limit: int = 200) -> list[Block]:
    """List a customer's blocks, newest first."""
    return await store.list_blocks(tx, customer_sid, only_open=only_open, limit=limit)


async def states(tx: Tx, account_sids: Sequence[str]) -> dict[str, StandingState]:
    """Return what each account may do, from the database; an account without a customer is clear."""
    mains = await main_accounts(tx, account_sids)
    owners = {account: customer.sid for account, customer in (await customers.customers_of(tx, account_sids)).items()}
    sids = sorted(set(owners.values()))
    blocks = await store.open_blocks(tx, sids)
    versions = await store.versions(tx, sids)
    found: dict[str, StandingState] = {}
    for account in account_sids:
        owner = owners.get(account)
        if owner is None:
            found[account] = CLEAR
        else:
            chain = (account, mains[account])
            found[account] = state_of(blocks.get(owner, ()), chain, versions.get(owner, 0))
    return found


async def _open(tx: Tx, customer_sid: str) -> list[Block]:
    return (await store.open_blocks(tx, [customer_sid])).get(customer_sid, [])


def _stands_for(other: Block, block: Block) -> bool:
    """Tell whether another block alone forbids what this one does."""
    return other.kind in (block.kind, "everything") and other.scope.covers(block.scope)


async def _tell(tx: Tx, block: Block, state: State, event: str, others: list[str], actor: str, at: datetime) -> None:
    move = MOVES[state, event]
    evidence = {
        "source": block.source,
        "ref": block.ref,
        "kind": block.kind,
        "scope": block.scope.kind,
        "account_sid": block.scope.account_sid,
        "service": block.scope.service,
        "country": block.scope.country,
        "reason": block.reason,
        "clause": block.clause,
        "notice_sid": block.notice_sid,
        "others": others,
    }
    entry = audit.AuditEvent(
        block.customer_sid, actor, "standing", block.sid, state, move.next, f"{event} {block.clause}", evidence
    )
    await audit.record(tx, [entry], at)
    types = {
        "say_blocked": events.STANDING_BLOCKED,
        "say_lifted": events.STANDING_LIFTED,
        "say_resumed": events.STANDING_RESUMED,
    }
    await log.append(
        tx, [log.Event(types[effect], block.customer_sid, block.sid, evidence) for effect in move.effects], at
    )
