"""The simulator's own API: handsets, faults and the clock, around an application that uses the SDK."""

from datetime import UTC, datetime, timedelta

import pytest
import requests
from twilio.credential.client_credential_provider import ClientCredentialProvider
from twilio.rest import Client
from twilio.rest.iam.v1.o_auth_app import OAuthAppList
from twilio.twiml.messaging_response import MessagingResponse


@pytest.fixture
def call(server):
    """Speak to the simulator."""

    def send(method, path, body=None, **options):
        return requests.request(method, f"{server.url}/simulator/v1{path}", json=body, timeout=10, **options)

    return send


class TestHandsets:
    def test_received_message_shows_who_sent_what(self, client, fresh_account, handset):
        sent = client.messages.create(to=handset.number, from_=fresh_account.number, body="ж" * 71)
        [received] = handset.messages()
        expected = {
            "direction": "received",
            "sid": sent.sid,
            "from": fresh_account.number,
            "to": handset.number,
            "body": "ж" * 71,
            "media_urls": [],
            "encoding": "UCS-2",
            "segments": 2,
        }
        assert {name: received[name] for name in expected} == expected

    def test_newer_messages_are_read_after_an_id(self, client, fresh_account, handset, call):
        for number in range(3):
            client.messages.create(to=handset.number, from_=fresh_account.number, body=str(number))
        first = handset.messages()[0]
        rest = call("GET", f"/handsets/{handset.number}/messages?after={first['id']}").json()
        assert [message["body"] for message in rest] == ["1", "2"]

    def test_emptied_handset_keeps_its_setting(self, client, fresh_account, handset, call):
        handset.behaves(outcome="undelivered", error_code=30005)
        handset.send(fresh_account.number, "x")
        assert call("DELETE", f"/handsets/{handset.number}/messages").status_code == 204
        assert handset.messages("all") == []
        shown = call("GET", f"/handsets/{handset.number}").json()
        assert (shown["outcome"], shown["error_code"]) == ("undelivered", 30005)

    def test_handsets_reach_each_other(self, server, handset):
        other = server.make_handset()
        assert other.send(handset.number, "psst")["sid"] is None
        assert handset.bodies() == ["psst"]

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("", {"outcome": "exploded"}),
            ("", {"outcome": "delivered", "error_code": 30003}),
            ("", {"outcome": "undelivered", "delay_s": -1}),
            ("", {"mood": "good"}),
            ("/messages", {}),
            ("/messages", {"to": "+12125550100"}),
            ("/messages", {"to": "nobody", "body": "x"}),
            ("/messages", {"to": "+12125550100", "body": "a" * 1601}),
            ("/messages", {"to": "+12125550100", "body": ["x"]}),
        ],
    )
    def test_bad_request_is_refused_with_400(self, handset, call, path, body):
        answer = call("POST", f"/handsets/{handset.number}{path}", body)
        assert (answer.status_code, answer.json()["status"]) == (400, 400)
        assert handset.messages("all") == []

    def test_page_of_another_site_needs_the_operator_key(self, server, call):
        elsewhere = {"Origin": "https://evil.example.com"}
        assert call("GET", "/handsets", headers=elsewhere).status_code == 401
        assert call("GET", "/handsets", headers={"Host": "evil.example.com"}).status_code == 404
        with_key = elsewhere | {"Authorization": f"Bearer {server.operator_key}"}
        assert call("GET", "/handsets", headers=with_key).status_code == 200


class TestFaults:
    @pytest.fixture(autouse=True)
    def _no_faults_left(self, call):
        yield
        call("DELETE", "/faults")

    def test_fault_strikes_as_often_as_it_says(self, server, client, fresh_account, handset, call):
        fault = server.fault(kind="reject", to=handset.number, code=30004, count=2)
        sids = [
            client.messages.create(to=handset.number, from_=fresh_account.number, body=str(number)).sid
            for number in range(3)
        ]
        assert handset.bodies() == ["2"]
        found = [client.messages(sid).fetch() for sid in sids]
        assert [message.status for message in found] == ["failed", "failed", "delivered"]
        assert [message.error_code for message in found] == [30004, 30004, None]
        [shown] = [each for each in call("GET", "/faults").json() if each["id"] == fault["id"]]
        assert shown["hits"] == 2

    def test_fault_strikes_only_what_it_names(self, server, client, fresh_account, handset):
        other = server.make_handset()
        server.fault(kind="undelivered", to=other.number)
        server.fault(kind="undelivered", **{"from": "+12125559999"})
        sent = client.messages.create(to=handset.number, from_=fresh_account.number, body="x")
        assert handset.bodies() == ["x"]
        assert client.messages(sent.sid).fetch().status == "delivered"

    def test_fault_taken_back_strikes_no_more(self, server, client, fresh_account, handset, call):
        fault = server.fault(kind="reject", to=handset.number)
        assert call("DELETE", f"/faults/{fault['id']}").status_code == 204
        assert call("DELETE", f"/faults/{fault['id']}").status_code == 404
        client.messages.create(to=handset.number, from_=fresh_account.number, body="x")
        assert handset.bodies() == ["x"]

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            ({"kind": "webhook_timeout"}, "11205"),
            ({"kind": "webhook_refused"}, "11205"),
            ({"kind": "webhook_dns"}, "11210"),
            ({"kind": "webhook_status", "code": 503}, "11200"),
        ],
    )
    def test_disturbed_webhook_falls_back_at_once(
        self, server, client, fresh_account, handset, webhook, sms_webhook, fault, code
    ):
        response = MessagingResponse()
        response.message("from the fallback")
        sms_webhook(("", 204, {}), sms_fallback_url=webhook.answers("/fallback", response))
        server.fault(to=fresh_account.number, count=1, **fault)
        handset.send(fresh_account.number, "Hello")
        assert webhook.heard("/fallback").fields["ErrorCode"] == code
        assert webhook.is_quiet("/sms")
        assert handset.bodies() == ["from the fallback"]
        assert [alert.error_code for alert in client.monitor.v1.alerts.list()] == [code]

    @pytest.mark.parametrize(
        "fault",
        [
            {},
            {"kind": "earthquake"},
            {"kind": "delay"},
            {"kind": "reject", "probability": 2},
            {"kind": "reject", "count": 0},
            {"kind": "reject", "tO": "+12125550100"},
            {"kind": "webhook_timeout", "code": 500},
        ],
    )
    def test_fault_that_means_nothing_is_refused_with_400(self, call, fault):
        answer = call("POST", "/faults", fault)
        assert (answer.status_code, answer.json()["status"]) == (400, 400)


