"""One exemplar of every served operation: what it needs to exist, and parameters with which it succeeds.

A room that serves a new operation adds it to `EXEMPLARS`; the tenant walk and the schema test fail until it is there.
"""

import base64
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest
import pytest_asyncio
from chains import Authority

from onterms.app.media_links import SignedMediaLinks
from onterms.app.office import Office
from onterms.app.rooms import bindings_of
from onterms.business import accounts, pricing
from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.ids import new_random_sid, new_sid
from onterms.core.vault import Vault
from onterms.engines.api import Engine, Operation, Request, Response, load
from onterms.products import monitor, numbers
from onterms.products.messaging import store as messages

# It stands still, for what a row says of now (a usage record's as_of) must not differ between two pages.
NOW = datetime(2030, 1, 15, 12, tzinfo=UTC)
HANDSET = "+19075550123"
# The smallest GIF there is.
PICTURE = base64.b64decode("R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==")


@dataclass(frozen=True)
class Tenant:
    """A customer with its token."""

    sid: str
    token: str

    @property
    def authorization(self) -> bytes:
        return b"Basic " + base64.b64encode(f"{self.sid}:{self.token}".encode())


@dataclass(frozen=True)
class Made:
    """What an operation is called with: the path without AccountSid, and parameters."""

    path: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A response with its body decoded."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text) if self.text else None


class World:
    """The contract's engine with every room, over one database with a stock of numbers."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = VirtualClock(held_at=NOW)
        self.vault = Vault(bytes(range(32)))
        authenticator = accounts.Authenticator(
            database.snapshot, self.vault, accounts.CredentialCache(self.clock), self.clock
        )
        links = SignedMediaLinks(self.vault, self.clock, "http://127.0.0.1:8080")
        self.engine = Engine(load(), database, self.clock, authenticator)
        self.office = Office(database, self.clock, self.vault)
        self.engine.bind(bindings_of(self.vault, authenticator, numbers.senders, links, self.office))
        self._names = itertools.count(1)

    async def tenant(self) -> Tenant:
        async with self.database.transaction() as tx:
            made = await accounts.create_customer(tx, self.vault, f"Tenant {next(self._names)}", self.clock.now())
            await self.office.open(tx, made.account_sid, self.clock.now())
        return Tenant(made.account_sid, made.auth_token)

    async def subaccount(self, parent: Tenant) -> Tenant:
        row = await self.row(parent, "api_v2010:CreateAccount")
        return Tenant(row["sid"], row["auth_token"])

    async def call(
        self,
        tenant: Tenant,
        operation_id: str,
        path: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Call an operation as a tenant; the path's AccountSid is its own unless it is given."""
        operation = self.engine.operations[operation_id]
        filled = operation.path.format_map({"AccountSid": tenant.sid, **(path or {})})
        return await self.get(tenant, operation, filled, params or {})

    async def get(self, tenant: Tenant, operation: Operation, path: str, params: Mapping[str, Any]) -> Answer:
        given = dict(params)
        query = {name: given.pop(name) for name in list(given) if name in operation.query}
        body, content_type = b"", b""
        if operation.body_type == "form":
            body, content_type = urlencode(given, doseq=True).encode(), b"application/x-www-form-urlencoded"
        elif operation.body_type == "json":
            body, content_type = json.dumps(given).encode(), b"application/json"
        else:
            assert not given, f"{operation.id} has no parameters {sorted(given)}"
        bare, _, own_query = path.partition("?")
        response: Response = await self.engine.handle(
            Request(
                operation.method,
                operation.host,
                bare,
                own_query.encode() or urlencode(query, doseq=True).encode(),
                {b"authorization": tenant.authorization, b"content-type": content_type},
                body,
            )
        )
        headers = {name.decode(): value.decode() for name, value in response.headers}
        return Answer(response.status, headers, response.body.decode())

    async def row(self, tenant: Tenant, operation_id: str, /, *, path: Any = None, **params: Any) -> Any:
        """Call an operation that must succeed and return its body."""
        answer = await self.call(tenant, operation_id, path, params)
        assert answer.status < 300, f"{operation_id}: {answer.text}"
        return answer.body


