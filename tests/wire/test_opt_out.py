"""Opting out beside the default words: of numbers, in languages and countries, told by the customer, and listed."""

import uuid

import requests
from twilio.twiml.messaging_response import MessagingResponse

WAIT_S = 10
WORDS = {
    "stop_words": ["HALT"],
    "start_words": ["GO"],
    "help_words": ["WHO"],
    "stop_reply": "Halted",
    "start_reply": "Going",
    "help_reply": "Acme",
}


def put(account, path, body):
    return requests.put(f"{account.server.url}/commercial/v1{path}", json=body, auth=account.auth, timeout=WAIT_S)


def get(account, path, **query):
    return requests.get(f"{account.server.url}/commercial/v1{path}", params=query, auth=account.auth, timeout=WAIT_S)


def consent(to, sender, status="opt-out", **fields):
    given = {"contact_id": to, "sender_id": sender, "status": status, "source": "website"}
    return given | {"correlation_id": uuid.uuid4().hex} | fields


class TestWordsOfANumber:
    def test_words_of_its_own_are_heard_answered_and_announced(
        self, client, fresh_account, handset, webhook, sms_webhook, refused
    ):
        sms_webhook(MessagingResponse())
        path = f"/Numbers/{fresh_account.number_sid}/OptOut"
        assert get(fresh_account, path).json()["own"] is False
        shown = put(fresh_account, path, WORDS).json()
        assert (shown["own"], shown["stop_words"], shown["stop_reply"]) == (True, ["HALT", "STOP"], "Halted")
        handset.send(fresh_account.number, "who")
        assert webhook.heard().fields["OptOutType"] == "HELP"
        handset.send(fresh_account.number, "halt")
        assert webhook.heard().fields["OptOutType"] == "STOP"
        assert handset.bodies() == ["Acme", "Halted"]
        with refused(21610):
            client.messages.create(to=handset.number, from_=fresh_account.number, body="Hello")
        handset.send(fresh_account.number, "Go")
        assert webhook.heard().fields["OptOutType"] == "START"
        client.messages.create(to=handset.number, from_=fresh_account.number, body="Hello")
        assert handset.bodies()[2:] == ["Going", "Hello"]
        gone = requests.delete(
            f"{fresh_account.server.url}/commercial/v1{path}", auth=fresh_account.auth, timeout=WAIT_S
        )
        assert gone.status_code == 204
        handset.send(fresh_account.number, "halt")
        assert "OptOutType" not in webhook.heard().fields
        assert len(handset.bodies()) == 4

    def test_language_is_answered_in_itself_and_a_country_replaces_all(self, server, fresh_account, handset):
        spanish = {"language": "es", **WORDS, "stop_words": ["PARAR"], "stop_reply": "Parado"}
        mexican = {"country": "MX", **WORDS, "stop_words": ["ALTO"], "stop_reply": "Alto"}
        body = WORDS | {"languages": [spanish], "countries": [mexican]}
        shown = put(fresh_account, f"/Numbers/{fresh_account.number_sid}/OptOut", body)
        assert shown.status_code == 200, shown.text
        assert [each["language"] for each in shown.json()["languages"]] == ["es"]
        handset.send(fresh_account.number, "Parar")
        assert handset.bodies() == ["Parado"]
        mexico = type(handset)(server, "+525512345678")
        mexico.send(fresh_account.number, "PARAR")
        mexico.send(fresh_account.number, "HALT")
        mexico.send(fresh_account.number, "alto")
        assert mexico.bodies()[-1:] == ["Alto"] and len(mexico.bodies()) == 1

    def test_words_of_the_service_stand_before_the_numbers(self, client, fresh_account, handset):
        put(fresh_account, f"/Numbers/{fresh_account.number_sid}/OptOut", WORDS)
        service = client.messaging.v1.services.create(friendly_name="Orders")
        client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=fresh_account.number_sid)
        put(fresh_account, f"/MessagingServices/{service.sid}/OptOut", WORDS | {"stop_reply": "The service's"})
        handset.send(fresh_account.number, "HALT")
        assert handset.bodies() == ["The service's"]

    def test_short_code_with_words_handles_them(self, server, client, fresh_account, handset, refused):
        given = server.operator(
            "/operator/v1/ShortCodes", {"account_sid": fresh_account.sid, "short_code": "68200", "country": "US"}
        )
        put(fresh_account, f"/Numbers/{given['sid']}/OptOut", WORDS)
        handset.send("68200", "stop")
        assert handset.bodies() == ["Halted"]
        with refused(21610):
            client.messages.create(to=handset.number, from_="68200", body="Hello")

    def test_wrong_words_and_anothers_number_are_refused(self, server, fresh_account):
        path = f"/Numbers/{fresh_account.number_sid}/OptOut"
        twice = [{"language": "es", **WORDS}, {"language": "es", **WORDS}]
        for wrong in (
            {"stop_words": ["X"]},
            WORDS | {"languages": twice},
            WORDS | {"countries": [{"country": "mx", **WORDS}]},
            WORDS | {"stop_reply": "x" * 481},
        ):
            answer = put(fresh_account, path, wrong)
            assert (answer.status_code, answer.json()["code"]) == (400, 20001), wrong
        stranger = server.make_account("Stranger", with_number=False)
        assert get(stranger, path).status_code == 404
        assert put(stranger, path, WORDS).status_code == 404


