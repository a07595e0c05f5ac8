"""The webhook client against servers on loopback that answer, stall, lie and redirect."""

import asyncio
import gzip
import hashlib
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest
from multidict import MultiDict
from twilio.request_validator import RequestValidator

from onterms.carriers.webhook import AddressPolicy, WebhookClient
from onterms.core.clock import VirtualClock
from onterms.ports.callback import BODY_KEPT_BYTES, TWIML_BYTES_MAX, Answer, Callback

TOKEN = "0123456789abcdef0123456789abcdef"
NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
LOOPBACK = AddressPolicy.parse("loopback")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 11\r\n\r\n<Response/>"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """Answer each request with the next of `replies`, the last one forever. Bytes are sent as they are; `hold` stalls;
    `drop` closes the connection without a word."""

    replies: list[bytes | str]
    host: str = "127.0.0.1"
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (h.partition(":") for h in head[1:] if h)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                reply = self.replies[min(len(self.requests), len(self.replies) - 1)]
                self.requests.append(Request(method, target, headers, body))
                self.arrived.set()
                if reply == "drop":
                    return
                if isinstance(reply, bytes):
                    writer.write(reply)
                    await writer.drain()
                    if b"Connection: close" in reply:
                        return
                else:
                    await self.over.wait()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*replies: bytes | str) -> AsyncIterator[Server]:
    server = Server(list(replies))
    listener = await asyncio.start_server(server.serve, server.host, 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        server.over.set()
        listener.close()
        for writer in server.writers:
            writer.close()
        await listener.wait_closed()


def callback(url: str, **changes: Any) -> Callback:
    values: dict[str, Any] = {
        "account_sid": "AC" + "0" * 32,
        "url": url,
        "method": "POST",
        "params": [("From", "+15005550006"), ("Body", "Grüße & 2+2=4 😀")],
        "signing_token": TOKEN,
        "idempotency_token": "c0ffee00-0000-4000-8000-000000000000",
    }
    return Callback(**(values | changes))


def answer_with(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def signature_holds(request: Request, scheme: str = "http") -> bool:
    """Check as a customer's server does: by the URL it sees and the form it got."""
    url = f"{scheme}://{request.headers['host']}{request.target}"
    params: Any = {}
    if request.headers.get("content-type", "").startswith("application/json"):
        params = request.body.decode()
    elif request.body:
        params = MultiDict(parse_qsl(request.body.decode(), keep_blank_values=True))
    return bool(RequestValidator(TOKEN).validate(url, params, request.headers["x-twilio-signature"]))


@pytest.fixture
async def client() -> AsyncIterator[WebhookClient]:
    async with WebhookClient(VirtualClock(held_at=NOW), LOOPBACK) as client:
        yield client


