"""The operator's API of carriers, routes and links: `/operator/v1/Carriers`, `Routes`, `Links`."""

import ssl
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onterms.carriers.smpp import store
from onterms.carriers.smpp.model import Bind, CarrierSettings, IdFormat, Octet, Quality, Route
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.core.vault import Vault
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Instant, Items, NotNegative, Paging, Shape, Sid, page, whole

_BASE: Final = "/operator/v1"

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:_-]+$")]
_Port = Annotated[int, Meta(ge=1, le=65535)]
# SMPP 3.4 4.1.1: system_id has 15 characters, system_type 12; real carriers hand out passwords longer than 8.
_SystemId = Annotated[str, Meta(max_length=15)]
_SystemType = Annotated[str, Meta(max_length=12)]
_Password = Annotated[str, Meta(max_length=64)]
_Binds = Annotated[list[Bind], Meta(min_length=1, max_length=32)]
_Window = Annotated[int, Meta(ge=1, le=100_000)]
_Rate = Annotated[float, Meta(ge=0, le=1_000_000)]
_Wait = Annotated[float, Meta(ge=0.1, le=3600)]
_Long = Annotated[float, Meta(ge=0, le=7 * 86_400)]
_Pem = Annotated[str, Meta(max_length=65_536)]
_Codes = Annotated[dict[str, int], Meta(max_length=1000)]
_Version = Literal["3.3", "3.4", "5.0"]
_Alphabet = Literal["gsm", "gsm-packed", "latin-1", "ascii"]
_LongText = Literal["udh", "udh16", "sar", "payload"]
# A hundred bytes an entry.
_NUMBERING_BYTES_MAX: Final = 24 * 1024 * 1024
_PAGE: Final = 1000
_Prefix = Annotated[str, Meta(pattern=r"^[0-9]{0,15}$")]
_Mcc = Annotated[str, Meta(pattern=r"^([0-9]{3})?$")]
_Mnc = Annotated[str, Meta(pattern=r"^([0-9]{2,3})?$")]
_Priority = Annotated[int, Meta(ge=0, le=1000)]
_Ratio = Annotated[float, Meta(ge=0, le=1)]


class CarrierChange(Shape):
    """What is set of a carrier; what is left out stays, or is the default of a new one."""

    name: _Name | UnsetType = UNSET
    host: _Host | UnsetType = UNSET
    port: _Port | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    tls: bool | UnsetType = UNSET
    tls_ca: _Pem | UnsetType = UNSET
    tls_name: Annotated[str, Meta(max_length=253)] | UnsetType = UNSET
    system_id: _SystemId | UnsetType = UNSET
    password: _Password | UnsetType = UNSET
    system_type: _SystemType | UnsetType = UNSET
    binds: _Binds | UnsetType = UNSET
    version: _Version | UnsetType = UNSET
    window: _Window | UnsetType = UNSET
    rate: _Rate | UnsetType = UNSET
    response_s: _Wait | UnsetType = UNSET
    enquire_s: _Wait | UnsetType = UNSET
    throttle_s: _Wait | UnsetType = UNSET
    alphabet: _Alphabet | UnsetType = UNSET
    long: _LongText | UnsetType = UNSET
    service_type: Annotated[str, Meta(max_length=5)] | UnsetType = UNSET
    registered_delivery: Octet | UnsetType = UNSET
    validity_s: Annotated[int, Meta(ge=0, le=30 * 86_400)] | UnsetType = UNSET
    long_ton: Octet | UnsetType = UNSET
    long_npi: Octet | UnsetType = UNSET
    short_ton: Octet | UnsetType = UNSET
    short_npi: Octet | UnsetType = UNSET
    alpha_ton: Octet | UnsetType = UNSET
    alpha_npi: Octet | UnsetType = UNSET
    recipient_ton: Octet | UnsetType = UNSET
    recipient_npi: Octet | UnsetType = UNSET
    recipient_plus: bool | UnsetType = UNSET
    id_format: IdFormat | UnsetType = UNSET
    error_codes: _Codes | UnsetType = UNSET
    allow_duplicates: bool | UnsetType = UNSET
    ambiguous_s: Annotated[float, Meta(ge=60, le=7 * 86_400)] | UnsetType = UNSET
    query_after_s: _Long | UnsetType = UNSET


