"""What is looked at before messages go out: quiet hours where the recipient is, numbers out of service."""

import uuid
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import requests

WAIT_S = 10
ALASKA = ZoneInfo("America/Anchorage")


def toolkit(account, **body):
    return requests.put(
        f"{account.server.url}/commercial/v1/ComplianceToolkit", json=body, auth=account.auth, timeout=WAIT_S
    )


def now_of(server):
    return datetime.fromisoformat(server.clock(advance_s=0)["now"])


def go_to(server, zone, hour):
    """Move the clock to the next time of day in a zone."""
    now = now_of(server)
    local = now.astimezone(zone)
    target = local.replace(hour=hour, minute=0, second=0, microsecond=0)
    if target <= local:
        target = datetime.combine(local.date() + timedelta(days=1), target.time(), zone)
    server.advance(seconds=(target.astimezone(UTC) - now).total_seconds())


@pytest.fixture
def account(clock_server, monkeypatch):
    for name, value in clock_server.env.items():
        monkeypatch.setenv(name, value)
    return clock_server.make_account("Sleeper")


@pytest.fixture
def client(account):
    return account.client()


@pytest.fixture
def handset(clock_server):
    return clock_server.make_handset()


def send(client, account, handset, body="Offer", **fields):
    return client.messages.create(to=handset.number, from_=account.number, body=body, **fields)


def live_in(client, number, zip_code):
    item = {"contact_id": number, "correlation_id": uuid.uuid4().hex, "country_iso_code": "US", "zip_code": zip_code}
    [told] = client.accounts.v1.bulk_contacts.create(items=[item]).items
    assert told["error_code"] == 0


class TestQuietHours:
    def test_message_at_night_waits_until_morning_with_its_validity(self, clock_server, client, account, handset):
        assert toolkit(account, quiet_hours=True).status_code == 200
        live_in(client, handset.number, "99501")
        go_to(clock_server, ALASKA, 21)
        message = send(client, account, handset, validity_period=600)
        assert handset.bodies() == []
        assert client.messages(message.sid).fetch().status == "queued"
        go_to(clock_server, ALASKA, 7)
        assert handset.bodies() == []
        go_to(clock_server, ALASKA, 8)
        assert handset.bodies() == ["Offer"]
        assert client.messages(message.sid).fetch().status == "delivered"
        send(client, account, handset, "By day")
        assert handset.bodies() == ["Offer", "By day"]

    def test_service_message_waits_too_and_exempt_services_do_not(self, clock_server, client, account, handset):
        services = []
        for name in ("Offers", "Codes"):
            services.append(client.messaging.v1.services.create(friendly_name=name).sid)
        client.messaging.v1.services(services[1]).phone_numbers.create(phone_number_sid=account.number_sid)
        alpha = client.messaging.v1.services(services[0]).short_codes
        given = clock_server.operator(
            "/operator/v1/ShortCodes", {"account_sid": account.sid, "short_code": "67300", "country": "US"}
        )
        alpha.create(short_code_sid=given["sid"])
        toolkit(account, exempt_services=[services[1]])
        live_in(client, handset.number, "99501")
        go_to(clock_server, ALASKA, 23)
        for sid, body in zip(services, ("Offer", "Code"), strict=True):
            client.messages.create(messaging_service_sid=sid, to=handset.number, body=body)
        assert handset.bodies() == ["Code"]
        go_to(clock_server, ALASKA, 8)
        assert handset.bodies() == ["Code", "Offer"]

    def test_scheduled_for_the_night_goes_in_the_morning(self, clock_server, client, account, handset):
        service = client.messaging.v1.services.create(friendly_name="Offers", validity_period=600)
        client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=account.number_sid)
        toolkit(account)
        live_in(client, handset.number, "99501")
        go_to(clock_server, ALASKA, 20)
        client.messages.create(
            messaging_service_sid=service.sid,
            to=handset.number,
            body="Offer",
            schedule_type="fixed",
            send_at=now_of(clock_server) + timedelta(hours=3),
        )
        go_to(clock_server, ALASKA, 7)
        assert handset.bodies() == []
        go_to(clock_server, ALASKA, 8)
        assert handset.bodies() == ["Offer"]
        toolkit(account, exempt_services=[service.sid])
        client.messages.create(
            messaging_service_sid=service.sid,
            to=handset.number,
            body="Code",
            schedule_type="fixed",
            send_at=now_of(clock_server) + timedelta(hours=15),
        )
        go_to(clock_server, ALASKA, 23)
        clock_server.advance(minutes=1)
        assert handset.bodies() == ["Offer", "Code"]

    def test_with_refuse_it_is_30610(self, clock_server, client, account, handset, refused):
        toolkit(account, action="refuse")
        live_in(client, handset.number, "99501")
        go_to(clock_server, ALASKA, 22)
        with refused(30610):
            send(client, account, handset)

    def test_zip_code_stands_before_the_numbers_area(self, clock_server, client, account, handset, refused):
        toolkit(account, action="refuse")
        # In Alaska by number, in New York by ZIP code, four hours ahead.
        live_in(client, handset.number, "10001")
        go_to(clock_server, ZoneInfo("America/New_York"), 20)
        send(client, account, handset)
        go_to(clock_server, ZoneInfo("America/New_York"), 21)
        with refused(30610):
            send(client, account, handset)

    def test_other_countries_accounts_and_replies_go_at_once(self, clock_server, client, account, handset):
        toolkit(account, default_zone="America/New_York")
        live_in(client, handset.number, "99501")
        go_to(clock_server, ALASKA, 22)
        abroad = type(handset)(clock_server, "+447400123457")
        client.messages.create(to=abroad.number, from_=account.number, body="Hello")
        assert abroad.bodies() == ["Hello"]
        handset.send(account.number, "HELP")
        assert len(handset.bodies()) == 1
        other = clock_server.make_account("Awake")
        send(other.client(), other, handset, "Awake")
        assert handset.bodies()[1:] == ["Awake"]

    def test_switched_off_nothing_waits(self, clock_server, client, account, handset):
        toolkit(account)
        assert toolkit(account, enabled=False).json()["enabled"] is False
        live_in(client, handset.number, "99501")
        go_to(clock_server, ALASKA, 22)
        send(client, account, handset)
        assert handset.bodies() == ["Offer"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"quiet_from": "9pm"},
            {"quiet_from": "08:00"},
            {"default_zone": "Moon/Base"},
            {"countries": ["XX"]},
            {"action": "wait"},
            {"exempt_services": ["nothing"]},
        ],
    )
    def test_wrong_setting_is_refused(self, account, wrong):
        answer = toolkit(account, **wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, 20001)


