"""Content templates by the official client: kept faithfully, filled in, approved; and JSON bodies by the contract."""

import json

import pytest
import requests

WAIT_S = 10

TYPES = {
    "twilio/text": {"body": "Hello {{1}}, your order {{2}} is on its way."},
    "twilio/media": {"body": "Look", "media": ["https://example.com/{{1}}.png"]},
    "twilio/quick-reply": {"body": "Yes?", "actions": [{"type": "QUICK_REPLY", "title": "Yes", "id": "yes"}]},
    "twilio/call-to-action": {
        "body": "Shop",
        "actions": [{"type": "URL", "title": "Go", "url": "https://example.com", "id": "go"}],
    },
    "twilio/list-picker": {"body": "Pick", "button": "Open", "items": [{"id": "a", "item": "A", "description": "x"}]},
    "twilio/location": {"latitude": 52.52, "longitude": 13.405, "label": "Berlin"},
    "twilio/card": {"title": "Card", "subtitle": "Sub", "actions": [{"type": "COPY_CODE", "title": "C", "code": "1"}]},
    "twilio/carousel": {
        "body": "Swipe",
        "cards": [{"title": "1", "body": "b", "media": "https://example.com/1.png", "actions": []}],
    },
    "twilio/catalog": {"body": "Menu", "items": [{"id": "1", "name": "Tea", "price": 2.5}]},
    "whatsapp/card": {
        "body": "Card",
        "footer": "f",
        "actions": [{"type": "PHONE_NUMBER", "title": "Call", "phone": "1"}],
    },
    "whatsapp/authentication": {
        "add_security_recommendation": True,
        "code_expiration_minutes": 5,
        "actions": [{"type": "COPY_CODE", "copy_code_text": "Copy"}],
    },
}


@pytest.fixture
def post(server, fresh_account):
    """Create a template with a body as it is."""

    def create(body):
        return requests.post(
            f"{server.url}/v1/Content",
            headers={"Host": "content.twilio.com", "Content-Type": "application/json"},
            data=body if isinstance(body, str) else json.dumps(body),
            auth=fresh_account.auth,
            timeout=WAIT_S,
        )

    return create


@pytest.fixture
def make(client):
    """Create a template by the official client."""

    def create(types, variables=None, language="en", name="order"):
        body = {"friendly_name": name, "language": language, "variables": variables or {}, "types": types}
        return client.content.v1.contents.create(_AsItIs(body))

    return create


class _AsItIs:
    """What the client sends when it is given a request object: its `to_dict`."""

    def __init__(self, body):
        self._body = body

    def to_dict(self):
        return self._body


class TestKeeping:
    @pytest.mark.parametrize("name", sorted(TYPES))
    def test_type_is_kept_as_it_came(self, client, make, name):
        made = make({name: TYPES[name]}, {"1": "Ann", "2": "17"})
        fetched = client.content.v1.contents(made.sid).fetch()
        assert fetched.types == {name: TYPES[name]}
        assert (fetched.friendly_name, fetched.language, fetched.variables) == ("order", "en", {"1": "Ann", "2": "17"})

    def test_templates_are_listed_searched_and_deleted(self, client, make, refused):
        text = make({"twilio/text": {"body": "Good morning"}}, name="morning")
        media = make({"twilio/media": TYPES["twilio/media"]}, {"1": "a"}, language="fr", name="picture")
        contents = client.content.v1.contents
        assert [row.sid for row in contents.list()] == [media.sid, text.sid]
        search = client.content.v2.contents
        assert [row.sid for row in search.list(language=["fr"])] == [media.sid]
        assert [row.sid for row in search.list(content="MORNING")] == [text.sid]
        assert [row.sid for row in search.list(content_type=["media"])] == [media.sid]
        assert [row.sid for row in search.list(sort_by_content_name="asc")] == [text.sid, media.sid]
        assert contents(text.sid).delete()
        with refused(20404, 404):
            contents(text.sid).fetch()

    @pytest.mark.parametrize(
        ("body", "code", "words"),
        [
            ("{", 20001, "not JSON"),
            ({"language": "en"}, 92001, "types is required"),
            ({"types": {"twilio/text": {"body": "x"}}}, 92003, "language is required"),
            ({"language": "en", "types": {}}, 92001, "at least one"),
            ({"language": "en", "types": {"twilio/poem": {"body": "x"}}}, 92008, "twilio/poem"),
            ({"language": "English", "types": {"twilio/text": {"body": "x"}}}, 92004, "English"),
            ({"language": "en", "types": {"twilio/text": {}}}, 20001, "types.twilio/text.body is required"),
            (
                {"language": "en", "types": {"twilio/text": {"body": 1}}},
                20001,
                "types.twilio/text.body must be a string",
            ),
            ({"language": "en", "types": {"twilio/text": {"body": "x", "tail": 1}}}, 20001, "types.twilio/text.tail"),
            (
                {
                    "language": "en",
                    "types": {"twilio/quick-reply": {"body": "x", "actions": [{"type": "URL", "title": "t"}]}},
                },
                20001,
                "types.twilio/quick-reply.actions[0].type must be one of QUICK_REPLY",
            ),
            (
                {"language": "en", "variables": {"1": 2}, "types": {"twilio/text": {"body": "x"}}},
                20001,
                "variables.1 must be a string",
            ),
            ({"language": "en", "types": {"twilio/text": {"body": "a\0b"}}}, 20001, "types.twilio/text.body"),
        ],
    )
    def test_body_that_the_contract_does_not_allow_is_refused_by_name(self, client, post, body, code, words):
        answer = post(body)
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
        assert words in answer.json()["message"]
        assert client.content.v1.contents.list() == []