class CarrierShown(Shape):
    """A carrier; its password is never shown."""

    sid: Sid
    name: str
    host: str
    port: int
    enabled: bool
    tls: bool
    tls_ca: str
    tls_name: str
    system_id: str
    has_password: bool
    system_type: str
    binds: list[Bind]
    version: _Version
    window: int
    rate: float
    response_s: float
    enquire_s: float
    throttle_s: float
    alphabet: _Alphabet
    long: _LongText
    service_type: str
    registered_delivery: int
    validity_s: int
    long_ton: int
    long_npi: int
    short_ton: int
    short_npi: int
    alpha_ton: int
    alpha_npi: int
    recipient_ton: int
    recipient_npi: int
    recipient_plus: bool
    id_format: IdFormat
    error_codes: dict[str, int]
    allow_duplicates: bool
    ambiguous_s: float
    query_after_s: float
    date_created: datetime
    date_updated: datetime


class NewRoute(Shape):
    """A way for the recipients of a prefix: digits without the plus, "" for everybody."""

    carrier_sid: Sid
    prefix: _Prefix = ""
    mcc: _Mcc = ""
    mnc: _Mnc = ""
    cost: NotNegative | UnsetType = UNSET
    priority: _Priority = 0
    min_quality: _Ratio = 0.0
    enabled: bool = True


class RouteChange(Shape):
    """What is set of a route; what is left out stays."""

    carrier_sid: Sid | UnsetType = UNSET
    prefix: _Prefix | UnsetType = UNSET
    mcc: _Mcc | UnsetType = UNSET
    mnc: _Mnc | UnsetType = UNSET
    cost: NotNegative | UnsetType = UNSET
    priority: _Priority | UnsetType = UNSET
    min_quality: _Ratio | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class RouteShown(Shape):
    """A route and how its messages ended in the last hour; `quality` is null while too few have."""

    sid: Sid
    carrier_sid: Sid
    carrier: str
    prefix: str
    mcc: str
    mnc: str
    cost: NotNegative
    priority: int
    min_quality: float
    enabled: bool
    delivered: int
    undelivered: int
    quality: float | None
    date_created: datetime


class LinkShown(Shape):
    """One bind of one worker: its state as of `date_updated`, and what it did since it was started."""

    node: str
    carrier_sid: Sid
    carrier: str
    number: int
    bind: str
    state: str
    since: Instant
    under_way: int
    queued: int
    is_throttled: bool
    last_error: str | None
    segments: int
    refused: int
    throttled: int
    receipts: int
    inbound: int
    date_updated: Instant


class NetworkEntry(Shape):
    """Numbers that begin with a prefix, digits without the plus, are at home in a network."""

    prefix: Annotated[str, Meta(pattern=r"^[0-9]{1,15}$")]
    mcc: Annotated[str, Meta(pattern=r"^[0-9]{3}$")]
    mnc: _Mnc = ""
    name: Annotated[str, Meta(max_length=200)] = ""


class NumberingTable(Shape):
    """The whole table."""

    networks: Annotated[list[NetworkEntry], Meta(max_length=200_000)]


class NumberingSize(Shape):
    """How many entries the table has now."""

    networks: int


