"""Status callbacks as an application hears them: signed, in order, once each."""

from datetime import UTC, datetime, timedelta

import pytest


class TestOrder:
    def test_delivered_message_is_called_back_as_sent_and_then_delivered(self, client, fresh_account, handset, webhook):
        sent = client.messages.create(
            to=handset.number,
            from_=fresh_account.number,
            body="x",
            status_callback=webhook.url("/status?ref=a%20b"),
        )
        heard = [webhook.heard("/status") for _ in range(2)]
        assert [call.fields["MessageStatus"] for call in heard] == ["sent", "delivered"]
        assert all(call.fields["ref"] == "a b" for call in heard)
        expected = {
            "MessageSid": sent.sid,
            "SmsSid": sent.sid,
            "SmsStatus": "delivered",
            "AccountSid": fresh_account.sid,
            "From": fresh_account.number,
            "To": handset.number,
            "ApiVersion": "2010-04-01",
        }
        assert {name: heard[1].fields.get(name) for name in expected} == expected
        assert "ErrorCode" not in heard[1].fields
        done_at = datetime.strptime(heard[1].fields["RawDlrDoneDate"], "%y%m%d%H%M").replace(tzinfo=UTC)
        assert timedelta() <= done_at - sent.date_created.replace(second=0) <= timedelta(minutes=1)
        handset.server.settle()
        assert webhook.is_quiet("/status")
        assert len({call.headers["I-Twilio-Idempotency-Token"] for call in heard}) == 2

    def test_order_holds_while_an_earlier_status_is_retried(self, client, fresh_account, handset, webhook):
        url = webhook.answers("/status", ("no", 500, {}), ("no", 500, {}), ("", 204, {})) + "#rc=3&rp=5xx"
        client.messages.create(to=handset.number, from_=fresh_account.number, body="x", status_callback=url)
        heard = [webhook.heard("/status") for _ in range(4)]
        assert [call.fields["MessageStatus"] for call in heard] == ["sent", "sent", "sent", "delivered"]
        assert len({call.headers["I-Twilio-Idempotency-Token"] for call in heard[:3]}) == 1

    def test_each_message_has_its_own_pair(self, client, fresh_account, handset, webhook):
        url = webhook.url("/status")
        sids = [
            client.messages.create(
                to=handset.number, from_=fresh_account.number, body=str(number), status_callback=url
            ).sid
            for number in range(5)
        ]
        heard = [webhook.heard("/status").fields for _ in range(10)]
        for sid in sids:
            statuses = [fields["MessageStatus"] for fields in heard if fields["MessageSid"] == sid]
            assert statuses == ["sent", "delivered"]


class TestOutcomes:
    @pytest.mark.parametrize(
        ("setting", "statuses", "code"),
        [
            ({"outcome": "undelivered"}, ["sent", "undelivered"], 30003),
            ({"outcome": "undelivered", "error_code": 30005}, ["sent", "undelivered"], 30005),
            ({"outcome": "reject"}, ["failed"], 30007),
            ({"outcome": "reject", "error_code": 30004}, ["failed"], 30004),
        ],
        ids=lambda value: str(value.get("outcome")) if isinstance(value, dict) else None,
    )
    def test_outcome_of_the_handset_is_called_back_with_its_code(
        self, client, fresh_account, handset, webhook, setting, statuses, code
    ):
        handset.behaves(**setting)
        sent = client.messages.create(
            to=handset.number, from_=fresh_account.number, body="x", status_callback=webhook.url("/status")
        )
        heard = [webhook.heard("/status").fields for _ in statuses]
        assert [fields["MessageStatus"] for fields in heard] == statuses
        assert [fields.get("ErrorCode") for fields in heard] == [None] * (len(statuses) - 1) + [str(code)]
        handset.server.settle()
        assert webhook.is_quiet("/status")
        fetched = client.messages(sent.sid).fetch()
        assert (fetched.status, fetched.error_code) == (statuses[-1], code)
        assert fetched.error_message

    def test_answer_the_carrier_never_gave_ends_in_one_status_and_is_not_sent_twice(
        self, client, fresh_account, handset, webhook
    ):
        # Whether the receipt or the time limit speaks first is open; either way there is one end, and one text.
        handset.behaves(outcome="unknown")
        sent = client.messages.create(
            to=handset.number, from_=fresh_account.number, body="x", status_callback=webhook.url("/status")
        )
        assert handset.bodies() == ["x"]
        fetched = client.messages(sent.sid).fetch()
        statuses = {"delivered": ["sent", "delivered"], "failed": ["failed"]}[fetched.status]
        assert [webhook.heard("/status").fields["MessageStatus"] for _ in statuses] == statuses
        assert webhook.is_quiet("/status")

    def test_lost_receipt_leaves_the_message_sent(self, client, fresh_account, handset, webhook):
        handset.behaves(outcome="lost_receipt")
        sent = client.messages.create(
            to=handset.number, from_=fresh_account.number, body="x", status_callback=webhook.url("/status")
        )
        assert webhook.heard("/status").fields["MessageStatus"] == "sent"
        assert handset.bodies() == ["x"]
        assert webhook.is_quiet("/status")
        assert client.messages(sent.sid).fetch().status == "sent"

    def test_callback_that_fails_is_shown_in_the_debugger(self, client, fresh_account, handset, webhook):
        url = webhook.answers("/status", ("no", 500, {}))
        sent = client.messages.create(to=handset.number, from_=fresh_account.number, body="x", status_callback=url)
        handset.server.settle()
        alerts = client.monitor.v1.alerts.list()
        assert [(alert.error_code, alert.resource_sid) for alert in alerts] == [("11200", sent.sid)] * 2
        assert client.messages(sent.sid).fetch().status == "delivered"

    def test_account_that_was_suspended_meanwhile_sends_nothing(self, server, client, fresh_account, handset, webhook):
        handset.behaves(outcome="unreachable")
        sent = client.messages.create(
            to=handset.number, from_=fresh_account.number, body="x", status_callback=webhook.url("/status")
        )
        server.settle()
        server.operator(f"/operator/v1/accounts/{fresh_account.sid}/status", {"status": "suspended"})
        handset.behaves(outcome="delivered")
        # The carrier could not be reached and is asked again after a pause.
        server.clock(advance_s=10)
        assert webhook.heard("/status").fields["ErrorCode"] == "30002"
        assert handset.messages() == []
        assert client.messages(sent.sid).fetch().status == "failed"
