"""Applications: settings that numbers and messages share."""

import pytest
from twilio.twiml.messaging_response import MessagingResponse


class TestResource:
    def test_application_is_made_found_changed_and_deleted(self, client, refused):
        made = client.applications.create(friendly_name="Shop", sms_url="https://example.com/sms", sms_method="GET")
        assert made.sid.startswith("AP")
        client.applications(made.sid).update(
            friendly_name="Store", message_status_callback="https://example.com/status"
        )
        fetched = client.applications(made.sid).fetch()
        assert (fetched.friendly_name, fetched.sms_url, fetched.sms_method) == (
            "Store",
            "https://example.com/sms",
            "GET",
        )
        assert fetched.message_status_callback == "https://example.com/status"
        assert [found.sid for found in client.applications.list(friendly_name="Store")] == [made.sid]
        assert client.applications.list(friendly_name="Shop") == []
        assert client.applications(made.sid).delete() is True
        with refused(20404, 404):
            client.applications(made.sid).fetch()

    @pytest.mark.parametrize(("code", "fields"), [(21402, {"sms_url": "no URL"}), (21403, {"sms_method": "PUT"})])
    def test_bad_setting_is_refused_with_its_code(self, client, refused, code, fields):
        with refused(code):
            client.applications.create(friendly_name="Shop", **fields)
        assert client.applications.list() == []

    def test_another_accounts_application_is_answered_with_20404(self, server, client, refused):
        made = client.applications.create(friendly_name="Shop")
        with refused(20404, 404):
            server.make_account(with_number=False).client().applications(made.sid).fetch()


class TestUse:
    def test_numbers_application_answers_in_place_of_its_own_url(self, client, fresh_account, handset, webhook):
        response = MessagingResponse()
        response.message("from the application")
        made = client.applications.create(friendly_name="Shop", sms_url=webhook.answers("/application", response))
        client.incoming_phone_numbers(fresh_account.number_sid).update(
            sms_url=webhook.url("/own"), sms_application_sid=made.sid
        )
        handset.send(fresh_account.number, "Hello")
        webhook.heard("/application")
        assert handset.bodies() == ["from the application"]
        assert webhook.is_quiet("/own")

    def test_message_reports_to_its_application(self, client, fresh_account, handset, webhook):
        made = client.applications.create(friendly_name="Shop", message_status_callback=webhook.url("/application"))
        client.messages.create(to=handset.number, from_=fresh_account.number, body="x", application_sid=made.sid)
        heard = [webhook.heard("/application").fields["MessageStatus"] for _ in range(2)]
        assert heard == ["sent", "delivered"]

    def test_messages_own_callback_beats_its_applications(self, client, fresh_account, handset, webhook):
        made = client.applications.create(friendly_name="Shop", message_status_callback=webhook.url("/application"))
        client.messages.create(
            to=handset.number,
            from_=fresh_account.number,
            body="x",
            application_sid=made.sid,
            status_callback=webhook.url("/own"),
        )
        assert [webhook.heard("/own").fields["MessageStatus"] for _ in range(2)] == ["sent", "delivered"]
        assert webhook.is_quiet("/application")
