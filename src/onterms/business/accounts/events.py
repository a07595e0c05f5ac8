"""What this room says. Event data never holds a secret."""

from typing import Final

ACCOUNT_CREATED: Final = "account.created"
ACCOUNT_ACTIVATED: Final = "account.activated"
ACCOUNT_SUSPENDED: Final = "account.suspended"
ACCOUNT_CLOSED: Final = "account.closed"
AUTH_TOKEN_PROMOTED: Final = "account.auth_token_promoted"

# The event a new status makes.
STATUS_EVENTS: Final = {
    "active": ACCOUNT_ACTIVATED,
    "suspended": ACCOUNT_SUSPENDED,
    "closed": ACCOUNT_CLOSED,
}
