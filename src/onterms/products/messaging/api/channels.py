"""Which operations about channels this room serves: senders, and that somebody types."""

from collections.abc import Mapping
from typing import Any

from onterms.core.db import Tx
from onterms.core.errors import NotServed
from onterms.engines.api import Binding, Call, Page, Reply, serve
from onterms.products.messaging.service import channels, networks, pool
from onterms.products.messaging.wire import channels as wire


async def _create(tx: Tx, call: Call) -> Reply:
    return Reply(wire.sender_of(await channels.create(tx, call.account.sid, call.params, call.at)), status=202)


async def _fetch(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.sender_of(await channels.fetch(tx, call.account.sid, call.path["Sid"]))


async def _update(tx: Tx, call: Call) -> Reply:
    row = await channels.update(tx, call.account.sid, call.path["Sid"], call.params, call.at)
    return Reply(wire.sender_of(row), status=202)


async def _delete(tx: Tx, call: Call) -> None:
    await channels.delete(tx, call.account.sid, call.path["Sid"], call.at)


async def _list(tx: Tx, call: Call) -> Page:
    rows = await channels.page(tx, call.account.sid, call.params["Channel"], call.paging)
    return Page.of(call.paging, rows, key="sid", render=wire.sender_of)


async def _join(tx: Tx, call: Call) -> Mapping[str, Any]:
    given = (call.path["MessagingServiceSid"], call.params["Sid"])
    return wire.in_service(await pool.add_channel(tx, call.account.sid, *given, call.at))


async def _fetch_member(tx: Tx, call: Call) -> Mapping[str, Any]:
    service_sid = call.path["MessagingServiceSid"]
    row, _ = await pool.sender_in(tx, call.account.sid, service_sid, "channel_sender", call.path["Sid"])
    return wire.in_service(row)


async def _members(tx: Tx, call: Call) -> Page:
    found = await pool.senders_in(tx, call.account.sid, call.path["MessagingServiceSid"], "channel_sender")
    return Page.slice(call.paging, [wire.in_service(row) for row, _ in found], key="sid")


async def _leave(tx: Tx, call: Call) -> None:
    service_sid = call.path["MessagingServiceSid"]
    await pool.remove_sender(tx, call.account.sid, service_sid, "channel_sender", call.path["Sid"])


async def _typing(tx: Tx, call: Call) -> Mapping[str, Any]:
    await networks.ask_typing(tx, call.account.sid, call.params["messageId"], call.at)
    return {"success": True}


async def _typing_v3(tx: Tx, call: Call) -> Mapping[str, Any]:
    if call.params.get("channel") != "WHATSAPP":
        raise NotServed("Typing indicators are served for WhatsApp")
    return await _typing(tx, call)


def bindings() -> list[Binding]:
    """Join the operations to their use cases."""
    return [
        serve("messaging_v2:CreateChannelsSender", _create),
        serve("messaging_v2:FetchChannelsSender", _fetch),
        serve("messaging_v2:UpdateChannelsSender", _update),
        serve("messaging_v2:DeleteChannelsSender", _delete),
        serve("messaging_v2:ListChannelsSender", _list),
        serve("messaging_v2:CreateTypingIndicator", _typing),
        serve("messaging_v3:CreateV3TypingIndicator", _typing_v3),
        serve("messaging_v1:CreateChannelSender", _join),
        serve("messaging_v1:FetchChannelSender", _fetch_member),
        serve("messaging_v1:ListChannelSender", _members),
        serve("messaging_v1:DeleteChannelSender", _leave),
    ]
