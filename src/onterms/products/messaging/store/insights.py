"""All SQL of insights: messages summed up by spans of time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from onterms.core.db import Row, Tx
from onterms.products.messaging.model.insights import DIMENSIONS, OPEN, Level


class Sum(NamedTuple):
    """Messages of one span that are alike."""

    span: datetime
    direction: str
    status: str
    error_code: int
    country: str
    carrier: str
    service_sid: str
    sender: str
    messages: int
    segments: int
    latency: Mapping[str, int]


async def lock_mark(tx: Tx, account_sid: str, level: Level, beginning: datetime) -> Row:
    """Return up to where an account's messages are summed up, and let nobody else sum them up until commit."""
    await tx.execute(
        "INSERT INTO messaging_insight_marks VALUES ($1, $2, $3, $3, $3) ON CONFLICT DO NOTHING",
        account_sid,
        level.table,
        beginning,
    )
    row = await tx.fetchrow(
        "SELECT * FROM messaging_insight_marks WHERE account_sid = $1 AND table_name = $2 FOR UPDATE",
        account_sid,
        level.table,
    )
    assert row is not None
    return row


async def set_mark(
    tx: Tx, account_sid: str, level: Level, summed_until: datetime, looked_at: datetime, mended_at: datetime
) -> None:
    """Say up to where an account's messages are summed up."""
    await tx.execute(
        """UPDATE messaging_insight_marks SET summed_until = $3, looked_at = $4, mended_at = $5
           WHERE account_sid = $1 AND table_name = $2""",
        account_sid,
        level.table,
        summed_until,
        looked_at,
        mended_at,
    )


# tenant: the room's own work for every account that reads its sums.
async def marked(tx: Tx, before: datetime, limit: int) -> list[tuple[str, str]]:
    """List (account_sid, table) whose sums were not looked at since a moment."""
    rows = await tx.fetch(
        "SELECT account_sid, table_name FROM messaging_insight_marks WHERE looked_at < $1 ORDER BY looked_at LIMIT $2",
        before,
        limit,
    )
    return [(row["account_sid"], row["table_name"]) for row in rows]


async def open_spans(tx: Tx, account_sid: str, level: Level, since: datetime) -> list[datetime]:
    """List the spans with messages that may still change."""
    rows = await tx.fetch(
        f"""SELECT DISTINCT span FROM {level.table}
            WHERE account_sid = $1 AND span >= $2 AND status = ANY($3::text[])""",
        account_sid,
        since,
        list(OPEN),
    )
    return [row["span"] for row in rows]


def _place(at: datetime) -> str:
    # SIDs begin with their milliseconds, so a stretch of time is a stretch of the index.
    return f"{max(0, int(at.timestamp() * 1000)):012x}"


async def sum_up(tx: Tx, account_sid: str, level: Level, start: datetime, end: datetime) -> list[Row]:
    """Sum messages made in [start, end) up; a country is told by one of the numbers that begin alike.

    Shapes: `step` is of the latency of what was delivered, else null.
    """
    length_s = int(level.span.total_seconds())
    own = "CASE WHEN direction = 'inbound' THEN recipient ELSE sender END" if level.has_senders else "''::text"
    return await tx.fetch(
        f"""
        SELECT to_timestamp((('x' || substr(sid, 3, 12))::bit(48)::bigint / {length_s * 1000}) * {length_s}) AS span,
               direction, status,
               coalesce(error_code, 0) AS error_code, min(peer) AS peer, coalesce(carrier, '') AS carrier,
               {own} AS own,
               coalesce(messaging_service_sid, '') AS service_sid, count(*) AS messages,
               sum(num_segments)::bigint AS segments,
               CASE WHEN status = 'delivered' THEN ceil(greatest(0, ln(greatest(
                   extract(epoch FROM date_updated - date_created), 0.01)::float8 / 0.01) / ln(1.25::float8)))::int
                   END AS step
        FROM messages
        WHERE account_sid = $1 AND substr(sid, 3) >= $2 AND substr(sid, 3) < $3
        GROUP BY 1, 2, 3, 4, left(peer, 8), 6, 7, 8, 11
        """,
        account_sid,
        _place(start),
        _place(end),
    )


async def replace(tx: Tx, account_sid: str, level: Level, spans: Sequence[datetime], sums: Sequence[Sum]) -> None:
    """Put sums in place of those of spans."""
    if spans:
        await tx.execute(
            f"DELETE FROM {level.table} WHERE account_sid = $1 AND span = ANY($2::timestamptz[])",
            account_sid,
            list(spans),
        )
    if not sums:
        return
    columns = [list(column) for column in zip(*sums, strict=True)]
    await tx.execute(
        f"""
        INSERT INTO {level.table} (account_sid, span, direction, status, error_code, country, carrier, service_sid,
                                   sender, messages, segments, latency)
        SELECT $1, * FROM unnest($2::timestamptz[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[],
                                 $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::jsonb[])
        """,
        account_sid,
        *columns,
    )


async def read(
    tx: Tx,
    account_sid: str,
    level: Level,
    start: datetime,
    end: datetime,
    filters: Mapping[str, Any],
    by: Sequence[str],
    limit: int,
) -> list[Row]:
    """Add sums of spans in [start, end) up by dimensions, `hour` or `day`, those with most messages first.

    Shapes: filters hold values by dimension.
    """
    args: list[Any] = [account_sid, start, end, limit]
    clauses = ["account_sid = $1", "span >= $2", "span < $3"]
    for name in DIMENSIONS:
        if name in filters:
            args.append(filters[name])
            clauses.append(f"{name} = ${len(args)}")
    parts = {"hour": "date_trunc('hour', span, 'UTC')", "day": "date_trunc('day', span, 'UTC')"}
    columns = [f"{parts.get(name, name)} AS {name}" for name in by]
    shown = "".join(f"{column}, " for column in columns)
    group = f"GROUP BY {', '.join(str(place) for place in range(1, len(by) + 1))}" if by else ""
    return await tx.fetch(
        f"""
        SELECT {shown}coalesce(sum(messages), 0)::bigint AS messages, coalesce(sum(segments), 0)::bigint AS segments,
               coalesce(sum(messages) FILTER (WHERE status IN ('delivered', 'read')), 0)::bigint AS delivered,
               coalesce(sum(messages) FILTER (WHERE status = 'undelivered'), 0)::bigint AS undelivered,
               coalesce(sum(messages) FILTER (WHERE status = 'failed'), 0)::bigint AS failed
        FROM {level.table} WHERE {" AND ".join(clauses)}
        {group} ORDER BY messages DESC{"".join(f", {place}" for place in range(1, len(by) + 1))} LIMIT $4
        """,
        *args,
    )


async def latencies(
    tx: Tx, account_sid: str, level: Level, start: datetime, end: datetime, filters: Mapping[str, Any]
) -> dict[int, int]:
    """Add the latencies of what was delivered up, by step."""
    args: list[Any] = [account_sid, start, end]
    clauses = ["account_sid = $1", "span >= $2", "span < $3", "status = 'delivered'"]
    for name in DIMENSIONS:
        if name in filters:
            args.append(filters[name])
            clauses.append(f"{name} = ${len(args)}")
    rows = await tx.fetch(
        f"""
        SELECT step.key::int AS step, sum(step.value::bigint)::bigint AS messages
        FROM {level.table}, jsonb_each_text(latency) AS step WHERE {" AND ".join(clauses)} GROUP BY 1
        """,
        *args,
    )
    return {row["step"]: row["messages"] for row in rows}
