"""The outside shapes of this room: what requests hold and what answers show."""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from onterms.business.notices.model import Address, File, Notice, NoticeIn, Task
from onterms.core.errors import InvalidParameter
from onterms.core.ids import SID
from onterms.engines.api.own import OwnRequest

PAGE_SIZE = 50
# A mail of 10 MB, as base64.
RAW_BYTES_MAX = 14 * 1024 * 1024
_STATES = ("queued", "sent", "given", "bounced", "void")


def text(request: OwnRequest, name: str, default: str | None = None, *, max_length: int = 400) -> str:
    """Read a string of the body without NUL, which PostgreSQL stores nowhere."""
    value = request.text(name, default=default, max_length=max_length)
    if "\0" in value:
        raise InvalidParameter(f"'{name}' must not hold NUL")
    return value


def required(request: OwnRequest, name: str, *, max_length: int = 400) -> str:
    """Read a string that is not blank."""
    value = text(request, name, max_length=max_length)
    if not value.strip():
        raise InvalidParameter(f"'{name}' must not be empty")
    return value


def sid(value: Any, name: str) -> str:
    """Read a SID."""
    if not isinstance(value, str) or not SID.match(value):
        raise InvalidParameter(f"'{name}' must be a SID")
    return value


def after(request: OwnRequest) -> str | None:
    """Read where a page begins."""
    token = request.query.get("next")
    return sid(token, "next") if token else None


def state(request: OwnRequest) -> str | None:
    """Read which state is asked for."""
    value = request.query.get("state")
    if value is not None and value not in _STATES:
        raise InvalidParameter(f"'state' must be one of {', '.join(_STATES)}")
    return value


def is_open(request: OwnRequest) -> bool | None:
    """Read whether open tasks are asked for, or done ones, or all."""
    value = request.query.get("state", "open")
    if value not in ("open", "done", "all"):
        raise InvalidParameter("'state' must be open, done or all")
    return None if value == "all" else value == "open"


def past(request: OwnRequest, name: str) -> datetime:
    """Read an instant that has come, or take the present."""
    value = request.body.get(name)
    if value is None:
        return request.at
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidParameter(f"'{name}' must be an instant such as 2025-03-01T10:00:00Z")
    if found > request.at:
        raise InvalidParameter(f"'{name}' lies in the future")
    return found.astimezone(UTC)


def raw_mail(request: OwnRequest) -> bytes:
    """Read a mail's bytes, which come as base64."""
    try:
        return base64.b64decode(request.text("raw", max_length=RAW_BYTES_MAX), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter("'raw' must be a mail in base64") from None


def listed(items: Sequence[dict[str, Any]], following: str | None = None) -> dict[str, Any]:
    """Show one page of a list."""
    return {"items": list(items), "next": following}


def notice(one: Notice) -> dict[str, Any]:
    """Show a notice as it stands in the portal."""
    return {
        "sid": one.sid,
        "customer_sid": one.customer_sid,
        "kind": one.kind,
        "contact_kind": one.contact_kind,
        "sent_to_kind": one.sent_to_kind or None,
        "subject": one.subject,
        "body": one.body,
        "body_sha256": one.body_sha256,
        "ref": one.ref or None,
        "state": one.state,
        "given_at": _time(one.given_at),
        "given_on": None if one.given_on is None else one.given_on.isoformat(),
        "voided_at": _time(one.voided_at),
        "created_at": _time(one.created_at),
    }


def with_evidence(one: Notice, files: Sequence[File]) -> dict[str, Any]:
    """Show a notice with the evidence of each address."""
    return {
        **notice(one),
        "evidence": [_address(address) for address in one.addresses],
        "attachments": [
            {"name": file.name, "content_type": file.content_type, "bytes": len(file.content)} for file in files
        ],
    }


def _address(one: Address) -> dict[str, Any]:
    return {
        "contact_sid": one.contact_sid,
        "address": one.address,
        "message_id": one.message_id,
        "attempts": one.attempts,
        "first_at": _time(one.first_at),
        "last_at": _time(one.last_at),
        "server": one.server or None,
        "reply": one.reply or None,
        "mail_sha256": one.mail_sha256 or None,
        "dkim": one.dkim or None,
        "accepted_at": _time(one.accepted_at),
        "refused_at": _time(one.refused_at),
        "bounced_at": _time(one.bounced_at),
        "diagnostic": one.diagnostic or None,
    }


def notice_in(one: NoticeIn) -> dict[str, Any]:
    """Show a notice to the operator."""
    return {
        "sid": one.sid,
        "customer_sid": one.customer_sid or None,
        "kind": one.kind,
        "channel": one.channel,
        "sender": one.sender,
        "subject": one.subject,
        "body": one.body,
        "message_id": one.message_id or None,
        "raw_sha256": one.raw_sha256,
        "received_at": _time(one.received_at),
        "received_on": one.received_on.isoformat(),
    }


def task(one: Task) -> dict[str, Any]:
    """Show a task of the operator."""
    return {
        "sid": one.sid,
        "kind": one.kind,
        "subject": one.subject,
        "customer_sid": one.customer_sid or None,
        "ref": one.ref or None,
        "due_on": one.due_on.isoformat(),
        "created_at": _time(one.created_at),
        "done_at": _time(one.done_at),
        "done_by": one.done_by,
        "note": one.note or None,
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
