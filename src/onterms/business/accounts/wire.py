"""The shapes of accounts, tokens, keys and OAuth apps as the API shows them."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict

from msgspec import field

from onterms.business.accounts.model import AccessToken, AccountRecord, ApiKey, OAuthApp
from onterms.core.errors import InvalidParameter
from onterms.engines.api.shapes import Shape, Sid

# Twilio docs and OpenAPI, Account resource: the subresources an account lists, below its own URI.
_SUBRESOURCES = {
    "addresses": "Addresses",
    "applications": "Applications",
    "authorized_connect_apps": "AuthorizedConnectApps",
    "available_phone_numbers": "AvailablePhoneNumbers",
    "balance": "Balance",
    "calls": "Calls",
    "conferences": "Conferences",
    "connect_apps": "ConnectApps",
    "incoming_phone_numbers": "IncomingPhoneNumbers",
    "keys": "Keys",
    "messages": "Messages",
    "notifications": "Notifications",
    "outgoing_caller_ids": "OutgoingCallerIds",
    "queues": "Queues",
    "recordings": "Recordings",
    "short_codes": "SMS/ShortCodes",
    "signing_keys": "SigningKeys",
    "sip": "SIP",
    "transcriptions": "Transcriptions",
    "usage": "Usage",
}
_PROMOTE_URL = "https://accounts.twilio.com/v1/AuthTokens/Promote"
_SECONDARY_URL = "https://accounts.twilio.com/v1/AuthTokens/Secondary"
# Both what a key opens and what its secret may sign.
_KEY_FLAGS = ("rest_api", "signing")


def account(record: AccountRecord, auth_token: str, held: Collection[str] = ()) -> dict[str, Any]:
    """Render an account with its primary auth token; one of those `held` is no longer active."""
    base = f"/2010-04-01/Accounts/{record.sid}"
    return {
        "sid": record.sid,
        "owner_account_sid": record.owner_sid,
        "friendly_name": record.friendly_name,
        "status": "suspended" if record.status == "active" and record.sid in held else record.status,
        "type": record.type,
        "auth_token": auth_token,
        "date_created": record.created_at,
        "date_updated": record.updated_at,
        "subresource_uris": {name: f"{base}/{path}.json" for name, path in _SUBRESOURCES.items()},
        "uri": f"{base}.json",
    }


def key(found: ApiKey) -> dict[str, Any]:
    """Render an API key as both of its APIs show it."""
    return {
        "sid": found.sid,
        "friendly_name": found.friendly_name,
        "date_created": found.created_at,
        "date_updated": found.updated_at,
    }


def new_key(made: ApiKey, secret: str) -> dict[str, Any]:
    """Render an API key just made, with its secret."""
    return {**key(made), "secret": secret}


def iam_key(found: ApiKey) -> dict[str, Any]:
    """Render an API key of iam.twilio.com; keys without restrictions have no policy."""
    return {**key(found), "policy": None}


def new_iam_key(made: ApiKey, secret: str) -> dict[str, Any]:
    """Render an API key just made of iam.twilio.com."""
    return {**iam_key(made), "secret": secret}


def listed_iam_key(found: ApiKey) -> dict[str, Any]:
    """Render a row of the key list of iam.twilio.com."""
    return {**key(found), "flags": list(_KEY_FLAGS)}


def promotion(record: AccountRecord, token: str) -> dict[str, Any]:
    """Render the promotion of a secondary token."""
    return {
        "account_sid": record.sid,
        "auth_token": token,
        "date_created": record.created_at,
        "date_updated": record.updated_at,
        "url": _PROMOTE_URL,
    }


def secondary_token(record: AccountRecord, token: str) -> dict[str, Any]:
    """Render a secondary token just made."""
    return {
        "account_sid": record.sid,
        "date_created": record.secondary_created_at,
        "date_updated": record.secondary_created_at,
        "secondary_auth_token": token,
        "url": _SECONDARY_URL,
    }


def oauth_app(app: OAuthApp, secret: str | None = None) -> dict[str, Any]:
    """Render an OAuth app, with its secret when it was just made."""
    return {
        "type": app.type,
        "sid": app.sid,
        "friendly_name": app.friendly_name,
        "description": app.description,
        "date_created": app.created_at,
        "created_by": app.created_by,
        "status": "active",
        "policy": {"allow": [], "deny": []},
        "access_token_ttl": app.access_token_ttl_s,
        # The schema knows no null here, and the secret is not kept.
        "secret": secret or "",
    }


class AppRequest(TypedDict):
    """What a request may set of an OAuth app; None is what it leaves alone."""

    type: str | None
    friendly_name: str | None
    description: str | None
    access_token_ttl_s: int | None
    policy: Mapping[str, Any] | None


def app_request(params: Mapping[str, Any]) -> AppRequest:
    """Read the JSON body of an OAuth app, whose values come as the client wrote them."""
    ttl_s, policy = params.get("access_token_ttl"), params.get("policy")
    if ttl_s is not None and (isinstance(ttl_s, bool) or not isinstance(ttl_s, int)):
        raise InvalidParameter("access_token_ttl must be an integer")
    if policy is not None and not isinstance(policy, Mapping):
        raise InvalidParameter("policy must be an object")
    return AppRequest(
        type=text_or_none(params, "type"),
        friendly_name=text_or_none(params, "friendly_name"),
        description=text_or_none(params, "description"),
        access_token_ttl_s=ttl_s,
        policy=policy,
    )


def text_or_none(params: Mapping[str, Any], name: str) -> str | None:
    """Read a JSON value that must be a string when it is there."""
    value = params.get(name)
    # PostgreSQL stores no NUL.
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise InvalidParameter(f"{name} must be a string without NUL")
    return value


def access_token(issued: AccessToken) -> dict[str, Any]:
    """Render a bearer token as RFC 6749 5.1 does."""
    return {
        "access_token": issued.token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in_s,
        "refresh_token": None,
        "id_token": None,
    }


def token_request(params: Mapping[str, Any]) -> dict[str, str | None]:
    """Read a token request, whose fields one version writes as `grant_type` and another as `GrantType`."""
    return {
        "grant_type": params.get("grant_type", params.get("GrantType")),
        "client_id": params.get("client_id", params.get("ClientId")),
        "client_secret": params.get("client_secret", params.get("ClientSecret")),
        "account_sid": params.get("account_sid"),
    }


class NewAccount(Shape):
    """A main account for a customer."""

    friendly_name: str
    type: Literal["Full", "Trial"] = "Full"


class NewStatus(Shape):
    """What an account is to be: active, suspended or closed."""

    status: str


class NewKey(Shape):
    """A main API key."""

    friendly_name: str = ""


class AccountCredentials(Shape):
    """An account that the operator made, with its credentials."""

    sid: Sid
    auth_token: str
    test_sid: Sid
    test_auth_token: str
    at: datetime = field(name="date_created")


class AccountStatus(Shape):
    """An account's status."""

    sid: Sid
    owner_sid: Sid = field(name="owner_account_sid")
    friendly_name: str
    status: str
    suspended_by: str | None


class MainKey(Shape):
    """A main API key with its secret, which is shown this once."""

    sid: Sid
    friendly_name: str
    secret: str
    date_created: datetime
