"""The room's routes under /commercial/v1/Collections."""

from onterms.business import customers, invoicing
from onterms.business.collections import service, store, wire
from onterms.business.collections.model import LegalRate, Policy
from onterms.business.collections.service import Collections
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, whole


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

    async def standing(self, tx: Tx, mine: customers.Mine) -> wire.DunningStanding:
        """Show where a customer stands."""
        return await self._standing(tx, mine.sid)

    async def _standing(self, tx: Tx, customer_sid: str) -> wire.DunningStanding:
        found = await store.dunning(tx, customer_sid)
        parts = await invoicing.parts(tx, customer_sid)
        return wire.standing(found, parts, await store.policy(tx))

    async def notices(self, tx: Tx, mine: customers.Mine) -> Items[wire.LateNotice]:
        """List a customer's notices of late payment."""
        return whole([wire.notice(each) for each in await store.notices(tx, mine.sid)])

    async def fees(self, tx: Tx, mine: customers.Mine) -> Items[wire.Fee]:
        """List a customer's late fees."""
        return whole([wire.fee(each) for each in await store.fees(tx, mine.sid)])

    async def review(self, tx: Tx, request: OwnRequest, mine: customers.Mine) -> wire.DunningStanding:
        """Look at a customer now."""
        await self._collections.review(tx, mine.sid, request.at)
        return await self._standing(tx, mine.sid)

    async def proposals(self, tx: Tx, query: wire.ProposalsQuery) -> Items[wire.Proposal]:
        """List what waits for the operator, of one customer or all."""
        return whole([wire.proposal(each) for each in await store.proposals(tx, query.customer_sid)])

    async def decide(
        self, tx: Tx, request: OwnRequest, mine: customers.Mine, sid: str, body: wire.ProposalDecision
    ) -> wire.DunningStanding:
        """Decide a proposal: the decision is approve or decline, by a named person."""
        await self._collections.decide(tx, mine.sid, sid, body.decision == "approve", body.decided_by, request.at)
        return await self._standing(tx, mine.sid)

    async def fetch_policy(self, tx: Tx) -> wire.Policy:
        """Show the operator's switches."""
        return wire.Policy.of(await store.policy(tx))

    async def set_policy(self, tx: Tx, request: OwnRequest, body: wire.PolicyChange) -> wire.Policy:
        """Set the operator's switches; those not named stay."""
        before = await store.policy(tx)
        policy = Policy(
            body.notice or before.notice,
            body.late_fee or before.late_fee,
            body.suspension or before.suspension,
            body.fee_start or before.fee_start,
        )
        await service.set_policy(tx, policy, "operator", request.at)
        return wire.Policy.of(policy)

    async def legal(self, tx: Tx) -> Items[wire.LegalRate]:
        """List the rates on file."""
        return whole([wire.LegalRate.of(each) for each in await store.legal_maxima(tx)])

    async def add_legal(self, tx: Tx, request: OwnRequest, body: wire.LegalRate) -> Created[wire.LegalRate]:
        """Put a rate on file: a share a year, as decimal text, with its source."""
        if body.rate < 0 or (body.until_on is not None and body.until_on <= body.from_on):
            raise InvalidParameter("A rate is not below nothing and ends after it begins")
        # A plain number: what is written down as evidence is JSON.
        rate = int(body.rate)
        new = LegalRate(body.applies_to, body.jurisdiction, rate, body.from_on, body.until_on, body.source)
        await service.add_legal_maxima(tx, [new], "operator", request.at)
        return wire.LegalRate.of(new)
