"""Insights by our own route."""

import pytest
import requests

WAIT_S = 10


def insights(account, **query):
    url = f"{account.server.url}/commercial/v1/MessagingInsights"
    return requests.get(url, params=query, auth=account.auth, timeout=WAIT_S)


def test_account_sees_how_its_own_messages_fared(server, client, fresh_account, handset):
    handset.behaves(outcome="undelivered", error_code=30003)
    client.messages.create(to=handset.number, from_=fresh_account.number, body="Lost")
    other = server.make_handset()
    client.messages.create(to=other.number, from_=fresh_account.number, body="There")
    other.send(fresh_account.number, "Back")
    server.settle()
    shown = insights(fresh_account, group_by="direction,status,error_code").json()
    assert shown["counts"] == {"messages": 3, "segments": 3, "delivered": 1, "undelivered": 1, "failed": 0}
    assert {tuple(group["key"].values()): group["counts"]["messages"] for group in shown["groups"]} == {
        ("outbound-api", "delivered", "0"): 1,
        ("outbound-api", "undelivered", "30003"): 1,
        ("inbound", "received", "0"): 1,
    }
    assert shown["latency_s"]["p50"] is not None
    only = insights(fresh_account, status="delivered", country="US", sender=fresh_account.number).json()
    assert (only["counts"]["messages"], only["groups"]) == (1, [])
    stranger = server.make_account("Stranger", with_number=False)
    assert insights(stranger).json()["counts"]["messages"] == 0
    assert requests.get(f"{server.url}/commercial/v1/MessagingInsights", timeout=WAIT_S).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"group_by": "colour"},
        {"group_by": "hour,day,status,country"},
        {"group_by": "hour,hour"},
        {"start": "2030-01-02T00:00:00Z", "end": "2030-01-01T00:00:00Z"},
        {"start": "2020-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z"},
        {"start": "yesterday"},
        {"error_code": "many"},
    ],
)
def test_senseless_question_is_refused(fresh_account, wrong):
    answer = insights(fresh_account, **wrong)
    assert (answer.status_code, answer.json()["code"]) == (400, 20001)
