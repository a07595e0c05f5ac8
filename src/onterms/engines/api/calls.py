"""What passes between the engine and a room: a call in, a row or a page out, and the binding that joins them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from onterms.core.db import Tx
from onterms.core.errors import Refusal

if TYPE_CHECKING:
    from onterms.engines.api.contract import Operation
    from onterms.engines.api.paging import PageRequest

Credential = Literal["token", "secondary_token", "main_key", "standard_key", "bearer", "operator"]


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the engine and every room see it."""

    sid: str
    owner_sid: str
    status: Literal["active", "suspended", "closed"]
    friendly_name: str
    # A test account is `owner_sid`'s test credentials: it runs the magic numbers; nothing is sent, charged or called
    # back.
    test: bool = False

    @property
    def is_subaccount(self) -> bool:
        """Whether another account owns this one."""
        return self.sid != self.owner_sid and not self.test


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever authenticated: an account through one of its credentials."""

    account: Account
    credential: Credential
    credential_sid: str


@dataclass(slots=True)
class Call:
    """One request of a known operation by a known caller, parsed and validated by the contract.

    Shapes: `path` and `params` are keyed by the contract's names (`To`, `DateSent<`) with parsed values (int, bool,
    float, datetime, date, list of str, dict); parameters that were not sent are absent. `account` is the account acted
    upon: the one in the path, else the caller's own.
    """

    operation: "Operation"
    caller: Caller
    account: Account
    path: Mapping[str, str]
    params: Mapping[str, Any]
    at: datetime
    request_id: str
    paging: "PageRequest"
    # The ending of the path as it was asked for (json, xml, csv), or None.
    extension: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """A row with headers or a status of its own, where a plain mapping does not say enough."""

    body: Mapping[str, Any] | None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    # A raw body (media bytes, a redirect page) replaces the rendered one.
    raw: bytes | None = None
    content_type: str = "application/json"


Outcome = "Mapping[str, Any] | Page | Reply | None"
Handler = Callable[[Tx, Call], Awaitable[Any]]
BatchHandler = Callable[[Tx, list[Call]], Awaitable[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Binding:
    """Joins one operation of the contract to a use case.

    A batch handler gets calls of many requests in one transaction and answers each in order: a row, or a Refusal as a
    value. `refusals` gives Twilio's own code (and words) for a parameter the contract alone would refuse with 20001;
    its keys are parameter names.
    """

    operation_id: str
    handler: Handler | None
    batch_handler: BatchHandler | None = None
    refusals: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    # Test credentials reach only what the magic numbers cover.
    test_credentials: bool = False
    # A standard key may not manage accounts, keys and tokens.
    main_credential_only: bool = False
    # Operations without authentication of an account (token endpoints).
    open_to_all: bool = False
    # A suspended account may still read.
    active_account_only: bool = True
    # Of a batch handler: which calls it can mostly do with one statement. It is given `Database.at_once` for these.
    at_once: Callable[[Call], bool] | None = None


def serve(operation_id: str, handler: Handler, **options: Any) -> Binding:
    """Bind an operation, named `spec:operationId` as in `api_v2010:FetchMessage`, to a use case."""
    return Binding(operation_id, handler, **options)


def serve_batched(operation_id: str, handler: BatchHandler, **options: Any) -> Binding:
    """Bind an operation to a use case that takes many calls in one transaction."""
    return Binding(operation_id, None, handler, **options)


BatchResult = Mapping[str, Any] | Refusal
