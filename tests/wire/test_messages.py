"""Messages through twilio-python and the proxy door: created, read, listed, mended, refused."""

import base64
from datetime import timedelta

import pytest
import requests

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class TestCreate:
    def test_sent_message_reaches_the_handset_and_is_delivered(self, client, fresh_account, handset):
        sent = client.messages.create(to=handset.number, from_=fresh_account.number, body="Grüße aus Köln")
        assert sent.sid.startswith("SM")
        assert (sent.status, sent.direction, sent.num_segments, sent.num_media) == ("queued", "outbound-api", "1", "0")
        assert (sent.to, sent.from_, sent.body) == (handset.number, fresh_account.number, "Grüße aus Köln")
        assert (sent.account_sid, sent.api_version, sent.price_unit) == (fresh_account.sid, "2010-04-01", "USD")
        assert sent.date_sent is None and sent.error_code is None
        assert sent.uri == f"/2010-04-01/Accounts/{fresh_account.sid}/Messages/{sent.sid}.json"
        assert handset.bodies() == ["Grüße aus Köln"]
        fetched = client.messages(sent.sid).fetch()
        assert (fetched.status, fetched.body) == ("delivered", "Grüße aus Köln")
        assert fetched.date_created <= fetched.date_sent <= fetched.date_updated

    @pytest.mark.parametrize(
        ("body", "segments"),
        [
            ("a" * 160, "1"),
            ("a" * 161, "2"),
            ("{" * 80, "1"),
            ("{" * 81, "2"),
            ("ж" * 70, "1"),
            ("ж" * 71, "2"),
            ("😀" * 35, "1"),
            ("😀" * 36, "2"),
            ("a" * 1600, "11"),
        ],
        ids=lambda value: f"{len(value)}{value[:1]}",
    )
    def test_segments_are_counted_by_alphabet(self, client, fresh_account, handset, body, segments):
        sent = client.messages.create(to=handset.number, from_=fresh_account.number, body=body)
        assert sent.num_segments == segments
        assert handset.bodies() == [body]

    def test_smart_encoding_replaces_what_looks_like_gsm(self, client, fresh_account, handset):
        client.messages.create(
            to=handset.number, from_=fresh_account.number, body="\u201cIt\u2019s here\u2026\u201d", smart_encoded=True
        )
        assert handset.bodies() == ['"It\'s here..."']

    def test_number_written_nationally_is_read_in_the_senders_country(self, client, fresh_account, handset):
        national = handset.number.removeprefix("+1")
        sent = client.messages.create(
            to=f"({national[:3]}) {national[3:6]}-{national[6:]}", from_=fresh_account.number, body="x"
        )
        assert sent.to == handset.number

    def test_text_of_every_plane_comes_back_unchanged(self, client, fresh_account, handset):
        body = "& < > \" ' + % \\ \r\n\t 漢字 👩‍👩‍👧 \u200f"
        sent = client.messages.create(to=handset.number, from_=fresh_account.number, body=body)
        assert client.messages(sent.sid).fetch().body == body
        assert handset.bodies() == [body]


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "fields"),
        [
            (21211, {"to": "not a number"}),
            (21211, {"to": "+1"}),
            (21212, {"from_": "no sender at all?"}),
            (21602, {"body": ""}),
            (21602, {"body": None}),
            (21603, {"from_": None}),
            (21603, {"from_": ""}),
            (21604, {"to": ""}),
            (21606, {"from_": "+12125559999"}),
            (21609, {"status_callback": "not a URL"}),
            (21609, {"status_callback": "https://under_score.example.com/"}),
            (21910, {"to": "whatsapp:+19075550001"}),
            (21614, {"to": "+493012345678"}),
            (21617, {"body": "a" * 1601}),
            (21620, {"media_url": ["nowhere"]}),
            (21620, {"media_url": ["ftp://example.com/a.png"]}),
            (21623, {"media_url": [f"https://example.com/{n}.png" for n in range(11)]}),
            (21624, {"validity_period": 0}),
            (21624, {"validity_period": 36001}),
            (21655, {"content_sid": "HX" + "0" * 32}),
            (21701, {"messaging_service_sid": "MG" + "0" * 32}),
            (21705, {"application_sid": "AP" + "0" * 32}),
        ],
    )
    def test_bad_parameter_is_refused_with_its_code(self, client, fresh_account, handset, refused, code, fields):
        given = {"to": handset.number, "from_": fresh_account.number, "body": "x"} | fields
        with refused(code):
            client.messages.create(**{name: value for name, value in given.items() if value is not None})
        assert client.messages.list() == []

    def test_to_and_from_alike_is_refused_with_21266(self, client, fresh_account, refused):
        with refused(21266):
            client.messages.create(to=fresh_account.number, from_=fresh_account.number, body="x")

    def test_recipient_who_stopped_is_refused_with_21610(self, client, fresh_account, handset, refused):
        handset.send(fresh_account.number, "STOP")
        with refused(21610):
            client.messages.create(to=handset.number, from_=fresh_account.number, body="x")

    def test_country_the_account_closed_is_refused_with_21408_until_it_is_opened(
        self, client, fresh_account, handset, refused
    ):
        permissions = client.accounts.v1.messaging_geopermissions
        for enabled in (False, True):
            permissions.update(permissions=[{"country_code": "DE", "type": "country", "enabled": enabled}])
            [shown] = permissions.fetch(country_code="DE").permissions
            assert (shown["country_code"], shown["enabled"]) == ("DE", enabled)
            if not enabled:
                with refused(21408):
                    client.messages.create(to="+491713920001", from_=fresh_account.number, body="x")
        sent = client.messages.create(to="+491713920001", from_=fresh_account.number, body="x")
        handset.server.settle()
        assert client.messages(sent.sid).fetch().status == "delivered"

    def test_another_accounts_number_is_refused_with_21606(self, server, client, handset, refused):
        with refused(21606):
            client.messages.create(to=handset.number, from_=server.number, body="x")

    def test_media_from_a_number_without_mms_is_refused_with_21621(self, client, handset, refused):
        [found] = client.available_phone_numbers("GB").mobile.list(limit=1)
        bought = client.incoming_phone_numbers.create(phone_number=found.phone_number)
        with refused(21621):
            client.messages.create(
                to=handset.number, from_=bought.phone_number, body="x", media_url=["https://example.com/a.png"]
            )
        bought.delete()

    def test_wrong_token_is_refused_with_20003(self, fresh_account, refused):
        with refused(20003, 401):
            fresh_account.client(password="0" * 32).messages("SM" + "0" * 32).fetch()

    def test_unknown_message_is_answered_with_20404(self, client, refused):
        with refused(20404, 404):
            client.messages("SM" + "0" * 32).fetch()

    def test_another_accounts_message_is_answered_with_20404(self, server, client, fresh_account, handset, refused):
        sent = client.messages.create(to=handset.number, from_=fresh_account.number, body="x")
        stranger = server.make_account(with_number=False).client()
        with refused(20404, 404):
            stranger.messages(sent.sid).fetch()
        with refused(20404, 404):
            stranger.messages(sent.sid).update(body="")
        with refused(20404, 404):
            stranger.messages(sent.sid).delete()
        with refused(20404, 404):
            stranger.api.accounts(fresh_account.sid).messages(sent.sid).fetch()

    def test_operation_no_room_serves_is_answered_with_501(self, client, refused):
        with refused(20501, 501):
            client.verify.v2.services("VA" + "0" * 32).fetch()


