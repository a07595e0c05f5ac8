"""WhatsApp through the door: senders, text, files, templates, buttons, the 24 hours, and Meta's webhook."""

import base64
import hashlib
import hmac
import json

import pytest
import requests
from twilio.rest import Client
from twilio.rest.messaging.v2.channels_sender import ChannelsSenderList
from twilio.twiml.messaging_response import MessagingResponse

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DOOR = "/carriers/whatsapp/webhook"


def make_sender(client, number, **webhook):
    """Ask for a sender by the official client."""
    asked = ChannelsSenderList.MessagingV2ChannelsSenderRequestsCreate(
        {
            "sender_id": f"whatsapp:{number}",
            "profile": ChannelsSenderList.MessagingV2ChannelsSenderProfile({"name": "Example Ltd"}),
            "webhook": ChannelsSenderList.MessagingV2ChannelsSenderWebhook(webhook),
        }
    )
    return client.messaging.v2.channels_senders.create(asked)


@pytest.fixture
def sender(client, fresh_account, server, webhook):
    """A sender that is online: the code that proves its number came by text to the account's own."""
    made = make_sender(client, fresh_account.number, callback_url=webhook.url("/whatsapp"))
    server.settle()
    return made


@pytest.fixture
def source(sender, fresh_account):
    """The sender's address."""
    return f"whatsapp:{fresh_account.number}"


@pytest.fixture
def talking(source, handset, webhook, server):
    """A handset that wrote to the sender a moment ago; its WhatsApp address."""
    webhook.answers("/whatsapp", ("", 204, {}))
    handset.send(source, "Hello")
    server.settle()
    webhook.heard("/whatsapp")
    return f"whatsapp:{handset.number}"


def ended(client, server, message):
    server.settle()
    found = client.messages(message.sid).fetch()
    return found.status, found.error_code


class TestSenders:
    def test_own_number_is_verified_by_the_code_that_comes_by_text(self, client, sender, fresh_account):
        assert (sender.status, sender.sender_id) == ("CREATING", f"whatsapp:{fresh_account.number}")
        found = client.messaging.v2.channels_senders(sender.sid).fetch()
        assert found.status == "ONLINE"
        assert found.properties["quality_rating"] == "GREEN"
        assert found.profile["name"] == "Example Ltd"
        assert [each.sid for each in client.messaging.v2.channels_senders.list(channel="whatsapp")] == [sender.sid]

    def test_number_from_elsewhere_is_online_once_its_code_was_given(self, client, server):
        phone = server.make_handset()
        made = make_sender(client, phone.number)
        [text] = phone.bodies()
        assert client.messaging.v2.channels_senders(made.sid).fetch().status == "PENDING_VERIFICATION"

        def give(code):
            request = ChannelsSenderList.MessagingV2ChannelsSenderRequestsUpdate(
                {
                    "configuration": ChannelsSenderList.MessagingV2ChannelsSenderConfiguration(
                        {"verification_code": code}
                    )
                }
            )
            shown = client.messaging.v2.channels_senders(made.sid).update(request)
            assert shown.status == "VERIFYING"
            server.settle()
            return client.messaging.v2.channels_senders(made.sid).fetch()

        code = text.rpartition(" ")[2].replace("-", "")
        wrong = give("000000" if code != "000000" else "000001")
        assert (wrong.status, wrong.offline_reasons[0]["code"]) == ("PENDING_VERIFICATION", "63100")
        assert give(code).status == "ONLINE"

    def test_another_tenants_number_stays_offline_and_cannot_be_sent_from(
        self, client, sender, source, server, handset, refused
    ):
        other = server.make_account(with_number=False)
        stolen = make_sender(other.client(), source.partition(":")[2])
        server.settle()
        found = other.client().messaging.v2.channels_senders(stolen.sid).fetch()
        assert (found.status, found.offline_reasons[0]["code"]) == ("OFFLINE", "63102")
        with refused(63007):
            other.client().messages.create(to=f"whatsapp:{handset.number}", from_=source, body="Mine?")
        with refused(20404, 404):
            other.client().messaging.v2.channels_senders(sender.sid).fetch()
        assert client.messaging.v2.channels_senders(sender.sid).fetch().status == "ONLINE"

    def test_deleted_sender_sends_no_more(self, client, sender, source, server, talking, refused):
        assert client.messaging.v2.channels_senders(sender.sid).delete()
        server.settle()
        with refused(63007):
            client.messages.create(to=talking, from_=source, body="Gone")

    def test_sender_in_a_service_writes_for_it(self, client, sender, server, talking, source):
        service = client.messaging.v1.services.create(friendly_name="WhatsApp")
        joined = client.messaging.v1.services(service.sid).channel_senders.create(sid=sender.sid)
        assert (joined.sender, joined.sender_type) == (source, "WhatsApp")
        message = client.messages.create(to=talking, messaging_service_sid=service.sid, body="By the service")
        assert ended(client, server, message)[0] == "delivered"
        assert client.messages(message.sid).fetch().from_ == source

    def test_address_that_is_none_is_refused(self, client, refused):
        with refused(63100):
            make_sender(client, "12")


