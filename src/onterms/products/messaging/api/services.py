"""Which operations about Messaging Services this room serves."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from onterms.core.db import Tx
from onterms.engines.api import Binding, Call, OwnReply, OwnRequest, OwnRoute, Page, serve
from onterms.products import registration
from onterms.products.messaging.model.pool import SenderKind
from onterms.products.messaging.service import links, pool
from onterms.products.messaging.wire import services as wire


async def _create(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.service_of(await pool.create(tx, call.account.sid, call.params, call.at))


async def _fetch(tx: Tx, call: Call) -> Mapping[str, Any]:
    row = await pool.fetch(tx, call.account.sid, call.path["Sid"])
    return wire.service_of(row, await registration.services_registered(tx, call.account.sid, [row["sid"]]))


async def _update(tx: Tx, call: Call) -> Mapping[str, Any]:
    row = await pool.update(tx, call.account.sid, call.path["Sid"], call.params, call.at)
    return wire.service_of(row, await registration.services_registered(tx, call.account.sid, [row["sid"]]))


async def _delete(tx: Tx, call: Call) -> None:
    await pool.delete(tx, call.account.sid, call.path["Sid"])


async def _list(tx: Tx, call: Call) -> Page:
    rows = await pool.page(tx, call.account.sid, call.paging)
    registered = await registration.services_registered(tx, call.account.sid, [row["sid"] for row in rows])
    return Page.of(call.paging, rows, key="sid", render=lambda row: wire.service_of(row, registered))


async def _usecases(tx: Tx, call: Call) -> Mapping[str, Any]:
    named = [
        {"usecase": name, "friendly_name": name.capitalize(), "purpose": why} for name, why in pool.USECASES.items()
    ]
    return {"usecases": named}


class _Senders:
    """The operations on one kind of senders."""

    def __init__(self, kind: SenderKind) -> None:
        self._kind = kind

    async def create(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        account_sid, service_sid = call.account.sid, call.path["ServiceSid"]
        if self._kind == "phone_number":
            row = await pool.add_number(tx, account_sid, service_sid, call.params["PhoneNumberSid"], call.at)
        elif self._kind == "short_code":
            row = await pool.add_short_code(tx, account_sid, service_sid, call.params["ShortCodeSid"], call.at)
        else:
            given = (call.params["AlphaSender"], self._kind, call.params.get("IsoCountryCode", ""))
            row = await pool.add_alpha(tx, account_sid, service_sid, *given, call.at)
        found = await pool.sender_in(tx, account_sid, service_sid, self._kind, row["sid"])
        return wire.sender_of(self._kind, *found)

    async def fetch(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        given = (call.account.sid, call.path["ServiceSid"], self._kind, call.path["Sid"])
        return wire.sender_of(self._kind, *await pool.sender_in(tx, *given))

    async def page(self, tx: Tx, call: Call) -> Page:
        found = await pool.senders_in(tx, call.account.sid, call.path["ServiceSid"], self._kind)
        shown = [wire.sender_of(self._kind, row, number) for row, number in found]
        country = call.params.get("IsoCountryCode")
        if country:
            shown = [row for row in shown if row["iso_country_code"] == country.upper()]
        return Page.slice(call.paging, shown, key="sid")

    async def delete(self, tx: Tx, call: Call) -> None:
        given = (call.account.sid, call.path["ServiceSid"], self._kind, call.path["Sid"])
        await pool.remove_sender(tx, *given)

    def bindings(self, noun: str) -> list[Binding]:
        """Return the four operations of the kind."""
        return [
            serve(f"messaging_v1:Create{noun}", self.create),
            serve(f"messaging_v1:Fetch{noun}", self.fetch),
            serve(f"messaging_v1:List{noun}", self.page),
            serve(f"messaging_v1:Delete{noun}", self.delete),
        ]


async def _domain_config(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.domain_config_of(await pool.domain(tx, call.account.sid, call.path["DomainSid"]))


async def _update_domain_config(tx: Tx, call: Call) -> Mapping[str, Any]:
    row = await pool.update_domain(tx, call.account.sid, call.path["DomainSid"], call.params, call.at)
    return wire.domain_config_of(row)


async def _config_of_service(tx: Tx, call: Call) -> Mapping[str, Any]:
    service_sid = call.path["MessagingServiceSid"]
    return wire.domain_config_of(await pool.domain_of_service(tx, call.account.sid, service_sid), service_sid)


async def _association(tx: Tx, call: Call) -> Mapping[str, Any]:
    service_sid = call.path["MessagingServiceSid"]
    row = await pool.domain_of_service(tx, call.account.sid, service_sid)
    return wire.association_of(row["sid"], service_sid)


async def _attach(tx: Tx, call: Call) -> Mapping[str, Any]:
    domain_sid, service_sid = call.path["DomainSid"], call.path["MessagingServiceSid"]
    await pool.attach_domain(tx, call.account.sid, domain_sid, service_sid, call.at, attached=True)
    return wire.association_of(domain_sid, service_sid)


async def _detach(tx: Tx, call: Call) -> None:
    given = (call.account.sid, call.path["DomainSid"], call.path["MessagingServiceSid"])
    await pool.attach_domain(tx, *given, call.at, attached=False)


def bindings() -> list[Binding]:
    """Join the operations to their use cases."""
    domains = "messaging_v1:{}LinkshorteningMessagingService{}"
    return [
        serve("messaging_v1:CreateService", _create),
        serve("messaging_v1:FetchService", _fetch),
        serve("messaging_v1:UpdateService", _update),
        serve("messaging_v1:DeleteService", _delete),
        serve("messaging_v1:ListService", _list),
        serve("messaging_v1:FetchUsecase", _usecases),
        *_Senders("phone_number").bindings("PhoneNumber"),
        *_Senders("short_code").bindings("ShortCode"),
        *_Senders("alpha_sender").bindings("AlphaSender"),
        *_Senders("destination_alpha_sender").bindings("DestinationAlphaSender"),
        serve("messaging_v1:FetchDomainConfig", _domain_config),
        serve("messaging_v1:UpdateDomainConfig", _update_domain_config),
        serve("messaging_v1:FetchDomainConfigMessagingService", _config_of_service),
        serve(domains.format("Fetch", "DomainAssociation"), _association),
        serve(domains.format("Create", ""), _attach),
        serve(domains.format("Delete", ""), _detach),
    ]


async def _follow(tx: Tx, request: OwnRequest) -> OwnReply:
    agent = request.headers.get(b"user-agent", b"").decode("latin-1").replace("\0", "")[:512]
    host = request.headers.get(b"host", b"").decode("latin-1").partition(":")[0].lower()
    where = await links.follow(tx, request.path["code"], agent, request.at, host)
    # A header holds no other characters; what is escaped already stays so.
    location = quote(where, safe="%/:?#[]@!$&'()*+,;=-._~")
    headers = (("Location", location), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"))
    return OwnReply(None, 302, headers, raw=b"", content_type="text/plain")


def link_routes() -> list[OwnRoute]:
    """Return the route that short links lead to."""
    return [OwnRoute("GET", "/l/{code}", "open", _follow, summary="Follow a short link")]
