"""Short codes by the official client: given by the operator, set up, sent from, written to and in pools."""

import itertools

import pytest
import requests
from twilio.twiml.messaging_response import MessagingResponse

WAIT_S = 10
_codes = itertools.count(70_100)


@pytest.fixture
def give(server, fresh_account):
    """Give short codes to accounts as the operator, and take them back."""
    given = []

    def short_code(account=None, code=None, **fields):
        body = {"account_sid": (account or fresh_account).sid, "short_code": code or str(next(_codes)), "country": "US"}
        row = server.operator("/operator/v1/ShortCodes", body | fields)
        given.append(row["sid"])
        return row

    yield short_code
    for sid in given:
        requests.delete(f"{server.url}/operator/v1/ShortCodes/{sid}", headers=_operator(server), timeout=WAIT_S)


def _operator(server):
    return {"Authorization": f"Bearer {server.operator_key}"}


def ask(server, **body):
    answer = requests.post(f"{server.url}/operator/v1/ShortCodes", json=body, headers=_operator(server), timeout=WAIT_S)
    return answer.status_code, answer.json()


class TestHolding:
    def test_given_code_is_charged_listed_and_set_up(self, server, client, fresh_account, give):
        before = client.api.v2010.account.balance.fetch().balance
        row = give()
        [code] = client.short_codes.list()
        assert (code.sid, code.short_code, code.friendly_name) == (row["sid"], row["short_code"], row["short_code"])
        assert float(before) - float(client.api.v2010.account.balance.fetch().balance) == pytest.approx(500)
        [used] = client.usage.records.today.list(category="shortcodes")
        assert (used.usage, float(used.price)) == ("1", 500.0)
        changed = client.short_codes(code.sid).update(friendly_name="Votes", sms_url="https://example.com/in")
        assert (changed.friendly_name, changed.sms_url, changed.sms_method) == (
            "Votes",
            "https://example.com/in",
            "POST",
        )
        assert client.short_codes(code.sid).fetch().sms_url == "https://example.com/in"
        assert client.short_codes.list(short_code=row["short_code"][:3]) and client.short_codes.list(
            friendly_name="Votes"
        )
        assert client.short_codes.list(short_code="99999") == []
        # A short code is no incoming phone number.
        assert [number.sid for number in client.incoming_phone_numbers.list()] == [fresh_account.number_sid]

    def test_wrong_settings_are_refused(self, client, give, refused):
        code = client.short_codes(give()["sid"])
        with refused(21406):
            code.update(sms_fallback_url="https://example.com/fallback")
        with refused(21402):
            code.update(sms_url="nowhere")
        with refused(21403):
            code.update(sms_method="PUT")

    def test_code_is_nobody_elses(self, server, client, give, refused):
        row = give()
        other = server.make_account("Other", with_number=False)
        stranger = other.client()
        for ask_for in (stranger.short_codes(row["sid"]).fetch, lambda: stranger.short_codes(row["sid"]).update()):
            with refused(20404, 404):
                ask_for()
        assert stranger.short_codes.list() == []
        with refused(21606):
            stranger.messages.create(to="+19075550111", from_=row["short_code"], body="Hello")
        service = stranger.messaging.v1.services.create(friendly_name="Other")
        with refused(20404, 404):
            stranger.messaging.v1.services(service.sid).short_codes.create(short_code_sid=row["sid"])
        assert ask(server, account_sid=other.sid, short_code=row["short_code"], country="US")[0] == 409

    @pytest.mark.parametrize(
        "wrong", [{"short_code": "12"}, {"short_code": "+12345"}, {"country": "XX"}, {"account_sid": "AC" + "0" * 32}]
    )
    def test_wrong_gift_is_refused(self, server, fresh_account, wrong):
        given = {"account_sid": fresh_account.sid, "short_code": "71999", "country": "US"} | wrong
        status, body = ask(server, **given)
        assert (status, body["code"]) == (400, 20001), body

    def test_month_without_funds_is_not_given(self, server, give):
        poor = server.make_account("Poor", with_number=False)
        give(poor)
        give(poor)
        status, body = ask(server, account_sid=poor.sid, short_code=str(next(_codes)), country="US")
        assert status != 201 and "funds" in body["message"].lower(), body

    def test_taken_back_it_sends_no_more(self, server, client, give, handset, refused):
        row = give()
        client.messages.create(to=handset.number, from_=row["short_code"], body="Before")
        assert handset.bodies() == ["Before"]
        gone = requests.delete(
            f"{server.url}/operator/v1/ShortCodes/{row['sid']}", headers=_operator(server), timeout=WAIT_S
        )
        assert gone.status_code == 204
        with refused(21606):
            client.messages.create(to=handset.number, from_=row["short_code"], body="After")
        listed = requests.get(f"{server.url}/operator/v1/ShortCodes", headers=_operator(server), timeout=WAIT_S).json()
        assert row["sid"] not in [each["sid"] for each in listed["items"]]


