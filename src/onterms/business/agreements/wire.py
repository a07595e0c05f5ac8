"""The outside shapes of this room: what requests hold and what answers show."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field

from onterms.business import customers
from onterms.business.agreements.model import binding, precedence
from onterms.core.db import Row
from onterms.engines.api.shapes import Instant, Json, Shape, Sid, Text

BODY_BYTES_MAX = 4 * 1024 * 1024

_Document = Annotated[str, Meta(max_length=1_500_000)]
_Evidence = Annotated[str, Meta(max_length=100_000)]


class NewDocument(Shape):
    """A document of the contract by rank, or a page beside it without one."""

    name: Annotated[str, Meta(max_length=40)]
    title: Text
    rank: Annotated[int, Meta(ge=1, le=6)] | None = None
    linked: bool = False


class VersionsQuery(Shape):
    """Versions of a document."""

    document: str = "tos"


class NewVersion(Shape):
    """A draft of a document's next version."""

    document: Text
    label: Text
    binding_md: _Document
    summary_md: _Document = ""
    material: bool = True
    exempt_reason: Text | None = None
    exempt_evidence: _Evidence | None = None


class VersionChange(Shape):
    """What changes of a draft; what is left out stays."""

    label: Text | None = None
    binding_md: _Document | UnsetType = UNSET
    summary_md: _Document | UnsetType = UNSET


class Publication(Shape):
    """From when a version counts, and whose names it is published under; the terms say what is not said here."""

    published_on: date | None = None
    new_effective_on: date | None = None
    existing_effective_on: date | None = None
    parties: Json | None = None


class ChangesQuery(Shape):
    """The version to compare with, the one before where none is named."""

    against: str | None = None


class ClausesQuery(Shape):
    """Words to look for."""

    search: str | None = None


class NewStrike(Shape):
    """A clause that no longer holds, why, who decided it, and what stands in its place."""

    clause: Text
    reason: Text
    decided_by: Text
    replacement: _Document = ""
    from_on: date | None = None


class NewAgreement(Shape):
    """A separate agreement over some services."""

    title: Text
    services: list[Text] | None = None
    binding_md: _Document = ""
    from_on: date | None = None
    until_on: date | None = None


class NewAcceptance(customers.Signer, kw_only=True):
    """Which version is accepted, how and by whom."""

    version_sid: Text
    mode: Text = "click"


class NewDecline(Shape):
    """Which version is declined."""

    version_sid: Text


class ResolveQuery(Shape):
    """Which term, for which service, at which instant; the present where none is named."""

    term: str = ""
    service: str | None = None
    at: Instant | None = None


class ForumQuery(Shape):
    """What a dispute is about."""

    kind: str = "contract"
    amount_usd: str | None = None
    first_request_on: date | None = None
    agreed_until: date | None = None


class NewAttachment(Shape):
    """A paper beside the contract."""

    kind: Literal["purchase_order", "vendor_portal", "sales_email", "chat", "note"]
    reference: Text
    text: _Document = ""
    signed: bool = False


class NewEntity(Shape):
    """The company that contracts, from a day on."""

    key: Literal["default", "europe", "japan"]
    name: Text
    address: Text
    country: Text
    vat_id: Text = ""
    from_on: date | None = None


class AsOf(Shape):
    """The day whose text is asked for."""

    as_of: date


class Document(Shape):
    """A kind of document."""

    name: str
    title: str
    rank: int | None
    linked: bool


class DocumentMade(Shape):
    """A document that was added."""

    name: str


class Version(Shape):
    """A version without its words."""

    sid: Sid
    document: str
    label: str
    state: str
    published_on: date | None
    new_effective_on: date | None
    existing_effective_on: date | None
    material: bool
    exempt_reason: str | None
    exempt_evidence: str | None
    sha256: str
    summary_sha256: str
    created_at: datetime = field(name="date_created")


class WholeVersion(Version):
    """A version with its words."""

    binding_md: str
    summary_md: str


