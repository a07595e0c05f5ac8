"""Channels: their senders, which messages may go there, and what comes in from there as if from a line."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound, NotServed, Refusal
from onterms.core.ids import new_sid
from onterms.engines import jobs
from onterms.engines.api import PageRequest
from onterms.ports.channels import ChannelSender, Standing, Step
from onterms.ports.message_carrier import Content, Receipt
from onterms.products import numbers
from onterms.products.messaging import errors
from onterms.products.messaging.model import NewMessage
from onterms.products.messaging.model import channels as model
from onterms.products.messaging.model.web import is_web_url
from onterms.products.messaging.store import channels as store
from onterms.products.numbers import Capabilities, OwnedNumber, Webhook

AT_NETWORK = "messaging.channel_sender"

# Which channels this installation has a carrier for; an address on another one is refused.
CHANNELS = frozenset({"whatsapp", "rcs"})
_OBJECTS = ("configuration", "webhook", "profile")
_URLS = ("callback_url", "fallback_url", "status_callback_url")
# Twilio docs, Senders API: verification by text or call.
_METHODS = (None, "sms", "voice")

Lines = Callable[[Tx, Sequence[str]], Awaitable[Mapping[str, OwnedNumber]]]


def is_on_channel(address: str) -> bool:
    """Tell whether an address is one of a channel; a look for the colon, which no other address has."""
    return ":" in address and model.channel_of(address) != "sms"


# ---- senders


async def create(tx: Tx, account_sid: str, given: Mapping[str, Any], at: datetime) -> Row:
    """Make a sender and ask its network for it. Raises: InvalidChannelSender, NotServed, InvalidParameter."""
    written = given.get("sender_id") or ""
    channel = model.channel_of(written)
    if channel == "sms":
        raise errors.InvalidChannelSender("sender_id must be an address such as whatsapp:+14155550123")
    if channel not in CHANNELS:
        raise NotServed(f"Senders of {channel} are not served by this installation")
    address = model.sender_address(written)
    if address is None:
        raise errors.InvalidChannelSender(f"sender_id is no address on {channel}: {written[:128]}")
    facts = _facts(given, {})
    row = await store.insert_sender(tx, account_sid, new_sid("XE", at), channel, address, facts, at)
    if row is None:
        raise errors.InvalidChannelSender(f"The account has the sender {address} already", status=409)
    await _ask(tx, row, "enrol", at)
    return row


async def ensure_sender(tx: Tx, account_sid: str, address: str, configuration: Mapping[str, Any], at: datetime) -> None:
    """Make an account's sender, as a fresh sandbox has one, where it is not there."""
    facts = {"configuration": dict(configuration), "webhook": {}, "profile": {}}
    sid = new_sid("XE", at)
    row = await store.insert_sender(tx, account_sid, sid, model.channel_of(address), address, facts, at)
    if row is not None:
        await _ask(tx, row, "enrol", at)


async def fetch(tx: Tx, account_sid: str, sid: str) -> Row:
    """Return a sender. Raises: NotFound."""
    row = await store.fetch_sender(tx, account_sid, sid)
    if row is None:
        raise _not_found(sid)
    return row


async def page(tx: Tx, account_sid: str, channel: str, request: PageRequest) -> list[Row]:
    """Return one page of an account's senders on a channel. Raises: InvalidParameter."""
    if channel.lower() not in CHANNELS:
        raise InvalidParameter(f"Channel must be one of {', '.join(sorted(CHANNELS))}")
    return await store.page_senders(tx, account_sid, channel.lower(), request)


async def update(tx: Tx, account_sid: str, sid: str, given: Mapping[str, Any], at: datetime) -> Row:
    """Change a sender, or give the code that proves whose it is.

    Raises: NotFound, InvalidParameter; WrongState where nobody waits for a code.
    """
    row = await store.fetch_sender(tx, account_sid, sid, locked=True)
    if row is None:
        raise _not_found(sid)
    code = str((given.get("configuration") or {}).get("verification_code") or "")
    changes: dict[str, Any] = _facts(given, row)
    asks = "verify" if code else "update"
    step: Step | None = None
    # Where messages are announced is between the customer and us.
    if code or any(changes[name] != row[name] for name in ("configuration", "profile")) or row["status"] == "OFFLINE":
        asked = model.ASKED.get((row["status"], asks))
        if asked is None:
            raise errors.InvalidChannelSender(f"A sender that is {row['status']} takes no {asks}")
        changes["status"], step = asked
    changed = await store.update_sender(tx, account_sid, sid, changes, at)
    assert changed is not None
    if step is not None:
        await _ask(tx, changed, step, at, code)
    return changed


