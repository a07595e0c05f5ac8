"""Accounts, their credentials, and who is calling: the door."""

from onterms.business.accounts.api import bindings, own_routes
from onterms.business.accounts.events import (
    ACCOUNT_ACTIVATED,
    ACCOUNT_CLOSED,
    ACCOUNT_CREATED,
    ACCOUNT_SUSPENDED,
    AUTH_TOKEN_PROMOTED,
)
from onterms.business.accounts.model import AccountRecord, ApiKey, FirstCredentials
from onterms.business.accounts.service.accounts import (
    change_status,
    create_customer,
    ensure_first,
    first_credentials,
)
from onterms.business.accounts.service.authentication import (
    CHANNEL,
    Authenticator,
    CredentialCache,
    FailureThrottle,
    account_for,
    authenticate,
    authenticate_bearer,
    authenticate_closed,
    is_operator,
)
from onterms.business.accounts.service.credentials import (
    create_key,
    create_main_key,
    key_secret,
    revoke_keys,
    signing_token,
)
from onterms.business.accounts.service.lookups import family, keys_made_since, main_accounts, own_status, statuses

__all__ = [
    "ACCOUNT_ACTIVATED",
    "ACCOUNT_CLOSED",
    "ACCOUNT_CREATED",
    "ACCOUNT_SUSPENDED",
    "AUTH_TOKEN_PROMOTED",
    "CHANNEL",
    "AccountRecord",
    "ApiKey",
    "Authenticator",
    "CredentialCache",
    "FailureThrottle",
    "FirstCredentials",
    "account_for",
    "authenticate",
    "authenticate_bearer",
    "authenticate_closed",
    "bindings",
    "change_status",
    "create_customer",
    "create_key",
    "create_main_key",
    "ensure_first",
    "family",
    "first_credentials",
    "is_operator",
    "key_secret",
    "keys_made_since",
    "main_accounts",
    "own_routes",
    "own_status",
    "revoke_keys",
    "signing_token",
    "statuses",
]
