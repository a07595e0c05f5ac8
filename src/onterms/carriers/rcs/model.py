"""What the carrier decides without asking anybody: its settings, and what an answer of the platform means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from onterms.protocols import rbm

TrafficType = Literal["", "AUTHENTICATION", "TRANSACTION", "PROMOTION", "SERVICEREQUEST", "ACKNOWLEDGEMENT"]

# Twilio's codes, by their texts in its error dictionary.
NO_SENDER: Final = 63007
CONTENT_REFUSED: Final = 63005
NOT_FORMATTED: Final = 63006
UNAVAILABLE: Final = 63012
NOT_LAUNCHED: Final = 63035
NOT_REACHED: Final = 63036
TIMED_OUT: Final = 30410
# What the handset's side cannot do is what another channel may.
FALLS_BACK: Final = frozenset({NOT_LAUNCHED, NOT_REACHED, NOT_FORMATTED, CONTENT_REFUSED})

# Google, AgentMessage: at least 10 seconds make sense to the platform, and it keeps a message 31 days at most.
TTL_S_MIN: Final = 10
TTL_S_MAX: Final = 31 * 86_400
# Ours: how long after a message's time the platform may take to say that it revoked it.
REVOKE_GRACE_S: Final = 60.0
# Ours: how long it is asked again what became of a message that it never answered for.
FOLLOW_S: Final = 3600.0
# Google keeps a message 31 days; what is read later than that is not reported.
KEPT_S: Final = 32 * 86_400

Fate = Literal["taken", "refused", "later", "unknown", "credentials"]


class ConnectionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one partner account at the platform is used."""

    # Google, RBM guides: an agent's region is a part of the host, as in https://europe-rcsbusinessmessaging...
    base_url: str = "https://rcsbusinessmessaging.googleapis.com"
    enabled: bool = True
    traffic_type: TrafficType = ""
    # Units: seconds for one answer.
    timeout_s: Annotated[float, Meta(ge=1, le=120)] = 15.0
    # How many requests may be under way at once.
    concurrent_max: Annotated[int, Meta(ge=1, le=1000)] = 32
    # Whether the user is shown that what came in was read.
    marks_read: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer to a message means."""

    fate: Fate
    code: int = 0
    reason: str = ""


# Source: google.rpc.Code and its HTTP mapping, with RCS for Business's guides on sending: 404 is a user whom this agent
# does not reach by RCS, 403 an agent that is not launched with the user's carrier or a user who is no tester of it.
_REFUSALS: Final[Mapping[int, int]] = {
    400: CONTENT_REFUSED,
    403: NOT_LAUNCHED,
    404: NOT_REACHED,
    413: CONTENT_REFUSED,
}


def verdict_of(answer: rbm.Answer) -> Verdict:
    """Read the answer to a message that was handed over."""
    status, message = rbm.error_of(answer)
    reason = f"HTTP {answer.status} {status} {message}".strip()
    # 409: the platform has a message of this id, and so of ours.
    if 200 <= answer.status < 300 or answer.status == 409:
        return Verdict("taken")
    if answer.status == 401:
        return Verdict("credentials", reason=reason)
    if answer.status in _REFUSALS:
        return Verdict("refused", _REFUSALS[answer.status], reason)
    # 408, 500 and 504 do not say whether the message was taken; 429 and 503 say that it was not.
    if answer.status in (408, 500, 502, 504):
        return Verdict("unknown", reason=reason)
    return Verdict("later", reason=reason)


def ttl_of(left_s: float | None) -> int | None:
    """Return how long the platform shall try, of what a message has left."""
    if left_s is None or left_s > TTL_S_MAX:
        return None
    return max(TTL_S_MIN, int(left_s))
