"""Messages over an SMPP carrier, from the official client to an SMSC and back to the customer's webhook."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import requests
from smsc import Smsc
from twilio.rest import Client

from onterms.protocols.smpp import MessageState, parts

WAIT_S = 10


class Peer:
    """An SMSC in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.smsc = Smsc()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.do(self.smsc.start())
        self.client: Any = None

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something in the SMSC's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S + 5)

    def call(self, work: Callable[..., Any], *args: Any) -> Any:
        """Call something in the SMSC's loop."""

        async def run() -> Any:
            return work(*args)

        return self.do(run())

    def bound(self) -> None:
        """Wait for the server to be bound."""
        self.client = self.do(self.smsc.next_bound())

    def submit(self) -> Any:
        """Wait for a submit_sm."""
        return self.do(self.smsc.next_submit())

    def receipt(self, pdu: Any, message_id: str, state: MessageState = MessageState.DELIVERED) -> None:
        """Bring a receipt and wait until it is taken."""
        self.call(self.smsc.receipt, self.client, pdu, message_id, state, "001")
        assert self.do(self.smsc.next_reply()).status == 0

    def bring(self, pdu: Any) -> None:
        """Bring a message and wait until it is taken."""
        self.call(self.smsc.bring, self.client, pdu)
        assert self.do(self.smsc.next_reply()).status == 0

    def close(self) -> None:
        self.do(self.smsc.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_S)
        self.loop.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def bound(server: Any, peer: Peer) -> Iterator[str]:
    """A carrier of the shared server that is bound to the peer, with a route for numbers of one country only."""
    carrier = server.operator(
        "/operator/v1/Carriers",
        {"name": f"peer {peer.smsc.port}", "host": "127.0.0.1", "port": peer.smsc.port, "password": "secret"},
    )
    server.operator("/operator/v1/Routes", {"carrier_sid": carrier["sid"], "prefix": "4477", "cost": "0.01"})
    peer.bound()
    yield carrier["sid"]
    answer = requests.delete(
        f"{server.url}/operator/v1/Carriers/{carrier['sid']}",
        headers={"Authorization": f"Bearer {server.operator_key}"},
        timeout=WAIT_S,
    )
    assert answer.status_code == 204


@pytest.fixture
def abroad(client: Client, fresh_account: Any) -> str:
    """A number that the route carries and the account may send to."""
    return "+447700900123"


def test_a_message_goes_to_the_smsc_and_its_receipt_becomes_a_callback(
    client: Client, fresh_account: Any, webhook: Any, peer: Peer, bound: str, abroad: str
) -> None:
    sent = client.messages.create(
        to=abroad, from_=fresh_account.number, body="Over SMPP", status_callback=webhook.url("/status")
    )
    pdu = peer.submit()
    assert (pdu.short_message, pdu.destination.number) == (b"Over SMPP", abroad[1:])
    assert pdu.source.number == fresh_account.number[1:]
    assert webhook.heard("/status").fields["MessageStatus"] == "sent"
    peer.receipt(pdu, "1001")
    assert webhook.heard("/status").fields["MessageStatus"] == "delivered"
    assert client.messages(sent.sid).fetch().status == "delivered"


def test_an_undelivered_message_has_its_code(
    client: Client, fresh_account: Any, webhook: Any, peer: Peer, bound: str, abroad: str
) -> None:
    client.messages.create(
        to=abroad, from_=fresh_account.number, body="Nobody there", status_callback=webhook.url("/status")
    )
    pdu = peer.submit()
    peer.receipt(pdu, "1001", MessageState.UNDELIVERABLE)
    assert webhook.heard("/status").fields["MessageStatus"] == "sent"
    heard = webhook.heard("/status").fields
    assert (heard["MessageStatus"], heard["ErrorCode"]) == ("undelivered", "30003")


def test_a_number_without_route_still_reaches_the_simulator(
    client: Client, fresh_account: Any, handset: Any, peer: Peer, bound: str
) -> None:
    client.messages.create(to=handset.number, from_=fresh_account.number, body="At home")
    assert handset.bodies() == ["At home"]
    assert peer.smsc.submits.empty()


def test_what_a_subscriber_writes_reaches_the_webhook(
    client: Client, fresh_account: Any, sms_webhook: Any, webhook: Any, peer: Peer, bound: str
) -> None:
    sms_webhook(("", 204, {}))
    text = "A long answer from abroad. " * 12
    for part in parts(text, 5):
        pdu = peer.smsc.message("447700900123", fresh_account.number[1:], part.short_message, esm_class=part.esm_class)
        peer.bring(pdu)
    heard = webhook.heard().fields
    assert (heard["Body"], heard["From"], heard["NumSegments"]) == (text, "+447700900123", "3")


def test_the_operator_sees_how_links_are(server: Any, peer: Peer, bound: str) -> None:
    headers = {"Authorization": f"Bearer {server.operator_key}"}
    shown = requests.get(f"{server.url}/operator/v1/Carriers/{bound}", headers=headers, timeout=WAIT_S).json()
    assert shown["has_password"] is True
    assert "password" not in shown
    refused = requests.get(f"{server.url}/operator/v1/Links", timeout=WAIT_S)
    assert refused.status_code == 401
    for _ in range(200):
        answer = requests.get(f"{server.url}/operator/v1/Links", headers=headers, timeout=WAIT_S).json()
        if any(link["carrier_sid"] == bound and link["state"] == "bound" for link in answer["items"]):
            break
        with contextlib.suppress(queue.Empty):
            queue.Queue().get(timeout=0.1)
    else:
        raise AssertionError(answer)


def test_without_a_sandbox_the_server_starts_and_binds(
    start_server: Callable[[dict[str, str]], AbstractContextManager[Any]], peer: Peer
) -> None:
    settings = {
        "ONTERMS_SANDBOX": "0",
        "ONTERMS_SMTP_URL": "smtp://127.0.0.1:9?starttls=no",
        "ONTERMS_MAIL_FROM": "Northwind <billing@northwind.example>",
    }
    with start_server(settings) as running:
        carrier = {"name": "peer", "host": "127.0.0.1", "port": peer.smsc.port, "password": "secret"}
        running.operator("/operator/v1/Carriers", carrier)
        peer.bound()
