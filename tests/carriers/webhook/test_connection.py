"""The webhook client's own HTTP against servers that write what they like, byte for byte, on both event loops."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from onterms.carriers.webhook import AddressPolicy, WebhookClient
from onterms.carriers.webhook.auth import answer_challenge
from onterms.carriers.webhook.connection import HEAD_BYTES_MAX, Connection, Disconnected
from onterms.core.clock import SystemClock
from onterms.ports.callback import TWIML_BYTES_MAX, Callback

LOOPBACK = AddressPolicy.parse("loopback")
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self) -> tuple[bytes, bytes]:
        """Read one request: its head and its body."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: ([0-9]+)\r\n", head)
        return head, await self._reader.readexactly(int(length[1]) if length else 0)

    async def head(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, data: bytes) -> None:
        await self.request()
        await self.send(data)

    async def gone(self) -> None:
        """Wait until the client has closed."""
        try:
            while await self._reader.read(65_536):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        """End with an RST."""
        self._writer.transport.abort()


Talk = Callable[[Peer], Awaitable[None]]


class Served:
    """A server on loopback; each connection has the next of the talks, the last one forever."""

    def __init__(self, talks: tuple[Talk, ...], scheme: str) -> None:
        self.talks = talks
        self.scheme = scheme
        self.port = 0
        self.peers: list[Peer] = []
        self.failures: list[BaseException] = []
        self.over: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/"

    @property
    def connections(self) -> int:
        return len(self.peers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        talk = self.talks[min(len(self.peers), len(self.talks)) - 1]
        try:
            await talk(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            self.failures.append(error)
        finally:
            writer.close()


@asynccontextmanager
async def serving(*talks: Talk, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Served]:
    served = Served(talks, "https" if tls else "http")
    listener = await asyncio.start_server(served.serve, host, 0, ssl=tls)
    served.port = listener.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        listener.close()
        await listener.wait_closed()
    assert served.failures == []


def once(*pieces: bytes) -> Talk:
    """Answer one request in pieces and close."""

    async def talk(peer: Peer) -> None:
        await peer.request()
        for piece in pieces:
            await peer.send(piece)
            await asyncio.sleep(0)

    return talk


def always(*answers: bytes) -> Talk:
    """Answer one request after another, the last way forever."""

    async def talk(peer: Peer) -> None:
        number = 0
        while True:
            await peer.answer(answers[min(number, len(answers) - 1)])
            number += 1

    return talk


def then_wait(*pieces: bytes) -> Talk:
    """Answer one request and wait until the client closes."""

    async def talk(peer: Peer) -> None:
        await peer.request()
        for piece in pieces:
            await peer.send(piece)
        await peer.gone()

    return talk


def callback(url: str, **changes: Any) -> Callback:
    values: dict[str, Any] = {
        "account_sid": "AC" + "0" * 32,
        "url": url,
        "method": "POST",
        "params": [("MessageStatus", "sent")],
        "signing_token": "t0k3n",
        "idempotency_token": "c0ffee00-0000-4000-8000-000000000000",
        "expect": "twiml",
    }
    return Callback(**(values | changes))


@pytest.fixture
async def client() -> AsyncIterator[WebhookClient]:
    async with WebhookClient(SystemClock(), LOOPBACK) as client:
        yield client


class TestFraming:
    async def test_request_is_one_write_of_whole_http(self, client: WebhookClient) -> None:
        heard: list[bytes] = []

        async def talk(peer: Peer) -> None:
            head, body = await peer.request()
            heard.extend((head, body))
            await peer.send(NO_CONTENT)

        async with serving(talk) as served:
            await client.call(callback(served.url + "x?y=1"))
        head, body = heard
        lines = head.decode().split("\r\n")
        assert (lines[0], lines[1]) == ("POST /x?y=1 HTTP/1.1", f"Host: 127.0.0.1:{served.port}")
        assert (body, lines[-3]) == (b"MessageStatus=sent", f"Content-Length: {len(body)}")
        assert not any(line.lower().startswith(("connection:", "transfer-encoding:", "expect:")) for line in lines)

    async def test_chunked_body_is_put_together_and_its_trailers_are_no_headers(self, client: WebhookClient) -> None:
        chunked = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie\r\n\r\n"
            b"5;name=value\r\n<Resp\r\n6\r\nonse/>\r\n0\r\nSet-Cookie: late=1\r\nX-Late: 1\r\n\r\n"
        )
        async with serving(always(chunked)) as served:
            answers = [await client.call(callback(served.url)) for _ in range(2)]
        assert [answer.body for answer in answers] == [b"<Response/>"] * 2
        assert answers[0].set_cookies == () and "x-late" not in answers[0].headers
        assert served.connections == 1

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Empty:\r\nContent-Length: 11\r\n\r\n<Response/>",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n<\r\nA\r\nResponse/>\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n<Response/>",
        ],
    )
    async def test_answer_that_comes_byte_by_byte_is_the_same(self, client: WebhookClient, answer: bytes) -> None:
        async with serving(once(*(bytes([byte]) for byte in answer))) as served:
            ended = await client.call(callback(served.url))
        assert (ended.status, ended.error_code, ended.body) == (200, None, b"<Response/>")

    async def test_what_comes_before_the_answer_is_passed_over(self, client: WebhookClient) -> None:
        before = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nSet-Cookie: early=1\r\nLink: </a>\r\n\r\n"
        async with serving(always(before + NO_CONTENT)) as served:
            answers = [await client.call(callback(served.url)) for _ in range(2)]
        assert [(answer.status, answer.set_cookies, dict(answer.headers)) for answer in answers] == [(204, (), {})] * 2
        assert served.connections == 1

    async def test_protocol_nobody_asked_for_fails_with_11206(self, client: WebhookClient) -> None:
        switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n\x00\x00\x00"
        async with serving(then_wait(switch)) as served:
            answer = await client.call(callback(served.url))
        assert (answer.status, answer.error_code) == (101, 11206)

    @pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
    async def test_body_without_a_length_ends_with_the_connection(self, client: WebhookClient, head: bytes) -> None:
        async with serving(once(head, b"<Resp", b"onse/>")) as served:
            answers = [await client.call(callback(served.url)) for _ in range(2)]
        assert [(answer.error_code, answer.body) for answer in answers] == [(None, b"<Response/>")] * 2
        assert served.connections == 2

    async def test_older_server_that_keeps_connections_is_taken_at_its_word(self, client: WebhookClient) -> None:
        kept = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
        async with serving(always(kept)) as served:
            for _ in range(2):
                assert (await client.call(callback(served.url))).body == b"ok"
        assert served.connections == 1

    async def test_headers_that_come_repeatedly_are_shown_together(self, client: WebhookClient) -> None:
        reply = b"HTTP/1.1 204 No Content\r\nVia: 1.1 a\r\nX-Nul: \xc3\xa4\r\nVia: 1.1 b\r\nContent-Type: a/b\r\n\r\n"
        async with serving(always(reply)) as served:
            answer = await client.call(callback(served.url))
        shown = {"Via": "1.1 a, 1.1 b", "X-Nul": "ä", "Content-Type": "a/b"}
        assert answer.attempts[0].response_headers == shown
        assert answer.headers == {name.lower(): value for name, value in shown.items()}
        assert repr(answer.headers) == repr({name.lower(): value for name, value in shown.items()})


