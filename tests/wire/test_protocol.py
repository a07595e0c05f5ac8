"""The doors spoken to without an SDK: formats, headers, methods, and everything malformed."""

import asyncio
import csv
import io
import json
import queue
import socket
import threading
import xml.etree.ElementTree as ElementTree
from datetime import datetime
from email.utils import parsedate_to_datetime

import asyncpg
import pytest
import requests

from onterms.app.postgres import EmbeddedPostgres

FORM = "application/x-www-form-urlencoded"


# One operation of each product host that no room serves. Where a room begins to serve one, choose another.
# fmt: off
NOT_SERVED = [
    ("api", "/2010-04-01/Accounts/{sid}/Calls.json"), ("bulkexports", "/v1/Exports/Jobs/JS" + "0" * 32),
    ("chat", "/v2/Services"), ("conversations", "/v1/Conversations"),
    ("events", "/v1/Sinks"), ("flex-api", "/v1/FlexFlows"), ("frontline-api", "/v1/Users/US" + "0" * 32),
    ("insights", "/v1/Video/Rooms"), ("intelligence", "/v2/Services"), ("ip-messaging", "/v2/Services"),
    ("lookups", "/v2/PhoneNumbers/+14155550100"), ("notify", "/v1/Services"),
    ("numbers", "/v2/RegulatoryCompliance/Bundles"), ("proxy", "/v1/Services"),
    ("routes", "/v2/PhoneNumbers/+14155550100"), ("serverless", "/v1/Services"),
    ("studio", "/v2/Flows"), ("supersim", "/v1/Sims"), ("sync", "/v1/Services"),
    ("taskrouter", "/v1/Workspaces"), ("trunking", "/v1/Trunks"),
    ("verify", "/v2/Services"), ("video", "/v1/Rooms"), ("voice", "/v1/ByocTrunks"), ("wireless", "/v1/Sims"),
    ("marketplace", "/v1/AvailableAddOns"), ("knowledge", "/v1/Knowledge"), ("assistants", "/v1/Assistants"),
]
# fmt: on


@pytest.fixture
def post(fresh_account):
    """POST raw bytes to the account's Messages."""

    def send(body, content_type=FORM, path="/Messages.json", **options):
        return requests.post(
            fresh_account.url(path),
            data=body,
            headers={"Content-Type": content_type},
            auth=fresh_account.auth,
            timeout=10,
            **options,
        )

    return send


@pytest.fixture
def get(fresh_account):
    """GET below the account."""

    def fetch(path, **options):
        return requests.get(fresh_account.url(path), **({"auth": fresh_account.auth, "timeout": 10} | options))

    return fetch


def test_plus_sign_that_curl_did_not_encode_is_taken_for_one(post, fresh_account, handset):
    body = f"To={handset.number}&From={fresh_account.number}&Body=plain"
    answer = post(body.encode())
    assert (answer.status_code, answer.json()["to"], answer.json()["from"]) == (
        201,
        handset.number,
        fresh_account.number,
    )