class TestMessages:
    def test_message_is_sent_charged_and_counted_as_a_short_codes(self, server, client, give, handset):
        row = give()
        message = client.messages.create(to=handset.number, from_=row["short_code"], body="Hello")
        assert handset.bodies() == ["Hello"]
        shown = client.messages(message.sid).fetch()
        assert (shown.status, shown.from_) == ("delivered", row["short_code"])
        assert float(shown.price) < 0
        [used] = client.usage.records.today.list(category="sms-outbound-shortcode")
        assert used.count == "1"
        [all_] = client.usage.records.today.list(category="sms-outbound")
        assert all_.count == "1"

    def test_country_of_another_network_is_not_reached(self, client, give, refused):
        with refused(21612):
            client.messages.create(to="+447400123456", from_=give()["short_code"], body="Hello")

    def test_inbound_is_answered_and_counted(self, server, client, fresh_account, give, handset, webhook):
        row = give()
        reply = MessagingResponse()
        reply.message("Thank you")
        client.short_codes(row["sid"]).update(sms_url=webhook.answers("/code", reply))
        handset.send(row["short_code"], "A vote")
        heard = webhook.heard("/code")
        assert (heard.fields["To"], heard.fields["From"], heard.fields["Body"]) == (
            row["short_code"],
            handset.number,
            "A vote",
        )
        assert handset.bodies() == ["Thank you"]
        [used] = client.usage.records.today.list(category="sms-inbound-shortcode")
        assert used.count == "1" and float(used.price) > 0

    def test_alone_it_handles_no_keywords_itself(self, client, give, handset):
        row = give()
        handset.send(row["short_code"], "STOP")
        assert handset.bodies() == []
        client.messages.create(to=handset.number, from_=row["short_code"], body="Still")
        assert handset.bodies() == ["Still"]

    def test_message_from_one_accounts_number_reaches_anothers_code(self, server, client, fresh_account, give, webhook):
        row = give()
        client.short_codes(row["sid"]).update(sms_url=webhook.answers("/code", MessagingResponse()))
        with_number = server.make_handset()
        with_number.send(row["short_code"], "Hello")
        assert webhook.heard("/code").fields["From"] == with_number.number


class TestPools:
    @pytest.fixture
    def pool(self, client, fresh_account):
        service = client.messaging.v1.services.create(friendly_name="Votes")
        found = client.messaging.v1.services(service.sid)
        found.phone_numbers.create(phone_number_sid=fresh_account.number_sid)
        return found

    def test_code_stands_in_one_pool_once(self, client, give, pool, refused):
        row = give()
        added = pool.short_codes.create(short_code_sid=row["sid"])
        assert (added.short_code, added.country_code, added.capabilities) == (row["short_code"], "US", ["SMS"])
        with refused(21710, 409):
            pool.short_codes.create(short_code_sid=row["sid"])
        other = client.messaging.v1.services.create(friendly_name="Other")
        with refused(21712, 409):
            client.messaging.v1.services(other.sid).short_codes.create(short_code_sid=row["sid"])
        assert [each.sid for each in pool.short_codes.list()] == [row["sid"]]
        assert pool.short_codes(row["sid"]).fetch().sid == row["sid"]
        assert pool.short_codes(row["sid"]).delete()
        with refused(20404, 404):
            pool.short_codes(row["sid"]).fetch()

    def test_code_comes_before_numbers_in_its_country_only(self, server, client, give, pool, fresh_account, handset):
        row = give()
        pool.short_codes.create(short_code_sid=row["sid"])
        service_sid = pool.fetch().sid
        for to, sender in ((handset.number, row["short_code"]), ("+447400123456", fresh_account.number)):
            message = client.messages.create(messaging_service_sid=service_sid, to=to, body="Hello")
            server.settle()
            assert client.messages(message.sid).fetch().from_ == sender

    def test_stop_to_the_code_stops_the_service(self, client, give, pool, handset, refused):
        row = give()
        pool.short_codes.create(short_code_sid=row["sid"])
        handset.send(row["short_code"], "STOP")
        [reply] = handset.messages()
        assert reply["from"] == row["short_code"]
        with refused(21610):
            client.messages.create(messaging_service_sid=pool.fetch().sid, to=handset.number, body="Hello")
