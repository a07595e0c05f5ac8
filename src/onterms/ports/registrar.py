"""The port to whoever registers senders: reviewers of business profiles, the campaign registry, toll-free verification.

Theory of operation. A registration is asked for again and again until it is decided: each question carries the whole
submission and when it was handed in, so an adapter needs no memory of its own and a repeat changes nothing. An answer
is a value: still waiting, granted, or rejected with reasons. A registry that reports by webhooks may let its adapter
wait for ever (`Waiting(again_at=None)`) and tell the room by the operator's route instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is decided yet.

    Shapes: `again_at` is when to ask next, None for never: then somebody tells the room. `is_taken_up`: somebody looks
    at it already.
    """

    again_at: datetime | None
    is_taken_up: bool = False


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was rejected: a code of the catalogue of errors, and the fields that it is about."""

    code: int
    text: str = ""
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """It was rejected. Shapes: `is_final`: it cannot be mended and handed in again."""

    reasons: tuple[Reason, ...]
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """It was accepted.

    Shapes: `external_id` is the registry's own name for it. Brands: `score` 0 to 100 or None, with
    `identity_status` and what the registry found out. Others leave those alone.
    """

    external_id: str = ""
    score: int | None = None
    identity_status: str = ""
    is_russell_3000: bool = False
    is_government: bool = False
    tax_exempt_status: str = ""


Answer = Waiting | Granted | Rejected


@dataclass(frozen=True, slots=True)
class BundleSubmission:
    """A business profile, or a profile of a product, with the attributes of its parts by their types."""

    account_sid: str
    sid: str
    policy: str
    friendly_name: str
    email: str
    parts: Mapping[str, Mapping[str, Any]]
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class BrandSubmission:
    """A brand: who sends. Shapes: `company` has the attributes of both its profiles."""

    account_sid: str
    sid: str
    brand_type: str
    company: Mapping[str, Any]
    is_mock: bool
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class VettingSubmission:
    """A closer look at a brand, which gives it its score; or a token of a political body that looked."""

    account_sid: str
    sid: str
    brand_sid: str
    brand_id: str
    provider: str
    token: str
    company: Mapping[str, Any]
    is_mock: bool
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class CampaignSubmission:
    """A campaign: what a brand sends, and how people agreed to it. An external one is known to the registry already."""

    account_sid: str
    sid: str
    brand_id: str
    campaign_id: str
    usecase: str
    is_external: bool
    is_mock: bool
    submitted_at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NumberSubmission:
    """A number that shall send for a campaign."""

    account_sid: str
    number: str
    campaign_id: str
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class TollfreeSubmission:
    """A toll-free number's verification."""

    account_sid: str
    sid: str
    number: str
    details: Mapping[str, Any]
    submitted_at: datetime


class Registrar(Protocol):
    """Register senders. No method raises for what the other side says; trouble on the way is `Waiting`."""

    async def review_bundle(self, bundle: BundleSubmission) -> Answer:
        """Judge a profile whose parts are complete."""
        ...

    async def register_brand(self, brand: BrandSubmission) -> Answer:
        """Register a brand."""
        ...

    async def vet_brand(self, vetting: VettingSubmission) -> Answer:
        """Look closer at a brand."""
        ...

    async def register_campaign(self, campaign: CampaignSubmission) -> Answer:
        """Register a campaign, or find one that was registered elsewhere."""
        ...

    async def assign_number(self, number: NumberSubmission) -> Answer:
        """Let a number send for a campaign."""
        ...

    async def verify_tollfree(self, verification: TollfreeSubmission) -> Answer:
        """Verify a toll-free number."""
        ...

    async def text_owner(self, account_sid: str, brand_sid: str, mobile_number: str, brand_name: str) -> None:
        """Text the owner of a sole proprietor's brand, who confirms it by answering."""
        ...


class Networks(Protocol):
    """Which mobile network a number belongs to, where somebody knows."""

    def networks_of(self, numbers: Sequence[str]) -> Mapping[str, str]:
        """Return the network of each number by its short name, such as tmobile; unknown ones are absent."""
        ...
