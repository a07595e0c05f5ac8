"""Senders' queues: rates, order, depth, validity, and what becomes of a queue when its rate, number or account ends.

The clock is held while messages are sent, so that each goes exactly when its place comes.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests

WAIT_S = 10


@pytest.fixture
def still(clock_server: Any) -> Iterator[Any]:
    """The server with its clock held."""
    clock_server.clock(hold=True)
    yield clock_server
    clock_server.clock(release=True)


class _Operator:
    def __init__(self, server: Any) -> None:
        self._url = server.url + "/operator/v1"
        self._headers = {"Authorization": f"Bearer {server.operator_key}"}

    def put_rate(self, per_s: float, **of: str) -> str:
        answer = requests.put(
            f"{self._url}/SenderRates", json={"segments_per_s": per_s, **of}, headers=self._headers, timeout=WAIT_S
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["sid"])

    def drop_rate(self, sid: str) -> None:
        answer = requests.delete(f"{self._url}/SenderRates/{sid}", headers=self._headers, timeout=WAIT_S)
        assert answer.status_code == 204, answer.text

    def queues(self) -> list[dict[str, Any]]:
        answer = requests.get(f"{self._url}/SenderQueues", headers=self._headers, timeout=WAIT_S)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]


@pytest.fixture
def operator(still: Any) -> _Operator:
    return _Operator(still)


@pytest.fixture
def rated(still: Any, operator: _Operator, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Make an account whose number sends that many segments a second."""
    for name, value in still.env.items():
        monkeypatch.setenv(name, value)

    def make(per_s: float, name: str = "Rated") -> Any:
        account = still.make_account(name)
        operator.put_rate(per_s, account_sid=account.sid, sender=account.number)
        still.settle()
        return account

    return make


def _now(server: Any) -> datetime:
    return datetime.fromisoformat(server.clock(advance_s=0)["now"])


def _queue(account: Any, server: Any) -> dict[str, Any]:
    answer = requests.get(f"{server.url}/commercial/v1/SenderQueues", auth=account.auth, timeout=WAIT_S)
    assert answer.status_code == 200, answer.text
    [queue] = answer.json()["items"]
    return queue


def test_five_messages_at_one_segment_a_second_arrive_a_second_apart(still: Any, rated: Callable[..., Any]) -> None:
    account, handset = rated(1), still.make_handset()
    client = account.client()
    for number in range(5):
        client.messages.create(to=handset.number, from_=account.number, body=f"n{number}")
    arrived = [handset.bodies()]
    for _ in range(4):
        still.advance(seconds=1, milliseconds=1)
        arrived.append(handset.bodies())
    assert [len(each) for each in arrived] == [1, 2, 3, 4, 5]
    assert sorted(arrived[-1]) == [f"n{number}" for number in range(5)]
    assert "n0" in arrived[0] and "n1" in arrived[1]


def test_a_long_message_takes_as_many_places_as_it_has_segments(still: Any, rated: Callable[..., Any]) -> None:
    account, handset = rated(1), still.make_handset()
    client = account.client()
    client.messages.create(to=handset.number, from_=account.number, body="x" * 400)
    client.messages.create(to=handset.number, from_=account.number, body="after")
    still.advance(seconds=2, milliseconds=2)
    assert len(handset.bodies()) == 1
    still.advance(seconds=1, milliseconds=1)
    assert "after" in handset.bodies()


def test_a_full_queue_refuses_with_21611_and_shows_its_depth(
    still: Any, operator: _Operator, rated: Callable[..., Any], refused: Any
) -> None:
    account, handset = rated(0.01), still.make_handset()
    client = account.client()
    # 360 segments are ten hours; the first went at once, and its time counts.
    for number in range(36):
        client.messages.create(to=handset.number, from_=account.number, body=f"{number:04d}" + "x" * 1500)
    with refused(21611):
        client.messages.create(to=handset.number, from_=account.number, body="one too many")
    queue = _queue(account, still)
    assert (queue["queue"], queue["segments_per_s"]) == (account.number, 0.01)
    assert (queue["messages_waiting"], queue["segments_waiting"], queue["is_estimate"]) == (35, 350, False)
    assert queue["drained_in_s"] == 36_000
    assert datetime.fromisoformat(queue["oldest_waits_since"]) <= _now(still) + timedelta(milliseconds=1)
    mine = [each for each in operator.queues() if each["account_sid"] == account.sid]
    assert mine == [queue]
    # A thousand seconds later the next has its place again.
    still.advance(seconds=1000)
    client.messages.create(to=handset.number, from_=account.number, body="now it fits")


def test_a_message_whose_place_comes_after_its_validity_fails_with_30036(still: Any, rated: Callable[..., Any]) -> None:
    account, handset = rated(1), still.make_handset()
    client = account.client()
    for _ in range(5):
        client.messages.create(to=handset.number, from_=account.number, body="before")
    late = client.messages.create(to=handset.number, from_=account.number, body="late", validity_period=3)
    still.advance(seconds=10, milliseconds=2)
    found = client.messages(late.sid).fetch()
    assert (found.status, found.error_code) == ("failed", 30036)
    assert "late" not in handset.bodies()


def test_a_long_queue_of_one_tenant_holds_nobody_else_up(still: Any, rated: Callable[..., Any]) -> None:
    slow, other, handset = rated(0.1, "Slow"), still.make_account("Other"), still.make_handset()
    for _ in range(20):
        slow.client().messages.create(to=handset.number, from_=slow.number, body="slow")
    other.client().messages.create(to=handset.number, from_=other.number, body="quick")
    assert sorted(handset.bodies()) == ["quick", "slow"]


