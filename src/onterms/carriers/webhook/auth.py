"""Answering a server that asks for the credentials in a URL, as Twilio does: by Basic or by Digest.

Credentials go out only after a challenge, so a server that wants Digest never sees the password.

Source: Twilio docs, usage/security "HTTP authentication"; RFC 7617 (Basic), RFC 7616 (Digest).
"""

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

_PARAMETER = re.compile(r'([A-Za-z]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HASHES: dict[str, Callable[[bytes], Any]] = {
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False),
    "sha-256": hashlib.sha256,
}


def basic(user: str, password: str) -> str:
    """Return the Authorization header for Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def answer_challenge(
    challenges: Sequence[str], user: str, password: str, method: str, resource: str, cnonce: str
) -> str | None:
    """Return the Authorization header that answers WWW-Authenticate headers, or None where none of them is known.

    Shapes: `resource` is the request target; `cnonce` is fresh randomness.
    """
    for challenge in challenges:
        scheme, _, rest = challenge.strip().partition(" ")
        if scheme.lower() == "digest":
            answer = _digest(rest, user, password, method, resource, cnonce)
            if answer is not None:
                return answer
    if any(challenge.strip().lower().startswith("basic") for challenge in challenges):
        return basic(user, password)
    return None


def _digest(rest: str, user: str, password: str, method: str, resource: str, cnonce: str) -> str | None:
    if _CONTROL.search(rest):
        # Parts of it are echoed in a header of ours.
        return None
    if "\\" in rest + user or '"' in user:
        # Quoted pairs are hashed unescaped and echoed escaped; no server was seen to use them.
        return None
    asked = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
    algorithm = asked.get("algorithm", "MD5")
    hash_of = _HASHES.get(algorithm.lower())
    qops = [qop.strip() for qop in asked.get("qop", "").split(",") if qop.strip()]
    if hash_of is None or not asked.get("nonce") or "realm" not in asked or (qops and "auth" not in qops):
        return None

    def digest(text: str) -> str:
        return str(hash_of(text.encode()).hexdigest())

    # RFC 7616 3.4.1: response = H(H(A1):nonce:nc:cnonce:qop:H(A2)), and the older form without qop.
    secret = digest(f"{user}:{asked['realm']}:{password}")
    request = digest(f"{method}:{resource}")
    fields = [
        f'username="{user}"',
        f'realm="{asked["realm"]}"',
        f'nonce="{asked["nonce"]}"',
        f'uri="{resource}"',
        f"algorithm={algorithm}",
    ]
    if qops:
        response = digest(f"{secret}:{asked['nonce']}:00000001:{cnonce}:auth:{request}")
        fields += ["qop=auth", "nc=00000001", f'cnonce="{cnonce}"']
    else:
        response = digest(f"{secret}:{asked['nonce']}:{request}")
    fields.append(f'response="{response}"')
    if "opaque" in asked:
        fields.append(f'opaque="{asked["opaque"]}"')
    return "Digest " + ", ".join(fields)
