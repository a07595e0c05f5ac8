"""The SMPP server, as clients that were not written here use it, and as hostile ones try it."""

import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import smpplib.client
import smpplib.exceptions
import smpplib.gsm
import smpplib.smpp
from esme import (
    RBINDFAIL,
    RCANCELFAIL,
    RINVBNDSTS,
    RINVCMDID,
    RINVDSTADR,
    RINVEXPIRY,
    RINVMSGID,
    RINVPASWD,
    RINVSCHED,
    RINVSRCADR,
    RINVSYSID,
    ROK,
    RREPLACEFAIL,
    RTHROTTLED,
    RX_P_APPN,
    WAIT_S,
    Esme,
    Plain,
    make_user,
    place,
    submit,
)
from twilio.rest import Client

from onterms.protocols.smpp import codec, parts, pdu


def message(account: Any, sid: str) -> dict[str, Any]:
    """What the API shows of a message; empty for one that is not there."""
    answer = requests.get(account.url(f"/Messages/{sid}.json"), auth=account.auth, timeout=WAIT_S)
    return dict(answer.json()) if answer.status_code == 200 else {}


@pytest.fixture
def user(fresh_account: Any) -> dict[str, Any]:
    """An SMPP user of the test's own account."""
    return make_user(fresh_account, numbers=[fresh_account.number])


@pytest.fixture
def esme(server: Any, user: dict[str, Any]) -> Iterator[Esme]:
    """A bound transceiver."""
    with Esme(server, user) as bound:
        yield bound


