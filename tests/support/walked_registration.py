"""Exemplars of the operations on registered senders."""

from collections.abc import Mapping
from typing import Any

from walked import Exemplar, Made, Maker, SidMaker, Tenant, World, by_sid, listed, number, service, with_params

# ---- registered senders

PRIMARY_POLICY, A2P_POLICY = "RN6433641899984f951173ef1738c3bdd0", "RNb0d4771c2c98518d916a3d4cd70a8f8b"
BUNDLES = {"CustomerProfile": PRIMARY_POLICY, "TrustProduct": A2P_POLICY}
MESSAGING_PROFILE = {"Type": "us_a2p_messaging_profile_information", "Attributes": '{"company_type": "private"}'}
DOCUMENT = {"Type": "customer_profile_address", "Attributes": '{"address_sids": "AD00000000000000000000000000000001"}'}
CAMPAIGN = {
    "Description": "Reminders of appointments to customers who asked for them when they booked.",
    "MessageFlow": "Customers tick a box below the form in which they book an appointment at our desk.",
    "MessageSamples": ["Your appointment is tomorrow at 9.", "Your appointment was moved to 10."],
    "HasEmbeddedLinks": "false",
    "HasEmbeddedPhone": "false",
}
VERIFICATION = {
    "BusinessName": "Exemplar",
    "BusinessWebsite": "https://example.com",
    "NotificationEmail": "owner@example.com",
    "UseCaseCategories": ["CUSTOMER_CARE"],
    "UseCaseSummary": "Reminders of appointments",
    "ProductionMessageSample": "Your appointment is tomorrow at 9.",
    "OptInImageUrls": ["https://example.com/opt-in.png"],
    "OptInType": "WEB_FORM",
    "MessageVolume": "1,000",
}


def bundle(noun: str) -> SidMaker:
    async def make(world: World, tenant: Tenant) -> str:
        given = {"FriendlyName": "Exemplar", "Email": "owner@example.com", "PolicySid": BUNDLES[noun]}
        return str((await world.row(tenant, f"trusthub_v1:Create{noun}", **given))["sid"])

    return make


async def end_user(world: World, tenant: Tenant) -> str:
    row = await world.row(tenant, "trusthub_v1:CreateEndUser", FriendlyName="Exemplar", **MESSAGING_PROFILE)
    return str(row["sid"])


async def end_user_of_profile(world: World, tenant: Tenant) -> str:
    given = {"FriendlyName": "Exemplar", "Type": "authorized_representative_1", "Attributes": "{}"}
    return str((await world.row(tenant, "trusthub_v1:CreateEndUser", **given))["sid"])


async def document(world: World, tenant: Tenant) -> str:
    row = await world.row(tenant, "trusthub_v1:CreateSupportingDocument", FriendlyName="Exemplar", **DOCUMENT)
    return str(row["sid"])


_PART_OF: Mapping[str, SidMaker] = {"CustomerProfile": end_user_of_profile, "TrustProduct": end_user}


def for_bundle(
    noun: str, make: SidMaker | None = None, name: str = "", *, approved: bool = False, **params: Any
) -> Maker:
    """A bundle, and for a parameter of that name what is not assigned to it yet."""

    async def made(world: World, tenant: Tenant) -> Made:
        sid = await bundle(noun)(world, tenant)
        if approved:
            await _approve(world, tenant, sid)
        given = {name: await make(world, tenant)} if make else {}
        return Made({f"{noun}Sid": sid}, {**given, **params})

    return made


async def _approve(world: World, tenant: Tenant, sid: str) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE trust_bundles SET status = 'twilio-approved' WHERE account_sid = $1 AND sid = $2", tenant.sid, sid
        )


