"""What somebody hostile tries: a customer, a page in a browser, a program that speaks bad HTTP."""

import base64
import re
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

WAIT_S = 10
OPEN_STREAMS_MAX = 64
NUL_COOKIE = 'a="\\000"'


def basic(account: Any) -> str:
    return "Basic " + base64.b64encode(f"{account.sid}:{account.token}".encode()).decode()


def say(server: Any, data: bytes) -> bytes:
    """Send bytes to the plain door and read until it closes."""
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=WAIT_S) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


class TestCustomersUrls:
    """A webhook's URL is a customer's; the page and the simulator trust this machine."""

    @pytest.mark.parametrize("path", ["/console/v1/messages", "/simulator/v1/handsets"])
    def test_media_url_of_the_page_or_the_simulator_is_refused(
        self, server: Any, fresh_account: Any, handset: Any, path: str
    ) -> None:
        sent = requests.post(
            fresh_account.url("/Messages.json"),
            data={"To": handset.number, "From": fresh_account.number, "MediaUrl": server.url + path},
            auth=fresh_account.auth,
            timeout=WAIT_S,
        ).json()
        server.settle()
        message = requests.get(
            fresh_account.url(f"/Messages/{sent['sid']}.json"), auth=fresh_account.auth, timeout=WAIT_S
        ).json()
        assert (message["status"], message["error_code"]) == ("failed", 11200)

    def test_webhook_redirected_to_the_page_reads_nothing(
        self, server: Any, fresh_account: Any, handset: Any, sms_webhook: Callable[..., str]
    ) -> None:
        sms_webhook(("", 302, {"Location": server.url + "/console/v1/messages"}))
        arrived = handset.send(fresh_account.number, "hello")
        server.settle()
        [alert] = [
            found
            for found in requests.get(
                server.url + "/v1/Alerts",
                headers={"Host": "monitor.twilio.com"},
                auth=fresh_account.auth,
                timeout=WAIT_S,
            ).json()["alerts"]
            if found["resource_sid"] == arrived["sid"]
        ]
        detail = requests.get(
            f"{server.url}/v1/Alerts/{alert['sid']}",
            headers={"Host": "monitor.twilio.com"},
            auth=fresh_account.auth,
            timeout=WAIT_S,
        ).json()
        assert detail["error_code"] == "11200"
        assert "messages" not in detail["response_body"]


