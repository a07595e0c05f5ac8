"""Our own APIs, where the contract has none: `/simulator/v1/...`. JSON in, JSON out, the same error body."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.calls import Caller

# Who may call: `sandbox` is anybody on this machine of a sandbox install, or the operator or an account's credentials;
# `machine` is the same without accounts, for what belongs to no tenant; `operator` needs the operator key; `account` an
# account's credentials; `customer` either of both; `open` checks for itself (signed links, sign-up).
Access = Literal["sandbox", "machine", "operator", "account", "customer", "open"]


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """One request to an API of our own.

    Shapes: `path` holds the pattern's parameters, `query` the last value of each name, `body` the parsed JSON object.
    """

    method: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    at: datetime
    caller: Caller | None = None
    operator: bool = False
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    # The body as it came, for who checks its signature.
    raw_body: bytes = b""
    # Who connected, and the name of this request: what evidence of an acceptance or a notice keeps.
    peer: str | None = None
    request_id: str | None = None
    # True for a caller on this machine of a sandbox install, who needs no credentials for sandbox routes.
    local: bool = False

    def text(self, name: str, *, default: str | None = None, max_length: int = 65536) -> str:
        """Return a string of the body; refuse when it is missing without default, another type or too long."""
        value = self.body.get(name, default)
        if not isinstance(value, str):
            raise InvalidParameter(f"'{name}' must be a string" if name in self.body else f"'{name}' is required")
        if len(value) > max_length:
            raise InvalidParameter(f"'{name}' is longer than {max_length} characters")
        return value


@dataclass(frozen=True, slots=True)
class OwnReply:
    """A status and a JSON value (or raw bytes with their content type)."""

    body: Any
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    content_type: str = "application/json"
    # A body without end (server-sent events): chunks as they come, until the client goes.
    stream: AsyncIterator[bytes] | None = None


OwnHandler = Callable[[Tx, OwnRequest], Awaitable[OwnReply]]
# Where a use case spans several commits (moving the clock lets workers run), it opens its own transactions.
OwnFreeHandler = Callable[[OwnRequest], Awaitable[OwnReply]]


@dataclass(frozen=True, slots=True)
class OwnRoute:
    """One route: `{name}` in the pattern matches one path segment."""

    method: str
    pattern: str
    access: Access
    handler: OwnHandler | None = None
    free_handler: OwnFreeHandler | None = None
    body_bytes_max: int = 1024 * 1024
    summary: str = field(default="")
