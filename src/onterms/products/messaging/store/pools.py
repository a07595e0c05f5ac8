"""All SQL about Messaging Services: their settings, senders, schedules, short links and feedback."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from onterms.core.db import Row, Tx
from onterms.engines.api import PageRequest
from onterms.products.messaging.model import Move
from onterms.products.messaging.model.links import ShortLink

SETTINGS = (
    "friendly_name",
    "inbound_request_url",
    "inbound_method",
    "fallback_url",
    "fallback_method",
    "status_callback",
    "sticky_sender",
    "mms_converter",
    "smart_encoding",
    "fallback_to_long_code",
    "area_code_geomatch",
    "validity_period",
    "usecase",
    "use_inbound_webhook_on_number",
)


async def insert_service(tx: Tx, account_sid: str, sid: str, settings: Mapping[str, Any], at: datetime) -> Row:
    """Store a service."""
    columns = ", ".join(SETTINGS)
    places = ", ".join(f"${index}" for index in range(4, 4 + len(SETTINGS)))
    row = await tx.fetchrow(
        f"""INSERT INTO messaging_services (account_sid, sid, date_created, date_updated, {columns})
            VALUES ($1, $2, $3, $3, {places}) RETURNING *""",
        account_sid,
        sid,
        at,
        *(settings[name] for name in SETTINGS),
    )
    assert row is not None
    return row


async def update_service(tx: Tx, account_sid: str, sid: str, changes: Mapping[str, Any], at: datetime) -> Row | None:
    """Change settings of a service and return it."""
    names = [name for name in (*SETTINGS, "opt_out", "shortens_links") if name in changes]
    sets = "".join(f", {name} = ${index}" for index, name in enumerate(names, 4))
    return await tx.fetchrow(
        f"UPDATE messaging_services SET date_updated = $3{sets} WHERE account_sid = $1 AND sid = $2 RETURNING *",
        account_sid,
        sid,
        at,
        *(changes[name] for name in names),
    )


async def fetch_service(tx: Tx, account_sid: str, sid: str) -> Row | None:
    """Return one service."""
    return await tx.fetchrow("SELECT * FROM messaging_services WHERE account_sid = $1 AND sid = $2", account_sid, sid)


async def fetch_services(tx: Tx, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
    """Return services by (account_sid, sid)."""
    rows = await tx.fetch(
        "SELECT * FROM messaging_services WHERE account_sid = ANY($1::text[]) AND sid = ANY($2::text[])",
        list({key[0] for key in keys}),
        list({key[1] for key in keys}),
    )
    return {(row["account_sid"], row["sid"]): row for row in rows}


async def page_services(tx: Tx, account_sid: str, request: PageRequest) -> list[Row]:
    """Return one page of an account's services, newest first."""
    condition, tail = request.keyset("sid", 2)
    return await tx.fetch(
        f"SELECT * FROM messaging_services WHERE account_sid = $1 AND {condition} {tail}", account_sid, request.key
    )


async def delete_service(tx: Tx, account_sid: str, sid: str) -> bool:
    """Remove a service with its pool; tell whether it was there."""
    return await tx.execute("DELETE FROM messaging_services WHERE account_sid = $1 AND sid = $2", account_sid, sid) > 0


async def lock_service(tx: Tx, account_sid: str, sid: str) -> Row | None:
    """Return one service and keep others from changing its pool until commit."""
    return await tx.fetchrow(
        "SELECT * FROM messaging_services WHERE account_sid = $1 AND sid = $2 FOR UPDATE", account_sid, sid
    )


async def senders_of(tx: Tx, keys: Sequence[tuple[str, str]]) -> list[Row]:
    """Return every sender of services, named by (account_sid, service_sid), newest first."""
    return await tx.fetch(
        """SELECT * FROM messaging_service_senders
           WHERE account_sid = ANY($1::text[]) AND service_sid = ANY($2::text[]) ORDER BY sid DESC""",
        list({key[0] for key in keys}),
        list({key[1] for key in keys}),
    )


async def service_of_number(tx: Tx, account_sid: str, number: str, kind: str = "phone_number") -> Row | None:
    """Return the row of the pool that a number, or a sender of a channel, stands in."""
    return await tx.fetchrow(
        """SELECT * FROM messaging_service_senders
           WHERE account_sid = $1 AND sender = $2 AND (kind = $3 OR $3 = 'phone_number' AND kind = 'short_code')""",
        account_sid,
        number,
        kind,
    )


