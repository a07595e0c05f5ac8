"""The operator's API of MMSCs and their routes: `/operator/v1/MmsCarriers`, `MmsRoutes`."""

import ipaddress
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onterms.carriers.mms import store
from onterms.carriers.mms.client import tls_of
from onterms.carriers.mms.model import CarrierRow, CarrierSettings, Release, Route, StatusCode
from onterms.carriers.mms.opening import carrier_of
from onterms.core.db import Row, Tx
from onterms.core.errors import ConfigError, InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.core.vault import Vault
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, Shape, Sid, whole

_BASE: Final = "/operator/v1"

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Url = Annotated[str, Meta(min_length=8, max_length=2048)]
_Word = Annotated[str, Meta(max_length=64)]
_Mail = Annotated[str, Meta(pattern=r"^([A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,190})?$")]
_Domain = Annotated[str, Meta(pattern=r"^[A-Za-z0-9.-]{0,190}$")]
_Secret = Annotated[str, Meta(max_length=256)]
_Pem = Annotated[str, Meta(max_length=65_536)]
_Wait = Annotated[float, Meta(ge=0.1, le=3600)]
_Codes = Annotated[dict[str, int], Meta(max_length=1000)]
_Types = Annotated[list[Literal["image/jpeg", "image/png", "image/gif"]], Meta(min_length=1, max_length=3)]
_Prefix = Annotated[str, Meta(pattern=r"^[0-9]{0,15}$")]
_Priority = Annotated[int, Meta(ge=0, le=1000)]
_Auth = Literal["none", "basic", "digest"]
_Sender = Literal["address", "text", "none"]
_Charged = Literal["", "Sender", "Recipient", "Both", "Neither", "ThirdParty"]
_SECRETS: Final = ("password", "inbound_password", "tls_key")


class MmsCarrierChange(Shape):
    """What is set of an MMSC; what is left out stays, or is the default of a new one."""

    name: _Name | UnsetType = UNSET
    url: _Url | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    protocol: Literal["mm7", "mm4"] | UnsetType = UNSET
    mail_from: _Mail | UnsetType = UNSET
    mail_domain: _Domain | UnsetType = UNSET
    auth: _Auth | UnsetType = UNSET
    username: _Word | UnsetType = UNSET
    password: _Secret | UnsetType = UNSET
    tls_ca: _Pem | UnsetType = UNSET
    tls_certificate: _Pem | UnsetType = UNSET
    tls_key: _Pem | UnsetType = UNSET
    vasp_id: _Word | UnsetType = UNSET
    vas_id: _Word | UnsetType = UNSET
    service_code: _Word | UnsetType = UNSET
    release: Release | UnsetType = UNSET
    version: Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+){1,2}$")] | UnsetType = UNSET
    prefixed: bool | UnsetType = UNSET
    sender: _Sender | UnsetType = UNSET
    plus: bool | UnsetType = UNSET
    smil: bool | UnsetType = UNSET
    binary: bool | UnsetType = UNSET
    message_class: _Word | UnsetType = UNSET
    charged_party: _Charged | UnsetType = UNSET
    delivery_report: bool | UnsetType = UNSET
    adapt: bool | UnsetType = UNSET
    connections: Annotated[int, Meta(ge=1, le=256)] | UnsetType = UNSET
    rate: Annotated[float, Meta(ge=0, le=10_000)] | UnsetType = UNSET
    response_s: Annotated[float, Meta(ge=0.1, le=300)] | UnsetType = UNSET
    throttle_s: _Wait | UnsetType = UNSET
    bytes_max: Annotated[int, Meta(ge=10_000, le=5_242_880)] | UnsetType = UNSET
    side_max: Annotated[int, Meta(ge=64, le=8192)] | UnsetType = UNSET
    image_types: _Types | UnsetType = UNSET
    error_codes: _Codes | UnsetType = UNSET
    retry_codes: Annotated[list[StatusCode], Meta(max_length=100)] | UnsetType = UNSET
    allow_duplicates: bool | UnsetType = UNSET
    ambiguous_s: Annotated[float, Meta(ge=60, le=7 * 86_400)] | UnsetType = UNSET
    inbound_username: _Word | UnsetType = UNSET
    inbound_password: _Secret | UnsetType = UNSET
    inbound_addresses: Annotated[list[_Word], Meta(max_length=100)] | UnsetType = UNSET
    country: Annotated[str, Meta(pattern=r"^([A-Z]{2})?$")] | UnsetType = UNSET