class SmppApi:
    """The handlers behind `routes`."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def routes(self) -> list[OwnRoute]:
        """Return the routes."""
        carriers, routes = f"{_BASE}/Carriers", f"{_BASE}/Routes"
        numbering = f"{_BASE}/NumberingTable"
        one_carrier, one_route = carriers + "/{sid}", routes + "/{sid}"
        return [
            OwnRoute("GET", carriers, "operator", self.list_carriers, summary="List carriers"),
            OwnRoute("POST", carriers, "operator", self.make_carrier, summary="Add a carrier"),
            OwnRoute("GET", one_carrier, "operator", self.get_carrier, summary="Show a carrier"),
            OwnRoute("POST", one_carrier, "operator", self.change_carrier, summary="Change a carrier"),
            OwnRoute("DELETE", one_carrier, "operator", self.delete_carrier, summary="Delete a carrier and its routes"),
            OwnRoute("GET", routes, "operator", self.list_routes, summary="List routes"),
            OwnRoute("POST", routes, "operator", self.make_route, summary="Add a route"),
            OwnRoute("GET", one_route, "operator", self.get_route, summary="Show a route"),
            OwnRoute("POST", one_route, "operator", self.change_route, summary="Change a route"),
            OwnRoute("DELETE", one_route, "operator", self.delete_route, summary="Delete a route"),
            OwnRoute("GET", f"{_BASE}/Links", "operator", self.list_links, summary="Show how the links are"),
            OwnRoute("GET", numbering, "operator", self.list_networks, summary="Read the numbering table"),
            OwnRoute(
                "PUT",
                numbering,
                "operator",
                self.set_networks,
                body_bytes_max=_NUMBERING_BYTES_MAX,
                summary="Put another numbering table in place",
            ),
            OwnRoute("GET", numbering + "/{number}", "operator", self.get_network, summary="Look a number up in it"),
        ]

    # ---- carriers

    async def list_carriers(self, tx: Tx) -> Items[CarrierShown]:
        """List all carriers."""
        return whole([_shown(row) for row in await store.carriers(tx)])

    async def make_carrier(self, tx: Tx, request: OwnRequest, body: CarrierChange) -> Created[CarrierShown]:
        """Add a carrier; the workers bind to it at once."""
        if body.name is UNSET or body.host is UNSET:
            raise InvalidParameter(f"'{'name' if body.name is UNSET else 'host'}' is required")
        return await self._save(tx, new_sid("QC", request.at), None, body, request.at)

    async def get_carrier(self, tx: Tx, sid: str) -> CarrierShown:
        """Show a carrier."""
        return _shown(await _carrier(tx, sid))

    async def change_carrier(self, tx: Tx, request: OwnRequest, sid: str, body: CarrierChange) -> CarrierShown:
        """Change a carrier; its links are made anew."""
        return await self._save(tx, sid, await _carrier(tx, sid, lock=True), body, request.at)

    async def delete_carrier(self, tx: Tx, sid: str) -> None:
        """Delete a carrier and its routes; its links unbind."""
        await _carrier(tx, sid, lock=True)
        await store.delete_carrier(tx, sid)

    async def _save(self, tx: Tx, sid: str, row: Row | None, body: CarrierChange, at: datetime) -> CarrierShown:
        changes = {
            name: getattr(body, name) for name in CarrierSettings.__struct_fields__ if getattr(body, name) is not UNSET
        }
        if "binds" in changes:
            changes["binds"] = tuple(changes["binds"])
        if row is None:
            settings = CarrierSettings(**changes)
        else:
            settings = msgspec.structs.replace(store.settings_of(row), **changes)
        _check(settings)
        name = body.name if isinstance(body.name, str) else row["name"] if row is not None else ""
        if await store.name_is_taken(tx, name, sid):
            raise InvalidParameter("'name' is another carrier's already")
        password: bytes = row["password"] if row is not None else b""
        if isinstance(body.password, str):
            _check_latin(body.password, "password")
            password = self._vault.seal(body.password, sid) if body.password else b""
        await store.save_carrier(tx, sid, name, password, settings, at)
        return _shown(await _carrier(tx, sid))

    # ---- routes

    async def list_routes(self, tx: Tx, request: OwnRequest) -> Items[RouteShown]:
        """List all routes by prefix."""
        quality = await store.quality(tx, _window(request.at))
        return whole([_shown_route(row, quality) for row in await store.routes(tx)])

    async def make_route(self, tx: Tx, request: OwnRequest, body: NewRoute) -> Created[RouteShown]:
        """Add a route; messages take it at once."""
        route = Route(
            new_sid("QR", request.at),
            body.carrier_sid,
            body.prefix,
            body.mcc,
            body.mnc,
            0 if body.cost is UNSET else int(body.cost),
            body.priority,
            body.min_quality,
        )
        return await self._save_route(tx, route, body.enabled, request.at)

    async def get_route(self, tx: Tx, request: OwnRequest, sid: str) -> RouteShown:
        """Show a route."""
        return _shown_route(await _route(tx, sid), await store.quality(tx, _window(request.at)))

    async def change_route(self, tx: Tx, request: OwnRequest, sid: str, body: RouteChange) -> RouteShown:
        """Change a route."""
        row = await _route(tx, sid)

        def of(given: Any, name: str) -> Any:
            return row[name] if given is UNSET else given

        route = Route(
            sid,
            of(body.carrier_sid, "carrier_sid"),
            of(body.prefix, "prefix"),
            of(body.mcc, "mcc"),
            of(body.mnc, "mnc"),
            int(of(body.cost, "cost_micros")),
            of(body.priority, "priority"),
            of(body.min_quality, "min_quality"),
        )
        return await self._save_route(tx, route, of(body.enabled, "enabled"), request.at)

    async def delete_route(self, tx: Tx, sid: str) -> None:
        """Delete a route."""
        if not await store.delete_route(tx, sid):
            raise NotFound("There is no such route")

    async def _save_route(self, tx: Tx, route: Route, enabled: bool, at: datetime) -> RouteShown:
        if route.mnc and not route.mcc:
            raise InvalidParameter("'mnc' needs 'mcc'")
        if await store.carrier(tx, route.carrier_sid, lock=True) is None:
            raise InvalidParameter("'carrier_sid' is no carrier's")
        await store.save_route(tx, route, enabled, at)
        return _shown_route(await _route(tx, route.sid), await store.quality(tx, _window(at)))

    # ---- links

    async def list_links(self, tx: Tx) -> Items[LinkShown]:
        """Show how each worker's links are."""
        return whole([LinkShown.of(row, date_updated=row["updated_at"]) for row in await store.links(tx)])

    # ---- numbering

    async def list_networks(self, tx: Tx, query: Paging) -> Items[NetworkEntry]:
        """List the numbering table by prefix."""
        rows = await store.networks_page(tx, query.next, _PAGE + 1)
        return page([NetworkEntry.of(row) for row in rows], _PAGE, lambda each: each.prefix)

    async def set_networks(self, tx: Tx, body: NumberingTable) -> NumberingSize:
        """Put another table in place of the present one; routes that name networks go by it at once."""
        entries = [(each.prefix, each.mcc, each.mnc, each.name) for each in body.networks]
        if len({entry[0] for entry in entries}) < len(entries):
            raise InvalidParameter("'networks' has a prefix twice")
        await store.set_networks(tx, entries)
        return NumberingSize(len(entries))

    async def get_network(self, tx: Tx, number: str) -> NetworkEntry:
        """Show the entry that a number falls under."""
        digits = unquote(number).strip().removeprefix("+")
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= 15
        row = await store.network_of(tx, digits) if is_number else None
        if row is None:
            raise NotFound("The table says nothing of this number")
        return NetworkEntry.of(row)