async def services_of_numbers(tx: Tx, keys: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str], Row]:
    """Return the services in whose pools numbers stand, by (account_sid, number).

    Shapes: keys are (account_sid, number, the number's own SID).
    """
    rows = await tx.fetch(
        """SELECT s.*, p.sender FROM messaging_service_senders p
           JOIN messaging_services s ON s.account_sid = p.account_sid AND s.sid = p.service_sid
           WHERE p.account_sid = ANY($1::text[]) AND p.sid = ANY($2::text[])
             AND p.kind IN ('phone_number', 'short_code', 'channel_sender')""",
        list({key[0] for key in keys}),
        [key[2] for key in keys],
    )
    return {(row["account_sid"], row["sender"]): row for row in rows}


async def insert_sender(
    tx: Tx, account_sid: str, service_sid: str, sid: str, kind: str, sender: str, country: str, at: datetime
) -> Row:
    """Add a sender to a pool; it begins with what the others have sent least, so that it is not flooded."""
    row = await tx.fetchrow(
        """INSERT INTO messaging_service_senders
               (account_sid, service_sid, sid, kind, sender, country, used, date_created, date_updated)
           SELECT $1, $2, $3, $4, $5, $6, coalesce(min(used), 0), $7, $7 FROM messaging_service_senders
           WHERE account_sid = $1 AND service_sid = $2
           RETURNING *""",
        account_sid,
        service_sid,
        sid,
        kind,
        sender,
        country,
        at,
    )
    assert row is not None
    return row


async def delete_sender(tx: Tx, account_sid: str, service_sid: str, sid: str) -> bool:
    """Remove a sender from a pool with the conversations that stuck to it; tell whether it was there."""
    row = await tx.fetchrow(
        """DELETE FROM messaging_service_senders WHERE account_sid = $1 AND service_sid = $2 AND sid = $3
           RETURNING sender""",
        account_sid,
        service_sid,
        sid,
    )
    if row is None:
        return False
    await tx.execute(
        "DELETE FROM messaging_sticky_senders WHERE account_sid = $1 AND service_sid = $2 AND sender = $3",
        account_sid,
        service_sid,
        row["sender"],
    )
    return True


async def note_use(tx: Tx, used: Mapping[tuple[str, str, str], int]) -> None:
    """Add segments to what senders sent, by (account_sid, service_sid, sid)."""
    for (account_sid, service_sid, sid), segments in sorted(used.items()):
        await tx.execute(
            """UPDATE messaging_service_senders SET used = used + $4
               WHERE account_sid = $1 AND service_sid = $2 AND sid = $3""",
            account_sid,
            service_sid,
            sid,
            segments,
        )


