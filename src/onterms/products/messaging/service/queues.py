"""The queues of senders: how fast each may send, who waits in it, and when it is full.

Theory of operation. Every sender has a rate in segments a second: its own where the operator set one, else its
account's, else its campaign's where registration is enforced, else that of its type; zero is as fast as the carrier
takes it. Rates stand in memory and follow the operator's changes, so senders without one cost a look into a dictionary.

A rated sender is a token bucket of the jobs (`engines/jobs/places.py`). Its messages take their places as they are
accepted: each one's job is due when its place comes, so what waits in long queues is never looked at by who sends other
messages. At fast rates one job stands for what goes within a second. What has to wait for another reason first takes
its place when it is due. Senders of one campaign share one bucket.

A queue is full when it holds ten hours of its rate. When a rate changes, all who wait move. A message that no carrier
could be reached for stands at the end of its queue again: others of its sender may go by other carriers, and whatever
comes to wait while all are away goes at the rate afterwards.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from onterms.core.db import Database, Row, Statement, Tx
from onterms.core.errors import InvalidParameter, NotFound, Refusal
from onterms.core.following import Follower
from onterms.core.ids import new_sid
from onterms.engines import jobs
from onterms.products import numbers
from onterms.products.messaging import errors
from onterms.products.messaging.model import NewMessage
from onterms.products.messaging.model.queues import (
    CHUNKED_FROM_PER_S,
    DEPTH,
    PUBLISHED,
    RATE_MAX,
    RATE_MIN,
    UNLIMITED,
    Queue,
    SenderType,
    Waiting,
    key_of,
    prefix_of,
    read_key,
    type_of,
)
from onterms.products.messaging.service.registration import Registrations, is_us_long_code
from onterms.products.messaging.store import queues as store

Pair = tuple[str, str]

DISPATCH = "messaging.dispatch"
MOVE_QUEUES = "messaging.move_queues"
# Twilio docs, error 30001.
OVERFLOW: Final = 30001
# Twilio's catalogue of errors, 30024: the number does not send for whoever asked any more.
GIVEN_UP: Final = 30024
_ENTRIES_MAX: Final = 200_000
_AT_ONCE: Final = 500
# How many jobs of one queue are counted; of longer ones the length is known from the rate.
_COUNTED_MAX: Final = 1000


class Shown(NamedTuple):
    """A queue as its owner sees it.

    Shapes: `messages` and `segments` are estimates where `is_estimate`.
    """

    account_sid: str
    group: str
    per_s: float
    messages: int
    segments: int
    drained_in_s: float
    oldest: datetime | None
    is_estimate: bool


class SenderQueues:
    """Knows the rate of every sender and gives its messages their places."""

    def __init__(self, database: Database, *, is_sandbox: bool) -> None:
        self._database = database
        self._defaults = UNLIMITED if is_sandbox else PUBLISHED
        self._registrations: Registrations | None = None
        self._set: dict[tuple[str | None, str | None, str | None], float] = {}
        self._known: dict[Pair, Queue | None] = {}
        self._follower = Follower(database, store.CHANNEL, self.reload)

    def by_registration(self, registrations: Registrations) -> None:
        """Let registered senders have the rates of their campaigns, where registration is enforced."""
        self._registrations = registrations if registrations.is_enforced else None

    async def start(self) -> None:
        """Read the rates and follow their changes."""
        await self._follower.start()

    async def close(self) -> None:
        """Follow no more."""
        await self._follower.close()

    async def reload(self) -> None:
        """Read the rates."""
        async with self._database.snapshot() as tx:
            rows = await store.every_rate(tx)
        self._set = {(row["account_sid"], row["sender"], row["sender_type"]): row["segments_per_s"] for row in rows}
        self._known.clear()

    @property
    def _is_idle(self) -> bool:
        return not self._set and self._registrations is None and self._defaults is UNLIMITED

    # ---- rates

    async def queues_of(self, tx: Tx, pairs: Iterable[Pair]) -> dict[Pair, Queue]:
        """Return the queues of those (account_sid, sender) that have a rate."""
        if self._is_idle:
            return {}
        found: dict[Pair, Queue] = {}
        registered: list[Pair] = []
        for pair in set(pairs):
            if self._registrations is not None and self._own(pair) is None and is_us_long_code(pair[1]):
                registered.append(pair)
                continue
            queue = self._queue_of(pair)
            if queue is not None:
                found[pair] = queue
        if registered and self._registrations is not None:
            rates = await self._registrations.sender_rates(tx, registered)
            for pair, rate in rates.items():
                by_type = self._queue_of(pair)
                # What is in no campaign has the rate of its type.
                if rate.group != pair[1]:
                    found[pair] = Queue(key_of(pair[0], rate.group), rate.segments_per_s)
                elif by_type is not None:
                    found[pair] = by_type
        return found

    def _queue_of(self, pair: Pair) -> Queue | None:
        try:
            return self._known[pair]
        except KeyError:
            pass
        per_s = self._own(pair)
        if per_s is None:
            kind = type_of(pair[1])
            per_s = self._set.get((None, None, kind), self._defaults[kind])
        queue = Queue(key_of(*pair), per_s) if per_s else None
        if len(self._known) >= _ENTRIES_MAX:
            self._known.clear()
        self._known[pair] = queue
        return queue

    def _own(self, pair: Pair) -> float | None:
        """Return the rate that was set for a sender or its account."""
        if not self._set:
            return None
        account_sid, sender = pair
        for wanted in ((account_sid, sender, None), (account_sid, None, type_of(sender)), (account_sid, None, None)):
            if wanted in self._set:
                return self._set[wanted]
        return None

    # ---- joining

    async def overflowing(self, tx: Tx, messages: Sequence[NewMessage], at: datetime) -> dict[str, Refusal]:
        """Return the refusals of messages, by SID, whose senders' queues are full."""
        if self._is_idle:
            return {}
        queues = await self.queues_of(tx, ((message.account_sid, message.sender) for message in messages))
        if not queues:
            return {}
        ends = await jobs.next_places(tx, [queue.key for queue in queues.values()])
        refused: dict[str, Refusal] = {}
        for message in messages:
            queue = queues.get((message.account_sid, message.sender))
            if queue is None:
                continue
            begins = max(ends.get(queue.key, at), at)
            end = begins + timedelta(seconds=message.num_segments / queue.per_s)
            if begins > at and end > at + DEPTH:
                refused[message.sid] = errors.QueueFull(
                    f"The queue of {message.sender} holds ten hours of messages already"
                )
            else:
                ends[queue.key] = end
        return refused

    async def steps(
        self, tx: Tx, messages: Sequence[Waiting], at: datetime, due: Mapping[str, datetime]
    ) -> tuple[set[str], list[jobs.NewJob], list[Statement[Any]]]:
        """Take places for messages of rated senders.

        Shapes: `due` says when some may go at the earliest, by SID. Returned are the SIDs of those that have a queue,
        their jobs, and what is to be done in the statement that enqueues these.
        """
        if self._is_idle or not messages:
            return set(), [], []
        queues = await self.queues_of(tx, ((message.account_sid, message.sender) for message in messages))
        if not queues:
            return set(), [], []
        rates = {queue.key: queue.per_s for queue in queues.values()}
        buckets = await jobs.lock_buckets(tx, rates, at)
        joined: set[str] = set()
        steps: list[jobs.NewJob] = []
        chunks: dict[str, list[Waiting]] = {}
        for message in messages:
            queue = queues.get((message.account_sid, message.sender))
            if queue is None:
                continue
            joined.add(message.sid)
            due_at = due.get(message.sid)
            if due_at is not None and due_at > at:
                # It joins the queue then, and its time there begins then.
                payload = {"sids": [message.sid], "since": due_at.isoformat()}
                steps.append(
                    jobs.NewJob(
                        DISPATCH,
                        payload,
                        message.account_sid,
                        due_at=due_at,
                        rate_key=queue.key,
                        cost=message.segments,
                    )
                )
                continue
            chunk = chunks.setdefault(queue.key, [])
            if chunk and sum(each.segments for each in chunk) + message.segments > _chunk_max(queue.per_s):
                steps.append(_step(chunk, buckets[queue.key]))
                chunk = chunks[queue.key] = []
            chunk.append(message)
        steps += [_step(chunk, buckets[key]) for key, chunk in chunks.items() if chunk]
        return joined, steps, [jobs.taking(list(buckets.values()))]

    async def jobs_of(
        self, tx: Tx, messages: Sequence[Waiting], at: datetime, due: Mapping[str, datetime]
    ) -> list[jobs.NewJob]:
        """Make the jobs that dispatch messages, one each where their senders have no rate."""
        joined, steps, statements = await self.steps(tx, messages, at, due)
        if statements:
            await tx.together(*statements)
        steps += [
            jobs.NewJob(DISPATCH, {"sids": [each.sid]}, account_sid=each.account_sid, due_at=due.get(each.sid))
            for each in messages
            if each.sid not in joined
        ]
        return steps

    async def waits(self, tx: Tx, pairs: Sequence[Pair], at: datetime) -> dict[Pair, tuple[float, Queue]]:
        """Return how many seconds whoever joins now would wait, of those (account_sid, sender) that have a rate."""
        queues = await self.queues_of(tx, pairs)
        if not queues:
            return {}
        ends = await jobs.next_places(tx, list({queue.key for queue in queues.values()}))
        return {
            pair: (max((ends.get(queue.key, at) - at).total_seconds(), 0.0), queue) for pair, queue in queues.items()
        }

    async def again(
        self, tx: Tx, messages: Sequence[Pair], at: datetime, due_at: datetime, since: Mapping[str, datetime]
    ) -> None:
        """Put messages, (account_sid, sid), that a carrier gave back into their queues again."""
        rows = await store.senders_of(tx, messages)
        waiting = [_waiting(row) for row in rows.values()]
        steps = await self.jobs_of(tx, waiting, at, {each.sid: due_at for each in waiting})
        for place, step in enumerate(steps):
            sid = step.payload["sids"][0]
            steps[place] = jobs.NewJob(
                DISPATCH,
                {**step.payload, "since": since[sid].isoformat()},
                step.account_sid,
                due_at=step.due_at,
                rate_key=step.rate_key,
                cost=step.cost,
            )
        await jobs.enqueue(tx, steps, at)

    # ---- what the operator sets

    async def put(
        self, tx: Tx, of: tuple[str | None, str | None, SenderType | None], segments_per_s: float, at: datetime
    ) -> Row:
        """Set how fast (account_sid, sender, sender type) may send. Raises: InvalidParameter."""
        if segments_per_s and not RATE_MIN <= segments_per_s <= RATE_MAX:
            raise InvalidParameter(f"'segments_per_s' is 0, or from {RATE_MIN} to {RATE_MAX:.0f}")
        account_sid, sender, kind = of
        if account_sid is None and (sender is not None or kind is None):
            raise InvalidParameter("A rate is a sender's, an account's or a sender type's")
        if sender is not None and kind is not None:
            raise InvalidParameter("A sender has a type already")
        row = await store.put(tx, new_sid("SR", at), of, segments_per_s, at)
        await self._move(tx, account_sid, at)
        return row

    async def delete(self, tx: Tx, sid: str, at: datetime) -> None:
        """Take a rate away. Raises: NotFound."""
        if not await store.delete(tx, sid):
            raise NotFound(f"The sender rate {sid} was not found")
        await self._move(tx, None, at)

    async def _move(self, tx: Tx, account_sid: str | None, at: datetime) -> None:
        await jobs.enqueue(tx, [jobs.NewJob(MOVE_QUEUES, {"prefix": prefix_of(account_sid), "after": ""})], at)

    async def move(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Let those who wait move to where the rates of now put them."""
        await self.reload()
        for job in batch:
            async with run.transaction() as tx:
                at = run.clock.now()
                keys = await jobs.keys_like(tx, job.payload["prefix"], after=job.payload["after"], limit=_AT_ONCE)
                pairs = [read_key(key) for key in keys]
                # Of a campaign's queue the rate is the registration's; its next message brings it.
                pairs = [pair for pair in pairs if not pair[1].startswith("QE")]
                queues = await self.queues_of(tx, pairs)
                for pair in pairs:
                    queue = queues.get(pair)
                    if queue is None:
                        await jobs.end_rate(tx, key_of(*pair), at)
                    elif queue.key == key_of(*pair):
                        await jobs.set_rate(tx, queue.key, queue.per_s, 1, at)
                if len(keys) == _AT_ONCE:
                    rest = {"prefix": job.payload["prefix"], "after": keys[-1]}
                    await jobs.enqueue(tx, [jobs.NewJob(MOVE_QUEUES, rest)], at)
                await run.complete(tx, [job])

    def register(self, worker: jobs.Worker) -> None:
        """Serve the queues' jobs."""
        worker.register(MOVE_QUEUES, self.move, batch_max=1)

    # ---- looking

    async def of_account(self, tx: Tx, account_sid: str, after: str, limit: int, at: datetime) -> list[Shown]:
        """List the queues of an account's senders in the order of their names, empty ones too."""
        held = await numbers.numbers_of(tx, account_sid)
        queues = await self.queues_of(tx, ((account_sid, number) for number in held))
        rates = {queue.key: queue.per_s for queue in queues.values()}
        prefix = prefix_of(account_sid)
        keys = await jobs.keys_like(tx, prefix, after=prefix + after, limit=limit)
        wanted = sorted({*keys, *(key for key in rates if key > prefix + after)})[:limit]
        return await self._shown(tx, wanted, rates, at)

    async def longest(
        self, tx: Tx, after: tuple[datetime, str] | None, limit: int, at: datetime
    ) -> list[tuple[datetime, Shown]]:
        """List all queues that somebody waits in, the longest first, with when each is empty."""
        found = await jobs.longest(tx, prefix_of(), at, after=after, limit=limit)
        shown = await self._shown(tx, [key for key, _ in found], {}, at)
        return [(next_at, each) for (_, next_at), each in zip(found, shown, strict=True)]

    async def _shown(self, tx: Tx, keys: Sequence[str], rates: Mapping[str, float], at: datetime) -> list[Shown]:
        buckets = await jobs.buckets_of(tx, keys)
        counted = await jobs.waiting_in(tx, keys, "sids", _COUNTED_MAX)
        shown: list[Shown] = []
        for key in keys:
            per_s, next_at = buckets.get(key, (0.0, None))
            per_s = rates.get(key) or per_s
            drained_in_s = max((next_at - at).total_seconds(), 0.0) if next_at is not None else 0.0
            row = counted[key]
            messages, segments = row["things"], row["cost"]
            is_estimate = row["jobs"] >= _COUNTED_MAX
            if is_estimate and segments:
                whole = max(round(drained_in_s * per_s), segments)
                messages, segments = round(messages * whole / segments), whole
            if not row["jobs"]:
                # What was sent a moment ago holds back only what comes next.
                drained_in_s = 0.0
            shown.append(
                Shown(*read_key(key), per_s, messages, segments, round(drained_in_s, 3), row["oldest"], is_estimate)
            )
        return shown


async def join(tx: Tx, queues: SenderQueues | None, message: Waiting, at: datetime) -> None:
    """Let a message wait for its carrier, in its sender's queue where that has a rate."""
    if queues is not None:
        steps = await queues.jobs_of(tx, [message], at, {})
    else:
        steps = [jobs.NewJob(DISPATCH, {"sids": [message.sid]}, account_sid=message.account_sid)]
    await jobs.enqueue(tx, steps, at)


async def drop_queues(tx: Tx, account_sids: Sequence[str]) -> None:
    """Remove the queues of accounts that are closed, with who waits there."""
    for account_sid in account_sids:
        await jobs.drop_queues(tx, prefix_of(account_sid))


def _chunk_max(per_s: float) -> float:
    return per_s if per_s >= CHUNKED_FROM_PER_S else 0.0


def _step(chunk: Sequence[Waiting], bucket: jobs.Bucket) -> jobs.NewJob:
    cost = sum(each.segments for each in chunk)
    return jobs.NewJob(
        DISPATCH,
        {"sids": [each.sid for each in chunk]},
        chunk[0].account_sid,
        due_at=bucket.take(cost),
        rate_key=bucket.key,
        cost=cost,
        has_place=True,
    )


def _waiting(row: Row) -> Waiting:
    return Waiting(row["account_sid"], row["sid"], row["sender"], 1 if row["num_media"] else row["num_segments"])
