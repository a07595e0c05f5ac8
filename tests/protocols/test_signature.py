"""Vectors are those of the SDK's own tests; the rest is checked with the SDK's validator."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator
from werkzeug.datastructures import MultiDict

from onterms.protocols import signature

# Lazily loaded metadata makes a first example slow; a deadline would measure the machine.
relaxed = settings(deadline=None)

TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"


def validates(url: str, params: list[tuple[str, str]], signed: str) -> bool:
    names = {name for name, _ in params}

    class Form(dict[str, str]):
        def getlist(self, name: str) -> list[str]:
            return [value for key, value in params if key == name]

    return bool(RequestValidator(TOKEN).validate(url, Form(dict.fromkeys(names, "")), signed))


class TestSignForm:
    def test_published_vector(self) -> None:
        params = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
            ("Caller", "+14158675309"),
        ]
        assert signature.sign_form(TOKEN, URL, params) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="

    def test_published_vector_with_repeated_values(self) -> None:
        params = [
            ("Sid", "CA123"),
            ("SidAccount", "AC123"),
            ("Digits", "5678"),
            ("Digits", "1234"),
            ("Digits", "1234"),
        ]
        assert signature.sign_form(TOKEN, URL, params) == "IK+Dwps556ElfBT0I3Rgjkr1wJU="

    def test_order_of_parameters_does_not_matter(self) -> None:
        assert signature.sign_form(TOKEN, URL, [("b", "2"), ("a", "1")]) == signature.sign_form(
            TOKEN, URL, [("a", "1"), ("b", "2")]
        )

    @pytest.mark.parametrize("url", ["https://x.test:8443/a?b=c", "http://127.0.0.1:5000/sms", "https://x.test"])
    def test_url_with_or_without_port_validates(self, url: str) -> None:
        assert validates(url, [("A", "b")], signature.sign_form(TOKEN, url, [("A", "b")]))

    def test_get_signs_the_url_with_its_query_alone(self) -> None:
        url = "https://x.test/sms?From=%2B1415&Body=hi+there"
        assert validates(url, [], signature.sign_form(TOKEN, url))

    def test_user_name_password_and_fragment_are_not_signed(self) -> None:
        seen = "https://x.test:8443/sms?mail=a@b"
        written = "https://user:p@ss@x.test:8443/sms?mail=a@b#rc=3&rp=5xx"
        assert signature.sign_form(TOKEN, written) == signature.sign_form(TOKEN, seen)
        assert signature.signed_url(written) == seen

    def test_at_sign_behind_the_host_stays(self) -> None:
        assert signature.signed_url("https://x.test?to=a@b") == "https://x.test?to=a@b"
        assert signature.signed_url("https://x.test/@me") == "https://x.test/@me"

    def test_flask_form_validates(self) -> None:
        params = [("Body", "h\u00e9llo \U0001f600"), ("MediaUrl", "b"), ("MediaUrl", "a"), ("MediaUrl", "a")]
        signed = signature.sign_form(TOKEN, URL, params)
        assert RequestValidator(TOKEN).validate(URL, MultiDict(params), signed)

    @relaxed
    @given(
        st.lists(
            st.tuples(
                st.text(alphabet="ABCabc012_", min_size=1, max_size=6),
                st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20),
            ),
            max_size=12,
        )
    )
    def test_any_form_validates(self, params: list[tuple[str, str]]) -> None:
        signed = signature.sign_form(TOKEN, URL, params)
        assert validates(URL, params, signed)
        assert not validates(URL, [*params, ("Extra", "x")], signed)

    @pytest.mark.parametrize("token", ["", "t", "t" * 64, "t" * 65, "tökén", "t" * 200])
    def test_token_of_any_length_validates(self, token: str) -> None:
        # RFC 2104: a key longer than a block is hashed first.
        params = [("Body", "Grüße"), ("From", "+15005550006")]
        signed = signature.sign_form(token, "https://a.example/b", params)
        assert RequestValidator(token).validate("https://a.example/b", MultiDict(params), signed)
        assert signature.sign_form(token, "https://a.example/b", params) == signed

    def test_another_token_gives_another_signature(self) -> None:
        assert not validates(URL, [("a", "b")], signature.sign_form("54321", URL, [("a", "b")]))


class TestSignJson:
    BODY = b'{"property": "value", "boolean": true}'
    DIGEST = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"

    def test_published_body_digest(self) -> None:
        assert signature.body_sha256(self.BODY) == self.DIGEST

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("https://x.test/a", "https://x.test/a?bodySHA256="),
            ("https://x.test/a?", "https://x.test/a?bodySHA256="),
            ("https://x.test/a?b=c", "https://x.test/a?b=c&bodySHA256="),
            ("https://x.test/a?bodySHA256=old&b=c", "https://x.test/a?b=c&bodySHA256="),
        ],
    )
    def test_digest_goes_into_the_query_once(self, url: str, expected: str) -> None:
        assert signature.with_body_sha256(url, self.BODY) == expected + self.DIGEST

    def test_fragment_stays_behind_the_digest(self) -> None:
        assert signature.with_body_sha256("https://x.test/a#rc=2", b"") == (
            "https://x.test/a?bodySHA256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855#rc=2"
        )

    @pytest.mark.parametrize("url", ["https://x.test/a", "https://x.test:8443/a?bodySHA256=0&b=c", "http://x.test/?q"])
    def test_signed_body_validates(self, url: str) -> None:
        url = signature.with_body_sha256(url, self.BODY)
        signed = signature.sign_json(TOKEN, url)
        validator = RequestValidator(TOKEN)
        assert validator.validate(url, self.BODY.decode(), signed)
        assert not validator.validate(url, self.BODY.decode() + " ", signed)
