"""MM4: what is written can be read, also by the standard library, and what comes as mail does no harm.

Source of the clauses: 3GPP TS 23.140.
"""

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onterms.protocols import mm4
from onterms.protocols.mm7 import Address, File

AT = datetime(2026, 1, 1, 10, tzinfo=UTC)
names = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789-@.", min_size=1, max_size=30).filter(
    lambda text: not text.startswith(".")
)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), max_size=30)
plain = st.text("abcdefghij KLM.", max_size=30).map(str.strip)
addresses = st.text("0123456789", min_size=3, max_size=15).map(
    lambda digits: Address(f"+{digits}/TYPE=PLMN@mms.example", "RFC2822Address")
)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)).map(
    lambda at: at.replace(microsecond=0, tzinfo=UTC)
)
files = st.builds(
    File, st.sampled_from(("image/jpeg", "text/plain", "video/mp4")), st.binary(max_size=300), st.just("part0")
)
reports: dict[str, Any] = {
    "transaction_id": names,
    "message_id": names,
    "sender": addresses,
    "recipient": addresses,
    "at": instants,
    "wants_response": st.booleans(),
    "originator_system": st.sampled_from(("", "system@mms.example")),
}
responses: dict[str, Any] = {
    "transaction_id": names,
    "message_id": names,
    "status": st.sampled_from(sorted(mm4.STATUSES)),
    "status_text": plain,
}
messages = st.one_of(
    st.builds(
        mm4.ForwardReq,
        transaction_id=names,
        message_id=names,
        sender=addresses,
        recipients=st.lists(addresses, min_size=1, max_size=3).map(tuple),
        files=st.lists(files, min_size=1, max_size=1).map(tuple),
        subject=texts,
        sent_at=instants,
        expiry=st.one_of(st.none(), instants),
        wants_response=st.booleans(),
        delivery_report=st.booleans(),
        read_reply=st.booleans(),
        originator_system=st.sampled_from(("", "system@mms.example")),
    ),
    st.builds(mm4.DeliveryReportReq, mm_status=st.sampled_from(("Retrieved", "Expired")), status_text=plain, **reports),
    st.builds(mm4.ReadReplyReportReq, read_status=st.just("Read"), **reports),
    st.builds(mm4.ForwardRes, **responses),
    st.builds(mm4.DeliveryReportRes, **responses),
    st.builds(mm4.ReadReplyReportRes, **responses),
)


def write(message: mm4.Message) -> bytes:
    return mm4.encode(
        message,
        mail_from="system@us.example",
        mail_to="system@them.example",
        mail_id="1@us.example",
        at=AT,
        boundary="b-0f3a77c1e9",
    )


@given(messages)
def test_what_is_written_is_read_again(message: mm4.Message) -> None:
    assert mm4.decode(write(message)) == message


@given(messages)
def test_what_is_written_is_a_mail_to_others_as_well(message: mm4.Message) -> None:
    mail = message_from_bytes(write(message), policy=default)
    assert not mail.defects
    assert mail["X-Mms-Transaction-ID"] == f'"{message.transaction_id}"'
    if isinstance(message, mm4.ForwardReq):
        [_, part] = list(mail.iter_parts())
        assert part.get_payload(decode=True) == message.files[0].data
    for line in write(message).split(b"\r\n"):
        # RFC 5322 2.1.1.
        assert len(line) <= 998 and line.isascii()


def test_8_4_1_a_forward_request_of_another_maker_is_read_and_answered() -> None:
    mail = (
        b"From: +447700900123/TYPE=PLMN@mms.them.example\r\n"
        b"To: <+14155550123/TYPE=PLMN@mms.us.example>,\r\n +14155550124/TYPE=PLMN@mms.us.example\r\n"
        b"Subject: =?utf-8?B?Z3LDvMOf?=\r\nDate: Thu, 1 Jan 2026 11:00:00 +0100\r\n"
        b"X-MMS-3GPP-Mms-Version: 5.5.0\r\nX-Mms-message-type: MM4_Forward.REQ\r\n"
        b'X-Mms-Transaction-Id: "t1"\r\nX-Mms-Message-Id: <m1@them.example>\r\nX-Mms-Ack-Request: Yes\r\n'
        b"X-Mms-Originator-System: mm4@them.example\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n'
        b"--x\r\nContent-Type: application/smil\r\n\r\n<smil/>\r\n"
        b"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"gr=C3=BC=C3=9F\r\n--x--\r\n"
    )
    found = mm4.decode(mail)
    assert isinstance(found, mm4.ForwardReq)
    assert [each.number for each in found.recipients] == ["+14155550123", "+14155550124"]
    assert (found.sender.number, found.subject, found.sent_at) == ("+447700900123", "gr\u00fc\u00df", AT)
    assert [file.data for file in found.files] == ["gr\u00fc\u00df".encode()]
    assert mm4.response_to(found) == mm4.ForwardRes(transaction_id="t1", message_id="m1@them.example", version="5.5.0")


@pytest.mark.parametrize(
    "mail",
    [
        b"",
        b"Subject: a mail\r\n\r\nhello",
        b"X-Mms-3GPP-MMS-Version: 6\r\nX-Mms-Message-Type: MM4_dance.REQ\r\nX-Mms-Transaction-ID: 1\r\n\r\n",
        b"X-Mms-3GPP-MMS-Version: 6\r\nX-Mms-Message-Type: MM4_forward.REQ\r\n\r\n",
        b"X-Mms-3GPP-MMS-Version: 6\r\nX-Mms-Message-Type: MM4_forward.REQ\r\nX-Mms-Transaction-ID: 1\r\n\r\n",
        b"X-Mms-3GPP-MMS-Version: 6\r\nX-Mms-Message-Type: MM4_forward.RES\r\nX-Mms-Transaction-ID: 1\r\n\r\n",
    ],
)
def test_what_is_no_message_is_refused_with_a_status(mail: bytes) -> None:
    with pytest.raises(mm4.MM4Error) as caught:
        mm4.decode(mail)
    assert caught.value.status in mm4.STATUSES


def test_a_line_break_in_a_value_makes_no_field() -> None:
    message = mm4.ForwardRes(transaction_id="t", message_id="m", status_text="a\r\nX-Mms-Injected: b")
    assert b"\r\nX-Mms-Injected" not in write(message)


@settings(max_examples=300)
@given(st.data())
def test_a_mail_that_was_damaged_is_a_message_or_an_error(data: st.DataObject) -> None:
    damaged = bytearray(write(data.draw(messages)))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place : place + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=10))
    try:
        mm4.decode(bytes(damaged))
    except mm4.MM4Error as error:
        assert error.status in mm4.STATUSES
