"""Our SMPP client and a server of other makers: smppy, which has its own codec."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from smppy import Application
from smppy.server import SmppProtocol

from onterms.carriers.smpp import SmppApi, SmppCarrier, api
from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.vault import Vault
from onterms.engines.api.own import OwnRequest
from onterms.ports.message_carrier import InboundMessage, OutboundMessage, Submitted

WAIT_S = 10


class Peer(Application):
    """An application as smppy's documentation shows."""

    def __init__(self) -> None:
        super().__init__(name="peer")
        self.clients: asyncio.Queue[Any] = asyncio.Queue()
        self.heard: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def handle_bound_client(self, client: Any) -> Any:
        # It is bound only once this returns.
        asyncio.get_running_loop().call_soon(self.clients.put_nowait, client)
        return client if (client.system_id, client.password) == ("us", "secret") else None

    async def handle_unbound_client(self, client: Any) -> None:
        self.gone.set()

    async def handle_sms_received(self, client: Any, source_number: str, dest_number: str, text: Any) -> None:
        self.heard.put_nowait((source_number, dest_number, text))


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    server = await asyncio.get_running_loop().create_server(lambda: SmppProtocol(app=made), "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield made
    server.close()


class Sink:
    def __init__(self) -> None:
        self.messages: asyncio.Queue[InboundMessage] = asyncio.Queue()

    async def receipts_arrived(self, tx: Any, receipts: Any) -> None:
        raise AssertionError("the peer writes no receipts")

    async def look_through(self, messages: Any) -> Any:
        return messages

    async def messages_arrived(self, tx: Any, messages: Any) -> list[str | None]:
        for message in messages:
            self.messages.put_nowait(message)
        return [None] * len(messages)


async def test_our_client_binds_sends_and_receives(peer: Any, database: Database, clock: VirtualClock) -> None:
    vault, sink = Vault(b"k" * 32), Sink()
    doors, request = SmppApi(vault), OwnRequest("POST", {}, {}, {}, clock.now())
    async with database.transaction() as tx:
        # It reads one PDU at a time from what a socket brings, so one is under way.
        carrier_settings = {"system_id": "us", "password": "secret", "window": 1, "long": "sar"}
        body = api.CarrierChange(name="peer", host="127.0.0.1", port=peer.port, **carrier_settings)  # type: ignore[arg-type]
        made = await doors.make_carrier(tx, request, body)
        await doors.make_route(tx, request, api.NewRoute(carrier_sid=made.sid))
    carrier = SmppCarrier(database, clock, vault, sink, node="test", random=lambda: 0.0, patience_s=WAIT_S)
    await carrier.start()
    try:
        async with asyncio.timeout(WAIT_S):
            client = await peer.clients.get()
        messages = [
            OutboundMessage(f"SM{number:032x}", "AC" + "0" * 32, "+14155550123", "+19075550100", text, (), 1, "GSM-7")
            for number, text in enumerate(("Hello there", "Привет"))
        ]
        outcomes = await carrier.submit(messages)
        assert [type(outcome) for outcome in outcomes] == [Submitted, Submitted]
        for message in messages:
            source, recipient, text = await peer.heard.get()
            assert (source, recipient) == ("14155550123", "19075550100")
            assert text == message.body
        # Its longer texts come in parts with SAR parameters.
        text = "words of many " * 20
        await client.send_sms(source="19075550100", dest="14155550123", text=text)
        async with asyncio.timeout(WAIT_S):
            inbound = await sink.messages.get()
        assert (inbound.body, inbound.segments) == (text, 3)
    finally:
        await carrier.close()
    assert peer.gone.is_set()
