"""Settings that touch money and mail: what they mean, and what they refuse without repeating a secret."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from onterms.app.settings import Settings, from_environment
from onterms.core.errors import ConfigError

SMTP = {
    "ONTERMS_SMTP_URL": "smtp://billing:p%40ss@mail.example:2525",
    "ONTERMS_MAIL_FROM": "Acme <billing@acme.example>",
}


def read(**environment: str) -> Settings:
    return from_environment(environment)


def refusal(**environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(**environment)
    return str(caught.value)


class TestMail:
    def test_without_a_server_there_is_no_mail(self) -> None:
        assert read().mail is None

    def test_url_names_server_credentials_and_starttls(self) -> None:
        mail = read(**SMTP).mail
        assert mail is not None
        server = mail.server
        assert (server.host, server.port, server.security) == ("mail.example", 2525, "starttls")
        assert (server.username, server.password) == ("billing", "p@ss")
        assert (mail.sender, mail.sender_name, server.helo) == ("billing@acme.example", "Acme", "acme.example")
        assert mail.legal_address == "billing@acme.example"

    @pytest.mark.parametrize(
        ("url", "port", "security"),
        [
            ("smtp://mail.example", 587, "starttls"),
            ("smtps://mail.example", 465, "tls"),
            ("smtp://127.0.0.1:25?starttls=no", 25, "none"),
        ],
    )
    def test_scheme_and_option_choose_security_and_port(self, url: str, port: int, security: str) -> None:
        mail = read(**SMTP | {"ONTERMS_SMTP_URL": url}).mail
        assert mail is not None
        assert (mail.server.port, mail.server.security) == (port, security)

    def test_operator_names_itself_and_its_legal_address(self) -> None:
        found = read(
            **SMTP | {"ONTERMS_MAIL_FROM": "billing@acme.example"},
            ONTERMS_OPERATOR_NAME="Acme Inc.",
            ONTERMS_OPERATOR_ADDRESS="1 Main Street; Springfield",
            ONTERMS_MAIL_LEGAL="legal@acme.example",
            ONTERMS_MAIL_HELO="mx.acme.example",
        )
        assert found.mail is not None
        assert (found.mail.sender_name, found.mail.legal_address) == ("Acme Inc.", "legal@acme.example")
        assert found.mail.server.helo == "mx.acme.example"
        assert (found.operator_name, found.operator_address) == ("Acme Inc.", ("1 Main Street", "Springfield"))

    @pytest.mark.parametrize(
        "url",
        [
            "mail.example",
            "http://u:hunter2@mail.example",
            "smtp://u:hunter2@mail.example:port",
            "smtp://u:hunter2@mail.example/path",
            "smtp://u:hunter2@mail.example?tls=yes",
            "smtps://u:hunter2@mail.example?starttls=yes",
            "smtp://u:hunter2@mail.example?starttls=no",
        ],
    )
    def test_url_that_cannot_work_is_refused_without_showing_the_password(self, url: str) -> None:
        words = refusal(**SMTP | {"ONTERMS_SMTP_URL": url})
        assert "hunter2" not in words
        assert "ONTERMS_SMTP_URL" in words or "credentials need TLS" in words

    def test_server_without_a_sender_is_refused(self) -> None:
        assert "ONTERMS_MAIL_FROM" in refusal(ONTERMS_SMTP_URL="smtp://mail.example")

    @pytest.mark.parametrize("sender", ["nobody", "Acme <@acme.example>", "a b@acme.example"])
    def test_sender_that_is_no_address_is_refused(self, sender: str) -> None:
        assert "ONTERMS_MAIL_FROM" in refusal(**SMTP | {"ONTERMS_MAIL_FROM": sender})

    def test_sender_without_a_server_is_refused(self) -> None:
        assert "needs ONTERMS_SMTP_URL" in refusal(ONTERMS_MAIL_FROM="billing@acme.example")

    def test_dkim_key_is_read_for_the_senders_domain(self, tmp_path: Path) -> None:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = tmp_path / "dkim.pem"
        path.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(*form))
        mail = read(**SMTP, ONTERMS_DKIM_KEY=str(path), ONTERMS_DKIM_SELECTOR="s1").mail
        assert mail is not None and mail.dkim is not None
        assert (mail.dkim.domain, mail.dkim.selector) == ("acme.example", "s1")
        assert "ONTERMS_DKIM_SELECTOR" in refusal(**SMTP, ONTERMS_DKIM_KEY=str(path))
        path.write_text("no key")
        assert "PEM" in refusal(**SMTP, ONTERMS_DKIM_KEY=str(path), ONTERMS_DKIM_SELECTOR="s1")

    def test_install_that_is_no_sandbox_needs_a_mail_server(self) -> None:
        assert "ONTERMS_SMTP_URL" in refusal(ONTERMS_SANDBOX="0")


class TestStripe:
    def test_key_and_webhook_secret_go_together(self) -> None:
        found = read(ONTERMS_STRIPE_KEY="sk_test_1", ONTERMS_STRIPE_WEBHOOK_SECRET="whsec_1").stripe
        assert found is not None
        assert (found.secret_key, found.webhook_secret) == ("sk_test_1", "whsec_1")
        assert read().stripe is None
        assert "ONTERMS_STRIPE_WEBHOOK_SECRET" in refusal(ONTERMS_STRIPE_KEY="sk_test_1")
        assert "ONTERMS_STRIPE_KEY" in refusal(ONTERMS_STRIPE_WEBHOOK_SECRET="whsec_1")

    def test_wrong_kind_of_key_is_refused_without_showing_it(self) -> None:
        words = refusal(ONTERMS_STRIPE_KEY="pk_live_hunter2", ONTERMS_STRIPE_WEBHOOK_SECRET="whsec_1")
        assert "ONTERMS_STRIPE_KEY" in words and "hunter2" not in words


def test_settings_show_no_secret() -> None:
    found = read(**SMTP, ONTERMS_STRIPE_KEY="sk_test_hunter2", ONTERMS_STRIPE_WEBHOOK_SECRET="whsec_hunter2")
    assert "hunter2" not in repr(found) and "p@ss" not in repr(found)