class TestBrokenServers:
    async def test_connection_that_ends_inside_the_head_is_not_tried_again(self, client: WebhookClient) -> None:
        async with serving(once(b"HTTP/1.1 200 OK\r\nContent-Le")) as served:
            answer = await client.call(callback(served.url))
        assert (answer.status, answer.error_code, served.connections) == (None, 11206, 1)
        assert answer.error == "the connection broke before an answer came"

    @pytest.mark.parametrize(
        "reply",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<Resp",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<Resp\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<Resp\r\nzz\r\n",
        ],
    )
    async def test_body_that_breaks_off_fails_with_11206(self, client: WebhookClient, reply: bytes) -> None:
        async with serving(once(reply)) as served:
            answer = await client.call(callback(served.url))
        assert (answer.status, answer.error_code, answer.body) == (None, 11206, b"")
        assert answer.error == "the answer broke off or is malformed"

    async def test_failure_status_counts_though_its_page_breaks_off(self, client: WebhookClient) -> None:
        async with serving(once(b"HTTP/1.1 503 Busy\r\nContent-Length: 99\r\n\r\nsor")) as served:
            answer = await client.call(callback(served.url))
        assert (answer.status, answer.error_code, answer.body) == (503, 11200, b"")

    async def test_body_that_ends_with_a_reset_is_not_whole(self, client: WebhookClient) -> None:
        async def talk(peer: Peer) -> None:
            # The rest of the request is left unread, so the close is a reset.
            await peer.head()
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\n<Resp")
            await asyncio.sleep(0)
            peer.reset()

        async with serving(talk) as served:
            answer = await client.call(callback(served.url, json_body=bytes(3_000_000)))
        assert answer.error_code == 11206

    @pytest.mark.parametrize(
        "flood",
        [b"X-Long: " + b"x" * 100, b"X-%d: 1\r\n" % 1, b"HTTP/1.1 100 Continue\r\n\r\n"],
        ids=["long", "many", "continue"],
    )
    async def test_endless_head_fails_with_11206_and_is_not_read_on(self, client: WebhookClient, flood: bytes) -> None:
        sent_bytes = 0

        async def talk(peer: Peer) -> None:
            nonlocal sent_bytes
            await peer.request()
            await peer.send(b"" if flood.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\nA: b\r\n")
            more = flood if flood.endswith(b"\n") else b"x" * len(flood)
            await peer.send(flood)
            while True:
                await peer.send(more * 100)
                sent_bytes += len(more) * 100

        async with serving(talk) as served:
            answer = await client.call(callback(served.url))
        assert (answer.status, answer.error_code) == (None, 11206)
        assert answer.error == f"the answer's headers are larger than {HEAD_BYTES_MAX} bytes"
        # What was under way in the system's buffers beside it.
        assert sent_bytes < 50_000_000

    @pytest.mark.parametrize("flood", [b"0\r\nX-Trailer: ", b"5;"], ids=["trailer", "extension"])
    async def test_endless_framing_fails_with_11206(self, client: WebhookClient, flood: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        async with serving(then_wait(head, flood, b"x" * (3 * HEAD_BYTES_MAX))) as served:
            answer = await client.call(callback(served.url))
        assert answer.error_code == 11206

    async def test_answer_that_drips_ends_with_the_total_time(self, client: WebhookClient) -> None:
        async def talk(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            gone = asyncio.create_task(peer.gone())
            while not (await asyncio.wait({gone}, timeout=0.02))[0]:
                await peer.send(b"x")

        async with serving(talk) as served:
            answer = await client.call(callback(served.url + "#rt=500&tt=700"))
        assert (answer.error_code, answer.error) == (11205, "no complete answer within 700 ms")
        assert 700 <= answer.attempts[0].duration_ms < 5000

    async def test_silence_between_bytes_ends_with_the_read_time(self, client: WebhookClient) -> None:
        async with serving(then_wait(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"1")) as served:
            answer = await client.call(callback(served.url + "#rt=100&tt=10000"))
        assert answer.error == "nothing was received for 100 ms"
        assert 100 <= answer.attempts[0].duration_ms < 5000

    async def test_timer_of_an_earlier_call_does_not_end_a_later_one(self, client: WebhookClient) -> None:
        async def talk(peer: Peer) -> None:
            await peer.answer(NO_CONTENT)
            await peer.request()
            await peer.gone()

        async with serving(talk) as served:
            first = await client.call(callback(served.url))
            # The timer is armed for the first call's 15 seconds by now, and has to be brought forward.
            second = await client.call(callback(served.url + "#rt=100"))
        assert (first.status, second.error, served.connections) == (204, "nothing was received for 100 ms", 1)

    async def test_answer_before_the_request_is_sent_is_taken_and_ends_the_connection(
        self, client: WebhookClient
    ) -> None:
        async def talk(peer: Peer) -> None:
            await peer.head()
            await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await peer.gone()

        async with serving(talk, always(NO_CONTENT)) as served:
            large = await client.call(callback(served.url, json_body=bytes(8_000_000)))
            small = await client.call(callback(served.url))
        assert (large.status, large.error_code, small.status, served.connections) == (413, 11200, 204, 2)


class TestKeeping:
    @pytest.mark.parametrize(
        "rubbish", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTT", b"\x00\x01", b"<br>"]
    )
    async def test_rubbish_behind_an_answer_ends_the_connection(self, client: WebhookClient, rubbish: bytes) -> None:
        async with serving(then_wait(NO_CONTENT + rubbish), always(NO_CONTENT)) as served:
            answers = [await client.call(callback(served.url)) for _ in range(2)]
        assert [(answer.status, answer.error_code, answer.body) for answer in answers] == [(204, None, b"")] * 2
        assert served.connections == 2

    async def test_rubbish_on_an_idle_connection_ends_it(self, client: WebhookClient) -> None:
        idle, is_gone = asyncio.Event(), asyncio.Event()

        async def talk(peer: Peer) -> None:
            await peer.answer(NO_CONTENT)
            await idle.wait()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot yours")
            await peer.gone()
            is_gone.set()

        async with serving(talk, always(NO_CONTENT)) as served:
            await client.call(callback(served.url))
            idle.set()
            await asyncio.wait_for(is_gone.wait(), 5)
            answer = await client.call(callback(served.url))
        assert (answer.status, answer.body, served.connections) == (204, b"", 2)

    @pytest.mark.parametrize(
        ("header", "connections"),
        [
            (b"Keep-Alive: timeout=1", 2),
            (b"Keep-Alive: timeout=0, max=100", 2),
            (b"Keep-Alive: max=5, timeout=30", 1),
            (b"Keep-Alive: timeout=soon", 1),
            (b"Connection: close", 2),
            (b"Connection: Keep-Alive", 1),
        ],
    )
    async def test_server_says_how_long_it_keeps_a_connection(
        self, client: WebhookClient, header: bytes, connections: int
    ) -> None:
        async with serving(always(b"HTTP/1.1 204 No Content\r\n" + header + b"\r\n\r\n")) as served:
            for _ in range(2):
                assert (await client.call(callback(served.url))).status == 204
        assert served.connections == connections

    async def test_idle_connection_is_closed_in_time(self) -> None:
        is_gone = asyncio.Event()

        async def talk(peer: Peer) -> None:
            await peer.answer(NO_CONTENT)
            await peer.gone()
            is_gone.set()

        async with serving(talk) as served, WebhookClient(SystemClock(), LOOPBACK, keep_alive_s=0.02) as client:
            await client.call(callback(served.url))
            await asyncio.wait_for(is_gone.wait(), 5)
            answer = await client.call(callback(served.url))
        assert (answer.status, served.connections) == (204, 2)

    async def test_several_kept_connections_that_are_dead_cost_one_retry(self, client: WebhookClient) -> None:
        both = asyncio.Barrier(2)

        async def dying(peer: Peer) -> None:
            await peer.request()
            await both.wait()
            await peer.send(NO_CONTENT)
            await peer.request()
            peer.reset()

        async with serving(dying, dying, always(NO_CONTENT)) as served:
            await asyncio.gather(*(client.call(callback(served.url)) for _ in range(2)))
            answer = await client.call(callback(served.url + "#rc=0"))
        assert (answer.status, answer.error_code, len(answer.attempts), served.connections) == (204, None, 1, 3)

    async def test_connection_that_dies_with_its_only_request_is_not_tried_again(self, client: WebhookClient) -> None:
        async def dying(peer: Peer) -> None:
            await peer.answer(NO_CONTENT)
            await peer.request()

        async def dead(peer: Peer) -> None:
            await peer.request()

        async with serving(dying, dead, always(NO_CONTENT)) as served:
            await client.call(callback(served.url))
            answer = await client.call(callback(served.url + "#rc=0"))
        assert (answer.status, answer.error_code, served.connections) == (None, 11206, 2)

    async def test_cut_body_ends_the_connection(self, client: WebhookClient) -> None:
        long = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * (TWIML_BYTES_MAX + 1)
        async with serving(then_wait(long), always(NO_CONTENT)) as served:
            cut = await client.call(callback(served.url))
            after = await client.call(callback(served.url))
        assert (cut.error_code, after.status, served.connections) == (11750, 204, 2)


class TestEnds:
    async def test_cancelled_call_closes_its_connection_and_frees_its_lane(self) -> None:
        arrived, is_gone = asyncio.Event(), asyncio.Event()

        async def stuck(peer: Peer) -> None:
            await peer.request()
            arrived.set()
            await peer.gone()
            is_gone.set()

        async with (
            serving(stuck, always(NO_CONTENT)) as served,
            WebhookClient(SystemClock(), LOOPBACK, connections_max=1, lane_wait_s=0.05) as client,
        ):
            call = asyncio.create_task(client.call(callback(served.url)))
            await arrived.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.wait_for(is_gone.wait(), 5)
            answer = await client.call(callback(served.url))
        assert answer.status == 204

    async def test_close_ends_calls_under_way_and_idle_connections(self) -> None:
        arrived = asyncio.Event()
        ends: list[str] = []

        async def idle(peer: Peer) -> None:
            await peer.answer(NO_CONTENT)
            await peer.gone()
            ends.append("idle")

        async def stuck(peer: Peer) -> None:
            await peer.request()
            arrived.set()
            await peer.gone()
            ends.append("stuck")

        async with serving(idle) as kept, serving(stuck) as served:
            client = WebhookClient(SystemClock(), LOOPBACK)
            await client.start()
            await client.call(callback(kept.url))
            call = asyncio.create_task(client.call(callback(served.url)))
            await arrived.wait()
            await client.close()
            answer = await asyncio.wait_for(call, 5)
            for served_peers in (kept.peers, served.peers):
                await asyncio.wait_for(served_peers[0].gone(), 5)
        assert (answer.status, answer.error_code) == (None, 11206)
        assert sorted(ends) == ["idle", "stuck"]

    async def test_call_on_a_kept_connection_fails_when_the_client_is_closed(self) -> None:
        arrived = asyncio.Event()

        async def stuck(peer: Peer) -> None:
            await peer.answer(NO_CONTENT)
            await peer.request()
            arrived.set()
            await peer.gone()

        async with serving(stuck) as served:
            client = WebhookClient(SystemClock(), LOOPBACK)
            await client.start()
            await client.call(callback(served.url))
            call = asyncio.create_task(client.call(callback(served.url)))
            await arrived.wait()
            await client.close()
            answer = await asyncio.wait_for(call, 5)
        assert (answer.status, answer.error_code, served.connections) == (None, 11205, 1)

    async def test_connection_that_ends_before_any_request_is_told_of(self) -> None:
        lost: list[Connection] = []
        is_lost = asyncio.Event()

        def note(connection: Connection) -> None:
            lost.append(connection)
            is_lost.set()

        async def closing(peer: Peer) -> None:
            peer.reset()

        async with serving(closing) as served:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: Connection(loop, note), "127.0.0.1", served.port)
            await asyncio.wait_for(is_lost.wait(), 5)
            # Whoever dialled it may not have heard yet, and writes.
            answer = connection.request(b"GET / HTTP/1.1\r\n\r\n", 100, 1.0, loop.time() + 1)
            with pytest.raises(Disconnected):
                await answer
        assert lost == [connection] and not connection.is_usable


class Names(AbstractResolver):
    """A name server whose answers change from one question to the next, the last one stays."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names: Mapping[str, list[list[str]]] = names
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked += 1
        answers = self.names[host.partition(".")[0]]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        await asyncio.sleep(0)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        pass


class TestDialling:
    async def test_name_that_moves_inside_is_judged_where_it_is_dialled(self) -> None:
        close = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        names = Names(rebinding=[["127.0.0.1"], ["127.0.0.2"], ["10.0.0.5", "127.0.0.1"]])
        policy = AddressPolicy.parse("127.0.0.1")
        async with (
            serving(always(close)) as served,
            WebhookClient(SystemClock(), policy, resolver=names, names_kept_s=0) as client,
        ):
            url = f"http://rebinding.example:{served.port}/"
            answers = [await client.call(callback(url)) for _ in range(3)]
        assert [(answer.status, answer.error_code) for answer in answers] == [(204, None), (None, 11205), (204, None)]
        assert answers[1].error == "the host is at an address that may not be called"
        assert (served.connections, names.asked) == (2, 3)

    async def test_kept_connection_stays_with_the_address_that_was_judged(self) -> None:
        names = Names(rebinding=[["127.0.0.1"], ["10.0.0.5"]])
        async with (
            serving(always(NO_CONTENT)) as served,
            WebhookClient(SystemClock(), LOOPBACK, resolver=names, names_kept_s=0) as client,
        ):
            url = f"http://rebinding.example:{served.port}/"
            answers = [await client.call(callback(url)) for _ in range(2)]
        assert [answer.status for answer in answers] == [204, 204]
        assert (served.connections, names.asked) == (1, 1)

    async def test_name_is_asked_once_for_calls_at_once(self) -> None:
        names = Names(hooks=[["127.0.0.1"]])
        async with (
            serving(always(NO_CONTENT)) as served,
            WebhookClient(SystemClock(), LOOPBACK, resolver=names) as client,
        ):
            url = f"http://hooks.example:{served.port}/"
            answers = await asyncio.gather(*(client.call(callback(url)) for _ in range(5)))
        assert [answer.status for answer in answers] == [204] * 5
        assert names.asked == 1

    async def test_name_is_asked_again_when_its_addresses_led_nowhere(self) -> None:
        names = Names(moved=[["127.0.0.2"], ["127.0.0.1"]])
        async with (
            serving(always(NO_CONTENT)) as served,
            WebhookClient(SystemClock(), LOOPBACK, resolver=names) as client,
        ):
            answer = await client.call(callback(f"http://moved.example:{served.port}/"))
        assert (answer.status, [attempt.error_code for attempt in answer.attempts]) == (204, [11205, None])
        assert answer.attempts[0].error == "the connection failed: Connection refused"

    async def test_address_that_does_not_answer_does_not_hold_up_the_next_one(self) -> None:
        names = Names(two=[["127.0.0.2", "127.0.0.1"]])
        async with (
            serving(always(NO_CONTENT)) as served,
            WebhookClient(SystemClock(), LOOPBACK, resolver=names) as client,
        ):
            with socket.socket() as full:
                full.bind(("127.0.0.2", served.port))
                full.listen(0)
                waiting = [socket.socket() for _ in range(3)]
                for one in waiting:
                    # The queue of one is full after the first or second; the system then lets SYNs go unanswered.
                    one.setblocking(False)
                    one.connect_ex(full.getsockname())
                answer = await client.call(callback(f"http://two.example:{served.port}/#ct=10000&rc=0"))
                for one in waiting:
                    one.close()
        assert (answer.status, len(answer.attempts)) == (204, 1)
        assert answer.attempts[0].duration_ms < 8000

    async def test_redirect_to_another_origin_leaves_both_connections_kept(self, client: WebhookClient) -> None:
        async with serving(always(NO_CONTENT)) as there:
            moved = f"HTTP/1.1 307 Moved\r\nLocation: {there.url}x\r\nContent-Length: 0\r\n\r\n".encode()
            async with serving(always(moved)) as here:
                answers = [await client.call(callback(here.url)) for _ in range(2)]
        assert [answer.status for answer in answers] == [204, 204]
        assert (here.connections, there.connections) == (1, 1)


def test_challenge_with_a_line_break_is_not_echoed() -> None:
    challenge = 'Digest realm="r", nonce="n\r\nX-Injected: 1"'
    assert answer_challenge([challenge], "u", "p", "GET", "/", "c") is None
