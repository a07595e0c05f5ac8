"""What watches over conduct, met by the official client: rules, lists, places, spikes, new terms, infected files."""

import asyncio
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta

import asyncpg
import pytest
import requests
from twilio.base.exceptions import TwilioException

from onterms.ports.malware_scanner import EICAR

WAIT_S = 10
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(64)
# What our own clamd calls malicious beside the test file.
SIGNATURE = b"malicious-by-agreement"


class Operator:
    """The operator's side of a server."""

    def __init__(self, server):
        self.base = f"{server.url}/commercial/v1"
        self.headers = {"Authorization": f"Bearer {server.operator_key}"}

    def post(self, path, **body):
        answer = requests.post(f"{self.base}/{path}", json=body, headers=self.headers, timeout=60)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def get(self, path, **query):
        answer = requests.get(f"{self.base}/{path}", params=query, headers=self.headers, timeout=WAIT_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def rule(self, condition, **fields):
        made = self.post("AupRules", condition=condition, text_ref="policy 4.2", **fields)
        try:
            yield made["sid"]
        finally:
            self.post(f"AupRules/{made['sid']}/End")

    @contextmanager
    def blocked(self, kind, country, **fields):
        made = self.post("PlaceBlocks", kind=kind, country=country, reason="export act 3", **fields)
        try:
            yield made["sid"]
        finally:
            self.post(f"PlaceBlocks/{made['sid']}/End")


def customer_of(operator, account):
    [customer] = requests.get(f"{operator.base}/Customers", auth=account.auth, timeout=WAIT_S).json()["items"]
    return customer["sid"]


@pytest.fixture
def operator(server):
    return Operator(server)


@pytest.fixture
def customer(operator, fresh_account):
    return customer_of(operator, fresh_account)


class TestPolicy:
    def test_blocked_words_are_refused_and_count_while_the_rest_of_the_batch_goes_out(
        self, operator, customer, client, fresh_account, handset, server
    ):
        def send(body):
            try:
                return client.messages.create(to=handset.number, from_=fresh_account.number, body=body).status
            except Exception as error:
                return error.code, error.status

        with operator.rule({"kind": "content", "words": ["zorgcasino"]}, action="block", weight=40) as rule:
            with ThreadPoolExecutor(3) as threads:
                answers = list(threads.map(send, ["lunch?", "win at ZorgCasino now", "dinner?"]))
            assert answers == ["queued", (30007, 400), "queued"]
            [hit] = operator.get("AupHits", customer_sid=customer)["items"]
            assert (hit["rule_sid"], hit["end_user"], hit["weight"]) == (rule, handset.number, 40)
            assert operator.get("AupScore", customer_sid=customer)["score"] == 40
            assert sorted(handset.bodies()) == ["dinner?", "lunch?"]
            assert operator.get("Reviews", customer_sid=customer)["items"] == []
            for _ in range(2):
                assert send("zorgcasino") == (30007, 400)
            server.settle()
        [review] = operator.get("Reviews", customer_sid=customer)["items"]
        assert (review["state"], review["ground"]) == ("open", "aup")
        assert send("zorgcasino closed down") == "queued"
        assert len(client.messages.list()) == 3

    def test_reply_by_twiml_is_refused_by_the_same_rules(
        self, operator, customer, client, fresh_account, handset, webhook, server
    ):
        url = webhook.answers(
            "/sms", ("<Response><Message>zorgcasino</Message></Response>", 200, {"Content-Type": "text/xml"})
        )
        client.incoming_phone_numbers(fresh_account.number_sid).update(sms_url=url)
        with operator.rule({"kind": "content", "words": ["zorgcasino"]}, action="block", weight=1):
            handset.send(fresh_account.number, "hello")
            webhook.heard("/sms")
            server.settle()
            assert handset.bodies() == []
            assert [alert.error_code for alert in client.monitor.v1.alerts.list()] == ["30007"]
            assert len(operator.get("AupHits", customer_sid=customer)["items"]) == 1

    def test_consent_that_is_required_and_not_on_file_refuses_until_it_is(
        self, operator, client, fresh_account, refused
    ):
        with operator.rule({"kind": "consent"}, country="GB", action="block"):
            wanted = {"to": "+447400123456", "from_": fresh_account.number, "body": "hi"}
            with refused(30007):
                client.messages.create(**wanted)
            consent = {
                "identity": wanted["to"],
                "channel": "messaging",
                "purpose": "news",
                "source": "form 7",
                "given_at": "2024-01-01T00:00:00Z",
            }
            made = requests.post(f"{operator.base}/Consents", json=consent, auth=fresh_account.auth, timeout=WAIT_S)
            assert made.status_code == 201, made.text
            assert client.messages.create(**wanted).status == "queued"


class TestPlacesAndLists:
    def test_country_that_is_closed_by_law_is_refused_until_it_opens(self, operator, client, fresh_account, refused):
        wanted = {"to": "+447400123456", "from_": fresh_account.number, "body": "hi"}
        with operator.blocked("service", "GB", service="messaging"), refused(21408, 403):
            client.messages.create(**wanted)
        assert client.messages.create(**wanted).status == "queued"

    def test_embargo_holds_until_a_licence_is_accepted(self, operator, client, fresh_account, customer, refused):
        wanted = {"to": "+447400123456", "from_": fresh_account.number, "body": "hi"}
        with operator.blocked("embargo", "GB"):
            with refused(21408, 403):
                client.messages.create(**wanted)
            paper = {"customer_sid": customer, "country": "GB", "document": "licence 9", "valid_until": "2199-01-01"}
            licence = operator.post("ExportLicences", **paper)
            operator.post(f"ExportLicences/{licence['sid']}/Events", customer_sid=customer, event="accept")
            assert client.messages.create(**wanted).status == "queued"

    def test_listed_end_user_is_cut_off_both_ways_and_still_heard_when_it_says_stop(
        self, operator, customer, client, fresh_account, handset, refused, server
    ):
        mark = {"customer_sid": customer, "identity": handset.number, "kind": "sanctions", "note": "list 3"}
        made = operator.post("EndUserMarks", **mark)
        wanted = {"to": handset.number, "from_": fresh_account.number, "body": "hi"}
        assert client.messages.create(**wanted).status == "queued", "a likeness that nobody confirmed"
        confirmed = requests.post(
            f"{operator.base}/EndUserMarks/{made['sid']}/Confirmation",
            json={"customer_sid": customer},
            headers=operator.headers,
            timeout=WAIT_S,
        )
        assert confirmed.status_code in (200, 204), confirmed.text
        with refused(20003, 403):
            client.messages.create(**wanted)
        assert handset.send(fresh_account.number, "hello?")["sid"] is None
        assert handset.send(fresh_account.number, "STOP")["sid"] is None
        server.settle()
        assert [message.direction for message in client.messages.list()] == ["outbound-api"]
        with refused(21610):
            client.messages.create(**wanted)

    def test_contact_whose_name_is_listed_is_found_when_it_is_named(self, operator, customer, fresh_account, server):
        operator.post("SanctionsLists", name="wire list", entries=[{"id": "7", "names": ["Mallory Zorgsson"]}])
        assert operator.get("Screenings", customer_sid=customer)["items"] == []
        contact = {"kind": "billing", "name": "ZORGSSON, Mallory", "address": "mallory@northwind.example"}
        named = requests.post(f"{operator.base}/Contacts", json=contact, auth=fresh_account.auth, timeout=WAIT_S)
        assert named.status_code == 201, named.text
        server.settle()
        [found] = operator.get("Screenings", customer_sid=customer)["items"]
        assert (found["state"], found["subject_kind"], found["entry_id"]) == ("review", "contact", "7")
        operator.post("SanctionsLists", name="wire list", entries=[])


class TestCredentials:
    def test_use_is_booked_on_the_key_that_sent(self, client, fresh_account, handset, server):
        key = client.new_keys.create(friendly_name="sender")
        by_key = fresh_account.client(key.sid, key.secret, account_sid=fresh_account.sid)
        sent = by_key.messages.create(to=handset.number, from_=fresh_account.number, body="by key")
        server.settle()
        dsn = (server.folder / "data" / "dsn").read_text()

        async def booked():
            connection = await asyncpg.connect(dsn)
            try:
                sql = "SELECT account_sid, credential_sid FROM usage_sources WHERE id = $1"
                return [tuple(row) for row in await connection.fetch(sql, sent.sid)]
            finally:
                await connection.close()

        # No route shows it yet.
        assert asyncio.run(booked()) == [(fresh_account.sid, key.sid)]


class TestFiles:
    def test_infected_attachment_fails_the_message_with_an_alert(self, client, fresh_account, handset, webhook, server):
        url = webhook.file("eicar.png", PICTURE + EICAR, "image/png")
        sent = client.messages.create(to=handset.number, from_=fresh_account.number, body="look", media_url=[url])
        server.settle()
        failed = client.messages(sent.sid).fetch()
        assert (failed.status, failed.error_code) == ("failed", 30007)
        [alert] = client.monitor.v1.alerts.list()
        assert (alert.error_code, alert.resource_sid) == ("30007", sent.sid)
        assert handset.messages() == []

    def test_infected_file_from_a_handset_is_left_out_of_its_message(
        self, client, fresh_account, handset, webhook, server
    ):
        urls = [webhook.file("bad.png", PICTURE + EICAR, "image/png"), webhook.file("good.png", PICTURE, "image/png")]
        sent = handset.send(fresh_account.number, "two pictures", media_urls=urls)
        server.settle()
        message = client.messages(sent["sid"]).fetch()
        assert (message.body, message.num_media) == ("two pictures", "1")
        assert len(message.media.list()) == 1
        assert [alert.error_code for alert in client.monitor.v1.alerts.list()] == ["30007"]


# ---- a server with a scanner and a file of places, whose clock moves by weeks


class _Clamd(socketserver.StreamRequestHandler):
    """INSTREAM as clamd(8) describes it."""

    def handle(self):
        if self.server.is_down:
            return
        command = b""
        while not command.endswith(b"\0"):
            command += self.rfile.read(1)
        assert command == b"zINSTREAM\0"
        content = b""
        while size := int.from_bytes(self.rfile.read(4), "big"):
            content += self.rfile.read(size)
        self.wfile.write(b"stream: Ours FOUND\0" if SIGNATURE in content else b"stream: OK\0")


@pytest.fixture(scope="module")
def clamd():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Clamd) as listening:
        listening.daemon_threads = True
        listening.is_down = False
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening
        listening.shutdown()


