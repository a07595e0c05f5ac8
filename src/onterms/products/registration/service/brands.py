"""Brands and their vettings."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound, Refusal
from onterms.core.ids import new_sid
from onterms.engines.api import PageRequest
from onterms.ports.registrar import Answer, BrandSubmission, Granted, Reason, Registrar, Rejected, VettingSubmission
from onterms.products import trust
from onterms.products.registration import errors, store
from onterms.products.registration.model import (
    BRAND_UPDATES_MAX,
    FEEDBACK,
    UNDECIDED,
    VETTING_MOVES,
    after,
)
from onterms.products.registration.service import fees, moving
from onterms.products.registration.service.fees import Fees

# Which profiles each type of brand stands on.
_CUSTOMER = {"STANDARD": (trust.PRIMARY, trust.SECONDARY), "SOLE_PROPRIETOR": (trust.STARTER,)}
_A2P = {"STANDARD": trust.A2P, "SOLE_PROPRIETOR": trust.A2P_STARTER}
# Twilio docs, political vetting: a token is four fields with bars between them.
_TOKEN = re.compile(r"^cv\|[^|]+\|[^|]+\|[^|]+\|.+$")
_PROVIDERS = ("aegis", "campaign-verify")
_CLASSES = {"aegis": "STANDARD", "campaign-verify": "POLITICAL"}
# The catalogue: validation problems with connected bundles.
_BUNDLE_PROBLEM = 30793


def not_found(sid: str) -> NotFound:
    """Say that a brand does not exist."""
    return NotFound(f"The requested resource /v1/a2p/BrandRegistrations/{sid} was not found")


async def create(tx: Tx, fees_: Fees, account_sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Hand a brand in and charge for it.

    Raises: NotFound for profiles that are not the account's, InvalidParameter, and as `Fees.charge`.
    """
    brand_type = params.get("BrandType") or "STANDARD"
    if brand_type == "STARTER":
        raise Refusal("Starter brands are not registered any more; use STANDARD or SOLE_PROPRIETOR", code=21726)
    if brand_type not in _CUSTOMER:
        raise InvalidParameter("BrandType must be STANDARD or SOLE_PROPRIETOR")
    sids = params["CustomerProfileBundleSid"], params["A2PProfileBundleSid"]
    for place, allowed in enumerate((_CUSTOMER[brand_type], (_A2P[brand_type],))):
        found = await trust.profile(tx, account_sid, sids[place])
        if found is None:
            raise NotFound(f"The bundle {sids[place]} was not found")
        if found.policy not in allowed:
            raise InvalidParameter(f"A {brand_type} brand cannot stand on {sids[place]}, which is {found.policy}")
    sid = new_sid("BN", at)
    is_mock = bool(params.get("Mock"))
    if not is_mock:
        await fees_.charge(tx, account_sid, sid, fees.BRAND, at)
    given = {
        "customer_profile_sid": sids[0],
        "a2p_profile_sid": sids[1],
        "brand_type": brand_type,
        "status": "PENDING",
        "skips_vetting": bool(params.get("SkipAutomaticSecVet")),
        "mock": is_mock,
    }
    row = await store.insert(tx, store.BRANDS, account_sid, sid, given, at)
    assert row is not None
    await moving.ask(tx, "brand", account_sid, at, sid=sid, submitted_at=at.isoformat())
    return row


async def fetch(tx: Tx, account_sid: str, sid: str) -> Row:
    """Return a brand. Raises: NotFound."""
    row = await store.fetch(tx, store.BRANDS, account_sid, sid)
    if row is None:
        raise not_found(sid)
    return row


async def page(tx: Tx, account_sid: str, request: PageRequest) -> list[Row]:
    """Return one page of brands."""
    return await store.page(tx, store.BRANDS, account_sid, {}, request)


async def resubmit(tx: Tx, account_sid: str, sid: str, at: datetime) -> Row:
    """Hand a failed brand in again. Raises: NotFound, BrandSuspended, BrandNotFailed, TooManyUpdates."""
    row = await store.lock(tx, store.BRANDS, account_sid, sid)
    if row is None:
        raise not_found(sid)
    if row["status"] == "SUSPENDED":
        raise errors.BrandSuspended(f"{sid} is suspended")
    if row["status"] != "FAILED":
        raise errors.BrandNotFailed(f"{sid} is {row['status']}; only a failed brand is handed in again")
    if row["updates"] >= BRAND_UPDATES_MAX:
        raise errors.TooManyUpdates(f"{sid} was handed in again {BRAND_UPDATES_MAX} times already")
    changes = {
        "updates": row["updates"] + 1,
        "submitted_at": at,
        "errors": [],
        "failure_reason": "",
        "brand_feedback": [],
    }
    moved = await moving.move(tx, "brand", row, "resubmit", changes, at)
    assert moved is not None
    await moving.ask(tx, "brand", account_sid, at, sid=sid, submitted_at=at.isoformat())
    return moved


