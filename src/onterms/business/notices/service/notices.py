"""Sending notices, asking for them, and taking those that come in."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, tzinfo

from onterms.business.notices import events, store
from onterms.business.notices.errors import NoticeMissing
from onterms.business.notices.model import (
    ATTACHMENTS_BYTES_MAX,
    BODY_CHARS_MAX,
    CONTACT_KINDS,
    SUBJECT_CHARS_MAX,
    File,
    NewNotice,
    NewNoticeIn,
    Notice,
    NoticeIn,
)
from onterms.business.notices.service.operator_tasks import open_task
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import NotFound
from onterms.core.ids import new_sid
from onterms.engines import audit, jobs, log

DELIVER_TASK = "notices.deliver"


async def send(tx: Tx, new: Sequence[NewNotice], at: datetime) -> list[str]:
    """Queue notices with the caller's transaction and return their SIDs in order.

    Whom they go to is looked up when they are sent, moments after the commit; ask `given_on` whether they are given.

    Raises: ValueError for a notice that no mail could carry.
    """
    if not new:
        return []
    for notice in new:
        _check(notice)
    named = [(new_sid("NC", at), notice) for notice in new]
    await store.insert_notices(tx, named, at)
    await jobs.enqueue(tx, [jobs.NewJob(DELIVER_TASK, {"notice_sid": sid}) for sid, _ in named], at)
    return [sid for sid, _ in named]


async def fetch(tx: Tx, sids: Sequence[str]) -> dict[str, Notice]:
    """Return notices with the evidence of each address."""
    return await store.fetch_notices(tx, sids)


async def list_notices(
    tx: Tx,
    customer_sid: str | None,
    *,
    before: str | None = None,
    limit: int = 50,
    state: str | None = None,
    kind: str | None = None,
) -> list[Notice]:
    """List a customer's notices, or everybody's, newest first, without their evidence."""
    return await store.list_notices(tx, customer_sid, before, limit, state=state, kind=kind)


async def files_of(tx: Tx, notice: Notice) -> list[File]:
    """List the files that go with a notice."""
    return await store.files(tx, notice.customer_sid, notice.sid)


async def given_on(tx: Tx, sids: Sequence[str]) -> dict[str, date]:
    """Return the contract day of each notice that is given; those that are not, or not any more, are absent."""
    return await store.given_on(tx, sids)


async def require_given(tx: Tx, customer_sid: str, notice_sid: str | None, clause: str, at: datetime) -> Notice:
    """Return the notice that something stands on: this customer's, and given by now.

    Raises: NoticeMissing (422) naming the clause that asks for it.
    """
    if not notice_sid:
        raise NoticeMissing("This needs a notice to the customer first", clause, "notice_missing")
    notice = (await store.fetch_notices(tx, [notice_sid])).get(notice_sid)
    if notice is None or notice.customer_sid != customer_sid:
        raise NoticeMissing(f"{notice_sid} is no notice to this customer", clause, "notice_missing")
    if notice.state != "given" or notice.given_at is None or notice.given_at > at:
        raise NoticeMissing(f"The notice {notice_sid} is not given", clause, "notice_not_given")
    return notice


async def received(tx: Tx, new: NewNoticeIn, at: datetime, *, zone: tzinfo = UTC) -> NoticeIn:
    """Put a notice to the operator on record; its clocks start on the day it was received.

    Shapes: the same mail brought twice is one notice.
    """
    made = new_sid("NI", at)
    sid = await store.insert_notice_in(tx, made, new, day_of(new.received_at, zone))
    notice = (await store.fetch_notices_in(tx, [sid]))[sid]
    if sid != made:
        return notice
    evidence = {
        "channel": notice.channel,
        "sender": notice.sender,
        "message_id": notice.message_id,
        "raw_sha256": notice.raw_sha256,
        "received_on": notice.received_on.isoformat(),
    }
    scope = notice.customer_sid or "operator"
    entry = audit.AuditEvent(scope, notice.sender, "notice_in", sid, None, "received", "9.5", evidence)
    await audit.record(tx, [entry], at)
    subject = f"Read the notice {sid} from {notice.sender}"
    if not notice.customer_sid:
        subject += " and say which customer's it is"
    await open_task(tx, "notice_in", subject, notice.received_on, at, customer_sid=notice.customer_sid, ref=sid)
    if notice.customer_sid:
        await _say_received(tx, notice, at)
    return notice


async def assign(tx: Tx, sid: str, customer_sid: str, kind: str | None, actor: str, at: datetime) -> NoticeIn:
    """Say whose a notice in is that came from an unknown sender; its day stays the one it was received on.

    Raises: NotFound for one that is somebody's already.
    """
    if not await store.assign_notice_in(tx, sid, customer_sid, kind):
        raise NotFound(f"The unassigned notice {sid} was not found")
    notice = (await store.fetch_notices_in(tx, [sid]))[sid]
    entry = audit.AuditEvent(
        customer_sid, actor, "notice_in", sid, "received", "assigned", "9.5", {"raw_sha256": notice.raw_sha256}
    )
    await audit.record(tx, [entry], at)
    await _say_received(tx, notice, at)
    return notice


async def fetch_in(tx: Tx, sids: Sequence[str]) -> dict[str, NoticeIn]:
    """Return notices to the operator by SID."""
    return await store.fetch_notices_in(tx, sids)


async def list_in(tx: Tx, customer_sid: str | None, *, before: str | None = None, limit: int = 50) -> list[NoticeIn]:
    """List a customer's notices to the operator, or everybody's, newest first."""
    return await store.list_notices_in(tx, customer_sid, before, limit)


async def _say_received(tx: Tx, notice: NoticeIn, at: datetime) -> None:
    data = {"kind": notice.kind, "channel": notice.channel, "received_on": notice.received_on.isoformat()}
    await log.append(tx, [log.Event(events.NOTICE_RECEIVED, notice.customer_sid, notice.sid, data)], at)


def _check(notice: NewNotice) -> None:
    # A room of ours made it, so these are our mistakes, found before they become a mail that no server takes.
    if notice.contact_kind not in CONTACT_KINDS:
        raise ValueError(f"there are no contacts of the kind '{notice.contact_kind}'")
    if not notice.subject or len(notice.subject) > SUBJECT_CHARS_MAX or not notice.subject.isprintable():
        raise ValueError(f"a subject has 1 to {SUBJECT_CHARS_MAX} printable characters")
    if not notice.body or len(notice.body) > BODY_CHARS_MAX or "\0" in notice.body:
        raise ValueError(f"a notice has 1 to {BODY_CHARS_MAX} characters, none of them NUL")
    if sum(len(file.content) for file in notice.attachments) > ATTACHMENTS_BYTES_MAX:
        raise ValueError(f"the files of a notice have at most {ATTACHMENTS_BYTES_MAX} bytes")