class TestBinding:
    @pytest.mark.parametrize("kind", ["transmitter", "receiver", "transceiver"])
    def test_each_kind_binds_and_the_operator_sees_it(self, server: Any, user: dict[str, Any], kind: str) -> None:
        with Esme(server, user, kind):
            shown = requests.get(
                f"{server.url}/operator/v1/SmppSessions",
                headers={"Authorization": f"Bearer {server.operator_key}"},
                timeout=WAIT_S,
            ).json()
            [session] = [each for each in shown["items"] if each["system_id"] == user["system_id"]]
            assert (session["kind"], session["interface_version"], session["is_tls"]) == (kind, "3.4", False)

    def test_over_tls_with_the_local_authority(self, server: Any, user: dict[str, Any]) -> None:
        context = ssl.create_default_context(cafile=server.bundle)
        context.check_hostname = False
        with Esme(server, user, at=place(server, "ONTERMS_SMPP_TLS"), ssl_context=context) as bound:
            bound.client.unbind()

    def test_an_account_and_its_key_bind_by_their_sids(self, server: Any, fresh_account: Any) -> None:
        key = fresh_account.client().new_keys.create()
        for system_id, secret in ((fresh_account.sid, fresh_account.token), (key.sid, key.secret)):
            with Plain(server) as plain:
                answer = plain.bind(system_id, secret)
                assert (answer.status, answer.system_id) == (ROK, "onterms")

    def test_a_wrong_name_password_or_kind_is_refused(self, server: Any, fresh_account: Any) -> None:
        user = make_user(fresh_account, bind_types=["transmitter"], password="secret-1")
        for credentials, kind, status in (
            ((user["system_id"], "secret-2"), pdu.BindTransmitter, RINVPASWD),
            (("nobody-at-all", "secret-1"), pdu.BindTransmitter, RINVSYSID),
            ((fresh_account.sid, "0" * 32), pdu.BindTransmitter, RINVPASWD),
            ((fresh_account.test_sid, fresh_account.test_token), pdu.BindTransmitter, RBINDFAIL),
            ((user["system_id"], "secret-1"), pdu.BindReceiver, RBINDFAIL),
        ):
            with Plain(server) as plain:
                assert plain.bind(*credentials, kind=kind).status == status
                assert plain.next() is None

    def test_a_suspended_account_does_not_bind_and_its_sessions_end(self, server: Any, fresh_account: Any) -> None:
        user = make_user(fresh_account)
        with Plain(server) as bound, Plain(server) as late:
            assert bound.bind(user["system_id"], user["password"]).status == ROK
            server.operator(f"/operator/v1/accounts/{fresh_account.sid}/status", {"status": "suspended"})
            try:
                assert late.bind(user["system_id"], user["password"]).status == RBINDFAIL
                # The end of the session may come before the submit does.
                answers = [bound.ask(submit(fresh_account, "+19075550111")), bound.next()]
                assert any(isinstance(answer, pdu.Unbind) for answer in answers)
                others = [answer for answer in answers if answer is not None and not isinstance(answer, pdu.Unbind)]
                assert {answer.status for answer in others} <= {RX_P_APPN}
            finally:
                server.operator(f"/operator/v1/accounts/{fresh_account.sid}/status", {"status": "active"})

    def test_another_address_or_one_bind_too_many_is_refused(self, server: Any, fresh_account: Any) -> None:
        elsewhere = make_user(fresh_account, allowed_ips=["192.0.2.0/24"])
        with pytest.raises(smpplib.exceptions.PDUError) as caught:
            Esme(server, elsewhere)
        assert caught.value.args[1] == RBINDFAIL
        single = make_user(fresh_account, binds=1, allowed_ips=["127.0.0.1"])
        with Esme(server, single):
            with pytest.raises(smpplib.exceptions.PDUError) as caught:
                Esme(server, single)
            assert caught.value.args[1] == RBINDFAIL

    def test_guessing_is_throttled(self, server: Any, user: dict[str, Any]) -> None:
        statuses = []
        for _ in range(40):
            with Plain(server) as plain:
                statuses.append(plain.bind(user["system_id"], "not-that").status)
            if statuses[-1] == RTHROTTLED:
                break
        assert set(statuses) == {RINVPASWD, RTHROTTLED}

    def test_a_user_that_is_removed_is_unbound(self, server: Any, fresh_account: Any) -> None:
        user = make_user(fresh_account)
        url = f"{server.url}/commercial/v1/SmppUsers/{user['sid']}"
        with Plain(server) as bound:
            assert bound.bind(user["system_id"], user["password"]).status == ROK
            stranger = server.make_account("A stranger", with_number=False)
            assert requests.delete(url, auth=stranger.auth, timeout=WAIT_S).status_code == 404
            assert requests.delete(url, auth=fresh_account.auth, timeout=WAIT_S).status_code == 204
            assert isinstance(bound.next(), pdu.Unbind)
        with pytest.raises(smpplib.exceptions.PDUError) as caught:
            Esme(server, user)
        assert caught.value.args[1] == RINVSYSID

    def test_a_user_is_changed_and_who_was_bound_binds_again(self, server: Any, fresh_account: Any) -> None:
        user = make_user(fresh_account, numbers=[fresh_account.number])
        url = f"{server.url}/commercial/v1/SmppUsers/{user['sid']}"

        def change(auth: tuple[str, str] = fresh_account.auth, **fields: Any) -> tuple[int, dict[str, Any]]:
            answer = requests.post(url, json=fields, auth=auth, timeout=WAIT_S)
            return answer.status_code, answer.json()

        with Plain(server) as bound:
            assert bound.bind(user["system_id"], user["password"]).status == ROK
            status, shown = change(password="changed1", window=7, bind_types=["transceiver"])
            assert (status, shown["window"], shown["bind_types"], shown["password"]) == (200, 7, ["transceiver"], None)
            assert (shown["system_id"], shown["numbers"], shown["rate"]) == (
                user["system_id"],
                [fresh_account.number],
                user["rate"],
            )
            assert isinstance(bound.next(), pdu.Unbind)
        with pytest.raises(smpplib.exceptions.PDUError) as caught:
            Esme(server, user)
        assert caught.value.args[1] == RINVPASWD
        with Esme(server, user | {"password": "changed1"}):
            pass
        assert change(numbers=[])[1]["numbers"] == []
        for wrong in ({"password": "x"}, {"numbers": [server.number]}, {"allowed_ips": ["here"]}, {"system_id": "new"}):
            status, shown = change(**wrong)
            assert (status, shown["code"]) == (400, 20001), wrong
        assert change(server.make_account("A stranger", with_number=False).auth, window=1)[0] == 404

    def test_a_name_is_one_users_and_its_password_is_shown_once(self, server: Any, fresh_account: Any) -> None:
        user = make_user(fresh_account, system_id=f"name-{fresh_account.sid[-6:]}")
        assert len(user["password"]) == 8
        base = f"{server.url}/commercial/v1/SmppUsers"
        again = requests.post(base, json={"system_id": user["system_id"]}, auth=fresh_account.auth, timeout=WAIT_S)
        assert (again.status_code, again.json()["code"]) == (409, 20409)
        [shown] = requests.get(base, auth=fresh_account.auth, timeout=WAIT_S).json()["items"]
        assert (shown["system_id"], shown["password"]) == (user["system_id"], None)

    def test_a_number_of_another_account_is_not_given_to_a_user(self, server: Any, fresh_account: Any) -> None:
        answer = requests.post(
            f"{server.url}/commercial/v1/SmppUsers",
            json={"system_id": "greedy", "numbers": [server.number]},
            auth=fresh_account.auth,
            timeout=WAIT_S,
        )
        assert (answer.status_code, answer.json()["code"]) == (400, 20001)