Maker = Callable[[World, Tenant], Awaitable[Made]]
SidMaker = Callable[[World, Tenant], Awaitable[str]]


@dataclass(frozen=True)
class Exemplar:
    """How to call one operation so that it succeeds.

    `references` makes, for parameters that name a resource of the caller's, one that belongs to a given tenant; other
    parameters that name one name what no tenant has here.
    """

    make: Maker
    references: Mapping[str, SidMaker] = field(default_factory=dict)
    # A list that has no rows here, or shows no second page.
    rows: bool = True
    pages: bool = True


# ---- what there can be of a tenant's


async def application(world: World, tenant: Tenant) -> str:
    row = await world.row(tenant, "api_v2010:CreateApplication", FriendlyName="Exemplar")
    return str(row["sid"])


async def free_number(world: World, tenant: Tenant, kind: str = "Local", country: str = "US") -> str:
    operation_id, path = f"api_v2010:ListAvailablePhoneNumber{kind}", {"CountryCode": country}
    body = await world.row(tenant, operation_id, path=path, PageSize=1)
    return str(body["available_phone_numbers"][0]["phone_number"])


def number(kind: str = "Local", country: str = "US") -> SidMaker:
    async def make(world: World, tenant: Tenant) -> str:
        free = await free_number(world, tenant, kind, country)
        return str((await world.row(tenant, "api_v2010:CreateIncomingPhoneNumber", PhoneNumber=free))["sid"])

    return make


async def message(world: World, tenant: Tenant) -> str:
    sender = await free_number(world, tenant)
    await world.row(tenant, "api_v2010:CreateIncomingPhoneNumber", PhoneNumber=sender)
    row = await world.row(tenant, "api_v2010:CreateMessage", To=HANDSET, From=sender, Body="exemplar")
    return str(row["sid"])


async def ended_message(world: World, tenant: Tenant) -> str:
    """A message that may be deleted and redacted."""
    sid = await message(world, tenant)
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE messages SET status = 'delivered' WHERE account_sid = $1 AND sid = $2", tenant.sid, sid
        )
    return sid


async def media(world: World, tenant: Tenant) -> Made:
    message_sid = await ended_message(world, tenant)
    at = world.clock.now()
    sids = [new_sid("ME", at), new_sid("ME", at)]
    async with world.database.transaction() as tx:
        files = [(sid, "image/gif", PICTURE) for sid in sids]
        await messages.insert_media(tx, tenant.sid, message_sid, files, at)
    return Made({"MessageSid": message_sid, "Sid": sids[0]})


async def key(world: World, tenant: Tenant) -> str:
    return str((await world.row(tenant, "api_v2010:CreateNewKey", FriendlyName="Exemplar"))["sid"])


async def alert(world: World, tenant: Tenant, resource_sid: str | None = None) -> str:
    about = monitor.NewAlert(
        tenant.sid,
        11200,
        resource_sid=resource_sid,
        request_method="POST",
        request_url="https://example.com/sms",
        request_variables="Body=hello",
        response_body="exemplar",
    )
    async with world.database.transaction() as tx:
        return (await monitor.record(tx, [about], world.clock.now()))[0]


async def call_alert(world: World, tenant: Tenant) -> Made:
    call_sid = new_random_sid("CA")
    sid = await alert(world, tenant, call_sid)
    await alert(world, tenant, call_sid)
    return Made({"CallSid": call_sid, "Sid": sid})


async def oauth_app(world: World, tenant: Tenant) -> str:
    return str((await world.row(tenant, "iam_v1:CreateOauthAppAccount", friendly_name="Exemplar"))["sid"])


async def own_sid(world: World, tenant: Tenant) -> str:
    return tenant.sid


# ---- how operations are called


def by_sid(make: SidMaker, name: str = "Sid", **params: Any) -> Maker:
    async def made(world: World, tenant: Tenant) -> Made:
        return Made({name: await make(world, tenant)}, params)

    return made


