"""Events of an account as server-sent events, for one open page."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from onterms.core.clock import Clock
from onterms.engines.log import Gap, Live, Recorded, Subscription

# Proxies cut what is silent for a minute; a write to a client that is gone also ends its stream.
HEARTBEAT_S: Final = 15.0
# A page that is told ten times a second what changed looks instant, however many messages pass.
GATHER_S: Final = 0.1
GATHER_MAX: Final = 200
QUEUE_MAX: Final = 1000
# The page connects again by itself; an end now and then frees what a client left behind without a word.
LIFE_S: Final = 600.0
_RECONNECT_MS: Final = 1500


async def stream(
    live: Live,
    account_sid: str,
    clock: Clock,
    *,
    following: set[Subscription] | None = None,
    heartbeat_s: float = HEARTBEAT_S,
    gather_s: float = GATHER_S,
    life_s: float = LIFE_S,
) -> AsyncIterator[bytes]:
    """Write `ready`, then `changes` with what happened since the last; a comment when nothing does.

    Shapes: while it runs, its subscription stands in `following`, and closing that ends the stream.
    """
    subscription = await live.subscribe(account_sid, queue_max=QUEUE_MAX)
    if following is not None:
        following.add(subscription)
    pending: asyncio.Task[Recorded | Gap] | None = None
    end = clock.monotonic() + life_s
    try:
        yield f"retry: {_RECONNECT_MS}\nevent: ready\ndata: {{}}\n\n".encode()
        while clock.monotonic() < end:
            gathered: list[Recorded | Gap] = []
            wait_s = min(heartbeat_s, end - clock.monotonic())
            gather_until: float | None = None
            while len(gathered) < GATHER_MAX:
                pending = pending or asyncio.ensure_future(subscription.__anext__())
                done, _ = await asyncio.wait({pending}, timeout=max(0.0, wait_s))
                if not done:
                    break
                finished, pending = pending, None
                try:
                    gathered.append(finished.result())
                except StopAsyncIteration:
                    return
                now = clock.monotonic()
                gather_until = now + gather_s if gather_until is None else gather_until
                wait_s = gather_until - now
            yield _frame(gathered) if gathered else b":\n\n"
    finally:
        if pending is not None:
            pending.cancel()
        subscription.close()
        if following is not None:
            following.discard(subscription)


def _frame(gathered: list[Recorded | Gap]) -> bytes:
    events: list[dict[str, Any]] = [
        {"type": event.type, "sid": event.subject_sid, "status": event.data.get("status")}
        for event in gathered
        if isinstance(event, Recorded)
    ]
    body = msgspec.json.encode({"events": events, "gap": len(events) < len(gathered)})
    return b"event: changes\ndata: " + body + b"\n\n"
