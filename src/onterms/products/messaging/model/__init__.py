"""A message and its life.

Theory of operation. A message we send is queued when it is accepted, sending while a carrier is being asked, sent once
the carrier took it, and ends in exactly one of delivered, undelivered, failed or canceled; only a read receipt may
follow delivered. Carriers report late, twice, out of order or never, so `MOVES` is the one table of what may follow
what, and a report that does not fit changes nothing. Inbound messages are received and stay so.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from onterms.core.db import Row

Status = Literal[
    "accepted",
    "scheduled",
    "queued",
    "sending",
    "sent",
    "delivered",
    "undelivered",
    "failed",
    "read",
    "canceled",
    "received",
]

MOVES: Mapping[str, frozenset[str]] = {
    "accepted": frozenset({"queued", "sending", "failed", "canceled"}),
    "scheduled": frozenset({"queued", "failed", "canceled"}),
    "queued": frozenset({"sending", "failed", "canceled"}),
    # A receipt may overtake the submit response, so delivered and undelivered may follow sending. Back to queued: the
    # carrier could not be reached and does not have it.
    "sending": frozenset({"queued", "sent", "delivered", "undelivered", "failed", "read"}),
    "sent": frozenset({"delivered", "undelivered", "failed", "read"}),
    "delivered": frozenset({"read"}),
    "undelivered": frozenset(),
    "failed": frozenset(),
    "read": frozenset(),
    "canceled": frozenset(),
    "received": frozenset(),
}
TERMINAL = frozenset({"delivered", "undelivered", "failed", "read", "canceled", "received"})
# Twilio docs, "Outbound Message Status in Status Callbacks": the first status is not called back; sending is a state of
# ours between two of theirs and is not either.
CALLED_BACK = frozenset({"sent", "delivered", "undelivered", "failed", "read", "canceled"})

# What only a message that left can become.
IMPLY_SENT = frozenset({"delivered", "undelivered", "read"})


def may_follow(current: str, wanted: str) -> bool:
    """Tell whether a message may move from one status to another."""
    return wanted in MOVES[current]


def predecessors(wanted: str) -> list[str]:
    """Return every status from which a message may move to `wanted`."""
    return [current for current, following in MOVES.items() if wanted in following]


class NewMessage(msgspec.Struct, frozen=True):
    """A message about to be stored."""

    account_sid: str
    sid: str
    direction: str
    sender: str
    recipient: str
    body: str
    encoding: str
    num_segments: int
    media_urls: tuple[str, ...]
    status: Status
    status_callback: str | None
    valid_until: datetime | None
    at: datetime
    carrier: str | None = None
    carrier_id: str | None = None
    num_media: int = 0
    # Known beforehand only where it is nothing, as of the replies to keywords.
    price_micros: int | None = None
    # By which key it came, empty for the account's token and for what no credential sent. Its use is booked on it.
    credential_sid: str = ""
    # Which Messaging Service sends it; then the sender may be empty until one is chosen.
    messaging_service_sid: str | None = None

    @property
    def peer(self) -> str:
        """The handset's side."""
        return self.sender if self.direction == "inbound" else self.recipient


class Change(msgspec.Struct, frozen=True):
    """A status a message shall move to, if it still may."""

    account_sid: str
    sid: str
    status: Status
    error_code: int | None = None
    carrier: str | None = None
    carrier_id: str | None = None
    done_at: datetime | None = None


class Move(NamedTuple):
    """One line of a message's history: what it became, when, and what came with that.

    Shapes: implied is a "sent" that nobody reported and that the receipt after it tells.
    """

    at: datetime
    status: str
    error_code: int | None = None
    carrier: str | None = None
    carrier_id: str | None = None
    is_implied: bool = False

    def line(self) -> str:
        """Write it as a line."""
        status = self.status + _IMPLIED if self.is_implied else self.status
        carrier_id = _SEPARATORS.sub(" ", self.carrier_id or "")
        return f"{self.at.isoformat()}\t{status}\t{self.error_code or ''}\t{self.carrier or ''}\t{carrier_id}\n"


_IMPLIED = "~"
_SEPARATORS = re.compile(r"[\t\n]")


def moves_of(history: str) -> list[Move]:
    """Read a message's history, oldest first."""
    moves: list[Move] = []
    for line in history.split("\n")[:-1]:
        at, status, code, carrier, carrier_id = line.split("\t")
        is_implied = status.endswith(_IMPLIED)
        moves.append(
            Move(
                datetime.fromisoformat(at),
                status.removesuffix(_IMPLIED),
                int(code) if code else None,
                carrier or None,
                carrier_id or None,
                is_implied,
            )
        )
    return moves


def implied_sent(history: str) -> bool:
    """Tell whether the last move implied that the message had been sent."""
    lines = history.split("\n")
    return len(lines) > 2 and f"\tsent{_IMPLIED}\t" in lines[-3]


Message = Row
Fields = Mapping[str, Any]

# Keywords. Twilio docs, "Advanced Opt-Out" default lists; only a message that is the single word counts.
STOP_WORDS = frozenset({"STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"})
START_WORDS = frozenset({"START", "YES", "UNSTOP"})
HELP_WORDS = frozenset({"HELP", "INFO"})

Keyword = Literal["STOP", "START", "HELP"]


def keyword_of(body: str, own: Mapping[str, Any] | None = None) -> Keyword | None:
    """Return which family of keywords a body is, if it is one word of them and nothing else.

    Shapes: `own` has a service's words, in capitals, under stop_words, start_words and help_words.
    """
    word = body.strip().upper()
    if own is not None:
        families: tuple[Keyword, ...] = ("STOP", "START", "HELP")
        return next((family for family in families if word in own[f"{family.lower()}_words"]), None)
    if word in STOP_WORDS:
        return "STOP"
    if word in START_WORDS:
        return "START"
    if word in HELP_WORDS:
        return "HELP"
    return None


# Our own words for the default replies.
REPLIES: Mapping[Keyword, str] = {
    "STOP": "You are unsubscribed and will get no more messages from this number. Reply START to subscribe again.",
    "START": "You are subscribed to messages from this number again. Reply HELP for help, STOP to unsubscribe.",
    "HELP": "Reply STOP to unsubscribe from this number. Message and data rates may apply.",
}
