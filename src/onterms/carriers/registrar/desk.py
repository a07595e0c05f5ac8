"""The operator's desk: whoever runs the house registers senders by hand and enters what became of it."""

from onterms.ports.registrar import (
    Answer,
    BrandSubmission,
    BundleSubmission,
    CampaignSubmission,
    Granted,
    NumberSubmission,
    TollfreeSubmission,
    VettingSubmission,
    Waiting,
)

_NEVER = Waiting(None)


class Desk:
    """A registrar that waits until somebody decides by the operator's route."""

    async def review_bundle(self, bundle: BundleSubmission) -> Answer:
        """Wait."""
        return _NEVER

    async def register_brand(self, brand: BrandSubmission) -> Answer:
        """Wait."""
        return _NEVER

    async def vet_brand(self, vetting: VettingSubmission) -> Answer:
        """Wait."""
        return _NEVER

    async def register_campaign(self, campaign: CampaignSubmission) -> Answer:
        """Wait."""
        return _NEVER

    async def assign_number(self, number: NumberSubmission) -> Answer:
        """Take the number in: who registers campaigns by hand hands their numbers to the carriers, too."""
        return Granted()

    async def verify_tollfree(self, verification: TollfreeSubmission) -> Answer:
        """Wait."""
        return _NEVER

    async def text_owner(self, account_sid: str, brand_sid: str, mobile_number: str, brand_name: str) -> None:
        """Leave it to the registry, which texts owners by itself."""