async def delete(tx: Tx, account_sid: str, sid: str, at: datetime) -> None:
    """Remove a sender here and at its network. Raises: NotFound."""
    row = await store.delete_sender(tx, account_sid, sid)
    if row is None:
        raise _not_found(sid)
    await _ask(tx, row, "withdraw", at)


def _facts(given: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: {**before.get(name, {}), **_known(given.get(name))} for name in _OBJECTS}
    # It is used once and not kept.
    facts["configuration"].pop("verification_code", None)
    for name in _URLS:
        url = facts["webhook"].get(name)
        if url and not is_web_url(url):
            raise InvalidParameter(f"webhook.{name} is not a web address")
    for name in ("callback_method", "fallback_method", "status_callback_method"):
        if (facts["webhook"].get(name) or "POST") != "POST":
            raise NotServed("Webhooks of senders are called by POST")
    if facts["configuration"].get("verification_method") not in _METHODS:
        raise InvalidParameter("configuration.verification_method must be sms or voice")
    if facts["configuration"].get("verification_method") == "voice":
        raise NotServed("Verification by a call is not served by this installation")
    if len(msgspec.json.encode(facts)) > 32_768:
        raise InvalidParameter("The sender's settings are longer than 32768 bytes")
    return facts


def _known(value: Any) -> dict[str, Any]:
    return {name: each for name, each in (value or {}).items() if each is not None}


async def _ask(tx: Tx, row: Row, step: Step, at: datetime, code: str = "") -> None:
    payload: dict[str, Any] = {"sid": row["sid"], "step": step}
    if code:
        payload["code"] = code
    if step == "withdraw":
        # There is no row any more.
        payload |= {"address": row["address"], "configuration": row["configuration"]}
    key = f"{row['account_sid']}|{row['address']}"
    await jobs.enqueue(tx, [jobs.NewJob(AT_NETWORK, payload, account_sid=row["account_sid"], order_key=key)], at)


async def asked_of(tx: Tx, account_sid: str, payload: Mapping[str, Any]) -> ChannelSender | None:
    """Return the sender that a job is about, or None where it has gone."""
    if payload["step"] == "withdraw":
        return ChannelSender(account_sid, payload["sid"], payload["address"], payload["configuration"])
    row = await store.fetch_sender(tx, account_sid, payload["sid"])
    if row is None:
        return None
    number = model.identity_of(row["address"])
    return ChannelSender(
        account_sid,
        row["sid"],
        row["address"],
        row["configuration"],
        row["profile"],
        holds_number=(account_sid, number) in await numbers.senders(tx, [(account_sid, number)]),
        verification_code=payload.get("code", ""),
    )


async def settle(tx: Tx, account_sid: str, sid: str, standing: Standing, at: datetime) -> Row | None:
    """Record what a network made of a sender; what does not follow from its status changes nothing."""
    row = await store.fetch_sender(tx, account_sid, sid, locked=True)
    if row is None or standing.status not in model.ANSWERED[row["status"]]:
        return None
    if standing.status == "ONLINE":
        others = await store.online(tx, [row["address"]])
        holder = others.get(row["address"])
        if holder is not None and (holder["account_sid"], holder["sid"]) != (account_sid, sid):
            standing = Standing("OFFLINE", reasons=((63109, "The address is in use by another sender"),))
    changes = {
        "status": standing.status,
        "properties": {**row["properties"], **standing.properties},
        "offline_reasons": [{"code": str(code), "message": words} for code, words in standing.reasons],
        "configuration": {**row["configuration"], **standing.facts},
    }
    return await store.update_sender(tx, account_sid, sid, changes, at)


async def hear_code(tx: Tx, account_sid: str, number: str, code: str, at: datetime) -> bool:
    """Give a number's sender the code that came for it by text; tell whether it waited for one."""
    row = await store.waiting_for_code(tx, account_sid, f"whatsapp:{number}")
    if row is None:
        return False
    changed = await store.update_sender(tx, account_sid, row["sid"], {"status": "VERIFYING"}, at)
    assert changed is not None
    await _ask(tx, changed, "verify", at, code)
    return True


def _not_found(sid: str) -> NotFound:
    return NotFound(f"The requested resource /v2/Channels/Senders/{sid} was not found")


# ---- outbound


