"""The queues that senders send by: what kinds of senders there are, and how fast each may go."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, NamedTuple, get_args

from onterms.core import e164
from onterms.products import registration

SenderType = Literal["long_code", "tollfree", "short_code", "alpha", "international", "mobile", "channel"]
TYPES: Final[tuple[SenderType, ...]] = get_args(SenderType)
# Twilio docs, errors 21611 and 30001: a queue holds ten hours of traffic at its sender's rate.
DEPTH: Final = timedelta(hours=10)
# Below this every message has its own place; above it one job stands for what goes within a second.
CHUNKED_FROM_PER_S: Final = 10.0
# Ours: slower, and one long message would wait longer than it is valid.
RATE_MIN: Final = 0.01
RATE_MAX: Final = 100_000.0
UNLIMITED: Final[Mapping[SenderType, float]] = dict.fromkeys(TYPES, 0.0)
# Twilio help, "MPS" (see registration/model/rates.py): the rates of numbers without a campaign.
PUBLISHED: Final[Mapping[SenderType, float]] = {
    "long_code": registration.LONG_CODE,
    "tollfree": registration.TOLLFREE,
    "short_code": registration.SHORT_CODE,
    "alpha": registration.INTERNATIONAL,
    "international": registration.INTERNATIONAL,
    "mobile": registration.INTERNATIONAL,
    # Channels have limits of their own, which their carriers keep.
    "channel": 0.0,
}

# The North American plan's codes of toll-free numbers.
_TOLLFREE = re.compile(r"^\+18(?:00|22|33|44|55|66|77|88)")
_PREFIX: Final = "sender:"


class Waiting(NamedTuple):
    """A message that is to join its sender's queue. Shapes: `segments` is 1 for an MMS."""

    account_sid: str
    sid: str
    sender: str
    segments: int


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of a sender, or of several that share one. Units: segments a second."""

    key: str
    per_s: float


def type_of(sender: str) -> SenderType:
    """Return what kind of sender a text is."""
    if sender.startswith("+"):
        if _TOLLFREE.match(sender):
            return "tollfree"
        if sender.startswith("+1"):
            return "long_code"
        parsed = e164.parse(sender)
        return "mobile" if parsed is not None and parsed.kind == "mobile" else "international"
    if e164.is_short_code(sender):
        return "short_code"
    return "channel" if e164.split_address(sender)[0] != "sms" else "alpha"


def key_of(account_sid: str, group: str) -> str:
    """Return the key of the queue of a sender, or of those that share a campaign."""
    return f"{_PREFIX}{account_sid}:{group}"


def prefix_of(account_sid: str | None = None) -> str:
    """Return what the keys of an account's queues, or of all, begin with."""
    return _PREFIX if account_sid is None else f"{_PREFIX}{account_sid}:"


def read_key(key: str) -> tuple[str, str]:
    """Return whose queue it is: (account_sid, group)."""
    account_sid, _, group = key.removeprefix(_PREFIX).partition(":")
    return account_sid, group