class TestRequest:
    async def test_form_post_is_signed_and_carries_twilios_headers(self, client: WebhookClient) -> None:
        async with serving(OK) as server:
            answer = await client.call(callback(server.url + "/sms", expect="twiml"))
        assert (answer.status, answer.error_code, answer.body) == (200, None, b"<Response/>")
        assert answer.content_type == "text/xml"
        (request,) = server.requests
        assert signature_holds(request)
        assert dict(parse_qsl(request.body.decode())) == {"From": "+15005550006", "Body": "Grüße & 2+2=4 😀"}
        assert request.headers["user-agent"] == "TwilioProxy/1.1"
        assert request.headers["accept"] == "*/*"
        assert request.headers["x-home-region"] == "us1"
        assert request.headers["content-type"] == "application/x-www-form-urlencoded; charset=UTF-8"
        assert request.headers["i-twilio-idempotency-token"] == "c0ffee00-0000-4000-8000-000000000000"

    @pytest.mark.parametrize(
        ("path", "seen"),
        [
            ("", "/"),
            ("?a=1", "/?a=1"),
            ("/p?b=2&a=1&a=0", "/p?b=2&a=1&a=0"),
            ("/p%20q/../r?x=%7e+%2B'[]", "/p%20q/../r?x=%7e+%2B'[]"),
            ("/grüße wort?q=ü", "/gr%C3%BC%C3%9Fe%20wort?q=%C3%BC"),
            ("/p?redirect=http://x.example/y@z#rc=0", "/p?redirect=http://x.example/y@z"),
            ("/p#", "/p"),
        ],
    )
    @pytest.mark.parametrize("method", ["POST", "GET"])
    async def test_url_is_signed_as_it_is_sent(self, client: WebhookClient, path: str, seen: str, method: str) -> None:
        async with serving(NO_CONTENT) as server:
            answer = await client.call(callback(server.url + path, method=method))
        assert answer.error_code is None
        (request,) = server.requests
        assert signature_holds(request)
        if method == "POST":
            assert request.target == seen
        else:
            assert request.target.startswith(seen + ("&" if "?" in seen else "?") + "From=%2B15005550006&Body=Gr")
            assert request.body == b""

    async def test_repeated_and_empty_parameters_keep_the_signature_valid(self, client: WebhookClient) -> None:
        params = [("Digits", "5678"), ("Digits", "1234"), ("Digits", "1234"), ("Empty", ""), ("A", "z"), ("a", "y")]
        async with serving(NO_CONTENT) as server:
            await client.call(callback(server.url, params=params))
        (request,) = server.requests
        assert signature_holds(request)
        assert parse_qsl(request.body.decode(), keep_blank_values=True) == params

    async def test_json_body_is_signed_by_its_digest_in_the_query(self, client: WebhookClient) -> None:
        body = b'{"property": "value", "boolean": true}'
        async with serving(NO_CONTENT) as server:
            await client.call(callback(server.url + "/j?x=1", json_body=body, params=()))
        (request,) = server.requests
        assert request.target == f"/j?x=1&bodySHA256={hashlib.sha256(body).hexdigest()}"
        assert (request.body, request.headers["content-type"]) == (body, "application/json")
        assert signature_holds(request)

    async def test_host_header_keeps_the_case_and_port_that_were_signed(self) -> None:
        async with serving(NO_CONTENT) as server, WebhookClient(VirtualClock(), LOOPBACK) as client:
            await client.call(callback(f"http://LocalHost:{server.port}/"))
        (request,) = server.requests
        assert request.headers["host"] == f"LocalHost:{server.port}"
        assert signature_holds(request)

    async def test_cookies_are_sent_and_those_that_could_end_the_header_are_not(self, client: WebhookClient) -> None:
        async with serving(NO_CONTENT) as server:
            cookies = {"session": "abc=", "evil": "1\r\nX-Injected: 1", "b;c": "2", "d": "3; e=4"}
            await client.call(callback(server.url, cookies=cookies))
        assert server.requests[0].headers["cookie"] == "session=abc="
        assert "x-injected" not in server.requests[0].headers

    async def test_set_cookie_is_handed_on_and_not_remembered(self, client: WebhookClient) -> None:
        reply = answer_with("200 OK", b"", "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2")
        async with serving(reply) as server:
            answer = await client.call(callback(server.url))
            await client.call(callback(server.url))
        assert answer.set_cookies == ("a=1; Path=/", "b=2")
        assert "cookie" not in server.requests[1].headers

    async def test_connection_is_kept_for_the_next_call(self, client: WebhookClient) -> None:
        async with serving(NO_CONTENT) as server:
            for _ in range(3):
                assert (await client.call(callback(server.url))).status == 204
        assert (len(server.requests), server.connections) == (3, 1)

    async def test_connection_that_the_server_closed_when_reused_is_replaced(self, client: WebhookClient) -> None:
        async with serving(NO_CONTENT, "drop", NO_CONTENT) as server:
            await client.call(callback(server.url + "#rc=0"))
            answer = await client.call(callback(server.url + "#rc=0"))
        assert (answer.status, len(answer.attempts), server.connections) == (204, 1, 2)
        tokens = {request.headers["i-twilio-idempotency-token"] for request in server.requests}
        assert len(server.requests) == 3 and len(tokens) == 1


