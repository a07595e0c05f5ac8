"""The outside shapes of this room: what requests hold and what answers show."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from onterms.business.agreements.model.binding import Acceptance, Binding, Version
from onterms.business.agreements.model.parties import Forum
from onterms.business.agreements.model.precedence import Resolved
from onterms.business.agreements.model.texts import Change, Clause
from onterms.core.db import Row
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import OwnRequest

BODY_BYTES_MAX = 4 * 1024 * 1024
_TEXT_MAX = 400
_DOCUMENT_MAX = 1_500_000


def text(request: OwnRequest, name: str, default: str | None = None, *, max_length: int = _TEXT_MAX) -> str:
    """Read a string of the body without NUL, which PostgreSQL stores nowhere."""
    value = request.text(name, default=default, max_length=max_length)
    if "\0" in value:
        raise InvalidParameter(f"'{name}' must not hold NUL")
    return value


def long(request: OwnRequest, name: str, default: str | None = None) -> str:
    """Read a document."""
    return text(request, name, default, max_length=_DOCUMENT_MAX)


def optional(request: OwnRequest, name: str, *, max_length: int = _TEXT_MAX) -> str | None:
    """Read a string that may be missing or null."""
    return None if request.body.get(name) is None else text(request, name, max_length=max_length)


def flag(request: OwnRequest, name: str, default: bool = False) -> bool:
    """Read a boolean."""
    value = request.body.get(name, default)
    if not isinstance(value, bool):
        raise InvalidParameter(f"'{name}' must be true or false")
    return value


def day(value: str, name: str) -> date:
    """Read a calendar day."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise InvalidParameter(f"'{name}' must be a day such as 2025-03-01") from None


def optional_day(request: OwnRequest, name: str) -> date | None:
    """Read a day that may be missing or null."""
    value = optional(request, name)
    return None if value is None else day(value, name)


def instant(value: str, name: str) -> datetime:
    """Read an instant with its offset."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidParameter(f"'{name}' must be an instant such as 2025-03-01T10:00:00Z")
    return found


def names(request: OwnRequest, name: str) -> list[str]:
    """Read a list of short texts."""
    value = request.body.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) and len(one) <= _TEXT_MAX for one in value):
        raise InvalidParameter(f"'{name}' must be a list of texts")
    return value


def document(row: Row) -> dict[str, Any]:
    """Render a kind of document."""
    return {"name": row["name"], "title": row["title"], "rank": row["rank"], "linked": row["linked"]}


def version(found: Version, *, whole: bool = False) -> dict[str, Any]:
    """Render a version, with its words where they are asked for."""
    shown = {
        "sid": found.sid,
        "document": found.document,
        "label": found.label,
        "state": found.state,
        "published_on": _day(found.published_on),
        "new_effective_on": _day(found.new_effective_on),
        "existing_effective_on": _day(found.existing_effective_on),
        "material": found.material,
        "exempt_reason": found.exempt_reason,
        "exempt_evidence": found.exempt_evidence,
        "sha256": found.sha256,
        "summary_sha256": found.summary_sha256,
        "date_created": found.created_at.isoformat(),
    }
    if whole:
        shown |= {"binding_md": found.binding_md, "summary_md": found.summary_md}
    return shown


def clause(found: Clause) -> dict[str, Any]:
    """Render a clause."""
    return {"clause": found.id, "title": found.title, "text": found.text}


def change(found: Change) -> dict[str, Any]:
    """Render what became of a clause."""
    return {
        "clause": found.clause,
        "change": found.kind,
        "old": found.old,
        "new": found.new,
        "lines": list(found.lines),
    }


def binding(found: Binding) -> dict[str, Any]:
    """Render the state of a version for a customer."""
    return {
        "version_sid": found.version_sid,
        "document": found.document,
        "state": found.state,
        "notice_sid": found.notice_sid,
        "given_on": _day(found.given_on),
        "effective_on": _day(found.effective_on),
    }


def acceptance(found: Acceptance) -> dict[str, Any]:
    """Render the evidence of an acceptance."""
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "document": found.document,
        "version_sid": found.version_sid,
        "sha256": found.sha256,
        "mode": found.mode,
        "accepted_at": found.accepted_at.isoformat(),
        "actor": found.actor,
        "role": found.role,
        "authority": found.authority,
        "ip": found.ip,
        "request_id": found.request_id,
        "bundle": dict(found.bundle),
    }


def agreement(row: Row) -> dict[str, Any]:
    """Render a contract."""
    return {
        "sid": row["sid"],
        "kind": row["kind"],
        "state": row["state"],
        "title": row["title"],
        "services": list(row["services"]),
        "from_on": row["from_on"].isoformat(),
        "until_on": _day(row["until_on"]),
        "effective_at": row["effective_at"].isoformat(),
        "ended_at": None if row["ended_at"] is None else row["ended_at"].isoformat(),
    }


def attachment(row: Row) -> dict[str, Any]:
    """Render a paper beside the contract."""
    return {
        "sid": row["sid"],
        "kind": row["kind"],
        "reference": row["reference"],
        "signed": row["signed"],
        "void": row["void"],
        "clause": "9.11",
        "date_created": row["created_at"].isoformat(),
    }


def task(row: Row) -> dict[str, Any]:
    """Render a question for counsel."""
    return {
        "sid": row["sid"],
        "kind": row["kind"],
        "clause": row["clause"],
        "subject": row["subject"],
        "date_created": row["created_at"].isoformat(),
        "done_at": None if row["done_at"] is None else row["done_at"].isoformat(),
    }


def resolved(found: Resolved) -> dict[str, Any]:
    """Render an answer with how it was found."""
    return {
        "term": found.term,
        "value": found.value,
        "result": "undecided" if found.undecided is not None else "found" if found.value is not None else "silent",
        "undecided": found.undecided,
        "clause": found.clause,
        "source": found.source,
        "flags": list(found.flags),
        "trace": list(found.trace),
    }


def forum(found: Forum) -> dict[str, Any]:
    """Render where a dispute goes."""
    return {
        "route": found.route,
        "body": found.body,
        "seat": found.seat,
        "law": found.law,
        "courts": found.courts,
        "not_before": found.not_before.isoformat(),
        "clause": found.clause,
        "arbitrators": found.arbitrators,
        "language": found.language,
    }


def listed(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Render a list."""
    return {"items": list(items), "next": None}


def _day(value: date | None) -> str | None:
    return None if value is None else value.isoformat()
