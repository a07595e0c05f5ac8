from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onterms.protocols import gsm

# Lazily loaded metadata makes a first example slow; a deadline would measure the machine.
relaxed = settings(deadline=None)

BASIC = gsm._BASIC_CHARACTERS
EXTENSION = "\f^{}\\[~]|€"

gsm_text = st.text(alphabet=BASIC + EXTENSION, max_size=700)
mixed_text = st.text(alphabet=st.sampled_from("ab€é{ł\u4f60\U0001f600"), max_size=700)
septets = st.lists(st.integers(0, 127), max_size=200).map(bytes)


class TestAlphabet:
    def test_the_default_alphabet_has_127_characters_and_the_extension_ten(self) -> None:
        assert len(set(BASIC)) == 127
        assert all(len(gsm.encode_gsm7(character)) == 1 for character in BASIC)
        assert all(len(gsm.encode_gsm7(character)) == 2 for character in EXTENSION)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("@", b"\x00"),
            ("$", b"\x02"),
            ("Ç", b"\x09"),
            ("\n\r", b"\x0a\x0d"),
            ("Δ_", b"\x10\x11"),
            ("Ξ", b"\x1a"),
            ("É", b"\x1f"),
            ("¤", b"\x24"),
            ("¡", b"\x40"),
            ("Ä§", b"\x5b\x5f"),
            ("¿à", b"\x60\x7f"),
            ("azAZ09", b"azAZ09"),
            ("€", b"\x1b\x65"),
            ("[]", b"\x1b\x3c\x1b\x3e"),
            ("{}\\^~|", b"\x1b\x28\x1b\x29\x1b\x2f\x1b\x14\x1b\x3d\x1b\x40"),
        ],
    )
    def test_characters_have_the_codes_of_3gpp_23_038_6_2_1(self, text: str, expected: bytes) -> None:
        assert gsm.encode_gsm7(text) == expected
        assert gsm.decode_gsm7(expected) == text

    @pytest.mark.parametrize("text", ["ç", "`", "\t", "\x1b", "“", "😀", "я", "\x00", "\ud800"])
    def test_other_characters_are_not_gsm(self, text: str) -> None:
        assert not gsm.is_gsm7(text)
        with pytest.raises(gsm.UnencodableText) as caught:
            gsm.encode_gsm7("ok " + text)
        assert caught.value.index == 3

    def test_error_of_an_unencodable_text_does_not_quote_it(self) -> None:
        with pytest.raises(gsm.UnencodableText) as caught:
            gsm.encode_gsm7("secret ç")
        assert "secret" not in str(caught.value)

    @relaxed
    @given(gsm_text)
    def test_encoding_round_trips(self, text: str) -> None:
        assert gsm.is_gsm7(text)
        assert gsm.decode_gsm7(gsm.encode_gsm7(text)) == text


class TestDecode:
    @pytest.mark.parametrize(
        ("received", "expected"),
        [
            (b"\x1bA", "A"),
            (b"\x1b\x1b", " "),
            (b"A\x1b", "A "),
            (b"\x1b\x1b\x65", " e"),
            (b"\x1b\x65\x1b\x65", "€€"),
            (b"\x1b\x00", "@"),
        ],
    )
    def test_unknown_escapes_are_shown_as_3gpp_23_038_6_2_1_1_says(self, received: bytes, expected: str) -> None:
        assert gsm.decode_gsm7(received) == expected

    def test_octet_above_seven_bits_is_refused(self) -> None:
        with pytest.raises(gsm.InvalidSeptets):
            gsm.decode_gsm7(b"ab\x80")

    @relaxed
    @given(septets)
    def test_any_septets_decode(self, received: bytes) -> None:
        assert "\x1b" not in gsm.decode_gsm7(received)


