"""All SQL of the SMPP carrier's tables."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from onterms.carriers.smpp.model import CarrierSettings, Quality, Route
from onterms.core.db import Row, Tx

CHANNEL: Final = "onterms_smpp"
# The ends that count for a route's quality. Ours: long enough to measure small routes, short enough to react.
QUALITY_WINDOW: Final = timedelta(hours=1)


async def _tell(tx: Tx) -> None:
    await tx.execute("SELECT pg_notify($1, '')", CHANNEL)


# ---- carriers and routes


async def carriers(tx: Tx) -> list[Row]:
    """List all carriers, in the order of their creation."""
    return await tx.fetch("SELECT * FROM smpp_carriers ORDER BY sid")


async def carrier(tx: Tx, sid: str, *, lock: bool = False) -> Row | None:
    """Return one carrier."""
    return await tx.fetchrow(f"SELECT * FROM smpp_carriers WHERE sid = $1 {'FOR UPDATE' if lock else ''}", sid)


async def name_is_taken(tx: Tx, name: str, sid: str) -> bool:
    """Tell whether another carrier has the name."""
    sql = "SELECT EXISTS (SELECT FROM smpp_carriers WHERE name = $1 AND sid <> $2)"
    taken: bool = await tx.fetchval(sql, name, sid)
    return taken


def settings_of(row: Row) -> CarrierSettings:
    """Return a carrier's settings."""
    return msgspec.convert(row["settings"], CarrierSettings)


async def save_carrier(tx: Tx, sid: str, name: str, password: bytes, settings: CarrierSettings, at: datetime) -> None:
    """Make a carrier or change it, and tell the workers."""
    await tx.execute(
        """
        INSERT INTO smpp_carriers (sid, name, password, settings, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $5)
        ON CONFLICT (sid) DO UPDATE SET name = $2, password = $3, settings = $4, updated_at = $5
        """,
        sid,
        name,
        password,
        msgspec.to_builtins(settings),
        at,
    )
    await _tell(tx)


async def delete_carrier(tx: Tx, sid: str) -> None:
    """Delete a carrier with its routes, and tell the workers; what is under way stays known."""
    await tx.execute("DELETE FROM smpp_carriers WHERE sid = $1", sid)
    await _tell(tx)


async def routes(tx: Tx, carrier_sid: str | None = None) -> list[Row]:
    """List routes with their carriers' names."""
    return await tx.fetch(
        """
        SELECT r.*, c.name AS carrier FROM smpp_routes r JOIN smpp_carriers c ON c.sid = r.carrier_sid
        WHERE $1::text IS NULL OR r.carrier_sid = $1 ORDER BY r.prefix, r.priority, r.sid
        """,
        carrier_sid,
    )


async def route(tx: Tx, sid: str) -> Row | None:
    """Return one route with its carrier's name."""
    return await tx.fetchrow(
        """
        SELECT r.*, c.name AS carrier FROM smpp_routes r JOIN smpp_carriers c ON c.sid = r.carrier_sid WHERE r.sid = $1
        """,
        sid,
    )


async def save_route(tx: Tx, route: Route, enabled: bool, at: datetime) -> None:
    """Make a route or change it, and tell the workers."""
    await tx.execute(
        """
        INSERT INTO smpp_routes (sid, carrier_sid, prefix, mcc, mnc, cost_micros, priority, min_quality, enabled,
                                 created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (sid) DO UPDATE SET carrier_sid = $2, prefix = $3, mcc = $4, mnc = $5, cost_micros = $6,
            priority = $7, min_quality = $8, enabled = $9
        """,
        route.sid,
        route.carrier_sid,
        route.prefix,
        route.mcc,
        route.mnc,
        route.cost_micros,
        route.priority,
        route.min_quality,
        enabled,
        at,
    )
    await _tell(tx)


