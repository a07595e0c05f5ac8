"""Messages for a time of their own: kept, sent in their time, cancelled, redacted."""

from datetime import datetime, timedelta

import pytest


@pytest.fixture
def account(clock_server, monkeypatch):
    """A customer of the server whose clock moves."""
    for name, value in clock_server.env.items():
        monkeypatch.setenv(name, value)
    return clock_server.make_account()


@pytest.fixture
def api(account):
    return account.client()


@pytest.fixture
def service(api, account):
    made = api.messaging.v1.services.create(friendly_name="Reminders")
    api.messaging.v1.services(made.sid).phone_numbers.create(phone_number_sid=account.number_sid)
    return made


@pytest.fixture
def phone(clock_server):
    return clock_server.make_handset()


@pytest.fixture
def schedule(clock_server, api, service, phone):
    """Schedule a message by how long from now."""

    def at(body="Remember", **lead):
        now = datetime.fromisoformat(clock_server.clock(advance_s=0)["now"])
        return api.messages.create(
            messaging_service_sid=service.sid,
            to=phone.number,
            body=body,
            schedule_type="fixed",
            send_at=now + timedelta(**lead),
        )

    return at


def test_message_is_sent_in_its_time_and_charged_then(clock_server, api, account, schedule, phone):
    message = schedule(hours=2)
    assert (message.status, message.from_) == ("scheduled", None)
    before = api.balance.fetch().balance
    clock_server.advance(minutes=119)
    assert phone.bodies() == []
    assert api.messages(message.sid).fetch().status == "scheduled"
    assert api.balance.fetch().balance == before
    clock_server.advance(minutes=2)
    assert phone.bodies() == ["Remember"]
    sent = api.messages(message.sid).fetch()
    assert (sent.status, sent.from_) == ("delivered", account.number)
    assert float(sent.price) < 0


def test_cancelled_message_is_not_sent(clock_server, api, schedule, phone, refused):
    message = schedule(hours=2)
    assert api.messages(message.sid).update(status="canceled").status == "canceled"
    clock_server.advance(hours=3)
    assert phone.bodies() == []
    assert api.messages(message.sid).fetch().status == "canceled"
    with refused(30409, 409):
        api.messages(message.sid).update(status="canceled")


def test_message_is_redacted_when_it_ended_only(clock_server, api, schedule, refused):
    message = schedule(hours=2)
    with refused(20009, 409):
        api.messages(message.sid).update(body="")
    api.messages(message.sid).update(status="canceled")
    assert api.messages(message.sid).update(body="").body == ""


def test_who_stopped_meanwhile_gets_nothing(clock_server, api, account, schedule, phone):
    message = schedule(hours=2)
    phone.send(account.number, "STOP")
    clock_server.advance(hours=3)
    failed = api.messages(message.sid).fetch()
    assert (failed.status, failed.error_code) == ("failed", 21610)
    assert "Remember" not in phone.bodies()


def test_service_that_is_gone_meanwhile_fails_the_message(clock_server, api, service, schedule, phone):
    message = schedule(hours=2)
    api.messaging.v1.services(service.sid).delete()
    clock_server.advance(hours=3)
    failed = api.messages(message.sid).fetch()
    assert (failed.status, failed.error_code) == ("failed", 21701)
    assert phone.bodies() == []


@pytest.mark.parametrize("lead", [{"minutes": 14}, {"days": 36}])
def test_time_that_is_too_near_or_too_far_is_refused(schedule, refused, lead):
    with refused(35114):
        schedule(**lead)


def test_what_a_schedule_needs_is_asked_for(api, account, service, phone, refused):
    given = {"to": phone.number, "body": "Remember"}
    with refused(35111):
        api.messages.create(messaging_service_sid=service.sid, schedule_type="fixed", **given)
    with refused(35118):
        api.messages.create(from_=account.number, schedule_type="fixed", send_at="2099-01-01T00:00:00Z", **given)
    with refused(35114):
        api.messages.create(messaging_service_sid=service.sid, schedule_type="fixed", send_at="tomorrow", **given)
    with refused(35126):
        api.messages.create(
            messaging_service_sid=service.sid, schedule_type="soon", send_at="2099-01-01T00:00:00Z", **given
        )
    with refused(20001):
        api.messages.create(messaging_service_sid=service.sid, send_at="2099-01-01T00:00:00Z", **given)
    assert api.messages.list() == []
