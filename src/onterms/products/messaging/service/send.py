"""Accepting messages to send: validated, allowed, stored and queued in the caller's transaction."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec

from onterms.core import e164
from onterms.core.db import AtOnce, Statement, Tx
from onterms.core.errors import Refusal
from onterms.core.ids import new_sid
from onterms.engines import jobs, log
from onterms.ports.message_carrier import Content
from onterms.products import numbers
from onterms.products.messaging import errors, events, store
from onterms.products.messaging.model import NewMessage, Status
from onterms.products.messaging.model.links import LINK_LIFE, ShortLink
from onterms.products.messaging.model.queues import Waiting
from onterms.products.messaging.model.web import is_web_url
from onterms.products.messaging.service import channels, money
from onterms.products.messaging.service.queues import DISPATCH as _DISPATCH
from onterms.products.messaging.service.queues import SenderQueues
from onterms.products.messaging.store import fallbacks, pools
from onterms.products.numbers import OwnedNumber
from onterms.protocols import gsm

DISPATCH = _DISPATCH
FETCH_MEDIA = "messaging.fetch_media"
CHOOSE_SENDER = "messaging.choose_sender"

# Twilio docs, "Messages resource": characters of a body, files of a message, seconds of ValidityPeriod.
BODY_CHARS_MAX = 1600
MEDIA_MAX = 10
VALIDITY_S_MAX = 36_000
# Twilio help, "How many calls and SMS messages per second": between one Twilio number and one other.
PAIR_REPLIES_MAX = 15
PAIR_WINDOW = timedelta(seconds=30)
# Twilio docs, error 35125.
SCHEDULED_MAX = 500_000
# Twilio docs, error 21635: landlines of these countries are attempted, others refused.
LANDLINES_REACHED = frozenset({"US", "CA", "GB"})

# From (account, number) to what the account owns; numbers that are not the account's are absent.
Senders = Callable[[Tx, Sequence[tuple[str, str]]], Awaitable[Mapping[tuple[str, str], OwnedNumber]]]


class Draft(msgspec.Struct, frozen=True):
    """A message somebody wants to send."""

    account_sid: str
    recipient: str
    sender: str
    body: str
    at: datetime
    media_urls: tuple[str, ...] = ()
    status_callback: str | None = None
    validity_s: int | None = None
    smart_encoded: bool = False
    force_delivery: bool = False
    direction: str = "outbound-api"
    credential_sid: str = ""
    # With a Messaging Service: which, and for when. Its sender is chosen later, unless one is named.
    messaging_service_sid: str | None = None
    send_at: datetime | None = None
    links: tuple[ShortLink, ...] = ()
    provides_feedback: bool = False
    # On a channel: what its template shows.
    content: Content | None = None
    # Where it goes by RCS first: from which sender it goes by SMS then, empty for any of the service's; None never.
    fallback_from: str | None = None


def compose(draft: Draft) -> NewMessage:
    """Check what can be checked without storage and make the message.

    Raises: Refusal with the code of the first thing wrong.
    """
    if not draft.recipient:
        raise errors.RecipientRequired("A 'To' phone number is required")
    if not draft.sender and not draft.messaging_service_sid:
        raise errors.SenderRequired("A 'From' or 'MessagingServiceSid' parameter is required")
    if not draft.body and not draft.media_urls and draft.content is None:
        raise errors.ContentRequired("Message body is required")
    if len(draft.body) > BODY_CHARS_MAX:
        raise errors.BodyTooLong(f"The message body is longer than {BODY_CHARS_MAX} characters")
    on_channel = channels.is_on_channel(draft.recipient) or channels.is_on_channel(draft.sender)
    if on_channel:
        recipient, sender = channels.addresses(draft.recipient, draft.sender)
    else:
        recipient = _recipient(draft.recipient, draft.sender)
        sender = _sender(draft.sender) if draft.sender else ""
    if recipient == sender:
        raise errors.SameNumber(f"'To' and 'From' are the same number: {recipient}")
    _check_media(draft.media_urls)
    if draft.status_callback and not is_web_url(draft.status_callback):
        raise errors.InvalidStatusCallback(f"StatusCallback is not a web address: {draft.status_callback[:256]}")
    valid_until = None
    if draft.validity_s is not None:
        if not 1 <= draft.validity_s <= VALIDITY_S_MAX:
            raise errors.InvalidValidityPeriod(f"ValidityPeriod must be 1 to {VALIDITY_S_MAX} seconds")
        valid_until = (draft.send_at or draft.at) + timedelta(seconds=draft.validity_s)
    parts = gsm.segment(draft.body, smart_encoded=draft.smart_encoded and not on_channel)
    return NewMessage(
        account_sid=draft.account_sid,
        sid=new_sid("MM" if draft.media_urls else "SM", draft.at),
        direction=draft.direction,
        sender=sender,
        recipient=recipient,
        body=parts.text,
        encoding=parts.encoding,
        # A message with media is one MMS, however long its text; channels know no segments.
        num_segments=1 if draft.media_urls or on_channel else parts.segments,
        num_media=len(draft.media_urls),
        media_urls=draft.media_urls,
        status=_first_status(draft),
        status_callback=draft.status_callback or None,
        valid_until=valid_until,
        at=draft.at,
        credential_sid=draft.credential_sid,
        messaging_service_sid=draft.messaging_service_sid,
    )


def _first_status(draft: Draft) -> Status:
    # Twilio docs, "Outbound Message Status in Status Callbacks".
    if draft.messaging_service_sid is None:
        return "queued"
    return "accepted" if draft.send_at is None else "scheduled"


def _recipient(text: str, sender: str) -> str:
    if e164.is_e164(text):
        return text
    # Written the national way, a number is read as one of the sender's country.
    number = e164.normalise(text, e164.country_of(sender) if sender else None)
    if number is None:
        raise errors.InvalidRecipient(f"The 'To' number {text[:64]} is not a valid phone number.")
    return number


def _sender(text: str) -> str:
    if e164.is_e164(text):
        return text
    number = e164.normalise(text) if not e164.is_short_code(text) else None
    if number is None and not e164.is_short_code(text) and not e164.is_alpha_sender(text):
        raise errors.InvalidSender(
            f"The 'From' number {text[:64]} is not a valid phone number, shortcode, or sender id."
        )
    return number or text


def _check_media(urls: Sequence[str]) -> None:
    if len(urls) > MEDIA_MAX:
        raise errors.TooManyMedia(f"A message carries at most {MEDIA_MAX} media files")
    for url in urls:
        if not is_web_url(url):
            raise errors.InvalidMediaUrl(f"Invalid media URL: {url[:256]}")


def _landline_refused(recipient: str) -> bool:
    # The country is mostly known at once, and the kind never is.
    if e164.country_of(recipient) in LANDLINES_REACHED:
        return False
    parsed = e164.parse(recipient)
    return parsed is not None and parsed.valid and parsed.kind == "landline" and parsed.country not in LANDLINES_REACHED


async def accept(tx: Tx, senders: Senders, till: money.Till, drafts: Sequence[Draft]) -> list[NewMessage | Refusal]:
    """Store and queue messages; each draft gets its message or its refusal, in order."""
    results: list[NewMessage | Refusal] = []
    forced: set[str] = set()
    extras: dict[str, Draft] = {}
    for draft in drafts:
        try:
            message = compose(draft)
        except Refusal as refusal:
            results.append(refusal)
            continue
        results.append(message)
        if draft.force_delivery:
            forced.add(message.sid)
        is_more = draft.content is not None or draft.fallback_from is not None
        if draft.send_at or draft.links or draft.provides_feedback or is_more:
            extras[message.sid] = draft
    refused = await admit(
        tx, senders, till, [message for message in results if isinstance(message, NewMessage)], forced, extras
    )
    return [refused.get(result.sid, result) if isinstance(result, NewMessage) else result for result in results]


async def admit(
    tx: Tx,
    senders: Senders,
    till: money.Till,
    composed: Sequence[NewMessage],
    forced: AbstractSet[str] = frozenset(),
    extras: Mapping[str, Draft] = MappingProxyType({}),
    due: Mapping[str, datetime] = MappingProxyType({}),
) -> dict[str, Refusal]:
    """Store and queue composed messages; return the refusal of each that storage speaks against, by SID.

    Shapes: `extras` has the drafts of those that are scheduled, carry short links or are to be fed back, by SID; `due`
    says when some shall go.
    """
    if not composed:
        return {}
    refused = await objections(tx, senders, composed, forced)
    await _break_loops(tx, composed, refused)
    if extras:
        await _bound_schedule(tx, composed, refused)
    if till.queues is not None:
        # Whoever waits for something first joins the queue then.
        joining = [each for each in composed if each.status == "queued" and each.sid not in refused]
        refused.update(await till.queues.overflowing(tx, joining, composed[0].at))
    # What is refused for another reason needs no funds, and what is scheduled needs them in its time.
    wanted = [message for message in composed if message.sid not in refused and message.status != "scheduled"]
    passed = await till.admit(tx, wanted)
    refused.update(passed.refused)
    waiting = passed.waiting
    if due or extras:
        wished = {sid: max(at, waiting.get(sid, at)) for sid, at in due.items()}
        scheduled = {sid: draft.send_at for sid, draft in extras.items() if draft.send_at is not None}
        waiting = {**waiting, **wished, **scheduled}
    kept = [message for message in composed if message.sid not in refused]
    if passed.waiting:
        kept = [_valid_from(message, passed.waiting.get(message.sid)) for message in kept]
    await enqueue(tx, kept, waiting, till.queues)
    if extras:
        await _store_extras(tx, kept, extras)
    return refused


async def _bound_schedule(tx: Tx, composed: Sequence[NewMessage], refused: dict[str, Refusal]) -> None:
    wanted = [message for message in composed if message.status == "scheduled" and message.sid not in refused]
    if not wanted:
        return
    counts = Counter(await pools.count_scheduled(tx, list({message.account_sid for message in wanted})))
    for message in wanted:
        counts[message.account_sid] += 1
        if counts[message.account_sid] > SCHEDULED_MAX:
            refused[message.sid] = errors.TooManyScheduled(f"More than {SCHEDULED_MAX} messages are scheduled")


async def _store_extras(tx: Tx, kept: Sequence[NewMessage], extras: Mapping[str, Draft]) -> None:
    """Store what only some messages have, beside them."""
    scheduled: list[tuple[str, str, datetime]] = []
    for message in kept:
        draft = extras.get(message.sid)
        if draft is None:
            continue
        if draft.send_at is not None:
            scheduled.append((message.account_sid, message.sid, draft.send_at))
        if draft.links:
            expires_at = (draft.send_at or draft.at) + LINK_LIFE
            await pools.insert_links(tx, message.account_sid, message.sid, draft.links, draft.at, expires_at)
        if draft.content is not None:
            await channels.keep_content(tx, [(message.account_sid, message.sid, draft.content)])
        if draft.fallback_from is not None:
            await fallbacks.insert(tx, message.account_sid, message.sid, draft.fallback_from)
        if draft.provides_feedback:
            # Twilio docs, Message Feedback: not confirmed until the customer says so.
            await pools.set_feedback(tx, message.account_sid, message.sid, "unconfirmed", draft.at)
    if scheduled:
        await pools.schedule(tx, scheduled)


async def _break_loops(tx: Tx, composed: Sequence[NewMessage], refused: dict[str, Refusal]) -> None:
    """Refuse TwiML replies over the rate of one pair of numbers, or two webhooks could answer each other for ever."""
    sent: Counter[tuple[str, str, str]] = Counter()
    for message in composed:
        if message.direction != "outbound-reply" or message.sid in refused:
            continue
        pair = (message.account_sid, message.sender, message.recipient)
        if pair not in sent:
            sent[pair] = await store.count_replies(tx, *pair, message.at - PAIR_WINDOW)
        sent[pair] += 1
        if sent[pair] > PAIR_REPLIES_MAX:
            refused[message.sid] = errors.TooManyReplies(
                f"more than {PAIR_REPLIES_MAX} replies from {message.sender} to {message.recipient} "
                f"within {PAIR_WINDOW.seconds} s"
            )


async def objections(
    tx: Tx, senders: Senders, composed: Sequence[NewMessage], forced: AbstractSet[str] = frozenset()
) -> dict[str, Refusal]:
    """Find what storage says against messages: the sender, the country, the recipient's wish."""
    refused: dict[str, Refusal] = {}
    # A service's senders were looked up with it.
    on_channels = [message for message in composed if ":" in message.recipient]
    if on_channels:
        refused.update(await channels.objections(tx, on_channels))
    pairs = {
        (message.account_sid, message.sender)
        for message in composed
        if not message.messaging_service_sid and ":" not in message.recipient
    }
    owned = await senders(tx, list(pairs)) if pairs else {}
    asked = [(m.account_sid, m.sender, m.recipient) for m in composed if m.sender]
    asked += [(m.account_sid, m.messaging_service_sid, m.recipient) for m in composed if m.messaging_service_sid]
    accounts = list({m.account_sid for m in composed})
    stopped: AbstractSet[tuple[str, str, str]] = frozenset()
    blocked: AbstractSet[tuple[str, str]] = frozenset()
    if isinstance(tx, AtOnce):
        countries = {(m.account_sid, e164.country_of(m.recipient) or "") for m in composed}
        tx.expect_none(store.objecting(asked, list(countries)))
    else:
        stopped, blocked = await store.objections(tx, asked, accounts)
    for message in composed:
        if message.sid in refused:
            continue
        is_on_channel = ":" in message.recipient
        sender = owned.get((message.account_sid, message.sender))
        service_sid = message.messaging_service_sid
        if not is_on_channel and service_sid is None and (sender is None or not sender.capabilities.sms):
            refused[message.sid] = errors.SenderNotOurs(
                f"The 'From' phone number {message.sender} is not a valid, SMS-capable number or short code "
                "of this account."
            )
        elif sender is not None and sender.kind == "shortcode" and not _is_reached(sender, message.recipient):
            refused[message.sid] = errors.NotRoutable(f"Short code {message.sender} does not reach {message.recipient}")
        elif message.media_urls and sender is not None and not sender.capabilities.mms:
            refused[message.sid] = errors.SenderNotMmsCapable(f"{message.sender} has not been enabled for MMS")
        elif (message.account_sid, message.sender, message.recipient) in stopped or (
            service_sid is not None and (message.account_sid, service_sid, message.recipient) in stopped
        ):
            refused[message.sid] = errors.OptedOut("Attempt to send to unsubscribed recipient")
        elif is_on_channel:
            continue
        elif blocked and (message.account_sid, e164.country_of(message.recipient) or "") in blocked:
            refused[message.sid] = errors.CountryBlocked(
                f"Permission to send an SMS has not been enabled for the region indicated by the 'To' number: "
                f"{message.recipient}."
            )
        elif message.sid not in forced and _landline_refused(message.recipient):
            refused[message.sid] = errors.NotMobile(f"'To' number {message.recipient} is not a mobile number")
    return refused