class TestThisMachine:
    """Sandbox routes are open to this machine, and to nobody who only borrows its address."""

    def test_program_on_this_machine_is_let_in(self, server: Any) -> None:
        assert requests.get(server.url + "/console/v1/messages", timeout=WAIT_S).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Forwarded-For": "203.0.113.7"},
            {"X-Forwarded-Host": "onterms.example.com"},
            {"X-Real-IP": "203.0.113.7"},
            {"Forwarded": "for=203.0.113.7"},
            {"Origin": "null"},
            {"Origin": "http://localhost:3000"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Host": "rebound"},
            {"Host": "[::1].example.com"},
            {"Host": "localhost:80@example.com"},
        ],
        ids=str,
    )
    def test_request_from_elsewhere_is_refused(self, server: Any, headers: dict[str, str]) -> None:
        answer = requests.get(server.url + "/console/v1/messages", headers=headers, timeout=WAIT_S)
        assert answer.status_code == 401

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/simulator/v1/handsets"),
            ("GET", "/simulator/v1/handsets/+19075550123/messages"),
            ("POST", "/simulator/v1/faults"),
            ("POST", "/simulator/v1/clock"),
        ],
    )
    def test_customer_elsewhere_has_no_say_over_handsets_faults_and_clock(
        self, server: Any, fresh_account: Any, method: str, path: str
    ) -> None:
        elsewhere = {"Host": "elsewhere"}
        refused = requests.request(
            method, server.url + path, headers=elsewhere, auth=fresh_account.auth, timeout=WAIT_S
        )
        assert refused.status_code == 403

    def test_operator_elsewhere_reads_handsets(self, server: Any) -> None:
        headers = {"Host": "elsewhere", "Authorization": f"Bearer {server.operator_key}"}
        assert requests.get(server.url + "/simulator/v1/handsets", headers=headers, timeout=WAIT_S).status_code == 200

    def test_two_host_headers_are_not_local(self, server: Any) -> None:
        answer = say(
            server,
            b"GET /console/v1/messages HTTP/1.1\r\nHost: example.com\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 401 ")

    def test_trailers_are_no_headers(self, server: Any, fresh_account: Any) -> None:
        head = (
            f"POST /2010-04-01/Accounts/{fresh_account.sid}/Messages.json HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: {basic(fresh_account)}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        answer = say(server, head.encode() + b"1\r\na\r\n0\r\nAuthorization: nobody\r\nHost: example.com\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ") and b'"code":21604' in answer


class TestEventStreams:
    def test_pages_that_are_gone_leave_room_for_others(self, server: Any) -> None:
        place = urlsplit(server.url)
        request = f"GET /console/v1/events HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
        for _ in range(OPEN_STREAMS_MAX + 6):
            with socket.create_connection((place.hostname, place.port), timeout=WAIT_S) as connection:
                connection.sendall(request)
                assert connection.recv(12) == b"HTTP/1.1 200"


class TestHostileValues:
    """Whatever the value, the answer is about the value and not about us."""

    @pytest.mark.parametrize(
        "query",
        [
            "Page=999999999999999999&PageSize=1000",
            "DateSent%3C=9999-12-31",
            "DateSent=9999-12-31",
        ],
    )
    def test_list_beyond_everything_is_empty(self, server: Any, fresh_account: Any, query: str) -> None:
        answer = requests.get(fresh_account.url(f"/Messages.json?{query}"), auth=fresh_account.auth, timeout=WAIT_S)
        assert (answer.status_code, answer.json()["messages"]) == (200, [])

    @pytest.mark.parametrize(
        "query",
        [
            "DateSent=0001-01-01T00:00:00%2B14:00",
            "DateSent=9999-12-31T23:59:59-14:00",
            "DateSent=Mon%2C%2001%20Jan%202020%2000:00:00%20%2B99999999999999",
            "PageSize=%D9%A3",
        ],
    )
    def test_moment_outside_the_calendar_and_foreign_digits_are_refused(
        self, server: Any, fresh_account: Any, query: str
    ) -> None:
        answer = requests.get(fresh_account.url(f"/Messages.json?{query}"), auth=fresh_account.auth, timeout=WAIT_S)
        assert (answer.status_code, answer.json()["code"]) == (400, 20001)

    def test_path_with_nul_is_not_found(self, server: Any, fresh_account: Any) -> None:
        answer = requests.get(
            f"{server.url}/2010-04-01/Accounts/{fresh_account.sid}%00/Messages.json",
            auth=fresh_account.auth,
            timeout=WAIT_S,
        )
        assert answer.status_code == 404

    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"kind":"\xff"}',
            b'{"kind":"delay","delay_s":' + b"9" * 400 + b"}",
            b'{"kind":"webhook_timeout","host":"a\\u0000"}',
        ],
        ids=["deep array", "deep object", "not UTF-8", "no float", "NUL"],
    )
    def test_hostile_json_is_refused(self, server: Any, body: bytes) -> None:
        answer = requests.post(server.url + "/simulator/v1/faults", data=body, timeout=WAIT_S)
        assert answer.status_code == 400

    @pytest.mark.parametrize("query", ["expires=%C2%B2&signature=a", "expires=1&signature=%C3%A9", ""])
    def test_forged_media_link_is_refused(self, server: Any, fresh_account: Any, query: str) -> None:
        answer = requests.get(
            f"{server.url}/media/{fresh_account.sid}/MM{'0' * 32}/ME{'0' * 32}?{query}", timeout=WAIT_S
        )
        assert answer.status_code == 403

    def test_media_link_for_another_file_is_refused(
        self, server: Any, fresh_account: Any, handset: Any, webhook: Any
    ) -> None:
        url = webhook.file("a.vcf", b"BEGIN:VCARD", "text/vcard")
        requests.post(
            fresh_account.url("/Messages.json"),
            data={"To": handset.number, "From": fresh_account.number, "MediaUrl": url},
            auth=fresh_account.auth,
            timeout=WAIT_S,
        )
        [received] = handset.messages()
        [link] = received["media_urls"]
        assert requests.get(link, timeout=WAIT_S).content == b"BEGIN:VCARD"
        other = re.sub(r"/ME[0-9a-f]{32}", "/ME" + "0" * 32, link)
        later = re.sub(r"expires=(\d+)", r"expires=9\1", link)
        assert [requests.get(forged, timeout=WAIT_S).status_code for forged in (other, later)] == [403, 403]


class TestHostileDocuments:
    """A webhook's answer that cannot be followed is the customer's problem, and is not asked for again and again."""

    @pytest.mark.parametrize(
        "document",
        [
            "<Response><Redirect>http://[</Redirect></Response>",
            "<Response><Message>hi<Media>http://[</Media></Message></Response>",
            '<Response><Message action="http://[">hi</Message></Response>',
            '<Response><Message statusCallback="http://[">hi</Message></Response>',
        ],
        ids=["Redirect", "Media", "action", "statusCallback"],
    )
    def test_malformed_address_is_an_alert(
        self,
        server: Any,
        fresh_account: Any,
        handset: Any,
        webhook: Any,
        sms_webhook: Callable[..., str],
        document: str,
    ) -> None:
        sms_webhook((document, 200, {"Content-Type": "text/xml"}))
        arrived = handset.send(fresh_account.number, "hello")
        server.settle()
        webhook.heard()
        assert webhook.is_quiet()
        alerts = requests.get(
            server.url + "/v1/Alerts",
            headers={"Host": "monitor.twilio.com"},
            auth=fresh_account.auth,
            timeout=WAIT_S,
        ).json()["alerts"]
        assert arrived["sid"] in {alert["resource_sid"] for alert in alerts}

    @pytest.mark.parametrize(
        "answer",
        [
            (b"a\0b", 200, {"Content-Type": "text/plain"}),
            (
                b"<Response><Message>ab</Message></Response>",
                200,
                {"Set-Cookie": 'a="\\000"', "Content-Type": "text/xml"},
            ),
        ],
        ids=["text", "cookie"],
    )
    def test_nul_in_an_answer_stops_nothing(
        self,
        server: Any,
        fresh_account: Any,
        handset: Any,
        sms_webhook: Callable[..., str],
        answer: Any,
    ) -> None:
        sms_webhook(answer)
        handset.send(fresh_account.number, "hello")
        [body] = handset.bodies()
        assert body in ("a\ufffdb", "ab")
