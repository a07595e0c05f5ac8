"""Messaging Services by the official client: settings, pools, choosing senders, inbound, opting out, short links."""

import itertools

import pytest
import requests
from twilio.twiml.messaging_response import MessagingResponse

WAIT_S = 10
_british = itertools.count(400100)


@pytest.fixture
def service(client):
    """A service that changes nothing by itself."""
    return client.messaging.v1.services.create(friendly_name="Orders", smart_encoding=False)


@pytest.fixture
def buy(client):
    """Buy numbers, and give them back."""
    bought = []

    def number(country="US", kind="local", **search):
        found = getattr(client.available_phone_numbers(country), kind).list(limit=1, **search)
        bought.append(client.incoming_phone_numbers.create(phone_number=found[0].phone_number))
        return bought[-1]

    yield number
    for each in bought:
        client.incoming_phone_numbers(each.sid).delete()


@pytest.fixture
def pooled(client, fresh_account, service):
    """The service with the account's number in its pool."""
    client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=fresh_account.number_sid)
    return service


def send(client, service, to, body="Hello", **fields):
    return client.messages.create(messaging_service_sid=service.sid, to=to, body=body, **fields)


def sender_of(server, client, message):
    server.settle()
    sent = client.messages(message.sid).fetch()
    assert sent.status == "delivered", (sent.status, sent.error_code)
    return sent.from_


class TestKeeping:
    def test_service_is_created_with_defaults_changed_listed_and_deleted(self, client, refused):
        services = client.messaging.v1.services
        made = services.create(friendly_name="Orders")
        assert made.sid.startswith("MG") and made.usecase == "undeclared"
        assert (made.sticky_sender, made.area_code_geomatch, made.smart_encoding, made.mms_converter) == (True,) * 4
        assert (made.validity_period, made.inbound_request_url, made.inbound_method) == (36000, None, "POST")
        changed = services(made.sid).update(
            friendly_name="Bookings",
            inbound_request_url="https://example.com/in",
            inbound_method="GET",
            sticky_sender=False,
            validity_period=60,
            usecase="notifications",
            use_inbound_webhook_on_number=True,
        )
        fetched = services(made.sid).fetch()
        for row in (changed, fetched):
            assert (row.friendly_name, row.inbound_request_url, row.inbound_method) == (
                "Bookings",
                "https://example.com/in",
                "GET",
            )
            assert (row.sticky_sender, row.validity_period, row.usecase) == (False, 60, "notifications")
        assert [row.sid for row in services.list()] == [made.sid]
        assert services(made.sid).delete()
        with refused(20404, 404):
            services(made.sid).fetch()

    @pytest.mark.parametrize(
        ("settings", "code", "status"),
        [
            ({"validity_period": 36001}, 21624, 400),
            ({"usecase": "gossip"}, 21713, 400),
            ({"inbound_request_url": "not a url"}, 20001, 400),
            ({"synchronous_validation": True}, 20501, 501),
            ({"scan_message_content": "enable"}, 20501, 501),
        ],
    )
    def test_wrong_or_unserved_setting_is_refused(self, client, refused, settings, code, status):
        with refused(code, status):
            client.messaging.v1.services.create(friendly_name="Orders", **settings)
        assert client.messaging.v1.services.list() == []

    def test_number_stands_in_one_pool_once(self, client, fresh_account, service, refused):
        pool = client.messaging.v1.services(service.sid).phone_numbers
        added = pool.create(phone_number_sid=fresh_account.number_sid)
        assert (added.phone_number, added.country_code) == (fresh_account.number, "US")
        assert "SMS" in added.capabilities
        with refused(21710, 409):
            pool.create(phone_number_sid=fresh_account.number_sid)
        other = client.messaging.v1.services.create(friendly_name="Other")
        with refused(21712, 409):
            client.messaging.v1.services(other.sid).phone_numbers.create(phone_number_sid=fresh_account.number_sid)
        assert [row.sid for row in pool.list()] == [fresh_account.number_sid]
        assert pool(fresh_account.number_sid).delete()
        client.messaging.v1.services(other.sid).phone_numbers.create(phone_number_sid=fresh_account.number_sid)

    def test_number_given_back_is_in_no_pool(self, client, fresh_account, service):
        pool = client.messaging.v1.services(service.sid).phone_numbers
        [found] = client.available_phone_numbers("US").local.list(limit=1)
        number = client.incoming_phone_numbers.create(phone_number=found.phone_number)
        pool.create(phone_number_sid=fresh_account.number_sid)
        pool.create(phone_number_sid=number.sid)
        client.incoming_phone_numbers(number.sid).delete()
        assert [row.sid for row in pool.list()] == [fresh_account.number_sid]

    def test_alpha_sender_is_checked_and_stands_once(self, client, service, refused):
        alphas = client.messaging.v1.services(service.sid).alpha_senders
        assert alphas.create(alpha_sender="Acme").capabilities == ["SMS"]
        with refused(21710, 409):
            alphas.create(alpha_sender="Acme2")
        with refused(21709):
            client.messaging.v1.services(service.sid).destination_alpha_senders.create(alpha_sender="12345")