class TestConsents:
    def test_told_opt_out_and_opt_in_hold(self, client, fresh_account, handset, refused):
        consents = client.accounts.v1.bulk_consents
        item = consent(handset.number, fresh_account.number)
        told = consents.create(items=[item])
        assert told.items == [{"correlation_id": item["correlation_id"], "error_code": 0, "error_messages": []}]
        with refused(21610):
            client.messages.create(to=handset.number, from_=fresh_account.number, body="Hello")
        back = consent(handset.number, fresh_account.number, "opt-in", date_of_consent="2026-01-02T03:04:05Z")
        consents.create(items=[back])
        client.messages.create(to=handset.number, from_=fresh_account.number, body="Hello")
        assert handset.bodies() == ["Hello"]
        [wish] = get(fresh_account, "/OptOuts", peer=handset.number).json()["items"]
        assert (wish["sender"], wish["opted_out"], wish["source"]) == (fresh_account.number, False, "website")
        assert wish["date_of_consent"].startswith("2026-01-02T03:04:05")

    def test_opt_out_of_a_service_holds_for_its_pool(self, client, fresh_account, handset, refused):
        service = client.messaging.v1.services.create(friendly_name="Orders")
        client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=fresh_account.number_sid)
        client.accounts.v1.bulk_consents.create(items=[consent(handset.number, service.sid)])
        for sender in ({"messaging_service_sid": service.sid}, {"from_": fresh_account.number}):
            with refused(21610):
                client.messages.create(to=handset.number, body="Hello", **sender)

    def test_each_item_answers_for_itself(self, server, client, fresh_account, handset):
        stranger = server.make_account("Stranger", with_number=False)
        foreign = stranger.client().messaging.v1.services.create(friendly_name="Theirs").sid
        wrong = {
            "INVALID_CONTACT_ID": consent("+19", fresh_account.number),
            "INVALID_SENDER_ID": consent(handset.number, foreign),
            "INVALID_STATUS": consent(handset.number, fresh_account.number, "maybe"),
            "INVALID_SOURCE": consent(handset.number, fresh_account.number, source="rumour"),
            "INVALID_DATE_OF_CONSENT": consent(
                handset.number, fresh_account.number, date_of_consent="2999-01-01T00:00:00Z"
            ),
            "INVALID_CORRELATION_ID": consent(handset.number, fresh_account.number, correlation_id="short"),
        }
        told = client.accounts.v1.bulk_consents.create(items=list(wrong.values()))
        assert [(row["error_code"], row["error_messages"]) for row in told.items] == [(30646, [name]) for name in wrong]
        assert get(fresh_account, "/OptOuts").json()["items"] == []
        client.messages.create(to=handset.number, from_=fresh_account.number, body="Hello")

    def test_too_many_or_none_are_refused(self, client, fresh_account, handset, refused):
        with refused(20001):
            client.accounts.v1.bulk_consents.create(
                items=[consent(handset.number, fresh_account.number) for _ in range(26)]
            )
        with refused(20001):
            client.accounts.v1.bulk_contacts.create(items=["not an object"])

    def test_contacts_answer_for_themselves(self, client, handset):
        good = {"contact_id": handset.number, "correlation_id": uuid.uuid4().hex, "country_iso_code": "US"}
        told = client.accounts.v1.bulk_contacts.create(
            items=[
                good | {"zip_code": "99501"},
                good | {"zip_code": "99501"},
                good | {"contact_id": "+19", "correlation_id": uuid.uuid4().hex, "zip_code": "12345"},
            ]
        )
        assert [row["error_code"] for row in told.items] == [0, 30647, 30647]
        assert [row["error_messages"] for row in told.items] == [
            [],
            ["INVALID_CORRELATION_ID"],
            ["INVALID_CONTACT_ID"],
        ]

    def test_list_has_pages_and_only_the_accounts_own(self, server, client, fresh_account):
        peers = [f"+1907556{serial:04d}" for serial in range(101)]
        for start in range(0, 101, 25):
            client.accounts.v1.bulk_consents.create(
                items=[consent(peer, fresh_account.number) for peer in peers[start : start + 25]]
            )
        first = get(fresh_account, "/OptOuts").json()
        second = get(fresh_account, "/OptOuts", next=first["next"]).json()
        assert [row["peer"] for row in first["items"] + second["items"]] == peers
        assert second["next"] is None
        assert get(server.make_account("Stranger", with_number=False), "/OptOuts").json()["items"] == []
