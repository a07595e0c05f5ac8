"""The SMPP carrier between the port of messages and an SMSC that misbehaves on demand."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from smsc import WAIT_S, Smsc

from onterms.app.certificates import LocalAuthority
from onterms.carriers.smpp import SmppApi, SmppCarrier, api
from onterms.carriers.smpp import carrier as carrier_module
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.vault import Vault
from onterms.engines.api.own import OwnRequest
from onterms.engines.api.shapes import Paging
from onterms.ports.message_carrier import (
    InboundMessage,
    OutboundMessage,
    Receipt,
    Refused,
    SubmitOutcome,
    Submitted,
    Unknown,
    Unreachable,
)
from onterms.protocols.smpp import MessageState, Status, Tag, parts
from onterms.protocols.smpp.pdu import Address, tlv

ACCOUNT = "AC" + "0" * 32


class Sink:
    """What a carrier reports to, and what it said."""

    def __init__(self) -> None:
        self.receipts: asyncio.Queue[Receipt] = asyncio.Queue()
        self.messages: asyncio.Queue[InboundMessage] = asyncio.Queue()
        self.fails: Exception | None = None
        self.going: set[str] = set()

    async def still_going(self, tx: Tx, keys: Sequence[tuple[str, str]]) -> set[str]:
        return {sid for _, sid in keys if sid in self.going}

    async def receipts_arrived(self, tx: Tx, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            tx.after_commit(lambda receipt=receipt: self.receipts.put_nowait(receipt))

    async def look_through(self, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
        return list(messages)

    async def messages_arrived(self, tx: Tx, messages: Sequence[InboundMessage]) -> list[str | None]:
        if self.fails is not None:
            raise self.fails
        for message in messages:
            tx.after_commit(lambda message=message: self.messages.put_nowait(message))
        return [None] * len(messages)

    async def receipt(self) -> Receipt:
        async with asyncio.timeout(WAIT_S):
            return await self.receipts.get()

    async def message(self) -> InboundMessage:
        async with asyncio.timeout(WAIT_S):
            return await self.messages.get()


class Bench:
    """A carrier with the operator's API beside it."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database, self.clock = database, clock
        self.vault = Vault(b"k" * 32)
        self.api = SmppApi(self.vault)
        self.sink = Sink()
        self.patience_s = 5.0
        self._serial = 0

    def request(self) -> OwnRequest:
        return OwnRequest("POST", {}, {}, {}, self.clock.now())

    async def add(self, smsc: Smsc, name: str = "one", **settings: Any) -> str:
        """Add a carrier without routes; return its SID."""
        body = api.CarrierChange(
            **{
                "name": name,
                "host": "127.0.0.1",
                "port": smsc.port,
                "system_id": "us",
                "password": "secret",
                **settings,
            }
        )
        async with self.database.transaction() as tx:
            return (await self.api.make_carrier(tx, self.request(), body)).sid

    async def route(self, carrier_sid: str, prefix: str = "", **fields: Any) -> str:
        async with self.database.transaction() as tx:
            body = api.NewRoute(carrier_sid=carrier_sid, prefix=prefix, **fields)
            return (await self.api.make_route(tx, self.request(), body)).sid

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[SmppCarrier]:
        carrier = SmppCarrier(
            self.database,
            self.clock,
            self.vault,
            self.sink,
            random=lambda: 0.0,
            patience_s=self.patience_s,
            **({"node": "test"} | options),
        )
        await carrier.start()
        try:
            yield carrier
        finally:
            await carrier.close()

    def message(self, body: str = "hello", recipient: str = "+19075550100", **fields: Any) -> OutboundMessage:
        self._serial += 1
        return OutboundMessage(
            **{
                "sid": f"SM{self._serial:032x}",
                "account_sid": ACCOUNT,
                "sender": "+14155550123",
                "recipient": recipient,
                "body": body,
                "media_urls": (),
                "segments": 1,
                "encoding": "GSM-7",
                **fields,
            }
        )

    async def count(self, table: str) -> int:
        async with self.database.snapshot() as tx:
            count: int = await tx.fetchval(f"SELECT count(*) FROM {table}")
            return count


@pytest.fixture
def bench(database: Database, clock: VirtualClock) -> Bench:
    return Bench(database, clock)


@pytest.fixture
async def smsc() -> AsyncIterator[Smsc]:
    server = Smsc()
    await server.start()
    yield server
    await server.stop()


async def one(carrier: SmppCarrier, message: OutboundMessage) -> SubmitOutcome:
    [outcome] = await carrier.submit([message])
    return outcome