async def text_owner(tx: Tx, account_sid: str, sid: str) -> tuple[str, str]:
    """Return whom to text, and the brand's name, for a sole proprietor who has not confirmed yet.

    Raises: NotFound, Conflict.
    """
    row = await fetch(tx, account_sid, sid)
    if row["brand_type"] != "SOLE_PROPRIETOR" or row["status"] not in UNDECIDED["brand"]:
        raise errors.Conflict(f"{sid} waits for nobody's answer")
    company = await _company(tx, row)
    return str(company.get("mobile_phone_number", "")), str(company.get("brand_name", ""))


async def used_by(tx: Tx, account_sid: str, bundle_sid: str) -> str:
    """Return a brand that stands on a profile, or ""."""
    return next((row["sid"] for row in await store.brands_of_profile(tx, account_sid, bundle_sid)), "")


async def bundle_decided(tx: Tx, account_sid: str, bundle_sid: str, status: str, at: datetime) -> None:
    """Go on with the brands that waited for a profile."""
    for row in await store.brands_of_profile(tx, account_sid, bundle_sid):
        if row["status"] in UNDECIDED["brand"]:
            submitted_at = row["submitted_at"].isoformat()
            await moving.ask(tx, "brand", account_sid, at, sid=row["sid"], submitted_at=submitted_at)


async def _company(tx: Tx, row: Row) -> dict[str, Any]:
    company: dict[str, Any] = {}
    for sid in (row["customer_profile_sid"], row["a2p_profile_sid"]):
        found = await trust.profile(tx, row["account_sid"], sid)
        company |= found.attributes if found is not None else {}
    return company


async def question(tx: Tx, account_sid: str, payload: Mapping[str, str]) -> BrandSubmission | Rejected | None:
    """Return what to ask the registry about a brand; None where nobody waits for an answer."""
    row = await store.fetch(tx, store.BRANDS, account_sid, payload["sid"])
    if (
        row is None
        or row["status"] not in UNDECIDED["brand"]
        or row["submitted_at"].isoformat() != payload["submitted_at"]
    ):
        return None
    for sid in (row["customer_profile_sid"], row["a2p_profile_sid"]):
        found = await trust.profile(tx, account_sid, sid)
        if found is not None and found.is_under_review:
            # Its decision brings the brand back here.
            return None
        if found is None or not found.is_approved:
            return Rejected((Reason(_BUNDLE_PROBLEM, f"The bundle {sid} is not approved"),))
    company = await _company(tx, row)
    return BrandSubmission(account_sid, row["sid"], row["brand_type"], company, row["mock"], row["submitted_at"])


async def decide(tx: Tx, fees_: Fees, account_sid: str, sid: str, answer: Answer, at: datetime) -> None:
    """Write down what the registry said of a brand."""
    row = await store.lock(tx, store.BRANDS, account_sid, sid)
    if row is None:
        return
    if isinstance(answer, Granted):
        changes: dict[str, Any] = {
            "tcr_id": answer.external_id,
            "brand_score": answer.score,
            "identity_status": answer.identity_status or "VERIFIED",
            "russell_3000": answer.is_russell_3000,
            "government_entity": answer.is_government,
            "tax_exempt_status": answer.tax_exempt_status,
        }
        moved = await moving.move(tx, "brand", row, "approve", changes, at)
        if moved is not None and moved["brand_type"] == "STANDARD" and not moved["skips_vetting"] and not moved["mock"]:
            try:
                await vet(tx, fees_, account_sid, sid, "aegis", "", at)
            except Refusal:
                # Without funds for it the brand stays unvetted; its owner may ask for it later.
                return
    elif isinstance(answer, Rejected):
        feedback = [FEEDBACK[reason.code] for reason in answer.reasons if reason.code in FEEDBACK]
        changes = {
            "errors": moving.shown(answer.reasons),
            "failure_reason": "; ".join(reason.text for reason in answer.reasons),
            "brand_feedback": feedback,
            "identity_status": "UNVERIFIED",
        }
        await moving.move(tx, "brand", row, "fail", changes, at, answer.reasons)
    elif answer.is_taken_up:
        await moving.move(tx, "brand", row, "take_up", {}, at)


# ---- vettings