async def sticky_senders(tx: Tx, keys: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
    """Return the senders that conversations stick to, by (account_sid, service_sid, peer)."""
    rows = await tx.fetch(
        """SELECT s.* FROM messaging_sticky_senders s
           JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (account_sid, service_sid, peer)
             ON s.account_sid = k.account_sid AND s.service_sid = k.service_sid AND s.peer = k.peer""",
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
    )
    return {(row["account_sid"], row["service_sid"], row["peer"]): row["sender"] for row in rows}


async def stick(tx: Tx, senders: Mapping[tuple[str, str, str], str]) -> None:
    """Remember the senders of conversations, by (account_sid, service_sid, peer)."""
    keys = sorted(senders)
    await tx.execute(
        """INSERT INTO messaging_sticky_senders (account_sid, service_sid, peer, sender)
           SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
             AS new (account_sid, service_sid, peer, sender)
           ON CONFLICT (account_sid, service_sid, peer) DO UPDATE SET sender = excluded.sender""",
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
        [senders[key] for key in keys],
    )


async def assign(tx: Tx, senders: Mapping[tuple[str, str], str], at: datetime) -> list[Row]:
    """Give locked messages that wait for a sender theirs, and put them in the queue; return those."""
    keys = list(senders)
    return await tx.fetch(
        """UPDATE messages SET status = 'queued', date_updated = $4, history = history || $5,
                  sender = ($3::text[])[array_position($2::text[], sid)]
           WHERE account_sid = ANY($1::text[]) AND sid = ANY($2::text[]) AND status IN ('accepted', 'scheduled')
           RETURNING *""",
        list({key[0] for key in keys}),
        [key[1] for key in keys],
        [senders[key] for key in keys],
        at,
        Move(at, "queued").line(),
    )


async def extend_validity(tx: Tx, spans: Mapping[tuple[str, str], timedelta]) -> None:
    """Let messages be valid for longer, by (account_sid, sid)."""
    await tx.execute(
        """UPDATE messages SET valid_until = valid_until + ($3::interval[])[array_position($2::text[], sid)]
           WHERE account_sid = ANY($1::text[]) AND sid = ANY($2::text[]) AND valid_until IS NOT NULL""",
        list({key[0] for key in spans}),
        [key[1] for key in spans],
        list(spans.values()),
    )


async def schedule(tx: Tx, rows: Sequence[tuple[str, str, datetime]]) -> None:
    """Note what waits for its time: (account_sid, sid, send_at)."""
    await tx.execute(
        """INSERT INTO messaging_scheduled (account_sid, sid, send_at)
           SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS new (account_sid, sid, send_at)""",
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
    )


async def count_scheduled(tx: Tx, account_sids: Sequence[str]) -> dict[str, int]:
    """Count what waits for its time, by account."""
    rows = await tx.fetch(
        """SELECT account_sid, count(*) AS waiting FROM messaging_scheduled WHERE account_sid = ANY($1::text[])
           GROUP BY account_sid""",
        list(account_sids),
    )
    return {row["account_sid"]: row["waiting"] for row in rows}


async def end_waiting(tx: Tx, keys: Sequence[tuple[str, str]]) -> None:
    """Forget that messages wait for their time: (account_sid, sid)."""
    await tx.execute(
        "DELETE FROM messaging_scheduled WHERE account_sid = ANY($1::text[]) AND sid = ANY($2::text[])",
        list({key[0] for key in keys}),
        [key[1] for key in keys],
    )


async def fetch_domain(tx: Tx, account_sid: str) -> Row | None:
    """Return an account's short domain."""
    return await tx.fetchrow("SELECT * FROM messaging_domains WHERE account_sid = $1", account_sid)


async def ensure_domain(tx: Tx, account_sid: str, sid: str, config_sid: str, at: datetime) -> None:
    """Make an account's short domain if it has none."""
    await tx.execute(
        """INSERT INTO messaging_domains (account_sid, sid, config_sid, fallback_url, callback_url,
                                          continue_on_failure, disable_https, date_created, date_updated)
           VALUES ($1, $2, $3, '', '', false, false, $4, $4) ON CONFLICT DO NOTHING""",
        account_sid,
        sid,
        config_sid,
        at,
    )


async def update_domain(tx: Tx, account_sid: str, changes: Mapping[str, Any], at: datetime) -> Row:
    """Change the settings of an account's short domain and return it."""
    names = [
        name for name in ("fallback_url", "callback_url", "continue_on_failure", "disable_https") if name in changes
    ]
    sets = "".join(f", {name} = ${index}" for index, name in enumerate(names, 3))
    row = await tx.fetchrow(
        f"UPDATE messaging_domains SET date_updated = $2{sets} WHERE account_sid = $1 RETURNING *",
        account_sid,
        at,
        *(changes[name] for name in names),
    )
    assert row is not None
    return row


async def insert_links(
    tx: Tx, account_sid: str, message_sid: str, links: Sequence[ShortLink], at: datetime, expires_at: datetime
) -> None:
    """Store the short links of a message."""
    await tx.execute(
        """INSERT INTO messaging_links (account_sid, message_sid, code, short_link, link, reports, date_created,
                                        expires_at)
           SELECT $1, $2, code, short_link, link, reports, $7, $8
           FROM unnest($3::text[], $4::text[], $5::text[], $6::boolean[]) AS new (code, short_link, link, reports)""",
        account_sid,
        message_sid,
        [each.code for each in links],
        [each.short_link for each in links],
        [each.link for each in links],
        [each.reports for each in links],
        at,
        expires_at,
    )


# tenant: whoever clicks knows the code only, which is not to be guessed; what it names says whose it is.
async def find_link(tx: Tx, code: str) -> Row | None:
    """Return a short link with the settings of the domain it is on."""
    return await tx.fetchrow(
        """SELECT l.*, d.fallback_url, d.callback_url FROM messaging_links l
           JOIN messaging_domains d ON d.account_sid = l.account_sid WHERE l.code = $1""",
        code,
    )


async def set_feedback(tx: Tx, account_sid: str, message_sid: str, outcome: str, at: datetime) -> Row:
    """Record what a customer says of a message."""
    row = await tx.fetchrow(
        """INSERT INTO message_feedback (account_sid, message_sid, outcome, date_created, date_updated)
           VALUES ($1, $2, $3, $4, $4)
           ON CONFLICT (account_sid, message_sid)
           DO UPDATE SET outcome = excluded.outcome, date_updated = excluded.date_updated
           RETURNING *""",
        account_sid,
        message_sid,
        outcome,
        at,
    )
    assert row is not None
    return row


async def reopen(tx: Tx, account_sid: str, senders: Sequence[str], peer: str, keyword: str, at: datetime) -> None:
    """Record that a peer started senders again, of those that it had stopped."""
    await tx.execute(
        """UPDATE message_opt_outs SET opted_out = false, keyword = $4, changed_at = $5
           WHERE account_sid = $1 AND sender = ANY($2::text[]) AND peer = $3 AND opted_out""",
        account_sid,
        list(senders),
        # As `set_opt_out` keeps it.
        peer.removeprefix("rcs:"),
        keyword,
        at,
    )
