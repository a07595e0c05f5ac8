"""The RCS carrier against the simulated platform over HTTP: its port, its webhook and a sink that remembers."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from rbm_server import RbmServer, serving

from onterms.carriers.rcs import RcsApi, RcsCarrier, RcsWebhook
from onterms.carriers.rcs.api import ConnectionChange, NewAgent
from onterms.carriers.rcs.webhook import Forged
from onterms.carriers.rcs_simulator import RcsSimulatorApi
from onterms.carriers.rcs_simulator.api import HandsetChange, NewMessage, Place, Subscription, Tap
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter, NotFound, Refusal
from onterms.core.ids import new_sid
from onterms.core.vault import Vault
from onterms.engines.api.own import OwnRequest
from onterms.engines.jobs import Stepper
from onterms.ports.channels import ChannelSender
from onterms.ports.media import Fetched, FetchFailed
from onterms.ports.message_carrier import (
    Content,
    InboundMessage,
    OutboundMessage,
    Receipt,
    Refused,
    SubmitOutcome,
    Submitted,
    Unknown,
    Unreachable,
)
from onterms.protocols import rbm
from onterms.protocols.rbm.webhook import envelope

TOKEN = "a-client-token-of-some-length"
ACCOUNT = "AC" + "0" * 32
USER = "+14155550121"
OFF = "+14155550128"
PLAIN = "+14155550129"


@dataclass
class Sink:
    """A messaging room that remembers what it was told."""

    receipts: list[Receipt] = field(default_factory=list)
    inbound: list[InboundMessage] = field(default_factory=list)

    async def receipts_arrived(self, tx: Tx, receipts: Sequence[Receipt]) -> None:
        tx.after_commit(lambda: self.receipts.extend(receipts))

    async def look_through(self, messages: Sequence[InboundMessage]) -> list[InboundMessage]:
        return list(messages)

    async def messages_arrived(self, tx: Tx, messages: Sequence[InboundMessage]) -> list[str | None]:
        known = {each.carrier_id for each in self.inbound}
        fresh = [each for each in messages if each.carrier_id not in known]
        tx.after_commit(lambda: self.inbound.extend(fresh))
        return [new_sid("SM", each.at) for each in messages]

    def states(self) -> list[tuple[str, int | None]]:
        return [(each.state, each.code) for each in self.receipts]


class Files:
    """One file on the web; every other address fails."""

    async def fetch(self, url: str, *, bytes_max: int) -> Fetched | FetchFailed:
        return Fetched("image/png", b"png") if url.endswith("/a.png") else FetchFailed(11200, "gone")


@dataclass
class Rig:
    """A carrier with one connection, and the platform on the other side."""

    database: Database
    clock: VirtualClock
    server: RbmServer
    carrier: RcsCarrier
    webhook: RcsWebhook
    sink: Sink
    api: RcsApi
    handsets: RcsSimulatorApi
    stepper: Stepper
    connection: str = ""

    async def call(self, handler: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Call a handler of an API in a transaction of its own."""
        async with self.database.transaction() as tx:
            return await handler(tx, *args)

    @property
    def request(self) -> OwnRequest:
        return OwnRequest("POST", {}, {}, {}, self.clock.now())

    def message(self, to: str = USER, sender: str = "rcs:shop", **fields: Any) -> OutboundMessage:
        given = {"body": "Hello", "media_urls": (), "segments": 1, "encoding": "GSM-7", "channel": "rcs"} | fields
        return OutboundMessage(new_sid("SM", self.clock.now()), ACCOUNT, sender, f"rcs:{to}", **given)

    async def send(self, message: OutboundMessage) -> SubmitOutcome:
        [outcome] = await self.carrier.submit([message])
        return outcome

    async def shown(self, number: str = USER) -> list[Any]:
        return (await self.call(self.handsets.list_messages, number)).items

    async def rest(self) -> None:
        """Run every job that is due."""
        while await self.stepper.step() is not None:
            pass

    async def later(self, **span: float) -> None:
        self.clock.hold(self.clock.now() + timedelta(**span))
        await self.rest()

    async def push(self, signature: str, body: bytes) -> int:
        try:
            await self.webhook.take(self.connection, signature, body)
        except Refusal as refusal:
            return refusal.status
        return 200

    async def arrives(self, fields: dict[str, Any], *, token: str = TOKEN, connection: str = "") -> bytes:
        """Push something by hand, as the platform would."""
        data = json.dumps(fields).encode()
        body = envelope(data, "1", "2030-01-01T12:00:00Z")
        return await self.webhook.take(connection or self.connection, rbm.sign(token, data), body)


