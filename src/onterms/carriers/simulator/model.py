"""What can happen to a message at a handset or on its way: settings, faults, and the decision between them. Pure.

A handset has a setting, its usual behaviour. A fault overrules it for the messages that it matches; several may match
one message: the oldest that decides the outcome wins, and delays add up. Chance is drawn from the fault's own seed and
counter, so the same requests in the same order meet the same faults.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from onterms.ports.message_carrier import ReceiptState

Outcome = Literal["delivered", "undelivered", "failed", "lost_receipt", "reject", "unreachable", "unknown"]
OUTCOMES: Final[frozenset[str]] = frozenset(get_args(Outcome))

# `delay` puts off the receipt and leaves the outcome to others.
MESSAGE_FAULTS: Final[frozenset[str]] = (OUTCOMES - {"delivered"}) | {"delay"}
WebhookFault = Literal["webhook_timeout", "webhook_status", "webhook_refused", "webhook_dns"]
WEBHOOK_FAULTS: Final[frozenset[str]] = frozenset(get_args(WebhookFault))
FaultKind = Literal["undelivered", "failed", "lost_receipt", "reject", "unreachable", "unknown", "delay", WebhookFault]

# Twilio docs, error dictionary: 30003 unreachable handset, 30007 filtered, 30008 unknown error.
DEFAULT_CODES: Final[dict[str, int]] = {
    "undelivered": 30003,
    "failed": 30008,
    "reject": 30007,
    "webhook_status": 500,
}

# What a carrier reports of a message it took; an outcome that is not here brings no receipt.
RECEIPTS: Final[dict[str, ReceiptState]] = {
    "delivered": "delivered",
    "undelivered": "undelivered",
    "failed": "failed",
    "unknown": "delivered",
}
# Outcomes that leave the message with us.
NOT_TAKEN: Final = frozenset({"reject", "unreachable"})
NOT_RECEIVED: Final = frozenset({"undelivered", "failed"})


@dataclass(frozen=True, slots=True)
class Setting:
    """How a handset treats what is sent to it."""

    outcome: str = "delivered"
    error_code: int | None = None
    delay_s: float = 0.0


@dataclass(slots=True)
class Fault:
    """A failure that somebody injected; its counters move as it strikes.

    Shapes: `recipient`, `sender` and `host` of None match all; `remaining` of None strikes until deleted.
    """

    id: int
    kind: str
    recipient: str | None
    sender: str | None
    host: str | None
    code: int | None
    delay_s: float
    remaining: int | None
    probability: float
    seed: int
    seen: int
    hits: int
    created_at: datetime

    def strikes(self, *, recipient: str | None, sender: str | None, host: str | None) -> bool:
        """Tell whether it strikes this time, and count."""
        if self.remaining == 0:
            return False
        if self.recipient not in (None, recipient) or self.sender not in (None, sender):
            return False
        if self.host not in (None, host):
            return False
        self.seen += 1
        if self.probability < 1 and random.Random(f"{self.seed}:{self.seen}").random() >= self.probability:
            return False
        self.hits += 1
        if self.remaining is not None:
            self.remaining -= 1
        return True


@dataclass(frozen=True, slots=True)
class Plan:
    """What will happen to one message."""

    outcome: str
    code: int | None
    delay_s: float


SMOOTH: Final = Plan("delivered", None, 0.0)


def decide(setting: Setting, faults: Sequence[Fault], *, recipient: str, sender: str) -> Plan:
    """Decide on one message; faults come oldest first and count what they strike."""
    outcome, code, delay_s = setting.outcome, setting.error_code, setting.delay_s
    is_overruled = False
    for fault in faults:
        if is_overruled and fault.kind != "delay":
            continue
        if not fault.strikes(recipient=recipient, sender=sender, host=None):
            continue
        delay_s += fault.delay_s
        if fault.kind != "delay":
            outcome, code, is_overruled = fault.kind, fault.code, True
    if code is None:
        code = DEFAULT_CODES.get(outcome)
    return Plan(outcome, code, delay_s)