class TestList:
    @pytest.fixture
    def sids(self, client, fresh_account, handset):
        sent = [
            client.messages.create(to=handset.number, from_=fresh_account.number, body=str(number))
            for number in range(7)
        ]
        handset.server.settle()
        return [message.sid for message in reversed(sent)]

    def test_newest_come_first(self, client, sids):
        assert [message.sid for message in client.messages.list()] == sids

    def test_limit_ends_a_stream_over_pages(self, client, sids):
        assert [message.sid for message in client.messages.stream(limit=5, page_size=2)] == sids[:5]

    def test_pages_stay_whole_while_rows_are_inserted(self, client, fresh_account, handset, sids):
        seen, page = [], client.messages.page(page_size=3)
        for _ in range(3):
            seen += [message.sid for message in page]
            client.messages.create(to=handset.number, from_=fresh_account.number, body="in between")
            page = page.next_page()
        assert seen == sids
        assert page is None
        assert len(client.messages.list(page_size=4)) == 10

    def test_previous_page_is_the_page_before(self, client, sids):
        second = client.messages.page(page_size=3).next_page()
        assert [message.sid for message in second] == sids[3:6]
        assert [message.sid for message in second.previous_page()] == sids[:3]

    def test_page_is_found_again_by_its_url(self, client, sids):
        first = client.messages.page(page_size=3)
        target = "https://api.twilio.com" + first.next_page_url.partition("twilio.com")[2]
        assert [message.sid for message in client.messages.get_page(target)] == sids[3:6]

    def test_to_and_from_filter_each_side(self, server, client, fresh_account, handset, sids):
        other = server.make_handset()
        elsewhere = client.messages.create(to=other.number, from_=fresh_account.number, body="x")
        inbound = other.send(fresh_account.number, "hello")
        assert {message.sid for message in client.messages.list(to=handset.number)} == set(sids)
        assert [message.sid for message in client.messages.list(to=other.number)] == [elsewhere.sid]
        assert [message.sid for message in client.messages.list(from_=other.number)] == [inbound["sid"]]
        assert [message.sid for message in client.messages.list(to=fresh_account.number)] == [inbound["sid"]]
        both = client.messages.list(from_=fresh_account.number, to=other.number)
        assert [message.sid for message in both] == [elsewhere.sid]
        assert client.messages.list(to="+19075559999") == []

    def test_date_sent_filters_by_day_and_by_both_ends(self, client, sids):
        times = [message.date_sent for message in client.messages.list()]
        assert None not in times
        first, last = min(times), max(times)
        second = timedelta(seconds=1)

        def count(**filters):
            return len(client.messages.list(**filters))

        assert count(date_sent_after=first) == count(date_sent_before=last) == 7
        assert count(date_sent_after=first, date_sent_before=last) == 7
        assert count(date_sent_after=last + second) == count(date_sent_before=first - second) == 0
        assert count(date_sent=first.date()) + (count(date_sent=last.date()) if last.date() > first.date() else 0) == 7
        assert count(date_sent=first.date() - timedelta(days=1)) == 0
        assert count(date_sent=first) == times.count(first)