@pytest.fixture
async def rig(database: Database, clock: VirtualClock) -> AsyncIterator[Rig]:
    vault = Vault(bytes(32))
    sink = Sink()
    async with serving(database, clock, TOKEN) as server:
        carrier = RcsCarrier(database, clock, vault, sink)
        webhook = RcsWebhook(database, clock, carrier, sink, Files())
        handsets = RcsSimulatorApi(server.platform)
        stepper = Stepper(database, clock, name="test")
        carrier.register(stepper)
        server.platform.register(stepper)
        await stepper.begin()
        rig = Rig(database, clock, server, carrier, webhook, sink, RcsApi(vault), handsets, stepper)
        key = server.platform.key_file()
        change = ConnectionChange(
            name="Google", service_account=key, client_token=TOKEN, base_url=server.url, timeout_s=1.0
        )
        rig.connection = (await rig.call(rig.api.make_connection, rig.request, change)).sid
        agent = NewAgent(name="shop", agent_id="shop_agent", account_sid=ACCOUNT)
        await rig.call(rig.api.add_agent, rig.request, rig.connection, agent)
        server.platform.push = rig.push
        await carrier.start()
        yield rig
        await carrier.close()


class TestSending:
    async def test_text_arrives_under_the_messages_sid_and_is_delivered_once(self, rig: Rig) -> None:
        message = rig.message()
        assert await rig.send(message) == Submitted(message.sid, "rcs")
        [shown] = await rig.shown()
        assert (shown.sid, shown.agent, shown.text) == (message.sid, "shop_agent", "Hello")
        await rig.rest()
        assert rig.sink.states() == [("delivered", None)]
        assert rig.sink.receipts[0].account_sid == ACCOUNT

    async def test_the_same_message_again_is_recognised_and_shown_once(self, rig: Rig) -> None:
        message = rig.message()
        await rig.send(message)
        assert await rig.send(message) == Submitted(message.sid, "rcs")
        assert len(await rig.shown()) == 1

    async def test_one_token_serves_many_messages(self, rig: Rig) -> None:
        outcomes = await rig.carrier.submit([rig.message(f"+1415555{number:04d}") for number in (101, 102, 103)])
        assert all(isinstance(outcome, Submitted) for outcome in outcomes)
        assert len(rig.server.asked("/token")) == 1

    async def test_messages_to_one_user_arrive_in_order(self, rig: Rig) -> None:
        await rig.carrier.submit([rig.message(body=str(number)) for number in range(8)])
        assert [shown.text for shown in await rig.shown()] == [str(number) for number in range(8)]

    async def test_card_shows_its_parts_and_its_buttons(self, rig: Rig) -> None:
        card = {
            "title": "Shoes",
            "subtitle": "New",
            "body": "Two for one",
            "media": ["https://example.com/a.png"],
            "actions": [
                {"type": "QUICK_REPLY", "title": "Buy", "id": "buy-1"},
                {"type": "URL", "title": "Look", "url": "https://example.com/", "webview_size": "HALF"},
                {"type": "PHONE_NUMBER", "title": "Call", "phone": "+14155550100"},
            ],
        }
        content = Content({"twilio/card": card, "twilio/text": {"body": "Shoes"}})
        assert isinstance(await rig.send(rig.message(body="", content=content)), Submitted)
        [shown] = await rig.shown()
        content_shown = shown.message["contentMessage"]["richCard"]["standaloneCard"]["cardContent"]
        assert content_shown["title"] == "Shoes"
        assert content_shown["description"] == "Two for one\nNew"
        assert content_shown["media"]["contentInfo"]["fileUrl"] == "https://example.com/a.png"
        assert [next(iter(each.values()))["text"] for each in shown.suggestions] == ["Buy", "Look", "Call"]
        assert shown.suggestions[0]["reply"]["postbackData"] == "buy-1"
        assert shown.suggestions[1]["action"]["openUrlAction"]["webviewViewMode"] == "HALF"

    @pytest.mark.parametrize(
        ("types", "part"),
        [
            (
                {"twilio/carousel": {"cards": [{"title": "A", "body": "a"}, {"title": "B", "body": "b"}]}},
                "carouselCard",
            ),
            (
                {"twilio/quick-reply": {"body": "Well?", "actions": [{"title": "Yes", "id": "y"}]}},
                '"postbackData":"y"',
            ),
            (
                {"twilio/call-to-action": {"body": "Go", "actions": [{"type": "VOICE_CALL", "title": "Call",
                 "phone": "+14155550100"}]}},
                "dialAction",
            ),
            (
                {"twilio/location": {"latitude": 52.5, "longitude": 13.4, "label": "Berlin"}},
                '"latLong":{"latitude":52.5,"longitude":13.4}',
            ),
            (
                {"twilio/schedule": {"id": "s", "title": "Fitting", "timeSlots":
                 '[{"id": "1", "name": "Monday", "startTime": "2030-01-07T10:00:00Z", "duration": 1800}]'}},
                '"endTime":"2030-01-07T10:30:00.000Z"',
            ),
        ],
    )  # fmt: skip
    async def test_each_content_type_is_taken_by_the_platform(self, rig: Rig, types: dict[str, Any], part: str) -> None:
        assert isinstance(await rig.send(rig.message(body="", content=Content(types))), Submitted)
        [shown] = await rig.shown()
        assert part in json.dumps(shown.message, separators=(",", ":"))

    async def test_files_become_one_message(self, rig: Rig) -> None:
        one, two = "https://example.com/a.png", "https://example.com/b.png"
        await rig.send(rig.message(body="", media_urls=(one,)))
        await rig.send(rig.message(body="Both", media_urls=(one, two)))
        first, second = await rig.shown()
        assert first.message["contentMessage"] == {"contentInfo": {"fileUrl": one}}
        cards = second.message["contentMessage"]["richCard"]["carouselCard"]["cardContents"]
        assert [card["media"]["contentInfo"]["fileUrl"] for card in cards] == [one, two]

    @pytest.mark.parametrize(
        "types",
        [
            {"twilio/list-picker": {"body": "", "items": []}},
            {"twilio/quick-reply": {"body": "Well?", "actions": [{"title": "A" * 26, "id": "y"}]}},
            {"twilio/carousel": {"cards": [{"title": "A", "body": "a"}]}},
            {"twilio/schedule": {"id": "s", "title": "Fitting", "timeSlots": "tomorrow"}},
            {"twilio/card": {"title": "A", "body": "b", "actions": [{"type": "COPY_CODE", "title": "C"}]}},
        ],
    )
    async def test_what_rcs_cannot_show_is_refused_and_never_asked_for(self, rig: Rig, types: dict[str, Any]) -> None:
        outcome = await rig.send(rig.message(body="", content=Content(types)))
        assert isinstance(outcome, Refused) and outcome.code == 63006
        assert not rig.server.requests