class TestDeactivations:
    def report(self, server, day, *numbers):
        return server.operator("/operator/v1/Deactivations", {"date": day.isoformat(), "numbers": list(numbers)})

    def test_imported_numbers_are_in_the_days_file(self, clock_server, client):
        day = now_of(clock_server).date() - timedelta(days=1)
        numbers = ["+12125550143", "+12125550142"]
        assert self.report(clock_server, day, *numbers)["added"] == 2
        assert self.report(clock_server, day, *numbers)["added"] == 0
        found = client.messaging.v1.deactivations().fetch(date=day)
        file = requests.get(found.redirect_to, timeout=WAIT_S)
        assert file.headers["Content-Type"].startswith("text/plain")
        assert set(numbers) <= set(file.text.splitlines())
        assert file.text.splitlines() == sorted(file.text.splitlines())

    def test_the_answer_is_a_redirect_whose_link_ends(self, clock_server, account):
        day = now_of(clock_server).date()
        answer = requests.get(
            f"{clock_server.url}/v1/Deactivations",
            params={"Date": day.isoformat()},
            headers={"Host": "messaging.twilio.com"},
            auth=account.auth,
            allow_redirects=False,
            timeout=WAIT_S,
        )
        assert answer.status_code == 307
        link = answer.headers["Location"]
        assert answer.json() == {"redirect_to": link}
        assert requests.get(link, timeout=WAIT_S).status_code == 200
        assert requests.get(link.replace(day.isoformat(), "2020-01-01"), timeout=WAIT_S).status_code == 403
        clock_server.advance(minutes=3)
        assert requests.get(link, timeout=WAIT_S).status_code == 403

    def test_missing_future_and_senseless_days_are_refused(self, clock_server, client, refused):
        with refused(30115):
            client.messaging.v1.deactivations().fetch()
        with refused(30114):
            client.messaging.v1.deactivations().fetch(date=now_of(clock_server).date() + timedelta(days=2))
        for wrong in (
            {"date": "2999-01-01", "numbers": ["+12125550142"]},
            {"date": "2026-01-01", "numbers": ["+447400123456"]},
            {"date": "2026-01-01", "numbers": []},
        ):
            answer = requests.post(
                f"{clock_server.url}/operator/v1/Deactivations",
                json=wrong,
                headers={"Authorization": f"Bearer {clock_server.operator_key}"},
                timeout=WAIT_S,
            )
            assert answer.status_code == 400, wrong

    def test_handset_whose_number_is_taken_is_reported_and_gets_nothing(self, clock_server, client, account, handset):
        answer = requests.post(
            f"{clock_server.url}/simulator/v1/handsets/{handset.number}/deactivation", json={}, timeout=WAIT_S
        )
        assert answer.json()["error_code"] == 30005
        day = now_of(clock_server).date()
        link = client.messaging.v1.deactivations().fetch(date=day).redirect_to
        assert handset.number in requests.get(link, timeout=WAIT_S).text
        message = send(client, account, handset)
        clock_server.settle()
        ended = client.messages(message.sid).fetch()
        assert (ended.status, ended.error_code) == ("undelivered", 30005)

    def test_account_may_refuse_what_is_out_of_service(self, clock_server, client, account, handset, refused):
        self.report(clock_server, date(2026, 3, 1), handset.number)
        send(client, account, handset)
        toolkit(account, quiet_hours=False, deactivated_numbers=True)
        with refused(30005):
            send(client, account, handset)
        # Who agreed later has the number now.
        agreed = {"contact_id": handset.number, "sender_id": account.number, "status": "opt-in", "source": "website"}
        client.accounts.v1.bulk_consents.create(
            items=[agreed | {"correlation_id": uuid.uuid4().hex, "date_of_consent": "2026-03-05T00:00:00Z"}]
        )
        send(client, account, handset)

    def test_number_in_other_hands_than_those_that_agreed_is_opted_out(
        self, clock_server, client, account, handset, refused
    ):
        agreed = {"contact_id": handset.number, "sender_id": account.number, "status": "opt-in", "source": "website"}
        client.accounts.v1.bulk_consents.create(
            items=[agreed | {"correlation_id": uuid.uuid4().hex, "date_of_consent": "2026-02-01T00:00:00Z"}]
        )
        toolkit(account, quiet_hours=False, reassigned_numbers=True)
        send(client, account, handset)
        self.report(clock_server, date(2026, 3, 1), handset.number)
        with refused(21610):
            send(client, account, handset)
        toolkit(account, enabled=False)
        with refused(21610):
            send(client, account, handset)
