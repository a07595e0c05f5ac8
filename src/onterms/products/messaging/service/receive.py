"""Inbound messages: stored, keywords answered, handed to the webhook job."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from onterms.core import e164
from onterms.core.db import Tx
from onterms.core.ids import new_sid
from onterms.engines import jobs, log
from onterms.ports.message_carrier import InboundMessage
from onterms.products.messaging import events, store
from onterms.products.messaging.model import REPLIES, Keyword, NewMessage, keyword_of
from onterms.products.messaging.service import inspecting, money
from onterms.products.messaging.service.deliver import idempotency_token
from onterms.products.messaging.service.send import enqueue
from onterms.products.numbers import OwnedNumber
from onterms.protocols import gsm

INBOUND_WEBHOOK = "messaging.inbound_webhook"


# From numbers to the lines they are, whoever owns them; numbers nobody owns are absent.
Lines = Callable[[Tx, Sequence[str]], Awaitable[Mapping[str, OwnedNumber]]]


# From accounts to active, suspended or closed.
Statuses = Callable[[Tx, Sequence[str]], Awaitable[Mapping[str, str]]]


async def receive(
    tx: Tx,
    lines: Lines,
    statuses: Statuses,
    till: money.Till,
    guard: inspecting.Guard,
    inbound: Sequence[InboundMessage],
    at: datetime,
) -> list[str | None]:
    """Take messages from a carrier.

    A message the carrier repeats is stored once and answered once. One for a number nobody owns, or whose account is
    not active, gets None, and so does one that a suspension keeps out or whose sender is a listed end user; but who
    tells a suspended account's number to stop is heard. Infected files are left out.
    """
    owned = await lines(tx, list({message.recipient for message in inbound}))
    standing = await statuses(tx, list({line.account_sid for line in owned.values()}))
    sids: list[str | None] = []
    fresh: list[tuple[InboundMessage, NewMessage, OwnedNumber]] = []
    for message in inbound:
        line = owned.get(message.recipient)
        if line is None:
            sids.append(None)
            continue
        if standing.get(line.account_sid) != "active":
            sids.append(None)
            await _hear_stop(tx, line.account_sid, message, at)
            continue
        stored = NewMessage(
            account_sid=line.account_sid,
            sid=new_sid("MM" if message.media else "SM", at),
            direction="inbound",
            sender=message.sender,
            recipient=message.recipient,
            body=message.body,
            encoding="GSM-7" if gsm.is_gsm7(message.body) else "UCS-2",
            num_segments=message.segments,
            media_urls=(),
            status="received",
            status_callback=None,
            valid_until=None,
            at=at,
            carrier=message.carrier,
            carrier_id=message.carrier_id,
            num_media=len(message.media),
        )
        fresh.append((message, stored, line))
        sids.append(stored.sid)
    kept_out = await till.kept_out(tx, [stored for _, stored, _ in fresh], at)
    if kept_out:
        for message, stored, line in fresh:
            if stored.sid in kept_out:
                await _hear_stop(tx, line.account_sid, message, at)
        fresh = [each for each in fresh if each[1].sid not in kept_out]
        sids = [None if sid in kept_out else sid for sid in sids]
    if not fresh:
        return sids
    new = await store.insert(tx, [stored for _, stored, _ in fresh])
    await log.append(
        tx,
        [
            events.event(
                events.RECEIVED, stored.account_sid, stored.sid, {"status": "received", "carrier": stored.carrier}
            )
            for _, stored, _ in fresh
            if stored.sid in new
        ],
        at,
    )
    for message, stored, line in fresh:
        if stored.sid not in new:
            continue
        if message.media:
            clean = await guard.let_in(tx, stored.account_sid, stored.sid, message.media, at)
            files = [(new_sid("ME", at), media.content_type, media.data) for media in clean]
            await store.insert_media(tx, stored.account_sid, stored.sid, files, at)
        await _answer_keyword(tx, stored, line, at)
        await jobs.enqueue(tx, [money.settle_job(stored.account_sid, stored.sid, "received")], at)
        if line.sms.url:
            # In the order they came, one conversation's messages reach the webhook.
            job = jobs.NewJob(
                INBOUND_WEBHOOK,
                {"sid": stored.sid, "token": idempotency_token()},
                account_sid=stored.account_sid,
                order_key=f"{stored.recipient}|{stored.sender}",
            )
            await jobs.enqueue(tx, [job], at)
    return sids


async def _hear_stop(tx: Tx, account_sid: str, message: InboundMessage, at: datetime) -> None:
    if keyword_of(message.body) == "STOP" and not e164.is_short_code(message.recipient):
        pair = (account_sid, message.recipient, message.sender)
        await store.set_opt_out(tx, *pair, opted_out=True, keyword=message.body.strip().upper(), at=at)


async def _answer_keyword(tx: Tx, message: NewMessage, line: OwnedNumber, at: datetime) -> None:
    """Keep the block list and send the default reply; the message itself still goes to the webhook."""
    keyword = keyword_of(message.body)
    # Twilio support 223181748: a short code standing alone handles its own keywords.
    if keyword is None or e164.is_short_code(message.recipient):
        return
    word = message.body.strip().upper()
    # Twilio support 360058144374: a toll-free number is opened again by START or UNSTOP only.
    if line.kind == "tollfree" and word == "YES":
        return
    pair = (message.account_sid, message.recipient, message.sender)
    was_out = bool(await store.opted_out(tx, [pair]))
    if keyword == "STOP":
        await store.set_opt_out(tx, *pair, opted_out=True, keyword=word, at=at)
        await log.append(tx, [events.event(events.OPTED_OUT, message.account_sid, message.sid, {"keyword": word})], at)
        # Who has stopped already gets no second confirmation.
        if was_out:
            return
    elif keyword == "START":
        if not was_out and word == "YES":
            # A yes to somebody's question is no opt-in.
            return
        await store.set_opt_out(tx, *pair, opted_out=False, keyword=word, at=at)
        await log.append(tx, [events.event(events.OPTED_IN, message.account_sid, message.sid, {"keyword": word})], at)
    elif was_out:
        return
    await enqueue(tx, [_reply(message, keyword, at)])


def _reply(message: NewMessage, keyword: Keyword, at: datetime) -> NewMessage:
    parts = gsm.segment(REPLIES[keyword])
    return NewMessage(
        account_sid=message.account_sid,
        sid=new_sid("SM", at),
        direction="outbound-reply",
        sender=message.recipient,
        recipient=message.sender,
        body=parts.text,
        encoding=parts.encoding,
        num_segments=parts.segments,
        media_urls=(),
        status="queued",
        status_callback=None,
        valid_until=None,
        at=at,
        # Twilio support 223134027: replies to keywords are free, the inbound message is not.
        price_micros=0,
    )
