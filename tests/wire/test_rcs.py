"""RCS by the official client against a running sandbox: agents, cards and taps, falling back to SMS, opting out."""

import itertools
import json
import uuid

import pytest
import requests
from twilio.rest import Client
from twilio.rest.messaging.v2.channels_sender import ChannelsSenderList
from twilio.twiml.messaging_response import MessagingResponse

WAIT_S = 10
_serials = itertools.count(200)


class Handset:
    """A handset with RCS; its last digit says how it begins."""

    def __init__(self, server, digit="1"):
        self.server, self.number = server, f"+1907556{next(_serials):03d}{digit}"

    def ask(self, method, path="", **body):
        url = f"{self.server.url}/simulator/v1/rcs/handsets/{self.number}{path}"
        answer = requests.request(method, url, json=body or None, timeout=WAIT_S)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def messages(self):
        self.server.settle()
        return self.ask("GET", "/messages")["items"]

    def texts(self):
        return [message["text"] for message in self.messages()]

    def sms(self):
        self.server.settle()
        url = f"{self.server.url}/simulator/v1/handsets/{self.number}/messages"
        return [each["body"] for each in requests.get(url, timeout=WAIT_S).json()]


@pytest.fixture
def agent(server, client):
    """An agent of the account's own, as `rcs:` address and sender."""
    name = f"shop_{uuid.uuid4().hex[:8]}"
    return make_sender(server, client, name)


def make_sender(server, client, name, **webhook):
    request = ChannelsSenderList.MessagingV2ChannelsSenderRequestsCreate(
        {"sender_id": f"rcs:{name}", "webhook": ChannelsSenderList.MessagingV2ChannelsSenderWebhook(webhook)}
    )
    made = client.messaging.v2.channels_senders.create(messaging_v2_channels_sender_requests_create=request)
    server.settle()
    return client.messaging.v2.channels_senders(made.sid).fetch()


@pytest.fixture
def service(client, fresh_account, agent):
    """A Messaging Service with an RCS sender and a number."""
    made = client.messaging.v1.services.create(friendly_name="Shop", smart_encoding=False)
    client.messaging.v1.services(made.sid).channel_senders.create(sid=agent.sid)
    client.messaging.v1.services(made.sid).phone_numbers.create(phone_number_sid=fresh_account.number_sid)
    return made