class TestSubmitting:
    def test_a_message_reaches_the_handset_and_its_receipt_the_client(
        self, server: Any, fresh_account: Any, handset: Any, esme: Esme
    ) -> None:
        [answer] = esme.send(fresh_account.number, handset.number, "Hello", registered_delivery=1)
        assert answer.status == ROK
        sid = answer.message_id.decode()
        assert handset.bodies() == ["Hello"]
        [receipt] = esme.receipts()
        assert receipt.receipted_message_id.decode().rstrip("\0") == sid
        assert receipt.short_message.startswith(f"id:{sid} sub:001 dlvrd:001".encode())
        assert b"stat:DELIVRD err:000" in receipt.short_message
        shown = message(fresh_account, sid)
        assert (shown["status"], shown["body"], shown["direction"]) == ("delivered", "Hello", "outbound-api")
        server.settle()
        assert message(fresh_account, sid)["price"] is not None

    def test_a_long_message_is_one_resource_whatever_the_order_of_its_parts(
        self, fresh_account: Any, handset: Any, esme: Esme
    ) -> None:
        text = "A text that takes some parts. " * 12
        answers = esme.send(fresh_account.number, handset.number, text, registered_delivery=1)
        [sid] = {answer.message_id.decode() for answer in answers}
        assert len(answers) == 3
        assert handset.bodies() == [text]
        assert message(fresh_account, sid)["num_segments"] == "3"
        assert len(esme.receipts()) == 1

    @pytest.mark.parametrize("long", ["udh", "udh16", "sar", "payload"])
    def test_each_way_of_long_messages_is_understood(
        self, server: Any, fresh_account: Any, handset: Any, user: dict[str, Any], long: Any
    ) -> None:
        text = "Grüße 👋 an alle, und noch etwas mehr davon. " * 5
        with Plain(server) as plain:
            plain.bind(user["system_id"], user["password"])
            sids = set()
            for part in reversed(parts(text, 77, long=long)):
                request = submit(
                    fresh_account,
                    handset.number,
                    esm_class=part.esm_class,
                    data_coding=part.data_coding,
                    short_message=part.short_message,
                    tlvs=part.tlvs,
                )
                answer = plain.ask(request)
                assert answer.status == ROK
                sids.add(answer.message_id)
            assert len(sids) == 1
        assert handset.bodies() == [text]

    def test_a_part_whose_others_never_come_goes_alone(self, clock_server: Any) -> None:
        account, handset = clock_server.make_account(), clock_server.make_handset()
        user = make_user(account)
        with Plain(clock_server) as plain:
            plain.bind(user["system_id"], user["password"])
            part = parts("x" * 300, 5)[1]
            answer = plain.ask(
                submit(account, handset.number, esm_class=part.esm_class, short_message=part.short_message)
            )
        clock_server.advance(seconds=60)
        assert handset.bodies() == [] and message(account, answer.message_id) == {}
        clock_server.advance(minutes=5)
        assert handset.bodies() == ["x" * 147]
        assert message(account, answer.message_id)["status"] == "delivered"

    def test_addresses_are_read_however_they_are_written(
        self, server: Any, fresh_account: Any, handset: Any, user: dict[str, Any]
    ) -> None:
        digits, own = handset.number[1:], fresh_account.number[1:]
        with Plain(server) as plain:
            plain.bind(user["system_id"], user["password"])
            for ton, number in ((1, digits), (0, "+" + digits), (0, digits), (0, "00" + digits), (2, digits[1:])):
                request = submit(
                    fresh_account,
                    handset.number,
                    f"{ton} {number}",
                    source=pdu.Address(2 if ton == 2 else ton, 1, own),
                    destination=pdu.Address(ton, 1, number),
                )
                assert plain.ask(request).status == ROK
        assert len(handset.bodies()) == 5

    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({"destination": pdu.Address(1, 1, "12")}, RINVDSTADR),
            ({"source": pdu.Address(1, 1, "15005550006")}, RINVSRCADR),
            ({"source": pdu.Address(5, 0, "!!!")}, RINVSRCADR),
            ({"short_message": b""}, 0x01),
            ({"schedule_delivery_time": "tomorrow"}, RINVSCHED),
            ({"validity_period": "000000000000000X"}, RINVEXPIRY),
            ({"data_coding": 4}, 0x45),
            ({"replace_if_present_flag": 1}, 0x54),
        ],
    )
    def test_a_refusal_has_a_status_of_smpp(
        self, server: Any, fresh_account: Any, handset: Any, user: dict[str, Any], fields: Any, status: int
    ) -> None:
        with Plain(server) as plain:
            plain.bind(user["system_id"], user["password"])
            answer = plain.ask(submit(fresh_account, handset.number, **fields))
            assert (answer.status, answer.message_id, answer.tlvs) == (status, "", ())
            assert plain.ask(submit(fresh_account, handset.number)).status == ROK

    def test_a_client_of_5_0_is_told_the_code_and_its_words(
        self, server: Any, fresh_account: Any, handset: Any, user: dict[str, Any]
    ) -> None:
        with Plain(server) as plain:
            plain.bind(user["system_id"], user["password"], 0x50)
            stranger = server.make_account("A stranger")
            answer = plain.ask(submit(fresh_account, handset.number, source=pdu.Address(1, 1, stranger.number[1:])))
            words = pdu.tlv(answer, 0x001D)
            assert answer.status == RINVSRCADR and words is not None and words.startswith(b"21606 ")
            broadcast = plain.ask(pdu.BroadcastSm())
            assert (broadcast.status, pdu.tlv(broadcast, 0x001D)) == (
                RINVCMDID,
                b"broadcasts are not served here\0",
            )

    def test_many_recipients_have_a_message_each_and_the_refused_are_named(
        self, server: Any, fresh_account: Any, user: dict[str, Any]
    ) -> None:
        handsets = [server.make_handset() for _ in range(2)]
        with Plain(server) as plain:
            plain.bind(user["system_id"], user["password"])
            answer = plain.ask(
                pdu.SubmitMulti(
                    source=pdu.Address(1, 1, fresh_account.number[1:]),
                    destinations=(*(pdu.Address(1, 1, each.number[1:]) for each in handsets), pdu.Address(1, 1, "12")),
                    short_message=b"To all",
                    registered_delivery=1,
                )
            )
            assert answer.status == ROK
            assert answer.unsuccessful == (pdu.Unsuccessful(pdu.Address(1, 1, "12"), RINVDSTADR),)
            receipts = [plain.next(), plain.next()]
            assert {pdu.tlv(each, 0x001E) for each in receipts} == {answer.message_id.encode() + b"\0"}
            assert {each.source.number for each in receipts} == {each.number[1:] for each in handsets}
        assert [each.bodies() for each in handsets] == [["To all"]] * 2

    def test_data_sm_carries_its_text_in_the_payload(
        self, server: Any, fresh_account: Any, handset: Any, user: dict[str, Any]
    ) -> None:
        with Plain(server) as plain:
            plain.bind(user["system_id"], user["password"])
            answer = plain.ask(
                pdu.DataSm(
                    source=pdu.Address(1, 1, fresh_account.number[1:]),
                    destination=pdu.Address(1, 1, handset.number[1:]),
                    tlvs=((0x0424, b"Data" * 50),),
                )
            )
            assert answer.status == ROK
        assert handset.bodies() == ["Data" * 50]

    def test_what_is_over_the_rate_is_throttled_and_not_kept(
        self, server: Any, fresh_account: Any, handset: Any
    ) -> None:
        user = make_user(fresh_account, rate=2)
        with Plain(server) as plain:
            plain.bind(user["system_id"], user["password"])
            for number in range(6):
                plain.write(submit(fresh_account, handset.number, f"number {number}"))
            statuses = [plain.next().status for _ in range(6)]
        assert statuses.count(ROK) == 2 and statuses.count(RTHROTTLED) == 4
        assert len(handset.bodies()) == 2

    def test_what_is_over_the_window_is_throttled(self, server: Any, fresh_account: Any, handset: Any) -> None:
        user = make_user(fresh_account, window=3)
        with Plain(server) as plain:
            plain.bind(user["system_id"], user["password"])
            requests_ = [
                submit(fresh_account, handset.number, f"number {each}", sequence=each + 9) for each in range(8)
            ]
            plain.socket.sendall(b"".join(codec.encode(each) for each in requests_))
            statuses = [plain.next().status for _ in range(8)]
        assert statuses.count(ROK) == 3 and statuses.count(RTHROTTLED) == 5

    def test_who_may_not_send_does_not(self, server: Any, fresh_account: Any, handset: Any) -> None:
        user = make_user(fresh_account)
        with Esme(server, user, "receiver") as bound, pytest.raises(smpplib.exceptions.PDUError):
            bound.send(fresh_account.number, handset.number, "Hello")
        with Plain(server) as plain:
            assert plain.ask(submit(fresh_account, handset.number)).status == RINVBNDSTS
            plain.bind(user["system_id"], user["password"], kind=pdu.BindReceiver)
            assert plain.ask(submit(fresh_account, handset.number)).status == RINVBNDSTS

    def test_without_funds_it_is_refused_as_at_the_api(self, server: Any, handset: Any, refused: Any) -> None:
        auth = server.sign_up()
        client = Client(*auth)
        listed = client.pricing.v1.phone_numbers.countries("US").fetch().phone_number_prices
        [price] = [row["current_price"] for row in listed if row["number_type"] == "local"]
        server.top_up(auth, f"{price:.2f}")
        [stock] = client.available_phone_numbers("US").local.list(limit=1)
        bought = client.incoming_phone_numbers.create(phone_number=stock.phone_number)
        try:
            with refused(20005, 403):
                client.messages.create(to=handset.number, from_=stock.phone_number, body="Hello")
            with Plain(server) as plain:
                assert plain.bind(*auth, 0x50).status == ROK
                request = pdu.SubmitSm(
                    source=pdu.Address(1, 1, stock.phone_number[1:]),
                    destination=pdu.Address(1, 1, handset.number[1:]),
                    short_message=b"Hello",
                )
                answer = plain.ask(request)
                assert answer.status == RX_P_APPN
                assert (pdu.tlv(answer, 0x001D) or b"").startswith(b"20005 ")
                server.top_up(auth, "1.00")
                assert plain.ask(request).status == ROK
        finally:
            bought.delete()
        assert handset.bodies() == ["Hello"]

    def test_the_timeline_names_the_session(self, server: Any, handset: Any) -> None:
        with Plain(server) as plain:
            plain.bind(server.account_sid, server.auth_token)
            request = pdu.SubmitSm(
                source=pdu.Address(1, 1, server.number[1:]),
                destination=pdu.Address(1, 1, handset.number[1:]),
                short_message=b"Hello",
                registered_delivery=1,
            )
            sid = plain.ask(request).message_id
            receipt = plain.next()
            plain.socket.sendall(codec.encode(codec.response_to(receipt)))
            assert isinstance(plain.ask(pdu.Unbind()), pdu.UnbindResp)
        told: dict[str, Any] = {}
        # What a client answered is written down just after.
        while "message.given_to_smpp" not in told:
            shown = requests.get(f"{server.url}/console/v1/messages/{sid}", timeout=WAIT_S).json()
            told = {each["type"]: each["data"] for each in shown["timeline"]}
        assert told["message.submitted_by_smpp"]["system_id"] == server.account_sid
        assert told["message.given_to_smpp"]["session"] == told["message.submitted_by_smpp"]["session"]