def with_params(**params: Any) -> Maker:
    async def made(world: World, tenant: Tenant) -> Made:
        return Made(params=params)

    return made


def listed(make: SidMaker | Maker, *names: str) -> Maker:
    """A list with two rows; `names` are the parts of the path that it has itself."""

    async def made(world: World, tenant: Tenant) -> Made:
        first = await make(world, tenant)
        if isinstance(first, Made):
            return Made({name: first.path[name] for name in names})
        await make(world, tenant)
        return Made()

    return made


def in_country(country: str = "US", **params: Any) -> Maker:
    async def made(world: World, tenant: Tenant) -> Made:
        return Made({"CountryCode": country}, params)

    return made


def priced(**path: str) -> Maker:
    async def made(world: World, tenant: Tenant) -> Made:
        return Made(path)

    return made


def purchase(kind: str = "Local", country: str = "US") -> Maker:
    async def made(world: World, tenant: Tenant) -> Made:
        return Made(params={"PhoneNumber": await free_number(world, tenant, kind, country)})

    return made


async def family(world: World, tenant: Tenant) -> Made:
    # Refused to a subaccount, which sees itself only.
    await world.call(tenant, "api_v2010:CreateAccount")
    return Made()


async def new_message(world: World, tenant: Tenant) -> Made:
    sender = await free_number(world, tenant)
    await world.row(tenant, "api_v2010:CreateIncomingPhoneNumber", PhoneNumber=sender)
    return Made(params={"To": HANDSET, "From": sender, "Body": "exemplar"})


async def account_in_params(world: World, tenant: Tenant) -> Made:
    return Made(params={"AccountSid": tenant.sid})


async def keys_in_params(world: World, tenant: Tenant) -> Made:
    await key(world, tenant)
    await key(world, tenant)
    return Made(params={"AccountSid": tenant.sid})


async def secondary_token(world: World, tenant: Tenant) -> Made:
    await world.row(tenant, "accounts_v1:CreateSecondaryAuthToken")
    return Made()


def token_request(grant: str, client: str, secret: str) -> Maker:
    async def made(world: World, tenant: Tenant) -> Made:
        app = await world.row(tenant, "iam_v1:CreateOauthAppAccount", friendly_name="Exemplar")
        return Made(params={grant: "client_credentials", client: app["sid"], secret: app["secret"]})

    return made


_SNAKE = Exemplar(token_request("grant_type", "client_id", "client_secret"), {"client_id": oauth_app})
_CAMEL = Exemplar(token_request("GrantType", "ClientId", "ClientSecret"), {"ClientId": oauth_app})
_APPLICATIONS: Mapping[str, SidMaker] = {"SmsApplicationSid": application, "VoiceApplicationSid": application}


async def trigger(world: World, tenant: Tenant) -> str:
    given = {"CallbackUrl": "https://example.com/used", "TriggerValue": "100", "UsageCategory": "sms"}
    return str((await world.row(tenant, "api_v2010:CreateUsageTrigger", **given))["sid"])


async def service(world: World, tenant: Tenant) -> str:
    return str((await world.row(tenant, "messaging_v1:CreateService", FriendlyName="Exemplar"))["sid"])


def for_service(make: SidMaker | None = None, name: str = "", **params: Any) -> Maker:
    """A service, and for a parameter of that name what stands in no pool yet."""

    async def made(world: World, tenant: Tenant) -> Made:
        given = {name: await make(world, tenant)} if make else {}
        return Made({"ServiceSid": await service(world, tenant)}, {**given, **params})

    return made


def in_pool(noun: str, make: SidMaker | None = None, **params: Any) -> Maker:
    """One sender of a pool that has two of its kind, where it may."""

    async def made(world: World, tenant: Tenant) -> Made:
        path = {"ServiceSid": await service(world, tenant)}
        for place in range(1 if noun == "AlphaSender" else 2):
            given = {f"{noun}Sid": await make(world, tenant)} if make else {"AlphaSender": f"Acme{place}", **params}
            row = await world.row(tenant, f"messaging_v1:Create{noun}", path=path, **given)
        return Made({**path, "Sid": row["sid"]})

    return made


