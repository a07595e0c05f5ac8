"""The port for calling a customer's URL: TwiML fetches and status callbacks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec

Method = Literal["GET", "POST"]

# What an attempt keeps of each body, for people to read. Enough for any TwiML worth reading in a debugger.
BODY_KEPT_BYTES: Final = 4096
# Twilio docs: error 11750, TwiML documents end at 64 kB.
TWIML_BYTES_MAX: Final = 65_536

# Structs, for every message has some of each in its life, and a frozen dataclass takes ten times as long to make.


class Callback(msgspec.Struct, frozen=True):
    """One call to make.

    Shapes: `url` may carry connection overrides in its fragment; `params` is an ordered list of form fields, or the
    query for GET; `json_body` replaces params for JSON callbacks, which are POSTs. `signing_token` is the account's
    primary auth token. `idempotency_token` is repeated over retries. `cookies` is sent as the Cookie header, to the
    URL's own origin only.
    """

    account_sid: str
    url: str
    method: Method
    params: Sequence[tuple[str, str]]
    signing_token: str
    idempotency_token: str
    json_body: bytes | None = None
    cookies: Mapping[str, str] = msgspec.field(default_factory=dict)
    # What counts as an answer: TwiML fetches need a document, status callbacks only a 2xx.
    expect: Literal["twiml", "ack"] = "ack"


class Attempt(msgspec.Struct, frozen=True):
    """One HTTP exchange as it went, for the timeline and the debugger: each redirect and each retry is one.

    Shapes: bodies are cut to `BODY_KEPT_BYTES`; all text can be stored as it is (no NUL, no surrogates). Credentials
    are masked and `url` has none. `error_code` may be None beside a status 401 or 3xx that was a step on the way.
    The headers may be read from their bytes only when they are looked at; whoever needs none pays for none.
    """

    url: str
    method: Method
    started_at: datetime
    duration_ms: int
    status: int | None
    error_code: int | None
    error: str | None
    request_headers: Mapping[str, str]
    request_body: str
    response_headers: Mapping[str, str]
    response_body: str


class Answer(msgspec.Struct, frozen=True):
    """How a call ended.

    `error_code` is None on success, else the debugger's code (11200 HTTP failure, 11205 connection failure,
    11206 protocol violation, 11210 host not resolved, 11215 too many redirects, 11750 body too large ...).
    Shapes: `content_type` is the header as it came, empty where it is missing; `headers` has lower-case names; `body`
    is decompressed and never longer than `TWIML_BYTES_MAX`; `set_cookies` are Set-Cookie headers of the URL's own
    origin. `warnings` pairs a debugger code with words for what was ignored, such as a malformed connection override.
    """

    status: int | None
    content_type: str
    body: bytes
    headers: Mapping[str, str]
    error_code: int | None
    error: str | None
    attempts: tuple[Attempt, ...]
    set_cookies: tuple[str, ...] = ()
    warnings: tuple[tuple[int, str], ...] = ()


class CallbackClient(Protocol):
    """Call customers' URLs, signed, guarded, with connection overrides and retries."""

    async def call(self, callback: Callback) -> Answer:
        """Make the call with its retries and return how it ended; never raises for what the other side does."""
        ...
