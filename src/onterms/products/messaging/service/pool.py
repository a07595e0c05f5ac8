"""Messaging Services as their owners keep them: settings, senders, the short domain, words of opting out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from onterms.core import e164
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound, NotServed
from onterms.core.ids import new_sid
from onterms.engines.api import PageRequest
from onterms.products import numbers, registration
from onterms.products.messaging import errors
from onterms.products.messaging.model.channels import ONLINE, channel_of
from onterms.products.messaging.model.pool import HELD, PoolSender, SenderKind
from onterms.products.messaging.model.web import is_web_url
from onterms.products.messaging.service import channels
from onterms.products.messaging.service.registration import is_us_long_code
from onterms.products.messaging.service.send import VALIDITY_S_MAX, Senders
from onterms.products.messaging.store import channels as channel_store
from onterms.products.messaging.store import pools

# Twilio docs, Messaging Services: senders of one pool.
SENDERS_MAX = 400
# Twilio docs, Service resource: use cases of a service.
USECASES: Mapping[str, str] = {
    "notifications": "Notify people of what happens to their orders, bookings and accounts.",
    "marketing": "Tell people of offers and news.",
    "verification": "Prove that a number belongs to whoever gave it.",
    "discussion": "Let people write to and fro.",
    "poll": "Ask people for their opinion or their vote.",
    "undeclared": "Not said.",
}
DEFAULTS: Mapping[str, Any] = {
    "inbound_request_url": "",
    "inbound_method": "POST",
    "fallback_url": "",
    "fallback_method": "POST",
    "status_callback": "",
    # Twilio docs, Service resource.
    "sticky_sender": True,
    "mms_converter": True,
    "smart_encoding": True,
    "fallback_to_long_code": True,
    "area_code_geomatch": True,
    "validity_period": VALIDITY_S_MAX,
    "usecase": "undeclared",
    "use_inbound_webhook_on_number": False,
}
_URLS = ("inbound_request_url", "fallback_url", "status_callback")
_PARAMETERS: Mapping[str, str] = {
    "FriendlyName": "friendly_name",
    "InboundRequestUrl": "inbound_request_url",
    "InboundMethod": "inbound_method",
    "FallbackUrl": "fallback_url",
    "FallbackMethod": "fallback_method",
    "StatusCallback": "status_callback",
    "StickySender": "sticky_sender",
    "MmsConverter": "mms_converter",
    "SmartEncoding": "smart_encoding",
    "FallbackToLongCode": "fallback_to_long_code",
    "AreaCodeGeomatch": "area_code_geomatch",
    "ValidityPeriod": "validity_period",
    "Usecase": "usecase",
    "UseInboundWebhookOnNumber": "use_inbound_webhook_on_number",
}


@dataclass(frozen=True, slots=True)
class Pool:
    """A service's settings with its senders of today."""

    settings: Row
    senders: tuple[PoolSender, ...]
    # Those on RCS, which are tried first.
    rich: tuple[PoolSender, ...] = ()

    def of(self, recipient: str) -> list[PoolSender]:
        """Return the senders that write to a recipient's kind of address: of its channel, or none of a channel."""
        if ":" not in recipient:
            return [sender for sender in self.senders if sender.kind != "channel_sender"]
        channel = channel_of(recipient)
        return [
            sender
            for sender in self.senders
            if sender.kind == "channel_sender" and channel_of(sender.sender) == channel
        ]


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Read settings.

    Raises: InvalidParameter, InvalidUsecase; NotServed for what Twilio keeps for later and nothing here does.
    """
    if params.get("SynchronousValidation") or params.get("ScanMessageContent", "inherit") != "inherit":
        raise NotServed("SynchronousValidation and ScanMessageContent are not served by this installation")
    settings = {column: params[name] for name, column in _PARAMETERS.items() if name in params}
    name = settings.get("friendly_name")
    # Twilio docs, Service resource: 64 characters.
    if name is not None and not 1 <= len(name) <= 64:
        raise InvalidParameter("FriendlyName must have 1 to 64 characters")
    for column in _URLS:
        if settings.get(column) and not is_web_url(settings[column]):
            raise InvalidParameter(f"{column} is not a web address")
    if not 1 <= settings.get("validity_period", 1) <= VALIDITY_S_MAX:
        raise errors.InvalidValidityPeriod(f"ValidityPeriod must be 1 to {VALIDITY_S_MAX} seconds")
    if settings.get("usecase", "undeclared") not in USECASES:
        raise errors.InvalidUsecase(f"Usecase must be one of {', '.join(USECASES)}")
    return settings


async def create(tx: Tx, account_sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Make a service; the first of an account makes the account's short domain. Raises: as `_settings`."""
    settings = {**DEFAULTS, **_settings(params)}
    await pools.ensure_domain(tx, account_sid, new_sid("DN", at), new_sid("ZK", at), at)
    return await pools.insert_service(tx, account_sid, new_sid("MG", at), settings, at)