async def shortening(world: World, tenant: Tenant) -> Made:
    service_sid = await service(world, tenant)
    path = {"MessagingServiceSid": service_sid}
    row = await world.row(tenant, "messaging_v1:FetchLinkshorteningMessagingServiceDomainAssociation", path=path)
    return Made({**path, "DomainSid": row["domain_sid"]})


async def domain_config(world: World, tenant: Tenant) -> Made:
    made = await shortening(world, tenant)
    return Made({"DomainSid": made.path["DomainSid"]}, {"CallbackUrl": "https://example.com/clicked"})


async def shown_domain_config(world: World, tenant: Tenant) -> Made:
    return Made((await domain_config(world, tenant)).path)


# Two customers have no domain in common.
_domains = itertools.count(1)


async def certificate(world: World, tenant: Tenant) -> Made:
    made = await upload(world, tenant)
    await world.row(tenant, "messaging_v1:UpdateDomainCertV4", path=made.path, **made.params)
    return Made(made.path)


async def upload(world: World, tenant: Tenant) -> Made:
    domain_sid = (await shortening(world, tenant)).path["DomainSid"]
    return Made({"DomainSid": domain_sid}, {"TlsCert": "".join(Authority().chain(f"l{next(_domains)}.example"))})


TEMPLATE = {"language": "en", "types": {"twilio/text": {"body": "Hello {{1}}!"}}, "variables": {"1": "Ann"}}


async def template(world: World, tenant: Tenant) -> str:
    row = await world.row(tenant, "content_v1:CreateContent", friendly_name="exemplar", **TEMPLATE)
    return str(row["sid"])


async def named_template(world: World, tenant: Tenant) -> str:
    made = await submission(world, tenant)
    await world.row(tenant, "content_v1:CreateApprovalCreate", path=made.path, **made.params)
    return str(made.path["ContentSid"])


async def submission(world: World, tenant: Tenant) -> Made:
    return Made({"ContentSid": await template(world, tenant)}, {"name": "exemplar", "category": "UTILITY"})


# Codes of one install are nobody else's.
_codes = itertools.count(200_100)


async def short_code(world: World, tenant: Tenant) -> str:
    facts = (tenant.sid, str(next(_codes)), "US", False, "")
    async with world.database.transaction() as tx:
        return str((await numbers.give_short_code(tx, *facts, None, world.clock.now()))["sid"])


_CONTACT = {"contact_id": HANDSET, "correlation_id": "ad388b5a46b33b874b0d41f7226db2ef"}


async def consents(world: World, tenant: Tenant) -> Made:
    told = {"sender_id": await service(world, tenant), "status": "opt-out", "source": "website"}
    return Made(params={"Items": [json.dumps(_CONTACT | told)]})


async def contacts(world: World, tenant: Tenant) -> Made:
    return Made(params={"Items": [json.dumps(_CONTACT | {"country_iso_code": "US", "zip_code": "99501"})]})


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
_channels = itertools.count(2000)


async def channel_sender(world: World, tenant: Tenant) -> str:
    given = {"sender_id": f"whatsapp:+1415555{next(_channels)}", "profile": {"name": "Exemplar"}}
    row = await world.row(tenant, "messaging_v2:CreateChannelsSender", **given)
    return str(row["sid"])


async def online_sender(world: World, tenant: Tenant) -> str:
    """A sender that its network took."""
    sid = await channel_sender(world, tenant)
    async with world.database.transaction() as tx:
        await tx.execute("UPDATE channel_senders SET status = 'ONLINE' WHERE sid = $1", sid)
    return sid


async def channel_joining(world: World, tenant: Tenant) -> Made:
    path = {"MessagingServiceSid": await service(world, tenant)}
    return Made(path, {"Sid": await online_sender(world, tenant)})


async def channel_member(world: World, tenant: Tenant) -> Made:
    path = {"MessagingServiceSid": await service(world, tenant)}
    for _ in range(2):
        sid = await online_sender(world, tenant)
        await world.row(tenant, "messaging_v1:CreateChannelSender", path=path, Sid=sid)
    return Made({**path, "Sid": sid})