def assigned(noun: str) -> Maker:
    """One of two things that a bundle is made of."""

    async def made(world: World, tenant: Tenant) -> Made:
        made = await for_bundle(noun)(world, tenant)
        # A trust product of this policy holds an end user and a profile, a profile an end user and a document.
        profile = bundle("CustomerProfile") if noun == "TrustProduct" else document
        for make in (profile, _PART_OF[noun]):
            sid = await make(world, tenant)
            row = await world.row(tenant, f"trusthub_v1:Create{noun}EntityAssignment", path=made.path, ObjectSid=sid)
        return Made({**made.path, "Sid": row["sid"]})

    return made


def reached(noun: str) -> Maker:
    """One of two numbers of a bundle."""

    async def made(world: World, tenant: Tenant) -> Made:
        made = await for_bundle(noun, approved=True)(world, tenant)
        for _ in range(2):
            given = {"ChannelEndpointType": "phone-number", "ChannelEndpointSid": await number()(world, tenant)}
            operation = f"trusthub_v1:Create{noun}ChannelEndpointAssignment"
            row = await world.row(tenant, operation, path=made.path, **given)
        return Made({**made.path, "Sid": row["sid"]})

    return made


def evaluated(noun: str) -> Maker:
    """One of two evaluations of a bundle."""

    async def made(world: World, tenant: Tenant) -> Made:
        made = await for_bundle(noun)(world, tenant)
        for _ in range(2):
            operation = f"trusthub_v1:Create{noun}Evaluation"
            row = await world.row(tenant, operation, path=made.path, PolicySid=BUNDLES[noun])
        return Made({**made.path, "Sid": row["sid"]})

    return made


def type_of(noun: str, key: str) -> SidMaker:
    async def make(world: World, tenant: Tenant) -> str:
        return str((await world.row(tenant, f"trusthub_v1:List{noun}"))[key][0]["sid"])

    return make


async def new_brand(world: World, tenant: Tenant) -> Made:
    sids = [await bundle(noun)(world, tenant) for noun in BUNDLES]
    return Made(params={"CustomerProfileBundleSid": sids[0], "A2PProfileBundleSid": sids[1], "Mock": "true"})


def brand(status: str = "APPROVED", brand_type: str = "STANDARD") -> SidMaker:
    async def make(world: World, tenant: Tenant) -> str:
        made = await new_brand(world, tenant)
        row = await world.row(tenant, "messaging_v1:CreateBrandRegistrations", **made.params)
        async with world.database.transaction() as tx:
            await tx.execute(
                "UPDATE registration_brands SET status = $3, brand_type = $4 WHERE account_sid = $1 AND sid = $2",
                tenant.sid,
                row["sid"],
                status,
                brand_type,
            )
        return str(row["sid"])

    return make


async def vetting(world: World, tenant: Tenant) -> Made:
    path = {"BrandSid": await brand()(world, tenant)}
    row = await world.row(tenant, "messaging_v1:CreateBrandVetting", path=path, VettingProvider="aegis")
    return Made({**path, "BrandVettingSid": row["brand_vetting_sid"]})


async def new_campaign(world: World, tenant: Tenant) -> Made:
    sids = [await service(world, tenant), await brand()(world, tenant)]
    given = {**CAMPAIGN, "BrandRegistrationSid": sids[1], "UsAppToPersonUsecase": "CUSTOMER_CARE"}
    return Made({"MessagingServiceSid": sids[0]}, given)


async def campaign(world: World, tenant: Tenant) -> Made:
    made = await new_campaign(world, tenant)
    row = await world.row(tenant, "messaging_v1:CreateUsAppToPerson", path=made.path, **made.params)
    return Made({**made.path, "Sid": row["sid"]})


async def failed_campaign(world: World, tenant: Tenant) -> Made:
    made = await campaign(world, tenant)
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE registration_campaigns SET status = 'FAILED' WHERE account_sid = $1 AND sid = $2",
            tenant.sid,
            made.path["Sid"],
        )
    return Made(made.path, {**CAMPAIGN, "AgeGated": "false", "DirectLending": "false"})


