"""Amounts at the edge: exact decimal text, or a refusal."""

import pytest

from onterms.core.money import InvalidAmount, decimal_text, micros, minor_text, round_minor


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("12.345678", 12_345_678), ("-0.5", -500_000), ("1.5000000000", 1_500_000), ("0.0079", 7_900)],
)
def test_decimal_text_is_read_exactly(text: str, expected: int) -> None:
    assert micros(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1.", ".5", "1e9", "NaN", "0.0000001", "+1", " 1", "1\n", "\u0663", "\uff11", "9" * 14]
)
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmount):
        micros(text)


def test_text_is_written_without_losing_a_digit() -> None:
    assert decimal_text(7_900) == "0.0079"
    with pytest.raises(ValueError, match="do not fit"):
        decimal_text(7_900, places=2)


@pytest.mark.parametrize(("currency", "expected"), [("USD", "1234.57"), ("JPY", "1235"), ("KWD", "1234.568")])
def test_rounding_goes_to_the_currencys_own_minor_unit(currency: str, expected: str) -> None:
    assert minor_text(round_minor(1_234_567_890, currency), currency) == expected
