"""Documents and versions: drafting, publishing, reading, comparing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from onterms.business.agreements import store
from onterms.business.agreements.errors import Conflict, Unprocessable
from onterms.business.agreements.model import texts
from onterms.business.agreements.model.binding import EXEMPT_REASONS, NOTICE_DAYS, Version
from onterms.business.agreements.model.parties import PartyTables, shipped_tables
from onterms.core.calendar import day_of, plus_days, start_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.engines import audit, jobs

PUBLISH_TASK = "agreements.publish"
NOTIFY_TASK = "agreements.notify"
REACH_TASK = "agreements.reach"
LABEL_MAX = 80


@dataclass(frozen=True, slots=True)
class ChangeNotice:
    """What a version changes against an earlier one, clause by clause."""

    version: Version
    against: Version
    changes: list[texts.Change]


async def require(tx: Tx, sid: str) -> Version:
    """Return a version.

    Raises: NotFound.
    """
    found = await store.version(tx, sid)
    if found is None:
        raise NotFound(f"The version {sid} was not found")
    return found


async def add_document(tx: Tx, name: str, title: str, rank: int | None, linked: bool, at: datetime) -> None:
    """Add a kind of document, or a legal page where it has no rank.

    Raises: Conflict when the name is taken.
    """
    if not await store.insert_document(tx, name, title, rank, linked, at):
        raise Conflict(f"There is a document {name} already", "P.10", "document_exists")


async def draft(
    tx: Tx,
    document: str,
    label: str,
    binding_md: str,
    summary_md: str,
    material: bool,
    exempt_reason: str | None,
    exempt_evidence: str | None,
    at: datetime,
) -> Version:
    """Begin a version.

    Raises: NotFound; Unprocessable for an exemption without its evidence, or a term that says two things.
    """
    if document not in {row["name"] for row in await store.documents(tx)}:
        raise NotFound(f"The document {document} was not found")
    if exempt_reason is not None:
        if exempt_reason not in EXEMPT_REASONS:
            raise Unprocessable("Only law, regulation and carriers exempt", "P.12x", "exempt_reason_unknown")
        if not (exempt_evidence or "").strip():
            raise Unprocessable("An exemption from the notice period needs its evidence", "P.12x", "evidence_missing")
    _check_label(label)
    _check_text(binding_md)
    made = Version(
        sid=new_sid("VR", at),
        document=document,
        label=label,
        state="draft",
        number=None,
        published_on=None,
        new_effective_on=None,
        existing_effective_on=None,
        material=material,
        exempt_reason=exempt_reason,
        exempt_evidence=exempt_evidence if exempt_reason is not None else None,
        binding_md=binding_md,
        summary_md=summary_md,
        sha256=texts.sha256(binding_md),
        summary_sha256=texts.sha256(summary_md),
        created_at=at,
        published_at=None,
    )
    await store.insert_version(tx, made)
    return made


async def edit(tx: Tx, sid: str, label: str | None, binding_md: str | None, summary_md: str | None) -> Version:
    """Change a draft's words.

    Raises: NotFound; Conflict for anything but a draft.
    """
    found = await require(tx, sid)
    if found.state != "draft":
        raise Conflict("A published version is never changed; draft another", "P.1", "version_is_fixed")
    binding = found.binding_md if binding_md is None else binding_md
    summary = found.summary_md if summary_md is None else summary_md
    _check_text(binding)
    if label is not None:
        _check_label(label)
    await store.update_draft(
        tx, sid, label or found.label, binding, summary, texts.sha256(binding), texts.sha256(summary)
    )
    return await require(tx, sid)


async def publish(
    tx: Tx,
    sid: str,
    published_on: date | None,
    new_on: date | None,
    existing_on: date | None,
    parties: Mapping[str, Any] | None,
    actor: str,
    at: datetime,
) -> Version:
    """Publish a draft, today or on a later day.

    Raises: Conflict for anything but a draft; Unprocessable for days that the terms do not allow.
    """
    await store.lock(tx)
    found = await require(tx, sid)
    if found.state != "draft":
        raise Conflict("The version is published or scheduled already", "P.1", "version_is_fixed")
    today = day_of(at)
    on = published_on or today
    if on < today:
        # Whoever asks as of a past day must always get the same answer.
        raise Unprocessable("Nothing is published in the past", "P.1", "published_in_past")
    earliest = plus_days(on, NOTICE_DAYS) if found.needs_notice else on
    new_day, existing_day = new_on or on, existing_on or earliest
    if new_day < on or existing_day < on:
        raise Unprocessable("Nothing binds before it is published", "P.2", "effective_before_publication")
    if existing_day < earliest:
        raise Unprocessable(
            f"A material change needs {NOTICE_DAYS} days' notice",
            "P.12",
            "notice_period",
            earliest=earliest.isoformat(),
        )
    tables = await _tables(tx, found.document, parties)
    await store.schedule(tx, sid, on, new_day, existing_day, tables)
    evidence = {
        "sha256": found.sha256,
        "published_on": on.isoformat(),
        "existing_effective_on": existing_day.isoformat(),
    }
    entry = audit.AuditEvent("operator", actor, "version", sid, "draft", "scheduled", found.document, evidence)
    await audit.record(tx, [entry], at)
    if on == today:
        await make_public(tx, sid, at)
    else:
        await jobs.enqueue(tx, [jobs.NewJob(PUBLISH_TASK, {"version_sid": sid}, due_at=start_of(on))], at)
    return await require(tx, sid)


async def make_public(tx: Tx, sid: str, at: datetime) -> None:
    """Make a scheduled version public and begin what it is to earlier acceptors; nothing when it is public already."""
    await store.lock(tx)
    found = await require(tx, sid)
    if found.state != "scheduled":
        return
    await store.publish(tx, sid, at)
    count = await store.begin_bindings(tx, found, at)
    if not count:
        return
    following = []
    if found.material:
        # Clause P.12x: an exempt change needs no period, and its notice is sent all the same.
        following.append(jobs.NewJob(NOTIFY_TASK, {"version_sid": sid}))
    if not found.needs_notice:
        assert found.existing_effective_on is not None, "a scheduled version has its days"
        due_at = start_of(found.existing_effective_on)
        following.append(jobs.NewJob(REACH_TASK, {"version_sid": sid}, due_at=due_at))
    await jobs.enqueue(tx, following, at)


async def change_notice(tx: Tx, sid: str, against_sid: str | None) -> ChangeNotice:
    """Compare a version with another, or with the one published before it.

    Raises: NotFound when there is none before it.
    """
    found = await require(tx, sid)
    if against_sid is not None:
        against = await require(tx, against_sid)
    else:
        published = await store.versions(tx, found.document, published_only=True)
        earlier = [one for one in published if found.number is None or (one.number or 0) < found.number]
        if not earlier:
            raise NotFound("Nothing was published before this version")
        against = earlier[0]
    return ChangeNotice(found, against, texts.differences(against.binding_md, found.binding_md))


async def public_version(tx: Tx, document: str, on: date) -> Version:
    """Return the version that binds whoever accepts on a day.

    Raises: NotFound.
    """
    found = await store.public_version(tx, document, on)
    if found is None:
        raise NotFound(f"Nothing is published as {document} on {on.isoformat()}")
    return found


async def strike(
    tx: Tx, sid: str, clause: str, reason: str, replacement: str, actor: str, from_on: date, at: datetime
) -> None:
    """Record that a clause of a version is unenforceable: it is shown struck and resolves nothing (9.10).

    Raises: NotFound for no clause of the version; Conflict when it is struck already; InvalidParameter.
    """
    found = await require(tx, sid)
    if clause not in {one.id for one in texts.clauses(found.binding_md)} or not clause:
        raise NotFound(f"The version has no clause {clause}")
    if not reason.strip():
        raise InvalidParameter("'reason' is required")
    if not await store.put_override(tx, sid, clause, reason, replacement, actor, from_on, at):
        raise Conflict("The clause is struck already", "9.10", "clause_struck")
    entry = audit.AuditEvent(
        "operator", actor, "clause", f"{sid}/{clause}", "in_force", "struck", "9.10", {"reason": reason}
    )
    await audit.record(tx, [entry], at)


async def shown(tx: Tx, version: Version, on: date) -> str:
    """Return a version's binding words for reading, with what is struck on a day."""
    return texts.struck(version.binding_md, await store.overrides(tx, version.sid, on))


async def _tables(tx: Tx, document: str, given: Mapping[str, Any] | None) -> Any:
    if document != "tos":
        return None
    if given is not None:
        try:
            return PartyTables(given).data
        except (KeyError, TypeError, ValueError) as error:
            raise Unprocessable(
                f"The tables of parties do not hold together: {error}", "P.11", "tables_broken"
            ) from error
    earlier = await store.versions(tx, document, published_only=True)
    found = await store.parties(tx, earlier[0].sid) if earlier else None
    return found if found is not None else shipped_tables().data


def _check_label(label: str) -> None:
    # It stands in the subject of the change notice.
    if not 0 < len(label) <= LABEL_MAX or not label.isprintable():
        raise InvalidParameter(f"'label' must have 1 to {LABEL_MAX} printable characters")


def _check_text(binding_md: str) -> None:
    if not binding_md.strip():
        raise InvalidParameter("'binding_md' is required")
    doubled = texts.twice_stated(binding_md)
    if doubled is not None:
        raise Unprocessable(f"The text gives {doubled} two values", "P.7", "term_ambiguous")