async def update(tx: Tx, account_sid: str, sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Change a service. Raises: NotFound, and as `_settings`."""
    row = await pools.update_service(tx, account_sid, sid, _settings(params), at)
    if row is None:
        raise _not_found(sid)
    return row


async def fetch(tx: Tx, account_sid: str, sid: str) -> Row:
    """Return a service. Raises: NotFound."""
    row = await pools.fetch_service(tx, account_sid, sid)
    if row is None:
        raise _not_found(sid)
    return row


async def page(tx: Tx, account_sid: str, request: PageRequest) -> list[Row]:
    """Return one page of services."""
    return await pools.page_services(tx, account_sid, request)


async def delete(tx: Tx, account_sid: str, sid: str) -> None:
    """Remove a service; its numbers stay the account's. Raises: NotFound."""
    if not await pools.delete_service(tx, account_sid, sid):
        raise _not_found(sid)
    await registration.service_deleted(tx, account_sid, sid)


async def add_number(tx: Tx, account_sid: str, service_sid: str, number_sid: str, at: datetime) -> Row:
    """Put a number of the account into a pool.

    Raises: NotFound, NotInPool for a number that is not the account's, AlreadyInPool, InAnotherPool, CannotMessage,
    PoolFull.
    """
    await _make_room(tx, account_sid, service_sid)
    number = await numbers.held(tx, account_sid, number_sid)
    if number is None:
        raise NotFound(f"The phone number {number_sid} was not found")
    if not number.capabilities.sms:
        raise errors.CannotMessage(f"{number.phone_number} carries no messages")
    return await _add_held(tx, account_sid, service_sid, number, "phone_number", at)


async def add_short_code(tx: Tx, account_sid: str, service_sid: str, short_code_sid: str, at: datetime) -> Row:
    """Put a short code of the account into a pool.

    Raises: NotFound, also for one that is not the account's, AlreadyInPool, InAnotherPool, PoolFull.
    """
    await _make_room(tx, account_sid, service_sid)
    held = await numbers.held(tx, account_sid, short_code_sid)
    if held is None:
        raise NotFound(f"The short code {short_code_sid} was not found")
    return await _add_held(tx, account_sid, service_sid, held, "short_code", at)


async def _add_held(
    tx: Tx, account_sid: str, service_sid: str, number: numbers.OwnedNumber, kind: SenderKind, at: datetime
) -> Row:
    there = await pools.service_of_number(tx, account_sid, number.phone_number)
    if there is not None and there["sid"] == number.sid:
        if there["service_sid"] == service_sid:
            raise errors.AlreadyInPool(f"{number.phone_number} is already in this Messaging Service")
        raise errors.InAnotherPool(f"{number.phone_number} is in another Messaging Service")
    if there is not None:
        # The account gave the number back and took it again since.
        await pools.delete_sender(tx, account_sid, there["service_sid"], there["sid"])
    given = (number.sid, kind, number.phone_number, number.country)
    row = await pools.insert_sender(tx, account_sid, service_sid, *given, at)
    if is_us_long_code(number.phone_number):
        await registration.number_added(tx, account_sid, service_sid, number.phone_number, at)
    return row


async def add_alpha(
    tx: Tx, account_sid: str, service_sid: str, alpha: str, kind: SenderKind, country: str, at: datetime
) -> Row:
    """Put an alphanumeric sender into a pool. Raises: NotFound, InvalidAlphaSender, AlreadyInPool, PoolFull."""
    await _make_room(tx, account_sid, service_sid)
    if not e164.is_alpha_sender(alpha):
        raise errors.InvalidAlphaSender(f"'{alpha[:32]}' is no alphanumeric sender")
    country = country.upper()
    if country and country not in e164.countries():
        raise InvalidParameter(f"IsoCountryCode is not a country: {country[:16]}")
    for row in await pools.senders_of(tx, [(account_sid, service_sid)]):
        # Twilio docs, AlphaSender resource: one for a service; one more for each country.
        if row["kind"] == kind == "alpha_sender" or (row["kind"], row["sender"], row["country"]) == (
            kind,
            alpha,
            country,
        ):
            raise errors.AlreadyInPool(f"{row['sender']} is already in this Messaging Service")
    return await pools.insert_sender(tx, account_sid, service_sid, new_sid("AI", at), kind, alpha, country, at)


async def add_channel(tx: Tx, account_sid: str, service_sid: str, sid: str, at: datetime) -> Row:
    """Put a sender of a channel into a pool.

    Raises: NotFound, AlreadyInPool, InAnotherPool, PoolFull; CannotMessage for a sender that is not online.
    """
    await _make_room(tx, account_sid, service_sid)
    sender = await channels.fetch(tx, account_sid, sid)
    if sender["status"] not in ONLINE:
        raise errors.CannotMessage(f"{sender['address']} is not online")
    there = await pools.service_of_number(tx, account_sid, sender["address"], "channel_sender")
    if there is not None:
        if there["service_sid"] == service_sid:
            raise errors.AlreadyInPool(f"{sender['address']} is already in this Messaging Service")
        raise errors.InAnotherPool(f"{sender['address']} is in another Messaging Service")
    return await pools.insert_sender(tx, account_sid, service_sid, sid, "channel_sender", sender["address"], "", at)


async def _make_room(tx: Tx, account_sid: str, service_sid: str) -> None:
    if await pools.lock_service(tx, account_sid, service_sid) is None:
        raise _not_found(service_sid)
    if len(await pools.senders_of(tx, [(account_sid, service_sid)])) >= SENDERS_MAX:
        raise errors.PoolFull(f"A Messaging Service holds at most {SENDERS_MAX} senders")


async def senders_in(
    tx: Tx, account_sid: str, service_sid: str, kind: SenderKind
) -> list[tuple[Row, numbers.OwnedNumber | None]]:
    """Return the senders of a kind in a pool, newest first, numbers with what they are. Raises: NotFound."""
    await fetch(tx, account_sid, service_sid)
    rows = [row for row in await pools.senders_of(tx, [(account_sid, service_sid)]) if row["kind"] == kind]
    if kind not in HELD:
        return [(row, None) for row in rows]
    owned = await numbers.owned(tx, account_sid, [row["sender"] for row in rows])
    # What the account gave back since is in no pool any more.
    return [(row, owned[row["sender"]]) for row in rows if _is_held(row, owned.get(row["sender"]))]


async def sender_in(
    tx: Tx, account_sid: str, service_sid: str, kind: SenderKind, sid: str
) -> tuple[Row, numbers.OwnedNumber | None]:
    """Return one sender of a pool. Raises: NotFound."""
    for row, number in await senders_in(tx, account_sid, service_sid, kind):
        if row["sid"] == sid:
            return row, number
    raise NotFound(f"The sender {sid} was not found")


async def remove_sender(tx: Tx, account_sid: str, service_sid: str, kind: SenderKind, sid: str) -> None:
    """Take a sender out of a pool. Raises: NotFound."""
    row, _ = await sender_in(tx, account_sid, service_sid, kind, sid)
    await pools.delete_sender(tx, account_sid, service_sid, sid)
    if kind == "phone_number":
        await registration.numbers_removed(tx, account_sid, [row["sender"]])


async def has_service(tx: Tx, account_sid: str, sid: str) -> bool:
    """Tell whether an account has a service, and keep it until commit."""
    return await pools.lock_service(tx, account_sid, sid) is not None


async def long_codes_in(tx: Tx, account_sid: str, service_sid: str) -> list[str]:
    """Return the US long codes in a pool, whose campaign is registered with them."""
    found = await senders_in(tx, account_sid, service_sid, "phone_number")
    return [row["sender"] for row, _ in found if is_us_long_code(row["sender"])]


def _is_held(row: Row, number: numbers.OwnedNumber | None) -> bool:
    return number is not None and number.sid == row["sid"]


async def pools_of(tx: Tx, senders: Senders, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Pool]:
    """Return services with their senders, by (account_sid, service_sid); those that do not exist are absent."""
    wanted = list(dict.fromkeys(keys))
    services = await pools.fetch_services(tx, wanted)
    rows = await pools.senders_of(tx, list(services)) if services else []
    pairs = [(row["account_sid"], row["sender"]) for row in rows if row["kind"] in HELD]
    owned = await senders(tx, pairs) if pairs else {}
    on_channels = [(row["account_sid"], row["sid"]) for row in rows if row["kind"] == "channel_sender"]
    online = await channel_store.online_sids(tx, on_channels) if on_channels else set()
    found: dict[tuple[str, str], list[PoolSender]] = {key: [] for key in services}
    for row in rows:
        number = owned.get((row["account_sid"], row["sender"]))
        if row["kind"] in HELD and not _is_held(row, number):
            continue
        if row["kind"] == "channel_sender" and (row["account_sid"], row["sid"]) not in online:
            continue
        of_service = found.get((row["account_sid"], row["service_sid"]))
        if of_service is not None:
            of_service.append(_pool_sender(row, number))
    return {key: _pool(services[key], found[key]) for key in services if key in wanted}


def _pool(settings: Row, senders: Sequence[PoolSender]) -> Pool:
    return Pool(settings, tuple(senders), tuple(sender for sender in senders if sender.sender.startswith("rcs:")))


def _pool_sender(row: Row, number: numbers.OwnedNumber | None) -> PoolSender:
    facts = (row["sid"], row["sender"], row["kind"])
    if row["kind"] == "channel_sender":
        return PoolSender(*facts, country="", used=row["used"], can_mms=True)
    if number is None:
        return PoolSender(*facts, country=row["country"], used=row["used"])
    return PoolSender(
        *facts,
        country=number.country,
        used=row["used"],
        is_tollfree=number.kind == "tollfree",
        can_sms=number.capabilities.sms,
        can_mms=number.capabilities.mms,
        reaches=numbers.short_code_reach(number.country) if row["kind"] == "short_code" else frozenset(),
    )


async def domain(tx: Tx, account_sid: str, domain_sid: str) -> Row:
    """Return the account's short domain. Raises: NotFound for every other."""
    row = await pools.fetch_domain(tx, account_sid)
    if row is None or row["sid"] != domain_sid:
        raise NotFound(f"The domain {domain_sid} was not found")
    return row


async def domain_of_service(tx: Tx, account_sid: str, service_sid: str) -> Row:
    """Return the short domain that a service uses. Raises: NotFound."""
    service = await fetch(tx, account_sid, service_sid)
    row = await pools.fetch_domain(tx, account_sid)
    if row is None or not service["shortens_links"]:
        raise NotFound(f"The Messaging Service {service_sid} has no domain")
    return row


async def update_domain(tx: Tx, account_sid: str, domain_sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Change the settings of the short domain. Raises: NotFound, InvalidParameter."""
    await domain(tx, account_sid, domain_sid)
    changes: dict[str, Any] = {}
    for name, column in (("FallbackUrl", "fallback_url"), ("CallbackUrl", "callback_url")):
        if name in params:
            if params[name] and not is_web_url(params[name]):
                raise InvalidParameter(f"{name} is not a web address")
            changes[column] = params[name]
    for name, column in (("ContinueOnFailure", "continue_on_failure"), ("DisableHttps", "disable_https")):
        if name in params:
            changes[column] = params[name]
    return await pools.update_domain(tx, account_sid, changes, at)


async def attach_domain(
    tx: Tx, account_sid: str, domain_sid: str, service_sid: str, at: datetime, *, attached: bool
) -> None:
    """Let a service shorten links by the short domain, or not. Raises: NotFound."""
    await domain(tx, account_sid, domain_sid)
    service = await fetch(tx, account_sid, service_sid)
    if not attached and not service["shortens_links"]:
        raise NotFound(f"The Messaging Service {service_sid} does not use the domain {domain_sid}")
    await pools.update_service(tx, account_sid, service_sid, {"shortens_links": attached}, at)


async def set_opt_out(
    tx: Tx, account_sid: str, service_sid: str, settings: Mapping[str, Any] | None, at: datetime
) -> Row:
    """Give a service words and replies of its own for opting out, or the default ones back. Raises: NotFound."""
    row = await pools.update_service(tx, account_sid, service_sid, {"opt_out": settings}, at)
    if row is None:
        raise _not_found(service_sid)
    return row


def webhook_of(line: numbers.OwnedNumber, service: Row | None) -> numbers.Webhook:
    """Return where an inbound message is announced: the service's place unless the service leaves it to the number."""
    if service is None or service["use_inbound_webhook_on_number"]:
        return line.sms
    return numbers.Webhook(
        service["inbound_request_url"], service["inbound_method"], service["fallback_url"], service["fallback_method"]
    )


def opt_out_senders(pool: Sequence[Row], service_sid: str) -> list[str]:
    """Return under which names opt-outs of a service are kept: its own, and each of its senders'."""
    return [service_sid, *(row["sender"] for row in pool)]


def _not_found(sid: str) -> NotFound:
    return NotFound(f"The requested resource /v1/Services/{sid} was not found")