class TestCredentials:
    async def test_basic_credentials_go_out_after_a_challenge_only_and_then_at_once(
        self, client: WebhookClient
    ) -> None:
        challenge = answer_with("401 Unauthorized", b"no", 'WWW-Authenticate: Basic realm="r"')
        async with serving(challenge, NO_CONTENT) as server:
            url = server.url.replace("//", "//us%40er:p%3Aw@") + "/x"
            first = await client.call(callback(url))
            second = await client.call(callback(url))
        assert (first.status, first.error_code, second.status) == (204, None, 204)
        assert [request.headers.get("authorization") for request in server.requests] == [
            None,
            "Basic dXNAZXI6cDp3",
            "Basic dXNAZXI6cDp3",
        ]
        # Twilio docs: user name and password are dropped from the URL before it is signed.
        assert all(signature_holds(request) for request in server.requests)
        assert [attempt.error_code for attempt in first.attempts] == [None, None]
        shown = repr(first) + repr(second)
        assert "p%3Aw" not in shown and "dXNAZXI6cDp3" not in shown and "us%40er" not in shown
        assert first.attempts[1].request_headers["Authorization"] == "Basic ***"

    async def test_digest_is_answered_without_showing_the_password(self, client: WebhookClient) -> None:
        challenge = answer_with(
            "401 Unauthorized", b"", 'WWW-Authenticate: Digest realm="r", nonce="n1", qop="auth", algorithm=SHA-256'
        )
        async with serving(challenge, NO_CONTENT) as server:
            answer = await client.call(callback(server.url.replace("//", "//u:secret@") + "/d?x=1"))
        assert answer.status == 204
        sent = server.requests[1].headers["authorization"]
        given = dict(part.strip().split("=", 1) for part in sent.removeprefix("Digest ").split(","))
        given = {name: value.strip('"') for name, value in given.items()}

        def digest(text: str) -> str:
            return hashlib.sha256(text.encode()).hexdigest()

        assert given["uri"] == "/d?x=1"
        # RFC 7616 3.4.1
        expected = digest(f"{digest('u:r:secret')}:n1:{given['nc']}:{given['cnonce']}:auth:{digest('POST:/d?x=1')}")
        assert given["response"] == expected

    async def test_refused_credentials_fail_with_11200(self, client: WebhookClient) -> None:
        challenge = answer_with("401 Unauthorized", b"", 'WWW-Authenticate: Basic realm="r"')
        async with serving(challenge) as server:
            answer = await client.call(callback(server.url.replace("//", "//u:p@")))
        assert (answer.status, answer.error_code, len(server.requests)) == (401, 11200, 2)


