"""The room's routes under /commercial/v1/Collections."""

from datetime import date

from onterms.business import customers, invoicing
from onterms.business.collections import model, service, store, wire
from onterms.business.collections.model import LegalRate, Policy
from onterms.business.collections.service import Collections
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.money import InvalidAmount, micros
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute


class Api:
    """Where a customer stands, its notices and fees, and what the operator decides."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        base = "/commercial/v1/Collections"
        return [
            OwnRoute("GET", base, "customer", self.standing, summary="Show what is due and what follows"),
            OwnRoute("GET", f"{base}/Notices", "customer", self.notices, summary="List notices of late payment"),
            OwnRoute("GET", f"{base}/Fees", "customer", self.fees, summary="List late fees"),
            OwnRoute("POST", f"{base}/Reviews", "operator", self.review, summary="Look at a customer now"),
            OwnRoute("GET", f"{base}/Proposals", "operator", self.proposals, summary="List what is to be decided"),
            OwnRoute("POST", f"{base}/Proposals/{{sid}}", "operator", self.decide, summary="Decide a proposal"),
            OwnRoute("GET", f"{base}/Policy", "operator", self.fetch_policy, summary="Show what happens by itself"),
            OwnRoute("POST", f"{base}/Policy", "operator", self.set_policy, summary="Set what happens by itself"),
            OwnRoute("GET", f"{base}/LegalMaxima", "operator", self.legal, summary="List legal rates on file"),
            OwnRoute("POST", f"{base}/LegalMaxima", "operator", self.add_legal, summary="Put a legal rate on file"),
        ]

    async def standing(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Show where a customer stands."""
        customer = await customers.customer_of_request(tx, request)
        return await self._standing(tx, customer.sid)

    async def _standing(self, tx: Tx, customer_sid: str) -> OwnReply:
        found = await store.dunning(tx, customer_sid)
        parts = await invoicing.parts(tx, customer_sid)
        return OwnReply(wire.standing(found, parts, await store.policy(tx)))

    async def notices(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List a customer's notices of late payment."""
        customer = await customers.customer_of_request(tx, request)
        found = await store.notices(tx, customer.sid)
        return OwnReply({"items": [wire.notice(each) for each in found], "next": None})

    async def fees(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List a customer's late fees."""
        customer = await customers.customer_of_request(tx, request)
        found = await store.fees(tx, customer.sid)
        return OwnReply({"items": [wire.fee(each) for each in found], "next": None})

    async def review(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Look at a customer now."""
        customer = await customers.customer_of_request(tx, request)
        await self._collections.review(tx, customer.sid, request.at)
        return await self._standing(tx, customer.sid)

    async def proposals(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List what waits for the operator, of one customer or all."""
        found = await store.proposals(tx, request.query.get("customer_sid"))
        return OwnReply({"items": [wire.proposal(each) for each in found], "next": None})

    async def decide(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Decide a proposal: the decision is approve or decline, by a named person."""
        customer = await customers.customer_of_request(tx, request)
        decision = request.text("decision")
        if decision not in ("approve", "decline"):
            raise InvalidParameter("'decision' must be approve or decline")
        by = request.text("decided_by", max_length=200)
        await self._collections.decide(tx, customer.sid, request.path["sid"], decision == "approve", by, request.at)
        return await self._standing(tx, customer.sid)

    async def fetch_policy(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Show the operator's switches."""
        return OwnReply(wire.policy(await store.policy(tx)))

    async def set_policy(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Set the operator's switches; those not named stay."""
        before = wire.policy(await store.policy(tx))
        said = {name: request.text(name, default=value) for name, value in before.items()}
        for name, value in said.items():
            allowed = model.FEE_STARTS if name == "fee_start" else model.MODES
            if value not in allowed:
                raise InvalidParameter(f"'{name}' must be one of {', '.join(allowed)}")
        policy = Policy(**said)  # type: ignore[arg-type]  # Just checked.
        await service.set_policy(tx, policy, "operator", request.at)
        return OwnReply(wire.policy(policy))

    async def legal(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List the rates on file."""
        found = await store.legal_maxima(tx)
        return OwnReply({"items": [wire.legal(each) for each in found], "next": None})

    async def add_legal(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Put a rate on file: a share a year, as decimal text, with its source."""
        applies_to = request.text("applies_to", default="commercial")
        if applies_to not in ("commercial", "government"):
            raise InvalidParameter("'applies_to' must be commercial or government")
        try:
            rate = micros(request.text("rate"))
            from_on = date.fromisoformat(request.text("from_on"))
            until = request.text("until_on", default="")
            until_on = date.fromisoformat(until) if until else None
        except (InvalidAmount, ValueError) as error:
            raise InvalidParameter("'rate' is decimal text, 'from_on' and 'until_on' are days") from error
        if rate < 0 or (until_on is not None and until_on <= from_on):
            raise InvalidParameter("A rate is not below nothing and ends after it begins")
        place = request.text("jurisdiction", max_length=10)
        new = LegalRate(
            "government" if applies_to == "government" else "commercial",
            place,
            rate,
            from_on,
            until_on,
            request.text("source", max_length=500),
        )
        await service.add_legal_maxima(tx, [new], "operator", request.at)
        return OwnReply(wire.legal(new), status=201)