async def _carrier(tx: Tx, sid: str, *, lock: bool = False) -> Row:
    row = await store.carrier(tx, sid, lock=lock)
    if row is None:
        raise NotFound("There is no such carrier")
    return row


async def _route(tx: Tx, sid: str) -> Row:
    row = await store.route(tx, sid)
    if row is None:
        raise NotFound("There is no such route")
    return row


def _window(at: datetime) -> datetime:
    return at - store.QUALITY_WINDOW


def _check(settings: CarrierSettings) -> None:
    for name in ("system_id", "system_type", "service_type"):
        _check_latin(getattr(settings, name), name)
    if settings.tls_ca:
        try:
            ssl.create_default_context(cadata=settings.tls_ca)
        except (ssl.SSLError, ValueError):
            raise InvalidParameter("'tls_ca' must be certificates in PEM") from None


def _check_latin(text: str, name: str) -> None:
    if not text.isprintable() or not text.isascii():
        raise InvalidParameter(f"'{name}' must have printable ASCII characters only")


def _shown(row: Row) -> CarrierShown:
    settings = {name: getattr(store.settings_of(row), name) for name in CarrierSettings.__struct_fields__}
    settings["binds"] = list(settings["binds"])
    return CarrierShown(
        sid=row["sid"],
        name=row["name"],
        has_password=bool(row["password"]),
        date_created=row["created_at"],
        date_updated=row["updated_at"],
        **settings,
    )


def _shown_route(row: Row, quality: dict[str, Quality]) -> RouteShown:
    measured = quality.get(row["sid"], Quality())
    return RouteShown.of(
        row,
        cost=row["cost_micros"],
        delivered=measured.delivered,
        undelivered=measured.undelivered,
        quality=measured.ratio,
        date_created=row["created_at"],
    )
