"""The webhook client towards servers with good and bad certificates."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace
from twilio.request_validator import RequestValidator

from onterms.carriers.webhook import AddressPolicy, WebhookClient
from onterms.core.clock import VirtualClock
from onterms.ports.callback import Answer, Callback

CALL = Callback(
    account_sid="AC" + "0" * 32,
    url="https://localhost/",
    method="GET",
    params=[("a", "b c")],
    signing_token="t0k3n",
    idempotency_token="c0ffee00-0000-4000-8000-000000000000",
)
LONG_AGO, NOT_SO_LONG_AGO = datetime(2015, 1, 1, tzinfo=UTC), datetime(2016, 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime(2090, 1, 1, tzinfo=UTC)


@dataclass
class Authority:
    """A certificate authority for one test run."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, folder: Path) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Root")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(LONG_AGO)
            .not_valid_after(FAR_AHEAD)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(folder, key, certificate)

    @property
    def file(self) -> str:
        return str(self.folder / "ca.pem")

    def server_context(self, host: str, until: datetime = FAR_AHEAD) -> ssl.SSLContext:
        """Return a server's TLS context with a certificate for the host."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(LONG_AGO)
            .not_valid_after(until)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        pem = self.folder / f"server-{certificate.serial_number}.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path)


@asynccontextmanager
async def serving(context: ssl.SSLContext, heads: list[str]) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await listener.wait_closed()


async def call(url: str, ca_file: str | None) -> Answer:
    async with WebhookClient(VirtualClock(), AddressPolicy.parse("loopback"), ca_file=ca_file) as client:
        return await client.call(replace(CALL, url=url))


class TestCertificates:
    async def test_certificate_of_the_given_authority_is_trusted(self, authority: Authority) -> None:
        heads: list[str] = []
        async with serving(authority.server_context("localhost"), heads) as port:
            answer = await call(f"https://localhost:{port}/x#sni=n", authority.file)
        assert (answer.status, answer.error_code) == (204, None)
        signature = next(line.split(": ", 1)[1] for line in heads[0].splitlines() if line.startswith("X-Twilio-Sig"))
        assert RequestValidator("t0k3n").validate(f"https://localhost:{port}/x?a=b+c", {}, signature)

    async def test_certificate_of_an_unknown_authority_fails_with_11237(self, authority: Authority) -> None:
        heads: list[str] = []
        async with serving(authority.server_context("localhost"), heads) as port:
            answer = await call(f"https://localhost:{port}/", None)
        assert (answer.error_code, answer.status, heads) == (11237, None, [])
        assert len(answer.attempts) == 1

    @pytest.mark.parametrize("named", ["other.example", "127.0.0.2"])
    async def test_certificate_of_another_host_fails_with_11235(self, authority: Authority, named: str) -> None:
        heads: list[str] = []
        async with serving(authority.server_context(named), heads) as port:
            by_name = await call(f"https://localhost:{port}/", authority.file)
            by_address = await call(f"https://127.0.0.1:{port}/", authority.file)
        assert (by_name.error_code, by_address.error_code, heads) == (11235, 11235, [])

    async def test_expired_certificate_fails_with_11236(self, authority: Authority) -> None:
        heads: list[str] = []
        async with serving(authority.server_context("localhost", until=NOT_SO_LONG_AGO), heads) as port:
            answer = await call(f"https://localhost:{port}/", authority.file)
        assert (answer.error_code, heads) == (11236, [])

    async def test_plain_server_behind_https_fails_with_11220(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listener:
            answer = await call(f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/#rc=0", None)
        assert (answer.status, answer.error_code) == (None, 11220)


class TestConnections:
    async def test_connection_is_kept_and_names_its_host(self, authority: Authority) -> None:
        names: list[str | None] = []
        context = authority.server_context("localhost")
        context.sni_callback = lambda _, name, __: names.append(name)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        policy = AddressPolicy.parse("loopback")
        async with listener, WebhookClient(VirtualClock(), policy, ca_file=authority.file) as client:
            url = f"https://LocalHost:{listener.sockets[0].getsockname()[1]}/"
            answers = [await client.call(replace(CALL, url=url)) for _ in range(3)]
        assert [(answer.status, answer.error) for answer in answers] == [(204, None)] * 3
        assert names == ["LocalHost"]

    async def test_redirect_from_plain_to_tls_is_followed(self, authority: Authority) -> None:
        heads: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: https://localhost:{port}/x\r\n\r\n".encode())
            writer.close()

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listener, serving(authority.server_context("localhost"), heads) as port:
            answer = await call(f"http://localhost:{listener.sockets[0].getsockname()[1]}/", authority.file)
        assert (answer.status, [attempt.status for attempt in answer.attempts]) == (204, [302, 204])
        assert heads[0].startswith("GET /x HTTP/1.1\r\n")

    async def test_server_that_closes_in_the_handshake_fails_with_11205(self) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.transport.abort()

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listener:
            answer = await call(f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/#rc=0", None)
        assert (answer.status, answer.error_code) == (None, 11205)
