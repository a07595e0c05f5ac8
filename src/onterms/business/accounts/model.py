"""Accounts, their credentials, and the moves of an account's status: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from onterms.business.accounts.errors import InvalidFriendlyName
from onterms.engines.api.calls import Account

Status = Literal["active", "suspended", "closed"]
KeyKind = Literal["standard", "main"]
# Who sets a status: the parent account through the API, or the operator of the installation.
Actor = Literal["parent", "operator"]

# Twilio docs, Account resource and Key resource: up to 64 characters.
FRIENDLY_NAME_MAX = 64
# Twilio docs, subaccounts: 1,000 for an upgraded account by default. Closed ones do not count here.
SUBACCOUNTS_MAX = 1000
# Twilio docs, OAuth apps: one hour unless the app says otherwise, from one minute to 30 days.
ACCESS_TOKEN_TTL_S = 3600
ACCESS_TOKEN_TTL_MIN_S = 60
ACCESS_TOKEN_TTL_MAX_S = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account with what its own row says and what holds for it.

    Shapes: `status` counts its owners too, `own_status` is the row's; `versions` has it and its owners.
    """

    sid: str
    owner_sid: str
    friendly_name: str
    type: str
    test: bool
    status: Status
    own_status: Status
    suspended_by: Actor | None
    token_sealed: bytes
    secondary_sealed: bytes | None
    secondary_created_at: datetime | None
    created_at: datetime
    updated_at: datetime
    versions: Mapping[str, int]

    @property
    def is_subaccount(self) -> bool:
        return self.owner_sid != self.sid and not self.test

    @property
    def account(self) -> Account:
        """The account as the engine and the other rooms see it."""
        return Account(self.sid, self.owner_sid, self.status, self.friendly_name, self.test)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret."""

    account_sid: str
    sid: str
    kind: KeyKind
    friendly_name: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class OAuthApp:
    """A client of the token endpoint, without its secret."""

    account_sid: str
    sid: str
    type: str
    friendly_name: str
    description: str
    access_token_ttl_s: int
    created_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A bearer token just issued; only its digest stays."""

    token: str
    expires_in_s: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """What checks a user name's secret: the account it opens and the digests of the secrets that do."""

    record: AccountRecord
    credential_sid: str
    primary_digest: bytes
    secondary_digest: bytes | None
    # None for the account's own tokens.
    key_kind: KeyKind | None


@dataclass(frozen=True, slots=True)
class FirstCredentials:
    """What the holder of a new account needs: its own token, and the pair that reaches the magic numbers only."""

    account_sid: str
    auth_token: str
    test_account_sid: str
    test_auth_token: str


def check_friendly_name(friendly_name: str) -> None:
    """Refuse a name that is too long, or that PostgreSQL cannot store (a JSON string may hold NUL).

    Raises: InvalidFriendlyName.
    """
    if len(friendly_name) > FRIENDLY_NAME_MAX or "\0" in friendly_name:
        raise InvalidFriendlyName


# What an actor may make of a status; a status set again is no move. Closing is final.
MOVES: Mapping[tuple[Status, Status], bool] = {
    ("active", "suspended"): True,
    ("active", "closed"): True,
    ("suspended", "active"): True,
    ("suspended", "closed"): True,
    ("closed", "active"): False,
    ("closed", "suspended"): False,
}
