"""What the operator has to do."""

from dataclasses import replace
from datetime import date, datetime

from onterms.business.notices import store
from onterms.business.notices.errors import TaskDone
from onterms.business.notices.model import Task
from onterms.core.db import Tx
from onterms.core.errors import NotFound
from onterms.core.ids import new_sid
from onterms.engines import audit


async def open_task(
    tx: Tx, kind: str, subject: str, due_on: date, at: datetime, *, customer_sid: str = "", ref: str = ""
) -> str:
    """Ask the operator to do something by a day and return the task's SID.

    Shapes: one open task for a kind, customer and ref; asking again returns it.
    """
    task = Task(new_sid("OT", at), kind, subject, customer_sid, ref, due_on, at, None, None, "")
    return await store.insert_task(tx, task)


async def close_task(tx: Tx, sid: str, done_by: str, at: datetime, *, note: str = "") -> Task:
    """Mark a task done.

    Raises: NotFound; TaskDone (409).
    """
    task = await store.fetch_task(tx, sid)
    if task is None:
        raise NotFound(f"The task {sid} was not found")
    if not await store.close_task(tx, sid, done_by, note, at):
        raise TaskDone
    evidence = {"kind": task.kind, "ref": task.ref, "note": note}
    entry = audit.AuditEvent(
        task.customer_sid or "operator", done_by, "operator_task", sid, "open", "done", task.kind, evidence
    )
    await audit.record(tx, [entry], at)
    return replace(task, done_at=at, done_by=done_by, note=note)


async def list_tasks(
    tx: Tx, *, is_open: bool | None = None, kind: str | None = None, after: str = "", limit: int = 50
) -> list[Task]:
    """List tasks, oldest first, after one of them."""
    return await store.list_tasks(tx, is_open=is_open, kind=kind, after=after, limit=limit)