class TestReceipts:
    def test_a_failure_is_reported_with_its_code(
        self, server: Any, fresh_account: Any, handset: Any, esme: Esme
    ) -> None:
        handset.behaves(outcome="undelivered", error_code=30005)
        [answer] = esme.send(fresh_account.number, handset.number, "Hello", registered_delivery=2)
        [receipt] = esme.receipts()
        assert b"stat:UNDELIV err:005" in receipt.short_message
        assert receipt.receipted_message_id.rstrip(b"\0") == answer.message_id

    def test_only_what_was_asked_for_is_reported(self, fresh_account: Any, handset: Any, esme: Esme) -> None:
        for wanted in (0, 2):
            esme.send(fresh_account.number, handset.number, "No receipt", registered_delivery=wanted)
        [answer] = esme.send(fresh_account.number, handset.number, "On success", registered_delivery=3)
        [receipt] = esme.receipts()
        assert receipt.receipted_message_id.rstrip(b"\0") == answer.message_id

    def test_a_receipt_waits_for_whoever_binds_next_and_is_given_once(
        self, server: Any, fresh_account: Any, handset: Any, user: dict[str, Any]
    ) -> None:
        with Esme(server, user, "transmitter") as sending:
            [answer] = sending.send(fresh_account.number, handset.number, "Hello", registered_delivery=1)
        server.settle()
        with Plain(server) as first:
            first.bind(user["system_id"], user["password"], kind=pdu.BindReceiver)
            unanswered = first.next()
            assert isinstance(unanswered, pdu.DeliverSm)
        with Plain(server) as second:
            second.bind(user["system_id"], user["password"], kind=pdu.BindReceiver)
            again = second.next()
            assert pdu.tlv(again, 0x001E) == pdu.tlv(unanswered, 0x001E) == answer.message_id + b"\0"
            second.socket.sendall(codec.encode(codec.response_to(again)))
            assert isinstance(second.ask(pdu.Unbind()), pdu.UnbindResp)
        with Plain(server) as third:
            third.bind(user["system_id"], user["password"], kind=pdu.BindReceiver)
            assert isinstance(third.ask(pdu.Unbind()), pdu.UnbindResp)

    def test_a_receipt_is_another_users_business(
        self, server: Any, fresh_account: Any, handset: Any, esme: Esme
    ) -> None:
        other = make_user(fresh_account)
        with Plain(server) as plain:
            plain.bind(other["system_id"], other["password"])
            esme.send(fresh_account.number, handset.number, "Hello", registered_delivery=1)
            esme.receipts()
            assert isinstance(plain.ask(pdu.EnquireLink()), pdu.EnquireLinkResp)
            assert plain.got == []

    def test_receipts_are_given_up_after_three_days(self, clock_server: Any) -> None:
        account, handset = clock_server.make_account(), clock_server.make_handset()
        user = make_user(account)
        with Esme(clock_server, user, "transmitter") as sending:
            sending.send(account.number, handset.number, "Hello", registered_delivery=1)
        clock_server.settle()
        clock_server.advance(hours=73)
        with Plain(clock_server) as plain:
            plain.bind(user["system_id"], user["password"])
            assert isinstance(plain.ask(pdu.EnquireLink()), pdu.EnquireLinkResp)
            assert plain.got == []


