"""Which operations of the contract this room serves, and the operator's own routes."""

from collections.abc import Mapping
from typing import Any

from onterms.core.db import Tx
from onterms.core.errors import NotFound, NotServed
from onterms.engines.api import Binding, Call, Page, serve
from onterms.engines.api.own import OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, whole
from onterms.ports.registrar import Registrar
from onterms.products import trust
from onterms.products.registration import wire
from onterms.products.registration.model import usecases
from onterms.products.registration.service import brands, campaigns, deciding, tollfree
from onterms.products.registration.service.campaigns import Pools
from onterms.products.registration.service.fees import Fees

_BASE = "/operator/v1/SenderRegistrations"
_LISTED_MAX = 200
_TOLLFREE = tuple(tollfree.DETAILS.values())


class Api:
    """The room's operations."""

    def __init__(self, pools: Pools, fees: Fees, around: trust.Surroundings, registrar: Registrar) -> None:
        self._pools = pools
        self._fees = fees
        self._around = around
        self._registrar = registrar

    def bindings(self) -> list[Binding]:
        """Return each operation bound to its use case."""
        spec = "messaging_v1"
        missing = {
            name: (21727, f"{name} is required")
            for name in ("Description", "MessageFlow", "MessageSamples", "HasEmbeddedLinks", "HasEmbeddedPhone")
        }
        return [
            serve(f"{spec}:CreateBrandRegistrations", self.create_brand),
            serve(f"{spec}:FetchBrandRegistrations", self.fetch_brand),
            serve(f"{spec}:ListBrandRegistrations", self.list_brands),
            serve(f"{spec}:UpdateBrandRegistrations", self.resubmit_brand),
            serve(f"{spec}:CreateBrandRegistrationOtp", self.text_owner),
            serve(f"{spec}:CreateBrandVetting", self.vet),
            serve(f"{spec}:FetchBrandVetting", self.fetch_vetting),
            serve(f"{spec}:ListBrandVetting", self.list_vettings),
            serve(
                f"{spec}:CreateUsAppToPerson",
                self.create_campaign,
                refusals={
                    **missing,
                    "BrandRegistrationSid": (21717, "BrandRegistrationSid is required"),
                    "UsAppToPersonUsecase": (21720, "UsAppToPersonUsecase is required"),
                },
            ),
            serve(f"{spec}:FetchUsAppToPerson", self.fetch_campaign),
            serve(f"{spec}:ListUsAppToPerson", self.list_campaigns),
            serve(f"{spec}:UpdateUsAppToPerson", self.edit_campaign, refusals=missing),
            serve(f"{spec}:DeleteUsAppToPerson", self.delete_campaign),
            serve(f"{spec}:FetchUsAppToPersonUsecase", self.usecases),
            serve(f"{spec}:CreateExternalCampaign", self.register_external),
            serve(f"{spec}:CreateTollfreeVerification", self.create_tollfree),
            serve(f"{spec}:FetchTollfreeVerification", self.fetch_tollfree),
            serve(f"{spec}:ListTollfreeVerification", self.list_tollfree),
            serve(f"{spec}:UpdateTollfreeVerification", self.edit_tollfree),
            serve(f"{spec}:DeleteTollfreeVerification", self.delete_tollfree),
        ]

    # ---- brands

    async def create_brand(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Hand a brand in."""
        return wire.brand(await brands.create(tx, self._fees, call.account.sid, call.params, call.at))

    async def fetch_brand(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Fetch a brand."""
        return wire.brand(await brands.fetch(tx, call.account.sid, call.path["Sid"]))

    async def list_brands(self, tx: Tx, call: Call) -> Page:
        """List an account's brands."""
        rows = await brands.page(tx, call.account.sid, call.paging)
        return Page.of(call.paging, rows, key="sid", render=wire.brand)

    async def resubmit_brand(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Hand a failed brand in again."""
        return wire.brand(await brands.resubmit(tx, call.account.sid, call.path["Sid"], call.at))

    async def text_owner(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Text a sole proprietor again."""
        sid = call.path["BrandRegistrationSid"]
        await brands.resend(tx, self._registrar, call.account.sid, sid)
        return {"account_sid": call.account.sid, "brand_registration_sid": sid}

    async def vet(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Have a brand vetted."""
        given = (call.account.sid, call.path["BrandSid"], call.params["VettingProvider"])
        token = call.params.get("VettingId") or ""
        return wire.vetting(await brands.vet(tx, self._fees, *given, token, call.at))

    async def fetch_vetting(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Fetch a vetting."""
        given = (call.account.sid, call.path["BrandSid"], call.path["BrandVettingSid"])
        return wire.vetting(await brands.fetch_vetting(tx, *given))

    async def list_vettings(self, tx: Tx, call: Call) -> Page:
        """List a brand's vettings."""
        provider = call.params.get("VettingProvider")
        rows = await brands.vettings(tx, call.account.sid, call.path["BrandSid"], provider)
        return Page.slice(call.paging, [wire.vetting(row) for row in rows], key="brand_vetting_sid")

    # ---- campaigns

    async def create_campaign(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Hand a campaign in."""
        given = (call.account.sid, call.path["MessagingServiceSid"], call.params, call.at)
        row = await campaigns.create(tx, self._pools, self._fees, *given)
        return wire.campaign(row, await campaigns.brand_of(tx, row))

    async def fetch_campaign(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Fetch a campaign."""
        path = call.path
        return wire.campaign(*await campaigns.fetch(tx, call.account.sid, path["MessagingServiceSid"], path["Sid"]))

    async def list_campaigns(self, tx: Tx, call: Call) -> Page:
        """List the campaigns of a Messaging Service: one, or none."""
        given = (call.account.sid, call.path["MessagingServiceSid"], call.paging)
        rows = await campaigns.page(tx, self._pools, *given)
        shown = {row["sid"]: wire.campaign(row, await campaigns.brand_of(tx, row)) for row in rows}
        return Page.of(call.paging, rows, key="sid", render=lambda row: shown[row["sid"]])

    async def edit_campaign(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Mend a failed campaign."""
        given = (call.account.sid, call.path["MessagingServiceSid"], call.path["Sid"], call.params, call.at)
        return wire.campaign(*await campaigns.edit(tx, *given))

    async def delete_campaign(self, tx: Tx, call: Call) -> None:
        """Give a campaign up."""
        await campaigns.delete(tx, call.account.sid, call.path["MessagingServiceSid"], call.path["Sid"])

    async def usecases(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Show what a brand may register."""
        await campaigns.require_service(tx, self._pools, call.account.sid, call.path["MessagingServiceSid"])
        brand_sid = call.params.get("BrandRegistrationSid")
        brand_type = (await brands.fetch(tx, call.account.sid, brand_sid))["brand_type"] if brand_sid else None
        return {"us_app_to_person_usecases": [wire.usecase(each) for each in usecases.usecases_of(brand_type)]}

    async def register_external(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Send for a campaign that was registered elsewhere."""
        return wire.external(await campaigns.register_external(tx, self._pools, call.account.sid, call.params, call.at))

    # ---- toll-free

    async def create_tollfree(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Hand a verification in."""
        return wire.tollfree(await tollfree.create(tx, call.account.sid, call.params, call.at), _TOLLFREE)

    async def fetch_tollfree(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Fetch a verification."""
        return wire.tollfree(await tollfree.fetch(tx, call.account.sid, call.path["Sid"]), _TOLLFREE)

    async def list_tollfree(self, tx: Tx, call: Call) -> Page:
        """List an account's verifications."""
        if call.params.get("IncludeSubAccounts"):
            raise NotServed("IncludeSubAccounts is not served by this installation")
        if call.params.get("TrustProductSid"):
            # No verification here stands on a trust product.
            if await trust.profile(tx, call.account.sid, call.params["TrustProductSid"]) is None:
                raise NotFound(f"The trust product {call.params['TrustProductSid']} was not found")
            return Page([])
        rows = await tollfree.page(tx, call.account.sid, wire.tollfree_filters(call.params), call.paging)
        return Page.of(call.paging, rows, key="sid", render=lambda row: wire.tollfree(row, _TOLLFREE))

    async def edit_tollfree(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Mend a rejected verification."""
        given = (call.account.sid, call.path["Sid"], call.params, call.at)
        return wire.tollfree(await tollfree.edit(tx, *given), _TOLLFREE)

    async def delete_tollfree(self, tx: Tx, call: Call) -> None:
        """Give a verification up."""
        await tollfree.delete(tx, call.account.sid, call.path["Sid"])

    # ---- the operator

    def routes(self) -> list[OwnRoute]:
        """Return the operator's routes."""
        return [
            OwnRoute("GET", _BASE, "operator", self.list_waiting, summary="What waits to be registered"),
            OwnRoute("POST", f"{_BASE}/{{sid}}", "operator", self.decide, summary="Decide about a registration"),
        ]

    async def list_waiting(self, tx: Tx, request: OwnRequest) -> Items[wire.Waiting]:
        """List what waits for a decision."""
        found = await deciding.waiting(tx, _LISTED_MAX)
        return whole([wire.Waiting.of(row, kind=kind, name=name) for kind, row, name in found])

    async def decide(self, tx: Tx, request: OwnRequest, sid: str, body: wire.Decision) -> wire.Decided:
        """Decide about a registration."""
        word = deciding.Word(body.event, body.reason, body.codes, body.external_id, body.score)
        status = await deciding.decide(tx, self._pools, self._fees, self._around, sid, word, request.at)
        return wire.Decided(sid, status)