class TestAnswers:
    @pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 Oops", "503 Busy"])
    async def test_error_status_fails_with_11200_and_keeps_the_page(self, client: WebhookClient, status: str) -> None:
        async with serving(answer_with(status, b"<h1>oops</h1>")) as server:
            answer = await client.call(callback(server.url))
        assert (answer.status, answer.error_code) == (int(status[:3]), 11200)
        assert answer.attempts[0].response_body == "<h1>oops</h1>"
        assert len(server.requests) == 1

    async def test_missing_content_type_is_left_empty(self, client: WebhookClient) -> None:
        async with serving(answer_with("200 OK", b"hello")) as server:
            answer = await client.call(callback(server.url, expect="twiml"))
        assert (answer.content_type, answer.body, answer.error_code) == ("", b"hello", None)

    @pytest.mark.parametrize(
        "reply",
        [
            b"SSH-2.0-OpenSSH_9.6\r\n\r\nConnection: close",
            b"HTTP/1.1 two hundred\r\n\r\nConnection: close",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\nConnection: close\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nshort",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\nhello\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\noops",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: br\r\n\r\noops",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: =nameless\r\n\r\n",
            "drop",
        ],
    )
    async def test_garbage_fails_with_11206(self, client: WebhookClient, reply: bytes | str) -> None:
        async with serving(reply) as server:
            answer = await client.call(callback(server.url, expect="twiml"))
        assert answer.error_code == 11206
        assert len(answer.attempts) == 1

    async def test_document_of_64_kb_is_read_and_one_byte_more_fails_with_11750(self, client: WebhookClient) -> None:
        whole, longer = b"x" * TWIML_BYTES_MAX, b"x" * (TWIML_BYTES_MAX + 1)
        async with serving(answer_with("200 OK", whole), answer_with("200 OK", longer)) as server:
            fits = await client.call(callback(server.url, expect="twiml"))
            too_long = await client.call(callback(server.url, expect="twiml"))
        assert (fits.error_code, len(fits.body)) == (None, TWIML_BYTES_MAX)
        assert (too_long.error_code, too_long.status, len(too_long.body)) == (11750, 200, TWIML_BYTES_MAX)

    async def test_size_of_an_acknowledgement_is_no_fault_and_not_read_to_its_end(self, client: WebhookClient) -> None:
        endless = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * (TWIML_BYTES_MAX + 1)
        async with serving(endless) as server:
            answer = await client.call(callback(server.url))
        assert (answer.error_code, len(answer.body)) == (None, TWIML_BYTES_MAX)

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw"])
    async def test_compressed_document_is_inflated(self, client: WebhookClient, encoding: str) -> None:
        text = b"<Response>" + b"<Message>hi</Message>" * 500 + b"</Response>"
        raw = zlib.compressobj(wbits=-15)
        packed = {
            "gzip": gzip.compress(text[:900]) + gzip.compress(text[900:]) + b"\0\0",
            "deflate": zlib.compress(text),
            "raw": raw.compress(text) + raw.flush(),
        }[encoding]
        header = "Content-Encoding: " + ("gzip" if encoding == "gzip" else "deflate")
        async with serving(answer_with("200 OK", packed, header)) as server:
            answer = await client.call(callback(server.url, expect="twiml"))
        assert (answer.error_code, answer.body) == (None, text)

    @pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
    async def test_compression_bomb_fails_with_11750_at_the_limit(
        self, client: WebhookClient, pack: Callable[[bytes], bytes]
    ) -> None:
        bomb = pack(bytes(50_000_000))
        header = "Content-Encoding: " + ("gzip" if pack is gzip.compress else "deflate")
        async with serving(answer_with("200 OK", bomb, header)) as server:
            tracemalloc.start()
            try:
                answer = await client.call(callback(server.url, expect="twiml"))
                _, peak_bytes = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert (answer.error_code, len(answer.body)) == (11750, TWIML_BYTES_MAX)
        assert peak_bytes < 4_000_000

    async def test_endless_compressed_nothing_ends_at_a_share_of_the_limit(self, client: WebhookClient) -> None:
        # Empty stored blocks of deflate: five bytes each that inflate to none.
        nothing = b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * 60_000
        async with serving(answer_with("200 OK", nothing, "Content-Encoding: deflate")) as server:
            answer = await client.call(callback(server.url, expect="twiml"))
        assert (answer.error_code, answer.body) == (11750, b"")

    async def test_attempt_keeps_what_can_be_stored(self, client: WebhookClient) -> None:
        body = b"\x00\xff" + b"y" * 9000
        reply = answer_with("200 OK", body, "X-Odd: ?").replace(b"X-Odd: ?", b"X-Odd: \xff")
        async with serving(reply) as server:
            answer = await client.call(callback(server.url + "/t", params=[("Body", "z" * 9000)]))
        (attempt,) = answer.attempts
        assert attempt.response_body.startswith("\ufffd\ufffdy")
        assert len(attempt.response_body) == len(attempt.request_body) == BODY_KEPT_BYTES
        assert (attempt.url, attempt.method, attempt.status) == (server.url + "/t", "POST", 200)
        assert (attempt.started_at, attempt.error_code) == (NOW, None)
        assert attempt.duration_ms >= 0
        assert attempt.response_headers["X-Odd"].encode("utf-8") == b"?"
        assert answer.headers["x-odd"] == "?"


