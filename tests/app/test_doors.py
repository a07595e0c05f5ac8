"""Clients that know nothing of onterms come in through the doors: proxy, TLS port, plain HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import pytest
import requests
import uvloop

from onterms.app import hosts
from onterms.app.certificates import LocalAuthority
from onterms.app.doors import Doors, Ports
from onterms.app.exports import exports
from onterms.app.http1 import HttpRequest, Limits

ACCOUNT = "AC" + "0" * 32
# Set in an environment, these would lead a client past the doors under test.
AMBIENT = ("proxy", "ca_bundle", "ssl_cert", "twilio_", "extra_ca")


async def echo(request: HttpRequest) -> None:
    """Answer with what the app was told about the request, in a shape that the SDK reads as a Message."""
    body = request.take()
    while not request.is_complete():
        await request.more()
        body += request.take()
    headers = {name.decode(): value.decode() for name, value in request.headers}
    seen = {
        "method": request.method,
        "path": request.path,
        "query": request.query.decode(),
        "scheme": request.scheme,
        "host": headers.get("host"),
        "state": request.state,
        "headers": headers,
        "body": body.decode("latin-1"),
    }
    data = json.dumps({"sid": "SM" + "0" * 32, "error_message": json.dumps(seen)}).encode()
    request.respond(201 if request.method == "POST" else 200, [(b"content-type", b"application/json")], data)


def seen(text: str | bytes) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.loads(text)["error_message"])
    return result


class Running:
    """Doors in a loop of their own thread, so that blocking clients can be used as they are."""

    def __init__(
        self, make: Callable[[], Doors], loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    ) -> None:
        self._make = make
        self._loop = loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.doors: Doors
        self.ports: Ports

    def __enter__(self) -> Running:
        self._thread.start()
        self.call(self._start())
        return self

    async def _start(self) -> None:
        self.doors = self._make()
        await self.doors.start()
        self.ports = self.doors.ports

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def __exit__(self, *_: object) -> None:
        self.call(self.doors.stop(0.0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    @property
    def proxy(self) -> str:
        return f"http://127.0.0.1:{self.ports.proxy}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    return LocalAuthority(tmp_path_factory.mktemp("tls"))


def make_doors(authority: LocalAuthority, app: Any = echo, **settings: Any) -> Doors:
    local = ("127.0.0.1", 0)
    return Doors(app, authority=authority, **{"http": local, "proxy": local, "tls": local, **settings})


@pytest.fixture
def running(authority: LocalAuthority) -> Iterator[Running]:
    with Running(lambda: make_doors(authority)) as started:
        yield started


@pytest.fixture
def impatient(authority: LocalAuthority) -> Iterator[Running]:
    with Running(lambda: make_doors(authority, limits=Limits(head_timeout_s=0.2))) as started:
        yield started


@contextlib.contextmanager
def connected(port: int | None) -> Iterator[socket.socket]:
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def read_head(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(1)
        assert data, received
        received += data
    return received


def read_response(connection: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def session(running: Running, authority: LocalAuthority) -> requests.Session:
    made = requests.Session()
    made.trust_env = False
    made.proxies = {"http": running.proxy, "https": running.proxy}
    made.verify = str(authority.bundle_path)
    return made


def client_environment(running: Running, authority: LocalAuthority) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not any(word in k.lower() for word in AMBIENT)}
    assert running.ports.proxy is not None
    return environment | exports(
        proxy_port=running.ports.proxy,
        ca=authority.ca_path,
        bundle=authority.bundle_path,
        account_sid=ACCOUNT,
        auth_token="secret",
    )


def run_client(program: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def foreign_server(context: ssl.SSLContext | None, answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server of somebody else's on this machine, for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    if context is not None:
                        connection = context.wrap_socket(connection, server_side=True)
                    with connection:
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # Ends an accept that nobody came for.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)


class SlowTls:
    """A TLS client that keeps the last words of its handshake until it has something to say."""

    def __init__(self, raw: socket.socket, authority: LocalAuthority) -> None:
        self._raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        trust = ssl.create_default_context(cafile=authority.ca_path)
        self._tls = trust.wrap_bio(self._incoming, self._outgoing, server_hostname="api.twilio.com")
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(self._outgoing.read())
                self._incoming.write(raw.recv(65536))

    def send_with_the_last_of_the_handshake(self, data: bytes) -> None:
        self._tls.write(data)
        self._raw.sendall(self._outgoing.read())

    def read_until(self, mark: bytes) -> bytes:
        """Read up to the mark, or to the end of the connection."""
        answer = b""
        while mark not in answer:
            try:
                piece = self._tls.read(65536)
            except ssl.SSLWantReadError:
                received = self._raw.recv(65536)
                if not received:
                    break
                self._incoming.write(received)
            else:
                if not piece:
                    break
                answer += piece
        return answer


class TestUnmodifiedClients:
    def test_twilio_sdk_with_the_exports_reaches_the_app(self, running: Running, authority: LocalAuthority) -> None:
        program = (
            "from twilio.rest import Client\n"
            "c = Client()\n"
            "m = c.messages.create(to='+15005550006', from_='+15005550001', body='hello')\n"
            "print(m.error_message)\n"
        )
        request = json.loads(run_client(program, client_environment(running, authority)))
        assert request["path"] == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
        assert (request["method"], request["scheme"], request["host"]) == ("POST", "https", "api.twilio.com")
        assert request["state"] == {"door": "proxy", "connect_host": "api.twilio.com"}
        assert "Body=hello" in request["body"]

    def test_twilio_sdk_with_edge_and_region_reaches_the_app(self, running: Running, authority: LocalAuthority) -> None:
        program = (
            "from twilio.rest import Client\n"
            "m = Client(edge='dublin', region='ie1').messages.create(to='+15005550006', from_='+1', body='x')\n"
            "print(m.error_message)\n"
        )
        request = json.loads(run_client(program, client_environment(running, authority)))
        assert request["host"] == "api.dublin.ie1.twilio.com"
        assert hosts.canonical(request["host"]) == "api.twilio.com"

    def test_twilio_sdk_with_a_region_door_reaches_the_tls_port(
        self, running: Running, authority: LocalAuthority
    ) -> None:
        # Not every system resolves names below localhost; the SDK's own URL is what counts here.
        program = (
            "import socket\n"
            "real = socket.getaddrinfo\n"
            "here = lambda host: '127.0.0.1' if host.endswith('.localhost') else host\n"
            "socket.getaddrinfo = lambda host, *a, **k: real(here(host), *a, **k)\n"
            "from twilio.rest import Client\n"
            "print(Client().messages.create(to='+15005550006', from_='+1', body='x').error_message)\n"
        )
        environment = {k: v for k, v in client_environment(running, authority).items() if "proxy" not in k.lower()}
        environment["TWILIO_REGION"] = f"localhost:{running.ports.tls}/"
        request = json.loads(run_client(program, environment))
        assert hosts.canonical(request["host"]) == "api.twilio.com"
        assert hosts.strip_region_door(request["path"]) == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
        assert request["state"] == {"door": "tls"}

    def test_urllib_with_the_exports_reaches_the_app(self, running: Running, authority: LocalAuthority) -> None:
        program = (
            "import urllib.request\nprint(urllib.request.urlopen('https://api.sendgrid.com/v3/mail/send', b'{}')"
            ".read().decode())"
        )
        request = seen(run_client(program, client_environment(running, authority)))
        assert (request["host"], request["path"], request["body"]) == ("api.sendgrid.com", "/v3/mail/send", "{}")

    async def test_aiohttp_keeps_one_connection_through_the_proxy(
        self, running: Running, authority: LocalAuthority
    ) -> None:
        trust = ssl.create_default_context(cafile=authority.ca_path)
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as client:
            for number in range(5):
                url = f"https://verify.twilio.com/v2/Services/{number}"
                async with client.post(url, data=b"x" * 200_000, proxy=running.proxy, ssl=trust) as response:
                    request = seen(await response.read())
                    assert request["path"] == f"/v2/Services/{number}"
                    assert len(request["body"]) == 200_000
                    assert "Server" not in response.headers
                    assert response.headers["Date"].endswith("GMT")

    def test_requests_through_the_proxy_share_a_tunnel(self, running: Running, authority: LocalAuthority) -> None:
        with session(running, authority) as client:
            answers = [client.get(f"https://api.twilio.com/{n}?q={n}") for n in range(4)]
        assert [seen(answer.text)["query"] for answer in answers] == ["q=0", "q=1", "q=2", "q=3"]
        assert all(answer.headers.get("connection") is None for answer in answers)

    def test_client_without_our_authority_is_not_served(self, running: Running) -> None:
        with requests.Session() as client:
            client.trust_env = False
            with pytest.raises(requests.exceptions.SSLError):
                client.get("https://api.twilio.com/", proxies={"https": running.proxy})

    def test_plain_http_to_the_http_port_reaches_the_app(self, running: Running) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{running.ports.http}/2010-04-01/x%20y?a=1") as response:
            request = seen(response.read())
        assert (request["path"], request["query"], request["scheme"]) == ("/2010-04-01/x%20y", "a=1", "http")
        assert request["state"] == {"door": "http"}


class TestTlsPort:
    @pytest.mark.parametrize("name", ["api.twilio.com", "studio.sydney.au1.twilio.com", "api.segment.io", "localhost"])
    def test_certificate_fits_the_name_asked_for(self, running: Running, authority: LocalAuthority, name: str) -> None:
        trust = ssl.create_default_context(cafile=authority.ca_path)
        trust.set_alpn_protocols(["h2", "http/1.1"])
        with connected(running.ports.tls) as raw, trust.wrap_socket(raw, server_hostname=name) as tls:
            assert tls.selected_alpn_protocol() == "http/1.1"
            tls.sendall(b"GET /here HTTP/1.1\r\nHost: %s\r\n\r\n" % name.encode())
            status, body = read_response(tls)
        assert (status, seen(body)["scheme"], seen(body)["host"]) == (200, "https", name)

    def test_certificate_fits_an_address(self, running: Running, authority: LocalAuthority) -> None:
        trust = ssl.create_default_context(cafile=authority.ca_path)
        with connected(running.ports.tls) as raw, trust.wrap_socket(raw, server_hostname="127.0.0.1") as tls:
            assert tls.version() == "TLSv1.3"

    def test_foreign_name_gets_no_certificate(self, running: Running, authority: LocalAuthority) -> None:
        trust = ssl.create_default_context(cafile=authority.ca_path)
        with connected(running.ports.tls) as raw, pytest.raises((ssl.SSLError, ConnectionResetError)):
            trust.wrap_socket(raw, server_hostname="bank.example")


class TestProxyHead:
    @pytest.mark.parametrize("door", ["http", "proxy"])
    def test_head_in_single_bytes_is_understood(self, running: Running, authority: LocalAuthority, door: str) -> None:
        trust = ssl.create_default_context(cafile=authority.ca_path)
        with connected(getattr(running.ports, door)) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"\r\nCONNECT api.twilio.com:443 HTTP/1.1\r\nHost: api.twilio.com:443\r\n\r\n":
                raw.sendall(bytes([byte]))
            assert read_head(raw) == b"HTTP/1.1 200 Connection established\r\n\r\n"
            with trust.wrap_socket(raw, server_hostname="api.twilio.com") as tls:
                tls.sendall(b"GET /one HTTP/1.1\r\nHost: api.twilio.com\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n")
                assert seen(read_response(tls)[1])["path"] == "/one"
                assert seen(read_response(tls)[1])["path"] == "/two"

    def test_ordinary_head_in_single_bytes_is_served(self, running: Running) -> None:
        with connected(running.ports.http) as raw:
            for byte in b"POST /torn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc":
                raw.sendall(bytes([byte]))
            status, body = read_response(raw)
        assert (status, seen(body)["body"]) == (201, "abc")

    # asyncio's loop hands over what follows the handshake before it says that the handshake is over.
    @pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
    def test_request_in_the_same_segment_as_the_end_of_the_handshake_is_served(
        self, authority: LocalAuthority, loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        with Running(lambda: make_doors(authority), loop) as started, connected(started.ports.proxy) as raw:
            raw.sendall(b"CONNECT api.twilio.com:443 HTTP/1.1\r\n\r\n")
            read_head(raw)
            client = SlowTls(raw, authority)
            client.send_with_the_last_of_the_handshake(b"GET /early HTTP/1.1\r\nHost: api.twilio.com\r\n\r\n")
            answer = client.read_until(b"/early")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")

    def test_connect_to_our_plain_port_speaks_http(self, running: Running) -> None:
        with connected(running.ports.proxy) as raw:
            raw.sendall(b"CONNECT api.twilio.com:80 HTTP/1.1\r\n\r\n")
            read_head(raw)
            raw.sendall(b"GET /x HTTP/1.1\r\nHost: api.twilio.com\r\n\r\n")
            assert seen(read_response(raw)[1])["scheme"] == "http"

    @pytest.mark.parametrize(
        "head",
        [
            b"CONNECT api.twilio.com HTTP/1.1",
            b"CONNECT api.twilio.com:0 HTTP/1.1",
            b"CONNECT api.twilio.com:65536 HTTP/1.1",
            b"CONNECT [::1:443 HTTP/1.1",
            b"CONNECT a@api.twilio.com:443 HTTP/1.1",
            b"CONNECT  api.twilio.com:443 HTTP/1.1",
            b"CONNECT api.twilio.com:443 HTTP/2.0",
            b"CONNECT api.twilio.com:443 HTTP/1.1\r\nno colon",
            b"CONNECT api.twilio.com:443 HTTP/1.1\r\nA: b\r\n folded: c",
            b"GET ftp://api.twilio.com/ HTTP/1.1",
            b"GET http:///nohost HTTP/1.1",
            b"GET http://user:pass@api.twilio.com/ HTTP/1.1",
            b"POST http://api.twilio.com/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
            b"POST http://api.twilio.com/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
            b"GET garbage HTTP/1.1",
        ],
    )
    def test_malformed_head_is_refused_with_400(self, running: Running, head: bytes) -> None:
        with connected(running.ports.proxy) as raw:
            raw.sendall(head + b"\r\n\r\n")
            assert read_all(raw).startswith(b"HTTP/1.1 400 ")

    @pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00", b"\x00" * 100, b"hello\r\n\r\n", b"x" * 100_000])
    def test_garbage_is_answered_with_400_and_closed(self, running: Running, garbage: bytes) -> None:
        with connected(running.ports.proxy) as raw:
            raw.sendall(garbage)
            assert read_all(raw).startswith(b"HTTP/1.1 400 ")

    def test_data_before_our_tunnel_stands_is_refused_with_400(self, running: Running) -> None:
        with connected(running.ports.proxy) as raw:
            raw.sendall(b"CONNECT api.twilio.com:443 HTTP/1.1\r\n\r\n\x16\x03\x01")
            assert read_all(raw).startswith(b"HTTP/1.1 400 ")

    def test_connect_on_a_used_connection_is_refused_with_400(self, running: Running) -> None:
        with connected(running.ports.http) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_response(raw)[0] == 200
            raw.sendall(b"CONNECT api.twilio.com:443 HTTP/1.1\r\n\r\n")
            assert read_all(raw).startswith(b"HTTP/1.1 400 ")

    @pytest.mark.parametrize("begin", [b"CONNECT api.twilio.com:443 HTTP/1.1\r\nA: ", b"GET / HTTP/1.1\r\nA: "])
    @pytest.mark.parametrize("at_once", [True, False])
    def test_oversize_head_is_refused_with_431(self, running: Running, begin: bytes, at_once: bool) -> None:
        with connected(running.ports.proxy) as raw:
            if at_once:
                raw.sendall(begin + b"x" * 200_000)
            else:
                raw.sendall(begin)
                # The answer may come, and the connection end, while this is still going out.
                with contextlib.suppress(ConnectionError):
                    for _ in range(60):
                        raw.sendall(b"x" * 1000)
            assert read_head(raw).startswith(b"HTTP/1.1 431 ")

    def test_body_before_a_torn_head_is_not_taken_for_a_head(self, authority: LocalAuthority) -> None:
        first = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 130\r\n\r\n" + b"b" * 130
        begun = b"GET /next HTTP/1.1\r\nHost: a\r\nAccept: "
        with (
            # The second 100 bytes are the body's end and the next head's beginning.
            Running(lambda: make_doors(authority, limits=Limits(head_bytes_max=100))) as started,
            connected(started.ports.http) as raw,
        ):
            cut = 200 - len(first)
            raw.sendall(first + begun[:cut])
            assert len(seen(read_response(raw)[1])["body"]) == 130
            raw.sendall(begun[cut:])
            with connected(started.ports.http) as other:
                # Answered after what came before it was read.
                other.sendall(b"GET / HTTP/1.1\r\n\r\n")
                read_response(other)
            raw.sendall(b"x\r\n\r\n")
            assert seen(read_response(raw)[1])["path"] == "/next"

    @pytest.mark.parametrize("sent", [b"", b"CONNECT api.tw", b"GET / HTTP/1.1\r\nHo"])
    def test_client_that_does_not_finish_its_head_is_closed(self, impatient: Running, sent: bytes) -> None:
        with connected(impatient.ports.proxy) as raw:
            raw.sendall(sent)
            assert b"200" not in read_all(raw)

    def test_client_silent_after_the_handshake_is_closed(self, impatient: Running, authority: LocalAuthority) -> None:
        trust = ssl.create_default_context(cafile=authority.ca_path)
        with connected(impatient.ports.tls) as raw, trust.wrap_socket(raw, server_hostname="localhost") as tls:
            assert read_all(tls) == b""

    def test_offered_upgrade_is_passed_over_and_the_body_kept(self, running: Running) -> None:
        with connected(running.ports.http) as raw:
            raw.sendall(
                b"POST /up HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                b"HTTP2-Settings: AAMAAABk\r\nContent-Length: 6\r\n\r\nGET"
            )
            raw.sendall(b" / ")
            status, body = read_response(raw)
            assert (status, seen(body)["body"]) == (201, "GET / ")
            raw.sendall(b"GET /again HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert seen(read_response(raw)[1])["path"] == "/again"


class TestAbsoluteForm:
    def test_url_of_ours_is_served_by_path_and_its_own_host(self, running: Running) -> None:
        with connected(running.ports.proxy) as raw:
            raw.sendall(
                b"POST http://api.twilio.com:80/2010-04-01/x?a=1 HTTP/1.1\r\nHost: other.example\r\n"
                b"Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"
            )
            status, body = read_response(raw)
            assert raw.recv(1) == b""
        request = seen(body)
        assert (status, request["path"], request["query"], request["body"]) == (201, "/2010-04-01/x", "a=1", "hi")
        assert request["host"] == "api.twilio.com:80"
        assert not [name for name in request["headers"] if name.startswith("proxy-")]

    def test_requests_session_mixes_our_and_foreign_hosts(self, running: Running, authority: LocalAuthority) -> None:
        def answer(connection: socket.socket) -> None:
            head = read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(head) + head)

        with foreign_server(None, answer) as port, session(running, authority) as client:
            assert seen(client.get("http://api.twilio.com/a").text)["path"] == "/a"
            foreign = client.get(f"http://127.0.0.1:{port}/b?c=d", headers={"Proxy-Secret": "s"}).text
            assert seen(client.get("http://api.twilio.com/e").text)["path"] == "/e"
        assert foreign.startswith("GET /b?c=d HTTP/1.1\r\n")
        assert f"Host: 127.0.0.1:{port}\r\n" in foreign
        assert "Proxy-" not in foreign
        assert "Connection: close\r\n" in foreign

    def test_request_after_a_forwarded_one_does_not_reach_its_origin(self, running: Running) -> None:
        got: list[bytes] = []

        def answer(connection: socket.socket) -> None:
            got.append(read_all(connection))
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")

        with foreign_server(None, answer) as port, connected(running.ports.proxy) as raw:
            raw.sendall(
                b"POST http://127.0.0.1:%d/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
                b"GET http://api.twilio.com/secret HTTP/1.1\r\n\r\n" % port
            )
            raw.shutdown(socket.SHUT_WR)
            assert read_all(raw).endswith(b"ok")
        assert got[0].endswith(b"\r\n\r\nabc")

    def test_foreign_https_url_is_refused_with_400(self, running: Running) -> None:
        with connected(running.ports.proxy) as raw:
            raw.sendall(b"GET https://other.example/ HTTP/1.1\r\n\r\n")
            assert read_all(raw).startswith(b"HTTP/1.1 400 ")


class TestPassthrough:
    def test_foreign_tls_server_is_reached_with_its_own_certificate(
        self, running: Running, authority: LocalAuthority
    ) -> None:
        payload = os.urandom(3_000_000)

        def answer(connection: socket.socket) -> None:
            read_head(connection)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(payload)
            connection.sendall(head + payload)

        with foreign_server(authority.context_for("localhost"), answer) as port, session(running, authority) as client:
            response = client.get(f"https://localhost:{port}/large")
        assert response.content == payload

    def test_server_that_speaks_first_and_half_closed_clients_are_carried(self, running: Running) -> None:
        def answer(connection: socket.socket) -> None:
            connection.sendall(b"220 ready\r\n")
            connection.sendall(b"got " + read_all(connection))

        with foreign_server(None, answer) as port, connected(running.ports.proxy) as raw:
            raw.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\nearly " % port)
            assert read_head(raw) == b"HTTP/1.1 200 Connection established\r\n\r\n"
            raw.sendall(b"late")
            raw.shutdown(socket.SHUT_WR)
            assert read_all(raw) == b"220 ready\r\ngot early late"

    def test_dead_port_is_answered_with_502(self, running: Running) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with connected(running.ports.proxy) as raw:
                raw.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % unused.getsockname()[1])
                assert read_all(raw).startswith(b"HTTP/1.1 502 ")

    def test_name_that_cannot_exist_is_answered_with_502(self, running: Running) -> None:
        with connected(running.ports.proxy) as raw:
            raw.sendall(b"CONNECT %s.example:443 HTTP/1.1\r\n\r\n" % (b"a" * 64))
            assert read_all(raw).startswith(b"HTTP/1.1 502 ")

    def test_target_that_takes_too_long_is_answered_with_504(self, authority: LocalAuthority) -> None:
        def make() -> Doors:
            return make_doors(authority, limits=Limits(connect_timeout_s=0.0))

        with Running(make) as started, connected(started.ports.proxy) as raw:
            raw.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % started.ports.http)
            assert read_all(raw).startswith(b"HTTP/1.1 504 ")

    def test_too_many_tunnels_are_answered_with_503(self, authority: LocalAuthority) -> None:
        def make() -> Doors:
            return make_doors(authority, limits=Limits(tunnels_max=0))

        with Running(make) as started, connected(started.ports.proxy) as raw:
            raw.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % started.ports.http)
            assert read_all(raw).startswith(b"HTTP/1.1 503 ")

    def test_idle_tunnel_is_closed(self, authority: LocalAuthority) -> None:
        def make() -> Doors:
            return make_doors(authority, limits=Limits(tunnel_idle_s=0.2))

        with (
            Running(make) as started,
            socket.create_server(("127.0.0.1", 0)) as silent,
            connected(started.ports.proxy) as raw,
        ):
            raw.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % silent.getsockname()[1])
            read_head(raw)
            # Were the tunnel kept, this would end with the socket's timeout instead.
            with contextlib.suppress(ConnectionResetError):
                assert raw.recv(1) == b""

    def test_passthrough_switched_off_is_answered_with_403(self, authority: LocalAuthority) -> None:
        with Running(lambda: make_doors(authority, passthrough=False)) as started:
            for request in (b"CONNECT other.example:443 HTTP/1.1", b"GET http://other.example/ HTTP/1.1"):
                with connected(started.ports.proxy) as raw:
                    raw.sendall(request + b"\r\n\r\n")
                    assert read_all(raw).startswith(b"HTTP/1.1 403 ")

    def test_http_port_carries_nobody(self, running: Running) -> None:
        with connected(running.ports.http) as raw:
            raw.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % running.ports.http)
            assert read_all(raw).startswith(b"HTTP/1.1 403 ")


class Gate:
    """An app whose requests wait until they are let go."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = False

    async def __call__(self, request: HttpRequest) -> None:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await echo(request)


