"""Inbound messages: stored, keywords answered, handed to the webhook job."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from onterms.core import e164
from onterms.core.db import Row, Tx
from onterms.core.ids import new_sid
from onterms.engines import jobs, log
from onterms.ports.message_carrier import InboundMessage
from onterms.products.messaging import events, store
from onterms.products.messaging.model import Keyword, NewMessage
from onterms.products.messaging.model.opt_out import Heard, hear
from onterms.products.messaging.service import channel_fields, channels, inspecting, money, pool
from onterms.products.messaging.service.deliver import idempotency_token
from onterms.products.messaging.service.send import enqueue
from onterms.products.messaging.store import consent, pools, smpp
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
    services = await pools.services_of_numbers(
        tx, [(line.account_sid, line.phone_number, line.sid) for line in owned.values()]
    )
    words = _Words(services, await consent.words_of(tx, [(line.account_sid, line.sid) for line in owned.values()]))
    sids: list[str | None] = []
    fresh: list[tuple[InboundMessage, NewMessage, OwnedNumber]] = []
    for message in inbound:
        line = owned.get(message.recipient)
        if line is None:
            sids.append(None)
            continue
        service = services.get((line.account_sid, line.phone_number))
        if standing.get(line.account_sid) != "active":
            sids.append(None)
            await _hear_stop(tx, line, message, service, words, at)
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
            messaging_service_sid=None if service is None else service["sid"],
        )
        fresh.append((message, stored, line))
        sids.append(stored.sid)
    kept_out = await till.kept_out(tx, [stored for _, stored, _ in fresh], at)
    if kept_out:
        for message, stored, line in fresh:
            if stored.sid in kept_out:
                service = services.get((line.account_sid, line.phone_number))
                await _hear_stop(tx, line, message, service, words, at)
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
    await channel_fields.keep(tx, [(message, stored) for message, stored, _ in fresh if stored.sid in new])
    for message, stored, _ in fresh:
        code = channel_fields.code_in(message.body)
        if code and stored.sid in new:
            await channels.hear_code(tx, stored.account_sid, stored.recipient, code, at)
    bound = await smpp.users_of_numbers(tx, list({(stored.account_sid, stored.recipient) for _, stored, _ in fresh}))
    for message, stored, line in fresh:
        if stored.sid not in new:
            continue
        if message.media:
            clean = await guard.let_in(tx, stored.account_sid, stored.sid, message.media, at)
            files = [(new_sid("ME", at), media.content_type, media.data) for media in clean]
            await store.insert_media(tx, stored.account_sid, stored.sid, files, at)
        service = services.get((line.account_sid, line.phone_number))
        keyword = await _answer_keyword(tx, stored, line, service, words, at)
        await jobs.enqueue(tx, [money.settle_job(stored.account_sid, [[stored.sid, "charge"]])], at)
        user_sid = bound.get((stored.account_sid, stored.recipient))
        if user_sid is not None:
            await smpp.insert_delivery(tx, stored.account_sid, user_sid, stored.sid, at)
        elif pool.webhook_of(line, service).url:
            # In the order they came, one conversation's messages reach the webhook.
            job = jobs.NewJob(
                INBOUND_WEBHOOK,
                {
                    "sid": stored.sid,
                    "token": idempotency_token(),
                    # Twilio docs, Advanced Opt-Out: said only where the sender has words of its own.
                    "opt_out_type": keyword if words.own(line) is not None else None,
                },
                account_sid=stored.account_sid,
                order_key=f"{stored.recipient}|{stored.sender}",
            )
            await jobs.enqueue(tx, [job], at)
    return sids


class _Words:
    """The words of opting out of lines: of the service that a line stands in, else its own, else the default ones."""

    def __init__(
        self, services: Mapping[tuple[str, str], Row], of_numbers: Mapping[tuple[str, str], Mapping[str, Any]]
    ) -> None:
        self._services = services
        self._of_numbers = of_numbers

    def own(self, line: OwnedNumber) -> Mapping[str, Any] | None:
        """Return a line's words, None where the default ones hold."""
        service = self._services.get((line.account_sid, line.phone_number))
        of_service: Mapping[str, Any] | None = None if service is None else service["opt_out"]
        return of_service if of_service is not None else self._of_numbers.get((line.account_sid, line.sid))

    def heard(self, line: OwnedNumber, sender: str, body: str) -> Heard | None:
        """Return the keyword that a message to a line is, if it is one."""
        own = self.own(line)
        # Twilio docs, Advanced Opt-Out: on WhatsApp only a service's own words count; people there block a sender.
        if own is None and line.phone_number.startswith("whatsapp:"):
            return None
        alone = (line.account_sid, line.phone_number) not in self._services
        # Twilio support 223181748: a short code standing alone handles its keywords itself, unless it has words here.
        if own is None and alone and line.kind == "shortcode":
            return None
        return hear(body, own, e164.country_of(sender) or "")


async def _hear_stop(
    tx: Tx, line: OwnedNumber, message: InboundMessage, service: Row | None, words: _Words, at: datetime
) -> None:
    heard = words.heard(line, message.sender, message.body)
    if heard is not None and heard.keyword == "STOP":
        await _stop(tx, line.account_sid, message.recipient, message.sender, service, message.body, at)


async def _stop(tx: Tx, account_sid: str, sender: str, peer: str, service: Row | None, body: str, at: datetime) -> None:
    """Keep that a peer wants nothing more of a number, and of nobody in the service that it stands in."""
    for name in (sender, *([service["sid"]] if service is not None else [])):
        await store.set_opt_out(tx, account_sid, name, peer, opted_out=True, keyword=body.strip().upper(), at=at)


async def _answer_keyword(
    tx: Tx, message: NewMessage, line: OwnedNumber, service: Row | None, words: _Words, at: datetime
) -> Keyword | None:
    """Keep the block list and send the reply; the message itself still goes to the webhook. Return the keyword."""
    heard = words.heard(line, message.sender, message.body)
    if heard is None:
        return None
    keyword = heard.keyword
    word = message.body.strip().upper()
    # Twilio support 360058144374: a toll-free number is opened again by START or UNSTOP only.
    if line.kind == "tollfree" and word == "YES":
        return None
    account_sid, peer = message.account_sid, message.sender
    names = [message.recipient, *([service["sid"]] if service is not None else [])]
    was_out = bool(await store.opted_out(tx, [(account_sid, name, peer) for name in names]))
    if keyword == "STOP":
        await _stop(tx, account_sid, message.recipient, peer, service, message.body, at)
        await log.append(tx, [events.event(events.OPTED_OUT, account_sid, message.sid, {"keyword": word})], at)
        # Who has stopped already gets no second confirmation.
        if was_out:
            return keyword
    elif keyword == "START":
        if not was_out and word == "YES":
            # A yes to somebody's question is no opt-in.
            return None
        await store.set_opt_out(tx, account_sid, message.recipient, peer, opted_out=False, keyword=word, at=at)
        if service is not None:
            others = await pools.senders_of(tx, [(account_sid, service["sid"])])
            await pools.reopen(tx, account_sid, pool.opt_out_senders(others, service["sid"]), peer, word, at)
        await log.append(tx, [events.event(events.OPTED_IN, account_sid, message.sid, {"keyword": word})], at)
    elif was_out:
        return keyword
    # A reply that was left empty is not sent.
    if heard.reply:
        await enqueue(tx, [_reply(message, heard.reply, at)])
    return keyword


def _reply(message: NewMessage, text: str, at: datetime) -> NewMessage:
    parts = gsm.segment(text)
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
