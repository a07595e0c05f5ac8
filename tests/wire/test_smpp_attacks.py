"""What strangers and customers may try at the SMPP door, and what it costs the others: nothing."""

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import requests
from esme import (
    RINVBNDSTS,
    RINVCMDID,
    RINVMSGID,
    RINVPASWD,
    RINVSYSID,
    ROK,
    RTHROTTLED,
    WAIT_S,
    Esme,
    Plain,
    make_user,
    place,
    submit,
)

from onterms.app.smpp_limits import MESSAGES_MAX, STRANGERS_MAX, UNKNOWN_NAMES
from onterms.products.messaging.service.smpp import PARTS_MAX
from onterms.protocols.smpp import Tag, codec, pdu

RINVCMDLEN, RINVMSGLEN, RMSGQFUL = 0x02, 0x01, 0x14
# Whom the door remembers for what was tried here, and not the other tests.
STRANGER = "127.0.0.9"
CONCAT_16 = b"\x06\x08\x04"


@pytest.fixture
def user(fresh_account: Any) -> dict[str, Any]:
    """An SMPP user of the test's own account."""
    return make_user(fresh_account, numbers=[fresh_account.number])


@pytest.fixture
def bound(server: Any, user: dict[str, Any]) -> Iterator[Plain]:
    """A bound transceiver of bytes."""
    with Plain(server) as plain:
        assert plain.bind(user["system_id"], user["password"]).status == ROK
        yield plain


def part(account: Any, recipient: str, reference: int, total: int, number: int, text: bytes, **fields: Any) -> Any:
    header = CONCAT_16 + reference.to_bytes(2, "big") + bytes([total, number])
    return msgspec.structs.replace(submit(account, recipient), esm_class=0x40, short_message=header + text, **fields)


class TestStrangers:
    def test_connections_of_one_address_that_never_bind_leave_room_for_others(
        self, server: Any, user: dict[str, Any]
    ) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(STRANGERS_MAX):
                stack.enter_context(Plain(server, STRANGER))
            with Plain(server, STRANGER) as late, contextlib.suppress(OSError):
                assert late.next() is None
            with Plain(server) as plain:
                assert plain.bind(user["system_id"], user["password"]).status == ROK

    def test_half_a_bind_is_cut_off_in_time(self, server: Any) -> None:
        whole = codec.encode(pdu.BindTransceiver(system_id="us", password="secret", sequence=1))
        with socket.create_connection(place(server), timeout=WAIT_S) as half:
            half.sendall(whole[:-3])
            assert half.recv(100) == b""

    @pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFF, 0x00100000, 15, 0])
    def test_a_length_that_no_pdu_has_is_refused_at_its_header(self, server: Any, length: int) -> None:
        with Plain(server) as plain:
            plain.socket.sendall(b"".join(each.to_bytes(4, "big") for each in (length, 4, 0, 7)))
            answer = plain.next()
            assert isinstance(answer, pdu.GenericNack)
            assert (answer.status, answer.sequence) == (RINVCMDLEN, 7)
            assert plain.next() is None

    def test_what_comes_before_a_bind_is_refused_and_not_kept(
        self, server: Any, fresh_account: Any, handset: Any
    ) -> None:
        with Plain(server) as plain:
            for request in (
                submit(fresh_account, handset.number),
                pdu.QuerySm(message_id="SM" + "0" * 32),
                pdu.CancelSm(message_id="SM" + "0" * 32),
            ):
                assert plain.ask(request).status == RINVBNDSTS
            assert plain.ask(pdu.DeliverSm(short_message=b"forged")).status == RINVCMDID
        assert handset.bodies() == []

    def test_guessed_names_are_throttled_and_names_that_exist_are_not(self, server: Any, fresh_account: Any) -> None:
        user = make_user(fresh_account)
        statuses: Counter[int] = Counter()
        with Plain(server) as bound:
            assert bound.bind(user["system_id"], user["password"]).status == ROK
            for number in range(UNKNOWN_NAMES + 10):
                with Plain(server, STRANGER) as plain:
                    statuses[plain.bind(f"nobody-{number}", "not-that").status] += 1
            assert set(statuses) == {RINVSYSID, RTHROTTLED}
            assert bound.ask(pdu.EnquireLink()).status == ROK
            with Plain(server, STRANGER) as plain:
                assert plain.bind(user["system_id"], "not-that").status == RINVPASWD
            with Plain(server, STRANGER) as plain:
                assert plain.bind(user["system_id"], user["password"]).status == ROK


