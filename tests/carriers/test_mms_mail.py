"""MM4 both ways: a mail server of other makers takes what we send, and their client sends what we take."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from onterms.carriers.mms import MmsApi, MmsCarrier, MmsDoor, MmsMailDoor, api
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter, Unavailable
from onterms.core.vault import Vault
from onterms.engines.api.own import OwnRequest
from onterms.engines.imaging import Studio
from onterms.ports.media import StoredFile
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
from onterms.protocols import mm4
from onterms.protocols.mm7 import Address, File

WAIT_S = 10
ACCOUNT = "AC" + "1" * 32
PNG = b"\x89PNG\r\n\x1a\n\r\n.\r\n..dots\n"
US, THEM = "mm4@us.example", "mm4@them.example"
# aiosmtpd 1.4 uses an attribute of asyncio's transports that Python calls deprecated from 3.12 on.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:aiosmtpd.*")


class Sink:
    """What the carrier reports to."""

    def __init__(self) -> None:
        self.receipts: asyncio.Queue[Receipt] = asyncio.Queue()
        self.messages: list[InboundMessage] = []
        self.is_down = False
        self.knows = True

    async def receipts_arrived(self, tx: Tx, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            self.receipts.put_nowait(receipt)

    async def put_back(self, tx: Tx, messages: Any) -> None:
        raise AssertionError("nothing is slow here")

    async def look_through(self, messages: Any) -> Any:
        if self.is_down:
            raise Unavailable("The scanner cannot be asked")
        return messages

    async def messages_arrived(self, tx: Tx, messages: Sequence[InboundMessage]) -> list[str | None]:
        self.messages += messages
        return ["MM1" if self.knows else None] * len(messages)


class Shelf:
    async def files_of(self, account_sid: str, message_sid: str) -> list[StoredFile]:
        return [StoredFile("ME1", "image/png", PNG)]


class Peer:
    """The mail server of a peer's MMSC."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[Envelope] = asyncio.Queue()
        self.says = "250 taken"
        self.says_to_rcpt = "250 ok"
        self.port = 0

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.says_to_rcpt

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.says == "break":
            server.transport.abort()
            return ""
        if self.says.startswith("250"):
            self.taken.put_nowait(envelope)
        return self.says

    async def message(self) -> tuple[Envelope, mm4.Message]:
        async with asyncio.timeout(WAIT_S):
            envelope = await self.taken.get()
        assert isinstance(envelope.content, bytes)
        return envelope, mm4.decode(envelope.content)


class World:
    """A carrier and its door, with a peer."""

    def __init__(self, database: Database, clock: VirtualClock, peer: Peer) -> None:
        self.peer, self.sink, self.vault = peer, Sink(), Vault(b"k" * 32)
        self.database, self.clock = database, clock
        self.carrier = MmsCarrier(database, clock, self.vault, self.sink, Shelf(), Studio())
        door = MmsDoor(database, clock, self.vault, self.sink)
        self.door = MmsMailDoor(door, clock, "mm4.us.example")
        self.port = 0
        self.sid = ""

    async def add(self, **settings: Any) -> None:
        request = OwnRequest("POST", {}, {}, {}, self.clock.now())
        body = api.MmsCarrierChange(
            **{
                "name": "them",
                "url": f"smtp://127.0.0.1:{self.peer.port}",
                "protocol": "mm4",
                "mail_from": US,
                "mail_domain": "mms.them.example",
                "inbound_addresses": ["127.0.0.1"],
                "throttle_s": 0.1,
                "response_s": 5,
                **settings,
            }
        )
        async with self.database.transaction() as tx:
            rooms = MmsApi(self.vault)
            self.sid = (await rooms.make_carrier(tx, request, body)).sid
            await rooms.make_route(tx, request, api.NewMmsRoute(carrier_sid=self.sid))

    async def submit(self) -> SubmitOutcome:
        message = OutboundMessage(
            "MM" + "2" * 32, ACCOUNT, "+14155550123", "+447700900123", "h\u00ebllo", ("x",), 1, "GSM-7"
        )
        [outcome] = await self.carrier.submit([message])
        return outcome

    async def bring(self, message: mm4.Message) -> None:
        """Send a message to the door with a client of other makers."""
        mail = mm4.encode(
            message,
            mail_from=THEM,
            mail_to=US,
            mail_id="1@them.example",
            at=datetime(2026, 1, 1, tzinfo=UTC),
            boundary="b-1",
        )
        await self.bring_mail(mail)

    async def bring_mail(self, mail: bytes) -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=self.port, timeout=WAIT_S) as client:
            await client.sendmail(THEM, [US], mail)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: SMTP(made, hostname="mm4.them.example", loop=loop), "127.0.0.1", 0)
    made.port = listener.sockets[0].getsockname()[1]
    yield made
    listener.close()


