"""Signatures of webhooks with the time in them: `t=1700000000,v1=<hex>`.

Source: Stripe docs, "Verify webhook signatures": v1 is HMAC-SHA256 of `{t}.{body}`; several v1 stand beside each other
while a secret is being rolled; what is older than the tolerance is refused, or it could be sent again later.
"""

import hashlib
import hmac
import re

# Stripe docs: the libraries' default.
TOLERANCE_S = 300
_SIGNATURES_MAX = 16
_TIME = re.compile(r"[0-9]{1,12}")
_HEX = re.compile(r"[0-9a-f]{64}")


def sign(secret: str, body: bytes, at_s: int) -> str:
    """Return the header's value for a body sent at this time (seconds since 1970)."""
    return f"t={at_s},v1={_digest(secret, body, str(at_s))}"


def is_genuine(secret: str, body: bytes, header: str, at_s: int, *, tolerance_s: int = TOLERANCE_S) -> bool:
    """Tell whether the holder of the secret signed this body about now."""
    parts = [part.strip().partition("=") for part in header.split(",")[:_SIGNATURES_MAX]]
    times = [value for name, _, value in parts if name == "t"]
    signatures = [value for name, _, value in parts if name == "v1" and _HEX.fullmatch(value)]
    if len(times) != 1 or not _TIME.fullmatch(times[0]):
        return False
    expected = _digest(secret, body, times[0])
    # Every signature is compared, so that the time taken does not tell which one was close.
    matches = [hmac.compare_digest(expected, signature) for signature in signatures]
    return any(matches) and abs(at_s - int(times[0])) <= tolerance_s


def _digest(secret: str, body: bytes, time: str) -> str:
    return hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()