class TestNotReached:
    async def test_handset_without_rcs_is_refused_with_63036(self, rig: Rig) -> None:
        outcome = await rig.send(rig.message(PLAIN))
        assert isinstance(outcome, Refused) and (outcome.code, outcome.carrier) == (63036, "rcs")

    async def test_handset_without_carousels_is_not_sent_one(self, rig: Rig) -> None:
        await rig.call(rig.handsets.set_handset, rig.request, USER, HandsetChange(features=["RICHCARD_STANDALONE"]))
        cards = [{"title": "A", "body": "a"}, {"title": "B", "body": "b"}]
        outcome = await rig.send(rig.message(body="", content=Content({"twilio/carousel": {"cards": cards}})))
        assert isinstance(outcome, Refused) and outcome.code == 63036
        assert await rig.shown() == []

    async def test_unknown_agent_is_refused_with_63007(self, rig: Rig) -> None:
        outcome = await rig.send(rig.message(sender="rcs:nobody"))
        assert isinstance(outcome, Refused) and outcome.code == 63007

    async def test_a_switched_off_handset_gets_it_when_it_is_on(self, rig: Rig) -> None:
        await rig.send(rig.message(OFF))
        await rig.rest()
        assert rig.sink.states() == []
        await rig.call(rig.handsets.set_handset, rig.request, OFF, HandsetChange(is_on=True))
        await rig.rest()
        assert rig.sink.states() == [("delivered", None)]

    async def test_what_is_not_delivered_in_its_time_is_revoked_once(self, rig: Rig) -> None:
        message = rig.message(OFF, valid_until=rig.clock.now() + timedelta(minutes=5))
        await rig.send(message)
        await rig.later(minutes=6)
        await rig.later(hours=1)
        assert rig.sink.states() == [("undelivered", 63036)]
        assert [shown.state for shown in await rig.shown(OFF)] == ["revoked"]

    async def test_a_platform_that_forgets_to_revoke_is_asked_to(self, rig: Rig) -> None:
        await rig.send(rig.message(OFF, valid_until=rig.clock.now() + timedelta(minutes=5)))
        async with rig.database.transaction() as tx:
            await tx.execute("DELETE FROM jobs WHERE task = 'rcs_simulator.expire'")
        await rig.later(minutes=5, seconds=30)
        assert rig.sink.states() == []
        await rig.later(minutes=1)
        assert [each.method for each in rig.server.asked("/agentMessages/")] == ["DELETE"]
        assert rig.sink.states() == [("undelivered", 63036)]
        assert [shown.state for shown in await rig.shown(OFF)] == ["revoked"]

    async def test_a_failed_revocation_leaves_the_message_until_it_is_known(self, rig: Rig) -> None:
        message = rig.message()
        await rig.send(message)
        await rig.arrives(
            {"agentId": "shop_agent", "phoneNumber": USER, "eventType": "TTL_EXPIRATION_REVOKE_FAILED",
             "eventId": "E1", "messageId": message.sid}
        )  # fmt: skip
        assert rig.sink.states() == []
        await rig.rest()
        assert rig.sink.states() == [("delivered", None)]

    async def test_a_delivery_told_after_the_revocation_changes_nothing(self, rig: Rig) -> None:
        message = rig.message(OFF, valid_until=rig.clock.now() + timedelta(minutes=5))
        await rig.send(message)
        await rig.later(minutes=6)
        await rig.arrives(
            {"agentId": "shop_agent", "senderPhoneNumber": OFF, "eventType": "DELIVERED", "eventId": "late",
             "messageId": message.sid}
        )  # fmt: skip
        assert rig.sink.states() == [("undelivered", 63036)]


