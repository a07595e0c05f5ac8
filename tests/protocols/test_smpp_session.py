"""SMPP sessions: what may be said when, windows, timers, and a day of a link in moments."""

import random
from typing import Any

import pytest

from onterms.protocols.smpp import (
    Answered,
    Bound,
    Closed,
    Command,
    NotBound,
    Requested,
    Session,
    Status,
    Timers,
    Unanswered,
    WindowFull,
    codec,
    pdu,
)

SUBMIT = Command.SUBMIT_SM
BINDS = {"bound_tx": pdu.BindTransmitter, "bound_rx": pdu.BindReceiver, "bound_trx": pdu.BindTransceiver}


def frames(data: bytes) -> list[Any]:
    return [codec.decode(frame) for frame in codec.Reader().feed(data)]


class Link:
    """A client and an SMSC joined by nothing but their bytes."""

    def __init__(self, state: str = "bound_trx", **settings: Any) -> None:
        self.now = 0.0
        self.esme = Session("esme", 0.0, **settings)
        self.smsc = Session("smsc", 0.0, **settings)
        self.events: dict[str, list[Any]] = {"esme": [], "smsc": []}
        if state != "open":
            self.esme.request(BINDS[state](system_id="acme", password="x"), 0.0)
            self.exchange()
            [asked] = self.take("smsc")
            self.events["smsc"] += self.smsc.reply(asked.pdu, system_id="smsc", tlvs=((0x0210, b"\x34"),))
            self.exchange()
            assert self.take("smsc") == [Bound(state, "acme", 0x34)]  # type: ignore[arg-type]
            assert self.take("esme")[-1] == Bound(state, "smsc", 0x34)  # type: ignore[arg-type]

    def exchange(self) -> None:
        while True:
            to_smsc, to_esme = self.esme.output(), self.smsc.output()
            if not to_smsc and not to_esme:
                return
            self.events["smsc"] += self.smsc.receive(to_smsc, self.now)
            self.events["esme"] += self.esme.receive(to_esme, self.now)

    def take(self, side: str) -> list[Any]:
        events, self.events[side] = self.events[side], []
        return events

    def tick(self, now: float) -> None:
        self.now = now
        self.events["esme"] += self.esme.tick(now)
        self.events["smsc"] += self.smsc.tick(now)


class TestBinding:
    def test_refused_bind_closes_the_client(self) -> None:
        link = Link("open")
        link.esme.request(pdu.BindTransceiver(system_id="acme"), 0.0)
        link.exchange()
        [asked] = link.take("smsc")
        assert link.smsc.reply(asked.pdu, Status.RINVPASWD) == []
        link.exchange()
        answered, closed = link.take("esme")
        assert answered.pdu.status == Status.RINVPASWD
        assert isinstance(closed, Closed)
        assert link.smsc.state == "open"

    def test_server_that_names_no_version_speaks_3_3(self) -> None:
        esme = Session("esme", 0.0)
        bind = pdu.BindTransmitter(system_id="acme")
        esme.request(bind, 0.0)
        answer = codec.encode(pdu.BindTransmitterResp(sequence=bind.sequence, system_id="old"))
        assert esme.receive(answer, 0.0)[-1] == Bound("bound_tx", "old", 0x33)

    def test_second_bind_is_refused_as_already_bound(self) -> None:
        link = Link()
        link.smsc.receive(codec.encode(pdu.BindReceiver(sequence=9)), 0.0)
        [answer] = frames(link.smsc.output())
        assert (type(answer), answer.status, answer.sequence) == (pdu.BindReceiverResp, Status.RALYBND, 9)

    def test_connection_without_a_bind_is_closed_after_its_time(self) -> None:
        smsc = Session("smsc", 0.0, timers=Timers(init_s=10))
        assert smsc.next_tick() == 10
        assert smsc.tick(9.9) == []
        assert isinstance(smsc.tick(10.0)[-1], Closed)

    def test_bind_that_nobody_answers_closes_the_client(self) -> None:
        esme = Session("esme", 0.0, timers=Timers(response_s=5))
        esme.request(pdu.BindTransceiver(), 0.0)
        [closed] = esme.tick(5.0)
        assert isinstance(closed, Closed)


# What the SMSC answers a client that asks for something in a state: None where the request reaches the app.
ASKED = [
    ("open", pdu.SubmitSm, Status.RINVBNDSTS),
    ("open", pdu.QuerySm, Status.RINVBNDSTS),
    ("bound_tx", pdu.SubmitSm, None),
    ("bound_rx", pdu.SubmitSm, Status.RINVBNDSTS),
    ("bound_trx", pdu.SubmitSm, None),
    ("bound_tx", pdu.DataSm, None),
    ("bound_rx", pdu.DataSm, None),
    ("bound_trx", pdu.CancelSm, None),
    ("bound_rx", pdu.ReplaceSm, Status.RINVBNDSTS),
    ("bound_trx", pdu.BroadcastSm, None),
    ("bound_trx", pdu.DeliverSm, Status.RINVCMDID),
]


