"""Test credentials and the magic numbers of Twilio's documentation: its answers, and nothing happens."""

import pytest
from twilio.rest import Client

SENDER = "+15005550006"


@pytest.fixture
def magic(fresh_account):
    return Client(fresh_account.test_sid, fresh_account.test_token)


class TestMessages:
    @pytest.mark.parametrize(
        ("sender", "code"), [("+15005550001", 21212), ("+15005550007", 21606), ("+15005550008", 21611)]
    )
    def test_magic_sender_is_refused_with_its_code(self, magic, handset, refused, sender, code):
        with refused(code):
            magic.messages.create(to=handset.number, from_=sender, body="x")

    @pytest.mark.parametrize(
        ("recipient", "code"),
        [
            ("+15005550001", 21211),
            ("+15005550002", 21612),
            ("+15005550003", 21408),
            ("+15005550004", 21610),
            ("+15005550009", 21614),
        ],
    )
    def test_magic_recipient_is_refused_with_its_code(self, magic, refused, recipient, code):
        with refused(code):
            magic.messages.create(to=recipient, from_=SENDER, body="x")

    def test_any_other_sender_is_refused_with_21606(self, magic, fresh_account, handset, refused):
        with refused(21606):
            magic.messages.create(to=handset.number, from_=fresh_account.number, body="x")

    @pytest.mark.parametrize(
        ("code", "fields"), [(21602, {"body": ""}), (21211, {"to": "nobody"}), (21617, {"body": "a" * 1601})]
    )
    def test_other_numbers_are_validated_as_ever(self, magic, handset, refused, code, fields):
        with refused(code):
            magic.messages.create(**({"to": handset.number, "from_": SENDER, "body": "x"} | fields))

    def test_magic_sender_that_works_sends_charges_and_calls_nothing(
        self, magic, client, fresh_account, handset, webhook
    ):
        webhook.tokens[fresh_account.test_sid] = fresh_account.test_token
        sent = magic.messages.create(to=handset.number, from_=SENDER, body="x", status_callback=webhook.url("/status"))
        assert sent.sid.startswith("SM")
        assert (sent.status, sent.from_, sent.price, sent.account_sid) == (
            "queued",
            SENDER,
            None,
            fresh_account.test_sid,
        )
        assert handset.messages() == []
        assert webhook.is_quiet("/status")
        assert client.messages.list() == []


class TestNumbers:
    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"phone_number": "+15005550000"}, 21422),
            ({"phone_number": "+15005550001"}, 21421),
            ({"area_code": "533"}, 21452),
        ],
    )
    def test_magic_number_is_refused_with_its_code(self, magic, refused, fields, code):
        with refused(code):
            magic.incoming_phone_numbers.create(**fields)

    @pytest.mark.parametrize("fields", [{"phone_number": SENDER}, {"area_code": "500"}])
    def test_magic_number_for_sale_is_bought_for_nobody(self, magic, client, fields):
        bought = magic.incoming_phone_numbers.create(friendly_name="Magic", **fields)
        assert (bought.phone_number, bought.friendly_name) == (SENDER, "Magic")
        assert len(client.incoming_phone_numbers.list()) == 1


class TestElsewhere:
    def test_other_resources_are_refused_with_20008(self, magic, refused):
        with refused(20008, 403):
            magic.messages("SM" + "0" * 32).fetch()
        with refused(20008, 403):
            magic.applications.create(friendly_name="x")
        with refused(20008, 403):
            magic.new_keys.create()

    def test_test_token_does_not_open_the_account(self, fresh_account, refused):
        with refused(20003, 401):
            fresh_account.client(password=fresh_account.test_token).messages("SM" + "0" * 32).fetch()