class MmsCarrierShown(Shape):
    """An MMSC; its secrets are never shown. `inbound_path` is where it brings reports and messages."""

    sid: Sid
    name: str
    url: str
    enabled: bool
    protocol: Literal["mm7", "mm4"]
    mail_from: str
    mail_domain: str
    auth: _Auth
    username: str
    has_password: bool
    tls_ca: str
    tls_certificate: str
    has_tls_key: bool
    vasp_id: str
    vas_id: str
    service_code: str
    release: str
    version: str
    prefixed: bool
    sender: _Sender
    plus: bool
    smil: bool
    binary: bool
    message_class: str
    charged_party: str
    delivery_report: bool
    adapt: bool
    connections: int
    rate: float
    response_s: float
    throttle_s: float
    bytes_max: int
    side_max: int
    image_types: list[str]
    error_codes: dict[str, int]
    retry_codes: list[int]
    allow_duplicates: bool
    ambiguous_s: float
    inbound_username: str
    has_inbound_password: bool
    inbound_addresses: list[str]
    inbound_path: str
    country: str
    date_created: datetime
    date_updated: datetime


class NewMmsRoute(Shape):
    """A way for the recipients of a prefix: digits without the plus, "" for everybody."""

    carrier_sid: Sid
    prefix: _Prefix = ""
    priority: _Priority = 0
    enabled: bool = True


class MmsRouteChange(Shape):
    """What is set of a route; what is left out stays."""

    carrier_sid: Sid | UnsetType = UNSET
    prefix: _Prefix | UnsetType = UNSET
    priority: _Priority | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class MmsRouteShown(Shape):
    """A route."""

    sid: Sid
    carrier_sid: Sid
    carrier: str
    prefix: str
    priority: int
    enabled: bool
    date_created: datetime


