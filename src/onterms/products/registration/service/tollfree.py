"""Toll-free verifications."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.engines import jobs
from onterms.engines.api import PageRequest
from onterms.ports.registrar import Answer, Granted, Rejected, TollfreeSubmission
from onterms.products import numbers, trust
from onterms.products.registration import errors, store
from onterms.products.registration.model import TOLLFREE_EDIT_WINDOW, TOLLFREE_FINAL, UNDECIDED
from onterms.products.registration.service import moving

# The parameters that say something of the customer, by the names under which the resource shows them.
DETAILS: Mapping[str, str] = {
    "BusinessName": "business_name",
    "BusinessStreetAddress": "business_street_address",
    "BusinessStreetAddress2": "business_street_address2",
    "BusinessCity": "business_city",
    "BusinessStateProvinceRegion": "business_state_province_region",
    "BusinessPostalCode": "business_postal_code",
    "BusinessCountry": "business_country",
    "BusinessWebsite": "business_website",
    "BusinessContactFirstName": "business_contact_first_name",
    "BusinessContactLastName": "business_contact_last_name",
    "BusinessContactEmail": "business_contact_email",
    "BusinessContactPhone": "business_contact_phone",
    "NotificationEmail": "notification_email",
    "UseCaseCategories": "use_case_categories",
    "UseCaseSummary": "use_case_summary",
    "ProductionMessageSample": "production_message_sample",
    "OptInImageUrls": "opt_in_image_urls",
    "OptInType": "opt_in_type",
    "MessageVolume": "message_volume",
    "AdditionalInformation": "additional_information",
    "BusinessRegistrationNumber": "business_registration_number",
    "BusinessRegistrationAuthority": "business_registration_authority",
    "BusinessRegistrationCountry": "business_registration_country",
    "BusinessType": "business_type",
    "BusinessRegistrationPhoneNumber": "business_registration_phone_number",
    "DoingBusinessAs": "doing_business_as",
    "OptInConfirmationMessage": "opt_in_confirmation_message",
    "HelpMessageSample": "help_message_sample",
    "PrivacyPolicyUrl": "privacy_policy_url",
    "TermsAndConditionsUrl": "terms_and_conditions_url",
    "AgeGatedContent": "age_gated_content",
    "OptInKeywords": "opt_in_keywords",
    "VettingProvider": "vetting_provider",
    "VettingId": "vetting_id",
}
# Twilio docs, Tollfree Verification resource: what MessageVolume may be.
VOLUMES = frozenset({"10", "100", "1,000", "10,000", "100,000", "250,000", "500,000", "750,000", "1,000,000"})
VOLUMES_MORE = frozenset({"5,000,000", "10,000,000+"})


def not_found(sid: str) -> NotFound:
    """Say that a verification does not exist."""
    return NotFound(f"The requested resource /v1/Tollfree/Verifications/{sid} was not found")


def _details(params: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    details = {**before, **{column: params[name] for name, column in DETAILS.items() if name in params}}
    if details["message_volume"] not in VOLUMES | VOLUMES_MORE:
        raise InvalidParameter(f"MessageVolume must be one of {', '.join(sorted(VOLUMES | VOLUMES_MORE, key=len))}")
    if "@" not in details["notification_email"]:
        raise InvalidParameter("NotificationEmail must be a mail address")
    for name in ("business_name", "use_case_summary", "production_message_sample", "business_website"):
        if not details[name].strip():
            raise InvalidParameter(f"{name} is required")
    if not details["opt_in_image_urls"] or not details["use_case_categories"]:
        raise InvalidParameter("OptInImageUrls and UseCaseCategories need at least one entry each")
    return details


async def create(tx: Tx, account_sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Hand in the verification of a toll-free number.

    Raises: InvalidTollfreeNumber, NotFound for another's profile, InvalidParameter, Conflict.
    """
    number = await numbers.held(tx, account_sid, params["TollfreePhoneNumberSid"])
    if number is None or number.kind != "tollfree":
        raise errors.InvalidTollfreeNumber(f"{params['TollfreePhoneNumberSid']} is no toll-free number of this account")
    profile_sid = params.get("CustomerProfileSid") or None
    if profile_sid is not None and await trust.profile(tx, account_sid, profile_sid) is None:
        raise NotFound(f"The customer profile {profile_sid} was not found")
    given = {
        "number_sid": number.sid,
        "number": number.phone_number,
        "customer_profile_sid": profile_sid,
        "external_reference_id": params.get("ExternalReferenceId") or None,
        "details": _details(params, {}),
        "status": "PENDING_REVIEW",
        "regulated_item_sid": new_sid("RA", at),
    }
    row = await store.insert(tx, store.TOLLFREE, account_sid, new_sid("HH", at), given, at)
    if row is None:
        raise errors.Conflict(f"{number.phone_number} has a verification already")
    await moving.ask(tx, "tollfree", account_sid, at, sid=row["sid"], submitted_at=at.isoformat())
    return row


