"""A customer with an account, recorded notices and the worker of deadlines, for rooms that keep cases."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from onterms.business import accounts, cases
from onterms.core.calendar import day_of
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import Refusal
from onterms.core.ids import new_sid
from onterms.core.vault import Vault
from onterms.engines import audit
from onterms.engines.api import Account, Caller, OwnReply, OwnRequest, OwnRoute
from onterms.engines.jobs import Worker


class RecordedNotices:
    """Notices that are given on the day they are sent, unless the test holds them."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.held = False

    async def send(
        self, tx: Tx, customer_sid: str, kind: str, subject: str, body: str, contact_kind: str, at: datetime
    ) -> str:
        sid = new_sid("NC", at)
        self.sent.append(
            {"sid": sid, "customer_sid": customer_sid, "kind": kind, "body": body, "contact": contact_kind, "at": at}
        )
        return sid

    async def given_on(self, tx: Tx, customer_sid: str, notice_sid: str) -> date | None:
        for notice in self.sent:
            if notice["sid"] == notice_sid and notice["customer_sid"] == customer_sid and not self.held:
                return day_of(notice["at"])
        return None


class Commerce:
    """One customer and what its rooms need."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = VirtualClock(held_at=datetime(2024, 1, 1, tzinfo=UTC))
        self.notices = RecordedNotices()
        self.vault = Vault(bytes(32))
        self.routes: list[OwnRoute] = []
        self.books: list[cases.Book] = []
        self.customer = self.account = ""
        self._worker: Worker | None = None
        self._running: asyncio.Task[None] | None = None

    def serve(self, routes: Iterable[OwnRoute], books: Iterable[cases.Book]) -> None:
        self.routes += routes
        self.books += books

    async def make_customer(self, name: str = "Northwind", country: str = "US", **columns: Any) -> tuple[str, str]:
        at = self.clock.now()
        sid = new_sid("OR", at)
        async with self.database.transaction() as tx:
            made = await accounts.create_customer(tx, self.vault, name, at)
            await tx.execute("INSERT INTO organizations VALUES ($1, $2, $3, $4)", sid, name, country, at)
            await tx.execute(
                """
                INSERT INTO customers (customer_sid, name, org_type, size, nonprofit, business_use, currency, gov_kind,
                    gov_verified_at, compliance_attested_on, no_antisocial_forces, created_at, updated_at)
                VALUES ($1, $2, 'corporate', 'other', false, true, 'USD', $3, $4, $5, true, $6, $6)
                """,
                sid,
                name,
                columns.get("gov_kind"),
                at if columns.get("gov_kind") else None,
                day_of(at),
                at,
            )
            await tx.execute(
                "INSERT INTO customer_domiciles (customer_sid, from_on, country, subdivision, evidence, recorded_at)"
                " VALUES ($1, $2, $3, '', 'sign-up', $4)",
                sid,
                day_of(at),
                country,
                at,
            )
            await tx.execute(
                "INSERT INTO customer_accounts VALUES ($1, $2, $3, NULL)", sid, made.account_sid, at - timedelta(days=1)
            )
        return sid, made.account_sid

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        at: str | datetime | None = None,
        account: str | None = None,
    ) -> Any:
        """Call a route as the operator (about the one customer), or as an account, and return the answer's body."""
        if isinstance(at, str):
            at = datetime.fromisoformat(at)
        when = at or self.clock.now()
        path, _, query = path.partition("?")
        for route in self.routes:
            match = re.fullmatch("/commercial/v1/" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.pattern[15:]), path)
            if match and route.method == method:
                break
        else:
            raise AssertionError(f"no route {method} {path}")
        assert account is None or route.access != "operator", "the front door would have refused"
        caller = None
        if account is not None:
            caller = Caller(Account(account, account, "active", ""), "token", account)
        given = dict(body or {})
        queried = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        if account is None and "customer_sid" not in given:
            queried.setdefault("customer_sid", self.customer)
        request = OwnRequest(method, match.groupdict(), queried, given, when, caller, operator=account is None)
        assert route.handler is not None
        async with self.database.transaction() as tx:
            reply: OwnReply = await route.handler(tx, request)
        return reply.body if reply.raw is None else reply.raw

    async def post(self, noun: str, body: Mapping[str, Any], **options: Any) -> Any:
        return await self.call("POST", f"/commercial/v1/{noun}", body, **options)

    async def fire(self, noun: str, sid: str, event: str, /, **given: Any) -> Any:
        options = {name: given.pop(name) for name in ("at", "account") if name in given}
        return await self.call("POST", f"/commercial/v1/{noun}/{sid}/Events", {"event": event, **given}, **options)

    async def get(self, path: str, **options: Any) -> Any:
        return await self.call("GET", f"/commercial/v1/{path}", **options)

    async def refused(self, coroutine: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await coroutine
        return caught.value

    async def status(self, account: str | None = None) -> str:
        async with self.database.snapshot() as tx:
            return (await accounts.statuses(tx, [account or self.account]))[account or self.account]

    async def trail(self, sid: str) -> list[str]:
        async with self.database.snapshot() as tx:
            assert await audit.verify(tx, self.customer) is None
            found = await audit.history(tx, self.customer, aggregate_sid=sid)
            return [str(one.event.to_state) for one in found]

    async def until(self, at: str) -> None:
        """Let time pass, deadline by deadline."""
        if self._worker is None:
            self._worker = Worker(self.database, self.clock, name="node")
            cases.Tasks(self.books).register(self._worker)
            self._running = asyncio.create_task(self._worker.run())
            await self._worker.settle()
        end = datetime.fromisoformat(at)
        while (due := await self._worker.next_due()) is not None and due <= end:
            self.clock.hold(max(due, self.clock.now()))
            self._worker.clock_changed()
            await self._worker.settle()
        self.clock.hold(end)
        self._worker.clock_changed()
        await self._worker.settle()

    async def close(self) -> None:
        if self._worker is not None and self._running is not None:
            await self._worker.stop(1)
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)


@pytest.fixture
async def commerce(database: Database) -> AsyncIterator[Commerce]:
    """Make a customer with one account."""
    made = Commerce(database)
    made.customer, made.account = await made.make_customer()
    yield made
    await made.close()