class TestClock:
    """On a server of its own: nobody else's timers are moved."""

    @pytest.fixture(autouse=True)
    def _other_shell(self, _shell, clock_server, monkeypatch):
        for name, value in clock_server.env.items():
            monkeypatch.setenv(name, value)

    @pytest.fixture
    def account(self, clock_server):
        return clock_server.make_account()

    @pytest.fixture
    def mover(self, clock_server):
        return clock_server.make_handset()

    def test_ninety_days_pass_at_once(self, clock_server, account, mover):
        client = account.client()
        mover.behaves(outcome="delivered", delay_s=30 * 86_400)
        sent = client.messages.create(to=mover.number, from_=account.number, body="slow")
        clock_server.settle()
        assert client.messages(sent.sid).fetch().status == "sent"
        clock_server.advance(days=90)
        late = client.messages(sent.sid).fetch()
        assert late.status == "delivered"
        # It was delivered at its own time, not when we looked.
        assert timedelta(0) <= late.date_updated - sent.date_created - timedelta(days=30) < timedelta(minutes=1)
        mover.behaves(outcome="delivered")
        new = client.messages.create(to=mover.number, from_=account.number, body="later")
        assert timedelta(0) <= new.date_created - sent.date_created - timedelta(days=90) < timedelta(minutes=1)

    def test_message_that_cannot_go_in_time_fails_with_30036(self, clock_server, account, mover):
        client = account.client()
        mover.behaves(outcome="unreachable")
        sent = client.messages.create(to=mover.number, from_=account.number, body="x", validity_period=60)
        # Every 5 s it is tried again; between two tries it waits.
        clock_server.clock(advance_s=52)
        assert client.messages(sent.sid).fetch().status == "queued"
        clock_server.clock(advance_s=30)
        failed = client.messages(sent.sid).fetch()
        assert (failed.status, failed.error_code) == ("failed", 30036)

    def test_carrier_that_comes_back_gets_what_waited(self, clock_server, account, mover):
        client = account.client()
        mover.behaves(outcome="unreachable")
        sent = client.messages.create(to=mover.number, from_=account.number, body="patience")
        clock_server.clock(advance_s=120)
        mover.behaves(outcome="delivered")
        clock_server.clock(advance_s=10)
        assert mover.bodies() == ["patience"]
        assert client.messages(sent.sid).fetch().status == "delivered"

    def test_bearer_token_ends_with_its_time(self, clock_server, account, refused):
        wanted = OAuthAppList.IamV1AccountVendorOauthAppCreateRequest({"type": "account", "friendly_name": "batch"})
        app = account.client().iam.v1.o_auth_apps.create(wanted)
        provider = ClientCredentialProvider(app.sid, app.secret)
        bearer = Client(account_sid=account.sid, credential_provider=provider)
        assert bearer.messages.list() == []
        clock_server.clock(advance_s=app.access_token_ttl + 1)
        with refused(20003, 401):
            bearer.messages("SM" + "0" * 32).fetch()

    def test_held_clock_stands_and_a_released_one_runs(self, clock_server):
        clock_server.clock(hold=True)
        first, second = (requests.get(f"{clock_server.url}/simulator/v1/clock", timeout=10).json() for _ in range(2))
        assert first["held"] is True
        assert first["now"] == second["now"]
        assert clock_server.clock(release=True)["held"] is False

    def test_clock_moves_to_a_named_time(self, clock_server):
        now = datetime.fromisoformat(clock_server.clock(advance_s=0)["now"])
        target = (now + timedelta(days=1)).astimezone(UTC)
        moved = clock_server.clock(to=target.isoformat())
        assert datetime.fromisoformat(moved["now"]) >= target

    @pytest.mark.parametrize(
        "change",
        [
            {},
            {"advance_s": -1},
            {"advance_s": "1"},
            {"to": "2001-01-01T00:00:00Z"},
            {"hold": False},
            {"hold": True, "release": True},
        ],
    )
    def test_change_that_cannot_be_is_refused_with_400(self, clock_server, change):
        answer = requests.post(f"{clock_server.url}/simulator/v1/clock", json=change, timeout=10)
        assert (answer.status_code, answer.json()["status"]) == (400, 400)
