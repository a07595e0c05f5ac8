"""One exemplar of every served operation: what it needs to exist, and parameters with which it succeeds.

A room that serves a new operation adds it to `EXEMPLARS`; the tenant walk and the schema test fail until it is there.
"""

import itertools
import json
from collections.abc import AsyncIterator, Mapping

import asyncpg
import pytest
import pytest_asyncio
from walked import (
    _APPLICATIONS,
    _CAMEL,
    _SNAKE,
    NOW,
    TEMPLATE,
    Exemplar,
    Made,
    Maker,
    Tenant,
    World,
    account_in_params,
    alert,
    application,
    by_sid,
    call_alert,
    certificate,
    consents,
    contacts,
    domain_config,
    ended_message,
    family,
    for_service,
    in_country,
    in_pool,
    key,
    keys_in_params,
    listed,
    media,
    message,
    named_template,
    new_message,
    number,
    oauth_app,
    own_sid,
    priced,
    purchase,
    secondary_token,
    service,
    short_code,
    shortening,
    shown_domain_config,
    submission,
    template,
    trigger,
    upload,
    with_params,
)
from walked_registration import REGISTRATION

from onterms.business import pricing
from onterms.core.db import Database
from onterms.core.ids import new_random_sid, new_sid
from onterms.products import numbers

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