def _valid_from(message: NewMessage, until: datetime | None) -> NewMessage:
    """Let a message's validity begin when it may go."""
    if until is None or message.valid_until is None:
        return message
    return msgspec.structs.replace(message, valid_until=message.valid_until + (until - message.at))


def _is_reached(short_code: OwnedNumber, recipient: str) -> bool:
    return (e164.country_of(recipient) or "") in numbers.short_code_reach(short_code.country)


async def enqueue(
    tx: Tx,
    messages: Sequence[NewMessage],
    waiting: Mapping[str, datetime] | None = None,
    queues: SenderQueues | None = None,
) -> None:
    """Store messages with their jobs and events: one commit for whoever asks.

    Shapes: `waiting` says until when some have to wait, by SID.
    """
    due = waiting or {}
    if not messages:
        return
    at = messages[0].at
    steps: list[jobs.NewJob] = []
    joined: AbstractSet[str] = frozenset()
    taking: list[Statement[Any]] = []
    if queues is not None:
        ready = [
            Waiting(m.account_sid, m.sid, m.sender, m.num_segments)
            for m in messages
            if m.status == "queued" and not m.media_urls
        ]
        joined, steps, taking = await queues.steps(tx, ready, at, due)
    # What waits for nothing goes as one job for each account.
    at_once: dict[tuple[str, str], list[str]] = {}
    for m in messages:
        if m.sid in joined:
            continue
        # Files are fetched before the message takes its place at the carrier.
        step = CHOOSE_SENDER if m.status != "queued" else FETCH_MEDIA if m.media_urls else DISPATCH
        due_at = due.get(m.sid)
        if due_at is None and not m.media_urls and m.status != "scheduled":
            at_once.setdefault((step, m.account_sid), []).append(m.sid)
            continue
        payload: dict[str, Any] = {"sids": [m.sid]}
        if m.status == "scheduled":
            # Whose use it is, for when it is booked.
            payload["credential_sid"] = m.credential_sid
        elif due_at is not None:
            # Its time in the queue begins then.
            payload["since"] = due_at.isoformat()
        steps.append(jobs.NewJob(step, payload, account_sid=m.account_sid, due_at=due_at))
    steps += [jobs.NewJob(step, {"sids": sids}, account_sid=account) for (step, account), sids in at_once.items()]
    accepted = log.batched(
        [
            events.event(events.ACCEPTED, m.account_sid, m.sid, {"status": m.status, "direction": m.direction})
            for m in messages
        ]
    )
    enqueuing = jobs.enqueuing(tx, steps, at)
    await tx.last(store.inserting(messages), enqueuing, log.appending(tx, accepted, at), *taking)


def address_text(text: str) -> str:
    """Return an address as it was meant."""
    # A plus sign that a client did not encode, as curl -d does not, arrives as a space.
    if text[:1] == " " and text[1:].isdecimal():
        return "+" + text[1:]
    if " " in text and channels.is_on_channel(text):
        channel, _, identity = text.partition(":")
        return f"{channel}:{address_text(identity)}"
    return text.strip()


def draft_of(
    call_account: str, params: Mapping[str, Any], at: datetime, status_callback: str | None, credential_sid: str
) -> Draft:
    """Make a draft of CreateMessage's parameters."""
    return Draft(
        account_sid=call_account,
        recipient=address_text(params.get("To", "")),
        sender=address_text(params.get("From", "")),
        body=params.get("Body", ""),
        media_urls=tuple(url for url in params.get("MediaUrl", ()) if url),
        status_callback=status_callback,
        validity_s=params.get("ValidityPeriod"),
        smart_encoded=bool(params.get("SmartEncoded")),
        force_delivery=bool(params.get("ForceDelivery")),
        credential_sid=credential_sid if credential_sid != call_account else "",
        at=at,
    )
