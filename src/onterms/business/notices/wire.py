"""The outside shapes of this room: what requests hold and what answers show."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, field

from onterms.business.notices import model
from onterms.core.errors import InvalidParameter
from onterms.engines.api.shapes import Instant, Prose, Shape, Sid, Text

PAGE_SIZE = 50
# A mail of 10 MB, as base64.
RAW_BYTES_MAX = 14 * 1024 * 1024

_NOT_BLANK = r"\S"
_Kind = Annotated[str, Meta(pattern=_NOT_BLANK, max_length=64)]


class NoticesPage(Shape):
    """Where a page begins: the `next` of the page before."""

    next: Sid | None = None


class NoticesQuery(NoticesPage):
    """Notices in a state or of a kind, or all."""

    state: model.State | None = None
    kind: str | None = None


class TasksQuery(NoticesPage):
    """Open tasks, done ones, or all; of a kind, or all."""

    state: Literal["open", "done", "all"] = "open"
    kind: str | None = None

    @property
    def is_open(self) -> bool | None:
        """Whether open ones are asked for, or done ones; None for all."""
        return None if self.state == "all" else self.state == "open"


class NewNoticeIn(Shape):
    """A notice to the operator."""

    kind: _Kind
    subject: Annotated[str, Meta(pattern=_NOT_BLANK, max_length=400)]
    body: Annotated[str, Meta(pattern=_NOT_BLANK, max_length=100_000)]


class NoticeOwner(Shape):
    """Whose a notice is, and of which kind."""

    kind: _Kind | None = None


class Mail(Shape):
    """A mail that arrived, its bytes in base64."""

    raw: Annotated[bytes, Meta(max_length=RAW_BYTES_MAX)]
    received_at: Instant | None = None
    recipient: Text | None = None

    def came_at(self, at: datetime) -> datetime:
        """Return when it arrived, which is not ahead; the present where nobody says.

        Raises: InvalidParameter.
        """
        if self.received_at is not None and self.received_at > at:
            raise InvalidParameter("'received_at' lies in the future")
        return self.received_at or at


class Done(Shape):
    """What came of a task."""

    note: Prose = ""


class Notice(Shape):
    """A notice as it stands in the portal."""

    sid: Sid
    customer_sid: Sid
    kind: str
    contact_kind: str
    sent_to_kind: str | None
    subject: str
    body: str
    body_sha256: str
    ref: str | None
    state: model.State
    given_at: datetime | None
    given_on: date | None
    voided_at: datetime | None
    created_at: datetime


class Evidence(Shape):
    """What became of a notice at one address."""

    contact_sid: Sid
    address: str
    message_id: str
    attempts: int
    first_at: datetime | None
    last_at: datetime | None
    server: str | None
    reply: str | None
    mail_sha256: str | None
    dkim: str | None
    accepted_at: datetime | None
    refused_at: datetime | None
    bounced_at: datetime | None
    diagnostic: str | None


class NoticeFile(Shape):
    """A file that went with a notice."""

    name: str
    content_type: str
    size: int = field(name="bytes")


class NoticeWithEvidence(Notice):
    """A notice with the evidence of each address."""

    evidence: list[Evidence]
    attachments: list[NoticeFile]


class NoticeIn(Shape):
    """A notice to the operator."""

    sid: Sid
    customer_sid: Sid | None
    kind: str
    channel: str
    sender: str
    subject: str
    body: str
    message_id: str | None
    raw_sha256: str
    received_at: datetime
    received_on: date


class MailTaken(Shape):
    """What a mail was: a report on mails that were not delivered, or a notice."""

    bounces: list[str]
    notice_sid: Sid | None


class OperatorTask(Shape):
    """A task of the operator."""

    sid: Sid
    kind: str
    subject: str
    customer_sid: Sid | None
    ref: str | None
    due_on: date
    created_at: datetime
    done_at: datetime | None
    done_by: str | None
    note: str | None


def with_evidence(one: model.Notice, files: Sequence[model.File]) -> NoticeWithEvidence:
    """Show a notice with the evidence of each address."""
    attachments = [NoticeFile(file.name, file.content_type, len(file.content)) for file in files]
    return NoticeWithEvidence.of(one, evidence=[Evidence.of(each) for each in one.addresses], attachments=attachments)
