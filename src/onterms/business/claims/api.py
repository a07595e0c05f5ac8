"""The room's routes under /commercial/v1."""

from datetime import date, datetime

from onterms.business import cases, customers
from onterms.business.cases import Book
from onterms.business.claims import service
from onterms.business.claims.model.amounts import as_text
from onterms.business.claims.service import Claims
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.money import InvalidAmount, decimal_text, micros
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

_BASE = "/commercial/v1"


def _instant(text: str, name: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidParameter(f"'{name}' must be an instant such as 2025-03-01T10:00:00Z")
    return found


def _whole(request: OwnRequest, name: str) -> int:
    value = request.body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidParameter(f"'{name}' must be a whole number")
    return value


class Api:
    """Claims, disputes, the liability cap, the catalogue and service levels."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def books(self) -> list[Book]:
        """Return the room's books, for the worker of deadlines."""
        made = self._claims
        return [made.sla, made.nonconformity, made.indemnity, made.disputes]

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        one = f"{_BASE}/Services/{{service}}"
        return [
            *cases.routes(self._claims.sla, "SlaClaims"),
            *cases.routes(self._claims.nonconformity, "NonConformityClaims"),
            *cases.routes(self._claims.indemnity, "IndemnityClaims"),
            *cases.routes(self._claims.disputes, "ContractDisputes"),
            OwnRoute("GET", f"{_BASE}/LiabilityCap", "customer", self.cap, summary="Compute the cap of 7.2"),
            OwnRoute("GET", f"{_BASE}/Services", "customer", self.list_services, summary="List the catalogue"),
            OwnRoute("POST", one, "operator", self.set_service, summary="Set a service's stage and provider"),
            OwnRoute("POST", f"{one}/Sla", "operator", self.set_sla, summary="Set a service's level from a month on"),
            OwnRoute("POST", f"{one}/Terms", "customer", self.accept, summary="Accept a third party's terms"),
            OwnRoute("POST", f"{one}/Enable", "customer", self.enable, summary="Enable a service"),
        ]

    async def cap(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        query = request.query
        party = query.get("party", "operator")
        if party not in ("operator", "customer") or "services" not in query or "first_incident" not in query:
            raise InvalidParameter("'services', 'first_incident' and 'party' (operator or customer) are required")
        try:
            awards = micros(query.get("earlier_awards", "0"))
        except InvalidAmount as error:
            raise InvalidParameter(f"'earlier_awards': {error}") from None
        found = await self._claims.cap(
            tx,
            customer.sid,
            query["services"].split(","),
            _instant(query["first_incident"], "first_incident"),
            party=party,
            basis=query.get("basis", ""),
            earlier_awards=awards,
        )
        return OwnReply({**as_text(found), "earlier_awards": decimal_text(awards)})

    async def list_services(self, tx: Tx, request: OwnRequest) -> OwnReply:
        return OwnReply({"items": [dict(row) for row in await service.catalogue(tx)], "next": None})

    async def set_service(self, tx: Tx, request: OwnRequest) -> OwnReply:
        name = request.path["service"]
        terms = request.text("terms_version", default="", max_length=100)
        await service.set_service(tx, name, request.text("stage"), request.text("provider"), terms, request.at)
        return OwnReply(dict(await service.catalogue_entry(tx, name)), 201)

    async def set_sla(self, tx: Tx, request: OwnRequest) -> OwnReply:
        try:
            month = date.fromisoformat(request.text("from_month"))
        except ValueError:
            raise InvalidParameter("'from_month' must be a day such as 2025-03-01") from None
        threshold, percent = _whole(request, "threshold_ppm"), _whole(request, "credit_percent")
        await service.set_sla(tx, request.path["service"], month, threshold, percent, request.at)
        return OwnReply(
            {"service": request.path["service"], "threshold_ppm": threshold, "credit_percent": percent}, 201
        )

    async def accept(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customers.refuse_weak_credentials(request)
        customer = await customers.customer_of_request(tx, request)
        version, name = request.text("terms_version", max_length=100), request.path["service"]
        await service.accept_terms(tx, customer.sid, name, version, customers.actor_of(request), request.at)
        return OwnReply({"service": name, "terms_version": version}, 201)

    async def enable(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customers.refuse_weak_credentials(request)
        customer = await customers.customer_of_request(tx, request)
        await service.enable(tx, customer.sid, request.path["service"], request.at)
        return OwnReply({"service": request.path["service"], "enabled": True}, 201)
