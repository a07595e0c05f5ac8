"""The platform's webhook: a Pub/Sub push envelope, signed with the client token.

Source: Google, RCS for Business, "Webhooks": when a webhook is set, a clientToken with a secret comes, and the secret
is to be answered; every other request has the header X-Goog-Signature, the base64 of HMAC-SHA512 of the decoded
`message.data` under the client token.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

import msgspec

from onterms.protocols.rbm.arrivals import Malformed


@dataclass(frozen=True, slots=True)
class Challenge:
    """The platform asks whether this webhook is ours: with the right token, `secret` is the answer."""

    client_token: str
    secret: str


@dataclass(frozen=True, slots=True)
class Pushed:
    """What an envelope held: the bytes that are signed."""

    data: bytes
    id: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


class _Message(msgspec.Struct, rename="camel"):
    data: str = ""
    message_id: str = ""
    attributes: dict[str, Any] = {}


class _Envelope(msgspec.Struct, rename="camel"):
    message: _Message | None = None
    client_token: str = ""
    secret: str = ""


def sign(client_token: str, data: bytes) -> str:
    """Return the header's value for what an envelope holds."""
    return base64.b64encode(hmac.new(client_token.encode(), data, hashlib.sha512).digest()).decode()


def is_genuine(client_token: str, data: bytes, header: str) -> bool:
    """Tell whether the holder of the client token signed these bytes."""
    # Without a token everybody could sign.
    return bool(client_token) and hmac.compare_digest(sign(client_token, data).encode(), header.strip().encode())


def read_push(body: bytes) -> Pushed | Challenge:
    """Open an envelope.

    Raises: Malformed.
    """
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
        if envelope.message is None:
            if envelope.client_token and envelope.secret:
                return Challenge(envelope.client_token, envelope.secret)
            raise Malformed("the envelope holds no message")
        data = base64.b64decode(envelope.message.data, validate=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise Malformed(str(error)) from None
    if not data:
        raise Malformed("the envelope's message is empty")
    return Pushed(data, envelope.message.message_id, envelope.message.attributes)


def envelope(data: bytes, message_id: str, published_at: str) -> bytes:
    """Put bytes into an envelope, as the platform pushes them."""
    message = {"data": base64.b64encode(data).decode(), "messageId": message_id, "publishTime": published_at}
    return msgspec.json.encode({"message": message})
