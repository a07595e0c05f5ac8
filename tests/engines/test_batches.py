"""Requests that share a transaction, when that transaction fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.engines.api import Account, Call, Caller, Engine, Gatekeeper, Request, load, serve_batched

ACCOUNT = Account("AC" + "a" * 32, "AC" + "a" * 32, "active", "A")


class Keeper:
    """Let one account in."""

    def known(self, authorization: bytes) -> Caller:
        return Caller(ACCOUNT, "token", ACCOUNT.sid)


class Breaking:
    """A database whose connection breaks: in the commit, or while a statement of a crowd runs."""

    def __init__(self, *, at_commit: bool) -> None:
        self.at_commit = at_commit
        self.gate = asyncio.Event()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        await self.gate.wait()
        yield self
        if self.at_commit:
            raise ConnectionError("the answer to the commit was lost")


class Desk:
    """A batched operation that counts what it is asked to do."""

    def __init__(self, *, at_commit: bool) -> None:
        self.database = Breaking(at_commit=at_commit)
        self.breaks_after_refusal = False
        self.done: Counter[str] = Counter()
        keeper = cast(Gatekeeper, Keeper())
        self.engine = Engine(load(), cast(Database, self.database), VirtualClock(), keeper)
        self.engine.bind([serve_batched("api_v2010:CreateMessage", self.create)])

    async def create(self, tx: Any, calls: list[Call]) -> Sequence[Any]:
        bodies = [call.params["Body"] for call in calls]
        if len(calls) > 1 and "bad" in bodies:
            self.database.at_commit = self.breaks_after_refusal
            raise ValueError("the database refuses one of these")
        self.done.update(bodies)
        return [{"body": body, "sid": None} for body in bodies]

    async def ask(self, body: str) -> int:
        form = urlencode({"To": "+19075550100", "From": "+14155550100", "Body": body}).encode()
        path = f"/2010-04-01/Accounts/{ACCOUNT.sid}/Messages.json"
        request = Request("POST", "api.twilio.com", path, b"", {b"authorization": b"Basic x"}, form)
        return (await self.engine.handle(request)).status

    async def ask_all(self, bodies: Sequence[str]) -> list[Any]:
        """Ask for all at once: while the first stand at the gate, the others gather behind them."""
        asking = [asyncio.ensure_future(self.ask(body)) for body in bodies]
        for _ in range(10):
            await asyncio.sleep(0)
        self.database.gate.set()
        return await asyncio.gather(*asking, return_exceptions=True)


async def test_what_may_be_committed_is_not_done_again() -> None:
    desk = Desk(at_commit=True)
    bodies = [f"message {count}" for count in range(8)]
    results = await desk.ask_all(bodies)
    assert [type(result) for result in results] == [ConnectionError] * 8
    assert desk.done == Counter(bodies)


async def test_a_call_that_the_database_refuses_takes_no_neighbour_down() -> None:
    desk = Desk(at_commit=False)
    bodies = ["first", "second", "good", "bad", "fine"]
    assert await desk.ask_all(bodies) == [201] * 5
    assert desk.done == Counter(bodies)


async def test_a_call_done_again_whose_commit_fails_gets_one_answer() -> None:
    desk = Desk(at_commit=False)
    bodies = ["first", "second", "good", "bad", "fine"]
    asking = asyncio.ensure_future(desk.ask_all(bodies))
    # The crowd is refused before its commit; then the connection breaks in the commits of each by itself.
    desk.breaks_after_refusal = True
    results = await asking
    assert [type(result) for result in results[2:]] == [ConnectionError] * 3
    assert desk.done == Counter(bodies)


@pytest.mark.parametrize("count", [1, 2])
async def test_a_lone_call_gets_its_own_failure(count: int) -> None:
    desk = Desk(at_commit=True)
    results = await desk.ask_all([f"message {place}" for place in range(count)])
    assert [str(result) for result in results] == ["the answer to the commit was lost"] * count
