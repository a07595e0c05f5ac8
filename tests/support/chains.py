"""Certificates as an authority of a test's own signs them."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_FROM, _UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """Write a key."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


class Authority:
    """An authority."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign("Test authority", self.key, None, "Test authority", is_ca=True)

    @property
    def pem(self) -> str:
        """What trusts it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _sign(
        self,
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        dns: str | None,
        issuer: str,
        *,
        is_ca: bool = False,
        until: datetime = _UNTIL,
        by: ec.EllipticCurvePrivateKey | None = None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(subject))
            .issuer_name(_named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_FROM)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if dns is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
        return builder.sign(by or self.key, hashes.SHA256())

    def chain(self, dns: str, *, until: datetime = _UNTIL, self_signed: bool = False) -> tuple[str, str]:
        """Return a new key and a certificate for a name, both in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer, by = ("Domain", key) if self_signed else ("Test authority", self.key)
        certificate = self._sign("Domain", key, dns, issuer, until=until, by=by)
        return private_pem(key), certificate.public_bytes(serialization.Encoding.PEM).decode()
