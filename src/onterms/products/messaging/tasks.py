"""The messaging room's durable steps: fetch media, dispatch to the carrier, call statuses back, talk to webhooks."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from onterms.core import e164
from onterms.core.clock import Clock
from onterms.core.db import Tx
from onterms.core.errors import Unavailable
from onterms.core.ids import new_sid
from onterms.engines import jobs
from onterms.ports.callback import Callback, CallbackClient
from onterms.ports.channels import ChannelCarrier, Standing
from onterms.ports.media import Fetched, FetchFailed, MediaFetcher
from onterms.ports.message_carrier import InboundMessage, MessageCarrier, OutboundMessage, Receipt, Unknown
from onterms.products import monitor
from onterms.products.messaging import store
from onterms.products.messaging.model import Change, Message
from onterms.products.messaging.model.media import bytes_max, objection
from onterms.products.messaging.model.queues import Waiting
from onterms.products.messaging.service import (
    channel_fields,
    channels,
    choosing,
    deliver,
    fallbacks,
    falling_back,
    inspecting,
    keeping,
    links,
    money,
    networks,
    pool,
    queues,
    receive,
    registration,
    respond,
    returning,
    send,
    smpp,
)
from onterms.products.messaging.service.calling import Caller, log_attempts
from onterms.products.messaging.service.history import MediaLinks
from onterms.products.messaging.service.queues import GIVEN_UP
from onterms.products.messaging.store import pools

_log = logging.getLogger("onterms.messaging")

# Ours: a carrier that cannot be reached is asked again after this, until the message's validity ends.
UNREACHABLE_PAUSE = timedelta(seconds=5)
# Twilio docs, Messages resource: the longest ValidityPeriod, which is also the default.
QUEUE_LIFE = timedelta(hours=10)


class Accounts(Protocol):
    """What the room asks about accounts."""

    async def signing_token(self, account_sid: str) -> str:
        """Return the auth token that signs the account's webhooks."""
        ...

    async def statuses(self, tx: Tx, account_sids: Sequence[str]) -> Mapping[str, str]:
        """Return active, suspended or closed for each account."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the room's tasks work with."""

    clock: Clock
    carrier: MessageCarrier
    callbacks: CallbackClient
    media: MediaFetcher
    links: MediaLinks
    accounts: Accounts
    senders: send.Senders
    till: money.Till
    lines: receive.Lines
    guard: inspecting.Guard
    registrations: registration.Registrations
    # The carriers of channels, by the channel's name.
    channels: Mapping[str, ChannelCarrier] = field(default_factory=dict)


