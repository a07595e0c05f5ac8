"""All SQL of the content room."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.engines.api import PageRequest


async def insert(tx: Tx, account_sid: str, sid: str, template: Mapping[str, Any], at: datetime) -> Row:
    """Store a template."""
    row = await tx.fetchrow(
        """INSERT INTO content_templates (account_sid, sid, friendly_name, language, variables, types, date_created,
                                          date_updated)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $7) RETURNING *""",
        account_sid,
        sid,
        template["friendly_name"],
        template["language"],
        template["variables"],
        template["types"],
        at,
    )
    assert row is not None
    return row


async def update(tx: Tx, account_sid: str, sid: str, template: Mapping[str, Any], at: datetime) -> Row | None:
    """Write a template anew."""
    return await tx.fetchrow(
        """UPDATE content_templates SET friendly_name = $3, language = $4, variables = $5, types = $6,
                  date_updated = $7
           WHERE account_sid = $1 AND sid = $2 RETURNING *""",
        account_sid,
        sid,
        template["friendly_name"],
        template["language"],
        template["variables"],
        template["types"],
        at,
    )


async def fetch(tx: Tx, account_sid: str, sid: str) -> Row | None:
    """Return one template and keep others from changing it until commit."""
    return await tx.fetchrow(
        "SELECT * FROM content_templates WHERE account_sid = $1 AND sid = $2 FOR UPDATE", account_sid, sid
    )


async def fetch_many(tx: Tx, keys: Sequence[tuple[str, str]]) -> list[Row]:
    """Return templates by (account_sid, sid)."""
    return await tx.fetch(
        """SELECT t.*, a.name AS approved_name, a.category AS approved_category FROM content_templates t
           LEFT JOIN content_approvals a
             ON a.account_sid = t.account_sid AND a.content_sid = t.sid AND a.status = 'approved'
           WHERE t.account_sid = ANY($1::text[]) AND t.sid = ANY($2::text[])""",
        list({key[0] for key in keys}),
        list({key[1] for key in keys}),
    )


async def page(tx: Tx, account_sid: str, request: PageRequest) -> list[Row]:
    """Return one page of templates with their approvals, newest first."""
    condition, tail = request.keyset("t.sid", 2)
    return await tx.fetch(
        f"""SELECT t.*, a.name, a.category, a.content_type, a.status, a.rejection_reason
            FROM content_templates t
            LEFT JOIN content_approvals a ON a.account_sid = t.account_sid AND a.content_sid = t.sid
            WHERE t.account_sid = $1 AND {condition} {tail}""",
        account_sid,
        request.key,
    )


async def all_of(tx: Tx, account_sid: str) -> list[Row]:
    """Return every template of an account with its approval, newest first."""
    return await tx.fetch(
        """SELECT t.*, a.name, a.category, a.content_type, a.status, a.rejection_reason
           FROM content_templates t
           LEFT JOIN content_approvals a ON a.account_sid = t.account_sid AND a.content_sid = t.sid
           WHERE t.account_sid = $1 ORDER BY t.sid DESC""",
        account_sid,
    )


async def delete(tx: Tx, account_sid: str, sid: str) -> bool:
    """Remove a template with its approval; tell whether it was there."""
    return await tx.execute("DELETE FROM content_templates WHERE account_sid = $1 AND sid = $2", account_sid, sid) > 0


async def insert_approval(
    tx: Tx, account_sid: str, content_sid: str, name: str, category: str, content_type: str, at: datetime
) -> Row:
    """Store that a template was submitted."""
    row = await tx.fetchrow(
        """INSERT INTO content_approvals (account_sid, content_sid, name, category, content_type, status,
                                          rejection_reason, date_created, date_updated)
           VALUES ($1, $2, $3, $4, $5, 'received', '', $6, $6) RETURNING *""",
        account_sid,
        content_sid,
        name,
        category,
        content_type,
        at,
    )
    assert row is not None
    return row


async def fetch_approval(tx: Tx, account_sid: str, content_sid: str) -> Row | None:
    """Return a template's approval and keep others from changing it until commit."""
    return await tx.fetchrow(
        "SELECT * FROM content_approvals WHERE account_sid = $1 AND content_sid = $2 FOR UPDATE",
        account_sid,
        content_sid,
    )


async def move_approval(
    tx: Tx, account_sid: str, content_sid: str, status: str, rejection_reason: str, at: datetime
) -> None:
    """Move an approval on."""
    await tx.execute(
        """UPDATE content_approvals SET status = $3, rejection_reason = $4, date_updated = $5
           WHERE account_sid = $1 AND content_sid = $2""",
        account_sid,
        content_sid,
        status,
        rejection_reason,
        at,
    )