def content(client_account, server, types, **variables):
    body = {"friendly_name": "t", "language": "en", "types": types, "variables": variables}
    answer = requests.post(
        f"{server.url}/v1/Content", json=body, auth=client_account.auth, headers={"Host": "content.twilio.com"},
        timeout=WAIT_S,
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    return answer.json()["sid"]


def statuses(webhook, path="/status"):
    heard = []
    while not webhook.is_quiet(path):
        heard.append(webhook.heard(path).fields)
    return heard


CARD = {
    "title": "Your order",
    "subtitle": "It is ready, {{1}}",
    "media": ["https://example.com/order.png"],
    "actions": [
        {"type": "QUICK_REPLY", "title": "I come", "id": "coming-{{1}}"},
        {"type": "URL", "title": "Map", "url": "https://example.com/map"},
    ],
}
CONTENT = {"twilio/card": CARD, "twilio/text": {"body": "Your order is ready, {{1}}"}}


class TestDirect:
    def test_fresh_sandbox_has_an_agent_to_send_from(self, server):
        user = Handset(server)
        first = Client(server.account_sid, server.auth_token)
        sent = first.messages.create(from_="rcs:onterms", to=f"rcs:{user.number}", body="Hello")
        assert user.texts() == ["Hello"]
        assert first.messages(sent.sid).fetch().status == "delivered"

    def test_text_is_delivered_then_read_and_called_back(self, server, client, agent, webhook):
        assert agent.status == "ONLINE"
        user = Handset(server)
        sent = client.messages.create(
            from_=agent.sender_id, to=f"rcs:{user.number}", body="Hello", status_callback=webhook.url("/status")
        )
        [shown] = user.messages()
        assert (shown["text"], shown["sid"], f"rcs:{shown['agent']}") == ("Hello", sent.sid, agent.sender_id)
        user.ask("POST", f"/messages/{shown['id']}/reads")
        server.settle()
        fetched = client.messages(sent.sid).fetch()
        assert (fetched.status, fetched.error_code, fetched.price) == ("read", None, "-0.00830")
        called = statuses(webhook)
        assert [each["MessageStatus"] for each in called] == ["sent", "delivered", "read"]
        assert called[-1]["EventType"] == "READ" and called[-1]["ChannelPrefix"] == "rcs"

    def test_handset_without_rcs_fails_with_63036_and_gets_no_sms(self, server, client, agent):
        user = Handset(server, "9")
        sent = client.messages.create(from_=agent.sender_id, to=f"rcs:{user.number}", body="Hello")
        server.settle()
        fetched = client.messages(sent.sid).fetch()
        assert (fetched.status, fetched.error_code, fetched.price) == ("failed", 63036, "0.00000")
        assert user.sms() == []

    def test_agent_of_another_account_is_no_sender(self, server, client, agent, refused):
        stranger = server.make_account(with_number=False)
        with refused(63007):
            stranger.client().messages.create(from_=agent.sender_id, to="rcs:+19075560001", body="Hello")
        name = agent.sender_id.removeprefix("rcs:")
        assert make_sender(server, stranger.client(), name).status == "OFFLINE"
        assert client.messaging.v2.channels_senders(agent.sid).fetch().status == "ONLINE"

    def test_operators_agent_is_online_for_its_own_account_only(self, server, client, fresh_account):
        stranger = server.make_account(with_number=False)
        key = {"type": "service_account", "client_email": "a@example.com", "private_key": _private_key()}
        name = f"brand_{uuid.uuid4().hex[:8]}"
        made = server.operator(
            "/operator/v1/RcsConnections",
            {"name": name, "service_account": json.dumps(key), "client_token": "t" * 32},
        )
        assert "private_key" not in str(made) and "client_token" not in made
        server.operator(
            f"/operator/v1/RcsConnections/{made['sid']}/Agents",
            {"name": name, "agent_id": f"{name}_agent", "account_sid": fresh_account.sid},
        )
        assert make_sender(server, stranger.client(), name).status == "OFFLINE"
        assert make_sender(server, client, name).status == "ONLINE"


def _private_key():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


class TestCards:
    def test_tapped_card_answers_with_its_payload_and_gets_a_reply(self, server, client, fresh_account, webhook):
        answer = MessagingResponse()
        answer.message("See you")
        url = webhook.answers("/in", answer)
        sender = make_sender(server, client, f"shop_{uuid.uuid4().hex[:8]}", callback_url=url)
        user = Handset(server)
        sid = content(fresh_account, server, CONTENT, **{"1": "Ann"})
        client.messages.create(from_=sender.sender_id, to=f"rcs:{user.number}", content_sid=sid)
        [shown] = user.messages()
        card = shown["message"]["contentMessage"]["richCard"]["standaloneCard"]["cardContent"]
        assert (card["title"], card["description"]) == ("Your order", "It is ready, Ann")
        user.ask("POST", f"/messages/{shown['id']}/taps", text="I come")
        server.settle()
        heard = webhook.heard("/in").fields
        assert (heard["ButtonPayload"], heard["ButtonText"], heard["Body"]) == ("coming-Ann", "I come", "I come")
        assert (heard["From"], heard["To"]) == (f"rcs:{user.number}", sender.sender_id)
        assert user.texts() == ["Your order\nIt is ready, Ann", "See you"]

    def test_users_text_and_place_reach_the_services_webhook(self, server, client, service, agent, webhook):
        url = webhook.answers("/in", ("", 204, {}))
        client.messaging.v1.services(service.sid).update(inbound_request_url=url)
        user = Handset(server)
        user.ask("POST", "/messages", to=agent.sender_id, text="Hi")
        user.ask("POST", "/messages", to=agent.sender_id, location={"latitude": 61.2, "longitude": -149.9})
        server.settle()
        first, second = webhook.heard("/in").fields, webhook.heard("/in").fields
        assert (first["Body"], first["MessagingServiceSid"], first["ChannelPrefix"]) == ("Hi", service.sid, "rcs")
        assert (second["Latitude"], second["Longitude"]) == ("61.2", "-149.9")

    def test_file_is_shown_by_a_link_that_the_platform_can_fetch(self, server, client, agent, webhook):
        picture = b"\x89PNG\r\n\x1a\n" + bytes(16)
        user = Handset(server)
        client.messages.create(
            from_=agent.sender_id, to=f"rcs:{user.number}", media_url=[webhook.file("a.png", picture, "image/png")]
        )
        [shown] = user.messages()
        link = shown["message"]["contentMessage"]["contentInfo"]["fileUrl"]
        assert requests.get(link, timeout=WAIT_S).content == picture


class TestFallingBack:
    def test_service_with_an_rcs_sender_tries_that_first(self, server, client, service, agent):
        user = Handset(server)
        sent = client.messages.create(messaging_service_sid=service.sid, to=user.number, body="Hello")
        assert user.texts() == ["Hello"] and user.sms() == []
        fetched = client.messages(sent.sid).fetch()
        assert (fetched.status, fetched.from_, fetched.to) == ("delivered", agent.sender_id, f"rcs:{user.number}")
        # It was held as an SMS and costs what RCS does.
        assert fetched.price == "-0.00830"

    def test_handset_without_rcs_gets_an_sms_with_one_end_and_one_price(
        self, server, client, service, fresh_account, webhook
    ):
        user = Handset(server, "9")
        sid = content(fresh_account, server, CONTENT, **{"1": "Ann"})
        sent = client.messages.create(
            messaging_service_sid=service.sid, to=user.number, content_sid=sid, status_callback=webhook.url("/status")
        )
        assert user.sms() == ["Your order is ready, Ann"] and user.messages() == []
        fetched = client.messages(sent.sid).fetch()
        assert (fetched.status, fetched.error_code) == ("delivered", None)
        assert (fetched.from_, fetched.to, fetched.price) == (fresh_account.number, user.number, "-0.00790")
        ends = [each["MessageStatus"] for each in statuses(webhook)]
        assert ends == ["queued", "sent", "delivered"]
        usage = client.usage.records.list(category="channels-rcs-outbound")
        assert not usage or all(float(each.count) == 0 for each in usage)

    def test_card_without_plain_text_does_not_fall_back(self, server, client, service, fresh_account):
        user = Handset(server, "9")
        sid = content(fresh_account, server, {"twilio/card": {"title": "A", "subtitle": "b"}})
        sent = client.messages.create(messaging_service_sid=service.sid, to=user.number, content_sid=sid)
        assert user.sms() == []
        fetched = client.messages(sent.sid).fetch()
        assert (fetched.status, fetched.error_code) == ("failed", 63036)

    def test_fallback_from_names_the_sender(self, server, client, service, fresh_account, refused):
        found = client.available_phone_numbers("US").local.list(limit=1)
        other = client.incoming_phone_numbers.create(phone_number=found[0].phone_number)
        user = Handset(server, "9")
        sent = client.messages.create(
            messaging_service_sid=service.sid, to=user.number, body="Hi", fallback_from=other.phone_number
        )
        server.settle()
        assert client.messages(sent.sid).fetch().from_ == other.phone_number
        client.incoming_phone_numbers(other.sid).delete()
        with refused(21664):
            client.messages.create(from_=fresh_account.number, to=user.number, body="Hi", fallback_from="+14155550100")
        with refused(21606):
            # Nobody's, or somebody else's.
            client.messages.create(
                messaging_service_sid=service.sid, to=user.number, body="Hi", fallback_from="+14155550100"
            )
        plain = client.messaging.v1.services.create(friendly_name="Plain")
        with refused(21667):
            client.messages.create(
                messaging_service_sid=plain.sid, to=user.number, body="Hi", fallback_from="+14155550100"
            )


class TestTime:
    def test_handset_that_stays_off_gets_an_sms_when_the_time_for_rcs_is_over(self, clock_server, monkeypatch):
        server = clock_server
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        account = server.make_account()
        client = account.client()
        sender = make_sender(server, client, f"shop_{uuid.uuid4().hex[:8]}")
        service = client.messaging.v1.services.create(friendly_name="Shop", smart_encoding=False)
        client.messaging.v1.services(service.sid).channel_senders.create(sid=sender.sid)
        client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=account.number_sid)
        user = Handset(server, "8")
        sent = client.messages.create(messaging_service_sid=service.sid, to=user.number, body="Hello")
        server.settle()
        assert client.messages(sent.sid).fetch().status == "sent" and user.sms() == []
        server.advance(minutes=6)
        assert user.sms() == ["Hello"]
        assert [each["state"] for each in user.messages()] == ["revoked"]
        # Switched on, it has nothing left to show.
        user.ask("POST", is_on=True)
        assert [each["state"] for each in user.messages()] == ["revoked"]
        fetched = client.messages(sent.sid).fetch()
        assert (fetched.status, fetched.from_, fetched.price) == ("delivered", account.number, "-0.00790")

    def test_without_a_fallback_what_expires_is_undelivered(self, clock_server, monkeypatch):
        server = clock_server
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        account = server.make_account(with_number=False)
        client = account.client()
        sender = make_sender(server, client, f"shop_{uuid.uuid4().hex[:8]}")
        user = Handset(server, "8")
        sent = client.messages.create(from_=sender.sender_id, to=f"rcs:{user.number}", body="Hello", validity_period=60)
        server.settle()
        server.advance(minutes=2)
        fetched = client.messages(sent.sid).fetch()
        assert (fetched.status, fetched.error_code) == ("undelivered", 63036)

    def test_a_platform_that_cannot_be_reached_for_long_lets_the_message_go_by_sms(self, clock_server, monkeypatch):
        server = clock_server
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        account = server.make_account()
        client = account.client()
        name = f"brand_{uuid.uuid4().hex[:8]}"
        nowhere = "http://127.0.0.1:1"
        key = {"client_email": "a@example.com", "private_key": _private_key(), "token_uri": f"{nowhere}/token"}
        given = {"name": name, "client_token": "t" * 32, "base_url": nowhere}
        given["service_account"] = json.dumps(key | {"type": "service_account"})
        made = server.operator("/operator/v1/RcsConnections", given)
        agent = {"name": name, "agent_id": f"{name}_agent", "account_sid": account.sid}
        server.operator(f"/operator/v1/RcsConnections/{made['sid']}/Agents", agent)
        sender = make_sender(server, client, name)
        service = client.messaging.v1.services.create(friendly_name="Shop", smart_encoding=False)
        client.messaging.v1.services(service.sid).channel_senders.create(sid=sender.sid)
        client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=account.number_sid)
        user = Handset(server)
        sent = client.messages.create(messaging_service_sid=service.sid, to=user.number, body="Hello")
        server.settle()
        assert client.messages(sent.sid).fetch().status == "queued" and user.sms() == []
        server.advance(minutes=6)
        assert user.sms() == ["Hello"]
        assert client.messages(sent.sid).fetch().status == "delivered"


