"""The fields with which messages on channels are announced and called back.

Source: Twilio docs, "Twilio's request to your incoming message Webhook URL" and "Track outbound message status"; names
captured from public integrations.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from onterms.core.db import Row, Tx
from onterms.ports.message_carrier import InboundDetails, InboundMessage
from onterms.products.messaging.model import NewMessage
from onterms.products.messaging.model.channels import channel_of, identity_of
from onterms.products.messaging.service.respond import MESSAGE_URI
from onterms.products.messaging.store import channels as store

# "Your WhatsApp code: 123-456"; in other languages the name and the digits are the same.
_CODE = re.compile(r"WhatsApp.*?(?<![0-9])([0-9]{3})-?([0-9]{3})(?![0-9])", re.DOTALL)
_PLAIN: tuple[tuple[str, str], ...] = (
    ("ButtonText", "button_text"),
    ("ButtonPayload", "button_payload"),
    ("ListId", "list_id"),
    ("ListTitle", "list_title"),
    ("ListDescription", "list_description"),
    ("Latitude", "latitude"),
    ("Longitude", "longitude"),
    ("Address", "address"),
    ("Label", "label"),
)


def code_in(body: str) -> str:
    """Return the code by which WhatsApp proves whose a number is, or nothing."""
    match = _CODE.search(body) if len(body) < 400 and "WhatsApp" in body else None
    return "" if match is None else match[1] + match[2]


async def keep(tx: Tx, messages: Sequence[tuple[InboundMessage, NewMessage]]) -> None:
    """Keep what messages brought beside text and files; plain ones cost nothing here."""
    rows = [
        (stored.account_sid, stored.sid, msgspec.to_builtins(message.details))
        for message, stored in messages
        if message.details is not None
    ]
    if rows:
        await store.keep_details(tx, rows)


async def brought(tx: Tx, message: Row) -> InboundDetails | None:
    """Return what a message on a channel brought; None for any other, at no cost."""
    if ":" not in message["sender"]:
        return None
    key = (message["account_sid"], message["sid"])
    row = (await store.fetch_messages(tx, [key])).get(key)
    details = InboundDetails()
    if row is not None and row["details"]:
        details = msgspec.convert(row["details"], InboundDetails)
    if details.replied_id:
        # Only what is this account's has a SID here.
        sid = await store.sid_of(tx, message["account_sid"], details.replied_id)
        details = msgspec.structs.replace(details, replied_id=sid or "")
    return details


def inbound_params(
    message: Row, details: InboundDetails, media: Sequence[Row], opt_out_type: str | None = None
) -> list[tuple[str, str]]:
    """Return the fields with which an inbound message on a channel is announced."""
    channel = channel_of(message["sender"])
    params = [
        ("SmsMessageSid", message["sid"]),
        ("NumMedia", str(len(media))),
        ("SmsSid", message["sid"]),
        ("SmsStatus", "received"),
        ("Body", message["body"]),
        ("To", message["recipient"]),
        ("NumSegments", str(message["num_segments"])),
        ("ReferralNumMedia", details.referral.get("num_media", "0")),
        ("MessageSid", message["sid"]),
        ("AccountSid", message["account_sid"]),
        ("From", message["sender"]),
        ("ApiVersion", "2010-04-01"),
        ("MessageType", details.kind),
        ("ChannelPrefix", channel),
        ("ChannelMetadata", json.dumps(_metadata(channel, details), separators=(",", ":"))),
    ]
    if details.profile_name:
        params.append(("ProfileName", details.profile_name))
    if channel == "whatsapp":
        params.append(("WaId", details.user_id or identity_of(message["sender"]).lstrip("+")))
    params += [(name, value) for name, attribute in _PLAIN if (value := getattr(details, attribute))]
    if details.is_forwarded or details.is_frequently_forwarded:
        params.append(("Forwarded", "true"))
    if details.is_frequently_forwarded:
        params.append(("FrequentlyForwarded", "true"))
    if details.replied_id:
        params += [
            ("OriginalRepliedMessageSid", details.replied_id),
            ("OriginalRepliedMessageSender", details.replied_sender),
        ]
    for name, value in details.referral.items():
        if name != "num_media":
            params.append(("Referral" + "".join(part.capitalize() for part in name.split("_")), value))
    if details.data.get("interactive"):
        params.append(("InteractiveData", json.dumps(details.data["interactive"], separators=(",", ":"))))
    if message["messaging_service_sid"]:
        params.append(("MessagingServiceSid", message["messaging_service_sid"]))
    if opt_out_type:
        params.append(("OptOutType", opt_out_type))
    for index, file in enumerate(media):
        uri = MESSAGE_URI.format(message["account_sid"], message["sid"], file["sid"])
        params += [(f"MediaContentType{index}", file["content_type"]), (f"MediaUrl{index}", uri)]
    return params


def _metadata(channel: str, details: InboundDetails) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if details.profile_name or details.user_id:
        data["context"] = {"ProfileName": details.profile_name, "WaId": details.user_id}
    data |= {name: value for name, value in details.data.items() if name != "interactive"}
    return {"type": channel, "data": data}


async def of_callback(tx: Tx, account_sid: str, payload: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fields that a status callback has on a channel beside the common ones."""
    channel = channel_of(payload["recipient"])
    params = [("ChannelPrefix", channel), ("ChannelToAddress", identity_of(payload["recipient"]))]
    found = await store.senders_of(tx, [(account_sid, payload["sender"])])
    for sender in found.values():
        params.append(("ChannelInstallSid", sender["sid"]))
    if payload["status"] in ("failed", "undelivered"):
        key = (account_sid, payload["sid"])
        row = (await store.fetch_messages(tx, [key])).get(key)
        if row is not None and row["status_message"]:
            params.append(("ChannelStatusMessage", row["status_message"]))
    if payload["status"] == "read":
        params.append(("EventType", "READ"))
    return params
