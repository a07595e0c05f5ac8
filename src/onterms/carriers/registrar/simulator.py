"""The simulator's registrar: the campaign registry, reviewers and carriers, who decide by what they read.

Theory of operation. It keeps nothing but the texts to owners of brands: every answer follows from the submission and
from how long ago it was handed in, so asking again gives the same answer, and moving a sandbox's clock moves it on.
Each thing waits, is taken up and is decided after the times below. What decides:

- `REJECT` in a name (a profile's business name or friendly name, a brand's or a toll-free business's name): rejected.
- A tax id whose seven last digits are 0000001 to 0000005: the brand fails with 30795 to 30799.
- The last two digits of the tax id are a vetted brand's score, 00 for 100. A ticker R3K...: in the Russell 3000 index.
- A code of the catalogue in brackets, as in [30896], in a campaign's description or a toll-free summary: rejected so.
- A campaign's samples have a link or a public shortener while it says they have none: 30893, 30892.
- The campaign id of an external campaign that holds UNKNOWN: 30904. A number that ends with 0126: 30126.
- A mock brand is approved at once; a sole proprietor's when its owner answers YES to the text within a day.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from onterms.carriers.registrar import store
from onterms.core.clock import Clock
from onterms.core.db import Database
from onterms.ports.registrar import (
    Answer,
    BrandSubmission,
    BundleSubmission,
    CampaignSubmission,
    Granted,
    NumberSubmission,
    Reason,
    Rejected,
    TollfreeSubmission,
    VettingSubmission,
    Waiting,
)

# When somebody takes a thing up, and when it is decided, after it was handed in. Ours: minutes where the world needs
# days, so that a sandbox shows each status.
TIMES: Final[Mapping[str, tuple[timedelta, timedelta]]] = {
    "bundle": (timedelta(seconds=30), timedelta(minutes=2)),
    "brand": (timedelta(seconds=30), timedelta(minutes=2)),
    "vetting": (timedelta(seconds=30), timedelta(minutes=2)),
    "campaign": (timedelta(minutes=1), timedelta(minutes=5)),
    "number": (timedelta(), timedelta(minutes=1)),
    "tollfree": (timedelta(minutes=1), timedelta(minutes=5)),
}
# How soon an owner's answer is looked for, ever more rarely, and how long (Twilio docs, sole proprietor onboarding: 24
# hours).
_LOOK: Final = timedelta(seconds=30)
_ANSWER_WITHIN: Final = timedelta(hours=24)

_CODE = re.compile(r"\[(3\d{4})\]")
_TAX_ID_FAILURES: Mapping[str, int] = {f"000000{place}": 30794 + place for place in range(1, 6)}
_LINK = re.compile(r"https?://|www\.", re.I)
_SHORTENER = re.compile(r"\b(?:bit\.ly|tinyurl\.com|goo\.gl|t\.co|ow\.ly|is\.gd)/", re.I)
_SAID: Mapping[int, str] = {
    18602: "The business could not be found under this registration number",
    30126: "The number could not be registered",
    30445: "The business could not be verified",
    30752: "The owner did not confirm the brand in time",
    30795: "The tax id does not belong to this business",
    30796: "The business is not listed under this ticker",
    30797: "The business is no part of a government",
    30798: "The business is not exempt from tax under 501(c)(3)",
    30799: "What was said of the business could not be verified",
    30892: "A sample message has a link of a public shortener",
    30893: "A sample message has a link, and the campaign says that its messages have none",
    30904: "The campaign was not shared with this provider",
}


class SimulatedRegistrar:
    """Decides like a registry, on the sandbox's clock."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def review_bundle(self, bundle: BundleSubmission) -> Answer:
        """Judge a profile."""
        waiting = self._waiting("bundle", bundle.submitted_at)
        if waiting is not None:
            return waiting
        names = [bundle.friendly_name, *(str(part.get("business_name", "")) for part in bundle.parts.values())]
        return _rejected(18602, "business_name") if _is_marked(names) else Granted()

    async def register_brand(self, brand: BrandSubmission) -> Answer:
        """Register a brand."""
        identity = "SELF_DECLARED" if brand.brand_type == "SOLE_PROPRIETOR" else "VERIFIED"
        name = str(brand.company.get("business_name") or brand.company.get("brand_name") or "")
        if brand.is_mock:
            return self._brand(brand, identity)
        if brand.brand_type == "SOLE_PROPRIETOR":
            waiting = await self._confirmation(brand, name)
        else:
            waiting = self._waiting("brand", brand.submitted_at)
        if waiting is not None:
            return waiting
        tax_id = _digits(brand.company.get("business_registration_number"))
        code = _TAX_ID_FAILURES.get(tax_id[-7:], 30799 if _is_marked([name]) else 0)
        if code:
            field = "business_name" if code == 30799 else "business_registration_number"
            return _rejected(code, field)
        return self._brand(brand, identity)

    def _brand(self, brand: BrandSubmission, identity: str) -> Granted:
        kind = brand.company.get("company_type")
        return Granted(
            _id("B", brand.sid),
            None,
            identity,
            is_russell_3000=str(brand.company.get("stock_ticker", "")).upper().startswith("R3K"),
            is_government=kind == "government",
            tax_exempt_status="501c3" if kind == "non_profit" else "",
        )

    async def _confirmation(self, brand: BrandSubmission, name: str) -> Answer | None:
        """Text the owner when nobody has yet, and wait for a YES."""
        now = self._clock.now()
        number = str(brand.company.get("mobile_phone_number", ""))
        async with self._database.transaction() as tx:
            texts = await store.of_brand(tx, brand.account_sid, brand.sid, brand.submitted_at)
            if not texts:
                await store.insert(tx, brand.account_sid, brand.sid, number, _text(name), now)
        if any(text["answer"].strip().upper() == "YES" for text in texts):
            return None
        ends_at = brand.submitted_at + _ANSWER_WITHIN
        if now >= ends_at:
            return _rejected(30752, "mobile_phone_number")
        return Waiting(min(now + max(_LOOK, (now - brand.submitted_at) / 10), ends_at), is_taken_up=True)

    async def text_owner(self, account_sid: str, brand_sid: str, mobile_number: str, brand_name: str) -> None:
        """Text the owner of a brand again."""
        async with self._database.transaction() as tx:
            await store.insert(tx, account_sid, brand_sid, mobile_number, _text(brand_name), self._clock.now())

    async def vet_brand(self, vetting: VettingSubmission) -> Answer:
        """Give a brand its score."""
        waiting = self._waiting("vetting", vetting.submitted_at)
        if waiting is not None:
            return waiting
        if vetting.provider != "aegis":
            return Granted(_id("V", vetting.sid))
        digits = _digits(vetting.company.get("business_registration_number"))[-2:]
        return Granted(_id("V", vetting.sid), int(digits or 0) or 100)

    async def register_campaign(self, campaign: CampaignSubmission) -> Answer:
        """Register a campaign."""
        if not campaign.is_mock:
            waiting = self._waiting("campaign", campaign.submitted_at)
            if waiting is not None:
                return waiting
        if campaign.is_external:
            return _rejected(30904) if "UNKNOWN" in campaign.campaign_id.upper() else Granted(campaign.campaign_id)
        details = campaign.details
        found = _CODE.search(str(details["description"]))
        if found:
            return _rejected(int(found[1]), "DESCRIPTION")
        samples = " ".join(details["message_samples"])
        if _SHORTENER.search(samples):
            return _rejected(30892, "MESSAGE_SAMPLES")
        if not details["has_embedded_links"] and _LINK.search(samples):
            return _rejected(30893, "MESSAGE_SAMPLES", "HAS_EMBEDDED_LINKS")
        return Granted(_id("C", campaign.sid))

    async def assign_number(self, number: NumberSubmission) -> Answer:
        """Let a number send for a campaign."""
        waiting = self._waiting("number", number.submitted_at)
        if waiting is not None:
            return waiting
        return _rejected(30126) if number.number.endswith("0126") else Granted()

    async def verify_tollfree(self, verification: TollfreeSubmission) -> Answer:
        """Verify a toll-free number."""
        waiting = self._waiting("tollfree", verification.submitted_at)
        if waiting is not None:
            return waiting
        details = verification.details
        found = _CODE.search(str(details["use_case_summary"]))
        if found:
            return _rejected(int(found[1]))
        return _rejected(30445) if _is_marked([str(details["business_name"])]) else Granted()

    def _waiting(self, kind: str, submitted_at: datetime) -> Waiting | None:
        taken_up, decided = (submitted_at + span for span in TIMES[kind])
        now = self._clock.now()
        if now >= decided:
            return None
        return Waiting(decided, is_taken_up=True) if now >= taken_up else Waiting(taken_up)


def _is_marked(names: list[str]) -> bool:
    return any("REJECT" in name.upper() for name in names)


def _rejected(code: int, *fields: str) -> Rejected:
    return Rejected((Reason(code, _SAID.get(code, ""), fields),))


def _digits(value: Any) -> str:
    return re.sub(r"\D", "", str(value or ""))


def _id(prefix: str, sid: str) -> str:
    # The registry's names are a letter and six more characters.
    return prefix + sha256(sid.encode()).hexdigest()[:6].upper()


def _text(name: str) -> str:
    return f"{name or 'Your brand'} is being registered to send messages with this number as its owner's. Reply YES."
