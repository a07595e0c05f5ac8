"""The outside shapes of this room: what requests hold and what answers show."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from onterms.engines.api.shapes import Instant, Moment, Shape, Sid

REPORT_BYTES_MAX = 8 * 1024 * 1024

_Name = Annotated[str, Meta(max_length=100)]
_Identity = Annotated[str, Meta(max_length=320)]


class NewExport(Shape):
    """For what customer data is taken out (4.2)."""

    purpose: Annotated[str, Meta(max_length=40)] = "provide_services"


class Export(Shape):
    """Every row of every table of customer data, with counts."""

    customer_sid: Sid
    exported_at: Moment
    counts: dict[str, int]
    tables: dict[str, list[dict[str, Any]]]


class Deletion(Shape, omit_defaults=True):
    """When a closed account's data goes or went, and the certificate of it."""

    sid: Sid
    state: str
    due_at: Moment | None = None
    certificate: Any = None
    certificate_sha256: str | None = None


class NewConsent(Shape):
    """What somebody consented to, and where that is written."""

    identity: _Identity
    channel: _Identity
    purpose: _Identity
    source: _Identity
    given_at: Instant


class ConsentQuery(Shape):
    """Whose consents."""

    identity: str = ""


class ConsentMade(Shape):
    """A consent that was recorded."""

    sid: Sid
    identity: str
    channel: str
    purpose: str


class Consent(ConsentMade):
    """A consent, withdrawn or not."""

    source: str
    given_at: Moment
    withdrawn_at: Moment | None


class Withdrawn(Shape):
    """A consent that was withdrawn."""

    sid: Sid
    withdrawn_at: datetime


class NewLook(Shape):
    """Who of the operator's wants to see what, in which role; who need not know breaks the glass with a reason."""

    actor: _Name
    role: _Name
    kind: _Name
    subject_sid: _Name
    break_glass_reason: Annotated[str, Meta(max_length=2000)] = ""


class Look(Shape):
    """A look that was granted."""

    granted: bool
    actor: str
    kind: str
    subject_sid: str


class NewReport(Shape):
    """An audit report."""

    title: Annotated[str, Meta(max_length=200)]
    content: Annotated[str, Meta(max_length=REPORT_BYTES_MAX)]


class Report(Shape):
    """An audit report without its content."""

    sid: Sid
    title: str


class Agreed(Shape):
    """Whether the non-disclosure agreement holds."""

    nda: Any = False


class ReportContent(Shape):
    """An audit report."""

    title: str
    content: str