@pytest.fixture
async def world(database: Database, clock: VirtualClock, peer: Peer) -> AsyncIterator[World]:
    made = World(database, clock, peer)
    await made.add()
    await made.carrier.start()
    made.port = await made.door.start("127.0.0.1", 0)
    yield made
    await made.door.stop()
    await made.carrier.close()


def forward(**fields: Any) -> mm4.ForwardReq:
    return mm4.ForwardReq(
        **{
            "transaction_id": "t1",
            "message_id": "m1@them.example",
            "sender": Address("+447700900123/TYPE=PLMN@mms.them.example", "RFC2822Address"),
            "recipients": (Address("+14155550123/TYPE=PLMN@us.example", "RFC2822Address"),),
            "files": (
                File("text/plain", "gr\u00fc\u00df".encode(), "t", "t.txt", "utf-8"),
                File("image/gif", PNG, "p"),
            ),
            "originator_system": THEM,
            **fields,
        }
    )


class TestSending:
    async def test_a_message_is_forwarded_and_ends_by_its_report(self, world: World) -> None:
        outcome = await world.submit()
        envelope, message = await world.peer.message()
        assert isinstance(message, mm4.ForwardReq) and isinstance(outcome, Submitted)
        assert (envelope.mail_from, envelope.rcpt_tos) == (US, ["+447700900123/TYPE=PLMN@mms.them.example"])
        assert (message.sender.number, message.message_id) == ("+14155550123", outcome.carrier_id)
        assert [file.data for file in message.files] == ["h\u00ebllo".encode(), PNG]
        assert message.originator_system == US
        await world.bring(mm4.response_to(message))
        assert world.sink.receipts.empty()
        await world.bring(
            mm4.DeliveryReportReq(
                transaction_id="r1",
                message_id=message.message_id,
                sender=message.sender,
                recipient=message.recipients[0],
                mm_status="Retrieved",
                originator_system=THEM,
            )
        )
        receipt = await world.sink.receipts.get()
        assert (receipt.account_sid, receipt.message_sid, receipt.state) == (ACCOUNT, "MM" + "2" * 32, "delivered")
        _, answer = await world.peer.message()
        assert answer == mm4.DeliveryReportRes(transaction_id="r1", message_id=message.message_id)

    async def test_what_the_peer_does_not_take_after_all_is_undelivered(self, world: World) -> None:
        await world.submit()
        _, message = await world.peer.message()
        assert isinstance(message, mm4.ForwardReq)
        await world.bring(mm4.response_to(message, "Error-content-not-accepted"))
        receipt = await world.sink.receipts.get()
        assert (receipt.state, receipt.code) == ("undelivered", 30019)

    @pytest.mark.parametrize(
        ("rcpt", "data", "outcome"),
        [
            ("550 nobody", "250 ok", Refused),
            ("451 later", "250 ok", Unreachable),
            ("250 ok", "554 no", Refused),
            ("250 ok", "552 too large", Refused),
            ("250 ok", "452 full", Unreachable),
            ("250 ok", "break", Unknown),
        ],
    )
    async def test_replies_of_the_mail_server_say_what_became_of_it(
        self, world: World, rcpt: str, data: str, outcome: type
    ) -> None:
        world.peer.says_to_rcpt, world.peer.says = rcpt, data
        assert isinstance(await world.submit(), outcome)


