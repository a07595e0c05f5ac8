"""What the page reads of an account: messages, files, alerts. It writes nothing."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.engines import log
from onterms.engines.api import catalogue
from onterms.products import messaging as messaging_room

_MESSAGE = (
    "sid, direction, sender, recipient, body, encoding, num_segments, num_media, status, error_code, price_micros, "
    "price_unit, date_created, date_sent, date_updated"
)


async def messages(
    tx: Tx,
    account_sid: str,
    *,
    number: str | None = None,
    number_is_ours: bool = False,
    status: str | None = None,
    before: str | None = None,
    limit: int,
) -> list[dict[str, Any]]:
    """List messages, newest first."""
    args: list[Any] = [account_sid, limit]
    clauses = ["account_sid = $1"]
    if number is not None:
        args.append(number)
        # The handset's side has an index; our own numbers do not need one, for most messages are theirs.
        clauses.append("(sender = $3 OR recipient = $3)" if number_is_ours else "peer = $3")
    if status is not None:
        args.append(status)
        clauses.append(f"status = ${len(args)}")
    # SIDs tell the time after their two letters only, so each kind is read from its own end of the key and both are
    # merged; sorting a whole account by the rest of the SID would read all of it. `g` follows every hexadecimal digit.
    parts = []
    for prefix in ("SM", "MM"):
        args += [prefix, prefix + (before[2:] if before is not None else "g")]
        span = f"sid >= ${len(args) - 1} AND sid < ${len(args)}"
        parts.append(
            f"(SELECT {_MESSAGE} FROM messages WHERE {' AND '.join(clauses)} AND {span} ORDER BY sid DESC LIMIT $2)"
        )
    rows = await tx.fetch(" UNION ALL ".join(parts), *args)
    rows.sort(key=lambda row: row["sid"][2:], reverse=True)
    return [_shown_message(row) for row in rows[:limit]]


async def message(tx: Tx, account_sid: str, sid: str) -> tuple[dict[str, Any], Row] | None:
    """Return a message as it is shown, and its row."""
    row = await tx.fetchrow(
        f"SELECT {_MESSAGE}, media_urls, status_callback, carrier, carrier_id, history FROM messages "
        "WHERE account_sid = $1 AND sid = $2",
        account_sid,
        sid,
    )
    if row is None:
        return None
    files = await tx.fetch(
        "SELECT m.sid, m.content_type, length(c.data) AS size FROM message_media m "
        "JOIN media_contents c USING (account_sid, digest) "
        "WHERE m.account_sid = $1 AND m.message_sid = $2 ORDER BY m.sid",
        account_sid,
        sid,
    )
    shown = _shown_message(row)
    shown["carrier"] = row["carrier"]
    shown["carrier_id"] = row["carrier_id"]
    shown["media"] = [dict(file) for file in files]
    return shown, row


async def file(tx: Tx, account_sid: str, message_sid: str, sid: str) -> Row | None:
    """Return one file of a message."""
    return await tx.fetchrow(
        "SELECT m.content_type, c.data FROM message_media m JOIN media_contents c USING (account_sid, digest) "
        "WHERE m.account_sid = $1 AND m.message_sid = $2 AND m.sid = $3",
        account_sid,
        message_sid,
        sid,
    )


async def timeline(tx: Tx, account_sid: str, sid: str, row: Row | None) -> list[dict[str, Any]]:
    """List what happened to a message, oldest first: its own history, where it is still there, and what the log has."""
    logged = [(event.at, str(event.id), event.type, event.data) for event in await log.timeline(tx, account_sid, sid)]
    life = [] if row is None or row["direction"] == "inbound" else _life(row)
    return [
        {"id": id_, "type": type_, "at": _shown_time(at), "data": _explained(data)}
        # Stable: of one moment, what the message became comes before whom that was told.
        for at, id_, type_, data in sorted([*life, *logged], key=lambda entry: entry[0])
    ]


def _life(row: Row) -> list[tuple[datetime, str, str, dict[str, Any]]]:
    moves = messaging_room.moves_of(row["history"])
    first = moves.pop(0).status if moves and moves[0].status in ("accepted", "scheduled") else "queued"
    return [
        (row["date_created"], "accepted", "message.accepted", {"status": first, "direction": row["direction"]}),
        *(
            (
                move.at,
                f"move-{place}",
                "message.status_changed",
                {
                    "status": move.status,
                    "error_code": move.error_code,
                    "carrier": move.carrier,
                    "carrier_id": move.carrier_id,
                },
            )
            for place, move in enumerate(moves)
        ),
    ]


async def alerts(tx: Tx, account_sid: str, limit: int) -> list[dict[str, Any]]:
    """List the newest alerts."""
    rows = await tx.fetch(
        "SELECT sid, error_code, level, text, resource_sid, request_method, request_url, generated_at FROM alerts "
        "WHERE account_sid = $1 ORDER BY sid DESC LIMIT $2",
        account_sid,
        limit,
    )
    return [
        {
            "sid": row["sid"],
            "code": row["error_code"],
            "meaning": catalogue.meaning(row["error_code"]),
            # The numbers of the 2010 API's `Log`: 0 is an error, the rest is less.
            "level": "error" if row["level"] == 0 else "warning",
            "text": row["text"],
            "resource_sid": row["resource_sid"],
            "request": f"{row['request_method'] or 'POST'} {row['request_url']}" if row["request_url"] else None,
            "at": _shown_time(row["generated_at"]),
        }
        for row in rows
    ]


def _shown_message(row: Row) -> dict[str, Any]:
    price = row["price_micros"]
    return {
        "sid": row["sid"],
        "direction": row["direction"],
        "from": row["sender"],
        "to": row["recipient"],
        "body": row["body"],
        "encoding": row["encoding"],
        "segments": row["num_segments"],
        "num_media": row["num_media"],
        "status": row["status"],
        "error_code": row["error_code"],
        "error_meaning": catalogue.meaning(row["error_code"]) if row["error_code"] else None,
        "price": None if price is None else f"{price / 1_000_000:.5f} {row['price_unit']}",
        "created_at": _shown_time(row["date_created"]),
        "sent_at": _shown_time(row["date_sent"]) if row["date_sent"] else None,
        "updated_at": _shown_time(row["date_updated"]),
    }


def _explained(data: Mapping[str, Any]) -> dict[str, Any]:
    explained = dict(data)
    code = data.get("error_code")
    if isinstance(code, int):
        explained["error_meaning"] = catalogue.meaning(code)
    return explained


def _shown_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