class TestSending:
    def test_text_within_the_window_reaches_the_handset_and_is_called_back(
        self, client, server, source, talking, handset, webhook, sender
    ):
        message = client.messages.create(
            to=talking, from_=source, body="Hello back", status_callback=webhook.url("/status")
        )
        assert (message.status, message.from_, message.to, message.num_segments) == ("queued", source, talking, "1")
        server.settle()
        got = handset.messages()[-1]
        assert (got["body"], got["channel"], got["from"], got["sid"]) == ("Hello back", "whatsapp", source, message.sid)
        requests.post(f"{server.url}/simulator/v1/handsets/{handset.number}/read", json={}, timeout=10)
        server.settle()
        calls = [webhook.heard("/status").fields for _ in range(3)]
        assert [call["MessageStatus"] for call in calls] == ["sent", "delivered", "read"]
        assert calls[0]["ChannelPrefix"] == "whatsapp"
        assert calls[0]["ChannelInstallSid"] == sender.sid
        assert calls[0]["ChannelToAddress"] == handset.number
        assert calls[2]["EventType"] == "READ"
        found = client.messages(message.sid).fetch()
        assert (found.status, found.price) == ("read", "-0.00500")

    def test_freeform_outside_the_window_fails_afterwards_with_63016(self, client, server, source, handset, webhook):
        message = client.messages.create(
            to=f"whatsapp:{handset.number}", from_=source, body="Cold", status_callback=webhook.url("/status")
        )
        assert message.status == "queued"
        status, code = ended(client, server, message)
        assert (status, code) == ("undelivered", 63016)
        calls = [webhook.heard("/status").fields for _ in range(2)]
        assert calls[-1]["ErrorCode"] == "63016" and calls[-1]["ChannelStatusMessage"]
        assert handset.bodies() == []

    def test_file_goes_with_its_caption(self, client, server, source, talking, handset, webhook):
        url = webhook.file("dot.png", PNG, "image/png")
        message = client.messages.create(to=talking, from_=source, body="A dot", media_url=[url])
        assert ended(client, server, message)[0] == "delivered"
        got = handset.messages()[-1]
        assert (got["content"]["type"], got["body"], len(got["media_urls"])) == ("image", "A dot", 1)

    def test_senders_own_status_callback_serves_where_none_is_named(
        self, client, sender, server, source, talking, webhook
    ):
        hook = ChannelsSenderList.MessagingV2ChannelsSenderWebhook({"status_callback_url": webhook.url("/of-sender")})
        request = ChannelsSenderList.MessagingV2ChannelsSenderRequestsUpdate({"webhook": hook})
        changed = client.messaging.v2.channels_senders(sender.sid).update(request)
        # Where messages are announced is nothing of the network's, so the sender stays as it is.
        assert (changed.status, changed.webhook["callback_url"]) == ("ONLINE", webhook.url("/whatsapp"))
        client.messages.create(to=talking, from_=source, body="Hello")
        server.settle()
        assert webhook.heard("/of-sender").fields["MessageStatus"] == "sent"

    def test_two_files_in_one_message_fail(self, client, server, source, talking, webhook):
        url = webhook.file("dot.png", PNG, "image/png")
        message = client.messages.create(to=talking, from_=source, media_url=[url, url])
        assert ended(client, server, message) == ("failed", 63030)

    def test_place_is_sent_as_one(self, client, server, source, talking, handset):
        message = client.messages.create(
            to=talking, from_=source, body="Office", persistent_action=["geo:37.78,-122.39|375 Beale St"]
        )
        assert ended(client, server, message)[0] == "delivered"
        place = handset.messages()[-1]["content"]["location"]
        assert place == {"latitude": "37.78", "longitude": "-122.39", "name": "Office", "address": "375 Beale St"}

    @pytest.mark.parametrize(
        ("code", "fields"),
        [
            (21910, {"to": "+19075550001"}),
            (21910, {"from_": "+19075550001"}),
            (21211, {"to": "whatsapp:+1"}),
            (63007, {"from_": "whatsapp:+19075550001"}),
            (21602, {"body": ""}),
        ],
    )
    def test_bad_pair_is_refused_with_its_code(self, client, source, handset, refused, code, fields):
        given = {"to": f"whatsapp:{handset.number}", "from_": source, "body": "x"} | fields
        with refused(code):
            client.messages.create(**given)

    @pytest.mark.parametrize(("meta", "code"), [(131026, 63024), (131049, 63049), (130472, 63032)])
    def test_error_of_the_network_becomes_its_code(self, client, server, source, talking, handset, meta, code):
        server.fault(kind="undelivered", to=handset.number, code=meta, count=1)
        message = client.messages.create(to=talking, from_=source, body="Lost")
        assert ended(client, server, message) == ("undelivered", code)

    def test_lost_answer_is_told_by_the_status(self, client, server, source, talking, handset):
        server.fault(kind="unknown", to=handset.number, count=1)
        message = client.messages.create(to=talking, from_=source, body="Once")
        assert ended(client, server, message)[0] == "delivered"
        assert handset.bodies() == ["Once"]