class TestSending:
    def test_message_is_accepted_without_a_sender_and_then_sent_by_the_pools(
        self, server, client, fresh_account, handset, pooled
    ):
        message = send(client, pooled, handset.number)
        assert (message.status, message.from_, message.messaging_service_sid) == ("accepted", None, pooled.sid)
        assert handset.bodies() == ["Hello"]
        assert sender_of(server, client, message) == fresh_account.number
        assert client.messages(message.sid).fetch().messaging_service_sid == pooled.sid

    def test_named_sender_is_used_and_must_be_in_the_pool(
        self, server, client, fresh_account, handset, pooled, buy, refused
    ):
        outside = buy()
        with refused(21711):
            send(client, pooled, handset.number, from_=outside.phone_number)
        client.messaging.v1.services(pooled.sid).phone_numbers.create(phone_number_sid=outside.sid)
        for sender in (outside.phone_number, fresh_account.number, outside.phone_number):
            message = send(client, pooled, handset.number, from_=sender)
            assert sender_of(server, client, message) == sender

    def test_unknown_service_and_empty_pool_are_refused(self, client, handset, service, refused):
        with refused(21704):
            send(client, service, handset.number)
        with refused(21701):
            client.messages.create(messaging_service_sid="MG" + "0" * 32, to=handset.number, body="Hello")

    def test_traffic_is_spread_and_conversations_stick(self, server, client, fresh_account, pooled, buy):
        second = buy()
        client.messaging.v1.services(pooled.sid).phone_numbers.create(phone_number_sid=second.sid)
        client.messaging.v1.services(pooled.sid).update(area_code_geomatch=False)
        handsets = [server.make_handset() for _ in range(4)]
        first = {each.number: sender_of(server, client, send(client, pooled, each.number)) for each in handsets}
        assert sorted(first.values()) == sorted([fresh_account.number, second.phone_number] * 2)
        again = {each.number: sender_of(server, client, send(client, pooled, each.number)) for each in handsets[:3]}
        assert again == {number: first[number] for number in again}

    def test_sender_with_the_recipients_area_code_is_preferred(self, server, client, pooled, buy):
        near = buy(area_code=415)
        client.messaging.v1.services(pooled.sid).phone_numbers.create(phone_number_sid=near.sid)
        message = send(client, pooled, "+14155550199")
        assert sender_of(server, client, message) == near.phone_number

    def test_sender_of_the_recipients_country_is_preferred(self, server, client, fresh_account, pooled, buy, handset):
        british = buy("GB", "mobile")
        client.messaging.v1.services(pooled.sid).phone_numbers.create(phone_number_sid=british.sid)
        message = send(client, pooled, f"+447400{next(_british)}")
        assert sender_of(server, client, message) == british.phone_number
        assert sender_of(server, client, send(client, pooled, handset.number)) == fresh_account.number

    def test_alpha_sender_serves_countries_that_take_it(self, server, client, fresh_account, pooled, handset, refused):
        senders = client.messaging.v1.services(pooled.sid)
        senders.alpha_senders.create(alpha_sender="Acme")
        senders.destination_alpha_senders.create(alpha_sender="AcmeGB", iso_country_code="GB")
        assert sender_of(server, client, send(client, pooled, f"+447400{next(_british)}")) == "AcmeGB"
        assert sender_of(server, client, send(client, pooled, "+33612345678")) == "Acme"
        assert sender_of(server, client, send(client, pooled, handset.number)) == fresh_account.number
        senders.update(fallback_to_long_code=False)
        with refused(21703):
            send(client, pooled, handset.number)

    def test_settings_of_the_service_hold_for_its_messages(self, client, fresh_account, handset, pooled, webhook):
        webhook.answers("/status", ("", 204, {}))
        client.messaging.v1.services(pooled.sid).update(status_callback=webhook.url("/status"), smart_encoding=True)
        message = send(client, pooled, handset.number, "“smart”")
        assert message.body == '"smart"'
        heard = [webhook.heard("/status") for _ in range(3)]
        assert [each.fields["MessageStatus"] for each in heard] == ["queued", "sent", "delivered"]
        assert {each.fields["MessagingServiceSid"] for each in heard} == {pooled.sid}
        assert {each.fields["From"] for each in heard} == {fresh_account.number}
        own = send(client, pooled, handset.number, "“smart”", smart_encoded=False)
        assert own.body == "“smart”"

    def test_parameters_that_nothing_serves_are_refused(self, client, fresh_account, handset, pooled, refused):
        for unserved in (
            {"content_retention": "discard"},
            {"address_retention": "obfuscate"},
            {"send_as_mms": True},
            {"persistent_action": ["geo:1,1"]},
        ):
            with refused(20501, 501):
                send(client, pooled, handset.number, **unserved)
        with refused(21667):
            send(client, pooled, handset.number, fallback_from=fresh_account.number)
        assert client.messages.list() == []

    def test_feedback_is_recorded(self, client, handset, pooled):
        message = send(client, pooled, handset.number, provide_feedback=True)
        feedback = client.messages(message.sid).feedback.create(outcome="confirmed")
        assert (feedback.message_sid, feedback.outcome) == (message.sid, "confirmed")
        assert client.messages(message.sid).feedback.create(outcome="unconfirmed").outcome == "unconfirmed"


