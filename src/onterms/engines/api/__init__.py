"""The contract engine: operations as data, one handler that routes, validates, runs a room's use case and renders."""

from onterms.engines.api.calls import (
    Account,
    Binding,
    Call,
    Caller,
    Reply,
    serve,
    serve_batched,
)
from onterms.engines.api.contract import Operation, load
from onterms.engines.api.engine import Engine, Gatekeeper, Limits, Request, Response, Witness
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute
from onterms.engines.api.paging import Page, PageRequest

__all__ = [
    "Account",
    "Binding",
    "Call",
    "Caller",
    "Engine",
    "Gatekeeper",
    "Limits",
    "Operation",
    "OwnReply",
    "OwnRequest",
    "OwnRoute",
    "Page",
    "PageRequest",
    "Reply",
    "Request",
    "Response",
    "Witness",
    "load",
    "serve",
    "serve_batched",
]