class TestInbound:
    def test_a_message_to_the_users_number_comes_as_deliver_sm(
        self, fresh_account: Any, handset: Any, esme: Esme
    ) -> None:
        handset.send(fresh_account.number, "Good morning")
        esme.until(lambda: len(esme.delivered) == 1)
        [delivered] = esme.delivered
        assert delivered.short_message == b"Good morning"
        assert (delivered.source_addr.decode(), delivered.destination_addr.decode()) == (
            handset.number[1:],
            fresh_account.number[1:],
        )

    def test_a_long_one_comes_in_parts(self, fresh_account: Any, handset: Any, esme: Esme) -> None:
        text = "\u4f60\u597d " * 50
        handset.send(fresh_account.number, text)
        esme.until(lambda: len(esme.delivered) == 3)
        assert "".join(each.short_message[6:].decode("utf-16-be") for each in esme.delivered) == text

    def test_stop_is_heard_and_the_next_submit_refused(
        self, fresh_account: Any, handset: Any, esme: Esme, server: Any
    ) -> None:
        handset.send(fresh_account.number, "STOP")
        esme.until(lambda: len(esme.delivered) == 1)
        server.settle()
        [answer] = esme.send(fresh_account.number, handset.number, "Hello?")
        assert answer.status == RX_P_APPN

    def test_a_busy_client_gets_it_later(self, clock_server: Any) -> None:
        account, handset = clock_server.make_account(), clock_server.make_handset()
        user = make_user(account, numbers=[account.number])
        with Plain(clock_server) as plain:
            plain.bind(user["system_id"], user["password"])
            handset.send(account.number, "Hello")
            first = plain.next()
            plain.socket.sendall(codec.encode(codec.response_to(first, 0x14)))
            assert isinstance(plain.ask(pdu.EnquireLink()), pdu.EnquireLinkResp)
            clock_server.advance(minutes=1)
            again = plain.next()
            assert again.short_message == first.short_message == b"Hello"


