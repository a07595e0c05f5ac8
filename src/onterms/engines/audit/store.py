"""The audit trail's SQL."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from onterms.core.db import Row, Tx
from onterms.engines.audit.model import FIRST, AuditEvent, Broken, Recorded, hash_of

_COLUMNS = "scope, number, at, actor, aggregate, aggregate_sid, from_state, to_state, cause, evidence, prev_hash, hash"
_READ_ROWS = 2000
# Keeps these advisory locks apart from others ("audit" in ASCII).
_LOCK_SEED = 0x6175646974

# One scope at a time and always in the same order, or two transactions with the same scopes could wait for each other.
_LOCK = """
SELECT pg_advisory_xact_lock(hashtextextended(scope, $2))
FROM (SELECT scope FROM unnest($1::text[]) AS wanted(scope) ORDER BY scope COLLATE "C") AS ordered
"""
_INSERT = f"""
INSERT INTO audit_events ({_COLUMNS})
SELECT scope, number, $1, actor, aggregate, aggregate_sid, from_state, to_state, cause, evidence::jsonb, prev_hash, hash
FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::bytea[], $12::bytea[])
     AS event(scope, number, actor, aggregate, aggregate_sid, from_state, to_state, cause, evidence, prev_hash, hash)
"""
_MOVE_HEADS = """
INSERT INTO audit_heads (scope, number, hash)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS head(scope, number, hash)
ON CONFLICT (scope) DO UPDATE SET number = excluded.number, hash = excluded.hash
"""


async def record(tx: Tx, events: Sequence[AuditEvent], at: datetime) -> list[int]:
    """Append events to the chains of their scopes and return their numbers in the same order.

    Raises: TypeError for a float in the evidence.
    """
    if not events:
        return []
    scopes = sorted({event.scope for event in events})
    await tx.execute(_LOCK, scopes, _LOCK_SEED)
    heads: dict[str, tuple[int, bytes]] = {scope: (0, FIRST) for scope in scopes}
    for row in await tx.fetch("SELECT scope, number, hash FROM audit_heads WHERE scope = ANY($1)", scopes):
        heads[row["scope"]] = (row["number"], row["hash"])
    numbers: list[int] = []
    before: list[bytes] = []
    hashes: list[bytes] = []
    for event in events:
        last, prev_hash = heads[event.scope]
        made = hash_of(event, last + 1, at, prev_hash)
        heads[event.scope] = (last + 1, made)
        numbers.append(last + 1)
        before.append(prev_hash)
        hashes.append(made)
    await tx.execute(
        _INSERT,
        at,
        [event.scope for event in events],
        numbers,
        [event.actor for event in events],
        [event.aggregate for event in events],
        [event.aggregate_sid for event in events],
        [event.from_state for event in events],
        [event.to_state for event in events],
        [event.cause for event in events],
        [msgspec.json.encode(event.evidence).decode() for event in events],
        before,
        hashes,
    )
    await tx.execute(_MOVE_HEADS, scopes, [heads[scope][0] for scope in scopes], [heads[scope][1] for scope in scopes])
    return numbers


async def history(
    tx: Tx, scope: str, *, aggregate_sid: str | None = None, after: int = 0, limit: int = 100
) -> list[Recorded]:
    """List a scope's events, or one aggregate's, oldest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS} FROM audit_events
        WHERE scope = $1 AND number > $2 AND ($3::text IS NULL OR aggregate_sid = $3) ORDER BY number LIMIT $4
        """,
        scope,
        after,
        aggregate_sid,
        limit,
    )
    return [_recorded(row) for row in rows]


async def verify(tx: Tx, scope: str | None = None) -> Broken | None:
    """Recompute one chain, or all, and return the first row that is not as it was written.

    Shapes: run it in a REPEATABLE READ transaction where events are being written meanwhile.
    """
    scopes = [scope] if scope is not None else await _scopes(tx)
    for each in scopes:
        found = await _verify_chain(tx, each)
        if found is not None:
            return found
    return None


async def _scopes(tx: Tx) -> list[str]:
    rows = await tx.fetch("SELECT scope FROM audit_heads UNION SELECT scope FROM audit_events ORDER BY scope")
    return [row["scope"] for row in rows]


async def _verify_chain(tx: Tx, scope: str) -> Broken | None:
    head: Row | None = await tx.fetchrow("SELECT number, hash FROM audit_heads WHERE scope = $1", scope)
    last, prev_hash = 0, FIRST
    async for each in _chain(tx, scope):
        if each.number != last + 1:
            return Broken(scope, last + 1, "is missing")
        if each.prev_hash != prev_hash:
            return Broken(scope, each.number, "does not follow the row before it")
        try:
            is_intact = hash_of(each.event, each.number, each.at, each.prev_hash) == each.hash
        except TypeError:
            is_intact = False
        if not is_intact:
            return Broken(scope, each.number, "was changed")
        last, prev_hash = each.number, each.hash
    if head is None:
        return Broken(scope, last, "is not the recorded end of the chain") if last else None
    if head["number"] > last:
        return Broken(scope, last + 1, "is missing")
    if head["number"] < last or head["hash"] != prev_hash:
        return Broken(scope, last, "is not the recorded end of the chain")
    return None


async def _chain(tx: Tx, scope: str) -> AsyncIterator[Recorded]:
    # From the lowest number there can be, so that a row put in before the first is read as well.
    after = -(2**63)
    while rows := await history(tx, scope, after=after, limit=_READ_ROWS):
        for row in rows:
            yield row
        after = rows[-1].number


def _recorded(row: Row) -> Recorded:
    value: dict[str, Any] = dict(row)
    event = AuditEvent(
        value["scope"],
        value["actor"],
        value["aggregate"],
        value["aggregate_sid"],
        value["from_state"],
        value["to_state"],
        value["cause"],
        value["evidence"],
    )
    return Recorded(value["number"], value["at"], event, value["prev_hash"], value["hash"])
