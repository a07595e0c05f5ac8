"""All SQL of notices, notices in and operator tasks."""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from onterms.business.notices.model import Address, File, NewNotice, NewNoticeIn, Notice, NoticeIn, Task
from onterms.core.db import Row, Tx

_NOTICE_NAMES = [field.name for field in fields(Notice) if field.name != "addresses"]
_NOTICE = ", ".join(_NOTICE_NAMES)
_ADDRESS_NAMES = [field.name for field in fields(Address)]
_ADDRESS = ", ".join(_ADDRESS_NAMES)
_IN = ", ".join(field.name for field in fields(NoticeIn))
_TASK = ", ".join(field.name for field in fields(Task))


def _notice(row: Row, addresses: Sequence[Address] = ()) -> Notice:
    return Notice(**{name: row[name] for name in _NOTICE_NAMES}, addresses=tuple(addresses))


# Notices


async def insert_notices(tx: Tx, new: Sequence[tuple[str, NewNotice]], at: datetime) -> None:
    """Insert notices with the SIDs given."""
    await tx.execute(
        """
        INSERT INTO notices (customer_sid, sid, kind, contact_kind, subject, body, body_sha256, ref, state, created_at,
                             updated_at)
        SELECT customer_sid, sid, kind, contact_kind, subject, body, body_sha256, ref, 'queued', $9, $9
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
             AS new (customer_sid, sid, kind, contact_kind, subject, body, body_sha256, ref)
        """,
        [notice.customer_sid for _, notice in new],
        [sid for sid, _ in new],
        [notice.kind for _, notice in new],
        [notice.contact_kind for _, notice in new],
        [notice.subject for _, notice in new],
        [notice.body for _, notice in new],
        [hashlib.sha256(notice.body.encode()).hexdigest() for _, notice in new],
        [notice.ref for _, notice in new],
        at,
    )
    files = [
        (notice.customer_sid, sid, place, file) for sid, notice in new for place, file in enumerate(notice.attachments)
    ]
    if files:
        await tx.execute(
            """
            INSERT INTO notice_attachments (customer_sid, notice_sid, place, name, content_type, content)
            SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::bytea[])
            """,
            [customer_sid for customer_sid, _, _, _ in files],
            [sid for _, sid, _, _ in files],
            [place for _, _, place, _ in files],
            [file.name for _, _, _, file in files],
            [file.content_type for _, _, _, file in files],
            [file.content for _, _, _, file in files],
        )


async def fetch_notices(tx: Tx, sids: Sequence[str], *, lock: bool = False) -> dict[str, Notice]:
    """Return notices with their evidence by SID, locked in the order of their SIDs where asked for."""
    rows = await tx.fetch(
        f"SELECT {_NOTICE} FROM notices WHERE sid = ANY($1::text[]) ORDER BY sid {'FOR UPDATE' if lock else ''}",
        list(sids),
    )
    found: dict[str, list[Address]] = {row["sid"]: [] for row in rows}
    evidence = await tx.fetch(
        f"""
        SELECT notice_sid, {_ADDRESS} FROM notice_addresses
        WHERE customer_sid = ANY($1::text[]) AND notice_sid = ANY($2::text[]) ORDER BY notice_sid, place
        """,
        sorted({row["customer_sid"] for row in rows}),
        list(found),
    )
    for row in evidence:
        found[row["notice_sid"]].append(Address(**{name: row[name] for name in _ADDRESS_NAMES}))
    return {row["sid"]: _notice(row, found[row["sid"]]) for row in rows}


async def list_notices(
    tx: Tx, customer_sid: str | None, before: str | None, limit: int, *, state: str | None, kind: str | None
) -> list[Notice]:
    """List a customer's notices, or everybody's, newest first, without their evidence."""
    rows = await tx.fetch(
        f"""
        SELECT {_NOTICE} FROM notices
        WHERE ($1::text IS NULL OR customer_sid = $1) AND ($2::text IS NULL OR sid < $2)
              AND ($4::text IS NULL OR state = $4) AND ($5::text IS NULL OR kind = $5)
        ORDER BY sid DESC LIMIT $3
        """,
        customer_sid,
        before,
        limit,
        state,
        kind,
    )
    return [_notice(row) for row in rows]