class TestTimersAndRetries:
    async def test_server_that_never_answers_fails_with_11205_after_rt(self, client: WebhookClient) -> None:
        async with serving("hold") as server:
            answer = await client.call(callback(server.url + "/#rt=100"))
        assert (answer.status, answer.error_code, len(server.requests)) == (None, 11205, 1)
        assert 100 <= answer.attempts[0].duration_ms < 5000

    async def test_body_that_stalls_fails_with_11205(self, client: WebhookClient) -> None:
        async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<Resp") as server:
            answer = await client.call(callback(server.url + "/#rt=100", expect="twiml"))
        assert answer.error_code == 11205

    @pytest.mark.parametrize(
        ("fragment", "reply", "requests"),
        [
            ("rt=100", "hold", 1),
            ("rt=100&rp=rt", "hold", 2),
            ("rt=100&rp=rt&rc=2", "hold", 3),
            ("rt=100&rp=all&rc=0", "hold", 1),
            ("rp=rt", "drop", 2),
            ("rp=5xx&rc=3", "500", 4),
            ("rp=4xx&rc=3", "500", 1),
            ("rp=4xx,5xx", "404", 2),
            ("rp=all&rc=5", "404", 6),
            ("rp=nonsense&rc=5", "404", 1),
            ("rp=all&rc=6", "404", 2),
        ],
    )
    async def test_retry_follows_the_overrides(
        self, client: WebhookClient, fragment: str, reply: str, requests: int
    ) -> None:
        async with serving(answer_with(reply + " X") if reply.isdigit() else reply) as server:
            answer = await client.call(callback(f"{server.url}/#{fragment}"))
        assert len(server.requests) == len(answer.attempts) == requests
        assert len({request.headers["i-twilio-idempotency-token"] for request in server.requests}) == 1

    async def test_retry_that_succeeds_is_success(self, client: WebhookClient) -> None:
        async with serving(answer_with("500 X"), OK) as server:
            answer = await client.call(callback(server.url + "#rp=5xx"))
        assert (answer.error_code, [attempt.error_code for attempt in answer.attempts]) == (None, [11200, None])

    async def test_total_time_bounds_all_retries(self, client: WebhookClient) -> None:
        async with serving("hold") as server:
            answer = await client.call(callback(server.url + "/#rt=150&tt=200&rc=5&rp=all"))
        assert (answer.error_code, len(server.requests)) == (11205, 2)
        assert sum(attempt.duration_ms for attempt in answer.attempts) < 5000

    async def test_refused_connection_is_tried_twice_and_fails_with_11205(self, client: WebhookClient) -> None:
        answer = await client.call(callback(f"http://127.0.0.1:{closed_port()}/"))
        assert (answer.status, answer.error_code, len(answer.attempts)) == (None, 11205, 2)

    async def test_connection_that_is_not_taken_up_fails_with_11205_after_ct(self, client: WebhookClient) -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            waiting = [socket.socket() for _ in range(3)]
            for one in waiting:
                # The queue of one is full after the first or second; the system then lets SYNs go unanswered.
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            answer = await client.call(callback(f"http://127.0.0.1:{full.getsockname()[1]}/#ct=100&rc=1"))
            for one in waiting:
                one.close()
        assert (answer.error_code, len(answer.attempts)) == (11205, 2)
        assert answer.error == "no connection within 100 ms"

    async def test_ignored_override_is_reported(self, client: WebhookClient) -> None:
        async with serving(NO_CONTENT) as server:
            answer = await client.call(callback(server.url + "#rp=sometimes"))
        assert [code for code, _ in answer.warnings] == [11243]
        assert answer.error_code is None