async def eventually(check: Callable[[], Any]) -> None:
    """Let the loop turn until something holds."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not check():
        assert asyncio.get_running_loop().time() < deadline, "it does not come to hold"
        await asyncio.sleep(0)


class TestSubmitting:
    async def test_a_message_is_submitted_as_the_settings_say_and_its_receipt_ends_it(
        self, bench: Bench, smsc: Smsc
    ) -> None:
        await bench.route(await bench.add(smsc, validity_s=3600, registered_delivery=3, service_type="x"))
        async with bench.running() as carrier:
            client = await smsc.next_bound()
            message = bench.message(valid_until=bench.clock.now() + timedelta(minutes=2))
            outcome = await one(carrier, message)
            pdu = await smsc.next_submit()
            assert outcome == Submitted("1001", "smpp")
            assert (pdu.source, pdu.destination) == (Address(1, 1, "14155550123"), Address(1, 1, "19075550100"))
            assert (pdu.short_message, pdu.data_coding, pdu.esm_class) == (b"hello", 0, 0)
            assert (pdu.registered_delivery, pdu.service_type) == (3, "x")
            assert pdu.validity_period == "000000000200000R"
            smsc.receipt(client, pdu, "1001")
            receipt = await bench.sink.receipt()
            assert (receipt.carrier, receipt.account_sid, receipt.message_sid) == ("smpp", ACCOUNT, message.sid)
            assert (receipt.state, receipt.code) == ("delivered", None)
            assert (await smsc.next_reply()).status == 0
        assert await bench.count("smpp_parts") == 0

    async def test_short_codes_and_names_have_their_own_types_of_number(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            await carrier.submit([bench.message(sender="72345"), bench.message(sender="Northwind")])
            assert (await smsc.next_submit()).source == Address(3, 0, "72345")
            assert (await smsc.next_submit()).source == Address(5, 0, "Northwind")

    @pytest.mark.parametrize("long", ["udh", "udh16", "sar", "payload"])
    async def test_a_long_message_goes_in_order_and_is_delivered_once_every_part_is(
        self, bench: Bench, smsc: Smsc, long: str
    ) -> None:
        await bench.route(await bench.add(smsc, long=long))
        async with bench.running() as carrier:
            client = await smsc.next_bound()
            outcome = await one(carrier, bench.message("x" * 400))
            pdus = [await smsc.next_submit() for _ in range(1 if long == "payload" else 3)]
            assert outcome == Submitted("1001", "smpp")
            if long.startswith("udh"):
                assert [pdu.short_message[pdu.short_message[0]] for pdu in pdus] == [1, 2, 3]
            for number, pdu in enumerate(pdus):
                assert bench.sink.receipts.empty()
                smsc.receipt(client, pdu, f"{1001 + number}")
                await smsc.next_reply()
            assert (await bench.sink.receipt()).state == "delivered"
            assert bench.sink.receipts.empty()

    async def test_one_part_that_is_not_delivered_makes_the_message_undelivered(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc, error_codes={"042": 30006}))
        async with bench.running() as carrier:
            client = await smsc.next_bound()
            await one(carrier, bench.message("x" * 400))
            pdus = [await smsc.next_submit() for _ in range(3)]
            smsc.receipt(client, pdus[0], "1001")
            smsc.receipt(client, pdus[1], "1002", MessageState.UNDELIVERABLE, "042")
            smsc.receipt(client, pdus[2], "1003")
            receipt = await bench.sink.receipt()
            assert (receipt.state, receipt.code) == ("undelivered", 30006)
            for _ in range(3):
                await smsc.next_reply()
            assert bench.sink.receipts.empty()

    @pytest.mark.parametrize(
        ("status", "code"),
        [(Status.RINVDSTADR, 30005), (Status.RINVSRCADR, 21612), (Status.RX_R_APPN, 30007), (Status.RSYSERR, 30008)],
    )
    async def test_a_refused_message_has_the_code_of_its_status(
        self, bench: Bench, smsc: Smsc, status: int, code: int
    ) -> None:
        smsc.on_submit = lambda client, pdu: client.session.reply(pdu, int(status)) and None
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            outcome = await one(carrier, bench.message())
            assert isinstance(outcome, Refused)
            assert outcome.code == code
        assert await bench.count("smpp_parts") == 0

    async def test_media_and_a_recipient_without_route_are_refused(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc), "1907")
        async with bench.running() as carrier:
            await smsc.next_bound()
            outcomes = await carrier.submit(
                [bench.message(media_urls=("http://x/y",)), bench.message(recipient="+4930")]
            )
            assert [getattr(outcome, "code", None) for outcome in outcomes] == [30011, 21612]
            assert await carrier.carried([message := bench.message(), bench.message(recipient="+4930")]) == {
                message.sid
            }

    async def test_a_sender_that_smpp_cannot_carry_is_refused_and_others_go(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            outcomes = await carrier.submit([bench.message(sender="Ω"), bench.message()])
            assert isinstance(outcomes[0], Refused)
            assert isinstance(outcomes[1], Submitted)

    async def test_bytes_that_come_one_by_one_are_read(self, bench: Bench, smsc: Smsc) -> None:
        smsc.torn = smsc.receipts = True
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            outcomes = await carrier.submit([bench.message() for _ in range(20)])
            assert all(isinstance(outcome, Submitted) for outcome in outcomes)
            found = {(await bench.sink.receipt()).message_sid for _ in range(20)}
            assert len(found) == 20


class TestReceipts:
    async def test_a_receipt_before_the_response_ends_the_message(self, bench: Bench, smsc: Smsc) -> None:
        def early(client: Any, pdu: Any) -> None:
            smsc.receipt(client, pdu, "77")
            held.append((client, pdu))

        held: list[Any] = []
        smsc.on_submit = early
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            submitting = asyncio.create_task(one(carrier, bench.message()))
            await smsc.next_reply()
            assert bench.sink.receipts.empty()
            smsc.take(*held[0], "77")
            assert await submitting == Submitted("77", "smpp")
            assert (await bench.sink.receipt()).state == "delivered"
        assert await bench.count("smpp_receipts") == 0

    async def test_a_receipt_that_comes_twice_ends_the_message_once(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            client = await smsc.next_bound()
            await one(carrier, bench.message())
            pdu = await smsc.next_submit()
            smsc.receipt(client, pdu, "1001")
            smsc.receipt(client, pdu, "1001", MessageState.EXPIRED)
            await smsc.next_reply()
            smsc.receipt(client, pdu, "1001")
            await smsc.next_reply()
            await smsc.next_reply()
            assert (await bench.sink.receipt()).state == "delivered"
            assert bench.sink.receipts.empty()

    async def test_a_receipt_after_a_restart_finds_its_message(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc))
        message = bench.message()
        async with bench.running() as carrier:
            await smsc.next_bound()
            await one(carrier, message)
            pdu = await smsc.next_submit()
        async with bench.running():
            smsc.receipt(await smsc.next_bound(), pdu, "1001")
            assert (await bench.sink.receipt()).message_sid == message.sid

    @pytest.mark.parametrize(
        ("id_format", "given", "in_receipt"),
        [("hex-to-decimal", "0FF", "255"), ("hex-to-decimal", "ff", "0000000255"), ("decimal-to-hex", "255", "00FF")],
    )
    async def test_ids_in_the_other_base_are_the_same(
        self, bench: Bench, smsc: Smsc, id_format: str, given: str, in_receipt: str
    ) -> None:
        smsc.on_submit = lambda client, pdu: smsc.take(client, pdu, given) and None
        await bench.route(await bench.add(smsc, id_format=id_format))
        async with bench.running() as carrier:
            client = await smsc.next_bound()
            assert await one(carrier, bench.message()) == Submitted(given, "smpp")
            smsc.receipt(client, await smsc.next_submit(), in_receipt, bare=True)
            assert (await bench.sink.receipt()).state == "delivered"

    @pytest.mark.parametrize(
        ("state", "error", "code"),
        [
            (MessageState.UNDELIVERABLE, "001", 30003),
            (MessageState.UNDELIVERABLE, "077", 30008),
            (MessageState.EXPIRED, "000", 30003),
            (MessageState.REJECTED, "000", 30007),
            (MessageState.UNKNOWN, "000", 30008),
        ],
    )
    async def test_an_end_has_its_code(
        self, bench: Bench, smsc: Smsc, state: MessageState, error: str, code: int
    ) -> None:
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            client = await smsc.next_bound()
            await one(carrier, bench.message())
            pdu = await smsc.next_submit()
            smsc.receipt(client, pdu, "1001", MessageState.ENROUTE)
            await smsc.next_reply()
            assert bench.sink.receipts.empty()
            smsc.receipt(client, pdu, "1001", state, error)
            receipt = await bench.sink.receipt()
            assert (receipt.state, receipt.code) == ("undelivered", code)


class TestTrouble:
    async def test_throttling_pauses_the_link_and_keeps_the_order(self, bench: Bench, smsc: Smsc) -> None:
        answers = [int(Status.RTHROTTLED), int(Status.RMSGQFUL)]

        def throttle(client: Any, pdu: Any) -> None:
            if answers:
                client.session.reply(pdu, answers.pop())
            else:
                smsc.take(client, pdu)

        smsc.on_submit = throttle
        await bench.route(await bench.add(smsc, window=1, throttle_s=0.1))
        async with bench.running() as carrier:
            outcomes = await carrier.submit([bench.message(text) for text in ("a", "b", "c")])
            assert [type(outcome) for outcome in outcomes] == [Submitted] * 3
            texts = [(await smsc.next_submit()).short_message for _ in range(5)]
            assert texts == [b"a", b"a", b"a", b"b", b"c"]

    async def test_the_window_bounds_what_is_under_way(self, bench: Bench, smsc: Smsc) -> None:
        held: list[Any] = []
        smsc.on_submit = lambda client, pdu: held.append((client, pdu))
        await bench.route(await bench.add(smsc, window=2))
        async with bench.running() as carrier:
            submitting = [asyncio.create_task(carrier.submit([bench.message() for _ in range(5)]))]
            for answered in range(5):
                await eventually(lambda answered=answered: len(held) == min(5, answered + 2))
                smsc.take(*held[answered])
            [outcomes] = await asyncio.gather(*submitting)
            assert {type(outcome) for outcome in outcomes} == {Submitted}

    async def test_a_rate_in_segments_spreads_messages_over_time(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc, rate=50.0))
        async with bench.running() as carrier:
            await smsc.next_bound()
            began = asyncio.get_running_loop().time()
            await carrier.submit([bench.message() for _ in range(16)])
            # A tenth of a second's worth goes at once, the other 11 need 0.22 s.
            assert asyncio.get_running_loop().time() - began >= 0.2

    async def test_what_does_not_leave_in_time_is_given_back(self, bench: Bench, smsc: Smsc) -> None:
        bench.patience_s = 0.2
        smsc.on_submit = lambda client, pdu: None
        await bench.route(await bench.add(smsc, window=1))
        async with bench.running() as carrier:
            await smsc.next_bound()
            outcomes = await carrier.submit([bench.message(), bench.message()])
            assert isinstance(outcomes[0], Unknown) and outcomes[0].is_followed
            assert isinstance(outcomes[1], Unreachable)
            assert await bench.count("smpp_parts") == 1

    async def test_a_late_answer_is_reported_as_sent_and_a_late_refusal_as_failed(
        self, bench: Bench, smsc: Smsc
    ) -> None:
        bench.patience_s = 0.2
        held: list[Any] = []
        smsc.on_submit = lambda client, pdu: held.append((client, pdu))
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            await smsc.next_bound()
            messages = [bench.message(), bench.message()]
            await carrier.submit(messages)
            smsc.take(*held[0], "5")
            receipt = await bench.sink.receipt()
            assert (receipt.message_sid, receipt.state, receipt.carrier_id) == (messages[0].sid, "sent", "5")
            held[1][0].session.reply(held[1][1], int(Status.RINVDSTADR))
            held[1][0].flush()
            receipt = await bench.sink.receipt()
            assert (receipt.message_sid, receipt.state, receipt.code) == (messages[1].sid, "failed", 30005)

    async def test_an_unanswered_message_is_delivered_by_its_late_receipt(self, bench: Bench, smsc: Smsc) -> None:
        smsc.on_submit = lambda client, pdu: client.transport.abort()
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            message = bench.message()
            outcome = await one(carrier, message)
            assert isinstance(outcome, Unknown) and outcome.is_followed
            pdu = await smsc.next_submit()
            await smsc.next_bound()
            smsc.receipt(await smsc.next_bound(), pdu, "900")
            receipt = await bench.sink.receipt()
            assert (receipt.message_sid, receipt.state) == (message.sid, "delivered")
            assert smsc.submits.empty()
        assert await bench.count("smpp_parts") == 0

    async def test_an_unanswered_message_fails_once_nobody_will_ever_know(self, bench: Bench, smsc: Smsc) -> None:
        smsc.on_submit = lambda client, pdu: client.transport.abort()
        await bench.route(await bench.add(smsc, ambiguous_s=600))
        async with bench.running() as carrier:
            message = bench.message()
            await one(carrier, message)
            bench.clock.hold(bench.clock.now() + timedelta(seconds=599))
            await carrier.sweep()
            assert bench.sink.receipts.empty()
            bench.clock.hold(bench.clock.now() + timedelta(seconds=2))
            await carrier.sweep()
            receipt = await bench.sink.receipt()
            assert (receipt.message_sid, receipt.state, receipt.code) == (message.sid, "failed", 30410)

    async def test_an_unanswered_message_of_a_deleted_carrier_fails_too(self, bench: Bench, smsc: Smsc) -> None:
        smsc.on_submit = lambda client, pdu: client.transport.abort()
        sid = await bench.add(smsc)
        await bench.route(sid)
        async with bench.running() as carrier:
            message = bench.message()
            await one(carrier, message)
            async with bench.database.transaction() as tx:
                await bench.api.delete_carrier(tx, sid)
            await eventually(lambda: not carrier.has_carriers)
            bench.clock.hold(bench.clock.now() + timedelta(seconds=3601))
            await carrier.sweep()
            receipt = await bench.sink.receipt()
            assert (receipt.message_sid, receipt.state, receipt.code) == (message.sid, "failed", 30410)

    async def test_where_duplicates_are_allowed_an_unanswered_message_goes_again(
        self, bench: Bench, smsc: Smsc
    ) -> None:
        def first_lost(client: Any, pdu: Any) -> None:
            smsc.on_submit = None
            client.transport.abort()

        smsc.on_submit = first_lost
        bench.patience_s = 20
        await bench.route(await bench.add(smsc, allow_duplicates=True))
        async with bench.running() as carrier:
            assert isinstance(await one(carrier, bench.message()), Submitted)
            assert (await smsc.next_submit()).short_message == (await smsc.next_submit()).short_message

    async def test_a_message_submitted_again_after_a_crash_is_not_sent_twice(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc))
        message = bench.message()
        async with bench.running() as carrier:
            assert await one(carrier, message) == Submitted("1001", "smpp")
            assert await one(carrier, message) == Submitted("1001", "smpp")
        async with bench.running() as carrier:
            assert await one(carrier, message) == Submitted("1001", "smpp")
        assert smsc.submits.qsize() == 1

    async def test_a_message_that_ends_while_it_is_taken_up_again_is_not_sent_twice(
        self, bench: Bench, smsc: Smsc
    ) -> None:
        await bench.route(await bench.add(smsc))
        message, repeat = bench.message(), bench.message(is_repeat=True)
        async with bench.running() as carrier:
            assert await one(carrier, message) == Submitted("1001", "smpp")
            smsc.receipt(await smsc.next_bound(), await smsc.next_submit(), "1001")
            assert (await bench.sink.receipt()).state == "delivered"
            # Its job ran again before the receipt came, and hands it over after.
            outcome = await one(carrier, dataclasses.replace(message, is_repeat=True))
            assert isinstance(outcome, Unknown) and outcome.is_followed
            # An earlier life marked it and came no further.
            bench.sink.going.add(repeat.sid)
            assert await one(carrier, repeat) == Submitted("1002", "smpp")
            assert (await smsc.next_submit()).short_message == b"hello"
            assert smsc.submits.empty()
        assert await bench.count("smpp_parts") == 1

    async def test_a_message_written_down_by_a_crashed_life_is_followed(self, bench: Bench, smsc: Smsc) -> None:
        bench.patience_s = 0.3
        smsc.on_submit = lambda client, pdu: None
        await bench.route(await bench.add(smsc))
        message = bench.message()
        async with bench.running() as carrier:
            await one(carrier, message)
        async with bench.running() as carrier:
            await smsc.next_bound()
            await smsc.next_bound()
            assert await carrier.carried([message]) == {message.sid}
            outcome = await one(carrier, message)
            assert isinstance(outcome, Unknown) and outcome.is_followed
        assert smsc.submits.qsize() == 1

    async def test_a_receipt_that_comes_before_a_crashed_life_is_followed_up_ends_the_message(
        self, bench: Bench, smsc: Smsc
    ) -> None:
        bench.patience_s = 0.3
        smsc.on_submit = lambda client, pdu: None
        await bench.route(await bench.add(smsc))
        message = bench.message()
        async with bench.running() as carrier:
            await one(carrier, message)
            pdu = await smsc.next_submit()
        # A killed program marks nothing.
        async with bench.database.transaction() as tx:
            await tx.execute("UPDATE smpp_parts SET is_ambiguous = false")
        async with bench.running() as carrier:
            await smsc.next_bound()
            smsc.receipt(await smsc.next_bound(), pdu, "900")
            assert (await smsc.next_reply()).status == 0
            assert bench.sink.receipts.empty()
            outcome = await one(carrier, message)
            assert isinstance(outcome, Unknown) and outcome.is_followed
            receipt = await bench.sink.receipt()
            assert (receipt.message_sid, receipt.state) == (message.sid, "delivered")
        assert await bench.count("smpp_parts") == 0
        assert await bench.count("smpp_receipts") == 0

    async def test_an_smsc_that_can_is_asked_where_no_receipt_comes(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc, query_after_s=60))
        async with bench.running() as carrier:
            await one(carrier, bench.message())
            bench.clock.hold(bench.clock.now() + timedelta(seconds=61))
            await carrier.sweep()
            smsc.queries["1001"] = MessageState.DELIVERED
            bench.clock.hold(bench.clock.now() + timedelta(seconds=61))
            await carrier.sweep()
            assert (await bench.sink.receipt()).state == "delivered"

    async def test_an_smsc_that_is_down_leaves_messages_unreachable_and_is_found_again(
        self, bench: Bench, smsc: Smsc
    ) -> None:
        await smsc.stop()
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            assert isinstance(await one(carrier, bench.message()), Unreachable)
            assert await bench.count("smpp_parts") == 0
            await smsc.start()
            await smsc.next_bound()
            assert isinstance(await one(carrier, bench.message()), Submitted)

    async def test_a_wrong_password_is_told(self, bench: Bench, smsc: Smsc) -> None:
        sid = await bench.add(smsc, password="wrong")
        async with bench.running():
            await eventually(lambda: len(smsc.binds) > 0 and not smsc.connections)
        async with bench.database.snapshot() as tx:
            [link] = (await bench.api.list_links(tx)).items
        assert link.carrier_sid == sid
        assert "ESME_RINVPASWD" in (link.last_error or "")

    async def test_tls_is_verified_by_the_authority_given_and_the_name_asked_for(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        authority = LocalAuthority(tmp_path)
        smsc = Smsc()
        await smsc.start(authority.context_for("api.twilio.com"))
        ca = authority.ca_path.read_text()
        try:
            # Nobody vouches for the server, and then not for a server of this name.
            await bench.add(smsc, "unknown authority", tls=True, tls_name="api.twilio.com")
            await bench.add(smsc, "another name", tls=True, tls_ca=ca, tls_name="smsc.example")
            await bench.route(await bench.add(smsc, "good", tls=True, tls_ca=ca, tls_name="api.twilio.com"))
            async with bench.running() as carrier:
                assert isinstance(await one(carrier, bench.message()), Submitted)
                links = [link for links in carrier._links.values() for link in links]
                await eventually(lambda: all(link.last_error for link in links[:2]))
                assert [link.state == "bound" for link in links] == [False, False, True]
                for link in links[:2]:
                    assert "CERTIFICATE_VERIFY_FAILED" in link.last_error
        finally:
            await smsc.stop()
        assert len(smsc.binds) == 1

    async def test_a_stop_unbinds(self, bench: Bench, smsc: Smsc) -> None:
        await bench.add(smsc)
        async with bench.running():
            client = await smsc.next_bound()
        assert client.session.state == "closed"


class TestRouting:
    async def test_the_longest_prefix_wins_then_priority_then_cost(
        self, bench: Bench, smsc: Smsc, second: Smsc
    ) -> None:
        first_sid, second_sid = await bench.add(smsc, "one"), await bench.add(second, "two")
        await bench.route(first_sid, "", cost=api.NotNegative(1))
        await bench.route(first_sid, "1907", cost=api.NotNegative(10), priority=5)
        await bench.route(second_sid, "1907", cost=api.NotNegative(20), priority=5)
        await bench.route(second_sid, "44", cost=api.NotNegative(3))
        await bench.route(first_sid, "44", cost=api.NotNegative(4))
        await bench.route(first_sid, "49", priority=2)
        await bench.route(second_sid, "49", priority=1, cost=api.NotNegative(900))
        async with bench.running() as carrier:
            await smsc.next_bound()
            await second.next_bound()
            numbers = ("+19075550100", "+442079460000", "+4930901820", "+33199000000")
            await carrier.submit([bench.message(recipient=number) for number in numbers])
            assert {(await smsc.next_submit()).destination.number for _ in range(2)} == {"19075550100", "33199000000"}
            assert {(await second.next_submit()).destination.number for _ in range(2)} == {"442079460000", "4930901820"}

    async def test_a_carrier_that_is_down_gives_way_to_the_next(self, bench: Bench, smsc: Smsc, second: Smsc) -> None:
        await smsc.stop()
        await bench.route(await bench.add(smsc, "one"), cost=api.NotNegative(1))
        await bench.route(await bench.add(second, "two"), cost=api.NotNegative(2))
        async with bench.running() as carrier:
            await second.next_bound()
            assert isinstance(await one(carrier, bench.message()), Submitted)
            assert second.submits.qsize() == 1

    async def test_what_a_lost_link_had_queued_goes_over_the_other_in_one_piece(self, bench: Bench, smsc: Smsc) -> None:
        victims: list[Any] = []

        def lose_first(client: Any, pdu: Any) -> None:
            if not victims:
                victims.append(client)
            if client is victims[0]:
                client.transport.abort()
            else:
                smsc.take(client, pdu)

        smsc.on_submit = lose_first
        await bench.route(await bench.add(smsc, window=1, binds=["transceiver", "transceiver"]))
        async with bench.running() as carrier:
            await smsc.next_bound()
            await smsc.next_bound()
            outcomes = await carrier.submit([bench.message() for _ in range(6)])
            kinds = [type(outcome) for outcome in outcomes]
            assert kinds.count(Unknown) == 1
            assert kinds.count(Submitted) == 5

    async def test_a_route_of_poor_quality_comes_behind(self, bench: Bench, smsc: Smsc, second: Smsc) -> None:
        poor = await bench.route(await bench.add(smsc, "one"), cost=api.NotNegative(1), min_quality=0.5)
        await bench.route(await bench.add(second, "two"), cost=api.NotNegative(2))
        async with bench.database.transaction() as tx:
            await tx.execute(
                "INSERT INTO smpp_quality VALUES ($1, $2, 5, 45)", poor, bench.clock.now() - timedelta(minutes=10)
            )
        async with bench.running() as carrier:
            await smsc.next_bound()
            await second.next_bound()
            await one(carrier, bench.message())
            assert (smsc.submits.qsize(), second.submits.qsize()) == (0, 1)
        async with bench.database.snapshot() as tx:
            shown = await bench.api.get_route(tx, bench.request(), poor)
        assert shown.quality == 0.1

    async def test_links_follow_the_table(self, bench: Bench, smsc: Smsc, second: Smsc) -> None:
        async with bench.running():
            sid = await bench.add(smsc)
            await smsc.next_bound()
            async with bench.database.transaction() as tx:
                await bench.api.change_carrier(tx, bench.request(), sid, api.CarrierChange(port=second.port))
            await second.next_bound()
            await eventually(lambda: not smsc.connections)
            async with bench.database.transaction() as tx:
                await bench.api.delete_carrier(tx, sid)
            await eventually(lambda: not second.connections)

    async def test_a_password_is_sealed_and_shown_nowhere(self, bench: Bench, smsc: Smsc) -> None:
        sid = await bench.add(smsc)
        async with bench.database.snapshot() as tx:
            shown = await bench.api.get_carrier(tx, sid)
            stored = await tx.fetchval("SELECT c::text FROM smpp_carriers c")
        assert shown.has_password
        assert "secret" not in stored + repr(shown)


@pytest.fixture
async def second() -> AsyncIterator[Smsc]:
    server = Smsc()
    await server.start()
    yield server
    await server.stop()


class TestInbound:
    async def test_a_message_is_brought_and_answered_after_the_commit(self, bench: Bench, smsc: Smsc) -> None:
        await bench.add(smsc)
        async with bench.running():
            client = await smsc.next_bound()
            smsc.bring(client, smsc.message("19075550100", "14155550123", b"hi there"))
            message = await bench.sink.message()
            assert (message.sender, message.recipient, message.body) == ("+19075550100", "+14155550123", "hi there")
            assert (message.carrier, message.segments, message.media) == ("smpp", 1, ())
            assert (await smsc.next_reply()).status == 0

    async def test_parts_are_kept_over_a_restart_and_put_together_in_any_order(self, bench: Bench, smsc: Smsc) -> None:
        await bench.add(smsc)
        text = "Grüße an alle 😀 " * 12
        pdus = [
            smsc.message(
                "19075550100",
                "14155550123",
                part.short_message,
                esm_class=part.esm_class,
                data_coding=part.data_coding,
            )
            for part in parts(text, 7)
        ]
        assert len(pdus) > 2
        async with bench.running():
            client = await smsc.next_bound()
            for pdu in (pdus[-1], *pdus[:-2], pdus[-1]):
                smsc.bring(client, pdu)
                await smsc.next_reply()
            assert bench.sink.messages.empty()
        async with bench.running():
            smsc.bring(await smsc.next_bound(), pdus[-2])
            message = await bench.sink.message()
        assert (message.body, message.segments) == (text, len(pdus))
        assert await bench.count("smpp_inbound_parts") == 0

    async def test_parts_whose_others_never_come_are_brought_as_they_are(self, bench: Bench, smsc: Smsc) -> None:
        await bench.add(smsc)
        [first, *_] = parts("x" * 400, 9, long="sar")
        async with bench.running() as carrier:
            client = await smsc.next_bound()
            smsc.bring(client, smsc.message("19075550100", "14155550123", first.short_message, tlvs=first.tlvs))
            assert (await smsc.next_reply()).status == 0
            bench.clock.hold(bench.clock.now() + timedelta(hours=2))
            await carrier.sweep()
            assert (await bench.sink.message()).body == "x" * 153
        assert tlv(smsc.message("1", "2", b"", tlvs=first.tlvs), Tag.SAR_SEGMENT_SEQNUM) == b"\x01"

    async def test_a_message_that_cannot_be_taken_is_refused_for_now(
        self, bench: Bench, smsc: Smsc, caplog: pytest.LogCaptureFixture
    ) -> None:
        await bench.add(smsc)
        bench.sink.fails = RuntimeError("broken")
        async with bench.running():
            client = await smsc.next_bound()
            smsc.bring(client, smsc.message("19075550100", "14155550123", b"hi"))
            assert (await smsc.next_reply()).status == Status.RX_T_APPN
            bench.sink.fails = None
            smsc.bring(client, smsc.message("19075550100", "14155550123", b"hi"))
            assert (await bench.sink.message()).body == "hi"


class TestNodes:
    @pytest.fixture(autouse=True)
    def _often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(carrier_module, "KEEPING_S", 0.05)

    async def shown(self, bench: Bench) -> list[tuple[str, int, str]]:
        async with bench.database.snapshot() as tx:
            return [(row.node, row.number, row.state) for row in (await bench.api.list_links(tx)).items]

    async def until_shown(self, bench: Bench, wanted: set[tuple[str, int, str]]) -> None:
        async with asyncio.timeout(WAIT_S):
            shown = await self.shown(bench)
            while set(shown) != wanted:
                shown = await self.shown(bench)

    async def test_each_bind_is_one_nodes_and_the_other_takes_it_over(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc, binds=["transceiver", "transceiver"]))
        async with bench.running(node="b") as second:
            await smsc.next_bound()
            await smsc.next_bound()
            async with bench.running(node="a"):
                await self.until_shown(bench, {("b", 1, "bound"), ("b", 2, "bound")})
                assert len(smsc.connections) == 2
                await second.close()
                await smsc.next_bound()
                await smsc.next_bound()
                await eventually(lambda: len(smsc.connections) == 2)

    async def test_a_node_that_loses_its_hold_ends_its_links(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc))
        async with bench.running() as carrier:
            before = await smsc.next_bound()
            async with bench.database.transaction() as tx:
                lost = await tx.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_database d ON d.oid = database "
                    "WHERE locktype = 'advisory' AND d.datname = current_database()"
                )
            assert lost == 1
            await smsc.next_bound()
            await eventually(lambda: before not in smsc.connections)
            assert isinstance(await one(carrier, bench.message()), Submitted)

    async def test_a_message_goes_over_the_link_of_another_node(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc))
        async with bench.running(node="a"):
            await smsc.next_bound()
            await self.until_shown(bench, {("a", 1, "bound")})
            async with bench.running(node="b") as other:
                message = bench.message()
                outcome: SubmitOutcome = Unreachable("")
                async with asyncio.timeout(WAIT_S):
                    # The other node learns of the link within its next turn.
                    while isinstance(outcome, Unreachable):
                        await asyncio.sleep(0)
                        outcome = await one(other, message)
                assert outcome == Unknown("it goes over another node's link", is_followed=True)
                receipt = await bench.sink.receipt()
                assert (receipt.message_sid, receipt.state) == (message.sid, "sent")
                assert smsc.submits.qsize() == 1
                assert await bench.count("smpp_handovers") == 0

    async def test_what_was_handed_over_and_refused_is_reported_as_failed(self, bench: Bench, smsc: Smsc) -> None:
        def refuse(client: Any, pdu: Any) -> None:
            client.session.reply(pdu, int(Status.RINVDSTADR))
            client.flush()

        smsc.on_submit = refuse
        await bench.route(await bench.add(smsc))
        async with bench.running(node="a"):
            await smsc.next_bound()
            await self.until_shown(bench, {("a", 1, "bound")})
            async with bench.running(node="b") as other:
                message = bench.message()
                outcome: SubmitOutcome = Unreachable("")
                async with asyncio.timeout(WAIT_S):
                    while isinstance(outcome, Unreachable):
                        await asyncio.sleep(0)
                        outcome = await one(other, message)
                receipt = await bench.sink.receipt()
                assert (receipt.message_sid, receipt.state, receipt.code) == (message.sid, "failed", 30005)


class TestNumbering:
    async def load(self, bench: Bench, *networks: tuple[str, str, str]) -> None:
        async with bench.database.transaction() as tx:
            entries = [api.NetworkEntry(prefix, mcc, mnc) for prefix, mcc, mnc in networks]
            assert (await bench.api.set_networks(tx, api.NumberingTable(entries))).networks == len(networks)

    async def test_a_route_by_network_counts_for_the_numbers_of_the_longest_prefix(
        self, bench: Bench, smsc: Smsc, second: Smsc
    ) -> None:
        await self.load(bench, ("49151", "262", "01"), ("491517", "262", "02"))
        await bench.route(await bench.add(smsc, "general"))
        await bench.route(await bench.add(second, "special"), mcc="262", mnc="02")
        async with bench.running() as carrier:
            await smsc.next_bound()
            await second.next_bound()
            await one(carrier, bench.message(recipient="+4915112345678"))
            await one(carrier, bench.message(recipient="+4915172345678"))
            await one(carrier, bench.message(recipient="+491601234567"))
            assert (smsc.submits.qsize(), second.submits.qsize()) == (2, 1)

    async def test_another_table_holds_at_once(self, bench: Bench, smsc: Smsc) -> None:
        await bench.route(await bench.add(smsc), mcc="262")
        async with bench.running() as carrier:
            await smsc.next_bound()
            message = bench.message(recipient="+4915112345678")
            assert await carrier.carried([message]) == set()
            await self.load(bench, ("49", "262", ""))
            async with asyncio.timeout(WAIT_S):
                carried = await carrier.carried([message])
                while not carried:
                    await asyncio.sleep(0)
                    carried = await carrier.carried([message])

    async def test_a_number_is_looked_up_and_the_table_read(self, bench: Bench) -> None:
        await self.load(bench, ("49", "262", ""), ("49151", "262", "01"))
        async with bench.database.transaction() as tx:
            assert (await bench.api.get_network(tx, "+4915112345678")).prefix == "49151"
            assert (await bench.api.get_network(tx, "%2B4930123456")).mnc == ""
            for unknown in ("+12125550100", "nothing"):
                with pytest.raises(NotFound):
                    await bench.api.get_network(tx, unknown)
            listed = await bench.api.list_networks(tx, Paging())
            assert [entry.prefix for entry in listed.items] == ["49", "49151"]
            twice = [api.NetworkEntry("49", "262"), api.NetworkEntry("49", "263")]
            with pytest.raises(InvalidParameter):
                await bench.api.set_networks(tx, api.NumberingTable(twice))