class TestPacking:
    @pytest.mark.parametrize(
        ("text", "packed"),
        [
            ("hello", "e8329bfd06"),
            ("hellohello", "e8329bfd4697d9ec37"),
            ("", ""),
            ("1234567", "31d98c56b3dd00"),
            ("12345678", "31d98c56b3dd70"),
        ],
    )
    def test_known_texts_pack_to_known_octets(self, text: str, packed: str) -> None:
        assert gsm.pack_septets(gsm.encode_gsm7(text)).hex() == packed
        assert gsm.unpack_septets(bytes.fromhex(packed), len(text)) == gsm.encode_gsm7(text)

    def test_160_septets_fill_140_octets(self) -> None:
        assert len(gsm.pack_septets(b"a" * 160)) == 140

    def test_153_septets_and_a_fill_bit_follow_a_six_octet_header(self) -> None:
        # 3GPP TS 23.040 9.2.3.24: 48 header bits and one fill bit are seven septets.
        assert 6 + len(gsm.pack_septets(b"a" * 153, fill_bits=1)) == 140

    @relaxed
    @given(septets, st.integers(0, 6))
    def test_packing_round_trips(self, unpacked: bytes, fill_bits: int) -> None:
        packed = gsm.pack_septets(unpacked, fill_bits=fill_bits)
        assert gsm.unpack_septets(packed, len(unpacked), fill_bits=fill_bits) == unpacked

    def test_count_beyond_the_octets_is_refused(self) -> None:
        with pytest.raises(gsm.InvalidSeptets):
            gsm.unpack_septets(b"\x00" * 7, 9)
        with pytest.raises(gsm.InvalidSeptets):
            gsm.unpack_septets(b"\x00" * 7, 8, fill_bits=1)
        with pytest.raises(gsm.InvalidSeptets):
            gsm.unpack_septets(b"", -1)

    def test_octets_above_seven_bits_and_wrong_fill_are_refused(self) -> None:
        with pytest.raises(gsm.InvalidSeptets):
            gsm.pack_septets(b"\x80")
        with pytest.raises(ValueError, match="fill_bits"):
            gsm.pack_septets(b"a", fill_bits=7)
        with pytest.raises(ValueError, match="fill_bits"):
            gsm.unpack_septets(b"a", 1, fill_bits=-1)

    @relaxed
    @given(st.binary(max_size=160), st.integers(0, 200))
    def test_any_octets_unpack_or_are_refused(self, packed: bytes, count: int) -> None:
        if 7 * count <= 8 * len(packed):
            assert len(gsm.unpack_septets(packed, count)) == count
        else:
            with pytest.raises(gsm.InvalidSeptets):
                gsm.unpack_septets(packed, count)


