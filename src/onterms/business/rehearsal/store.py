"""The SQL of simulations."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from onterms.business.rehearsal.events import CHANNEL
from onterms.business.rehearsal.model import Assumptions, Limits, Simulation, Status
from onterms.core.db import Row, Tx

_COLUMNS = "sid, status, scope, from_at, days, assumptions, limits, scratch, reason, created_at, started_at, ended_at"


def _simulation(row: Row) -> Simulation:
    values: dict[str, Any] = dict(row)
    values["assumptions"] = msgspec.convert(values["assumptions"], Assumptions)
    values["limits"] = msgspec.convert(values["limits"], Limits)
    return Simulation(**values)


async def insert(tx: Tx, made: Simulation) -> None:
    """Add a simulation and tell who runs them."""
    await tx.execute(
        """
        INSERT INTO simulations (sid, status, scope, from_at, days, assumptions, limits, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        made.sid,
        made.status,
        made.scope,
        made.from_at,
        made.days,
        msgspec.to_builtins(made.assumptions),
        msgspec.to_builtins(made.limits),
        made.created_at,
    )
    await _tell(tx)


async def fetch(tx: Tx, sid: str) -> Simulation | None:
    """Return a simulation with its result, if there is one."""
    row = await tx.fetchrow(f"SELECT {_COLUMNS}, result FROM simulations WHERE sid = $1", sid)
    return None if row is None else _simulation(row)


async def page(tx: Tx, before: str | None, limit: int) -> list[Simulation]:
    """List simulations without their results, newest first."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM simulations WHERE $1::text IS NULL OR sid < $1 ORDER BY sid DESC LIMIT $2",
        before,
        limit,
    )
    return [_simulation(row) for row in rows]


async def by_status(tx: Tx, status: Status, limit: int) -> list[Simulation]:
    """List simulations of a status, oldest first."""
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM simulations WHERE status = $1 ORDER BY sid LIMIT $2", status, limit)
    return [_simulation(row) for row in rows]


async def move(
    tx: Tx, sid: str, from_status: Status, to: Status, at: datetime, *, scratch: str | None = None
) -> Simulation | None:
    """Change a status that is still the one expected, and tell."""
    row = await tx.fetchrow(
        f"""
        UPDATE simulations
        SET status = $3, scratch = coalesce($5, scratch),
            started_at = CASE WHEN $3 = 'running' THEN $4 ELSE started_at END,
            ended_at = CASE WHEN $3 = 'running' THEN ended_at ELSE $4 END
        WHERE sid = $1 AND status = $2 RETURNING {_COLUMNS}
        """,
        sid,
        from_status,
        to,
        at,
        scratch,
    )
    await _tell(tx)
    return None if row is None else _simulation(row)


async def keep(tx: Tx, sid: str, result: Mapping[str, Any] | None, reason: str | None) -> None:
    """Write down what came of a simulation."""
    kept = None if result is None else dict(result)
    await tx.execute("UPDATE simulations SET result = $2, reason = $3 WHERE sid = $1", sid, kept, reason)


async def scratches(tx: Tx) -> list[tuple[str, str]]:
    """List simulations whose copy was not dropped, with its name."""
    rows = await tx.fetch("SELECT sid, scratch FROM simulations WHERE scratch IS NOT NULL ORDER BY sid")
    return [(row["sid"], row["scratch"]) for row in rows]


async def forget_scratch(tx: Tx, sid: str) -> None:
    """Note that a copy is gone."""
    await tx.execute("UPDATE simulations SET scratch = NULL WHERE sid = $1", sid)


async def delete(tx: Tx, sid: str) -> Status | None:
    """Delete a simulation that does not run and has no copy; return the status it had, or None without one."""
    status: Status | None = await tx.fetchval("SELECT status FROM simulations WHERE sid = $1 FOR UPDATE", sid)
    await tx.execute("DELETE FROM simulations WHERE sid = $1 AND status <> 'running' AND scratch IS NULL", sid)
    await _tell(tx)
    return status


async def has(tx: Tx, sid: str) -> bool:
    """Tell whether a simulation is there."""
    found: bool = await tx.fetchval("SELECT EXISTS (SELECT FROM simulations WHERE sid = $1)", sid)
    return found


async def may_create_databases(tx: Tx) -> bool:
    """Tell whether our role may make the database of a copy."""
    found: bool | None = await tx.fetchval("SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user")
    return bool(found)


async def _tell(tx: Tx) -> None:
    await tx.execute("SELECT pg_notify($1, '')", CHANNEL)