class TestReceiving:
    def test_service_hears_for_its_numbers(self, client, fresh_account, handset, pooled, webhook, sms_webhook):
        sms_webhook(MessagingResponse(), path="/number")
        answer = MessagingResponse()
        answer.message("Thank you")
        webhook.answers("/service", answer)
        services = client.messaging.v1.services(pooled.sid)
        services.update(inbound_request_url=webhook.url("/service"))
        sid = handset.send(fresh_account.number, "Hi")["sid"]
        heard = webhook.heard("/service")
        assert (heard.fields["MessagingServiceSid"], heard.fields["Body"]) == (pooled.sid, "Hi")
        assert "OptOutType" not in heard.fields
        assert handset.bodies() == ["Thank you"]
        assert webhook.is_quiet("/number")
        assert client.messages(sid).fetch().messaging_service_sid == pooled.sid
        services.update(use_inbound_webhook_on_number=True)
        handset.send(fresh_account.number, "Hi again")
        assert webhook.heard("/number").fields["MessagingServiceSid"] == pooled.sid
        assert webhook.is_quiet("/service")

    def test_failing_webhook_of_the_service_has_its_fallback(self, client, fresh_account, handset, pooled, webhook):
        webhook.answers("/broken", ("no", 500, {}))
        webhook.answers("/fallback", MessagingResponse())
        client.messaging.v1.services(pooled.sid).update(
            inbound_request_url=webhook.url("/broken"), fallback_url=webhook.url("/fallback")
        )
        handset.send(fresh_account.number, "Hi")
        heard = webhook.heard("/fallback")
        assert heard.fields["ErrorCode"] == "11200"


class TestOptingOut:
    def test_stop_to_one_sender_stops_the_whole_service(
        self, server, client, fresh_account, handset, pooled, buy, refused
    ):
        second = buy()
        client.messaging.v1.services(pooled.sid).phone_numbers.create(phone_number_sid=second.sid)
        handset.send(second.phone_number, "STOP")
        server.settle()
        with refused(21610):
            send(client, pooled, handset.number)
        with refused(21610):
            send(client, pooled, handset.number, from_=fresh_account.number)
        handset.send(fresh_account.number, "START")
        assert sender_of(server, client, send(client, pooled, handset.number))
        message = client.messages.create(from_=second.phone_number, to=handset.number, body="Hello")
        assert sender_of(server, client, message) == second.phone_number

    def test_service_has_words_and_replies_of_its_own(
        self, server, client, fresh_account, handset, pooled, webhook, refused
    ):
        webhook.answers("/service", MessagingResponse())
        client.messaging.v1.services(pooled.sid).update(inbound_request_url=webhook.url("/service"))
        url = f"{server.url}/commercial/v1/MessagingServices/{pooled.sid}/OptOut"
        shown = requests.get(url, auth=fresh_account.auth, timeout=WAIT_S).json()
        assert (shown["own"], "UNSUBSCRIBE" in shown["stop_words"]) == (False, True)
        own = {
            "stop_words": ["arrêt", " "],
            "start_words": ["encore"],
            "help_words": ["aide"],
            "stop_reply": "Au revoir",
            "start_reply": "Rebonjour",
            "help_reply": "",
        }
        set_ = requests.put(url, json=own, auth=fresh_account.auth, timeout=WAIT_S)
        assert set_.status_code == 200, set_.text
        assert (set_.json()["own"], set_.json()["stop_words"]) == (True, ["ARRÊT", "STOP"])
        handset.send(fresh_account.number, "arrêt")
        assert webhook.heard("/service").fields["OptOutType"] == "STOP"
        assert handset.bodies() == ["Au revoir"]
        with refused(21610):
            send(client, pooled, handset.number)
        handset.send(fresh_account.number, "Encore")
        assert webhook.heard("/service").fields["OptOutType"] == "START"
        handset.send(fresh_account.number, "aide")
        assert webhook.heard("/service").fields["OptOutType"] == "HELP"
        assert handset.bodies() == ["Au revoir", "Rebonjour"]
        stranger = server.make_account(with_number=False)
        assert requests.get(url, auth=stranger.auth, timeout=WAIT_S).status_code == 404
        assert requests.put(url, json=own, auth=stranger.auth, timeout=WAIT_S).status_code == 404
        assert requests.delete(url, auth=fresh_account.auth, timeout=WAIT_S).status_code == 204
        assert requests.get(url, auth=fresh_account.auth, timeout=WAIT_S).json()["own"] is False