class TestLater:
    def test_what_waits_is_asked_for_replaced_and_taken_back(
        self, server: Any, fresh_account: Any, handset: Any, user: dict[str, Any]
    ) -> None:
        own, theirs = pdu.Address(1, 1, fresh_account.number[1:]), pdu.Address(1, 1, handset.number[1:])
        with Plain(server) as plain:
            plain.bind(user["system_id"], user["password"])
            sid = plain.ask(
                submit(fresh_account, handset.number, "Before", schedule_delivery_time="000001000000000R")
            ).message_id
            asked = plain.ask(pdu.QuerySm(message_id=sid, source=own))
            assert (asked.status, asked.message_state, asked.final_date) == (ROK, 1, "")
            assert plain.ask(pdu.ReplaceSm(message_id=sid, source=own, short_message=b"After")).status == ROK
            assert message(fresh_account, sid)["body"] == "After"
            longer = pdu.ReplaceSm(message_id=sid, source=own, short_message=b"x" * 200)
            assert plain.ask(longer).status == RREPLACEFAIL
            cancel = pdu.CancelSm(message_id=sid, source=own, destination=theirs)
            assert plain.ask(cancel).status == ROK
            assert plain.ask(cancel).status == RCANCELFAIL
            asked = plain.ask(pdu.QuerySm(message_id=sid, source=own))
            assert (asked.message_state, len(asked.final_date)) == (4, 16)
            unknown = "SM" + "0" * 32
            assert plain.ask(pdu.QuerySm(message_id=unknown, source=own)).status == RINVMSGID
        assert message(fresh_account, sid)["status"] == "canceled"
        assert handset.bodies() == []

    def test_another_tenants_message_is_not_there(
        self, server: Any, fresh_account: Any, handset: Any, user: dict[str, Any]
    ) -> None:
        stranger = server.make_account("A stranger", with_number=False)
        with Plain(server) as mine, Plain(server) as theirs:
            mine.bind(user["system_id"], user["password"])
            sid = mine.ask(submit(fresh_account, handset.number, schedule_delivery_time="000001000000000R")).message_id
            theirs.bind(stranger.sid, stranger.token)
            assert theirs.ask(pdu.QuerySm(message_id=sid)).status == RINVMSGID
            assert theirs.ask(pdu.CancelSm(message_id=sid)).status == RCANCELFAIL
            assert theirs.ask(pdu.ReplaceSm(message_id=sid, short_message=b"Mine")).status == RINVMSGID
            assert mine.ask(pdu.CancelSm(message_id=sid)).status == ROK

    def test_a_scheduled_message_goes_when_it_is_due_and_not_when_it_is_too_late(self, clock_server: Any) -> None:
        account, handset = clock_server.make_account(), clock_server.make_handset()
        user = make_user(account)
        with Plain(clock_server) as plain:
            plain.bind(user["system_id"], user["password"])
            request = submit(account, handset.number, "Later", schedule_delivery_time="000000020000000R")
            assert plain.ask(request).status == ROK
            late = submit(
                account, handset.number, schedule_delivery_time="000000020000000R", validity_period="000000010000000R"
            )
            assert plain.ask(late).status == RINVEXPIRY
        clock_server.advance(hours=1)
        assert handset.bodies() == []
        clock_server.advance(hours=1, seconds=5)
        assert handset.bodies() == ["Later"]

    def test_a_scheduled_message_waits_for_its_carrier_from_its_own_time_on(self, clock_server: Any) -> None:
        account, handset = clock_server.make_account(), clock_server.make_handset()
        user = make_user(account)
        handset.behaves(outcome="unreachable")
        with Plain(clock_server) as plain:
            plain.bind(user["system_id"], user["password"])
            assert (
                plain.ask(submit(account, handset.number, "Patience", schedule_delivery_time="000000120000000R")).status
                == ROK
            )
        clock_server.advance(hours=12, minutes=1)
        handset.behaves(outcome="delivered")
        clock_server.advance(minutes=1)
        assert handset.bodies() == ["Patience"]


