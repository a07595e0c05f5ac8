"""The RCS carrier behind the port of messages: agents, the platform's answers, and what is under way.

Theory of operation. A submit writes each message down with the very words it goes out in, and only then asks the
platform, under the message's own SID. The platform takes a name once, so asking again is safe, and what it answers
decides:

    handed       written down; after a crash it is asked again, in the same words
    taken        the platform has it (200, or 409 for a name it knows): sent
    refused      it never will (the user has no RCS, the content is not what it takes): forgotten, so that the message
                 may go another way
    later        it did not take it and may (429, 503, no token, no connection): forgotten and tried again later
    following    no answer, or one that says neither: a job asks again under the same name until there is one
    delivered, read, revoked    what the webhook said

A message that has a time is given it as its TTL: the platform revokes what it could not deliver until then and says so.
Where it does not say so, a job takes the message back. What was revoked ended undelivered, and nothing that is said of
it later counts: by then it may be on its way by SMS.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from onterms.carriers.rcs import store
from onterms.carriers.rcs.client import HttpTransport, NoAnswer, NotAsked, Transport, Upstream, unheard
from onterms.carriers.rcs.content import message_of
from onterms.carriers.rcs.model import (
    FOLLOW_S,
    KEPT_S,
    NO_SENDER,
    NOT_FORMATTED,
    NOT_REACHED,
    REVOKE_GRACE_S,
    TIMED_OUT,
    UNAVAILABLE,
    ConnectionSettings,
    Verdict,
    ttl_of,
    verdict_of,
)
from onterms.carriers.rcs.store import Handed
from onterms.core.clock import Clock, SystemClock
from onterms.core.db import Database, Row, Tx
from onterms.core.e164 import split_address
from onterms.core.errors import ConfigError
from onterms.core.following import Follower
from onterms.core.ids import new_sid
from onterms.core.vault import Vault
from onterms.engines.jobs import Backoff, Job, NewJob, Run, Worker, enqueue
from onterms.ports.channels import ChannelSender, Standing, Step
from onterms.ports.message_carrier import (
    MessageSink,
    OutboundMessage,
    Receipt,
    ReceiptState,
    Refused,
    SubmitOutcome,
    Submitted,
    Unknown,
    Unreachable,
)
from onterms.protocols import rbm

_log = logging.getLogger("onterms.rcs")

NAME: Final = "rcs"
FOLLOW_TASK: Final = "rcs.follow"
OVERDUE_TASK: Final = "rcs.overdue"
EVENT_TASK: Final = "rcs.event"
# The connection of a sandbox, whose agents have whatever name is asked for.
SANDBOX_SID: Final = "sandbox"

# Ours: several times what the platform needs, and short enough that others do not wait behind it.
PATIENCE_S: Final = 2.0
_FOLLOW_PAUSE: Final = timedelta(seconds=5)
_OVERDUE_PAUSE: Final = timedelta(seconds=60)
# Ours: after so long the platform's own limit has passed, too.
_OVERDUE_GIVEN_UP: Final = timedelta(days=1)
_FORGOTTEN_AT_ONCE: Final = 200
_BACKOFF: Final = Backoff(first_s=1.0, max_s=300.0)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The platform of a sandbox: how it is reached, who we are there, and what its webhooks are signed with."""

    transport: Transport
    account: Callable[[], rbm.ServiceAccount]
    client_token: str


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """A partner account at the platform, with the agents it holds: names by id."""

    sid: str
    settings: ConnectionSettings
    upstream: Upstream
    client_token: str
    names: Mapping[str, str]

    def name_of(self, agent_id: str) -> str | None:
        """Return what customers call an agent of this connection, or None where it holds no such."""
        return agent_id if self.sid == SANDBOX_SID else self.names.get(agent_id)


