"""The outside shapes of this room: what requests hold and what answers show."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from onterms.business.customers.model import (
    Assignment,
    Consent,
    Contact,
    Customer,
    Domicile,
    Incident,
    Mark,
    SignedUp,
    SignUp,
    Task,
    percent_text,
)
from onterms.core.db import Row
from onterms.core.errors import InvalidParameter
from onterms.core.ids import SID
from onterms.engines.api.own import OwnRequest

# Tells where a request came from, as evidence: (address, request id). The front door knows; headers could be forged.
Origin = Callable[[OwnRequest], tuple[str, str]]

PAGE_SIZE = 50
_TEXT_MAX = 400
_PROSE_MAX = 10_000


def text(request: OwnRequest, name: str, default: str | None = None, *, max_length: int = _TEXT_MAX) -> str:
    """Read a string of the body without NUL, which PostgreSQL stores nowhere."""
    value = request.text(name, default=default, max_length=max_length)
    if "\0" in value:
        raise InvalidParameter(f"'{name}' must not hold NUL")
    return value


def prose(request: OwnRequest, name: str, default: str | None = None) -> str:
    """Read a longer string."""
    return text(request, name, default, max_length=_PROSE_MAX)


def optional(request: OwnRequest, name: str) -> str | None:
    """Read a string that may be missing or null."""
    return None if request.body.get(name) is None else text(request, name)


def flag(request: OwnRequest, name: str) -> bool:
    """Read a boolean that is false where it is missing; nothing but `true` is a yes."""
    value = request.body.get(name, False)
    if not isinstance(value, bool):
        raise InvalidParameter(f"'{name}' must be true or false")
    return value


def day(value: str, name: str) -> date:
    """Read a calendar day."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise InvalidParameter(f"'{name}' must be a day such as 2025-03-01") from None


def day_or(request: OwnRequest, name: str, default: date) -> date:
    """Read a day of the body, or take the default."""
    value = optional(request, name)
    return default if value is None else day(value, name)