async def files(tx: Tx, customer_sid: str, sid: str) -> list[File]:
    """List the files of a notice."""
    rows = await tx.fetch(
        """
        SELECT name, content_type, content FROM notice_attachments
        WHERE customer_sid = $1 AND notice_sid = $2 ORDER BY place
        """,
        customer_sid,
        sid,
    )
    return [File(**dict(row.items())) for row in rows]


async def given_on(tx: Tx, sids: Sequence[str]) -> dict[str, date]:
    """Return the day of each notice that is given."""
    rows = await tx.fetch(
        "SELECT sid, given_on FROM notices WHERE sid = ANY($1::text[]) AND state = 'given'", list(sids)
    )
    return {row["sid"]: row["given_on"] for row in rows}


async def insert_addresses(tx: Tx, notice: Notice, sent_to_kind: str, addresses: Sequence[Address]) -> None:
    """Fix whom a notice goes to."""
    await tx.execute(
        "UPDATE notices SET sent_to_kind = $3 WHERE customer_sid = $1 AND sid = $2",
        notice.customer_sid,
        notice.sid,
        sent_to_kind,
    )
    await tx.execute(
        """
        INSERT INTO notice_addresses (customer_sid, notice_sid, place, contact_sid, address, message_id)
        SELECT $1, $2, place, contact_sid, address, message_id
        FROM unnest($3::int[], $4::text[], $5::text[], $6::text[]) AS new (place, contact_sid, address, message_id)
        """,
        notice.customer_sid,
        notice.sid,
        [address.place for address in addresses],
        [address.contact_sid for address in addresses],
        [address.address for address in addresses],
        [address.message_id for address in addresses],
    )


async def update_address(tx: Tx, notice: Notice, address: Address) -> None:
    """Store the evidence of one address."""
    await tx.execute(
        """
        UPDATE notice_addresses SET attempts = $4, first_at = $5, last_at = $6, server = $7, reply = $8,
               mail_sha256 = $9, dkim = $10, accepted_at = $11, refused_at = $12, bounced_at = $13, diagnostic = $14
        WHERE customer_sid = $1 AND notice_sid = $2 AND place = $3
        """,
        notice.customer_sid,
        notice.sid,
        address.place,
        address.attempts,
        address.first_at,
        address.last_at,
        address.server,
        address.reply,
        address.mail_sha256,
        address.dkim,
        address.accepted_at,
        address.refused_at,
        address.bounced_at,
        address.diagnostic,
    )


async def update_state(tx: Tx, notice: Notice, at: datetime) -> None:
    """Store the state of a notice."""
    await tx.execute(
        """
        UPDATE notices SET state = $3, given_at = $4, given_on = $5, voided_at = $6, updated_at = $7,
               version = version + 1
        WHERE customer_sid = $1 AND sid = $2
        """,
        notice.customer_sid,
        notice.sid,
        notice.state,
        notice.given_at,
        notice.given_on,
        notice.voided_at,
        at,
    )


async def notices_of_mails(tx: Tx, message_ids: Sequence[str]) -> dict[str, str]:
    """Return the notice that each mail belongs to."""
    rows = await tx.fetch(
        "SELECT message_id, notice_sid FROM notice_addresses WHERE message_id = ANY($1::text[])", list(message_ids)
    )
    return {row["message_id"]: row["notice_sid"] for row in rows}


# Notices in


