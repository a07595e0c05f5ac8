"""What a handset sends reaches a Flask application, and its TwiML comes back."""

import base64
import threading

import pytest
import requests
from flask import make_response
from twilio.twiml.messaging_response import Body, Media, Message, MessagingResponse

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def saying(text):
    response = MessagingResponse()
    response.message(text)
    return response


def alert_codes(client):
    """The codes the debugger shows, through both of its APIs."""
    alerts = [alert.error_code for alert in client.monitor.v1.alerts.list()]
    assert [notification.error_code for notification in client.notifications.list()] == alerts
    return alerts


class TestAnnouncing:
    def test_message_is_announced_signed_and_its_answer_reaches_the_handset(
        self, client, fresh_account, handset, webhook, sms_webhook
    ):
        sms_webhook(saying("Hello back"))
        sid = handset.send(fresh_account.number, "Hello")["sid"]
        heard = webhook.heard()
        assert heard.method == "POST"
        assert heard.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
        assert heard.headers["User-Agent"] == "TwilioProxy/1.1"
        expected = {
            "MessageSid": sid,
            "SmsSid": sid,
            "SmsMessageSid": sid,
            "AccountSid": fresh_account.sid,
            "From": handset.number,
            "To": fresh_account.number,
            "Body": "Hello",
            "NumMedia": "0",
            "NumSegments": "1",
            "SmsStatus": "received",
            "ApiVersion": "2010-04-01",
            "FromCountry": "US",
            "ToCountry": "US",
        }
        assert {name: heard.fields.get(name) for name in expected} == expected
        assert handset.bodies() == ["Hello back"]
        reply, inbound = client.messages.list()
        assert (inbound.sid, inbound.direction, inbound.status) == (sid, "inbound", "received")
        assert (reply.direction, reply.status, reply.to) == ("outbound-reply", "delivered", handset.number)
        assert alert_codes(client) == []

    def test_get_carries_the_fields_in_the_query_under_a_signature(self, fresh_account, handset, webhook, sms_webhook):
        sms_webhook(saying("got"), sms_method="GET")
        handset.send(fresh_account.number, "Äpfel & Birnen + 100%")
        heard = webhook.heard()
        assert (heard.method, heard.fields["Body"]) == ("GET", "Äpfel & Birnen + 100%")
        assert handset.bodies() == ["got"]

    def test_query_of_the_customers_own_is_kept_and_signed(self, fresh_account, client, handset, webhook):
        url = webhook.answers("/sms", saying("ok")) + "?tenant=a%20b&x=1"
        client.incoming_phone_numbers(fresh_account.number_sid).update(sms_url=url)
        handset.send(fresh_account.number, "Hello")
        assert webhook.heard().fields["tenant"] == "a b"

    def test_number_without_a_url_keeps_the_message(self, client, fresh_account, handset):
        sid = handset.send(fresh_account.number, "anybody?")["sid"]
        assert client.messages(sid).fetch().body == "anybody?"
        assert handset.messages() == []

    def test_messages_of_one_handset_arrive_in_order(self, fresh_account, handset, webhook, sms_webhook):
        sms_webhook(MessagingResponse())
        for number in range(5):
            handset.send(fresh_account.number, str(number))
        assert [webhook.heard().fields["Body"] for _ in range(5)] == ["0", "1", "2", "3", "4"]

    def test_picture_from_a_handset_is_announced_and_can_be_fetched(
        self, client, fresh_account, handset, webhook, sms_webhook
    ):
        sms_webhook(MessagingResponse())
        sent = handset.send(fresh_account.number, "look", media_urls=[webhook.file("dot", PNG, "image/png")])
        fields = webhook.heard().fields
        assert (fields["NumMedia"], fields["MediaContentType0"], fields["MessageSid"]) == (
            "1",
            "image/png",
            sent["sid"],
        )
        assert fields["MediaUrl0"].startswith("https://api.twilio.com/2010-04-01/")
        answer = requests.get(fields["MediaUrl0"], auth=fresh_account.auth, timeout=10)
        assert (answer.content, answer.headers["Content-Type"]) == (PNG, "image/png")
        assert client.messages(sent["sid"]).fetch().num_media == "1"


