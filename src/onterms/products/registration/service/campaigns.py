"""Campaigns, and the numbers that send for them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.core.errors import NotFound
from onterms.core.ids import new_sid
from onterms.engines.api import PageRequest
from onterms.ports.registrar import Answer, CampaignSubmission, Granted, NumberSubmission, Reason, Rejected
from onterms.products import monitor
from onterms.products.registration import errors, store
from onterms.products.registration.model import (
    CAMPAIGNS_MAX,
    NUMBER_MOVES,
    SOLE_PROPRIETOR_NUMBERS_MAX,
    UNDECIDED,
    after,
    usecases,
)
from onterms.products.registration.service import fees, moving
from onterms.products.registration.service.fees import Fees

# Tells whether an account has a Messaging Service, and keeps it until commit.
HasService = Callable[[Tx, str, str], Awaitable[bool]]
# Returns the US long codes in the pool of a Messaging Service.
PoolNumbers = Callable[[Tx, str, str], Awaitable[Sequence[str]]]

# The catalogue: a number could not be registered.
_NUMBER_FAILED = 30126

_TEXTS = {
    "Description": "description",
    "MessageFlow": "message_flow",
    "MessageSamples": "message_samples",
    "HasEmbeddedLinks": "has_embedded_links",
    "HasEmbeddedPhone": "has_embedded_phone",
    "AgeGated": "age_gated",
    "DirectLending": "direct_lending",
    "SubscriberOptIn": "subscriber_opt_in",
    "OptInMessage": "opt_in_message",
    "OptOutMessage": "opt_out_message",
    "HelpMessage": "help_message",
    "OptInKeywords": "opt_in_keywords",
    "OptOutKeywords": "opt_out_keywords",
    "HelpKeywords": "help_keywords",
    "PrivacyPolicyUrl": "privacy_policy_url",
    "TermsAndConditionsUrl": "terms_and_conditions_url",
}
_DEFAULTS: Mapping[str, Any] = {
    "age_gated": False,
    "direct_lending": False,
    "subscriber_opt_in": False,
    "opt_in_keywords": list(usecases.OPT_IN_KEYWORDS),
    "opt_out_keywords": list(usecases.OPT_OUT_KEYWORDS),
    "help_keywords": list(usecases.HELP_KEYWORDS),
}


@dataclass(frozen=True, slots=True)
class Pools:
    """What the room asks about Messaging Services."""

    has_service: HasService
    numbers: PoolNumbers


def _not_found(sid: str) -> NotFound:
    return NotFound(f"The campaign {sid} was not found")


def _details(params: Mapping[str, Any], before: Mapping[str, Any], usecase: str) -> dict[str, Any]:
    details = {**before, **{column: params[name] for name, column in _TEXTS.items() if name in params}}
    faults = usecases.faults(details, usecase)
    if faults:
        raise errors.InvalidLengths("; ".join(faults))
    return details


async def require_service(tx: Tx, pools: Pools, account_sid: str, service_sid: str) -> None:
    """Pass where the account has the Messaging Service. Raises: NotFound."""
    if not await pools.has_service(tx, account_sid, service_sid):
        raise NotFound(f"The requested resource /v1/Services/{service_sid} was not found")


async def create(
    tx: Tx, pools: Pools, fees_: Fees, account_sid: str, service_sid: str, params: Mapping[str, Any], at: datetime
) -> Row:
    """Hand in the campaign of a Messaging Service and charge for it.

    Raises: NotFound, UnknownUsecase, BrandNotApproved, BrandSuspended, UsecaseMismatch, InvalidLengths,
    TooManyCampaigns, Conflict, and as `Fees.charge`.
    """
    await require_service(tx, pools, account_sid, service_sid)
    usecase = params["UsAppToPersonUsecase"]
    if usecase not in usecases.USECASES:
        raise errors.UnknownUsecase(f"There is no use case '{usecase[:64]}'")
    brand = await store.lock(tx, store.BRANDS, account_sid, params["BrandRegistrationSid"])
    if brand is not None and brand["status"] == "SUSPENDED":
        raise errors.BrandSuspended(f"{brand['sid']} is suspended")
    if brand is None or brand["status"] != "APPROVED":
        raise errors.BrandNotApproved(f"{params['BrandRegistrationSid']} is no approved brand of this account")
    if usecase not in {each.code for each in usecases.usecases_of(brand["brand_type"])}:
        raise errors.UsecaseMismatch(f"A {brand['brand_type']} brand cannot register {usecase}")
    details = _details(params, _DEFAULTS, usecase)
    if await store.campaign_of_service(tx, account_sid, service_sid) is not None:
        raise errors.Conflict(f"{service_sid} has a campaign already")
    most = 1 if brand["brand_type"] == "SOLE_PROPRIETOR" else CAMPAIGNS_MAX
    if len(await store.campaigns_of(tx, account_sid, brand["sid"])) >= most:
        raise errors.TooManyCampaigns(f"{brand['sid']} may have {most} campaigns")
    sid = new_sid("QE", at)
    if not brand["mock"]:
        await fees_.charge(tx, account_sid, sid, fees.CAMPAIGN_VETTING, at)
    given = {
        "service_sid": service_sid,
        "brand_sid": brand["sid"],
        "usecase": usecase,
        "details": details,
        "status": "PENDING",
        "is_external": False,
        "mock": brand["mock"],
    }
    return await _insert(tx, account_sid, sid, given, at)


async def register_external(tx: Tx, pools: Pools, account_sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Send for a campaign that was registered elsewhere. Raises: UnknownService, Conflict, MissingParameters."""
    service_sid = params["MessagingServiceSid"]
    if not await pools.has_service(tx, account_sid, service_sid):
        raise errors.UnknownService(f"The Messaging Service {service_sid} does not exist")
    if not params["CampaignId"] or len(params["CampaignId"]) > 64:
        raise errors.MissingParameters("CampaignId must be the registry's name of a campaign")
    if await store.campaign_of_service(tx, account_sid, service_sid) is not None:
        raise errors.Conflict(f"{service_sid} has a campaign already")
    given = {
        "service_sid": service_sid,
        "brand_sid": None,
        "campaign_id": params["CampaignId"],
        "usecase": "",
        "details": {},
        "status": "PENDING",
        "is_external": True,
        "mock": False,
    }
    return await _insert(tx, account_sid, new_sid("QE", at), given, at)