class TestLinks:
    def test_link_is_shortened_followed_and_its_click_reported(self, client, fresh_account, handset, pooled, webhook):
        # A click has its fields in small letters, also the account's.
        webhook.tokens[""] = fresh_account.token
        webhook.answers("/clicked", ("", 204, {}))
        shortening = client.messaging.v1
        domain = shortening.linkshortening_messaging_service_domain_association(pooled.sid).fetch()
        shortening.domain_config(domain.domain_sid).update(callback_url=webhook.url("/clicked"))
        message = send(client, pooled, handset.number, "See https://example.com/long?way=1, please.", shorten_urls=True)
        [body] = handset.bodies()
        assert body.startswith("See http") and body.endswith(", please.") and "example.com" not in body
        link = body.removeprefix("See ").removesuffix(", please.")
        assert len(link.rpartition("/")[2]) == 10
        followed = requests.get(link, allow_redirects=False, headers={"User-Agent": "a browser"}, timeout=WAIT_S)
        assert (followed.status_code, followed.headers["Location"]) == (302, "https://example.com/long?way=1")
        heard = webhook.heard("/clicked").fields
        assert (heard["event_type"], heard["sms_sid"], heard["to"]) == ("click", message.sid, handset.number)
        assert (heard["link"], heard["shortened_link"]) == ("https://example.com/long?way=1", link)
        assert (heard["messaging_service_sid"], heard["user_agent"]) == (pooled.sid, "a browser")
        assert requests.get(link[:-1] + "é", allow_redirects=False, timeout=WAIT_S).status_code == 404

    def test_link_in_another_script_is_followed(self, client, handset, pooled):
        send(client, pooled, handset.number, "https://example.com/привет?a=%20b", shorten_urls=True)
        followed = requests.get(handset.bodies()[0], allow_redirects=False, timeout=WAIT_S)
        expected = "https://example.com/%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82?a=%20b"
        assert (followed.status_code, followed.headers["Location"]) == (302, expected)

    def test_service_without_the_domain_shortens_nothing(self, client, handset, pooled, refused):
        api = client.messaging.v1
        domain = api.linkshortening_messaging_service_domain_association(pooled.sid).fetch().domain_sid
        assert api.linkshortening_messaging_service(domain, pooled.sid).delete()
        with refused(30124):
            send(client, pooled, handset.number, "https://example.com", shorten_urls=True)
        with refused(20404, 404):
            api.linkshortening_messaging_service_domain_association(pooled.sid).fetch()
        api.linkshortening_messaging_service(domain, pooled.sid).create()
        send(client, pooled, handset.number, "https://example.com", shorten_urls=True)
        assert "/l/" in handset.bodies()[0]

    def test_files_that_no_sender_carries_go_as_links(self, client, handset, service, webhook, buy, refused):
        url = webhook.file("a.gif", b"GIF89a", "image/gif")
        number = buy("GB", "mobile", mms_enabled=False)
        services = client.messaging.v1.services(service.sid)
        services.phone_numbers.create(phone_number_sid=number.sid)
        message = send(client, service, handset.number, "Look", media_url=[url])
        assert (message.sid[:2], message.num_media) == ("SM", "0")
        first, link = handset.bodies()[0].split("\n")
        assert first == "Look"
        assert requests.get(link, allow_redirects=False, timeout=WAIT_S).headers["Location"] == url
        services.update(mms_converter=False)
        with refused(21703):
            send(client, service, handset.number, "Look", media_url=[url])
