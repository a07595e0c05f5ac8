"""How an account's files are kept: who may fetch them, and for how long they are there."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from onterms.core.db import Tx
from onterms.core.ids import new_random_sid
from onterms.engines import jobs
from onterms.products.messaging.store import media as store

MEDIA_RETENTION = "messaging.media_retention"
# Ours: who keeps files for days does not count the hours.
BETWEEN = timedelta(hours=12)
# What one transaction removes.
BATCH_MAX = 500


@dataclass(frozen=True, slots=True)
class Keeping:
    """An account's settings.

    Shapes: `retention_days` is None where files stay until they are deleted, as Twilio keeps them.
    """

    requires_auth: bool = True
    retention_days: int | None = None


async def keeping_of(tx: Tx, account_sid: str) -> Keeping:
    """Return an account's settings."""
    row = await store.media_settings(tx, account_sid)
    return Keeping() if row is None else Keeping(row["requires_auth"], row["retention_days"])


async def keep(tx: Tx, account_sid: str, wanted: Keeping, at: datetime) -> None:
    """Change an account's settings; files that are too old by them go at once."""
    run = new_random_sid("")
    await store.save_media_settings(tx, account_sid, wanted.requires_auth, wanted.retention_days, run, at)
    if wanted.retention_days is not None:
        await jobs.enqueue(tx, [jobs.NewJob(MEDIA_RETENTION, {"run": run}, account_sid=account_sid)], at)


async def remove_old(tx: Tx, job: jobs.Job, at: datetime) -> None:
    """Remove files that are too old, and plan the next look."""
    account_sid = job.account_sid or ""
    row = await store.media_settings(tx, account_sid)
    # Other settings have a run of their own.
    if row is None or row["retention_days"] is None or row["run"] != job.payload["run"]:
        return
    before = at - timedelta(days=row["retention_days"])
    removed = await store.delete_media_before(tx, account_sid, before, BATCH_MAX)
    due_at = at if removed == BATCH_MAX else at + BETWEEN
    again = jobs.NewJob(MEDIA_RETENTION, dict(job.payload), account_sid=account_sid, due_at=due_at)
    await jobs.enqueue(tx, [again], at)
