"""What the tenant walk and the schema test need: worlds, tenants, and how to make what operations are called with."""

import base64
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from chains import Authority

from onterms.app.media_links import SignedMediaLinks
from onterms.app.office import Office
from onterms.app.rooms import bindings_of
from onterms.business import accounts
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