def instant(value: str, name: str) -> datetime:
    """Read an instant with its offset."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidParameter(f"'{name}' must be an instant such as 2025-03-01T10:00:00Z")
    return found


def sid(request: OwnRequest, name: str) -> str:
    """Read a SID of the body."""
    value = text(request, name)
    if not SID.match(value):
        raise InvalidParameter(f"'{name}' must be a SID")
    return value


def consent(request: OwnRequest, origin: Origin) -> Consent:
    """Read who agrees, in which role and with what authority."""
    ip, request_id = origin(request)
    return Consent(
        text(request, "signer_name", ""),
        text(request, "signer_role", ""),
        flag(request, "authority"),
        ip,
        request_id,
    )


def sign_up(request: OwnRequest, origin: Origin) -> SignUp:
    """Read a sign-up."""
    served = request.body.get("served_in", [])
    if not isinstance(served, list) or not all(isinstance(country, str) for country in served):
        raise InvalidParameter("'served_in' must be a list of countries")
    return SignUp(
        name=text(request, "organization_name"),
        country=text(request, "country"),
        subdivision=text(request, "subdivision", ""),
        org_type=text(request, "org_type"),
        size=text(request, "size", "other"),
        nonprofit=flag(request, "nonprofit"),
        use=text(request, "use"),
        email=text(request, "email"),
        accepted_version=optional(request, "accepted_version"),
        consent=consent(request, origin),
        compliance=flag(request, "compliance"),
        no_antisocial_forces=flag(request, "no_antisocial_forces"),
        waiver_version=optional(request, "waiver_version"),
        served_in=tuple(served),
        gov_kind=optional(request, "gov_kind"),
    )


def signed_up(made: SignedUp) -> dict[str, Any]:
    """Render a new customer with the credentials of its account, which are shown this once."""
    return {
        "customer": customer(made.customer),
        "account_sid": made.credentials.account_sid,
        "auth_token": made.credentials.auth_token,
        "test_account_sid": made.credentials.test_account_sid,
        "test_auth_token": made.credentials.test_auth_token,
        "acceptance_sid": made.acceptance_sid,
    }


def customer(found: Customer, on: date | None = None) -> dict[str, Any]:
    """Render a customer."""
    return {
        "sid": found.sid,
        "name": found.name,
        "org_type": found.org_type,
        "size": found.size,
        "nonprofit": found.nonprofit,
        "corporate": found.corporate,
        "business_use": found.business_use,
        "gov_kind": found.gov_kind,
        "gov_verified": found.gov_verified,
        "country": found.country,
        "subdivision": found.subdivision,
        "currency": found.currency,
        "compliance_attested_on": found.compliance_attested_on.isoformat(),
        "no_antisocial_forces": found.no_antisocial_forces,
        "partner_since": _day(found.partner_since),
        "partner_until": _day(found.partner_until),
        "riders": sorted(found.riders(on or found.created_at.date())),
        "date_created": found.created_at.isoformat(),
    }


def contact(found: Contact) -> dict[str, Any]:
    """Render a contact."""
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "kind": found.kind,
        "name": found.name,
        "address": found.address,
        "verified_at": _at(found.verified_at),
        "date_created": found.created_at.isoformat(),
    }


def domicile(found: Domicile) -> dict[str, Any]:
    """Render a domicile."""
    return {
        "country": found.country,
        "subdivision": found.subdivision,
        "from_on": found.from_on.isoformat(),
        "evidence": found.evidence,
        "recorded_at": found.recorded_at.isoformat(),
    }


def ownership(row: Row) -> dict[str, Any]:
    """Render a share of one organization in another."""
    return {
        "sid": row["sid"],
        "parent_sid": row["parent_sid"],
        "child_sid": row["child_sid"],
        "percent": percent_text(row["share_ppm"]),
        "from_on": row["from_on"].isoformat(),
        "until_on": _day(row["until_on"]),
        "evidence": row["evidence"],
    }


def mark(found: Mark) -> dict[str, Any]:
    """Render what is known of an end user."""
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "identity": found.identity,
        "kind": found.kind,
        "note": found.note,
        "date_created": found.created_at.isoformat(),
        "confirmed_at": _at(found.confirmed_at),
    }


def incident(found: Incident) -> dict[str, Any]:
    """Render an incident."""
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "account_sid": found.account_sid,
        "description": found.description,
        "noticed_at": found.noticed_at.isoformat(),
        "reported_at": found.reported_at.isoformat(),
        "minutes_to_report": int((found.reported_at - found.noticed_at).total_seconds() // 60),
        "state": found.state,
        "keys_revoked": found.keys_revoked,
        "keys_revoked_at": _at(found.keys_revoked_at),
    }


def assignment(found: Assignment) -> dict[str, Any]:
    """Render an assignment request."""
    return {
        "sid": found.sid,
        "customer_sid": found.customer_sid,
        "to_sid": found.to_sid,
        "basis": found.basis,
        "proof": found.proof,
        "state": found.state,
        "reason": found.reason,
        "decided_by": found.decided_by,
        "decided_at": _at(found.decided_at),
        "date_created": found.created_at.isoformat(),
    }


def task(found: Task) -> dict[str, Any]:
    """Render a task."""
    return {
        "sid": found.sid,
        "kind": found.kind,
        "clause": found.clause,
        "subject": found.subject,
        "due_on": found.due_on.isoformat(),
        "date_created": found.created_at.isoformat(),
        "done_at": _at(found.done_at),
    }


def listed(items: Sequence[dict[str, Any]], next_token: str | None = None) -> dict[str, Any]:
    """Render a list with the token of its next page."""
    return {"items": list(items), "next": next_token}


def _at(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _day(value: date | None) -> str | None:
    return None if value is None else value.isoformat()