class TestAnswers:
    def test_replies_come_in_the_order_of_the_document(self, fresh_account, handset, sms_webhook):
        response = MessagingResponse()
        for text in ("one", "two", "three"):
            response.message(text)
        sms_webhook(response)
        handset.send(fresh_account.number, "count")
        assert handset.bodies() == ["one", "two", "three"]

    def test_body_and_media_make_one_mms(self, client, fresh_account, handset, webhook, sms_webhook):
        webhook.file("dot", PNG, "image/png")
        message = Message()
        message.append(Body("a picture"))
        message.append(Media("/files/dot"))
        response = MessagingResponse()
        response.append(message)
        sms_webhook(response)
        handset.send(fresh_account.number, "picture please")
        [received] = handset.messages()
        assert received["body"] == "a picture"
        assert requests.get(received["media_urls"][0], timeout=10).content == PNG
        assert client.messages(received["sid"]).fetch().num_media == "1"

    def test_redirect_leads_to_the_next_document(self, fresh_account, handset, webhook, sms_webhook):
        response = MessagingResponse()
        response.redirect("/next?step=2", method="GET")
        webhook.answers("/next", saying("second"))
        sms_webhook(response)
        sid = handset.send(fresh_account.number, "Hello")["sid"]
        heard = webhook.heard("/next")
        assert (heard.method, heard.fields["step"], heard.fields["MessageSid"]) == ("GET", "2", sid)
        assert handset.bodies() == ["second"]

    def test_verbs_before_a_redirect_are_done_and_after_it_not(self, fresh_account, handset, webhook, sms_webhook):
        response = saying("before")
        response.redirect("/next")
        response.message("after")
        webhook.answers("/next", saying("next"))
        sms_webhook(response)
        handset.send(fresh_account.number, "Hello")
        assert handset.bodies() == ["before", "next"]

    def test_redirects_in_a_circle_end_with_14106(self, client, fresh_account, handset, webhook, sms_webhook):
        response = MessagingResponse()
        response.redirect("/sms")
        sms_webhook(response)
        handset.send(fresh_account.number, "Hello")
        handset.server.settle()
        assert alert_codes(client) == ["14106"]

    def test_action_is_told_the_replys_sid_and_status(self, client, fresh_account, handset, webhook, sms_webhook):
        response = MessagingResponse()
        response.message("with action", action="/action", method="POST")
        webhook.answers("/action", saying("from action"))
        sms_webhook(response)
        handset.send(fresh_account.number, "Hello")
        heard = webhook.heard("/action")
        assert heard.fields["MessageStatus"] == "queued"
        assert handset.bodies() == ["with action", "from action"]
        assert client.messages(heard.fields["MessageSid"]).fetch().body == "with action"

    def test_reply_reports_to_its_own_status_callback(self, fresh_account, handset, webhook, sms_webhook):
        response = MessagingResponse()
        response.message("tracked", status_callback="/status")
        sms_webhook(response)
        handset.send(fresh_account.number, "Hello")
        assert [webhook.heard("/status").fields["MessageStatus"] for _ in range(2)] == ["sent", "delivered"]

    def test_reply_can_go_to_somebody_else(self, server, fresh_account, handset, sms_webhook):
        other = server.make_handset()
        response = MessagingResponse()
        response.message("for you", to=other.number)
        sms_webhook(response)
        handset.send(fresh_account.number, "Hello")
        assert (other.bodies(), handset.bodies()) == (["for you"], [])

    def test_plain_text_is_the_reply(self, client, fresh_account, handset, sms_webhook):
        sms_webhook(("Just text, äöü", 200, {"Content-Type": "text/plain; charset=utf-8"}))
        handset.send(fresh_account.number, "Hello")
        assert handset.bodies() == ["Just text, äöü"]
        assert alert_codes(client) == []

    @pytest.mark.parametrize("answer", [("", 200, {}), ("", 204, {}), MessagingResponse()], ids=["200", "204", "empty"])
    def test_nothing_to_say_is_no_error(self, client, fresh_account, handset, webhook, sms_webhook, answer):
        sms_webhook(answer)
        handset.send(fresh_account.number, "Hello")
        webhook.heard()
        assert handset.messages() == []
        assert alert_codes(client) == []

    def test_cookies_come_back_with_the_next_message_of_the_conversation(
        self, server, fresh_account, handset, webhook, sms_webhook
    ):
        def count(request):
            answer = make_response(str(saying(f"number {int(request.cookies.get('count', 0)) + 1}")))
            answer.headers["Content-Type"] = "text/xml"
            answer.set_cookie("count", str(int(request.cookies.get("count", 0)) + 1))
            return answer

        sms_webhook(count)
        other = server.make_handset()
        for sender in (handset, handset, other, handset):
            sender.send(fresh_account.number, "next")
            server.settle()
        assert handset.bodies() == ["number 1", "number 2", "number 3"]
        assert other.bodies() == ["number 1"]

    def test_deleted_cookie_does_not_come_back(self, server, fresh_account, handset, webhook, sms_webhook):
        def forget(request):
            answer = make_response("")
            answer.delete_cookie("seen")
            return answer

        def remember(request):
            answer = make_response("")
            answer.set_cookie("seen", "yes")
            return answer

        sms_webhook(remember, forget)
        for _ in range(3):
            handset.send(fresh_account.number, "next")
            server.settle()
        assert [webhook.heard().cookies for _ in range(3)] == [{}, {"seen": "yes"}, {}]


