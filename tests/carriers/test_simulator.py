"""The simulator carrier, through its port, its API and a sink that remembers."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from onterms.carriers.simulator import (
    FaultyCallbacks,
    SimulatorApi,
    SimulatorCarrier,
)
from onterms.carriers.simulator.api import NewSetting
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import NotFound, Refusal
from onterms.core.ids import new_sid
from onterms.engines.api.own import OwnReply, OwnRequest
from onterms.engines.jobs import Worker
from onterms.ports.callback import Answer, Callback
from onterms.ports.media import Fetched, FetchFailed
from onterms.ports.message_carrier import (
    InboundMedia,
    InboundMessage,
    MessageCarrier,
    MessageSink,
    OutboundMessage,
    Receipt,
    Refused,
    Submitted,
    Unknown,
    Unreachable,
)

OURS = "+14155550100"
HANDSET = "+14155550123"
OTHER = "+447700900123"


@dataclass
class Sink:
    """A messaging room that owns some numbers and remembers what it was told."""

    clock: VirtualClock
    owned: set[str] = field(default_factory=lambda: {OURS})
    receipts: list[Receipt] = field(default_factory=list)
    receipts_at: list[datetime] = field(default_factory=list)
    inbound: list[InboundMessage] = field(default_factory=list)
    calls: int = 0

    async def receipts_arrived(self, tx: Tx, receipts: Sequence[Receipt]) -> None:
        self.calls += 1

        def remember() -> None:
            self.receipts += receipts
            self.receipts_at += [self.clock.now()] * len(receipts)

        tx.after_commit(remember)

    async def look_through(self, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
        return list(messages)

    async def messages_arrived(self, tx: Tx, messages: Sequence[InboundMessage]) -> list[str | None]:
        tx.after_commit(lambda: self.inbound.extend(messages))
        return [new_sid("SM", message.at) if message.recipient in self.owned else None for message in messages]


@dataclass
class Simulator:
    """A carrier with its API, its sink and a worker that is stepped by the test."""

    database: Database
    clock: VirtualClock
    sink: Sink
    carrier: SimulatorCarrier
    api: SimulatorApi
    worker: Worker

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> OwnReply:
        """Call a route as the HTTP edge does."""
        for route in self.api.routes():
            names = _match(route.pattern, path)
            if route.method == method and names is not None:
                request = OwnRequest(method, names, query, body or {}, self.clock.now())
                if route.free_handler is not None:
                    return await route.free_handler(request)
                assert route.handler is not None
                async with self.database.transaction() as tx:
                    return await route.handler(tx, request)
        raise AssertionError(f"no route for {method} {path}")

    async def received(self, number: str = HANDSET, **query: str) -> Any:
        return (await self.call("GET", f"/simulator/v1/handsets/{number}/messages", None, **query)).body

    async def send(self, number: str = HANDSET, **body: Any) -> OwnReply:
        return await self.call("POST", f"/simulator/v1/handsets/{number}/messages", body)

    async def inject(self, **body: Any) -> Any:
        reply = await self.call("POST", "/simulator/v1/faults", body)
        assert reply.status == 201
        return reply.body

    async def setting(self, number: str = HANDSET, **body: Any) -> OwnReply:
        return await self.call("POST", f"/simulator/v1/handsets/{number}", body)

    def pass_time(self, seconds: float) -> None:
        self.clock.hold(self.clock.now() + timedelta(seconds=seconds))
        self.worker.clock_changed()


def _match(pattern: str, path: str) -> dict[str, str] | None:
    wanted, given = pattern.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    names = {}
    for want, have in zip(wanted, given, strict=True):
        if want.startswith("{"):
            names[want[1:-1]] = have
        elif want != have:
            return None
    return names


@asynccontextmanager
async def _simulator(database: Database, clock: VirtualClock, name: str, **options: Any) -> AsyncIterator[Simulator]:
    sink = Sink(clock)
    carrier = SimulatorCarrier(database, clock, sink, **options)
    worker = Worker(database, clock, name=name)
    carrier.register(worker)
    await carrier.start()
    running = asyncio.create_task(worker.run())
    try:
        yield Simulator(database, clock, sink, carrier, SimulatorApi(carrier), worker)
    finally:
        await worker.settle()
        await worker.stop(5)
        await running
        await carrier.close()


@pytest.fixture
async def simulator(database: Database, clock: VirtualClock) -> AsyncIterator[Simulator]:
    async with _simulator(database, clock, "one") as simulator:
        yield simulator


def message(recipient: str = HANDSET, body: str = "hello", **changes: Any) -> OutboundMessage:
    made = OutboundMessage(
        sid=new_sid("SM", datetime.fromisoformat("2030-01-01T12:00:00Z")),
        account_sid="AC" + "1" * 32,
        sender=OURS,
        recipient=recipient,
        body=body,
        media_urls=(),
        segments=1,
        encoding="GSM-7",
    )
    return replace(made, **changes)


def test_the_carrier_and_the_sink_fit_the_port(database: Database, clock: VirtualClock) -> None:
    sink: MessageSink = Sink(clock)
    carrier: MessageCarrier = SimulatorCarrier(database, clock, sink)
    assert (carrier.name, carrier.repeats_are_safe) == ("simulator", True)


class TestSubmit:
    async def test_a_message_reaches_its_handset_and_its_receipt_the_sink(self, simulator: Simulator) -> None:
        sent = message(
            media_urls=("https://example.com/cat.png",), encoding="UCS-2", segments=2, body="h\u00e9llo \u2603"
        )

        [outcome] = await simulator.carrier.submit([sent])
        await simulator.worker.settle()

        assert isinstance(outcome, Submitted)
        [shown] = await simulator.received()
        assert shown.pop("id") > 0
        assert shown == {
            "direction": "received",
            "sid": sent.sid,
            "from": OURS,
            "to": HANDSET,
            "body": "h\u00e9llo \u2603",
            "media_urls": ["https://example.com/cat.png"],
            "encoding": "UCS-2",
            "segments": 2,
            "at": "2030-01-01T12:00:00Z",
            "channel": "sms",
            "content": None,
        }
        assert simulator.sink.receipts == [
            Receipt(
                "simulator", outcome.carrier_id, sent.account_sid, sent.sid, "delivered", None, simulator.clock.now()
            )
        ]

    async def test_a_batch_keeps_its_order_and_reports_in_few_calls(self, simulator: Simulator) -> None:
        sent = [message(body=f"number {place}") for place in range(600)]

        outcomes = await simulator.carrier.submit(sent)
        await simulator.worker.settle()

        assert len({outcome.carrier_id for outcome in outcomes if isinstance(outcome, Submitted)}) == 600
        assert [shown["body"] for shown in await simulator.received()] == [one.body for one in sent]
        assert {receipt.message_sid for receipt in simulator.sink.receipts} == {one.sid for one in sent}
        assert len(simulator.sink.receipts) == 600
        assert simulator.sink.calls <= 3

    async def test_a_repeat_is_answered_alike_and_arrives_once(self, simulator: Simulator) -> None:
        first, second = message(), message()

        before = await simulator.carrier.submit([first])
        after = await simulator.carrier.submit([first, second, first])
        await simulator.worker.settle()

        assert after[0] == after[2] == before[0]
        assert [shown["sid"] for shown in await simulator.received()] == [first.sid, second.sid]
        assert sorted(receipt.message_sid or "" for receipt in simulator.sink.receipts) == [first.sid, second.sid]

    async def test_nothing_to_submit_is_no_trouble(self, simulator: Simulator) -> None:
        assert await simulator.carrier.submit([]) == []

    async def test_a_channel_address_reaches_the_handset_behind_it(self, simulator: Simulator) -> None:
        await simulator.carrier.submit([message(f"whatsapp:{HANDSET}")])
        assert [shown["to"] for shown in await simulator.received()] == [f"whatsapp:{HANDSET}"]

    async def test_a_message_to_an_owned_number_comes_back_in(self, database: Database, clock: VirtualClock) -> None:
        async def owned(tx: Tx, numbers: Sequence[str]) -> set[str]:
            return {"+14155550199"} & set(numbers)

        async with _simulator(database, clock, "one", numbers_owned=owned) as simulator:
            loop = message("+14155550199", media_urls=("data:text/plain,hi", "https://example.com/never"))
            await simulator.carrier.submit([loop, message()])
            await simulator.worker.settle()

        [inbound] = simulator.sink.inbound
        assert (inbound.sender, inbound.recipient, inbound.body) == (OURS, "+14155550199", "hello")
        # One of its media cannot be had, so it comes with its text alone, as from a real carrier.
        assert inbound.media == ()
        assert len(simulator.sink.receipts) == 2


class TestOutcomes:
    @pytest.mark.parametrize(
        ("setting", "state", "code"),
        [
            ({"outcome": "undelivered"}, "undelivered", 30003),
            ({"outcome": "undelivered", "error_code": 30006}, "undelivered", 30006),
            ({"outcome": "failed"}, "failed", 30008),
            ({"outcome": "delivered"}, "delivered", None),
        ],
    )
    async def test_the_handsets_setting_is_what_the_receipt_says(
        self, simulator: Simulator, setting: dict[str, Any], state: str, code: int | None
    ) -> None:
        await simulator.setting(**setting)

        [outcome] = await simulator.carrier.submit([message()])
        await simulator.worker.settle()

        assert isinstance(outcome, Submitted)
        assert [(receipt.state, receipt.code) for receipt in simulator.sink.receipts] == [(state, code)]
        assert len(await simulator.received()) == (state == "delivered")

    async def test_an_undelivered_message_is_kept_apart_and_still_known(self, simulator: Simulator) -> None:
        await simulator.setting(outcome="undelivered")
        sent = message()

        await simulator.carrier.submit([sent])
        await simulator.call("DELETE", f"/simulator/v1/handsets/{HANDSET}")
        await simulator.carrier.submit([sent])
        await simulator.worker.settle()

        assert await simulator.received() == []
        assert [shown["sid"] for shown in await simulator.received(direction="undelivered")] == [sent.sid]
        assert [receipt.state for receipt in simulator.sink.receipts] == ["undelivered"]

    async def test_a_lost_receipt_never_comes(self, simulator: Simulator) -> None:
        await simulator.setting(outcome="lost_receipt")

        [outcome] = await simulator.carrier.submit([message()])
        simulator.pass_time(90 * 86_400)
        await simulator.worker.settle()

        assert isinstance(outcome, Submitted)
        assert len(await simulator.received()) == 1
        assert simulator.sink.receipts == []

    async def test_a_delayed_receipt_comes_when_it_is_due(self, simulator: Simulator) -> None:
        await simulator.setting(delay_s=3600)
        start = simulator.clock.now()

        await simulator.carrier.submit([message(), message(OTHER)])
        await simulator.worker.settle()
        assert [receipt.done_at - start for receipt in simulator.sink.receipts] == [timedelta()]

        simulator.pass_time(3599)
        await simulator.worker.settle()
        assert len(simulator.sink.receipts) == 1

        simulator.pass_time(1)
        await simulator.worker.settle()
        assert [receipt.done_at - start for receipt in simulator.sink.receipts[1:]] == [timedelta(hours=1)]

    async def test_a_rejected_message_is_refused_and_leaves_nothing(self, simulator: Simulator) -> None:
        await simulator.setting(outcome="reject", error_code=30004)

        [refused, taken] = await simulator.carrier.submit([message(), message(OTHER)])
        await simulator.worker.settle()

        assert isinstance(refused, Refused) and refused.code == 30004
        assert isinstance(taken, Submitted)
        assert await simulator.received(direction="all") == []
        assert len(simulator.sink.receipts) == 1

    async def test_an_unreachable_carrier_takes_the_message_once_it_is_back(self, simulator: Simulator) -> None:
        sent = message()
        await simulator.inject(kind="unreachable", count=1)

        [first] = await simulator.carrier.submit([sent])
        [second] = await simulator.carrier.submit([sent])
        await simulator.worker.settle()

        assert isinstance(first, Unreachable) and isinstance(second, Submitted)
        assert len(await simulator.received()) == len(simulator.sink.receipts) == 1

    async def test_an_unanswered_message_was_taken_and_its_repeat_is_recognised(self, simulator: Simulator) -> None:
        sent = message()
        await simulator.inject(kind="unknown")

        [first] = await simulator.carrier.submit([sent])
        [second] = await simulator.carrier.submit([sent])
        await simulator.worker.settle()

        assert isinstance(first, Unknown) and isinstance(second, Submitted)
        assert len(await simulator.received()) == len(simulator.sink.receipts) == 1

    async def test_a_setting_made_in_another_process_is_felt_at_once(
        self, simulator: Simulator, connect_args: dict[str, Any], clock: VirtualClock
    ) -> None:
        elsewhere = await Database.connect(connect_args)
        try:
            other = SimulatorCarrier(elsewhere, clock, Sink(clock))
            async with elsewhere.transaction() as tx:
                await SimulatorApi(other).set_handset(tx, HANDSET, NewSetting(outcome="reject"))
        finally:
            await elsewhere.close()

        [outcome] = await simulator.carrier.submit([message()])
        assert outcome == Refused(30007, "the simulated carrier rejected the message")


class TestHandsetSends:
    async def test_a_message_for_an_owned_number_reaches_the_sink(self, simulator: Simulator) -> None:
        reply = await simulator.send(to=OURS, body="\u2603" * 71)

        [inbound] = simulator.sink.inbound
        assert (inbound.sender, inbound.recipient, inbound.body, inbound.segments, inbound.media) == (
            HANDSET,
            OURS,
            "\u2603" * 71,
            2,
            (),
        )
        assert inbound.carrier == "simulator"
        assert reply.status == 201
        assert reply.body["sid"].startswith("SM")
        assert {name: reply.body[name] for name in ("from", "to", "segments", "encoding", "at")} == {
            "from": HANDSET,
            "to": OURS,
            "segments": 2,
            "encoding": "UCS-2",
            "at": "2030-01-01T12:00:00Z",
        }
        assert await simulator.received(OURS) == []
        assert [shown["sid"] for shown in await simulator.received(direction="sent")] == [reply.body["sid"]]

    async def test_each_message_has_its_own_carrier_id(self, simulator: Simulator) -> None:
        await simulator.send(to=OURS, body="one")
        await simulator.send(to=OURS, body="one")

        assert len({inbound.carrier_id for inbound in simulator.sink.inbound}) == 2

    @pytest.mark.parametrize("recipient", [OTHER, "12345"])
    async def test_a_message_for_nobodys_number_reaches_the_handset_that_has_it(
        self, simulator: Simulator, recipient: str
    ) -> None:
        reply = await simulator.send(to=recipient, body="hi")

        assert reply.body["sid"] is None
        [shown] = await simulator.received(recipient)
        assert (shown["from"], shown["to"], shown["body"], shown["sid"]) == (HANDSET, recipient, "hi", None)

    @pytest.mark.parametrize("spelling", ["+14155550123", "%2B14155550123", "14155550123", " 14155550123"])
    async def test_the_plus_may_be_escaped_or_missing(self, simulator: Simulator, spelling: str) -> None:
        reply = await simulator.send(spelling, to=OURS, body="hi")
        assert reply.body["from"] == HANDSET

    async def test_a_channel_is_kept_on_both_ends(self, simulator: Simulator) -> None:
        await simulator.send(to=f"whatsapp:{OURS}", body="hi")

        [inbound] = simulator.sink.inbound
        assert (inbound.sender, inbound.recipient) == (f"whatsapp:{HANDSET}", f"whatsapp:{OURS}")

    @pytest.mark.parametrize(
        ("number", "body", "code"),
        [
            (HANDSET, {"body": "hi"}, 21604),
            (HANDSET, {"to": "", "body": "hi"}, 21604),
            (HANDSET, {"to": "nobody", "body": "hi"}, 21211),
            (HANDSET, {"to": "+1415", "body": "hi"}, 21211),
            (HANDSET, {"to": 14155550100, "body": "hi"}, 20001),
            (HANDSET, {"to": OURS}, 21602),
            (HANDSET, {"to": OURS, "body": ""}, 21602),
            (HANDSET, {"to": OURS, "body": 7}, 20001),
            (HANDSET, {"to": OURS, "body": "x" * 1601}, 21617),
            (HANDSET, {"to": OURS, "body": "a\0b"}, 20001),
            (HANDSET, {"to": OURS, "body": "\ud83d"}, 20001),
            (HANDSET, {"to": OURS, "media_urls": "data:,x"}, 21620),
            (HANDSET, {"to": OURS, "media_urls": ["ftp://example.com/x"]}, 21620),
            (HANDSET, {"to": OURS, "media_urls": ["http://example.com/x"]}, 21620),
            (HANDSET, {"to": OURS, "media_urls": ["http://[::1"]}, 21620),
            (HANDSET, {"to": OURS, "media_urls": ["data:image/png;base64,%%%"]}, 21620),
            (HANDSET, {"to": OURS, "media_urls": ["data:image/png"]}, 21620),
            (HANDSET, {"to": OURS, "media_urls": ["data:image/png,"]}, 21620),
            (HANDSET, {"to": OURS, "media_urls": ["data:a b,x"]}, 21620),
            (HANDSET, {"to": OURS, "media_urls": ["data:,x"] * 11}, 21620),
            ("12345", {"to": OURS, "body": "hi"}, 21212),
            ("nobody", {"to": OURS, "body": "hi"}, 21212),
            ("+999", {"to": OURS, "body": "hi"}, 21212),
        ],
    )
    async def test_what_cannot_be_sent_is_refused_and_leaves_nothing(
        self, simulator: Simulator, number: str, body: dict[str, Any], code: int
    ) -> None:
        with pytest.raises(Refusal) as refusal:
            await simulator.send(number, **body)

        assert (refusal.value.code, refusal.value.status) == (code, 400)
        assert simulator.sink.inbound == []
        assert (await simulator.call("GET", "/simulator/v1/handsets")).body == []


class Fetcher:
    """A media fetcher that knows one answer, and has nothing where the URL says so."""

    async def fetch(self, url: str, *, bytes_max: int) -> Fetched | FetchFailed:
        assert bytes_max == 5 * 1024 * 1024
        if "gone" in url:
            return FetchFailed(11200, "the server answered with status 404")
        return Fetched("image/gif", url.encode())


class TestMedia:
    async def test_bytes_of_data_urls_reach_the_sink(self, simulator: Simulator) -> None:
        picture = base64.b64encode(b"\x89PNG").decode()
        reply = await simulator.send(to=OURS, media_urls=[f"data:image/png;base64,{picture}", "data:,a%20b"])

        [inbound] = simulator.sink.inbound
        assert inbound.media == (InboundMedia("image/png", b"\x89PNG"), InboundMedia("text/plain", b"a b"))
        assert (inbound.body, inbound.segments, reply.body["segments"]) == ("", 1, 1)
        assert reply.body["media_urls"] == [f"data:image/png;base64,{picture}", "data:,a%20b"]

    async def test_http_urls_are_fetched_through_the_port(self, database: Database, clock: VirtualClock) -> None:
        async with _simulator(database, clock, "one", media_fetcher=Fetcher()) as simulator:
            await simulator.send(to=OURS, body="look", media_urls=["https://example.com/a", "https://example.com/b"])
            with pytest.raises(Refusal) as refusal:
                await simulator.send(to=OURS, media_urls=["data:,x", "https://example.com/gone"])

        [inbound] = simulator.sink.inbound
        assert [media.data for media in inbound.media] == [b"https://example.com/a", b"https://example.com/b"]
        assert "media_urls[1]" in refusal.value.message and "404" in refusal.value.message

    async def test_a_data_url_above_five_megabytes_is_refused(self, simulator: Simulator) -> None:
        big = base64.b64encode(bytes(5 * 1024 * 1024 + 1)).decode()

        with pytest.raises(Refusal) as refusal:
            await simulator.send(to=OURS, media_urls=[f"data:image/png;base64,{big}"])

        assert refusal.value.code == 21620


class TestReadingHandsets:
    async def test_a_reader_goes_on_from_the_last_id_it_saw(self, simulator: Simulator) -> None:
        await simulator.carrier.submit([message(body=str(place)) for place in range(5)])

        first = await simulator.received(limit="2")
        rest = await simulator.received(after=str(first[-1]["id"]))
        last = await simulator.received(last="2")

        assert [[shown["body"] for shown in part] for part in (first, rest, last)] == [
            ["0", "1"],
            ["2", "3", "4"],
            ["3", "4"],
        ]

    async def test_a_reader_that_goes_on_misses_nothing_that_commits_late(self, simulator: Simulator) -> None:
        await simulator.carrier.submit([message(body="first")])
        [first] = await simulator.received()
        after = str(first["id"])
        insert = (
            "INSERT INTO simulator_messages (handset, direction, sender, recipient, body, encoding, segments, at) "
            "VALUES ($1, 'received', 'x', $1, 'late', 'GSM-7', 1, $2)"
        )
        async with simulator.database.transaction() as tx:
            await tx.execute(insert, HANDSET, simulator.clock.now())
            await simulator.carrier.submit([message(body="early")])
            assert await simulator.received(after=after) == []
            assert [shown["body"] for shown in await simulator.received()] == ["first", "early"]

        assert [shown["body"] for shown in await simulator.received(after=after)] == ["late", "early"]

    @pytest.mark.parametrize("query", [{"after": "x"}, {"limit": "-1"}, {"last": "1.5"}, {"direction": "up"}])
    async def test_a_malformed_query_is_refused(self, simulator: Simulator, query: dict[str, str]) -> None:
        with pytest.raises(Refusal) as refusal:
            await simulator.received(**query)

        assert refusal.value.status == 400

    async def test_known_handsets_are_listed_newest_message_first(self, simulator: Simulator) -> None:
        await simulator.carrier.submit([message(HANDSET, "one"), message(OTHER, "two"), message(HANDSET, "three")])
        await simulator.setting("+819012345678", outcome="undelivered", error_code=30005, delay_s=1.5)

        listed = (await simulator.call("GET", "/simulator/v1/handsets")).body

        assert [(shown["number"], (shown["last_message"] or {}).get("body")) for shown in listed] == [
            (HANDSET, "three"),
            (OTHER, "two"),
            ("+819012345678", None),
        ]
        assert [(shown["outcome"], shown["error_code"], shown["delay_s"]) for shown in listed] == [
            ("delivered", None, 0),
            ("delivered", None, 0),
            ("undelivered", 30005, 1.5),
        ]
        assert len((await simulator.call("GET", "/simulator/v1/handsets", limit="1")).body) == 1

    async def test_a_setting_is_shown_and_reset(self, simulator: Simulator) -> None:
        path = f"/simulator/v1/handsets/{HANDSET}"
        set_reply = await simulator.setting(outcome="reject")
        assert (await simulator.call("GET", path)).body == set_reply.body
        assert set_reply.body["outcome"] == "reject"

        assert (await simulator.call("DELETE", path)).status == 204

        assert (await simulator.call("GET", path)).body["outcome"] == "delivered"

    async def test_an_emptied_handset_has_no_messages_and_others_keep_theirs(self, simulator: Simulator) -> None:
        await simulator.carrier.submit([message(), message(OTHER)])

        reply = await simulator.call("DELETE", f"/simulator/v1/handsets/{HANDSET}/messages")

        assert reply.status == 204
        assert await simulator.received() == []
        assert len(await simulator.received(OTHER)) == 1

    @pytest.mark.parametrize(
        "body",
        [
            {"outcome": "exploded"},
            {"outcome": "delivered", "error_code": 30003},
            {"outcome": "undelivered", "error_code": "30003"},
            {"outcome": "undelivered", "error_code": 0},
            {"delay_s": -1},
            {"delay_s": True},
            {"delay_s": float("inf")},
            {"result": "undelivered"},
        ],
    )
    async def test_a_setting_without_meaning_is_refused(self, simulator: Simulator, body: dict[str, Any]) -> None:
        with pytest.raises(Refusal):
            await simulator.setting(**body)

        assert (await simulator.call("GET", "/simulator/v1/handsets")).body == []


class TestFaults:
    async def test_a_fault_strikes_what_it_matches_and_counts_its_hits(self, simulator: Simulator) -> None:
        fault = await simulator.inject(kind="reject", to="+44 7700 900123".replace(" ", ""), code=30034)

        outcomes = await simulator.carrier.submit([message(), message(OTHER), message(OTHER)])

        assert [type(outcome) for outcome in outcomes] == [Submitted, Refused, Refused]
        assert [outcome.code for outcome in outcomes if isinstance(outcome, Refused)] == [30034, 30034]
        [listed] = (await simulator.call("GET", "/simulator/v1/faults")).body
        assert listed == {**fault, "hits": 2}

    async def test_a_fault_with_a_count_ends_in_the_middle_of_a_batch(self, simulator: Simulator) -> None:
        await simulator.inject(kind="undelivered", code=30005, count=2)

        await simulator.carrier.submit([message() for _ in range(5)])
        await simulator.worker.settle()

        assert sorted(receipt.code or 0 for receipt in simulator.sink.receipts) == [0, 0, 0, 30005, 30005]
        [listed] = (await simulator.call("GET", "/simulator/v1/faults")).body
        assert (listed["hits"], listed["remaining"]) == (2, 0)

    async def test_batches_side_by_side_share_one_count(self, simulator: Simulator) -> None:
        await simulator.inject(kind="reject", count=7)

        batches = await asyncio.gather(*(simulator.carrier.submit([message() for _ in range(5)]) for _ in range(4)))

        assert sum(isinstance(outcome, Refused) for batch in batches for outcome in batch) == 7

    async def test_a_fault_overrules_the_handset_and_delays_add_up(self, simulator: Simulator) -> None:
        await simulator.setting(outcome="lost_receipt", delay_s=10)
        await simulator.inject(kind="delay", delay_s=5)
        await simulator.inject(kind="undelivered", delay_s=1)
        await simulator.inject(kind="delay", delay_s=4, **{"from": OURS})
        await simulator.inject(kind="reject")

        [outcome] = await simulator.carrier.submit([message()])
        simulator.pass_time(19)
        await simulator.worker.settle()
        assert simulator.sink.receipts == []
        simulator.pass_time(1)
        await simulator.worker.settle()

        assert isinstance(outcome, Submitted)
        assert [receipt.state for receipt in simulator.sink.receipts] == ["undelivered"]
        hits = [fault["hits"] for fault in (await simulator.call("GET", "/simulator/v1/faults")).body]
        assert hits == [1, 1, 1, 0]

    async def test_chance_is_the_same_for_the_same_seed(self, simulator: Simulator) -> None:
        async def run(seed: int) -> list[bool]:
            await simulator.call("DELETE", "/simulator/v1/faults")
            await simulator.inject(kind="reject", probability=0.5, seed=seed)
            first = await simulator.carrier.submit([message() for _ in range(20)])
            second = await simulator.carrier.submit([message() for _ in range(20)])
            return [isinstance(outcome, Refused) for outcome in [*first, *second]]

        one, again, other = await run(1), await run(1), await run(2)
        assert one == again != other
        assert 8 <= sum(one) <= 32

    async def test_a_fault_taken_back_strikes_no_more(self, simulator: Simulator) -> None:
        kept = await simulator.inject(kind="reject", to=OTHER)
        gone = await simulator.inject(kind="reject")

        assert (await simulator.call("DELETE", f"/simulator/v1/faults/{gone['id']}")).status == 204
        outcomes = await simulator.carrier.submit([message(), message(OTHER)])

        assert [type(outcome) for outcome in outcomes] == [Submitted, Refused]
        with pytest.raises(NotFound):
            await simulator.call("DELETE", f"/simulator/v1/faults/{gone['id']}")
        assert (await simulator.call("DELETE", "/simulator/v1/faults")).body == {"deleted": 1}
        [outcome] = await simulator.carrier.submit([message(OTHER)])
        assert isinstance(outcome, Submitted), kept

    @pytest.mark.parametrize("id_", ["x", "-1", "9" * 30])
    async def test_an_id_that_cannot_be_is_not_found(self, simulator: Simulator, id_: str) -> None:
        with pytest.raises(NotFound):
            await simulator.call("DELETE", f"/simulator/v1/faults/{id_}")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"kind": "delivered"},
            {"kind": "delay"},
            {"kind": "delay", "delay_s": 1, "code": 30003},
            {"kind": "reject", "number": HANDSET},
            {"kind": "reject", "host": "example.com"},
            {"kind": "reject", "to": 5},
            {"kind": "reject", "count": 0},
            {"kind": "reject", "count": 1.5},
            {"kind": "reject", "probability": 0},
            {"kind": "reject", "probability": 1.01},
            {"kind": "reject", "seed": 2**31},
            {"kind": "webhook_timeout", "delay_s": 1},
            {"kind": "webhook_status", "code": 99},
        ],
    )
    async def test_a_fault_without_meaning_is_refused(self, simulator: Simulator, body: dict[str, Any]) -> None:
        with pytest.raises(Refusal):
            await simulator.inject(**body)

        assert (await simulator.call("GET", "/simulator/v1/faults")).body == []


class Recorder:
    """A callback client that always succeeds."""

    def __init__(self) -> None:
        self.calls: list[Callback] = []

    async def call(self, callback: Callback) -> Answer:
        self.calls.append(callback)
        return Answer(200, "text/xml", b"<Response/>", {}, None, None, ())


def callback(url: str = "https://user:secret@hooks.example.com/sms#rc=2", **changes: Any) -> Callback:
    made = Callback(
        account_sid="AC" + "1" * 32,
        url=url,
        method="POST",
        params=[("From", HANDSET), ("To", OURS)],
        signing_token="t" * 32,
        idempotency_token="i",
    )
    return msgspec.structs.replace(made, **changes)


class TestFaultyCallbacks:
    async def test_without_faults_calls_pass_and_the_database_is_not_asked(
        self, clock: VirtualClock, connect_args: dict[str, Any]
    ) -> None:
        closed = await Database.connect(connect_args)
        carrier = SimulatorCarrier(closed, clock, Sink(clock))
        await closed.close()

        answer = await FaultyCallbacks(Recorder(), carrier.faults, clock).call(callback())

        assert answer.status == 200

    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [
            ({"kind": "webhook_timeout"}, None, 11205),
            ({"kind": "webhook_refused"}, None, 11205),
            ({"kind": "webhook_dns"}, None, 11210),
            ({"kind": "webhook_status"}, 500, 11200),
            ({"kind": "webhook_status", "code": 404}, 404, 11200),
            ({"kind": "webhook_status", "code": 304}, 304, 11216),
            ({"kind": "webhook_status", "code": 204}, 204, None),
        ],
    )
    async def test_a_struck_call_fails_as_the_real_one_would(
        self, simulator: Simulator, fault: dict[str, Any], status: int | None, code: int | None
    ) -> None:
        inner = Recorder()
        client = FaultyCallbacks(inner, simulator.carrier.faults, simulator.clock)
        await simulator.inject(count=1, **fault)

        struck = await client.call(callback())
        passed = await client.call(callback())

        assert (struck.status, struck.error_code, passed.status, len(inner.calls)) == (status, code, 200, 1)
        [attempt] = struck.attempts
        assert (attempt.url, attempt.status, attempt.error_code) == ("https://hooks.example.com/sms", status, code)
        assert attempt.request_body == "From=%2B14155550123&To=%2B14155550100"

    async def test_host_and_numbers_choose_the_calls(self, simulator: Simulator) -> None:
        inner = Recorder()
        client = FaultyCallbacks(inner, simulator.carrier.faults, simulator.clock)
        await simulator.inject(kind="webhook_timeout", host="Other.example.com")
        await simulator.inject(kind="webhook_timeout", to=OTHER)

        answers = [
            await client.call(callback()),
            await client.call(callback("https://other.example.com/")),
            await client.call(callback(params=[("To", f"whatsapp:{OTHER}")])),
        ]

        assert [answer.error_code for answer in answers] == [None, 11205, 11205]
        assert [fault["hits"] for fault in (await simulator.call("GET", "/simulator/v1/faults")).body] == [1, 1]

    async def test_message_faults_leave_webhooks_alone(self, simulator: Simulator) -> None:
        client = FaultyCallbacks(Recorder(), simulator.carrier.faults, simulator.clock)
        await simulator.inject(kind="reject")

        assert (await client.call(callback())).status == 200

    async def test_a_fault_of_another_process_is_felt(
        self, simulator: Simulator, connect_args: dict[str, Any], clock: VirtualClock
    ) -> None:
        elsewhere = await Database.connect(connect_args)
        other = SimulatorCarrier(elsewhere, clock, Sink(clock))
        followed = asyncio.Event()
        listener = await elsewhere.connect_alone()
        await listener.add_listener("onterms_simulator", lambda *_: followed.set())
        try:
            await other.start()
            await simulator.inject(kind="webhook_dns")
            async with asyncio.timeout(10):
                await followed.wait()
                # The word is out; the other process reads the state in its own time.
                client = FaultyCallbacks(Recorder(), other.faults, clock)
                while (await client.call(callback())).error_code is None:
                    await listener.fetchval("SELECT 1")
        finally:
            await other.close()
            await listener.close()
            await elsewhere.close()

        assert (await simulator.call("GET", "/simulator/v1/faults")).body[0]["hits"] == 1


async def test_what_a_carrier_answered_for_survives_it(database: Database, clock: VirtualClock) -> None:
    """A carrier that vanishes after its answer leaves handset and receipt to the next one."""
    sent = message()
    await SimulatorCarrier(database, clock, Sink(clock)).submit([sent])

    async with _simulator(database, clock, "next") as simulator:
        await simulator.worker.settle()

        assert [shown["sid"] for shown in await simulator.received()] == [sent.sid]
        assert [receipt.message_sid for receipt in simulator.sink.receipts] == [sent.sid]