class TestRedirects:
    @pytest.mark.parametrize(
        ("status", "method", "then"),
        [
            (301, "POST", "GET"),
            (302, "POST", "GET"),
            (303, "POST", "GET"),
            (307, "POST", "POST"),
            (308, "POST", "POST"),
            (302, "GET", "GET"),
            (307, "GET", "GET"),
        ],
    )
    async def test_redirect_is_followed_and_signed_for_its_own_url(
        self, client: WebhookClient, status: int, method: str, then: str
    ) -> None:
        async with serving(answer_with(f"{status} Moved", b"", "Location: /there?x=1"), OK) as server:
            answer = await client.call(callback(server.url + "/here", method=method))
        first, second = server.requests
        assert (second.method, second.target) == (then, "/there?x=1")
        assert second.body == (first.body if then == "POST" else b"")
        assert signature_holds(first) and signature_holds(second)
        assert (answer.status, answer.error_code) == (200, None)
        assert [(attempt.status, attempt.error_code) for attempt in answer.attempts] == [(status, None), (200, None)]

    async def test_json_redirect_carries_its_digest_along(self, client: WebhookClient) -> None:
        async with serving(answer_with("307 Moved", b"", "Location: /there"), OK) as server:
            await client.call(callback(server.url, json_body=b"{}"))
        assert server.requests[1].target == f"/there?bodySHA256={hashlib.sha256(b'{}').hexdigest()}"
        assert signature_holds(server.requests[1])

    async def test_location_that_is_no_text_is_followed_byte_for_byte(self, client: WebhookClient) -> None:
        reply = answer_with("302 Moved", b"", "Location: /?").replace(b"/?", b"/\xfc")
        async with serving(reply, OK) as server:
            await client.call(callback(server.url))
        assert server.requests[1].target == "/%FC"
        assert signature_holds(server.requests[1])

    async def test_loop_fails_with_11215(self, client: WebhookClient) -> None:
        async with serving(answer_with("302 Moved", b"", "Location: /again")) as server:
            answer = await client.call(callback(server.url))
        assert (answer.error_code, len(server.requests)) == (11215, 11)

    @pytest.mark.parametrize(
        "reply",
        [
            answer_with("302 Moved"),
            answer_with("302 Moved", b"", "Location: ftp://127.0.0.1/x"),
            answer_with("302 Moved", b"", "Location: http://[::1/x"),
            answer_with("302 Moved", b"", "Location: //under_score/x"),
            answer_with("300 Choices", b"", "Location: /x"),
            answer_with("304 Not Modified"),
        ],
    )
    async def test_redirect_that_leads_nowhere_fails_with_11216(self, client: WebhookClient, reply: bytes) -> None:
        async with serving(reply) as server:
            answer = await client.call(callback(server.url))
        assert (answer.error_code, answer.attempts[-1].error_code, len(server.requests)) == (11216, 11216, 1)

    async def test_credentials_and_cookies_stay_with_their_origin(self, client: WebhookClient) -> None:
        challenge = answer_with("401 No", b"", 'WWW-Authenticate: Basic realm="r"')
        async with serving(challenge) as elsewhere:
            away = answer_with("307 Moved", b"", f"Location: {elsewhere.url}/x")
            async with serving(challenge, answer_with("307 Moved", b"", "Location: /y"), away) as home:
                url = home.url.replace("//", "//u:p@")
                answer = await client.call(callback(url, cookies={"s": "1"}))
        assert [request.headers.get("authorization") for request in home.requests] == [None, *["Basic dTpw"] * 2]
        assert [request.headers.get("cookie") for request in home.requests] == ["s=1"] * 3
        assert [request.headers.get("authorization") for request in elsewhere.requests] == [None]
        assert [request.headers.get("cookie") for request in elsewhere.requests] == [None]
        assert (answer.status, answer.error_code) == (401, 11200)

    async def test_cookies_of_another_origin_are_not_handed_on(self, client: WebhookClient) -> None:
        async with serving(answer_with("200 OK", b"", "Set-Cookie: theirs=1")) as elsewhere:
            reply = answer_with("302 Moved", b"", f"Location: {elsewhere.url}/x", "Set-Cookie: ours=1")
            async with serving(reply) as home:
                answer = await client.call(callback(home.url))
        assert answer.set_cookies == ("ours=1",)

    async def test_location_with_a_password_is_masked(self, client: WebhookClient) -> None:
        async with serving(OK) as there:
            location = "Location: " + there.url.replace("//", "//u:hunter2@") + "/x"
            async with serving(answer_with("302 Moved", b"", location)) as server:
                answer = await client.call(callback(server.url))
        assert answer.error_code is None
        assert "hunter2" not in repr(answer)


class TestLanes:
    async def test_no_more_than_the_bound_run_towards_one_host(self) -> None:
        running = most = 0
        gate = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal running, most
            await reader.readuntil(b"\r\n\r\n")
            running += 1
            most = max(most, running)
            if running == 3:
                gate.set()
            await gate.wait()
            running -= 1
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        await with_listener(serve, lambda url: self._burst(url, calls=12))
        assert most == 3

    async def _burst(self, url: str, calls: int) -> None:
        async with WebhookClient(VirtualClock(), LOOPBACK, connections_per_host_max=3) as client:
            answers = await asyncio.gather(*(client.call(callback(url)) for _ in range(calls)))
        assert [answer.status for answer in answers] == [204] * calls

    async def test_slow_host_holds_up_itself_alone(self) -> None:
        async with (
            serving("hold") as slow,
            serving(NO_CONTENT) as quick,
            WebhookClient(
                VirtualClock(), LOOPBACK, connections_max=2, connections_per_host_max=1, lane_wait_s=0.05
            ) as client,
        ):
            stuck = asyncio.create_task(client.call(callback(slow.url + "#rt=2000")))
            await slow.arrived.wait()
            behind: Answer = await client.call(callback(slow.url))
            beside: Answer = await client.call(callback(quick.url))
            slow.over.set()
            await stuck
        assert (behind.error_code, behind.status, len(slow.requests)) == (11205, None, 1)
        assert beside.status == 204


async def with_listener(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    use: Callable[[str], Awaitable[None]],
) -> None:
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        await use(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/")
    finally:
        listener.close()
        await listener.wait_closed()


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