async def vet(tx: Tx, fees_: Fees, account_sid: str, brand_sid: str, provider: str, token: str, at: datetime) -> Row:
    """Have a brand looked at more closely, or import what a political body's verification said.

    Raises: NotFound, BrandNotApproved, BrandSuspended, TokenForAnotherBrand, InvalidToken, VettingUnderWay, and as
    `Fees.charge`.
    """
    row = await store.lock(tx, store.BRANDS, account_sid, brand_sid)
    if row is None:
        raise not_found(brand_sid)
    if provider not in _PROVIDERS:
        raise InvalidParameter(f"VettingProvider must be one of {', '.join(_PROVIDERS)}")
    if row["status"] == "SUSPENDED":
        raise errors.BrandSuspended(f"{brand_sid} is suspended")
    if row["status"] != "APPROVED":
        raise errors.BrandNotApproved(f"{brand_sid} is {row['status']}; only an approved brand is vetted")
    if provider == "campaign-verify":
        if row["brand_type"] != "STANDARD":
            raise errors.TokenForAnotherBrand(f"{brand_sid} is a {row['brand_type']} brand")
        if not _TOKEN.match(token):
            raise errors.InvalidToken("VettingId is no Campaign Verify token")
    for each in await store.vettings(tx, account_sid, brand_sid):
        if each["provider"] == provider and each["status"] in UNDECIDED["vetting"]:
            raise errors.VettingUnderWay(f"{brand_sid} is being vetted already: {each['sid']}")
    sid = new_sid("VT", at)
    if provider == "aegis" and not row["mock"]:
        await fees_.charge(tx, account_sid, sid, fees.VETTING, at)
    given = {"provider": provider, "class": _CLASSES[provider], "vetting_id": token}
    made = await store.insert_vetting(tx, account_sid, brand_sid, sid, given, at)
    await moving.ask(tx, "vetting", account_sid, at, brand_sid=brand_sid, sid=sid)
    return made


async def vettings(tx: Tx, account_sid: str, brand_sid: str, provider: str | None) -> list[Row]:
    """Return the vettings of a brand, newest first. Raises: NotFound."""
    await fetch(tx, account_sid, brand_sid)
    rows = await store.vettings(tx, account_sid, brand_sid)
    return [row for row in rows if provider in (None, "", row["provider"])]


async def fetch_vetting(tx: Tx, account_sid: str, brand_sid: str, sid: str) -> Row:
    """Return one vetting of a brand. Raises: NotFound."""
    for row in await vettings(tx, account_sid, brand_sid, None):
        if row["sid"] == sid:
            return row
    raise NotFound(f"The vetting {sid} was not found")


async def vetting_question(tx: Tx, account_sid: str, payload: Mapping[str, str]) -> VettingSubmission | None:
    """Return what to ask about a vetting; None where nobody waits for an answer."""
    brand = await store.fetch(tx, store.BRANDS, account_sid, payload["brand_sid"])
    if brand is None:
        return None
    for row in await store.vettings(tx, account_sid, brand["sid"]):
        if row["sid"] == payload["sid"] and row["status"] in UNDECIDED["vetting"]:
            return VettingSubmission(
                account_sid,
                row["sid"],
                brand["sid"],
                brand["tcr_id"],
                row["provider"],
                row["vetting_id"],
                await _company(tx, brand),
                brand["mock"],
                row["date_created"],
            )
    return None


async def decide_vetting(tx: Tx, account_sid: str, brand_sid: str, sid: str, answer: Answer, at: datetime) -> bool:
    """Write down what a vetting brought; its score becomes the brand's. Tell whether that changed anything."""
    brand = await store.lock(tx, store.BRANDS, account_sid, brand_sid)
    found = [row for row in await store.vettings(tx, account_sid, brand_sid) if row["sid"] == sid]
    if brand is None or not found:
        return False
    event = "approve" if isinstance(answer, Granted) else "fail" if isinstance(answer, Rejected) else "take_up"
    status = after(VETTING_MOVES, found[0]["status"], event)
    if status is None or (not isinstance(answer, Granted | Rejected) and not answer.is_taken_up):
        return False
    vetting_id = found[0]["vetting_id"]
    if isinstance(answer, Granted):
        vetting_id = vetting_id or answer.external_id
        changes: dict[str, Any] = {"identity_status": "VETTED_VERIFIED"}
        if answer.score is not None:
            changes["brand_score"] = answer.score
        await store.update(tx, store.BRANDS, account_sid, brand_sid, changes, at)
    await store.move_vetting(tx, account_sid, brand_sid, sid, status, vetting_id, at)
    return True


async def resend(tx: Tx, registrar: Registrar, account_sid: str, sid: str) -> None:
    """Text the owner of a sole proprietor's brand again. Raises: NotFound, Conflict."""
    number, name = await text_owner(tx, account_sid, sid)
    await registrar.text_owner(account_sid, sid, number, name)