async def fetch(tx: Tx, account_sid: str, sid: str) -> Row:
    """Return a verification. Raises: NotFound."""
    row = await store.fetch(tx, store.TOLLFREE, account_sid, sid)
    if row is None:
        raise not_found(sid)
    return row


async def page(tx: Tx, account_sid: str, only: Mapping[str, Any], request: PageRequest) -> list[Row]:
    """Return one page of verifications. Raises: InvalidTollfreeNumber for a filter by another's number."""
    if "number_sid" in only and await numbers.held(tx, account_sid, only["number_sid"]) is None:
        raise errors.InvalidTollfreeNumber(f"The account has no phone number {only['number_sid']}")
    return await store.page(tx, store.TOLLFREE, account_sid, only, request)


async def edit(tx: Tx, account_sid: str, sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Mend a rejected verification and hand it in again, while its window is open.

    Raises: NotFound, Conflict, EditExpired, InvalidParameter.
    """
    row = await store.lock(tx, store.TOLLFREE, account_sid, sid)
    if row is None:
        raise not_found(sid)
    if row["status"] != "TWILIO_REJECTED":
        raise errors.Conflict(f"{sid} is {row['status']}; only a rejected verification is edited")
    if not row["edit_allowed"]:
        raise errors.Conflict(f"{sid} was rejected for good: what it is for is not allowed")
    if row["edit_expiration"] is not None and row["edit_expiration"] <= at:
        raise errors.EditExpired(f"{sid} could be edited until {row['edit_expiration']:%Y-%m-%dT%H:%M:%SZ}")
    changes = {
        "details": _details(params, row["details"]),
        "submitted_at": at,
        "reasons": [],
        "edit_allowed": None,
        "edit_expiration": None,
    }
    moved = await moving.move(tx, "tollfree", row, "edit", changes, at)
    assert moved is not None
    await moving.ask(tx, "tollfree", account_sid, at, sid=sid, submitted_at=at.isoformat())
    return moved


async def delete(tx: Tx, account_sid: str, sid: str) -> None:
    """Give a verification up; the number is unverified from now on. Raises: NotFound."""
    if not await store.delete(tx, store.TOLLFREE, account_sid, sid):
        raise not_found(sid)


async def question(tx: Tx, account_sid: str, payload: Mapping[str, str]) -> TollfreeSubmission | None:
    """Return what to ask about a verification; None where nobody waits for an answer."""
    row = await store.fetch(tx, store.TOLLFREE, account_sid, payload["sid"])
    if (
        row is None
        or row["status"] not in UNDECIDED["tollfree"]
        or row["submitted_at"].isoformat() != payload["submitted_at"]
    ):
        return None
    return TollfreeSubmission(account_sid, row["sid"], row["number"], row["details"], row["submitted_at"])


async def decide(tx: Tx, account_sid: str, sid: str, answer: Answer, at: datetime) -> None:
    """Write down what became of a verification, and mail whoever wants to know."""
    row = await store.lock(tx, store.TOLLFREE, account_sid, sid)
    if row is None:
        return
    moved: Row | None = None
    if isinstance(answer, Granted):
        moved = await moving.move(tx, "tollfree", row, "approve", {"reasons": []}, at)
    elif isinstance(answer, Rejected):
        is_final = answer.is_final or any(reason.code in TOLLFREE_FINAL for reason in answer.reasons)
        changes = {
            "reasons": [{"code": reason.code, "reason": reason.text} for reason in answer.reasons],
            "edit_allowed": not is_final,
            "edit_expiration": None if is_final else at + TOLLFREE_EDIT_WINDOW,
        }
        moved = await moving.move(tx, "tollfree", row, "fail", changes, at, answer.reasons)
    elif answer.is_taken_up:
        await moving.move(tx, "tollfree", row, "take_up", {}, at)
    if moved is not None:
        said = "approved" if moved["status"] == "TWILIO_APPROVED" else "rejected"
        body = f"The verification {sid} of {moved['number']} was {said}."
        for reason in moved["reasons"]:
            body += f"\n{reason['code']}: {reason['reason']}"
        subject = f"Toll-free verification of {moved['number']}: {said}"
        mail = trust.mail_job(account_sid, moved["details"]["notification_email"], subject, body)
        await jobs.enqueue(tx, [mail], at)