class TestSegment:
    @pytest.mark.parametrize(
        ("text", "encoding", "segments", "units"),
        [
            ("", "GSM-7", 1, 0),
            ("hello", "GSM-7", 1, 5),
            ("a" * 160, "GSM-7", 1, 160),
            ("a" * 161, "GSM-7", 2, 161),
            ("a" * 306, "GSM-7", 2, 306),
            ("a" * 307, "GSM-7", 3, 307),
            ("a" * 1600, "GSM-7", 11, 1600),
            ("€" * 80, "GSM-7", 1, 160),
            ("€" * 80 + "a", "GSM-7", 2, 161),
            # An escape at septet 153 moves to the next part, so two parts hold 304 septets of pairs, not 306.
            ("€" * 152, "GSM-7", 2, 304),
            ("€" * 153, "GSM-7", 3, 306),
            ("a" * 152 + "€" + "a" * 152, "GSM-7", 3, 306),
            ("a" * 153 + "€" + "a" * 151, "GSM-7", 2, 306),
            ("я" * 70, "UCS-2", 1, 70),
            ("я" * 71, "UCS-2", 2, 71),
            ("я" * 134, "UCS-2", 2, 134),
            ("я" * 135, "UCS-2", 3, 135),
            ("a" * 69 + "ç", "UCS-2", 1, 70),
            ("😀" * 35, "UCS-2", 1, 70),
            ("😀" * 36, "UCS-2", 2, 72),
            # 33 pairs fill 66 of 67 units; a pair may not straddle.
            ("😀" * 66, "UCS-2", 2, 132),
            ("😀" * 67, "UCS-2", 3, 134),
        ],
    )
    def test_limits_of_one_part_and_of_many(self, text: str, encoding: str, segments: int, units: int) -> None:
        assert gsm.segment(text) == (encoding, segments, text, units)

    @relaxed
    @given(gsm_text | mixed_text | st.text(max_size=300))
    def test_parts_join_to_the_text_and_their_number_is_the_segments(self, text: str) -> None:
        parts = gsm.split(text)
        assert "".join(parts) == text
        assert len(parts) == gsm.segment(text).segments

    @relaxed
    @given(gsm_text | mixed_text)
    def test_every_part_fits_and_none_has_room_for_the_next_character(self, text: str) -> None:
        counted = gsm.segment(text)

        def size(part: str) -> int:
            if counted.encoding == "GSM-7":
                return len(gsm.encode_gsm7(part))
            return len(part.encode("utf-16-be")) // 2

        single, many = (160, 153) if counted.encoding == "GSM-7" else (70, 67)
        parts = gsm.split(text)
        assert sum(map(size, parts)) == counted.units
        if len(parts) == 1:
            assert counted.units <= single
            return
        assert counted.units > single
        assert all(0 < size(part) <= many for part in parts)
        assert all(size(part + after[0]) > many for part, after in pairwise(parts))

    def test_lone_surrogate_counts_as_one_unit(self) -> None:
        assert gsm.segment("\ud83d").units == 1


class TestSmartEncode:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("“Hi” \u2013 it\u2019s 5…", '"Hi" - it\'s 5...'),
            ("¼ ½ ¾", "1/4 1/2 3/4"),
            ("a\u00a0b\u2003c\u3000d\te", "a b c d e"),
            ("zero\u200bwidth\ufeff\u2060", "zerowidth"),
            ("\uff21\uff22\uff23\uff11\uff12\uff01\uff3b\uff3d\uff5b\uff5d", "ABC12![]{}"),
            ("\u1d00\u0299\u1d22", "ABZ"),
            ("a\u2014b\u2013c\u2022d", "a-b-c-d"),
            ("really\u203c", "really!!"),
            ("`quoted`", "'quoted'"),
            ("«x» „y‟", '"x" "y"'),
            ("6÷2", "6/2"),
            ("1\u30012\u30023\uff1a4\uff1b", "1,2.3:4;"),
        ],
    )
    def test_look_alikes_are_replaced(self, text: str, expected: str) -> None:
        assert gsm.smart_encode(text) == expected

    @pytest.mark.parametrize("text", ["“Hi” 😀", "it\u2019s ł", "\uff41", "“привет”"])
    def test_one_character_without_a_look_alike_leaves_the_text_unchanged(self, text: str) -> None:
        assert gsm.smart_encode(text) == text

    def test_gsm_text_is_unchanged(self) -> None:
        assert gsm.smart_encode(BASIC + EXTENSION) == BASIC + EXTENSION

    def test_every_replacement_is_gsm(self) -> None:
        assert len(gsm._SMART) > 250
        assert all(gsm.is_gsm7(replacement) for replacement in gsm._SMART.values())
        assert not any(gsm.is_gsm7(chr(code)) for code in gsm._SMART)

    def test_segment_counts_the_smart_encoded_text(self) -> None:
        text = "it\u2019s " + "a" * 100
        assert gsm.segment(text).segments == 2
        assert gsm.segment(text, smart_encoded=True) == ("GSM-7", 1, "it's " + "a" * 100, 105)

    @relaxed
    @given(st.text(max_size=100))
    def test_result_is_gsm_or_the_text_itself(self, text: str) -> None:
        result = gsm.smart_encode(text)
        assert result == text or gsm.is_gsm7(result)
        assert gsm.smart_encode(result) == result
