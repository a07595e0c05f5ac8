import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onterms.core import e164

# Lazily loaded metadata makes a first example slow; a deadline would measure the machine.
relaxed = settings(deadline=None)


class TestPlausible:
    @pytest.mark.parametrize("text", ["+14155550123", "+6834000", "+123456789012345"])
    def test_plus_and_seven_to_fifteen_digits_is_plausible(self, text: str) -> None:
        assert e164.plausible_e164(text)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "+",
            "14155550123",
            "+04155550123",
            "+141555",
            "+1234567890123456",
            "+1415555012a",
            "+14155550123\n",
            "+1 4155550123",
            "whatsapp:+14155550123",
            "+\u0661\u0664\u0661\u0665\u0665\u0665\u0665\u0660",
        ],
    )
    def test_any_other_shape_is_not_plausible(self, text: str) -> None:
        assert not e164.plausible_e164(text)


class TestIsE164:
    @pytest.mark.parametrize(
        "text",
        ["+15005550006", "+15005550001", "+15551234567", "+14155550123", "+447700900123", "+61491570156"],
    )
    def test_possible_number_is_accepted_even_in_a_range_out_of_service(self, text: str) -> None:
        assert e164.is_e164(text)

    @pytest.mark.parametrize("text", ["+1415555012", "+141555501234", "+999123456789", "+4412345", "+33"])
    def test_impossible_length_or_calling_code_is_refused(self, text: str) -> None:
        assert not e164.is_e164(text)

    def test_length_dialled_only_within_an_area_is_refused(self) -> None:
        assert not e164.is_e164("+15551234")

    def test_trunk_prefix_is_not_canonical(self) -> None:
        assert not e164.is_e164("+4407700900123")
        assert e164.normalise("+4407700900123") == "+447700900123"

    @relaxed
    @given(st.text())
    def test_any_text_gets_an_answer(self, text: str) -> None:
        assert e164.is_e164(text) is False or e164.parse(text) is not None


class TestParse:
    def test_us_number_is_described(self) -> None:
        assert e164.parse("+14155552671") == e164.PhoneNumber(
            "+14155552671", "US", 1, "4155552671", "landline_or_mobile", True
        )

    @pytest.mark.parametrize(
        ("text", "country", "kind"),
        [
            ("+447400123456", "GB", "mobile"),
            ("+442079460958", "GB", "landline"),
            ("+4915123456789", "DE", "mobile"),
            ("+254712123456", "KE", "mobile"),
            ("+919876543210", "IN", "mobile"),
            ("+819012345678", "JP", "mobile"),
            ("+61412345678", "AU", "mobile"),
            ("+18002345678", "US", "tollfree"),
            ("+15062345678", "CA", "landline_or_mobile"),
            ("+19002345678", "US", "premium"),
        ],
    )
    def test_country_and_kind_come_from_the_plan(self, text: str, country: str, kind: str) -> None:
        number = e164.parse(text)
        assert number is not None
        assert (number.country, number.kind, number.valid) == (country, kind, True)

    def test_range_out_of_service_is_parsed_but_not_valid(self) -> None:
        number = e164.parse("+15551234567")
        assert number is not None
        assert (number.country, number.kind, number.valid) == ("US", "unknown", False)

    def test_code_of_no_country_has_no_country(self) -> None:
        number = e164.parse("+80012345678")
        assert number is not None
        assert number.country is None

    def test_leading_zero_of_an_italian_number_is_kept(self) -> None:
        number = e164.parse("+390612345678")
        assert number is not None
        assert number.national_number == "0612345678"

    @pytest.mark.parametrize(
        "text",
        ["+1 (415) 555-0123", "+1.415.555.0123", " +1-415-555-0123 ", "+1/415/5550123", "+1\u00a0415\u20115550123"],
    )
    def test_separators_that_people_write_are_dropped(self, text: str) -> None:
        assert e164.normalise(text) == "+14155550123"

    def test_trunk_zero_in_brackets_is_dropped(self) -> None:
        assert e164.normalise("+44 (0)20 7946 0958") == "+442079460958"

    def test_number_without_plus_is_refused_without_a_region(self) -> None:
        assert e164.parse("4155550123") is None

    @pytest.mark.parametrize(
        ("text", "region", "expected"),
        [
            ("4155550123", "US", "+14155550123"),
            ("14155550123", "us", "+14155550123"),
            ("(415) 555-0123", "US", "+14155550123"),
            ("07700 900123", "GB", "+447700900123"),
            ("0412 345 678", "AU", "+61412345678"),
            ("5550123", "US", None),
            ("4155550123", "ZZ", None),
        ],
    )
    def test_number_without_plus_is_read_by_the_plan_of_the_region(
        self, text: str, region: str, expected: str | None
    ) -> None:
        assert e164.normalise(text, region) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "+",
            "abc",
            "+1800FLOWERS",
            "+1415555\u0660123",
            "+14155550123x9",
            "+1415+5550123",
            "tel:+14155550123",
            "whatsapp:+14155550123",
            "+1" + " " * 60 + "4155550123",
        ],
    )
    def test_anything_but_digits_and_separators_is_refused(self, text: str) -> None:
        assert e164.parse(text, "US") is None

    @relaxed
    @given(st.text(alphabet=string.digits + "+ ()-./", max_size=24), st.sampled_from([None, "US", "GB", "ZZ"]))
    def test_what_is_parsed_is_canonical(self, text: str, region: str | None) -> None:
        number = e164.parse(text, region)
        if number is not None:
            assert number.e164 == f"+{number.calling_code}{number.national_number}"