async def usecases(world: World, tenant: Tenant) -> Made:
    path = {"MessagingServiceSid": await service(world, tenant)}
    return Made(path, {"BrandRegistrationSid": await brand()(world, tenant)})


async def external_campaign(world: World, tenant: Tenant) -> Made:
    return Made(params={"CampaignId": "CABC123", "MessagingServiceSid": await service(world, tenant)})


async def new_verification(world: World, tenant: Tenant) -> Made:
    sid = await number("TollFree")(world, tenant)
    return Made(params={**VERIFICATION, "TollfreePhoneNumberSid": sid})


async def verification(world: World, tenant: Tenant) -> str:
    made = await new_verification(world, tenant)
    return str((await world.row(tenant, "messaging_v1:CreateTollfreeVerification", **made.params))["sid"])


async def rejected_verification(world: World, tenant: Tenant) -> str:
    sid = await verification(world, tenant)
    async with world.database.transaction() as tx:
        await tx.execute(
            """UPDATE registration_tollfree SET status = 'TWILIO_REJECTED', edit_allowed = true
               WHERE account_sid = $1 AND sid = $2""",
            tenant.sid,
            sid,
        )
    return sid


def _of_bundles(noun: str) -> dict[str, Exemplar]:
    spec, owner = "trusthub_v1", f"{noun}Sid"
    given = {"FriendlyName": "Exemplar", "Email": "owner@example.com", "PolicySid": BUNDLES[noun]}
    endpoint = for_bundle(noun, number(), "ChannelEndpointSid", approved=True, ChannelEndpointType="phone-number")
    return {
        f"{spec}:Create{noun}": Exemplar(with_params(**given)),
        f"{spec}:Fetch{noun}": Exemplar(by_sid(bundle(noun))),
        f"{spec}:Update{noun}": Exemplar(by_sid(bundle(noun), FriendlyName="Renamed")),
        f"{spec}:Delete{noun}": Exemplar(by_sid(bundle(noun))),
        f"{spec}:List{noun}": Exemplar(listed(bundle(noun))),
        f"{spec}:Create{noun}EntityAssignment": Exemplar(
            for_bundle(noun, _PART_OF[noun], "ObjectSid"), {"ObjectSid": _PART_OF[noun]}
        ),
        f"{spec}:Fetch{noun}EntityAssignment": Exemplar(assigned(noun)),
        f"{spec}:Delete{noun}EntityAssignment": Exemplar(assigned(noun)),
        f"{spec}:List{noun}EntityAssignment": Exemplar(listed(assigned(noun), owner)),
        f"{spec}:Create{noun}ChannelEndpointAssignment": Exemplar(endpoint, {"ChannelEndpointSid": number()}),
        f"{spec}:Fetch{noun}ChannelEndpointAssignment": Exemplar(reached(noun)),
        f"{spec}:Delete{noun}ChannelEndpointAssignment": Exemplar(reached(noun)),
        f"{spec}:List{noun}ChannelEndpointAssignment": Exemplar(
            listed(reached(noun), owner), {"ChannelEndpointSid": number()}
        ),
        f"{spec}:Create{noun}Evaluation": Exemplar(for_bundle(noun, PolicySid=BUNDLES[noun])),
        f"{spec}:Fetch{noun}Evaluation": Exemplar(evaluated(noun)),
        f"{spec}:List{noun}Evaluation": Exemplar(listed(evaluated(noun), owner)),
    }


