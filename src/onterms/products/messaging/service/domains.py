"""Short domains of customers' own: a certificate uploaded with its key names the domain that links are shortened by."""

from datetime import datetime
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.core.vault import Vault
from onterms.products.messaging import errors
from onterms.products.messaging.service.pool import domain
from onterms.products.messaging.store import domains as store

# Ours: a key and a chain of some certificates.
_PEM_CHARS_MAX: Final = 65_536
# Whoever could show a certificate for these could pass for the install's own API.
_RESERVED: Final = ("twilio.com", "sendgrid.com", "segment.io", "segmentapis.com", "localhost")


class Read(NamedTuple):
    """A certificate with its key, in one text, and what it says."""

    pem: str
    name: str
    expires_at: datetime


def read_certificate(text: str, at: datetime) -> Read:
    """Read what was uploaded: one private key and the certificates, the domain's own first.

    Raises: the refusal of the first thing wrong, with Twilio's code.
    """
    text = text.replace("\r\n", "\n").replace("\\n", "\n").strip()
    if len(text) > _PEM_CHARS_MAX or "-----BEGIN CERTIFICATE-----" not in text or "PRIVATE KEY-----" not in text:
        raise errors.CertificateMissing("TlsCert holds the certificate and its private key in PEM")
    try:
        chain = x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise errors.CertificateUnreadable("The certificate cannot be parsed") from None
    start = text.index("-----BEGIN", text.rindex("-----BEGIN", 0, text.index("PRIVATE KEY-----")))
    try:
        key: Any = serialization.load_pem_private_key(text[start:].encode(), password=None)
    except (ValueError, TypeError):
        raise errors.KeyUnreadable("The private key cannot be read, or is encrypted") from None
    leaf = chain[0]
    if leaf.public_key() != key.public_key():
        raise errors.PairWrong("The private key is not the certificate's")
    if leaf.issuer == leaf.subject and _signed_itself(leaf):
        raise errors.SelfSigned("The certificate is self-signed")
    if not leaf.not_valid_before_utc <= at < leaf.not_valid_after_utc:
        raise errors.CertificateInvalid("The certificate is not valid now")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    certificates = "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in chain)
    return Read(private + certificates, _name_of(leaf), leaf.not_valid_after_utc)


def _signed_itself(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _name_of(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise errors.CertificateInvalid("The certificate names no domain") from None
    found = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    usable = [name for name in found if "*" not in name and "." in name and not _is_reserved(name)]
    if not usable:
        raise errors.CertificateInvalid("The certificate names no domain that links can be shortened by")
    return usable[0]


def _is_reserved(name: str) -> bool:
    return any(name == reserved or name.endswith("." + reserved) for reserved in _RESERVED)


async def fetch_certificate(tx: Tx, account_sid: str, domain_sid: str) -> Row:
    """Return a domain that has a certificate. Raises: NotFound."""
    row = await domain(tx, account_sid, domain_sid)
    if row["certificate_sid"] is None:
        raise NotFound(f"The domain {domain_sid} has no certificate")
    return row


async def put_certificate(tx: Tx, vault: Vault, account_sid: str, domain_sid: str, text: str, at: datetime) -> Row:
    """Shorten by the domain that a certificate names from now on. Raises: NotFound, and as `read_certificate`."""
    row = await domain(tx, account_sid, domain_sid)
    read = read_certificate(text, at)
    sid = row["certificate_sid"] or new_sid("CW", at)
    changed = await store.set_certificate(
        tx, account_sid, read.name, sid, vault.seal(read.pem, sid), read.expires_at, at
    )
    if changed is None:
        raise InvalidParameter("Links of another account are shortened by this domain")
    return changed


async def remove_certificate(tx: Tx, account_sid: str, domain_sid: str, at: datetime) -> None:
    """Shorten by the install's own address again; links under the name lead nowhere then. Raises: NotFound."""
    await fetch_certificate(tx, account_sid, domain_sid)
    await store.remove_certificate(tx, account_sid, at)
