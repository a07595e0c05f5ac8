"""Mail as bytes: composing, signatures, and reading what comes back."""

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from onterms.protocols.mail import DkimKey, MailUnreadable, Part, compose, failures, read, sign, verify

DATE = datetime(2025, 3, 1, 10, tzinfo=UTC)


def letter(**changes: object) -> bytes:
    values = {
        "message_id": "<NC1.1@operator.example>",
        "sender": "notices@operator.example",
        "sender_name": "Operator, Inc.",
        "recipient": "owner@northwind.example",
        "subject": "Ihre Kündigung",
        "body": "Guten Tag,\n\n.punkt am Anfang, schön.\n",
        "date": DATE,
        **changes,
    }
    return compose(**values)  # type: ignore[arg-type]


# RFC 8463 appendix A: the public keys, two signatures and the mail.
ED25519_PUBLIC = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
RSA_PUBLIC = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y"
    "3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)
RFC_8463_MAIL = """\
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
"""
ED25519_SIGNATURE = """\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
"""
RSA_SIGNATURE = """\
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
"""


class TestDkim:
    def test_rfc_8463_a_3_the_published_signatures_verify(self) -> None:
        one = ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(ED25519_PUBLIC))
        other = serialization.load_der_public_key(base64.b64decode(RSA_PUBLIC))
        assert isinstance(other, rsa.RSAPublicKey)
        for signature, public in ((ED25519_SIGNATURE, one), (RSA_SIGNATURE, other)):
            mail = (signature + RFC_8463_MAIL).replace("\n", "\r\n").encode()
            assert verify(mail, public)
            assert not verify(mail.replace(b"hungry", b"angry"), public)

    @pytest.mark.parametrize("kind", ["rsa", "ed25519"])
    def test_rfc_6376_3_4_a_signature_survives_folding_and_case_and_nothing_else(self, kind: str) -> None:
        private = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
        key = DkimKey("operator.example", "mail", private)
        signed = sign(letter(), key, signed_at_s=1740823200)
        public = private.public_key()
        assert verify(signed, public)
        assert verify(signed.replace(b"To: owner", b"TO:\t  owner"), public)
        assert verify(signed + b"\r\n\r\n", public)
        assert not verify(signed.replace(b"owner@", b"other@"), public)
        assert not verify(signed.replace(b"\r\nDate:", b"\r\nSubject: Another\r\nDate:"), public)
        assert not verify(letter(), public)

    def test_the_same_mail_is_signed_the_same_way(self) -> None:
        key = DkimKey("operator.example", "mail", rsa.generate_private_key(65537, 2048))
        assert sign(letter(), key, signed_at_s=1) == sign(letter(), key, signed_at_s=1)

    def test_a_key_is_read_from_pem_and_tells_its_record(self) -> None:
        private = ed25519.Ed25519PrivateKey.generate()
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        key = DkimKey.from_pem("operator.example", "mail", private.private_bytes(*form))
        raw = private.public_key().public_bytes_raw()
        assert key.record() == f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"
        with pytest.raises(ValueError, match="RSA or Ed25519"):
            pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(*form)
            DkimKey.from_pem("operator.example", "mail", pem)


class TestCompose:
    def test_the_same_arguments_give_the_same_bytes(self) -> None:
        parts = [Part("invoice.pdf", "application/pdf", bytes(range(256)) * 9)]
        assert letter(parts=parts) == letter(parts=parts)

    def test_what_is_written_can_be_read(self) -> None:
        mail = read(letter(parts=[Part("a.txt", "text/csv", b"1,2")]))
        assert (mail.sender, mail.recipient) == ("notices@operator.example", "owner@northwind.example")
        assert (mail.subject, mail.message_id) == ("Ihre Kündigung", "<NC1.1@operator.example>")
        assert mail.body == "Guten Tag,\n\n.punkt am Anfang, schön.\n"

    def test_lines_are_ascii_short_and_end_with_crlf(self) -> None:
        raw = letter(body="ü" * 3000)
        assert raw.isascii()
        assert b"\n" not in raw.replace(b"\r\n", b"")
        # RFC 5322 2.1.1
        assert max(map(len, raw.split(b"\r\n"))) <= 998

    def test_a_line_break_in_a_header_is_refused(self) -> None:
        with pytest.raises(ValueError, match="linefeed"):
            letter(subject="Late\r\nBcc: x@y.example")


class TestReading:
    def test_bytes_without_a_sender_are_no_mail(self) -> None:
        with pytest.raises(MailUnreadable):
            read(b"\xff\x00 nothing")

    def test_an_unknown_charset_leaves_the_text_out(self) -> None:
        raw = b"From: a@b.example\r\nContent-Type: text/plain; charset=x-none\r\n\r\n\xe4\r\n"
        assert read(raw).sender == "a@b.example"

    def test_stray_bytes_and_nul_leave_text_that_can_be_stored(self) -> None:
        mail = read(b"From: \xff <a@b.example>\r\nSubject: \xe4\0x\r\nMessage-ID: <\xff@x>\r\n\r\n\xe4\0y\r\n")
        for text in (mail.sender, mail.subject, mail.message_id, mail.body):
            assert "\0" not in text
            assert text.encode("utf-8").decode() == text
        assert mail.sender == "a@b.example"

    @pytest.mark.parametrize(
        ("action", "status", "expected"),
        [("failed", "5.1.1", ["<1@x>"]), ("delayed", "4.4.1", []), ("failed", "4.4.7", []), ("delivered", "2.0.0", [])],
    )
    def test_rfc_3464_2_3_only_a_permanent_failure_counts(self, action: str, status: str, expected: list[str]) -> None:
        raw = (
            'From: d@mx.example\r\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
            "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n"
            f"Original-Recipient: rfc822;a@b.example\r\nFinal-Recipient: rfc822; c@d.example\r\n"
            f"Action: {action}\r\nStatus: {status}\r\n\r\n"
            "--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <1@x>\r\nSubject: s\r\n\r\nText\r\n--b--\r\n"
        ).encode()
        found = failures(raw)
        assert [one.message_id for one in found] == expected
        assert [one.address for one in found] == ["a@b.example"] * len(expected)

    def test_any_other_mail_reports_nothing(self) -> None:
        assert failures(letter()) == []