@pytest.fixture(scope="module")
def far_server(start_server, clamd, tmp_path_factory):
    places = tmp_path_factory.mktemp("geo") / "places.csv"
    places.write_text("127.0.0.0/8,UA,43\n")
    settings = {"ONTERMS_CLAMD": f"127.0.0.1:{clamd.server_address[1]}", "ONTERMS_GEO": str(places)}
    with start_server(settings) as running:
        yield running


@pytest.fixture
def far(far_server, _shell, monkeypatch):
    for name, value in far_server.env.items():
        monkeypatch.setenv(name, value)
    return far_server


@pytest.fixture
def far_operator(far):
    return Operator(far)


def now_of(server):
    return datetime.fromisoformat(requests.get(f"{server.url}/simulator/v1/clock", timeout=WAIT_S).json()["now"])


class TestScanner:
    def test_file_that_clamd_names_fails_and_while_clamd_is_down_messages_wait(self, far, clamd, webhook):
        account, handset = far.make_account("Scanned"), far.make_handset()
        client = account.client()
        bad = webhook.file("named.png", PICTURE + SIGNATURE, "image/png")
        sent = client.messages.create(to=handset.number, from_=account.number, body="x", media_url=[bad])
        far.settle()
        assert client.messages(sent.sid).fetch().error_code == 30007
        good = webhook.file("fine.png", PICTURE, "image/png")
        far.clock(hold=True)
        clamd.is_down = True
        try:
            waiting = client.messages.create(to=handset.number, from_=account.number, body="y", media_url=[good])
            far.settle()
            assert client.messages(waiting.sid).fetch().status == "queued"
            refused = requests.post(
                f"{far.url}/simulator/v1/handsets/{handset.number}/messages",
                json={"to": account.number, "body": "in", "media_urls": [good]},
                timeout=WAIT_S,
            )
            assert refused.status_code == 503
        finally:
            clamd.is_down = False
        far.clock(advance_s=6)
        assert client.messages(waiting.sid).fetch().status == "delivered"
        far.clock(release=True)