class MmsApi:
    """The handlers behind `routes`."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def routes(self) -> list[OwnRoute]:
        """Return the routes."""
        carriers, routes = f"{_BASE}/MmsCarriers", f"{_BASE}/MmsRoutes"
        one_carrier, one_route = carriers + "/{sid}", routes + "/{sid}"
        return [
            OwnRoute("GET", carriers, "operator", self.list_carriers, summary="List MMSCs"),
            OwnRoute("POST", carriers, "operator", self.make_carrier, summary="Add an MMSC"),
            OwnRoute("GET", one_carrier, "operator", self.get_carrier, summary="Show an MMSC"),
            OwnRoute("POST", one_carrier, "operator", self.change_carrier, summary="Change an MMSC"),
            OwnRoute("DELETE", one_carrier, "operator", self.delete_carrier, summary="Delete an MMSC and its routes"),
            OwnRoute("GET", routes, "operator", self.list_routes, summary="List MMS routes"),
            OwnRoute("POST", routes, "operator", self.make_route, summary="Add an MMS route"),
            OwnRoute("GET", one_route, "operator", self.get_route, summary="Show an MMS route"),
            OwnRoute("POST", one_route, "operator", self.change_route, summary="Change an MMS route"),
            OwnRoute("DELETE", one_route, "operator", self.delete_route, summary="Delete an MMS route"),
        ]

    # ---- carriers

    async def list_carriers(self, tx: Tx) -> Items[MmsCarrierShown]:
        """List all MMSCs."""
        return whole([_shown(row) for row in await store.carriers(tx)])

    async def make_carrier(self, tx: Tx, request: OwnRequest, body: MmsCarrierChange) -> Created[MmsCarrierShown]:
        """Add an MMSC."""
        if body.name is UNSET or body.url is UNSET:
            raise InvalidParameter(f"'{'name' if body.name is UNSET else 'url'}' is required")
        return await self._save(tx, new_sid("QM", request.at), None, body, request.at)

    async def get_carrier(self, tx: Tx, sid: str) -> MmsCarrierShown:
        """Show an MMSC."""
        return _shown(await _carrier(tx, sid))

    async def change_carrier(self, tx: Tx, request: OwnRequest, sid: str, body: MmsCarrierChange) -> MmsCarrierShown:
        """Change an MMSC."""
        return await self._save(tx, sid, await _carrier(tx, sid, lock=True), body, request.at)

    async def delete_carrier(self, tx: Tx, sid: str) -> None:
        """Delete an MMSC and its routes."""
        await _carrier(tx, sid, lock=True)
        await store.delete_carrier(tx, sid)

    async def _save(self, tx: Tx, sid: str, row: Row | None, body: MmsCarrierChange, at: datetime) -> MmsCarrierShown:
        given = {name: getattr(body, name) for name in CarrierSettings.__struct_fields__}
        changes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
            if value is not UNSET
        }
        if row is None:
            settings = CarrierSettings(**changes)
        else:
            settings = msgspec.structs.replace(store.settings_of(row), **changes)
        name = body.name if isinstance(body.name, str) else row["name"] if row is not None else ""
        if await store.name_is_taken(tx, name, sid):
            raise InvalidParameter("'name' is another carrier's already")
        known = carrier_of(self._vault, row) if row is not None else None
        plain: dict[str, str] = {}
        for secret in _SECRETS:
            value = getattr(body, secret)
            plain[secret] = value if isinstance(value, str) else getattr(known, secret) if known is not None else ""
        _check(CarrierRow(sid, name, settings, **plain))
        sealed = [self._vault.seal(text, f"{sid} {secret}") if text else b"" for secret, text in plain.items()]
        await store.save_carrier(tx, sid, name, store.Secrets(*sealed), settings, at)
        return _shown(await _carrier(tx, sid))

    # ---- routes

    async def list_routes(self, tx: Tx) -> Items[MmsRouteShown]:
        """List all routes by prefix."""
        return whole([_shown_route(row) for row in await store.routes(tx)])

    async def make_route(self, tx: Tx, request: OwnRequest, body: NewMmsRoute) -> Created[MmsRouteShown]:
        """Add a route; messages take it at once."""
        route = Route(new_sid("QN", request.at), body.carrier_sid, body.prefix, body.priority)
        return await self._save_route(tx, route, body.enabled, request.at)

    async def get_route(self, tx: Tx, sid: str) -> MmsRouteShown:
        """Show a route."""
        return _shown_route(await _route(tx, sid))

    async def change_route(self, tx: Tx, request: OwnRequest, sid: str, body: MmsRouteChange) -> MmsRouteShown:
        """Change a route."""
        row = await _route(tx, sid)

        def of(given: Any, name: str) -> Any:
            return row[name] if given is UNSET else given

        route = Route(
            sid, of(body.carrier_sid, "carrier_sid"), of(body.prefix, "prefix"), of(body.priority, "priority")
        )
        return await self._save_route(tx, route, of(body.enabled, "enabled"), request.at)

    async def delete_route(self, tx: Tx, sid: str) -> None:
        """Delete a route."""
        if not await store.delete_route(tx, sid):
            raise NotFound("There is no such route")

    async def _save_route(self, tx: Tx, route: Route, enabled: bool, at: datetime) -> MmsRouteShown:
        if await store.carrier(tx, route.carrier_sid, lock=True) is None:
            raise InvalidParameter("'carrier_sid' is no MMSC's")
        await store.save_route(tx, route, enabled, at)
        return _shown_route(await _route(tx, route.sid))


async def _carrier(tx: Tx, sid: str, *, lock: bool = False) -> Row:
    row = await store.carrier(tx, sid, lock=lock)
    if row is None:
        raise NotFound("There is no such MMSC")
    return row


async def _route(tx: Tx, sid: str) -> Row:
    row = await store.route(tx, sid)
    if row is None:
        raise NotFound("There is no such route")
    return row


def _check(carrier: CarrierRow) -> None:
    settings = carrier.settings
    try:
        url = urlsplit(settings.url)
        schemes = ("http", "https") if settings.protocol == "mm7" else ("smtp", "smtps")
        is_usable = url.scheme in schemes and bool(url.hostname) and "@" not in url.netloc
        is_usable = is_usable and settings.url.isprintable() and " " not in settings.url and url.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise InvalidParameter("'url' must be http(s), or smtp(s) for mm4, with a host and without credentials")
    if settings.protocol == "mm4" and not (settings.mail_from and settings.mail_domain):
        raise InvalidParameter("'protocol' mm4 needs 'mail_from' and 'mail_domain'")
    for name in ("username", "inbound_username", "vasp_id", "vas_id", "service_code", "message_class"):
        text = getattr(settings, name)
        # RFC 7617 2: a colon ends the user's name.
        if not text.isprintable() or (name.endswith("username") and ":" in text):
            raise InvalidParameter(f"'{name}' has characters that cannot be sent")
    for address in settings.inbound_addresses:
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError:
            raise InvalidParameter("'inbound_addresses' must be addresses or networks") from None
    if settings.auth == "digest" and not settings.username:
        raise InvalidParameter("'auth' digest needs a 'username'")
    try:
        tls_of(carrier)
    except ConfigError as error:
        raise InvalidParameter(str(error)) from None


def _shown(row: Row) -> MmsCarrierShown:
    settings = store.settings_of(row)
    shown = {name: getattr(settings, name) for name in CarrierSettings.__struct_fields__}
    shown = {name: list(value) if isinstance(value, tuple) else value for name, value in shown.items()}
    return MmsCarrierShown(
        sid=row["sid"],
        name=row["name"],
        has_password=bool(row["password"]),
        has_tls_key=bool(row["tls_key"]),
        has_inbound_password=bool(row["inbound_password"]),
        inbound_path=f"/mm7/{row['sid']}",
        date_created=row["created_at"],
        date_updated=row["updated_at"],
        **shown,
    )


def _shown_route(row: Row) -> MmsRouteShown:
    return MmsRouteShown.of(row, date_created=row["created_at"])