async def delete_route(tx: Tx, sid: str) -> bool:
    """Delete a route, tell the workers, and tell whether there was one."""
    found = await tx.execute("DELETE FROM smpp_routes WHERE sid = $1", sid)
    await _tell(tx)
    return found > 0


async def live_routes(tx: Tx) -> list[Route]:
    """List the routes that are in use."""
    rows = await tx.fetch("SELECT * FROM smpp_routes WHERE enabled")
    return [Route(**{name: row[name] for name in Route.__dataclass_fields__}) for row in rows]


# ---- quality


async def count_ends(tx: Tx, counted: Mapping[str, Quality], bucket: datetime) -> None:
    """Add to a bucket's counts; a route deleted meanwhile is left out."""
    await tx.execute(
        """
        INSERT INTO smpp_quality (route_sid, bucket, delivered, undelivered)
        SELECT new.sid, $2::timestamptz, new.delivered, new.undelivered
        FROM unnest($1::text[], $3::bigint[], $4::bigint[]) AS new (sid, delivered, undelivered)
        JOIN smpp_routes r ON r.sid = new.sid
        ON CONFLICT (route_sid, bucket) DO UPDATE SET
            delivered = smpp_quality.delivered + excluded.delivered,
            undelivered = smpp_quality.undelivered + excluded.undelivered
        """,
        list(counted),
        bucket,
        [each.delivered for each in counted.values()],
        [each.undelivered for each in counted.values()],
    )


async def quality(tx: Tx, since: datetime) -> dict[str, Quality]:
    """Sum up each route's ends since a moment."""
    rows = await tx.fetch(
        """
        SELECT route_sid, sum(delivered)::bigint AS delivered, sum(undelivered)::bigint AS undelivered
        FROM smpp_quality WHERE bucket >= $1 GROUP BY route_sid
        """,
        since,
    )
    return {row["route_sid"]: Quality(row["delivered"], row["undelivered"]) for row in rows}


# ---- links


class LinkRow(NamedTuple):
    """What a worker says of one of its links."""

    carrier_sid: str
    number: int
    bind: str
    state: str
    since: datetime
    under_way: int
    queued: int
    is_throttled: bool
    last_error: str
    segments: int
    refused: int
    throttled: int
    receipts: int
    inbound: int


async def save_links(tx: Tx, node: str, links: Sequence[LinkRow], at: datetime) -> None:
    """Write down how a worker's links are, and forget those it has no more."""
    await tx.execute(
        """
        DELETE FROM smpp_links WHERE node = $1
        AND (carrier_sid, number) NOT IN (SELECT * FROM unnest($2::text[], $3::int[]))
        """,
        node,
        [each.carrier_sid for each in links],
        [each.number for each in links],
    )
    columns: list[Sequence[Any]] = list(zip(*links, strict=True)) if links else [() for _ in LinkRow._fields]
    await tx.execute(
        """
        INSERT INTO smpp_links (node, updated_at, carrier_sid, number, bind, state, since, under_way, queued,
                                is_throttled, last_error, segments, refused, throttled, receipts, inbound)
        SELECT $1::text, $2::timestamptz, new.* FROM unnest(
            $3::text[], $4::int[], $5::text[], $6::text[], $7::timestamptz[], $8::int[], $9::int[], $10::bool[],
            $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[]) AS new (carrier_sid)
        JOIN smpp_carriers c ON c.sid = new.carrier_sid
        ON CONFLICT (node, carrier_sid, number) DO UPDATE SET
            updated_at = excluded.updated_at, bind = excluded.bind, state = excluded.state, since = excluded.since,
            under_way = excluded.under_way, queued = excluded.queued, is_throttled = excluded.is_throttled,
            last_error = excluded.last_error, segments = excluded.segments, refused = excluded.refused,
            throttled = excluded.throttled, receipts = excluded.receipts, inbound = excluded.inbound
        """,
        node,
        at,
        *(list(column) for column in columns),
    )