def test_a_new_rate_moves_those_who_wait(still: Any, operator: _Operator, rated: Callable[..., Any]) -> None:
    account, handset = rated(0.1), still.make_handset()
    for _ in range(6):
        account.client().messages.create(to=handset.number, from_=account.number, body="x")
    still.settle()
    assert _queue(account, still)["drained_in_s"] == 60
    operator.put_rate(1, account_sid=account.sid, sender=account.number)
    still.advance(seconds=10, milliseconds=2)
    assert len(handset.bodies()) == 2
    still.advance(seconds=2, milliseconds=2)
    assert len(handset.bodies()) == 4
    sid = operator.put_rate(0, account_sid=account.sid, sender=account.number)
    assert len(handset.bodies()) == 6
    operator.drop_rate(sid)


def test_an_account_has_a_rate_for_each_of_its_senders(
    still: Any, operator: _Operator, rated: Callable[..., Any]
) -> None:
    account, handset = still.make_account(), still.make_handset()
    sid = operator.put_rate(1, account_sid=account.sid, sender_type="long_code")
    still.settle()
    for _ in range(3):
        account.client().messages.create(to=handset.number, from_=account.number, body="x")
    assert len(handset.bodies()) == 1
    # Without it those who wait go at once.
    operator.drop_rate(sid)
    assert len(handset.bodies()) == 3


def test_what_waits_when_its_number_is_given_back_is_not_sent(still: Any, rated: Callable[..., Any]) -> None:
    account, handset = rated(1), still.make_handset()
    client = account.client()
    sids = [client.messages.create(to=handset.number, from_=account.number, body="x").sid for _ in range(3)]
    still.settle()
    client.incoming_phone_numbers(account.number_sid).delete()
    still.advance(seconds=5)
    ends = [(each.status, each.error_code) for each in (client.messages(sid).fetch() for sid in sids)]
    assert ends == [("delivered", None), ("failed", 30024), ("failed", 30024)]
    assert len(handset.bodies()) == 1


def test_a_service_spreads_over_its_senders_queues_and_fails_with_30001_when_all_are_full(
    still: Any, operator: _Operator, rated: Callable[..., Any]
) -> None:
    account, handset = rated(0.01), still.make_handset()
    client = account.client()
    second = client.incoming_phone_numbers.create(
        phone_number=client.available_phone_numbers("US").local.list(limit=1)[0].phone_number
    )
    operator.put_rate(0.01, account_sid=account.sid, sender=second.phone_number)
    still.settle()
    service = client.messaging.v1.services.create(friendly_name="Queues", sticky_sender=False)
    for sid in (account.number_sid, second.sid):
        service.phone_numbers.create(phone_number_sid=sid)
    client.messages.create(to=handset.number, from_=account.number, body="x" * 1000)
    chosen = client.messages.create(to=handset.number, messaging_service_sid=service.sid, body="free one")
    still.settle()
    assert client.messages(chosen.sid).fetch().from_ == second.phone_number
    sids = [
        client.messages.create(to=handset.number, messaging_service_sid=service.sid, body="y" * 1600).sid
        for _ in range(70)
    ]
    still.settle()
    ends = [client.messages(sid).fetch() for sid in sids]
    assert {(each.status, each.error_code) for each in ends} == {("queued", None), ("failed", 30001)}
    assert ends[-1].error_code == 30001
    client.incoming_phone_numbers(second.sid).delete()


def test_a_closed_account_leaves_no_queue(still: Any, operator: _Operator, rated: Callable[..., Any]) -> None:
    account, handset = rated(1), still.make_handset()
    client = account.client()
    sids = [client.messages.create(to=handset.number, from_=account.number, body="x").sid for _ in range(3)]
    still.settle()
    still.operator(f"/operator/v1/accounts/{account.sid}/status", {"status": "suspended"})
    still.advance(seconds=5)
    still.operator(f"/operator/v1/accounts/{account.sid}/status", {"status": "active"})
    ends = [(each.status, each.error_code) for each in (client.messages(sid).fetch() for sid in sids)]
    assert ends == [("delivered", None), ("failed", 30002), ("failed", 30002)]


def test_what_no_carrier_took_goes_at_the_rate_when_it_is_back(still: Any, rated: Callable[..., Any]) -> None:
    account, handset, other = rated(1), still.make_handset(), still.make_handset()
    client = account.client()
    handset.behaves(outcome="unreachable")
    for number in range(4):
        client.messages.create(to=handset.number, from_=account.number, body=f"n{number}")
    client.messages.create(to=other.number, from_=account.number, body="elsewhere")
    still.advance(seconds=30)
    assert (handset.bodies(), other.bodies()) == ([], ["elsewhere"])
    handset.behaves(outcome="delivered")
    counts = [len(handset.bodies())]
    for _ in range(12):
        still.advance(seconds=1, milliseconds=1)
        counts.append(len(handset.bodies()))
    assert counts[-1] == 4
    # In two seconds and a little, three at the most.
    assert max(after - before for before, after in zip(counts, counts[2:], strict=False)) <= 3


def test_a_number_of_no_sense_is_no_rate(still: Any, operator: _Operator) -> None:
    headers = {"Authorization": f"Bearer {still.operator_key}"}
    for body in (
        {"segments_per_s": -1, "sender_type": "alpha"},
        {"segments_per_s": 0.0001, "sender_type": "alpha"},
        {"segments_per_s": 1},
        {"segments_per_s": 1, "sender": "+15005550006"},
        {"segments_per_s": 1, "sender_type": "pigeon"},
    ):
        answer = requests.put(f"{still.url}/operator/v1/SenderRates", json=body, headers=headers, timeout=WAIT_S)
        assert answer.status_code == 400, (body, answer.text)
