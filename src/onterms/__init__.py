"""A self-hosted customer engagement platform that speaks Twilio's APIs."""

from typing import Any

__version__ = "0.1.0"


def client(*, account_sid: str | None = None, auth_token: str | None = None) -> Any:
    """Return a `twilio.rest.Client` for the install that runs on this machine; the first account's by default.

    Raises: ImportError without the twilio package, FileNotFoundError before the first `onterms up`.
    """
    from onterms.app.client import make_client

    return make_client(account_sid, auth_token)
