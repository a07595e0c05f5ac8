"""DKIM signatures, RFC 6376, with RSA-SHA256 and Ed25519-SHA256 (RFC 8463), relaxed canonicalisation.

Theory of operation
-------------------

A signature covers a hash of the body (`bh=`) and, with the chosen header fields in the order of `h=`, itself with an
empty `b=`. Relaxed canonicalisation folds what servers on the way change: runs of white space, the case of field names
and empty lines at the body's end. A field is named once more than it occurs, so that another one cannot be added
without breaking the signature (RFC 6376 5.4).
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

# RFC 6376 5.4.1: From must be there; the others carry what a reader sees.
_SIGNED = ("from", "to", "subject", "date", "message-id", "mime-version", "content-type")
_WSP = re.compile(rb"[ \t]+")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_B_VALUE = re.compile(rb"(;[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_LINE_CHARS = 72


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A domain's signing key; its public half stands in the DNS at SELECTOR._domainkey.DOMAIN."""

    domain: str
    selector: str
    private: RSAPrivateKey | Ed25519PrivateKey

    @classmethod
    def from_pem(cls, domain: str, selector: str, pem: bytes) -> "DkimKey":
        """Read an unencrypted private key.

        Raises: ValueError for another kind of key, or RSA of fewer than 1024 bits (RFC 8301 3.2).
        """
        private = serialization.load_pem_private_key(pem, password=None)
        if isinstance(private, RSAPrivateKey):
            if private.key_size < 1024:
                raise ValueError("a DKIM key of RSA has at least 1024 bits")
        elif not isinstance(private, Ed25519PrivateKey):
            raise ValueError("a DKIM key is RSA or Ed25519")
        return cls(domain, selector, private)

    @property
    def algorithm(self) -> str:
        """Return the name in `a=`."""
        return "rsa-sha256" if isinstance(self.private, RSAPrivateKey) else "ed25519-sha256"

    def record(self) -> str:
        """Return the TXT record to publish."""
        public = self.private.public_key()
        if isinstance(public, RSAPublicKey):
            der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"


def sign(mail: bytes, key: DkimKey, *, signed_at_s: int) -> bytes:
    """Return the mail with a signature in front.

    Shapes: mail has CRLF line ends.
    """
    fields, body = _split(mail)
    present = [_name(field) for field in fields]
    names = [name for name in _SIGNED if name in present]
    # RFC 6376 8.15: these once more, so that a second one is seen.
    names += [name for name in ("from", "to", "subject", "date", "message-id") if name in names]
    unsigned = (
        f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/relaxed;\r\n d={key.domain}; s={key.selector};"
        f" t={signed_at_s};\r\n h={':'.join(names)};\r\n bh={_body_hash(body)};\r\n b="
    ).encode()
    digest = _digest(fields, names, unsigned)
    if isinstance(key.private, RSAPrivateKey):
        made = key.private.sign(digest, padding.PKCS1v15(), hashes.SHA256())
    else:
        # RFC 8463 3: Ed25519 signs the SHA-256 of the data, not the data.
        made = key.private.sign(hashlib.sha256(digest).digest())
    text = base64.b64encode(made)
    folded = b"\r\n ".join(text[at : at + _LINE_CHARS] for at in range(0, len(text), _LINE_CHARS))
    return unsigned + folded + b"\r\n" + mail


def verify(mail: bytes, public: RSAPublicKey | Ed25519PublicKey) -> bool:
    """Tell whether the first DKIM signature of a mail is whole and by the owner of this key."""
    fields, body = _split(mail)
    found = next((field for field in fields if _name(field) == "dkim-signature"), None)
    if found is None:
        return False
    tags = _tags(found)
    if tags.get("c") != "relaxed/relaxed" or tags.get("bh") != _body_hash(body) or "h" not in tags:
        return False
    others = [field for field in fields if field is not found]
    digest = _digest(others, [name.strip().lower() for name in tags["h"].split(":")], _B_VALUE.sub(rb"\1", found))
    try:
        made = base64.b64decode(tags.get("b", ""), validate=True)
        if isinstance(public, RSAPublicKey):
            public.verify(made, digest, padding.PKCS1v15(), hashes.SHA256())
        else:
            public.verify(made, hashlib.sha256(digest).digest())
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _split(mail: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = mail.partition(b"\r\n\r\n")
    fields: list[bytes] = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += b"\r\n" + line
        else:
            fields.append(line)
    return fields, body


def _name(field: bytes) -> str:
    return field.partition(b":")[0].strip().decode("ascii", "replace").lower()


def _tags(field: bytes) -> dict[str, str]:
    value = field.partition(b":")[2].decode("ascii", "replace")
    tags: dict[str, str] = {}
    for part in value.split(";"):
        name, _, text = part.partition("=")
        tags[name.strip()] = re.sub(r"\s+", "", text)
    return tags


def _relaxed(field: bytes) -> bytes:
    # RFC 6376 3.4.2
    value = _WSP.sub(b" ", _FOLD.sub(b"", field.partition(b":")[2])).strip(b" \t")
    return _name(field).encode() + b":" + value


def _digest(fields: list[bytes], names: list[str], unsigned: bytes) -> bytes:
    # RFC 6376 5.4.2: fields that occur several times are taken from the bottom up; one too many is nothing.
    left: dict[str, list[bytes]] = {}
    for field in fields:
        left.setdefault(_name(field), []).append(field)
    out = b""
    for name in names:
        if left.get(name):
            out += _relaxed(left[name].pop()) + b"\r\n"
    return out + _relaxed(unsigned)


def _body_hash(body: bytes) -> str:
    # RFC 6376 3.4.4
    lines = [_WSP.sub(b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    text = b"".join(line + b"\r\n" for line in lines)
    return base64.b64encode(hashlib.sha256(text).digest()).decode()
