"""Submission of mail against a real mail server on this machine."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from onterms.carriers.smtp import SmtpMail, SmtpSettings
from onterms.core.clock import VirtualClock
from onterms.core.errors import ConfigError
from onterms.ports.mail import OutMail
from onterms.protocols.mail import DkimKey, verify

DATE = datetime(2025, 3, 1, 10, tzinfo=UTC)
# aiosmtpd 1.4 uses an attribute of asyncio's transports that Python calls deprecated from 3.12 on.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:aiosmtpd.*")


def mail(*recipients: str) -> OutMail:
    return OutMail(
        "<NC1.1@operator.example>", "us@operator.example", "The Operator", recipients, "Late", "Pay.\n.dot\n", DATE
    )


class Server:
    """What a mail server took, and what it says to some addresses."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []
        self.logins: list[bytes] = []
        self.says = {"gone@b.example": "550 5.1.1 No such user", "full@b.example": "452 4.2.2 Mailbox full"}
        self.says_to_data: dict[str, str] = {"spam@b.example": "554 5.7.1 Looks like spam"}
        self.port = 0

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.says:
            return self.says[address]
        envelope.rcpt_tos.append(address)
        return "250 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        for address in envelope.rcpt_tos:
            if address in self.says_to_data:
                return self.says_to_data[address]
        self.taken.append(envelope)
        return f"250 2.0.0 Ok: queued as {len(self.taken)}"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login)
        return AuthResult(success=data.password == b"secret", handled=False)


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server named localhost and of clients that trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "both.pem").write_bytes(key.private_bytes(*form) + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return certificate(tmp_path)


@pytest.fixture
async def server(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> AsyncIterator[Server]:
    world = Server()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: SMTP(
            world,
            hostname="mx.b.example",
            tls_context=tls[0],
            require_starttls=True,
            auth_required=True,
            authenticator=world.authenticate,
            loop=loop,
        ),
        "127.0.0.1",
        0,
    )
    world.port = listener.sockets[0].getsockname()[1]
    yield world
    listener.close()
    await listener.wait_closed()


@pytest.fixture
def client(server: Server, tls: tuple[ssl.SSLContext, ssl.SSLContext], clock: VirtualClock) -> SmtpMail:
    return SmtpMail(settings(server, tls[1]), clock)


def settings(server: Server, tls: ssl.SSLContext | None, **changes: Any) -> SmtpSettings:
    values = {"username": "us", "password": "secret", "timeout_s": 20.0, "tls": tls, **changes}
    return SmtpSettings("localhost", server.port, "operator.example", **values)


class TestSubmission:
    async def test_each_recipient_has_the_servers_own_word(self, server: Server, client: SmtpMail) -> None:
        names = ("ann@b.example", "gone@b.example", "full@b.example", "spam@b.example", "bob@b.example")
        outcomes = await client.send(mail(*names))
        assert [(one.address, one.result, one.reply) for one in outcomes] == [
            ("ann@b.example", "accepted", "250 2.0.0 Ok: queued as 1"),
            ("gone@b.example", "refused", "550 5.1.1 No such user"),
            ("full@b.example", "deferred", "452 4.2.2 Mailbox full"),
            ("spam@b.example", "refused", "554 5.7.1 Looks like spam"),
            ("bob@b.example", "accepted", "250 2.0.0 Ok: queued as 2"),
        ]
        assert {one.server for one in outcomes} == {f"localhost:{server.port}"}
        assert [envelope.rcpt_tos for envelope in server.taken] == [["ann@b.example"], ["bob@b.example"]]
        assert server.logins == [b"us"]

    async def test_what_arrives_is_what_the_hash_covers(
        self, server: Server, client: SmtpMail, clock: VirtualClock
    ) -> None:
        [outcome] = await client.send(mail("ann@b.example"))
        [envelope] = server.taken
        assert isinstance(envelope.content, bytes)
        assert hashlib.sha256(envelope.content).hexdigest() == outcome.sha256
        assert b"Message-ID: <NC1.1@operator.example>\r\n" in envelope.content
        assert outcome.at == clock.now()

    async def test_a_repeat_has_the_same_bytes_and_a_signature_that_verifies(
        self, server: Server, tls: tuple[ssl.SSLContext, ssl.SSLContext], clock: VirtualClock
    ) -> None:
        private = ed25519.Ed25519PrivateKey.generate()
        client = SmtpMail(settings(server, tls[1]), clock, DkimKey("operator.example", "mail", private))
        [first] = await client.send(mail("ann@b.example"))
        clock.hold(clock.now() + timedelta(days=1))
        [again] = await client.send(mail("ann@b.example"))
        assert first.sha256 == again.sha256
        assert first.dkim.startswith("DKIM-Signature: v=1; a=ed25519-sha256;")
        for envelope in server.taken:
            assert isinstance(envelope.content, bytes)
            assert verify(envelope.content, private.public_key())

    async def test_a_wrong_password_puts_off(
        self, server: Server, tls: tuple[ssl.SSLContext, ssl.SSLContext], clock: VirtualClock
    ) -> None:
        client = SmtpMail(settings(server, tls[1], password="wrong"), clock)
        [outcome] = await client.send(mail("ann@b.example"))
        assert (outcome.result, outcome.reply[:3]) == ("deferred", "535")
        assert "wrong" not in outcome.reply

    async def test_a_certificate_of_nobody_we_trust_puts_off_and_sends_no_password(
        self, server: Server, clock: VirtualClock
    ) -> None:
        [outcome] = await SmtpMail(settings(server, None), clock).send(mail("ann@b.example"))
        assert outcome.result == "deferred"
        assert (server.logins, server.taken) == ([], [])

    async def test_a_server_that_is_not_there_puts_off(self, clock: VirtualClock) -> None:
        listener = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        listener.close()
        await listener.wait_closed()
        client = SmtpMail(SmtpSettings("127.0.0.1", port, "operator.example", "none"), clock)
        [outcome] = await client.send(mail("ann@b.example"))
        assert (outcome.result, outcome.reply.split(":")[0]) == ("deferred", "SMTPConnectError")

    async def test_an_address_that_is_not_ascii_is_refused_and_the_next_one_sent(
        self, server: Server, client: SmtpMail
    ) -> None:
        outcomes = await client.send(mail("ünal@b.example", "ann@b.example"))
        assert [(one.result, one.reply[:3]) for one in outcomes] == [("refused", "553"), ("accepted", "250")]

    def test_credentials_in_the_clear_over_a_network_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="TLS"):
            SmtpSettings("mail.example.com", 25, "operator.example", "none", "us", "secret")

    def test_the_password_is_not_shown(self) -> None:
        assert "secret" not in repr(SmtpSettings("localhost", 25, "operator.example", username="us", password="secret"))
