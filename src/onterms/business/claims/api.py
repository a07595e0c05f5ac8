"""The room's routes under /commercial/v1."""

from datetime import timedelta

from onterms.business import cases
from onterms.business.cases import Book
from onterms.business.claims import service, wire
from onterms.business.claims.model.amounts import as_text
from onterms.business.claims.service import Claims
from onterms.business.customers import Actor, Mine, MineToChange
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.money import InvalidAmount, micros
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, Micros, whole

_BASE = "/commercial/v1"


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
            OwnRoute("POST", f"{one}/Measurements", "operator", self.measure, summary="Enter probes from outside"),
            OwnRoute("POST", f"{one}/Terms", "customer", self.accept, summary="Accept a third party's terms"),
            OwnRoute("POST", f"{one}/Enable", "customer", self.enable, summary="Enable a service"),
        ]

    async def cap(self, tx: Tx, mine: Mine, query: wire.CapQuery) -> wire.Cap:
        try:
            awards = micros(query.earlier_awards)
        except InvalidAmount as error:
            raise InvalidParameter(f"'earlier_awards': {error}") from None
        found = await self._claims.cap(
            tx,
            mine.sid,
            query.services.split(","),
            query.first_incident,
            party=query.party,
            basis=query.basis,
            earlier_awards=awards,
        )
        return wire.Cap(**as_text(found), earlier_awards=Micros(awards))

    async def list_services(self, tx: Tx) -> Items[wire.Service]:
        return whole([wire.Service.of(row) for row in await service.catalogue(tx)])

    async def set_service(self, tx: Tx, request: OwnRequest, body: wire.NewService) -> Created[wire.Service]:
        name, entity = request.path["service"], body.provider_entity
        given = (body.stage, body.provider, body.terms_version)
        await service.set_service(tx, name, *given, request.at, provider_entity=entity)
        return wire.Service.of(await service.catalogue_entry(tx, name))

    async def set_sla(self, tx: Tx, request: OwnRequest, body: wire.NewSla) -> Created[wire.Sla]:
        name, level = request.path["service"], (body.threshold_ppm, body.credit_percent)
        await service.set_sla(tx, name, body.from_month, *level, request.at)
        return wire.Sla(name, *level)

    async def measure(self, tx: Tx, request: OwnRequest, body: wire.NewMeasurement) -> Created[wire.Measurement]:
        # While the house is down it counts nothing, so who watches it from outside tells.
        name, end = request.path["service"], body.minute + timedelta(minutes=body.minutes)
        if body.failed > body.tried or end > request.at + timedelta(minutes=1):
            raise InvalidParameter("'failed' is at most 'tried', and nothing is measured before it is")
        for place in range(body.minutes):
            minute = body.minute + timedelta(minutes=place)
            await service.record_minute(tx, name, minute, body.tried, body.failed)
        return wire.Measurement(name, body.minutes, body.tried, body.failed)

    async def accept(
        self, tx: Tx, request: OwnRequest, mine: MineToChange, actor: Actor, body: wire.ServiceTerms
    ) -> Created[wire.TermsAccepted]:
        version, name = body.terms_version, request.path["service"]
        await service.accept_terms(tx, mine.sid, name, version, actor, request.at)
        return wire.TermsAccepted(name, version)

    async def enable(self, tx: Tx, request: OwnRequest, mine: MineToChange) -> Created[wire.Enabled]:
        await service.enable(tx, mine.sid, request.path["service"], request.at)
        return wire.Enabled(request.path["service"], True)
