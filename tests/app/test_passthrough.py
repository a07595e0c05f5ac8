"""What the proxy does with requests for hosts that are not ours, without a network."""

from __future__ import annotations

import asyncio

import pytest

from onterms.app.passthrough import (
    NotCarried,
    Target,
    Tunnel,
    may_carry,
    open_upstream,
    parse_connect,
    parse_forward,
)


class TestRewriting:
    def test_what_a_connection_header_names_is_dropped_but_the_framing_is_kept(self) -> None:
        request = parse_forward(
            b"POST http://h.example:81 HTTP/1.0\r\nConnection: X-Hop, Content-Length\r\nX-Hop: 1\r\nContent-Length: 5",
            via=True,
        )
        assert (request.target.host, request.target.port, request.body_bytes) == ("h.example", 81, 5)
        assert request.head == (
            b"POST / HTTP/1.0\r\nHost: h.example:81\r\nContent-Length: 5\r\n"
            b"Via: 1.1 onterms\r\nConnection: close\r\n\r\n"
        )

    def test_fragment_is_not_sent_and_a_query_alone_gets_a_path(self) -> None:
        request = parse_forward(b"GET http://h.example?a=b#c HTTP/1.1", via=False)
        assert request.head.startswith(b"GET /?a=b HTTP/1.1\r\n")

    def test_ipv6_target_loses_its_brackets(self) -> None:
        target = parse_connect(b"CONNECT [::1]:8443 HTTP/1.1\r\nHost: x")
        assert (target.host, target.port) == ("::1", 8443)


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class TestTunnel:
    async def test_side_that_does_not_read_stops_the_other(self) -> None:
        tunnel = Tunnel(idle_s=60, on_end=lambda _: None)
        client, upstream = FakeTransport(), FakeTransport()
        tunnel.upstream.connection_made(upstream)
        tunnel.upstream.data_received(b"so ")
        assert not upstream.reading
        tunnel.join(client)
        tunnel.upstream.data_received(b"much")
        assert (client.written, upstream.reading) == (b"so much", True)
        tunnel.client.pause_writing()
        assert not upstream.reading
        tunnel.client.resume_writing()
        assert upstream.reading
        tunnel.client.connection_lost(None)
        assert upstream.is_closing()
        tunnel.upstream.connection_lost(None)

    @pytest.mark.parametrize(
        ("peer", "carried"),
        [
            ("127.0.0.1", True),
            ("::ffff:127.0.0.1", True),
            ("192.168.1.7", True),
            ("8.8.8.8", False),
            ("::ffff:8.8.8.8", False),
            (None, False),
        ],
    )
    def test_only_clients_of_the_local_network_are_carried(self, peer: str | None, carried: bool) -> None:
        assert may_carry(peer) is carried

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "10.1.2.3", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254", "0.0.0.0"]
    )
    async def test_private_target_is_refused_with_403_to_a_client_elsewhere(self, host: str) -> None:
        tunnel = Tunnel(idle_s=60, on_end=lambda _: None)
        with pytest.raises(NotCarried) as refused:
            await open_upstream(Target(host, 9), lambda: tunnel.upstream, peer="192.168.1.7", timeout_s=5)
        tunnel.end()
        assert refused.value.status == 403