def typing(channel: str) -> Maker:
    """A message that came by WhatsApp."""

    async def made(world: World, tenant: Tenant) -> Made:
        sid = new_sid("SM", NOW)
        async with world.database.transaction() as tx:
            await tx.execute(
                """INSERT INTO messages (account_sid, sid, direction, sender, recipient, peer, body, encoding,
                                         num_segments, status, date_created, date_updated)
                   VALUES ($1, $2, 'inbound', 'whatsapp:+19075550123', 'whatsapp:+14155552000',
                           'whatsapp:+19075550123', 'Hi', 'UCS-2', 1, 'received', $3, $3)""",
                tenant.sid,
                sid,
                NOW,
            )
        return Made(params={"channel": channel, "messageId": sid})

    return made


async def channel_list(world: World, tenant: Tenant) -> Made:
    await channel_sender(world, tenant)
    await channel_sender(world, tenant)
    return Made(params={"Channel": "whatsapp"})


_SENDERS: Mapping[str, Maker] = {
    "ShortCode": in_pool("ShortCode", short_code),
    "PhoneNumber": in_pool("PhoneNumber", number()),
    "AlphaSender": in_pool("AlphaSender"),
    "DestinationAlphaSender": in_pool("DestinationAlphaSender", IsoCountryCode="FR"),
}
_DOMAIN_OF = "messaging_v1:{}LinkshorteningMessagingService{}"