class TestSending:
    def test_variables_are_filled_in_over_the_templates_own(self, client, fresh_account, handset, make):
        made = make({"twilio/text": TYPES["twilio/text"]}, {"1": "friend", "2": "0"})
        message = client.messages.create(
            from_=fresh_account.number,
            to=handset.number,
            content_sid=made.sid,
            content_variables=json.dumps({"2": "17"}),
        )
        assert message.body == "Hello friend, your order 17 is on its way."
        assert handset.bodies() == [message.body]

    def test_media_template_goes_as_mms(self, client, fresh_account, handset, make, webhook):
        url = webhook.file("a.gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "image/gif")
        made = make({"twilio/media": {"body": "Look", "media": [url.replace("a.gif", "{{1}}.gif")]}}, {"1": "b"})
        message = client.messages.create(
            from_=fresh_account.number, to=handset.number, content_sid=made.sid, content_variables='{"1": "a"}'
        )
        assert (message.sid[:2], message.num_media, message.body) == ("MM", "1", "Look")
        assert len(handset.messages()[0]["media_urls"]) == 1

    def test_richer_type_needs_a_text_beside_it(self, client, fresh_account, handset, make, refused):
        rich = {"twilio/quick-reply": TYPES["twilio/quick-reply"]}
        given = {"from_": fresh_account.number, "to": handset.number}
        with refused(216602):
            client.messages.create(content_sid=make(rich).sid, **given)
        both = make({**rich, "twilio/text": {"body": "Reply YES"}})
        client.messages.create(content_sid=both.sid, **given)
        assert handset.bodies() == ["Reply YES"]

    def test_what_is_missing_or_wrong_is_refused(self, client, fresh_account, handset, make, refused):
        made = make({"twilio/text": TYPES["twilio/text"]}, {"1": "friend"})
        given = {"from_": fresh_account.number, "to": handset.number}
        for variables in (None, "{}", "[1]", '{"2": 3}', "{"):
            extra = {} if variables is None else {"content_variables": variables}
            with refused(21656):
                client.messages.create(content_sid=made.sid, **extra, **given)
        with refused(21655):
            client.messages.create(content_sid="HX" + "0" * 32, **given)
        with refused(21654):
            client.messages.create(body="x", content_variables="{}", **given)
        with refused(20001):
            client.messages.create(body="x", content_sid=made.sid, content_variables='{"2": "3"}', **given)
        assert client.messages.list() == []


class TestApproving:
    def submit(self, client, sid, name="order_update", category="UTILITY"):
        approvals = client.content.v1.contents(sid).approval_create
        return approvals.create(_AsItIs({"name": name, "category": category}))

    def test_template_is_received_and_approved(self, server, client, make, refused):
        made = make({"twilio/text": TYPES["twilio/text"]}, {"1": "Ann", "2": "17"})
        fetched = client.content.v1.contents(made.sid).approval_fetch().fetch()
        assert fetched.whatsapp["status"] == "unsubmitted"
        assert client.content.v1.legacy_contents.list() == []
        assert (self.submit(client, made.sid).status, fetched.sid) == ("received", made.sid)
        server.settle()
        whatsapp = client.content.v1.contents(made.sid).approval_fetch().fetch().whatsapp
        assert (whatsapp["status"], whatsapp["name"], whatsapp["category"]) == ("approved", "order_update", "UTILITY")
        [legacy] = client.content.v1.legacy_contents.list()
        assert (legacy.sid, legacy.legacy_template_name) == (made.sid, "order_update")
        assert legacy.legacy_body == TYPES["twilio/text"]["body"]
        [listed] = client.content.v1.content_and_approvals.list()
        assert listed.approval_requests["status"] == "approved"
        assert [row.sid for row in client.content.v2.contents.list(channel_eligibility=["whatsapp:approved"])] == [
            made.sid
        ]
        with refused(92009):
            self.submit(client, made.sid)

    @pytest.mark.parametrize(
        ("body", "variables", "name", "category", "reason"),
        [
            ("Your order is {{1}}", {"1": "17"}, "order", "UTILITY", "start or the end"),
            ("Order {{1}} is here", {}, "order", "UTILITY", "Samples are missing"),
            ("Your order is here", {}, "Order Update", "UTILITY", "name"),
            ("Your order is here", {}, "order", "GOSSIP", "category"),
        ],
    )
    def test_template_against_the_rules_is_rejected_with_the_reason(
        self, server, client, make, body, variables, name, category, reason
    ):
        made = make({"twilio/text": {"body": body}}, variables)
        self.submit(client, made.sid, name, category)
        server.settle()
        whatsapp = client.content.v1.contents(made.sid).approval_fetch().fetch().whatsapp
        assert whatsapp["status"] == "rejected" and reason in whatsapp["rejection_reason"]
