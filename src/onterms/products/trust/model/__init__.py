"""A bundle and its life, and how it is judged by its policy.

Theory of operation. A bundle (a customer profile or a trust product) is a draft until its owner hands it in. Then it
waits for a reviewer, is looked at, and ends approved or rejected with reasons; a rejected one may be mended and handed
in again, and what was handed in may be taken back before anybody looked. `MOVES` is the one table of what may follow
what. While a bundle is with the reviewers, and once it is approved, nobody may change what it is made of.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onterms.products.trust.model import policies
from onterms.products.trust.model.policies import Field, Policy

Kind = Literal["customer_profile", "trust_product"]

# Twilio docs, CustomerProfile resource: the statuses; the words of the events are ours.
MOVES: Mapping[tuple[str, str], str] = {
    ("draft", "submit"): "pending-review",
    ("twilio-rejected", "submit"): "pending-review",
    ("pending-review", "withdraw"): "draft",
    ("pending-review", "take_up"): "in-review",
    ("pending-review", "approve"): "twilio-approved",
    ("pending-review", "reject"): "twilio-rejected",
    ("in-review", "approve"): "twilio-approved",
    ("in-review", "reject"): "twilio-rejected",
    # An operator may take an approval back.
    ("twilio-approved", "revoke"): "twilio-rejected",
}
OPEN = frozenset({"draft", "twilio-rejected"})
UNDER_REVIEW = frozenset({"pending-review", "in-review"})
APPROVED = "twilio-approved"
# What a customer asks for by naming the status it wants; the others are the reviewers'.
EVENTS: Mapping[str, str] = {"pending-review": "submit", "draft": "withdraw"}

_ADDRESS_SID = re.compile(r"^AD[0-9a-fA-F]{32}$")
# The catalogue of errors.
_MISSING_END_USER, _END_USER_FIELD, _MISSING_DOCUMENT, _DOCUMENT_FIELD, _ADDRESS = 22214, 22215, 22216, 22217, 22219
_MISSING_PROFILE = 18036


@dataclass(frozen=True, slots=True)
class Part:
    """Something that is assigned to a bundle. Shapes: `status` is that of a bundle, else empty."""

    type: str
    attributes: Mapping[str, Any]
    status: str = ""


def after(status: str, event: str) -> str | None:
    """Return the status to which an event moves a bundle, or None where it does not."""
    return MOVES.get((status, event))


def evaluate(policy: Policy, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Hold the parts of a bundle against a policy and return a result for each requirement."""
    by_type: dict[str, Part] = {part.type: part for part in parts}
    results = [_end_user(name, by_type.get(name)) for name in policy.end_users]
    results += [_end_user(name, by_type[name]) for name in policy.optional_end_users if name in by_type]
    results += [_document(name, by_type.get(name)) for name in policy.documents]
    if policy.profiles:
        results.append(_profile(policy.profiles, by_type))
    return results


def is_compliant(results: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether every requirement is met."""
    return all(result["passed"] for result in results)


def failures(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the errors that a bundle is rejected with where it does not meet its policy."""
    found: list[dict[str, Any]] = []
    for result in results:
        for each in result["invalid"]:
            found.append({"code": each["error_code"], "message": each["failure_reason"]})
        if not result["passed"] and not result["invalid"]:
            found.append({"code": result["error_code"], "message": result["failure_reason"]})
    return found


def _end_user(name: str, part: Part | None) -> dict[str, Any]:
    kind = policies.END_USER_TYPES[name]
    given = part.attributes if part is not None else {}
    wrong = [_wrong(field, kind.friendly_name, given, _END_USER_FIELD) for field in kind.fields]
    return _result(
        name,
        kind.friendly_name,
        [field for field, found in zip(kind.fields, wrong, strict=True) if found is None],
        [found for found in wrong if found is not None],
        None if part is not None else (_MISSING_END_USER, f"{kind.friendly_name} is missing: assign one."),
    )


def _wrong(field: Field, owner: str, given: Mapping[str, Any], code: int) -> dict[str, Any] | None:
    value = given.get(field.name)
    if not value:
        is_needed = not field.is_optional and (
            field.needed_with is None or given.get(field.needed_with[0]) == field.needed_with[1]
        )
        return _invalid(field, f"{field.friendly_name} is missing in {owner}.", code) if is_needed else None
    if not isinstance(value, str):
        return _invalid(field, f"{field.friendly_name} in {owner} must be a text.", code)
    # A field may hold several of its values: regions are a list with commas.
    if field.values and not {each.strip() for each in value.split(",")} <= set(field.values):
        return _invalid(field, f"{field.friendly_name} in {owner} must be of {', '.join(field.values)}.", code)
    return None


def _document(name: str, part: Part | None) -> dict[str, Any]:
    kind = policies.DOCUMENT_TYPES[name]
    given = part.attributes if part is not None else {}
    wrong: list[dict[str, Any]] = []
    for field in kind.fields:
        value = given.get(field.name)
        sids = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
        if not sids or not all(isinstance(sid, str) and _ADDRESS_SID.match(sid.strip()) for sid in sids):
            wrong.append(_invalid(field, f"{field.friendly_name} must name addresses, AD and 32 digits.", _ADDRESS))
    return _result(
        name,
        kind.friendly_name,
        [] if wrong else kind.fields,
        wrong,
        None if part is not None else (_MISSING_DOCUMENT, f"{kind.friendly_name} is missing: assign a document."),
    )


def _profile(names: Sequence[str], by_type: Mapping[str, Part]) -> dict[str, Any]:
    wanted = " or ".join(policies.NAMED[name].friendly_name for name in names)
    found = next((by_type[name] for name in names if name in by_type), None)
    if found is None:
        failure = (_MISSING_PROFILE, f"An approved {wanted} is missing: assign one.")
    elif found.status == APPROVED:
        return _result(names[0], wanted, [], [], None)
    else:
        failure = (_MISSING_PROFILE, f"The {policies.NAMED[found.type].friendly_name} assigned is not approved.")
    return _result(names[0], wanted, [], [], failure)


def _invalid(field: Field, reason: str, code: int) -> dict[str, Any]:
    return {
        "friendly_name": field.friendly_name,
        "object_field": field.name,
        "failure_reason": reason,
        "error_code": code,
    }


def _result(
    name: str,
    friendly_name: str,
    valid: Sequence[Field],
    invalid: list[dict[str, Any]],
    failure: tuple[int, str] | None,
) -> dict[str, Any]:
    if failure is None and invalid:
        failure = (invalid[0]["error_code"], invalid[0]["failure_reason"])
    return {
        "friendly_name": friendly_name,
        "object_type": name,
        "passed": failure is None,
        "failure_reason": failure[1] if failure else "",
        "error_code": failure[0] if failure else 0,
        "valid": [{"friendly_name": each.friendly_name, "object_field": each.name} for each in valid],
        "invalid": invalid,
        "requirement_friendly_name": friendly_name,
        "requirement_name": name,
    }
