"""Signatures of outgoing webhooks, as the official SDKs' request validators check them.

A form request signs its URL followed by every parameter's name and value; a JSON request carries the digest of its
body in the query and signs the URL alone; so does a GET, whose parameters are in the query already.

What is signed is the URL that the receiving server sees: the fragment (connection overrides) never leaves us and is
dropped, and so are user name and password. The port stays as written. Twilio drops it for voice over HTTPS alone;
validators of the SDKs try the URL both ways.

Source: Twilio docs, usage/security; twilio-python request_validator.py.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hashlib import _Hash

SIGNATURE_HEADER: Final = "X-Twilio-Signature"
BODY_DIGEST_PARAMETER: Final = "bodySHA256"
# Accounts whose key is at hand; 300 bytes each.
TOKENS_KEPT_MAX: Final = 4096

# FIPS 180-4: SHA-1 reads blocks of 512 bits.
_BLOCK_BYTES: Final = 64
_IPAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OPAD: Final = bytes(byte ^ 0x5C for byte in range(256))


def sign_form(token: str, url: str, params: Iterable[tuple[str, str]] = ()) -> str:
    """Sign a request with a form body, or with none when `params` is empty.

    Shapes: `params` in any order, repeated names as repeated pairs; base64 of an HMAC-SHA1 comes back.
    """
    # The validators collect the values of a name in a set and sort them, so equal pairs count once.
    signed = signed_url(url) + "".join([name + value for name, value in sorted(set(params))])
    return _hmac_sha1(token, signed)


def sign_json(token: str, url: str) -> str:
    """Sign a request with a JSON body, whose URL came from `with_body_sha256`."""
    return _hmac_sha1(token, signed_url(url))


def body_sha256(body: bytes) -> str:
    """Return the digest of a body in lower-case hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def with_body_sha256(url: str, body: bytes) -> str:
    """Return the URL with the body's digest in its query, ahead of any fragment.

    A digest that is there already is replaced: validators read the first one they find.
    """
    base, mark, fragment = url.partition("#")
    path, _, query = base.partition("?")
    fields = [field for field in query.split("&") if field and field.partition("=")[0] != BODY_DIGEST_PARAMETER]
    fields.append(f"{BODY_DIGEST_PARAMETER}={body_sha256(body)}")
    return f"{path}?{'&'.join(fields)}{mark}{fragment}"


def signed_url(url: str) -> str:
    """Return the part of a webhook's URL that its signature covers: no fragment, no user name, no password."""
    if "@" not in url and "#" not in url:
        return url
    url = url.partition("#")[0]
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    ends = [position for position in (rest.find("/"), rest.find("?")) if position >= 0]
    end = min(ends, default=len(rest))
    return f"{scheme}://{rest[:end].rpartition('@')[2]}{rest[end:]}"


def _hmac_sha1(token: str, signed: str) -> str:
    # RFC 2104: H(K xor opad, H(K xor ipad, text)). The states behind the key are kept, which halves the time.
    keyed = _keyed(token)
    inner, outer = keyed[0].copy(), keyed[1].copy()
    inner.update(signed.encode())
    outer.update(inner.digest())
    return binascii.b2a_base64(outer.digest(), newline=False).decode("ascii")


@lru_cache(maxsize=TOKENS_KEPT_MAX)
def _keyed(token: str) -> tuple[_Hash, _Hash]:
    key = token.encode()
    if len(key) > _BLOCK_BYTES:
        key = hashlib.sha1(key).digest()
    key = key.ljust(_BLOCK_BYTES, b"\0")
    return hashlib.sha1(key.translate(_IPAD)), hashlib.sha1(key.translate(_OPAD))