class TestFormats:
    @pytest.fixture
    def sent(self, client, fresh_account, handset):
        message = client.messages.create(to=handset.number, from_=fresh_account.number, body="a < b & 'c', \"d\"\nü")
        handset.server.settle()
        return message

    @pytest.mark.parametrize("ending", ["", ".xml"])
    def test_without_json_the_2010_api_answers_xml(self, get, sent, ending):
        answer = get(f"/Messages/{sent.sid}{ending}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/xml")
        root = ElementTree.fromstring(answer.content)
        assert root.tag == "TwilioResponse"
        message = root.find("Message")
        assert (message.findtext("Sid"), message.findtext("Body"), message.findtext("Status")) == (
            sent.sid,
            sent.body,
            "delivered",
        )
        assert message.find("ErrorCode").text is None

    def test_list_in_xml_carries_its_paging_as_attributes(self, get, sent):
        root = ElementTree.fromstring(get("/Messages?PageSize=1").content)
        messages = root.find("Messages")
        assert messages.get("pagesize") == "1"
        assert [message.findtext("Sid") for message in messages.findall("Message")] == [sent.sid]

    def test_list_as_csv_has_a_row_a_message(self, get, sent):
        answer = get("/Messages.csv")
        assert answer.headers["Content-Type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
        assert len(rows) == 1
        assert sent.sid in rows[0].values()
        assert sent.body in rows[0].values()

    def test_error_without_json_is_xml(self, get):
        answer = get(f"/Messages/SM{'0' * 32}")
        error = ElementTree.fromstring(answer.content).find("RestException")
        assert (answer.status_code, error.findtext("Code"), error.findtext("Status")) == (404, "20404", "404")
        assert error.findtext("MoreInfo").endswith("/20404")

    def test_json_error_has_the_four_fields(self, get):
        answer = get(f"/Messages/SM{'0' * 32}.json")
        assert answer.headers["Content-Type"] == "application/json"
        body = answer.json()
        assert set(body) == {"code", "message", "more_info", "status"}
        assert (body["code"], body["status"]) == (20404, answer.status_code)
        assert body["more_info"] == "https://www.twilio.com/docs/errors/20404"

    def test_dates_are_rfc_2822_in_the_2010_api_and_iso_8601_elsewhere(
        self, server, client, fresh_account, handset, get, sent
    ):
        date = get(f"/Messages/{sent.sid}.json").json()["date_created"]
        assert date.endswith("+0000")
        assert parsedate_to_datetime(date).tzinfo is not None
        client.incoming_phone_numbers(fresh_account.number_sid).update(sms_url="http://127.0.0.1:9/")
        handset.send(fresh_account.number, "Hello")
        server.settle()
        answer = requests.get(
            f"{server.url}/v1/Alerts", headers={"Host": "monitor.twilio.com"}, auth=fresh_account.auth, timeout=10
        ).json()
        datetime.strptime(answer["alerts"][0]["date_created"], "%Y-%m-%dT%H:%M:%SZ")
        assert answer["meta"]["url"].startswith("https://monitor.twilio.com/v1/Alerts?")

    def test_2010_lists_page_by_relative_addresses(self, get, sent):
        body = get("/Messages.json?PageSize=1").json()
        assert {"messages", "page", "page_size", "start", "end", "uri", "first_page_uri"} <= set(body)
        assert set(body) - {"messages"} == {
            *("page", "page_size", "start", "end", "uri"),
            *("first_page_uri", "next_page_uri", "previous_page_uri"),
        }
        assert body["uri"].startswith("/2010-04-01/Accounts/")
        assert body["next_page_uri"] is None


class TestHeaders:
    def test_answer_carries_the_request_id_and_its_kin(self, get):
        first, second = get("/Messages.json").headers, get("/Messages.json").headers
        assert first["Twilio-Request-Id"].startswith("RQ")
        assert len(first["Twilio-Request-Id"]) == 34
        assert first["Twilio-Request-Id"] != second["Twilio-Request-Id"]
        assert first["Twilio-Concurrent-Requests"] == "1"
        assert float(first["Twilio-Request-Duration"]) >= 0
        assert first["X-Api-Domain"] == "api.twilio.com"
        assert first["Access-Control-Allow-Origin"] == "*"

    def test_refusal_carries_them_too(self, get):
        answer = get("/Messages.json", auth=("AC" + "0" * 32, "wrong"))
        assert answer.status_code == 401
        assert answer.headers["Twilio-Request-Id"].startswith("RQ")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"

    def test_missing_credentials_are_asked_for(self, get):
        answer = get("/Messages.json", auth=None)
        assert (answer.status_code, answer.json()["code"]) == (401, 20003)
        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")

    @pytest.mark.parametrize(
        "value",
        ["Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Bearer", "Bearer a.b.c", "Digest x", "\xff\xfe", "Basic /w=="],
    )
    def test_malformed_authorization_is_refused_with_401(self, get, value):
        answer = get("/Messages.json", auth=None, headers={"Authorization": value.encode("latin-1")})
        assert (answer.status_code, answer.json()["code"]) == (401, 20003)

    def test_preflight_is_answered_without_credentials(self, fresh_account):
        answer = requests.options(
            fresh_account.url("/Messages.json"),
            headers={"Origin": "https://shop.example.com", "Access-Control-Request-Method": "POST"},
            timeout=10,
        )
        assert answer.status_code == 200
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]

    def test_head_is_get_without_a_body(self, get, fresh_account):
        answer = requests.head(fresh_account.url("/Messages.json"), auth=fresh_account.auth, timeout=10)
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 0

    def test_header_of_64_kilobytes_is_refused_and_the_server_lives(self, server, get):
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=10) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
            try:
                connection.sendall(b"a" * 200_000 + b"\r\n\r\n")
                answer = connection.recv(4096)
            except ConnectionError:
                answer = b""
        assert not answer.startswith(b"HTTP/1.1 200")
        assert get("/Messages.json").status_code == 200


