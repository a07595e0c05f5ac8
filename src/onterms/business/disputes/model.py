"""Disputes of invoiced fees: pure.

Theory of operation
-------------------

A dispute filed within 60 days of billing takes what it disputes, with its tax, out of what is due: that is its shield.
A late one is recorded and decided like any other, without shield. While it is open the customer cooperates: it answers
what it is asked for. Who does not can be determined uncooperative, and the sum is due from that day on; a dispute in
bad faith never had a shield. Both are determinations by a named person with reasons.

    filed -> open | late;  open <-> awaiting_customer;  open, awaiting_customer -> uncooperative
    any of them -> upheld | partly | rejected | withdrawn | void
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

State = Literal[
    "filed", "open", "late", "awaiting_customer", "uncooperative", "upheld", "partly", "rejected", "withdrawn", "void"
]
Event = Literal[
    "file_in_time", "file_late", "ask", "answer", "fail_to_cooperate", "uphold", "uphold_partly", "reject", "withdraw",
    "find_bad_faith",
]  # fmt: skip

# Terms of Service 3.3.3.
WINDOW_DAYS = 60
# The matrix, 3.3.3 conduct: ours; one missed task may be an oversight.
MISSED_MIN = 2


@dataclass(frozen=True, slots=True)
class Move:
    """One row of the table: what must hold, what follows, and the next state."""

    guard: str
    effects: tuple[str, ...]
    next: State


_REJECT = ("due_today", "fresh_notice")
MOVES: Mapping[tuple[State, Event], Move] = {
    ("filed", "file_in_time"): Move("by the end of day 60", ("withhold",), "open"),
    ("filed", "file_late"): Move("after day 60", (), "late"),
    ("open", "ask"): Move("none", ("task",), "awaiting_customer"),
    ("awaiting_customer", "ask"): Move("none", ("task",), "awaiting_customer"),
    ("awaiting_customer", "answer"): Move("no task is left", (), "open"),
    ("open", "fail_to_cooperate"): Move("two tasks missed", ("due_from_today", "notify"), "uncooperative"),
    ("awaiting_customer", "fail_to_cooperate"): Move("two tasks missed", ("due_from_today", "notify"), "uncooperative"),
    ("open", "find_bad_faith"): Move("reasons", ("due_from_filing", "notify"), "void"),
    ("awaiting_customer", "find_bad_faith"): Move("reasons", ("due_from_filing", "notify"), "void"),
    ("uncooperative", "find_bad_faith"): Move("reasons", ("due_from_filing", "notify"), "void"),
    ("late", "find_bad_faith"): Move("reasons", ("notify",), "void"),
    **{
        (state, "uphold"): Move("reasons", ("credit_all", "reverse_late_fee"), "upheld")
        for state in ("open", "awaiting_customer", "uncooperative", "late")
    },
    **{
        (state, "uphold_partly"): Move("reasons", ("credit_part", "reverse_late_fee", *_REJECT), "partly")
        for state in ("open", "awaiting_customer", "uncooperative", "late")
    },
    **{
        (state, "reject"): Move("reasons", _REJECT, "rejected")
        for state in ("open", "awaiting_customer", "uncooperative", "late")
    },
    **{
        (state, "withdraw"): Move("by the customer", _REJECT, "withdrawn")
        for state in ("open", "awaiting_customer", "uncooperative", "late")
    },
}


@dataclass(frozen=True, slots=True)
class DisputedLine:
    """A disputed amount of an invoice's line, and the tax that follows it."""

    ref: str
    net: int
    tax: int


@dataclass(frozen=True, slots=True)
class Task:
    """What a customer is asked for so that its dispute can be decided."""

    customer_sid: str
    dispute_sid: str
    sid: str
    subject: str
    due_on: date
    state: str
    answer: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute of an invoice's lines.

    Shapes: micros is all that is disputed with its tax; withheld what of it was unpaid.
    """

    customer_sid: str
    sid: str
    invoice_sid: str
    state: State
    version: int
    currency: str
    reason: str
    filed_by: str
    filed_at: datetime
    filed_on: date
    deadline: date
    micros: int
    withheld: int
    credited: int
    shielded: bool
    missed: int
    decided_by: str | None
    decided_at: datetime | None
    decision: str
    lines: tuple[DisputedLine, ...] = ()


def deadline(invoiced_on: date) -> date:
    """Return the last day on which a dispute of an invoice has a shield."""
    return invoiced_on + timedelta(days=WINDOW_DAYS)