async def _insert(tx: Tx, account_sid: str, sid: str, given: Mapping[str, Any], at: datetime) -> Row:
    row = await store.insert(tx, store.CAMPAIGNS, account_sid, sid, given, at)
    if row is None:
        raise errors.Conflict(f"{given['service_sid']} has a campaign already")
    await moving.ask(tx, "campaign", account_sid, at, sid=sid, submitted_at=at.isoformat())
    return row


async def fetch(tx: Tx, account_sid: str, service_sid: str, sid: str) -> tuple[Row, Row | None]:
    """Return a campaign of a Messaging Service with its brand. Raises: NotFound."""
    row = await store.fetch(tx, store.CAMPAIGNS, account_sid, sid)
    if row is None or row["service_sid"] != service_sid:
        raise _not_found(sid)
    return row, await brand_of(tx, row)


async def brand_of(tx: Tx, row: Row) -> Row | None:
    """Return the brand of a campaign, None for one that was registered elsewhere."""
    if row["brand_sid"] is None:
        return None
    return await store.fetch(tx, store.BRANDS, row["account_sid"], row["brand_sid"])


async def page(tx: Tx, pools: Pools, account_sid: str, service_sid: str, request: PageRequest) -> list[Row]:
    """Return one page of a Messaging Service's campaigns. Raises: NotFound."""
    await require_service(tx, pools, account_sid, service_sid)
    return await store.page(tx, store.CAMPAIGNS, account_sid, {"service_sid": service_sid}, request)


async def edit(
    tx: Tx, account_sid: str, service_sid: str, sid: str, params: Mapping[str, Any], at: datetime
) -> tuple[Row, Row | None]:
    """Mend a failed campaign and hand it in again. Raises: NotFound, CampaignSuspended, Conflict, InvalidLengths."""
    await fetch(tx, account_sid, service_sid, sid)
    row = await store.lock(tx, store.CAMPAIGNS, account_sid, sid)
    assert row is not None
    if row["status"] == "SUSPENDED":
        raise errors.CampaignSuspended(f"{sid} is suspended")
    if row["is_external"]:
        raise errors.Conflict(f"{sid} was registered elsewhere and is changed there")
    if row["status"] != "FAILED":
        raise errors.Conflict(f"{sid} is {row['status']}; only a failed campaign is edited")
    changes = {"details": _details(params, row["details"], row["usecase"]), "submitted_at": at, "errors": []}
    moved = await moving.move(tx, "campaign", row, "edit", changes, at)
    assert moved is not None
    await moving.ask(tx, "campaign", account_sid, at, sid=sid, submitted_at=at.isoformat())
    return moved, await brand_of(tx, moved)


async def delete(tx: Tx, account_sid: str, service_sid: str, sid: str) -> None:
    """Give a campaign up; its numbers are unregistered from now on. Raises: NotFound, CampaignSuspended."""
    row, _ = await fetch(tx, account_sid, service_sid, sid)
    if row["status"] == "SUSPENDED":
        raise errors.CampaignSuspended(f"{sid} is suspended")
    await store.delete(tx, store.CAMPAIGNS, account_sid, sid)