class TestRouting:
    def test_unknown_path_is_answered_with_404(self, get):
        answer = get("/Messengers.json")
        assert (answer.status_code, answer.json()["code"]) == (404, 20404)

    def test_unknown_path_says_nothing_without_credentials(self, get):
        assert get("/Messengers.json", auth=None).status_code == 401

    @pytest.mark.parametrize(("method", "path"), [("PUT", "/Messages.json"), ("DELETE", "/Messages.json")])
    def test_method_the_resource_does_not_know_is_answered_with_405(self, fresh_account, method, path):
        answer = requests.request(method, fresh_account.url(path), auth=fresh_account.auth, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (405, 20004)
        assert set(answer.headers["Allow"].split(", ")) == {"GET", "POST"}

    @pytest.mark.parametrize("sid", ["SM0", "XX" + "0" * 32, "%2e%2e", "'; DROP TABLE messages; --", "SM" + "g" * 32])
    def test_sid_that_cannot_exist_is_answered_with_404(self, get, sid):
        answer = get(f"/Messages/{sid}.json")
        assert (answer.status_code, answer.json()["code"]) == (404, 20404)

    @pytest.mark.parametrize("host", ["api.twilio.com", "api.dublin.ie1.twilio.com", "localhost", "API.Twilio.COM:443"])
    def test_host_header_names_the_product(self, get, host):
        assert get("/Messages.json", headers={"Host": host}).status_code == 200

    @pytest.mark.parametrize("host", ["example.com", "evil.twilio.com", "api.twilio.com.example.com"])
    def test_strange_host_is_answered_with_404(self, get, host):
        answer = get("/Messages.json", headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (404, 20404)

    def test_region_door_serves_an_sdk_without_a_proxy(self, server, fresh_account, handset, monkeypatch):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.delenv(name)
        for name, value in server.env.items():
            if name.endswith("CA_BUNDLE"):
                monkeypatch.setenv(name, value)
        # Every resolver answers for names under localhost, but not every system has one.
        resolve = socket.getaddrinfo

        def local(host, *arguments, **options):
            name = "localhost" if isinstance(host, str) and host.endswith(".localhost") else host
            return resolve(name, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", local)
        regional = fresh_account.client(region=f"localhost:{server.tls_port}/")
        for number in range(3):
            regional.messages.create(to=handset.number, from_=fresh_account.number, body=str(number))
        assert len(regional.messages.list(page_size=2)) == 3
        assert regional.monitor.v1.alerts.list() == []

    @pytest.mark.parametrize(("host", "path"), NOT_SERVED, ids=[host for host, _ in NOT_SERVED])
    def test_operation_no_room_serves_is_answered_with_501(self, server, host, path):
        answer = requests.get(
            server.url + path.format(sid=server.account_sid),
            headers={"Host": f"{host}.twilio.com"},
            auth=(server.account_sid, server.auth_token),
            timeout=10,
        )
        assert (answer.status_code, answer.json()["code"]) == (501, 20501), answer.text


class TestBodies:
    def test_body_above_the_limit_is_refused_with_413(self, post):
        answer = post(b"Body=" + b"a" * (1 << 20))
        assert (answer.status_code, answer.json()["code"]) == (413, 20413)

    def test_chunked_body_above_the_limit_is_refused_with_413(self, post):
        try:
            answer = post(b"a" * 65536 for _ in range(20))
        except requests.ConnectionError:
            return  # The server may hang up while the client still sends.
        assert answer.status_code == 413

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"&&&===",
            b"%",
            b"To=%zz&From=%&Body=%u0041",
            b"To=%ff%fe&Body=%c3%28",
            b"To=%00&From=%00&Body=%00",
            b"\x00\x01\x02\xff",
            b"To[]=1&To[a]=2",
            b"Body=" + b"%F0%9F%98",
        ],
    )
    def test_malformed_form_is_refused_and_changes_nothing(self, client, post, body):
        answer = post(body)
        assert answer.status_code == 400
        assert answer.json()["code"] >= 20001
        assert client.messages.list() == []

    def test_json_where_a_form_belongs_is_read_as_no_parameters(self, post, fresh_account):
        answer = post(json.dumps({"To": "+19075550001", "From": fresh_account.number, "Body": "x"}), "application/json")
        assert (answer.status_code, answer.json()["code"]) == (400, 21604)

    def test_unknown_parameters_are_ignored(self, post, fresh_account, handset):
        answer = post({"To": handset.number, "From": fresh_account.number, "Body": "x", "Colour": "red", "": "y"})
        assert answer.status_code == 201

    def test_last_of_a_repeated_parameter_counts(self, post, fresh_account, handset):
        pairs = [("To", handset.number), ("From", fresh_account.number), ("Body", "first"), ("Body", "last")]
        assert post(pairs).json()["body"] == "last"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("ValidityPeriod", "soon"),
            ("ValidityPeriod", "1e3"),
            ("ValidityPeriod", "9" * 40),
            ("SmartEncoded", "perhaps"),
            ("MaxPrice", "cheap"),
            ("MessagingServiceSid", "MG1"),
        ],
    )
    def test_value_of_the_wrong_type_is_refused(self, client, post, fresh_account, handset, name, value):
        answer = post({"To": handset.number, "From": fresh_account.number, "Body": "x", name: value})
        assert answer.status_code == 400
        assert client.messages.list() == []

    def test_nul_is_stored_as_the_replacement_character(self, post, fresh_account, handset):
        answer = post({"To": handset.number, "From": fresh_account.number, "Body": "a\0b"})
        assert (answer.status_code, answer.json()["body"]) == (201, "a\ufffdb")

    @pytest.mark.parametrize(
        "query",
        [
            "PageSize=x",
            "PageSize=0",
            "PageSize=-1",
            "PageToken=nonsense",
            "PageToken=PA'--",
            "DateSent=yesterday",
            "DateSent%3E=2026-13-40",
        ],
    )
    def test_bad_query_is_refused_with_400(self, get, query):
        answer = get(f"/Messages.json?{query}")
        assert (answer.status_code, answer.json()["status"]) == (400, 400)

    @pytest.mark.parametrize(("asked", "given"), [("5000", 1000), ("7", 7)])
    def test_page_size_is_kept_below_its_bound(self, get, asked, given):
        assert get(f"/Messages.json?PageSize={asked}").json()["page_size"] == given

    @pytest.mark.parametrize("body", [b"{", b"[]", b"null", b'"text"', b"\xff", b"{" * 10_000])
    def test_malformed_json_is_refused_with_400(self, server, fresh_account, body):
        answer = requests.post(
            f"{server.url}/v1/Account/OAuthApps",
            data=body,
            headers={"Host": "iam.twilio.com", "Content-Type": "application/json"},
            auth=fresh_account.auth,
            timeout=10,
        )
        assert (answer.status_code, answer.json()["status"]) == (400, 400), answer.text


class TestLimits:
    def test_request_above_the_concurrent_limit_is_answered_with_429(self, server, get):
        answers = queue.Queue()
        limit = int(server.environment["ONTERMS_CONCURRENT_MAX"])
        threads = [threading.Thread(target=lambda: answers.put(get("/Messages.json"))) for _ in range(limit + 1)]

        async def ask_while_the_table_is_locked():
            connection = await asyncpg.connect(EmbeddedPostgres(server.folder / "data").dsn)
            try:
                async with connection.transaction():
                    await connection.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
                    for thread in threads:
                        thread.start()
                    # The others wait for the table.
                    return await asyncio.to_thread(answers.get, timeout=10)
            finally:
                await connection.close()

        assert get("/Messages.json").status_code == 200
        refused = asyncio.run(ask_while_the_table_is_locked())
        for thread in threads:
            thread.join(10)
        assert (refused.status_code, refused.json()["code"]) == (429, 20429)
        assert refused.headers["Twilio-Concurrent-Requests"] == str(limit + 1)
        assert [answers.get(timeout=10).status_code for _ in range(limit)] == [200] * limit
        assert get("/Messages.json").headers["Twilio-Concurrent-Requests"] == "1"
