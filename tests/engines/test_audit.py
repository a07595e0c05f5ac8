"""The audit trail: chains per scope, tampering, concurrency."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.engines import audit
from onterms.engines.audit import AuditEvent, Broken

A, B = "OR" + 32 * "a", "OR" + 32 * "b"


def event(scope: str = A, number: int = 1, **evidence: Any) -> AuditEvent:
    return AuditEvent(scope, "operator:ann", "suspension", f"SU{number}", "proposed", "approved", "3.3.2", evidence)


async def recorded(database: Database, clock: VirtualClock, *events: AuditEvent) -> list[int]:
    async with database.transaction() as tx:
        return await audit.record(tx, events, clock.now())


async def verified(database: Database, scope: str | None = None) -> Broken | None:
    async with database.snapshot() as tx:
        return await audit.verify(tx, scope)


async def tampered(database: Database, sql: str) -> None:
    """Change rows as somebody with full rights to the database would."""
    async with database.transaction() as tx:
        await tx.execute("ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only")
        await tx.execute(sql)
        await tx.execute("ALTER TABLE audit_events ENABLE TRIGGER audit_events_append_only")


async def test_events_are_numbered_per_scope_and_come_back_in_order(database: Database, clock: VirtualClock) -> None:
    assert await recorded(database, clock, event(A, 1), event(B, 2), event(A, 3, amount="12.30")) == [1, 1, 2]
    clock.hold(clock.now() + timedelta(microseconds=1))
    assert await recorded(database, clock, event(A, 4)) == [3]
    async with database.snapshot() as tx:
        found = await audit.history(tx, A)
        one = await audit.history(tx, A, aggregate_sid="SU3")
    assert [each.event for each in found] == [event(A, 1), event(A, 3, amount="12.30"), event(A, 4)]
    assert [each.number for each in one] == [2]
    assert found[1].prev_hash == found[0].hash and found[0].prev_hash == bytes(32)
    assert await verified(database) is None


async def test_no_events_are_no_work(database: Database, clock: VirtualClock) -> None:
    assert await recorded(database, clock) == []
    assert await verified(database) is None
    assert await verified(database, A) is None


async def test_evidence_of_any_shape_verifies(database: Database, clock: VirtualClock) -> None:
    evidence = {"z": [1, None, True, {"k": 'ü\n"\\ \u2028'}], "a": 2**62, "b": {"y": "1", "x": []}, "": "empty"}
    await recorded(database, clock, event(A, 1, **evidence))
    assert await verified(database) is None


async def test_a_float_in_the_evidence_is_refused(database: Database, clock: VirtualClock) -> None:
    with pytest.raises(TypeError, match="float"):
        await recorded(database, clock, event(A, 1, amounts=[{"due": 0.1}]))
    assert await verified(database) is None


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_events SET actor = 'nobody'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
    ],
)
async def test_the_trail_refuses_every_change(database: Database, clock: VirtualClock, sql: str) -> None:
    await recorded(database, clock, event())
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
        async with database.transaction() as tx:
            await tx.execute(sql)
    assert await verified(database) is None


@pytest.mark.parametrize(
    ("sql", "number", "reason"),
    [
        ("UPDATE audit_events SET evidence = '{\"n\": 3}' WHERE number = 2", 2, "was changed"),
        ("UPDATE audit_events SET evidence = '{\"n\": 2.5}' WHERE number = 2", 2, "was changed"),
        ("UPDATE audit_events SET at = at - interval '1 microsecond' WHERE number = 3", 3, "was changed"),
        ("UPDATE audit_events SET from_state = NULL WHERE number = 1", 1, "was changed"),
        ("UPDATE audit_events SET hash = sha256('x') WHERE number = 2", 2, "was changed"),
        ("UPDATE audit_events SET prev_hash = sha256('x') WHERE number = 2", 2, "does not follow"),
        ("DELETE FROM audit_events WHERE number = 2", 2, "is missing"),
        ("DELETE FROM audit_events WHERE number = 4", 4, "is missing"),
        ("DELETE FROM audit_events", 1, "is missing"),
        ("UPDATE audit_events SET number = 5 WHERE number = 4", 4, "is missing"),
        ("DELETE FROM audit_heads", 4, "recorded end"),
        ("UPDATE audit_heads SET number = 3", 4, "recorded end"),
        ("UPDATE audit_heads SET hash = sha256('x')", 4, "recorded end"),
    ],
)
async def test_tampering_is_found_at_its_row(
    database: Database, clock: VirtualClock, sql: str, number: int, reason: str
) -> None:
    await recorded(database, clock, *[event(A, each, n=each) for each in (1, 2, 3, 4)])
    await tampered(database, sql)
    found = await verified(database)
    assert found is not None and (found.scope, found.number) == (A, number), found
    assert reason in found.reason
    assert await verified(database, A) == found


async def test_one_broken_scope_does_not_accuse_another(database: Database, clock: VirtualClock) -> None:
    await recorded(database, clock, event(A), event(B))
    await tampered(database, f"UPDATE audit_events SET cause = 'x' WHERE scope = '{B}'")
    assert await verified(database, A) is None
    found = await verified(database)
    assert found is not None and found.scope == B


async def test_concurrent_writers_share_chains_without_forks_or_deadlocks(
    database: Database, clock: VirtualClock
) -> None:
    async def write(number: int) -> None:
        scopes = (A, B) if number % 2 else (B, A)
        await recorded(database, clock, *[event(scope, number) for scope in scopes])

    await asyncio.gather(*[write(number) for number in range(40)])
    async with database.snapshot() as tx:
        for scope in (A, B):
            assert [each.number for each in await audit.history(tx, scope)] == list(range(1, 41))
    assert await verified(database) is None


async def test_a_rolled_back_event_leaves_no_gap(database: Database, clock: VirtualClock) -> None:
    await recorded(database, clock, event(A, 1))
    with pytest.raises(RuntimeError):
        async with database.transaction() as tx:
            await audit.record(tx, [event(A, 2)], clock.now())
            raise RuntimeError
    assert await recorded(database, clock, event(A, 3)) == [2]
    assert await verified(database) is None