EXEMPLARS: dict[str, Exemplar] = {
    **REGISTRATION,
    "messaging_v1:CreateService": Exemplar(with_params(FriendlyName="Exemplar")),
    "messaging_v1:FetchService": Exemplar(by_sid(service)),
    "messaging_v1:UpdateService": Exemplar(by_sid(service, FriendlyName="Renamed")),
    "messaging_v1:DeleteService": Exemplar(by_sid(service)),
    "messaging_v1:ListService": Exemplar(listed(service)),
    "messaging_v1:FetchUsecase": Exemplar(with_params()),
    "messaging_v1:CreatePhoneNumber": Exemplar(for_service(number(), "PhoneNumberSid"), {"PhoneNumberSid": number()}),
    "messaging_v1:UpdateDomainCertV4": Exemplar(upload),
    "messaging_v1:FetchDomainCertV4": Exemplar(certificate),
    "messaging_v2:FetchDomainCertV4": Exemplar(certificate),
    "messaging_v1:DeleteDomainCertV4": Exemplar(certificate),
    "messaging_v1:FetchDomainDnsValidation": Exemplar(certificate),
    "content_v1:ListLegacyContent": Exemplar(listed(named_template)),
    "accounts_v1:CreateBulkConsents": Exemplar(consents),
    "accounts_v1:CreateBulkContacts": Exemplar(contacts),
    "messaging_v1:FetchDeactivation": Exemplar(with_params(Date="2030-01-14")),
    "messaging_v1:CreateShortCode": Exemplar(for_service(short_code, "ShortCodeSid"), {"ShortCodeSid": short_code}),
    "api_v2010:FetchShortCode": Exemplar(by_sid(short_code)),
    "api_v2010:UpdateShortCode": Exemplar(by_sid(short_code, FriendlyName="Renamed")),
    "api_v2010:ListShortCode": Exemplar(listed(short_code)),
    "messaging_v1:CreateAlphaSender": Exemplar(for_service(AlphaSender="Acme")),
    "messaging_v1:CreateDestinationAlphaSender": Exemplar(for_service(AlphaSender="Acme", IsoCountryCode="FR")),
    **{f"messaging_v1:Fetch{noun}": Exemplar(make) for noun, make in _SENDERS.items()},
    **{f"messaging_v1:Delete{noun}": Exemplar(make) for noun, make in _SENDERS.items()},
    **{
        # A service has one alpha sender for everywhere.
        f"messaging_v1:List{noun}": Exemplar(listed(make, "ServiceSid"), pages=noun != "AlphaSender")
        for noun, make in _SENDERS.items()
    },
    "messaging_v2:CreateChannelsSender": Exemplar(with_params(sender_id="whatsapp:+14155551999")),
    "messaging_v2:FetchChannelsSender": Exemplar(by_sid(channel_sender)),
    "messaging_v2:UpdateChannelsSender": Exemplar(
        by_sid(channel_sender, webhook={"callback_url": "https://example.com/inbound"})
    ),
    "messaging_v2:DeleteChannelsSender": Exemplar(by_sid(channel_sender)),
    "messaging_v2:ListChannelsSender": Exemplar(channel_list),
    "messaging_v2:CreateTypingIndicator": Exemplar(typing("whatsapp")),
    "messaging_v3:CreateV3TypingIndicator": Exemplar(typing("WHATSAPP")),
    "messaging_v1:CreateChannelSender": Exemplar(channel_joining, {"Sid": online_sender}),
    "messaging_v1:FetchChannelSender": Exemplar(channel_member),
    "messaging_v1:DeleteChannelSender": Exemplar(channel_member),
    "messaging_v1:ListChannelSender": Exemplar(listed(channel_member, "MessagingServiceSid")),
    "messaging_v1:FetchDomainConfig": Exemplar(shown_domain_config),
    "messaging_v1:UpdateDomainConfig": Exemplar(domain_config),
    "messaging_v1:FetchDomainConfigMessagingService": Exemplar(shortening),
    _DOMAIN_OF.format("Fetch", "DomainAssociation"): Exemplar(shortening),
    _DOMAIN_OF.format("Create", ""): Exemplar(shortening),
    _DOMAIN_OF.format("Delete", ""): Exemplar(shortening),
    "api_v2010:CreateMessageFeedback": Exemplar(by_sid(message, "MessageSid", Outcome="confirmed")),
    "content_v1:CreateContent": Exemplar(with_params(**TEMPLATE)),
    "content_v1:FetchContent": Exemplar(by_sid(template)),
    "content_v1:UpdateContent": Exemplar(by_sid(template, **TEMPLATE)),
    "content_v1:DeleteContent": Exemplar(by_sid(template)),
    "content_v1:ListContent": Exemplar(listed(template)),
    "content_v1:ListContentAndApprovals": Exemplar(listed(template)),
    "content_v2:ListContent": Exemplar(listed(template)),
    "content_v2:ListContentAndApprovals": Exemplar(listed(template)),
    "content_v1:CreateApprovalCreate": Exemplar(submission),
    "content_v1:FetchApprovalFetch": Exemplar(by_sid(template)),
    "api_v2010:FetchBalance": Exemplar(with_params()),
    **{
        f"api_v2010:ListUsageRecord{period}": Exemplar(with_params())
        for period in ("", "AllTime", "Daily", "LastMonth", "Monthly", "ThisMonth", "Today", "Yearly", "Yesterday")
    },
    "api_v2010:CreateUsageTrigger": Exemplar(
        with_params(CallbackUrl="https://example.com/used", TriggerValue="100", UsageCategory="sms")
    ),
    "api_v2010:FetchUsageTrigger": Exemplar(by_sid(trigger)),
    "api_v2010:UpdateUsageTrigger": Exemplar(by_sid(trigger, FriendlyName="Renamed")),
    "api_v2010:DeleteUsageTrigger": Exemplar(by_sid(trigger)),
    "api_v2010:ListUsageTrigger": Exemplar(listed(trigger)),
    "pricing_v1:ListMessagingCountry": Exemplar(with_params()),
    "pricing_v1:FetchMessagingCountry": Exemplar(priced(IsoCountry="US")),
    "pricing_v1:ListPhoneNumberCountry": Exemplar(with_params()),
    "pricing_v1:FetchPhoneNumberCountry": Exemplar(priced(IsoCountry="US")),
    "pricing_v1:ListVoiceCountry": Exemplar(with_params()),
    "pricing_v1:FetchVoiceCountry": Exemplar(priced(IsoCountry="US")),
    "pricing_v1:FetchVoiceNumber": Exemplar(priced(Number="+447400123456")),
    "pricing_v2:ListVoiceCountry": Exemplar(with_params()),
    "pricing_v2:FetchVoiceCountry": Exemplar(priced(IsoCountry="US")),
    "pricing_v2:ListTrunkingCountry": Exemplar(with_params()),
    "pricing_v2:FetchTrunkingCountry": Exemplar(priced(IsoCountry="US")),
    "pricing_v2:FetchVoiceNumber": Exemplar(priced(DestinationNumber="+447400123456")),
    "pricing_v2:FetchTrunkingNumber": Exemplar(priced(DestinationNumber="+447400123456")),
    "accounts_v1:CreateSecondaryAuthToken": Exemplar(with_params()),
    "accounts_v1:DeleteSecondaryAuthToken": Exemplar(secondary_token),
    "accounts_v1:UpdateAuthTokenPromotion": Exemplar(secondary_token),
    "accounts_v1:FetchMessagingGeopermissions": Exemplar(with_params(CountryCode="US")),
    "accounts_v1:UpdateMessagingGeopermissions": Exemplar(
        with_params(Permissions=json.dumps({"country_code": "DE", "type": "country", "enabled": False}))
    ),
    "api_v2010:CreateAccount": Exemplar(with_params(FriendlyName="Exemplar")),
    "api_v2010:FetchAccount": Exemplar(by_sid(own_sid)),
    "api_v2010:UpdateAccount": Exemplar(by_sid(own_sid, FriendlyName="Renamed")),
    "api_v2010:ListAccount": Exemplar(family),
    "api_v2010:CreateApplication": Exemplar(with_params(FriendlyName="Exemplar", SmsUrl="https://example.com/sms")),
    "api_v2010:FetchApplication": Exemplar(by_sid(application)),
    "api_v2010:UpdateApplication": Exemplar(by_sid(application, FriendlyName="Renamed")),
    "api_v2010:DeleteApplication": Exemplar(by_sid(application)),
    "api_v2010:ListApplication": Exemplar(listed(application)),
    "api_v2010:ListAvailablePhoneNumberCountry": Exemplar(with_params()),
    "api_v2010:FetchAvailablePhoneNumberCountry": Exemplar(in_country()),
    "api_v2010:ListAvailablePhoneNumberLocal": Exemplar(in_country(), pages=False),
    "api_v2010:ListAvailablePhoneNumberTollFree": Exemplar(in_country(), pages=False),
    "api_v2010:ListAvailablePhoneNumberMobile": Exemplar(in_country("GB"), pages=False),
    **{
        f"api_v2010:ListAvailablePhoneNumber{kind}": Exemplar(in_country(), rows=False, pages=False)
        for kind in ("National", "SharedCost", "Voip", "MachineToMachine")
    },
    "api_v2010:CreateIncomingPhoneNumber": Exemplar(purchase(), _APPLICATIONS),
    "api_v2010:CreateIncomingPhoneNumberLocal": Exemplar(purchase(), _APPLICATIONS),
    "api_v2010:CreateIncomingPhoneNumberTollFree": Exemplar(purchase("TollFree"), _APPLICATIONS),
    "api_v2010:CreateIncomingPhoneNumberMobile": Exemplar(purchase("Mobile", "GB"), _APPLICATIONS),
    "api_v2010:FetchIncomingPhoneNumber": Exemplar(by_sid(number())),
    "api_v2010:UpdateIncomingPhoneNumber": Exemplar(
        by_sid(number(), SmsUrl="https://example.com/sms"), {**_APPLICATIONS, "AccountSid": own_sid}
    ),
    "api_v2010:DeleteIncomingPhoneNumber": Exemplar(by_sid(number())),
    "api_v2010:ListIncomingPhoneNumber": Exemplar(listed(number())),
    "api_v2010:ListIncomingPhoneNumberLocal": Exemplar(listed(number())),
    "api_v2010:ListIncomingPhoneNumberTollFree": Exemplar(listed(number("TollFree"))),
    "api_v2010:ListIncomingPhoneNumberMobile": Exemplar(listed(number("Mobile", "GB"))),
    "api_v2010:CreateMessage": Exemplar(
        new_message, {"ApplicationSid": application, "MessagingServiceSid": service, "ContentSid": template}
    ),
    "api_v2010:FetchMessage": Exemplar(by_sid(message)),
    "api_v2010:UpdateMessage": Exemplar(by_sid(ended_message, Body="")),
    "api_v2010:DeleteMessage": Exemplar(by_sid(ended_message)),
    "api_v2010:ListMessage": Exemplar(listed(message)),
    "api_v2010:FetchMedia": Exemplar(media),
    "api_v2010:DeleteMedia": Exemplar(media),
    "api_v2010:ListMedia": Exemplar(listed(media, "MessageSid")),
    "api_v2010:CreateNewKey": Exemplar(with_params(FriendlyName="Exemplar")),
    "api_v2010:FetchKey": Exemplar(by_sid(key)),
    "api_v2010:UpdateKey": Exemplar(by_sid(key, FriendlyName="Renamed")),
    "api_v2010:DeleteKey": Exemplar(by_sid(key)),
    "api_v2010:ListKey": Exemplar(listed(key)),
    "api_v2010:CreateNewSigningKey": Exemplar(with_params(FriendlyName="Exemplar")),
    "api_v2010:FetchSigningKey": Exemplar(by_sid(key)),
    "api_v2010:UpdateSigningKey": Exemplar(by_sid(key, FriendlyName="Renamed")),
    "api_v2010:DeleteSigningKey": Exemplar(by_sid(key)),
    "api_v2010:ListSigningKey": Exemplar(listed(key)),
    "api_v2010:FetchNotification": Exemplar(by_sid(alert)),
    "api_v2010:ListNotification": Exemplar(listed(alert)),
    "api_v2010:FetchCallNotification": Exemplar(call_alert),
    "api_v2010:ListCallNotification": Exemplar(listed(call_alert, "CallSid")),
    "iam_organizations:CreateToken": _SNAKE,
    "iam_v1:CreateToken": _SNAKE,
    "oauth_v1:CreateToken": _CAMEL,
    "oauth_v2:CreateOauth2Token": _SNAKE,
    "iam_v1:ListGetKeys": Exemplar(keys_in_params, {"AccountSid": own_sid}),
    "iam_v1:CreateNewKey": Exemplar(account_in_params, {"AccountSid": own_sid}),
    "iam_v1:FetchKey": Exemplar(by_sid(key)),
    "iam_v1:UpdateKey": Exemplar(by_sid(key, FriendlyName="Renamed")),
    "iam_v1:DeleteKey": Exemplar(by_sid(key)),
    "iam_v1:CreateOauthAppAccount": Exemplar(with_params(friendly_name="Exemplar"), {"owner_sid": own_sid}),
    "iam_v1:UpdateOauthAppAccount": Exemplar(by_sid(oauth_app, "sid", friendly_name="Renamed")),
    "iam_v1:DeleteOauthAppAccount": Exemplar(by_sid(oauth_app, "sid")),
    "monitor_v1:FetchAlert": Exemplar(by_sid(alert)),
    "monitor_v1:ListAlert": Exemplar(listed(alert)),
}


@pytest.fixture(scope="session")
def exemplars() -> Mapping[str, Exemplar]:
    """Return the exemplar of each operation."""
    return EXEMPLARS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres_dsn: str) -> AsyncIterator[World]:
    """Open a database with a stock of numbers and an engine over it, for all tests of a module."""
    name = new_random_sid("world_")
    admin = await asyncpg.connect(postgres_dsn)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE onterms_template STRATEGY FILE_COPY")
    database = await Database.connect({"dsn": postgres_dsn, "database": name})
    async with database.transaction() as tx:
        await numbers.fill_sandbox_inventory(tx)
        await pricing.ensure_default_prices(tx, NOW)
    made = World(database)
    await made.office.prices.refresh()
    await made.office.leases.start()
    yield made
    await made.office.leases.stop()
    await database.close()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()
