"""What went to an SMSC ends once and goes out once, whenever the program is killed."""

import asyncio
from typing import Any

import aiohttp
import pytest
from smsc import WAIT_S, Connection, Smsc

MESSAGES = 150
# The SMSC answers nothing more after so many, so that the kill finds all kinds under way.
ANSWERED = 60


@pytest.mark.asyncio(loop_scope="module")
async def test_messages_under_way_at_a_kill_are_delivered_by_their_receipts_and_sent_once(install: Any) -> None:
    smsc = Smsc()
    await smsc.start()
    seen: dict[str, tuple[str, Any]] = {}
    enough = asyncio.Event()

    def submitted(client: Connection, pdu: Any) -> None:
        assert pdu.short_message not in {pdu.short_message for _, pdu in seen.values()}
        message_id = smsc.new_id()
        seen[message_id] = message_id, pdu
        if len(seen) <= ANSWERED:
            smsc.take(client, pdu, message_id)
        elif len(seen) >= ANSWERED + 20:
            enough.set()

    try:
        smsc.on_submit = submitted
        await install.start()
        carrier = await install.own(
            "POST",
            "/operator/v1/Carriers",
            {"name": "peer", "host": "127.0.0.1", "port": smsc.port, "password": "secret", "window": 40},
        )
        await install.own("POST", "/operator/v1/Routes", {"carrier_sid": carrier["sid"]})
        await smsc.next_bound()
        accepted: set[str] = set()

        async def send(number: int) -> None:
            try:
                status, answer = await install.send(
                    To=f"+1907555{number:04d}", From=install.env["ONTERMS_NUMBER"], Body=f"message {number}"
                )
            except (aiohttp.ClientError, ConnectionError):
                return
            assert status == 201, answer
            accepted.add(answer["sid"])

        sending = asyncio.gather(*(send(number) for number in range(1000, 1000 + MESSAGES)))
        async with asyncio.timeout(WAIT_S * 3):
            await enough.wait()
        install.kill()
        await install.ended()
        await sending
        await install.start()
        client = await smsc.next_bound()

        # What nobody wrote goes out now, and is answered at once.
        smsc.on_submit = lambda client, pdu: seen.update({(name := smsc.take(client, pdu)): (name, pdu)})
        await install.settle(30)
        for message_id, pdu in list(seen.values()):
            smsc.receipt(client, pdu, message_id)
            assert (await smsc.next_reply()).status == 0
        await install.settle(30)

        messages = {message["sid"]: message for message in await install.messages()}
        assert accepted <= messages.keys()
        assert {message["status"] for message in messages.values()} == {"delivered"}
        bodies = [bytes(pdu.short_message) for _, pdu in seen.values()]
        assert len(bodies) == len(set(bodies)) == len(messages)
    finally:
        await smsc.stop()
