"""The room's SQL."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from onterms.business.disputes.model import Dispute, DisputedLine, Task
from onterms.core.db import Tx

_DISPUTE = (
    "customer_sid, sid, invoice_sid, state, version, currency, reason, filed_by, filed_at, filed_on, deadline, micros, "
    "withheld, credited, shielded, missed, decided_by, decided_at, decision"
)
_TASK = "customer_sid, dispute_sid, sid, subject, due_on, state, answer, created_at"


async def insert(tx: Tx, customer_sid: str, new: Dispute) -> None:
    """Store a dispute with its lines."""
    names = [name.strip() for name in _DISPUTE.split(",")]
    marks = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    values = {name: getattr(new, name) for name in names} | {"customer_sid": customer_sid}
    await tx.execute(f"INSERT INTO disputes ({_DISPUTE}) VALUES ({marks})", *[values[name] for name in names])
    for line in new.lines:
        await tx.execute(
            "INSERT INTO dispute_lines (customer_sid, dispute_sid, ref, net, tax) VALUES ($1, $2, $3, $4, $5)",
            customer_sid,
            new.sid,
            line.ref,
            line.net,
            line.tax,
        )


async def update(tx: Tx, customer_sid: str, found: Dispute) -> None:
    """Keep where a dispute stands."""
    await tx.execute(
        "UPDATE disputes SET state = $3, version = $4, withheld = $5, credited = $6, shielded = $7, missed = $8, "
        "decided_by = $9, decided_at = $10, decision = $11 WHERE customer_sid = $1 AND sid = $2",
        customer_sid,
        found.sid,
        found.state,
        found.version,
        found.withheld,
        found.credited,
        found.shielded,
        found.missed,
        found.decided_by,
        found.decided_at,
        found.decision,
    )


async def fetch(tx: Tx, customer_sid: str, sid: str) -> Dispute | None:
    """Return a dispute with its lines."""
    row = await tx.fetchrow(f"SELECT {_DISPUTE} FROM disputes WHERE customer_sid = $1 AND sid = $2", customer_sid, sid)
    if row is None:
        return None
    return replace(Dispute(**dict(row)), lines=tuple(await _lines(tx, customer_sid, sid)))


async def _lines(tx: Tx, customer_sid: str, sid: str) -> Sequence[DisputedLine]:
    rows = await tx.fetch(
        "SELECT ref, net, tax FROM dispute_lines WHERE customer_sid = $1 AND dispute_sid = $2 ORDER BY ref",
        customer_sid,
        sid,
    )
    return [DisputedLine(**dict(row)) for row in rows]


async def page(tx: Tx, customer_sid: str, after: str, limit: int) -> list[Dispute]:
    """Return a customer's disputes without their lines, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {_DISPUTE} FROM disputes WHERE customer_sid = $1 AND sid > $2 ORDER BY sid LIMIT $3",
        customer_sid,
        after,
        limit,
    )
    return [Dispute(**dict(row)) for row in rows]


async def disputed_nets(tx: Tx, customer_sid: str, invoice_sid: str) -> dict[str, int]:
    """Return how much of each line of an invoice open disputes are about."""
    rows = await tx.fetch(
        "SELECT line.ref, sum(line.net)::bigint AS net FROM dispute_lines AS line JOIN disputes AS dispute "
        "ON dispute.customer_sid = line.customer_sid AND dispute.sid = line.dispute_sid "
        "WHERE line.customer_sid = $1 AND dispute.invoice_sid = $2 "
        "AND dispute.state IN ('open', 'late', 'awaiting_customer', 'uncooperative') GROUP BY line.ref",
        customer_sid,
        invoice_sid,
    )
    return {row["ref"]: row["net"] for row in rows}


async def insert_task(tx: Tx, customer_sid: str, task: Task) -> None:
    """Ask a customer for something."""
    names = [name.strip() for name in _TASK.split(",")]
    marks = ", ".join(f"${place}" for place in range(1, len(names) + 1))
    values = {name: getattr(task, name) for name in names} | {"customer_sid": customer_sid}
    await tx.execute(f"INSERT INTO dispute_tasks ({_TASK}) VALUES ({marks})", *[values[name] for name in names])


async def tasks(tx: Tx, customer_sid: str, dispute_sid: str) -> list[Task]:
    """Return what a customer was asked for in a dispute, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {_TASK} FROM dispute_tasks WHERE customer_sid = $1 AND dispute_sid = $2 ORDER BY sid",
        customer_sid,
        dispute_sid,
    )
    return [Task(**dict(row)) for row in rows]


async def end_task(tx: Tx, customer_sid: str, dispute_sid: str, sid: str, state: str, answer: str) -> bool:
    """End an open task and tell whether it was open."""
    changed = await tx.execute(
        "UPDATE dispute_tasks SET state = $4, answer = $5 "
        "WHERE customer_sid = $1 AND dispute_sid = $2 AND sid = $3 AND state = 'open'",
        customer_sid,
        dispute_sid,
        sid,
        state,
        answer,
    )
    return changed == 1


async def miss_tasks(tx: Tx, customer_sid: str, dispute_sid: str, today: date) -> int:
    """Mark open tasks whose day is over as missed and return how many."""
    return await tx.execute(
        "UPDATE dispute_tasks SET state = 'missed' "
        "WHERE customer_sid = $1 AND dispute_sid = $2 AND state = 'open' AND due_on < $3",
        customer_sid,
        dispute_sid,
        today,
    )
