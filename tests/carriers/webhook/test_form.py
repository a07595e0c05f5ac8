"""Form fields are written as urllib writes them."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onterms.carriers.webhook.form import encoded

EVERY_ASCII = "".join(map(chr, range(128)))


@pytest.mark.parametrize(
    "text", [EVERY_ASCII, "", "+15005550006", "Grüße & 2+2=4 😀", "a~b", "\u0661", "\x00", " \r\n"]
)
def test_field_is_written_as_urllib_writes_it(text: str) -> None:
    params = [(text, "value"), ("name", text), (text, text), ("name", "again")]
    assert encoded(params) == urlencode(params)


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))))
def test_any_fields_are_written_as_urllib_writes_them(params: list[tuple[str, str]]) -> None:
    assert encoded(params) == urlencode(params)