class TestUpdateAndDelete:
    @pytest.fixture
    def sent(self, client, fresh_account, handset):
        message = client.messages.create(to=handset.number, from_=fresh_account.number, body="a secret")
        handset.server.settle()
        return message

    @pytest.fixture
    def waiting(self, client, fresh_account, handset):
        handset.behaves(outcome="unreachable")
        message = client.messages.create(to=handset.number, from_=fresh_account.number, body="a secret")
        handset.server.settle()
        return message

    def test_redacted_body_is_empty_for_ever(self, client, sent):
        assert client.messages(sent.sid).update(body="").body == ""
        fetched = client.messages(sent.sid).fetch()
        assert (fetched.body, fetched.status, fetched.num_segments) == ("", "delivered", "1")

    def test_body_cannot_be_rewritten(self, client, sent, refused):
        with refused(20001):
            client.messages(sent.sid).update(body="something else")
        assert client.messages(sent.sid).fetch().body == "a secret"

    def test_message_under_way_is_neither_redacted_nor_deleted(self, client, waiting, refused):
        assert client.messages(waiting.sid).fetch().status == "queued"
        with refused(20009, 409):
            client.messages(waiting.sid).update(body="")
        with refused(20009, 409):
            client.messages(waiting.sid).delete()
        assert client.messages(waiting.sid).fetch().body == "a secret"

    def test_message_that_is_not_scheduled_cannot_be_canceled(self, client, sent, waiting, refused):
        for message in (sent, waiting):
            with refused(30409, 409):
                client.messages(message.sid).update(status="canceled")

    def test_deleted_message_is_gone(self, client, sent, refused):
        assert client.messages(sent.sid).delete() is True
        with refused(20404, 404):
            client.messages(sent.sid).fetch()
        with refused(20404, 404):
            client.messages(sent.sid).delete()
        assert client.messages.list() == []


class TestMedia:
    @pytest.fixture
    def sent(self, client, fresh_account, handset, webhook):
        # The type is read from the bytes, not from what their server says.
        url = webhook.file("dot", PNG, "text/plain")
        message = client.messages.create(to=handset.number, from_=fresh_account.number, body="see", media_url=[url])
        handset.server.settle()
        return message

    def test_message_with_media_is_one_mms(self, sent):
        assert sent.sid.startswith("MM")
        assert (sent.num_media, sent.num_segments) == ("1", "1")

    def test_handset_fetches_the_bytes_by_their_link(self, handset, sent):
        [received] = handset.messages()
        [link] = received["media_urls"]
        answer = requests.get(link, timeout=10)
        assert (answer.status_code, answer.content) == (200, PNG)
        assert answer.headers["Content-Type"] == "image/png"
        assert requests.get(link[:-1] + ("0" if link[-1] != "0" else "1"), timeout=10).status_code == 403

    def test_media_is_listed_fetched_and_deleted(self, client, sent, refused):
        [media] = client.messages(sent.sid).media.list()
        assert (media.content_type, media.parent_sid) == ("image/png", sent.sid)
        assert client.messages(sent.sid).media(media.sid).fetch().uri == media.uri
        assert client.messages(sent.sid).media(media.sid).delete() is True
        assert client.messages(sent.sid).media.list() == []
        with refused(20404, 404):
            client.messages(sent.sid).media(media.sid).fetch()

    def test_address_without_extension_leads_to_the_bytes(self, client, fresh_account, sent):
        [media] = client.messages(sent.sid).media.list()
        url = "https://api.twilio.com" + media.uri.removesuffix(".json")
        assert requests.get(url, auth=fresh_account.auth, timeout=10).content == PNG
        assert requests.get(url, timeout=10).status_code == 401

    def test_media_that_cannot_be_fetched_fails_the_message(self, client, fresh_account, handset, webhook):
        gone = webhook.url("/files/").replace("/files/", "/nothing-signed")
        webhook_refusals = len(webhook.refused)
        sent = client.messages.create(to=handset.number, from_=fresh_account.number, media_url=[gone])
        handset.server.settle()
        assert len(webhook.refused) == webhook_refusals + 1
        webhook.refused.clear()
        failed = client.messages(sent.sid).fetch()
        assert (failed.status, failed.error_code) == ("failed", 11200)
        assert handset.messages() == []
        assert [alert.error_code for alert in client.monitor.v1.alerts.list()] == ["11200"]