class TestReceiving:
    async def test_a_message_is_taken_once_and_answered(self, world: World) -> None:
        for _ in range(2):
            await world.bring(forward())
        one, two = world.sink.messages
        assert one.carrier_id == two.carrier_id
        assert (one.sender, one.recipient, one.body) == ("+447700900123", "+14155550123", "gr\u00fc\u00df")
        assert [(file.content_type, file.data) for file in one.media] == [("image/png", PNG)]
        envelope, answer = await world.peer.message()
        assert envelope.rcpt_tos == [THEM]
        assert answer == mm4.ForwardRes(transaction_id="t1", message_id="m1@them.example")

    async def test_a_number_of_nobody_is_answered_so(self, world: World) -> None:
        world.sink.knows = False
        await world.bring(forward())
        _, answer = await world.peer.message()
        assert isinstance(answer, mm4.ForwardRes) and answer.status == "Error-sending-address-unresolved"

    async def test_while_the_scanner_is_down_a_message_has_to_come_again(self, world: World) -> None:
        world.sink.is_down = True
        with pytest.raises(aiosmtplib.SMTPDataError) as caught:
            await world.bring(forward())
        assert caught.value.code == 451

    async def test_a_mail_that_is_no_message_is_refused_for_good(self, world: World) -> None:
        with pytest.raises(aiosmtplib.SMTPDataError) as caught:
            await world.bring_mail(b"Subject: buy\r\n\r\nnow\r\n")
        assert caught.value.code == 554

    async def test_strangers_are_not_let_in(self, world: World) -> None:
        async with world.database.transaction() as tx:
            await tx.execute("""UPDATE mms_carriers SET settings = settings || '{"inbound_addresses": ["10.0.0.1"]}'""")
        with pytest.raises(aiosmtplib.SMTPException):
            await world.bring(forward())
        assert world.sink.messages == []

    @pytest.mark.parametrize(
        ("said", "code"),
        [
            (b"DATA\r\n", b"503"),
            (b"RCPT TO:<a@b>\r\n", b"503"),
            (b"EHLO x\r\nMAIL FROM:<a b>\r\n", b"501"),
            (b"EHLO x\r\nMAIL FROM:<a@b> SIZE=99999999999\r\n", b"552"),
            (b"EHLO x\n", b"500"),
            (b"x" * 5000, b"500"),
            (b"VRFY a\r\n" * 30, b"421"),
        ],
    )
    async def test_nonsense_is_refused(self, world: World, said: bytes, code: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(said + b"QUIT\r\n")
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            answers = await reader.read()
        assert any(line.startswith(code) for line in answers.split(b"\r\n"))
        writer.close()


@pytest.mark.parametrize("settings", [{"mail_from": ""}, {"mail_domain": ""}, {"url": "http://x.example"}])
async def test_settings_that_mm4_cannot_work_with_are_refused(
    database: Database, clock: VirtualClock, settings: dict[str, str]
) -> None:
    with pytest.raises(InvalidParameter):
        await World(database, clock, Peer()).add(**settings)


class TestSession:
    """RFC 5321, torn and whole."""

    MAIL = b"a\r\n.b\r\n..\r\n\r\n.\n.\r\nend\r\n"

    def test_4_5_2_dots_are_taken_off_whatever_way_the_bytes_come(self) -> None:
        stuffed = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in self.MAIL.split(b"\r\n"))
        talk = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n" + stuffed + b".\r\nQUIT\r\n"
        for step in (1, 2, 7, len(talk)):
            session = mm4.MailSession("us")
            found: list[mm4.Mail] = []
            for at in range(0, len(talk), step):
                session.receive_data(talk[at : at + step])
                while (mail := session.next_event()) is not None:
                    found.append(mail)
                    session.answer(250, "ok")
            assert found == [mm4.Mail("a@b", ("c@d",), self.MAIL)]
            assert session.is_closed and session.data_to_send().endswith(b"221 goodbye\r\n")

    def test_an_empty_mail_is_one(self) -> None:
        session = mm4.MailSession("us")
        session.receive_data(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\n")
        assert session.next_event() == mm4.Mail("", ("c@d",), b"")