REGISTRATION: Mapping[str, Exemplar] = {
    **_of_bundles("CustomerProfile"),
    **_of_bundles("TrustProduct"),
    "trusthub_v1:CreateEndUser": Exemplar(with_params(FriendlyName="Exemplar", **MESSAGING_PROFILE)),
    "trusthub_v1:FetchEndUser": Exemplar(by_sid(end_user)),
    "trusthub_v1:UpdateEndUser": Exemplar(by_sid(end_user, FriendlyName="Renamed")),
    "trusthub_v1:DeleteEndUser": Exemplar(by_sid(end_user)),
    "trusthub_v1:ListEndUser": Exemplar(listed(end_user)),
    "trusthub_v1:CreateSupportingDocument": Exemplar(with_params(FriendlyName="Exemplar", **DOCUMENT)),
    "trusthub_v1:FetchSupportingDocument": Exemplar(by_sid(document)),
    "trusthub_v1:UpdateSupportingDocument": Exemplar(by_sid(document, FriendlyName="Renamed")),
    "trusthub_v1:DeleteSupportingDocument": Exemplar(by_sid(document)),
    "trusthub_v1:ListSupportingDocument": Exemplar(listed(document)),
    "trusthub_v1:ListEndUserType": Exemplar(with_params()),
    "trusthub_v1:FetchEndUserType": Exemplar(by_sid(type_of("EndUserType", "end_user_types"))),
    "trusthub_v1:ListSupportingDocumentType": Exemplar(with_params(), pages=False),
    "trusthub_v1:FetchSupportingDocumentType": Exemplar(
        by_sid(type_of("SupportingDocumentType", "supporting_document_types"))
    ),
    "trusthub_v1:ListPolicies": Exemplar(with_params()),
    "trusthub_v1:FetchPolicies": Exemplar(by_sid(type_of("Policies", "results"))),
    "messaging_v1:CreateBrandRegistrations": Exemplar(
        new_brand,
        {"CustomerProfileBundleSid": bundle("CustomerProfile"), "A2PProfileBundleSid": bundle("TrustProduct")},
    ),
    "messaging_v1:FetchBrandRegistrations": Exemplar(by_sid(brand())),
    "messaging_v1:ListBrandRegistrations": Exemplar(listed(brand())),
    "messaging_v1:UpdateBrandRegistrations": Exemplar(by_sid(brand("FAILED"))),
    "messaging_v1:CreateBrandRegistrationOtp": Exemplar(
        by_sid(brand("PENDING", "SOLE_PROPRIETOR"), "BrandRegistrationSid")
    ),
    "messaging_v1:CreateBrandVetting": Exemplar(by_sid(brand(), "BrandSid", VettingProvider="aegis")),
    "messaging_v1:FetchBrandVetting": Exemplar(vetting),
    "messaging_v1:ListBrandVetting": Exemplar(listed(vetting, "BrandSid"), pages=False),
    "messaging_v1:CreateUsAppToPerson": Exemplar(new_campaign, {"BrandRegistrationSid": brand()}),
    "messaging_v1:FetchUsAppToPerson": Exemplar(campaign),
    "messaging_v1:ListUsAppToPerson": Exemplar(listed(campaign, "MessagingServiceSid"), pages=False),
    "messaging_v1:UpdateUsAppToPerson": Exemplar(failed_campaign),
    "messaging_v1:DeleteUsAppToPerson": Exemplar(campaign),
    "messaging_v1:FetchUsAppToPersonUsecase": Exemplar(usecases, {"BrandRegistrationSid": brand()}),
    "messaging_v1:CreateExternalCampaign": Exemplar(external_campaign, {"MessagingServiceSid": service}),
    "messaging_v1:CreateTollfreeVerification": Exemplar(
        new_verification,
        {"TollfreePhoneNumberSid": number("TollFree"), "CustomerProfileSid": bundle("CustomerProfile")},
    ),
    "messaging_v1:FetchTollfreeVerification": Exemplar(by_sid(verification)),
    "messaging_v1:ListTollfreeVerification": Exemplar(
        listed(verification),
        {"TollfreePhoneNumberSid": number("TollFree"), "TrustProductSid": bundle("TrustProduct")},
    ),
    "messaging_v1:UpdateTollfreeVerification": Exemplar(by_sid(rejected_verification, BusinessName="Renamed")),
    "messaging_v1:DeleteTollfreeVerification": Exemplar(by_sid(verification)),
}