class TestFailures:
    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (("no", 500, {}), "11200"),
            (("no", 404, {}), "11200"),
            (("<Response><Message>unclosed", 200, {"Content-Type": "text/xml"}), "12100"),
            (("this is no XML", 200, {"Content-Type": "application/xml"}), "12100"),
            (('{"say": "hello"}', 200, {"Content-Type": "application/json"}), "12300"),
            (("<Response>" + "x" * 70_000 + "</Response>", 200, {"Content-Type": "text/xml"}), "11750"),
        ],
    )
    def test_failure_calls_the_fallback_and_is_shown_in_the_debugger(
        self, client, fresh_account, handset, webhook, sms_webhook, answer, code
    ):
        fallback = webhook.answers("/fallback", saying("from the fallback"))
        url = sms_webhook(answer, sms_fallback_url=fallback)
        sid = handset.send(fresh_account.number, "Hello")["sid"]
        heard = webhook.heard("/fallback")
        assert (heard.fields["ErrorCode"], heard.fields["ErrorUrl"]) == (code, url)
        assert (heard.fields["MessageSid"], heard.fields["Body"]) == (sid, "Hello")
        assert handset.bodies() == ["from the fallback"]
        assert alert_codes(client) == [code]
        [alert] = client.monitor.v1.alerts.list()
        assert (alert.resource_sid, alert.log_level, alert.request_method) == (sid, "error", "POST")
        shown = client.monitor.v1.alerts(alert.sid).fetch()
        assert f"MessageSid={sid}" in shown.request_variables
        assert shown.more_info.endswith(f"/{code}")
        [notification] = client.notifications.list()
        assert client.notifications(notification.sid).fetch().response_body == shown.response_body

    def test_refused_connection_calls_the_fallback_with_11205(self, client, fresh_account, handset, webhook):
        fallback = webhook.answers("/fallback", saying("there"))
        # Nobody listens on the discard port of this machine.
        client.incoming_phone_numbers(fresh_account.number_sid).update(
            sms_url="http://127.0.0.1:9/sms", sms_fallback_url=fallback
        )
        handset.send(fresh_account.number, "Hello")
        assert webhook.heard("/fallback").fields["ErrorCode"] == "11205"
        assert handset.bodies() == ["there"]

    @pytest.mark.parametrize("address", ["http://10.1.2.3/private", "http://169.254.169.254/latest/meta-data/"])
    def test_redirect_to_a_private_address_calls_the_fallback_with_11205(
        self, client, fresh_account, handset, webhook, sms_webhook, address
    ):
        fallback = webhook.answers("/fallback", saying("not there"))
        sms_webhook(("", 302, {"Location": address}), sms_fallback_url=fallback)
        handset.send(fresh_account.number, "Hello")
        assert webhook.heard("/fallback").fields["ErrorCode"] == "11205"
        assert handset.bodies() == ["not there"]
        [alert] = client.monitor.v1.alerts.list()
        assert (alert.error_code, alert.request_url.partition("?")[0]) == ("11205", address)

    def test_private_address_is_never_called(self, client, fresh_account, handset):
        client.incoming_phone_numbers(fresh_account.number_sid).update(sms_url="http://192.168.1.1/sms")
        handset.send(fresh_account.number, "Hello")
        handset.server.settle()
        assert alert_codes(client) == ["11205"]

    def test_slow_answer_is_given_up_after_the_override(self, client, fresh_account, handset, webhook):
        let_go = threading.Event()

        def slow(request):
            let_go.wait(10)
            return "", 204

        url = webhook.answers("/sms", slow)
        fallback = webhook.answers("/fallback", saying("patience"))
        client.incoming_phone_numbers(fresh_account.number_sid).update(
            sms_url=url + "#rt=150&rc=0", sms_fallback_url=fallback
        )
        handset.send(fresh_account.number, "Hello")
        assert webhook.heard("/fallback").fields["ErrorCode"] == "11205"
        let_go.set()
        assert handset.bodies() == ["patience"]

    def test_retries_repeat_the_idempotency_token(self, client, fresh_account, handset, webhook):
        url = webhook.answers("/sms", ("no", 503, {}), ("no", 503, {}), saying("third time"))
        client.incoming_phone_numbers(fresh_account.number_sid).update(sms_url=url + "#rc=2&rp=5xx")
        handset.send(fresh_account.number, "Hello")
        tokens = {webhook.heard().headers["I-Twilio-Idempotency-Token"] for _ in range(3)}
        assert len(tokens) == 1
        assert handset.bodies() == ["third time"]
        assert alert_codes(client) == []

    def test_failing_fallback_ends_the_matter(self, client, fresh_account, handset, webhook, sms_webhook):
        fallback = webhook.answers("/fallback", ("<Res", 200, {"Content-Type": "text/xml"}))
        sms_webhook(("no", 500, {}), sms_fallback_url=fallback)
        handset.send(fresh_account.number, "Hello")
        assert handset.messages() == []
        assert sorted(alert_codes(client)) == ["11200", "12100"]

    def test_unknown_verb_is_warned_of_and_the_rest_is_done(self, client, fresh_account, handset, sms_webhook):
        sms_webhook(
            (
                "<Response><Dance/><Message>still</Message></Response>",
                200,
                {"Content-Type": "text/xml"},
            )
        )
        handset.send(fresh_account.number, "Hello")
        assert handset.bodies() == ["still"]
        [alert] = client.monitor.v1.alerts.list(log_level="warning")
        assert alert.error_code == "12200"

    def test_reply_to_an_impossible_number_is_warned_of_with_14101(self, client, fresh_account, handset, sms_webhook):
        response = MessagingResponse()
        response.message("x", to="nobody")
        sms_webhook(response)
        handset.send(fresh_account.number, "Hello")
        assert handset.messages() == []
        assert alert_codes(client) == ["14101"]


