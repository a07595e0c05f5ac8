"""The SMPP carriers behind the port of messages: routes, links, receipts.

Theory of operation. A submit picks each message's route and link, writes the parts down (one statement, one commit),
and only then gives them to the links: whatever is on a connection is known after a crash. What links report gathers,
and one task works it off: everything that came meanwhile is one transaction, in which answers come before receipts. A
deliver_sm is answered after that transaction's commit, so the SMSC keeps what we did not.

    written down     the parts are in smpp_parts without a name
    answered         they have the carrier's names; the message is submitted once all do
    ended            a receipt for each part: delivered when all are, undelivered with the first that is not
    unanswered       the carrier may have it. It goes out again only where the operator allows duplicates; else the
                     receipt, which has the same sender and recipient, tells, or it fails after `ambiguous_s`

Each link is one node's at a time (leases.py). Where the best route leads over a link of another node, the message is
handed over to it (handover.py), and followed like one that goes unanswered.

A receipt whose message has no name yet is kept, and found again when the name comes. A submit waits for answers for
`patience_s` only: what takes longer is followed, and reported to the sink as sent, failed or with its receipt.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import asyncpg
import msgspec

from onterms.carriers.smpp import model, store
from onterms.carriers.smpp.handover import Handover
from onterms.carriers.smpp.intake import Intake, Taken
from onterms.carriers.smpp.leases import LinkLeases
from onterms.carriers.smpp.link import REPEATS_MAX, Link, Outgoing
from onterms.carriers.smpp.model import CarrierRow, Network, Quality, Route, Routes
from onterms.carriers.smpp.numbering import Numbering
from onterms.core.clock import Clock
from onterms.core.db import Database, Row
from onterms.core.errors import ConfigError
from onterms.core.following import Follower
from onterms.core.vault import Vault
from onterms.ports.message_carrier import (
    MessageSink,
    OutboundMessage,
    Refused,
    SubmitOutcome,
    Submitted,
    Unknown,
    Unreachable,
)
from onterms.protocols.smpp import Session, parts
from onterms.protocols.smpp.pdu import Address, QuerySm, SubmitSm

_log = logging.getLogger("onterms.smpp")

NAME: Final = "smpp"
# Ours: longer than a good carrier needs to answer, and short enough that others do not wait behind a bad one.
PATIENCE_S: Final = 2.0
# What one transaction works off; more would keep the first ones waiting.
BATCH_MAX: Final = 500
OUTAGE_PAUSE_S: Final = 1.0
KEEPING_S: Final = 5.0
# Ours: how late the end of a link's pause may be noticed.
ROOM_POLL_S: Final = 0.05
QUALITY_BUCKET: Final = timedelta(minutes=10)
# Carriers give up after three days at most, and their receipts come a little later.
RECEIPT_AFTER: Final = timedelta(days=7)
# Receipts overtake submit responses by seconds; a late word on a message that ended needs no keeping at all.
RECEIPT_KEPT: Final = timedelta(hours=1)
SWEEP_MAX: Final = 500
# Ours: nodes speak of their links every five seconds.
LINK_WORD: Final = timedelta(seconds=20)
LINK_FORGOTTEN: Final = timedelta(days=1)

_OUTAGES: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Networks(Protocol):
    """A number lookup: where numbers are at home."""

    async def __call__(self, numbers: Sequence[str]) -> Mapping[str, Network]:
        """Return what is known; numbers that are not are absent."""
        ...


@dataclass(slots=True, eq=False)
class _Batch:
    """Who waits for the outcomes of one submit."""

    open: int
    done: "asyncio.Future[None]"
    outcomes: dict[str, SubmitOutcome] = field(default_factory=dict)

    def settle(self, sid: str, outcome: SubmitOutcome) -> None:
        self.outcomes[sid] = outcome
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result(None)


class SmppCarrier:
    """Carriers reached by SMPP: a `MessageCarrier` for the messages that a route carries.

    Units: `patience_s` is how long a submit waits for answers. Shapes: `networks` looks numbers up where routes name
    networks, and without it the operator's numbering table does; `random` returns floats from 0 to 1.
    """

    name: str = NAME
    repeats_are_safe: bool = True

    def __init__(
        self,
        database: Database,
        clock: Clock,
        vault: Vault,
        sink: MessageSink,
        *,
        node: str,
        random: Callable[[], float],
        networks: Networks | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault
        self._node = node
        self._random = random
        self._networks = networks
        self._patience_s = patience_s
        self._intake = Intake(sink)
        self._follower = Follower(database, store.CHANNEL, self._reload)
        self._handover = Handover(database, sink, NAME)
        self._handed = Follower(database, store.HANDOVERS, self._take_over)
        self._leases = LinkLeases(database, self._lose_links)
        self._settling = asyncio.Lock()
        self._numbering = Numbering()
        # Carriers with a bound link at another node.
        self._elsewhere: set[str] = set()
        self._routes = Routes()
        self._quality: dict[str, Quality] = {}
        self._carriers: dict[str, CarrierRow] = {}
        self._links: dict[str, list[Link]] = {}
        self._since: dict[Link, tuple[int, datetime]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Messages here whose end on their link is not reached, by SID.
        self._under_way: dict[str, Outgoing] = {}
        # What waits for any link of its carrier, because parts of it are out already.
        self._held: dict[str, list[Outgoing]] = {}
        self._finished: list[Outgoing] = []
        self._arrived: list[Taken] = []
        self._news = asyncio.Event()
        self._bound = asyncio.Event()
        # Set when a link may have room again.
        self._room = asyncio.Event()
        self._reference = int(random() * 0xFFFF)
        self._is_stopping = False
        self._has_carriers = False

    # ---- its life

    async def start(self) -> None:
        """Bind to all carriers, and follow what the operator changes."""
        self._spawn(self._work())
        await self._follower.start()
        await self._handed.start()
        self._spawn(self._keep_house())

    async def close(self) -> None:
        """Unbind, and write down what came until then."""
        self._is_stopping = True
        await self._handed.close()
        await self._follower.close()
        await asyncio.gather(*(link.stop() for links in self._links.values() for link in links))
        if self._finished or self._arrived:
            try:
                await self._work_off()
            except _OUTAGES as error:
                _log.warning("what the links said last is not written down: %s", type(error).__name__)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._leases.close()
        try:
            await self._save_links()
        except _OUTAGES as error:
            _log.warning("the links' end is not written down: %s", type(error).__name__)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        async with self._database.snapshot() as tx:
            rows = await store.carriers(tx)
            routes = await store.live_routes(tx)
            self._quality = await store.quality(tx, self._clock.now() - store.QUALITY_WINDOW)
            self._numbering = Numbering(await store.networks(tx)) if any(route.mcc for route in routes) else Numbering()
        wanted: dict[str, CarrierRow] = {}
        for row in rows:
            try:
                password = self._vault.unseal(row["password"], row["sid"]) if row["password"] else ""
                settings = store.settings_of(row)
            except (ConfigError, msgspec.ValidationError) as error:
                _log.error("carrier %s cannot be used: %s", row["name"], error)
                continue
            if settings.enabled:
                wanted[row["sid"]] = CarrierRow(row["sid"], row["name"], settings, password)
        self._has_carriers = bool(rows)
        self._routes = Routes([route for route in routes if route.carrier_sid in wanted])
        for sid in {**self._carriers, **wanted}:
            if self._carriers.get(sid) != wanted.get(sid):
                self._end_links(self._links.pop(sid, []))
        self._carriers = wanted
        await self._settle_links()

    async def _settle_links(self) -> None:
        """Hold as many of the carriers' links as no other node has, and run those."""
        async with self._settling:
            if self._is_stopping:
                return
            binds = {
                (sid, number): bind
                for sid, row in self._carriers.items()
                for number, bind in enumerate(row.settings.binds, 1)
            }
            held = await self._leases.hold(binds)
            for sid, links in list(self._links.items()):
                self._end_links([link for link in links if (sid, link.number) not in held])
                self._links[sid] = [link for link in links if (sid, link.number) in held]
            for sid, number in sorted(held):
                links = self._links.setdefault(sid, [])
                if all(link.number != number for link in links):
                    link = Link(self._carriers[sid], number, binds[sid, number], self, random=self._random)
                    links.append(link)
                    self._spawn(link.run())

    def _end_links(self, links: Sequence[Link]) -> None:
        for link in links:
            self._since.pop(link, None)
            self._spawn(link.stop())

    def _lose_links(self) -> None:
        # Another node may have them by now.
        for sid in list(self._links):
            self._end_links(self._links.pop(sid))

    async def _take_over(self) -> None:
        """Send what other nodes took for carriers that have a link here."""
        while not self._is_stopping:
            mine = [sid for sid in self._links if self._free_link(sid) is not None]
            if not mine or not await self._handover.take(mine, self._submit_here, self._clock.now()):
                return

    # ---- from us to carriers

    @property
    def has_carriers(self) -> bool:
        """Whether there is any carrier, so that messages may be under way with one."""
        return self._has_carriers

    async def carried(self, messages: Sequence[OutboundMessage]) -> set[str]:
        """Return which messages are this carrier's: those with a route, and those handed over before."""
        if not self._has_carriers:
            return set()
        routes = await self._routes_of(messages)
        mine = {sid for sid, found in routes.items() if found}
        rest = [message.sid for message in messages if message.sid not in mine]
        if rest:
            async with self._database.snapshot() as tx:
                mine |= await store.known(tx, rest)
        return mine

    async def _routes_of(self, messages: Sequence[OutboundMessage]) -> dict[str, list[Route]]:
        networks: Mapping[str, Network | None] = {}
        if self._routes.names_networks:
            recipients = {message.recipient for message in messages}
            if self._networks is not None:
                networks = await self._networks(list(recipients))
            else:
                networks = {number: self._numbering.network_of(number) for number in recipients}
        of, quality = self._routes.of, self._quality
        return {message.sid: of(message.recipient, quality, networks.get(message.recipient)) for message in messages}

    async def submit(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        """Hand messages over, in order, and return one outcome each."""
        return await self._submit(messages, may_hand_over=True)

    async def _submit_here(self, messages: Sequence[OutboundMessage]) -> list[SubmitOutcome]:
        return await self._submit(messages, may_hand_over=False)

    async def _submit(self, messages: Sequence[OutboundMessage], *, may_hand_over: bool) -> list[SubmitOutcome]:
        if not messages:
            return []
        routes = await self._routes_of(messages)
        if not any(self._pick(found) for found in routes.values() if found):
            # Most likely the program just started, and the links are on their way.
            await self._wait_for_links({route.carrier_sid for found in routes.values() for route in found})
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        outcomes: dict[str, SubmitOutcome] = {}
        batch = _Batch(0, loop.create_future())
        sent: list[Outgoing] = []
        waiting = list({message.sid: message for message in messages}.values())
        while True:
            # Only as many are written down as the links take at once.
            waiting = await self._send_on(waiting, routes, outcomes, batch, sent, may_hand_over=may_hand_over)
            left_s = deadline - loop.time()
            if not waiting or left_s <= 0:
                break
            self._room.clear()
            # A pause of a link ends without anybody telling.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, ROOM_POLL_S)):
                    await self._room.wait()
        for message in waiting:
            outcomes[message.sid] = Unreachable("the links are busy")
        if batch.open:
            await asyncio.wait([batch.done], timeout=max(0.0, deadline - loop.time()))
            if batch.open:
                await self._lose_patience(batch, [item for item in sent if item.batch is batch])
        outcomes |= batch.outcomes
        return [outcomes[message.sid] for message in messages]

    async def _send_on(
        self,
        messages: Sequence[OutboundMessage],
        routes: Mapping[str, Sequence[Route]],
        outcomes: dict[str, SubmitOutcome],
        batch: _Batch,
        sent: list[Outgoing],
        *,
        may_hand_over: bool,
    ) -> list[OutboundMessage]:
        """Send those messages whose links have room, settle those that cannot be sent, and return the others."""
        at = self._clock.now()
        items: dict[str, tuple[Outgoing, Link]] = {}
        unrouted: list[OutboundMessage] = []
        waiting: list[OutboundMessage] = []
        others: list[tuple[str, OutboundMessage]] = []
        for message in messages:
            if message.sid in self._under_way:
                outcomes[message.sid] = Unknown("it is under way already", is_followed=True)
                continue
            picked = self._pick(routes[message.sid])
            if message.media_urls:
                outcomes[message.sid] = Refused(model.NO_MEDIA, "SMPP carries no media", NAME)
            elif isinstance(picked, str) and may_hand_over:
                others.append((picked, message))
                outcomes[message.sid] = Unknown("it goes over another node's link", is_followed=True)
            elif isinstance(picked, tuple):
                link = picked[1]
                if link.room <= 0:
                    waiting.append(message)
                    continue
                items[message.sid] = self._outgoing(message, *picked, at), link
                link.reserved += 1
            elif routes[message.sid]:
                outcomes[message.sid] = Unreachable("no link of its routes is bound")
            else:
                unrouted.append(message)
        if others:
            async with self._database.transaction() as tx:
                await self._handover.give(tx, others, at)
        if not items and not unrouted:
            return waiting
        try:
            again = await self._write_down(items, unrouted, outcomes, at)
        finally:
            for _, link in items.values():
                link.reserved -= 1
        for sid, (item, link) in items.items():
            if sid in outcomes:
                continue
            if not batch.open and batch.done.done():
                batch.done = asyncio.get_running_loop().create_future()
            batch.open += 1
            item.batch = batch
            self._under_way[sid] = item
            sent.append(item)
            if link.is_usable:
                link.send(item)
            else:
                # It was lost while the message was written down.
                self._reroute(item)
        for item in again:
            self._under_way[item.message.sid] = item
            self._reroute(item)
        return waiting

    async def _write_down(
        self,
        items: dict[str, tuple[Outgoing, Link]],
        unrouted: Sequence[OutboundMessage],
        outcomes: dict[str, SubmitOutcome],
        at: datetime,
    ) -> list[Outgoing]:
        """Write parts down before they go; settle what an earlier life handed over, and return what goes again."""
        again: list[Outgoing] = []
        new = [
            store.NewPart(
                sid,
                number,
                len(item.pdus),
                item.message.account_sid,
                item.carrier.sid,
                item.route.sid,
                pdu.source.number,
                pdu.destination.number.removeprefix("+"),
            )
            for sid, (item, _) in items.items()
            for number, pdu in enumerate(item.pdus)
        ]
        async with self._database.transaction() as tx:
            fresh = await store.put_parts(tx, new, at) if new else set()
            repeats = [items[sid][0].message for sid in fresh if items[sid][0].message.is_repeat]
            for sid in await self._intake.drop_ended(tx, repeats):
                outcomes[sid] = Unknown("its receipt came meanwhile", is_followed=True)
            repeated = [sid for sid in items if sid not in fresh] + [message.sid for message in unrouted]
            rows = await store.parts_of(tx, repeated) if repeated else {}
            lost: list[str] = []
            for sid in repeated:
                before = rows.get(sid)
                if before is None:
                    outcomes[sid] = Refused(model.NO_ROUTE, "no route carries it", NAME)
                elif all(row["carrier_id"] for row in before):
                    outcomes[sid] = Submitted(before[0]["given_id"], NAME)
                elif sid in items and self._resume(items[sid][0], before):
                    again.append(items[sid][0])
                    outcomes[sid] = Unknown("it goes out again", is_followed=True)
                else:
                    lost.append(sid)
                    outcomes[sid] = Unknown("it was handed over before a crash", is_followed=True)
            # The receipt may have come before, as soon as the link was there again.
            done = await self._intake.give_up_answers(tx, lost, at) if lost else []
        self._count_ends(done)
        return again

    def _resume(self, item: Outgoing, before: Sequence[Row]) -> bool:
        """Let what was not answered go again, where duplicates are allowed and the carrier is the same."""
        carrier = item.carrier
        if not carrier.settings.allow_duplicates or len(before) != len(item.pdus):
            return False
        if before[0]["carrier_sid"] != carrier.sid:
            return False
        item.ids = [row["given_id"] for row in before]
        item.todo = [number for number, given in enumerate(item.ids) if given is None]
        return True

    def _outgoing(self, message: OutboundMessage, route: Route, link: Link, at: datetime) -> Outgoing:
        row = self._carriers[route.carrier_sid]
        settings = row.settings
        self._reference = self._reference + 1 & 0xFFFF
        source = model.source_of(settings, message.sender)
        destination = model.destination_of(settings, message.recipient)
        left_s = (message.valid_until - at).total_seconds() if message.valid_until is not None else None
        validity = model.validity_of(settings, left_s)
        pdus = [
            SubmitSm(
                service_type=settings.service_type,
                source=source,
                destination=destination,
                esm_class=part.esm_class,
                validity_period=validity,
                registered_delivery=settings.registered_delivery,
                data_coding=part.data_coding,
                short_message=part.short_message,
                tlvs=part.tlvs,
            )
            for part in parts(message.body, self._reference, alphabet=settings.alphabet, long=settings.long)
        ]
        return Outgoing(message, row, route, pdus, [None] * len(pdus), list(range(len(pdus))))

    def _pick(self, routes: Iterable[Route]) -> tuple[Route, Link] | str | None:
        """Return the best route that has a link now, with its least busy link; of another node's, only the carrier."""
        for route in routes:
            link = self._free_link(route.carrier_sid)
            if link is not None:
                return route, link
            if route.carrier_sid in self._elsewhere:
                return route.carrier_sid
        return None

    def _free_link(self, carrier_sid: str) -> Link | None:
        usable = [link for link in self._links.get(carrier_sid, ()) if link.is_usable]
        if len(usable) < 2:
            return usable[0] if usable else None
        return max(usable, key=lambda link: (link.room > 0, -link.load))

    async def _wait_for_links(self, carrier_sids: set[str]) -> None:
        links = [link for sid in carrier_sids for link in self._links.get(sid, ())]
        if any(link.state in ("connecting", "binding") for link in links):
            self._bound.clear()
            try:
                async with asyncio.timeout(self._patience_s / 2):
                    await self._bound.wait()
            except TimeoutError:
                return

    async def _lose_patience(self, batch: _Batch, items: Sequence[Outgoing]) -> None:
        """Take back what did not leave, and follow the rest without anybody waiting."""
        withdrawn: list[str] = []
        links: set[Link] = set()
        for item in items:
            # What is done waits only for our own database, as everything does.
            if item.is_done:
                continue
            sid, link = item.message.sid, item.link
            item.batch = None
            if link is not None and link.withdraw(item):
                links.add(link)
                withdrawn.append(sid)
                del self._under_way[sid]
                batch.settle(sid, Unreachable("the links are busy"))
            else:
                batch.settle(sid, Unknown("no answer came in time", is_followed=True))
        for link in links:
            link.forget_withdrawn()
        if withdrawn:
            async with self._database.transaction() as tx:
                await store.drop(tx, withdrawn)
        if batch.open:
            await batch.done

    # ---- what links report (LinkOwner)

    def finished(self, item: Outgoing) -> None:
        """Take a message of which every part is answered, or will never be."""
        item.is_done = True
        self._room.set()
        self._finished.append(item)
        self._news.set()

    def stranded(self, items: Sequence[Outgoing]) -> None:
        """Send on what was on a link that ended."""
        for item in items:
            self._reroute(item)

    def _reroute(self, item: Outgoing) -> None:
        """Find another link for what is not out: of any route while nothing is, else of the same carrier."""
        may_repeat = item.carrier.settings.allow_duplicates and item.repeats < REPEATS_MAX
        item.todo = [
            number
            for number, given in enumerate(item.ids)
            if given is None and (may_repeat or number not in item.unanswered)
        ]
        if item.is_untouched and item.batch is not None:
            if not self._is_stopping:
                link = self._free_link(item.carrier.sid)
                if link is not None:
                    link.send(item)
                    return
            # Nobody has it: the caller tries again, by another route if there is one.
            item.is_given_back = True
            self.finished(item)
            return
        if not item.todo or self._is_stopping or item.refusal is not None:
            self.finished(item)
            return
        if item.unanswered:
            item.repeats += 1
        link = self._free_link(item.carrier.sid)
        if link is not None:
            link.send(item)
        else:
            self._held.setdefault(item.carrier.sid, []).append(item)

    def arrived(self, link: Link, session: Session, pdu: Any) -> None:
        """Take a message or receipt."""
        self._arrived.append(Taken(link, session, pdu))
        self._news.set()

    def bound(self, link: Link) -> None:
        """Let waiting messages go."""
        self._bound.set()
        self._room.set()
        # Others learn of it at once, and what they took for it comes over.
        self._spawn(self._look_around())
        if link.is_usable:
            for item in self._held.pop(link.row.sid, []):
                link.send(item)

    def query_answered(self, tag: Any, pdu: Any) -> None:
        """Take what an SMSC says of a message that it was asked about."""
        if pdu is not None and pdu.status == 0:
            self._arrived.append(Taken(tag.link, None, pdu, tag))
            self._news.set()

    # ---- working off what came

    async def _work(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                while self._finished or self._arrived:
                    await self._work_off()
            except _OUTAGES as error:
                _log.warning("the links' news wait for the database: %s", type(error).__name__)
                await asyncio.sleep(OUTAGE_PAUSE_S)
                self._news.set()

    async def _work_off(self) -> None:
        finished, self._finished = self._finished[:BATCH_MAX], self._finished[BATCH_MAX:]
        arrived, self._arrived = self._arrived[:BATCH_MAX], self._arrived[BATCH_MAX:]
        try:
            await self._work_off_one(finished, arrived)
        except _OUTAGES:
            self._finished[:0] = finished
            self._arrived[:0] = arrived
            raise
        except Exception:
            # One that cannot be taken must not take the others down; alone it is refused, and the SMSC decides.
            if len(finished) + len(arrived) > 1:
                for item in finished:
                    await self._work_off_alone([item], [])
                for taken in arrived:
                    await self._work_off_alone([], [taken])
            else:
                await self._work_off_alone(finished, arrived)

    async def _work_off_alone(self, finished: list[Outgoing], arrived: list[Taken]) -> None:
        try:
            await self._work_off_one(finished, arrived)
        except _OUTAGES:
            self._finished[:0] = finished
            self._arrived[:0] = arrived
            self._news.set()
        except Exception:
            _log.exception("a carrier's word cannot be taken")
            for taken in arrived:
                self._intake.refuse(taken)
            for item in finished:
                self._under_way.pop(item.message.sid, None)
                if item.batch is not None:
                    item.batch.settle(item.message.sid, Unknown("its answer was not written down", is_followed=True))

    async def _work_off_one(self, finished: list[Outgoing], arrived: list[Taken]) -> None:
        at = self._clock.now()
        async with self._database.transaction() as tx:
            done = await self._intake.take(tx, finished, arrived, at)
        for item in finished:
            self._under_way.pop(item.message.sid, None)
            if item.batch is not None:
                item.batch.settle(item.message.sid, self._intake.outcome_of(item))
        self._count_ends(done)
        for taken in arrived:
            self._intake.answer(taken)

    def _count_ends(self, done: Sequence[tuple[str, bool]]) -> None:
        for route_sid, is_delivered in done:
            counted = self._intake.counted.setdefault(route_sid, Quality())
            if is_delivered:
                counted.delivered += 1
            else:
                counted.undelivered += 1

    # ---- housekeeping

    async def _keep_house(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(KEEPING_S)
            try:
                if self._has_carriers or self._since:
                    await self._settle_links()
                    await self._look_around()
                    await self._save_quality()
                # The rest is about minutes and hours.
                if turn % 6 == 0:
                    await self.sweep()
            except _OUTAGES as error:
                _log.warning("the carriers' state is not written down: %s", type(error).__name__)
            except Exception:
                # Links and receipts go on, and so must the next turn.
                _log.exception("the carriers' housekeeping failed")
            turn += 1

    async def _look_around(self) -> None:
        """Say how the links here are, learn of those elsewhere, and send what waits for these."""
        try:
            await self._save_links()
            at = self._clock.now()
            async with self._database.transaction() as tx:
                self._elsewhere = await store.bound_elsewhere(tx, self._node, at - LINK_WORD)
                await store.forget_links(tx, at - LINK_FORGOTTEN)
            await self._take_over()
        except _OUTAGES as error:
            _log.warning("the links elsewhere are not known: %s", type(error).__name__)

    async def _save_links(self) -> None:
        at = self._clock.now()
        rows: list[store.LinkRow] = []
        for sid, links in self._links.items():
            for link in links:
                if self._since.get(link, (-1, at))[0] != link.changes:
                    self._since[link] = link.changes, at
                counters = link.counters
                rows.append(
                    store.LinkRow(
                        sid,
                        link.number,
                        link.bind,
                        link.state,
                        self._since[link][1],
                        link.under_way,
                        link.queued,
                        link.is_throttled,
                        link.last_error,
                        counters.segments,
                        counters.refused,
                        counters.throttled,
                        counters.receipts,
                        counters.inbound,
                    )
                )
        async with self._database.transaction() as tx:
            await store.save_links(tx, self._node, rows, at)

    async def _save_quality(self) -> None:
        counted, self._intake.counted = self._intake.counted, {}
        at = self._clock.now()
        bucket = at - (at - datetime.min.replace(tzinfo=at.tzinfo)) % QUALITY_BUCKET
        async with self._database.transaction() as tx:
            if counted:
                await store.count_ends(tx, counted, bucket)
            self._quality = await store.quality(tx, at - store.QUALITY_WINDOW)

    async def sweep(self) -> None:
        """Give up what waited too long, ask the SMSCs that can be asked, and drop what nobody will ask for."""
        at = self._clock.now()
        for carrier in list(self._carriers.values()):
            settings = carrier.settings
            async with self._database.transaction() as tx:
                late = await store.given_up(tx, carrier.sid, at - timedelta(seconds=settings.ambiguous_s), SWEEP_MAX)
                # What is still on a link here has not been given up by it.
                late = [row for row in late if row["sid"] not in self._under_way]
                await self._intake.give_up(tx, late, at)
            if settings.query_after_s:
                await self._query(carrier, at)
        async with self._database.transaction() as tx:
            before = at - timedelta(seconds=model.AMBIGUOUS_S)
            late = await store.given_up_elsewhere(tx, list(self._carriers), before, SWEEP_MAX)
            await self._intake.give_up(tx, late, at)
            await self._intake.overdue(tx, at)
            await store.forget_receipts(tx, at - RECEIPT_KEPT)
            await store.forget_without_receipt(tx, at - RECEIPT_AFTER)

    async def _query(self, carrier: CarrierRow, at: datetime) -> None:
        link = self._free_link(carrier.sid)
        if link is None:
            return
        settings = carrier.settings
        async with self._database.transaction() as tx:
            rows = await store.to_query(
                tx, carrier.sid, at - timedelta(seconds=settings.query_after_s), at, settings.window
            )
        for row in rows:
            source = model.source_of(settings, row["sender"])
            if row["sender"].isdigit() and len(row["sender"]) > 6:
                source = Address(settings.long_ton, settings.long_npi, row["sender"])
            asked = Asked(link, row["carrier_id"], row["sender"], row["recipient"])
            if not link.ask(QuerySm(message_id=row["given_id"], source=source), asked):
                return


@dataclass(frozen=True, slots=True)
class Asked:
    """What a query_sm was about."""

    link: Link
    carrier_id: str
    sender: str
    recipient: str
