"""Numbers: the stock, buying, configuring, transferring, releasing; applications; what other rooms look up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import phonenumbers
import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import NotFound, Refusal
from onterms.engines.api import Account, Caller, Page
from onterms.products import numbers
from onterms.products.numbers import OwnedCache

LIST = "api_v2010:ListAvailablePhoneNumber"
BUY = "api_v2010:CreateIncomingPhoneNumber"
UPDATE = "api_v2010:UpdateIncomingPhoneNumber"
FETCH = "api_v2010:FetchIncomingPhoneNumber"
DELETE = "api_v2010:DeleteIncomingPhoneNumber"
OWNED = "api_v2010:ListIncomingPhoneNumber"
OAKLAND = "+15105550100"
SAN_FRANCISCO = "+14155550100"
PARENT = "AC" + "a" * 32
CHILD = Account("AC" + "c" * 32, PARENT, "active", "Child")
SLEEPER = Account("AC" + "d" * 32, PARENT, "suspended", "Suspended child")
FAMILY = {CHILD.sid: CHILD, SLEEPER.sid: SLEEPER}
ADDRESS = "AD" + "1" * 32


async def find_account(tx: Tx, caller: Caller, sid: str) -> Account:
    if sid == caller.account.sid:
        return caller.account
    if sid not in FAMILY or FAMILY[sid].owner_sid != caller.account.sid:
        raise NotFound("no such account")
    return FAMILY[sid]


async def owns_resource(tx: Tx, account_sid: str, sid: str) -> bool:
    return account_sid == PARENT and sid == ADDRESS


@pytest.fixture
async def room(door: Callable[..., Any], database: Database) -> Any:
    async with database.transaction() as tx:
        await numbers.fill_sandbox_inventory(tx)
    return door(numbers.bindings(find_account=find_account, owns_resource=owns_resource))


async def found(room: Any, account: Account, kind: str, country: str, **params: Any) -> list[str]:
    rows = await room(LIST + kind, account, params, CountryCode=country)
    return [row["phone_number"] for row in rows]


class TestSandboxStock:
    async def test_stock_covers_the_countries_and_is_possible(self, room: Any, database: Database) -> None:
        async with database.transaction() as tx:
            rows = await tx.fetch("SELECT * FROM number_inventory")
        kinds = {(row["country"], row["kind"]) for row in rows}
        assert kinds == {
            (c, k) for c in ("AU", "CA", "DE", "GB", "IN", "JP", "KE", "US") for k in ("local", "tollfree")
        } | {(c, "mobile") for c in ("AU", "DE", "GB", "IN", "JP", "KE")}
        local = [row for row in rows if (row["country"], row["kind"]) == ("US", "local")]
        assert len(local) >= 200
        assert len({row["area_code"] for row in local}) >= 25
        assert sum((row["country"], row["kind"]) == ("US", "tollfree") for row in rows) >= 50
        for row in rows:
            assert phonenumbers.is_possible_number(phonenumbers.parse(row["phone_number"])), row["phone_number"]
        # What the numbering plan knows of an area code agrees with the stock.
        for row in local:
            assert phonenumbers.region_code_for_number(phonenumbers.parse(row["phone_number"])) == "US"
            assert row["locality"] and row["rate_center"] and row["lata"] and row["postal_code"]

    async def test_filling_again_changes_nothing(self, room: Any, database: Database, account: Account) -> None:
        await room(BUY, account, {"PhoneNumber": OAKLAND})
        async with database.transaction() as tx:
            before = await tx.fetch("SELECT * FROM number_inventory ORDER BY phone_number")
            assert await numbers.fill_sandbox_inventory(tx) == 0
            assert await tx.fetch("SELECT * FROM number_inventory ORDER BY phone_number") == before


class TestCountries:
    async def test_countries_list_the_kinds_they_have(self, room: Any, account: Account) -> None:
        body = await room.raw("api_v2010:ListAvailablePhoneNumberCountry", account)
        by_code = {entry["country_code"]: entry for entry in body["countries"]}
        assert by_code["KE"]["country"] == "Kenya"
        assert set(by_code["US"]["subresource_uris"]) == {"local", "toll_free"}
        assert by_code["GB"]["subresource_uris"]["mobile"].endswith("/AvailablePhoneNumbers/GB/Mobile.json")

    async def test_one_country_is_fetched_in_either_case(self, room: Any, account: Account) -> None:
        row = await room("api_v2010:FetchAvailablePhoneNumberCountry", account, CountryCode="gb")
        assert (row["country_code"], row["beta"]) == ("GB", False)

    async def test_unknown_country_is_refused_with_20404(self, room: Any, account: Account) -> None:
        for operation in ("api_v2010:FetchAvailablePhoneNumberCountry", LIST + "Local", LIST + "Voip"):
            refusal = await room.refused(operation, account, CountryCode="ZZ")
            assert (refusal.code, refusal.status) == (20404, 404)
            assert "/AvailablePhoneNumbers/ZZ" in refusal.message


class TestSearch:
    async def test_search_gives_at_most_thirty_and_no_next_page(self, room: Any, account: Account) -> None:
        page: Page = await room.raw(LIST + "Local", account, {"PageSize": "1000"}, CountryCode="US")
        assert (len(page.rows), page.next_token) == (30, None)
        assert len(await found(room, account, "Local", "US", PageSize="3")) == 3
        assert await found(room, account, "Local", "US", Page="1") == []

    async def test_north_american_number_has_its_place(self, room: Any, account: Account) -> None:
        [row] = await room(LIST + "Local", account, {"Contains": OAKLAND}, CountryCode="US")
        assert row == {
            "friendly_name": "(510) 555-0100",
            "phone_number": OAKLAND,
            "lata": "722",
            "locality": "Oakland",
            "rate_center": "OKLD TRNID",
            "latitude": 37.8044,
            "longitude": -122.2712,
            "region": "CA",
            "postal_code": "94612",
            "iso_country": "US",
            "address_requirements": "none",
            "beta": False,
            "capabilities": {"voice": True, "sms": True, "mms": True, "fax": True},
        }

    async def test_numbers_elsewhere_are_named_in_e164(self, room: Any, account: Account) -> None:
        rows = await room(LIST + "Mobile", account, {}, CountryCode="GB")
        assert all(row["friendly_name"] == row["phone_number"] and row["latitude"] is None for row in rows)
        assert rows[0]["capabilities"] == {"voice": True, "sms": True, "mms": False, "fax": False}

    async def test_kind_that_a_country_never_has_is_refused_with_20404(self, room: Any, account: Account) -> None:
        refusal = await room.refused(LIST + "Mobile", account, CountryCode="US")
        assert (refusal.code, refusal.status) == (20404, 404)

    @pytest.mark.parametrize("kind", ["National", "SharedCost", "Voip", "MachineToMachine"])
    async def test_kind_that_no_stock_has_is_empty(self, room: Any, account: Account, kind: str) -> None:
        assert await found(room, account, kind, "GB") == []

    @pytest.mark.parametrize(
        ("contains", "sample"),
        [
            ("51055501**", OAKLAND),
            ("510***0100", OAKLAND),
            ("510%0100", OAKLAND),
            ("%5550100$", "+12015550100"),
            ("+1510", OAKLAND),
            (" 1510", OAKLAND),
            ("510KJJ01", OAKLAND),
            ("0100$", "+12015550100"),
        ],
    )
    async def test_contains_matches_as_documented(
        self, room: Any, account: Account, contains: str, sample: str
    ) -> None:
        assert sample in await found(room, account, "Local", "US", Contains=contains)

    async def test_contains_anchors_hold(self, room: Any, account: Account) -> None:
        assert await found(room, account, "Local", "US", Contains="+510") == []
        assert await found(room, account, "Local", "US", Contains="1510$") == []

    @pytest.mark.parametrize(
        "contains", ["5", "**5*", "12345678901234567", "5'1; --", "51+0", "5$10", "\u0665\u0661\u0660", "%%"]
    )
    async def test_malformed_pattern_is_refused(self, room: Any, account: Account, contains: str) -> None:
        refusal = await room.refused(LIST + "Local", account, {"Contains": contains}, CountryCode="US")
        assert (refusal.code, refusal.status) == (20001, 400)

    async def test_area_code_is_for_north_america_only(self, room: Any, account: Account) -> None:
        rows = await found(room, account, "Local", "US", AreaCode="415")
        assert len(rows) == 10 and all(number.startswith("+1415") for number in rows)
        assert await found(room, account, "Local", "GB", AreaCode="415") == await found(room, account, "Local", "GB")
        refusal = await room.refused(LIST + "Local", account, {"AreaCode": "15"}, CountryCode="US")
        assert refusal.code == 21451

    async def test_capabilities_filter_both_ways(self, room: Any, account: Account) -> None:
        assert await found(room, account, "Local", "GB", SmsEnabled="true") == []
        assert len(await found(room, account, "Local", "GB", SmsEnabled="false", VoiceEnabled="true")) == 30
        assert await found(room, account, "TollFree", "US", FaxEnabled="true") == []
        assert len(await found(room, account, "TollFree", "US", MmsEnabled="true")) == 30

    async def test_address_filters_leave_out_what_they_name(self, room: Any, account: Account) -> None:
        async def cities(country: str, **params: str) -> set[str]:
            rows = []
            for city in ("Frankfurt am Main", "Berlin", "Osaka", "Tokyo", "Perth", "Sydney"):
                rows += await room(LIST + "Local", account, {"InLocality": city, **params}, CountryCode=country)
            return {row["locality"] for row in rows}

        assert await cities("DE") == {"Frankfurt am Main", "Berlin"}
        assert await cities("DE", ExcludeLocalAddressRequired="true") == {"Berlin"}
        assert await cities("DE", ExcludeForeignAddressRequired="true") == {"Frankfurt am Main", "Berlin"}
        assert await cities("AU", ExcludeForeignAddressRequired="true") == {"Sydney"}
        assert await cities("JP", ExcludeLocalAddressRequired="true") == {"Osaka", "Tokyo"}
        assert await cities("JP", ExcludeAllAddressRequired="true") == {"Tokyo"}

    async def test_beta_numbers_can_be_left_out(self, room: Any, account: Account) -> None:
        assert "+14085550199" in await found(room, account, "Local", "US", AreaCode="408")
        assert "+14085550199" not in await found(room, account, "Local", "US", AreaCode="408", Beta="false")

    async def test_nearest_numbers_come_first_within_the_distance(self, room: Any, account: Account) -> None:
        # Oakland is 8 miles from San Francisco, San Jose 42, Sacramento 75.
        near = await room(LIST + "Local", account, {"NearLatLong": "37.7749,-122.4194"}, CountryCode="US")
        assert [row["locality"] for row in near] == ["San Francisco"] * 10 + ["Oakland"] * 10
        wide = {"NearNumber": "+14155550109", "Distance": "50"}
        rows = await room(LIST + "Local", account, wide, CountryCode="US")
        assert [row["locality"] for row in rows] == ["San Francisco"] * 10 + ["Oakland"] * 10 + ["San Jose"] * 10
        # A number of the area that is not in stock is somewhere in the area.
        assert await found(room, account, "Local", "US", NearNumber="(415) 222-3333", Distance="1") == [
            row["phone_number"] for row in near[:10]
        ]

    async def test_unknown_neighbourhood_finds_nothing(self, room: Any, account: Account) -> None:
        assert await found(room, account, "Local", "US", NearNumber="+442079460000") == []

    @pytest.mark.parametrize("text", ["91,0", "0", "a,b", "nan,nan", "1,2,3", ","])
    async def test_point_off_the_globe_is_refused(self, room: Any, account: Account, text: str) -> None:
        refusal = await room.refused(LIST + "Local", account, {"NearLatLong": text}, CountryCode="US")
        assert refusal.code == 20001

    @pytest.mark.parametrize(
        ("params", "cities"),
        [
            ({"InRegion": "wa"}, {"Seattle"}),
            ({"InRegion": SAN_FRANCISCO, "InLata": "730"}, {"Los Angeles"}),
            ({"InPostalCode": "60601"}, {"Chicago"}),
            ({"InLata": "722", "InRateCenter": "snfc cntrl"}, {"San Francisco"}),
            ({"InRateCenter": OAKLAND}, {"Oakland"}),
            ({"InLocality": "Boston"}, {"Boston"}),
            ({"InLocality": "Atlantis"}, set()),
        ],
    )
    async def test_places_limit_the_search(
        self, room: Any, account: Account, params: dict[str, str], cities: set[str]
    ) -> None:
        rows = await room(LIST + "Local", account, params, CountryCode="US")
        assert {row["locality"] for row in rows} == cities


class TestBuying:
    async def test_bought_number_is_the_accounts_and_leaves_the_stock(self, room: Any, account: Account) -> None:
        row = await room(BUY, account, {"PhoneNumber": "+1 (510) 555-0100", "SmsUrl": "https://example.com/sms#rc=2"})
        assert row["phone_number"] == OAKLAND
        assert row["friendly_name"] == "(510) 555-0100"
        assert (row["sms_url"], row["sms_method"], row["voice_url"]) == ("https://example.com/sms#rc=2", "POST", "")
        assert (row["status"], row["type"], row["origin"]) == ("in-use", "local", "twilio")
        assert row["capabilities"]["sms"] is True
        assert row["date_created"] == "Tue, 01 Jan 2030 12:00:00 +0000"
        assert OAKLAND not in await found(room, account, "Local", "US", AreaCode="510")
        assert await room(FETCH, account, Sid=row["sid"]) == row

    async def test_area_code_buys_any_number_of_it(self, room: Any, account: Account) -> None:
        row = await room(BUY, account, {"AreaCode": "206"})
        assert row["phone_number"].startswith("+1206")

    @pytest.mark.parametrize(
        ("operation", "params", "code"),
        [
            (BUY, {"PhoneNumber": "33"}, 21421),
            (BUY, {}, 21421),
            (BUY, {"PhoneNumber": "+14155559999"}, 21422),
            (BUY, {"AreaCode": "907"}, 21452),
            (BUY, {"AreaCode": "x"}, 21451),
            (BUY + "Mobile", {"PhoneNumber": OAKLAND}, 21458),
            (BUY + "TollFree", {"PhoneNumber": OAKLAND}, 21458),
            (BUY, {"PhoneNumber": "+496990009000"}, 21615),
            (BUY, {"PhoneNumber": "+81655550100"}, 21631),
            (BUY, {"PhoneNumber": "+81655550100", "AddressSid": "AD" + "2" * 32}, 20001),
            (BUY, {"PhoneNumber": OAKLAND, "FriendlyName": "x" * 65}, 20001),
            (BUY, {"PhoneNumber": OAKLAND, "ApiVersion": "2020-01-01"}, 20001),
        ],
    )
    async def test_purchase_is_refused_with_its_code_and_takes_nothing(
        self, room: Any, account: Account, operation: str, params: dict[str, str], code: int
    ) -> None:
        refusal = await room.refused(operation, account, params)
        assert (refusal.code, refusal.status) == (code, 400)
        assert await room(OWNED, account) == []
        assert OAKLAND in await found(room, account, "Local", "US", AreaCode="510")

    async def test_number_that_needs_an_address_is_sold_with_one(self, room: Any, account: Account) -> None:
        row = await room(BUY + "Local", account, {"PhoneNumber": "+81655550100", "AddressSid": ADDRESS})
        assert (row["address_sid"], row["address_requirements"]) == (ADDRESS, "any")
        # It needs one for as long as it is held, and each holder needs their own.
        for params in ({"AddressSid": ""}, {"AccountSid": CHILD.sid}):
            assert (await room.refused(UPDATE, account, params, Sid=row["sid"])).code == 21631

    async def test_of_two_buyers_at_once_exactly_one_wins(self, room: Any, account: Account, stranger: Account) -> None:
        buyers = [account, stranger] * 4
        outcomes = await asyncio.gather(
            *(room(BUY, buyer, {"PhoneNumber": OAKLAND}) for buyer in buyers), return_exceptions=True
        )
        won = [outcome for outcome in outcomes if isinstance(outcome, dict)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        assert (len(won), len(lost)) == (1, 7)
        assert {refusal.code for refusal in lost} == {21422}

    async def test_buyers_of_one_area_code_get_different_numbers(self, room: Any, account: Account) -> None:
        rows = await asyncio.gather(*(room(BUY, account, {"AreaCode": "312"}) for _ in range(8)))
        assert len({row["phone_number"] for row in rows}) == 8

    async def test_purchase_is_in_the_log(self, room: Any, account: Account, database: Database) -> None:
        row = await room(BUY, account, {"PhoneNumber": OAKLAND})
        await room(DELETE, account, Sid=row["sid"])
        async with database.transaction() as tx:
            events = await tx.fetch("SELECT type, account_sid, subject_sid, data FROM events ORDER BY id")
        assert [tuple(event) for event in events] == [
            (type_, account.sid, row["sid"], {"phone_number": OAKLAND, "price_ref": "number.us.local"})
            for type_ in ("numbers.bought", "numbers.released")
        ]


class TestTestCredentials:
    @pytest.fixture
    def tester(self) -> Account:
        return Account("AC" + "e" * 32, PARENT, "active", "Test", test=True)

    @pytest.mark.parametrize("params", [{"PhoneNumber": "+15005550006"}, {"AreaCode": "500"}])
    async def test_magic_purchase_succeeds_and_stores_nothing(
        self, room: Any, tester: Account, params: dict[str, str]
    ) -> None:
        row = await room(BUY, tester, {**params, "VoiceUrl": "https://example.com/", "FriendlyName": "mine"})
        assert row["phone_number"] == "+15005550006"
        assert (row["voice_url"], row["friendly_name"], row["account_sid"]) == (
            "https://example.com/",
            "mine",
            tester.sid,
        )
        assert await room(OWNED, tester) == []

    @pytest.mark.parametrize(
        ("params", "code", "message"),
        [
            ({"PhoneNumber": "+15005550000"}, 21422, "+15005550000 is not available"),
            ({"PhoneNumber": "+15005550001"}, 21421, "+15005550001 is not a valid number"),
            ({"PhoneNumber": "33"}, 21421, "33 is not a valid number"),
            ({"PhoneNumber": OAKLAND}, 21422, f"{OAKLAND} is not available"),
            ({"AreaCode": "533"}, 21452, "No phone numbers found in area code 533"),
            ({"PhoneNumber": "+15005550006", "SmsUrl": "nowhere"}, 21402, "SmsUrl is not a valid URL: nowhere"),
        ],
    )
    async def test_magic_refusals(
        self, room: Any, tester: Account, params: dict[str, str], code: int, message: str
    ) -> None:
        refusal = await room.refused(BUY, tester, params)
        assert (refusal.code, refusal.message, refusal.status) == (code, message, 400)

    async def test_only_purchases_are_open_to_test_credentials(self, room: Any) -> None:
        assert {name for name, binding in room.bindings.items() if binding.test_credentials} == {
            BUY, BUY + "Local", BUY + "Mobile", BUY + "TollFree"
        }  # fmt: skip


class TestOwnedNumbers:
    async def test_lists_filter_by_number_name_kind_and_origin(self, room: Any, account: Account) -> None:
        await room(BUY, account, {"PhoneNumber": OAKLAND, "FriendlyName": "Support"})
        await room(BUY, account, {"PhoneNumber": "+447700900000"})
        await room(BUY, account, {"PhoneNumber": "+18005550100"})
        await room(BUY, account, {"PhoneNumber": "+14085550199"})

        async def listed(kind: str = "", **params: str) -> list[str]:
            return [row["phone_number"] for row in await room(OWNED + kind, account, params)]

        assert await listed() == ["+14085550199", "+18005550100", "+447700900000", OAKLAND]
        assert await listed("Local") == ["+14085550199", OAKLAND]
        assert await listed("Mobile") == ["+447700900000"]
        assert await listed("TollFree") == ["+18005550100"]
        assert await listed(FriendlyName="Support") == [OAKLAND]
        assert await listed(PhoneNumber="510***0100") == [OAKLAND]
        assert await listed(PhoneNumber="+1510") == [OAKLAND]
        assert await listed(PhoneNumber="(800) 555") == ["+18005550100"]
        assert await listed(PhoneNumber=" 447") == ["+447700900000"]
        assert await listed(PhoneNumber="[.]") == []
        assert await listed(Beta="false") == ["+18005550100", "+447700900000", OAKLAND]
        assert await listed(Origin="hosted") == []
        assert len(await listed(Origin="twilio")) == 4

    async def test_pages_are_stable_while_numbers_are_bought(self, room: Any, account: Account) -> None:
        bought = [(await room(BUY, account, {"AreaCode": "512"}))["sid"] for _ in range(5)]
        seen: list[str] = []
        params: dict[str, Any] = {"PageSize": 2}
        while True:
            page: Page = await room.raw(OWNED, account, params)
            seen += [row["sid"] for row in page.rows]
            await room(BUY, account, {"AreaCode": "713"})
            if page.next_token is None:
                break
            params["PageToken"] = page.next_token
        assert seen == bought[::-1]

    async def test_update_changes_what_it_names_and_an_empty_value_resets(self, room: Any, account: Account) -> None:
        row = await room(BUY, account, {"PhoneNumber": OAKLAND, "SmsUrl": "https://a.example/", "SmsMethod": "GET"})
        changed = await room(
            UPDATE,
            account,
            {"FriendlyName": "Line", "VoiceUrl": "http://b.example/v", "VoiceReceiveMode": "fax"},
            Sid=row["sid"],
        )
        assert (changed["sms_url"], changed["sms_method"]) == ("https://a.example/", "GET")
        assert (changed["friendly_name"], changed["voice_url"], changed["voice_receive_mode"]) == (
            "Line",
            "http://b.example/v",
            "fax",
        )
        reset = await room(UPDATE, account, {"SmsUrl": "", "SmsMethod": "", "FriendlyName": ""}, Sid=row["sid"])
        assert (reset["sms_url"], reset["sms_method"], reset["friendly_name"]) == ("", "POST", "(510) 555-0100")

    @pytest.mark.parametrize(
        ("params", "code"),
        [
            ({"VoiceUrl": "ftp://example.com/"}, 21402),
            ({"SmsUrl": "https://"}, 21402),
            ({"SmsUrl": "https://example.com/a b"}, 21402),
            ({"SmsUrl": "https://example.com:99999/"}, 21402),
            ({"SmsFallbackUrl": "example.com"}, 21402),
            ({"StatusCallback": "javascript:alert(1)"}, 21502),
            ({"VoiceFallbackUrl": "https://example.com/"}, 21405),
            ({"SmsFallbackUrl": "https://example.com/"}, 21406),
            ({"SmsApplicationSid": "AP" + "0" * 32}, 21420),
            ({"TrunkSid": "TK" + "0" * 32}, 20001),
        ],
    )
    async def test_wrong_setting_is_refused_with_its_code(
        self, room: Any, account: Account, params: dict[str, str], code: int
    ) -> None:
        row = await room(BUY, account, {"PhoneNumber": OAKLAND})
        refusal = await room.refused(UPDATE, account, params, Sid=row["sid"])
        assert (refusal.code, refusal.status) == (code, 400)
        assert await room(FETCH, account, Sid=row["sid"]) == row

    async def test_another_tenants_number_is_refused_with_20404(
        self, room: Any, account: Account, stranger: Account
    ) -> None:
        row = await room(BUY, stranger, {"PhoneNumber": OAKLAND})
        for operation in (FETCH, UPDATE, DELETE):
            refusal = await room.refused(operation, account, Sid=row["sid"])
            assert (refusal.code, refusal.status) == (20404, 404)
        assert await room(FETCH, stranger, Sid=row["sid"]) == row

    async def test_released_number_is_for_sale_again_and_its_history_stays(
        self, room: Any, account: Account, stranger: Account, database: Database
    ) -> None:
        row = await room(BUY, account, {"PhoneNumber": OAKLAND, "SmsUrl": "https://a.example/"})
        assert await room(DELETE, account, Sid=row["sid"]) is None
        for operation in (FETCH, UPDATE, DELETE):
            assert (await room.refused(operation, account, Sid=row["sid"])).code == 20404
        assert await room(OWNED, account) == []
        again = await room(BUY, stranger, {"PhoneNumber": OAKLAND})
        assert again["sid"] != row["sid"] and again["sms_url"] == ""
        async with database.transaction() as tx:
            history = await tx.fetch("SELECT account_sid, released_at FROM incoming_numbers ORDER BY sid")
        assert [(held["account_sid"], held["released_at"] is None) for held in history] == [
            (account.sid, False),
            (stranger.sid, True),
        ]

    async def test_concurrent_updates_of_different_settings_both_last(self, room: Any, account: Account) -> None:
        row = await room(BUY, account, {"PhoneNumber": OAKLAND})
        await asyncio.gather(
            room(UPDATE, account, {"SmsUrl": "https://a.example/"}, Sid=row["sid"]),
            room(UPDATE, account, {"VoiceUrl": "https://b.example/"}, Sid=row["sid"]),
        )
        after = await room(FETCH, account, Sid=row["sid"])
        assert (after["sms_url"], after["voice_url"]) == ("https://a.example/", "https://b.example/")


class TestTransfer:
    async def test_parent_moves_a_number_to_a_subaccount_and_back(self, room: Any, account: Account) -> None:
        application = await room("api_v2010:CreateApplication", account, {"FriendlyName": "App"})
        params = {"PhoneNumber": OAKLAND, "SmsUrl": "https://a.example/", "SmsApplicationSid": application["sid"]}
        row = await room(BUY, account, params)
        moved = await room(UPDATE, account, {"AccountSid": CHILD.sid}, Sid=row["sid"])
        assert (moved["account_sid"], moved["sid"], moved["sms_url"]) == (CHILD.sid, row["sid"], "https://a.example/")
        # What belongs to the account that it left stays there.
        assert moved["sms_application_sid"] is None
        assert (await room.refused(FETCH, account, Sid=row["sid"])).code == 20404
        back = await room(UPDATE, CHILD, {"AccountSid": account.sid}, caller=account, Sid=row["sid"])
        assert back["account_sid"] == account.sid

    @pytest.mark.parametrize(
        ("receiver", "code"),
        [("AC" + "b" * 32, 21473), ("AC" + "9" * 32, 21473), (SLEEPER.sid, 21472), ("nobody", 21470)],
    )
    async def test_receiver_outside_the_family_or_asleep_is_refused(
        self, room: Any, account: Account, receiver: str, code: int
    ) -> None:
        row = await room(BUY, account, {"PhoneNumber": OAKLAND})
        call = room.call(UPDATE, account, {}, Sid=row["sid"])
        call.params["AccountSid"] = receiver
        with pytest.raises(Refusal) as caught:
            async with room.database.transaction() as tx:
                await room.bindings[UPDATE].handler(tx, call)
        assert (caught.value.code, caught.value.status) == (code, 400)
        assert (await room(FETCH, account, Sid=row["sid"]))["account_sid"] == account.sid

    async def test_subaccount_may_not_give_its_number_away(self, room: Any, account: Account) -> None:
        row = await room(BUY, CHILD, {"PhoneNumber": OAKLAND})
        refusal = await room.refused(UPDATE, CHILD, {"AccountSid": account.sid}, Sid=row["sid"])
        assert (refusal.code, refusal.status) == (21474, 400)


class TestApplications:
    async def test_application_lives_through_create_update_and_delete(self, room: Any, account: Account) -> None:
        row = await room(
            "api_v2010:CreateApplication",
            account,
            {"FriendlyName": "App", "SmsUrl": "https://a.example/", "MessageStatusCallback": "https://a.example/s"},
        )
        assert (row["message_status_callback"], row["voice_method"], row["voice_url"]) == (
            "https://a.example/s",
            "POST",
            "",
        )
        changed = await room("api_v2010:UpdateApplication", account, {"VoiceMethod": "GET"}, Sid=row["sid"])
        assert (changed["voice_method"], changed["sms_url"]) == ("GET", "https://a.example/")
        assert await room("api_v2010:FetchApplication", account, Sid=row["sid"]) == changed
        assert await room("api_v2010:DeleteApplication", account, Sid=row["sid"]) is None
        assert (await room.refused("api_v2010:FetchApplication", account, Sid=row["sid"])).code == 20404

    async def test_list_filters_by_name_newest_first(self, room: Any, account: Account) -> None:
        for name in ("One", "Two", "One"):
            await room("api_v2010:CreateApplication", account, {"FriendlyName": name})
        rows = await room("api_v2010:ListApplication", account)
        assert [row["friendly_name"] for row in rows] == ["One", "Two", "One"]
        assert len(await room("api_v2010:ListApplication", account, {"FriendlyName": "One"})) == 2

    async def test_wrong_urls_are_refused(self, room: Any, account: Account) -> None:
        for params, code in (
            ({"SmsUrl": "x"}, 21402),
            ({"SmsStatusCallback": "x"}, 21502),
            ({"StatusCallback": "x"}, 21502),
        ):
            assert (await room.refused("api_v2010:CreateApplication", account, params)).code == code

    async def test_another_tenants_application_is_refused(self, room: Any, account: Account, stranger: Account) -> None:
        row = await room("api_v2010:CreateApplication", stranger, {"FriendlyName": "Theirs"})
        for verb in ("Fetch", "Update", "Delete"):
            assert (await room.refused(f"api_v2010:{verb}Application", account, Sid=row["sid"])).code == 20404
        refusal = await room.refused(BUY, account, {"PhoneNumber": OAKLAND, "VoiceApplicationSid": row["sid"]})
        assert refusal.code == 21420
        assert await room("api_v2010:ListApplication", account) == []

    async def test_application_deleted_while_numbers_take_it_is_set_nowhere(self, room: Any, account: Account) -> None:
        rows = [await room(BUY, account, {"AreaCode": "512"}) for _ in range(4)]
        app = await room("api_v2010:CreateApplication", account, {})
        outcomes = await asyncio.gather(
            *(room(UPDATE, account, {"SmsApplicationSid": app["sid"]}, Sid=row["sid"]) for row in rows),
            room("api_v2010:DeleteApplication", account, Sid=app["sid"]),
            return_exceptions=True,
        )
        assert all(not isinstance(outcome, Exception) or getattr(outcome, "code", 0) == 21420 for outcome in outcomes)
        assert all(row["sms_application_sid"] is None for row in await room(OWNED, account))

    async def test_deleted_application_is_unset_on_numbers(self, room: Any, account: Account) -> None:
        app = await room("api_v2010:CreateApplication", account, {})
        number = await room(
            BUY, account, {"PhoneNumber": OAKLAND, "SmsApplicationSid": app["sid"], "VoiceApplicationSid": app["sid"]}
        )
        assert number["sms_application_sid"] == app["sid"]
        await room("api_v2010:DeleteApplication", account, Sid=app["sid"])
        after = await room(FETCH, account, Sid=number["sid"])
        assert (after["sms_application_sid"], after["voice_application_sid"]) == (None, None)


class TestOtherRooms:
    async def test_owned_is_scoped_to_the_account_and_owner_of_is_not(
        self, room: Any, account: Account, stranger: Account, database: Database
    ) -> None:
        await room(BUY, account, {"PhoneNumber": OAKLAND})
        await room(BUY, stranger, {"PhoneNumber": "+447700900000"})
        wanted = [OAKLAND, "+447700900000", SAN_FRANCISCO]
        async with database.transaction() as tx:
            mine = await numbers.owned(tx, account.sid, wanted)
            everybodys = await numbers.owner_of(tx, wanted)
        assert set(mine) == {OAKLAND}
        assert (mine[OAKLAND].country, mine[OAKLAND].kind, mine[OAKLAND].capabilities.mms) == ("US", "local", True)
        assert {number: held.account_sid for number, held in everybodys.items()} == {
            OAKLAND: account.sid,
            "+447700900000": stranger.sid,
        }

    async def test_senders_of_one_batch_do_not_lend_each_other_numbers(
        self, room: Any, account: Account, stranger: Account, database: Database
    ) -> None:
        await room(BUY, account, {"PhoneNumber": OAKLAND})
        await room(BUY, stranger, {"PhoneNumber": SAN_FRANCISCO})
        crossed = [(account.sid, SAN_FRANCISCO), (stranger.sid, OAKLAND)]
        async with database.transaction() as tx:
            assert await numbers.senders(tx, crossed) == {}
            found = await numbers.senders(tx, [*crossed, (account.sid, OAKLAND)])
        assert set(found) == {(account.sid, OAKLAND)}

    async def test_application_overrides_the_numbers_own_webhooks(
        self, room: Any, account: Account, database: Database
    ) -> None:
        app = await room(
            "api_v2010:CreateApplication",
            account,
            {"SmsUrl": "https://app.example/", "SmsMethod": "GET", "SmsStatusCallback": "https://app.example/s"},
        )
        own = {"PhoneNumber": OAKLAND, "SmsUrl": "https://own.example/", "VoiceUrl": "https://own.example/v"}
        await room(BUY, account, {**own, "SmsApplicationSid": app["sid"]})
        async with database.transaction() as tx:
            held = (await numbers.owner_of(tx, [OAKLAND]))[OAKLAND]
            application = await numbers.application(tx, account.sid, app["sid"])
            foreign = await numbers.application(tx, "AC" + "b" * 32, app["sid"])
        assert held.sms == numbers.Webhook("https://app.example/", "GET", "", "POST")
        assert held.voice.url == "https://own.example/v"
        assert held.sms_status_callback == "https://app.example/s"
        assert application is not None and application.message_status_callback == "https://app.example/s"
        assert foreign is None

    async def test_first_number_is_given_once_even_to_callers_at_once(
        self, room: Any, account: Account, database: Database, clock: VirtualClock
    ) -> None:
        async def ensure() -> str:
            async with database.transaction() as tx:
                return await numbers.ensure_first_number(tx, account.sid, clock.now())

        given = await asyncio.gather(*(ensure() for _ in range(4)))
        assert len(set(given)) == 1
        [row] = await room(OWNED, account)
        assert row["phone_number"] == given[0] and row["capabilities"]["sms"]

    async def test_empty_stock_has_no_first_number(
        self, account: Account, database: Database, clock: VirtualClock
    ) -> None:
        with pytest.raises(Refusal) as caught:
            async with database.transaction() as tx:
                await numbers.ensure_first_number(tx, account.sid, clock.now())
        assert caught.value.status == 503


class TestOwnedCache:
    @pytest.fixture
    async def cache(self, database: Database) -> AsyncIterator[OwnedCache]:
        cache = OwnedCache()
        task = asyncio.create_task(cache.follow(database))
        await _until(database, lambda: cache.listening)
        yield cache
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert not cache.listening

    async def test_known_sender_needs_no_query(
        self, room: Any, account: Account, stranger: Account, database: Database, cache: OwnedCache
    ) -> None:
        await room(BUY, account, {"PhoneNumber": OAKLAND})
        assert cache.known(account.sid, OAKLAND) is None
        async with database.transaction() as tx:
            first = await _kept(cache, tx, account.sid)
            assert cache.known(account.sid, OAKLAND) is first
            assert cache.known(stranger.sid, OAKLAND) is None
            assert await cache.owned(tx, stranger.sid, [OAKLAND]) == {}
            assert await cache.senders(tx, [(account.sid, OAKLAND), (stranger.sid, OAKLAND)]) == {
                (account.sid, OAKLAND): first
            }
        # A transaction that no longer runs answers nothing, so this comes from memory.
        assert (await cache.owned(tx, account.sid, [OAKLAND]))[OAKLAND] is first

    @pytest.mark.parametrize("change", ["update", "release", "transfer", "application", "application deleted"])
    async def test_change_is_seen_through_the_cache(
        self, room: Any, account: Account, database: Database, cache: OwnedCache, change: str
    ) -> None:
        app = await room("api_v2010:CreateApplication", account, {"SmsUrl": "https://app.example/"})
        number = await room(BUY, account, {"PhoneNumber": OAKLAND, "SmsApplicationSid": app["sid"]})
        async with database.transaction() as tx:
            await _kept(cache, tx, account.sid)
        match change:
            case "update":
                await room(UPDATE, account, {"SmsUrl": "https://new.example/"}, Sid=number["sid"])
            case "release":
                await room(DELETE, account, Sid=number["sid"])
            case "transfer":
                await room(UPDATE, account, {"AccountSid": CHILD.sid}, Sid=number["sid"])
            case "application":
                await room("api_v2010:UpdateApplication", account, {"SmsUrl": "https://new.example/"}, Sid=app["sid"])
            case "application deleted":
                await room("api_v2010:DeleteApplication", account, Sid=app["sid"])
        await _until(database, lambda: cache.known(account.sid, OAKLAND) is None)

    async def test_lost_connection_empties_the_cache_at_once(
        self, room: Any, account: Account, database: Database, cache: OwnedCache
    ) -> None:
        await room(BUY, account, {"PhoneNumber": OAKLAND})
        async with database.transaction() as tx:
            await _kept(cache, tx, account.sid)
            await tx.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
        await _until(database, lambda: cache.known(account.sid, OAKLAND) is None)

    async def test_unheard_changes_are_not_cached_over(self, room: Any, account: Account, database: Database) -> None:
        deaf = OwnedCache()
        await room(BUY, account, {"PhoneNumber": OAKLAND})
        async with database.transaction() as tx:
            assert OAKLAND in await deaf.owned(tx, account.sid, [OAKLAND])
        assert deaf.known(account.sid, OAKLAND) is None


async def _kept(cache: OwnedCache, tx: Tx, account_sid: str) -> Any:
    # A notice of the purchase may still be on its way, and forbids to keep what was read before it came.
    async with asyncio.timeout(10):
        while (known := cache.known(account_sid, OAKLAND)) is None:
            await cache.owned(tx, account_sid, [OAKLAND])
            await tx.fetchval("SELECT 1")
    return known


async def _until(database: Database, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        async with database.snapshot() as tx:
            while not condition():
                await tx.fetchval("SELECT 1")
