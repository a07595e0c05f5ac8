"""HTTP/1.1 by the byte: what clients send, torn and pipelined as they please, and what they get."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import in_memory
import pytest
from in_memory import Client, Transport

from onterms.app.http1 import Connection, Disconnected, HttpRequest, Limits

HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-One: 1\r\n"


async def body_of(request: HttpRequest) -> bytes:
    body = request.take()
    while not request.is_complete():
        await request.more()
        body += request.take()
    return body


class Recorder:
    """An app that answers with the body it got, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[HttpRequest] = []
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []
        self.gone = 0

    async def __call__(self, request: HttpRequest) -> None:
        self.seen.append(request)
        try:
            body = await body_of(request)
        except Disconnected:
            self.gone += 1
            return
        request.respond(self.status, self.headers, body)


@pytest.fixture
async def app() -> Recorder:
    return Recorder()


def written(client: Client) -> bytes:
    return bytes(client.transport.written)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class TestRequests:
    async def test_request_in_single_bytes_is_read_whole(self, app: Recorder) -> None:
        client = Client(app)
        for byte in HEAD + b"Content-Length: 5\r\n\r\nhello":
            client.connection.data_received(bytes([byte]))
            await asyncio.sleep(0)
        await settle()
        [request] = app.seen
        assert (request.method, request.path, request.query) == ("POST", "/a", b"b=c")
        assert request.fields[b"x-one"] == b"1"
        assert written(client).endswith(b"\r\n\r\nhello")

    async def test_pipelined_requests_are_answered_in_their_order(self, app: Recorder) -> None:
        client = Client(app)
        one = HEAD + b"Content-Length: 1\r\n\r\n"
        client.connection.data_received(one + b"1" + one + b"2" + one + b"3")
        await settle()
        assert [part[:1] for part in written(client).split(b"\r\n\r\n")[1:]] == [b"1", b"2", b"3"]

    async def test_chunked_body_is_joined_and_its_trailers_are_no_headers(self, app: Recorder) -> None:
        client = Client(app)
        client.connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n")
        client.connection.data_received(b"Authorization: forged\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n")
        await settle()
        assert len(app.seen) == 2
        assert b"\r\n\r\nabcde" in written(client)
        assert all(b"authorization" not in request.fields for request in app.seen)

    async def test_client_that_asks_first_is_told_to_go_on(self, app: Recorder) -> None:
        client = Client(app)
        client.connection.data_received(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        await settle()
        assert written(client) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.connection.data_received(b"ok")
        await settle()
        assert written(client).endswith(b"\r\n\r\nok")

    async def test_client_that_asks_first_is_told_once(self, app: Recorder) -> None:
        client = Client(app)
        client.connection.data_received(HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        for byte in (b"a", b"b", b"c"):
            await settle()
            client.connection.data_received(byte)
        await settle()
        assert written(client).count(b"100 Continue") == 1

    async def test_old_client_is_not_told_to_go_on(self, app: Recorder) -> None:
        client = Client(app)
        client.connection.data_received(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        await settle()
        assert written(client) == b""

    async def test_authority_of_an_absolute_target_counts_and_the_hosts_beside_it_do_not(self, app: Recorder) -> None:
        client = Client(app)
        client.connection.data_received(
            b"GET http://other.example:81/a?b HTTP/1.1\r\nHost: localhost\r\nHost: x\r\n\r\n"
        )
        await settle()
        [request] = app.seen
        assert [value for name, value in request.headers if name == b"host"] == [b"other.example:81"]
        assert request.fields[b"host"] == b"other.example:81"
        assert (request.path, request.query) == ("/a", b"b")

    @pytest.mark.parametrize("begin", [b"0\r\nX-Trailer: ", b"5;extension="])
    async def test_framing_without_end_is_refused(self, app: Recorder, begin: bytes) -> None:
        client = Client(app)
        client.connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + begin)
        await settle()
        for _ in range(4):
            client.connection.data_received(b"x" * 16_384)
        assert client.transport.is_closing()

    async def test_large_body_in_small_chunks_with_a_trailer_is_taken(self, app: Recorder) -> None:
        client = Client(app)
        chunks = b"1;a=b\r\nx\r\n" * 20_000 + b"0\r\nX-Trailer: 1\r\n\r\n"
        client.connection.data_received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(chunks), 10_000):
            client.connection.data_received(chunks[start : start + 10_000])
            await settle()
        assert written(client).endswith(b"x" * 20_000)

    async def test_client_that_takes_no_answers_gets_no_more_of_them_until_it_does(self, app: Recorder) -> None:
        client = Client(app)
        client.connection.pause_writing()
        one = HEAD + b"Content-Length: 0\r\n\r\n"
        client.connection.data_received(one * 3)
        await settle()
        assert app.seen == []
        assert client.transport.is_paused
        client.connection.resume_writing()
        await settle()
        assert written(client).count(b"HTTP/1.1 200 ") == 3
        assert not client.transport.is_paused

    async def test_body_that_nobody_reads_is_passed_over(self) -> None:
        async def refuse(request: HttpRequest) -> None:
            request.respond(401, [], b"no")

        client = Client(refuse)
        client.connection.data_received(HEAD + b"Content-Length: 10\r\n\r\n01234")
        await settle()
        client.connection.data_received(b"56789" + HEAD + b"Content-Length: 0\r\n\r\n")
        await settle()
        assert written(client).count(b"HTTP/1.1 401 ") == 2

    async def test_flood_that_nobody_reads_is_not_kept(self, app: Recorder) -> None:
        gate = asyncio.Event()

        async def later(request: HttpRequest) -> None:
            await gate.wait()
            await app(request)

        client = Client(later)
        client.connection.data_received(HEAD + b"Content-Length: 100000\r\n\r\n")
        client.connection.data_received(b"x" * 80_000)
        assert client.transport.is_paused
        gate.set()
        await settle()
        assert not client.transport.is_paused
        client.connection.data_received(b"x" * 20_000)
        await settle()
        assert len(written(client).partition(b"\r\n\r\n")[2]) == 100_000

    async def test_client_that_leaves_before_its_body_is_whole_gets_no_answer(self, app: Recorder) -> None:
        client = Client(app)
        client.connection.data_received(HEAD + b"Content-Length: 10\r\n\r\n01234")
        await settle()
        client.leave()
        await settle()
        assert app.gone == 1
        assert written(client) == b""

    async def test_half_closed_client_gets_its_answer(self, app: Recorder) -> None:
        client = Client(app)
        client.connection.data_received(HEAD + b"Content-Length: 1\r\n\r\n1")
        assert client.connection.eof_received()
        await settle()
        assert b"connection: close\r\n" in written(client)
        assert client.transport.is_closing()


class TestResponses:
    async def test_head_gets_the_length_and_no_body(self, app: Recorder) -> None:
        async def answer(request: HttpRequest) -> None:
            request.respond(200, [], b"four")

        client = Client(answer)
        client.connection.data_received(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        await settle()
        assert b"content-length: 4\r\n" in written(client)
        assert written(client).endswith(b"\r\n\r\n")

    @pytest.mark.parametrize("status", [204, 304])
    async def test_status_without_a_body_has_neither_body_nor_length(self, app: Recorder, status: int) -> None:
        app.status = status
        client = Client(app)
        client.connection.data_received(HEAD + b"Content-Length: 1\r\n\r\n1")
        await settle()
        assert b"content-length" not in written(client)
        assert written(client).endswith(b"\r\n\r\n")

    @pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: forged=1", b"a\nb", b"a\0b"])
    async def test_line_break_in_a_header_makes_no_header(self, app: Recorder, value: bytes) -> None:
        app.headers = [(b"x-name", value)]
        client = Client(app)
        client.connection.data_received(HEAD + b"Content-Length: 0\r\n\r\n")
        await settle()
        assert written(client) == b""
        assert client.transport.is_closing()

    @pytest.mark.parametrize("version", [b"1.0", b"1.1"])
    async def test_connection_closes_where_the_client_or_its_version_wants_it(
        self, app: Recorder, version: bytes
    ) -> None:
        client = Client(app)
        client.connection.data_received(b"GET / HTTP/%s\r\nHost: x\r\nConnection: close\r\n\r\n" % version)
        await settle()
        assert b"connection: close\r\n" in written(client)
        assert client.transport.is_closing()

    async def test_app_that_breaks_before_its_answer_ends_the_connection(self) -> None:
        async def broken(request: HttpRequest) -> None:
            raise RuntimeError

        client = Client(broken)
        client.connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await settle()
        assert written(client) == b""
        assert client.transport.is_closing()


class TestStreams:
    @pytest.fixture
    def ended(self) -> Iterator[list[str]]:
        yield []

    def streaming(self, ended: list[str], gate: asyncio.Event) -> Any:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                await gate.wait()
                yield b"second"
            finally:
                ended.append("closed")

        async def app(request: HttpRequest) -> None:
            await request.stream(200, [(b"content-type", b"text/plain")], chunks())

        return app

    async def test_chunks_are_written_as_they_come_and_the_end_is_marked(self, ended: list[str]) -> None:
        gate = asyncio.Event()
        client = Client(self.streaming(ended, gate))
        client.send("GET", "/", [("host", "x")])
        await settle()
        assert written(client).endswith(b"5\r\nfirst\r\n")
        gate.set()
        assert (await client.answer()).body == b"firstsecond"
        assert ended == ["closed"]

    async def test_old_client_gets_the_chunks_bare(self, ended: list[str]) -> None:
        gate = asyncio.Event()
        gate.set()
        client = Client(self.streaming(ended, gate))
        client.connection.data_received(b"GET / HTTP/1.0\r\n\r\n")
        await settle()
        assert written(client).endswith(b"\r\n\r\nfirstsecond")
        assert client.transport.is_closing()

    async def test_client_that_leaves_ends_the_stream(self, ended: list[str]) -> None:
        client = Client(self.streaming(ended, asyncio.Event()))
        client.send("GET", "/", [("host", "x")])
        await settle()
        client.leave()
        await settle()
        assert ended == ["closed"]

    async def test_slow_client_holds_the_stream_back(self, ended: list[str]) -> None:
        gate = asyncio.Event()
        client = Client(self.streaming(ended, gate))
        client.connection.pause_writing()
        client.send("GET", "/", [("host", "x")])
        gate.set()
        await settle()
        assert b"second" not in written(client)
        client.connection.resume_writing()
        assert (await client.answer()).body == b"firstsecond"


class TestSilence:
    @pytest.mark.parametrize(
        ("sent", "silent_s", "is_closed"),
        [
            (b"", 9.0, False),
            (b"", 11.0, True),
            (b"GET / HT", 11.0, True),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 11.0, False),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 76.0, True),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT", 11.0, True),
        ],
    )
    async def test_silent_client_is_closed_after_its_time(
        self, app: Recorder, sent: bytes, silent_s: float, is_closed: bool
    ) -> None:
        client = in_memory.Client(app)
        if sent:
            client.connection.data_received(sent)
        await settle()
        client.connection.look_after(asyncio.get_running_loop().time() + silent_s)
        assert client.transport.is_closing() is is_closed

    async def test_client_that_waits_for_its_answer_is_not_closed(self) -> None:
        async def never(request: HttpRequest) -> None:
            await asyncio.Event().wait()

        client = in_memory.Client(never)
        client.connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await settle()
        client.connection.look_after(asyncio.get_running_loop().time() + 1000.0)
        assert not client.transport.is_closing()
        for task in client.shared.tasks:
            task.cancel()
        await settle()

    async def test_client_that_takes_nothing_of_its_answer_is_dropped_after_its_time(self, app: Recorder) -> None:
        client = in_memory.Client(app)
        client.connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await settle()
        now = asyncio.get_running_loop().time()
        for later_s, unsent_bytes in ((1.0, 900), (70.0, 900), (74.0, 500), (140.0, 500)):
            client.transport.unsent_bytes = unsent_bytes
            client.connection.look_after(now + later_s)
            assert not client.transport.is_closing()
        client.connection.look_after(now + 150.0)
        assert client.transport.is_closing()

    async def test_connection_too_many_is_turned_away(self, app: Recorder) -> None:
        client = in_memory.Client(app, limits=Limits(connections_max=1))
        second = Transport("127.0.0.1")
        Connection(client.shared, {}).connection_made(second)
        assert second.is_closing()
        assert not client.transport.is_closing()
        client.connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await settle()
        assert written(client).startswith(b"HTTP/1.1 200 ")