def addresses(recipient: str, sender: str) -> tuple[str, str]:
    """Return both addresses of a message on a channel in their one spelling; the sender may be empty.

    Raises: NotRoutable, ChannelsDiffer, InvalidRecipient, ChannelNotFound, SameAddress.
    """
    channel = model.channel_of(recipient)
    if sender and model.channel_of(sender) != channel:
        raise errors.ChannelsDiffer("'From' and 'To' must be addresses of the same channel")
    if channel not in CHANNELS:
        raise errors.NotRoutable(f"No {channel} sender is set up for this account")
    to = model.handset_address(recipient)
    if to is None:
        raise errors.InvalidRecipient(f"The 'To' number {recipient[:64]} is not a valid phone number.")
    if not sender:
        return to, ""
    source = model.sender_address(sender)
    if source is None:
        raise errors.ChannelNotFound(f"There is no channel with the 'From' address {sender[:64]}")
    if source == to:
        raise errors.SameAddress(f"'To' and 'From' are the same address: {to}")
    return to, source


async def objections(tx: Tx, messages: Sequence[NewMessage]) -> dict[str, Refusal]:
    """Find what speaks against the senders of messages on channels."""
    # A service's senders were looked up with it.
    asked = [message for message in messages if not message.messaging_service_sid]
    found = await store.senders_of(tx, [(message.account_sid, message.sender) for message in asked]) if asked else {}
    refused: dict[str, Refusal] = {}
    for message in asked:
        row = found.get((message.account_sid, message.sender))
        if row is None or row["status"] not in model.ONLINE:
            refused[message.sid] = errors.ChannelNotFound(
                f"There is no channel with the 'From' address {message.sender} that is online"
            )
    return refused


async def senders_of(tx: Tx, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
    """Return senders by (account_sid, address as it was given)."""
    spelled = {pair: (pair[0], model.sender_address(pair[1]) or "") for pair in pairs}
    found = await store.senders_of(tx, list(spelled.values()))
    return {pair: found[key] for pair, key in spelled.items() if key in found}


async def keep_content(tx: Tx, shown: Sequence[tuple[str, str, Content]]) -> None:
    """Keep what messages show, by (account_sid, sid)."""
    await store.keep_content(
        tx, [(account_sid, sid, msgspec.to_builtins(content)) for account_sid, sid, content in shown]
    )


async def contents_of(tx: Tx, messages: Sequence[Row]) -> dict[str, Content]:
    """Return what messages on channels show, by SID; others cost nothing here."""
    keys = [(row["account_sid"], row["sid"]) for row in messages if ":" in row["recipient"]]
    if not keys:
        return {}
    found = await store.fetch_messages(tx, keys)
    return {
        sid: msgspec.convert(found[account_sid, sid]["content"], Content)
        for account_sid, sid in keys
        if (account_sid, sid) in found and found[account_sid, sid]["content"]
    }


async def keep_words(tx: Tx, receipts: Sequence[Receipt]) -> None:
    """Keep the networks' words on what failed, and their names of what they took after all."""
    for receipt in receipts:
        if not receipt.account_sid or not receipt.message_sid:
            continue
        if receipt.reason:
            await store.keep_reason(tx, receipt.account_sid, receipt.message_sid, receipt.reason[:1000])
        if receipt.state == "sent" and receipt.carrier in CHANNELS:
            await store.name(tx, receipt.account_sid, receipt.message_sid, receipt.carrier_id)


# ---- inbound


def lines(others: Lines) -> Lines:
    """Let channel senders be found as lines are, beside the numbers."""

    async def find(tx: Tx, wanted: Sequence[str]) -> Mapping[str, OwnedNumber]:
        mine = [address for address in wanted if ":" in address]
        if not mine:
            return await others(tx, wanted)
        rest = [address for address in wanted if ":" not in address]
        found = dict(await others(tx, rest)) if rest else {}
        return found | {address: line_of(row) for address, row in (await store.online(tx, mine)).items()}

    return find


def line_of(row: Row) -> OwnedNumber:
    """Return a sender as the line that inbound messages come in by."""
    webhook = row["webhook"]
    nothing = Webhook("", "POST", "", "POST")
    return OwnedNumber(
        account_sid=row["account_sid"],
        sid=row["sid"],
        phone_number=row["address"],
        country="",
        kind="local",
        capabilities=Capabilities(voice=False, sms=True, mms=True, fax=False),
        friendly_name=row["profile"].get("name") or row["address"],
        sms=Webhook(
            webhook.get("callback_url") or "",
            webhook.get("callback_method") or "POST",
            webhook.get("fallback_url") or "",
            webhook.get("fallback_method") or "POST",
        ),
        voice=nothing,
        sms_application_sid=None,
        voice_application_sid=None,
        sms_status_callback=webhook.get("status_callback_url") or "",
        voice_status_callback="",
        voice_status_callback_method="POST",
        voice_caller_id_lookup=False,
        voice_receive_mode="voice",
        trunk_sid=None,
        address_sid=None,
        api_version="2010-04-01",
    )
