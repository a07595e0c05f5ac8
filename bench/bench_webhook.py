"""How much CPU a status callback costs: WebhookClient.call, beside the same bytes through aiohttp and through nothing.

    python bench/bench_webhook.py [--calls 4000] [--rounds 5] [--tasks 1,16] [--variants bare,client,aiohttp]

The variants are

    bare     the bound: the bytes of one finished request, written to a kept connection, and its answer waited for
    client   WebhookClient.call of a status callback: judged, signed, written, read, recorded
    aiohttp  the bytes of one finished body with its headers through a kept aiohttp session: nothing signed or recorded

What is measured is the CPU time (user and system) of this process alone; the server that answers 204 is a process of
its own. The variants take turns, forwards in one round and backwards in the next, so that a machine that warms up or
slows down favours none. A first run of each does not count.

The result goes to bench/results/webhook-<date>.json: medians over the rounds, and every run.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import uvloop

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from onterms.carriers.webhook import AddressPolicy, WebhookClient  # noqa: E402
from onterms.core.clock import SystemClock  # noqa: E402
from onterms.ports.callback import Callback  # noqa: E402

ANSWER = (
    b"HTTP/1.1 204 No Content\r\nX-Powered-By: Express\r\nDate: Mon, 23 Nov 2026 22:43:15 GMT\r\n"
    b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n"
)
ACCOUNT = "AC" + 32 * "b"
Once = Callable[[], Awaitable[None]]


class Sink(asyncio.Protocol):
    """Answer each request, which comes in one piece or in two."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.missing = 0

    def data_received(self, data: bytes) -> None:
        if self.missing:
            self.missing -= len(data)
        else:
            head, _, body = data.partition(b"\r\n\r\n")
            length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
            self.missing = int(length or b"0") - len(body)
        if not self.missing:
            self.transport.write(ANSWER)  # type: ignore[attr-defined]


async def sink() -> None:
    """Serve until the parent closes our input."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


class Bare(asyncio.Protocol):
    """A connection that knows nothing but how long the answer is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if not self.missing:
            self.done.set_result(None)

    async def call(self, request: bytes) -> None:
        self.missing = len(ANSWER)
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)  # type: ignore[attr-defined]
        await self.done


def status_callback(url: str, number: int) -> Callback:
    """Return what a delivered message announces."""
    sid = f"SM{number:032x}"
    return Callback(
        account_sid=ACCOUNT,
        url=url,
        method="POST",
        params=[
            ("ApiVersion", "2010-04-01"),
            ("AccountSid", ACCOUNT),
            ("From", "+15005550006"),
            ("To", f"+1415{number % 10_000_000:07d}"),
            ("MessageSid", sid),
            ("MessageStatus", "delivered"),
            ("SmsSid", sid),
            ("SmsStatus", "delivered"),
            ("RawDlrDoneDate", "2611232243"),
        ],
        signing_token=32 * "0",
        idempotency_token=f"c0ffee00-0000-4000-8000-{number:012x}",
    )


async def bare(url: str, stack: AsyncExitStack) -> Once:
    """Open connections, and return what takes one of them and uses it."""
    port = int(url.split(":")[2].partition("/")[0])
    free: list[Bare] = []
    headers = await _headers(url)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers[0].items())
    request = f"POST /status HTTP/1.1\r\n{head}Content-Length: {len(headers[1])}\r\n\r\n".encode() + headers[1]

    async def once() -> None:
        if free:
            connection = free.pop()
        else:
            _, connection = await asyncio.get_running_loop().create_connection(Bare, "127.0.0.1", port)
        await connection.call(request)
        free.append(connection)

    stack.callback(lambda: [connection.transport.close() for connection in free])
    return once


async def client(url: str, stack: AsyncExitStack) -> Once:
    """Return a call of the client's."""
    webhooks = await stack.enter_async_context(WebhookClient(SystemClock(), AddressPolicy.parse("loopback")))
    numbers = iter(range(1 << 60))

    async def once() -> None:
        answer = await webhooks.call(status_callback(url, next(numbers)))
        assert answer.error_code is None, answer.error
        # What the timeline keeps of it.
        for attempt in answer.attempts:
            assert attempt.status == 204 and attempt.request_body

    return once


async def through_aiohttp(url: str, stack: AsyncExitStack) -> Once:
    """Return a POST of aiohttp's."""
    session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
    headers, body = await _headers(url)

    async def once() -> None:
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()
            assert response.status == 204

    return once


async def _headers(url: str) -> tuple[dict[str, str], bytes]:
    async with WebhookClient(SystemClock(), AddressPolicy.parse("loopback")) as webhooks:
        answer = await webhooks.call(status_callback(url, 1))
    attempt = answer.attempts[0]
    return dict(attempt.request_headers), attempt.request_body.encode()


VARIANTS = {"bare": bare, "client": client, "aiohttp": through_aiohttp}


async def run(once: Once, calls: int, tasks: int) -> float:
    """Return the microseconds of CPU that one call took."""
    left = calls

    async def go_on() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await once()

    began = time.process_time()
    await asyncio.gather(*(go_on() for _ in range(tasks)))
    return (time.process_time() - began) / calls * 1e6


async def measure(options: argparse.Namespace, port: int) -> dict[str, dict[str, list[float]]]:
    """Return each variant's runs by the number of tasks."""
    found: dict[str, dict[str, list[float]]] = {}
    url = f"http://127.0.0.1:{port}/status"
    for tasks in options.tasks:
        runs: dict[str, list[float]] = {variant: [] for variant in options.variants}
        async with AsyncExitStack() as stack:
            ready = {variant: await VARIANTS[variant](url, stack) for variant in options.variants}
            for number in range(options.rounds + 1):
                for variant in options.variants[:: 1 if number % 2 else -1]:
                    cost_us = await run(ready[variant], options.calls, tasks)
                    if number:
                        runs[variant].append(round(cost_us, 1))
        found[str(tasks)] = runs
        print(f"{tasks} at a time:", {variant: statistics.median(costs) for variant, costs in runs.items()})
    return found


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=lambda text: [int(part) for part in text.split(",")], default=[1, 16])
    parser.add_argument("--variants", type=lambda text: text.split(","), default=list(VARIANTS))
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sink:
        uvloop.run(sink())
        return
    with subprocess.Popen(
        [sys.executable, __file__, "--sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        runs = uvloop.run(measure(options, int(server.stdout.readline())))
        server.stdin.close()
    if not options.keep:
        return
    at = datetime.now(UTC)
    result = {
        "at": at.isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "options": {"calls": options.calls, "rounds": options.rounds},
        "cpu_us_per_call": {
            tasks: {variant: statistics.median(costs) for variant, costs in by_variant.items()}
            for tasks, by_variant in runs.items()
        },
        "runs": runs,
    }
    path = HERE / "results" / f"webhook-{at:%Y-%m-%d}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