class Sink:
    """What carriers report to."""

    def __init__(
        self,
        clock: Clock,
        lines: receive.Lines,
        statuses: receive.Statuses,
        till: money.Till,
        guard: inspecting.Guard,
    ) -> None:
        self._clock = clock
        self._lines = channels.lines(lines)
        self._statuses = statuses
        self._till = till
        self._guard = guard

    async def receipts_arrived(self, tx: Tx, receipts: Sequence[Receipt]) -> None:
        """Record receipts."""
        await channels.keep_words(tx, receipts)
        await deliver.record_receipts(tx, receipts, self._clock.now())

    async def still_going(self, tx: Tx, keys: Sequence[tuple[str, str]]) -> set[str]:
        """Return the SIDs of those messages that are sending."""
        return await store.sending_of(tx, keys)

    async def look_through(self, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
        """Look through the files of inbound messages."""
        return await self._guard.look_through(messages)

    async def messages_arrived(self, tx: Tx, messages: Sequence[InboundMessage]) -> list[str | None]:
        """Take inbound messages."""
        now = self._clock.now()
        return await receive.receive(tx, self._lines, self._statuses, self._till, self._guard, messages, now)

    async def put_back(self, tx: Tx, messages: Sequence[tuple[str, str]]) -> None:
        """Put messages that a carrier followed into their queue again."""
        await returning.put_back(tx, messages, self._clock.now(), self._till.queues)

    async def standing_changed(self, tx: Tx, account_sid: str, sid: str, standing: Standing) -> None:
        """Record that a network changed its mind about a channel's sender."""
        await channels.settle(tx, account_sid, sid, standing, self._clock.now())

    async def senders_online(self, tx: Tx, addresses: Sequence[str]) -> Mapping[str, str]:
        """Return the accounts of those channel addresses that are online."""
        return {address: line.account_sid for address, line in (await self._lines(tx, addresses)).items()}


class Tasks:
    """The handlers of the room's jobs."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._at = surroundings.clock.now
        self._with = surroundings
        self._lines = channels.lines(surroundings.lines)
        self._at_networks = networks.Networks(surroundings.clock, surroundings.channels)
        # Set when the batch that began last has been at the carrier.
        self._submitted = asyncio.Event()
        self._submitted.set()
        self._callbacks = Caller(surroundings.clock, surroundings.callbacks, surroundings.accounts.signing_token)

    def register(self, worker: jobs.Worker) -> None:
        """Join the handlers to a worker."""
        worker.register(send.DISPATCH, self.dispatch, batch_max=300, concurrency=2, items="sids", in_turns=True)
        worker.register(send.CHOOSE_SENDER, self.choose_sender, batch_max=200, concurrency=1, items="sids")
        worker.register(links.LINK_CLICKED, self.link_clicked, batch_max=1, concurrency=32)
        worker.register(send.FETCH_MEDIA, self.fetch_media, batch_max=1, concurrency=16, items="sids")
        worker.register(
            deliver.STATUS_CALLBACK, self.status_callback, batch_max=100, concurrency=1000, items="calls", in_order=True
        )
        worker.register(money.SETTLE, self.settle, batch_max=500, concurrency=1, items="ends")
        worker.register(receive.INBOUND_WEBHOOK, self.inbound_webhook, batch_max=1, concurrency=64)
        worker.register(keeping.MEDIA_RETENTION, self.media_retention, batch_max=1, concurrency=1)
        self._at_networks.register(worker)
        worker.register(fallbacks.FALL_BACK, self.fall_back, batch_max=1, concurrency=4)
        worker.register(smpp.PARTS, self.smpp_submit_parts, batch_max=50)
        if self._with.till.queues is not None:
            self._with.till.queues.register(worker)

    async def choose_sender(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Give the messages of Messaging Services their senders, in their time."""
        async with run.transaction() as tx:
            credentials = {key: job.payload.get("credential_sid", "") for job in batch for key in _keys(job)}
            await choosing.choose(tx, self._with.senders, self._with.till, credentials, self._at())
            await run.complete(tx, batch)

    async def fall_back(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Send by SMS what RCS did not deliver."""
        for job in batch:
            async with run.transaction() as tx:
                account_sid, _ = _key(job)
                till = self._with.till
                await falling_back.fall_back(tx, self._with.senders, till.queues, account_sid, job.payload, self._at())
                await run.complete(tx, [job])

    async def link_clicked(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Report that somebody followed a short link."""
        for job in batch:
            account_sid = job.account_sid or ""
            async with run.transaction() as tx:
                click = await links.click_of(tx, account_sid, job.payload)
            if click is None:
                continue
            url, fields = click
            answer = await self._with.callbacks.call(
                Callback(
                    account_sid=account_sid,
                    url=url,
                    method="POST",
                    params=list(fields.items()),
                    signing_token=await self._with.accounts.signing_token(account_sid),
                    idempotency_token=job.payload["token"],
                )
            )
            async with run.transaction() as tx:
                now = self._at()
                sid = fields["message_sid"]
                await log_attempts(tx, account_sid, sid, "click", answer.attempts, now)
                if answer.error_code is not None:
                    last = answer.attempts[-1] if answer.attempts else None
                    alert = respond.alert_of(account_sid, sid, answer.error_code, answer.error, last)
                    await monitor.record(tx, [alert], now)
                await run.complete(tx, [job])

    async def dispatch(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Hand queued messages to the carrier and record its answers.

        Batches overlap in all but the hand-over: there they keep the order in which they began, so that what a sender
        said first arrives first.
        """
        before, submitted = self._submitted, asyncio.Event()
        self._submitted = submitted
        try:
            outbound = await self._begin(run, batch)
            await before.wait()
            if outbound:
                await self._submit(run, batch, outbound, submitted)
        finally:
            # A batch that failed, or had nothing to hand over, does not let the next one past those before it either.
            await before.wait()
            submitted.set()

    async def _begin(self, run: jobs.Run, batch: list[jobs.Job]) -> list[OutboundMessage]:
        """Mark a batch's messages as sending and return those to hand over, in order."""
        carrier = self._with.carrier
        keys = [key for job in batch for key in _keys(job)]
        async with run.transaction() as tx:
            now = self._at()
            messages = await store.begin_sending(tx, keys, now)
            statuses = await self._with.accounts.statuses(tx, list({account_sid for account_sid, _ in keys}))
            away = await self._with.till.turned_away(tx, messages, now)
            failures = [
                Change(message["account_sid"], message["sid"], "failed", error_code=code)
                for message in messages
                if (code := deliver.unfit(message, statuses, away, carrier.repeats_are_safe, now)) is not None
            ]
            failed = {change.sid for change in failures}
            going = [message for message in messages if message["sid"] not in failed]
            given_up = await self._given_up(tx, batch, going)
            failures += [Change(*key, "failed", error_code=GIVEN_UP) for key in given_up]
            failed |= {sid for _, sid in given_up}
            going = [message for message in going if message["sid"] not in failed]
            barred = await self._with.registrations.barred(tx, going, now)
            failures += [Change(*key, "undelivered", error_code=code) for key, code in barred.items()]
            await deliver.record_changes(tx, failures, now)
            failed |= {sid for _, sid in barred}
            shown = await channels.contents_of(tx, messages)
            outbound = [
                deliver.outbound(
                    message,
                    await self._media_links(tx, message) if message["num_media"] else (),
                    shown.get(message["sid"]),
                )
                for message in messages
                if message["sid"] not in failed
            ]
            outbound = await fallbacks.in_time(tx, outbound, self._at())
            # Whatever is not in the queue any more (canceled, failed, already sent) has nothing left to do here.
            if not outbound:
                await run.complete(tx, batch)
        # First in, first out for each sender: SIDs grow with time.
        outbound.sort(key=lambda message: message.sid[2:])
        return outbound

    async def _given_up(self, tx: Tx, batch: list[jobs.Job], going: Sequence[Message]) -> list[tuple[str, str]]:
        """Return those that waited in their senders' queues while the numbers were given back."""
        waited = {key for job in batch if job.rate_key is not None for key in _keys(job)}
        held = [each for each in going if waited and (each["account_sid"], each["sid"]) in waited]
        held = [each for each in held if each["sender"].startswith("+") or e164.is_short_code(each["sender"])]
        if not held:
            return []
        owned = await self._with.senders(tx, list({(each["account_sid"], each["sender"]) for each in held}))
        return [
            (each["account_sid"], each["sid"]) for each in held if (each["account_sid"], each["sender"]) not in owned
        ]

    async def _submit(
        self, run: jobs.Run, batch: list[jobs.Job], outbound: list[OutboundMessage], submitted: asyncio.Event
    ) -> None:
        carrier = self._with.carrier
        outcomes = await carrier.submit(outbound)
        submitted.set()
        changes: list[Change] = []
        again: dict[str, tuple[str, int]] = {}
        for message, outcome in zip(outbound, outcomes, strict=True):
            if isinstance(outcome, Unknown) and outcome.is_followed:
                # It stays in sending: the carrier's receipt ends it, and there is nothing left to do here.
                continue
            change = deliver.change_of(message, outcome, carrier.name)
            if change is None:
                segments = 1 if message.media_urls else message.segments
                again[message.sid] = (getattr(outcome, "reason", ""), segments)
            else:
                changes.append(change)
        async with run.transaction() as tx:
            now = self._at()
            await networks.keep_answers(tx, outbound, outcomes)
            changes = await fallbacks.put_off(tx, changes, now)
            later = self._later(batch, again, changes, now) if again else []
            others = [jobs.enqueuing(tx, later, now)] if later else []
            await deliver.record_changes(tx, changes, now, *others, run.completing(tx, batch))

    def _later(
        self, batch: list[jobs.Job], again: Mapping[str, tuple[str, int]], changes: list[Change], now: datetime
    ) -> list[jobs.NewJob]:
        """Put messages that no carrier could be reached for back into the queue, or fail those that waited too long.

        Shapes: `again` has the carrier's reason and the segments of each, by SID.
        """
        later: list[jobs.NewJob] = []
        for job in batch:
            keys = [key for key in _keys(job) if key[1] in again]
            if not keys:
                continue
            since = _queued_at(job)
            if now - since > QUEUE_LIFE:
                changes += [Change(*key, "failed", error_code=deliver.VALIDITY_EXPIRED) for key in keys]
                continue
            changes += [Change(*key, "queued") for key in keys]
            sids = [sid for _, sid in keys]
            payload = {"sids": sids, "since": since.isoformat(), "reason": again[sids[0]][0]}
            # In its sender's queue it stands at the end then, for others of it may go another way.
            cost = sum(again[sid][1] for sid in sids)
            place = (send.DISPATCH, payload, job.account_sid, now + UNREACHABLE_PAUSE, None, job.rate_key)
            later.append(jobs.NewJob(*place, cost=cost))
        return later

    async def _media_links(self, tx: Tx, message: Message) -> tuple[str, ...]:
        account_sid, sid = message["account_sid"], message["sid"]
        files = await store.media_sids(tx, account_sid, sid)
        return tuple(self._with.links.link(account_sid, sid, file["sid"]) for file in files)

    async def fetch_media(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Fetch what a message shall carry, store it, then let the message go; or fail it with the reason."""
        for job in batch:
            [key] = _keys(job)
            async with run.transaction() as tx:
                message = await store.fetch(tx, *key)
            if message is None or message["status"] != "queued":
                continue
            channel, _ = e164.split_address(message["recipient"])
            files = await self._fetch_files(message["media_urls"], bytes_max(channel))
            found, rejected = "", b""
            if not isinstance(files, FetchFailed):
                try:
                    found, rejected = await self._look_through(files)
                except Unavailable as refusal:
                    await self._wait_for_scanner(run, job, refusal.message)
                    continue
                # What is inside them is read only after they were looked through.
                files = objection(files, channel) or files
            async with run.transaction() as tx:
                now = self._at()
                if found:
                    failed = Change(*key, "failed", error_code=inspecting.INFECTED)
                    await deliver.record_changes(tx, [failed], now)
                    await self._with.guard.record(tx, *key, found, rejected, now)
                elif isinstance(files, FetchFailed):
                    await deliver.record_changes(tx, [Change(*key, "failed", error_code=files.code)], now)
                    alert = monitor.NewAlert(
                        account_sid=key[0], error_code=files.code, text=files.reason, resource_sid=key[1]
                    )
                    await monitor.record(tx, [alert], now)
                else:
                    rows = [(new_sid("ME", now), file.content_type, file.data) for file in files]
                    await store.insert_media(tx, *key, rows, now)
                    await queues.join(tx, self._with.till.queues, Waiting(*key, message["sender"], 1), now)
                await run.complete(tx, [job])

    async def _look_through(self, files: Sequence[Fetched]) -> tuple[str, bytes]:
        for file in files:
            found = await self._with.guard.look([file.data])
            if found:
                return found, file.data
        return "", b""

    async def _wait_for_scanner(self, run: jobs.Run, job: jobs.Job, error: str) -> None:
        """Ask again later, as long as the message may wait: nothing goes out that nobody looked through."""
        async with run.transaction() as tx:
            now = self._at()
            if now - _queued_at(job) > QUEUE_LIFE:
                expired = [Change(*key, "failed", error_code=deliver.VALIDITY_EXPIRED) for key in _keys(job)]
                await deliver.record_changes(tx, expired, now)
                await run.complete(tx, [job])
            else:
                await run.retry(tx, job, due_at=now + UNREACHABLE_PAUSE, error=error)

    async def _fetch_files(self, urls: Sequence[str], most: int) -> list[Fetched] | FetchFailed:
        results = await asyncio.gather(*(self._with.media.fetch(url, bytes_max=most) for url in urls))
        files: list[Fetched] = []
        for result in results:
            if isinstance(result, FetchFailed):
                return result
            files.append(result)
        return files

    async def settle(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Charge or free messages whose end is known."""
        async with run.transaction() as tx:
            await money.settle(tx, self._with.till.meter, run, batch)

    async def smpp_submit_parts(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Let go what came of long messages whose other parts never did."""
        desk = smpp.Desk(self._with.senders, self._with.till, self._with.accounts.statuses)
        async with run.transaction() as tx:
            for job in batch:
                await desk.give_up(tx, *_key(job), self._at())
            await run.complete(tx, batch)

    async def media_retention(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Remove files that their accounts keep no longer."""
        for job in batch:
            async with run.transaction() as tx:
                await keeping.remove_old(tx, job, self._at())
                await run.complete(tx, [job])

    async def status_callback(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Call statuses of messages back."""
        ends = await asyncio.gather(*(self._callbacks.run(run, job) for job in batch), return_exceptions=True)
        for error in ends:
            if error is not None:
                raise error

    async def inbound_webhook(self, run: jobs.Run, batch: list[jobs.Job]) -> None:
        """Announce an inbound message to its webhook and do what the answer asks for."""
        for job in batch:
            account_sid, sid = _key(job)
            async with run.transaction() as tx:
                message = await store.fetch(tx, account_sid, sid)
                if message is None:
                    continue
                line = (await self._lines(tx, [message["recipient"]])).get(message["recipient"])
                statuses = await self._with.accounts.statuses(tx, [account_sid])
                # So may the service, whose messages are then the number's.
                service_sid = message["messaging_service_sid"]
                service = await pools.fetch_service(tx, account_sid, service_sid) if service_sid else None
                # The number may have been given up, or the account stopped, since the message came.
                if line is None or line.account_sid != account_sid or statuses.get(account_sid) != "active":
                    continue
                media = await store.media_sids(tx, account_sid, sid)
                brought = await channel_fields.brought(tx, message)
                cookies = await store.cookies(tx, account_sid, message["recipient"], message["sender"], self._at())
            line = replace(line, sms=pool.webhook_of(line, service))
            if not line.sms.url:
                continue
            token = await self._with.accounts.signing_token(account_sid)
            conversation = respond.Conversation(
                self._with.callbacks,
                self._with.clock,
                message,
                line,
                respond.inbound_params(message, line, media, job.payload.get("opt_out_type"))
                if brought is None
                else channel_fields.inbound_params(message, brought, media, job.payload.get("opt_out_type")),
                signing_token=token,
                idempotency_token=job.payload["token"],
                cookies=cookies,
            )
            outcome = await conversation.run()
            async with run.transaction() as tx:
                now = self._at()
                refused = await send.admit(tx, self._with.senders, self._with.till, outcome.replies)
                for refusal in refused.values():
                    conversation.refuse(refusal)
                await log_attempts(tx, account_sid, sid, "inbound", outcome.attempts, now)
                await monitor.record(tx, outcome.alerts, now)
                await store.set_cookies(tx, account_sid, message["recipient"], message["sender"], outcome.cookies)
                await run.complete(tx, [job])


def _queued_at(job: jobs.Job) -> datetime:
    """Return when a message's time in the queue began: what had to wait for its hour began then."""
    since = job.payload.get("since")
    return job.created_at if since is None else datetime.fromisoformat(since)


def _keys(job: jobs.Job) -> list[tuple[str, str]]:
    account_sid = job.account_sid
    assert account_sid is not None
    return [(account_sid, sid) for sid in job.payload["sids"]]


def _key(job: jobs.Job) -> tuple[str, str]:
    assert job.account_sid is not None
    return job.account_sid, job.payload["sid"]
