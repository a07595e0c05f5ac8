"""From CreateMessage's parameters to a draft: templates filled in, links shortened, services' settings used."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from onterms.core import e164
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotServed, Refusal
from onterms.ports.message_carrier import Content
from onterms.products import content
from onterms.products.messaging import errors
from onterms.products.messaging.model import pool as model
from onterms.products.messaging.service import channels, pool, send
from onterms.products.messaging.service.links import Shortener
from onterms.products.messaging.store import pools
from onterms.products.numbers import OwnedNumber

# Twilio docs, error 35114.
LEAD_MIN = timedelta(minutes=15)
LEAD_MAX = timedelta(days=35)

# What a plain message does without, so that it pays nothing for it.
_SPECIAL = frozenset(
    {
        *("MessagingServiceSid", "ContentSid", "ContentVariables", "ScheduleType", "SendAt", "ShortenUrls"),
        *("ProvideFeedback", "FallbackFrom", "ContentRetention", "AddressRetention", "PersistentAction"),
        *("SendAsMms", "TrafficType"),
    }
)
# What would change how a message is kept or sent and is not served: (parameter, the value that asks for nothing).
_UNSERVED: tuple[tuple[str, Any], ...] = (
    ("ContentRetention", "retain"),
    ("AddressRetention", "retain"),
    ("PersistentAction", []),
    ("SendAsMms", False),
    ("TrafficType", None),
)


# What a template needs one of to be said by SMS or MMS.
_SAID_BY_SMS = frozenset({"twilio/text", "twilio/media"})
_GEO = re.compile(r"geo:(-?[0-9]{1,3}(?:\.[0-9]{1,15})?),(-?[0-9]{1,3}(?:\.[0-9]{1,15})?)(?:\|(.{0,256}))?", re.DOTALL)


@dataclass(slots=True)
class Found:
    """What the messages of one batch name, looked up together."""

    pools: Mapping[tuple[str, str], pool.Pool] = field(default_factory=dict)
    templates: Mapping[tuple[str, str], content.Template] = field(default_factory=dict)
    domains: Mapping[str, Row] = field(default_factory=dict)
    # Whether any carrier gets files to a recipient.
    carries_files: Callable[[str], bool] = lambda _: True
    # Numbers that messages shall fall back to, by (account_sid, number), if they are the account's.
    fallbacks: Mapping[tuple[str, str], OwnedNumber] = field(default_factory=dict)
    # Senders of channels by (account_sid, From as it was given).
    channels: Mapping[tuple[str, str], Row] = field(default_factory=dict)


async def look_up(tx: Tx, senders: send.Senders, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> Found:
    """Look up what messages name: (account_sid, parameters) of each. Plain ones cost nothing here."""
    found = Found()
    services = [
        (account, params["MessagingServiceSid"]) for account, params in asked if "MessagingServiceSid" in params
    ]
    if services:
        found.pools = await pool.pools_of(tx, senders, services)
        domains = {account: await pools.fetch_domain(tx, account) for account in {key[0] for key in found.pools}}
        found.domains = {account: row for account, row in domains.items() if row is not None}
    named = [(account, params["ContentSid"]) for account, params in asked if params.get("ContentSid")]
    if named:
        found.templates = {(each.account_sid, each.sid): each for each in await content.templates(tx, named)}
    wanted = [(account, _fallback_of(params)) for account, params in asked if params.get("FallbackFrom")]
    if wanted:
        found.fallbacks = await senders(tx, wanted)
    sources = [
        (account, source) for account, params in asked if channels.is_on_channel(source := params.get("From", ""))
    ]
    if sources:
        found.channels = await channels.senders_of(tx, sources)
    return found


def is_special(params: Mapping[str, Any]) -> bool:
    """Tell whether a message asks for more than a plain one does."""
    return not _SPECIAL.isdisjoint(params) or ":" in params.get("To", "") or ":" in params.get("From", "")


def prepare(draft: send.Draft, params: Mapping[str, Any], found: Found, address_of: Callable[[str], str]) -> send.Draft:
    """Complete a draft by what its parameters ask for beside a plain message.

    Raises: Refusal with the code of the first thing wrong.
    """
    is_on_channel = channels.is_on_channel(draft.recipient)
    for name, nothing in _UNSERVED:
        if is_on_channel and name == "PersistentAction":
            continue
        if params.get(name, nothing) != nothing:
            raise NotServed(f"{name} is not served by this installation")
    is_rich = not is_on_channel and _is_rich(draft, params, found)
    _check_fallback(params, is_rich)
    draft = msgspec.structs.replace(draft, provides_feedback=bool(params.get("ProvideFeedback")))
    if is_on_channel:
        draft = _on_channel(draft, params, found)
    else:
        draft = _rich(draft, params, found) if is_rich else _filled_in(draft, params, found)
    service_sid = params.get("MessagingServiceSid")
    if not service_sid:
        if params.get("ScheduleType") or params.get("SendAt"):
            raise errors.ScheduleWithoutService("MessagingServiceSid is required to schedule a message")
        if params.get("ShortenUrls"):
            raise errors.LinksNotShortened("MessagingServiceSid is required to shorten links")
        return draft
    service = found.pools.get((draft.account_sid, service_sid))
    if service is None:
        raise errors.UnknownMessagingService(f"The Messaging Service {service_sid} does not exist")
    draft = msgspec.structs.replace(draft, messaging_service_sid=service_sid, send_at=_send_at(params, draft.at))
    return _by_service(draft, params, service, _shortener(found, draft.account_sid, address_of), found.carries_files)


def _is_rich(draft: send.Draft, params: Mapping[str, Any], found: Found) -> bool:
    """Tell whether a message goes by RCS first: its service has a sender there, and it names no other."""
    service = found.pools.get((draft.account_sid, params.get("MessagingServiceSid") or ""))
    return service is not None and not draft.sender and bool(service.rich)


def _check_fallback(params: Mapping[str, Any], is_rich: bool) -> None:
    if not params.get("FallbackFrom"):
        return
    # Twilio docs, errors 21664, 21666, 21667.
    if params.get("From"):
        raise errors.FallbackFromRefused("FallbackFrom cannot be given together with From")
    if not params.get("MessagingServiceSid"):
        raise Refusal("FallbackFrom needs a MessagingServiceSid", code=21666)
    if not is_rich:
        raise Refusal("FallbackFrom needs a Messaging Service with an RCS sender", code=21667)


def _fallback_of(params: Mapping[str, Any]) -> str:
    wanted = send.address_text(params.get("FallbackFrom") or "")
    return wanted if not wanted or e164.is_alpha_sender(wanted) else e164.normalise(wanted) or wanted


def _rich(draft: send.Draft, params: Mapping[str, Any], found: Found) -> send.Draft:
    """Give a message what it shows by RCS, and what it says by SMS where it falls back."""
    wanted = _fallback_of(params)
    if wanted and (draft.account_sid, wanted) not in found.fallbacks:
        service = found.pools[draft.account_sid, params["MessagingServiceSid"]]
        # Twilio docs, error 21664: a number, short code or alphanumeric sender of the same account.
        if wanted not in {sender.sender for sender in service.of("")}:
            raise errors.SenderNotOurs(f"The 'FallbackFrom' sender {wanted[:64]} is not one of this account.")
    draft = msgspec.structs.replace(draft, fallback_from=wanted)
    template = _template(draft, params, found)
    if template is None:
        return draft
    variables = params.get("ContentVariables", "")
    shown = content.render_for_channel(template, variables)
    if _SAID_BY_SMS.isdisjoint(template.types):
        # There is nothing to fall back to.
        changes: dict[str, Any] = {"body": shown.body, "media_urls": shown.media_urls, "fallback_from": None}
    else:
        plain = content.render(template, variables)
        changes = {"body": plain.body, "media_urls": plain.media_urls}
    return msgspec.structs.replace(draft, content=shown.content, **changes)


def _on_channel(draft: send.Draft, params: Mapping[str, Any], found: Found) -> send.Draft:
    """Give a message on a channel what it shows there: a template in all its forms, or a place."""
    recipient, sender = channels.addresses(draft.recipient, draft.sender)
    changes: dict[str, Any] = {"recipient": recipient, "sender": sender}
    row = found.channels.get((draft.account_sid, params.get("From", "")))
    if row is not None and draft.status_callback is None:
        changes["status_callback"] = row["webhook"].get("status_callback_url") or None
    template = _template(draft, params, found)
    if template is not None:
        shown = content.render_for_channel(template, params.get("ContentVariables", ""))
        changes |= {"body": shown.body, "media_urls": shown.media_urls, "content": shown.content}
    if params.get("PersistentAction"):
        if template is not None:
            raise InvalidParameter("A message has either a ContentSid or a PersistentAction")
        changes["content"] = _place(params["PersistentAction"], draft.body)
    return msgspec.structs.replace(draft, **changes)


def _place(actions: Sequence[str], body: str) -> Content:
    # Twilio docs, WhatsApp location messages: geo:latitude,longitude|label; the body is the place's name.
    match = _GEO.fullmatch(actions[0]) if len(actions) == 1 else None
    if match is None or abs(float(match[1])) > 90 or abs(float(match[2])) > 180:
        raise errors.ContentNotOnChannel("PersistentAction must be one of geo:latitude,longitude|label")
    place = {"latitude": match[1], "longitude": match[2], "label": body, "address": match[3] or ""}
    return Content({"twilio/location": place})


def _filled_in(draft: send.Draft, params: Mapping[str, Any], found: Found) -> send.Draft:
    template = _template(draft, params, found)
    if template is None:
        return draft
    shown = content.render(template, params.get("ContentVariables", ""))
    return msgspec.structs.replace(draft, body=shown.body, media_urls=shown.media_urls)


def _template(draft: send.Draft, params: Mapping[str, Any], found: Found) -> content.Template | None:
    content_sid = params.get("ContentSid")
    if not content_sid:
        if params.get("ContentVariables"):
            raise errors.ContentRequiredForVariables("ContentVariables needs a ContentSid")
        return None
    template = found.templates.get((draft.account_sid, content_sid))
    if template is None:
        raise errors.UnknownContent(f"The content {content_sid} does not exist")
    if draft.body or draft.media_urls:
        raise InvalidParameter("A message has either a ContentSid or a Body with MediaUrl")
    return template


def _send_at(params: Mapping[str, Any], at: datetime) -> datetime | None:
    send_at: datetime | None = params.get("SendAt")
    if not params.get("ScheduleType"):
        if send_at is not None:
            raise InvalidParameter("SendAt needs the ScheduleType fixed")
        return None
    if send_at is None:
        raise errors.SendAtMissing("SendAt is required to schedule a message")
    if not at + LEAD_MIN <= send_at <= at + LEAD_MAX:
        raise errors.SendAtOutOfBounds("SendAt must be between 15 minutes and 35 days in the future")
    return send_at


def _shortener(found: Found, account_sid: str, address_of: Callable[[str], str]) -> Shortener:
    # The account's domain was made with its first service.
    return Shortener(address_of, found.domains[account_sid])


def _by_service(
    draft: send.Draft,
    params: Mapping[str, Any],
    service: pool.Pool,
    shortener: Shortener,
    carries_files: Callable[[str], bool],
) -> send.Draft:
    settings = service.settings
    changes: dict[str, Any] = {}
    if draft.validity_s is None:
        changes["validity_s"] = settings["validity_period"]
    if "SmartEncoded" not in params:
        changes["smart_encoded"] = settings["smart_encoding"]
    if draft.status_callback is None:
        changes["status_callback"] = settings["status_callback"] or None
    if params.get("ShortenUrls"):
        if not settings["shortens_links"]:
            raise errors.LinksNotShortened("This Messaging Service has no domain to shorten links by")
        changes["body"], changes["links"] = shortener.shorten(draft.body)
    draft = msgspec.structs.replace(draft, **changes)
    if not service.of(draft.recipient) and not _goes_rich(draft, service):
        raise errors.ServiceHasNoSenders("The Messaging Service contains no phone numbers")
    return _reached(draft, service, shortener, carries_files)


def _goes_rich(draft: send.Draft, service: pool.Pool) -> bool:
    return not draft.sender and not channels.is_on_channel(draft.recipient) and bool(service.rich)


def _falling_back(draft: send.Draft, senders: Sequence[model.PoolSender], service: pool.Pool) -> send.Draft:
    """Let a message that goes by RCS first fall back only where somebody can then send it."""
    recipient = e164.normalise(draft.recipient)
    if recipient is None or draft.fallback_from:
        # Composing says what is wrong with it; and whose the named sender is, is looked up when it is needed.
        return draft
    fit = model.fitting(
        senders,
        e164.country_of(recipient) or "",
        has_media=bool(draft.media_urls),
        falls_back_to_long_code=service.settings["fallback_to_long_code"],
    )
    return draft if fit else msgspec.structs.replace(draft, fallback_from=None)


def _reached(
    draft: send.Draft, service: pool.Pool, shortener: Shortener, carries_files: Callable[[str], bool]
) -> send.Draft:
    """Make sure that somebody in the pool reaches the recipient: with files, or else with links to them."""
    wanted = draft.sender
    if channels.is_on_channel(draft.recipient):
        if wanted and wanted not in {sender.sender for sender in service.of(draft.recipient)}:
            raise errors.NotInPool(f"{wanted} is not in the Messaging Service")
        return draft
    if wanted and not e164.is_alpha_sender(wanted):
        wanted = e164.normalise(wanted) or wanted
    senders = [sender for sender in service.of(draft.recipient) if not wanted or sender.sender == wanted]
    if _goes_rich(draft, service):
        return _falling_back(draft, senders, service)
    if not senders:
        raise errors.NotInPool(f"{wanted} is not in the Messaging Service")
    recipient = e164.normalise(draft.recipient)
    if recipient is None:
        # Composing says what is wrong with it.
        return draft
    country = e164.country_of(recipient) or ""
    falls_back = bool(service.settings["fallback_to_long_code"]) or bool(wanted)

    def reach(*, has_media: bool) -> bool:
        return bool(model.fitting(senders, country, has_media=has_media, falls_back_to_long_code=falls_back))

    is_turned = bool(draft.media_urls) and service.settings["mms_converter"] and not carries_files(recipient)
    if not is_turned and reach(has_media=bool(draft.media_urls)):
        return draft
    if draft.media_urls and service.settings["mms_converter"] and reach(has_media=False):
        # Twilio docs, MMS Converter: where no MMS gets through, an SMS leads to the files.
        made = [shortener.short_link(url, reports=False) for url in draft.media_urls]
        body = "\n".join([*([draft.body] if draft.body else []), *(link.short_link for link in made)])
        return msgspec.structs.replace(draft, body=body, media_urls=(), links=(*draft.links, *made))
    raise errors.NoSenderFits("The Messaging Service does not have a phone number available to send a message")