class TestQuietHours:
    def test_message_waits_for_their_end_and_fails_where_its_service_was_suspended_meanwhile(self, far, far_operator):
        account, other = far.make_account("Patient"), far.make_account("Suspended meanwhile")
        far.clock(hold=True)
        now = now_of(far)
        hours = {"from": f"{now - timedelta(hours=1):%H:%M}", "to": f"{now + timedelta(hours=1):%H:%M}", "zone": "UTC"}
        with far_operator.rule({"kind": "quiet_hours", **hours}, country="GB", service="sms", action="queue"):
            sent = [
                (one.client(), one.client().messages.create(to="+447400123456", from_=one.number, body="night"))
                for one in (account, other)
            ]
            far.settle()
            assert [client.messages(one.sid).fetch().status for client, one in sent] == ["queued", "queued"]
            customer = customer_of(far_operator, other)
            case = far_operator.post(
                "Suspensions",
                **{"customer_sid": customer, "event": "propose", "scope": "service", "service": "messaging"},
                **{"country": "GB", "ground": "law", "determination": "statute 7"},
            )
            path = f"Suspensions/{case['sid']}/Events"
            far_operator.post(path, customer_sid=customer, event="approve", approved_by="duty officer")
            far_operator.post(path, customer_sid=customer, event="notice")
            far.clock(advance_s=3601)
        ended = [client.messages(one.sid).fetch() for client, one in sent]
        assert [(one.status, one.error_code) for one in ended] == [("delivered", None), ("failed", 30002)]
        far.clock(release=True)

    def test_only_what_ends_by_itself_can_queue(self, far, far_operator):
        rule = {"condition": {"kind": "content", "words": ["x"]}, "action": "queue", "text_ref": "4"}
        answer = requests.post(f"{far_operator.base}/AupRules", json=rule, headers=far_operator.headers, timeout=WAIT_S)
        assert answer.status_code == 400


