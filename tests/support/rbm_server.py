"""The simulated RCS platform behind a port of its own, as carriers reach the real one; answers can be made up."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from onterms.carriers.rcs_simulator import RcsSimulator
from onterms.core.clock import Clock
from onterms.core.db import Database
from onterms.protocols import rbm

Made = rbm.Answer | Callable[[], Awaitable[rbm.Answer]]


@dataclass
class RbmServer:
    """What was asked, and what the next requests for messages are answered instead of the platform's own answer."""

    platform: RcsSimulator
    url: str
    requests: list[rbm.Request] = field(default_factory=list)
    # Only answers to messages, not to tokens and capabilities.
    answers: list[Made] = field(default_factory=list)
    # Whether the platform gets a request whose answer is made up.
    takes: bool = False

    def asked(self, part: str) -> list[rbm.Request]:
        """The requests whose address has this in it."""
        return [each for each in self.requests if part in each.url]

    async def handle(self, request: web.Request) -> web.Response:
        given = rbm.Request(
            "GET" if request.method == "GET" else "DELETE" if request.method == "DELETE" else "POST",
            request.raw_path,
            await request.read(),
            dict(request.headers),
        )
        self.requests.append(given)
        answer: rbm.Answer | None = None
        if self.answers and "/agentMessages" in given.url and given.method == "POST":
            made = self.answers.pop(0)
            if self.takes:
                await self.platform.ask(given)
            answer = made if isinstance(made, rbm.Answer) else await made()
        if answer is None:
            answer = await self.platform.ask(given)
        return web.Response(status=answer.status, body=answer.body, content_type="application/json")


@asynccontextmanager
async def serving(database: Database, clock: Clock, client_token: str) -> AsyncIterator[RbmServer]:
    """Serve the platform on a port of loopback."""
    platform = RcsSimulator(database, clock, client_token=client_token)
    server = RbmServer(platform, "")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"http://127.0.0.1:{port}"
    platform.token_url = f"{server.url}/token"
    try:
        yield server
    finally:
        await runner.cleanup()