class TestTheLink:
    def test_enquire_link_is_answered_bound_or_not(self, server: Any, user: dict[str, Any]) -> None:
        with Plain(server) as plain:
            assert isinstance(plain.ask(pdu.EnquireLink()), pdu.EnquireLinkResp)
            plain.bind(user["system_id"], user["password"])
            assert isinstance(plain.ask(pdu.EnquireLink()), pdu.EnquireLinkResp)
            assert isinstance(plain.ask(pdu.Unbind()), pdu.UnbindResp)
            assert plain.next() is None

    def test_torn_bytes_are_one_message(
        self, server: Any, fresh_account: Any, handset: Any, user: dict[str, Any]
    ) -> None:
        with Plain(server) as plain:
            plain.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.bind(user["system_id"], user["password"])
            data = codec.encode(submit(fresh_account, handset.number, "Torn", sequence=9))
            for at in range(len(data)):
                plain.socket.sendall(data[at : at + 1])
            assert plain.next().status == ROK
        assert handset.bodies() == ["Torn"]

    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\x00\x00\x00\x00" * 4,
            b"\xff" * 64,
            b"\x00\x00\x00\x0f" + b"\x00" * 12,
        ],
    )
    def test_what_is_no_smpp_is_refused_and_cut_off(self, server: Any, data: bytes) -> None:
        with Plain(server) as plain:
            plain.socket.sendall(data)
            assert isinstance(plain.next(), pdu.GenericNack)
            assert plain.next() is None

    @pytest.mark.parametrize(
        ("command", "body"),
        [(0x04, b""), (0x04, b"\xff" * 300), (0x21, b"\x00\x01\x01\x00\xff"), (0x0777, b"\x00"), (0x103, b"a" * 99)],
    )
    def test_a_pdu_that_cannot_be_read_is_refused_and_the_next_one_served(
        self, server: Any, fresh_account: Any, handset: Any, user: dict[str, Any], command: int, body: bytes
    ) -> None:
        with Plain(server) as plain:
            plain.bind(user["system_id"], user["password"])
            head = b"".join(value.to_bytes(4, "big") for value in (16 + len(body), command, 0, 42))
            plain.socket.sendall(head + body)
            answer = plain.next()
            assert answer.status != ROK and answer.sequence == 42
            assert plain.ask(submit(fresh_account, handset.number)).status == ROK

    def test_a_client_that_goes_without_a_word_leaves_nothing_behind(
        self, server: Any, fresh_account: Any, handset: Any
    ) -> None:
        user = make_user(fresh_account, binds=1)
        for _ in range(3):
            with Plain(server) as plain:
                while plain.socket.fileno() >= 0:
                    if plain.bind(user["system_id"], user["password"]).status == ROK:
                        break
                    # Its session of a moment ago is just being forgotten.
                    plain.socket.close()
                    plain.__init__(server)  # type: ignore[misc]
                plain.write(submit(fresh_account, handset.number))

    def test_kill_9_loses_no_submit_that_was_answered(self, server: Any) -> None:
        with install(server) as own:
            account, handset = own.make_account(), own.make_handset()
            user = make_user(account)
            answered: list[str] = []
            with Plain(own) as plain:
                plain.bind(user["system_id"], user["password"], kind=pdu.BindTransmitter)
                for number in range(500):
                    request = submit(account, handset.number, f"number {number}", registered_delivery=1)
                    plain.socket.sendall(codec.encode(msgspec.structs.replace(request, sequence=number + 9)))
                with contextlib.suppress(OSError):
                    while (answer := plain.next()) is not None:
                        assert answer.status == ROK
                        answered.append(answer.message_id)
                        if len(answered) == 100:
                            own.process.kill()
            assert len(answered) >= 100
            own.process.wait()
            start(own)
            assert all(message(account, sid) for sid in answered)
            missing = set(answered)
            with Plain(own) as again:
                again.bind(user["system_id"], user["password"], kind=pdu.BindReceiver)
                while missing:
                    receipt = again.next()
                    missing.discard((pdu.tlv(receipt, 0x001E) or b"").decode().rstrip("\0"))
                    again.socket.sendall(codec.encode(codec.response_to(receipt)))

    def test_a_stop_unbinds_who_is_bound(self, start_server: Any) -> None:
        with start_server({}) as server:
            user = make_user(server.make_account())
            with Plain(server) as plain:
                plain.bind(user["system_id"], user["password"])
                server.process.send_signal(signal.SIGTERM)
                goodbye = plain.next()
                assert isinstance(goodbye, pdu.Unbind)
                plain.socket.sendall(codec.encode(codec.response_to(goodbye)))
                assert plain.next() is None