class TestStates:
    @pytest.mark.parametrize(("state", "kind", "status"), ASKED)
    def test_request_reaches_the_app_or_is_refused_by_the_state(
        self, state: str, kind: Any, status: Status | None
    ) -> None:
        link = Link(state)
        events = link.smsc.receive(codec.encode(kind(sequence=5)), 0.0)
        answers = frames(link.smsc.output())
        if status is None:
            assert [type(event) for event in events] == [Requested]
            assert answers == []
        else:
            assert events == []
            assert [(each.status, each.sequence) for each in answers] == [(status, 5)]

    @pytest.mark.parametrize(("state", "kind", "status"), ASKED)
    def test_client_does_not_ask_for_what_its_state_forbids(self, state: str, kind: Any, status: Status | None) -> None:
        link = Link(state)
        if status is None:
            assert link.esme.request(kind(), 0.0) > 0
        else:
            with pytest.raises(NotBound):
                link.esme.request(kind(), 0.0)
            assert link.esme.output() == b""

    def test_server_delivers_to_receivers_only(self) -> None:
        with pytest.raises(NotBound):
            Link("bound_tx").smsc.request(pdu.DeliverSm(), 0.0)
        Link("bound_rx").smsc.request(pdu.DeliverSm(), 0.0)

    def test_alert_and_outbind_are_not_waited_for(self) -> None:
        link = Link()
        link.smsc.request(pdu.AlertNotification(), 0.0)
        assert link.smsc.under_way == 0
        link.exchange()
        [alert] = link.take("esme")
        assert alert.pdu.command == Command.ALERT_NOTIFICATION

    def test_unknown_command_gets_generic_nack_and_the_session_goes_on(self) -> None:
        link = Link()
        link.smsc.receive(codec._HEADER.pack(16, 0x00010200, 0, 44), 0.0)
        [answer] = frames(link.smsc.output())
        assert (type(answer), answer.status, answer.sequence) == (pdu.GenericNack, Status.RINVCMDID, 44)
        assert link.smsc.state == "bound_trx"

    def test_broken_body_is_answered_by_its_own_response(self) -> None:
        link = Link()
        link.smsc.receive(codec._HEADER.pack(18, SUBMIT, 0, 45) + b"\0\1", 0.0)
        [answer] = frames(link.smsc.output())
        assert (type(answer), answer.status, answer.sequence) == (pdu.SubmitSmResp, Status.RINVMSGLEN, 45)

    def test_impossible_length_is_told_and_closes(self) -> None:
        link = Link()
        [closed] = link.smsc.receive(b"\xff" * 12 + (6).to_bytes(4, "big"), 0.0)
        [answer] = frames(link.smsc.output())
        assert (type(answer), answer.status, answer.sequence) == (pdu.GenericNack, Status.RINVCMDLEN, 6)
        assert isinstance(closed, Closed)

    def test_unbind_is_agreed_to_and_ends_both(self) -> None:
        link = Link()
        link.esme.unbind(0.0)
        link.exchange()
        assert [type(event) for event in link.take("smsc") + link.take("esme")] == [Closed, Closed]


class TestWindow:
    def test_full_window_takes_no_more_until_an_answer_comes(self) -> None:
        link = Link(window=3)
        for _ in range(3):
            link.esme.request(pdu.SubmitSm(), 0.0)
        assert not link.esme.can_send
        with pytest.raises(WindowFull):
            link.esme.request(pdu.SubmitSm(), 0.0)
        link.exchange()
        first = link.take("smsc")[0]
        link.smsc.reply(first.pdu, message_id="1")
        link.exchange()
        assert link.esme.can_send
        assert link.esme.under_way == 2

    def test_answers_find_their_requests_in_any_order(self) -> None:
        link = Link()
        for tag in "abc":
            link.esme.request(pdu.SubmitSm(), 0.0, tag)
        link.exchange()
        for place, asked in reversed(list(enumerate(link.take("smsc")))):
            link.smsc.reply(asked.pdu, message_id=str(place))
        link.exchange()
        assert [(each.tag, each.pdu.message_id) for each in link.take("esme")] == [("c", "2"), ("b", "1"), ("a", "0")]

    def test_answer_that_nobody_waits_for_and_one_twice_are_dropped(self) -> None:
        link = Link()
        sequence = link.esme.request(pdu.SubmitSm(), 0.0)
        answer = codec.encode(pdu.SubmitSmResp(sequence=sequence, message_id="1"))
        stranger = codec.encode(pdu.SubmitSmResp(sequence=4711, message_id="2"))
        assert len(link.esme.receive(stranger + answer + answer, 0.0)) == 1

    def test_generic_nack_answers_the_request_of_its_number(self) -> None:
        link = Link()
        sequence = link.esme.request(pdu.SubmitSm(), 0.0, "a")
        [answered] = link.esme.receive(codec.encode(pdu.GenericNack(status=3, sequence=sequence)), 0.0)
        assert (answered.tag, answered.pdu.status) == ("a", 3)

    def test_sequence_numbers_come_round_and_leave_out_those_under_way(self) -> None:
        link = Link()
        first = link.esme.request(pdu.SubmitSm(), 0.0)
        link.esme._sequence = codec.SEQUENCE_MAX - 1
        numbers = [link.esme.request(pdu.SubmitSm(), 0.0) for _ in range(first + 1)]
        assert numbers[0] == codec.SEQUENCE_MAX
        assert first not in numbers