async def question(tx: Tx, account_sid: str, payload: Mapping[str, str]) -> CampaignSubmission | None:
    """Return what to ask the registry about a campaign; None where nobody waits for an answer."""
    row = await store.fetch(tx, store.CAMPAIGNS, account_sid, payload["sid"])
    if (
        row is None
        or row["status"] not in UNDECIDED["campaign"]
        or row["submitted_at"].isoformat() != payload["submitted_at"]
    ):
        return None
    brand = await brand_of(tx, row)
    return CampaignSubmission(
        account_sid,
        row["sid"],
        brand["tcr_id"] if brand is not None else "",
        row["campaign_id"],
        row["usecase"],
        row["is_external"],
        row["mock"],
        row["submitted_at"],
        row["details"],
    )


async def decide(tx: Tx, pools: Pools, fees_: Fees, account_sid: str, sid: str, answer: Answer, at: datetime) -> None:
    """Write down what the registry said of a campaign; an approved one takes its service's numbers in."""
    row = await store.lock(tx, store.CAMPAIGNS, account_sid, sid)
    if row is None:
        return
    if isinstance(answer, Granted):
        changes = {"campaign_id": answer.external_id or row["campaign_id"]}
        moved = await moving.move(tx, "campaign", row, "approve", changes, at)
        if moved is not None:
            await fees_.begin_months(tx, moved, at)
            for number in await pools.numbers(tx, account_sid, moved["service_sid"]):
                await _add_number(tx, moved, number, at)
    elif isinstance(answer, Rejected):
        changes = {"errors": moving.shown(answer.reasons)}
        await moving.move(tx, "campaign", row, "fail", changes, at, answer.reasons)
    elif answer.is_taken_up:
        await moving.move(tx, "campaign", row, "take_up", {}, at)


# ---- the numbers of campaigns


async def number_added(tx: Tx, account_sid: str, service_sid: str, number: str, at: datetime) -> None:
    """Register a US long code that was put into a Messaging Service with a verified campaign."""
    campaign = await store.campaign_of_service(tx, account_sid, service_sid)
    if campaign is not None and campaign["status"] in ("VERIFIED", "SUSPENDED"):
        await _add_number(tx, campaign, number, at)


async def _add_number(tx: Tx, campaign: Row, number: str, at: datetime) -> None:
    account_sid, sid = campaign["account_sid"], campaign["sid"]
    if await store.add_number(tx, account_sid, sid, number, at):
        await moving.ask(tx, "number", account_sid, at, sid=sid, number=number, submitted_at=at.isoformat())


async def numbers_removed(tx: Tx, account_sid: str, numbers: Sequence[str]) -> None:
    """Unregister numbers that left a Messaging Service."""
    await store.drop_numbers(tx, account_sid, numbers)


async def service_deleted(tx: Tx, account_sid: str, service_sid: str) -> None:
    """Give up the campaign of a Messaging Service that is gone."""
    campaign = await store.campaign_of_service(tx, account_sid, service_sid)
    if campaign is not None:
        await store.delete(tx, store.CAMPAIGNS, account_sid, campaign["sid"])


async def number_question(tx: Tx, account_sid: str, payload: Mapping[str, str]) -> NumberSubmission | Rejected | None:
    """Return what to ask about a campaign's number; None where nobody waits for an answer."""
    row = await store.lock_number(tx, account_sid, payload["sid"], payload["number"])
    campaign = await store.fetch(tx, store.CAMPAIGNS, account_sid, payload["sid"])
    if (
        row is None
        or campaign is None
        or row["status"] not in UNDECIDED["number"]
        or row["submitted_at"].isoformat() != payload["submitted_at"]
    ):
        return None
    brand = await brand_of(tx, campaign)
    if brand is not None and brand["brand_type"] == "SOLE_PROPRIETOR":
        others = await store.numbers_of(tx, account_sid, campaign["sid"])
        taken = [each for each in others if each["number"] != row["number"] and each["status"] == "REGISTERED"]
        if len(taken) >= SOLE_PROPRIETOR_NUMBERS_MAX:
            return Rejected((Reason(_NUMBER_FAILED, "A sole proprietor's campaign has one number"),))
    return NumberSubmission(account_sid, row["number"], campaign["campaign_id"], row["submitted_at"])


async def decide_number(tx: Tx, account_sid: str, campaign_sid: str, number: str, answer: Answer, at: datetime) -> None:
    """Write down whether a number may send for its campaign."""
    row = await store.lock_number(tx, account_sid, campaign_sid, number)
    event = "approve" if isinstance(answer, Granted) else "fail" if isinstance(answer, Rejected) else ""
    status = after(NUMBER_MOVES, row["status"], event) if row is not None else None
    if status is None:
        return
    reasons = answer.reasons if isinstance(answer, Rejected) else ()
    code = reasons[0].code if reasons else None
    await store.move_number(tx, account_sid, campaign_sid, number, status, code)
    alerts = [
        monitor.NewAlert(
            account_sid=account_sid, error_code=each.code, text=each.text or None, resource_sid=campaign_sid
        )
        for each in reasons
    ]
    await monitor.record(tx, alerts, at)