class TestOptOut:
    def test_stop_is_confirmed_and_announced_and_blocks(
        self, client, fresh_account, handset, webhook, sms_webhook, refused
    ):
        sms_webhook(MessagingResponse())
        handset.send(fresh_account.number, " stop ")
        assert webhook.heard().fields["Body"] == " stop "
        [confirmation] = handset.bodies()
        assert "START" in confirmation
        with refused(21610):
            client.messages.create(to=handset.number, from_=fresh_account.number, body="x")
        handset.send(fresh_account.number, "STOP")
        assert len(handset.bodies()) == 1

    def test_start_opens_again(self, client, fresh_account, handset):
        handset.send(fresh_account.number, "UNSUBSCRIBE")
        handset.send(fresh_account.number, "Start")
        client.messages.create(to=handset.number, from_=fresh_account.number, body="welcome back")
        bodies = handset.bodies()
        assert len(bodies) == 3
        assert bodies[-1] == "welcome back"

    def test_help_is_answered(self, fresh_account, handset):
        handset.send(fresh_account.number, "HELP")
        [text] = handset.bodies()
        assert "STOP" in text

    def test_stop_within_a_sentence_changes_nothing(self, client, fresh_account, handset):
        handset.send(fresh_account.number, "stop please")
        client.messages.create(to=handset.number, from_=fresh_account.number, body="still here")
        assert handset.bodies() == ["still here"]

    def test_block_holds_for_the_one_number_and_handset(self, server, client, fresh_account, handset):
        [found] = client.available_phone_numbers("US").local.list(limit=1)
        second = client.incoming_phone_numbers.create(phone_number=found.phone_number)
        other = server.make_handset()
        handset.send(fresh_account.number, "STOP")
        client.messages.create(to=handset.number, from_=second.phone_number, body="other number")
        client.messages.create(to=other.number, from_=fresh_account.number, body="other handset")
        assert handset.bodies()[-1] == "other number"
        assert other.bodies() == ["other handset"]

    def test_answer_to_a_stopped_handset_is_refused_and_shown(self, client, fresh_account, handset, sms_webhook):
        sms_webhook(saying("but wait"))
        handset.send(fresh_account.number, "STOP")
        assert len(handset.bodies()) == 1
        assert alert_codes(client) == ["21610"]