class TestTime:
    """On a server whose clock may be moved."""

    @pytest.fixture
    def api(self, clock_server, monkeypatch):
        for name, value in clock_server.env.items():
            monkeypatch.setenv(name, value)
        return Client(clock_server.account_sid, clock_server.auth_token)

    @pytest.fixture
    def phone(self, clock_server):
        clock_server.settle()
        phone = clock_server.make_handset()
        phone.send(f"whatsapp:{clock_server.number}", "Hi")
        clock_server.settle()
        return phone

    def test_rate_limit_is_waited_out(self, clock_server, api, phone):
        clock_server.fault(kind="reject", to=phone.number, code=131056, count=1)
        message = api.messages.create(
            to=f"whatsapp:{phone.number}", from_=f"whatsapp:{clock_server.number}", body="Later"
        )
        clock_server.settle()
        assert api.messages(message.sid).fetch().status == "queued"
        clock_server.advance(seconds=6)
        assert api.messages(message.sid).fetch().status == "delivered"
        assert phone.bodies() == ["Later"]

    def test_window_closes_after_24_hours_and_opens_with_the_next_word(self, clock_server, api, phone):
        source, peer = f"whatsapp:{clock_server.number}", f"whatsapp:{phone.number}"
        clock_server.advance(hours=25)
        late = api.messages.create(to=peer, from_=source, body="Late")
        clock_server.settle()
        found = api.messages(late.sid).fetch()
        # The sender has stood here for a day, so nobody upstream is asked.
        assert (found.status, found.error_code) == ("failed", 63016)
        phone.send(source, "Still there?")
        clock_server.settle()
        timely = api.messages.create(to=peer, from_=source, body="Yes")
        clock_server.settle()
        assert api.messages(timely.sid).fetch().status == "delivered"


