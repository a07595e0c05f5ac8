"""Calling statuses back, many at a time.

Theory of operation. A job stands for calls that became due in one transaction. They are made side by side, within what
one account and the process may have under way. Those that were made are written down together, and the job then stands
for the others, so a crash repeats only what was not written down yet, each call with its own token. The calls of one
message follow each other: the next one waits until the one before is written down, or a crash could repeat that one
after it. So it is as long as one process makes them; two do only after one of them died.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from onterms.core.clock import Clock
from onterms.core.db import Statement, Tx
from onterms.engines import jobs, log
from onterms.ports.callback import Answer, Attempt, Callback, CallbackClient
from onterms.products import monitor
from onterms.products.messaging import events
from onterms.products.messaging.service import channel_fields, deliver, respond

# Ours: what one process has under way, and of that one account, so that a customer whose server hangs does not hold up
# the others.
UNDER_WAY_MAX: Final = 256
ACCOUNT_MAX: Final = 64
# Ours: how long what was made may wait for the others of its job before it is written down.
WRITE_DOWN_S: Final = 0.5

OUTAGE_PAUSE_S: Final = 0.5
OUTAGES: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)

_log = logging.getLogger("onterms.messaging")

_Call = dict[str, Any]
_Fields = list[tuple[str, str]]


class NotWritten(RuntimeError):
    """A call waits for one before it that nobody knows of."""


@dataclass(slots=True, eq=False)
class _Making:
    """A call of a message's status, under way until it is written down."""

    call: _Call
    written: asyncio.Future[None]
    before: asyncio.Future[None] | None
    answer: Answer | None = None


class Caller:
    """Makes the calls of jobs."""

    def __init__(self, clock: Clock, client: CallbackClient, signing_token: Callable[[str], Awaitable[str]]) -> None:
        self._clock = clock
        self._client = client
        self._signing_token = signing_token
        self._all = asyncio.Semaphore(UNDER_WAY_MAX)
        # Of accounts with a job under way: how many, and their share.
        self._shares: dict[str, tuple[int, asyncio.Semaphore]] = {}
        # The end of each message's last call.
        self._last: dict[str, asyncio.Future[None]] = {}

    async def run(self, run: jobs.Run, job: jobs.Job) -> None:
        """Make a job's calls and complete it."""
        account_sid = job.account_sid
        assert account_sid is not None
        count, share = self._shares.get(account_sid) or (0, asyncio.Semaphore(ACCOUNT_MAX))
        self._shares[account_sid] = count + 1, share
        # In the order of the jobs, so before anything here waits.
        makings = [self._begin(call) for call in job.payload["calls"]]
        tasks: dict[asyncio.Task[None], _Making] = {}
        try:
            token = await self._signing_token(account_sid)
            more = await self._more_fields(run, account_sid, job.payload["calls"])
            tasks = {
                asyncio.create_task(self._make(account_sid, making, token, share, fields)): making
                for making, fields in zip(makings, more, strict=True)
            }
            open_ = set(tasks)
            while open_:
                done, open_ = await asyncio.wait(open_, timeout=WRITE_DOWN_S)
                if done:
                    for task in done:
                        task.result()
                    await self._write_down(run, job, [tasks[task] for task in done], [tasks[task] for task in open_])
        finally:
            for task in tasks:
                task.cancel()
            for making in makings:
                # What is not written down will be made again, and what should follow it must not be made before.
                self._end(making, is_written=False)
            count, _ = self._shares[account_sid]
            if count == 1:
                del self._shares[account_sid]
            else:
                self._shares[account_sid] = count - 1, share

    def _begin(self, call: _Call) -> _Making:
        written = asyncio.get_running_loop().create_future()
        making = _Making(call, written, self._last.get(call["sid"]))
        self._last[call["sid"]] = written
        return making

    async def _more_fields(self, run: jobs.Run, account_sid: str, calls: Sequence[_Call]) -> list[_Fields]:
        """Return the fields that each call has beside the common ones: those of messages on channels."""
        more: list[_Fields] = [[] for _ in calls]
        on_channels = [place for place, call in enumerate(calls) if ":" in call["recipient"]]
        if on_channels:
            async with run.transaction() as tx:
                for place in on_channels:
                    more[place] = await channel_fields.of_callback(tx, account_sid, calls[place])
        return more

    async def _make(
        self, account_sid: str, making: _Making, token: str, share: asyncio.Semaphore, more: _Fields
    ) -> None:
        call = making.call
        if making.before is not None:
            await asyncio.wait([making.before])
            if making.before.cancelled():
                raise NotWritten(f"the call before the one of {call['status']} is not written down")
        async with share, self._all:
            making.answer = await self._client.call(
                Callback(
                    account_sid=account_sid,
                    url=call["url"],
                    method="POST",
                    params=deliver.callback_params(account_sid, call) + more,
                    signing_token=token,
                    idempotency_token=call["token"],
                )
            )

    def _end(self, making: _Making, *, is_written: bool) -> None:
        if making.written.done():
            return
        if is_written:
            making.written.set_result(None)
        else:
            making.written.cancel()
        if self._last.get(making.call["sid"]) is making.written:
            del self._last[making.call["sid"]]

    async def _write_down(
        self, run: jobs.Run, job: jobs.Job, made: Sequence[_Making], others: Sequence[_Making]
    ) -> None:
        account_sid = job.account_sid or ""
        told: list[log.Event] = []
        alerts: list[monitor.NewAlert] = []
        for making in made:
            call, answer = making.call, making.answer
            assert answer is not None
            told += attempts_of(account_sid, call["sid"], f"status {call['status']}", answer.attempts)
            if answer.error_code is not None:
                last = answer.attempts[-1] if answer.attempts else None
                alerts.append(respond.alert_of(account_sid, call["sid"], answer.error_code, answer.error, last))
        left = [making.call for making in others]
        is_written = False
        while not is_written:
            try:
                async with run.transaction() as tx:
                    now = self._clock.now()
                    if alerts:
                        await monitor.record(tx, alerts, now)
                    statements: list[Statement[Any]] = [log.appending(tx, told, now)] if told else []
                    if left:
                        await run.keep(tx, job, {"calls": left})
                    else:
                        statements.append(run.completing(tx, [job]))
                    if statements:
                        await tx.together(*statements)
                is_written = True
            except OUTAGES as error:
                # Made again they would be repeated, so what is known is kept until somebody takes it.
                _log.warning("calls cannot be written down (%s); trying again", type(error).__name__)
                await asyncio.sleep(OUTAGE_PAUSE_S)
        job.payload["calls"][:] = left
        for making in made:
            self._end(making, is_written=True)


async def log_attempts(
    tx: Tx, account_sid: str, sid: str, purpose: str, attempts: Sequence[Attempt], at: datetime
) -> None:
    """Write down how a webhook was called."""
    await log.append(tx, attempts_of(account_sid, sid, purpose, attempts), at)


def attempts_of(account_sid: str, sid: str, purpose: str, attempts: Sequence[Attempt]) -> list[log.Event]:
    """Make an event of each attempt to call a webhook."""
    return [
        events.event(
            events.WEBHOOK_CALLED,
            account_sid,
            sid,
            {
                "purpose": purpose,
                "url": attempt.url,
                "method": attempt.method,
                "duration_ms": attempt.duration_ms,
                "status": attempt.status,
                "error_code": attempt.error_code,
                "error": attempt.error,
                "request_body": attempt.request_body,
                "response_body": attempt.response_body,
            },
        )
        for attempt in attempts
    ]