class TestFloods:
    def test_many_recipients_at_once_are_throttled_and_the_rest_is_answered(
        self, server: Any, fresh_account: Any, bound: Plain
    ) -> None:
        requests_sent = 40
        many = [
            pdu.SubmitMulti(
                sequence=100 + number,
                source=pdu.Address(1, 1, fresh_account.number[1:]),
                # National numbers that nobody has: each is looked at and refused, so nothing is sent here.
                destinations=tuple(pdu.Address(1, 1, f"1000{number:03}{place:04}") for place in range(254)),
                short_message=b"Many",
            )
            for number in range(requests_sent)
        ]
        bound.socket.sendall(b"".join(codec.encode(each) for each in many))
        statuses = Counter(bound.next().status for _ in many)
        taken = requests_sent - statuses[RTHROTTLED]
        assert taken >= MESSAGES_MAX // 254
        assert statuses[RTHROTTLED] > 0
        assert bound.ask(pdu.EnquireLink()).status == ROK
        # The allowance is given back with the answers.
        assert bound.ask(many[0]).status != RTHROTTLED

    def test_a_flood_of_questions_leaves_the_api_its_database(
        self, server: Any, fresh_account: Any, bound: Plain
    ) -> None:
        flood = [pdu.QuerySm(message_id="SM" + "0" * 32, sequence=10 + number) for number in range(900)]
        bound.socket.sendall(b"".join(codec.encode(each) for each in flood))
        answer = requests.get(fresh_account.url("/Messages.json"), auth=fresh_account.auth, timeout=WAIT_S)
        assert answer.status_code == 200
        assert Counter(bound.next().status for _ in flood) == {RINVMSGID: len(flood)}

    def test_a_payload_of_64_kb_is_refused_as_too_long(self, fresh_account: Any, handset: Any, bound: Plain) -> None:
        payload = ((int(Tag.MESSAGE_PAYLOAD), b"x" * 65535),)
        assert bound.ask(submit(fresh_account, handset.number, "", tlvs=payload)).status == RINVMSGLEN
        data = pdu.DataSm(
            source=pdu.Address(1, 1, fresh_account.number[1:]),
            destination=pdu.Address(1, 1, handset.number[1:]),
            tlvs=payload,
        )
        assert bound.ask(data).status == RINVMSGLEN
        assert handset.bodies() == []

    def test_parts_that_make_more_than_a_message_may_have_are_refused_at_once(
        self, server: Any, fresh_account: Any, handset: Any, bound: Plain
    ) -> None:
        answers = [
            bound.ask(part(fresh_account, handset.number, 1, 255, number, b"x" * 150)).status for number in range(1, 13)
        ]
        # 1,600 characters are ten parts and two thirds.
        assert answers == [ROK] * 10 + [RINVMSGLEN] * 2

    def test_parts_whose_others_never_come_are_bounded(
        self, server: Any, fresh_account: Any, handset: Any, bound: Plain
    ) -> None:
        statuses: Counter[int] = Counter()
        total = PARTS_MAX + 30
        for begin in range(0, total, 500):
            some = range(begin, min(begin + 500, total))
            bound.socket.sendall(
                b"".join(
                    codec.encode(part(fresh_account, handset.number, number, 255, 1, b"x", sequence=10 + number))
                    for number in some
                )
            )
            statuses.update(bound.next().status for _ in some)
        assert statuses == {ROK: PARTS_MAX, RMSGQFUL: 30}
        # Whole messages still go.
        assert bound.ask(submit(fresh_account, handset.number, "Whole")).status == ROK


class TestForgeries:
    def test_a_receipt_is_not_the_customers_to_bring(self, fresh_account: Any, handset: Any, bound: Plain) -> None:
        words = b"id:1001 sub:001 dlvrd:001 submit date:3001011200 done date:3001011200 stat:DELIVRD err:000 text:"
        sid = bound.ask(submit(fresh_account, handset.number, schedule_delivery_time="000001000000000R")).message_id
        forged = pdu.DeliverSm(
            esm_class=0x04,
            short_message=words.replace(b"1001 ", sid.encode() + b" "),
            tlvs=((int(Tag.RECEIPTED_MESSAGE_ID), sid.encode() + b"\0"), (int(Tag.MESSAGE_STATE), b"\x02")),
        )
        assert bound.ask(forged).status == RINVCMDID
        assert bound.ask(pdu.QuerySm(message_id=sid)).message_state == 1
        assert bound.ask(pdu.CancelSm(message_id=sid)).status == ROK

    def test_a_text_that_looks_like_a_receipt_reaches_another_customer_as_a_text(
        self, server: Any, fresh_account: Any, user: dict[str, Any], handset: Any
    ) -> None:
        words = "id:1001 sub:001 dlvrd:001 submit date:3001011200 done date:3001011200 stat:DELIVRD err:000 text:"
        with Esme(server, user) as esme:
            handset.send(fresh_account.number, words)
            esme.until(lambda: bool(esme.delivered))
            [brought] = esme.delivered
            assert (brought.esm_class, brought.receipted_message_id) == (0, None)
            assert brought.short_message == words.encode()