async def request_line(port: int | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return reader, writer


class TestStop:
    @pytest.fixture
    async def gate(self) -> AsyncIterator[Gate]:
        yield Gate()

    async def test_running_request_finishes_and_new_clients_are_refused(
        self, authority: LocalAuthority, gate: Gate
    ) -> None:
        doors = make_doors(authority, gate)
        await doors.start()
        reader, writer = await request_line(doors.ports.http)
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", doors.ports.proxy)
        await gate.entered.wait()
        stopping = asyncio.create_task(doors.stop(20.0))
        assert await idle_reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", doors.ports.http)
        gate.open.set()
        answer = await reader.read()
        await stopping
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close\r\n" in answer
        assert not gate.cancelled
        for each in (writer, idle_writer):
            each.close()
            await each.wait_closed()

    async def test_request_that_outlasts_the_grace_is_cancelled(self, authority: LocalAuthority, gate: Gate) -> None:
        doors = make_doors(authority, gate)
        await doors.start()
        reader, writer = await request_line(doors.ports.http)
        await gate.entered.wait()
        await doors.stop(0.05)
        assert gate.cancelled
        with contextlib.suppress(ConnectionResetError):
            assert b" 200 " not in await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()

    def test_idle_tls_client_does_not_delay_the_stop(self, running: Running, authority: LocalAuthority) -> None:
        trust = ssl.create_default_context(cafile=authority.ca_path)
        with connected(running.ports.tls) as raw, trust.wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_response(tls)[0] == 200
            # The client reads nothing more, so it does not answer the closing of the TLS session either.
            running.call(asyncio.wait_for(running.doors.stop(19.0), 10))

    def test_handshake_that_outlasts_the_stop_leads_to_no_request(
        self, running: Running, authority: LocalAuthority
    ) -> None:
        with connected(running.ports.tls) as raw:
            client = SlowTls(raw, authority)
            running.call(running.doors.stop(0.0))
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                client.send_with_the_last_of_the_handshake(b"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b"HTTP" not in client.read_until(b"/late")

    def test_tunnel_to_a_foreign_host_ends_with_the_doors(self, running: Running) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent, connected(running.ports.proxy) as raw:
            raw.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % silent.getsockname()[1])
            read_head(raw)
            running.call(asyncio.wait_for(running.doors.stop(19.0), 10))
            with contextlib.suppress(ConnectionResetError):
                assert raw.recv(1) == b""

    async def test_taken_port_leaves_no_other_door_open(self, authority: LocalAuthority) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            doors = make_doors(authority, tls=("127.0.0.1", taken.getsockname()[1]))
            with pytest.raises(OSError, match=r"(?i)in use"):
                await doors.start()
        assert doors.ports == Ports(None, None, None)

    async def test_door_given_as_none_stays_shut(self, authority: LocalAuthority) -> None:
        doors = make_doors(authority, proxy=None, tls=None)
        await doors.start()
        assert doors.ports.http
        assert (doors.ports.proxy, doors.ports.tls) == (None, None)
        await doors.stop(0.0)
