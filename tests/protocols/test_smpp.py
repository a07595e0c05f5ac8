"""SMPP by the byte: PDUs there and back, what carriers really write, texts in parts, receipts."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onterms.protocols import gsm
from onterms.protocols.smpp import (
    Assembler,
    Command,
    Content,
    MessageState,
    Status,
    Tag,
    UnreadableContent,
    codec,
    content_of,
    is_receipt,
    parts,
    pdu,
    read_time,
    receipt,
    write_time,
)
from onterms.protocols.smpp.pdu import Address

KINDS: list[Any] = list(codec._BODIES)
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

octet = st.integers(0, 255)


def c_octets(most: int) -> Any:
    return st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=most)


def address(most: int) -> Any:
    return st.builds(Address, octet, octet, c_octets(most))


def body_of(kind: Any) -> dict[str, Any]:
    """What the declared fields of a PDU may hold."""
    found: dict[str, Any] = {}
    for field in codec._BODIES[kind]:
        name = type(field).__name__
        if name == "_Text":
            found[field.name] = c_octets(field.max - 1)
        elif name == "_Int":
            found[field.name] = octet
        elif name == "_Address":
            found[field.name] = address(field.max - 1)
        elif name == "_Octets":
            found[field.name] = st.binary(max_size=255)
        elif name == "_Destinations":
            found[field.name] = st.lists(st.one_of(address(20), c_octets(20)), min_size=1, max_size=5).map(tuple)
        else:
            refused = st.builds(pdu.Unsuccessful, address(20), st.integers(0, 2**32 - 1))
            found[field.name] = st.lists(refused, max_size=5).map(tuple)
    if kind in codec._HAS_TLVS:
        tlv = st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=300))
        found["tlvs"] = st.lists(tlv, max_size=4).map(tuple)
    return found


any_pdu = st.sampled_from(KINDS).flatmap(
    lambda kind: st.builds(kind, status=st.integers(0, 2**32 - 1), sequence=st.integers(0, 2**32 - 1), **body_of(kind))
)


class TestPdus:
    @settings(max_examples=300, deadline=None)
    @given(any_pdu)
    def test_every_kind_comes_back_as_it_went(self, sent: Any) -> None:
        assert codec.decode(codec.encode(sent)) == sent

    def test_submit_sm_has_the_bytes_of_the_specification(self) -> None:
        # Put together by hand by SMPP 3.4 4.4.1.
        sent = pdu.SubmitSm(
            sequence=2,
            source=Address(5, 0, "ACME"),
            destination=Address(1, 1, "14155550100"),
            registered_delivery=1,
            short_message=b"Hi",
            tlvs=((int(Tag.USER_MESSAGE_REFERENCE), b"\x00\x07"),),
        )
        assert codec.encode(sent).hex() == (
            "00000038" "00000004" "00000000" "00000002" "00" "0500" "41434d4500" "0101" "313431353535353031303000"
            "000000" "00" "00" "01" "00" "00" "00" "02" "4869" "020400020007"
        )  # fmt: skip

    @settings(max_examples=300, deadline=None)
    @given(st.builds(pdu.DeliverSm, sequence=st.integers(1, 99), **body_of(pdu.DeliverSm)), st.data())
    def test_quick_reader_and_declared_reader_agree_on_whole_and_broken_bodies(
        self, sent: pdu.DeliverSm, data: st.DataObject
    ) -> None:
        frame = bytearray(codec.encode(sent))
        for _ in range(data.draw(st.integers(0, 3))):
            frame[data.draw(st.integers(16, len(frame) - 1))] = data.draw(octet)
        cut = data.draw(st.integers(16, len(frame)))
        torn = bytes(frame[:cut])
        assert self._outcome(torn, quick=True) == self._outcome(torn, quick=False)

    def _outcome(self, frame: bytes, *, quick: bool) -> Any:
        try:
            if quick:
                return codec._read_message(pdu.DeliverSm, frame, 0, 1)
            return codec._read_declared(pdu.DeliverSm, frame, 0, 1)
        except codec._Short as problem:
            return type(problem)

    @settings(max_examples=500, deadline=None)
    @given(st.sampled_from(sorted(Command)), st.binary(max_size=80))
    def test_hostile_bodies_are_refused_and_nothing_else_happens(self, command: Command, body: bytes) -> None:
        frame = codec._HEADER.pack(16 + len(body), command, 0, 7) + body
        try:
            codec.decode(frame)
        except codec.BodyError as refused:
            assert refused.sequence == 7
            assert refused.status != 0

    def test_unknown_command_is_refused_by_its_name(self) -> None:
        with pytest.raises(codec.BodyError) as refused:
            codec.decode(codec._HEADER.pack(16, 0x00010002, 0, 9))
        assert (refused.value.status, refused.value.sequence) == (Status.RINVCMDID, 9)

    @pytest.mark.parametrize(
        ("kind", "body", "message_id"),
        [
            (pdu.SubmitSmResp, b"", ""),
            (pdu.SubmitSmResp, b"abc", "abc"),
            (pdu.SubmitSmResp, b"abc\0", "abc"),
            (pdu.DeliverSmResp, b"\0", ""),
            (pdu.DataSmResp, b"", ""),
        ],
    )
    def test_response_of_a_sloppy_carrier_is_read(self, kind: Any, body: bytes, message_id: str) -> None:
        frame = codec._HEADER.pack(16 + len(body), kind.command, 8, 3) + body
        read: Any = codec.decode(frame)
        assert (type(read), read.status, read.message_id) == (kind, 8, message_id)

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({"source": Address(1, 1, "1" * 20)}, Status.RINVSRCADR),
            ({"destination": Address(1, 1, "1" * 20)}, Status.RINVDSTADR),
            ({"validity_period": "0" * 16}, Status.RINVEXPIRY),
            ({"service_type": "abcde"}, Status.RINVSERTYP),
        ],
    )
    def test_field_over_its_length_is_refused_by_its_own_status(self, fields: Any, status: Status) -> None:
        frame = codec.encode(pdu.SubmitSm(sequence=1, **fields))
        [text] = [value if isinstance(value, str) else value.number for value in fields.values()]
        longer = frame.replace(text.encode() + b"\0", text.encode() + b"1\0", 1)
        with pytest.raises(codec.BodyError) as refused:
            codec.decode((len(longer)).to_bytes(4, "big") + longer[4:])
        assert refused.value.status == status

    @pytest.mark.parametrize(
        "sent",
        [
            pdu.SubmitSm(short_message=b"x" * 256),
            pdu.SubmitSm(source=Address(1, 1, "1" * 21)),
            pdu.SubmitSm(service_type="a\0b"),
            pdu.SubmitMulti(destinations=()),
            pdu.SubmitMulti(destinations=("list",) * 255),
        ],
    )
    def test_what_no_pdu_can_hold_is_not_written(self, sent: Any) -> None:
        with pytest.raises(ValueError, match=r".+"):
            codec.encode(sent)


class TestFrames:
    @settings(max_examples=50, deadline=None)
    @given(st.lists(any_pdu, min_size=1, max_size=8), st.randoms(use_true_random=False))
    def test_stream_torn_anywhere_gives_the_same_frames(self, sent: list[Any], chance: random.Random) -> None:
        stream = b"".join(codec.encode(each) for each in sent)
        reader = codec.Reader()
        frames: list[bytes] = []
        at = 0
        while at < len(stream):
            step = chance.randint(1, 40)
            frames += reader.feed(stream[at : at + step])
            at += step
        assert [codec.decode(frame) for frame in frames] == sent

    @pytest.mark.parametrize("length", [0, 15, codec.PDU_BYTES_MAX + 1, 0xFFFFFFFF])
    def test_length_that_no_pdu_has_ends_the_stream(self, length: int) -> None:
        with pytest.raises(codec.FramingError) as refused:
            list(codec.Reader().feed(length.to_bytes(4, "big") + bytes(8) + (77).to_bytes(4, "big")))
        assert refused.value.sequence == 77

    def test_frames_before_a_broken_one_are_given(self) -> None:
        good = codec.encode(pdu.EnquireLink(sequence=1))
        frames = []
        with pytest.raises(codec.FramingError):
            for frame in codec.Reader().feed(good + b"\xff" * 16):
                frames.append(frame)
        assert frames == [good]


texts = st.one_of(
    st.text(st.sampled_from("abc XYZ 123 @£$¥ {}[]~^|€ äöü"), max_size=700),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
)


def carried(part: Any) -> pdu.DeliverSm:
    return pdu.DeliverSm(
        esm_class=part.esm_class, data_coding=part.data_coding, short_message=part.short_message, tlvs=part.tlvs
    )


class TestTexts:
    @settings(max_examples=200, deadline=None)
    @given(
        texts,
        st.integers(0, 0xFFFF),
        st.sampled_from(["gsm", "gsm-packed", "latin-1", "ascii"]),
        st.sampled_from(["udh", "udh16", "sar", "payload"]),
        st.randoms(use_true_random=False),
    )
    def test_text_in_parts_in_any_order_with_repeats_is_the_text(
        self, text: str, reference: int, alphabet: Any, long: Any, chance: random.Random
    ) -> None:
        made = parts(text, reference, alphabet=alphabet, long=long)
        # The last one completes it, so repeats come before.
        sent = [*made[:-1], *made[:-1], made[-1]]
        order = sent[:-1]
        chance.shuffle(order)
        assembler = Assembler()
        whole: Content | None = None
        for part in [*order, sent[-1]]:
            assert whole is None
            whole = assembler.add("1", "2", content_of(carried(part), alphabet=alphabet), AT)
        assert whole is not None
        if alphabet == "gsm-packed":
            # Seven spare bits cannot be told from a last "@".
            assert whole.text is not None
            assert whole.text.rstrip("@\r") == text.rstrip("@\r")
        else:
            assert whole.text == text

    @given(texts.filter(bool))
    @settings(deadline=None)
    def test_text_has_as_many_parts_as_are_charged(self, text: str) -> None:
        assert len(parts(text, 1)) == gsm.segment(text).segments

    def test_parts_fit_into_one_sms_each(self) -> None:
        for text in ("a" * 500, "é€" * 200, "\u4e2d" * 300, "\U0001f600" * 200):
            for long in ("udh", "udh16"):
                for part in parts(text, 1, long=long):
                    septets = part.data_coding == 0
                    header = part.short_message[0] + 1
                    units = len(part.short_message) - header
                    size = header + (-(-units * 7 // 8) if septets else units)
                    assert size <= 140 + (long == "udh16")

    def test_udh_of_the_first_of_two_parts_has_the_bytes_of_the_standard(self) -> None:
        [first, second] = parts("a" * 161, 0x1FF)
        assert (first.esm_class, first.short_message[:6].hex()) == (0x40, "050003ff0201")
        assert second.short_message[:6].hex() == "050003ff0202"

    def test_parts_of_two_messages_are_kept_apart(self) -> None:
        assembler = Assembler()
        one, two = parts("a" * 200, 1), parts("b" * 200, 2)
        assert assembler.add("1", "2", content_of(carried(one[0])), AT) is None
        assert assembler.add("1", "2", content_of(carried(two[1])), AT) is None
        whole = assembler.add("1", "2", content_of(carried(one[1])), AT)
        assert whole is not None
        assert whole.text == "a" * 200

    def test_part_that_stays_alone_is_given_up_after_its_wait(self) -> None:
        assembler = Assembler(wait=timedelta(hours=1))
        assembler.add("1", "2", content_of(carried(parts("a" * 200, 1)[0])), AT)
        assert assembler.overdue(AT + timedelta(minutes=59)) == []
        [(sender, recipient, content)] = assembler.overdue(AT + timedelta(hours=1))
        assert (sender, recipient, content.text) == ("1", "2", "a" * 153)
        assert assembler.overdue(AT + timedelta(hours=2)) == []

    @pytest.mark.parametrize(
        ("coding", "octets", "text"),
        [
            (0, b"\x00 hello \x1b\x65", "@ hello €"),
            (0, "Grüße".encode("latin-1"), "Grüße"),
            (1, b"ascii", "ascii"),
            (3, "Grüße".encode("latin-1"), "Grüße"),
            (4, b"\x01\x02", None),
            (6, "привет".encode("iso8859-5"), "привет"),
            (8, "中文".encode("utf-16-be"), "中文"),
            (0x18, "中".encode("utf-16-be"), "中"),
            (0xF0, b"flash", "flash"),
            (0xF5, b"\x01\x02", None),
        ],
    )
    def test_data_codings_are_read(self, coding: int, octets: bytes, text: str | None) -> None:
        content = content_of(pdu.DeliverSm(data_coding=coding, short_message=octets))
        assert (content.text, content.octets) == (text, octets)

    @pytest.mark.parametrize(
        "broken",
        [
            pdu.DeliverSm(data_coding=8, short_message=b"\x00"),
            pdu.DeliverSm(data_coding=1, short_message=b"\xff"),
            pdu.DeliverSm(esm_class=0x40, short_message=b"\x20\x00\x03"),
        ],
    )
    def test_octets_that_are_not_what_they_say_are_refused(self, broken: pdu.DeliverSm) -> None:
        with pytest.raises(UnreadableContent):
            content_of(broken)

    def test_header_with_impossible_numbers_is_passed_over(self) -> None:
        octets = bytes([5, 0, 3, 1, 2, 3]) + b"hello"
        content = content_of(pdu.DeliverSm(esm_class=0x40, short_message=octets))
        assert (content.text, content.place) == ("hello", None)

    def test_ports_of_a_header_are_told(self) -> None:
        octets = bytes([6, 5, 4, 0x0B, 0x84, 0x23, 0xF0]) + b"\x01"
        content = content_of(pdu.DeliverSm(esm_class=0x40, data_coding=4, short_message=octets))
        assert content.ports == (0x0B84, 0x23F0)


def tlvs(**values: bytes) -> Any:
    return tuple((int(Tag[name.upper()]), value) for name, value in values.items())


class TestReceipts:
    @pytest.mark.parametrize(
        ("text", "message_id", "state", "error"),
        [
            (
                "id:123A456B sub:1 dlvrd:1 submit date:1702281424 done date:1702281424 stat:DELIVRD err:0 text:hi",
                "123A456B",
                MessageState.DELIVERED,
                "0",
            ),
            (
                "id:0987 sub:001 dlvrd:000 submit date:170228142412 done date:170228142415 stat:UNDELIV err:045 Text:x",
                "0987",
                MessageState.UNDELIVERABLE,
                "045",
            ),
            ("id:c449ab9744f47b6af1879e49e75e4f40 stat:REJECTD err:00A",
             "c449ab9744f47b6af1879e49e75e4f40", MessageState.REJECTED, "00A"),
            ("ID: 7 SUB:1 STAT: EXPIRED ERR: 1", "7", MessageState.EXPIRED, "1"),
            ("id:1,sub:001,dlvrd:001,submit date:1702281424,done date:1702281424,stat:DELIVRD,err:000,text:",
             "1", MessageState.DELIVERED, "000"),
            ("id:5 submit_date:1702281424 done_date:1702281424 stat:ACCEPTD", "5", MessageState.ACCEPTED, ""),
            ("id:6 stat:DELIVRD text:id:99 stat:UNDELIV err:1", "6", MessageState.DELIVERED, ""),
        ],
    )  # fmt: skip
    def test_texts_of_many_carriers_are_read(self, text: str, message_id: str, state: MessageState, error: str) -> None:
        read = receipt.read(pdu.DeliverSm(esm_class=4, short_message=text.encode()))
        assert read is not None
        assert (read.message_id, read.state, read.error) == (message_id, state, error)

    def test_exact_parameters_win_over_the_text(self) -> None:
        read = receipt.read(
            pdu.DeliverSm(
                esm_class=4,
                short_message=b"id:1 stat:ENROUTE err:000",
                tlvs=tlvs(receipted_message_id=b"2\0", message_state=b"\x02"),
            )
        )
        assert read is not None
        assert (read.message_id, read.state, read.is_final) == ("2", MessageState.DELIVERED, True)

    def test_network_error_code_stands_in_for_a_missing_error(self) -> None:
        read = receipt.read(
            pdu.DeliverSm(
                esm_class=4,
                tlvs=tlvs(receipted_message_id=b"2\0", message_state=b"\x05", network_error_code=b"\x03\x00\x0b"),
            )
        )
        assert read is not None
        assert (read.state, read.error) == (MessageState.UNDELIVERABLE, "011")

    @pytest.mark.parametrize("text", ["hello", "id:5", "stat:DELIVRD", "id:5 stat:WHATEVER", ""])
    def test_what_names_no_message_or_no_state_is_no_receipt(self, text: str) -> None:
        assert receipt.read(pdu.DeliverSm(esm_class=4, short_message=text.encode())) is None

    def test_message_of_a_subscriber_that_looks_like_a_receipt_is_none(self) -> None:
        assert not is_receipt(pdu.DeliverSm(short_message=b"id:5 stat:DELIVRD err:000"))

    @given(
        st.text("0123456789abcdefABCDEF-", min_size=1, max_size=64),
        st.sampled_from(sorted(MessageState)),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    )
    def test_written_receipt_is_read_again_by_its_text_alone_and_with_parameters(
        self, message_id: str, state: MessageState, text: str
    ) -> None:
        words, parameters = receipt.write(message_id, state, "", AT, AT + timedelta(minutes=1), text)
        for sent in (pdu.DeliverSm(esm_class=4, short_message=words, tlvs=parameters),
                     pdu.DeliverSm(esm_class=4, short_message=words)):  # fmt: skip
            read = receipt.read(sent)
            assert is_receipt(sent)
            assert read is not None
            assert (read.message_id, read.submitted_at, read.done_at) == (message_id, AT, AT + timedelta(minutes=1))
            assert read.state == state


class TestTimes:
    """SMPP 3.4 7.1.1."""

    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("", None),
            ("260301123456700+", datetime(2026, 3, 1, 12, 34, 56, 700_000, UTC)),
            ("260301123456008+", datetime(2026, 3, 1, 10, 34, 56, tzinfo=UTC)),
            ("260301123456008-", datetime(2026, 3, 1, 14, 34, 56, tzinfo=UTC)),
            ("000001020304000R", AT + timedelta(days=1, hours=2, minutes=3, seconds=4)),
            ("010100000000000R", AT + timedelta(days=395)),
        ],
    )
    def test_a_time_is_read(self, text: str, moment: datetime | None) -> None:
        assert read_time(text, AT) == moment

    @pytest.mark.parametrize(
        "text",
        [
            "2603011234567",
            "260301123456700",
            "261301123456700+",
            "260301123456057+",
            "26030112345670x+",
            "0000010203040\u0660R",
        ],
    )
    def test_what_is_no_time_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError):
            read_time(text, AT)

    @given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)))
    def test_what_is_written_is_read_to_a_tenth_of_a_second(self, moment: datetime) -> None:
        at = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 100_000 * 100_000)
        assert len(write_time(at)) == 16
        assert read_time(write_time(at), AT) == at


def test_a_sid_is_room_enough_for_a_system_id() -> None:
    sid = "AC" + "0" * 32
    bind = codec.decode(codec.encode(pdu.BindTransceiver(system_id=sid)))
    assert isinstance(bind, pdu.BindTransceiver) and bind.system_id == sid
    with pytest.raises(ValueError, match="system_id"):
        codec.encode(pdu.BindTransceiver(system_id="x" * 65))
