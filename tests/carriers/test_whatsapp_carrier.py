"""The WhatsApp carrier against a server on loopback that answers as Meta's, well and badly."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from onterms.carriers.whatsapp import Account, WhatsAppCarrier, save_account, store
from onterms.carriers.whatsapp.carrier import FOLLOW_TASK
from onterms.carriers.whatsapp.reading import read
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.vault import Vault
from onterms.engines import jobs
from onterms.ports.channels import ChannelSender, Standing
from onterms.ports.message_carrier import (
    Content,
    InboundMessage,
    OutboundMessage,
    Receipt,
    Refused,
    Submitted,
    Unknown,
    Unreachable,
)

AT = datetime(2030, 1, 15, 12, tzinfo=UTC)
ACCOUNT = "AC" + "1" * 32
SENDER = "XE" + "1" * 32
SOURCE, PEER = "whatsapp:+14155550100", "whatsapp:+19075550123"
TOKEN = "token-that-nobody-may-see"
NAMED = {"messaging_product": "whatsapp", "messages": [{"id": "wamid.1"}]}


class Upstream:
    """Remember requests and answer as told, the last answer for ever."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.answers: list[Any] = [(200, NAMED)]
        self.base_url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        body = json.loads(raw) if request.content_type == "application/json" and raw else raw
        self.requests.append((request.method, request.path, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "hang":
            await asyncio.Event().wait()
        if answer == "cut":
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, body = answer
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    def sent(self) -> list[dict[str, Any]]:
        """The messages that it was asked to send."""
        return [body for _, path, body in self.requests if path.endswith("/messages")]


class Sink:
    """Remember what the carrier reports."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.reported = asyncio.Event()

    async def receipts_arrived(self, tx: Tx, receipts: Sequence[Receipt]) -> None:
        self.receipts += receipts
        self.reported.set()

    async def look_through(self, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
        return list(messages)

    async def messages_arrived(self, tx: Tx, messages: Sequence[InboundMessage]) -> list[str | None]:
        return [None for _ in messages]

    async def standing_changed(self, tx: Tx, account_sid: str, sid: str, standing: Standing) -> None:
        raise AssertionError("nobody asked")

    async def senders_online(self, tx: Tx, addresses: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(addresses, ACCOUNT)


async def a_picture(account_sid: str, message_sid: str) -> list[tuple[str, bytes]]:
    return [("image/png", b"picture")]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v23.0"
    yield made
    await runner.cleanup()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def carrier(database: Database, upstream: Upstream, sink: Sink) -> AsyncIterator[WhatsAppCarrier]:
    clock, vault = VirtualClock(held_at=AT), Vault(bytes(range(32)))
    async with database.transaction() as tx:
        account = Account("100", "Test", upstream.base_url, TOKEN, "secret", "verify")
        await save_account(tx, vault, account, AT)
        await store.save_number(tx, ACCOUNT, SENDER, SOURCE, "100", "200", AT - timedelta(days=3))
        await store.set_verified(tx, ACCOUNT, SENDER)
        await store.open_window(tx, ACCOUNT, SOURCE, PEER, AT - timedelta(hours=1))
    async with WhatsAppCarrier(database, clock, vault, sink, a_picture, timeout_s=0.5) as made:
        yield made


def message(number: int = 1, **changes: Any) -> OutboundMessage:
    plain = OutboundMessage(f"SM{number:032x}", ACCOUNT, SOURCE, PEER, "Hello", (), 1, "GSM-7", channel="whatsapp")
    return replace(plain, **changes)


def error(code: int, status: int = 400) -> tuple[int, Any]:
    return status, {"error": {"message": "(#1) no", "code": code, "error_data": {"details": "because"}}}


async def one(carrier: WhatsAppCarrier, sent: OutboundMessage) -> Any:
    [outcome] = await carrier.submit([sent])
    return outcome


class TestSubmit:
    async def test_text_is_posted_with_its_sid_and_named_by_the_answer(self, carrier, upstream):
        assert await one(carrier, message()) == Submitted("wamid.1")
        [(method, path, body)] = upstream.requests
        assert (method, path) == ("POST", "/v23.0/200/messages")
        assert body == {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": "19075550123",
            "type": "text",
            "text": {"body": "Hello", "preview_url": False},
            "biz_opaque_callback_data": message().sid,
        }

    async def test_repeat_after_a_crash_is_answered_from_what_was_written_down(self, carrier, upstream):
        await one(carrier, message())
        assert await one(carrier, message()) == Submitted("wamid.1")
        assert len(upstream.sent()) == 1

    async def test_message_that_a_crash_left_unanswered_is_followed_and_not_sent_again(
        self, carrier, upstream, database
    ):
        async with database.transaction() as tx:
            await store.hand_over(tx, [(ACCOUNT, message().sid, "200")], AT)
        outcome = await one(carrier, message())
        assert isinstance(outcome, Unknown) and outcome.is_followed
        assert upstream.requests == []
        async with database.snapshot() as tx:
            assert await tx.fetchval("SELECT count(*) FROM jobs WHERE task = $1", FOLLOW_TASK) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            "hang",
            "cut",
            (200, "{"),
            (200, "[]"),
            (200, {"messages": "x"}),
            (200, {"messages": [{"id": 5}]}),
            (200, '"' + "x" * 2_000_000 + '"'),
            (504, "<html>Gateway Timeout</html>"),
            (500, {"error": "strange"}),
        ],
    )
    async def test_answer_that_tells_nothing_leaves_it_unknown(self, carrier, upstream, answer):
        upstream.answers = [answer]
        outcome = await one(carrier, message())
        assert isinstance(outcome, Unknown) and outcome.is_followed

    @pytest.mark.parametrize("code", [130429, 131056, 80007, 131016])
    async def test_limit_is_tried_again_later(self, carrier, upstream, code):
        upstream.answers = [error(code), (200, NAMED)]
        assert isinstance(await one(carrier, message()), Unreachable)
        assert await one(carrier, message()) == Submitted("wamid.1")

    async def test_what_follows_a_message_that_waits_waits_too(self, carrier, upstream):
        upstream.answers = [error(131056), (200, NAMED)]
        outcomes = await carrier.submit([message(1), message(2)])
        assert all(isinstance(outcome, Unreachable) for outcome in outcomes)
        assert len(upstream.sent()) == 1

    @pytest.mark.parametrize(
        ("meta", "code"),
        [(131026, 63024), (131047, 63016), (132001, 63027), (190, 63001), (200, 63001), (999999, 63012)],
    )
    async def test_refusal_has_the_customers_code_and_metas_words(self, carrier, upstream, meta, code):
        upstream.answers = [error(meta)]
        assert await one(carrier, message()) == Refused(code, "because")
        assert await one(carrier, message()) == Refused(code, "because")
        assert len(upstream.sent()) == 1

    async def test_nobody_listens_so_nothing_was_taken(self, carrier, database):
        async with database.transaction() as tx:
            await tx.execute("UPDATE whatsapp_accounts SET base_url = 'http://127.0.0.1:9/v23.0'")
        assert isinstance(await one(carrier, message()), Unreachable)

    async def test_closed_window_is_refused_without_asking(self, carrier, upstream, database):
        async with database.transaction() as tx:
            await tx.execute("UPDATE whatsapp_windows SET heard_at = $1", AT - timedelta(hours=24))
        assert (await one(carrier, message())).code == 63016
        assert upstream.requests == []

    async def test_number_that_moved_here_lately_asks_meta_about_the_window(self, carrier, upstream, database):
        async with database.transaction() as tx:
            await tx.execute("DELETE FROM whatsapp_windows")
            await tx.execute("UPDATE whatsapp_numbers SET enrolled_at = $1", AT - timedelta(hours=1))
        assert await one(carrier, message()) == Submitted("wamid.1")

    async def test_another_accounts_sender_is_not_sent_from(self, carrier, upstream):
        stolen = message(account_sid="AC" + "2" * 32)
        assert (await one(carrier, stolen)).code == 63007
        assert upstream.requests == []

    async def test_file_is_brought_up_and_sent_by_its_id(self, carrier, upstream):
        upstream.answers = [(200, {"id": "555"}), (200, NAMED)]
        sent = message(body="Look", media_urls=("https://files.example/1",))
        assert await one(carrier, sent) == Submitted("wamid.1")
        assert upstream.requests[0][1] == "/v23.0/200/media"
        assert b"picture" in upstream.requests[0][2]
        [body] = upstream.sent()
        assert (body["type"], body["image"]) == ("image", {"id": "555", "caption": "Look"})

    async def test_file_is_linked_where_the_account_wants_it(self, carrier, upstream, database):
        async with database.transaction() as tx:
            await tx.execute("UPDATE whatsapp_accounts SET uploads = false")
        await one(carrier, message(body="", media_urls=("https://files.example/1",)))
        [body] = upstream.sent()
        assert body["image"] == {"link": "https://files.example/1"}

    async def test_approved_template_is_sent_by_name_with_its_values_in_order(self, carrier, upstream):
        fields = {
            "body": "Hi {{2}}, order {{1}}.",
            "actions": [
                {"type": "URL", "title": "Track", "url": "https://shop.example/{{3}}"},
                {"type": "QUICK_REPLY", "title": "Thanks", "id": "t"},
            ],
        }
        content = Content(
            types={"twilio/card": fields},
            sid="HX" + "A" * 32,
            language="en",
            source={"twilio/card": fields},
            values={"1": "42", "2": "Ann\n", "3": "x"},
            template_name="order",
            template_category="UTILITY",
        )
        await one(carrier, message(content=content))
        [body] = upstream.sent()
        assert body["template"] == {
            "name": "order_hx" + "a" * 32,
            "language": {"code": "en"},
            "components": [
                {"type": "body", "parameters": [{"type": "text", "text": "42"}, {"type": "text", "text": "Ann "}]},
                {"type": "button", "index": "0", "sub_type": "url", "parameters": [{"type": "text", "text": "x"}]},
                {
                    "type": "button",
                    "index": "1",
                    "sub_type": "quick_reply",
                    "parameters": [{"type": "payload", "payload": "t"}],
                },
            ],
        }

    @pytest.mark.parametrize(
        "types",
        [
            {"twilio/quick-reply": {}},
            {"twilio/quick-reply": {"body": 5, "actions": None}},
            {"twilio/list-picker": {"body": "x", "button": "y", "items": [{}]}},
            {"twilio/call-to-action": {"body": "x", "actions": [{"type": "PHONE_NUMBER", "title": "Call"}]}},
        ],
    )
    async def test_content_that_cannot_be_shown_fails_alone(self, carrier, upstream, types):
        outcomes = await carrier.submit([message(1, body="", content=Content(types)), message(2)])
        assert isinstance(outcomes[0], Refused) and outcomes[0].code in (63005, 63021)
        assert outcomes[1] == Submitted("wamid.1")

    async def test_token_stands_in_no_log_and_no_table(self, carrier, upstream, database, caplog):
        caplog.set_level(logging.DEBUG)
        upstream.answers = ["cut"]
        await one(carrier, message())
        assert TOKEN not in caplog.text
        async with database.snapshot() as tx:
            row = await tx.fetchrow("SELECT * FROM whatsapp_accounts")
            assert row is not None and TOKEN.encode() not in row["token"]


class TestLateAnswers:
    @pytest.fixture
    def impatient(self, carrier: WhatsAppCarrier) -> WhatsAppCarrier:
        carrier._patience_s = 0.0
        return carrier

    async def test_answer_that_comes_late_is_reported(self, impatient, upstream, sink, database):
        outcome = await one(impatient, message())
        assert isinstance(outcome, Unknown) and outcome.is_followed
        async with asyncio.timeout(10):
            await sink.reported.wait()
        [receipt] = sink.receipts
        assert (receipt.state, receipt.carrier_id, receipt.message_sid) == ("sent", "wamid.1", message().sid)
        assert await one(impatient, message()) == Submitted("wamid.1")
        assert len(upstream.sent()) == 1

    async def test_refusal_that_comes_late_fails_the_message(self, impatient, upstream, sink):
        upstream.answers = [error(131026)]
        await one(impatient, message())
        async with asyncio.timeout(10):
            await sink.reported.wait()
        [receipt] = sink.receipts
        assert (receipt.state, receipt.code, receipt.reason) == ("failed", 63024, "because")

    async def test_what_was_said_first_goes_first_over_batches(self, impatient, upstream, sink):
        for number in range(1, 6):
            await one(impatient, message(number, body=str(number)))
        async with asyncio.timeout(10):
            while len(sink.receipts) < 5:
                sink.reported.clear()
                await sink.reported.wait()
        assert [body["text"]["body"] for body in upstream.sent()] == ["1", "2", "3", "4", "5"]


class TestFollowing:
    async def test_message_nobody_speaks_of_fails_after_an_hour(self, carrier, upstream, sink, database):
        upstream.answers = ["cut"]
        await one(carrier, message())
        clock = VirtualClock(held_at=AT + timedelta(hours=1, seconds=1))
        worker = jobs.Worker(database, clock, name="test")
        carrier.register(worker)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(10):
            await sink.reported.wait()
        await worker.stop(5.0)
        await running
        [lost] = sink.receipts
        assert (lost.message_sid, lost.state, lost.code) == (message().sid, "failed", 30410)


class TestSenders:
    async def test_wrong_account_is_told_and_nothing_asked(self, carrier, upstream):
        asked = ChannelSender(ACCOUNT, "XE" + "2" * 32, "whatsapp:+14155550199", {"waba_id": "999"})
        standing = await carrier.advance(asked, "enrol")
        assert isinstance(standing, Standing)
        assert (standing.status, standing.reasons[0][0]) == ("OFFLINE", 63101)
        assert upstream.requests == []

    async def test_verified_number_of_a_common_account_is_nobodys_for_the_asking(self, carrier, upstream):
        listed = {
            "data": [{"id": "300", "display_phone_number": "+1 415-555-0199", "code_verification_status": "VERIFIED"}]
        }
        upstream.answers = [(200, listed)]
        asked = ChannelSender(ACCOUNT, "XE" + "2" * 32, "whatsapp:+14155550199")
        standing = await carrier.advance(asked, "enrol")
        assert isinstance(standing, Standing)
        assert (standing.status, standing.reasons[0][0]) == ("OFFLINE", 63102)

    async def test_network_that_is_away_is_asked_again(self, carrier, upstream):
        upstream.answers = ["cut"]
        asked = ChannelSender(ACCOUNT, "XE" + "2" * 32, "whatsapp:+14155550199")
        assert isinstance(await carrier.advance(asked, "enrol"), Unreachable)


class TestReading:
    """Untrusted news: whatever it is, reading ends, and what is right in it is found."""

    def news(self, value: Any) -> Any:
        change = {"field": "messages", "value": value}
        return read({"entry": [{"id": "100", "changes": [change]}]}, AT)

    @pytest.mark.parametrize(
        "broken",
        [
            None,
            5,
            {},
            {"id": "wamid.2", "from": "x", "type": "text"},
            {"id": "w" * 300, "from": "19075550123", "type": "text"},
            {"id": "wamid.2", "from": "19075550123", "type": "reaction", "reaction": {"emoji": "x"}},
        ],
    )
    def test_broken_message_keeps_no_other_away(self, broken):
        good = {"id": "wamid.1", "from": "19075550123", "type": "text", "text": {"body": "Hi"}, "timestamp": "1"}
        found = self.news({"metadata": {"phone_number_id": "200"}, "messages": [broken, good]})
        assert [each.wamid for each in found.inbound] == ["wamid.1"]

    @pytest.mark.parametrize("timestamp", [None, "x", "-1", "9" * 30, 10**30, True, ["1"]])
    def test_strange_time_is_now(self, timestamp):
        status = {"id": "wamid.1", "status": "sent", "timestamp": timestamp}
        [found] = self.news({"metadata": {"phone_number_id": "200"}, "statuses": [status]}).statuses
        assert found.at == AT

    def test_text_that_no_database_takes_is_mended(self):
        bad = {"id": "wamid.1", "from": "19075550123", "type": "text", "text": {"body": "a\0b\ud800"}}
        [found] = self.news({"metadata": {"phone_number_id": "200"}, "messages": [bad]}).inbound
        assert found.body == "a\ufffdb?"