async def insert_notice_in(tx: Tx, sid: str, new: NewNoticeIn, received_on: date) -> str:
    """Insert a notice in and return its SID, or that of the same mail brought before."""
    digest = hashlib.sha256(new.raw).hexdigest()
    inserted: str | None = await tx.fetchval(
        """
        INSERT INTO notices_in (customer_sid, sid, kind, channel, sender, subject, body, message_id, raw, raw_sha256,
                                received_at, received_on)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (raw_sha256) WHERE channel = 'email' DO NOTHING RETURNING sid
        """,
        new.customer_sid,
        sid,
        new.kind,
        new.channel,
        new.sender,
        new.subject,
        new.body,
        new.message_id,
        new.raw,
        digest,
        new.received_at,
        received_on,
    )
    if inserted is not None:
        return inserted
    known: str = await tx.fetchval("SELECT sid FROM notices_in WHERE raw_sha256 = $1 AND channel = 'email'", digest)
    return known


async def fetch_notices_in(tx: Tx, sids: Sequence[str]) -> dict[str, NoticeIn]:
    """Return notices in by SID."""
    rows = await tx.fetch(f"SELECT {_IN} FROM notices_in WHERE sid = ANY($1::text[])", list(sids))
    return {row["sid"]: NoticeIn(**dict(row.items())) for row in rows}


async def list_notices_in(tx: Tx, customer_sid: str | None, before: str | None, limit: int) -> list[NoticeIn]:
    """List a customer's notices to the operator, or everybody's, newest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_IN} FROM notices_in
        WHERE ($1::text IS NULL OR customer_sid = $1) AND ($2::text IS NULL OR sid < $2) ORDER BY sid DESC LIMIT $3
        """,
        customer_sid,
        before,
        limit,
    )
    return [NoticeIn(**dict(row.items())) for row in rows]


async def assign_notice_in(tx: Tx, sid: str, customer_sid: str, kind: str | None) -> bool:
    """Say whose a notice in is; False when it is somebody's already."""
    changed = await tx.execute(
        "UPDATE notices_in SET customer_sid = $2, kind = coalesce($3, kind) WHERE sid = $1 AND customer_sid = ''",
        sid,
        customer_sid,
        kind,
    )
    return changed == 1


# Tasks of the operator


async def insert_task(tx: Tx, task: Task) -> str:
    """Insert a task and return its SID, or that of the same one still open."""
    row: dict[str, Any] = {field.name: getattr(task, field.name) for field in fields(Task)}
    inserted: str | None = await tx.fetchval(
        f"""
        INSERT INTO operator_tasks ({_TASK}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (kind, customer_sid, ref) WHERE done_at IS NULL DO NOTHING RETURNING sid
        """,
        *row.values(),
    )
    if inserted is not None:
        return inserted
    known: str | None = await tx.fetchval(
        "SELECT sid FROM operator_tasks WHERE kind = $1 AND customer_sid = $2 AND ref = $3 AND done_at IS NULL",
        task.kind,
        task.customer_sid,
        task.ref,
    )
    # The other one was closed just now: this task is open either way only if it is made again.
    return known if known is not None else await insert_task(tx, task)


async def list_tasks(tx: Tx, *, is_open: bool | None, kind: str | None, after: str, limit: int) -> list[Task]:
    """List tasks by SID after one of them."""
    rows = await tx.fetch(
        f"""
        SELECT {_TASK} FROM operator_tasks
        WHERE sid > $1 AND ($2::boolean IS NULL OR (done_at IS NULL) = $2) AND ($3::text IS NULL OR kind = $3)
        ORDER BY sid LIMIT $4
        """,
        after,
        is_open,
        kind,
        limit,
    )
    return [Task(**dict(row.items())) for row in rows]


async def fetch_task(tx: Tx, sid: str) -> Task | None:
    """Return a task."""
    row = await tx.fetchrow(f"SELECT {_TASK} FROM operator_tasks WHERE sid = $1", sid)
    return None if row is None else Task(**dict(row.items()))


async def close_task(tx: Tx, sid: str, done_by: str, note: str, at: datetime) -> bool:
    """Mark a task done; False when it is done or is none."""
    changed = await tx.execute(
        "UPDATE operator_tasks SET done_at = $4, done_by = $2, note = $3 WHERE sid = $1 AND done_at IS NULL",
        sid,
        done_by,
        note,
        at,
    )
    return changed == 1