class TestUnusualUse:
    def test_spike_with_signs_of_fraud_opens_a_case_whose_suspension_follows_its_notice(self, far, far_operator):
        account, handset = far.make_account("Spiking"), far.make_handset()
        client, customer = account.client(), customer_of(far_operator, account)
        # Eight windows of one message, in the same hour of two weeks.
        far.clock(hold=True)
        start = now_of(far).replace(minute=1, second=0, microsecond=0) + timedelta(hours=1)
        for week in range(2):
            for quarter in range(4):
                far.clock(to=(start + timedelta(weeks=week, minutes=15 * quarter)).isoformat())
                client.messages.create(to=handset.number, from_=account.number, body="usual")
        far.clock(to=(start + timedelta(weeks=2)).isoformat())
        handset.behaves(outcome="reject")
        for _ in range(95):
            client.messages.create(to=handset.number, from_=account.number, body="x" * 1600)
        far.clock(advance_s=15 * 60)
        assert far_operator.get("Reviews", customer_sid=customer)["items"] == [], "its reports may still come"
        far.clock(advance_s=10 * 60)
        [review] = far_operator.get("Reviews", customer_sid=customer)["items"]
        assert (review["state"], review["ground"], review["service"], review["country"]) == (
            "open",
            "spike",
            "sms",
            "US",
        )
        assert set(review["detail"]["signs"]) == {"low_delivery", "high_failure"}
        far_operator.post(
            f"Reviews/{review['sid']}/Events", customer_sid=customer, event="confirm", determination="pumped traffic"
        )
        [case] = far_operator.get("Suspensions", customer_sid=customer)["items"]
        path = f"Suspensions/{case['sid']}/Events"
        far_operator.post(path, customer_sid=customer, event="approve", approved_by="duty officer")
        noticed = far_operator.post(path, customer_sid=customer, event="notice")
        assert noticed["state"] == "noticed" and noticed["effective_at"] > noticed["noticed_at"]
        assert client.api.accounts(account.sid).fetch().status == "active"
        far.clock(advance_s=2)
        assert client.api.accounts(account.sid).fetch().status == "suspended"
        far.clock(release=True)


class TestNewTerms:
    def test_first_call_after_the_day_accepts_the_new_version_and_none_before(self, far, far_operator):
        account = far.make_account("Continuing", with_number=False)
        client = account.client()

        def accepted():
            found = requests.get(f"{far_operator.base}/Acceptances", auth=account.auth, timeout=WAIT_S).json()["items"]
            return [one for one in found if one["version_sid"] == new["sid"]]

        current = requests.get(f"{far.url}/legal/tos", timeout=WAIT_S).headers["X-Version-Sid"]
        text = far_operator.get(f"Versions/{current}")["binding_md"]
        new = far_operator.post(
            "Versions", document="tos", label="continued", binding_md=text + "\n\n### 99: More\n\nMore.\n",
            summary_md="one clause more",
        )  # fmt: skip
        day = (now_of(far) + timedelta(days=40)).date().isoformat()
        far_operator.post(f"Versions/{new['sid']}/Publication", existing_effective_on=day)
        far.settle()
        far.clock(advance_s=30 * 86_400)
        client.messages.list(limit=1)
        assert accepted() == []
        far.clock(advance_s=11 * 86_400)
        assert accepted() == [], "reading one's terms is no use of the services"
        client.messages.list(limit=1)
        [acceptance] = accepted()
        assert acceptance["mode"] == "continued_use"
        assert acceptance["ip"] == "127.0.0.1" and acceptance["request_id"].startswith("RQ")
        assert datetime.fromisoformat(acceptance["accepted_at"]).date().isoformat() >= day


class TestRegions:
    def test_caller_from_a_blocked_region_gets_its_notice_and_nothing_else(self, far, far_operator):
        account = far.make_account("Far away", with_number=False)
        client = account.client()
        assert client.messages.list(limit=1) == []
        with far_operator.blocked("region", "UA", subdivision="43"):
            with pytest.raises(TwilioException, match=r"403.*cannot be used from UA"):
                client.messages.list(limit=1)
            own = requests.get(f"{far_operator.base}/Customers", auth=account.auth, timeout=WAIT_S)
            assert own.status_code == 403 and own.json()["details"]["clause"] == "5.2"
            assert "export act 3" in own.json()["message"]
        assert client.messages.list(limit=1) == []
