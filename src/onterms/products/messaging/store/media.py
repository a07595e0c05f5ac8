"""The SQL of messages' files. Their bytes are kept once for an account, in media_contents, which a trigger clears."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.engines.api import PageRequest


async def insert_media(
    tx: Tx, account_sid: str, message_sid: str, media: Sequence[tuple[str, str, bytes]], at: datetime
) -> None:
    """Store a message's files: (sid, content type, bytes)."""
    if media:
        digests = [hashlib.sha256(data).digest() for _, _, data in media]
        contents = {digest: data for digest, (_, _, data) in zip(digests, media, strict=True)}
        # In one order, for two messages may have files in common.
        wanted = sorted(contents)
        await tx.execute(
            """INSERT INTO media_contents AS c (account_sid, digest, data, uses)
               SELECT $1, digest, data, uses FROM unnest($2::bytea[], $3::bytea[], $4::bigint[])
                 AS new (digest, data, uses)
               ON CONFLICT (account_sid, digest) DO UPDATE SET uses = c.uses + excluded.uses""",
            account_sid,
            wanted,
            [contents[digest] for digest in wanted],
            [digests.count(digest) for digest in wanted],
        )
        await tx.execute(
            """INSERT INTO message_media (account_sid, message_sid, sid, content_type, digest, date_created)
               SELECT $1, $2, sid, content_type, digest, $6
               FROM unnest($3::text[], $4::text[], $5::bytea[]) AS new (sid, content_type, digest)""",
            account_sid,
            message_sid,
            [sid for sid, _, _ in media],
            [content_type for _, content_type, _ in media],
            digests,
            at,
        )
    await tx.execute(
        """UPDATE messages SET num_media = (SELECT count(*) FROM message_media
                                            WHERE account_sid = $1 AND message_sid = $2)
           WHERE account_sid = $1 AND sid = $2""",
        account_sid,
        message_sid,
    )


async def media_page(
    tx: Tx, account_sid: str, message_sid: str, request: PageRequest, filters: Mapping[str, Any]
) -> list[Row]:
    """Return one page of a message's media without their bytes, newest first."""
    args: list[Any] = [account_sid, message_sid, request.key]
    condition, tail = request.keyset("sid", 3)
    clauses = ["account_sid = $1", "message_sid = $2", condition]
    for name, clause in (("created_from", "date_created >= ${}"), ("created_before", "date_created < ${}")):
        if name in filters:
            args.append(filters[name])
            clauses.append(clause.format(len(args)))
    return await tx.fetch(
        f"""SELECT account_sid, message_sid, sid, content_type, date_created FROM message_media
            WHERE {" AND ".join(clauses)} {tail}""",
        *args,
    )


async def media_sids(tx: Tx, account_sid: str, message_sid: str) -> list[Row]:
    """Return sid and content type of a message's media in the order they were attached."""
    return await tx.fetch(
        "SELECT sid, content_type FROM message_media WHERE account_sid = $1 AND message_sid = $2 ORDER BY sid",
        account_sid,
        message_sid,
    )


async def files_of(tx: Tx, account_sid: str, message_sid: str) -> list[Row]:
    """Return a message's files with their bytes in the order they were attached."""
    return await tx.fetch(
        """SELECT m.sid, m.content_type, c.data FROM message_media m
           JOIN media_contents c USING (account_sid, digest)
           WHERE m.account_sid = $1 AND m.message_sid = $2 ORDER BY m.sid""",
        account_sid,
        message_sid,
    )


async def fetch_media(tx: Tx, account_sid: str, message_sid: str, sid: str) -> Row | None:
    """Return one file with its bytes."""
    return await tx.fetchrow(
        """SELECT m.*, c.data FROM message_media m JOIN media_contents c USING (account_sid, digest)
           WHERE m.account_sid = $1 AND m.message_sid = $2 AND m.sid = $3""",
        account_sid,
        message_sid,
        sid,
    )


async def delete_media(tx: Tx, account_sid: str, message_sid: str, sid: str) -> bool:
    """Remove one file; tell whether it was there."""
    changed = await tx.execute(
        "DELETE FROM message_media WHERE account_sid = $1 AND message_sid = $2 AND sid = $3",
        account_sid,
        message_sid,
        sid,
    )
    return changed > 0


async def media_settings(tx: Tx, account_sid: str) -> Row | None:
    """Return how an account keeps its files, where it said so."""
    return await tx.fetchrow("SELECT * FROM messaging_media_settings WHERE account_sid = $1", account_sid)


async def save_media_settings(
    tx: Tx, account_sid: str, requires_auth: bool, retention_days: int | None, run: str, at: datetime
) -> None:
    """Store how an account keeps its files."""
    await tx.execute(
        """INSERT INTO messaging_media_settings (account_sid, requires_auth, retention_days, run, date_updated)
           VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (account_sid) DO UPDATE SET requires_auth = excluded.requires_auth,
               retention_days = excluded.retention_days, run = excluded.run, date_updated = excluded.date_updated""",
        account_sid,
        requires_auth,
        retention_days,
        run,
        at,
    )


async def delete_media_before(tx: Tx, account_sid: str, before: datetime, limit: int) -> int:
    """Remove an account's files from before a moment, as many as asked for; return how many there were."""
    return await tx.execute(
        """DELETE FROM message_media WHERE account_sid = $1 AND (message_sid, sid) IN (
               SELECT message_sid, sid FROM message_media WHERE account_sid = $1 AND date_created < $2
               ORDER BY date_created LIMIT $3)""",
        account_sid,
        before,
        limit,
    )