@contextlib.contextmanager
def install(server: Any) -> Iterator[Any]:
    """An install of the test's own, which it may kill."""
    folder = Path(tempfile.mkdtemp(prefix="onterms-smpp-"))
    # The database runs as another user where the tests run as root.
    folder.chmod(0o755)
    environment = dict(server.environment) | {"ONTERMS_DATA": str(folder / "data")}
    del environment["ONTERMS_TLS_PORT"]
    own = type(server)(None, folder, {}, environment)
    start(own)
    try:
        yield own
    finally:
        own.process.send_signal(signal.SIGTERM)
        own.process.wait(30)
        own.process.stdout.close()
        logged = (folder / "log").read_text()
        shutil.rmtree(folder)
    assert "Traceback" not in logged and " ERROR " not in logged, logged


def start(own: Any) -> None:
    """Start an install, or start it again after a kill."""
    if own.process is not None:
        own.process.stdout.close()
    with (own.folder / "log").open("ab") as log:
        own.process = subprocess.Popen(
            [sys.executable, "-m", "onterms.app.cli", "up"],
            env=own.environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=own.folder,
        )
    for line in own.process.stdout:
        if "TLS 127.0.0.1:" in line:
            break
    own.env.update(json.loads((own.folder / "data" / "env.json").read_text()))


class TestShortCodes:
    def test_a_short_code_is_sent_from_and_written_to(self, server: Any, fresh_account: Any, handset: Any) -> None:
        body = {"account_sid": fresh_account.sid, "short_code": "69100", "country": "US"}
        given = server.operator("/operator/v1/ShortCodes", body)
        user = make_user(fresh_account, numbers=["69100"])
        with Esme(server, user) as esme:
            [answer] = esme.send("69100", handset.number, "Hello", source_addr_ton=3, source_addr_npi=0)
            assert answer.status == ROK
            assert [message["from"] for message in handset.messages()] == ["69100"]
            handset.send("69100", "A vote")
            esme.until(lambda: bool(esme.delivered))
            [brought] = esme.delivered
            assert (brought.dest_addr_ton, brought.destination_addr) == (3, b"69100")
            assert brought.short_message == b"A vote"
        requests.delete(
            f"{server.url}/operator/v1/ShortCodes/{given['sid']}",
            headers={"Authorization": f"Bearer {server.operator_key}"},
            timeout=WAIT_S,
        )
