"""Notices: pure.

Theory of operation
-------------------

Clause 9.5: a notice to a customer is an email to the contacts it designated. It is given on the day on which the first
of their mail servers took it. Each address collects its own evidence; after every change `verdict` says what all of
them together amount to, and MOVES says what that makes of the notice:

    queued -> sent       tried, and no server has said yes or no for good
    queued, sent -> given       a server took it
    queued, sent -> bounced     every server refused it, or there is nobody to write to
    given -> void        every server that took it reported later that it cannot be delivered
    given -> sent        the same, while another address is still being tried

`given` keeps its day however many addresses follow; a bounce of some of them changes nothing while one holds. A notice
that was given and lost says so, and every clock that hangs on it stops. `bounced` and `void` are final: whoever still
needs the notice sends another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal

State = Literal["queued", "sent", "given", "bounced", "void"]
Verdict = Literal["accepted", "pending", "exhausted"]

CONTACT_KINDS: Final = ("owner", "billing", "legal", "security", "abuse", "product", "privacy")
# Whom to write to where the customer designated nobody for a kind.
FALLBACK: Final = ("legal", "owner")
# RFC 5321 4.5.4.1: a sender gives up after four to five days.
GIVE_UP_AFTER: Final = timedelta(days=5)
# RFC 5321 4.5.4.1: the first retries come soon, later ones every half hour or more.
RETRIES_S: Final = (60, 300, 900, 1800)
# RFC 5322 2.1.1: a line has at most 998 characters; a subject folds, but a longer one is no subject.
SUBJECT_CHARS_MAX: Final = 400
BODY_CHARS_MAX: Final = 100_000
# Common mail servers take 25 MB, of which base64 leaves 18.
ATTACHMENTS_BYTES_MAX: Final = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """A file that goes with a notice."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A notice to be sent.

    Shapes: `kind` is the caller's own word, `ref` the SID of what caused it.
    """

    customer_sid: str
    kind: str
    subject: str
    body: str
    contact_kind: str
    ref: str = ""
    attachments: tuple[File, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    """The evidence of one address."""

    place: int
    contact_sid: str
    address: str
    message_id: str
    attempts: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    server: str = ""
    reply: str = ""
    mail_sha256: str = ""
    dkim: str = ""
    accepted_at: datetime | None = None
    refused_at: datetime | None = None
    bounced_at: datetime | None = None
    diagnostic: str = ""

    @property
    def is_pending(self) -> bool:
        """Whether it is to be tried again."""
        return self.accepted_at is None and self.refused_at is None and self.bounced_at is None

    @property
    def holds(self) -> bool:
        """Whether its server took the mail and did not give it up since."""
        return self.accepted_at is not None and self.bounced_at is None


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to a customer.

    Shapes: `sent_to_kind` is None until it was first tried; `given_on` is a contract day.
    """

    customer_sid: str
    sid: str
    kind: str
    contact_kind: str
    sent_to_kind: str | None
    subject: str
    body: str
    body_sha256: str
    ref: str
    state: State
    given_at: datetime | None
    given_on: date | None
    voided_at: datetime | None
    created_at: datetime
    version: int
    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class NewNoticeIn:
    """A notice to the operator.

    Shapes: `customer_sid` is empty where nobody knows whose it is; `channel` is email or form; `raw` are the bytes that
    came.
    """

    customer_sid: str
    kind: str
    channel: str
    sender: str
    subject: str
    body: str
    received_at: datetime
    message_id: str = ""
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class NoticeIn:
    """A notice to the operator as it is on record; clocks start on `received_on`."""

    customer_sid: str
    sid: str
    kind: str
    channel: str
    sender: str
    subject: str
    body: str
    message_id: str
    raw_sha256: str
    received_at: datetime
    received_on: date


@dataclass(frozen=True, slots=True)
class Task:
    """Something the operator has to do by a day."""

    sid: str
    kind: str
    subject: str
    customer_sid: str
    ref: str
    due_on: date
    created_at: datetime
    done_at: datetime | None
    done_by: str | None
    note: str


@dataclass(frozen=True, slots=True)
class Move:
    """What a verdict makes of a notice: what must hold, what follows, the next state."""

    guard: str
    effects: tuple[str, ...]
    next: State


MOVES: Final[Mapping[tuple[State, Verdict], Move]] = {
    ("queued", "pending"): Move("tried once", (), "sent"),
    ("queued", "accepted"): Move("a server took it", ("date", "say_given"), "given"),
    ("queued", "exhausted"): Move("all refused, or nobody to write to", ("say_bounced", "task"), "bounced"),
    ("sent", "pending"): Move("tried again", (), "sent"),
    ("sent", "accepted"): Move("a server took it", ("date", "say_given"), "given"),
    ("sent", "exhausted"): Move("all refused or given up", ("say_bounced", "task"), "bounced"),
    ("given", "accepted"): Move("another took it, or one of several bounced", (), "given"),
    ("given", "pending"): Move("all that took it bounced, one is still tried", ("undate", "say_voided"), "sent"),
    ("given", "exhausted"): Move("all that took it bounced", ("undate", "say_voided", "task"), "void"),
}
FINAL: Final[frozenset[State]] = frozenset({"bounced", "void"})


def verdict(addresses: Sequence[Address]) -> Verdict:
    """Say what the evidence of all addresses amounts to."""
    if any(address.holds for address in addresses):
        return "accepted"
    return "pending" if any(address.is_pending for address in addresses) else "exhausted"


def given_at(addresses: Sequence[Address]) -> datetime:
    """Return when the first server took it, of those that did not give it up."""
    return min(address.accepted_at for address in addresses if address.accepted_at and not address.bounced_at)


def retry_delay_s(attempts: int) -> int:
    """Return how long to wait after so many attempts."""
    return RETRIES_S[min(attempts, len(RETRIES_S)) - 1]


def message_id(sid: str, place: int, domain: str) -> str:
    """Name the mail to one address of a notice, the same over retries."""
    return f"<{sid}.{place}@{domain}>"
