"""Google service accounts: the key file, and the assertions that its key signs.

Source: Google, "Using OAuth 2.0 for Server to Server Applications": RS256; iss, scope, aud, exp, iat; at most an hour.
"""

import base64
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from onterms.protocols.rbm.requests import SCOPE

_LIFE_S: Final = 3600


class KeyInvalid(ValueError):
    """The text is no service account's key file."""


class _KeyFile(msgspec.Struct):
    type: str
    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"


@dataclass(frozen=True, slots=True, repr=False)
class ServiceAccount:
    """Who asks, and the key that proves it."""

    email: str
    key_id: str
    token_url: str
    key: rsa.RSAPrivateKey

    def __repr__(self) -> str:
        return f"ServiceAccount({self.email})"

    def assertion(self, at_s: int) -> str:
        """Sign an assertion for an access token (seconds since 1970)."""
        header = {"alg": "RS256", "typ": "JWT", **({"kid": self.key_id} if self.key_id else {})}
        claims = {
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_url,
            "iat": at_s,
            "exp": at_s + _LIFE_S,
        }
        signed = f"{_part(header)}.{_part(claims)}"
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_url64(signature)}"


def read_key(text: str) -> ServiceAccount:
    """Read the JSON key file that Google's console hands out.

    Raises: KeyInvalid.
    """
    try:
        file = msgspec.json.decode(text, type=_KeyFile)
        key = serialization.load_pem_private_key(file.private_key.encode(), None)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        # The text of a parser's error may hold parts of the key.
        raise KeyInvalid(f"not a service account's key file ({type(error).__name__})") from None
    if file.type != "service_account" or not isinstance(key, rsa.RSAPrivateKey) or not file.client_email:
        raise KeyInvalid("not the key file of a service account with an RSA key")
    return ServiceAccount(file.client_email, file.private_key_id, file.token_uri, key)


def decoded(part: str) -> bytes:
    """Return the bytes of one part of a token. Raises: ValueError."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _part(value: dict[str, Any]) -> str:
    return _url64(msgspec.json.encode(value))


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