class TestTemplates:
    def raw(self, client, account, types, variables=None):
        """A template by plain JSON."""
        body = {"friendly_name": "t", "language": "en", "variables": variables or {}, "types": types}
        answer = requests.post(
            f"{account.server.url}/v1/Content",
            json=body,
            auth=account.auth,
            headers={"Host": "content.twilio.com"},
            timeout=10,
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["sid"]

    def approve(self, client, account, sid, name="order_update", category="UTILITY"):
        answer = requests.post(
            f"{account.server.url}/v1/Content/{sid}/ApprovalRequests/whatsapp",
            json={"name": name, "category": category},
            auth=account.auth,
            headers={"Host": "content.twilio.com"},
            timeout=10,
        )
        assert answer.status_code == 201, answer.text
        account.server.settle()
        return client.content.v1.contents(sid).approval_fetch().fetch().whatsapp

    def test_approved_template_reaches_who_never_wrote(self, client, fresh_account, server, source, handset):
        types = {
            "twilio/quick-reply": {
                "body": "Order {{1}} is ready, {{2}}.",
                "actions": [{"title": "Thanks", "id": "thanks"}, {"title": "Stop it", "id": "no-more"}],
            }
        }
        sid = self.raw(client, fresh_account, types, {"1": "17", "2": "Ann"})
        assert self.approve(client, fresh_account, sid)["status"] == "approved"
        message = client.messages.create(
            to=f"whatsapp:{handset.number}",
            from_=source,
            content_sid=sid,
            content_variables=json.dumps({"1": "42", "2": "Bob"}),
        )
        assert ended(client, server, message)[0] == "delivered"
        got = handset.messages()[-1]
        assert got["content"]["type"] == "template"
        assert got["body"] == "Order 42 is ready, Bob."
        assert client.messages(message.sid).fetch().body == got["body"]

    def test_tapped_button_of_a_template_comes_back(self, client, fresh_account, server, source, handset, webhook):
        types = {"twilio/quick-reply": {"body": "Coming?", "actions": [{"title": "Yes", "id": "y1"}]}}
        sid = self.raw(client, fresh_account, types)
        self.approve(client, fresh_account, sid)
        asked = client.messages.create(to=f"whatsapp:{handset.number}", from_=source, content_sid=sid)
        server.settle()
        handset.send(source, tap="Yes")
        heard = webhook.heard("/whatsapp").fields
        assert (heard["ButtonText"], heard["ButtonPayload"], heard["Body"]) == ("Yes", "y1", "Yes")
        assert heard["OriginalRepliedMessageSid"] == asked.sid
        assert heard["OriginalRepliedMessageSender"] == source
        assert heard["MessageType"] == "button"

    def test_template_that_nobody_approved_needs_the_window(self, client, fresh_account, server, source, handset):
        sid = self.raw(client, fresh_account, {"twilio/text": {"body": "Hello there"}})
        message = client.messages.create(to=f"whatsapp:{handset.number}", from_=source, content_sid=sid)
        assert ended(client, server, message) == ("undelivered", 63016)

    def test_template_is_rejected_with_the_reviewers_reason(self, client, fresh_account):
        sid = self.raw(client, fresh_account, {"twilio/text": {"body": "a" * 1100}})
        verdict = self.approve(client, fresh_account, sid)
        assert (verdict["status"], verdict["rejection_reason"]) == ("rejected", "INVALID_FORMAT")

    def test_list_and_buttons_are_shown_and_answered(
        self, client, fresh_account, server, source, talking, handset, webhook
    ):
        types = {
            "twilio/list-picker": {
                "body": "Which?",
                "button": "Choose",
                "items": [{"id": "a", "item": "First", "description": "The first one"}, {"id": "b", "item": "Second"}],
            },
            "twilio/text": {"body": "Which? a or b"},
        }
        sid = self.raw(client, fresh_account, types)
        message = client.messages.create(to=talking, from_=source, content_sid=sid)
        assert ended(client, server, message)[0] == "delivered"
        shown = handset.messages()[-1]["content"]["interactive"]
        assert [row["title"] for row in shown["action"]["sections"][0]["rows"]] == ["First", "Second"]
        handset.send(source, tap="a")
        heard = webhook.heard("/whatsapp").fields
        assert (heard["ListId"], heard["ListTitle"], heard["ListDescription"]) == ("a", "First", "The first one")

    def test_too_many_buttons_outside_a_template_fail(self, client, fresh_account, server, source, talking):
        actions = [{"title": str(place), "id": str(place)} for place in range(4)]
        sid = self.raw(client, fresh_account, {"twilio/quick-reply": {"body": "Which?", "actions": actions}})
        message = client.messages.create(to=talking, from_=source, content_sid=sid)
        assert ended(client, server, message) == ("failed", 63021)


class TestInbound:
    def test_text_is_announced_with_the_channels_fields_and_answered(
        self, client, fresh_account, source, handset, webhook
    ):
        answer = MessagingResponse()
        answer.message("Hello yourself")
        webhook.answers("/whatsapp", answer)
        handset.send(fresh_account.number, "Hello", channel="whatsapp")
        heard = webhook.heard("/whatsapp").fields
        expected = {
            "From": f"whatsapp:{handset.number}",
            "To": source,
            "Body": "Hello",
            "WaId": handset.number.lstrip("+"),
            "ProfileName": f"Handset {handset.number}",
            "MessageType": "text",
            "NumMedia": "0",
            "ChannelPrefix": "whatsapp",
        }
        assert {name: heard.get(name) for name in expected} == expected
        assert "FromCountry" not in heard
        assert json.loads(heard["ChannelMetadata"])["type"] == "whatsapp"
        assert handset.bodies() == ["Hello yourself"]

    def test_file_is_stored_and_can_be_fetched(self, client, fresh_account, source, handset, webhook):
        picture = "data:image/png;base64," + base64.b64encode(PNG).decode()
        handset.send(source, "Look", media_urls=[picture])
        heard = webhook.heard("/whatsapp").fields
        assert (heard["NumMedia"], heard["MediaContentType0"], heard["Body"]) == ("1", "image/png", "Look")
        path = heard["MediaUrl0"].partition("api.twilio.com")[2]
        got = requests.get(fresh_account.server.url + path, auth=fresh_account.auth, timeout=10)
        assert got.content == PNG

    def test_place_is_announced(self, source, handset, webhook):
        handset.send(source, location={"latitude": 1.5, "longitude": -2.25, "name": "Here"})
        heard = webhook.heard("/whatsapp").fields
        assert (heard["Latitude"], heard["Longitude"], heard["Label"]) == ("1.5", "-2.25", "Here")

    def test_stop_is_for_the_application_to_hear(self, client, source, handset, webhook, talking, server):
        handset.send(source, "STOP")
        assert webhook.heard("/whatsapp").fields["Body"] == "STOP"
        message = client.messages.create(to=talking, from_=source, body="Still here")
        assert ended(client, server, message)[0] == "delivered"

    def test_typing_is_shown_for_a_message_that_came(self, client, fresh_account, source, handset, webhook, server):
        handset.send(source, "Anybody?")
        sid = webhook.heard("/whatsapp").fields["MessageSid"]
        shown = client.messaging.v2.typing_indicator.create(channel="whatsapp", message_id=sid)
        assert shown.success is True
        server.settle()
        assert client.monitor.v1.alerts.list() == []


class TestDoor:
    """Meta's webhook, with what strangers and bad days bring."""

    def post(self, server, body, secret=None, signature=None):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        if signature is None and secret is not None:
            signature = "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json"}
        if signature is not None:
            headers["X-Hub-Signature-256"] = signature
        return requests.post(server.url + DOOR, data=raw, headers=headers, timeout=10)

    @pytest.fixture
    def waba(self, server):
        """A business account whose secrets the test knows; nothing is sent there."""
        server.operator(
            "/operator/v1/WhatsAppAccounts/5550001",
            {
                "base_url": "http://127.0.0.1:9/v23.0",
                "token": "token-of-the-test",
                "app_secret": "secret-of-the-test",
                "verify_token": "verify-of-the-test",
            },
        )
        return "5550001"

    def test_verification_answers_the_challenge_for_the_right_token_only(self, server, waba):
        query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "verify-of-the-test"}
        answer = requests.get(server.url + DOOR, params=query, timeout=10)
        assert (answer.status_code, answer.text) == (200, "1158201444")
        wrong = requests.get(server.url + DOOR, params=query | {"hub.verify_token": "guessed-it"}, timeout=10)
        assert wrong.status_code == 403

    def test_secrets_are_never_shown(self, server, waba):
        shown = requests.get(
            f"{server.url}/operator/v1/WhatsAppAccounts/{waba}",
            headers={"Authorization": f"Bearer {server.operator_key}"},
            timeout=10,
        )
        assert shown.json()["base_url"] == "http://127.0.0.1:9/v23.0"
        assert "of-the-test" not in shown.text

    def test_forged_signature_is_refused_and_changes_nothing(self, client, server, source, talking, waba):
        message = client.messages.create(to=talking, from_=source, body="Hi")
        server.settle()
        news = {"id": "wamid.x", "status": "failed", "biz_opaque_callback_data": message.sid}
        value = {"metadata": {"phone_number_id": "1"}, "statuses": [news]}
        body = {
            "object": "whatsapp_business_account",
            "entry": [{"id": waba, "changes": [{"field": "messages", "value": value}]}],
        }
        assert self.post(server, body).status_code == 403
        assert self.post(server, body, signature="sha256=" + "0" * 64).status_code == 403
        assert self.post(server, body, secret="secret-of-another").status_code == 403
        # Rightly signed, it is about a number that is not its own.
        assert self.post(server, body, secret="secret-of-the-test").status_code == 200
        assert client.messages(message.sid).fetch().status == "delivered"

    @pytest.mark.parametrize(
        "changes",
        [
            None,
            "text",
            [None, 1, {"field": "messages"}],
            [{"field": "messages", "value": {"metadata": {"phone_number_id": {}}, "statuses": "x"}}],
            [{"field": "messages", "value": {"metadata": {"phone_number_id": "1"}, "statuses": [{"id": 5}, []]}}],
            [{"field": "messages", "value": {"metadata": {"phone_number_id": "1"}, "messages": [{"type": []}]}}],
            [{"field": "phone_number_quality_update", "value": {"display_phone_number": 5}}],
            [{"field": "message_template_status_update", "value": {"message_template_id": True}}],
        ],
    )
    def test_strange_news_is_taken_and_left(self, server, waba, changes):
        body = {"object": "whatsapp_business_account", "entry": [{"id": waba, "changes": changes}]}
        assert self.post(server, body, secret="secret-of-the-test").status_code == 200

    def test_what_is_no_json_and_what_is_too_long_is_refused(self, server):
        assert self.post(server, b"{", secret="x").status_code == 400
        assert self.post(server, b"[]", secret="x").status_code == 400
        assert self.post(server, b'{"a":"' + b"x" * (4 * 1024 * 1024) + b'"}', secret="x").status_code == 413
