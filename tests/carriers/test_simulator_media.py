"""Fetching a handset's media over HTTP, from a server on loopback."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from onterms.carriers.simulator import HttpMediaFetch, MediaUnavailable
from onterms.ports.message_carrier import InboundMedia


@asynccontextmanager
async def _server(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


class TestHttpMediaFetch:
    async def test_the_body_comes_with_its_type(self) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=b"GIF89a", headers={"Content-Type": "image/gif; x=y"})

        async with _server(answer) as url, aiohttp.ClientSession() as session:
            assert await HttpMediaFetch(session)(url, 6) == InboundMedia("image/gif", b"GIF89a")

    async def test_a_body_above_the_limit_is_not_read_to_its_end(self) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=b"1234567")

        async with _server(answer) as url, aiohttp.ClientSession() as session:
            with pytest.raises(MediaUnavailable, match="larger than 6 bytes"):
                await HttpMediaFetch(session)(url, 6)

    @pytest.mark.parametrize("status", [302, 404, 500])
    async def test_another_status_than_200_is_no_media(self, status: int) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": "http://169.254.169.254/"})

        async with _server(answer) as url, aiohttp.ClientSession() as session:
            with pytest.raises(MediaUnavailable, match=f"status {status}"):
                await HttpMediaFetch(session)(url, 6)

    async def test_a_closed_port_is_no_media(self) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response()

        async with _server(answer) as url:
            pass
        async with aiohttp.ClientSession() as session:
            with pytest.raises(MediaUnavailable, match="the connection failed"):
                await HttpMediaFetch(session)(url, 6)
