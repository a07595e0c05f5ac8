"""MM7: what is written can be read, what MMSCs write is understood, and what strangers write does no harm.

Source of the clauses: 3GPP TS 23.140. The dialects are shapes that MMSCs and their clients have in public traces.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmsc import deliver, envelope, fault, report, submit_rsp

from onterms.protocols import mm7, multipart
from onterms.protocols.images import measure
from onterms.protocols.mm7.envelope import DEPTH_MAX, ENVELOPE_BYTES_MAX, NODES_MAX
from onterms.protocols.multipart import MultipartError, NewPart

XML = "text/xml; charset=utf-8"
OLD = mm7.RELEASES + "REL-5-MM7-1-0"

# What XML can carry, and what fields keep: no space around.
words = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=40).map(
    str.strip
)
names = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789-", min_size=1, max_size=20)
numbers = st.text("0123456789", min_size=3, max_size=15)
addresses = st.builds(
    mm7.Address, st.one_of(numbers, numbers.map("+".__add__)), st.sampled_from(("Number", "ShortCode"))
)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
    lambda at: at.replace(microsecond=0, tzinfo=UTC)
)
files = st.builds(
    mm7.File,
    st.sampled_from(("image/jpeg", "image/png", "video/mp4", "text/vcard", "application/pdf")),
    st.binary(max_size=300),
    st.just(""),
    names.map(lambda name: name + ".bin"),
)
statuses = st.builds(mm7.Status, st.integers(1000, 9999), words, words)
dialects = st.builds(
    mm7.Dialect,
    st.sampled_from(("REL-5-MM7-1-0", "REL-5-MM7-1-2", "REL-6-MM7-1-4")).map(mm7.RELEASES.__add__),
    st.sampled_from(("5.3.0", "6.8.0")),
    st.booleans(),
)
messages = st.one_of(
    st.builds(
        mm7.SubmitReq,
        transaction_id=names,
        recipients=st.lists(addresses, min_size=1, max_size=3).map(tuple),
        files=st.lists(files, max_size=4).map(tuple),
        vasp_id=words,
        vas_id=words,
        sender=st.one_of(st.none(), addresses),
        subject=words,
        service_code=words,
        linked_id=words,
        expiry=st.one_of(st.none(), instants),
        delivery_report=st.booleans(),
        may_distribute=st.one_of(st.none(), st.booleans()),
    ),
    st.builds(mm7.SubmitRsp, transaction_id=names, status=statuses, message_id=words),
    st.builds(
        mm7.DeliverReq,
        transaction_id=names,
        sender=addresses,
        recipients=st.lists(addresses, min_size=1, max_size=3).map(tuple),
        files=st.lists(files, max_size=4).map(tuple),
        linked_id=words,
        subject=words,
        sent_at=st.one_of(st.none(), instants),
    ),
    st.builds(mm7.DeliverRsp, transaction_id=names, status=statuses),
    st.builds(
        mm7.DeliveryReportReq,
        transaction_id=names,
        message_id=words,
        recipient=addresses,
        sender=st.one_of(st.none(), addresses),
        mm_status=words,
        status_text=words,
        at=st.one_of(st.none(), instants),
    ),
    st.builds(mm7.DeliveryReportRsp, transaction_id=names, status=statuses),
    st.builds(
        mm7.ReadReplyReq,
        transaction_id=names,
        message_id=words,
        recipient=addresses,
        sender=st.one_of(st.none(), addresses),
        mm_status=words,
    ),
    st.builds(mm7.ReadReplyRsp, transaction_id=names, status=statuses),
    st.builds(mm7.CancelReq, transaction_id=names, message_id=words, vasp_id=words, vas_id=words),
    st.builds(mm7.CancelRsp, transaction_id=names, status=statuses),
    st.builds(mm7.ErrorRsp, transaction_id=names, status=statuses, is_ours=st.booleans()),
)


def without_names(message: Any) -> Any:
    """Files get ids when they are written."""
    if not getattr(message, "files", None):
        return message
    plain = tuple(mm7.File(file.content_type, file.data, "", file.name) for file in message.files)
    return type(message)(**{**{name: getattr(message, name) for name in message.__slots__}, "files": plain})


@given(messages, dialects, st.booleans(), st.booleans())
def test_what_is_written_is_read_again_in_its_dialect(
    message: mm7.Message, dialect: mm7.Dialect, has_smil: bool, is_base64: bool
) -> None:
    content_type, body = mm7.encode(message, dialect, boundary="b-0f3a77c1e9", has_smil=has_smil, is_base64=is_base64)
    decoded = mm7.decode(content_type, body)
    assert without_names(decoded.message) == message
    assert (decoded.dialect.namespace, decoded.dialect.version) == (dialect.namespace, dialect.version)


class TestDialects:
    """What is written elsewhere."""

    def test_8_7_8_an_error_comes_as_the_detail_of_a_fault_or_alone(self) -> None:
        error = mm7.decode(XML, fault("t1", 4001).encode()).message
        assert error == mm7.ErrorRsp(transaction_id="t1", status=mm7.Status(4001, "No"))
        bare = "<RSErrorRsp><Status><StatusCode>2004</StatusCode></Status></RSErrorRsp>"
        assert mm7.decode(XML, bare.encode()).message == mm7.ErrorRsp(transaction_id="", status=mm7.Status(2004))

    @pytest.mark.parametrize(("who", "code"), [("env:Server", 3000), ("soapenv:Client", 2000)])
    def test_a_bare_fault_says_whose_it_was(self, who: str, code: int) -> None:
        text = f"<env:Fault><faultcode>{who}</faultcode><faultstring>Oh</faultstring></env:Fault>"
        found = mm7.decode(XML, envelope("t", text).encode()).message
        assert found == mm7.ErrorRsp(transaction_id="t", status=mm7.Status(code, "Oh"))

    def test_a_prefix_that_nobody_declared_is_read(self) -> None:
        text = report("m1", "447700900123", "+1").replace("<env:", "<soap-env:").replace("</env:", "</soap-env:")
        found = mm7.decode(XML, text.encode()).message
        assert isinstance(found, mm7.DeliveryReportReq) and found.message_id == "m1"

    def test_a_response_without_the_status_element_and_with_message_id_in_other_letters_is_read(self) -> None:
        text = "<SubmitRsp><StatusCode>1000</StatusCode><StatusText>OK</StatusText><MessageId>7</MessageId></SubmitRsp>"
        found = mm7.decode("", envelope("t", text).encode()).message
        assert found == mm7.SubmitRsp(transaction_id="t", status=mm7.Status(1000, "OK"), message_id="7")

    @pytest.mark.parametrize("charset", ["euc-kr", "gb2312", "iso-8859-1", "utf-16"])
    def test_other_character_sets_are_read(self, charset: str) -> None:
        word = {"euc-kr": "\uc131\uacf5", "gb2312": "\u6210\u529f", "iso-8859-1": "\u00fc", "utf-16": "\u2603"}[charset]
        text = submit_rsp("t", "m").replace("As told", word).replace("UTF-8", charset)
        found = mm7.decode("text/xml", text.encode(charset)).message
        assert isinstance(found, mm7.SubmitRsp) and found.status.text == word

    def test_reports_have_their_recipient_in_recipients_and_their_date_in_timestamp_too(self) -> None:
        text = (
            f'<mm7:DeliveryReportReq xmlns:mm7="{OLD}"><MM7Version>5.3.0</MM7Version><Sender>01083025800</Sender>'
            "<MessageID>65_2024</MessageID><Recipients><Number>01054702550</Number></Recipients>"
            "<TimeStamp>2024-08-05T22:22:54+09:00</TimeStamp><MMStatus>Retrieved</MMStatus></mm7:DeliveryReportReq>"
        )
        found = mm7.decode(XML, envelope("t", text, release="REL-5-MM7-1-0").encode())
        assert found.message == mm7.DeliveryReportReq(
            transaction_id="t",
            message_id="65_2024",
            recipient=mm7.Address("01054702550"),
            sender=mm7.Address("01083025800"),
            mm_status="Retrieved",
            at=datetime(2024, 8, 5, 13, 22, 54, tzinfo=UTC),
        )
        assert found.dialect.namespace == OLD

    def test_a_date_that_is_none_is_none(self) -> None:
        text = report("m", "1", "2").replace("2026-01-01T10:00:00Z", "2014-3-24T10:34:50+08:00")
        found = mm7.decode(XML, text.encode()).message
        assert isinstance(found, mm7.DeliveryReportReq) and found.at is None

    @pytest.mark.parametrize(
        ("written", "number"),
        [
            ("+447700900123/TYPE=PLMN@mms.example", "+447700900123"),
            ("447700900123/TYPE=PLMN", "447700900123"),
            (" +44 7700-900123 ", "+447700900123"),
            ("72345", "72345"),
            ("ann@example.com", ""),
        ],
    )
    def test_numbers_are_found_in_what_stands_around_them(self, written: str, number: str) -> None:
        assert mm7.Address(written, "RFC2822Address").number == number

    def test_files_beside_the_envelope_belong_to_it_even_where_nothing_points_to_them(self) -> None:
        kind, body = deliver("1234567", "7654321", [("text/plain", b"hi"), ("image/png", b"\x89PNG\r\n--outer x\n")])
        for old, new in ((b"cid:content", b"cid:elsewhere"), (b'<Content href="cid:content" ', b'<Content x="1" ')):
            found = mm7.decode(kind, body.replace(old, new)).message
            assert isinstance(found, mm7.DeliverReq)
            assert [file.data for file in found.files] == [b"hi", b"\x89PNG\r\n--outer x\n"]

    def test_release_5_1_0_has_the_sender_as_text(self) -> None:
        message = mm7.SubmitReq(
            transaction_id="t", recipients=(mm7.Address("+1"),), files=(), sender=mm7.Address("+44")
        )
        _, body = mm7.encode(message, mm7.Dialect(OLD, sender_is_text=True))
        assert b"<SenderAddress>+44</SenderAddress>" in body
        assert mm7.decode(XML, body).message == message


class TestSafety:
    """What strangers write."""

    @pytest.mark.parametrize(
        "text",
        [
            '<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;">]><Envelope>&lol2;</Envelope>',
            '<!DOCTYPE a SYSTEM "http://example.com/a.dtd"><Envelope/>',
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Envelope>&b;</Envelope>',
            "<Envelope>&unknown;</Envelope>",
            "<a>" * (DEPTH_MAX + 1) + "</a>" * (DEPTH_MAX + 1),
            "<a>" + "<b/>" * NODES_MAX + "</a>",
            "<a>" + " " * ENVELOPE_BYTES_MAX + "</a>",
            "<Envelope><Body/></Envelope>",
            "<Envelope><Body><Unheard/></Body></Envelope>",
            '<?xml version="1.0" encoding="zlib"?><a/>',
            "<SubmitRsp><StatusCode>many</StatusCode></SubmitRsp>",
            "",
            "<",
        ],
    )
    def test_documents_with_entities_or_beyond_bounds_are_refused(self, text: str) -> None:
        with pytest.raises(mm7.MM7Error):
            mm7.decode(XML, text.encode())

    @pytest.mark.parametrize(
        "kind",
        ["multipart/related", 'multipart/related; boundary=""', f'multipart/related; boundary="{"b" * 71}"'],
    )
    def test_multiparts_without_a_boundary_are_refused(self, kind: str) -> None:
        with pytest.raises(mm7.MM7Error):
            mm7.decode(kind, b"--b\r\n\r\nx\r\n--b--")

    def test_parts_within_parts_end_somewhere(self) -> None:
        body, kind = b"x", "text/plain"
        for depth in range(10):
            body = multipart.compose([NewPart((("Content-Type", kind),), body)], f"b{depth}")
            kind = f'multipart/mixed; boundary="b{depth}"'
        with pytest.raises(MultipartError):
            multipart.parse_entity({"Content-Type": kind}, body)

    def test_many_parts_and_many_fields_are_refused(self) -> None:
        many = b"--b\r\n\r\n\r\n" * 200 + b"--b--"
        with pytest.raises(MultipartError):
            multipart.parse_entity({"Content-Type": "multipart/mixed; boundary=b"}, many)
        with pytest.raises(MultipartError):
            multipart.parse_message(b"".join(b"A%d: b\r\n" % number for number in range(200)) + b"\r\n")
        with pytest.raises(MultipartError):
            multipart.parse_message(b"A: " + b"b" * 20_000 + b"\r\n\r\n")

    @settings(max_examples=300)
    @given(st.binary(max_size=400), st.text(max_size=60))
    def test_any_bytes_are_a_message_or_an_error(self, body: bytes, kind: str) -> None:
        try:
            mm7.decode(kind, body)
        except mm7.MM7Error as error:
            assert error.code in mm7.CODES

    @settings(max_examples=300)
    @given(st.data())
    def test_a_message_that_was_damaged_is_a_message_or_an_error(self, data: st.DataObject) -> None:
        kind, body = deliver("1234567", "7654321", [("text/plain", b"hi"), ("image/png", b"\x89PNG")])
        damaged = bytearray(body)
        for _ in range(data.draw(st.integers(1, 5))):
            place = data.draw(st.integers(0, len(damaged) - 1))
            if data.draw(st.booleans()):
                damaged[place] = data.draw(st.integers(0, 255))
            else:
                del damaged[place : place + data.draw(st.integers(1, 50))]
        try:
            mm7.decode(kind, bytes(damaged))
        except mm7.MM7Error as error:
            assert error.code in mm7.CODES

    @given(st.binary(max_size=200))
    def test_the_size_of_any_bytes_is_a_pair_or_nothing(self, data: bytes) -> None:
        for head in (
            b"",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"\xff\xd8",
            b"BM",
            b"RIFF0000WEBPVP8 ",
            b"RIFF0000WEBPVP8X",
        ):
            found = measure(head + data)
            assert found is None or (found[0] >= 0 and found[1] >= 0)


class TestMultipart:
    @given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.booleans())
    def test_parts_come_back_as_they_went(self, bodies: list[bytes], is_base64: bool) -> None:
        encoding = "base64" if is_base64 else "binary"
        headers = (("Content-Type", "image/png"), ("Content-Transfer-Encoding", encoding))
        parts = [NewPart(headers, multipart.base64_body(body) if is_base64 else body) for body in bodies]
        written = multipart.compose(parts, "a-boundary-of-ours")
        read = multipart.parse_entity({"Content-Type": "multipart/mixed; boundary=a-boundary-of-ours"}, written)
        assert [leaf.body for leaf in read.leaves()] == bodies

    def test_rfc_2046_5_1_1_preamble_epilogue_padding_and_bare_line_feeds(self) -> None:
        body = b"preamble\n--b \t\nContent-Type: text/plain\n\none\n--b\n\ntwo\n--bb is none\n--b--\nepilogue"
        read = multipart.parse_entity({"content-type": 'Multipart/Mixed; boundary="b"'}, body)
        assert [part.body for part in read.parts] == [b"one", b"two\n--bb is none"]

    def test_fields_are_unfolded_and_names_have_no_paths(self) -> None:
        entity = multipart.parse_message(
            b'Content-Type: image/png;\r\n name="../../etc/passwd"\r\nContent-ID: <a b>\r\n\r\nx'
        )
        assert (entity.content_type, entity.name, entity.content_id, entity.body) == (
            "image/png",
            "passwd",
            "a b",
            b"x",
        )

    def test_texts_in_unknown_character_sets_keep_what_can_be_read(self) -> None:
        entity = multipart.parse_message(b"Content-Type: text/plain; charset=rot13\r\n\r\nab\xff")
        assert entity.text() == "ab\ufffd"
