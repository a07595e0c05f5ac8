"""Keep a local certificate authority, and make the certificates that the doors show to unmodified clients.

The authority is made at the first start and lives in one folder: `ca-key.pem` (readable by its owner only), `ca.pem`
(what a client adds to its trust) and `bundle.pem` (the machine's authorities and ours: REQUESTS_CA_BUNDLE and
SSL_CERT_FILE replace a client's trust, so other hosts must keep working). Who trusts the authority risks little if its
key is lost: it is constrained to the names below, and a client that enforces this accepts no other name from it. Leaf
certificates share one key that never leaves the process and are made when a host is first asked for.
"""

from __future__ import annotations

import importlib
import ipaddress
import logging
import os
import re
import secrets
import ssl
import tempfile
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from onterms.app import hosts

logger = logging.getLogger(__name__)

CA_DAYS: Final = 3650
# Renewed while a client still accepts it: a machine that is off for a month comes back to a valid authority.
_CA_RENEW_DAYS: Final = 60
# Apple refuses leaves of more than 825 days even from authorities the user added (support.apple.com HT210176).
LEAF_DAYS: Final = 397
_LEAF_RENEW_DAYS: Final = 30
# A client's clock may run behind ours.
_BACKDATE: Final = timedelta(days=1)
# Host names of the form product.edge.region.twilio.com are endless; what a client can make us keep is not.
_CONTEXTS_MAX: Final = 256

_LOCAL_DOMAINS: Final = ("localhost", "host.docker.internal", "host.containers.internal")
# RFC 1122 3.2.1.3, RFC 1918, RFC 4193: where a door for local clients can be reached by address.
_LOCAL_NETWORKS: Final = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")

# Where systems keep their authorities when OpenSSL was built with another idea (Debian, Fedora, SUSE, Alpine, macOS).
_SYSTEM_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_PEM_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


class UncertifiableHost(ValueError):
    """A certificate was asked for a host that is not ours to answer for."""


class LocalAuthority:
    """Issue TLS server contexts for our hosts, signed by an authority that is kept in `folder`.

    `accepts` narrows the hosts; `own_domains` are names under which an operator reaches this installation besides.
    Certificates are dated by the real clock, for the clients that check them have no other.
    """

    def __init__(
        self,
        folder: Path,
        *,
        accepts: Callable[[str], bool] | None = None,
        own_domains: Collection[str] = (),
    ) -> None:
        self.folder = folder
        self.ca_path = folder / "ca.pem"
        self.bundle_path = folder / "bundle.pem"
        self._key_path = folder / "ca-key.pem"
        self._own_domains = tuple(domain.lower() for domain in own_domains)
        self._accepts = accepts or (lambda host: hosts.may_certify(host, self._own_domains))
        self._contexts: dict[str, tuple[ssl.SSLContext, datetime]] = {}
        # Names that others vouch for, with certificates of their own.
        self.others: Callable[[str], ssl.SSLContext | None] = lambda name: None
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o022:
            # Made under a lenient umask: whoever may write here could put an authority of their own in our place.
            folder.chmod(0o755)
        self._key = self._load_or_make_key()
        self._certificate = self._load_or_make_certificate()
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._write_bundle()

    def context_for(self, host: str) -> ssl.SSLContext:
        """Return the server context that shows a certificate for `host`, which may be a name or an address.

        Raises: UncertifiableHost.
        """
        name = hosts.hostname(host)
        now = datetime.now(UTC)
        cached = self._contexts.get(name)
        if cached is not None and now < cached[1]:
            return cached[0]
        if not self.can_certify(name):
            raise UncertifiableHost(name[:253])
        context = self._make_context(name, now)
        self._contexts.pop(name, None)
        while len(self._contexts) >= _CONTEXTS_MAX:
            del self._contexts[next(iter(self._contexts))]
        self._contexts[name] = (context, now + timedelta(days=LEAF_DAYS - _LEAF_RENEW_DAYS))
        return context

    def can_certify(self, host: str) -> bool:
        """Say whether `context_for` has a certificate for `host`."""
        name = hosts.hostname(host)
        return self._accepts(name) and self._is_permitted(name)

    def door_context(self) -> ssl.SSLContext:
        """Make a listening port's context: each client gets the certificate of the name that it asked for (SNI).

        A client that names no host, as one does that connects to an address, gets the one for this machine's names.
        """
        context = self._make_context("localhost", datetime.now(UTC))

        def choose(tls: ssl.SSLObject | ssl.SSLSocket, server_name: str | None, _context: ssl.SSLContext) -> int | None:
            if server_name is not None:
                other = self.others(server_name)
                if other is not None:
                    tls.context = other
                    return None
                try:
                    tls.context = self.context_for(server_name)
                except UncertifiableHost:
                    return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            return None

        context.sni_callback = choose
        return context

    # The authority's own files

    def _load_or_make_key(self) -> ec.EllipticCurvePrivateKey:
        if not self._key_path.exists():
            fresh = ec.generate_private_key(ec.SECP256R1())
            _create_once(self._key_path, _private_pem(fresh, serialization.NoEncryption()), 0o600)
        # Whoever came first, this process or another, the file is what counts.
        if self._key_path.stat().st_mode & 0o077:
            logger.warning("the certificate authority's key was readable by others; its mode is now 0600")
            self._key_path.chmod(0o600)
        key = serialization.load_pem_private_key(self._key_path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{self._key_path} holds no elliptic-curve key")
        return key

    def _load_or_make_certificate(self) -> x509.Certificate:
        if self.ca_path.exists():
            certificate = x509.load_pem_x509_certificate(self.ca_path.read_bytes())
            if certificate.public_key() != self._key.public_key():
                raise ValueError(f"{self.ca_path} is not of the key in {self._key_path}; remove the one that is wrong")
            expires_soon = certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(days=_CA_RENEW_DAYS)
            if not expires_soon and set(self._permitted_domains()) <= set(_permitted_names(certificate)):
                return certificate
        # Same key, same name: leaves made under the old certificate verify under the new one and the other way round.
        certificate = self._self_sign(datetime.now(UTC))
        _replace(self.ca_path, certificate.public_bytes(serialization.Encoding.PEM))
        return certificate

    def _self_sign(self, now: datetime) -> x509.Certificate:
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "onterms"),
                x509.NameAttribute(NameOID.COMMON_NAME, "onterms local authority"),
            ]
        )
        permitted: list[x509.GeneralName] = [x509.DNSName(domain) for domain in self._permitted_domains()]
        permitted += [x509.IPAddress(ipaddress.ip_network(network)) for network in _LOCAL_NETWORKS]
        public = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            # RFC 5280 4.2.1.10 has this critical. OpenSSL and Go enforce it on a trusted root; others may ignore it.
            .add_extension(x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _permitted_domains(self) -> tuple[str, ...]:
        return (*hosts.DOMAINS, *_LOCAL_DOMAINS, *self._own_domains)

    def _is_permitted(self, name: str) -> bool:
        address = _address(name)
        if address is not None:
            networks = [ipaddress.ip_network(network) for network in _LOCAL_NETWORKS]
            return any(address.version == network.version and address in network for network in networks)
        return any(name == domain or name.endswith("." + domain) for domain in self._permitted_domains())

    def _write_bundle(self) -> None:
        ours = self._certificate.public_bytes(serialization.Encoding.PEM).strip()
        system = _system_authorities(excluding=self.bundle_path)
        if not system:
            logger.warning("no public certificate authorities were found; clients with our bundle trust our hosts only")
        text = b"\n".join([*(pem for pem in system if pem != ours), ours]) + b"\n"
        if not self.bundle_path.exists() or self.bundle_path.read_bytes() != text:
            _replace(self.bundle_path, text)

    # Leaves

    def _make_context(self, name: str, now: datetime) -> ssl.SSLContext:
        address = _address(name)
        names: list[x509.GeneralName]
        if name == "localhost":
            # What a client without SNI gets has to fit every way to this machine.
            names = [x509.DNSName("localhost")]
            names += [x509.IPAddress(ipaddress.ip_address(local)) for local in ("127.0.0.1", "::1")]
        else:
            names = [x509.DNSName(name) if address is None else x509.IPAddress(address)]
        public = self._leaf_key.public_key()
        certificate = (
            x509.CertificateBuilder()
            # No common name: it holds 64 characters at most (RFC 5280 A.1), and clients read the other names only.
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "onterms")]))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + timedelta(days=LEAF_DAYS) - _BACKDATE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            # Python 3.13 verifies strictly and refuses a leaf that does not name its issuer's key.
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        _load_chain(context, certificate, self._leaf_key)
        return context