async def links(tx: Tx) -> list[Row]:
    """List every worker's links with their carriers' names."""
    return await tx.fetch(
        """
        SELECT l.*, c.name AS carrier FROM smpp_links l JOIN smpp_carriers c ON c.sid = l.carrier_sid
        ORDER BY l.node, l.carrier_sid, l.number
        """
    )


async def bound_elsewhere(tx: Tx, node: str, since: datetime) -> set[str]:
    """Return the carriers that have a bound link at another node that said so since a moment."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT carrier_sid FROM smpp_links
        WHERE node <> $1 AND updated_at >= $2 AND state = 'bound' AND bind <> 'receiver'
        """,
        node,
        since,
    )
    return {row["carrier_sid"] for row in rows}


async def forget_links(tx: Tx, before: datetime) -> None:
    """Forget the links of nodes that have not spoken since a moment."""
    await tx.execute("DELETE FROM smpp_links WHERE updated_at < $1", before)


# ---- the numbering table


async def networks(tx: Tx) -> list[tuple[str, str, str]]:
    """List the numbering table: (prefix, mcc, mnc)."""
    rows = await tx.fetch("SELECT prefix, mcc, mnc FROM smpp_networks")
    return [(row["prefix"], row["mcc"], row["mnc"]) for row in rows]


async def networks_page(tx: Tx, after: str, limit: int) -> list[Row]:
    """Return a page of the numbering table."""
    return await tx.fetch("SELECT * FROM smpp_networks WHERE prefix > $1 ORDER BY prefix LIMIT $2", after, limit)


async def network_of(tx: Tx, digits: str) -> Row | None:
    """Return the entry of the longest prefix of a number."""
    return await tx.fetchrow(
        "SELECT * FROM smpp_networks WHERE prefix = ANY($1::text[]) ORDER BY length(prefix) DESC LIMIT 1",
        [digits[:length] for length in range(1, len(digits) + 1)],
    )


async def set_networks(tx: Tx, entries: Sequence[tuple[str, str, str, str]]) -> None:
    """Put another numbering table in place of the present one: (prefix, mcc, mnc, name)."""
    await tx.execute("DELETE FROM smpp_networks")
    await tx.execute(
        """
        INSERT INTO smpp_networks (prefix, mcc, mnc, name)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
        """,
        *([each[place] for each in entries] for place in range(4)),
    )
    await _tell(tx)


# ---- handed from node to node

HANDOVERS: Final = "onterms_smpp_handovers"


async def put_handovers(tx: Tx, rows: Sequence[tuple[str, str, str, Any]], at: datetime) -> None:
    """Write down messages for another node: (carrier_sid, account_sid, sid, message); a repeat stays as it is."""
    await tx.execute(
        """
        INSERT INTO smpp_handovers (carrier_sid, account_sid, sid, message, made_at)
        SELECT carrier_sid, account_sid, sid, message, $5
        FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[]) AS new (carrier_sid, account_sid, sid, message)
        ON CONFLICT (sid) DO NOTHING
        """,
        *([each[place] for each in rows] for place in range(4)),
        at,
    )
    await tx.execute("SELECT pg_notify($1, '')", HANDOVERS)


# tenant: a carrier sends every account's messages; each row names its own.
async def take_handovers(tx: Tx, carrier_sids: Sequence[str], limit: int) -> list[Row]:
    """Return messages that wait for carriers, oldest first, locked; those that another node has now are absent."""
    return await tx.fetch(
        """
        SELECT * FROM smpp_handovers WHERE carrier_sid = ANY($1::text[])
        ORDER BY sid LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        list(carrier_sids),
        limit,
    )


# tenant: as above.
async def drop_handovers(tx: Tx, sids: Sequence[str]) -> None:
    """Forget messages of which it is known what became."""
    await tx.execute("DELETE FROM smpp_handovers WHERE sid = ANY($1::text[])", list(sids))


# ---- parts under way


class NewPart(NamedTuple):
    """A part about to be written to a connection."""

    sid: str
    part: int
    parts: int
    account_sid: str
    carrier_sid: str
    route_sid: str
    sender: str
    recipient: str


# tenant: each part's account is given with it.
async def put_parts(tx: Tx, new: Sequence[NewPart], at: datetime) -> set[str]:
    """Write down what is about to be handed over; return the SIDs that are new."""
    rows = await tx.fetch(
        """
        INSERT INTO smpp_parts (written_at, sid, part, parts, account_sid, carrier_sid, route_sid, sender, recipient)
        SELECT $1::timestamptz, sid, part, parts, account_sid, carrier_sid, route_sid, sender, recipient
        FROM unnest($2::text[], $3::int[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
             AS new (sid, part, parts, account_sid, carrier_sid, route_sid, sender, recipient)
        ON CONFLICT (sid, part) DO NOTHING RETURNING sid
        """,
        at,
        *(list(column) for column in zip(*new, strict=True)),
    )
    return {row["sid"] for row in rows}


# tenant: the SIDs are those of messages that the carrier was given with their accounts.
async def parts_of(tx: Tx, sids: Sequence[str]) -> dict[str, list[Row]]:
    """Return the parts of messages, locked, in order."""
    rows = await tx.fetch(
        "SELECT * FROM smpp_parts WHERE sid = ANY($1::text[]) ORDER BY sid, part FOR UPDATE", list(sids)
    )
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["sid"], []).append(row)
    return found


# tenant: as above.
async def known(tx: Tx, sids: Sequence[str]) -> set[str]:
    """Return which messages are under way."""
    rows = await tx.fetch(
        """
        SELECT sid FROM smpp_parts WHERE sid = ANY($1::text[])
        UNION SELECT sid FROM smpp_handovers WHERE sid = ANY($1::text[])
        """,
        list(sids),
    )
    return {row["sid"] for row in rows}


# tenant: as above.
async def name_parts(tx: Tx, named: Sequence[tuple[str, int, str, str]]) -> None:
    """Write down what the carrier calls parts: (sid, part, as it said, as its receipts say)."""
    # By the key's first column with ANY, for a join with a short list would be planned as a scan of a grown table.
    await tx.execute(
        """
        UPDATE smpp_parts AS p SET given_id = new.given_id, carrier_id = new.carrier_id, is_ambiguous = false
        FROM unnest($1::text[], $2::int[], $3::text[], $4::text[]) AS new (sid, part, given_id, carrier_id)
        WHERE p.sid = new.sid AND p.part = new.part
        """,
        [each[0] for each in named],
        [each[1] for each in named],
        [each[2] for each in named],
        [each[3] for each in named],
    )


# tenant: as above.
async def drop(tx: Tx, sids: Sequence[str]) -> None:
    """Forget messages whose end is known."""
    await tx.execute("DELETE FROM smpp_parts WHERE sid = ANY($1::text[])", list(sids))


# tenant: as above.
async def mark_ambiguous(tx: Tx, sids: Sequence[str]) -> list[Row]:
    """Note that no answer to the open parts of these messages will come any more; return those parts."""
    return await tx.fetch(
        """
        UPDATE smpp_parts SET is_ambiguous = true WHERE sid = ANY($1::text[]) AND carrier_id IS NULL
        RETURNING sid, carrier_sid, sender, recipient
        """,
        list(sids),
    )


# tenant: a carrier knows its own ids only; what is found says whose it is.
async def parts_named(tx: Tx, carrier_sids: Sequence[str], carrier_ids: Sequence[str]) -> list[Row]:
    """Return parts by what their carriers call them, locked."""
    return await tx.fetch(
        """
        SELECT p.* FROM smpp_parts p
        WHERE p.carrier_sid = ANY($1::text[]) AND p.carrier_id = ANY($2::text[]) ORDER BY p.sid, p.part FOR UPDATE
        """,
        sorted(set(carrier_sids)),
        list(carrier_ids),
    )


# tenant: as above.
async def unanswered_to(tx: Tx, carrier_sids: Sequence[str], recipients: Sequence[str], before: datetime) -> list[Row]:
    """Return the parts to recipients that have no name, locked; `is_lost` where no answer is expected any more."""
    return await tx.fetch(
        """
        SELECT *, is_ambiguous OR written_at < $3 AS is_lost FROM smpp_parts
        WHERE carrier_sid = ANY($1::text[]) AND recipient = ANY($2::text[]) AND carrier_id IS NULL
        ORDER BY sid, part FOR UPDATE
        """,
        sorted(set(carrier_sids)),
        sorted(set(recipients)),
        before,
    )


# tenant: the parts were found by their carriers' ids.
async def end_parts(tx: Tx, ended: Sequence[tuple[str, int, str, int | None]]) -> None:
    """Write down how parts ended: (sid, part, state, code)."""
    await tx.execute(
        """
        UPDATE smpp_parts AS p SET state = new.state, code = new.code
        FROM unnest($1::text[], $2::int[], $3::text[], $4::int[]) AS new (sid, part, state, code)
        WHERE p.sid = new.sid AND p.part = new.part
        """,
        [each[0] for each in ended],
        [each[1] for each in ended],
        [each[2] for each in ended],
        [each[3] for each in ended],
    )


# tenant: the sweep is over every account's messages.
async def given_up(tx: Tx, carrier_sid: str, before: datetime, limit: int) -> list[Row]:
    """Return the messages of a carrier with parts that went unanswered for too long, locked."""
    return await tx.fetch(
        """
        SELECT DISTINCT ON (sid) sid, account_sid, route_sid FROM (
            SELECT sid, account_sid, route_sid FROM smpp_parts
            WHERE carrier_sid = $1 AND written_at < $2 AND carrier_id IS NULL
            ORDER BY written_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS late
        """,
        carrier_sid,
        before,
        limit,
    )


# tenant: as above.
async def given_up_elsewhere(tx: Tx, carrier_sids: Sequence[str], before: datetime, limit: int) -> list[Row]:
    """Return such messages of carriers that are none of these, because they were deleted or switched off."""
    return await tx.fetch(
        """
        SELECT DISTINCT ON (sid) sid, account_sid, route_sid FROM (
            SELECT sid, account_sid, route_sid FROM smpp_parts
            WHERE carrier_sid <> ALL($1::text[]) AND written_at < $2 AND carrier_id IS NULL
            ORDER BY written_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS late
        """,
        list(carrier_sids),
        before,
        limit,
    )


# tenant: as above.
async def to_query(tx: Tx, carrier_sid: str, before: datetime, at: datetime, limit: int) -> list[Row]:
    """Take parts without a receipt for an inquiry, those first that were not asked about."""
    return await tx.fetch(
        """
        UPDATE smpp_parts SET queried_at = $3 WHERE (sid, part) IN (
            SELECT sid, part FROM smpp_parts
            WHERE carrier_sid = $1 AND written_at < $2 AND carrier_id IS NOT NULL AND state IS NULL
              AND (queried_at IS NULL OR queried_at < $2)
            ORDER BY written_at LIMIT $4 FOR UPDATE SKIP LOCKED)
        RETURNING sid, part, given_id, carrier_id, sender, recipient
        """,
        carrier_sid,
        before,
        at,
        limit,
    )


# tenant: the carriers' end and the count of what is under way are the operator's.
async def forget_without_receipt(tx: Tx, before: datetime) -> int:
    """Drop parts whose receipts nobody expects any more."""
    return await tx.execute(
        "DELETE FROM smpp_parts WHERE sid IN (SELECT sid FROM smpp_parts WHERE written_at < $1 LIMIT 1000)", before
    )


# ---- receipts without messages


class KeptReceipt(NamedTuple):
    """What a receipt says, in our words."""

    carrier_sid: str
    carrier_id: str
    sender: str
    recipient: str
    state: str
    code: int | None
    done_at: datetime


async def keep_receipts(tx: Tx, receipts: Sequence[KeptReceipt], at: datetime) -> None:
    """Keep receipts until their messages have names; the first word on an id stays."""
    await tx.execute(
        """
        INSERT INTO smpp_receipts (came_at, carrier_sid, carrier_id, sender, recipient, state, code, done_at)
        SELECT $1::timestamptz, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[],
                                 $8::timestamptz[])
        ON CONFLICT (carrier_sid, carrier_id) DO NOTHING
        """,
        at,
        *(list(column) for column in zip(*receipts, strict=True)),
    )


async def take_receipts(tx: Tx, ids: Sequence[tuple[str, str]], pairs: Sequence[tuple[str, str]]) -> list[KeptReceipt]:
    """Take out what was kept for ids, and for the recipients of messages that nobody answered: (carrier, either)."""
    rows = await tx.fetch(
        """
        DELETE FROM smpp_receipts WHERE carrier_sid = ANY($1::text[])
            AND (carrier_id = ANY($2::text[]) OR recipient = ANY($3::text[])) RETURNING *
        """,
        sorted({carrier_sid for carrier_sid, _ in [*ids, *pairs]}),
        [carrier_id for _, carrier_id in ids],
        [recipient for _, recipient in pairs],
    )
    return [KeptReceipt(**{name: row[name] for name in KeptReceipt._fields}) for row in rows]


async def forget_receipts(tx: Tx, before: datetime) -> None:
    """Drop receipts that nobody will ask for."""
    await tx.execute("DELETE FROM smpp_receipts WHERE came_at < $1", before)


# ---- parts that came in


async def put_inbound_part(
    tx: Tx, key: tuple[str, str, str, int, int], number: int, content: bytes | None, at: datetime
) -> list[Row]:
    """Keep a part of (carrier, sender, recipient, reference, total); return all that are there, with this one."""
    await tx.execute(
        """
        INSERT INTO smpp_inbound_parts (carrier_sid, sender, recipient, reference, total, number, content, came_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (carrier_sid, sender, recipient, reference, total, number) DO UPDATE
        SET content = excluded.content, came_at = excluded.came_at
        """,
        *key,
        number,
        content,
        at,
    )
    return await tx.fetch(
        """
        SELECT number, content, came_at FROM smpp_inbound_parts
        WHERE carrier_sid = $1 AND sender = $2 AND recipient = $3 AND reference = $4 AND total = $5 ORDER BY number
        """,
        *key,
    )


async def take_inbound_parts(tx: Tx, key: tuple[str, str, str, int, int]) -> None:
    """Drop the parts of a message that is whole."""
    await tx.execute(
        """
        DELETE FROM smpp_inbound_parts
        WHERE carrier_sid = $1 AND sender = $2 AND recipient = $3 AND reference = $4 AND total = $5
        """,
        *key,
    )


async def overdue_inbound_parts(
    tx: Tx, before: datetime, limit: int
) -> dict[tuple[str, str, str, int, int], list[Row]]:
    """Take out messages of which no part came for long, as what there is of them, in order."""
    rows = await tx.fetch(
        """
        DELETE FROM smpp_inbound_parts WHERE (carrier_sid, sender, recipient, reference, total) IN (
            SELECT carrier_sid, sender, recipient, reference, total FROM smpp_inbound_parts
            GROUP BY carrier_sid, sender, recipient, reference, total HAVING max(came_at) < $1 LIMIT $2)
        RETURNING *
        """,
        before,
        limit,
    )
    found: dict[tuple[str, str, str, int, int], list[Any]] = {}
    for row in sorted(rows, key=lambda row: int(row["number"])):
        key = (row["carrier_sid"], row["sender"], row["recipient"], row["reference"], row["total"])
        found.setdefault(key, []).append(row)
    return dict(found)