class TestTrouble:
    async def test_a_rate_limit_is_for_later_and_the_next_try_goes_through(self, rig: Rig) -> None:
        rig.server.answers = [rbm.Answer(429, b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}')]
        message = rig.message()
        outcome = await rig.send(message)
        assert isinstance(outcome, Unreachable) and "RESOURCE_EXHAUSTED" in outcome.reason
        assert await rig.send(message) == Submitted(message.sid, "rcs")

    async def test_what_was_taken_in_spite_of_a_503_is_shown_once(self, rig: Rig) -> None:
        rig.server.answers, rig.server.takes = [rbm.Answer(503)], True
        message = rig.message()
        assert isinstance(await rig.send(message), Unreachable)
        assert await rig.send(message) == Submitted(message.sid, "rcs")
        assert len(await rig.shown()) == 1

    async def test_after_a_crash_before_the_answer_is_kept_the_same_words_go_out(self, rig: Rig) -> None:
        message = rig.message()
        await rig.send(message)
        first = rig.server.asked("/agentMessages?")[0]
        async with rig.database.transaction() as tx:
            await tx.execute("UPDATE rcs_messages SET state = 'handed', request = $1", json.loads(first.body))
        assert await rig.send(replace(message, body="Other")) == Submitted(message.sid, "rcs")
        again = rig.server.asked("/agentMessages?")[1]
        assert (again.url, json.loads(again.body)) == (first.url, json.loads(first.body))
        assert [shown.text for shown in await rig.shown()] == ["Hello"]

    async def test_a_delivery_told_before_the_answer_is_kept(self, rig: Rig) -> None:
        message = rig.message()

        async def hurry() -> rbm.Answer:
            await rig.rest()
            return rbm.Answer(200, b"{}")

        rig.server.answers, rig.server.takes = [hurry], True
        assert await rig.send(message) == Submitted(message.sid, "rcs")
        await rig.later(hours=1)
        assert rig.sink.states() == [("delivered", None)]

    @pytest.mark.parametrize("took_it", [True, False])
    async def test_no_answer_is_resolved_by_asking_again_under_the_same_name(self, rig: Rig, took_it: bool) -> None:
        async def silence() -> rbm.Answer:
            await asyncio.sleep(3600)
            raise AssertionError

        rig.server.answers, rig.server.takes = [silence], took_it
        message = rig.message()
        outcome = await rig.send(message)
        assert isinstance(outcome, Unknown) and outcome.is_followed
        await rig.later(seconds=10)
        assert len(await rig.shown()) == 1
        assert rig.sink.states()[-1] == ("delivered", None)
        names = {each.url for each in rig.server.asked("/agentMessages?")}
        assert len(names) == 1 and message.sid in names.pop()

    async def test_a_slow_platform_keeps_nobody_waiting_and_is_then_left_alone(self, rig: Rig) -> None:
        rig.carrier._patience_s = 0.2

        async def silence() -> rbm.Answer:
            await asyncio.sleep(3600)
            raise AssertionError

        rig.server.answers = [silence]
        begun = asyncio.get_running_loop().time()
        first, second = rig.message(body="1"), rig.message(body="2")
        asked, waiting = await rig.carrier.submit([first, second])
        assert asyncio.get_running_loop().time() - begun < 1
        # The first may be there; the second never left.
        assert isinstance(asked, Unknown) and isinstance(waiting, Unreachable)
        assert isinstance(await rig.send(second), Unreachable)
        assert len(rig.server.asked("/agentMessages?")) == 1
        await rig.later(seconds=10)
        assert [shown.text for shown in await rig.shown()] == ["1"]

    async def test_a_slow_token_is_waited_for_by_the_next_messages(self, rig: Rig) -> None:
        rig.carrier._patience_s = 0.1
        ready = asyncio.Event()
        ask = rig.server.platform.ask

        async def slow(request: rbm.Request) -> rbm.Answer:
            if request.url.endswith("/token"):
                await ready.wait()
            return await ask(request)

        rig.server.platform.ask = slow  # type: ignore[method-assign]
        message = rig.message()
        assert isinstance(await rig.send(message), Unreachable)
        ready.set()
        way = rig.carrier.way("shop")
        assert way is not None
        way[0].upstream._rests_until = 0.0
        rig.carrier._patience_s = 5.0
        assert isinstance(await rig.send(message), Submitted)
        assert len(rig.server.asked("/token")) == 1

    async def test_a_platform_that_never_answers_fails_the_message_in_the_end(self, rig: Rig) -> None:
        rig.server.answers = [rbm.Answer(500)] * 1000
        assert isinstance(await rig.send(rig.message()), Unknown)
        await rig.later(minutes=30)
        assert rig.sink.states() == []
        await rig.later(minutes=31)
        assert rig.sink.states() == [("failed", 30410)]

    @pytest.mark.parametrize(("status", "code"), [(400, 63005), (403, 63035), (404, 63036)])
    async def test_refusals_have_twilios_codes(self, rig: Rig, status: int, code: int) -> None:
        rig.server.answers = [rbm.Answer(status, b'{"error":{"code":1,"message":"because","status":"X"}}')]
        outcome = await rig.send(rig.message())
        assert isinstance(outcome, Refused) and outcome.code == code and "because" in outcome.reason

    @pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[1]", b'{"error": 7}', b"<html>"])
    async def test_answers_that_are_no_json_are_read_by_their_status(self, rig: Rig, body: bytes) -> None:
        rig.server.answers = [rbm.Answer(404, body)]
        outcome = await rig.send(rig.message())
        assert isinstance(outcome, Refused) and outcome.code == 63036

    async def test_a_revoked_token_is_replaced(self, rig: Rig) -> None:
        await rig.send(rig.message())
        rig.server.platform._token_key = bytes(32)
        assert isinstance(await rig.send(rig.message()), Submitted)
        assert len(rig.server.asked("/token")) == 2

    async def test_no_connection_is_for_later(self, rig: Rig) -> None:
        change = ConnectionChange(base_url="http://127.0.0.1:1")
        await rig.call(rig.api.change_connection, rig.request, rig.connection, change)
        await rig.carrier._reload()
        assert isinstance(await rig.send(rig.message()), Unreachable)


class TestWebhook:
    async def test_text_from_a_user_comes_in_once_and_is_marked_read(self, rig: Rig) -> None:
        fields = {"agentId": "shop_agent@rbm.goog", "senderPhoneNumber": USER, "messageId": "M1", "text": "Hi",
                  "sendTime": "2030-01-01T12:00:00.123456789Z"}  # fmt: skip
        await rig.arrives(fields)
        await rig.arrives(fields)
        [inbound] = rig.sink.inbound
        assert (inbound.sender, inbound.recipient, inbound.body) == (f"rcs:{USER}", "rcs:shop", "Hi")
        await rig.rest()
        event = rig.server.asked("/agentEvents")[0]
        assert json.loads(event.body) == {"eventType": "READ", "messageId": "M1"}

    async def test_a_tap_brings_the_buttons_payload(self, rig: Rig) -> None:
        actions = [{"title": "Yes", "id": "payload-1"}]
        await rig.send(rig.message(content=Content({"twilio/quick-reply": {"body": "Well?", "actions": actions}})))
        [shown] = await rig.shown()
        await rig.call(rig.handsets.tap, rig.request, USER, str(shown.id), Tap(text="Yes"))
        await rig.rest()
        [inbound] = rig.sink.inbound
        assert inbound.body == "Yes" and inbound.details is not None
        assert (inbound.details.button_text, inbound.details.button_payload) == ("Yes", "payload-1")

    async def test_places_and_files_come_in(self, rig: Rig) -> None:
        place = NewMessage(agent="rcs:shop_agent", location=Place(latitude=52.5, longitude=13.4))
        await rig.call(rig.handsets.write, rig.request, USER, place)
        for name in ("a.png", "gone.png"):
            file = NewMessage(agent="shop_agent", file_url=f"https://example.com/{name}")
            await rig.call(rig.handsets.write, rig.request, USER, file)
        await rig.rest()
        located, file, lost = rig.sink.inbound
        assert located.details is not None and (located.details.latitude, located.details.longitude) == ("52.5", "13.4")
        assert [(each.content_type, each.data) for each in file.media] == [("image/png", b"png")]
        assert (lost.media, lost.body) == ((), "https://example.com/gone.png")

    async def test_read_follows_delivered(self, rig: Rig) -> None:
        await rig.send(rig.message())
        await rig.rest()
        [shown] = await rig.shown()
        await rig.call(rig.handsets.read, rig.request, USER, str(shown.id))
        await rig.rest()
        assert rig.sink.states() == [("delivered", None), ("read", None)]

    async def test_unsubscribing_is_heard_as_stop(self, rig: Rig) -> None:
        for wish in ("unsubscribe", "subscribe"):
            await rig.call(rig.handsets.subscribe, rig.request, USER, Subscription(agent="shop_agent", wish=wish))
        await rig.rest()
        assert [each.body for each in rig.sink.inbound] == ["STOP", "START"]

    async def test_a_forged_signature_changes_nothing(self, rig: Rig) -> None:
        message = rig.message()
        await rig.send(message)
        event = {"agentId": "shop_agent", "senderPhoneNumber": USER, "eventType": "READ", "eventId": "E",
                 "messageId": message.sid}  # fmt: skip
        with pytest.raises(Forged):
            await rig.arrives(event, token="another-token-of-some-length")
        with pytest.raises(Forged):
            await rig.webhook.take(rig.connection, "", envelope(json.dumps(event).encode(), "1", ""))
        with pytest.raises(NotFound):
            await rig.arrives(event, connection="QB" + "0" * 32)
        assert rig.sink.states() == []

    async def test_another_connections_word_on_a_message_does_not_count(self, rig: Rig) -> None:
        other = ConnectionChange(
            name="Other", service_account=rig.server.platform.key_file(), client_token="other-token-of-some-length",
            base_url=rig.server.url,
        )  # fmt: skip
        sid = (await rig.call(rig.api.make_connection, rig.request, other)).sid
        await rig.call(
            rig.api.add_agent, rig.request, sid, NewAgent(name="theirs", agent_id="shop_agent", account_sid=ACCOUNT)
        )
        await rig.carrier._reload()
        message = rig.message()
        await rig.send(message)
        event = {"agentId": "shop_agent", "senderPhoneNumber": USER, "eventType": "READ", "eventId": "E",
                 "messageId": message.sid}  # fmt: skip
        await rig.arrives(event, token="other-token-of-some-length", connection=sid)
        # Nor does that of the right one about another user.
        await rig.arrives(event | {"senderPhoneNumber": OFF})
        assert rig.sink.states() == []

    @pytest.mark.parametrize(
        "body",
        [b"", b"[]", b"{}", b'{"message":{"data":"%%%"}}', b'{"message":{"data":""}}', b"\xff", b'{"message":7}'],
    )
    async def test_what_is_no_push_is_refused(self, rig: Rig, body: bytes) -> None:
        with pytest.raises(InvalidParameter):
            await rig.webhook.take(rig.connection, "", body)

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"agentId": 7},
            {"agentId": "shop_agent", "senderPhoneNumber": USER},
            {"agentId": "shop_agent", "senderPhoneNumber": USER, "eventType": "NEW", "eventId": "E"},
            {"agentId": "gone_agent", "senderPhoneNumber": USER, "text": "Hi", "messageId": "M"},
            {"agentId": "shop_agent", "senderPhoneNumber": USER, "text": "Hi", "messageId": "M", "sendTime": "x"},
        ],
    )
    async def test_genuine_pushes_of_no_use_are_answered_so_that_others_need_not_wait(
        self, rig: Rig, fields: dict[str, Any]
    ) -> None:
        assert await rig.arrives(fields) == b""
        assert rig.sink.inbound == []

    async def test_the_challenge_is_answered_for_the_right_token_only(self, rig: Rig) -> None:
        challenge = {"clientToken": TOKEN, "secret": "s3cret"}
        assert await rig.webhook.take(rig.connection, "", json.dumps(challenge).encode()) == b"s3cret"
        with pytest.raises(Forged):
            await rig.webhook.take(rig.connection, "", json.dumps(challenge | {"clientToken": "no"}).encode())


