"""Choosing senders: what a Messaging Service accepted or kept for its time gets its sender and joins the queue."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from onterms.core import e164
from onterms.core.db import Row, Tx
from onterms.engines import jobs, log
from onterms.products.messaging import errors, events, store
from onterms.products.messaging.model import Change, NewMessage
from onterms.products.messaging.model import pool as model
from onterms.products.messaging.model.queues import DEPTH, Queue, Waiting
from onterms.products.messaging.service import money, pool, send
from onterms.products.messaging.service.deliver import callback_job, callback_of, record_changes
from onterms.products.messaging.service.queues import OVERFLOW
from onterms.products.messaging.store import fallbacks, pools

CHOOSE_SENDER = send.CHOOSE_SENDER
Key = tuple[str, str]


async def choose(tx: Tx, senders: send.Senders, till: money.Till, credentials: Mapping[Key, str], at: datetime) -> None:
    """Give messages their senders and queue them; those that nobody can send any more fail with the reason.

    Shapes: `credentials` has the messages, (account_sid, sid), with the key that scheduled each, or "".
    """
    keys = list(credentials)
    statuses = await store.lock_many(tx, keys)
    waiting = [key for key, status in statuses.items() if status in ("accepted", "scheduled")]
    scheduled = [key for key in waiting if statuses[key] == "scheduled"]
    await pools.end_waiting(tx, keys)
    if not waiting:
        return
    messages = {(row["account_sid"], row["sid"]): row for row in await store.fetch_many(tx, waiting)}
    failures, delays = await _admit_scheduled(tx, till, [(messages[key], credentials[key]) for key in scheduled], at)
    ready = {key: row for key, row in messages.items() if key not in failures}
    found = await pool.pools_of(
        tx, senders, [(row["account_sid"], row["messaging_service_sid"]) for row in ready.values()]
    )
    waits: dict[Key, tuple[float, Queue]] = {}
    if till.queues is not None:
        pairs = {(account, each.sender) for (account, _), service in found.items() for each in service.senders}
        waits = await till.queues.waits(tx, list(pairs), at)
    chosen = await _choices(tx, ready, found, failures, waits)
    await record_changes(tx, [Change(*key, "failed", error_code=code) for key, code in failures.items()], at)
    if not chosen:
        return
    rich = [key for key, (sender, _) in chosen.items() if sender.startswith("rcs:")]
    if rich:
        await fallbacks.address_to_rcs(tx, rich, at)
    queued = await pools.assign(tx, {key: sender for key, (sender, _) in chosen.items()}, at)
    if delays:
        await pools.extend_validity(tx, {key: until - at for key, until in delays.items()})
    due = {sid: until for (_, sid), until in delays.items()}
    steps = [
        jobs.NewJob(
            send.FETCH_MEDIA, {"sids": [row["sid"]]}, account_sid=row["account_sid"], due_at=due.get(row["sid"])
        )
        for row in queued
        if row["media_urls"]
    ]
    # First in, first out: SIDs grow with time.
    joining = [
        Waiting(row["account_sid"], row["sid"], row["sender"], row["num_segments"])
        for row in sorted(queued, key=lambda row: row["sid"][2:])
        if not row["media_urls"]
    ]
    if till.queues is not None:
        steps += await till.queues.jobs_of(tx, joining, at, due)
    else:
        steps += [
            jobs.NewJob(send.DISPATCH, {"sids": [each.sid]}, account_sid=each.account_sid, due_at=due.get(each.sid))
            for each in joining
        ]
    # Twilio docs, status callbacks: the first status is not called back, and queued is not the first of these.
    steps += [
        callback_job(row["account_sid"], [callback_of(row, "queued")]) for row in queued if row["status_callback"]
    ]
    changed = [
        events.event(
            events.STATUS_CHANGED, row["account_sid"], row["sid"], {"status": "queued", "sender": row["sender"]}
        )
        for row in queued
    ]
    await jobs.enqueue(tx, steps, at)
    await log.append(tx, changed, at)


async def _admit_scheduled(
    tx: Tx, till: money.Till, scheduled: Sequence[tuple[Row, str]], at: datetime
) -> tuple[dict[Key, int], dict[Key, datetime]]:
    """Ask of what was kept for its time what is asked of everything else at once: wish, conduct, standing, funds."""
    failures: dict[Key, int] = {}
    delays: dict[Key, datetime] = {}
    if not scheduled:
        return failures, delays
    stopped = await store.opted_out(
        tx,
        [
            (row["account_sid"], name, row["recipient"])
            for row, _ in scheduled
            for name in (row["messaging_service_sid"], row["sender"])
        ],
    )
    out = {(account_sid, name, peer) for account_sid, name, peer in stopped}
    wanted: list[NewMessage] = []
    for row, credential_sid in scheduled:
        key = (row["account_sid"], row["sid"])
        names = (row["messaging_service_sid"], row["sender"])
        if any((row["account_sid"], name, row["recipient"]) in out for name in names):
            failures[key] = errors.OptedOut.code
        else:
            wanted.append(_as_new(row, credential_sid, at))
    passed = await till.admit(tx, wanted)
    for message in wanted:
        key = (message.account_sid, message.sid)
        if message.sid in passed.refused:
            failures[key] = passed.refused[message.sid].code
        elif message.sid in passed.waiting:
            delays[key] = passed.waiting[message.sid]
    return failures, delays


def _as_new(row: Row, credential_sid: str, at: datetime) -> NewMessage:
    return NewMessage(
        account_sid=row["account_sid"],
        sid=row["sid"],
        direction=row["direction"],
        sender=row["sender"],
        recipient=row["recipient"],
        body=row["body"],
        encoding=row["encoding"],
        num_segments=row["num_segments"],
        media_urls=(),
        status="queued",
        status_callback=None,
        valid_until=None,
        at=at,
        num_media=row["num_media"],
        credential_sid=credential_sid,
        messaging_service_sid=row["messaging_service_sid"],
    )


async def _choices(
    tx: Tx,
    messages: Mapping[Key, Row],
    found: Mapping[Key, pool.Pool],
    failures: dict[Key, int],
    waits: dict[Key, tuple[float, Queue]],
) -> dict[Key, tuple[str, str]]:
    """Choose (sender, its SID) for messages; whom nobody can serve is noted in `failures`.

    Shapes: `waits` has the seconds that senders' queues last, by (account_sid, sender), and grows with what is chosen.
    """
    peers = {key: (row["account_sid"], row["messaging_service_sid"], row["recipient"]) for key, row in messages.items()}
    # One by one in the order they came, so that what the first one uses counts for the next.
    sticking = await pools.sticky_senders(tx, list(peers.values()))
    fresh: dict[tuple[str, str, str], str] = {}
    used: Counter[tuple[str, str, str]] = Counter()
    chosen: dict[Key, tuple[str, str]] = {}
    for key, row in sorted(messages.items(), key=lambda item: item[0][1][2:]):
        service = found.get((row["account_sid"], row["messaging_service_sid"]))
        if service is None:
            failures[key] = errors.UnknownMessagingService.code
            continue
        settings, peer = service.settings, peers[key]
        now = [
            _as_now(sender, used[key[0], peer[1], sender.sid], waits.get((key[0], sender.sender)))
            for sender in service.of(row["recipient"])
        ]
        country = e164.country_of(row["recipient"]) or ""
        rich = () if row["sender"] or ":" in row["recipient"] else service.rich
        if rich:
            # Twilio docs, RCS: where the pool has an RCS sender, that is tried first.
            fit = [_as_now(sender, used[key[0], peer[1], sender.sid], None) for sender in rich]
        elif row["sender"]:
            fit = [sender for sender in now if sender.sender == row["sender"]]
        else:
            fit = model.fitting(
                now,
                country,
                has_media=bool(row["media_urls"]),
                falls_back_to_long_code=settings["fallback_to_long_code"],
            )
        if not fit:
            failures[key] = errors.NotInPool.code if row["sender"] else errors.NoSenderFits.code
            continue
        sticky = sticking.get(peer) if settings["sticky_sender"] else None
        sender = model.choose(
            fit, row["recipient"], country, sticky=sticky, matches_area_code=settings["area_code_geomatch"]
        )
        wait = waits.get((key[0], sender.sender))
        if wait is not None:
            lasts_s, queue = wait
            lasts_s += row["num_segments"] / queue.per_s
            if wait[0] and lasts_s > DEPTH.total_seconds():
                failures[key] = OVERFLOW
                continue
            shared = [pair for pair, (_, other) in waits.items() if other.key == queue.key]
            waits.update(dict.fromkeys(shared, (lasts_s, queue)))
        chosen[key] = (sender.sender, sender.sid)
        used[key[0], peer[1], sender.sid] += row["num_segments"]
        # Twilio docs, Messaging Services: conversations do not stick on RCS.
        if settings["sticky_sender"] and sticky != sender.sender and not row["sender"] and sender.sender[:4] != "rcs:":
            sticking[peer] = fresh[peer] = sender.sender
    if used:
        await pools.note_use(tx, +used)
    if fresh:
        await pools.stick(tx, fresh)
    return chosen


def _as_now(sender: model.PoolSender, more: int, wait: tuple[float, Queue] | None) -> model.PoolSender:
    if not more and wait is None:
        return sender
    return replace(sender, used=sender.used + more, waits_s=0.0 if wait is None else wait[0])