class TestOptingOut:
    def test_stop_by_rcs_stops_the_whole_service_on_sms_too(
        self, server, client, service, agent, fresh_account, refused
    ):
        user = Handset(server)
        user.ask("POST", "/messages", to=agent.sender_id, text="STOP")
        [confirmed] = user.texts()
        assert "unsubscribed" in confirmed
        with refused(21610):
            client.messages.create(messaging_service_sid=service.sid, to=user.number, body="Hello")
        with refused(21610):
            client.messages.create(from_=agent.sender_id, to=f"rcs:{user.number}", body="Hello")
        user.ask("POST", "/messages", to=agent.sender_id, text="START")
        server.settle()
        client.messages.create(messaging_service_sid=service.sid, to=user.number, body="Hello again")
        assert user.texts()[-1] == "Hello again"

    def test_unsubscribing_in_the_client_counts_as_stop(self, server, client, agent, refused):
        user = Handset(server)
        user.ask("POST", "/subscriptions", agent=agent.sender_id, wish="unsubscribe")
        server.settle()
        with refused(21610):
            client.messages.create(from_=agent.sender_id, to=f"rcs:{user.number}", body="Hello")


class TestDoor:
    @pytest.mark.parametrize("sid", ["sandbox", "QB" + "0" * 32])
    def test_forged_pushes_are_refused(self, server, sid):
        body = {"message": {"data": "eyJhZ2VudElkIjoiYSJ9", "messageId": "1"}}
        answer = requests.post(
            f"{server.url}/commercial/v1/RcsWebhooks/{sid}", json=body, headers={"X-Goog-Signature": "AAAA"},
            timeout=WAIT_S,
        )  # fmt: skip
        assert answer.status_code == (401 if sid == "sandbox" else 404)
        assert "token" not in answer.text.lower()