class RcsCarrier:
    """RCS agents: a `MessageCarrier` for what is sent from `rcs:` senders.

    Shapes: `sandbox` serves every agent that no connection holds; `world` is the platform's time. Units: `patience_s`
    is how long a submit waits for answers.
    """

    name: str = NAME
    channel: str = "rcs"
    repeats_are_safe: bool = True

    def __init__(
        self,
        database: Database,
        clock: Clock,
        vault: Vault,
        sink: MessageSink,
        *,
        sandbox: Sandbox | None = None,
        world: Clock | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault
        self._sink = sink
        self._world = world or SystemClock()
        self._patience_s = patience_s
        self._follower = Follower(database, store.CHANNEL, self._reload)
        self._connections: dict[str, Connection] = {}
        self._ways: dict[str, tuple[str, str]] = {}
        self._owners: dict[str, str | None] = {}
        self._kept: dict[str, tuple[Any, ...]] = {}
        self._sandbox: Connection | None = None
        if sandbox is not None:
            upstream = Upstream(sandbox.account, sandbox.transport, self._world)
            self._sandbox = Connection(SANDBOX_SID, ConnectionSettings(), upstream, sandbox.client_token, {})

    def register(self, worker: Worker) -> None:
        """Serve the carrier's jobs; before the worker runs."""
        tasks = ((FOLLOW_TASK, self._follow), (OVERDUE_TASK, self._overdue), (EVENT_TASK, self._say))
        for task, handler in tasks:
            worker.register(task, handler, batch_max=1, concurrency=8, attempts_max=20, backoff=_BACKOFF)

    async def start(self) -> None:
        """Load the connections and follow what the operator changes."""
        await self._follower.start()

    async def close(self) -> None:
        """Follow no more and close the connections."""
        await self._follower.close()
        await asyncio.gather(*(each.upstream.close() for each in self._connections.values()))
        self._connections.clear()

    async def _reload(self) -> None:
        async with self._database.snapshot() as tx:
            rows = await store.connections(tx)
            agents = await store.agents(tx)
        names: dict[str, dict[str, str]] = defaultdict(dict)
        for agent in agents:
            names[agent["connection_sid"]][rbm.arrivals.bare_agent(agent["agent_id"])] = agent["name"]
        found: dict[str, Connection] = {}
        kept: dict[str, tuple[Any, ...]] = {}
        for row in rows:
            secret = (row["service_account"], row["client_token"], row["settings"])
            before = self._connections.get(row["sid"])
            if before is not None and self._kept.get(row["sid"]) == secret:
                # Its tokens and its requests under way stay good.
                found[row["sid"]] = Connection(
                    before.sid, before.settings, before.upstream, before.client_token, names[row["sid"]]
                )
            else:
                opened = self._opened(row, names[row["sid"]])
                if opened is None:
                    continue
                found[row["sid"]] = opened
            kept[row["sid"]] = secret
        in_use = {id(each.upstream) for each in found.values()}
        over = [each.upstream for each in self._connections.values() if id(each.upstream) not in in_use]
        self._connections, self._kept = found, kept
        self._ways = {agent["name"]: (agent["connection_sid"], agent["agent_id"]) for agent in agents}
        self._owners = {agent["name"]: agent["account_sid"] for agent in agents}
        for upstream in over:
            await upstream.close()

    def _opened(self, row: Row, names: Mapping[str, str]) -> Connection | None:
        try:
            account = rbm.read_key(self._vault.unseal(row["service_account"], row["sid"]))
            client_token = self._vault.unseal(row["client_token"], row["sid"])
            settings = store.settings_of(row)
        except (ConfigError, rbm.KeyInvalid, msgspec.ValidationError) as error:
            _log.error("the RCS connection %s cannot be used: %s", row["name"], error)
            return None
        transport = HttpTransport(
            settings.base_url, timeout_s=settings.timeout_s, concurrent_max=settings.concurrent_max
        )
        return Connection(row["sid"], settings, Upstream(lambda: account, transport, self._world), client_token, names)

    def connection(self, sid: str) -> Connection | None:
        """Return a connection, also one that sends nothing just now."""
        return self._sandbox if sid == SANDBOX_SID else self._connections.get(sid)

    def way(self, name: str) -> tuple[Connection, str] | None:
        """Return by which connection and under which id an agent is reached; None where there is no such agent."""
        sid, agent_id = self._ways.get(name, (SANDBOX_SID, name))
        found = self.connection(sid)
        return None if found is None else (found, agent_id)

    async def advance(self, sender: ChannelSender, step: Step) -> Standing | Unreachable:
        """Let an account send as an agent that the operator gave to it; a sandbox gives every agent to who asks."""
        if step == "withdraw":
            return Standing("OFFLINE")
        name = split_address(sender.address).identity
        if self.way(name) is None:
            return Standing("OFFLINE", reasons=((NO_SENDER, "This installation has no such RCS agent"),))
        owner = self._owners.get(name)
        if name in self._ways and owner != sender.account_sid:
            return Standing("OFFLINE", reasons=((NO_SENDER, "The operator gave this RCS agent to nobody here"),))
        return Standing("ONLINE")

    async def show_typing(self, sender: str, recipient: str, carrier_id: str) -> int | None:
        """Show a user that somebody types; return an error code, or None."""
        way = self.way(split_address(sender).identity)
        if way is None:
            return NO_SENDER
        connection, agent_id = way
        # Google, agentEvents: an id is used once; typing ends by itself after some seconds.
        event_id = new_sid("EV", self._clock.now())
        request = rbm.agent_event(agent_id, split_address(recipient).identity, event_id, "IS_TYPING")
        try:
            answer = await connection.upstream.ask(request)
        except (NotAsked, NoAnswer):
            return UNAVAILABLE
        verdict = verdict_of(answer)
        return None if verdict.fate == "taken" else verdict.code or UNAVAILABLE

    # ---- from us to the platform

    async def submit(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        """Hand messages over, in order for each user, and return one outcome each."""
        if not messages:
            return []
        at = self._clock.now()
        outcomes: dict[str, SubmitOutcome] = {}
        handed: list[Handed] = []
        for message in messages:
            made = self._made(message, at)
            if isinstance(made, Handed):
                handed.append(made)
            else:
                outcomes[message.sid] = made
        if handed:
            async with self._database.transaction() as tx:
                await store.forget(tx, at - timedelta(seconds=KEPT_S), _FORGOTTEN_AT_ONCE)
                rows = await store.put(tx, handed, at)
            pairs: dict[tuple[str, str], list[Row]] = defaultdict(list)
            for each in handed:
                row = rows.get(each.message_sid)
                # Another account's message has this name: impossible, as SIDs are random.
                assert row is not None and row["account_sid"] == each.account_sid
                pairs[row["agent_id"], row["phone"]].append(row)
            verdicts = {each.message_sid: Verdict("later", reason="the platform is slow") for each in handed}
            tasks = [asyncio.create_task(self._hand_over(each, verdicts)) for each in pairs.values()]
            # Messages of other channels wait for this one's answers, so that it does not wait for long.
            _, late = await asyncio.wait(tasks, timeout=self._patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            for task in tasks:
                if task not in late:
                    task.result()
            outcomes |= await self._settle(handed, verdicts, at)
        return [outcomes[message.sid] for message in messages]

    def _made(self, message: OutboundMessage, at: datetime) -> Handed | SubmitOutcome:
        agent, phone = split_address(message.sender).identity, split_address(message.recipient).identity
        way = self.way(agent)
        if way is None:
            return Refused(NO_SENDER, f"there is no RCS agent {agent}", NAME)
        connection, agent_id = way
        if not connection.settings.enabled:
            return Unreachable("the agent's connection is switched off")
        if connection.upstream.is_resting:
            return Unreachable("the platform did not answer a moment ago")
        left_s = None if message.valid_until is None else (message.valid_until - at).total_seconds()
        try:
            types = {} if message.content is None else message.content.types
            said, chips = message_of(message.body, message.media_urls, types)
            request = rbm.agent_message(
                said, chips, ttl_s=ttl_of(left_s), traffic_type=connection.settings.traffic_type
            )
        except rbm.ContentInvalid as error:
            return Refused(NOT_FORMATTED, str(error), NAME)
        return Handed(message.account_sid, message.sid, connection.sid, agent_id, phone, request, message.valid_until)

    async def _hand_over(self, rows: Iterable[Row], verdicts: dict[str, Verdict]) -> None:
        """Hand one user's messages over, one after the other."""
        for row in rows:
            sid = row["message_sid"]

            def sent(sid: str = sid) -> None:
                verdicts[sid] = Verdict("unknown", reason="the platform is slow")

            try:
                verdicts[sid] = await self._ask(row, sent)
            except asyncio.CancelledError:
                connection = self.connection(row["connection_sid"])
                if connection is not None:
                    connection.upstream.rest()
                raise

    async def _ask(self, row: Row, sent: Callable[[], None] = unheard) -> Verdict:
        """Ask the platform to send one message; a second time asks the same."""
        if row["request"] is None:
            # It was answered for before.
            return Verdict("taken")
        connection = self.connection(row["connection_sid"])
        if connection is None:
            return Verdict("later", reason="the agent's connection is gone")
        request, agent_id, phone = row["request"], row["agent_id"], row["phone"]
        try:
            needed = rbm.features_needed(request)
            if needed and row["state"] == "handed":
                # A handset without cards would show nothing of one.
                shown = await self.features(connection, agent_id, phone, row["message_sid"])
                if shown is not None and not needed <= shown:
                    return Verdict("refused", NOT_REACHED, "the handset does not show cards")
            created = rbm.create_message(agent_id, phone, row["message_sid"], request)
            answer = await connection.upstream.ask(created, sent)
        except NotAsked as error:
            # What was asked before may be there all the same.
            return Verdict("unknown" if row["state"] == "following" else "later", reason=str(error))
        except NoAnswer as error:
            return Verdict("unknown", reason=str(error))
        verdict = verdict_of(answer)
        if verdict.fate == "credentials":
            # The operator can mend that, and the message may still go.
            _log.error("the platform does not know our token: %s", verdict.reason)
            return Verdict("later", reason=verdict.reason)
        return verdict

    async def features(
        self, connection: Connection, agent_id: str, phone: str, request_id: str
    ) -> frozenset[str] | None:
        """Return what a handset can show; empty where it has no RCS, None where nobody knows.

        Raises: NotAsked.
        """
        try:
            answer = await connection.upstream.ask(rbm.capabilities(agent_id, phone, request_id))
        except NoAnswer:
            return None
        if answer.status == 404:
            return frozenset()
        if answer.status != 200:
            return None
        try:
            return msgspec.json.decode(answer.body, type=_Features).features
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    async def _settle(
        self, handed: Sequence[Handed], verdicts: Mapping[str, Verdict], at: datetime
    ) -> dict[str, SubmitOutcome]:
        fates: dict[str, str] = {}
        jobs: list[NewJob] = []
        outcomes: dict[str, SubmitOutcome] = {}
        for each in handed:
            sid, verdict = each.message_sid, verdicts[each.message_sid]
            if verdict.fate == "taken":
                fates[sid], outcomes[sid] = "taken", Submitted(sid, NAME)
                jobs += _overdue_job(each.account_sid, sid, each.expires_at)
            elif verdict.fate == "refused":
                fates[sid], outcomes[sid] = "refused", Refused(verdict.code, verdict.reason, NAME)
            elif verdict.fate == "unknown":
                fates[sid], outcomes[sid] = "following", Unknown(verdict.reason, is_followed=True)
                # What was said to one user first is asked for first.
                key = f"rcs {each.agent_id} {each.phone}"
                jobs.append(_job(FOLLOW_TASK, each.account_sid, sid, at + _FOLLOW_PAUSE, key))
            else:
                outcomes[sid] = Unreachable(verdict.reason)
        async with self._database.transaction() as tx:
            await store.settle(tx, fates)
            gone = [sid for sid in verdicts if fates.get(sid) not in ("taken", "following")]
            if gone:
                await store.drop(tx, gone)
            await enqueue(tx, jobs, at)
        return outcomes

    # ---- what is found out later

    async def _follow(self, run: Run, batch: list[Job]) -> None:
        """Ask again what became of a message that was never answered for."""
        for job in batch:
            key = _key(job)
            async with run.transaction() as tx:
                row = await store.lock(tx, *key)
                if row is None or row["state"] != "following":
                    await run.complete(tx, [job])
                    continue
            verdict = await self._ask(row)
            async with run.transaction() as tx:
                now = run.clock.now()
                row = await store.lock(tx, *key)
                if row is None or row["state"] != "following":
                    await run.complete(tx, [job])
                    continue
                if verdict.fate in ("later", "unknown"):
                    if now - row["created_at"] < timedelta(seconds=FOLLOW_S):
                        await run.retry(tx, job, due_at=now + _FOLLOW_PAUSE, error=verdict.reason)
                        continue
                    verdict = Verdict("refused", TIMED_OUT, verdict.reason)
                if verdict.fate == "taken":
                    await store.end(tx, *key, "taken")
                    await enqueue(tx, _overdue_job(*key, row["expires_at"]), now)
                    await self._report(tx, row, "sent", None, now)
                else:
                    await store.end(tx, *key, "refused")
                    await self._report(tx, row, "failed", verdict.code, now)
                await run.complete(tx, [job])

    async def _overdue(self, run: Run, batch: list[Job]) -> None:
        """Take back what the platform neither delivered nor revoked in its time."""
        for job in batch:
            key = _key(job)
            async with run.transaction() as tx:
                row = await store.lock(tx, *key)
                if row is None or row["state"] != "taken":
                    await run.complete(tx, [job])
                    continue
            connection = self.connection(row["connection_sid"])
            reason = "the agent's connection is gone"
            if connection is not None:
                revoke = rbm.revoke_message(row["agent_id"], row["phone"], row["message_sid"])
                try:
                    answer = await connection.upstream.ask(revoke)
                    reason = "" if answer.status in (200, 204, 404) else f"HTTP {answer.status}"
                except (NotAsked, NoAnswer) as error:
                    reason = str(error)
            async with run.transaction() as tx:
                now = run.clock.now()
                row = await store.lock(tx, *key)
                if row is not None and row["state"] == "taken":
                    if reason and now - row["expires_at"] < _OVERDUE_GIVEN_UP:
                        await run.retry(tx, job, due_at=now + _OVERDUE_PAUSE, error=reason)
                        continue
                    await self.revoked(tx, row, now)
                await run.complete(tx, [job])

    async def revoked(self, tx: Tx, row: Row, at: datetime) -> None:
        """Report that a message's time was over before it was delivered."""
        await store.end(tx, row["account_sid"], row["message_sid"], "revoked")
        await self._report(tx, row, "undelivered", NOT_REACHED, at)

    async def _report(self, tx: Tx, row: Row, state: ReceiptState, code: int | None, at: datetime) -> None:
        await self._sink.receipts_arrived(
            tx, [Receipt(NAME, row["message_sid"], row["account_sid"], row["message_sid"], state, code, at)]
        )

    async def reached(self, tx: Tx, row: Row, *, read: bool, at: datetime) -> None:
        """Report that a message was delivered or read; of what was taken back nothing counts."""
        if row["state"] in ("revoked", "refused", "read") or (row["state"] == "delivered" and not read):
            return
        await store.end(tx, row["account_sid"], row["message_sid"], "read" if read else "delivered")
        await self._report(tx, row, "read" if read else "delivered", None, at)

    async def _say(self, run: Run, batch: list[Job]) -> None:
        """Show a user that a message was read. Nobody waits for it, so it is tried and then let be."""
        for job in batch:
            given = job.payload
            connection = self.connection(given["connection"])
            if connection is not None:
                request = rbm.agent_event(given["agent"], given["phone"], given["event"], "READ", given["message"])
                try:
                    await connection.upstream.ask(request)
                except (NotAsked, NoAnswer) as error:
                    _log.info("a user was not shown that a message was read: %s", error)
            async with run.transaction() as tx:
                await run.complete(tx, [job])


class _Features(msgspec.Struct):
    features: frozenset[str] = frozenset()


def _overdue_job(account_sid: str, sid: str, expires_at: datetime | None) -> list[NewJob]:
    if expires_at is None:
        return []
    return [_job(OVERDUE_TASK, account_sid, sid, expires_at + timedelta(seconds=REVOKE_GRACE_S))]


def _job(task: str, account_sid: str, sid: str, due_at: datetime, order_key: str | None = None) -> NewJob:
    return NewJob(task, {"sid": sid}, account_sid=account_sid, due_at=due_at, order_key=order_key)


def _key(job: Job) -> tuple[str, str]:
    assert job.account_sid is not None, "a message has an account"
    return job.account_sid, job.payload["sid"]