class TestTimers:
    def test_request_without_an_answer_is_told_once_and_a_late_answer_dropped(self) -> None:
        link = Link(timers=Timers(response_s=5, enquire_s=0))
        sequence = link.esme.request(pdu.SubmitSm(), 0.0, "a")
        assert link.esme.next_tick() == 5.0
        [unanswered] = link.esme.tick(5.0)
        assert isinstance(unanswered, Unanswered)
        assert unanswered.tag == "a"
        assert link.esme.receive(codec.encode(pdu.SubmitSmResp(sequence=sequence)), 6.0) == []

    def test_silent_link_is_asked_and_lives_when_it_answers(self) -> None:
        link = Link(timers=Timers(enquire_s=30))
        link.tick(30.0)
        link.exchange()
        link.tick(59.0)
        assert link.take("esme") + link.take("smsc") == []
        assert link.esme.state == "bound_trx"

    def test_dead_link_is_closed_and_what_was_under_way_told_before(self) -> None:
        link = Link(timers=Timers(enquire_s=30, response_s=10))
        link.tick(30.0)
        link.esme.output()
        link.esme.request(pdu.SubmitSm(), 35.0, "a")
        link.esme.output()
        link.tick(40.0)
        unanswered, closed = link.take("esme")
        assert (unanswered.tag, type(closed)) == ("a", Closed)
        assert link.esme.next_tick() is None

    def test_link_without_messages_is_unbound_where_the_operator_wants_that(self) -> None:
        link = Link(timers=Timers(enquire_s=0, inactivity_s=100))
        link.tick(100.0)
        link.exchange()
        assert link.esme.state == link.smsc.state == "closed"

    def test_lost_connection_tells_what_was_under_way(self) -> None:
        link = Link()
        link.esme.request(pdu.SubmitSm(), 0.0, "a")
        unanswered, closed = link.esme.lost("reset")
        assert (unanswered.tag, closed) == ("a", Closed("reset"))
        assert link.esme.lost("again") == []


@pytest.mark.parametrize("seed", range(4))
def test_a_day_of_a_link_with_torn_reads_and_losses_answers_each_request_exactly_once(seed: int) -> None:
    chance = random.Random(seed)
    link = Link(window=50, timers=Timers(response_s=20, enquire_s=30))
    asked, ended = set(), []
    received: set[str] = set()
    wires: dict[str, bytearray] = {"esme": bytearray(), "smsc": bytearray()}
    now, number = 0.0, 0

    def heed(side: str, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, Requested):
                received.add(event.pdu.short_message.decode())
                # Now and then an answer is lost in the SMSC, or says no.
                if chance.random() > 0.02:
                    status = Status.RTHROTTLED if chance.random() < 0.05 else 0
                    link.smsc.reply(event.pdu, status, message_id="" if status else "id")
            elif isinstance(event, Answered | Unanswered):
                ended.append(event.tag)
            else:
                raise AssertionError(event)

    while now < 86_400:
        now += chance.choice([0.01, 0.5, 5.0, 40.0, 90.0])
        link.now = now
        while link.esme.can_send and chance.random() < 0.7:
            number += 1
            asked.add(number)
            link.esme.request(pdu.SubmitSm(short_message=str(number).encode()), now, number)
        for _ in range(4):
            wires["smsc"] += link.esme.output()
            wires["esme"] += link.smsc.output()
            for side, session in (("smsc", link.smsc), ("esme", link.esme)):
                while wires[side]:
                    taken = chance.randint(1, 300)
                    heed(side, session.receive(bytes(wires[side][:taken]), now))
                    del wires[side][:taken]
        heed("esme", link.esme.tick(now))
        heed("smsc", link.smsc.tick(now))
    assert link.esme.state == link.smsc.state == "bound_trx"
    heed("esme", link.esme.lost("the day is over")[:-1])
    assert len(ended) == len(set(ended))
    assert set(ended) == asked
    assert received == {str(each) for each in asked}
    assert number > 1000
