"""The MMS carriers against an MMSC over real connections."""

import asyncio
import hashlib
import queue
import re
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from mmsc import WAIT_S, Mmsc, deliver, submit_rsp

from onterms.carriers.mms import MmsApi, MmsCarrier, MmsDoor, api, door, model, opening, reports, store
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import Forbidden, InvalidParameter, NotFound, Unavailable
from onterms.core.vault import Vault
from onterms.engines.api.own import OwnRequest
from onterms.engines.imaging import Studio
from onterms.ports.media import PictureRefused, StoredFile
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
from onterms.protocols import mm7

ACCOUNT = "AC" + "1" * 32
PNG = b"\x89PNG\r\n\x1a\n"


class Sink:
    """What a carrier reports to: queues."""

    def __init__(self) -> None:
        self.receipts: asyncio.Queue[Receipt] = asyncio.Queue()
        self.returned: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.messages: list[InboundMessage] = []
        self.is_down = False

    async def receipts_arrived(self, tx: Tx, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            self.receipts.put_nowait(receipt)

    async def put_back(self, tx: Tx, messages: Sequence[tuple[str, str]]) -> None:
        for message in messages:
            self.returned.put_nowait(message)

    async def look_through(self, messages: Any) -> Any:
        if self.is_down:
            raise Unavailable("The scanner cannot be asked")
        return messages

    async def messages_arrived(self, tx: Tx, messages: Sequence[InboundMessage]) -> list[str | None]:
        self.messages += messages
        return ["MM1"] * len(messages)

    async def receipt(self) -> Receipt:
        async with asyncio.timeout(WAIT_S):
            return await self.receipts.get()


class Shelf:
    """Files of any message."""

    def __init__(self) -> None:
        self.files = [StoredFile("ME1", "image/png", PNG)]

    async def files_of(self, account_sid: str, message_sid: str) -> list[StoredFile]:
        return self.files


class Bench:
    """A carrier with the operator's API beside it."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database, self.clock = database, clock
        self.vault = Vault(b"k" * 32)
        self.api = MmsApi(self.vault)
        self.sink, self.shelf = Sink(), Shelf()
        self.patience_s = 5.0
        self._serial = 0

    async def add(self, mmsc: Mmsc, prefix: str = "", name: str = "one", priority: int = 0, **settings: Any) -> str:
        """Add an MMSC with a route; return its SID."""
        request = OwnRequest("POST", {}, {}, {}, self.clock.now())
        body = api.MmsCarrierChange(**{"name": name, "url": mmsc.url, "throttle_s": 0.1, **settings})
        async with self.database.transaction() as tx:
            sid = (await self.api.make_carrier(tx, request, body)).sid
            route = api.NewMmsRoute(carrier_sid=sid, prefix=prefix, priority=priority)
            await self.api.make_route(tx, request, route)
        return sid

    @asynccontextmanager
    async def running(self) -> AsyncIterator[MmsCarrier]:
        carrier = MmsCarrier(
            self.database, self.clock, self.vault, self.sink, self.shelf, Studio(), patience_s=self.patience_s
        )
        await carrier.start()
        try:
            yield carrier
        finally:
            await carrier.close()

    def message(self, recipient: str = "+19075550100", **fields: Any) -> OutboundMessage:
        self._serial += 1
        return OutboundMessage(
            **{
                "sid": f"MM{self._serial:032x}",
                "account_sid": ACCOUNT,
                "sender": "+14155550123",
                "recipient": recipient,
                "body": "hello",
                "media_urls": ("https://files.example/1",),
                "segments": 1,
                "encoding": "GSM-7",
                **fields,
            }
        )

    async def rows(self) -> list[dict[str, Any]]:
        async with self.database.snapshot() as tx:
            return [dict(row) for row in await tx.fetch("SELECT * FROM mms_sent ORDER BY sid")]


@pytest.fixture
def bench(database: Database, clock: VirtualClock) -> Bench:
    return Bench(database, clock)


@pytest.fixture
def mmsc() -> Iterator[Mmsc]:
    made = Mmsc()
    made.start()
    yield made
    made.stop()


async def one(carrier: MmsCarrier, message: OutboundMessage) -> SubmitOutcome:
    [outcome] = await carrier.submit([message])
    return outcome


def md5(text: str) -> str:
    """RFC 7616 3.4.1, as older MMSCs do it."""
    return hashlib.md5(text.encode()).hexdigest()


async def got(mmsc: Mmsc) -> Any:
    return await asyncio.to_thread(mmsc.submit)


class TestSubmitting:
    async def test_a_message_is_written_as_the_settings_say(self, bench: Bench, mmsc: Mmsc) -> None:
        mmsc.auth = ("vasp", "p:w \u00fc")
        await bench.add(
            mmsc,
            username="vasp",
            password="p:w \u00fc",
            release="REL-6-MM7-1-4",
            version="6.8.0",
            prefixed=True,
            plus=False,
            smil=False,
            binary=True,
            service_code="gold",
            charged_party="Sender",
            message_class="Informational",
            delivery_report=False,
        )
        async with bench.running() as carrier:
            message = bench.message(valid_until=bench.clock.now() + timedelta(hours=1), sender="72345")
            assert await one(carrier, message) == Submitted(f"mmsc-{message.sid}", "mms")
            submitted = await got(mmsc)
        assert (submitted.recipient, submitted.sender) == ("19075550100", "72345")
        texts = {name: submitted.text(name) for name in ("MM7Version", "ServiceCode", "ChargedParty", "DeliveryReport")}
        assert texts == {
            "MM7Version": "6.8.0",
            "ServiceCode": "gold",
            "ChargedParty": "Sender",
            "DeliveryReport": "false",
        }
        assert submitted.text("ExpiryDate") == message.valid_until.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert [part.content_type for part in submitted.parts] == ["text/plain", "image/png"]
        assert submitted.parts[1].data == PNG
        assert submitted.headers["SOAPAction"] == '""'

    async def test_digest_credentials_are_shown_when_asked_for(self, bench: Bench, mmsc: Mmsc) -> None:
        mmsc.challenge = 'Digest realm="mm7", nonce="0f3a", qop="auth", algorithm=MD5'
        await bench.add(mmsc, auth="digest", username="vasp", password="word")
        async with bench.running() as carrier:
            message = bench.message()
            assert await one(carrier, message) == Submitted(f"mmsc-{message.sid}", "mms")
        submitted = await got(mmsc)
        shown = submitted.headers["Authorization"]
        fields = {name: value.strip('"') for name, value in re.findall(r'(\w+)=("[^"]*"|\w+)', shown)}
        one_hash, two_hash = md5("vasp:mm7:word"), md5("POST:/mm7")
        assert fields["response"] == md5(f"{one_hash}:0f3a:{fields['nc']}:{fields['cnonce']}:auth:{two_hash}")
        assert submitted.parts[-1].data == PNG

    async def test_the_longer_prefix_goes_before_the_shorter_and_a_paused_mmsc_behind_the_next(
        self, bench: Bench, mmsc: Mmsc
    ) -> None:
        other = Mmsc()
        other.start()
        try:
            await bench.add(mmsc, "1907", throttle_s=3600)
            await bench.add(other, "1", "two")
            mmsc.answer = lambda submitted: (503, "")
            async with bench.running() as carrier:
                assert isinstance(await one(carrier, bench.message()), Unreachable)
                assert isinstance(await one(carrier, bench.message()), Submitted)
                assert (len(mmsc.seen), len(other.seen)) == (1, 1)
                assert await carrier.carried([bench.message("+4930123456"), bench.message(media_urls=())]) == set()
        finally:
            other.stop()

    async def test_a_message_that_was_handed_over_before_is_not_again(self, bench: Bench, mmsc: Mmsc) -> None:
        await bench.add(mmsc)
        message = bench.message()
        async with bench.running() as carrier:
            first = await one(carrier, message)
        async with bench.running() as carrier:
            assert await carrier.carried([message]) == {message.sid}
            assert await one(carrier, message) == first
        assert len(mmsc.seen) == 1

    @pytest.mark.parametrize(("allowed", "sent"), [(False, 1), (True, 2)])
    async def test_a_lost_answer_is_unknown_unless_duplicates_are_allowed(
        self, bench: Bench, mmsc: Mmsc, allowed: bool, sent: int
    ) -> None:
        await bench.add(mmsc, allow_duplicates=allowed)
        mmsc.answer = lambda submitted: None if submitted.number == 1 else mmsc.take(submitted)
        message = bench.message()
        async with bench.running() as carrier:
            first = await one(carrier, message)
        assert isinstance(first, Unreachable if allowed else Unknown)
        async with bench.running() as carrier:
            second = await one(carrier, message)
        assert isinstance(second, Submitted if allowed else Unknown)
        assert len(mmsc.seen) == sent

    async def test_what_is_never_answered_fails_after_its_time(self, bench: Bench, mmsc: Mmsc) -> None:
        await bench.add(mmsc, ambiguous_s=600)
        mmsc.answer = lambda submitted: None
        message = bench.message()
        async with bench.running() as carrier:
            await one(carrier, message)
            await carrier.sweep()
            assert bench.sink.receipts.empty()
            bench.clock.hold(bench.clock.now() + timedelta(seconds=601))
            await carrier.sweep()
        receipt = await bench.sink.receipt()
        assert (receipt.message_sid, receipt.state, receipt.code) == (message.sid, "failed", model.TIMED_OUT)
        assert await bench.rows() == []

    @pytest.mark.parametrize(("later_s", "is_at_once"), [(0, False), (400, True)])
    async def test_a_report_for_a_message_that_nobody_marked_as_lost_counts_in_the_end(
        self, bench: Bench, mmsc: Mmsc, later_s: int, is_at_once: bool
    ) -> None:
        sid = await bench.add(mmsc, ambiguous_s=600)
        message = bench.message()
        async with bench.database.transaction() as tx:
            # As a crash leaves it while its answer is awaited and nobody asks again.
            new = store.NewSent(message.sid, ACCOUNT, sid, "14155550123", "19075550100")
            await store.put(tx, new, bench.clock.now())
        bench.clock.hold(bench.clock.now() + timedelta(seconds=later_s))
        async with bench.database.transaction() as tx:
            at = bench.clock.now()
            told = store.KeptReport(sid, "name", "14155550123", "19075550100", "delivered", None, at)
            found = await reports.match(tx, told, at)
        assert (found is not None) is is_at_once
        async with bench.running() as carrier:
            bench.clock.hold(bench.clock.now() + timedelta(seconds=601))
            await carrier.sweep()
        if found is None:
            found = await bench.sink.receipt()
        assert (found.message_sid, found.state) == (message.sid, "delivered")
        assert await bench.rows() == [] and bench.sink.receipts.empty()

    async def test_a_read_report_ends_the_message_of_its_name_and_no_other(self, bench: Bench, mmsc: Mmsc) -> None:
        sid = await bench.add(mmsc)
        mmsc.answer = lambda submitted: mmsc.take(submitted) if submitted.number == 1 else None
        async with bench.running() as carrier:
            named, lost = bench.message(), bench.message()
            await one(carrier, named)
            await one(carrier, lost)
            found = []
            for name in ("another's", f"mmsc-{named.sid}", f"mmsc-{named.sid}"):
                told = store.KeptReport(sid, name, "", "19075550100", "delivered", None, bench.clock.now())
                async with bench.database.transaction() as tx:
                    found.append(await reports.match(tx, told, bench.clock.now(), is_first=False))
            assert [each and each.message_sid for each in found] == [None, named.sid, None]
            # What came for others before does not speak for one that went out later.
            await one(carrier, bench.message())
        assert len(await bench.rows()) == 2
        assert bench.sink.receipts.empty()

    @pytest.mark.parametrize(
        ("answer", "outcome"),
        [
            ((401, ""), Unreachable),
            ((302, ""), Unreachable),
            ((404, "<html>"), Unreachable),
            ((429, ""), Unreachable),
            ((502, "<html>"), Unknown),
            ((200, "no XML"), Unknown),
            ((200, submit_rsp("t", "")), Unknown),
            ((413, ""), Refused),
        ],
    )
    async def test_answers_of_others_than_an_mmsc_say_what_they_can(
        self, bench: Bench, mmsc: Mmsc, answer: tuple[int, str], outcome: type
    ) -> None:
        await bench.add(mmsc)
        mmsc.answer = lambda submitted: answer
        async with bench.running() as carrier:
            assert isinstance(await one(carrier, bench.message()), outcome)
        assert len(await bench.rows()) == (1 if outcome is Unknown else 0)

    async def test_an_mmsc_that_is_not_there_is_unreachable(self, bench: Bench) -> None:
        gone = Mmsc()
        gone.start()
        await bench.add(gone)
        gone.stop()
        async with bench.running() as carrier:
            assert isinstance(await one(carrier, bench.message()), Unreachable)
        assert await bench.rows() == []

    async def test_codes_of_an_mmsc_of_its_own_kind_are_as_the_operator_says(self, bench: Bench, mmsc: Mmsc) -> None:
        await bench.add(mmsc, error_codes={"2568": 30004}, retry_codes=[2569])
        mmsc.answer = lambda submitted: (200, submit_rsp("t", "", 2568 if submitted.number == 1 else 2569))
        async with bench.running() as carrier:
            refused = await one(carrier, bench.message())
            assert isinstance(refused, Refused) and refused.code == 30004
            assert isinstance(await one(carrier, bench.message()), Unreachable)

    async def test_files_that_were_deleted_meanwhile_refuse_the_message(self, bench: Bench, mmsc: Mmsc) -> None:
        await bench.add(mmsc)
        bench.shelf.files = []
        async with bench.running() as carrier:
            refused = await one(carrier, bench.message())
        assert isinstance(refused, Refused) and refused.code == model.NO_FILES


class TestFollowing:
    """An MMSC that takes longer to answer than a submit waits."""

    @pytest.fixture
    def slow(self, mmsc: Mmsc) -> Iterator[Any]:
        """Keep the MMSC's answers back until told to go."""
        go = threading.Event()
        answers: queue.Queue[Any] = queue.Queue()

        def answer(submitted: Any) -> Any:
            assert go.wait(WAIT_S)
            return answers.get(timeout=WAIT_S)(submitted)

        mmsc.answer = answer

        def answers_with(made: Any) -> None:
            answers.put(made)
            go.set()

        yield answers_with
        go.set()

    async def follow(self, bench: Bench, carrier: MmsCarrier) -> OutboundMessage:
        message = bench.message()
        outcome = await one(carrier, message)
        assert outcome == Unknown("the MMSC has not answered yet", is_followed=True)
        # Whoever asks again meanwhile hears the same.
        assert isinstance(await one(carrier, message), Unknown)
        return message

    async def test_a_late_answer_is_reported_as_sent(self, bench: Bench, mmsc: Mmsc, slow: Any) -> None:
        await bench.add(mmsc)
        bench.patience_s = 0.05
        async with bench.running() as carrier:
            message = await self.follow(bench, carrier)
            slow(mmsc.take)
            receipt = await bench.sink.receipt()
        assert (receipt.message_sid, receipt.state, receipt.carrier_id) == (message.sid, "sent", f"mmsc-{message.sid}")

    async def test_a_late_refusal_is_reported_as_failed(self, bench: Bench, mmsc: Mmsc, slow: Any) -> None:
        await bench.add(mmsc)
        bench.patience_s = 0.05
        async with bench.running() as carrier:
            message = await self.follow(bench, carrier)
            slow(lambda submitted: (200, submit_rsp("t", "", 2003)))
            receipt = await bench.sink.receipt()
        assert (receipt.message_sid, receipt.state, receipt.code) == (message.sid, "failed", 30005)

    async def test_a_late_busy_puts_the_message_back(self, bench: Bench, mmsc: Mmsc, slow: Any) -> None:
        await bench.add(mmsc)
        bench.patience_s = 0.05
        async with bench.running() as carrier:
            message = await self.follow(bench, carrier)
            slow(lambda submitted: (200, submit_rsp("t", "", 4006)))
            async with asyncio.timeout(WAIT_S):
                assert await bench.sink.returned.get() == (ACCOUNT, message.sid)
        assert await bench.rows() == []

    async def test_messages_without_a_place_are_given_back_unwritten(self, bench: Bench, mmsc: Mmsc, slow: Any) -> None:
        await bench.add(mmsc, connections=1)
        bench.patience_s = 0.05
        async with bench.running() as carrier:
            messages = [bench.message(), bench.message()]
            outcomes = await carrier.submit(messages)
            assert [type(outcome) for outcome in outcomes] == [Unknown, Unreachable]
            assert [row["sid"] for row in await bench.rows()] == [messages[0].sid]
            slow(mmsc.take)
            await bench.sink.receipt()

    async def test_a_stop_leaves_what_is_under_way_written_down(self, bench: Bench, mmsc: Mmsc, slow: Any) -> None:
        await bench.add(mmsc)
        bench.patience_s = 0.05
        async with bench.running() as carrier:
            message = await self.follow(bench, carrier)
        slow(mmsc.take)
        async with bench.running() as carrier:
            assert await one(carrier, message) == Unknown(
                "it was handed over before, and no answer came", is_followed=True
            )
        [row] = await bench.rows()
        assert (row["sid"], row["is_lost"]) == (message.sid, True)
        await got(mmsc)
        assert len(mmsc.seen) == 1


class TestDoor:
    """What an MMSC brings, beside what the wire tests see."""

    async def bring(self, bench: Bench, sid: str, files: Sequence[tuple[str, bytes]], **options: Any) -> Any:
        kind, body = deliver("+447700900123", "+14155550123", files, **options)
        request = OwnRequest(
            "POST",
            {"sid": sid},
            {},
            {},
            bench.clock.now(),
            headers={
                b"content-type": kind.encode(),
                **({} if not (shown := self.shown) else {b"authorization": shown}),
            },
            raw_body=body,
            peer=self.peer,
        )
        door = MmsDoor(bench.database, bench.clock, bench.vault, bench.sink)
        [route] = door.routes()
        assert route.before_body is not None and route.free_handler is not None
        await route.before_body(request)
        return await route.free_handler(request)

    peer, shown = "10.1.2.3", b""

    async def test_while_the_scanner_is_down_the_mmsc_has_to_come_again(self, bench: Bench, mmsc: Mmsc) -> None:
        sid = await bench.add(mmsc, inbound_addresses=["10.0.0.0/8"])
        bench.sink.is_down = True
        reply = await self.bring(bench, sid, [("image/png", PNG)])
        found = mm7.decode(reply.content_type, reply.raw).message
        assert (reply.status, found) == (
            503,
            mm7.DeliverRsp(transaction_id="deliver-1", status=mm7.Status(4006, "Service unavailable")),
        )
        assert bench.sink.messages == []

    async def test_a_long_text_is_a_file_as_well_and_has_no_nul(self, bench: Bench, mmsc: Mmsc) -> None:
        sid = await bench.add(mmsc, inbound_addresses=["10.1.2.3"])
        await self.bring(bench, sid, [("text/plain", b"a\0b" * 1000), ("image/png", PNG)])
        [message] = bench.sink.messages
        assert message.body == ("ab" * 1000)[:1600]
        assert [(file.content_type, len(file.data)) for file in message.media] == [
            ("text/plain", 2000),
            ("image/png", len(PNG)),
        ]

    async def test_a_subject_stands_for_a_text_that_is_not_there(self, bench: Bench, mmsc: Mmsc) -> None:
        sid = await bench.add(mmsc, inbound_addresses=["10.1.2.3"])
        await self.bring(bench, sid, [("image/png", PNG)], subject="A dog")
        assert bench.sink.messages[0].body == "A dog"

    async def test_another_address_is_refused_before_its_body_is_read(self, bench: Bench, mmsc: Mmsc) -> None:
        sid = await bench.add(mmsc, inbound_addresses=["10.1.2.4"])
        with pytest.raises(Forbidden):
            await self.bring(bench, sid, [("image/png", PNG)])

    async def test_a_password_is_asked_for_also_from_a_known_address(self, bench: Bench, mmsc: Mmsc) -> None:
        sid = await bench.add(mmsc, inbound_addresses=["10.1.2.3"], inbound_username="m", inbound_password="w")
        for shown in (b"", b"Basic bTp4", b"Basic %%%", b"Bearer bTp3"):
            self.shown = shown
            with pytest.raises(door.Unauthorised):
                await self.bring(bench, sid, [("image/png", PNG)])
        self.shown = b"Basic bTp3"
        assert (await self.bring(bench, sid, [("image/png", PNG)])).status == 200

    async def test_a_carrier_that_is_switched_off_is_not_there(self, bench: Bench, mmsc: Mmsc) -> None:
        sid = await bench.add(mmsc, inbound_addresses=["10.1.2.3"], enabled=False)
        with pytest.raises(NotFound):
            await self.bring(bench, sid, [("image/png", PNG)])


class TestSettings:
    @pytest.mark.parametrize(
        "settings",
        [
            {"url": "ftp://mmsc.example/"},
            {"url": "http://user:word@mmsc.example/"},
            {"url": "http:///nobody"},
            {"username": "a:b"},
            {"vasp_id": "a\nb"},
            {"inbound_addresses": ["not one"]},
            {"auth": "digest"},
            {"tls_ca": "no certificate"},
            {"tls_certificate": "no certificate", "tls_key": "none"},
        ],
    )
    async def test_what_cannot_work_is_refused(self, bench: Bench, mmsc: Mmsc, settings: dict[str, Any]) -> None:
        with pytest.raises(InvalidParameter):
            await bench.add(mmsc, **settings)

    async def test_secrets_are_kept_when_nothing_is_said_of_them_and_are_never_shown(
        self, bench: Bench, mmsc: Mmsc
    ) -> None:
        sid = await bench.add(mmsc, password="secret one", inbound_password="secret two")
        request = OwnRequest("POST", {}, {}, {}, bench.clock.now())
        async with bench.database.transaction() as tx:
            shown = await bench.api.change_carrier(tx, request, sid, api.MmsCarrierChange(vas_id="new"))
            row = await tx.fetchrow("SELECT * FROM mms_carriers WHERE sid = $1", sid)
        assert (shown.vas_id, shown.has_password, shown.has_inbound_password) == ("new", True, True)
        assert "secret" not in repr(shown)
        carrier = opening.carrier_of(bench.vault, row)
        assert (carrier.password, carrier.inbound_password) == ("secret one", "secret two")
        assert "secret" not in repr(carrier)

    @pytest.mark.parametrize(
        ("written", "country", "number"),
        [
            ("447700900123", "", "+447700900123"),
            ("+447700900123", "", "+447700900123"),
            ("01083025800", "KR", "+821083025800"),
            ("821083025800", "KR", "+821083025800"),
            ("72345", "", "72345"),
        ],
    )
    def test_numbers_are_read_by_the_mmscs_country(self, written: str, country: str, number: str) -> None:
        settings = model.CarrierSettings(url="http://x/", country=country)
        assert model.number_of(settings, mm7.Address(written)) == number


class TestStudio:
    async def test_what_takes_too_long_is_ended(self) -> None:
        with pytest.raises(PictureRefused):
            await Studio(timeout_s=0.0).shrink(PNG, bytes_max=1000, side_max=100, types=["image/jpeg"])

    @pytest.mark.parametrize(
        "data", [b"", PNG, b"GIF89a" + bytes(100), b"\xff\xd8\xff" + bytes(100), b"RIFF0000WEBPVP8X"]
    )
    async def test_what_is_no_picture_is_refused(self, data: bytes) -> None:
        with pytest.raises(PictureRefused):
            await Studio().shrink(data, bytes_max=1000, side_max=100, types=["image/jpeg"])
