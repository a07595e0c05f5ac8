"""The simulator's mailboxes by themselves: what they take, put off, refuse and give up."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from onterms.carriers.mailbox import Mailbox, MailboxApi
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.engines.api import OwnReply, OwnRequest
from onterms.ports.mail import Bounce, InMail, OutMail

MAIL = OutMail(
    "<1@x>", "us@x.example", "Us", ("Ann@Example.com", "bob@example.com"), "S", "B", datetime(2030, 1, 1, tzinfo=UTC)
)


class Sink:
    """Remember what came back."""

    def __init__(self) -> None:
        self.bounces: list[Bounce] = []

    async def bounced(self, tx: Tx, bounces: Sequence[Bounce]) -> None:
        self.bounces.extend(bounces)

    async def received(self, tx: Tx, mails: Sequence[InMail]) -> list[str]:
        return [f"NI{mail.sender}" for mail in mails]


class Desk:
    """The mailboxes, called by their routes."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database, self.clock, self.sink = database, clock, Sink()
        self.mailbox = Mailbox(database, clock, self.sink)
        self.api = MailboxApi(self.mailbox)

    async def call(self, method: str, ending: str, address: str, body: dict[str, object] | None = None) -> OwnReply:
        [route] = [
            route
            for route in self.api.routes()
            if route.method == method and route.pattern.endswith(f"mailboxes{ending}")
        ]
        request = OwnRequest(method, {"address": address}, {}, body or {}, self.clock.now(), operator=True)
        assert route.handler is not None
        async with self.database.transaction() as tx:
            return await route.handler(tx, request)


@pytest.fixture
def desk(database: Database, clock: VirtualClock) -> Desk:
    return Desk(database, clock)


class TestMailbox:
    async def test_each_recipient_has_its_own_outcome(self, desk: Desk) -> None:
        await desk.call("POST", "/{address}", "bob@example.com", {"behaviour": "refuse"})
        outcomes = await desk.mailbox.send(MAIL)
        assert [(one.address, one.result, one.reply[:3]) for one in outcomes] == [
            ("Ann@Example.com", "accepted", "250"),
            ("bob@example.com", "refused", "550"),
        ]

    async def test_a_mail_offered_again_is_kept_once(self, desk: Desk) -> None:
        first, again = await desk.mailbox.send(MAIL), await desk.mailbox.send(MAIL)
        assert first == again
        assert len((await desk.call("GET", "/{address}/messages", "ann%40example.com")).body) == 1

    async def test_a_delay_counts_from_the_first_offer(self, desk: Desk) -> None:
        await desk.call("POST", "/{address}", "ann@example.com", {"delay_s": 60})
        start = desk.clock.now()
        assert (await desk.mailbox.send(MAIL))[0].retry_at == start + timedelta(seconds=60)
        desk.clock.hold(start + timedelta(seconds=59))
        assert (await desk.mailbox.send(MAIL))[0].result == "deferred"
        desk.clock.hold(start + timedelta(seconds=60))
        assert (await desk.mailbox.send(MAIL))[0].result == "accepted"

    async def test_a_bounce_reaches_the_sink_once_and_is_shown(self, desk: Desk) -> None:
        await desk.mailbox.send(MAIL)
        assert (await desk.call("POST", "/{address}/bounces", "ann@example.com")).body == {"bounced": ["<1@x>"]}
        assert (await desk.call("POST", "/{address}/bounces", "ann@example.com")).body == {"bounced": []}
        assert [one.address for one in desk.sink.bounces] == ["ann@example.com"]
        [mail] = (await desk.call("GET", "/{address}/messages", "ann@example.com")).body
        assert mail["bounced_at"] == "2030-01-01T12:00:00Z"

    async def test_a_mail_that_is_not_there_cannot_bounce(self, desk: Desk) -> None:
        with pytest.raises(NotFound):
            await desk.call("POST", "/{address}/bounces", "ann@example.com", {"message_ids": ["<2@x>"]})

    async def test_boxes_are_listed_with_mail_or_a_setting(self, desk: Desk) -> None:
        await desk.call("POST", "/{address}", "zoe@example.com", {"behaviour": "bounce", "bounce_after_s": 5})
        await desk.mailbox.send(MAIL)
        boxes = (await desk.call("GET", "", "")).body
        assert [(one["address"], one["behaviour"], one["messages"]) for one in boxes] == [
            ("bob@example.com", "accept", 1),
            ("ann@example.com", "accept", 1),
            ("zoe@example.com", "bounce", 0),
        ]
        await desk.call("DELETE", "/{address}", "zoe@example.com")
        await desk.call("DELETE", "/{address}/messages", "ann@example.com")
        assert [one["address"] for one in (await desk.call("GET", "", "")).body] == ["bob@example.com"]

    @pytest.mark.parametrize(
        "setting",
        [{"behaviour": "eat"}, {"delay_s": -1}, {"delay_s": 1.5}, {"delay_s": True}, {"bounce_after_s": 5}, {"x": 1}],
    )
    async def test_a_setting_that_means_nothing_is_refused(self, desk: Desk, setting: dict[str, object]) -> None:
        with pytest.raises(InvalidParameter):
            await desk.call("POST", "/{address}", "ann@example.com", setting)

    async def test_a_path_without_an_address_is_refused(self, desk: Desk) -> None:
        with pytest.raises(InvalidParameter):
            await desk.call("GET", "/{address}/messages", "nobody")

    async def test_a_mail_to_the_operator_goes_to_the_sink(self, desk: Desk) -> None:
        body: dict[str, object] = {"to": "legal@operator.example", "subject": "S", "body": "B"}
        reply = await desk.call("POST", "/{address}/messages", "ann@example.com", body)
        assert (reply.status, reply.body) == (201, {"notice_sid": "NIann@example.com"})