class TestCountryOf:
    @pytest.mark.parametrize(
        ("text", "country"),
        [
            ("+14155550123", "US"),
            ("+15551234567", "US"),
            ("+14162345678", "CA"),
            ("+18762345678", "JM"),
            ("+447700900123", "GB"),
            ("+447400123456", "GB"),
            ("+441534456789", "JE"),
            ("+77012345678", "KZ"),
            ("+79012345678", "RU"),
            ("+35818123456", "AX"),
            ("+358501234567", "FI"),
            ("+254712345678", "KE"),
            ("+80012345678", None),
            ("+999123456789", None),
            ("4155550123", None),
            ("", None),
        ],
    )
    def test_country_is_told_by_calling_code_or_range(self, text: str, country: str | None) -> None:
        assert e164.country_of(text) == country

    def test_every_area_code_of_the_north_american_plan_has_a_country(self) -> None:
        found = {e164.country_of(f"+1{area:03}5550123") for area in range(1000)}
        assert {"US", "CA", "PR", "DO", "JM", "BS", "TT"} <= found
        assert None not in found

    @relaxed
    @given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
    def test_country_agrees_with_parse(self, text: str) -> None:
        number = e164.parse(text)
        if number is not None and number.valid and number.e164 == text:
            assert e164.country_of(text) == number.country


class TestShortCode:
    @pytest.mark.parametrize("text", ["123", "12345", "898211", "12345678"])
    def test_three_to_eight_digits_is_a_short_code(self, text: str) -> None:
        assert e164.is_short_code(text)

    @pytest.mark.parametrize("text", ["", "12", "123456789", "+12345", "12a45", "12345\n", "\u0661\u0662\u0663\u0664"])
    def test_anything_else_is_not(self, text: str) -> None:
        assert not e164.is_short_code(text)


class TestAlphaSender:
    @pytest.mark.parametrize("text", ["A", "Acme", "ACME Bank24", "a-b_c&d+e", "4you", "elevenchars"])
    def test_up_to_eleven_characters_with_a_letter_is_a_sender(self, text: str) -> None:
        assert e164.is_alpha_sender(text)

    @pytest.mark.parametrize(
        "text", ["", "12345", "twelve chars", "Acme!", "Caf\u00e9", "+1234", "   ", "Acme\n", "a.b", "A" * 12]
    )
    def test_no_letter_too_long_or_another_character_is_refused(self, text: str) -> None:
        assert not e164.is_alpha_sender(text)


class TestSplitAddress:
    @pytest.mark.parametrize(
        ("text", "channel", "identity"),
        [
            ("+14155550123", "sms", "+14155550123"),
            ("whatsapp:+14155550123", "whatsapp", "+14155550123"),
            ("rcs:acme_agent", "rcs", "acme_agent"),
            ("messenger:1234", "messenger", "1234"),
            ("WHATSAPP:+14155550123", "sms", "WHATSAPP:+14155550123"),
            ("other:x", "sms", "other:x"),
            ("whatsapp", "sms", "whatsapp"),
            ("whatsapp:", "whatsapp", ""),
            ("", "sms", ""),
        ],
    )
    def test_known_channel_is_split_off(self, text: str, channel: str, identity: str) -> None:
        assert e164.split_address(text) == (channel, identity)