def _load_chain(context: ssl.SSLContext, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    # The ssl module reads keys from files only, so for a moment there is one: in a folder of our own, and encrypted.
    password = secrets.token_bytes(24).hex().encode()
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    pem += _private_pem(key, serialization.BestAvailableEncryption(password))
    with tempfile.TemporaryDirectory(prefix="onterms-") as folder:
        path = Path(folder) / "leaf.pem"
        path.write_bytes(pem)
        context.load_cert_chain(path, password=password)


def _private_pem(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _permitted_names(certificate: x509.Certificate) -> Iterable[str]:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ()
    return [name.value for name in constraints.permitted_subtrees or () if isinstance(name, x509.DNSName)]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _system_authorities(excluding: Path) -> list[bytes]:
    # SSL_CERT_FILE comes first here, so a company's own authority is kept, but in a shell that already has our exports
    # it names our own bundle.
    candidates = [ssl.get_default_verify_paths().cafile, *_SYSTEM_BUNDLES]
    try:
        candidates.append(importlib.import_module("certifi").where())
    except ImportError:
        logger.debug("certifi is not installed")
    for candidate in candidates:
        if candidate is None or not os.path.isfile(candidate):
            continue
        if excluding.exists() and os.path.samefile(candidate, excluding):
            continue
        # Certificates only: whatever else such a file holds is not for a world-readable copy.
        found = dict.fromkeys(_PEM_CERTIFICATE.findall(Path(candidate).read_bytes()))
        if found:
            return list(found)
    return []


def _create_once(path: Path, content: bytes, mode: int) -> None:
    """Make `path` appear whole or not at all, and leave it alone where another process made it first."""
    temporary = _write_temporary(path, content, mode)
    try:
        # Unlike a rename, a link fails when the name is taken.
        os.link(temporary, path)
    except FileExistsError:
        logger.debug("%s was made by another process", path.name)
    finally:
        temporary.unlink()


def _replace(path: Path, content: bytes) -> None:
    os.replace(_write_temporary(path, content, 0o644), path)


def _write_temporary(path: Path, content: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        # The umask may have taken away what a client of another user needs to read the public files.
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary
