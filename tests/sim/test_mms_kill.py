"""What went to an MMSC ends once and goes out once, whenever the program is killed."""

import asyncio
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from mmsc import Mmsc, Submitted, bring, id_of, report

MESSAGES = 30
# The MMSC answers nothing more after so many, so that the kill finds all kinds under way.
ANSWERED = 10
WAIT_S = 10
INBOUND = ("mmsc", "its password")
PNG = b"\x89PNG\r\n\x1a\n"


async def file(request: aiohttp.web.Request) -> aiohttp.web.Response:
    """Serve a picture to anybody."""
    return aiohttp.web.Response(body=PNG, content_type="image/png")


@pytest.mark.asyncio(loop_scope="module")
async def test_messages_under_way_at_a_kill_are_delivered_by_their_reports_and_sent_once(install: Any) -> None:
    files = aiohttp.web.Application()
    files.router.add_get("/dot", file)
    runner = aiohttp.web.AppRunner(files)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    loop = asyncio.get_running_loop()
    enough = asyncio.Event()
    mmsc = Mmsc()

    def answer(got: Submitted) -> tuple[int, str] | None:
        if got.number <= ANSWERED:
            return mmsc.take(got)
        loop.call_soon_threadsafe(enough.set)
        return None

    mmsc.start()
    try:
        mmsc.answer = answer
        await install.start()
        carrier = await install.own(
            "POST",
            "/operator/v1/MmsCarriers",
            {
                "name": "peer",
                "url": mmsc.url,
                "inbound_username": INBOUND[0],
                "inbound_password": INBOUND[1],
            },
        )
        await install.own("POST", "/operator/v1/MmsRoutes", {"carrier_sid": carrier["sid"]})
        accepted: set[str] = set()

        async def send(number: int) -> None:
            try:
                status, made = await install.send(
                    To=f"+1907555{number:04d}",
                    From=install.env["ONTERMS_NUMBER"],
                    Body=f"message {number}",
                    MediaUrl=f"http://127.0.0.1:{port}/dot",
                )
            except (aiohttp.ClientError, ConnectionError):
                return
            assert status == 201, made
            accepted.add(made["sid"])

        sending = asyncio.gather(*(send(number) for number in range(1000, 1000 + MESSAGES)))
        async with asyncio.timeout(WAIT_S * 3):
            await enough.wait()
        install.kill()
        await install.ended()
        await sending
        await install.start()

        # What nobody wrote goes out now, and is answered at once; what was written is not written again.
        mmsc.answer = None
        await install.settle(30)
        door = install.url + carrier["inbound_path"]
        for got in list(mmsc.seen):
            told = report(id_of(got), got.recipient, got.sender)
            answered = await asyncio.to_thread(bring, door, told, auth=INBOUND)
            assert answered.status_code == 200
        await install.settle(30)

        messages = {message["sid"]: message for message in await install.messages()}
        assert accepted <= messages.keys()
        assert {message["status"] for message in messages.values()} == {"delivered"}
        sent = [got.transaction_id for got in mmsc.seen]
        assert len(sent) == len(set(sent)) == len(messages)
    finally:
        await asyncio.to_thread(mmsc.stop)
        await runner.cleanup()