class NoticesSent(Shape):
    """How many change notices went out."""

    sent: int


class Change(Shape):
    """What became of a clause."""

    clause: str
    kind: str = field(name="change")
    old: str
    new: str
    lines: list[str]


class Changes(Shape):
    """A change notice."""

    version: Version
    against: Version
    summary_md: str
    changes: list[Change]


class Clause(Shape):
    """A clause, and what stands in its place where it was struck."""

    id: str = field(name="clause")
    title: str
    text: str
    struck: bool
    reason: str | None
    replacement: str | None


class Glossary(Shape):
    """The clause that defines each word."""

    words: dict[str, str]


class Struck(Shape):
    """A clause that was struck."""

    clause: str
    reason: str
    struck: bool = True


class Agreement(Shape):
    """A contract."""

    sid: Sid
    kind: str
    state: str
    title: str
    services: list[str]
    from_on: date
    until_on: date | None
    effective_at: datetime
    ended_at: datetime | None


class AgreementMade(Shape):
    """A separate agreement that was made."""

    sid: Sid
    kind: str
    title: str
    services: list[str]
    from_on: date
    until_on: date | None
    effective_at: datetime
    state: str = "active"
    ended_at: datetime | None = None


class Binding(Shape):
    """The state of a version for a customer."""

    version_sid: Sid
    document: str
    state: binding.State
    notice_sid: Sid | None
    given_on: date | None
    effective_on: date | None


class Banner(Shape):
    """A change that is coming, for the head of a page."""

    document: str
    effective_on: date | None
    changes: str


class Entity(Shape):
    """The company that contracts."""

    entity_key: str = field(name="key")
    entity_name: str = field(name="name")
    entity_address: str = field(name="address")


class WhatBinds(Shape):
    """What binds a customer now, and what will."""

    customer_sid: Sid
    bound: bool
    agreements: list[Agreement]
    in_force: dict[str, Version]
    pending: list[Binding]
    banner: list[Banner]
    riders: list[str]
    effective_clauses: list[str]
    contracting_entity: Entity
    governing_law: str
    courts: str | None
    seat: str | None


class Acceptance(Shape):
    """The evidence of an acceptance."""

    sid: Sid
    customer_sid: Sid
    document: str
    version_sid: Sid
    sha256: str
    mode: binding.Mode
    accepted_at: datetime
    actor: str
    role: str
    authority: bool
    ip: str
    request_id: str
    bundle: dict[str, str]


class Resolved(Shape):
    """An answer with how it was found, and the agreement that governs."""

    term: str
    value: str | None
    result: Literal["found", "silent", "undecided"]
    undecided: str | None
    clause: str | None
    source: str | None
    flags: list[str]
    trace: list[str]
    agreement: str
    agreement_sid: str | None


class Forum(Shape):
    """Where a dispute goes."""

    route: Literal["arbitration", "litigation", "relief", "undecided"]
    body: str | None
    seat: str | None
    law: str
    courts: str | None
    not_before: date
    clause: str
    arbitrators: int | None
    language: str | None


class Attachment(Shape):
    """A paper beside the contract."""

    sid: Sid
    kind: str
    reference: str
    signed: bool
    void: bool
    clause: str
    created_at: datetime = field(name="date_created")


class EntityNamed(Shape):
    """A company that was named."""

    key: str
    from_on: date
    name: str


class LegalTask(Shape):
    """A question for counsel."""

    sid: Sid
    kind: str
    clause: str
    subject: str
    created_at: datetime = field(name="date_created")
    done_at: datetime | None


def attachment(row: Row) -> Attachment:
    """Show a paper beside the contract, which changes nothing of it (9.11)."""
    return Attachment.of(row, clause="9.11")


def resolved(found: precedence.Resolved, agreement: Any) -> Resolved:
    """Show an answer with how it was found."""
    result = "undecided" if found.undecided is not None else "found" if found.value is not None else "silent"
    return Resolved.of(found, result=result, agreement=agreement.kind, agreement_sid=agreement.sid)
