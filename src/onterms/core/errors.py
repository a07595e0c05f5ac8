"""Errors of the whole house.

    OntermsError
      Refusal                what a customer may not do: code, status, words; rendered once at the HTTP edge
        NotFound             20404 / 404   also for what belongs to another tenant
        AuthenticationFailed 20003 / 401
        Forbidden            20003 / 403
        InvalidParameter     20001 / 400
        TooManyRequests      20429 / 429
        PayloadTooLarge      20413 / 413
        NotServed            20501 / 501   an operation of the contract that no room serves yet
        Unavailable          20503 / 503   we cannot do it now and nothing was done
      ConfigError            the operator's settings are wrong

A carrier's outcome is a value, not an exception. Everything else that is raised is a bug of ours.
"""

from collections.abc import Mapping
from typing import Any


class OntermsError(Exception):
    """Root of every error the house raises on purpose."""


class ConfigError(OntermsError):
    """The operator's settings cannot work; the text says which and why."""


class Refusal(OntermsError):
    """Refuse a customer's request with a code of the catalogue, an HTTP status and our own words."""

    code: int = 20001
    status: int = 400

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        status: int | None = None,
        details: Mapping[str, Any] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        self.details = details
        self.headers = headers


class NotFound(Refusal):
    """The resource does not exist for this account, whoever else may own it."""

    code = 20404
    status = 404


class AuthenticationFailed(Refusal):
    """The credentials do not identify anybody."""

    code = 20003
    status = 401


class Forbidden(Refusal):
    """The caller is known and may not do this."""

    code = 20003
    status = 403


class InvalidParameter(Refusal):
    """A parameter is missing or has a value outside its contract."""

    code = 20001
    status = 400


class TooManyRequests(Refusal):
    """The caller's rate or concurrency limit is reached."""

    code = 20429
    status = 429


class PayloadTooLarge(Refusal):
    """The request body is longer than we read."""

    code = 20413
    status = 413


class NotServed(Refusal):
    """The contract knows this operation and this installation does not serve it."""

    code = 20501
    status = 501


class Unavailable(Refusal):
    """Something we need is down; the request changed nothing and may be repeated."""

    code = 20503
    status = 503