class TestSenders:
    async def test_an_agent_is_online_for_its_own_account_only(self, rig: Rig) -> None:
        mine = ChannelSender(ACCOUNT, "XE1", "rcs:shop")
        assert getattr(await rig.carrier.advance(mine, "enrol"), "status", "") == "ONLINE"
        for account, address in (("AC" + "1" * 32, "rcs:shop"), (ACCOUNT, "rcs:nobody")):
            standing = await rig.carrier.advance(ChannelSender(account, "XE2", address), "enrol")
            assert getattr(standing, "status", "") == "OFFLINE"

    async def test_typing_is_shown(self, rig: Rig) -> None:
        assert await rig.carrier.show_typing("rcs:shop", f"rcs:{USER}", "M1") is None
        assert json.loads(rig.server.asked("/agentEvents")[0].body) == {"eventType": "IS_TYPING"}
        assert await rig.carrier.show_typing("rcs:shop", f"rcs:{PLAIN}", "M1") == 63036


class TestOperator:
    async def test_secrets_are_sealed_and_never_shown(self, rig: Rig) -> None:
        shown = await rig.call(rig.api.get_connection, rig.connection)
        assert TOKEN not in repr(shown) and "PRIVATE" not in repr(shown)
        async with rig.database.transaction() as tx:
            row = await tx.fetchrow("SELECT * FROM rcs_connections")
        assert row is not None
        assert TOKEN.encode() not in row["client_token"] and b"PRIVATE" not in row["service_account"]

    @pytest.mark.parametrize(
        "change",
        [
            {"service_account": "{}"},
            {"service_account": json.dumps({"type": "service_account", "client_email": "a", "private_key": "x"})},
            {"base_url": "http://example.com"},
        ],
    )
    async def test_settings_that_cannot_work_are_refused(self, rig: Rig, change: dict[str, Any]) -> None:
        with pytest.raises(InvalidParameter) as refused:
            await rig.call(rig.api.change_connection, rig.request, rig.connection, ConnectionChange(**change))
        assert "private" not in refused.value.message


def test_signature_is_base64_of_hmac_sha512_of_the_decoded_data() -> None:
    signed = rbm.sign("key", b"The quick brown fox jumps over the lazy dog")
    # RFC-independent vector, as published for HMAC-SHA512 with the key "key".
    assert base64.b64decode(signed).hex().startswith("b42af09057bac1e2d41708e48a902e09b5ff7f12ab428a4fe86653c73dd248fb")
