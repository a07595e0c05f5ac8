"""Numbers searched, bought, configured and released through twilio-python."""

import pytest


def find_one(client, country="US", kind="local", **filters):
    [found] = getattr(client.available_phone_numbers(country), kind).list(limit=1, **filters)
    return found.phone_number


class TestSearch:
    def test_countries_are_those_of_the_stock(self, client):
        countries = {country.country_code for country in client.available_phone_numbers.list()}
        assert countries >= {"US", "CA", "GB", "DE", "KE", "IN", "JP", "AU"}
        assert client.available_phone_numbers("DE").fetch().country == "Germany"

    def test_found_number_shows_what_it_is(self, client):
        [found] = client.available_phone_numbers("US").local.list(limit=1)
        assert found.phone_number.startswith("+1")
        assert (found.iso_country, found.address_requirements, found.beta) == ("US", "none", False)
        assert found.capabilities == {"voice": True, "sms": True, "mms": True, "fax": True}

    @pytest.mark.parametrize(
        ("filters", "holds"),
        [
            ({"area_code": 713}, lambda found: found.phone_number.startswith("+1713")),
            ({"contains": "555010*"}, lambda found: "555010" in found.phone_number),
            ({"in_region": "TX"}, lambda found: found.region == "TX"),
            ({"in_locality": "Austin"}, lambda found: found.locality == "Austin"),
            ({"sms_enabled": True}, lambda found: found.capabilities["sms"]),
        ],
        ids=["area code", "pattern", "region", "locality", "capability"],
    )
    def test_filter_leaves_only_what_fits(self, client, filters, holds):
        found = client.available_phone_numbers("US").local.list(limit=20, **filters)
        assert found
        assert all(holds(number) for number in found)

    def test_kinds_are_searched_apart(self, client):
        assert find_one(client, "GB", "mobile").startswith("+447")
        assert find_one(client, "US", "toll_free").startswith("+18")
        assert client.available_phone_numbers("US").voip.list() == []

    def test_country_without_stock_is_answered_with_20404(self, client, refused):
        with refused(20404, 404):
            client.available_phone_numbers("AQ").fetch()


class TestBuy:
    def test_bought_number_is_the_accounts_and_no_longer_for_sale(self, client, fresh_account):
        wanted = find_one(client, area_code=801)
        bought = client.incoming_phone_numbers.create(phone_number=wanted, friendly_name="Front desk")
        assert bought.sid.startswith("PN")
        assert (bought.phone_number, bought.friendly_name) == (wanted, "Front desk")
        assert bought.capabilities["sms"] is True
        listed = client.incoming_phone_numbers.list(phone_number=wanted)
        assert [number.sid for number in listed] == [bought.sid]
        assert len(client.incoming_phone_numbers.list()) == 2
        assert client.available_phone_numbers("US").local.list(contains=wanted) == []
        bought.delete()

    def test_area_code_buys_any_number_of_it(self, client):
        bought = client.incoming_phone_numbers.create(area_code="702")
        assert bought.phone_number.startswith("+1702")
        bought.delete()

    def test_number_somebody_holds_is_refused_with_21422(self, server, client, refused):
        for taken in (server.number, client.incoming_phone_numbers.list()[0].phone_number):
            with refused(21422):
                client.incoming_phone_numbers.create(phone_number=taken)

    @pytest.mark.parametrize(
        ("code", "fields"),
        [
            (21421, {"phone_number": "call me"}),
            (21421, {}),
            (21422, {"phone_number": "+12125559999"}),
            (21451, {"area_code": "1"}),
            (21452, {"area_code": "999"}),
            (21402, {"phone_number": None, "sms_url": "no URL"}),
            (21403, {"phone_number": None, "sms_method": "PUT"}),
            (21420, {"phone_number": None, "sms_application_sid": "AP" + "0" * 32}),
        ],
    )
    def test_bad_purchase_is_refused_with_its_code(self, client, refused, code, fields):
        if fields.get("phone_number", "") is None:
            fields = fields | {"phone_number": find_one(client)}
        with refused(code):
            client.incoming_phone_numbers.create(**fields)
        assert len(client.incoming_phone_numbers.list()) == 1

    def test_number_that_needs_an_address_is_refused_without_one(self, client, refused):
        wanted = find_one(client, "DE", contains="+4969*")
        with refused(21615):
            client.incoming_phone_numbers.create(phone_number=wanted)


class TestConfigure:
    def test_settings_are_kept_and_left_alone_when_not_named(self, client, fresh_account):
        number = client.incoming_phone_numbers(fresh_account.number_sid)
        number.update(
            friendly_name="Shop",
            sms_url="https://example.com/sms",
            sms_method="GET",
            sms_fallback_url="https://example.com/fallback",
            voice_url="https://example.com/voice",
            status_callback="https://example.com/status",
        )
        number.update(sms_method="POST")
        fetched = number.fetch()
        assert (fetched.friendly_name, fetched.sms_url, fetched.sms_method) == (
            "Shop",
            "https://example.com/sms",
            "POST",
        )
        assert fetched.sms_fallback_url == "https://example.com/fallback"
        assert (fetched.voice_url, fetched.status_callback) == (
            "https://example.com/voice",
            "https://example.com/status",
        )
        assert [found.sid for found in client.incoming_phone_numbers.list(friendly_name="Shop")] == [fetched.sid]
        assert client.incoming_phone_numbers.list(friendly_name="Nobody") == []

    def test_bad_setting_changes_nothing(self, client, fresh_account, refused):
        number = client.incoming_phone_numbers(fresh_account.number_sid)
        number.update(sms_url="https://example.com/sms")
        with refused(21402):
            number.update(sms_url="javascript:alert(1)")
        assert number.fetch().sms_url == "https://example.com/sms"

    def test_another_accounts_number_is_answered_with_20404(self, server, fresh_account, refused):
        stranger = server.make_account(with_number=False).client().incoming_phone_numbers(fresh_account.number_sid)
        with refused(20404, 404):
            stranger.fetch()
        with refused(20404, 404):
            stranger.update(friendly_name="mine")
        with refused(20404, 404):
            stranger.delete()


class TestRelease:
    def test_released_number_is_for_sale_and_neither_sends_nor_receives(self, client, fresh_account, handset, refused):
        assert client.incoming_phone_numbers(fresh_account.number_sid).delete() is True
        with refused(20404, 404):
            client.incoming_phone_numbers(fresh_account.number_sid).fetch()
        with refused(21606):
            client.messages.create(to=handset.number, from_=fresh_account.number, body="x")
        assert handset.send(fresh_account.number, "anybody?")["sid"] is None
        assert client.messages.list() == []
        [again] = client.available_phone_numbers("US").local.list(contains=fresh_account.number)
        assert again.phone_number == fresh_account.number

    def test_new_owner_gets_what_comes_after(self, server, client, fresh_account, handset):
        client.incoming_phone_numbers(fresh_account.number_sid).delete()
        other = server.make_account(with_number=False).client()
        other.incoming_phone_numbers.create(phone_number=fresh_account.number)
        sid = handset.send(fresh_account.number, "hello")["sid"]
        assert [message.sid for message in other.messages.list()] == [sid]
        assert client.messages.list() == []
