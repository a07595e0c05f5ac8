"""Hostile URLs: none of them may get a socket to an address that is not public."""

import asyncio
import contextvars
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from twilio.request_validator import RequestValidator

from onterms.carriers.webhook import AddressPolicy, WebhookClient
from onterms.carriers.webhook.guard import AddressRefused, Dial, current_dial, guarded_socket_factory
from onterms.core.clock import VirtualClock
from onterms.core.errors import ConfigError
from onterms.ports.callback import Answer, Callback

PUBLIC_ONLY = AddressPolicy.parse("none")
LOOPBACK = AddressPolicy.parse("loopback")


class Names(AbstractResolver):
    """A name server in the hands of whoever writes the test."""

    def __init__(self, names: Mapping[str, list[str]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.names:
            raise OSError(socket.EAI_NONAME, "no such name")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=0,
            )
            for address in self.names[host]
        ]

    async def close(self) -> None:
        pass


class Door:
    """A server on 127.0.0.1 that counts who comes in, and answers with one reply."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.port = 0
        self.visits = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.reply)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def door(reply: bytes = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n") -> AsyncIterator[Door]:
    served = Door(reply)
    listener = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = listener.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        listener.close()
        await listener.wait_closed()


async def call(policy: AddressPolicy, url: str, resolver: AbstractResolver | None = None) -> Answer:
    async with WebhookClient(VirtualClock(), policy, resolver=resolver) as client:
        return await client.call(
            Callback(
                account_sid="AC" + "0" * 32,
                url=url,
                method="GET",
                params=(),
                signing_token="t0k3n",
                idempotency_token="c0ffee00-0000-4000-8000-000000000000",
            )
        )


class TestHostileUrls:
    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "①②⑦.0.0.1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
        ],
    )
    async def test_every_spelling_of_loopback_is_refused_with_11205(self, host: str) -> None:
        async with door() as served:
            answer = await call(PUBLIC_ONLY, f"http://{host}:{served.port}/")
        assert (answer.status, answer.error_code, served.visits) == (None, 11205, 0)
        assert len(answer.attempts) == 1
        assert answer.error == "the host is at an address that may not be called"

    @pytest.mark.parametrize(
        "host",
        [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
            "[fec0::1]",
        ],
    )
    async def test_inside_address_is_refused_though_loopback_is_allowed(self, host: str) -> None:
        answer = await call(LOOPBACK, f"http://{host}/latest/meta-data/")
        assert answer.error == "the host is at an address that may not be called"
        assert answer.error_code == 11205

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_x",
            "//127.0.0.1/",
            "127.0.0.1",
            "",
            "http://",
            "http:///path",
            "http://under_score.example/",
            "http://%31%32%37.0.0.1/",
            "http://public.example\\@127.0.0.1/",
            "http://public.example\t@127.0.0.1/",
            "http://a b/",
            "http://a.example/\ud800",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:\u0661\u0662/",
            "http://[fe80::1%25lo]/",
            "http://[::1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://example.0x/",
            "http://-a.example/",
            "http://a..example/",
            "http://" + "a" * 64 + ".example/",
            "http://x\r\nHost: evil/",
        ],
    )
    async def test_url_that_is_none_fails_with_11100_and_asks_no_name_server(self, url: str) -> None:
        names = Names({})
        answer = await call(LOOPBACK, url, names)
        assert (answer.status, answer.error_code, names.asked) == (None, 11100, [])
        assert [attempt.error_code for attempt in answer.attempts] == [11100]

    async def test_password_of_a_malformed_url_is_not_shown(self) -> None:
        answer = await call(LOOPBACK, "http://user:hunter2@under_score/")
        assert answer.error_code == 11100
        assert "hunter2" not in repr(answer)

    async def test_name_that_points_inside_is_refused(self) -> None:
        async with door() as served:
            names = Names({"evil.example": ["127.0.0.1", "::ffff:127.0.0.1", "10.0.0.5"]})
            answer = await call(PUBLIC_ONLY, f"http://evil.example:{served.port}/", names)
        assert (answer.error_code, served.visits, names.asked) == (11205, 0, ["evil.example"])
        # Where a name points inside is not for the customer to learn from us.
        assert "10.0.0.5" not in repr(answer) and "127.0.0.1" not in repr(answer)

    async def test_address_of_a_name_that_is_allowed_is_used_beside_one_that_is_not(self) -> None:
        async with door() as served:
            names = Names({"mixed.example": ["10.0.0.5", "127.0.0.1"]})
            answer = await call(LOOPBACK, f"http://mixed.example:{served.port}/", names)
        assert (answer.status, served.visits) == (204, 1)

    async def test_redirect_to_a_private_address_is_refused(self) -> None:
        async with door(
            b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/admin\r\nConnection: close\r\n\r\n"
        ) as served:
            answer = await call(LOOPBACK, f"http://127.0.0.1:{served.port}/")
        assert (answer.error_code, answer.status, served.visits) == (11205, None, 1)
        assert [attempt.url for attempt in answer.attempts][1] == "http://10.0.0.1/admin"

    async def test_redirect_from_an_allowed_name_does_not_take_its_licence_along(self) -> None:
        async with door() as inside:
            reply = f"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:{inside.port}/\r\nConnection: close\r\n\r\n"
            async with door(reply.encode()) as served:
                names = Names({"hooks.internal": ["127.0.0.1"]})
                policy = AddressPolicy.parse("hooks.internal")
                answer = await call(policy, f"http://hooks.internal:{served.port}/", names)
        assert (answer.error_code, served.visits, inside.visits) == (11205, 1, 0)

    async def test_name_that_does_not_resolve_fails_with_11210(self) -> None:
        names = Names({})
        answer = await call(LOOPBACK, "http://nowhere.example/#rc=0", names)
        assert (answer.error_code, len(answer.attempts), names.asked) == (11210, 1, ["nowhere.example"])


class TestDefaultPort:
    async def test_default_port_that_is_written_out_is_signed_and_sent(self) -> None:
        # Refused on purpose: what would have been sent is in the attempt, and nobody may listen on port 80 here.
        answer = await call(PUBLIC_ONLY, "http://localhost:80/x")
        (attempt,) = answer.attempts
        assert (attempt.url, attempt.request_headers["Host"]) == ("http://localhost:80/x", "localhost:80")
        signature = attempt.request_headers["X-Twilio-Signature"]
        assert RequestValidator("t0k3n").compute_signature("http://localhost:80/x", {}) == signature


class TestPolicy:
    @pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "::ffff:8.8.8.8", "2606:4700::1111", "192.0.1.1"])
    def test_public_address_is_allowed(self, address: str) -> None:
        assert PUBLIC_ONLY.allows(address)

    @pytest.mark.parametrize(
        "address",
        [
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "239.1.2.3",
            "240.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fe80::1%eth0",
        ],
    )
    def test_special_address_is_refused(self, address: str) -> None:
        assert not PUBLIC_ONLY.allows(address)

    def test_listed_networks_and_words_are_allowed(self) -> None:
        policy = AddressPolicy.parse(" loopback, 10.1.2.0/24 169.254.169.254,hooks.internal ")
        assert policy.allows("127.9.9.9") and policy.allows("::1") and policy.allows("::ffff:127.0.0.1")
        assert policy.allows("10.1.2.255") and policy.allows("169.254.169.254")
        assert not policy.allows("10.1.3.0") and not policy.allows("169.254.169.253")
        assert policy.names_host("Hooks.Internal.") and not policy.names_host("x.hooks.internal")

    def test_private_leaves_link_local_out(self) -> None:
        policy = AddressPolicy.parse("private")
        assert policy.allows("192.168.0.1") and policy.allows("fd12::1")
        assert not policy.allows("169.254.169.254") and not policy.allows("127.0.0.1")

    def test_empty_list_allows_the_public_internet_alone(self) -> None:
        assert AddressPolicy.parse("") == AddressPolicy.parse("none") == AddressPolicy()

    @pytest.mark.parametrize("text", ["10.1.2.3/24", "under_score", "http://x", "300.1.1.1", "10.0.0.0/33"])
    def test_malformed_entry_is_refused(self, text: str) -> None:
        with pytest.raises(ConfigError):
            AddressPolicy.parse(f"loopback,{text}")


class TestSocketFactory:
    def test_refused_address_gets_no_socket(self) -> None:
        def dial(host: str) -> Dial:
            seen = Dial()
            current_dial.set(seen)
            make = guarded_socket_factory(LOOPBACK)
            info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 80))
            if host.startswith("127."):
                make(info).close()
            else:
                with pytest.raises(AddressRefused):
                    make(info)
            return seen

        context = contextvars.copy_context()
        assert context.run(dial, "127.0.0.1") == Dial(sockets=1)
        assert context.run(dial, "10.0.0.1") == Dial(refused=["10.0.0.1"])
