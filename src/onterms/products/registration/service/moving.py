"""Moving registrations: one way for all of them, with what follows from each move in the same transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.engines import jobs, log
from onterms.ports.registrar import Reason
from onterms.products import monitor
from onterms.products.registration import events, store
from onterms.products.registration.model import (
    BRAND_MOVES,
    CAMPAIGN_MOVES,
    TOLLFREE_MOVES,
    Moves,
    after,
)

ASK = "registration.ask"
RENEW = "registration.renew"

TABLES: Mapping[str, str] = {"brand": store.BRANDS, "campaign": store.CAMPAIGNS, "tollfree": store.TOLLFREE}
MOVES: Mapping[str, Moves] = {"brand": BRAND_MOVES, "campaign": CAMPAIGN_MOVES, "tollfree": TOLLFREE_MOVES}


async def move(
    tx: Tx, kind: str, row: Row, event: str, changes: Mapping[str, Any], at: datetime, reasons: Sequence[Reason] = ()
) -> Row | None:
    """Move a locked registration by an event, write it to the log, and failures to the debugger; None if it may not."""
    status = after(MOVES[kind], row["status"], event)
    if status is None:
        return None
    account_sid, sid = row["account_sid"], row["sid"]
    moved = await store.update(tx, TABLES[kind], account_sid, sid, {"status": status, **changes}, at)
    await log.append(tx, [events.event(account_sid, sid, kind, row["status"], status, shown(reasons))], at)
    alerts = [
        monitor.NewAlert(account_sid=account_sid, error_code=reason.code, text=reason.text or None, resource_sid=sid)
        for reason in reasons
    ]
    await monitor.record(tx, alerts, at)
    return moved


def shown(reasons: Sequence[Reason]) -> list[dict[str, Any]]:
    """Return reasons as brands and campaigns show them under `errors`."""
    return [
        {
            "error_code": reason.code,
            "description": reason.text,
            "fields": list(reason.fields),
            "url": f"https://www.twilio.com/docs/api/errors/{reason.code}",
        }
        for reason in reasons
    ]


async def ask(tx: Tx, kind: str, account_sid: str, at: datetime, **payload: str) -> None:
    """Leave the job that asks the registrar until it has decided."""
    await jobs.enqueue(tx, [jobs.NewJob(ASK, {"kind": kind, **payload}, account_sid=account_sid, due_at=at)], at)
