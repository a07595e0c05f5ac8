"""The local authority and what clients make of its certificates."""

from __future__ import annotations

import contextlib
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from onterms.app.certificates import CA_DAYS, LocalAuthority, UncertifiableHost


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LocalAuthority:
    return LocalAuthority(tmp_path_factory.mktemp("tls"))


def handshake(verifier: ssl.SSLContext, server_context: ssl.SSLContext, host: str) -> None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = verifier.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert client.version() is not None


class TestAuthority:
    def test_key_is_readable_by_its_owner_only_and_kept(self, tmp_path: Path) -> None:
        first = LocalAuthority(tmp_path)
        key_path = tmp_path / "ca-key.pem"
        assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
        before = (first.ca_path.read_bytes(), key_path.read_bytes())
        assert (LocalAuthority(tmp_path).ca_path.read_bytes(), key_path.read_bytes()) == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.pem", "ca-key.pem", "ca.pem"]

    def test_key_left_readable_to_others_is_closed_again(self, tmp_path: Path) -> None:
        LocalAuthority(tmp_path)
        (tmp_path / "ca-key.pem").chmod(0o644)
        LocalAuthority(tmp_path)
        assert stat.S_IMODE((tmp_path / "ca-key.pem").stat().st_mode) == 0o600

    def test_lost_certificate_is_made_again_from_the_key(self, tmp_path: Path) -> None:
        first = LocalAuthority(tmp_path)
        old = x509.load_pem_x509_certificate(first.ca_path.read_bytes())
        first.ca_path.unlink()
        new = x509.load_pem_x509_certificate(LocalAuthority(tmp_path).ca_path.read_bytes())
        assert (new.subject, new.public_key()) == (old.subject, old.public_key())

    def test_authority_near_its_end_is_renewed_under_the_same_key(self, tmp_path: Path) -> None:
        first = LocalAuthority(tmp_path)
        old = first._self_sign(datetime.now(UTC) - timedelta(days=CA_DAYS - 10))
        first.ca_path.write_bytes(old.public_bytes(Encoding.PEM))
        renewed = LocalAuthority(tmp_path)
        new = x509.load_pem_x509_certificate(renewed.ca_path.read_bytes())
        assert new.not_valid_after_utc > datetime.now(UTC) + timedelta(days=CA_DAYS - 1)
        assert new.public_key() == old.public_key()
        verifier = ssl.create_default_context(cadata=old.public_bytes(Encoding.PEM).decode())
        handshake(verifier, renewed.context_for("api.twilio.com"), "api.twilio.com")

    def test_first_starts_at_the_same_time_agree_on_one_authority(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(LocalAuthority, [tmp_path] * 8))
        verifier = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        for authority in made:
            handshake(verifier, authority.context_for("api.twilio.com"), "api.twilio.com")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.pem", "ca-key.pem", "ca.pem"]

    def test_certificate_of_another_key_is_refused(self, tmp_path: Path) -> None:
        one, other = LocalAuthority(tmp_path / "one"), LocalAuthority(tmp_path / "other")
        one.ca_path.write_bytes(other.ca_path.read_bytes())
        with pytest.raises(ValueError, match="is not of the key"):
            LocalAuthority(tmp_path / "one")

    def test_bundle_holds_public_authorities_and_ours_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        theirs = LocalAuthority(tmp_path / "company")
        company = tmp_path / "company.pem"
        company.write_bytes(theirs.ca_path.read_bytes() + (tmp_path / "company" / "ca-key.pem").read_bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(company))
        made = LocalAuthority(tmp_path / "ours")
        loaded = x509.load_pem_x509_certificates(made.bundle_path.read_bytes())
        expected = x509.load_pem_x509_certificates(theirs.ca_path.read_bytes() + made.ca_path.read_bytes())
        assert loaded == expected
        assert b"PRIVATE" not in made.bundle_path.read_bytes()
        # In a shell with our exports the variable names the bundle itself, which must not become its own source.
        monkeypatch.setenv("SSL_CERT_FILE", str(made.bundle_path))
        again = LocalAuthority(tmp_path / "ours")
        assert again.bundle_path.read_bytes().count(again.ca_path.read_bytes().strip()) == 1

    def test_context_is_made_once_for_a_host(self, authority: LocalAuthority) -> None:
        assert authority.context_for("sync.twilio.com") is authority.context_for("SYNC.twilio.com.")

    def test_endless_names_do_not_grow_the_cache_without_end(self, authority: LocalAuthority) -> None:
        for number in range(300):
            authority.context_for(f"api.edge{number}.us1.twilio.com")
        assert len(authority._contexts) <= 256

    @pytest.mark.parametrize(
        "host", ["bank.example", "twilio.com.bank.example", "8.8.8.8", "www.twilio.com", "", "a b"]
    )
    def test_host_that_is_not_ours_gets_no_certificate(self, authority: LocalAuthority, host: str) -> None:
        with pytest.raises(UncertifiableHost):
            authority.context_for(host)

    def test_own_domain_added_later_is_permitted_under_the_same_key(self, tmp_path: Path) -> None:
        LocalAuthority(tmp_path)
        authority = LocalAuthority(tmp_path, own_domains=["sms.example.org"])
        verifier = ssl.create_default_context(cafile=authority.ca_path)
        verifier.verify_flags |= ssl.VERIFY_X509_STRICT
        handshake(verifier, authority.context_for("verify.sms.example.org"), "verify.sms.example.org")

    def test_strict_verifier_accepts_every_kind_of_name(self, authority: LocalAuthority) -> None:
        verifier = ssl.create_default_context(cafile=authority.ca_path)
        # What Python 3.13 verifies with by default.
        verifier.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        for host in (
            "api.twilio.com",
            "api.dublin.ie1.twilio.com",
            "api.eu.sendgrid.com",
            "localhost",
            "::1",
            "10.0.0.9",
        ):
            handshake(verifier, authority.context_for(host), host)

    def test_authority_cannot_vouch_for_other_names(self, tmp_path: Path) -> None:
        careless = LocalAuthority(tmp_path)
        # As somebody would who stole the key.
        stolen = careless._make_context("bank.example", datetime.now(UTC))
        verifier = ssl.create_default_context(cafile=careless.ca_path)
        with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
            handshake(verifier, stolen, "bank.example")
